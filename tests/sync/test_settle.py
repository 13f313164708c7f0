from __future__ import annotations

import os
import shutil
import stat

import pytest

from satchel.errors import DiskFull, InvalidInput, ServerAway
from satchel.objects.listing import Entry
from satchel.sync import failpoints, pull, settle
from satchel.sync.choices import Direction, Strategy
from satchel.sync.outlook import status
from satchel.sync.patience import Patience
from satchel.sync.settle import NothingToUndo, StillMarked, Take, put_back, resolve, undo
from satchel.worktree.materialise import Materialiser
from satchel.worktree.undo import Bounds, UndoFull, UndoStore
from satchel.worktree.walk import ChangedMeanwhile
from tests.sync.cloud import held, put
from tests.sync.conftest import Desk

FILES = {"a.md": "first\n", "b.md": "B\n", "c.md": "C\n"}


def disagree(ann: Desk, bob: Desk) -> None:
    """Both changed a.md; Bob has seen the conflict."""
    put(ann.root, FILES)
    ann.sync()
    bob.sync()
    put(ann.root, {"a.md": "Ann's\n"})
    ann.sync()
    put(bob.root, {"a.md": "Bob's\n"})
    bob.sync()


def test_taking_local_sends_what_is_here(ann: Desk, bob: Desk) -> None:
    disagree(ann, bob)
    resolve(bob.worktree, ["a.md"], Take.LOCAL)
    assert [c.path for c in status(bob.worktree).pushed] == ["a.md"]
    assert bob.sync().in_step
    ann.sync()
    assert (ann.root / "a.md").read_text() == (bob.root / "a.md").read_text() == "Bob's\n"


@pytest.mark.promise("P3")
def test_taking_the_cloud_s_fetches_it_and_undo_brings_the_own_back(ann: Desk, bob: Desk) -> None:
    disagree(ann, bob)
    resolve(bob.worktree, ["a.md"], Take.CLOUD)
    assert [c.path for c in status(bob.worktree).pulled] == ["a.md"]
    assert (bob.root / "a.md").read_text() == "Bob's\n"
    assert bob.sync(direction=Direction.TO_CLOUD).waiting_pull == 1
    assert (bob.root / "a.md").read_text() == "Bob's\n"
    assert bob.sync().in_step
    assert (bob.root / "a.md").read_text() == "Ann's\n"
    assert undo(bob.worktree).restored == ["a.md"]
    assert (bob.root / "a.md").read_text() == "Bob's\n"


def test_an_edit_between_two_syncs_of_a_conflict_counts(ann: Desk, bob: Desk) -> None:
    disagree(ann, bob)
    put(bob.root, {"a.md": "both, merged by hand\n"})
    resolve(bob.worktree, ["a.md"], Take.LOCAL)
    bob.sync()
    assert ann.peer.content(ann.project, "a.md") == b"both, merged by hand\n"


def test_what_cannot_be_settled_keeps_nothing_else_from_it_where_all_are_meant(ann: Desk, bob: Desk) -> None:
    disagree(ann, bob)
    put(ann.root, {"b.md": "Ann's\n"})
    ann.sync()
    put(bob.root, {"b.md": "Bob's\n"})
    bob.sync()
    put(bob.root, {"b.md": "merged by hand\n"})
    both, left = ["a.md", "b.md"], dict[str, str]()
    with pytest.raises(StillMarked):
        resolve(bob.worktree, both, Take.MERGED)
    assert sorted(conflict.path for conflict in status(bob.worktree).conflicts) == both
    assert resolve(bob.worktree, both, Take.MERGED, left=left) == ["b.md"]
    assert left == {"a.md": "a.md still has markers in it"}
    assert [conflict.path for conflict in bob.sync().conflicts] == ["a.md"]
    assert ann.peer.content(ann.project, "b.md") == b"merged by hand\n"
    assert resolve(bob.worktree, ["a.md"], Take.LOCAL, left=left) == ["a.md"]
    assert bob.sync().in_step


