"""``satchel resolve``: whose side of a conflict counts. The next sync carries it out."""

from __future__ import annotations

import os

import click

from satchel.cli.face import Face, plural
from satchel.cli.folders import local_project, project_root, worktree_of
from satchel.cli.verb import verb
from satchel.sync.run import status
from satchel.sync.settle import Take, resolve


@verb(
    "resolve",
    examples=[
        ("satchel resolve plans/q3.md --take local", "Your file counts; the next sync sends it."),
        ("satchel resolve --all --take cloud", "The server's files count; yours can be brought back with undo."),
    ],
    gives="`settled`, `take`.",
    statuses=(0, 1, 2, 6),
)
@click.argument("paths", nargs=-1)
@click.option("--take", type=click.Choice([take.value for take in Take]), required=True, help="The side that counts.")
@click.option("-a", "--all", "every", is_flag=True, help="Every conflict.")
def command(face: Face, paths: tuple[str, ...], take: str, every: bool) -> None:
    """Settle a conflict.

    Edit the file as it should be and take local, or take cloud to have the server's. Nothing is lost: what was on the
    server stays in its history, and what a sync replaces here comes back with `satchel undo`.
    """
    here = local_project(project_root(face))
    with worktree_of(here) as worktree:
        if every:
            named = [conflict.path for conflict in status(worktree).conflicts]
        elif paths:
            named = [_in_project(face, os.fspath(here.root), path) for path in paths]
        else:
            raise click.UsageError("name a file, or --all", ctx=click.get_current_context())
        settled = resolve(worktree, named, Take(take)) if named else []

    def show() -> None:
        for path in settled:
            face.line(face.fit(path))
        face.note(f"Settled {plural(len(settled), 'conflict')} for {take}. Carry it out:  satchel sync")

    face.answer({"settled": settled, "take": take}, show)


def _in_project(face: Face, root: str, path: str) -> str:
    """A path as typed, relative to where one stands or to the project, as the project names it."""
    absolute = os.path.normpath(face.cwd / path)
    if os.path.lexists(absolute) and absolute.startswith(root + os.sep):
        return os.path.relpath(absolute, root).replace(os.sep, "/")
    return path
