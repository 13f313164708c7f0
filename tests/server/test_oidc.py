"""An external provider of OpenID Connect: signing in by it, and its access tokens in place of ours."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import itertools
import json
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, quote, urlsplit

import pytest
from joserfc import jws

from satchel.auth.federation import read_rules
from satchel.catalog.scope import Directory
from satchel.config.server import server_settings
from satchel.errors import ConfigInvalid
from satchel.server import provider as provider_module
from satchel.server.provider import ProviderAway, provider_of
from tests.oidc import AUDIENCE, CLIENT, SECRET, Provider, providing
from tests.server.running import Answer, Client, Running, serving
from tests.server.web.people import Person, hidden

RULES = ("groups:devs=acme:member", "groups:leads=acme:admin", "org:beta=beta:member")
CONNECT = {"oidc_client_id": CLIENT, "oidc_client_secret": SECRET, "oidc_audience": AUDIENCE, "fetch_loopback": True}
_numbers = itertools.count(1)


@pytest.fixture(scope="module")
def provider() -> Iterator[Provider]:
    with providing() as one:
        yield one


@pytest.fixture(autouse=True)
def as_it_was(provider: Provider, connected: Running, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(provider_module, "NEW_KEY_SECONDS", 0.0)
    known = connected.cloud.provider
    yield
    provider.says, provider.claimed, provider.away = (lambda _p, said: said), (lambda claims: claims), False
    object.__setattr__(connected.cloud, "provider", known)


@pytest.fixture(scope="module")
def connected(provider: Provider, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """A server that knows the provider, whose rules say who is where."""
    data = tmp_path_factory.mktemp("oidc") / "data"
    with serving(data, oidc_issuer=provider.issuer, oidc_rules=RULES, oidc_name="Acme Login", **CONNECT) as running:
        running.acme, running.beta = running.tenant("acme"), running.tenant("beta")  # type: ignore[attr-defined]
        running.acme.post("/projects", {"slug": "notes"}).ok()  # type: ignore[attr-defined]
        yield running


def acme(running: Running) -> Client:
    found: Client = running.acme  # type: ignore[attr-defined]
    return found


def somebody(**claims: object) -> dict[str, Any]:
    number = next(_numbers)
    email = f"dev-{number}@acme.example"
    return {"sub": f"user|{number}", "email": email, "email_verified": True, "groups": ["devs"], **claims}


def federated(server: Running, provider: Provider, person: dict[str, Any], path: str = "/oauth/clients") -> Answer:
    """What comes back to a browser that goes the whole way."""
    provider.person = person
    browser = Person(server.url)
    return by_browser(browser, path)


def by_browser(browser: Person, path: str = "/oauth/clients") -> Answer:
    out = browser.get(f"/oauth/federated?next={quote(path)}")
    assert out.status == 303, out.body
    granted = browser.get(out.headers["location"])
    return browser.get(granted.headers["location"])


# Behind Satchel: signing in ------------------------------------------------------------------------------------------


def test_a_person_signs_in_by_the_provider_and_is_where_its_claims_say(connected: Running, provider: Provider) -> None:
    person = somebody(name="Ada Dev")
    page = Person(connected.url).get("/oauth/sign-in").body.decode()
    assert "Sign in with Acme Login" in page
    provider.person = person
    browser = Person(connected.url)
    done = by_browser(browser, "/oauth/device")
    assert (done.status, done.headers["location"]) == (303, "/oauth/device")
    assert browser.cookies["satchel-federated"] == ""
    assert "Domain" not in done.headers["set-cookie"]
    (member,) = [m for m in acme(connected).get("/members").ok()["items"] if m["email"] == person["email"]]
    assert (member["name"], member["tenantRole"]) == ("Ada Dev", "member")
    [row, *_] = acme(connected).get("/tenant/audit", action="member.federate").ok()["items"]
    assert row["requestId"] == done.headers["x-request-id"]
    # The role follows the claims, up and down, at each sign-in.
    for groups, role in ((["devs", "leads"], "admin"), (["devs"], "member")):
        assert federated(connected, provider, person | {"groups": groups}).status == 303
        (now,) = [m for m in acme(connected).get("/members").ok()["items"] if m["id"] == member["id"]]
        assert now["tenantRole"] == role
    assert (
        connected.client().post("/auth/token", {"email": person["email"], "password": "x" * 12}).code == "auth.invalid"
    )


def test_what_is_sent_to_the_provider_is_pkce_with_state_and_nonce_fresh_each_time(connected: Running) -> None:
    seen = []
    for _ in range(2):
        out = Person(connected.url).get("/oauth/federated")
        asked = {name: values[0] for name, values in parse_qs(urlsplit(out.headers["location"]).query).items()}
        assert (asked["response_type"], asked["code_challenge_method"]) == ("code", "S256")
        assert asked["redirect_uri"] == f"{connected.url}/oauth/federated/back"
        assert SECRET not in out.headers["location"]
        seen.append((asked["state"], asked["nonce"], asked["code_challenge"]))
        assert all(len(text) == 43 for text in seen[-1])
        cookie = out.headers["set-cookie"]
        assert "HttpOnly" in cookie
        assert "SameSite=Lax" in cookie
        assert asked["state"] not in cookie
    assert not set(seen[0]) & set(seen[1])


def test_who_has_no_place_by_the_rules_gets_none(connected: Running, provider: Provider) -> None:
    nothing: list[object] = [[], "x", {"devs": 1}, None, 7]
    for groups in nothing:
        answer = federated(connected, provider, somebody(groups=groups))
        assert answer.status == 403
        assert "oidc.no_place" in answer.body.decode()


def test_an_address_that_the_provider_does_not_vouch_for_is_not_taken(connected: Running, provider: Provider) -> None:
    person = somebody(email_verified=False)
    assert federated(connected, provider, person).status == 303
    addresses = [m["email"] for m in acme(connected).get("/members").ok()["items"]]
    assert person["email"] not in addresses
    assert any(address.endswith("@127.0.0.1") for address in addresses)


def test_an_account_of_the_same_address_is_not_taken_over(connected: Running, provider: Provider) -> None:
    person = somebody()
    body = {"email": person["email"], "name": "First", "password": "correct horse battery"}
    acme(connected).post("/members", body).ok()
    answer = federated(connected, provider, person)
    assert answer.status == 409
    assert "oidc.account_exists" in answer.body.decode()


def test_where_the_operator_trusts_addresses_the_provider_takes_the_account_over_and_its_password_ends(
    provider: Provider, tmp_path: Path
) -> None:
    settings = {**CONNECT, "oidc_audience": "", "oidc_trust_email": True}
    with serving(tmp_path / "data", oidc_issuer=provider.issuer, **settings) as server:
        owner, person = server.tenant("acme"), somebody(email_verified=None)
        body = {"email": person["email"].upper(), "name": "First", "password": "correct horse battery"}
        owner.post("/members", body).ok()
        session = server.client().post("/auth/token", {"email": person["email"], "password": body["password"]}).ok()
        assert federated(server, provider, person).status == 303
        assert server.client(session["accessToken"]).get("/auth/whoami").code == "auth.invalid"
        again = server.client().post("/auth/token", {"email": person["email"], "password": body["password"]})
        assert again.code == "auth.invalid"
        assert len(owner.get("/members").ok()["items"]) == 1
        # Its access tokens were not asked for.
        assert server.client(provider.token(person)).get("/auth/whoami").code == "auth.invalid"


WRONG_ID_TOKENS: dict[str, Callable[[dict[str, Any]], dict[str, Any]]] = {
    "another nonce": lambda c: {**c, "nonce": "x"},
    "no nonce": lambda c: {k: v for k, v in c.items() if k != "nonce"},
    "another issuer": lambda c: {**c, "iss": "https://evil.example"},
    "an issuer with a slash": lambda c: {**c, "iss": c["iss"] + "/"},
    "another audience": lambda c: {**c, "aud": "other"},
    "several audiences without azp": lambda c: {**c, "aud": [CLIENT, "other"]},
    "azp of somebody else": lambda c: {**c, "aud": [CLIENT, "other"], "azp": "other"},
    "expired": lambda c: {**c, "exp": c["iat"] - 120},
    "issued in the future": lambda c: {**c, "iat": c["iat"] + 600},
    "not valid yet": lambda c: {**c, "nbf": c["iat"] + 600},
    "no expiry": lambda c: {k: v for k, v in c.items() if k != "exp"},
    "an expiry of text": lambda c: {**c, "exp": "tomorrow"},
    "no subject": lambda c: {k: v for k, v in c.items() if k != "sub"},
    "an empty subject": lambda c: {**c, "sub": ""},
    "a long subject": lambda c: {**c, "sub": "x" * 256},
    "a subject that is a number": lambda c: {**c, "sub": 7},
}


@pytest.mark.parametrize("wrong", WRONG_ID_TOKENS.values(), ids=list(WRONG_ID_TOKENS))
def test_a_sign_in_with_a_wrong_id_token_is_refused(
    connected: Running, provider: Provider, wrong: Callable[[dict[str, Any]], dict[str, Any]]
) -> None:
    provider.claimed = wrong
    answer = federated(connected, provider, somebody())
    assert answer.status in (403, 401)
    assert "location" not in answer.headers


def test_a_clock_that_is_half_a_minute_off_is_no_reason_to_refuse(connected: Running, provider: Provider) -> None:
    for off in (-330, 30):
        provider.claimed = lambda c, off=off: {**c, "iat": c["iat"] + off, "exp": c["exp"] + off}  # type: ignore[misc]
        assert federated(connected, provider, somebody()).status == 303


WRONG_WAYS_BACK = [
    ("no cookie", lambda q, _c: (q, {})),
    ("the cookie of another sign-in", lambda q, c: (q, {"satchel-federated": c["satchel-federated"][:-4] + "AAAA"})),
    ("another state", lambda q, c: (q | {"state": "x"}, c)),
    ("no state", lambda q, c: ({k: v for k, v in q.items() if k != "state"}, c)),
    ("another issuer", lambda q, c: (q | {"iss": "https://evil.example"}, c)),
    ("no code", lambda q, c: ({k: v for k, v in q.items() if k != "code"}, c)),
    ("another code", lambda q, c: (q | {"code": "x"}, c)),
    ("a code too long", lambda q, c: (q | {"code": "x" * 5_000}, c)),
    ("an error", lambda q, c: (q | {"error": "access_denied"}, c)),
]


@pytest.mark.parametrize("change", [row[1] for row in WRONG_WAYS_BACK], ids=[row[0] for row in WRONG_WAYS_BACK])
def test_a_way_back_that_was_not_begun_by_this_browser_leads_nowhere(
    connected: Running, provider: Provider, change: Callable[..., tuple[dict[str, str], dict[str, str]]]
) -> None:
    provider.person = somebody()
    browser = Person(connected.url)
    granted = browser.get(browser.get("/oauth/federated").headers["location"])
    query = {name: values[0] for name, values in parse_qs(urlsplit(granted.headers["location"]).query).items()}
    query, browser.cookies = change(query, dict(browser.cookies))
    answer = browser.get("/oauth/federated/back?" + "&".join(f"{k}={quote(v)}" for k, v in query.items()))
    assert answer.status == 403
    assert "oidc.refused" in answer.body.decode()


def test_a_code_that_was_used_is_not_taken_again(connected: Running, provider: Provider) -> None:
    provider.person = somebody()
    browser = Person(connected.url)
    granted = browser.get(browser.get("/oauth/federated").headers["location"])
    cookies = dict(browser.cookies)
    assert browser.get(granted.headers["location"]).status == 303
    thief = Person(connected.url, cookies=cookies)
    assert thief.get(granted.headers["location"]).status == 403


def test_without_a_provider_the_way_to_one_is_not_there(server: Running) -> None:
    for path in ("/oauth/federated", "/oauth/federated/back?code=x&state=y"):
        assert Person(server.url).get(path).status == 404
    assert "Sign in with" not in Person(server.url).get("/oauth/sign-in").body.decode()


# In place of Satchel's issuer ----------------------------------------------------------------------------------------


def test_an_access_token_of_the_provider_counts_in_the_tenant_its_claims_name(
    connected: Running, provider: Provider
) -> None:
    person = somebody(groups=["leads"])
    client = connected.client(provider.token(person))
    who = client.get("/auth/whoami").ok()
    assert (who["tenant"]["slug"], who["role"], who["principal"]["kind"]) == ("acme", "admin", "member")
    assert client.get("/projects/notes").status == 200
    assert client.put("notes", f"{person['sub'][5:]}.md", b"# By a token\n").status == 200
    narrow = connected.client(provider.token(person, scope="openid satchel:read"))
    assert narrow.get("/projects/notes").status == 200
    assert narrow.put("notes", "x.md", b"# X\n").code == "auth.insufficient_scope"
    assert narrow.get("/members").code == "auth.insufficient_scope"
    other = connected.client(provider.token(somebody(groups=[], org="beta")))
    assert other.get("/auth/whoami").ok()["tenant"]["slug"] == "beta"
    assert other.get("/projects/notes").code == "project.not_found"


def test_clients_are_told_of_the_provider_beside_this_server(connected: Running, provider: Provider) -> None:
    told = connected.client().get("/.well-known/oauth-protected-resource/mcp").ok()
    assert told["authorization_servers"] == [connected.url, provider.issuer]


def test_a_token_of_nobody_in_particular_is_refused(connected: Running, provider: Provider) -> None:
    wrong: list[dict[str, object]] = [{"groups": []}, {"org": "beta"}]
    for claims in wrong:
        answer = connected.client(provider.token(somebody(**claims))).get("/auth/whoami")
        assert (answer.status, answer.code) == (403, "oidc.no_place")


def _part(value: object) -> str:
    return base64.urlsafe_b64encode(json.dumps(value).encode()).rstrip(b"=").decode()


def _hand_made(provider: Provider, header: dict[str, Any], claims: dict[str, Any], key: bytes) -> str:
    signed = f"{_part(header)}.{_part(claims)}"
    mac = base64.urlsafe_b64encode(hmac.digest(key, signed.encode(), hashlib.sha256)).rstrip(b"=").decode()
    return f"{signed}.{mac if header['alg'] != 'none' else ''}"


def _claims(provider: Provider) -> dict[str, Any]:
    now = int(time.time())
    return {"iss": provider.issuer, "aud": AUDIENCE, "iat": now, "exp": now + 300, **somebody()}


def _public(provider: Provider) -> bytes:
    return json.dumps(provider.keys[provider.kid].as_dict(private=False)).encode()


def _another(provider: Provider) -> str:
    with providing() as other:
        return other.sign(_claims(provider), kid=provider.kid, typ="at+jwt")


WRONG_TOKENS: dict[str, Callable[[Provider], str]] = {
    "alg none": lambda p: _hand_made(p, {"alg": "none", "kid": p.kid}, _claims(p), b""),
    "HS256 with the public key": lambda p: _hand_made(p, {"alg": "HS256", "kid": p.kid}, _claims(p), _public(p)),
    "signed by somebody else": _another,
    "another audience": lambda p: p.token(somebody(), aud="https://elsewhere.example"),
    "the client's audience": lambda p: p.token(somebody(), aud=CLIENT),
    "no audience": lambda p: p.token(somebody(), aud=None),
    "another issuer": lambda p: p.token(somebody(), iss=p.issuer + "/"),
    "an ID token": lambda p: p.token(somebody(), nonce="x"),
    "not valid yet": lambda p: p.token(somebody(), nbf=int(time.time()) + 600),
    "no end": lambda p: p.token(somebody(), exp=None),
    "an end that no time is": lambda p: p.token(somebody(), exp=float("nan")),
    "an end after all others": lambda p: p.token(somebody(), exp=float("inf")),
    "an end that nothing can hold": lambda p: p.token(somebody(), exp=10**400),
    "a kid nobody has": lambda p: p.sign(_claims(p), kid="unknown"),
    "a kid that is a path": lambda p: p.sign(_claims(p), kid="../../etc/passwd"),
    "a jku": lambda p: p.sign(_claims(p), jku="https://evil.example/keys"),
    "an x5u": lambda p: p.sign(_claims(p), x5u="https://evil.example/x5u"),
    "an embedded key": lambda p: p.sign(_claims(p), jwk=p.keys[p.kid].as_dict(private=False)),
    "another typ": lambda p: p.sign(_claims(p), typ="logout+jwt"),
    "a claim twice": lambda p: _twice(p),  # noqa: PLW0108 (defined below)
    "cut": lambda p: p.token(somebody())[:-4],
    "too long": lambda p: p.token(somebody(), fat="x" * 20_000),
}


def _twice(provider: Provider) -> str:
    text = json.dumps(_claims(provider))[:-1] + ', "aud": "x", "aud": "' + AUDIENCE + '"}'
    key = provider.keys[provider.kid]
    algorithm = "ES256" if key.key_type == "EC" else "RS256"
    return jws.serialize_compact({"alg": algorithm, "kid": provider.kid}, text, key, [algorithm])


@pytest.mark.parametrize("make", WRONG_TOKENS.values(), ids=list(WRONG_TOKENS))
def test_a_token_that_is_not_the_providers_for_this_server_is_refused(
    connected: Running, provider: Provider, make: Callable[[Provider], str]
) -> None:
    answer = connected.client(make(provider)).get("/auth/whoami")
    assert (answer.status, answer.code) == (401, "auth.invalid")


def test_a_token_past_its_time_says_so(connected: Running, provider: Provider) -> None:
    expired = provider.token(somebody(), exp=int(time.time()) - 90)
    answer = connected.client(expired).get("/auth/whoami")
    assert (answer.status, answer.code) == (401, "auth.expired")


@pytest.mark.parametrize("kind", ["EC", "RSA"])
def test_a_key_that_the_provider_begins_to_use_is_learnt_and_one_it_shows_no_more_ends(
    connected: Running, provider: Provider, kind: str
) -> None:
    person = somebody()
    before = provider.token(person)
    assert connected.client(before).get("/auth/whoami").status == 200
    provider.rotate(f"next-{kind}", kind)
    assert connected.client(provider.token(person)).get("/auth/whoami").status == 200
    stale = connected.client(_resigned(before)).get("/auth/whoami")
    assert stale.status == 401


def _resigned(token: str) -> str:
    """The same token with a look of its own, so that no memory of it answers."""
    head, body, signature = token.split(".")
    return f"{head}.{body}.{signature[:-1]}{'A' if signature[-1] != 'A' else 'B'}"


def test_while_the_provider_is_away_known_keys_go_on_and_sign_ins_say_what_is_the_matter(
    connected: Running, provider: Provider
) -> None:
    person = somebody()
    assert connected.client(provider.token(person)).get("/auth/whoami").status == 200
    provider.away = True
    assert connected.client(provider.token(person, jti="again")).get("/auth/whoami").status == 200
    answer = _back_while_away(connected, provider)
    assert (answer.status, "oidc.unavailable" in answer.body.decode()) == (503, True)
    assert int(answer.headers["retry-after"]) > 0
    assert acme(connected).get("/tenant").status == 200


def _back_while_away(connected: Running, provider: Provider) -> Answer:
    provider.away = False
    provider.person = somebody()
    browser = Person(connected.url)
    granted = browser.get(browser.get("/oauth/federated").headers["location"])
    provider.away = True
    return browser.get(granted.headers["location"])


# What the provider says of itself ------------------------------------------------------------------------------------

NONSENSE: dict[str, Callable[[str, Any], Any]] = {
    "a page": lambda _p, _s: b"<html>",
    "nothing": lambda _p, _s: b"",
    "a list": lambda _p, _s: [],
    "another issuer": lambda p, s: {**s, "issuer": "https://evil.example"} if "well-known" in p else s,
    "no issuer": lambda p, s: {k: v for k, v in s.items() if k != "issuer"},
    "no keys address": lambda p, s: {k: v for k, v in s.items() if k != "jwks_uri"},
    "an address that is a number": lambda p, s: {**s, "token_endpoint": 7} if "well-known" in p else s,
    "keys inside": lambda p, s: {**s, "jwks_uri": "https://10.0.0.1/keys"} if "well-known" in p else s,
    "a token endpoint inside": lambda p, s: {**s, "token_endpoint": "https://169.254.169.254/"} if "wel" in p else s,
    "a script for an address": lambda p, s: {**s, "authorization_endpoint": "javascript:x"} if "wel" in p else s,
    "no key": lambda p, s: {"keys": []} if p == "/keys" else s,
    "keys that are none": lambda p, s: {"keys": [1, "x", {"kty": "oct", "k": "AAAA"}, {}]} if p == "/keys" else s,
    "keys that are not a list": lambda p, s: {"keys": "x"} if p == "/keys" else s,
    "a short RSA key": lambda p, s: (
        {"keys": [{"kty": "RSA", "n": "AQAB", "e": "AQAB", "kid": "first"}]} if p == "/keys" else s
    ),
    "too much": lambda _p, _s: b'{"a":"' + b"x" * 70_000 + b'"}',
}


@pytest.mark.parametrize("says", NONSENSE.values(), ids=list(NONSENSE))
def test_a_provider_that_answers_nonsense_is_away(provider: Provider, says: Callable[[str, Any], Any]) -> None:
    provider.says = says
    one = provider_of(
        server_settings({"oidc_issuer": provider.issuer, "oidc_rules": ("*=a:member",), **CONNECT}, env={})
    )
    assert one is not None
    with pytest.raises(ProviderAway) as away:
        asyncio.run(one.verified(provider.token(somebody()), AUDIENCE, int(time.time() * 1000)))
    assert "xxxx" not in away.value.message


@pytest.mark.parametrize("says", NONSENSE.values(), ids=list(NONSENSE))
def test_a_sign_in_by_a_provider_that_answers_nonsense_says_so_and_begins_nothing(
    connected: Running, provider: Provider, says: Callable[[str, Any], Any]
) -> None:
    """Through the whole server, whatever it remembers of the provider: discovery, exchange and keys are nonsense."""
    provider.person = somebody()
    browser = Person(connected.url)
    granted = browser.get(browser.get("/oauth/federated").headers["location"])
    provider.says = says
    again(connected)
    answers = [Person(connected.url).get("/oauth/federated"), browser.get(granted.headers["location"])]
    answers = [answer for answer in answers if not answer.headers.get("location", "").startswith(provider.issuer)]
    assert answers
    for answer in answers:
        assert answer.status in (403, 503), answer.body[-600:]
        assert "xxxx" not in answer.body.decode()
    emails = [m["email"] for m in acme(connected).get("/members").ok()["items"]]
    assert provider.person["email"] not in emails


def test_a_provider_that_does_not_answer_in_time_is_away_and_holds_up_nobody_else(
    connected: Running, provider: Provider
) -> None:
    released = threading.Event()
    provider.says = lambda _path, said: said if released.wait(60) else None
    again(connected)._fetcher._seconds = 0.3
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(Person(connected.url).get, "/oauth/federated")
        assert acme(connected).get("/tenant").status == 200
        answer = waiting.result(60)
    released.set()
    assert (answer.status, "oidc.unavailable" in answer.body.decode()) == (503, True)


def test_who_asks_while_the_keys_are_fetched_is_answered_by_what_comes(
    connected: Running, provider: Provider, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(provider_module, "NEW_KEY_SECONDS", 60.0)
    now = int(time.time() * 1000)

    people = [somebody() for _ in range(3)]
    subjects = [person["sub"] for person in people]
    made: Any = provider_of(connected.settings)

    async def at_once() -> list[str]:
        asked = [made.verified(provider.token(person), AUDIENCE, now) for person in people]
        return [claims["sub"] for claims in await asyncio.gather(*asked)]

    async def begin_and_go_on() -> None:
        assert await at_once() == subjects
        provider.rotate("meanwhile")
        made._looked -= 60.0
        asked = len(provider.asked)
        assert await at_once() == subjects
        assert provider.asked[asked:] == ["/keys"]

    asyncio.run(begin_and_go_on())


def again(connected: Running) -> Any:
    """Let the server forget what it remembers of the provider; what asks it now."""
    made = provider_of(connected.settings)
    assert made is not None
    object.__setattr__(connected.cloud, "provider", made)
    return made


def test_each_tenant_is_changed_by_itself(
    connected: Running, provider: Provider, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two people whose claims cross over would else wait for one another in the database."""
    entered: dict[int, set[str]] = {}
    enter = Directory.enter

    def noted(self: Directory, tenant: str, **more: Any) -> Any:
        if self._writing:
            entered.setdefault(id(self), set()).add(tenant)
            kept.append(self)
        return enter(self, tenant, **more)

    kept: list[Directory] = []
    monkeypatch.setattr(Directory, "enter", noted)
    person = somebody()
    for groups, org in ((["devs"], "beta"), ([], "beta"), (["devs"], "")):
        assert federated(connected, provider, person | {"groups": groups, "org": org}).status == 303
    assert len({tenant for tenants in entered.values() for tenant in tenants}) == 2
    assert all(len(tenants) == 1 for tenants in entered.values())


