"""The one door to the catalog.

``Catalog.read(tenant)`` and ``Catalog.write(tenant)`` give a ``Scope``: it runs a statement only if the statement is
bound to the scope's tenant at every table it touches (`guard`), and it alone supplies that tenant. The tenant comes
from a verified credential, never from a header, a path or a body. ``Catalog.directory()`` gives the ``Directory``,
for the few tables that are asked before a tenant is known.

A writing scope is one transaction: it commits when the block ends, and leaves nothing behind when the block raises.
On SQLite this check is the whole wall between tenants inside the catalog.
"""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from operator import itemgetter
from pathlib import Path
from typing import Any, Self, TypeVar

from sqlalchemy import CursorResult, Delete, Insert, Row, Select, Update, select
from sqlalchemy.exc import DBAPIError, IntegrityError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.ext.asyncio import AsyncConnection
from sqlalchemy.sql.expression import CompoundSelect

from satchel.catalog import connection as _connection
from satchel.catalog import guard, revision, sums
from satchel.catalog.schema import SCOPE_TENANT
from satchel.errors import Damaged, DiskFull, StartRefused, Unavailable
from satchel.objects.ids import TenantId, is_random_id

Params = Mapping[str, object]
Record = Row[*tuple[Any, ...]]
Query = Select[*tuple[Any, ...]] | CompoundSelect[*tuple[Any, ...]]
Change = Insert | Update | Delete
Random = Callable[[int], bytes]
T = TypeVar("T")
_DAMAGED = ("malformed", "unsupported file format", "decode to UTF-8", "no such column")
"""What SQLite says of a file whose pages, texts or definitions are not what was written."""

IN_CHUNK = 1_000
"""Most values in one IN list: far below SQLite's and PostgreSQL's limits on parameters, and one plan fits all."""


class CatalogUnavailable(Unavailable):
    code = "catalog.unavailable"
    default_hint = "The catalog does not answer or is too busy: the same request may succeed later."


class CatalogDamaged(Damaged):
    code = "catalog.damaged"
    default_hint = "Stop the server and restore the catalog from a backup."


