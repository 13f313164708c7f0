"""Process time of `satchel search` beside bare Python, interleaved, medians.

    python bench/startup.py FOLDER [--query "deployment strategy"] [--rounds 21] [--json FILE]

The folder is copied and initialised first, so that the index is warm: this is what a person or an agent waits for.
"""

from __future__ import annotations

import argparse
import os
import shutil
import sys
import tempfile
from functools import partial
from pathlib import Path

from measure import machine, median, report, run, satchel_command, save, seconds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--query", default="deployment strategy")
    parser.add_argument("--rounds", type=int, default=21)
    parser.add_argument("--json", metavar="FILE")
    options = parser.parse_args()
    print(machine())
    with tempfile.TemporaryDirectory(prefix="satchel-bench-") as name:
        folder = Path(name, "folder")
        shutil.copytree(options.folder, folder, ignore=shutil.ignore_patterns(".git", ".satchel"))
        env = {k: v for k, v in os.environ.items() if not k.startswith("XDG_") and k != "PYTHONDONTWRITEBYTECODE"}
        env["HOME"] = name
        commands = {
            "python -c pass": [sys.executable, "-c", "pass"],
            "satchel --version": [*satchel_command(), "--version"],
            "satchel search": [*satchel_command(), "search", options.query],
        }
        run([*satchel_command(), "init"], cwd=folder, env=env)
        times: dict[str, list[float]] = {what: [] for what in commands}
        for _ in range(options.rounds):
            for what, command in commands.items():
                times[what].append(seconds(partial(run, command, cwd=folder, env=env)))
    bare = median(times["python -c pass"])
    rows = [[what, f"{median(t) * 1000:.0f} ms", f"{median(t) / bare:.1f}x"] for what, t in times.items()]
    report(f"process time, {options.folder.name}, median of {options.rounds}", rows, ["", "median", "of bare Python"])
    save(options.json, {what: median(took) for what, took in times.items()})


if __name__ == "__main__":
    main()
