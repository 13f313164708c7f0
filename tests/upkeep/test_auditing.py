"""Sealing and checking audits, on both engines, with every defect that the seals are there to find planted."""

from __future__ import annotations

import asyncio
import hashlib
import os
from collections.abc import Awaitable, Callable
from itertools import count

import pytest

from satchel.catalog import audit
from satchel.catalog.scope import Catalog
from satchel.objects.ids import TenantId
from satchel.store.keyring import Installation
from satchel.store.urls import open_store
from satchel.upkeep.audited import AuditReport, examine_audit
from satchel.upkeep.auditing import BATCH, Sealer, anchor_name
from tests.catalog.conftest import (  # noqa: F401 (fixtures, and the hook that runs each test on both engines)
    beneath,
    catalog,
    catalog_path,
    catalog_url,
    migrated,
    pytest_generate_tests,
    tenants,
)
from tests.catalog.make import Tenants

pytestmark = pytest.mark.anyio
NOW = 1_800_000_000_000
Beneath = Callable[[str], Awaitable[list[tuple[object, ...]]]]


@pytest.fixture
def sealer(catalog: Catalog) -> Sealer:  # noqa: F811
    ticks = count(NOW)
    installation = Installation("ins_00000000000000000000000001", hashlib.sha256(b"secret").digest())
    return Sealer(catalog, open_store("memory:"), installation, lambda: next(ticks), os.urandom)


@pytest.fixture
def tenant(tenants: Tenants) -> TenantId:  # noqa: F811
    return tenants.a


async def write(sealer: Sealer, tenant: TenantId, number: int, *, time: int = NOW) -> None:
    """Add ``number`` rows in one transaction."""
    async with sealer.catalog.write(tenant) as s:
        for n in range(number):
            await audit.record(s, None, "act", f"target {n}", "done", "req", time + n)


async def sealed(sealer: Sealer, tenant: TenantId, *batches: int) -> None:
    """Add rows in batches, each under a seal of its own, and anchor the last."""
    for number in batches:
        await write(sealer, tenant, number)
        assert await sealer.seal(tenant) == number
    assert await sealer.anchor(tenant)


def whys(report: AuditReport) -> str:
    return "; ".join(f"{what}: {why}" for what, why in report.problems)


async def test_what_was_sealed_and_not_touched_is_sound(sealer: Sealer, tenant: TenantId) -> None:
    await sealed(sealer, tenant, 3, 1, 2)
    report = await examine_audit(sealer, tenant)
    assert (report.problems, report.notes) == ([], [])
    assert (report.rows, report.seals, report.unsealed) == (6, 3, 0)
    assert await sealer.seal(tenant) == 0


async def test_an_audit_without_rows_is_sound_before_and_after_it_is_anchored(sealer: Sealer, tenant: TenantId) -> None:
    assert await sealer.seal(tenant) == 0
    assert (await examine_audit(sealer, tenant)).problems == []
    assert await sealer.anchor(tenant)
    await sealed(sealer, tenant, 1)
    assert (await examine_audit(sealer, tenant)).problems == []


async def test_rows_that_no_seal_covers_yet_are_said_to_be_so_and_are_no_problem(
    sealer: Sealer, tenant: TenantId
) -> None:
    await sealed(sealer, tenant, 2)
    await write(sealer, tenant, 3)
    report = await examine_audit(sealer, tenant)
    assert report.problems == []
    assert report.unsealed == 3
    assert "3 rows of the audit are not sealed yet" in report.notes[0]


async def test_more_rows_than_one_seal_takes_go_under_several(sealer: Sealer, tenant: TenantId) -> None:
    await write(sealer, tenant, BATCH + 1)
    assert await sealer.seal(tenant) == BATCH + 1
    report = await examine_audit(sealer, tenant)
    assert (report.problems, report.seals) == ([], 2)


COLUMNS = ("time", "principal_id", "principal_name", "action", "target", "result", "request_id", "address")


