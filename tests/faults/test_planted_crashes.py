"""Defects of durability, planted one by one: the tests of crashes and power losses find each of them (promise P6)."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from random import Random

import pytest

from tests.engines import on_file
from tests.faults.aftermath import judge
from tests.faults.conftest import Set
from tests.faults.planted import DEFECTS
from tests.faults.proofs import ALL
from tests.faults.puppets import BOTH, Puppets
from tests.faults.test_kills import killed_at, places
from tests.faults.test_power_loss import judged, left_over

pytestmark = [on_file, pytest.mark.system("strace"), pytest.mark.promise("P6")]

# The scene in which it costs something, and whether a kill is enough for that.
FOUND_IN = {
    "pulled bytes not synced": ("merge", False),
    "undo store not synced": ("pull", False),
    "base and records not synced": ("merge", False),
    "objects not synced": ("merge", False),
    "folders not synced": ("pull", False),
    "edits not synced": ("edit", False),
    "catalog not synced": ("merge", False),
    "written in place": ("merge", True),
    "named before written": ("merge", True),
    "not kept for undo": ("merge", True),
    "base before files": ("pull", True),
    "acknowledged before the commit": ("merge", True),
}
FEW = ("pulled bytes not synced", "acknowledged before the commit")


def test_every_defect_has_its_scene() -> None:
    assert FOUND_IN.keys() == DEFECTS.keys()


@pytest.mark.parametrize("defect", list(DEFECTS) if ALL else FEW)
@pytest.mark.timeout(3600)
def test_a_planted_defect_of_durability_is_found(
    defect: str, set_of: Callable[[str], Set], puppets: Puppets, tmp_path: Path
) -> None:
    name, by_kill = FOUND_IN[defect]
    built = set_of(name)
    if by_kill:
        assert found_by_kill(built, defect, puppets, tmp_path)
    else:
        states, _ = left_over(built, puppets, tmp_path, plant=defect)
        Random(1).shuffle(states)
        assert any(judged(built, [state], tmp_path) for state in states)


def found_by_kill(built: Set, defect: str, puppets: Puppets, tmp_path: Path) -> bool:
    calls = places(built, BOTH, puppets, tmp_path, plant=defect)
    Random(1).shuffle(calls)
    for call in calls:
        stage = built.stage.copy(tmp_path / "disk")
        killed_at(call, built.scene.name, BOTH, stage.where, puppets, plant=defect)
        try:
            judge(built.scene, stage, built.reference)
        except AssertionError:
            return True
        shutil.rmtree(stage.where)
    return False
