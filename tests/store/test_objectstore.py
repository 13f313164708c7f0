"""One suite for every object store."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from satchel.errors import ConfigInvalid, StoreMissing
from satchel.store.durable_local import LocalStore
from satchel.store.objectstore import MemoryStore, ObjectStore, StoreExists
from satchel.store.urls import open_store

Use = Callable[[ObjectStore], Awaitable[None]]


@pytest.fixture(params=["memory", "local"])
def run(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[[Use], None]:
    """Run a coroutine function with a fresh store of each kind."""
    store: ObjectStore = MemoryStore() if request.param == "memory" else LocalStore(tmp_path / "objects")

    def with_store(use: Use) -> None:
        async def main() -> None:
            await use(store)

        asyncio.run(main())

    return with_store


async def names(store: ObjectStore, prefix: str) -> list[str]:
    return [stored.name async for stored in store.list(prefix)]


@pytest.mark.promise("P3")
def test_what_was_put_is_got_whole_or_by_range(run: Callable[[Use], None]) -> None:
    async def use(store: ObjectStore) -> None:
        await store.check()
        await store.put("a/b", b"0123456789")
        assert await store.get("a/b") == b"0123456789"
        assert await store.get("a/b", offset=3, length=4) == b"3456"
        assert await store.get("a/b", offset=8) == b"89"
        assert await store.get("a/b", offset=10) == b""
        await store.put("a/empty", b"")
        assert await store.get("a/empty") == b""

    run(use)


def test_a_missing_object_and_a_range_beyond_the_end_are_told(run: Callable[[Use], None]) -> None:
    async def use(store: ObjectStore) -> None:
        await store.put("a/b", b"0123456789")
        for name in ("a", "a/c", "a/b/c", "x/y/z"):
            with pytest.raises(StoreMissing):
                await store.get(name)
        for offset, length in ((5, 6), (11, 0), (11, None), (10, 1)):
            with pytest.raises(StoreMissing, match="shorter"):
                await store.get("a/b", offset=offset, length=length)

    run(use)


def test_a_put_replaces_and_a_create_never_does(run: Callable[[Use], None]) -> None:
    async def use(store: ObjectStore) -> None:
        await store.put("head", b"one", create=True)
        with pytest.raises(StoreExists):
            await store.put("head", b"two", create=True)
        assert await store.get("head") == b"one"
        await store.put("head", b"three")
        assert await store.get("head") == b"three"

    run(use)


@pytest.mark.promise("P4")
def test_of_many_creators_exactly_one_wins(run: Callable[[Use], None]) -> None:
    async def use(store: ObjectStore) -> None:
        async def create(n: int) -> int | None:
            try:
                await store.put("race/head", str(n).encode(), create=True)
            except StoreExists:
                return None
            return n

        winners = [n for n in await asyncio.gather(*map(create, range(24))) if n is not None]
        assert len(winners) == 1
        assert await store.get("race/head") == str(winners[0]).encode()
        assert await names(store, "race/") == ["race/head"]

    run(use)


def test_objects_are_listed_by_name_with_their_sizes(run: Callable[[Use], None]) -> None:
    async def use(store: ObjectStore) -> None:
        for name in ("t/b/2", "t/b/10", "t/a", "tx", "u/a"):
            await store.put(name, name.encode())
        assert [stored[:2] async for stored in store.list("t/b/")] == [("t/b/10", 6), ("t/b/2", 5)]
        assert await names(store, "t") == ["t/a", "t/b/10", "t/b/2", "tx"]
        assert await names(store, "t/b/1") == ["t/b/10"]
        assert len(await names(store, "")) == 5
        assert await names(store, "nothing/here") == []

    run(use)


@pytest.mark.promise("P7")
def test_a_delete_can_be_repeated(run: Callable[[Use], None]) -> None:
    async def use(store: ObjectStore) -> None:
        await store.put("a/b", b"x")
        for name in ("a/b", "a/b", "never/was"):
            await store.delete(name)
        with pytest.raises(StoreMissing):
            await store.get("a/b")

    run(use)


@pytest.mark.parametrize(
    "name", ["", "/a", "a/", "a//b", "../a", "a/../b", ".tmp/a", "A", "a\nb", "a\n", "é", "a" * 300]
)
def test_a_name_that_no_store_has_is_a_defect(run: Callable[[Use], None], name: str) -> None:
    async def use(store: ObjectStore) -> None:
        with pytest.raises(ValueError, match="not a name"):
            await store.put(name, b"x")
        with pytest.raises(ValueError, match="not a name"):
            await store.get(name)
        with pytest.raises(ValueError, match="not a name"):
            await names(store, "../etc/")

    run(use)


def test_a_store_is_opened_by_its_url(tmp_path: Path) -> None:
    assert isinstance(open_store("memory://"), MemoryStore)
    assert isinstance(open_store(f"file://{tmp_path}/with%20space"), LocalStore)
    assert (tmp_path / "with space").is_dir()


@pytest.mark.parametrize("url", ["s3://bucket", "file://host/path", "file:relative", "/just/a/path", "", "memory://x"])
def test_a_store_that_is_not_supported_is_refused_with_the_cure(url: str) -> None:
    with pytest.raises(ConfigInvalid) as refused:
        open_store(url)
    assert "file:///" in refused.value.hint


def test_the_time_of_the_last_write_is_listed(run: Callable[[Use], None]) -> None:
    async def use(store: ObjectStore) -> None:
        before = time.time_ns() // 1_000_000 - 1_000  # clocks of file systems tick coarsely
        await store.put("a", b"one")
        [first] = [stored async for stored in store.list("")]
        await store.put("a", b"two")
        [second] = [stored async for stored in store.list("")]
        assert before <= first.modified <= second.modified <= time.time_ns() // 1_000_000 + 1_000

    run(use)
