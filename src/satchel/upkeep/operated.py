"""What an operator does with ``satchel admin`` on the machine itself, written into the audit.

It goes to the audit of the tenant that operates the server, as what an operator does through the API: the tenants it
is about do not learn who operates. Of a restored catalog each tenant's own audit says that it was restored.
"""

from __future__ import annotations

import getpass
import os
import platform
from collections.abc import Sequence

from satchel.auth.roles import Principal
from satchel.catalog import audit, tenants
from satchel.catalog.scope import Directory
from satchel.errors import Damaged
from satchel.objects.auditchain import put_back_proof
from satchel.objects.ids import PrincipalId, TenantId
from satchel.upkeep.auditing import Sealer
from satchel.upkeep.estate import Estate


async def sealer_of(estate: Estate) -> Sealer:
    """What seals the audits of an installation."""
    own = await estate.keyring.installation()
    return Sealer(estate.catalog, estate.store, own, estate.clock, estate.random)


async def record_operator(estate: Estate, action: str, target: str) -> None:
    """Write down that it was done from this machine, and seal it: no server may be running that would."""
    async with estate.catalog.directory() as d:
        operating = await tenants.operating(d)
    if operating:  # else nobody operates: there is no audit that it belongs to
        await _record(await sealer_of(estate), operating[0], action, target)


async def record_in(d: Directory, action: str, target: str, now: int) -> list[TenantId]:
    """Write it down in the transaction that does it; in whose audit, for ``seal_noted`` once that is committed."""
    operating = (await tenants.operating(d))[:1]
    for tenant in operating:
        await audit.record(d.enter(tenant), _who(tenant), action, target, audit.DONE, "", now)
    return operating


async def seal_noted(estate: Estate, noted: Sequence[TenantId]) -> None:
    """Seal what ``record_in`` wrote."""
    sealer = await sealer_of(estate)
    for tenant in noted:
        await sealer.seal(tenant)


async def begin_again(estate: Estate, action: str, target: str) -> None:
    """Write into every tenant's audit that its catalog was put back, which rows that lost, and that it is known.

    The bucket stays as it is, since this may be a drill beside a running server. A server that starts on this catalog
    goes on from here by itself.
    """
    sealer = await sealer_of(estate)
    for row in await estate.tenants():
        stored, lost = await sealer.stored(row.id), await _lost(sealer, row.id)
        known = f", proof {put_back_proof(sealer.keys(row.id), stored)}" if lost and stored else ""
        await _record(sealer, row.id, action, f"{target}{lost}{known}")


async def accept(estate: Estate, *, noted: str = "") -> int:
    """Let every audit go on from where it is, whatever was anchored; returns in how many that made a difference.

    ``noted`` is the action by which it is written down first, where it makes one.
    """
    sealer, accepted = await sealer_of(estate), 0
    for row in await estate.tenants():
        lost = await _lost(sealer, row.id)
        if lost and noted:
            await _record(sealer, row.id, noted, lost.removeprefix("; "))
        if lost:
            accepted += await sealer.anchor(row.id, accept=True)
    return accepted


async def _record(sealer: Sealer, tenant: TenantId, action: str, target: str) -> None:
    async with sealer.catalog.write(tenant) as s:
        await audit.record(s, _who(tenant), action, target, audit.DONE, "", sealer.clock())
    await sealer.seal(tenant)


def _who(tenant: TenantId) -> Principal:
    return Principal(tenant, PrincipalId(""), f"{_user()} on {platform.node()}", "")


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return f"user {os.getuid()}"  # as in a container whose user has no name


async def _lost(sealer: Sealer, tenant: TenantId) -> str:
    """What the bucket says was there and the chain does not have; empty where nothing is."""
    try:
        held = await sealer.anchored(tenant)
    except Damaged:
        return "; the anchor of the audit did not open"
    if held is None or held.sequence == 0:
        return ""
    async with sealer.catalog.read(tenant) as s:
        found = await audit.seals(s, held.sequence - 1, 1)
    if found and (found[0].sequence, found[0].mac) == (held.sequence, held.mac):
        return ""
    return f"; rows of the audit up to {held.sequence} had been sealed and are not all in it"
