"""Which paths may not travel in this run, and why: what left the selection, what the policies of the project say, and
what cannot be read here.

Rules that leave a path out never delete it, on neither side: whoever narrows what is synced has not asked for that.
``prune`` is for those who do.
"""

from __future__ import annotations

from collections.abc import Mapping

from satchel.objects.listing import Tree
from satchel.objects.reviews import is_review_list
from satchel.sync.barring import Barred, planned
from satchel.sync.folder import unread
from satchel.sync.plan import Clash, Plan
from satchel.sync.report import NO_PERSON as NO_PERSON
from satchel.sync.report import UNREAD
from satchel.worktree.durable import upward
from satchel.worktree.policy import Governing
from satchel.worktree.selecting import selection
from satchel.worktree.walk import Scan, Worktree

REVIEWS_STAY = (
    "What is reviewed (reviewed.sha256) was not sent: only a person says so, and this folder syncs with a key or for "
    "an agent. Sign in yourself and sync again:  satchel login"
)
LEFT_SELECTION = "not selected here"
TOO_LARGE = "over the limit of bytes a file may have here"
_POLICIES = {
    "local-only": Barred("local-only"),
    "pull-only": Barred("pull-only", pull=False),
    "push-only": Barred("push-only", push=False),
}


def barred(
    worktree: Worktree, governing: Governing, scan: Scan, made: Plan, sizes: Mapping[str, int]
) -> dict[str, Barred]:
    """The planned paths that may not travel. ``sizes`` are those of the cloud's files, as far as they are known."""
    bars: dict[str, Barred] = {}
    selects, why_not = None, unread(scan)
    grown = {left.path for left in scan.left_out if left.reason == "too-large"}
    for path in planned(made):
        policy = governing.of(path)
        if why_not(path) is not None:  # nobody knows what a rule in there would say, or what is there to be replaced
            bars[path] = Barred(UNREAD)
        elif policy is not None:
            bars[path] = _POLICIES[policy]
        elif path not in scan.tree:
            selects = selects or selection(worktree)
            if not selects(path):
                bars[path] = Barred(LEFT_SELECTION)
            elif path in grown or (
                made.pull.get(path) is not None and sizes.get(path, 0) > worktree.rules.max_file_bytes
            ):
                bars[path] = Barred(TOO_LARGE)
    return bars


def reviews(made: Plan) -> dict[str, Barred]:
    """What of the plan only a person may send."""
    return {path: Barred(NO_PERSON, pull=False) for path in planned(made) if is_review_list(path)}


def prune(made: Plan, worktree: Worktree, scan: Scan, cloud: Tree) -> set[str]:
    """Have the plan delete in the cloud everything that the rules leave out here. The files here stay.

    A folder with more rules than are read is left out too, but nobody asked for that.
    """
    selects, why_not = selection(worktree), unread(scan)
    unruled = {"" if left.path == "." else left.path for left in scan.left_out if left.reason == "too-many-rules"}
    gone = {
        path
        for path in cloud
        if path not in scan.tree and why_not(path) is None and unruled.isdisjoint(upward(path)) and not selects(path)
    }
    for name in gone & made.moves.keys():  # renamed there to where nothing is fetched: the edit here follows it nowhere
        move = made.moves.pop(name)
        made.conflicts[move.source] = Clash(move.base, move.edited, None)
    for path in sorted(gone):
        for part in (made.pull, made.both, made.merge, made.conflicts):
            part.pop(path, None)
        made.push[path] = None
    return gone
