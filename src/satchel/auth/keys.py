"""The text of long-lived credentials: API keys and refresh tokens.

    stl_live_<tenant>_<key>_<secret><check>          an API key
    stl_refresh_<tenant>_<family>_<secret><check>    one refresh token of a person's session

``tenant``, ``key`` and ``family`` are the 26 characters of the id after its prefix, in clear, so that the tenant's
scope can be entered before anything is looked up; they are trusted only once the keyed hash of the whole text has
matched. ``secret`` is 32 random bytes in lowercase base32 (52 characters). ``check`` is the CRC-32 of everything before
it (7 characters): it tells a mistyped or cut credential from a wrong one without a look-up, and lets secret scanners
drop false alarms. It proves nothing. The server stores only ``key_mac``.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
import zlib
from typing import TYPE_CHECKING, NamedTuple, cast

from satchel.errors import CredentialInvalid

if TYPE_CHECKING:
    from satchel.objects.ids import PrincipalId, TenantId

SECRET_BYTES = 32
MAX_CREDENTIAL_CHARACTERS = 256
"""Longer text is refused unread."""

_ID = r"[0-7][0-9a-hjkmnp-tv-z]{25}"
_TAIL = r"[a-z2-7]{52}[a-z2-7]{7}"
KEY_PATTERN = re.compile(rf"stl_(?:live|refresh)_{_ID}_{_ID}_{_TAIL}")
"""Finds credentials inside other text, for redaction and secret scanning."""

_KEY = re.compile(rf"stl_live_({_ID})_({_ID})_({_TAIL})")
_REFRESH = re.compile(rf"stl_refresh_({_ID})_({_ID})_({_TAIL})")


class KeyParts(NamedTuple):
    """What an API key says of itself; claims, until ``key_mac`` matched."""

    tenant: TenantId
    key_id: PrincipalId


class RefreshParts(NamedTuple):
    """What a refresh token says of itself; claims, until ``key_mac`` matched."""

    tenant: TenantId
    family: str


def make_key(tenant: TenantId, key_id: PrincipalId, secret: bytes) -> str:
    """The text of an API key, to be shown once. ``secret`` is 32 random bytes."""
    return _make("live", tenant.removeprefix("ten_"), key_id.removeprefix("key_"), secret, _KEY)


def parse_key(text: str) -> KeyParts:
    """Read an API key; raises ``CredentialInvalid`` unless the shape and the checksum are right."""
    tenant, key_id = _parse(text, _KEY, "API key")
    return KeyParts(cast("TenantId", f"ten_{tenant}"), cast("PrincipalId", f"key_{key_id}"))


def make_refresh(tenant: TenantId, family: str, secret: bytes) -> str:
    """The text of one refresh token of the family ``fam_…``. ``secret`` is 32 random bytes, new for each token."""
    return _make("refresh", tenant.removeprefix("ten_"), family.removeprefix("fam_"), secret, _REFRESH)


def parse_refresh(text: str) -> RefreshParts:
    """Read a refresh token; raises ``CredentialInvalid`` unless the shape and the checksum are right."""
    tenant, family = _parse(text, _REFRESH, "refresh token")
    return RefreshParts(cast("TenantId", f"ten_{tenant}"), f"fam_{family}")


def key_mac(pepper: bytes, text: str) -> bytes:
    """The keyed hash under which a credential is stored: HMAC-SHA256(pepper, text), 32 bytes.

    The secret is uniform, so no slow hash is needed; the pepper keeps a leaked catalog from confirming a guess.
    Compare with ``hmac.compare_digest``.
    """
    return hmac.digest(pepper, text.encode(), hashlib.sha256)


def _make(kind: str, tenant: str, own: str, secret: bytes, pattern: re.Pattern[str]) -> str:
    if len(secret) != SECRET_BYTES:
        raise ValueError(f"a credential takes {SECRET_BYTES} random bytes")
    body = f"stl_{kind}_{tenant}_{own}_{_base32(secret)}"
    text = body + _check(body)
    if not pattern.fullmatch(text):
        raise ValueError("a credential names ids as `new_id` makes them")
    return text


def _parse(text: str, pattern: re.Pattern[str], noun: str) -> tuple[str, str]:
    match = pattern.fullmatch(text) if len(text) <= MAX_CREDENTIAL_CHARACTERS else None
    if match is None or _check(text[:-7]) != text[-7:]:
        raise CredentialInvalid(f"this is not a well-formed {noun}")
    return match[1], match[2]


def _check(body: str) -> str:
    return _base32(zlib.crc32(body.encode()).to_bytes(4, "big"))


def _base32(data: bytes) -> str:
    return base64.b32encode(data).decode().rstrip("=").lower()
