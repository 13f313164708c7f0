"""Keys are changed while people work: a real server, real requests, and the commands beside it."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable

import pytest

from tests.forked import run
from tests.journeys.conftest import Server
from tests.journeys.conftest import new_server as new_server
from tests.journeys.conftest import own_server as own_server
from tests.kms import LoopbackKms

pytestmark = pytest.mark.system


class Load:
    """People who write and read without a pause; ``failed`` holds every answer that was no success."""

    def __init__(self, server: Server) -> None:
        self.server, self.failed, self.count = server, list[object](), 0
        self.written: dict[str, bytes] = {}
        self._ends = threading.Event()
        self._threads = [threading.Thread(target=self._work, args=(each,)) for each in (self._write, self._read)]

    def __enter__(self) -> Load:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ends.set()
        for thread in self._threads:
            thread.join()

    def wait_for(self, more: int) -> None:
        """Until so many requests were answered since."""
        goal, deadline = self.count + more, time.monotonic() + 30
        while self.count < goal:
            assert time.monotonic() < deadline
            time.sleep(0.01)

    def _work(self, ask: Callable[[int], object]) -> None:
        number = 0
        while not self._ends.is_set():
            wrong = ask(number)
            if wrong is not None:
                self.failed.append(wrong)
            number += 1
            self.count += 1
            self._ends.wait(0.01)  # a small load: the commands share the machine

    def _write(self, number: int) -> object:
        path, data = f"n{number}.md", f"# Note {number}\n".encode()
        sent = {"if-none-match": "*", "content-type": "text/plain"}
        reply = self.server.http("PUT", f"/projects/acme/artifacts/{path}", self.server.admin, data, sent)
        if reply.status == 200:
            self.written[path] = data
            return None
        return reply

    def _read(self, number: int) -> object:
        query = "/projects/acme/search?q=note" if number % 2 else "/projects/acme/artifacts/first.md"
        reply = self.server.http("GET", query, self.server.admin)
        return None if reply.status == 200 else reply


@pytest.fixture
def busy(own_server: Server) -> Server:
    assert own_server.http("POST", "/projects", own_server.admin, {"slug": "acme"}).status == 201
    first = {"if-none-match": "*", "content-type": "text/plain"}
    reply = own_server.http("PUT", "/projects/acme/artifacts/first.md", own_server.admin, b"# First note\n", first)
    assert reply.status == 200
    return own_server


def everything(server: Server, written: dict[str, bytes]) -> None:
    for path, data in [*written.items()][:: max(1, len(written) // 50)]:
        reply = server.http("GET", f"/projects/acme/artifacts/{path}", server.admin)
        assert (reply.status, reply.body) == (200, data), path


def test_no_request_fails_while_the_root_key_is_changed(busy: Server) -> None:
    tenants = [f"t{n}" for n in range(12)]
    for slug in tenants[:6]:
        assert busy.http("POST", "/admin/tenants", busy.admin, {"slug": slug, "name": slug}).status == 201
    with Load(busy) as load:
        load.wait_for(20)
        told = busy.run_admin("key", "rotate-root")
        for slug in tenants[6:]:  # made by a server that began under the old key
            assert busy.http("POST", "/admin/tenants", busy.admin, {"slug": slug, "name": slug}).status == 201
        busy.run_admin("key", "rotate-root")
        load.wait_for(20)
    assert load.failed == []
    assert told["keyrings"] == 7
    assert busy.run_admin("verify", "--full")["clean"]
    busy.stop()
    busy.start()
    everything(busy, load.written)  # the same API key, and all that was acknowledged
    again = busy.http("PUT", "/projects/acme/artifacts/z.md", busy.admin, b"z", {"if-none-match": "*"})
    assert again.status == 200


def test_no_request_fails_while_a_tenant_is_sealed_anew(busy: Server) -> None:
    with Load(busy) as load:
        load.wait_for(20)
        told = busy.run_admin("key", "rotate-tenant", "default", "--full")
        load.wait_for(40)
    assert load.failed == []
    assert told["epoch"] == 2
    assert told["packs"] > 0
    everything(busy, load.written)
    assert busy.run_admin("verify", "--full")["clean"]


def test_a_shredding_beside_the_server_ends_every_credential(busy: Server) -> None:
    made = busy.http("POST", "/admin/tenants", busy.admin, {"slug": "gone", "name": "Gone"}).body
    assert busy.http("GET", "/projects", made["adminKey"]).status == 200
    told = busy.run_admin("key", "shred", "gone", "--yes")
    assert (told["slug"], told["shredded"], told["backupsLooked"], told["keysExpire"]) == ("gone", True, False, None)
    busy.stop()
    busy.start()
    assert busy.http("GET", "/projects", made["adminKey"]).status == 401
    assert busy.run_admin("key", "rotate-tenant", "gone", status=1)["error"]["code"] == "resource.not_found"


def test_a_server_whose_root_key_a_key_service_wraps_starts_with_it_and_moves_to_it(new_server: Server) -> None:
    key = "aws-kms:alias/satchel"
    with LoopbackKms() as kms:
        new_server.env |= kms.env
        new_server.start()
        assert new_server.http("POST", "/projects", new_server.admin, {"slug": "acme"}).status == 201
        assert len(new_server.root_key.read_bytes()) == 32
        told = new_server.run_admin("key", "rotate-root", "--kms", key)
        assert (told["kept"], told["keyrings"]) == (f"wrapped by {key}", 1)
        assert b"ciphertext" in new_server.root_key.read_bytes()
        for slug in ("made-while-running", "again"):  # the server asks the key service once
            assert (
                new_server.http("POST", "/admin/tenants", new_server.admin, {"slug": slug, "name": slug}).status == 201
            )
        new_server.stop()
        assert new_server.start()["rootKeyKept"] == f"wrapped by {key}"
        assert new_server.http("GET", "/projects/acme", new_server.admin).status == 200
        new_server.run_admin("key", "rotate-root")  # and back into a file
        assert len(new_server.root_key.read_bytes()) == 32
        new_server.run_admin("key", "rotate-root", "--kms", key)
        new_server.stop()
        assert len(kms.asked) < 12
    # Without --check it waits for the key service.
    gone = run(["serve", "--check", "--data", str(new_server.data), "--port", "0", "--json"], env=new_server.env)
    assert (gone.returncode, json.loads(gone.stdout)["error"]["code"]) == (6, "store.unavailable")


def test_a_first_start_can_let_a_key_service_wrap_the_root_key(new_server: Server) -> None:
    with LoopbackKms() as kms:
        new_server.env |= {**kms.env, "SATCHEL_ROOT_KMS": "aws-kms:alias/satchel"}
        assert new_server.start()["rootKeyKept"] == "wrapped by aws-kms:alias/satchel"
        new_server.stop()
        fields = json.loads(new_server.root_key.read_bytes())
        moved = {**fields, "installation": "ins_00000000000000000000000001"}
        new_server.root_key.write_text(json.dumps(moved))  # the file of another installation
        assert "not wrapped by the KMS key" in new_server.refused()["message"]
        new_server.root_key.write_text(json.dumps(fields))
        new_server.start()
