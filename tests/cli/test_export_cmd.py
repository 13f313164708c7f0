"""``satchel export`` without a server: what becomes of a folder, and what is refused."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.cli.conftest import Cli, commits, folder, git, tree
from tests.sample import SAMPLE_IGNORED


@pytest.mark.promise("P11")
def test_a_project_without_a_remote_is_one_commit_of_what_belongs_to_it(cli: Cli, here: Path, tmp_path: Path) -> None:
    cli("init")
    (here / ".satchelignore").write_text("left-out.md\n")
    (here / "left-out.md").write_text("not mine\n")
    told = [cli("export", tmp_path / name, "--json").json for name in ("one", "two")]
    repository = tmp_path / "one"
    assert told[0]["commit"] == told[1]["commit"] == commits(repository)[-1]
    left_out = {"left-out.md", *SAMPLE_IGNORED}
    belongs = {path: file for path, file in folder(here).items() if path not in left_out}
    assert tree(repository, "HEAD") == belongs
    assert (told[0]["commits"], told[0]["version"]) == (1, None)
    assert git(repository, "fsck", "--strict", "--no-dangling") == b""
    assert "one commit" in cli("export", tmp_path / "three").err
    assert cli("export", tmp_path / "four", "-q").err == ""


def test_a_target_that_is_taken_is_refused_and_a_failure_leaves_nothing(
    cli: Cli, here: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cli("init")
    place = tmp_path / "place"
    place.mkdir()
    (place / "taken").mkdir()
    (place / "taken/mine.txt").write_text("mine\n")
    (place / "file").write_text("mine\n")
    for name in (place / "taken", place / "file", place / "no/parent", here / "inside"):
        assert "[request.invalid]" in cli("export", name, status=2).err
    assert "[request.invalid]" in cli("export", status=2).err
    assert "[request.invalid]" in cli("export", place / "x", "--stream", status=2).err
    monkeypatch.setattr("satchel.cli.gitstream.GitStream.end", lambda stream: stream._write(b"nonsense\n"))
    assert "git could not write the repository" in cli("export", place / "x", status=6).err
    monkeypatch.setattr("satchel.cli.gitstream.GitStream.end", lambda _: None)
    cli("export", place / "x", status=6)  # a stream that merely stops is no repository either
    monkeypatch.undo()
    monkeypatch.chdir(here)
    monkeypatch.setenv("PATH", str(place))
    without = cli("export", place / "x", status=2)
    assert "git is not installed" in without.err
    assert "satchel export --stream" in without.err
    assert sorted(path.name for path in place.iterdir()) == ["file", "taken"]
    assert [path.name for path in (place / "taken").iterdir()] == ["mine.txt"]


@pytest.mark.promise("P1")
def test_exporting_a_local_project_loads_no_network_code(cli: Cli, here: Path, tmp_path: Path) -> None:
    cli("init")
    probe = (
        "import json, sys; from satchel.cli.main import run; run(sys.argv[1:]); "
        "print(json.dumps(sorted(sys.modules)), file=sys.stderr)"
    )
    done = subprocess.run(
        [sys.executable, "-c", probe, "export", str(tmp_path / "git"), "-q"], cwd=here, capture_output=True, check=True
    )
    loaded = set(json.loads(done.stderr))
    assert not loaded & {"socket", "ssl", "http", "asyncio", "satchel.remote", "satchel.server", "satchel.sync"}
