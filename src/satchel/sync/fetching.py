"""Content asked for in bounded batches, and checked as it comes.

Every object has the hash it is named by, no more comes than was asked for, and an edit of what is here may come as a
difference from it (``objects.delta``): what that opens to is checked like everything else. A folder that has nothing
yet asks for files of the version by their places (``Files``): names take a young connection half a second. Much content
is read in a thread: what came is written to disk while the wire goes on.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from itertools import islice
from typing import NamedTuple, Self

from satchel.errors import FrameRefused, NoSuchVersion, ObjectsMissing, ServerLied
from satchel.objects.delta import MAX_BASE_RAW, open_delta
from satchel.objects.frame import FAST_LEVEL, MAX_FRAME_RAW, Assembler, Frame, make_frames
from satchel.objects.ids import ObjectId
from satchel.sync.peer import Files, Peer
from satchel.sync.wire import MAX_DELTAS, MAX_SIZE
from satchel.worktree.former import Keeping

BATCH_OBJECTS = 2_000
BATCH_BYTES = 32 << 20
"""Most content asked for at once: an interrupted pull loses little work."""
FIRST_OBJECTS = 200
"""Of much content so many are asked for first: their names fit what a young connection sends at once."""
NEXT_BYTES = 16 << 20
"""So much of a batch is still to come when the next is asked for, which takes a round trip or more. Much sooner, and
the one would be held up while the other is taken: a connection that is held up is slow for long afterwards."""
MANY_OBJECTS = 400
"""More are asked for by the places of their files, where they are nearly all of a version."""
MOST_FILES = 10_000
"""Asked for at once by their places."""
NEARLY_ALL = 15 / 16
"""Of the bytes of a version has to be wanted for that; what comes beside it is let go."""
FEW_OBJECTS, FEW_BYTES = 64, 1 << 20
"""What is no more than either is not worth a thread."""
AHEAD_BYTES = 4 << 20
"""Compressed frames of a batch that wait to be taken; then the wire waits."""


class Held(NamedTuple):
    """The version a folder was last in step with, and how to have contents of it that are still here."""

    version: int
    read: Callable[[ObjectId], bytes | None]


class Wanted(NamedTuple):
    """Files of a version that are asked for by their places."""

    version: int
    files: Sequence[tuple[str, ObjectId, int]]
    """All of the version by path, each with its object and the size of that."""


class _Batch(NamedTuple):
    names: list[ObjectId]
    """Awaited, of those that come."""
    most: int
    """Frames that they may come in: it bounds what a server can make us read."""
    files: Files | None = None


def fetch(
    peer: Peer,
    project: str,
    sizes: Mapping[ObjectId, int | None],
    lost: set[ObjectId],
    keeping: Keeping | None = None,
    held: Held | None = None,
    whole: Wanted | None = None,
) -> Generator[tuple[ObjectId, bytes], None, None]:
    """The named objects, each once, checked, in the order they arrive; ``None`` is a size not known.

    The frames they come in are given to ``keeping``. What the server says it does not have (any more) is put into
    ``lost``. With ``held`` it may tell them as differences from contents of that version; one that does not open here,
    for whatever reason, is asked for whole. ``whole`` is the version of which they are nearly all, for a server that
    takes ``Files``. Raises ``ServerLied``.
    """
    batches = _batches(sizes) if whole is None else _pages(sizes, whole)
    much = len(sizes) > FEW_OBJECTS or sum(size or 0 for size in sizes.values()) > FEW_BYTES
    begun: deque[tuple[_Batch, Iterator[Frame]]] = deque()

    def begin() -> None:
        for batch in islice(batches, 1):
            few = held is not None and len(batch.names) <= MAX_DELTAS  # an edit, not a new beginning
            frames = _asked(peer, project, batch, held.version if held and few else None)
            begun.append((batch, _Ahead(frames) if much else frames))

    begin()
    try:
        while begun:
            batch, frames = begun[0]
            early = sum(_most(sizes[name]) for name in batch.names) - NEXT_BYTES
            if early <= 0:
                begin()
            for name, data in _whatever_is_there(peer, project, sizes, batch, frames, lost, keeping, held):
                if len(begun) == 1 and isinstance(frames, _Ahead) and frames.came >= early:
                    begin()
                yield name, data
            begun.popleft()
            if not begun:
                begin()
    finally:
        for _, frames in begun:
            if isinstance(frames, _Ahead):
                frames.close()


def _asked(peer: Peer, project: str, batch: _Batch, since: int | None) -> Iterator[Frame]:
    """The answer to a question that is put when its first frame is wanted."""
    if batch.files is not None:
        yield from peer.read_files(project, batch.files)
    else:
        yield from peer.read_objects(project, batch.names, since)


def _whatever_is_there(
    peer: Peer,
    project: str,
    sizes: Mapping[ObjectId, int | None],
    batch: _Batch,
    frames: Iterator[Frame],
    lost: set[ObjectId],
    keeping: Keeping | None,
    held: Held | None,
) -> Iterator[tuple[ObjectId, bytes]]:
    """A batch without what the server says it does not have, which is put into ``lost``."""
    came: set[ObjectId] = set()
    absent: set[ObjectId] = set()
    try:
        for name, data in _fetch(peer, project, sizes, batch, frames, keeping, held):
            came.add(name)
            yield name, data
        return
    except ObjectsMissing as error:
        named = error.facts.get("objects")
        gone = {ObjectId(name) for name in named if isinstance(name, str)} if isinstance(named, list) else set()
        absent |= gone.intersection(batch.names)
        if not gone or not (absent or batch.files):  # of the files some may be missing that are not wanted
            raise
    except NoSuchVersion:  # others committed since it was told, and no other version is kept
        if batch.files is None:
            raise
    lost |= absent
    if rest := [name for name in batch.names if name not in absent | came]:
        yield from _again(peer, project, sizes, rest, keeping)


def _again(
    peer: Peer, project: str, sizes: Mapping[ObjectId, int | None], names: list[ObjectId], keeping: Keeping | None
) -> Iterator[tuple[ObjectId, bytes]]:
    """What did not come when it was asked for otherwise, by name and whole."""
    batch = _Batch(names, _frames_of(sizes[name] for name in names))
    yield from _fetch(peer, project, sizes, batch, _asked(peer, project, batch, None), keeping)


class _Ahead:
    """The frames of one batch, read in a thread before they are taken. Close it where they are not all taken."""

    def __init__(self, frames: Iterator[Frame]) -> None:
        self._frames, self._changed = frames, threading.Condition()
        self._waiting: deque[Frame] = deque()
        self._held = 0
        self.came = 0
        """Bytes of content read, taken or not."""
        self._ended = self._closed = False
        self._error: BaseException | None = None
        threading.Thread(target=self._read, name="satchel-fetch", daemon=True).start()

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> Frame:
        with self._changed:
            self._changed.wait_for(lambda: self._waiting or self._ended)
            if self._waiting:
                frame = self._waiting.popleft()
                self._held -= len(frame.data)
                self._changed.notify_all()
                return frame
        raise StopIteration if self._error is None else self._error

    def close(self) -> None:
        """Read on no longer than until the next frame."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    def _read(self) -> None:
        error: BaseException | None = None
        try:
            for frame in self._frames:
                with self._changed:
                    self._waiting.append(frame)
                    self._held += len(frame.data)
                    self.came += frame.raw_size
                    self._changed.notify_all()
                    self._changed.wait_for(lambda: self._held < AHEAD_BYTES or self._closed)
                    if self._closed:
                        break
        except Exception as raised:  # noqa: BLE001 - for whoever takes the frames
            error = raised
        finally:
            with suppress(Exception):
                getattr(self._frames, "close", lambda: None)()  # of a generator: its connection is let go
            with self._changed:
                self._error, self._ended = error, True
                self._changed.notify_all()


