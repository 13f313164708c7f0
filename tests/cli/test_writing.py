"""`satchel mcp --write` in a folder: what an agent writes, what it may not, and how it is taken back."""

from __future__ import annotations

import itertools
import json
import os
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from satchel.cli.folders import local_project
from satchel.cli.main import run
from satchel.cli.writing import FolderWriter
from satchel.context.writing import Note, Put
from satchel.errors import Busy, NotAProject, PathRefused, PreconditionFailed, TooLarge
from satchel.objects.ids import object_id
from satchel.worktree.lock import folder_lock
from satchel.worktree.undo import BOUNDS
from tests.cli.conftest import Cli, process

DAY_NS = 1_769_868_185 * 10**9  # 2026-01-31 14:03:05 UTC


@pytest.fixture
def folder(here: Path) -> Path:
    assert run(["init", "--name", "lighthouse", "--quiet"]) == 0
    return here


@pytest.fixture
def write(folder: Path) -> FolderWriter:
    return FolderWriter([local_project(folder)], BOUNDS, itertools.count(DAY_NS, 1_000_000).__next__)


def test_a_text_is_written_and_undo_takes_it_back(write: FolderWriter, folder: Path, cli: Cli) -> None:
    before = (folder / "README.md").read_bytes()
    (folder / "README.md").chmod(0o755)
    made = write(Put("lighthouse", "README.md", "# New\n", object_id(before)))
    assert (folder / "README.md").read_bytes() == b"# New\n"
    assert os.access(folder / "README.md", os.X_OK)
    assert made == {
        "project": "lighthouse", "path": "README.md", "object": object_id(b"# New\n"), "size": 6, "changed": True,
        "lines": None, "digest": cli("context", "--json").json["digest"],
        "version": None, "author": None, "modified": None,
    }  # fmt: skip
    dry = cli("undo", "--dry-run")
    assert "would be as before" in dry.err
    assert cli("undo").out == dry.out
    assert (folder / "README.md").read_bytes() == before


@pytest.mark.promise("P3")
def test_every_edit_that_is_kept_can_be_taken_back_by_its_step(write: FolderWriter, folder: Path, cli: Cli) -> None:
    for path in ("a.md", "b.md", "c.md"):
        write(Put("lighthouse", path, f"# {path}\n", None))
    steps = cli("undo", "--list", "--json").json["steps"]
    assert [(step["kind"], step["paths"], step["files"]) for step in steps] == [
        ("edit", [path], 1) for path in ("c.md", "b.md", "a.md")
    ]
    assert cli("undo", steps[2]["step"], "--json").json["restored"] == ["a.md"]
    assert [(folder / path).exists() for path in ("a.md", "b.md", "c.md")] == [False, True, True]
    assert "[undo.nothing]" in cli("undo", steps[2]["step"], status=1).err  # it is taken back already
    first, *rest = cli("undo", "--list").out.splitlines()
    assert "undo" in first
    assert "a.md" in first
    assert [line.split()[0] for line in rest] == [steps[0]["step"], steps[1]["step"]]
    told = cli("undo").err  # undoes the undo, and says how to go further back
    assert (folder / "a.md").exists()
    assert "satchel undo --list" in told


def test_a_step_is_taken_back_only_where_the_file_is_as_it_left_it(write: FolderWriter, folder: Path, cli: Cli) -> None:
    made = write(Put("lighthouse", "a.md", "one\n", None))
    write(Put("lighthouse", "a.md", "two\n", made["object"]))
    newer, older = cli("undo", "--list", "--json").json["steps"]
    assert cli("undo", older["step"], "--json").json["skipped"] == {"a.md": "changed since"}
    assert (folder / "a.md").read_text() == "two\n"
    cli("undo", newer["step"])
    assert (folder / "a.md").read_text() == "one\n"
    cli("undo", older["step"])
    assert not (folder / "a.md").exists()


def test_a_note_makes_the_journal_of_the_day_and_is_found_at_once(write: FolderWriter, folder: Path, cli: Cli) -> None:
    made = write(Note("lighthouse", None, "The fog signal was silent."))
    assert (made["path"], made["lines"]) == ("journal/2026-01-31.md", [3, 5])
    assert not write(Note("lighthouse", None, "The fog signal was silent."))["changed"]
    [hit] = cli("search", "fog signal silent", "--json").json["hits"][:1]
    assert (hit["path"], hit["kind"]) == ("journal/2026-01-31.md", "journal")
    assert made["digest"] == hit["digest"]
    cli("undo")
    assert not (folder / made["path"]).exists()


