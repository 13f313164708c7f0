"""The index file: its tables, its format number, how it is opened. The spec is ``docs/spec/index.md``.

``fts`` is contentless: it keeps only the inverted index, and its scores depend on the live sections alone, so an index
reached by any path of edits answers like a fresh one (promise P2). The text of sections rests beside it in compressed
blocks. Sections are numbered through the whole index, and a document has the number of its first; ``row`` makes of a
section's number its row in ``fts``, which also says the kind and about how long it is, so that both need no looking up.
"""

from __future__ import annotations

import math
import os
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, cast

import apsw

from satchel.errors import DiskFull, IndexCorrupt, SatchelError, StoreUnavailable
from satchel.objects.paths import collision_key

INDEX_FORMAT = 7
"""Kept in ``user_version``. Raise it when the tables, the words taken from a document or the reading of documents
change: an index of another format is rebuilt."""

KIND_BITS, SIZE_BITS = 5, 6
ROW_BITS = KIND_BITS + SIZE_BITS
KIND_MASK, SIZE_MASK = (1 << KIND_BITS) - 1, (1 << SIZE_BITS) - 1
SIZE_STEPS = 4
"""How long a section is, is known to a quarter of a doubling: as good as its exact words (ADR 0062)."""
SIZES = tuple([round(2 ** (step / SIZE_STEPS)) for step in range(1 << SIZE_BITS)])
"""Characters, by the step a row says."""

BLOCK_CHARACTERS = 2_048
"""Sections share a compressed block until it holds this much. 30 MB of Markdown take 13.6 MB so, and a hit opens its
block in 40 microseconds; blocks of 32 K characters take 12.6 MB and 77 microseconds, single sections 16.3 MB and twice
the time to write."""

HASH_BYTES = 16 * 2**20
"""What FTS5 gathers in memory before it writes a segment. 16 MiB against the default of 1: 1.1 s instead of 1.4 s to
index 30 MB, and 0.8 s with merging put off as well (``bench/search.py``)."""

BULK_FILES = 200
"""From this many changed files on, merging of segments is left to the small changes that follow."""

MERGE_PAGES = 128
"""A small change merges at most so many pages of segments: 3 ms. Left to itself FTS5 now and then merges all of them in
one change: 0.2 s in an index of 30 MB. Merging begins with eight segments alike, or a quarter of one deleted."""

BUSY_SECONDS = 10.0
"""How long is waited for another process that writes the same file."""
LOOK_SECONDS = 0.005

TOKENIZER = ("porter", "unicode61", "remove_diacritics", "2")

_TABLES = f"""
CREATE TABLE state(
    one INTEGER PRIMARY KEY CHECK(one = 1), digest TEXT NOT NULL, sections INTEGER NOT NULL, length INTEGER NOT NULL
) STRICT;
CREATE TABLE kind(id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE) STRICT;
CREATE TABLE document(
    id INTEGER PRIMARY KEY,
    path TEXT NOT NULL UNIQUE,
    mode TEXT NOT NULL,
    object TEXT NOT NULL,
    size INTEGER NOT NULL,
    kind TEXT NOT NULL,
    title TEXT NOT NULL,
    sections INTEGER NOT NULL,
    length INTEGER NOT NULL
) STRICT;
CREATE TABLE reviewed(path TEXT NOT NULL, object TEXT NOT NULL, PRIMARY KEY(path, object)) STRICT, WITHOUT ROWID;
CREATE TABLE block(id INTEGER PRIMARY KEY, data BLOB NOT NULL) STRICT;
CREATE TABLE task(
    document INTEGER NOT NULL,
    line INTEGER NOT NULL,
    text TEXT NOT NULL,
    done INTEGER NOT NULL,
    trail TEXT NOT NULL,
    owner TEXT,
    PRIMARY KEY(document, line)
) STRICT, WITHOUT ROWID;
CREATE VIRTUAL TABLE fts USING fts5(
    text, content='', contentless_delete=1, tokenize='{" ".join(TOKENIZER)}'
);
INSERT INTO fts(fts, rank) VALUES('hashsize', {HASH_BYTES}), ('automerge', 0), ('usermerge', 8), ('deletemerge', 25);
PRAGMA user_version = {INDEX_FORMAT};
"""


IS_REVIEWED = "EXISTS(SELECT 1 FROM reviewed AS r WHERE r.path = document.path AND r.object = document.object)"
"""Whether the list of reviews names a row of ``document`` as it is."""

