"""Files reached relative to an open directory, one component at a time, never through a symlink.

Between a look and a read somebody may swap a folder for a symlink; resolving each component with ``O_NOFOLLOW``
below the handle of the root makes that an error instead of a way out of the folder.
"""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Self

FOLDER_FLAGS = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
# O_NONBLOCK: opening a FIFO nobody writes to would wait for ever.
FILE_FLAGS = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


class Beneath:
    """An open root and the last folder used below it. Not for several threads at once."""

    def __init__(self, root: Path) -> None:
        """Raises ``OSError`` where ``root`` is not a folder that can be read."""
        self._root = os.open(root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        self._folder = ""
        self._fd = self._root

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        self._leave()
        os.close(self._root)

    def folder(self, path: str, *, create: bool = False) -> int:
        """A handle of that folder (``""`` is the root), good until the next call. Raises ``OSError``.

        With ``create`` missing folders are made; who asks for it syncs what they are in. A symlink on the way is
        ``ELOOP`` or ``ENOTDIR``.
        """
        if path == self._folder:
            return self._fd
        self._leave()
        fd = self._root
        try:
            for part in path.split("/") if path else ():
                below = _open_folder(part, fd, create=create)
                if fd != self._root:
                    os.close(fd)
                fd = below
        except OSError:
            if fd != self._root:
                os.close(fd)
            raise
        self._folder, self._fd = path, fd
        return fd

    def open(self, path: str) -> tuple[int, os.stat_result]:
        """A read-only descriptor of a regular file, to be closed by the caller, and its stat. Raises ``OSError``."""
        folder, _, name = path.rpartition("/")
        fd = os.open(name, FILE_FLAGS, dir_fd=self.folder(folder))
        found = os.fstat(fd)
        if not stat.S_ISREG(found.st_mode):
            os.close(fd)
            raise OSError(errno.EINVAL, "not a regular file", path)
        return fd, found

    def read(self, path: str, most: int | None = None) -> tuple[bytes, os.stat_result]:
        """All of a regular file, and its stat before that. Raises ``OSError``, also for one of over ``most`` bytes."""
        fd, found = self.open(path)
        try:
            if most is not None and found.st_size > most:
                raise OSError(errno.EFBIG, os.strerror(errno.EFBIG), path)
            return read_all(fd, found.st_size), found
        finally:
            os.close(fd)

    def _leave(self) -> None:
        if self._fd != self._root:
            os.close(self._fd)
        self._folder, self._fd = "", self._root


def _open_folder(name: str, above: int, *, create: bool) -> int:
    try:
        return os.open(name, FOLDER_FLAGS, dir_fd=above)
    except FileNotFoundError:
        if not create:
            raise
    try:
        os.mkdir(name, 0o777, dir_fd=above)  # less what the umask takes
    except FileExistsError:
        pass
    return os.open(name, FOLDER_FLAGS, dir_fd=above)


def open_own(path: Path) -> BinaryIO:
    """A file that Satchel keeps in the folder, for reading. Raises ``OSError``.

    The folder may have come from a stranger: what is no regular file is ``EINVAL``, for a FIFO would be waited for, and
    a device read, without end.
    """
    file = open(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb")  # noqa: SIM115  # the caller closes it
    if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
        file.close()
        raise OSError(errno.EINVAL, "not a regular file", str(path))
    return file


def read_own(path: Path) -> bytes:
    """All of such a file. Raises as ``open_own``."""
    with open_own(path) as file:
        return file.read()


def write_note(path: Path, text: str) -> None:
    """Write a short file of ours: whole or not at all, though not durably, and over no symlink. Raises ``OSError``."""
    if path.is_symlink():
        raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), str(path))
    aside = path.with_name(f".{path.name}.new")
    aside.unlink(missing_ok=True)
    fd = os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    with open(fd, "w", encoding="utf-8") as file:
        file.write(text)
    aside.rename(path)


def read_all(fd: int, size: int) -> bytes:
    """Everything from the descriptor's position on, ``size`` being the expected number of bytes."""
    data = os.read(fd, size + 1)
    if len(data) == size:
        return data
    parts = [data]
    while data:
        data = os.read(fd, 1 << 20)
        parts.append(data)
    return b"".join(parts)
