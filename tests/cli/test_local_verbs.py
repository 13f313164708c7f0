"""The verbs of a folder on this disk, each as a person or a program would use it."""

from __future__ import annotations

import json
import os
import re
import resource
import shlex
import shutil
from functools import partial
from pathlib import Path

import pytest
from click.shell_completion import ShellComplete

from satchel.cli.face import shown_path
from satchel.cli.main import satchel
from tests.cli.conftest import Cli, process


def everything(folder: Path) -> dict[str, bytes]:
    """Every file below a folder but Satchel's own."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and ".satchel" not in path.parts
    }


# init -------------------------------------------------------------------------------------------------------------


def test_init_moves_nothing_and_writes_only_below_dot_satchel(cli: Cli, here: Path) -> None:
    before = everything(here)
    ran = cli("init")
    assert everything(here) == before
    assert (here / ".satchel/config.toml").is_file()
    assert "Found 17 files" in ran.out
    assert "Try:" in ran.err


def test_init_says_the_same_to_a_program(cli: Cli, here: Path) -> None:
    made = cli("init", "--json").json
    assert made["project"] == "lighthouse"
    assert made["created"] is True
    assert made["documents"] == 15
    assert made["kinds"]["spec"] == 2
    assert re.fullmatch("[0-9a-f]{64}", made["digest"])


def test_init_twice_is_harmless_and_keeps_the_project(cli: Cli, here: Path) -> None:
    first, second = cli("init", "--json").json, cli("init", "--exclude", "journal/", "--json").json
    assert (second["id"], second["created"]) == (first["id"], False)
    assert second["artifacts"] < first["artifacts"]
    assert second["exclude"] == ["journal/"]


def test_init_goes_on_where_the_list_of_projects_cannot_be_written(cli: Cli, here: Path, private_home: Path) -> None:
    (private_home / ".local/state").mkdir(parents=True, exist_ok=True)
    (private_home / ".local/state/satchel").write_text("no folder")
    assert "`satchel projects` does not list this folder" in cli("init").err
    assert cli("search", "retry", "--json").json["total"]


def test_init_writes_a_manifest_only_when_asked_and_never_over_one(cli: Cli, here: Path) -> None:
    manifest = (here / "context.json").read_bytes()
    cli("init", "--template")
    assert (here / "context.json").read_bytes() == manifest
    (here / "context.json").unlink()
    cli("init")
    assert not (here / "context.json").exists()
    cli("init", "--template")
    assert json.loads((here / "context.json").read_bytes())["name"] == "lighthouse"


def test_init_in_a_folder_of_source_code_takes_the_documents_and_says_how_to_widen(
    cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(30):
        (tmp_path / f"module_{number}.py").write_text("x = 1\n")
    (tmp_path / "AGENTS.md").write_text("# Rules\n\nBe kind.\n")
    monkeypatch.chdir(tmp_path)
    ran = cli("init", "--name", "code")
    assert "Found 1 document " in ran.out
    assert "Left out: 30 source files (by the patterns below)\n" in ran.err
    assert "--include" in ran.err
    assert ".goosehints" in ran.err
    doctor = cli("doctor").err
    assert re.search(r"by rules   only what \d+ patterns of include match", doctor)
    (tmp_path / "AGENTS.md").with_name("b.md").symlink_to("AGENTS.md")
    assert "1 symbolic link (`satchel doctor` names them)" in cli("init").err
    assert cli("init", "--all-files", "--json").json["artifacts"] == 31


@pytest.mark.parametrize("name", ["Two Words", "-x", "UPPER", "a" * 64])
def test_init_refuses_a_name_that_is_no_slug(cli: Cli, here: Path, name: str) -> None:
    assert "not a project name" in cli("init", f"--name={name}", status=2).err
    assert not (here / ".satchel").exists()


def test_init_in_something_that_is_no_folder_is_refused(cli: Cli, here: Path) -> None:
    assert "[folder.not_a_folder]" in cli("init", "README.md", status=2).err
    assert "[folder.not_a_folder]" in cli("init", "missing", status=2).err


def test_init_in_a_folder_without_text_says_so_and_works(cli: Cli, tmp_path: Path) -> None:
    folder = tmp_path / "pictures"
    folder.mkdir()
    (folder / "a.png").write_bytes(b"\x89PNG\0")
    assert "no text documents" in cli("init", folder).out
    assert "Nothing found" in cli("search", "anything", "-C", folder).err


def test_a_folder_that_cannot_be_written_is_told_with_the_next_step(cli: Cli, here: Path) -> None:
    (here / ".satchel").write_text("in the way")
    ran = cli("init", status=None)
    assert ran.status in (2, 6)
    assert "Traceback" not in ran.err
    assert "move this away" in ran.err


@pytest.mark.promise("P6")
def test_an_init_that_was_cut_off_is_finished_by_the_next(cli: Cli, here: Path) -> None:
    (here / ".satchel").mkdir()
    assert cli("init", "--json").json["created"] is True
    (here / ".satchel/config.toml").write_text("[[[")
    for verb in (["init"], ["search", "warning"], ["sync"]):
        ran = cli(*verb, status=2)
        assert "[config.invalid]" in ran.err
        assert "remove it and run `satchel init`" in ran.err
    (here / ".satchel/config.toml").unlink()
    assert cli("init", "--json").json["created"] is True
    cli("search", "warning")


def test_a_folder_whose_name_is_no_utf8_is_a_project_like_any_other(here: Path, tmp_path: Path) -> None:
    folder = Path(os.fsdecode(os.fsencode(tmp_path) + b"/b\xffd"))
    try:
        shutil.copytree(here, folder)
    except OSError:
        pytest.skip("this filesystem takes no such name")
    strict = {"PYTHONIOENCODING": "utf-8:strict"}  # as in most locales
    assert process("init", cwd=folder, env=strict).returncode == 0
    found = process("search", "failover", "--json", cwd=folder, env=strict)
    assert json.loads(found.stdout)["total"] > 0
    assert "in memory" in found.stderr
    assert "damaged" not in found.stderr
    listed = json.loads(process("projects", "--json", cwd=here, env=strict).stdout)["items"]
    assert [os.fsencode(row["folder"]) for row in listed] == [os.fsencode(folder)]


def test_init_counts_alike_in_the_total_and_by_kind(cli: Cli, tmp_path: Path) -> None:
    folder = tmp_path / "mixed"
    folder.mkdir()
    (folder / "a.md").write_text("text")
    (folder / "b.md").write_bytes(b"\0\xff")
    (folder / "c.md").symlink_to("a.md")
    (folder / "d.md").symlink_to("a.md")
    ran = cli("init", folder)
    assert "Found 2 files (6 B): 2 notes" in ran.out
    assert "1 binary" in ran.err
    assert "2 symbolic links" in ran.err


# search, get, tasks, context ----------------------------------------------------------------------------------------


def test_search_works_without_init_and_writes_nothing_into_the_folder(cli: Cli, here: Path) -> None:
    before = sorted(here.rglob("*"))
    assert "specs/warnings.md:" in cli("search", "red warning").out
    assert sorted(here.rglob("*")) == before


def test_search_gives_the_same_answer_before_and_after_init(cli: Cli, here: Path) -> None:
    before = cli("search", "warning", "--json").json
    cli("init")
    assert cli("search", "warning", "--json").json == before


def test_a_hit_shows_path_lines_kind_trail_and_snippet_and_the_note_names_the_digest(cli: Cli, here: Path) -> None:
    digest = cli("init", "--json").json["digest"]
    ran = cli("search", "duty officer retracted", "--limit", "1")
    where, kind, trail, snippet = ran.out.rstrip("\n").split("\t")
    assert where == "specs/warnings.md:29-31"
    assert kind == "spec"
    assert trail == "Warning rules › Retraction › Retraction of a red warning"
    assert "duty officer" in snippet
    assert f"project lighthouse · digest {digest[:8]}" in ran.err


def test_hits_can_be_opened_from_where_one_stands(cli: Cli, here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cli("init")
    monkeypatch.chdir(here / "specs")
    for line in cli("search", "warning").out.splitlines():
        path, lines = line.split("\t")[0].split(":")
        assert Path(path).is_file()
        assert re.fullmatch(r"\d+-\d+", lines)


def test_a_search_narrows_by_kind_and_goes_on_at_an_offset(cli: Cli, here: Path) -> None:
    kinds = {hit["kind"] for hit in cli("search", "warning", "--kind", "decision", "--json").json["hits"]}
    assert kinds == {"decision"}
    assert cli("search", "warning", "--kind", "adr", "--json").json["query"]["filters"] == {"kind": ["decision"]}
    for query in ('"warning', "warning " * 1_000):
        assert cli("search", query, "--kind", "adr", "--json").json["query"]["filters"] == {"kind": ["decision"]}
    refused = cli("search", "warning", "--kind", "novel", status=2)
    assert "The kinds are spec, plan" in refused.err
    both = cli("search", "warning", "--limit", "2", "--json").json["hits"]
    second = cli("search", "warning", "--limit", "1", "--offset", "1", "--json").json["hits"]
    assert second == both[1:]
    behind = cli("search", "warning", "--offset", "900")
    assert behind.err.startswith(f"0 of {cli('search', 'warning', '--json').json['total']} in ")
    assert cli("tasks", "--cursor", "1:zzz").err.startswith(f"0 of {cli('tasks', '--json').json['total']} open tasks")
    assert cli("search", "warning", "--offset", "1000", status=2).err.count("'--offset'") == 1


@pytest.mark.parametrize("query", ['"', "kind:", "-", "a AND (", "NEAR/3 *", "\x00", "'; DROP TABLE fts;--", "語"])
def test_any_text_is_a_question(cli: Cli, here: Path, query: str) -> None:
    assert "hits" in cli("search", "--json", "--", query).json


def test_a_search_sees_what_changed_a_moment_ago(cli: Cli, here: Path) -> None:
    cli("init")
    assert cli("search", "zeppelin", "--json").json["total"] == 0
    (here / "notes").mkdir(exist_ok=True)
    (here / "notes/airship.md").write_text("# Airship\n\nThe zeppelin lands at noon.\n")
    assert cli("search", "zeppelin", "--json").json["total"] == 1
    (here / "notes/airship.md").unlink()
    assert cli("search", "zeppelin", "--json").json["total"] == 0


def test_all_projects_of_the_machine_are_searched_together(cli: Cli, here: Path, tmp_path: Path) -> None:
    other = tmp_path / "ledger"
    other.mkdir()
    (other / "retry.md").write_text("# Retry\n\nA failed booking is tried again: retry twice.\n")
    cli("init")
    cli("init", other)
    found = cli("search", "--all", "retry", "--json").json
    assert {row["project"] for row in found["projects"]} == {"ledger", "lighthouse"}
    assert {hit["project"] for hit in found["hits"]} == {"ledger", "lighthouse"}
    assert cli("search", "--all", "retry").out.startswith(("ledger\t", "lighthouse\t"))
    assert {hit["project"] for hit in cli("search", "-p", "ledger", "retry", "--json").json["hits"]} == {"ledger"}
    assert cli("search", "--project", "nowhere", "retry", status=1).err.count("[project.not_found]") == 1


def test_get_prints_the_file_byte_for_byte_or_the_lines_of_a_hit(cli: Cli, here: Path) -> None:
    assert cli("get", "specs/warnings.md").out.encode() == (here / "specs/warnings.md").read_bytes()
    lines = (here / "specs/warnings.md").read_text().splitlines(keepends=True)
    assert cli("get", "specs/warnings.md:12-14").out == "".join(lines[11:14])
    assert cli("get", "specs/warnings.md:12").out == lines[11]


def test_get_takes_a_path_from_where_one_stands(cli: Cli, here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cli("init")
    monkeypatch.chdir(here / "specs")
    expected = (here / "specs/delivery.md").read_text()
    assert cli("get", "delivery.md").out == expected
    assert cli("get", "specs/delivery.md").out == expected
    assert cli("get", str(here / "specs/delivery.md")).out == expected


def test_get_of_a_long_file_is_whole(cli: Cli, here: Path) -> None:
    text = "".join(f"line {number} {'x' * 90}\n" for number in range(30_000))
    (here / "long.md").write_text(text)
    assert cli("get", "long.md").out == text


def test_get_of_what_is_no_text_or_not_there_is_told(cli: Cli, here: Path) -> None:
    assert "is not text" in cli("get", "architecture/map.png", status=2).err
    assert "[artifact.not_found]" in cli("get", "../outside.md", status=1).err
    assert "[artifact.not_found]" in cli("get", "/etc/hostname", status=1).err


def test_tasks_are_the_open_boxes_with_their_lines(cli: Cli, here: Path) -> None:
    assert cli("tasks").out.splitlines()[0] == "tasks.md:6\topen\tRetry delivery over the second channel @maren"
    found = cli("tasks", "--json").json
    assert (found["total"], found["items"][0]["owner"]) == (4, "maren")
    assert cli("tasks", "--done", "--json").json["total"] == 2
    assert cli("tasks", "--path", "plans/", "--json").json["items"] == []


def test_context_shows_the_manifest_and_the_inventory(cli: Cli, here: Path) -> None:
    shown = cli("context").out
    assert "Weather warnings for harbours" in shown
    assert re.search(r"depends-on\s+tide-tables", shown)
    answer = cli("context", "--json").json
    assert answer["manifest"]["name"] == "lighthouse"
    assert answer["openTasks"] == 4


# projects, use, link ------------------------------------------------------------------------------------------------


def test_the_machine_knows_the_projects_and_says_which_folders_are_gone(cli: Cli, here: Path, tmp_path: Path) -> None:
    assert "No projects yet" in cli("projects").err
    cli("init")
    (tmp_path / "old").mkdir()
    cli("init", tmp_path / "old")
    (tmp_path / "old/.satchel/config.toml").write_text("exlude = []\n")
    assert "old: another project is there, or its settings cannot be read" in cli("projects").err
    shutil.rmtree(tmp_path / "old")
    assert "old: moved or deleted" in cli("projects").err
    listed = cli("projects", "--json").json
    assert [(row["project"], row["current"]) for row in listed["items"]] == [("lighthouse", True)]
    assert [row["project"] for row in listed["gone"]] == ["old"]
    cli("projects", "--forget", tmp_path / "old")
    assert cli("projects", "--json").json["gone"] == []
    cli("projects", "--forget", tmp_path / "old", status=1)


def test_a_chosen_project_is_meant_outside_of_any(
    cli: Cli, here: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cli("init")
    cli("use", "lighthouse")
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "note.md").write_text("# Warning\n\nA warning of another folder.\n")
    monkeypatch.chdir(elsewhere)
    assert cli("tasks", "--json").json["project"] == "lighthouse"
    for words in (["tasks"], ["review", "README.md"]):
        assert cli(*words).err.count(f"In lighthouse, {here} (chosen with `satchel use`):") == 1
    assert "chosen with" not in cli("tasks", "-C", here).err
    assert cli("search", "warning", "-C", elsewhere, "--json").json["projects"][0]["project"] == "elsewhere"
    assert cli("use").out.startswith("lighthouse")
    cli("use", "--none")
    assert cli("search", "warning", "--json").json["projects"][0]["project"] == "elsewhere"
    cli("use", "nowhere", status=1)


def test_copies_of_one_project_are_told_apart_by_their_folder(cli: Cli, here: Path, tmp_path: Path) -> None:
    cli("init")
    shutil.copytree(here, tmp_path / "copy")
    cli("init", tmp_path / "copy")
    assert "several folders" in cli("use", "lighthouse", status=2).err
    cli("use", tmp_path / "copy")


def test_link_writes_the_relation_once_and_keeps_the_rest_of_the_manifest(cli: Cli, here: Path, tmp_path: Path) -> None:
    (tmp_path / "harbour").mkdir()
    cli("init")
    cli("init", tmp_path / "harbour")
    before = json.loads((here / "context.json").read_text())
    assert "lighthouse: part-of harbour (context.json)" in cli("link", "lighthouse", "harbour", "--type", "part-of").err
    assert cli("link", "lighthouse", "harbour", "--type", "part-of", "--json").json["changed"] is False
    after = json.loads((here / "context.json").read_text())
    assert after.pop("relations") == [*before.pop("relations"), {"type": "part-of", "project": "harbour"}]
    assert after == before
    assert "no project 'moon'" in cli("link", "harbour", "moon").err
    assert json.loads((tmp_path / "harbour/context.json").read_text())["relations"][0]["project"] == "moon"
    cli("link", "lighthouse", "lighthouse", status=2)
    cli("link", "moon", "lighthouse", status=1)


def test_get_tells_a_file_that_was_left_out_from_one_that_is_not_there(cli: Cli, here: Path) -> None:
    (here / "way-out.md").symlink_to("/etc/passwd")
    left_out = cli("get", "way-out.md", status=1).err
    assert "does not belong" in left_out
    assert "satchel doctor" in left_out
    assert "there is no artifact" in cli("get", "nowhere.md", status=1).err


@pytest.mark.parametrize(("lines", "said"), [("9-5", "end before they begin"), ("9000", "Name lines from 1 to")])
def test_lines_that_are_not_there_are_told_with_those_that_are(cli: Cli, here: Path, lines: str, said: str) -> None:
    assert said in cli("get", f"README.md:{lines}", status=2).err


def test_more_projects_are_searched_at_once_than_a_process_may_open_files_at_first(cli: Cli, tmp_path: Path) -> None:
    for name in ("one", "two", "three", "four", "five", "six"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "a.md").write_text(f"# Retry {name}\n")
        cli("init", tmp_path / name)
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    few = partial(resource.setrlimit, resource.RLIMIT_NOFILE, (12, hard))
    ran = process("search", "--all", "retry", cwd=tmp_path, preexec_fn=few)
    assert (ran.returncode, len(ran.stdout.splitlines())) == (0, 6), ran.stderr
    assert "cannot be used" not in ran.stderr


# doctor and damage --------------------------------------------------------------------------------------------------


def test_doctor_names_what_is_left_out_with_the_reason(cli: Cli, here: Path) -> None:
    (here / "huge.md").write_bytes(b"x" * (9 << 20))
    (here / "latin.md").write_bytes(b"caf\xe9 au lait")
    (here / "way-out.md").symlink_to("/etc/passwd")
    os.mkfifo(here / "pipe.md")
    (here / "bad\x01name.md").write_text("x")
    found = cli("doctor", "--json").json
    assert {item["reason"] for item in found["leftOut"]} == {"too-large", "symlink", "special", "bad-name"}
    assert {item["reason"] for item in found["notIndexed"]} >= {"not-utf8", "binary"}
    shown = cli("doctor").out
    assert "huge.md" in shown
    assert "root:" not in cli("search", "root", "--json").out


@pytest.mark.parametrize("name", ["index.db", "state.db"])
@pytest.mark.parametrize("damage", [b"", b"not a database" * 1_000, None])
def test_derived_files_that_are_damaged_are_rebuilt_and_answers_stay(
    cli: Cli, here: Path, name: str, damage: bytes | None
) -> None:
    cli("init")
    before = cli("search", "warning", "--json").json
    path = here / ".satchel" / name
    if damage is None:
        path.unlink()
    else:
        path.write_bytes(damage)
    assert cli("search", "warning", "--json").json == before
    cli("doctor")


@pytest.mark.parametrize("manifest", [b"{", b"[]", b"\xff", b'{"relations": 3}'])
def test_a_damaged_manifest_is_reported_and_left_alone(cli: Cli, here: Path, manifest: bytes) -> None:
    (here / "context.json").write_bytes(manifest)
    cli("init")
    ran = cli("doctor", status=1)
    assert "context.json" in ran.out
    cli("search", "warning")
    cli("context")
    assert (here / "context.json").read_bytes() == manifest


def test_a_misspelt_setting_of_the_project_is_named(cli: Cli, here: Path) -> None:
    cli("init")
    config = here / ".satchel/config.toml"
    config.write_text(config.read_text() + 'exlude = ["x"]\n')
    assert "exlude" in cli("search", "x", status=2).err


# connect ------------------------------------------------------------------------------------------------------------


def test_connect_shows_the_change_writes_it_and_takes_it_back(cli: Cli, here: Path) -> None:
    ran = cli("connect", "claude-code", "--yes")
    assert '+    "satchel": {' in ran.out
    assert json.loads((here / ".mcp.json").read_text())["mcpServers"]["satchel"]["args"] == ["mcp"]
    assert "nothing to do" in cli("connect", "claude-code", "--yes").err
    cli("connect", "claude-code", "--undo", "--yes")
    assert not (here / ".mcp.json").exists()


def test_connect_writes_nothing_unasked(cli: Cli, here: Path) -> None:
    assert "--yes" in cli("connect", "cursor", status=2).err
    assert cli("connect", "cursor", "--dry-run", "--json").json["written"] is False
    assert not (here / ".cursor").exists()


def test_connect_leaves_a_file_it_cannot_read_alone(cli: Cli, here: Path) -> None:
    (here / ".mcp.json").write_text("{ // mine\n}")
    assert "[config.invalid]" in cli("connect", "claude-code", "--yes", status=2).err
    assert (here / ".mcp.json").read_text() == "{ // mine\n}"
    (here / ".mcp.json").unlink()
    os.mkfifo(here / ".mcp.json")  # which nobody writes to
    assert "is not a file" in cli("connect", "claude-code", "--yes", status=2).err


def test_connect_finds_the_project_from_below_and_codex_at_home(
    cli: Cli, here: Path, private_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cli("init")
    monkeypatch.chdir(here / "specs")
    cli("connect", "vscode", "--yes")
    cli("connect", "codex", "--yes")
    assert (here / ".vscode/mcp.json").is_file()
    assert "[mcp_servers.satchel]" in (private_home / ".codex/config.toml").read_text()


def test_completion_prints_a_script_for_each_shell(cli: Cli) -> None:
    for shell in ("bash", "zsh", "fish"):
        assert "_SATCHEL_COMPLETE" in cli("completion", shell).out
    assert 'string split -m 1 "," $completion' in cli("completion", "fish").out  # what follows may hold commas


@pytest.mark.parametrize(
    ("words", "kind"),
    [
        (["get"], "file"),
        (["resolve"], "file"),
        (["resolve", "a.md"], "file"),
        (["purge"], "file"),
        (["sync", "--allow-secret"], "file"),
        (["init"], "dir"),
        (["get", "-C"], "dir"),
        (["login", "--key-file"], "file"),
    ],
)
def test_files_and_folders_are_completed_by_the_shell(words: list[str], kind: str) -> None:
    found = ShellComplete(satchel, {}, "satchel", "_SATCHEL_COMPLETE").get_completions(words, "speci")
    assert [(item.type, item.value) for item in found] == [(kind, "speci")]


@pytest.mark.parametrize("words", [["use"], ["link"], ["link", "ledger"], ["search", "-p"], ["tasks", "--project"]])
def test_projects_of_this_machine_are_completed(
    cli: Cli, here: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: list[str]
) -> None:
    def found(begun: str) -> list[tuple[str, str]]:
        asked = ShellComplete(satchel, {}, "satchel", "_SATCHEL_COMPLETE").get_completions(words, begun)
        return [(item.type, item.value) for item in asked]

    for name in ("ledger", "lighthouse"):
        (tmp_path / name).mkdir(exist_ok=True)
        cli("init", tmp_path / name)
    assert found("l") == [("plain", "ledger"), ("plain", "lighthouse")]
    assert found("lig") == [("plain", "lighthouse")]
    monkeypatch.setenv("SATCHEL_UNDO_DAYS", "nonsense")
    assert found("l") == []  # and no traceback in the shell


# Asking more ------------------------------------------------------------------------------------------------------


def test_a_search_for_nothing_lists_files_and_a_misspelt_one_suggests(cli: Cli, here: Path) -> None:
    found = cli("search", "--json").json
    assert (found["total"] > 10, found["projects"][0]["history"]) == (True, "none")
    ran = cli("search", "dispacher")
    assert "Near:  dispatcher" in ran.err
    assert cli("search", "dispacher", "--json").json["suggestions"] == ["dispatcher"]


def test_a_filter_on_history_says_where_nothing_is_known(cli: Cli, here: Path) -> None:
    ran = cli("search", "author:sam")
    assert "never synced" in ran.err
    assert "--remote" in cli("search", "warning", "--at", "3", status=1).err


def test_related_projects_are_searched_when_asked_for(cli: Cli, here: Path, tmp_path: Path) -> None:
    other = tmp_path / "tides"
    other.mkdir()
    (other / "a.md").write_text("# Tides\n\nA warning of the tide.\n")
    cli("init", here, "--name", "lighthouse")
    cli("init", other, "--name", "tide-tables")
    found = cli("search", "warning", "--related", "--json").json
    assert {each["project"]: each["relation"] for each in found["projects"]} == {
        "lighthouse": None,
        "tide-tables": "depends-on",
    }
    back = cli("search", "warning", "--related", "--json", "-C", other).json
    assert {each["project"]: each["relation"] for each in back["projects"]} == {
        "lighthouse": "needed-by",
        "tide-tables": None,
    }
    assert len(cli("search", "warning", "--json").json["projects"]) == 1


@pytest.mark.parametrize(
    "words",
    [
        ["tasks", "--done", "--path", "a b/", "-n", "1", "-p", "lighthouse"],
        ["outline", "a b/-- c.md", "-n", "1", "--project", "lighthouse"],
    ],
)
def test_the_next_page_is_named_with_everything_that_was_asked(cli: Cli, here: Path, words: list[str]) -> None:
    (here / "a b").mkdir()
    (here / "a b/-- c.md").write_text("# One\n\n- [x] first\n- [x] second\n\n# Two\n\n- [ ] open\n")
    cli("init")
    said = cli(*words).err.partition("More:  satchel ")[2]
    one, two = cli(*words, "--json").json, cli(*shlex.split(said), "--json").json
    rows = [*one["items"], *two["items"]]
    assert [row.get("text", row.get("title")) for row in rows] in (["first", "second"], ["One", "Two"])
    assert two["next"] is None


def test_an_outline_names_lines_that_get_prints_by_number_or_by_heading(cli: Cli, here: Path) -> None:
    rows = cli("outline", "specs/warnings.md", "--json").json["items"]
    [row] = [row for row in rows if row["title"] == "Thresholds"]
    lines = f"specs/warnings.md:{row['lines'][0]}-{row['lines'][1]}"
    assert lines in cli("outline", "specs/warnings.md").out
    assert cli("get", "specs/warnings.md", "--section", "warning rules > THRESHOLDS").out == cli("get", lines).out
    ran = cli("get", "specs/warnings.md", "--section", "nonsense", status=1)
    assert "[artifact.section_not_found]" in ran.err


def test_a_context_within_a_budget_says_what_it_left_out(cli: Cli, here: Path) -> None:
    cli("init")
    ran = cli("context", "--tokens", "500", "--json").json
    assert ran["truncated"]
    assert ran["tokens"] <= 500
    cut = cli("context", "--project", "lighthouse", "--tokens", "500").err
    assert "Cut to the budget" in cut
    assert "More:  satchel context --project lighthouse --budget 1000000" in cut
    cli("context", "--tokens", "1", status=2)


@pytest.mark.parametrize(
    ("agent", "link", "leads"), [("claude-code", ".mcp.json", "x.json"), ("cursor", ".cursor", "")]
)
def test_connecting_shows_the_file_that_is_written_where_a_link_leads_to_it(
    cli: Cli, here: Path, tmp_path: Path, agent: str, link: str, leads: str
) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (here / link).symlink_to(elsewhere / leads)
    real = elsewhere / (leads or "mcp.json")
    real.write_text("{}\n")
    shown = cli("connect", agent, "--yes").out
    assert f"--- {shown_path(real, here)}" in shown
    assert "satchel" in real.read_text()
    assert (here / link).is_symlink()