_DAMAGE = (apsw.CorruptError, apsw.NotADBError, apsw.SQLError, apsw.MismatchError, apsw.SchemaChangeError)


ROW_DOCUMENT = f"document.id = (SELECT max(id) FROM document WHERE id <= fts.rowid >> {ROW_BITS})"  # noqa: S608
"""Joins a row of ``fts`` to its document."""


def size_step(characters: int) -> int:
    """How long a section is, as its row says it."""
    return min(round(SIZE_STEPS * math.log2(max(characters, 1))), SIZE_MASK)


def row_of(number: int, kind: int, step: int) -> int:
    """The row in ``fts`` of the section of that number."""
    return number << ROW_BITS | kind << SIZE_BITS | step


NOT_UTF8 = "SQLite opens no file whose path is not valid UTF-8"


def connect(path: Path | None, key: bytes | None) -> apsw.Connection:
    """Open the index at ``path`` (``None``: in memory), creating it when there is none.

    ``key`` (32 raw bytes) encrypts the file; every file wants a key of its own. Raises ``IndexCorrupt`` for a file that
    is no index, is damaged, was written with another key, or is of another format, and ``StoreUnavailable``.
    """
    if path is not None:
        _begin(path)
    until = time.monotonic() + BUSY_SECONDS
    while True:
        database: apsw.Connection | None = None
        try:
            database = apsw.Connection(":memory:" if path is None else str(path))
            database.set_busy_timeout(int(BUSY_SECONDS * 1_000))
            _prepare(database, key)
            return database
        except (apsw.Error, IndexCorrupt) as error:
            if database is not None:
                database.close()
            # Of two that make a file at once SQLite tells one so without letting it wait.
            if not isinstance(error, apsw.BusyError | apsw.LockedError) or time.monotonic() >= until:
                raise trouble(error) from error
            time.sleep(LOOK_SECONDS)
        except UnicodeEncodeError as error:
            raise StoreUnavailable(NOT_UTF8, hint="Give the folder another name.") from error


def _prepare(database: apsw.Connection, key: bytes | None) -> None:
    encrypt(database, key)
    database.create_scalar_function("folded", cast("Any", collision_key), 1, deterministic=True)
    version = database.pragma("user_version")
    if version != INDEX_FORMAT:
        _create(database)
    # A power loss may undo the last change, which the next command makes again; it cannot damage the file.
    database.pragma("journal_mode", "wal")
    database.pragma("synchronous", 1)
    database.pragma("cache_size", -16_384)


def _begin(path: Path) -> None:
    """Make a file that is not there yet, for its owner alone: it holds texts of files that others may not read.

    What is beside it while it is written gets the same permissions from SQLite. A file that is there keeps its own.
    """
    with suppress(OSError, ValueError):  # it is there, or SQLite says what is wrong
        os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))


def encrypt(database: apsw.Connection, key: bytes | None) -> None:
    """Set the key of a file that was just opened; ``None``: it is in clear."""
    if key is not None:
        database.pragma("cipher", "chacha20")
        database.pragma("key", f"raw:{key.hex()}")
    # Nothing derived from text leaves the file for an unencrypted temporary one.
    database.pragma("temp_store", 2)


def rows(database: apsw.Connection, statement: str, values: Sequence[object] = ()) -> list[tuple[Any, ...]]:
    """All rows of a statement. The tables are STRICT: a column is of the type they declare."""
    return database.execute(statement, cast("Any", values)).fetchall()


def _create(database: apsw.Connection) -> None:
    """Make the tables, unless another process just did. Raises ``IndexCorrupt``."""
    database.execute("BEGIN IMMEDIATE")
    try:
        version = database.pragma("user_version")
        if version != INDEX_FORMAT:
            if version != 0 or database.execute("SELECT count(*) FROM sqlite_schema").get:
                raise IndexCorrupt(f"the index is of format {version}, this Satchel writes format {INDEX_FORMAT}")
            database.execute(_TABLES)
        database.execute("COMMIT")
    except BaseException:
        if database.in_transaction:  # a full disk ended it already
            database.execute("ROLLBACK")
        raise


def trouble(error: Exception) -> SatchelError:
    """The error of Satchel that says what an error of SQLite means for an index."""
    if isinstance(error, SatchelError):
        return error
    if isinstance(error, apsw.FullError):
        return DiskFull("the disk is full: the index could not be written")
    if isinstance(error, _DAMAGE):
        return IndexCorrupt("the index is damaged or is no index")
    return StoreUnavailable(f"the index cannot be used: {error}", hint="Check that its directory may be written.")
