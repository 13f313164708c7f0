"""Random edits on both sides, and a stop at every step: every byte that existed is kept somewhere (promise P3)."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from satchel.errors import QuotaReached, SatchelError
from satchel.objects.ids import Lineage, ObjectId, TenantId, object_id
from satchel.sync import failpoints
from satchel.sync.choices import Direction, Strategy
from satchel.sync.conflicts import ConflictStore
from satchel.sync.merge import hunks
from satchel.sync.outlook import status
from satchel.sync.run import run
from satchel.sync.settle import Take, resolve, undo
from satchel.worktree.base import forget_base, load_base, save_base
from satchel.worktree.undo import UndoStore
from tests.sync.cloud import Cloud, folder, held, put
from tests.sync.conftest import Desk
from tests.sync.test_held import limit

EXAMPLES = 400 if os.environ.get("PROVE") else 25


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Cloud, TenantId]]:
    cloud = Cloud(tmp_path_factory.mktemp("cloud"))
    yield cloud, cloud.tenant("acme")
    cloud.close()


class Two:
    """Two people's folders of a new project."""

    count = 0

    def __init__(self, shared: tuple[Cloud, TenantId], where: Path) -> None:
        cloud, tenant = shared
        Two.count += 1
        self.cloud, self.tenant = shared
        self.project = cloud.project(tenant, f"p{Two.count}")
        self.ann, self.bob = (
            Desk(folder(where / name), cloud.peer(tenant, name.title()), self.project) for name in ("ann", "bob")
        )

    def history(self) -> set[ObjectId]:
        items = self.ann.peer.changes(self.project, 0, None).items
        return {change.entry.object for change in items if change.entry is not None}

    def close(self) -> None:
        self.ann.worktree.close()
        self.bob.worktree.close()


def kept(root: Path) -> set[ObjectId]:
    """Every content that a folder, its undo store or an open conflict still has."""
    found = {object_id(text.encode("utf-8", "surrogateescape")) for text in held(root).values()}
    undo_store, records = UndoStore(root), ConflictStore(root)
    for sync in undo_store.syncs():
        found |= {object_id(one.data) for one in undo_store.kept(sync) if one.data is not None}
    for path in records.load().placed:
        found |= {object_id(side) for side in records.sides(path) if side is not None}
    return found


LINES = ["one", "two", "three", "four", "five", "six", "seven"]
PATHS = ["a.md", "b.json", "c.bin", "d/e.md", "d/f.md", "d"]
STEP = st.tuples(
    st.sampled_from(["edit", "edit", "edit", "write", "delete", "rename", "mode"]),
    st.sampled_from(PATHS),
    st.integers(0, len(LINES) - 1),
    st.text("xyz", min_size=1, max_size=2),
)
STEPS = st.lists(STEP, max_size=6)


def do(root: Path, steps: list[tuple[str, str, int, str]]) -> None:
    for what, path, line, text in steps:
        file = root / path
        if not (file.is_file() or what == "write"):
            continue
        if what == "delete":
            file.unlink()
        elif what == "rename":
            if not (root / f"{text}.md").exists():
                file.rename(root / f"{text}.md")
        elif what == "mode":
            file.chmod(0o755)
        elif what == "write":
            if not file.is_dir() and not any(parent.is_file() for parent in file.parents):
                put(root, {path: ("\0" if path.endswith("bin") else "") + text + "\n"})
        else:
            lines = file.read_text().split("\n")
            lines[line % len(lines)] += text
            file.write_text("\n".join(lines))


