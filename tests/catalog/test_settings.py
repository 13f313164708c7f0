"""A tenant's settings: checked, numbered, kept, told to every node, and its own alone."""

from __future__ import annotations

from dataclasses import replace

import pytest

from satchel.auth.roles import Principal
from satchel.catalog import retention, settings
from satchel.catalog.retention import KEEP_ALL, Retention
from satchel.catalog.scope import Catalog
from satchel.catalog.settings import TenantSettings
from satchel.errors import InvalidInput, NoSuchThing, SettingsChanged, StorageNotAllowed
from satchel.objects.ids import PrincipalId, TenantId, new_id
from tests.catalog.make import NOW, Beneath, Tenants

pytestmark = pytest.mark.anyio
FIRST = TenantSettings()


def _ann(tenants: Tenants) -> Principal:
    return Principal(tenant=tenants.a, id=PrincipalId("mem_1"), name="Ann", kind="member")


async def test_every_change_is_a_revision_with_who_and_when_and_what_was_before_is_kept(
    catalog: Catalog, tenants: Tenants
) -> None:
    ann = _ann(tenants)
    async with catalog.write(tenants.a) as s:
        assert await settings.get(s) == (FIRST, 0)
        assert await settings.revisions(s) == []
        slower = replace(FIRST, sync_interval_seconds=60)
        assert await settings.change(s, slower, ann, NOW) == (1, ["syncIntervalSeconds"])
        kept = replace(slower, retention=Retention(days=30), allowed_storage=("s3:",))
        assert await settings.change(s, kept, None, NOW + 5) == (2, ["retention", "allowedStorage"])
        assert await settings.get(s) == (kept, 2)
        assert await retention.get(s) == Retention(days=30)  # what collect goes by
        found = await settings.revisions(s)
        assert [(row.number, row.principal_id, row.principal_name, row.settings) for row in found] == [
            (2, "", "operator", kept),
            (1, "mem_1", "Ann", slower),
            (0, "", "", FIRST),
        ]
        assert [row.time for row in found] == [NOW + 5, NOW, NOW]
        assert await settings.revisions(s, before=2, limit=1) == found[1:2]
        # Back to how it was: one more revision, and nothing of the history changes.
        assert await settings.change(s, FIRST, ann, NOW + 9) == (3, list(FIRST.named()))
        assert await retention.get(s) == KEEP_ALL
        assert (await settings.revisions(s))[1:] == found
    async with catalog.read(tenants.b) as s:
        assert await settings.get(s) == (FIRST, 0)
        assert await settings.revisions(s) == []


async def test_what_is_so_already_is_no_revision(catalog: Catalog, tenants: Tenants) -> None:
    async with catalog.write(tenants.a) as s:
        wanted = replace(FIRST, sync_interval_seconds=5)
        await settings.change(s, wanted, None, NOW)
        assert await settings.change(s, wanted, None, NOW + 1) == (1, [])
        assert len(await settings.revisions(s)) == 2


async def test_a_change_made_from_an_older_revision_is_refused_and_changes_nothing(
    catalog: Catalog, tenants: Tenants
) -> None:
    async with catalog.write(tenants.a) as s:
        wanted = replace(FIRST, sync_interval_seconds=5)
        await settings.change(s, wanted, None, NOW, expected=0)
        with pytest.raises(SettingsChanged) as caught:
            await settings.change(s, FIRST, None, NOW, expected=0)
        assert caught.value.facts == {"revision": 1}
        assert await settings.get(s) == (wanted, 1)
        await settings.change(s, FIRST, None, NOW, expected=1)


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        (replace(FIRST, sync_interval_seconds=-1), "syncIntervalSeconds"),
        (replace(FIRST, sync_interval_seconds=86_401), "syncIntervalSeconds"),
        (replace(FIRST, retention=Retention(versions=0)), "versions"),
        (replace(FIRST, retention=Retention(1, 1)), "not both"),
        (replace(FIRST, allowed_storage=("ftp://x",)), "allowedStorage"),
    ],
)
async def test_a_value_that_cannot_be_is_named_and_nothing_changes(
    catalog: Catalog, tenants: Tenants, wrong: TenantSettings, said: str
) -> None:
    async with catalog.write(tenants.a) as s:
        with pytest.raises(InvalidInput, match=said):
            await settings.change(s, wrong, None, NOW)
        assert await settings.get(s) == (FIRST, 0)


async def test_a_change_is_told_to_every_node(catalog: Catalog, tenants: Tenants, beneath: Beneath) -> None:
    async def told() -> int:
        [[number]] = await beneath(f"SELECT count(*) FROM change WHERE tenant_id = '{tenants.a}'")
        return int(str(number))

    before = await told()
    async with catalog.write(tenants.a) as s:
        await settings.change(s, replace(FIRST, sync_interval_seconds=5), None, NOW)
    assert await told() == before + 1


async def test_what_a_newer_release_may_have_set_is_not_stumbled_over(
    catalog: Catalog, tenants: Tenants, beneath: Beneath
) -> None:
    await beneath(f"""UPDATE tenant SET settings = '{{"colour": "red"}}' WHERE tenant_id = '{tenants.a}'""")
    async with catalog.read(tenants.a) as s:
        assert await settings.get(s) == (FIRST, 0)


async def test_storage_that_is_not_allowed_is_refused(catalog: Catalog, tenants: Tenants) -> None:
    async with catalog.write(tenants.a) as s:
        await settings.check_storage(s, "file:///srv")
        await settings.change(s, replace(FIRST, allowed_storage=("s3://acme-eu",)), None, NOW)
        await settings.check_storage(s, "s3://acme-eu/one")
        with pytest.raises(StorageNotAllowed):
            await settings.check_storage(s, "file:///srv")


async def test_a_tenant_that_does_not_exist_has_no_settings(catalog: Catalog) -> None:
    async with catalog.write(TenantId(new_id("ten", bytes(16)))) as s:
        with pytest.raises(NoSuchThing):
            await settings.get(s)
        with pytest.raises(NoSuchThing):
            await settings.change(s, FIRST, None, NOW)
