"""The text of what is kept under a keyed hash: API keys, refresh tokens, and authorization codes.

    stl_live_<tenant>_<key>_<secret><check>          an API key
    stl_refresh_<tenant>_<family>_<secret><check>    one refresh token of a person's session
    stl_invite_<tenant>_<invitation>_<secret><check> an invitation
    stl_code_<tenant>_<code>_<secret><check>         an authorization code, for a minute

``tenant``, ``key`` and ``family`` are the 26 characters of the id after its prefix, in clear, so that the tenant's
scope can be entered before anything is looked up; they are trusted only once the keyed hash of the whole text has
matched. ``secret`` is 32 bytes in lowercase base32 (52 characters): random in a key; in a refresh token derived from
the session and its generation, so that the next token can be told again. ``check`` is the CRC-32 of everything before
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
KEY_PATTERN = re.compile(rf"stl_(?:live|refresh|invite)_{_ID}_{_ID}_{_TAIL}")
"""Finds credentials inside other text, for redaction and secret scanning."""

_ANY = re.compile(
    rf"{KEY_PATTERN.pattern}|stl_code_{_ID}_{_ID}_{_TAIL}|stl_device_[a-z2-7]{{52}}|eyJ[\w-]{{8,}}\.eyJ[\w-]{{8,}}\.[\w-]{{8,}}",
    re.ASCII,
)

_KEY = re.compile(rf"stl_live_({_ID})_({_ID})_({_TAIL})")
_CODE = re.compile(rf"stl_code_({_ID})_({_ID})_({_TAIL})")
_REFRESH = re.compile(rf"stl_refresh_({_ID})_({_ID})_({_TAIL})")
_INVITE = re.compile(rf"stl_invite_({_ID})_({_ID})_({_TAIL})")


class KeyParts(NamedTuple):
    """What an API key says of itself; claims, until ``key_mac`` matched."""

    tenant: TenantId
    key_id: PrincipalId


class CodeParts(NamedTuple):
    """What an authorization code says of itself; claims, until ``key_mac`` matched."""

    tenant: TenantId
    code: str


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
    """The text of one refresh token of the family ``fam_…``. ``secret`` is 32 bytes, new for each token."""
    return _make("refresh", tenant.removeprefix("ten_"), family.removeprefix("fam_"), secret, _REFRESH)


def derive_refresh(pepper: bytes, tenant: TenantId, family: str, generation: int) -> str:
    """The refresh token of a session's ``generation``, which only who knows the pepper can tell.

    The same for the same arguments: whoever asks again after a lost answer gets what was lost.
    """
    said = b"\0".join((b"satchel refresh token", tenant.encode(), family.encode(), str(generation).encode()))
    return make_refresh(tenant, family, hmac.digest(pepper, said, hashlib.sha256))


def parse_refresh(text: str) -> RefreshParts:
    """Read a refresh token; raises ``CredentialInvalid`` unless the shape and the checksum are right."""
    tenant, family = _parse(text, _REFRESH, "refresh token")
    return RefreshParts(cast("TenantId", f"ten_{tenant}"), f"fam_{family}")


class InviteParts(NamedTuple):
    """What an invitation says of itself; claims, until ``key_mac`` matched."""

    tenant: TenantId
    invitation: str


def make_invite(tenant: TenantId, invitation: str, secret: bytes) -> str:
    """The text of the invitation ``inv_…``, to be shown once. ``secret`` is 32 random bytes."""
    return _make("invite", tenant.removeprefix("ten_"), invitation.removeprefix("inv_"), secret, _INVITE)


def parse_invite(text: str) -> InviteParts:
    """Read an invitation; raises ``CredentialInvalid`` unless the shape and the checksum are right."""
    tenant, invitation = _parse(text, _INVITE, "invitation")
    return InviteParts(cast("TenantId", f"ten_{tenant}"), f"inv_{invitation}")


def make_code(tenant: TenantId, code: str, secret: bytes) -> str:
    """The text of the authorization code ``cod_…``. ``secret`` is 32 random bytes."""
    return _make("code", tenant.removeprefix("ten_"), code.removeprefix("cod_"), secret, _CODE)


def parse_code(text: str) -> CodeParts:
    """Read an authorization code; raises ``CredentialInvalid`` unless the shape and the checksum are right."""
    tenant, code = _parse(text, _CODE, "authorization code")
    return CodeParts(cast("TenantId", f"ten_{tenant}"), f"cod_{code}")


def redacted(text: str) -> str:
    """``text`` without the keys, tokens, invitations, codes and JWTs in it: for what may repeat what somebody sent."""
    return _ANY.sub("[a credential]", text)


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
