"""New versions of a project as they come."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query, Request, Response
from fastapi.responses import StreamingResponse

from satchel.server.access import Reader
from satchel.server.credentials import Checked
from satchel.server.openapi import operation
from satchel.server.routes.projects import ABSENT
from satchel.sync.peer import Head

router = APIRouter(tags=["sync"])
EVENTS_TYPE = "text/event-stream"


@router.get(
    "/projects/{p}/events",
    **operation("New versions as they come, as server-sent events", sends=EVENTS_TYPE, errors=ABSENT),
)
async def events(
    request: Request,
    on: Reader,
    seconds: Annotated[
        int | None, Query(ge=0, le=86_400, description="How long to listen at most; 0 tells the head alone.")
    ] = None,
) -> Response:
    """`head` (`lineage`, `version`, `digest`) tells the newest version, at once and whenever it is another.

    `end` (`reason`) is the last: `over`, `stopping` (the server restarts), `unavailable`, or the code of the error that
    a request would now be answered with, such as `auth.expired`. A comment comes every 15 seconds.
    """
    cloud, caller = on.cloud, on.caller
    authorization = request.headers.get("authorization")

    async def judge() -> Checked:
        return await cloud.authenticator.check(authorization)

    head = Head(on.row.lineage, on.row.version, on.row.digest)
    listener = cloud.listeners.join(caller.tenant, caller.principal.id, on.row.id, head, judge)
    # It waits, and is no request being served any more: its place goes to others, and it is counted by itself.
    caller.exchange.release()
    caller.exchange.at_end.append(lambda: cloud.listeners.leave(caller.tenant, listener))
    headers = {"content-type": EVENTS_TYPE, "x-accel-buffering": "no"}  # a proxy that gathers lines would keep them
    return StreamingResponse(listener.events(seconds), headers=headers)
