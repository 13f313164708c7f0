from __future__ import annotations

import asyncio
import os
import pickle
from collections.abc import Coroutine, Sized
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from satchel.errors import SealBroken, StoreMissing, StoreUnavailable
from satchel.objects.frame import make_frames
from satchel.objects.ids import ProjectId, TenantId, object_id
from satchel.store.cache import SMALL_BYTES, CachedStore
from satchel.store.keyring import Keyring
from satchel.store.objectstore import MemoryStore
from satchel.store.packs import Vault
from satchel.store.rootkey import RootKey

PACK = "tenants/ten_a/projects/prj_a/packs/pak_1"
RECORD = "tenants/ten_a/projects/prj_a/records/rec_1"
KEYRING = "tenants/ten_a/keys/1"
DATA = bytes(range(256)) * 64  # 16 KiB


class Counted(MemoryStore):
    """Counts the reads that reach it, and can be switched off."""

    def __init__(self) -> None:
        super().__init__()
        self.reads: list[tuple[str, int, int | None]] = []
        self.on = True

    async def get(self, name: str, *, offset: int = 0, length: int | None = None) -> bytes:
        self.reads.append((name, offset, length))
        if not self.on:
            raise StoreUnavailable("away")
        return await super().get(name, offset=offset, length=length)


def _run(work: Coroutine[Any, Any, None]) -> None:
    asyncio.run(work)


def _files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file())


@pytest.fixture
def inner() -> Counted:
    store = Counted()
    store.objects = {PACK: DATA, RECORD: b"record", KEYRING: b"keys"}
    return store


def test_a_range_inside_one_that_was_read_is_answered_from_disk_also_while_the_store_is_away(
    inner: Counted, tmp_path: Path
) -> None:
    async def main() -> None:
        store = CachedStore(inner, tmp_path, 1 << 20)
        assert await store.get(PACK, offset=100, length=5_000) == DATA[100:5_100]
        inner.on = False
        assert await store.get(PACK, offset=200, length=300) == DATA[200:500]
        assert await store.get(PACK, offset=100, length=5_000) == DATA[100:5_100]
        with pytest.raises(StoreUnavailable):
            await store.get(PACK, offset=5_000, length=200)

    _run(main())


def test_ranges_that_cover_the_wanted_one_together_are_a_hit_and_a_larger_one_replaces_them(
    inner: Counted, tmp_path: Path
) -> None:
    async def main() -> None:
        store = CachedStore(inner, tmp_path, 1 << 20)
        for offset in (0, 4_000, 8_000):
            await store.get(PACK, offset=offset, length=4_000)
        asked = len(inner.reads)
        assert await store.get(PACK, offset=3_000, length=8_000) == DATA[3_000:11_000]
        assert len(inner.reads) == asked
        await store.get(PACK, offset=12_001, length=999)
        assert await store.get(PACK, offset=11_000, length=2_000) == DATA[11_000:13_000]  # a byte in between is missing
        assert len(inner.reads) == asked + 2
        assert await store.get(PACK, offset=0, length=16_000) == DATA[:16_000]
        assert [path.name for path in _files(tmp_path)] == ["0-16000"]

    _run(main())


@given(reads=st.lists(st.tuples(st.integers(0, 255), st.integers(1, 256)), min_size=1, max_size=30))
def test_whatever_was_read_before_the_bytes_are_those_of_the_store(
    reads: list[tuple[int, int]], tmp_path_factory: pytest.TempPathFactory
) -> None:
    async def main() -> None:
        store = CachedStore(short, tmp_path_factory.mktemp("cache"), 2 * SMALL_BYTES)
        for offset, length in reads:
            if offset + length > 256:
                with pytest.raises(StoreMissing):
                    await store.get(PACK, offset=offset, length=length)
            else:
                assert await store.get(PACK, offset=offset, length=length) == DATA[offset : offset + length]
            assert store.bytes_used <= 2 * SMALL_BYTES

    short = MemoryStore()
    short.objects = {PACK: DATA[:256]}
    _run(main())


def test_nothing_but_packs_is_ever_kept(inner: Counted, tmp_path: Path) -> None:
    names = [KEYRING, RECORD, "tenants/ten_a/shredded", "tenants/ten_a/about", "tenants/ten_a/projects/prj_a/about"]

    async def main() -> None:
        store = CachedStore(inner, tmp_path, 1 << 20)
        for name in names:
            await store.put(name, b"secret enough")
            await store.get(name)
        assert _files(tmp_path) == []

    _run(main())


def test_what_is_put_is_kept_whole_and_what_is_deleted_is_not(inner: Counted, tmp_path: Path) -> None:
    async def main() -> None:
        store = CachedStore(inner, tmp_path, 1 << 20)
        await store.put(PACK, DATA)
        inner.on = False
        assert await store.get(PACK) == DATA
        assert await store.get(PACK, offset=9, length=9) == DATA[9:18]
        await store.put(PACK, DATA[::-1])  # the same name sealed anew
        assert await store.get(PACK) == DATA[::-1]
        await store.delete(PACK)
        assert _files(tmp_path) == []
        inner.on = True
        with pytest.raises(StoreMissing):
            await store.get(PACK)

    _run(main())


