"""What a push sends, noted for the case that its answer never comes and somebody edits on.

If it was committed all the same, the cloud holds what was sent, the base what was there before, and the folder the next
edit: it would look as if both had changed the file. With the note what was sent counts as what both had.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from satchel.objects.listing import Entry, Tree
from satchel.sync.peer import Head
from satchel.worktree.base import CloudEntry
from satchel.worktree.former import Former

_NAME = "sent"
MAX_PATHS = 1_000
"""Of a push that is noted. Who edits one of more while they are sent has a conflict with themselves, at worst."""
MAX_PUSHES = 4
"""That are noted: one that hoped, and was refused, may follow the one whose answer never came."""


class SentNote:
    """The note of one folder. It is derived: without it an edit may be a conflict, and nothing is lost."""

    def __init__(self, root: Path) -> None:
        self._beside = Former(root)

    def write(self, head: Head, push: Mapping[str, Entry | None], theirs: Tree) -> None:
        """Note what is to follow on ``head``, and what the cloud has there now."""
        if len(push) <= MAX_PATHS:
            paths = {path: [theirs.get(path), entry] for path, entry in push.items() if entry is not None}
            pushes = [*self._pushes()[1 - MAX_PUSHES :], [head.lineage, head.version + 1, paths]]
            self._beside.write(_NAME, json.dumps(pushes))

    def ended(self) -> None:
        """The base has learnt of it."""
        self._beside.drop(_NAME)

    def known(self, lineage: str, before: Tree, cloud: Mapping[str, CloudEntry]) -> dict[str, Entry]:
        """What both had since: entries that were sent over those of ``before``, and that the cloud got by that push."""
        found: dict[str, Entry] = {}
        with suppress(ValueError, TypeError, AttributeError):
            for line, version, paths in self._pushes():
                for path, (was, sent) in paths.items():
                    now = cloud.get(path)
                    got = now is not None and line == lineage and (now.version, *now[:2]) == (version, *sent)
                    if got and before.get(path) == (was and Entry(*was)):
                        found[path] = Entry(*sent)
        return found

    def _pushes(self) -> list[Any]:
        try:
            pushes = json.loads(self._beside.said(_NAME))
        except (OSError, ValueError, RecursionError):
            return []
        return pushes if isinstance(pushes, list) else []
