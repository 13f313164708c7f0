"""SQLite for readers inside an event loop: what is quick is done at once, what is not in a thread.

Nearly every read of a server takes some 20 µs; to hand it to a thread and back takes ten times that, several times a
statement. So a statement runs where it is asked for, under a deadline of ``QUICK_SECONDS``. One that is not done by
then, or meets a lock, is stopped and runs again from its beginning in a thread, without the deadline. That is right for
statements alone that change nothing, outside of a transaction: connections are told to refuse all others.
"""

from __future__ import annotations

import asyncio
import sqlite3
import threading
import time
from collections.abc import Sequence

from satchel.catalog.direct import Made

QUICK_SECONDS = 0.002
"""Longest time a statement may keep the loop from everything else."""
STEPS = 2_000
"""Instructions of SQLite between two looks at the clock, about 50 µs."""
WAIT_MS = 10_000
"""How long a statement in a thread waits for a lock."""
_AGAIN = frozenset({sqlite3.SQLITE_INTERRUPT, sqlite3.SQLITE_BUSY})
_FOREVER, _PAST = float("inf"), float("-inf")


class Connection:
    """A connection to a file, for one statement at a time."""

    def __init__(self, file: str, pragmas: Sequence[str] = ()) -> None:
        """``pragmas`` are run first. Waits for locks here, so make it in a thread. Raises ``sqlite3.Error``."""
        self._connection = sqlite3.connect(file, timeout=WAIT_MS / 1000, isolation_level=None, check_same_thread=False)
        for pragma in pragmas:
            self._connection.execute(pragma)
        self._connection.execute("PRAGMA busy_timeout=0")  # who waits for a lock waits in a thread
        self._until = _FOREVER
        self._connection.set_progress_handler(self._is_over, STEPS)
        self._deciding = threading.Lock()
        self._in_thread = self._closed = False
        self.asking = False
        """Whether a statement may still be running, also after its caller was broken off."""

    async def fetch(self, text: str, values: Sequence[object]) -> Made:
        """The rows, read here if that is quick, else in a thread. Raises ``sqlite3.Error``."""
        self._until = time.perf_counter() + QUICK_SECONDS
        try:
            return self._run(text, values)
        except sqlite3.OperationalError as error:
            # The driver's own complaint, of text that is no UTF-8, has no code.
            if getattr(error, "sqlite_errorcode", 0) & 0xFF not in _AGAIN:
                raise
        finally:
            self._until = _FOREVER
        self.asking = True
        try:
            found = await asyncio.to_thread(self._run_slowly, text, values)
        except sqlite3.Error:
            self.asking = False
            raise
        self.asking = False
        return found

    def _run(self, text: str, values: Sequence[object]) -> Made:
        cursor = self._connection.execute(text, values)
        return [column[0] for column in cursor.description or ()], cursor.fetchall()

    def _run_slowly(self, text: str, values: Sequence[object]) -> Made:
        with self._deciding:
            if self._closed:  # who waited for this is gone
                raise sqlite3.OperationalError("interrupted")
            self._in_thread = True
        try:
            self._connection.execute(f"PRAGMA busy_timeout={WAIT_MS}")
            return self._run(text, values)
        finally:
            self._connection.execute("PRAGMA busy_timeout=0")
            self._leave_thread()

    def _leave_thread(self) -> None:
        with self._deciding:
            self._in_thread = False
            if self._closed:
                self._connection.close()

    def _is_over(self) -> bool:
        return time.perf_counter() > self._until

    def close(self) -> None:
        """Closed beneath a statement, SQLite takes the process down. So one in a thread, whose caller was broken off,
        is stopped, and closes the connection itself."""
        with self._deciding:
            self._closed = True
            if self._in_thread:
                self._until = _PAST
            else:
                self._connection.close()
