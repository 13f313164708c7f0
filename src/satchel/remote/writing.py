"""What an agent writes through a server's API: the object there now is the condition, so that nobody is overwritten."""

from __future__ import annotations

import time

from satchel.context.part import rfc3339
from satchel.context.writing import Change, Note, Written, content_of, overtaken, path_of
from satchel.errors import NoSuchArtifact, PreconditionFailed
from satchel.objects.ids import object_id
from satchel.remote.client import Remote
from satchel.remote.values import text
from satchel.sync.peer import Committed

TRIES = 10
"""How often a note is written anew because others wrote into the same file meanwhile."""


def write(remote: Remote, change: Change, *, clock: float | None = None) -> Written:
    """Carry out a change. Raises what the server refuses with, ``PreconditionFailed`` among it."""
    now = rfc3339(int((time.time() if clock is None else clock) * 1000))
    path = path_of(change, now)
    slug = text(remote.project(change.project).get("slug"))
    for last in [*[False] * (TRIES - 1), True]:
        content = content_of(change, path, _present(remote, slug, path), now)
        made: Committed | None = None
        try:
            # What is there already is written all the same: whether one may write is the server's to say.
            made = remote.put_artifact(slug, path, content.data, content.replaces, allow_secret=change.allow_secret)
        except PreconditionFailed:
            if last or not isinstance(change, Note):
                raise overtaken(change, path) from None
            continue
        return {
            "project": slug,
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
    raise AssertionError("the last try returns or raises")


def _present(remote: Remote, project: str, path: str) -> bytes | None:
    try:
        return remote.artifact_bytes(project, path)
    except NoSuchArtifact:
        return None
