"""Names in the way of each other, and files that go by a new one: what of a set of steps has to wait. Pure."""

from __future__ import annotations

from collections.abc import Container, Iterable, Mapping

from satchel.objects.ids import ObjectId
from satchel.objects.listing import Entry, Tree
from satchel.objects.paths import tree_problems


def name_clashes(tree: Tree, steps: Mapping[str, Entry | None]) -> dict[str, str]:
    """The paths that ``steps`` would add to ``tree`` and that could not stand beside the rest of it."""
    added = [path for path, entry in steps.items() if entry is not None and path not in tree]
    if not added:
        return {}
    kept = [path for path in tree if steps.get(path, True) is not None]
    problems = tree_problems([*kept, *added])
    clashes = {path: problems[path] for path in added if path in problems}
    for path in problems.keys() - clashes.keys():  # it was there before: whatever is added and clashes has to wait
        clashes |= {other: f"no folder can hold it beside {path}" for other in added if tree_problems((path, other))}
    return clashes


def kept_by_old_name(
    push: Mapping[str, Entry | None], base: Tree, local: Tree, waiting: Container[ObjectId]
) -> list[str]:
    """The paths that ``push`` would delete although their content is among what is ``waiting`` here by another name.

    A rename is one thing: until the new name is sent, the cloud has the file by its old one or not at all.
    """
    gone = (path for path, entry in push.items() if entry is None and path in base and path not in local)
    return [path for path in gone if base[path].object in waiting]


def after_refusals(
    push: dict[str, Entry | None],
    pull: Mapping[str, Entry | None],
    held: dict[str, Entry | None],
    refused: Iterable[str],
    base: Tree,
    local: Tree,
    cloud: Tree,
) -> None:
    """Take out of ``push`` what may not be sent since ``refused`` paths of ``pull`` were left as they are here."""
    waiting = {entry.object for path in refused for entry in (local.get(path), pull.get(path)) if entry is not None}
    if not waiting:
        return
    for path in kept_by_old_name(push, base, local, waiting):
        del push[path]
        held[path] = base[path]
    for path in name_clashes(cloud, push):
        del push[path]
        held[path] = base.get(path)
