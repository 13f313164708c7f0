"""The life of a tenant over HTTP: founded, for a while or for good, suspended, deleted, brought back, gone.

A push is cut off by a suspension or a deletion between its first byte and its commit, on either engine.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from satchel.catalog import tenants
from satchel.errors import SatchelError, StoreUnavailable, TenantSuspended
from satchel.objects.ids import TenantId
from satchel.remote import FixedToken, Remote
from satchel.server.housekeeping import end_due
from satchel.sync.peer import Committed
from satchel.sync.run import run
from tests.postgres import Postgres
from tests.server.running import Client, Running, serving, until
from tests.sync.cloud import folder

PLENTY = os.urandom(3 << 20)
"""Sent in several pieces, the last of them long after the first."""


@pytest.fixture(scope="module")
def brief(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """A server whose tenants have no time of grace."""
    with serving(tmp_path_factory.mktemp("brief") / "data", tenant_grace_days=0) as running:
        yield running


@pytest.fixture(params=["SQLite", "PostgreSQL"])
def engine(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Running]:
    settings: dict[str, Any] = {}
    if request.param == "PostgreSQL":
        database: Postgres = request.getfixturevalue("postgres")
        settings["database_url"] = database.url
    with serving(tmp_path / "data", **settings) as running:
        yield running


def _address(client: Client) -> str:
    return f"/admin/tenants/{client.get('/tenant').ok()['id']}"


def _stored(running: Running, tenant: str) -> set[str]:
    async def names() -> set[str]:
        return {stored.name async for stored in running.cloud.store.list(f"tenants/{tenant}/")}

    return running.run(names())


def test_a_deleted_tenant_lets_nobody_in_says_until_when_and_comes_back_untouched(
    server: Running, owner: Client
) -> None:
    owner.post("/projects", {"slug": "acme"}).ok()
    owner.put("acme", "a.md", b"# A\n\nword\n").ok()
    session = owner.post("/auth/token", {"apiKey": owner.key}).ok()["accessToken"]
    before, address = owner.get("/tenant").ok(), _address(owner)
    told = server.admin.send("DELETE", address).ok()
    assert (told["ok"], told["state"], told["keysExpireAt"]) == (True, "deleting", None)
    days = (datetime.fromisoformat(told["deleteAt"]) - datetime.fromisoformat(before["createdAt"])).days
    assert days == server.settings.tenant_grace_days == 7
    for client in (owner, server.client(session)):
        refused = client.get("/projects")
        assert (refused.status, refused.code) == (403, "tenant.suspended")
        assert refused.json["detail"].startswith(f"this tenant is being deleted: until {told['deleteAt'][:10]}")
    assert owner.post("/auth/token", {"apiKey": owner.key}).code == "tenant.suspended"
    assert server.admin.send("DELETE", address).ok() == told  # said again, it is no later
    [row] = [row for row in server.admin.get("/admin/tenants", limit=1000).ok()["items"] if row["id"] == before["id"]]
    assert (row["state"], row["deleteAt"]) == ("deleting", told["deleteAt"])
    server.run(end_due(server.cloud))  # not yet
    server.admin.send("PATCH", address, {"suspended": False}).ok()
    assert owner.get("/tenant").ok() == before
    assert owner.get("/projects/acme/artifacts/a.md").body == b"# A\n\nword\n"
    assert owner.get("/search", q="word").ok()["hits"]
    rows = server.admin.get("/tenant/audit").ok()["items"]
    deeds = [row["action"] for row in rows if row["target"].startswith(before["id"])]
    assert deeds == ["tenant.restore", "tenant.delete", "tenant.create"]


@pytest.mark.promise("P5")
def test_when_its_time_has_come_nothing_of_a_tenant_is_left_but_a_tombstone(brief: Running) -> None:
    owner = brief.tenant("gone")
    owner.post("/projects", {"slug": "acme"}).ok()
    owner.put("acme", "a.md", b"# A\n\nword\n").ok()
    owner.get("/search", q="word").ok()
    tenant, address = owner.get("/tenant").ok()["id"], _address(owner)
    index = brief.settings.data / "cache" / "index" / tenant
    assert index.exists()
    assert brief.admin.send("DELETE", address).ok()["state"] == "deleting"
    brief.run(end_due(brief.cloud))
    assert owner.get("/projects").status == 401
    assert _stored(brief, tenant) == {f"tenants/{tenant}/shredded"}
    until(lambda: not index.exists())
    assert brief.admin.send("DELETE", address).status == 404
    assert brief.admin.send("PATCH", address, {"suspended": False}).status == 404
    rows = brief.admin.get("/tenant/audit").ok()["items"]
    assert (rows[0]["action"], rows[0]["target"]) == ("tenant.shred", f"{tenant} was due")
    brief.tenant("gone")  # the name is free again


def test_a_tenant_whose_time_has_come_is_not_brought_back_though_its_keys_may_be_there_still(brief: Running) -> None:
    address = _address(brief.tenant("due"))
    brief.admin.send("DELETE", address).ok()
    assert brief.admin.send("PATCH", address, {"suspended": False}).code == "resource.not_found"
    assert brief.admin.send("PATCH", address, {"suspended": True}).ok()["state"] == "deleting"


def test_to_suspend_a_tenant_that_is_being_deleted_does_not_end_its_deletion(server: Running, owner: Client) -> None:
    address = _address(owner)
    at = server.admin.send("DELETE", address).ok()["deleteAt"]
    told = server.admin.send("PATCH", address, {"suspended": True}).ok()
    assert (told["state"], told["deleteAt"]) == ("deleting", at)
    assert server.admin.send("PATCH", address, {"suspended": False}).ok()["state"] == "active"


def test_a_tenant_founded_for_a_while_ends_by_itself(brief: Running) -> None:
    wanted = {"slug": "brief", "name": "Brief", "expiresSeconds": 1}
    made = brief.admin.post("/admin/tenants", wanted).ok()
    created, ends = (datetime.fromisoformat(made["tenant"][name]) for name in ("createdAt", "deleteAt"))
    assert (ends - created).total_seconds() == 1
    owner = brief.client(made["adminKey"])

    def gone() -> bool:
        brief.run(end_due(brief.cloud))
        return owner.get("/tenant").status == 401

    until(gone)
    assert _stored(brief, made["tenant"]["id"]) == {f"tenants/{made['tenant']['id']}/shredded"}
    for seconds in (0, -1, 31 * 86_400, "soon"):
        wrong = brief.admin.post("/admin/tenants", {**wanted, "expiresSeconds": seconds})
        assert (wrong.status, wrong.code) == (422, "request.invalid")


class Interrupted(Remote):
    """A way to the server on which ``meanwhile`` happens after the first piece of a push."""

    meanwhile: Callable[[], object]

    def sync(
        self, project: str, stream: Iterable[bytes], declared: int, key: str, *, allowed: Sequence[str] = ()
    ) -> Committed:
        def cut() -> Iterator[bytes]:
            for number, piece in enumerate(stream):
                if number == 1:
                    self.meanwhile()
                yield piece

        return super().sync(project, cut(), declared, key)


def _push(running: Running, owner: Client, root: Path, meanwhile: Callable[[], object]) -> None:
    peer = Interrupted(running.url, FixedToken(owner.key))
    peer.meanwhile = meanwhile
    worktree = folder(root)
    try:
        run(worktree, peer, "acme")
    finally:
        worktree.close()
        peer.close()


@pytest.mark.promise("P4")
@pytest.mark.parametrize("how", ["suspended", "deleted"])
def test_a_push_whose_tenant_is_suspended_meanwhile_is_refused_whole_and_finished_by_the_next_after_it_is_back(
    engine: Running, tmp_path: Path, how: str
) -> None:
    owner = engine.tenant("acme")
    owner.post("/projects", {"slug": "acme"}).ok()
    owner.put("acme", "there.md", b"# There\n").ok()
    tenant, address = owner.get("/tenant").ok()["id"], _address(owner)
    before, stored = owner.get("/projects/acme").ok(), _stored(engine, tenant)
    (tmp_path / "ann").mkdir()
    (tmp_path / "ann" / "plenty.bin").write_bytes(PLENTY)

    def end() -> None:
        if how == "suspended":
            engine.admin.send("PATCH", address, {"suspended": True}).ok()
        else:
            engine.admin.send("DELETE", address).ok()

    with pytest.raises(TenantSuspended, match=how if how == "suspended" else "being deleted"):
        _push(engine, owner, tmp_path / "ann", end)
    engine.admin.send("PATCH", address, {"suspended": False}).ok()
    assert owner.get("/projects/acme").ok() == before
    until(lambda: {name for name in _stored(engine, tenant) - stored if "/packs/" in name} == set())
    _push(engine, owner, tmp_path / "ann", lambda: None)
    assert owner.get("/projects/acme/artifacts/plenty.bin").body == PLENTY
    assert (tmp_path / "ann" / "there.md").read_bytes() == b"# There\n"


def test_a_push_whose_tenant_is_shredded_meanwhile_leaves_nothing_of_it(engine: Running, tmp_path: Path) -> None:
    owner, other = engine.tenant("acme"), engine.tenant("other")
    for client in (owner, other):
        client.post("/projects", {"slug": "acme"}).ok()
    tenant, address = owner.get("/tenant").ok()["id"], _address(owner)
    (tmp_path / "ann").mkdir()
    (tmp_path / "ann" / "plenty.bin").write_bytes(PLENTY)
    with pytest.raises(SatchelError) as refused:
        _push(engine, owner, tmp_path / "ann", lambda: engine.admin.send("DELETE", address + "?now=true").ok())
    assert refused.value.code in ("auth.invalid", "project.not_found", "tenant.shredded")  # all of it has gone
    engine.run(end_due(engine.cloud))
    until(lambda: _stored(engine, tenant) == {f"tenants/{tenant}/shredded"})
    other.put("acme", "a.md", b"# A\n").ok()


@pytest.mark.promise("P5")
@pytest.mark.promise("P6")
def test_a_tenant_deleted_at_once_keeps_no_writer_waiting_for_the_store_and_ends_though_the_store_fails(
    engine: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    owner, cloud, other = engine.tenant("leaving"), engine.cloud, engine.tenant("staying")
    address, staying = _address(owner), TenantId(_address(other).rpartition("/")[2])

    async def away(tenant: TenantId) -> None:
        async with asyncio.timeout(10), cloud.catalog.write(staying) as s:
            await tenants.own(s)  # others write
        raise StoreUnavailable("the store is away")

    with monkeypatch.context() as patch:
        patch.setattr(cloud.keyring, "shred", away)
        assert engine.admin.send("DELETE", address + "?now=true").code == "store.unavailable"
    assert owner.get("/tenant").code == "tenant.suspended"
    assert engine.admin.send("PATCH", address, {"suspended": False}).code == "resource.not_found"
    engine.run(end_due(cloud))
    assert owner.get("/tenant").code == "auth.invalid"
    assert engine.admin.send("DELETE", address + "?now=true").code == "resource.not_found"
    rows = engine.admin.get("/tenant/audit", limit=20).ok()["items"]
    assert [row["action"] for row in rows if row["action"] in ("tenant.shred", "tenant.delete")] == [
        "tenant.shred", "tenant.delete",
    ]  # fmt: skip


@pytest.mark.promise("P6")
def test_a_tenant_is_founded_while_others_write_and_not_at_all_though_the_store_fails(
    engine: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    cloud, staying = engine.cloud, TenantId(_address(engine.tenant("writing")).rpartition("/")[2])

    async def away(tenant: TenantId) -> None:
        async with asyncio.timeout(10), cloud.catalog.write(staying) as s:
            await tenants.own(s)  # others write
        raise StoreUnavailable("the store is away")

    asked, key = {"slug": "new-here", "name": "N"}, {"idempotency-key": "once"}
    with monkeypatch.context() as patch:
        patch.setattr(cloud.keyring, "create", away)
        assert engine.admin.post("/admin/tenants", asked, key).code == "store.unavailable"
    founded = engine.admin.post("/admin/tenants", asked, key).ok(201)
    owner = engine.client(founded["adminKey"])
    owner.post("/projects", {"slug": "acme"}).ok()
    owner.put("acme", "a.md", b"# A\n").ok()
    with monkeypatch.context() as patch:
        patch.setattr(cloud.keyring, "create", away)  # said again it needs no keys
        assert engine.admin.post("/admin/tenants", asked, key).ok(201)["tenant"] == founded["tenant"]
        assert engine.admin.post("/admin/tenants", asked).code == "resource.exists"


def test_two_tenants_may_call_everything_alike(engine: Running) -> None:
    one, two = engine.tenant("one"), engine.tenant("two")
    made = one.post("/projects", {"slug": "acme", "description": "of one"}).ok()
    same = {"slug": "acme", "id": made["id"], "description": "of two"}
    assert two.post("/projects", same).ok()["id"] == made["id"]
    for client, text in ((one, b"# One\n\nalpha\n"), (two, b"# Two\n\nbeta\n")):
        client.put("acme", "docs/same.md", text, **{"idempotency-key": "same"}).ok()
        client.post("/keys", {"name": "same", "role": "read"}).ok()
    for client, text, description in ((one, b"# One\n\nalpha\n", "of one"), (two, b"# Two\n\nbeta\n", "of two")):
        for name in ("acme", made["id"]):
            assert client.get(f"/projects/{name}").ok()["description"] == description
            assert client.get(f"/projects/{name}/artifacts/docs/same.md").body == text
        [hit] = client.get("/search", q="alpha OR beta").ok()["hits"]
        assert hit["title"] == text.split()[1].decode()
        assert [key["name"] for key in client.get("/keys").ok()["items"]].count("same") == 1
    # What one does to its own does not touch the other's.
    one.send("PATCH", "/projects/acme", {"slug": "renamed", "archived": True}).ok()
    assert two.get("/projects/acme").ok()["archived"] is False
    engine.admin.send("DELETE", _address(one) + "?now=true").ok()
    assert two.get("/projects/acme/artifacts/docs/same.md").body == b"# Two\n\nbeta\n"


def test_an_operator_cannot_delete_the_tenant_it_acts_from(server: Running) -> None:
    own = TenantId(server.admin.get("/tenant").ok()["id"])
    for query in ("", "?now=true"):
        answer = server.admin.send("DELETE", f"/admin/tenants/{own}{query}")
        assert (answer.status, answer.code) == (403, "tenant.own")
    assert server.admin.get("/tenant").ok()["state"] == "active"
