"""A server that starts before what it stands on: it lives, is not ready, says why, and comes up by itself."""

from __future__ import annotations

import asyncio
import json
import socket
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from functools import partial
from pathlib import Path

import asyncpg
import pytest
import urllib3

from satchel.catalog.postgres import _ALONE as ALONE
from satchel.catalog.scope import Catalog
from satchel.config.server import server_settings
from satchel.errors import SatchelError, StartRefused, StoreUnavailable
from satchel.server import standby
from satchel.server.serve import uvicorn_config
from satchel.server.standby import awaited
from tests.journeys.conftest import Server
from tests.postgres import SERVING, Postgres
from tests.real import Bucket, FlakyProxy, free_ports
from tests.server.running import Client, until

pytestmark = pytest.mark.timeout(120)


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    made = Server(tmp_path)
    [made.port] = free_ports(1)
    made.env |= {"SATCHEL_STORE_WAIT_SECONDS": "2", "SATCHEL_LOG_FORMAT": "json"}
    yield made
    made.close()


def _events(server: Server, event: str) -> list[dict[str, str]]:
    lines = [json.loads(line) for line in server.log.read_text().splitlines() if line.startswith("{")]
    return [line for line in lines if line.get("event") == event]


def _says(client: Client, path: str) -> tuple[int, object]:
    """Status and body; nothing where nobody listens yet, or the one who waited has just gone."""
    try:
        answer = client.get(path)
    except urllib3.exceptions.HTTPError:
        return 0, {}
    return answer.status, answer.json


def _away(client: Client) -> object:
    _, said = _says(client, "/health")
    assert isinstance(said, dict)
    return said.get("dependencies")


@contextmanager
def _migrating(database: Postgres) -> Iterator[None]:
    """The lock of a migration is held for as long as the block lasts."""
    held, done = threading.Event(), threading.Event()

    async def migration() -> None:
        connection = await asyncpg.connect(database.owner)
        async with connection.transaction():
            await connection.execute(ALONE)
            held.set()
            await asyncio.to_thread(done.wait, 60)
        await connection.close()

    with ThreadPoolExecutor(1) as aside:
        ended = aside.submit(asyncio.run, migration())
        try:
            assert held.wait(30)
            yield
        finally:
            done.set()
            ended.result(30)


@pytest.mark.system
@pytest.mark.promise("P6")
def test_a_server_waits_for_its_bucket_and_its_tables_then_serves_and_lives_through_a_migration(
    server: Server, empty_postgres: Postgres, seaweedfs: Bucket
) -> None:
    with FlakyProxy(seaweedfs.port) as proxy, ThreadPoolExecutor(1) as aside, closing(server):
        proxy.down()
        bucket = seaweedfs.through(proxy)
        server.env |= bucket.env | {"SATCHEL_STORE_URL": bucket.url, "SATCHEL_DATABASE_URL": empty_postgres.url}
        started = aside.submit(server.start)
        with closing(Client(f"http://127.0.0.1:{server.port}")) as client:
            until(lambda: _away(client) == [{"name": "store", "state": "failed"}], 60)
            assert client.get("/health/live").status == 200
            assert client.get("/health/startup").ok() == {"status": "starting"}
            assert client.get("/health/ready").status == 503
            refused = client.get("/projects")
            assert (refused.status, refused.code) == (503, "store.unavailable")
            assert int(refused.headers["retry-after"]) > 0
            proxy.up()
            until(lambda: _away(client) == [{"name": "catalog", "state": "failed"}], 60)
            store, tables = _events(server, "waiting to start")
            assert "s3://" in store["message"]  # the log says which; an answer to a stranger does not
            assert "s3://" not in refused.body.decode()
            assert "satchel admin migrate" in tables["hint"]
            asyncio.run(Catalog.migrate(empty_postgres.owner, serving=SERVING))
            assert started.result(60)["adminKey"]
            assert client.get("/health/ready").ok()["status"] == "ok"
            with _migrating(empty_postgres):  # for longer than a probe waits, beside a server at work
                assert client.get("/health/ready").status == 503
                assert client.get("/health/live").status == 200
            until(lambda: client.get("/health/ready").status == 200, 60)
        assert server.stop() == 0


def test_what_waiting_does_not_mend_ends_the_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(standby, "TRY_SECONDS", 0.0)
    tries: Iterator[SatchelError] = iter([StoreUnavailable("away"), StartRefused("the wrong key")])

    async def attempt() -> None:
        raise next(tries)

    with closing(socket.create_server(("127.0.0.1", 0))) as listener:
        listener.setblocking(False)
        serves = partial(uvicorn_config, settings=server_settings({}, {}))
        with pytest.raises(StartRefused, match="the wrong key"):
            asyncio.run(awaited(attempt, listener, serves))
        assert listener.fileno() > 0  # it is still open, for whoever tries again
