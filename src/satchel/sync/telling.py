"""A sync's steps in the words of its report."""

from __future__ import annotations

from collections.abc import Mapping

from satchel.errors import NotFound
from satchel.objects.listing import Entry, Tree
from satchel.sync.merge import Hunk, hunks
from satchel.sync.peer import NearQuota
from satchel.sync.plan import Clash
from satchel.sync.record import Remembered
from satchel.sync.report import ChangedPath, ConflictPath, SyncReport
from satchel.sync.session import Conflict, Steps
from satchel.worktree.base import CloudEntry
from satchel.worktree.walk import Worktree


class Lines:
    """Where the conflicts of a file stand: in what is about to be written, or in the file itself."""

    def __init__(self, worktree: Worktree, steps: Steps, known: Remembered) -> None:
        self._worktree, self._steps, self._known = worktree, steps, known

    def of(self, path: str) -> list[list[int]]:
        entry = self._steps.pull.get(path)
        if entry is not None and entry.object in self._steps.contents:
            found = hunks(self._steps.contents[entry.object])
        elif path in self._known.open:
            found = hunks_of(self._worktree, path)
        else:
            return []
        return [[hunk.first, hunk.last] for hunk in found]


def hunks_of(worktree: Worktree, path: str) -> list[Hunk]:
    try:
        return hunks(worktree.read(path))
    except NotFound:
        return []


def tell_waiting(
    report: SyncReport, steps: Steps, local: Tree, theirs: Tree, lines: Lines, entries: Mapping[str, CloudEntry]
) -> None:
    report.waiting_push, report.waiting_pull = steps.waiting_push, steps.waiting_pull
    report.untrusted = list(steps.untrusted)
    for path, conflict in sorted(steps.conflicts.items()):
        report.conflicts.append(conflict_path(path, conflict, lines.of(path), entries))
    for path, reason in steps.name_clashes.items():
        clash = Clash(None, local.get(path), theirs.get(path))
        report.conflicts.append(conflict_path(path, Conflict(clash, reason), [], entries, "rename"))
    for path, reason in steps.queued.items():
        clash = Clash(None, local.get(path), theirs.get(path))
        report.conflicts.append(conflict_path(path, Conflict(clash, reason), [], entries, "sync"))


def conflict_path(
    path: str,
    conflict: Conflict,
    lines: list[list[int]],
    entries: Mapping[str, CloudEntry],
    settle: str = "resolve",
) -> ConflictPath:
    (_, here, there), reason, beside = conflict
    made = entries.get(path)
    return ConflictPath(
        path,
        reason,
        here.object if here else None,
        there.object if there else None,
        lines,
        beside,
        made.author if made else None,
        made.version if made else None,
        settle,
    )


def changed_paths(steps: Steps, changes: Mapping[str, Entry | None], before: Tree) -> list[ChangedPath]:
    """What to tell of changes that are no merges and no conflicts."""
    told = {*steps.merged, *steps.moves.values(), *steps.conflicts}
    told |= {conflict.beside for conflict in steps.conflicts.values() if conflict.beside}
    return [
        ChangedPath(path, "deleted" if entry is None else "changed" if path in before else "added")
        for path, entry in sorted(changes.items())
        if path not in told
    ]


def near(quota: NearQuota) -> str:
    """What to say of a quota that is nearly used up."""
    percent = quota.used * 100 // max(quota.limit, 1)
    return (
        f"{percent} % of the tenant's quota {quota.name} is used ({quota.used:,} of {quota.limit:,}). "
        "Once it is full nothing more is taken: satchel tenant usage"
    )
