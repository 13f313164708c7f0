"""How long a tenant keeps the versions of its projects, and the floor of each: the oldest version that can be read.

The floor only rises. The rows of versions below it stay, so that history is listed whole; their entries are dropped
after the floor has risen, in as many transactions as that takes.
"""

from __future__ import annotations

from typing import NamedTuple

from sqlalchemy import bindparam, delete, func, select, update

from satchel.catalog.schema import entry, mine, project, tenant, version
from satchel.catalog.scope import Scope
from satchel.errors import InvalidInput, NoSuchThing

DAY_MS = 24 * 60 * 60 * 1000
MAX_VERSIONS = 1_000_000
MAX_DAYS = 36_500


class Retention(NamedTuple):
    """At most one is set: the newest ``versions`` of each project are kept, or its states of the last ``days``.

    Neither set keeps everything.
    """

    versions: int | None = None
    days: int | None = None


class Expiry(NamedTuple):
    """What retention makes of a project: its floor now, the one it is to have, and the head."""

    floor: int
    wanted: int
    head: int

    @property
    def expires(self) -> int:
        """How many readable versions are below the wanted floor."""
        return max(self.wanted - max(self.floor, 1), 0)


KEEP_ALL = Retention()

_OWN = select(tenant.c.keep_versions, tenant.c.keep_days).where(mine(tenant))
_SET = update(tenant).where(mine(tenant)).values(keep_versions=bindparam("to_versions"), keep_days=bindparam("to_days"))
_LINE = select(project.c.version, project.c.floor).where(mine(project), project.c.project_id == bindparam("project"))
_FIRST_YOUNGER = select(func.min(version.c.version)).where(
    mine(version),
    version.c.project_id == bindparam("project"),
    version.c.version > bindparam("floor"),
    version.c.time > bindparam("cutoff"),
)
_RAISE = (
    update(project)
    .where(mine(project), project.c.project_id == bindparam("of_project"))
    .where(project.c.floor < bindparam("to_floor"), project.c.version >= bindparam("to_floor"))
    .values(floor=bindparam("to_floor"))
)
_ENDED = (mine(entry), entry.c.project_id == bindparam("project"), entry.c.until <= bindparam("floor"))
_ENDINGS = (
    select(entry.c.until, func.count(entry.c.path).label("entries"))
    .where(*_ENDED)
    .group_by(entry.c.until)
    .order_by(entry.c.until)
)
_DROP_ENDED = delete(entry).where(*_ENDED)


async def get(s: Scope) -> Retention:
    """The tenant's rule; raises ``NoSuchThing`` for a tenant that does not exist."""
    row = await s.row(_OWN)
    if row is None:
        raise NoSuchThing("there is no such tenant")
    return Retention(row.keep_versions, row.keep_days)


def check(rule: Retention) -> None:
    """Raise ``InvalidInput`` for a rule that cannot be."""
    if rule.versions is not None and rule.days is not None:
        raise InvalidInput("versions are kept by number or by days, not both")
    for value, most, what in ((rule.versions, MAX_VERSIONS, "versions"), (rule.days, MAX_DAYS, "days")):
        if value is not None and not 1 <= value <= most:
            raise InvalidInput(f"{what} to keep may be from 1 to {most:,}")


async def set_(s: Scope, rule: Retention) -> None:
    """Give the tenant another rule; it takes effect with the next collect. Raises ``InvalidInput``.

    For ``settings.change``, which also numbers the change and keeps what was before.
    """
    check(rule)
    s.announce()
    await s.execute(_SET, {"to_versions": rule.versions, "to_days": rule.days})


async def expiry(s: Scope, project_id: str, rule: Retention, now: int) -> Expiry:
    """What the rule makes of a project at ``now``.

    By days, the floor is the last version before the first one that is younger: the state as it was that many days
    ago. Versions that a wrong clock dated long ago thus expire no earlier than those around them.
    """
    row = await s.row(_LINE, {"project": project_id})
    if row is None:
        return Expiry(0, 0, 0)
    head, floor = row.version, row.floor
    wanted = floor
    if rule.versions is not None:
        wanted = head - rule.versions + 1
    elif rule.days is not None:
        params = {"project": project_id, "floor": floor, "cutoff": now - rule.days * DAY_MS}
        younger = await s.row(_FIRST_YOUNGER, params)
        first = None if younger is None else younger[0]
        wanted = head if first is None else first - 1
    return Expiry(floor, max(floor, wanted), head)


async def raise_floor(s: Scope, project_id: str, floor: int) -> bool:
    """Let versions below ``floor`` be read no more; False if they already cannot, or the head is below it."""
    return await s.execute(_RAISE, {"of_project": project_id, "to_floor": floor}) == 1


async def endings(s: Scope, project_id: str, floor: int) -> list[tuple[int, int]]:
    """The versions up to ``floor`` at which entries ended, oldest first, each with how many did."""
    rows = await s.rows(_ENDINGS, {"project": project_id, "floor": floor})
    return [(row.until, row.entries) for row in rows]


async def drop_ended(s: Scope, project_id: str, until: int) -> int:
    """Drop the entries that ended at or below ``until``, which may not be above the floor; returns how many."""
    return await s.execute(_DROP_ENDED, {"project": project_id, "floor": until})
