"""A new git repository, filled by ``git fast-import``: whole under its name, or not there at all.

Git runs without the settings, templates and hooks of whoever calls: the same history gives the same repository
everywhere, and the files checked out are those of the project byte for byte.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

from satchel.cli.gitstream import BRANCH
from satchel.errors import ConfigInvalid, DiskFull, InvalidInput
from satchel.worktree.durable import FolderUnwritable

WITHOUT_GIT = (
    "Install git. Or write the history as a stream, and let git read it elsewhere:\n"
    "  satchel export --stream > history.stream\n"
    f"  git init FOLDER && git -C FOLDER fast-import < history.stream && git -C FOLDER checkout {BRANCH}"
)
_AS_STORED = "* -text -ident -filter -working-tree-encoding\n"
"""No conversion on the way to the disk, whatever a `.gitattributes` of the project says."""


def check_target(target: Path, project: Path) -> None:
    """Raises ``InvalidInput`` unless ``target`` is free: absent or an empty folder, and outside of the project."""
    if os.path.lexists(target):
        if target.is_symlink() or not target.is_dir():
            raise InvalidInput(f"{target} is there already and is no folder", hint="Name a new folder.")
        if any(target.iterdir()):
            raise InvalidInput(f"{target} is not empty; nothing is written over", hint="Name a new folder.")
    elif not target.parent.is_dir():
        raise InvalidInput(f"there is no folder {target.parent}", hint="Make it first, or name another place.")
    if target.resolve().is_relative_to(project.resolve()):
        raise InvalidInput(f"{target} is in the project itself", hint="Name a folder outside of it.")


@contextmanager
def new_repository(target: Path) -> Iterator[IO[bytes]]:
    """Where to write the stream. When the block ends well the repository is at ``target``, checked out.

    Raises ``ConfigInvalid`` without git, ``DiskFull`` and ``FolderUnwritable``; nothing is left of it then.
    """
    git = shutil.which("git")
    if git is None:
        raise ConfigInvalid("git is not installed on this machine, or not on PATH", hint=WITHOUT_GIT)
    part = target.with_name(f".{target.name}.{os.urandom(4).hex()}.part")
    try:
        try:
            part.mkdir()
        except OSError as error:
            raise FolderUnwritable(f"{target.parent} cannot be written: {error.strerror}") from error
        _git(git, part, "init", "--quiet", "--template=", ".")
        _git(git, part, "symbolic-ref", "HEAD", f"refs/heads/{BRANCH}")
        with _fast_import(git, part) as stream:
            yield stream
        attributes = part / ".git" / "info" / "attributes"
        attributes.parent.mkdir(exist_ok=True)
        attributes.write_text(_AS_STORED)
        _git(git, part, "checkout", "--quiet", "--force", BRANCH)
        attributes.unlink()
        try:
            if target.exists():
                target.rmdir()
            part.rename(target)
        except OSError as error:
            raise FolderUnwritable(f"{target} cannot be written: {error.strerror}") from error
    finally:
        shutil.rmtree(part, ignore_errors=True)


def head_of(repository: Path) -> str:
    """The id of its newest commit."""
    git = shutil.which("git") or "git"
    return _git(git, repository, "rev-parse", "HEAD").strip()


@contextmanager
def _fast_import(git: str, folder: Path) -> Iterator[IO[bytes]]:
    with tempfile.TemporaryFile() as said:
        # Names that differ in case alone are two names, on a Mac too.
        process = subprocess.Popen(
            [git, "-c", "core.ignoreCase=false", "fast-import", "--quiet", "--done"],
            cwd=folder, env=_environment(git), stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=said,
        )  # fmt: skip
        assert process.stdin is not None
        try:
            try:
                yield process.stdin
                process.stdin.close()
            except BrokenPipeError:  # git ended first, and says why
                process.wait()
            if process.wait() != 0:
                said.seek(0)
                raise _failed(said.read(1 << 16).decode("utf-8", "replace"))
        finally:
            with suppress(OSError):
                process.stdin.close()
            process.kill()
            process.wait()


def _git(git: str, folder: Path, *words: str) -> str:
    done = subprocess.run([git, *words], cwd=folder, env=_environment(git), capture_output=True, check=False)
    if done.returncode != 0:
        raise _failed(done.stderr.decode("utf-8", "replace"))
    return done.stdout.decode("utf-8", "replace")


def _failed(said: str) -> DiskFull | FolderUnwritable:
    lines = said.strip().splitlines() or ["it did not say why"]
    if "No space left" in said or "quota exceeded" in said.lower():
        return DiskFull("there is no space for the repository")
    return FolderUnwritable(f"git could not write the repository: {lines[0]}")


def _environment(git: str) -> dict[str, str]:
    """All that git is to know: nothing of the caller's, whose variables may point it elsewhere."""
    return {
        "PATH": os.pathsep.join([os.path.dirname(git), os.defpath]),
        "GIT_CONFIG_GLOBAL": os.devnull,
        "GIT_CONFIG_NOSYSTEM": "1",
        "GIT_DEFAULT_HASH": "sha1",
        "LC_ALL": "C",
    }
