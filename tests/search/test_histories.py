"""An index brought along any history of a project answers, to the last tie, like one built of its last state.

Histories are drawn from a seed: edits, new files, deletions, renames, copies, changes of mode, returns to an old state,
rebuilds, closing and opening, going on with a compact copy as a node does that begins with a checkpoint,
changes large enough to be written in bulk. ``PROVE=1`` walks many and long ones.
"""

from __future__ import annotations

import os
import random
from pathlib import Path

import pytest

from satchel.context.answers import SearchAnswer
from satchel.context.assemble import search_answer, understood
from satchel.context.part import NO_HISTORY, Part
from satchel.objects.ids import object_id
from satchel.objects.reviews import REVIEWED_PATH, Review, write_reviews
from satchel.search import building, matching, schema
from satchel.search.index import Index, remove
from tests.search.trees import Files, as_bytes, bring, digest_of

SEEDS, STEPS = (range(60), 60) if os.environ.get("PROVE") else (range(6), 14)
WORDS = [
    "tide",
    "crane",
    "berth",
    "pilot",
    "gate",
    "storm",
    "lock",
    "channel",
    "harbourMaster",
    "tideTable",
    "max_unavailable",
    "café",
    "数据库",
    "and",
    "the",
]
NAMES = [f"{folder}{name}" for folder in ("", "docs/", "plans/", "decisions/") for name in ("a.md", "b.md", "c.txt")]
BOILERPLATE = "# Licence\n\nThe crane may be used by any pilot of the harbour.\n"
QUESTIONS = (
    "crane", "tide crane berth", "pilot harbour", '"crane may be"', "gate -storm", "harbour*", "harbourMaster", "table",
    "max_unavailable", "数据", "cafe lock", "kind:decision tide", "path:docs crane", "", "-crane", "no such thing",
    "crnae", "reviewed:yes", "crane reviewed:no",
)  # fmt: skip


def text(dice: random.Random) -> str:
    if dice.random() < 0.3:
        return BOILERPLATE  # equal scores
    parts = []
    for _ in range(dice.randrange(1, 4)):
        parts.append(f"{'#' * dice.randrange(1, 4)} {' '.join(dice.choices(WORDS, k=2))}")
        parts.append(" ".join(dice.choices(WORDS, k=dice.randrange(1, 40))) + ".")
        parts.append(f"- [{dice.choice(' x')}] {dice.choice(WORDS)} @ana")
    return "\n\n".join(parts) + "\n"


def step(files: dict[str, bytes | str], past: list[Files], dice: random.Random) -> dict[str, bytes | str]:
    """The next state of the project."""
    files = dict(files)
    match dice.randrange(9):
        case 0 | 1:
            files[dice.choice(NAMES)] = text(dice)
        case 2 if files:
            path = dice.choice(sorted(files))
            files[path] = (
                bytes(str(files[path]), "utf-8") + b"\nOne more tide.\n" if isinstance(files[path], str) else b""
            )
        case 3 if files:
            del files[dice.choice(sorted(files))]
        case 4 if files:
            files[dice.choice(NAMES)] = files.pop(dice.choice(sorted(files)))
        case 5 if files:
            files[dice.choice(NAMES)] = files[dice.choice(sorted(files))]
        case 6:
            return dict(dice.choice(past))
        case 7:
            reviews = [Review(path, object_id(data)) for path, data in as_bytes(files).items() if dice.random() < 0.6]
            files[REVIEWED_PATH] = write_reviews(b"# by hand\n", reviews)
        case _:
            files |= {f"many/{number}.md": text(dice) for number in range(dice.randrange(2, 12))}
    return files


def answers(index: Index, files: Files) -> list[SearchAnswer]:
    part = Part("harbour", index, digest_of(files), None, NO_HISTORY)
    return [search_answer(understood(each), [part], limit=limit) for each in QUESTIONS for limit in (3, 50)]


def everything(index: Index, files: Files) -> dict[str, object]:
    done, still = index.tasks(done=True), index.tasks()
    return {"answers": answers(index, files), "inventory": index.inventory(), "done": done, "tasks": still}


@pytest.mark.parametrize("seed", SEEDS)
def test_any_history_answers_like_a_fresh_index(seed: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    dice = random.Random(seed)
    monkeypatch.setattr(schema, "BULK_FILES", 8)
    monkeypatch.setattr(matching, "HOPE", 0.9)
    monkeypatch.setattr(building, "BATCH_CHARACTERS", 2_000)
    place = tmp_path / "index.db"
    key = dice.randbytes(32) if seed % 3 else None  # as in the cloud, or as in a folder
    files: dict[str, bytes | str] = {}
    past: list[Files] = [files]
    index = Index.open(place, key=key)
    for number in range(STEPS):
        files = step(files, past, dice)
        past.append(files)
        if dice.random() < 0.15:
            index.close()
            if dice.random() < 0.4:
                remove(place)
            index = Index.open(place, key=key)
        if key is not None and dice.random() < 0.2:
            key = dice.randbytes(32)
            assert index.copy(tmp_path / f"{number}.db", key)
            index.close()
            place = tmp_path / f"{number}.db"
            index = Index.open(place, key=key)
        bring(index, files)
        if number % 7 == 6 or number == STEPS - 1:
            with Index.open(None) as fresh:
                bring(fresh, files)
                assert everything(index, files) == everything(fresh, files)
    index.close()
