"""What a sync overwrote or deleted in the folder, kept until later syncs need the room: promise P3 on the client.

``.satchel/undo/<sync id>/`` holds one file ``journal``: the line ``satchel-undo 1``, then per path a line of JSON
``{"path", "mode", "size", "sha256", "permissions"}`` (all but the first ``null``, and no ``permissions``, for a path
that was not there) followed by the bytes and an LF. A record is on disk before the file it saves is touched. A journal
cut off by a crash is good up to its last whole record, and whatever that record does not hold was not touched yet.

A new name is after all there are, whatever the clock says. The store is bounded, by age and by size. Syncs that are
too old go when the next one begins, and room is made by forgetting the oldest, never the one that runs: a sync whose
own records do not fit stops before it overwrites. ``dropped`` names what went, so that a person can be told.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO, NamedTuple

from satchel.errors import InvalidInput, LimitReached
from satchel.objects.listing import MODES
from satchel.objects.paths import path_problem
from satchel.worktree import durable
from satchel.worktree.beneath import open_own
from satchel.worktree.find import local_dir


class Bounds(NamedTuple):
    """How much the store of a folder keeps."""

    bytes: int = 1024 * 1024 * 1024
    days: int = 90
    """A sync that so many days of later ones have followed is let go. A pause between two counts as a tenth of them at
    most: a clock that was set ahead for a while must not cost what is kept."""


BOUNDS = Bounds()
_DAY_NS = 86_400 * 10**9
_PAUSES = 10
_RECORD_BYTES = 200
"""About what a record takes beside the bytes."""
_CLOCK_DIGITS = 20
"""A sync's name begins with its time in nanoseconds, of so many digits."""
_ASIDE = "0-"
"""Before the name of a sync that was undone in part: it sorts before all others."""
_UNDOES = "-undoes-"
"""In the name of what an undo replaces, before the time and number of the sync that it undoes."""
_NUMBERED = _CLOCK_DIGITS + len("-123456")
MAX_STEPS = 100
"""Steps that are listed: what they kept is read for it."""
STEP_PATHS = 20
"""Paths that are named of one step; the others are counted."""
MAX_LINE_BYTES = 16 * 1024
"""A record's line of JSON: more than a path of 1,024 bytes can take."""
_HEADER = b"satchel-undo 1\n"


class UndoFull(LimitReached):
    code = "undo.full"
    default_hint = "Nothing was overwritten. Free room with fewer files at once, or raise SATCHEL_UNDO_BYTES."


class Kept(NamedTuple):
    """A path as it was before a sync."""

    path: str
    mode: str | None
    """``None``: there was no file."""
    data: bytes | None
    permissions: int = 0o777
    """Who might do what with the file; everybody anything where that is not known. It is at most that afterwards."""


class Step(NamedTuple):
    """Something that overwrote files here, as a person is told of it."""

    step: str
    """Six hex digits, by which it is taken back."""
    time: int
    """Milliseconds UTC."""
    kind: str
    """``sync``; ``edit``, a person's or an agent's own; or the ``undo`` of another."""
    paths: list[str]
    """The first ``STEP_PATHS`` of them."""
    files: int


