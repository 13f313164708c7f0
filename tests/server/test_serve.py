"""Starting, stopping and refusing to start, in processes of their own."""

from __future__ import annotations

import os
import resource
import signal
import socket
import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager, suppress
from itertools import pairwise
from pathlib import Path

import apsw
import pytest
import urllib3

from satchel.config.server import ServerSettings, server_settings
from satchel.errors import SatchelError, StartRefused
from satchel.server.arenas import ARENAS
from satchel.server.serve import prepare
from tests.real import free_ports
from tests.server.running import Client, until

_RUN = """
import sys
from satchel.config.server import server_settings
from satchel.server.serve import prepare, run
given = dict(word.split("=") for word in sys.argv[2:])
prepared = prepare(server_settings({"data": sys.argv[1], "port": 0, "log_format": "json", **given}, env={}))
print(prepared.settings.port, prepared.first.key if prepared.first else "-", flush=True)
run(prepared)
"""


def _settings(data: Path, **flags: object) -> ServerSettings:
    return server_settings({"data": data, "port": 0, **flags}, env={})


@contextmanager
def _process(data: Path, *given: str) -> Iterator[tuple[subprocess.Popen[str], Client]]:
    """A server in a process of its own; its operator where this is its first start."""
    process = subprocess.Popen(
        [sys.executable, "-c", _RUN, str(data), *given], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    )
    assert process.stdout is not None
    try:
        port, key = process.stdout.readline().split()
        client = Client(f"http://127.0.0.1:{port}", None if key == "-" else key)
        _wait_for(client)
        with closing(client):
            yield process, client
    finally:
        process.kill()
        process.wait(10)
        process.stdout.close()


def _wait_for(client: Client) -> None:
    """The port takes connections from the start; the first answer comes when the server is up."""
    assert client.get("/health/live").status == 200


def _stop(process: subprocess.Popen[str]) -> tuple[int, float]:
    started = time.monotonic()
    process.send_signal(signal.SIGTERM)
    return process.wait(20), time.monotonic() - started


@pytest.mark.system
@pytest.mark.journey(1)
def test_a_server_starts_on_nothing_stops_cleanly_and_comes_back_with_everything(tmp_path: Path) -> None:
    data = tmp_path / "data"
    with _process(data) as (process, client):
        client.post("/projects", {"slug": "acme"}).ok()
        client.put("acme", "a.md", b"# A\n\nword\n").ok()
        found = client.get("/search", q="word").ok()
        key = client.key
        code, seconds = _stop(process)
        assert (code, seconds < 10) == (0, True)
    assert stat.S_IMODE(data.stat().st_mode) == 0o700
    assert stat.S_IMODE((data / "root.key").stat().st_mode) == 0o600
    assert not any(b"# A" in path.read_bytes() for path in data.rglob("*") if path.is_file())
    with _process(data) as (process, restarted):
        assert restarted.key is None
        restarted.key = key
        assert restarted.get("/search", q="word").ok() == found
        assert restarted.get("/projects/acme/artifacts/a.md").body == b"# A\n\nword\n"
        assert _stop(process)[0] == 0


@pytest.mark.system
def test_a_server_told_to_stop_says_so_to_probes_while_it_goes_on_and_a_second_signal_ends_the_wait(
    tmp_path: Path,
) -> None:
    [port] = free_ports(1)
    with _process(tmp_path / "data", "drain_seconds=600", f"metrics_port={port}") as (process, client):
        metrics = urllib3.PoolManager(retries=False)
        assert client.get("/health/ready").status == 200
        process.send_signal(signal.SIGTERM)
        until(lambda: client.get("/health/ready").status == 503, 60)
        stopping = client.get("/health")
        assert stopping.ok()["status"] == "stopping"
        assert stopping.headers["connection"] == "close"  # the next request finds a connection to somebody who stays
        assert client.get("/health/live").status == 200
        assert client.post("/projects", {"slug": "still-taken"}).status == 201
        assert b"\nsatchel_draining 1.0" in metrics.request("GET", f"http://127.0.0.1:{port}/metrics", timeout=30).data
        metrics.clear()
        assert _stop(process)[0] == 0


