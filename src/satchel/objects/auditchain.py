"""How the rows of a tenant's audit are sealed: a keyed hash of each, and a chain of keyed hashes over batches of them.

Who does not hold the installation's secret can neither alter, add nor remove a row that is under a seal, nor a seal
that another follows, without its being seen; the end of the chain is held by an anchor in the bucket.
``docs/spec/audit.md`` has the bytes and says what this does not prevent. Vectors are in ``tests/vectors/audit.json``.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import struct
from collections.abc import Sequence
from typing import NamedTuple

from satchel.errors import SealBroken
from satchel.objects.ids import TenantId
from satchel.objects.seal import derive

START = bytes(32)
"""What the first seal follows."""
_POSITION = struct.Struct(">QQ")
_ANCHOR_FORMAT = "satchel-audit-anchor 1"


class ChainKeys(NamedTuple):
    """The keys of one tenant's audit."""

    row: bytes
    seal: bytes
    put_back: bytes

    def __repr__(self) -> str:
        return "ChainKeys()"  # a key is never shown


class SealedRow(NamedTuple):
    """A row as a seal names it."""

    id: str
    hash: str
    """64 hex digits."""


class Anchor(NamedTuple):
    """How far a chain had come: the last seal's number and hash, and when it was made (milliseconds UTC)."""

    sequence: int
    mac: bytes
    time: int


def chain_keys(secret: bytes, tenant: TenantId) -> ChainKeys:
    """The keys of a tenant's audit, of the installation's key for the purpose ``audit``."""
    return ChainKeys(*(derive(secret, b"", "satchel audit 1", tenant, use) for use in ("row", "seal", "put back")))


def row_hash(keys: ChainKeys, values: Sequence[str | int]) -> str:
    """The keyed hash of a row, its number first, then its columns in the order of the specification."""
    return hmac.digest(keys.row, _json(list(values)), "sha256").hex()


def encode_rows(rows: Sequence[SealedRow]) -> str:
    """The rows of a seal, as they are kept."""
    return _json([list(row) for row in rows]).decode()


def decode_rows(text: str) -> list[SealedRow]:
    """The rows of a seal. Raises ``SealBroken`` for what ``encode_rows`` did not write."""
    try:
        rows = [SealedRow(str(id_), str(hash_)) for id_, hash_ in json.loads(text)]
    except (ValueError, TypeError, RecursionError) as error:
        raise SealBroken("the rows of a seal are not in the form of this version") from error
    if encode_rows(rows) != text:
        raise SealBroken("the rows of a seal are not in the form of this version")
    return rows


def seal_mac(keys: ChainKeys, previous: bytes, sequence: int, time: int, rows: str) -> bytes:
    """The keyed hash of a seal that follows the one with the hash ``previous``."""
    return hmac.digest(keys.seal, previous + _POSITION.pack(sequence, time) + rows.encode(), "sha256")


def put_back_proof(keys: ChainKeys, anchor: bytes) -> str:
    """What says that a catalog was put back by Satchel, knowing of ``anchor``, the object as the bucket had it then."""
    return hmac.digest(keys.put_back, hashlib.sha256(anchor).digest(), "sha256").hex()


def encode_anchor(anchor: Anchor) -> bytes:
    """The plaintext of an anchor."""
    fields = {"format": _ANCHOR_FORMAT, "sequence": anchor.sequence, "mac": anchor.mac.hex(), "time": anchor.time}
    return _json(fields)


def decode_anchor(text: bytes) -> Anchor:
    """The anchor of an opened plaintext. Raises ``SealBroken``."""
    try:
        fields = json.loads(text)
        anchor = Anchor(int(fields["sequence"]), bytes.fromhex(fields["mac"]), int(fields["time"]))
    except (ValueError, TypeError, KeyError) as error:
        raise SealBroken("an anchor is not in the form of this version") from error
    if encode_anchor(anchor) != text:
        raise SealBroken("an anchor is not in the form of this version")
    return anchor


def _json(value: object) -> bytes:
    """Canonical JSON, as in ``docs/spec/objects.md``."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()
