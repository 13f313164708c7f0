"""Refresh families, revoked tokens, signing keys."""

from __future__ import annotations

import anyio
import pytest

from satchel.catalog import principals, sessions
from satchel.catalog.scope import Catalog
from satchel.catalog.sessions import FAMILY_LIFETIME_MS, rotate
from satchel.errors import CredentialExpired, CredentialInvalid
from satchel.objects.ids import PrincipalId
from tests.catalog.make import NOW, PEPPER, Tenants

pytestmark = pytest.mark.anyio


async def begin(catalog: Catalog, tenants: Tenants) -> PrincipalId:
    async with catalog.write(tenants.a) as s:
        row, _ = await principals.issue_key(s, pepper=PEPPER, name="x", now=NOW)
        assert (
            await sessions.start(s, family="fam_1", principal_id=row.id, mac=b"1", now=NOW) == NOW + FAMILY_LIFETIME_MS
        )
    return row.id


async def test_each_refresh_token_is_good_once_and_brings_the_next(catalog: Catalog, tenants: Tenants) -> None:
    who = await begin(catalog, tenants)
    assert await rotate(catalog, tenants.a, "fam_1", b"1", b"2", NOW) == who
    assert await rotate(catalog, tenants.a, "fam_1", b"2", b"3", NOW) == who


async def test_a_refresh_token_used_twice_ends_its_family(catalog: Catalog, tenants: Tenants) -> None:
    await begin(catalog, tenants)
    await rotate(catalog, tenants.a, "fam_1", b"1", b"2", NOW)
    for mac in (b"1", b"2"):  # the thief's copy, then the honest successor
        with pytest.raises(CredentialInvalid):
            await rotate(catalog, tenants.a, "fam_1", mac, b"3", NOW)
    async with catalog.read(tenants.a) as s:
        assert await sessions.is_revoked(s, "jti", "fam_1")


async def test_of_two_that_come_at_once_one_is_served(catalog: Catalog, tenants: Tenants) -> None:
    await begin(catalog, tenants)
    outcomes: list[PrincipalId | None] = []

    async def attempt(successor: bytes) -> None:
        try:
            outcomes.append(await rotate(catalog, tenants.a, "fam_1", b"1", successor, NOW))
        except CredentialInvalid:
            outcomes.append(None)

    async with anyio.create_task_group() as group:
        group.start_soon(attempt, b"2")
        group.start_soon(attempt, b"3")
    assert outcomes.count(None) == 1


async def test_a_guess_at_a_token_does_not_end_the_family(catalog: Catalog, tenants: Tenants) -> None:
    who = await begin(catalog, tenants)
    for tenant, family in ((tenants.a, "fam_1"), (tenants.a, "fam_2"), (tenants.b, "fam_1")):
        with pytest.raises(CredentialInvalid):
            await rotate(catalog, tenant, family, b"guess", b"2", NOW)
    with pytest.raises(CredentialInvalid):
        await rotate(catalog, tenants.b, "fam_1", b"1", b"2", NOW)
    assert await rotate(catalog, tenants.a, "fam_1", b"1", b"2", NOW) == who


async def test_a_family_ends_by_time_by_revocation_and_with_its_principal(catalog: Catalog, tenants: Tenants) -> None:
    who = await begin(catalog, tenants)
    with pytest.raises(CredentialExpired):
        await rotate(catalog, tenants.a, "fam_1", b"1", b"2", NOW + FAMILY_LIFETIME_MS)
    async with catalog.write(tenants.a) as s:
        await sessions.start(s, family="fam_2", principal_id=who, mac=b"a", now=NOW)
        assert await sessions.revoke(s, "fam_2", NOW)
        assert not await sessions.revoke(s, "fam_2", NOW)
    with pytest.raises(CredentialInvalid):
        await rotate(catalog, tenants.a, "fam_2", b"a", b"b", NOW)
    async with catalog.write(tenants.a) as s:
        await principals.revoke(s, who, NOW)
    with pytest.raises(CredentialInvalid):
        await rotate(catalog, tenants.a, "fam_1", b"1", b"2", NOW)


@pytest.mark.promise("P7")
async def test_a_token_is_revoked_by_itself_or_with_its_session(catalog: Catalog, tenants: Tenants) -> None:
    await begin(catalog, tenants)
    async with catalog.write(tenants.a) as s:
        assert not await sessions.is_revoked(s, "jti_1")
        assert not await sessions.is_revoked(s, "jti_1", "fam_1")
        for _ in range(2):
            await sessions.revoke_token(s, "jti_1", NOW + 10)
        assert await sessions.is_revoked(s, "jti_1")
        assert await sessions.is_revoked(s, "jti_2", "fam_unknown")
    async with catalog.read(tenants.b) as s:
        assert not await sessions.is_revoked(s, "jti_1")


async def test_what_is_past_its_time_is_forgotten_and_the_rest_kept(catalog: Catalog, tenants: Tenants) -> None:
    who = await begin(catalog, tenants)
    async with catalog.write(tenants.a) as s:
        await sessions.revoke_token(s, "old", NOW)
        await sessions.revoke_token(s, "new", NOW + 2)
        await sessions.start(s, family="fam_2", principal_id=who, mac=b"a", now=NOW + 1)
        await sessions.expire(s, NOW + 1)
        assert not await sessions.is_revoked(s, "old")
        assert await sessions.is_revoked(s, "new")
        await sessions.expire(s, NOW + FAMILY_LIFETIME_MS)
    assert await rotate(catalog, tenants.a, "fam_2", b"a", b"b", NOW + 2) == who
    with pytest.raises(CredentialInvalid):
        await rotate(catalog, tenants.a, "fam_1", b"1", b"2", NOW)


async def test_signing_keys_are_kept_sealed_listed_by_age_and_retired_once(catalog: Catalog) -> None:
    async with catalog.directory(write=True) as d:
        for kid, now in (("k2", 2), ("k1", 1)):
            await sessions.add_signing_key(d, kid=kid, public_jwk={"kid": kid}, sealed=b"sealed", now=now)
        assert await sessions.retire_signing_key(d, "k1", 3)
        assert not await sessions.retire_signing_key(d, "k1", 4)
        assert await sessions.signing_keys(d) == [
            ("k1", {"kid": "k1"}, b"sealed", 1, 3),
            ("k2", {"kid": "k2"}, b"sealed", 2, None),
        ]
