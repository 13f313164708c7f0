"""Work on many things, a few of them at a time, whose answers come in the order of the things."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator, Callable, Coroutine, Iterable
from typing import Any, TypeVar

T = TypeVar("T")
R = TypeVar("R")

AT_ONCE = 4
"""Tenants looked at together, and projects of each: most of the time of a small one is waiting, for a disk or a store.
"""


async def ahead(
    things: AsyncIterable[T] | Iterable[T], work: Callable[[T], Coroutine[Any, Any, R]], at_once: int
) -> AsyncGenerator[tuple[T, R], None]:
    """Each of ``things`` with what ``work`` made of it, while ``at_once`` are under way.

    Raises what the first of them raised, in their order. What is under way when nobody asks any more ends.
    """
    waiting: deque[tuple[T, asyncio.Task[R]]] = deque()
    try:
        async for thing in things if isinstance(things, AsyncIterable) else _each(things):
            waiting.append((thing, asyncio.create_task(work(thing))))
            if len(waiting) >= at_once:
                first, task = waiting.popleft()
                yield first, await task
        while waiting:
            first, task = waiting.popleft()
            yield first, await task
    finally:
        left = [task for _, task in waiting]
        for task in left:
            task.cancel()
        await asyncio.gather(*left, return_exceptions=True)


async def _each(things: Iterable[T]) -> AsyncIterator[T]:
    for thing in things:
        yield thing
