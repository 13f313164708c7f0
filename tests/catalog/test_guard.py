"""Planted defects: statements that would reach into another tenant, each refused before it runs."""

from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy import (
    BindParameter,
    Sequence,
    Table,
    and_,
    bindparam,
    column,
    delete,
    exists,
    func,
    insert,
    literal_column,
    or_,
    select,
    table,
    text,
    union_all,
    update,
)

from satchel.catalog.guard import UnscopedStatement, check_directory, check_scoped
from satchel.catalog.schema import TENANT, audit, entry, mine, person, place, project, signing_key, tenant, version

pytestmark = pytest.mark.promise("P5")

older = entry.alias("older")
SOMEBODY: BindParameter[str] = bindparam("somebody")

ESCAPES: dict[str, Any] = {
    "no condition at all": select(project.c.slug),
    "a condition on something else": select(project.c.slug).where(project.c.slug == "x"),
    "a tenant by value": select(project.c.slug).where(project.c.tenant_id == "ten_b"),
    "a tenant by another parameter": select(project.c.slug).where(project.c.tenant_id == SOMEBODY),
    "any tenant but mine": select(project.c.slug).where(project.c.tenant_id != TENANT),
    "mine or something": select(project.c.slug).where(or_(mine(project), project.c.slug == "x")),
    "not mine": select(project.c.slug).where(~mine(project)),
    "mine, twisted": select(project.c.slug).where(project.c.tenant_id + "" == TENANT),
    "one of two tables in a list": select(entry.c.path, project.c.slug).where(mine(entry)),
    "a joined table left open": select(entry.c.path)
    .select_from(entry.join(version, entry.c.since == version.c.version))
    .where(mine(entry)),
    "an alias left open": select(older.c.path)
    .select_from(entry.join(older, older.c.path == entry.c.path))
    .where(mine(entry)),
    "the left side bound only in an outer join's ON": select(entry.c.path).select_from(
        entry.outerjoin(version, and_(mine(entry), mine(version)))
    ),
    "the right side of an outer join left open": select(entry.c.path)
    .select_from(entry.outerjoin(version, entry.c.since == version.c.version))
    .where(mine(entry)),
    "a full join": select(entry.c.path)
    .select_from(entry.join(version, and_(mine(entry), mine(version)), full=True))
    .where(mine(entry), mine(version)),
    "a subquery left open": select(project.c.slug).where(
        mine(project), project.c.project_id.in_(select(entry.c.project_id))
    ),
    "an EXISTS left open": select(project.c.slug).where(mine(project), exists(select(place.c.object))),
    "a selection from an open subquery": select(select(entry.c.path).subquery().c.path),
    "a common table expression left open": select(select(entry.c.path).cte("all").c.path),
    "one half of a union left open": union_all(
        select(entry.c.path).where(mine(entry)), select(entry.c.path).where(entry.c.path > "")
    ),
    "a scalar subquery left open": select(select(func.max(entry.c.since)).scalar_subquery(), project.c.slug).where(
        mine(project)
    ),
    "literal SQL as a condition": select(project.c.slug).where(mine(project), text("1=1 OR 1=1")),
    "literal SQL as a column": select(literal_column("(SELECT slug FROM project)")).where(mine(project)),
    "literal SQL alone": text("SELECT slug FROM project"),
    "literal SQL as an operator": select(project.c.slug.op("|| (SELECT slug FROM project) ||")("x")).where(
        mine(project)
    ),
    "literal SQL before the columns": select(project.c.slug).where(mine(project)).prefix_with("x,"),
    "literal SQL behind it all": select(project.c.slug).where(mine(project)).suffix_with("UNION SELECT 1"),
    "literal SQL as a hint": select(project.c.slug).where(mine(project)).with_hint(project, "TABLESAMPLE x"),
    "literal SQL as a hint behind": select(project.c.slug).where(mine(project)).with_statement_hint("UNION SELECT 1"),
    "a function that changes the scope": select(func.set_config("satchel.door", "directory", True)),
    "a function beside a bound table": select(func.set_config("satchel.tenant", "ten_b", True)).where(mine(project)),
    "a function by its whole name": select(func.pg_catalog.count(project.c.slug)).where(mine(project)),
    "a function in a condition": select(project.c.slug).where(mine(project), func.pg_sleep(1) == "x"),
    "a function in an update": update(project).where(mine(project)).values(slug=func.set_config("a", "b", True)),
    "a function in an insert": insert(project).values(tenant_id=TENANT, slug=func.set_config("a", "b", True)),
    "a function that is returned": insert(project)
    .values(tenant_id=TENANT)
    .returning(func.set_config("satchel.tenant", "ten_b", True)),
    "the next value of a sequence": select(Sequence("planted").next_value()),
    "a table made of text": select(column("slug")).select_from(table("project", column("slug"))),
    "a directory table without tenants": select(person.c.email),
    "an update of everything": update(project).values(slug="x"),
    "an update of one id in every tenant": update(project).values(slug="x").where(project.c.project_id == "p"),
    "an update that moves rows elsewhere": update(project).where(mine(project)).values(tenant_id="ten_b"),
    "an ordered update that moves rows": update(project)
    .where(mine(project))
    .ordered_values((project.c.tenant_id, "x")),
    "a delete of everything": delete(entry),
    "a delete by a subquery": delete(entry).where(entry.c.path.in_(select(entry.c.path).where(mine(entry)))),
    "an insert without tenant": insert(project).values(slug="x"),
    "an insert for another tenant": insert(project).values(tenant_id="ten_b"),
    "an insert of several rows": insert(project).values([{"tenant_id": TENANT}, {"tenant_id": "ten_b"}]),
    "an insert from a selection": insert(project).from_select(["tenant_id"], select(tenant.c.tenant_id)),
    "a change to the audit": update(audit).where(mine(audit)).values(result="done"),
    "a deletion from the audit": delete(audit).where(mine(audit)),
    "a change to history": update(version).where(mine(version)).values(author="me"),
}

