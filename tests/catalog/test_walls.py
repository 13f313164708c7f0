"""What the database says of its walls is as it was made, and each way to take one down is noticed at the start."""

from __future__ import annotations

import asyncio
import re
import secrets
import shutil
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from satchel.catalog.connection import open_database
from satchel.catalog.postgres import Postgres as Engine
from satchel.catalog.schema import DIRECTORY, METADATA, UNREACHED
from satchel.catalog.scope import Catalog, CatalogUnavailable
from satchel.catalog.walls import Fact, condition
from satchel.errors import ConfigInvalid, StartRefused
from tests.postgres import OWNER, PASSWORD, SERVING, Cluster, Postgres, reachable_folder

pytestmark = pytest.mark.promise("P5")

KEYS = """
    SELECT c.conrelid::regclass::text AS table, c.conname AS name,
           (SELECT attname FROM pg_attribute WHERE attrelid = c.conrelid AND attnum = c.conkey[1]) AS first,
           (SELECT attname FROM pg_attribute WHERE attrelid = c.confrelid AND attnum = c.confkey[1]) AS target
    FROM pg_constraint c WHERE c.connamespace = 'public'::regnamespace AND c.contype IN ('p', 'u', 'f', 'x')
    UNION ALL
    SELECT i.indrelid::regclass::text, i.indexrelid::regclass::text,
           (SELECT attname FROM pg_attribute WHERE attrelid = i.indrelid AND attnum = i.indkey[0]), NULL
    FROM pg_index i JOIN pg_class t ON t.oid = i.indrelid WHERE t.relnamespace = 'public'::regnamespace
"""


def crossings(database: Postgres) -> set[str]:
    """Keys and indexes of the live database that could bring rows of two tenants together."""
    return {
        f"{row['table']}: {row['name']}"
        for row in database.run(KEYS)
        if row["table"] not in DIRECTORY | UNREACHED
        and (row["first"] != "tenant_id" or row["target"] not in (None, "tenant_id"))
    }


def broken(database: Postgres, url: str = "") -> list[Fact]:
    """What does not hold, as the serving role (or another) sees it."""

    async def ask() -> list[Fact]:
        engine = open_database(url or database.url, 4)
        assert isinstance(engine, Engine)
        try:
            return [fact for fact in await engine.facts() if not fact.holds]
        finally:
            await engine.close()

    return asyncio.run(ask())


def refusal(url: str) -> StartRefused:
    with pytest.raises(StartRefused) as caught:
        asyncio.run(Catalog.open(url))
    return caught.value


def test_every_key_in_the_live_database_begins_with_the_tenant(postgres: Postgres) -> None:
    assert len(postgres.run(KEYS)) > 60
    assert crossings(postgres) == set()


def test_a_table_a_key_or_a_reference_without_the_tenant_is_noticed(postgres: Postgres) -> None:
    postgres.run(
        "ALTER TABLE project ADD CONSTRAINT planted_key UNIQUE (slug)",
        "CREATE UNIQUE INDEX planted_index ON pack (project_id, tenant_id)",
        "CREATE TABLE loose (slug text PRIMARY KEY, tenant_id text REFERENCES tenant)",
    )
    found = crossings(postgres)
    assert {"project: planted_key", "pack: planted_index", "loose: loose_pkey"} <= found
    assert "relation: fk_relation_project" not in found


def test_the_walls_stand_as_they_were_made(postgres: Postgres) -> None:
    assert broken(postgres) == []
    forced = postgres.run(
        "SELECT relname FROM pg_class WHERE relnamespace = 'public'::regnamespace AND relrowsecurity "
        "AND relforcerowsecurity AND relkind = 'r' ORDER BY relname"
    )
    assert [row[0] for row in forced] == sorted(METADATA.tables.keys() - UNREACHED)


