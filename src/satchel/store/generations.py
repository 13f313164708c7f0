"""Objects that change without ever being replaced: each state is a generation, ``<prefix>/1``, ``/2``, ``/3`` ...

Of two writers that build on one state exactly one creates the next, so nothing that a generation holds is lost because
somebody else wrote meanwhile. The highest counts; lower ones are deleted once it is durable, and are ignored until
then. This relies on listings that show what was put before they began; the next number is asked for by name beside.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from satchel.errors import StoreMissing
from satchel.store.objectstore import ObjectStore, StoreExists

_TRIES = 4


class Generation(NamedTuple):
    """A state and its number, from 1."""

    number: int
    data: bytes


class Generations:
    """The generations under one prefix."""

    def __init__(self, store: ObjectStore, prefix: str) -> None:
        self._store, self._prefix = store, prefix

    async def newest(self) -> Generation | None:
        """The state that counts, ``None`` if there is none. Raises ``StoreMissing`` if it vanishes again and again."""
        for _ in range(_TRIES):
            number = max(await self.numbers(), default=0)
            data = await self._get(number) if number else None
            while (later := await self._get(number + 1)) is not None:
                number, data = number + 1, later
            if data is not None:
                return Generation(number, data)
            if not number:
                return None
            # Deleted between the look and the read: then there is a newer one.
        raise StoreMissing(f"a stored object below {self._prefix.rpartition('/')[2]} is listed and cannot be read")

    async def add(self, after: int, data: bytes) -> bool:
        """Let ``data`` count from now on, if ``after`` is still the newest (0: there is none); False otherwise.

        False may also come when another writer has already built on ``data``: read again and see what is left to do.
        """
        number = after + 1
        try:
            await self._store.put(f"{self._prefix}/{number}", data, create=True)
        except StoreExists:
            return False
        numbers = await self.numbers()
        if max(numbers, default=number) > number:
            # This writer stalled: others went past, and had deleted what stood in its place.
            await self._store.delete(f"{self._prefix}/{number}")
            return False
        await self._delete(lower for lower in numbers if lower < number)
        return True

    async def tidy(self) -> None:
        """Delete every generation below the newest."""
        await self._delete(sorted(await self.numbers())[:-1])

    async def delete(self) -> None:
        """Delete every generation, the newest last."""
        await self._delete(sorted(await self.numbers()))

    async def numbers(self) -> list[int]:
        """The generations there are, in no order."""
        start = len(self._prefix) + 1
        names = [stored.name[start:] async for stored in self._store.list(f"{self._prefix}/")]
        return [int(name) for name in names if is_number(name)]

    async def _delete(self, numbers: Iterable[int]) -> None:
        for number in numbers:
            await self._store.delete(f"{self._prefix}/{number}")

    async def _get(self, number: int) -> bytes | None:
        try:
            return await self._store.get(f"{self._prefix}/{number}")
        except StoreMissing:
            return None


def is_number(name: str) -> bool:
    """Whether ``name`` is the number of a generation: decimal, from 1, without leading zeros."""
    return name.isascii() and name.isdigit() and not name.startswith("0") and len(name) < 10
