"""The embedded database. Two engines on one file.

Readers run in autocommit and are told to the database itself to be readers. The writer is one connection, so that
writers of this process queue in order, one of each tenant at a time (`turns`), instead of polling a lock; writers of
other processes are waited for by SQLite, ten seconds at most. A commit is on disk when it returns (WAL,
synchronous=FULL).
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager, nullcontext
from pathlib import Path
from typing import Any

from sqlalchemy import URL, Connection, event
from sqlalchemy.dialects import sqlite
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncConnection, create_async_engine
from sqlalchemy.pool import ConnectionPoolEntry
from sqlalchemy.util.concurrency import await_only, in_greenlet

from satchel.catalog import inline, revision, sums
from satchel.catalog.direct import Kept, Reader, Texts, Writer
from satchel.catalog.schema import SCHEMA_REVISION
from satchel.catalog.stamp import FileStamp
from satchel.catalog.trouble import CatalogInUse
from satchel.catalog.turns import TenantTurns
from satchel.catalog.walls import Fact
from satchel.errors import ConfigInvalid
from satchel.objects.ids import TenantId

READERS = 4
"""Connections that read at once, all but one of them for the same tenant."""
WAIT_SECONDS = 10
"""How long a writer waits for its turn before it is told to try later."""

_BOTH = (
    "PRAGMA journal_mode=WAL",
    "PRAGMA synchronous=FULL",
    "PRAGMA foreign_keys=ON",
    f"PRAGMA busy_timeout={WAIT_SECONDS * 1000}",
    "PRAGMA temp_store=MEMORY",
    "PRAGMA trusted_schema=OFF",
    "PRAGMA secure_delete=ON",  # a purged title does not stay in a free page
)
_READING = (*_BOTH, "PRAGMA query_only=ON")


class SQLite:
    """See ``connection.Database``. The file knows no tenants: the check of every statement is the wall."""

    name = "SQLite"

    def __init__(self, url: URL) -> None:
        """Raises ``ConfigInvalid`` when the file can be neither opened nor made."""
        assert url.database is not None
        _create_private(Path(url.database))
        self._file = url.database
        self._stamp: FileStamp | None = None
        self._texts = Texts(sqlite.dialect())
        self._inline: Kept[inline.Connection] = Kept(READERS, WAIT_SECONDS)
        url = url.set(drivername="sqlite+aiosqlite")
        self._read = create_async_engine(
            url,
            isolation_level="AUTOCOMMIT",
            skip_autocommit_rollback=True,
            pool_size=READERS,
            max_overflow=0,
            pool_timeout=WAIT_SECONDS,
            hide_parameters=True,  # no title or path in the text of an error
        )
        self._write = create_async_engine(
            url, pool_size=1, max_overflow=0, pool_timeout=WAIT_SECONDS, hide_parameters=True
        )
        self._reading, self._writing = TenantTurns(READERS - 1, WAIT_SECONDS), TenantTurns(1, WAIT_SECONDS)
        self._ending: set[asyncio.Future[Any]] = set()
        for engine in (self._read, self._write):
            engine.dialect.do_terminate = self._terminate  # type: ignore[assignment, method-assign]
        event.listen(self._read.sync_engine, "connect", _on_read_connect)
        event.listen(self._write.sync_engine, "connect", _on_write_connect)
        event.listen(self._write.sync_engine, "begin", _begin_immediate)

    @asynccontextmanager
    async def reading(self, tenant: TenantId | None) -> AsyncIterator[Reader]:
        async with self._reading.of(tenant) if tenant else nullcontext(), self._inline.place():
            if self._inline.idle:
                connection = self._inline.idle.pop()
            else:
                connection = await asyncio.to_thread(inline.Connection, self._file, _READING)
            try:
                await asyncio.sleep(0)  # a quick read waits for nothing: who reads on and on lets others go on too
                yield Reader(connection, self._texts)
            finally:
                if connection.asking:
                    connection.close()
                else:
                    self._inline.idle.append(connection)

    @asynccontextmanager
    async def writing(self, tenant: TenantId | None) -> AsyncIterator[AsyncConnection]:
        async with self._writing.of(tenant or ""), self._write.begin() as connection:
            yield connection

    def filling(self) -> AbstractAsyncContextManager[AsyncConnection]:
        return self.writing(None)

    async def enter(self, connection: AsyncConnection | Reader | Writer, tenant: TenantId, *, writing: bool) -> None:
        """Nothing to do: nothing in the file knows of tenants."""

    async def stamp(self) -> object | None:
        if self._stamp is None:
            self._stamp = FileStamp(self._file)
        return self._stamp.now()

    async def clock(self) -> int | None:
        """None: the file is on this machine."""
        return None

    async def revision(self) -> str | None:
        async with self._read.connect() as connection:
            return await connection.run_sync(revision.current)

    async def facts(self) -> list[Fact]:
        """None: nothing stands behind the scope here."""
        return []

    async def refuse_unsafe(self) -> None:
        """Nothing to ask: there are no roles in the file."""

    async def upgrade(self, serving: str | None) -> None:
        async with self._write.begin() as connection:
            changed = await connection.run_sync(revision.upgrade)
            if changed:
                await connection.run_sync(sums.renew)
        if changed:
            await self._write.dispose()  # the next one keeps the sums

    async def problems(self) -> list[str]:
        async with self._read.connect() as connection:
            return await connection.run_sync(sums.problems)

    async def accept_rows(self) -> None:
        async with self._write.begin() as connection:
            await connection.run_sync(sums.renew)

    @asynccontextmanager
    async def whole(self, *, alone: bool = False) -> AsyncIterator[AsyncConnection]:
        async with self._read.connect() as connection:
            if alone:
                await connection.run_sync(_alone)
            await connection.exec_driver_sql("BEGIN")
            try:
                yield connection
            finally:
                await connection.exec_driver_sql("ROLLBACK")

    async def snapshot(self, file: Path) -> None:
        async with self._read.connect() as connection:
            await connection.run_sync(_snapshot, file)

    async def close(self) -> None:
        if self._stamp is not None:
            self._stamp.close()
        while self._inline.idle:
            self._inline.idle.pop().close()
        await self._read.dispose()
        await self._write.dispose()
        if self._ending:
            await asyncio.wait(self._ending)

    def _terminate(self, connection: Any) -> None:
        """End a connection of which nobody knows what became.

        SQLAlchemy closes it in a task, and stops the driver's thread too where the one who waits for that is cancelled.
        The thread may then end between the two things that closing asks of it, and the task waits for ever, and with it
        whoever ends the loop. To stop the thread closes the connection too. Its last statement may wait for a lock even
        after who waits here was cancelled once more: so ``close`` waits, for the thread tells the loop that it ends.
        """
        ended = connection.driver_connection.stop()
        if ended is not None:
            self._ending.add(ended)
            ended.add_done_callback(self._ending.discard)
            if in_greenlet():
                await_only(asyncio.shield(ended))


def _create_private(path: Path) -> None:
    """Make the file readable by its owner alone before SQLite would make it readable by more (its WAL follows suit)."""
    try:
        os.close(os.open(path, os.O_CREAT | os.O_RDWR, 0o600))
    except OSError as error:
        raise ConfigInvalid(f"cannot open the catalog {path}: {error.strerror}") from error


def _pragmas(connection: DBAPIConnection, statements: tuple[str, ...]) -> None:
    cursor = connection.cursor()
    for statement in statements:
        cursor.execute(statement)
    cursor.close()


def _on_read_connect(connection: DBAPIConnection, _entry: ConnectionPoolEntry) -> None:
    _define(connection)
    _pragmas(connection, _READING)


def _on_write_connect(connection: DBAPIConnection, _entry: ConnectionPoolEntry) -> None:
    # The driver's own BEGIN comes late and without IMMEDIATE: switch it off, `_begin_immediate` sends ours.
    connection.isolation_level = None
    _pragmas(connection, _BOTH)
    _define(connection)
    if _migrated(connection):  # else it is about to be, and summed after that
        _pragmas(connection, tuple(sums.triggers()))


def _migrated(connection: DBAPIConnection) -> bool:
    cursor = connection.cursor()
    cursor.execute("SELECT 1 FROM sqlite_master WHERE name = 'alembic_version'")
    found = cursor.fetchone()
    if found is not None:
        cursor.execute("SELECT version_num FROM alembic_version")
        found = cursor.fetchone()
    cursor.close()
    return found is not None and found[0] == SCHEMA_REVISION


def _define(connection: DBAPIConnection) -> None:
    connection.create_function("row_hash", -1, sums.row_hash, deterministic=True)


def _begin_immediate(connection: Connection) -> None:
    connection.exec_driver_sql("BEGIN IMMEDIATE")


def _alone(connection: Connection) -> None:
    """Lock everybody else out until the database is closed. Raises ``CatalogInUse``."""
    try:
        connection.exec_driver_sql("PRAGMA busy_timeout=0")
        connection.exec_driver_sql("PRAGMA query_only=OFF")
        connection.exec_driver_sql("PRAGMA locking_mode=EXCLUSIVE")
        # Only who is alone with the file takes it out of WAL; and then nobody else comes in.
        alone = connection.exec_driver_sql("PRAGMA journal_mode=DELETE").scalar() == "delete"
        connection.exec_driver_sql("PRAGMA query_only=ON")
    except DBAPIError:
        alone = False
    if not alone:
        raise CatalogInUse("the catalog is in use")


def _snapshot(connection: Connection, file: Path) -> None:
    """Write what the file holds at one moment to the empty or absent ``file`` (0600); writers go on."""
    os.close(os.open(file, os.O_CREAT | os.O_RDWR, 0o600))
    connection.exec_driver_sql("PRAGMA query_only=OFF")  # it counts the new file as a write of this one
    try:
        connection.exec_driver_sql("VACUUM INTO ?", (str(file),))
    finally:
        connection.exec_driver_sql("PRAGMA query_only=ON")
