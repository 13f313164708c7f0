from __future__ import annotations

import os
import unicodedata
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from satchel.worktree.names import typed_name
from satchel.worktree.walk import Worktree

COMPOSED = unicodedata.normalize("NFC", "caf\u00e9.md")
DECOMPOSED = unicodedata.normalize("NFD", COMPOSED)


class Decomposed:
    """An entry of a folder as HFS+ gives it back."""

    def __init__(self, entry: os.DirEntry[str]) -> None:
        self._entry = entry
        self.name = unicodedata.normalize("NFD", entry.name)

    def is_dir(self, *, follow_symlinks: bool = True) -> bool:
        return self._entry.is_dir(follow_symlinks=follow_symlinks)

    def stat(self, *, follow_symlinks: bool = True) -> os.stat_result:
        return self._entry.stat(follow_symlinks=follow_symlinks)


def test_a_disk_that_decomposes_names_holds_the_files_under_their_composed_names(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = os.scandir

    @contextmanager
    def decomposing(path: str) -> Iterator[list[Decomposed]]:
        with real(path) as found:
            yield [Decomposed(entry) for entry in found]

    folder = tmp_path / "d\u00e9p\u00f4t"
    folder.mkdir()
    (folder / COMPOSED).write_text("one\n")
    monkeypatch.setattr(os, "scandir", decomposing)
    worktree = Worktree.open(tmp_path, state_path=tmp_path / "state")
    path = f"d\u00e9p\u00f4t/{COMPOSED}"
    first = worktree.scan().tree[path]
    (folder / COMPOSED).write_text("two, longer\n")
    assert worktree.scan().tree[path] != first
    assert not [item for item in worktree.scan().left_out if item.reason == "bad-name"]
    worktree.close()


def test_elsewhere_a_decomposed_name_is_another_file_and_is_left_out(tmp_path: Path) -> None:
    (tmp_path / DECOMPOSED).write_text("x")
    scan = Worktree.open(tmp_path).scan()
    assert scan.tree == {}
    assert [item.reason for item in scan.left_out] == ["bad-name"]
    (tmp_path / COMPOSED).write_text("y")
    assert list(Worktree.open(tmp_path).scan().tree) == [COMPOSED]


def test_a_name_typed_in_another_case_is_the_one_that_the_disk_lists(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "Docs").mkdir()
    (tmp_path / "Docs/README.md").write_text("x")
    assert typed_name(str(tmp_path), "docs/readme.md") == "docs/readme.md"  # a disk that tells them apart
    real = os.lstat

    def folding(path: str) -> os.stat_result:
        there = {str(each).lower(): each for each in (tmp_path / "Docs", tmp_path / "Docs/README.md")}
        return real(there.get(str(path).lower(), path))

    def listing(path: str) -> list[str]:
        return {"": ["Docs"], "/docs": ["README.md", "other.md"]}[str(path).lower().removeprefix(str(tmp_path).lower())]

    monkeypatch.setattr(os, "lstat", folding)
    monkeypatch.setattr(os, "listdir", listing)
    assert typed_name(str(tmp_path), "docs/readme.MD") == "Docs/README.md"
    assert typed_name(str(tmp_path), "Docs/README.md") == "Docs/README.md"
    assert typed_name(str(tmp_path), "docs/none.md") == "docs/none.md"
    assert typed_name(str(tmp_path), "../docs") == "../docs"
