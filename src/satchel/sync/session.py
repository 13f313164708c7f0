"""What one sync will do: a plan seen through a direction, a strategy and the rules on names. Pure.

``choose`` turns a plan into ``Steps``: what to write in the folder, what to send, and which paths keep their old
base (are *held*) because the folder does not have the cloud's content yet. A held path is planned afresh next time from
the same base, so whatever is left undone today is neither forgotten nor mistaken for a decision.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import Enum

from satchel.objects.listing import Entry, Tree
from satchel.objects.paths import executed_by_tools, tree_problems
from satchel.sync.plan import Clash, Plan


class Direction(Enum):
    """Which way content may travel in one run."""

    BOTH = "both"
    TO_CLOUD = "to-cloud"
    FROM_CLOUD = "from-cloud"


class Strategy(Enum):
    """Who wins where both sides changed a file. What loses stays in the undo store or in the cloud's history."""

    MANUAL = "manual"
    LOCAL = "local"
    CLOUD = "cloud"


@dataclass(frozen=True, slots=True)
class Steps:
    """What to do, path by path; ``None`` as an entry means: delete."""

    push: dict[str, Entry | None]
    pull: dict[str, Entry | None]
    conflicts: dict[str, Clash]
    """Nobody decided: both sides keep what they have."""
    name_clashes: dict[str, str]
    """Path to reason: no folder could hold this path beside another one (``a`` and ``a/b``, ``A`` and ``a``)."""
    untrusted: tuple[str, ...]
    """Files that tools execute on their own, waiting in the cloud until a pull with trust."""
    waiting_push: int
    """Local changes that this direction does not send."""
    waiting_pull: int
    """Cloud changes that this direction does not fetch."""
    held: dict[str, Entry | None]
    """Base entries to keep where the base will not be the cloud's entry."""


def choose(
    made: Plan,
    base: Tree,
    local: Tree,
    cloud: Tree,
    *,
    direction: Direction = Direction.BOTH,
    strategy: Strategy = Strategy.MANUAL,
    trust: bool = False,
) -> Steps:
    """Decide what to do about each difference of ``made = plan(base, local, cloud)``."""
    push, pull, conflicts = dict(made.push), dict(made.pull), dict(made.conflicts)
    if strategy is Strategy.LOCAL:
        push |= {path: clash.local for path, clash in conflicts.items()}
        conflicts = {}
    elif strategy is Strategy.CLOUD:
        pull |= {path: clash.cloud for path, clash in conflicts.items()}
        conflicts = {}
    clashes = _name_clashes(cloud, push) | _name_clashes(local, pull)
    held = {path: base.get(path) for path in (*conflicts, *clashes) if base.get(path) != cloud.get(path)}
    for path in clashes:
        push.pop(path, None)
        pull.pop(path, None)
    untrusted = () if trust else tuple(path for path, entry in pull.items() if entry and executed_by_tools(path))
    for path in untrusted:
        # Local content that lost to the cloud waits too: from the base it then had, or the next plan would push it.
        held[path] = base.get(path) if path in made.pull else local.get(path)
        del pull[path]
    waiting_push = waiting_pull = 0
    if direction is Direction.FROM_CLOUD:
        waiting_push, push = len(push), {}
    elif direction is Direction.TO_CLOUD:
        # The base of what is not fetched now: where the cloud won a conflict, the local entry, so that it stays won.
        held |= {path: base.get(path) if path in made.pull else local.get(path) for path in pull}
        waiting_pull, pull = len(pull), {}
    return Steps(push, pull, conflicts, clashes, untrusted, waiting_push, waiting_pull, held)


def _name_clashes(tree: Tree, steps: Mapping[str, Entry | None]) -> dict[str, str]:
    """The paths that ``steps`` would add to ``tree`` and that could not stand beside the rest of it."""
    added = [path for path, entry in steps.items() if entry is not None and path not in tree]
    if not added:
        return {}
    kept = [path for path in tree if steps.get(path, True) is not None]
    problems = tree_problems([*kept, *added])
    clashes = {path: reason for path, reason in problems.items() if path in steps}
    for path, reason in problems.items():
        if path not in clashes:  # the older path was named: whatever is added and clashes with it has to wait
            clashes |= {other: reason for other in added if tree_problems((path, other))}
    return clashes


def fold(base: Mapping[str, Entry], changes: Iterable[tuple[str, Entry | None]]) -> dict[str, Entry]:
    """The tree after ``changes`` (``None`` deletes)."""
    tree = dict(base)
    for path, entry in changes:
        if entry is None:
            tree.pop(path, None)
        else:
            tree[path] = entry
    return tree
