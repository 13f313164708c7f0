"""``satchel tenant export``: everything the tenant has, into one tar."""

from __future__ import annotations

import fcntl
import os
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import IO

import click

from satchel.cli.face import Face, plural, size
from satchel.cli.hosted import open_remote
from satchel.cli.progress import Progress
from satchel.cli.verb import verb
from satchel.errors import DiskFull, InvalidInput
from satchel.remote import Remote
from satchel.remote.exported import ExportCheck, Exported
from satchel.worktree import durable


@verb(
    "export",
    examples=[
        ("satchel tenant export acme.tar", "Everything the tenant has, in one file."),
        ("satchel tenant export -", "The same as a stream, for `tar -t` to list or another disk to take."),
    ],
    gives="`file`, `bytes`, `files`, `projects`, `leftOut`, `missing` (each with `project`, `path`, `reason`).",
    statuses=(0, 1, 2, 4, 5, 6),
)
@click.argument("file")
@click.option("--url", help="The server.")
def export(face: Face, file: str, url: str | None) -> int:
    """Export everything of the tenant as a tar (admin).

    FILE, or `-` for stdout, gets the files of every project as they are now, settings, members, keys without their
    secrets, grants and the audit. Old versions are not in it. It appears under its name once it is known to be whole:
    the server checks every content, the command that nothing was cut off or changed on the way. What the server's
    storage had lost is left out and named, and the exit status is 1. An operator cannot export a tenant: only its own
    admins read its content.
    """
    if file == "-" and face.json:
        raise InvalidInput("with - the tar is on stdout, and there is no place for JSON", hint="Name a file.")
    remote, progress = open_remote(face, url), Progress(face)
    with closing(remote), closing(progress):
        if file == "-":
            told = _copy(remote, sys.stdout.buffer, progress)
            sys.stdout.buffer.flush()
        else:
            with whole_file(face.cwd / file) as part:
                told = _copy(remote, part, progress)
    for project, path, reason in told.missing:
        face.warn(f"left out: {path} of {project} ({reason})")
    data = {
        "file": file,
        "bytes": told.bytes,
        "files": told.files,
        "projects": told.projects,
        "leftOut": told.left_out,
        "missing": [{"project": project, "path": path, "reason": reason} for project, path, reason in told.missing],
    }
    if file != "-":
        what = f"{plural(told.files, 'file')} of {plural(told.projects, 'project')}, {size(told.bytes)}"
        face.answer(data, lambda: face.note(f"{file}: {what}."))
    if told.left_out:
        face.warn(f"{plural(told.left_out, 'file')} could not be had from the server; everything else is there")
    return 1 if told.left_out else 0


def _copy(remote: Remote, to: IO[bytes], progress: Progress) -> Exported:
    """The whole stream; raises before its last piece is taken for good where it is not whole."""
    total = int(remote.call("GET", "/tenant/usage")["artifacts"])
    check = ExportCheck()
    for piece in remote.export():
        check.feed(piece)
        to.write(piece)
        progress("exporting", min(check.files, total), total, check.bytes)
    return check.result()


@contextmanager
def whole_file(path: Path) -> Iterator[IO[bytes]]:
    """A file that gets its name when the block ends well, durable; else nothing is left of it."""
    if path.exists():
        raise InvalidInput(f"{path} exists already", hint="Name another file, or remove this one.")
    part = path.with_name(path.name + ".part")
    try:
        handle = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise InvalidInput(f"{part} cannot be written: {error.strerror}") from error
    with os.fdopen(handle, "wb") as file:
        if not _is_ours(file, part):
            raise InvalidInput(f"another command is writing {path}", hint="Wait for it, or name another file.")
        yield from _written(file, part, path)


def _is_ours(file: IO[bytes], part: Path) -> bool:
    """Whether nobody else writes the file, nor gave it its name a moment ago; then it is ours until it is closed."""
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        pass  # a filesystem without locks
    try:
        return os.path.samestat(os.fstat(file.fileno()), os.lstat(part))
    except FileNotFoundError:
        return False


def _written(file: IO[bytes], part: Path, path: Path) -> Iterator[IO[bytes]]:
    try:
        file.truncate()  # of one that was killed
        yield file
        file.flush()
        os.fsync(file.fileno())
        os.replace(part, path)
        durable.sync_folder(path.parent)
    except BaseException as error:
        part.unlink(missing_ok=True)
        if isinstance(error, OSError) and error.errno in durable.FULL:
            raise DiskFull(f"there is no space for {path}") from error
        raise