def test_only_conflicts_can_be_resolved(ann: Desk, bob: Desk) -> None:
    disagree(ann, bob)
    with pytest.raises(InvalidInput, match=r"b\.md"):
        resolve(bob.worktree, ["a.md", "b.md"], Take.LOCAL)
    assert [c.path for c in bob.sync().conflicts] == ["a.md"]
    with pytest.raises(InvalidInput):
        resolve(ann.worktree, ["a.md"], Take.LOCAL)


def test_a_name_that_cannot_stand_beside_another_needs_another_name_and_no_decision(ann: Desk, bob: Desk) -> None:
    put(ann.root, {"notes.md": "Ann's\n"})
    ann.sync()
    put(bob.root, {"Notes.md": "Bob's\n"})
    assert {c.settle for c in bob.sync().conflicts} == {"rename"}
    with pytest.raises(InvalidInput, match="where case does not count") as refused:
        resolve(bob.worktree, ["notes.md"], Take.LOCAL)
    assert "another name" in (refused.value.hint or "")
    (bob.root / "Notes.md").rename(bob.root / "notes of Bob.md")
    assert bob.sync().in_step
    assert held(bob.root) == {"notes.md": "Ann's\n", "notes of Bob.md": "Bob's\n"}


MARKED = "<<<<<<< LOCAL\nBob's\n=======\nAnn's\n>>>>>>> CLOUD\n"


@pytest.mark.promise("P3")
@pytest.mark.parametrize(
    ("take", "here", "files"),
    [
        (Take.LOCAL, "Bob's\n", {"a.md": "Bob's\n"}),
        (Take.CLOUD, "Bob's\n", {"a.md": "Ann's\n"}),
        (Take.BOTH, "Bob's\n", {"a.md": "Bob's\n", "a.cloud.md": "Ann's\n"}),
        (Take.MERGED, MARKED, {"a.md": MARKED}),
    ],
)
def test_each_way_to_decide_ends_in_step_and_the_rest_was_never_held_up(
    ann: Desk, bob: Desk, take: Take, here: str, files: dict[str, str]
) -> None:
    disagree(ann, bob)
    assert (bob.root / "a.md").read_text() == MARKED
    resolve(bob.worktree, ["a.md"], take, force=True)
    assert (bob.root / "a.md").read_text() == here
    assert status(bob.worktree).conflicts == []
    assert bob.sync().in_step
    assert ann.sync().in_step
    assert held(ann.root) == held(bob.root) == FILES | files
    assert list((bob.root / ".satchel/conflicts").iterdir()) == []


def test_a_file_that_was_made_the_cloud_s_needs_no_decision(ann: Desk, bob: Desk) -> None:
    disagree(ann, bob)
    put(bob.root, {"a.md": "Ann's\n"})
    assert resolve(bob.worktree, ["a.md"], Take.MERGED) == ["a.md"]
    assert bob.sync().in_step
    assert list((bob.root / ".satchel/conflicts").iterdir()) == []


def test_a_file_with_markers_in_it_is_not_taken_for_merged(ann: Desk, bob: Desk) -> None:
    disagree(ann, bob)
    with pytest.raises(StillMarked, match=r"a\.md"):
        resolve(bob.worktree, ["a.md"], Take.MERGED)
    resolve(bob.worktree, ["a.md"], Take.LOCAL)
    undo(bob.worktree)  # of the decision: the markers are back, and what they came from is not known any more
    for take in (Take.LOCAL, Take.MERGED, Take.BOTH):
        with pytest.raises(StillMarked):
            resolve(bob.worktree, ["a.md"], take)
    put(bob.root, {"a.md": "by hand\n"})
    assert [(c.path, c.lines) for c in bob.sync().conflicts] == [("a.md", [])]
    resolve(bob.worktree, ["a.md"], Take.MERGED)
    assert [c.path for c in bob.sync().pushed] == ["a.md"]
    assert ann.peer.content(ann.project, "a.md") == b"by hand\n"


