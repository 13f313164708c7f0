"""Forged, stolen, misplaced and repeated credentials, each put to a real server: at REST, at MCP, and where tokens are
given out.

The strongest forger stands behind most of the tokens here: the server's own key signs any header and claims for it.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

import pytest
from joserfc import jws
from joserfc.jwk import ECKey

from satchel.auth.keys import derive_refresh, make_key, parse_refresh
from satchel.auth.tokens import generate_signing_key
from satchel.catalog import standing
from satchel.objects.ids import PrincipalId, TenantId, new_id
from satchel.server import signin
from tests.server.running import Answer, Client, Running

pytestmark = pytest.mark.promise("P5")
PASSWORD = "correct horse battery staple"
HOUR = 3_600
NEVER = "0" * 26


def part(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).decode().rstrip("=")


class Forger:
    """Somebody who can have anything signed by the server's key, and has keys of their own."""

    def __init__(self, server: Running) -> None:
        self.server = server
        self.signing = server.cloud.authenticator.tokens.signing
        self.own = generate_signing_key(self.signing.kid)
        who = server.admin.get("/auth/whoami").ok()
        now = int(time.time())
        self.header: dict[str, Any] = {"alg": "ES256", "typ": "at+jwt", "kid": self.signing.kid}
        self.claims: dict[str, Any] = {
            "iss": server.cloud.settings.url,
            "aud": server.cloud.settings.url,
            "sub": who["principal"]["id"],
            "tid": who["tenant"]["id"],
            "jti": "tok_forged",
            "iat": now,
            "nbf": now,
            "exp": now + 600,
        }

    def token(
        self,
        header: dict[str, Any] | bytes | None = None,
        claims: dict[str, Any] | bytes | None = None,
        *,
        key: ECKey | None = None,
    ) -> str:
        """A token with changes to header and claims (or with these very bytes), and a right signature of ``key``."""
        head = header if isinstance(header, bytes) else json.dumps(self.header | (header or {})).encode()
        body = claims if isinstance(claims, bytes) else json.dumps(self.claims | (claims or {})).encode()
        signed = f"{part(head)}.{part(body)}"
        algorithm = jws.JWSRegistry.algorithms["ES256"]
        return f"{signed}.{part(algorithm.sign(signed.encode(), key or self.signing.key))}"

    def without(self, claim: str) -> str:
        return self.token(claims=json.dumps({k: v for k, v in self.claims.items() if k != claim}).encode())

    def twice(self, claim: str, value: object) -> str:
        """A claim that comes twice, the second time with another value."""
        text = json.dumps(self.claims)[:-1] + f", {json.dumps(claim)}: {json.dumps(value)}}}"
        return self.token(claims=text.encode())

    def hmac(self, algorithm: str, secret: bytes) -> str:
        signed = (
            f"{part(json.dumps(self.header | {'alg': algorithm}).encode())}.{part(json.dumps(self.claims).encode())}"
        )
        return f"{signed}.{part(hmac.digest(secret, signed.encode(), hashlib.sha256))}"

    def unsigned(self, algorithm: str) -> str:
        head = json.dumps({**self.header, "alg": algorithm}).encode()
        return f"{part(head)}.{part(json.dumps(self.claims).encode())}."

    @property
    def public(self) -> dict[str, str]:
        return self.own.public_jwk()

    @property
    def waiting(self) -> str:
        """The name of the key that is published and signs nothing yet."""
        kids = [key["kid"] for key in self.server.client().get("/.well-known/jwks.json").ok()["keys"]]
        return next(str(kid) for kid in kids if kid != self.signing.kid)


def flipped(token: str) -> str:
    """Another last bit that counts in the signature."""
    return token[:-3] + ("A" if token[-3] != "A" else "B") + token[-2:]


Attack = Callable[[Forger], str]

