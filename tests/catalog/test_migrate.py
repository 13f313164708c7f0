"""Migrating a PostgreSQL database: where it leads, with rows there and others at work, and what is refused."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import asyncpg
import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from sqlalchemy import Connection, insert, select, text, update

import satchel.catalog
from satchel.catalog import audit, projects, revision, versions
from satchel.catalog import postgres as engine_module
from satchel.catalog.connection import open_database
from satchel.catalog.schema import METADATA, SCHEMA_REVISION, TENANT, mine, project, relation
from satchel.catalog.scope import Catalog, CatalogUnavailable
from satchel.errors import StartRefused
from satchel.objects.ids import TenantId, new_id
from tests.postgres import SERVING, Postgres, run_sql

pytestmark = pytest.mark.anyio

TENANT_ID, PROJECT_ID = TenantId(new_id("ten", bytes(16))), new_id("prj", bytes(16))
FIRST_ROWS = (
    f"INSERT INTO tenant VALUES ('{TENANT_ID}', 'acme', 'Acme', 'active', 1, -1, -1, -1, -1)",
    f"INSERT INTO project VALUES ('{TENANT_ID}', '{PROJECT_ID}', 'notes', '', 1, NULL, 'lin', 3, 'digest', 2, 10)",
)


def upgrade_to(connection: Connection, wanted: str) -> None:
    config = Config()
    config.set_main_option("script_location", str(Path(satchel.catalog.__file__).with_name("migrations")))
    config.attributes["connection"] = connection
    command.upgrade(config, wanted)


async def older(database: Postgres, wanted: str, *rows: str) -> None:
    """Bring an empty database to an older revision, and put rows into it."""
    owner = open_database(database.owner, 4)
    async with owner.filling() as connection:
        await connection.run_sync(upgrade_to, wanted)
    await owner.close()
    await run_sql(database.admin, *rows)


async def revision_of(database: Postgres) -> str:
    return str((await run_sql(database.admin, "SELECT version_num FROM alembic_version"))[0][0])


async def test_the_migrations_lead_to_exactly_these_tables(postgres: Postgres) -> None:
    def differences(connection: Connection) -> list[object]:
        options = {"compare_type": True, "compare_server_default": True}
        return list(compare_metadata(MigrationContext.configure(connection, opts=options), METADATA))

    owner = open_database(postgres.owner, 4)
    async with owner.whole() as connection:
        assert await connection.run_sync(differences) == []
    await owner.close()


async def test_text_sorts_by_code_point_in_every_column(postgres: Postgres) -> None:
    others = await run_sql(
        postgres.admin,
        "SELECT a.attrelid::regclass, attname FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid "
        "JOIN pg_collation o ON o.oid = a.attcollation WHERE relnamespace = 'public'::regnamespace AND relkind = 'r' "
        "AND relname <> 'alembic_version' AND collname <> 'C'",
    )
    assert others == []


async def test_a_catalog_of_the_first_revision_is_brought_to_the_newest_with_all_its_rows(
    empty_postgres: Postgres,
) -> None:
    audited = [
        f"INSERT INTO audit VALUES ('{TENANT_ID}', 'aud_{n}', 1, '', '', 'a', 't', 'done', '')" for n in range(3)
    ]
    await older(empty_postgres, "0001", *FIRST_ROWS, *audited)
    await owner_raises_walls(empty_postgres)  # which hold the owner too
    with pytest.raises(StartRefused, match="migrated to this version"):
        await Catalog.migrate(empty_postgres.owner)
    await Catalog.migrate(empty_postgres.owner, serving=SERVING)
    assert await revision_of(empty_postgres) == SCHEMA_REVISION
    catalog = await Catalog.open(empty_postgres.url)
    async with catalog.read(TENANT_ID) as s:
        row = await projects.get(s, "notes")
        assert row is not None
        assert (row.id, row.version) == (PROJECT_ID, 3)
        assert [row.sequence for row in await audit.list_(s)] == [3, 2, 1]
    await catalog.close()


async def test_migrating_twice_changes_nothing_and_waits_for_nobody(postgres: Postgres) -> None:
    async with holding(postgres.url) as reader:
        await reader.fetch("SELECT count(*) FROM tenant, project, audit, entry")  # and keeps its locks
        await Catalog.migrate(postgres.owner, serving=SERVING)
    assert await revision_of(postgres) == SCHEMA_REVISION


async def test_migrators_that_come_at_once_wait_for_each_other(empty_postgres: Postgres) -> None:
    await asyncio.gather(*[Catalog.migrate(empty_postgres.owner, serving=SERVING) for _ in range(3)])
    assert await revision_of(empty_postgres) == SCHEMA_REVISION
    await (await Catalog.open(empty_postgres.url)).close()


@pytest.mark.promise("P6")
async def test_a_migrator_that_dies_leaves_the_old_schema_and_the_next_one_succeeds(
    empty_postgres: Postgres, monkeypatch: pytest.MonkeyPatch
) -> None:
    await older(empty_postgres, "0002", *FIRST_ROWS[:1])
    real = revision.upgrade

    def dying(connection: Connection) -> bool:
        real(connection)
        raise KeyboardInterrupt

    monkeypatch.setattr(revision, "upgrade", dying)
    with pytest.raises(KeyboardInterrupt):
        await Catalog.migrate(empty_postgres.owner, serving=SERVING)
    assert await revision_of(empty_postgres) == "0002"
    assert not await run_sql(empty_postgres.admin, "SELECT FROM pg_class WHERE relname = 'reservation'")
    monkeypatch.setattr(revision, "upgrade", real)
    await Catalog.migrate(empty_postgres.owner, serving=SERVING)
    assert await revision_of(empty_postgres) == SCHEMA_REVISION


@pytest.mark.promise("P3")
async def test_a_migrator_whose_connection_is_cut_leaves_the_old_schema(empty_postgres: Postgres) -> None:
    await older(empty_postgres, "0002", *FIRST_ROWS[:1])
    async with holding(empty_postgres.admin) as holder:
        await holder.execute("LOCK TABLE audit IN SHARE MODE")  # the migrator gets as far as this
        migrating = asyncio.create_task(Catalog.migrate(empty_postgres.owner, serving=SERVING))
        await cut(empty_postgres)
        with pytest.raises(CatalogUnavailable):
            await migrating
    assert await revision_of(empty_postgres) == "0002"
    await Catalog.migrate(empty_postgres.owner, serving=SERVING)
    assert await revision_of(empty_postgres) == SCHEMA_REVISION


@asynccontextmanager
async def holding(url: str) -> AsyncIterator[asyncpg.Connection[asyncpg.Record]]:
    """Somebody's transaction, open as long as the block lasts."""
    connection = await asyncpg.connect(url)
    async with connection.transaction():
        yield connection
    await connection.close()