@pytest.mark.promise("P3")
def test_what_the_cloud_got_after_a_conflict_was_shown_is_not_overwritten_by_its_resolution(
    ann: Desk, bob: Desk
) -> None:
    disagree(ann, bob)
    put(ann.root, {"a.md": "Ann's, once more\n"})
    ann.sync()
    assert [c.path for c in bob.sync().conflicts] == ["a.md"]
    resolve(bob.worktree, ["a.md"], Take.LOCAL)
    assert [c.path for c in bob.sync().conflicts] == ["a.md"]
    assert "Ann's, once more" in (bob.root / "a.md").read_text()
    assert ann.peer.content(ann.project, "a.md") == b"Ann's, once more\n"


@pytest.mark.promise("P3")
@pytest.mark.parametrize("take", Take)
def test_files_that_cannot_be_merged_stand_side_by_side_until_somebody_decides(
    ann: Desk, bob: Desk, take: Take
) -> None:
    put(ann.root, {"a.bin": "\0base"})
    ann.sync()
    bob.sync()
    put(ann.root, {"a.bin": "\0Ann's"})
    ann.sync()
    put(bob.root, {"a.bin": "\0Bob's"})
    for _ in range(2):
        (conflict,) = bob.sync().conflicts
        assert (conflict.path, conflict.reason, conflict.beside) == (
            "a.bin",
            "both changed it, and it is not text",
            "a.cloud.bin",
        )
        assert held(bob.root) == {"a.bin": "\0Bob's", "a.cloud.bin": "\0Ann's"}
        assert status(bob.worktree).conflicts == [conflict]
    assert bob.peer.head(bob.project).version == 2
    resolve(bob.worktree, ["a.bin"], take)
    assert bob.sync().in_step
    mine = "\0Ann's" if take is Take.CLOUD else "\0Bob's"
    expected = {"a.bin": mine, **({"a.cloud.bin": "\0Ann's"} if take is Take.BOTH else {})}
    ann.sync()
    assert held(bob.root) == held(ann.root) == expected


def test_a_file_beside_ours_that_somebody_took_away_does_not_come_back(ann: Desk, bob: Desk) -> None:
    put(ann.root, {"a.bin": "\0base"})
    ann.sync()
    bob.sync()
    put(ann.root, {"a.bin": "\0Ann's"})
    ann.sync()
    put(bob.root, {"a.bin": "\0Bob's"})
    bob.sync()
    undo(bob.worktree)
    (conflict,) = bob.sync().conflicts
    assert (conflict.path, conflict.beside, held(bob.root)) == ("a.bin", None, {"a.bin": "\0Bob's"})
    for kept in ("undo", "former"):
        shutil.rmtree(bob.root / ".satchel" / kept, ignore_errors=True)
    with pytest.raises(InvalidInput, match="not on this disk"):
        resolve(bob.worktree, ["a.bin"], Take.BOTH)
    put(ann.root, {"a.bin": "\0Ann's, newer"})
    ann.sync()
    assert [one.beside for one in bob.sync().conflicts] == ["a.cloud.bin"]
    assert held(bob.root)["a.cloud.bin"] == "\0Ann's, newer"


@pytest.mark.promise("P3")
def test_an_undone_conflict_shows_no_markers_again_and_can_be_decided(ann: Desk, bob: Desk) -> None:
    disagree(ann, bob)
    undo(bob.worktree)
    assert (bob.root / "a.md").read_text() == "Bob's\n"
    assert [c.path for c in bob.sync().conflicts] == ["a.md"]
    assert (bob.root / "a.md").read_text() == "Bob's\n"
    resolve(bob.worktree, ["a.md"], Take.MERGED)
    assert [c.path for c in bob.sync().pushed] == ["a.md"]


def pulled(ann: Desk, bob: Desk) -> dict[str, str]:
    """Bob's folder before and after a sync that changed, deleted and added."""
    put(ann.root, FILES)
    ann.sync()
    bob.sync()
    put(ann.root, {"a.md": "second\n", "new/d.md": "D\n"})
    (ann.root / "b.md").unlink()
    ann.sync()
    bob.sync()
    return {"a.md": "second\n", "c.md": "C\n", "new/d.md": "D\n"}


