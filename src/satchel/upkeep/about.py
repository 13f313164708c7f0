"""Keeping what the bucket says of tenants and projects in step with the catalog."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress

from satchel.catalog import projects, tenants
from satchel.catalog.projects import ProjectRow
from satchel.catalog.scope import Catalog
from satchel.catalog.tenants import TenantRow
from satchel.errors import Damaged, DiskFull, NotFound, Unavailable
from satchel.objects.ids import ProjectId, TenantId
from satchel.store.about import Abouts, ProjectAbout, TenantAbout
from satchel.store.keyring import Keyring
from satchel.store.objectstore import ObjectStore
from satchel.upkeep.ahead import AT_ONCE, ahead
from satchel.upkeep.estate import PAGE, Estate

_NO_MATTER = (Unavailable, DiskFull, NotFound, Damaged)


class Notices:
    """For whoever changes a tenant or a project in the catalog: call this after the transaction.

    A store that does not answer, or has lost the tenant's keys, fails nothing here. The change is made, and the next
    backup says it to the bucket.
    """

    def __init__(
        self, catalog: Catalog, store: ObjectStore, keyring: Keyring, *, random: Callable[[int], bytes]
    ) -> None:
        self._catalog, self._abouts = catalog, Abouts(store, keyring, random=random)

    async def tenant(self, tenant: TenantId) -> None:
        """Say what the tenant is now."""
        with suppress(*_NO_MATTER):
            async with self._catalog.read(tenant) as s:
                row = await tenants.own(s)
            await self._abouts.put_tenant(tenant, _of_tenant(row))

    async def project(self, tenant: TenantId, project: ProjectId) -> None:
        """Say what the project is now."""
        with suppress(*_NO_MATTER):
            async with self._catalog.read(tenant) as s:
                row = await projects.get(s, project)
            if row is not None:
                await self._abouts.put_project(tenant, project, _of_project(row))


async def refresh_about(estate: Estate, tenant: TenantId, *, rewrite: bool = False) -> int:
    """Write what the bucket says wrongly, or not at all, of a tenant and its projects; returns how many.

    With ``rewrite`` all of them, as after a change of keys. Raises what the store raises.
    """
    abouts = Abouts(estate.store, estate.keyring, random=estate.random)
    async with estate.catalog.read(tenant) as s:
        row = await tenants.own(s)
    written = 0
    if rewrite or await _said(abouts.tenant(tenant)) != _of_tenant(row):
        await abouts.put_tenant(tenant, _of_tenant(row))
        written += 1

    async def said(project: ProjectRow) -> int:
        if not rewrite and await _said(abouts.project(tenant, project.id)) == _of_project(project):
            return 0
        await abouts.put_project(tenant, project.id, _of_project(project))
        return 1

    async for _, wrote in ahead(every_project(estate.catalog, tenant), said, AT_ONCE):
        written += wrote
    return written


async def every_project(catalog: Catalog, tenant: TenantId) -> AsyncIterator[ProjectRow]:
    """Every project of a tenant, archived ones too, by slug."""
    after = ""
    while True:
        async with catalog.read(tenant) as s:
            page = await projects.list_(s, after, PAGE, archived=True)
        for row in page:
            yield row
        if len(page) < PAGE:
            return
        after = page[-1].slug


async def _said(asked: Awaitable[TenantAbout | ProjectAbout | None]) -> TenantAbout | ProjectAbout | None:
    try:
        return await asked
    except Damaged:
        return None  # what cannot be read is written anew


def _of_tenant(row: TenantRow) -> TenantAbout:
    return TenantAbout(row.slug, row.name, row.state, row.created)


def _of_project(row: ProjectRow) -> ProjectAbout:
    return ProjectAbout(row.slug, row.description, row.created, row.archived, row.lineage)
