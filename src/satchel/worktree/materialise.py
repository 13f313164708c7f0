"""Bytes from elsewhere put into the folder: durably, never through a symlink, never over a file that changed meanwhile.

Order of one write: the new bytes go to ``.satchel/tmp`` and are synced; the file's present bytes are checked against
the expectation and kept in the undo store; a rename puts the new ones in place. A crash leaves the old file or the new
one. Folders are synced by ``finish``, which the caller runs before it records that the folder is in step.
"""

from __future__ import annotations

import errno
import hashlib
import os
import stat
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, NamedTuple, Self

from satchel.errors import PathRefused, SatchelError
from satchel.objects.ids import ObjectId
from satchel.objects.listing import Entry, check_mode
from satchel.objects.paths import check_path
from satchel.worktree import durable
from satchel.worktree.beneath import FOLDER_FLAGS, Beneath
from satchel.worktree.find import LOCAL_DIR
from satchel.worktree.state import is_executable
from satchel.worktree.undo import UndoStore
from satchel.worktree.walk import ChangedMeanwhile

if TYPE_CHECKING:
    from concurrent.futures import ThreadPoolExecutor

_TEMPORARY = f"{LOCAL_DIR}/tmp"  # noqa: S108  # inside the project, not the shared /tmp


STAGE_THREADS = 8
"""1,000 files of 12 KB written and synced on ext4: 0.7 s one after another, 0.3 s with 8 threads."""
FEW_FILES = 64
"""More are flushed with all else on their filesystem: 256 of 12 KB on ext4 take a fifth of the time, and less work. So
are more folders: one after another, 700 took as long as all the files in them."""


class Staged(NamedTuple):
    """Content that is on disk already, under a temporary name."""

    name: str
    data: bytes
    mode: str
    permissions: int = 0o777
    """At most these, where no file stands there."""


