from __future__ import annotations

import asyncio
import itertools
import os

import pytest

from satchel.errors import Damaged, StoreUnavailable, WrongKey
from satchel.objects.ids import TenantId
from satchel.store.keyring import (
    CACHE_MS,
    MAX_CACHED_TENANTS,
    STALE_MS,
    EpochUnknown,
    Keyring,
    TenantShredded,
    open_tombstone,
)
from satchel.store.objectstore import MemoryStore
from satchel.store.rootkey import RootKey

A, B = TenantId("ten_a"), TenantId("ten_b")
ROOT = RootKey(b"r" * 32)


class Clock:
    def __init__(self) -> None:
        self.now = 1_767_225_845_678

    def __call__(self) -> int:
        return self.now


def keyring(store: MemoryStore, root: RootKey = ROOT, clock: Clock | None = None) -> Keyring:
    return Keyring(store, root, clock=clock or Clock(), random=os.urandom)


async def founded() -> MemoryStore:
    """A store with an installation in it."""
    store = MemoryStore()
    await keyring(store).found()
    return store


def test_a_store_belongs_to_the_root_key_it_was_first_used_with() -> None:
    async def use() -> None:
        store = MemoryStore()
        for _ in range(2):
            await keyring(store).found()
        own = await keyring(store).installation()
        assert own.pepper != own.derive("signing keys")
        assert own == await keyring(store).found()
        with pytest.raises(
            WrongKey, match=f"id {RootKey(b's' * 32).id}\\) is not the one that the data was written with"
        ):
            await keyring(store, RootKey(b"s" * 32)).found()

    asyncio.run(use())


@pytest.mark.promise("P5")
def test_each_tenant_has_a_random_key_that_survives_a_restart() -> None:
    async def use() -> None:
        store = await founded()
        first = keyring(store)
        await first.create(A)
        await first.create(B)
        epoch, key = await first.current(A)
        assert (epoch, len(key)) == (1, 32)
        assert key != (await first.current(B))[1]
        assert await keyring(store).current(A) == (epoch, key)
        assert (await first.key_of(A))(1) == key
        with pytest.raises(WrongKey, match="no key of epoch 2"):
            (await first.key_of(A))(2)

    asyncio.run(use())


@pytest.mark.promise("P7")
def test_a_tenant_made_twice_keeps_its_key() -> None:
    async def use() -> None:
        store = await founded()
        await keyring(store).create(A)
        before = await keyring(store).current(A)
        await keyring(store).create(A)
        assert await keyring(store).current(A) == before

    asyncio.run(use())


@pytest.mark.promise("P5")
def test_a_keyring_opens_for_its_tenant_and_root_key_alone() -> None:
    async def use() -> None:
        store = await founded()
        await keyring(store).create(A)
        store.objects["tenants/ten_b/keys/1"] = store.objects["tenants/ten_a/keys/1"]
        with pytest.raises(Damaged):
            await keyring(store).current(B)
        with pytest.raises(WrongKey):
            await keyring(store, RootKey(b"s" * 32)).current(A)
        with pytest.raises(EpochUnknown):  # and not an object that is missing
            await keyring(store).current(TenantId("ten_c"))

    asyncio.run(use())


def test_the_keys_of_a_shredded_tenant_are_gone_even_if_a_copy_returns() -> None:
    async def use() -> None:
        store = await founded()
        ring = keyring(store)
        await ring.create(A)
        await ring.create(B)
        backup = dict(store.objects)
        for _ in range(2):  # P7
            await ring.shred(A)
        assert "tenants/ten_a/keys/1" not in store.objects
        store.objects |= backup
        for again in (ring, keyring(store)):
            with pytest.raises(TenantShredded):
                await again.current(A)
            with pytest.raises(TenantShredded):
                await again.create(A)
            assert await again.current(B)

    asyncio.run(use())


@pytest.mark.promise("P6")
def test_a_shredding_cut_short_is_in_force_and_can_be_finished() -> None:
    async def use() -> None:
        store = await founded()
        ring = keyring(store)
        await ring.create(A)
        kept = store.objects["tenants/ten_a/keys/1"]
        await ring.shred(A)
        store.objects["tenants/ten_a/keys/1"] = kept  # as if killed before the delete
        with pytest.raises(TenantShredded):
            await keyring(store).current(A)
        await keyring(store).shred(A)
        assert "tenants/ten_a/keys/1" not in store.objects

    asyncio.run(use())


def test_another_node_notices_a_shredding_within_ten_minutes() -> None:
    async def use() -> None:
        store, clock = await founded(), Clock()
        node = keyring(store, clock=clock)
        await node.create(A)
        await node.current(A)
        await keyring(store).shred(A)
        clock.now += CACHE_MS - 1
        await node.current(A)
        clock.now += 1
        with pytest.raises(TenantShredded):
            await node.current(A)

    asyncio.run(use())


@pytest.mark.promise("P8")
def test_only_so_many_opened_keyrings_are_held() -> None:
    async def use() -> None:
        ring = keyring(await founded())
        for n in range(MAX_CACHED_TENANTS + 3):
            await ring.create(TenantId(f"ten_{n}"))
            await ring.current(TenantId(f"ten_{n}"))
        assert len(ring._cache) == MAX_CACHED_TENANTS

    asyncio.run(use())


