"""``satchel restore``: an artifact as a version of the hosted project had it, put into the folder."""

from __future__ import annotations

from contextlib import closing

import click

from satchel.cli.face import Face, size
from satchel.cli.folders import in_project, local_project, project_root, undo_bounds, worktree_of
from satchel.cli.hosted import project_remote
from satchel.cli.verb import verb
from satchel.cli.versions import version_at
from satchel.errors import ServerLied
from satchel.objects.ids import object_id
from satchel.sync.settle import put_back


@verb(
    "restore",
    examples=[
        ("satchel restore plans/q3.md --at 12", "The file as version 12 had it."),
        ("satchel restore plans/q3.md --at 2026-01-31", "As it was at the end of that day."),
    ],
    gives="`path`, `version` (the one named), `object`, `mode`, `size`, `changed` (whether the file was another).",
    statuses=(0, 1, 2, 3, 4, 5, 6),
)
@click.argument("path")
@click.option("--at", required=True, metavar="VERSION|TIME", help="A version, a date, or a time (UTC).")
def command(face: Face, path: str, at: str) -> None:
    """Put an old version of a file back into the folder.

    What stands there now is kept: `satchel undo` brings it back. Nothing is sent; the next sync takes the file for your
    edit. A deleted file comes back the same way; `satchel log PATH` says in which versions it was.
    """
    named = in_project(face, path)
    here = local_project(project_root(face))
    _, remote, project = project_remote(face)
    with closing(remote):
        version = version_at(remote, project, at)
        info = remote.artifact(project, named, budget=1, at=version)
        data = remote.artifact_bytes(project, named, at=version)
    if object_id(data) != info["object"]:
        raise ServerLied(f"the server sent another content of {named} than it named")
    with worktree_of(here) as worktree:
        changed = put_back(worktree, named, data, info["mode"], bounds=undo_bounds(face))

    def show() -> None:
        if changed:
            face.line(f"{face.fit(named)}  as in version {version} ({size(len(data))})")
            face.note("What stood there comes back with  satchel undo.  The next sync sends the file as your edit.")
        else:
            face.note(f"{face.fit(named)} is as it was in version {version} already.")

    answer = {"path": named, "version": version, "object": info["object"], "mode": info["mode"], "size": len(data)}
    face.answer({**answer, "changed": changed}, show)