@dataclass(slots=True)
class UndoStore:
    """All that is kept for a folder. One writer at a time: it holds the folder's lock."""

    root: Path
    bounds: Bounds = BOUNDS
    dropped: list[str] = field(default_factory=list, init=False)
    """Syncs let go of, since they were too old or the room was needed."""
    spared: Sequence[str] = field(default=(), init=False)
    """Syncs that stay, whatever room is needed: what an undo is bringing back is nowhere else."""
    _journal: BinaryIO | None = field(default=None, init=False, repr=False)
    _sync_id: str = field(default="", init=False)
    _room: int = field(default=0, init=False)
    _safe: int = field(default=0, init=False)
    """Bytes of the journal that are on disk."""
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
        for sync in self._too_old(sync_id):
            self._drop(sync)

    def fresh(self, now_ns: int, number: bytes) -> str:
        """A name for what begins now; with ``number``, of three bytes, nobody else's."""
        newest = max((_time_ns(sync) or 0 for sync in self.syncs()), default=0)
        return f"{min(max(now_ns, newest + 1), 10**_CLOCK_DIGITS - 1):0{_CLOCK_DIGITS}d}-{number.hex()}"

    def _too_old(self, sync_id: str) -> list[str]:
        """What is let go when that one begins, oldest first."""
        later = _time_ns(sync_id)
        if later is None:
            return []
        most, age, old = self.bounds.days * _DAY_NS, 0, []
        before = [(made, sync) for sync in self.syncs() if (made := _time_ns(sync)) is not None and sync != sync_id]
        for made, sync in sorted(before, reverse=True):
            age += min(max(later - made, 0), most // _PAUSES)
            later = made
            if age >= most:
                old.append(sync)
        return old[::-1]

    def check_room(self, files: int, size: int) -> None:
        """Raises ``UndoFull`` if so many files of ``size`` bytes together cannot be kept for one sync."""
        held = sum(map(self._size, self.spared))
        if size + files * _RECORD_BYTES > self.bounds.bytes - held:
            beside = f" beside the {held:,} that it brings back" if held else ""
            raise UndoFull(
                f"what this overwrites ({size:,} bytes, files: {files:,}) does not fit the undo store's "
                f"{self.bounds.bytes:,} bytes{beside}"
            )

    def keep(self, path: str, data: bytes | None, mode: str | None, permissions: int = 0o777) -> None:
        """Put a path's state into safety, durably; the first state kept in a sync counts. ``None``: no file there.

        That nothing was there is written with the next bytes or at the end: a crash could at most spare a new file from
        being undone, and a first pull of thousands of files takes half the time.

        Raises ``UndoFull``, ``DiskFull`` or ``FolderUnwritable``: then the path must not be touched.
        """
        if path in self._seen:
            return
        about: dict[str, object] = {
            "path": path,
            "mode": mode,
            "size": None if data is None else len(data),
            "sha256": None if data is None else hashlib.sha256(data).hexdigest(),
        }
        if data is not None:
            about["permissions"] = permissions
        record = json.dumps(about, ensure_ascii=False, separators=(",", ":")).encode() + b"\n" + (data or b"") + b"\n"
        try:
            self._make_room(len(record))
            journal = self._journal or self._start()
            journal.write(record)
            if data is not None:
                journal.flush()
                os.fsync(journal.fileno())
                self._safe = journal.tell()
        except OSError as error:
            raise durable.refused(error, str(self.folder)) from error
        self._room -= len(record)
        self._seen.add(path)

    def close(self) -> None:
        """End keeping for the sync. Of one that kept nothing, since it failed say, nothing stays."""
        if self._journal is None:
            if self._sync_id and not self._elsewhere() and not (self.folder / self._sync_id / "journal").exists():
                self.forget(self._sync_id)
        else:
            journal, self._journal = self._journal, None
            # On a full disk what is still buffered is lost: that nothing was there, or a record `keep` has refused. So
            # is what came of it: the sync may keep more once it starts over, and reading would end there.
            with suppress(OSError):
                try:
                    journal.close()
                except OSError:
                    os.truncate(self.folder / self._sync_id / "journal", self._safe)

    def syncs(self) -> list[str]:
        """Names of the syncs that can be undone, oldest first."""
        if self._elsewhere():
            return []
        try:
            return sorted(entry.name for entry in os.scandir(self.folder) if entry.is_dir(follow_symlinks=False))
        except OSError:
            return []

    def step(self, sync_id: str) -> Step | None:
        """What one of ``syncs`` was, without what it kept; ``None`` for one that kept nothing."""
        paths: list[str] = []
        files = 0
        for item in self.kept(sync_id):
            files += 1
            if len(paths) < STEP_PATHS:
                paths.append(item.path)
        at = _time_ns(sync_id)
        if not files or at is None:
            return None
        return Step(_digits(sync_id), at // 1_000_000, kind_of(sync_id), paths, files)

    def steps(self) -> list[Step]:
        """The newest ``MAX_STEPS``, newest first."""
        newest = sorted(self.syncs(), key=lambda sync: sync.removeprefix(_ASIDE), reverse=True)[:MAX_STEPS]
        return [step for sync in newest if (step := self.step(sync))]

    def named(self, step: str) -> str | None:
        """The one of ``syncs`` that is the step so called."""
        return next((sync for sync in reversed(self.syncs()) if _digits(sync) == step), None)

    def kept(self, sync_id: str) -> Iterator[Kept]:
        """What one sync overwrote, in its order; ends at a record that is not whole."""
        try:
            journal = open_own(self.folder / sync_id / "journal")
        except OSError:
            return
        with journal:
            if journal.readline() != _HEADER:
                return
            while record := _read_record(journal):
                yield record

    def permissions(self, path: str) -> int:
        """Those of the newest file that was kept of a path."""
        kept = (item for sync in reversed(self.syncs()) for item in self.kept(sync))
        return next((item.permissions for item in kept if item.path == path and item.data is not None), 0o777)

    def damaged(self, sync_id: str) -> bool:
        """Whether a record of a sync is not as it was written.

        One that a crash cut off is, and a journal that was not begun: what they do not hold was not touched yet.
        """
        try:
            with open_own(self.folder / sync_id / "journal") as journal:
                header = journal.readline()
                if header != _HEADER:
                    return not _HEADER.startswith(header)
                good = journal.tell()
                while _read_record(journal):
                    good = journal.tell()
                journal.seek(good)
                return not _cut_off(journal)
        except FileNotFoundError:
            return False
        except OSError:
            return True

    def forget(self, sync_id: str) -> None:
        """Let go of one sync, after it was undone for example."""
        if not (self.folder / sync_id).is_dir():
            return
        import shutil  # with it come bz2 and lzma, for what a sync seldom does

        shutil.rmtree(self.folder / sync_id, ignore_errors=True)
        with suppress(OSError):  # one that comes back after a power loss is only let go of again
            durable.sync_folder(self.folder)

    def cut_off(self, sync_id: str) -> tuple[str, list[str]] | None:
        """Of what an undo replaced: the sync it undoes, which is still kept since it did not end, and all such undos.

        ``None`` for anything else, and where the undo came to its end.
        """
        undone = _undone(sync_id)
        syncs = self.syncs() if undone is not None else []
        found = [sync for sync in syncs if sync.removeprefix(_ASIDE)[:_NUMBERED] == undone and any(self.kept(sync))]
        return (found[0], [sync for sync in syncs if _undone(sync) == undone]) if found else None

    def ended(self, sync_id: str) -> str:
        """Take an undo for one that came to its end, though what it undid is still kept in part; gives its new name.

        Raises ``FolderUnwritable``.
        """
        plain = sync_id.replace(_UNDOES + (_undone(sync_id) or ""), "")
        if plain != sync_id:
            self._rename(sync_id, plain)
        return plain

    def set_aside(self, sync_id: str) -> None:
        """Keep one sync behind all others, so that its turn comes after theirs, and its room goes before theirs.

        Raises ``FolderUnwritable``.
        """
        if not sync_id.startswith(_ASIDE):
            self._rename(sync_id, _ASIDE + sync_id)

    def _rename(self, sync_id: str, name: str) -> None:
        try:
            with suppress(FileNotFoundError):  # an undo that replaced nothing has kept nothing
                (self.folder / sync_id).rename(self.folder / name)
            durable.sync_folder(self.folder)
        except OSError as error:
            raise durable.refused(error, str(self.folder)) from error

    def _elsewhere(self) -> bool:
        """Whether a symlink, which may have come with the folder, stands for the store: nothing is deleted there."""
        return self.folder.is_symlink() or local_dir(self.root).is_symlink()

    def _start(self) -> BinaryIO:
        if self._elsewhere():
            raise durable.FolderUnwritable(f"{self.folder} is a symbolic link", hint="Remove the link, and try again.")
        folder = self.folder / self._sync_id
        folder.mkdir(parents=True, exist_ok=True)
        # For the owner alone: what it keeps may be of files that others may not read.
        journal = open(folder / "journal", "ab", opener=_privately)  # noqa: SIM115  # stays open until `close`
        if journal.tell() == 0:
            journal.write(_HEADER)
            journal.flush()
        self._safe = journal.tell()
        for made in (folder, self.folder, local_dir(self.root)):
            durable.sync_folder(made)
        self._journal = journal
        return journal

    def _make_room(self, needed: int) -> None:
        if self._journal is None:
            self._room = self.bounds.bytes - len(_HEADER) - sum(self._size(sync) for sync in self.syncs())
        for sync in self.syncs() if needed > self._room else ():
            if sync != self._sync_id and sync not in self.spared and needed > self._room:
                self._room += self._size(sync)
                self._drop(sync)
        if needed > self._room:
            raise UndoFull(f"what this overwrites does not fit the undo store's {self.bounds.bytes:,} bytes")

    def _drop(self, sync: str) -> None:
        self.forget(sync)
        self.dropped.append(sync)

    def _size(self, sync_id: str) -> int:
        try:
            return (self.folder / sync_id / "journal").stat().st_size
        except OSError:
            return 0


def _privately(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_CLOEXEC, 0o600)


def kind_of(sync_id: str) -> str:
    """What overwrote there: the ``kind`` of a step."""
    plain = sync_id.removeprefix(_ASIDE)
    return "undo" if _UNDOES in plain else "edit" if len(plain) > _NUMBERED else "sync"


def time_of(sync_id: str) -> int:
    """When it began, in milliseconds UTC; 0 where its name does not say."""
    return (_time_ns(sync_id) or 0) // 1_000_000


def _digits(sync_id: str) -> str:
    return sync_id.removeprefix(_ASIDE)[_CLOCK_DIGITS + 1 : _NUMBERED]


def _time_ns(sync_id: str) -> int | None:
    digits = sync_id.removeprefix(_ASIDE)[:_CLOCK_DIGITS]
    return int(digits) if len(digits) == _CLOCK_DIGITS and digits.isascii() and digits.isdecimal() else None


def name_of_undo(undone: str) -> str:
    """What the name of an undo of that sync has behind its own time and number."""
    return _UNDOES + undone.removeprefix(_ASIDE)[:_NUMBERED]


def _undone(sync_id: str) -> str | None:
    """The time and number of the sync that this one undoes, if it is an undo."""
    number = sync_id.removeprefix(_ASIDE)[_NUMBERED:]
    return number[len(_UNDOES) :][:_NUMBERED] if number.startswith(_UNDOES) else None


def told(dropped: list[str], bounds: Bounds) -> str:
    """What to say of syncs that were let go."""
    import datetime as dt  # only where something went

    newest = max((_time_ns(sync) or 0 for sync in dropped), default=0)
    day = dt.datetime.fromtimestamp(newest / 10**9, dt.UTC).date().isoformat()
    many = "1 sync" if len(dropped) == 1 else f"{len(dropped):,} syncs"
    return (
        f"The undo store let go of {many}, the newest of {day}: it keeps {bounds.days:,} days and {bounds.bytes:,} "
        "bytes (SATCHEL_UNDO_DAYS, SATCHEL_UNDO_BYTES). What they overwrote here cannot be brought back any more."
    )


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
        permissions = about.get("permissions", 0o777)
        if (
            type(permissions) is not int
            or mode not in MODES
            or type(size) is not int
            or not 0 <= size <= os.fstat(journal.fileno()).st_size
        ):
            return None
        data = journal.read(size)
        whole = journal.read(1) == b"\n" and hashlib.sha256(data).hexdigest() == about["sha256"]
    except (ValueError, KeyError, TypeError, RecursionError):
        return None
    return Kept(path, mode, data, permissions & 0o777) if whole else None


def _cut_off(journal: BinaryIO) -> bool:
    """Whether the journal ends before the record that begins here does, or where it would begin."""
    line = journal.readline(MAX_LINE_BYTES)
    if not line.endswith(b"\n"):
        return len(line) < MAX_LINE_BYTES
    try:
        size = json.loads(line)["size"] or 0
        return bool(os.fstat(journal.fileno()).st_size - journal.tell() < size + 1)
    except (ValueError, KeyError, TypeError, RecursionError):
        return False
