"""How a question, which is asked synchronously, waits for what only the event loop can do.

In a thread it waits there. Tried on the event loop itself it stops where it would have to wait (``Wanted``), and is
asked anew once that is had (``Waits``); or where it comes to work that belongs into a thread (``Heavy``).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, Protocol, TypeVar, cast

from satchel.errors import SatchelError

T = TypeVar("T")
See = TypeVar("See", bound=Callable[..., Any])


class Heavy(BaseException):
    """The question takes a thread. Control flow, and no error of anybody."""


class Wait(Protocol):
    """Has a coroutine run on the event loop and gives what it comes to."""

    def __call__(self, work: Coroutine[Any, Any, T], /) -> T: ...


class Look(Protocol):
    """Makes of what looks into memory what does so for a question."""

    def __call__(self, see: See, /) -> See: ...


class Wanted(BaseException):
    """A question that is tried on the event loop has to wait for this first. Control flow, and no error of anybody."""

    def __init__(self, work: Coroutine[Any, Any, Any]) -> None:
        super().__init__()
        self.work = work


class Waits:
    """What a question met, in the order in which it did: asked anew it meets the same.

    That is what it waited for, and also what it saw in memory, which may be more or less the next time: else it would
    take what it had waited for in one place for what it asks in another. For one question, which does nothing but ask,
    look, wait and compute.
    """

    def __init__(self) -> None:
        self._met: list[Callable[[], Any]] = []
        self._waited = 0

    def __len__(self) -> int:
        """How often it waited."""
        return self._waited

    @property
    def here(self) -> tuple[Wait, Look]:
        """For a try on the event loop: raises ``Wanted`` for what was not had yet."""

        def wanted(work: Coroutine[Any, Any, Any]) -> Any:
            raise Wanted(work)

        return self.then(wanted)

    def then(self, wait: Wait) -> tuple[Wait, Look]:
        """What was met, and after that what ``wait`` gives and what is in memory."""
        met = iter(tuple(self._met))

        def waits(work: Coroutine[Any, Any, Any]) -> Any:
            had = next(met, None)
            if had is None:
                return wait(work)
            work.close()
            return had()

        def look(see: See) -> See:
            def seen(*what: object) -> object:
                had = next(met, None)
                if had is not None:
                    return had()
                found = see(*what)
                self._met.append(lambda: found)
                return found

            return cast(See, seen)

        return waits, look

    async def have(self, wanted: Wanted) -> None:
        """Wait for what was wanted, also where it comes to an error: that is the question's to deal with."""
        had: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        try:
            had.set_result(await wanted.work)
        except SatchelError as error:
            had.set_exception(error)
            had.exception()  # seen here, whether or not the question gets that far again
        self._met.append(had.result)
        self._waited += 1


def leave() -> None:
    raise Heavy


def stay() -> None:
    """A thread is where heavy work belongs."""


def as_it_is(see: See) -> See:
    """What is in memory now is what a question sees."""
    return see
