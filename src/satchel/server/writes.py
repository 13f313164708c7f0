"""Writes to a project on behalf of a caller, through the one receiver; and the answer they all give."""

from __future__ import annotations

import asyncio
from collections.abc import Collection
from functools import partial

from fastapi import Response

from satchel.auth.policy import Action
from satchel.catalog import idempotency, settings
from satchel.catalog.scope import Scope
from satchel.context.part import rfc3339
from satchel.errors import Damaged, NotFound, SecretRefused, SyncTooSoon, Unavailable
from satchel.objects.ids import object_id
from satchel.server.access import OnProject
from satchel.server.bodies import answer
from satchel.sync import receive
from satchel.sync.peer import Committed
from satchel.sync.secrets import Finding, find_secrets, new_secrets

AT_ONCE_BYTES = 32 * 1024
"""Looked through in a millisecond, for which other requests may wait."""
PUSHES = ("sync", "commit")
"""What the audit and the idempotency rows call pushes."""


def on_behalf(on: OnProject) -> receive.Caller:
    """The caller as the receiver knows it, judged once more inside the transaction."""

    async def guard(s: Scope) -> None:
        await on.stands(s, Action.PROJECT_WRITE)
        await settings.check_storage(s, on.cloud.settings.store)

    who = on.caller.principal
    exchange = on.caller.exchange
    person = on.caller.checked.person
    return receive.Caller(
        who.tenant, who.id, who.name, exchange.id, guard, exchange.address, person=person, weigh=exchange.weigh
    )


async def paced(on: OnProject, key: str | None) -> str | None:
    """The idempotency key that a push goes under, where the tenant's interval lets it go now.

    A push is noted by its key, so where pushes are paced one without a key gets one. One that was done already, and
    is sent again under its key, is answered again at any time. Raises ``SyncTooSoon``.
    """
    cloud, who = on.cloud, on.caller.principal.id
    assert on.settings is not None, "who pushes is a writer of content"
    interval, now = on.settings.sync_interval_seconds, cloud.clock()
    if not interval:
        return key
    async with cloud.catalog.read(on.caller.tenant) as s:
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
    allowed: Collection[str] = (),
) -> Committed:
    """One artifact as one commit; see ``Receiver.write``.

    Raises ``SecretRefused`` for what looks like a credential, unless the path is among those ``allowed``, which the
    audit then names. A sync is looked at where it begins, on the client's side.
    """
    caller = on_behalf(on)
    if data is not None and (found := await _secrets(on, path, data)):
        if path not in allowed:
            first, rows = found[0], [finding._asdict() for finding in found]
            what = f"{path}:{first.line} looks like a credential ({first.kind})"
            raise SecretRefused(what, path=path, findings=rows)
        caller = caller._replace(secrets_allowed=(path,))
    return await on.cloud.receiver.write(caller, on.row.id, path, data, mode, precondition, key, asked=asked)


async def _secrets(on: OnProject, path: str, data: bytes) -> list[Finding]:
    """What looks like a credential in ``data`` and does not stand at ``path`` already."""
    look = partial(find_secrets, data)
    if not (look() if len(data) <= AT_ONCE_BYTES else await asyncio.to_thread(look)):
        return []
    try:
        before = (await on.cloud.readers.content(on.caller.tenant, on.row, path)).data
    except (Damaged, NotFound, Unavailable):
        before = b""
    return await asyncio.to_thread(new_secrets, data, before)


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
