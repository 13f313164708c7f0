"""Objects in a directory, durable against crash and power loss.

A put writes a temporary file, fsyncs it, renames (or, to create, links) it to its name and fsyncs the directory, and
only then returns: whatever the moment of a crash, a name holds the whole object or nothing. Temporary files are
invisible to ``list`` and removed once a day old. File work is done in threads, off the event loop.
"""

from __future__ import annotations

import asyncio
import errno
import os
import secrets
import stat
import threading
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from satchel.errors import DiskFull, SatchelError, StoreMissing, StoreUnavailable
from satchel.store.objectstore import StoredObject, StoreExists, checked_name, checked_prefix, checked_range, is_name

_TEMPORARY = ".tmp"  # no object's name begins with a dot
_TEMPORARY_AGE_SECONDS = 24 * 3600
MAX_KNOWN_FOLDERS = 20_000
"""Directories known to be durable, some 600 bytes each: a project has several, and there may be any number of them."""
_OUT_OF_SPACE = {errno.ENOSPC, errno.EDQUOT}


class LocalStore:
    """An object store in the directory ``root``, which is made if it is absent, for the owner alone (0700)."""

    def __init__(self, root: Path) -> None:
        """Raises ``StoreUnavailable`` or ``DiskFull`` if the directory cannot be made."""
        self._root = root
        self._lock = threading.Lock()
        self._durable: set[Path] = set()  # directories whose own entry this process has synced
        with _told():
            self._make_durable(root / _TEMPORARY)

    async def put(self, name: str, data: bytes, *, create: bool = False) -> None:
        await asyncio.to_thread(self._put, checked_name(name), data, create)

    async def get(self, name: str, *, offset: int = 0, length: int | None = None) -> bytes:
        return await asyncio.to_thread(self._get, checked_name(name), offset, length)

    async def delete(self, name: str) -> None:
        await asyncio.to_thread(self._delete, checked_name(name))

    async def list(self, prefix: str) -> AsyncIterator[StoredObject]:
        for stored in await asyncio.to_thread(self._list, checked_prefix(prefix)):
            yield stored

    async def check(self) -> None:
        await asyncio.to_thread(self._check)

    def _put(self, name: str, data: bytes, create: bool) -> None:
        target = self._root / name
        temporary = self._root / _TEMPORARY / secrets.token_hex(16)
        with _told():
            write_durably(temporary, data)
            try:
                self._make_durable(target.parent)
                _give_name(temporary, target, create)
            except BaseException:
                temporary.unlink(missing_ok=True)
                raise

    def _get(self, name: str, offset: int, length: int | None) -> bytes:
        path = self._root / name
        with _told():
            try:
                handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
            except (FileNotFoundError, NotADirectoryError) as error:
                raise StoreMissing(f"the stored object {name} is missing") from error
            try:
                found = os.fstat(handle)
                if stat.S_ISDIR(found.st_mode):
                    raise StoreMissing(f"the stored object {name} is missing")
                return _read(handle, offset, checked_range(name, found.st_size, offset, length))
            finally:
                os.close(handle)

    def _delete(self, name: str) -> None:
        path = self._root / name
        with _told():
            if path.is_dir():
                return
            # Synced also where there is no file: whoever deleted it may have been killed before doing so.
            with suppress(FileNotFoundError, NotADirectoryError):
                path.unlink(missing_ok=True)
                sync_directory(path.parent)

    def _list(self, prefix: str) -> Sequence[StoredObject]:
        start = self._root / prefix.rpartition("/")[0]
        found: list[StoredObject] = []
        with _told():
            for folder, folders, files in os.walk(start, onerror=_raise_unless_absent):
                if _TEMPORARY in folders:
                    folders.remove(_TEMPORARY)
                for file in files:
                    path = Path(folder, file)
                    name = path.relative_to(self._root).as_posix()
                    if name.startswith(prefix) and is_name(name):
                        with suppress(FileNotFoundError):  # deleted meanwhile
                            about = path.stat()
                            found.append(StoredObject(name, about.st_size, about.st_mtime_ns // 1_000_000))
        return sorted(found)

    def _make_durable(self, folder: Path) -> None:
        """Make a directory and those above it, and see each entry synced before anything is put inside.

        One that exists is synced too, once: whoever made it may have been killed before doing so.
        """
        with self._lock:
            missing = []
            while folder not in self._durable:
                missing.append(folder)
                if folder in {self._root, folder.parent}:
                    break
                folder = folder.parent
            for each in reversed(missing):
                each.mkdir(mode=0o700, parents=True, exist_ok=True)
                sync_directory(each.parent)
            if len(self._durable) + len(missing) > MAX_KNOWN_FOLDERS:
                self._durable.clear()  # each is synced once more
            self._durable.update(missing)

    def _check(self) -> None:
        self._clean()
        temporary = self._root / _TEMPORARY / secrets.token_hex(16)
        with _told():
            try:
                write_durably(temporary, b"satchel")
            finally:
                temporary.unlink(missing_ok=True)

    def _clean(self) -> None:
        """Remove temporary files that no living put can own."""
        oldest = time.time() - _TEMPORARY_AGE_SECONDS
        with _told(), os.scandir(self._root / _TEMPORARY) as entries:
            for entry in entries:
                with suppress(FileNotFoundError):  # it got its name meanwhile, or somebody else cleans too
                    if entry.stat(follow_symlinks=False).st_mtime < oldest:
                        os.unlink(entry.path)


@contextmanager
def _told() -> Iterator[None]:
    """Turn the operating system's errors into ours, without the path: clients read them, and paths name tenants."""
    try:
        yield
    except SatchelError:
        raise
    except OSError as error:
        reason = error.strerror or type(error).__name__
        if error.errno in _OUT_OF_SPACE:
            raise DiskFull(
                f"the store is full: {reason}",
                hint="Nothing of this was stored, nothing was lost. Whoever runs the server has to free space.",
            ) from error
        raise StoreUnavailable(
            f"the store cannot be used: {reason}",
            hint="Check that the data directory exists, is on a working disk and belongs to this user.",
        ) from error


def _give_name(temporary: Path, target: Path, create: bool) -> None:
    """Make a synced temporary file appear as ``target``, durably; raises ``StoreExists``."""
    if not create:
        os.rename(temporary, target)
        sync_directory(target.parent)
        return
    try:
        os.link(temporary, target)
    except FileExistsError as error:
        # The winner may not have synced its directory yet, and whoever hears "exists" may rely on it.
        sync_directory(target.parent)
        raise StoreExists(f"the stored object {target.name} exists already") from error
    sync_directory(target.parent)
    temporary.unlink(missing_ok=True)


def write_durably(path: Path, data: bytes) -> None:
    """Write a new file (0600) and fsync it; on any failure nothing is left. Its directory is not synced."""
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        try:
            rest = memoryview(data)
            while rest:
                rest = rest[os.write(handle, rest) :]
            os.fsync(handle)
        finally:
            os.close(handle)
    except BaseException:
        path.unlink(missing_ok=True)
        raise


def _read(handle: int, offset: int, wanted: int) -> bytes:
    pieces = []
    while wanted:
        piece = os.pread(handle, wanted, offset)
        if not piece:
            raise StoreMissing("a stored object became shorter while it was read")
        pieces.append(piece)
        offset += len(piece)
        wanted -= len(piece)
    return pieces[0] if len(pieces) == 1 else b"".join(pieces)


def make_directory(path: Path) -> None:
    """Make a directory (0700), and those above it, durable: it is not forgotten with all that is put into it later."""
    if path.is_dir():
        return
    if not path.parent.is_dir():
        make_directory(path.parent)
    path.mkdir(mode=0o700, exist_ok=True)
    sync_directory(path.parent)


def sync_directory(path: Path) -> None:
    """Make the names in a directory durable."""
    handle = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _raise_unless_absent(error: OSError) -> None:
    if not isinstance(error, FileNotFoundError):
        raise error
