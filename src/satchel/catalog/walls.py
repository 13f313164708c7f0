"""The walls a PostgreSQL database holds between tenants by itself: who owns the tables, and row-level security.

Two roles. The owner makes the tables, by migrations alone. The serving role owns nothing, may not change a definition,
and is subject to forced row-level security: inside a transaction it sees the rows of the tenant that the transaction
named (``satchel.tenant``), and the rows of the directory only where the transaction was opened as the directory's
(``satchel.door``). Both end with the transaction, so that a connection taken from a pool carries nobody's tenant.

After COMMIT such a setting reads as an empty text, not as NULL: an empty one counts as none.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from sqlalchemy import Connection, Table

from satchel.catalog.schema import APPEND_ONLY, DIRECTORY, METADATA, UNREACHED

_INSIDE = "tenant_id = NULLIF(current_setting('satchel.tenant', true), '')"
_DIRECTORY = "current_setting('satchel.door', true) = 'directory'"
_VERSION = "alembic_version"
POLICY = "tenant_wall"


class Fact(NamedTuple):
    """One thing the database said about its walls."""

    what: str
    holds: bool
    found: str
    """What was found, for people; names of roles, tables and functions, never a row."""


def condition(table: Table) -> str:
    """Which rows of a table a statement of the serving role can see and make."""
    if table.name not in DIRECTORY:
        return _INSIDE
    if table.name == "channel":
        return "true"  # a number that only grows, and tells of nobody
    return f"{_INSIDE} OR {_DIRECTORY}" if "tenant_id" in table.c else _DIRECTORY


def open_to_owner(connection: Connection) -> None:
    """Let the owner see all rows, until `raise_walls` in the same transaction: to everybody else the walls stand."""
    for name, found in _found(connection).items():
        if found.forced:
            connection.exec_driver_sql(f"ALTER TABLE {_quoted(name)} NO FORCE ROW LEVEL SECURITY")


def raise_walls(connection: Connection, serving: str) -> None:
    """Put every table behind its wall and let ``serving`` do what it needs, as the owner, after a migration.

    A table whose wall is as it should be is not touched, so that nothing waits for it.
    """
    quoted = connection.dialect.identifier_preparer.quote(serving)
    found = _found(connection)
    for table in _walled():
        if not _stands(table, found.get(table.name)):
            for policy in found[table.name].policies if table.name in found else ():
                connection.exec_driver_sql(f"DROP POLICY {_quoted(policy.name)} ON {table.name}")
            for statement in _wall(table):
                connection.exec_driver_sql(statement)
    for statement in _privileges(quoted):
        connection.exec_driver_sql(statement)


def _walled() -> Iterator[Table]:
    yield from (table for table in METADATA.sorted_tables if table.name not in UNREACHED)


def _wall(table: Table) -> Iterator[str]:
    where = condition(table)
    yield f"ALTER TABLE {table.name} ENABLE ROW LEVEL SECURITY"
    yield f"ALTER TABLE {table.name} FORCE ROW LEVEL SECURITY"
    yield f"CREATE POLICY {POLICY} ON {table.name} USING ({where}) WITH CHECK ({where})"


def _privileges(serving: str) -> Iterator[str]:
    yield f"REVOKE ALL ON ALL TABLES IN SCHEMA public FROM {serving}, PUBLIC"
    yield f"GRANT USAGE ON SCHEMA public TO {serving}"
    yield f"GRANT SELECT ON {_VERSION} TO {serving}"
    for table in _walled():
        granted = "SELECT, INSERT, DELETE" if table.name in APPEND_ONLY else "SELECT, INSERT, UPDATE, DELETE"
        yield f"GRANT {granted} ON {table.name} TO {serving}"


# What the database is asked --------------------------------------------------------------------------------------

# Every role that the connected one is or can become, and what it may.
_ROLES = """
    SELECT rolname, rolsuper, rolbypassrls, rolcreaterole OR rolreplication,
           rolname IN ('pg_read_server_files', 'pg_write_server_files', 'pg_execute_server_program')
    FROM pg_roles WHERE pg_has_role(current_user, oid, 'MEMBER') ORDER BY rolname
"""
_LOGGED_IN = "SELECT session_user, current_user"
_OWNED = """
    SELECT relname FROM pg_class WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'p', 'v', 'm', 'f')
    AND pg_has_role(current_user, relowner, 'MEMBER')
    UNION ALL SELECT 'schema public' FROM pg_namespace
    WHERE nspname = 'public' AND pg_has_role(current_user, nspowner, 'MEMBER')
    UNION ALL SELECT 'the database' FROM pg_database
    WHERE datname = current_database() AND pg_has_role(current_user, datdba, 'MEMBER')
"""
_CREATES = "SELECT has_schema_privilege(current_user, 'public', 'CREATE')"
_TRUNCATES = """
    SELECT relname FROM pg_class WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'p')
    AND (has_table_privilege(current_user, oid, 'TRUNCATE, TRIGGER')
         OR has_any_column_privilege(current_user, oid, 'REFERENCES'))
"""
_CHANGES = """
    SELECT relname FROM pg_class WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'p')
    AND has_any_column_privilege(current_user, oid, 'UPDATE')
"""
_NOT_OURS = "{0} NOT IN (SELECT objid FROM pg_depend WHERE deptype = 'e')"
_RELATIONS = f"""
    SELECT relname FROM pg_class WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'p', 'v', 'm', 'f')
    AND {_NOT_OURS.format("oid")}
