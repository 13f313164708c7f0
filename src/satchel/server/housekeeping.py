"""What a server does for its installation by itself: collect each tenant every ``collect_hours``.

Of several nodes one does it: the others find the lease taken, and try again at their next hour.
"""

from __future__ import annotations

import asyncio

from satchel.catalog.retention import DAY_MS
from satchel.errors import SatchelError
from satchel.server.cloud import Cloud
from satchel.server.logs import log
from satchel.upkeep.clock import check_clock
from satchel.upkeep.collect import collect
from satchel.upkeep.estate import Estate

FIRST_SECONDS = 3_600
"""From the start to the first collect: a server restarted daily collects too, and one that is tried out never."""


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
        log.info("collected", tenant=row.id, expired=report.expired, objects=gone.items, bytes=gone.bytes)
