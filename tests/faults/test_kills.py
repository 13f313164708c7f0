"""``kill -9`` of client, server or both at every step of push, pull, merge, resolve, undo, collect (promise P6)."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from satchel.sync import failpoints
from tests.engines import on_file
from tests.faults.aftermath import judge
from tests.faults.calls import CHANGING, Call, changing
from tests.faults.conftest import Set
from tests.faults.proofs import ALL, counted, spread
from tests.faults.puppets import BOTH, CLIENT, SERVER, Ended, Puppets

pytestmark = [on_file, pytest.mark.system("strace"), pytest.mark.promise("P6"), pytest.mark.promise("P3")]

# Where each fail point is passed; a sync that merges passes those of pull, push and receive too. Those of collect:
# tests/upkeep/test_collect.py.
NAMED = [
    (scene, point)
    for scene, beginnings in {
        "merge": ("pull.", "push.", "receive.", "merge."),
        "resolve": ("resolve.",),
        "undo": ("undo.",),
    }.items()
    for point in failpoints.NAMES
    if point.startswith(beginnings)
]
WHOLE = [
    ("push", BOTH),
    ("push", CLIENT),
    ("push", SERVER),
    ("pull", BOTH),
    ("pull", CLIENT),
    ("pull", SERVER),
    ("merge", BOTH),
    ("merge", CLIENT),
    ("merge", SERVER),
    ("resolve", BOTH),
    ("undo", BOTH),
    ("collect", BOTH),
    ("index", BOTH),
]
FEW = {("merge", BOTH): 4, ("merge", SERVER): 2, ("undo", BOTH): 2, ("collect", BOTH): 2}
"""Kills in the suite, of about 850 in all."""


@pytest.mark.parametrize(("name", "point"), NAMED)
def test_after_a_kill_at_a_named_point_the_next_run_finishes(
    name: str, point: str, set_of: Callable[[str], Set], puppets: Puppets, tmp_path: Path
) -> None:
    scene, built, reference = set_of(name)
    stage = built.copy(tmp_path / "disk")
    [ended] = puppets.play(name, stage.where, BOTH, point=point).values()
    assert ended.killed, f"{point} was not reached: {ended.outcome}"
    judge(scene, stage, reference)


@pytest.mark.parametrize(("name", "side"), WHOLE if ALL else list(FEW))
@pytest.mark.timeout(3600)
def test_after_a_kill_at_a_system_call_the_next_run_finishes(
    name: str, side: str, set_of: Callable[[str], Set], puppets: Puppets, tmp_path: Path
) -> None:
    scene, built, reference = set_of(name)
    broken, missed = [], []
    points = places(set_of(name), side, puppets, tmp_path)
    points = points if ALL else spread(points, FEW[name, side])
    for call in points:
        stage = built.copy(tmp_path / "disk")
        ended = killed_at(call, name, side, stage.where, puppets)
        if not ended[side].killed:
            missed.append(str(call))
        try:
            judge(scene, stage, reference)
            for other in ended.values():
                assert other.killed or "Traceback" not in other.outcome, other.outcome
        except AssertionError as error:
            broken.append(f"{call} ({call.about[:120]}): {error}")
        shutil.rmtree(stage.where)
    counted(f"kills of {side} in {name}", len(points) - len(broken), len(points))
    assert not broken, "\n".join(broken)
    assert len(missed) <= 2 + len(points) // 20, missed  # a call more or less is left to chance


def places(built: Set, side: str, puppets: Puppets, tmp_path: Path, *, plant: str = "") -> list[Call]:
    stage, log = built.stage.copy(tmp_path / "traced"), tmp_path / "log"
    options = ("-y", "-o", str(log), "-e", f"trace={','.join(CHANGING)}")
    puppets.play(built.scene.name, stage.where, side, *options, plant=plant)
    found = changing(log, stage.where)
    shutil.rmtree(stage.where)
    assert len(found) > 5
    return found


def killed_at(call: Call, name: str, side: str, where: Path, puppets: Puppets, *, plant: str = "") -> dict[str, Ended]:
    kill = f"inject={call.name}:signal=KILL:when={call.nth}"
    return puppets.play(name, where, side, "-o", os.devnull, "-e", f"trace={call.name}", "-e", kill, plant=plant)
