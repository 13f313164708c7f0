"""Process time of `satchel search`, and of `satchel mcp` up to its first answer, beside bare Python; medians.

    python bench/startup.py FOLDER [--query WORDS] [--rounds 21] [--json FILE]

All are measured in turn, on the clock and in CPU time, which a busy machine changes less. The folder is copied and
initialised first, so that the index is warm: this is what a person or an agent waits for. Without words it asks for the
first two of the heading in the middle of the folder: where nothing is found, near words are looked for.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import resource
import shutil
import subprocess
import sys
import tempfile
from functools import partial
from pathlib import Path

from measure import machine, median, report, run, satchel_command, save, seconds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--query", metavar="WORDS", help="default: two words of a heading of the folder")
    parser.add_argument("--rounds", type=int, default=21)
    parser.add_argument("--json", metavar="FILE")
    options = parser.parse_args()
    print(machine())
    with tempfile.TemporaryDirectory(prefix="satchel-bench-") as name:
        folder = Path(name, "folder")
        shutil.copytree(options.folder, folder, ignore=shutil.ignore_patterns(".git", ".satchel"))
        query = options.query or heading(folder)
        print(f"asks for {query!r}")
        env = {k: v for k, v in os.environ.items() if not k.startswith("XDG_") and k != "PYTHONDONTWRITEBYTECODE"}
        env["HOME"] = name
        commands = {
            "python -c pass": [sys.executable, "-c", "pass"],
            "satchel --version": [*satchel_command(), "--version"],
            "satchel search": [*satchel_command(), "search", query],
        }
        run([*satchel_command(), "init"], cwd=folder, env=env)
        tasks = {what: partial(run, command, cwd=folder, env=env) for what, command in commands.items()}
        tasks["satchel mcp, first call"] = partial(first_call, query, folder, env)
        times: dict[str, list[float]] = {what: [] for what in tasks}
        spent: dict[str, list[float]] = {what: [] for what in tasks}
        for _ in range(options.rounds):
            for what, task in tasks.items():
                before = _cpu()
                times[what].append(seconds(task))
                spent[what].append(_cpu() - before)
    bare = median(times["python -c pass"])
    rows = [
        [what, f"{median(t) * 1000:.0f} ms", f"{median(spent[what]) * 1000:.0f} ms", f"{median(t) / bare:.1f}x"]
        for what, t in times.items()
    ]
    head = ["", "median", "CPU", "of bare Python"]
    report(f"process time, {options.folder.name}, median of {options.rounds}", rows, head)
    save(options.json, {what: median(took) for what, took in times.items()})


def heading(folder: Path) -> str:
    """Two words that some heading has."""
    files = sorted(folder.rglob("*.md"))
    for file in files[len(files) // 2 :]:
        for line in file.read_text(encoding="utf-8", errors="replace").splitlines():
            words = re.findall("[A-Za-z]{4,}", line) if line.startswith("#") else []
            if len(words) > 1:
                return " ".join(words[:2])
    sys.exit(f"{folder} has no heading of two words: name some with --query")


def first_call(query: str, folder: Path, env: dict[str, str]) -> None:
    """Start the server, agree on a version and search; over once the answer is there and the process has ended."""
    about = {"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "bench", "version": "1"}}
    asked = {"name": "search", "arguments": {"query": query}}
    said = [
        {"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": about},
        {"jsonrpc": "2.0", "id": 2, "method": "tools/call", "params": asked},
    ]
    lines = "".join(json.dumps(one) + "\n" for one in said)
    done = subprocess.run(
        [*satchel_command(), "mcp"], cwd=folder, env=env, input=lines, capture_output=True, text=True, check=True
    )
    assert json.loads(done.stdout.splitlines()[1])["result"]["isError"] is False


def _cpu() -> float:
    """What all processes started so far have used."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


if __name__ == "__main__":
    main()
