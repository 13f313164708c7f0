"""The way back into a tenant that nobody can get into: another owner, made on the machine of the installation.

Whoever can run this has the root key and the database, and could do anything; it is written into the audit of the
tenant, and of the tenant that operates the server.
"""

from __future__ import annotations

from typing import NamedTuple

from satchel.auth.roles import Principal, TenantRole
from satchel.catalog import audit, members, principals, tenants
from satchel.catalog.members import Place
from satchel.catalog.tenants import TenantRow
from satchel.objects.ids import PrincipalId, TenantId, new_id
from satchel.upkeep.estate import Estate

KEY_LIFETIME_MS = 24 * 60 * 60 * 1000
ACTION = "tenant.recover"


class OwnerKey(NamedTuple):
    id: PrincipalId
    text: str
    expires: int


async def owner_key(estate: Estate, tenant: TenantRow, name: str) -> OwnerKey:
    """An API key that owns the tenant for a day: long enough to invite an owner. Raises ``QuotaReached``."""
    pepper, now = (await estate.keyring.installation()).pepper, estate.clock()
    async with estate.catalog.write(tenant.id) as s:
        await tenants.check_active(s)
        row, text = await principals.issue_key(
            s, pepper=pepper, name=name, now=now, tenant_role=TenantRole.OWNER, expires=now + KEY_LIFETIME_MS
        )
        s.announce()
        await audit.record(s, _who(tenant.id, name), ACTION, row.id, audit.DONE, "", now)
    return OwnerKey(row.id, text, now + KEY_LIFETIME_MS)


async def owner_person(estate: Estate, tenant: TenantRow, email: str, stored: str, name: str) -> PrincipalId:
    """Let the person with this address, made if there is none, be an owner with this password (its hash).

    Every session of that person ends, in every tenant. Raises ``InvalidInput`` for what is no address, and
    ``QuotaReached``.
    """
    now = estate.clock()
    async with estate.catalog.directory(write=True) as d:
        person = await members.find_person(d, email)
        if person is None:
            id_ = new_id("psn", estate.random(16))
            person = await members.create_person(
                d, id=id_, email=email, name=email.partition("@")[0], password=stored, now=now
            )
        else:
            await members.set_password(d, person.id, stored)
            await members.end_sessions(d, person.id, now)
        s = d.enter(tenant.id)
        await tenants.check_active(s)
        principal_id, _ = await members.bring_in(s, person, Place(TenantRole.OWNER), now)
        s.announce()
        await audit.record(s, _who(tenant.id, name), ACTION, principal_id, audit.DONE, "", now)
    return principal_id


def _who(tenant: TenantId, name: str) -> Principal:
    return Principal(tenant, PrincipalId(""), name, "")
