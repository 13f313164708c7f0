"""``satchel review``, as the person who reviews uses it, and what a search says of it."""

from __future__ import annotations

from pathlib import Path

import pytest

from satchel.cli import review_cmd
from satchel.objects import reviews
from satchel.objects.reviews import REVIEWED_PATH
from tests.cli.conftest import Cli

WARNINGS = "specs/warnings.md"


@pytest.fixture
def project(cli: Cli, here: Path) -> Path:
    cli("init")
    return here


def marked(cli: Cli) -> set[str]:
    return {hit["path"] for hit in cli("search", "reviewed:yes", "-n", "50", "--json").json["hits"]}


def test_a_file_is_reviewed_until_somebody_edits_it(cli: Cli, project: Path) -> None:
    said = cli("review", WARNINGS, "README.md", "--json").json
    assert said == {"project": "lighthouse", "reviewed": ["README.md", WARNINGS], "changed": [], "never": []}
    assert marked(cli) == {"README.md", WARNINGS}
    assert cli("get", WARNINGS, "--json").json["reviewed"]
    before = (project / WARNINGS).read_bytes()
    (project / WARNINGS).write_bytes(before + b"\nOne more line.\n")
    assert marked(cli) == {"README.md"}
    assert not cli("outline", WARNINGS, "--json").json["reviewed"]
    listed = cli("review", "--json").json
    assert (listed["reviewed"], listed["changed"]) == (["README.md"], [WARNINGS])
    assert "context.json" in listed["never"]
    assert REVIEWED_PATH not in listed["never"]
    (project / WARNINGS).write_bytes(before)
    assert marked(cli) == {"README.md", WARNINGS}


def test_a_review_is_withdrawn_and_a_folder_stands_for_its_files(cli: Cli, project: Path) -> None:
    cli("review", "specs", "README.md")
    specs = {path.relative_to(project).as_posix() for path in (project / "specs").iterdir()}
    assert marked(cli) == specs | {"README.md"}
    (project / WARNINGS).unlink()
    assert cli("review", "--json").json["changed"] == [WARNINGS]
    assert cli("review", "--withdraw", "specs/", "--json").json["reviewed"] == []
    assert marked(cli) == {"README.md"}
    assert (project / REVIEWED_PATH).read_text().count("\n") == 1


def test_paths_are_those_of_where_one_stands(cli: Cli, project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(project / "specs")
    assert cli("review", "warnings.md", "--json").json["reviewed"] == [WARNINGS]
    assert "README.md" not in cli("review", ".", "--json").json["reviewed"]
    monkeypatch.chdir(project)
    assert "README.md" in cli("review", ".", "--json").json["reviewed"]


def test_a_program_reads_states_in_lines_and_a_second_review_changes_nothing(cli: Cli, project: Path) -> None:
    cli("review", WARNINGS)
    before = (project / REVIEWED_PATH).stat()
    ran = cli("review", WARNINGS)
    assert (ran.out, "1 file reviewed" in ran.err) == (f"reviewed\t{WARNINGS}\n", True)
    assert (project / REVIEWED_PATH).stat().st_ino == before.st_ino
    assert f"reviewed\t{WARNINGS}\n" in cli("review").out


def test_what_cannot_be_reviewed_is_said(cli: Cli, project: Path) -> None:
    assert "no artifact" in cli("review", "nowhere.md", status=1).err
    assert "not in the list" in cli("review", "--withdraw", WARNINGS, status=1).err
    assert "no artifact" in cli("review", REVIEWED_PATH, status=1).err
    cli("review", "--withdraw", status=2)
    (project / ".satchelignore").write_text("*.tmp\n")
    (project / "a.tmp").write_text("x")
    left_out = cli("review", "a.tmp", status=1).err
    assert "a.tmp is here, but does not belong to project lighthouse" in left_out
    assert cli("get", "a.tmp", status=1).err == left_out
    (project / ".satchelignore").write_text("*.sha256\n")
    assert "path.refused" in cli("review", WARNINGS, status=2).err
    (project / ".satchelignore").unlink()
    (project / REVIEWED_PATH).symlink_to(project / "README.md")
    assert "path.refused" in cli("review", WARNINGS, status=2).err
    assert (project / "README.md").read_text().startswith("#")


def test_a_review_throws_away_nothing_that_stood_in_the_list(
    cli: Cli, project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lists = project / REVIEWED_PATH
    lists.write_bytes(b"# by hand\nnot a line of sha256sum\r\n\n\xff\xfe\n")
    cli("review", WARNINGS)
    once = lists.read_bytes()
    assert once.startswith(b"# by hand\nnot a line of sha256sum\n\xff\xfe\n")
    assert once.endswith(f"  {WARNINGS}\n".encode())
    cli("review", WARNINGS, "README.md")
    assert lists.read_bytes().count(b"not a line of sha256sum") == 1
    long = lists.read_bytes()
    for module in (reviews, review_cmd):
        monkeypatch.setattr(module, "MAX_REVIEWED_BYTES", len(long) - 1)
    refused = cli("review", WARNINGS, status=5)
    assert "reviewed.sha256 has" in refused.err
    assert lists.read_bytes() == long


def test_a_folder_that_is_no_project_gets_no_list(cli: Cli, here: Path) -> None:
    cli("review", WARNINGS, status=2)
    assert not (here / REVIEWED_PATH).exists()
