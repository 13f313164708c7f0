"""Counting requests by the minute: on one node exactly, on several within a stated bound, in bounded memory."""

from __future__ import annotations

import itertools
import threading
from collections.abc import AsyncIterator, Callable

import pytest

from satchel.catalog.scope import Catalog
from satchel.objects.ids import TenantId
from satchel.server.rates import ADMITTED, Rates, Verdict, neighbourhood
from tests.catalog.make import Tenants
from tests.postgres import Postgres, run_sql

TENANT = TenantId("ten_a")
MINUTE = 60_000


class Clock:
    """Time that passes when it is told to."""

    def __init__(self, now: int = 1_000 * MINUTE) -> None:
        self.now = now

    def __call__(self) -> int:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def node(clock: Clock) -> Rates:
    return Rates(clock, "one")


def admitted(ask: Callable[[], Verdict], times: int) -> int:
    return sum(not ask().refused for _ in range(times))


def test_a_limit_admits_so_many_in_a_minute_and_no_more(node: Rates) -> None:
    assert admitted(lambda: node.spend(TENANT, 10, "key_a", -1), 25) == 10


def test_no_limit_counts_nothing_and_says_nothing(node: Rates) -> None:
    for none in (0, -1):
        assert node.spend(TENANT, none, "key_a", none) is ADMITTED
    assert ADMITTED.headers == []


def test_keys_of_a_tenant_share_its_limit_and_have_their_own(node: Rates) -> None:
    assert admitted(lambda: node.spend(TENANT, 10, "key_a", 6), 10) == 6
    assert admitted(lambda: node.spend(TENANT, 10, "key_b", 6), 10) == 4


def test_a_refused_request_is_counted_nowhere(node: Rates) -> None:
    admitted(lambda: node.spend(TENANT, 100, "key_a", 1), 50)
    assert node.spend(TENANT, 100, "key_b", -1).standings[0].left == 98


@pytest.mark.promise("P5")
def test_tenants_do_not_count_against_each_other_even_with_equal_names(node: Rates) -> None:
    assert admitted(lambda: node.spend(TENANT, 3, "key_a", 3), 5) == 3
    assert admitted(lambda: node.spend(TenantId("ten_b"), 3, "key_a", 3), 5) == 3


@pytest.mark.parametrize("limit", [1, 2, 7, 60, 600])
def test_nowhere_in_time_is_more_than_twice_the_limit_admitted_in_a_minute_and_on_average_the_limit(
    node: Rates, clock: Clock, limit: int
) -> None:
    """Asked four times as fast as allowed, at an even pace, for ten minutes."""
    times = []
    for _ in range(limit * 40):
        if not node.spend(TENANT, limit, "key_a", -1).refused:
            times.append(clock.now)
        clock.now += 15_000 // limit
    for first, last in zip(times, times[limit + 1 :], strict=False):
        assert last - first >= MINUTE * 0.45  # a burst around the turn of the minute is bounded
    assert len(times) <= 10 * limit + limit


@pytest.mark.parametrize("limit", [1, 2, 60])
@pytest.mark.parametrize("start", [0, 1, 30_000, 59_999])
def test_who_waits_as_long_as_it_is_told_is_admitted(node: Rates, clock: Clock, limit: int, start: int) -> None:
    clock.now += start
    for _ in range(5):
        while not (verdict := node.spend(TENANT, limit, "key_a", -1)).refused:
            pass
        [standing] = verdict.standings
        assert 1 <= standing.seconds <= 61
        clock.now += standing.seconds * 1000
        assert not node.spend(TENANT, limit, "key_a", -1).refused


def test_a_clock_put_back_neither_fails_nor_forgets(node: Rates, clock: Clock) -> None:
    admitted(lambda: node.spend(TENANT, 5, "key_a", -1), 5)
    clock.now -= 90_000
    assert node.spend(TENANT, 5, "key_a", -1).refused


def test_a_clock_put_right_by_an_hour_lets_in_whoever_waited_as_long_as_it_was_told(node: Rates, clock: Clock) -> None:
    admitted(lambda: node.spend(TENANT, 5, "key_a", -1), 5)
    clock.now -= 60 * MINUTE
    verdict = node.spend(TENANT, 5, "key_a", -1)
    assert verdict.refused
    clock.now += verdict.standings[0].seconds * 1000
    assert not node.spend(TENANT, 5, "key_a", -1).refused


def test_the_headers_name_policy_and_standing(node: Rates, clock: Clock) -> None:
    clock.now += 45_000
    verdict = node.spend(TENANT, 100, "key_a", 5)
    assert verdict.headers == [
        (b"ratelimit-policy", b'"key";q=5;w=60, "tenant";q=100;w=60'),
        (b"ratelimit", b'"key";r=4;t=15, "tenant";r=99;t=15'),
    ]
    admitted(lambda: node.spend(TENANT, 100, "key_a", 5), 4)
    refused = node.spend(TENANT, 100, "key_a", 5)
    assert refused.headers == [(b"ratelimit-policy", b'"key";q=5;w=60'), (b"ratelimit", b'"key";r=0;t=16')]


