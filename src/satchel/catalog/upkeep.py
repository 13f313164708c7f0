"""Who is doing upkeep on a tenant: one at a time, under a lease that ends by itself if its holder is killed.

The row stays when the lease is given back or runs out, and with it ``state``: whatever a work noted so that its next
run goes on where this one stopped.
"""

from __future__ import annotations

from typing import NamedTuple

from sqlalchemy import bindparam, delete, insert, or_, select, update

from satchel.catalog.schema import TENANT, mine, upkeep
from satchel.catalog.scope import Scope

MAX_STATE_CHARACTERS = 64 * 1024


class UpkeepRow(NamedTuple):
    """The last work on a tenant; it is under way while ``lease_until`` (milliseconds) is to come."""

    work: str
    holder: str
    lease_until: int
    state: str


_FIND = select(upkeep.c.work, upkeep.c.holder, upkeep.c.lease_until, upkeep.c.state).where(mine(upkeep))
_TAKE = (
    update(upkeep)
    .where(mine(upkeep))
    .where(
        or_(
            upkeep.c.lease_until <= bindparam("now"),
            upkeep.c.lease_until > bindparam("never"),  # given by a clock that ran far ahead, and was put right
            upkeep.c.holder == bindparam("by"),
        )
    )
    .values(work=bindparam("to_work"), holder=bindparam("by"), lease_until=bindparam("end"), state=bindparam("note"))
)
_HOLD = (
    update(upkeep)
    .where(mine(upkeep), upkeep.c.holder == bindparam("by"), upkeep.c.lease_until > bindparam("now"))
    .values(lease_until=bindparam("end"))
)
_NOTE = update(upkeep).where(mine(upkeep), upkeep.c.holder == bindparam("by")).values(state=bindparam("note"))
_INSERT = insert(upkeep).values(tenant_id=TENANT)
_DROP = delete(upkeep).where(mine(upkeep))


async def find(s: Scope) -> UpkeepRow | None:
    """The last work on this tenant, under way or not; ``None`` if there was none."""
    row = await s.row(_FIND)
    return None if row is None else UpkeepRow._make(row)


async def take(s: Scope, work: str, holder: str, now: int, lease_until: int) -> UpkeepRow | None:
    """Begin ``work``; ``None`` on success, else the row of whoever holds the lease.

    The state noted by an earlier run of the same work is kept, that of another work is forgotten.
    """
    row = await find(s)
    if row is None:
        await s.execute(_INSERT, {"work": work, "holder": holder, "lease_until": lease_until, "state": ""})
        return None
    note = row.state if row.work == work else ""
    never = 2 * lease_until - now  # twice as long as any lease is
    given = {"to_work": work, "by": holder, "now": now, "never": never, "end": lease_until, "note": note}
    taken = await s.execute(_TAKE, given)
    return None if taken else row


async def hold(s: Scope, holder: str, now: int, lease_until: int) -> bool:
    """Prolong the lease; False if it was lost. In the transaction of a change it also keeps others from taking it."""
    return await s.execute(_HOLD, {"by": holder, "now": now, "end": lease_until}) == 1


async def note(s: Scope, holder: str, state: str) -> None:
    """Note how far the work came, at most ``MAX_STATE_CHARACTERS``."""
    if len(state) > MAX_STATE_CHARACTERS:
        raise ValueError("the state of a work is a short text")
    await s.execute(_NOTE, {"by": holder, "note": state})


async def forget(s: Scope) -> None:
    """Drop the row: the work is done and has nothing to go on from."""
    await s.execute(_DROP)
