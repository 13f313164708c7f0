"""Sealed bytes of a remote store kept on local disk: reads are faster, and go on while the store does not answer.

    <folder>/<name of the object>/<offset>-<length>[-whole]

Only packs are kept, as they rest: sealed, nothing in clear. They never change under their name, and are all that a read
of content needs; records and heads are for writing, and keyrings and tombstones have to be those that count now. What
is read is what is kept, range by range, and what is put is kept too; a wanted range that held ones cover together is a
hit. The folder itself says what is held, so that nothing grows in memory: a name is looked up there, and beyond a bound
in bytes the least recently used files go first, by the time each was written or read. Everything here can be deleted at
any time.

A file that ends too early is a miss. Other damage is found by whoever opens the seal: it says so with
``doubt`` and reads again, from the store.

Stores on the same disk have no use for it: a copy beside the original would take space and save nothing.
"""

from __future__ import annotations

import asyncio
import os
import re
import secrets
import shutil
import threading
import time
from collections.abc import AsyncIterator, Iterable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from satchel.store.objectstore import ObjectStore, StoredObject, checked_name

SMALL_BYTES = 16 << 10
"""What a smaller file counts as: so a bound of 1 GiB also bounds the files to 65,536, which are looked through at each
start, and each time that room is made."""
ROOM_SHARE = 10
"""Where room is made, it is one part in so many of the bound: looking through all files is not for each."""
_PACK = re.compile(r"tenants/[^/]+/projects/[^/]+/packs/[^/]+\Z")
_FILE = re.compile(r"(?P<offset>0|[1-9]\d{0,17})-(?P<length>[1-9]\d{0,17})(?P<whole>-whole)?\Z")


class _Range(NamedTuple):
    """Bytes of one object that are on disk; ``whole``: all it has."""

    offset: int
    length: int
    whole: bool

    @property
    def end(self) -> int:
        return self.offset + self.length

    @property
    def file(self) -> str:
        return f"{self.offset}-{self.length}{'-whole' if self.whole else ''}"

    @property
    def cost(self) -> int:
        return max(self.length, SMALL_BYTES)


