"""The database's own wall: every statement of the catalog, with its tenant's filter taken out, meets nothing foreign.

Three tenants have rows with the same ids in every table, without the foreign and unique keys that would keep a change
from being tried. Each statement is opened (`statements.opened`: no filter by tenant, no comparison with a value given),
and run past the guard as the serving role. The measure is what it answers where the other tenants never were.
"""

from __future__ import annotations

import asyncio
from contextlib import AbstractAsyncContextManager
from typing import Any, NamedTuple

import asyncpg
import pytest
from sqlalchemy import BigInteger, Column, Insert, LargeBinary, String, Table, bindparam, select
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncConnection, create_async_engine
from sqlalchemy.pool import NullPool

from satchel.catalog.connection import open_database
from satchel.catalog.direct import Writer
from satchel.catalog.postgres import Postgres as Postgres_
from satchel.catalog.schema import DIRECTORY, METADATA
from satchel.objects.ids import TenantId, new_id
from tests.isolation import statements
from tests.isolation.statements import Made, opened, parameters, tables
from tests.postgres import Postgres, run_sql

pytestmark = [pytest.mark.anyio, pytest.mark.promise("P5")]

A, B, C = (TenantId(new_id("ten", letter * 16)) for letter in (b"a", b"b", b"c"))
PROJECT = METADATA.tables["project"]
KEYS = {column.name for table in METADATA.tables.values() for column in table.primary_key} - {"tenant_id"}
REFUSED = "42501"
READ_ONLY = "25006"
"""What a reader is told who would lock rows."""
DIFFERENT = ("21000", "23505")
"""What else a database may say: several values where one is asked for, a key that is taken."""
FOREIGN_AND_UNIQUE = """
    SELECT format('ALTER TABLE %s DROP CONSTRAINT %I', conrelid::regclass, conname)
    FROM pg_constraint WHERE connamespace = 'public'::regnamespace AND contype IN ('f', 'u') ORDER BY contype
"""
ROWS_OF = "SELECT coalesce(string_agg(t::text, '|' ORDER BY t::text), '') FROM {} t"


class Told(NamedTuple):
    """What a statement answered: its rows in no order, or how many rows it touched; or why it was refused."""

    rows: tuple[str, ...] = ()
    touched: int = 0
    refused: str = ""


def row(table: Table, tenant: TenantId) -> dict[str, object]:
    """A tenant's row: what is a key anywhere is the same for all of them, other text tells whose it is."""
    apart = 10 + (A, B, C).index(tenant) if _alone(table) else 0

    def value(column: Column[Any]) -> object:
        if column.name == "tenant_id":
            return tenant
        if isinstance(column.type, String):
            return "same" if column.name in KEYS and not apart else f"of {tenant}"
        if isinstance(column.type, LargeBinary):
            return b"same" if column.name in KEYS and not apart else tenant.encode()
        return None if column.nullable else 1 + apart

    return {column.name: value(column) for column in table.c}


def _alone(table: Table) -> bool:
    """Whether rows of tenants share one key that does not tell them apart."""
    return "tenant_id" in table.c and "tenant_id" not in table.primary_key.columns


@pytest.fixture
async def filled(postgres: Postgres) -> Postgres:
    """A row of each of three tenants in every table, and no keys between tables."""
    drops = await run_sql(postgres.admin, FOREIGN_AND_UNIQUE)
    await run_sql(postgres.admin, *[drop[0] for drop in drops])
    async with beyond(postgres) as connection:
        for table in tables():
            whose = (A, B, C) if "tenant_id" in table.c else (A,)
            await connection.execute(table.insert(), [row(table, tenant) for tenant in whose])
    return postgres


class beyond:  # noqa: N801 - used as a context manager
    """A transaction of the superuser, whom no wall stops."""

    def __init__(self, database: Postgres) -> None:
        async def connect(**_: object) -> Any:
            return await asyncpg.connect(database.admin, statement_cache_size=0)

        self._engine = create_async_engine("postgresql+asyncpg://", async_creator=connect, poolclass=NullPool)

    async def __aenter__(self) -> AsyncConnection:
        self._begun = self._engine.begin()
        return await self._begun.__aenter__()

    async def __aexit__(self, *error: Any) -> None:
        await self._begun.__aexit__(*error)
        await self._engine.dispose()


