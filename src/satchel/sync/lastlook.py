"""What is looked at before anything of a push leaves: whether the folder still is what the sync began with.

A folder that is being deleted, or whose disk went away, looks like one whose files somebody deleted one by one. Three
things tell: the project's own settings are gone, files go on vanishing, or most of them are gone at once. Of the first
two nothing is sent; the third is sent once somebody says that it is meant.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple, Self

from satchel.errors import LimitReached, NotAProject
from satchel.objects.listing import Entry, Tree
from satchel.worktree.find import CONFIG_NAME, LOCAL_DIR, ProjectConfig, read_project_config
from satchel.worktree.walk import ChangedMeanwhile, Scan, Worktree

UNASKED = 20
"""Deletions that are sent whatever part of the folder they are: a script that empties a small one is not asked."""


class ManyDeletions(LimitReached):
    """Facts ``deleted`` and ``files``: how many are gone, of how many."""

    code = "sync.many_deletions"
    default_hint = (
        "Nothing was sent or fetched. If they are to be deleted on the server too:  satchel sync --allow-deletions\n"
        "To have them back in this folder:  satchel pull --deleted"
    )
    deleted = 0
    """How many are gone, where they were counted here; 0 where a server says so."""

    @classmethod
    def counted(cls, deleted: int, files: int) -> Self:
        """Of what was found here."""
        what = f"{deleted:,} of the {files:,} files that this folder had at the last sync are gone from it"
        error = cls(f"{what}; their deletion is held back", deleted=deleted, files=files)
        error.deleted = deleted
        return error


class Deletions(NamedTuple):
    """What somebody said about files that are gone here."""

    allowed: int = 0
    """So many may be deleted on the server."""
    back: bool = False
    """They are to be fetched again."""


NOTHING_SAID = Deletions()


def gone(before: Tree, whole: Tree) -> set[str]:
    """Paths of the base that the folder has no more, and whose content no other file here has: renames are none."""
    absent = before.keys() - whole.keys()
    if not absent:
        return set()
    here = {entry.object for entry in whole.values()}
    return {path for path in absent if before[path].object not in here}


def hold(
    push: Mapping[str, Entry | None],
    before: Tree,
    whole: Tree,
    said: Deletions = NOTHING_SAID,
    *,
    dry_run: bool = False,
) -> list[str]:
    """Raise ``ManyDeletions`` where most of the folder is gone, the ``push`` would send that, and nobody ``said`` that
    it is meant. In a ``dry_run`` that is told in what is returned."""
    deleted = {path for path, entry in push.items() if entry is None}
    if len(deleted) <= UNASKED:
        return []
    count = len(deleted & gone(before, whole))
    if count <= max(UNASKED, said.allowed) or 2 * count <= len(before):
        return []
    held = ManyDeletions.counted(count, len(before))
    if not dry_run:
        raise held
    return [f"{held.message} until somebody says that it is meant (satchel sync --allow-deletions)"]


def require_project(root: Path, began: ProjectConfig | None) -> None:
    """Raise ``NotAProject`` where the folder's settings are gone, or are no more of the project and the remote that the
    sync ``began`` with; ``None`` has none to compare."""
    if began is None:
        return
    own = f"{root}/{LOCAL_DIR}/{CONFIG_NAME}"
    try:
        found = read_project_config(root)
    except NotAProject as error:
        raise NotAProject(
            f"{own} is gone since this began: nothing more was sent",
            hint="If the folder was deleted or moved away, there is nothing to do here: the server keeps what it has.",
        ) from error
    names = [(each.id, each.remote_url, each.remote_project) for each in (found, began)]
    if names[0] != names[1]:
        raise NotAProject(
            f"{own} names another project or remote than when this began: nothing more was sent",
            hint="See where it goes now:  satchel status.  Then run the same command again.",
        )


def require_quiet(worktree: Worktree, scan: Scan, push: Mapping[str, Entry | None]) -> None:
    """Raise ``ChangedMeanwhile`` where the ``push`` deletes many files and more have vanished since the ``scan``."""
    if sum(entry is None for entry in push.values()) <= UNASKED:
        return
    if scan.tree.keys() - worktree.scan().tree.keys():
        raise ChangedMeanwhile(f"files of {worktree.root} go on vanishing")
