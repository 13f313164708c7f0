"""Tenants are served in turn, whatever each of them sends."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest

from satchel.errors import TooManyRequests
from satchel.objects.ids import TenantId
from satchel.server import turns
from satchel.server.turns import Admission, Turns

pytestmark = [pytest.mark.anyio, pytest.mark.promise("P8")]
NOISY, QUIET = TenantId("ten_noisy"), TenantId("ten_quiet")


def exchange() -> Any:
    """What admission uses of one."""
    return SimpleNamespace(at_end=[], aside=None)


def end(one: Any) -> None:
    for call in one.at_end:
        call()


async def settled() -> None:
    for _ in range(10):
        await asyncio.sleep(0)


async def test_a_tenant_that_sends_much_waits_behind_its_own_and_another_is_next() -> None:
    free, order = Turns(1), []

    async def ask(tenant: TenantId, name: str) -> None:
        async with free.place(tenant):
            order.append(name)

    await free.take(NOISY)
    asking = [asyncio.create_task(ask(NOISY, f"noisy {number}")) for number in range(50)]
    await settled()
    asking.append(asyncio.create_task(ask(QUIET, "quiet")))
    await settled()
    free.give(NOISY)
    await asyncio.gather(*asking)
    assert order.index("quiet") == 1
    assert [name for name in order if name != "quiet"] == [f"noisy {number}" for number in range(50)]


async def test_many_noisy_tenants_delay_another_by_one_request_each() -> None:
    free, order = Turns(1), []

    async def ask(tenant: str) -> None:
        async with free.place(TenantId(tenant)):
            order.append(tenant)

    await free.take(NOISY)
    asking = [asyncio.create_task(ask(f"noisy {number % 5}")) for number in range(50)]
    await settled()
    asking.append(asyncio.create_task(ask("quiet")))
    await settled()
    free.give(NOISY)
    await asyncio.gather(*asking)
    assert order.index("quiet") <= 5


async def test_of_a_crowd_that_waits_for_nothing_one_is_served_before_the_loop_looks_at_its_sockets_again() -> None:
    """A recalled answer never suspends: without a pause the whole crowd would go before another tenant is heard."""
    admission, order = Admission(most=1_000), []

    async def ask(tenant: TenantId) -> None:
        one = exchange()
        await admission.enter(tenant, one)
        order.append(tenant)
        end(one)

    await ask(QUIET)
    crowd = [asyncio.create_task(ask(NOISY)) for _ in range(200)]
    arrived = asyncio.Event()
    asyncio.get_running_loop().call_soon(arrived.set)  # as what a socket brings in the next turn of the loop
    await arrived.wait()
    await ask(QUIET)
    assert len(order) - 2 <= 8
    await asyncio.gather(*crowd)
    assert order.count(NOISY) == 200


async def test_who_gives_up_waiting_leaves_no_place_lost() -> None:
    free = Turns(1)
    await free.take(NOISY)
    waiting = [asyncio.create_task(free.take(QUIET)) for _ in range(3)]
    await settled()
    waiting[0].cancel()
    await settled()
    free.give(NOISY)  # to the second
    waiting[1].cancel()  # in the moment in which it was given the place
    await settled()
    await asyncio.wait_for(waiting[2], 1)
    free.give(QUIET)
    await asyncio.wait_for(free.take(NOISY), 1)


async def test_more_than_a_tenant_may_have_under_way_is_refused() -> None:
    door = Admission(most=2, places=5)
    held = [exchange(), exchange()]
    for one in held:
        await door.enter(NOISY, one)
    with pytest.raises(TooManyRequests):
        await door.enter(NOISY, exchange())
    await door.enter(QUIET, exchange())
    for one in held:
        end(one)
    await door.enter(NOISY, exchange())
    assert (door.serving(NOISY), door.serving(QUIET)) == (1, 1)


async def test_a_tenant_has_all_places_while_it_is_alone_and_one_while_another_is_there(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    free = Turns(3)
    for _ in range(3):
        await asyncio.wait_for(free.take(NOISY), 1)
    asking = [asyncio.create_task(free.take(NOISY)) for _ in range(4)]
    quiet = asyncio.create_task(free.take(QUIET))
    await settled()
    free.give(NOISY)
    await asyncio.wait_for(quiet, 1)
    free.give(NOISY)
    free.give(NOISY)  # now it has none, and may have one
    await settled()
    assert [task.done() for task in asking] == [True, False, False, False]
    monkeypatch.setattr(turns, "LATELY_SECONDS", 0.0)  # both were there long ago
    free.give(QUIET)
    await settled()
    assert [task.done() for task in asking] == [True, True, True, False]


async def test_a_request_that_ends_gives_its_place_to_the_next() -> None:
    door = Admission(most=10, places=1)
    first = exchange()
    await door.enter(NOISY, first)
    second = asyncio.create_task(door.enter(QUIET, exchange()))
    await settled()
    assert not second.done()
    end(first)
    await asyncio.wait_for(second, 1)


async def test_a_request_that_waits_for_its_client_steps_aside_and_takes_its_turn_again() -> None:
    door = Admission(most=10, places=1)
    slow, quick = exchange(), exchange()
    await door.enter(NOISY, slow)
    async with slow.aside():
        await asyncio.wait_for(door.enter(QUIET, quick), 1)
        going_on = asyncio.Event()
        asyncio.get_running_loop().call_soon(going_on.set)
        asyncio.get_running_loop().call_soon(end, quick)
    assert going_on.is_set()  # it came back once the other had ended
    end(slow)


async def test_what_works_for_a_request_steps_aside_for_it_and_what_works_for_none_does_not_mind() -> None:
    async with turns.aside():
        pass
    door = Admission(most=10, places=1)
    await door.enter(NOISY, exchange())
    async with turns.aside():
        await asyncio.wait_for(asyncio.create_task(door.enter(QUIET, exchange())), 1)


async def test_a_request_that_takes_long_loses_its_place_and_no_more(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(turns, "HELD_SECONDS", 0.01)
    door = Admission(most=10, places=1)
    stuck = exchange()
    await door.enter(NOISY, stuck)
    quick = exchange()
    await asyncio.wait_for(door.enter(QUIET, quick), 5)
    end(stuck)  # it has nothing to give back any more
    waiting = asyncio.create_task(door.enter(NOISY, exchange()))
    await settled()
    assert not waiting.done()
    end(quick)
    await asyncio.wait_for(waiting, 1)


async def test_a_request_cancelled_while_it_waits_is_counted_no_more() -> None:
    door = Admission(most=10, places=1)
    first, gone = exchange(), exchange()
    await door.enter(NOISY, first)
    waiting = asyncio.create_task(door.enter(NOISY, gone))
    await settled()
    waiting.cancel()
    await asyncio.gather(waiting, return_exceptions=True)
    end(gone)
    end(first)
    assert door.serving(NOISY) == 0
    await asyncio.wait_for(door.enter(QUIET, exchange()), 1)


async def test_refusals_to_one_tenant_are_spread_out_and_bounded_and_do_not_delay_another(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    waits: list[float] = []

    async def noted(seconds: float) -> None:
        waits.append(round(seconds, 3))

    monkeypatch.setattr(turns, "REFUSAL_SECONDS", 0.02)
    monkeypatch.setattr(turns, "MAX_REFUSAL_WAIT_SECONDS", 0.1)
    monkeypatch.setattr(asyncio, "sleep", noted)
    monkeypatch.setattr(asyncio.get_running_loop(), "time", lambda: 1.0)  # all at one moment
    door = Admission(most=1)
    for _ in range(8):
        await door.refuse(NOISY)
    assert waits == [0.02, 0.04, 0.06, 0.08, 0.1, 0.1, 0.1]  # and the first at once
    await door.refuse(QUIET)
    assert len(waits) == 7


async def test_a_tenant_has_so_many_places_and_no_more_whoever_else_asks() -> None:
    places = Turns(5, of_one=2)
    await places.take(NOISY)
    await places.take(NOISY)
    third = asyncio.create_task(places.take(NOISY))
    await settled()
    assert (third.done(), places.busy, places.waiting) == (False, 2, 1)
    await places.take(QUIET)
    await places.take(QUIET)
    assert places.busy == 4
    places.give(NOISY)
    await third
    assert (places.busy, places.waiting) == (4, 0)
    for tenant in (NOISY, NOISY, QUIET, QUIET):
        places.give(tenant)
    assert not [held for held in vars(places).values() if isinstance(held, dict) and held]  # nothing of them is kept
