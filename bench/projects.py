"""Search across projects: a folder dealt to 10 and to 100 projects by topic, and four ways to rank what they find.

    python bench/projects.py FOLDER QUESTIONS.json [--half tune|held] [--projects 10 100] [--json FILE]

Files are dealt by spherical k-means over their stems (stated seed), so that words which are rare in all are common in
one project: what makes scores of separate indexes differ. Ways: the answer that Satchel gives; each project's own
scores as they are (``own``); reciprocal-rank fusion of the projects' lists (``fused``, k = 60); one index of all
(``merged``), which no server that keeps tenants and grants apart could have. Quality as in ``bench/quality.py``, and
the processor time of a whole answer, indexes open.
"""

from __future__ import annotations

import argparse
import math
import random
import time
from collections import Counter, defaultdict
from collections.abc import Sequence
from pathlib import Path

from measure import percentile, report, save
from quality import MEASURES, Question, Worth, means, read_questions, worth
from search import HITS

from satchel.context.assemble import search_answer, understood
from satchel.context.part import History, Part
from satchel.objects.ids import Digest
from satchel.objects.listing import Tree, digest
from satchel.search.index import Index
from satchel.worktree.walk import Worktree

SEED = 8128
ROUNDS = 6
WORDS_KEPT = 60
FUSION = 60
Vector = dict[str, float]


def deal(data: dict[str, bytes], stems: Index, count: int) -> dict[str, int]:
    """The project of every path, by k-means over the words that tell a file from others."""
    tokenize = stems._matcher.tokenize
    counts = {path: Counter(token[2] for token in tokenize(raw.decode(errors="replace"))) for path, raw in data.items()}
    spread = Counter(word for each in counts.values() for word in each)
    vectors: dict[str, Vector] = {}
    for path, each in counts.items():
        weighted = {word: (1 + math.log(n)) * math.log(len(data) / spread[word]) for word, n in each.items()}
        best = dict(sorted(weighted.items(), key=lambda pair: (-pair[1], pair[0]))[:WORDS_KEPT])
        vectors[path] = unit(best)
    centres = [vectors[path] for path in random.Random(SEED).sample(sorted(vectors), count)]
    dealt: dict[str, int] = {}
    for _ in range(ROUNDS):
        holders: dict[str, list[tuple[int, float]]] = defaultdict(list)
        for number, centre in enumerate(centres):
            for word, weight in centre.items():
                holders[word].append((number, weight))
        for path, vector in vectors.items():
            near = [0.0] * count
            for word, weight in vector.items():
                for number, other in holders.get(word, ()):
                    near[number] += weight * other
            dealt[path] = max(range(count), key=near.__getitem__)
        sums: list[Counter[str]] = [Counter() for _ in range(count)]
        for path, number in dealt.items():
            for word, weight in vectors[path].items():
                sums[number][word] += weight
        centres = [unit(dict(each.most_common(200))) or centre for each, centre in zip(sums, centres, strict=True)]
    return dealt


def unit(vector: Vector) -> Vector:
    length = math.sqrt(sum(weight * weight for weight in vector.values()))
    return {word: weight / length for word, weight in vector.items()} if length else {}


def indexed(tree: Tree, data: dict[str, bytes]) -> Index:
    index = Index.open(None)
    index.bring(digest(tree), tree, data.__getitem__, {path: len(data[path]) for path in tree})
    return index


def parts_of(indexes: Sequence[Index]) -> list[Part]:
    nothing = History(lambda _paths: {}, None)
    return [Part(f"project-{at:03}", index, index.digest or Digest(""), 1, nothing) for at, index in enumerate(indexes)]


def ways(query: str, parts: Sequence[Part]) -> dict[str, list[str]]:
    """Paths by each way of ranking."""
    lists = [search_answer(understood(query), [part], limit=HITS)["hits"] for part in parts]
    own = sorted((-hit["score"], hit["project"], hit["path"], hit["lines"]) for hits in lists for hit in hits)
    fused = sorted(
        (-1 / (FUSION + place), hit["project"], hit["path"]) for hits in lists for place, hit in enumerate(hits)
    )
    answer = search_answer(understood(query), parts, limit=HITS)["hits"]
    return {
        "satchel": [hit["path"] for hit in answer],
        "own": [path for _, _, path, _ in own[:HITS]],
        "fused": [path for _, _, path in fused[:HITS]],
    }


def measure(root: Path, questions: list[Question], counts: Sequence[int]) -> dict[str, object]:
    worktree = Worktree.open(root)
    tree = worktree.scan().tree
    data = {path: worktree.read(path) for path in tree}
    figures: dict[str, object] = {}
    with indexed(tree, data) as merged:
        whole = parts_of([merged])
        one = [[h["path"] for h in search_answer(understood(q.query), whole, limit=HITS)["hits"]] for q in questions]
        for count in counts:
            dealt = deal(data, merged, count)
            projects = [{p: tree[p] for p in tree if dealt[p] == number} for number in range(count)]
            parts = parts_of([indexed(each, data) for each in projects if each])
            found: dict[str, list[Worth]] = defaultdict(list)
            times = []
            for question, paths in zip(questions, one, strict=True):
                started = time.thread_time()
                search_answer(understood(question.query), parts, limit=HITS)
                times.append((time.thread_time() - started) * 1e3)
                for way, these in {**ways(question.query, parts), "merged": paths}.items():
                    found[way].append(worth(these, question.relevant))
            rows = [[way, *(f"{value:.3f}" for value in means(worths))] for way, worths in found.items()]
            p50, p95 = percentile(times, 0.5), percentile(times, 0.95)
            sizes = sorted(len(each) for each in projects)
            title = f"{len(parts)} projects of {sizes[0]} to {sizes[-1]} files: {p50:.1f} / {p95:.1f} ms a question"
            report(title, rows, ["way", *MEASURES])
            figures[str(count)] = {"p50Ms": p50, "p95Ms": p95, "ways": {row[0]: row[1:] for row in rows}}
            for part in parts:
                part.index.close()
    return figures


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("questions", type=Path)
    parser.add_argument("--half", choices=["tune", "held"])
    parser.add_argument("--projects", type=int, nargs="+", default=[10, 100])
    parser.add_argument("--json")
    options = parser.parse_args()
    questions = read_questions(options.questions, options.half)
    save(options.json, measure(options.folder.resolve(), questions, options.projects))


if __name__ == "__main__":
    main()
