"""What stands behind the door: the database, opened by its address. Only `scope` may import this module.

Both engines keep the same order among writers: those of one tenant queue, each sees what the one before it committed.
SQLite has one writer for all tenants; PostgreSQL one for each, by a lock that ends with the transaction. So what is
proven of a transaction on one engine holds on the other.
"""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Protocol

from sqlalchemy import make_url
from sqlalchemy.exc import ArgumentError
from sqlalchemy.ext.asyncio import AsyncConnection

from satchel.catalog.direct import Reader, Writer
from satchel.catalog.sqlite import SQLite
from satchel.catalog.walls import Fact
from satchel.errors import ConfigInvalid
from satchel.objects.ids import TenantId

CONNECTIONS = 12
"""Most connections of one process to a database server, unless it is told otherwise."""
_ADDRESSES = "sqlite:////var/lib/satchel/catalog.db or postgresql://role:password@host/database"


class Database(Protocol):
    """An open database. ``tenant`` None stands for the directory."""

    name: str
    """``SQLite`` or ``PostgreSQL``."""

    def reading(self, tenant: TenantId | None) -> AbstractAsyncContextManager[Reader]:
        """A connection that only reads, inside ``tenant``. Its statements are not one snapshot."""

    def writing(self, tenant: TenantId | None) -> AbstractAsyncContextManager[AsyncConnection | Writer]:
        """One transaction inside ``tenant``, committed when the block ends, rolled back when it raises."""

    def filling(self) -> AbstractAsyncContextManager[AsyncConnection]:
        """As ``writing`` in the directory, for who makes the tables or fills them with all rows of another."""

    async def enter(self, connection: AsyncConnection | Reader | Writer, tenant: TenantId, *, writing: bool) -> None:
        """Go on inside ``tenant``, in a transaction that began in the directory."""

    async def stamp(self) -> object | None:
        """Something that stays the same for as long as nothing is committed; None where that is not known."""

    async def clock(self) -> int | None:
        """The database's own clock in milliseconds UTC; None where it has none."""

    async def revision(self) -> str | None:
        """The revision of the schema; None for an empty database."""

    async def facts(self) -> list[Fact]:
        """What the database says of the walls it holds by itself; empty where it holds none."""

    async def refuse_unsafe(self) -> None:
        """Raise ``StartRefused`` where the database would not hold the wall between tenants."""

    async def upgrade(self, serving: str | None) -> None:
        """Bring the schema to this code's revision; ``serving`` is the role that is to use it."""

    async def problems(self) -> list[str]:
        """What is wrong with the database, as far as it can be asked."""

    async def accept_rows(self) -> None:
        """Take all rows for right as they are."""

    def whole(self, *, alone: bool = False) -> AbstractAsyncContextManager[AsyncConnection]:
        """A connection that reads everything as it is at one moment, in the directory; tenants are entered.

        With ``alone`` it raises ``CatalogInUse`` if anybody else is connected.
        """

    async def snapshot(self, file: Path) -> None:
        """Write the catalog, as it is at one moment, to a new SQLite file."""

    async def close(self) -> None:
        """Close every connection."""


def open_database(url: str, connections: int = CONNECTIONS) -> Database:
    """The database at ``sqlite:///PATH`` or ``postgresql://...``; nothing is connected to yet.

    Raises ``ConfigInvalid`` for any other address, without repeating it: it may hold a password.
    """
    if url.startswith(("postgresql://", "postgres://")):  # which may name several hosts: not for `make_url`
        from satchel.catalog.postgres import Postgres  # its driver is loaded where it is used

        return Postgres(url, connections)
    try:
        parsed = make_url(url)
    except (ArgumentError, ValueError) as error:
        raise ConfigInvalid(f"the catalog's address is not a URL like {_ADDRESSES}") from error
    if parsed.get_backend_name() == "sqlite" and parsed.database and ":memory:" not in parsed.database:
        return SQLite(parsed)
    raise ConfigInvalid(f"the catalog has to be a file or a PostgreSQL database, {_ADDRESSES}")
