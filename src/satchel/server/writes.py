"""Writes to a project on behalf of a caller, through the one receiver; and the answer they all give."""

from __future__ import annotations

from fastapi import Response

from satchel.auth.policy import Action
from satchel.catalog import idempotency, settings
from satchel.catalog.scope import Scope
from satchel.context.part import rfc3339
from satchel.errors import SyncTooSoon
from satchel.objects.ids import object_id
from satchel.server.access import OnProject
from satchel.server.bodies import answer
from satchel.sync import receive
from satchel.sync.peer import Committed

PUSHES = ("sync", "commit")
"""What the audit and the idempotency rows call pushes."""


def on_behalf(on: OnProject) -> receive.Caller:
    """The caller as the receiver knows it, judged once more inside the transaction."""

    async def guard(s: Scope) -> None:
        await on.stands(s, Action.PROJECT_WRITE)
        await settings.check_storage(s, on.cloud.settings.store)

    who = on.caller.principal
    exchange = on.caller.exchange
    return receive.Caller(who.tenant, who.id, who.name, exchange.id, guard, exchange.address)


async def paced(on: OnProject, key: str | None) -> str | None:
    """The idempotency key that a push goes under, where the tenant's interval lets it go now.

    A push is noted by its key, so where pushes are paced one without a key gets one. One that was done already, and
    is sent again under its key, is answered again at any time. Raises ``SyncTooSoon``.
    """
    cloud, who = on.cloud, on.caller.principal.id
    async with cloud.catalog.read(on.caller.tenant) as s:
        chosen, _ = await settings.get(s)
        interval, now = chosen.sync_interval_seconds, cloud.clock()
        if not interval:
            return key
        routes = [f"{action} {on.row.id}" for action in PUSHES]
        last = await idempotency.newest(s, who, routes, now - interval * 1000)
    if last is not None and last.key != key:
        seconds = max(-(-(last.time + interval * 1000 - now) // 1000), 1)
        raise SyncTooSoon(
            f"this project was pushed less than {interval:,} s ago, the least time between two pushes here",
            hint=f"Try again in {seconds:,} s; an admin of the tenant sets the interval (satchel tenant settings).",
            retry_after=seconds,
        )
    return key or on.caller.exchange.id


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
        "authorKind": result.author_kind,
        "added": result.added,
        "changed": result.changed,
        "deleted": result.deleted,
        "warnings": [near._asdict() for near in result.warnings],
        "damaged": result.damaged,
        "deltas": True,
    }
    headers = {"satchel-version": str(result.version)}
    if data is not None:
        headers["etag"] = f'"{object_id(data)}"'
    return answer(body, 200, headers)
