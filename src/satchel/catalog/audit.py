"""The append-only record of who did what. Rows hold names and ids, never content and never a credential.

Each row has the next number of its tenant, given while no other writer of the tenant is at work: the numbers have no
gap and follow the order of commit, whatever the clocks of nodes say. By them rows are sealed (`audit_seal`), in batches
that chain; ``docs/spec/audit.md`` has the bytes.
"""

from __future__ import annotations

import itertools
from typing import Any, NamedTuple

from sqlalchemy import bindparam, func, insert, select

from satchel.auth.roles import Principal
from satchel.catalog.schema import TENANT, audit, audit_seal, mine
from satchel.catalog.scope import Scope
from satchel.objects.ids import new_id

MAX_TARGET_CHARACTERS = 1_024
"""A longer target is cut."""
DONE = "done"
"""The result of what was done."""
_TIME_BYTES = 6
_written = itertools.count()


class AuditRow(NamedTuple):
    id: str
    time: int
    principal_id: str
    """Empty where nobody was recognised, as after a refused sign-in."""
    principal_name: str
    action: str
    target: str
    result: str
    """``done``, or the code of the refusal; the reason of a denial that looked like absence is kept here alone."""
    request_id: str
    address: str
    """Where the request came from; empty for what did not come over the network."""
    sequence: int
    """From 1, in the order of commit."""


class Wanted(NamedTuple):
    """Which rows are asked for. Times are milliseconds UTC, from ``since`` up to and not including ``until``."""

    action: str = ""
    """Actions that begin so."""
    principal: str = ""
    result: str = ""
    since: int | None = None
    until: int | None = None


class SealRow(NamedTuple):
    """A batch of rows, sealed: those after the seal before, up to ``sequence``."""

    sequence: int
    time: int
    rows: str
    """JSON, a list of id and keyed hash of each row."""
    mac: bytes


ALL = Wanted()
_COLUMNS = [audit.c.audit_id, *(audit.c[name] for name in AuditRow._fields[1:])]
_NEXT = select(func.coalesce(func.max(audit.c.sequence), 0) + 1).where(mine(audit)).scalar_subquery()
_INSERT = insert(audit).values(tenant_id=TENANT, sequence=_NEXT)
_AFTER = (
    select(*_COLUMNS)
    .where(mine(audit), audit.c.sequence > bindparam("after"))
    .order_by(audit.c.sequence)
    .limit(bindparam("limit"))
)
_BETWEEN = (
    select(*_COLUMNS)
    .where(mine(audit), audit.c.sequence > bindparam("after"), audit.c.sequence <= bindparam("until"))
    .order_by(audit.c.sequence)
)
_LAST = select(func.max(audit.c.sequence)).where(mine(audit))
_FIRST = select(func.min(audit.c.sequence)).where(mine(audit))
_SEAL_COLUMNS = [audit_seal.c[name] for name in SealRow._fields]
_LAST_SEAL = select(*_SEAL_COLUMNS).where(mine(audit_seal)).order_by(audit_seal.c.sequence.desc()).limit(1)
_SEALED = select(func.max(audit_seal.c.sequence)).where(mine(audit_seal))
_SEALS = (
    select(*_SEAL_COLUMNS)
    .where(mine(audit_seal), audit_seal.c.sequence > bindparam("after"))
    .order_by(audit_seal.c.sequence)
    .limit(bindparam("limit"))
)
_INSERT_SEAL = insert(audit_seal).values(tenant_id=TENANT)


async def record(
    s: Scope,
    principal: Principal | None,
    action: str,
    target: str,
    result: str,
    request_id: str,
    now: int,
    *,
    address: str = "",
) -> None:
    """Add a row, in the transaction of the deed itself."""
    s.audited.add(s.tenant)
    await s.later(
        _INSERT,
        {
            # The time leads the id, so that ids sort by time; within a millisecond as they were written here.
            "audit_id": _id(now, (next(_written) & 0xFFFF_FFFF).to_bytes(4, "big") + s.random(6)),
            "time": now,
            "principal_id": "" if principal is None else principal.id,
            "principal_name": "" if principal is None else principal.name,
            "action": action,
            "target": target[:MAX_TARGET_CHARACTERS],
            "result": result,
            "request_id": request_id,
            "address": address,
        },
    )


async def list_(s: Scope, before: str | None = None, limit: int = 100, wanted: Wanted = ALL) -> list[AuditRow]:
    """Rows older than the one with the id ``before`` (default: all), newest first."""
    chosen = [mine(audit)]
    given: dict[str, Any] = {"limit": limit}
    if wanted.until is not None:
        bound = _id(wanted.until, bytes(10))
        before = bound if before is None else min(bound, before)
    if before is not None:
        chosen.append(audit.c.audit_id < bindparam("before"))
        given["before"] = before
    if wanted.since is not None:
        chosen.append(audit.c.audit_id >= bindparam("since"))
        given["since"] = _id(wanted.since, bytes(10))
    if wanted.action:
        # A range, never LIKE: see the facts about row-level security in `walls`.
        chosen += [audit.c.action >= bindparam("action"), audit.c.action < bindparam("beyond")]
        given |= {"action": wanted.action, "beyond": wanted.action + "\U0010ffff"}
    for name, value in (("principal_id", wanted.principal), ("result", wanted.result)):
        if value:
            chosen.append(audit.c[name] == bindparam(name))
            given[name] = value
    query = select(*_COLUMNS).where(*chosen).order_by(audit.c.audit_id.desc()).limit(bindparam("limit"))
    return [AuditRow._make(row) for row in await s.rows(query, given)]


async def after(s: Scope, sequence: int, limit: int) -> list[AuditRow]:
    """The rows that come next after the one of that number, in their order."""
    return [AuditRow._make(row) for row in await s.rows(_AFTER, {"after": sequence, "limit": limit})]


async def between(s: Scope, after: int, until: int) -> list[AuditRow]:
    """The rows after the one of that number, up to and with that of ``until``, in their order."""
    return [AuditRow._make(row) for row in await s.rows(_BETWEEN, {"after": after, "until": until})]


async def numbered(s: Scope) -> tuple[int, int]:
    """The lowest and the highest number of a row; (1, 0) where there is none."""
    first, last = await s.row(_FIRST), await s.row(_LAST)
    return (1, 0) if first is None or last is None or last[0] is None else (first[0], last[0])


async def unsealed(s: Scope) -> tuple[int, int]:
    """The number of the last sealed row and of the last row; both 0 where there are none."""
    sealed, last = await s.row(_SEALED), await s.row(_LAST)
    return 0 if sealed is None else sealed[0] or 0, 0 if last is None else last[0] or 0


async def last_seal(s: Scope) -> SealRow | None:
    """The newest seal."""
    row = await s.row(_LAST_SEAL)
    return None if row is None else SealRow._make(row)


async def seals(s: Scope, after: int, limit: int) -> list[SealRow]:
    """The seals that come next after the one of that number, in their order."""
    return [SealRow._make(row) for row in await s.rows(_SEALS, {"after": after, "limit": limit})]


async def add_seal(s: Scope, seal: SealRow) -> None:
    """Add a seal, while no other writer of the tenant is at work."""
    await s.later(_INSERT_SEAL, seal._asdict())


def _id(time: int, rest: bytes) -> str:
    return new_id("aud", time.to_bytes(_TIME_BYTES, "big") + rest)
