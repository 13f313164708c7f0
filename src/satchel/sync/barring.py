"""Paths that may not travel, taken out of a plan before anything is decided about the rest. Pure.

What is withheld keeps its old base, so that it is planned afresh next time from the same three states.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import NamedTuple

from satchel.objects.listing import Entry, Tree
from satchel.sync.plan import Clash, Plan
from satchel.sync.session import Steps


class Barred(NamedTuple):
    """Why a path may not travel, and in which directions."""

    reason: str
    push: bool = True
    pull: bool = True


def planned(made: Plan) -> Iterable[str]:
    """Every path that a plan does something about."""
    sources = (move.source for move in made.moves.values())
    return dict.fromkeys((*made.push, *made.pull, *made.both, *made.merge, *made.moves, *sources, *made.conflicts))


def withhold(
    made: Plan, base: Tree, local: Tree, cloud: Tree, barred: Mapping[str, Barred]
) -> tuple[Plan, dict[str, str]]:
    """The plan without what is barred, and that with the reason for each path.

    What both sides changed would have to travel both ways, or one side would lose: it is withheld whichever is barred.
    """
    if not barred:
        return made, {}
    rest = _without_moves(made, base, local, cloud, barred)
    withheld: dict[str, str] = {}
    parts: tuple[dict[str, Entry | None] | dict[str, Entry] | dict[str, Clash], ...]
    for path, bar in barred.items():
        parts = (rest.both, rest.merge, rest.conflicts)
        parts = (*parts, *((rest.push,) if bar.push else ()), *((rest.pull,) if bar.pull else ()))
        for part in parts:
            if path in part:
                del part[path]
                withheld[path] = bar.reason
    return rest, withheld


def keep(steps: Steps, withheld: Mapping[str, str], base: Tree, cloud: Tree, absent: Iterable[str] = ()) -> None:
    """Hold what is withheld at its base; what is ``absent`` counts as never seen."""
    for path in withheld:
        if base.get(path) != cloud.get(path):
            steps.held[path] = base.get(path)
    for path in absent:
        if path in withheld and path in cloud:
            steps.held[path] = None


def _without_moves(made: Plan, base: Tree, local: Tree, cloud: Tree, barred: Mapping[str, Barred]) -> Plan:
    """A copy in which no barred path is half of a move: the halves are two paths that differ, as any others."""
    rest = Plan(
        dict(made.push), dict(made.pull), dict(made.both), dict(made.merge), {}, dict(made.conflicts), made.agreed
    )
    for name, move in made.moves.items():
        if name not in barred and move.source not in barred:
            rest.moves[name] = move
            continue
        (rest.push if move.here else rest.pull)[name] = (local if move.here else cloud).get(name)
        rest.conflicts[move.source] = Clash(base.get(move.source), local.get(move.source), cloud.get(move.source))
    return rest
