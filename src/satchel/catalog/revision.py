"""Which schema a catalog has, and bringing it to the one this code knows.

Alembic is imported only when there is something to do: most starts find the schema as it should be.
"""

from __future__ import annotations

from pathlib import Path

from sqlalchemy import Connection, inspect, select, table
from sqlalchemy import column as sql_column

from satchel.catalog.schema import SCHEMA_REVISION
from satchel.errors import StartRefused

KNOWN = ("0001", "0002", "0003", "0004", "0005", "0006")
"""Every revision this code can start from, oldest first."""
MIGRATED_SECONDS = 2
"""A migration may be about to be run by somebody else: when to look again."""


def current(connection: Connection) -> str | None:
    """The revision a database is at; None for an empty one."""
    if not inspect(connection).has_table("alembic_version"):
        return None
    return connection.execute(select(sql_column("version_num")).select_from(table("alembic_version"))).scalar()


def refuse_newer(found: str | None) -> None:
    """Raise ``StartRefused`` for a revision that this code does not know."""
    if found not in (None, *KNOWN):
        raise StartRefused(
            f"the catalog has schema {found}, newer than this Satchel knows ({SCHEMA_REVISION}); nothing was changed",
            hint="Start the newer Satchel that made it, or restore the catalog from a backup of before.",
        )


def check(found: str | None) -> None:
    """Raise ``StartRefused`` unless ``found`` is this code's revision."""
    refuse_newer(found)
    if found != SCHEMA_REVISION:
        raise StartRefused(
            "the catalog has not been migrated to this version of Satchel",
            hint="Run `satchel admin migrate`; on PostgreSQL with the owner's address in SATCHEL_DATABASE_OWNER_URL.",
            retry_after=MIGRATED_SECONDS,
        )


def upgrade(connection: Connection) -> bool:
    """Bring the schema to ``SCHEMA_REVISION`` inside the transaction ``connection`` is in; False if it was there."""
    found = current(connection)
    if found == SCHEMA_REVISION:
        return False
    refuse_newer(found)

    from alembic import command
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(Path(__file__).with_name("migrations")))
    config.attributes["connection"] = connection
    command.upgrade(config, SCHEMA_REVISION)
    return True
