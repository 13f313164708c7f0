"""Access tokens: JWTs of type ``at+jwt`` (RFC 9068), signed with ES256, ten minutes long at most.

A token names its tenant (``tid``), its principal (``sub``), an id by which it can be revoked (``jti``), the session it
belongs to (``sid``), the OAuth client it was made for (``client_id``) and a cap on roles (``scope``). It carries no
grants: those are read from the catalog, so that a change of grants needs no new token. ES256 because its verification
is the cheapest of the widely supported algorithms (73 µs against 92 for Ed25519).

``verify`` accepts what ``issue`` makes and nothing else: a header of exactly ``alg``, ``typ`` and ``kid``, known claims
of the right types, no name twice.
"""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple, cast

from joserfc import jws
from joserfc.errors import JoseError
from joserfc.jwk import ECKey

from satchel.auth.roles import Role
from satchel.errors import CredentialExpired, CredentialInvalid

if TYPE_CHECKING:
    from satchel.objects.ids import PrincipalId, TenantId

ALGORITHM = "ES256"
TYPE = "at+jwt"
MAX_TOKEN_CHARACTERS = 4_096
TOKEN_LIFETIME_MS = 10 * 60 * 1000
LEEWAY_MS = 5_000
"""How far the clocks of two nodes may differ for ``nbf`` and ``iat``; expiry has no leeway."""

_TEXT_CLAIMS = ("iss", "aud", "sub", "tid", "jti")
_TIME_CLAIMS = ("iat", "nbf", "exp")
_OPTIONAL_CLAIMS = ("scope", "sid", "client_id")
_CLAIMS = frozenset((*_TEXT_CLAIMS, *_TIME_CLAIMS, *_OPTIONAL_CLAIMS))


class Claims(NamedTuple):
    """What a verified token says."""

    tenant: TenantId
    principal: PrincipalId
    jti: str
    issued: int
    """Milliseconds UTC, as is ``expires``."""
    expires: int
    scope: Role | None
    """The cap on roles, or None."""
    session: str | None
    """The refresh family the token came from, or None for a token got with an API key."""
    client: str | None = None
    """The OAuth client it was made for, or None."""
    audience: str = ""
    """The part of the server it is for."""


class SigningKey(NamedTuple):
    """A private key that signs tokens, and the name it goes by."""

    kid: str
    key: ECKey

    def private_bytes(self) -> bytes:
        """The private key as JWK JSON, to be sealed before it rests anywhere."""
        return json.dumps(self.key.as_dict(private=True), sort_keys=True, separators=(",", ":")).encode()

    def public_jwk(self) -> dict[str, str]:
        """The public key as a JWK, fit for ``/.well-known/jwks.json``."""
        shown = cast("dict[str, str]", self.key.as_dict(private=False))
        return {name: shown[name] for name in ("kty", "crv", "x", "y")} | {
            "alg": ALGORITHM,
            "use": "sig",
            "kid": self.kid,
        }


def generate_signing_key(kid: str) -> SigningKey:
    """A new P-256 key; its randomness is the operating system's."""
    return SigningKey(kid, ECKey.generate_key("P-256", auto_kid=False))


def load_signing_key(kid: str, private: bytes) -> SigningKey:
    """The key whose ``private_bytes`` these are."""
    return SigningKey(kid, ECKey.import_key(json.loads(private)))


def load_public_key(jwk: Mapping[str, str]) -> ECKey:
    """The key that verifies, from ``SigningKey.public_jwk``."""
    return ECKey.import_key({name: jwk[name] for name in ("kty", "crv", "x", "y")})


def issue(
    key: SigningKey,
    *,
    issuer: str,
    audience: str,
    tenant: TenantId,
    principal: PrincipalId,
    jti: str,
    now: int,
    lifetime_ms: int = TOKEN_LIFETIME_MS,
    scope: Role | None = None,
    session: str | None = None,
    client: str | None = None,
) -> str:
    """Sign a token that holds from ``now`` (milliseconds UTC) for ``lifetime_ms``, at most ten minutes."""
    if not 0 < lifetime_ms <= TOKEN_LIFETIME_MS:
        raise ValueError("a token lasts ten minutes at most")
    claims: dict[str, object] = {
        "iss": issuer,
        "aud": audience,
        "sub": principal,
        "tid": tenant,
        "jti": jti,
        "iat": now // 1000,
        "nbf": now // 1000,
        "exp": (now + lifetime_ms) // 1000,
    }
    if scope is not None:
        claims["scope"] = scope.value
    if session is not None:
        claims["sid"] = session
    if client is not None:
        claims["client_id"] = client
    header = {"alg": ALGORITHM, "typ": TYPE, "kid": key.kid}
    return jws.serialize_compact(header, json.dumps(claims, separators=(",", ":")), key.key, [ALGORITHM])