ENTRY = condition(METADATA.tables["entry"])
DEFECTS: dict[str, tuple[list[str], str]] = {
    "a table without its wall": (["ALTER TABLE entry DISABLE ROW LEVEL SECURITY"], "enabled and forced"),
    "a wall its owner walks through": (["ALTER TABLE entry NO FORCE ROW LEVEL SECURITY"], "enabled and forced"),
    "a second policy": (["CREATE POLICY wide ON entry USING (true)"], "the one policy"),
    "no policy": (["DROP POLICY tenant_wall ON entry"], "the one policy"),
    "a policy that was altered": (["ALTER POLICY tenant_wall ON entry USING (true)"], "the one policy"),
    "a policy that lets every row in": (["ALTER POLICY tenant_wall ON entry WITH CHECK (true)"], "the one policy"),
    "a policy with another setting": (
        [f"ALTER POLICY tenant_wall ON entry USING ({ENTRY.replace('satchel.tenant', 'satchel.other')})"],
        "the one policy",
    ),
    "a policy by a function of somebody's own": (
        [
            "CREATE FUNCTION public.current_setting(text, boolean) RETURNS text LANGUAGE sql AS $$ SELECT 'x' $$",
            f"ALTER POLICY tenant_wall ON entry USING ({ENTRY.replace('current_setting', 'public.current_setting')})",
        ],
        "the one policy",
    ),
    "a policy for some commands": (
        [
            "DROP POLICY tenant_wall ON entry",
            f"CREATE POLICY tenant_wall ON entry FOR DELETE USING ({ENTRY})",
        ],
        "the one policy",
    ),
    "a policy for another role": ([f"ALTER POLICY tenant_wall ON entry TO {OWNER}"], "the one policy"),
    "a policy that only restricts": (
        [
            "DROP POLICY tenant_wall ON entry",
            f"CREATE POLICY tenant_wall ON entry AS RESTRICTIVE USING ({ENTRY}) WITH CHECK ({ENTRY})",
        ],
        "the one policy",
    ),
    "a table that is not there": (["DROP TABLE relation"], "enabled and forced"),
    "a table of somebody else": (["CREATE TABLE extra (tenant_id text)"], "did not make"),
    "a part of a table": (["CREATE TABLE part () INHERITS (entry)"], "did not make"),
    "a view over a table": (["CREATE VIEW seen AS SELECT * FROM entry"], "did not make"),
    "a copy of a table": (["CREATE MATERIALIZED VIEW kept AS SELECT * FROM entry"], "did not make"),
    "a view in another schema": (
        [
            "CREATE SCHEMA beside",
            "CREATE VIEW beside.seen AS SELECT * FROM entry",
            f"GRANT USAGE ON SCHEMA beside TO {SERVING}",
            f"GRANT SELECT (tenant_id) ON beside.seen TO {SERVING}",
        ],
        "no view shows",
    ),
    "a function with its owner's rights": (
        ["CREATE FUNCTION peek() RETURNS bigint LANGUAGE sql SECURITY DEFINER AS $$ SELECT count(*) FROM entry $$"],
        "no function acts",
    ),
    "a trigger": (
        [
            "CREATE FUNCTION hang() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RETURN NEW; END $$",
            "CREATE TRIGGER hung AFTER INSERT ON entry FOR EACH ROW EXECUTE FUNCTION hang()",
        ],
        "no triggers",
    ),
    "a rule": (["CREATE RULE twice AS ON INSERT TO relation DO ALSO DELETE FROM entry"], "no triggers and no rules"),
    "emptying a table": ([f"GRANT TRUNCATE ON entry TO {SERVING}"], "truncate"),
    "hanging triggers": ([f"GRANT TRIGGER ON entry TO {SERVING}"], "hang triggers"),
    "referring to a column": ([f"GRANT REFERENCES (object) ON entry TO {SERVING}"], "hang triggers"),
    "changing the audit": ([f"GRANT UPDATE ON audit TO {SERVING}"], "was written down"),
    "changing a column of the audit": ([f"GRANT UPDATE (result) ON audit TO {SERVING}"], "was written down"),
    "making tables": ([f"GRANT CREATE ON SCHEMA public TO {SERVING}"], "makes no tables"),
    "making tables, as everybody": (["GRANT CREATE ON SCHEMA public TO PUBLIC"], "makes no tables"),
    "owning a table": ([f"ALTER TABLE relation OWNER TO {SERVING}"], "owns nothing"),
    "owning the schema": ([f"ALTER SCHEMA public OWNER TO {SERVING}"], "owns nothing"),
}


