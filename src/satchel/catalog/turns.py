"""Whose turn it is at the database, in this process: a few of each tenant at a time queue there, one where they write.

The others of that tenant wait here, behind their own. So a tenant that sends a hundred requests at once, or asks what
takes long, keeps nobody else waiting for longer than a few of them take.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from satchel.catalog.trouble import CatalogUnavailable


class TenantTurns:
    """For tasks of one event loop."""

    def __init__(self, at_once: int, wait_seconds: float) -> None:
        """``at_once`` of a name have their turn at a time; who waits longer than that is told to try later."""
        self._at_once, self._wait = at_once, wait_seconds
        self._turns: dict[str, _Turn] = {}

    @asynccontextmanager
    async def of(self, name: str) -> AsyncIterator[None]:
        """A turn of ``name``, until the block ends. Raises ``CatalogUnavailable``."""
        turn = self._turns.get(name)
        if turn is None:
            turn = self._turns[name] = _Turn(self._at_once)
        turn.wanted += 1
        try:
            if turn.places.locked():
                await self._waited(turn)
            else:
                await turn.places.acquire()  # at once
            try:
                yield
            finally:
                turn.places.release()
        finally:
            turn.wanted -= 1
            if not turn.wanted:
                del self._turns[name]

    async def _waited(self, turn: _Turn) -> None:
        try:
            async with asyncio.timeout(self._wait):
                await turn.places.acquire()
        except TimeoutError as error:
            raise CatalogUnavailable("too many wait for their turn here") from error


class _Turn:
    __slots__ = ("places", "wanted")

    def __init__(self, at_once: int) -> None:
        self.places = asyncio.Semaphore(at_once)
        self.wanted = 0
