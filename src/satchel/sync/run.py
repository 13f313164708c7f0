"""One sync of a folder. Whether there is anything to do is found out first, without loading what would do it.

Most syncs find nothing: they look at the folder once, ask the server once and decode no record of what both hold, since
the digest of the folder tells as much (``docs/spec/sync.md``). Whatever is not as plain as that is for ``attempts``.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING

from satchel.sync.choices import Direction, Strategy
from satchel.sync.lastlook import NOTHING_SAID, Deletions
from satchel.sync.peer import Peer
from satchel.sync.reading import Start, start
from satchel.sync.report import SyncReport
from satchel.worktree.durable import by_name
from satchel.worktree.find import ProjectConfig, local_dir
from satchel.worktree.lock import folder_lock
from satchel.worktree.policy import Governing
from satchel.worktree.undo import BOUNDS, Bounds
from satchel.worktree.walk import Worktree

if TYPE_CHECKING:
    from satchel.sync.attempts import Attempts
    from satchel.sync.patience import Patience
    from satchel.sync.push import Progress


def run(
    worktree: Worktree,
    peer: Peer,
    project: str,
    direction: Direction = Direction.BOTH,
    *,
    strategy: Strategy = Strategy.MANUAL,
    dry_run: bool = False,
    trust: bool = False,
    prune: bool = False,
    person: bool = True,
    deletions: Deletions = NOTHING_SAID,
    began: ProjectConfig | None = None,
    governing: Governing | None = None,
    progress: Progress | None = None,
    patience: Patience | None = None,
    bounds: Bounds = BOUNDS,
    random: Callable[[int], bytes] = os.urandom,
    clock_ns: Callable[[], int] = time.time_ns,
) -> SyncReport:
    """Bring the folder and ``project`` on ``peer`` in step. Holds the folder's lock, but for a dry run of a folder that
    cannot be written.

    With ``patience`` a peer that is away for a while is waited for. What was done before is found done then, and a push
    that is repeated goes under the same key.

    ``prune`` deletes in the cloud what the rules leave out here; nothing else ever does. ``governing`` are the policies
    of the project. ``deletions`` is what was said of files that are gone here, and ``began`` the settings that the
    folder has to have still when anything is sent. ``person`` False says that no person sends this: what only a person
    may send stays here, as it does where the peer finds so. Conflicts are no error: they are in the report, and
    everything else is in step. Raises ``Busy``, ``ServerAway``, ``ServerLied``, ``HeadMoved`` (somebody else was faster
    each time), ``ManyDeletions``, ``NotAProject`` where the folder is not what it ``began`` as, and what the peer
    refuses with.
    """
    report = SyncReport(direction, dry_run)
    one: Attempts | None = None

    def work() -> None:
        nonlocal one
        if one is None:
            looked = _look(worktree, peer, project, report)
            if looked is None:
                return
            from satchel.sync.attempts import Attempts  # what most syncs have no use for

            one = Attempts(worktree, peer, project, report, strategy, trust, progress, bounds, random, clock_ns, looked)
            del looked  # of many files it takes room
            one.prune, one.person, one.governing = prune, person, governing or one.governing
            one.deletions, one.began = deletions, began
        one.through()

    with folder_lock(worktree.root, writes=not dry_run), by_name(worktree.root):
        if patience is None:
            work()
        else:
            patience.through(work)
    return report


def _look(worktree: Worktree, peer: Peer, project: str, report: SyncReport) -> Start | None:
    """``None``, and a finished ``report``, where folder and cloud are as the last sync left them, and whole.

    Else what was seen.
    """
    found = start(worktree)
    scan, base = found.scan, found.base
    head = base.head if base.plain and not _conflicts(worktree) else None
    if head is None or head[2] != scan.digest:
        return found
    changes = peer.changes(project, head[1], head[0])
    if changes.items or changes.damaged or changes.head != head:
        return found._replace(changes=changes)
    report.lineage, report.version, report.digest = changes.head
    report.left_out = scan.left_out
    report.notices += scan.notices
    return None


def _conflicts(worktree: Worktree) -> bool:
    """Whether anything is remembered of a merge."""
    with suppress(OSError), os.scandir(local_dir(worktree.root) / "conflicts") as found:
        return any(True for _ in found)
    return False
