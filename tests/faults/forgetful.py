"""A disk that forgets: the system calls of a process replayed on a model, and what a power loss may leave of it.

What was synced stays. Of what was not, anything may be gone: bytes of a file, whole or by sectors; names in a folder,
each by itself or all from one on. Only these go together: a rename puts the new name there before it takes the old one
away, and a name that is replaced is the old file or the new. That is less than ext4, XFS or APFS promise, and all that
POSIX does; after Pillai et al., "All File Systems Are Not Created Equal" (OSDI 2014).
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import NamedTuple

TRACED = (
    "openat,close,sync,syncfs,dup,dup2,dup3,fcntl,lseek,write,pwrite64,ftruncate,fsync,fdatasync,rename,renameat,renameat2,link,"
    "linkat,unlink,unlinkat,mkdir,mkdirat,rmdir,"
    # Not used, and not understood: one that succeeds on this disk stops the replay.
    "open,creat,writev,pwritev,pwritev2,truncate,copy_file_range,sendfile,fallocate,symlink,symlinkat,sync_file_range"
)
# `-f`: the database's driver opens its file in a thread of its own.
STRACE = ("-f", "-xx", "-s", str(1 << 24), "-e", f"trace={TRACED}", "-e", "signal=none")
SECTOR = 512
_LINE = re.compile(r"\d+ +(\w+)\((.*)\)\s+= (-?\d+)")
_TEXT = re.compile(r'"((?:\\x[0-9a-f]{2})*)"')
_UMASK = 0o022
_WHOLE_BY_ITSELF = re.compile(r"(catalog|state|index)\.db(-wal|-shm|-journal)?|journal|lock|acks|hits")
"""Databases and a journal, which hold sums of what they hold; locks, which hold nothing; what the scenes write."""


class Write(NamedTuple):
    """Bytes at a place; ``None``: the file ends there."""

    at: int
    data: bytes | None


@dataclass(eq=False)
class File:
    mode: int
    stable: bytes = b""
    now: bytes = b""
    pending: list[Write] = field(default_factory=list)
    shown: str = ""
    """The name it was given under which somebody may read it."""

    def write(self, write: Write) -> None:
        self.now = _applied(self.now, write)
        self.pending.append(write)

    def sync(self) -> None:
        self.stable = self.now
        self.pending.clear()


@dataclass(eq=False)
class Folder:
    stable: dict[str, File | Folder] = field(default_factory=dict)
    now: dict[str, File | Folder] = field(default_factory=dict)


@dataclass(eq=False)
class Change:
    """A name that is given or (``None``) taken away, not before ``after``."""

    folder: Folder
    name: str
    node: File | Folder | None
    after: Change | None = None


@dataclass(eq=False)
class _Open:
    node: File | Folder
    at: int = 0
    append: bool = False


def _applied(data: bytes, write: Write) -> bytes:
    if write.data is None:
        return data[: write.at].ljust(write.at, b"\0")
    return data[: write.at].ljust(write.at, b"\0") + write.data + data[write.at + len(write.data) :]


class Moment(NamedTuple):
    """Where the power may fail."""

    step: str
    disk: Disk
    ended: bool
    """The command had come to its end."""


class Disk:
    """Everything below one folder, as it is and as it would be after a power loss."""

    def __init__(self, root: Path) -> None:
        self.where = str(root)
        self.root = _as_found(root)
        self.changes: list[Change] = []
        self.careless: list[str] = []
        """Names that were given to bytes not yet on disk, and writes to what had its name already."""
        self._open: dict[int, _Open] = {}

    # Replay ------------------------------------------------------------------------------------------------------

    def replay(self, log: Path) -> Iterator[Moment]:
        """Do what the process did; stops before each sync, and at the end, for somebody to look."""
        for line in _whole_lines(log):
            match = _LINE.match(line)
            if match is None or match[3].startswith("-"):
                continue
            name, given, result = match[1], match[2], int(match[3])
            if name in ("fsync", "fdatasync") and int(given) in self._open:
                yield Moment(f"{name} {line[:40]}", self, ended=False)
            self._call(name, given, result)
        yield Moment("the end", self, ended=True)

    def _call(self, name: str, given: str, result: int) -> None:
        texts = [bytes.fromhex(text.replace("\\x", "")) for text in _TEXT.findall(given)]
        plain = [part.strip() for part in _TEXT.sub('""', given).split(",")]
        if name in ("sync", "syncfs"):
            self._sync_all()
        elif name == "openat":
            self._openat(plain, os.fsdecode(texts[0]), result)
        elif name in ("close", "dup", "dup2", "dup3", "fcntl"):
            self._descriptor(name, plain, result)
        elif name in ("write", "pwrite64", "lseek", "ftruncate", "fsync", "fdatasync"):
            self._file(name, plain, texts, result)
        elif name in ("mkdir", "mkdirat", "rmdir", "unlink", "unlinkat"):
            at = plain[0] if name.endswith("at") else "AT_FDCWD"
            self._name(at, os.fsdecode(texts[0]), Folder() if name.startswith("mkdir") else None)
        elif name in ("rename", "renameat", "renameat2", "link", "linkat"):
            first, second = (plain[0], plain[2]) if "at" in name else ("AT_FDCWD", "AT_FDCWD")
            self._second_name(first, os.fsdecode(texts[0]), second, os.fsdecode(texts[1]), moved="rename" in name)
        elif name != "writev" and any(os.fsencode(self.where) in text for text in texts):
            raise NotImplementedError(f"{name}({plain})")
        elif plain[0].isdigit() and int(plain[0]) in self._open:
            raise NotImplementedError(f"{name}({plain}) {self._open[int(plain[0])]}")

    def _openat(self, plain: list[str], path: str, fd: int) -> None:
        self._open.pop(fd, None)
        place = self._place(plain[0], path)
        if place is None:
            return
        folder, name = place
        node = folder.now.get(name) if name else folder
        if node is None:
            node = File(int(plain[3], 8) & ~_UMASK)
            self._change(Change(folder, name, node))
        if "O_TRUNC" in plain[2] and isinstance(node, File) and node.now:
            self._write(node, Write(0, None))
        self._open[fd] = _Open(node, append="O_APPEND" in plain[2])

    def _descriptor(self, name: str, plain: list[str], result: int) -> None:
        fd = int(plain[0])
        if name == "close":
            self._open.pop(fd, None)
        elif fd in self._open and (name != "fcntl" or "F_DUPFD" in plain[1]):
            self._open[result] = self._open[fd]

    def _file(self, name: str, plain: list[str], texts: list[bytes], result: int) -> None:
        opened = self._open.get(int(plain[0]))
        if opened is None:
            return
        node = opened.node
        if name in ("fsync", "fdatasync"):
            node.sync() if isinstance(node, File) else self._sync(node)
            return
        if name == "lseek":
            opened.at = result
            return
        assert isinstance(node, File)
        if name == "ftruncate":
            self._write(node, Write(int(plain[1]), None))
        elif name == "pwrite64":
            self._write(node, Write(int(plain[3]), texts[0][:result]))
        else:
            at = len(node.now) if opened.append else opened.at
            self._write(node, Write(at, texts[0][:result]))
            opened.at = at + result

    def _write(self, file: File, write: Write) -> None:
        if file.shown:
            self.careless.append(f"{file.shown} is written while it has its name")
        file.write(write)

    def _name(self, at: str, path: str, node: Folder | None) -> None:
        if place := self._place(at, path):
            self._change(Change(*place, node))

    def _second_name(self, at: str, path: str, to: str, new: str, *, moved: bool) -> None:
        old, given = self._place(at, path), self._place(to, new)
        if old is None or given is None:
            assert old is given
            return
        change = Change(*given, old[0].now[old[1]])
        self._change(change)
        if moved:
            self._change(Change(*old, None, after=change))

    def _place(self, at: str, path: str) -> tuple[Folder, str] | None:
        """The folder and name that a call means, ``None`` for one elsewhere; an empty name for the root itself."""
        if path.startswith("/"):
            if path != self.where and not path.startswith(self.where + "/"):
                return None
            folder, parts = self.root, path[len(self.where) :].split("/")
        else:
            if not at.isdigit() or int(at) not in self._open:
                return None
            below = self._open[int(at)].node
            assert isinstance(below, Folder)
            folder, parts = below, path.split("/")
        parts = [part for part in parts if part not in ("", ".")]
        for part in parts[:-1]:
            found = folder.now[part]
            assert isinstance(found, Folder)
            folder = found
        return folder, parts[-1] if parts else ""

    def _change(self, change: Change) -> None:
        if change.node is None:
            del change.folder.now[change.name]
        else:
            change.folder.now[change.name] = change.node
            if isinstance(change.node, File) and not self._by_itself(change):
                change.node.shown = change.name
                if change.node.pending:
                    self.careless.append(f"{change.name} is given to bytes that are not on disk")
        self.changes.append(change)

    def _by_itself(self, change: Change) -> bool:
        """Whether the name is nobody's but ours, or that of a file which tells by itself how far it is whole."""
        ours = [self.root.now.get(name) for name in ("cloud", "ann")]
        store, local = (
            (node.now.get(name) if isinstance(node, Folder) else None)
            for node, name in zip(ours, ("store", ".satchel"), strict=True)
        )
        # In `former` nothing is relied on: it is checked when it is read, and may be lost.
        folders = ((store, ".tmp"), (local, "tmp"), (local, "former"))
        aside = [node.now.get(name) for node, name in folders if isinstance(node, Folder)]
        return (
            change.folder in aside or change.name.startswith(".") or _WHOLE_BY_ITSELF.fullmatch(change.name) is not None
        )

    def _sync(self, folder: Folder) -> None:
        due = {change for change in self.changes if change.folder is folder}
        due |= {change.after for change in due if change.after is not None}
        for change in self.changes:
            if change in due:
                _given(change.folder.stable, change)
        self.changes = [change for change in self.changes if change not in due]

    def _sync_all(self) -> None:
        for change in self.changes:
            _given(change.folder.stable, change)
        self.changes = []
        todo: list[File | Folder] = [self.root]
        for node in todo:
            if isinstance(node, File):
                node.sync()
            else:
                todo.extend(node.now.values())

    # What is left ------------------------------------------------------------------------------------------------

    def read(self, path: str) -> bytes:
        """A file as it is."""
        node = self.root.now.get(path)
        return node.now if isinstance(node, File) else b""

    def survivors(self, random: Random, some: int) -> Iterator[tuple[str, Survivor]]:
        """What a power loss may leave now: the worst of each kind, and ``some`` in between."""
        count = len(self.changes)
        yield "only what was synced", self._survivor(lambda _n: False, _stable)
        yield "all names, no bytes", self._survivor(lambda _n: True, _stable)
        yield "all names, no bytes but sizes", self._survivor(lambda _n: True, _zeros)
        yield "all bytes, no names", self._survivor(lambda _n: False, _now)
        for _ in range(some):
            until, chances = random.randint(0, count), [random.random() < 0.5 for _ in range(count)]
            yield f"names in order, to {until} of {count}", self._survivor(lambda n, until=until: n < until, _stable)  # type: ignore[misc]
            yield "some of each", self._survivor(lambda n, kept=chances: kept[n], lambda file: _some(file, random))  # type: ignore[misc]

    def _survivor(self, named: Callable[[int], bool], content: Callable[[File], bytes]) -> Survivor:
        kept: set[Change] = set()
        names: dict[Folder, dict[str, File | Folder]] = {}
        for number, change in enumerate(self.changes):
            if named(number) and (change.after is None or change.after in kept or change.after not in self.changes):
                kept.add(change)
                _given(names.setdefault(change.folder, dict(change.folder.stable)), change)
        found = Survivor({}, {})
        contents: dict[File, bytes] = {}

        def walk(folder: Folder, above: str) -> None:
            found.folders[above] = None
            for name, node in names.get(folder, folder.stable).items():
                path = f"{above}/{name}" if above else name
                if isinstance(node, Folder):
                    walk(node, path)
                elif not name.endswith("-shm"):  # shared memory: SQLite makes it anew
                    if node not in contents:
                        contents[node] = content(node)
                    found.files[path] = (node.mode, contents[node])

        walk(self.root, "")
        return found


