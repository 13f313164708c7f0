"""What a client at /mcp is told of by itself: that other resources are there, or that one of those it named changed.

It is looked for whenever anything was committed in the tenant, at most once a second; see ``listening``. What the
caller may not read is never told of, and looks like what never was.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import NamedTuple

from satchel.auth.policy import role_on
from satchel.catalog import projects, versions
from satchel.errors import SatchelError
from satchel.mcp.resources import place_of
from satchel.mcp.watching import Wanted
from satchel.server.access import Caller
from satchel.server.credentials import Checked
from satchel.server.hosted import readable
from satchel.server.listening import Judge

MAX_VERSIONS = 50
"""Versions that are looked through for whether the list is another one; after more of them it counts as one."""


class News(NamedTuple):
    """What is new since the last time."""

    listed: bool = False
    uris: frozenset[str] = frozenset()


class _Seen(NamedTuple):
    heads: dict[tuple[str, str], tuple[str, int]]
    """Lineage and version of each project, by its id and the slug in the addresses of what it holds."""
    objects: dict[str, str | None]
    """What each wanted resource is, by its address."""


async def news(caller: Caller, wanted: Wanted, judge: Judge) -> AsyncIterator[News]:
    """First nothing, once it listens; then whatever is new, until the credential ends or the server does.

    Raises ``TooManyRequests`` where there are as many listeners as may be.
    """
    cloud = caller.cloud
    listener = cloud.listeners.join(caller.tenant, caller.principal.id, None, None, judge, named=len(wanted.uris))
    try:
        # It waits, and is no request being served any more: its place goes to others, and it is counted by itself.
        caller.exchange.release()
        stamp = await cloud.catalog.stamp()
        seen = await _look(caller, caller.checked, wanted)
        yield News()
        while True:
            await listener.wake.wait()
            listener.wake.clear()
            if listener.ended:
                return
            now = await cloud.catalog.stamp()
            if now is not None and now == stamp:
                continue
            try:
                found = await _look(caller, listener.checked or caller.checked, wanted)
                listed = wanted.listed and await _other_list(caller, seen, found)
            except SatchelError:  # the catalog is away: it is looked again
                continue
            changed = frozenset(uri for uri in wanted.uris if seen.objects[uri] != found.objects[uri])
            stamp, seen = now, found
            if listed or changed:
                yield News(listed, changed)
    finally:
        cloud.listeners.leave(caller.tenant, listener)


async def _look(caller: Caller, checked: Checked, wanted: Wanted) -> _Seen:
    who = checked.principal
    async with caller.cloud.catalog.read(caller.tenant) as s:
        rows = await readable(s, who) if wanted.listed else []
        objects: dict[str, str | None] = dict.fromkeys(wanted.uris)
        places = {uri: place_of(uri) for uri in wanted.uris}
        for name in {place.project for place in places.values()}:
            row = await projects.get(s, name)
            if row is None or role_on(who, row.id) is None or not row.version:
                continue
            paths = {uri: place.path for uri, place in places.items() if place.project == name}
            entries = await versions.entries_at(s, row.id, sorted(set(paths.values())), row.version)
            objects |= {uri: entries[path].object for uri, path in paths.items() if path in entries}
    return _Seen({(row.id, row.slug): (row.lineage, row.version) for row in rows}, objects)


async def _other_list(caller: Caller, before: _Seen, now: _Seen) -> bool:
    if before.heads.keys() != now.heads.keys():
        return True
    moved = [(name, before.heads[name], head) for name, head in now.heads.items() if before.heads[name] != head]
    async with caller.cloud.catalog.read(caller.tenant) as s:
        for (name, _slug), (lineage, since), (lineage_now, version) in moved:
            if lineage != lineage_now or version - since > MAX_VERSIONS or version < since:
                return True
            made = await versions.versions(s, name, None, MAX_VERSIONS)
            if any(row.added or row.deleted for row in made if since < row.version <= version):
                return True
    return False
