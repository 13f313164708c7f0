"""``state.db``: what the last scan saw, so that the next one reads only what changed.

Derived: a database that is damaged, of another format or not to be opened is set aside or done without, a notice
says so, and the scan reads everything again. A row is written only for a file whose timestamps lie far enough
before the moment it was read (``settled``): one that changes again within the same tick of the filesystem's clock
would look unchanged.
"""

from __future__ import annotations

import stat
import time
from collections.abc import Callable, Iterable
from functools import partial
from operator import itemgetter
from os import stat_result
from pathlib import Path
from typing import Any, NamedTuple

import apsw

from satchel.objects.ids import Digest

FORMAT = 2
"""Of the tables, and of the rules by which ``unindexed`` was decided. Another number starts an empty state."""

_TABLES = """
CREATE TABLE file (
    path TEXT PRIMARY KEY, size INT, mtime INT, ctime INT, ino INT, mode INT, object TEXT, unindexed TEXT
) WITHOUT ROWID;
CREATE TABLE folder (path TEXT PRIMARY KEY, chain BLOB, ignored BLOB, others BLOB) WITHOUT ROWID;
CREATE TABLE clash (path TEXT PRIMARY KEY, reason TEXT) WITHOUT ROWID;
CREATE TABLE tree (digest TEXT);
"""
_TABLE_NAMES = ("file", "folder", "clash", "tree")
PATIENCE_SECONDS = 10.0
"""How long a scan waits for another that reads or writes the same database: it is for milliseconds, unless the machine
is busy. To read every file again takes longer in a large folder."""
LOOK_SECONDS = 0.005
MOST_LEFT_BESIDE = 256 * 1024
"""Bytes of the log that may wait to be brought into the database. To do so at the end of each command, and begin
another log in the next, costs four waits for the disk, and to read so much of it 0.3 ms."""
_SEEN = "PRAGMA data_version"
"""Says another number once another connection has written."""
_PATH = itemgetter(0)
_FINE_SLACK_NS = 100_000_000
_COARSE_SLACK_NS = 2_000_000_000  # FAT and HFS+ keep whole seconds, or two of them


class FileRow(NamedTuple):
    path: str
    size: int
    mtime: int
    """Nanoseconds, as are all times here."""
    ctime: int
    ino: int
    mode: int
    object: str
    unindexed: str
    """Why it is not indexed though it belongs, as a reason code; empty when it is."""


_ROW: Callable[[tuple[Any, ...]], FileRow] = partial(tuple.__new__, FileRow)
"""``FileRow._make`` without its call in Python: a scan makes one for each file there is."""


class FolderRow(NamedTuple):
    """The names of a folder about which the rules of ``chain`` have decided."""

    chain: bytes
    ignored: frozenset[str]
    """A folder's ends with ``/``."""
    others: frozenset[str]
    """Admitted by the rules and yet not in ``file``: left out for another reason, or not settled."""


class Remembered(NamedTuple):
    files: dict[str, FileRow]
    folders: dict[str, FolderRow]
    clashes: dict[str, str]
    digest: Digest | None = None
    """Of the tree that these files make, without those that clash, where it was written with them."""


class _Overtaken(Exception):
    """Another scan was faster."""


