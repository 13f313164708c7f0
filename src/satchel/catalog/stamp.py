"""Whether anything at all was committed to a database since an answer was read from it.

A stamp is taken before the answer is read. While the same one is had again, nothing was committed in between, so the
answer is the one that would be given now.
"""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Awaitable, Callable
from contextlib import closing
from typing import Any

ASK_SECONDS = 1.0
"""Longest wait for a database server; a later answer would cost more than it saves."""


class FileStamp:
    """Of an SQLite file: 5 µs. For one thread.

    SQLite counts, for each connection, the commits of all others, of other processes too. So a connection of our own
    that never writes sees every commit, in the moment in which a reader would.
    """

    def __init__(self, file: str) -> None:
        """``file`` has been migrated."""
        self._connection = sqlite3.connect(file, isolation_level=None)
        self._connection.execute("PRAGMA query_only=ON")
        self._connection.execute("PRAGMA busy_timeout=0")

    def now(self) -> int | None:
        """None while the file is locked."""
        try:
            with closing(self._connection.execute("PRAGMA data_version")) as found:
                return int(found.fetchone()[0])
        except sqlite3.OperationalError:
            return None

    def close(self) -> None:
        self._connection.close()


class SnapshotStamp:
    """Of PostgreSQL: a round trip without a transaction, over a connection of its own. For tasks of one event loop.

    A snapshot names the transactions that were under way and the next one. Where two are equal, the same ones had been
    committed, as long as it is the same server that says so: its start is a part of the stamp, since another may have
    taken its place. Who asks while a question is under way waits for the next one, which all of them share.
    """

    QUESTION = "SELECT pg_current_snapshot()::text || ' ' || pg_postmaster_start_time()::text"

    def __init__(self, connect: Callable[[], Awaitable[Any]], end: Callable[[Any], Awaitable[None]]) -> None:
        """``connect`` makes a connection of the driver, ``end`` closes one."""
        self._connect, self._end = connect, end
        self._connection: Any = None
        self._turn = asyncio.Lock()
        self._asked = self._answered = 0
        self._said: str | None = None
        self._closed = False

    async def now(self) -> str | None:
        """None where the server does not answer."""
        before = self._asked
        async with self._turn:
            if self._answered <= before:  # nobody has had an answer to a question from after we came
                self._asked += 1
                asked = self._asked
                self._said = await self._ask()
                self._answered = asked
            return self._said

    async def _ask(self) -> str | None:
        if self._closed:
            return None
        try:
            if self._connection is None:
                async with asyncio.timeout(ASK_SECONDS):
                    self._connection = await self._connect()
            said: str = await self._connection.fetchval(self.QUESTION, timeout=ASK_SECONDS)
        except BaseException as error:
            self._drop()  # also of one who left: the answer to come is nobody's
            if isinstance(error, Exception):
                return None  # whatever it is: the answer is read anew, and tells of it
            raise
        return said

    def _drop(self) -> None:
        if self._connection is not None:
            self._connection.terminate()
            self._connection = None

    async def close(self) -> None:
        """Close the connection, once a question under way is answered."""
        self._closed = True
        async with self._turn:
            connection, self._connection = self._connection, None
        if connection is not None:
            await self._end(connection)
