"""Refresh families, revoked tokens, signing keys."""

from __future__ import annotations

from typing import Any, NamedTuple

import anyio
import pytest

from satchel.auth.keys import derive_refresh
from satchel.auth.roles import Role
from satchel.catalog import principals, sessions
from satchel.catalog.scope import Catalog
from satchel.catalog.sessions import Family, rotate
from satchel.catalog.standing import of_token
from satchel.errors import CredentialExpired, CredentialInvalid
from satchel.objects.ids import PrincipalId, new_id
from tests.catalog.make import NOW, PEPPER, Tenants

pytestmark = pytest.mark.anyio


FAMILY, OTHER = (new_id("fam", bytes([n]) * 16) for n in (1, 2))
LIFETIME_MS = 1_000_000


class Begun(NamedTuple):
    """A session as it begins, and a short way to renew it."""

    catalog: Catalog
    who: PrincipalId
    text: str
    family: Family

    async def renew(self, text: str, now: int = NOW, *, client: str | None = None) -> str:
        family, fresh = await rotate(self.catalog, text, pepper=PEPPER, now=now, client_id=client)
        assert family[:3] == self.family[:3]
        assert family[4:] == self.family[4:]
        return fresh

    async def refused(self, text: str) -> None:
        with pytest.raises(CredentialInvalid):
            await self.renew(text)


async def begin(catalog: Catalog, tenants: Tenants, family: str = FAMILY, **more: Any) -> Begun:
    given = {"lifetime_ms": LIFETIME_MS, **more}
    async with catalog.write(tenants.a) as s:
        row, _ = await principals.issue_key(s, pepper=PEPPER, name="x", now=NOW)
        begun, text = await sessions.start(s, pepper=PEPPER, family=family, principal_id=row.id, now=NOW, **given)
    return Begun(catalog, row.id, text, begun)


async def test_each_refresh_token_brings_another(catalog: Catalog, tenants: Tenants) -> None:
    session = await begin(catalog, tenants)
    texts = [session.text]
    for _ in range(3):
        texts.append(await session.renew(texts[-1]))
    assert len(set(texts)) == 4
    assert session.family == Family(FAMILY, session.who, NOW + LIFETIME_MS)


@pytest.mark.promise("P7")
async def test_whoever_lost_the_answer_gets_the_same_successor_until_it_is_used(
    catalog: Catalog, tenants: Tenants
) -> None:
    session = await begin(catalog, tenants)
    first = await session.renew(session.text)
    assert [await session.renew(session.text) for _ in range(3)] == [first] * 3
    second = await session.renew(first)
    assert await session.renew(first) == second  # which was lost in its turn
    await session.refused(session.text)


async def test_a_token_older_than_the_last_ends_its_family(catalog: Catalog, tenants: Tenants) -> None:
    session = await begin(catalog, tenants)
    first = await session.renew(session.text)
    second = await session.renew(first)
    await session.refused(session.text)
    for text in (first, second):  # the thief's copy, then the honest successor
        await session.refused(text)
    async with catalog.read(tenants.a) as s:
        with pytest.raises(CredentialInvalid):
            await of_token(s, session.who, "jti", FAMILY)


@pytest.mark.promise("P7")
async def test_of_many_that_come_at_once_all_get_one_successor(catalog: Catalog, tenants: Tenants) -> None:
    session = await begin(catalog, tenants)
    outcomes: list[str] = []

    async def attempt() -> None:
        outcomes.append(await session.renew(session.text))

    async with anyio.create_task_group() as group:
        for _ in range(10):
            group.start_soon(attempt)
    assert len(outcomes) == 10
    assert len(set(outcomes)) == 1
    await session.renew(outcomes[0])


async def test_a_guess_at_a_token_does_not_end_the_family(catalog: Catalog, tenants: Tenants) -> None:
    session = await begin(catalog, tenants)
    for tenant, family, pepper in (
        (tenants.a, FAMILY, b"guessed"),
        (tenants.a, OTHER, PEPPER),
        (tenants.b, FAMILY, PEPPER),
    ):
        await session.refused(derive_refresh(pepper, tenant, family, 0))
    await session.refused(derive_refresh(PEPPER, tenants.a, FAMILY, 1))  # not given out yet
    await session.refused("stl_refresh_")
    await session.renew(session.text)


@pytest.mark.promise("P5")
async def test_a_session_of_an_oauth_client_keeps_what_was_granted_and_serves_that_client_alone(
    catalog: Catalog, tenants: Tenants
) -> None:
    granted: dict[str, Any] = {"client_id": "client-1", "scope": Role.READ, "audience": "https://context.example/mcp"}
    session = await begin(catalog, tenants, **granted)
    assert session.family[4:] == tuple(granted.values())
    for other in (None, "client-2"):
        with pytest.raises(CredentialInvalid):
            await session.renew(session.text, client=other)
        with pytest.raises(CredentialInvalid):
            await sessions.end(catalog, session.text, pepper=PEPPER, now=NOW, client_id=other)
    fresh = await session.renew(session.text, client="client-1")
    await sessions.end(catalog, session.text, pepper=PEPPER, now=NOW, client_id="client-1")
    with pytest.raises(CredentialInvalid):
        await session.renew(fresh, client="client-1")


async def test_a_family_ends_by_time_by_revocation_and_with_its_principal(catalog: Catalog, tenants: Tenants) -> None:
    session, brief = await begin(catalog, tenants), await begin(catalog, tenants, OTHER, lifetime_ms=10)
    for one, end in ((session, NOW + LIFETIME_MS), (brief, NOW + 10)):
        with pytest.raises(CredentialExpired):
            await one.renew(one.text, end)
    async with catalog.write(tenants.a) as s:
        assert await sessions.revoke(s, OTHER, NOW)
        assert not await sessions.revoke(s, OTHER, NOW)
    await brief.refused(brief.text)
    async with catalog.write(tenants.a) as s:
        await principals.revoke(s, session.who, NOW)
    await session.refused(session.text)


@pytest.mark.promise("P7")
async def test_a_token_is_revoked_once_however_often_it_is_and_in_its_tenant_alone(
    catalog: Catalog, tenants: Tenants
) -> None:
    session = await begin(catalog, tenants)
    async with catalog.write(tenants.a) as s:
        await of_token(s, session.who, "jti_1", FAMILY)
        for _ in range(2):
            await sessions.revoke_token(s, "jti_1", NOW + 10)
        with pytest.raises(CredentialInvalid):
            await of_token(s, session.who, "jti_1", FAMILY)
        await of_token(s, session.who, "jti_2", FAMILY)
    async with catalog.write(tenants.b) as s:
        row, _ = await principals.issue_key(s, pepper=PEPPER, name="x", now=NOW)
        await of_token(s, row.id, "jti_1")


async def test_what_is_past_its_time_is_forgotten_and_the_rest_kept(catalog: Catalog, tenants: Tenants) -> None:
    old = await begin(catalog, tenants)
    new = await begin(catalog, tenants, OTHER, lifetime_ms=LIFETIME_MS + 1)
    async with catalog.write(tenants.a) as s:
        await sessions.revoke_token(s, "old", NOW)
        await sessions.revoke_token(s, "new", NOW + 2)
        await sessions.expire(s, NOW + 1)
        await of_token(s, new.who, "old", OTHER)
        with pytest.raises(CredentialInvalid):
            await of_token(s, new.who, "new", OTHER)
        await sessions.expire(s, NOW + LIFETIME_MS)
    await new.renew(new.text)
    await old.refused(old.text)
