"""Clients that are known by the document at their address."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from satchel.server.fetch import Fetcher
from satchel.server.fetchurl import LOOPBACK, Reach
from tests.server.oauth.flow import REDIRECT, Client, told
from tests.server.oauth.test_flow import call_tool
from tests.server.running import Running
from tests.server.web.people import Person, hidden


class Site:
    """A site that publishes documents, on this machine."""

    def __init__(self) -> None:
        self.documents: dict[str, Any] = {}
        self.asked: list[str] = []
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                outer.asked.append(self.path)
                body = json.dumps(outer.documents.get(self.path)).encode()
                self.send_response(200)
                self.send_header("content-type", "application/json")
                self.send_header("content-length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, format: str, *args: object) -> None:  # noqa: A002
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.host = f"127.0.0.1:{self._server.server_address[1]}"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()

    def publish(self, path: str, **changed: Any) -> str:
        """A document that is right but for what is changed; returns the address."""
        address = f"http://{self.host}{path}"
        document = {
            "client_id": address,
            "client_name": "Documented",
            "redirect_uris": [REDIRECT],
            "grant_types": ["authorization_code", "refresh_token"],
            "token_endpoint_auth_method": "none",
            **changed,
        }
        self.documents[path] = {name: value for name, value in document.items() if value is not None}
        return address


@pytest.fixture
def site(server: Running) -> Iterator[Site]:
    """The site, which the server may go to as long as the test lasts."""
    made, before = Site(), server.cloud.fetcher
    object.__setattr__(server.cloud, "fetcher", Fetcher(Reach(networks=LOOPBACK)))
    yield made
    object.__setattr__(server.cloud, "fetcher", before)
    made.close()


def test_a_client_by_its_document_needs_no_registration(server: Running, site: Site, grace: Person) -> None:
    client = Client(server, site.publish("/client.json"))
    page = grace.get("/oauth/authorize?" + client.query()).body.decode()
    assert f"Known by its document at {site.host}" in page
    tokens = client.redeem(told(client.allow(grace))["code"]).ok()
    assert call_tool(server, tokens["access_token"]) == 200
    assert client.refresh(tokens["refresh_token"]).status == 200
    assert site.host in grace.get("/oauth/clients").body.decode()
    unknown = grace.get("/oauth/authorize?" + client.query(redirect_uri="http://127.0.0.1:33000/other"))
    assert unknown.status == 422


def test_a_stranger_makes_the_server_fetch_nothing(server: Running, site: Site) -> None:
    query = Client(server, site.publish("/client.json")).query()
    stranger = Person(server.url)
    assert stranger.get("/oauth/authorize?" + query).headers["location"].startswith("/oauth/sign-in?")
    proof = hidden(stranger.get("/oauth/sign-in"))["csrf"]
    forged = {"csrf": proof, "request": query, "decision": "allow"}
    assert stranger.post("/oauth/consent", forged).headers["location"].startswith("/oauth/sign-in?")
    assert site.asked == []


WRONG: dict[str, dict[str, Any]] = {
    "about another client": {"client_id": "https://agents.example.com/client.json"},
    "about nobody": {"client_id": None},
    "with a secret": {"client_secret": "x"},
    "that proves itself by a secret": {"token_endpoint_auth_method": "client_secret_post"},
    "that proves itself by a key": {"token_endpoint_auth_method": "private_key_jwt"},
    "with a script for a redirect": {"redirect_uris": ["javascript:alert(1)"]},
    "without redirects": {"redirect_uris": None},
    "with a name written backwards": {"client_name": "a\u202eb"},
}


@pytest.mark.parametrize("what", WRONG)
def test_a_document_that_is_not_right_makes_no_client(what: str, server: Running, site: Site, grace: Person) -> None:
    client = Client(server, site.publish("/wrong.json", **WRONG[what]))
    answer = grace.get("/oauth/authorize?" + client.query())
    assert (answer.status, "location" in answer.headers) == (404, False)
    assert "not acceptable" in answer.body.decode()


def test_a_document_that_is_away_is_told_to_the_person(server: Running, site: Site, grace: Person) -> None:
    site.documents["/list.json"] = []
    for address in (f"http://{site.host}/list.json", "http://127.0.0.1:9/none.json"):
        answer = grace.get("/oauth/authorize?" + Client(server, address).query())
        assert answer.status == 503
        assert int(answer.headers["retry-after"]) > 0
    root = grace.get("/oauth/authorize?" + Client(server, f"http://{site.host}/").query())
    assert root.status == 404


def test_a_server_that_fetches_nothing_says_so_and_knows_no_such_client(
    server: Running, site: Site, grace: Person
) -> None:
    client = Client(server, site.publish("/client.json"))
    before = server.cloud.settings.client_documents
    object.__setattr__(server.cloud.settings, "client_documents", False)
    try:
        about = server.client().get("/.well-known/oauth-authorization-server").ok()
        assert about["client_id_metadata_document_supported"] is False
        assert grace.get("/oauth/authorize?" + client.query()).status == 404
    finally:
        object.__setattr__(server.cloud.settings, "client_documents", before)
