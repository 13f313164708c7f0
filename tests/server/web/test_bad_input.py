"""Every field of every form, parameter and body by which somebody gets in, missing, twice, too long, in another
encoding and of another type: always a clear refusal, never a failure, and never a change.

The table is made from the endpoints and their fields; a new endpoint of these routers has to be entered here.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable, Iterator, Mapping
from typing import NamedTuple
from urllib.parse import quote

import pytest

from satchel.server.oauth.routers import OAUTH
from satchel.server.routes import auth, invitations
from satchel.server.web.routers import PAGES
from tests.server.oauth.flow import CHALLENGE, REDIRECT, VERIFIER, registered
from tests.server.running import Answer, Client, Running
from tests.server.web.people import Person, hidden

LONG = "x" * 20_000
SECRET = "correct horse battery"  # what a field of a valid request may hold, and no answer


class Endpoint(NamedTuple):
    """A request that is well-formed, and which of its fields may be left out."""

    method: str
    path: str
    fields: Mapping[str, str]
    optional: frozenset[str] = frozenset()
    kind: str = "form"
    """``form``, ``page`` (a form with the proof of a page), ``query`` or ``json``."""
    ours: bool = True
    """Whether fields that are not known are refused: OAuth lets clients send more (RFC 6749, 3.1)."""


OPTIONAL = frozenset
PERSON = {"email": "a@b.example", "password": SECRET}
JOIN = "stl_invite_" + "0" * 26 + "_" + "0" * 26 + "_" + "a" * 59
DECISION = {"tenant": "x", "decision": "allow"}
PLACE = {"next": "/oauth/clients"}
ENDPOINTS = [
    Endpoint("GET", "/oauth/sign-in", PLACE, OPTIONAL({"next"}), "query", ours=False),
    Endpoint("POST", "/oauth/sign-in", {**PERSON, **PLACE}, OPTIONAL({"next"}), "page"),
    Endpoint("GET", "/oauth/tenant", PLACE, OPTIONAL({"next"}), "query", ours=False),
    Endpoint("POST", "/oauth/tenant", {"tenant": "ten_x", **PLACE}, OPTIONAL({"next", "tenant"}), "page"),
    Endpoint("POST", "/oauth/sign-out", {}, kind="page"),
    Endpoint("GET", "/oauth/federated", PLACE, OPTIONAL({"next"}), "query", ours=False),
    Endpoint("GET", "/oauth/federated/back", {"code": "c", "state": "s", "iss": "https://x.example"}, kind="query"),
    Endpoint("GET", "/join/{text}", {}, kind="query", ours=False),
    Endpoint("POST", "/join", {"invitation": JOIN, **PERSON}, kind="page"),
    Endpoint("GET", "/oauth/clients", {}, kind="query", ours=False),
    Endpoint("POST", "/oauth/clients/end", {"session": "fam_x"}, kind="page"),
    Endpoint("GET", "/oauth/device", {"user_code": "BCDF-GHJK"}, OPTIONAL({"user_code"}), "query", ours=False),
    Endpoint("POST", "/oauth/device/code", {"user_code": "BCDF-GHJK"}, kind="page"),
    Endpoint("POST", "/oauth/device/decide", {"user_code": "BCDFGHJK", **DECISION}, kind="page"),
    Endpoint(
        "GET", "/oauth/authorize",
        {
            "response_type": "code", "client_id": "?", "redirect_uri": REDIRECT, "state": "s", "scope": "satchel:read",
            "resource": "?", "code_challenge": CHALLENGE, "code_challenge_method": "S256",
        },
        OPTIONAL({"state", "scope", "resource"}), "query", ours=False,
    ),
    Endpoint("POST", "/oauth/consent", {"query": "?", **DECISION}, kind="page"),
    Endpoint(
        "POST", "/oauth/token",
        {"grant_type": "authorization_code", "client_id": "?", "code": "stl_code_x", "redirect_uri": REDIRECT,
         "code_verifier": VERIFIER},
        ours=False,
    ),
    Endpoint("POST", "/oauth/revoke", {"client_id": "?", "token": "x"}, ours=False),
    Endpoint("POST", "/oauth/device", {"client_id": "?", "scope": "satchel:read"}, OPTIONAL({"scope"}), ours=False),
    Endpoint(
        "POST", "/oauth/register", {"client_name": "Probe", "redirect_uris": '["http://127.0.0.1/c"]'},
        OPTIONAL({"client_name"}), "json", ours=False,
    ),
    Endpoint("POST", "/api/v1/auth/token", PERSON, kind="json"),
    Endpoint("POST", "/api/v1/auth/refresh", {"refreshToken": "stl_refresh_x"}, kind="json"),
    Endpoint("POST", "/api/v1/auth/revoke", {"token": "x.y.z"}, kind="json"),
    Endpoint("POST", "/api/v1/auth/invitation", {"invitation": JOIN}, kind="json"),
    Endpoint("POST", "/api/v1/auth/join", {"invitation": JOIN, **PERSON}, kind="json"),
    Endpoint("GET", "/api/v1/auth/whoami", {}, kind="query"),
]  # fmt: skip
SAY_THE_SAME = {
    "/.well-known/oauth-authorization-server", "/.well-known/oauth-protected-resource",
    "/.well-known/oauth-protected-resource/mcp",
}  # fmt: skip
"""These look at nothing of a request."""
KEPT_ELSEWHERE = {
    "/invitations", "/invitations/{invitation}",
    "/projects/{p}/invitations", "/projects/{p}/invitations/{invitation}",
}  # fmt: skip
"""Not ways in: they need a credential first (tests/server/test_people.py)."""
CASES = [pytest.param(e, id=f"{e.method} {e.path}") for e in ENDPOINTS]


def test_the_table_holds_every_endpoint() -> None:
    def routes(router: object, prefix: str = "") -> Iterator[tuple[str, str]]:
        for route in getattr(router, "routes", ()):
            for method in route.methods - {"HEAD"}:
                yield method, prefix + route.path

    there = set(itertools.chain.from_iterable(map(routes, [*PAGES, *OAUTH])))
    there |= set(itertools.chain(routes(auth.router, "/api/v1"), routes(invitations.router, "/api/v1")))
    listed = {(e.method, e.path) for e in ENDPOINTS}
    left = {row for row in there - listed if row[1] not in SAY_THE_SAME and row[1][7:] not in KEPT_ELSEWHERE}
    assert not left
    assert not listed - there


def defects(one: Endpoint, fields: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    """What is wrong, and the query, form or body that is."""
    if one.kind == "json":
        yield from _json_defects(one, fields)
        return
    pairs = [f"{quote(name)}={quote(value, safe='')}" for name, value in fields.items()]
    for name in fields:
        others = [pair for pair in pairs if not pair.startswith(name + "=")]
        if name not in one.optional:
            yield f"no {name}", "&".join(others)
            yield f"an empty {name}", "&".join([*others, f"{name}="])
        yield f"{name} twice", "&".join([*pairs, f"{name}=again"])
        yield f"{name} too long", "&".join([*others, f"{name}={LONG}"])
        yield f"{name} in Latin-1", "&".join([*others, f"{name}=%E9t%E9"])
        yield f"{name} with a NUL", "&".join([*others, f"{name}=a%00b"])
        yield f"{name} cut off", "&".join([*others, f"{name}=%C3"])
    yield "very many fields", "&".join([*pairs, *(f"f{i}=1" for i in range(100))])
    if one.ours:
        yield "a field nobody knows", "&".join([*pairs, "nobody=1"])


def _json_defects(one: Endpoint, fields: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    whole = {name: json.loads(value) if value.startswith("[") else value for name, value in fields.items()}
    for name in fields:
        others = {other: value for other, value in whole.items() if other != name}
        if name not in one.optional:
            yield f"no {name}", json.dumps(others)
        yield f"{name} twice", json.dumps(whole)[:-1] + f", {json.dumps(name)}: {json.dumps(whole[name])}}}"
        for what, value in (("too long", LONG), ("a number", 7), ("null", None), ("a list", [[]]), ("an object", {})):
            if value is not None or name not in one.optional:
                yield f"{name} {what}", json.dumps({**others, name: value})
        yield f"{name} in Latin-1", json.dumps({**others, name: "\xe9t\xe9"}, ensure_ascii=False)
    for what, body in (("nothing", ""), ("no JSON", "{"), ("a list", "[]"), ("text", '"x"'), ("deep", "[" * 10_000)):
        yield what, body
    if one.ours:
        yield "a field nobody knows", json.dumps({**whole, "nobody": 1})


@pytest.mark.parametrize("one", CASES)
def test_what_is_wrong_with_a_way_in_is_said_and_changes_nothing(
    one: Endpoint, server: Running, ada: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    for limit in ("satchel.server.oauth.registration.REGISTRATIONS_A_MINUTE", "satchel.server.signin.MAX_FAILURES"):
        monkeypatch.setattr(limit, 100_000)
    client = registered(server)
    right = {"client_id": client.id, "resource": client.mcp, "query": client.query()}
    fields = {name: right.get(name, value) if value == "?" else value for name, value in one.fields.items()}
    send, before = sender(one, server, ada), standing(server)
    for what, text in defects(one, fields):
        answer = send(text)
        if answer.status == 303:  # told at the client's own redirect, or led on to where the page begins
            place = answer.headers["location"]
            assert place.startswith(("/oauth/", REDIRECT + "?error=")), (what, place)
            assert "code=" not in place, what
            assert "evil" not in place, what
        elif answer.status == 200:
            assert one.method == "GET" or one.path in HARMLESS, (what, answer.body[:300])
        else:
            assert 400 <= answer.status < 500, (what, answer.status, answer.body[:600])
            assert_clear(what, answer)
        assert LONG[:4_000] not in answer.body.decode(), what
        assert SECRET not in answer.body.decode(), what
    assert ada.get("/oauth/sign-in").status == 303 or one.path == "/oauth/sign-out"
    assert standing(server) == before


HARMLESS = {"/oauth/revoke", "/api/v1/auth/revoke", "/oauth/tenant", "/oauth/device", "/oauth/device/code"}


def sender(one: Endpoint, server: Running, ada: Person) -> Callable[[str], Answer]:
    path = one.path.replace("{text}", JOIN)
    if one.kind == "query":
        return lambda text: ada.send("GET", f"{path}?{text}", None, None)
    if one.kind == "json":
        plain = Person(server.url)
        return lambda text: plain.send("POST", path, text.encode("latin-1"), {"content-type": "application/json"})
    if one.kind == "form":
        plain = Person(server.url)
        return lambda text: plain.post(path, text)
    proof = hidden(ada.get("/oauth/tenant"))["csrf"]
    return lambda text: ada.post(path, f"csrf={proof}&{text}")


def assert_clear(what: str, answer: Answer) -> None:
    """An answer says what is the matter in words: a page, a problem, or an error of OAuth."""
    kind, text = answer.headers["content-type"].partition(";")[0], answer.body.decode()
    assert "Traceback" not in text, what
    if kind == "text/html":
        assert "<h1" in text, what
    elif kind == "application/problem+json":
        assert all(answer.json[name] for name in ("code", "detail", "requestId")), what
    else:
        assert kind == "application/json", (what, kind)
        assert all(answer.json[name] for name in ("error", "error_description")), what


def standing(server: Running) -> object:
    """What nothing of this may change."""
    admin: Client = server.admin
    keys = [{**key, "lastUsedAt": None} for key in admin.get("/keys").ok()["items"]]  # coarse: it moves on the hour
    return [admin.get("/members").ok(), keys, admin.get("/invitations").ok()]
