"""Room that is held for content on its way, so that uploads side by side never pass a limit together.

Whoever brings content says the most it will be, and that much is reserved before any of it is taken. Writers of a
tenant queue, so that what is stored and what is reserved together stay within the limit at every moment. ``settle``,
in the transaction that counts the content, gives the reservation back; what fails or is broken off releases it. A
reservation that nobody gave back, since its server ended, counts until its lease is over, and no longer.
"""

from __future__ import annotations

from typing import NamedTuple

from sqlalchemy import bindparam, case, delete, func, insert, select, update

from satchel.catalog import quotas
from satchel.catalog.quotas import Limits, Use, reached
from satchel.catalog.schema import TENANT, mine, reservation, tenant
from satchel.catalog.schema import usage as usage_table
from satchel.catalog.scope import Scope
from satchel.errors import NoSuchThing, QuotaReached, TooManyRequests
from satchel.objects.ids import PrincipalId, ProjectId, new_id

LEASE_MS = 5 * 60 * 1000
"""How long a reservation holds without being renewed: longer than putting what has come takes, and so the longest
that room is missing after a server ended."""
RENEW_MS = 60 * 1000
"""How often an upload under way renews it."""
MOST_OF_ONE = 64
"""Most reservations of one principal: as many requests as a server answers one tenant at once, unless told otherwise.
``MOST`` is for a tenant: one client cannot take all places."""
MOST = 256
DAY_MS = 24 * 60 * 60 * 1000


class Asked(NamedTuple):
    """What a write asks for."""

    stored: int = 0
    """Bytes at rest."""
    came: int = 0
    """Bytes of the request, for the quota of the day."""
    files: int = 0
    """How many files there will be more in the head; negative where there will be fewer."""
    largest: int = 0
    """Bytes of the largest file, and its ``path``."""
    path: str = ""


class _Room(NamedTuple):
    """What is used and held by others, at one moment."""

    limits: Limits
    stored: int
    synced: int
    """Today."""
    reserved: int
    """By other requests."""
    held: list[str]
    """By whom: a principal for each of those."""
    expired: bool
    """Whether there are some whose lease is over."""


_NOW = bindparam("now", type_=reservation.c.lease_until.type)
_OF = (
    select(*(tenant.c[f"{name}_limit"] for name in Limits._fields))
    .add_columns(usage_table.c.stored_bytes, usage_table.c.sync_day, usage_table.c.sync_bytes)
    .add_columns(
        reservation.c.reservation_id, reservation.c.principal_id, reservation.c.bytes, reservation.c.lease_until
    )
    .select_from(tenant.join(usage_table, mine(usage_table)).outerjoin(reservation, mine(reservation)))
    .where(mine(tenant))
)
"""The tenant with each of its reservations, and once with none where there are none."""
_RESERVED = select(func.coalesce(func.sum(reservation.c.bytes), 0)).where(
    mine(reservation), reservation.c.lease_until > _NOW
)
_INSERT = insert(reservation).values(tenant_id=TENANT)
_ONE = (mine(reservation), reservation.c.reservation_id == bindparam("own"))
_RENEW = update(reservation).where(*_ONE, reservation.c.lease_until > _NOW).values(lease_until=bindparam("until"))
_DROP = delete(reservation).where(*_ONE)
_DROP_EXPIRED = delete(reservation).where(mine(reservation), reservation.c.lease_until <= _NOW)
_TODAY = bindparam("today", type_=usage_table.c.sync_day.type)
_ADD_CAME = (
    update(usage_table)
    .where(mine(usage_table))
    .values(
        sync_bytes=case((usage_table.c.sync_day == _TODAY, usage_table.c.sync_bytes), else_=0) + bindparam("came"),
        sync_day=_TODAY,
    )
)


async def reserve(s: Scope, project: ProjectId, principal: PrincipalId, asked: Asked, now: int) -> str:
    """Hold room for content to come, for ``LEASE_MS``; the reservation's id.

    Raises ``QuotaReached``, and ``TooManyRequests`` where the principal or the tenant holds as many as may be.
    """
    room = await _room(s, "", now)
    if room.expired:
        await drop_expired(s, now)
    for held, most, whose in (
        (room.held.count(principal), MOST_OF_ONE, "this credential"),
        (len(room.held), MOST, "this tenant"),
    ):
        if held >= most:
            raise TooManyRequests(f"{held} uploads of {whose} are under way; at most {most} can be", retry_after=5)
    _check(room, asked)
    await _check_files(s, room.limits, asked)
    id_ = new_id("rsv", s.random(16))
    await _insert(s, id_, project, principal, asked, now)
    return id_


