"""A migrated catalog for each test, and short ways to found tenants and fill projects."""

from __future__ import annotations

import os
import shutil
from collections.abc import AsyncIterator
from pathlib import Path

import anyio
import pytest

from satchel.catalog.scope import Catalog
from tests.catalog.make import Tenants


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


@pytest.fixture
async def catalog(catalog_path: Path) -> AsyncIterator[Catalog]:
    catalog = await Catalog.open(f"sqlite:///{catalog_path}")
    yield catalog
    await catalog.close()


@pytest.fixture
async def tenants(catalog: Catalog) -> Tenants:
    """Two tenants that know nothing of each other, each with a project called ``acme``."""
    return await Tenants.found(catalog)
