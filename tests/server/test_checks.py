"""``serve --check``: everything that a server stands on is looked at, and all that is wrong is told at once."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

import pytest

from satchel.catalog.scope import Catalog
from satchel.config.server import ServerSettings, server_settings
from satchel.errors import StartRefused
from satchel.server.checks import CLOCK_WRONG_MS, Survey, judged, survey
from satchel.server.serve import prepare
from tests.postgres import Postgres


def _settings(data: Path, **flags: object) -> ServerSettings:
    return server_settings({"data": data, "port": 0, **flags}, env={})


def _look(settings: ServerSettings) -> tuple[Survey, dict[str, str]]:
    found = asyncio.run(survey(settings))
    return found, {row.name: row.state for row in found.rows}


def _files(folder: Path) -> set[tuple[str, bytes]]:
    return {
        (path.name, path.read_bytes())
        for path in folder.rglob("*")
        if path.is_file() and not path.name.endswith(("-wal", "-shm"))
    }


def test_a_look_says_what_the_first_start_makes_and_makes_none_of_it(tmp_path: Path) -> None:
    found, states = _look(_settings(tmp_path / "data"))
    assert found.error is None
    assert {name for name, state in states.items() if state == "new"} == {"store", "catalog", "migrations", "root key"}
    assert _files(tmp_path / "data") == set()


def test_a_sound_installation_is_all_in_order_and_is_not_touched(tmp_path: Path) -> None:
    settings = _settings(tmp_path / "data")
    prepare(settings).listener.close()
    before = _files(tmp_path / "data")
    found, states = _look(settings)
    assert found.error is None
    assert set(states.values()) == {"ok"}
    assert "installation" in states
    assert _files(tmp_path / "data") == before


def test_all_that_is_wrong_is_told_at_once_and_no_password_with_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "canary-id")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "canary-secret")
    found, states = _look(
        _settings(
            tmp_path / "data",
            public_url="ftp://context.example.org",
            database_url="postgresql://role:canary-password@127.0.0.1:1/satchel",
            store_url="s3://bucket?endpoint=http://127.0.0.1:1&allow_http=true",
            store_wait_seconds=2,
        )
    )
    assert {name for name, state in states.items() if state == "failed"} == {"settings", "store", "catalog"}
    assert found.error is not None
    assert "SATCHEL_PUBLIC_URL" in found.error.message
    assert "canary" not in str(found.rows)
    [catalog] = [row for row in found.rows if row.name == "catalog"]
    assert catalog.found == "PostgreSQL at 127.0.0.1:1/satchel: the catalog does not answer"
    assert "SATCHEL_DATABASE_URL" in catalog.hint


def test_a_wrong_key_an_emptied_store_and_a_newer_catalog_are_found_by_the_look(tmp_path: Path) -> None:
    settings = _settings(tmp_path / "data")
    prepare(settings).listener.close()
    empty = _settings(tmp_path / "data", store_url=(tmp_path / "empty").as_uri())
    assert _look(empty)[1]["installation"] == "failed"
    settings.root_key_path.write_bytes(os.urandom(32))
    found, states = _look(settings)
    assert (states["root key"], states["installation"]) == ("ok", "failed")
    assert isinstance(found.error, StartRefused)


def test_settings_that_cannot_be_meant_are_refused_by_the_start_too(tmp_path: Path) -> None:
    for wrong in ("ftp://x.example", "https://", "https://x.example/?q=1", "https://a:b@x.example"):
        assert _look(_settings(tmp_path / "data", public_url=wrong))[1]["settings"] == "failed"
    _, states = _look(_settings(tmp_path / "data", public_url="http://context.example.org"))
    assert states["settings"] == "warning"


@pytest.mark.parametrize(
    ("ahead", "state"), [(0, "ok"), (-1_500, "ok"), (2_500, "warning"), (-CLOCK_WRONG_MS, "warning")]
)
def test_a_clock_is_judged_by_its_distance_from_the_databases(ahead: int, state: str) -> None:
    assert judged(ahead).state == state


def test_a_clock_that_is_a_minute_off_is_refused() -> None:
    with pytest.raises(StartRefused, match=r"61\.0 s behind"):
        judged(-61_000)


def test_postgresql_is_asked_for_its_walls_and_its_clock(tmp_path: Path, postgres: Postgres) -> None:
    found, states = _look(_settings(tmp_path / "data", database_url=postgres.url))
    told = {row.name: row.found for row in found.rows}
    assert states["migrations"] == "ok", told
    assert "the walls between tenants stand" in told["migrations"]
    assert states["clock"] in ("ok", "warning")  # the machine may be busy; that it was asked is what counts
    assert "the database's" in told["clock"]

    async def clock() -> int | None:
        catalog = await Catalog.open(postgres.url)
        try:
            return await catalog.clock()
        finally:
            await catalog.close()

    assert isinstance(asyncio.run(clock()), int)
