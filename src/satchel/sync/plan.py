"""What each side has to learn from the other: one pure function over three trees.

For a path let B, L and C be what the base, the folder and the cloud hold (an entry, or nothing):

    L = C             in step already; if B differs, both made the same change
    L = B, C != B     the cloud changed it: pull
    C = B, L != B     the folder changed it: push
    all three differ  conflict: nobody's bytes are chosen

Nothing is an ordinary value of B, L and C, so deletions travel, and an edit against a deletion is a conflict.
An empty base therefore deletes nothing: a path that one side lacks is new, never deleted.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

from satchel.objects.ids import ObjectId
from satchel.objects.listing import Entry, Tree

NEITHER = Entry("100644", ObjectId("0" * 64))
"""A base entry that no file can have: a path whose base is this differs from both sides, so it is a conflict
until somebody decides. ``undo`` marks the files it brought back with it."""


class Clash(NamedTuple):
    """What the three sides hold where nobody can choose for the person; ``None`` is no file."""

    base: Entry | None
    local: Entry | None
    cloud: Entry | None


@dataclass(frozen=True, slots=True)
class Plan:
    """Every path on which the sides differ is in exactly one of these; ``None`` as an entry means: delete."""

    push: dict[str, Entry | None] = field(default_factory=dict)
    pull: dict[str, Entry | None] = field(default_factory=dict)
    conflicts: dict[str, Clash] = field(default_factory=dict)
    agreed: tuple[str, ...] = ()
    """Paths that both sides changed to the same content since the base."""


def plan(base: Tree, local: Tree, cloud: Tree) -> Plan:
    """Compare three trees path by path, in path order."""
    push: dict[str, Entry | None] = {}
    pull: dict[str, Entry | None] = {}
    conflicts: dict[str, Clash] = {}
    agreed: list[str] = []
    if base == local == cloud:
        return Plan()
    for path in sorted(base.keys() | local.keys() | cloud.keys()):
        was, mine, theirs = base.get(path), local.get(path), cloud.get(path)
        if mine == theirs:
            if was != mine:
                agreed.append(path)
        elif mine == was:
            pull[path] = theirs
        elif theirs == was:
            push[path] = mine
        else:
            conflicts[path] = Clash(was, mine, theirs)
    return Plan(push, pull, conflicts, tuple(agreed))