@pytest.mark.promise("P3")
def test_undo_brings_back_what_the_sync_changed_deleted_and_added(ann: Desk, bob: Desk) -> None:
    after = pulled(ann, bob)
    assert held(bob.root) == after
    undone = undo(bob.worktree)
    assert (sorted(undone.restored), undone.waits) == (["a.md", "b.md", "new/d.md"], True)
    assert held(bob.root) == FILES


@pytest.mark.promise("P3")
def test_a_dry_run_of_an_undo_changes_nothing_and_says_what_it_would(ann: Desk, bob: Desk) -> None:
    pulled(ann, bob)
    put(bob.root, {"a.md": "edited after the sync\n"})
    before = {path: path.read_bytes() for path in bob.root.rglob("*") if path.is_file() and "state.db" not in path.name}
    would = undo(bob.worktree, dry=True)
    after = {path: path.read_bytes() for path in bob.root.rglob("*") if path.is_file() and "state.db" not in path.name}
    assert after == before
    assert undo(bob.worktree) == would


@pytest.mark.promise("P3")
def test_what_was_undone_is_not_sent_by_itself(ann: Desk, bob: Desk) -> None:
    pulled(ann, bob)
    undo(bob.worktree)
    report = bob.sync()
    assert sorted(c.path for c in report.conflicts) == ["a.md", "b.md", "new/d.md"]
    assert (report.pushed, report.pulled) == ([], [])
    assert held(bob.root) == FILES
    resolve(bob.worktree, ["a.md"], Take.LOCAL)
    resolve(bob.worktree, ["b.md", "new/d.md"], Take.CLOUD)
    assert bob.sync().in_step
    assert held(bob.root) == {"a.md": "first\n", "c.md": "C\n", "new/d.md": "D\n"}


@pytest.mark.promise("P3")
@pytest.mark.parametrize("kept", ["undo", "former", "nowhere"])
def test_both_of_what_was_undone_stand_in_the_folder_where_the_clouds_is_kept_here(
    kept: str, ann: Desk, bob: Desk
) -> None:
    mine, theirs = "first\n" * 200, "second\n" * 200
    for text in (mine, theirs):
        put(ann.root, {"a.md": text})
        ann.sync()
        bob.sync()
    undo(bob.worktree)
    for other in {"undo", "former"} - {kept}:
        shutil.rmtree(bob.root / ".satchel" / other)
    if kept == "nowhere":
        with pytest.raises(InvalidInput, match=r"the cloud's a\.md is not on this disk"):
            resolve(bob.worktree, ["a.md"], Take.BOTH)
        return
    assert resolve(bob.worktree, ["a.md"], Take.BOTH) == ["a.md"]
    both = {"a.md": mine, "a.cloud.md": theirs}
    assert held(bob.root) == both
    assert sorted(change.path for change in bob.sync().pushed) == sorted(both)


@pytest.mark.promise("P3")
def test_undo_can_be_undone(ann: Desk, bob: Desk) -> None:
    after = pulled(ann, bob)
    undo(bob.worktree)
    undo(bob.worktree)
    assert held(bob.root) == after
    assert bob.sync().in_step


@pytest.mark.promise("P3")
def test_what_an_older_sync_overwrote_comes_back_too(ann: Desk, bob: Desk) -> None:
    put(ann.root, {"a.md": "first\n", "b.md": "first\n"})
    ann.sync()
    bob.sync()
    for path in ("a.md", "b.md"):
        put(ann.root, {path: "second\n"})
        ann.sync()
        bob.sync()
    older = next(step for step in UndoStore(bob.root).steps() if step.paths == ["a.md"])
    assert undo(bob.worktree, older.step).restored == ["a.md"]
    assert held(bob.root) == {"a.md": "first\n", "b.md": "second\n"}
    assert [conflict.path for conflict in bob.sync().conflicts] == ["a.md"]  # it waits for somebody to decide
    assert bob.peer.head(bob.project).version == 3


