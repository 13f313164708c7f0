"""Folders to ask, and readers over them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from satchel.context.local import LocalProject, LocalReader
from satchel.worktree.ignore import Rules

MakeReader = Callable[..., LocalReader]


def local_project(root: Path, slug: str = "lighthouse", own: Path | None = None) -> LocalProject:
    own = own or root / ".satchel"
    name = f"prj_{slug[:1]}" + "0" * 25
    return LocalProject(slug, name, root, Rules(), own / "state.db", own / "index.db")


@pytest.fixture
def make_reader() -> Iterator[MakeReader]:
    """Makes readers that are closed when the test ends."""
    readers: list[LocalReader] = []

    def make(*projects: LocalProject) -> LocalReader:
        readers.append(LocalReader(projects))
        return readers[-1]

    yield make
    for reader in readers:
        reader.close()


@pytest.fixture
def reader(sample_project: Path, make_reader: MakeReader) -> LocalReader:
    return make_reader(local_project(sample_project))