async def cut(database: Postgres) -> None:
    """End the migrator's connection from the server's side while it waits for a table."""
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        if await run_sql(
            database.admin,
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() "
            "AND usename = 'satchel_owner' AND wait_event_type = 'Lock' AND wait_event = 'relation'",
        ):
            return
    raise AssertionError("the migrator never waited for a table")


async def test_a_migrator_gives_way_to_whoever_keeps_a_table_and_succeeds_once_it_is_free(
    empty_postgres: Postgres,
) -> None:
    await older(empty_postgres, "0002", *FIRST_ROWS[:1])
    async with holding(empty_postgres.admin) as holder:
        await holder.execute("LOCK TABLE audit IN SHARE MODE")
        migrating = asyncio.create_task(Catalog.migrate(empty_postgres.owner, serving=SERVING))
        # Somebody who wants another table, which the migrator has changed by then, is let in while the lock is kept.
        await run_sql(empty_postgres.admin, "SELECT pg_sleep(0.2)", "SELECT count(*) FROM tenant")
        assert not migrating.done()
    await migrating
    assert await revision_of(empty_postgres) == SCHEMA_REVISION


async def test_traffic_goes_on_while_the_schema_changes_beneath_it(empty_postgres: Postgres) -> None:
    """As the release before does: statements that know nothing of what the migration adds."""
    await older(empty_postgres, "0002", *FIRST_ROWS)
    await owner_raises_walls(empty_postgres)
    serving = open_database(empty_postgres.url, 6)
    slugs = select(project.c.slug, project.c.version).where(mine(project))
    raise_version = update(project).where(mine(project)).values(version=project.c.version + 1)
    relate = insert(relation).values(tenant_id=TENANT, project_id=PROJECT_ID, type="part-of")
    noted = "INSERT INTO idempotency VALUES ($1, 'mem', 'route', $2, '', '', 1)"
    done: asyncio.Queue[str] = asyncio.Queue()
    over, slowest, written = asyncio.Event(), 0.0, 0

    async def write() -> None:
        nonlocal slowest, written
        while not over.is_set():
            began = time.monotonic()
            async with serving.writing(TENANT_ID) as connection:
                await connection.execute(raise_version, {"scope_tenant": TENANT_ID})
                await connection.execute(relate, {"scope_tenant": TENANT_ID, "target": f"at {written}"})
                await connection.exec_driver_sql(noted, [(TENANT_ID, f"key {written}")])
                await connection.exec_driver_sql("UPDATE tenant SET name = 'Renamed'")
                written += 1
            slowest = max(slowest, time.monotonic() - began)
            done.put_nowait("written")

    async def read() -> None:
        while not over.is_set():
            async with serving.reading(TENANT_ID) as connection:
                [row] = await connection.execute(slugs, {"scope_tenant": TENANT_ID})
                assert row.slug == "notes"
                await connection.execute(text("SELECT name FROM tenant"))
            done.put_nowait("read")

    async with asyncio.TaskGroup() as group:
        for work in (write(), write(), read(), read()):
            group.create_task(work)
        for _ in range(100):
            await done.get()
        await Catalog.migrate(empty_postgres.owner, serving=SERVING)
        while not done.empty():
            done.get_nowait()
        seen = [await done.get() for _ in range(100)]
        over.set()
    await serving.close()
    assert {*seen} == {"written", "read"}
    assert await revision_of(empty_postgres) == SCHEMA_REVISION
    counted = (
        "SELECT (SELECT version FROM project), (SELECT count(*) FROM relation), (SELECT count(*) FROM idempotency)"
    )
    rows = await run_sql(empty_postgres.admin, counted)
    assert tuple(rows[0]) == (3 + written, written, written)
    assert slowest < engine_module.WAIT_SECONDS


