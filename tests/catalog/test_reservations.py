"""Room held for content on its way: exact side by side, given back once, and never for ever."""

from __future__ import annotations

import asyncio
import random
import sys
from asyncio.subprocess import PIPE
from typing import NamedTuple

import pytest

from satchel.auth.roles import Role, TenantRole
from satchel.catalog import audit, members, packs, principals, projects, quotas, reservations
from satchel.catalog.quotas import Limits, Use
from satchel.catalog.reservations import DAY_MS, LEASE_MS, MOST_OF_ONE, Asked
from satchel.catalog.scope import Catalog, Scope
from satchel.errors import QuotaReached, TooManyRequests
from satchel.objects.ids import Lineage, PrincipalId, ProjectId, TenantId, new_id
from tests.catalog.make import NOW, PEPPER, PROJECT, Tenants, files, hold, lengthen, named, place

pytestmark = pytest.mark.anyio

ANN, BOB = PrincipalId("key_ann"), PrincipalId("key_bob")


def bytes_(count: int) -> Asked:
    return Asked(count, count)


async def limit(catalog: Catalog, tenant: TenantId, **limits: int) -> None:
    async with catalog.write(tenant) as s:
        await quotas.set_limits(s, (await quotas.limits(s))._replace(**limits))


async def reserve(catalog: Catalog, tenant: TenantId, count: int, now: int = NOW, who: PrincipalId = ANN) -> str:
    async with catalog.write(tenant) as s:
        return await reservations.reserve(s, PROJECT, who, bytes_(count), now)


async def store(s: Scope, own: str | None, size: int, now: int = NOW) -> None:
    """Settle, and count a pack of this size, as a commit does."""
    await reservations.settle(s, own, bytes_(size), now)
    await packs.add_pack(s, PROJECT, new_id("pak", s.random(16)), size, [], now, now=now)


class Held(NamedTuple):
    stored: int
    reserved: int
    synced: int


async def held(catalog: Catalog, tenant: TenantId, now: int = NOW) -> Held:
    async with catalog.read(tenant) as s:
        stored = (await quotas.usage(s)).storage_bytes
        return Held(stored, await reservations.reserved(s, now), await reservations.synced_today(s, now))


@pytest.mark.promise("P8")
async def test_reserved_room_counts_until_it_is_settled(catalog: Catalog, tenants: Tenants) -> None:
    await limit(catalog, tenants.a, storage_bytes=1_000)
    own = await reserve(catalog, tenants.a, 700)
    with pytest.raises(QuotaReached) as caught:
        await reserve(catalog, tenants.a, 301)
    assert caught.value.facts == {"quota": {"name": "storageBytes", "used": 0, "reserved": 700, "limit": 1_000}}
    async with catalog.write(tenants.a) as s:
        await store(s, own, 500)
    assert await held(catalog, tenants.a) == (500, 0, 500)
    await reserve(catalog, tenants.a, 500)
    with pytest.raises(QuotaReached) as caught:
        await reserve(catalog, tenants.a, 501)
    assert caught.value.facts == {"quota": {"name": "storageBytes", "used": 500, "limit": 1_000}}
    await reserve(catalog, tenants.b, 1_000_000)  # of another tenant


async def test_what_failed_gives_its_room_back_and_what_came_counts_for_the_day(
    catalog: Catalog, tenants: Tenants
) -> None:
    own = await reserve(catalog, tenants.a, 700)
    for _ in range(2):  # the second time there is nothing to give back
        async with catalog.write(tenants.a) as s:
            await reservations.release(s, own, 90, NOW)
        assert await held(catalog, tenants.a) == (0, 0, 90)


@pytest.mark.promise("P6")
async def test_what_nobody_gave_back_counts_until_its_lease_is_over(catalog: Catalog, tenants: Tenants) -> None:
    await limit(catalog, tenants.a, storage_bytes=1_000)
    await reserve(catalog, tenants.a, 1_000)
    with pytest.raises(QuotaReached):
        await reserve(catalog, tenants.a, 1, NOW + LEASE_MS - 1)
    assert await held(catalog, tenants.a, NOW + LEASE_MS) == (0, 0, 0)
    await reserve(catalog, tenants.a, 1_000, NOW + LEASE_MS)


async def test_a_renewed_lease_holds_on_and_one_that_had_ended_is_judged_anew(
    catalog: Catalog, tenants: Tenants
) -> None:
    await limit(catalog, tenants.a, storage_bytes=1_000)
    own = await reserve(catalog, tenants.a, 600)
    later = NOW + LEASE_MS - 1
    async with catalog.write(tenants.a) as s:
        await reservations.renew(s, own, PROJECT, ANN, bytes_(600), later)
    with pytest.raises(QuotaReached):
        await reserve(catalog, tenants.a, 600, later + LEASE_MS - 1)
    over = later + LEASE_MS
    async with catalog.write(tenants.a) as s:  # nobody took the room meanwhile
        await reservations.renew(s, own, PROJECT, ANN, bytes_(600), over)
    assert (await held(catalog, tenants.a, over)).reserved == 600
    over += LEASE_MS
    await reserve(catalog, tenants.a, 600, over)
    with pytest.raises(QuotaReached):
        async with catalog.write(tenants.a) as s:
            await reservations.renew(s, own, PROJECT, ANN, bytes_(600), over)
    with pytest.raises(QuotaReached):  # and a server that had been stopped for so long does not commit either
        async with catalog.write(tenants.a) as s:
            await store(s, own, 600, over)


