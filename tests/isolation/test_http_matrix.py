"""Every operation × every kind of credential × own, another tenant's and absent targets (P5).

What a caller may not see answers exactly like what does not exist, whatever else is wrong with the request; what it may
see and not do is 403; no credential that does not count gets further than 401. A new route without a row fails.
"""

from __future__ import annotations

import itertools
import json
from dataclasses import dataclass, field
from typing import Any

import pytest

from satchel.catalog import principals
from satchel.server.app import build
from satchel.server.openapi import document
from tests.server.running import Answer, Client, Running

pytestmark = pytest.mark.promise("P5")
ABSENT_ID = "prj_00000000000000000000000000"
HEX = "0" * 64
_numbers = itertools.count(1)


@dataclass(frozen=True)
class Row:
    """What an operation asks of its caller, and a request that is in order."""

    needs: str
    """``anyone``, ``signed-in``, ``tenant-admin``, ``operator``, ``creator``, or a role on the project."""
    body: Any = None
    headers: dict[str, str] = field(default_factory=dict)
    query: dict[str, object] = field(default_factory=dict)


_SYNC = {"content-type": "application/x-satchel-sync", "satchel-declared-bytes": "10"}
_ONLY_NEW = {"if-none-match": "*", "content-type": "text/plain"}
_COMMIT = {"parent": {"lineage": "x", "version": 0, "digest": HEX}, "digest": HEX, "changes": []}
ROWS: dict[str, Row] = {
    "GET /.well-known/jwks.json": Row("anyone"),
    "GET /api/v1/health": Row("anyone"),
    "GET /api/v1/health/live": Row("anyone"),
    "GET /api/v1/health/ready": Row("anyone"),
    "POST /api/v1/auth/token": Row("anyone", {"apiKey": "x"}),
    "POST /api/v1/auth/refresh": Row("anyone", {"refreshToken": "x"}),
    "POST /api/v1/auth/revoke": Row("anyone", {"token": "x"}),
    "GET /api/v1/auth/whoami": Row("signed-in"),
    "GET /api/v1/projects": Row("signed-in"),
    "POST /api/v1/projects": Row("creator", {"slug": "made"}),
    "GET /api/v1/projects/{p}": Row("read"),
    "PATCH /api/v1/projects/{p}": Row("admin", {"description": "d"}),
    "DELETE /api/v1/projects/{p}": Row("admin"),
    "GET /api/v1/projects/{p}/context": Row("read"),
    "POST /api/v1/projects/{p}/context": Row("write", {"description": "d"}),
    "GET /api/v1/projects/{p}/search": Row("read", query={"q": "word"}),
    "POST /api/v1/projects/{p}/search": Row("read", {"query": "word"}),
    "GET /api/v1/search": Row("signed-in", query={"q": "word"}),
    "POST /api/v1/search": Row("signed-in", {"query": "word"}),
    "GET /api/v1/projects/{p}/tasks": Row("read"),
    "GET /api/v1/projects/{p}/versions": Row("read"),
    "GET /api/v1/projects/{p}/versions/{n}": Row("read"),
    "GET /api/v1/projects/{p}/artifacts": Row("read"),
    "GET /api/v1/projects/{p}/artifacts/{path}": Row("read"),
    "PUT /api/v1/projects/{p}/artifacts/{path}": Row("write", b"new", {"if-match": "*", "content-type": "text/plain"}),
    "DELETE /api/v1/projects/{p}/artifacts/{path}": Row("write", None, {"if-match": "*"}),
    "POST /api/v1/projects/{p}/purge": Row("admin", {"paths": ["docs/a.md"]}),
    "GET /api/v1/projects/{p}/changes": Row("read"),
    "POST /api/v1/projects/{p}/sync": Row("write", b"", _SYNC),
    "POST /api/v1/projects/{p}/packs": Row("write", b"", _SYNC),
    "POST /api/v1/projects/{p}/commits": Row("write", _COMMIT),
    "POST /api/v1/projects/{p}/objects/query": Row("write", {"objects": [HEX]}),
    "GET /api/v1/projects/{p}/objects/damaged": Row("write"),
    "POST /api/v1/projects/{p}/objects/read": Row("read", {"objects": []}),
    "GET /api/v1/projects/{p}/grants": Row("admin"),
    "POST /api/v1/projects/{p}/grants": Row("admin", {"principal": "key_x", "role": "read"}),
    "DELETE /api/v1/projects/{p}/grants/{principal}": Row("admin"),
    "GET /api/v1/keys": Row("tenant-admin"),
    "POST /api/v1/keys": Row("tenant-admin", {"name": "k", "role": "read"}),
    "DELETE /api/v1/keys/{key}": Row("tenant-admin"),
    "GET /api/v1/members": Row("tenant-admin"),
    "POST /api/v1/members": Row("tenant-admin", {"email": "a@b.example", "name": "A", "password": "short"}),
    "DELETE /api/v1/members/{member}": Row("tenant-admin"),
    "GET /api/v1/tenant": Row("signed-in"),
    "PATCH /api/v1/tenant": Row("tenant-admin", {"name": "Renamed"}),
    "GET /api/v1/tenant/usage": Row("tenant-admin"),
    "GET /api/v1/tenant/audit": Row("tenant-admin"),
    "GET /api/v1/admin/tenants": Row("operator"),
    "POST /api/v1/admin/tenants": Row("operator", {"slug": "made", "name": "Made"}),
    "PATCH /api/v1/admin/tenants/{tenant}": Row("operator", {"suspended": True}),
    "DELETE /api/v1/admin/tenants/{tenant}": Row("operator"),
}
PROJECT_ROWS = [name for name in ROWS if "{p}" in name]
ROLES = ("read", "write", "admin")


