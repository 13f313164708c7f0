"""The search indexes of hosted projects on this machine's disk: encrypted, bounded, and disposable.

    <root>/<tenant>/<project>/<file id>.db
    <root>/<tenant>/<project>/past/<file id>.db     one for whatever old version was asked last

Every file has a random id and a key of its own, derived from the tenant's key, the project and that id: a page copied
from another file, of another tenant or not, does not decrypt. Readers borrow an open index each; one builder at a
time writes through its own connection while they go on reading what was. Deleting everything here loses nothing.
"""

from __future__ import annotations

import errno
import shutil
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NamedTuple

from satchel.errors import DiskFull
from satchel.objects.ids import ProjectId, TenantId
from satchel.search.index import Index, remove

OPEN_BYTES = 192 * 1024 * 1024
"""What indexes kept open between questions may take of memory. To open one and close it again takes as much time as to
search it (0.7 ms each for 160 KB), so as many stay open as there is room for: some 500 of small projects."""
ONE_OPEN_BYTES = 192 * 1024
"""What an open index takes beside the pages it read: 0.35 MB in all were measured for one of 160 KB."""
MOST_PAGES_BYTES = 16 * 1024 * 1024
"""Most memory that the pages of one take (see ``search.schema``)."""
FILE_ID_BYTES = 16
_SCRATCH = ".part"


class Ref(NamedTuple):
    """A project of a tenant. Everything cached is keyed by both."""

    tenant: TenantId
    project: ProjectId
    past: bool = False
    """Whether the index is that of an old version: there is one at a time, brought from one to the other."""


class _Slot:
    """What is known of one project's file."""

    def __init__(self, file_id: bytes, path: Path, size: int) -> None:
        self.file_id, self.path, self.size = file_id, path, size
        self.key: bytes | None = None  # since it was opened here: a new key of the tenant opens another file
        self.free: list[_Open] = []
        self.borrowed = 0


class _Open(NamedTuple):
    """An index that is open and not borrowed."""

    opened: Index
    cost: int
    """What it may take of memory."""


