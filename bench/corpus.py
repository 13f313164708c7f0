"""Make text corpora with a stated seed, for benchmarks that need more text than is at hand.

``fresh``: every file is new text (Zipf-distributed words, headings, lists, code), nothing repeated.
``near``:  a tenth as many originals, each with nine near-duplicates in which one line in fifty differs. Near-duplicates
           flatter whatever compresses files together, so report ``fresh`` beside it.
``binary``: noise that nothing compresses, a few large files, and 20 small texts to edit.

    python bench/corpus.py fresh corpora/fresh --files 8000 --megabytes 100
"""

from __future__ import annotations

import argparse
import itertools
import os
import random
from collections.abc import Iterator
from pathlib import Path

SEED = 8128
VOCABULARY = 20_000
_SYLLABLES = [a + b for a in "bcdfglmnprstv" for b in ("a", "e", "i", "o", "u", "an", "er", "is", "or")]


class Writer:
    """An endless source of plausible Markdown from one seed."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        names = set[str]()
        while len(names) < VOCABULARY:
            names.add("".join(self.random.choices(_SYLLABLES, k=self.random.choice((1, 2, 2, 3, 3, 4)))))
        self.words = sorted(names)
        self.random.shuffle(self.words)
        self.weights = list(itertools.accumulate(1 / (rank + 2) for rank in range(VOCABULARY)))

    def phrase(self, count: int) -> str:
        return " ".join(self.random.choices(self.words, cum_weights=self.weights, k=count))

    def lines(self, size: int) -> Iterator[str]:
        """Lines of one document of about ``size`` bytes."""
        written = 0
        yield f"# {self.phrase(4).title()}"
        while written < size:
            roll = self.random.random()
            if roll < 0.06:
                line = f"\n## {self.phrase(3).title()}\n"
            elif roll < 0.16:
                line = f"- [{self.random.choice(' x')}] {self.phrase(8)}"
            elif roll < 0.2:
                line = f"```\n{self.phrase(4).replace(' ', '_')} = {self.random.randrange(10**6)}\n```"
            else:
                line = f"{self.phrase(16).capitalize()}."
            written += len(line) + 1
            yield line


def make(kind: str, folder: Path, files: int, megabytes: float, seed: int = SEED) -> None:
    """Write the corpus into ``folder``, which must not exist yet."""
    writer = Writer(seed)
    if kind == "binary":
        folder.mkdir(parents=True)
        for number in range(files):
            (folder / f"image{number:02}.bin").write_bytes(writer.random.randbytes(int(megabytes * 1e6 / files)))
            (folder / f"note{number:02}.md").write_text("\n".join(writer.lines(2_000)) + "\n")
        return
    mean = megabytes * 1e6 / files
    variants = 10 if kind == "near" else 1
    for number in range(files // variants):
        document = list(writer.lines(int(mean * writer.random.lognormvariate(-0.32, 0.8))))
        for variant in range(variants):
            if variant:
                for _ in range(max(1, len(document) // 50)):
                    document[writer.random.randrange(1, len(document))] = writer.phrase(14)
            path = folder / f"area{number % 40:02}" / f"topic{number:05}-{variant}.md"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text("\n".join(document) + "\n")


def edit(folder: Path, count: int, seed: int = SEED) -> list[Path]:
    """Change one line in each of ``count`` text files spread over ``folder``; returns them."""
    dice = random.Random(seed)
    every: list[Path] = []
    for place, folders, names in os.walk(folder):
        folders[:] = [name for name in folders if not name.startswith(".")]
        every += [Path(place, name) for name in names if name.endswith(".md")]
    every.sort()
    chosen = dice.sample(every, min(count, len(every)))
    for path in chosen:
        lines = path.read_text(errors="replace").splitlines() or [""]
        lines[dice.randrange(len(lines))] = f"Edited: {dice.randrange(10**9)} of the bench."
        path.write_text("\n".join(lines) + "\n")
    return chosen


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("kind", choices=["fresh", "near", "binary"])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--files", type=int, default=8_000)
    parser.add_argument("--megabytes", type=float, default=100)
    parser.add_argument("--seed", type=int, default=SEED)
    options = parser.parse_args()
    make(options.kind, options.folder, options.files, options.megabytes, options.seed)


if __name__ == "__main__":
    main()
