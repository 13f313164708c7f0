"""A whole catalog from one database to another: SQLite to PostgreSQL, back, or to a file for a backup.

Every row of every table is read at one moment of the source, written to the target, read back and compared: the number
of rows and a sum of hashes over all values of each table have to agree before the target is committed. Tenants are
entered one by one on either side, as the walls want it. What only tells nodes that something changed (``change``,
``channel``) and the sums of SQLite are not copied: the target has its own.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager
from functools import cache
from typing import Any, Protocol

from sqlalchemy import Select, Table, bindparam, exists, insert, literal, select, tuple_, update
from sqlalchemy.ext.asyncio import AsyncConnection

from satchel.catalog.schema import DIRECTORY, METADATA, UNREACHED, change, channel, tenant
from satchel.catalog.sums import row_hash
from satchel.errors import InternalError, Refused
from satchel.objects.ids import TenantId

BATCH = 5_000
"""Rows read and written at once: what bounds the memory, a few megabytes."""
_NOT_COPIED = {change.name, channel.name, *UNREACHED}
_DIRECTORY = [t for t in METADATA.sorted_tables if t.name in DIRECTORY and t.name not in _NOT_COPIED]
_OF_TENANTS = [t for t in METADATA.sorted_tables if t.name not in DIRECTORY | _NOT_COPIED]
_MASK = (1 << 62) - 1

Progress = Callable[[int, int], None]
Count = dict[str, tuple[int, int]]
"""Rows, and the sum of their hashes, by table."""


class CatalogNotEmpty(Refused):
    code = "catalog.not_empty"
    default_hint = "Name a database that was migrated and never used: a catalog is only ever moved into an empty one."


class Place(Protocol):
    """A database, as far as copying needs it; see ``connection.Database``."""

    def filling(self) -> AbstractAsyncContextManager[AsyncConnection]: ...

    async def enter(self, connection: AsyncConnection, tenant: TenantId, *, writing: bool) -> None: ...


def silent(_done: int, _all: int) -> None:
    """Progress that nobody watches."""


async def between(origin: Place, source: AsyncConnection, target: Place, progress: Progress = silent) -> Count:
    """Copy all that ``source``, a connection to ``origin`` that reads at one moment, sees; returns what was copied.

    ``progress`` is given tenants done, and all. Raises ``CatalogNotEmpty``, and ``InternalError`` when what was written
    does not read as what was sent; the target is then as it was.
    """
    async with target.filling() as into:
        await _refuse_rows(into)
        sent: Count = {}
        for table in _DIRECTORY:
            await _copy(table, None, source, into, sent)
        ids = await source.execute(select(tenant.c.tenant_id).order_by(tenant.c.tenant_id))
        tenants = [TenantId(row[0]) for row in ids]
        for done, each in enumerate(tenants, 1):
            await origin.enter(source, each, writing=False)
            await target.enter(into, each, writing=True)
            for table in await _held(source, each):
                await _copy(table, each, source, into, sent)
            progress(done, len(tenants))
        await into.execute(update(channel).values(epoch=channel.c.epoch + 1))
        found = await _count(target, into, tenants)
        if found != sent:
            strange = sorted(name for name in sent | found if sent.get(name) != found.get(name))
            raise InternalError(f"what was written is not what was read, in {', '.join(strange)}: nothing was moved")
    return sent


async def _refuse_rows(into: AsyncConnection) -> None:
    for table in _DIRECTORY:
        if (await into.execute(select(*table.primary_key.columns).limit(1))).first() is not None:
            raise CatalogNotEmpty(f"the database to move to is not empty: there are rows in {table.name}")


async def _count(place: Place, connection: AsyncConnection, tenants: list[TenantId]) -> Count:
    """Rows and sums of a catalog, read through."""
    found: Count = {}
    for table in _DIRECTORY:
        async for rows in _batches(connection, table, None):
            _add(found, table, rows)
    for each in tenants:
        await place.enter(connection, each, writing=True)
        for table in await _held(connection, each):
            async for rows in _batches(connection, table, each):
                _add(found, table, rows)
    return found


@cache
def _holding() -> Select[*tuple[Any, ...]]:
    """Which tables have rows of a tenant. Of most tenants most have none, and asking each was most of the work."""
    inside = bindparam("inside", type_=tenant.c.tenant_id.type)
    return select(*(exists().where(table.c.tenant_id == inside).label(table.name) for table in _OF_TENANTS))


async def _held(connection: AsyncConnection, inside: TenantId) -> list[Table]:
    """The tables in which a tenant, that was entered, has rows; those that others refer to first."""
    [row] = await connection.execute(_holding(), {"inside": inside})
    return [table for table, there in zip(_OF_TENANTS, row, strict=True) if there]


async def _copy(
    table: Table, inside: TenantId | None, source: AsyncConnection, into: AsyncConnection, sent: Count
) -> None:
    names = [column.name for column in table.columns]
    async for rows in _batches(source, table, inside):
        await into.execute(insert(table), [dict(zip(names, row, strict=True)) for row in rows])
        _add(sent, table, rows)


def _add(found: Count, table: Table, rows: list[tuple[Any, ...]]) -> None:
    number, total = found.get(table.name, (0, 0))
    total += sum(row_hash(table.name, *row) for row in rows)
    found[table.name] = (number + len(rows), total & _MASK)


async def _batches(
    connection: AsyncConnection, table: Table, inside: TenantId | None
) -> AsyncIterator[list[tuple[Any, ...]]]:
    """All rows by primary key, each batch from where the one before ended."""
    key = list(table.primary_key.columns)
    places = [list(table.columns).index(column) for column in key]
    query = select(*table.columns).order_by(*key).limit(BATCH)
    if inside is not None:
        query = query.where(table.c.tenant_id == inside)
    rows = [tuple(row) for row in await connection.execute(query)]
    while rows:
        yield rows
        if len(rows) < BATCH:
            return
        last = [literal(rows[-1][place], column.type) for place, column in zip(places, key, strict=True)]
        rows = [tuple(row) for row in await connection.execute(query.where(tuple_(*key) > tuple_(*last)))]
