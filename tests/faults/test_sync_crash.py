"""``kill -9`` of client and receiver together at every point between two durable writes of a sync (promise P6)."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from satchel.objects.ids import ProjectId, TenantId
from satchel.sync import failpoints
from satchel.sync.run import run, status
from satchel.sync.settle import undo
from satchel.worktree.walk import Worktree
from tests.sync.cloud import Cloud, folder, held, put

HERE = Path(__file__).resolve()
FILES = {f"docs/{n}.md": f"# File {n}\n" for n in range(6)}
THEIRS = {"docs/0.md": "changed by Bob\n", "docs/new.md": "made by Bob\n"}
MINE = {"docs/1.md": "changed by Ann\n", "mine.md": "made by Ann\n"}
MERGED = {path: text for path, text in {**FILES, **THEIRS, **MINE}.items() if path != "docs/5.md"}

SYNC_POINTS = [point for point in failpoints.NAMES if point.startswith(("pull.", "push.", "receive."))]


class Stage:
    """Ann's folder has changes to send and to fetch; both are about to happen in a process that will be killed."""

    def __init__(self, where: Path) -> None:
        self.cloud_at, self.ann, self.bob = where / "cloud", where / "ann", where / "bob"
        self.cloud_at.mkdir()
        cloud = Cloud(self.cloud_at)
        self.tenant: TenantId = cloud.tenant("acme")
        self.project: ProjectId = cloud.project(self.tenant)
        put(self.ann, FILES)
        self.sync(cloud, self.ann)
        self.sync(cloud, self.bob)
        put(self.bob, THEIRS)
        (self.bob / "docs/5.md").unlink()
        self.sync(cloud, self.bob)
        put(self.ann, MINE)
        cloud.close()

    def sync(self, cloud: Cloud, root: Path) -> None:
        worktree = folder(root)
        report = run(worktree, cloud.peer(self.tenant), self.project)
        worktree.close()
        assert report.conflicts == []
        assert report.in_step

    def killed(self, what: str, point: str, nth: int = 1) -> bool:
        """Run ``what`` until it is killed; False if it ended without reaching the point that often."""
        asked = [self.cloud_at, self.tenant, self.project, self.ann, what, point, nth]
        env = {**os.environ, "PYTHONPATH": os.pathsep.join(["src", "."])}
        done = subprocess.run(
            [sys.executable, HERE.with_name("sync_once.py"), *map(str, asked)],
            cwd=HERE.parents[2],
            env=env,
            capture_output=True,
            text=True,
            timeout=60,
        )
        assert done.returncode in (0, -signal.SIGKILL), done.stderr
        return done.returncode != 0


@pytest.fixture
def stage(tmp_path: Path) -> Stage:
    return Stage(tmp_path)


@contextmanager
def reopened(stage: Stage) -> Iterator[Cloud]:
    """The cloud as a fresh process finds it after the crash."""
    cloud = Cloud(stage.cloud_at)
    yield cloud
    cloud.close()


@pytest.mark.system
@pytest.mark.promise("P6")
@pytest.mark.parametrize("point", SYNC_POINTS)
def test_after_a_kill_everything_verifies_and_the_next_sync_finishes(stage: Stage, point: str) -> None:
    assert stage.killed("sync", point), f"{point} was not reached"
    with reopened(stage) as cloud:
        assert cloud.verify(stage.tenant, stage.project).clean
        stage.sync(cloud, stage.ann)
        assert held(stage.ann) == MERGED
        stage.sync(cloud, stage.bob)
        assert held(stage.bob) == MERGED
        assert cloud.peer(stage.tenant).head(stage.project).version == 3
        assert cloud.verify(stage.tenant, stage.project).clean


@pytest.mark.system
@pytest.mark.promise("P6")
@pytest.mark.parametrize("nth", [2, 3])
def test_a_pull_killed_after_any_file_makes_no_conflict_of_what_it_wrote(stage: Stage, nth: int) -> None:
    assert stage.killed("sync", "pull.after_path", nth)
    with reopened(stage) as cloud:
        stage.sync(cloud, stage.ann)
    assert held(stage.ann) == MERGED


@pytest.mark.system
@pytest.mark.promise("P3")
@pytest.mark.promise("P6")
@pytest.mark.parametrize("point", ["undo.after_hold", "undo.after_restore"])
def test_an_undo_that_is_killed_sends_nothing_and_loses_nothing(stage: Stage, point: str) -> None:
    with reopened(stage) as cloud:
        stage.sync(cloud, stage.ann)
    assert stage.killed("undo", point)
    with reopened(stage) as cloud:
        worktree = Worktree.open(stage.ann, state_path=stage.ann / ".satchel" / "state.db")
        report = run(worktree, cloud.peer(stage.tenant), stage.project)
        assert (report.pushed, report.version) == ([], 3)
        undo(worktree)  # what was overwritten is still kept
        assert status(worktree).pushed == []
        worktree.close()
