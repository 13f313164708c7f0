"""Are a project's packs what the catalog says, and is every object of every readable version in one?

Without ``full`` the catalog's places are checked to tile each pack, and each pack to be there in its size. With it
every byte is read: each frame is opened, decompressed strictly, and each object in it hashed. A pack is exactly its
frames, so no byte goes unseen.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from typing import NamedTuple

from satchel.catalog import damage, inspection, packs
from satchel.catalog.inspection import PackState
from satchel.catalog.packs import DYING, PlaceRow
from satchel.catalog.scope import Scope
from satchel.errors import Damaged, FrameRefused, StoreMissing
from satchel.objects.frame import Slot
from satchel.objects.ids import ObjectId, ProjectId, TenantId
from satchel.objects.record import FrameAt, PackTable
from satchel.objects.seal import Binding
from satchel.store.places import Place
from satchel.upkeep.estate import Estate
from satchel.upkeep.findings import ASKED_FOR, Findings, Target
from satchel.upkeep.opened import Examined, KeyOf, Told, Whole, examine_told, sound_table, tiled
from satchel.upkeep.openers import Openers

Advance = Callable[[int], None]


class Opening(NamedTuple):
    """With what packs are read."""

    openers: Openers
    key_of: KeyOf


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

    def agrees(self, long: Sequence[tuple[ObjectId, int]]) -> bool:
        """Whether these say of long objects the size that was said before."""
        return all(self.long.setdefault(name, size) == size for name, size in long)

    def take(self, found: Examined) -> None:
        self.objects += found.opened.objects
        self.bytes += found.opened.bytes
        self.scattered.update(found.scattered)


def pack_path(tenant: TenantId, project: ProjectId, name: str) -> str:
    """The name of a pack in the store."""
    return f"tenants/{tenant}/projects/{project}/packs/{name}"


def whole_of(pack: PackState) -> Whole:
    """What the catalog says of a pack as a whole."""
    return Whole(pack.name, pack.size, pack.frames)


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
    return tiled(whole_of(pack), frames)


def lost_objects(table: PackTable, broken: Iterable[int]) -> tuple[ObjectId, ...]:
    """The objects of which something lies in the broken frames."""
    return tuple(dict.fromkeys(slot.object for index in sorted(broken) for slot in table.frames[index].table))


async def examine_packs(
    estate: Estate,
    target: Target,
    findings: Findings,
    *,
    opening: Opening | None,
    only: set[str] | None = None,
    advance: Advance = lambda _bytes: None,
) -> Contents:
    """Look at every pack that a row names, or at those in ``only``; with ``opening`` read them.

    Holds a pack more than are opened at once.
    """
    seen = Contents()
    at_once = 3 if opening is None else opening.openers.at_once + 1  # one is read while others are opened
    listed = {stored.name: stored.size async for stored in estate.vault.names(target.tenant, target.project, "packs")}
    working: set[asyncio.Task[None]] = set()
    try:
        async for pack in _packs(estate, target):
            seen.named.add(pack.name)
            if only is not None and pack.name not in only:
                continue
            seen.packs += 1
            seen.stored_bytes += pack.size
            work = _one(estate, target, pack, listed.get(pack.name), findings, seen, opening)
            working.add(asyncio.create_task(work))
            if len(working) >= at_once:
                working = await _settle(working, asyncio.FIRST_COMPLETED)
            advance(pack.size)
        await _settle(working, asyncio.ALL_COMPLETED)
    finally:
        for task in working:
            task.cancel()
    if opening is not None:
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
    opening: Opening | None,
) -> None:
    path = pack_path(target.tenant, target.project, pack.name)

    def tell(why: str, objects: tuple[ObjectId, ...]) -> None:
        if pack.state == DYING:
            findings.notes.append(f"{path}, kept for backups alone, is damaged: {why}")
        else:
            findings.add("pack", path, why, objects)

    async with estate.catalog.read(target.tenant) as s:
        rows = await inspection.frames_in(s, target.project, pack.name)
    data = found = None
    if opening is not None:
        data = await _stored(estate, path)
        if data is not None and len(data) == pack.size:
            found = await opening.openers.examine(whole_of(pack), rows, data, opening.key_of, _binding(target))
    if found is not None and not found.opened.broken and seen.agrees(found.long):
        seen.take(found)
        return
    try:
        told = sound_table(whole_of(pack), rows) or await _told(estate, target, pack)
    except _Misfit as error:
        tell(error.why, error.objects)
        return
    everything = lost_objects(told.table, range(len(told.table.frames)))
    if not seen.agrees(told.long):
        tell("the catalog's places do not fit it: the parts of an object differ in its size", everything)
    size = listed if opening is None else None if data is None else len(data)
    if size != pack.size:
        tell("it is missing" if size is None else f"it has {size:,} bytes, not {pack.size:,}", everything)
    elif opening is not None and data is not None:
        whole = found or await _opened(told, data, opening.key_of, _binding(target))
        seen.take(whole)
        if broken := whole.opened.broken:
            whys = ", ".join(sorted(set(broken.values())))
            frames = len(told.table.frames)
            tell(f"damaged in {len(broken)} of its {frames} frames: {whys}", lost_objects(told.table, broken))


async def _opened(told: Told, data: bytes, key_of: KeyOf, binding: Binding) -> Examined:
    return await asyncio.to_thread(examine_told, told, data, key_of, binding)


def _binding(target: Target) -> Binding:
    return Binding(target.tenant, target.project, "frame")


async def _stored(estate: Estate, path: str) -> bytes | None:
    try:
        return await estate.store.get(path)
    except StoreMissing:
        return None


class _Misfit(Exception):
    """The rows of a pack do not fit together."""

    def __init__(self, why: str, objects: tuple[ObjectId, ...]) -> None:
        super().__init__(why)
        self.why, self.objects = why, objects


async def _told(estate: Estate, target: Target, pack: PackState) -> Told:
    """What the rows of a pack tell, looked at one by one."""
    async with estate.catalog.read(target.tenant) as s:
        rows = await inspection.places_in(s, target.project, pack.name)
    try:
        return Told(table_of(pack, rows), [(row.object, row.size) for row in rows if row.parts > 1])
    except FrameRefused as error:
        everything = tuple(dict.fromkeys(row.object for row in rows))
        raise _Misfit(f"the catalog's places do not fit it: {error.message}", everything) from error


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