def _fetch(
    peer: Peer,
    project: str,
    sizes: Mapping[ObjectId, int | None],
    batch: _Batch,
    frames: Iterator[Frame],
    keeping: Keeping | None,
    held: Held | None = None,
) -> Iterator[tuple[ObjectId, bytes]]:
    """The objects of ``batch`` from its ``frames``."""
    wanted, whole = set(batch.names), set[ObjectId]()
    try:
        for name, data in _objects(frames, batch.most, keeping, held, whole):
            if name in wanted:
                wanted.discard(name)
                if sizes[name] not in (None, len(data)):
                    raise ServerLied("an object has another size than the server named")
                yield name, data
    except FrameRefused as error:
        raise ServerLied(f"the server sent content that is not what it announced: {error.message}") from error
    if again := [name for name in batch.names if name in wanted & whole]:
        yield from _again(peer, project, sizes, again, keeping)
        wanted -= whole
    if wanted:
        raise ServerLied(f"the server left out {len(wanted):,} of the objects it was asked for")


def _objects(
    frames: Iterator[Frame], allowed: int, keeping: Keeping | None, held: Held | None, whole: set[ObjectId]
) -> Iterator[tuple[ObjectId, bytes]]:
    assembler = Assembler(MAX_SIZE)
    for count, frame in enumerate(frames):
        if count >= allowed:
            raise ServerLied("the server sends more than it was asked for")
        if frame.bases:
            opened = _opened(frame, held)
            if opened is None:
                whole |= {slot.object for slot in frame.table}
                continue
            if keeping is not None:
                for made in make_frames(opened, FAST_LEVEL):
                    keeping.add(made)
            yield from opened
            continue
        found = assembler.feed(frame)
        if keeping is not None:
            keeping.add(frame)
        yield from found
    assembler.finish()