TOKENS: dict[str, Attack] = {
    "alg none": lambda f: f.unsigned("none"),
    "alg None": lambda f: f.unsigned("None"),
    "alg empty": lambda f: f.unsigned(""),
    "HS256 with the public key as PEM": lambda f: f.hmac("HS256", f.signing.key.as_pem(private=False)),
    "HS256 with the public key as JWK": lambda f: f.hmac("HS256", json.dumps(f.signing.public_jwk()).encode()),
    "HS256 with nothing": lambda f: f.hmac("HS256", b"\0"),
    "HS256 said, ES256 signed": lambda f: f.token({"alg": "HS256"}),
    "RS256 said": lambda f: f.token({"alg": "RS256"}),
    "EdDSA said": lambda f: f.token({"alg": "EdDSA"}),
    "alg as a list": lambda f: f.token({"alg": ["ES256"]}),
    "another's key under the right name": lambda f: f.token(key=f.own.key),
    "the waiting key's name": lambda f: f.token({"kid": f.waiting}),
    "kid a path": lambda f: f.token({"kid": "../../../../dev/null"}),
    "kid a file": lambda f: f.token({"kid": "/etc/passwd"}),
    "kid SQL": lambda f: f.token({"kid": "' UNION SELECT 'x' --"}),
    "kid SQL that is true": lambda f: f.token({"kid": "x' OR '1'='1"}),
    "kid a URL": lambda f: f.token({"kid": "http://127.0.0.1:9/jwks.json"}),
    "kid a shell": lambda f: f.token({"kid": "$(id)"}),
    "kid with NUL": lambda f: f.token({"kid": f.signing.kid + "\0x"}),
    "kid empty": lambda f: f.token({"kid": ""}),
    "kid null": lambda f: f.token({"kid": None}),
    "kid a list": lambda f: f.token({"kid": [f.signing.kid]}),
    "kid an object": lambda f: f.token({"kid": {"kid": f.signing.kid}}),
    "kid missing": lambda f: f.token(b'{"alg": "ES256", "typ": "at+jwt"}'),
    "kid twice": lambda f: f.token(json.dumps(f.header)[:-1].encode() + b', "kid": "other"}'),
    "alg twice": lambda f: f.token(b'{"alg": "none", ' + json.dumps(f.header)[1:].encode()),
    "typ JWT": lambda f: f.token({"typ": "JWT"}),
    "typ of an id token": lambda f: f.token({"typ": "id+jwt"}),
    "typ missing": lambda f: f.token(json.dumps({"alg": "ES256", "kid": f.signing.kid}).encode()),
    "jwk of the forger": lambda f: f.token({"jwk": f.public}, key=f.own.key),
    "jwk of the server": lambda f: f.token({"jwk": f.signing.public_jwk()}),
    "jku": lambda f: f.token({"jku": "http://127.0.0.1:9/jwks.json"}, key=f.own.key),
    "x5u": lambda f: f.token({"x5u": "http://127.0.0.1:9/cert.pem"}, key=f.own.key),
    "x5c": lambda f: f.token({"x5c": ["MII="]}, key=f.own.key),
    "x5t": lambda f: f.token({"x5t#S256": "AA"}),
    "crit unknown": lambda f: f.token({"crit": ["exp"], "exp": 1}),
    "crit empty": lambda f: f.token({"crit": []}),
    "b64 false": lambda f: f.token({"b64": False, "crit": ["b64"]}),
    "zip": lambda f: f.token({"zip": "DEF"}),
    "cty JWT": lambda f: f.token({"cty": "JWT"}),
    "a token inside a token": lambda f: f.token(claims=f.token().encode()),
    "header no JSON": lambda f: f.token(b"\xff\xfe"),
    "header a list": lambda f: f.token(b'["ES256"]'),
    "header nested": lambda f: f.token(b'{"a":' * 500 + b"1" + b"}" * 500),
    "aud another's": lambda f: f.token(claims={"aud": "https://other.example"}),
    "aud a list with ours": lambda f: f.token(claims={"aud": [f.claims["aud"], "https://other.example"]}),
    "aud with a slash more": lambda f: f.token(claims={"aud": f.claims["aud"] + "/"}),
    "aud with ours as prefix": lambda f: f.token(claims={"aud": f.claims["aud"] + ".evil.example"}),
    "aud empty": lambda f: f.token(claims={"aud": ""}),
    "aud missing": lambda f: f.without("aud"),
    "iss another's": lambda f: f.token(claims={"iss": "https://other.example"}),
    "iss in capitals": lambda f: f.token(claims={"iss": f.claims["iss"].upper()}),
    "iss missing": lambda f: f.without("iss"),
    "sub missing": lambda f: f.without("sub"),
    "sub nobody": lambda f: f.token(claims={"sub": f"key_{NEVER}"}),
    "sub SQL": lambda f: f.token(claims={"sub": "x' OR '1'='1"}),
    "sub a number": lambda f: f.token(claims={"sub": 1}),
    "tid another tenant's": lambda f: f.token(claims={"tid": f"ten_{NEVER}"}),
    "tid SQL": lambda f: f.token(claims={"tid": "x' OR '1'='1"}),
    "tid missing": lambda f: f.without("tid"),
    "tid twice": lambda f: f.twice("tid", f"ten_{NEVER}"),
    "sub twice": lambda f: f.twice("sub", f"key_{NEVER}"),
    "exp twice": lambda f: f.twice("exp", f.claims["exp"] + HOUR),
    "a member twice in an inner object": lambda f: f.token(
        claims=json.dumps(f.claims)[:-1].encode() + b', "act": {"sub": "a", "sub": "b"}}'
    ),
    "jti missing": lambda f: f.without("jti"),
    "jti empty": lambda f: f.token(claims={"jti": ""}),
    "exp missing": lambda f: f.without("exp"),
    "exp as text": lambda f: f.token(claims={"exp": str(f.claims["exp"])}),
    "exp as a fraction": lambda f: f.token(claims={"exp": f.claims["exp"] + 0.5}),
    "exp true": lambda f: f.token(claims={"exp": True}),
    "exp without end": lambda f: f.token(claims={"exp": 10**30}),
    "exp in a day": lambda f: f.token(claims={"exp": f.claims["exp"] + 24 * HOUR}),
    "nbf in the future": lambda f: f.token(claims={"nbf": f.claims["nbf"] + HOUR}),
    "nbf missing": lambda f: f.without("nbf"),
    "iat in the future": lambda f: f.token(claims={"iat": f.claims["iat"] + HOUR, "exp": f.claims["exp"] + HOUR}),
    "iat long ago": lambda f: f.token(claims={"iat": f.claims["iat"] - 24 * HOUR}),
    "iat missing": lambda f: f.without("iat"),
    "scope root": lambda f: f.token(claims={"scope": "root"}),
    "scope a list": lambda f: f.token(claims={"scope": ["admin"]}),
    "grants of its own": lambda f: f.token(claims={"grants": {"acme": "admin"}}),
    "operator said": lambda f: f.token(claims={"operator": True}),
    "session unknown": lambda f: f.token(claims={"sid": f"fam_{NEVER}"}),
    "claims a list": lambda f: f.token(claims=b"[]"),
    "claims no JSON": lambda f: f.token(claims=b"{"),
    "claims with NaN": lambda f: f.token(claims=json.dumps(f.claims)[:-1].encode() + b', "x": NaN}'),
    "a flipped bit": lambda f: flipped(f.token()),
    "no signature": lambda f: f.token().rpartition(".")[0] + ".",
    "a signature of zeros": lambda f: f.token().rpartition(".")[0] + "." + part(bytes(64)),
    "a signature as DER": lambda f: f.token().rpartition(".")[0] + "." + part(b"\x30\x06\x02\x01\x01\x02\x01\x01"),
    "a signature too long": lambda f: f.token() + "AAAA",
    "padding": lambda f: f.token() + "==",
    "another alphabet": lambda f: f.token().replace("-", "+").replace("_", "/") + "+",
    "four parts": lambda f: f.token() + ".x",
    "only dots": lambda _: "..",
    "as JSON": lambda f: json.dumps(
        dict(zip(("protected", "payload", "signature"), f.token().split("."), strict=True))
    ),
    "too long": lambda f: f.token(claims={"jti": "x" * 4_096}),
}


