"""The search index of one project: brought to a digest by the difference, asked by any number of readers.

An index holds the files of one tree, what they mean, and the words of those that are text. Everything it answers is a
function of that tree and of ``INDEX_FORMAT`` (promise P2): never of the order or the path of edits that led there.
One object is for one thread at a time; several processes may share a file.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, Self

import apsw

from satchel.errors import IndexCorrupt
from satchel.objects.ids import Digest, ObjectId
from satchel.objects.listing import Tree
from satchel.objects.paths import collision_key
from satchel.objects.reviews import REVIEWED_PATH, Review, read_reviews
from satchel.search import schema
from satchel.search.matching import Asked, Found, FoundSection, Matcher, Ranked, Row
from satchel.search.query import Query
from satchel.search.scoring import Statistics
from satchel.search.together import best_of
from satchel.search.weight import Weigh, weightless

if TYPE_CHECKING:
    from satchel.documents.sections import TaskLine
    from satchel.search.near import Near


class Item(NamedTuple):
    """One file of the tree and what it means."""

    path: str
    mode: str
    object: ObjectId
    size: int
    kind: str
    title: str
    reviewed: bool
    """Whether the tree's own list says so (``objects.reviews``)."""


class Index:
    """Made by ``open`` or ``open_or_rebuild``; close it, or use it in a ``with`` statement."""

    def __init__(self, database: apsw.Connection) -> None:
        self._database = database
        self._matcher = Matcher(database)
        self.damaged = False
        """Whether it has raised ``IndexCorrupt``: close it, remove the file and build another."""

    @classmethod
    def open(cls, path: Path | None, *, key: bytes | None = None) -> Self:
        """The index at ``path``, created empty when there is none; ``None`` keeps it in memory.

        ``key``, 32 bytes for this file alone, encrypts it. Raises ``IndexCorrupt`` for a file that is no index, is
        damaged, or is of another key or format; ``StoreUnavailable`` where none can be opened or made.
        """
        if path is not None and path.is_symlink():
            raise IndexCorrupt("a symlink stands in the place of the index")  # what it leads to is not ours to write
        return cls(schema.connect(path, key))

    @classmethod
    def open_or_rebuild(cls, path: Path, *, key: bytes | None = None) -> tuple[Self, bool]:
        """As ``open``, but a file that cannot serve is deleted; the flag says so. Derived: nothing is lost."""
        try:
            return cls.open(path, key=key), False
        except IndexCorrupt:
            remove(path)
            return cls.open(path, key=key), True

    def close(self) -> None:
        self._database.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def digest(self) -> Digest | None:
        """Of the tree it holds; ``None`` while it holds none."""
        with _Trouble(self):
            return self._matcher.state().digest

    @contextmanager
    def reading(self) -> Iterator[None]:
        """Everything asked inside is answered from one state of the index, whatever other processes do meanwhile."""
        with _Trouble(self):
            self._database.execute("BEGIN")
            try:
                with self._matcher.settled():
                    yield
            finally:
                if not self._database.get_autocommit():
                    self._database.execute("COMMIT")

    # Changing ----------------------------------------------------------------------------------------------------

    def bring(
        self, digest: Digest, tree: Tree, read: Callable[[str], bytes], sizes: Mapping[str, int] | None = None
    ) -> int:
        """Bring the index to ``tree``, whose digest is ``digest``: all of it or, if ``read`` raises, nothing. Returns
        how many files were added, replaced or removed.

        Only files whose object or mode changed are touched. ``sizes`` spares reading the files that are not indexed;
        without it they are read to learn their size.
        """
        if self.digest == digest:
            return 0
        with _Trouble(self):
            self._database.execute("BEGIN IMMEDIATE")
            try:
                changed = self._change(digest, tree, read, sizes or {})
                self._database.execute("COMMIT")
            except BaseException:
                if not self._database.get_autocommit():
                    self._database.execute("ROLLBACK")
                raise
        return changed

    def _change(self, digest: Digest, tree: Tree, read: Callable[[str], bytes], sizes: Mapping[str, int]) -> int:
        from satchel.documents.document import parse
        from satchel.search.building import Builder

        held = set(schema.rows(self._database, "SELECT path, mode, object FROM document"))
        wanted = {(path, *entry) for path, entry in tree.items()}
        gone = [path for path, _, _ in held - wanted]
        fresh = sorted([path for path, _, _ in wanted - held])
        bulk = len(fresh) + len(gone) >= schema.BULK_FILES
        for path in gone:
            self._remove(path)
        reviews: set[Review] = set()
        free = self._database.execute("SELECT coalesce(max(id + max(sections, 1)), 1) FROM document").get
        with Builder(self._database, apart=bulk) as builder:
            for path in fresh:
                size = sizes.get(path)
                data = read(path) if size is None or is_read(path, size) else b""
                size = len(data) if size is None else size
                document = parse(path, data if is_read(path, size) else b"")
                if path == REVIEWED_PATH:
                    reviews = read_reviews(data)
                free = builder.add(free, path, tree[path], size, document)
            builder.finish()
        if bulk and 2 * len(fresh) >= len(tree):
            # Words are then looked up in one segment: a fifth less time for a query, for a tenth of the build's.
            self._database.execute("INSERT INTO fts(fts) VALUES('optimize')")
        elif not bulk:
            self._database.execute("INSERT INTO fts(fts, rank) VALUES('merge', ?)", (schema.MERGE_PAGES,))
        if reviews or REVIEWED_PATH in gone:
            self._database.execute("DELETE FROM reviewed")
            self._database.executemany("INSERT INTO reviewed VALUES(?, ?)", reviews)
        self._database.execute(
            "INSERT OR REPLACE INTO state "
            "SELECT 1, ?, coalesce(sum(sections), 0), coalesce(sum(length), 0) FROM document",
            (digest,),
        )
        return len(set(fresh) | set(gone))

    def _remove(self, path: str) -> None:
        row = "SELECT id, sections FROM document WHERE path = ?"
        ((number, sections),) = schema.rows(self._database, row, (path,))
        end = number + sections
        within = (number << schema.ROW_BITS, end << schema.ROW_BITS)
        gone = schema.rows(self._database, "SELECT id FROM fts_docsize WHERE id >= ? AND id < ?", within)
        self._database.executemany("DELETE FROM fts WHERE rowid = ?", gone)
        self._database.execute("DELETE FROM block WHERE id >= ? AND id < ?", (number, end))
        self._database.execute("DELETE FROM task WHERE document = ?", (number,))
        self._database.execute("DELETE FROM document WHERE id = ?", (number,))

    # Asking ------------------------------------------------------------------------------------------------------

    def search(self, query: Query, limit: int, offset: int = 0) -> Found:
        """The best sections: those with every word or, where too few have, with any one of them."""
        asked = self.asked(query)
        every, best, (ranked,) = best_of([self], asked, [None], wanted=offset + limit)
        rows = [row for row, _ in best[offset : offset + limit]]
        return Found(self.show(rows, asked, every=every), ranked.total, ranked.kinds, "all" if every else "any")

    def asked(self, query: Query) -> Asked:
        """The query as this and any other index is asked it."""
        with _Trouble(self):
            return self._matcher.asked(query)

    def statistics(self, asked: Asked, *, every: bool) -> Statistics:
        """What scores depend on: to be summed over all indexes that are asked together."""
        with _Trouble(self):
            return self._matcher.statistics(asked, every=every)

    def rank(
        self,
        asked: Asked,
        statistics: Statistics,
        *,
        every: bool,
        wanted: int,
        least: int = 1,
        only: Sequence[str] | None = None,
        floor: float = 0.0,
    ) -> Ranked:
        """The sections that hold ``every`` word, or any one of them, in the files named by ``only`` where it is given:
        at least the ``wanted`` best, but those that score less than ``floor`` may be missing. Where fewer than
        ``least`` hold every word, nothing may be said of them.

        A query without words lists the first section of every document its filters admit, in the order of ``only`` or
        by path, with score 0.
        """
        with _Trouble(self):
            return self._matcher.rank(asked, statistics, every, wanted, least, only, floor)

    def show(self, found: Sequence[Row], asked: Asked, *, every: bool) -> list[FoundSection]:
        """Rows of ``rank`` with their text."""
        with _Trouble(self):
            return self._matcher.show(found, asked.shown if every else asked.loose_shown)

    def near(self, query: Query, most: int, weigh: Weigh = weightless) -> list[Near]:
        """Words of the index that are spelled almost like those sought, the nearest first."""
        from satchel.search.near import SECTION_COSTS, near_words  # asked where nothing was found

        with _Trouble(self):
            weigh(SECTION_COSTS * self._matcher.state().sections)
            return near_words(self._database, self._matcher.tokenize, query.sought, most, weigh)

    def inventory(
        self, *, kind: str | None = None, prefix: str = "", text: str = "", after: str = "", limit: int | None = None
    ) -> list[Item]:
        """The files, by path: of one kind, under a prefix, with a text in path or title, case aside, after a path."""
        with _Trouble(self):
            found = schema.rows(
                self._database,
                f"SELECT path, mode, object, size, kind, title, {schema.IS_REVIEWED} FROM document "  # noqa: S608
                "WHERE path > ?1 AND substr(path, 1, length(?2)) = ?2 AND (?3 IS NULL OR kind = ?3) "
                "AND (?4 = '' OR instr(folded(path || char(10) || title), ?4) > 0) ORDER BY path LIMIT ?5",
                (after, prefix, kind, collision_key(text), -1 if limit is None else limit),
            )
        return [_item(row) for row in found]

    def contents(self) -> dict[str, str]:
        """The object of every file that has text, by path."""
        with _Trouble(self):
            found = schema.rows(self._database, "SELECT path, object FROM document WHERE sections > 0 ORDER BY path")
        return dict(found)

    def paths(self) -> list[str]:
        """Of all files, in their order."""
        with _Trouble(self):
            return [path for (path,) in schema.rows(self._database, "SELECT path FROM document ORDER BY path")]

    def document(self, path: str) -> Item | None:
        with _Trouble(self):
            found = schema.rows(
                self._database,
                f"SELECT path, mode, object, size, kind, title, {schema.IS_REVIEWED} FROM document WHERE path = ?",  # noqa: S608
                (path,),
            )
        return _item(found[0]) if found else None

    def kinds(self) -> dict[str, int]:
        """How many files of each kind, by kind."""
        with _Trouble(self):
            found = schema.rows(self._database, "SELECT kind, count(*) FROM document GROUP BY kind ORDER BY kind")
        return dict(found)

    def tasks(
        self, *, done: bool = False, prefix: str = "", after: tuple[str, int] = ("", 0), limit: int | None = None
    ) -> list[tuple[str, TaskLine]]:
        """Open (or finished) tasks by path and line."""
        from satchel.documents.sections import TaskLine

        with _Trouble(self):
            found = schema.rows(
                self._database,
                "SELECT path, line, text, done, trail, owner FROM task JOIN document ON id = document "
                "WHERE done = ?1 AND (path, line) > (?2, ?3) AND substr(path, 1, length(?4)) = ?4 "
                "ORDER BY path, line LIMIT ?5",
                (done, *after, prefix, -1 if limit is None else limit),
            )
        return [
            (path, TaskLine(line, text, bool(is_done), tuple(json.loads(trail)), owner))
            for path, line, text, is_done, trail, owner in found
        ]

    def count_tasks(self, *, done: bool = False, prefix: str = "") -> int:
        with _Trouble(self):
            found = schema.rows(
                self._database,
                "SELECT count(*) FROM task JOIN document ON id = document "
                "WHERE done = ?1 AND substr(path, 1, length(?2)) = ?2",
                (done, prefix),
            )
        return int(found[0][0])

    def copy(self, path: Path, key: bytes, *, stop: Callable[[], bool] = lambda: False) -> bool:
        """Write a compact index of the same tree to ``path``, which is not there yet, under a key of its own.

        For an index that has a key. False if ``stop``, which is asked now and then, said so.
        """
        from satchel.search.copying import copy

        with self.reading():
            return copy(self._database, path, key, stop)

    def verify(self) -> None:
        """Raise ``IndexCorrupt`` unless the file is sound all through. Reads all of it."""
        with _Trouble(self):
            if self._database.pragma("integrity_check") != "ok":
                raise IndexCorrupt("the index is damaged")


class _Trouble:
    """Names the errors of SQLite, and notes that an index is damaged. No generator: one is entered for each hit."""

    __slots__ = ("_index",)

    def __init__(self, index: Index) -> None:
        self._index = index

    def __enter__(self) -> None:
        pass

    def __exit__(self, _: type[BaseException] | None, error: BaseException | None, __: object) -> None:
        if isinstance(error, apsw.Error | IndexCorrupt):
            told = schema.trouble(error)
            self._index.damaged = self._index.damaged or isinstance(told, IndexCorrupt)
            if told is not error:
                raise told from error


def is_read(path: str, size: int) -> bool:
    """Whether an index reads a file of that name and size."""
    from satchel.documents.kinds import indexable

    return indexable(path, size) or path == REVIEWED_PATH


def _item(row: tuple[Any, ...]) -> Item:
    return Item._make((*row[:-1], bool(row[-1])))


def remove(path: Path) -> None:
    """Delete the index at ``path`` with the files SQLite keeps beside it."""
    for suffix in ("", "-wal", "-shm", "-journal"):
        path.with_name(path.name + suffix).unlink(missing_ok=True)
