"""The check every statement passes before it runs: is it bound to the scope's tenant, at every table it touches?

A statement is judged by its structure, not by its text: each table or alias it reads or writes must be tied to the
scope's tenant by ``schema.mine`` in its own WHERE or ON clause (in the ON clause of an outer join, for the right side),
each insert must give ``tenant_id`` the value ``schema.TENANT``, nothing may come as literal SQL, and few functions may
be called. Whatever this module does not understand it refuses: a refusal is a defect of the calling code, found by the
first test that runs it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any
from weakref import WeakSet

from sqlalchemy import Alias, BindParameter, Column, Delete, Insert, Join, Select, Table, TextClause, Update
from sqlalchemy.sql import operators, visitors
from sqlalchemy.sql.elements import BinaryExpression, BooleanClauseList, ColumnClause, ColumnElement, Grouping
from sqlalchemy.sql.expression import CTE, CompoundSelect, Executable, FromClause, Subquery
from sqlalchemy.sql.functions import FunctionElement

from satchel.catalog.schema import APPEND_ONLY, DIRECTORY, SCOPE_TENANT
from satchel.errors import InvalidInput

_INDEX_HINT = re.compile(r"INDEXED BY \w+")
FUNCTIONS = frozenset({"aggregate_strings", "coalesce", "count", "max", "min", "sum"})
"""The functions a statement may call. Add one only if it does nothing but compute from its arguments."""


class UnscopedStatement(Exception):
    """A statement that would reach beyond its scope; it was not run."""


_in_scope: WeakSet[Executable] = WeakSet()
_in_directory: WeakSet[Executable] = WeakSet()


def check_scoped(statement: Executable, *, writing: bool, erasing: bool = False) -> None:
    """Raise ``UnscopedStatement`` unless every table of ``statement`` is bound to the scope's tenant.

    A statement that passed is remembered as long as it lives, so that one made once costs nothing more.
    """
    if isinstance(statement, Insert | Update | Delete):
        _check_write(statement, writing=writing, erasing=erasing)
    if not writing and getattr(statement, "_for_update_arg", None) is not None:
        raise UnscopedStatement("a reading scope locks nothing")
    if statement in _in_scope:
        return
    for element in _elements(statement):
        if isinstance(element, Select):
            _check_bound(_leaves(element.get_final_froms()), _select_conditions(element))
        elif isinstance(element, Update | Delete):
            if isinstance(element, Update) and "tenant_id" in _names_set(element):
                raise UnscopedStatement("rows do not move between tenants")
            _check_bound(_leaves([element.table]), _conjuncts(element.whereclause))
        elif isinstance(element, Insert):
            _check_insert(element)
    _in_scope.add(statement)


def check_directory(statement: Executable, *, writing: bool) -> None:
    """Raise ``UnscopedStatement`` if ``statement`` touches any table but the directory's."""
    if isinstance(statement, Insert | Update | Delete) and not writing:
        raise UnscopedStatement("a reading directory cannot write")
    if statement in _in_directory:
        return
    for element in _elements(statement):
        if isinstance(element, Table) and element.name not in DIRECTORY:
            raise UnscopedStatement(f"{element.name} belongs to tenants: enter a scope")
    _in_directory.add(statement)


def _elements(statement: Executable) -> Iterator[object]:
    """All parts of a statement, literal SQL and unknown kinds of statement refused."""
    if not isinstance(statement, Select | CompoundSelect | Insert | Update | Delete):
        raise UnscopedStatement(f"{type(statement).__name__} is not a statement the catalog runs")
    for element in visitors.iterate(statement):
        if _is_text(element):
            raise UnscopedStatement("literal SQL cannot be checked")
        if isinstance(element, FunctionElement) and not _is_harmless(element):
            raise UnscopedStatement(f"{element} is a function that may do anything")
        if isinstance(element, BindParameter):
            check_values((element.value,))  # written into the statement, which is then new each time
        yield element


def check_values(values: Iterable[object]) -> None:
    """Raise ``InvalidInput`` for a text that not every engine can keep: PostgreSQL knows no NUL in one."""
    for value in values:
        if isinstance(value, str):
            if "\0" in value:
                raise InvalidInput("a NUL character cannot be part of a text here")
        elif isinstance(value, list):
            check_values(value)


def _is_text(element: object) -> bool:
    """Whether SQL that was given as text is, or hangs at, this part."""
    if isinstance(element, TextClause) or (isinstance(element, ColumnClause) and element.is_literal):
        return True
    if isinstance(getattr(element, "operator", None), operators.custom_op):
        return True
    hints = getattr(element, "_hints", None) or {}
    if any(not _INDEX_HINT.fullmatch(hint) for hint in hints.values()):
        return True
    return any(getattr(element, name, None) for name in ("_prefixes", "_suffixes", "_statement_hints"))


