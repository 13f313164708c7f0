"""Contents that folder and cloud last had in common, kept so that an edit can travel as a difference.

``.satchel/former/N`` is a pack of the frames that went over the wire, then 44 bytes for each object in them (id, offset
and length of its frame), sorted, then where those begin and how many they are. All of it is derived and may be deleted
at any time: what is absent, damaged or over the bound travels whole. Nothing is fsynced, and every object is checked
against its hash when it is read. Written under the lock of the folder.
"""

from __future__ import annotations

import hashlib
import os
import struct
from collections.abc import Iterable, Iterator, Set
from contextlib import suppress
from pathlib import Path

from satchel.errors import FrameRefused
from satchel.objects.frame import MAX_FRAME_RAW, Frame, open_content
from satchel.objects.ids import ObjectId
from satchel.objects.pack import decode_frame, encode_frame
from satchel.worktree.beneath import read_own, write_note
from satchel.worktree.find import local_dir

MAX_BYTES = 64 << 20
"""Most bytes of all packs; the oldest go first. 100 MB of text take 20 to 40."""
MAX_PACKS = 8
"""More are joined into one."""
WORTH_KEEPING = 0.75
"""Frames that compress to no less are not kept: a difference of such files saves little."""

_NAME, _TAKEN = "former", "taken"
_NEW = "new"
"""A pack in the making: of one name, so that what a crash left is not there for ever."""
_ROW = struct.Struct(">32sQI")
_END = struct.Struct(">8sIQ")
_MAGIC = b"STLFORM1"


class Former:
    """The kept contents of one folder."""

    def __init__(self, root: Path, max_bytes: int = MAX_BYTES) -> None:
        self._folder = local_dir(root) / _NAME
        self._max = max_bytes

    def read(self, wanted: Iterable[ObjectId]) -> dict[ObjectId, bytes]:
        """Those of ``wanted`` that are kept. Never raises: what cannot be read is not kept."""
        left, found = set(wanted), dict[ObjectId, bytes]()
        for path in reversed(self._packs()) if left else ():
            with suppress(OSError, ValueError, struct.error, FrameRefused), path.open("rb") as file:
                rows = _rows(file.fileno())
                frames: dict[int, int] = {}
                for name in left:
                    place = _find(rows, bytes.fromhex(name))
                    if place is not None:
                        frames[place[0]] = place[1]
                for offset, length in sorted(frames.items()):
                    found.update(_objects(os.pread(file.fileno(), length, offset), left))
            left -= found.keys()
        return found

    def keep(self) -> Keeping:
        """Begin to keep what one transfer brings."""
        return Keeping(self, self._folder, self._max)

    def taken(self, lineage: str) -> bool:
        """Whether the server of that lineage took deltas when it was last heard of."""
        try:
            return self.said(_TAKEN) == lineage.encode()
        except OSError:
            return False

    def note(self, lineage: str, taken: bool) -> None:
        """Remember it. Where that cannot be written, content travels whole."""
        if taken != self.taken(lineage):
            self.write(_TAKEN, lineage if taken else "")

    def write(self, name: str, text: str) -> None:
        """Put a note beside the contents: it may be lost like them, and where it cannot be written it is not."""
        with suppress(OSError):
            self._folder.mkdir(mode=0o700, exist_ok=True)
            _no_symlink(self._folder)
            write_note(self._folder / name, text)

    def said(self, name: str) -> bytes:
        """A note. Raises ``OSError`` where there is none."""
        _no_symlink(self._folder)
        return read_own(self._folder / name)

    def drop(self, name: str) -> None:
        """Delete a note, if there is one."""
        with suppress(OSError):
            _no_symlink(self._folder)
            (self._folder / name).unlink(missing_ok=True)

    def forget(self) -> None:
        """Keep nothing. What cannot be deleted stays."""
        import shutil  # with it come bz2 and lzma, for what a sync seldom does

        shutil.rmtree(self._folder, ignore_errors=True)

    def _packs(self) -> list[Path]:
        """Oldest first."""
        try:
            _no_symlink(self._folder)
            with os.scandir(self._folder) as found:  # a FIFO, which came with somebody's folder, would be waited for
                names = [one.name for one in found if one.name.isdecimal() and one.is_file(follow_symlinks=False)]
        except OSError:
            return []
        return [self._folder / name for name in sorted(names, key=int)]

    def settle(self, new: Path) -> None:
        """Take in a finished pack, and hold the bounds. Raises ``OSError``."""
        packs = self._packs()
        last = int(packs[-1].name) if packs else 0
        new.rename(self._folder / str(last + 1))
        packs = self._packs()
        sizes = {path: path.stat().st_size for path in packs}
        while len(packs) > 1 and sum(sizes.values()) > self._max:
            sizes.pop(packs[0])
            packs.pop(0).unlink()
        if len(packs) > MAX_PACKS:
            self._join(sorted(sorted(packs, key=sizes.__getitem__)[:-1], key=lambda path: int(path.name)))

    def _join(self, packs: list[Path]) -> None:
        """Make one pack of several, under the number of the newest."""
        joined = self._folder / _NEW
        rows: dict[bytes, bytes] = {}
        with open(_fresh(joined), "wb") as out:
            for path in packs:
                with suppress(ValueError, struct.error), path.open("rb") as file:
                    index = _rows(file.fileno())
                    size = os.fstat(file.fileno()).st_size - len(index) - _END.size
                    shift = out.tell()
                    out.write(os.pread(file.fileno(), size, 0))
                    for name, offset, length in _ROW.iter_unpack(index):
                        rows[name] = _ROW.pack(name, offset + shift, length)
            _finish(out.fileno(), out.tell(), rows.values(), out.flush)
        joined.rename(packs[-1])
        for path in packs[:-1]:
            path.unlink()


