"""Statements on PostgreSQL that leave together, in one message: each message wakes the database and this process again.

Readers: the statement that names the tenant and the one that asks leave together, and nothing between them and after
them says that the transaction ends: so both are one transaction, which ends by itself with the answer (the manual's
chapter on the protocol, "Pipelining"). What names the tenant is transaction-local, as ever: a connection is nobody's
before and after. A statement that leaves alone, by whatever defect, meets row-level security without a tenant, and
finds nothing.

Writers: one transaction, from BEGIN to COMMIT. What begins it, and each change of which nobody has to know how many
rows it touched, waits here for the next statement that is asked, and at the last for COMMIT. After the first of them
that the database refuses it passes over all the others up to the end of the message, so that no statement is ever run
without those before it.

Not behind a pooler of transactions: it may know nothing of a statement that was prepared before.
"""

from __future__ import annotations

import asyncio
import struct
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import lru_cache
from typing import Any

import asyncpg
from asyncpg.prepared_stmt import PreparedStatement
from sqlalchemy.exc import IntegrityError

from satchel.catalog.direct import Kept, Made
from satchel.catalog.trouble import CatalogUnavailable, answered
from satchel.objects.ids import TenantId

MAX_PREPARED = 500
"""Statements kept prepared on a connection."""
DIRECTORY = "directory"
"""What the setting ``satchel.door`` says where the tables of the directory are open."""
MAX_LATER = 16
"""Of so many rows each is a statement of its own that waits for the next one; more are sent by the driver at once."""
Statement = tuple[str, Sequence[object]]
_ENTER = "satchel_enter"
_NAMES = {"BEGIN": "satchel_begin", "COMMIT": "satchel_commit"}
"""How they are prepared, for whoever looks at what goes over the wire."""
_EXECUTE = b"E" + struct.pack("!i", 9) + b"\0" + struct.pack("!i", 0)
"""Runs what was bound, to the end."""
_REFUSED = "a statement was refused and the scope went on: nothing was written (see attempt)"
_OUTDATED = (asyncpg.InvalidCachedStatementError, asyncpg.OutdatedSchemaCacheError)
"""A migration changed a table beneath a prepared statement."""


class Line(asyncpg.Connection):  # type: ignore[misc]  # the driver has no types
    """A connection, made with ``Together`` for its loop."""

    __slots__ = ("_door", "_prepared", "unsent")

    def __init__(self, protocol: Any, transport: Door, *rest: Any) -> None:
        super().__init__(protocol, transport, *rest)
        self._door = transport
        self.unsent = False
        """Whether what was to leave before the last statement did not."""
        self._prepared: OrderedDict[str, PreparedStatement] = OrderedDict()

    async def ready(self, beside: str) -> None:
        """Prepare what enters a tenant. ``beside`` is an expression for the lock that each transaction takes.

        It gives no row, so that what comes back looks as if the statement behind it had been sent alone. Read only is
        said before anything is read, after which the database lets nobody take it back.
        """
        settings = "set_config('satchel.tenant', $1, true), set_config('satchel.door', $2, true)"
        every = f"{settings}, set_config('transaction_read_only', 'on', true), {beside}"
        await self.execute(f"PREPARE {_ENTER} (text, text) AS SELECT WHERE num_nulls({every}) > 4")

    async def ask(self, enter: bytes, text: str, values: Sequence[object]) -> Made:
        """All rows of one statement, read inside the tenant that ``enter`` names (``entering``)."""
        try:
            return await self._ask(enter, text, values)
        except _OUTDATED:
            return await self._ask(enter, text, values)  # prepared anew

    async def _ask(self, enter: bytes, text: str, values: Sequence[object]) -> Made:
        statement = await self._statement(text)
        try:
            return await self._sent(enter, statement, values)
        except _OUTDATED:
            del self._prepared[text]
            raise

    async def ask_after(
        self, before: Sequence[Statement], text: str, values: Sequence[object], seconds: float | None
    ) -> tuple[Made, str]:
        """All rows of one statement, and what the database says it did, after the statements ``before``, which give
        no rows.

        Raises ``CatalogUnavailable`` where a migration changed a table beneath a statement: the next try prepares it.
        """
        self.unsent = bool(before)
        try:
            bound = [_bound(await self._name(each), given) for each, given in before]
            statement = await self._statement(text)
            made = await self._sent(b"".join(bound), statement, values, seconds)
        except _OUTDATED as error:
            for each in self._prepared.keys() - _NAMES:
                del self._prepared[each]
            raise CatalogUnavailable("the catalog was changed meanwhile") from error
        return made, statement.get_statusmsg()

    async def _statement(self, text: str) -> PreparedStatement:
        statement = self._prepared.get(text)
        if statement is None:
            statement = self._prepared[text] = await self.prepare(text, name=_NAMES.get(text))
            if len(self._prepared) > MAX_PREPARED:
                self._prepared.popitem(last=False)
        else:
            self._prepared.move_to_end(text)
        return statement

    async def _name(self, text: str) -> str:
        return str((await self._statement(text)).get_name())

    async def _sent(
        self, before: bytes, statement: PreparedStatement, values: Sequence[object], seconds: float | None = None
    ) -> Made:
        self._door.before = before
        try:
            records = await statement.fetch(*values, timeout=seconds)
        finally:
            self.unsent = bool(self._door.before)  # where there is a value that the driver does not take
            self._door.before = b""
        return tuple(records[0].keys()) if records else (), records


