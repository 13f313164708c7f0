"""Every operation that writes leaves its row: the list of operations is taken from the API's own description."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import pytest

from satchel.objects.frame import make_frames
from satchel.objects.ids import Digest, Lineage, ObjectId, object_id
from satchel.objects.listing import Entry, digest
from satchel.objects.pack import encode_frame, encode_pack_end, encode_pack_start
from satchel.server.app import build
from satchel.server.openapi import document
from satchel.sync.wire import Parent, Sent, encode_preamble
from tests.server.running import Answer, Client, Running, serving

PASSWORD = "a long enough password"
SYNC = "application/x-satchel-sync"
READS = {
    "POST /api/v1/projects/{p}/search",
    "POST /api/v1/search",
    "POST /api/v1/projects/{p}/objects/query",
    "POST /api/v1/projects/{p}/objects/read",
    "POST /api/v1/auth/invitation",
}
"""Sent as POST for their bodies; they change nothing."""
ALSO = {"GET /api/v1/tenant/export", "GET /api/v1/tenant/audit/export"}
"""Reads that the audit tells of."""
Step = tuple[str, str, Callable[["World"], Answer]]


class World:
    """A tenant, and what the steps before have made in it."""

    def __init__(self, server: Running) -> None:
        self.server, self.owner = server, server.tenant("acme")
        self.made: dict[str, Any] = {}
        self.tree: dict[str, Entry] = {}

    def head(self) -> Parent:
        row = self.owner.get("/projects/notes").ok()
        return Parent(Lineage(row["lineage"]), row["version"], Digest(row["digest"]))

    def stream(self, path: str | None, data: bytes) -> bytes:
        """What a sync sends, or with no path what is sent ahead of one."""
        name = object_id(data)
        pack = [encode_pack_start(), *map(encode_frame, make_frames([(name, data)])), encode_pack_end(1)]
        if path is None:
            return b"".join([*encode_preamble(None, None, ()), *pack])
        self.tree[path] = Entry("100644", name)
        changes = [Sent(path, self.tree[path], len(data))]
        return b"".join([*encode_preamble(self.head(), digest(self.tree), changes), *pack])

    def send(self, where: str, body: bytes) -> Answer:
        headers = {"content-type": SYNC, "satchel-declared-bytes": str(len(body))}
        return self.owner.send("POST", f"/projects/notes/{where}", body, headers)

    def ahead(self, path: str, data: bytes) -> Answer:
        """Content first, then the commit of it."""
        self.send("packs", self.stream(None, data)).ok()
        parent = self.head()
        self.tree[path] = Entry("100644", ObjectId(object_id(data)))
        changed = {"path": path, "mode": "100644", "object": object_id(data), "size": len(data)}
        body = {"parent": parent._asdict(), "digest": digest(self.tree), "changes": [changed]}
        return self.owner.post("/projects/notes/commits", body)

    def keep(self, name: str, answer: Answer) -> Answer:
        self.made[name] = answer.ok()
        return answer

    def refresh(self, which: str) -> Answer:
        return self.owner.post("/auth/refresh", {"refreshToken": self.made[which]["refreshToken"]})

    def sign_in(self) -> dict[str, str]:
        found: dict[str, str] = self.owner.post("/auth/token", {"email": "ann@example.com", "password": PASSWORD}).ok()
        return found

    def as_joined(self, what: str, body: object) -> Answer:
        return self.server.client(self.made["joined"]["accessToken"]).post(f"/auth/{what}", body)


def _steps() -> Iterator[Step]:
    key = {"name": "bot", "projects": [{"project": "notes", "role": "read"}]}
    person = {"email": "ann@example.com", "name": "Ann", "password": PASSWORD}
    yield "POST /api/v1/projects", "project.create", lambda w: w.owner.post("/projects", {"slug": "notes"})
    yield (
        "PATCH /api/v1/projects/{p}",
        "project.change",
        lambda w: w.owner.send("PATCH", "/projects/notes", {"description": "d"}),
    )
    yield "POST /api/v1/projects/{p}/sync", "sync", lambda w: w.send("sync", w.stream("a.md", b"# A\n"))
    yield "POST /api/v1/projects/{p}/packs", "packs", lambda w: w.send("packs", w.stream(None, b"# B\n"))
    yield "POST /api/v1/projects/{p}/commits", "commit", lambda w: w.ahead("c.md", b"# C\n")
    yield "PUT /api/v1/projects/{p}/artifacts/{path}", "write", lambda w: w.owner.put("notes", "d.md", b"# D\n")
    yield (
        "DELETE /api/v1/projects/{p}/artifacts/{path}",
        "write",
        lambda w: w.owner.send("DELETE", "/projects/notes/artifacts/d.md", None, {"if-match": "*"}),
    )
    yield (
        "POST /api/v1/projects/{p}/context",
        "write",
        lambda w: w.owner.post("/projects/notes/context", {"description": "e"}),
    )
    yield (
        "POST /api/v1/projects/{p}/purge",
        "project.purge",
        lambda w: w.owner.post("/projects/notes/purge", {"paths": ["c.md"]}),
    )
    yield "POST /api/v1/keys", "key.create", lambda w: w.keep("key", w.owner.post("/keys", key))
    yield (
        "POST /api/v1/projects/{p}/grants",
        "grant.give",
        lambda w: w.owner.post("/projects/notes/grants", {"principal": w.made["key"]["id"], "role": "write"}),
    )
    yield (
        "DELETE /api/v1/projects/{p}/grants/{principal}",
        "grant.take",
        lambda w: w.owner.send("DELETE", f"/projects/notes/grants/{w.made['key']['id']}"),
    )
    yield "POST /api/v1/members", "member.add", lambda w: w.keep("member", w.owner.post("/members", person))
    yield (
        "POST /api/v1/auth/token",
        "token.issue",
        lambda w: w.owner.post("/auth/token", {"apiKey": w.made["key"]["key"]}),
    )
    yield (
        "POST /api/v1/auth/token",
        "session.start",
        lambda w: w.keep("session", w.owner.post("/auth/token", {"email": "ann@example.com", "password": PASSWORD})),
    )
    yield (
        "POST /api/v1/auth/refresh",
        "session.refresh",
        lambda w: w.keep("fresh", w.refresh("session")),
    )
    for which in ("session", "fresh", "session"):
        yield "POST /api/v1/auth/refresh", "session.refresh", partial(World.refresh, which=which)
    yield (
        "POST /api/v1/auth/revoke",
        "session.revoke",
        lambda w: w.owner.post("/auth/revoke", {"token": w.sign_in()["accessToken"]}),
    )
    yield (
        "POST /api/v1/projects/{p}/invitations",
        "invitation.create",
        lambda w: w.keep("shared", w.owner.post("/projects/notes/invitations", {"role": "read"})),
    )
    yield (
        "DELETE /api/v1/projects/{p}/invitations/{invitation}",
        "invitation.revoke",
        lambda w: w.owner.send("DELETE", f"/projects/notes/invitations/{w.made['shared']['id']}"),
    )
    yield (
        "POST /api/v1/invitations",
        "invitation.create",
        lambda w: w.keep("invited", w.owner.post("/invitations", {})),
    )
    joining = {"email": "bob@example.com", "password": PASSWORD}
    yield (
        "POST /api/v1/auth/join",
        "invitation.join",
        lambda w: w.keep("joined", w.owner.post("/auth/join", {"invitation": w.made["invited"]["url"], **joining})),
    )
    yield (
        "DELETE /api/v1/invitations/{invitation}",
        "invitation.revoke",
        lambda w: w.owner.send("DELETE", f"/invitations/{w.made['invited']['id']}"),
    )
    yield (
        "POST /api/v1/auth/password",
        "member.change_password",
        lambda w: w.as_joined("password", {"password": PASSWORD, "newPassword": PASSWORD + "s"}),
    )
    yield (
        "PATCH /api/v1/members/{member}",
        "member.role",
        lambda w: w.owner.send("PATCH", f"/members/{w.made['member']['id']}", {"tenantRole": "admin"}),
    )
    yield (
        "POST /api/v1/members/{member}/password",
        "member.reset_password",
        lambda w: w.owner.post(f"/members/{w.made['member']['id']}/password", {"password": PASSWORD}),
    )
    yield "POST /api/v1/auth/leave", "member.leave", lambda w: w.as_joined("leave", {})
    yield (
        "DELETE /api/v1/members/{member}",
        "member.remove",
        lambda w: w.owner.send("DELETE", f"/members/{w.made['member']['id']}"),
    )
    yield (
        "POST /api/v1/keys/{key}/reroll",
        "key.reroll",
        lambda w: w.owner.post(f"/keys/{w.made['key']['id']}/reroll", {"graceSeconds": 0}),
    )
    yield "DELETE /api/v1/keys/{key}", "key.revoke", lambda w: w.owner.send("DELETE", f"/keys/{w.made['key']['id']}")
    yield (
        "PATCH /api/v1/tenant",
        "tenant.settings",
        lambda w: w.owner.send("PATCH", "/tenant", {"settings": {"retention": {"days": 90}}}),
    )
    yield "GET /api/v1/tenant/export", "tenant.export", lambda w: w.owner.get("/tenant/export")
    yield "GET /api/v1/tenant/audit/export", "audit.export", lambda w: w.owner.get("/tenant/audit/export")
    yield "DELETE /api/v1/projects/{p}", "project.archive", lambda w: w.owner.send("DELETE", "/projects/notes")


def _operators_steps() -> Iterator[Step]:
    yield (
        "POST /api/v1/admin/tenants",
        "tenant.create",
        lambda w: w.keep("tenant", w.server.admin.post("/admin/tenants", {"slug": "other", "name": "Other"})),
    )
    yield (
        "PATCH /api/v1/admin/tenants/{tenant}",
        "tenant.suspend",
        lambda w: w.server.admin.send(
            "PATCH", f"/admin/tenants/{w.made['tenant']['tenant']['id']}", {"suspended": True}
        ),
    )
    yield (
        "PATCH /api/v1/admin/tenants/{tenant}",
        "tenant.quota",
        lambda w: w.server.admin.send(
            "PATCH", f"/admin/tenants/{w.made['tenant']['tenant']['id']}", {"quota": {"projects": 3}}
        ),
    )
    yield (
        "DELETE /api/v1/admin/tenants/{tenant}",
        "tenant.delete",
        lambda w: w.server.admin.send("DELETE", f"/admin/tenants/{w.made['tenant']['tenant']['id']}"),
    )


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    with serving(tmp_path_factory.mktemp("operations") / "data") as running:
        yield World(running)


def test_the_steps_of_this_test_are_all_operations_that_write() -> None:
    paths = document(build(), "1")["paths"]
    writing = {f"{method.upper()} {path}" for path, methods in paths.items() for method in methods if method != "get"}
    assert {step[0] for step in (*_steps(), *_operators_steps())} == (writing - READS) | ALSO


def test_each_operation_that_writes_leaves_a_row_that_says_who_from_where_what_and_by_which_request(
    world: World,
) -> None:
    results: list[tuple[str, str]] = []
    for asking, steps in ((world.owner, _steps()), (world.server.admin, _operators_steps())):
        for operation, action, step in steps:
            answer = step(world)
            rows = _of_request(asking, answer)
            # A purge first deletes, by a commit of its own; who joins is signed in.
            expected = {"project.purge": [action, "commit"], "invitation.join": ["session.start", action]}.get(
                action, [action]
            )
            assert [row["action"] for row in rows] == expected, (operation, answer.status, answer.body[:300], rows)
            for row in rows:
                assert row["address"] == "127.0.0.1", operation
                assert row["principal"], operation
                assert row["name"], operation
                results.append((operation, row["result"]))
    refreshed = ["done", "session.repeated", "done", "session.copied"]
    assert [result for operation, result in results if operation == "POST /api/v1/auth/refresh"] == refreshed
    assert {result for operation, result in results if operation != "POST /api/v1/auth/refresh"} == {"done"}


def test_a_replay_under_the_same_idempotency_key_is_done_and_written_down_once(world: World) -> None:
    owner, headers = world.owner, {"idempotency-key": "once"}
    first, again = (owner.post("/projects", {"slug": "twice"}, headers) for _ in range(2))
    assert first.ok()["id"] == again.ok()["id"]
    assert len(_of_request(owner, first)) == 1
    assert _of_request(owner, again) == []


def test_a_write_that_is_refused_leaves_no_row_of_itself(world: World) -> None:
    refused = world.owner.post("/projects", {"slug": "Not A Slug"})
    assert refused.status == 422
    assert _of_request(world.owner, refused) == []


def _of_request(asking: Client, answer: Answer) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = asking.get("/tenant/audit", limit=200).ok()["items"]
    return [row for row in rows if row["requestId"] == answer.headers["x-request-id"]]
