"""Connections of SQLite that are given up while somebody waits for their end."""

from __future__ import annotations

import asyncio
import sqlite3
import threading
from pathlib import Path
from typing import Any

import aiosqlite
import pytest
from sqlalchemy import make_url

from satchel.catalog.sqlite import SQLite

pytestmark = pytest.mark.anyio


@pytest.mark.parametrize("steps", range(1, 5))
async def test_a_connection_given_up_by_who_is_cancelled_leaves_nothing_that_waits(tmp_path: Path, steps: int) -> None:
    """It kept a loop from ending, once in many thousand ends of a server."""
    there = set(threading.enumerate())
    database = SQLite(make_url(f"sqlite:///{tmp_path / 'catalog.db'}"))
    connection, before = await database._write.connect(), asyncio.all_tasks()
    giving_up = asyncio.create_task(connection.invalidate())
    for _ in range(steps):
        await asyncio.sleep(0)
    giving_up.cancel()
    await asyncio.wait([giving_up])
    others = asyncio.all_tasks() - before
    for other in others:
        other.cancel()
    waiting = (await asyncio.wait(others, timeout=10))[1] if others else set()
    assert not waiting
    await connection.close()
    await database.close()
    for thread in {each for each in threading.enumerate() if "_connection_worker" in each.name} - there:
        await asyncio.to_thread(thread.join, 10)  # it tells the loop that it ends


async def test_a_statement_that_nobody_waits_for_any_more_has_ended_once_the_catalog_is_closed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It waits for a lock of another process; who asked was cancelled twice, as cancel scopes do."""
    there = set(threading.enumerate())
    database, asked = SQLite(make_url(f"sqlite:///{tmp_path / 'catalog.db'}")), asyncio.Event()
    really: Any = aiosqlite.Connection._execute
    async with database.writing(None):
        pass
    other = sqlite3.connect(tmp_path / "catalog.db", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")

    async def noted(connection: aiosqlite.Connection, work: Any, *given: Any, **named: Any) -> Any:
        if given[:1] == ("BEGIN IMMEDIATE",):
            asked.set()
        return await really(connection, work, *given, **named)

    async def write() -> None:
        async with database.writing(None):
            pass

    monkeypatch.setattr(aiosqlite.Connection, "_execute", noted)
    writing = asyncio.create_task(write())
    await asked.wait()
    while not writing.done():
        writing.cancel()
        await asyncio.sleep(0)
    closing = asyncio.create_task(database.close())
    await asyncio.wait([closing], timeout=0.01)
    assert not closing.done()
    other.execute("COMMIT")
    other.close()
    await closing
    for thread in {each for each in threading.enumerate() if "_connection_worker" in each.name} - there:
        await asyncio.to_thread(thread.join, 10)
