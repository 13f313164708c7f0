"""What tenants use of their quotas, looked up now and then for those whose numbers are to be shown one by one."""

from __future__ import annotations

import asyncio

from satchel.catalog import quotas, reservations, tenants
from satchel.objects.ids import TenantId
from satchel.server.cloud import Cloud

LOOK_SECONDS = 60.0
"""Between two looks."""


async def looking(cloud: Cloud) -> None:
    """Look again and again, at the first ``metrics_tenants`` tenants by slug. Raises ``CatalogUnavailable``."""
    while True:
        await look(cloud)
        await asyncio.sleep(LOOK_SECONDS)


async def look(cloud: Cloud) -> None:
    """Look once. Raises ``CatalogUnavailable``."""
    most = cloud.settings.metrics_tenants
    if not most:
        return
    async with cloud.catalog.directory() as d:
        rows = await tenants.list_(d, limit=most)
    cloud.meters.use = {row.id: await _parts(cloud, row.id) for row in rows if row.state == "active"}


async def _parts(cloud: Cloud, tenant: TenantId) -> dict[str, float]:
    async with cloud.catalog.read(tenant) as s:
        limits, used = await quotas.limits(s), await quotas.usage(s)
        synced = await reservations.synced_today(s, cloud.clock())
    amounts = used._asdict() | {"sync_bytes": synced}
    return {
        quotas.QUOTA_NAMES[name]: amounts[name] / limit
        for name, limit in limits._asdict().items()
        if limit > 0 and name in amounts
    }