def _opened(frame: Frame, held: Held | None) -> list[tuple[ObjectId, bytes]] | None:
    """The objects of a delta; ``None`` where a base is not here (any more), or something else comes of it."""
    bases: list[bytes] = []
    for name in frame.bases:
        data = held.read(name) if held is not None else None
        if data is None or sum(map(len, bases)) + len(data) > MAX_BASE_RAW:
            return None
        bases.append(data)
    try:
        return open_delta(frame, bases)
    except FrameRefused:
        return None


def _batches(sizes: Mapping[ObjectId, int | None]) -> Iterator[_Batch]:
    names: list[ObjectId] = []
    held = 0
    most = FIRST_OBJECTS if len(sizes) > MANY_OBJECTS else BATCH_OBJECTS
    for name, known in sizes.items():
        size = MAX_FRAME_RAW if known is None else known
        if names and (len(names) == most or held + size > BATCH_BYTES):
            yield _Batch(names, _frames_of(sizes[each] for each in names))
            names, held, most = [], 0, BATCH_OBJECTS
        names.append(name)
        held += size
    if names:
        yield _Batch(names, _frames_of(sizes[each] for each in names))


def _pages(sizes: Mapping[ObjectId, int | None], whole: Wanted) -> Iterator[_Batch]:
    seen: set[ObjectId] = set()
    after = ""
    for start in range(0, len(whole.files), MOST_FILES):
        page = whole.files[start : start + MOST_FILES]
        names = list(dict.fromkeys(name for _, name, _ in page if name in sizes and name not in seen))
        if names:
            yield _Batch(names, _frames_of(size for *_, size in page), Files(whole.version, after, len(page)))
        seen.update(names)
        after = page[-1][0]
    yield from _batches({name: size for name, size in sizes.items() if name not in seen})


def _frames_of(sizes: Iterable[int | None]) -> int:
    """How many frames may come for objects of these sizes: whole ones may, for one object of theirs each."""
    return 8 + sum(2 + _most(size) // MAX_FRAME_RAW for size in sizes)


def _most(size: int | None) -> int:
    return MAX_SIZE if size is None else size