@dataclass
class World:
    """Two tenants; the callers of one, an owner of the other."""

    server: Running
    owner: Client
    other: Client
    callers: dict[str, Client]
    others_project: dict[str, str]

    def project(self) -> dict[str, Any]:
        """A fresh project of the first tenant, with an artifact."""
        made: dict[str, Any] = self.owner.post("/projects", {"slug": f"own-{next(_numbers)}"}).ok()
        self.owner.put(made["slug"], "docs/a.md", b"# A\n\nword\n").ok()
        return made


@pytest.fixture(scope="session")
def world(server: Running) -> World:
    owner, other = server.tenant("first"), server.tenant("second")
    theirs = other.post("/projects", {"slug": "theirs"}).ok()
    other.put("theirs", "docs/a.md", b"# Theirs\n\nword secret\n").ok()
    elsewhere = owner.post("/projects", {"slug": "elsewhere"}).ok()

    def key(**fields: object) -> dict[str, Any]:
        made: dict[str, Any] = owner.post("/keys", {"name": "k", **fields}).ok()
        return made

    revoked = key(role="admin")
    owner.send("DELETE", f"/keys/{revoked['id']}").ok()
    keys = {
        "none": None,
        "malformed": "stl_live_nonsense",
        "expired": _expired(server, owner),
        "revoked": revoked["key"],
        "no grant": key(projects=[{"project": elsewhere["id"], "role": "admin"}])["key"],
        **{role: key(role=role)["key"] for role in ROLES},
        "other tenant's owner": other.key,
    }
    return World(server, owner, other, {name: server.client(text) for name, text in keys.items()}, theirs)


def _expired(server: Running, owner: Client) -> str:
    found = owner.get("/tenant").ok()["id"]

    async def made() -> str:
        cloud = server.cloud
        async with cloud.catalog.write(found) as s:
            _, text = await principals.issue_key(
                s, pepper=cloud.pepper, name="old", now=1, expires=cloud.clock() - 1_000
            )
        return text

    return server.run(made())


def _ask(client: Client, name: str, project: str, row: Row | None = None) -> Answer:
    row = row or ROWS[name]
    method, _, path = name.partition(" ")
    path = path.replace("{p}", project).replace("{path}", "docs/a.md").replace("{n}", "1")
    for parameter in ("principal", "key", "member"):
        path = path.replace(f"{{{parameter}}}", f"{parameter[:3]}_00000000000000000000000000")
    path = path.replace("{tenant}", "no-such-tenant")
    return client.send(method, path.removeprefix("/api/v1"), row.body, row.headers, row.query)


def _garbled(row: Row) -> Row:
    """The same request with everything wrong that can be: it must not be looked at before the right to."""
    return Row(row.needs, b'{"half', {"if-match": "nonsense", "content-type": "text/nonsense"}, {"nonsense": "1"})


