"""The audit: what is written into it by requests, and what is not."""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from satchel.auth.keys import make_key
from satchel.catalog.scope import CatalogUnavailable, Scope
from satchel.server import auditing
from satchel.server import denials as denials_module
from satchel.server.denials import MAX_PER_MINUTE
from satchel.upkeep.audited import examine_audit
from satchel.upkeep.auditing import Sealer, anchor_name
from tests.server.running import Client, Running, serving, until

PASSWORD = "a long enough password"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    with serving(tmp_path_factory.mktemp("audited") / "data") as running:
        yield running


def rows(owner: Client, **wanted: object) -> list[dict[str, Any]]:
    answer = owner.get("/tenant/audit", None, limit=1000, **wanted)
    found: list[dict[str, Any]] = answer.ok()["items"]
    return found


def denials(server: Running, owner: Client) -> list[tuple[str | None, str, str]]:
    server.run(server.cloud.denials.flush())
    return [(row["name"], row["target"], row["result"]) for row in rows(owner) if row["action"] == "access.denied"]


def reader_of(owner: Client, server: Running, **given: object) -> Client:
    return server.client(owner.post("/keys", {"name": "bot", **given}).ok()["key"])


def test_absent_forbidden_and_foreign_projects_are_noted_alike_and_told_apart_in_the_audit_alone(
    server: Running, new_tenant: Callable[[], Client]
) -> None:
    ours, theirs = new_tenant(), new_tenant()
    hidden = ours.post("/projects", {"slug": "hidden"}).ok()["id"]
    shown = ours.post("/projects", {"slug": "shown"}).ok()["id"]
    foreign = theirs.post("/projects", {"slug": "foreign"}).ok()["id"]
    bot = reader_of(ours, server, projects=[{"project": shown, "role": "read"}])
    answers = [bot.get(f"/projects/{ref}/context").json for ref in (hidden, "absent", foreign)]
    assert len({(answer["code"], answer["detail"]) for answer in answers}) == 1
    assert denials(server, ours) == [
        ("bot", f"GET /api/v1/projects/{foreign}/context", "project.not_found"),
        ("bot", "GET /api/v1/projects/absent/context", "project.not_found"),
        ("bot", f"GET /api/v1/projects/{hidden}/context", "project.denied"),
    ]
    assert denials(server, theirs) == []


def sealer_of(server: Running) -> Sealer:
    own = server.run(server.cloud.keyring.installation())
    return Sealer(server.cloud.catalog, server.cloud.store, own, server.cloud.clock, server.cloud.random)


def test_what_a_running_server_writes_is_under_a_seal_within_seconds(
    server: Running, new_tenant: Callable[[], Client]
) -> None:
    owner = new_tenant()
    owner.post("/projects", {"slug": "notes"}).ok()
    tenant, sealer = owner.get("/tenant").ok()["id"], sealer_of(server)

    def all_sealed() -> bool:
        report = server.run(examine_audit(sealer, tenant))
        assert not report.problems
        return report.rows > 0 and report.unsealed == 0

    until(all_sealed, 20)


def test_a_server_that_stops_writes_seals_and_anchors_what_there_is(tmp_path: Path) -> None:
    with serving(tmp_path / "data") as running:
        owner = running.tenant("acme")
        tenant = owner.get("/tenant").ok()["id"]
        owner.post("/projects", {"slug": "notes"}).ok()
        owner.get("/projects/absent")
    with serving(tmp_path / "data") as running:
        again, sealer = running.client(owner.key), sealer_of(running)
        assert "access.denied" in {row["action"] for row in rows(again)}
        anchor = running.run(sealer.anchored(tenant))
        assert anchor is not None
        assert anchor.sequence == 2


