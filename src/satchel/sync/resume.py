"""Going on with a large push where it broke off.

What came of a body that broke off is kept by the server for a day. The folder remembers that a large push is under way;
after one that did not end, in this run or in another, the server is asked what it lacks, and only that is sent. A push
that begins anew is spared the question.
"""

from __future__ import annotations

from collections.abc import Sequence
from collections.abc import Set as AbstractSet
from contextlib import suppress
from pathlib import Path

from satchel.errors import NotFound, Refused
from satchel.objects.ids import ObjectId
from satchel.sync.peer import Peer
from satchel.sync.push import SMALL_PUSH_BYTES, Content
from satchel.worktree.beneath import read_own, write_note
from satchel.worktree.find import local_dir

LARGE_BYTES = SMALL_PUSH_BYTES
"""A push of less content is sent again whole."""


class Sending:
    """The note of one folder that a push is under way."""

    def __init__(self, root: Path) -> None:
        self._note = local_dir(root) / "sending"

    def rest(
        self, peer: Peer, project: str, contents: Sequence[Content], resend: AbstractSet[ObjectId]
    ) -> list[Content]:
        """What of ``contents`` is still to be sent, ``resend`` in any case. Raises as ``Peer.lacking``."""
        if sum(content.size for content in contents) <= LARGE_BYTES:
            return list(contents)
        if self._broke_off(project):
            with suppress(Refused, NotFound):
                lacking = peer.lacking(project, [content.object for content in contents])
                return [content for content in contents if content.object in lacking | resend]
        with suppress(OSError):  # without the note all of it is sent again, if it comes to that
            write_note(self._note, project)
        return list(contents)

    def ended(self) -> None:
        """The push was committed."""
        with suppress(OSError):
            self._note.unlink()

    def _broke_off(self, project: str) -> bool:
        try:
            return read_own(self._note) == project.encode()
        except OSError:
            return False