BOUND: dict[str, Any] = {
    "a table": select(project.c.slug).where(mine(project)),
    "the other way round": select(project.c.slug).where(and_(project.c.slug == "x", project.c.tenant_id == TENANT)),
    "a join": select(entry.c.path).select_from(entry.join(version, mine(version))).where(mine(entry)),
    "an outer join": select(entry.c.path)
    .select_from(entry.outerjoin(version, and_(mine(version), version.c.version == entry.c.since)))
    .where(mine(entry)),
    "an alias": select(older.c.path).where(mine(older)),
    "a subquery": select(project.c.slug).where(
        mine(project), project.c.project_id.in_(select(entry.c.project_id).where(mine(entry)))
    ),
    "an insert": insert(project).values(tenant_id=TENANT),
    "an update": update(project).where(mine(project)).values(slug="x"),
    "a delete": delete(entry).where(mine(entry), entry.c.path == "x"),
    "an index to use": select(place.c.object).where(mine(place)).with_hint(place, "INDEXED BY ix_some", "sqlite"),
    "its own row in the directory": select(tenant.c.slug).where(mine(tenant)),
}


@pytest.mark.parametrize("name", ESCAPES)
def test_a_statement_that_could_reach_another_tenant_is_refused(name: str) -> None:
    with pytest.raises(UnscopedStatement):
        check_scoped(ESCAPES[name], writing=True)
    with pytest.raises(UnscopedStatement):  # and again: a refusal is not remembered as a pass
        check_scoped(ESCAPES[name], writing=True)


@pytest.mark.parametrize("name", BOUND)
def test_a_statement_bound_at_every_table_passes(name: str) -> None:
    check_scoped(BOUND[name], writing=True)
    check_scoped(BOUND[name], writing=True)


@pytest.mark.parametrize("name", ["an insert", "an update", "a delete"])
def test_a_reading_scope_refuses_to_write(name: str) -> None:
    check_scoped(BOUND[name], writing=True)
    with pytest.raises(UnscopedStatement, match="reading"):
        check_scoped(BOUND[name], writing=False)


@pytest.mark.parametrize("open_table", [project, entry, audit, place])
def test_the_directory_reaches_no_table_of_a_tenant(open_table: Table) -> None:
    for statement in (
        select(open_table.c.tenant_id),
        select(tenant.c.slug).where(tenant.c.tenant_id.in_(select(open_table.c.tenant_id))),
        delete(open_table),
    ):
        with pytest.raises(UnscopedStatement):
            check_directory(statement, writing=True)


def test_the_directory_calls_no_function_that_changes_whose_scope_it_is() -> None:
    for statement in (select(func.set_config("satchel.tenant", "ten_b", True)), select(tenant.c.slug).suffix_with("x")):
        with pytest.raises(UnscopedStatement):
            check_directory(statement, writing=True)


def test_the_directory_reaches_its_own_tables() -> None:
    check_directory(select(tenant.c.slug), writing=False)
    check_directory(insert(signing_key), writing=True)
    with pytest.raises(UnscopedStatement):
        check_directory(insert(signing_key), writing=False)
    with pytest.raises(UnscopedStatement):
        check_directory(select(literal_column("(SELECT slug FROM project)")), writing=False)