def looks_like_token(text: str) -> bool:
    """Whether ``text`` has the three parts of a JWT, so that a face can tell it from an API key."""
    return text.count(".") == 2


def claimed_key(token: str) -> str | None:
    """The name of the key that a token says it was signed with, before anything of it is believed."""
    try:
        kid = _strict_object(_decode(token[:MAX_TOKEN_CHARACTERS].split(".", 1)[0])).get("kid")
    except CredentialInvalid:
        return None
    return kid if isinstance(kid, str) else None


def verify(
    token: str, keys: Mapping[str, ECKey], *, issuer: str, audience: str, now: int, also: Collection[str] = ()
) -> Claims:
    """Check a token against the public keys by ``kid`` at ``now`` (milliseconds UTC).

    ``also`` are further audiences that will do: the caller looks at the one it was made for. Raises
    ``CredentialExpired`` for a genuine token whose time is over and ``CredentialInvalid``, always with the same
    message, for everything else. Revocation is not judged here.
    """
    claims = _authentic_claims(token, keys)
    if claims["iss"] != issuer or claims["aud"] not in (audience, *also):
        raise _invalid()
    if max(claims["nbf"], claims["iat"]) * 1000 > now + LEEWAY_MS:
        raise _invalid()
    if (claims["exp"] - claims["iat"]) * 1000 > TOKEN_LIFETIME_MS + 1000:
        raise _invalid()
    if claims["exp"] * 1000 <= now:
        raise CredentialExpired("the token has expired")
    scope = claims.get("scope")
    return Claims(
        tenant=claims["tid"],
        principal=claims["sub"],
        jti=claims["jti"],
        issued=claims["iat"] * 1000,
        expires=claims["exp"] * 1000,
        scope=None if scope is None else Role(scope),
        session=claims.get("sid"),
        client=claims.get("client_id"),
        audience=claims["aud"],
    )


def _authentic_claims(token: str, keys: Mapping[str, ECKey]) -> dict[str, Any]:
    """The claims of a token whose signature, header and claim types are right."""
    if len(token) > MAX_TOKEN_CHARACTERS or not token.isascii() or not looks_like_token(token):
        raise _invalid()
    header = _strict_object(_decode(token.split(".", 1)[0]))
    if header.keys() != {"alg", "typ", "kid"} or header["alg"] != ALGORITHM or header["typ"] != TYPE:
        raise _invalid()
    key = keys.get(header["kid"]) if isinstance(header["kid"], str) else None
    if key is None:
        raise _invalid()
    try:
        payload = jws.deserialize_compact(token, key, [ALGORITHM]).payload
    except (JoseError, ValueError, TypeError) as error:
        raise _invalid() from error
    claims = _strict_object(payload or b"")
    if not _well_typed(claims):
        raise _invalid()
    return claims


def _well_typed(claims: Mapping[str, object]) -> bool:
    if not set(claims) <= _CLAIMS:
        return False
    if not all(isinstance(claims.get(name), str) and claims[name] for name in _TEXT_CLAIMS):
        return False
    if not all(type(claims.get(name)) is int for name in _TIME_CLAIMS):
        return False
    if any(name in claims and not isinstance(claims[name], str) for name in _OPTIONAL_CLAIMS):
        return False
    return "scope" not in claims or claims["scope"] in {role.value for role in Role}


def _decode(part: str) -> bytes:
    try:
        return base64.b64decode(part + "=" * (-len(part) % 4), altchars=b"-_", validate=True)
    except (binascii.Error, ValueError) as error:
        raise _invalid() from error


def _strict_object(data: bytes) -> dict[str, Any]:
    """A JSON object in which no name occurs twice at any depth."""
    try:
        value = json.loads(data, object_pairs_hook=_no_name_twice)
    except (ValueError, RecursionError) as error:
        raise _invalid() from error
    if not isinstance(value, dict):
        raise _invalid()
    return value


def _no_name_twice(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) != len(pairs):
        raise ValueError("a name occurs twice")
    return value


def _invalid() -> CredentialInvalid:
    return CredentialInvalid("the token is not one this server issued")