class Survivor(NamedTuple):
    """A disk after a power loss."""

    files: dict[str, tuple[int, bytes]]
    folders: dict[str, None]

    @property
    def id(self) -> str:
        about = hashlib.sha256(repr(sorted(self.folders)).encode())
        for path, (mode, data) in sorted(self.files.items()):
            about.update(f"{path}\0{mode}\0{len(data)}\0".encode() + data)
        return about.hexdigest()

    def write(self, where: Path) -> None:
        for folder in self.folders:
            (where / folder).mkdir(parents=True, exist_ok=True)
        for path, (mode, data) in self.files.items():
            (where / path).write_bytes(data)
            (where / path).chmod(mode)


def _whole_lines(log: Path) -> Iterator[str]:
    """Calls in the order in which they ended; strace cuts in two what another thread interrupted."""
    begun: dict[str, str] = {}
    for line in log.read_text().splitlines():
        thread, _, told = line.partition(" ")
        told = told.lstrip()
        if told.endswith("<unfinished ...>"):
            begun[thread] = told.removesuffix("<unfinished ...>").rstrip()
            continue
        if told.startswith("<... "):
            told = begun.pop(thread) + told.partition(" resumed>")[2]
        yield f"{thread} {told}"


def _given(names: dict[str, File | Folder], change: Change) -> None:
    if change.node is None:
        names.pop(change.name, None)
    else:
        names[change.name] = change.node


def _as_found(folder: Path) -> Folder:
    names: dict[str, File | Folder] = {}
    for entry in os.scandir(folder):
        if entry.is_dir(follow_symlinks=False):
            names[entry.name] = _as_found(Path(entry.path))
        else:
            data = Path(entry.path).read_bytes()
            names[entry.name] = File(entry.stat().st_mode & 0o777, data, data)
    return Folder(names, dict(names))


def _stable(file: File) -> bytes:
    return file.stable


def _now(file: File) -> bytes:
    return file.now


def _zeros(file: File) -> bytes:
    data = file.stable
    for at, written in file.pending:
        data = _applied(data, Write(at, None if written is None else bytes(len(written))))
    return data


def _some(file: File, random: Random) -> bytes:
    """Each write whole, not at all, or torn between two sectors."""
    data = file.stable
    for write in file.pending:
        fate = random.random()
        if fate < 0.4:
            data = _applied(data, write)
        elif fate < 0.6 and write.data is not None:
            edges = [n for n in range(1, len(write.data)) if (write.at + n) % SECTOR == 0]
            if edges:
                data = _applied(data, Write(write.at, write.data[: random.choice(edges)]))
    return data
