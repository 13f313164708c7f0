"""People: who can sign in, and in which tenants they are members.

A person is one e-mail address and one password for the whole server; a member is that person in one tenant, with an
id and a role of its own there. Tenants do not learn of each other's members.
"""

from __future__ import annotations

from typing import NamedTuple

from sqlalchemy import bindparam, delete, insert, select, update
from sqlalchemy.exc import IntegrityError

from satchel.auth.roles import TenantRole
from satchel.catalog import principals, quotas
from satchel.catalog.schema import TENANT, access_grant, membership, mine, person, tenant
from satchel.catalog.scope import Directory, Scope
from satchel.errors import AlreadyExists, InvalidInput
from satchel.objects.ids import PrincipalId, TenantId

MAX_EMAIL_CHARACTERS = 254
"""RFC 5321, as corrected by erratum 1690 of RFC 3696."""


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
_INSERT_MEMBERSHIP = insert(membership).values(tenant_id=TENANT)
_DROP_MEMBERSHIP = delete(membership).where(mine(membership), membership.c.principal_id == bindparam("principal"))
_DROP_GRANTS = delete(access_grant).where(mine(access_grant), access_grant.c.principal_id == bindparam("principal"))


def normal_email(text: str) -> str:
    """The form an address is stored and looked up in; raises ``InvalidInput`` for what cannot be an address."""
    email = text.strip().casefold()
    name, at, host = email.partition("@")
    if not (name and at and host) or "@" in host or len(email) > MAX_EMAIL_CHARACTERS or not email.isprintable():
        raise InvalidInput("this is not an e-mail address")
    if any(character.isspace() for character in email):
        raise InvalidInput("an e-mail address has no spaces")
    return email


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
        await d.execute(_INSERT_PERSON, values)
    except IntegrityError as error:
        raise AlreadyExists("a person with this e-mail address exists already", field="email") from error
    return row


async def find_person(d: Directory, email: str) -> PersonRow | None:
    """The person with exactly this address, or None."""
    row = await d.row(_PERSON, {"email": normal_email(email)})
    return None if row is None else PersonRow._make(row)


async def set_password(d: Directory, person_id: str, password: str | None) -> bool:
    """Replace a person's password hash; False if there is no such person. Sessions go on: revoke them apart."""
    return await d.execute(_SET_PASSWORD, {"of_person": person_id, "to_password": password}) == 1


async def memberships(d: Directory, person_id: str) -> list[MembershipRow]:
    """The tenants a person is a member of, by slug; known only to the person, after sign-in."""
    return [MembershipRow._make(row) for row in await d.rows(_MEMBERSHIPS, {"person": person_id})]


async def add(s: Scope, *, id: PrincipalId, who: PersonRow, role: TenantRole, now: int) -> principals.PrincipalRow:  # noqa: A002
    """Make a person a member (``mem_…``) of the scope's tenant; raises ``AlreadyExists``, ``QuotaReached``."""
    await quotas.check_count(s, "members")
    row = principals.PrincipalRow(id, principals.MEMBER, who.name, role, None, None, who.email, None, now, None, None)
    try:
        await s.execute(_INSERT_MEMBERSHIP, {"person_id": who.id, "principal_id": id})
    except IntegrityError as error:
        raise AlreadyExists("this person is a member already", field="email") from error
    await principals.add(s, row, person_id=who.id)
    return row


async def remove(s: Scope, principal_id: str, now: int) -> bool:
    """End a membership, its grants and its sessions; False if there is none. Raises ``LastOwner``.

    The principal stays as a revoked one, so that history and audit keep its name.
    """
    revoked = await principals.revoke(s, principal_id, now)
    await s.execute(_DROP_MEMBERSHIP, {"principal": principal_id})
    await s.execute(_DROP_GRANTS, {"principal": principal_id})
    return revoked
