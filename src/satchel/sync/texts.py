"""The contents that a merge needs, looked for where they are: folder, cloud and undo store.

The base's content is an older version of the hosted project. Where retention removed it and nobody here kept it, the
merge goes without, and is a conflict.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from satchel.errors import NotFound
from satchel.objects.ids import ObjectId
from satchel.sync.fetching import fetch
from satchel.sync.heal import kept_here
from satchel.sync.merge import MAX_MERGE_BYTES, Apart, Gone, Marked, Outcome, merge
from satchel.sync.peer import Peer
from satchel.sync.plan import Clash
from satchel.sync.pull import Cloud
from satchel.sync.record import Sides
from satchel.worktree.former import Former
from satchel.worktree.walk import ChangedMeanwhile, Scan, Worktree

MAX_BYTES_AT_ONCE = 48 << 20
"""Content of all sides that one run holds to merge; what is beyond goes with the next one."""

GONE = "changed on both sides, and the cloud has lost what it had there: --strategy local sends this one"


@dataclass(slots=True)
class Looked:
    """What became of the texts that both sides changed; a path that is missing was not looked at."""

    outcomes: dict[str, Outcome] = field(default_factory=dict)
    sides: dict[str, Sides] = field(default_factory=dict)
    """Of those in conflict: what met."""


def look(worktree: Worktree, peer: Peer, project: str, merges: Mapping[str, Clash], scan: Scan, cloud: Cloud) -> Looked:
    """Merge what both sides changed. Raises what the peer raises."""
    looked = Looked()
    mine: dict[str, bytes] = {}
    wanted: dict[ObjectId, int | None] = {}
    room = MAX_BYTES_AT_ONCE
    for path, clash in merges.items():
        if clash.local is None or clash.cloud is None:
            continue
        sizes = scan.sizes.get(path, 0), cloud.sizes.get(path, 0)
        if max(sizes) > MAX_MERGE_BYTES:
            looked.outcomes[path] = Apart("both changed it, and it is too long to merge")
            continue
        room -= 2 * sum(sizes)
        if room < 0 and mine:
            break
        try:
            data = worktree.read(path, clash.local.object)
        except (ChangedMeanwhile, NotFound):
            continue  # it is just being edited
        if b"\0" in data:
            looked.outcomes[path] = Apart("both changed it, and it is not text")
            continue
        mine[path] = data
        wanted.setdefault(clash.cloud.object, cloud.sizes.get(path))
        if clash.base is not None:
            wanted.setdefault(clash.base.object, None)
    lost: set[ObjectId] = set()
    found = Former(worktree.root).read({clash.base.object for path in mine if (clash := merges[path]).base is not None})
    found |= dict(fetch(peer, project, {name: size for name, size in wanted.items() if name not in found}, lost))
    found |= dict(kept_here(worktree.root, set(lost)))
    for path, data in mine.items():
        _merge(looked, path, merges[path], data, found)
    return looked


def _merge(looked: Looked, path: str, clash: Clash, mine: bytes, found: Mapping[ObjectId, bytes]) -> None:
    theirs = found.get(clash.cloud.object) if clash.cloud else None
    if clash.cloud is not None and theirs is None:  # the server lost it and asks for it, or somebody purged it
        looked.outcomes[path] = Gone(GONE)
    if theirs is None:
        return
    base = found.get(clash.base.object) if clash.base else None
    outcome = looked.outcomes[path] = merge(path, base, mine, theirs, made=clash.base is None)
    if isinstance(outcome, Marked):
        looked.sides[path] = Sides(base, mine, theirs)
