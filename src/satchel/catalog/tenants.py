"""The organisations on this server: founding, finding, suspending and erasing them."""

from __future__ import annotations

from typing import NamedTuple

from sqlalchemy import bindparam, delete, insert, select, update
from sqlalchemy.exc import IntegrityError

from satchel.catalog.quotas import Limits
from satchel.catalog.retention import KEEP_ALL, Retention
from satchel.catalog.schema import METADATA, TENANT, mine, tenant
from satchel.catalog.schema import usage as usage_table
from satchel.catalog.scope import Directory, Record, Scope
from satchel.errors import AlreadyExists, InvalidInput, NoSuchThing, TenantSuspended
from satchel.objects.ids import TenantId, is_random_id

ACTIVE = "active"
SUSPENDED = "suspended"
SHREDDED = "shredded"
STATES = (ACTIVE, SUSPENDED, SHREDDED)


class TenantRow(NamedTuple):
    id: TenantId
    slug: str
    name: str
    state: str
    """``active``; ``suspended``: nobody gets in; ``shredded``: its keys and rows are gone, for good."""
    created: int
    limits: Limits
    retention: Retention = KEEP_ALL


_COLUMNS = [
    tenant.c.tenant_id,
    tenant.c.slug,
    tenant.c.name,
    tenant.c.state,
    tenant.c.created,
    *(tenant.c[f"keep_{name}"] for name in Retention._fields),
    *(tenant.c[f"{name}_limit"] for name in Limits._fields),
]
_ANY = select(*_COLUMNS)
_BY_ID = _ANY.where(tenant.c.tenant_id == bindparam("ref"))
_BY_SLUG = _ANY.where(tenant.c.slug == bindparam("ref"))
_LIST = _ANY.where(tenant.c.slug > bindparam("after")).order_by(tenant.c.slug).limit(bindparam("limit"))
_OWN = _ANY.where(mine(tenant))
_INSERT = insert(tenant)
_INSERT_USAGE = insert(usage_table).values(tenant_id=TENANT)
_SET_STATE = (
    update(tenant)
    .where(tenant.c.tenant_id == bindparam("of_tenant"), tenant.c.state != SHREDDED)
    .values(state=bindparam("to_state"))
)
_TOMBSTONE = update(tenant).where(mine(tenant)).values(state=SHREDDED, slug=TENANT, name="")


async def create(
    d: Directory,
    *,
    id: TenantId,  # noqa: A002
    slug: str,
    name: str,
    now: int,
    limits: Limits | None = None,
) -> TenantRow:
    """Create a tenant with nobody in it; raises ``AlreadyExists`` for a slug or id that is taken."""
    row = TenantRow(id, slug, name, ACTIVE, now, limits or Limits())
    values = {f"{field}_limit": value for field, value in row.limits._asdict().items()}
    try:
        await d.execute(
            _INSERT, {"tenant_id": id, "slug": slug, "name": name, "state": ACTIVE, "created": now, **values}
        )
    except IntegrityError as error:
        raise AlreadyExists(f"a tenant with the slug {slug} exists already", field="slug") from error
    await d.enter(id).execute(_INSERT_USAGE, {"stored_bytes": 0})
    return row


async def find(d: Directory, ref: str) -> TenantRow | None:
    """The tenant of that id or slug, or None. For the operator and for sign-in."""
    row = await d.row(_BY_ID if is_random_id(ref, "ten") else _BY_SLUG, {"ref": ref})
    return None if row is None else _read(row)


async def list_(d: Directory, after: str = "", limit: int = 100) -> list[TenantRow]:
    """Tenants from the slug after ``after``, by slug, shredded ones (their slug is their id) too. For the operator."""
    return [_read(row) for row in await d.rows(_LIST, {"after": after, "limit": limit})]


async def set_state(d: Directory, id: TenantId, state: str) -> bool:  # noqa: A002
    """Suspend or resume; False if there is no such tenant or it was shredded. For the operator."""
    if state not in (ACTIVE, SUSPENDED):
        raise InvalidInput(f"a tenant is set to {ACTIVE} or {SUSPENDED}")
    return await d.execute(_SET_STATE, {"of_tenant": id, "to_state": state}) == 1


async def own(s: Scope) -> TenantRow:
    """The scope's tenant; raises ``NoSuchThing`` when there is none of that id."""
    row = await s.row(_OWN)
    if row is None:
        raise NoSuchThing("there is no such tenant")
    return _read(row)


async def check_active(s: Scope) -> None:
    """Raise unless the scope's tenant may act: ``TenantSuspended``, or ``NoSuchThing`` for one absent or shredded."""
    state = (await own(s)).state
    if state == SUSPENDED:
        raise TenantSuspended("this tenant is suspended")
    if state != ACTIVE:
        raise NoSuchThing("there is no such tenant")


async def rename(s: Scope, *, slug: str | None = None, name: str | None = None) -> TenantRow:
    """Give the scope's tenant another slug or name; raises ``AlreadyExists`` for a slug that is taken."""
    given = {"slug": slug, "name": name}
    values = {field: value for field, value in given.items() if value is not None}
    if values:
        try:
            await s.execute(update(tenant).where(mine(tenant)).values(values))
        except IntegrityError as error:
            raise AlreadyExists(f"a tenant with the slug {slug} exists already", field="slug") from error
    return await own(s)


async def erase(d: Directory, id: TenantId) -> None:  # noqa: A002
    """Delete every row of a tenant but its own, which stays as a tombstone, without name and with its id for a slug.

    Its keyring is shredded by the caller, before: rows without keys are harmless, keys without rows are not.
    """
    s = d.enter(id, erasing=True)
    for table in reversed(METADATA.sorted_tables):
        if "tenant_id" in table.c and table is not tenant:
            await s.execute(delete(table).where(mine(table)))
    await s.execute(_TOMBSTONE)


def _read(row: Record) -> TenantRow:
    id_, slug, name, state, created, keep_versions, keep_days, *limits = row
    kept = Retention(keep_versions, keep_days)
    return TenantRow(id_, slug, name, state, created, Limits._make(limits), kept)
