"""``satchel resolve``: what counts of a conflict. The next sync carries it out."""

from __future__ import annotations

import click

from satchel.cli.face import Face, plural
from satchel.cli.folders import in_project, local_project, project_root, undo_bounds, worktree_of
from satchel.cli.mergetool import edit
from satchel.cli.verb import verb
from satchel.sync.outlook import status
from satchel.sync.settle import Take, conflicting, resolve
from satchel.worktree.walk import Worktree


@verb(
    "resolve",
    examples=[
        ("satchel resolve plans/q3.md --take merged", "The file as you edited it; the next sync sends it."),
        ("satchel resolve plans/q3.md --edit", "Open it in your merge tool or editor first."),
        ("satchel resolve --all --take cloud", "The server's files count; yours can be brought back with undo."),
    ],
    gives="`settled`, `take`; `left`, the paths that an editor left with markers, or --all could not settle.",
    statuses=(0, 1, 2, 3, 6),
)
@click.argument("paths", nargs=-1)
@click.option(
    "--take", type=click.Choice([take.value for take in Take]), help="What counts; merged: the file as it is."
)
@click.option("-e", "--edit", "editing", is_flag=True, help="Open SATCHEL_MERGETOOL or your editor, then take merged.")
@click.option("-a", "--all", "every", is_flag=True, help="Every conflict.")
@click.option("--force", is_flag=True, help="Take merged although markers are left in the file.")
def command(face: Face, paths: tuple[str, ...], take: str | None, editing: bool, every: bool, force: bool) -> int:
    """Settle a conflict.

    Edit the file and take merged; or take local or cloud to have one side whole, or both to keep the cloud's file
    beside yours. Nothing is lost: what was on the server stays in its history, and what is replaced here comes back
    with `satchel undo`. Nothing is sent before the next sync.

    --edit runs the command in SATCHEL_MERGETOOL with the variables LOCAL, BASE, REMOTE and MERGED naming four files, as
    git does for a merge tool; MERGED is the file itself. Without it, VISUAL or EDITOR is given the file. The exit
    status is 3 where markers are left. --all settles what can be settled so, and names the rest.
    """
    context = click.get_current_context()
    if editing == (take is not None):
        raise click.UsageError("say what to take (--take local|cloud|both|merged), or --edit", ctx=context)
    here = local_project(project_root(face))
    with worktree_of(here) as worktree:
        if every:
            # What settles itself by another sync waits for one of the others.
            named = [conflict.path for conflict in status(worktree).conflicts if conflict.settle != "sync"]
        elif paths:
            named = [in_project(face, path) for path in paths]
        else:
            raise click.UsageError("name a file, or --all", ctx=context)
        done = [path for path in named if _edited(face, worktree, path)] if editing else named
        left = {path: "markers are still in it, or the tool failed" for path in named if path not in done}
        one_by_one = left if every else None
        chosen, bounds = Take(take or "merged"), undo_bounds(face)
        settled = resolve(worktree, done, chosen, force=force, left=one_by_one, bounds=bounds) if done else []

    def show() -> None:
        for path in settled:
            face.line(face.fit(path))
        for path, why in left.items():
            face.note(f"Left as it is: {face.fit(path)} ({why})")
        if settled or not left:
            face.note(f"Settled {plural(len(settled), 'conflict')}: {take or 'merged'}. Carry it out:  satchel sync")

    face.answer({"settled": settled, "take": take or "merged", "left": list(left)}, show)
    return 3 if left else 0


def _edited(face: Face, worktree: Worktree, path: str) -> bool:
    return edit(face.machine, worktree, conflicting(worktree, path))