@pytest.mark.promise("P8")
def test_addresses_are_counted_in_bounded_memory(node: Rates, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(node._addresses, "_most", 100)
    assert admitted(lambda: node.stranger("192.0.2.1", 3), 5) == 3
    for number in range(5_000):
        assert not node.stranger(f"10.1.{number // 250}.{number % 250}", 3).refused
    assert len(node._addresses._buckets) == 100


def test_a_neighbourhood_of_ipv6_is_one_address() -> None:
    assert neighbourhood("2001:db8:1:2:aaaa::1") == neighbourhood("2001:db8:1:2::77")
    assert neighbourhood("2001:db8:1:2::1") != neighbourhood("2001:db8:1:3::1")
    assert neighbourhood("::ffff:192.0.2.1") == "192.0.2.1"
    assert len(neighbourhood("no address " * 1_000)) <= 64


def test_counting_starts_no_thread(node: Rates) -> None:
    before = threading.active_count()
    admitted(lambda: node.spend(TENANT, 10_000, "key_a", 10_000), 2_000)
    assert threading.active_count() == before


# Several nodes ------------------------------------------------------------------------------------------------------


@pytest.fixture
async def shared(postgres: Postgres) -> AsyncIterator[Catalog]:
    catalog = await Catalog.open(postgres.url)
    yield catalog
    await catalog.close()


@pytest.mark.anyio
async def test_a_key_pinned_to_one_node_gets_all_of_its_limit(shared: Catalog, clock: Clock) -> None:
    tenant = (await Tenants.found(shared)).a
    pinned, idle = Rates(clock, "one"), Rates(clock, "two")
    granted = 0
    for _ in range(10):
        granted += admitted(lambda: pinned.spend(tenant, -1, "key_a", 50), 10)
        for each in (pinned, idle):
            await each.exchange(shared)
        clock.now += 1_000
    assert granted == 50


@pytest.mark.anyio
async def test_nodes_together_exceed_a_limit_at_most_by_what_each_admits_between_two_exchanges(
    shared: Catalog, clock: Clock
) -> None:
    tenant = (await Tenants.found(shared)).a
    nodes = [Rates(clock, name) for name in ("one", "two", "three")]
    limit, a_second = 200, 20
    granted = 0
    for _ in range(15):
        for each in nodes:
            granted += admitted(lambda each=each: each.spend(tenant, limit, "key_a", -1), a_second)  # type: ignore[misc]
        for each in nodes:
            await each.exchange(shared)
        clock.now += 1_000
    assert limit <= granted <= limit + (len(nodes) - 1) * a_second


@pytest.mark.anyio
async def test_what_the_others_used_counts_over_the_turn_of_the_minute(shared: Catalog, clock: Clock) -> None:
    tenant = (await Tenants.found(shared)).a
    one, two = Rates(clock, "one"), Rates(clock, "two")
    clock.now += 59_000
    two.spend(tenant, 100, "key_a", -1)  # it has to have asked lately to hear of the tenant
    assert admitted(lambda: one.spend(tenant, 100, "key_a", -1), 100) == 100
    clock.now += 2_000
    for each in (one, two):
        await each.exchange(shared)
    assert admitted(lambda: two.spend(tenant, 100, "key_a", -1), 100) <= 3


@pytest.mark.anyio
async def test_rows_of_old_minutes_and_of_nodes_that_are_gone_do_not_pile_up(
    shared: Catalog, clock: Clock, postgres: Postgres
) -> None:
    tenant = (await Tenants.found(shared)).a
    for number in itertools.count():
        each = Rates(clock, f"node {number}")
        each.spend(tenant, 10, "key_a", 10)
        await each.exchange(shared)
        clock.now += 30_000
        if number == 8:
            break
    [[rows]] = await run_sql(postgres.admin, "SELECT count(*) FROM rate_use")
    assert 0 < rows <= 16


@pytest.mark.anyio
async def test_tenants_that_do_not_ask_are_not_exchanged(shared: Catalog, clock: Clock, node: Rates) -> None:
    tenant = (await Tenants.found(shared)).a
    node.spend(tenant, 10, "key_a", -1)
    await node.exchange(shared)
    assert node._asked
    clock.now += 3 * MINUTE
    await node.exchange(shared)
    assert not node._asked


@pytest.mark.anyio
async def test_a_catalog_that_is_away_leaves_the_counting_to_the_node(
    node: Rates, postgres: Postgres, monkeypatch: pytest.MonkeyPatch
) -> None:
    catalog = await Catalog.open(postgres.url)
    tenant = (await Tenants.found(catalog)).a
    await catalog.close()
    node.spend(tenant, 2, "key_a", -1)
    catalog = await Catalog.open(postgres.url)
    try:
        await catalog._database.close()
        monkeypatch.setattr(catalog._database, "_dsn", postgres.at(1).url)
        await node.exchange(catalog)
    finally:
        await catalog.close()
    assert admitted(lambda: node.spend(tenant, 2, "key_a", -1), 5) == 1