@pytest.mark.promise("P5")
def test_every_index_file_has_a_key_of_its_own() -> None:
    async def use() -> None:
        store = await founded()
        ring = keyring(store)
        await ring.create(A)
        await ring.create(B)
        asked = list(itertools.product((A, B), ("prj_a", "prj_b"), (b"file-1", b"file-2")))
        keys = {await ring.index_key(*each) for each in asked}
        assert len(keys) == len(asked)
        assert {len(key) for key in keys} == {32}
        assert await keyring(store).index_key(A, "prj_a", b"file-1") in keys

    asyncio.run(use())


@pytest.mark.promise("P9")
def test_an_opened_keyring_serves_an_hour_longer_while_the_store_is_away_but_not_to_seal_with() -> None:
    class Away(MemoryStore):
        away = False

        async def get(self, name: str, *, offset: int = 0, length: int | None = None) -> bytes:
            if self.away:
                raise StoreUnavailable("the store does not answer")
            return await super().get(name, offset=offset, length=length)

    async def use() -> None:
        store, clock = Away(), Clock()
        ring = keyring(store, clock=clock)
        await ring.found()
        await ring.create(A)
        epoch, key = await ring.current(A)
        store.away = True
        clock.now += CACHE_MS
        assert (await ring.key_of(A))(epoch) == key
        assert await ring.index_key(A, "prj_a", b"file")
        with pytest.raises(StoreUnavailable):
            await ring.current(A)
        clock.now += STALE_MS
        with pytest.raises(StoreUnavailable):
            await ring.key_of(A)
        clock.now -= STALE_MS
        store.away = False
        await keyring(store).shred(A)
        with pytest.raises(TenantShredded):
            await ring.key_of(A)
        store.away = True
        with pytest.raises(StoreUnavailable):  # a tombstone was seen: nothing of it serves any more
            await ring.key_of(A)

    asyncio.run(use())


def test_a_new_epoch_is_sealed_with_at_once_here_and_within_ten_minutes_elsewhere() -> None:
    async def use() -> None:
        store, clock = await founded(), Clock()
        here, elsewhere = keyring(store, clock=clock), keyring(store, clock=clock)
        await here.create(A)
        first = await elsewhere.current(A)
        assert await here.begin_epoch(A) == 2
        epoch, key = await here.current(A)
        assert (epoch, key != first[1]) == (2, True)
        assert await elsewhere.current(A) == first
        with pytest.raises(EpochUnknown, match=r"no key of epoch 2 in the keyring, which has 1$"):
            (await elsewhere.key_of(A))(2)
        assert (await elsewhere.key_of(A, anew=True))(2) == key
        assert await elsewhere.current(A) == (2, key)
        assert (await here.epochs(A)).keys() == {1, 2}
        assert [name for name in store.objects if "/keys/" in name] == ["tenants/ten_a/keys/2"]

    asyncio.run(use())


def test_a_retired_epoch_is_in_no_keyring_any_more() -> None:
    async def use() -> None:
        store = await founded()
        ring = keyring(store)
        await ring.create(A)
        await ring.begin_epoch(A)
        newest = await ring.current(A)
        with pytest.raises(ValueError, match="newest"):
            await ring.retire(A, 3)
        await ring.retire(A, 2)
        assert await keyring(store).current(A) == newest
        with pytest.raises(EpochUnknown):
            (await keyring(store).key_of(A))(1)

    asyncio.run(use())


@pytest.mark.promise("P3")
def test_of_many_who_begin_an_epoch_at_once_nobody_loses_a_key_that_was_handed_out() -> None:
    async def use() -> None:
        store = await founded()
        await keyring(store).create(A)
        rings = [keyring(store) for _ in range(8)]
        begun = await asyncio.gather(*(ring.begin_epoch(A) for ring in rings))
        final = await keyring(store).key_of(A)
        for ring, epoch in zip(rings, begun, strict=True):
            assert (await ring.key_of(A))(epoch) == final(epoch)
        assert len(set(begun)) == 8

    asyncio.run(use())


@pytest.mark.promise("P3")
def test_a_writer_that_stalled_while_others_went_past_is_told_that_its_keyring_does_not_count() -> None:
    class Stalling(MemoryStore):
        meanwhile = False

        async def put(self, name: str, data: bytes, *, create: bool = False) -> None:
            if self.meanwhile and "/keys/" in name:
                self.meanwhile = False
                for _ in range(2):  # generations 2 and 3 come, and 1 and 2 go
                    await keyring(self).begin_epoch(A)
            await super().put(name, data, create=create)

    async def use() -> None:
        store = Stalling()
        ring = keyring(store)
        await ring.found()
        await ring.create(A)
        store.meanwhile = True
        epoch = await ring.begin_epoch(A)  # its generation 2 finds its name free
        assert epoch == 4
        assert (await keyring(store).key_of(A))(epoch) == (await ring.current(A))[1]
        assert [name for name in store.objects if "/keys/" in name] == ["tenants/ten_a/keys/4"]

    asyncio.run(use())


def test_a_tombstone_says_when() -> None:
    async def use() -> None:
        store, clock = await founded(), Clock()
        ring = keyring(store, clock=clock)
        await ring.create(A)
        await ring.shred(A)
        own = await ring.installation()
        assert open_tombstone(own, A, store.objects["tenants/ten_a/shredded"]) == clock.now
        with pytest.raises(Damaged):
            open_tombstone(own, B, store.objects["tenants/ten_a/shredded"])

    asyncio.run(use())
