"""From what a provider says of somebody to a person here, and to the places its claims bring.

A person is known by issuer and subject. An e-mail address is taken only where the provider says that it checked it, or
the operator says so of all (`oidc_trust_email`); only then, too, does it take over an account of the same address, and
the password of that counts no more: whoever made it need not have owned the address. Of the tenants that rules name,
they alone say at each sign-in whether the person is in it, and as what; of others, invitations.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from satchel.auth.emails import normal_email
from satchel.auth.federation import placed
from satchel.auth.roles import Principal, TenantRole
from satchel.catalog import audit, members, principals, tenants
from satchel.catalog.members import MembershipRow, PersonRow, Place
from satchel.catalog.scope import Directory, Scope
from satchel.errors import Conflict, InvalidInput, Refused
from satchel.objects.ids import new_id

if TYPE_CHECKING:
    from satchel.server.cloud import Cloud
    from satchel.server.edge import Exchange
    from satchel.server.provider import Provider

MAX_NAME_CHARACTERS = 200


class NoPlace(Refused):
    code = "oidc.no_place"
    default_hint = "Ask an admin of your organisation for a role that gives access here."


class AccountExists(Conflict):
    code = "oidc.account_exists"
    default_hint = "Sign in with its password, or ask whoever runs the server to let the provider take it over."


async def known_here(
    cloud: Cloud, provider: Provider, claims: Mapping[str, Any], exchange: Exchange | None
) -> tuple[PersonRow, list[MembershipRow]]:
    """The person behind genuine claims, made or brought up to date, and the tenants that the claims give it.

    The audit of each says in which request this was.

    Raises ``NoPlace`` where that is none, ``AccountExists``, ``QuotaReached``.
    """
    wanted = placed(provider.rules, claims)
    ruled = {rule.tenant for rule in provider.rules}
    async with cloud.catalog.directory() as d:
        person = await members.find_identity(d, provider.issuer, claims["sub"])
        places = [] if person is None else await members.memberships(d, person.id)
        so_already = person is not None and await _so_already(d, places, wanted, ruled)
    if person is None and ruled and not wanted:
        raise no_place()
    if person is None or not so_already:
        async with cloud.catalog.directory(write=True) as d:
            person = await _person(d, cloud, provider, claims)
        # Each tenant by itself: who writes into several at once may wait for somebody who waits for it. Cut off in
        # between, the next sign-in does the rest.
        for slug, role in sorted(wanted.items()):
            async with cloud.catalog.directory(write=True) as d:
                await _place(d, cloud, person, slug, role, exchange)
        async with cloud.catalog.directory() as d:
            lost = [place for place in await members.memberships(d, person.id) if place.slug in ruled - wanted.keys()]
        for place in lost:
            async with cloud.catalog.directory(write=True) as d:
                await _displace(d, cloud, place, exchange)
        async with cloud.catalog.directory() as d:
            places = await members.memberships(d, person.id)
    if ruled and not places:
        raise no_place()
    return person, [place for place in places if place.slug in wanted] if ruled else places


def no_place() -> NoPlace:
    return NoPlace("nothing that the identity provider says gives access here")


async def _so_already(
    d: Directory, places: list[MembershipRow], wanted: Mapping[str, TenantRole], ruled: set[str]
) -> bool:
    have = {place.slug: place for place in places}
    if have.keys() & ruled - wanted.keys():
        return False
    for slug, role in wanted.items():
        if slug not in have:
            return False
        row = await principals.get(d.enter(have[slug].tenant), have[slug].principal_id)
        if row is None or row.tenant_role is not role:
            return False
    return True


async def _person(d: Directory, cloud: Cloud, provider: Provider, claims: Mapping[str, Any]) -> PersonRow:
    person = await members.find_identity(d, provider.issuer, claims["sub"])
    if person is not None:
        return person
    now, email = cloud.clock(), _email(provider, claims)
    person = await members.find_person(d, email)
    if person is not None:
        if not provider.trusts_email:
            raise AccountExists("there is an account of this e-mail address already, which signs in by password")
        await members.set_password(d, person.id, None)
        person = person._replace(password=None)
        await members.end_sessions(d, person.id, now)
    else:
        person = await members.create_person(
            d, id=new_id("psn", cloud.random(16)), email=email, name=_name(claims, email), password=None, now=now
        )
    await members.add_identity(d, person.id, provider.issuer, claims["sub"], now)
    return person


async def _place(
    d: Directory, cloud: Cloud, person: PersonRow, slug: str, role: TenantRole, exchange: Exchange | None
) -> None:
    """Let the person be what a rule says in a tenant, no more and no less; a last owner stays one."""
    tenant = await tenants.find(d, slug)
    if tenant is None or tenant.state != tenants.ACTIVE:
        return
    s, now = d.enter(tenant.id), cloud.clock()
    principal_id, changed = await members.bring_in(s, person, Place(role), now)
    row = await principals.get(s, principal_id)
    if row is not None and row.tenant_role > role:
        try:
            changed = await principals.set_tenant_role(s, principal_id, role, now)
        except principals.LastOwner:
            changed = False
    if changed:
        who = await principals.resolve(s, principal_id, now)
        await _record(s, who, f"{principal_id} {role.value}", exchange, now)


async def _displace(d: Directory, cloud: Cloud, place: MembershipRow, exchange: Exchange | None) -> None:
    """End a membership that no rule gives any more; a last owner stays one."""
    s, now = d.enter(place.tenant), cloud.clock()
    who = await principals.resolve(s, place.principal_id, now)
    try:
        await members.remove(s, place.principal_id, now)
    except principals.LastOwner:
        return
    await _record(s, who, f"{place.principal_id} removed", exchange, now)


async def _record(s: Scope, who: Principal | None, target: str, exchange: Exchange | None, now: int) -> None:
    request, address = ("", "") if exchange is None else (exchange.id, exchange.address)
    await audit.record(s, who, "member.federate", target, audit.DONE, request, now, address=address)


def _email(provider: Provider, claims: Mapping[str, Any]) -> str:
    """The address the provider vouches for; one that nobody can have where it vouches for none."""
    said = claims.get("email")
    if isinstance(said, str) and (provider.trusts_email or claims.get("email_verified") is True):
        try:
            return normal_email(said)
        except InvalidInput:
            pass
    name = hashlib.sha256(f"{provider.issuer}\0{claims['sub']}".encode()).hexdigest()[:24]
    return f"{name}@{urlsplit(provider.issuer).hostname or 'localhost'}"


def _name(claims: Mapping[str, Any], email: str) -> str:
    for claim in ("name", "preferred_username"):
        said = claims.get(claim)
        if isinstance(said, str) and said.strip() and said.isprintable():
            return said.strip()[:MAX_NAME_CHARACTERS]
    return email.partition("@")[0]
