"""Content as it streams in: checked, described and sealed into packs, a frame at a time.

Every object is decompressed and hashed before its frame is sealed, and only objects that were announced are taken, at
the size that was announced. A delta becomes a frame first (``sync.expand``). Kind and title of each announced path come
from the object's first bytes on the way, so that nothing has to be read again. Checking one frame (in a thread)
overlaps with receiving the next; at most two frames and the pack being filled are held. What comes again is dropped.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from dataclasses import replace
from typing import NamedTuple

from satchel.documents import MANIFEST_PATH
from satchel.documents.document import DESCRIBE_BYTES, describe
from satchel.errors import InvalidInput, TooLarge
from satchel.objects.frame import Assembler, Frame, Slot, make_frames
from satchel.objects.ids import ObjectId
from satchel.store.packs import PackWriter, StoredPack
from satchel.sync.expand import Expand
from satchel.sync.wire import MAX_CHANGES, Sent

MAX_MANIFEST_BYTES = 1 << 20
"""A larger ``context.json`` declares no relations."""

MAX_OBJECTS = MAX_CHANGES
"""No commit can name more; a row is kept of each, however few bytes it has."""


class Described(NamedTuple):
    """What the catalog shows of a path without opening its content."""

    kind: str
    title: str


class Wanted:
    """What a commit announced, and what has been learnt of it. ``manifest`` is the content of ``context.json``."""

    def __init__(self, changes: Iterable[Sent]) -> None:
        # Tuples of what is there anyway, since nearly all have one: a commit may name 100,000, also of one content.
        self._sent: dict[ObjectId, tuple[Sent] | list[Sent]] = {}
        self.described: dict[str, Described] = {}
        self.manifest: bytes | None = None
        for change in changes:
            if change.entry is None:
                continue
            others = self._sent.setdefault(change.entry.object, (change,))
            if others[0].size != change.size:
                raise InvalidInput(f"{change.path}: one object has two sizes")
            if isinstance(others, list):
                others.append(change)
            elif others[0] is not change:
                self._sent[change.entry.object] = [*others, change]

    def named(self, slot: Slot) -> Slot:
        """The same with the name as the changes have it, which so is there once. Raises ``InvalidInput``."""
        sent = self._sent.get(slot.object)
        if sent is None or sent[0].entry is None:
            raise InvalidInput("the stream brings an object that no change names")
        return slot._replace(object=sent[0].entry.object)

    def learn(self, name: ObjectId, data: bytes) -> None:
        """Describe every path that has this content. Raises ``InvalidInput`` for another size than announced."""
        path, _, size = self._sent[name][0]
        if len(data) != size:
            raise InvalidInput(f"{path}: the content has {len(data):,} bytes, not {size:,}")
        head = data[:DESCRIBE_BYTES]
        for path, _, _ in self._sent[name]:
            self.described[path] = Described(*describe(path, head))
            if path == MANIFEST_PATH and len(data) <= MAX_MANIFEST_BYTES:
                self.manifest = data

    def undescribed(self) -> list[tuple[ObjectId, Sent]]:
        """What was announced and has not come, by object."""
        of_all = self._sent.items()
        return [(name, each) for name, sent in of_all for each in sent if each.path not in self.described]


class Intake:
    """Takes the frames of one request. End it with ``finish`` or ``abort``."""

    def __init__(
        self, writer: PackWriter, max_object_bytes: int, wanted: Wanted | None, expand: Expand | None = None
    ) -> None:
        """``wanted`` is what was announced; ``None`` takes any object of at most ``max_object_bytes``. Without
        ``expand`` a delta is refused."""
        self._writer = writer
        self._assembler = Assembler(max_object_bytes)
        self._wanted, self._expand = wanted, expand
        self._working: asyncio.Task[None] | None = None
        self.objects: set[ObjectId] = set()
        """What came in full."""

    async def take(self, frames: list[Frame]) -> None:
        """Check and seal frames; returns while the last of them are worked on. Raises for those before too."""
        if frames:
            await self._settle()
            self._working = asyncio.create_task(self._work(frames))

    async def finish(self) -> list[StoredPack]:
        """Every pack, durable. Raises ``FrameRefused`` for an unfinished sequence, and what ``take`` does."""
        await self._settle()
        self._assembler.finish()
        return await self._writer.finish()

    async def whole(self) -> list[StoredPack]:
        """What has come in full, durable, where the body broke off."""
        if self._working is not None:
            await asyncio.gather(self._working, return_exceptions=True)
        return await self._writer.whole()

    def keep(self, packs: Iterable[StoredPack]) -> None:
        """Leave these packs out of what ``abort`` deletes."""
        self._writer.keep(pack.name for pack in packs)

    async def abort(self) -> None:
        """Give up: what was put is deleted."""
        if self._working is not None:
            self._working.cancel()
            await asyncio.gather(self._working, return_exceptions=True)
        await self._writer.abort()

    async def _settle(self) -> None:
        if self._working is not None:
            working, self._working = self._working, None
            await working

    async def _work(self, frames: list[Frame]) -> None:
        wanted = self._wanted
        for came in frames:
            frame = came if wanted is None else replace(came, table=tuple(map(wanted.named, came.table)))
            if frame.bases and self._expand is not None:
                frame = await self._expand(frame)
            for kept in await asyncio.to_thread(self._checked, frame):
                await self._writer.add(kept)

    def _checked(self, frame: Frame) -> list[Frame]:
        """The frame, or what of it did not come before: nothing is kept twice."""
        before = sum(slot.object in self.objects for slot in frame.table)
        if before == len(frame.table):
            return []
        found = [each for each in self._assembler.feed(frame) if each[0] not in self.objects]
        for name, data in found:
            if self._wanted is not None:
                self._wanted.learn(name, data)
        self.objects.update(name for name, _ in found)
        if len(self.objects) > MAX_OBJECTS:
            raise TooLarge(f"one request brings at most {MAX_OBJECTS:,} objects", limit=MAX_OBJECTS)
        return list(make_frames(found)) if before else [frame]