async def tell(connection: AsyncConnection | Writer, statement: Any, given: dict[str, object]) -> Told:
    """Run a statement and undo it."""
    await connection.exec_driver_sql("SAVEPOINT one")
    try:
        result = await connection.execute(statement, given)
        if not statement.is_dml:
            return Told(tuple(sorted(repr(tuple(row)) for row in result.all())))
        return Told(touched=result.rowcount)
    except (DBAPIError, asyncpg.PostgresError) as error:
        state = str(getattr(getattr(error, "orig", error), "sqlstate", None))
        if state not in (REFUSED, *DIFFERENT):
            raise
        return Told(refused=state)
    finally:
        await connection.exec_driver_sql("ROLLBACK TO SAVEPOINT one")


async def without_others(connection: AsyncConnection, inside: TenantId | None) -> None:
    """Take away every row that is not the tenant's, or for None not the directory's."""
    for table in tables():
        own = "tenant_id" in table.c if inside else table.name in DIRECTORY
        if table.name != "channel":
            where = f"tenant_id <> '{inside}'" if inside and own else "false" if own else "true"
            await connection.exec_driver_sql(f"DELETE FROM {table.name} WHERE {where}")


async def leaks(database: Postgres, inside: TenantId | None, made: list[Made]) -> dict[str, str]:
    """Statements that meet something foreign in the scope of ``inside`` (None: the directory's), and how."""
    stripped = [(one.where, opened(one.statement)) for one in made if not isinstance(one.statement, Insert)]
    inserts = [(one.where, one.statement) for one in made if isinstance(one.statement, Insert)]
    async with beyond(database) as connection:
        await without_others(connection, inside)
        alone = [await tell(connection, statement, parameters(statement)) for _, statement in stripped]
        await connection.rollback()
    found = {}
    serving = open_database(database.url, 4)
    async with serving.writing(inside) as connection:
        assert isinstance(connection, Writer)
        for (where, statement), expected in zip(stripped, alone, strict=True):
            told = await tell(connection, statement, parameters(statement))
            if told not in (expected, Told(refused=REFUSED)):
                found[where] = f"{told} instead of {expected}"
            elif inside is not None and await harms(connection, statement):
                found[where] = "rows of another tenant were changed"
        for where, statement in inserts:
            if inside is not None or statement.table.name not in DIRECTORY:
                told = await tell(connection, statement, {**parameters(statement, B), "scope_tenant": B})
                if told.refused != REFUSED:
                    found[where] = "a row was made for another tenant"
    await serving.close()
    return found


async def harms(connection: Writer, statement: Any) -> bool:
    """Whether a change leaves another tenant's rows of its table other than it found them."""
    if not statement.is_dml or statement.table.name == "channel":  # which holds a number that is everybody's
        return False
    before = await rows_of(connection, B, statement.table)
    await connection.exec_driver_sql("SAVEPOINT harms")
    try:
        await connection.execute(statement, parameters(statement))
        return await rows_of(connection, B, statement.table) != before
    except (DBAPIError, asyncpg.PostgresError):
        return False  # refused, as was told
    finally:
        await connection.exec_driver_sql("ROLLBACK TO SAVEPOINT harms")


async def rows_of(connection: Writer, tenant: TenantId, table: Table) -> object:
    """What the database shows of a table inside a tenant."""
    await connection.exec_driver_sql(f"SELECT set_config('satchel.tenant', '{tenant}', true)")
    (_, [found]), _ = await connection.driver.ask(ROWS_OF.format(table.name), ())
    await connection.exec_driver_sql(f"SELECT set_config('satchel.tenant', '{A}', true)")
    return found


MADE = [*statements.written(), *(one for one in statements.of_tables() if not one.where.endswith(" channel"))]

NARROWED = {
    "audit.list_",  # the rows of one table that were asked for
    "tenants.rename",
    "tenants.erase",
}
"""Functions that make a statement while they run: each is one of `statements.of_tables`, narrowed."""
BEYOND = {
    "revision.current",
    "scope.check",
    "postgres.clock",
    "copying.between",
    "copying._refuse_rows",
    "copying._copy",
    "copying._holding",
    "copying._batches",
}
"""Those outside of every scope: which schema is there, is anybody there, what time is it, and the copy of all rows."""