def _seen(answer: Answer) -> tuple[int, dict[str, str], Any]:
    """An answer without what differs from request to request."""
    headers = {name: value for name, value in answer.headers.items() if name not in ("date", "x-request-id")}
    body = answer.json
    body.pop("requestId", None)
    return answer.status, headers, body


def test_every_operation_has_a_row_and_every_row_an_operation() -> None:
    described = document(build(), "0")
    operations = {f"{m.upper()} {path}" for path, methods in described["paths"].items() for m in methods}
    assert operations == set(ROWS)


@pytest.mark.parametrize("name", [name for name, row in ROWS.items() if row.needs != "anyone"])
def test_a_credential_that_does_not_count_gets_401_whatever_is_asked(world: World, name: str) -> None:
    expected = {
        "none": "auth.missing",
        "malformed": "auth.invalid",
        "expired": "auth.expired",
        "revoked": "auth.invalid",
    }
    for who, code in expected.items():
        for row in (ROWS[name], _garbled(ROWS[name])):
            for project in ("elsewhere", "theirs", ABSENT_ID):
                answer = _ask(world.callers[who], name, project, row)
                assert (answer.status, answer.code) == (401, code), (who, project)
                assert answer.headers["www-authenticate"].startswith("Bearer")


@pytest.mark.parametrize("name", PROJECT_ROWS)
def test_what_may_not_be_read_answers_like_what_does_not_exist(world: World, name: str) -> None:
    own = world.project()
    unseen = {
        "no grant": [own["id"], own["slug"], world.others_project["id"], "theirs"],
        **{role: [world.others_project["id"], "theirs"] for role in ROLES},
        "other tenant's owner": [own["id"], own["slug"]],
    }
    for who, projects in unseen.items():
        for row in (ROWS[name], _garbled(ROWS[name])):
            absent = _seen(_ask(world.callers[who], name, ABSENT_ID, row))
            assert absent[0] == 404
            assert absent[2]["code"] == "project.not_found"
            for project in [*projects, "never-was"]:
                assert _seen(_ask(world.callers[who], name, project, row)) == absent, (who, project)


@pytest.mark.parametrize("name", PROJECT_ROWS)
def test_what_may_be_read_and_not_changed_is_403_before_anything_is_looked_at(world: World, name: str) -> None:
    needs = ROLES.index(ROWS[name].needs)
    own = world.project()
    for role in ROLES[:needs]:
        for row in (ROWS[name], _garbled(ROWS[name])):
            answer = _ask(world.callers[role], name, own["id"], row)
            assert (answer.status, answer.code) == (403, "auth.insufficient_scope"), role


@pytest.mark.parametrize("name", PROJECT_ROWS)
def test_a_role_that_is_enough_is_let_through(world: World, name: str) -> None:
    for role in ROLES[ROLES.index(ROWS[name].needs) :]:
        answer = _ask(world.callers[role], name, world.project()["slug"])
        assert answer.status != 401
        assert answer.code not in ("auth.insufficient_scope", "project.not_found"), role


@pytest.mark.parametrize("name", [name for name, row in ROWS.items() if row.needs == "tenant-admin"])
def test_administration_of_a_tenant_is_for_its_admins(world: World, name: str) -> None:
    for who in ("no grant", *ROLES):
        for row in (ROWS[name], _garbled(ROWS[name])):
            answer = _ask(world.callers[who], name, "x", row)
            assert (answer.status, answer.code) == (403, "auth.insufficient_scope"), who
    assert _ask(world.owner, name, "x").code not in ("auth.insufficient_scope", "auth.invalid")


@pytest.mark.parametrize("name", [name for name, row in ROWS.items() if row.needs == "operator"])
def test_the_operators_addresses_do_not_exist_for_anybody_else(world: World, name: str) -> None:
    for client in (*(world.callers[who] for who in ("no grant", *ROLES)), world.owner, world.other):
        for row in (ROWS[name], _garbled(ROWS[name])):
            answer = _ask(client, name, "x", row)
            assert (answer.status, answer.code) == (404, "resource.not_found")


def test_only_those_who_may_write_everywhere_create_projects(world: World) -> None:
    for who in ("no grant", "read"):
        answer = world.callers[who].post("/projects", {"slug": f"made-{next(_numbers)}"})
        assert (answer.status, answer.code) == (403, "auth.insufficient_scope")
    for who in ("write", "admin"):
        world.callers[who].post("/projects", {"slug": f"made-{next(_numbers)}"}).ok(201)


