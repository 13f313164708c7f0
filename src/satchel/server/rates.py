"""How often one may ask: requests a minute of a tenant, of each of its principals, of an address without a credential.

A sliding window over two fixed ones: what was admitted in this minute, and of the minute before as much as still lies
within the last sixty seconds, taken as evenly spread. A refused request counts in neither. Memory is bounded, by
forgetting what was asked for longest ago.

Several nodes tell each other their counts once a second through the catalog (``exchange``); each judges by its own
count and what it last knew of the others. So one node that gets all of a key's requests grants it all of its limit,
and all nodes together exceed it at most by what each of them admits between two exchanges.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Callable, Iterable, Sequence
from ipaddress import IPv6Address, ip_address
from math import ceil
from typing import TYPE_CHECKING, NamedTuple

from satchel.catalog import rates
from satchel.catalog.rates import Used
from satchel.catalog.scope import Catalog
from satchel.errors import SatchelError, TooManyRequests
from satchel.objects.ids import TenantId
from satchel.server.logs import log

if TYPE_CHECKING:
    from satchel.server.cloud import Cloud

WINDOW_MS = 60_000
MAX_BUCKETS = 50_000
"""Tenants and principals counted at a time."""
MAX_ADDRESSES = 10_000
EXCHANGE_SECONDS = 1.0
"""Between two exchanges of counts. What the nodes together may grant too much is what they admit in this time."""
EXCHANGES_AT_ONCE = 2
TENANT, KEY, ADDRESS = "tenant", "key", "address"
_WHOLE = ""


class Bucket:
    """What one of those who ask has used."""

    __slots__ = ("before", "others", "others_before", "own", "window")

    def __init__(self, window: int) -> None:
        self.window = window
        self.own = self.before = 0
        """Admitted here in ``window`` and in the one before it."""
        self.others = self.others_before = 0
        """The same at the other nodes, as last known."""

    def turn(self, window: int) -> None:
        """Go on to a later window. Where a clock was put back, what was counted stays, and nobody waits for longer."""
        if window <= self.window:
            if window < self.window - 1:  # at the edge of two windows a little would forget the one before
                self.window = window
            return
        follows = window == self.window + 1
        self.before, self.others_before = (self.own, self.others) if follows else (0, 0)
        self.own = self.others = 0
        self.window = window

    def used(self, left: float) -> int:
        """Requests within the last minute; ``left`` is the share of the window still to come."""
        return self.own + self.others + int((self.before + self.others_before) * left)

    def wait(self, limit: int, left: float) -> int:
        """Whole seconds until one more request is admitted, if nobody asks until then."""
        now, before = self.own + self.others, self.before + self.others_before
        if now < limit:  # enough of the minute before has to pass out of sight
            share = left - (limit - now) / before
        else:  # this minute has to end, and then enough of it to pass out of sight
            share = left + 1 - limit / now
        return ceil((share * WINDOW_MS + 1) / 1000)


class Standing(NamedTuple):
    """How one of those who ask stands with its limit, after the request at hand."""

    name: str
    limit: int
    """Requests a minute."""
    left: int
    """Requests it has left now."""
    seconds: int
    """Until the minute that is counted ends; of one that has none left, until it has."""


class Verdict(NamedTuple):
    """Whether a request is admitted."""

    standings: tuple[Standing, ...] = ()
    """Of those that are limited; of a refused request, the one that refuses it."""
    refused: bool = False

    def enforce(self) -> None:
        """Raise ``TooManyRequests`` if the request is refused."""
        if self.refused:
            [(name, limit, _, seconds)] = self.standings
            said = f"the {limit:,} requests a minute of this {name} are used up"
            raise TooManyRequests(said, hint=f"Try again in {seconds:,} s.", retry_after=seconds, limit=limit, per=name)

    @property
    def headers(self) -> list[tuple[bytes, bytes]]:
        """The fields of draft-ietf-httpapi-ratelimit-headers-10 that say how those who are limited stand."""
        if not self.standings:
            return []
        policies = ", ".join(f'"{s.name}";q={s.limit};w={WINDOW_MS // 1000}' for s in self.standings)
        states = ", ".join(f'"{s.name}";r={s.left};t={s.seconds}' for s in self.standings)
        return [(b"ratelimit-policy", policies.encode()), (b"ratelimit", states.encode())]


ADMITTED = Verdict()
"""Of a request that nothing limits."""


class Counts:
    """Buckets by name, the least recently used forgotten first."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._buckets: OrderedDict[tuple[str, str], Bucket] = OrderedDict()

    def bucket(self, name: tuple[str, str], window: int) -> Bucket:
        """The bucket of a name, brought to a window."""
        found = self._buckets.get(name)
        if found is None:
            found = self._buckets[name] = Bucket(window)
            if len(self._buckets) > self._most:
                self._buckets.popitem(last=False)
            return found
        self._buckets.move_to_end(name)
        if found.window != window:
            found.turn(window)
        return found

    def own(self, tenant: str, names: Iterable[str], window: int) -> list[Used]:
        """What was admitted here of these buckets in a window and the one before it."""
        said = []
        for name in names:
            bucket = self.bucket((tenant, name), window)
            said += [Used(name, window, bucket.own), Used(name, window - 1, bucket.before)]
        return [used for used in said if used.used]

    def heard(self, tenant: str, others: Iterable[Used], names: Iterable[str], window: int) -> None:
        """Take what the other nodes said in place of what they said before; of ``names`` maybe nothing."""
        for name in names:
            bucket = self.bucket((tenant, name), window)
            bucket.others = bucket.others_before = 0
        for used in others:
            bucket = self.bucket((tenant, used.bucket), window)
            if used.window == window:
                bucket.others = used.used
            elif used.window == window - 1:
                bucket.others_before = used.used