class Door:
    """A transport, as a driver takes it, that lets something leave together with what is written next."""

    __slots__ = ("before", "inner")

    def __init__(self, inner: Any) -> None:
        self.inner, self.before = inner, b""

    def write(self, data: bytes | memoryview) -> None:
        if self.before:
            data, self.before = self.before + data, b""
        self.inner.write(data)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.inner, name)


class Together:
    """The event loop, as a driver takes it: each transport it makes is a ``Door``."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop

    def __getattr__(self, name: str) -> Any:
        return getattr(self._loop, name)

    async def create_connection(self, factory: Callable[[], Any], *where: Any, **how: Any) -> tuple[Door, Any]:
        return _through(await self._loop.create_connection(asyncio.Protocol, *where, **how), factory())

    async def create_unix_connection(self, factory: Callable[[], Any], *where: Any, **how: Any) -> tuple[Door, Any]:
        return _through(await self._loop.create_unix_connection(asyncio.Protocol, *where, **how), factory())

    async def start_tls(self, transport: Door, *rest: Any, **how: Any) -> Door | None:
        made = await self._loop.start_tls(transport.inner, *rest, **how)
        return None if made is None else Door(made)


def _through(made: tuple[asyncio.Transport, Any], protocol: Any) -> tuple[Door, Any]:
    """Put ``protocol`` behind a door: the other side says nothing before it is spoken to."""
    transport, _ = made
    door = Door(transport)
    transport.set_protocol(protocol)
    protocol.connection_made(door)
    return door, protocol


class Transaction:
    """What a writer asks, as one transaction: see ``direct.WriteDriver``. A connection is taken with the first."""

    __slots__ = ("_begin", "_begun", "_connect", "_kept", "_line", "_lost", "_waiting")

    def __init__(
        self, kept: Kept[Any], connect: Callable[[], Awaitable[Line]], begin: Sequence[Statement], begun: float
    ) -> None:
        """``begin`` leaves first; with it the first answer has to come within ``begun`` seconds."""
        self._kept, self._connect, self._begin, self._begun = kept, connect, begin, begun
        self._waiting: list[Statement] = []
        self._line: Line | None = None
        self._lost = False
        """Whether something that was to leave did not, and the database does not know: then nothing more leaves."""

    def later(self, text: str, values: Sequence[object]) -> None:
        self._waiting.append((text, values))

    async def ask(self, text: str, values: Sequence[object]) -> tuple[Made, int]:
        made, said = await self._ask(text, values)
        touched = said.rpartition(" ")[2]
        return made, int(touched) if touched.isdecimal() else -1

    async def _ask(self, text: str, values: Sequence[object]) -> tuple[Made, str]:
        before, self._waiting = self._waiting, []
        if self._lost:
            raise RuntimeError(_REFUSED)
        try:
            with _told_of_constraints(), answered():
                if self._line is not None:
                    return await self._line.ask_after(before, text, values, None)
                return await self._first([*self._begin, *before], text, values)
        except BaseException:
            self._lost = self._line is None or self._line.unsent
            raise

    async def _first(self, before: Sequence[Statement], text: str, values: Sequence[object]) -> tuple[Made, str]:
        while True:
            left = bool(self._kept.idle)
            self._line = self._kept.idle.pop() if left else await self._connect()
            try:
                return await self._line.ask_after(before, text, values, self._begun)
            except BaseException as error:
                if not left or not is_gone(error):
                    raise
                self._line.terminate()  # left over from before the server went away; nothing was committed
                self._line = None

    async def many(self, text: str, rows: Sequence[Sequence[object]]) -> None:
        if len(rows) <= MAX_LATER:
            self._waiting += [(text, row) for row in rows]
            return
        await self.ask("SELECT", ())  # what waits goes first
        assert self._line is not None
        with _told_of_constraints(), answered():
            await self._line.executemany(text, rows)

    async def commit(self) -> None:
        """Commit, if anything was asked. Raises what is wrong with what waited."""
        if self._line is None:
            if not self._waiting:
                return
            await self._ask("SELECT", ())  # a first message may be sent twice, a commit never
        _, said = await self._ask("COMMIT", ())
        if said != "COMMIT":
            raise RuntimeError(_REFUSED)

    async def end(self, *, well: bool) -> None:
        """Give the connection back, if there was one."""
        if self._line is not None:
            await give_back(self._kept, self._line, well=well)


@lru_cache(maxsize=1_000)
def entering(tenant: TenantId | None, *, directory: bool = False) -> bytes:
    """Binds the statement of ``Line.ready`` to a tenant, or to none, and executes it, as the protocol has it."""
    return _bound(_ENTER, (tenant or "", DIRECTORY if directory else ""))


@contextmanager
def _told_of_constraints() -> Iterator[None]:
    """A constraint that refuses is told of as SQLAlchemy does, to whoever expects that."""
    try:
        yield
    except asyncpg.IntegrityConstraintViolationError as error:
        raise IntegrityError(None, None, error) from error


def _bound(name: str, values: Sequence[object]) -> bytes:
    """What binds a prepared statement to its values and executes it, as the protocol has it."""
    told = b"".join(map(_told, values))
    # The unnamed portal; the values, as text; a result of which nothing comes.
    bind = b"\0" + name.encode() + b"\0" + struct.pack("!HH", 0, len(values)) + told + struct.pack("!H", 0)
    return b"B" + struct.pack("!i", len(bind) + 4) + bind + _EXECUTE


def _told(value: object) -> bytes:
    """A value as the database reads it from a text, with its length before it."""
    if value is None:
        return struct.pack("!i", -1)
    match value:
        case str():
            text = value.encode()
        case int() if not isinstance(value, bool):
            text = b"%d" % value
        case bytes():
            text = b"\\x" + value.hex().encode()
        case _:
            raise TypeError(f"{type(value).__name__} is not a value of the catalog")
    return struct.pack("!i", len(text)) + text


async def give_back(kept: Kept[Any], raw: asyncpg.Connection, *, well: bool) -> None:
    """Keep a connection for the next one, unless it is not known what became of it."""
    if well or await rolled_back(raw):
        kept.idle.append(raw)
    else:
        raw.terminate()


async def rolled_back(raw: asyncpg.Connection) -> bool:
    """Roll back. False where it is not known what became of the connection."""
    try:
        async with asyncio.timeout(2):
            await raw.execute("ROLLBACK")
    except BaseException:  # noqa: BLE001 (whatever it was: the connection goes, and the first error is told)
        return False
    return True


def is_gone(error: BaseException) -> bool:
    """Whether a connection had ended before it was used again."""
    # The driver's internal one is raised where the server has said that it ends the connection and not closed it yet.
    gone = (asyncpg.InterfaceError, asyncpg.InternalClientError, asyncpg.PostgresConnectionError, ConnectionError)
    return isinstance(error, gone) or getattr(error, "sqlstate", None) in ("57P01", "57P02", "57P03")
