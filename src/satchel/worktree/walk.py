"""The folder as a tree: every file that belongs, by path, with the object its bytes are.

A scan lists every folder and looks at every file's stat; it reads only files whose stat changed (``state.db``), and
asks the ignore rules only about names it has not seen. It never follows a symlink, and it never fails because of
what is in the folder: what cannot be in the tree is left out with a reason.
"""

from __future__ import annotations

import errno
import hashlib
import os
import stat
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from functools import cached_property
from operator import attrgetter, itemgetter
from pathlib import Path
from typing import NamedTuple, Protocol

from satchel.documents import MAX_DATA_BYTES
from satchel.errors import Conflict, NoSuchArtifact, NotAFolder
from satchel.objects.ids import Digest, ObjectId
from satchel.objects.listing import Entry, digest, tree_of
from satchel.objects.paths import MAX_PATH_BYTES, path_problem, tree_problems
from satchel.worktree.beneath import Beneath, read_all
from satchel.worktree.durable import by_name
from satchel.worktree.ignore import GITIGNORE, MAX_IGNORE_BYTES, NEVER, SATCHELIGNORE, Level, Root, Rules
from satchel.worktree.names import name_of
from satchel.worktree.state import FileRow, FolderRow, Remembered, State, settled

MAX_FILES = 100_000
"""Files of one project; more are left out."""
READ_TRIES = 5
"""How often a file that changes while it is read is read again."""

REASONS = {
    "too-large": "over the limit of bytes a file may have",
    "bad-name": "its name cannot be kept on every system",
    "symlink": "a symbolic link is not followed",
    "special": "not a regular file",
    "unreadable": "it may not be read",
    "vanished": "it was gone when it was to be read",
    "unsettled": "it kept changing while it was read",
    "too-many-files": "the project has as many files as it may have",
    "too-many-rules": "with its ignore file the project has more rules than are read",
}
"""Why a file does not belong though no rule says so: code and meaning."""
UNINDEXED = {
    "binary": "not text",
    "not-utf8": "not valid UTF-8",
    "data-too-large": f"a data file over {MAX_DATA_BYTES // 1024} KiB",
    "format": "not a document format",
}
"""Why a file that belongs is not indexed."""


class ChangedMeanwhile(Conflict):
    code = "folder.changed"
    default_hint = "The file changed while the command ran: nothing of it was lost. Run the command again."


Look = Callable[[ObjectId, bytes], None]


class Named(Protocol):
    """An entry of a folder, as far as its name goes."""

    @property
    def name(self) -> str: ...


class LeftOut(NamedTuple):
    path: str
    """Safe to print: bytes that are no UTF-8 are escaped."""
    reason: str
    """A key of ``REASONS`` or ``UNINDEXED``."""
    detail: str = ""


class _Made(NamedTuple):
    """The tree of a scan, and what there is to say of each file."""

    tree: dict[str, Entry]
    sizes: dict[str, int]
    not_indexed: list[LeftOut]


@dataclass(frozen=True)
class Scan:
    """A moment of the folder. Files are read one after another: it is a tree somebody may just be editing."""

    left_out: list[LeftOut]
    """Present and yet not in ``tree``. A folder stands for everything in it. Never take one of these for deleted:
    ``may_exist`` tells."""
    reread: int
    """Files that were read, because they were new, changed, or changed too recently to be sure."""
    _rows: list[dict[str, FileRow]]
    """What the tree is made of, until somebody asks for it."""
    notices: list[str] = field(default_factory=list)
    """What a person should be told about the state of Satchel's own files."""

    @property
    def tree(self) -> dict[str, Entry]:
        return self._made.tree

    @property
    def sizes(self) -> dict[str, int]:
        """Bytes of each path of ``tree``."""
        return self._made.sizes

    @property
    def not_indexed(self) -> list[LeftOut]:
        """In ``tree`` and not searchable."""
        return self._made.not_indexed

    @cached_property
    def _made(self) -> _Made:
        rows = self._rows.pop()  # they take room
        modes = (_MODES[row[5] & stat.S_IXUSR] for row in rows.values())
        return _Made(
            tree_of(rows, zip(modes, map(_OBJECT, rows.values()), strict=True)),
            dict(zip(rows, map(_SIZE, rows.values()), strict=True)),
            sorted(LeftOut(row.path, row.unindexed) for row in rows.values() if row.unindexed),
        )

    def may_exist(self, path: str) -> bool:
        """Whether ``path``, absent from ``tree``, is or may be in the folder all the same."""
        left = self._left
        while path and left:
            if path in left or "" in left:
                return True
            path = path.rpartition("/")[0]
        return False

    @cached_property
    def digest(self) -> Digest:
        """That of ``tree``."""
        return digest(self.tree)

    @cached_property
    def _left(self) -> frozenset[str]:
        """Paths and folders left out; the empty path, which is the whole folder, where the walk stopped early."""
        return frozenset(
            "" if item.reason == "too-many-files" or item.path == "." else item.path for item in self.left_out
        )


