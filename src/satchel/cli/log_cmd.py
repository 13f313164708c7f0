"""``satchel log``: who made which version of the hosted project, or of one artifact."""

from __future__ import annotations

from contextlib import closing

import click

from satchel.cli.face import Face, ago, one_line, pasted, plural
from satchel.cli.folders import in_project, local_project, no_artifact_at, project_root, worktree_of
from satchel.cli.hosted import project_remote
from satchel.cli.verb import verb
from satchel.context.absent import no_artifact
from satchel.context.answers import VersionInfo

PAGE = 100


@verb(
    "log",
    examples=[
        ("satchel log", "The newest versions of the project, with who made them."),
        ("satchel log plans/q3.md -n 5", "The last five that changed one artifact."),
    ],
    gives=(
        "`project`, `path`, `lineage`, `items` (each `version`, `digest`, `author`, `authorKind`, `time`, `added`, "
        "`changed`, `deleted`, `readable`; with a path the counts are of it alone), `more`."
    ),
    statuses=(0, 1, 2, 4, 5, 6),
)
@click.argument("path", required=False)
@click.option("-n", "--limit", type=click.IntRange(1, 10_000), default=20, help="How many; default 20.")
def command(face: Face, path: str | None, limit: int) -> None:
    """Say who changed what, newest first.

    PATH is a file, as it is called now or was in an old version; without it, or with ., the whole project is meant.
    The author is a person, or, marked as such, a key (agents have keys) or the operator. Versions that retention or a
    purge emptied are marked too; they cannot be read any more.
    """
    config, remote, project = project_remote(face)
    named = None if path is None else in_project(face, path)
    named = None if named == "." else named
    found: list[VersionInfo] = []
    with closing(remote):
        cursor: str | None = None
        while True:
            page = remote.history(project, path=named, cursor=cursor, limit=min(PAGE, limit - len(found)))
            found += page["items"]
            cursor = page["next"]
            if cursor is None or not page["items"] or len(found) >= limit:
                break
    more = cursor is not None
    if named is not None and not found:
        _require_here(face, named, config.name)

    def show() -> None:
        authors = [_author(row) for row in found]
        width = max(map(len, authors), default=0)
        for row, author in zip(found, authors, strict=True):
            gone = "" if row["readable"] else "  (cannot be read any more)"
            what = _one(row) if named is not None else _counts(row)
            face.line(f"{face.bold(format(row['version'], '6,'))}  {author:<{width}}  {what}  {ago(row['time'])}{gone}")
        if not found:
            face.note(
                f"No version has {named} yet: satchel sync sends it."
                if named is not None
                else "No version yet: satchel sync makes one."
            )
        there = [row["version"] for row in found if row["readable"] and not row["deleted"]]
        if named is not None and there:
            face.note(f"Bring one back:  satchel restore {pasted(named)} --at {there[-1]}")
        if more:
            face.note(f"There are more:  -n {limit * 5}")

    lineage = page["lineage"]
    face.answer({"project": page["project"], "path": named, "lineage": lineage, "items": found, "more": more}, show)


def _require_here(face: Face, path: str, project: str) -> None:
    """Raise ``NoSuchArtifact`` for a path that no version changed, unless the folder has an artifact there."""
    here = local_project(project_root(face))
    with worktree_of(here) as worktree:
        tree = worktree.scan().tree
    if path not in tree:
        raise no_artifact_at(here.root, path, project) or no_artifact(project, path, tree.keys())


def _author(row: VersionInfo) -> str:
    """A person by name; else also what it is."""
    kind = row.get("authorKind", "person")  # a server of before does not say
    author = one_line(row["author"])
    return author if kind == "person" else f"{author} ({one_line(kind)})"


def _one(row: VersionInfo) -> str:
    return "added  " if row["added"] else "deleted" if row["deleted"] else "changed"


def _counts(row: VersionInfo) -> str:
    counts = (("+", row["added"]), ("~", row["changed"]), ("-", row["deleted"]))
    parts = [f"{sign}{count:,}" for sign, count in counts if count]
    return f"{' '.join(parts) or 'nothing'} ({plural(sum(count for _, count in counts), 'file')})"