@pytest.mark.parametrize(
    "settings",
    [
        {"oidc_issuer": "http://login.example.org", "oidc_client_id": "x"},
        {"oidc_issuer": "https://10.0.0.1/", "oidc_client_id": "x"},
        {"oidc_issuer": "https://login.example.org:x", "oidc_client_id": "x"},
        {"oidc_issuer": "https://login.example.org"},
        {"oidc_issuer": "https://login.example.org", "oidc_audience": "x"},
        {"oidc_issuer": "https://login.example.org", "oidc_client_id": "x", "oidc_rules": ("groups=acme:member",)},
        {"oidc_issuer": "https://login.example.org", "oidc_client_id": "x", "oidc_rules": ("groups:a=acme:king",)},
        {"oidc_issuer": "https://login.example.org", "oidc_client_id": "x", "oidc_rules": ("*:a=acme:member",)},
        {"oidc_issuer": "https://login.example.org", "oidc_client_id": "x", "oidc_networks": ("10.0.0.0/99",)},
    ],
)
def test_settings_that_cannot_work_are_refused_at_the_start(settings: dict[str, object]) -> None:
    with pytest.raises(ConfigInvalid):
        provider_of(server_settings(settings, env={}))


def test_a_provider_in_a_private_network_is_reached_where_the_operator_names_it() -> None:
    settings = {
        "oidc_issuer": "https://10.1.2.3:8443/realms/a",
        "oidc_client_id": "x",
        "oidc_networks": ("10.1.0.0/16",),
    }
    assert provider_of(server_settings(settings, env={})) is not None
    for text in ("groups:a:b=acme:member", "mail:x=y=acme:owner"):
        (rule,) = read_rules([text])
        assert rule.tenant == "acme"


