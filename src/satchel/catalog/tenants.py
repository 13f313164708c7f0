"""The organisations on this server: founding, finding, suspending, deleting and erasing them.

    active  <->  suspended          by the operator
    active, suspended  ->  deleting     with a time; until then the operator can bring it back as it was
    deleting  ->  shredded          keys and rows are gone, for good; the row stays as a tombstone

``delete_at`` is also set on a tenant founded for a while, which is shredded at that time, and on a tombstone while
objects of it may still lie in the store.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import NamedTuple

from sqlalchemy import bindparam, case, delete, insert, select, update
from sqlalchemy.exc import IntegrityError

from satchel.catalog import settings
from satchel.catalog.quotas import Limits
from satchel.catalog.schema import METADATA, TENANT, change, mine, operator, tenant
from satchel.catalog.schema import usage as usage_table
from satchel.catalog.scope import Directory, Record, Scope
from satchel.catalog.settings import TenantSettings
from satchel.errors import AlreadyExists, InvalidInput, NoSuchThing, TenantSuspended
from satchel.objects.ids import TenantId, is_random_id

ACTIVE = "active"
SUSPENDED = "suspended"
DELETING = "deleting"
SHREDDED = "shredded"


class TenantRow(NamedTuple):
    id: TenantId
    slug: str
    name: str
    state: str
    """``active``; ``suspended`` or ``deleting``: nobody gets in; ``shredded``: keys and rows are gone, for good."""
    created: int
    limits: Limits
    settings: TenantSettings = TenantSettings()
    revision: int = 0
    """Of the settings."""
    delete_at: int | None = None
    """When it is to be shredded, in milliseconds UTC."""


_COLUMNS = [
    tenant.c.tenant_id,
    tenant.c.slug,
    tenant.c.name,
    tenant.c.state,
    tenant.c.created,
    tenant.c.delete_at,
    *settings.COLUMNS,
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
    .values(
        state=bindparam("to_state"),
        delete_at=case((tenant.c.state == DELETING, None), else_=tenant.c.delete_at),
    )
)
_DELETE_AT = (
    update(tenant)
    .where(tenant.c.tenant_id == bindparam("of_tenant"))
    .values(state=bindparam("to_state"), delete_at=bindparam("at"))
)
_DUE = _ANY.where(tenant.c.delete_at <= bindparam("now")).order_by(tenant.c.delete_at).limit(bindparam("limit"))
_OPERATING = select(operator.c.tenant_id).distinct().order_by(operator.c.tenant_id)
_TOMBSTONE = update(tenant).where(mine(tenant)).values(state=SHREDDED, slug=TENANT, name="", settings="{}", delete_at=0)


async def create(
    d: Directory,
    *,
    id: TenantId,  # noqa: A002
    slug: str,
    name: str,
    now: int,
    limits: Limits | None = None,
    delete_at: int | None = None,
) -> TenantRow:
    """Create a tenant with nobody in it, to be shredded at ``delete_at``, or to stay.

    Raises ``AlreadyExists`` for a slug or id that is taken.
    """
    row = TenantRow(id, slug, name, ACTIVE, now, limits or Limits(), delete_at=delete_at)
    values = {f"{field}_limit": value for field, value in row.limits._asdict().items()}
    try:
        async with d.attempt():
            about = {"slug": slug, "name": name, "state": ACTIVE, "created": now, "delete_at": delete_at}
            await d.execute(_INSERT, {"tenant_id": id, **about, **values})
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
    """Suspend or resume, or bring back from being deleted; False if there is no such tenant or it was shredded."""
    if state not in (ACTIVE, SUSPENDED):
        raise InvalidInput(f"a tenant is set to {ACTIVE} or {SUSPENDED}")
    d.enter(id).announce()
    return await d.execute(_SET_STATE, {"of_tenant": id, "to_state": state}) == 1


async def delete_later(d: Directory, id: TenantId, at: int) -> TenantRow:  # noqa: A002
    """Let nobody in, and let it be shredded at ``at`` at the latest; the row as it is then.

    An earlier time that was said stays. Raises ``NoSuchThing`` where there is no such tenant, or it was shredded.
    """
    row = await find(d, id)
    if row is None or row.state == SHREDDED:
        raise NoSuchThing("there is no such tenant")
    at = at if row.delete_at is None else min(at, row.delete_at)
    if (row.state, row.delete_at) == (DELETING, at):
        return row
    d.enter(id).announce()
    await d.execute(_DELETE_AT, {"of_tenant": id, "to_state": DELETING, "at": at})
    return row._replace(state=DELETING, delete_at=at)


async def due(d: Directory, now: int, limit: int = 100) -> list[TenantRow]:
    """Tenants to be shredded by ``now``, and tombstones whose objects are to be removed, the longest due first."""
    return [_read(row) for row in await d.rows(_DUE, {"now": now, "limit": limit})]


async def look_again(d: Directory, id: TenantId, at: int | None) -> None:  # noqa: A002
    """When a tombstone's objects are to be looked for again; None when there are none left."""
    await d.execute(_DELETE_AT, {"of_tenant": id, "to_state": SHREDDED, "at": at})


