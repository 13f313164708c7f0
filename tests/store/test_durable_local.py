from __future__ import annotations

import asyncio
import errno
import os
import re
import shutil
import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from satchel.errors import DiskFull, StoreMissing, StoreUnavailable
from satchel.store import durable_local
from satchel.store.durable_local import LocalStore, make_directory

# In one thread, because strace counts the calls at which it kills for each thread.
PUT = """
import sys
from pathlib import Path
from satchel.store.durable_local import LocalStore
LocalStore(Path(sys.argv[1]))._put("a/b/c", b"x" * 100_000, sys.argv[2] == "create")
"""
STEPS = "mkdir,write,fsync,rename,link,unlink"  # the system calls between which a put can be killed

needs_strace = pytest.mark.skipif(shutil.which("strace") is None, reason="strace is not installed")


def put_traced(root: Path, how: str, log: Path, *options: str) -> int:
    command = ["strace", "-f", "-y", "-o", str(log), *options, sys.executable, "-B", "-c", PUT, str(root), how]
    done = subprocess.run(command, capture_output=True, text=True, env=os.environ | {"PYTHONPATH": "src"}, timeout=60)
    return done.returncode


def calls(log: Path, root: Path) -> list[tuple[str, str]]:
    """System calls on the store in order: name, and the path they are about."""
    found = []
    for line in log.read_text().splitlines():
        call = re.match(r"\d+ +(\w+)\((.*)", line)
        if call is not None and str(root) in call[2]:
            found.append((call[1], call[2]))
    return found


@needs_strace
@pytest.mark.system
@pytest.mark.promise("P6")
@pytest.mark.parametrize(("how", "naming"), [("replace", "rename"), ("create", "link")])
def test_bytes_are_synced_before_they_get_their_name_and_the_name_after(tmp_path: Path, how: str, naming: str) -> None:
    root, log = tmp_path / "objects", tmp_path / "log"
    assert put_traced(root, how, log, "-e", f"trace={STEPS}") == 0
    steps = calls(log, root)
    written = next(n for n, (name, _) in enumerate(steps) if name == "write")
    synced = next(n for n, (name, about) in enumerate(steps) if name == "fsync" and "/.tmp/" in about)
    named = next(n for n, (name, _) in enumerate(steps) if name == naming)
    after = [n for n, (name, about) in enumerate(steps) if n > named and name == "fsync" and "/a/b>" in about]
    assert written < synced < named
    assert after, "the folder that holds the name is synced after it"
    for made in ("/a", "/a/b"):
        parent = str(root / made[1:]).rpartition("/")[0]
        at = next(n for n, (name, about) in enumerate(steps) if name == "mkdir" and f'{made}"' in about)
        kept = next(n for n, (name, about) in enumerate(steps) if n > at and name == "fsync" and f"<{parent}>" in about)
        assert at < kept < named, "a folder is durable before anything in it is"


@needs_strace
@pytest.mark.system
@pytest.mark.promise("P6")
@pytest.mark.parametrize("how", ["replace", "create"])
def test_a_put_killed_at_any_step_leaves_the_whole_object_or_nothing(tmp_path: Path, how: str) -> None:
    log = tmp_path / "log"
    assert put_traced(tmp_path / "counted", how, log, "-e", f"trace={STEPS}") == 0
    counts: dict[str, int] = {}
    for name, _ in calls(log, tmp_path):
        counts[name] = counts.get(name, 0) + 1
    outcomes = set()
    for call, times in counts.items():
        for when in range(1, times + 1):
            root = tmp_path / f"{call}-{when}"
            kill = f"inject={call}:signal=KILL:when={when}"
            assert put_traced(root, how, log, "-e", f"trace={call}", "-e", kill) != 0, f"not killed at {call} {when}"
            outcomes.add(asyncio.run(after_a_crash(root, how)))
    assert outcomes == {"whole", "nothing"}


async def after_a_crash(root: Path, how: str) -> str:
    store = LocalStore(root)
    listed = [stored.name async for stored in store.list("")]
    try:
        data = await store.get("a/b/c")
    except StoreMissing:
        assert listed == []
        await store.put("a/b/c", b"again", create=how == "create")
        return "nothing"
    assert data == b"x" * 100_000
    assert listed == ["a/b/c"]
    return "whole"