@pytest.mark.parametrize("name", DEFECTS)
def test_a_wall_that_was_taken_down_is_noticed_and_nothing_is_served(postgres: Postgres, name: str) -> None:
    statements, word = DEFECTS[name]
    postgres.run(*statements)
    assert any(word in fact.what for fact in broken(postgres)), broken(postgres)
    error = refusal(postgres.url)
    assert word in error.message
    assert "admin migrate" in error.hint


@pytest.fixture
def role(postgres: Postgres) -> Iterator[str]:
    """A role of this test's own that may use the tables as the serving role does."""
    name = f"test_role_{secrets.token_hex(6)}"
    postgres.run(f"CREATE ROLE {name} LOGIN PASSWORD '{PASSWORD}'")
    asyncio.run(Catalog.migrate(postgres.owner, serving=name))
    yield name
    postgres.run(f"REASSIGN OWNED BY {name} TO {OWNER}", f"DROP OWNED BY {name}", f"DROP ROLE {name}")


ROLES: dict[str, tuple[str, str]] = {
    "a superuser": ("ALTER ROLE {role} SUPERUSER", "no superuser"),
    "one who bypasses the walls": ("ALTER ROLE {role} BYPASSRLS", "does not bypass"),
    "one who makes roles": ("ALTER ROLE {role} CREATEROLE", "makes no roles"),
    "one who copies the database": ("ALTER ROLE {role} REPLICATION", "copies no database"),
    "one who belongs to the owner": (f"GRANT {OWNER} TO {{role}}", "owns nothing"),
    "one who belongs to a superuser": ("GRANT postgres TO {role}", "no superuser"),
    "one who reads files": ("GRANT pg_read_server_files TO {role}", "reads no files"),
    "one who runs programs": ("GRANT pg_execute_server_program TO {role}", "reads no files"),
    "one who owns the database": ("ALTER DATABASE {database} OWNER TO {role}", "owns nothing"),
}


@pytest.mark.parametrize("name", ROLES)
def test_a_role_that_could_walk_around_the_walls_does_not_serve(postgres: Postgres, role: str, name: str) -> None:
    url = postgres.url.replace(SERVING, role)
    assert broken(postgres, url) == []
    statement, word = ROLES[name]
    postgres.run(statement.format(role=role, database=postgres.name))
    assert any(word in fact.what for fact in broken(postgres, url)), broken(postgres, url)
    assert role in refusal(url).message


def test_neither_the_owner_nor_a_superuser_serves(postgres: Postgres) -> None:
    assert "owns nothing" in refusal(postgres.owner).message
    assert "no superuser" in refusal(postgres.admin).message


def test_a_role_that_only_poses_as_another_does_not_serve(postgres: Postgres) -> None:
    posing = f"{postgres.admin}?options=-crole%3D{SERVING}"
    assert [fact.what for fact in broken(postgres, posing)] == ["the serving role is the one that signed in"]


def test_a_role_that_was_never_let_in_is_told_how(postgres: Postgres) -> None:
    name = f"test_role_{secrets.token_hex(6)}"
    postgres.run(f"CREATE ROLE {name} LOGIN PASSWORD '{PASSWORD}'")
    error = refusal(postgres.url.replace(SERVING, name))
    assert "may not use the tables" in error.message
    assert "admin migrate" in error.hint
    postgres.run(f"DROP ROLE {name}")


def test_migrating_again_puts_walls_and_privileges_right(postgres: Postgres) -> None:
    for name in (
        "a second policy",
        "a policy that was altered",
        "a wall its owner walks through",
        "changing the audit",
    ):
        postgres.run(*DEFECTS[name][0])
    assert len(broken(postgres)) == 3
    asyncio.run(Catalog.migrate(postgres.owner, serving=SERVING))
    assert broken(postgres) == []


def test_tables_of_another_schema_do_not_stand_in_for_ours(postgres: Postgres) -> None:
    postgres.run(
        f"CREATE SCHEMA {SERVING} AUTHORIZATION {SERVING}",
        f"CREATE TABLE {SERVING}.alembic_version AS SELECT '0001'::text AS version_num",
        f"GRANT SELECT ON {SERVING}.alembic_version TO {SERVING}",
        f"ALTER DATABASE {postgres.name} SET search_path = {SERVING}, public",
    )
    asyncio.run(opens(postgres.url))


