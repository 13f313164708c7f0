"""A migrated catalog for each test, and short ways to found tenants and fill projects."""

from __future__ import annotations

import inspect
import os
import shutil
import sqlite3
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import closing
from pathlib import Path

import anyio
import pytest

from satchel.catalog.scope import Catalog
from tests.catalog.make import Tenants
from tests.postgres import Postgres, run_sql


@pytest.fixture(scope="session")
def migrated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An empty migrated catalog, to be copied: migrating takes longer than most tests."""
    path = tmp_path_factory.mktemp("catalog") / "catalog.db"
    anyio.run(Catalog.migrate, f"sqlite:///{path}")
    return path


@pytest.fixture
def catalog_path(migrated: Path, tmp_path: Path) -> Path:
    shutil.copyfile(migrated, tmp_path / "catalog.db")
    os.chmod(tmp_path / "catalog.db", 0o600)
    return tmp_path / "catalog.db"


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run every test of a catalog on both engines, but those that name the file or whose module says otherwise."""
    if "catalog_url" in metafunc.fixturenames:
        engines = getattr(metafunc.module, "ENGINES", ("SQLite", "PostgreSQL"))
        alone = "catalog_path" in inspect.signature(metafunc.function).parameters
        metafunc.parametrize("catalog_url", ("SQLite",) if alone else engines, indirect=True)


@pytest.fixture
def catalog_url(request: pytest.FixtureRequest) -> str:
    """The address of an empty migrated catalog."""
    if request.param == "SQLite":
        return f"sqlite:///{request.getfixturevalue('catalog_path')}"
    database: Postgres = request.getfixturevalue("postgres")
    return database.url


@pytest.fixture
async def catalog(catalog_url: str) -> AsyncIterator[Catalog]:
    catalog = await Catalog.open(catalog_url)
    yield catalog
    await catalog.close()


@pytest.fixture
def beneath(catalog_url: str, request: pytest.FixtureRequest) -> Callable[[str], Awaitable[list[tuple[object, ...]]]]:
    """Runs SQL past every wall: on the file itself, or as the superuser of the database."""

    async def look(statement: str) -> list[tuple[object, ...]]:
        if catalog_url.startswith("sqlite"):
            with closing(sqlite3.connect(catalog_url.removeprefix("sqlite:///"))) as connection, connection:
                return connection.execute(statement).fetchall()
        return [tuple(row) for row in await run_sql(request.getfixturevalue("postgres").admin, statement)]

    return look


@pytest.fixture
async def tenants(catalog: Catalog) -> Tenants:
    """Two tenants that know nothing of each other, each with a project called ``acme``."""
    return await Tenants.found(catalog)
