"""A compact copy of an index under another key: what a checkpoint in the bucket is made of.

FTS5 keeps the words of a section that went until it merges the segments they are in, and SQLite the pages it freed.
A copy has neither: of text it holds that of its own tree alone. Nothing of it is ever in clear outside of memory.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import apsw

from satchel.search import schema

PAGES_AT_ONCE = 256
"""Copied between two looks at whether to go on: 1 MiB."""
MERGED_AT_ONCE = 500
"""Pages of segments merged between two such looks."""
WORK = ".work"
"""Ends the name of the file that a copy is made in."""


class _Stopped(Exception):
    """Whoever wanted the copy has no use for it any more."""


def copy(database: apsw.Connection, path: Path, key: bytes, stop: Callable[[], bool]) -> bool:
    """Write the state that ``database`` reads to ``path``, which is not there yet; False if it was stopped.

    Raises errors of SQLite.
    """
    work = path.with_name(path.name + WORK)
    made = apsw.Connection(str(work))
    try:
        schema.encrypt(made, key)
        made.pragma("journal_mode", "off")  # what is cut off is deleted
        made.pragma("synchronous", 0)
        with made.backup("main", database, "main") as backup:
            while not backup.done:
                _go_on(stop)
                backup.step(PAGES_AT_ONCE)
        for table in _full_text(made):
            _merge(made, table, stop)
        _go_on(stop)
        made.execute("VACUUM INTO ?", (str(path),))  # under the same key
    except _Stopped:
        return False
    finally:
        made.close()
        work.unlink(missing_ok=True)
    return True


def _full_text(database: apsw.Connection) -> list[str]:
    rows = schema.rows(database, "SELECT name, sql FROM sqlite_schema WHERE type = 'table' AND sql IS NOT NULL")
    return [str(name) for name, sql in rows if "using fts5" in str(sql).lower()]


def _merge(database: apsw.Connection, table: str, stop: Callable[[], bool]) -> None:
    """Merge all segments into one; a negative number begins that, and a step that changes nothing ends it."""
    statement = f'INSERT INTO "{table}"("{table}", rank) VALUES(\'merge\', ?)'
    database.execute(statement, (-MERGED_AT_ONCE,))
    while True:
        _go_on(stop)
        before = database.total_changes()
        database.execute(statement, (MERGED_AT_ONCE,))
        if database.total_changes() - before < 2:
            return


def _go_on(stop: Callable[[], bool]) -> None:
    if stop():
        raise _Stopped
