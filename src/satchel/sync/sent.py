"""What a push makes of the project, noted for the case that its answer never comes and somebody edits on.

If it was committed all the same, the cloud holds what was sent, the base what was there before, and the folder the next
edit: it would look as if both had changed the file. By the digest the note tells whether the version that follows the
base's is the one that was sent from here; then what that version changed counts as what both had.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from satchel.objects.ids import Digest
from satchel.objects.listing import Entry
from satchel.sync.peer import Head
from satchel.sync.pull import Cloud
from satchel.worktree.base import Base
from satchel.worktree.former import Former

_NAME = "sent"
MAX_PUSHES = 16
"""Upon one version that are noted: of several whose answers never came, one may have been committed."""


class SentNote:
    """The note of one folder. It is derived: without it an edit may be a conflict, and nothing is lost."""

    def __init__(self, root: Path) -> None:
        self._beside = Former(root)

    def write(self, head: Head, after: Digest) -> None:
        """Note that what is to follow on ``head`` has the digest ``after``."""
        others = [digest for digest in self._digests(head.lineage, head.version + 1) if digest != after]
        said = [head.lineage, head.version + 1, *others[-MAX_PUSHES + 1 :], after]
        self._beside.write(_NAME, json.dumps(said))

    def ended(self) -> None:
        """The base has learnt of it."""
        self._beside.drop(_NAME)

    def known(self, base: Base, cloud: Cloud, digest_of: Callable[[int], Digest | None]) -> dict[str, Entry | None]:
        """What both had since: the changes of the version after the base's, as far as the cloud still tells of them, if
        it was sent from here. ``digest_of`` asks which digest a version had."""
        head, version = cloud.head, base.version + 1
        digests = self._digests(base.lineage, version)
        if not digests or (head.digest if head.version == version else digest_of(version)) not in digests:
            return {}
        found: dict[str, Entry | None] = {
            path: Entry(*entry[:2]) for path, entry in cloud.entries.items() if entry.version == version
        }
        if head.version == version:
            found |= dict.fromkeys(base.cloud.keys() - cloud.entries.keys())
        return {path: entry for path, entry in found.items() if path not in base.held}  # these wait for somebody

    def _digests(self, lineage: str, version: int) -> list[Any]:
        try:
            line, number, *digests = json.loads(self._beside.said(_NAME))
        except (OSError, ValueError, TypeError, RecursionError):
            return []
        return digests if (line, number) == (lineage, version) else []
