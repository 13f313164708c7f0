"""A disk that does not give what is on it: told by name, and never taken for an edit, a deletion or an absent rule."""

from __future__ import annotations

import errno
import os
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from satchel.sync.lastlook import Deletions
from satchel.sync.report import UNREAD
from satchel.sync.settle import Take, put_back, resolve, undo
from satchel.worktree import beneath
from satchel.worktree.base import History, load_base, save_base
from satchel.worktree.beneath import Beneath
from satchel.worktree.durable import FolderUnreadable, FolderUnwritable
from satchel.worktree.materialise import Materialiser
from tests.sync.cloud import held, put
from tests.sync.conftest import Desk

pytestmark = [pytest.mark.promise("P3"), pytest.mark.promise("P6")]
FILES = {"a.md": "A\n", "docs/b.md": "B\n"}


@pytest.fixture
def failing(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Makes opening one path of a worktree an error of the disk, until the context is left."""

    def fail(bad: str) -> None:
        def broken(self: Beneath, path: str) -> tuple[int, os.stat_result]:
            if path == bad:
                raise OSError(errno.EIO, "Input/output error", path)
            return real(self, path)

        real = Beneath.open
        monkeypatch.setattr(Beneath, "open", broken)

    return fail


def test_a_base_that_the_disk_does_not_give_is_not_replaced_by_the_one_before(
    ann: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With that, what was deleted since would come back, and what was fetched since would be sent."""
    put(ann.root, FILES)
    ann.sync()
    (ann.root / "a.md").unlink()
    ann.sync()
    base, _ = load_base(ann.root)
    assert base is not None
    real = beneath.read_own

    def broken(path: Path) -> bytes:
        if path.name == "base-1":
            raise OSError(errno.EIO, "Input/output error", str(path))
        return real(path)

    with monkeypatch.context() as patch:
        patch.setattr(beneath, "read_own", broken)
        for act in (lambda: load_base(ann.root), lambda: save_base(ann.root, base), ann.sync):
            with pytest.raises(FolderUnreadable, match="base-1"):
                act()
        assert History(ann.root).version is None  # a search goes on without it
    assert held(ann.root) == {"docs/b.md": "B\n"}
    assert load_base(ann.root) == (base, [])


def test_a_folder_whose_ignore_file_cannot_be_read_is_left_out_and_stays_in_the_cloud(
    ann: Desk, failing: Callable[[str], None]
) -> None:
    put(ann.root, FILES)
    ann.sync()
    put(ann.root, {"docs/.gitignore": "*.secret\n", "docs/key.secret": "hush\n", "c.md": "C\n"})
    failing("docs/.gitignore")
    report = ann.sync()
    assert [sent.path for sent in report.pushed] == ["c.md"]
    assert [(left.path, left.reason) for left in report.left_out] == [("docs", "unreadable")]
    changes = ann.peer.changes(ann.project, 0, None)
    assert {change.path for change in changes.items} == {"a.md", "c.md", "docs/b.md"}


def shut(patch: pytest.MonkeyPatch, place: str) -> None:
    """Let nobody read a file of a worktree, or a folder of it and what is in there."""
    within = re.compile(rf"(.*/)?{re.escape(place)}(/.*)?")
    listed, opened, entered = os.scandir, Beneath.open, Beneath.folder

    def refuse(path: object) -> None:
        if within.fullmatch(str(path).rstrip("/")):
            raise PermissionError(errno.EACCES, "Permission denied", str(path))

    def scandir(path: str | Path) -> object:
        refuse(path)
        return listed(path)

    def folder(self: Beneath, path: str, *, create: bool = False) -> int:
        refuse(path)
        return entered(self, path, create=create)

    def open_(self: Beneath, path: str) -> tuple[int, os.stat_result]:
        refuse(path)
        return opened(self, path)

    patch.setattr(os, "scandir", scandir)
    patch.setattr(Beneath, "folder", folder)
    patch.setattr(Beneath, "open", open_)


@pytest.mark.parametrize("place", ["docs/b.md", "docs", "docs/.gitignore"])
def test_what_cannot_be_read_stays_as_it_is_on_both_sides_while_the_rest_goes(
    ann: Desk, bob: Desk, monkeypatch: pytest.MonkeyPatch, place: str
) -> None:
    rules = {"docs/.gitignore": "*.secret\n"}
    put(ann.root, FILES | rules | {"docs/gone.md": "G\n", "docs/deep/c.md": "C\n", "mine.md": "M\n"})
    ann.sync()
    bob.sync()
    put(ann.root, {"a.md": "second\n", "docs/b.md": "second\n", "docs/deep/new.md": "new\n"})
    (ann.root / "docs/gone.md").unlink()
    ann.sync()
    put(bob.root, {"mine.md": "edited\n", "docs/own.md": "own\n"})
    before = held(bob.root)
    with monkeypatch.context() as patch:
        shut(patch, place)
        looked = bob.sync(dry_run=True, prune=True)
        assert "docs/b.md" not in {change.path for change in (*looked.pushed, *looked.pulled)}
        report = bob.sync(prune=True)
        bob.sync(deletions=Deletions(allowed=99))
    assert (report.conflicts, report.in_step, [left.reason for left in report.unread]) == ([], False, ["unreadable"])
    assert report.withheld["docs/b.md"] == UNREAD
    assert ("a.md", "changed") in report.pulled
    assert ("mine.md", "changed") in report.pushed
    assert "deleted" not in {change.how for change in report.pushed}
    there = {change.path for change in ann.peer.changes(ann.project, 0, None).items}
    assert {"docs/b.md", "docs/deep/c.md", "docs/.gitignore"} <= there
    after = held(bob.root)
    assert after["docs/b.md"] == before["docs/b.md"]
    if place != "docs/b.md":
        assert {path for path in before if path.startswith("docs/")} == {p for p in after if p.startswith("docs/")}
    assert bob.sync().in_step
    ann.sync()
    assert held(ann.root) == held(bob.root)
    assert (held(bob.root)["docs/b.md"], held(bob.root)["docs/own.md"]) == ("second\n", "own\n")


def test_undo_and_restore_touch_nothing_beside_what_cannot_be_read(
    ann: Desk, bob: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(ann.root, FILES)
    ann.sync()
    bob.sync()
    put(ann.root, {"a.md": "second\n", "docs/b.md": "second\n"})
    ann.sync()
    bob.sync()
    before = held(bob.root)
    real = os.scandir

    def broken(path: str | Path) -> object:
        if str(path).endswith("/docs"):
            raise OSError(errno.EIO, "Input/output error", str(path))
        return real(path)

    with monkeypatch.context() as patch:
        patch.setattr(os, "scandir", broken)
        with pytest.raises(FolderUnreadable, match=r"docs/b\.md"):
            undo(bob.worktree)
        with pytest.raises(FolderUnreadable, match=r"docs/b\.md"):
            put_back(bob.worktree, "docs/b.md", b"B\n", "100644")
    assert held(bob.root) == before
    assert sorted(undo(bob.worktree).restored) == ["a.md", "docs/b.md"]
    assert held(bob.root) == FILES


def test_a_dry_run_needs_no_lock_where_none_can_be_had(ann: Desk) -> None:
    put(ann.root, FILES)
    (ann.root / ".satchel/lock").mkdir()  # stands for a disk that is mounted read-only: there is no opening it
    assert len(ann.sync(dry_run=True).pushed) == len(FILES)
    with pytest.raises(FolderUnwritable, match="lock"):
        ann.sync()


def test_an_undo_that_a_disk_cut_off_is_gone_on_with(ann: Desk, bob: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    put(ann.root, FILES)
    ann.sync()
    bob.sync()
    put(ann.root, {"a.md": "second\n", "docs/b.md": "second\n"})
    ann.sync()
    bob.sync()
    real = Materialiser._present

    def broken(self: Materialiser, path: str) -> object:
        if path == "docs/b.md":
            raise OSError(errno.EIO, "Input/output error", path)
        return real(self, path)

    with monkeypatch.context() as patch:
        patch.setattr(Materialiser, "_present", broken)
        with pytest.raises(FolderUnreadable, match=r"docs/b\.md"):
            undo(bob.worktree)
    assert sorted(undo(bob.worktree).restored) == ["a.md", "docs/b.md"]
    assert held(bob.root) == FILES


def test_a_conflict_is_not_resolved_by_a_file_that_cannot_be_read(
    ann: Desk, bob: Desk, failing: Callable[[str], None]
) -> None:
    put(ann.root, FILES)
    ann.sync()
    bob.sync()
    put(ann.root, {"a.md": "Ann's\n"})
    ann.sync()
    put(bob.root, {"a.md": "Bob's\n"})
    bob.sync()
    put(bob.root, {"a.md": "merged by hand\n"})
    failing("a.md")
    with pytest.raises(FolderUnreadable, match=r"a\.md"):
        resolve(bob.worktree, ["a.md"], Take.MERGED)


def test_a_root_that_cannot_be_opened_has_a_name(ann: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    put(ann.root, FILES)

    def broken(_self: Beneath, root: Path) -> None:
        raise OSError(errno.EIO, "Input/output error", str(root))

    monkeypatch.setattr(Beneath, "__init__", broken)
    with pytest.raises(FolderUnreadable, match="Input/output error"):
        ann.sync()
