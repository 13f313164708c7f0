"""``satchel admin migrate``: what it does, what it says, and what it asks for."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from satchel.catalog.schema import SCHEMA_REVISION
from tests.cli.conftest import Cli
from tests.postgres import SERVING, Postgres


@pytest.fixture
def addresses(empty_postgres: Postgres, monkeypatch: pytest.MonkeyPatch) -> Postgres:
    monkeypatch.setenv("SATCHEL_DATABASE_URL", empty_postgres.url)
    monkeypatch.setenv("SATCHEL_DATABASE_OWNER_URL", empty_postgres.owner)
    return empty_postgres


def test_an_empty_database_is_migrated_once(cli: Cli, addresses: Postgres, tmp_path: Path) -> None:
    data = ("--data", tmp_path / "data")
    told = {"engine": "PostgreSQL", "before": None, "revision": SCHEMA_REVISION, "current": False}
    assert json.loads(cli("admin", "migrate", "--check", "--json", *data, status=1).out) == told
    assert f"Migrated to {SCHEMA_REVISION} (it was empty)" in cli("admin", "migrate", *data).out
    told |= {"before": SCHEMA_REVISION, "current": True}
    for words in (["--check"], []):
        assert json.loads(cli("admin", "migrate", *words, "--json", *data).out) == told
    assert "as this version needs it" in cli("admin", "migrate", "--check", *data).out


def test_a_newer_catalog_is_not_called_one_to_migrate(cli: Cli, addresses: Postgres, tmp_path: Path) -> None:
    cli("admin", "migrate", "--data", tmp_path / "data")
    addresses.run("UPDATE alembic_version SET version_num = '9999'")
    for words in (["--check"], []):
        ran = cli("admin", "migrate", *words, "--data", tmp_path / "data", status=5)
        assert f"schema 9999, newer than this Satchel knows ({SCHEMA_REVISION}); nothing was changed" in ran.err
        assert "Start the newer Satchel" in ran.err


def test_looking_needs_no_owner(cli: Cli, addresses: Postgres, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = ("--data", tmp_path / "data")
    cli("admin", "migrate", *data)
    monkeypatch.delenv("SATCHEL_DATABASE_OWNER_URL")
    assert json.loads(cli("admin", "migrate", "--check", "--json", *data).out)["current"] is True
    assert "SATCHEL_DATABASE_OWNER_URL" in cli("admin", "migrate", *data, status=2).err


def test_one_role_for_both_is_refused(
    cli: Cli, addresses: Postgres, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SATCHEL_DATABASE_OWNER_URL", addresses.url)
    ran = cli("admin", "migrate", "--data", tmp_path / "data", status=5)
    assert SERVING in ran.err
    assert "two roles" in ran.err


def test_a_server_is_not_started_before_the_migration(cli: Cli, addresses: Postgres, tmp_path: Path) -> None:
    ran = cli("serve", "--check", "--port", "0", "--data", tmp_path / "data", status=5)
    assert "has not been migrated" in ran.err
    assert "satchel admin migrate" in ran.err


def test_an_embedded_catalog_is_migrated_without_any_setting(cli: Cli, tmp_path: Path) -> None:
    cli("serve", "--check", "--port", "0", "--data", tmp_path / "data")
    told = json.loads(cli("admin", "migrate", "--json", "--data", tmp_path / "data").out)
    assert told == {"engine": "SQLite", "before": SCHEMA_REVISION, "revision": SCHEMA_REVISION, "current": True}


def test_the_owners_address_alone_is_not_enough(
    cli: Cli, addresses: Postgres, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("SATCHEL_DATABASE_URL")
    ran = cli("admin", "migrate", "--data", tmp_path / "data", status=2)
    assert "SATCHEL_DATABASE_URL" in ran.err


def test_where_nothing_is_there_is_nothing_to_migrate(cli: Cli, tmp_path: Path) -> None:
    ran = cli("admin", "migrate", "--data", tmp_path / "data", status=5)
    assert "there is no catalog in" in ran.err
    assert not (tmp_path / "data").exists()
