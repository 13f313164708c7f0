"""What others wrote is on disk before the base knows of it (promise P6)."""

from __future__ import annotations

import errno
import os
from collections.abc import Sequence
from pathlib import Path

import pytest

from satchel.errors import HeadMoved, SatchelError
from satchel.worktree import flush
from tests.sync.cloud import put
from tests.sync.conftest import Desk


@pytest.fixture
def synced(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Inodes in the order in which they were synced."""
    seen: list[int] = []
    real = os.fsync

    def fsync(fd: int) -> None:
        seen.append(os.fstat(fd).st_ino)
        real(fd)

    monkeypatch.setattr(os, "fsync", fsync)
    return seen


def inodes(root: Path, paths: Sequence[str]) -> list[int]:
    return [(root / path).stat().st_ino for path in paths]


@pytest.mark.promise("P6")
def test_what_a_person_saved_and_a_sync_sent_is_synced_before_the_base_knows_of_it(
    ann: Desk, synced: list[int]
) -> None:
    put(ann.root, {"docs/a.md": "A\n", "docs/b.md": "B\n"})
    ann.sync()
    synced.clear()
    put(ann.root, {"docs/a.md": "edited\n", "new/c.md": "C\n"})
    (ann.root / "docs/b.md").unlink()
    ann.sync()
    base = max(ann.root.glob(".satchel/base-?"), key=lambda path: path.stat().st_mtime_ns).stat().st_ino
    last = len(synced) - 1 - synced[::-1].index(base)
    before = synced[:last]
    assert set(inodes(ann.root, ["docs/a.md", "new/c.md", "docs", "new", "."])) <= set(before)
    synced.clear()
    ann.sync()
    assert synced == [], "nothing is new to the base"


@pytest.mark.promise("P6")
def test_what_a_pull_wrote_is_not_synced_twice(ann: Desk, bob: Desk, synced: list[int]) -> None:
    put(ann.root, {"a.md": "A\n"})
    ann.sync()
    synced.clear()
    bob.sync()
    assert synced.count((bob.root / "a.md").stat().st_ino) == 1


@pytest.mark.promise("P6")
def test_what_a_person_saved_over_a_pulled_file_while_the_sync_started_over_is_synced(
    ann: Desk, bob: Desk, synced: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    put(ann.root, {"a.md": "first\n"})
    ann.sync()
    bob.sync()
    put(ann.root, {"a.md": "second\n"})
    ann.sync()
    put(bob.root, {"b.md": "bob's\n"})
    real, edited = type(bob.peer).sync, list[int]()

    def sync(*rest: object) -> object:
        if (bob.root / "a.md").read_text() == "second\n":
            synced.clear()
            put(bob.root, {"a.md": "bob's own\n"})
            edited.append((bob.root / "a.md").stat().st_ino)
            raise HeadMoved("somebody was faster")
        return real(bob.peer, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(bob.peer, "sync", sync)
    assert [change.path for change in bob.sync().pushed] == ["a.md", "b.md"]
    assert len(edited) == 1
    assert edited[0] in synced


def test_many_files_are_flushed_at_once(tmp_path: Path, synced: list[int]) -> None:
    put(tmp_path, {f"{n}.md": "x" for n in range(flush.FEW_FILES + 1)})
    flush.flush(tmp_path, [f"{n}.md" for n in range(flush.FEW_FILES + 1)], [])
    assert synced == []


def test_what_is_gone_or_replaced_meanwhile_is_no_trouble_and_a_broken_disk_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "link.md").symlink_to("/etc/passwd")
    put(tmp_path, {"file.md": "in the way\n"})
    flush.flush(tmp_path, ["gone/deep/a.md", "link.md", "file.md/below.md"], ["was/here.md"])

    def broken(_fd: int) -> None:
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(os, "fsync", broken)
    with pytest.raises(SatchelError, match="Input/output error"):
        flush.flush(tmp_path, ["file.md"], [])