class State:
    """The database, or nothing at all where it cannot be had."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self.notices: list[str] = []
        self._database: apsw.Connection | None = None
        self._seen: Any = None
        """What ``_SEEN`` said when the rows were loaded."""

    def load(self) -> Remembered:
        """Everything remembered; empty on the first scan and after damage."""
        try:
            return self._load()
        except UnicodeEncodeError:
            return self._without("SQLite opens no path that is not valid UTF-8")
        except (apsw.NotADBError, apsw.CorruptError, apsw.FormatError, ValueError, TypeError):
            self._set_aside()
        except (apsw.Error, OSError) as error:
            return self._without(str(error))
        try:
            return self._load()
        except (apsw.Error, OSError, ValueError, TypeError):
            self.close()
            return Remembered({}, {}, {})

    def save(
        self,
        files: Iterable[FileRow],
        folders: Iterable[tuple[str, FolderRow]],
        gone_files: Iterable[str],
        gone_folders: Iterable[str],
        clashes: dict[str, str],
        digest: Digest | None,
    ) -> bool:
        """Remember in one transaction. A failure forgets, and never fails the scan.

        False where another scan has written since the rows were loaded: nothing of this one is kept then. What two of
        them found, each by the rules and files of its moment, does not fit together.
        """
        if self._database is None:
            return True
        try:
            with self._database as database:
                database.execute("DELETE FROM tree")  # from here on nobody else writes
                if database.execute(_SEEN).get != self._seen:
                    raise _Overtaken
                run = database.executemany
                run("DELETE FROM file WHERE path = ?", ((path,) for path in gone_files))
                run("DELETE FROM folder WHERE path = ?", ((path,) for path in gone_folders))
                run("INSERT OR REPLACE INTO file VALUES (?,?,?,?,?,?,?,?)", files)
                rows = ((path, row.chain, _join(row.ignored), _join(row.others)) for path, row in folders)
                run("INSERT OR REPLACE INTO folder VALUES (?,?,?,?)", rows)
                database.execute("DELETE FROM clash")
                run("INSERT INTO clash VALUES (?,?)", clashes.items())
                database.execute("INSERT INTO tree VALUES (?)", (digest,))
        except _Overtaken:
            return False
        except apsw.Error as error:
            self.notices.append(
                f"{self._path} could not be written ({error}): the next scan reads more than it had to."
            )
            self.close()
        return True

    def take_notices(self) -> list[str]:
        """What happened since the last call, for a person."""
        notices, self.notices = self.notices, []
        return notices

    def close(self) -> None:
        if self._database is not None:
            if _size_beside(self._path) <= MOST_LEFT_BESIDE:
                self._database.config(apsw.SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1)
            self._database.close()
            self._database = None

    def _without(self, why: str) -> Remembered:
        self.close()
        self.notices.append(f"{self._path} cannot be used ({why}): every file is read again each time.")
        return Remembered({}, {}, {})

    def _load(self) -> Remembered:
        database = self._open()
        self._seen = database.execute(_SEEN).get
        rows = database.execute("SELECT * FROM file").fetchall()
        files = dict(zip(map(_PATH, rows), map(_ROW, rows), strict=True))
        folders = {
            path: FolderRow(chain, _split(ignored), _split(others))
            for path, chain, ignored, others in database.execute("SELECT * FROM folder")
        }
        clashes = dict(database.execute("SELECT * FROM clash"))
        return Remembered(files, folders, clashes, database.execute("SELECT max(digest) FROM tree").get)

    def _open(self) -> apsw.Connection:
        if self._database is not None:
            return self._database
        self._path.parent.mkdir(parents=True, exist_ok=True)
        if self._path.is_symlink():  # from whoever made the folder: what it leads to is not ours to write
            raise ValueError("a symlink")
        until = time.monotonic() + PATIENCE_SECONDS
        while True:
            database = self._database = apsw.Connection(str(self._path))
            database.set_busy_timeout(int(PATIENCE_SECONDS * 1_000))
            try:
                _prepare(database)
                return database
            except (apsw.BusyError, apsw.LockedError):
                # Of two that make a database at once SQLite tells one so without letting it wait.
                self.close()
                if time.monotonic() >= until:
                    raise
                time.sleep(LOOK_SECONDS)

    def _set_aside(self) -> None:
        self.close()
        aside = self._path.with_name(self._path.name + ".damaged")
        self.notices.append(f"{self._path} was damaged: set aside as {aside.name} and made again.")
        _remove_beside(self._path)
        try:
            self._path.replace(aside)
        except OSError:
            pass


def _prepare(database: apsw.Connection) -> None:
    """Make the tables, unless another process just did."""
    # WAL with NORMAL: a power loss may take the last scan's rows, never the sense of the others.
    database.execute("PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL")
    if database.execute("PRAGMA user_version").get == FORMAT:
        return
    database.execute("BEGIN IMMEDIATE")
    try:
        if database.execute("PRAGMA user_version").get != FORMAT:
            for table in _TABLE_NAMES:
                database.execute(f"DROP TABLE IF EXISTS {table}")
            database.execute(_TABLES)
            database.execute(f"PRAGMA user_version={FORMAT}")
        database.execute("COMMIT")
    except BaseException:
        if database.in_transaction:  # a full disk ended it already
            database.execute("ROLLBACK")
        raise


def forget(path: Path) -> None:
    """Remove the database at ``path``: the next scan reads everything. Raises ``OSError``."""
    _remove_beside(path)
    path.unlink(missing_ok=True)


_LOG = "-wal"
"""What was written since the database was last brought up to date is in a file of that ending beside it."""


def _size_beside(path: Path) -> int:
    try:
        return path.with_name(path.name + _LOG).stat().st_size
    except OSError:
        return 0


def _remove_beside(path: Path) -> None:
    """What a database in WAL mode has beside it, which would be taken for the next one's."""
    for suffix in (_LOG, "-shm"):
        path.with_name(path.name + suffix).unlink(missing_ok=True)


def settled(found: stat_result, read_at: int) -> bool:
    """Whether a file read at ``read_at`` (ns) is sure to get another timestamp when it changes again."""
    newest = max(found.st_mtime_ns, found.st_ctime_ns)
    coarse = found.st_ctime_ns % 1_000_000_000 == 0
    return newest + (_COARSE_SLACK_NS if coarse else _FINE_SLACK_NS) < read_at


def is_executable(mode: int) -> bool:
    return bool(mode & stat.S_IXUSR)


def _join(names: frozenset[str]) -> bytes:
    # Sorted, so that equal sets are equal rows; as bytes, because names need not be UTF-8.
    return b"\0".join(sorted(name.encode("utf-8", "surrogateescape") for name in names))


def _split(joined: bytes) -> frozenset[str]:
    return frozenset(joined.decode("utf-8", "surrogateescape").split("\0")) if joined else frozenset()