async def operating(d: Directory) -> list[TenantId]:
    """The tenants whose people operate the server, by id."""
    return [row.tenant_id for row in await d.rows(_OPERATING)]


async def own(s: Scope) -> TenantRow:
    """The scope's tenant; raises ``NoSuchThing`` when there is none of that id."""
    row = await s.row(_OWN)
    if row is None:
        raise NoSuchThing("there is no such tenant")
    return _read(row)


async def check_active(s: Scope) -> None:
    """Raise unless the scope's tenant may act: ``TenantSuspended``, or ``NoSuchThing`` for one absent or shredded."""
    row = await own(s)
    require_active(row.state, row.delete_at)


def require_active(state: str, delete_at: int | None) -> None:
    """The same for a state that was read; ``delete_at`` is when the tenant is to be shredded, if it is."""
    if state == SUSPENDED:
        raise TenantSuspended("this tenant is suspended")
    if state == DELETING and delete_at is not None:
        until = f"{datetime.fromtimestamp(delete_at / 1000, UTC):%Y-%m-%d %H:%M} UTC"
        raise TenantSuspended(
            f"this tenant is being deleted: until {until} it can be brought back",
            hint="Ask the operator of this server before then: satchel tenant restore",
        )
    if state != ACTIVE:
        raise NoSuchThing("there is no such tenant")


async def rename(s: Scope, *, slug: str | None = None, name: str | None = None) -> TenantRow:
    """Give the scope's tenant another slug or name; raises ``AlreadyExists`` for a slug that is taken."""
    given = {"slug": slug, "name": name}
    values = {field: value for field, value in given.items() if value is not None}
    if values:
        try:
            async with s.attempt():
                await s.execute(update(tenant).where(mine(tenant)).values(values))
        except IntegrityError as error:
            raise AlreadyExists(f"a tenant with the slug {slug} exists already", field="slug") from error
    return await own(s)


async def erase(d: Directory, id: TenantId) -> None:  # noqa: A002
    """Delete every row of a tenant but its own, which stays as a tombstone, without name and with its id for a slug.

    Its keyring is shredded by the caller, before: rows without keys are harmless, keys without rows are not.
    """
    s = d.enter(id, erasing=True)
    s.announce()
    for table in reversed(METADATA.sorted_tables):
        if "tenant_id" in table.c and table not in (tenant, change):
            await s.execute(delete(table).where(mine(table)))
    await s.execute(_TOMBSTONE)
    s.announce()


def _read(row: Record) -> TenantRow:
    id_, slug, name, state, created, delete_at, *rest = row
    chosen, revision = settings.read(tuple(rest[: len(settings.COLUMNS)]))
    limits = Limits._make(rest[len(settings.COLUMNS) :])
    return TenantRow(id_, slug, name, state, created, limits, chosen, revision, delete_at)
