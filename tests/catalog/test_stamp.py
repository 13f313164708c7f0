"""A stamp is the same for as long as nothing was committed, and another one as soon as something was."""

from __future__ import annotations

import asyncio

import pytest
from sqlalchemy import select, update

from satchel.catalog.schema import mine, tenant
from satchel.catalog.scope import Catalog
from satchel.catalog.stamp import SnapshotStamp
from tests.catalog.make import Tenants

pytestmark = pytest.mark.anyio
_RENAME = update(tenant).where(mine(tenant))


async def read(catalog: Catalog, tenants: Tenants) -> str:
    async with catalog.read(tenants.a) as s:
        row = await s.row(select(tenant.c.name).where(mine(tenant)))
        assert row is not None
        return str(row.name)


async def test_it_is_the_same_while_others_read(catalog: Catalog, tenants: Tenants) -> None:
    same, last = 0, await catalog.stamp()
    assert last is not None
    for _ in range(60):  # PostgreSQL vacuums when it likes, which takes a number as a write does
        await read(catalog, tenants)
        now = await catalog.stamp()
        same, last = (same + 1 if now == last else 0), now
        if same == 5:
            return
    pytest.fail("reads change it")


async def test_it_is_another_as_soon_as_a_write_can_be_read(catalog: Catalog, tenants: Tenants) -> None:
    stamps = [await catalog.stamp()]
    for number in range(5):
        async with catalog.write(tenants.b if number % 2 else tenants.a) as s:
            await s.execute(_RENAME.values(name=f"name {number}"))
            during = await catalog.stamp()  # whatever it is: nothing can be read of it yet
        assert await catalog.stamp() != during or during not in stamps
        stamps.append(await catalog.stamp())
    assert len(set(stamps)) == len(stamps)


async def test_no_answer_is_older_than_its_stamp_whoever_writes_meanwhile(catalog: Catalog, tenants: Tenants) -> None:
    """What was read after a stamp is what would be read now, while that stamp is had again."""
    over = asyncio.Event()

    async def write() -> None:
        for number in range(40):
            async with catalog.write(tenants.a) as s:
                await s.execute(_RENAME.values(name=f"name {number}"))
            await asyncio.sleep(0)
        over.set()

    async def look() -> None:
        while not over.is_set():
            await asyncio.sleep(0)  # a quick read of a file gives nobody else a turn
            stamp = await catalog.stamp()
            first = await read(catalog, tenants)
            if await catalog.stamp() == stamp is not None:
                second = await read(catalog, tenants)
                assert first == second or await catalog.stamp() != stamp

    async with asyncio.TaskGroup() as group:
        group.create_task(write())
        for _ in range(3):
            group.create_task(look())
    stamp = await catalog.stamp()
    await read(catalog, tenants)
    assert await catalog.stamp() == stamp


async def test_those_who_ask_a_server_together_share_a_question_that_none_of_them_came_late_to() -> None:
    asked: list[int] = []
    ended: list[bool] = []
    begun, go_on = asyncio.Event(), asyncio.Event()

    class Connection:
        async def fetchval(self, *_: object, **__: object) -> str:
            asked.append(len(asked))
            begun.set()
            await go_on.wait()
            return f"answer {asked[-1]}"

        def terminate(self) -> None:
            pass

    async def connect() -> Connection:
        return Connection()

    async def end(_: Connection) -> None:
        ended.append(True)

    stamp = SnapshotStamp(connect, end)
    first = asyncio.create_task(stamp.now())
    await begun.wait()
    late = [asyncio.create_task(stamp.now()) for _ in range(20)]
    await asyncio.sleep(0)
    go_on.set()
    assert await first == "answer 0"
    assert set(await asyncio.gather(*late)) == {"answer 1"}
    await stamp.close()
    assert ended == [True]


async def test_a_server_that_does_not_answer_gives_no_stamp_and_is_asked_again(monkeypatch: pytest.MonkeyPatch) -> None:
    ended: list[object] = []
    answers: list[object] = [OSError("gone"), TimeoutError(), "good"]

    class Connection:
        async def fetchval(self, *_: object, **__: object) -> object:
            said = answers.pop(0)
            if isinstance(said, Exception):
                raise said
            return said

        def terminate(self) -> None:
            ended.append(self)

    async def connect() -> Connection:
        return Connection()

    async def end(_: Connection) -> None:
        pass

    stamp = SnapshotStamp(connect, end)
    assert [await stamp.now() for _ in range(3)] == [None, None, "good"]
    assert len(ended) == 2
    await stamp.close()


async def test_who_leaves_while_asking_leaves_the_question_to_those_who_wait() -> None:
    made: list[Connection] = []
    ended: list[Connection] = []
    begun = asyncio.Event()

    class Connection:
        async def fetchval(self, *_: object, **__: object) -> str:
            begun.set()
            if len(made) == 1:
                await asyncio.Event().wait()
            return f"of connection {len(made)}"

        def terminate(self) -> None:
            ended.append(self)

    async def connect() -> Connection:
        made.append(Connection())
        return made[-1]

    async def end(_: Connection) -> None:
        pass

    stamp = SnapshotStamp(connect, end)
    first = asyncio.create_task(stamp.now())
    await begun.wait()
    others = [asyncio.create_task(stamp.now()) for _ in range(3)]
    await asyncio.sleep(0)
    first.cancel()
    assert set(await asyncio.gather(*others)) == {"of connection 2"}
    assert ended == made[:1]
    await stamp.close()
    assert await stamp.now() is None