@pytest.mark.promise("P6")
def test_a_deletion_that_was_cut_off_and_a_directory_made_just_now_are_made_durable(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: list[int] = []
    monkeypatch.setattr(os, "fsync", lambda fd: synced.append(os.fstat(fd).st_ino))

    async def use() -> None:
        store = LocalStore(tmp_path / "objects")
        await store.put("a/b", b"x")
        (tmp_path / "objects/a/b").unlink()  # and killed
        synced.clear()
        await store.delete("a/b")
        assert synced == [(tmp_path / "objects/a").stat().st_ino]
        await store.delete("a/b/c")
        await store.delete("nowhere/b")
        await store.delete("a")

    asyncio.run(use())
    synced.clear()
    make_directory(tmp_path / "new/data")
    assert synced == [tmp_path.stat().st_ino, (tmp_path / "new").stat().st_ino]


@pytest.mark.promise("P8")
def test_what_is_remembered_of_directories_does_not_grow_with_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(durable_local, "MAX_KNOWN_FOLDERS", 8)

    async def use() -> None:
        store = LocalStore(tmp_path)
        for number in range(30):
            await store.put(f"projects/{number}/packs/a", b"x")
            assert len(store._durable) <= 8
        assert [stored.name async for stored in store.list("projects/0/")] == ["projects/0/packs/a"]

    asyncio.run(use())


def test_a_leftover_is_invisible_and_removed_once_it_is_old(tmp_path: Path) -> None:
    async def use() -> None:
        store = LocalStore(tmp_path)
        await store.put("a", b"x")
        old, young = tmp_path / ".tmp" / "old", tmp_path / ".tmp" / "young"
        for leftover in (old, young):
            leftover.write_bytes(b"half of")
        os.utime(old, (time.time() - 25 * 3600,) * 2)
        assert [stored.name async for stored in store.list("")] == ["a"]
        await store.check()
        assert not old.exists()
        assert young.exists()

    asyncio.run(use())


def test_a_temporary_file_that_goes_while_old_ones_are_looked_for_is_no_trouble(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A put beside gives it its name."""
    scandir = os.scandir

    @contextmanager
    def late(path: Path) -> Iterator[list[os.DirEntry[str]]]:
        with scandir(path) as entries:
            found = list(entries)
        for entry in found:
            os.unlink(entry.path)
        yield found

    async def use() -> None:
        store = LocalStore(tmp_path)
        (tmp_path / ".tmp" / "put-beside").write_bytes(b"half of")
        monkeypatch.setattr(os, "scandir", late)
        await store.check()

    asyncio.run(use())


def test_nothing_is_left_when_the_disk_is_full(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def use() -> None:
        store = LocalStore(tmp_path)
        await store.put("a", b"before")
        real = os.write

        def full(handle: int, data: memoryview) -> int:
            if len(data) > 3:
                return real(handle, data[:3])
            raise OSError(errno.ENOSPC, "No space left on device")

        with monkeypatch.context() as patched:
            patched.setattr(os, "write", full)
            with pytest.raises(DiskFull, match="full") as caught:
                await store.put("a", b"after!")
        assert str(tmp_path) not in caught.value.message  # a client reads it
        assert await store.get("a") == b"before"
        assert os.listdir(tmp_path / ".tmp") == []

    asyncio.run(use())


def test_a_directory_that_cannot_be_used_is_told_with_its_reason(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(StoreUnavailable, match="cannot be used"):
        LocalStore(tmp_path / "file" / "objects")

    async def use() -> None:
        store = LocalStore(tmp_path / "objects")
        await store.put("a", b"x")
        with pytest.raises(StoreUnavailable):
            await store.put("a/b", b"x", create=True)  # a file where a folder must be
        shutil.rmtree(tmp_path / "objects" / ".tmp")
        with pytest.raises(StoreUnavailable):
            await store.check()

    asyncio.run(use())


def test_objects_are_for_their_owner_alone(tmp_path: Path) -> None:
    async def use() -> None:
        await LocalStore(tmp_path / "objects").put("a/b", b"x")

    asyncio.run(use())
    assert stat.S_IMODE((tmp_path / "objects").stat().st_mode) == 0o700
    assert stat.S_IMODE((tmp_path / "objects/a").stat().st_mode) == 0o700
    assert stat.S_IMODE((tmp_path / "objects/a/b").stat().st_mode) == 0o600
