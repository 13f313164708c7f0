"""A real server under load, whose real S3 server is switched off and on: reads go on, nothing acknowledged is lost."""

from __future__ import annotations

import os
import random
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import urllib3

from satchel.server.marks import CACHE_STATUS
from tests.journeys.conftest import Person, Server
from tests.real import Answer as FlakyAnswer
from tests.real import Bucket, FlakyProxy, SeaweedFS
from tests.server.running import Answer, Client, until

pytestmark = pytest.mark.timeout(300)

WAIT_SECONDS = 3
"""The server's bound on one answer of the store."""
REFUSED_WITHIN_SECONDS = 1.0
"""A write, once the store is known to be down."""
FIRST = {f"first/{n}.md": f"# First {n}\n\nA runbook, number {n}.\n".encode() * 20 for n in range(8)}
PLANTED = Path(__file__).with_name("planted_server.py")


class Load:
    """Readers and writers in threads, and what they saw. ``problems`` is empty if all went as it should."""

    def __init__(self, url: str, key: str) -> None:
        self.url, self.key = url, key
        self.problems: list[str] = []
        self.written: dict[str, bytes] = {}
        self.versions: list[int] = []
        self.refusals: list[tuple[float, float]] = []
        """When a write was sent that was refused, and how long the refusal took."""
        self.marked: list[float] = []
        self.unmarked: list[float] = []
        self._ending = threading.Event()
        self._threads = [threading.Thread(target=self._guarded, args=(self._writes, n)) for n in range(3)]
        self._threads += [threading.Thread(target=self._guarded, args=(self._reads, n)) for n in range(2)]

    def __enter__(self) -> Load:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ending.set()
        for thread in self._threads:
            thread.join(60)

    def last_write(self) -> int:
        return len(self.versions)

    def _guarded(self, work: Callable[[Client, random.Random, int], None], number: int) -> None:
        client = Client(self.url, self.key)
        try:
            work(client, random.Random(number), number)
        except (urllib3.exceptions.HTTPError, AssertionError, KeyError) as error:
            self.problems.append(f"{work.__name__}: {error!r}")
        finally:
            client.close()

    def _writes(self, client: Client, chance: random.Random, number: int) -> None:
        count = 0
        while not self._ending.is_set():
            count += 1
            path, data = f"w{number}/{count}.md", chance.randbytes(chance.randint(100, 8_000)).hex().encode()
            self._write(client, path, data, f"{number}-{count}")
            self._ending.wait(0.03)

    def _write(self, client: Client, path: str, data: bytes, key: str) -> None:
        """Until it succeeds: whoever was refused for a while comes again under the same key."""
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            began = time.monotonic()
            answer = client.put("load", path, data, **{"idempotency-key": key})
            if answer.status == 200:
                self.written[path] = data
                self.versions.append(answer.json["version"])
                return
            if answer.code == "sync.head_moved":  # the others were faster each time
                continue
            if answer.status != 503 or not 0 < int(answer.headers["retry-after"]) < 60:
                self.problems.append(f"a write was answered {answer.status} {answer.code}")
                return
            self.refusals.append((began, time.monotonic() - began))
            time.sleep(0.1)
        self.problems.append(f"{path} could not be written in a minute")

    def _reads(self, client: Client, chance: random.Random, number: int) -> None:
        while not self._ending.is_set():
            path = chance.choice(list(FIRST))
            began = time.monotonic()
            if chance.random() < 0.2:
                answer = client.post("/projects/load/search", {"query": "runbook number", "limit": 3})
                good = answer.status == 200 and len(answer.json["hits"]) == 3
            else:
                answer = client.get(f"/projects/load/artifacts/{path}")
                good = answer.status == 200 and answer.body == FIRST[path]
            if not good:
                self.problems.append(f"a read was answered {answer.status} {answer.body[:200]!r}")
            marked = answer.headers.get("cache-status") == CACHE_STATUS
            (self.marked if marked else self.unmarked).append(began)
            self._ending.wait(0.01)


@pytest.fixture
def new_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    server = Server(tmp_path_factory.mktemp("server"))
    server.env["SATCHEL_STORE_WAIT_SECONDS"] = str(WAIT_SECONDS)
    yield server
    server.close()


@pytest.fixture
def shared_through(seaweedfs: Bucket) -> Iterator[tuple[Bucket, FlakyProxy]]:
    with FlakyProxy(seaweedfs.port) as proxy:
        yield seaweedfs.through(proxy), proxy


def _started(server: Server, bucket: Bucket) -> Client:
    """The server over that bucket, with two projects; what one holds is not on the server's own disk."""
    server.env |= bucket.env
    server.env["SATCHEL_STORE_URL"] = bucket.url
    server.start()
    admin = Client(server.url, server.admin)
    for project in ("load", "cold"):
        admin.post("/projects", {"slug": project}).ok()
    cold = admin.get("/projects/cold").ok()["id"]
    for path, data in FIRST.items():
        admin.put("load", path, data).ok()
    admin.put("cold", "cold.md", b"# Cold\n").ok()
    admin.post("/projects/load/search", {"query": "runbook"}).ok()
    [kept] = (server.data / "cache" / "store").glob(f"tenants/*/projects/{cold}")
    shutil.rmtree(kept)
    return admin


