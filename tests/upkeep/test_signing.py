"""The key that signs access tokens: published before it signs, kept after, changed once by many."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from satchel.catalog import changes, signing
from satchel.catalog.scope import Catalog
from satchel.errors import WrongKey
from satchel.store.keyring import Installation
from satchel.upkeep.signing import KEPT_MS, PUBLISHED_MS, KeyUnpublished, SigningKeys, SigningReport
from tests import engines

pytestmark = pytest.mark.anyio
OWN = Installation("ins_1", b"s" * 32)
DAY = 86_400_000


class House:
    """Signing keys in a catalog, by a clock that the test moves."""

    def __init__(self, catalog: Catalog) -> None:
        self.catalog, self.now = catalog, 1_000
        self.keys = SigningKeys(catalog, OWN, clock=lambda: self.now, random=os.urandom)

    async def names(self) -> tuple[str, str, list[str]]:
        """What signs, what waits, and what was."""
        async with self.catalog.directory() as d:
            rows = await signing.all_(d)
        now, next_ = signing.signing(rows), signing.waiting(rows)
        assert now is not None
        assert next_ is not None
        return now.kid, next_.kid, [row.kid for row in rows if row.retired is not None]

    async def rotate(self, **given: object) -> SigningReport:
        report = await self.keys.rotate(**given)  # type: ignore[arg-type]
        assert report is not None
        return report


@pytest.fixture
async def house(tmp_path: Path) -> AsyncIterator[House]:
    catalog = await Catalog.open(engines.on_disk(tmp_path))
    yield House(catalog)
    await catalog.close()


async def test_there_is_one_key_that_signs_and_one_that_waits_from_the_beginning(house: House) -> None:
    rows = await house.keys.found()
    assert await house.keys.found() == rows
    assert len(rows) == 2
    assert [row.signs_from for row in rows].count(None) == 1
    for row in rows:
        assert house.keys.opened(row).kid == row.kid
        assert house.keys.opened(row).private_bytes() not in row.sealed


async def test_a_key_opens_in_its_own_installation_alone(house: House) -> None:
    row = (await house.keys.found())[0]
    other = SigningKeys(house.catalog, Installation("ins_2", b"t" * 32), clock=lambda: 1, random=os.urandom)
    with pytest.raises(WrongKey):
        other.opened(row)


async def test_the_waiting_key_takes_its_turn_and_another_waits(house: House) -> None:
    await house.keys.found()
    now, next_, _ = await house.names()
    house.now += PUBLISHED_MS
    report = await house.rotate()
    assert (report.old, report.new, report.dropped) == (now, next_, 0)
    assert await house.names() == (next_, report.waiting, [now])


async def test_a_key_signs_only_after_it_was_published_for_long_enough(house: House) -> None:
    await house.keys.found()
    house.now += PUBLISHED_MS - 1
    before = await house.names()
    with pytest.raises(KeyUnpublished) as caught:
        await house.rotate()
    assert caught.value.facts == {"retry_after": 1}
    assert await house.names() == before


async def test_an_old_key_is_kept_as_long_as_a_token_of_it_can_count_and_then_dropped(house: House) -> None:
    await house.keys.found()
    first, _, _ = await house.names()
    house.now += PUBLISHED_MS
    await house.rotate()
    house.now += KEPT_MS - 1
    assert await house.keys.drop() == 0
    assert (await house.names())[2] == [first]
    house.now += 1
    assert await house.keys.drop() == 1
    assert (await house.names())[2] == []


async def test_by_schedule_the_key_changes_when_it_is_old_enough_and_once_however_many_try(house: House) -> None:
    await house.keys.found()
    house.now += DAY - 1
    assert await house.keys.rotate(older_than_ms=DAY) is None
    house.now += 1
    reports = await asyncio.gather(*(house.keys.rotate(older_than_ms=DAY) for _ in range(8)))
    assert len([report for report in reports if report is not None]) == 1
    assert len((await house.names())[2]) == 1


async def test_after_a_leak_no_key_of_before_is_left(house: House) -> None:
    await house.keys.found()
    now, next_, _ = await house.names()
    report = await house.rotate(drop_old=True)  # at once, whether published or not
    assert await house.names() == (report.new, report.waiting, [])
    assert {now, next_}.isdisjoint({report.new, report.waiting})
    assert report.dropped == 2


async def test_every_node_is_told_of_a_change(house: House) -> None:
    await house.keys.found()
    async with house.catalog.directory() as d:
        epoch = (await changes.after(d, -1)).epoch
    house.now += PUBLISHED_MS
    await house.rotate()
    async with house.catalog.directory() as d:
        assert await changes.after(d, epoch) == (epoch + 1, None)


async def test_a_key_that_an_older_node_made_is_taken_over(house: House) -> None:
    """Before there were keys that wait, a node made one, without saying since when it signs."""
    async with house.catalog.directory(write=True) as d:
        kid = await house.keys._make(d)
    await house.keys.found()
    assert (await house.names())[0] == kid
