"""What a server does for its installation by itself: collect each tenant every ``collect_hours``, end those whose time
has come, and change the key that signs tokens every ``signing_key_days``.

Of several nodes one does it: the others find the lease taken, and try again at their next turn.
"""

from __future__ import annotations

import asyncio

from satchel.catalog.retention import DAY_MS
from satchel.errors import SatchelError
from satchel.server.cloud import Cloud
from satchel.server.logs import log
from satchel.upkeep import departure
from satchel.upkeep.clock import check_clock
from satchel.upkeep.collect import collect
from satchel.upkeep.estate import Estate
from satchel.upkeep.lease import UpkeepBusy
from satchel.upkeep.operated import record_operator

FIRST_SECONDS = 3_600
"""From the start to the first collect: a server restarted daily collects too, and one that is tried out never."""

TURN_SECONDS = 600
"""How often it is looked whether the key that signs tokens is to be changed, or an old one dropped."""
DEPARTURE_SECONDS = 60
"""How often it is looked for tenants whose time has come."""


def estate_of(cloud: Cloud) -> Estate:
    """The running server's installation, for upkeep."""
    return Estate(cloud.catalog, cloud.store, cloud.root, cloud.keyring, cloud.vault, cloud.clock, cloud.random)


async def keep_house(cloud: Cloud, first_seconds: float = FIRST_SECONDS) -> None:
    """Collect again and again, until cancelled. Nothing that goes wrong ends it: the next time may go well."""
    hours = cloud.settings.collect_hours
    wait = first_seconds
    while hours:
        await asyncio.sleep(min(wait, hours * 3_600))
        wait = hours * 3_600
        try:
            await collect_all(cloud)
        except SatchelError as error:
            log.warning("collect failed", code=error.code)
        except Exception as error:  # noqa: BLE001 -- a defect here must not end the house-keeping of a server
            log.error("collect failed", error=type(error).__name__)


async def collect_all(cloud: Cloud) -> None:
    """Collect every tenant; one that cannot be is logged and left for the next time. Raises ``ClockOff``."""
    estate = estate_of(cloud)
    await check_clock(estate.clock, estate.store, estate.random)
    for row in await estate.tenants():
        try:
            report = await collect(estate, row.id, window_ms=cloud.settings.backup_window_days * DAY_MS)
        except SatchelError as error:
            log.warning("collect failed", tenant=row.id, code=error.code)
            continue
        gone = report.deleted + report.abandoned + report.swept + report.history
        if report.behind:
            log.warning("the catalog is older than the store", tenant=row.id, projects=report.behind)
        if report.damaged:
            log.warning("collect met what cannot be read", tenant=row.id, objects=report.damaged)
        log.info("collected", tenant=row.id, expired=report.expired, objects=gone.items, bytes=gone.bytes)


async def end_tenants(cloud: Cloud) -> None:
    """Shred deleted tenants when they are due, and remove their objects, again and again, until cancelled."""
    while True:
        await asyncio.sleep(DEPARTURE_SECONDS)
        await end_due(cloud)


async def end_due(cloud: Cloud) -> None:
    """End every tenant that is due; one that cannot be is logged and left for the next time. Raises ``ClockOff``."""
    estate = estate_of(cloud)
    rows = await departure.due(estate)
    if rows:  # by this machine's clock, and what is shredded does not come back
        await check_clock(estate.clock, estate.store, estate.random)
    for row in rows:
        try:
            done = await departure.depart(estate, row.id)
        except UpkeepBusy:
            continue  # another node is at it, or other upkeep
        except SatchelError as error:
            log.warning("a tenant could not be ended", tenant=row.id, code=error.code)
            continue
        await cloud.forget(row.id)
        log.info("tenant ended", tenant=row.id, shredded=done.shredded, objects=done.objects)


async def turn_signing_keys(cloud: Cloud) -> None:
    """Change the key that signs tokens when its time has come, and drop old ones, until cancelled."""
    while True:
        await asyncio.sleep(TURN_SECONDS)
        await turn_signing_key(cloud)


async def turn_signing_key(cloud: Cloud) -> None:
    """One such look. Of several nodes one finds that it is time."""
    keyring, days = cloud.authenticator.keyring, cloud.settings.signing_key_days
    await keyring.drop()
    report = await keyring.rotate(older_than_ms=days * DAY_MS) if days else None
    if report is not None:
        await record_operator(estate_of(cloud), "key.rotate_signing", report.new)
        log.info("signing key changed", old=report.old, new=report.new)
