"""What another issuer says of somebody, checked and turned into places here: rules, no IO.

``verify`` takes a token of a provider of OpenID Connect: a signature by one of its keys under an asymmetric algorithm
that the key is for, its issuer, the audience meant, and times with a minute of leeway. Nothing in a token says where a
key is fetched from. ``placed`` says which tenants and roles its claims bring, by rules of the operator alone.
"""

from __future__ import annotations

import base64
import binascii
import json
import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from joserfc import jws
from joserfc.errors import JoseError, SecurityWarning
from joserfc.jwk import ECKey, OKPKey, RSAKey

from satchel.auth.roles import TenantRole
from satchel.errors import ConfigInvalid, CredentialExpired, CredentialInvalid

ALGORITHMS = {
    "RS256": "RSA", "RS384": "RSA", "RS512": "RSA", "PS256": "RSA", "PS384": "RSA", "PS512": "RSA",
    "ES256": "EC", "ES384": "EC", "ES512": "EC", "EdDSA": "OKP", "Ed25519": "OKP",
}  # fmt: skip
"""Signatures that are taken, with the type of key each is for. None is symmetric: a public key is no secret."""
_CURVES = {"ES256": "P-256", "ES384": "P-384", "ES512": "P-521", "EdDSA": "Ed25519", "Ed25519": "Ed25519"}
_REFUSED_HEADERS = frozenset({"crit", "b64", "jku", "jwk", "x5u", "x5c", "zip"})
_IMPORTERS: Mapping[str, Callable[[dict[str, Any]], Any]] = {
    "RSA": RSAKey.import_key,
    "EC": ECKey.import_key,
    "OKP": OKPKey.import_key,
}
MIN_RSA_BITS = 2_048
MAX_KEYS = 50
MAX_TOKEN_CHARACTERS = 16_384
MAX_CLAIM_CHARACTERS = 255
LEEWAY_MS = 60_000
"""How far the clock of a provider may be from ours, for every time in its tokens."""
LATEST_SECONDS = 2**40
"""Later than any time that is meant, and a number that everything here can hold in milliseconds."""
MAX_VALUES = 1_000
"""Values of one claim that are looked at: groups of a person."""
ANYBODY = "*"

Key = RSAKey | ECKey | OKPKey


class PublicKey(NamedTuple):
    kid: str | None
    kind: str
    curve: str | None
    algorithm: str | None
    """The only one it is for, where its owner says so."""
    key: Key


class Rule(NamedTuple):
    """Whoever has this value in this claim is this in this tenant."""

    claim: str
    value: str
    tenant: str
    """Its slug."""
    role: TenantRole

    def holds(self, claims: Mapping[str, Any]) -> bool:
        if self.claim == ANYBODY:
            return True
        said = claims.get(self.claim)
        values = said[:MAX_VALUES] if isinstance(said, list) else [said]
        return any(self.value == (str(v) if isinstance(v, str | int) else None) for v in values)


def read_rules(texts: Sequence[str]) -> tuple[Rule, ...]:
    """Rules as settings have them: ``groups:dev=acme:member``, or ``*=acme:member`` for everybody.

    Raises ``ConfigInvalid``.
    """
    rules = []
    for text in texts:
        said, equals, place = text.rpartition("=")
        claim, _, value = said.partition(":")
        tenant, _, role = place.partition(":")
        known = role in {each.value for each in TenantRole}
        if not equals or not tenant or not known or not claim or (claim == ANYBODY) != (not value):
            raise ConfigInvalid(
                f"{text!r} is no rule of SATCHEL_OIDC_RULES",
                hint="Write CLAIM:VALUE=TENANT:ROLE, such as groups:acme-admins=acme:admin, or *=acme:member.",
            )
        rules.append(Rule(claim, value, tenant, TenantRole(role)))
    return tuple(rules)


def placed(rules: Sequence[Rule], claims: Mapping[str, Any]) -> dict[str, TenantRole]:
    """The tenants (slugs) that somebody with these claims is in, with the highest role that a rule gives there."""
    places: dict[str, TenantRole] = {}
    for rule in rules:
        if rule.holds(claims):
            places[rule.tenant] = max(rule.role, places.get(rule.tenant, rule.role))
    return places


def read_keys(document: Mapping[str, Any]) -> tuple[PublicKey, ...]:
    """The keys of a JWKS that can verify a signature; those that cannot are left out."""
    rows = document.get("keys")
    found = []
    for row in rows[:MAX_KEYS] if isinstance(rows, list) else ():
        key = _key(row) if isinstance(row, dict) else None
        if key is not None:
            found.append(key)
    return tuple(found)