class CachedStore:
    """An ``ObjectStore`` before another. For one event loop, and one process at a time."""

    def __init__(self, inner: ObjectStore, folder: Path, max_bytes: int) -> None:
        """Takes over what an earlier run left in ``folder``."""
        self._inner, self._folder, self._max_bytes = inner, folder, max_bytes
        self._lock = threading.Lock()
        self._used = 0
        self._drops = 0
        """How often something was to be forgotten: what was read before that is not kept after it."""
        self._making_room = asyncio.Lock()
        self.hits = self.misses = 0
        """Reads of packs that were on this disk, and that were not."""
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._tidy()
        self._make_room(max_bytes)

    @property
    def bytes_used(self) -> int:
        """Disk in use."""
        return self._used

    async def get(self, name: str, *, offset: int = 0, length: int | None = None) -> bytes:
        if not _PACK.match(checked_name(name)) or offset < 0 or (length is None and offset):
            return await self._inner.get(name, offset=offset, length=length)
        drops = self._drops
        found = await asyncio.to_thread(self._read, name, offset, length)
        if found is not None:
            self.hits += 1
            return found
        self.misses += 1
        data = await self._inner.get(name, offset=offset, length=length)
        await self._keep(name, _Range(offset, len(data), length is None), data, drops)
        return data

    async def put(self, name: str, data: bytes, *, create: bool = False) -> None:
        await self._inner.put(name, data, create=create)
        if _PACK.match(name):
            if not create:  # else nothing was ever read by that name
                await self._drop(name)
            await self._keep(name, _Range(0, len(data), True), data, self._drops)

    async def delete(self, name: str) -> None:
        await self.doubt(name)
        try:
            await self._inner.delete(name)
        finally:
            await self.doubt(name)

    def list(self, prefix: str) -> AsyncIterator[StoredObject]:
        return self._inner.list(prefix)

    async def check(self) -> None:
        await self._inner.check()

    async def doubt(self, name: str) -> bool:
        """Forget an object that did not open; whether there was anything to forget, so that reading again may help."""
        return _PACK.match(name) is not None and await self._drop(name)

    async def forget(self, prefix: str) -> None:
        """Delete everything kept of the objects whose name begins with ``prefix``, which ends with a slash."""
        await self._drop(prefix.rstrip("/"))

    def halve(self) -> None:
        """Delete the less recently used half: the disk is full, and somebody else needs it. For any thread."""
        self._make_room(self._used // 2)

    def tenants(self) -> set[str]:
        """Of whom something may be kept."""
        with suppress(FileNotFoundError), os.scandir(self._folder / "tenants") as found:
            return {entry.name for entry in found}
        return set()

    async def _keep(self, name: str, one: _Range, data: bytes, drops: int) -> None:
        """Keep what was read while ``drops`` things had been forgotten; not if more were meanwhile."""
        if not data or one.cost > self._max_bytes:
            return
        await asyncio.to_thread(self._write, name, one, data, drops)
        if self._used > self._max_bytes:
            async with self._making_room:
                if self._used > self._max_bytes:
                    await asyncio.to_thread(self._make_room, self._max_bytes - self._max_bytes // ROOM_SHARE)

    async def _drop(self, name: str) -> bool:
        """Forget a pack, or all below a folder; whether there was anything."""
        self._drops += 1
        return await asyncio.to_thread(self._remove_all, self._folder / name)

    # Files, in threads --------------------------------------------------------------------------------------------

    def _read(self, name: str, offset: int, length: int | None) -> bytes | None:
        """The wanted bytes, or ``None`` where they are not all there."""
        folder = self._folder / name
        pieces = _covering(_held(folder), offset, length)
        parts = []
        at, end = offset, pieces[-1].end if length is None and pieces else offset + (length or 0)
        for piece in pieces:
            wanted = min(end, piece.end) - at
            try:
                with (folder / piece.file).open("rb") as file:
                    file.seek(at - piece.offset)
                    parts.append(file.read(wanted))
                    _touch(file.fileno())
            except OSError:
                return None
            if len(parts[-1]) != wanted:
                self._remove(folder, [piece])
                return None
            at += wanted
        return parts[0] if len(parts) == 1 else b"".join(parts) or None

    def _write(self, name: str, one: _Range, data: bytes, drops: int) -> None:
        """Put one file there, and those away that it has all of. Not synced: what a power loss tears is a miss."""
        folder = self._folder / name
        temporary = folder / f".{secrets.token_hex(8)}"
        try:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            handle = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
            with os.fdopen(handle, "wb") as file:
                file.write(data)
                file.flush()
                _touch(file.fileno())
            inside = [each for each in _held(folder) if one.offset <= each.offset and each.end <= one.end]
            with self._lock:
                if drops == self._drops:  # else what was read may be what was meant to be forgotten
                    temporary.rename(folder / one.file)
                    self._used += 0 if one in inside else one.cost
            self._remove(folder, [each for each in inside if each != one])
        except OSError:
            pass
        with suppress(OSError):
            temporary.unlink()
        with suppress(OSError):
            folder.rmdir()  # fails unless nothing was put there

    def _remove(self, folder: Path, ranges: Iterable[_Range]) -> None:
        for one in ranges:
            with self._lock, suppress(OSError):
                (folder / one.file).unlink()
                self._used -= one.cost
        with suppress(OSError):
            folder.rmdir()  # fails unless this was the last range of the object

    def _remove_all(self, below: Path) -> bool:
        with self._lock:
            pass  # who was about to keep something before this was to be forgotten has done so now
        found = [(path, one) for path, one in self._files(below)]
        for path, one in found:
            self._remove(path, [one])
        shutil.rmtree(below, ignore_errors=True)
        return bool(found)

    def _files(self, below: Path) -> Iterator[tuple[Path, _Range]]:
        for folder, _, files in os.walk(below):
            for file in files:
                one = _range(file)
                if one is not None:
                    yield Path(folder), one

    def _make_room(self, most: int) -> None:
        """Count what is there, and delete the least recently used until it is ``most``."""
        found = []
        for folder, one in self._files(self._folder):
            with suppress(FileNotFoundError):
                found.append((os.stat(folder / one.file).st_mtime_ns, folder, one))
        with self._lock:
            self._used = sum(one.cost for _, _, one in found)
        for _, folder, one in sorted(found):
            if self._used <= most:
                break
            self._remove(folder, [one])

    def _tidy(self) -> None:
        """Delete what does not look like a file of an earlier run."""
        for folder, _, files in os.walk(self._folder):
            known = _PACK.match(Path(folder).relative_to(self._folder).as_posix()) is not None
            for file in files:
                one, path = _range(file), f"{folder}/{file}"
                with suppress(FileNotFoundError):  # somebody else deletes them too
                    if not known or one is None or os.stat(path).st_size != one.length:
                        os.unlink(path)


def _range(file: str) -> _Range | None:
    match = _FILE.match(file)
    return match and _Range(int(match["offset"]), int(match["length"]), match["whole"] is not None)


def _held(folder: Path) -> list[_Range]:
    """The ranges of an object that are there."""
    try:
        return [one for file in os.listdir(folder) if (one := _range(file)) is not None]
    except OSError:
        return []


def _covering(held: Sequence[_Range], offset: int, length: int | None) -> Sequence[_Range]:
    """Ranges that together have the wanted one, in order; none if something of it is missing."""
    if length is None:
        return [each for each in held if each.whole]
    found = []
    at = offset
    while at < offset + length:
        best = max((each for each in held if each.offset <= at < each.end), key=lambda each: each.end, default=None)
        if best is None:
            return []
        found.append(best)
        at = best.end
    return found


def _touch(file: int) -> None:
    """Note that it is used now: finer than the clock by which the kernel stamps what is written."""
    now = time.time_ns()
    os.utime(file, ns=(now, now))
