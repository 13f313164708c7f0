"""The server's side of deltas: what arrives as a difference becomes frames that stand alone, or is refused.

A delta may be made against objects of the version its commit builds on, and against nothing else: what another project
holds, what a purge took and what never was are one and the same refusal, decided from the list of that version before
anything is read. What one request makes us read and unpack is bounded, however few bytes it sends.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping

from satchel.errors import Damaged, FrameRefused, ObjectsMissing, SatchelError, TooLarge
from satchel.objects.delta import MAX_BASE_RAW, open_delta
from satchel.objects.frame import Frame, make_frames
from satchel.objects.ids import ObjectId
from satchel.sync.wire import MAX_BASES_BYTES, MAX_DELTAS

Read = Callable[[Iterable[ObjectId]], AsyncIterator[tuple[ObjectId, bytes]]]


class Expansion:
    """Turns the deltas of one request into frames."""

    def __init__(self, held: Callable[[], Awaitable[Mapping[ObjectId, int]]], read: Read) -> None:
        """``held`` tells the objects of the parent version with their sizes: it is asked once, at the first delta.
        ``read`` gives their contents."""
        self._load, self._read = held, read
        self._held: Mapping[ObjectId, int] | None = None
        self._bytes = self._deltas = 0
        self._brought: set[ObjectId] = set()

    async def __call__(self, frame: Frame) -> Frame:
        """A frame that stands alone, with the same objects.

        Raises ``ObjectsMissing`` with the bases the version does not have, ``TooLarge`` and ``FrameRefused``.
        """
        held = self._held
        if held is None:
            held = self._held = await self._load()
        absent = sorted(set(frame.bases) - held.keys())
        if absent:
            raise _missing(absent)
        size = sum(held[name] for name in frame.bases)
        if size > MAX_BASE_RAW:
            raise FrameRefused("the bases of a delta are over 1 MiB")
        self._bytes, self._deltas = self._bytes + size, self._deltas + 1
        if self._bytes > MAX_BASES_BYTES or self._deltas > MAX_DELTAS:
            raise TooLarge("the deltas of one request ask for too much: send the content itself", limit=MAX_BASES_BYTES)
        names = {slot.object for slot in frame.table}
        if names & self._brought:
            raise FrameRefused("an object comes twice as a delta")
        self._brought |= names
        try:
            found = {name: data async for name, data in self._read(frame.bases)}
        except (Damaged, ObjectsMissing) as error:  # lost, or purged a moment ago: the content itself is welcome
            raise _missing(sorted(set(frame.bases))) from error
        return await asyncio.to_thread(_framed, frame, [found[name] for name in frame.bases])


def _framed(frame: Frame, bases: list[bytes]) -> Frame:
    (made,) = make_frames(open_delta(frame, bases))
    return made


def _missing(names: list[ObjectId]) -> SatchelError:
    return ObjectsMissing(f"{len(names):,} bases are not in the version this builds on", objects=names[:10_000])


Expand = Callable[[Frame], Awaitable[Frame]]
