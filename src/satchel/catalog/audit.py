"""The append-only record of who did what. Rows hold names and ids, never content and never a credential."""

from __future__ import annotations

from typing import NamedTuple

from sqlalchemy import bindparam, insert, select

from satchel.auth.roles import Principal
from satchel.catalog.schema import TENANT, audit, mine
from satchel.catalog.scope import Scope
from satchel.objects.ids import new_id

MAX_TARGET_CHARACTERS = 1_024
"""A longer target is cut."""


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


_COLUMNS = [audit.c.audit_id, *(audit.c[name] for name in AuditRow._fields[1:])]
_INSERT = insert(audit).values(tenant_id=TENANT)
_LIST = (
    select(*_COLUMNS)
    .where(mine(audit), audit.c.audit_id < bindparam("before"))
    .order_by(audit.c.audit_id.desc())
    .limit(bindparam("limit"))
)


async def record(
    s: Scope, principal: Principal | None, action: str, target: str, result: str, request_id: str, now: int
) -> None:
    """Add a row, in the transaction of the deed itself."""
    await s.execute(
        _INSERT,
        {
            # The time leads the id, so that ids sort by time.
            "audit_id": new_id("aud", now.to_bytes(6, "big") + s.random(10)),
            "time": now,
            "principal_id": "" if principal is None else principal.id,
            "principal_name": "" if principal is None else principal.name,
            "action": action,
            "target": target[:MAX_TARGET_CHARACTERS],
            "result": result,
            "request_id": request_id,
        },
    )


async def list_(s: Scope, before: str | None = None, limit: int = 100) -> list[AuditRow]:
    """Rows older than the one with the id ``before`` (default: all), newest first."""
    rows = await s.rows(_LIST, {"before": "aud_~" if before is None else before, "limit": limit})
    return [AuditRow._make(row) for row in rows]
