"""Which file is meant by a path as a person types it."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from satchel.cli.face import Face
from satchel.cli.folders import in_project, paths_in
from satchel.config.machine import Machine
from satchel.errors import InvalidInput
from satchel.objects.ids import Digest, Lineage, ObjectId
from satchel.worktree.base import Base, CloudEntry, save_base
from tests.cli.conftest import Cli


@pytest.fixture
def below(cli: Cli, here: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of a project in step with a version that had files which are gone."""
    cli("init")
    entry = CloudEntry("100644", ObjectId("a" * 64), 1, "Sam", 0)
    gone = dict.fromkeys(("runbooks/gone.md", "runbooks/old/gone.md", "at-root.md"), entry)
    save_base(here, Base(Lineage("l"), 1, Digest("d" * 64), gone, {}))
    (here / "runbooks/README.md").write_text("# Runbooks\n")
    monkeypatch.chdir(here / "runbooks")
    return here / "runbooks"


@pytest.mark.parametrize(
    "words", [["review"], ["review", "--withdraw"], ["get"], ["outline"], ["resolve", "--take", "local"]]
)
def test_an_empty_path_is_not_the_whole_project(cli: Cli, below: Path, words: list[str]) -> None:
    assert "the path is empty" in cli(*words, "", status=2).err
    assert not (below.parent / "reviewed.sha256").exists()


@pytest.mark.parametrize("verb", ["get", "outline", "review"])
def test_a_file_that_cannot_be_read_is_not_said_to_be_absent(
    cli: Cli, below: Path, monkeypatch: pytest.MonkeyPatch, verb: str
) -> None:
    def shut(path: object, *how: object, **more: object) -> int:
        if str(path).endswith("shut.md"):
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        return real(path, *how, **more)  # type: ignore[arg-type]

    real = os.open
    (below / "shut.md").write_text("x")
    monkeypatch.setattr(os, "open", shut)
    assert "cannot read runbooks/shut.md: Permission denied" in cli(verb, "shut.md", status=6).err


@pytest.mark.parametrize("pattern", ["", "  ", "# docs"])
def test_a_pattern_that_matches_nothing_leaves_the_project_as_it_is(cli: Cli, below: Path, pattern: str) -> None:
    before = (below.parent / ".satchel/config.toml").read_bytes()
    for option in ("--include", "--exclude"):
        assert "matches nothing" in cli("init", option, pattern, status=2).err
    assert (below.parent / ".satchel/config.toml").read_bytes() == before


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        ("README.md", "runbooks/README.md"),  # there is one at the root as well
        ("./README.md", "runbooks/README.md"),
        ("../README.md", "README.md"),
        ("runbooks/failover.md", "runbooks/failover.md"),
        ("context.json", "context.json"),
        ("gone.md", "runbooks/gone.md"),
        ("old/gone.md", "runbooks/old/gone.md"),
        ("../at-root.md", "at-root.md"),
        ("at-root.md", "at-root.md"),
        ("runbooks/gone.md", "runbooks/gone.md"),
        ("never.md", "runbooks/never.md"),
        ("runbooks/never.md", "runbooks/never.md"),
        ("never/there.md", "never/there.md"),
        (".", "runbooks"),
        ("..", ".."),
    ],
)
def test_a_path_is_meant_from_where_one_stands_else_from_the_project(below: Path, typed: str, meant: str) -> None:
    assert in_project(Face(Machine()), typed) == meant


def test_files_that_may_travel_are_named_in_the_same_way(below: Path) -> None:
    face, root = Face(Machine()), below.parent
    assert paths_in(face, root, ("README.md", "runbooks/failover.md")) == ("runbooks/README.md", "runbooks/failover.md")
    with pytest.raises(InvalidInput, match=r"gone\.md is not a file"):
        paths_in(face, root, ("gone.md",))


def test_a_decomposed_name_means_the_file_of_the_composed_one_unless_there_are_two(below: Path, cli: Cli) -> None:
    typed, name = "cafe\u0301.md", "caf\u00e9.md"
    face = Face(Machine())
    (below / name).write_text("# composed\n")
    assert in_project(face, typed) == f"runbooks/{name}"
    (below.parent / name).write_text("# at the root\n")
    assert cli("get", f"../{typed}", "-C", str(below.parent / "specs")).out == "# at the root\n"
    (below / name).unlink()
    (below.parent / name).unlink()
    (below / typed).write_text("# another, which is left out\n")
    (below / name).write_text("# composed\n")
    assert in_project(face, typed) == f"runbooks/{typed}"
    assert "does not belong" in cli("get", f"runbooks/{typed}", "-C", str(below.parent), status=1).err
