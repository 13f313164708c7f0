"""The clock of a running server is put right, forward or back: who may come in is let in, and nothing is lost."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from satchel.errors import StoreUnavailable, TooManyRequests
from satchel.objects.ids import TenantId
from satchel.server import guesses, signin
from satchel.server.app import application
from satchel.server.cloud import now_ms
from satchel.server.housekeeping import end_due
from satchel.upkeep.clock import ClockOff
from tests.postgres import Postgres
from tests.server import running
from tests.server.running import Running, serving

HOUR_MS = 3_600_000


class Clock:
    """The machine's, and what somebody turned it by."""

    def __init__(self) -> None:
        self.off = 0

    def __call__(self) -> int:
        return now_ms() + self.off


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    made = Clock()
    monkeypatch.setattr(running, "application", partial(application, clock=made))
    return made


@pytest.fixture
def server(tmp_path: Path, clock: Clock) -> Iterator[Running]:
    with serving(tmp_path / "data") as one:
        yield one


@pytest.mark.parametrize("hours", [26, -26], ids=["forward", "back"])
def test_a_clock_that_jumps_costs_a_new_token_and_nothing_else(server: Running, clock: Clock, hours: int) -> None:
    owner = server.tenant("acme")
    owner.post("/projects", {"slug": "demo"}).ok()
    owner.put("demo", "a.md", b"# A\n\nword\n").ok()
    token = owner.post("/auth/token", {"apiKey": owner.key}).ok()["accessToken"]
    later = ""
    for off in (hours * HOUR_MS, 0):  # and it is put right again
        clock.off = off
        assert owner.get("/projects/demo/artifacts/a.md").body == b"# A\n\nword\n"
        assert len(owner.get("/projects/demo/search", q="word").ok()["hits"]) == 1
        owner.put("demo", f"at-{off}.md", b"# Then\n").ok()
        of_then = owner.post("/auth/token", {"apiKey": owner.key}).ok()["accessToken"]
        assert server.client(of_then).get("/auth/whoami").status == 200
        if off:
            assert server.client(token).get("/auth/whoami").status == 401  # over, or not begun
            later = of_then
    assert server.client(token).get("/auth/whoami").status == 200
    assert server.client(later).get("/auth/whoami").status == 401
    versions = owner.get("/projects/demo/versions").ok()["items"]
    assert [row["version"] for row in versions] == [3, 2, 1]
    assert server.client(None).get("/health/ready").status == 200


def test_a_clock_put_back_keeps_nobody_who_guessed_wrong_out_for_longer(server: Running, clock: Clock) -> None:
    async def guessed() -> tuple[Any, int]:
        for _ in range(guesses.MOST):
            server.cloud.guesses.miss("psn_a")
        for _ in range(signin.MAX_FAILURES):
            async with server.cloud.sign_in.attempt("a@example.org"):
                pass
        clock.off = -HOUR_MS
        with pytest.raises(TooManyRequests) as refused:
            async with server.cloud.sign_in.attempt("a@example.org"):
                pass
        return refused.value.facts["retry_after"], server.cloud.guesses.wait("psn_a")

    told = server.run(guessed())
    assert all(0 < wait <= 10 * 60 for wait in told)


@pytest.mark.promise("P3")
def test_a_node_whose_clock_is_ahead_shreds_no_tenant_before_its_time(server: Running, clock: Clock) -> None:
    owner = server.tenant("acme")
    address = f"/admin/tenants/{owner.get('/tenant').ok()['id']}"
    server.admin.send("DELETE", address).ok()
    clock.off = 30 * 24 * HOUR_MS
    with pytest.raises(ClockOff, match="nothing was deleted"):
        server.run(end_due(server.cloud))
    clock.off = 0
    server.admin.send("PATCH", address, {"suspended": False}).ok()
    assert owner.get("/tenant").ok()["slug"] == "acme"


@pytest.mark.promise("P3")
def test_a_tenant_deleted_by_a_node_whose_clock_is_behind_keeps_its_days_of_grace(
    tmp_path: Path, clock: Clock, postgres: Postgres
) -> None:
    with serving(tmp_path / "data", database_url=postgres.url) as server:
        owner = server.tenant("acme")
        address = f"/admin/tenants/{owner.get('/tenant').ok()['id']}"
        clock.off = -30 * 24 * HOUR_MS
        server.admin.send("DELETE", address).ok()
        clock.off = 0
        server.run(end_due(server.cloud))
        server.admin.send("PATCH", address, {"suspended": False}).ok()
        assert owner.get("/tenant").ok()["slug"] == "acme"


def test_a_node_whose_clock_is_behind_brings_back_no_tenant_that_is_being_shredded(
    tmp_path: Path, clock: Clock, postgres: Postgres, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def away(_tenant: TenantId) -> None:
        raise StoreUnavailable("the store is away")

    with serving(tmp_path / "data", database_url=postgres.url) as server:
        address = f"/admin/tenants/{server.tenant('acme').get('/tenant').ok()['id']}"
        clock.off = -HOUR_MS
        monkeypatch.setattr(server.cloud.keyring, "shred", away)
        assert server.admin.send("DELETE", address + "?now=true").code == "store.unavailable"
        assert server.admin.send("PATCH", address, {"suspended": False}).code == "resource.not_found"
