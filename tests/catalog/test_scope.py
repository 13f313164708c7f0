"""The door: what a scope is entered with, what passes it, and what it says when the database does not answer."""

from __future__ import annotations

import sqlite3
import stat
from pathlib import Path

import anyio
import pytest
from sqlalchemy import bindparam, insert, select, text, update
from sqlalchemy.exc import IntegrityError

from satchel.catalog import connection, projects, sqlite
from satchel.catalog.guard import UnscopedStatement
from satchel.catalog.schema import TENANT, mine, project, relation
from satchel.catalog.scope import Catalog, CatalogUnavailable
from satchel.errors import ConfigInvalid, StartRefused
from satchel.objects.ids import ProjectId
from tests.catalog.make import PROJECT, Tenants

pytestmark = pytest.mark.anyio

SLUGS = select(project.c.slug).where(mine(project))


def modes_in(folder: Path) -> dict[str, int]:
    return {path.name: stat.S_IMODE(path.stat().st_mode) for path in folder.glob("new.db*")}


@pytest.mark.promise("P5")
async def test_the_tenant_of_a_statement_is_the_scopes_whatever_the_caller_passes(
    catalog: Catalog, tenants: Tenants
) -> None:
    async with catalog.write(tenants.a) as s:
        await projects.update(s, PROJECT, slug="only-in-a")
        for name in ("scope_tenant", "tenant_id"):
            with pytest.raises(UnscopedStatement):
                await s.rows(SLUGS, {name: tenants.b})
            with pytest.raises(UnscopedStatement):
                await s.execute(update(project).where(mine(project)), {name: tenants.b})
            with pytest.raises(UnscopedStatement):
                await s.execute_many(insert(relation).values(tenant_id=TENANT), [name, "type"], [(tenants.b, "x")])
        assert [row.slug for row in await s.rows(SLUGS)] == ["only-in-a"]
    async with catalog.read(tenants.b) as s:
        assert [row.slug for row in await s.rows(SLUGS)] == ["acme"]


@pytest.mark.promise("P5")
async def test_an_open_statement_is_refused_by_the_scope_itself(catalog: Catalog, tenants: Tenants) -> None:
    async with catalog.write(tenants.a) as s:
        with pytest.raises(UnscopedStatement):
            await s.rows(select(project.c.slug))
        with pytest.raises(UnscopedStatement):
            await s.execute_many(update(project).values(slug=bindparam("x")), ["x"], [("gone",)])
        with pytest.raises(UnscopedStatement):
            await s.rows(text("SELECT slug FROM project"))  # type: ignore[arg-type]
    async with catalog.directory() as d:
        with pytest.raises(UnscopedStatement):
            await d.rows(select(project.c.slug))


@pytest.mark.promise("P5")
async def test_a_statement_run_for_many_rows_stays_with_the_tenant(catalog: Catalog, tenants: Tenants) -> None:
    async with catalog.write(tenants.a) as s:
        await projects.set_relations(s, PROJECT, [("part-of", "x"), ("depends-on", "y"), ("part-of", "x")])
        rename = update(relation).where(mine(relation), relation.c.target == bindparam("was")).values(target="z")
        await s.execute_many(rename, ["was"], [("x",), ("y",)])
        assert {row.target for row in await projects.relations(s, PROJECT)} == {"z"}
    async with catalog.write(tenants.b) as s:
        await projects.set_relations(s, PROJECT, [("part-of", "x")])
    async with catalog.write(tenants.a) as s:
        await s.execute_many(rename, ["was"], [("x",)])
    async with catalog.read(tenants.b) as s:
        assert await projects.relations(s, PROJECT) == [("part-of", "x")]


@pytest.mark.parametrize("tenant", ["", "ten_", "default", "prj_00000000000000000000000000", "ten_x' OR 1=1 --"])
async def test_a_scope_is_entered_with_a_tenants_id_and_nothing_else(catalog: Catalog, tenant: str) -> None:
    with pytest.raises(ValueError, match="tenant's id"):
        async with catalog.read(tenant):
            pass
    with pytest.raises(ValueError, match="tenant's id"):
        async with catalog.write(tenant):
            pass