async def owner_raises_walls(database: Postgres) -> None:
    """What the migration of the release before did for its own tables: enough of it for this traffic."""
    inside = "tenant_id = NULLIF(current_setting('satchel.tenant', true), '')"
    await run_sql(
        database.owner,
        *[
            statement
            for table in ("tenant", "project", "relation", "idempotency", "audit")
            for statement in (
                f"ALTER TABLE {table} ENABLE ROW LEVEL SECURITY",
                f"ALTER TABLE {table} FORCE ROW LEVEL SECURITY",
                f"CREATE POLICY tenant_wall ON {table} USING ({inside})",
                f"GRANT SELECT, INSERT, UPDATE ON {table} TO {SERVING}",
            )
        ],
    )


# What is refused -------------------------------------------------------------------------------------------------


async def test_a_database_that_is_too_new_is_refused_and_left_untouched(postgres: Postgres) -> None:
    await run_sql(postgres.admin, "UPDATE alembic_version SET version_num = '9999'")
    for attempt in (Catalog.open(postgres.url), Catalog.migrate(postgres.owner, serving=SERVING)):
        with pytest.raises(StartRefused, match="newer") as caught:
            await attempt
        assert "newer Satchel" in caught.value.hint
    assert await revision_of(postgres) == "9999"


async def test_a_database_that_is_too_old_or_empty_is_not_opened(empty_postgres: Postgres) -> None:
    for wanted in (None, "0001", "0002"):
        if wanted:
            await older(empty_postgres, wanted)
            await run_sql(empty_postgres.admin, f"GRANT SELECT ON alembic_version TO {SERVING}")
        with pytest.raises(StartRefused, match="has not been migrated") as caught:
            await Catalog.open(empty_postgres.url)
        assert "satchel admin migrate" in caught.value.hint


async def test_a_server_that_is_too_old_is_refused(empty_postgres: Postgres, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine_module, "OLDEST", 990_000)
    with pytest.raises(StartRefused, match="too old"):
        await Catalog.migrate(empty_postgres.owner, serving=SERVING)
    assert not await run_sql(empty_postgres.admin, "SELECT FROM pg_class WHERE relname = 'tenant'")


async def test_a_role_that_is_not_there_is_named(empty_postgres: Postgres) -> None:
    with pytest.raises(StartRefused, match="there is no role nobody_yet") as caught:
        await Catalog.migrate(empty_postgres.owner, serving="nobody_yet")
    assert "CREATE ROLE" in caught.value.hint


async def test_the_owner_and_the_serving_role_are_two(empty_postgres: Postgres) -> None:
    with pytest.raises(StartRefused, match="two roles"):
        await Catalog.migrate(empty_postgres.url, serving=SERVING)


async def test_an_owner_that_owns_nothing_is_told_what_to_do(empty_postgres: Postgres, postgres: Postgres) -> None:
    for database in (empty_postgres, postgres):
        await run_sql(
            database.admin, "ALTER SCHEMA public OWNER TO postgres", "ALTER TABLE IF EXISTS audit OWNER TO postgres"
        )
        await run_sql(database.admin, "DROP POLICY IF EXISTS tenant_wall ON audit") if database is postgres else None
        with pytest.raises(StartRefused, match="may not make or change the tables") as caught:
            await Catalog.migrate(database.owner, serving=SERVING)
        assert "ALTER SCHEMA public OWNER" in caught.value.hint


async def test_a_project_reads_the_same_after_a_migration_of_an_open_catalog(postgres: Postgres) -> None:
    await run_sql(
        postgres.admin, *[row.replace("VALUES", f"({COLUMNS[n]}) VALUES") for n, row in enumerate(FIRST_ROWS)]
    )
    catalog = await Catalog.open(postgres.url)
    async with catalog.read(TENANT_ID) as s:
        before = await versions.head(s, PROJECT_ID)
    await run_sql(postgres.owner, "ALTER TABLE project ADD COLUMN planted bigint NOT NULL DEFAULT 0")
    async with catalog.read(TENANT_ID) as s:
        assert await versions.head(s, PROJECT_ID) == before
    await catalog.close()


COLUMNS = (
    "tenant_id, slug, name, state, created, storage_bytes_limit, projects_limit, members_limit, keys_limit",
    "tenant_id, project_id, slug, description, created, archived, lineage, version, digest, files, bytes",
)
