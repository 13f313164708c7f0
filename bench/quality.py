"""How good the first hits are: recall@5, recall@10, MRR@10 and nDCG@10 of questions whose answers are known.

    python bench/quality.py FOLDER QUESTIONS.json [--half tune|held] [--index FILE] [--json FILE]

``QUESTIONS`` is a JSON list of ``{"query": ..., "relevant": [path substrings], "set": name}``; the set may be missing.
Written by hand, or made by ``bench/known.py``. Beside Satchel stands plain FTS5 (text stored, any word) over the same
sections. Places are those of the hits as a caller gets them: a second section of a page that was found takes a place
and earns nothing.

``--half`` asks only one half of the questions, split by a hash of their text: a setting is chosen on ``tune`` and
believed on ``held``. ``--index`` keeps the index between runs; delete it when the words of the index change.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import math
import tempfile
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import apsw
from measure import report, save
from search import HITS, ask_plain, build_plain, read_corpus
from search import Question as Asked

from satchel.objects.listing import digest
from satchel.search.index import Index
from satchel.search.query import parse_query
from satchel.worktree.walk import Worktree

MEASURES = ("recall@5", "recall@10", "MRR@10", "nDCG@10")


class Question(NamedTuple):
    query: str
    relevant: tuple[str, ...]
    """Substrings of paths; each that comes up counts once."""
    of: str
    """The set it belongs to."""


class Worth(NamedTuple):
    """Of one answer, in the order of ``MEASURES``."""

    recall5: float
    recall10: float
    reciprocal: float
    gain: float


def read_questions(file: Path, half: str | None) -> list[Question]:
    loaded = [
        Question(each["query"], tuple(each["relevant"]), each.get("set", file.stem))
        for each in json.loads(file.read_text())
    ]
    return [each for each in loaded if half in (None, half_of(each.query))]


def half_of(query: str) -> str:
    return "held" if hashlib.sha256(query.encode()).digest()[0] % 2 else "tune"


def worth(paths: Sequence[str], relevant: Sequence[str]) -> Worth:
    """What the hits are worth. A relevant page counts at its first hit."""
    first: dict[str, int] = {}
    for place, path in enumerate(paths[:HITS], 1):
        for part in relevant:
            if part in path:
                first.setdefault(part, place)
    ideal = sum(1 / math.log2(place + 1) for place in range(1, min(len(relevant), HITS) + 1))
    return Worth(
        sum(place <= 5 for place in first.values()) / min(len(relevant), 5),
        len(first) / min(len(relevant), HITS),
        1 / min(first.values()) if first else 0.0,
        # Two parts may come up in one hit; each page has a place of its own in the ideal order, so later ones slip.
        min(1.0, sum(1 / math.log2(place + 1) for place in first.values()) / ideal),
    )


def means(worths: Sequence[Worth]) -> list[float]:
    return [sum(column) / len(worths) for column in zip(*worths, strict=True)]


def measure(root: Path, questions: list[Question], index_file: Path, scratch: Path) -> dict[str, object]:
    worktree = Worktree.open(root)
    scan = worktree.scan()
    found: dict[tuple[str, str], list[Worth]] = defaultdict(list)
    with Index.open(index_file) as index:
        index.bring(digest(scan.tree), scan.tree, worktree.read, scan.sizes)
        for question in questions:
            hits = index.search(parse_query(question.query), HITS).sections
            found[question.of, "satchel"].append(worth([hit.path for hit in hits], question.relevant))
    plain = scratch / "plain.db"
    build_plain(plain, read_corpus(worktree)).close()
    database = apsw.Connection(str(plain))
    for question in questions:
        paths = ask_plain(database, Asked(question.query, question.relevant))
        found[question.of, "plain"].append(worth(paths, question.relevant))
    database.close()
    rows, figures = [], {}
    for (of, engine), worths in found.items():
        mean = means(worths)
        rows.append([of, engine, str(len(worths)), *(f"{value:.3f}" for value in mean)])
        figures[f"{of} {engine}"] = dict(zip(MEASURES, mean, strict=True), questions=len(worths))
    report(f"{len(questions)} questions", rows, ["set", "engine", "n", *MEASURES])
    return figures


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("questions", type=Path)
    parser.add_argument("--half", choices=["tune", "held"])
    parser.add_argument("--index", type=Path)
    parser.add_argument("--json")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        save(
            options.json,
            measure(
                options.folder.resolve(),
                read_questions(options.questions, options.half),
                options.index or Path(scratch, "index.db"),
                Path(scratch),
            ),
        )


if __name__ == "__main__":
    main()