def test_an_address_that_does_not_open_the_database_says_why(own_postgres: Cluster) -> None:
    database = own_postgres.database
    rules = "host all postgres 127.0.0.1/32 trust\nhost {} all 127.0.0.1/32 scram-sha-256\n"
    password = "the database refuses the role, or its password"
    for rule, url, words in (
        (rules.format("all"), database.url.replace(PASSWORD, "wrong"), password),
        (rules.format("all"), database.url.replace(SERVING, "nobody_at_all"), password),
        (rules.format("all"), database.url + "_not_there", "there is no such database"),
        (rules.format("other"), database.url, "the database does not let the role in from here"),
    ):
        (own_postgres.folder / "pg_hba.conf").write_text(rule)
        database.run("SELECT pg_reload_conf()")
        assert why_not(url, words).message == words


def why_not(url: str, words: str) -> CatalogUnavailable:
    """What opening says; asked again for a while, since a server takes new rules when it comes to it."""
    deadline = time.monotonic() + 10
    while True:
        with pytest.raises(CatalogUnavailable) as caught:
            asyncio.run(Catalog.open(url))
        assert "SATCHEL_DATABASE_URL" in caught.value.hint
        if caught.value.message == words or time.monotonic() > deadline:
            return caught.value


@pytest.mark.parametrize(
    "options",
    [
        "sslmode=perhaps",
        "sslmode=verify-full&sslrootcert=/not/there.pem",
        "target_session_attrs=odd",
        "no_such_option=1",
    ],
)
def test_an_option_that_cannot_be_used_is_a_matter_of_the_settings(postgres: Postgres, options: str) -> None:
    with pytest.raises(ConfigInvalid) as caught:
        asyncio.run(Catalog.open(f"{postgres.url}?{options}"))
    assert PASSWORD not in caught.value.message


def test_a_database_that_does_no_tls_is_not_said_to_be_away(postgres: Postgres) -> None:
    with pytest.raises(CatalogUnavailable) as caught:
        asyncio.run(Catalog.open(f"{postgres.url}?sslmode=require"))
    assert caught.value.message == "the database speaks no TLS, and sslmode asks for it"


def test_a_role_that_was_not_let_into_the_database_is_told_so(postgres: Postgres) -> None:
    postgres.run(f"REVOKE CONNECT ON DATABASE {postgres.name} FROM PUBLIC, {SERVING}")
    why_not(postgres.url, "the database does not let the role connect to it")


def test_of_several_hosts_the_one_that_answers_and_writes_is_taken(postgres: Postgres) -> None:
    host = postgres.url.partition("@")[2].partition("/")[0]
    several = postgres.url.replace(host, f"127.0.0.1:1,{host}") + "?target_session_attrs=read-write"
    asyncio.run(opens(several))


def test_the_condition_of_a_tenants_table_names_the_tenant_alone() -> None:
    for table in METADATA.tables.values():
        if table.name not in DIRECTORY | UNREACHED:
            assert "door" not in condition(table)
            assert condition(table).startswith("tenant_id = ")


def test_the_roles_of_the_guide_are_enough_and_no_more() -> None:
    guide = (Path(__file__).parents[2] / "docs/guide/postgresql.md").read_text()
    roles, schema = re.findall(r"```sql\n(.*?)```", guide, re.DOTALL)
    cluster = Cluster(reachable_folder())
    try:
        cluster.start()
        cluster.database.run(*roles.strip().split(";\n"))
        made = Postgres(cluster.database.admin.rpartition("/")[0] + "/satchel")
        made.run(*schema.strip().split(";\n"))
        asyncio.run(Catalog.migrate(made.owner, serving=SERVING))
        assert broken(made) == []
        asyncio.run(opens(made.url))
    finally:
        cluster.stop()
        shutil.rmtree(cluster.folder.parent)


async def opens(url: str) -> None:
    await (await Catalog.open(url)).close()
