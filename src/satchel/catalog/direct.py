"""Statements of readers, compiled once and handed to the driver as they are.

Of the 400 µs that a short read costs through SQLAlchemy's asyncio engine, most goes into contexts, greenlets and
results; a reader that only asks needs none of them (see bench/reads.py). So SQLAlchemy makes the text, once for each
statement, and rows come back as plain named tuples. So do writers on PostgreSQL (`Writer`); those of SQLite, and those
behind a pooler, go through the engine.
"""

from __future__ import annotations

import asyncio
from collections import namedtuple
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence, Sized
from contextlib import asynccontextmanager
from functools import lru_cache
from typing import Any, Generic, NamedTuple, Protocol, TypeVar, cast
from weakref import WeakKeyDictionary

from sqlalchemy import Delete, Insert, Update
from sqlalchemy.engine import Dialect
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.expression import Executable

from satchel.catalog.trouble import CatalogUnavailable

Made = tuple[Sequence[str], Iterable[Sequence[Any]]]
"""The names of the columns, and the rows as the driver gives them."""
C = TypeVar("C")
MAX_SPELT = 64
"""Texts kept of one statement that takes lists: more lengths than that are spelt out each time."""


class Rows(list[Any]):
    """What a statement gave: named tuples."""

    rowcount = -1
    """How many rows it touched, where it changed any."""

    def all(self) -> list[Any]:
        return self

    def first(self) -> Any:
        return self[0] if self else None


class Driver(Protocol):
    """A connection of a driver."""

    async def fetch(self, text: str, values: Sequence[object]) -> Made:
        """All rows of one statement."""


class Reader:
    """A connection that reads, as scopes take it."""

    __slots__ = ("_texts", "driver")

    def __init__(self, driver: Driver, texts: Texts) -> None:
        self.driver, self._texts = driver, texts

    async def execute(self, statement: Executable, params: Mapping[str, object] | None = None) -> Rows:
        """All rows of ``statement``. Raises ``KeyError`` for a parameter that is missing, and the driver's errors."""
        text = self._texts.of(statement)
        names, rows = await self.driver.fetch(*text.filled(params or {}))
        return text.rows(names, rows)


class WriteDriver(Protocol):
    """A connection of a driver, inside a transaction."""

    async def ask(self, text: str, values: Sequence[object]) -> tuple[Made, int]:
        """All rows of one statement, and how many rows it touched. Raises SQLAlchemy's ``IntegrityError`` where a
        constraint refuses it."""

    def later(self, text: str, values: Sequence[object]) -> None:
        """Let a statement that gives no rows leave with the next that is asked, or with the commit."""

    async def many(self, text: str, rows: Sequence[Sequence[object]]) -> None:
        """Run one statement for each of ``rows``."""


class Writer:
    """A connection inside a transaction, as scopes take it: what they use of SQLAlchemy's, and ``later``."""

    __slots__ = ("_texts", "dialect", "driver")

    def __init__(self, driver: WriteDriver, texts: Texts) -> None:
        self.driver, self._texts = driver, texts
        self.dialect = texts.dialect

    async def execute(self, statement: Executable, params: Mapping[str, object] | None = None) -> Rows:
        """Run ``statement`` after all that was to leave before it. Raises ``KeyError`` for a parameter that is missing,
        and the driver's errors."""
        text = self._texts.of(statement, params)
        (names, made), touched = await self.driver.ask(*text.filled(params or {}))
        rows = text.rows(names, made)
        rows.rowcount = touched
        return rows

    def later(self, change: Executable, params: Mapping[str, object] | None = None) -> None:
        """Run ``change`` with the next statement, or with the commit: they raise what is wrong with it."""
        self.driver.later(*self._texts.of(change, params).filled(params or {}))

    async def exec_driver_sql(self, text: str, values: Sequence[Sequence[object]] | None = None) -> None:
        """Run a text as it is; with ``values`` for each of them."""
        if values is None:
            await self.driver.ask(text, ())
        else:
            await self.driver.many(text, values)