_BY_NAME = attrgetter("name")
# Of a FileRow: a scan does each of these for every file there is.
_SIZE, _OBJECT = itemgetter(1), itemgetter(6)


class _Walk:
    """What one pass over the folders found."""

    def __init__(self) -> None:
        self.same: list[FileRow] = []
        """Files that are as they were read before."""
        self.files: dict[str, int] = {}
        """Files to read, with their sizes."""
        self.left_out: list[LeftOut] = []
        self.folders: dict[str, _Names] = {}


class _Names:
    """A ``FolderRow`` in the making. Like ``_Walk`` no dataclass: making one takes a search a millisecond."""

    __slots__ = ("chain", "ignored", "others")

    def __init__(self, chain: bytes) -> None:
        self.chain = chain
        self.ignored: set[str] = set()
        self.others: set[str] = set()


class Worktree:
    """A folder and its remembered state. For one thread at a time."""

    def __init__(
        self, root: Path, rules: Rules, state_path: Path | None, clock_ns: Callable[[], int] = time.time_ns
    ) -> None:
        self.root = root
        self.rules = rules
        self._state = State(state_path) if state_path else None
        self._clock_ns = clock_ns
        self._remembered: Remembered | None = None

    @classmethod
    def open(cls, root: Path, *, rules: Rules | None = None, state_path: Path | None = None) -> Worktree:
        """Raises ``NotAFolder``. Without ``state_path`` nothing is remembered between processes."""
        try:
            resolved = root.resolve(strict=True)
        except (OSError, RuntimeError) as error:
            raise NotAFolder(f"{root} does not exist or cannot be reached") from error
        if not resolved.is_dir() or not os.access(resolved, os.R_OK | os.X_OK):
            raise NotAFolder(f"{root} is not a folder that can be read")
        return cls(resolved, rules or Rules(), state_path)

    def close(self) -> None:
        if self._state:
            self._state.close()

    def forget(self) -> None:
        """Let go of what the last scan found: the next one reads it again from where it is remembered."""
        if self._state:
            self._remembered = None

    # Looking ---------------------------------------------------------------------------------------------------

    def survey(self) -> tuple[dict[str, int], list[LeftOut]]:
        """Sizes of the files that belong, and what is left out, without reading or remembering any."""
        walk = self._walk(Remembered({}, {}, {}))
        return walk.files, walk.left_out

    def scan(self, look: Look | None = None) -> Scan:
        """The tree as it is now; ``look`` is given the content of each file that had to be read.

        Raises ``NotAFolder``, ``FolderUnreadable`` where it cannot be read.
        """
        before = self._remember()
        with by_name(self.root):
            walk = self._walk(before)
        fresh: list[FileRow] = []
        unsure: list[FileRow] = []
        as_before = not walk.files and len(walk.same) == len(before.files)  # each of these is one of those
        kept = before.files if as_before else {row.path: row for row in walk.same}
        with by_name(self.root), Beneath(self.root) as beneath:
            for path in walk.files:
                row, sure = self._read_row(beneath, path, walk.left_out, look)
                if row is not None and sure:
                    fresh.append(row)
                    kept[path] = row
                else:
                    folder, _, name = path.rpartition("/")
                    walk.folders[folder].others.add(name)
                    unsure.extend((row,) if row else ())
        rows = {**kept, **{row.path: row for row in unsure}} if unsure else kept
        clashes = self._clashes(rows, before)
        for path, reason in clashes.items():
            walk.left_out.append(LeftOut(path, "bad-name", reason))
        walk.left_out.sort()
        listed = {path: row for path, row in rows.items() if path not in clashes} if clashes else rows
        scan = Scan(walk.left_out, len(walk.files), [listed])
        if as_before and before.digest:
            scan.__dict__["digest"] = before.digest
        self._save(before, kept, walk, clashes, fresh, None if unsure else scan)
        scan.notices.extend(self._state.take_notices() if self._state else [])
        whole = next((left for left in walk.left_out if left.path == "."), None)
        if whole is not None:
            scan.notices.append(f"Nothing of {self.root} is read: {whole.detail or REASONS[whole.reason]}")
        return scan

    def read(self, path: str, expect: ObjectId | None = None) -> bytes:
        """The bytes of one file, at most ``max_file_bytes``, never through a symlink.

        Raises ``NoSuchArtifact``, and ``ChangedMeanwhile`` where the bytes are not the object expected.
        """
        try:
            with Beneath(self.root) as beneath:
                data = self._read(beneath, path)
        except (OSError, ValueError) as error:
            raise NoSuchArtifact(f"{path} cannot be read in {self.root}") from error
        if expect is not None and hashlib.sha256(data).hexdigest() != expect:
            raise ChangedMeanwhile(f"{path} changed since it was looked at")
        return data

    # Walking ---------------------------------------------------------------------------------------------------

    def _walk(self, before: Remembered) -> _Walk:
        walk = _Walk()
        root = str(self.root)
        above = Root(self.rules, self.ignore_file(".git/info/exclude"))
        stack: list[tuple[str, Level | Root]] = [("", above)]
        while stack:
            folder, rules = stack.pop()
            try:
                with os.scandir(f"{root}/{folder}") as found:
                    entries = sorted(found, key=_BY_NAME)
            except OSError as error:
                if not folder:
                    raise NotAFolder(f"{self.root} cannot be read: {error.strerror}") from error
                if error.errno != errno.ENOENT:
                    walk.left_out.append(LeftOut(folder, "unreadable", error.strerror or ""))
                continue
            try:
                level = self.level(folder, rules, entries)
            except OSError as error:  # what they would leave out may be secret
                walk.left_out.append(LeftOut(folder or ".", "unreadable", f"{error.filename}: {error.strerror}"))
                continue
            if level is None:
                # Not "some of its rules": what a rule unread would leave out may be secret.
                walk.left_out.append(LeftOut(folder or ".", "too-many-rules"))
                continue
            rules = level
            inside = self._sort_out(folder, entries, rules, before, walk)
            stack.extend((path, rules) for path in reversed(inside))
            if len(walk.files) + len(walk.same) > MAX_FILES:
                _stop_at_limit(walk)
                break
        return walk

    def level(self, folder: str, above: Level | Root, entries: Iterable[Named]) -> Level | Root | None:
        """The rules in force in a folder; ``None`` where they are too many. Raises ``OSError`` as ``ignore_file``."""
        names = {entry.name for entry in entries if entry.name in (GITIGNORE, SATCHELIGNORE)}
        if not names:
            return above
        prefix = folder + "/" if folder else ""
        texts = [self.ignore_file(prefix + name) if name in names else b"" for name in (SATCHELIGNORE, GITIGNORE)]
        if not any(texts):
            return above
        return Level(above, folder, *texts) if above.root.has_room(*texts) else None

    def ignore_file(self, path: str) -> bytes:
        """Its beginning; nothing for what is none, such as a symlink, which git does not follow either.

        Raises ``OSError`` for one that cannot be read.
        """
        try:
            with Beneath(self.root) as beneath:
                fd, _ = beneath.open(path)
                try:
                    return os.read(fd, MAX_IGNORE_BYTES)
                finally:
                    os.close(fd)
        except OSError as error:
            if error.errno in _NO_FILE:
                return b""
            error.filename = path  # not its last part alone
            raise

    def _sort_out(
        self, folder: str, entries: list[os.DirEntry[str]], rules: Level | Root, before: Remembered, walk: _Walk
    ) -> list[str]:
        """Give each entry of a folder its place; returns the folders to go into."""
        root, prefix = str(self.root), folder + "/" if folder else ""
        known = before.folders.get(folder)
        if known is not None and known.chain != rules.chain:
            known = None
        names = walk.folders[folder] = _Names(rules.chain)
        ignored, others = names.ignored, names.others
        inside: list[str] = []
        files = before.files if known else {}
        same, most = walk.same, self.rules.max_file_bytes
        for entry in entries:
            name = entry.name if entry.name.isascii() else name_of(root, prefix, entry)
            if name in NEVER:
                continue
            path = prefix + name
            row = files.get(path)
            if row is not None and row.size <= most:
                try:
                    found = entry.stat(follow_symlinks=False)
                    # As ``_told`` has it, spelt out: this is most of what a scan does.
                    if row[1:6] == (found.st_size, found.st_mtime_ns, found.st_ctime_ns, found.st_ino, found.st_mode):
                        same.append(row)  # decided before, and its name was good
                        continue
                except OSError:
                    pass
            is_folder = _is_folder(entry)
            label = name + "/" if is_folder else name
            if known and (label in known.others or path in (before.folders if is_folder else files)):
                left = False
            elif known and label in known.ignored:
                left = True
            else:
                left = rules.leaves_out(prefix + label)
            if left:
                ignored.add(label)
            elif problem := _name_problem(path):
                others.add(label)
                walk.left_out.append(LeftOut(_printable(path), "bad-name", problem))
            elif is_folder:
                inside.append(path)
            else:
                self._look(entry, path, before.files.get(path), walk, others)
        return inside

    def _look(self, entry: os.DirEntry[str], path: str, row: FileRow | None, walk: _Walk, others: set[str]) -> None:
        """Note a file that the rules admit, if it is a regular one of a size that may be kept.

        ``row`` is what is remembered of it, where the rules of its folder were others.
        """
        try:
            found = entry.stat(follow_symlinks=False)
        except OSError as error:
            reason = "vanished" if error.errno == errno.ENOENT else "unreadable"
            walk.left_out.append(LeftOut(path, reason, error.strerror or ""))
            return
        mode = found.st_mode
        if not stat.S_ISREG(mode):
            others.add(entry.name)
            walk.left_out.append(LeftOut(path, "symlink" if stat.S_ISLNK(mode) else "special"))
        elif found.st_size > self.rules.max_file_bytes:
            others.add(entry.name)
            detail = f"{found.st_size:,} of at most {self.rules.max_file_bytes:,} bytes"
            walk.left_out.append(LeftOut(path, "too-large", detail))
        elif row is not None and row[1:6] == _told(found):
            walk.same.append(row)
        else:
            walk.files[path] = found.st_size

    # Reading ---------------------------------------------------------------------------------------------------

    def _read_row(
        self, beneath: Beneath, path: str, left_out: list[LeftOut], look: Look | None
    ) -> tuple[FileRow | None, bool]:
        """Read one file; what to remember of it, and whether that can be trusted next time."""
        try:
            for _ in range(READ_TRIES):
                read_at = self._clock_ns()
                fd, before = beneath.open(path)
                try:
                    if before.st_size > self.rules.max_file_bytes:
                        left_out.append(LeftOut(path, "too-large"))
                        return None, False
                    data = read_all(fd, before.st_size)
                    after = os.fstat(fd)
                finally:
                    os.close(fd)
                if len(data) == after.st_size and _same(before, after):
                    name = ObjectId(hashlib.sha256(data).hexdigest())
                    if look is not None:
                        look(name, data)
                    return FileRow(path, *_told(after), name, _unindexed(path, data)), settled(after, read_at)
            left_out.append(LeftOut(path, "unsettled"))
        except OSError as error:
            gone = error.errno in (errno.ENOENT, errno.ENOTDIR)
            reason = "vanished" if gone else "symlink" if error.errno == errno.ELOOP else "unreadable"
            left_out.append(LeftOut(path, reason, error.strerror or ""))
        return None, False

    def _read(self, beneath: Beneath, path: str) -> bytes:
        if any(part in ("", ".", "..") for part in path.split("/")):
            raise ValueError("not a path inside the folder")
        return beneath.read(path, self.rules.max_file_bytes)[0]

    # Remembering -----------------------------------------------------------------------------------------------

    def _remember(self) -> Remembered:
        if self._remembered is None:
            self._remembered = self._state.load() if self._state else Remembered({}, {}, {})
        return self._remembered

    def _clashes(self, rows: dict[str, FileRow], before: Remembered) -> dict[str, str]:
        """Paths that cannot be in one tree. Asked anew only when the set of paths is another, or was not all of it."""
        if before.digest and (rows is before.files or rows.keys() == before.files.keys()):
            return before.clashes
        return tree_problems(rows.keys())

    def _save(
        self,
        before: Remembered,
        kept: dict[str, FileRow],
        walk: _Walk,
        clashes: dict[str, str],
        fresh: list[FileRow],
        whole: Scan | None,
    ) -> None:
        """``whole`` is the scan if its tree is what the files that are kept make."""
        folders = {
            path: FolderRow(names.chain, frozenset(names.ignored), frozenset(names.others))
            for path, names in walk.folders.items()
        }
        self._remembered = Remembered(kept, folders, clashes, whole.digest if whole and self._state else None)
        gone_files = before.files.keys() - kept.keys()
        gone_folders = before.folders.keys() - folders.keys()
        changed = [(path, row) for path, row in folders.items() if before.folders.get(path) != row]
        told = self._remembered.digest
        differs = before.clashes != clashes or before.digest != told
        if not (self._state and (fresh or changed or gone_files or gone_folders or differs)):
            return
        if not self._state.save(fresh, changed, gone_files, gone_folders, clashes, told):
            self._remembered = None  # somebody else's rows count: they are loaded the next time