@pytest.mark.system
@pytest.mark.promise("P6")
def test_a_killed_server_comes_back_with_what_it_acknowledged(tmp_path: Path) -> None:
    with _process(tmp_path / "data") as (process, client):
        client.post("/projects", {"slug": "acme"}).ok()
        for number in range(5):
            client.put("acme", f"{number}.md", b"kept").ok()
        process.send_signal(signal.SIGKILL)
        process.wait(10)
        key = client.key
    with _process(tmp_path / "data") as (_, restarted):
        restarted.key = key
        assert restarted.get("/projects/acme").ok()["version"] == 5
        assert len(restarted.get("/projects/acme/artifacts").ok()["items"]) == 5


@pytest.mark.system
@pytest.mark.promise("P9")
def test_a_cache_that_is_deleted_or_damaged_loses_nothing(tmp_path: Path) -> None:
    with _process(tmp_path / "data") as (process, client):
        client.post("/projects", {"slug": "acme"}).ok()
        client.put("acme", "a.md", b"# A\n\nword\n").ok()
        found = client.get("/search", q="word").ok()
        key = client.key
        _stop(process)
    for index in (tmp_path / "data" / "cache").rglob("*.db"):
        index.write_bytes(os.urandom(8_192))
    with _process(tmp_path / "data") as (_, restarted):
        restarted.key = key
        assert restarted.get("/search", q="word").ok() == found


