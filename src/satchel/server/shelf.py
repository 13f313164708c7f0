"""What readers of hosted projects share, and how they say that an index is behind."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Mapping, Sequence
from typing import Any, NamedTuple

from satchel.catalog.projects import ProjectRow
from satchel.catalog.scope import Catalog
from satchel.catalog.versions import EntryRow
from satchel.objects.ids import TenantId
from satchel.server.indexes import IndexCache, Ref
from satchel.server.waiting import Wait


class Behind(BaseException):
    """These indexes have to be brought to these versions first. Control flow, and no error of anybody."""

    def __init__(self, wanted: Sequence[tuple[Ref, ProjectRow]], needed: Sequence[Ref]) -> None:
        super().__init__()
        self.wanted = wanted
        self.needed = needed
        """Every index the question needs, those that are not behind too."""


class Shelf(NamedTuple):
    """What readers share."""

    catalog: Catalog
    indexes: IndexCache
    wait: Wait
    heavy: Callable[[], None]
    """Called before work that is too much for the event loop."""
    at_hand: Callable[[Ref, ProjectRow], bool]
    """Whether an index and its history can be asked here and now, and nothing would hold that up."""
    known_tree: Callable[[Ref, str, int], Mapping[str, EntryRow] | None]
    tree: Callable[[Ref, str, int], Coroutine[Any, Any, Mapping[str, EntryRow]]]
    known_content: Callable[[TenantId, ProjectRow, str], tuple[EntryRow, bytes] | None]
    content: Callable[[TenantId, ProjectRow, str], Coroutine[Any, Any, tuple[EntryRow, bytes]]]
    """Of an artifact of the head."""
    bytes_of: Callable[[TenantId, ProjectRow, EntryRow], Coroutine[Any, Any, bytes]]
    key: Callable[[Ref, bytes], bytes]
    held: Mapping[Ref, ProjectRow]
    """What each index was last brought to."""
    degraded: Callable[[], bool]
    """Whether the store is known not to answer."""