# The page of an invitation -------------------------------------------------------------------------------------------


def test_an_invitation_is_taken_on_its_page_by_password_or_as_who_is_signed_in(
    connected: Running, provider: Provider
) -> None:
    made = acme(connected).post("/projects/notes/invitations", {"role": "write", "uses": 3}).ok()
    path = urlsplit(made["url"]).path
    browser = Person(connected.url)
    page = browser.get(path)
    text = page.body.decode()
    assert page.status == 200
    assert "Join notes" in text
    assert "read and change it" in text
    assert "Sign in with Acme Login" in text
    assert "frame-ancestors 'none'" in page.headers["content-security-policy"]
    assert page.headers["cache-control"] == "no-store"
    assert page.headers["referrer-policy"] == "same-origin"
    bad = browser.submit(page, "/join", email="pat@acme.example", password="password1234")
    assert (bad.status, "many people use" in bad.body.decode()) == (422, True)
    assert "password1234" not in bad.body.decode()
    done = browser.submit(page, "/join", email="pat@acme.example", password="correct horse battery")
    assert (done.status, "You joined notes" in done.body.decode()) == (200, True)
    wrong = Person(connected.url)
    refused = wrong.submit(wrong.get(path), "/join", email="pat@acme.example", password="another password")
    assert refused.status == 403
    # Signed in by the provider, one click is enough.
    provider.person = somebody()
    other = Person(connected.url)
    assert by_browser(other, path).headers["location"] == path
    page = other.get(path)
    assert f"Join as {provider.person['email']}" in page.body.decode()
    assert set(hidden(page)) == {"csrf", "invitation"}
    assert other.submit(page, "/join").status == 200
    rows = {row["id"]: row for row in acme(connected).get("/projects/notes/invitations").ok()["items"]}
    assert rows[made["id"]]["uses"] == 2
    roles = [grant["role"] for grant in acme(connected).get("/projects/notes/grants").ok()["items"]]
    assert roles.count("write") == 2


def test_a_page_of_an_invitation_that_is_over_says_so_and_a_form_without_proof_does_nothing(connected: Running) -> None:
    made = acme(connected).post("/projects/notes/invitations", {"role": "read"}).ok()
    path = urlsplit(made["url"]).path
    forged = Person(connected.url).post("/join", {"invitation": path[6:], "email": "a@b.example", "password": "x" * 20})
    assert (forged.status, "request.form_refused" in forged.body.decode()) == (403, True)
    acme(connected).send("DELETE", f"/projects/notes/invitations/{made['id']}").ok()
    for place in (path, "/join/nonsense", path[:-1]):
        answer = Person(connected.url).get(place)
        assert (answer.status, "invitation.invalid" in answer.body.decode()) == (404, True)