@pytest.mark.parametrize("column", COLUMNS)
async def test_a_row_altered_in_any_column_is_found_and_named(
    sealer: Sealer,
    tenant: TenantId,
    beneath: Beneath,  # noqa: F811
    column: str,
) -> None:
    await sealed(sealer, tenant, 2, 2)
    async with sealer.catalog.read(tenant) as s:
        victim = (await audit.after(s, 1, 1))[0].id
    value = "time + 1" if column == "time" else "'forged'"
    await beneath(f"UPDATE audit SET {column} = {value} WHERE audit_id = '{victim}'")
    report = await examine_audit(sealer, tenant)
    assert report.problems == [(victim, "it was altered: it is not as seal 2 has it")]


def _swapped(one: int, other: int) -> str:
    steps = ((one, -1), (other, one), (-1, other))
    return ";".join(f"UPDATE audit SET sequence = {to} WHERE sequence = {at}" for at, to in steps)


PLANTED = {
    "a row is removed": ("DELETE FROM audit WHERE sequence = 3", "it was removed: seal 4 has it"),
    "the first row is removed": ("DELETE FROM audit WHERE sequence = 1", "it was removed: seal 2 has it"),
    "two rows change places": (
        _swapped(1, 2),
        "it was altered: it is not as seal 2 has it",
    ),
    "a row moves into another batch": (
        _swapped(1, 3),
        "it was removed: seal 2 has it",
    ),
    "a seal is removed": ("DELETE FROM audit_seal WHERE sequence = 2", "2 rows before it are under no seal any more"),
    "the rows of a seal are altered": (
        "UPDATE audit_seal SET rows = '[]' WHERE sequence = 2",
        "it was altered, or the seal it followed",
    ),
    "the rows of a seal are no rows": (
        "UPDATE audit_seal SET rows = '[1' WHERE sequence = 2",
        "the rows of a seal are not in the form of this version",
    ),
    "the time of a seal is altered": (
        "UPDATE audit_seal SET time = time + 1 WHERE sequence = 2",
        "it was altered, or the seal it followed",
    ),
    "a row and its seal are removed": (
        "DELETE FROM audit WHERE sequence <= 2; DELETE FROM audit_seal WHERE sequence = 2",
        "it was altered, or the seal it followed",
    ),
    "a row is added where one was removed": (
        "UPDATE audit SET audit_id = 'aud_00000000000000000000000000' WHERE sequence = 3",
        "it was added: seal 4 covers its number 3 and does not have it",
    ),
    "a row is added before the first": (
        "UPDATE audit SET sequence = 0 WHERE sequence = 6",
        "it has the number 0, which Satchel gives to no row: it was added",
    ),
    "the end is cut off with its rows": ("DELETE FROM audit WHERE sequence > 4", "it was removed: seal 6 has it"),
    "the end is cut off with its seal": (
        "DELETE FROM audit WHERE sequence > 4; DELETE FROM audit_seal WHERE sequence > 4",
        "rows 5 to 6 of the audit are missing with their seals",
    ),
    "all of it is removed": (
        "DELETE FROM audit; DELETE FROM audit_seal",
        "rows 1 to 6 of the audit are missing with their seals",
    ),
}


@pytest.mark.parametrize("defect", PLANTED)
async def test_what_was_changed_past_satchel_is_found(
    sealer: Sealer,
    tenant: TenantId,
    beneath: Beneath,  # noqa: F811
    defect: str,
) -> None:
    statements, said = PLANTED[defect]
    await sealed(sealer, tenant, 2, 2, 2)
    for statement in statements.split(";"):
        await beneath(statement)
    assert said in whys(await examine_audit(sealer, tenant))


