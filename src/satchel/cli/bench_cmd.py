"""``satchel bench``: how long looking, indexing and searching take here, on one's own files."""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Callable
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import TypeVar

import click

from satchel.cli.face import Face, plural, size
from satchel.cli.folders import project_here, project_named, worktree_of
from satchel.cli.verb import verb
from satchel.context.local import LocalReader
from satchel.errors import SatchelError
from satchel.worktree.walk import Scan, Worktree

T = TypeVar("T")

LOOKS = 5
"""Looks at an unchanged folder; the median counts."""
MAX_QUESTIONS = 1_000
QUESTION_WORDS = 6


@verb(
    "bench",
    examples=[
        ("satchel bench", "Look, index and search, and say how long each takes."),
        ("satchel bench --questions 200 --json", "With more questions, for a script."),
    ],
    gives=(
        "`project`, `files`, `bytes`, `firstLookMs`, `lookMs`, `indexMs`, `indexMbPerSecond`, `indexBytes`, "
        "`questions`, `searchP50Ms`, `searchP95Ms`; the last two are null where there is nothing to ask for."
    ),
)
@click.option(
    "--questions", type=click.IntRange(1, MAX_QUESTIONS), default=50, show_default=True, help="Questions to ask."
)
@click.option("-p", "--project", help="Another project.")
def command(face: Face, questions: int, project: str | None) -> None:
    """Measure how fast your own files are looked at, indexed and searched.

    Builds an index of the project aside, in a temporary folder, asks it for headings of your files, with ten hits and
    their snippets each, and removes it. Nothing of the project is changed. Times are of one process by the clock, so
    leave the machine alone meanwhile; starting `satchel` itself is not in them.
    """
    here = project_named(face, project) if project else project_here(face)
    with tempfile.TemporaryDirectory(prefix="satchel-bench-") as aside:
        fresh = here._replace(state_path=Path(aside) / "state.db", index_path=Path(aside) / "index.db")
        with worktree_of(fresh) as worktree:
            first, scan = _timed(worktree.scan)
            look = statistics.median(_timed(worktree.scan)[0] for _ in range(LOOKS))
            asked = _questions(worktree, scan, questions)
        with closing(LocalReader([fresh])) as reader:
            build = _timed(partial(reader.search, "index"))[0]
            took = sorted(_timed(partial(reader.search, text))[0] for text in asked)
        index_bytes = fresh.index_path.stat().st_size
    total = sum(scan.sizes.values())
    data: dict[str, object] = {
        "project": here.slug,
        "files": len(scan.tree),
        "bytes": total,
        "firstLookMs": first,
        "lookMs": look,
        "indexMs": build,
        "indexMbPerSecond": round(total / max(build, 0.001) / 1_000, 1),
        "indexBytes": index_bytes,
        "questions": len(took),
        "searchP50Ms": took[len(took) // 2] if took else None,
        "searchP95Ms": took[len(took) * 95 // 100] if took else None,
    }

    def show() -> None:
        face.line(f"{face.bold(here.slug)}  {plural(len(scan.tree), 'file')}, {size(total)}")
        face.line(f"  first look   {first:10,.1f} ms   every file read and hashed")
        face.line(f"  look again   {look:10,.1f} ms   nothing changed, median of {LOOKS}")
        face.line(f"  index        {build:10,.1f} ms   {data['indexMbPerSecond']} MB/s, {size(index_bytes)} on disk")
        if took:
            face.line(f"  search       {data['searchP50Ms']:10,.1f} ms   half of {plural(len(took), 'question')}")
            face.line(f"  {'':12} {data['searchP95Ms']:10,.1f} ms   95 of 100")

    face.answer(data, show)


def _timed(work: Callable[[], T]) -> tuple[float, T]:
    """Milliseconds, and what came of it."""
    began = time.perf_counter()
    made = work()
    return round((time.perf_counter() - began) * 1_000, 3), made


def _questions(worktree: Worktree, scan: Scan, most: int) -> list[str]:
    """The first headings of files that lie evenly among all, and their names where there is none."""
    paths = sorted(scan.tree)
    found = []
    for path in paths[:: max(1, len(paths) // most)][:most]:
        try:
            text = worktree.read(path, scan.tree[path].object)[:10_000].decode("utf-8", "replace")
        except SatchelError:
            continue  # changed or gone since
        heading = next((line.strip("# ") for line in text.splitlines() if line.startswith("#")), "")
        words = (heading or Path(path).stem.replace("-", " ")).split()[:QUESTION_WORDS]
        found.append(" ".join(words))
    return [text for text in found if text]
