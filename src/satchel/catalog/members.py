"""People: who can sign in, and in which tenants they are members.

A person is one e-mail address and one password for the whole server; a member is that person in one tenant, with an
id and a role of its own there. Tenants do not learn of each other's members.
"""

from __future__ import annotations

from typing import NamedTuple

from sqlalchemy import bindparam, delete, insert, select, update
from sqlalchemy.exc import IntegrityError

from satchel.auth.emails import normal_email
from satchel.auth.roles import Role, TenantRole
from satchel.catalog import browsers, grants, oauth, principals, quotas, sessions, tenants
from satchel.catalog.schema import TENANT, access_grant, identity, membership, mine, person, principal, tenant
from satchel.catalog.scope import Directory, Scope
from satchel.errors import AlreadyExists
from satchel.objects.ids import PrincipalId, ProjectId, TenantId, new_id


class PersonRow(NamedTuple):
    id: str
    email: str
    name: str
    password: str | None
    """The argon2id text, or None where none was set."""
    created: int


class MembershipRow(NamedTuple):
    tenant: TenantId
    slug: str
    principal_id: PrincipalId


_PERSON = select(person.c.person_id, person.c.email, person.c.name, person.c.password, person.c.created).where(
    person.c.email == bindparam("email")
)
_PERSON_BY_ID = select(*_PERSON.selected_columns).where(person.c.person_id == bindparam("of_person"))
_PERSON_BY_IDENTITY = (
    select(*_PERSON.selected_columns)
    .select_from(person.join(identity, identity.c.person_id == person.c.person_id))
    .where(identity.c.issuer == bindparam("of_issuer"), identity.c.subject == bindparam("of_subject"))
)
_INSERT_IDENTITY = insert(identity)
_PERSON_OF = select(principal.c.person_id).where(
    mine(principal), principal.c.principal_id == bindparam("principal"), principal.c.revoked.is_(None)
)
_MEMBER = select(membership.c.principal_id).where(mine(membership), membership.c.person_id == bindparam("person"))
_INSERT_PERSON = insert(person)
_SET_PASSWORD = (
    update(person).where(person.c.person_id == bindparam("of_person")).values(password=bindparam("to_password"))
)
_MEMBERSHIPS = (
    select(membership.c.tenant_id, tenant.c.slug, membership.c.principal_id)
    .select_from(membership.join(tenant, tenant.c.tenant_id == membership.c.tenant_id))
    .where(membership.c.person_id == bindparam("person"))
    .order_by(tenant.c.slug)
)
_PEOPLE = select(membership.c.person_id).where(membership.c.tenant_id == bindparam("of_tenant"))
_FORGET = (
    delete(identity).where(identity.c.person_id == bindparam("of_person")),
    delete(person).where(person.c.person_id == bindparam("of_person")),
)
_INSERT_MEMBERSHIP = insert(membership).values(tenant_id=TENANT)
_DROP_MEMBERSHIP = delete(membership).where(mine(membership), membership.c.principal_id == bindparam("principal"))
_DROP_GRANTS = delete(access_grant).where(mine(access_grant), access_grant.c.principal_id == bindparam("principal"))


async def create_person(
    d: Directory,
    *,
    id: str,  # noqa: A002
    email: str,
    name: str,
    password: str | None,
    now: int,
) -> PersonRow:
    """Create a person (``psn_…``) who is in no tenant yet; ``password`` is a hash. Raises ``AlreadyExists``."""
    row = PersonRow(id, normal_email(email), name, password, now)
    values = row._asdict()
    values["person_id"] = values.pop("id")
    try:
        async with d.attempt():
            await d.execute(_INSERT_PERSON, values)
    except IntegrityError as error:
        raise AlreadyExists("a person with this e-mail address exists already", field="email") from error
    return row


async def find_person(d: Directory, email: str) -> PersonRow | None:
    """The person with exactly this address, or None."""
    row = await d.row(_PERSON, {"email": normal_email(email)})
    return None if row is None else PersonRow._make(row)


async def get_person(d: Directory, person_id: str) -> PersonRow | None:
    """The person of that id, or None."""
    row = await d.row(_PERSON_BY_ID, {"of_person": person_id})
    return None if row is None else PersonRow._make(row)


async def find_identity(d: Directory, issuer: str, subject: str) -> PersonRow | None:
    """The person whom an identity provider knows by this name, or None."""
    row = await d.row(_PERSON_BY_IDENTITY, {"of_issuer": issuer, "of_subject": subject})
    return None if row is None else PersonRow._make(row)


async def add_identity(d: Directory, person_id: str, issuer: str, subject: str, now: int) -> None:
    """Let a person sign in by what an identity provider says of this name. Raises ``AlreadyExists``."""
    values = {"issuer": issuer, "subject": subject, "person_id": person_id, "created": now}
    try:
        async with d.attempt():
            await d.execute(_INSERT_IDENTITY, values)
    except IntegrityError as error:
        raise AlreadyExists("this identity belongs to a person already") from error


