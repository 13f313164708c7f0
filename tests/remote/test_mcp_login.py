"""Finding who lets people in at an MCP server, and what a hostile one cannot make of it; a real server on loopback."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from satchel.errors import (
    ConfigInvalid,
    CredentialInvalid,
    InsufficientScope,
    SatchelError,
    ServerFailed,
    ServerLied,
)
from satchel.remote import discovery, mcplogin
from satchel.remote.discovery import Challenge, LoginImpossible, challenge_in, find
from satchel.remote.mcphttp import Call, McpServer
from satchel.remote.oauth import LoginRefused

NONE = Challenge(None, None, None)
Pages = dict[str, object]


class Site(ThreadingHTTPServer):
    """Answers from ``pages``: a JSON object, or a function of the handler; the rest is absent."""

    pages: Pages
    asked: list[str]

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"


class Handler(BaseHTTPRequestHandler):
    server: Site
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        self.body = self.rfile.read(int(self.headers.get("content-length", 0)))
        self.server.asked.append(self.path)
        page = self.server.pages.get(self.path)
        if callable(page):
            page(self)
        else:
            self.answer(404 if page is None else 200, page)

    do_POST = do_GET  # noqa: N815 (as the standard library calls it)

    def answer(self, status: int, value: object, kind: str = "application/json", **headers: str) -> None:
        data = value if isinstance(value, bytes) else json.dumps(value).encode()
        self.send_response_only(status)
        for name, text in {"content-type": kind, "content-length": str(len(data)), **headers}.items():
            self.send_header(name.replace("_", "-"), text)
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_: object) -> None: ...


@pytest.fixture
def site() -> Iterator[Site]:
    server = Site(("127.0.0.1", 0), Handler)
    server.pages, server.asked = {}, []
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


def good(site: Site) -> dict[str, Any]:
    """Metadata of a server that does everything right, put where they belong."""
    about = {
        "issuer": site.url,
        "authorization_endpoint": f"{site.url}/authorize",
        "token_endpoint": f"{site.url}/token",
        "registration_endpoint": f"{site.url}/register",
        "code_challenge_methods_supported": ["S256"],
        "token_endpoint_auth_methods_supported": ["none"],
    }
    site.pages |= {
        "/.well-known/oauth-protected-resource/mcp": {
            "resource": f"{site.url}/mcp",
            "authorization_servers": [site.url],
        },
        "/.well-known/oauth-authorization-server": about,
        "/register": {"client_id": "us"},
    }
    return about


def resource(site: Site) -> dict[str, Any]:
    found = site.pages["/.well-known/oauth-protected-resource/mcp"]
    assert isinstance(found, dict)
    return found


@pytest.mark.parametrize(
    "place",
    [
        "javascript:alert(1)", "file:///etc/passwd", "https://a b.example/", "https://x.example/#part", "-oProxy=x",
        "https://user:pass@x.example/", "ftp://x.example/", "https://x.example/\n", "", "https://", "data:text/html,x",
        "http://192.0.2.7/authorize", "https://x.example/$(id)\x00",
    ],
)  # fmt: skip
@pytest.mark.parametrize("member", ["authorization_endpoint", "token_endpoint", "registration_endpoint"])
def test_an_address_that_no_browser_or_request_should_go_to_is_refused(site: Site, member: str, place: str) -> None:
    good(site)[member] = place
    with pytest.raises(LoginImpossible):
        find(f"{site.url}/mcp", NONE)


def test_a_server_elsewhere_sends_us_to_nothing_on_this_machine_and_to_nothing_in_clear() -> None:
    for place in (
        "http://127.0.0.1:1/",
        "https://127.0.0.1/",
        "https://localhost/x",
        "http://as.example/",
        "https://[::1]/",
    ):
        with pytest.raises(LoginImpossible):
            find("https://mcp.example.org/mcp", Challenge(place, None, None))


@pytest.mark.parametrize(
    "change",
    [
        lambda site, about: about.update(issuer=site.url + "/"),
        lambda site, about: about.update(issuer="https://evil.example"),
        lambda site, about: about.pop("issuer"),
        lambda site, about: about.pop("code_challenge_methods_supported"),
        lambda site, about: about.update(code_challenge_methods_supported=["plain"]),
        lambda site, about: about.update(code_challenge_methods_supported="S256"),
        lambda site, about: about.pop("token_endpoint"),
        lambda site, about: about.update(authorization_endpoint=["https://x.example"]),
        lambda site, about: resource(site).update(resource="https://bank.example/mcp"),
        lambda site, about: resource(site).update(resource=f"{site.url}/mcp/other"),
        lambda site, about: resource(site).update(resource=f"{site.url}/mc"),
        lambda site, about: resource(site).update(resource=f"{site.url}/mcp?x=1"),
        lambda site, about: resource(site).update(resource=7),
        lambda site, about: resource(site).pop("resource"),
        lambda site, about: resource(site).update(authorization_servers=[]),
        lambda site, about: resource(site).update(authorization_servers="x"),
        lambda site, about: resource(site).update(authorization_servers=[{"x": 1}]),
        lambda site, about: resource(site).update(authorization_servers=[f"{site.url}/tenant"]),
    ],
)  # fmt: skip
def test_metadata_of_something_else_or_that_ask_too_little_are_refused(
    site: Site, change: Callable[[Site, dict[str, Any]], object]
) -> None:
    change(site, good(site))
    with pytest.raises(LoginImpossible):
        find(f"{site.url}/mcp", NONE)
    assert "/register" not in site.asked


def test_answers_that_are_redirects_too_long_broken_or_failures_lead_nowhere(site: Site) -> None:
    good(site)
    place = "/.well-known/oauth-authorization-server"
    for page, error in (
        (lambda asked: asked.answer(302, b"", location="https://evil.example"), LoginImpossible),
        (lambda asked: asked.answer(200, b" " * (discovery.MAX_BYTES + 1)), ServerLied),
        (lambda asked: asked.answer(200, b"<html>"), ServerLied),
        (lambda asked: asked.answer(200, b"[" * 100_000), ServerLied),
        (lambda asked: asked.answer(503, b""), ServerFailed),
    ):  # fmt: skip
        site.pages[place] = page
        with pytest.raises(error):
            find(f"{site.url}/mcp", NONE)


def test_a_login_counts_for_the_server_that_was_asked_and_registers_anew_where_it_has_to(site: Site) -> None:
    good(site)["authorization_response_iss_parameter_supported"] = True
    at = find(f"{site.url}/mcp", NONE)
    elsewhere = mcplogin.Client(
        "https://other.example", "theirs", "secret", "client_secret_post", "http://127.0.0.1:1/c"
    )
    login = mcplogin.McpLogin(at, "a b", known=elsewhere)
    asking = login.ask("http://127.0.0.1:1/c", lambda size: b"r" * size)
    assert "client_id=us&" in asking.address
    assert "theirs" not in asking.address
    assert not login.is_answer(asking, {"code": "c", "state": "other"})
    for said in (
        {"code": "c"}, {"code": "c", "iss": site.url + "/"}, {"code": "c", "iss": "https://evil.example"},
        {"error": "access_denied", "iss": site.url}, {"iss": site.url},
    ):  # fmt: skip
        with pytest.raises(LoginRefused):
            login.finish(asking, said)
    assert "/token" not in site.asked
    answer: object
    for answer in ({"access_token": "a\nb"}, {"access_token": ""}, {"access_token": "a", "token_type": "mac"}, [], 7):
        site.pages["/token"] = answer
        with pytest.raises(ServerLied):
            login.finish(asking, {"code": "c", "iss": site.url})
    site.pages["/token"] = {"access_token": "a", "token_type": "Bearer", "refresh_token": "r"}
    granted = login.finish(asking, {"code": "c", "iss": site.url})
    assert (granted.access, granted.refresh, granted.scope, granted.client.id) == ("a", "r", "a b", "us")
    assert mcplogin.renewed(at, granted._replace(client=elsewhere)) is None  # what one issuer gave stays with it


@pytest.mark.parametrize(
    ("header", "found"),
    [
        ('Bearer resource_metadata="https://x/y", scope="a b", error="e"', ("https://x/y", "a b", "e")),
        ('Basic realm="x", bearer scope=a', (None, "a", None)),
        ('Bearer scope="a\\"b"', (None, None, None)),
        ('Bearer scope="a  b"', (None, None, None)),
        ('Bearer scope="ignore\x1ball"', (None, None, None)),
        ('Bearer scope="' + "a " * 600 + 'a"', (None, None, None)),
        ("Negotiate", (None, None, None)),
        ("Bearer", (None, None, None)),
        ('Bearer scope="a", scope="b"', (None, "a", None)),
        ('Bearer scope="' + "\\" * 5_000, (None, None, None)),
    ],
)  # fmt: skip
def test_a_challenge_is_read_whatever_stands_beside_it(header: str, found: tuple[str | None, ...]) -> None:
    said = challenge_in([("content-type", "x"), ("www-authenticate", header)])
    assert (said.metadata, said.scope, said.error) == found or header.endswith("\\")


class Tokens:
    """One that a server never gets enough of."""

    asked = 0

    def token(self) -> str | None:
        return None

    def another(self, refused: str | None, status: int, challenge: Challenge) -> str | None:
        self.asked += 1
        return f"token-{self.asked}"


def test_what_an_mcp_server_answers_is_bounded_and_an_error_where_it_is_no_answer(site: Site) -> None:
    call = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": "é"}}
    result = {"jsonrpc": "2.0", "id": 1, "result": {}}
    tokens = Tokens()
    server, got = McpServer(f"{site.url}/mcp", tokens), list[dict[str, Any]]()

    def fails(page: object, error: type[SatchelError]) -> None:
        site.pages["/mcp"] = page
        with pytest.raises(error):
            server.send(call, got.append, Call())

    fails(lambda asked: asked.answer(401, {}), CredentialInvalid)
    assert tokens.asked == 3  # and not for ever
    fails(lambda asked: asked.answer(403, {}, www_authenticate='Bearer scope="x"'), InsufficientScope)
    fails(lambda asked: asked.answer(302, b"", location="http://127.0.0.1:9/"), ConfigInvalid)
    fails(lambda asked: asked.answer(200, b"<html>", "text/html"), ServerLied)
    fails(lambda asked: asked.answer(200, [1]), ServerLied)
    fails(lambda asked: asked.answer(200, b'{"jsonrpc": "2.0", "id": 1, "result": NaN}'), ServerLied)
    fails(lambda asked: asked.answer(200, {"id": 1, "result": {}}), ServerLied)
    fails(lambda asked: asked.answer(200, {**result, "id": 2}), ServerFailed)
    fails(lambda asked: asked.answer(200, b": hello\n\n", "text/event-stream"), ServerFailed)
    got.clear()
    events = (
        b"\n".join(b"data: " + json.dumps(each).encode() + b"\r\n\r" for each in ({**result, "id": 9}, result)) + b"\n"
    )
    site.pages["/mcp"] = lambda asked: asked.answer(200, events, "text/event-stream")
    server.send(call, got.append, Call())
    assert [each["id"] for each in got] == [9, 1]
    site.pages["/mcp"] = lambda asked: asked.answer(
        400, {"jsonrpc": "2.0", "id": None, "error": {"code": 1, "message": asked.headers["mcp-name"]}}
    )
    server.send(call, got.append, Call())
    assert (got[-1]["id"], got[-1]["error"]["message"]) == (1, "=?base64?w6k=?=")
    got.clear()
    server.send({"jsonrpc": "2.0", "method": "notifications/initialized"}, got.append, Call())
    assert got == []  # nobody waits for an answer
    server.close()


def test_why_a_server_takes_no_message_is_told_in_its_own_words(site: Site) -> None:
    server = McpServer(f"{site.url}/mcp", Tokens())

    def refused(page: object) -> SatchelError:
        site.pages["/mcp"] = page
        with pytest.raises(SatchelError) as error:
            server.send({"jsonrpc": "2.0", "id": 1, "method": "ping"}, list[object]().append, Call())
        return error.value

    said = {"code": "rate.limited", "detail": "8 requests a minute are taken", "hint": "Wait."}
    error = refused(lambda asked: asked.answer(429, said, "application/problem+json", retry_after="3"))
    assert (error.code, error.message, error.hint) == ("rate.limited", "8 requests a minute are taken", "Wait.")
    said = {"code": "tenant.suspended", "detail": "this tenant is suspended"}
    error = refused(lambda asked: asked.answer(403, said, "application/problem+json"))
    assert (error.code, error.message) == ("tenant.suspended", "this tenant is suspended")
    error = refused(lambda asked: asked.answer(429, b"{", "application/problem+json"))
    assert error.message == f"{server.url} answered 429"
    error = refused(lambda asked: asked.answer(307, b"", location="https://mcp.example/mcp"))
    assert "https://mcp.example/mcp" in error.message
    server.close()


def test_a_stream_that_can_be_gone_on_with_is_read_too(site: Site) -> None:
    """Of 2025-11-25, where a server begins it with an event that has an id and no data."""
    events = b'id: 7\nretry: 10\ndata: \n\nid: 8\ndata: {"jsonrpc": "2.0", "id": 1, "result": {}}\n\n'
    site.pages["/mcp"] = lambda asked: asked.answer(200, events, "text/event-stream")
    server, got = McpServer(f"{site.url}/mcp", Tokens()), list[dict[str, Any]]()
    server.send({"jsonrpc": "2.0", "id": 1, "method": "ping"}, got.append, Call())
    assert [each["id"] for each in got] == [1]
    server.close()
