"""What a sync did, or would do, in the words of paths: for the faces, which print it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

from satchel.errors import UnresolvedConflicts
from satchel.sync.choices import Direction
from satchel.worktree.walk import LeftOut

if TYPE_CHECKING:
    from satchel.sync.holdback import SecretFound


NO_PERSON = "only a person sends it"
"""Of what is withheld: why it is, where a key syncs."""
UNREAD = "cannot be read here"
"""Likewise, of a path at which, or around which, the disk lets nobody look."""


class ChangedPath(NamedTuple):
    path: str
    how: str
    """``added``, ``changed`` or ``deleted``."""


class ConflictPath(NamedTuple):
    """A path that waits for a person; the cloud keeps what it has."""

    path: str
    reason: str
    local: str | None
    """The object here as it was before the sync, ``None`` for no file."""
    cloud: str | None
    """The object there; ``None`` likewise."""
    lines: list[list[int]] = []  # noqa: RUF012  # never changed
    """First and last line of each place in the file that shows the conflict between markers."""
    beside: str | None = None
    """Where the cloud's file stands in this folder."""
    author: str | None = None
    """Who made the cloud's version, and in which ``version``."""
    version: int | None = None
    settle: str = "resolve"
    """What settles it: ``resolve``, a ``rename`` of one of two files, or another ``sync``."""


@dataclass(slots=True)
class SyncReport:
    """What a run did, or with ``dry_run`` would do."""

    direction: Direction
    dry_run: bool = False
    lineage: str = ""
    version: int = 0
    digest: str = ""
    """Of the hosted project afterwards."""
    pushed: list[ChangedPath] = field(default_factory=list)
    pulled: list[ChangedPath] = field(default_factory=list)
    merged: list[str] = field(default_factory=list)
    """Files that got the edits of both sides; in neither of the above."""
    conflicts: list[ConflictPath] = field(default_factory=list)
    untrusted: list[str] = field(default_factory=list)
    """Files that tools execute on their own, left in the cloud until a pull with trust."""
    unsettled: list[str] = field(default_factory=list)
    """Files that kept changing: they go with the next sync."""
    secrets: list[SecretFound] = field(default_factory=list)
    """What looks like a credential: these files are held back until somebody allows them."""
    secrets_allowed: list[str] = field(default_factory=list)
    """Files that went although they look so, since somebody allowed them."""
    withheld: dict[str, str] = field(default_factory=dict)
    """Path to reason: not in step, by the project's own rules, or while it cannot be read here."""
    waiting_push: int = 0
    waiting_pull: int = 0
    left_out: list[LeftOut] = field(default_factory=list)
    notices: list[str] = field(default_factory=list)
    raw_bytes: int = 0
    """Content sent, before compression; ``sent_bytes`` is the body of the push, ``pulled_bytes`` content fetched. In a
    dry run what they would be."""
    sent_bytes: int = 0
    pulled_bytes: int = 0
    restored: int = 0
    """Artifacts' contents that the server had lost and got back from here."""
    requests: int = 0
    """Pushes that were sent, or in a dry run would be; more than one where somebody else was faster or the answer never
    came."""

    @property
    def unread(self) -> list[LeftOut]:
        """Files and folders that belong and cannot be read here: what they hold stays as it is on both sides."""
        return [left for left in self.left_out if left.reason == "unreadable"]

    @property
    def in_step(self) -> bool:
        """Whether folder and cloud hold the same now, as far as each may hold it."""
        waiting = self.waiting_push + self.waiting_pull
        waiting += len(self.untrusted) + len(self.unsettled) + len(self.secrets) + len(self.unread)
        planned = self.dry_run and (self.pushed or self.pulled or self.merged)
        return not (self.conflicts or waiting or planned)

    def check(self) -> None:
        """Raise ``UnresolvedConflicts`` if paths wait for a person."""
        if self.conflicts:
            raise UnresolvedConflicts(
                f"{len(self.conflicts):,} files wait for you", paths=[c.path for c in self.conflicts]
            )
