"""A server ends: requests that outlive the drain before it, and the process whatever still holds it."""

from __future__ import annotations

import asyncio
import contextlib
import json
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import urllib3
import uvicorn
from starlette.types import Receive, Scope, Send

from satchel.server.serve import Serving, listen
from tests.real import free_ports
from tests.server.running import Client, until

PYTHON = f"python{sys.version_info.major}.{sys.version_info.minor}"
_HELD = """
import asyncio, sys
from satchel.config.server import server_settings
from satchel.server import serve

async def house(_cloud):
    while True:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            pass

serve.keep_house, serve.END_SECONDS, serve.LAST_SECONDS = house, 0.1, 0.1
given = {"data": sys.argv[1], "port": 0, "log_format": "json", "shutdown_seconds": 0}
prepared = serve.prepare(server_settings(given, env={}))
print(prepared.settings.port, flush=True)
serve.run(prepared)
"""


class _Server(Serving):
    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:  # the tests' own thread has them
        yield


def test_what_a_request_holds_is_given_back_before_the_server_has_ended() -> None:
    told: list[str] = []
    stuck = asyncio.Event()

    async def app(_scope: Scope, _receive: Receive, _send: Send) -> None:
        stuck.set()
        try:
            await asyncio.Event().wait()
        finally:
            for _ in range(20):  # a rollback takes its time
                await asyncio.sleep(0)
            told.append("given back")

    async def serve() -> None:
        listener = listen("127.0.0.1", 0)
        config = uvicorn.Config(app, lifespan="off", log_config=None, timeout_graceful_shutdown=0)
        server = _Server(config, lambda: None, asyncio.Event())
        serving = asyncio.create_task(server.serve(sockets=[listener]))
        _, writer = await asyncio.open_connection(*listener.getsockname())
        writer.write(b"GET / HTTP/1.1\r\nhost: localhost\r\n\r\n")
        await stuck.wait()
        server.should_exit = True
        await serving
        told.append("ended")
        writer.close()

    asyncio.run(serve())
    assert told == ["given back", "ended"]


@pytest.mark.system
def test_a_process_that_something_holds_ends_all_the_same_and_says_what_it_was(tmp_path: Path) -> None:
    command = [sys.executable, "-c", _HELD, str(tmp_path / "data")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            client = Client(f"http://127.0.0.1:{int(process.stdout.readline())}")
            assert client.get("/health/live").status == 200
            client.close()
            process.send_signal(signal.SIGTERM)
            _, log = process.communicate(timeout=60)
        finally:
            process.kill()
    assert process.returncode == 0
    [told] = [json.loads(line) for line in log.splitlines() if "cut off" in line]
    assert "MainThread" in told["threads"]
    assert any(places[-1].startswith(f"{PYTHON}/asyncio/locks.py") for places in told["tasks"].values())


@pytest.mark.system
def test_a_start_that_waits_for_a_key_service_ends_when_it_is_told_to(tmp_path: Path) -> None:
    [port] = free_ports(1)
    silent = listen("127.0.0.1", 0)  # it takes connections and never answers
    env = {
        "AWS_ENDPOINT_URL_KMS": f"http://127.0.0.1:{silent.getsockname()[1]}",
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_DEFAULT_REGION": "eu-central-1",
        "SATCHEL_ROOT_KMS": "aws-kms:alias/satchel",
        "HOME": str(tmp_path),
    }
    command = [sys.executable, "-m", "satchel.cli.main", "serve", "--data", str(tmp_path / "data")]
    process = subprocess.Popen([*command, "--port", str(port)], env=env)
    client = Client(f"http://127.0.0.1:{port}")
    try:
        until(lambda: _starting(client), 60)
        began = time.monotonic()
        process.send_signal(signal.SIGTERM)
        assert process.wait(20) == 0
        assert time.monotonic() - began < 8  # the thread that asks gives up after ten seconds, three times
    finally:
        process.kill()
        process.wait(10)
        client.close()
        silent.close()


def _starting(client: Client) -> bool:
    """Whether it answers, and waits."""
    try:
        return bool(client.get("/health/startup").ok() == {"status": "starting"})
    except urllib3.exceptions.HTTPError:
        return False  # there is no listener yet