"""  # noqa: S608 - names of our own
_VIEWS = f"""
    SELECT nspname || '.' || relname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE relkind IN ('v', 'm') AND nspname NOT IN ('public', 'pg_catalog', 'information_schema')
    AND has_schema_privilege(current_user, n.oid, 'USAGE') AND has_any_column_privilege(current_user, c.oid, 'SELECT')
    AND {_NOT_OURS.format("c.oid")}
"""  # noqa: S608 - names of our own
_FUNCTIONS = """
    SELECT nspname || '.' || proname FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace
    WHERE prosecdef AND nspname NOT IN ('pg_catalog', 'information_schema')
    AND has_schema_privilege(current_user, n.oid, 'USAGE') AND has_function_privilege(current_user, p.oid, 'EXECUTE')
"""
_HANGING = """
    SELECT relname || ': ' || tgname FROM pg_trigger t JOIN pg_class c ON c.oid = t.tgrelid
    WHERE NOT tgisinternal AND relnamespace = 'public'::regnamespace
    UNION ALL SELECT relname || ': ' || rulename FROM pg_rewrite r JOIN pg_class c ON c.oid = r.ev_class
    WHERE rulename <> '_RETURN' AND relnamespace = 'public'::regnamespace
"""
_TABLES = """
    SELECT c.relname, c.relrowsecurity AND c.relforcerowsecurity, p.polname,
           p.polcmd = '*' AND p.polpermissive AND p.polroles = '{0}',
           pg_get_expr(p.polqual, p.polrelid), pg_get_expr(p.polwithcheck, p.polrelid)
    FROM pg_class c LEFT JOIN pg_policy p ON p.polrelid = c.oid
    WHERE c.relnamespace = 'public'::regnamespace AND c.relkind IN ('r', 'p')
"""


class _Policy(NamedTuple):
    name: str
    for_all: bool
    """For every role and every command, and of the kind that admits."""
    using: str | None
    check: str | None


class _Found(NamedTuple):
    forced: bool
    policies: list[_Policy]


def facts(connection: Connection) -> list[Fact]:
    """What the database itself says of the role that is connected and of the walls; reads its catalog alone."""
    session, role = connection.exec_driver_sql(_LOGGED_IN).one()
    return [
        Fact("the serving role is the one that signed in", session == role, session),
        *_role_facts(connection, role),
        *_other_facts(connection, role),
        *_table_facts(connection),
    ]


def _role_facts(connection: Connection, role: str) -> Iterator[Fact]:
    roles = connection.exec_driver_sql(_ROLES).all()
    for at, what in (
        (1, "the serving role is no superuser"),
        (2, "the serving role does not bypass row-level security"),
        (3, "the serving role makes no roles and copies no database"),
        (4, "the serving role reads no files of the database's machine"),
    ):
        yield _none(
            what, [row[0] if row[0] == role else f"{role} belongs to {row[0]}" for row in roles if row[at]], role
        )


def _other_facts(connection: Connection, role: str) -> Iterator[Fact]:
    def named(query: str) -> list[str]:
        return sorted(row[0] for row in connection.exec_driver_sql(query))

    yield _none("the serving role owns nothing, nor belongs to who does", named(_OWNED), role)
    creates = ["schema public"] if connection.exec_driver_sql(_CREATES).scalar() else []
    yield _none("the serving role makes no tables", creates, role)
    yield _none("the serving role cannot truncate, nor hang triggers", named(_TRUNCATES), role)
    fixed = APPEND_ONLY | UNREACHED | {_VERSION}
    yield _none("the serving role cannot change what was written down", sorted(fixed & {*named(_CHANGES)}), role)
    ours = {table.name for table in _walled()} | UNREACHED | {_VERSION}
    strange = [name for name in named(_RELATIONS) if name not in ours]
    yield _none("there is no table or view that Satchel did not make", strange, f"{len(ours)} tables")
    yield _none("no view shows the serving role what another role sees", named(_VIEWS), "none")
    yield _none("no function acts for the serving role as another role", named(_FUNCTIONS), "none")
    yield _none("no triggers and no rules hang on the tables", named(_HANGING), "none")


def _none(what: str, broken: Sequence[str], otherwise: str) -> Fact:
    return Fact(what, not broken, ", ".join(broken) or otherwise)


def _table_facts(connection: Connection) -> Iterator[Fact]:
    found = _found(connection)
    tables = list(_walled())
    unforced = [table.name for table in tables if table.name not in found or not found[table.name].forced]
    yield _none("row-level security is enabled and forced on every table", unforced, "all of them")
    others = [table.name for table in tables if table.name in found and not _as_made(table, found[table.name])]
    yield _none("each table has the one policy that Satchel made", others, "all of them")


def _found(connection: Connection) -> dict[str, _Found]:
    found: dict[str, _Found] = {}
    for name, forced, *policy in connection.exec_driver_sql(_TABLES):
        of = found.setdefault(name, _Found(forced, []))
        if policy[0] is not None:
            of.policies.append(_Policy(*policy))
    return found


def _stands(table: Table, found: _Found | None) -> bool:
    return found is not None and found.forced and _as_made(table, found)


def _as_made(table: Table, found: _Found) -> bool:
    """Whether a table's policies are as `condition` says; PostgreSQL prints an expression with its own brackets."""
    if len(found.policies) != 1:
        return False
    policy = found.policies[0]
    as_made = _plain(condition(table))
    return policy.for_all and _plain(policy.using) == as_made == _plain(policy.check)


def _plain(expression: str | None) -> str:
    return (expression or "").replace("::text", "").replace("(", "").replace(")", "").replace(" ", "")


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'