@pytest.mark.promise("P6")
def test_what_a_killed_server_had_sealed_and_not_anchored_the_next_one_anchors(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def nothing(_: auditing.Keeper) -> None:
        pass

    with serving(tmp_path / "data") as running, monkeypatch.context() as killed:
        killed.setattr(auditing.Keeper, "last", nothing)
        owner = running.tenant("acme")
        tenant = owner.get("/tenant").ok()["id"]
        owner.post("/projects", {"slug": "notes"}).ok()
        sealer = sealer_of(running)
        until(lambda: running.run(examine_audit(sealer, tenant)).seals == 1, 60)
        running.stop()
        assert asyncio.run(sealer.anchored(tenant)) is None
    with serving(tmp_path / "data") as running:
        sealer = sealer_of(running)
        until(lambda: running.run(sealer.anchored(tenant)) is not None, 60)


def test_the_anchor_of_a_tenant_that_was_destroyed_meanwhile_alarms_nobody(
    server: Running, new_tenant: Callable[[], Client]
) -> None:
    owner = new_tenant()
    owner.post("/projects", {"slug": "notes"}).ok()
    tenant, sealer = owner.get("/tenant").ok()["id"], sealer_of(server)
    server.run(sealer.seal(tenant))
    server.run(sealer.anchor(tenant))
    anchor = server.run(server.cloud.store.get(anchor_name(tenant)))
    server.admin.send("DELETE", f"/admin/tenants/{tenant}?now=true").ok()
    server.run(server.cloud.store.put(anchor_name(tenant), anchor))  # as if it were yet to be removed
    keeper = auditing.Keeper(server.cloud)
    keeper._unanchored[tenant] = 0
    server.run(keeper._anchor(0))
    assert (keeper._unanchored, keeper._broken) == ({}, set())


@pytest.mark.promise("P5")
@pytest.mark.parametrize("how", ["refused", "never answered"])
def test_a_tenant_that_cannot_be_written_for_keeps_no_other_from_its_audit(
    server: Running, new_tenant: Callable[[], Client], monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    stuck, other = new_tenant(), new_tenant()
    kept_out = stuck.get("/tenant").ok()["id"]
    real = server.cloud.catalog.write

    @asynccontextmanager
    async def write(tenant: str) -> AsyncIterator[Scope]:
        if tenant == kept_out:
            if how == "refused":
                raise CatalogUnavailable("too many writers wait for their turn")
            await asyncio.Event().wait()
        async with real(tenant) as s:
            yield s

    monkeypatch.setattr(auditing, "TENANT_SECONDS", 0.5)  # enough for those that are not kept out
    monkeypatch.setattr(denials_module, "WRITE_SECONDS", 0.5)
    stuck.post("/projects", {"slug": "unsealed"}).ok()
    monkeypatch.setattr(server.cloud.catalog, "write", write)
    for who in (stuck, other):
        who.get("/projects/absent")
    tenant, sealer = other.get("/tenant").ok()["id"], sealer_of(server)

    def noted_and_sealed() -> bool:
        report = server.run(examine_audit(sealer, tenant))
        return report.unsealed == 0 and "access.denied" in {row["action"] for row in rows(other)}

    until(noted_and_sealed, 60)
    assert "access.denied" not in {row["action"] for row in rows(stuck)}
    monkeypatch.undo()
    until(lambda: "access.denied" in {row["action"] for row in rows(stuck)}, 60)


def test_a_project_that_is_made_between_the_refusal_and_its_note_was_absent(
    server: Running, new_tenant: Callable[[], Client]
) -> None:
    owner = new_tenant()
    owner.post("/projects", {"slug": "shown"}).ok()
    bot = reader_of(owner, server, projects=[{"project": "shown", "role": "read"}])
    for asking in (owner, bot):
        assert asking.get("/projects/coming").code == "project.not_found"
    owner.post("/projects", {"slug": "coming"}).ok()
    assert {result for _, _, result in denials(server, owner)} == {"project.not_found"}


def test_an_insufficient_role_and_an_operators_address_are_noted_with_what_was_missing(
    server: Running, new_tenant: Callable[[], Client]
) -> None:
    owner = new_tenant()
    project = owner.post("/projects", {"slug": "notes"}).ok()["id"]
    bot = reader_of(owner, server, projects=[{"project": project, "role": "read"}])
    assert bot.send("PATCH", f"/projects/{project}", {"description": "x"}).code == "auth.insufficient_scope"
    assert bot.get("/admin/tenants").code == "resource.not_found"
    assert bot.get("/tenant/audit").code == "auth.insufficient_scope"
    assert denials(server, owner) == [
        ("bot", "GET /api/v1/tenant/audit", "auth.insufficient_scope"),
        ("bot", "GET /api/v1/admin/tenants", "operator.denied"),
        ("bot", f"PATCH /api/v1/projects/{project}", "auth.insufficient_scope"),
    ]


def test_what_a_tool_refuses_is_noted_as_what_an_address_refuses(
    server: Running, new_tenant: Callable[[], Client]
) -> None:
    owner = new_tenant()
    owner.post("/projects", {"slug": "hidden"}).ok()
    owner.post("/projects", {"slug": "shown"}).ok()
    bot = reader_of(owner, server, projects=[{"project": "shown", "role": "read"}])
    for project in ("hidden", "absent"):
        asked = {"name": "history", "arguments": {"project": project}}
        headers = {"accept": "application/json, text/event-stream", "mcp-protocol-version": "2025-06-18"}
        body = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": asked}
        assert "project.not_found" in str(bot.post("/mcp", body, headers).ok())
    assert denials(server, owner) == [
        ("bot", "POST /mcp", "project.not_found"),
        ("bot", "POST /mcp", "project.denied"),
    ]


def test_a_search_over_named_projects_notes_those_that_cannot_be_shown(
    server: Running, new_tenant: Callable[[], Client]
) -> None:
    owner = new_tenant()
    owner.post("/projects", {"slug": "hidden"}).ok()
    owner.post("/projects", {"slug": "shown"}).ok()
    bot = reader_of(owner, server, projects=[{"project": "shown", "role": "read"}])
    assert bot.get("/search", q="x", project="hidden").code == "project.not_found"
    assert denials(server, owner) == [("bot", "GET /api/v1/search", "project.denied")]


def test_a_revoked_key_that_is_used_again_is_noted_and_a_forged_one_is_not(
    server: Running, new_tenant: Callable[[], Client]
) -> None:
    owner = new_tenant()
    made = owner.post("/keys", {"name": "lost", "role": "read"}).ok()
    owner.send("DELETE", f"/keys/{made['id']}").ok()
    lost = server.client(made["key"])
    assert lost.get("/projects").code == "auth.invalid"
    assert lost.post("/auth/token", {"apiKey": made["key"]}).code == "auth.invalid"
    other = make_key(owner.get("/tenant").ok()["id"], made["id"], b"x" * 32)
    assert server.client(other).get("/projects").code == "auth.invalid"
    server.run(server.cloud.denials.flush())
    found = [(row["name"], row["target"], row["result"]) for row in rows(owner) if row["action"] == "key.refused"]
    assert found == [
        ("lost", "POST /api/v1/auth/token", "auth.invalid"),
        ("lost", "GET /api/v1/projects", "auth.invalid"),
    ]


def test_a_failed_sign_in_is_noted_in_the_persons_own_tenant_and_names_nobody_as_who_did_it(
    server: Running, new_tenant: Callable[[], Client]
) -> None:
    owner, other = new_tenant(), new_tenant()
    person = {"email": "ann@audit.example", "name": "Ann", "password": PASSWORD}
    member = owner.post("/members", person).ok()["id"]
    for email in ("ann@audit.example", "nobody@audit.example", "no address"):
        tried = server.client().post("/auth/token", {"email": email, "password": "a wrong password"})
        assert tried.code == "auth.invalid"
    server.run(server.cloud.denials.flush())
    tried_on = [row for row in rows(owner) if row["action"] == "session.start"]
    assert [(row["principal"], row["target"], row["result"]) for row in tried_on] == [(None, member, "auth.invalid")]
    assert tried_on[0]["address"] == "127.0.0.1"
    assert [row for row in rows(other) if row["action"] == "session.start"] == []


def test_requests_without_a_credential_of_a_tenant_are_nobodys_to_read(
    server: Running, new_tenant: Callable[[], Client]
) -> None:
    owner = new_tenant()
    before = len(rows(owner))
    for credential in (None, "nonsense", "stl_live_x", "eyJhbGciOiJFUzI1NiJ9.e30.x"):
        assert server.client(credential).get("/projects").status == 401
    server.run(server.cloud.denials.flush())
    assert len(rows(owner)) == before


def test_a_principals_notes_are_bounded_by_the_minute_and_those_beyond_are_counted(
    server: Running, new_tenant: Callable[[], Client], monkeypatch: pytest.MonkeyPatch
) -> None:
    owner = new_tenant()
    for n in range(MAX_PER_MINUTE + 7):
        owner.get(f"/projects/absent-{n}")
    assert len(denials(server, owner)) == MAX_PER_MINUTE
    later = server.cloud.clock() + 61_000
    monkeypatch.setattr(server.cloud.denials, "_clock", lambda: later)
    assert ("admin", "7 denials not recorded", "not_recorded") in denials(server, owner)


def test_the_list_is_filtered_by_action_member_result_and_time_and_pages(
    server: Running, new_tenant: Callable[[], Client]
) -> None:
    owner = new_tenant()
    made = [owner.post("/keys", {"name": f"k{n}", "role": "read"}).ok() for n in range(3)]
    bot = server.client(owner.post("/keys", {"name": "bot", "tenantRole": "admin"}).ok()["key"])
    bot.send("DELETE", f"/keys/{made[0]['id']}").ok()
    assert [row["action"] for row in rows(owner, action="key.")] == ["key.revoke", *["key.create"] * 4]
    assert [row["target"] for row in rows(owner, action="key.revoke")] == [made[0]["id"]]
    (revoked,) = rows(owner, principal=bot.get("/auth/whoami").ok()["principal"]["id"])
    assert rows(owner, result="done", action="key.revoke") == [revoked]
    assert rows(owner, result="auth.invalid") == []
    every = rows(owner)
    assert rows(owner, since=every[1]["time"])[:2] == every[:2]
    assert every[0] not in rows(owner, until=every[0]["time"])
    assert rows(owner, since="2100-01-01T00:00:00Z") == []
    page = owner.get("/tenant/audit", limit=2, action="key.create").ok()
    rest = owner.get("/tenant/audit", limit=2, action="key.create", cursor=page["next"]).ok()
    assert [row["target"] for row in page["items"] + rest["items"]][1:] == [key["id"] for key in reversed(made)]
    for wrong in ("yesterday", "2027-01-01T00:00:00", "2027-13-01T00:00:00Z"):
        assert owner.get("/tenant/audit", since=wrong).code == "request.invalid"


def test_the_export_has_every_row_in_order_with_its_seals_and_says_where_it_ends(
    server: Running, new_tenant: Callable[[], Client]
) -> None:
    owner = new_tenant()
    for n in range(3):
        owner.post("/projects", {"slug": f"p{n}"}).ok()
    server.run(sealer_of(server).seal(owner.get("/tenant").ok()["id"]))
    body = owner.get("/tenant/audit/export").body
    lines = [json.loads(line) for line in body.splitlines()]
    told = [line for line in lines if "action" in line]
    assert [row["sequence"] for row in told] == [1, 2, 3, 4]
    assert [row["action"] for row in told] == [*["project.create"] * 3, "audit.export"]
    assert any("seal" in line and line["seal"]["sequence"] == 3 for line in lines)
    sha256 = hashlib.sha256(body[: body.rindex(b'{"end"')]).hexdigest()
    assert lines[-1] == {"end": {"rows": 4, "last": 4, "sha256": sha256}}
    following = owner.get("/tenant/audit/export", after=4).body.splitlines()
    assert [json.loads(line).get("sequence") for line in following if b"action" in line] == [5]


def test_an_address_that_a_trusted_proxy_names_is_the_one_in_the_audit(tmp_path: Path) -> None:
    with serving(tmp_path / "data", trusted_proxies="127.0.0.0/8") as running:
        owner = running.tenant("acme")
        owner.post("/projects", {"slug": "notes"}, {"x-forwarded-for": "10.9.8.7, 203.0.113.9"}).ok()
        assert rows(owner)[0]["address"] == "203.0.113.9"


@pytest.mark.promise("P8")
def test_a_number_that_no_catalog_can_hold_is_refused_before_anything_is_sent(owner: Client) -> None:
    answer = owner.get("/tenant/audit/export", None, after=2**63)
    assert (answer.status, answer.code) == (422, "request.invalid")
