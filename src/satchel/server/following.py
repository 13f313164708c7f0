"""What a node does beside answering to follow the others: hear of changes, forget what is no more, tidy the channel.

Deciding what counts is quick and happens as soon as a change is heard (`watching`). What takes a look at the catalog
or at the disk is done here afterwards: caches of a tenant whose keys were destroyed, and indexes and trees that may
hold what another node purged.
"""

from __future__ import annotations

import asyncio
import random
from contextlib import suppress
from typing import TYPE_CHECKING

from satchel.catalog import changes, purges, tenants
from satchel.errors import NoSuchThing, SatchelError
from satchel.objects.ids import ProjectId, TenantId
from satchel.server.indexes import Ref
from satchel.server.logs import log

if TYPE_CHECKING:
    from satchel.server.cloud import Cloud

KEYS_SECONDS = 60.0
"""How often a node reads the signing keys that nobody told it to read."""
PRUNE_SECONDS = 600
"""How often a node drops old changes, more or less."""
CLOCKS_APART_MS = 10 * 60 * 1000
"""How far the clocks of two nodes may be apart: an index made this shortly after a purge is made anew."""

_CHANCE = random.Random()  # noqa: S311 (nothing secret; not the state that everybody shares)

Purges = dict[Ref, tuple[int, int]]
"""How many objects of a project are purged, and when the newest was."""


async def watch(cloud: Cloud) -> None:
    """Ask for changes again and again."""
    silent = False
    while True:
        try:
            await cloud.watch.listen()
        except SatchelError as error:
            if not silent:
                log.warning("nothing is heard of changes: every credential is looked up", code=error.code)
            silent = True
        else:
            if silent:
                log.info("changes are heard again")
            silent = False
        await asyncio.sleep(_about(cloud.settings.change_poll_ms / 1000))


async def forget(cloud: Cloud) -> None:
    """Forget what the tenants that changed do not have any more; at the start, look at all that is held."""
    due: set[TenantId | None] = {None}
    wake = asyncio.Event()

    def note(tenant: TenantId | None) -> None:
        due.add(tenant)
        wake.set()

    seen: Purges = {}
    with cloud.watch.subscribed(note):
        while True:
            taken, everybody = {tenant for tenant in due if tenant is not None}, None in due
            due.clear()
            wake.clear()
            for tenant in taken | (cloud.held() if everybody else set()):
                await forget_gone(cloud, tenant, seen)
            await wake.wait()


async def forget_gone(cloud: Cloud, tenant: TenantId, seen: Purges) -> None:
    """Forget what is held of a tenant that is no more, or of what was purged of it. ``seen`` is brought up to date."""
    try:
        async with cloud.catalog.read(tenant) as s:
            gone = (await tenants.own(s)).state == tenants.SHREDDED
            purged = {} if gone else await purges.newest(s)
    except NoSuchThing:
        gone, purged = True, {}
    if gone:
        await cloud.forget(tenant)
    for project, found in purged.items():
        ref = Ref(tenant, ProjectId(project))
        if seen.get(ref) != found:
            seen[ref] = found
            cloud.receiver.forget(tenant, ref.project)
            await asyncio.to_thread(cloud.indexes.discard, ref, not_since=found[1] + CLOCKS_APART_MS)
            cloud.readers.forget_trees(ref)


async def signing_keys(cloud: Cloud) -> None:
    """Read the keys that sign tokens when they changed, and now and then."""
    keyring = cloud.authenticator.keyring
    while True:
        with suppress(TimeoutError):
            async with asyncio.timeout(KEYS_SECONDS):
                await keyring.changed.wait()
        await keyring.read()


async def prune(cloud: Cloud) -> None:
    """Drop old changes now and then. Nodes do this by turns, as chance has it."""
    while True:
        await asyncio.sleep(_about(PRUNE_SECONDS))
        async with cloud.catalog.directory(write=True) as d:
            await changes.prune(d, cloud.clock())


def _about(seconds: float) -> float:
    """Nearly as long: so that nodes started together do not ask together for ever."""
    return seconds * _CHANCE.uniform(0.8, 1.2)
