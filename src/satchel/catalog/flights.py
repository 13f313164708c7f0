"""Statements of readers on PostgreSQL, each in one message with what names its tenant.

A transaction that is begun, asked and ended takes three messages, each of which wakes the database and this process
again. Here the statement that names the tenant and the one that asks leave together, and nothing between them and after
them says that the transaction ends: so both are one transaction, which ends by itself with the answer (the manual's
chapter on the protocol, "Pipelining"). What names the tenant is transaction-local, as ever: a connection is nobody's
before and after. A statement that leaves alone, by whatever defect, meets row-level security without a tenant, and
finds nothing.

Not behind a pooler of transactions: it may know nothing of a statement that was prepared before.
"""

from __future__ import annotations

import struct
from collections import OrderedDict
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import asyncpg
from asyncpg.prepared_stmt import PreparedStatement

from satchel.catalog.direct import Made
from satchel.objects.ids import TenantId

MAX_PREPARED = 500
"""Statements kept prepared on a connection."""
DIRECTORY = "directory"
"""What the setting ``satchel.door`` says where the tables of the directory are open."""
_ENTER = "satchel_enter"
_OUTDATED = (asyncpg.InvalidCachedStatementError, asyncpg.OutdatedSchemaCacheError)
"""A migration changed a table beneath a prepared statement."""


class Line(asyncpg.Connection):  # type: ignore[misc]  # the driver has no types
    """A connection of readers."""

    __slots__ = ("_prepared", "_send")

    def __init__(self, protocol: Any, transport: Any, *rest: Any) -> None:
        super().__init__(protocol, transport, *rest)
        self._send = transport.write
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
        statement = self._prepared.get(text)
        if statement is None:
            statement = self._prepared[text] = await self.prepare(text)
            if len(self._prepared) > MAX_PREPARED:
                self._prepared.popitem(last=False)
        else:
            self._prepared.move_to_end(text)
        try:
            self._check_open()  # else the driver's transport would take it, and say nothing
            # The driver writes with its next step, without waiting for anything: both leave together.
            self._send(enter)
            records = await statement.fetch(*values)
        except _OUTDATED:
            del self._prepared[text]
            raise
        return tuple(records[0].keys()) if records else (), records


@lru_cache(maxsize=1_000)
def entering(tenant: TenantId | None, *, directory: bool = False) -> bytes:
    """Binds the statement of ``Line.ready`` to a tenant, or to none, and executes it, as the protocol has it."""
    values = (tenant or "", DIRECTORY if directory else "")
    told = b"".join(struct.pack("!i", len(value)) + value.encode() for value in values)
    # The unnamed portal; two values, as text; a result of which nothing comes.
    bind = b"\0" + _ENTER.encode() + b"\0" + struct.pack("!HH", 0, len(values)) + told + struct.pack("!H", 0)
    execute = b"\0" + struct.pack("!i", 0)  # all of it
    return b"".join(kind + struct.pack("!i", len(body) + 4) + body for kind, body in ((b"B", bind), (b"E", execute)))
