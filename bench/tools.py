"""What a tool call over remote MCP costs, beside a server made with the bare SDK that returns the same.

    python bench/tools.py FOLDER [--era 2026-07-28] [--calls 400] [--rounds 5] [--json FILE]

One `satchel serve` worker with the folder, and ``baremcp.py`` twice: given a copy of the server's data, in which its
tools find the answers as Satchel's do (*bare*), and given Satchel's answers, which it only hands out (*told*). The same
calls go to all in turn, round by round, one at a time over one connection: questions that are all different, and
artifacts. Printed are the CPU of each server for a call and the p50 of its latency, of both the least of the rounds,
which a busy machine changes least. So the ratio to *bare* is what Satchel's door, its accounts and limits cost.
"""

from __future__ import annotations

import argparse
import http.client
import json
import random
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from api import stored_key
from measure import machine, percentile, report, run, satchel_command, save
from reads import cpu_seconds
from serving import free_port, satchel_served, server

from satchel.server.isolation.requests import message

Call = tuple[str, dict[str, Any]]


class Client:
    """One connection that calls tools."""

    def __init__(self, url: str, key: str, era: str) -> None:
        place = urlsplit(url)
        self._era = era
        self._connection = http.client.HTTPConnection(place.hostname or "", place.port)
        self._key = key

    def call(self, tool: str, arguments: dict[str, Any]) -> Any:
        asked = message(self._era, "tools/call", {"name": tool, "arguments": arguments})
        headers = {**dict(asked.headers), "authorization": f"Bearer {self._key}"}
        answer = json.loads(self._sent(asked.body, headers))
        if "result" not in answer or answer["result"].get("isError"):
            sys.exit(f"{tool} answered {answer}")
        return answer["result"]["structuredContent"]

    def _sent(self, body: bytes | None, headers: dict[str, str]) -> bytes:
        try:
            self._connection.request("POST", "/mcp", body, headers)
            return self._connection.getresponse().read()
        except (BrokenPipeError, http.client.RemoteDisconnected):  # it was idle for too long, while the other was asked
            self._connection.close()
            self._connection.request("POST", "/mcp", body, headers)
            return self._connection.getresponse().read()


def measured(client: Client, process: int, calls: Sequence[Call]) -> tuple[float, float]:
    """Milliseconds of the server's CPU for a call, and p50 of the latency."""
    before, took = cpu_seconds(process), []
    for call in calls:
        began = time.perf_counter()
        client.call(*call)
        took.append((time.perf_counter() - began) * 1_000)
    return 1_000 * (cpu_seconds(process) - before) / len(calls), percentile(took, 0.5)


def questions(folder: Path, count: int) -> dict[str, list[Call]]:
    """Different searches for two words of the folder, and its artifacts of up to 20 KB."""
    texts = [path for path in sorted(folder.rglob("*.md")) if path.stat().st_size < 20_000]
    words = sorted(set(re.findall(r"[a-z]{5,12}", " ".join(path.read_text(errors="replace") for path in texts))))
    chance = random.Random(5)
    paths = [chance.choice(texts).relative_to(folder).as_posix() for _ in range(count)]
    return {
        "search": [("search", {"query": " ".join(chance.sample(words, 2)), "projects": ["bench"]}) for _ in paths],
        "artifacts_get": [("artifacts_get", {"path": path, "project": "bench"}) for path in paths],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--era", default="2026-07-28", help="Version of the protocol.")
    parser.add_argument("--calls", type=int, default=400)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", metavar="FILE")
    options = parser.parse_args()
    print(machine())
    rows, figures = [], dict[str, dict[str, float]]()
    with tempfile.TemporaryDirectory(prefix="satchel-tools-") as name, ExitStack() as stack:
        folder = Path(name, "bench")
        shutil.copytree(options.folder, folder, ignore=shutil.ignore_patterns(".git", ".satchel"))
        calls = questions(folder, options.calls)
        costs: dict[str, dict[str, list[tuple[float, float]]]] = {
            tool: {who: [] for who in ("Satchel", "bare", "told")} for tool in calls
        }
        with satchel_served(Path(name, "home")) as (url, env, process):
            for command in (["init"], ["remote", "add", url], ["sync", "--to-cloud", "--quiet"]):
                run([*satchel_command(), *command], cwd=folder, env=env)
            key = stored_key(Path(name, "home"))
            ours = Client(url, key, options.era)
            answers: dict[str, dict[str, Any]] = {}
            for tool, asked in calls.items():
                argument = "query" if tool == "search" else "path"
                answers[tool] = {arguments[argument]: ours.call(tool, arguments) for _, arguments in asked}
            kept, data = Path(name, "answers.json"), Path(name, "data")
            kept.write_text(json.dumps(answers))
            shutil.copytree(Path(name, "home", "served"), data)
            asked_of = [("Satchel", ours, process)]
            for who, given in (("bare", [str(data), key]), ("told", [str(kept)])):
                port = free_port()
                command = [sys.executable, str(Path(__file__).with_name("baremcp.py")), str(port), *given]
                other: subprocess.Popen[str] = stack.enter_context(server(command, f"http://127.0.0.1:{port}", env))
                asked_of.append((who, Client(f"http://127.0.0.1:{port}", key, options.era), other.pid))
            for number in range(options.rounds + 1):
                for tool, asked in calls.items():
                    for who, client, pid in asked_of:
                        told = measured(client, pid, asked)
                        costs[tool][who] += [told] if number else []  # the first round warms all
        for tool in calls:
            (cpu, p50), (bare_cpu, bare_p50), (told_cpu, told_p50) = (
                tuple(min(each[which] for each in costs[tool][who]) for which in (0, 1)) for who in costs[tool]
            )
            size = sum(len(json.dumps(answer)) for answer in answers[tool].values()) / len(answers[tool])
            figures[tool] = {"cpu": cpu, "bare": bare_cpu, "told": told_cpu, "p50": p50, "bare p50": bare_p50}
            rows.append(
                [tool, f"{size / 1e3:.1f}", f"{cpu:.2f}", f"{bare_cpu:.2f}", f"{cpu / bare_cpu:.2f}", f"{told_cpu:.2f}",
                 f"{p50:.2f}", f"{bare_p50:.2f}", f"{p50 / bare_p50:.2f}", f"{told_p50:.2f}"]
            )  # fmt: skip
    header = ["tool", "answer KB", "CPU ms", "bare", "ratio", "told", "p50 ms", "bare", "ratio", "told"]
    report(f"a tool call over remote MCP {options.era}, {options.folder.name}", rows, header)
    save(options.json, figures)


if __name__ == "__main__":
    main()
