"""Whole files replaced so that a crash leaves the old one or the new: write aside, fsync, rename, fsync the folder."""

from __future__ import annotations

import errno
import os
import re
import stat
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from satchel.errors import DiskFull, SatchelError, Unavailable

FULL = (errno.ENOSPC, errno.EDQUOT)


class FolderUnwritable(Unavailable):
    code = "folder.unwritable"
    default_hint = "Check that the folder exists, that you may write there and that it is not mounted read-only."


class FolderUnreadable(Unavailable):
    code = "folder.unreadable"
    default_hint = "Nothing was changed for it. Check the disk and the permissions, and run the command again."


def unreadable(error: OSError, what: str) -> SatchelError:
    """The error to raise where ``what`` is there and cannot be read."""
    return FolderUnreadable(f"cannot read {what}: {error.strerror}")


@contextmanager
def by_name(root: Path) -> Iterator[None]:
    """Give whatever the disk refuses below ``root`` a name, where nothing closer to it does."""
    try:
        yield
    except OSError as error:
        what = str(error.filename or root)
        raise refused(error, what) if error.errno in FULL else unreadable(error, what) from error


def refused(error: OSError, what: str) -> SatchelError:
    """The error to raise for a failed write of ``what``."""
    if error.errno in FULL:
        return DiskFull(f"no space left to write {what}")
    return FolderUnwritable(f"cannot write {what}: {error.strerror}")


ROOM_BYTES = 1 << 20
"""What a folder with room takes: more than a search or a small sync writes."""


def try_writing(folder: Path) -> None:
    """Write ``ROOM_BYTES`` into a folder and take them away again. Raises ``DiskFull`` or ``FolderUnwritable``."""
    import tempfile  # no other command does this

    try:
        with tempfile.TemporaryFile(dir=folder) as file:
            file.write(os.urandom(ROOM_BYTES))  # zeros take no room where the filesystem compresses
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        raise refused(error, str(folder)) from error


def sync_folder(path: Path) -> None:
    """Make what was created, renamed or removed in a folder survive a power loss."""
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


_FLUSHED = {0xEF53, 0x58465342, 0x9123683E, 0xF2F52010, 0x01021994}
"""ext2 to ext4, XFS, Btrfs, F2FS and tmpfs by their magic numbers. One in user space hears nothing of a flush."""
_TELLS = (5, 8)
"""The first Linux whose ``syncfs`` tells of what could not be written."""


def flushes(fd: int) -> bool:
    """Whether ``flush_filesystem`` is as good as an fsync of each file on the filesystem of ``fd``."""
    if sys.platform != "linux" or tuple(map(int, re.findall(r"\d+", os.uname().release)[:2])) < _TELLS:
        return False
    import ctypes  # only for many files

    about = ctypes.create_string_buffer(256)  # a `struct statfs` begins with the type
    return ctypes.CDLL(None).fstatfs(fd, about) == 0 and ctypes.c_long.from_buffer(about).value in _FLUSHED


def flush_filesystem(fd: int) -> None:
    """Make all that was written on the filesystem of ``fd`` survive a power loss.

    Raises ``OSError`` for what could not be written since ``fd`` was opened.
    """
    import ctypes

    libc = ctypes.CDLL(None, use_errno=True)
    if libc.syncfs(fd) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


def holds_modes(folder: Path) -> bool:
    """Whether files that can be run are told from others there: on FAT, exFAT, most shares and the disks of Windows
    under WSL all of them, or none, have the executable bit."""
    probe = folder / f".mode.{os.getpid()}.{os.urandom(4).hex()}"
    try:
        fd = os.open(probe, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    except OSError:  # nothing is to be written there, so nothing is to be told
        return True
    try:
        before = os.fstat(fd).st_mode
        with suppress(OSError):
            os.fchmod(fd, 0o700)
        return not before & stat.S_IXUSR and bool(os.fstat(fd).st_mode & stat.S_IXUSR)
    finally:
        os.close(fd)
        probe.unlink(missing_ok=True)


def upward(folder: str) -> Iterator[str]:
    """A folder of the worktree and those above it, up to the root (``""``)."""
    while folder:
        yield folder
        folder = folder.rpartition("/")[0]
    yield ""


def make_folder(path: Path) -> None:
    """Make a folder and those above it that are missing, each durable before anything is put inside.

    Raises ``OSError``.
    """
    if not path.is_dir():
        make_folder(path.parent)
        path.mkdir(exist_ok=True)
        sync_folder(path.parent)


def write_all(fd: int, data: bytes) -> None:
    """``os.write`` until everything is written."""
    view = memoryview(data)
    while view:
        view = view[os.write(fd, view) :]


def replace(path: Path, data: bytes, *, permissions: int | None = None) -> None:
    """Write ``path`` durably, whole or not at all. Raises ``DiskFull`` or ``FolderUnwritable``.

    Without ``permissions`` the file keeps those it has, for whoever may not read it is not to read this; a new one gets
    what the umask leaves.
    """
    kept = _permissions_of(path) if permissions is None else None
    temporary = path.with_name(f".{path.name}.{os.getpid()}.{os.urandom(4).hex()}")
    try:
        make_folder(path.parent)
        first = permissions or kept or 0o644
        fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, first)
        try:
            if kept is not None:
                with suppress(OSError):  # a filesystem that holds none refuses
                    os.fchmod(fd, kept)
            write_all(fd, data)
            os.fsync(fd)
        finally:
            os.close(fd)
        temporary.rename(path)
        sync_folder(path.parent)
    except OSError as error:
        try:
            temporary.unlink(missing_ok=True)
        except OSError:
            pass
        raise refused(error, str(path)) from error


def _permissions_of(path: Path) -> int | None:
    try:
        found = os.lstat(path).st_mode
    except OSError:
        return None
    return stat.S_IMODE(found) & 0o777 if stat.S_ISREG(found) else None