@pytest.fixture(scope="module")
def forger(server: Running) -> Forger:
    return Forger(server)


def at_mcp(client: Client) -> Answer:
    call = {"jsonrpc": "2.0", "id": 1, "method": "tools/list", "params": {}}
    return client.send("POST", "/mcp", call, {"accept": "application/json, text/event-stream"})


def refused(answer: Answer, code: str = "auth.invalid") -> Any:
    assert (answer.status, answer.code) == (401, code), answer.body[:300]
    assert answer.headers["www-authenticate"].startswith("Bearer")
    return answer.json


def test_what_this_forger_signs_is_accepted_when_nothing_is_wrong_with_it(server: Running, forger: Forger) -> None:
    assert server.client(forger.token()).get("/auth/whoami").ok()["operator"]


@pytest.mark.parametrize("name", TOKENS)
def test_a_forged_token_is_refused_everywhere_without_saying_why(server: Running, forger: Forger, name: str) -> None:
    text = TOKENS[name](forger)
    client = server.client(text)
    said = refused(client.get("/auth/whoami"))
    refused(at_mcp(client))
    assert text not in json.dumps(said)
    assert "key" not in said["detail"] or "API key" in said["detail"]


def test_an_expired_token_says_so_and_a_forged_expired_one_does_not(server: Running, forger: Forger) -> None:
    past = {name: forger.claims[name] - 2 * HOUR for name in ("iat", "nbf", "exp")}
    answer = server.client(forger.token(claims=past)).get("/auth/whoami")
    refused(answer, "auth.expired")
    assert "expired" in answer.headers["www-authenticate"]
    refused(server.client(forger.token(claims=past, key=forger.own.key)).get("/auth/whoami"))


