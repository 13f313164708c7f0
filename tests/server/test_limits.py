"""Requests a minute over HTTP: who is refused, what the answer says, and who does not notice."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from satchel.catalog import quotas
from satchel.catalog.quotas import Limits
from satchel.server import rates
from tests.server.running import Client, Running, serving

pytestmark = pytest.mark.promise("P8")


@pytest.fixture(scope="module")
def strict(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """A server that takes 5 requests a minute from an address without a credential, and 8 from a key."""
    with serving(tmp_path_factory.mktemp("strict") / "data", address_requests=5, key_requests=8) as running:
        yield running


@pytest.fixture(autouse=True)
def the_minute_does_not_end(monkeypatch: pytest.MonkeyPatch) -> None:
    """What one test asks is counted in one window, however long the machine takes for it."""
    middle = time.time_ns() // 1_000_000 // rates.WINDOW_MS * rates.WINDOW_MS + rates.WINDOW_MS // 2
    monkeypatch.setattr(rates, "divmod", lambda _, window: divmod(middle, window), raising=False)


def key_of(owner: Client, server: Running, **asked: object) -> Client:
    return server.client(owner.post("/keys", {"name": "limited", "role": "read", **asked}).ok()["key"])


def test_a_key_over_its_rate_is_told_when_to_come_back(server: Running, owner: Client) -> None:
    limited = key_of(owner, server, requestsPerMinute=3)
    left = [limited.get("/projects").headers["ratelimit"] for _ in range(3)]
    assert [text.split(";")[:2] for text in left] == [['"key"', "r=2"], ['"key"', "r=1"], ['"key"', "r=0"]]
    answer = limited.get("/projects")
    assert (answer.status, answer.code) == (429, "rate.limited")
    wait = int(answer.headers["retry-after"])
    assert 1 <= wait <= 61
    assert answer.headers["ratelimit-policy"] == '"key";q=3;w=60'
    assert answer.headers["ratelimit"] == f'"key";r=0;t={wait}'
    assert (answer.json["limit"], answer.json["per"]) == (3, "key")
    assert owner.get("/projects").status == 200


def test_a_rate_is_judged_before_anything_of_the_request_is_looked_at(server: Running, owner: Client) -> None:
    limited = key_of(owner, server, requestsPerMinute=1)
    limited.get("/projects").ok()
    for answer in (
        limited.get("/projects/absent"),
        limited.get("/projects", nonsense=1),
        limited.post("/projects", b"{"),
        limited.put("absent", "a.md", b"x"),
        limited.post("/mcp", {"jsonrpc": "2.0", "id": 1, "method": "tools/list"}),
    ):
        assert (answer.status, answer.code) == (429, "rate.limited")


def test_tokens_of_a_key_share_its_rate(server: Running, owner: Client) -> None:
    limited = key_of(owner, server, requestsPerMinute=2)
    token = server.client(server.client().post("/auth/token", {"apiKey": limited.key}).ok()["accessToken"])
    assert [who.get("/projects").status for who in (limited, token, token, limited)] == [200, 200, 429, 429]


@pytest.mark.promise("P5")
def test_a_tenant_over_its_rate_leaves_the_others_alone(server: Running, new_tenant: Callable[[], Client]) -> None:
    noisy, quiet = new_tenant(), new_tenant()
    tenant = noisy.get("/tenant").ok()["id"]

    async def limit() -> None:
        async with server.cloud.catalog.write(tenant) as s:
            await quotas.set_limits(s, Limits(requests=4))

    server.run(limit())
    second = key_of(noisy, server)
    answers = [who.get("/projects") for who in (noisy, second, noisy, second)]
    assert [answer.status for answer in answers] == [200, 200, 200, 429]
    assert answers[-1].headers["ratelimit-policy"] == '"tenant";q=4;w=60'
    assert quiet.get("/projects").status == 200
    assert "ratelimit" not in quiet.get("/projects").headers


def test_a_key_without_a_rate_of_its_own_has_the_one_of_the_server(strict: Running) -> None:
    owner = strict.admin
    free = key_of(owner, strict, requestsPerMinute=1_000)
    assert owner.get("/projects").headers["ratelimit-policy"] == '"key";q=8;w=60'
    assert free.get("/projects").headers["ratelimit-policy"] == '"key";q=1000;w=60'


def test_an_address_without_a_credential_that_counts_is_limited_and_those_with_one_are_not(strict: Running) -> None:
    stranger, pretender = strict.client(), strict.client("stl_nonsense")
    codes = [who.get("/projects").code for who in (stranger, pretender, stranger, pretender, stranger)]
    assert codes == ["auth.missing", "auth.invalid"] * 2 + ["auth.missing"]
    for answer in (stranger.get("/projects"), pretender.get("/projects"), stranger.post("/auth/token")):
        assert (answer.status, answer.code, answer.json["per"]) == (429, "rate.limited", "address")
    assert stranger.get("/health/live").status == 200
    assert key_of(strict.admin, strict, requestsPerMinute=9).get("/projects").status == 200


def test_a_credential_that_nobody_looks_at_spares_no_address(tmp_path: Path) -> None:
    with serving(tmp_path / "data", address_requests=3) as running:
        pretender = running.client("stl_nonsense")
        document = pretender.get("/openapi.json").ok()
        pretender.get("/docs")
        assert pretender.post("/auth/token", {"email": "a@example.org", "password": "x" * 12}).code == "auth.invalid"
        public = [
            (method.upper(), path)
            for path, operations in document["paths"].items()
            for method, operation in operations.items()
            if operation.get("security") == [] and "/health" not in path
        ]
        assert len(public) >= 4
        for method, path in [*public, ("GET", "/docs"), ("GET", "/openapi.json"), ("GET", "/docs/errors")]:
            answer = pretender.send(method, path.removeprefix("/api/v1"))
            assert (answer.status, answer.code) == (429, "rate.limited"), path
        assert running.admin.get("/auth/whoami").status == 200


def test_a_credential_at_an_address_where_nothing_is_spares_no_address(tmp_path: Path) -> None:
    with serving(tmp_path / "data", address_requests=3) as running:
        pretender = running.client("stl_nonsense")
        assert [pretender.get("/nothing").status for _ in range(2)] == [404, 404]
        assert pretender.send("PATCH", "/search").status == 405
        for answer in (pretender.get("/nothing"), pretender.send("PATCH", "/search"), pretender.post("/mcp//")):
            assert (answer.status, answer.code) == (429, "rate.limited")
        assert running.admin.get("/auth/whoami").status == 200


def test_a_suspended_tenant_asks_no_more_often_than_a_stranger(tmp_path: Path) -> None:
    with serving(tmp_path / "data", address_requests=3) as running:
        held = running.tenant("held")
        tenant = held.get("/tenant").ok()["id"]
        running.admin.send("PATCH", f"/admin/tenants/{tenant}", {"suspended": True}).ok()
        assert [held.get("/projects").status for _ in range(5)] == [403, 403, 403, 429, 429]
        assert running.admin.get("/projects").status == 200


def test_a_rate_is_shown_with_its_key_and_checked(owner: Client) -> None:
    made = owner.post("/keys", {"name": "a", "role": "read", "requestsPerMinute": 60}).ok()
    assert made["requestsPerMinute"] == 60
    shown = {key["id"]: key["requestsPerMinute"] for key in owner.get("/keys").ok()["items"]}
    assert shown[made["id"]] == 60
    assert set(shown.values()) == {60, None}
    for wrong in (0, -1, "60", 2.5, 10**9):
        refused = owner.post("/keys", {"name": "a", "role": "read", "requestsPerMinute": wrong})
        assert refused.code == "request.invalid"
