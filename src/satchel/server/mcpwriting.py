"""What an agent writes at /mcp: judged, attributed and committed exactly as a PUT of the same artifact over REST."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from functools import partial

from satchel.auth.policy import Action, decide, role_on, writes_somewhere
from satchel.auth.roles import Principal
from satchel.catalog import projects, settings
from satchel.context.part import rfc3339
from satchel.context.writing import Change, Content, Note, Written, content_of, overtaken, path_of
from satchel.errors import InsufficientScope, NoSuchArtifact, PreconditionFailed, SatchelError
from satchel.objects.ids import object_id
from satchel.server.access import Caller, OnProject, absent_project, require
from satchel.server.writes import AT_ONCE_BYTES, write

TRIES = 20
"""How often a note is written anew because others wrote into the same file meanwhile."""


def offers_writing(caller: Caller) -> bool:
    """Whether tools that write are worth showing: the caller may write somewhere, or could by asking for more."""
    return writes_somewhere(_could_be(caller))


async def carry_out(caller: Caller, change: Change) -> Written:
    """Make one version of the change. Raises whatever a PUT over REST is refused with."""
    cloud = caller.cloud
    now = rfc3339(cloud.clock())
    for tries_left in reversed(range(TRIES)):
        on = await _on(caller, change.project)
        path = path_of(change, now)
        before = await _present(on, path)
        look = partial(content_of, change, path, before, now)
        content = await asyncio.to_thread(look) if len(before or b"") > AT_ONCE_BYTES else look()
        try:
            return await _written(on, path, content, [path] if change.allow_secret else [])
        except PreconditionFailed:
            if not tries_left or not isinstance(change, Note):
                raise overtaken(change, path) from None
    raise AssertionError("the last try returns or raises")


def more_would_do(error: SatchelError) -> bool:
    """Whether only the token is too narrow: its person may, so the client can ask for a wider one."""
    return isinstance(error, InsufficientScope) and error.facts.get("wider") is True


async def _on(caller: Caller, ref: str) -> OnProject:
    """The project, if the caller may write to it, its content may rest here, and the store answers."""
    cloud, who = caller.cloud, caller.principal
    async with cloud.catalog.read(caller.tenant) as s:
        row = await projects.get(s, ref)
        role = None if row is None else role_on(who, row.id)
        if row is None or role is None:
            caller.exchange.absent.append(ref)
            raise absent_project()
        try:
            require(decide(who, Action.PROJECT_WRITE, row.id))
        except InsufficientScope as error:
            caller.exchange.code = error.code
            caller.exchange.absent.append(ref)
            error.facts["wider"] = decide(_could_be(caller), Action.PROJECT_WRITE, row.id).allowed
            raise
        cloud.outage.require()
        await settings.check_storage(s, cloud.settings.store)
    return OnProject(caller, row, role)


def _could_be(caller: Caller) -> Principal:
    """The principal as a wider token of the same client would have it; of a key there is no wider one."""
    who = caller.principal
    return who if caller.checked.client is None else replace(who, scope=None)


async def _present(on: OnProject, path: str) -> bytes | None:
    try:
        return (await on.cloud.readers.content(on.caller.tenant, on.row, path)).data
    except NoSuchArtifact:
        return None


async def _written(on: OnProject, path: str, content: Content, allowed: list[str]) -> Written:
    made = await write(on, path, content.data, None, content.replaces or "*absent", None, allowed=allowed)
    return {
        "project": on.row.slug,
        "path": path,
        "object": object_id(content.data),
        "size": len(content.data),
        "changed": content.changed,
        "lines": content.lines,
        "digest": made.digest,
        "version": made.version,
        "author": made.author if content.changed else None,
        "modified": rfc3339(made.time_ms) if content.changed else None,
    }