# Keys ----------------------------------------------------------------------------------------------------------------


class Stolen(NamedTuple):
    """A key that counts, taken apart."""

    key: str
    tenant: TenantId
    id: PrincipalId


@pytest.fixture
def stolen(server: Running, owner: Client) -> Stolen:
    made = owner.post("/keys", {"name": "k", "role": "read"}).ok()
    return Stolen(made["key"], TenantId(owner.get("/tenant").ok()["id"]), made["id"])


SECRET = bytes(range(32))

KEYS: dict[str, Callable[[Stolen], str]] = {
    "cut": lambda s: s.key[:-1],
    "longer": lambda s: s.key + "a",
    "in capitals": lambda s: s.key.upper(),
    "another letter in the secret": lambda s: s.key[:-20] + ("a" if s.key[-20] != "a" else "b") + s.key[-19:],
    "another secret": lambda s: make_key(s.tenant, s.id, SECRET),
    "another key's id": lambda s: make_key(s.tenant, PrincipalId(f"key_{NEVER}"), SECRET),
    "another tenant's id": lambda s: make_key(TenantId(f"ten_{NEVER}"), s.id, SECRET),
    "of a kind that signs nobody in": lambda s: derive_refresh(b"x", s.tenant, f"fam_{NEVER}", 0),
    "with NUL": lambda s: s.key + "%00",
    "the prefix alone": lambda _: "stl_live_",
    "a word": lambda _: "admin",
    "too long": lambda s: s.key * 30,
}


@pytest.mark.parametrize("name", KEYS)
def test_a_key_that_is_not_one_is_refused_everywhere_in_the_same_words(
    server: Running, stolen: Stolen, name: str
) -> None:
    text = KEYS[name](stolen)
    client = server.client(text)
    bearer, exchanged = refused(client.get("/auth/whoami")), client.post("/auth/token", {"apiKey": text})
    refused(at_mcp(client))
    refused(exchanged)
    assert bearer["detail"] == exchanged.json["detail"]
    assert text not in json.dumps([bearer, exchanged.json])


def test_wrong_and_unknown_keys_cannot_be_told_apart(server: Running, stolen: Stolen) -> None:
    names = ("another secret", "another key's id", "another tenant's id")
    answers = [server.client(KEYS[name](stolen)).get("/auth/whoami") for name in names]
    assert len({(a.status, a.code, a.json["detail"], a.json["hint"]) for a in answers}) == 1


Placed = Callable[[Client, str], Answer]