async def renew(s: Scope, own: str, project: ProjectId, principal: PrincipalId, asked: Asked, now: int) -> None:
    """Hold it for ``LEASE_MS`` from now; one whose lease had ended is judged anew. Raises ``QuotaReached``."""
    if await s.execute(_RENEW, {"own": own, "now": now, "until": now + LEASE_MS}):
        return
    await drop_expired(s, now)
    _check(await _room(s, own, now), asked)
    await _insert(s, own, project, principal, asked, now)


async def judge(s: Scope, asked: Asked, now: int) -> None:
    """Raise ``QuotaReached`` if this would not fit now; nothing is held."""
    room = await _room(s, "", now)
    _check(room, asked)
    await _check_files(s, room.limits, asked)


async def settle(s: Scope, own: str | None, asked: Asked, now: int) -> list[Use]:
    """Give a reservation back in the transaction that counts the content, which is ``asked`` in the end.

    Returns what becomes of the quotas; what is stored is counted by ``add_pack``. Raises ``QuotaReached``.
    """
    room = await _room(s, own or "", now)
    _check(room, asked)
    uses = await _check_files(s, room.limits, asked)
    if own is not None:
        await s.later(_DROP, {"own": own})
    if asked.came:
        await _count_came(s, asked.came, now)
        uses.append(Use("sync_bytes", room.synced, room.synced + asked.came, room.limits.sync_bytes))
    if asked.stored:
        uses.append(Use("storage_bytes", room.stored, room.stored + asked.stored, room.limits.storage_bytes))
    return uses


async def release(s: Scope, own: str, came: int, now: int) -> None:
    """Give a reservation back whose content counts for nothing; what ``came`` of it counts for the day all the same.

    One that was given back before, or whose lease ended long ago, is left as it is.
    """
    if await s.execute(_DROP, {"own": own}) and came:
        await _count_came(s, came, now)


async def drop_expired(s: Scope, now: int) -> None:
    """Forget reservations whose lease is over: they count no more anyway."""
    await s.execute(_DROP_EXPIRED, {"now": now})


async def reserved(s: Scope, now: int) -> int:
    """Bytes held for content on its way."""
    row = await s.row(_RESERVED, {"now": now})
    assert row is not None  # an aggregate without groups always has one row
    return int(row[0])


async def synced_today(s: Scope, now: int) -> int:
    """Bytes that came with content since midnight UTC."""
    return (await _room(s, "", now)).synced


async def _room(s: Scope, own: str, now: int) -> _Room:
    rows = await s.rows(_OF)
    if not rows:
        raise NoSuchThing("there is no such tenant")
    *limits, stored, day, synced, _, _, _, _ = rows[0]
    rows = [row for row in rows if row.reservation_id is not None]
    others = [row for row in rows if row.lease_until > now and row.reservation_id != own]
    return _Room(
        limits=Limits._make(limits),
        stored=stored,
        synced=synced if day == now // DAY_MS else 0,
        reserved=sum(other.bytes for other in others),
        held=[other.principal_id for other in others],
        expired=any(row.lease_until <= now for row in rows),
    )


def _check(room: _Room, asked: Asked) -> None:
    limits = room.limits
    if 0 <= limits.file_bytes < asked.largest:
        raise QuotaReached(
            f"{asked.path} has {asked.largest:,} bytes; a file of this tenant has at most {limits.file_bytes:,}",
            hint="Make the file smaller, or leave it out with .satchelignore.",
            quota={"name": quotas.QUOTA_NAMES["file_bytes"], "used": asked.largest, "limit": limits.file_bytes},
            path=asked.path,
        )
    for name, used, wanted in (
        ("storage_bytes", room.stored, asked.stored),
        ("sync_bytes", room.synced, asked.came),
    ):
        limit = getattr(limits, name)
        if wanted and 0 <= limit < used + room.reserved + wanted:
            # What others hold is told only where it makes the difference.
            held = room.reserved if used + wanted <= limit else 0
            raise reached(name, used, limit, f"{wanted:,} more", reserved=held)


async def _check_files(s: Scope, limits: Limits, asked: Asked) -> list[Use]:
    if limits.artifacts < 0 or asked.files <= 0:
        return []
    used = await quotas.count_files(s)
    if used + asked.files > limits.artifacts:
        raise reached("artifacts", used, limits.artifacts, f"{asked.files:,} more")
    return [Use("artifacts", used, used + asked.files, limits.artifacts)]


async def _insert(s: Scope, own: str, project: ProjectId, principal: PrincipalId, asked: Asked, now: int) -> None:
    await s.later(
        _INSERT,
        {
            "reservation_id": own,
            "project_id": project,
            "principal_id": principal,
            "bytes": max(asked.stored, asked.came),
            "lease_until": now + LEASE_MS,
        },
    )


async def _count_came(s: Scope, came: int, now: int) -> None:
    await s.later(_ADD_CAME, {"came": came, "today": now // DAY_MS})
