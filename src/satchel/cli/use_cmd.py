"""``satchel use``: the project that commands mean where you are in none."""

from __future__ import annotations

import click

from satchel.cli.face import Face
from satchel.cli.folders import registered_named, registry
from satchel.cli.verb import verb


@verb(
    "use",
    examples=[
        ("satchel use acme-platform", "From now on, commands outside of any project mean acme-platform."),
        ("satchel use --none", "Choose none; such commands mean the folder again."),
    ],
    gives="`project`, `id`, `folder` of the chosen project; `project` is null for none.",
)
@click.argument("project", required=False)
@click.option("--none", "clear", is_flag=True, help="Choose no project.")
def command(face: Face, project: str | None, clear: bool) -> None:
    """Choose the project that commands mean elsewhere.

    Inside a project commands mean that project whatever was chosen. Without PROJECT the choice is shown.
    """
    known = registry(face)
    if clear:
        known.set_current(None)
    elif project is not None:
        known.set_current(registered_named(face, project).root)
    chosen = known.current()
    data = {"project": chosen.slug, "id": chosen.id, "folder": str(chosen.root)} if chosen else {"project": None}

    def show() -> None:
        face.line(f"{chosen.slug}  {chosen.root}" if chosen else "No project is chosen.")
        if chosen and project is not None:
            face.note("Commands outside of any project mean it now.")

    face.answer(data, show)
