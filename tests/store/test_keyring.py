from __future__ import annotations

import asyncio
import itertools
import os
from pathlib import Path

import pytest

from satchel.errors import AlreadyExists, Damaged, StartRefused, StoreMissing, WrongKey
from satchel.objects.ids import TenantId
from satchel.store.keyring import CACHE_MS, MAX_CACHED_TENANTS, Keyring, RootKey, TenantShredded
from satchel.store.objectstore import MemoryStore

A, B = TenantId("ten_a"), TenantId("ten_b")
ROOT = RootKey(b"r" * 32)


class Clock:
    def __init__(self) -> None:
        self.now = 1_767_225_845_678

    def __call__(self) -> int:
        return self.now


def keyring(store: MemoryStore, root: RootKey = ROOT, clock: Clock | None = None) -> Keyring:
    return Keyring(store, root, clock=clock or Clock(), random=os.urandom)


def test_a_root_key_file_is_made_once_for_the_owner_alone(tmp_path: Path) -> None:
    path = tmp_path / "root.key"
    made = RootKey.create(path)
    assert RootKey.load(path) == made
    assert made.warnings == ()
    assert path.stat().st_mode & 0o777 == 0o600
    assert len(path.read_bytes()) == 32
    with pytest.raises(AlreadyExists):
        RootKey.create(path)
    assert RootKey.load(path) == made
    assert [entry.name for entry in tmp_path.iterdir()] == ["root.key"]


def test_a_root_key_open_to_others_is_warned_of_or_refused(tmp_path: Path) -> None:
    path = tmp_path / "root.key"
    RootKey.create(path)
    path.chmod(0o640)
    (warning,) = RootKey.load(path).warnings
    assert f"chmod 600 {path}" in warning
    path.chmod(0o602)
    with pytest.raises(StartRefused, match="everyone may write"):
        RootKey.load(path)


@pytest.mark.parametrize("content", [b"", b"x" * 31, b"x" * 33])
def test_a_file_that_is_no_root_key_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "root.key").write_bytes(content)
    with pytest.raises(WrongKey, match="exactly 32 bytes"):
        RootKey.load(tmp_path / "root.key")


def test_a_root_key_that_is_absent_is_told_with_what_that_means(tmp_path: Path) -> None:
    with pytest.raises(StartRefused) as refused:
        RootKey.load(tmp_path / "root.key")
    assert "nothing can be read" in refused.value.hint


@pytest.mark.promise("P10")
def test_a_root_key_shows_its_id_and_never_itself() -> None:
    assert len(ROOT.id) == 16
    assert ROOT.id != RootKey(b"s" * 32).id
    assert "rrr" not in repr(ROOT)
    assert b"r".hex() * 4 not in repr(ROOT)


def test_keys_for_different_purposes_have_nothing_in_common() -> None:
    assert ROOT.derive("key pepper") == ROOT.derive("key pepper")
    assert len({ROOT.derive("key pepper"), ROOT.derive("token keys"), RootKey(b"s" * 32).derive("key pepper")}) == 3


def test_a_store_belongs_to_the_root_key_it_was_first_used_with() -> None:
    async def use() -> None:
        store = MemoryStore()
        for _ in range(2):
            await keyring(store).check_root()
        with pytest.raises(WrongKey, match="not the one that the data was written with"):
            await keyring(store, RootKey(b"s" * 32)).check_root()

    asyncio.run(use())


@pytest.mark.promise("P5")
def test_each_tenant_has_a_random_key_that_survives_a_restart() -> None:
    async def use() -> None:
        store = MemoryStore()
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
        store = MemoryStore()
        await keyring(store).create(A)
        before = await keyring(store).current(A)
        await keyring(store).create(A)
        assert await keyring(store).current(A) == before

    asyncio.run(use())


@pytest.mark.promise("P5")
def test_a_keyring_opens_for_its_tenant_and_root_key_alone() -> None:
    async def use() -> None:
        store = MemoryStore()
        await keyring(store).create(A)
        store.objects["tenants/ten_b/keyring"] = store.objects["tenants/ten_a/keyring"]
        with pytest.raises(Damaged):
            await keyring(store).current(B)
        with pytest.raises(WrongKey):
            await keyring(store, RootKey(b"s" * 32)).current(A)
        with pytest.raises(StoreMissing):
            await keyring(store).current(TenantId("ten_c"))

    asyncio.run(use())


def test_the_keys_of_a_shredded_tenant_are_gone_even_if_a_copy_returns() -> None:
    async def use() -> None:
        store = MemoryStore()
        ring = keyring(store)
        await ring.create(A)
        await ring.create(B)
        backup = dict(store.objects)
        for _ in range(2):  # P7
            await ring.shred(A)
        assert "tenants/ten_a/keyring" not in store.objects
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
        store = MemoryStore()
        ring = keyring(store)
        await ring.create(A)
        kept = store.objects["tenants/ten_a/keyring"]
        await ring.shred(A)
        store.objects["tenants/ten_a/keyring"] = kept  # as if killed before the delete
        with pytest.raises(TenantShredded):
            await keyring(store).current(A)
        await keyring(store).shred(A)
        assert "tenants/ten_a/keyring" not in store.objects

    asyncio.run(use())


def test_another_node_notices_a_shredding_within_ten_minutes() -> None:
    async def use() -> None:
        store, clock = MemoryStore(), Clock()
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
        ring = keyring(MemoryStore())
        for n in range(MAX_CACHED_TENANTS + 3):
            await ring.create(TenantId(f"ten_{n}"))
            await ring.current(TenantId(f"ten_{n}"))
        assert len(ring._cache) == MAX_CACHED_TENANTS

    asyncio.run(use())


@pytest.mark.promise("P5")
def test_every_index_file_has_a_key_of_its_own() -> None:
    async def use() -> None:
        store = MemoryStore()
        ring = keyring(store)
        await ring.create(A)
        await ring.create(B)
        asked = list(itertools.product((A, B), ("prj_a", "prj_b"), (b"file-1", b"file-2")))
        keys = {await ring.index_key(*each) for each in asked}
        assert len(keys) == len(asked)
        assert {len(key) for key in keys} == {32}
        assert await keyring(store).index_key(A, "prj_a", b"file-1") in keys

    asyncio.run(use())
