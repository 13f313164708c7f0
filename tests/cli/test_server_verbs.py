"""What the verbs that need a server say where there is none, or none was named."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from satchel.cli.credentials import Credential, Credentials
from satchel.objects.ids import Digest, Lineage, object_id
from satchel.worktree.base import Base, CloudEntry, save_base
from satchel.worktree.undo import UndoStore
from tests.cli.conftest import Cli

AWAY = "http://127.0.0.1:9"


@pytest.fixture
def stored(private_home: Path) -> Credentials:
    return Credentials(private_home / ".config/satchel/credentials.json")


@pytest.mark.parametrize("words", [["whoami"], ["key", "list"], ["tenant", "show"], ["projects", "--remote"]])
def test_a_server_that_nobody_named_is_asked_for(cli: Cli, here: Path, words: list[str]) -> None:
    ran = cli(*words, status=2)
    assert "which server" in ran.err
    assert "satchel login URL" in ran.err


def test_the_only_server_signed_in_to_is_meant(cli: Cli, here: Path, stored: Credentials) -> None:
    stored.put(AWAY, Credential(key="k"))
    assert f"{AWAY} cannot be reached" in cli("whoami", status=6).err
    stored.put("http://127.0.0.1:10", Credential(key="k"))
    assert "which server" in cli("whoami", status=2).err
    assert AWAY in cli("whoami", "--url", AWAY, status=6).err


@pytest.mark.parametrize("words", [["sync"], ["search", "--remote", "x"], ["status", "--remote"]])
def test_a_project_without_a_remote_is_told_how_to_get_one(cli: Cli, here: Path, words: list[str]) -> None:
    cli("init")
    ran = cli(*words, status=2)
    assert "has no remote" in ran.err
    assert "satchel remote add" in ran.err


@pytest.mark.parametrize("verb", ["sync", "status", "conflicts", "undo", "leave"])
def test_a_folder_that_is_no_project_is_told_to_become_one(cli: Cli, here: Path, verb: str) -> None:
    assert "[folder.not_a_project]" in cli(verb, status=2).err


@pytest.mark.parametrize("words", [["search", "x"], ["get", "x.md"], ["tasks"], ["context"], ["outline", "x.md"]])
def test_what_is_asked_of_the_server_outside_of_a_project_has_to_name_one(
    cli: Cli, tmp_path: Path, words: list[str]
) -> None:
    ran = cli(*words, "--remote", "-C", tmp_path, status=2)
    assert "[folder.not_a_project]" in ran.err
    assert "--project" in ran.err
    assert "satchel init" not in ran.err  # a folder made a project has no remote either


def test_status_of_a_local_project_asks_nobody_and_needs_no_account(cli: Cli, here: Path) -> None:
    cli("init")
    found = cli("status", "--json").json
    assert (found["url"], found["version"], found["conflicts"]) == (None, 0, [])
    assert "local-only" in cli("status").out
    assert cli("conflicts", "--json").json["items"] == []
    assert "[undo.nothing]" in cli("undo", status=1).err


def test_an_undo_that_took_nothing_back_does_not_say_it_did(cli: Cli, here: Path) -> None:
    cli("init")
    store = UndoStore(here)
    store.begin(f"{2:020d}-abcdef-undoes-{1:020d}-123456")
    store.keep("specs/warnings.md", b"as it was\n", "100644")
    store.close()
    ran = cli("undo")
    assert "Left alone: " in ran.err
    assert "took an undo back" not in ran.err


def test_an_undo_says_of_when_it_is_what_went_and_how_to_have_it_back(cli: Cli, here: Path) -> None:
    cli("init")
    paths = ["README.md", "specs/warnings.md"]
    cloud = {path: CloudEntry("100644", object_id((here / path).read_bytes()), 7, "ana", 0) for path in paths}
    save_base(here, Base(Lineage("lin_00000000000000000000000000"), 7, Digest("0" * 64), cloud, {}))
    store = UndoStore(here)
    store.begin(f"{time.time_ns() - 7_200 * 10**9:020d}-abcdef")  # a first pull, long before the last sync
    for path in paths:
        store.keep(path, None, None)
    store.close()
    told = "2 files would be as before the last sync that wrote here (2 hours ago).\nOf these 2 would go"
    assert told in cli("undo", "--dry-run").err
    ran = cli("undo")
    assert "2 files as before the last sync that wrote here (2 hours ago).\nOf these 2 went" in ran.err
    assert "satchel resolve --all --take local|cloud" in ran.err
    assert not (here / "README.md").exists()
    assert "as before the last undo (just now)" in cli("undo").err
    assert (here / "README.md").exists()


def test_status_counts_no_files_of_a_project_that_has_no_remote_any_more(cli: Cli, here: Path) -> None:
    cli("init")
    save_base(here, Base(Lineage("lin_00000000000000000000000000"), 7, Digest("0" * 64), {}, {}))
    assert "local-only, last in step with version 7\n" in cli("status").out


def test_a_project_that_never_synced_is_not_told_that_nothing_changed_since(cli: Cli, tmp_path: Path) -> None:
    folder = tmp_path / "empty"
    folder.mkdir()
    cli("init", folder)
    config = folder / ".satchel/config.toml"
    config.write_text(config.read_text() + f'[remote]\nurl = "{AWAY}"\n')
    ran = cli("status", "-C", folder)
    assert "never synced" in ran.out
    assert "since the last sync" not in ran.err
    assert "satchel sync --dry-run" in ran.err


def test_leaving_what_was_never_joined_changes_nothing(cli: Cli, here: Path) -> None:
    cli("init")
    assert "already" in cli("leave").err


def test_directions_exclude_each_other(cli: Cli, here: Path) -> None:
    assert "exclude each other" in cli("sync", "--to-cloud", "--from-cloud", status=2).err


def test_resolving_what_is_not_in_conflict_is_refused(cli: Cli, here: Path) -> None:
    cli("init")
    assert "not in conflict" in cli("resolve", "README.md", "--take", "local", status=2).err
    assert "--all" in cli("resolve", "--take", "local", status=2).err
    assert cli("resolve", "--all", "--take", "local", "--json").json["settled"] == []


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["key", "create", "x", "--project", "acme"], "PROJECT:ROLE"),
        (["key", "create", "x", "--project", "acme:owner"], "PROJECT:ROLE"),
        (["key", "create", "x", "--expires", "soon"], "90d"),
        (["login", AWAY, "--key-file", "no-such-file"], "cannot be read"),
        (["login", "ftp://example.org"], "not the address of a server"),
        (["login", "https://user:pw@example.org"], "no credential"),
    ],
)
def test_a_value_that_is_none_is_refused_before_anything_is_sent(
    cli: Cli, here: Path, stored: Credentials, words: list[str], said: str
) -> None:
    stored.put(AWAY, Credential(key="k"))
    ran = cli(*words, status=2)
    assert said in ran.err


def test_a_key_of_the_environment_that_is_not_used_is_not_ignored_in_silence(
    cli: Cli, here: Path, stored: Credentials, monkeypatch: pytest.MonkeyPatch
) -> None:
    stored.put(AWAY, Credential(key="k"))
    monkeypatch.setenv("SATCHEL_KEY", "another")
    assert "SATCHEL_KEY is not used" in cli("whoami", status=6).err
    monkeypatch.setenv("SATCHEL_URL", AWAY)
    assert "SATCHEL_KEY" not in cli("whoami", status=6).err