@pytest.mark.skipif(not Path("/proc/self/maps").exists(), reason="the kernel's list of what is mapped is read")
def test_all_threads_share_two_arenas(tmp_path: Path) -> None:
    """What one thread frees would be lost to the others, and a server would grow for as long as indexes come and go."""
    with _process(tmp_path / "data") as (process, client):
        client.post("/projects", {"slug": "acme"}).ok()
        with ThreadPoolExecutor(8) as threads:
            asked = [threads.submit(client.put, "acme", f"{name}.md", b"word\n" * 20_000) for name in range(16)]
            asked += [threads.submit(client.get, "/search", q=f"word {number}") for number in range(64)]
            assert {answer.result().status // 100 for answer in asked} == {2}
        mapped = Path(f"/proc/{process.pid}/maps").read_text().splitlines()
    # One grows upwards from the program, the other takes stretches of 64 MiB that begin at a multiple of that: what is
    # in use of one, then what may not be touched yet. Other memory may begin there by chance.
    places = [(int(first, 16), int(last, 16), may) for first, last, may in map(_mapping, mapped)]
    heaps = [
        used
        for used, rest in pairwise(places)
        if used[0] % _HEAP == 0 and used[1:] == (rest[0], "rw-p") and rest[1:] == (used[0] + _HEAP, "---p")
    ]
    assert len(heaps) == ARENAS - 1


_HEAP = 64 << 20


def _mapping(line: str) -> tuple[str, str, str]:
    place, may, *_ = line.split()
    first, _, last = place.partition("-")
    return first, last, may


@pytest.mark.system
@pytest.mark.promise("P8")
@pytest.mark.skipif(
    not (hasattr(resource, "prlimit") and os.environ.get("PROVE")),
    reason="how much is left below a limit differs from run to run: for a machine that does nothing else, with PROVE=1",
)
def test_a_server_short_of_memory_refuses_what_needs_more_and_goes_on(tmp_path: Path) -> None:
    with _process(tmp_path / "data") as (process, client):
        client.post("/projects", {"slug": "acme"}).ok()
        client.put("acme", "small.md", b"kept").ok()
        large = b"word " * 1_500_000
        client.put("acme", "large.md", large).ok()  # whatever a large one loads and starts is there now
        had = resource.prlimit(process.pid, resource.RLIMIT_AS)
        status = Path(f"/proc/{process.pid}/status").read_text().splitlines()
        [size] = [line.split()[1] for line in status if line.startswith("VmSize")]
        resource.prlimit(process.pid, resource.RLIMIT_AS, (int(size) * 1024, had[1]))
        refused = []
        for number in range(4):
            with suppress(urllib3.exceptions.ProtocolError):  # not even memory to read it
                answer = client.put("acme", f"{number}.md", large)
                assert (answer.status, answer.code) in ((503, "memory.full"), (503, None), (200, None))
                assert answer.status == 200 or int(answer.headers["retry-after"]) > 0
                if answer.status == 200:
                    continue
            refused.append(number)
        assert refused
        assert client.get("/health/ready").status == 200
        assert client.get("/projects/acme/artifacts/small.md").body == b"kept"
        resource.prlimit(process.pid, resource.RLIMIT_AS, had)
        for number in refused:
            client.put("acme", f"{number}.md", large).ok()
        assert _stop(process)[0] == 0


def _refused(settings: ServerSettings) -> SatchelError:
    with pytest.raises(StartRefused) as caught:
        prepare(settings)
    assert caught.value.message
    assert caught.value.hint
    return caught.value


def _founded(data: Path) -> ServerSettings:
    settings = _settings(data)
    prepare(settings).listener.close()
    return settings


def test_another_root_key_is_refused(tmp_path: Path) -> None:
    settings = _founded(tmp_path / "data")
    settings.root_key_path.write_bytes(os.urandom(32))
    assert "not the one this data was written with" in _refused(settings).message


def test_a_file_that_is_no_root_key_is_refused(tmp_path: Path) -> None:
    settings = _founded(tmp_path / "data")
    settings.root_key_path.write_text("not a key")
    assert "exactly 32 bytes" in _refused(settings).message


def test_a_missing_root_key_is_never_replaced_by_a_new_one(tmp_path: Path) -> None:
    settings = _founded(tmp_path / "data")
    settings.root_key_path.unlink()
    assert "missing" in _refused(settings).message
    assert not settings.root_key_path.exists()


def test_a_data_directory_that_cannot_be_used_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("not a directory")
    assert "data directory" in _refused(_settings(tmp_path / "file")).message
    assert "data directory" in _refused(_settings(tmp_path / "file" / "below")).message


def test_a_taken_port_is_refused_before_anything_is_made(tmp_path: Path) -> None:
    with closing(socket.create_server(("127.0.0.1", 0))) as taken:
        refused = _refused(_settings(tmp_path / "data", port=taken.getsockname()[1]))
    assert "cannot be listened on" in refused.message
    assert not (tmp_path / "data" / "root.key").exists()


def test_a_catalog_of_a_newer_satchel_is_refused(tmp_path: Path) -> None:
    settings = _founded(tmp_path / "data")
    with closing(apsw.Connection(str(settings.data / "catalog.db"))) as database:
        database.execute("UPDATE alembic_version SET version_num = '9999'")
    assert "newer" in _refused(settings).message


def test_a_first_start_cut_short_is_finished_by_the_next(tmp_path: Path) -> None:
    settings = _founded(tmp_path / "data")
    _drop_catalog(settings)
    prepared = prepare(settings)
    prepared.listener.close()
    assert prepared.first is not None


def _drop_catalog(settings: ServerSettings) -> None:
    (settings.data / "catalog.db").unlink()
    for beside in ("catalog.db-wal", "catalog.db-shm"):
        (settings.data / beside).unlink(missing_ok=True)


def test_a_lost_catalog_is_not_begun_anew_beside_the_projects_it_knew(tmp_path: Path) -> None:
    settings = _founded(tmp_path / "data")
    kept = settings.data / "store" / "tenants" / "ten_a" / "projects" / "prj_a" / "packs"
    kept.mkdir(parents=True)
    (kept / "pak_a").write_bytes(b"sealed")
    _drop_catalog(settings)
    with pytest.raises(StartRefused, match="and the catalog is empty") as refused:
        prepare(settings)
    assert "rebuild-catalog" in refused.value.hint
    with closing(apsw.Connection(str(settings.data / "catalog.db"))) as database:
        assert database.execute("SELECT * FROM installation").fetchall() == []  # a backup can be restored into it


def test_a_catalog_and_the_store_of_another_installation_are_never_mixed_up(tmp_path: Path) -> None:
    ours, theirs = _founded(tmp_path / "ours"), _founded(tmp_path / "theirs")
    mixed = _settings(
        tmp_path / "ours", store_url=(tmp_path / "theirs" / "store").as_uri(), root_key=str(theirs.root_key_path)
    )
    with pytest.raises(StartRefused, match=r"the catalog is of the installation ins_.*, and the store of ins_"):
        prepare(mixed)
    empty = _settings(tmp_path / "ours", store_url=(tmp_path / "empty").as_uri())
    with pytest.raises(StartRefused, match="and the store holds none"):
        prepare(empty)
    assert not [path for path in (tmp_path / "empty").rglob("*") if path.is_file()]  # nothing was begun there
    again = prepare(ours)
    again.listener.close()
    assert again.first is None


def test_a_key_file_open_to_others_is_warned_of(tmp_path: Path) -> None:
    settings = _founded(tmp_path / "data")
    settings.root_key_path.chmod(0o640)
    prepared = prepare(settings)
    prepared.listener.close()
    assert any("chmod 600" in warning for warning in prepared.warnings)
