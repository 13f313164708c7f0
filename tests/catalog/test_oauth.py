"""Clients that registered, codes, devices and browsers, as the catalog keeps them."""

from __future__ import annotations

import pytest

from satchel.auth.roles import Role, TenantRole
from satchel.catalog import browsers, members, oauth
from satchel.catalog.oauth import APPROVED, DEVICE_INTERVAL_MS, DEVICE_LIFETIME_MS, PENDING, USED, ClientRow, CodeRow
from satchel.catalog.scope import Catalog
from satchel.objects.ids import PrincipalId
from tests.catalog.make import NOW, Tenants

pytestmark = pytest.mark.anyio
ANN = PrincipalId("mem_ann")
HOUR = 3_600_000


def client(name: str, created: int = NOW) -> ClientRow:
    return ClientRow(name, name.title(), ("http://127.0.0.1/cb", "app:x"), created, None)


async def test_clients_make_room_unused_and_old_first_and_end_when_nobody_uses_them(catalog: Catalog) -> None:
    async with catalog.directory(write=True) as d:
        for row in (client("used", NOW - 4), client("old", NOW - 3), client("young", NOW - 1)):
            assert await oauth.add_client(d, row, most=3, spare_ms=2)
        await oauth.touch_client(d, "used", NOW, HOUR)
        assert await oauth.client(d, "used") == client("used", NOW - 4)._replace(used=NOW)
        assert await oauth.add_client(d, client("fourth"), most=3, spare_ms=2)
        assert await oauth.client(d, "old") is None  # the oldest that nobody allowed anything
        assert not await oauth.add_client(d, client("fifth"), most=3, spare_ms=2)  # the others are young or in use
        assert await oauth.expire_clients(d, unused_since=NOW, idle_since=NOW) == 1
        assert await oauth.client(d, "young") is None
        assert await oauth.expire_clients(d, unused_since=0, idle_since=NOW + 1) == 1
        assert await oauth.client(d, "used") is None


async def test_a_code_is_taken_once_and_known_again(catalog: Catalog, tenants: Tenants) -> None:
    async with catalog.directory(write=True) as d:
        ann = await members.create_person(d, id="psn_ann", email="ann@x.org", name="Ann", password=None, now=NOW)
    row = CodeRow("cod_1", ANN, "cli_1", "app:x", "challenge", Role.WRITE, "https://x.org/mcp", NOW + 60_000)
    async with catalog.write(tenants.a) as s:
        await members.add(s, id=ANN, who=ann, role=TenantRole.MEMBER, now=NOW)
        await oauth.add_code(s, row, b"m" * 32, NOW)
        assert await oauth.take_code(s, "cod_1", b"n" * 32, NOW) is None
        assert await oauth.take_code(s, "cod_1", b"m" * 32, NOW) == row
        await oauth.tie_code(s, "cod_1", "fam_1")
        again = await oauth.take_code(s, "cod_1", b"m" * 32, NOW + 5)
        assert again == row._replace(used=NOW, family="fam_1")
    async with catalog.write(tenants.b) as s:
        assert await oauth.take_code(s, "cod_1", b"m" * 32, NOW) is None
    async with catalog.write(tenants.a) as s:
        await oauth.add_code(s, row._replace(id="cod_2"), b"k" * 32, NOW + oauth.CODE_KEPT_MS + 60_001)
        assert await oauth.take_code(s, "cod_1", b"m" * 32, NOW) is None  # forgotten a day after its time


async def test_a_device_is_slowed_down_decided_once_and_taken_once(catalog: Catalog, tenants: Tenants) -> None:
    device, user = b"d" * 32, b"u" * 32
    async with catalog.directory(write=True) as d:
        begin = {"client_id": "cli_1", "scope": Role.READ, "audience": "https://x.org", "now": NOW, "most": 1}
        assert await oauth.start_device(d, device_mac=device, user_mac=user, **begin)  # type: ignore[arg-type]
        assert not await oauth.start_device(d, device_mac=b"e" * 32, user_mac=b"v" * 32, **begin)  # type: ignore[arg-type]
        states = []
        for at in (0, 1, 2, 20_000):
            found = await oauth.poll_device(d, device, NOW + at)
            assert found is not None
            states.append((found[0].state, found[1], found[0].interval_ms // 1000))
        assert states == [(PENDING, False, 5), (PENDING, True, 5), (PENDING, True, 10), (PENDING, False, 15)]
        late = NOW + DEVICE_LIFETIME_MS
        assert await oauth.device_of(d, user, late) is None
        assert not await oauth.decide_device(d, user, late, tenant=tenants.a, principal_id=ANN)
        assert await oauth.decide_device(d, user, NOW, tenant=tenants.a, principal_id=ANN)
        assert not await oauth.decide_device(d, user, NOW)
        assert await oauth.device_of(d, user, NOW) is None
        for at, expected in ((4, APPROVED), (8, USED)):
            found = await oauth.poll_device(d, device, NOW + 20_000 + at * DEVICE_INTERVAL_MS)
            assert found is not None
            assert (found[0].state, found[1]) == (expected, False)
        assert await oauth.poll_device(d, b"unknown" + bytes(25), NOW) is None


async def test_a_browser_is_signed_in_for_half_an_hour_and_in_one_tenant(catalog: Catalog, tenants: Tenants) -> None:
    async with catalog.directory(write=True) as d:
        ann = await members.create_person(d, id="psn_ann", email="ann@x.org", name="Ann", password=None, now=NOW)
        for mac in (b"1" * 32, b"2" * 32, b"3" * 32):
            await browsers.start(d, mac, ann.id, None, NOW)
        await browsers.choose(d, b"1" * 32, tenants.a)
        found = await browsers.find(d, b"1" * 32, NOW)
        assert found is not None
        assert (found.email, found.tenant) == ("ann@x.org", tenants.a)
        assert await browsers.find(d, b"1" * 32, NOW + browsers.LIFETIME_MS) is None
        await browsers.end(d, b"1" * 32)
        assert await browsers.find(d, b"1" * 32, NOW) is None
        assert await browsers.find(d, b"2" * 32, NOW) is not None
        await browsers.end_all(d, ann.id)
        assert await browsers.find(d, b"2" * 32, NOW) is None
