"""Search over REST: how many questions a second one worker answers, and how long they take at half of that.

    python bench/search_rest.py FOLDER [FOLDER ...] [--seconds 5] [--json FILE]

Each folder is synced to a fresh `satchel serve` of one worker and asked for three words of its headings, ten hits with
snippets. *Different*: no question comes twice. *Repeated*: the same fifty in turn. Sixteen connections saturate the
worker; then the same is asked at half that rate, and times count from when each request was due. The generator shares
the machine: the server's processor time for a request says what one worker alone could do.
"""

from __future__ import annotations

import argparse
import random
import shutil
import sys
import tempfile
from pathlib import Path

sys.path.insert(1, str(Path(__file__).parents[1]))

from load import result, start
from measure import machine, percentile, report, save
from reads import BASE, cpu_seconds, served
from search import questions_of, read_corpus

from satchel.worktree.walk import Worktree

SEED = 8128
DIFFERENT = 20_000
REPEATED = 50
WORDS = 3


def questions(folder: Path) -> list[str]:
    """Searches of which none is like another, of words that stand together in a heading."""
    corpus = read_corpus(Worktree.open(folder))
    headings = [words for one in questions_of(corpus, None, 10**6) if len(words := one.query.split()) >= WORDS]
    dice = random.Random(SEED)
    found: dict[str, None] = {}
    for _ in range(10 * DIFFERENT):
        words = [word for word in dice.sample(dice.choice(headings), WORDS) if word.isalnum()]
        if words:
            found[f"{BASE}/search?q={'+'.join(words)}"] = None
        if len(found) == DIFFERENT:
            break
    return list(found)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folders", type=Path, nargs="+", metavar="FOLDER")
    parser.add_argument("--seconds", type=float, default=5)
    parser.add_argument("--json", metavar="FILE")
    options = parser.parse_args()
    figures: dict[str, object] = {}
    rows = []
    for folder in options.folders:
        for kind, (cpu_ms, most, p50, p95) in measure(folder, options.seconds).items():
            what = f"{folder.name}, {kind}"
            figures[what] = {"cpuMs": cpu_ms, "perSecond": most, "halfLoadP50Ms": p50, "halfLoadP95Ms": p95}
            rows.append([what, f"{cpu_ms:.2f}", f"{1e3 / cpu_ms:.0f}", f"{most:.0f}", f"{p50:.1f}", f"{p95:.1f}"])
    header = ["", "server's CPU ms", "a second of CPU", "answered /s", "half load: p50 ms", "p95 ms"]
    report("search over REST, one worker", rows, header)
    print(f"\n{machine()}")
    save(options.json, figures)


def measure(source: Path, seconds: float) -> dict[str, tuple[float, float, float, float]]:
    """For each kind of questions: CPU milliseconds of a request, requests a second, p50 and p95 ms at half load."""
    found = {}
    with tempfile.TemporaryDirectory(prefix="satchel-bench-") as name:
        folder = Path(name, "bench")
        shutil.copytree(source, folder, ignore=shutil.ignore_patterns(".git", ".satchel"))
        paths = questions(folder)
        with served(folder, Path(name, "home"), {}) as (url, key, process):
            result(start(url, paths[:1], key, connections=1, seconds=1))  # the index is made at the first question
            result(start(url, paths[1:500], key, connections=2, seconds=1))
            third = (len(paths) - 500) // 3
            different = [paths[500 + at * third :][:third] for at in range(3)]
            for kind, asked in (("different", different), ("repeated", [paths[1 : 1 + REPEATED]] * 3)):
                before = cpu_seconds(process)
                load = result(start(url, asked[0], key, connections=2, seconds=seconds))
                cpu_ms = (cpu_seconds(process) - before) / len(load.latencies) * 1e3
                most = result(start(url, asked[1], key, connections=16, seconds=seconds)).per_second
                half = result(start(url, asked[2], key, connections=16, seconds=seconds, rate=most / 2)).latencies
                found[kind] = (cpu_ms, most, percentile(half, 0.5), percentile(half, 0.95))
    return found


if __name__ == "__main__":
    main()
