"""``satchel purge``: remove content for good from the hosted project."""

from __future__ import annotations

import click

from satchel.cli.face import Face, plural, size
from satchel.cli.folders import in_project
from satchel.cli.hosted import open_remote, project_remote
from satchel.cli.verb import verb
from satchel.remote import part


@verb(
    "purge",
    examples=[
        ("satchel purge notes/key.md", "Remove all that this path ever held from the hosted project."),
        ("satchel purge notes/key.md --dry-run", "Say what would go and what would stay; change nothing."),
        ("satchel purge notes/key.md --everywhere --yes", "Also from other paths with the same content; do not ask."),
        ("satchel purge a.md b.md --project acme --json", "Of a project that has no folder here."),
    ],
    gives="`dryRun`, `paths`, `objects`, `version`, `packs`, `bytes`, `shared` (each `path`, `others`), `unreachable`.",
    statuses=(0, 1, 2, 4, 5, 6),
)
@click.argument("paths", nargs=-1, required=True, metavar="PATH...")
@click.option("--project", metavar="PROJECT", help="The hosted project; default: the remote of the project here.")
@click.option("--everywhere", is_flag=True, help="Also where other paths have the same content.")
@click.option("--dry-run", is_flag=True, help="Say what would be done, and do nothing.")
@click.option("-y", "--yes", is_flag=True, help="Do not ask.")
@click.option("--url", help="The server, with --project.")
def command(
    face: Face, paths: tuple[str, ...], project: str | None, everywhere: bool, dry_run: bool, yes: bool, url: str | None
) -> int:
    """Remove content for good, from every version.

    The paths are deleted from the newest version, and what they ever held is removed from the server's storage at
    once; versions that had it stay listed without it. It cannot be undone. Needs the role admin.

    PATHS are relative to where you are or to the project; with --project they are as that project has them.

    Content that another path has too stays, in both: the answer names that path, and the exit status is 1.
    --everywhere purges it there as well.

    Says what a server cannot reach: backups until they expire, folders and undo stores of people who pulled it.
    """
    if project is None:
        _, remote, target = project_remote(face)
        paths = tuple(in_project(face, path) for path in paths)
    else:
        remote, target = open_remote(face, url), project
    name = remote.project(target)["slug"]
    if not dry_run and not face.confirm(f"Remove {', '.join(paths)} from every version of {name} for good?", yes=yes):
        face.note("Nothing was changed.")
        return 0
    asked = {"paths": list(paths), "everywhere": everywhere, **({"dryRun": True} if dry_run else {})}
    answer = remote.call("POST", f"/projects/{part(target)}/purge", json=asked)

    def show() -> None:
        for path in answer["paths"]:
            face.line(f"{face.fit(path)}  {'would be purged' if dry_run else 'purged'}")
        for each in answer["shared"]:
            kept = "kept in part" if each["path"] in answer["paths"] else "NOT purged"
            others = ", ".join(each["others"])
            face.line(f"{face.fit(each['path'])}  {kept}: the same content is in {face.fit(others)}")
        if answer["objects"] and dry_run:
            packs = f"{plural(answer['packs'], 'pack')} ({size(answer['bytes'])})"
            face.note(f"{plural(answer['objects'], 'content')} would be removed, and {packs} written anew without it.")
        elif answer["objects"]:
            face.note(f"{plural(answer['objects'], 'content')} removed; {name} is at version {answer['version']}.")
        elif not answer["shared"]:
            face.note("Nothing was left to remove.")
        if answer["shared"]:
            face.note("To purge it there too:  --everywhere")
        face.note("Out of reach:")
        for text in answer["unreachable"]:
            face.note(f"  {text}")
        if dry_run:
            face.note("Nothing was changed: this was a dry run.")

    face.answer(answer, show)
    return 1 if answer["shared"] else 0
