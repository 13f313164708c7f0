"""Work on several things at once: bounded, in order, and over when nobody asks any more."""

from __future__ import annotations

import asyncio

import pytest

from satchel.upkeep.ahead import ahead

pytestmark = pytest.mark.anyio


class Work:
    """Ends when it is told to; counts what is under way."""

    def __init__(self) -> None:
        self.begun: list[int] = []
        self.under_way = self.most = 0

    async def __call__(self, thing: int) -> int:
        self.begun.append(thing)
        self.under_way += 1
        self.most = max(self.most, self.under_way)
        try:
            for _ in range(10 - thing % 10):  # later ones end sooner
                await asyncio.sleep(0)
            if thing == 13:
                raise LookupError(thing)
        finally:
            self.under_way -= 1
        return thing * 2


@pytest.mark.parametrize("at_once", [1, 4])
async def test_answers_come_in_order_of_as_many_at_once_as_may_be(at_once: int) -> None:
    work = Work()
    assert [item async for item in ahead(range(10), work, at_once)] == [(thing, thing * 2) for thing in range(10)]
    assert work.most == at_once


async def test_what_one_raises_is_raised_in_its_turn_and_ends_those_behind_it() -> None:
    work = Work()
    answers = ahead(range(10, 30), work, 4)
    assert [(await anext(answers))[0] for _ in range(3)] == [10, 11, 12]
    with pytest.raises(LookupError):
        await anext(answers)
    assert work.under_way == 0
    assert work.begun[-1] < 20


async def test_nothing_goes_on_when_nobody_asks_any_more() -> None:
    work = Work()
    answers = ahead(range(10), work, 4)
    await anext(answers)
    await answers.aclose()
    assert work.under_way == 0