@pytest.mark.parametrize("path", ["/keys/{}", "/members/{}"])
def test_another_tenants_key_or_member_answers_like_one_that_never_was(world: World, path: str) -> None:
    theirs = world.other.post("/keys", {"name": "theirs", "role": "read"}).ok()["id"]
    absent = _seen(world.owner.send("DELETE", path.format("key_00000000000000000000000000")))
    assert absent[0] == 404
    assert _seen(world.owner.send("DELETE", path.format(theirs))) == absent
    assert any(key["id"] == theirs for key in world.other.get("/keys").ok()["items"])


def test_a_key_cannot_be_granted_on_another_tenants_project(world: World) -> None:
    for project in (world.others_project["id"], "theirs", ABSENT_ID):
        answer = world.owner.post("/keys", {"name": "k", "projects": [{"project": project, "role": "read"}]})
        assert (answer.status, answer.code) == (404, "project.not_found")
    own = world.project()
    theirs = world.other.post("/keys", {"name": "theirs", "role": "read"}).ok()["id"]
    answer = world.owner.post(f"/projects/{own['id']}/grants", {"principal": theirs, "role": "read"})
    assert (answer.status, answer.code) == (404, "resource.not_found")


def test_search_lists_and_audit_never_show_another_tenants_things(world: World) -> None:
    world.project()
    for client in (world.owner, *(world.callers[role] for role in (*ROLES, "no grant"))):
        found = client.get("/search", q="secret word", limit=50).ok()
        assert all(hit["project"] != "theirs" for hit in found["hits"])
        assert "theirs" not in {project["slug"] for project in client.get("/projects", limit=1000).ok()["items"]}
        skipped = client.get("/search", q="project:theirs word").ok()
        never = client.get("/search", q="project:nowhere word").ok()
        assert skipped["hits"] == never["hits"] == []
        assert skipped["skipped"] == [{"project": "theirs", "reason": "project.not_found"}]
        named = client.post("/search", {"query": "word", "projects": ["theirs"]})
        assert _seen(named) == _seen(client.post("/search", {"query": "word", "projects": ["nowhere"]}))
    assert "theirs" not in json.dumps(world.owner.get("/tenant/audit", limit=1000).ok())


def test_a_project_id_that_another_tenant_uses_can_be_used_here_too(world: World) -> None:
    """Whether an id is taken elsewhere must not be learnt by trying it."""
    third = world.server.tenant("third")
    same = {"slug": "theirs", "id": world.others_project["id"]}
    assert third.post("/projects", same).ok(201)["version"] == 0
    assert third.get("/projects/theirs/artifacts").ok()["items"] == []
    third.put("theirs", "mine.md", b"# Mine\n\nword\n").ok()
    assert [item["path"] for item in world.other.get("/projects/theirs/artifacts").ok()["items"]] == ["docs/a.md"]
    assert [hit["path"] for hit in third.get("/search", q="word").ok()["hits"]] == ["mine.md"]
    assert [hit["path"] for hit in world.other.get("/search", q="word").ok()["hits"]] == ["docs/a.md"]


def test_objects_of_another_project_or_tenant_cannot_be_named(world: World) -> None:
    theirs = world.other.get("/projects/theirs/artifacts").ok()["items"][0]
    own = world.project()
    head = world.owner.get(f"/projects/{own['id']}").ok()
    assert world.owner.post(f"/projects/{own['id']}/objects/query", {"objects": [theirs["object"]]}).ok() == {
        "missing": [theirs["object"]]
    }
    read = world.owner.post(f"/projects/{own['id']}/objects/read", {"objects": [theirs["object"]]})
    never = world.owner.post(f"/projects/{own['id']}/objects/read", {"objects": [HEX]})
    assert (read.status, read.code) == (never.status, never.code)
    change = {"path": "x", "mode": "100644", "object": theirs["object"], "size": theirs["size"]}
    parent = {name: head[name] for name in ("lineage", "version", "digest")}
    answer = world.owner.post(f"/projects/{own['id']}/commits", {"parent": parent, "digest": HEX, "changes": [change]})
    assert answer.status in (409, 422)
    assert world.owner.get(f"/projects/{own['id']}").ok()["version"] == head["version"]
