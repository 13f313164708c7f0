"""``satchel outline``: the headings of an artifact, with the lines to read."""

from __future__ import annotations

import click

from satchel.cli.face import Face, plural
from satchel.cli.get_cmd import in_reading, told_apart
from satchel.cli.reading import open_reading
from satchel.cli.verb import again, verb
from satchel.context.limits import MAX_LIST_LIMIT


@verb(
    "outline",
    examples=[
        ("satchel outline docs/runbooks/rollback.md", "Its headings; each line can be given to `satchel get`."),
        ("satchel outline docs/runbooks/rollback.md --json", "The same for a program, with the size of each section."),
    ],
    gives=(
        "An outline, as REST gives it: `path`, `kind`, `title`, `object`, `size`, `mode`, `version`, `author`, "
        "`authorKind`, `modified`, `reviewed`, `project`, `digest`, `totalLines`, `items` (each `level`, "
        "`title`, `trail`, `lines`, `characters`), `total`, `next`."
    ),
    statuses=(0, 1, 2, 4, 5, 6),
)
@click.argument("artifact")
@click.option("-n", "--limit", type=click.IntRange(1, MAX_LIST_LIMIT), default=200, help="Most headings to show (200).")
@click.option("--cursor", help="Go on from the `next` of an earlier answer.")
@click.option("--at", "version", type=click.IntRange(1), help="As it was at this version (with --remote).")
@click.option("-p", "--project", help="Another project.")
@click.option("--remote", is_flag=True, help="Ask the server instead of this disk.")
def command(
    face: Face, artifact: str, limit: int, cursor: str | None, version: int | None, project: str | None, remote: bool
) -> None:
    """Print the headings of an artifact.

    Each stands with the lines that it covers, those of deeper headings included.
    """
    with open_reading(face, (project,) if project else (), remote=remote) as reading:
        path = in_reading(reading, face, artifact)
        with told_apart(reading, path):
            answer = reading.reader.outline(reading.one, path, cursor=cursor, limit=limit, at=version)
        reading.tell(face)

    def show() -> None:
        where = reading.place(answer["project"], answer["path"])
        for row in answer["items"]:
            lines = f"{where}:{row['lines'][0]}-{row['lines'][1]}"
            if face.terminal:
                indent = "  " * (row["level"] - 1)
                face.line(f"{indent}{face.fit(row['title'], face.columns - len(indent) - 20)}  "
                          + face.dim(f"{row['lines'][0]}-{row['lines'][1]}"))  # fmt: skip
            else:
                face.line("\t".join([lines, str(row["level"]), face.fit(row["title"])]))
        face.note(face.dim(f"{plural(answer['total'], 'heading')} · {answer['path']}"))
        if answer["next"]:
            face.note(f"More:  {again(cursor=answer['next'])}")

    face.answer(answer, show)
