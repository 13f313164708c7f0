"""What this node has heard of changes that were made through other nodes, or by a command beside the server.

The node asks the catalog five times a second what changed (`catalog.changes`) and lets everybody who remembers
something of a tenant forget it. What is remembered counts only while the channel was heard from within the last second,
by a clock that nobody can put back: a change is therefore known everywhere a second after its commit, or nothing
remembered counts any more. Who finds the channel silent asks it at once; all who wait share one question.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from satchel.catalog import changes
from satchel.catalog.scope import Catalog, CatalogUnavailable
from satchel.errors import SatchelError
from satchel.objects.ids import TenantId

HEARD_SECONDS = 1.0
"""How long what was heard holds, from the moment the question was asked."""
ASK_SECONDS = 1.0
"""Longest wait for an answer: a later one would be of no use."""
_NEVER = float("-inf")

OnChange = Callable[[TenantId | None], None]
"""Takes the tenant to be forgotten, ``None`` for all of them."""


class Watch:
    """One for a process; for tasks of one event loop."""

    def __init__(self, catalog: Catalog, *, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._catalog, self._monotonic = catalog, monotonic
        self._epoch = -1
        self._heard_at = _NEVER
        self._asking: asyncio.Task[None] | None = None
        self._told: list[OnChange] = []
        catalog.on_change = self._changed  # made through this node: known before it is answered

    def subscribe(self, on_change: OnChange) -> None:
        """Call ``on_change`` for each tenant that changed, wherever it was changed."""
        self._told.append(on_change)

    @contextmanager
    def subscribed(self, on_change: OnChange) -> Iterator[None]:
        """The same for as long as the block lasts."""
        self.subscribe(on_change)
        try:
            yield
        finally:
            self._told.remove(on_change)

    async def close(self) -> None:
        """End a question under way."""
        if self._asking is not None:
            self._asking.cancel()
            await asyncio.wait([self._asking])

    def heard(self) -> bool:
        """Whether what is remembered counts."""
        return self._monotonic() - self._heard_at < HEARD_SECONDS

    async def fresh(self) -> bool:
        """The same, after asking where it did not. False where the catalog does not answer, or too slowly."""
        if not self.heard():
            try:
                await self.listen()
            except SatchelError:
                return False
        return self.heard()

    async def listen(self) -> None:
        """Hear what changed, from a question under way or a new one. Raises ``CatalogUnavailable``."""
        if self._asking is None:
            self._asking = asyncio.create_task(self._ask())
            self._asking.add_done_callback(self._asked)
        await asyncio.shield(self._asking)

    async def _ask(self) -> None:
        began = self._monotonic()
        try:
            async with asyncio.timeout(ASK_SECONDS), self._catalog.directory() as d:
                heard = await changes.after(d, self._epoch)
        except TimeoutError as error:
            raise CatalogUnavailable("the catalog does not answer") from error
        self._epoch = heard.epoch
        for tenant in (None,) if heard.tenants is None else heard.tenants:
            self._changed(tenant)
        self._heard_at = began

    def _asked(self, task: asyncio.Task[None]) -> None:
        self._asking = None
        if not task.cancelled():
            task.exception()  # whoever waited has it; nobody may have

    def _changed(self, tenant: TenantId | None) -> None:
        for on_change in self._told:
            on_change(tenant)
