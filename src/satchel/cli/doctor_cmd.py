"""``satchel doctor``: what belongs here, what is left out and why, what is broken and how to mend it."""

from __future__ import annotations

import os
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

import click

from satchel.cli.face import Face, plural, size
from satchel.cli.folders import project_here, project_named, registry, worktree_of
from satchel.cli.verb import verb
from satchel.config.server import unknown_variables
from satchel.context.local import LocalReader
from satchel.documents import MANIFEST_PATH
from satchel.documents.manifest import manifest_problems
from satchel.errors import DiskFull
from satchel.worktree.durable import FolderUnwritable, try_writing, upward
from satchel.worktree.find import local_dir, read_project_config
from satchel.worktree.walk import REASONS, UNINDEXED, LeftOut, Scan

SHOWN_PER_REASON = 20
"""Files named for each reason on a terminal; ``--all`` and ``--json`` name every one."""


@verb(
    "doctor",
    examples=[
        ("satchel doctor", "Look the project of this folder over."),
        ("satchel doctor --all --project billing", "Another project, naming every file that is left out."),
    ],
    gives=(
        "`project`, `id`, `folder`, `initialised`, `listed`, `digest`, `artifacts`, `bytes`, `indexed`, "
        "`notIndexed`, `leftOut` (each with `path`, `reason`, `detail`), `problems`, `notices`."
    ),
)
@click.option("-a", "--all", "every", is_flag=True, help="Name every file left out, not only the first of each reason.")
@click.option("-p", "--project", help="Another project.")
def command(face: Face, every: bool, project: str | None) -> int:
    """Say what belongs, what is left out and why, and what is broken.

    What is derived (index, state) is rebuilt on the way if it is damaged. What is yours is only reported. The exit
    status is 1 where something needs you: a file that cannot be read, a full disk, a folder of a project with a remote
    that cannot be written, a context.json that says what cannot be.
    """
    here = project_named(face, project) if project else project_here(face)
    with worktree_of(here) as worktree:
        scan = worktree.scan()
        patterns = worktree.rules.include
        manifest = worktree.read(MANIFEST_PATH) if MANIFEST_PATH in scan.tree else None
    problems = [] if manifest is None else manifest_problems(manifest)
    problems += _unread(scan)
    with closing(LocalReader([here])) as reader:
        answer = reader.context(here.slug)
        notices = list(dict.fromkeys([*scan.notices, *reader.notices]))
    for name, meant in unknown_variables().items():
        notices.append(f"nothing reads the variable {name}" + (f": is {meant} meant?" if meant else ""))
    initialised = local_dir(here.root).is_dir()
    synced = initialised and read_project_config(here.root).remote_url is not None
    try:
        try_writing(here.state_path.parent)
    except DiskFull as error:
        problems.append(f"{error.message}. Free some: until then no sync and no index can be written")
    except FolderUnwritable as error:
        (problems if synced else notices).append(f"{error.message}: it can be searched, and not be synced")
    else:
        problems += _unwritable(here.root, scan) if synced else []
    listed = any(entry.root == here.root for entry in registry(face).registered())
    data = {
        "project": here.slug,
        "id": here.id,
        "folder": str(here.root),
        "initialised": initialised,
        "listed": listed,
        "digest": answer["digest"],
        "artifacts": len(scan.tree),
        "bytes": sum(scan.sizes.values()),
        "indexed": len(scan.tree) - len(scan.not_indexed),
        "notIndexed": [item._asdict() for item in scan.not_indexed],
        "leftOut": [item._asdict() for item in scan.left_out],
        "problems": problems,
        "notices": notices,
    }

    def show() -> None:
        face.line(f"{face.bold(here.slug)}  {here.root}")
        face.line(f"  belongs    {plural(len(scan.tree), 'file')} ({size(sum(scan.sizes.values()))})")
        face.line(
            f"  searched   {plural(len(scan.tree) - len(scan.not_indexed), 'document')}, digest {answer['digest'][:8]}"
        )
        if patterns:
            face.note(
                f"  by rules   only what {plural(len(patterns), 'pattern')} of include match (.satchel/config.toml)"
            )
        _list(face, "kept and synced, but not searched", scan.not_indexed, UNINDEXED, every)
        _list(face, "left out", scan.left_out, REASONS, every)
        if not initialised:
            face.note("This folder is no project; its index is in the cache. Make it one:  satchel init")
        elif not listed:
            face.note("This folder is not on the machine's list. Enter it:  satchel init")
        for notice in notices:
            face.line(f"Noticed: {notice}")
        for problem in problems:
            face.line(f"Problem: {problem}")
        if problems:
            face.note("  Mend it: the rest of the project works meanwhile, and nothing of yours was changed.")
        else:
            face.note("Nothing needs you.")

    face.answer(data, show)
    return 1 if problems else 0


def _unread(scan: Scan) -> list[str]:
    found = [f"{left.path} ({left.detail})" for left in scan.left_out if left.reason == "unreadable"]
    return [f"{_named(found)} cannot be read: make it readable, or leave it out (.satchelignore)"] if found else []


def _unwritable(root: Path, scan: Scan) -> list[str]:
    """The folders in which no sync could put or replace a file."""
    folders = sorted({above for path in scan.tree for above in upward(path.rpartition("/")[0])} | {""})
    paths = [folder or "." for folder in folders if not os.access(root / folder, os.W_OK | os.X_OK)]
    return [f"{_named(paths)} cannot be written: what others change there cannot be fetched"] if paths else []


def _named(paths: Sequence[str]) -> str:
    more = f" and {len(paths) - 1:,} more" if len(paths) > 1 else ""
    return f"{paths[0]}{more}"


def _list(face: Face, title: str, items: Sequence[LeftOut], meanings: dict[str, str], every: bool) -> None:
    for reason, meaning in meanings.items():
        found = [item for item in items if item.reason == reason]
        if not found:
            continue
        face.line(f"  {title}: {plural(len(found), 'file')}, {meaning} ({reason})")
        for item in found if every else found[:SHOWN_PER_REASON]:
            detail = face.dim(f"  {item.detail}") if item.detail else ""
            face.line(f"    {face.fit(item.path, face.columns - 6)}{detail}")
        if len(found) > SHOWN_PER_REASON and not every:
            face.note(f"    … and {len(found) - SHOWN_PER_REASON:,} more: `satchel doctor --all`")
