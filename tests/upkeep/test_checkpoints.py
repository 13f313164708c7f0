"""Checkpoints of indexes under upkeep: derived, so whatever does not count is deleted, and nothing is lost by it."""

from __future__ import annotations

import os

import pytest

from satchel.objects.ids import ProjectId, TenantId
from satchel.store.objectstore import MemoryStore
from satchel.upkeep.backup import Keeping, make_backup
from satchel.upkeep.collect import CollectReport, collect
from satchel.upkeep.lease import LEASE_MS
from satchel.upkeep.repair import repair
from satchel.upkeep.reseal import RETIRE_AFTER_MS, rotate_tenant
from satchel.upkeep.sweep import ORPHAN_MS
from satchel.upkeep.verify import verify
from tests.upkeep.house import House, fill

pytestmark = [pytest.mark.anyio, pytest.mark.promise("P9")]
DAY = 24 * 60 * 60 * 1000


async def furnished(house: House) -> tuple[TenantId, ProjectId]:
    tenant = await house.tenant()
    project = await house.project(tenant)
    await fill(house, tenant, project, {"a.md": b"# A\n", "b.md": b"# B\n"})
    return tenant, project


async def indexes(house: House) -> set[str]:
    """What lies below each checkpoint's name, and the names."""
    return {name for name in await house.names() if "/indexes/" in name}


async def swept(house: House, tenant: TenantId, *, dry: bool = False) -> CollectReport:
    return await collect(house.estate, tenant, window_ms=10**12, dry=dry)


async def test_of_checkpoints_that_count_collect_keeps_the_newest(house: House) -> None:
    tenant, project = await furnished(house)
    old = await house.checkpoint(tenant, project)
    await house.put(tenant, project, "c.md", b"# C\n")
    new = await house.checkpoint(tenant, project)
    assert (await swept(house, tenant, dry=True)).swept.items == 1
    assert await indexes(house) == {old + "0", old + "head", new + "0", new + "head"}
    assert (await swept(house, tenant)).swept.items == 1
    assert await indexes(house) == {new + "0", new + "head"}
    assert (await swept(house, tenant)).swept.items == 0
    assert (await verify(house.estate, full=True)).clean


async def test_one_that_was_cut_off_goes_when_nobody_can_still_be_writing_it(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    tenant, project = await furnished(house)
    name = await house.checkpoint(tenant, project)
    await house.estate.store.delete(name + "head")
    report = await verify(house.estate)
    assert (report.clean, report.orphans) == (True, 1)
    assert (await swept(house, tenant)).swept.items == 0
    place = house.folder / "store" / name / "0"
    before = place.stat().st_mtime - ORPHAN_MS / 1000 - 60
    os.utime(place, (before, before))
    assert (await swept(house, tenant)).swept.items == 1
    assert await indexes(house) == set()


@pytest.mark.parametrize("full", [False, True])
async def test_verify_names_one_that_no_node_could_begin_with_and_repair_drops_it(house: House, full: bool) -> None:
    tenant, project = await furnished(house)
    name = await house.checkpoint(tenant, project)
    place = house.folder / "store" / name / ("0" if full else "head")
    place.write_bytes(place.read_bytes()[:-1] + b"!")
    report = await verify(house.estate, full=full)
    assert [(found.kind, found.name, found.project) for found in report.problems] == [
        ("index", name + place.name, "notes")
    ]
    done = await repair(house.estate, report, MemoryStore())
    assert (done.dropped, done.left, await indexes(house)) == (1, [], set())
    assert (await verify(house.estate, full=True)).clean


async def test_a_piece_that_is_missing_is_noticed_without_opening_any(house: House) -> None:
    tenant, project = await furnished(house)
    name = await house.checkpoint(tenant, project)
    await house.estate.store.delete(name + "0")
    assert [found.name for found in (await verify(house.estate)).problems] == [name + "0"]
    assert (await swept(house, tenant)).swept.items == 0  # a node that wants to begin with it drops it


async def test_a_new_epoch_drops_them_and_the_old_key_is_retired_all_the_same(house: House) -> None:
    tenant, project = await furnished(house)
    name = await house.checkpoint(tenant, project)
    damaged = await house.checkpoint(tenant, project)
    (house.folder / "store" / damaged / "0").write_bytes(b"not sealed")
    await rotate_tenant(house.estate, tenant, full=True)
    assert not {name + "head", damaged + "0"} & await indexes(house)
    house.clock.now += RETIRE_AFTER_MS + LEASE_MS
    await collect(house.estate, tenant, window_ms=0)
    assert (await rotate_tenant(house.estate, tenant, full=True)).retired == (1,)


async def test_a_backup_leaves_them_out_and_they_are_no_storage_that_counts(house: House) -> None:
    tenant, project = await furnished(house)
    async with house.estate.catalog.read(tenant) as s:
        from satchel.catalog import quotas

        before = (await quotas.usage(s)).storage_bytes
    await house.checkpoint(tenant, project, b"x" * 100_000)
    target = MemoryStore()
    await make_backup(house.estate, target, house.folder, Keeping(30 * DAY, 7 * DAY), objects=True)
    assert not [name for name in target.objects if "/indexes/" in name]
    async with house.estate.catalog.read(tenant) as s:
        assert (await quotas.usage(s)).storage_bytes == before
