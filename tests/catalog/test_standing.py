"""Whether a credential counts: in one query, the same work whatever is wrong, and with an old secret for a while."""

from __future__ import annotations

import hmac
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

import pytest

from satchel.auth.keys import key_mac, parse_key
from satchel.auth.roles import Role
from satchel.catalog import principals, quotas, sessions
from satchel.catalog import tenants as table
from satchel.catalog.principals import PrincipalRow, issue_key, reroll_key
from satchel.catalog.quotas import Limits
from satchel.catalog.scope import Catalog, Scope
from satchel.catalog.standing import of_key, of_token
from satchel.errors import CredentialExpired, CredentialInvalid, SignInNeeded, TenantSuspended
from satchel.objects.ids import new_id
from tests.catalog.make import NOW, PEPPER, PROJECT, Beneath, Tenants

pytestmark = pytest.mark.anyio
FAMILY = new_id("fam", bytes(16))


class Work(NamedTuple):
    queries: list[str]
    comparisons: list[bool]

    @property
    def done(self) -> tuple[list[str], int]:
        return self.queries, len(self.comparisons)


@contextmanager
def watched(monkeypatch: pytest.MonkeyPatch) -> Iterator[Work]:
    """What is asked of the catalog, and how often secrets are compared, while the block lasts.

    In this thread: the servers of other tests, in threads of theirs, go on with what they do from time to time.
    """
    work, run, compare, mine = Work([], []), Scope._run, hmac.compare_digest, threading.get_ident()

    async def counted(self: Scope, statement: object, params: object) -> object:
        if threading.get_ident() == mine:
            work.queries.append(str(statement))
        return await run(self, statement, params)  # type: ignore[arg-type]

    def compared(one: bytes, other: bytes) -> bool:
        same = compare(one, other)
        if threading.get_ident() == mine:
            work.comparisons.append(same)
        return same

    with monkeypatch.context() as patch:
        patch.setattr(Scope, "_run", counted)
        patch.setattr(hmac, "compare_digest", compared)
        yield work


async def key(s: Scope, **given: object) -> tuple[PrincipalRow, bytes]:
    """A new key, and the keyed hash of its text."""
    row, text = await issue_key(s, pepper=PEPPER, name="ci", now=NOW, **given)  # type: ignore[arg-type]
    return row, key_mac(PEPPER, text)


