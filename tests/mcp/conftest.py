"""A reader over the sample project, in this process and behind ``serve`` in another."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from satchel.context.local import LocalProject, LocalReader
from satchel.worktree.ignore import Rules

SERVER = """
import sys
from pathlib import Path
from satchel.context.local import LocalProject, LocalReader
from satchel.mcp import stdio
from satchel.worktree.ignore import Rules
root, own = Path(sys.argv[1]), Path(sys.argv[2])
project = LocalProject("lighthouse", "prj_l" + "0" * 25, root, Rules(), own / "state.db", own / "index.db")
stdio.serve(LocalReader([project]), sys.stdin.buffer, sys.stdout.buffer)
if len(sys.argv) > 3:
    Path(sys.argv[3]).write_text("\\n".join(sorted(sys.modules)))
"""


@pytest.fixture
def reader(sample_project: Path) -> Iterator[LocalReader]:
    own = sample_project / ".satchel"
    project = LocalProject(
        "lighthouse", "prj_l" + "0" * 25, sample_project, Rules(), own / "state.db", own / "index.db"
    )
    reader = LocalReader([project])
    yield reader
    reader.close()


@pytest.fixture
def server_command(sample_project: Path, tmp_path: Path) -> list[str]:
    """Starts the stdio server over the sample project."""
    return [sys.executable, "-c", SERVER, str(sample_project), str(tmp_path / "own")]
