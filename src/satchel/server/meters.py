"""What a server counts of its own work: plain numbers, written where the work is done, read when somebody asks.

Counting costs a request about a microsecond: everything here belongs to one event loop, so nothing is locked, and names
are made when the numbers are read (`metrics`). What is counted has names of ours alone, of which there are as many as
there are routes, codes and works: nothing that a client sends becomes a name (promise P10).
"""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter, OrderedDict
from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from satchel.server.edge import Exchange

METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
"""Methods that are called by their names; others are ``?``."""
BUCKETS = (0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.15, 0.25, 0.5, 1.0, 2.5, 10.0, 60.0)
"""Seconds. The bounds of the aims, 50 and 150 ms, are among them."""
OTHERS = "other"
"""Stands for all tenants beyond the bound."""


class Answers:
    """What was answered at one route by one method."""

    __slots__ = ("buckets", "received", "seconds", "sent", "statuses")

    def __init__(self) -> None:
        self.buckets = [0] * (len(BUCKETS) + 1)
        """By duration: the last is beyond every bound."""
        self.seconds = 0.0
        self.statuses: Counter[int] = Counter()
        """0: the client had gone before it was answered."""
        self.received = self.sent = 0
        """Bytes of bodies."""


class Hits:
    """How often a memory had what was asked of it."""

    __slots__ = ("hits", "misses")

    def __init__(self) -> None:
        self.hits = self.misses = 0


class Spent:
    """How often something was asked, how often it did not answer, and how long all of it took."""

    __slots__ = ("calls", "failures", "seconds")

    def __init__(self) -> None:
        self.calls = self.failures = 0
        self.seconds = 0.0


class Meters:
    """One for a process."""

    def __init__(self, tenants: int = 0) -> None:
        """``tenants`` bounds how many are counted each by itself."""
        self.answers: dict[tuple[str, str], Answers] = {}
        """By method and route."""
        self.under_way = 0
        """Requests being answered."""
        self.problems: Counter[str] = Counter()
        """By the code of the error."""
        self.tenants: OrderedDict[str, int] = OrderedDict()
        """Requests by tenant, for those who came first, up to the bound."""
        self.use: dict[str, dict[str, float]] = {}
        """Which part of each quota a tenant uses, 0 to 1, as last looked up."""
        self.store: dict[str, Spent] = {}
        """Calls of the store by operation."""
        self.database: dict[str, Spent] = {}
        """Transactions by kind."""
        self.failures: Counter[str] = Counter()
        """Times that a work in the background failed."""
        self.told: Callable[[str, str, float, bool], None] | None = None
        """Hears of each call and transaction too, where requests are traced."""
        self._hits: dict[str, Hits] = {}
        self._most_tenants = tenants

    def hits(self, name: str) -> Hits:
        """What a memory counts by itself."""
        return self._hits.setdefault(name, Hits())

    def answered(self, method: str, route: str, exchange: Exchange, seconds: float) -> None:
        """Count a request that ended."""
        found = self.answers.get((method, route))
        if found is None:
            found = self.answers[(method, route)] = Answers()
        found.buckets[bisect_left(BUCKETS, seconds)] += 1
        found.seconds += seconds
        found.statuses[exchange.status] += 1
        found.received += exchange.received
        found.sent += exchange.sent
        if exchange.code is not None:
            self.problems[exchange.code] += 1
        if self._most_tenants and exchange.tenant is not None:
            known = exchange.tenant in self.tenants or len(self.tenants) < self._most_tenants
            name = exchange.tenant if known else OTHERS
            self.tenants[name] = self.tenants.get(name, 0) + 1

    def note_store(self, operation: str, seconds: float, good: bool) -> None:
        """Count a call of the store."""
        _note(self.store, operation, seconds, good)
        if self.told is not None:
            self.told("store", operation, seconds, good)

    def note_database(self, kind: str, seconds: float, good: bool) -> None:
        """Count a transaction."""
        _note(self.database, kind, seconds, good)
        if self.told is not None:
            self.told("catalog", kind, seconds, good)


def _note(spent: dict[str, Spent], name: str, seconds: float, good: bool) -> None:
    found = spent.get(name)
    if found is None:
        found = spent[name] = Spent()
    found.calls += 1
    found.seconds += seconds
    found.failures += not good
