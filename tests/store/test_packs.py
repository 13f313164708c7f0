from __future__ import annotations

import asyncio
import os
import random
from collections.abc import Sequence

import pytest

from satchel.errors import Damaged, SealBroken, StoreMissing, StoreUnavailable, WrongKey
from satchel.objects.frame import MAX_FRAME_RAW, Assembler, make_frames
from satchel.objects.ids import FrameId, Lineage, ObjectId, ProjectId, TenantId, object_id
from satchel.store import packs
from satchel.store.keyring import Keyring, TenantShredded
from satchel.store.objectstore import MemoryStore, StoreExists
from satchel.store.packs import HeadClash, PackWriter, Place, StoredPack, Vault, pack_table, places_of
from satchel.store.rootkey import RootKey

TENANT, OTHER = TenantId("ten_a"), TenantId("ten_b")
PROJECT, NEXT = ProjectId("prj_a"), ProjectId("prj_b")
TEXTS = [f"# Note {n}\n\nThe lamp is lit at dusk.\n".encode() * (n % 7) for n in range(60)]
LONG = random.Random(2).randbytes(2 * MAX_FRAME_RAW + 17)
CONTENT = {object_id(data): data for data in [*TEXTS, LONG]}


class Setting:
    """A vault over a memory store, with two tenants."""

    def __init__(self) -> None:
        self.store = MemoryStore()
        self.keyring = Keyring(self.store, RootKey(b"r" * 32), clock=lambda: 0, random=os.urandom)
        self.vault = Vault(self.store, self.keyring, random=os.urandom)

    async def start(self) -> Setting:
        await self.keyring.found()
        await self.keyring.create(TENANT)
        await self.keyring.create(OTHER)
        return self

    async def write(self, content: dict[ObjectId, bytes] = CONTENT) -> list[StoredPack]:
        writer = self.vault.writer(TENANT, PROJECT)
        for frame in make_frames(content.items()):
            await writer.add(frame)
        return await writer.finish()

    async def read(self, places: Sequence[Place], tenant: TenantId = TENANT) -> dict[ObjectId, bytes]:
        return {name: data async for name, data in self.vault.read_objects(tenant, PROJECT, places)}


def all_places(stored: list[StoredPack]) -> list[Place]:
    return [place for pack in stored for place in pack.places]


@pytest.mark.promise("P3")
def test_objects_are_read_back_as_they_were_written() -> None:
    async def use() -> None:
        setting = await Setting().start()
        stored = await setting.write()
        places = all_places(stored)
        assert await setting.read(places) == CONTENT
        assert {place.object: place.size for place in places} == {name: len(data) for name, data in CONTENT.items()}
        for name in (object_id(LONG), object_id(b""), object_id(TEXTS[3])):
            mine = [place for place in places if place.object == name]
            assert await setting.vault.read_object(TENANT, PROJECT, mine) == CONTENT[name]

    asyncio.run(use())


def test_packs_are_full_but_never_over_their_size(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packs, "PACK_TARGET_BYTES", 1_100_000)

    async def use() -> None:
        setting = await Setting().start()
        noise = random.Random(3)
        content = {object_id(data): data for data in (noise.randbytes(500_000) for _ in range(7))}
        content[object_id(LONG)] = LONG
        stored = await setting.write(content)
        assert len(stored) > 3
        for pack in stored:
            assert pack.size <= 1_100_000
            assert len(setting.store.objects[f"tenants/ten_a/projects/prj_a/packs/{pack.name}"]) == pack.size
            assert pack.frames == len({place.pack_offset for place in pack.places})
        assert await setting.read(all_places(stored)) == content  # the long object lies in several packs

    asyncio.run(use())


def test_a_client_gets_frames_with_exactly_what_it_asked_for() -> None:
    async def use() -> None:
        setting = await Setting().start()
        places = all_places(await setting.write())
        some = set(list(CONTENT)[::4])
        for wanted in (set(CONTENT), some, some | {object_id(LONG)}, {object_id(b"")}, set()):
            assembler = Assembler(8 << 20)
            found: dict[ObjectId, bytes] = {}
            asked = [place for place in places if place.object in wanted]
            async for frame in setting.vault.read_frames(TENANT, PROJECT, asked):
                found.update(assembler.feed(frame))
            assembler.finish()
            assert found == {name: CONTENT[name] for name in wanted}

    asyncio.run(use())


