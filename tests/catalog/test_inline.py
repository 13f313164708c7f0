"""Reads of the embedded database: at once where they are quick, in a thread where they are not."""

from __future__ import annotations

import asyncio
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import AsyncIterator
from contextlib import closing
from pathlib import Path

import pytest
from sqlalchemy import text

from satchel.catalog import inline
from satchel.catalog.scope import Catalog

pytestmark = pytest.mark.anyio
COUNT = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {}) SELECT count(*), max(i) FROM n"


@pytest.fixture
async def connection(tmp_path: Path) -> AsyncIterator[inline.Connection]:
    connection = inline.Connection(str(tmp_path / "a.db"))
    yield connection
    connection.close()


async def ask(connection: inline.Connection, query: str) -> tuple[int, ...]:
    _, [row] = await connection.fetch(query, ())
    return tuple(row)


async def beats(done: asyncio.Event) -> float:
    """The longest pause of the event loop until ``done``."""
    longest, last = 0.0, time.perf_counter()
    while not done.is_set():
        await asyncio.sleep(0)
        now = time.perf_counter()
        longest, last = max(longest, now - last), now
    return longest


async def test_a_quick_read_starts_no_thread(connection: inline.Connection, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inline, "QUICK_SECONDS", 10)  # however busy this machine is
    before = threading.active_count()
    for number in range(50):
        assert await ask(connection, COUNT.format(number + 2)) == (number + 2, number + 2)
    assert threading.active_count() == before


async def test_text_that_is_no_utf_8_is_refused_as_the_driver_refuses_it(connection: inline.Connection) -> None:
    with pytest.raises(sqlite3.OperationalError, match="UTF-8"):
        await connection.fetch("SELECT CAST(x'c3' AS TEXT)", ())
    assert await ask(connection, COUNT.format(3)) == (3, 3)


async def test_a_long_read_is_answered_and_does_not_stop_the_loop(connection: inline.Connection) -> None:
    done = asyncio.Event()
    began = time.perf_counter()
    pulse = asyncio.create_task(beats(done))
    row = await ask(connection, COUNT.format(1_000_000))
    done.set()
    took = time.perf_counter() - began
    assert row == (1_000_000, 1_000_000)
    assert took > inline.QUICK_SECONDS
    # Threads take turns by the switch interval; a loop that waited for SQLite would pause as long as it took.
    assert await pulse < max(0.25, took / 2)


async def test_a_statement_that_is_often_used_is_judged_anew_each_time(
    connection: inline.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    """SQLite counts instructions over all runs of a prepared statement."""
    monkeypatch.setattr(inline, "QUICK_SECONDS", 10)
    before = threading.active_count()
    for _ in range(300):
        await ask(connection, COUNT.format(100))
    assert threading.active_count() == before


async def test_an_error_is_told_as_it_is_and_the_connection_goes_on(connection: inline.Connection) -> None:
    with pytest.raises(sqlite3.OperationalError, match="no such table"):
        await ask(connection, "SELECT * FROM absent")
    assert await ask(connection, "SELECT 1") == (1,)


async def test_a_read_that_meets_a_lock_waits_for_it_in_a_thread(catalog: Catalog, catalog_path: Path) -> None:
    """Nobody locks readers out in WAL mode but who says so, as a backup tool may."""
    await catalog.close()  # its connections would keep the other out
    with closing(sqlite3.connect(catalog_path, isolation_level=None, check_same_thread=False)) as other:
        other.execute("PRAGMA locking_mode=EXCLUSIVE")
        other.execute("BEGIN EXCLUSIVE")
        other.execute("CREATE TABLE held (x)")
        asyncio.get_running_loop().call_later(0.2, other.close)
        await catalog.check()


async def test_readers_cannot_write(catalog: Catalog, catalog_path: Path) -> None:
    async with catalog._database.reading(None) as reading:
        with pytest.raises(sqlite3.OperationalError, match="readonly"):
            await reading.execute(text("DELETE FROM tenant"))


CUT_OFF = """
import asyncio, sys
from sqlalchemy import make_url, text
from satchel.catalog.sqlite import SQLite

async def main():
    database = SQLite(make_url(f"sqlite:///{sys.argv[1]}"))

    async def ask(query):
        async with database.reading(None) as connection:
            return (await connection.execute(text(query))).first()

    for _ in range(5):
        try:
            async with asyncio.timeout(0.05):
                await ask(sys.argv[2])
        except TimeoutError:
            print("stopped", (await ask("SELECT 1"))[0])
    await database.close()

asyncio.run(main())
"""


def test_a_caller_that_is_broken_off_during_a_long_read_costs_the_read_alone(tmp_path: Path) -> None:
    """In a process of its own: what goes wrong here ends the process."""
    ran = subprocess.run(
        [sys.executable, "-c", CUT_OFF, str(tmp_path / "a.db"), COUNT.format(30_000_000)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (ran.returncode, ran.stdout) == (0, "stopped 1\n" * 5), ran.stderr
