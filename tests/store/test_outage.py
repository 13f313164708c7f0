from __future__ import annotations

import asyncio
import time

import pytest

from satchel.errors import DiskFull, StoreMissing, StoreUnavailable
from satchel.store.objectstore import MemoryStore
from satchel.store.outage import CHECKED_SECONDS, LISTING_WAITS, RETRY_SECONDS, OutageStore
from tests.store.switched import Switched


class Probes:
    """Lets probes through when the test says so."""

    def __init__(self) -> None:
        self.waiting: asyncio.Queue[asyncio.Event] = asyncio.Queue()

    async def pause(self, seconds: float) -> None:
        event = asyncio.Event()
        await self.waiting.put(event)
        await event.wait()

    async def next(self) -> None:
        (await self.waiting.get()).set()


async def _settled() -> None:
    for _ in range(10):
        await asyncio.sleep(0)


def test_after_one_failure_every_call_fails_at_once_and_says_when_to_come_back() -> None:
    async def main() -> None:
        inner, probes = Switched(), Probes()
        store = OutageStore(inner, wait_seconds=5, pause=probes.pause)
        await store.put("a", b"1")
        inner.on = False
        with pytest.raises(StoreUnavailable) as first:
            await store.get("a")
        assert first.value.facts["retry_after"] == RETRY_SECONDS
        asked = len(inner.asked)
        for call in (store.get("a"), store.put("b", b"2"), store.delete("a"), store.check()):
            with pytest.raises(StoreUnavailable) as refused:
                await call
            assert refused.value.facts["retry_after"] == RETRY_SECONDS
        with pytest.raises(StoreUnavailable):
            [item async for item in store.list("")]
        with pytest.raises(StoreUnavailable):
            store.require()
        assert store.down
        assert len(inner.asked) == asked
        await store.close()

    asyncio.run(main())


def test_a_probe_that_is_answered_ends_the_outage_and_one_that_is_not_does_not() -> None:
    async def main() -> None:
        told: list[str | None] = []
        inner, probes = Switched(), Probes()
        store = OutageStore(inner, wait_seconds=5, pause=probes.pause, tell=told.append)
        inner.on = False
        with pytest.raises(StoreUnavailable):
            await store.put("a", b"1")
        await probes.next()
        await _settled()
        assert store.down
        inner.on = True
        await probes.next()
        await _settled()
        store.require()
        await store.put("a", b"1")
        assert await store.get("a") == b"1"
        assert told == ["connection refused", None]

    asyncio.run(main())


def test_a_store_that_says_nothing_is_waited_for_no_longer_than_the_bound() -> None:
    async def main() -> None:
        inner, probes = Switched(), Probes()
        store = OutageStore(inner, wait_seconds=0.05, pause=probes.pause)
        inner.silent = True
        began = time.monotonic()
        with pytest.raises(StoreUnavailable, match=r"within 0.05 s"):
            await store.get("a")
        assert time.monotonic() - began < 2
        await probes.next()  # a probe is not answered either, and is given up
        await probes.next()
        assert store.down
        await store.close()

    asyncio.run(main())


def test_an_answer_that_is_a_refusal_is_no_outage() -> None:
    class Full(MemoryStore):
        async def put(self, name: str, data: bytes, *, create: bool = False) -> None:
            raise DiskFull("the quota of the storage is reached")

    async def main() -> None:
        store = OutageStore(Full(), wait_seconds=5)
        with pytest.raises(StoreMissing):
            await store.get("a")
        with pytest.raises(DiskFull):
            await store.put("a", b"1")
        assert not store.down

    asyncio.run(main())


def test_whoever_asks_for_health_again_and_again_does_not_make_the_store_work() -> None:
    async def main() -> None:
        now = 100.0
        inner = Switched()
        store = OutageStore(inner, wait_seconds=5, clock=lambda: now, pause=Probes().pause)
        for _ in range(50):
            await store.check()
        assert inner.asked == ["check"]
        now += CHECKED_SECONDS + 1
        await store.check()
        assert inner.asked == ["check", "check"]
        inner.on = False
        with pytest.raises(StoreUnavailable):
            await store.get("a")
        with pytest.raises(StoreUnavailable):  # what is known now counts, not what was fine a moment ago
            await store.check()
        await store.close()

    asyncio.run(main())


def test_a_long_list_that_goes_on_is_no_store_that_is_down() -> None:
    class Long(MemoryStore):
        async def list(self, prefix: str):  # type: ignore[no-untyped-def]
            await asyncio.sleep(0.05)  # many pages, each of them in time
            async for item in super().list(prefix):
                yield item

    async def main() -> None:
        store = OutageStore(Long(), wait_seconds=0.02)
        await store.put("a/1", b"x")
        assert [item.name async for item in store.list("a/")] == ["a/1"]
        assert not store.down

    asyncio.run(main())


def test_a_list_is_passed_on_in_order_and_bounded_too() -> None:
    class Stuck(MemoryStore):
        async def list(self, prefix: str):  # type: ignore[no-untyped-def]
            async for item in super().list(prefix):
                yield item
            await asyncio.Event().wait()

    async def main() -> None:
        inner = MemoryStore()
        store = OutageStore(inner, wait_seconds=5)
        for name in ("a/2", "a/1", "b"):
            await store.put(name, b"x")
        assert [item.name async for item in store.list("a/")] == ["a/1", "a/2"]
        stuck = OutageStore(Stuck(), wait_seconds=0.05 / LISTING_WAITS, pause=Probes().pause)
        with pytest.raises(StoreUnavailable):
            [item async for item in stuck.list("")]
        await stuck.close()

    asyncio.run(main())
