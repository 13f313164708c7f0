"""``satchel export``: the project with its history as a plain git repository."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import click

from satchel.cli.face import Face, plural, shown_path
from satchel.cli.folders import local_project, project_root, worktree_of
from satchel.cli.gitrepo import check_target, head_of, new_repository
from satchel.cli.gitstream import ADDRESS_DOMAIN, Commit, GitStream, message, subject
from satchel.cli.progress import Progress
from satchel.cli.verb import verb
from satchel.cli.waiting import wait_option
from satchel.errors import InvalidInput
from satchel.objects.listing import Entry, digest
from satchel.objects.paths import tree_problems
from satchel.worktree.find import read_project_config
from satchel.worktree.walk import ChangedMeanwhile, Scan, Worktree

if TYPE_CHECKING:
    from satchel.cli.export_history import History

MAX_SHOWN = 10
"""Left-out paths that are named on a terminal; ``--json`` and the commits name more."""
_NOBODY = "Satchel", f"folder@{ADDRESS_DOMAIN}"
"""The author of what only the folder has: who edited it, nobody recorded."""


@dataclass(slots=True)
class _Written:
    """What an export has."""

    history: History | None
    digest: str
    """Of the tree that the last commit has, with what had to be left out."""
    unsynced: int = 0
    """Files that the folder has otherwise than the newest version."""
    clashes: dict[str, str] = field(default_factory=dict)
    """Paths of the folder that could not stand beside the newest version's, with the reason."""


@verb(
    "export",
    examples=[
        ("satchel export ../plans-git", "A git repository with a commit for each version."),
        (
            "satchel export --stream > plans.stream",
            "The same as a stream for `git fast-import`, where there is no git.",
        ),
    ],
    gives=(
        "`folder`, `project`, `url`, `commit` (the newest), `commits`, `versions`, `firstVersion`, `version`, "
        "`digest`, `expired` (versions kept no longer), `unsynced` (files), `missing` (each `version`, `path`), "
        "`clashes` (each `path`, `reason`)."
    ),
    statuses=(0, 1, 2, 3, 4, 5, 6),
)
@click.argument("folder", required=False)
@click.option("--stream", "streamed", is_flag=True, help="Write to stdout what `git fast-import` reads.")
@wait_option
def command(face: Face, folder: str | None, streamed: bool, wait: int) -> int:
    """Write the project and its history as a git repository.

    Each version of the hosted project becomes a commit: its author and time, its files byte for byte, and its number,
    digest and lineage as trailers. What this folder has otherwise than the newest version is one more commit, "not
    synced yet". A project without a remote is one commit of its files. FOLDER has to be new or empty, and is whole or
    not there.

    Versions that retention removed are not in it: the history begins later, and the first commit says so. Content
    that was purged or lost is left out; the commit and the command name it, and the exit status is 1. The same
    history gives the same commit ids, in any folder.
    """
    if streamed == (folder is not None):
        raise InvalidInput("name a folder, or --stream alone", hint="Such as:  satchel export ../my-project-git")
    if streamed and face.json:
        raise InvalidInput("with --stream the history is on stdout, and there is no place for JSON")
    if streamed and face.terminal:
        raise InvalidInput("a stream is nothing to read on a terminal", hint="satchel export --stream > history.stream")
    root = project_root(face)
    target = None if folder is None else Path(os.path.abspath(face.cwd / folder))
    progress = Progress(face)
    with closing(progress):
        if target is None:
            stream = GitStream(sys.stdout.buffer.write)
            written = _write(face, root, stream, progress, wait)
            sys.stdout.buffer.flush()
        else:
            check_target(target, root)
            with new_repository(target) as pipe:
                stream = GitStream(pipe.write)
                written = _write(face, root, stream, progress, wait)
    return _tell(face, root, target, stream, written)


def _write(face: Face, root: Path, stream: GitStream, progress: Progress, wait: int) -> _Written:
    here, config = local_project(root), read_project_config(root)
    with worktree_of(here) as worktree:
        if config.remote_url is None:
            written = _local_only(worktree, here.slug, stream)
        else:
            written = _hosted(face, worktree, stream, progress, wait)
    stream.end()
    return written


def _local_only(worktree: Worktree, slug: str, stream: GitStream) -> _Written:
    scan = worktree.scan()
    _send(worktree, stream, scan.tree)
    written = _Written(None, digest(scan.tree))
    body = "The files of the folder as it was: this project has no hosted history."
    said = message(f"The files of {slug}", body, [], {"Satchel-Digest": written.digest})
    stream.commit(Commit(*_NOBODY, _newest(worktree.root, scan.tree), said, scan.tree))
    return written


