"""Search of one folder: build of the index in MB/s, changes of ten files, queries p50/p95, and how often the right page
comes first.

    python bench/search.py FOLDER [--questions FILE] [--rounds 5] [--json FILE]

Without questions (a JSON list of ``{"query": ..., "relevant": [path substrings]}``) it asks for known items: headings
chosen with a stated seed, to be found in the file they stand in. In the same rounds the same questions are put to plain
FTS5 (text stored, any word) over the same sections, and the longest word of each to ``git grep``, the best a person
has without an index. Times are processor time, of every thread and of git's process, so that a busy machine tells
nearly the same; ratios of one run are what counts.
"""

from __future__ import annotations

import argparse
import json
import random
import resource
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import apsw
from measure import machine, median, percentile, report, run, save

from satchel.documents.document import parse
from satchel.objects.ids import object_id
from satchel.objects.listing import Entry, digest
from satchel.search.index import Index, remove
from satchel.search.query import parse_query
from satchel.search.words import match_expression, quoted
from satchel.worktree.walk import Worktree

SEED = 8128
KNOWN_ITEMS = 100
HITS = 10
EDITS, EDITED_FILES = 40, 10


class Question(NamedTuple):
    query: str
    relevant: tuple[str, ...]
    """Substrings of paths; any one counts."""


class Corpus(NamedTuple):
    root: Path
    data: dict[str, bytes]
    megabytes: float
    """Of the text that is indexed."""


def read_corpus(worktree: Worktree) -> Corpus:
    data = {path: worktree.read(path) for path in worktree.scan().tree}
    text = sum(len(one) for path, one in data.items() if parse(path, one).sections)
    return Corpus(worktree.root, data, text / 1e6)


def questions_of(corpus: Corpus, file: str | None, known_items: int = KNOWN_ITEMS) -> list[Question]:
    if file:
        loaded = json.loads(Path(file).read_text())
        return [Question(one["query"], tuple(one["relevant"])) for one in loaded]
    known = sorted(
        {
            (" ".join(section.trail[-2:]), path)
            for path, data in corpus.data.items()
            for section in parse(path, data).sections
            if section.trail and len(section.trail[-1].split()) > 2
        }
    )
    random.Random(SEED).shuffle(known)
    return [Question(heading, (path,)) for heading, path in known[:known_items]]


def build(index: Index, corpus: Corpus, worktree: Worktree) -> None:
    scan = worktree.scan()
    index.bring(digest(scan.tree), scan.tree, worktree.read, scan.sizes)


def edits(index: Index, corpus: Corpus) -> list[float]:
    """Seconds of each of ``EDITS`` changes of ten documents, one after the other."""
    dice = random.Random(SEED)
    data = dict(corpus.data)
    tree = {path: Entry("100644", object_id(one)) for path, one in data.items()}
    sizes = {path: len(one) for path, one in data.items()}
    index.bring(digest(tree), tree, data.__getitem__, sizes)
    documents = [path for path in sorted(data) if path.endswith(".md")]
    took = []
    for number in range(EDITS):
        for path in dice.sample(documents, min(EDITED_FILES, len(documents))):
            data[path] += f"\nEdit {number} says one more thing.\n".encode()
            tree[path], sizes[path] = Entry("100644", object_id(data[path])), len(data[path])
        name = digest(tree)
        took.append(timed(lambda name=name: index.bring(name, tree, data.__getitem__, sizes)))
    return took


def build_plain(path: Path, corpus: Corpus) -> apsw.Connection:
    """FTS5 as the manual shows it: stored text, no compression, one transaction."""
    database = apsw.Connection(str(path))
    database.pragma("journal_mode", "wal")
    database.pragma("synchronous", 1)
    database.execute("CREATE VIRTUAL TABLE plain USING fts5(path UNINDEXED, body, tokenize='porter unicode61')")
    with database:
        database.executemany(
            "INSERT INTO plain VALUES(?, ?)",
            ((path, section.text) for path, data in corpus.data.items() for section in parse(path, data).sections),
        )
    return database


def ask_plain(database: apsw.Connection, question: Question) -> list[str]:
    expression = match_expression([quoted(term) for term in parse_query(question.query).sought], (), every=False)
    found = database.execute(
        "SELECT path, snippet(plain, 1, '[', ']', '…', 30) FROM plain WHERE plain MATCH ? ORDER BY rank LIMIT ?",
        (expression, HITS),
    )
    return [str(path) for path, _ in found]


def first_right(paths: Sequence[str], question: Question) -> float:
    """One over the place of the first right page among the hits, 0 without one."""
    for place, path in enumerate(paths, 1):
        if any(part in path for part in question.relevant):
            return 1 / place
    return 0.0


