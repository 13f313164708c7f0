"""PostgreSQL 15 and newer, for any number of nodes.

A scope that writes is one transaction. It begins with its first statement, in one message that also names the tenant to
the database, for this transaction alone, so that a connection is nobody's between two transactions: also behind a
pooler that hands it to another client (pgbouncer in transaction mode; say ``?pooler=transaction`` in the address, and
statements are prepared anew each time). So is a scope that reads behind a pooler; else each of its statements is a
transaction (`flights`).

A writer takes its tenant's lock with the same message and keeps it until the transaction ends. In this process writers
of one tenant wait for each other before they take a connection, so that one tenant's queue holds one connection.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager, nullcontext
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

import asyncpg
from sqlalchemy import BigInteger, func, make_url, select
from sqlalchemy.dialects.postgresql import asyncpg as dialect
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncConnection, create_async_engine
from sqlalchemy.pool import NullPool

from satchel.catalog import copying, revision, walls
from satchel.catalog.direct import Kept, Made, Reader, Texts, Writer
from satchel.catalog.flights import DIRECTORY, Line, Together, Transaction, entering, give_back, is_gone, rolled_back
from satchel.catalog.sqlite import SQLite
from satchel.catalog.stamp import SnapshotStamp
from satchel.catalog.trouble import ADDRESS_HINT, CatalogInUse, CatalogUnavailable, answered
from satchel.catalog.turns import TenantTurns
from satchel.errors import ConfigInvalid, StartRefused
from satchel.objects.ids import TenantId

CONNECT_SECONDS = 5
WAIT_SECONDS = 10
"""How long a request waits for a connection, and a writer for its turn, before it is told to try later."""
STATEMENT_SECONDS = 30
"""Longest a statement may take; the server ends it then, and this side a little later if the server is gone."""
IDLE_SECONDS = 120
"""Longest a transaction may rest between two statements."""
MIGRATOR_WAITS_SECONDS = 2
"""How long a migration waits for a table or for others to end, and others for it, before it gives up and tries again.
More than a second, after which PostgreSQL makes its vacuum give way."""
MIGRATE_SECONDS = 120
"""How long it goes on trying."""
OLDEST = 150_000
_FILES = ("sslrootcert", "sslcert", "sslkey", "sslcrl")
_LOCKS = 8_470
"""Sets our advisory locks apart from those of others in the same database."""
_BESIDE = f"pg_advisory_xact_lock_shared({_LOCKS + 1}, 0)"
_ALONE = f"SELECT pg_advisory_xact_lock({_LOCKS + 1}, 0); "
"""Every transaction is beside others, but a migration: it changes tables in an order of its own, and would meet those
who hold one table and want the next in a deadlock."""
_LASTING = "CASE current_setting('synchronous_commit') WHEN 'off' THEN set_config('synchronous_commit', 'on', true) END"
"""What is acknowledged outlives a crash, whatever the database is set to; stronger settings stay."""
_OWN_LOCK = f"pg_advisory_xact_lock({_LOCKS}, hashtext($1))"
_ENTER = (
    "SELECT WHERE num_nulls(set_config('satchel.tenant', $2, true), set_config('satchel.door', $3, true), "
    f"{_BESIDE}, {_LASTING}, {_OWN_LOCK}) > 5"
)
"""Enters a transaction that writes, and gives no row: the name of the lock, the tenant, the door."""
_GO_ON = f"SELECT WHERE num_nulls({_OWN_LOCK}, set_config('satchel.tenant', $1, true)) > 2"
"""Goes on inside another tenant."""
_BUSY = ("55P03", "40P01")
"""The codes of a lock that was not to be had in time, and of a deadlock."""
_FORBIDDEN = "42501"
"""The code of a privilege that is missing, and of a row that a policy refuses."""


class Postgres:
    """See ``connection.Database``."""

    name = "PostgreSQL"

    def __init__(self, url: str, connections: int) -> None:
        """Raises ``ConfigInvalid`` for an option of the address that is not known."""
        self._dsn, pooled = _without_pooler(url)
        # A pooler changes the connection beneath: there each statement is the unnamed one, prepared anew.
        self._options: dict[str, Any] = {"prepared_statement_cache_size": 0, "prepared_statement_name_func": str}
        self._command_seconds: float | None = STATEMENT_SECONDS + 5
        writers = max(2, connections // 3)
        readers = max(2, connections - writers - 1)  # one is the stamp's
        self._stamp = SnapshotStamp(self._connect, _close)
        self._pooled = pooled
        self._texts = Texts(dialect.dialect())  # type: ignore[no-untyped-call]  # SQLAlchemy's own
        self._read: Kept[asyncpg.Connection] = Kept(readers, WAIT_SECONDS)
        self._write: Kept[Line] = Kept(writers, WAIT_SECONDS)
        self._write_pooled = self._engine(pool_size=writers, max_overflow=0, pool_timeout=WAIT_SECONDS)
        self._apart = self._engine(poolclass=NullPool)
        self._reading, self._writing = TenantTurns(readers - 1, WAIT_SECONDS), TenantTurns(1, WAIT_SECONDS)

    def _engine(self, **pool: Any) -> Any:
        def connect() -> Any:  # with `async_creator` the options of SQLAlchemy's own would be left out
            dbapi: Any = engine.sync_engine.dialect.dbapi
            return dbapi.connect(async_creator_fn=self._connect, **self._options)

        engine = create_async_engine(
            "postgresql+asyncpg://",
            creator=connect,
            isolation_level="AUTOCOMMIT",  # transactions are begun and ended here
            hide_parameters=True,  # no title or path in the text of an error
            **pool,
        )
        return engine

    async def _connect(self, *, line: bool = False, reads: bool = False, **_options: object) -> asyncpg.Connection:
        """A new connection; as a ``line`` one of ``flights``, made ready for readers where it ``reads``."""
        try:
            connection = await asyncpg.connect(
                self._dsn,
                loop=Together(asyncio.get_running_loop()) if line else None,
                connection_class=Line if line else asyncpg.Connection,
                timeout=CONNECT_SECONDS,
                command_timeout=self._command_seconds,
                statement_cache_size=0 if self._pooled else 500,  # a pooler forbids it
            )
            if not self._pooled:
                try:
                    await connection.execute(_bounds(WAIT_SECONDS, ends=False))
                    if reads:
                        await connection.ready(_BESIDE)
                except BaseException:
                    connection.terminate()  # nobody else knows of it
                    raise
            return connection
        except asyncpg.InsufficientPrivilegeError as error:
            raise CatalogUnavailable("the database does not let the role connect to it", hint=ADDRESS_HINT) from error
        except (asyncpg.exceptions.ClientConfigurationError, asyncpg.UndefinedObjectError) as error:
            raise ConfigInvalid(f"the catalog's address cannot be used: {error}") from error
        except ValueError as error:  # it may quote a part of the address
            raise ConfigInvalid(
                "the catalog's address cannot be read: quote what is special in the password"
            ) from error

    def _begin(self, how: str, tenant: TenantId | None) -> str:
        """The message that begins a transaction. A pooler may hand each to another connection, so there the bounds of
        connections come with each."""
        bounds = _bounds(WAIT_SECONDS, ends=True) if self._pooled else ""
        return f"{how}; {bounds}SELECT {_inside(tenant)}, {_BESIDE}; "

    @asynccontextmanager
    async def reading(self, tenant: TenantId | None) -> AsyncIterator[Reader]:
        async with self._reading.of(tenant) if tenant else nullcontext(), self._read.place():
            if self._pooled:
                async with self._one_transaction(tenant) as reader:
                    yield reader
                return
            driver = _Flights(self._read, partial(self._connect, line=True, reads=True), tenant)
            ended = False
            try:
                yield Reader(driver, self._texts)
                ended = True
            finally:
                await driver.end(well=ended)

    @asynccontextmanager
    async def _one_transaction(self, tenant: TenantId | None) -> AsyncIterator[Reader]:
        connection = await self._ready(self._begin("BEGIN READ ONLY", tenant))
        ended = False
        try:
            yield Reader(_Driver(connection), self._texts)
            with answered():
                await connection.execute("COMMIT")
            ended = True
        finally:
            await give_back(self._read, connection, well=ended)

    async def _ready(self, begin: str) -> asyncpg.Connection:
        """A connection of readers in a new transaction. Those left over from before the server went away are found
        out here."""
        while True:
            kept = bool(self._read.idle)
            with answered():
                connection = self._read.idle.pop() if kept else await self._connect()
            try:
                await connection.execute(begin, timeout=WAIT_SECONDS + CONNECT_SECONDS)
            except BaseException as error:
                connection.terminate()
                if not kept or not is_gone(error):
                    with answered():
                        raise
            else:
                return connection

    @asynccontextmanager
    async def writing(self, tenant: TenantId | None) -> AsyncIterator[AsyncConnection | Writer]:
        lock = tenant or DIRECTORY
        async with self._writing.of(lock):
            if self._pooled:
                async with self._transaction(self._write_pooled, self._begin_writing(tenant)) as connection:
                    yield connection
                return
            first = [("BEGIN", ()), (_ENTER, (lock, tenant or "", "" if tenant else DIRECTORY))]
            connect = partial(self._connect, line=True)
            async with self._write.place():
                # Little longer than a lock may take: at the first answer a server is found out that says nothing.
                transaction = Transaction(self._write, connect, first, WAIT_SECONDS + CONNECT_SECONDS)
                ended = False
                try:
                    yield Writer(transaction, self._texts)
                    await transaction.commit()
                    ended = True
                finally:
                    await transaction.end(well=ended)

    @asynccontextmanager
    async def filling(self) -> AsyncIterator[AsyncConnection]:
        async with self._transaction(self._apart, self._begin_writing(None)) as connection:
            yield connection

    def _begin_writing(self, tenant: TenantId | None) -> str:
        return f"{self._begin('BEGIN', tenant)}SELECT {_LASTING}; {_lock(tenant or DIRECTORY)}"

    async def enter(self, connection: AsyncConnection | Reader | Writer, tenant: TenantId, *, writing: bool) -> None:
        if isinstance(connection, Writer):
            connection.driver.later(_GO_ON, (tenant,))
            return
        if isinstance(connection, Reader):
            driver = connection.driver
            assert isinstance(driver, _Driver | _Flights), "a reader of this database"
            await driver.enter(tenant)
            return
        raw = await _raw(connection)
        lock = _lock(tenant) if writing else ""
        await raw.execute(f"{lock}SELECT set_config('satchel.tenant', '{tenant}', true)")

    @asynccontextmanager
    async def _transaction(self, engine: Any, begin: str) -> AsyncIterator[AsyncConnection]:
        connection = await self._begun(engine, begin)
        try:
            yield connection
            with answered():
                said = await (await _raw(connection)).execute("COMMIT")
            if said != "COMMIT":
                raise RuntimeError("a statement was refused and the scope went on: nothing was written (see attempt)")
        except BaseException:
            await _abandon(connection)
            raise
        finally:
            await connection.close()

    async def _begun(self, engine: Any, begin: str) -> AsyncConnection:
        """A connection in a new transaction. One left over from before the server went away is found out here."""
        for last in (False, True):
            with answered():
                connection: AsyncConnection = await engine.connect()
            try:
                raw = await _raw(connection)
                # Little longer than a lock may take: here a server is found out that says nothing at all.
                await raw.execute(begin, timeout=WAIT_SECONDS + CONNECT_SECONDS)
            except BaseException as error:
                await _abandon(connection)
                await connection.close()
                if last or not is_gone(error):
                    with answered():
                        raise
                await engine.dispose(close=False)  # its other connections are as old
            else:
                return connection
        raise AssertionError("unreachable")

    async def stamp(self) -> object | None:
        return await self._stamp.now()

    async def clock(self) -> int | None:
        asked = select(func.floor(func.extract("epoch", func.clock_timestamp()) * 1000).cast(BigInteger))
        async with self.reading(None) as connection:
            row = (await connection.execute(asked)).first()
        return None if row is None else int(row[0])

    async def revision(self) -> str | None:
        """Raises ``StartRefused`` where the connected role may not even read that."""
        async with self.whole() as connection:
            try:
                return await connection.run_sync(revision.current)
            except DBAPIError as error:
                if getattr(error.orig, "sqlstate", None) != _FORBIDDEN:
                    raise
                raise StartRefused(
                    "the role in SATCHEL_DATABASE_URL may not use the tables",
                    hint="Run `satchel admin migrate` with the same SATCHEL_DATABASE_URL: it lets that role use them.",
                ) from error

    async def facts(self) -> list[walls.Fact]:
        """What the database says of its walls and of the role that is connected."""
        async with self.whole() as connection:
            return await connection.run_sync(walls.facts)

    async def refuse_unsafe(self) -> None:
        facts = await self.facts()
        broken = [f"{fact.what} ({fact.found})" for fact in facts if not fact.holds]
        if broken:
            raise StartRefused(
                f"the database does not hold {facts[0].found} inside one tenant. Not so: {'; '.join(broken)}",
                hint="SATCHEL_DATABASE_URL has to name a role that only serves, made as the guide's page on PostgreSQL "
                "shows; `satchel admin migrate` puts policies and privileges right.",
            )

    async def upgrade(self, serving: str | None) -> None:
        """Migrate beside whoever serves: they wait for a moment, once those who had begun are done.

        Raises ``StartRefused`` without ``serving``, where there is no such role, or where the connected one is it or
        may not make the tables; ``CatalogUnavailable`` where others kept the tables for two minutes.
        """
        if serving is None:
            raise StartRefused(
                "the database has not been migrated to this version of Satchel",
                hint="Run `satchel admin migrate` with the owner's address in SATCHEL_DATABASE_OWNER_URL.",
            )
        self._command_seconds = None  # a migration takes as long as it takes
        began, pause = time.monotonic(), 0.25
        while True:
            try:
                await self._migrate(serving)
                return
            except (DBAPIError, asyncpg.PostgresError) as error:
                state = getattr(getattr(error, "orig", error), "sqlstate", None)
                if state == _FORBIDDEN:
                    raise StartRefused(
                        "the role in SATCHEL_DATABASE_OWNER_URL may not make or change the tables",
                        hint="It has to own the tables and the schema public: ALTER SCHEMA public OWNER TO ...",
                    ) from error
                if state not in _BUSY or time.monotonic() - began > MIGRATE_SECONDS:
                    raise
            pause *= 2  # those who waited for this one have their turn, and ever more of it
            await asyncio.sleep(pause)

    async def _migrate(self, serving: str) -> None:
        begin = f"BEGIN; {_bounds(MIGRATOR_WAITS_SECONDS, ends=True)}SELECT {_inside(None)}; {_ALONE}"
        async with self._transaction(self._apart, begin) as connection:
            await _check_roles(connection, serving)
            await connection.exec_driver_sql("SELECT set_config('statement_timeout', '0', true)")
            if await connection.run_sync(revision.current) in revision.KNOWN[:-1]:
                await connection.run_sync(walls.open_to_owner)  # whose migration may have to change rows
            await connection.run_sync(revision.upgrade)
            await connection.run_sync(walls.raise_walls, serving)

    async def problems(self) -> list[str]:
        """Nothing: PostgreSQL checks pages itself where checksums are on, and references always."""
        await self.revision()
        return []

    async def accept_rows(self) -> None:
        """Nothing: no sums are kept of rows."""

    @asynccontextmanager
    async def whole(self, *, alone: bool = False) -> AsyncIterator[AsyncConnection]:
        begin = self._begin("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY", None)
        async with self._transaction(self._apart, begin) as connection:
            if alone:
                others = await connection.exec_driver_sql(
                    "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() "
                    "AND usename = current_user AND pid <> pg_backend_pid()"
                )
                if others.scalar():
                    raise CatalogInUse("the catalog is in use: others are connected to the database")
            yield connection

    async def snapshot(self, file: Path) -> None:
        target = SQLite(make_url(f"sqlite:///{file}"))
        try:
            await target.upgrade(None)
            async with self.whole() as source:
                await copying.between(self, source, target)
        finally:
            await target.close()

    async def close(self) -> None:
        await self._stamp.close()
        for kept in (self._read, self._write):
            while kept.idle:
                await _close(kept.idle.pop())
        await self._write_pooled.dispose()
        await self._apart.dispose()
        await asyncio.sleep(0)  # sockets of connections that were given up close in the next turn of the loop


async def _check_roles(connection: AsyncConnection, serving: str) -> None:
    said = await connection.exec_driver_sql(
        "SELECT current_setting('server_version_num')::int, current_user::text, "
        "EXISTS (SELECT FROM pg_roles WHERE rolname = $1::text)",
        (serving,),
    )
    version: int
    version, owner, known = tuple(said.one())
    if version < OLDEST:
        raise StartRefused(f"PostgreSQL {version // 10_000} is too old: 15 is the oldest that will do")
    if not known:
        raise StartRefused(
            f"there is no role {serving} in the database, as SATCHEL_DATABASE_URL says",
            hint="Make it, as the guide's page on PostgreSQL shows: CREATE ROLE ... LOGIN PASSWORD ...",
        )
    if owner == serving:
        raise StartRefused(
            f"{serving} is named by SATCHEL_DATABASE_URL and by SATCHEL_DATABASE_OWNER_URL: they have to be two roles",
            hint="Who owns a table can take its walls down. The guide's page on PostgreSQL shows both roles.",
        )


def _inside(tenant: TenantId | None) -> str:
    """Names the tenant, or the directory, for the transaction that begins with the same message.

    Ids of tenants are of our own alphabet: `scope` lets nothing else through.
    """
    door = "" if tenant else DIRECTORY
    return f"set_config('satchel.tenant', '{tenant or ''}', true), set_config('satchel.door', '{door}', true)"


def _bounds(wait_seconds: float, *, ends: bool) -> str:
    """What is the same for every connection; it ``ends`` with the transaction, or with the connection."""
    values = {
        "search_path": "public, pg_temp",  # no other schema's tables, whoever made them
        "statement_timeout": f"{STATEMENT_SECONDS}s",
        "lock_timeout": f"{wait_seconds}s",
        "idle_in_transaction_session_timeout": f"{IDLE_SECONDS}s",
        "jit": "off",
    }
    return "SELECT " + ", ".join(f"set_config('{name}', '{value}', {ends})" for name, value in values.items()) + "; "


def _lock(name: str) -> str:
    return f"SELECT pg_advisory_xact_lock({_LOCKS}, hashtext('{name}')); "


class _Driver:
    """See ``direct.Driver``."""

    __slots__ = ("_connection",)

    def __init__(self, connection: asyncpg.Connection) -> None:
        self._connection = connection

    async def fetch(self, text: str, values: Sequence[object]) -> Made:
        records = await self._connection.fetch(text, *values)
        return tuple(records[0].keys()) if records else (), records

    async def enter(self, tenant: TenantId) -> None:
        await self._connection.execute(f"SELECT set_config('satchel.tenant', '{tenant}', true)")


class _Flights:
    """The same for a scope whose statements are transactions each. A connection is taken with the first of them."""

    __slots__ = ("_connect", "_enter", "_kept", "_line")

    def __init__(self, kept: Kept[Any], connect: Callable[[], Awaitable[Line]], tenant: TenantId | None) -> None:
        self._kept, self._connect = kept, connect
        self._enter = entering(tenant, directory=tenant is None)
        self._line: Line | None = None

    async def fetch(self, text: str, values: Sequence[object]) -> Made:
        with answered():
            return await self._fetch(text, values)

    async def _fetch(self, text: str, values: Sequence[object]) -> Made:
        if self._line is not None:
            return await self._line.ask(self._enter, text, values)
        while True:
            left = bool(self._kept.idle)
            self._line = self._kept.idle.pop() if left else await self._connect()
            try:
                return await self._line.ask(self._enter, text, values)
            except BaseException as error:
                if not left or not is_gone(error):
                    raise
                self._line.terminate()  # left over from before the server went away
                self._line = None

    async def enter(self, tenant: TenantId) -> None:
        """Go on inside ``tenant``, with the directory open still."""
        self._enter = entering(tenant, directory=True)

    async def end(self, *, well: bool) -> None:
        """Give the connection back, if there was one."""
        if self._line is not None:
            await give_back(self._kept, self._line, well=well)


async def _raw(connection: AsyncConnection) -> asyncpg.Connection:
    """The driver's own connection: it takes several statements in one message, which SQLAlchemy does not."""
    raw: asyncpg.Connection | None = (await connection.get_raw_connection()).driver_connection
    assert raw is not None
    return raw


async def _abandon(connection: AsyncConnection) -> None:
    """Roll back; or drop the connection, where it is not known what became of it."""
    try:
        known = await rolled_back(await _raw(connection))
    except BaseException:  # noqa: BLE001 (there is none beneath any more)
        known = False
    if not known:
        await connection.invalidate()


async def _close(raw: asyncpg.Connection) -> None:
    try:
        await raw.close(timeout=2)
    except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError):
        raw.terminate()


def _without_pooler(url: str) -> tuple[str, bool]:
    """The address as the driver takes it, and whether a pooler of transactions stands before the database."""
    parts = urlsplit(url)
    options = parse_qsl(parts.query, keep_blank_values=True)
    poolers = [value for name, value in options if name == "pooler"]
    if any(value != "transaction" for value in poolers):
        raise ConfigInvalid("pooler in the catalog's address can be `transaction`, or be left out")
    for name, value in options:
        if name in _FILES and not Path(value).is_file():  # the driver's complaint would look like a database away
            raise ConfigInvalid(f"{name} in the catalog's address is not a file: {value}")
    query = urlencode([(name, value) for name, value in options if name != "pooler"])
    return urlunsplit(parts._replace(scheme="postgresql", query=query)), bool(poolers)
