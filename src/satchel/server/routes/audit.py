"""Who did what in the tenant: read by its admins, page by page or all of it as a stream."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator
from datetime import datetime
from typing import Annotated

import msgspec
from fastapi import APIRouter, Query, Response
from fastapi.responses import StreamingResponse

from satchel.auth.policy import Action
from satchel.catalog import audit
from satchel.catalog.audit import AuditRow, SealRow, Wanted
from satchel.context.part import rfc3339
from satchel.errors import InvalidInput
from satchel.server.access import Caller, TenantAdmin
from satchel.server.bodies import answer
from satchel.server.export import audit_shown
from satchel.server.openapi import operation
from satchel.server.routes.projects import Cursor, PageLimit
from satchel.server.schemas import AuditPage

router = APIRouter(tags=["tenant"])
NDJSON = "application/x-ndjson"
PAGE = 1_000
_REFUSED = ("auth.insufficient_scope",)
Time = Annotated[str | None, Query(max_length=40, description="A time such as 2027-01-31T12:00:00Z.")]


@router.get("/tenant/audit", **operation("Who did what, newest first", answer=AuditPage, errors=_REFUSED))
async def audit_log(
    caller: TenantAdmin,
    cursor: Cursor = None,
    limit: PageLimit = 100,
    action: Annotated[str, Query(max_length=200, description="Actions that begin so, such as `key.`.")] = "",
    principal: Annotated[str, Query(max_length=200, description="What this member or key did, by id.")] = "",
    result: Annotated[str, Query(max_length=200, description="`done`, or the code of a refusal.")] = "",
    since: Time = None,
    until: Time = None,
) -> Response:
    """From `since` on, and before `until`. A filter that fits few rows reads all between the two."""
    wanted = Wanted(action, principal, result, _time("since", since), _time("until", until))
    async with caller.cloud.catalog.read(caller.tenant) as s:
        rows = await audit.list_(s, cursor, limit + 1, wanted)
    return answer(
        {
            "items": [audit_shown(row) for row in rows[:limit]],
            "next": rows[limit - 1].id if len(rows) > limit else None,
        }
    )


@router.get(
    "/tenant/audit/export",
    **operation("The audit as it was sealed, oldest first", sends=NDJSON, errors=_REFUSED),
)
async def audit_export(
    caller: TenantAdmin,
    after: Annotated[int, Query(ge=0, le=2**53 - 1, description="Only rows after the one of this `sequence`.")] = 0,
) -> Response:
    """A line for each row, and after the last row that a seal covers one with `seal`.

    The last line has `end`, with the number of rows and the SHA-256 of all bytes before it: a stream without it is not
    whole. To follow the audit, ask again with `after` as `end` gives it in `last`.
    """
    async with caller.cloud.catalog.write(caller.tenant) as s:
        await caller.stands(s, Action.TENANT_ADMIN)
        await caller.record(s, "audit.export", f"after {after}", caller.cloud.clock())
        _, last = await audit.numbered(s)
    return StreamingResponse(_stream(caller, after, last), media_type=NDJSON)


async def _stream(caller: Caller, after: int, last: int) -> AsyncIterator[bytes]:
    """What is raised on the way, as by a right that was taken back, leaves it without its end."""
    hashed, number, count = hashlib.sha256(), after, 0
    while number < last:
        async with caller.cloud.catalog.read(caller.tenant) as s:
            await caller.stands(s, Action.TENANT_ADMIN)
            rows = [row for row in await audit.after(s, number, PAGE) if row.sequence <= last]
            seals = await audit.seals(s, number, PAGE) if rows else []
        if not rows:
            break
        page = b"".join(_lines(rows, seals))
        hashed.update(page)
        yield page
        number, count = rows[-1].sequence, count + len(rows)
    yield _line({"end": {"rows": count, "last": number, "sha256": hashed.hexdigest()}})


def _lines(rows: list[AuditRow], seals: list[SealRow]) -> list[bytes]:
    """Rows in their order, each seal behind the last row it covers."""
    ends = {seal.sequence: seal for seal in seals}
    lines = []
    for row in rows:
        lines.append(_line(audit_shown(row)))
        seal = ends.get(row.sequence)
        if seal is not None:
            told = {"sequence": seal.sequence, "time": rfc3339(seal.time), "mac": seal.mac.hex()}
            lines.append(_line({"seal": told}))
    return lines


def _line(value: object) -> bytes:
    return msgspec.json.encode(value) + b"\n"


def _time(name: str, text: str | None) -> int | None:
    """Milliseconds UTC. Raises ``InvalidInput``."""
    if text is None:
        return None
    try:
        moment = datetime.fromisoformat(text)
        if moment.tzinfo is None:
            raise ValueError
        return max(0, int(moment.timestamp() * 1000))
    except (ValueError, OverflowError) as error:
        raise InvalidInput(f"{name}: not a time with its zone, such as 2027-01-31T12:00:00Z") from error