@pytest.mark.promise("P8")
async def test_uploads_side_by_side_never_pass_the_limit(catalog: Catalog, tenants: Tenants) -> None:
    await limit(catalog, tenants.a, storage_bytes=10_000)
    done = await asyncio.gather(*(upload(catalog, tenants.a, seed) for seed in range(40)))
    stored, reserved, _ = await held(catalog, tenants.a)
    assert (stored, reserved) == (sum(done), 0)
    assert 8_500 < stored <= 10_000  # the room is used, and never over-used


async def upload(catalog: Catalog, tenant: TenantId, seed: int) -> int:
    """Try to store up to three packs; bytes that were."""
    chance, stored = random.Random(seed), 0
    for _ in range(3):
        declared = chance.randrange(100, 900)
        try:
            async with catalog.write(tenant) as s:
                own = await reservations.reserve(s, PROJECT, ANN, bytes_(declared), NOW)
                await within(s)
            await asyncio.sleep(0)
            async with catalog.write(tenant) as s:
                if chance.random() < 0.3:
                    await reservations.release(s, own, declared // 2, NOW)
                else:
                    await store(s, own, declared)
                    stored += declared
                await within(s)
        except QuotaReached:
            continue
    return stored


async def within(s: Scope) -> None:
    """What is used and what is held is within the limit, at every moment."""
    used, reserved = (await quotas.usage(s)).storage_bytes, await reservations.reserved(s, NOW)
    assert used + reserved <= (await quotas.limits(s)).storage_bytes


_ANOTHER = """
import asyncio, sys
from satchel.catalog.scope import Catalog
from tests.catalog.test_reservations import upload

async def main(url, tenant, first):
    catalog = await Catalog.open(url)
    print("ready", flush=True)
    await asyncio.to_thread(sys.stdin.readline)
    done = await asyncio.gather(*(upload(catalog, tenant, first + seed) for seed in range(12)))
    await catalog.close()
    print(sum(done))

asyncio.run(main(sys.argv[1], sys.argv[2], int(sys.argv[3])))
"""


@pytest.mark.promise("P8")
async def test_two_processes_side_by_side_never_pass_the_limit(
    catalog: Catalog, tenants: Tenants, catalog_url: str
) -> None:
    if catalog.engine == "SQLite":
        pytest.skip("one process serves a catalog in SQLite")
    await limit(catalog, tenants.a, storage_bytes=9_000)

    both = asyncio.Barrier(2)

    async def another(first: int) -> int:
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-c", _ANOTHER, catalog_url, tenants.a, str(first), stdin=PIPE, stdout=PIPE
        )
        assert process.stdout is not None
        assert await process.stdout.readline() == b"ready\n"
        await both.wait()  # so that neither is done before the other begins
        said, _ = await process.communicate(b"\n")
        assert process.returncode == 0
        return int(said)

    done = await asyncio.gather(another(0), another(100))
    assert await held(catalog, tenants.a) == (sum(done), 0, (await held(catalog, tenants.a)).synced)
    assert min(done) > 0
    assert 7_000 < sum(done) <= 9_000


@pytest.mark.promise("P8")
async def test_projects_keys_and_members_made_side_by_side_never_pass_their_limits(
    catalog: Catalog, tenants: Tenants
) -> None:
    await limit(catalog, tenants.a, projects=4, keys=5, members=2)  # a project and a key are there

    async def project(number: int) -> bool:
        made = ProjectId(new_id("prj", bytes([number + 1]) * 16))
        async with catalog.write(tenants.a) as s:
            await projects.create(s, id=made, slug=f"p{number}", description="", now=NOW, lineage=Lineage("lin_x"))
        return True

    async def key(number: int) -> bool:
        async with catalog.write(tenants.a) as s:
            await principals.issue_key(s, pepper=PEPPER, name=f"k{number}", now=NOW, all_projects=Role.READ)
        return True

    async def member(number: int) -> bool:
        async with catalog.directory(write=True) as d:
            email = f"p{number}@example.org"
            who = await members.create_person(d, id=f"psn_{number}", email=email, name="P", password=None, now=NOW)
            made = PrincipalId(f"mem_{number}")
            await members.add(d.enter(tenants.a), id=made, who=who, role=TenantRole.MEMBER, now=NOW)
        return True

    tried = [project(n) for n in range(12)], [key(n) for n in range(12)], [member(n) for n in range(12)]
    for work, room in zip(tried, (3, 4, 2), strict=True):
        done = await asyncio.gather(*work, return_exceptions=True)
        assert [type(one) for one in done if one is not True] == [QuotaReached] * (12 - room)


