"""Power loss at every sync of push, pull, merge, resolve, undo, collect, on a disk that forgets (promise P6)."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from random import Random

import pytest

from tests.engines import on_file
from tests.faults.aftermath import judge, judge_edit
from tests.faults.conftest import Set
from tests.faults.forgetful import STRACE, Disk, Survivor
from tests.faults.proofs import ALL, counted, spread
from tests.faults.puppets import BOTH, DONE, Puppets
from tests.faults.scenes import SCENES

pytestmark = [on_file, pytest.mark.system("strace"), pytest.mark.promise("P6"), pytest.mark.promise("P3")]

FEW = {"merge": 5, "undo": 3}
"""States in the suite, of about 1,000 in all."""


@pytest.mark.parametrize("name", list(SCENES) if ALL else list(FEW))
@pytest.mark.timeout(7200)
def test_whatever_a_power_loss_forgets_nothing_is_lost_and_the_next_run_finishes(
    name: str, set_of: Callable[[str], Set], puppets: Puppets, tmp_path: Path
) -> None:
    states, careless = left_over(set_of(name), puppets, tmp_path)
    assert not careless or name == "edit"  # in which a person writes, as people do
    states = states if ALL else spread(states, FEW[name])
    broken = judged(set_of(name), states, tmp_path)
    counted(f"power losses in {name}", len(states) - len(broken), len(states))
    assert not broken, "\n".join(broken)


State = tuple[str, Survivor, bool]


def left_over(
    built: Set, puppets: Puppets, tmp_path: Path, *, plant: str = "", some: int = 2
) -> tuple[list[State], list[str]]:
    """Every state that the disk may be in, each once, in order; and names that were given too early."""
    stage = built.stage.copy(tmp_path / "traced")
    disk, log = Disk(stage.where), tmp_path / "log"
    [ended] = puppets.play(built.scene.name, stage.where, BOTH, "-o", str(log), *STRACE, plant=plant).values()
    assert ended.outcome == DONE, ended.outcome
    random, found = Random(len(built.scene.name)), dict[tuple[str, bool], State]()
    for moment in disk.replay(log):
        for kind, left in disk.survivors(random, some):
            left.files["acks"] = (0o644, disk.read("acks"))  # what a person remembers
            found.setdefault((left.id, moment.ended), (f"{kind}, before {moment.step}", left, moment.ended))
    shutil.rmtree(stage.where)
    log.unlink()
    states = list(found.values())
    if built.scene.name == "edit":  # before the sync has sent it, what a person saved is the editor's to keep
        states = [state for state in states if state[1].files["acks"][1]]
    return states, disk.careless


def judged(built: Set, states: list[State], tmp_path: Path) -> list[str]:
    """What is wrong with which of them."""
    broken = []
    for what, left, ended in states:
        stage = type(built.stage)(tmp_path / "disk", built.stage.tenant, built.stage.project)
        left.write(stage.where)
        try:
            if built.scene.name == "edit":
                judge_edit(built.scene, stage, built.reference, told_done=ended)
            else:
                judge(built.scene, stage, built.reference, told_done=ended)
        except AssertionError as error:
            broken.append(f"{what}: {error}")
        shutil.rmtree(stage.where)
    return broken
