"""What requests keep in memory is bounded in bytes, for each tenant and for all."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from contextlib import closing

import pytest

from satchel.objects.ids import TenantId
from satchel.server import turns
from satchel.server.weights import LIGHT_BYTES, Weight, Weights
from satchel.sync.wire import LIKELY_CHANGE_BYTES, MAGIC, MEDIA_TYPE
from tests.server.running import Client, Running, until

pytestmark = pytest.mark.promise("P8")
NOISY, QUIET, THIRD = TenantId("ten_noisy"), TenantId("ten_quiet"), TenantId("ten_third")


async def settled() -> None:
    for _ in range(10):
        await asyncio.sleep(0)


class House:
    """Ten bytes of one tenant, twenty in all; who waits, and what each keeps."""

    def __init__(self) -> None:
        self.weights = Weights(10, 20)
        self.tasks: list[asyncio.Task[None]] = []

    async def take(self, tenant: TenantId, total: int, weight: Weight | None = None) -> Weight:
        weight = weight or Weight(self.weights, tenant)
        self.tasks.append(asyncio.create_task(self.weights.take(weight, total)))
        await settled()
        return weight


@pytest.mark.anyio
async def test_who_would_keep_too_much_waits_for_its_own_tenant_alone() -> None:
    house = House()
    first = await house.take(NOISY, 6)
    second = await house.take(NOISY, 5)
    third = await house.take(NOISY, 1)  # begins later, and waits behind
    quiet = await house.take(QUIET, 10)
    assert (first.held, second.held, third.held, quiet.held) == (6, 0, 0, 10)
    await house.take(NOISY, 9, first)  # who keeps something already goes on
    assert first.held == 9
    first.end()
    await settled()
    assert (second.held, third.held, house.weights.waiting) == (5, 1, 0)


@pytest.mark.anyio
async def test_all_tenants_together_keep_no_more_than_there_is() -> None:
    house = House()
    kept = [await house.take(TenantId(f"ten_{number}"), 8) for number in range(3)]
    assert [each.held for each in kept] == [8, 8, 0]
    kept[0].end()
    await settled()
    assert [each.held for each in kept] == [0, 8, 8]


@pytest.mark.anyio
async def test_one_that_is_too_much_for_a_tenant_is_alone_there_and_alone_of_its_kind() -> None:
    house = House()
    small = await house.take(NOISY, 2)
    large = await house.take(NOISY, 50)
    assert large.held == 0
    small.end()
    await settled()
    assert large.held == 50
    other = await house.take(QUIET, 11)
    beside = await house.take(NOISY, 1)
    quiet = await house.take(THIRD, 10)  # the part of one tenant is taken, and no more
    assert (other.held, beside.held, quiet.held) == (0, 0, 10)
    large.end()
    await settled()
    assert (other.held, beside.held) == (11, 0)  # now there is no room in all
    quiet.end()
    await settled()
    assert beside.held == 1


@pytest.mark.anyio
async def test_who_gives_up_waiting_keeps_nobody_waiting() -> None:
    house = House()
    first = await house.take(NOISY, 6)
    await house.take(NOISY, 5)
    third = await house.take(NOISY, 4)
    house.tasks[1].cancel()
    await settled()
    assert third.held == 4
    first.end()
    third.end()
    assert house.weights.held == 0


def test_pushes_of_much_wait_for_each_other_and_are_told_to_come_again(
    server: Running, new_tenant: Callable[[], Client], monkeypatch: pytest.MonkeyPatch
) -> None:
    owner, other = new_tenant(), new_tenant()
    for one in (owner, other):
        one.post("/projects", {"slug": "large"}).ok()
    monkeypatch.setattr(turns, "GROW_SECONDS", 600.0)
    weights = Weights(2 * LIGHT_BYTES, 4 * LIGHT_BYTES)
    monkeypatch.setattr(server.cloud.admission, "weights", weights)
    count = 2 * LIGHT_BYTES // LIKELY_CHANGE_BYTES - 10
    with closing(_begun(server, owner, count)):
        until(lambda: weights.held == count * LIKELY_CHANGE_BYTES, 60)
        with closing(_begun(server, owner, count)):
            until(lambda: weights.waiting == 1, 60)
            owner.put("large", "small.md", b"small").ok()
            with closing(_begun(server, other, count)):
                until(lambda: weights.held == 2 * count * LIKELY_CHANGE_BYTES, 60)
            monkeypatch.setattr(turns, "GROW_SECONDS", 0.0)
            body = b'{"digest": "' + b"0" * (LIGHT_BYTES // 4) + b'"}'
            answer = owner.send("POST", "/projects/large/commits", body, {"content-type": "application/json"})
            assert (answer.status, answer.code, answer.headers["retry-after"]) == (429, "rate.limited", "5")
    until(lambda: weights.held == 0, 60)


def _begun(server: Running, client: Client, count: int) -> socket.socket:
    """A push that has said how many changes it brings, and no more."""
    head = b'{"changes":%d,"digest":"%s","parent":{"digest":"%s","lineage":"lin","version":0}}'
    head %= count, b"0" * 64, b"0" * 64
    lines = ["POST /api/v1/projects/large/sync HTTP/1.1", "host: localhost", f"content-type: {MEDIA_TYPE}"]
    lines += [f"authorization: Bearer {client.key}", "satchel-declared-bytes: 9999", "content-length: 9999", "", ""]
    connection = socket.create_connection(("127.0.0.1", server.settings.port), timeout=20)
    connection.sendall("\r\n".join(lines).encode() + MAGIC + len(head).to_bytes(4, "big") + head)
    return connection
