"""What goes by age goes by a clock that the store agrees with."""

from __future__ import annotations

import os
import time
from collections.abc import AsyncIterator

import pytest

from satchel.store.objectstore import MemoryStore, StoredObject
from satchel.upkeep.clock import MAX_OFF_MS, ClockOff, check_clock, store_time

pytestmark = pytest.mark.anyio


def clock(off: int = 0) -> int:
    return time.time_ns() // 1_000_000 + off


@pytest.mark.parametrize("off", [0, MAX_OFF_MS - 60_000, 60_000 - MAX_OFF_MS])
async def test_a_clock_that_the_store_agrees_with_is_taken(off: int) -> None:
    store = MemoryStore()
    await check_clock(lambda: clock(off), store, os.urandom)
    assert store.objects == {}


@pytest.mark.parametrize(
    ("off", "said"),
    [(MAX_OFF_MS + 90_000, "61 minutes ahead of"), (-MAX_OFF_MS - 90_000, "61 minutes behind"), (10**14, "ahead of")],
)
async def test_a_clock_over_an_hour_off_is_refused(off: int, said: str) -> None:
    store = MemoryStore()
    with pytest.raises(ClockOff, match=said):
        await check_clock(lambda: clock(off), store, os.urandom)
    assert store.objects == {}


async def test_a_store_whose_listing_lags_tells_no_time() -> None:
    class Lagging(MemoryStore):
        async def list(self, prefix: str) -> AsyncIterator[StoredObject]:
            async for stored in super().list(prefix):
                if stored.name not in self.objects:
                    yield stored

    assert await store_time(Lagging(), os.urandom) is None
    await check_clock(lambda: 0, Lagging(), os.urandom)
