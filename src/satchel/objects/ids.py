"""Names of things that must not be confused.

Content is named by its SHA-256 (64 lowercase hex digits), so that ``sha256sum`` proves it. Everything else that
needs a name gets ``prefix_`` and 26 characters of Crockford base32 (128 random bits, lowercase): ``prj_``, ``ten_``,
``key_``, ``mem_``, ``req_`` and so on. Randomness comes from the caller.
"""

from __future__ import annotations

import hashlib
import re
from typing import NewType

ObjectId = NewType("ObjectId", str)
Digest = NewType("Digest", str)
FrameId = NewType("FrameId", str)
TenantId = NewType("TenantId", str)
ProjectId = NewType("ProjectId", str)
PrincipalId = NewType("PrincipalId", str)
Lineage = NewType("Lineage", str)

_CROCKFORD = "0123456789abcdefghjkmnpqrstvwxyz"
_HEX_DIGITS = b"0123456789abcdef"
_RANDOM_ID = re.compile(r"[a-z]{3}_[0-7][0-9a-hjkmnp-tv-z]{25}\Z")


def object_id(data: bytes) -> ObjectId:
    """The id of an object: SHA-256 of its bytes, in lowercase hex."""
    return ObjectId(hashlib.sha256(data).hexdigest())


def is_hex_id(text: str) -> bool:
    """Whether ``text`` is 64 lowercase hex digits, the shape of object ids, frame ids and digests."""
    # Half the time of a regular expression, and records are full of them. A character that is not ASCII becomes "?".
    return len(text) == 64 and not text.encode("ascii", "replace").translate(None, _HEX_DIGITS)


def new_id(prefix: str, randomness: bytes) -> str:
    """``prefix_`` and 16 random bytes in Crockford base32, most significant digit first.

    >>> new_id("prj", bytes(16))
    'prj_00000000000000000000000000'
    """
    if len(randomness) != 16:
        raise ValueError("an id takes 16 random bytes")
    number = int.from_bytes(randomness, "big")
    digits = [_CROCKFORD[(number >> shift) & 31] for shift in range(125, -1, -5)]
    return f"{prefix}_{''.join(digits)}"


def is_random_id(text: str, prefix: str | None = None) -> bool:
    """Whether ``text`` has the shape ``new_id`` gives, with that prefix if one is named."""
    return _RANDOM_ID.match(text) is not None and (prefix is None or text.startswith(prefix + "_"))
