"""What every object store promises, asked of each kind: the seam is ``satchel.store.objectstore.ObjectStore``."""

from __future__ import annotations

import asyncio
import hashlib
import os
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from satchel.errors import StoreMissing
from satchel.store.objectstore import ObjectStore, StoreExists
from satchel.store.urls import open_store

Use = Callable[[ObjectStore], Awaitable[None]]
KINDS = ["memory", "local", "seaweedfs", pytest.param("azurite", marks=pytest.mark.timeout(600))]  # its first install

# Several processes create one object at one time; each says whether it won.
CREATE = """
import asyncio, sys, time
from satchel.store.objectstore import StoreExists
from satchel.store.urls import open_store

async def main(url, who, start):
    store = open_store(url)
    won = []
    await store.check()
    await asyncio.sleep(max(0, float(start) - time.time()))
    for n in range(4):
        try:
            await store.put(f"race/{n}", f"{who} {n}".encode() * 1000, create=True)
            won.append(n)
        except StoreExists:
            pass
    print(who, *won)

asyncio.run(main(*sys.argv[1:]))
"""


@pytest.fixture(params=KINDS)
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The URL of a fresh store of each kind."""
    if request.param in {"seaweedfs", "azurite"}:
        return str(request.getfixturevalue(request.param).url)
    return "memory://" if request.param == "memory" else (tmp_path / "objects").as_uri()


@pytest.fixture
def run(url: str) -> Callable[[Use], None]:
    """Run a coroutine function with a fresh store of each kind."""

    def with_store(use: Use) -> None:
        async def main() -> None:
            await use(open_store(url))

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
        assert await store.get("a/b", offset=0, length=10) == b"0123456789"
        assert await store.get("a/b", offset=8) == b"89"
        for offset, length in ((10, None), (10, 0), (0, 0), (4, 0)):
            assert await store.get("a/b", offset=offset, length=length) == b""

    run(use)


@pytest.mark.promise("P3")
@pytest.mark.parametrize("size", [0, 1, (8 << 20) + 1])
def test_objects_of_odd_sizes_come_back_as_they_were(run: Callable[[Use], None], size: int) -> None:
    data = hashlib.shake_128(b"odd").digest(size)

    async def use(store: ObjectStore) -> None:
        await store.put("odd/created", data, create=True)
        await store.put("odd/replaced", b"before")
        await store.put("odd/replaced", data)
        for name in ("odd/created", "odd/replaced"):
            assert await store.get(name) == data
            assert await store.get(name, offset=size) == b""
            assert await store.get(name, offset=size // 2) == data[size // 2 :]
        assert [(stored.name, stored.size) async for stored in store.list("odd/")] == [
            ("odd/created", size),
            ("odd/replaced", size),
        ]

    run(use)


def test_a_missing_object_and_a_range_beyond_the_end_are_told(run: Callable[[Use], None]) -> None:
    async def use(store: ObjectStore) -> None:
        await store.put("a/b", b"0123456789")
        await store.put("a/empty", b"")
        for name in ("a", "a/c", "a/b/c", "x/y/z"):
            for offset, length in ((0, None), (0, 0), (3, 4)):
                with pytest.raises(StoreMissing):
                    await store.get(name, offset=offset, length=length)
        for offset, length in ((5, 6), (11, 0), (11, None), (10, 1), (0, 11), (400, 3), (-1, 2), (2, -1)):
            with pytest.raises(StoreMissing, match="shorter"):
                await store.get("a/b", offset=offset, length=length)
        for offset, length in ((0, 1), (1, None), (1, 0)):
            with pytest.raises(StoreMissing, match="shorter"):
                await store.get("a/empty", offset=offset, length=length)

    run(use)


def test_a_put_replaces_at_once_and_a_create_never_does(run: Callable[[Use], None]) -> None:
    async def use(store: ObjectStore) -> None:
        await store.put("head", b"one", create=True)
        with pytest.raises(StoreExists):
            await store.put("head", b"two", create=True)
        with pytest.raises(StoreExists):
            await store.put("head", b"one", create=True)  # even the same bytes: it was another writer
        assert await store.get("head") == b"one"
        for n in range(20):
            content = b"%d" % n * (n + 1)
            await store.put("head", content)
            assert await store.get("head") == content
            assert [(stored.name, stored.size) async for stored in store.list("head")] == [("head", len(content))]

    run(use)


@pytest.mark.promise("P4")
def test_of_many_creators_exactly_one_wins(run: Callable[[Use], None]) -> None:
    async def use(store: ObjectStore) -> None:
        async def create(name: str, n: int) -> int | None:
            try:
                await store.put(name, f"creator {n}".encode() * 1000, create=True)
            except StoreExists:
                return None
            return n

        for attempt in range(2):  # SeaweedFS takes seconds for each
            name = f"race/{attempt}"
            winners = [n for n in await asyncio.gather(*(create(name, n) for n in range(16))) if n is not None]
            assert len(winners) == 1
            assert await store.get(name) == f"creator {winners[0]}".encode() * 1000
        assert await names(store, "race/") == [f"race/{attempt}" for attempt in range(2)]

    run(use)


@pytest.mark.promise("P4")
def test_of_several_processes_that_create_exactly_one_wins(url: str) -> None:
    if url == "memory://":
        pytest.skip("a store in memory belongs to one process")
    start = str(time.time() + 2)
    command = [sys.executable, "-c", CREATE, url]
    env = os.environ | {"PYTHONPATH": "src"}
    processes = [
        subprocess.Popen([*command, f"process-{n}", start], env=env, stdout=subprocess.PIPE, text=True)
        for n in range(4)
    ]
    said = [process.communicate(timeout=60)[0].split() for process in processes]
    assert [process.returncode for process in processes] == [0] * 4
    won = sorted((n, who) for who, *rounds in said for n in rounds)
    assert [n for n, _ in won] == ["0", "1", "2", "3"], won

    async def main() -> None:
        store = open_store(url)
        for n, who in won:
            assert await store.get(f"race/{n}") == f"{who} {n}".encode() * 1000

    asyncio.run(main())


def test_objects_are_listed_by_name_with_their_sizes(run: Callable[[Use], None]) -> None:
    async def use(store: ObjectStore) -> None:
        for name in ("t/b/2", "t/b/10", "t/a", "t/b-c", "t/b.c", "tx", "u/a"):
            await store.put(name, name.encode())
        assert [stored[:2] async for stored in store.list("t/b/")] == [("t/b/10", 6), ("t/b/2", 5)]
        assert await names(store, "t") == ["t/a", "t/b-c", "t/b.c", "t/b/10", "t/b/2", "tx"]
        assert await names(store, "t/b") == ["t/b-c", "t/b.c", "t/b/10", "t/b/2"]
        assert await names(store, "t/b/1") == ["t/b/10"]
        assert await names(store, "t/a") == ["t/a"]
        assert len(await names(store, "")) == 7
        assert await names(store, "nothing/here") == []
        assert await names(store, "nothing/") == []

    run(use)


def test_more_names_than_a_page_holds_are_listed_once_each(url: str, run: Callable[[Use], None]) -> None:
    wanted = sorted(f"many/{n % 7}/{n}" for n in range(1_030))

    async def use(store: ObjectStore) -> None:
        for at in range(0, len(wanted), 64):
            await asyncio.gather(*(store.put(name, b"x") for name in wanted[at : at + 64]))
        assert await names(store, "many/") == wanted
        assert await names(store, "many/3/") == [name for name in wanted if name.startswith("many/3/")]

    if url.startswith("file:"):
        wanted = wanted[:200]  # a directory has no pages, and each put takes its fsyncs
    run(use)


def test_the_time_of_the_last_write_is_listed(run: Callable[[Use], None]) -> None:
    async def use(store: ObjectStore) -> None:
        before = time.time_ns() // 1_000_000 - 2_000  # some stores count in seconds
        await store.put("a", b"one")
        [first] = [stored async for stored in store.list("a")]
        await store.put("a", b"two")
        [second] = [stored async for stored in store.list("a")]
        assert before <= first.modified <= second.modified <= time.time_ns() // 1_000_000 + 2_000

    run(use)


@pytest.mark.promise("P7")
def test_a_delete_can_be_repeated(run: Callable[[Use], None]) -> None:
    async def use(store: ObjectStore) -> None:
        await store.put("a/b", b"x")
        await store.put("a/c", b"x")
        for name in ("a/b", "a/b", "never/was", "a"):
            await store.delete(name)
        with pytest.raises(StoreMissing):
            await store.get("a/b")
        assert await names(store, "a/") == ["a/c"]
        await store.put("a/b", b"again", create=True)
        assert await store.get("a/b") == b"again"

    run(use)


@pytest.mark.parametrize(
    "name", ["", "/a", "a/", "a//b", "../a", "a/../b", ".tmp/a", "A", "a\nb", "a\n", "é", "a" * 300]
)
@pytest.mark.parametrize(
    "kind", ["memory://", "file://", "s3://satchel-tests", "gs://bucket", "az://account/container"]
)
def test_a_name_that_no_store_has_is_a_defect(
    kind: str, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AZURE_STORAGE_ACCOUNT_KEY", "bm90IGEga2V5")

    async def use() -> None:
        store = open_store(f"file://{tmp_path}" if kind == "file://" else kind)
        with pytest.raises(ValueError, match="not a name"):
            await store.put(name, b"x")
        with pytest.raises(ValueError, match="not a name"):
            await store.get(name)
        with pytest.raises(ValueError, match="not a name"):
            await store.delete(name)
        with pytest.raises(ValueError, match="not a name"):
            await names(store, "../etc/")

    asyncio.run(use())


@pytest.fixture(params=["local", *KINDS[2:]])
def neighbours(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[str, str]:
    """Two stores in one bucket, whose prefixes begin alike."""
    if request.param == "local":
        return (tmp_path / "one").as_uri(), (tmp_path / "one-more").as_uri()
    bucket = request.getfixturevalue(request.param)
    return bucket.at(f"{bucket.place}/one").url, bucket.at(f"{bucket.place}/one-more").url


@pytest.mark.promise("P5")
def test_stores_under_different_prefixes_never_meet(neighbours: tuple[str, str]) -> None:
    async def main() -> None:
        one, more = (open_store(url) for url in neighbours)
        await one.put("a/b", b"one", create=True)
        await more.put("a/b", b"more", create=True)
        await more.put("c", b"more")
        assert await one.get("a/b") == b"one"
        assert await names(one, "") == ["a/b"]
        assert await names(more, "") == ["a/b", "c"]
        await one.delete("a/b")
        assert await more.get("a/b") == b"more"
        assert await names(one, "") == []

    asyncio.run(main())