@pytest.mark.timeout(EXAMPLES * 5)
@pytest.mark.promise("P3")
@settings(
    max_examples=EXAMPLES,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(
    first=STEPS,
    here=STEPS,
    there=STEPS,
    base=st.sampled_from(["kept", "lost", "none", "other"]),
    strategy=st.sampled_from(Strategy),
    direction=st.sampled_from([Direction.BOTH, Direction.BOTH, *Direction]),
    take=st.sampled_from(Take),
)
def test_whatever_both_sides_do_every_byte_is_kept_and_in_the_end_all_agree(
    shared: tuple[Cloud, TenantId],
    first: list[tuple[str, str, int, str]],
    here: list[tuple[str, str, int, str]],
    there: list[tuple[str, str, int, str]],
    base: str,
    strategy: Strategy,
    direction: Direction,
    take: Take,
) -> None:
    with tempfile.TemporaryDirectory() as where:
        two = Two(shared, Path(where))
        ann, bob = two.ann, two.bob
        put(ann.root, {"a.md": "\n".join(LINES), "b.json": '{\n"x": 1,\n\n"y": 2,\n\n"z": 3\n}\n', "c.bin": "\0bin"})
        do(ann.root, first)
        ann.sync()
        if base != "none":
            bob.sync()
        do(ann.root, there)
        do(bob.root, here)
        ever = {object_id(text.encode()) for desk in (ann, bob) for text in held(desk.root).values()}
        if base == "lost":
            forget_base(bob.root)
        before = load_base(bob.root)[0]
        if base == "other" and before is not None:  # the project was restored, or made anew
            save_base(bob.root, replace(before, lineage=Lineage("lin_other")))
        history = two.history()
        for report in (ann.sync(), bob.sync(strategy=strategy, direction=direction)):
            history |= two.history()
            assert ever <= history | kept(ann.root) | kept(bob.root)
            assert report.in_step or report.conflicts or report.waiting_push or report.waiting_pull
        bob.sync()
        waiting = [one.path for one in status(bob.worktree).conflicts]
        for path in waiting:
            try:
                resolve(bob.worktree, [path], take)
            except SatchelError:  # markers are in it, or the names clash
                try:
                    resolve(bob.worktree, [path], Take.LOCAL)
                except SatchelError:
                    continue
        for desk in (bob, ann, bob):
            report = desk.sync()
            history |= two.history()
            assert ever <= history | kept(ann.root) | kept(bob.root)
        if not report.conflicts:
            assert held(ann.root) == held(bob.root)
            assert not any(hunks(text.encode()) for text in held(ann.root).values())
        two.close()


# A stop at every step ----------------------------------------------------------------------------------------------

TEXT = "\n\n".join(LINES) + "\n"
BEFORE = {"merged.md": TEXT, "clash.md": TEXT, "mine.md": "renamed by Bob\n" * 9, "theirs.md": "renamed by Ann\n" * 9}
AFTER = {
    "merged.md": TEXT.replace("one", "ONE").replace("seven", "SEVEN"),
    "clash.md": TEXT.replace("four", "<<<<<<< LOCAL\nBob's\n=======\nAnn's\n>>>>>>> CLOUD"),
    "mine-2.md": BEFORE["mine.md"] + "edited by Ann\n",
    "theirs-2.md": BEFORE["theirs.md"] + "edited by Bob\n",
    "pic.bin": "\0Bob's",
    "pic.cloud.bin": "\0Ann's",
    "other.md": "other\n",
}


class Stopped(BaseException):
    """As good as a kill to whatever is written: nothing after it happens."""


POINTS = [point for point in failpoints.NAMES if point.startswith(("pull.", "push.", "merge."))]
STOPS = [(point, nth) for point in POINTS for nth in ((1, 2, 3, 4, 5) if point == "pull.after_path" else (1,))]


def stop_at(point: str, nth: int) -> None:
    left = nth

    def stop() -> None:
        nonlocal left
        left -= 1
        if left == 0:
            raise Stopped

    failpoints.arm(point, stop)


@pytest.mark.promise("P3")
@pytest.mark.promise("P6")
def test_a_sync_that_stops_anywhere_while_it_merges_is_finished_by_the_next(
    shared: tuple[Cloud, TenantId], tmp_path: Path
) -> None:
    for number, (point, nth) in enumerate(STOPS):
        two = Two(shared, tmp_path / str(number))
        ann, bob = two.ann, two.bob
        put(ann.root, {**BEFORE, "pic.bin": "\0base"})
        ann.sync()
        bob.sync()
        put(ann.root, {"merged.md": TEXT.replace("one", "ONE"), "clash.md": TEXT.replace("four", "Ann's")})
        put(ann.root, {"mine.md": BEFORE["mine.md"] + "edited by Ann\n", "pic.bin": "\0Ann's", "other.md": "other\n"})
        (ann.root / "theirs.md").rename(ann.root / "theirs-2.md")
        ann.sync()
        put(bob.root, {"merged.md": TEXT.replace("seven", "SEVEN"), "clash.md": TEXT.replace("four", "Bob's")})
        put(bob.root, {"theirs.md": BEFORE["theirs.md"] + "edited by Bob\n", "pic.bin": "\0Bob's"})
        (bob.root / "mine.md").rename(bob.root / "mine-2.md")
        stop_at(point, nth)
        try:
            with pytest.raises(Stopped):
                bob.sync()
        finally:
            failpoints.disarm()
        report = bob.sync()
        assert held(bob.root) == AFTER, (point, nth)
        assert [one.path for one in report.conflicts] == ["clash.md", "pic.bin"], (point, nth)
        again = bob.sync()
        assert (again.pushed, again.pulled, again.merged) == ([], [], []), (point, nth)
        resolve(bob.worktree, ["clash.md", "pic.bin"], Take.LOCAL)
        assert bob.sync().in_step
        assert ann.sync().in_step
        assert held(ann.root) == held(bob.root)
        assert held(ann.root) == {
            **{path: text for path, text in AFTER.items() if path != "pic.cloud.bin"},
            "clash.md": TEXT.replace("four", "Bob's"),
        }
        two.close()


@pytest.mark.promise("P3")
@pytest.mark.promise("P6")
@pytest.mark.parametrize("point", ["resolve.after_write", "resolve.after_base"])
def test_a_resolution_that_stops_decides_or_leaves_the_conflict_and_loses_nothing(
    shared: tuple[Cloud, TenantId], tmp_path: Path, point: str
) -> None:
    two = Two(shared, tmp_path)
    put(two.ann.root, {"a.md": TEXT})
    two.ann.sync()
    two.bob.sync()
    for desk in (two.ann, two.bob):
        put(desk.root, {"a.md": TEXT.replace("four", desk.peer.author)})
        desk.sync()
    stop_at(point, 1)
    try:
        with pytest.raises(Stopped):
            resolve(two.bob.worktree, ["a.md"], Take.LOCAL)
    finally:
        failpoints.disarm()
    if point == "resolve.after_write":
        assert [one.lines for one in two.bob.sync().conflicts] == [[]]
        resolve(two.bob.worktree, ["a.md"], Take.LOCAL)
    assert two.bob.sync().in_step
    assert two.bob.peer.content(two.project, "a.md") == TEXT.replace("four", "Bob").encode()
    two.close()


@pytest.mark.promise("P3")
def test_undo_takes_a_merge_back_here_alone(shared: tuple[Cloud, TenantId], tmp_path: Path) -> None:
    two = Two(shared, tmp_path)
    put(two.ann.root, {"a.md": TEXT})
    two.ann.sync()
    two.bob.sync()
    put(two.ann.root, {"a.md": TEXT.replace("one", "ONE")})
    two.ann.sync()
    put(two.bob.root, {"a.md": TEXT.replace("seven", "SEVEN")})
    assert two.bob.sync().merged == ["a.md"]
    undo(two.bob.worktree)
    assert (two.bob.root / "a.md").read_text() == TEXT.replace("seven", "SEVEN")
    report = two.bob.sync()
    assert (report.pushed, [one.reason for one in report.conflicts]) == ([], ["undone here"])
    assert two.bob.peer.content(two.project, "a.md") == AFTER["merged.md"].encode()
    two.close()


def test_where_the_base_s_content_is_gone_both_sides_are_shown(
    ann: Desk, bob: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    from satchel.errors import ObjectsMissing

    put(ann.root, {"a.md": TEXT})
    ann.sync()
    bob.sync()
    put(ann.root, {"a.md": TEXT.replace("one", "ONE")})
    ann.sync()
    put(bob.root, {"a.md": TEXT.replace("seven", "SEVEN")})
    real, gone = type(bob.peer).read_objects, object_id(TEXT.encode())

    def read(peer: object, project: str, objects: list[ObjectId], *since: object) -> object:
        if gone in objects:
            raise ObjectsMissing("retention", objects=[gone])
        return real(peer, project, objects, *since)  # type: ignore[arg-type]

    monkeypatch.setattr(type(bob.peer), "read_objects", read)
    (conflict,) = run(bob.worktree, bob.peer, bob.project).conflicts
    assert (conflict.reason, len(conflict.lines)) == ("what both sides had in common is not known", 2)


def test_a_file_that_both_sides_made_is_said_to_be_so(ann: Desk, bob: Desk) -> None:
    put(ann.root, {"a.md": "Ann's\n"})
    ann.sync()
    put(bob.root, {"a.md": "Bob's\n"})
    (conflict,) = bob.sync().conflicts
    assert conflict.reason == "each side has a file of its own there"


def test_a_quota_that_is_full_keeps_what_changed_here_until_there_is_room(cloud: Cloud, ann: Desk, bob: Desk) -> None:
    put(ann.root, {"ann.md": "Ann's\n"})
    ann.sync()
    put(bob.root, {"bob.md": "Bob's\n", "large.bin": "x" * 100_000})
    limit(cloud, ann.peer.tenant, artifacts=2)
    with pytest.raises(QuotaReached) as full:
        bob.sync()
    assert full.value.hint.startswith("Nothing is lost: what changed here waits")
    assert held(bob.root).keys() == {"ann.md", "bob.md", "large.bin"}
    assert ann.sync().in_step
    assert held(ann.root).keys() == {"ann.md"}
    limit(cloud, ann.peer.tenant, artifacts=3)
    assert [c.path for c in bob.sync().pushed] == ["bob.md", "large.bin"]
    assert ann.sync().in_step
    assert held(ann.root) == held(bob.root)