async def test_an_end_that_was_cut_off_and_written_anew_is_found_and_the_anchor_does_not_follow(
    sealer: Sealer,
    tenant: TenantId,
    beneath: Beneath,  # noqa: F811
) -> None:
    await sealed(sealer, tenant, 2, 2)
    await beneath("DELETE FROM audit WHERE sequence > 2")
    await beneath("DELETE FROM audit_seal WHERE sequence > 2")
    await write(sealer, tenant, 5)
    assert await sealer.seal(tenant) == 5
    assert not await sealer.anchor(tenant)
    report = await examine_audit(sealer, tenant)
    assert "the audit does not go on from the seal of row 4" in whys(report)
    assert "cannot be told apart" in whys(report)
    assert await sealer.anchor(tenant, accept=True)
    assert (await examine_audit(sealer, tenant)).problems == []


async def test_a_row_removed_before_it_was_sealed_leaves_a_gap_in_the_numbers(
    sealer: Sealer,
    tenant: TenantId,
    beneath: Beneath,  # noqa: F811
) -> None:
    await write(sealer, tenant, 3)
    await beneath("DELETE FROM audit WHERE sequence = 2")
    assert await sealer.seal(tenant) == 2
    assert "1 rows were removed before it was made" in whys(await examine_audit(sealer, tenant))


async def test_an_anchor_of_another_tenant_or_one_that_was_altered_is_refused(
    sealer: Sealer,
    tenants: Tenants,  # noqa: F811
) -> None:
    await sealed(sealer, tenants.a, 2)
    await sealed(sealer, tenants.b, 2)
    theirs = await sealer.store.get(anchor_name(tenants.b))
    await sealer.store.put(anchor_name(tenants.a), theirs)
    assert "the end of the audit cannot be compared" in whys(await examine_audit(sealer, tenants.a))
    assert (await examine_audit(sealer, tenants.b)).problems == []


async def test_tenants_have_chains_of_their_own_and_a_seal_of_one_counts_nothing_in_the_other(
    sealer: Sealer,
    tenants: Tenants,  # noqa: F811
    beneath: Beneath,  # noqa: F811
) -> None:
    await sealed(sealer, tenants.a, 2)
    await sealed(sealer, tenants.b, 2)
    await beneath(
        "UPDATE audit_seal SET mac = (SELECT mac FROM audit_seal AS other "
        f"WHERE other.tenant_id = '{tenants.b}') WHERE tenant_id = '{tenants.a}'"
    )
    assert "it was altered" in whys(await examine_audit(sealer, tenants.a))


async def test_rows_that_are_committed_late_with_earlier_times_are_sealed_all_the_same(
    sealer: Sealer, tenant: TenantId
) -> None:
    """Writers with clocks that disagree, and sealers at work beside them: every order of commit is sealed whole."""

    async def writer(offset: int) -> None:
        for n in range(8):
            await write(sealer, tenant, 1 + n % 2, time=NOW + offset - n * 60_000)

    async def sealing() -> None:
        for _ in range(12):
            await sealer.seal(tenant)

    await asyncio.gather(writer(0), writer(-3_600_000), writer(3_600_000), sealing(), sealing())
    await sealer.seal(tenant)
    report = await examine_audit(sealer, tenant)
    assert (report.problems, report.rows, report.unsealed) == ([], 36, 0)
    async with sealer.catalog.read(tenant) as s:
        assert [row.sequence for row in await audit.after(s, 0, 100)] == list(range(1, 37))
        assert len(await audit.list_(s)) == 36


async def test_a_row_whose_transaction_began_first_and_committed_last_comes_after_the_seal(
    sealer: Sealer, tenant: TenantId
) -> None:
    await sealed(sealer, tenant, 1)
    begun, go_on = asyncio.Event(), asyncio.Event()

    async def slow() -> None:
        async with sealer.catalog.write(tenant) as s:
            begun.set()
            await go_on.wait()
            await audit.record(s, None, "slow", "", "done", "req", NOW - 86_400_000)

    task = asyncio.create_task(slow())
    await begun.wait()
    assert await sealer.seal(tenant) == 0  # nothing was committed yet, and nothing is waited for
    other = asyncio.create_task(write(sealer, tenant, 1))
    go_on.set()
    await asyncio.gather(task, other)
    assert await sealer.seal(tenant) == 2
    assert (await examine_audit(sealer, tenant)).problems == []
