"""People and the tenants they are members of."""

from __future__ import annotations

import pytest

from satchel.auth.emails import normal_email
from satchel.auth.roles import Role, TenantRole
from satchel.catalog import browsers, grants, members, principals, sessions
from satchel.catalog.members import PersonRow
from satchel.catalog.scope import Catalog
from satchel.errors import AlreadyExists, CredentialInvalid, InvalidInput
from satchel.objects.ids import PrincipalId, new_id
from tests.catalog.make import NOW, PEPPER, PROJECT, Tenants

pytestmark = pytest.mark.anyio

ANN = PrincipalId("mem_ann")


async def person(catalog: Catalog, email: str = "Ann@Example.org ") -> PersonRow:
    async with catalog.directory(write=True) as d:
        return await members.create_person(d, id=f"psn_{email}", email=email, name="Ann", password="hash", now=NOW)


async def test_a_person_is_found_by_exactly_their_address_in_any_case(catalog: Catalog) -> None:
    made = await person(catalog)
    async with catalog.directory(write=True) as d:
        assert made.email == "ann@example.org"
        assert await members.find_person(d, "ANN@example.org") == made
        for near in ("nn@example.org", "ann@example.or", "an_@example.org", "%@example.org"):
            assert await members.find_person(d, near) is None
        assert await members.set_password(d, made.id, "new hash")
        assert not await members.set_password(d, "psn_unknown", "x")
        assert await members.find_person(d, "ann@example.org") == made._replace(password="new hash")
    with pytest.raises(AlreadyExists):
        await person(catalog, "ANN@EXAMPLE.ORG")


@pytest.mark.parametrize(
    "text", ["", "ann", "@x", "ann@", "a@b@c", "a b@c", "a\n@c", "a\u202e@c", "x" * 250 + "@x.org"]
)
def test_what_cannot_be_an_address_is_refused(text: str) -> None:
    with pytest.raises(InvalidInput):
        normal_email(text)


async def test_one_person_is_a_different_member_in_each_tenant(catalog: Catalog, tenants: Tenants) -> None:
    ann = await person(catalog)
    async with catalog.write(tenants.a) as s:
        await members.add(s, id=ANN, who=ann, role=TenantRole.ADMIN, now=NOW)
        with pytest.raises(AlreadyExists):
            await members.add(s, id=PrincipalId("mem_again"), who=ann, role=TenantRole.MEMBER, now=NOW)
    async with catalog.write(tenants.b) as s:
        await members.add(s, id=PrincipalId("mem_elsewhere"), who=ann, role=TenantRole.MEMBER, now=NOW)
    async with catalog.directory() as d:
        found = await members.memberships(d, ann.id)
        assert [(m.tenant, m.slug, m.principal_id) for m in found] == [
            (tenants.a, "first", ANN),
            (tenants.b, "second", "mem_elsewhere"),
        ]
    async with catalog.read(tenants.a) as s:
        who = await principals.resolve(s, ANN)
        assert who is not None
        assert (who.kind, who.tenant_role) == ("member", TenantRole.ADMIN)
        (row,) = await principals.list_(s, "member")
        assert (row.id, row.email) == (ANN, "ann@example.org")


async def test_a_removed_member_loses_grants_and_sessions_and_can_come_back(catalog: Catalog, tenants: Tenants) -> None:
    ann = await person(catalog)
    async with catalog.write(tenants.a) as s:
        await members.add(s, id=ANN, who=ann, role=TenantRole.MEMBER, now=NOW)
        await grants.give(s, PROJECT, ANN, Role.WRITE, NOW)
        family = new_id("fam", bytes(16))
        _, text = await sessions.start(s, pepper=PEPPER, family=family, principal_id=ANN, now=NOW, lifetime_ms=60_000)
        assert await members.remove(s, ANN, NOW)
        assert not await members.remove(s, ANN, NOW)
        assert await principals.resolve(s, ANN) is None
        assert await grants.of_principal(s, ANN) == []
    with pytest.raises(CredentialInvalid):
        await sessions.rotate(catalog, text, pepper=PEPPER, now=NOW)
    async with catalog.directory() as d:
        assert await members.memberships(d, ann.id) == []
    async with catalog.write(tenants.a) as s:
        await members.add(s, id=PrincipalId("mem_back"), who=ann, role=TenantRole.MEMBER, now=NOW)
        assert (await principals.get(s, ANN)) is not None  # history keeps the old name


async def test_an_account_is_forgotten_with_its_last_membership_and_not_before(
    catalog: Catalog, tenants: Tenants
) -> None:
    ann, ben = await person(catalog), await person(catalog, "ben@example.org")
    async with catalog.directory(write=True) as d:
        for number, tenant in enumerate((tenants.a, tenants.b)):
            for who in (ann, ben) if tenant == tenants.a else (ann,):
                made = PrincipalId(f"mem_{who.name}{number}{who.id[-3:]}")
                await members.add(d.enter(tenant), id=made, who=who, role=TenantRole.MEMBER, now=NOW)
        await members.add_identity(d, ann.id, "https://login.example.org", "ann", NOW)
        await browsers.start(d, b"cookie", ann.id, tenants.a, NOW)
        await members.erase_tenant(d, tenants.a)
        assert (await members.find_person(d, ben.email), await members.find_person(d, ann.email)) == (None, ann)
        assert not await members.forget(d, ann.id)
    async with catalog.directory(write=True) as d:
        (place,) = await members.memberships(d, ann.id)
        await members.remove(d.enter(place.tenant), place.principal_id, NOW)
        assert await members.forget(d, ann.id)
        assert await members.find_person(d, ann.email) is None
        assert await members.find_identity(d, "https://login.example.org", "ann") is None
        assert await browsers.find(d, b"cookie", NOW) is None
    assert (await person(catalog)).id == ann.id  # the address is free
