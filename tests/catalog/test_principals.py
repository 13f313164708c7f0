"""Keys and principals: who is let in, and as what."""

from __future__ import annotations

from typing import Any

import pytest

from satchel.auth.keys import key_mac, parse_key
from satchel.auth.roles import Role, TenantRole
from satchel.catalog import grants, principals, quotas, standing
from satchel.catalog.principals import LastOwner, issue_key, resolve
from satchel.catalog.quotas import Limits
from satchel.catalog.scope import Catalog, Scope
from satchel.errors import CredentialExpired, CredentialInvalid, NoSuchThing, QuotaReached
from satchel.objects.ids import PrincipalId
from tests.catalog.make import NOW, PEPPER, PROJECT, Beneath, Tenants

pytestmark = pytest.mark.anyio


async def key(s: Scope, **given: Any) -> tuple[str, str]:
    """A new key's id and text."""
    row, text = await issue_key(s, pepper=PEPPER, name="ci", now=NOW, **given)
    return row.id, text


async def test_a_key_is_let_in_with_what_was_granted_to_it(catalog: Catalog, tenants: Tenants) -> None:
    async with catalog.write(tenants.a) as s:
        _, text = await key(s, grants={PROJECT: Role.WRITE}, cap=Role.READ, created_by="mem_1", expires=NOW + 10)
        parts = parse_key(text)
        assert parts.tenant == tenants.a
        who = (await standing.of_key(s, parts.key_id, key_mac(PEPPER, text), NOW)).principal
        assert (who.tenant, who.id, who.name, who.kind) == (tenants.a, parts.key_id, "ci", "key")
        assert (who.tenant_role, who.all_projects, who.scope, who.operator) == (
            TenantRole.MEMBER,
            None,
            Role.READ,
            False,
        )
        assert dict(who.grants) == {PROJECT: Role.WRITE}
        assert await resolve(s, parts.key_id) == who


async def test_only_the_keyed_hash_of_a_key_is_stored(catalog: Catalog, tenants: Tenants, beneath: Beneath) -> None:
    async with catalog.write(tenants.a) as s:
        _, text = await key(s)
    rows = await beneath("SELECT * FROM principal")
    secret = text.rsplit("_", 1)[1]
    assert secret not in repr(rows)


@pytest.mark.promise("P5")
async def test_a_key_wrong_revoked_unknown_or_of_another_tenant_is_refused_alike(
    catalog: Catalog, tenants: Tenants
) -> None:
    async with catalog.write(tenants.a) as s:
        good, text = await key(s)
        gone, gone_text = await key(s)
        assert await principals.revoke(s, gone, NOW)
    async with catalog.write(tenants.b) as s:
        _, foreign_text = await key(s)
    refusals = set()
    async with catalog.read(tenants.a) as s:
        attempts = [
            (good, key_mac(b"other pepper", text)),
            (good, key_mac(PEPPER, gone_text)),
            (good, b""),
            (good, bytes(32)),
            (gone, key_mac(PEPPER, gone_text)),
            ("key_00000000000000000000000000", key_mac(PEPPER, text)),
            ("key_00000000000000000000000000", bytes(32)),
            (parse_key(foreign_text).key_id, key_mac(PEPPER, foreign_text)),
        ]
        for key_id, mac in attempts:
            with pytest.raises(CredentialInvalid) as caught:
                await standing.of_key(s, key_id, mac, NOW)
            refusals.add((caught.value.message, caught.value.hint))
        assert await resolve(s, gone) is None
        assert await resolve(s, parse_key(foreign_text).key_id) is None
    assert len(refusals) == 1


async def test_a_member_has_no_key_to_come_in_with(catalog: Catalog, tenants: Tenants) -> None:
    async with catalog.write(tenants.a) as s:
        row = await principals.get(s, tenants.founded.principal_id)
        assert row is not None
        member = row._replace(id=PrincipalId("mem_1"), kind=principals.MEMBER)
        await principals.add(s, member)
        for mac in (b"", bytes(32)):
            with pytest.raises(CredentialInvalid):
                await standing.of_key(s, "mem_1", mac, NOW)


