"""The folder's side of a sync: what it holds, told apart from what merely cannot be seen.

A path of the base that the scan does not list may be deleted, or it may be there and left out: too large now, not
readable, excluded by a rule. Only what is gone from the disk is a deletion; everything else counts as unchanged, so
that an ignore rule or a missing permission never deletes a file for everybody else.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterable
from functools import cache, partial
from pathlib import Path
from unicodedata import normalize

from satchel.objects.listing import Entry, Tree
from satchel.objects.paths import collision_key
from satchel.worktree import durable
from satchel.worktree.durable import FolderUnreadable, upward
from satchel.worktree.find import local_dir
from satchel.worktree.walk import Scan


def present(root: Path, scan: Scan, base: Tree, unsettled: Iterable[str] = ()) -> dict[str, Entry]:
    """The tree to plan with: the scan, and the base's entry of each path that is there and yet not in the scan.

    ``unsettled`` paths kept changing while they were read: they count as unchanged for this time. Modes are those of
    the base where the filesystem holds none.
    """
    tree = with_modes(root, dict(scan.tree), base)
    absent = base.keys() - tree.keys()
    if absent:
        keys: set[str] | None = None
        listed = cache(partial(_names, root))
        links = {left.path for left in scan.left_out if left.reason == "symlink"}
        for path in sorted(absent):
            # What a link leads to may be away for a while, as a disk is: nobody deleted what lies there.
            if _is_there(root, path) or not links.isdisjoint(upward(path)):
                keys = keys if keys is not None else {collision_key(other) for other in scan.tree}
                # On a filesystem that folds case the old name of a renamed file is found too.
                if collision_key(path) not in keys or _has_name(path, listed):
                    tree[path] = base[path]
    for path in unsettled:
        tree.pop(path, None)
        if path in base:
            tree[path] = base[path]
    return tree


def with_modes(root: Path, tree: dict[str, Entry], base: Tree) -> dict[str, Entry]:
    """The same where the filesystem holds modes; else with those that the base has for the paths, or the contents."""
    runs, ran = ({path for path, entry in side.items() if entry.mode == "100755"} for side in (tree, base))
    if runs == ran or durable.holds_modes(local_dir(root)):
        return tree
    of_content = {entry.object: entry.mode for entry in base.values()}  # of one that was renamed, say
    return {
        path: Entry(base[path].mode if path in base else of_content.get(name, "100644"), name)
        for path, (_, name) in tree.items()
    }


def left_out(root: Path, scan: Scan, paths: Iterable[str]) -> list[str]:
    """Those of ``paths`` at which something is, by this very name, that the scan does not list."""
    listed = cache(partial(_names, root))
    return [path for path in paths if path not in scan.tree and _is_there(root, path) and _has_name(path, listed)]


def other_name(root: Path, scan: Scan, path: str) -> str | None:
    """The file of the project that the disk gives for ``path`` as well, case not counting there."""
    if path in scan.tree or not _is_there(root, path):
        return None
    key = collision_key(path)
    return next((other for other in scan.tree if collision_key(other) == key), None)


def unread(scan: Scan) -> Callable[[str], str | None]:
    """Tells of a path why the disk did not show it, or a folder that it lies in: anything may be there, or nothing."""
    said = {"" if left.path == "." else left.path: left.detail for left in scan.left_out if left.reason == "unreadable"}

    def why(path: str) -> str | None:
        return next((said[place] for place in upward(path) if place in said), None) if said else None

    return why


def require_read(scan: Scan, paths: Iterable[str]) -> None:
    """Raise ``FolderUnreadable`` where the disk did not show one of ``paths``: it must not be taken for changed."""
    why_not = unread(scan)
    for path in paths:
        if (why := why_not(path)) is not None:
            raise FolderUnreadable(f"cannot read {path}: {why}")


def _has_name(path: str, names: Callable[[str], frozenset[str] | None]) -> bool:
    """Whether the disk lists the path by this very name, its folders too: beside another that differs in case alone, it
    is a file of its own.
    """
    folder = ""
    for name in path.split("/"):
        there = names(folder)
        if there is None:
            return True
        if name not in there:
            return False
        folder = f"{folder}/{name}" if folder else name
    return True


def _names(root: Path, folder: str) -> frozenset[str] | None:
    """The composed names in a folder; ``None`` where they cannot be read."""
    try:
        return frozenset(normalize("NFC", name) for name in os.listdir(root / folder))
    except OSError:
        return None


def _is_there(root: Path, path: str) -> bool:
    try:
        return not stat.S_ISDIR(os.lstat(root / path).st_mode)
    except (FileNotFoundError, NotADirectoryError):
        return False
    except OSError:
        return True
