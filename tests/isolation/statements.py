"""Every statement the catalog knows, and what is left of each when nothing in it asks for a tenant any more."""

from __future__ import annotations

import ast
import importlib
import pkgutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from sqlalchemy import (
    BindParameter,
    Delete,
    Insert,
    Select,
    Table,
    Update,
    delete,
    insert,
    select,
    true,
    update,
)
from sqlalchemy.dialects.postgresql import asyncpg
from sqlalchemy.sql import visitors
from sqlalchemy.sql.elements import BinaryExpression
from sqlalchemy.sql.expression import CompoundSelect
from sqlalchemy.types import Boolean, LargeBinary, String

import satchel.catalog
from satchel.catalog.schema import METADATA, TENANT, UNREACHED

Statement = Any
DIALECT = asyncpg.dialect()  # type: ignore[no-untyped-call]
KINDS = (Select, CompoundSelect, Insert, Update, Delete)
BUILDERS = {"select", "insert", "update", "delete", "union_all", "union", "exists"}


class Made(NamedTuple):
    """A statement and where it stands."""

    where: str
    statement: Statement


def tables() -> list[Table]:
    return [table for table in METADATA.sorted_tables if table.name not in UNREACHED]


def written() -> Iterator[Made]:
    """What the modules of the catalog keep as a constant, alone or inside a collection."""
    for found in pkgutil.iter_modules(satchel.catalog.__path__, "satchel.catalog."):
        if found.ispkg:
            continue
        for name, value in vars(importlib.import_module(found.name)).items():
            where = f"{found.name.rpartition('.')[2]}.{name}"
            many = value.values() if isinstance(value, dict) else value if isinstance(value, tuple | list) else [value]
            yield from (Made(where, one) for one in many if isinstance(one, KINDS))


def of_tables() -> Iterator[Made]:
    """The widest of each kind for each table: functions that build a statement narrow one of these."""
    for table in tables():
        adding = insert(table).values(tenant_id=TENANT) if "tenant_id" in table.c else insert(table)
        for statement in (select(table), update(table), delete(table), adding):
            yield Made(f"{type(statement).__name__.lower()} {table.name}", statement)


def built_in_functions() -> set[str]:
    """Functions of the catalog that make statements while they run, as ``module.function``."""
    found = set()
    for path in Path(satchel.catalog.__file__).parent.glob("*.py"):
        for function in ast.walk(ast.parse(path.read_text())):
            if isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef):
                calls = [node.func for node in ast.walk(function) if isinstance(node, ast.Call)]
                if any(isinstance(called, ast.Name) and called.id in BUILDERS for called in calls):
                    found.add(f"{path.stem}.{function.name}")
    return found


def opened(statement: Statement) -> Statement:
    """The statement without a tenant's filter, and without any other comparison with a given value: all rows match."""
    opened: Any = visitors.replacement_traverse(statement, {}, _opened)
    if isinstance(opened, Select):
        return opened.limit(None)
    if isinstance(opened, Update) and not opened._values:
        return opened.values({column: column for column in opened.table.c if column.name != "tenant_id"})
    return opened


def _opened(element: Any, **_: object) -> Any:
    if not isinstance(element, BinaryExpression) or not isinstance(element.type, Boolean):
        return None
    parts = list(visitors.iterate(element))
    given = any(isinstance(part, BindParameter) for part in parts)
    return true() if given and not any(isinstance(part, KINDS) for part in parts) else None


def parameters(statement: Statement, text: str = "given") -> dict[str, object]:
    """A value for each parameter that is still there, and for every column of an insert."""
    columns = {}
    if isinstance(statement, Insert) and not statement._select_names:
        given = {getattr(column, "name", column) for column in statement._values or {}}
        own = [column for column in statement.table.c if column.name not in given]
        columns = {column.name: _sample(column.type, text) for column in own}
    # Compiled, a parameter has the type of the column it is for.
    compiled = statement.compile(dialect=DIALECT, column_keys=list(columns) or None)
    wanted = {name: part for name, part in compiled.binds.items() if part.value is None and part.callable is None}
    return columns | {name: _sample(part.type, text) for name, part in wanted.items()}


def _sample(type_: object, text: str = "given") -> object:
    return text if isinstance(type_, String) else text.encode() if isinstance(type_, LargeBinary) else 7
