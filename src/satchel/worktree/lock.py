"""One writing command at a time in a folder: a ``flock`` on ``.satchel/lock``, released by the kernel at exit."""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from satchel.errors import Busy, DiskFull
from satchel.worktree import durable
from satchel.worktree.find import local_dir

LOOK_SECONDS = 0.01
PATIENCE_SECONDS = 10.0
"""How long a command waits for whoever else is at work in the folder: mostly a watch that syncs what was just saved, or
an agent, which writes in milliseconds."""


@contextmanager
def folder_lock(root: Path, *, writes: bool = True) -> Iterator[None]:
    """Hold the folder. Raises ``Busy`` where another process does not let go of it within ``PATIENCE_SECONDS``.

    Who writes nothing goes on without where the folder cannot be written: on a disk mounted read-only, say.
    """
    with ExitStack() as held:
        try:
            held.enter_context(file_lock(local_dir(root) / "lock", wait=False, patience=PATIENCE_SECONDS))
        except (durable.FolderUnwritable, DiskFull):
            if writes:
                raise
        yield


@contextmanager
def file_lock(path: Path, *, wait: bool, patience: float = 0) -> Iterator[None]:
    """Hold ``path``, which is made if missing and stays. Without ``wait`` raises ``Busy`` where it is held, and is so
    still after ``patience`` seconds."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise durable.refused(error, str(path)) from error
    try:
        until = time.monotonic() + patience
        while True:
            try:
                fcntl.flock(fd, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
                break
            except BlockingIOError as error:
                if time.monotonic() >= until:
                    raise Busy("another satchel command is at work in this folder") from error
                time.sleep(LOOK_SECONDS)
        yield
    finally:
        os.close(fd)
