"""One tenant's crowd and another's single request, over real connections. Times are bench/fairness.py's business; here
it is the order that counts, which no other load of the machine changes."""

from __future__ import annotations

import socket
import threading
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.server.running import Running, serving, until

pytestmark = pytest.mark.promise("P8")
CROWD = 60


def _ask(server: Running, held: ExitStack, key: str | None, path: str) -> socket.socket:
    connection = held.enter_context(socket.create_connection(("127.0.0.1", server.settings.port), timeout=60))
    connection.sendall(f"GET {path} HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {key}\r\n\r\n".encode())
    return connection


def test_a_single_request_does_not_wait_for_another_tenants_crowd(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with serving(tmp_path / "data", reader_threads=1) as server, ExitStack() as held:
        quiet = server.tenant("quiet")
        for who in (server.admin, quiet):
            who.post("/projects", {"slug": "p"}).ok()
            who.put("p", "a.md", b"# Rollback\n").ok()
            who.get("/projects/p/search", q="rollback").ok()
        before, begun = threading.Event(), threading.Event()
        askers = server.cloud.readers._askers

        def busy() -> None:
            begun.set()
            before.wait(30)

        askers.submit(busy)  # the only thread has something else to do for now
        assert begun.wait(10)
        order: list[str] = []
        real = server.cloud.readers.ask

        async def noted(who: object, *rest: object, **more: object) -> object:
            found: object = await real(who, *rest, **more)  # type: ignore[arg-type]
            order.append(str(who.tenant))  # type: ignore[attr-defined]
            return found

        monkeypatch.setattr(server.cloud.readers, "ask", noted)
        crowd = [
            _ask(server, held, server.admin.key, f"/api/v1/projects/p/search?q=about{number}*")
            for number in range(CROWD)
        ]
        noisy = server.admin.get("/auth/whoami").ok()["tenant"]["id"]
        until(lambda: server.cloud.admission.serving(noisy) == CROWD, 30)
        single = _ask(server, held, quiet.key, "/api/v1/projects/p/search?q=single*")
        until(lambda: len(server.cloud.readers.turns._waiting) == 2, 30)
        before.set()
        assert single.recv(64).startswith(b"HTTP/1.1 200")
        for connection in crowd:
            assert connection.recv(64).startswith(b"HTTP/1.1 200")
        place = next(number for number, tenant in enumerate(order) if tenant != noisy)
        assert place <= 2
        assert len(order) == CROWD + 1


def test_a_crowd_that_asks_again_at_once_is_refused_slowly_and_the_other_is_served(tmp_path: Path) -> None:
    with serving(tmp_path / "data", tenant_concurrency=2) as server, ExitStack() as held:
        quiet = server.tenant("quiet")
        server.admin.post("/projects", {"slug": "p"}).ok()
        noisy = server.admin.get("/auth/whoami").ok()["tenant"]["id"]
        until(lambda: server.cloud.admission.serving(noisy) == 0)
        head = f"POST /api/v1/projects HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {server.admin.key}\r\n"
        for _ in range(2):  # both places are taken by bodies that do not come
            connection = held.enter_context(socket.create_connection(("127.0.0.1", server.settings.port), timeout=60))
            connection.sendall(f"{head}content-type: application/json\r\ncontent-length: 9\r\n\r\n".encode())
        until(lambda: server.cloud.admission.serving(noisy) == 2)
        refused = [_ask(server, held, server.admin.key, "/api/v1/projects") for _ in range(20)]
        assert quiet.get("/projects").status == 200
        for connection in refused:
            answer = connection.recv(4_096)
            assert answer.startswith(b"HTTP/1.1 429")
            assert b"retry-after: 1" in answer
