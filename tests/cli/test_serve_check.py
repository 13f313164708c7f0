"""``satchel serve --check`` at a terminal and for a program."""

from __future__ import annotations

import http.client
import os
from pathlib import Path

import pytest

from tests.cli.conftest import Cli
from tests.server.running import serving


def test_a_check_shows_a_table_and_its_status_is_that_of_the_start(cli: Cli, tmp_path: Path) -> None:
    words = ("serve", "--check", "--port", "0", "--data", tmp_path / "data")
    first = cli(*words)
    assert "Admin key (shown once)" in first.out
    ran = cli(*words)
    assert [line.split()[0] for line in ran.out.splitlines()][:4] == ["settings", "data", "address", "store"]
    assert {row["state"] for row in cli(*words, "--json").json["checks"]} == {"ok"}

    (tmp_path / "data" / "root.key").write_bytes(os.urandom(32))
    wrong = cli(*words, status=5)
    assert "installation" in wrong.out
    assert "[serve.refused]" in wrong.err
    error = cli(*words, "--json", status=5).json["error"]
    assert [row["name"] for row in error["checks"] if row["state"] == "failed"] == ["installation"]


def test_each_thing_that_is_wrong_is_shown_with_what_to_do_about_it(
    cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SATCHEL_PUBLIC_URL", "ftp://context.example.org")
    monkeypatch.setenv("SATCHEL_DATABASE_URL", "postgresql://role:secret@127.0.0.1:1/satchel")
    ran = cli("serve", "--check", "--port", "0", "--data", tmp_path / "data", status=2)
    assert "Compare SATCHEL_DATABASE_URL" in ran.out
    assert ran.err.count("SATCHEL_PUBLIC_URL") == 1
    assert "secret" not in ran.out + ran.err


def test_the_data_are_looked_for_in_the_folder_that_is_acted_in(cli: Cli, tmp_path: Path) -> None:
    found = cli("serve", "--check", "--port", "0", "--data", "here", "-C", tmp_path, "--json").json
    assert (tmp_path / "here/root.key").exists()
    assert {row["state"] for row in found["checks"]} <= {"ok", "new"}


def test_a_probe_says_whether_the_server_here_is_ready(cli: Cli, tmp_path: Path) -> None:
    with serving(tmp_path / "data") as running:
        words = ("serve", "--probe", "--port", str(running.settings.port))
        assert cli(*words).err == "Ready.\n"
        running.cloud.ending.set()
        assert "is not ready (503)" in cli(*words, status=6).err
    assert "no server answers" in cli(*words, status=6).err


@pytest.mark.parametrize(("host", "asked"), [("0.0.0.0", "127.0.0.1"), ("::", "::1"), ("192.0.2.7", "192.0.2.7")])
def test_a_probe_asks_where_the_server_listens(
    cli: Cli, monkeypatch: pytest.MonkeyPatch, host: str, asked: str
) -> None:
    def unreachable(*_words: object, **_named: object) -> None:
        raise ConnectionRefusedError

    monkeypatch.setattr(http.client.HTTPConnection, "connect", unreachable)
    assert f"no server answers at {asked} port" in cli("serve", "--probe", "--host", host, status=6).err