@pytest.mark.promise("P3")
def test_undo_leaves_alone_what_was_edited_since(ann: Desk, bob: Desk) -> None:
    pulled(ann, bob)
    put(bob.root, {"a.md": "edited after the sync\n"})
    undone = undo(bob.worktree)
    assert undone.skipped.keys() == {"a.md"}
    assert (bob.root / "a.md").read_text() == "edited after the sync\n"
    assert (bob.root / "b.md").read_text() == "B\n"
    assert [c.path for c in bob.sync().pushed] == ["a.md"]


@pytest.mark.promise("P3")
def test_what_an_undo_left_alone_is_still_kept_for_a_later_one(ann: Desk, bob: Desk) -> None:
    pulled(ann, bob)
    (bob.root / "a.md").unlink()
    put(bob.root, {"b.md": "another\n", "new/d.md": "edited\n"})
    assert undo(bob.worktree).skipped.keys() == {"a.md", "b.md", "new/d.md"}
    assert undo(bob.worktree).restored == ["c.md"]  # of the sync before: the turn of the other comes after all
    store = UndoStore(bob.root)
    aside = {kept.path: kept.data for kept in store.kept(store.syncs()[0])}
    assert aside == {"a.md": b"first\n", "b.md": b"B\n", "new/d.md": None}


@pytest.mark.promise("P6")
@pytest.mark.parametrize(
    ("cuts", "edited"), [((0,), {}), ((2,), {}), ((1, 1), {}), ((1,), {"b.md": "edited meanwhile\n"})]
)
def test_an_undo_that_was_cut_off_is_gone_on_with_and_one_undo_takes_all_of_it_back(
    ann: Desk, bob: Desk, monkeypatch: pytest.MonkeyPatch, cuts: tuple[int, ...], edited: dict[str, str]
) -> None:
    pulled(ann, bob)
    put(bob.root, edited)
    before = held(bob.root)
    for cut in cuts:
        cut_after(cut, monkeypatch, bob)
    undone = undo(bob.worktree)
    assert held(bob.root) == {**FILES, **edited}
    assert undone.skipped.keys() == edited.keys()
    if edited:
        (sync,) = [sync for sync in UndoStore(bob.root).syncs() if sync.startswith("0-")]
        assert "B\n" in {(kept.data or b"").decode() for kept in UndoStore(bob.root).kept(sync)}
    undo(bob.worktree)
    assert held(bob.root) == before


