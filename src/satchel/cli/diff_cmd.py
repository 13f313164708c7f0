"""``satchel diff``: what the folder has otherwise than a version of the hosted project."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator
from contextlib import closing
from typing import NamedTuple

import click

from satchel.cli.face import Face, one_line, plural
from satchel.cli.folders import in_project, local_project, project_root, worktree_of
from satchel.cli.hosted import project_remote
from satchel.cli.verb import verb
from satchel.cli.versions import version_at
from satchel.errors import InvalidInput, NoSuchArtifact
from satchel.objects.ids import object_id
from satchel.objects.listing import Tree
from satchel.remote import Remote
from satchel.sync.folder import left_out
from satchel.sync.merge import MAX_MERGE_BYTES, MAX_PAIRS, pairs, shared
from satchel.worktree.base import Base, load_base
from satchel.worktree.selecting import selection
from satchel.worktree.walk import Worktree

MAX_FILES = 1_000
"""Compared in one call: each is asked of the server."""
CONTEXT = 3
"""Lines shown around what differs."""
_PLACE = re.compile(r"([-+])(\d+)")
"""In the head of a hunk, which begins with ``@@``."""


class _Difference(NamedTuple):
    path: str
    how: str
    """``added``, ``changed`` or ``deleted``, seen from the version."""
    diff: str | None
    """``None`` where a side is no text, or too long, or too many lines are equal."""


@verb(
    "diff",
    examples=[
        ("satchel diff", "What you changed since the last sync."),
        ("satchel diff plans/q3.md --at 12", "How one file differs from version 12."),
    ],
    gives="`version`, `items` (each `path`, `how`, `diff`: a unified diff, null for what is no text).",
    statuses=(0, 1, 2, 4, 5, 6),
)
@click.argument("path", required=False)
@click.option(
    "--at",
    metavar="VERSION|TIME",
    help="Compare with that version, or that of this day or time (UTC); default: the last one synced.",
)
def command(face: Face, path: str | None, at: str | None) -> None:
    """Show what differs from a version of the hosted project.

    PATH is a file or a folder. Lines with - are the version's, lines with + are in this folder. Without --at the
    version is the one this folder was last in step with, so that the lines are your own edits. What is left out of this
    folder, as `satchel doctor` says, is not compared.
    """
    named = None if path is None else in_project(face, path)
    here = local_project(project_root(face))
    _, remote, project = project_remote(face)
    base, _ = load_base(here.root)
    with closing(remote), worktree_of(here) as worktree:
        version = version_at(remote, project, at) if at is not None else base.version if base is not None else 0
        scan = worktree.scan()
        tree = scan.tree
        selects = selection(worktree)
        candidates = _candidates(remote, project, base, tree, version)
        out = set(left_out(here.root, scan, candidates))
        paths = [path for path in candidates if path in tree or (path not in out and selects(path))]
        if named not in (None, "."):
            if not any(_within(path, named) for path in (*paths, *tree)):
                raise NoSuchArtifact(f"neither this folder nor version {version} has {path!r}")
            paths = [path for path in paths if _within(path, named)]
        if len(paths) > MAX_FILES:
            raise InvalidInput(
                f"{len(paths):,} files may differ; at most {MAX_FILES:,} are compared", hint="Name a file."
            )
        found = list(_differences(worktree, remote, project, tree, paths, version))

    def show() -> None:
        for item in found:
            if not item.diff:
                face.line(f"{one_line(item.path)}: {item.how}; {_untold(item)}")
            for line in (item.diff or "").splitlines():
                face.change(line)
        many = f"{plural(len(found), 'file')} {'differs' if len(found) == 1 else 'differ'}"
        face.note(f"{many} from version {version}." if found else "Nothing differs.")

    face.answer({"version": version, "items": [item._asdict() for item in found]}, show)


def _untold(item: _Difference) -> str:
    """What is said of a file in place of lines."""
    if item.diff is None:
        return "not compared: it is no text, or would take too long"
    return "the ends of lines alone, or bytes that are no text" if item.how == "changed" else "it is empty"


def _candidates(remote: Remote, project: str, base: Base | None, tree: Tree, version: int) -> list[str]:
    """The paths that may differ: changed here since the last sync, or by versions between that one and ``version``.

    Not what this folder never took in, for want of trust or since it only sent: nobody changed it here.
    """
    taken = base.tree if base else {}
    known = {path: entry.object for path, entry in taken.items()}
    mine = {path: entry.object for path, entry in tree.items()}
    paths = {path for path in known.keys() | mine.keys() if known.get(path) != mine.get(path)}
    if base is None or version != base.version:
        paths |= {change.path for change in remote.changes(project, version, base.lineage if base else "").items}
        if base is not None and version > base.version:
            paths |= {change.path for change in remote.changes(project, base.version, base.lineage).items}
    waiting = base.cloud.keys() - taken.keys() - mine.keys() if base else set()
    return sorted(paths - waiting)


def _within(path: str, named: str) -> bool:
    return path == named or path.startswith(f"{named.rstrip('/')}/")


def _differences(
    worktree: Worktree, remote: Remote, project: str, tree: Tree, paths: list[str], version: int
) -> Iterator[_Difference]:
    for path in paths:
        try:
            info = remote.artifact(project, path, budget=1, at=version) if version else None
        except NoSuchArtifact:
            info = None
        entry = tree.get(path)
        if (info["object"] if info else None) == (entry.object if entry else None):
            continue
        old = remote.artifact_bytes(project, path, at=version) if info else b""
        new = worktree.read(path) if entry else b""
        if info is None or entry is None:
            how = "added" if info is None else "deleted"
        elif object_id(old) == object_id(new):
            continue
        else:
            how = "changed"
        yield _Difference(path, how, _unified(path, version, old, new))


def _unified(path: str, version: int, old: bytes, new: bytes) -> str | None:
    if b"\0" in old or b"\0" in new or max(len(old), len(new)) > MAX_MERGE_BYTES:
        return None
    was, now = (data.decode("utf-8", "replace").splitlines() for data in (old, new))
    # Only what stands between the lines that both begin and end with, and a few of these to be shown around it.
    head, tail = (max(same - CONTEXT, 0) for same in shared(was, now))
    was, now = was[head : len(was) - tail], now[head : len(now) - tail]
    if pairs(was, now) > MAX_PAIRS:
        return None
    names = f"{path} (version {version})", f"{path} (here)"
    lines = difflib.unified_diff(was, now, *names, n=CONTEXT, lineterm="")
    return "\n".join(
        _PLACE.sub(lambda found: f"{found[1]}{int(found[2]) + head}", line) if line.startswith("@@") else line
        for line in lines
    )
