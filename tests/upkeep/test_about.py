"""The bucket says what the catalog says of tenants and projects: at each change, and again where that failed."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from satchel.catalog import projects, tenants
from satchel.errors import StoreUnavailable
from satchel.objects.ids import ProjectId, TenantId
from satchel.store.about import Abouts
from satchel.store.objectstore import MemoryStore
from satchel.upkeep.about import Notices, refresh_about
from tests.server.running import serving
from tests.upkeep.house import House

pytestmark = pytest.mark.anyio


async def test_what_a_crash_left_stale_is_written_again_and_nothing_else(house: House) -> None:
    tenant = await house.tenant()
    project = await house.project(tenant)
    abouts = Abouts(house.estate.store, house.estate.keyring, random=os.urandom)
    assert await refresh_about(house.estate, tenant) == 2
    assert await refresh_about(house.estate, tenant) == 0
    async with house.estate.catalog.write(tenant) as s:
        await projects.update(s, project, slug="renamed")
        await projects.archive(s, project, 9)
    assert await refresh_about(house.estate, tenant) == 1
    said = await abouts.project(tenant, project)
    assert said is not None
    assert (said.slug, said.archived) == ("renamed", 9)
    async with house.estate.catalog.directory(write=True) as d:
        await tenants.set_state(d, tenant, tenants.SUSPENDED)
    assert await refresh_about(house.estate, tenant) == 1
    about = await abouts.tenant(tenant)
    assert about is not None
    assert about.state == "suspended"
    assert await refresh_about(house.estate, tenant, rewrite=True) == 2


async def test_a_store_that_is_away_fails_no_change(house: House) -> None:
    class Away(MemoryStore):
        async def put(self, name: str, data: bytes, *, create: bool = False) -> None:
            raise StoreUnavailable("away")

    tenant = await house.tenant()
    project = await house.project(tenant)
    notices = Notices(house.estate.catalog, Away(), house.estate.keyring, random=os.urandom)
    await notices.tenant(tenant)
    await notices.project(tenant, project)
    assert not [name for name in await house.names() if name.endswith("/about")]


async def test_lost_keys_fail_no_change(house: House) -> None:
    tenant = await house.tenant()
    project = await house.project(tenant)
    await house.estate.store.delete(f"tenants/{tenant}/keys/1")
    notices = Notices(house.estate.catalog, house.estate.store, house.estate.keyring, random=os.urandom)
    await notices.tenant(tenant)
    await notices.project(tenant, project)
    assert not [name for name in await house.names() if name.endswith("/about")]


def test_a_server_says_each_change_of_a_tenant_or_project_at_once(tmp_path: Path) -> None:
    with serving(tmp_path / "data") as running:
        cloud = running.cloud
        abouts = Abouts(cloud.store, cloud.keyring, random=os.urandom)
        admin = running.admin
        own = TenantId(admin.get("/tenant").ok()["id"])
        first = running.run(abouts.tenant(own))
        assert first is not None
        assert (first.slug, first.state) == ("default", "active")
        admin.send("PATCH", "/tenant", {"name": "Renamed"}).ok()
        made = ProjectId(admin.post("/projects", {"slug": "notes", "description": "one"}).ok()["id"])
        admin.send("PATCH", f"/projects/{made}", {"slug": "other", "description": "two"}).ok()
        about = running.run(abouts.project(own, made))
        assert about is not None
        assert (about.slug, about.description, about.archived) == ("other", "two", None)
        assert about.lineage == admin.get(f"/projects/{made}").ok()["lineage"]
        admin.send("DELETE", f"/projects/{made}").ok()
        about = running.run(abouts.project(own, made))
        assert about is not None
        assert about.archived is not None
        renamed = running.run(abouts.tenant(own))
        assert renamed is not None
        assert renamed.name == "Renamed"
        founded = TenantId(admin.post("/admin/tenants", {"slug": "acme", "name": "Acme"}).ok()["tenant"]["id"])
        admin.send("PATCH", f"/admin/tenants/{founded}", {"suspended": True}).ok()
        theirs = running.run(abouts.tenant(founded))
        assert theirs is not None
        assert (theirs.slug, theirs.state) == ("acme", "suspended")
