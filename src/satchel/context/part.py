"""One project as a question sees it: an index at a digest, and what history knows of its files. No IO but the index's
own."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from satchel.errors import InvalidInput

if TYPE_CHECKING:
    from satchel.objects.ids import Digest, ObjectId
    from satchel.search.index import Index

COMPLETE, PARTIAL, NONE = "complete", "partial", "none"
"""What ``history`` of an answer says: of every file it is known who changed it last and when; not of those changed
since the last sync; of none, in a folder that was never synced."""


class Past(NamedTuple):
    """Who last changed a path, and in which version. It counts only while the path still is that object."""

    object: ObjectId
    version: int
    author: str
    time_ms: int
    author_kind: str | None = None


@dataclass(frozen=True, slots=True)
class History:
    """What is known of the files of one version."""

    of: Callable[[Sequence[str]], Mapping[str, Past]]
    """Of some paths; absent where nothing is known."""
    everything: Callable[[], Mapping[str, Past]]
    known: bool = True
    """Whether there is a version at all."""


NO_HISTORY = History(lambda _paths: {}, dict, known=False)
"""Of a folder that was never synced."""


class Moved(Exception):
    """The index of a part was brought to another digest before the question was answered: ask again."""

    def __init__(self, part: Part) -> None:
        super().__init__()
        self.part = part


@dataclass(frozen=True, slots=True)
class Part:
    """An index brought to the digest asked. Another process may move it on: ``moment`` sees to that."""

    project: str
    """The slug."""
    index: Index
    digest: Digest
    version: int | None
    """Of the hosted project whose tree the index holds, if it is that of a version."""
    history: History = NO_HISTORY
    relation: str | None = None
    """How the project is related to one that was asked by name, if that is why it is asked."""

    @property
    def remembered(self) -> str:
        """``COMPLETE``, ``PARTIAL`` or ``NONE``."""
        if self.version is not None:
            return COMPLETE
        return PARTIAL if self.history.known else NONE

    @contextmanager
    def moment(self) -> Iterator[None]:
        """Everything asked of the index inside is answered from the tree of ``digest``. Raises ``Moved``."""
        with self.index.reading():
            if self.index.digest != self.digest:
                raise Moved(self)
            yield


class Made(NamedTuple):
    """Which version made a file what it is, by whom and when."""

    version: int | None = None
    author: str | None = None
    author_kind: str | None = None
    modified: str | None = None


def history_of(content: ObjectId, past: Past | None) -> Made:
    """What made a file what it is, if what history knows is what the file holds."""
    if past is None or past.object != content:
        return Made()
    return Made(past.version, past.author, past.author_kind, rfc3339(past.time_ms))


def rfc3339(time_ms: int) -> str:
    """Milliseconds since 1970 as ``2026-01-02T03:04:05.678Z``."""
    seconds, ms = divmod(time_ms, 1000)
    year, month, day, hour, minute, second, *_ = time.gmtime(seconds)
    return f"{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{ms:03}Z"


def in_range(name: str, value: int, least: int, most: int | None) -> None:
    """Raises ``InvalidInput`` unless ``least <= value <= most``."""
    if value < least or (most is not None and value > most):
        bounds = f"at least {least}" if most is None else f"from {least:,} to {most:,}"
        raise InvalidInput(f"{name} is {value}; it may be {bounds}")
