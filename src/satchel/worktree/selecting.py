"""Whether the rules in force now admit a path, be it in the folder or not."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from satchel.worktree.ignore import GITIGNORE, NEVER, SATCHELIGNORE, Level, Root
from satchel.worktree.walk import Worktree


class _Possible(NamedTuple):
    """What may be in a folder, for somebody who has not listed it."""

    name: str


_IGNORE_FILES = (_Possible(GITIGNORE), _Possible(SATCHELIGNORE))


def selection(worktree: Worktree) -> Callable[[str], bool]:
    """Answers for a path. Good as long as no ignore file changes."""
    levels: dict[str, Level | Root | None] = {}
    above: Level | Root = Root(worktree.rules, worktree.ignore_file(".git/info/exclude"))

    def level(folder: str) -> Level | Root | None:
        """The rules in a folder; ``None`` where nothing in it belongs."""
        if folder not in levels:
            outer, _, name = folder.rpartition("/")
            rules = level(outer) if folder else above
            if rules is not None and folder and (name in NEVER or rules.leaves_out(folder + "/")):
                rules = None
            levels[folder] = None if rules is None else worktree.level(folder, rules, _IGNORE_FILES)
        return levels[folder]

    def selects(path: str) -> bool:
        folder, _, name = path.rpartition("/")
        rules = level(folder)
        return rules is not None and name not in NEVER and not rules.leaves_out(path)

    return selects