def _hosted(face: Face, worktree: Worktree, stream: GitStream, progress: Progress, wait: int) -> _Written:
    # What speaks to a network is loaded where the project has a remote.
    from satchel.cli.export_history import write_history
    from satchel.cli.hosted import project_remote
    from satchel.cli.waiting import patience

    _, remote, project = project_remote(face)
    with closing(remote):
        history = write_history(remote, project, stream, progress, patience(face, wait, progress.close))
    written = _Written(history, digest(history.tree))
    changes = _unsynced(worktree, history, stream, worktree.scan())
    written.clashes = _clashes(history.tree, changes)
    changes = {path: entry for path, entry in changes.items() if path not in written.clashes}
    if changes or history.head is None:
        _send(worktree, stream, changes)
        before = history.written(stream)
        written.digest = digest(_after(history.tree, changes))
        named = subject(changes, before)
        said = message(
            f"Not synced yet: {named[:1].lower()}{named[1:]}",
            "What the folder has otherwise than the newest version of the hosted project.",
            [],
            {"Satchel-Digest": written.digest},
        )
        when = max(history.time, _newest(worktree.root, changes))
        shown = {path: entry for path, entry in changes.items() if entry is not None or path in before}
        stream.commit(Commit(*_NOBODY, when, said, shown))
        written.unsynced = len(changes)
    return written


def _unsynced(worktree: Worktree, history: History, stream: GitStream, scan: Scan) -> dict[str, Entry | None]:
    """What was changed here since the folder was last in step, where the newest version has it otherwise.

    As for a sync, what is merely left out here, or was never fetched, is no deletion; and where the folder was in step
    with another line of history, nothing counts as deleted. What the server lost and the folder still has is among it.
    """
    from satchel.sync.folder import present
    from satchel.worktree.base import load_base

    base, _ = load_base(worktree.root)
    same_line = base is not None and history.head is not None and base.lineage == history.head.lineage
    known = base.tree if base is not None and same_line else {}
    mine = present(worktree.root, scan, known)
    edited = {path for path in known.keys() | mine.keys() if known.get(path) != mine.get(path)}
    changes = {path: mine.get(path) for path in edited if mine.get(path) != history.tree.get(path)}
    lost = {path for path, entry in history.tree.items() if not stream.has(entry.object)}
    changes.update((path, scan.tree[path]) for path in lost if scan.tree.get(path) == history.tree[path])
    return dict(sorted(changes.items()))


def _after(tree: Mapping[str, Entry], changes: Mapping[str, Entry | None]) -> dict[str, Entry]:
    whole = {**tree, **changes}
    return {path: entry for path, entry in whole.items() if entry is not None}


def _clashes(tree: Mapping[str, Entry], changes: Mapping[str, Entry | None]) -> dict[str, str]:
    """The paths here that cannot stand beside the rest: others made something of the same name meanwhile."""
    problems = tree_problems(_after(tree, changes))
    found = {path: reason for path, reason in problems.items() if path in changes}
    for older in problems.keys() - found.keys():
        found |= {path: problems[older] for path, entry in changes.items() if entry and tree_problems((older, path))}
    return found


def _send(worktree: Worktree, stream: GitStream, entries: Mapping[str, Entry | None]) -> None:
    for path, entry in entries.items():
        if entry is not None and not stream.has(entry.object):
            stream.blob(entry.object, worktree.read(path, expect=entry.object))


def _newest(root: Path, entries: Mapping[str, Entry | None]) -> int:
    """When the newest of these files was written, in seconds: a time that the next export finds again."""
    try:
        return max((int((root / path).stat().st_mtime) for path, entry in entries.items() if entry), default=0)
    except OSError as error:
        raise ChangedMeanwhile("a file went away while the folder was exported") from error


def _tell(face: Face, root: Path, target: Path | None, stream: GitStream, written: _Written) -> int:
    history, config = written.history, read_project_config(root)
    head = history.head if history else None
    missing = history.missing if history else []
    expired = history.expired if history else 0
    for version, path in missing[:MAX_SHOWN]:
        face.warn(f"left out of version {version}: {face.fit(path)} (its content was purged or lost)")
    for path, reason in list(written.clashes.items())[:MAX_SHOWN]:
        face.warn(f"left out of the last commit: {face.fit(path)} ({reason})")
    if more := max(len(missing) - MAX_SHOWN, 0) + max(len(written.clashes) - MAX_SHOWN, 0):
        face.warn(f"{more:,} more were left out; the commits name them")

    def show() -> None:
        if target is not None:
            what = f"{plural(stream.commits, 'commit')}, newest {commit[:12]}"
            face.line(f"{shown_path(target, face.cwd)}: {what}")
        if history is None:
            face.note("This project has no remote: its files are one commit.")
        elif expired and head is not None:
            face.note(
                f"The history begins at version {history.first}: {expired:,} older are kept no longer (retention)."
            )
        if written.unsynced:
            face.note(f"The last commit is what was not synced yet: {plural(written.unsynced, 'file')}.")

    commit = head_of(target) if target is not None else ""
    data = {
        "folder": None if target is None else str(target),
        "project": config.name,
        "url": config.remote_url,
        "commit": commit,
        "commits": stream.commits,
        "versions": history.versions if history else 0,
        "firstVersion": history.first if history else None,
        "version": head.version if head else None,
        "digest": written.digest,
        "expired": expired,
        "unsynced": written.unsynced,
        "missing": [{"version": version, "path": path} for version, path in missing],
        "clashes": [{"path": path, "reason": reason} for path, reason in written.clashes.items()],
    }
    face.answer(data, show)
    return 1 if missing or written.clashes else 0