@pytest.mark.promise("P3")
def test_what_changed_meanwhile_is_not_overwritten(write: FolderWriter, folder: Path) -> None:
    read = object_id((folder / "README.md").read_bytes())
    (folder / "README.md").write_text("# A person's edit\n")
    with pytest.raises(PreconditionFailed):
        write(Put("lighthouse", "README.md", "# New\n", read))
    assert (folder / "README.md").read_text() == "# A person's edit\n"


@pytest.mark.parametrize(
    ("path", "said"),
    [
        ("link.md", "a link"),
        ("out/a.md", "a link"),
        ("hidden/a.md", "leave hidden/a.md out"),
        ("readme.md", "where case does not count"),
        ("README.md/a.md", "which is a file"),
        ("src", "inside src, which is a file"),
    ],
)
def test_where_nothing_of_the_project_can_be_nothing_is_written(
    write: FolderWriter, folder: Path, tmp_path: Path, path: str, said: str
) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere/a.md").write_text("outside")
    (folder / "link.md").symlink_to(tmp_path / "elsewhere/a.md")
    (folder / "out").symlink_to(tmp_path / "elsewhere")
    (folder / "src").mkdir()
    (folder / "src/a.md").write_text("x")
    (folder / ".satchelignore").write_text("hidden/\n")
    before = sorted(each.relative_to(folder) for each in folder.rglob("*") if ".satchel" not in each.parts)
    with pytest.raises(PathRefused, match=said):
        write(Put("lighthouse", path, "x", None))
    assert (tmp_path / "elsewhere/a.md").read_text() == "outside"
    assert before == sorted(each.relative_to(folder) for each in folder.rglob("*") if ".satchel" not in each.parts)


def test_limits_and_locks_of_the_folder_hold(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    project = local_project(folder)
    small = FolderWriter([project._replace(rules=project.rules._replace(max_file_bytes=10))], BOUNDS)
    with pytest.raises(TooLarge):
        small(Put("lighthouse", "a.md", "x" * 11, None))
    monkeypatch.setattr("satchel.worktree.lock.PATIENCE_SECONDS", 0)
    with folder_lock(folder), pytest.raises(Busy):
        FolderWriter([project], BOUNDS)(Put("lighthouse", "a.md", "x", None))
    assert not (folder / "a.md").exists()


def test_an_agent_waits_for_another_one_that_writes(
    write: FolderWriter, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with ExitStack() as held:
        held.enter_context(folder_lock(folder))
        monkeypatch.setattr("satchel.worktree.lock.time.sleep", lambda _seconds: held.close())
        assert write(Note("lighthouse", None, "The lamp turns."))["changed"]


def test_agents_write_into_projects_alone(here: Path) -> None:
    assert run(["mcp", "--write"]) == NotAProject.exit_status
    assert not (here / ".satchel").exists()


def call(name: str, **arguments: object) -> str:
    params = {"name": name, "arguments": arguments}
    return json.dumps({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params}) + "\n"


def talk(folder: Path, *words: str, say: str) -> list[dict[str, Any]]:
    done = process("mcp", *words, cwd=folder, input=say)
    assert done.stderr == ""
    return [json.loads(line)["result"] for line in done.stdout.splitlines()]


def test_writing_is_offered_only_where_a_person_asked_for_it(folder: Path) -> None:
    say = '{"jsonrpc":"2.0","id":1,"method":"tools/list"}\n' + call("note_append", text="Hello.")
    listed, refused = talk(folder, say=say)
    assert not [tool for tool in listed["tools"] if not tool["annotations"]["readOnlyHint"]]
    assert json.loads(refused["content"][0]["text"])["code"] == "auth.insufficient_scope"
    before = list((folder / "journal").iterdir())
    listed, written = talk(folder, "--write", say=say)
    assert [t["name"] for t in listed["tools"] if not t["annotations"]["readOnlyHint"]] == [
        "artifacts_put",
        "note_append",
    ]
    assert not written["isError"]
    assert folder / written["structuredContent"]["path"] not in before
    assert (folder / written["structuredContent"]["path"]).exists()


@pytest.mark.promise("P1")
def test_writing_loads_no_network_server_or_async_module(folder: Path) -> None:
    script = (
        "import sys; from satchel.cli.main import run; run(['mcp', '--write']); print(*sys.modules, file=sys.stderr)"
    )
    say = call("artifacts_put", path="a.md", text="x") + call("note_append", text="x")
    done = subprocess.run([sys.executable, "-c", script], cwd=folder, input=say, capture_output=True, text=True)
    assert len(done.stdout.splitlines()) == 2
    loaded = {name.split(".")[0] for name in done.stderr.split()}
    assert not loaded & {"asyncio", "socket", "ssl", "select", "selectors", "http", "urllib3", "pydantic", "mcp"}
