"""Sealed bytes of a remote store kept on local disk: reads are faster, and go on while the store does not answer.

    <folder>/<name of the object>/<offset>-<length>[-whole]

Only packs are kept, as they rest: sealed, nothing in clear. They never change under their name, and are all that a read
of content needs; records and heads are for writing, and keyrings and tombstones have to be those that count now. What
is read is what is kept, range by range, and what is put is kept too; a wanted range that held ones cover together is a
hit. The least recently used ranges go first beyond a bound in bytes, also after a restart. Everything here can be
deleted at any time.

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
from collections import OrderedDict
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from satchel.store.objectstore import ObjectStore, StoredObject, checked_name

SMALL_BYTES = 16 << 10
"""What a smaller file counts as: so a bound of 1 GiB also bounds the files to 65,536, looked through at each start."""
_PACK = re.compile(r"tenants/[^/]+/projects/[^/]+/packs/[^/]+\Z")
_FILE = re.compile(r"(?P<offset>0|[1-9]\d{0,17})-(?P<length>[1-9]\d{0,17})(?P<whole>-whole)?\Z")


class _Range(NamedTuple):
    """Bytes of one object that are on disk; ``whole``: all it has."""

    name: str
    offset: int
    length: int
    whole: bool

    @property
    def end(self) -> int:
        return self.offset + self.length

    @property
    def file(self) -> str:
        return f"{self.name}/{self.offset}-{self.length}{'-whole' if self.whole else ''}"

    @property
    def cost(self) -> int:
        return max(self.length, SMALL_BYTES)


class CachedStore:
    """An ``ObjectStore`` before another. For one event loop, and one process at a time."""

    def __init__(self, inner: ObjectStore, folder: Path, max_bytes: int) -> None:
        """Takes over what an earlier run left in ``folder``."""
        self._inner, self._folder, self._max_bytes = inner, folder, max_bytes
        # By last use: the first is the first to go.
        self._held: OrderedDict[_Range, None] = OrderedDict()
        # Tuples, since nearly all have one: a set takes 216 bytes and there may be one for each of 65,536 files.
        self._by_name: dict[str, tuple[_Range, ...]] = {}
        self._used = 0
        self.hits = self.misses = 0
        """Reads of packs that were on this disk, and that were not."""
        self._drops = 0
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._adopt()

    @property
    def bytes_used(self) -> int:
        """Disk in use."""
        return self._used

    async def get(self, name: str, *, offset: int = 0, length: int | None = None) -> bytes:
        if not _PACK.match(checked_name(name)) or offset < 0 or (length is None and offset):
            return await self._inner.get(name, offset=offset, length=length)
        pieces = self._covering(name, offset, length)
        if pieces:
            data = await asyncio.to_thread(self._read, pieces, offset, length)
            if data is not None:
                for piece in pieces:
                    if piece in self._held:
                        self._held.move_to_end(piece)
                self.hits += 1
                return data
            await self._drop(pieces)
        self.misses += 1
        drops = self._drops
        data = await self._inner.get(name, offset=offset, length=length)
        if drops == self._drops:  # else what was read may be what was meant to be forgotten
            await self._keep(_Range(name, offset, len(data), length is None), data)
        return data

    async def put(self, name: str, data: bytes, *, create: bool = False) -> None:
        await self._inner.put(name, data, create=create)
        if _PACK.match(name):
            await self._drop(self._of(name))
            await self._keep(_Range(name, 0, len(data), True), data)

    async def delete(self, name: str) -> None:
        await self._drop(self._of(name))
        try:
            await self._inner.delete(name)
        finally:
            await self._drop(self._of(name))

    def list(self, prefix: str) -> AsyncIterator[StoredObject]:
        return self._inner.list(prefix)

    async def check(self) -> None:
        await self._inner.check()

    async def doubt(self, name: str) -> bool:
        """Forget an object that did not open; whether there was anything to forget, so that reading again may help."""
        held = self._of(name)
        await self._drop(held)
        return bool(held)

    async def forget(self, prefix: str) -> None:
        """Delete everything kept of the objects whose name begins with ``prefix``, which ends with a slash."""
        await self._drop([held for held in self._held if held.name.startswith(prefix)])
        await asyncio.to_thread(shutil.rmtree, self._folder / prefix, ignore_errors=True)

    def tenants(self) -> set[str]:
        """Of whom something is kept."""
        return {name.split("/", 2)[1] for name in self._by_name}

    # What is held -------------------------------------------------------------------------------------------------

    def _of(self, name: str) -> tuple[_Range, ...]:
        return self._by_name.get(name, ())

    def _covering(self, name: str, offset: int, length: int | None) -> Sequence[_Range]:
        """Held ranges that together have the wanted one, in order; none if something of it is missing."""
        held = self._by_name.get(name, ())
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

    async def _keep(self, one: _Range, data: bytes) -> None:
        if not data or one.cost > self._max_bytes:
            return
        inside = [each for each in self._of(one.name) if one.offset <= each.offset and each.end <= one.end]
        gone = [each for each in inside if each != one]
        self._note(one)
        room = self._used - sum(each.cost for each in gone)
        for oldest in self._held:
            if room <= self._max_bytes:
                break
            if oldest not in gone:
                gone.append(oldest)
                room -= oldest.cost
        self._unnote(gone)
        if not await asyncio.to_thread(self._write, one, data, gone):
            self._unnote([one])
        elif one not in self._held:  # dropped meanwhile, and perhaps before the file was there
            await asyncio.to_thread(self._remove, [one])

    async def _drop(self, ranges: Sequence[_Range]) -> None:
        self._drops += 1
        self._unnote(ranges)
        if ranges:
            await asyncio.to_thread(self._remove, ranges)

    def _note(self, one: _Range) -> None:
        if one not in self._held:
            self._used += one.cost
            self._by_name[one.name] = (*self._of(one.name), one)
        self._held[one] = None
        self._held.move_to_end(one)

    def _unnote(self, ranges: Iterable[_Range]) -> None:
        for one in ranges:
            if one in self._held:
                del self._held[one]
                self._used -= one.cost
                siblings = tuple([each for each in self._of(one.name) if each != one])
                if siblings:
                    self._by_name[one.name] = siblings
                else:
                    del self._by_name[one.name]

    # Files, in threads --------------------------------------------------------------------------------------------

    def _read(self, pieces: Sequence[_Range], offset: int, length: int | None) -> bytes | None:
        """The wanted bytes, or ``None`` where a file is gone or ends too early."""
        parts = []
        at, end = offset, pieces[-1].end if length is None else offset + length
        for piece in pieces:
            wanted = min(end, piece.end) - at
            try:
                with (self._folder / piece.file).open("rb") as file:
                    file.seek(at - piece.offset)
                    parts.append(file.read(wanted))
                    os.utime(file.fileno())  # the order of use outlives the process
            except OSError:
                return None
            if len(parts[-1]) != wanted:
                return None
            at += wanted
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def _write(self, one: _Range, data: bytes, gone: Sequence[_Range]) -> bool:
        """Put one file there and others away; whether it worked. Not synced: what a power loss tears is a miss."""
        self._remove(gone)
        path = self._folder / one.file
        temporary = path.with_name(f".{secrets.token_hex(8)}")
        try:
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            handle = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
            with os.fdopen(handle, "wb") as file:
                file.write(data)
            temporary.rename(path)
        except OSError:
            with suppress(OSError):
                temporary.unlink()
            return False
        return True

    def _remove(self, ranges: Iterable[_Range]) -> None:
        for one in ranges:
            path = self._folder / one.file
            with suppress(OSError):
                path.unlink()
                path.parent.rmdir()  # fails unless this was the last range of the object

    def _adopt(self) -> None:
        """Take over the files of an earlier run; what does not look like one is deleted."""
        found = []
        for folder, _, files in os.walk(self._folder):
            name = Path(folder).relative_to(self._folder).as_posix() if files else ""
            for file in files:
                path = f"{folder}/{file}"
                match, about = _FILE.match(file), os.stat(path)
                if match is None or int(match["length"]) != about.st_size or not _PACK.match(name):
                    os.unlink(path)
                    continue
                one = _Range(name, int(match["offset"]), about.st_size, match["whole"] is not None)
                found.append((about.st_mtime_ns, one))
        for _, one in sorted(found):
            self._note(one)
        for one in tuple(self._held):
            if self._used <= self._max_bytes:
                break
            self._unnote([one])
            self._remove([one])
