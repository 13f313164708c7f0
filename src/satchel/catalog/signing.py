"""The keys that sign access tokens: one that signs, one that is published and waits for its turn, and old ones.

    waiting  --begin-->  signing  --begin of the next-->  retired  --drop-->  gone

The private parts come sealed (`upkeep.signing`); what is stored here of them tells nothing.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from sqlalchemy import bindparam, delete, insert, select, update

from satchel.catalog.schema import signing_key
from satchel.catalog.scope import Directory


class SigningKeyRow(NamedTuple):
    kid: str
    public_jwk: dict[str, str]
    sealed: bytes
    """The private key, sealed by whoever stored it."""
    created: int
    signs_from: int | None
    """Since when it signs, or may have signed; None while it waits."""
    retired: int | None
    """Since when it signs no more; it still verifies the tokens it signed."""


_INSERT = insert(signing_key)
_ALL = select(*(signing_key.c[name] for name in SigningKeyRow._fields)).order_by(
    signing_key.c.created, signing_key.c.kid
)
_BEGIN = update(signing_key).where(signing_key.c.kid == bindparam("of_kid")).values(signs_from=bindparam("at"))
_RETIRE_OTHERS = (
    update(signing_key)
    .where(signing_key.c.kid != bindparam("of_kid"), signing_key.c.signs_from.is_not(None))
    .where(signing_key.c.retired.is_(None))
    .values(retired=bindparam("at"))
)
_DROP = delete(signing_key).where(signing_key.c.retired <= bindparam("until"))
_DROP_OTHERS = delete(signing_key).where(signing_key.c.kid.not_in(bindparam("kids", expanding=True)))


async def add(d: Directory, *, kid: str, public_jwk: Mapping[str, str], sealed: bytes, now: int) -> None:
    """Store a key that waits."""
    shown = json.dumps(dict(public_jwk), sort_keys=True)
    await d.execute(_INSERT, {"kid": kid, "public_jwk": shown, "sealed": sealed, "created": now})


async def all_(d: Directory) -> list[SigningKeyRow]:
    """Every key, oldest first."""
    return [SigningKeyRow(row.kid, json.loads(row.public_jwk), *row[2:]) for row in await d.rows(_ALL)]


def signing(rows: Sequence[SigningKeyRow]) -> SigningKeyRow | None:
    """The key that signs now."""
    able = [row for row in rows if row.signs_from is not None and row.retired is None]
    return max(able, key=lambda row: (row.signs_from, row.kid), default=None)


def waiting(rows: Sequence[SigningKeyRow]) -> SigningKeyRow | None:
    """The key that signs next."""
    return next((row for row in reversed(rows) if row.signs_from is None and row.retired is None), None)


async def begin(d: Directory, kid: str, now: int) -> None:
    """Let a key sign, and every other that did sign no more."""
    await d.execute(_BEGIN, {"of_kid": kid, "at": now})
    await d.execute(_RETIRE_OTHERS, {"of_kid": kid, "at": now})


async def drop(d: Directory, until: int) -> int:
    """Forget the keys retired by ``until``: what they signed is refused from now on. Returns how many."""
    return await d.execute(_DROP, {"until": until})


async def drop_others(d: Directory, kids: Sequence[str]) -> int:
    """Forget every key but these."""
    return await d.execute(_DROP_OTHERS, {"kids": list(kids)})