class Scope:
    """A tenant's part of the catalog. Made by ``Catalog`` and ``Directory.enter`` alone."""

    def __init__(
        self, connection: AsyncConnection, tenant: TenantId, random: Random, *, writing: bool, erasing: bool = False
    ) -> None:
        self.tenant = tenant
        self.random = random
        self._connection = connection
        self._writing = writing
        self._erasing = erasing

    async def rows(self, query: Query, params: Params | None = None) -> Sequence[Record]:
        """All rows of ``query``."""
        return (await self._run(query, params)).all()

    async def row(self, query: Query, params: Params | None = None) -> Record | None:
        """The first row of ``query``, or None."""
        return (await self._run(query, params)).first()

    async def execute(self, change: Change, params: Params | None = None) -> int:
        """Run a change and return how many rows it touched."""
        return (await self._run(change, params)).rowcount

    async def execute_many(self, change: Change, columns: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
        """Run ``change`` for every row, whose values stand in the order of ``columns``.

        Goes to the driver as it is, with no work per row in between: a commit of 8,000 files runs through here.
        """
        guard.check_scoped(change, writing=self._writing, erasing=self._erasing)
        _check_names(columns)
        keys = [*columns, "tenant_id"] if isinstance(change, Insert) else None
        compiled = change.compile(dialect=self._connection.dialect, column_keys=keys)
        names = compiled.positiontup or []
        # What is the same for every row, the tenant above all, stands behind the row's own values.
        fixed = {name: value for name, value in compiled.params.items() if name in names and name not in columns}
        fixed[SCOPE_TENANT] = self.tenant
        order = {name: index for index, name in enumerate((*columns, *fixed))}
        arrange = itemgetter(*(order[name] for name in names))  # two at the least: the tenant, and what it is about
        behind = tuple(fixed.values())
        values = [arrange((*row, *behind)) for row in rows]
        if values:
            await self._connection.exec_driver_sql(compiled.string, values)

    async def _run(self, statement: Query | Change, params: Params | None) -> CursorResult[*tuple[Any, ...]]:
        guard.check_scoped(statement, writing=self._writing, erasing=self._erasing)
        given: dict[str, object] = {**params} if params else {}
        _check_names(given)
        given[SCOPE_TENANT] = self.tenant
        return await self._connection.execute(statement, given)


class Directory:
    """The tables that belong to no tenant. Only the named functions of this package use it."""

    def __init__(self, connection: AsyncConnection, random: Random, *, writing: bool) -> None:
        self.random = random
        self._connection = connection
        self._writing = writing

    async def rows(self, query: Query, params: Params | None = None) -> Sequence[Record]:
        """All rows of ``query``."""
        return (await self._run(query, params)).all()

    async def row(self, query: Query, params: Params | None = None) -> Record | None:
        """The first row of ``query``, or None."""
        return (await self._run(query, params)).first()

    async def execute(self, change: Change, params: Params | None = None) -> int:
        """Run a change and return how many rows it touched."""
        return (await self._run(change, params)).rowcount

    def enter(self, tenant: str, *, erasing: bool = False) -> Scope:
        """The scope of one tenant inside the same transaction: to found it, or (``erasing``) to delete its rows."""
        return Scope(self._connection, _tenant(tenant), self.random, writing=self._writing, erasing=erasing)

    async def _run(self, statement: Query | Change, params: Params | None) -> CursorResult[*tuple[Any, ...]]:
        guard.check_directory(statement, writing=self._writing)
        return await self._connection.execute(statement, dict(params or {}))


class Catalog:
    """An open catalog. One for a process; its scopes are cheap and short."""

    def __init__(self, engines: _connection.Engines, random: Random) -> None:
        self._engines = engines
        self._random = random

    @classmethod
    async def open(cls, url: str, *, random: Random = os.urandom) -> Self:
        """Open a migrated catalog; raises ``StartRefused`` when its schema is older or newer than this code."""
        catalog = cls(_connection.open_engines(url), random)
        try:
            with _translated():
                async with catalog._engines.read.connect() as connection:
                    found = await connection.run_sync(revision.current)
            revision.check(found)
        except BaseException:
            await catalog.close()
            raise
        return catalog

    @staticmethod
    async def migrate(url: str) -> None:
        """Bring the schema to this code's revision, or create it; does nothing when it is there already.

        Two processes may call it at once: the second waits for the first. Raises ``StartRefused`` for a schema newer
        than this code, which is left untouched.
        """
        engines = _connection.open_engines(url)
        try:
            with _translated():
                async with engines.write.begin() as connection:
                    await connection.run_sync(revision.upgrade)
        finally:
            await engines.read.dispose()
            await engines.write.dispose()

    @asynccontextmanager
    async def read(self, tenant: str) -> AsyncIterator[Scope]:
        """A scope that only reads. Statements are not one snapshot: name the version you read at."""
        with _translated():
            async with self._engines.read.connect() as connection:
                yield Scope(connection, _tenant(tenant), self._random, writing=False)

    @asynccontextmanager
    async def write(self, tenant: str) -> AsyncIterator[Scope]:
        """A scope that is one transaction, committed at the end of the block. Keep it short: writers queue."""
        with _translated():
            async with self._engines.write.begin() as connection:
                yield Scope(connection, _tenant(tenant), self._random, writing=True)

    @asynccontextmanager
    async def directory(self, *, write: bool = False) -> AsyncIterator[Directory]:
        """The directory; with ``write`` as one transaction, committed at the end of the block."""
        engine = self._engines.write if write else self._engines.read
        with _translated():
            async with engine.begin() as connection:
                yield Directory(connection, self._random, writing=write)

    async def check(self) -> None:
        """Raise ``CatalogUnavailable`` unless the catalog answers."""
        with _translated():
            async with self._engines.read.connect() as connection:
                await connection.execute(select(1))

    async def problems(self) -> list[str]:
        """What is wrong with the database's pages, references and rows; empty when all is well. Reads all of it."""
        with _translated():
            async with self._engines.read.connect() as connection:
                return await connection.run_sync(sums.problems)

    async def accept_rows(self) -> None:
        """Take all rows for right as they are, after they were changed by something else than Satchel on purpose."""
        with _translated():
            async with self._engines.write.begin() as connection:
                await connection.run_sync(sums.renew)

    async def snapshot(self, file: Path) -> None:
        """Write the whole catalog, as it is at one moment, to ``file``, readable by its owner alone. Writers go on.

        ``file`` must not exist or be empty. Raises ``DiskFull``.
        """
        with _translated():
            async with self._engines.read.connect() as connection:
                await connection.run_sync(revision.snapshot, file)

    async def close(self) -> None:
        """Close every connection. Scopes still open end in an error."""
        await self._engines.read.dispose()
        await self._engines.write.dispose()


def _tenant(text: str) -> TenantId:
    if not is_random_id(text, "ten"):
        raise ValueError("a scope is entered with a tenant's id")
    return TenantId(text)


def _check_names(names: Iterable[str]) -> None:
    if "tenant_id" in names or SCOPE_TENANT in names:
        raise guard.UnscopedStatement("the tenant comes from the scope alone")


@contextmanager
def _translated() -> Iterator[None]:
    """Tell a full disk and a busy or absent database from defects, which pass as they are."""
    try:
        yield
    except PoolTimeout as error:
        raise CatalogUnavailable("the catalog is too busy") from error
    except IntegrityError:
        raise
    except UnicodeDecodeError as error:  # a complaint of SQLite that quotes damaged bytes
        raise CatalogDamaged("the catalog's file is damaged") from error
    except DBAPIError as error:
        reason = str(error.orig)
        if "not a database" in reason:
            raise StartRefused(
                "the catalog's file is not a catalog",
                hint="Restore the file from a backup, or set the catalog's address to the right one.",
            ) from error
        if any(sign in reason for sign in _DAMAGED):
            raise CatalogDamaged("the catalog's file is damaged") from error
        if "disk is full" in reason:
            raise DiskFull("the disk that holds the catalog is full") from error
        if any(sign in reason for sign in ("locked", "unable to open", "disk I/O", "readonly", "no such table")):
            raise CatalogUnavailable("the catalog does not answer") from error
        raise


def chunks(values: Sequence[T]) -> Iterator[Sequence[T]]:
    """``values`` in pieces that fit one IN list."""
    for start in range(0, len(values), IN_CHUNK):
        yield values[start : start + IN_CHUNK]
