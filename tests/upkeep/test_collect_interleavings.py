"""Collect, repack and purge beside pushes, uploads in two steps, resumed ones and reads, in many orders.

``scripts/prove.py`` runs many thousand orders; here there are fewer, and planted defects that have to be noticed.
"""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from satchel.catalog import dying, packs
from satchel.catalog.dying import PackSize
from satchel.catalog.scope import Scope
from tests.upkeep.interleaving import Stage

pytestmark = [pytest.mark.anyio, pytest.mark.promise("P3")]
ALL = bool(os.environ.get("PROVE"))
SCHEDULES, PARTS = (10_000, 100) if ALL else (28, 4)
CASTS = (
    ("writer", "uploader", "collector", "reader"),
    ("resumer", "collector", "writer"),
    ("resumer", "resumer", "collector"),
    ("sleeper", "uploader", "collector", "collector"),
    ("writer", "writer", "reader", "collector"),
    ("purger", "writer", "reader"),
    ("purger", "resumer", "collector"),
)
ENOUGH = 200
"""Orders in which a planted defect has to show itself."""
SHOWS = 56
"""The one in which most of them do as things are: it is tried first."""


@pytest.fixture
async def stage(tmp_path: Path) -> AsyncIterator[Stage]:
    async with Stage.open(tmp_path) as opened:
        yield opened


@pytest.mark.parametrize("part", range(PARTS))
async def test_whatever_the_order_nothing_acknowledged_is_lost(stage: Stage, part: int) -> None:
    for seed in range(part, SCHEDULES, PARTS):
        await stage.play(seed, *CASTS[seed // PARTS % len(CASTS)])


# Planted defects ------------------------------------------------------------------------------------------------------

expired, drop_expired, begin_to_die = dying.expired, dying.drop_expired, dying.begin_to_die
FOR_EVER = 2**62


def lease_ignored(monkeypatch: pytest.MonkeyPatch, _stage: Stage) -> None:
    monkeypatch.setattr(dying, "expired", lambda s, project, _now: expired(s, project, FOR_EVER))
    monkeypatch.setattr(dying, "drop_expired", lambda s, project, _now: drop_expired(s, project, FOR_EVER))


def marked_without_another_look(monkeypatch: pytest.MonkeyPatch, _stage: Stage) -> None:
    async def mark(s: Scope, project: str, names: Sequence[str], _seen: int, _floor: int, now: int) -> list[PackSize]:
        await packs.mark_dying(s, project, names, now)
        return []

    monkeypatch.setattr(dying, "begin_to_die", mark)


def references_looked_up_before_the_head(monkeypatch: pytest.MonkeyPatch, _stage: Stage) -> None:
    async def mark(s: Scope, project: str, names: Sequence[str], _seen: int, floor: int, now: int) -> list[PackSize]:
        return await begin_to_die(s, project, names, FOR_EVER, floor, now)

    monkeypatch.setattr(dying, "begin_to_die", mark)


def bytes_deleted_before_the_row_says_dying(monkeypatch: pytest.MonkeyPatch, stage: Stage) -> None:
    async def mark(s: Scope, project: str, names: Sequence[str], *rest: int) -> list[PackSize]:
        for name in [name for name in stage.store.objects if name.rpartition("/")[2] in names]:
            del stage.store.objects[name]
        return await begin_to_die(s, project, names, *rest)

    monkeypatch.setattr(dying, "begin_to_die", mark)


@pytest.mark.parametrize(
    "plant",
    [
        lease_ignored,
        marked_without_another_look,
        references_looked_up_before_the_head,
        bytes_deleted_before_the_row_says_dying,
    ],
)
async def test_a_planted_defect_is_noticed(
    stage: Stage, monkeypatch: pytest.MonkeyPatch, plant: Callable[[pytest.MonkeyPatch, Stage], Any]
) -> None:
    plant(monkeypatch, stage)
    casts = [("sleeper", "uploader", "collector")] if plant is lease_ignored else [("resumer", "collector")]
    with pytest.raises(Exception):  # noqa: B017, PT011, PT012 -- whatever it is: a lost byte, a failed check, a refusal
        for seed in (SHOWS, *range(ENOUGH)):
            await stage.play(seed, *casts[seed % len(casts)])