class Materialiser:
    """The one writer of a folder; its user holds the folder's lock. Raises ``DiskFull`` and ``FolderUnwritable``."""

    def __init__(self, root: Path, undo: UndoStore | None) -> None:
        """``undo`` is where what is overwritten goes; ``None`` where nothing of a person's can be: a new folder."""
        self._undo = undo
        self._root = root
        self._beneath = Beneath(root)
        self._touched: set[str] = set()
        self._pool: ThreadPoolExecutor | None = None
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

    def write(
        self, path: str, data: bytes, mode: str, expect: Entry | None, *, permissions: int = 0o777, like: str = ""
    ) -> None:
        """Make ``path`` hold ``data``. ``expect`` is what the caller found there, ``None`` for nothing: then a file of
        at most these ``permissions`` is made, or with those of the file ``like`` which it is.

        Raises ``PathRefused`` for a path that cannot be listed, and ``ChangedMeanwhile`` where the file, or something
        on the way to it, is not as expected; the folder is as before then.
        """
        self.place(path, self._stage((data, mode), permissions=permissions), expect, like)

    def stage(self, contents: Sequence[tuple[bytes, str]]) -> list[Staged]:
        """Write contents, with their modes, aside and sync them, many at once; ``place`` then only has to rename.

        Waiting for the disk one file after another is most of what a large pull would take.
        """
        if len(contents) == 1:
            return [self._stage(contents[0])]
        if len(contents) > FEW_FILES and durable.flushes(self._temporary):
            return self._stage_all(contents)
        from concurrent.futures import ThreadPoolExecutor

        def every_nth(first: int) -> list[Staged]:
            return [self._stage(content) for content in contents[first::STAGE_THREADS]]

        with ThreadPoolExecutor(STAGE_THREADS, thread_name_prefix="satchel-stage") as pool:
            slices = list(pool.map(every_nth, range(STAGE_THREADS)))
        return [slices[index % STAGE_THREADS][index // STAGE_THREADS] for index in range(len(contents))]

    def staging(self, contents: Sequence[tuple[bytes, str]]) -> Callable[[], list[Staged]]:
        """As ``stage``, begun: what is returned waits for the end of it. Many files are written in a thread, one such
        call after the other, while the caller puts others in place: most of either is the kernel's work."""
        if len(contents) <= FEW_FILES or not durable.flushes(self._temporary):
            staged = self.stage(contents)
            return lambda: staged
        if self._pool is None:
            from concurrent.futures import ThreadPoolExecutor

            self._pool = ThreadPoolExecutor(1, "satchel-stage")
        return self._pool.submit(self._stage_all, contents).result

    def _stage_all(self, contents: Sequence[tuple[bytes, str]]) -> list[Staged]:
        """The same with one flush for all of them."""
        staged: list[Staged] = []
        try:
            staged.extend(self._stage(content, sync=False) for content in contents)
            durable.flush_filesystem(self._temporary)
        except BaseException as error:
            for one in staged:
                _drop(one.name, self._temporary)
            if isinstance(error, OSError):
                raise durable.refused(error, str(self._root / _TEMPORARY)) from error
            raise
        return staged

    def place(self, path: str, content: Staged, expect: Entry | None, like: str = "") -> None:
        """Make ``path`` hold staged content, which is used up by it. As ``write``."""
        try:
            was = self._check(check_path(path), expect)
            was = self._permissions_of(like) if was is None and like else was
            folder, _, name = path.rpartition("/")
            self._put(self._beneath.folder(folder, create=True), name, content, was)
        except OSError as error:
            _drop(content.name, self._temporary)
            raise _explained(error, path) from error
        except SatchelError:
            _drop(content.name, self._temporary)
            raise
        self._touched.add(folder)

    def _stage(self, content: tuple[bytes, str], *, sync: bool = True, permissions: int = 0o777) -> Staged:
        data, mode = content
        staged = Staged(f".satchel-tmp-{os.getpid()}-{os.urandom(6).hex()}", data, check_mode(mode), permissions)
        try:
            _write_aside(staged, self._temporary, sync=sync)
        except OSError as error:
            _drop(staged.name, self._temporary)
            raise durable.refused(error, str(self._root / _TEMPORARY)) from error
        return staged

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
        """Make all renames and removals so far survive a power loss.

        So are the folders above: one that was made just now, or by a person, may not be on disk yet.
        """
        folders = sorted({above for touched in self._touched for above in durable.upward(touched)})
        together = len(folders) > FEW_FILES and durable.flushes(self._temporary)
        here = os.fstat(self._temporary).st_dev
        for folder in folders:
            try:
                fd = self._beneath.folder(folder)
                if not together or os.fstat(fd).st_dev != here:
                    os.fsync(fd)
            except FileNotFoundError:
                continue  # removed since: the folder above was touched then
            except OSError as error:
                raise _explained(error, folder) from error
        if together:
            try:
                durable.flush_filesystem(self._temporary)
            except OSError as error:
                raise durable.refused(error, str(self._root)) from error
        self._touched.clear()

    def close(self) -> None:
        """Let go of the folder, and of the undo store's journal."""
        if self._pool is not None:
            self._pool.shutdown()  # it writes into what is closed next
        if self._undo is not None:
            self._undo.close()
        self._beneath.close()
        os.close(self._temporary)

    def _check(self, path: str, expect: Entry | None) -> int | None:
        """Refuse if the path is not as expected, and put what is there into the undo store. Returns its permissions."""
        absent = expect is None and self._stands(path, None)  # so it is with thousands of files of a clone
        if expect is None and not absent:
            self._make_way(path)
        try:
            present = None if absent else self._present(path)
        except OSError as error:
            if error.errno == errno.EIO:  # as expected or not: the disk does not say
                raise durable.unreadable(error, path) from error
            raise ChangedMeanwhile(f"{path} cannot be replaced safely: {error.strerror}") from error
        if (present is None) != (expect is None) or (present and expect and not self._is(present[0], expect)):
            raise ChangedMeanwhile(f"{path} changed while the sync ran")
        found = present[2] if present else None
        if self._undo is not None:
            if present and expect:
                self._undo.keep(path, present[1], expect.mode, stat.S_IMODE(present[2].st_mode) & 0o777)
            else:
                self._undo.keep(path, None, None)
            # The disk was waited for, and an editor may have saved since: that is kept nowhere.
            if not self._stands(path, found):
                raise ChangedMeanwhile(f"{path} changed while the sync ran")
        return stat.S_IMODE(found.st_mode) if found else None

    def _is(self, found: Entry, expect: Entry) -> bool:
        """Whether a file is the one expected; where the filesystem holds no mode, of any."""
        return found == expect or (found.object == expect.object and not durable.holds_modes(self._root / LOCAL_DIR))

    def _permissions_of(self, path: str) -> int | None:
        folder, _, name = path.rpartition("/")
        with suppress(OSError, SatchelError):  # it is gone, and with it what it said
            return stat.S_IMODE(os.stat(name, dir_fd=self._beneath.folder(folder), follow_symlinks=False).st_mode)
        return None

    def _stands(self, path: str, found: os.stat_result | None) -> bool:
        """Whether the file there is the one that was read, or still none is there."""
        folder, _, name = path.rpartition("/")
        try:
            now = os.stat(name, dir_fd=self._beneath.folder(folder), follow_symlinks=False)
        except OSError as error:
            return found is None and isinstance(error, FileNotFoundError)
        return found is not None and _told(now) == _told(found)

    def _make_way(self, path: str) -> None:
        """Remove a folder in a new file's place if no file is below it: nobody's content, and no tree has it."""
        folder, _, name = path.rpartition("/")
        with suppress(OSError):  # there is none, or it is not empty: the check tells
            above = self._beneath.folder(folder)
            if stat.S_ISDIR(os.lstat(name, dir_fd=above).st_mode):
                _remove_empty(name, above)

    def _present(self, path: str) -> tuple[Entry, bytes, os.stat_result] | None:
        try:
            data, found = self._beneath.read(path)
        except FileNotFoundError:
            return None
        mode = "100755" if is_executable(found.st_mode) else "100644"
        return Entry(mode, ObjectId(hashlib.sha256(data).hexdigest())), data, found

    def _put(self, into: int, name: str, content: Staged, was: int | None) -> None:
        """Rename staged content over; beside the target first where that is on another filesystem than ``.satchel``.

        ``was`` are the permissions of what stands there: whoever may not read that may not read this.
        """
        try:
            _permit(content, self._temporary, was)
            os.rename(content.name, name, src_dir_fd=self._temporary, dst_dir_fd=into)
        except OSError as error:
            if error.errno != errno.EXDEV:
                raise
            _drop(content.name, self._temporary)
            try:
                _write_aside(content, into, was)
                _permit(content, into, was)
                os.rename(content.name, name, src_dir_fd=into, dst_dir_fd=into)
            except OSError:
                _drop(content.name, into)
                raise

    def _open_temporary(self) -> int:
        """The folder of files being written, emptied of what a crash left."""
        try:
            above = self._beneath.folder(LOCAL_DIR, create=True)
            with suppress(FileExistsError):
                # For the owner alone: a file in it is as wide as a new one, until it takes the place of a narrower one.
                os.mkdir(_TEMPORARY.rpartition("/")[2], 0o700, dir_fd=above)
            fd = os.dup(self._beneath.folder(_TEMPORARY))
            with os.scandir(fd) as left:
                names = [entry.name for entry in left]
            for name in names:
                _drop(name, fd)
        except OSError as error:
            self._beneath.close()
            raise durable.refused(error, str(self._root / _TEMPORARY)) from error
        return fd


def _told(found: os.stat_result) -> tuple[int, int, int, int]:
    return found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns


def _write_aside(content: Staged, folder: int, was: int | None = None, *, sync: bool = True) -> None:
    permissions = _permissions(content, content.permissions if was is None else was)  # less what the umask takes
    fd = os.open(content.name, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, permissions, dir_fd=folder)
    try:
        durable.write_all(fd, content.data)
        if sync:
            os.fsync(fd)
    finally:
        os.close(fd)


def _permit(content: Staged, folder: int, was: int | None) -> None:
    """Let a staged file be read and written by those who could before; run by the readers, if it is to be run."""
    if was is None:
        return
    kept = _permissions(content, was)
    if stat.S_IMODE(os.stat(content.name, dir_fd=folder).st_mode) != kept:
        with suppress(OSError):  # a filesystem that holds none refuses
            os.chmod(content.name, kept, dir_fd=folder)


def _permissions(content: Staged, most: int) -> int:
    """Read and written by whom ``most`` lets, and run by the readers, if it is to be run."""
    kept = most & 0o666
    return kept | (kept & 0o444) >> 2 if content.mode == "100755" else kept


def _remove_empty(name: str, above: int) -> None:
    """Remove a folder that holds nothing but folders. Raises ``OSError``, and stops, at the first that holds more."""
    fd = os.open(name, FOLDER_FLAGS, dir_fd=above)
    try:
        with os.scandir(fd) as entries:
            inside = [(entry.name, entry.is_dir(follow_symlinks=False)) for entry in entries]
        if not all(is_folder for _, is_folder in inside):
            raise OSError(errno.ENOTEMPTY, os.strerror(errno.ENOTEMPTY))
        for folder, _ in inside:
            _remove_empty(folder, fd)
    finally:
        os.close(fd)
    os.rmdir(name, dir_fd=above)


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
