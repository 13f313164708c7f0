"""The vault: a project's sealed packs, commit records and confirmed heads.

Everything is sealed for tenant, project, kind and name before it leaves this module, and opened and checked on the way
back: what ``read_objects`` yields hashes to its name. Packs and records rest under random names; only heads have names
that say something, since rebuilding follows them. ``docs/spec/objects.md`` lists the names in the bucket.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from contextlib import suppress
from functools import partial
from io import BytesIO
from typing import TypeVar

from satchel.errors import Damaged, SatchelError, SealBroken, StoreMissing
from satchel.objects.frame import MAX_FRAME_RAW, Frame, Slot, content_size, make_frames, open_content
from satchel.objects.ids import FrameId, Lineage, ObjectId, ProjectId, TenantId, new_id
from satchel.objects.record import PackTable, Purge, decode_purge, decode_tables, encode_purge, encode_tables
from satchel.objects.seal import SALT_BYTES, SEAL_OVERHEAD, Binding, open_sealed, seal
from satchel.store.keyring import EpochUnknown, Keyring
from satchel.store.objectstore import ObjectStore, StoredObject, StoreExists
from satchel.store.places import Place, Read, StoredPack, WantedFrame, pack_table, places_of, plan_reads

__all__ = ["PACK_TARGET_BYTES", "HeadClash", "PackWriter", "Place", "StoredPack", "Vault", "pack_table", "places_of"]

T = TypeVar("T")
KeyOf = Callable[[int], bytes]

PACK_TARGET_BYTES = 8 << 20
"""A pack is put before it would grow beyond this: few enough requests for a bucket, little enough memory per writer."""


READS_AHEAD, READS_AHEAD_BYTES = 8, 4 << 20
"""Most reads at a time, as long as they are no larger together. An edit of 13 files reads 13 frames of 100 to 400 KB as
the bases of its deltas, each of them a round trip to a bucket; larger reads come one after another."""


class HeadClash(Damaged):
    code = "store.head_clash"
    default_hint = (
        "The server's catalog is an older one than its bucket; nothing that was acknowledged is lost. Its operator "
        "finds the way back under `The database fails over`, on the guide's page about outages."
    )


class Vault:
    """Reads and writes what a project keeps in the object store."""

    def __init__(
        self,
        store: ObjectStore,
        keyring: Keyring,
        *,
        random: Callable[[int], bytes],
        doubt: Callable[[str], Awaitable[bool]] | None = None,
    ) -> None:
        """``random`` gives that many random bytes: salts and names come from it.

        ``doubt`` is told the name of a stored object that did not open, and says whether reading it once more may help:
        where ``store`` keeps copies of its own (``store.cache``).
        """
        self._store, self._keyring, self._random, self._doubt = store, keyring, random, doubt

    def writer(self, tenant: TenantId, project: ProjectId) -> PackWriter:
        """A writer of packs for one project; forget none without ``finish`` or ``abort``."""
        return PackWriter(self._store, self._keyring, self._random, tenant, project)

    async def read_objects(
        self, tenant: TenantId, project: ProjectId, places: Sequence[Place]
    ) -> AsyncIterator[tuple[ObjectId, bytes]]:
        """Every object of ``places`` once, checked against its id, in the order in which they rest.

        Holds one read (see ``places``), or a few small ones, and one long object. Raises ``StoreMissing``,
        ``SealBroken``, ``WrongKey``.
        """
        held: list[bytes] = []
        async for read, opened in self._read(tenant, project, places):
            for place, data in await asyncio.to_thread(_objects, read, opened):
                if place.parts == 1:
                    yield place.object, data
                    continue
                held.append(data)
                if place.part == place.parts - 1:
                    whole, held = b"".join(held), []
                    yield place.object, _checked(place.object, whole)

    async def read_object(self, tenant: TenantId, project: ProjectId, places: Sequence[Place]) -> bytes:
        """The one object that ``places`` tell of. Raises as ``read_objects``."""
        found = [data async for _, data in self.read_objects(tenant, project, places)]
        if not found:
            raise StoreMissing("the object is nowhere stored")
        return found[0]

    async def read_frames(self, tenant: TenantId, project: ProjectId, places: Sequence[Place]) -> AsyncIterator[Frame]:
        """Frames holding exactly the objects of ``places``, for sending to somebody who checks them.

        A frame wanted whole goes out as it rests; of others the wanted objects are compressed anew.
        """
        odd: list[tuple[ObjectId, bytes]] = []
        held = 0
        async for read, opened in self._read(tenant, project, places):
            for wanted, data in zip(read.frames, opened, strict=True):
                frame = _whole_frame(wanted, data)
                if frame is not None:
                    yield frame
                    continue
                objects = await asyncio.to_thread(_objects_of, wanted, data)
                odd += [(place.object, content) for place, content in objects]
                held += sum(len(content) for _, content in objects)
                if held >= MAX_FRAME_RAW:
                    for again in await asyncio.to_thread(_framed, odd):
                        yield again
                    odd, held = [], 0
        for again in make_frames(odd):
            yield again

    async def put_record(self, tenant: TenantId, project: ProjectId, record_id: str, record: bytes) -> None:
        """Store an encoded commit record under its random id, durably. Raises ``StoreExists``."""
        await self._put_sealed(tenant, project, "record", record_id, record, f"records/{record_id}")

    async def get_record(self, tenant: TenantId, project: ProjectId, record_id: str) -> bytes:
        """The encoded commit record. Raises ``StoreMissing``, ``SealBroken``, ``WrongKey``."""
        return await self._get_sealed(tenant, project, "record", record_id, f"records/{record_id}")

    async def put_tables(self, tenant: TenantId, project: ProjectId, tables: Sequence[PackTable]) -> None:
        """Say where content lies that was moved to other packs, for a rebuild; before the catalog says so."""
        name = new_id("tab", self._random(16))
        await self._put_sealed(tenant, project, "table", name, encode_tables(tables), f"tables/{name}")

    async def get_tables(self, tenant: TenantId, project: ProjectId, name: str) -> tuple[PackTable, ...]:
        """The tables put under ``name``. Raises as ``get_record``, and ``RecordRefused``."""
        return decode_tables(await self._get_sealed(tenant, project, "table", name, f"tables/{name}"))

    async def put_purge(self, tenant: TenantId, project: ProjectId, purge: Purge) -> None:
        """Say which objects are removed for good, before they are: a rebuild knows then that their absence is meant."""
        name = new_id("pur", self._random(16))
        await self._put_sealed(tenant, project, "purge", name, encode_purge(purge), f"purges/{name}")

    async def get_purge(self, tenant: TenantId, project: ProjectId, name: str) -> Purge:
        """The purge put under ``name``. Raises as ``get_record``, and ``RecordRefused``."""
        return decode_purge(await self._get_sealed(tenant, project, "purge", name, f"purges/{name}"))

    async def delete(self, tenant: TenantId, project: ProjectId, kind: str, name: str) -> None:
        """Delete what ``names`` gave; an absent one is no error."""
        await self._store.delete(f"{_folder(tenant, project)}/{kind}/{name}")

    async def names(self, tenant: TenantId, project: ProjectId, kind: str) -> AsyncIterator[StoredObject]:
        """What the project keeps as ``packs``, ``records``, ``heads``, ``tables`` or ``purges``, without the folder."""
        prefix = f"{_folder(tenant, project)}/{kind}/"
        async for stored in self._store.list(prefix):
            yield stored._replace(name=stored.name.removeprefix(prefix))

    async def confirm_head(
        self, tenant: TenantId, project: ProjectId, lineage: Lineage, version: int, record_id: str
    ) -> None:
        """Say which record the committed ``version`` has; harmless to repeat.

        Raises ``HeadClash`` if it was said to have another.
        """
        name = f"{lineage}/{version}"
        text = json.dumps({"record": record_id}).encode()
        try:
            await self._put_sealed(tenant, project, "head", name, text, f"heads/{name}")
        except StoreExists:
            confirmed = await self.confirmed_head(tenant, project, lineage, version)
            if confirmed != record_id:
                raise HeadClash(f"version {version} is confirmed as another record") from None

    async def confirmed_head(self, tenant: TenantId, project: ProjectId, lineage: Lineage, version: int) -> str | None:
        """The id of the record that ``version`` was confirmed to have, ``None`` if it was not."""
        name = f"{lineage}/{version}"
        try:
            text = await self._get_sealed(tenant, project, "head", name, f"heads/{name}")
        except StoreMissing:
            return None
        return str(json.loads(text)["record"])

    async def _put_sealed(
        self, tenant: TenantId, project: ProjectId, kind: str, name: str, plaintext: bytes, at: str
    ) -> None:
        binding, create = Binding(tenant, project, kind), True
        while True:
            epoch, key = await self._keyring.current(tenant)
            sealed = seal(key, binding, name, plaintext, epoch=epoch, salt=self._random(SALT_BYTES))
            await self._store.put(f"{_folder(tenant, project)}/{at}", sealed, create=create)
            if (await self._keyring.current(tenant))[0] == epoch:
                return
            create = False  # a new epoch began meanwhile, and the old one may be retired: the name is ours, seal anew

    async def _get_sealed(self, tenant: TenantId, project: ProjectId, kind: str, name: str, at: str) -> bytes:
        binding = Binding(tenant, project, kind)
        return await self._opened(
            tenant,
            f"{_folder(tenant, project)}/{at}",
            lambda key_of, sealed: open_sealed(key_of, binding, name, sealed),
        )

    async def _opened(
        self,
        tenant: TenantId,
        name: str,
        opened: Callable[[KeyOf, bytes], T],
        *,
        offset: int = 0,
        length: int | None = None,
    ) -> T:
        """What ``opened`` makes of a stored object or a range of it.

        A key that is not known is looked for in the bucket's keyring: the epoch may have begun on another node. What
        then does not open is read from the store itself, where a copy was read.
        """
        key_of = await self._keyring.key_of(tenant)
        sealed = await self._store.get(name, offset=offset, length=length)
        try:
            try:
                return opened(key_of, sealed)
            except EpochUnknown:
                key_of = await self._keyring.key_of(tenant, anew=True)
                return opened(key_of, sealed)
        except Damaged:
            if self._doubt is None or not await self._doubt(name):
                raise
        return opened(key_of, await self._store.get(name, offset=offset, length=length))

    async def _read(
        self, tenant: TenantId, project: ProjectId, places: Sequence[Place]
    ) -> AsyncIterator[tuple[Read, list[bytes]]]:
        """Each planned read with its frames unsealed, still compressed. Small ones are asked for a few at a time."""
        reads = deque(plan_reads(places))
        if len(reads) == 1:  # most questions, and a task costs more than it gives
            yield reads[0], await self._frames(tenant, project, reads[0])
            return
        begun: deque[tuple[Read, asyncio.Task[list[bytes]]]] = deque()
        ahead = 0
        try:
            while reads or begun:
                while reads and (
                    not begun or (len(begun) < READS_AHEAD and ahead + reads[0].length <= READS_AHEAD_BYTES)
                ):
                    begun.append((reads[0], asyncio.create_task(self._frames(tenant, project, reads[0]))))
                    ahead += reads.popleft().length
                read, opened = begun[0][0], await begun[0][1]
                begun.popleft()
                ahead -= read.length
                yield read, opened
        finally:
            for _, task in begun:
                task.cancel()
            await asyncio.gather(*(task for _, task in begun), return_exceptions=True)

    async def _frames(self, tenant: TenantId, project: ProjectId, read: Read) -> list[bytes]:
        name = f"{_folder(tenant, project)}/packs/{read.pack}"
        open_frames = partial(_open_frames, Binding(tenant, project, "frame"), read)
        return await self._opened(tenant, name, open_frames, offset=read.offset, length=read.length)


_Frames = list[tuple[FrameId, bytes, int, int]]
"""Name, compressed bytes, part and parts."""


class PackWriter:
    """Seals frames into packs of about 8 MiB and puts each under a random name as soon as it is full.

    A pack is sealed when it is put, all of it in one epoch. It is put while the next one fills: two packs are held at
    most.
    """

    def __init__(
        self,
        store: ObjectStore,
        keyring: Keyring,
        random: Callable[[int], bytes],
        tenant: TenantId,
        project: ProjectId,
    ) -> None:
        self._store, self._keyring, self._random = store, keyring, random
        self._binding = Binding(tenant, project, "frame")
        self._folder = _folder(tenant, project)
        self._name = self._new_name()
        self._frames: _Frames = []
        self._places: list[Place] = []
        self._size = 0
        self._packs: list[StoredPack] = []
        self._sizes: dict[ObjectId, int] = {}  # of objects in several parts, known at the last
        self._tried: list[str] = []
        self._putting: asyncio.Task[None] | None = None

    async def add(self, frame: Frame) -> None:
        """Take a frame whose objects were checked, and begin to put the pack it fills.

        Raises what ``put`` does, for the pack before.
        """
        name, sealed = frame.id, len(frame.data) + SEAL_OVERHEAD
        if self._frames and self._size + sealed > PACK_TARGET_BYTES:
            await self._put_full()
        for held, offset, length in frame.table:
            if frame.part == frame.parts - 1 > 0:
                self._sizes[held] = frame.part * MAX_FRAME_RAW + length
            place = Place(held, frame.part, frame.parts, length, self._name, name, self._size, sealed, offset, length)
            self._places.append(place)
        self._frames.append((name, frame.data, frame.part, frame.parts))
        self._size += sealed

    async def finish(self) -> list[StoredPack]:
        """Put what waits; all packs of this writer, durable now."""
        if self._frames:
            await self._put_full()
        await self._settle()
        return [
            pack._replace(places=tuple(place._replace(size=self._size_of(place)) for place in pack.places))
            if self._sizes
            else pack
            for pack in self._packs
        ]

    async def whole(self) -> list[StoredPack]:
        """The packs, durable now, that hold whole objects alone, where the frames stop before their end.

        ``keep`` the ones that are to stay: ``abort`` deletes the others.
        """
        if self._frames:
            await self._put_full()
        await self._settle()
        return [
            pack._replace(places=tuple(place._replace(size=self._size_of(place)) for place in pack.places))
            for pack in self._packs
            if all(place.parts == 1 or place.object in self._sizes for place in pack.places)
        ]

    def keep(self, names: Iterable[str]) -> None:
        """Leave these packs to whoever named them in the catalog."""
        kept = set(names)
        self._tried = [name for name in self._tried if name not in kept]

    async def abort(self) -> None:
        """Delete what was put; what cannot be deleted now is garbage that nothing names."""
        self._frames, self._places, self._size = [], [], 0
        if self._putting is not None:  # to its end, which the store bounds: a put after the deletion would stay
            await asyncio.gather(self._putting, return_exceptions=True)
        with suppress(SatchelError):  # one that is not deleted would be followed by more: not worth waiting for
            for name in self._tried:
                await self._store.delete(f"{self._folder}/packs/{name}")
        self._packs, self._tried = [], []

    async def _put_full(self) -> None:
        """Begin to put the pack that is full, once the one before is durable."""
        await self._settle()
        frames, places, size, name = self._frames, self._places, self._size, self._name
        self._frames, self._places, self._size, self._name = [], [], 0, self._new_name()
        self._putting = asyncio.create_task(self._put(frames, places, size, name))

    async def _settle(self) -> None:
        putting = self._putting
        if putting is not None:
            await asyncio.shield(putting)  # who gives up waiting calls `abort`, and that waits for the put
            self._putting = None

    async def _put(self, frames: _Frames, places: list[Place], size: int, name: str) -> None:
        epoch, key = await self._keyring.current(self._binding.tenant)
        count, sealed = len(frames), self._sealed(frames, epoch, key)
        while True:
            at = f"{self._folder}/packs/{name}"
            self._tried.append(name)
            await self._store.put(at, sealed, create=True)
            newest, newer = await self._keyring.current(self._binding.tenant)
            if newest == epoch:
                break
            # A new epoch began meanwhile, and the old one may be retired: seal anew, under another name.
            await self._store.delete(at)
            sealed = self._sealed(self._unsealed(sealed, places, key), newest, newer)
            epoch, key, name = newest, newer, self._new_name()
            places = [place._replace(pack=name) for place in places]
        self._packs.append(StoredPack(name, size, count, tuple(places)))

    def _sealed(self, frames: _Frames, epoch: int, key: bytes) -> bytes:
        """The bytes of a pack. Takes each frame out of ``frames``, so that never all of it is there twice."""
        sealed = BytesIO()  # whose value is no copy
        frames.reverse()
        while frames:
            name, data, index, count = frames.pop()
            salt = self._random(SALT_BYTES)
            sealed.write(seal(key, self._binding, name, data, epoch=epoch, salt=salt, index=index, count=count))
        return sealed.getvalue()

    def _unsealed(self, sealed: bytes, places: Sequence[Place], key: bytes) -> _Frames:
        parts = dict.fromkeys(
            (each.frame, each.pack_offset, each.pack_length, each.part, each.parts) for each in places
        )
        return [
            (
                name,
                open_sealed(lambda _: key, self._binding, name, sealed[at : at + size], index=part, count=of),
                part,
                of,
            )
            for name, at, size, part, of in parts
        ]

    def _size_of(self, place: Place) -> int:
        return place.size if place.parts == 1 else self._sizes[place.object]

    def _new_name(self) -> str:
        return new_id("pak", self._random(16))


def _folder(tenant: TenantId, project: ProjectId) -> str:
    return f"tenants/{tenant}/projects/{project}"


def _open_frames(binding: Binding, read: Read, key_of: KeyOf, sealed: bytes) -> list[bytes]:
    """The frames of one read, unsealed, still compressed."""
    view = memoryview(sealed)
    opened = []
    for frame in read.frames:
        start = frame.offset - read.offset
        part = bytes(view[start : start + frame.length])
        opened.append(open_sealed(key_of, binding, frame.frame, part, index=frame.part, count=frame.parts))
    return opened


def _objects(read: Read, opened: list[bytes]) -> list[tuple[Place, bytes]]:
    return [item for wanted, data in zip(read.frames, opened, strict=True) for item in _objects_of(wanted, data)]


def _objects_of(wanted: WantedFrame, data: bytes) -> list[tuple[Place, bytes]]:
    """The wanted objects, checked, or the part of one, of one frame's compressed bytes."""
    content = open_content(data, upto=max(place.offset + place.length for place in wanted.places))
    found = []
    for place in wanted.places:
        piece = content[place.offset : place.offset + place.length]
        found.append((place, piece if place.parts > 1 else _checked(place.object, piece)))
    return found


def _checked(name: ObjectId, data: bytes) -> bytes:
    if hashlib.sha256(data).hexdigest() != name:
        raise SealBroken(f"the stored bytes of {name} are not the ones its id names")
    return data


def _framed(objects: list[tuple[ObjectId, bytes]]) -> list[Frame]:
    return list(make_frames(objects))


def _whole_frame(wanted: WantedFrame, data: bytes) -> Frame | None:
    """The frame as it rests, if the wanted objects are all that it holds."""
    raw_size = content_size(data)
    if sum(place.length for place in wanted.places) != raw_size:
        return None
    table = tuple(Slot(place.object, place.offset, place.length) for place in wanted.places)
    return Frame(table, raw_size, data, wanted.part, wanted.parts)
