"""The other side of a sync, as push and pull see it.

``Peer`` is implemented by ``satchel.remote`` over HTTP and, in tests, by a server in the same process. Everything a
peer answers is checked by the caller: digests, hashes, names, sizes, and that its head never goes back.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, NamedTuple, Protocol

from satchel.objects.ids import Digest, Lineage, ObjectId
from satchel.objects.listing import Entry

if TYPE_CHECKING:
    from satchel.objects.frame import Frame


class Head(NamedTuple):
    """The newest version of a hosted project."""

    lineage: Lineage
    version: int
    digest: Digest


class Change(NamedTuple):
    """A path as the head has it; ``entry`` is ``None`` where it was deleted."""

    path: str
    entry: Entry | None
    size: int
    version: int
    """The version that last changed the path."""
    author: str
    time_ms: int
    author_kind: str | None = None
    """``person``, ``key`` or ``operator``; ``None`` where the server does not say."""


class Changes(NamedTuple):
    head: Head
    since: int
    """0 when this is the whole tree."""
    items: list[Change]
    damaged: int = 0
    """Objects of the project that the server lost and asks for."""
    deltas: bool = False
    """Whether the server takes deltas."""
    gives_deltas: bool = False
    """Whether it may be asked with the version that is held."""
    gives_files: bool = False
    """Whether it may be asked for ``Files``."""


class Files(NamedTuple):
    """Files of a version, by path: as many as ``limit`` of those behind ``after``."""

    version: int
    after: str
    limit: int


class NearQuota(NamedTuple):
    """A quota of the tenant that is nearly used up, by the name the tenant knows."""

    name: str
    used: int
    limit: int


class Committed(NamedTuple):
    """The answer to a write: the new head and what became of it."""

    lineage: Lineage
    version: int
    digest: Digest
    time_ms: int
    author: str
    added: int
    changed: int
    deleted: int
    warnings: tuple[NearQuota, ...] = ()
    damaged: int = 0
    deltas: bool = False
    """Both as in ``Changes``: who pushes without asking first learns it here."""
    author_kind: str | None = None
    """As in ``Change``."""


class Peer(Protocol):
    """Raises ``ServerAway`` / ``ServerFailed`` when the call may be repeated, ``ServerLied`` when it may not, and
    the error the other side named otherwise."""

    def head(self, project: str) -> Head:
        """The newest version. Raises ``NoSuchProject``."""
        ...

    def changes(self, project: str, since: int, lineage: str | None) -> Changes:
        """What changed after version ``since`` of ``lineage``, all at one head; the whole tree when the head is of
        another lineage or ``since`` is 0."""
        ...

    def digest_of(self, project: str, version: int) -> Digest | None:
        """What a version had, though it may not be readable any more; ``None`` where the server does not know."""
        ...

    def sync(
        self, project: str, stream: Iterable[bytes], declared: int, key: str, *, allowed: Sequence[str] = ()
    ) -> Committed:
        """Send one sync stream (``sync.wire``) of at most ``declared`` bytes under an idempotency key.

        ``allowed`` are paths that somebody sends although they look as if they held a credential, for the audit.
        Raises ``HeadMoved`` and ``ObjectsMissing`` (with ``objects`` in its facts), having changed nothing.
        """
        ...

    def lacking(self, project: str, objects: Sequence[ObjectId]) -> set[ObjectId]:
        """Those of ``objects`` that the project does not hold, sent ahead or committed. For writers."""
        ...

    def damaged(self, project: str) -> list[ObjectId]:
        """The objects that the server lost and asks for; some of them, if there are very many. For writers."""
        ...

    def give_back(self, project: str, stream: Iterable[bytes], declared: int) -> int:
        """Send content alone; returns how many lost objects it brought back."""
        ...

    def read_objects(self, project: str, objects: Sequence[ObjectId], since: int | None = None) -> Iterator[Frame]:
        """Frames that hold at least the named objects; where ``since`` is a version that the caller has, also deltas
        against objects of that version."""
        ...

    def read_files(self, project: str, files: Files) -> Iterator[Frame]:
        """Frames that hold at least what ``files`` hold. Raises ``NoSuchVersion``."""
        ...
