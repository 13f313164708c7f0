"""The environment alone chooses the mode: nothing for local, two variables for hybrid."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.cli.conftest import Cli
from tests.server.running import serving


def test_two_variables_make_a_folder_hybrid_without_a_login_and_without_them_it_is_local(
    here: Path, cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (here / "note.md").write_text("# Note\n\nThe lamp is lit at dusk.\n")
    cli("init", "--name", "lamps")
    with serving(tmp_path / "data") as running:
        secret = tmp_path / "key"
        secret.write_text(f"{running.admin.key}\n")
        monkeypatch.setenv("SATCHEL_URL", running.url)
        monkeypatch.setenv("SATCHEL_KEY_FILE", str(secret))
        assert cli("remote", "add", "--json").json["created"]
        assert not cli("remote", "add", "--json").json["created"]  # a script may say it each time
        cli("sync")
        assert [hit["path"] for hit in cli("search", "--remote", "lamp", "--json").json["hits"]] == ["note.md"]
    monkeypatch.delenv("SATCHEL_URL")
    monkeypatch.delenv("SATCHEL_KEY_FILE")
    assert [hit["path"] for hit in cli("search", "lamp", "--json").json["hits"]] == ["note.md"]


def test_doctor_names_a_variable_that_nothing_reads(here: Path, cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    (here / "note.md").write_text("# Note\n")
    monkeypatch.setenv("SATCHEL_UNDO_DAY", "3")
    cli("init")
    found = cli("doctor", "--json").json
    assert found["notices"] == ["nothing reads the variable SATCHEL_UNDO_DAY: is SATCHEL_UNDO_DAYS meant?"]
