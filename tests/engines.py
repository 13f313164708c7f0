"""Which database stands under tests that name none: SQLite, or PostgreSQL where SATCHEL_TEST_ENGINE=postgresql.

    SATCHEL_TEST_ENGINE=postgresql make test TESTS="tests/sync tests/upkeep tests/server"

A test asks for the catalog of a folder, and gets the same one as often as it asks. Databases of a test's own
folder are dropped when it ends; those of a longer fixture stay until the run ends. Tests of the file itself are marked
``on_file`` and left out on PostgreSQL.
"""

from __future__ import annotations

import asyncio
import secrets
import sqlite3
import tempfile
from collections.abc import Callable
from contextlib import closing
from functools import cache
from pathlib import Path
from typing import TypeVar

import asyncpg
import pytest

from satchel.catalog.scope import Catalog
from tests.postgres import Postgres, make_database, run_sql
from tests.real import ENVIRONMENT

T = TypeVar("T")
POSTGRESQL = ENVIRONMENT.get("SATCHEL_TEST_ENGINE", "sqlite") == "postgresql"

on_file = pytest.mark.skipif(POSTGRESQL, reason="looks into the file of the catalog")

_made: dict[Path, Postgres] = {}
_server: list[tuple[str, str]] = []
"""The address of the superuser, and the database to copy."""


def prepare(admin: str, template: str) -> None:
    """Where databases are made, before the first test."""
    _server.append((admin, template))


def catalog_of(folder: Path) -> str | None:
    """The address of the migrated catalog that belongs to a folder; None where it is to be a file in it."""
    if not POSTGRESQL:
        return None
    if folder not in _made:
        [(admin, template)] = _server
        _made[folder] = _in_thread(lambda: asyncio.run(make_database(admin, f"of_{secrets.token_hex(6)}", template)))
    return _made[folder].url


async def migrated(folder: Path) -> str:
    """The same, with the file made where it is to be one."""
    return catalog_of(folder) or on_disk(folder)


def on_disk(folder: Path) -> str:
    """The address of a file in a folder; the first time an empty migrated catalog is put there."""
    path = folder / "catalog.db"
    if not path.exists():
        place(path)
    return f"sqlite:///{path}"


def place(path: Path) -> None:
    """Put an empty migrated catalog there: copied, because migrating takes longer than most tests."""
    path.touch(mode=0o600, exist_ok=False)
    path.write_bytes(_empty())


@cache
def _empty() -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "catalog.db"
        _in_thread(lambda: asyncio.run(Catalog.migrate(f"sqlite:///{path}")))
        return path.read_bytes()


def by_hand(folder: Path, statement: str) -> int:
    """Change the catalog of a folder past every wall; how many rows that touched."""
    if folder in _made:
        admin = _made[folder].admin
        said: str = _in_thread(lambda: asyncio.run(_execute(admin, statement)))
        return int(said.rpartition(" ")[2])
    with closing(sqlite3.connect(folder / "catalog.db")) as connection, connection:
        return connection.execute(statement).rowcount


async def _execute(admin: str, statement: str) -> str:
    connection = await asyncpg.connect(admin)
    try:
        return str(await connection.execute(statement))
    finally:
        await connection.close()


def drop(below: Path) -> None:
    """Drop what belongs to folders below one."""
    for folder in [folder for folder in _made if folder.is_relative_to(below)]:
        database = _made.pop(folder)
        asyncio.run(run_sql(_server[0][0], f"DROP DATABASE {database.name} WITH (FORCE)"))


def _in_thread(make: Callable[[], T]) -> T:
    """Also where an event loop runs already."""
    from concurrent.futures import ThreadPoolExecutor

    with ThreadPoolExecutor(1) as threads:
        return threads.submit(make).result()
