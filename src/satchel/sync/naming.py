"""Names in the way of each other, and files that go by a new one: what of a set of steps has to wait. Pure."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Collection, Container, Iterator, Mapping

from satchel.objects.ids import ObjectId
from satchel.objects.listing import Entry, Tree
from satchel.objects.paths import collision_key, tree_problems

WAITS_FOR = "waits for "
"""Begins the reason of what is sent once another path is."""


def name_clashes(tree: Tree, steps: Mapping[str, Entry | None]) -> dict[str, str]:
    """The paths that ``steps`` would add to ``tree`` and that could not stand beside the rest of it."""
    added = [path for path, entry in steps.items() if entry is not None and path not in tree]
    if not added:
        return {}
    kept = [path for path in tree if steps.get(path, True) is not None]
    problems = tree_problems([*kept, *added])
    clashes = {path: problems[path] for path in added if path in problems}
    # What was there before stays: whatever is added and clashes with it has to wait.
    stood = {collision_key(path): path for path in sorted(problems.keys() - clashes.keys(), reverse=True)}
    within = {folder: path for key, path in stood.items() for folder in above(key)}
    for other in added if stood else ():
        key = collision_key(other)
        path = within.get(key) or next((stood[each] for each in (key, *above(key)) if each in stood), None)
        if path is not None:
            clashes[other] = f"no folder can hold it beside {path}"
    return clashes


def above(path: str) -> Iterator[str]:
    """The folders that a path lies in."""
    while path := path.rpartition("/")[0]:
        yield path


def first_clash(before: Container[str], after: Collection[str]) -> dict[str, str]:
    """The first path that cannot stand in the tree ``after``, of those that are new in it, with the reason; or none.

    Linear in the paths, whatever they are.
    """
    problems = tree_problems(after)
    for path in problems:
        if path not in before:
            return {path: problems[path]}
    for path in problems:  # it was there before, and something new is in its way
        for other in after:
            if other not in before and tree_problems((path, other)):
                return {other: f"no folder can hold it beside {path}"}
        return {path: problems[path]}
    return {}


def kept_by_old_names(
    push: Mapping[str, Entry | None],
    base: Tree,
    local: Tree,
    cloud: Tree,
    waiting: Collection[tuple[str, ObjectId]],
    merged: Container[str] = (),
    moved: Container[str] = (),
) -> dict[str, str]:
    """The paths of ``push`` that have to stay in the cloud as they are, each with the one that it waits for.

    A rename is one thing: until the new name is sent, the cloud has the file by its old one, neither deleted nor with
    another file in its place. ``waiting`` are the paths that are not sent and what they hold here. Whatever would have
    taken a name that stays waits too, and what that was renamed from stays in turn: along chains and around cycles, but
    only as many names of one content as nothing else that is sent brings.

    What the base has under a name counts beside what the cloud has where the sides are ``merged``, or it would be
    deleted; a file that is ``moved`` goes along with an edit of it.
    """
    kept: dict[str, str] = {}
    if not waiting:
        return kept
    leaving: dict[ObjectId, deque[str]] = {}
    coming: Counter[ObjectId] = Counter()
    for path, entry in push.items():
        was, there = base.get(path), cloud.get(path)
        new = entry.object if entry is not None else None
        if new is not None and (there is None or there.object != new):
            coming[new] += 1
        old = was if was is not None and (new is None or path in merged) else there
        if old is not None and old.object != new and path not in moved:
            leaving.setdefault(old.object, deque()).append(path)
    blocked = list(waiting)
    for path, content in blocked:  # grows as it goes
        names = leaving.get(content)
        if names is None or len(names) <= coming[content]:
            continue
        name = names.popleft()
        kept[name] = path
        entry = push[name]
        if entry is not None:
            coming[entry.object] -= 1
            blocked.append((name, local.get(name, entry).object))  # of a merge it is what stands here that waits
    return kept


def is_new(entry: Entry, *sides: Entry | None) -> bool:
    """Whether a path has content that it has on none of these sides."""
    return all(side is None or side.object != entry.object for side in sides)


def waits_for(path: str) -> str:
    """The reason of a file here whose name in the cloud another one keeps, which goes by ``path`` here."""
    return f"{WAITS_FOR}{path}, to which the cloud's file of this name was renamed here"


def after_refusals(
    push: dict[str, Entry | None],
    refused: Collection[str],
    base: Tree,
    local: Tree,
    cloud: Tree,
    merged: Container[str] = (),
    moved: Container[str] = (),
) -> dict[str, str]:
    """Take out of ``push`` what may not be sent since ``refused`` paths were left as they are here; each with a reason.

    What was taken out is planned afresh next time, from what the cloud has.
    """
    taken: dict[str, str] = {}
    if not refused:
        return taken
    here = [(path, local[path]) for path in refused if path in local]
    waiting = [(path, entry.object) for path, entry in here if is_new(entry, base.get(path), cloud.get(path))]
    while True:
        kept = kept_by_old_names(push, base, local, cloud, waiting, merged, moved)
        for name in kept:
            del push[name]
        clashes = name_clashes(cloud, push)
        waiting = [(name, entry.object) for name in clashes if (entry := push.pop(name)) is not None]
        taken |= {name: waits_for(path) for name, path in kept.items()} | clashes
        if not (kept or clashes):
            return taken
