"""Access tokens, and the ways people forge them."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from collections.abc import Callable
from typing import Any

import pytest
from joserfc import jws
from joserfc.jwk import ECKey, OctKey, RSAKey

from satchel.auth.roles import Role
from satchel.auth.tokens import (
    LEEWAY_MS,
    MAX_TOKEN_CHARACTERS,
    TOKEN_LIFETIME_MS,
    generate_signing_key,
    issue,
    load_public_key,
    load_signing_key,
    verify,
)
from satchel.errors import CredentialExpired, CredentialInvalid
from satchel.objects.ids import PrincipalId, TenantId

ISSUER = "https://satchel.example"
AUDIENCE = "https://satchel.example/api"
NOW = 1_800_000_000_000
KEY = generate_signing_key("k1")
KEYS = {"k1": load_public_key(KEY.public_jwk())}
GOOD_CLAIMS: dict[str, Any] = {
    "iss": ISSUER,
    "aud": AUDIENCE,
    "sub": "key_a",
    "tid": "ten_a",
    "jti": "jti_a",
    "iat": NOW // 1000,
    "nbf": NOW // 1000,
    "exp": NOW // 1000 + 600,
}
GOOD_HEADER = {"alg": "ES256", "typ": "at+jwt", "kid": "k1"}


def token(**changes: Any) -> str:
    """An honest token, with parameters of `issue` replaced."""
    given: dict[str, Any] = {
        "issuer": ISSUER,
        "audience": AUDIENCE,
        "tenant": TenantId("ten_a"),
        "principal": PrincipalId("key_a"),
        "jti": "jti_a",
        "now": NOW,
    }
    return issue(KEY, **(given | changes))


def signed(header: dict[str, Any] | bytes, claims: dict[str, Any] | bytes, key: ECKey = KEY.key) -> str:
    """Whatever header and claims, with a right signature: only its holder of the key could make it."""
    first = header if isinstance(header, bytes) else json.dumps(header).encode()
    second = claims if isinstance(claims, bytes) else json.dumps(claims).encode()
    head, body = part(first), part(second)
    # joserfc signs the header it writes itself; sign these very bytes instead.
    algorithm = jws.JWSRegistry.algorithms["ES256"]
    return f"{head}.{body}.{part(algorithm.sign(f'{head}.{body}'.encode(), key))}"


def part(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).decode().rstrip("=")


def refused(text: str, keys: dict[str, ECKey] = KEYS, now: int = NOW) -> None:
    with pytest.raises(CredentialInvalid) as caught:
        verify(text, keys, issuer=ISSUER, audience=AUDIENCE, now=now)
    assert caught.value.message == "the token is not one this server issued"


def test_an_issued_token_says_what_it_was_given() -> None:
    claims = verify(
        token(scope=Role.READ, session="fam_a", client="client-1"), KEYS, issuer=ISSUER, audience=AUDIENCE, now=NOW
    )
    ends = NOW + TOKEN_LIFETIME_MS
    assert claims == ("ten_a", "key_a", "jti_a", NOW, ends, Role.READ, "fam_a", "client-1", AUDIENCE)
    plain = verify(token(), KEYS, issuer=ISSUER, audience=AUDIENCE, now=NOW)
    assert plain[-4:] == (None, None, None, AUDIENCE)


def test_what_these_tests_sign_is_accepted_when_nothing_is_wrong_with_it() -> None:
    verify(signed(GOOD_HEADER, GOOD_CLAIMS), KEYS, issuer=ISSUER, audience=AUDIENCE, now=NOW)


def test_a_token_holds_until_its_last_millisecond_and_then_says_that_it_expired() -> None:
    end = NOW + TOKEN_LIFETIME_MS
    verify(token(), KEYS, issuer=ISSUER, audience=AUDIENCE, now=end - 1)
    with pytest.raises(CredentialExpired):
        verify(token(), KEYS, issuer=ISSUER, audience=AUDIENCE, now=end)


def test_an_expired_forgery_is_a_forgery() -> None:
    forged = signed(GOOD_HEADER, GOOD_CLAIMS, generate_signing_key("k1").key)
    refused(forged, now=NOW + 10 * TOKEN_LIFETIME_MS)


def test_a_token_from_a_clock_a_little_ahead_is_accepted() -> None:
    verify(token(), KEYS, issuer=ISSUER, audience=AUDIENCE, now=NOW - LEEWAY_MS)
    refused(token(), now=NOW - LEEWAY_MS - 1000)


def test_no_token_lasts_longer_than_ten_minutes() -> None:
    with pytest.raises(ValueError, match="ten minutes"):
        token(lifetime_ms=TOKEN_LIFETIME_MS + 1)
    refused(signed(GOOD_HEADER, GOOD_CLAIMS | {"exp": NOW // 1000 + 86_400}))


def hmac_with_the_public_key() -> str:
    public = KEY.key.as_pem(private=False)
    signing = f"{part(json.dumps(GOOD_HEADER | {'alg': 'HS256'}).encode())}.{part(json.dumps(GOOD_CLAIMS).encode())}"
    return f"{signing}.{part(hmac.digest(public, signing.encode(), hashlib.sha256))}"


def with_another_family_of_keys(algorithm: str, key: OctKey | RSAKey) -> str:
    return jws.serialize_compact(GOOD_HEADER | {"alg": algorithm}, json.dumps(GOOD_CLAIMS), key, [algorithm])


def with_flipped_signature() -> str:
    head, body, signature = token().split(".")
    raw = bytearray(base64.urlsafe_b64decode(signature + "=="))
    raw[5] ^= 1
    return f"{head}.{body}.{part(bytes(raw))}"


def with_anothers_claims() -> str:
    head, _, signature = token().split(".")
    return f"{head}.{part(json.dumps(GOOD_CLAIMS | {'tid': 'ten_b'}).encode())}.{signature}"


FORGERIES: dict[str, Callable[[], str]] = {
    "alg none, no signature": lambda: (
        f"{part(json.dumps(GOOD_HEADER | {'alg': 'none'}).encode())}.{part(json.dumps(GOOD_CLAIMS).encode())}."
    ),
    "alg NONE in capitals": lambda: signed(GOOD_HEADER | {"alg": "NONE"}, GOOD_CLAIMS),
    "HS256 with the public key as secret": hmac_with_the_public_key,
    "HS256 with an empty secret": lambda: with_another_family_of_keys("HS256", OctKey.import_key(b"\0" * 32)),
    "RS256 with a key of the forger": lambda: with_another_family_of_keys("RS256", RSAKey.generate_key(2048)),
    "ES256 with a key of the forger": lambda: signed(GOOD_HEADER, GOOD_CLAIMS, generate_signing_key("k1").key),
    "the forger's key inside the header": lambda: signed(
        GOOD_HEADER | {"jwk": KEY.public_jwk()}, GOOD_CLAIMS, generate_signing_key("k1").key
    ),
    "a key to be fetched": lambda: signed(GOOD_HEADER | {"jku": "https://evil.example"}, GOOD_CLAIMS),
    "a critical extension": lambda: signed(GOOD_HEADER | {"crit": ["b64"], "b64": False}, GOOD_CLAIMS),
    "an unknown kid": lambda: signed(GOOD_HEADER | {"kid": "k2"}, GOOD_CLAIMS),
    "a kid that is a path": lambda: signed(GOOD_HEADER | {"kid": "../../dev/null"}, GOOD_CLAIMS),
    "a kid that is no text": lambda: signed(GOOD_HEADER | {"kid": ["k1"]}, GOOD_CLAIMS),
    "no kid": lambda: signed({"alg": "ES256", "typ": "at+jwt"}, GOOD_CLAIMS),
    "an id token's type": lambda: signed(GOOD_HEADER | {"typ": "JWT"}, GOOD_CLAIMS),
    "alg twice": lambda: signed(b'{"alg":"none","alg":"ES256","typ":"at+jwt","kid":"k1"}', GOOD_CLAIMS),
    "tid twice": lambda: signed(
        GOOD_HEADER, json.dumps(GOOD_CLAIMS).replace('"tid"', '"tid": "ten_b", "tid"').encode()
    ),
    "another issuer": lambda: token(issuer="https://other.example"),
    "another audience": lambda: token(audience="https://satchel.example/mcp"),
    "a list of audiences": lambda: signed(GOOD_HEADER, GOOD_CLAIMS | {"aud": [AUDIENCE, "x"]}),
    "not yet": lambda: token(now=NOW + 3_600_000),
    "nbf in the future": lambda: signed(GOOD_HEADER, GOOD_CLAIMS | {"nbf": NOW // 1000 + 60}),
    "no exp": lambda: signed(GOOD_HEADER, {name: value for name, value in GOOD_CLAIMS.items() if name != "exp"}),
    "exp as text": lambda: signed(GOOD_HEADER, GOOD_CLAIMS | {"exp": "9999999999"}),
    "exp as a float": lambda: signed(GOOD_HEADER, GOOD_CLAIMS | {"exp": 1e300}),
    "exp true": lambda: signed(GOOD_HEADER, GOOD_CLAIMS | {"exp": True}),
    "an unknown scope": lambda: signed(GOOD_HEADER, GOOD_CLAIMS | {"scope": "root"}),
    "an unknown claim": lambda: signed(GOOD_HEADER, GOOD_CLAIMS | {"admin": True}),
    "an empty tenant": lambda: signed(GOOD_HEADER, GOOD_CLAIMS | {"tid": ""}),
    "claims that are a list": lambda: signed(GOOD_HEADER, b"[]"),
    "claims that are no JSON": lambda: signed(GOOD_HEADER, b"\xff"),
    "claims nested without end": lambda: signed(GOOD_HEADER, b"[" * 2000),
    "a flipped bit in the signature": with_flipped_signature,
    "claims of another under a true signature": with_anothers_claims,
    "no signature": lambda: token().rsplit(".", 1)[0] + ".",
    "two parts": lambda: token().rsplit(".", 1)[0],
    "five parts, as if encrypted": lambda: token() + ".a.b",
    "spaces": lambda: " " + token(),
    "not ASCII": lambda: token() + "é",
    "nothing": lambda: "",
    "only dots": lambda: "..",
    "too long": lambda: token() + "A" * MAX_TOKEN_CHARACTERS,
}


@pytest.mark.promise("P5")
@pytest.mark.parametrize("name", FORGERIES)
def test_a_forged_or_foreign_token_is_refused_without_saying_why(name: str) -> None:
    refused(FORGERIES[name]())


def test_a_retired_key_still_verifies_and_a_removed_one_does_not() -> None:
    other = generate_signing_key("k2")
    verify(token(), {**KEYS, "k2": load_public_key(other.public_jwk())}, issuer=ISSUER, audience=AUDIENCE, now=NOW)
    refused(token(), {"k2": load_public_key(other.public_jwk())})


def test_what_is_published_of_a_key_holds_nothing_private() -> None:
    assert KEY.public_jwk().keys() == {"kty", "crv", "x", "y", "alg", "use", "kid"}
    assert load_signing_key("k1", KEY.private_bytes()).public_jwk() == KEY.public_jwk()