def test_a_frame_wanted_whole_travels_as_it_rests() -> None:
    async def use() -> None:
        setting = await Setting().start()
        places = all_places(await setting.write())
        sent = [frame.id async for frame in setting.vault.read_frames(TENANT, PROJECT, places)]
        assert set(sent) == {place.frame for place in places}

    asyncio.run(use())


@pytest.mark.promise("P5")
def test_nothing_of_a_tenant_rests_in_clear_or_opens_for_another() -> None:
    async def use() -> None:
        setting = await Setting().start()
        places = all_places(await setting.write())
        await setting.vault.put_record(TENANT, PROJECT, "rec_1", b"The lamp is lit")
        for data in setting.store.objects.values():
            assert b"lamp" not in data
        for name, data in list(setting.store.objects.items()):
            setting.store.objects[name.replace("prj_a", "prj_b")] = data
            setting.store.objects[name.replace("/ten_a/projects", "/ten_b/projects")] = data
        with pytest.raises(WrongKey):
            await setting.read(places, OTHER)
        with pytest.raises(SealBroken):
            await setting.vault.read_object(TENANT, NEXT, places[:1])
        with pytest.raises(SealBroken):
            await setting.vault.get_record(TENANT, NEXT, "rec_1")

    asyncio.run(use())


def test_a_place_that_names_another_frame_or_object_gives_no_bytes() -> None:
    async def use() -> None:
        setting = await Setting().start()
        first, second, *_ = all_places(await setting.write())
        for wrong in (
            first._replace(frame=FrameId(second.object)),
            first._replace(object=second.object),
            first._replace(pack_offset=first.pack_offset + 1),
            first._replace(pack_length=first.pack_length - 1),
            first._replace(pack="pak_none"),
            first._replace(part=1, parts=1),
        ):
            with pytest.raises(Damaged):
                await setting.vault.read_object(TENANT, PROJECT, [wrong])
        with pytest.raises(StoreMissing):
            await setting.vault.read_object(TENANT, PROJECT, [])

    asyncio.run(use())


@pytest.mark.promise("P6")
def test_an_aborted_writer_leaves_nothing_behind(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packs, "PACK_TARGET_BYTES", 1)

    async def use() -> None:
        setting = await Setting().start()
        before = set(setting.store.objects)
        writer = setting.vault.writer(TENANT, PROJECT)
        for text in (b"one", b"two", b"three"):
            for frame in make_frames([(object_id(text), text)]):
                await writer.add(frame)
        assert len(setting.store.objects) > len(before)
        await writer.abort()
        assert set(setting.store.objects) == before

    asyncio.run(use())


def test_a_pack_is_put_while_the_next_one_fills_and_its_failure_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packs, "PACK_TARGET_BYTES", 1)
    let, began = asyncio.Event(), asyncio.Event()

    class Slow(MemoryStore):
        async def put(self, name: str, data: bytes, *, create: bool = False) -> None:
            began.set()
            await let.wait()
            raise StoreUnavailable("away")

    async def use() -> None:
        setting = await Setting().start()
        writer = PackWriter(Slow(), setting.keyring, os.urandom, TENANT, PROJECT)
        one, two, three = (next(make_frames([(object_id(text), text)])) for text in (b"one", b"two", b"three"))
        await writer.add(one)
        await writer.add(two)
        await began.wait()  # the first pack is on its way, and the second was taken all the same
        let.set()
        with pytest.raises(StoreUnavailable):
            await writer.add(three)
        await writer.abort()

    asyncio.run(use())


@pytest.mark.promise("P6")
def test_an_abort_waits_for_the_pack_on_its_way_and_deletes_it_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packs, "PACK_TARGET_BYTES", 1)

    class Slow(MemoryStore):
        async def put(self, name: str, data: bytes, *, create: bool = False) -> None:
            for _ in range(20):
                await asyncio.sleep(0)  # the abort comes first
            await super().put(name, data, create=create)

    async def use() -> None:
        setting, store = await Setting().start(), Slow()
        writer = PackWriter(store, setting.keyring, os.urandom, TENANT, PROJECT)
        for text in (b"one", b"two"):
            await writer.add(next(make_frames([(object_id(text), text)])))
        await asyncio.sleep(0)
        await writer.abort()
        for _ in range(50):
            await asyncio.sleep(0)
        assert not store.objects

    asyncio.run(use())