def test_a_read_that_failed_is_not_remembered(inner: Counted, tmp_path: Path) -> None:
    async def main() -> None:
        store = CachedStore(inner, tmp_path, 1 << 20)
        inner.on = False
        with pytest.raises(StoreUnavailable):
            await store.get(PACK, offset=0, length=10)
        inner.on = True
        assert await store.get(PACK, offset=0, length=10) == DATA[:10]

    _run(main())


def test_a_read_that_was_under_way_when_its_object_was_deleted_is_not_kept(inner: Counted, tmp_path: Path) -> None:
    class Slow(MemoryStore):
        async def get(self, name: str, *, offset: int = 0, length: int | None = None) -> bytes:
            data = await super().get(name, offset=offset, length=length)
            reading.set()
            await going.wait()
            return data

    reading, going = asyncio.Event(), asyncio.Event()

    async def main() -> None:
        slow = Slow()
        slow.objects = {PACK: DATA}
        store = CachedStore(slow, tmp_path, 1 << 20)
        task = asyncio.create_task(store.get(PACK, offset=0, length=100))
        await reading.wait()
        await store.delete(PACK)
        going.set()
        await task
        assert _files(tmp_path) == []

    _run(main())


def test_the_least_recently_used_goes_first_also_after_a_restart(inner: Counted, tmp_path: Path) -> None:
    names, room = [f"{PACK}{number}" for number in range(4)], 3 * SMALL_BYTES + SMALL_BYTES // 2
    inner.objects |= dict.fromkeys(names, DATA[:SMALL_BYTES])

    async def main() -> None:
        store = CachedStore(inner, tmp_path, room)
        for age, name in enumerate(names[:3]):
            await store.get(name)
            [path] = (tmp_path / name).iterdir()
            os.utime(path, (age + 1, age + 1))
        await store.get(names[0])  # used again: now the youngest, on disk too
        again = CachedStore(inner, tmp_path, room)
        assert again.bytes_used == 3 * SMALL_BYTES
        await again.get(names[3])
        assert not (tmp_path / names[1]).exists()
        assert {path.parent.name for path in _files(tmp_path)} == {"pak_10", "pak_12", "pak_13"}
        await again.get(names[2])  # used again in the same run
        await again.get(names[1])
        assert {path.parent.name for path in _files(tmp_path)} == {"pak_11", "pak_12", "pak_13"}
        small = CachedStore(inner, tmp_path, SMALL_BYTES)
        assert small.bytes_used == SMALL_BYTES
        assert len(_files(tmp_path)) == 1

    _run(main())


def test_it_can_be_deleted_cut_or_littered_at_any_time(inner: Counted, tmp_path: Path) -> None:
    async def main() -> None:
        store = CachedStore(inner, tmp_path, 1 << 20)
        await store.get(PACK, offset=0, length=8_000)
        [path] = _files(tmp_path)
        path.write_bytes(path.read_bytes()[:99])
        assert await store.get(PACK, offset=0, length=100) == DATA[:100]
        for each in _files(tmp_path):
            each.unlink()
        assert await store.get(PACK, offset=0, length=100) == DATA[:100]
        (tmp_path / "stray").write_bytes(b"?")
        (tmp_path / PACK / "0-5").write_bytes(b"too long")
        CachedStore(inner, tmp_path, 1 << 20)
        assert [each.name for each in _files(tmp_path)] == ["0-100"]

    _run(main())


def test_a_tenant_is_forgotten_whole(inner: Counted, tmp_path: Path) -> None:
    other = PACK.replace("ten_a", "ten_b")
    inner.objects[other] = DATA

    async def main() -> None:
        store = CachedStore(inner, tmp_path, 1 << 20)
        for name in (PACK, other):
            await store.get(name)
        await store.forget("tenants/ten_a/")
        assert not (tmp_path / "tenants/ten_a").exists()
        assert store.bytes_used == SMALL_BYTES
        asked = len(inner.reads)
        await store.get(other)
        assert len(inner.reads) == asked

    _run(main())


