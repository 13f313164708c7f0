"""``satchel leave``: back to local-only. Nothing is lost: the files were always plain files of this folder."""

from __future__ import annotations

from dataclasses import replace

import click

from satchel.cli.face import Face
from satchel.cli.folders import project_root
from satchel.cli.verb import verb
from satchel.worktree.base import forget_base, load_base
from satchel.worktree.find import read_project_config, write_project_config
from satchel.worktree.former import Former
from satchel.worktree.lock import folder_lock


@verb(
    "leave",
    examples=[
        ("satchel leave", "Forget the remote and the last sync; every file stays."),
        ("satchel leave --yes", "The same without being asked."),
    ],
    gives="`left`: the address, or null; `project`.",
    statuses=(0, 1, 2, 6),
)
@click.option("-y", "--yes", is_flag=True, help="Do not ask.")
def command(face: Face, yes: bool) -> None:
    """Go back to local-only; nothing is lost.

    Every file of the folder stays as it is, the project stays a project, and search, agents and tasks go on working.
    What is on the server stays there until it is deleted there. Changes that wait on the server are not fetched: run
    `satchel sync --from-cloud` first if you want them.
    """
    root = project_root(face)
    config = read_project_config(root)
    base, _ = load_base(root)
    left = config.remote_url is not None or base is not None
    if left and not face.confirm(f"Leave {config.remote_url or 'the cloud'}? Every file here stays", yes=yes):
        face.note("Nothing was changed.")
        return
    with folder_lock(root):
        write_project_config(root, replace(config, remote_url=None, remote_project=None))
        forget_base(root)
        Former(root).forget()

    def show() -> None:
        held = sorted(base.held) if base else []
        face.note(f"Left {config.remote_url}. This project is local-only now." if left else "It is local-only already.")
        if held:
            face.note(f"Conflicts that were not settled stay as the files are here: {', '.join(held[:5])}")

    face.answer({"left": config.remote_url, "project": config.name}, show)
