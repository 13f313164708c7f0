"""What ``satchel mcp --write`` writes into folders: through the folder's one writer, with undo, as rules allow."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from satchel.cli.folders import worktree_of
from satchel.context.part import rfc3339
from satchel.context.writing import Change, Content, Written, content_of, path_of
from satchel.errors import NoSuchProject, NotAProject, PathRefused, TooLarge
from satchel.objects.ids import object_id
from satchel.objects.paths import tree_problems
from satchel.sync.settle import edit
from satchel.worktree.find import find_root
from satchel.worktree.selecting import selection
from satchel.worktree.undo import Bounds
from satchel.worktree.walk import Scan, Worktree

if TYPE_CHECKING:
    from satchel.context.project import LocalProject


class FolderWriter:
    """Writes into the folders of these projects."""

    def __init__(
        self, projects: Sequence[LocalProject], bounds: Bounds, clock_ns: Callable[[], int] = time.time_ns
    ) -> None:
        """Raises ``NotAProject`` for a folder without ``satchel init``, into which nothing of ours is written."""
        for project in projects:
            if find_root(project.root) != project.root.resolve():
                raise NotAProject(f"{project.root} is no project: agents write into projects alone")
        self._projects, self._bounds, self._clock_ns = projects, bounds, clock_ns

    def __call__(self, change: Change) -> Written:
        """Carry out a change. Raises what ``path_of``, ``content_of`` and ``edit`` raise, and ``PathRefused``."""
        project = self._find(change.project)
        now = rfc3339(self._clock_ns() // 1_000_000)
        path = path_of(change, now)
        made: list[Content] = []
        with worktree_of(project) as worktree:

            def decide(scan: Scan) -> tuple[bytes, str]:
                there = scan.tree.get(path)
                if there is None:
                    _check_new(worktree, scan, path)
                before = None if there is None else worktree.read(path, there.object)
                made.append(content_of(change, path, before, now))
                data, most = made[0].data, project.rules.max_file_bytes
                if len(data) > most:
                    raise TooLarge(f"{path} would have {len(data):,} bytes; a file has at most {most:,} here")
                return data, "100644" if there is None else there.mode

            changed, digest = edit(worktree, path, decide, bounds=self._bounds, clock_ns=self._clock_ns)
        [content] = made
        return {
            "project": project.slug,
            "path": path,
            "object": object_id(content.data),
            "size": len(content.data),
            "changed": changed,
            "lines": content.lines,
            "digest": digest,
            "version": None,
            "author": None,
            "modified": None,
        }

    def _find(self, name: str) -> LocalProject:
        for project in self._projects:
            if name in (project.slug, project.id):
                return project
        raise NoSuchProject(f"there is no project {name!r} here")


def _check_new(worktree: Worktree, scan: Scan, path: str) -> None:
    """Refuse a new file where something stands that is none of the project's, or that would not be the project's."""
    if scan.may_exist(path):
        raise PathRefused(f"{path} is there and is no file of the project: a link, say, or too large")
    for name, reason in tree_problems([*scan.tree, path]).items():
        raise PathRefused(f"{path} cannot stand beside the other files: {name} would be {reason}")
    if not selection(worktree)(path):
        raise PathRefused(f"the rules of this folder leave {path} out", hint="Choose a path that the project includes.")