class IndexCache:
    """Safe for many threads. ``key_of`` gives the key of a file by its id and may block."""

    def __init__(
        self,
        root: Path,
        max_bytes: int,
        *,
        random: Callable[[int], bytes],
        max_open: int = 32,
        yields: Callable[[], None] = lambda: None,
    ) -> None:
        """At most ``max_bytes`` of disk are used, and at most ``max_open`` indexes are kept open. ``yields`` has what
        else is kept on this disk to be faster give some of its room, where the disk is full."""
        self._yields = yields
        self._root, self._max_bytes, self._random, self._max_open = root, max_bytes, random, max_open
        self._lock = threading.Lock()
        # By last use: the first is the first to go.
        self._slots: OrderedDict[Ref, _Slot] = OrderedDict()
        # Those of them that have an index open and free, by last use too. Counted with each question, and few, while
        # there may be a slot for each project of thousands of tenants.
        self._idle: OrderedDict[Ref, _Slot] = OrderedDict()
        self._open = self._open_bytes = 0
        """How many indexes are open and free, and what they may take of memory."""
        self._used = 0
        root.mkdir(mode=0o700, parents=True, exist_ok=True)
        for path in sorted(root.glob("ten_*/prj_*/*.db"), key=lambda p: p.stat().st_mtime):
            self._adopt(path)
        for path in root.glob("ten_*/prj_*/past/*.db"):
            remove(path)  # old versions are asked seldom: what an earlier run left would not be found again
        for path in root.glob(f"ten_*/prj_*/*{_SCRATCH}*"):
            path.unlink(missing_ok=True)  # cut off

    @contextmanager
    def borrow(self, ref: Ref, key_of: Callable[[bytes], bytes]) -> Iterator[Index]:
        """An index to read, as far as it was brought; empty if it never was."""
        with self._taken(ref, key_of) as (_, index):
            yield index

    def at_hand(self, ref: Ref) -> bool:
        """Whether an index is open that nobody has borrowed."""
        with self._lock:
            return ref in self._idle

    @contextmanager
    def build(self, ref: Ref, key_of: Callable[[bytes], bytes]) -> Iterator[Index]:
        """An index to write, that nobody reads meanwhile. The caller sees to it that there is one at a time.

        When the tenant has got another key since the file was begun, it is another file.
        """
        known = self._slots.get(ref)
        if known is not None and known.key is not None and known.key != key_of(known.file_id):
            self.discard(ref)
        with self._taken(ref, key_of) as (slot, index):
            try:
                yield index
            finally:
                size = _size(slot.path)
                with self._lock:
                    if self._slots.get(ref) is slot:
                        self._used += size - slot.size
                    slot.size = size
        self._trim(self._max_bytes)

    @contextmanager
    def _taken(self, ref: Ref, key_of: Callable[[bytes], bytes]) -> Iterator[tuple[_Slot, Index]]:
        """An open index that is given to nobody else until the block ends; then it is kept open, if there is room."""
        with self._lock:
            slot = self._slot(ref)
            slot.borrowed += 1
            path = slot.path
            index = self._take(ref, slot) if slot.free else None
        try:
            if index is None:
                index = self._opened(slot, key_of)
            yield slot, index
        except Exception:
            # It may be what failed: the next one is opened anew. (An index that is merely behind raises none.)
            if index is not None:
                index.close()
                index = None
            raise
        finally:
            with self._lock:
                slot.borrowed -= 1
                replaced = slot.path != path
                closing = [] if index is None else [index] if replaced else self._give_back(ref, slot, index)
            for old in closing:
                old.close()
            if replaced:
                remove(path)

    @contextmanager
    def pinned(self, refs: Iterable[Ref]) -> Iterator[None]:
        """Keep these files while the block lasts, over the bound if need be: one question may need them all."""
        with self._lock:
            slots = [self._slot(ref) for ref in refs]
            for slot in slots:
                slot.borrowed += 1
        try:
            yield
        finally:
            with self._lock:
                for slot in slots:
                    slot.borrowed -= 1
            self._trim(self._max_bytes)

    def held(self, ref: Ref) -> object:
        """What stands for a project's file as long as it is that one."""
        with self._lock:
            return self._slots.get(ref)

    def replace(self, ref: Ref, held: object, file_id: bytes, file: Path) -> bool:
        """Let ``file``, whose key is made of ``file_id``, be a project's index in the place of what ``held`` told.

        The caller sees to it that nobody writes to that meanwhile. False where it was deleted.
        """
        with self._lock:
            slot = self._slots.get(ref)
            if slot is None or slot is not held:
                return False
            before, closing = slot.path, self._take_all(ref, slot)
            path, size = before.with_name(f"{file_id.hex()}.db"), _size(file)
            file.rename(path)
            self._used += size - slot.size
            slot.file_id, slot.path, slot.size, slot.key = file_id, path, size, None
        for index in closing:
            index.close()
        remove(before)
        return True

    @contextmanager
    def reserved(self, ref: Ref, times: int) -> Iterator[bool]:
        """Count so many times the size of a project's index as used for the block; False if it does not fit."""
        with self._lock:
            slot = self._slots.get(ref)
            wanted = 0 if slot is None else times * slot.size
            fits = self._used + wanted <= self._max_bytes
            self._used += wanted if fits else 0
        try:
            yield fits
        finally:
            with self._lock:
                self._used -= wanted if fits else 0

    def scratch(self, ref: Ref) -> Path:
        """A name for a file beside a project's index; what is left there goes at the next start, or with the tenant."""
        folder = self._root / ref.tenant / ref.project
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        return folder / f"{self._random(FILE_ID_BYTES).hex()}{_SCRATCH}"

    def discard(self, ref: Ref, *, not_since: int | None = None) -> None:
        """Delete a file that is damaged, or whose key is not the newest, and that of the project's past with it; the
        next one has another id and key.

        With ``not_since`` (milliseconds) only one that was not written to since.
        """
        for each in {ref, ref._replace(past=True)}:
            with self._lock:
                slot = self._slots.get(each)
                if slot is None or (not_since is not None and _written(slot.path) > not_since):
                    continue
                closing = self._drop(each)
            for index in closing:
                index.close()
            remove(slot.path)

    def tenants(self) -> set[TenantId]:
        """Of whom there is an index."""
        with self._lock:
            return {ref.tenant for ref in self._slots}

    def forget(self, tenant: TenantId) -> None:
        """Delete every index of a tenant."""
        with self._lock:
            closing = [index for ref in list(self._slots) if ref.tenant == tenant for index in self._drop(ref)]
        for index in closing:
            index.close()
        shutil.rmtree(self._root / tenant, ignore_errors=True)

    def close(self) -> None:
        """Close what is open and not borrowed."""
        with self._lock:
            closing = [index for ref, slot in list(self._idle.items()) for index in self._take_all(ref, slot)]
        for index in closing:
            index.close()

    @property
    def bytes_used(self) -> int:
        """Disk in use."""
        with self._lock:
            return self._used

    def _slot(self, ref: Ref) -> _Slot:
        slot = self._slots.get(ref)
        if slot is None:
            file_id = self._random(FILE_ID_BYTES)
            folder = self._root / ref.tenant / ref.project
            path = (folder / "past" if ref.past else folder) / f"{file_id.hex()}.db"
            slot = self._slots[ref] = _Slot(file_id, path, 0)
        self._slots.move_to_end(ref)
        return slot

    def _opened(self, slot: _Slot, key_of: Callable[[bytes], bytes]) -> Index:
        with self._lock:
            file_id, path, key = slot.file_id, slot.path, slot.key
        key = key or key_of(file_id)
        with self._lock:
            if slot.file_id == file_id:  # else another file took its place meanwhile
                slot.key = key
        try:
            return _open_file(path, key)
        except DiskFull:
            self.make_room()
            return _open_file(path, key)

    def _give_back(self, ref: Ref, slot: _Slot, index: Index) -> list[Index]:
        """Keep an index open for the next question; returns those to close instead."""
        if self._slots.get(ref) is not slot:
            return [index]  # the file was deleted meanwhile
        cost = ONE_OPEN_BYTES + min(slot.size, MOST_PAGES_BYTES)
        slot.free.append(_Open(index, cost))
        self._open += 1
        self._open_bytes += cost
        self._idle[ref] = slot
        self._idle.move_to_end(ref)
        surplus: list[Index] = []
        while self._open > self._max_open or self._open_bytes > OPEN_BYTES:
            surplus += self._take_all(*next(iter(self._idle.items())))
        return surplus

    def _take(self, ref: Ref, slot: _Slot) -> Index:
        """One of the open indexes of a slot that has some."""
        index, cost = slot.free.pop()
        self._open -= 1
        self._open_bytes -= cost
        if not slot.free:
            del self._idle[ref]
        return index

    def _take_all(self, ref: Ref, slot: _Slot) -> list[Index]:
        return [self._take(ref, slot) for _ in range(len(slot.free))]

    def _drop(self, ref: Ref) -> list[Index]:
        """Forget a file; returns the open indexes to close."""
        slot = self._slots.pop(ref)
        self._used -= slot.size
        return self._take_all(ref, slot)

    def make_room(self) -> None:
        """The disk is full: delete the less recently used half of all that is kept on it to be faster."""
        self._yields()
        with self._lock:
            half = self._used // 2
        self._trim(half)

    def _trim(self, most: int) -> None:
        """Delete the least recently used files until it is ``most``; those in use stay."""
        gone: list[tuple[Path, list[Index]]] = []
        with self._lock:
            if self._used <= most:
                return
            for ref, slot in list(self._slots.items()):
                if self._used <= most:
                    break
                if slot.borrowed == 0:
                    gone.append((slot.path, self._drop(ref)))
        for path, closing in gone:
            for index in closing:
                index.close()
            remove(path)

    def _adopt(self, path: Path) -> None:
        """Take over a file of an earlier run; what does not look like one, or a second for a project, is deleted."""
        ref = Ref(TenantId(path.parts[-3]), ProjectId(path.parts[-2]))
        try:
            file_id = bytes.fromhex(path.stem)
        except ValueError:
            file_id = b""
        if len(file_id) != FILE_ID_BYTES or ref in self._slots:
            remove(path)
            return
        slot = self._slots[ref] = _Slot(file_id, path, _size(path))
        self._used += slot.size


def _open_file(path: Path, key: bytes) -> Index:
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise DiskFull("the disk is full: the index could not be written") from error
        raise
    index, _ = Index.open_or_rebuild(path, key=key)
    return index


def _written(path: Path) -> int:
    """When a file was last written to, in milliseconds; 0 if it is not there."""
    times = [0]
    for suffix in ("", "-wal"):
        with suppress(FileNotFoundError):
            times.append(path.with_name(path.name + suffix).stat().st_mtime_ns // 1_000_000)
    return max(times)


def _size(path: Path) -> int:
    total = 0
    for suffix in ("", "-wal"):
        try:
            total += path.with_name(path.name + suffix).stat().st_size
        except FileNotFoundError:
            pass
    return total
