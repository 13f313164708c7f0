"""API keys over HTTP: a new secret with a time of grace, and when a key was last used."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator

import pytest

from satchel.catalog.principals import USED_WITHIN_MS
from satchel.server.credentials import Checked
from satchel.server.edge import Exchange
from tests.server.running import Client, Running


@pytest.fixture
def later(server: Running, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[int], None]]:
    """Puts the clock by which credentials are judged forward, and back at the end."""
    inner = server.cloud.authenticator
    clock = inner._clock
    yield lambda ms: monkeypatch.setattr(inner, "_clock", lambda: clock() + ms)
    server.cloud.authenticator.void()


def made(owner: Client, **given: object) -> dict[str, object]:
    found: dict[str, object] = owner.post("/keys", {"name": "k", "role": "read", **given}).ok(201)
    return found


def test_a_rerolled_key_works_with_both_secrets_until_the_grace_is_over(
    server: Running, owner: Client, later: Callable[[int], None]
) -> None:
    key = made(owner, requestsPerMinute=50)
    old = server.client(str(key["key"]))
    old.get("/projects").ok()
    new_row = owner.post(f"/keys/{key['id']}/reroll", {"graceSeconds": 600}).ok()
    assert new_row["key"] != key["key"]
    assert {name: new_row[name] for name in ("id", "name", "role", "requestsPerMinute")} == {
        name: key[name] for name in ("id", "name", "role", "requestsPerMinute")
    }
    new = server.client(new_row["key"])
    token = server.client(server.client().post("/auth/token", {"apiKey": old.key}).ok()["accessToken"])
    assert all(client.get("/projects").status == 200 for client in (old, new, token))
    assert _row(owner, key["id"])["oldSecretUntil"] == new_row["oldSecretUntil"]
    later(600_001)
    gone = old.get("/projects")
    assert (gone.status, gone.code) == (401, "auth.expired")
    assert "replaced" in gone.json["detail"]
    assert new.get("/projects").status == 200


def test_without_grace_the_old_secret_ends_at_once_for_what_is_remembered_too(server: Running, owner: Client) -> None:
    key = made(owner)
    old = server.client(str(key["key"]))
    old.get("/projects").ok()
    new = owner.post(f"/keys/{key['id']}/reroll", {"graceSeconds": 0}).ok()
    assert new["oldSecretUntil"] is None
    assert old.get("/projects").code == "auth.invalid"
    server.client(new["key"]).get("/projects").ok()


def test_tokens_that_were_made_with_a_secret_end_with_it(
    server: Running, owner: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = owner.post("/keys", {"name": "seen", "role": "read"}).ok()

    def token(text: str) -> Client:
        return server.client(server.client().post("/auth/token", {"apiKey": text}).ok()["accessToken"])

    thief = token(key["key"])
    assert thief.get("/projects").status == 200
    waits = owner.post(f"/keys/{key['id']}/reroll", {"graceSeconds": 600}).ok()["key"]
    both = token(key["key"]), token(waits)
    assert [each.get("/projects").status for each in (thief, *both)] == [200] * 3
    new = owner.post(f"/keys/{key['id']}/reroll", {"graceSeconds": 0}).ok()["key"]
    for each in (thief, *both):
        assert each.get("/projects").code == "auth.invalid"
    now = server.cloud.clock() + 1_000  # times in tokens are whole seconds
    monkeypatch.setattr(type(server.cloud), "clock", property(lambda _: lambda: now))
    assert token(new).get("/projects").status == 200
    again = owner.post(f"/keys/{key['id']}/reroll", {"graceSeconds": 0}).ok()["key"]
    assert server.client(again).get("/projects").status == 200


@pytest.mark.parametrize("how", ["reroll", "revoke"])
def test_no_token_is_made_for_a_secret_that_ended_since_it_was_looked_up(
    how: str, server: Running, owner: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = owner.post("/keys", {"name": "seen", "role": "read"}).ok()
    look = server.cloud.authenticator.check_text

    async def slowly(text: str, exchange: Exchange | None = None) -> Checked:
        found = await look(text, exchange)
        if text == key["key"]:
            path, body = f"/keys/{key['id']}", {"graceSeconds": 0}
            sent = ("POST", path + "/reroll", body) if how == "reroll" else ("DELETE", path)
            (await asyncio.to_thread(owner.send, *sent)).ok()
        return found

    monkeypatch.setattr(server.cloud.authenticator, "check_text", slowly)
    assert server.client().post("/auth/token", {"apiKey": key["key"]}).code == "auth.invalid"


@pytest.mark.promise("P7")
def test_a_reroll_sent_twice_is_made_once_and_shows_its_secret_once(server: Running, owner: Client) -> None:
    key, replay = made(owner), {"idempotency-key": "again"}
    first = owner.post(f"/keys/{key['id']}/reroll", {}, replay).ok()
    second = owner.post(f"/keys/{key['id']}/reroll", {}, replay).ok()
    assert second == first | {"key": None}
    server.client(first["key"]).get("/projects").ok()


@pytest.mark.promise("P5")
def test_nobody_gets_a_secret_that_may_do_more_than_they_may(server: Running) -> None:
    admin = server.client(made(server.admin, tenantRole="admin")["key"])  # type: ignore[arg-type]
    operator = server.admin.get("/auth/whoami").ok()["principal"]["id"]
    refused = admin.post(f"/keys/{operator}/reroll", {})
    assert (refused.status, refused.code) == (403, "auth.insufficient_scope")
    lesser = server.run(_operating_admin(server))
    refused = admin.post(f"/keys/{lesser}/reroll", {})
    assert (refused.status, refused.json["needs"]) == (403, "operator")
    for absent in ("key_00000000000000000000000000", "mem_00000000000000000000000000"):
        assert admin.post(f"/keys/{absent}/reroll", {}).code == "resource.not_found"


async def _operating_admin(server: Running) -> str:
    """A key that is an admin of its tenant and an operator."""
    from satchel.auth.roles import TenantRole
    from satchel.catalog import principals
    from satchel.catalog.bootstrap import _INSERT_OPERATOR

    cloud = server.cloud
    async with cloud.catalog.directory() as d:
        from satchel.catalog.tenants import find

        row = await find(d, "default")
    assert row is not None
    async with cloud.catalog.directory(write=True) as d:
        s = d.enter(row.id)
        key, _ = await principals.issue_key(s, pepper=cloud.pepper, name="op", now=1, tenant_role=TenantRole.ADMIN)
        await s.execute(_INSERT_OPERATOR, {"principal_id": key.id})
    return key.id


def test_an_expired_key_is_rerolled_only_with_a_new_end(
    server: Running, owner: Client, later: Callable[[int], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    key = made(owner, expiresIn=60)
    now = server.cloud.clock()
    monkeypatch.setattr(type(server.cloud), "clock", property(lambda _: lambda: now + 61_000))
    assert owner.post(f"/keys/{key['id']}/reroll", {}).code == "request.invalid"
    new = owner.post(f"/keys/{key['id']}/reroll", {"expiresIn": 3_600}).ok()
    later(61_000)
    server.client(new["key"]).get("/projects").ok()
    assert server.client(str(key["key"])).get("/projects").status == 401


def test_a_keys_last_use_is_told_to_the_hour_and_written_off_the_requests_path(server: Running, owner: Client) -> None:
    key = made(owner)
    assert key["lastUsedAt"] is None
    client = server.client(str(key["key"]))
    for _ in range(3):
        client.get("/projects").ok()
    assert _row(owner, key["id"])["lastUsedAt"] is None  # nothing was written by the requests themselves
    server.run(server.cloud.uses.write())
    used = _row(owner, key["id"])["lastUsedAt"]
    assert used.endswith(":00:00Z") or ":00:00." in used
    server.cloud.authenticator.void()
    client.get("/projects").ok()
    assert key["id"] not in {waiting for _, waiting in server.cloud.uses._waiting}


def _row(owner: Client, key: object) -> dict[str, str]:
    return next(row for row in owner.get("/keys").ok()["items"] if row["id"] == key)


def test_a_use_is_noted_again_in_the_next_hour(server: Running, owner: Client, later: Callable[[int], None]) -> None:
    key = made(owner)
    client = server.client(str(key["key"]))
    client.get("/projects").ok()
    server.run(server.cloud.uses.write())
    first = _row(owner, key["id"])["lastUsedAt"]
    later(USED_WITHIN_MS)
    server.cloud.authenticator.void()
    client.get("/projects").ok()
    server.run(server.cloud.uses.write())
    assert _row(owner, key["id"])["lastUsedAt"] > first
