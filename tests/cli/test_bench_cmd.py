"""``satchel bench`` measures aside and leaves nothing."""

from __future__ import annotations

import tempfile
from pathlib import Path

import pytest

from tests.cli.conftest import Cli


def test_it_measures_and_changes_nothing(cli: Cli, here: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    aside = tmp_path / "aside"
    aside.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(aside))
    before = {path: path.read_bytes() for path in here.rglob("*") if path.is_file()}
    told = cli("bench", "--questions", "3", "--json").json
    assert 0 < told["files"] <= len(before)
    assert 0 < told["questions"] <= 3
    assert told["searchP50Ms"] <= told["searchP95Ms"]
    assert {path: path.read_bytes() for path in here.rglob("*") if path.is_file()} == before
    assert list(aside.iterdir()) == []


def test_a_folder_without_files_has_nothing_to_ask_for(
    cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    told = cli("bench", "--json").json
    assert (told["files"], told["questions"], told["searchP50Ms"]) == (0, 0, None)
    assert "0 files" in cli("bench").out
