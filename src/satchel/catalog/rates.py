"""How many requests each node has admitted lately, for the other nodes to count with: rows that live two minutes.

A node keeps one row for each bucket (the tenant as a whole, or one of its principals) and each of the last two windows.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from sqlalchemy import and_, bindparam, delete, func, insert, or_, select

from satchel.catalog.schema import TENANT, mine, rate_use
from satchel.catalog.scope import Scope


class Used(NamedTuple):
    """Requests admitted in one window."""

    bucket: str
    """A principal's id; empty for the tenant as a whole."""
    window: int
    """The number of the window since 1970."""
    used: int


_FORGET = delete(rate_use).where(
    mine(rate_use),
    or_(rate_use.c.node == bindparam("of_node"), rate_use.c.window < bindparam("oldest")),
)
_INSERT = insert(rate_use).values(tenant_id=TENANT)
_OTHERS = (
    select(rate_use.c.bucket, rate_use.c.window, func.sum(rate_use.c.used))
    .where(and_(mine(rate_use), rate_use.c.node != bindparam("of_node"), rate_use.c.window >= bindparam("oldest")))
    .group_by(rate_use.c.bucket, rate_use.c.window)
)


async def exchange(s: Scope, node: str, window: int, own: Iterable[Used]) -> list[Used]:
    """Replace what ``node`` said before by ``own``, and return what the other nodes said of this window and the last.

    Rows older than that are deleted, whichever node's they are.
    """
    params = {"of_node": node, "oldest": window - 1}
    await s.execute(_FORGET, params)
    # The parity of the window is part of the name, so that a window does not write over the one before it.
    rows = [(f"{used.window & 1}:{used.bucket}", node, used.window, used.used) for used in own]
    await s.execute_many(_INSERT, ("bucket", "node", "window", "used"), rows)
    said = await s.rows(_OTHERS, params)
    return [Used(bucket.partition(":")[2], number, int(used)) for bucket, number, used in said]
