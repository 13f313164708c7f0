"""A store in memory that can be switched off."""

from __future__ import annotations

import asyncio

from satchel.errors import StoreUnavailable
from satchel.store.objectstore import MemoryStore


class Switched(MemoryStore):
    """A store that can be switched off: then it refuses, or says nothing at all."""

    def __init__(self) -> None:
        super().__init__()
        self.on = True
        self.silent = False
        self.asked: list[str] = []

    async def _pass(self, what: str) -> None:
        self.asked.append(what)
        if self.silent:
            await asyncio.Event().wait()
        if not self.on:
            raise StoreUnavailable("connection refused")

    async def put(self, name: str, data: bytes, *, create: bool = False) -> None:
        await self._pass("put")
        await super().put(name, data, create=create)

    async def get(self, name: str, *, offset: int = 0, length: int | None = None) -> bytes:
        await self._pass("get")
        return await super().get(name, offset=offset, length=length)

    async def check(self) -> None:
        await self._pass("check")

    async def delete(self, name: str) -> None:
        await self._pass("delete")
        await super().delete(name)
