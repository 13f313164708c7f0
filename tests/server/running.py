"""A real server in a thread of the test process, and a client that knows no more than HTTP."""

from __future__ import annotations

import asyncio
import contextlib
import faulthandler
import json
import sys
import threading
import time
from collections.abc import Callable, Coroutine, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import quote

import urllib3
import uvicorn
from starlette.types import ASGIApp

from satchel.config.server import ServerSettings, server_settings
from satchel.server.app import application
from satchel.server.cloud import Cloud
from satchel.server.serve import Prepared, Serving, prepare, uvicorn_config
from tests import engines

T = TypeVar("T")


@dataclass(frozen=True)
class Answer:
    """What came back."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def code(self) -> str | None:
        """The code of the problem, if it is one."""
        return self.json["code"] if self.headers.get("content-type") == "application/problem+json" else None

    def ok(self, *statuses: int) -> Any:
        """The JSON of an answer that has one of these statuses (default 200 and 201)."""
        assert self.status in (statuses or (200, 201)), (self.status, self.body[:600])
        return self.json if self.body else None


class Client:
    """Somebody with a credential, or with none."""

    def __init__(self, url: str, key: str | None = None) -> None:
        self.url, self.key = url, key
        self._pool = urllib3.PoolManager(retries=False, timeout=30, maxsize=16)

    def close(self) -> None:
        self._pool.clear()

    def send(
        self,
        method: str,
        path: str,
        body: object = None,
        headers: Mapping[str, str] | None = None,
        query: Mapping[str, object] | None = None,
    ) -> Answer:
        """A request to a path below ``/api/v1``, or to another that is given whole; objects are sent as JSON."""
        sent = dict(headers or {})
        if self.key is not None:
            sent.setdefault("authorization", f"Bearer {self.key}")
        data = body
        if body is not None and not isinstance(body, bytes):
            data = json.dumps(body).encode()
            sent.setdefault("content-type", "application/json")
        whole = path if path.startswith(("/mcp", "/docs", "/openapi", "/.well-known", "/oauth")) else "/api/v1" + path
        if query:
            whole += "?" + "&".join(f"{name}={quote(str(value))}" for name, value in query.items())
        with contextlib.closing(
            self._pool.request(method, self.url + whole, body=data, headers=sent, redirect=False)  # type: ignore[arg-type]
        ) as got:
            return Answer(got.status, {k.lower(): v for k, v in got.headers.items()}, got.data)

    def get(self, path: str, headers: Mapping[str, str] | None = None, **query: object) -> Answer:
        return self.send("GET", path, None, headers, query)

    def post(self, path: str, body: object = None, headers: Mapping[str, str] | None = None) -> Answer:
        return self.send("POST", path, {} if body is None else body, headers)

    def put(self, project: str, path: str, data: bytes, match: str | None = None, **headers: str) -> Answer:
        """Write an artifact; ``match`` is the ETag replaced, ``None`` says that it is new."""
        given = {"if-none-match": "*"} if match is None else {"if-match": match}
        return self.send(
            "PUT",
            f"/projects/{project}/artifacts/{quote(path)}",
            data,
            {**given, "content-type": "text/plain", **headers},
        )


class Running:
    """A server that serves until ``stop``."""

    def __init__(self, settings: ServerSettings) -> None:
        self.prepared: Prepared = prepare(settings)
        self.settings = self.prepared.settings
        self.url = f"http://127.0.0.1:{self.settings.port}"
        self.cloud: Cloud
        self.app: ASGIApp
        self._server: uvicorn.Server
        self.loop: asyncio.AbstractEventLoop
        self._ready = threading.Event()
        self._failed: BaseException | None = None
        self._clients: list[Client] = []
        self._thread = threading.Thread(target=self._run, name="server", daemon=True)
        self._thread.start()
        assert self._ready.wait(30)
        if self._failed is not None:
            raise self._failed
        self.admin = self.client(self.prepared.first.key if self.prepared.first else None)
        """The operator, who owns the first tenant."""

    def client(self, key: str | None = None) -> Client:
        made = Client(self.url, key)
        self._clients.append(made)
        return made

    def tenant(self, slug: str) -> Client:
        """The owner of a new tenant."""
        return self.client(self.admin.post("/admin/tenants", {"slug": slug, "name": slug.title()}).ok()["adminKey"])

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Run something on the server's own event loop."""
        return asyncio.run_coroutine_threadsafe(work, self.loop).result(30)

    def stop(self, *, seconds: float = 120) -> bool:
        """Whether it stopped within so many seconds; if not, where its threads are is on stderr."""
        for client in self._clients:
            client.close()
        self._server.should_exit = True
        self._thread.join(seconds)
        self.prepared.listener.close()
        if self._thread.is_alive():
            faulthandler.dump_traceback(sys.__stderr__ or 2)
            for task in asyncio.all_tasks(self.loop):
                task.print_stack(file=sys.__stderr__)
        return not self._thread.is_alive()

    def _run(self) -> None:
        try:
            asyncio.run(self._serve())
        except BaseException as error:  # noqa: BLE001 (raised again in the thread of the test)
            self._failed = error
        finally:
            self._ready.set()

    async def _serve(self) -> None:
        async with application(self.settings) as (app, cloud):
            self.app, self.cloud = app, cloud
            self.loop = asyncio.get_running_loop()
            self._server = _Server(uvicorn_config(app, self.settings), cloud, self._ready)
            await self._server.serve(sockets=[self.prepared.listener])


class _Server(Serving):
    def __init__(self, config: uvicorn.Config, cloud: Cloud, ready: threading.Event) -> None:
        super().__init__(config, cloud.listeners.close, cloud.ending)
        self._ready = ready

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield

    async def startup(self, sockets: Any = None) -> None:
        await super().startup(sockets)
        self._ready.set()


def until(so: Callable[[], bool], seconds: float = 10.0) -> None:
    """Wait until something is so: a server's last steps come after its answer."""
    deadline = time.monotonic() + seconds
    while not so():
        assert time.monotonic() < deadline, "it did not come to be"
        time.sleep(0.002)


@contextlib.contextmanager
def serving(data: Path, **settings: object) -> Iterator[Running]:
    """A server on a fresh data directory and a free port."""
    running = _served(data, settings)
    try:
        yield running
    finally:
        assert running.stop()


@contextlib.contextmanager
def serving_with_a_defect(data: Path, **settings: object) -> Iterator[Running]:
    """The same where something was planted: it may be in the way of a clean stop, which is not what is looked at."""
    running = _served(data, settings)
    try:
        yield running
    finally:
        running.stop(seconds=20)


def _served(data: Path, settings: Mapping[str, object]) -> Running:
    flags: dict[str, object] = {"data": data, "port": 0, "shutdown_seconds": 1, **settings}
    flags.setdefault("database_url", engines.catalog_of(data))
    if flags["database_url"] is None and not data.exists():
        data.mkdir(mode=0o700)
        engines.place(data / "catalog.db")
    return Running(server_settings(flags, env={}))
