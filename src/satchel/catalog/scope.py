"""The one door to the catalog.

``Catalog.read(tenant)`` and ``Catalog.write(tenant)`` give a ``Scope``: it runs a statement only if the statement is
bound to the scope's tenant at every table it touches (`guard`), and it alone supplies that tenant. The tenant comes
from a verified credential, never from a header, a path or a body. ``Catalog.directory()`` gives the ``Directory``,
for the few tables that are asked before a tenant is known.

A writing scope is one transaction: it commits when the block ends, and leaves nothing behind when the block raises.
Writers of one tenant queue, on either engine. On SQLite this check is the whole wall between tenants inside the
catalog; on PostgreSQL row-level security stands behind it (`walls`).
"""

from __future__ import annotations

import os
import time
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from operator import itemgetter
from pathlib import Path
from typing import Any, Self, TypeVar

from sqlalchemy import CursorResult, Delete, Insert, Select, Update, bindparam, insert, select, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncConnection
from sqlalchemy.sql.expression import CompoundSelect

from satchel.catalog import connection as _connection
from satchel.catalog import copying, guard, revision
from satchel.catalog.direct import Reader, Rows, Writer, compiled_change
from satchel.catalog.schema import SCHEMA_REVISION, SCOPE_TENANT, channel
from satchel.catalog.schema import change as change_table
from satchel.catalog.trouble import CatalogDamaged, CatalogUnavailable, answered, translated
from satchel.catalog.walls import Fact
from satchel.objects.ids import TenantId, is_random_id

__all__ = ["Catalog", "CatalogDamaged", "CatalogUnavailable", "Directory", "Scope", "chunks"]

Params = Mapping[str, object]
Record = Any
"""A row: a tuple with the names of its columns."""
Query = Select[*tuple[Any, ...]] | CompoundSelect[*tuple[Any, ...]]
Change = Insert | Update | Delete
Random = Callable[[int], bytes]
T = TypeVar("T")
IN_CHUNK = 1_000
"""Most values in one IN list: far below SQLite's and PostgreSQL's limits on parameters, and one plan fits all."""


