"""Whether a local model finds more: Satchel's hits, the model's, and both fused by rank.

    python bench/fusion.py FOLDER QUESTIONS.json MODEL

``MODEL`` is a folder with ``tokenizer.json`` and either ``model.onnx``, a transformer whose outputs are averaged, or
``model.safetensors``, a table of one vector for each token. Needs numpy, tokenizers and onnxruntime or safetensors,
which Satchel does not.

A page takes one place in every list, at its best section. A page at place ``i`` earns ``1 / (k + i)`` from Satchel and
``weight / (k + i)`` from the model; ``k`` and ``weight`` are chosen on one half of the questions (``bench/quality.py``
splits them) and believed on the other.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from measure import report
from quality import MEASURES, Question, half_of, means, read_questions, worth
from tokenizers import Tokenizer

from satchel.documents.document import parse
from satchel.documents.kinds import indexable
from satchel.objects.listing import digest
from satchel.search.index import Index
from satchel.search.query import parse_query
from satchel.worktree.walk import Worktree

DEPTH = 100
"""Pages of each list that take part."""
KS = (2, 5, 10, 20, 40, 60)
WEIGHTS = (0.25, 0.35, 0.5, 0.7, 1.0)
TOKENS = 256
"""What a transformer reads of a section."""
BATCH = 16

Embed = Callable[[Sequence[str]], np.ndarray]


def table(model: Path) -> Embed:
    from safetensors.numpy import load_file

    vectors = next(iter(load_file(model / "model.safetensors").values())).astype(np.float32)
    tokenizer = Tokenizer.from_file(str(model / "tokenizer.json"))
    tokenizer.no_padding()
    tokenizer.no_truncation()

    def embed(texts: Sequence[str]) -> np.ndarray:
        found = np.zeros((len(texts), vectors.shape[1]), np.float32)
        for at, text in enumerate(tokenizer.encode_batch(list(texts), add_special_tokens=False)):
            if text.ids:
                found[at] = vectors[text.ids].mean(0)
        return found / np.maximum(np.linalg.norm(found, axis=1, keepdims=True), 1e-9)

    return embed


def transformer(model: Path) -> Embed:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(str(model / "model.onnx"), options, providers=["CPUExecutionProvider"])
    inputs = {each.name for each in session.get_inputs()}
    tokenizer = Tokenizer.from_file(str(model / "tokenizer.json"))
    tokenizer.no_padding()
    tokenizer.enable_truncation(TOKENS)

    def embed(texts: Sequence[str]) -> np.ndarray:
        tokens = [each.ids for each in tokenizer.encode_batch(list(texts))]
        order = sorted(range(len(tokens)), key=lambda at: len(tokens[at]))  # like lengths together: little padding
        found: dict[int, np.ndarray] = {}
        for start in range(0, len(order), BATCH):
            batch = order[start : start + BATCH]
            ids = np.zeros((len(batch), max(len(tokens[at]) for at in batch)), np.int64)
            mask = np.zeros_like(ids)
            for row, at in enumerate(batch):
                ids[row, : len(tokens[at])] = tokens[at]
                mask[row, : len(tokens[at])] = 1
            given = {"input_ids": ids, "attention_mask": mask, "token_type_ids": np.zeros_like(ids)}
            out = session.run(None, {name: value for name, value in given.items() if name in inputs})[0]
            mean = (out * mask[:, :, None]).sum(1) / mask.sum(1, keepdims=True)
            found |= dict(zip(batch, mean / np.linalg.norm(mean, axis=1, keepdims=True), strict=True))
        return np.stack([found[at] for at in range(len(tokens))])

    return embed


def pages(paths: Sequence[str]) -> list[str]:
    return list(dict.fromkeys(paths))[:DEPTH]


def fused(words: Sequence[str], sense: Sequence[str], k: int, weight: float) -> list[str]:
    earned = {path: 1 / (k + place) for place, path in enumerate(words, 1)}
    for place, path in enumerate(sense, 1):
        earned[path] = earned.get(path, 0) + weight / (k + place)
    return sorted(earned, key=lambda path: (-earned[path], path))


def measure(root: Path, questions: list[Question], embed: Embed) -> None:
    worktree = Worktree.open(root)
    scan = worktree.scan()
    owners, texts = [], []
    for path in scan.tree:
        if indexable(path, scan.sizes[path]):
            document = parse(path, worktree.read(path))
            for section in document.sections:
                owners.append(path)
                texts.append(f"{' > '.join(dict.fromkeys([document.title, *section.trail]))}\n{section.text}")
    started = time.process_time()
    vectors = embed(texts)
    took = time.process_time() - started
    size = sum(len(text.encode()) for text in texts) / 1e6
    print(f"{len(texts)} sections, {size:.1f} MB in {took:.0f} s of processor time, {size / took:.3f} MB/s")
    with Index.open(None) as index:
        index.bring(digest(scan.tree), scan.tree, worktree.read, scan.sizes)
        words = [
            pages([hit.path for hit in index.search(parse_query(each.query), DEPTH).sections]) for each in questions
        ]
    near = embed([each.query for each in questions]) @ vectors.T
    sense = [pages([owners[at] for at in np.argsort(-row, kind="stable")[: 4 * DEPTH]]) for row in near]

    def worths(lists: Sequence[Sequence[str]], half: str | None) -> list[float]:
        asked = zip(lists, questions, strict=True)
        return means([worth(found, each.relevant) for found, each in asked if half in (None, half_of(each.query))])

    def both(k: int, weight: float) -> list[list[str]]:
        return [fused(one, other, k, weight) for one, other in zip(words, sense, strict=True)]

    k, weight = max(((k, weight) for k in KS for weight in WEIGHTS), key=lambda each: worths(both(*each), "tune")[3])
    rows = [
        [name, half or "all", *(f"{value:.3f}" for value in worths(lists, half))]
        for name, lists in (("satchel", words), ("model", sense), (f"fused, k={k}, weight={weight}", both(k, weight)))
        for half in ("tune", "held", None)
    ]
    report(f"{len(questions)} questions", rows, ["list", "half", *MEASURES])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("questions", type=Path)
    parser.add_argument("model", type=Path)
    options = parser.parse_args()
    embed = transformer(options.model) if (options.model / "model.onnx").exists() else table(options.model)
    measure(options.folder.resolve(), read_questions(options.questions, None), embed)


if __name__ == "__main__":
    main()
