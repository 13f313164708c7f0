"""Joining by an invitation: a person proves to be one, or becomes one, and is let in, in one transaction.

Everything that may be wrong with e-mail and password looks and lasts the same, as at sign-in. Joining again with the
same invitation changes nothing and uses nothing up.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, NamedTuple

from satchel.auth.emails import normal_email
from satchel.auth.keys import key_mac, parse_invite
from satchel.auth.passwords import verify_password
from satchel.auth.policy import Action, decide
from satchel.auth.roles import Principal
from satchel.catalog import audit, invitations, members, principals, projects, tenants
from satchel.catalog.invitations import InvitationOver, InvitationRow
from satchel.catalog.members import PersonRow
from satchel.catalog.projects import ProjectRow
from satchel.catalog.scope import Scope
from satchel.catalog.tenants import TenantRow
from satchel.errors import NoSuchThing, SignInNeeded
from satchel.objects.ids import TenantId, new_id
from satchel.server.edge import Exchange
from satchel.server.passwords import fit_password, hashed
from satchel.server.signin import not_right, renewed

if TYPE_CHECKING:
    from satchel.server.cloud import Cloud

PATH = "/join/"
"""Where the page of an invitation is, followed by its text."""


class Invited(NamedTuple):
    """A genuine invitation that counts."""

    row: InvitationRow
    tenant: TenantRow
    project: ProjectRow | None


def text_of(said: str) -> str:
    """The text of an invitation in what a person was sent: the text itself, or the address that ends with it."""
    return said.strip().rpartition(PATH)[2]


async def look_at(cloud: Cloud, said: str) -> Invited:
    """What an invitation that counts is to. Raises ``InvitationOver`` and ``TenantSuspended``."""
    return await check(cloud, said, used_up=False)


async def check(cloud: Cloud, said: str, *, used_up: bool = True) -> Invited:
    """The same with ``used_up`` for one that was used as often as it may be: somebody may join again."""
    tenant, invitation_id, mac = _claims(cloud, said)
    async with cloud.catalog.read(tenant) as s:
        return await _invited(s, invitation_id, mac, cloud.clock(), used_up=used_up)


async def prove(cloud: Cloud, email: str, password: str, name: str | None) -> PersonRow:
    """The person with this address and password; somebody new where nobody has the address, not stored yet.

    Raises ``CredentialInvalid``, ``InvalidInput`` for an address or a new password that cannot be, and
    ``TooManyRequests``.
    """
    email = normal_email(email)
    async with cloud.sign_in.attempt(email) as succeeded:
        async with cloud.catalog.directory() as d:
            person = await members.find_person(d, email)
        good = await asyncio.to_thread(verify_password, person.password if person else None, password)
        if person is None or not good:
            # Said to everybody: to nobody but who is new it would tell who has an account, and use nothing up.
            fit_password(password, email)
        if person is not None and not good:
            raise not_right()
        succeeded()
        if person is not None:
            return await renewed(cloud, person, password)
    stored = await hashed(cloud, password, email)
    return PersonRow(new_id("psn", cloud.random(16)), email, name or email.partition("@")[0], stored, cloud.clock())


async def join(cloud: Cloud, said: str, who: PersonRow, exchange: Exchange) -> tuple[Invited, Principal]:
    """Let a person in who has proven to be it; the principal it is there.

    Raises ``InvitationOver``, ``TenantSuspended``, ``QuotaReached``, and ``CredentialInvalid`` where somebody else took
    the address meanwhile, or the password was changed.
    """
    tenant, invitation_id, mac = _claims(cloud, said)
    now = cloud.clock()
    async with cloud.catalog.directory(write=True) as d:
        known = await members.find_person(d, who.email)
        if known is None:
            known = await members.create_person(
                d, id=who.id, email=who.email, name=who.name, password=who.password, now=now
            )
        elif (known.id, known.password) != (who.id, who.password):
            raise not_right()
        s = d.enter(tenant)
        invited = await _invited(s, invitation_id, mac, now, used_up=True)
        principal_id, changed = await members.bring_in(s, known, invited.row.place, now)
        if changed:
            await invitations.use(s, invitation_id, now)
        who_now = await principals.resolve(s, principal_id, now)
        if who_now is None:
            raise not_right()
        await audit.record(
            s,
            who_now,
            "invitation.join",
            f"{invitation_id} {invited.row.place}",
            audit.DONE,
            exchange.id,
            now,
            address=exchange.address,
        )
    return invited, who_now


def _claims(cloud: Cloud, said: str) -> tuple[TenantId, str, bytes]:
    text = text_of(said)
    try:
        parts = parse_invite(text)
    except SignInNeeded as error:
        raise InvitationOver("this is not an invitation, or not the whole of one") from error
    return parts.tenant, parts.invitation, key_mac(cloud.pepper, text)


async def _invited(s: Scope, invitation_id: str, mac: bytes, now: int, *, used_up: bool) -> Invited:
    try:
        await tenants.check_active(s)
    except NoSuchThing as error:
        raise InvitationOver("there is no such invitation") from error
    row = await invitations.find(s, invitation_id, mac, now, used_up=used_up)
    why, project = await in_vain(s, row, now)
    if why:
        raise InvitationOver(why)
    return Invited(row, await tenants.own(s), project)


async def in_vain(s: Scope, row: InvitationRow, now: int) -> tuple[str, ProjectRow | None]:
    """Why nobody joins by an invitation that is open, empty where somebody does; and the project that it is to."""
    place = row.place
    project = None if place.project is None else await projects.get(s, place.project)
    if place.project is not None and (project is None or project.archived is not None):
        return "the project of the invitation was archived", project
    # Else who was removed, is less than it was, or a key whose time is over, would come back by a link of before.
    maker = await principals.resolve(s, row.created_by, now)
    action = Action.TENANT_ADMIN if place.project is None else Action.PROJECT_ADMIN
    if maker is None or maker.tenant_role < place.tenant_role or not decide(maker, action, place.project).allowed:
        return "whoever made the invitation may not make it any more", project
    return "", project
