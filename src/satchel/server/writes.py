"""Writes to a project on behalf of a caller, through the one receiver; and the answer they all give."""

from __future__ import annotations

from fastapi import Response

from satchel.auth.policy import Action
from satchel.catalog.scope import Scope
from satchel.objects.ids import object_id
from satchel.server.access import OnProject
from satchel.server.bodies import answer, rfc3339
from satchel.sync import receive
from satchel.sync.peer import Committed


def on_behalf(on: OnProject) -> receive.Caller:
    """The caller as the receiver knows it, judged once more inside the transaction."""

    async def guard(s: Scope) -> None:
        await on.stands(s, Action.PROJECT_WRITE)

    who = on.caller.principal
    return receive.Caller(who.tenant, who.id, who.name, on.caller.exchange.id, guard)


async def write(
    on: OnProject,
    path: str,
    data: bytes | None,
    mode: str | None,
    precondition: str,
    key: str | None,
    *,
    asked: bytes | None = None,
) -> Committed:
    """One artifact as one commit; see ``Receiver.write``."""
    return await on.cloud.receiver.write(on_behalf(on), on.row.id, path, data, mode, precondition, key, asked=asked)


def committed(result: Committed, data: bytes | None = None) -> Response:
    """The answer to a write; ``data`` is the content now under its path, where it was one."""
    body = {
        "lineage": result.lineage,
        "version": result.version,
        "digest": result.digest,
        "time": rfc3339(result.time_ms),
        "author": result.author,
        "added": result.added,
        "changed": result.changed,
        "deleted": result.deleted,
    }
    headers = {"satchel-version": str(result.version)}
    if data is not None:
        headers["etag"] = f'"{object_id(data)}"'
    return answer(body, 200, headers)
