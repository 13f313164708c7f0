"""Signing in to the pages: what a browser is given, what a form has to bring, where it may lead."""

from __future__ import annotations

import re
from urllib.parse import quote

import pytest

from satchel.server.web.browser import onward
from tests.server.running import Client, Running
from tests.server.web.people import PASSWORD, Person, hidden, member

SIGN_IN = "/oauth/sign-in"


def test_a_person_signs_in_is_led_on_and_signs_out(server: Running, acme: Client) -> None:
    eve = member(server, acme, "eve")
    before = eve.get(SIGN_IN + "?next=" + quote("/oauth/device?user_code=BCDF-GHJK"))
    planted = eve.cookies["satchel"]
    done = eve.submit(before, SIGN_IN, email="Eve@Example.org", password=PASSWORD)
    assert (done.status, done.headers["location"]) == (303, "/oauth/device?user_code=BCDF-GHJK")
    assert eve.cookies["satchel"] != planted  # a secret somebody may have planted is worth nothing afterwards
    again = eve.get(SIGN_IN)
    assert (again.status, again.headers["location"]) == (303, "/oauth/clients")

    out = eve.post("/oauth/sign-out", {"csrf": _token(eve)})
    assert out.status == 200
    stale = Person(server.url, cookies={"satchel": eve.cookies["satchel"]})
    assert stale.get(SIGN_IN).status == 200


def test_the_session_left_behind_by_a_sign_out_is_over_on_the_server(ada: Person, server: Running) -> None:
    assert ada.get(SIGN_IN).status == 303
    thief = Person(server.url, cookies=dict(ada.cookies))
    other = Person(server.url, ada.email)
    assert other.sign_in().status == 303
    other.post("/oauth/sign-out", {"csrf": _token(other)})
    assert thief.get(SIGN_IN).status == 303  # another session of the same person goes on
    assert Person(server.url, cookies=dict(other.cookies)).get(SIGN_IN).status == 200


def test_a_wrong_password_and_an_unknown_address_look_the_same(server: Running, ada: Person) -> None:
    said = []
    for email in (ada.email, "nobody@example.org", "no address"):
        person = Person(server.url)
        answer = person.submit(person.get(SIGN_IN), SIGN_IN, email=email, password="wrong wrong wrong")
        assert answer.status == 403
        page = answer.body.decode().replace(email, "")
        said.append(re.sub(r"[0-9a-f]{64}|req_\w{26}", "", page))
    assert said[0] == said[1] == said[2]
    assert "aria-describedby=error" in said[0]
    assert "role=alert" in said[0]


@pytest.mark.parametrize(
    "path",
    [
        "https://evil.example/oauth/authorize", "//evil.example/oauth/device", "/\\evil.example",
        "/oauth/device\r\nX: 1",
        "/oauth/../docs", "javascript:alert(1)", "/oauth/authorize#x", "oauth/device",
        "/oauth/token", "/oauth/sign-out",
        "/join/", "/join/a/b", "/oauth/device?é", "",
    ],
)  # fmt: skip
def test_a_sign_in_leads_to_pages_of_this_server_alone(path: str) -> None:
    assert onward(path) == "/oauth/clients"


@pytest.mark.parametrize("path", ["/oauth/authorize?client_id=a&state=%2F", "/oauth/device", "/join/tok_en-1"])
def test_a_sign_in_leads_on_to_the_page_that_asked(path: str) -> None:
    assert onward(path) == path


FORGED = {
    "no field that proves it": ({"csrf": ""}, {}, 403),
    "a made-up proof": ({"csrf": "0" * 64}, {}, 403),
    "an origin of somebody else": ({}, {"origin": "https://evil.example"}, 403),
    "a null origin": ({}, {"origin": "null"}, 403),
    "an origin that is no URL": ({}, {"origin": "http://["}, 403),
    "another site": ({}, {"sec-fetch-site": "cross-site"}, 403),
    "a sibling site": ({}, {"sec-fetch-site": "same-site"}, 403),
    "another host": ({}, {"host": "evil.example"}, 403),
    "json": ({}, {"content-type": "application/json"}, 415),
    "plain text": ({}, {"content-type": "text/plain"}, 415),
    "a field nobody knows": ({"admin": "1"}, {}, 422),
}


@pytest.mark.parametrize("what", FORGED)
def test_a_form_that_is_not_ours_is_refused_and_changes_nothing(what: str, ada: Person) -> None:
    fields, headers, status = FORGED[what]
    page = ada.get("/oauth/tenant")
    answer = ada.post("/oauth/sign-out", {"csrf": hidden(page)["csrf"], **fields}, headers)
    assert answer.status == status
    assert answer.headers["content-type"].startswith("text/html")
    assert ada.get(SIGN_IN).status == 303  # still signed in


def test_the_proof_of_one_browser_is_none_for_another(server: Running, ada: Person) -> None:
    stranger = Person(server.url)
    stranger.get(SIGN_IN)
    assert ada.post("/oauth/sign-out", {"csrf": _token(stranger, SIGN_IN)}).status == 403
    no_cookie = Person(server.url)
    assert no_cookie.post("/oauth/sign-out", {"csrf": _token(ada)}).status == 403


def test_a_field_given_twice_is_refused(ada: Person) -> None:
    token = _token(ada)
    assert ada.post("/oauth/sign-out", f"csrf={token}&csrf={token}").status == 422
    assert ada.post("/oauth/tenant", f"csrf={token}&next=%FF").status == 422
    assert ada.post("/oauth/tenant", f"csrf={token}&next=a%00b").status == 422
    assert ada.post("/oauth/tenant", f"csrf={token}&next=" + "a" * 17_000).status == 413


@pytest.mark.parametrize("path", [SIGN_IN, "/oauth/tenant", "/oauth/sign-in?next=a&next=b"])
def test_every_page_lets_nothing_in_and_nobody_frame_it(path: str, ada: Person, server: Running) -> None:
    page = (Person(server.url) if path == SIGN_IN else ada).get(path)
    policy = dict(part.strip().partition(" ")[::2] for part in page.headers["content-security-policy"].split(";"))
    assert policy["default-src"] == "'none'"
    assert policy["form-action"] == "'self'"
    assert policy["frame-ancestors"] == policy["base-uri"] == "'none'"
    assert policy["style-src"].startswith("'sha256-")
    assert set(policy) == {"default-src", "base-uri", "form-action", "frame-ancestors", "style-src"}
    assert page.headers["x-frame-options"] == "DENY"
    assert page.headers["cache-control"] == "no-store"
    assert page.headers["x-content-type-options"] == "nosniff"
    assert b"<script" not in page.body


def test_the_cookie_is_for_http_alone_and_behind_tls_for_this_host_alone(server: Running) -> None:
    from satchel.server.web import federated
    from satchel.server.web.browser import _cookie

    plain = Person(server.url).get(SIGN_IN).headers["set-cookie"]
    assert re.fullmatch(r"satchel=[\w-]{43}; Path=/; HttpOnly; SameSite=Lax", plain)

    class Tls:
        settings = type("Settings", (), {"url": "https://context.example.org"})

    assert _cookie(Tls(), "s") == "__Host-satchel=s; Path=/; HttpOnly; SameSite=Lax; Secure"  # type: ignore[arg-type]
    begun = federated._cookie(Tls(), "s", 600)  # type: ignore[arg-type]
    assert begun == "__Host-satchel-federated=s; Path=/; Max-Age=600; HttpOnly; SameSite=Lax; Secure"


def _token(person: Person, path: str = "/oauth/tenant") -> str:
    return hidden(person.get(path))["csrf"]
