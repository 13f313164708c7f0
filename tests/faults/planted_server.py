"""``satchel`` with one defect planted in its server: run by test_store_outage.py, whose checks have to notice.

python planted_server.py DEFECT serve ...
"""

from __future__ import annotations

import asyncio
import sys
from typing import Any

from satchel.cli.main import main
from satchel.errors import SatchelError, StoreUnavailable
from satchel.store.bucket import BucketStore
from satchel.store.cache import CachedStore
from satchel.sync.commit import Committer

_writing: set[asyncio.Task[None]] = set()


def acknowledges_before_it_is_durable() -> None:
    """Packs are put later, whatever becomes of them and of the server meanwhile."""
    real = BucketStore.put

    async def later(store: BucketStore, name: str, data: bytes, create: bool) -> None:
        try:
            await asyncio.sleep(20)
            await real(store, name, data, create=create)
        except SatchelError:
            pass

    async def put(self: BucketStore, name: str, data: bytes, *, create: bool = False) -> None:
        if "/packs/" not in name:
            await real(self, name, data, create=create)
            return
        task = asyncio.create_task(later(self, name, data, create))
        _writing.add(task)
        task.add_done_callback(_writing.discard)

    BucketStore.put = put  # type: ignore[method-assign]


def remembers_failed_reads() -> None:
    """Content that could not be read once is not asked for again. A write needs none of it, and goes on."""
    real, failed = CachedStore.get, set[str]()

    async def get(self: CachedStore, name: str, **how: Any) -> bytes:
        if name in failed:
            raise StoreUnavailable("as before", retry_after=1)
        try:
            return await real(self, name, **how)
        except StoreUnavailable:
            if "/packs/" in name:
                failed.add(name)
            raise

    CachedStore.get = get  # type: ignore[method-assign]


def forgets_idempotency_keys() -> None:
    """A write sent again under its key is another write."""

    async def nothing(*_: object) -> None:
        return None

    Committer.replayed = nothing  # type: ignore[method-assign,assignment]
    Committer._saved = nothing  # type: ignore[method-assign,assignment]


if __name__ == "__main__":
    globals()[sys.argv.pop(1)]()
    main()
