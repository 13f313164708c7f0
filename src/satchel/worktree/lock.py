"""One writing command at a time in a folder: a ``flock`` on ``.satchel/lock``, released by the kernel at exit."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from satchel.errors import Busy
from satchel.worktree import durable
from satchel.worktree.find import local_dir


@contextmanager
def folder_lock(root: Path) -> Iterator[None]:
    """Hold the folder. Raises ``Busy`` at once where another process holds it."""
    with file_lock(local_dir(root) / "lock", wait=False):
        yield


@contextmanager
def file_lock(path: Path, *, wait: bool) -> Iterator[None]:
    """Hold ``path``, which is made if missing and stays. Without ``wait`` raises ``Busy`` where it is held."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise durable.refused(error, str(path)) from error
    try:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        except BlockingIOError as error:
            raise Busy("another satchel command is at work in this folder") from error
        yield
    finally:
        os.close(fd)
