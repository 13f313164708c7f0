"""What keeps the audit while a server serves: refusals are written down, rows sealed, ends anchored.

Each second the tenants that this process wrote for are sealed; a minute after the first change the end of each chain
is put to the bucket. Tenants that others wrote for, a process that was killed or a command, are found by going through
all of them once in ten minutes: what they left unsealed is sealed, and what they sealed last is anchored. A tenant that
fails is tried again with the next second, and keeps nobody waiting.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress

from satchel.catalog import audit, tenants
from satchel.catalog.scope import CatalogUnavailable
from satchel.errors import Damaged, NoSuchThing, SatchelError
from satchel.objects.ids import TenantId
from satchel.server.cloud import Cloud
from satchel.server.logs import log
from satchel.upkeep.auditing import Sealer

SECONDS = 1.0
ANCHOR_SECONDS = 60
"""How long after a seal its chain's end is put to the bucket, at the latest."""
ROUND_SECONDS = 600
"""From one round through all tenants to the next."""
PER_TURN = 50
"""Tenants of a round that are looked at in one second: three look-ups each."""
TENANT_SECONDS = 3.0
"""Longest time that sealing for one tenant keeps the others waiting; what it did not get done is done the next time."""
GIVE_UP = 3
"""Tenants that cannot be sealed for, after which it is the catalog that is away."""
LAST_SECONDS = 5.0
"""How long a server that stops goes on sealing and anchoring."""


async def keep_audit(cloud: Cloud) -> None:
    """Write, seal and anchor until cancelled, and a last time then."""
    keeper, failing = Keeper(cloud), False
    try:
        while True:
            await asyncio.sleep(SECONDS)
            try:
                await keeper.turn()
                failing = False
            except SatchelError as error:
                if not failing:
                    log.warning("the audit waits", code=error.code)
                failing = True
    except asyncio.CancelledError:
        with suppress(SatchelError, TimeoutError):
            async with asyncio.timeout(LAST_SECONDS):
                await keeper.last()
        raise


class Keeper:
    """What one process remembers of the audits it looks after."""

    def __init__(self, cloud: Cloud) -> None:
        self._cloud = cloud
        self._sealer: Sealer | None = None
        self._waiting: dict[TenantId, None] = {}  # in the order in which they are looked at
        self._unanchored: dict[TenantId, int] = {}  # since when, in seconds
        self._broken: set[TenantId] = set()
        self._round: list[TenantId] = []
        self._round_since = 0  # ends that were sealed before, in milliseconds UTC, the round before saw anchored
        self._next_round = 0.0

    async def turn(self) -> None:
        """Everything that is due now. Raises ``CatalogUnavailable`` and what the store raises; nothing is lost then."""
        await self._cloud.denials.flush()
        await self._seal_all()
        await self._look_around()
        await self._anchor(ANCHOR_SECONDS)

    async def last(self) -> None:
        """Everything there is, before the process ends."""
        await self._cloud.denials.flush()
        await self._seal_all()
        await self._anchor(0)

    async def _seal_all(self) -> None:
        sealer = await self._its_sealer()
        # One set for all writers of the process: taken as a whole, so that none is lost.
        self._waiting |= dict.fromkeys(self._cloud.catalog.audited)
        self._cloud.catalog.audited -= self._waiting.keys()
        failed = 0
        for tenant in list(self._waiting):
            try:
                async with asyncio.timeout(TENANT_SECONDS):
                    if await sealer.seal(tenant):
                        self._unanchored.setdefault(tenant, self._now())
            except (SatchelError, TimeoutError) as error:
                # Its writers may keep it busy, or the catalog is away, for the others too.
                self._waiting[tenant] = self._waiting.pop(tenant)  # behind the others
                failed += 1
                if failed == GIVE_UP:
                    raise CatalogUnavailable("the catalog does not answer") from error
                continue
            except Exception as error:  # noqa: BLE001 -- what is wrong with one audit must not leave the others unsealed
                log.error("the audit could not be sealed", tenant=tenant, error=type(error).__name__)
            del self._waiting[tenant]

    async def _look_around(self) -> None:
        now = asyncio.get_running_loop().time()
        if not self._round and now >= self._next_round:
            self._round_since = self._cloud.clock() - 2 * ROUND_SECONDS * 1_000 if self._next_round else 0
            self._next_round = now + ROUND_SECONDS
            after = ""
            async with self._cloud.catalog.directory() as d:
                while page := await tenants.list_(d, after, 1_000):
                    self._round += [row.id for row in page if row.state != tenants.SHREDDED]
                    after = page[-1].slug
        turn, self._round = self._round[:PER_TURN], self._round[PER_TURN:]
        self._waiting |= dict.fromkeys(turn)
        for tenant in turn:
            async with self._cloud.catalog.read(tenant) as s:
                newest = await audit.last_seal(s)
            if newest is not None and newest.time >= self._round_since:
                self._unanchored.setdefault(tenant, self._now() - ANCHOR_SECONDS)

    async def _anchor(self, after_seconds: int) -> None:
        sealer, now = await self._its_sealer(), self._now()
        for tenant, since in list(self._unanchored.items()):
            if now - since < after_seconds:
                continue
            try:
                follows = await sealer.anchor(tenant)
            except Damaged as error:
                follows = False
                log.error("the anchor of an audit cannot be opened", tenant=tenant, code=error.code)
            del self._unanchored[tenant]
            if not follows and tenant not in self._broken and not await self._is_gone(tenant):
                self._broken.add(tenant)
                log.error("the audit does not go on from what was anchored: satchel admin verify", tenant=tenant)

    async def _is_gone(self, tenant: TenantId) -> bool:
        """Whether it was destroyed meanwhile, with its audit: what is anchored of it is about to be removed."""
        async with self._cloud.catalog.read(tenant) as s:
            try:
                return (await tenants.own(s)).state == tenants.SHREDDED
            except NoSuchThing:
                return True

    async def _its_sealer(self) -> Sealer:
        if self._sealer is None:
            cloud = self._cloud
            own = await cloud.keyring.installation()
            self._sealer = Sealer(cloud.catalog, cloud.outage, own, cloud.clock, cloud.random)
        return self._sealer

    def _now(self) -> int:
        return self._cloud.clock() // 1_000
