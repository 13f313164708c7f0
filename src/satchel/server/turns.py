"""Who is served next, when more ask than can be served at a time: tenants in turn, each tenant's requests in order.

One thread does the work of all requests, so to begin more of them at a time makes none of them faster and each of them
slower. A tenant that sends a hundred requests at once therefore waits behind its own; and while others ask too it has
one place alone, so that another that sends one mostly finds a place free. A request that waits for something else than
this process, for more of its body or for the store, steps aside (``aside``) and takes its turn again afterwards; one
that waits otherwise loses its place after ``HELD_SECONDS``, so that nobody's slowness keeps the others out. How many
requests a tenant may have in all is bounded too (``most``). Refusals to one tenant are spread out in time: a client
that asks again at once gains nothing by it.
"""

from __future__ import annotations

import asyncio
from collections import Counter, OrderedDict, deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from contextvars import ContextVar
from functools import partial

from satchel.errors import TooManyRequests
from satchel.objects.ids import TenantId
from satchel.server.edge import Exchange
from satchel.server.weights import LIGHT_BYTES, Weight, Weights

PLACES = 3
"""Requests under way at a time: one works, the others wait for a disk or a thread. See bench/fairness.py."""
LATELY_SECONDS = 1.0
"""A tenant that asked within this is there: then no tenant has more than one place, so that the next of another finds
one free and shares the thread with one request of each, whatever waits behind them."""
HELD_SECONDS = 0.025
"""How long a request keeps its place at most: several times what one takes that waits for nothing."""
LARGE_BODIES, LARGE_BODIES_OF_ONE = 16, 4
"""Bodies over ``bodies.LARGE_BYTES`` in memory at a time, of all tenants and of one. 64 of 8 MiB, as many as a tenant
may send at once, took 970 MB; since they wait for a place, 160."""
GROW_SECONDS = 20.0
"""Longest wait of such a body for its turn, and of a request that would keep more (``weights``)."""
HEAVY_RETRY_SECONDS = 5
"""When a request is to come again that found no room: what is kept is kept for seconds, at the least."""
REFUSAL_SECONDS = 0.01
"""Between two refusals to one tenant."""
MAX_REFUSAL_WAIT_SECONDS = 2.0


class Turns:
    """Places that tenants take in turn. For tasks of one event loop."""

    def __init__(self, places: int, of_one: int | None = None) -> None:
        """``of_one`` is how many a tenant may have at any time; without it all, unless others ask too."""
        self._places = self._free = places
        self._of_one = of_one
        self._waiting: OrderedDict[TenantId, deque[asyncio.Future[None]]] = OrderedDict()
        self._holding: Counter[TenantId] = Counter()
        self._asked: OrderedDict[TenantId, float] = OrderedDict()
        """When each tenant asked last, the longest ago first: within ``LATELY_SECONDS``, and where that decides."""

    async def take(self, tenant: TenantId) -> None:
        """Wait for a place. Whoever got one gives it back."""
        loop = asyncio.get_running_loop()
        if self._of_one is None:
            self._asked[tenant] = loop.time()
            self._asked.move_to_end(tenant)
        if self._free and tenant not in self._waiting and self._holding[tenant] < self._share():
            self._hold(tenant)
            return
        turn: asyncio.Future[None] = loop.create_future()
        self._waiting.setdefault(tenant, deque()).append(turn)
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():
                self.give(tenant)
            raise

    def give(self, tenant: TenantId) -> None:
        """Give a place back: to the next tenant that waits and has none too many."""
        self._free += 1
        self._holding[tenant] -= 1
        if not self._holding[tenant]:
            del self._holding[tenant]
        share = self._share()
        while self._free:
            following = next((one for one in self._waiting if self._holding[one] < share), None)
            if following is None:
                return
            self._next(following)

    @property
    def shared(self) -> bool:
        """Whether more than one tenant asked lately."""
        return self._share() < self._places

    @property
    def waiting(self) -> int:
        """How many wait for a place."""
        return sum(len(queue) for queue in self._waiting.values())

    @property
    def busy(self) -> int:
        """How many places are taken."""
        return self._places - self._free

    def _next(self, tenant: TenantId) -> None:
        """Let one who waits go on; the others of that tenant wait behind the other tenants."""
        queue = self._waiting.pop(tenant)
        turn = queue.popleft()
        if queue:
            self._waiting[tenant] = queue
        if not turn.cancelled():
            self._hold(tenant)
            turn.set_result(None)

    def _hold(self, tenant: TenantId) -> None:
        self._free -= 1
        self._holding[tenant] += 1

    def _share(self) -> int:
        """How many places one tenant may have now."""
        if self._of_one is not None:
            return self._of_one
        since = asyncio.get_running_loop().time() - LATELY_SECONDS
        while self._asked and next(iter(self._asked.values())) < since:
            self._asked.popitem(last=False)
        return 1 if len(self._asked) > 1 else self._places

    @asynccontextmanager
    async def place(self, tenant: TenantId) -> AsyncIterator[None]:
        """A place for as long as the block lasts."""
        await self.take(tenant)
        try:
            yield
        finally:
            self.give(tenant)


