"""The first question to a node without an index: built from the content, and begun with the checkpoint in the store.

    python bench/checkpoints.py FOLDER [--rounds 3] [--json FILE]

A `satchel serve` on loopback takes the folder by `satchel sync`, answers a question and puts the checkpoint. Then it is
stopped, its indexes are deleted, and it is started again, by turns with checkpoints and without: each time one question
is asked that only needs the index, and the CPU time of the process (Linux) from before it to after it is told beside
the clock. Before the last rounds some files are edited, so that the checkpoint is behind the head: then what it lacks
is read as well. Also told: what making it took, and what it takes in the store beside the text and the packs.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from measure import machine, median, report, run, satchel_command, save
from serving import free_port, server

EDITED = 13
WAYS = {"built": "0", "begun with the checkpoint": "1"}


class Node:
    """A server on one data directory, started as often as wanted."""

    def __init__(self, place: Path) -> None:
        self.data, self.key, self.pid = place / "served", "", 0
        self.port, self.metrics = free_port(), free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.env = {**os.environ, "HOME": str(place / "home"), "NO_COLOR": "1"}
        self.env["PYTHON_KEYRING_BACKEND"] = "keyring.backends.null.Keyring"
        for kind in ("CONFIG", "STATE", "CACHE", "DATA"):
            self.env[f"XDG_{kind}_HOME"] = str(place / "home" / kind.lower())

    @contextmanager
    def started(self, from_bytes: str) -> Iterator[None]:
        env = {**self.env, "SATCHEL_INDEX_CHECKPOINT_BYTES": from_bytes, "SATCHEL_METRICS_PORT": str(self.metrics)}
        command = [*satchel_command(), "serve", "--data", str(self.data), "--port", str(self.port)]
        with server(command, f"{self.url}/api/v1/health/live", env) as process:
            self.pid = process.pid
            if not self.key:
                assert process.stdout is not None
                self.key = next(word for line in process.stdout for word in line.split() if word.startswith("stl_"))
                login = [*satchel_command(), "login", self.url, "--key", "-"]
                subprocess.run(login, input=self.key, text=True, env=self.env, check=True, capture_output=True)
            yield

    def cpu(self) -> float:
        """Seconds of CPU that the server has used."""
        fields = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def ask(self) -> int:
        question = urllib.request.Request(
            f"{self.url}/api/v1/search", b'{"query": "the"}',
            {"authorization": f"Bearer {self.key}", "content-type": "application/json"},
        )  # fmt: skip
        with urllib.request.urlopen(question, timeout=600) as answer:
            return int(json.load(answer)["total"])

    def outcome(self, name: str) -> int:
        with urllib.request.urlopen(f"http://127.0.0.1:{self.metrics}/metrics") as answer:
            wanted = f'satchel_index_checkpoints_total{{outcome="{name}"}}'
            return next(int(float(line.split()[-1])) for line in answer.read().decode().splitlines() if wanted in line)

    def stored(self, kind: str) -> int:
        store = self.data / "store"
        return sum(path.stat().st_size for path in store.rglob("*") if path.is_file() and kind in path.parts)


def until_made(node: Node) -> None:
    deadline = time.monotonic() + 300
    while not node.outcome("made"):
        if time.monotonic() > deadline:
            sys.exit("no checkpoint was made")
        time.sleep(0.2)


def first(node: Node, way: str) -> tuple[float, float, int]:
    """Seconds, CPU seconds and hits of the first question to a node that has no index."""
    shutil.rmtree(node.data / "cache" / "index", ignore_errors=True)
    with node.started(WAYS[way]):
        cpu, began = node.cpu(), time.perf_counter()
        hits = node.ask()
        took = time.perf_counter() - began, node.cpu() - cpu, hits
        if bool(node.outcome("used")) != (way != "built"):
            sys.exit(f"it was not {way}")
    return took


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", metavar="FILE")
    options = parser.parse_args()
    print(machine())
    with tempfile.TemporaryDirectory(prefix="satchel-bench-") as name:
        place = Path(name)
        node, folder = Node(place), place / "folder"
        shutil.copytree(options.folder, folder, ignore=shutil.ignore_patterns(".git", ".satchel"))
        text = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
        with node.started("0"):
            run([*satchel_command(), "init"], cwd=folder, env=node.env)
            run([*satchel_command(), "remote", "add", node.url], cwd=folder, env=node.env)
            run([*satchel_command(), "sync", "--to-cloud", "--quiet"], cwd=folder, env=node.env)
        shutil.rmtree(node.data / "cache" / "index", ignore_errors=True)
        with node.started(WAYS["begun with the checkpoint"]):
            node.ask()
            asked = node.cpu()
            until_made(node)
            making = node.cpu() - asked
        sizes = {"text": text, "packs": node.stored("packs"), "checkpoint": node.stored("indexes")}
        took: dict[str, list[tuple[float, float, int]]] = {}
        for state in ("at the head", f"{EDITED} files behind"):
            if state != "at the head":
                for path in sorted(path for path in folder.rglob("*.md") if ".satchel" not in path.parts)[:EDITED]:
                    path.write_text(path.read_text() + "\nOne more line.\n")
                with node.started("0"):
                    run([*satchel_command(), "sync", "--to-cloud", "--quiet"], cwd=folder, env=node.env)
            for _ in range(options.rounds):
                for way in WAYS:
                    took.setdefault(f"{way}, {state}", []).append(first(node, way))
            if len({hits for what, each in took.items() if state in what for _, _, hits in each}) != 1:
                sys.exit("the answers differ")
    rows = [
        [what, f"{median([s for s, _, _ in each]):.2f} s", f"{median([cpu for _, cpu, _ in each]):.2f} s"]
        for what, each in took.items()
    ]
    report(f"first question to a node without an index, {options.folder.name}", rows, ["index", "clock", "CPU"])
    report(
        "what a checkpoint takes",
        [
            ["CPU to make it", f"{making:.2f} s"],
            *([f"{what} (MB)", f"{size / 1e6:.1f}"] for what, size in sizes.items()),
            ["checkpoint / text", f"{sizes['checkpoint'] / text:.2f}"],
        ],
        ["what", "much"],
    )
    save(options.json, {"took": took, "sizes": sizes, "making": making})


if __name__ == "__main__":
    main()
