"""Sealing: how bytes rest so that only the tenant's key opens them, in the one place they were sealed for.

One AES-256-GCM call under a key used once: HKDF-SHA256 of the tenant's key of an epoch, 32 random bytes of salt, and
an info that names tenant, project, kind and name. The whole header is authenticated. The header also commits to the
tenant's key, so that a wrong key is told from damage. ``docs/spec/sealing.md`` has the bytes and the reasons.
"""

from __future__ import annotations

import hmac
import struct
from collections.abc import Callable
from typing import NamedTuple

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from satchel.errors import SealBroken, WrongKey
from satchel.objects.ids import TenantId

KEY_BYTES = 32
SALT_BYTES = 32
_HEAD = struct.Struct(">4sBBHIIIQ32s16s")
# magic, version, algorithm, zero, epoch, index, count, plaintext length, salt, key check
_MAGIC, _VERSION, _AES_256_GCM_HKDF_SHA256 = b"SEAL", 1, 1
_TAG_BYTES = 16
SEAL_OVERHEAD = _HEAD.size + _TAG_BYTES
"""Bytes a sealed thing is longer than its plaintext."""
EPOCH_BYTES = 12
"""As many bytes of a sealed thing say in which epoch it was sealed."""
_NONCE = bytes(12)  # every key is used for one message, so the nonce says nothing


class Binding(NamedTuple):
    """Whose bytes these are and what they are; they open under no other."""

    tenant: TenantId
    project: str
    """The project id; empty for what belongs to the tenant as a whole."""
    kind: str
    """``frame``, ``record``, ``head``, ``keyring`` ..."""


def derive(key: bytes, salt: bytes, *info: str, length: int = KEY_BYTES) -> bytes:
    """HKDF-SHA256 with an info of length-prefixed parts, so that no two lists of parts share one."""
    parts = b"".join(struct.pack(">H", len(part)) + part for part in (text.encode() for text in info))
    return HKDF(hashes.SHA256(), length, salt, parts).derive(key)


def seal(
    key: bytes,
    binding: Binding,
    name: str,
    plaintext: bytes,
    *,
    epoch: int,
    salt: bytes,
    index: int = 0,
    count: int = 1,
) -> bytes:
    """Seal ``plaintext`` under the tenant's ``key`` of ``epoch`` for ``binding`` and ``name``.

    ``salt`` is 32 random bytes, never used before; ``index`` and ``count`` place it in a sequence.
    """
    if len(key) != KEY_BYTES or len(salt) != SALT_BYTES:
        raise ValueError("a seal takes a key of 32 bytes and a salt of 32 bytes")
    check = derive(key, salt, "satchel seal 1 key check", length=16)
    head = _HEAD.pack(_MAGIC, _VERSION, _AES_256_GCM_HKDF_SHA256, 0, epoch, index, count, len(plaintext), salt, check)
    return head + AESGCM(_single_use_key(key, salt, binding, name)).encrypt(_NONCE, plaintext, head)


def epoch_of(sealed: bytes) -> int:
    """The epoch that a sealed thing, or its first ``EPOCH_BYTES``, says it was sealed in; nothing is proven yet.

    Raises ``SealBroken`` for what is not sealed in the way that is known here.
    """
    if sealed[:8] != struct.pack(">4sBBH", _MAGIC, _VERSION, _AES_256_GCM_HKDF_SHA256, 0) or len(sealed) < EPOCH_BYTES:
        raise SealBroken("not a sealed object of a known version")
    return int.from_bytes(sealed[8:EPOCH_BYTES], "big")


def open_sealed(
    key_of: Callable[[int], bytes],
    binding: Binding,
    name: str,
    sealed: bytes,
    *,
    index: int = 0,
    count: int = 1,
) -> bytes:
    """The plaintext, if these are the bytes sealed for this binding, name and place in a sequence.

    ``key_of`` gives the tenant's key of an epoch. Raises ``WrongKey`` when it is not the key they were sealed with,
    ``SealBroken`` for anything else that does not fit.
    """
    if len(sealed) < SEAL_OVERHEAD or sealed[:4] != _MAGIC:
        raise SealBroken("not a sealed object")
    _, version, algorithm, zero, epoch, at, of, length, salt, check = _HEAD.unpack_from(sealed)
    if (version, algorithm, zero) != (_VERSION, _AES_256_GCM_HKDF_SHA256, 0):
        raise SealBroken(f"sealed in an unknown way: version {version}, algorithm {algorithm}")
    if length != len(sealed) - SEAL_OVERHEAD:
        raise SealBroken("a sealed object is cut off or has bytes added")
    key = key_of(epoch)
    if not hmac.compare_digest(derive(key, salt, "satchel seal 1 key check", length=16), check):
        raise WrongKey(f"the {binding.kind} was sealed with another key")
    try:
        plaintext = AESGCM(_single_use_key(key, salt, binding, name)).decrypt(
            _NONCE, memoryview(sealed)[_HEAD.size :], sealed[: _HEAD.size]
        )
    except InvalidTag as error:
        raise SealBroken(f"a sealed {binding.kind} was altered or belongs elsewhere") from error
    if (at, of) != (index, count):
        raise SealBroken(f"a sealed {binding.kind} is part {at} of {of}, not part {index} of {count}")
    return plaintext


def _single_use_key(key: bytes, salt: bytes, binding: Binding, name: str) -> bytes:
    return derive(key, salt, "satchel seal 1", binding.tenant, binding.project, binding.kind, name)
