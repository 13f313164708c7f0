"""What a folder is to its reader, apart from the reader: a sync needs the one without the other."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from pathlib import Path

    from satchel.worktree.ignore import Rules


class LocalProject(NamedTuple):
    """A folder to answer from. ``state_path`` and ``index_path`` are derived files, made when they are not there."""

    slug: str
    id: str
    root: Path
    rules: Rules
    state_path: Path
    index_path: Path