class Scope:
    """A tenant's part of the catalog. Made by ``Catalog`` and ``Directory.enter`` alone."""

    def __init__(
        self,
        connection: AsyncConnection | Reader | Writer,
        tenant: TenantId,
        random: Random,
        *,
        writing: bool,
        erasing: bool = False,
        door: Directory | None = None,
    ) -> None:
        self.tenant = tenant
        self.random = random
        self.changed: set[TenantId] = set() if door is None else door.changed
        self.audited: set[TenantId] = set() if door is None else door.audited
        self._connection = connection
        self._writing = writing
        self._erasing = erasing
        self._door = door

    def announce(self) -> None:
        """Let every node forget what it remembers of this tenant, once the transaction has been committed.

        For changes of principals, grants, settings, limits and the tenant's state.
        """
        if not self._writing:
            raise guard.UnscopedStatement("a reading scope changes nothing")
        self.changed.add(self.tenant)

    async def rows(self, query: Query, params: Params | None = None) -> Sequence[Record]:
        """All rows of ``query``."""
        return (await self._run(query, params)).all()

    async def row(self, query: Query, params: Params | None = None) -> Record | None:
        """The first row of ``query``, or None."""
        return (await self._run(query, params)).first()

    async def execute(self, change: Change, params: Params | None = None) -> int:
        """Run a change and return how many rows it touched."""
        return (await self._run(change, params)).rowcount

    async def later(self, change: Change, params: Params | None = None) -> None:
        """Run a change of which nobody needs to know how many rows it touched.

        It may leave with the next statement that is asked, or with the commit: what is wrong with it is raised there.
        """
        if not isinstance(self._connection, Writer):
            await self._run(change, params)
            return
        given = self._given(change, params)
        await self._inside()
        self._connection.later(change, given)

    async def execute_many(self, change: Change, columns: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
        """Run ``change`` for every row, whose values stand in the order of ``columns``.

        Goes to the driver as it is, with no work per row in between: a commit of 8,000 files runs through here.
        """
        guard.check_scoped(change, writing=self._writing, erasing=self._erasing)
        _check_names(columns)
        keys = [*columns, "tenant_id"] if isinstance(change, Insert) else None
        compiled = compiled_change(change, _writer(self._connection).dialect, tuple(keys) if keys else None)
        names = compiled.positiontup or []
        # What is the same for every row, the tenant above all, stands behind the row's own values.
        fixed = {name: value for name, value in compiled.params.items() if name in names and name not in columns}
        fixed[SCOPE_TENANT] = self.tenant
        order = {name: index for index, name in enumerate((*columns, *fixed))}
        arrange = itemgetter(*(order[name] for name in names))  # two at the least: the tenant, and what it is about
        behind = tuple(fixed.values())
        values = [arrange((*row, *behind)) for row in rows]
        for row in values:
            guard.check_values(row)
        if values:
            with answered():
                await self._inside()
                await _writer(self._connection).exec_driver_sql(compiled.string, values)

    async def _run(self, statement: Query | Change, params: Params | None) -> CursorResult[*tuple[Any, ...]] | Rows:
        given = self._given(statement, params)
        with answered():
            await self._inside()
            return await self._connection.execute(statement, given)

    def _given(self, statement: Query | Change, params: Params | None) -> dict[str, object]:
        """The parameters of a statement that may be run in this scope, its tenant among them."""
        guard.check_scoped(statement, writing=self._writing, erasing=self._erasing)
        given: dict[str, object] = {**params} if params else {}
        _check_names(given)
        guard.check_values(given.values())
        given[SCOPE_TENANT] = self.tenant
        return given

    @asynccontextmanager
    async def attempt(self) -> AsyncIterator[None]:
        """Around a change that a constraint may refuse (``IntegrityError``): the transaction can go on after it."""
        await self._inside()
        async with _savepoint(_writer(self._connection)):
            yield

    async def _inside(self) -> None:
        if self._door is not None:
            await self._door.inside(self.tenant)


class Directory:
    """The tables that belong to no tenant. Only the named functions of this package use it."""

    def __init__(
        self,
        connection: AsyncConnection | Reader | Writer,
        database: _connection.Database,
        random: Random,
        *,
        writing: bool,
    ) -> None:
        self.random = random
        self.changed: set[TenantId] = set()
        self.audited: set[TenantId] = set()
        self._connection = connection
        self._database = database
        self._writing = writing
        self._entered: TenantId | None = None

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
        return Scope(self._connection, _tenant(tenant), self.random, writing=self._writing, erasing=erasing, door=self)

    @asynccontextmanager
    async def attempt(self) -> AsyncIterator[None]:
        """As ``Scope.attempt``."""
        async with _savepoint(_writer(self._connection)):
            yield

    async def inside(self, tenant: TenantId) -> None:
        """Let the database know whose scope speaks next. Called by the scopes of this directory."""
        if self._entered != tenant:
            await self._database.enter(self._connection, tenant, writing=self._writing)
            self._entered = tenant

    async def _run(self, statement: Query | Change, params: Params | None) -> CursorResult[*tuple[Any, ...]] | Rows:
        guard.check_directory(statement, writing=self._writing)
        guard.check_values((params or {}).values())
        with answered():
            return await self._connection.execute(statement, dict(params or {}))


class Catalog:
    """An open catalog. One for a process; its scopes are cheap and short."""

    def __init__(self, database: _connection.Database, random: Random) -> None:
        self._database = database
        self._random = random
        self.audited: set[TenantId] = set()
        """Tenants whose audit this process has added to; whoever seals it takes them out."""
        self.on_change: Callable[[TenantId], None] | None = None
        """Called with each tenant that a scope of this catalog announced, once that is committed or may be."""
        self.note: Callable[[str, float, bool], None] = _unnoted
        """Told of each scope and directory when it ends: ``read`` or ``write``, how long it lasted in seconds, the wait
        for its turn included, and whether the catalog answered."""

    @classmethod
    async def open(cls, url: str, *, random: Random = os.urandom, connections: int = _connection.CONNECTIONS) -> Self:
        """Open a migrated catalog, with at most ``connections`` to a database server.

        Raises ``StartRefused`` when its schema is older or newer than this code, or when the database does not hold
        the wall between tenants; ``CatalogUnavailable``; ``ConfigInvalid`` for an address that is none.
        """
        catalog = cls(_connection.open_database(url, connections), random)
        try:
            with translated():
                revision.check(await catalog._database.revision())
                await catalog._database.refuse_unsafe()
            await catalog.check()  # which also leaves a connection, so that who wants to be alone sees that we are here
        except BaseException:
            await catalog.close()
            raise
        return catalog

    @staticmethod
    async def migrate(url: str, *, serving: str | None = None) -> None:
        """Bring the schema to this code's revision, or create it; does nothing when it is there already.

        On PostgreSQL ``url`` is the owner's, and ``serving`` names the role that is to use the tables. Two processes
        may call it at once: the second waits for the first. Raises ``StartRefused`` for a schema newer than this
        code, which is left untouched.
        """
        database = _connection.open_database(url)
        try:
            with translated():
                await database.upgrade(serving)
        finally:
            await database.close()

    newest = SCHEMA_REVISION
    """The revision this code needs."""
    known = revision.KNOWN
    """Every revision it can bring there, oldest first."""

    @staticmethod
    async def revision(url: str) -> str | None:
        """The revision of the catalog at ``url``, None if nothing is there. Changes nothing."""
        database = _connection.open_database(url)
        try:
            with translated():
                return await database.revision()
        finally:
            await database.close()

    @staticmethod
    async def wall_facts(url: str) -> list[Fact]:
        """What the database at ``url`` says of the walls it holds by itself, and of the role that is connected.

        Empty for SQLite, which holds none: there the scope is the only one. Changes nothing.
        """
        database = _connection.open_database(url)
        try:
            with translated():
                return await database.facts()
        finally:
            await database.close()

    @property
    def engine(self) -> str:
        """``SQLite`` or ``PostgreSQL``."""
        return self._database.name

    @asynccontextmanager
    async def read(self, tenant: str) -> AsyncIterator[Scope]:
        """A scope that only reads. Statements are not one snapshot: name the version you read at."""
        inside = _tenant(tenant)
        began, good = time.perf_counter(), True
        try:
            with translated():
                async with self._database.reading(inside) as connection:
                    yield Scope(connection, inside, self._random, writing=False)
        except CatalogUnavailable:
            good = False
            raise
        finally:
            self.note("read", time.perf_counter() - began, good)

    @asynccontextmanager
    async def write(self, tenant: str) -> AsyncIterator[Scope]:
        """A scope that is one transaction, committed at the end of the block. Keep it short: writers queue."""
        inside = _tenant(tenant)
        changed: set[TenantId] = set()
        began, good = time.perf_counter(), True
        try:
            with translated():
                async with self._database.writing(inside) as connection:
                    scope = Scope(connection, inside, self._random, writing=True)
                    changed = scope.changed
                    yield scope
                    await _tell(connection, changed)
        except CatalogUnavailable:
            good = False
            raise
        finally:
            self.note("write", time.perf_counter() - began, good)
            self._changed(changed)
        self.audited |= scope.audited

    @asynccontextmanager
    async def directory(self, *, write: bool = False) -> AsyncIterator[Directory]:
        """The directory; with ``write`` as one transaction, committed at the end of the block."""
        opened: Callable[[None], AbstractAsyncContextManager[AsyncConnection | Reader | Writer]]
        opened = self._database.writing if write else self._database.reading
        changed: set[TenantId] = set()
        began, good = time.perf_counter(), True
        try:
            with translated():
                async with opened(None) as connection:
                    directory = Directory(connection, self._database, self._random, writing=write)
                    changed = directory.changed
                    yield directory
                    if write:
                        await _tell(_writer(connection), changed)
        except CatalogUnavailable:
            good = False
            raise
        finally:
            self.note("write" if write else "read", time.perf_counter() - began, good)
            self._changed(changed)
        self.audited |= directory.audited

    def _changed(self, tenants: Iterable[TenantId]) -> None:
        if self.on_change is not None:
            for tenant in tenants:
                self.on_change(tenant)

    async def stamp(self) -> object | None:
        """Something that stays the same for as long as nothing is committed; None where that is not known."""
        return await self._database.stamp()

    async def clock(self) -> int | None:
        """The database's clock in milliseconds UTC; None where it has none but this machine's."""
        with translated():
            return await self._database.clock()

    async def check(self) -> None:
        """Raise ``CatalogUnavailable`` unless the catalog answers."""
        with translated():
            async with self._database.reading(None) as connection:
                await connection.execute(select(1))

    async def problems(self) -> list[str]:
        """What is wrong with the database's pages, references and rows; empty when all is well. Reads all of it."""
        with translated():
            return await self._database.problems()

    async def accept_rows(self) -> None:
        """Take all rows for right as they are, after they were changed by something else than Satchel on purpose."""
        with translated():
            await self._database.accept_rows()

    async def snapshot(self, file: Path) -> None:
        """Write the whole catalog, as it is at one moment, to ``file``, readable by its owner alone. Writers go on.

        ``file`` must not exist or be empty, and is an SQLite file, whichever the engine. Raises ``DiskFull``.
        """
        with translated():
            await self._database.snapshot(file)

    @staticmethod
    async def move(
        source: str, target: str, *, alone: bool = True, progress: copying.Progress = copying.silent
    ) -> copying.Count:
        """Copy the whole catalog at ``source`` into the migrated, empty one at ``target``, and compare every row.

        Returns the number of rows and a sum of their hashes by table. With ``alone`` nobody else may have the source
        open. Raises ``CatalogInUse``, ``CatalogNotEmpty``, ``StartRefused`` for schemas that are not this code's.
        """
        old, new = _connection.open_database(source), _connection.open_database(target)
        try:
            with translated():
                for database in (old, new):
                    revision.check(await database.revision())
                await new.refuse_unsafe()
                async with old.whole(alone=alone) as reading:
                    return await copying.between(old, reading, new, progress)
        finally:
            await old.close()
            await new.close()

    async def close(self) -> None:
        """Close every connection. Scopes still open end in an error."""
        await self._database.close()


@asynccontextmanager
async def _savepoint(connection: AsyncConnection | Writer) -> AsyncIterator[None]:
    # PostgreSQL takes nothing more in a transaction after a refusal; SQLite undoes the statement alone.
    with answered():
        await connection.exec_driver_sql("SAVEPOINT attempt")
    try:
        yield
    except IntegrityError:
        await connection.exec_driver_sql("ROLLBACK TO SAVEPOINT attempt")
        raise
    await connection.exec_driver_sql("RELEASE SAVEPOINT attempt")


def _writer(connection: AsyncConnection | Reader | Writer) -> AsyncConnection | Writer:
    if isinstance(connection, Reader):
        raise guard.UnscopedStatement("a reading scope changes nothing")
    return connection


_NEXT_EPOCH = update(channel).values(epoch=channel.c.epoch + 1)
_INSERT_CHANGE = insert(change_table).from_select(
    ["epoch", "tenant_id", "time"],
    select(
        channel.c.epoch,
        bindparam("of_tenant", type_=change_table.c.tenant_id.type),
        bindparam("at", type_=change_table.c.time.type),
    ),
)


async def _tell(connection: AsyncConnection | Writer, tenants: Iterable[TenantId]) -> None:
    """Note that tenants changed, last of all: the channel's row is locked until the transaction ends.

    Each takes the next number while it holds that row, so that numbers become visible in their order and a node that
    has seen one has seen all before it.
    """
    for tenant in sorted(tenants):
        change = {"of_tenant": tenant, "at": time.time_ns() // 1_000_000}
        if isinstance(connection, Writer):
            connection.later(_NEXT_EPOCH)
            connection.later(_INSERT_CHANGE, change)
            continue
        with answered():
            await connection.execute(_NEXT_EPOCH)
            await connection.execute(_INSERT_CHANGE, change)


def _unnoted(_kind: str, _seconds: float, _good: bool) -> None:
    """Nobody counts."""


def _tenant(text: str) -> TenantId:
    if not is_random_id(text, "ten"):
        raise ValueError("a scope is entered with a tenant's id")
    return TenantId(text)


def _check_names(names: Iterable[str]) -> None:
    if "tenant_id" in names or SCOPE_TENANT in names:
        raise guard.UnscopedStatement("the tenant comes from the scope alone")


def chunks(values: Sequence[T]) -> Iterator[Sequence[T]]:
    """``values`` in pieces that fit one IN list."""
    for start in range(0, len(values), IN_CHUNK):
        yield values[start : start + IN_CHUNK]
