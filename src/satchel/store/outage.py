"""A store that stopped answering, noticed once instead of by every request.

No call waits longer than a bound, a listing than ``LISTING_WAITS`` of it. After one that ends in ``StoreUnavailable``
the store is *down*: every further call fails at once and says when to come back, and a probe of our own asks every two
seconds, so that no request has to find out. The first probe that is answered ends it. Calls that were under way when
the store went down run to their end.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, nullcontext
from typing import TypeVar

from satchel.errors import StoreUnavailable
from satchel.store.objectstore import ObjectStore, StoredObject

PROBE_SECONDS = 2.0
"""Between two probes of a store that is down."""
PROBE_WAIT_SECONDS = 5.0
"""Longest wait for the answer to a probe."""
RETRY_SECONDS = 5
"""When callers are told to come back: a probe or two later."""
LISTING_WAITS = 30
"""How many times as long as another call a listing may take: a bucket gives 1,000 names with each request, which takes
it a fifth of a second, and the first is handed on with the last. So 20 s would be over at 100,000 objects, and 600 s
are at 3 million. A bucket that stops answering ends a listing sooner: each of its requests is bounded for itself."""
CHECKED_SECONDS = 5.0
"""A check that went well counts this long: whoever asks for the health of a server does not make it write each time."""
_HINT = "Nothing was lost, and nothing half-written stays: send the same request again."
T = TypeVar("T")


class OutageStore:
    """An ``ObjectStore`` before another. Used and closed inside one event loop."""

    def __init__(
        self,
        inner: ObjectStore,
        *,
        wait_seconds: float,
        tell: Callable[[str | None], None] = lambda why: None,
        clock: Callable[[], float] = time.monotonic,
        pause: Callable[[float], Awaitable[None]] = asyncio.sleep,
        aside: Callable[[], AbstractAsyncContextManager[None]] = nullcontext,
        note: Callable[[str, float, bool], None] = lambda _operation, _seconds, _good: None,
    ) -> None:
        """``wait_seconds`` bounds each call; ``tell`` hears why the store goes down, and ``None`` when it is back.
        ``aside`` is entered around each call, for the caller to let others go first meanwhile; ``note`` is told of each
        by its name, how long it took in seconds, and whether the store answered.
        """
        self._note = note
        self._aside = aside
        self._inner, self._wait, self._tell = inner, wait_seconds, tell
        self._clock, self._pause = clock, pause
        self._probing: asyncio.Task[None] | None = None
        self._checked: float | None = None

    @property
    def down(self) -> bool:
        """Whether the store did not answer when it was asked last."""
        return self._probing is not None

    def require(self) -> None:
        """Raise ``StoreUnavailable`` if the store is known not to answer: before work that would be for nothing."""
        if self.down:
            raise _unavailable("the storage does not answer")

    async def close(self) -> None:
        """Stop probing."""
        probing, self._probing = self._probing, None
        if probing is not None:
            probing.cancel()
            await asyncio.gather(probing, return_exceptions=True)

    async def put(self, name: str, data: bytes, *, create: bool = False) -> None:
        await self._answer("put", lambda: self._inner.put(name, data, create=create))

    async def get(self, name: str, *, offset: int = 0, length: int | None = None) -> bytes:
        return await self._answer("get", lambda: self._inner.get(name, offset=offset, length=length))

    async def delete(self, name: str) -> None:
        await self._answer("delete", lambda: self._inner.delete(name))

    async def list(self, prefix: str) -> AsyncIterator[StoredObject]:
        found = aiter(self._inner.list(prefix))

        async def following() -> StoredObject | None:
            return await anext(found, None)

        while (item := await self._answer("list", following, LISTING_WAITS * self._wait)) is not None:
            yield item

    async def check(self) -> None:
        """As of any store, but asked again only seconds after it went well."""
        if self._checked is None or not 0 <= self._clock() - self._checked < CHECKED_SECONDS or self.down:
            await self._answer("check", self._inner.check)
            self._checked = self._clock()

    async def _answer(self, operation: str, ask: Callable[[], Awaitable[T]], wait: float | None = None) -> T:
        self.require()
        wait = wait or self._wait
        began, good = time.perf_counter(), True
        try:
            async with self._aside(), asyncio.timeout(wait):
                return await ask()
        except TimeoutError as error:
            good = False
            why = f"the storage did not answer within {wait:g} s"
            self._goes_down(why)
            raise _unavailable(why) from error
        except StoreUnavailable as error:
            good = False
            self._goes_down(error.message)
            error.facts.setdefault("retry_after", RETRY_SECONDS)
            raise
        finally:
            self._note(operation, time.perf_counter() - began, good)

    def _goes_down(self, why: str) -> None:
        self._checked = None
        if self._probing is None:
            self._probing = asyncio.create_task(self._probe())
            self._tell(why)

    async def _probe(self) -> None:
        answered = False
        while not answered:
            await self._pause(PROBE_SECONDS)
            answered = await self._answers()
        self._probing = None
        self._tell(None)

    async def _answers(self) -> bool:
        try:
            async with asyncio.timeout(min(self._wait, PROBE_WAIT_SECONDS)):
                await self._inner.check()
        except Exception:  # noqa: BLE001 - whatever it fails with, it is asked again: a probe that ended would end all
            return False
        return True


def _unavailable(message: str) -> StoreUnavailable:
    return StoreUnavailable(message, hint=_HINT, retry_after=RETRY_SECONDS)
