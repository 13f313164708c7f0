"""A server whose PostgreSQL loses answers, refuses, waits or is full: it says so, keeps to its word, and recovers."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import asyncpg
import pytest

from satchel.catalog import postgres as engine
from satchel.catalog import tenants
from satchel.errors import StartRefused
from satchel.server.serve import prepare
from satchel.sync import receive
from satchel.upkeep.estate import Estate
from satchel.upkeep.verify import verify
from tests.faults.database_proxy import DatabaseProxy, Lost
from tests.postgres import Postgres
from tests.server.running import Answer, Client, Running, serving, until

pytestmark = pytest.mark.timeout(120)

REFUSING = """
CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN RAISE EXCEPTION 'refused by the test' USING ERRCODE = '{code}'; END $$
"""


@pytest.fixture
def proxy(postgres: Postgres) -> Iterator[DatabaseProxy]:
    with DatabaseProxy(int(urlsplit(postgres.admin).port or 0)) as one:
        yield one


@pytest.fixture
def server(
    postgres: Postgres, proxy: DatabaseProxy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Running]:
    monkeypatch.setattr(engine, "WAIT_SECONDS", 1)
    monkeypatch.setattr(receive, "QUEUE_SECONDS", 1)
    with serving(tmp_path / "data", database_url=postgres.at(proxy.port).url) as running:
        yield running


@pytest.fixture
def owner(server: Running) -> Client:
    owner = server.tenant("acme")
    owner.post("/projects", {"slug": "notes"}).ok()
    return owner


def versions(owner: Client) -> list[int]:
    return [row["version"] for row in owner.get("/projects/notes/versions").ok()["items"]]


def clean(server: Running) -> list[str]:
    """What a full verification complains of."""
    cloud = server.cloud
    estate = Estate(cloud.catalog, cloud.store, cloud.root, cloud.keyring, cloud.vault, cloud.clock, cloud.random)
    return [str(problem) for problem in server.run(verify(estate, full=True)).problems]


def unavailable(answer: Answer) -> bool:
    return (answer.status, answer.code) == (503, "catalog.unavailable") and 0 < int(answer.headers["retry-after"]) < 60


def open_transactions(postgres: Postgres) -> list[str]:
    rows = postgres.run(
        "SELECT query FROM pg_stat_activity WHERE datname = current_database() AND usename = 'satchel_serve' "
        "AND (state LIKE 'idle in transaction%' OR state = 'active')"
    )
    return [row["query"] for row in rows]


@pytest.mark.promise("P3")
@pytest.mark.promise("P4")
@pytest.mark.parametrize("lost", [Lost.ANSWER, Lost.QUESTION])
def test_a_commit_whose_outcome_nobody_heard_is_made_once_by_the_client_that_asks_again(
    server: Running, owner: Client, proxy: DatabaseProxy, lost: Lost
) -> None:
    tenant = owner.get("/tenant").ok()["id"]

    def write(number: int) -> Answer:
        return owner.put("notes", f"{number}.md", b"# Text\n", **{"idempotency-key": f"key-{number}"})

    number, first = 0, None
    while number < 10 and (first is None or first.status == 200):  # the server's own writes in the tenant may be met
        number += 1
        proxy.lose_next(lost, tenant)
        first = write(number)
    assert first is not None
    proxy.lose_next(Lost.NOTHING)
    assert unavailable(first)
    again = write(number)
    assert (again.status, again.json["version"]) == (200, number)
    assert versions(owner) == list(range(number, 0, -1))
    assert owner.get(f"/projects/notes/artifacts/{number}.md").body == b"# Text\n"
    assert clean(server) == []


REFUSALS = {
    "53100": (507, "disk.full"),
    "40001": (503, "catalog.unavailable"),
    "40P01": (503, "catalog.unavailable"),
    "57014": (503, "catalog.unavailable"),
    "25006": (503, "catalog.unavailable"),
    "XX001": (500, "catalog.damaged"),
}
"""A full disk, a serialization failure, a deadlock, a statement that was ended, a read-only transaction, damage."""


@pytest.mark.promise("P3")
@pytest.mark.parametrize("when", ["", "DEFERRABLE INITIALLY DEFERRED"])
def test_what_a_database_refuses_is_told_by_name_and_nothing_of_it_stays(
    server: Running, owner: Client, postgres: Postgres, when: str
) -> None:
    """Refused by the statement, or only by the COMMIT."""
    owner.put("notes", "a.md", b"# One\n").ok()
    kind = "CONSTRAINT TRIGGER" if when else "TRIGGER"
    for number, (code, expected) in enumerate(REFUSALS.items(), 2):
        postgres.run(
            REFUSING.format(code=code),
            f"CREATE {kind} refusing AFTER INSERT ON entry {when} FOR EACH ROW EXECUTE FUNCTION refuse()",
        )
        refused = owner.put("notes", f"{code}.md", b"# Two\n", **{"idempotency-key": code})
        assert (refused.status, refused.code) == expected
        assert ("retry-after" in refused.headers) == (refused.status == 503)
        assert b"refused by the test" not in refused.body
        assert owner.get("/projects/notes/artifacts/a.md").status == 200
        postgres.run("DROP TRIGGER refusing ON entry", "DROP FUNCTION refuse")
        again = owner.put("notes", f"{code}.md", b"# Two\n", **{"idempotency-key": code})
        assert again.ok()["version"] == number
    assert clean(server) == []


def test_a_database_that_may_only_be_read_serves_reads_and_refuses_writes(owner: Client, postgres: Postgres) -> None:
    owner.put("notes", "a.md", b"# One\n").ok()
    postgres.run(f"ALTER DATABASE {postgres.name} SET default_transaction_read_only = on")
    _end_connections(postgres)
    until(lambda: owner.get("/projects").status == 200)
    assert owner.get("/projects/notes/artifacts/a.md").body == b"# One\n"
    assert unavailable(owner.put("notes", "b.md", b"# Two\n"))
    postgres.run(
        "SET default_transaction_read_only = off",
        f"ALTER DATABASE {postgres.name} RESET default_transaction_read_only",
    )
    _end_connections(postgres)
    until(lambda: owner.put("notes", "b.md", b"# Two\n").status in (200, 412))
    assert versions(owner) == [2, 1]


def test_connections_that_the_database_ended_are_replaced_unseen(owner: Client, postgres: Postgres) -> None:
    for number in range(5):
        _end_connections(postgres)
        assert owner.put("notes", f"{number}.md", b"# One\n").status == 200
        _end_connections(postgres)
        assert owner.get("/projects/notes/versions").status == 200


def test_connections_whose_end_was_told_and_not_yet_seen_are_replaced_unseen(
    owner: Client, postgres: Postgres, proxy: DatabaseProxy
) -> None:
    proxy.closes = False

    def told() -> None:
        assert owner.get("/projects").status == 200
        before = proxy.live
        _end_connections(postgres)
        until(lambda: proxy.live < before)

    told()
    assert owner.put("notes", "a.md", b"# One\n").status == 200
    told()
    assert owner.get("/projects/notes/versions").status == 200


def test_a_database_that_takes_no_more_connections_refuses_for_a_while(
    server: Running, owner: Client, postgres: Postgres
) -> None:
    postgres.run(f"ALTER DATABASE {postgres.name} CONNECTION LIMIT 0")
    _end_connections(postgres)
    assert unavailable(owner.put("notes", "a.md", b"# One\n"))
    ready = server.client().get("/health/ready")
    assert (ready.status, ready.json["status"]) == (503, "degraded")
    assert server.client().get("/health/live").status == 200
    postgres.run(f"ALTER DATABASE {postgres.name} CONNECTION LIMIT -1")
    assert owner.put("notes", "a.md", b"# One\n").status == 200
    assert server.client().get("/health/ready").status == 200


def test_a_tenant_whose_writers_wait_for_one_another_holds_nobody_else_up(
    server: Running, owner: Client, postgres: Postgres
) -> None:
    other = server.tenant("other")
    other.post("/projects", {"slug": "notes"}).ok()
    tenant = owner.get("/tenant").ok()["id"]
    clients = [server.client(owner.key) for _ in range(12)]
    with _locked(postgres, tenant), ThreadPoolExecutor(len(clients)) as threads:
        began = time.monotonic()
        waiting = [threads.submit(client.put, "notes", f"{n}.md", b"# N\n") for n, client in enumerate(clients)]
        until(lambda: any("advisory" in query for query in open_transactions(postgres)))
        theirs = [other.put("notes", f"{n}.md", b"# N\n").status for n in range(3)]
        assert theirs == [200] * 3
        assert owner.get("/projects").status == 200
        answers = [one.result() for one in waiting]
        took = time.monotonic() - began
    assert all(unavailable(answer) or answer.status == 429 for answer in answers), [a.status for a in answers]
    assert took < 20
    print(f"12 writes of a locked tenant were refused within {took:.1f} s")
    assert owner.put("notes", "a.md", b"# One\n").status == 200
    until(lambda: open_transactions(postgres) == [])


def test_a_write_that_is_given_up_leaves_no_transaction_and_no_tenant_on_a_connection(
    server: Running, owner: Client, postgres: Postgres
) -> None:
    tenant = owner.get("/tenant").ok()["id"]
    catalog = server.cloud.catalog

    async def given_up() -> None:
        async def write() -> None:
            async with catalog.write(tenant) as s:
                await tenants.own(s)
                pytest.fail("the lock was to be held")

        tasks = [asyncio.create_task(write()) for _ in range(8)]
        await asyncio.sleep(0.3)
        for task in tasks:
            task.cancel()
        ended = await asyncio.gather(*tasks, return_exceptions=True)
        assert all(isinstance(error, asyncio.CancelledError) for error in ended)

    async def held_by_connections() -> set[tuple[str | None, str | None]]:
        query = "SELECT current_setting('satchel.tenant', true), current_setting('satchel.door', true)"
        database: Any = catalog._database
        found = set()
        for each in (*database._read.idle, *database._write.idle):
            with suppress(asyncpg.ConnectionDoesNotExistError):  # what the server closes just now holds nothing
                found.add(tuple(await each.fetchrow(query)))
        return found

    with _locked(postgres, tenant):
        server.run(given_up())
    until(lambda: not open_transactions(postgres))
    assert owner.put("notes", "a.md", b"# One\n").status == 200
    assert server.run(held_by_connections()) <= {("", ""), (None, None)}


def test_clients_that_hang_up_while_the_database_waits_leave_nothing_open(
    server: Running, owner: Client, postgres: Postgres
) -> None:
    tenant = owner.get("/tenant").ok()["id"]
    impatient = Client(server.url, owner.key)
    impatient._pool.connection_pool_kw["timeout"] = 0.2
    with _locked(postgres, tenant):
        for number in range(4):
            with pytest.raises(Exception, match="timed out"):
                impatient.put("notes", f"{number}.md", b"# N\n")
    impatient.close()
    until(lambda: not open_transactions(postgres))
    assert owner.put("notes", "last.md", b"# N\n").status == 200
    assert clean(server) == []


def test_a_schema_from_the_future_stops_no_running_node_and_refuses_to_start_one(
    server: Running, owner: Client, postgres: Postgres, tmp_path: Path
) -> None:
    postgres.run("UPDATE alembic_version SET version_num = '9999'", "ALTER TABLE project ADD COLUMN later text")
    assert owner.put("notes", "a.md", b"# One\n").status == 200
    with pytest.raises(StartRefused, match="newer"):
        prepare(replace(server.settings, port=0))


def _end_connections(postgres: Postgres) -> None:
    postgres.run(
        "SELECT pg_terminate_backend(pid, 10_000) FROM pg_stat_activity "
        "WHERE datname = current_database() AND usename = 'satchel_serve'"
    )


class _locked:  # noqa: N801 (used like a function)
    """Somebody else holds the lock of a tenant's writers."""

    def __init__(self, postgres: Postgres, tenant: str) -> None:
        self._postgres, self._tenant = postgres, tenant
        self._held, self._over = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._hold()))

    def __enter__(self) -> None:
        self._thread.start()
        assert self._held.wait(10)

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    async def _hold(self) -> None:
        connection = await asyncpg.connect(self._postgres.admin)
        await connection.execute(f"SELECT pg_advisory_lock({engine._LOCKS}, hashtext('{self._tenant}'))")
        self._held.set()
        await asyncio.to_thread(self._over.wait)
        await connection.close()
