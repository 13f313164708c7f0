"""Migrating: once, in order, never backwards, never over a newer schema."""

from __future__ import annotations

import hashlib
import sqlite3
import subprocess
import sys
from pathlib import Path

import anyio
import anyio.to_thread
import pytest
from alembic import command
from alembic.config import Config
from sqlalchemy import create_engine

import satchel.catalog
from satchel.catalog import projects
from satchel.catalog.schema import SCHEMA_REVISION
from satchel.catalog.scope import Catalog
from satchel.errors import StartRefused
from satchel.objects.ids import new_id

pytestmark = pytest.mark.anyio


def revision_of(path: Path) -> str:
    connection = sqlite3.connect(path)
    found = str(connection.execute("SELECT version_num FROM alembic_version").fetchone()[0])
    connection.close()
    return found


def digest_of(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def migrate_elsewhere(url: str) -> tuple[int, bytes]:
    """Migrate in a process of its own; its exit status and what it complained of."""
    program = "import anyio, sys; from satchel.catalog.scope import Catalog; anyio.run(Catalog.migrate, sys.argv[1])"
    done = subprocess.run([sys.executable, "-c", program, url], capture_output=True, timeout=60)
    return done.returncode, done.stderr


async def test_migrating_twice_is_migrating_once(tmp_path: Path) -> None:
    for _ in range(2):
        await Catalog.migrate(f"sqlite:///{tmp_path}/c.db")
        assert revision_of(tmp_path / "c.db") == SCHEMA_REVISION
    await (await Catalog.open(f"sqlite:///{tmp_path}/c.db")).close()


async def test_a_catalog_from_the_future_is_refused_and_left_untouched(catalog_path: Path) -> None:
    connection = sqlite3.connect(catalog_path)
    connection.execute("UPDATE alembic_version SET version_num = '9999'")
    connection.commit()
    connection.close()
    before = digest_of(catalog_path)
    for attempt in (Catalog.migrate, Catalog.open):
        with pytest.raises(StartRefused, match="newer") as caught:
            await attempt(f"sqlite:///{catalog_path}")
        assert "newer Satchel" in caught.value.hint
    assert digest_of(catalog_path) == before


async def test_a_catalog_never_migrated_is_not_opened(tmp_path: Path) -> None:
    with pytest.raises(StartRefused, match="migrated"):
        await Catalog.open(f"sqlite:///{tmp_path}/c.db")


async def test_processes_that_migrate_at_once_wait_for_each_other(tmp_path: Path) -> None:
    results = []

    async def migrate() -> None:
        results.append(await anyio.to_thread.run_sync(migrate_elsewhere, f"sqlite:///{tmp_path}/c.db"))

    async with anyio.create_task_group() as group:
        for _ in range(3):
            group.start_soon(migrate)
    assert results == [(0, b"")] * 3
    assert revision_of(tmp_path / "c.db") == SCHEMA_REVISION


@pytest.mark.promise("P6")
async def test_a_migration_that_dies_leaves_nothing_and_the_next_one_succeeds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from satchel.catalog import revision

    real = revision.upgrade

    def dying(connection: object) -> None:
        real(connection)  # type: ignore[arg-type]
        raise KeyboardInterrupt

    url = f"sqlite:///{tmp_path}/c.db"
    monkeypatch.setattr(revision, "upgrade", dying)
    with pytest.raises(KeyboardInterrupt):
        await Catalog.migrate(url)
    left = sqlite3.connect(tmp_path / "c.db")
    assert left.execute("SELECT count(*) FROM sqlite_master").fetchone() == (0,)
    left.close()
    monkeypatch.setattr(revision, "upgrade", real)
    await Catalog.migrate(url)
    assert revision_of(tmp_path / "c.db") == SCHEMA_REVISION


async def test_a_catalog_of_the_first_revision_is_brought_to_the_newest_with_all_its_rows(tmp_path: Path) -> None:
    path = tmp_path / "c.db"
    config = Config()
    config.set_main_option("script_location", str(Path(satchel.catalog.__file__).with_name("migrations")))
    engine = create_engine(f"sqlite:///{path}")
    tenant, project = new_id("ten", bytes(16)), new_id("prj", bytes(16))
    with engine.begin() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, "0001")
        connection.exec_driver_sql(
            "INSERT INTO tenant VALUES (?, 'acme', 'Acme', 'active', 1, -1, -1, -1, -1)", (tenant,)
        )
        connection.exec_driver_sql(
            "INSERT INTO project VALUES (?, ?, 'notes', '', 1, NULL, 'lin', 3, 'digest', 2, 10)", (tenant, project)
        )
    engine.dispose()
    await Catalog.migrate(f"sqlite:///{path}")
    assert revision_of(path) == SCHEMA_REVISION
    catalog = await Catalog.open(f"sqlite:///{path}")
    async with catalog.read(tenant) as s:
        row = await projects.get(s, "notes")
        assert row is not None
        assert (row.id, row.version) == (project, 3)
    await catalog.close()
