"""What a sync overwrote or deleted in the folder, kept until later syncs need the room: promise P3 on the client.

``.satchel/undo/<sync id>/`` holds one file ``journal``: the line ``satchel-undo 1``, then per path a line of JSON
``{"path", "mode", "size", "sha256"}`` (``mode`` and the rest ``null`` for a path that was not there) followed by the
bytes and an LF. A record is on disk before the file it saves is touched. A journal cut off by a crash is good up to its
last whole record, and whatever that record does not hold was not touched yet.

The store is bounded. Room is made by forgetting the oldest syncs, never the one that runs: a sync whose own records do
not fit stops before it overwrites.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO, NamedTuple

from satchel.errors import InvalidInput, LimitReached
from satchel.objects.listing import MODES
from satchel.objects.paths import path_problem
from satchel.worktree import durable
from satchel.worktree.find import local_dir

MAX_UNDO_BYTES = 1024 * 1024 * 1024
MAX_LINE_BYTES = 16 * 1024
"""A record's line of JSON: more than a path of 1,024 bytes can take."""
_HEADER = b"satchel-undo 1\n"


class UndoFull(LimitReached):
    code = "undo.full"
    default_hint = "Nothing was overwritten. Free room with fewer files at once, or raise the bound of the undo store."


class Kept(NamedTuple):
    """A path as it was before a sync."""

    path: str
    mode: str | None
    """``None``: there was no file."""
    data: bytes | None


@dataclass(slots=True)
class UndoStore:
    """All that is kept for a folder. One writer at a time: it holds the folder's lock."""

    root: Path
    max_bytes: int = MAX_UNDO_BYTES
    _journal: BinaryIO | None = field(default=None, init=False, repr=False)
    _sync_id: str = field(default="", init=False)
    _room: int = field(default=0, init=False)
    _seen: set[str] = field(default_factory=set, init=False, repr=False)

    @property
    def folder(self) -> Path:
        return local_dir(self.root) / "undo"

    def begin(self, sync_id: str) -> None:
        """Start keeping for one sync, under a name that sorts after all before it (a time, for example).

        Nothing is written before the first ``keep``. Raises ``InvalidInput`` for a name with anything but letters,
        digits, ``-``, ``_`` and ``.``.
        """
        if not sync_id or sync_id.startswith(".") or not all(char.isalnum() or char in "-_." for char in sync_id):
            raise InvalidInput("that is no name for an undo record")
        self.close()
        self._sync_id, self._seen = sync_id, set()

    def keep(self, path: str, data: bytes | None, mode: str | None) -> None:
        """Put a path's state into safety, durably; the first state kept in a sync counts. ``None``: no file there.

        That nothing was there is written with the next bytes or at the end: a crash could at most spare a new file from
        being undone, and a first pull of thousands of files takes half the time.

        Raises ``UndoFull``, ``DiskFull`` or ``FolderUnwritable``: then the path must not be touched.
        """
        if path in self._seen:
            return
        about = {
            "path": path,
            "mode": mode,
            "size": None if data is None else len(data),
            "sha256": None if data is None else hashlib.sha256(data).hexdigest(),
        }
        record = json.dumps(about, ensure_ascii=False, separators=(",", ":")).encode() + b"\n" + (data or b"") + b"\n"
        try:
            self._make_room(len(record))
            journal = self._journal or self._start()
            journal.write(record)
            if data is not None:
                journal.flush()
                os.fsync(journal.fileno())
        except OSError as error:
            raise durable.refused(error, str(self.folder)) from error
        self._room -= len(record)
        self._seen.add(path)

    def close(self) -> None:
        if self._journal is not None:
            self._journal.close()
            self._journal = None

    def syncs(self) -> list[str]:
        """Names of the syncs that can be undone, oldest first."""
        if self._elsewhere():
            return []
        try:
            return sorted(entry.name for entry in os.scandir(self.folder) if entry.is_dir(follow_symlinks=False))
        except OSError:
            return []

    def latest(self) -> str | None:
        """The name of the newest sync that overwrote something."""
        syncs = self.syncs()
        return syncs[-1] if syncs else None

    def kept(self, sync_id: str) -> Iterator[Kept]:
        """What one sync overwrote, in its order; ends at a record that is not whole."""
        try:
            journal = open(self.folder / sync_id / "journal", "rb")  # noqa: SIM115  # closed below, around the yields
        except OSError:
            return
        with journal:
            if journal.readline() != _HEADER:
                return
            while record := _read_record(journal):
                yield record

    def forget(self, sync_id: str) -> None:
        """Let go of one sync, after it was undone for example."""
        shutil.rmtree(self.folder / sync_id, ignore_errors=True)

    def _elsewhere(self) -> bool:
        """Whether a symlink, which may have come with the folder, stands for the store: nothing is deleted there."""
        return self.folder.is_symlink() or local_dir(self.root).is_symlink()

    def _start(self) -> BinaryIO:
        if self._elsewhere():
            raise durable.FolderUnwritable(f"{self.folder} is a symbolic link", hint="Remove the link, and try again.")
        folder = self.folder / self._sync_id
        folder.mkdir(parents=True, exist_ok=True)
        journal = open(folder / "journal", "ab")  # noqa: SIM115  # stays open until `close`
        if journal.tell() == 0:
            journal.write(_HEADER)
            journal.flush()
        for made in (folder, self.folder, local_dir(self.root)):
            durable.sync_folder(made)
        self._journal = journal
        return journal

    def _make_room(self, needed: int) -> None:
        if self._journal is None:
            self._room = self.max_bytes - len(_HEADER) - sum(self._size(sync) for sync in self.syncs())
        for sync in self.syncs() if needed > self._room else ():
            if sync != self._sync_id and needed > self._room:
                self._room += self._size(sync)
                self.forget(sync)
        if needed > self._room:
            raise UndoFull(f"what this sync overwrites does not fit the undo store's {self.max_bytes:,} bytes")

    def _size(self, sync_id: str) -> int:
        try:
            return (self.folder / sync_id / "journal").stat().st_size
        except OSError:
            return 0


def _read_record(journal: BinaryIO) -> Kept | None:
    """The next whole record. A journal may have come with a folder of somebody else's: nothing in it is believed."""
    line = journal.readline(MAX_LINE_BYTES)
    try:
        about = json.loads(line)
        path, mode, size = about["path"], about["mode"], about["size"]
        if not isinstance(path, str) or path_problem(path) is not None:
            return None
        if size is None:
            return Kept(path, None, None) if journal.read(1) == b"\n" else None
        if mode not in MODES or type(size) is not int or not 0 <= size <= os.fstat(journal.fileno()).st_size:
            return None
        data = journal.read(size)
        whole = journal.read(1) == b"\n" and hashlib.sha256(data).hexdigest() == about["sha256"]
    except (ValueError, KeyError, TypeError, RecursionError):
        return None
    return Kept(path, mode, data) if whole else None
