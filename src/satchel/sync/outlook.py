"""What a sync would do, as far as the folder alone can tell."""

from __future__ import annotations

from satchel.errors import InvalidInput
from satchel.objects.listing import Tree
from satchel.sync import selection
from satchel.sync.barring import Barred, withhold
from satchel.sync.choices import Direction
from satchel.sync.conflicts import ConflictStore
from satchel.sync.folder import present
from satchel.sync.lastlook import hold
from satchel.sync.plan import Plan, plan
from satchel.sync.record import Remembered
from satchel.sync.report import SyncReport
from satchel.sync.session import Steps, choose, fold
from satchel.sync.telling import Lines, changed_paths, tell_waiting
from satchel.worktree.base import entries_of, load_base
from satchel.worktree.policy import Governing
from satchel.worktree.walk import Scan, Worktree

MAX_LOOKED_BYTES = 8 << 20
"""Of changed content that is looked through for credentials: 0.1 s. What a first sync of a large folder would hold back
its dry run tells."""


def status(worktree: Worktree, governing: Governing | None = None, *, look: bool = True) -> SyncReport:
    """What a sync would do as far as the folder alone knows: nothing is asked. Without ``look`` what changed is not
    looked through for credentials."""
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
    governing = governing or Governing()
    bars = selection.barred(worktree, governing, scan, made, {})
    made, report.withheld = withhold(made, before, local, cloud, bars)

    def chosen(made: Plan) -> Steps:
        return choose(made, before, whole, cloud, known=known)

    steps = chosen(made)
    if look and steps.push and _held_back(report, worktree, steps, scan, cloud, governing):
        secret = {found.path: Barred("secret") for found in report.secrets}
        steps = chosen(withhold(made, before, local, cloud, secret)[0])
    report.notices += hold(steps.push, before, whole, dry_run=True)
    report.pushed, report.pulled = changed_paths(steps, steps.push, cloud), changed_paths(steps, steps.pull, local)
    tell_waiting(report, steps, whole, cloud, Lines(worktree, steps, known), base.cloud if base else {})
    return report


def _held_back(
    report: SyncReport, worktree: Worktree, steps: Steps, scan: Scan, cloud: Tree, governing: Governing
) -> bool:
    """Tell of what looks like a credential; whether anything does, and is held back."""
    from satchel.sync.holdback import judge  # for a folder in which something changed
    from satchel.sync.push import FileMoved

    if sum(scan.sizes.get(path, 0) for path, entry in steps.push.items() if entry is not None) > MAX_LOOKED_BYTES:
        report.notices.append(
            "So much is new that it was not looked through for credentials: satchel sync --dry-run does"
        )
        return False
    try:
        judged = judge(worktree.root, steps.push, cloud, governing, steps.contents, steps.moves)
    except FileMoved:
        return False  # it is just being edited
    except InvalidInput as error:  # a sync ends with it
        report.notices.append(error.message)
        return False
    report.secrets, report.secrets_allowed = judged.found, list(judged.allowed)
    return bool(judged.found)


def seen(base: Tree, whole: Tree, known: Remembered) -> tuple[Tree, Tree]:
    """Base and folder to plan with: what is remembered of merges counts, the cloud's files beside ours do not."""
    beside = {record.beside for record in known.beside.values()}
    if known.base:
        base = fold(base, known.base.items())
    return base, {path: entry for path, entry in whole.items() if path not in beside} if beside else whole
