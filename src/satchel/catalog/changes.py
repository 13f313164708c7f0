"""The channel by which every node hears that a tenant changed: one number that only grows, and a row for each change.

A writing scope that says ``announce`` takes the next number in its own transaction, last of all (`scope`), so that
numbers become visible in their order and without a gap. A node asks what came after the number it knows. A number
without a row (``everybody``) concerns all tenants. A node that was away for so long that rows were pruned meanwhile, or
whose catalog was put back to an older one, is told so, and has to forget everything.
"""

from __future__ import annotations

from typing import NamedTuple

from sqlalchemy import bindparam, delete, select, update

from satchel.catalog.schema import change, channel
from satchel.catalog.scope import Directory
from satchel.objects.ids import TenantId

MAX_TOLD = 1_000
"""Most changes told at once; more than this many behind, a node forgets everything instead."""
KEPT_MS = 60 * 60 * 1000
"""How long a change is kept: a node that was silent for longer forgets everything."""

# One statement, so that the number and the rows are of one moment. Without a row after it, the number comes alone.
_AFTER = (
    select(channel.c.epoch, change.c.epoch.label("of"), change.c.tenant_id)
    .select_from(channel.outerjoin(change, change.c.epoch > bindparam("after")))
    .order_by(change.c.epoch)
    .limit(MAX_TOLD)
)
_NEXT = update(channel).values(epoch=channel.c.epoch + 1)
_PRUNE = delete(change).where(change.c.time <= bindparam("until"))


class Heard(NamedTuple):
    """What came after a number."""

    epoch: int
    """The number to ask after the next time."""
    tenants: frozenset[TenantId] | None
    """Who changed; ``None`` when that cannot be told: everybody may have."""


async def after(d: Directory, epoch: int) -> Heard:
    """The tenants that changed after ``epoch``; -1 for a node that knows none yet."""
    rows = await d.rows(_AFTER, {"after": epoch})
    newest = int(rows[0].epoch)
    told = [row for row in rows if row.of is not None]
    if len(told) == newest - epoch:  # each number once, so nothing is missing in between
        return Heard(newest, frozenset(TenantId(row.tenant_id) for row in told))
    return Heard(newest, None)


async def everybody(d: Directory) -> None:
    """Let every node forget everything, once the transaction has been committed: a number without a row says so.

    For changes that are no tenant's, such as of the keys that sign. The last statement of its transaction.
    """
    await d.execute(_NEXT)


async def prune(d: Directory, now: int) -> int:
    """Drop the changes older than ``KEPT_MS`` at ``now`` (milliseconds); returns how many. The number stays."""
    return await d.execute(_PRUNE, {"until": now - KEPT_MS})
