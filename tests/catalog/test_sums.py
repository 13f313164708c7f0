"""A row that anything but Satchel changed is found."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from sqlalchemy import select

from satchel.catalog import guard, principals, projects
from satchel.catalog.schema import METADATA, UNREACHED
from satchel.catalog.scope import Catalog
from satchel.catalog.sums import SUMMED
from satchel.catalog.tenants import SUSPENDED, erase, set_state
from tests.catalog.make import NOW, PEPPER, PROJECT, Tenants, hold, lengthen

pytestmark = pytest.mark.anyio


async def live_a_little(catalog: Catalog, at: Tenants) -> None:
    """Rows are added, changed and deleted in most tables."""
    async with catalog.write(at.a) as s:
        pack = await hold(s, "one", "two")
        await lengthen(s, {"a.md": "one", "b.md": "two"}, packs=[pack])
        await lengthen(s, {"a.md": "two", "b.md": None})
        await projects.set_relations(s, PROJECT, [("part-of", "other")])
        await projects.set_relations(s, PROJECT, [])
        made, _ = await principals.issue_key(s, pepper=PEPPER, name="key", now=NOW)
        assert await principals.revoke(s, made.id, NOW)
    async with catalog.directory(write=True) as d:
        await set_state(d, at.b, SUSPENDED)


def by_hand(path: Path, statement: str) -> None:
    with closing(sqlite3.connect(path)) as connection, connection:
        assert connection.execute(statement).rowcount != 0


async def test_all_that_satchel_writes_is_in_the_sums(catalog: Catalog, tenants: Tenants) -> None:
    assert await catalog.problems() == []
    await live_a_little(catalog, tenants)
    assert await catalog.problems() == []


async def test_an_erased_tenant_leaves_the_sums_right(catalog: Catalog, tenants: Tenants) -> None:
    await live_a_little(catalog, tenants)
    async with catalog.directory(write=True) as d:
        await erase(d, tenants.a)
    assert await catalog.problems() == []


async def test_a_transaction_that_fails_leaves_the_sums_as_they_were(catalog: Catalog, tenants: Tenants) -> None:
    async def fail() -> None:
        async with catalog.write(tenants.a) as s:
            await projects.update(s, PROJECT, description="not to be")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        await fail()
    assert await catalog.problems() == []


@pytest.mark.parametrize(
    ("table", "statement"),
    [
        ("entry", "UPDATE entry SET title = 'Title of onf' WHERE path = 'a.md' AND since = 1"),
        ("principal", "UPDATE principal SET tenant_role = 'owner' WHERE name = 'key'"),
        ("principal", "UPDATE principal SET revoked = NULL WHERE name = 'key'"),
        ("pack", "UPDATE pack SET size = size + 1"),
        ("tenant", "UPDATE tenant SET storage_bytes_limit = storage_bytes_limit + 1"),
        ("version", "DELETE FROM version WHERE version = 2"),
        ("row_sum", "UPDATE row_sum SET sum = sum + 1 WHERE name = 'entry'"),
    ],
)
async def test_a_row_changed_behind_satchels_back_is_found(
    catalog: Catalog, catalog_path: Path, tenants: Tenants, table: str, statement: str
) -> None:
    await live_a_little(catalog, tenants)
    by_hand(catalog_path, statement)
    named = "entry" if table == "row_sum" else table
    assert [line for line in await catalog.problems() if f"a row of {named} is" in line]
    await catalog.accept_rows()
    assert await catalog.problems() == []


async def test_a_changed_definition_of_a_table_is_found(catalog: Catalog, catalog_path: Path) -> None:
    by_hand(catalog_path, "CREATE INDEX planted ON audit (time)")
    assert "its tables are defined" in "".join(await catalog.problems())


def test_every_table_but_the_one_the_packs_prove_is_summed() -> None:
    assert {table.name for table in SUMMED} == METADATA.tables.keys() - UNREACHED - {"place"}


async def test_the_sums_are_out_of_reach_of_every_statement(catalog: Catalog, tenants: Tenants) -> None:
    query = select(METADATA.tables["row_sum"].c.sum)
    async with catalog.read(tenants.a) as s:
        with pytest.raises(guard.UnscopedStatement):
            await s.rows(query)
    async with catalog.directory() as d:
        with pytest.raises(guard.UnscopedStatement):
            await d.rows(query)
