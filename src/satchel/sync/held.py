"""The room one request holds while its content is on the way: taken, renewed as the body comes, and given back.

The transaction that counts the content settles it. Whatever else ends the request releases it, also when the client
went away; a server that ended leaves a lease that runs out.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING, Self

from satchel.catalog import reservations
from satchel.catalog.quotas import Use
from satchel.catalog.reservations import Asked
from satchel.catalog.scope import Catalog, Scope
from satchel.errors import SatchelError
from satchel.objects.ids import ProjectId

if TYPE_CHECKING:
    from satchel.sync.commit import Caller


class Held:
    """For one request. Nothing is held until ``take``."""

    def __init__(self, catalog: Catalog, caller: Caller, project: ProjectId, clock: Callable[[], int]) -> None:
        self._catalog, self._caller, self._project, self._clock = catalog, caller, project, clock
        self._asked = Asked()
        self._id: str | None = None
        self._renewed = 0
        self.received = 0
        """Bytes of the body so far."""

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_raised: object) -> None:
        if self._id is not None:
            await asyncio.shield(self._release(self._id))

    async def take(self, asked: Asked) -> None:
        """Hold room for this, or for nothing if it stores nothing. Raises ``QuotaReached``, ``TooManyRequests``."""
        self._asked = asked
        if not asked.stored:
            async with self._catalog.read(self._caller.tenant) as s:
                await reservations.judge(s, asked, self._clock())
            return
        now = self._clock()
        async with self._catalog.write(self._caller.tenant) as s:
            # Known before the commit: who is broken off in the middle of that releases it all the same.
            self._id = await reservations.reserve(s, self._project, self._caller.principal_id, asked, now)
        self._renewed = now

    async def came(self, count: int) -> None:
        """Count bytes of the body, and renew what is held when it is time.

        Raises what the guard does, so that nobody who lost the right holds room, and ``QuotaReached`` where the lease
        had ended and others took the room.
        """
        self.received += count
        now = self._clock()
        if self._id is None or now - self._renewed < reservations.RENEW_MS:
            return
        async with self._catalog.write(self._caller.tenant) as s:
            await self._caller.guard(s)
            await reservations.renew(s, self._id, self._project, self._caller.principal_id, self._asked, now)
        self._renewed = now

    async def settle(self, s: Scope, asked: Asked) -> list[Use]:
        """Count what it came to, in the transaction that makes it count. Raises ``QuotaReached``."""
        return await reservations.settle(s, self._id, asked, self._clock())

    def settled(self) -> None:
        """That transaction has committed: there is nothing to release any more."""
        self._id = None

    async def _release(self, held: str) -> None:
        with suppress(SatchelError):  # the catalog is away: the lease runs out by itself
            async with self._catalog.write(self._caller.tenant) as s:
                await reservations.release(s, held, self.received, self._clock())