async def set_password(d: Directory, person_id: str, password: str | None) -> bool:
    """Replace a person's password hash; False if there is no such person. Sessions go on: revoke them apart."""
    return await d.execute(_SET_PASSWORD, {"of_person": person_id, "to_password": password}) == 1


async def memberships(d: Directory, person_id: str) -> list[MembershipRow]:
    """The tenants a person is a member of, by slug; known only to the person, after sign-in."""
    return [MembershipRow._make(row) for row in await d.rows(_MEMBERSHIPS, {"person": person_id})]


async def add(s: Scope, *, id: PrincipalId, who: PersonRow, role: TenantRole, now: int) -> principals.PrincipalRow:  # noqa: A002
    """Make a person a member (``mem_…``) of the scope's tenant; raises ``AlreadyExists``, ``QuotaReached``."""
    await quotas.check_count(s, "members", now)
    row = principals.PrincipalRow(id, principals.MEMBER, who.name, role, None, None, who.email, None, now, None, None)
    try:
        async with s.attempt():
            await s.execute(_INSERT_MEMBERSHIP, {"person_id": who.id, "principal_id": id})
    except IntegrityError as error:
        raise AlreadyExists("this person is a member already", field="email") from error
    await principals.add(s, row, person_id=who.id)
    return row


async def person_of(s: Scope, principal_id: str) -> str | None:
    """The id of the person behind a member that counts; None for a key, and for nobody."""
    row = await s.row(_PERSON_OF, {"principal": principal_id})
    return None if row is None else row.person_id


class Place(NamedTuple):
    """What somebody is to have in a tenant."""

    tenant_role: TenantRole
    project: ProjectId | None = None
    role: Role | None = None

    def __str__(self) -> str:
        """As the audit tells of it."""
        return f"{self.project or 'tenant'} {(self.role or self.tenant_role).value}"


async def bring_in(s: Scope, who: PersonRow, place: Place, now: int) -> tuple[PrincipalId, bool]:
    """Let a person have at least this in the scope's tenant; its principal, and whether that changed anything.

    Nothing is taken away: whoever has more keeps it. Raises ``QuotaReached``.
    """
    row = await s.row(_MEMBER, {"person": who.id})
    changed = row is None
    if row is None:
        principal_id = PrincipalId(new_id("mem", s.random(16)))
        await add(s, id=principal_id, who=who, role=place.tenant_role, now=now)
    else:
        principal_id = PrincipalId(row.principal_id)
        found = await principals.get(s, principal_id)
        if found is not None and found.tenant_role < place.tenant_role:
            changed = await principals.set_tenant_role(s, principal_id, place.tenant_role, now)
    if place.project is not None and place.role is not None:
        has = [grant.role for grant in await grants.of_principal(s, principal_id) if grant.project == place.project]
        if not has or has[0] < place.role:
            await grants.give(s, place.project, principal_id, place.role, now)
            changed = True
    return principal_id, changed


async def end_sessions(d: Directory, person_id: str, now: int, *, keep: str | None = None) -> None:
    """End what a person is signed in to or let a client begin, in every tenant and browser; ``keep`` is the one session
    (``fam_…``) that goes on."""
    await browsers.end_all(d, person_id)
    for place in sorted(await memberships(d, person_id), key=lambda place: place.tenant):
        await oauth.void(d, place.tenant, place.principal_id, now)
        await sessions.revoke_all(d.enter(place.tenant), place.principal_id, now, keep=keep)


async def remove(s: Scope, principal_id: str, now: int) -> bool:
    """End a membership, its grants and its sessions; False if there is none. Raises ``LastOwner``.

    The principal stays as a revoked one, so that history and audit keep its name.
    """
    revoked = await principals.revoke(s, principal_id, now)
    await s.execute(_DROP_MEMBERSHIP, {"principal": principal_id})
    await s.execute(_DROP_GRANTS, {"principal": principal_id})
    return revoked


async def erase_tenant(d: Directory, tenant_id: TenantId) -> None:
    """As ``tenants.erase``, with the accounts of its members who are in no other."""
    people = [row.person_id for row in await d.rows(_PEOPLE, {"of_tenant": tenant_id})]
    await tenants.erase(d, tenant_id)
    for person_id in people:
        await forget(d, person_id)


async def forget(d: Directory, person_id: str) -> bool:
    """Delete the account of a person who is a member nowhere any more: address, name, password, sessions of pages.

    False for one who is a member of some tenant, or becomes one at this moment. Who comes back by an invitation makes
    an account anew: nobody could set another password for this one.
    """
    if await memberships(d, person_id):
        return False
    try:
        async with d.attempt():
            await browsers.end_all(d, person_id)
            for statement in _FORGET:
                await d.execute(statement, {"of_person": person_id})
    except IntegrityError:
        return False
    return True