async def test_an_expired_key_says_so_to_its_holder_alone(catalog: Catalog, tenants: Tenants) -> None:
    async with catalog.write(tenants.a) as s:
        key_id, text = await key(s, expires=NOW + 10)
        await standing.of_key(s, key_id, key_mac(PEPPER, text), NOW + 9)
        with pytest.raises(CredentialExpired):
            await standing.of_key(s, key_id, key_mac(PEPPER, text), NOW + 10)
        with pytest.raises(CredentialInvalid):
            await standing.of_key(s, key_id, bytes(32), NOW + 10)
        assert await resolve(s, key_id, NOW + 10) is None
        assert await resolve(s, key_id) is not None


async def test_the_operator_is_known_by_its_row(catalog: Catalog, tenants: Tenants) -> None:
    async with catalog.read(tenants.a) as s:
        who = await resolve(s, tenants.founded.principal_id)
        assert who is not None
        assert who.operator
        assert who.tenant_role is TenantRole.OWNER


async def test_the_last_owner_cannot_be_revoked_or_made_less(catalog: Catalog, tenants: Tenants) -> None:
    first = tenants.founded.principal_id
    async with catalog.write(tenants.a) as s:
        with pytest.raises(LastOwner):
            await principals.revoke(s, first, NOW)
        await key(s, tenant_role=TenantRole.OWNER, expires=NOW)  # expired: does not count
        soon, _ = await key(s, tenant_role=TenantRole.OWNER, expires=NOW + 5)  # nor does one that will be
        with pytest.raises(LastOwner):
            await principals.revoke(s, first, NOW)
        later, _ = await key(s, tenant_role=TenantRole.OWNER, expires=NOW + 9)
        assert await principals.revoke(s, soon, NOW)
        assert await principals.revoke(s, later, NOW)
        with pytest.raises(LastOwner):
            await principals.set_tenant_role(s, first, TenantRole.MEMBER, NOW)
        second, _ = await key(s, tenant_role=TenantRole.OWNER)
        assert await principals.set_tenant_role(s, first, TenantRole.MEMBER, NOW)
        with pytest.raises(LastOwner):
            await principals.revoke(s, second, NOW)
        assert await principals.revoke(s, first, NOW)
        assert not await principals.revoke(s, first, NOW)


async def test_lists_show_what_stands_and_on_demand_what_was_revoked(catalog: Catalog, tenants: Tenants) -> None:
    async with catalog.write(tenants.a) as s:
        gone, _ = await key(s)
        kept, _ = await key(s, all_projects=Role.READ)
        await principals.revoke(s, gone, NOW)
        assert {row.id for row in await principals.list_(s, "key")} == {kept, tenants.founded.principal_id}
        everything = await principals.list_(s, "key", revoked=True)
        assert {row.id for row in everything} == {kept, gone, tenants.founded.principal_id}
        assert await principals.list_(s, "key", everything[0].id, 1, revoked=True) == everything[1:2]
        assert await principals.list_(s, "member") == []


async def test_grants_are_given_replaced_listed_and_taken(catalog: Catalog, tenants: Tenants) -> None:
    async with catalog.write(tenants.a) as s:
        key_id, _ = await key(s)
        await grants.give(s, PROJECT, key_id, Role.READ, NOW)
        await grants.give(s, PROJECT, key_id, Role.ADMIN, NOW + 1)
        assert await grants.of_project(s, PROJECT) == [(PROJECT, key_id, "ci", "key", Role.ADMIN, NOW)]
        assert await grants.of_principal(s, key_id) == await grants.of_project(s, PROJECT)
        assert await grants.take(s, PROJECT, key_id)
        assert not await grants.take(s, PROJECT, key_id)
        await principals.revoke(s, key_id, NOW)
        for absent in (key_id, "key_unknown"):
            with pytest.raises(NoSuchThing):
                await grants.give(s, PROJECT, absent, Role.READ, NOW)


async def test_keys_are_counted_against_the_quota_and_a_revoked_one_makes_room(
    catalog: Catalog, tenants: Tenants
) -> None:
    async with catalog.write(tenants.a) as s:
        await quotas.set_limits(s, Limits(keys=2))
        second, _ = await key(s)
        with pytest.raises(QuotaReached):
            await key(s)
        await principals.revoke(s, second, NOW)
        await key(s)
