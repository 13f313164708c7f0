from __future__ import annotations

import pytest

from satchel.errors import InvalidInput
from satchel.sync.run import status
from satchel.sync.session import Direction
from satchel.sync.settle import NothingToUndo, Take, resolve, undo
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


def test_only_conflicts_can_be_resolved(ann: Desk, bob: Desk) -> None:
    disagree(ann, bob)
    with pytest.raises(InvalidInput, match=r"b\.md"):
        resolve(bob.worktree, ["a.md", "b.md"], Take.LOCAL)
    assert [c.path for c in bob.sync().conflicts] == ["a.md"]
    with pytest.raises(InvalidInput):
        resolve(ann.worktree, ["a.md"], Take.LOCAL)


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
    assert sorted(undo(bob.worktree).restored) == ["a.md", "b.md", "new/d.md"]
    assert held(bob.root) == FILES


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
def test_undo_can_be_undone(ann: Desk, bob: Desk) -> None:
    after = pulled(ann, bob)
    undo(bob.worktree)
    undo(bob.worktree)
    assert held(bob.root) == after
    assert bob.sync().in_step


@pytest.mark.promise("P3")
def test_undo_leaves_alone_what_was_edited_since(ann: Desk, bob: Desk) -> None:
    pulled(ann, bob)
    put(bob.root, {"a.md": "edited after the sync\n"})
    undone = undo(bob.worktree)
    assert undone.skipped.keys() == {"a.md"}
    assert (bob.root / "a.md").read_text() == "edited after the sync\n"
    assert (bob.root / "b.md").read_text() == "B\n"
    assert [c.path for c in bob.sync().pushed] == ["a.md"]


def test_with_nothing_overwritten_there_is_nothing_to_undo(ann: Desk) -> None:
    put(ann.root, FILES)
    ann.sync()
    with pytest.raises(NothingToUndo):
        undo(ann.worktree)
