"""Which schema a catalog has, and bringing it to the one this code knows.

Alembic is imported only when there is something to do: most starts find the schema as it should be.
"""

from __future__ import annotations

import os
from pathlib import Path

from sqlalchemy import Connection, inspect, select, table
from sqlalchemy import column as sql_column

from satchel.catalog import sums
from satchel.catalog.schema import SCHEMA_REVISION
from satchel.errors import StartRefused

KNOWN = ("0001", "0002")
"""Every revision this code can start from, oldest first."""


def current(connection: Connection) -> str | None:
    """The revision a database is at; None for an empty one."""
    if not inspect(connection).has_table("alembic_version"):
        return None
    return connection.execute(select(sql_column("version_num")).select_from(table("alembic_version"))).scalar()


def check(found: str | None) -> None:
    """Raise ``StartRefused`` unless ``found`` is this code's revision."""
    if found not in (None, *KNOWN):
        raise StartRefused(
            f"the catalog has schema {found}, newer than this Satchel knows ({SCHEMA_REVISION}); nothing was changed",
            hint="Start the newer Satchel that made it, or restore the catalog from a backup of before.",
        )
    if found != SCHEMA_REVISION:
        raise StartRefused("the catalog has not been migrated to this version of Satchel")


def upgrade(connection: Connection) -> None:
    """Bring the schema to ``SCHEMA_REVISION`` inside the transaction ``connection`` is in."""
    found = current(connection)
    if found == SCHEMA_REVISION:
        return
    if found is not None and found not in KNOWN:
        check(found)

    from alembic import command
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(Path(__file__).with_name("migrations")))
    config.attributes["connection"] = connection
    command.upgrade(config, SCHEMA_REVISION)
    sums.renew(connection)


def snapshot(connection: Connection, file: Path) -> None:
    """Write what an SQLite database holds at one moment to the empty or absent ``file`` (0600); writers go on."""
    os.close(os.open(file, os.O_CREAT | os.O_RDWR, 0o600))
    connection.exec_driver_sql("PRAGMA query_only=OFF")  # it counts the new file as a write of this one
    try:
        connection.exec_driver_sql("VACUUM INTO ?", (str(file),))
    finally:
        connection.exec_driver_sql("PRAGMA query_only=ON")