def test_no_function_makes_a_statement_that_is_not_looked_at_here() -> None:
    assert statements.built_in_functions() == NARROWED | BEYOND


async def test_without_its_filter_no_statement_meets_another_tenant(filled: Postgres) -> None:
    assert len(MADE) > 300
    assert await leaks(filled, A, MADE) == {}


async def test_without_its_filter_no_statement_meets_a_tenant_from_the_directory(filled: Postgres) -> None:
    assert await leaks(filled, None, MADE) == {}


async def test_without_row_level_security_too_nearly_all_of_them_would(filled: Postgres) -> None:
    off = [f"ALTER TABLE {table.name} DISABLE ROW LEVEL SECURITY" for table in tables()]
    await run_sql(filled.admin, *off)
    found = await leaks(filled, A, MADE)
    # Those that may not be run at all, or whose answer (the least number, ...) is the same for every tenant, would not.
    assert len(found) > 0.9 * len(MADE)
    assert {"versions._WHOLE_TREE", "principals._RESOLVE", "audit._INSERT", "delete project"} <= found.keys()


async def test_one_table_without_its_wall_is_noticed(filled: Postgres) -> None:
    await run_sql(filled.admin, "CREATE POLICY wide ON relation USING (true) WITH CHECK (true)")
    some = [one for one in MADE if one.where.endswith((" relation", " project"))]
    found = await leaks(filled, A, some)
    assert {"select relation", "update relation", "delete relation", "insert relation"} <= found.keys()
    assert "select project" not in found


async def test_rows_do_not_move_between_tenants(filled: Postgres) -> None:
    serving = open_database(filled.url, 4)
    async with serving.writing(A) as connection:
        for table in tables():
            if "tenant_id" in table.c:
                moved = await tell(connection, table.update().values(tenant_id=B), {})
                assert moved.refused == REFUSED, table.name
    await serving.close()


async def test_what_a_reader_asks_without_its_filter_meets_no_other_tenant_either(filled: Postgres) -> None:
    """A reader names its tenant in another way than a writer."""
    made = [(one.where, opened(one.statement)) for one in MADE if one.statement.is_select]
    assert len(made) > 100
    async with beyond(filled) as connection:
        await without_others(connection, A)
        alone = [await tell(connection, statement, parameters(statement)) for _, statement in made]
        await connection.rollback()
    serving = open_database(filled.url, 4)
    async with serving.reading(A) as reader:
        for (where, statement), expected in zip(made, alone, strict=True):
            try:
                rows = await reader.execute(statement, parameters(statement))
                told = Told(tuple(sorted(repr(tuple(row)) for row in rows)))
            except asyncpg.PostgresError as error:
                told = Told(refused=str(error.sqlstate))
            assert told in (expected, Told(refused=REFUSED), Told(refused=READ_ONLY)), where
    await serving.close()


async def test_a_readers_connection_goes_from_tenant_to_tenant_and_names_the_right_one(filled: Postgres) -> None:
    whose = select(PROJECT.c.tenant_id, bindparam("any", type_=BigInteger))
    serving = open_database(filled.url, 4)
    assert isinstance(serving, Postgres_)

    async def seen(tenant: TenantId | None) -> list[Any]:
        async with serving.reading(tenant) as reader:
            return [row[0] for row in await reader.execute(whose, {"any": 1})]

    assert await seen(A) == [A]
    [line] = serving._read.idle
    assert await line.fetch("SELECT * FROM project") == []  # alone it is nobody's
    assert await seen(B) == [B]
    assert await seen(None) == []
    async with serving.reading(None) as reader:
        await serving.enter(reader, C, writing=False)
        assert [row[0] for row in await reader.execute(whose, {"any": 1})] == [C]
    # What cannot be sent and what the database refuses leave nothing behind, neither of the tenant nor of the answer.
    with pytest.raises(asyncpg.DataError):
        async with serving.reading(A) as reader:
            await reader.execute(whose, {"any": "no number"})
    assert await seen(B) == [B]
    with pytest.raises(asyncpg.DivisionByZeroError):
        async with serving.reading(A) as reader:
            await reader.execute(select(PROJECT.c.created / (PROJECT.c.created - PROJECT.c.created)))
    assert await seen(B) == [B]
    with pytest.raises(asyncpg.ReadOnlySQLTransactionError):
        async with serving.reading(A) as reader:
            await reader.execute(PROJECT.delete())
    assert await seen(A) == [A]
    assert serving._read.idle == [line]
    await serving.close()


