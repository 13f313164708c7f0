"""Behind pgbouncer in transaction mode: two server connections, many scopes of two tenants, and no tenant left over."""

from __future__ import annotations

import asyncio
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import asyncpg
import pytest

from satchel.catalog import audit, projects, versions
from satchel.catalog.scope import Catalog, CatalogUnavailable
from tests.catalog.make import NOW, PROJECT, Tenants, hold, lengthen
from tests.isolation.test_catalog_wall import QUESTIONS, SECRET, answers, fill
from tests.postgres import PASSWORD, SERVING, Postgres, wait_for_postgres
from tests.real import free_ports

pytestmark = [pytest.mark.anyio, pytest.mark.system("pgbouncer"), pytest.mark.promise("P5")]

SERVER_CONNECTIONS = 2


@pytest.fixture
def pooled(postgres: Postgres, tmp_path: Path) -> Iterator[str]:
    """The serving role's address of the database at a pgbouncer that keeps two connections to it."""
    [port] = free_ports(1)
    parts = urlsplit(postgres.admin)
    folder = tmp_path / "pgbouncer"
    folder.mkdir()
    (folder / "users.txt").write_text(f'"{SERVING}" "{PASSWORD}"\n')
    (folder / "pgbouncer.ini").write_text(
        f"[databases]\n* = host={parts.hostname} port={parts.port}\n[pgbouncer]\nlisten_addr = 127.0.0.1\n"
        f"listen_port = {port}\nunix_socket_dir =\nauth_type = plain\nauth_file = {folder}/users.txt\n"
        f"pool_mode = transaction\ndefault_pool_size = {SERVER_CONNECTIONS}\nmax_client_conn = 100\n"
    )
    command = ["pgbouncer", "pgbouncer.ini"]
    if not os.geteuid():  # it refuses to run as root
        for path in (folder, *folder.iterdir()):
            os.chown(path, 65534, 65534)
        os.chmod(folder, 0o755)
        command += ["-u", "nobody"]
    url = postgres.at(port).url
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(command, cwd=folder, stdout=log, stderr=log)
        try:
            wait_for_postgres(url)
            yield url
        finally:
            process.terminate()
            process.wait(10)


async def test_tenants_share_two_connections_and_nothing_else(pooled: str, postgres: Postgres) -> None:
    catalog = await Catalog.open(f"{pooled}?pooler=transaction")
    two = await Tenants.found(catalog)
    for tenant, mark in ((two.a, SECRET), (two.b, "other")):
        async with catalog.write(tenant) as s:
            await fill(s, mark)

    async def work(tenant: str, number: int) -> None:
        async with catalog.write(tenant) as s:
            await hold(s, f"{tenant} {number}", pack=f"pack-{number}")
            await lengthen(s, {f"{number}.md": f"{tenant} {number}"}, author=tenant)
            await audit.record(s, None, "wrote", tenant, "done", "", NOW)
        async with catalog.read(tenant) as s:
            assert {row.author for row in await versions.tree(s, PROJECT) if row.path == f"{number}.md"} == {tenant}
            assert [row.id for row in await projects.list_(s)] == [PROJECT]

    await asyncio.gather(*[work(tenant, number) for number in range(6) for tenant in (two.a, two.b)])
    for tenant, foreign in ((two.a, two.b), (two.b, two.a)):
        found = await answers(catalog, tenant)
        assert found.keys() == QUESTIONS.keys()
        assert foreign not in repr(found)
        async with catalog.read(tenant) as s:
            assert (await versions.head(s, PROJECT)).version == 7
    await catalog.close()
    [connected] = await count_connections(postgres)
    assert connected == SERVER_CONNECTIONS
    await nothing_left(pooled)


async def count_connections(postgres: Postgres) -> list[int]:
    connection = await asyncpg.connect(postgres.admin)
    rows = await connection.fetch(
        f"SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND usename = '{SERVING}'"
    )
    await connection.close()
    return [row[0] for row in rows]


async def nothing_left(pooled: str) -> None:
    """Both connections, taken at once by somebody who comes after, name no tenant and show nothing."""

    async def look(both: asyncio.Barrier) -> int:
        connection = await asyncpg.connect(pooled, statement_cache_size=0)
        async with connection.transaction():
            pid: int = await connection.fetchval("SELECT pg_backend_pid()")
            await both.wait()
            left = "current_setting('satchel.tenant', true), current_setting('satchel.door', true)"
            assert {*(await connection.fetchrow(f"SELECT {left}"))} <= {None, ""}
            assert await connection.fetchval("SELECT count(*) FROM project") == 0
        await connection.close()
        return pid

    barrier = asyncio.Barrier(SERVER_CONNECTIONS)
    pids = await asyncio.gather(*[look(barrier) for _ in range(SERVER_CONNECTIONS)])
    assert len({*pids}) == SERVER_CONNECTIONS


async def test_a_pooler_that_the_address_does_not_mention_is_noticed_and_named(pooled: str) -> None:
    catalog = await Catalog.open(pooled)
    two = await Tenants.found(catalog)
    await rename(catalog, two.a)
    other = await asyncpg.connect(pooled, statement_cache_size=0)
    async with other.transaction():  # has the server connection on which the statements were prepared
        await other.execute("SELECT 1")
        with pytest.raises(CatalogUnavailable) as caught:
            await rename(catalog, two.a)
    await other.close()
    await catalog.close()
    assert "?pooler=transaction" in caught.value.hint


async def rename(catalog: Catalog, tenant: str) -> None:
    async with catalog.write(tenant) as s:
        await projects.update(s, PROJECT, description="renamed")


async def test_a_pooler_that_refuses_the_password_is_not_said_to_be_too_busy(pooled: str) -> None:
    with pytest.raises(CatalogUnavailable, match="the pooler before the database does not take this") as caught:
        await Catalog.open(f"{pooled.replace(PASSWORD, 'wrong')}?pooler=transaction")
    assert "SATCHEL_DATABASE_URL" in caught.value.hint
    assert "wrong" not in str(caught.value)
