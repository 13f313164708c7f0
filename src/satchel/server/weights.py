"""How many bytes requests keep in memory until they end: bounded for each tenant, and for all.

What a push names is kept until its commit: 100,000 files take some 100 MB, with paths of 1 KB three times that, and a
tenant may send many pushes at once. Whoever would keep more than there is room for waits; others of the tenant that
begin later wait behind. One request alone may need more than a tenant has: then it is the only one of its tenant, and
of such there is one at a time, so that each that is allowed gets its turn, and the whole stays bounded.
"""

from __future__ import annotations

import asyncio

from satchel.objects.ids import TenantId

OF_ONE_BYTES = 128 << 20
"""What the requests of one tenant keep: a first push of 100,000 files, or a dozen of 10,000 at once."""
IN_ALL_BYTES = 256 << 20
"""The same of all tenants. A worker takes 140 MB without any of it, and a small machine gives it 1 GiB."""
LIGHT_BYTES = 1 << 20
"""What a request keeps without being weighed: all that one tenant may have under way are 64 of these."""


class Weight:
    """What one request keeps."""

    __slots__ = ("_of", "held", "tenant")

    def __init__(self, of: Weights, tenant: TenantId) -> None:
        self._of, self.tenant = of, tenant
        self.held = 0

    def end(self) -> None:
        """Say that it keeps nothing any more."""
        self._of.give(self)


class Weights:
    """One for a process; for tasks of one event loop."""

    def __init__(self, of_one: int = OF_ONE_BYTES, in_all: int = IN_ALL_BYTES) -> None:
        self._of_one, self._in_all = of_one, in_all
        self._holding: list[Weight] = []
        self._waiting: list[tuple[Weight, int, asyncio.Future[None]]] = []

    @property
    def held(self) -> int:
        """Bytes kept now."""
        return sum(each.held for each in self._holding)

    @property
    def waiting(self) -> int:
        """How many wait to keep more."""
        return len(self._waiting)

    async def take(self, weight: Weight, total: int) -> None:
        """Wait until there is room for ``total`` bytes of one request, instead of what it has."""
        behind = not weight.held and any(other.tenant == weight.tenant for other, *_ in self._waiting)
        if not behind and self._fits(weight, total):
            self._hold(weight, total)
            return
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        waits = (weight, total, turn)
        self._waiting.append(waits)
        try:
            await turn
        finally:
            if waits in self._waiting:
                self._waiting.remove(waits)
                self._next()  # who waited behind may need less

    def give(self, weight: Weight) -> None:
        """Take back what a request had."""
        if weight.held:
            weight.held = 0
            self._holding.remove(weight)
            self._next()

    def _next(self) -> None:
        """Let those go on for whom there is room, in the order in which they came."""
        behind: set[TenantId] = set()
        for waits in list(self._waiting):
            weight, total, turn = waits
            if (weight.held or weight.tenant not in behind) and not turn.done() and self._fits(weight, total):
                self._waiting.remove(waits)
                self._hold(weight, total)
                turn.set_result(None)
            else:
                behind.add(weight.tenant)

    def _hold(self, weight: Weight, total: int) -> None:
        if not weight.held:
            self._holding.append(weight)
        weight.held = total

    def _fits(self, weight: Weight, total: int) -> bool:
        others = [each for each in self._holding if each is not weight]
        beside = sum(each.held for each in others if each.tenant == weight.tenant)
        if total > self._of_one and (beside or any(each.held > self._of_one for each in others)):
            return False
        if total <= self._of_one < beside + total:
            return False
        # What is beyond a tenant's part is not taken from the others'.
        elsewhere = sum(min(each.held, self._of_one) for each in others)
        return elsewhere + min(total, self._of_one) <= self._in_all
