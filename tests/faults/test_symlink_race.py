"""A program that swaps folders for symlinks while Satchel writes, deletes and reads: nothing leads out of the folder.

A few hundred races here; 10,000 with ``PROVE=1``, as ``scripts/prove.py`` runs them.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from satchel.errors import NoSuchArtifact
from satchel.objects.ids import object_id
from satchel.objects.listing import Entry
from satchel.worktree import durable
from satchel.worktree.materialise import Materialiser
from satchel.worktree.walk import ChangedMeanwhile, Worktree

RACES = 10_000 if os.environ.get("PROVE") else 300
SECRET = b"the secret outside\n"
OURS = b"ours\n"


def entry(data: bytes) -> Entry:
    return Entry("100644", object_id(data))


@contextmanager
def swapping(root: Path, outside: Path) -> Iterator[None]:
    swapper = subprocess.Popen(
        [sys.executable, "-S", str(Path(__file__).with_name("swapper.py")), str(root), str(outside)],
        stdin=subprocess.PIPE,
    )
    try:
        yield
    finally:
        assert swapper.stdin is not None
        swapper.stdin.close()
        assert swapper.wait(30) == 0


@pytest.mark.promise("P5")
@pytest.mark.timeout(1_200 if os.environ.get("PROVE") else 120)
def test_a_folder_swapped_for_a_symlink_at_any_moment_leads_nowhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root, outside = tmp_path / "project", tmp_path / "outside"
    (root / ".satchel").mkdir(parents=True)
    (root / "dir/sub").mkdir(parents=True)
    (outside / "sub").mkdir(parents=True)
    for name in ("secret.md", "sub/f.md", "sub/secret.md"):
        (outside / name).write_bytes(SECRET)
    before = {path: path.read_bytes() for path in outside.rglob("*") if path.is_file()}
    # What is raced for is the way to the file: without waiting for the disk there are more races in a second.
    monkeypatch.setattr(durable, "sync_folder", lambda _folder: None)
    monkeypatch.setattr(os, "fsync", lambda _fd: None)
    worktree = Worktree.open(root)
    done = refused = 0
    with swapping(root, outside):
        for race in range(RACES):
            data = b"%d %s" % (race, OURS)
            try:
                with Materialiser(root, None) as into:
                    for name in ("dir/sub/f.md", f"dir/sub/{race}.md", f"dir/{race}/new.md"):
                        held = Entry("100644", object_id((root / name).read_bytes())) if _ours(root / name) else None
                        into.write(name, data, "100644", held)
                    into.delete(f"dir/sub/{race}.md", entry(data))
                    into.delete(f"dir/{race}/new.md", entry(data))
                done += 1
            except (ChangedMeanwhile, OSError):
                refused += 1
            with suppress(NoSuchArtifact):
                assert worktree.read("dir/sub/f.md") != SECRET
            if race % 10 == 0:
                assert object_id(SECRET) not in {found.object for found in worktree.scan().tree.values()}
    after = {path: path.read_bytes() for path in outside.rglob("*") if path.is_file()}
    assert after == before
    assert sorted(path.name for path in outside.rglob("*")) == ["f.md", "secret.md", "secret.md", "sub"]
    assert not any(path.is_symlink() and path.parent != root for path in (root / ".satchel").rglob("*"))
    # Both happened, or nothing was raced for.
    assert done > 0
    assert refused > 0


def _ours(path: Path) -> bool:
    """Whether a regular file is there now, looked at as carelessly as an editor would."""
    try:
        return path.read_bytes().endswith(OURS)
    except OSError:
        return False