def _key(row: Mapping[str, Any]) -> PublicKey | None:
    kind, kid, alg = row.get("kty"), row.get("kid"), row.get("alg")
    importer = _IMPORTERS.get(kind) if isinstance(kind, str) else None
    if importer is None or row.get("use", "sig") != "sig" or "d" in row:
        return None
    try:
        shown = {name: row[name] for name in ("kty", "crv", "x", "y", "n", "e") if name in row}
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", SecurityWarning)  # a short key is left out below
            key = importer(shown)
            if isinstance(key, RSAKey) and key.public_key.key_size < MIN_RSA_BITS:
                return None
    except (JoseError, ValueError, TypeError, KeyError):
        return None
    return PublicKey(
        kid if isinstance(kid, str) else None,
        str(kind),
        row.get("crv") if isinstance(row.get("crv"), str) else None,
        alg if isinstance(alg, str) else None,
        key,
    )


def claimed(token: str) -> tuple[str | None, str | None]:
    """Issuer and key id that a token names, before anything of it is believed."""
    try:
        header, payload, _ = token[:MAX_TOKEN_CHARACTERS].split(".")
        kid, iss = _object(_decoded(header)).get("kid"), _object(_decoded(payload)).get("iss")
    except (CredentialInvalid, ValueError):
        return None, None
    return iss if isinstance(iss, str) else None, kid if isinstance(kid, str) else None


def verify(token: str, keys: Sequence[PublicKey], *, issuer: str, audience: str, now: int) -> dict[str, Any]:
    """The claims of a genuine token of ``issuer`` for ``audience`` at ``now`` (milliseconds UTC).

    Raises ``CredentialExpired`` for a genuine one whose time is over and ``CredentialInvalid``, always with the same
    message, for everything else.
    """
    if len(token) > MAX_TOKEN_CHARACTERS or not token.isascii() or token.count(".") != 2:
        raise _invalid()
    header = _object(_decoded(token.split(".", 1)[0]))
    algorithm, kid = header.get("alg"), header.get("kid")
    kind = ALGORITHMS.get(algorithm) if isinstance(algorithm, str) else None
    fit = str(header.get("typ", "JWT")).lower() in ("jwt", "at+jwt") and not _REFUSED_HEADERS & header.keys()
    if kind is None or not fit:
        raise _invalid()
    claims = _object(_payload(token, str(algorithm), kind, kid, keys))
    aud = claims.get("aud")
    if claims.get("iss") != issuer or audience not in (aud if isinstance(aud, list) else [aud]):
        raise _invalid()
    subject = claims.get("sub")
    if not isinstance(subject, str) or not 0 < len(subject) <= MAX_CLAIM_CHARACTERS or not subject.isprintable():
        raise _invalid()
    if not _is_time(claims.get("exp")):
        raise _invalid()
    for name in ("nbf", "iat"):
        at = claims.get(name, 0)
        if not _is_time(at) or at * 1000 > now + LEEWAY_MS:
            raise _invalid()
    if claims["exp"] * 1000 <= now - LEEWAY_MS:
        raise CredentialExpired("the token has expired")
    return claims


def check_sign_in(claims: Mapping[str, Any], *, client_id: str, nonce: str) -> None:
    """Whether the claims of an ID token answer the sign-in that was begun. Raises ``CredentialInvalid``."""
    several = isinstance(claims.get("aud"), list) and len(claims["aud"]) > 1
    if claims.get("nonce") != nonce or claims.get("azp", client_id) != client_id or (several and "azp" not in claims):
        raise _invalid()


def _payload(token: str, algorithm: str, kind: str, kid: object, keys: Sequence[PublicKey]) -> bytes:
    """What was signed by the key that the token names, or by the only one there is where it names none."""
    fit = [key for key in keys if key.kind == kind and key.algorithm in (None, algorithm)]
    fit = [key for key in fit if key.curve in (None, _CURVES.get(algorithm))]
    fit = [key for key in fit if key.kid == kid] if kid is not None else fit[:1] if len(fit) == 1 else []
    for key in fit:
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", SecurityWarning)  # EdDSA by its old name
                return jws.deserialize_compact(token, key.key, [algorithm]).payload or b""
        except (JoseError, ValueError, TypeError):
            continue
    raise _invalid()


def _is_time(said: object) -> bool:
    """Whether a claim says a time, in seconds; NaN and infinity, which JSON does not have, are none."""
    return isinstance(said, int | float) and not isinstance(said, bool) and 0 <= said <= LATEST_SECONDS


def _decoded(part: str) -> bytes:
    try:
        return base64.b64decode(part + "=" * (-len(part) % 4), altchars=b"-_", validate=True)
    except (binascii.Error, ValueError) as error:
        raise _invalid() from error


def _object(data: bytes) -> dict[str, Any]:
    """A JSON object in which no name occurs twice, at any depth."""

    def no_name_twice(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        value = dict(pairs)
        if len(value) != len(pairs):
            raise ValueError("a name occurs twice")
        return value

    try:
        value = json.loads(data, object_pairs_hook=no_name_twice)
    except (ValueError, RecursionError) as error:
        raise _invalid() from error
    if not isinstance(value, dict):
        raise _invalid()
    return value


def _invalid() -> CredentialInvalid:
    return CredentialInvalid("the token is not one of the identity provider for this server")
