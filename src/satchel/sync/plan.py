"""What each side has to learn from the other: one pure function over three trees.

For a path let B, L and C be what the base, the folder and the cloud hold (an entry, or nothing):

    L = C             in step already; if B differs, both made the same change
    L = B, C != B     the cloud changed it: pull
    C = B, L != B     the folder changed it: push
    all three differ  one changed the content, the other the mode: both get both
                      both changed the content: the texts may merge, line by line
                      one has no file: a conflict, unless that one renamed it. Then the edit follows the rename

Nothing is an ordinary value of B, L and C, so deletions travel, and an edit against a deletion is a conflict.
An empty base therefore deletes nothing: a path that one side lacks is new, never deleted. ``docs/spec/sync.md`` has
the table of all cases.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import NamedTuple

from satchel.objects.ids import ObjectId
from satchel.objects.listing import Entry, Tree
from satchel.objects.paths import collision_key

NEITHER = Entry("100644", ObjectId("0" * 64))
"""A base entry that no file can have: a path whose base is this differs from both sides, so it is a conflict
until somebody decides. ``undo`` marks the files it brought back with it."""


class Clash(NamedTuple):
    """What the three sides hold; ``None`` is no file."""

    base: Entry | None
    local: Entry | None
    cloud: Entry | None


class Move(NamedTuple):
    """A file that one side renamed and the other edited under its old name."""

    source: str
    """The old name."""
    base: Entry
    result: Entry
    """What both sides shall hold under the new name: the edit."""
    edited: Entry
    """What the side that edited holds under the old name."""
    here: bool
    """Whether the folder renamed it; else the cloud did."""


@dataclass(frozen=True, slots=True)
class Plan:
    """Every path on which the sides differ is in exactly one of these (a move is in for its two names); ``None`` as an
    entry means: delete."""

    push: dict[str, Entry | None] = field(default_factory=dict)
    pull: dict[str, Entry | None] = field(default_factory=dict)
    both: dict[str, Entry] = field(default_factory=dict)
    """One side changed the content, the other the mode: what both shall hold."""
    merge: dict[str, Clash] = field(default_factory=dict)
    """Both changed the content: a conflict, unless their lines merge."""
    moves: dict[str, Move] = field(default_factory=dict)
    """By the new name."""
    conflicts: dict[str, Clash] = field(default_factory=dict)
    agreed: tuple[str, ...] = ()
    """Paths that both sides changed to the same content since the base."""


def plan(base: Tree, local: Tree, cloud: Tree) -> Plan:
    """Compare three trees path by path, in path order."""
    made = Plan()
    if base == local == cloud:
        return made
    agreed: list[str] = []
    differ = {path for path, entry in base.items() if local.get(path) != entry or cloud.get(path) != entry}
    for path in sorted(differ | (local.keys() | cloud.keys()) - base.keys()):
        was, mine, theirs = base.get(path), local.get(path), cloud.get(path)
        if mine == theirs:
            if was != mine:
                agreed.append(path)
        elif mine == was:
            made.pull[path] = theirs
        elif theirs == was:
            made.push[path] = mine
        elif mine is None or theirs is None or was == NEITHER:
            made.conflicts[path] = Clash(was, mine, theirs)
        else:
            _both_hold_it(made, path, was, mine, theirs)
    if made.conflicts:
        _follow(made, base, local, cloud, made.push, here=True)
        _follow(made, base, cloud, local, made.pull, here=False)
    return Plan(made.push, made.pull, made.both, made.merge, made.moves, made.conflicts, tuple(agreed))


def merged_mode(was: Entry | None, mine: Entry, theirs: Entry) -> str:
    """The mode after both: whoever changed it counts. Without a base a file that one side can run stays so."""
    if mine.mode == theirs.mode:
        return mine.mode
    if was is None:
        return max(mine.mode, theirs.mode)
    return theirs.mode if mine.mode == was.mode else mine.mode


def _both_hold_it(made: Plan, path: str, was: Entry | None, mine: Entry, theirs: Entry) -> None:
    """A file that is not the base's on either side, nor the same."""
    mode = merged_mode(was, mine, theirs)
    if mine.object == theirs.object or (was is not None and mine.object == was.object):
        result = Entry(mode, theirs.object)
    elif was is not None and theirs.object == was.object:
        result = Entry(mode, mine.object)
    else:
        made.merge[path] = Clash(was, mine, theirs)
        return
    if result == theirs:
        made.pull[path] = result
    elif result == mine:
        made.push[path] = result
    else:
        made.both[path] = result


def _follow(made: Plan, base: Tree, side: Tree, other: Tree, outgoing: dict[str, Entry | None], *, here: bool) -> None:
    """Let the edits of ``other`` follow the renames of ``side``, whose new names are among its ``outgoing``.

    A rename is a path of the base that is gone and a new path with the very same content, one of each.
    """
    gone = {
        path: clash.base
        for path, clash in made.conflicts.items()
        if clash.base is not None and clash.base != NEITHER and path not in side and path in other
    }
    if not gone:
        return
    left = Counter(entry.object for path, entry in base.items() if path not in side)
    came: dict[ObjectId, list[str]] = {}
    for path, entry in side.items():
        if path not in base:
            came.setdefault(entry.object, []).append(path)
    for source, was in gone.items():
        names = came.get(was.object, [])
        if len(names) != 1 or left[was.object] != 1:
            continue
        name = names[0]
        if outgoing.get(name) != side[name] or _in_the_way(source, name):
            continue
        edited = other[source]
        result = Entry(merged_mode(was, side[name], edited), edited.object)
        made.moves[name] = Move(source, was, result, edited, here)
        del made.conflicts[source], outgoing[name]


def _in_the_way(one: str, other: str) -> bool:
    """Whether no folder can hold both names for a moment."""
    a, b = collision_key(one), collision_key(other)
    return a == b or a.startswith(b + "/") or b.startswith(a + "/")
