"""Writing documents into an index: reading them goes on while SQLite works on the ones before.

SQLite spends half the time of a build and does not hold Python's lock meanwhile, so a large change hands it batches on
a thread of its own: on two cores 30 MB take two thirds of the time. Batches are large because every one ends a segment
of the full-text index, and because each return to Python may have to wait for the lock.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Self

import apsw

from satchel.documents.sections import room_for_repeats
from satchel.objects.listing import Entry
from satchel.search.blocks import Packer
from satchel.search.schema import SIZES, row_of, rows, size_step
from satchel.search.words import indexed

if TYPE_CHECKING:
    from concurrent.futures import Future, ThreadPoolExecutor

    from satchel.documents.document import Document

BATCH_CHARACTERS = 8 * 2**20
"""Text handed over at once; at most two batches are in memory."""

# A row number in decimal digits stands before every text and block: arrays of SQLite have one column.
_DIGITS = 19
_TEXTS = f"""
INSERT INTO fts(rowid, text)
SELECT CAST(substr(value, 1, {_DIGITS}) AS INTEGER), substr(value, {_DIGITS} + 1) FROM carray(?)
"""  # noqa: S608  the one thing filled in is the number above
_BLOCKS = f"""
INSERT INTO block
SELECT CAST(CAST(substr(value, 1, {_DIGITS}) AS TEXT) AS INTEGER), substr(value, {_DIGITS} + 1) FROM carray(?)
"""  # noqa: S608  the same


class Builder:
    """Adds documents inside the transaction the caller holds. Use it in a ``with`` statement and ``finish``.

    Until then the caller leaves the connection alone. With ``apart`` SQLite works on a thread of its own.
    """

    def __init__(self, database: apsw.Connection, *, apart: bool) -> None:
        self._database = database
        self._packer = Packer()
        self._texts: list[str] = []
        self._blocks: list[bytes] = []
        self._documents: list[tuple[str | int, ...]] = []
        self._tasks: list[tuple[str | int | None, ...]] = []
        self._new_kinds: list[tuple[int, str]] = []
        self._held = 0
        self._kinds = {name: number for number, name in rows(database, "SELECT id, name FROM kind")}
        self._thread: ThreadPoolExecutor | None = _thread() if apart else None
        self._running: Future[None] | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._thread is not None:
            self._thread.shutdown(wait=True)

    def add(self, number: int, path: str, entry: Entry, size: int, document: Document) -> int:
        """Take in one file, whose sections get numbers from ``number`` on; returns the next free one."""
        kind = self._kind(document.kind)
        about = f"{document.title}\n{path}\n"
        last = number + room_for_repeats(size) // len(about)
        length = 0
        for at, section in enumerate(document.sections, number):
            if at == last:
                about = ""  # thousands of short sections would hold it many times over
            text = indexed(f"{about}{_above(document.title, section.trail)}\n{section.text}")
            step = size_step(len(text))
            self._texts.append(f"{row_of(at, kind, step):0{_DIGITS}d}{text}")
            self._held += len(text)
            length += SIZES[step]
        for at, block in self._packer.blocks(document.sections):
            self._blocks.append(f"{number + at:0{_DIGITS}d}".encode() + block)
        for task in document.tasks:
            trail = json.dumps(task.trail, ensure_ascii=False)
            self._tasks.append((number, task.line, task.text, task.done, trail, task.owner))
        self._documents.append(
            (number, path, *entry, size, document.kind, document.title, len(document.sections), length),
        )
        if self._held >= BATCH_CHARACTERS:
            self._hand_over()
        return number + max(len(document.sections), 1)

    def _kind(self, name: str) -> int:
        number = self._kinds.get(name)
        if number is None:
            number = self._kinds[name] = len(self._kinds)
            self._new_kinds.append((number, name))
        return number

    def finish(self) -> None:
        """Write what is left, and wait for all of it."""
        self._hand_over()
        self._wait()

    def _hand_over(self) -> None:
        self._wait()
        self._database.executemany("INSERT INTO kind VALUES(?, ?)", self._new_kinds)
        self._new_kinds = []
        self._database.executemany("INSERT INTO document VALUES(?, ?, ?, ?, ?, ?, ?, ?, ?)", self._documents)
        self._database.executemany("INSERT OR IGNORE INTO task VALUES(?, ?, ?, ?, ?, ?)", self._tasks)
        write = _writing(self._database, tuple(self._texts), tuple(self._blocks))
        self._texts, self._blocks, self._documents, self._tasks, self._held = [], [], [], [], 0
        if self._thread is None:
            write()
        else:
            self._running = self._thread.submit(write)

    def _wait(self) -> None:
        if self._running is not None:
            self._running.result()
            self._running = None


def _writing(database: apsw.Connection, texts: tuple[str, ...], blocks: tuple[bytes, ...]) -> Callable[[], None]:
    def write() -> None:
        if texts:
            database.execute(_TEXTS, (apsw.carray(texts),))
        if blocks:
            database.execute(_BLOCKS, (apsw.carray(blocks),))

    return write


def _thread() -> ThreadPoolExecutor:
    # Only a large change pays for this import.
    from concurrent.futures import ThreadPoolExecutor

    return ThreadPoolExecutor(1, "satchel-index")


def _above(title: str, trail: Sequence[str]) -> str:
    """The headings over a section, without the title said already."""
    return "\n".join(trail[1:] if trail and trail[0] == title else trail)