class Texts:
    """The texts of statements in one dialect, kept for as long as the statements live."""

    def __init__(self, dialect: Dialect) -> None:
        self.dialect = dialect
        self._texts: WeakKeyDictionary[Executable, dict[tuple[str, ...], _Text]] = WeakKeyDictionary()

    def of(self, statement: Executable, params: Mapping[str, object] | None = None) -> _Text:
        """Which columns an insert fills follows from the names of ``params``."""
        names = tuple(params) if params and isinstance(statement, Insert) else ()
        texts = self._texts.get(statement)
        if texts is None:
            texts = self._texts[statement] = {}
        found = texts.get(names)
        if found is None:
            keys = {"column_keys": names} if names else {}
            compiled = statement.compile(dialect=self.dialect, **keys)  # type: ignore[attr-defined]  # ours all have it
            found = texts[names] = _Text(compiled)
        return found


@lru_cache(maxsize=256)
def compiled_change(change: Insert | Update | Delete, dialect: Dialect, columns: tuple[str, ...] | None) -> SQLCompiler:
    """The text of a change: made once, since that takes a millisecond and changes are constants of this package."""
    compiled = change.compile(dialect=dialect, column_keys=columns)
    assert isinstance(compiled, SQLCompiler)
    return compiled


class _Text:
    """One statement in the words of a database."""

    __slots__ = ("_compiled", "_fixed", "_lists", "_literal", "_make", "_plain", "_spelt")

    def __init__(self, compiled: SQLCompiler) -> None:
        self._fixed = {name: bind.effective_value for bind, name in compiled.bind_names.items() if not bind.required}
        self._plain = _Spelt(compiled.string, tuple(compiled.positiontup or ()), {})
        # A list in the place of one value is spelt out, so is what must stand in the text: one text for each.
        self._lists = tuple(compiled.bind_names[bind] for bind in compiled.post_compile_params)
        self._literal = tuple(compiled.bind_names[bind] for bind in compiled.literal_execute_params)
        self._compiled = compiled if self._lists or self._literal else None
        self._spelt: dict[tuple[object, ...], _Spelt] = {}
        self._make: Any = None

    def filled(self, given: Mapping[str, object]) -> tuple[str, Sequence[object]]:
        """The text and its values in their order."""
        values = {**self._fixed, **given}
        if self._compiled is None:
            return self._plain.text, [values[name] for name in self._plain.order]
        which: tuple[object, ...] = tuple(len(cast(Sized, values[name])) for name in self._lists)
        which += tuple(values[name] for name in self._literal)
        spelt = self._spelt.get(which)
        if spelt is None:
            whole = self._compiled.construct_expanded_state(values)
            spelt = _Spelt(whole.statement, tuple(whole.positiontup or ()), whole.parameter_expansion)
            if len(self._spelt) < MAX_SPELT:
                self._spelt[which] = spelt
        for name, parts in spelt.parts.items():
            values.update(zip(parts, cast(Sequence[object], values[name]), strict=True))
        return spelt.text, [values[name] for name in spelt.order]

    def rows(self, names: Sequence[str], rows: Iterable[Sequence[Any]]) -> Rows:
        if self._make is None:
            if not names:
                return Rows()
            named: Any = namedtuple  # its type is not known to a checker
            self._make = named("Row", names, rename=True)._make
        return Rows(map(self._make, rows))


class _Spelt(NamedTuple):
    """A text, the names of its values in their order, and the names that each list became."""

    text: str
    order: tuple[str, ...]
    parts: Mapping[str, Sequence[str]]


class Kept(Generic[C]):
    """Connections that stay open for the next who needs one, the last used first."""

    def __init__(self, most: int, wait_seconds: float) -> None:
        self.idle: list[C] = []
        self._places = asyncio.Semaphore(most)
        self._wait = wait_seconds

    @asynccontextmanager
    async def place(self) -> AsyncIterator[None]:
        """One of ``most`` places, for as long as the block lasts. Raises ``CatalogUnavailable`` after a long wait."""
        if self._places.locked():
            try:
                async with asyncio.timeout(self._wait):
                    await self._places.acquire()
            except TimeoutError as error:
                raise CatalogUnavailable("the catalog is too busy") from error
        else:
            await self._places.acquire()  # at once
        try:
            yield
        finally:
            self._places.release()