# Absent, a symlink, a folder or a device, and nothing that could be read.
_NO_FILE = (errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.EMLINK, errno.EISDIR, errno.EINVAL, errno.ENXIO)
_MODES = {0: "100644", stat.S_IXUSR: "100755"}


def _stop_at_limit(walk: _Walk) -> None:
    """Leave out all files beyond ``MAX_FILES``, those read before being the first to stay."""
    del walk.same[MAX_FILES:]
    beyond = list(walk.files)[MAX_FILES - len(walk.same) :]
    for path in beyond:
        del walk.files[path]
    first = min(beyond, default="")
    walk.left_out.append(LeftOut(first, "too-many-files", f"and more; a project has at most {MAX_FILES:,} files"))


def _same(before: os.stat_result, after: os.stat_result) -> bool:
    return (before.st_size, before.st_mtime_ns, before.st_ctime_ns) == (
        after.st_size,
        after.st_mtime_ns,
        after.st_ctime_ns,
    )


def _told(found: os.stat_result) -> tuple[int, int, int, int, int]:
    """All of a file's stat that a ``FileRow`` keeps."""
    return found.st_size, found.st_mtime_ns, found.st_ctime_ns, found.st_ino, found.st_mode


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir(follow_symlinks=False)
    except OSError:
        return False


def _name_problem(path: str) -> str | None:
    # A folder's path has to leave room for something inside; the check of the file below decides exactly.
    if len(path) > MAX_PATH_BYTES:
        return f"longer than {MAX_PATH_BYTES:,} bytes"
    return path_problem(path)


def _printable(path: str) -> str:
    return path.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")


def _unindexed(path: str, data: bytes) -> str:
    """Why the file is not searchable; empty when it is."""
    from satchel.documents.kinds import indexable, is_text  # most scans read nothing

    if indexable(path, len(data)):
        if is_text(data):
            return ""
        return "binary" if b"\0" in data else "not-utf8"
    if b"\0" in data[:8_192]:
        return "binary"
    return "data-too-large" if indexable(path, 0) else "format"
