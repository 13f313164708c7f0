"""The first tenant, its first key, and every later tenant with its first admin."""

from __future__ import annotations

from typing import NamedTuple

from sqlalchemy import insert, select

from satchel.auth.roles import TenantRole
from satchel.catalog import principals, tenants
from satchel.catalog.copying import CatalogNotEmpty
from satchel.catalog.quotas import Limits
from satchel.catalog.schema import TENANT, mine, operator
from satchel.catalog.scope import Catalog, Directory, Scope
from satchel.catalog.tenants import TenantRow
from satchel.objects.ids import PrincipalId, TenantId, new_id

_INSERT_OPERATOR = insert(operator).values(tenant_id=TENANT)
_ANY_OPERATOR = select(operator.c.principal_id).where(mine(operator)).limit(1)


class Founded(NamedTuple):
    """A new tenant and the text of its owner's API key, which is to be shown once."""

    tenant: TenantRow
    principal_id: PrincipalId
    key: str


async def found_tenant(
    d: Directory,
    *,
    slug: str,
    name: str,
    pepper: bytes,
    now: int,
    limits: Limits | None = None,
    operates: bool = False,
    delete_at: int | None = None,
    id: TenantId | None = None,  # noqa: A002
) -> Founded:
    """Create a tenant and an API key that owns it, in the directory's transaction; raises ``AlreadyExists``.

    At ``delete_at`` it is shredded, if that is given. With ``operates`` the key may also run the server. ``id`` is that
    of a keyring which the caller has created, so that no tenant exists whose bytes could not be sealed; without it the
    caller creates one before the transaction ends.
    """
    tenant = await tenants.create(
        d,
        id=id or TenantId(new_id("ten", d.random(16))),
        slug=slug,
        name=name,
        now=now,
        limits=limits,
        delete_at=delete_at,
    )
    s = d.enter(tenant.id)
    row, text = await principals.issue_key(s, pepper=pepper, name="admin", now=now, tenant_role=TenantRole.OWNER)
    if operates:
        await s.execute(_INSERT_OPERATOR, {"principal_id": row.id})
    return Founded(tenant, row.id, text)


async def operates(s: Scope) -> bool:
    """Whether somebody of the scope's tenant runs the server."""
    return await s.row(_ANY_OPERATOR) is not None


async def is_founded(catalog: Catalog) -> bool:
    """Whether the server has had its first start."""
    async with catalog.directory() as d:
        return bool(await tenants.list_(d, limit=1))


async def refuse_used(url: str) -> None:
    """Raise ``CatalogNotEmpty`` unless the migrated catalog at ``url`` has never been used."""
    catalog = await Catalog.open(url)
    try:
        if await is_founded(catalog):
            raise CatalogNotEmpty("the database is in use: there are tenants in it")
    finally:
        await catalog.close()


async def bootstrap(
    catalog: Catalog, *, pepper: bytes, now: int, slug: str = "default", name: str = "Default"
) -> Founded | None:
    """Found the first tenant with the operator's key; None when there is a tenant already, and then nothing changes."""
    async with catalog.directory(write=True) as d:
        if await tenants.list_(d, limit=1):
            return None
        return await found_tenant(d, slug=slug, name=name, pepper=pepper, now=now, operates=True)
