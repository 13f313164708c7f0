"""How a question, which is asked synchronously, waits for what only the event loop can do.

In a thread it waits there. Tried on the event loop itself it stops where it would have to wait (``Wanted``), and is
asked anew once that is had (``Waits``); or where it comes to work that belongs into a thread (``Heavy``).
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, Protocol, TypeVar

from satchel.errors import SatchelError

T = TypeVar("T")


class Heavy(BaseException):
    """The question takes a thread. Control flow, and no error of anybody."""


class Wait(Protocol):
    """Has a coroutine run on the event loop and gives what it comes to."""

    def __call__(self, work: Coroutine[Any, Any, T], /) -> T: ...


class Wanted(BaseException):
    """A question that is tried on the event loop has to wait for this first. Control flow, and no error of anybody."""

    def __init__(self, work: Coroutine[Any, Any, Any]) -> None:
        super().__init__()
        self.work = work


class Waits:
    """What a question waited for, in the order in which it did: asked anew it waits for the same, and has it.

    For one question, which does nothing but ask, wait and compute.
    """

    def __init__(self) -> None:
        self._had: list[asyncio.Future[Any]] = []

    def __len__(self) -> int:
        return len(self._had)

    @property
    def here(self) -> Wait:
        """For a try on the event loop: raises ``Wanted`` for what was not had yet."""

        def wanted(work: Coroutine[Any, Any, Any]) -> Any:
            raise Wanted(work)

        return self.then(wanted)

    def then(self, wait: Wait) -> Wait:
        """What was had, and after that what ``wait`` gives."""
        left = iter(self._had)

        def waits(work: Coroutine[Any, Any, Any]) -> Any:
            had = next(left, None)
            if had is None:
                return wait(work)
            work.close()
            return had.result()

        return waits

    async def have(self, wanted: Wanted) -> None:
        """Wait for what was wanted, also where it comes to an error: that is the question's to deal with."""
        had: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        try:
            had.set_result(await wanted.work)
        except SatchelError as error:
            had.set_exception(error)
            had.exception()  # seen here, whether or not the question gets that far again
        self._had.append(had)


def leave() -> None:
    raise Heavy


def stay() -> None:
    """A thread is where heavy work belongs."""