def test_an_abort_while_storage_is_away_does_not_hide_what_went_wrong() -> None:
    class Away(MemoryStore):
        async def delete(self, name: str) -> None:
            raise StoreUnavailable("away")

    async def use() -> None:
        setting = await Setting().start()
        writer = PackWriter(Away(), setting.keyring, os.urandom, TENANT, PROJECT)
        for frame in make_frames([(object_id(b"x"), b"x")]):
            await writer.add(frame)
        await writer.finish()
        await writer.abort()

    asyncio.run(use())


def test_a_commit_record_tells_all_that_is_needed_to_find_the_objects_again() -> None:
    """P9: places are rebuilt from the tables of the records."""

    async def use() -> None:
        setting = await Setting().start()
        stored = await setting.write()
        sizes = {name: len(data) for name, data in CONTENT.items()}
        assert [places_of(pack_table(pack), sizes) for pack in stored] == [pack.places for pack in stored]

    asyncio.run(use())


def test_a_record_is_written_once_and_read_back() -> None:
    async def use() -> None:
        vault = (await Setting().start()).vault
        await vault.put_record(TENANT, PROJECT, "rec_1", b"record")
        assert await vault.get_record(TENANT, PROJECT, "rec_1") == b"record"
        with pytest.raises(StoreExists):
            await vault.put_record(TENANT, PROJECT, "rec_1", b"another")
        with pytest.raises(StoreMissing):
            await vault.get_record(TENANT, PROJECT, "rec_2")

    asyncio.run(use())


@pytest.mark.promise("P4")
def test_a_version_is_confirmed_as_one_record_for_ever() -> None:
    async def use() -> None:
        vault, lineage = (await Setting().start()).vault, Lineage("lin_a")
        assert await vault.confirmed_head(TENANT, PROJECT, lineage, 7) is None
        for _ in range(2):  # P7
            await vault.confirm_head(TENANT, PROJECT, lineage, 7, "rec_1")
        with pytest.raises(HeadClash):
            await vault.confirm_head(TENANT, PROJECT, lineage, 7, "rec_2")
        assert await vault.confirmed_head(TENANT, PROJECT, lineage, 7) == "rec_1"
        await vault.confirm_head(TENANT, PROJECT, Lineage("lin_b"), 7, "rec_2")

    asyncio.run(use())


def test_nothing_of_a_shredded_tenant_can_be_read() -> None:
    async def use() -> None:
        setting = await Setting().start()
        places = all_places(await setting.write())
        await setting.keyring.shred(TENANT)
        with pytest.raises(TenantShredded):
            await setting.read(places)

    asyncio.run(use())


class Slow(MemoryStore):
    """Answers late enough to count the questions that come at once."""

    def __init__(self) -> None:
        super().__init__()
        self.most = self.now = 0

    async def get(self, name: str, *, offset: int = 0, length: int | None = None) -> bytes:
        self.now += 1
        self.most = max(self.most, self.now)
        for _ in range(20):
            await asyncio.sleep(0)
        self.now -= 1
        return await super().get(name, offset=offset, length=length)


@pytest.mark.parametrize(("size", "most"), [(200_000, packs.READS_AHEAD), (900_000, 4), (3 << 20, 1)])
def test_small_reads_are_a_few_at_a_time_and_large_ones_one(size: int, most: int) -> None:
    async def use() -> None:
        setting = Setting()
        setting.store = store = Slow()
        setting.keyring = Keyring(store, RootKey(b"r" * 32), clock=lambda: 0, random=os.urandom)
        setting.vault = Vault(store, setting.keyring, random=os.urandom)
        await setting.start()
        noise = random.Random(4)
        wanted: list[Place] = []
        content: dict[ObjectId, bytes] = {}
        for _ in range(11):
            made = {object_id(data): data for data in [noise.randbytes(size)]}
            wanted += all_places(await setting.write(made))
            content |= made
        await setting.read([place for place in wanted if place.object == wanted[0].object])  # the keyring is known
        store.most = 0
        assert await setting.read(wanted) == content
        assert store.most == most

    asyncio.run(use())


def test_who_leaves_in_the_middle_leaves_no_read_behind() -> None:
    async def use() -> None:
        setting = await Setting().start()
        stored = [await setting.write({object_id(data): data}) for data in TEXTS[1:6]]
        places = [place for packs_of in stored for place in all_places(packs_of)]
        await setting.vault.delete(TENANT, PROJECT, "packs", stored[2][0].name)
        with pytest.raises(StoreMissing):
            await setting.read(places)
        assert asyncio.all_tasks() == {asyncio.current_task()}

    asyncio.run(use())
