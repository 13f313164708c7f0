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
from satchel.auth.keys import derive_refresh, key_mac, make_refresh
from satchel.catalog import projects, sessions, signing
from satchel.catalog.schema import SCHEMA_REVISION
from satchel.catalog.scope import Catalog
from satchel.errors import CredentialInvalid, StartRefused
from satchel.objects.ids import TenantId, new_id

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


async def test_sessions_and_signing_keys_of_before_0004_go_on(tmp_path: Path) -> None:
    """Refresh tokens were random then, and had no numbers; a signing key signed from the moment it was made."""
    path, pepper = tmp_path / "c.db", b"p" * 32
    config = Config()
    config.set_main_option("script_location", str(Path(satchel.catalog.__file__).with_name("migrations")))
    engine = create_engine(f"sqlite:///{path}")
    tenant, member, family = TenantId(new_id("ten", bytes(16))), new_id("mem", bytes(16)), new_id("fam", bytes(16))
    used, newest = (make_refresh(tenant, family, bytes([n]) * 32) for n in (1, 2))
    with engine.begin() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, "0003")
        run = connection.exec_driver_sql
        run(
            "INSERT INTO tenant (tenant_id, slug, name, state, created, storage_bytes_limit, projects_limit,"
            " members_limit, keys_limit) VALUES (?, 'acme', 'Acme', 'active', 1, -1, -1, -1, -1)",
            (tenant,),
        )
        run(
            "INSERT INTO principal (tenant_id, principal_id, kind, name, tenant_role, created)"
            " VALUES (?, ?, 'member', 'Ann', 'member', 1)",
            (tenant, member),
        )
        run("INSERT INTO refresh_family VALUES (?, ?, ?, 1, 9999, NULL)", (tenant, family, member))
        for text, when in ((used, 2), (newest, None)):
            run("INSERT INTO refresh_token VALUES (?, ?, ?, 1, ?)", (tenant, family, key_mac(pepper, text), when))
        run("INSERT INTO signing_key VALUES ('sig_old', '{}', x'00', 7, NULL)")
    engine.dispose()
    await Catalog.migrate(f"sqlite:///{path}")
    catalog = await Catalog.open(f"sqlite:///{path}")
    found, second = await sessions.rotate(catalog, newest, pepper=pepper, now=5)
    assert (found.principal_id, found.generation, found.client_id) == (member, 1, None)
    assert second == derive_refresh(pepper, tenant, family, 1)
    with pytest.raises(CredentialInvalid):
        await sessions.rotate(catalog, used, pepper=pepper, now=5)  # used before: not the one before the newest
    with pytest.raises(CredentialInvalid):
        await sessions.rotate(catalog, second, pepper=pepper, now=5)
    async with catalog.directory() as d:
        signs = signing.signing(await signing.all_(d))
    assert signs is not None
    assert (signs.kid, signs.signs_from) == ("sig_old", 7)
    await catalog.close()
