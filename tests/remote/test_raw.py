"""Requests as they are given, answers as they come."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import closing
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from satchel.errors import ServerAway
from satchel.remote import InsecureRemote
from satchel.remote.raw import RawServer, Reply


class Mirror(BaseHTTPRequestHandler):
    """Answers with the request: its first line and headers."""

    protocol_version = "HTTP/1.1"

    def answer(self) -> None:
        self.rfile.read(int(self.headers.get("content-length", 0)))
        said = "\n".join([self.requestline, *(f"{name}: {value}" for name, value in self.headers.items())]).encode()
        self.send_response(302 if "redirect" in self.path else 418)
        self.send_header("Location", "/elsewhere")
        self.send_header("X-Two", "one")
        self.send_header("X-Two", "two")
        self.send_header("Content-Length", str(len(said)))
        self.end_headers()
        self.wfile.write(said)

    do_GET = do_BREW = answer  # noqa: N815 (names that the base class looks for)

    def log_message(self, *args: object) -> None:
        pass


@pytest.fixture
def url() -> Iterator[str]:
    server = HTTPServer(("127.0.0.1", 0), Mirror)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}/below"
    server.shutdown()
    server.server_close()


def test_method_address_and_headers_go_out_as_they_are(url: str) -> None:
    with closing(RawServer(url)) as server:
        headers = [("authorization", "Bearer a"), ("authorization", "Bearer b"), ("host", "other.example")]
        lines = server.send("BREW", "/a/../b%2Fc?x=%00", headers, b"body").body.decode().split("\n")
    assert lines[0] == "BREW /below/a/../b%2Fc?x=%00 HTTP/1.1"
    assert [line.partition(": ")[2] for line in lines if line.lower().startswith("authorization")] == [
        "Bearer a",
        "Bearer b",
    ]
    assert [line for line in lines if line.lower().startswith("host")] == ["host: other.example"]


def test_every_status_is_an_answer_and_no_redirect_is_followed(url: str) -> None:
    with closing(RawServer(url)) as server:
        assert server.send("GET", "/x", []).status == 418
        moved = server.send("GET", "/redirect", [])
    assert (moved.status, moved.header("location"), moved.header("nothing")) == (302, "/elsewhere", "")
    assert [value for name, value in moved.headers if name == "x-two"] == ["one", "two"]
    assert isinstance(moved, Reply)


def test_nothing_goes_in_clear_to_another_machine() -> None:
    with pytest.raises(InsecureRemote):
        RawServer("http://context.example.org")


def test_a_server_that_is_not_there_is_away(url: str) -> None:
    with closing(RawServer("http://127.0.0.1:1")) as server, pytest.raises(ServerAway):
        server.send("GET", "/", [])
