"""The embedded catalog for one thread: the same statements on the same kind of file, handed to the driver at once.

What the engine does for many at a time (pools, turns, threads, greenlets) took two thirds of a simulation's time, and
there is nothing for it to do where nobody waits for anybody. Readers and the writer still have connections of their
own, so nobody sees what is not committed, and the wall between tenants, the triggers and every constraint are as they
are in a server.
"""

from __future__ import annotations

import sqlite3
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any, cast

from sqlalchemy import URL, Insert
from sqlalchemy.dialects import sqlite
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncConnection
from sqlalchemy.sql.expression import Executable

from satchel.catalog import sums
from satchel.catalog.direct import Made, Reader, Rows, Texts
from satchel.catalog.sqlite import SQLite
from satchel.objects.ids import TenantId

_QUICK = ("PRAGMA journal_mode=WAL", "PRAGMA synchronous=OFF", "PRAGMA foreign_keys=ON", "PRAGMA trusted_schema=OFF")


class Plain:
    """A connection to the file. Implements ``Driver``."""

    def __init__(self, file: str, *pragmas: str) -> None:
        self.connection = sqlite3.connect(file, isolation_level=None)
        for pragma in (*_QUICK, *pragmas):
            self.connection.execute(pragma)

    async def fetch(self, text: str, values: Sequence[object]) -> Made:
        cursor = self.connection.execute(text, values)
        return [column[0] for column in cursor.description or ()], cursor.fetchall()


class Written(Rows):
    """What a statement of a writer gave, or how many rows it touched."""

    def __init__(self, rows: Sequence[Any], rowcount: int) -> None:
        super().__init__(rows)
        self.rowcount = rowcount


class Writer:
    """A connection inside a transaction, as scopes take it."""

    dialect = sqlite.dialect()

    def __init__(self, plain: Plain) -> None:
        self._connection = plain.connection
        self._texts = Texts(self.dialect)
        self._inserts: dict[tuple[Executable, frozenset[str]], tuple[str, tuple[str, ...], dict[str, object]]] = {}

    async def execute(self, statement: Executable, params: Mapping[str, object] | None = None) -> Written:
        given = params or {}
        text, values, made = self._filled(statement, given)
        try:
            cursor = self._connection.execute(text, values)
        except sqlite3.IntegrityError as error:
            raise IntegrityError(text, None, error) from error
        names = [column[0] for column in cursor.description or ()]
        rows = cursor.fetchall()
        return Written(made.rows(names, rows) if made else rows, cursor.rowcount)

    def _filled(self, statement: Executable, given: Mapping[str, object]) -> tuple[str, Sequence[object], Any]:
        if not isinstance(statement, Insert):
            made = self._texts.of(statement)
            return *made.filled(given), made
        key = (statement, frozenset(given))
        found = self._inserts.get(key)
        if found is None:  # which columns it fills depends on what is given
            compiled = statement.compile(dialect=self.dialect, column_keys=list(given))
            found = compiled.string, tuple(compiled.positiontup or ()), dict(compiled.params)
            self._inserts[key] = found
        text, order, fixed = found
        values = {**fixed, **given}
        return text, [values[name] for name in order], None

    async def exec_driver_sql(self, text: str, values: Sequence[Sequence[object]] | None = None) -> None:
        try:
            if values is None:
                self._connection.execute(text)
            else:
                self._connection.executemany(text, values)
        except sqlite3.IntegrityError as error:
            raise IntegrityError(text, None, error) from error


class OneThread(SQLite):
    """See ``SQLite``. What reads or writes here is done before anybody else is asked."""

    def __init__(self, url: URL) -> None:
        super().__init__(url)
        self._reader = Reader(Plain(self._file, "PRAGMA query_only=ON"), self._texts)
        self.plain = Plain(self._file)
        self.plain.connection.create_function("row_hash", -1, sums.row_hash, deterministic=True)
        for trigger in sums.triggers():
            self.plain.connection.execute(trigger)
        self._writer = Writer(self.plain)
        self.changes = 0
        """How many transactions began."""

    @asynccontextmanager
    async def reading(self, tenant: TenantId | None) -> AsyncIterator[Reader]:
        yield self._reader

    @asynccontextmanager
    async def writing(self, tenant: TenantId | None) -> AsyncIterator[AsyncConnection]:
        self.changes += 1
        self.plain.connection.execute("BEGIN IMMEDIATE")
        try:
            yield cast(AsyncConnection, self._writer)
        except BaseException:
            self.plain.connection.execute("ROLLBACK")
            raise
        self.plain.connection.execute("COMMIT")

    async def close(self) -> None:
        cast(Plain, self._reader.driver).connection.close()
        self.plain.connection.close()
        await super().close()
