"""A server under load whose real PostgreSQL ends, crashes, freezes, locks it out and fails over: nothing is lost."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from satchel.catalog import postgres as engine
from satchel.catalog.trouble import CatalogUnavailable
from satchel.config.server import server_settings
from satchel.server.serve import prepare
from satchel.upkeep.estate import Estate
from satchel.upkeep.verify import verify
from tests.postgres import PASSWORD, SERVING, Cluster, command, reachable_folder, run_sql, wait_for_postgres
from tests.real import ENVIRONMENT, free_ports
from tests.server.running import Client, Running, serving, until

pytestmark = pytest.mark.timeout(300)

REFUSED_WITHIN_SECONDS = 30.0
"""A write while the database is away: the waits of this test, and what a busy machine adds."""
LOCK_OUT = f"ALTER ROLE {SERVING} NOLOGIN"
LET_IN = f"ALTER ROLE {SERVING} LOGIN"


class Load:
    """Writers and a reader in threads, and what they saw; ``problems`` is empty if all went as it should."""

    def __init__(self, url: str, key: str) -> None:
        self.url, self.key = url, key
        self.problems: list[str] = []
        self.written: dict[str, bytes] = {}
        self.versions: list[int] = []
        self.refused: list[float] = []
        """How long each refusal took."""
        self._ending = threading.Event()
        self._threads = [threading.Thread(target=self._writes, args=(number,)) for number in range(2)]
        self._threads.append(threading.Thread(target=self._reads))

    def __enter__(self) -> Load:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ending.set()
        for thread in self._threads:
            thread.join(60)

    def _writes(self, number: int) -> None:
        client, count = Client(self.url, self.key), 0
        while not self._ending.is_set() and not self.problems:
            count += 1
            path, data = f"w{number}/{count}.md", f"# Text {number} {count}\n".encode()
            self._until_done(client, path, data, f"{number}-{count}")
            self._ending.wait(0.02)
        client.close()

    def _until_done(self, client: Client, path: str, data: bytes, key: str) -> None:
        """Whoever was refused for a while, or heard nothing, comes again under the same key."""
        deadline = time.monotonic() + 90
        while time.monotonic() < deadline:
            began = time.monotonic()
            answer = client.put("load", path, data, **{"idempotency-key": key})
            if answer.status == 200:
                self.written[path] = data
                self.versions.append(answer.json["version"])
                return
            if answer.code == "sync.head_moved":
                continue
            if answer.status != 503 or not 0 < int(answer.headers["retry-after"]) < 60:
                self.problems.append(f"a write was answered {answer.status} {answer.code}")
                return
            self.refused.append(time.monotonic() - began)
            self._ending.wait(0.1)
        self.problems.append(f"{path} could not be written")

    def _reads(self) -> None:
        client = Client(self.url, self.key)
        while not self._ending.is_set():
            answer = client.get("/projects/load/artifacts/first.md")
            if answer.status not in (200, 503) or (answer.status == 200 and answer.body != b"# First\n"):
                self.problems.append(f"a read was answered {answer.status} {answer.code}")
            self._ending.wait(0.05)
        client.close()

    def goes_on(self) -> float:
        """Wait until writes succeed again; the seconds that took."""
        before, began = len(self.versions), time.monotonic()
        until(lambda: len(self.versions) > before + 3 or bool(self.problems), 60)
        assert self.problems == []
        return time.monotonic() - began

    def stands_still(self) -> None:
        """Wait until refusals come."""
        before = len(self.refused)
        until(lambda: len(self.refused) > before + 2 or bool(self.problems), 60)
        assert self.problems == []


@contextmanager
def loaded(url: str, data: Path) -> Iterator[tuple[Running, Load]]:
    """A server with writers on it; at the end all that was acknowledged has to be there, once, and all has to fit."""
    with serving(data, database_url=url) as server:
        server.admin.post("/projects", {"slug": "load"}).ok()
        server.admin.put("load", "first.md", b"# First\n").ok()
        with Load(server.url, server.admin.key or "") as load:
            load.goes_on()
            yield server, load
        assert load.problems == []
        assert sorted(load.versions) == list(range(2, len(load.versions) + 2))
        for path, text in load.written.items():
            assert server.admin.get(f"/projects/load/artifacts/{path}").body == text
        cloud = server.cloud
        estate = Estate(cloud.catalog, cloud.store, cloud.root, cloud.keyring, cloud.vault, cloud.clock, cloud.random)
        assert server.run(verify(estate, full=True)).problems == []
        assert max(load.refused, default=0.0) < REFUSED_WITHIN_SECONDS


def lock_out(postgres: Cluster) -> None:
    end = f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = '{SERVING}'"
    postgres.database.run(LOCK_OUT, end)


@pytest.mark.promise("P3")
@pytest.mark.promise("P4")
def test_a_database_that_ends_crashes_freezes_and_locks_the_server_out_costs_no_byte(
    own_postgres: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine, "WAIT_SECONDS", 2)
    monkeypatch.setattr(engine, "CONNECT_SECONDS", 2)
    monkeypatch.setattr(engine, "STATEMENT_SECONDS", 2)
    ways: dict[str, tuple[Callable[[], object], Callable[[], object]]] = {
        "ended": (own_postgres.stop, own_postgres.start),
        "crashed": (lambda: own_postgres.stop(signal.SIGQUIT), own_postgres.start),
        "locked out": (lambda: lock_out(own_postgres), lambda: own_postgres.database.run(LET_IN)),
    }
    with loaded(own_postgres.database.url, tmp_path / "data") as (server, load):
        health = server.client()
        for name, (begin, end) in ways.items():
            begin()
            load.stands_still()
            assert health.get("/health/ready").status == 503, name
            assert health.get("/health").ok()["status"] == "degraded"
            assert health.get("/health/live").status == 200
            end()
            print(f"{name}: writes again {load.goes_on():.1f} s after it was back")
            assert health.get("/health/ready").status == 200
        with own_postgres.frozen():
            load.stands_still()
            assert health.get("/health/live").status == 200
        print(f"frozen: writes again {load.goes_on():.1f} s after it went on")
        print(f"{len(load.versions)} writes, {len(load.refused)} refusals, the slowest {max(load.refused):.1f} s")


@contextmanager
def standby_of(primary: Cluster) -> Iterator[tuple[int, Callable[[], object]]]:
    """A copy that follows a database; its port, and what makes it the primary."""
    folder, [port] = reachable_folder(), free_ports(1)
    [program] = [word for word in command(primary.folder, primary.port) if word.endswith("/postgres")]
    copy = [str(Path(program).with_name("pg_basebackup")), "-h", "127.0.0.1", "-p", str(primary.port), "-U", "postgres"]
    copy += ["-R", "-X", "stream", "-c", "fast", "-D", str(folder / "data")]
    subprocess.run(copy, env=ENVIRONMENT, check=True, timeout=60)
    if not os.geteuid():
        subprocess.run(["chown", "-R", "pgserver", str(folder)], check=True)
    with (folder / "log").open("ab") as log:
        process = subprocess.Popen(command(folder / "data", port), stdout=log, stderr=log, env=ENVIRONMENT)
    admin = f"postgresql://postgres@127.0.0.1:{port}/postgres"
    try:
        wait_for_postgres(admin)
        yield port, lambda: asyncio.run(run_sql(admin, "SELECT pg_promote()"))
    finally:
        process.send_signal(signal.SIGQUIT)
        process.wait(30)
        shutil.rmtree(folder)


@pytest.mark.promise("P3")
def test_a_server_follows_its_database_to_the_standby_that_takes_over(
    own_postgres: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine, "WAIT_SECONDS", 2)
    with standby_of(own_postgres) as (port, promote):
        # What is acknowledged has to be on both before it is.
        own_postgres.database.run(
            "ALTER SYSTEM SET synchronous_standby_names = '*'",
            "ALTER SYSTEM SET synchronous_commit = 'remote_apply'",
            "SELECT pg_reload_conf()",
        )
        hosts = f"127.0.0.1:{own_postgres.port},127.0.0.1:{port}"
        url = f"postgresql://{SERVING}:{PASSWORD}@{hosts}/postgres?target_session_attrs=read-write"
        with loaded(url, tmp_path / "data") as (_, load):
            own_postgres.stop(signal.SIGQUIT)
            load.stands_still()
            promote()
            print(f"failed over: writes again {load.goes_on():.1f} s after the standby was promoted")


def test_a_server_without_its_database_says_so_and_does_not_start(own_postgres: Cluster, tmp_path: Path) -> None:
    own_postgres.stop()
    settings = server_settings(
        {"data": tmp_path / "data", "port": 0, "database_url": own_postgres.database.url}, env={}
    )
    with pytest.raises(CatalogUnavailable):
        prepare(settings)
    own_postgres.start()
    prepared = prepare(settings)
    prepared.listener.close()
    assert prepared.first is not None
