"""A full disk (ENOSPC) and a broken one (EIO) at every step of push, pull, merge, resolve, undo, collect."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.engines import on_file
from tests.faults.aftermath import judge
from tests.faults.calls import CHANGING, READING, Call, changing, touching
from tests.faults.conftest import Set
from tests.faults.proofs import ALL, counted, spread
from tests.faults.puppets import BOTH, Puppets
from tests.faults.scenes import SCENES

pytestmark = [on_file, pytest.mark.system("strace"), pytest.mark.promise("P6"), pytest.mark.promise("P3")]

FILLING = ("write", "pwrite64", "openat", "mkdir", "mkdirat", "link", "rename", "renameat")
FEW = {("merge", "ENOSPC"): 3, ("merge", "EIO"): 3}
"""Errors in the suite, of about 2,000 in all."""
DISTURBED = [name for name in SCENES if name != "edit"]  # in which a person saves files, beside what the others do


@pytest.mark.parametrize(
    ("name", "error"), [(name, error) for name in DISTURBED for error in ("ENOSPC", "EIO")] if ALL else list(FEW)
)
@pytest.mark.timeout(7200)
def test_a_disk_that_fails_costs_nothing_and_is_told_by_name(
    name: str, error: str, set_of: Callable[[str], Set], puppets: Puppets, tmp_path: Path
) -> None:
    scene, built, reference = set_of(name)
    points = places(set_of(name), error, puppets, tmp_path)
    points = points if ALL else spread(points, FEW[name, error])
    broken = []
    for call in points:
        stage = built.copy(tmp_path / "disk")
        # A full disk stays full, for that call; a broken one fails once, and so does what may only want to read.
        stays = error == "ENOSPC" and call.name != "openat"
        inject = f"inject={call.name}:error={error}:when={call.nth}{'+' if stays else ''}"
        options = ("-o", os.devnull, "-e", f"trace={call.name}", "-e", inject)
        [ended] = puppets.play(name, stage.where, BOTH, *options).values()
        try:
            assert ended.outcome, "it died"
            assert "Traceback" not in ended.outcome, ended.outcome
            judge(scene, stage, reference)
        except AssertionError as problem:
            broken.append(f"{call} ({call.about[:120]}), {ended.outcome[:40]}: {problem}")
        shutil.rmtree(stage.where)
    counted(f"{error} in {name}", len(points) - len(broken), len(points))
    assert not broken, "\n".join(broken)


def places(built: Set, error: str, puppets: Puppets, tmp_path: Path) -> list[Call]:
    stage, log = built.stage.copy(tmp_path / "traced"), tmp_path / "log"
    names = CHANGING if error == "ENOSPC" else (*CHANGING, *READING)
    puppets.play(built.scene.name, stage.where, BOTH, "-y", "-o", str(log), "-e", f"trace={','.join(names)}")
    if error == "ENOSPC":
        return [call for call in changing(log, stage.where) if call.name in FILLING]
    return touching(log, stage.where)
