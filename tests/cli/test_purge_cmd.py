"""What ``satchel purge`` says and how it ends."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.cli.conftest import Cli


@pytest.fixture
def answers(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """What the server answers to the purge, to be changed by the test."""
    answer: dict[str, Any] = {
        "paths": ["a.md"], "objects": 1, "version": 4, "packs": 1, "bytes": 9, "shared": [], "unreachable": ["Backups."]
    }  # fmt: skip

    asked = answer["asked"] = []

    class Server:
        def project(self, _ref: str) -> dict[str, str]:
            return {"slug": "acme"}

        def call(self, _method: str, _path: str, *, json: dict[str, Any]) -> dict[str, Any]:
            asked.append(json["paths"])
            return answer

    monkeypatch.setattr("satchel.cli.purge_cmd.open_remote", lambda *_given: Server())
    monkeypatch.setattr("satchel.cli.purge_cmd.project_remote", lambda _face: (None, Server(), "acme"))
    return answer


def test_a_purge_says_what_went_and_what_no_server_reaches(cli: Cli, here: Path, answers: dict[str, Any]) -> None:
    ran = cli("purge", "a.md", "--project", "acme", "--yes")
    assert "a.md  purged" in ran.out
    assert "Backups." in ran.err


def test_a_dry_run_asks_nobody_and_says_what_would_go(cli: Cli, here: Path, answers: dict[str, Any]) -> None:
    ran = cli("purge", "a.md", "--project", "acme", "--dry-run")
    assert "a.md  would be purged" in ran.out
    assert "1 content would be removed, and 1 pack (9 B) written anew" in ran.err
    assert "Nothing was changed" in ran.err


def test_content_that_stayed_is_no_success_and_names_the_way(cli: Cli, here: Path, answers: dict[str, Any]) -> None:
    answers |= {"paths": [], "objects": 0, "shared": [{"path": "a.md", "others": ["b.md"]}]}
    ran = cli("purge", "a.md", "--project", "acme", "--yes", status=1)
    assert "a.md  NOT purged: the same content is in b.md" in ran.out
    assert "--everywhere" in ran.err
    assert "Nothing was left" not in ran.err
    answers |= {"paths": ["a.md"], "objects": 1}
    assert "a.md  kept in part" in cli("purge", "a.md", "--project", "acme", "--yes", status=1).out


def test_purging_again_is_done_and_says_so(cli: Cli, here: Path, answers: dict[str, Any]) -> None:
    answers |= {"objects": 0}
    assert "Nothing was left to remove" in cli("purge", "a.md", "--project", "acme", "--yes").err


def test_a_file_is_meant_from_where_one_stands_and_in_another_project_as_it_is_named(
    cli: Cli, here: Path, answers: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    cli("init")
    (here / "runbooks/README.md").write_text("# Runbooks\n")
    monkeypatch.chdir(here / "runbooks")
    cli("purge", "README.md", "--yes")
    cli("purge", "README.md", "--project", "acme", "--yes")
    assert answers["asked"] == [["runbooks/README.md"], ["README.md"]]