class Rates:
    """One for a process; for tasks of one event loop."""

    def __init__(self, clock: Callable[[], int], node: str) -> None:
        """``clock`` gives milliseconds UTC, on all nodes alike to within a second; ``node`` names this one."""
        self._clock, self._node = clock, node
        self._counts = Counts(MAX_BUCKETS)
        self._addresses = Counts(MAX_ADDRESSES)
        self._asked: dict[TenantId, dict[str, int]] = {}
        """The buckets of each tenant that were used, and the window in which they were last."""

    def spend(self, tenant: TenantId, limit: int, principal: str, own_limit: int) -> Verdict:
        """Count a request against its tenant's limit and its principal's; a limit of 0 or below is none."""
        if limit <= 0 and own_limit <= 0:
            return ADMITTED
        window, into = divmod(self._clock(), WINDOW_MS)
        asked = self._asked.setdefault(tenant, {})
        judged = []
        if own_limit > 0:
            asked[principal] = window
            judged.append((KEY, own_limit, self._counts.bucket((tenant, principal), window)))
        if limit > 0:
            asked[_WHOLE] = window
            judged.append((TENANT, limit, self._counts.bucket((tenant, _WHOLE), window)))
        return _spend(judged, into)

    def stranger(self, address: str, limit: int) -> Verdict:
        """Count a request without a credential, or with one that does not count, against its address."""
        if limit <= 0:
            return ADMITTED
        window, into = divmod(self._clock(), WINDOW_MS)
        return _spend([(ADDRESS, limit, self._addresses.bucket(("", neighbourhood(address)), window))], into)

    async def exchange(self, catalog: Catalog) -> None:
        """Tell the other nodes what was admitted here of every tenant that asked lately, and hear what they admitted.

        A tenant whose exchange fails is logged and counted by what is known; the next exchange catches up.
        """
        oldest = self._clock() // WINDOW_MS - 1
        for tenant, buckets in list(self._asked.items()):
            self._asked[tenant] = fresh = {name: window for name, window in buckets.items() if window >= oldest}
            if not fresh:
                del self._asked[tenant]
        if catalog.engine == "SQLite":  # there are no other nodes
            return
        turns = asyncio.Semaphore(EXCHANGES_AT_ONCE)
        await asyncio.gather(*(self._exchange(catalog, tenant, turns) for tenant in list(self._asked)))

    async def _exchange(self, catalog: Catalog, tenant: TenantId, turns: asyncio.Semaphore) -> None:
        async with turns:
            names = tuple(self._asked.get(tenant, ()))
            window = self._clock() // WINDOW_MS
            try:
                async with catalog.write(tenant) as s:
                    others = await rates.exchange(s, self._node, window, self._counts.own(tenant, names, window))
            except SatchelError as error:
                log.warning("request counts were not exchanged", tenant=tenant, code=error.code)
                return
            self._counts.heard(tenant, others, names, window)


async def exchanging(cloud: Cloud) -> None:
    """Exchange counts with the other nodes every ``EXCHANGE_SECONDS``, until cancelled."""
    while True:
        await cloud.rates.exchange(cloud.catalog)
        await asyncio.sleep(EXCHANGE_SECONDS)


def neighbourhood(address: str) -> str:
    """What counts as one address: of IPv6 the /64 that its holder has all of."""
    try:
        parsed = ip_address(address)
    except ValueError:
        return address[:64]
    if isinstance(parsed, IPv6Address):
        if parsed.ipv4_mapped is not None:
            return str(parsed.ipv4_mapped)
        return parsed.exploded[:19]
    return address


def _spend(judged: Sequence[tuple[str, int, Bucket]], into: int) -> Verdict:
    """Admit a request by all of them or by none; ``into`` is the milliseconds of the window that are over."""
    left = 1 - into / WINDOW_MS
    for name, limit, bucket in judged:
        if bucket.used(left) >= limit:
            return Verdict((Standing(name, limit, 0, bucket.wait(limit, left)),), refused=True)
    seconds = -(-(WINDOW_MS - into) // 1000)
    standings = []
    for name, limit, bucket in judged:
        bucket.own += 1
        standings.append(Standing(name, limit, limit - bucket.used(left), seconds))
    return Verdict(tuple(standings))
