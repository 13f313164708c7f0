"""What is done on the machine itself, in the audit; and audits whose catalog was put back."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from satchel.catalog import audit, tenants
from satchel.catalog.bootstrap import found_tenant
from satchel.objects.ids import TenantId
from satchel.store.keyring import Keyring
from satchel.upkeep.operated import accept, record_operator, sealer_of
from satchel.upkeep.rebuild import estate_at
from satchel.upkeep.verify import verify
from tests.upkeep.house import PEPPER, House, fill, open_house
from tests.upkeep.recovering import Ruin, check_sound

pytestmark = pytest.mark.anyio


async def operating(house: House) -> TenantId:
    async with house.estate.catalog.directory(write=True) as d:
        founded = await found_tenant(d, slug="ops", name="Ops", pepper=PEPPER, now=house.clock(), operates=True)
        await house.estate.keyring.create(founded.tenant.id)
    return founded.tenant.id


async def actions(house: House, tenant: TenantId) -> list[str]:
    async with house.estate.catalog.read(tenant) as s:
        return [row.action for row in await audit.list_(s)]


async def test_an_operators_work_is_written_into_the_operating_tenants_audit_alone_and_sealed(house: House) -> None:
    ops, acme = await operating(house), await house.tenant()
    await record_operator(house.estate, "key.rotate_tenant", acme)
    assert await actions(house, ops) == ["key.rotate_tenant"]
    assert await actions(house, acme) == []
    async with house.estate.catalog.read(ops) as s:
        assert await audit.unsealed(s) == (1, 1)
        (row,) = await audit.list_(s)
    assert (row.target, row.result, row.address) == (acme, "done", "")
    assert " on " in row.principal_name


async def test_where_nobody_operates_there_is_no_audit_to_write_to(house: House) -> None:
    acme = await house.tenant()
    await record_operator(house.estate, "key.rotate_root", "1234")
    assert await actions(house, acme) == []


async def test_a_catalog_that_was_put_back_is_told_plainly_and_can_be_accepted(tmp_path: Path) -> None:
    async with open_house(tmp_path) as house:
        tenant = await house.tenant()
        await house.project(tenant, "one")
        sealer = await sealer_of(house.estate)
        async with house.estate.catalog.write(tenant) as s:
            await audit.record(s, None, "first", "", "done", "", house.clock())
        await sealer.seal(tenant)
    shutil.copyfile(tmp_path / "catalog.db", tmp_path / "older.db")
    async with open_house(tmp_path) as house:
        sealer = await sealer_of(house.estate)
        async with house.estate.catalog.write(tenant) as s:
            await audit.record(s, None, "second", "", "done", "", house.clock())
        await sealer.seal(tenant)
        assert await sealer.anchor(tenant)
        assert (await verify(house.estate)).clean
    for rest in ("-wal", "-shm"):
        (tmp_path / f"catalog.db{rest}").unlink(missing_ok=True)
    shutil.copyfile(tmp_path / "older.db", tmp_path / "catalog.db")
    async with open_house(tmp_path) as house:
        (problem,) = (await verify(house.estate)).problems
        assert (problem.kind, problem.tenant) == ("audit", "acme")
        assert "rows 2 to 2 of the audit are missing with their seals" in problem.why
        assert "the two cannot be told apart" in problem.why
        assert await accept(house.estate, noted="audit.accept") == 1
        report = await verify(house.estate)
        assert (report.problems, report.audit_rows) == ([], 2)
        async with house.estate.catalog.read(tenant) as s:
            said = {row.action: row.target for row in await audit.list_(s)}
        assert said["audit.accept"] == "rows of the audit up to 2 had been sealed and are not all in it"
        assert await accept(house.estate, noted="audit.accept") == 0


async def test_the_audit_of_a_shredded_tenant_is_gone_and_is_no_problem(house: House) -> None:
    tenant = await house.tenant()
    sealer = await sealer_of(house.estate)
    async with house.estate.catalog.write(tenant) as s:
        await audit.record(s, None, "first", "", "done", "", house.clock())
    await sealer.seal(tenant)
    assert await sealer.anchor(tenant)
    await house.estate.keyring.shred(tenant)
    async with house.estate.catalog.directory(write=True) as d:
        await tenants.erase(d, tenant)
    assert (await verify(house.estate)).clean
    assert not await sealer.anchor(tenant)


@pytest.mark.parametrize("way", ["restore", "rebuild"])
async def test_after_a_restore_or_a_rebuild_the_audit_goes_on_says_what_it_lost_and_is_sound(
    tmp_path: Path, way: str
) -> None:
    ruin = Ruin(tmp_path)
    async with ruin.house() as house:
        tenant = await house.tenant()
        await fill(house, tenant, await house.project(tenant), {"a.md": b"# A\n"})
        made = await ruin.backup(house)
        sealer = await sealer_of(house.estate)
        for number in range(3):
            async with house.estate.catalog.write(tenant) as s:
                await audit.record(s, None, f"later {number}", "", "done", "", house.clock())
        await sealer.seal(tenant)
        assert await sealer.anchor(tenant)
        anchored = await sealer.stored(tenant)
    ruin.lose_catalog()
    await (ruin.restore(made.id) if way == "restore" else ruin.rebuild())
    async with ruin.house() as house:
        await check_sound(house)
        assert await (await sealer_of(house.estate)).stored(tenant) == anchored  # a server may run on this bucket
        async with house.estate.catalog.read(tenant) as s:
            said = {row.action: row.target for row in await audit.list_(s)}
        assert "rows of the audit up to 4 had been sealed and are not all in it" in said[f"tenant.{way}"]
        sealer = await sealer_of(house.estate)
        assert await sealer.anchor(tenant)
        assert await sealer.stored(tenant) != anchored
        async with house.estate.catalog.write(tenant) as s:
            await audit.record(s, None, "after", "", "done", "", house.clock())
        await sealer.seal(tenant)
        assert await sealer.anchor(tenant)
        await check_sound(house)


async def test_a_drill_beside_a_running_server_leaves_its_audit_as_it_is_and_is_sound(tmp_path: Path) -> None:
    ruin = Ruin(tmp_path)

    async def something_is_done(house: House) -> None:
        async with house.estate.catalog.write(tenant) as s:
            await audit.record(s, None, "later", "", "done", "", house.clock())
        sealer = await sealer_of(house.estate)
        await sealer.seal(tenant)
        assert await sealer.anchor(tenant)

    async with ruin.house() as house:
        tenant = await house.tenant()
        await fill(house, tenant, await house.project(tenant), {"a.md": b"# A\n"})
        made = await ruin.backup(house)
        await something_is_done(house)
    aside = tmp_path / "drill.db"
    await ruin.restore(made.id, aside)
    async with ruin.house() as house:
        assert (await verify(house.estate)).clean
        await something_is_done(house)
        assert (await verify(house.estate)).clean
    keyring = Keyring(ruin.store, ruin.root, clock=ruin.clock, random=os.urandom)
    async with estate_at(aside, ruin.store, ruin.root, keyring, ruin.clock, os.urandom) as estate:
        (problem,) = (await verify(estate)).problems
        assert "--drill" in problem.why
        assert (await verify(estate, full=True, drill=True)).clean
        assert not await (await sealer_of(estate)).anchor(tenant)  # nobody takes a drill for the audit
