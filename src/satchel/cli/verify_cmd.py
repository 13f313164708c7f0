"""``satchel verify``: is everything of this folder on the disk what it was when it was written?"""

from __future__ import annotations

from contextlib import closing
from typing import NamedTuple

import click

from satchel.cli.face import Face, plural, size
from satchel.cli.folders import project_here, project_named, worktree_of
from satchel.cli.verb import verb
from satchel.context.project import LocalProject
from satchel.errors import IndexCorrupt, SatchelError
from satchel.search.index import Index, remove
from satchel.worktree.base import load_base
from satchel.worktree.state import forget
from satchel.worktree.undo import UndoStore
from satchel.worktree.walk import Scan, Worktree

SHOWN = 3
"""Files named; all of them are found again by the next look."""


class Row(NamedTuple):
    """One thing that was looked at."""

    name: str
    state: str
    """``ok``; ``mended``: it is derived, and is made anew; ``damaged``: it is not, and needs a person."""
    found: str


@verb(
    "verify",
    examples=[
        ("satchel verify", "Read every file, the record of the last sync, the undo store and the index."),
        ("satchel verify --json --project billing", "The same for another project, for a script."),
    ],
    gives="`project`, `folder`, `clean`, `checks` (each with `name`, `state`: `ok`, `mended` or `damaged`, `found`).",
    statuses=(0, 1, 2, 6),
)
@click.option("-p", "--project", help="Another project.")
def command(face: Face, project: str | None) -> int:
    """Read every byte again, and say what is damaged.

    Other commands read only files whose size or time changed. This one trusts neither: it hashes every file, checks the
    record of the last sync, everything that `satchel undo` could bring back, and the index. What is derived is mended;
    what is not is named, and the exit status is 1. Asks no server: `satchel status` compares with it, and
    `satchel admin verify` looks a server's own store over.
    """
    here = project_named(face, project) if project else project_here(face)
    rows = [*_files(here), *_record(here), *_undo(here), *_index(here)]
    clean = all(row.state != "damaged" for row in rows)
    data = {
        "project": here.slug,
        "folder": str(here.root),
        "clean": clean,
        "checks": [row._asdict() for row in rows],
    }

    def show() -> None:
        face.line(f"{face.bold(here.slug)}  {here.root}")
        for row in rows:
            state = row.state if row.state == "ok" else face.bold(row.state)
            face.line(f"  {row.name:6}  {state}{' ' * (7 - len(row.state))}  {row.found}")
        if not clean:
            face.note("What is damaged was left as it is. The files themselves are yours, and whole unless named.")

    face.answer(data, show)
    return 0 if clean else 1


def _files(here: LocalProject) -> list[Row]:
    """Compare what is remembered of the files, by their size and time, with what they hold."""
    stale, scan = _compared(here)
    if stale:
        again, scan = _compared(here)
        stale &= again  # what was edited between the two looks differs once
    found = f"{plural(len(scan.tree), 'file')} ({size(sum(scan.sizes.values()))}) read and hashed"
    state = "ok"
    if stale:
        forget(here.state_path)
        state, found = "mended", f"{found}; changed though size and time say not, and noticed now: {_named(stale)}"
    unread = {f"{left.path} ({left.detail})" for left in scan.left_out if left.reason == "unreadable"}
    if unread:
        state, found = "damaged", f"{found}; cannot be read: {_named(unread)}"
    return [Row("files", state, found)]


def _named(items: set[str]) -> str:
    return ", ".join(sorted(items)[:SHOWN]) + (", …" if len(items) > SHOWN else "")


def _compared(here: LocalProject) -> tuple[set[str], Scan]:
    """The paths whose file is not what the quick look takes it for, and all there is, read whole."""
    with worktree_of(here) as remembered:
        quick = remembered.scan().tree
    with closing(Worktree.open(here.root, rules=here.rules)) as worktree:
        scan = worktree.scan()
    return {path for path, entry in scan.tree.items() if path in quick and quick[path].object != entry.object}, scan


def _record(here: LocalProject) -> list[Row]:
    try:
        base, notices = load_base(here.root)
    except SatchelError as error:
        return [Row("record", "damaged", error.message)]
    if notices:
        return [Row("record", "damaged", " ".join(notices) + " A sync writes it anew.")]
    if base is None:
        return [Row("record", "ok", "this folder never synced")]
    return [Row("record", "ok", f"in step with version {base.version}, {plural(len(base.cloud), 'file')}")]


def _undo(here: LocalProject) -> list[Row]:
    store = UndoStore(here.root)
    syncs = store.syncs()
    if not syncs:
        return [Row("undo", "ok", "nothing is kept")]
    kept = sum(1 for sync in syncs for _ in store.kept(sync))
    damaged = [sync for sync in syncs if store.damaged(sync)]
    found = f"{plural(kept, 'file')} of {plural(len(syncs), 'sync')} can be brought back"
    if damaged:
        return [Row("undo", "damaged", f"{found}; {', '.join(damaged)} has a record that is not whole")]
    return [Row("undo", "ok", found)]


def _index(here: LocalProject) -> list[Row]:
    if not here.index_path.exists():
        return [Row("index", "ok", "there is none yet: the first search makes it")]
    try:
        with Index.open(here.index_path) as index:
            index.verify()
            documents = len(index.contents())
    except IndexCorrupt:
        remove(here.index_path)
        return [Row("index", "mended", "it was damaged: the next search builds another")]
    except SatchelError as error:  # in a folder mounted read-only, say: a search keeps another in memory
        return [Row("index", "ok", f"not looked at: {error.message}")]
    return [Row("index", "ok", f"sound all through, {plural(documents, 'document')}")]
