"""What a server does beside answering, for as long as it serves: each work in a task of its own.

A work that fails is logged and begun again after a pause: nothing that goes wrong in one of them stops the server.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

from satchel.errors import SatchelError
from satchel.server import auditing, following, housekeeping, quotause, rates, uses
from satchel.server.cloud import Cloud
from satchel.server.logs import log

AGAIN_SECONDS = 1.0
"""The pause after a work failed."""

Work = Callable[[Cloud], Awaitable[None]]

WORKS: dict[str, Work] = {
    "watching changes": following.watch,
    "forgetting": following.forget,
    "pruning changes": following.prune,
    "ending tenants": housekeeping.end_tenants,
    "exchanging counts": rates.exchanging,
    "keeping the audit": auditing.keep_audit,
    "noting uses": uses.noting,
    "looking at quotas": quotause.looking,
    "keeping checkpoints": lambda cloud: cloud.readers.checkpoints.keep(cloud.readers.trees.tree),
    "following signing keys": following.signing_keys,
    "changing signing keys": housekeeping.turn_signing_keys,
}
"""By the name the log calls it; each runs until cancelled."""


@asynccontextmanager
async def running(cloud: Cloud) -> AsyncIterator[None]:
    """Every work under way, until the block ends."""
    tasks = [asyncio.create_task(_on_and_on(name, work, cloud), name=name) for name, work in WORKS.items()]
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _on_and_on(name: str, work: Work, cloud: Cloud) -> None:
    failing = False
    while True:
        try:
            await work(cloud)
            failing = False
        except SatchelError as error:
            cloud.meters.failures[name] += 1
            if not failing:
                log.warning("background work failed", work=name, code=error.code)
            failing = True
        except Exception as error:  # noqa: BLE001 -- a defect in one work must not end the others, nor the server
            cloud.meters.failures[name] += 1
            log.error("background work failed", work=name, error=type(error).__name__)
        await asyncio.sleep(AGAIN_SECONDS)