class Admission:
    """Lets requests in. One for a process; for tasks of one event loop."""

    def __init__(self, most: int, places: int = PLACES) -> None:
        """``most`` requests of one tenant are served or wait at a time; more are refused."""
        self._most = most
        self._serving: dict[TenantId, int] = {}
        self.turns = Turns(places)
        self.bodies = Turns(LARGE_BODIES, LARGE_BODIES_OF_ONE)
        self.weights = Weights()
        self._refused: dict[TenantId, float] = {}
        """When the last refusal to a tenant was, or will be, by the loop's clock."""

    async def enter(self, tenant: TenantId, exchange: Exchange) -> None:
        """Wait for the tenant's turn, and count the request until its exchange ends. Raises ``TooManyRequests``."""
        serving = self.serving(tenant)
        if serving >= self._most:
            raise TooManyRequests(f"{serving} requests of this tenant are being served", retry_after=1)
        self._serving[tenant] = serving + 1
        exchange.at_end.append(lambda: self._leave(tenant))
        place = Place(self.turns, tenant)
        exchange.at_end.append(place.give)
        await place.take()
        exchange.aside = place.aside
        exchange.grow = partial(self._grow, tenant, exchange)
        weight = Weight(self.weights, tenant)
        exchange.at_end.append(weight.end)
        exchange.weigh = partial(self._weigh, weight, exchange)
        _place.set(place)
        if self.turns.shared:
            # Else a crowd whose answers wait for nothing would be served whole before the loop looks at a socket again.
            await asyncio.sleep(0)

    async def _grow(self, tenant: TenantId, exchange: Exchange) -> None:
        """Wait until one more of the tenant's large bodies may be in memory, which it then may until the end of the
        exchange. Raises ``TooManyRequests`` where that takes too long."""
        try:
            async with exchange.aside(), asyncio.timeout(GROW_SECONDS):
                await self.bodies.take(tenant)
        except TimeoutError as error:
            raise TooManyRequests("too many large bodies of this tenant are being read", retry_after=1) from error
        exchange.at_end.append(partial(self.bodies.give, tenant))
        exchange.allow(exchange.total)

    async def _weigh(self, weight: Weight, exchange: Exchange, total: int) -> None:
        """Wait until a request may keep so many bytes in all until its exchange ends. Raises ``TooManyRequests``."""
        if total <= max(weight.held, LIGHT_BYTES):
            return
        try:
            async with exchange.aside(), asyncio.timeout(GROW_SECONDS):
                await self.weights.take(weight, total)
        except TimeoutError as error:
            what = "this tenant's requests keep as much in memory as they may"
            raise TooManyRequests(what, retry_after=HEAVY_RETRY_SECONDS) from error

    async def refuse(self, tenant: TenantId) -> None:
        """Wait before a refusal to a tenant, the longer the more it has coming."""
        loop = asyncio.get_running_loop()
        now = loop.time()
        when = max(now, min(self._refused.get(tenant, 0.0) + REFUSAL_SECONDS, now + MAX_REFUSAL_WAIT_SECONDS))
        self._refused = {other: at for other, at in self._refused.items() if at > now} | {tenant: when}
        if when > now:
            await asyncio.sleep(when - now)

    def serving(self, tenant: TenantId) -> int:
        """How many requests of a tenant are being served now, or wait for their turn."""
        return self._serving.get(tenant, 0)

    def _leave(self, tenant: TenantId) -> None:
        left = self._serving[tenant] - 1
        if left:
            self._serving[tenant] = left
        else:
            del self._serving[tenant]


class Place:
    """The place of one request, which it may have, give up, and take again."""

    __slots__ = ("_has", "_tenant", "_timer", "_turns")

    def __init__(self, turns: Turns, tenant: TenantId) -> None:
        self._turns, self._tenant = turns, tenant
        self._has = False
        self._timer: asyncio.TimerHandle | None = None

    async def take(self) -> None:
        """Wait for the tenant's turn."""
        await self._turns.take(self._tenant)
        self._has = True
        self._timer = asyncio.get_running_loop().call_later(HELD_SECONDS, self.give)

    def give(self) -> None:
        """Give the place up, if it has one."""
        if self._has:
            self._has = False
            if self._timer is not None:
                self._timer.cancel()
            self._turns.give(self._tenant)

    @asynccontextmanager
    async def aside(self) -> AsyncIterator[None]:
        """Without the place for as long as the block lasts; then with one again, where it had one."""
        had = self._has
        self.give()
        yield
        if had:
            await self.take()


@asynccontextmanager
async def aside() -> AsyncIterator[None]:
    """Let others go first while the request that this task works for waits for something else than this process."""
    place = _place.get()
    if place is None:
        yield
    else:
        async with place.aside():
            yield


_place: ContextVar[Place | None] = ContextVar("place", default=None)
