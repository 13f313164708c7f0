"""A whole catalog moved from one engine to the other, or to a file, is the same catalog."""

from __future__ import annotations

import sqlite3
from collections.abc import AsyncIterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Table, update
from sqlalchemy.ext.asyncio import AsyncConnection

from satchel.catalog import audit, copying, idempotency, principals, projects, tenants, versions
from satchel.catalog.bootstrap import found_tenant
from satchel.catalog.copying import CatalogNotEmpty
from satchel.catalog.schema import METADATA, entry
from satchel.catalog.scope import Catalog
from satchel.catalog.trouble import CatalogInUse
from satchel.errors import InternalError, StartRefused
from satchel.objects.ids import TenantId
from tests.catalog.make import NOW, PEPPER, PROJECT, Tenants, hold, lengthen
from tests.postgres import Postgres, run_sql

pytestmark = pytest.mark.anyio


async def live(catalog: Catalog) -> Tenants:
    """Two tenants that have seen something; one of them with more rows than one batch holds."""
    at = await Tenants.found(catalog)
    async with catalog.write(at.a) as s:
        pack = await hold(s, "one", "two")
        await lengthen(s, {"a.md": "one", "ü/ß.md": "two"}, packs=[pack])
        await lengthen(s, {"a.md": "two", "ü/ß.md": None})
        await projects.set_relations(s, PROJECT, [("part-of", "other")])
        made, _ = await principals.issue_key(s, pepper=PEPPER, name="a key", now=NOW)
        await principals.revoke(s, made.id, NOW)
        await idempotency.save(s, "who", "route", "key", "hash", "{}", NOW)
        for number in range(40):
            await audit.record(s, None, f"act.{number}", "target", "done", "req", NOW + number)
    async with catalog.directory(write=True) as d:
        await tenants.set_state(d, at.b, tenants.SUSPENDED)
    return at


async def contents(url: str) -> dict[str, list[tuple[object, ...]]]:
    """Every row of a catalog in a file, but what is not copied."""
    found = {}
    with closing(sqlite3.connect(url.removeprefix("sqlite:///"))) as connection:
        for table in METADATA.sorted_tables:
            if table.name not in {"channel", "change", "row_sum"}:
                found[table.name] = sorted(map(repr, connection.execute(f'SELECT * FROM "{table.name}"')))
    return found  # type: ignore[return-value]


