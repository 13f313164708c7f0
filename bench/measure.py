"""What every bench script shares: timing whole commands, medians, and saying which machine it was.

Figures are only worth comparing inside one run: scripts interleave Satchel with its peers, round by round, and
report medians with ratios. The script writes what it found to ``--json FILE`` as well.
"""

from __future__ import annotations

import json
import os
import platform
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path


def machine() -> str:
    """One line that names the machine: processor, cores, memory, system, Python."""
    model = platform.processor() or platform.machine()
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                model = line.partition(":")[2].strip()
                break
        pages = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
        memory = f"{pages / 2**30:.0f} GiB"
    except (OSError, ValueError):
        memory = "memory unknown"
    python = platform.python_version()
    return f"{model}, {os.cpu_count()} cores, {memory}, {platform.system()} {platform.release()}, Python {python}"


def run(command: Sequence[str | Path], *, cwd: Path | None = None, env: Mapping[str, str] | None = None) -> str:
    """Run a command to its end and return its standard output; stop the bench, saying why, if it fails."""
    done = subprocess.run(
        [str(part) for part in command], check=False, cwd=cwd, env=env, capture_output=True, text=True
    )
    if done.returncode != 0:
        sys.exit(
            f"{' '.join(map(str, command))} ended with {done.returncode}:\n{done.stdout[-2000:]}{done.stderr[-2000:]}"
        )
    return done.stdout


def seconds(action: Callable[[], object]) -> float:
    """Wall-clock seconds that ``action`` took."""
    started = time.perf_counter()
    action()
    return time.perf_counter() - started


def median(values: Sequence[float]) -> float:
    return statistics.median(values)


def percentile(values: Sequence[float], share: float) -> float:
    """The value below which ``share`` (0 to 1) of the values lie, nearest rank."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


def report(title: str, rows: Sequence[Sequence[object]], header: Sequence[str]) -> None:
    """Print a table in Markdown."""
    print(f"\n## {title}\n")
    print("| " + " | ".join(header) + " |")
    print("|" + "---|" * len(header))
    for row in rows:
        print("| " + " | ".join(str(cell) for cell in row) + " |")
    sys.stdout.flush()


def save(path: str | None, figures: object) -> None:
    if path:
        Path(path).write_text(json.dumps({"machine": machine(), "figures": figures}, indent=2) + "\n")


def satchel_command() -> list[str]:
    """The ``satchel`` beside the running Python, else the one on PATH."""
    beside = Path(sys.executable).with_name("satchel")
    found = str(beside) if beside.exists() else shutil.which("satchel")
    if not found:
        sys.exit("no `satchel` command: install Satchel into this Python first (make test does)")
    return [found]