def _cold(admin: Client) -> Answer:
    return admin.get("/projects/cold/artifacts/cold.md")


def _goes_on(load: Load) -> None:
    """Writes succeed again."""
    before = load.last_write()
    until(lambda: load.last_write() > before + 3 or bool(load.problems), 40)


def _afterwards(server: Server, admin: Client, load: Load) -> None:
    """Everything acknowledged is there, in the store itself, once, and nothing else is."""
    admin.close()
    if _cold(admin).body != b"# Cold\n":
        load.problems.append("what could not be read during the outage cannot be read after it")
    if sorted(load.versions) != list(range(len(FIRST) + 1, len(FIRST) + len(load.versions) + 1)):
        load.problems.append("versions and acknowledged writes are not the same")
    server.stop()
    shutil.rmtree(server.data / "cache")
    server.start()
    again = Client(server.url, server.admin)
    for path, data in (FIRST | load.written).items():
        answer = again.get(f"/projects/load/artifacts/{path}")
        if answer.body != data:
            load.problems.append(f"{path} was acknowledged and is answered with {answer.status} {answer.code}")
    again.close()


def _late(load: Load, since: float, to: float) -> list[float]:
    """How long refusals took between two times, in order."""
    return sorted(took for began, took in load.refusals if since <= began < to)


@pytest.mark.promise("P3")
@pytest.mark.promise("P6")
def test_a_real_s3_server_that_is_switched_off_and_frozen_under_load_costs_no_byte(
    new_server: Server, own_seaweedfs: SeaweedFS, tmp_path: Path
) -> None:
    admin = _started(new_server, own_seaweedfs.bucket())
    sam = Person(tmp_path, "sam")
    sam.joins(new_server)
    (sam.folder / "notes.md").write_text("# Notes\n")
    synced: list[subprocess.CompletedProcess[str]] = []
    with Load(new_server.url, new_server.admin) as load:
        _goes_on(load)
        own_seaweedfs.stop()
        off = time.monotonic()
        until(lambda: bool(load.refusals))
        syncing = threading.Thread(target=lambda: synced.append(sam.run("sync", "--wait", "80", status=None)))
        syncing.start()
        until(lambda: len(load.marked) > 50)
        missed = _cold(admin)
        assert (missed.status, missed.code) == (503, "store.unavailable")
        assert admin.get("/health").json["status"] == "degraded"
        assert admin.get("/health/ready").status == 200
        own_seaweedfs.start()
        on = time.monotonic()
        _goes_on(load)
        syncing.join(60)
        frozen = time.monotonic()
        with own_seaweedfs.frozen():
            until(lambda: any(began > frozen for began, _ in load.refusals), 20)
            known = time.monotonic()
            until(lambda: len(_late(load, known, known + 60)) > 10)
            until(lambda: any(began > known for began in load.marked))
        thawed = time.monotonic()
        _goes_on(load)
        until(lambda: any(began > thawed for began in load.unmarked))
    _afterwards(new_server, admin, load)
    assert load.problems == []
    # Refusals are quick once one request has found out, and none takes longer than the bound on the store and a little.
    quick = [*_late(load, off + WAIT_SECONDS, on), *_late(load, known, thawed)]
    assert quick[int(len(quick) * 0.99)] < REFUSED_WITHIN_SECONDS
    assert _late(load, 0, thawed)[-1] < 2 * WAIT_SECONDS
    [done] = synced
    assert done.returncode == 0, done.stderr
    assert "the server's storage does not answer; trying again in" in done.stderr
    new_server.run_admin("verify", "--full")
    print(f"{len(load.versions)} writes, {len(load.refusals)} refusals, p99 {quick[int(len(quick) * 0.99)]:.3f} s")


DEFECTS = [
    (None, ""),
    ("acknowledges_before_it_is_durable", "was acknowledged and is answered with 5"),
    ("forgets_idempotency_keys", "a write was answered 412 artifact.changed"),
    ("remembers_failed_reads", "cannot be read after it"),
]


@pytest.mark.parametrize(("defect", "noticed"), DEFECTS if os.environ.get("PROVE") else DEFECTS[:2])
def test_the_checks_notice_a_defect_that_is_planted_and_nothing_where_none_is(
    new_server: Server, shared_through: tuple[Bucket, FlakyProxy], defect: str | None, noticed: str
) -> None:
    if defect is not None:
        new_server.program = (sys.executable, str(PLANTED), defect)
    problems = _brief_outage(new_server, *shared_through)
    if defect is None:
        assert problems == []
    else:
        assert any(noticed in problem for problem in problems), problems


def _brief_outage(server: Server, bucket: Bucket, proxy: FlakyProxy) -> list[str]:
    """The problems that a short outage leads to: some commits cannot be confirmed, then the store is away."""
    admin = _started(server, bucket)
    with Load(server.url, server.admin) as load:
        _goes_on(load)
        proxy.answer("PUT", FlakyAnswer(500, "InternalError"), part="/heads/", times=12)  # four attempts of three
        until(lambda: bool(load.refusals), 20)
        _goes_on(load)
        proxy.down()
        until(lambda: _cold(admin).status == 503)
        proxy.up()
        _goes_on(load)
    _afterwards(server, admin, load)
    return load.problems
