"""Are a project's packs what the catalog says, and is every object of every readable version in one?

Without ``full`` the catalog's places are checked to tile each pack, and each pack to be there in its size. With it
every byte is read: each frame is opened, decompressed strictly, and each object in it hashed. A pack is exactly its
frames, so no byte goes unseen.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from typing import NamedTuple

from satchel.catalog import damage, inspection, packs
from satchel.catalog.inspection import FrameHeld, PackState
from satchel.catalog.packs import DYING, PlaceRow
from satchel.catalog.scope import Scope
from satchel.errors import Damaged, FrameRefused, StoreMissing
from satchel.objects.frame import Slot, check_table, open_content
from satchel.objects.ids import ObjectId, ProjectId, TenantId
from satchel.objects.record import FrameAt, PackTable
from satchel.objects.seal import Binding, open_sealed
from satchel.store.places import Place
from satchel.upkeep.estate import Estate
from satchel.upkeep.findings import ASKED_FOR, Findings, Target

PACKS_AT_ONCE = 3
"""Packs read and opened side by side: a pack and a frame of content each, some 30 MiB in all."""

KeyOf = Callable[[int], bytes]
Advance = Callable[[int], None]


class Opened(NamedTuple):
    """What was found in one pack: the frames that do not open, with why, and the sums of those that do."""

    broken: dict[int, str]
    """By index of the frame."""
    objects: int
    bytes: int


@dataclass(slots=True)
class Contents:
    """What was found over all packs."""

    packs: int = 0
    stored_bytes: int = 0
    objects: int = 0
    bytes: int = 0
    named: set[str] = field(default_factory=set)
    long: dict[ObjectId, int] = field(default_factory=dict)
    """The size that the places of each long object say it has; all its parts have to agree."""
    scattered: set[ObjectId] = field(default_factory=set)
    """Long objects with parts in several packs: hashed when all packs have been seen."""


def pack_path(tenant: TenantId, project: ProjectId, name: str) -> str:
    """The name of a pack in the store."""
    return f"tenants/{tenant}/projects/{project}/packs/{name}"


def table_of(pack: PackState, rows: Sequence[PlaceRow]) -> PackTable:
    """The frames of a pack from its rows in the catalog. Raises ``FrameRefused`` unless they tile it exactly."""
    frames = []
    for place, group in groupby(
        rows, key=lambda row: (row.frame, row.pack_offset, row.pack_length, row.part, row.parts)
    ):
        held = list(group)
        if any(row.parts == 1 and row.size != row.length for row in held):
            raise FrameRefused("its places do not tile it")
        frame, offset, length, part, parts = place
        slots = tuple(Slot(row.object, row.offset, row.length) for row in held)
        frames.append(FrameAt(frame, offset, length, part, parts, slots))
    return _tiled(pack, frames)


def _tiled(pack: PackState, frames: Sequence[FrameAt]) -> PackTable:
    at = 0
    for frame in frames:
        check_table(frame.table, frame.part, frame.parts)
        if frame.offset != at:
            raise FrameRefused("its places do not tile it")
        at += frame.length
    if at != pack.size or len({frame.id for frame in frames}) != pack.frames:
        raise FrameRefused("its places do not tile it")
    return PackTable(pack.name, pack.size, tuple(frames))


def sound_table(pack: PackState, rows: Sequence[FrameHeld]) -> tuple[PackTable, list[tuple[ObjectId, int]]] | None:
    """As ``table_of``, with the size that each part of a long object has said; ``None`` where something is odd.

    Then the rows have to be looked at one by one.
    """
    frames: list[FrameAt] = []
    long: list[tuple[ObjectId, int]] = []
    try:
        for frame, offset, length, part, parts, held in rows:
            names, sizes, lengths = held[0::4], held[1::4], held[3::4]
            if parts == 1 and sizes != lengths:
                return None
            slots = tuple(map(Slot._make, zip(names, map(int, held[2::4]), map(int, lengths), strict=True)))
            frames.append(FrameAt(frame, offset, length, part, parts, slots))
            if parts > 1:
                long.append((slots[0].object, int(sizes[0])))
        return _tiled(pack, frames), long
    except (FrameRefused, ValueError):
        return None


def open_pack(data: bytes, table: PackTable, key_of: KeyOf, binding: Binding) -> Opened:
    """Open, decompress and hash everything in a pack. Made for a thread: it holds one frame of content at a time."""
    broken: dict[int, str] = {}
    objects = size = 0
    sealed = memoryview(data)
    whole = _whole_sequences(table)
    hashes = {name: hashlib.sha256() for name in whole}
    for index, frame in enumerate(table.frames):
        try:
            piece = bytes(sealed[frame.offset : frame.offset + frame.length])
            packed = open_sealed(key_of, binding, frame.id, piece, index=frame.part, count=frame.parts)
            content = memoryview(open_content(packed, sum(slot.length for slot in frame.table)))
            _hash(frame, content, hashes)
        except Damaged as error:
            broken[index] = error.message
            continue
        size += len(content)
        objects += len(frame.table) if frame.part == 0 else 0
    return Opened(broken, objects, size)


def _hash(frame: FrameAt, content: memoryview, hashes: Mapping[ObjectId, hashlib._Hash]) -> None:
    for slot in frame.table:
        piece = content[slot.offset : slot.offset + slot.length]
        if frame.parts == 1:
            found = hashlib.sha256(piece)
        elif slot.object in hashes:
            found = hashes[slot.object]
            found.update(piece)
            if frame.part < frame.parts - 1:
                continue
        else:
            continue
        if found.hexdigest() != slot.object:
            raise FrameRefused(f"the bytes of {slot.object} are not the ones its id names")


def _whole_sequences(table: PackTable) -> set[ObjectId]:
    """Long objects whose parts all lie in this pack, in order."""
    parts: dict[ObjectId, list[int]] = {}
    wanted: dict[ObjectId, int] = {}
    for frame in table.frames:
        if frame.parts > 1:
            name = frame.table[0].object
            parts.setdefault(name, []).append(frame.part)
            wanted[name] = frame.parts
    return {name for name, held in parts.items() if held == list(range(wanted[name]))}


def lost_objects(table: PackTable, broken: Iterable[int]) -> tuple[ObjectId, ...]:
    """The objects of which something lies in the broken frames."""
    return tuple(dict.fromkeys(slot.object for index in sorted(broken) for slot in table.frames[index].table))


async def examine_packs(
    estate: Estate,
    target: Target,
    findings: Findings,
    *,
    key_of: KeyOf | None,
    only: set[str] | None = None,
    advance: Advance = lambda _bytes: None,
) -> Contents:
    """Look at every pack that a row names, or at those in ``only``; with ``key_of`` read them."""
    seen = Contents()
    listed = {stored.name: stored.size async for stored in estate.vault.names(target.tenant, target.project, "packs")}
    working: set[asyncio.Task[None]] = set()
    try:
        async for pack in _packs(estate, target):
            seen.named.add(pack.name)
            if only is not None and pack.name not in only:
                continue
            seen.packs += 1
            seen.stored_bytes += pack.size
            work = _one(estate, target, pack, listed.get(pack.name), findings, seen, key_of)
            working.add(asyncio.create_task(work))
            if len(working) >= PACKS_AT_ONCE:
                working = await _settle(working, asyncio.FIRST_COMPLETED)
            advance(pack.size)
        await _settle(working, asyncio.ALL_COMPLETED)
    finally:
        for task in working:
            task.cancel()
    if key_of is not None:
        await _scattered(estate, target, findings, seen)
    return seen


async def _settle(working: set[asyncio.Task[None]], when: str) -> set[asyncio.Task[None]]:
    if not working:
        return working
    done, rest = await asyncio.wait(working, return_when=when)
    for task in done:
        task.result()
    return rest


async def _packs(estate: Estate, target: Target) -> AsyncIterator[PackState]:
    after = ""
    while True:
        async with estate.catalog.read(target.tenant) as s:
            page = await inspection.packs_after(s, target.project, after)
        for pack in page:
            yield pack
        if not page:
            return
        after = page[-1].name


async def _one(
    estate: Estate,
    target: Target,
    pack: PackState,
    listed: int | None,
    findings: Findings,
    seen: Contents,
    key_of: KeyOf | None,
) -> None:
    path = pack_path(target.tenant, target.project, pack.name)

    def tell(why: str, objects: tuple[ObjectId, ...]) -> None:
        if pack.state == DYING:
            findings.notes.append(f"{path}, kept for backups alone, is damaged: {why}")
        else:
            findings.add("pack", path, why, objects)

    async with estate.catalog.read(target.tenant) as s:
        found = sound_table(pack, await inspection.frames_in(s, target.project, pack.name))
        rows = [] if found else await inspection.places_in(s, target.project, pack.name)
    try:
        table, long = found or (table_of(pack, rows), [(row.object, row.size) for row in rows if row.parts > 1])
    except FrameRefused as error:
        everything = tuple(dict.fromkeys(row.object for row in rows))
        tell(f"the catalog's places do not fit it: {error.message}", everything)
        return
    everything = lost_objects(table, range(len(table.frames)))
    if any(seen.long.setdefault(name, size) != size for name, size in long):
        tell("the catalog's places do not fit it: the parts of an object differ in its size", everything)
    if key_of is None:
        if listed != pack.size:
            tell("it is missing" if listed is None else f"it has {listed:,} bytes, not {pack.size:,}", everything)
        return
    try:
        data = await estate.store.get(path)
    except StoreMissing:
        tell("it is missing", everything)
        return
    if len(data) != pack.size:
        tell(f"it has {len(data):,} bytes, not {pack.size:,}", everything)
    else:
        opened = await asyncio.to_thread(
            open_pack, data, table, key_of, Binding(target.tenant, target.project, "frame")
        )
        seen.objects, seen.bytes = seen.objects + opened.objects, seen.bytes + opened.bytes
        seen.scattered |= _long(table) - _whole_sequences(table)
        if opened.broken:
            whys = ", ".join(sorted(set(opened.broken.values())))
            tell(
                f"damaged in {len(opened.broken)} of its {len(table.frames)} frames: {whys}",
                lost_objects(table, opened.broken),
            )


def _long(table: PackTable) -> set[ObjectId]:
    return {frame.table[0].object for frame in table.frames if frame.parts > 1}


async def _scattered(estate: Estate, target: Target, findings: Findings, seen: Contents) -> None:
    """Hash the long objects whose parts lie in several packs."""
    known = {name for problem in findings.problems for name in problem.objects}
    for name in sorted(seen.scattered - known):
        async with estate.catalog.read(target.tenant) as s:
            places = await packs.places(s, target.project, [name])
        if not places:
            continue  # in no pack that a commit relies on, or missing, which is found by the entries
        try:
            await estate.vault.read_object(target.tenant, target.project, [Place(*row) for row in places])
        except Damaged as error:
            findings.add("object", name, error.message, (name,))


async def examine_objects(estate: Estate, target: Target, findings: Findings) -> None:
    """See that every object of every readable version has its places in packs that commits rely on."""
    after, told = ("", 0), set[ObjectId]()
    while True:
        async with estate.catalog.read(target.tenant) as s:
            page = await inspection.not_whole(s, target.project, target.floor, after)
            if not page:
                return
            for name, why in await _absent(s, target.project, {row[2] for row in page} - told):
                told.add(name)
                findings.add("object", name, why, (name,))
        after = page[-1][:2]


async def _absent(s: Scope, project: str, asked: set[ObjectId]) -> list[tuple[ObjectId, str]]:
    there = {row.object for row in await packs.places(s, project, asked)}
    missing = sorted(asked - there)
    meant = await inspection.purged_among(s, project, missing)
    noted = await damage.among(s, project, missing)
    return [(n, ASKED_FOR if n in noted else "no pack holds it") for n in missing if n not in meant]
