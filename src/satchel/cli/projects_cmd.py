"""``satchel projects``: what this machine knows, or what the server lets you read."""

from __future__ import annotations

import importlib

import click

from satchel.cli.face import Face, shown_path
from satchel.cli.folders import registry
from satchel.cli.verb import verb
from satchel.errors import NoSuchProject
from satchel.worktree.find import CONFIG_NAME, find_root, local_dir, read_project_config


@verb(
    "projects",
    examples=[
        ("satchel projects", "The projects of this machine; * marks the one meant here."),
        ("satchel projects --forget ../old-notes", "Take a folder off the list. The folder is not touched."),
    ],
    gives=(
        "`items` with `id`, `project`, `folder`, `current`, `remote`; `gone` with `id`, `project`, `folder`. "
        "With --remote, `items` as REST gives them."
    ),
    statuses=(0, 1, 2, 4, 5, 6),
)
@click.option("--forget", metavar="FOLDER", help="Take this folder off the list; nothing in it is changed.")
@click.option("--remote", is_flag=True, help="List the hosted projects you may read instead.")
def command(face: Face, forget: str | None, remote: bool) -> None:
    """List the projects of this machine.

    A folder is on the list once `satchel init` ran in it. Folders that were moved or deleted are named until they are
    forgotten.
    """
    if remote:
        importlib.import_module("satchel.cli.hosted").list_projects(face)
        return
    known = registry(face)
    if forget is not None:
        folder = (face.cwd / forget).absolute()
        if not known.forget(folder) and not known.forget(folder.resolve()):
            raise NoSuchProject(f"{forget} is not on the list", hint="See `satchel projects`.")
        face.answer({"forgotten": str(folder)}, lambda: face.note(f"Forgot {forget}. The folder is as it was."))
        return
    current = known.current()
    here = find_root(face.cwd) or (current.root if current else None)
    rows = [
        {
            "id": entry.id,
            "project": entry.slug,
            "folder": str(entry.root),
            "current": entry.root == here,
            "remote": read_project_config(entry.root).remote_url,
        }
        for entry in known.registered()
    ]
    gone = [{"id": entry.id, "project": entry.slug, "folder": str(entry.root)} for entry in known.gone()]

    def show() -> None:
        width = max((len(str(row["project"])) for row in rows), default=0)
        for row, entry in zip(rows, known.registered(), strict=True):
            mark = "*" if row["current"] else " "
            remote_url = face.dim(f"  {row['remote']}") if row["remote"] else ""
            face.line(f"{mark} {row['project']:<{width}}  {shown_path(entry.root, face.cwd)}{remote_url}")
        for entry in known.gone():
            there = (local_dir(entry.root) / CONFIG_NAME).exists()
            why = "another project is there, or its settings cannot be read" if there else "moved or deleted"
            face.note(face.dim(f"  {entry.slug} was in {entry.root}: {why} (`--forget` takes it off the list)"))
        if not rows:
            face.note("No projects yet. Make one:  satchel init")

    face.answer({"items": rows, "gone": gone}, show)
