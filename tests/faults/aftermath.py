"""What is asked of a disk after a crash: nothing was lost, nothing is half, and the next run finishes."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from satchel.catalog import versions
from satchel.objects.listing import Entry, digest
from satchel.sync.conflicts import ConflictStore
from satchel.worktree.base import load_base
from satchel.worktree.undo import UndoStore
from tests.faults.puppets import BOTH, DONE, Puppets
from tests.faults.scenes import OneThread, Scene, Stage, files
from tests.simulation.one_thread import all_at_once
from tests.sync.cloud import Cloud


@dataclass(frozen=True)
class Reference:
    """The same scene without a crash."""

    before: dict[str, bytes]
    """Ann's folder, as it was."""
    after: dict[str, bytes]
    """As the command left it."""
    finished: dict[str, bytes]
    """As it is when everything is done."""
    cloud: dict[str, str]
    """Path and object of what the hosted project holds then."""


def referred(scene: Scene, built: Stage, where: Path, puppets: Puppets) -> Reference:
    stage = built.copy(where)
    before = files(stage.ann)
    [ended] = puppets.play(scene.name, stage.where, BOTH).values()
    assert ended.outcome == DONE, ended.outcome
    after = files(stage.ann)
    with in_one_thread(stage) as cloud:
        scene.finish(stage, cloud)
        return Reference(before, after, files(stage.ann), tree(stage, cloud))


def judge(scene: Scene, stage: Stage, reference: Reference, *, told_done: bool = False) -> None:
    """Raises ``AssertionError`` where the crash cost something. ``told_done``: the command had ended well before it."""
    now = files(stage.ann)
    for path, content in now.items():
        known = [tree[path] for tree in (reference.before, reference.after, reference.finished) if path in tree]
        assert content in known, f"{path} holds {content[:80]!r}, which nobody wrote there"
    if told_done:
        assert now == reference.after, "what was reported as done is not"
    with in_one_thread(stage) as cloud:
        lost = set(reference.before.values()) - kept(stage)
        lost -= in_cloud(stage, cloud) if lost else set()
        assert not lost, f"nowhere any more: {[content[:80] for content in lost]}"
        sound(stage, cloud)
        acknowledged_is_there(stage, cloud)
        _, notices = load_base(stage.ann)
        assert not any("Both records" in notice for notice in notices), notices
        scene.finish(stage, cloud)
        assert _shown(files(stage.ann)) == _shown(reference.finished), "the next run did not finish the work"
        assert tree(stage, cloud) == reference.cloud
        acknowledged_is_there(stage, cloud)


def judge_edit(scene: Scene, stage: Stage, reference: Reference, *, told_done: bool) -> None:
    """Raises where an acknowledged edit was taken back by what the disk forgot of what a person saved."""
    assert not told_done or files(stage.ann) == reference.after, "what was reported as done is not"
    with in_one_thread(stage) as cloud:
        acknowledged_is_there(stage, cloud)
        scene.finish(stage, cloud)
        assert tree(stage, cloud) == reference.cloud, "the cloud took for an edit what the disk forgot"
        sound(stage, cloud)


@contextmanager
def in_one_thread(stage: Stage) -> Iterator[Cloud]:
    """The cloud as a fresh process finds it; a fifth of the time goes to threads otherwise, and it is opened often."""
    with pytest.MonkeyPatch.context() as patch:
        all_at_once(patch)
        with closing(OneThread(stage.where / "cloud")) as cloud:
            yield cloud


def kept(stage: Stage) -> set[bytes]:
    """Every content that Ann's folder holds: as a file, in the undo store, or beside a conflict."""
    store = UndoStore(stage.ann)
    undo = {item.data for sync in store.syncs() for item in store.kept(sync) if item.data is not None}
    records = ConflictStore(stage.ann)
    found = records.load()
    sides = {
        side
        for record in (*found.placed.values(), *found.begun.values())
        for side in records.sides(record.path, record)
        if side is not None
    }
    return {*files(stage.ann).values()} | undo | sides


def in_cloud(stage: Stage, cloud: Cloud) -> set[bytes]:
    """The contents of the newest version."""
    peer = cloud.peer(stage.tenant)
    return {peer.content(stage.project, path) for path in tree(stage, cloud)}


def sound(stage: Stage, cloud: Cloud) -> None:
    report = cloud.verify(stage.tenant, stage.project)
    assert report.clean, [str(problem) for problem in report.problems]


def acknowledged_is_there(stage: Stage, cloud: Cloud) -> None:
    """Every version that Ann was told of is in the history, as it was."""
    for line in stage.acks.read_text().splitlines() if stage.acks.exists() else ():
        version, told = line.split()
        assert stage.head(cloud) >= int(version), f"version {version} was acknowledged and is gone"
        assert _digest_at(stage, cloud, int(version)) == told


def _digest_at(stage: Stage, cloud: Cloud, version: int) -> str:
    async def look() -> str:
        async with cloud.catalog.read(stage.tenant) as s:
            rows = await versions.tree(s, stage.project, version)
        return digest({row.path: Entry(row.mode, row.object) for row in rows})

    return cloud.wait(look())


def tree(stage: Stage, cloud: Cloud) -> dict[str, str]:
    """Path and object of what the hosted project holds."""
    found = cloud.peer(stage.tenant).changes(stage.project, 0, None)
    return {path: entry.object for path, entry, *_ in found.items if entry is not None}


def _shown(found: dict[str, bytes]) -> dict[str, bytes]:
    return {path: content[:80] for path, content in found.items()}
