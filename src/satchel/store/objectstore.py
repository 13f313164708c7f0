"""The object store seam: named immutable bytes, in a directory, in memory or in a bucket.

``put`` is durable when it returns and never leaves part of an object under its name. Names are relative,
``/``-separated, of ``a-z 0-9 _ . -``; see ``docs/spec/objects.md`` for those that Satchel gives.
"""

from __future__ import annotations

import re
import time
from collections.abc import AsyncIterator
from typing import NamedTuple, Protocol

from satchel.errors import Conflict, StoreMissing

_NAME = re.compile(r"[a-z0-9_][a-z0-9_.-]{0,199}(?:/[a-z0-9_][a-z0-9_.-]{0,199}){0,15}\Z")


class StoreExists(Conflict):
    code = "store.exists"
    default_hint = "An object of this name was written before: nothing was changed."


class StoredObject(NamedTuple):
    """An object of a store: its name, its size in bytes, and when it was last written.

    ``modified`` is in milliseconds UTC by the store's own clock, which need not agree with this host's.
    """

    name: str
    size: int
    modified: int


class ObjectStore(Protocol):
    """What Satchel asks of a place that keeps bytes.

    All raise ``StoreUnavailable`` when it does not answer; its fact ``retry_after`` says in how many seconds to try
    again, where that is known.
    """

    async def put(self, name: str, data: bytes, *, create: bool = False) -> None:
        """Store ``data`` durably under ``name``, replacing what is there.

        With ``create``, raises ``StoreExists`` instead of replacing: of many writers exactly one succeeds.
        Raises ``DiskFull``. A failed put changes nothing, but for one: when ``StoreUnavailable`` is raised, the object
        was stored whole or not at all, and the same put may be repeated to make sure.
        """

    async def get(self, name: str, *, offset: int = 0, length: int | None = None) -> bytes:
        """The object, or ``length`` bytes of it from ``offset``.

        Raises ``StoreMissing`` when it is absent or ends before the range does.
        """
        ...

    async def delete(self, name: str) -> None:
        """Remove the object; an absent one is no error."""

    def list(self, prefix: str) -> AsyncIterator[StoredObject]:
        """Every object whose name begins with ``prefix``, by name. What has no name of ours is left out."""
        ...

    async def check(self) -> None:
        """Make sure that the store can be written to and read.

        Raises what ``put`` would, and ``StartRefused`` where a person has to change a setting before it can succeed.
        """


def is_name(name: str) -> bool:
    """Whether this can be the name of an object. Anything else that lies in a store is not ours, and never listed."""
    return _NAME.match(name) is not None


def checked_name(name: str) -> str:
    """Return ``name`` if it is a name of a store; raises ``ValueError``, since names are never given by callers."""
    if not is_name(name):
        raise ValueError(f"{name!r} is not a name of the object store")
    return name


def checked_prefix(prefix: str) -> str:
    """Return ``prefix`` if names can begin with it; raises ``ValueError``."""
    if prefix:
        checked_name(prefix.removesuffix("/"))
    return prefix


def checked_range(name: str, size: int, offset: int, length: int | None) -> int:
    """The length to read from an object of ``size`` bytes; raises ``StoreMissing`` if it ends too early."""
    wanted = size - offset if length is None else length
    if offset < 0 or wanted < 0 or offset + wanted > size:
        raise StoreMissing(f"the stored object {name} is {size:,} bytes, shorter than recorded")
    return wanted


class MemoryStore:
    """An object store that forgets with the process."""

    def __init__(self) -> None:
        self.objects: dict[str, bytes] = {}
        self._modified: dict[str, int] = {}

    async def put(self, name: str, data: bytes, *, create: bool = False) -> None:
        if create and name in self.objects:
            raise StoreExists(f"{name} exists")
        self.objects[checked_name(name)] = bytes(data)
        self._modified[name] = time.time_ns() // 1_000_000

    async def get(self, name: str, *, offset: int = 0, length: int | None = None) -> bytes:
        data = self.objects.get(checked_name(name))
        if data is None:
            raise StoreMissing(f"the stored object {name} is missing")
        return data[offset : offset + checked_range(name, len(data), offset, length)]

    async def delete(self, name: str) -> None:
        self.objects.pop(checked_name(name), None)
        self._modified.pop(name, None)

    async def list(self, prefix: str) -> AsyncIterator[StoredObject]:
        checked_prefix(prefix)
        for name in sorted(name for name in self.objects if name.startswith(prefix)):
            if name in self.objects:  # else deleted meanwhile
                yield StoredObject(name, len(self.objects[name]), self._modified.get(name, 0))

    async def check(self) -> None:
        pass