async def test_readers_that_are_cut_off_leave_nothing_to_those_behind_them(filled: Postgres) -> None:
    """Few connections, many tenants by turns, and half of them given up at every moment there is."""
    whose = select(PROJECT.c.tenant_id)
    serving = open_database(filled.url, 4)
    foreign: list[tuple[TenantId, object]] = []
    ended = {"well": 0, "cut off": 0}

    async def read(tenant: TenantId) -> None:
        async with serving.reading(tenant) as reader:
            for _ in range(3):
                seen = [row[0] for row in await reader.execute(whose)]
                foreign.extend((tenant, other) for other in seen if other != tenant)
                assert seen

    async def one(number: int) -> None:
        task = asyncio.create_task(read((A, B, C)[number % 3]))
        for _ in range(number % 60 if number % 2 else 1_000_000):
            if task.done():
                break
            await asyncio.sleep(0)
        task.cancel()
        [outcome] = await asyncio.gather(task, return_exceptions=True)
        assert outcome is None or isinstance(outcome, asyncio.CancelledError), repr(outcome)
        ended["well" if outcome is None else "cut off"] += 1

    for start in range(0, 600, 12):
        await asyncio.gather(*map(one, range(start, start + 12)))
    await serving.close()
    assert foreign == []
    assert min(ended.values()) > 100, ended


async def test_a_readers_statement_goes_on_after_its_table_was_changed(filled: Postgres) -> None:
    whose = select(PROJECT.c.slug)
    serving = open_database(filled.url, 4)
    async with serving.reading(A) as reader:
        before = [tuple(row) for row in await reader.execute(whose)]
        await run_sql(filled.admin, "ALTER TABLE project ALTER COLUMN slug TYPE varchar(90)")
        assert [tuple(row) for row in await reader.execute(whose)] == before
    await serving.close()


async def counts(connection: asyncpg.Connection[asyncpg.Record]) -> dict[str, int]:
    return {table.name: await connection.fetchval(f"SELECT count(*) FROM {table.name}") for table in tables()}


@pytest.mark.parametrize("role", ["serving", "owner"])
async def test_outside_of_a_scope_a_connection_sees_nothing_neither_before_nor_after_one(
    filled: Postgres, role: str
) -> None:
    connection = await asyncpg.connect(filled.url if role == "serving" else filled.owner)
    nothing = {table.name: 2 if table.name == "channel" else 0 for table in tables()}
    assert await counts(connection) == nothing
    async with connection.transaction():
        await connection.execute("SELECT set_config('satchel.tenant', $1, true)", A)
        inside = await counts(connection)
    assert inside["project"] == inside["tenant"] == 1
    assert inside["person"] == inside["signing_key"] == 0
    assert await counts(connection) == nothing
    async with connection.transaction():
        await connection.execute("SELECT set_config('satchel.door', 'directory', true)")
        assert {name for name, count in (await counts(connection)).items() if count} == DIRECTORY - {"alembic_version"}
    assert await counts(connection) == nothing
    await connection.close()


async def end_badly(opened_: AbstractAsyncContextManager[Any]) -> None:
    async with opened_ as connection:
        assert (await connection.execute(select(PROJECT.c.tenant_id))).first() in ((A,), None)
        raise RuntimeError("on purpose")


async def test_what_a_scope_sets_ends_with_its_transaction_however_it_ends(filled: Postgres) -> None:
    names = [f"satchel.{name}" for name in ("tenant", "door")]
    serving = open_database(filled.url, 4)
    assert isinstance(serving, Postgres_)
    for opened_ in (serving.reading(A), serving.writing(A), serving.writing(None)):
        with pytest.raises(RuntimeError, match="on purpose"):
            await end_badly(opened_)
    async with serving.writing(A) as connection:
        assert (await connection.execute(select(PROJECT.c.tenant_id))).first() == (A,)
    [reader], [writer] = serving._read.idle, serving._write.idle
    for name in names:
        for left in (reader, writer):
            assert await left.fetchval(f"SELECT current_setting('{name}', true)") in (None, ""), name
    await serving.close()