def test_a_step_that_could_not_begin_leaves_nothing_to_undo(
    ann: Desk, bob: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(ann.root, FILES)
    ann.sync()
    bob.sync()
    put(ann.root, {"a.md": "second\n"})
    ann.sync()
    bob.sync()
    steps = UndoStore(bob.root).syncs()

    def full(store: UndoStore, undo_id: str, _after: object) -> None:
        (store.folder / undo_id).mkdir()
        raise DiskFull("no space left")

    monkeypatch.setattr(settle, "note_after", full)
    with pytest.raises(DiskFull):
        put_back(bob.worktree, "a.md", b"mine\n", "100644")
    with pytest.raises(DiskFull):
        undo(bob.worktree)
    assert UndoStore(bob.root).syncs() == steps


@pytest.mark.promise("P3")
@pytest.mark.parametrize("cut_off", [False, True])
def test_what_was_edited_between_two_attempts_of_a_sync_can_be_brought_back(
    ann: Desk, bob: Desk, monkeypatch: pytest.MonkeyPatch, cut_off: bool
) -> None:
    put(ann.root, {"a.md": "first\n"})
    ann.sync()
    bob.sync()
    put(ann.root, {"a.md": "second\n"})
    ann.sync()
    put(bob.root, {"b.md": "bob's\n"})
    send, write, pulled = type(bob.peer).sync, pull.write, list[int]()

    def edit() -> None:
        put(bob.root, {"a.md": "bob's own\n"})
        put(ann.root, {"a.md": "third\n"})
        ann.sync()

    def pull_and_edit(*rest: object, **how: object) -> object:
        done = write(*rest, **how)  # type: ignore[arg-type]
        if rest[0] == bob.root and rest[3]:
            pulled.append(1)
            if cut_off and len(pulled) == 1:
                edit()
                raise ServerAway("gone before the rest came", retry_after=0)
        return done

    def sync(*rest: object) -> object:
        if len(pulled) == 1 and not cut_off:
            edit()
        return send(bob.peer, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(bob.peer, "sync", sync)
    monkeypatch.setattr(pull, "write", pull_and_edit)
    bob.sync(strategy=Strategy.CLOUD, patience=Patience(60, lambda _: None, sleep=lambda _: None))
    assert held(bob.root) == {"a.md": "third\n", "b.md": "bob's\n"}
    undo(bob.worktree)
    assert held(bob.root) == {"a.md": "bob's own\n", "b.md": "bob's\n"}


@pytest.mark.promise("P3")
def test_an_undo_makes_no_room_with_what_it_brings_back(ann: Desk, bob: Desk) -> None:
    put(ann.root, {"a.md": "old\n" * 250})
    ann.sync()
    bob.sync()
    put(ann.root, {"a.md": "new\n" * 250})
    ann.sync()
    bob.sync()
    before, step = held(bob.root), UndoStore(bob.root).syncs()[-1]
    with pytest.raises(UndoFull, match=r"beside the 1,1\d\d that it brings back"):
        undo(bob.worktree, bounds=Bounds(2_200))
    assert held(bob.root) == before
    assert UndoStore(bob.root).syncs()[-1] == step
    assert undo(bob.worktree, bounds=Bounds(2_500)).restored == ["a.md"]


def cut_after(count: int, monkeypatch: pytest.MonkeyPatch, desk: Desk) -> None:
    """An undo that dies when so many files are as they were."""
    check, left = Materialiser._check, [count]

    def dying(self: Materialiser, path: str, expect: Entry | None) -> None:
        left[0] -= 1
        if left[0] < 0:
            raise KeyboardInterrupt
        check(self, path, expect)

    with monkeypatch.context() as patched:
        patched.setattr(Materialiser, "_check", dying)
        with pytest.raises(KeyboardInterrupt):
            undo(desk.worktree)


@pytest.mark.promise("P3")
@pytest.mark.parametrize("strategy", [Strategy.LOCAL, Strategy.BOTH])
def test_a_strategy_finds_what_stood_in_a_file_before_a_sync_that_was_killed_put_markers_there(
    ann: Desk, bob: Desk, strategy: Strategy
) -> None:
    put(ann.root, {"a.md": "first\n"})
    ann.sync()
    bob.sync()
    put(ann.root, {"a.md": "Ann's\n"})
    ann.sync()
    put(bob.root, {"a.md": "Bob's\n"})
    kill_at("merge.after_write", bob)
    assert "<<<<<<< LOCAL" in (bob.root / "a.md").read_text()
    report = bob.sync(strategy=strategy)
    assert report.in_step, report.conflicts
    assert (bob.root / "a.md").read_text() == "Bob's\n"
    assert bob.peer.content(bob.project, "a.md") == b"Bob's\n"


def kill_at(point: str, desk: Desk) -> None:
    class Killed(BaseException):
        pass

    def die() -> None:
        raise Killed

    failpoints.arm(point, die)
    try:
        with pytest.raises(Killed):
            desk.sync()
    finally:
        failpoints.disarm()


def test_with_nothing_overwritten_there_is_nothing_to_undo(ann: Desk) -> None:
    put(ann.root, FILES)
    ann.sync()
    with pytest.raises(NothingToUndo):
        undo(ann.worktree)


@pytest.mark.promise("P3")
def test_an_old_version_put_back_is_an_edit_and_undo_brings_back_what_stood_there(ann: Desk) -> None:
    put(ann.root, FILES)
    ann.sync()
    put(ann.root, {"a.md": "edited\n"})
    (ann.root / "b.md").unlink()
    assert not put_back(ann.worktree, "a.md", b"edited\n", "100644")
    for path, text in (("a.md", "first\n"), ("b.md", "B\n"), ("new/d.md", "D\n")):
        assert put_back(ann.worktree, path, text.encode(), "100644")
        assert (ann.root / path).read_text() == text
        assert not undo(ann.worktree).waits
        assert held(ann.root) == {"a.md": "edited\n", "c.md": "C\n"}
        undo(ann.worktree)
        assert (ann.root / path).read_text() == text
        undo(ann.worktree)
    assert {c.path for c in ann.sync().pushed} == {"a.md", "b.md"}  # as before: nothing waits for anybody
    (ann.root / "file").write_text("in the way\n")
    with pytest.raises(ChangedMeanwhile):
        put_back(ann.worktree, "file/a.md", b"x", "100644")


def readable_to_others(ann: Desk) -> set[str]:
    """What text of a file is in, below `.satchel`, and somebody else may read."""
    found = set()
    for folder, _, names in os.walk(ann.root / ".satchel"):
        open_folders = stat.S_IMODE(os.stat(folder).st_mode) & 0o055
        for name in names:
            if open_folders and stat.S_IMODE(os.stat(os.path.join(folder, name)).st_mode) & 0o044:
                found.add(os.path.relpath(os.path.join(folder, name), ann.root / ".satchel"))
    return found


def test_what_keeps_texts_is_for_the_owner_alone(ann: Desk, bob: Desk) -> None:
    disagree(ann, bob)
    resolve(bob.worktree, ["a.md"], Take.CLOUD)
    put(ann.root, {"b.md": "Ann's too\n"})
    ann.sync()
    put(bob.root, {"b.md": "Bob's too\n"})
    bob.sync()
    assert (bob.root / ".satchel/undo").is_dir()
    assert os.listdir(bob.root / ".satchel/conflicts")
    assert readable_to_others(bob) <= {"config.toml", "base-0", "base-1", "state.db", "state.db-wal", "state.db-shm"}


def test_a_private_file_is_private_by_another_name_and_so_is_what_is_put_beside_it(ann: Desk, bob: Desk) -> None:
    names = ("moved.md", "edited.md", "both.bin", "taken.md", "asked.bin")
    put(ann.root, {name: f"\0{name}" if name.endswith("bin") else f"{name}\n" * 50 for name in names})
    ann.sync()
    bob.sync()
    for name in names:
        (bob.root / name).chmod(0o600)
    (ann.root / "moved.md").rename(ann.root / "new-name.md")
    (ann.root / "edited.md").rename(ann.root / "new-edited.md")
    put(bob.root, {"edited.md": "mine\n" * 60})
    for desk in (ann, bob):
        put(desk.root, {name: f"\0{name} of {desk.root.name}" for name in ("both.bin", "asked.bin")})
        put(desk.root, {"taken.md": f"of {desk.root.name}\n"})
    ann.sync()
    bob.sync()
    resolve(bob.worktree, ["taken.md", "asked.bin"], Take.BOTH)
    bob.sync(strategy=Strategy.BOTH)
    modes = {str(path.relative_to(bob.root)): stat.S_IMODE(path.stat().st_mode) for path in bob.root.glob("*.*[dn]")}
    assert {"new-name.md", "new-edited.md", "both.cloud-2.bin", "taken.cloud.md", "asked.cloud.bin"} <= modes.keys(), (
        modes
    )
    assert set(modes.values()) == {0o600}


@pytest.mark.parametrize("permissions", [0o600, 0o640, 0o700])
def test_a_deleted_file_comes_back_no_wider_than_it_was(ann: Desk, bob: Desk, permissions: int) -> None:
    put(ann.root, FILES)
    ann.sync()
    bob.sync()
    (bob.root / "a.md").chmod(permissions)
    if permissions & 0o100:
        bob.sync()
        ann.sync()
    (ann.root / "a.md").unlink()
    ann.sync()
    bob.sync()
    assert not (bob.root / "a.md").exists()
    put_back(bob.worktree, "a.md", b"first\n", "100755" if permissions & 0o100 else "100644")
    assert stat.S_IMODE((bob.root / "a.md").stat().st_mode) == permissions
    undo(bob.worktree)
    pulled = next(step for step in UndoStore(bob.root).steps() if step.kind == "sync")
    undo(bob.worktree, pulled.step)
    assert stat.S_IMODE((bob.root / "a.md").stat().st_mode) == permissions
