"""Files that somebody else wrote, made to survive a power loss before the base says that the folder has them.

An editor or an agent that saves a file seldom syncs it. Would the base know of content that the disk then forgets, the
next sync would take the old file for an edit, and the missing one for a deletion.
"""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Collection, Set
from contextlib import closing
from pathlib import Path

from satchel.worktree import durable
from satchel.worktree.base import Base
from satchel.worktree.beneath import Beneath

FEW_FILES = 64
"""More are flushed with all else on their filesystem: 8,000 of 12 KB one by one would take seconds."""
_LOST = {errno.EIO, errno.ENOSPC, errno.EDQUOT}


def flush_news(root: Path, base: Base, saved: Base | None, written: Set[str]) -> None:
    """Flush what ``base`` newly knows of: its files that ``saved`` did not know so, and those that are gone.

    ``written`` is on disk already. Raises as ``flush``.
    """
    old = saved.cloud if saved is not None else {}
    differ = {path: entry for path, entry in base.cloud.items() if entry is not old.get(path)}
    news = {path for path, entry in differ.items() if path not in old or entry[:2] != old[path][:2]}
    flush(root, news - written, old.keys() - base.cloud.keys() - written)


def flush(root: Path, files: Collection[str], gone: Collection[str]) -> None:
    """Sync ``files`` with the folders they are in, and the folders that ``gone`` ones were in.

    What is not there any more needs nothing. Raises ``DiskFull`` or ``FolderUnwritable`` where the disk refuses.
    """
    if not files and not gone:
        return
    together = len(files) + len(gone) > FEW_FILES
    folders = {above for path in (*files, *gone) for above in durable.upward(path.rpartition("/")[0])}
    try:
        if together:
            _flush_filesystem(root)
        with closing(Beneath(root)) as beneath:
            if together:  # what is mounted inside has a filesystem of its own
                here = os.stat(root).st_dev
                folders = {folder for folder in folders if _device(beneath, folder) not in (here, None)}
            for path in files:
                if path.rpartition("/")[0] in folders:
                    _sync_file(beneath, path)
            for folder in sorted(folders):
                _sync_folder(beneath, folder)
    except OSError as error:
        raise durable.refused(error, str(root)) from error


def _device(beneath: Beneath, folder: str) -> int | None:
    try:
        return os.fstat(beneath.folder(folder)).st_dev
    except OSError as error:
        _raise_if_lost(error)
        return None


def _sync_file(beneath: Beneath, path: str) -> None:
    try:
        fd, _ = beneath.open(path)
    except OSError as error:
        _raise_if_lost(error)
        return
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def _sync_folder(beneath: Beneath, folder: str) -> None:
    try:
        fd = beneath.folder(folder)
    except OSError as error:
        _raise_if_lost(error)
        return
    os.fsync(fd)


def _raise_if_lost(error: OSError) -> None:
    if error.errno in _LOST:
        raise error


def _flush_filesystem(root: Path) -> None:
    if sys.platform != "linux":
        os.sync()
        return
    fd = os.open(root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        durable.flush_filesystem(fd)
    finally:
        os.close(fd)
