"""Names and ranges; what every store promises is asked of each kind in ``tests/conformance/stores``."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from satchel.errors import StoreMissing
from satchel.store.durable_local import LocalStore
from satchel.store.objectstore import MemoryStore, checked_prefix, checked_range, is_name


@pytest.mark.parametrize(
    "name", ["a", "tenants/ten_0/keys/12", "a/b-c.d_e", "_", "0" * 200, "/".join("abcdefghijklmnop")]
)
def test_what_satchel_gives_is_a_name(name: str) -> None:
    assert is_name(name)


@pytest.mark.parametrize(
    "name", ["", "a/", "/a", "a//b", "a/.b", ".b", "-a", "A", "a b", "a\n", "0" * 201, "a/" * 16 + "a"]
)
def test_what_could_be_misread_is_no_name(name: str) -> None:
    assert not is_name(name)


@pytest.mark.parametrize("prefix", ["", "a", "a/", "tenants/ten_0"])
def test_a_prefix_is_the_beginning_of_a_name(prefix: str) -> None:
    assert checked_prefix(prefix) == prefix


def test_a_range_that_an_object_does_not_have_is_missing() -> None:
    assert checked_range("a", 10, 3, None) == 7
    assert checked_range("a", 10, 10, 0) == 0
    for offset, length in ((11, None), (5, 6), (-1, 2), (0, -1)):
        with pytest.raises(StoreMissing, match="shorter"):
            checked_range("a", 10, offset, length)


def test_what_somebody_else_put_there_is_not_listed(tmp_path: Path) -> None:
    async def use() -> None:
        store = LocalStore(tmp_path)
        await store.put("a/b", b"x")
        for foreign in ("lost+found/x", "a/Notes.txt", "a/.hidden"):
            (tmp_path / foreign).parent.mkdir(exist_ok=True)
            (tmp_path / foreign).write_text("not of Satchel")
        assert [stored.name async for stored in store.list("")] == ["a/b"]

    asyncio.run(use())


def test_what_is_deleted_during_a_listing_is_left_out() -> None:
    async def use() -> None:
        store = MemoryStore()
        for name in ("a", "b", "c"):
            await store.put(name, b"x")
        listed = []
        async for stored in store.list(""):
            listed.append(stored.name)
            await store.delete("b")
        assert listed == ["a", "c"]

    asyncio.run(use())
