"""Packs are opened in several processes as in one, and whatever happens to those leaves nothing unopened."""

from __future__ import annotations

import asyncio
import os
import signal
from typing import Any

import pytest

from satchel.errors import SealBroken
from satchel.objects.frame import MAX_FRAME_RAW
from satchel.objects.ids import object_id
from satchel.objects.record import PackTable
from satchel.upkeep import openers
from satchel.upkeep.opened import Examined, Whole, examine_pack
from satchel.upkeep.openers import Openers
from tests.upkeep.test_contents import BINDING, KEY, by_frame, framed, packed, rows

pytestmark = pytest.mark.anyio

MUCH = 1 << 40


@pytest.fixture(autouse=True)
def _three_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(openers, "_cores", lambda: 3)


def key_of(epoch: int) -> bytes:
    if epoch != 1:
        raise SealBroken(f"no key of epoch {epoch}")
    return KEY


def whole(table: PackTable) -> Whole:
    return Whole(table.name, table.size, len(table.frames))


def sound() -> tuple[bytes, PackTable]:
    long = os.urandom(2 * MAX_FRAME_RAW + 7)
    return packed(framed(b"one", b"", long, *(os.urandom(900) for _ in range(40))))


def flipped(data: bytes, at: int) -> bytes:
    return data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :]


async def examined(given: Openers, data: bytes, table: PackTable) -> Examined | None:
    return await given.examine(whole(table), by_frame(rows(table)), data, key_of, BINDING)


async def test_every_process_finds_what_this_one_finds() -> None:
    data, table = sound()
    cases = [
        data,
        *(flipped(data, table.frames[frame].offset + byte) for frame in (0, 2, 7) for byte in (0, 11, 28, 76)),
    ]
    expected = [examine_pack(whole(table), by_frame(rows(table)), case, key_of, BINDING) for case in cases]
    assert len({str(found) for found in expected}) > len(cases) // 2
    async with Openers(MUCH) as given:
        assert given.at_once == 3
        assert await asyncio.gather(*(examined(given, case, table) for case in cases)) == expected


async def test_a_long_object_with_a_part_elsewhere_is_named_by_every_process() -> None:
    long = os.urandom(MAX_FRAME_RAW + 7)
    data, table = packed(framed(long)[:1])
    given = [row._replace(size=len(long)) for row in rows(table)]
    async with Openers(MUCH) as opening:
        jobs = (opening.examine(whole(table), by_frame(given), data, key_of, BINDING) for _ in range(6))
        for found in await asyncio.gather(*jobs):
            assert found is not None
            assert (found.long, found.scattered) == ([(object_id(long), len(long))], [object_id(long)])


async def test_rows_that_are_odd_are_odd_to_every_process() -> None:
    data, table = sound()
    odd = by_frame(rows(table))
    moved, no_number = odd[0]._replace(offset=7), (*odd[0][:1], "x", *odd[0][2:])
    wrong: list[list[Any]] = [odd[1:], [moved, *odd[1:]], [no_number, *odd[1:]], [(b"x", *moved[1:]), *odd[1:]]]
    async with Openers(MUCH) as given:
        jobs = (given.examine(whole(table), each, data, key_of, BINDING) for each in wrong * 3)
        assert await asyncio.gather(*jobs) == [None] * 12


@pytest.mark.parametrize("program", ["raise SystemExit", "import time; time.sleep(99)", "print('not an answer')"])
async def test_a_process_that_ends_leaves_its_packs_to_this_one(program: str, monkeypatch: pytest.MonkeyPatch) -> None:
    data, table = sound()
    monkeypatch.setattr(openers, "_PROGRAM", program)
    async with Openers(MUCH) as given:
        for process in given._started:
            if "sleep" in program:
                asyncio.get_running_loop().call_later(0.2, process.send_signal, signal.SIGKILL)
        found = await asyncio.gather(*(examined(given, data, table) for _ in range(5)))
    assert found == [examine_pack(whole(table), by_frame(rows(table)), data, key_of, BINDING)] * 5


async def test_where_no_process_starts_this_one_does_it_all(monkeypatch: pytest.MonkeyPatch) -> None:
    data, table = sound()
    monkeypatch.setattr("sys.executable", "/nowhere/python")
    async with Openers(MUCH) as given:
        found = await asyncio.gather(*(examined(given, data, table) for _ in range(5)))
    assert [each.opened.objects for each in found if each] == [43] * 5


@pytest.mark.parametrize("stop", [asyncio.CancelledError, ValueError])
async def test_who_gives_up_leaves_no_process(stop: type[BaseException]) -> None:
    data, table = sound()
    given = Openers(MUCH)

    async def gives_up() -> None:
        async with given:
            jobs = [asyncio.create_task(examined(given, data, table)) for _ in range(8)]
            await asyncio.sleep(0)
            for job in jobs:
                job.cancel()
            await asyncio.gather(*jobs, return_exceptions=True)
            raise stop

    with pytest.raises(stop):
        await gives_up()
    assert [process.poll() is None for process in given._started] == [False] * 3


def test_little_is_opened_in_this_process_alone() -> None:
    assert [Openers(stored).at_once for stored in (0, 1 << 20, 30 << 20, MUCH)] == [1, 1, 2, 3]


def test_a_process_goes_on_when_interrupted_and_ends_when_nobody_asks_any_more() -> None:
    data, table = sound()
    question = (whole(table), by_frame(rows(table)), data, key_of, BINDING)
    with openers._start() as process:
        assert process.stdin is not None
        assert openers._ask(process, *question) == examine_pack(*question)
        process.send_signal(signal.SIGINT)  # as a terminal sends it to all: whoever asks decides
        assert openers._ask(process, *question) == examine_pack(*question)
        process.stdin.close()
        assert process.wait(30) == 0