ELSEWHERE: dict[str, tuple[Placed, str]] = {
    "access_token in the query": (lambda c, key: c.get("/auth/whoami", access_token=key), "auth.missing"),
    "api_key in the query": (lambda c, key: c.get("/projects", api_key=key), "auth.missing"),
    "token in the query": (lambda c, key: c.get("/projects", token=key), "auth.missing"),
    "authorization in the query": (lambda c, key: c.get("/projects", authorization=f"Bearer {key}"), "auth.missing"),
    "in the query of mcp": (
        lambda c, key: c.send("POST", "/mcp", {"jsonrpc": "2.0", "id": 1, "method": "ping"}, query={"key": key}),
        "auth.missing",
    ),
    "in a cookie": (lambda c, key: c.get("/projects", {"cookie": f"token={key}"}), "auth.missing"),
    "in x-api-key": (lambda c, key: c.get("/projects", {"x-api-key": key}), "auth.missing"),
    "as a user's password": (
        lambda c, key: c.get("/projects", {"authorization": "Basic " + base64.b64encode(f"x:{key}".encode()).decode()}),
        "auth.invalid",
    ),
    "without a scheme": (lambda c, key: c.get("/projects", {"authorization": key}), "auth.invalid"),
    "after another word": (lambda c, key: c.get("/projects", {"authorization": f"Token {key}"}), "auth.invalid"),
    "twice in one header": (
        lambda c, key: c.get("/projects", {"authorization": f"Bearer {key}, Bearer {key}"}),
        "auth.invalid",
    ),
    "in the body": (lambda c, key: c.post("/search", {"query": "x", "access_token": key}), "auth.missing"),
}


@pytest.mark.parametrize("name", ELSEWHERE)
def test_a_key_counts_in_its_header_alone(server: Running, stolen: Stolen, name: str) -> None:
    place, code = ELSEWHERE[name]
    answer = place(server.client(), stolen.key)
    assert (answer.status, answer.code) == (401, code)
    assert stolen.key not in answer.body.decode()
    assert stolen.key not in str(answer.headers)


@pytest.mark.parametrize("path", ["/auth/whoami", "/projects"])
def test_a_token_in_the_query_is_refused_beside_a_credential_that_counts_too(
    server: Running, stolen: Stolen, path: str
) -> None:
    answer = server.client(stolen.key).get(path, access_token=stolen.key)
    assert (answer.status, answer.code) == (422, "request.invalid")
    assert stolen.key not in answer.body.decode()


# Sessions ------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def sign_in(server: Running) -> Callable[[], dict[str, str]]:
    """Signs a person in, on another device each time."""
    owner = server.tenant("attacked-sessions")
    owner.post("/members", {"email": "ada@attacked.example", "name": "Ada", "password": PASSWORD}).ok()
    asked = {"email": "ada@attacked.example", "password": PASSWORD}
    return lambda: server.client().post("/auth/token", asked).ok()


def refresh(server: Running, text: str) -> Answer:
    return server.client().post("/auth/refresh", {"refreshToken": text})


@pytest.mark.promise("P7")
def test_of_a_hundred_uses_of_one_token_at_once_one_session_with_one_successor_survives(
    server: Running, sign_in: Callable[[], dict[str, str]]
) -> None:
    first = sign_in()["refreshToken"]
    clients = [server.client() for _ in range(10)]
    with ThreadPoolExecutor(10) as pool:
        asked = {"refreshToken": first}
        answers = list(pool.map(lambda n: clients[n % 10].post("/auth/refresh", asked), range(100)))
    assert {answer.status for answer in answers} == {200}
    successors = {answer.json["refreshToken"] for answer in answers}
    assert len(successors) == 1
    assert first not in successors
    again = refresh(server, successors.pop()).ok()
    assert server.client(again["accessToken"]).get("/auth/whoami").status == 200


def test_a_copied_token_ends_the_session_with_every_token_of_it(
    server: Running, sign_in: Callable[[], dict[str, str]]
) -> None:
    tokens = [sign_in()]
    for _ in range(2):
        tokens.append(refresh(server, tokens[-1]["refreshToken"]).ok())
    bearers = [server.client(one["accessToken"]) for one in tokens]
    assert [bearer.get("/auth/whoami").status for bearer in bearers] == [200] * 3
    refused(refresh(server, tokens[0]["refreshToken"]))  # the copy
    for bearer in bearers:
        refused(bearer.get("/auth/whoami"))
    for one in tokens:
        refused(refresh(server, one["refreshToken"]))


def test_sessions_of_one_person_end_apart(server: Running, sign_in: Callable[[], dict[str, str]]) -> None:
    here, there = sign_in(), sign_in()
    server.client().post("/auth/revoke", {"token": here["refreshToken"]}).ok()
    refused(refresh(server, here["refreshToken"]))
    refresh(server, there["refreshToken"]).ok()


