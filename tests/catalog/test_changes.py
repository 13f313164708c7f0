"""What nodes hear of changes: every one, in order, after its commit, and that something was missed."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import anyio
import pytest

from satchel.auth.roles import Role, TenantRole
from satchel.catalog import changes, grants, members, principals, purges, quotas, retention, sessions
from satchel.catalog import tenants as tenants_table
from satchel.catalog.changes import KEPT_MS, MAX_TOLD, Heard
from satchel.catalog.quotas import Limits
from satchel.catalog.retention import Retention
from satchel.catalog.scope import Catalog, Scope
from satchel.objects.ids import PrincipalId, new_id
from tests.catalog.make import NOW, PEPPER, PROJECT, Beneath, Tenants, named

pytestmark = pytest.mark.anyio


async def heard(catalog: Catalog, after: int) -> Heard:
    async with catalog.directory() as d:
        return await changes.after(d, after)


async def now(catalog: Catalog) -> int:
    return (await heard(catalog, -1)).epoch


async def announce(catalog: Catalog, tenants: Tenants, times: int) -> None:
    for _ in range(times):
        async with catalog.write(tenants.a) as s:
            s.announce()


async def test_who_changed_is_told_once(catalog: Catalog, tenants: Tenants) -> None:
    start = await now(catalog)
    await announce(catalog, tenants, 2)
    assert await heard(catalog, start) == Heard(start + 2, frozenset({tenants.a}))
    assert await heard(catalog, start + 2) == Heard(start + 2, frozenset())


async def test_a_change_that_was_rolled_back_is_not_told(catalog: Catalog, tenants: Tenants) -> None:
    start = await now(catalog)

    async def fail() -> None:
        async with catalog.write(tenants.a) as s:
            s.announce()
            raise RuntimeError

    with pytest.raises(RuntimeError):
        await fail()
    assert await heard(catalog, start) == Heard(start, frozenset())


async def test_whoever_knows_no_number_yet_forgets_everything(catalog: Catalog, tenants: Tenants) -> None:
    assert (await heard(catalog, -1)).tenants is None


async def test_whoever_missed_changes_that_were_pruned_forgets_everything(
    catalog: Catalog, tenants: Tenants, beneath: Beneath
) -> None:
    start = await now(catalog)
    await announce(catalog, tenants, 3)
    await beneath(f"UPDATE change SET time = {NOW} + (epoch - {start + 2})")
    async with catalog.directory(write=True) as d:
        assert await changes.prune(d, NOW + KEPT_MS) == start + 2
    assert await heard(catalog, start) == Heard(start + 3, None)
    assert await heard(catalog, start + 2) == Heard(start + 3, frozenset({tenants.a}))
    assert await heard(catalog, start + 3) == Heard(start + 3, frozenset())


async def test_after_everything_was_pruned_the_number_stays(catalog: Catalog, tenants: Tenants) -> None:
    start = await now(catalog)
    await announce(catalog, tenants, 1)
    async with catalog.directory(write=True) as d:
        await changes.prune(d, 2**53)
    assert await heard(catalog, start) == Heard(start + 1, None)
    assert await heard(catalog, start + 1) == Heard(start + 1, frozenset())


async def test_a_catalog_put_back_to_an_older_one_makes_everybody_forget(catalog: Catalog, tenants: Tenants) -> None:
    start = await now(catalog)
    assert await heard(catalog, start + 7) == Heard(start, None)


async def test_more_changes_than_are_told_at_once_make_everybody_forget(
    catalog: Catalog, tenants: Tenants, beneath: Beneath
) -> None:
    start = await now(catalog)
    rows = ", ".join(f"({start + number}, '{tenants.a}', 0)" for number in range(1, MAX_TOLD + 2))
    await beneath(f"INSERT INTO change (epoch, tenant_id, time) VALUES {rows}")
    await beneath(f"UPDATE channel SET epoch = {start + MAX_TOLD + 1}")
    assert (await heard(catalog, start)).tenants is None
    assert await heard(catalog, start + 1) == Heard(start + MAX_TOLD + 1, frozenset({tenants.a}))


async def test_changes_of_many_writers_at_once_are_told_without_a_gap(catalog: Catalog, tenants: Tenants) -> None:
    start = await now(catalog)
    known, told = start, []
    done = anyio.Event()

    async def write(tenant: str) -> None:
        for _ in range(20):
            async with catalog.write(tenant) as s:
                s.announce()

    async def listen() -> None:
        nonlocal known
        while not done.is_set() or known < start + 80:
            found = await heard(catalog, known)
            told.append(found.tenants)
            known = found.epoch

    async with anyio.create_task_group() as outer:
        outer.start_soon(listen)
        async with anyio.create_task_group() as writers:
            for tenant in (tenants.a, tenants.b, tenants.a, tenants.b):
                writers.start_soon(write, tenant)
        done.set()
    assert known == start + 80
    assert None not in told


FAMILY = new_id("fam", bytes(16))
CHANGES: dict[str, Callable[[Scope, PrincipalId], Awaitable[object]]] = {
    "a principal is revoked": lambda s, who: principals.revoke(s, who, NOW),
    "a member is removed": lambda s, who: members.remove(s, who, NOW),
    "a role changes": lambda s, who: principals.set_tenant_role(s, who, TenantRole.ADMIN, NOW),
    "a grant is given": lambda s, who: grants.give(s, PROJECT, who, Role.READ, NOW),
    "a grant is taken": lambda s, who: grants.take(s, PROJECT, who),
    "a session ends": lambda s, who: sessions.revoke(s, FAMILY, NOW),
    "a token ends": lambda s, who: sessions.revoke_token(s, "tok_1", NOW + 1),
    "limits change": lambda s, who: quotas.set_limits(s, Limits(projects=3)),
    "retention changes": lambda s, who: retention.set_(s, Retention(versions=3)),
    "content is purged": lambda s, who: purges.note(s, PROJECT, [named("x")], NOW),
}


@pytest.mark.parametrize("what", CHANGES)
@pytest.mark.promise("P5")
async def test_each_change_of_who_may_do_what_is_announced(catalog: Catalog, tenants: Tenants, what: str) -> None:
    async with catalog.write(tenants.a) as s:
        row, _ = await principals.issue_key(s, pepper=PEPPER, name="k", now=NOW)
        await sessions.start(s, pepper=PEPPER, family=FAMILY, principal_id=row.id, now=NOW, lifetime_ms=60_000)
    start = await now(catalog)
    async with catalog.write(tenants.a) as s:
        await CHANGES[what](s, row.id)
    assert await heard(catalog, start) == Heard(start + 1, frozenset({tenants.a}))


@pytest.mark.promise("P5")
async def test_it_is_announced_that_a_tenant_is_suspended_resumed_and_erased(
    catalog: Catalog, tenants: Tenants
) -> None:
    for state in ("suspended", "active"):
        start = await now(catalog)
        async with catalog.directory(write=True) as d:
            await tenants_table.set_state(d, tenants.b, state)
        assert await heard(catalog, start) == Heard(start + 1, frozenset({tenants.b}))
    start = await now(catalog)
    async with catalog.directory(write=True) as d:
        await tenants_table.erase(d, tenants.b)
    assert await heard(catalog, start) == Heard(start + 1, frozenset({tenants.b}))