def longest_word(question: Question) -> str:
    return max((word.strip("?!.,;:()\"'`") for word in question.query.split()), key=len)


def timed(action: Callable[[], object]) -> float:
    started = processor_seconds()
    action()
    return processor_seconds() - started


def processor_seconds() -> float:
    """Spent by all threads of this process and by the processes it ran to their end."""
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    return time.process_time() + children.ru_utime + children.ru_stime


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--questions")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        figures = measure(options.folder.resolve(), Path(scratch), options.questions, options.rounds)
    print(f"\n{machine()}")
    save(options.json, figures)


def measure(root: Path, scratch: Path, questions_file: str | None, rounds: int) -> dict[str, object]:
    worktree = Worktree.open(root)
    corpus = read_corpus(worktree)
    questions = questions_of(corpus, questions_file)
    own, plain = scratch / "index.db", scratch / "plain.db"
    builds: dict[str, list[float]] = {"satchel": [], "plain": []}
    for _ in range(max(rounds // 2, 1)):
        remove(own)
        index = Index.open(own)
        builds["satchel"].append(timed(lambda index=index: build(index, corpus, worktree)))
        index.close()
        remove(plain)
        builds["plain"].append(timed(lambda: build_plain(plain, corpus).close()))
    size = own.stat().st_size / 1e6
    asked = ask(corpus, questions, own, plain, rounds)
    figures = tell(corpus, questions, builds, asked, size)
    with Index.open(own) as index:
        edited = edits(index, corpus)
    figures["editP50Ms"], figures["editWorstMs"] = median(edited) * 1e3, max(edited) * 1e3
    print(f"\nIndex {size / corpus.megabytes:.2f} x the text; ten changed files: median {median(edited) * 1e3:.1f} ms,")
    print(f"the worst of {EDITS} changes {max(edited) * 1e3:.1f} ms")
    return figures


def ask(corpus: Corpus, questions: list[Question], own: Path, plain: Path, rounds: int) -> dict[str, object]:
    """Every question to every engine, round by round; per question the median of its rounds counts."""
    times: dict[str, list[list[float]]] = {name: [[] for _ in questions] for name in ("satchel", "plain", "git grep")}
    right: dict[str, list[float]] = {"satchel": [], "plain": []}
    database = apsw.Connection(str(plain))
    with Index.open(own) as index:
        for round_ in range(rounds):
            for place, question in enumerate(questions):
                query = question.query
                times["satchel"][place].append(timed(lambda query=query: index.search(parse_query(query), HITS)))
                times["plain"][place].append(timed(lambda question=question: ask_plain(database, question)))
                if round_ == 0:
                    found = index.search(parse_query(query), HITS).sections
                    right["satchel"].append(first_right([hit.path for hit in found], question))
                    right["plain"].append(first_right(ask_plain(database, question), question))
                if round_ == 0 and place < 20:
                    word = longest_word(question)
                    times["git grep"][place].append(timed(lambda word=word: grep(corpus.root, word)))
    return {"times": {name: [median(one) for one in each if one] for name, each in times.items()}, "right": right}


def grep(root: Path, word: str) -> None:
    run(["sh", "-c", 'git grep --no-index -i -F -n -e "$1" . > /dev/null || test $? = 1', "grep", word], cwd=root)


def tell(
    corpus: Corpus, questions: list[Question], builds: dict[str, list[float]], asked: dict[str, object], size: float
) -> dict[str, object]:
    times, right = asked["times"], asked["right"]
    assert isinstance(times, dict)
    assert isinstance(right, dict)
    rows = []
    figures: dict[str, object] = {"megabytes": corpus.megabytes, "questions": len(questions), "indexMegabytes": size}
    for name, each in times.items():
        row = {"p50Ms": percentile(each, 0.5) * 1e3, "p95Ms": percentile(each, 0.95) * 1e3}
        if name in builds:
            row["buildMegabytesPerSecond"] = corpus.megabytes / median(builds[name])
            row["mrr"] = sum(right[name]) / len(right[name])
        figures[name] = row
        rows.append(
            [
                name,
                f"{row['buildMegabytesPerSecond']:.1f}" if name in builds else "-",
                f"{row['p50Ms']:.2f}",
                f"{row['p95Ms']:.2f}",
                f"{row['p95Ms'] / (percentile(times['plain'], 0.95) * 1e3):.2f}",
                f"{row['mrr']:.3f}" if name in builds else "-",
            ]
        )
    title = f"{corpus.megabytes:.1f} MB of text in {len(corpus.data):,} files, {len(questions)} questions"
    report(title, rows, ["", "build MB/s", "p50 ms", "p95 ms", "p95 to plain", "MRR@10"])
    return figures


if __name__ == "__main__":
    main()