async def test_one_principal_cannot_take_all_places(catalog: Catalog, tenants: Tenants) -> None:
    async with catalog.write(tenants.a) as s:
        for _ in range(MOST_OF_ONE):
            await reservations.reserve(s, PROJECT, ANN, bytes_(1), NOW)
        with pytest.raises(TooManyRequests) as caught:
            await reservations.reserve(s, PROJECT, ANN, bytes_(1), NOW)
        assert "retry_after" in caught.value.facts
        await reservations.reserve(s, PROJECT, BOB, bytes_(1), NOW)
        await reservations.reserve(s, PROJECT, ANN, bytes_(1), NOW + LEASE_MS)


async def test_the_bytes_of_a_day_are_limited_and_the_next_day_begins_with_none(
    catalog: Catalog, tenants: Tenants
) -> None:
    await limit(catalog, tenants.a, sync_bytes=1_000)
    midnight = NOW - NOW % DAY_MS + DAY_MS
    evening = midnight - 1
    for _ in range(2):
        async with catalog.write(tenants.a) as s:
            await store(s, None, 400, evening)
    with pytest.raises(QuotaReached) as caught:
        await reserve(catalog, tenants.a, 201, evening)
    assert caught.value.facts["quota"] == {"name": "syncBytesPerDay", "used": 800, "limit": 1_000}
    assert (await held(catalog, tenants.a, evening)).synced == 800
    assert (await held(catalog, tenants.a, midnight)).synced == 0
    await reserve(catalog, tenants.a, 1_000, midnight)


async def test_files_and_the_size_of_one_are_limited(catalog: Catalog, tenants: Tenants) -> None:
    async with catalog.write(tenants.a) as s:
        await hold(s, "one", "two", size=10)
        await lengthen(s, files({"a.md": "one", "b.md": "two"}))
    await limit(catalog, tenants.a, artifacts=3, file_bytes=50)
    async with catalog.read(tenants.a) as s:
        await reservations.judge(s, Asked(files=1, largest=50, path="c.md"), NOW)
        with pytest.raises(QuotaReached) as caught:
            await reservations.judge(s, Asked(files=2), NOW)
        assert caught.value.facts == {"quota": {"name": "artifacts", "used": 2, "limit": 3}}
        with pytest.raises(QuotaReached) as caught:
            await reservations.judge(s, Asked(files=0, largest=51, path="c.md"), NOW)
        assert caught.value.facts["quota"] == {"name": "fileBytes", "used": 51, "limit": 50}
        assert "c.md" in caught.value.message


async def test_over_a_lowered_limit_nothing_more_is_taken_and_deleting_goes_on(
    catalog: Catalog, tenants: Tenants
) -> None:
    async with catalog.write(tenants.a) as s:
        await store(s, None, 900)
    await limit(catalog, tenants.a, storage_bytes=500, artifacts=0)
    with pytest.raises(QuotaReached):
        await reserve(catalog, tenants.a, 1)
    async with catalog.write(tenants.a) as s:
        assert await reservations.settle(s, None, Asked(files=-1), NOW) == []


async def test_a_quota_that_becomes_nearly_full_is_told_each_time_and_audited_once(
    catalog: Catalog, tenants: Tenants
) -> None:
    async with catalog.write(tenants.a) as s:
        assert await quotas.note(s, [Use("storage_bytes", 0, 799, 1_000), Use("artifacts", 0, 9, -1)], NOW) == []
        for before, after in ((799, 800), (800, 900), (900, 1_000)):
            [near] = await quotas.note(s, [Use("storage_bytes", before, after, 1_000)], NOW)
            assert near.after == after
        rows = [row for row in await audit.list_(s) if row.action == "quota.near"]
        assert [row.target for row in rows] == ["storageBytes: 800 of 1,000"]


async def test_what_each_project_stores_adds_up_to_what_the_tenant_stores(catalog: Catalog, tenants: Tenants) -> None:
    other = ProjectId(new_id("prj", b"\x01" * 16))
    async with catalog.write(tenants.a) as s:
        await projects.create(s, id=other, slug="other", description="", now=NOW, lineage=Lineage("lin_2"))
        await hold(s, "one", "two", size=600)
        await lengthen(s, {"a.md": "one"})
        await packs.add_pack(s, other, "pack-2", 70, [place(named("three"), "pack-2")], NOW, now=NOW)
        found = await quotas.by_project(s)
        assert [(row.slug, row.artifacts, row.versions, row.stored_bytes) for row in found] == [
            ("acme", 1, 1, 600),
            ("other", 0, 0, 70),
        ]
        assert (await quotas.usage(s)).storage_bytes == 670
        assert [row.slug for row in await quotas.by_project(s, "acme")] == ["other"]
        assert await quotas.by_project(s, "", 1) == found[:1]
    async with catalog.read(tenants.b) as s:
        assert [row.stored_bytes for row in await quotas.by_project(s)] == [0]
        assert await quotas.limits(s) == Limits()