def _is_harmless(function: FunctionElement[Any]) -> bool:
    """Whether it computes from what it is given and does nothing else: `set_config`, for one, would change a scope."""
    return getattr(function, "name", None) in FUNCTIONS and not getattr(function, "packagenames", ())


def _check_write(statement: Insert | Update | Delete, *, writing: bool, erasing: bool) -> None:
    table = _leaf_table(statement.table)
    if not writing:
        raise UnscopedStatement("a reading scope cannot write")
    if table.name in APPEND_ONLY and not isinstance(statement, Insert) and not erasing:
        raise UnscopedStatement(f"{table.name} is only ever added to")


def _names_set(statement: Update) -> set[object]:
    return {getattr(column, "name", column) for column in statement._values or {}}


def _check_insert(statement: Insert) -> None:
    values: Mapping[Any, object] = statement._values or {}  # the public surface of an insert does not show its values
    tenant = [value for column, value in values.items() if getattr(column, "name", column) == "tenant_id"]
    bound = len(tenant) == 1 and isinstance(tenant[0], BindParameter) and tenant[0].key == SCOPE_TENANT
    if not bound or statement._multi_values or statement._select_names:
        raise UnscopedStatement(f"an insert into {statement.table} does not take its tenant from the scope")


def _check_bound(
    leaves: Iterable[FromClause], conditions: Iterable[tuple[ColumnElement[bool], set[FromClause] | None]]
) -> None:
    bound: set[FromClause] = set()
    for condition, only in conditions:
        table = _bound_by(condition)
        if table is not None and (only is None or table in only):
            bound.add(table)
    for leaf in leaves:
        if leaf not in bound:
            raise UnscopedStatement(f"{_leaf_table(leaf).name} is not bound to the scope's tenant")


def _bound_by(condition: ColumnElement[bool]) -> FromClause | None:
    """The table that ``condition`` ties to the tenant, if it is of the form ``mine(table)``."""
    if not isinstance(condition, BinaryExpression) or condition.operator is not operators.eq:
        return None
    column, value = condition.left, condition.right
    if isinstance(value, BindParameter) and value.key == SCOPE_TENANT and isinstance(column, Column | ColumnClause):
        return column.table if column.name == "tenant_id" else None
    return None


def _select_conditions(
    select: Select[tuple[object, ...]],
) -> Iterator[tuple[ColumnElement[bool], set[FromClause] | None]]:
    """The conditions that hold for every row, each with the tables it can bind (``None``: any)."""
    yield from _conjuncts(select.whereclause)
    for clause in select.get_final_froms():
        yield from _join_conditions(clause)


def _join_conditions(clause: FromClause) -> Iterator[tuple[ColumnElement[bool], set[FromClause] | None]]:
    if not isinstance(clause, Join):
        return
    if clause.full:
        raise UnscopedStatement("a full join cannot be bound")
    # Rows of the left side survive an outer join whatever its ON clause says.
    only = set(_leaves([clause.right])) if clause.isouter else None
    for condition, _ in _conjuncts(clause.onclause):
        yield condition, only
    yield from _join_conditions(clause.left)
    for condition, inner in _join_conditions(clause.right):
        yield condition, inner if inner is not None else only


def _conjuncts(clause: object) -> Iterator[tuple[ColumnElement[bool], set[FromClause] | None]]:
    if isinstance(clause, Grouping):
        yield from _conjuncts(clause.element)
    elif isinstance(clause, BooleanClauseList) and clause.operator is operators.and_:
        for part in clause.clauses:
            yield from _conjuncts(part)
    elif isinstance(clause, ColumnElement):
        yield clause, None


def _leaves(clauses: Iterable[FromClause]) -> Iterator[FromClause]:
    """Tables and aliases of tables; what is selected from is a statement of its own, checked as such."""
    for clause in clauses:
        if isinstance(clause, Join):
            yield from _leaves([clause.left, clause.right])
        elif isinstance(clause, Subquery | CTE):
            continue
        else:
            _leaf_table(clause)
            yield clause


def _leaf_table(clause: object) -> Table:
    inner = clause.element if isinstance(clause, Alias) else clause
    if not isinstance(inner, Table):
        raise UnscopedStatement(f"{type(inner).__name__} cannot be bound to a tenant")
    if "tenant_id" not in inner.c:
        raise UnscopedStatement(f"{inner.name} belongs to no tenant: use the directory")
    return inner
