"""What a sync would do, as far as the folder alone can tell."""

from __future__ import annotations

from satchel.objects.listing import Tree
from satchel.sync import selection
from satchel.sync.barring import withhold
from satchel.sync.choices import Direction
from satchel.sync.conflicts import ConflictStore
from satchel.sync.folder import present
from satchel.sync.lastlook import hold
from satchel.sync.plan import plan
from satchel.sync.record import Remembered
from satchel.sync.report import SyncReport
from satchel.sync.session import choose, fold
from satchel.sync.telling import Lines, changed_paths, tell_waiting
from satchel.worktree.base import entries_of, load_base
from satchel.worktree.policy import Governing
from satchel.worktree.walk import Worktree


def status(worktree: Worktree, governing: Governing | None = None) -> SyncReport:
    """What a sync would do as far as the folder alone knows: nothing is asked, nothing is written."""
    scan = worktree.scan()
    base, notices = load_base(worktree.root)
    report = SyncReport(Direction.BOTH, dry_run=True, notices=[*notices, *scan.notices], left_out=scan.left_out)
    if base is not None:
        report.lineage, report.version, report.digest = base.lineage, base.version, base.digest
    saved = base.tree if base else None
    cloud = entries_of(base.cloud) if base else {}
    whole = present(worktree.root, scan, saved or {})
    known = ConflictStore(worktree.root).load().judged(saved, whole)
    before, local = seen(saved or {}, whole, known)
    made = plan(before, local, cloud)
    bars = selection.barred(worktree, governing or Governing(), scan, made, {})
    made, report.withheld = withhold(made, before, local, cloud, bars)
    steps = choose(made, before, whole, cloud, known=known)
    report.notices += hold(steps.push, before, whole, dry_run=True)
    report.pushed, report.pulled = changed_paths(steps, steps.push, cloud), changed_paths(steps, steps.pull, local)
    tell_waiting(report, steps, whole, cloud, Lines(worktree, steps, known), base.cloud if base else {})
    return report


def seen(base: Tree, whole: Tree, known: Remembered) -> tuple[Tree, Tree]:
    """Base and folder to plan with: what is remembered of merges counts, the cloud's files beside ours do not."""
    beside = {record.beside for record in known.beside.values()}
    if known.base:
        base = fold(base, known.base.items())
    return base, {path: entry for path, entry in whole.items() if path not in beside} if beside else whole