class Keeping:
    """What one transfer brings, aside until it counts. Keeps nothing where that is not possible."""

    def __init__(self, former: Former, folder: Path, most: int) -> None:
        self._former, self._most = former, most
        self._path = folder / _NEW
        self._fd = -1
        self._rows: list[bytes] = []
        self._size = 0
        self._over = False

    def add(self, frame: Frame, encoded: bytes | None = None) -> None:
        """Keep a frame, where it is worth it; ``encoded`` is what ``encode_frame`` makes of it."""
        worth = frame.raw_size <= MAX_FRAME_RAW and len(frame.data) <= WORTH_KEEPING * frame.raw_size
        if self._over or frame.parts > 1 or frame.bases or not worth:
            return
        data = encoded if encoded is not None else encode_frame(frame)
        try:
            if self._fd < 0:
                self._path.parent.mkdir(mode=0o700, exist_ok=True)
                _no_symlink(self._path.parent)
                self._fd = _fresh(self._path)
            if self._size + len(data) > self._most or os.write(self._fd, data) != len(data):
                raise OSError("no room")
        except OSError:
            self.drop()
            return
        self._rows += [_ROW.pack(bytes.fromhex(slot.object), self._size, len(data)) for slot in frame.table]
        self._size += len(data)

    def commit(self) -> None:
        """From now on both ends hold it."""
        if self._fd < 0:
            return
        try:
            _finish(self._fd, self._size, self._rows, None)
            os.close(self._fd)
            self._fd = -1
            self._former.settle(self._path)
        except OSError:
            self.drop()

    def drop(self) -> None:
        """Keep nothing of it."""
        self._over, self._rows = True, []
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1
            with suppress(OSError):
                self._path.unlink()


def _no_symlink(folder: Path) -> None:
    """A folder that came with somebody's files may lead elsewhere: nothing is written or read there."""
    if folder.is_symlink():
        raise OSError("a symbolic link")


def _fresh(path: Path) -> int:
    """A descriptor to write a file of this name, whatever was there."""
    path.unlink(missing_ok=True)
    return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)


def _finish(fd: int, size: int, rows: Iterable[bytes], flush: object) -> None:
    if callable(flush):
        flush()
    ordered = sorted(rows)
    data = b"".join(ordered) + _END.pack(_MAGIC, len(ordered), size)
    if os.write(fd, data) != len(data):
        raise OSError("no room")


def _rows(fd: int) -> bytes:
    """The rows of a pack. Raises ``ValueError``, ``struct.error`` or ``OSError`` for what is none."""
    size = os.fstat(fd).st_size
    magic, count, start = _END.unpack(os.pread(fd, _END.size, max(0, size - _END.size)))
    if magic != _MAGIC or start + count * _ROW.size + _END.size != size:
        raise ValueError("not a pack of former contents")
    return os.pread(fd, count * _ROW.size, start)


def _find(rows: bytes, name: bytes) -> tuple[int, int] | None:
    low, high = 0, len(rows) // _ROW.size
    while low < high:
        middle = (low + high) // 2
        if rows[middle * _ROW.size : middle * _ROW.size + 32] < name:
            low = middle + 1
        else:
            high = middle
    if rows[low * _ROW.size : low * _ROW.size + 32] != name:
        return None
    _, offset, length = _ROW.unpack_from(rows, low * _ROW.size)
    return offset, length


def _objects(encoded: bytes, wanted: Set[ObjectId]) -> Iterator[tuple[ObjectId, bytes]]:
    frame = decode_frame(encoded)
    slots = [slot for slot in frame.table if slot.object in wanted]
    content = open_content(frame.data, frame.raw_size, max((slot.offset + slot.length for slot in slots), default=0))
    for slot in slots:
        data = content[slot.offset : slot.offset + slot.length]
        if hashlib.sha256(data).hexdigest() == slot.object:
            yield slot.object, data