REFRESH: dict[str, Callable[[dict[str, str]], str]] = {
    "an access token": lambda t: t["accessToken"],
    "cut": lambda t: t["refreshToken"][:-1],
    "in capitals": lambda t: t["refreshToken"].upper(),
    "under another pepper": lambda t: derive_refresh(b"guessed", *parse_refresh(t["refreshToken"]), 1),
    "of another session": lambda t: derive_refresh(b"g", parse_refresh(t["refreshToken"]).tenant, f"fam_{NEVER}", 0),
    "of another tenant": lambda t: derive_refresh(
        b"g", TenantId(new_id("ten", bytes(16))), parse_refresh(t["refreshToken"]).family, 0
    ),
    "an API key": lambda t: make_key(parse_refresh(t["refreshToken"]).tenant, PrincipalId(f"key_{NEVER}"), SECRET),
}


def test_what_is_no_refresh_token_renews_nothing_and_ends_nothing(
    server: Running, sign_in: Callable[[], dict[str, str]]
) -> None:
    tokens = sign_in()
    for name, forged in REFRESH.items():
        text = forged(tokens)
        answer = refresh(server, text)
        refused(answer)
        assert text not in answer.body.decode(), name
        server.client().post("/auth/revoke", {"token": text}) if name != "an access token" else None
    next_ = server.run(_next(server, tokens["refreshToken"]))
    refused(refresh(server, next_))  # the right one, which was not given out yet
    refresh(server, tokens["refreshToken"]).ok()
    refused(server.client(tokens["refreshToken"]).get("/auth/whoami"))  # and it is no bearer


async def _next(server: Running, text: str) -> str:
    return derive_refresh(server.cloud.pepper, *parse_refresh(text), 1)


# What the time would tell ---------------------------------------------------------------------------------------------


def test_what_is_wrong_with_a_key_or_a_password_cannot_be_told_by_the_work_it_makes(
    server: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Counted, not timed: the same look-ups, comparisons and slow hashes, and the same answer, whatever is wrong."""
    work: list[str] = []

    def counted(holder: object, name: str, word: str) -> None:
        kept = getattr(holder, name)

        def noting(*given: Any, **more: Any) -> Any:
            work.append(word)
            return kept(*given, **more)

        monkeypatch.setattr(holder, name, noting)

    def worked(ask: Callable[[], Answer]) -> tuple[list[str], object]:
        work.clear()
        answer = ask()
        return list(work), (answer.status, {k: v for k, v in answer.json.items() if k != "requestId"})

    counted(standing, "of_key", "look-up")
    counted(hmac, "compare_digest", "comparison")
    counted(signin, "verify_password", "slow hash")
    owner = server.tenant("of-the-clock")
    tenant = owner.get("/auth/whoami").ok()["tenant"]["id"]
    revoked = owner.post("/keys", {"name": "gone", "role": "read"}).ok()
    owner.send("DELETE", f"/keys/{revoked['id']}").ok()
    live = PrincipalId(owner.post("/keys", {"name": "here", "role": "read"}).ok()["id"])
    wrong = {
        "another secret of a key that is": make_key(tenant, live, b"w" * 32),
        "a key that is not": make_key(tenant, PrincipalId(f"key_{NEVER}"), b"w" * 32),
        "a key that was revoked": make_key(tenant, revoked["id"], b"w" * 32),
        "a tenant that is not": make_key(TenantId(f"ten_{NEVER}"), live, b"w" * 32),
    }
    works = {what: worked(lambda key=key: server.client(key).get("/tenant")) for what, key in wrong.items()}  # type: ignore[misc]
    assert len({json.dumps(each) for each in works.values()}) == 1, works
    assert works["a key that is not"][0].count("comparison") == 2

    person = {"email": "clock@example.org", "name": "Clock", "password": PASSWORD}
    owner.post("/members", person).ok(201)
    signs = {
        address: worked(lambda a=address: server.client().post("/auth/token", {"email": a, "password": "x" * 12}))  # type: ignore[misc]
        for address in ("clock@example.org", "nobody-here@example.org", "not an address")
    }
    assert {tuple(each[0]).count("slow hash") for each in signs.values()} == {1}
    assert len({json.dumps(each[1]) for each in signs.values()}) == 1, signs
