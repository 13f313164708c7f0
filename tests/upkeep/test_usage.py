"""What is counted as used is what rests in the store, whatever was done, broken off, deleted or purged."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from satchel.catalog import packs, quotas, reservations
from satchel.catalog.quotas import Use
from satchel.catalog.reservations import Asked
from satchel.catalog.scope import Scope
from satchel.errors import CredentialInvalid, SatchelError
from satchel.objects.frame import make_frames
from satchel.objects.ids import ProjectId, TenantId, object_id
from satchel.objects.pack import encode_frame, encode_pack_end, encode_pack_start
from satchel.sync.wire import encode_preamble
from satchel.upkeep.repair import repair
from satchel.upkeep.verify import verify
from tests.upkeep.house import House, open_house
from tests.upkeep.test_collect import commit, keep, noise, run, send
from tests.upkeep.test_purge import run as purge

pytestmark = pytest.mark.anyio
STEPS = 24
DAY_MS = 24 * 60 * 60 * 1000


class Life:
    """A tenant to which something happens, chosen by chance."""

    def __init__(self, house: House, tenant: TenantId, project: ProjectId, seed: int) -> None:
        self.house, self.tenant, self.project = house, tenant, project
        self.chance = random.Random(seed)
        self.made = 0

    def content(self) -> bytes:
        self.made += 1
        return noise(self.made, self.chance.choice([64, 4_000, 40_000]))

    def path(self) -> str:
        return f"{self.chance.randrange(6)}.md"

    async def write(self) -> None:
        await self.house.put(self.tenant, self.project, self.path(), self.content())

    async def delete(self) -> None:
        for path in list(await self.house.tree(self.tenant, self.project))[:1]:
            await self.house.put(self.tenant, self.project, path, None)

    async def push(self) -> None:
        files = {f"{n}.bin": self.content() for n in range(self.chance.randrange(1, 4))}
        await send(self.house, self.tenant, self.project, *files.values())
        await commit(self.house, self.tenant, self.project, files)

    async def send_only(self) -> None:
        await send(self.house, self.tenant, self.project, self.content())

    async def hang_up(self) -> None:
        """A client that goes away in the middle of its content."""
        data = self.content()
        frames = [encode_frame(frame) for frame in make_frames([(object_id(data), data)])]
        pieces = [*encode_preamble(None, None, []), encode_pack_start(), *frames, encode_pack_end(len(frames))]

        async def body() -> AsyncIterator[bytes]:
            for piece in pieces[: self.chance.randrange(len(pieces))]:
                yield piece
            raise ConnectionAbortedError

        with pytest.raises((ConnectionAbortedError, SatchelError)):
            await self.house.receiver.packs(self.house.caller(self.tenant), self.project, body(), 1 << 20)

    async def lose_the_right(self) -> None:
        """A writer whose right is gone when the transaction asks."""

        async def gone(_s: Scope) -> None:
            raise CredentialInvalid("revoked")

        caller = self.house.caller(self.tenant)._replace(guard=gone)
        with pytest.raises(CredentialInvalid):
            await self.house.receiver.write(
                caller, self.project, f"new{self.made}.md", self.content(), None, "*absent", None
            )

    async def end_of_a_server(self) -> None:
        """A reservation that nobody gives back."""
        async with self.house.estate.catalog.write(self.tenant) as s:
            who = self.house.caller(self.tenant).principal_id
            await reservations.reserve(s, self.project, who, Asked(100, 100), self.house.clock())

    async def time_passes(self) -> None:
        self.house.clock.now += self.chance.choice([reservations.LEASE_MS, DAY_MS, 3 * DAY_MS])

    async def collect(self) -> None:
        await keep(self.house, self.tenant, versions=self.chance.randrange(1, 5))
        await run(self.house, self.tenant, self.chance.choice([0, 2 * DAY_MS]))

    async def purge(self) -> None:
        for path in list(await self.house.tree(self.tenant, self.project))[:1]:
            await purge(self.house, self.tenant, self.project, path, everywhere=True)

    async def step(self) -> str:
        often = [self.write, self.write, self.push, self.hang_up, self.collect]
        every: list[Callable[[], Awaitable[None]]] = [
            *often, self.delete, self.send_only, self.lose_the_right, self.end_of_a_server, self.time_passes, self.purge
        ]  # fmt: skip
        what = self.chance.choice(every)
        await what()
        return what.__name__


async def resting(house: House, tenant: TenantId) -> int:
    """A recount: sealed bytes of all packs in the store."""
    listed = [stored async for stored in house.estate.store.list(f"tenants/{tenant}/projects/")]
    return sum(stored.size for stored in listed if "/packs/" in stored.name)


async def counted(house: House, tenant: TenantId) -> int:
    async with house.estate.catalog.read(tenant) as s:
        stored = (await quotas.usage(s)).storage_bytes
        assert stored == sum(row.stored_bytes for row in await quotas.by_project(s))
        return stored


@pytest.fixture(params=["SQLite", "PostgreSQL"])
def url(request: pytest.FixtureRequest) -> str | None:
    return request.getfixturevalue("postgres").url if request.param == "PostgreSQL" else None


@pytest.fixture
async def home(url: str | None, tmp_path: Path) -> AsyncIterator[House]:
    """An installation on either engine."""
    async with open_house(tmp_path, catalog=url) as opened:
        yield opened


async def live(home: House, seed: int) -> None:
    """What is counted agrees with the store after every step, and in the end nothing is held for nobody."""
    tenant = await home.tenant()
    project = await home.project(tenant)
    life, done = Life(home, tenant, project, seed), list[str]()
    for _ in range(STEPS):
        done.append(await life.step())
        assert await counted(home, tenant) == await resting(home, tenant), done
    async with home.estate.catalog.read(tenant) as s:
        held = await reservations.reserved(s, home.clock())
        later = await reservations.reserved(s, home.clock() + reservations.LEASE_MS)
    assert held <= 100 * done.count("end_of_a_server"), done
    assert later == 0
    assert (await verify(home.estate)).problems == []


@pytest.mark.promise("P8")
@pytest.mark.parametrize("seed", range(3))
async def test_what_is_counted_agrees_with_the_store_after_everything(home: House, seed: int) -> None:
    await live(home, seed)


_settle = reservations.settle


async def _twice(s: Scope, own: str | None, asked: Asked, now: int) -> list[Use]:
    """Counts what is stored, which is counted where the pack is named."""
    await s.execute(packs._ADD_USE, {"more": asked.stored})
    return await _settle(s, own, asked, now)


async def _never(_s: Scope, _own: str, _came: int, _now: int) -> None:
    """Forgets to give anything back."""


async def _keeps(s: Scope, _own: str | None, asked: Asked, now: int) -> list[Use]:
    """Settles without giving the reservation back."""
    return await _settle(s, None, asked, now)


@pytest.mark.promise("P8")
@pytest.mark.parametrize(("name", "planted"), [("settle", _twice), ("release", _never), ("settle", _keeps)])
async def test_a_defect_of_the_counting_is_caught(
    house: House, monkeypatch: pytest.MonkeyPatch, name: str, planted: Callable[..., Any]
) -> None:
    monkeypatch.setattr(reservations, name, planted)
    with pytest.raises(AssertionError):
        await live(house, 0)


async def test_a_count_that_is_off_is_named_and_counted_anew(house: House) -> None:
    tenant = await house.tenant()
    project = await house.project(tenant)
    await house.put(tenant, project, "a.md", noise(1))
    right = await resting(house, tenant)
    async with house.estate.catalog.write(tenant) as s:
        await s.execute(quotas._RECOUNT.values(stored_bytes=right + 1_000))
    report = await verify(house.estate)
    [problem] = report.problems
    assert (problem.kind, problem.tenant) == ("usage", "acme")
    assert f"{right + 1_000:,} bytes are counted as stored, and its packs take {right:,}" in problem.why
    mended = await repair(house.estate, report)
    assert (mended.rewritten, mended.left) == (1, [])
    assert await counted(house, tenant) == right
    assert (await verify(house.estate)).clean
