"""From an embedded catalog to PostgreSQL and back, with the words an operator has for it."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.cli.conftest import Cli
from tests.postgres import Postgres


@pytest.fixture
def data(cli: Cli, tmp_path: Path) -> Path:
    """An installation that was started once, embedded."""
    cli("serve", "--check", "--port", "0", "--data", tmp_path / "data")
    return tmp_path / "data"


@pytest.fixture
def database(postgres: Postgres, monkeypatch: pytest.MonkeyPatch) -> Postgres:
    monkeypatch.setenv("SATCHEL_DATABASE_URL", postgres.url)
    monkeypatch.setenv("SATCHEL_DATABASE_OWNER_URL", postgres.owner)
    return postgres


@pytest.mark.promise("P3")
def test_an_installation_moves_to_postgresql_and_back_and_is_the_same(
    cli: Cli, data: Path, database: Postgres, monkeypatch: pytest.MonkeyPatch
) -> None:
    moved = cli("admin", "move-catalog", "--data", data, "--json").json
    assert (moved["to"], moved["tables"]["tenant"], moved["tables"]["operator"]) == ("PostgreSQL", 1, 1)
    assert not (data / "catalog.db").exists()
    assert Path(moved["kept"]).exists()
    assert "everything is in order" in cli("serve", "--check", "--port", "0", "--data", data).err
    assert cli("admin", "verify", "--data", data, "--json").json["clean"]

    back = cli("admin", "move-catalog", "--back", data / "catalog.db", "--data", data)
    assert "and compared each" in back.out
    monkeypatch.delenv("SATCHEL_DATABASE_URL")
    assert cli("admin", "verify", "--data", data, "--json").json["clean"]
    assert {path.name for path in data.glob("*catalog.db*")} == {"catalog.db", "catalog.db.moved"}


@pytest.mark.promise("P3")
def test_after_a_move_nothing_is_begun_anew_where_the_database_is_not_named(
    cli: Cli, data: Path, database: Postgres, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    cli("admin", "move-catalog", "--data", data)
    monkeypatch.delenv("SATCHEL_DATABASE_URL")
    monkeypatch.delenv("SATCHEL_DATABASE_OWNER_URL")
    for words in (["serve", "--check"], ["admin", "migrate"], ["admin", "verify"], ["admin", "collect"]):
        assert "SATCHEL_DATABASE_URL" in cli(*words, "--data", data, status=5).err
        assert not (data / "catalog.db").exists()


def test_an_empty_catalog_is_neither_sound_nor_backed_up(
    cli: Cli, data: Path, tmp_path: Path, postgres: Postgres, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SATCHEL_DATABASE_URL", postgres.url)
    for words in (["verify"], ["backup", "--to", (tmp_path / "backups").as_uri()]):
        ran = cli("admin", *words, "--data", data, status=5)
        assert "the catalog is empty" in ran.err
        assert "SATCHEL_DATABASE_URL" in ran.err


def test_a_move_without_a_target_or_a_source_says_what_is_missing(
    cli: Cli, data: Path, postgres: Postgres, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert "SATCHEL_DATABASE_URL" in cli("admin", "move-catalog", "--data", data, status=2).err
    monkeypatch.setenv("SATCHEL_DATABASE_URL", postgres.url)
    assert "--from" in cli("admin", "move-catalog", "--data", tmp_path / "nowhere", status=None).err
    (data / "back.db").touch()
    there = cli("admin", "move-catalog", "--back", data / "back.db", "--data", data, status=None)
    assert "is there already" in there.err
    cli("admin", "move-catalog", "--back", "x", "--from", "y", "--data", data, status=2)


def test_a_used_database_takes_no_second_catalog_and_the_file_stays(
    cli: Cli, data: Path, database: Postgres, tmp_path: Path
) -> None:
    cli("admin", "move-catalog", "--data", data)
    (data / "catalog.db.moved").rename(data / "catalog.db")
    ran = cli("admin", "move-catalog", "--data", data, status=5)
    assert "[catalog.not_empty]" in ran.err
    assert (data / "catalog.db").exists()


@pytest.mark.promise("P9")
def test_a_backup_of_either_engine_is_restored_into_an_empty_database(
    cli: Cli, data: Path, database: Postgres, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    copies = (tmp_path / "copies").as_uri()
    monkeypatch.delenv("SATCHEL_DATABASE_URL")
    made = cli("admin", "backup", "--to", copies, "--data", data, "--json").json["id"]
    monkeypatch.setenv("SATCHEL_DATABASE_URL", database.url)
    assert (
        "admin restore" in cli("admin", "verify", "--data", data, status=5).err
    )  # and the database is as empty as before
    database.run("ALTER TABLE tenant RENAME COLUMN slug TO other")
    cli("admin", "restore", made, "--from", copies, "--data", data, status=None)
    database.run("ALTER TABLE tenant RENAME COLUMN other TO slug")
    assert not list(data.glob("restored.db*"))  # of a run that could not fill the database nothing stays
    (data / "restored.db").write_bytes(b"of one that was killed")
    told = cli("admin", "restore", made, "--from", copies, "--data", data)
    assert "Restored PostgreSQL as of" in told.out
    assert not list(data.glob("restored.db*"))
    assert cli("admin", "verify", "--data", data, "--json").json["clean"]
    again = cli("admin", "restore", made, "--from", copies, "--data", data, status=5)
    assert "[catalog.not_empty]" in again.err
    second = cli("admin", "backup", "--to", copies, "--data", data, "--json").json
    assert second["tenants"] == 1
