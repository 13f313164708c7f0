"""Results of writes by the key their sender gave them, so that a request sent twice is done once (P7).

A result is saved in the write's own transaction: after a crash either both are there or neither. It is consulted
only after authorization, and belongs to tenant, principal and route, so that nobody meets another's key.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from sqlalchemy import bindparam, delete, insert, select

from satchel.catalog.schema import TENANT, idempotency, mine
from satchel.catalog.scope import Scope
from satchel.errors import IdempotencyReused, InvalidInput

KEPT_MS = 24 * 60 * 60 * 1000
"""How long a result is kept."""
MAX_KEY_CHARACTERS = 255

_OF_KEY = (
    mine(idempotency),
    idempotency.c.principal_id == bindparam("principal"),
    idempotency.c.route == bindparam("route"),
    idempotency.c.key == bindparam("key"),
)
_FIND = select(idempotency.c.request_hash, idempotency.c.result, idempotency.c.created).where(*_OF_KEY)
_NEWEST = (
    select(idempotency.c.key, idempotency.c.created)
    .where(
        mine(idempotency),
        idempotency.c.principal_id == bindparam("principal"),
        idempotency.c.route.in_(bindparam("routes", expanding=True)),
        idempotency.c.created > bindparam("after"),
    )
    .order_by(idempotency.c.created.desc())
    .limit(1)
)
_DROP = delete(idempotency).where(*_OF_KEY)
_INSERT = insert(idempotency).values(tenant_id=TENANT)
_EXPIRE = delete(idempotency).where(mine(idempotency), idempotency.c.created <= bindparam("oldest"))


class Done(NamedTuple):
    """A request that was done: its key, and when."""

    key: str
    time: int


async def find(s: Scope, principal: str, route: str, key: str, request_hash: str, now: int) -> str | None:
    """The saved result, or None for a request not seen in the last 24 hours.

    Raises ``IdempotencyReused`` when another request had the key, ``InvalidInput`` for a key empty or too long.
    """
    if not 0 < len(key) <= MAX_KEY_CHARACTERS:
        raise InvalidInput(f"an Idempotency-Key has 1 to {MAX_KEY_CHARACTERS} characters")
    row = await s.row(_FIND, {"principal": principal, "route": route, "key": key})
    if row is None or row.created <= now - KEPT_MS:
        return None
    if row.request_hash != request_hash:
        raise IdempotencyReused("this Idempotency-Key was used for another request")
    return str(row.result)


async def newest(s: Scope, principal: str, routes: Sequence[str], after: int) -> Done | None:
    """The last request of a principal at any of ``routes`` that was done after ``after``, if it is still kept."""
    row = await s.row(_NEWEST, {"principal": principal, "routes": list(routes), "after": after})
    return None if row is None else Done._make(row)


async def save(s: Scope, principal: str, route: str, key: str, request_hash: str, result: str, now: int) -> None:
    """Save the result of a request, in the transaction that did it. Call ``find`` first in the same transaction."""
    await s.later(_DROP, {"principal": principal, "route": route, "key": key})
    await s.later(
        _INSERT,
        {
            "principal_id": principal,
            "route": route,
            "key": key,
            "request_hash": request_hash,
            "result": result,
            "created": now,
        },
    )


async def expire(s: Scope, now: int) -> int:
    """Forget the results older than 24 hours; returns how many."""
    return await s.execute(_EXPIRE, {"oldest": now - KEPT_MS})