@pytest.fixture
def batches_of_seven(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(copying, "BATCH", 7)


@pytest.mark.promise("P3")
@pytest.mark.usefixtures("batches_of_seven")
async def test_there_and_back_again_every_row_is_what_it_was(
    catalog_path: Path, postgres: Postgres, tmp_path: Path
) -> None:
    url = f"sqlite:///{catalog_path}"
    catalog = await Catalog.open(url)
    at = await live(catalog)
    await catalog.close()
    before = await contents(url)

    told = []
    counts = await Catalog.move(url, postgres.url, progress=lambda done, total: told.append((done, total)))
    assert {name: rows for name, (rows, _) in counts.items() if rows} == {
        name: len(rows) for name, rows in before.items() if rows
    }
    assert told[-1] == (2, 2)
    moved = await Catalog.open(postgres.url)
    async with moved.read(at.a) as s:
        assert (await versions.head(s, PROJECT)).version == 2
    async with moved.write(at.a) as s:  # and it goes on there
        await lengthen(s, {"c.md": "one"})
    async with moved.write(at.a) as s:
        assert (await versions.head(s, PROJECT)).version == 3
    await moved.close()

    back = f"sqlite:///{tmp_path}/back.db"
    await Catalog.migrate(back)
    await Catalog.move(postgres.url, back)
    after = await contents(back)
    assert {name: rows for name, rows in after.items() if name not in {"entry", "project", "version"}} == {
        name: rows for name, rows in before.items() if name not in {"entry", "project", "version"}
    }
    again = await Catalog.open(back)
    assert await again.problems() == []
    await again.close()


async def test_a_snapshot_of_a_database_is_a_file_that_is_a_catalog(
    catalog: Catalog, tmp_path: Path, catalog_url: str
) -> None:
    at = await live(catalog)
    file = tmp_path / "snapshot.db"
    await catalog.snapshot(file)
    assert file.stat().st_mode & 0o777 == 0o600
    opened = await Catalog.open(f"sqlite:///{file}")
    async with opened.read(at.a) as s, catalog.read(at.a) as own:
        assert await versions.tree(s, PROJECT, 1) == await versions.tree(own, PROJECT, 1)
        assert len(await audit.list_(s, limit=1_000)) == 40
    assert await opened.problems() == []
    await opened.close()


async def test_a_catalog_is_moved_into_an_empty_one_only(catalog_path: Path, postgres: Postgres) -> None:
    url = f"sqlite:///{catalog_path}"
    target = await Catalog.open(postgres.url)
    async with target.directory(write=True) as d:
        await found_tenant(d, slug="there", name="There", pepper=PEPPER, now=NOW)
    with pytest.raises(CatalogNotEmpty):
        await Catalog.move(url, postgres.url)
    async with target.directory() as d:
        assert [row.slug for row in await tenants.list_(d)] == ["there"]
    await target.close()


async def test_a_catalog_that_somebody_has_open_is_not_moved(
    catalog_path: Path, postgres: Postgres, tmp_path: Path
) -> None:
    url = f"sqlite:///{catalog_path}"
    server = await Catalog.open(url)
    with pytest.raises(CatalogInUse):
        await Catalog.move(url, postgres.url)
    async with server.directory(write=True) as d:  # which goes on as before
        await found_tenant(d, slug="there", name="There", pepper=PEPPER, now=NOW)
    await server.close()
    await Catalog.move(url, postgres.url)

    node = await Catalog.open(postgres.url)
    back = f"sqlite:///{tmp_path}/back.db"
    await Catalog.migrate(back)
    with pytest.raises(CatalogInUse):
        await Catalog.move(postgres.url, back)
    await node.close()
    await Catalog.move(postgres.url, back)


async def test_a_tenant_is_asked_only_for_the_tables_in_which_it_has_rows(
    catalog_path: Path, postgres: Postgres, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = f"sqlite:///{catalog_path}"
    catalog = await Catalog.open(url)
    await live(catalog)
    await catalog.close()
    asked, found, right = 0, 0, copying._batches

    async def counted(
        connection: AsyncConnection, table: Table, inside: TenantId | None
    ) -> AsyncIterator[list[tuple[Any, ...]]]:
        nonlocal asked, found
        asked += inside is not None
        async for rows in right(connection, table, inside):
            found += inside is not None
            yield rows

    monkeypatch.setattr(copying, "_batches", counted)
    await Catalog.move(url, postgres.url)
    assert asked == found > 0


@pytest.mark.promise("P3")
async def test_a_row_that_arrives_otherwise_than_it_was_sent_stops_the_move(
    catalog_path: Path, postgres: Postgres, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = f"sqlite:///{catalog_path}"
    catalog = await Catalog.open(url)
    await live(catalog)
    await catalog.close()
    right = copying._copy

    async def planted(
        table: Table, inside: TenantId | None, source: AsyncConnection, into: AsyncConnection, sent: copying.Count
    ) -> None:
        await right(table, inside, source, into, sent)
        if table is entry:
            await into.execute(update(entry).values(title="another"))

    monkeypatch.setattr(copying, "_copy", planted)
    with pytest.raises(InternalError, match="entry"):
        await Catalog.move(url, postgres.url)
    assert (await run_sql(postgres.admin, "SELECT count(*) FROM tenant"))[0][0] == 0


async def test_a_database_that_was_not_migrated_takes_no_catalog(catalog_path: Path, empty_postgres: Postgres) -> None:
    with pytest.raises(StartRefused, match="migrated"):
        await Catalog.move(f"sqlite:///{catalog_path}", empty_postgres.url)
