"""What ``satchel doctor`` finds broken: what a sync or a search could not do, each with the next step."""

from __future__ import annotations

import errno
import os
import tempfile
from pathlib import Path

import pytest

from satchel.worktree.beneath import Beneath
from satchel.worktree.find import local_dir, read_project_config, write_project_config
from tests.cli.conftest import Cli


@pytest.fixture
def synced(cli: Cli, here: Path) -> Path:
    """The sample project, made one and with a remote chosen."""
    cli("init")
    config = read_project_config(here)
    write_project_config(here, type(config)(config.id, config.name, remote_url="http://127.0.0.1:1"))
    return here


def no_room(*_: object, **__: object) -> None:
    raise OSError(errno.ENOSPC, "No space left on device")


def no_writing(*_: object, **__: object) -> None:
    raise OSError(errno.EROFS, "Read-only file system")


def test_a_file_that_cannot_be_read_needs_somebody(cli: Cli, here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(self: Beneath, path: str) -> tuple[int, os.stat_result]:
        if path == "shut.md":
            raise PermissionError(errno.EACCES, "Permission denied", path)
        return real(self, path)

    real = Beneath.open
    cli("init")
    (here / "shut.md").write_text("x")
    monkeypatch.setattr(Beneath, "open", broken)
    assert cli("doctor", "--json", status=1).json["problems"] == [
        "shut.md (Permission denied) cannot be read: make it readable, or leave it out (.satchelignore)"
    ]
    told = cli("doctor", status=1)
    assert "Problem: shut.md (Permission denied) cannot be read" in told.out
    assert "Nothing needs you" not in told.err


@pytest.mark.parametrize("rules", [".gitignore", ".git/info/exclude"])
def test_rules_of_the_whole_project_that_cannot_be_read_are_named(
    cli: Cli, here: Path, monkeypatch: pytest.MonkeyPatch, rules: str
) -> None:
    def broken(self: Beneath, path: str) -> tuple[int, os.stat_result]:
        if path == rules:
            raise PermissionError(errno.EACCES, "Permission denied", path.rpartition("/")[2])
        return real(self, path)

    real = Beneath.open
    cli("init")
    (here / ".gitignore").write_text("*.tmp\n")
    monkeypatch.setattr(Beneath, "open", broken)
    told = cli("search", "warning", status=None)
    assert rules in told.err
    assert "Permission denied" in told.err
    assert told.out == ""  # a hit may be what the rules were to keep out


def test_a_full_disk_needs_somebody(cli: Cli, here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cli("init")
    monkeypatch.setattr(tempfile, "TemporaryFile", no_room)
    assert f"Problem: no space left to write {local_dir(here)}" in cli("doctor", status=1).out


def test_a_folder_that_cannot_be_written_is_a_problem_where_it_is_to_be_synced(
    cli: Cli, synced: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = os.access
    monkeypatch.setattr(os, "access", lambda path, *how: path != synced / "decisions" and real(path, *how))
    (problem,) = cli("doctor", "--json", status=1).json["problems"]
    assert problem == "decisions cannot be written: what others change there cannot be fetched"


def test_a_project_on_a_read_only_disk_is_searched_all_the_same(
    cli: Cli, here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cli("init")
    monkeypatch.setattr(tempfile, "TemporaryFile", no_writing)
    monkeypatch.setattr(os, "access", lambda path, how: not how & os.W_OK)
    found = cli("doctor", "--json").json
    assert found["problems"] == []
    assert found["notices"] == [
        f"cannot write {local_dir(here)}: Read-only file system: it can be searched, and not be synced"
    ]


def test_doctor_leaves_nothing_behind(cli: Cli, here: Path) -> None:
    cli("init")
    before = sorted(local_dir(here).rglob("*"))
    assert cli("doctor", "--json").json["problems"] == []
    assert sorted(local_dir(here).rglob("*")) == before
