"""Running the command line: in this process where only its words matter, as a process where its surroundings do."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from satchel.cli.main import run

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
def cli(capsys: pytest.CaptureFixture[str]) -> Cli:
    """Run a command line in this process: ``cli("search", "x", status=0)``."""

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
