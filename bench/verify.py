"""How fast an installation is checked: `satchel admin verify`, and `--full`, which opens and hashes every byte.

    python bench/verify.py FOLDER [--rounds 3] [--json FILE]

The folder is synced to a fresh `satchel serve` on loopback, which goes on running. Then the check runs, whole commands,
interleaved with reading the same files plainly (`cat`) and with their plain SHA-256 in one thread: what the disk
and one core give at best. Rates are of content, before compression. On a machine that others load, CPU seconds tell
more than the clock: both are shown.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import resource
import shutil
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

from measure import machine, median, report, run, satchel_command, save
from serving import satchel_served


def timed(action: Callable[[], object]) -> tuple[float, float]:
    """Seconds by the clock, and of CPU in this process and in those it waited for."""
    before = _cpu()
    began = time.perf_counter()
    action()
    return time.perf_counter() - began, _cpu() - before


def _cpu() -> float:
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(each.ru_utime + each.ru_stime for each in used)


def hashed(folder: Path) -> int:
    """The bytes of a folder's files, each hashed."""
    total = 0
    for path in folder.rglob("*"):
        if path.is_file() and ".satchel" not in path.parts:
            data = path.read_bytes()
            hashlib.sha256(data).digest()
            total += len(data)
    return total


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json")
    options = parser.parse_args()
    figures: dict[str, object] = {}
    with tempfile.TemporaryDirectory() as name:
        home = Path(name)
        work = home / "folder"
        shutil.copytree(options.folder, work, ignore=shutil.ignore_patterns(".satchel"))
        with satchel_served(home) as (url, env, _):
            command = satchel_command()
            run([*command, "init", "--name", "bench"], cwd=work, env=env)
            run([*command, "remote", "add", url], cwd=work, env=env)
            run([*command, "sync", "--to-cloud"], cwd=work, env=env)
            rows = measure(
                [*command, "admin", "verify", "--data", home / "served", "--json"], work, env, options.rounds
            )
    told = []
    for what, (clock, cpu, size) in rows.items():
        rate, per_cpu = size / clock / 1e6, size / cpu / 1e6
        figures[what] = {"seconds": clock, "cpu": cpu, "bytes": size, "MB/s": rate, "MB per CPU second": per_cpu}
        told.append((what, f"{clock:.2f} s", f"{cpu:.2f} s", f"{rate:,.0f}", f"{per_cpu:,.0f}"))
    load = os.getloadavg()[0]
    report(
        f"verify, {options.folder.name}, {machine()}, load {load:.1f}",
        told,
        ("what", "clock", "CPU", "MB/s", "MB per CPU second"),
    )
    save(options.json, {**figures, "load": load})


def measure(
    command: list[str | Path], folder: Path, env: dict[str, str], rounds: int
) -> dict[str, tuple[float, float, int]]:
    """Median clock and CPU seconds and the bytes of each way to read everything."""
    size = hashed(folder)
    taken: dict[str, list[tuple[float, float]]] = {}
    inside: list[float] = []
    for _ in range(rounds):
        taken.setdefault("SHA-256 of the files, one thread", []).append(timed(lambda: hashed(folder)))
        taken.setdefault("verify, whole command", []).append(timed(lambda: run(command, env=env)))
        answers: list[str] = []
        full = timed(partial(_noted, answers, [*command, "--full"], env))
        taken.setdefault("verify --full, whole command", []).append(full)
        answer = json.loads(answers[-1])
        assert answer["clean"], answer["problems"]
        inside.append(answer["seconds"])
    found = {
        what: (median([clock for clock, _ in each]), median([cpu for _, cpu in each]), size)
        for what, each in taken.items()
    }
    _, cpu, _ = found["verify --full, whole command"]
    start = found["verify, whole command"][1]
    return found | {
        "verify --full, without starting Python": (median(inside), max(cpu - start, 0.001), answer["bytes"])
    }


def _noted(answers: list[str], command: list[str | Path], env: dict[str, str]) -> None:
    answers.append(run(command, env=env))


if __name__ == "__main__":
    main()
