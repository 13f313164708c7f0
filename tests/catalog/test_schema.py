"""The walls drawn into the tables, and the migrations that draw them."""

from __future__ import annotations

from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import (
    Column,
    ForeignKeyConstraint,
    MetaData,
    PrimaryKeyConstraint,
    Table,
    UniqueConstraint,
    create_engine,
)

import satchel.catalog
from satchel.catalog.revision import KNOWN
from satchel.catalog.schema import DIRECTORY, METADATA, SCHEMA_REVISION, UNREACHED


def crossings(metadata: MetaData) -> list[str]:
    """Keys of tenant tables that do not begin with the tenant."""
    found = []
    for table in metadata.tables.values():
        if table.name in DIRECTORY | UNREACHED:
            continue
        for constraint in table.constraints:
            if isinstance(constraint, PrimaryKeyConstraint | UniqueConstraint | ForeignKeyConstraint):
                columns = [column.name for column in constraint.columns]
                targets = [key.column.name for key in getattr(constraint, "elements", [])]
                if columns[:1] != ["tenant_id"] or (targets and targets[0] != "tenant_id"):
                    found.append(f"{table.name}: {constraint.name}")
        found.extend(f"{table.name}: {i.name}" for i in table.indexes if next(iter(i.columns)).name != "tenant_id")
    return found


@pytest.mark.promise("P5")
def test_every_key_of_a_tenants_table_begins_with_the_tenant() -> None:
    assert crossings(METADATA) == []


@pytest.mark.promise("P5")
def test_a_key_without_the_tenant_would_be_noticed() -> None:
    planted = MetaData()
    project = METADATA.tables["project"].to_metadata(planted)
    METADATA.tables["tenant"].to_metadata(planted)
    project.append_constraint(UniqueConstraint("slug", name="planted"))
    Table("loose", planted, Column("tenant_id"), Column("slug", primary_key=True))
    assert "project: planted" in crossings(planted)
    assert any(line.startswith("loose") for line in crossings(planted))


@pytest.mark.promise("P5")
def test_the_tables_without_a_tenant_are_a_closed_list() -> None:
    own = {"tenant", "person", "membership", "identity", "operator", "installation", "signing_key", "alembic_version"}
    signing_in = {"oauth_client", "device_login", "browser_session"}
    assert own | signing_in | {"channel", "change"} == DIRECTORY
    without = {name for name, table in METADATA.tables.items() if "tenant_id" not in table.c}
    assert without == {"person", "identity", "installation", "signing_key", "oauth_client", "channel"} | UNREACHED


def test_the_migrations_lead_to_exactly_these_tables(catalog_path: Path) -> None:
    engine = create_engine(f"sqlite:///{catalog_path}")
    with engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True, "compare_server_default": True})
        assert compare_metadata(context, METADATA) == []
    engine.dispose()


def test_the_revision_in_the_code_is_the_newest_migration() -> None:
    config = Config()
    config.set_main_option("script_location", str(Path(satchel.catalog.__file__).with_name("migrations")))
    scripts = ScriptDirectory.from_config(config)
    assert scripts.get_heads() == [SCHEMA_REVISION]
    assert {script.revision for script in scripts.walk_revisions()} == set(KNOWN)