async def test_the_connections_of_readers_cannot_write_even_past_the_guard(
    catalog: Catalog, tenants: Tenants, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("satchel.catalog.guard.check_scoped", lambda *_, **__: None)
    with pytest.raises(CatalogUnavailable):
        async with catalog.read(tenants.a) as s:
            await s.execute(update(project).where(mine(project)).values(slug="written"))


@pytest.mark.promise("P3")
async def test_a_commit_is_on_disk_when_it_returns(catalog_path: Path) -> None:
    database = connection.open_database(f"sqlite:///{catalog_path}")
    async with database.filling() as raw:
        assert (await raw.exec_driver_sql("PRAGMA synchronous")).scalar() == 2
        assert (await raw.exec_driver_sql("PRAGMA journal_mode")).scalar() == "wal"
        assert (await raw.exec_driver_sql("PRAGMA foreign_keys")).scalar() == 1
    await database.close()


@pytest.mark.promise("P10")
async def test_the_files_of_the_catalog_are_their_owners_alone(tmp_path: Path) -> None:
    await Catalog.migrate(f"sqlite:///{tmp_path}/new.db")
    catalog = await Catalog.open(f"sqlite:///{tmp_path}/new.db")
    async with catalog.directory(write=True):
        modes = modes_in(tmp_path)
    await catalog.close()
    assert {"new.db", "new.db-wal"} <= modes.keys()
    assert set(modes.values()) == {0o600}


@pytest.mark.parametrize(
    "url", ["", "nonsense", "sqlite://", "sqlite:///:memory:", "postgresql://h/db?pooler=odd", "mysql://h/db"]
)
async def test_an_address_that_is_not_a_file_is_refused(url: str) -> None:
    with pytest.raises(ConfigInvalid):
        await Catalog.open(url)


async def test_a_folder_that_is_not_there_or_a_file_that_is_none_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigInvalid, match="absent"):
        await Catalog.open(f"sqlite:///{tmp_path}/absent/catalog.db")
    with pytest.raises(ConfigInvalid, match="cannot open"):
        await Catalog.open(f"sqlite:///{tmp_path}")


async def test_a_file_that_is_no_database_stops_the_start_with_its_name(tmp_path: Path) -> None:
    (tmp_path / "catalog.db").write_bytes(b"this was never a database, only text " * 100)
    for attempt in (Catalog.migrate, Catalog.open):
        with pytest.raises(StartRefused, match="not a catalog"):
            await attempt(f"sqlite:///{tmp_path}/catalog.db")


@pytest.mark.promise("P8")
async def test_a_writer_that_waits_too_long_is_told_to_come_back(
    catalog_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sqlite, "WAIT_SECONDS", 0.05)
    catalog = await Catalog.open(f"sqlite:///{catalog_path}")

    async def second() -> None:
        with pytest.raises(CatalogUnavailable):
            async with catalog.directory(write=True):
                pass

    async with catalog.directory(write=True):
        await second()
    async with catalog.directory(write=True):
        pass
    await catalog.close()


async def test_a_writer_of_another_process_is_waited_for(
    catalog: Catalog, catalog_path: Path, tenants: Tenants
) -> None:
    other = sqlite3.connect(catalog_path, isolation_level=None, check_same_thread=False)
    other.execute("BEGIN IMMEDIATE")
    done = anyio.Event()

    async def write() -> None:
        async with catalog.write(tenants.a) as s:
            await projects.update(s, PROJECT, slug="later")
        done.set()

    async with anyio.create_task_group() as group:
        group.start_soon(write)
        with anyio.move_on_after(0.1):
            await done.wait()
        assert not done.is_set()
        other.execute("COMMIT")
    other.close()
    assert done.is_set()


async def test_check_answers_while_the_catalog_does(catalog: Catalog) -> None:
    await catalog.check()


@pytest.mark.promise("P10")
async def test_what_was_deleted_does_not_stay_in_a_free_page_of_the_catalog(
    catalog: Catalog, tenants: Tenants, catalog_path: Path
) -> None:
    word = "a-title-to-be-forgotten"
    async with catalog.write(tenants.a) as s:
        await projects.update(s, PROJECT, description=word * 40)
    async with catalog.write(tenants.a) as s:
        await projects.update(s, PROJECT, description="")
    await catalog.close()
    raw = sqlite3.connect(catalog_path)
    raw.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    raw.close()
    assert word.encode() not in await anyio.Path(catalog_path).read_bytes()


@pytest.mark.promise("P10")
async def test_the_text_of_an_error_holds_none_of_the_values(catalog: Catalog, tenants: Tenants) -> None:
    with pytest.raises(IntegrityError) as caught:
        async with catalog.write(tenants.a) as s:
            await projects.set_relations(s, ProjectId("prj_absent"), [("part-of", "a-canary")])
    assert "a-canary" not in str(caught.value)
