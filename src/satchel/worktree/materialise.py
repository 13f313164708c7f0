"""Bytes from elsewhere put into the folder: durably, never through a symlink, never over a file that changed meanwhile.

Order of one write: the file's present bytes are checked against the expectation and kept in the undo store; the new
bytes go to ``.satchel/tmp`` and are synced; a rename puts them in place. A crash leaves the old file or the new one.
Folders are synced by ``finish``, which the caller runs before it records that the folder is in step.
"""

from __future__ import annotations

import errno
import hashlib
import os
from pathlib import Path
from types import TracebackType
from typing import Self

from satchel.errors import PathRefused
from satchel.objects.ids import ObjectId
from satchel.objects.listing import Entry, check_mode
from satchel.objects.paths import check_path
from satchel.worktree import durable
from satchel.worktree.beneath import Beneath, read_all
from satchel.worktree.find import LOCAL_DIR
from satchel.worktree.state import is_executable
from satchel.worktree.undo import UndoStore
from satchel.worktree.walk import ChangedMeanwhile

_TEMPORARY = f"{LOCAL_DIR}/tmp"  # noqa: S108  # inside the project, not the shared /tmp


class Materialiser:
    """The one writer of a folder; its user holds the folder's lock. Raises ``DiskFull`` and ``FolderUnwritable``."""

    def __init__(self, root: Path, undo: UndoStore | None) -> None:
        """``undo`` is where what is overwritten goes; ``None`` where nothing of a person's can be: a new folder."""
        self._undo = undo
        self._root = root
        self._beneath = Beneath(root)
        self._touched: set[str] = set()
        self._temporary = self._open_temporary()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if error is None:
                self.finish()
        finally:
            self.close()

    def write(self, path: str, data: bytes, mode: str, expect: Entry | None) -> None:
        """Make ``path`` hold ``data``. ``expect`` is what the caller found there, ``None`` for nothing.

        Raises ``PathRefused`` for a path that cannot be listed, and ``ChangedMeanwhile`` where the file, or something
        on the way to it, is not as expected; the folder is as before then.
        """
        check_mode(mode)
        self._check(check_path(path), expect)
        folder, _, name = path.rpartition("/")
        try:
            into = self._beneath.folder(folder, create=True)
            self._put(into, name, data, 0o777 if mode == "100755" else 0o666)
        except OSError as error:
            raise _explained(error, path) from error
        self._touched.add(folder)

    def delete(self, path: str, expect: Entry) -> None:
        """Remove a file, and the folders that are empty after it. Raises as ``write`` does."""
        self._check(check_path(path), expect)
        folder, _, name = path.rpartition("/")
        try:
            os.unlink(name, dir_fd=self._beneath.folder(folder))
            self._touched.add(folder)
            while folder:
                above, _, name = folder.rpartition("/")
                os.rmdir(name, dir_fd=self._beneath.folder(above))
                self._touched.discard(folder)
                self._touched.add(above)
                folder = above
        except OSError as error:
            # Whatever stands in an emptied folder (ignored files, say) keeps it.
            if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
                raise _explained(error, path) from error

    def finish(self) -> None:
        """Make all renames and removals so far survive a power loss."""
        for folder in sorted(self._touched):
            try:
                os.fsync(self._beneath.folder(folder))
            except FileNotFoundError:
                continue  # removed since: the folder above was touched then
            except OSError as error:
                raise _explained(error, folder) from error
        self._touched.clear()

    def close(self) -> None:
        """Let go of the folder, and of the undo store's journal."""
        if self._undo is not None:
            self._undo.close()
        self._beneath.close()
        os.close(self._temporary)

    def _check(self, path: str, expect: Entry | None) -> None:
        """Refuse if the path is not as expected, and put what is there into the undo store."""
        try:
            present = self._present(path)
        except OSError as error:
            raise ChangedMeanwhile(f"{path} cannot be replaced safely: {error.strerror}") from error
        if (present is None) != (expect is None) or (present and expect and present[0] != expect):
            raise ChangedMeanwhile(f"{path} changed while the sync ran")
        if self._undo is not None:
            self._undo.keep(path, *(present[1], present[0].mode) if present else (None, None))

    def _present(self, path: str) -> tuple[Entry, bytes] | None:
        try:
            fd, found = self._beneath.open(path)
        except FileNotFoundError:
            return None
        try:
            data = read_all(fd, found.st_size)
        finally:
            os.close(fd)
        mode = "100755" if is_executable(found.st_mode) else "100644"
        return Entry(mode, ObjectId(hashlib.sha256(data).hexdigest())), data

    def _put(self, into: int, name: str, data: bytes, permissions: int) -> None:
        """Write aside and rename over; beside the target where it is on another filesystem than ``.satchel``."""
        aside = f".satchel-tmp-{os.getpid()}-{os.urandom(6).hex()}"
        for folder in (self._temporary, into):
            try:
                fd = os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, permissions, dir_fd=folder)
                try:
                    durable.write_all(fd, data)
                    os.fsync(fd)
                finally:
                    os.close(fd)
                os.rename(aside, name, src_dir_fd=folder, dst_dir_fd=into)
                return
            except OSError as error:
                _drop(aside, folder)
                if error.errno != errno.EXDEV or folder == into:
                    raise

    def _open_temporary(self) -> int:
        """The folder of files being written, emptied of what a crash left."""
        try:
            fd = os.dup(self._beneath.folder(_TEMPORARY, create=True))
            with os.scandir(fd) as left:
                names = [entry.name for entry in left]
            for name in names:
                _drop(name, fd)
        except OSError as error:
            self._beneath.close()
            raise durable.refused(error, str(self._root / _TEMPORARY)) from error
        return fd


def _drop(name: str, folder: int) -> None:
    try:
        os.unlink(name, dir_fd=folder)
    except OSError:
        pass


def _explained(error: OSError, path: str) -> Exception:
    if error.errno in (errno.ELOOP, errno.ENOTDIR, errno.EISDIR, errno.ENOENT):
        return ChangedMeanwhile(f"{path}: something else stands on the way to it")
    if error.errno in (errno.ENAMETOOLONG, errno.EILSEQ, errno.EINVAL):
        return PathRefused(f"{path} cannot be a name on this filesystem")
    return durable.refused(error, path)
