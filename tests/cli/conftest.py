"""Running the command line: in this process where only its words matter, as a process where its surroundings do."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest

from satchel.cli.main import run

if TYPE_CHECKING:
    from tests.server.running import Running

RECOMPILING = "PYTHONDONTWRITEBYTECODE"
SATCHEL = (sys.executable, "-m", "satchel.cli.main")


class Ran(NamedTuple):
    """What a command left behind."""

    status: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


Cli = Callable[..., Ran]


@pytest.fixture
def cli(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Cli:
    """Run a command line in this process: ``cli("search", "x", status=0)``."""
    monkeypatch.chdir(Path.cwd())  # where it ends too, whatever `-C` was given

    def call(*words: str | Path, status: int | None = 0) -> Ran:
        capsys.readouterr()
        ended = run([str(word) for word in words])
        out, err = capsys.readouterr()
        assert status is None or ended == status, f"{words} ended with {ended}:\n{out}\n{err}"
        return Ran(ended, out, err)

    return call


@pytest.fixture
def here(sample_project: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The sample project, with the test standing in it."""
    monkeypatch.chdir(sample_project)
    return sample_project


def process(*words: str, cwd: Path, env: dict[str, str] | None = None, **how: Any) -> subprocess.CompletedProcess[str]:
    """Run a command line as a process of its own."""
    return subprocess.run(
        [*SATCHEL, *words],
        cwd=cwd,
        env={**{name: value for name, value in os.environ.items() if name != RECOMPILING}, **(env or {})},
        capture_output=True,
        text=True,
        timeout=60,
        **how,
    )


# Repositories that were exported ------------------------------------------------------------------------------------

Tree = dict[str, tuple[bool, bytes]]
"""Path to whether it is executable, and its bytes."""


def git(repository: Path, *words: str, given: str | None = None) -> bytes:
    sent = None if given is None else given.encode()
    return subprocess.run(["git", "-C", str(repository), *words], input=sent, capture_output=True, check=True).stdout


def commits(repository: Path) -> list[str]:
    """The ids, oldest first."""
    return git(repository, "rev-list", "--reverse", "HEAD").decode().split()


def tree(repository: Path, commit: str) -> Tree:
    """The files of a commit as they are stored, whatever attributes would make of them in a checkout."""
    rows = [row.split("\t") for row in git(repository, "ls-tree", "-rz", commit).decode().split("\0")[:-1]]
    stored = git(repository, "cat-file", "--batch", given="".join(f"{about.split()[2]}\n" for about, _ in rows))
    found: Tree = {}
    for about, path in rows:
        head, _, stored = stored.partition(b"\n")
        size = int(head.split()[2])
        found[path] = (about.startswith("100755"), stored[:size])
        stored = stored[size + 1 :]
    return found


def folder(root: Path) -> Tree:
    paths = [path for path in root.rglob("*") if path.is_file() and not {".satchel", ".git"} & set(path.parts)]
    return {str(path.relative_to(root)): (bool(path.stat().st_mode & 0o100), path.read_bytes()) for path in paths}


@pytest.fixture
def signed_in(running: Running, here: Path, monkeypatch: pytest.MonkeyPatch) -> Running:
    """The test's own ``running`` server, with its admin's key for the command line."""
    monkeypatch.setenv("SATCHEL_URL", running.url)
    monkeypatch.setenv("SATCHEL_KEY", running.admin.key or "")
    return running