async def test_a_key_is_checked_in_one_query_with_grants_tenant_and_limits(
    catalog: Catalog, tenants: Tenants, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with catalog.write(tenants.a) as s:
        await quotas.set_limits(s, Limits(requests=77))
        row, mac = await key(s, grants={PROJECT: Role.WRITE}, requests=5, expires=NOW + 9)
    async with catalog.read(tenants.a) as s:
        with watched(monkeypatch) as work:
            found = await of_key(s, row.id, mac, NOW)
        assert len(work.queries) == 1
        assert found.principal == await principals.resolve(s, row.id)
    assert (found.requests, found.used) == (77, None)
    assert (dict(found.principal.grants), found.principal.expires) == ({PROJECT: Role.WRITE}, NOW + 9)


async def test_a_token_is_checked_in_one_query_with_its_session(
    catalog: Catalog, tenants: Tenants, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with catalog.write(tenants.a) as s:
        row, _ = await key(s)
        await sessions.start(s, pepper=PEPPER, family=FAMILY, principal_id=row.id, now=NOW, lifetime_ms=60_000)
        await sessions.revoke_token(s, "gone", NOW + 9)
    async with catalog.read(tenants.a) as s:
        for family in (None, FAMILY):
            with watched(monkeypatch) as work:
                assert (await of_token(s, row.id, "tok", family)).principal.id == row.id
            assert len(work.queries) == 1
        for who, jti, family in (
            (row.id, "gone", None),
            (row.id, "tok", new_id("fam", bytes([1]) * 16)),
            ("key_x", "tok", None),
        ):
            with pytest.raises(CredentialInvalid):
                await of_token(s, who, jti, family)
    async with catalog.write(tenants.a) as s:
        await sessions.revoke(s, FAMILY, NOW)
        with pytest.raises(CredentialInvalid):
            await of_token(s, row.id, "tok", FAMILY)
        await of_token(s, row.id, "tok")


@pytest.mark.promise("P5")
async def test_an_unknown_a_wrong_and_a_revoked_key_cost_the_same_work(
    catalog: Catalog, tenants: Tenants, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with catalog.write(tenants.a) as s:
        good, mac = await key(s)
        twice, _ = await key(s)
        await reroll_key(s, twice, pepper=PEPPER, now=NOW, grace_ms=1_000)
        gone, gone_mac = await key(s)
        await principals.revoke(s, gone.id, NOW)
    done = []
    async with catalog.read(tenants.a) as s:
        for who, shown in (
            ("key_nobody", mac),
            (good.id, bytes(32)),
            (good.id, gone_mac),
            (twice.id, mac),
            (gone.id, gone_mac),
        ):
            with watched(monkeypatch) as work, pytest.raises(CredentialInvalid):
                await of_key(s, who, shown, NOW)
            done.append(work.done)
        with watched(monkeypatch) as work:
            await of_key(s, good.id, mac, NOW)
        done.append(work.done)  # nor does a right one look different from outside
    assert done == [done[0]] * 6
    assert done[0][1] == 2


async def test_a_suspended_tenant_is_told_to_the_holder_of_a_genuine_key_alone(
    catalog: Catalog, tenants: Tenants
) -> None:
    async with catalog.write(tenants.a) as s:
        row, mac = await key(s)
    async with catalog.directory(write=True) as d:
        await table.set_state(d, tenants.a, table.SUSPENDED)
    async with catalog.read(tenants.a) as s:
        with pytest.raises(TenantSuspended):
            await of_key(s, row.id, mac, NOW)
        with pytest.raises(TenantSuspended):
            await of_token(s, row.id, "tok")
        with pytest.raises(CredentialInvalid):
            await of_key(s, row.id, bytes(32), NOW)


async def test_after_a_reroll_both_secrets_count_and_after_the_grace_the_new_one_alone(
    catalog: Catalog, tenants: Tenants, beneath: Beneath
) -> None:
    async with catalog.write(tenants.a) as s:
        row, old = await key(s, grants={PROJECT: Role.READ})
        row, text = await reroll_key(s, row, pepper=PEPPER, now=NOW, grace_ms=1_000)
    new = key_mac(PEPPER, text)
    assert parse_key(text) == (tenants.a, row.id)
    assert await principals_row(catalog, tenants, row) == row
    async with catalog.read(tenants.a) as s:
        assert (await of_key(s, row.id, new, NOW + 10**9)).principal.expires is None
        assert (await of_key(s, row.id, old, NOW + 999)).principal.expires == NOW + 1_000
        with pytest.raises(CredentialExpired, match="replaced"):
            await of_key(s, row.id, old, NOW + 1_000)
        for mac in (old, new):
            assert (await principals.holder(s, row.id, mac)) is not None
    assert text.rsplit("_", 1)[1] not in repr(await beneath("SELECT * FROM principal"))


@pytest.mark.parametrize(
    ("ends", "grace", "now", "expires", "old_ends", "new_ends"),
    [
        (None, 0, NOW, None, "gone", None),
        (NOW + 10, 100, NOW, None, NOW + 10, NOW + 10),  # never longer than it would have
        (NOW + 10, 5, NOW, NOW + 99, NOW + 5, NOW + 99),
        (NOW + 10, 100, NOW, NOW + 99, NOW + 10, NOW + 99),
        (NOW + 10, 100, NOW + 10, NOW + 99, "gone", NOW + 99),  # ended before: a reroll does not wake it
    ],
)
async def test_a_replaced_secret_ends_with_the_grace_or_when_it_would_have(
    catalog: Catalog,
    tenants: Tenants,
    ends: int | None,
    grace: int,
    now: int,
    expires: int | None,
    old_ends: int | str,
    new_ends: int | None,
) -> None:
    async with catalog.write(tenants.a) as s:
        row, old = await key(s, expires=ends)
        row, text = await reroll_key(s, row, pepper=PEPPER, now=now, grace_ms=grace, expires=expires)
        assert (await of_key(s, row.id, key_mac(PEPPER, text), NOW)).principal.expires == new_ends
        try:
            found: int | str | None = (await of_key(s, row.id, old, NOW)).principal.expires
        except SignInNeeded:
            found = "gone"
    assert found == old_ends


async def test_a_second_reroll_ends_the_first_secret_at_once(catalog: Catalog, tenants: Tenants) -> None:
    async with catalog.write(tenants.a) as s:
        row, first = await key(s)
        row, second = await reroll_key(s, row, pepper=PEPPER, now=NOW, grace_ms=1_000)
        row, _ = await reroll_key(s, row, pepper=PEPPER, now=NOW, grace_ms=1_000)
        await of_key(s, row.id, key_mac(PEPPER, second), NOW)
        with pytest.raises(CredentialInvalid):
            await of_key(s, row.id, first, NOW)


async def test_a_second_reroll_ends_the_tokens_of_the_first_secret(catalog: Catalog, tenants: Tenants) -> None:
    soon = NOW + 5_000
    async with catalog.write(tenants.a) as s:
        row, _ = await key(s)
        row, _ = await reroll_key(s, row, pepper=PEPPER, now=NOW, grace_ms=60_000)
        await of_token(s, row.id, "tok", issued=NOW)
        row, _ = await reroll_key(s, row, pepper=PEPPER, now=soon, grace_ms=60_000)
        with pytest.raises(CredentialInvalid):
            await of_token(s, row.id, "tok", issued=NOW)
        await of_token(s, row.id, "new", issued=soon + 1_000)
        row, _ = await reroll_key(s, row, pepper=PEPPER, now=soon + 120_000, grace_ms=60_000)
        await of_token(s, row.id, "new", issued=soon + 1_000)  # the grace before was over: there are two secrets


async def test_the_last_use_is_kept_and_never_put_back(catalog: Catalog, tenants: Tenants) -> None:
    async with catalog.write(tenants.a) as s:
        row, mac = await key(s)
        for at in (5, 9, 7):
            await principals.note_used(s, row.id, at)
        assert (await of_key(s, row.id, mac, NOW)).used == 9
    assert (await principals_row(catalog, tenants, row)).used == 9


async def principals_row(catalog: Catalog, tenants: Tenants, row: PrincipalRow) -> PrincipalRow:
    async with catalog.read(tenants.a) as s:
        found = await principals.get(s, row.id)
    assert found is not None
    return found
