"""A sum over the rows of each table, by which a row that anything but Satchel changed is found.

SQLite notices a broken page and not a flipped letter in a row. So the writer's connection keeps, by triggers of its
own, one sum for each table in ``row_sum``, in the transaction that changes the rows: 62 bits of a hash of every row,
added up, and the number of rows. ``place`` has none, since the packs prove its rows; it would double what a large
commit costs. Whoever changes rows by other means than Satchel is found too, and may ``renew`` the sums.

The sums tell of accidents: who can write to the catalog can write sums as well.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator

from sqlalchemy import Connection, Table
from sqlalchemy.exc import DBAPIError

from satchel.catalog.schema import METADATA, UNREACHED

SUMMED = tuple(table for table in METADATA.sorted_tables if table.name not in {"place", *UNREACHED})
_SCHEMA = "sqlite_master"
_MASK = (1 << 62) - 1
_HALF = 1 << 31
MAX_SHOWN = 20
"""Most complaints of SQLite's own check that are passed on."""


def row_hash(*values: object) -> int:
    """62 bits that depend on every value of a row and on its table's name, which comes first."""
    return int.from_bytes(hashlib.blake2b(repr(values).encode(), digest_size=8).digest(), "big") >> 2


def triggers() -> Iterator[str]:
    """The statements by which a connection that writes keeps the sums. They need ``row_sum`` and ``row_hash``."""
    for table in SUMMED:
        new, old = (_hash(table, f"{which}.") for which in ("NEW", "OLD"))
        for event, rows, change in (
            ("INSERT", "rows + 1", f"sum + {new}"),
            ("UPDATE", "rows", f"sum - {old} + {new}"),
            ("DELETE", "rows - 1", f"sum - {old}"),
        ):
            yield (
                f"CREATE TEMP TRIGGER row_sum_{table.name}_{event} AFTER {event} ON main.{table.name} BEGIN "  # noqa: S608 - names of our own tables
                f"UPDATE row_sum SET rows = {rows}, sum = ({change}) & {_MASK} WHERE name = '{table.name}'; END"
            )


def renew(connection: Connection) -> None:
    """Take the rows for right as they are. After a migration, or when an operator looked at them and says so."""
    connection.exec_driver_sql("DELETE FROM row_sum")
    for name, (rows, found) in _sums(connection).items():
        connection.exec_driver_sql("INSERT INTO row_sum (name, rows, sum) VALUES (?, ?, ?)", (name, rows, found))


def problems(connection: Connection) -> list[str]:
    """What is wrong with the database's pages, references and rows, at one moment; empty when all is well."""
    connection.exec_driver_sql("BEGIN")  # one look at a running server's rows and at their sums
    try:
        return [*_pages(connection), *_references(connection), *_rows(connection)]
    except DBAPIError as error:
        return [f"the catalog cannot be read through: {error.orig}"]
    finally:
        connection.exec_driver_sql("ROLLBACK")


def _pages(connection: Connection) -> list[str]:
    said = [str(row[0]) for row in connection.exec_driver_sql(f"PRAGMA integrity_check({MAX_SHOWN})")]
    return [] if said == ["ok"] else [f"a page of the catalog is damaged: {line}" for line in said]


def _references(connection: Connection) -> list[str]:
    rows = connection.exec_driver_sql("PRAGMA foreign_key_check").all()
    found = dict.fromkeys(f"a row of {row[0]} refers to a row of {row[2]} that is not there" for row in rows)
    return list(found)[:MAX_SHOWN]


def _rows(connection: Connection) -> Iterator[str]:
    kept = {row[0]: (row[1], row[2]) for row in connection.exec_driver_sql("SELECT name, rows, sum FROM row_sum")}
    for name, found in _sums(connection).items():
        if kept.get(name) != found:
            what = "its tables are defined" if name == _SCHEMA else f"a row of {name} is"
            yield f"the catalog was changed by something else than Satchel: {what} otherwise than Satchel wrote it"


def _sums(connection: Connection) -> dict[str, tuple[int, int]]:
    """Rows and sum of every table, and of the definitions of the tables."""
    sources = {table.name: _hash(table, "") for table in SUMMED}
    sources[_SCHEMA] = f"row_hash('{_SCHEMA}', type, name, tbl_name, sql)"
    return {name: _sum(connection, name, hashed) for name, hashed in sources.items()}


def _sum(connection: Connection, name: str, hashed: str) -> tuple[int, int]:
    # In halves: a sum of whole hashes would leave the 64 bits of SQLite's numbers. Materialized: each hash made once.
    query = (
        f"WITH hashed(h) AS MATERIALIZED (SELECT {hashed} FROM main.{name}) "  # noqa: S608 - as above
        f"SELECT count(*), ifnull(sum(h / {_HALF}), 0), ifnull(sum(h % {_HALF}), 0) FROM hashed"
    )
    rows, high, low = connection.exec_driver_sql(query).one()
    return rows, (high * _HALF + low) & _MASK


def _hash(table: Table, prefix: str) -> str:
    columns = ", ".join(f'{prefix}"{column.name}"' for column in table.columns)
    return f"row_hash('{table.name}', {columns})"
