"""``satchel link``: a relation from one project to another, written into the first one's context.json."""

from __future__ import annotations

import click

from satchel.cli.face import Face
from satchel.cli.folders import registered_named
from satchel.cli.verb import verb
from satchel.documents import MANIFEST_PATH
from satchel.documents.manifest import RELATION_TYPES, with_relation
from satchel.errors import InvalidInput, NoSuchProject
from satchel.worktree import durable


@verb(
    "link",
    examples=[
        ("satchel link payments acme-platform --type part-of", "payments is a part of acme-platform."),
        ("satchel link payments ledger --type depends-on", "payments depends on ledger."),
    ],
    gives="`project`, `type`, `other`, `changed`, `known`.",
)
@click.argument("project")
@click.argument("other")
@click.option("--type", "kind", type=click.Choice(RELATION_TYPES), default="related-to", help="How (related-to).")
def command(face: Face, project: str, other: str, kind: str) -> None:
    """Relate one project to another.

    The relation is written into the context.json of PROJECT, which is made if missing; all else in it stays. OTHER may
    be a project that is not on this machine.
    """
    source = registered_named(face, project)
    try:
        target = registered_named(face, other).slug
        known = True
    except NoSuchProject:
        target, known = other, False
    if target == source.slug:
        raise InvalidInput("a project cannot be related to itself")
    path = source.root / MANIFEST_PATH
    before = path.read_bytes() if path.exists() else None
    after = with_relation(before, kind, target)
    changed = after != before
    if changed:
        durable.replace(path, after)

    def show() -> None:
        face.note(f"{source.slug}: {kind} {target}{'' if changed else ', as before'} ({MANIFEST_PATH}).")
        if not known:
            face.warn(f"there is no project {target!r} on this machine; the relation was written all the same")

    face.answer({"project": source.slug, "type": kind, "other": target, "changed": changed, "known": known}, show)
