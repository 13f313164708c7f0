"""Database engines; only `scope` may import this module.

SQLite gets two engines on one file. Readers run in autocommit and are told to the database itself to be readers. The
writer is one connection, so that writers of this process queue in order instead of polling a lock; writers of other
processes are waited for by SQLite, ten seconds at most. A commit is on disk when it returns (WAL, synchronous=FULL).
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import NamedTuple

from sqlalchemy import Connection, event, make_url
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.exc import ArgumentError
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine
from sqlalchemy.pool import ConnectionPoolEntry

from satchel.catalog import sums
from satchel.catalog.schema import SCHEMA_REVISION
from satchel.errors import ConfigInvalid

READERS = 4
"""SQLite connections that read at once; each is a thread."""
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


class Engines(NamedTuple):
    read: AsyncEngine
    write: AsyncEngine


def open_engines(url: str) -> Engines:
    """Engines for ``sqlite:///PATH``; raises ``ConfigInvalid`` for another scheme or an in-memory database."""
    try:
        parsed = make_url(url)
    except ArgumentError as error:
        raise ConfigInvalid("the catalog's address is not a URL like sqlite:////var/lib/satchel/catalog.db") from error
    if parsed.get_backend_name() != "sqlite" or not parsed.database or ":memory:" in parsed.database:
        raise ConfigInvalid(f"the catalog has to be a file, sqlite:///PATH; {parsed.drivername} is not supported")
    _create_private(Path(parsed.database))
    parsed = parsed.set(drivername="sqlite+aiosqlite")
    read = create_async_engine(
        parsed,
        isolation_level="AUTOCOMMIT",
        skip_autocommit_rollback=True,
        pool_size=READERS,
        max_overflow=0,
        pool_timeout=WAIT_SECONDS,
    )
    write = create_async_engine(parsed, pool_size=1, max_overflow=0, pool_timeout=WAIT_SECONDS)
    event.listen(read.sync_engine, "connect", _on_read_connect)
    event.listen(write.sync_engine, "connect", _on_write_connect)
    event.listen(write.sync_engine, "begin", _begin_immediate)
    return Engines(read, write)


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
    _pragmas(connection, (*_BOTH, "PRAGMA query_only=ON"))


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
