"""``satchel undo``: what the last sync overwrote or deleted here comes back, or what an older step did."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from satchel.cli.face import Face, ago, pasted, plural
from satchel.cli.folders import local_project, project_root, undo_bounds, worktree_of
from satchel.cli.verb import verb
from satchel.sync.settle import undo
from satchel.worktree.undo import UndoStore

if TYPE_CHECKING:
    from pathlib import Path


@verb(
    "undo",
    examples=[
        ("satchel undo", "Every file is as it was before the last sync wrote here."),
        ("satchel undo --dry-run", "What would come back, and what would be left alone."),
        ("satchel undo --list", "The steps that can be taken back, newest first."),
        ("satchel undo 3fa9c1", "Take that one back, where its files are as it left them."),
    ],
    gives=(
        "`dryRun`; `restored`; `skipped`, by path with the reason. With --list `steps` (each `step`, `time`, `kind`: "
        "`sync`, `edit` or `undo`, `paths`: at most 20, `files`: how many there are)."
    ),
    statuses=(0, 1, 2, 6),
)
@click.argument("step", required=False)
@click.option("--list", "listed", is_flag=True, help="List the steps that can be taken back, newest first.")
@click.option("--dry-run", is_flag=True, help="Say what would be done, and do nothing.")
def command(face: Face, step: str | None, listed: bool, dry_run: bool) -> None:
    """Bring back what the last sync overwrote here, or what STEP did.

    A step is a sync, an edit that an agent or another command made, or an undo; --list names the newest hundred. A file
    that changed since is left alone and named. After a sync the files brought back wait for `satchel resolve`: nothing
    is sent or fetched for them before. An undo can be undone by another one.
    """
    if listed and step:
        raise click.UsageError("--list takes no STEP")
    here = local_project(project_root(face))
    if listed:
        _list(face, here.root)
        return
    with worktree_of(here) as worktree:
        result = undo(worktree, step or "", dry=dry_run, bounds=undo_bounds(face))

    def show() -> None:
        for path in result.restored:
            face.line(face.fit(path))
        for path, reason in result.skipped.items():
            face.note(f"Left alone: {face.fit(path)} ({reason})")
        what = "the last undo" if result.again else "the last sync that wrote here"
        before = f"step {step}" if step else what if result.waits else "your last step here"
        before += f" ({ago(_utc(result.time))})"
        if dry_run:
            face.note(f"{plural(len(result.restored), 'file')} would be as before {before}.")
            if result.gone:
                face.note(f"Of these {result.gone:,} would go: they were not here then.")
            face.note("Nothing was changed: this was a dry run.")
            return
        face.note(f"{plural(len(result.restored), 'file')} as before {before}.")
        if result.gone:
            face.note(f"Of these {result.gone:,} went: they were not here then. To have them back:  satchel undo")
        if result.again and result.restored:
            face.note("That took an undo back. To go further back:  satchel undo --list")
        if result.restored and result.waits:
            which = pasted(result.restored[0]) if len(result.restored) == 1 else "--all"
            face.note(f"Then decide:  satchel resolve {which} --take local|cloud")

    face.answer({"dryRun": dry_run, "restored": result.restored, "skipped": result.skipped}, show)


def _list(face: Face, root: Path) -> None:
    steps = UndoStore(root).steps()

    def show() -> None:
        for one in steps:
            more = f" and {one.files - 1:,} more" if one.files > 1 else ""
            face.line(f"{one.step}  {one.kind}  {ago(_utc(one.time))}  {face.fit(one.paths[0])}{more}")
        face.note("Take one back:  satchel undo STEP" if steps else "Nothing was overwritten here.")

    face.answer({"steps": [one._asdict() | {"time": _utc(one.time)} for one in steps]}, show)


def _utc(ms: int) -> str:
    import datetime as dt  # not to begin with

    return dt.datetime.fromtimestamp(ms / 1000, dt.UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
