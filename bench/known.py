"""Questions with known answers, made from a folder by a stated seed: what nobody had to write by hand.

    python bench/known.py FOLDER QUESTIONS.json [--each 150] [--seed 8128]

Four sets, each with the one file that answers:

``heading``    the last two headings over a section
``sentence``   a sentence of prose, a third of its words left out and the rest in another order
``identifier`` a name in camelCase that stands in one file alone, in lower case
``parts``      the words such a name is made of

Headings and sentences found in more than one file are left out. A set tells which of two engines finds more; its
figures say nothing of questions people ask (those are written by hand) and flatter whatever matches words exactly.
"""

from __future__ import annotations

import argparse
import json
import random
import re
from collections import defaultdict
from pathlib import Path

from satchel.documents.document import parse
from satchel.worktree.walk import Worktree

SEED = 8128
_SENTENCE = re.compile(r"(?<=\n\n)[A-Z][^\n|`<>\[\]#]{60,200}?\.(?=\s)")
_CAMEL = re.compile(r"\b[A-Za-z]*[a-z][A-Z][a-z]{2}[A-Za-z]*\b")
_PART = re.compile(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])")


def make(root: Path, each: int, seed: int) -> list[dict[str, object]]:
    """``each`` questions of every set, fewer where the folder holds no more."""
    dice = random.Random(seed)
    worktree = Worktree.open(root)
    where: dict[str, dict[str, set[str]]] = {
        name: defaultdict(set) for name in ("heading", "sentence", "identifier", "parts")
    }
    for path in worktree.scan().tree:
        for section in parse(path, worktree.read(path)).sections:
            if section.trail and len(section.trail[-1].split()) > 2:
                where["heading"][" ".join(section.trail[-2:])].add(path)
            for sentence in _SENTENCE.findall(section.text):
                where["sentence"][sentence].add(path)
            for name in _CAMEL.findall(section.text):
                where["identifier"][name.lower()].add(path)
                if len(parts := _PART.findall(name)) > 2:
                    where["parts"][" ".join(parts).lower()].add(path)
    questions: list[dict[str, object]] = []
    for name, found in where.items():
        alone = sorted((query, *paths) for query, paths in found.items() if len(paths) == 1)
        for query, path in dice.sample(alone, min(each, len(alone))):
            words = query.strip(".").split()
            asked = " ".join(dice.sample(words, len(words) * 2 // 3)) if name == "sentence" else query
            questions.append({"query": asked, "relevant": [path], "set": name})
    return questions


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("questions", type=Path)
    parser.add_argument("--each", type=int, default=150)
    parser.add_argument("--seed", type=int, default=SEED)
    options = parser.parse_args()
    questions = make(options.folder.resolve(), options.each, options.seed)
    options.questions.write_text(json.dumps(questions, indent=1, ensure_ascii=False) + "\n")
    print(f"{len(questions)} questions in {options.questions}")


if __name__ == "__main__":
    main()