def test_a_disk_that_takes_nothing_only_means_that_nothing_is_kept(
    inner: Counted, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(self: Path, target: Path) -> Path:
        raise OSError(28, "No space left on device")

    async def main() -> None:
        store = CachedStore(inner, tmp_path, 1 << 20)
        monkeypatch.setattr(Path, "rename", full)
        assert await store.get(PACK, offset=0, length=100) == DATA[:100]
        assert store.bytes_used == 0
        assert _files(tmp_path) == []

    _run(main())


@pytest.mark.promise("P9")
def test_damage_in_the_cache_is_noticed_by_the_seal_and_read_again_from_the_store_once(tmp_path: Path) -> None:
    tenant, project = TenantId("ten_a"), ProjectId("prj_a")
    text = os.urandom(5_000)

    async def main() -> None:
        inner = Counted()
        store = CachedStore(inner, tmp_path / "cache", 1 << 20)
        root = RootKey.create(tmp_path / "root.key")
        keyring = Keyring(store, root, clock=lambda: 0, random=os.urandom)
        await keyring.found()
        await keyring.create(tenant)
        vault = Vault(store, keyring, random=os.urandom, doubt=store.doubt)
        writer = vault.writer(tenant, project)
        for frame in make_frames([(object_id(text), text)]):
            await writer.add(frame)
        [pack] = await writer.finish()
        inner.reads.clear()
        assert await vault.read_object(tenant, project, pack.places) == text
        assert inner.reads == []
        for path in _files(tmp_path / "cache"):
            data = bytearray(path.read_bytes())
            data[len(data) // 2] ^= 1
            path.write_bytes(data)
        assert await vault.read_object(tenant, project, pack.places) == text
        assert len(inner.reads) == 1
        # What is damaged in the store itself is read twice, and no more.
        [name] = [name for name in inner.objects if "/packs/" in name]
        inner.objects[name] = inner.objects[name][:-1] + bytes([inner.objects[name][-1] ^ 1])
        await store.doubt(name)
        for _ in range(2):
            inner.reads.clear()
            with pytest.raises(SealBroken):
                await vault.read_object(tenant, project, pack.places)
            assert len([read for read in inner.reads if read[0] == name]) <= 2

    _run(main())


def test_what_is_deleted_while_it_is_being_kept_stays_on_no_disk(inner: Counted, tmp_path: Path) -> None:
    async def work() -> None:
        store = CachedStore(inner, tmp_path / "cache", 1 << 20)
        write, loop = store._write, asyncio.get_running_loop()

        def slow(*given: Any) -> None:  # in a thread, and the whole deletion happens before it writes
            asyncio.run_coroutine_threadsafe(store.delete(PACK), loop).result()
            write(*given)

        store._write = slow  # type: ignore[method-assign, assignment]
        await store.get(PACK)
        assert (_files(tmp_path / "cache"), store.bytes_used) == ([], 0)

    _run(work())


def test_room_is_made_for_more_than_one_at_a_time_and_what_vanished_does_not_count(
    inner: Counted, tmp_path: Path
) -> None:
    names = [f"{PACK}{number}" for number in range(22)]
    inner.objects |= dict.fromkeys(names, DATA[:SMALL_BYTES])

    async def work() -> None:
        store = CachedStore(inner, tmp_path, 20 * SMALL_BYTES)
        for name in names[:20]:
            await store.get(name)
        assert store.bytes_used == 20 * SMALL_BYTES
        await store.get(names[20])
        assert [path.parent.name for path in _files(tmp_path)] == sorted(Path(name).name for name in names[3:21])
        for path in _files(tmp_path)[:10]:
            path.unlink()
        await store.get(names[0])
        await store.get(names[1])
        assert store.bytes_used == 20 * SMALL_BYTES  # which it is believed to be until room is to be made
        await store.get(names[2])
        assert store.bytes_used == len(_files(tmp_path)) * SMALL_BYTES == 11 * SMALL_BYTES

    _run(work())


def test_what_is_put_at_once_is_all_kept(inner: Counted, tmp_path: Path) -> None:
    async def work() -> None:
        store = CachedStore(inner, tmp_path, 1 << 30)
        await asyncio.gather(*(store.put(f"{PACK}{number}", DATA, create=True) for number in range(40)))
        assert len(_files(tmp_path)) == 40

    _run(work())


def test_nothing_is_kept_in_memory_for_what_lies_on_disk(inner: Counted, tmp_path: Path) -> None:
    async def work() -> None:
        store = CachedStore(inner, tmp_path, 1 << 30)
        held = len(pickle.dumps({name: value for name, value in vars(store).items() if isinstance(value, Sized)}))
        for number in range(50):
            await store.put(f"{PACK}{number}", DATA[:1])
        now = len(pickle.dumps({name: value for name, value in vars(store).items() if isinstance(value, Sized)}))
        assert (len(_files(tmp_path)), now) == (50, held)

    _run(work())


def test_where_somebody_else_needs_the_disk_the_less_recently_used_half_goes(tmp_path: Path) -> None:
    async def go() -> None:
        store = CachedStore(MemoryStore(), tmp_path / "c", 1 << 20)
        for number in range(4):
            await store.put(f"{PACK}{number}", DATA)
        store.halve()
        assert store.bytes_used == 2 * len(DATA)
        assert [path.parent.name for path in _files(tmp_path)] == ["pak_12", "pak_13"]

    _run(go())


def test_a_start_gets_over_files_that_are_deleted_meanwhile(
    inner: Counted, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def go() -> None:
        await CachedStore(inner, tmp_path / "c", 1 << 20).get(PACK)
        [held] = _files(tmp_path)
        walk = os.walk

        def seen(folder: Path) -> list[tuple[str, list[str], list[str]]]:
            found = list(walk(folder))
            held.unlink(missing_ok=True)
            return found

        monkeypatch.setattr(os, "walk", seen)
        assert CachedStore(inner, tmp_path / "c", 1 << 20).bytes_used == 0

    _run(go())
