"""What the matrix does not ask: several things of two tenants together, over REST (P5)."""

from __future__ import annotations

import itertools
import json

import pytest

from tests.server.running import Answer, Client, Running

pytestmark = pytest.mark.promise("P5")
HEX = "0" * 64
_numbers = itertools.count(1)


class Two:
    """Two tenants, each with a project; the second one's is called ``theirs``."""

    def __init__(self, server: Running) -> None:
        number = next(_numbers)
        self.server = server
        self.owner, self.other = server.tenant(f"first-{number}"), server.tenant(f"second-{number}")
        self.own = self.owner.post("/projects", {"slug": "own"}).ok(201)
        self.theirs = self.other.post("/projects", {"slug": "theirs"}).ok(201)
        self.owner.put("own", "docs/a.md", b"# A\n\nword\n").ok()
        self.other.put("theirs", "docs/a.md", b"# Theirs\n\nword secret\n").ok()

    def key(self, **fields: object) -> Client:
        return self.server.client(self.owner.post("/keys", {"name": "k", **fields}).ok()["key"])


@pytest.fixture
def two(server: Running) -> Two:
    return Two(server)


def seen(answer: Answer) -> tuple[int, dict[str, str], object]:
    """An answer without what differs from request to request."""
    varying = ("date", "x-request-id", "ratelimit")
    headers = {name: value for name, value in answer.headers.items() if name not in varying}
    body = answer.json
    if isinstance(body, dict):
        body.pop("requestId", None)
    return answer.status, headers, body


def test_only_those_who_may_write_everywhere_create_projects(two: Two) -> None:
    for role, status in (("read", 403), ("write", 201), ("admin", 201)):
        assert two.key(role=role).post("/projects", {"slug": f"made-by-{role}"}).status == status


def test_a_key_cannot_be_granted_on_another_tenants_project(two: Two) -> None:
    for project in (two.theirs["id"], "theirs", "prj_00000000000000000000000000"):
        answer = two.owner.post("/keys", {"name": "k", "projects": [{"project": project, "role": "read"}]})
        assert (answer.status, answer.code) == (404, "project.not_found")
    theirs = two.other.post("/keys", {"name": "theirs", "role": "read"}).ok()["id"]
    answer = two.owner.post(f"/projects/{two.own['id']}/grants", {"principal": theirs, "role": "read"})
    assert (answer.status, answer.code) == (404, "resource.not_found")


def test_search_lists_and_audit_never_show_another_tenants_things(two: Two) -> None:
    callers = [two.owner, *(two.key(role=role) for role in ("read", "write", "admin"))]
    for client in callers:
        found = client.get("/search", q="secret word", limit=50).ok()
        assert {hit["project"] for hit in found["hits"]} == {"own"}
        assert {project["slug"] for project in client.get("/projects", limit=1000).ok()["items"]} == {"own"}
        skipped = client.get("/search", q="project:theirs word").ok()
        never = client.get("/search", q="project:nowhere word").ok()
        assert skipped["hits"] == never["hits"] == []
        assert skipped["skipped"] == [{"project": "theirs", "reason": "project.not_found"}]
        named = client.post("/search", {"query": "word", "projects": ["theirs"]})
        assert seen(named) == seen(client.post("/search", {"query": "word", "projects": ["nowhere"]}))
    assert "theirs" not in json.dumps(two.owner.get("/tenant/audit", limit=1000).ok())


def test_a_project_id_that_another_tenant_uses_can_be_used_here_too(two: Two) -> None:
    """Whether an id is taken elsewhere must not be learnt by trying it."""
    same = {"slug": "theirs", "id": two.theirs["id"]}
    assert two.owner.post("/projects", same).ok(201)["version"] == 0
    assert two.owner.get("/projects/theirs/artifacts").ok()["items"] == []
    two.owner.put("theirs", "mine.md", b"# Mine\n\nword\n").ok()
    assert [item["path"] for item in two.other.get("/projects/theirs/artifacts").ok()["items"]] == ["docs/a.md"]
    assert {hit["path"] for hit in two.owner.get("/projects/theirs/search", q="word").ok()["hits"]} == {"mine.md"}
    assert [hit["path"] for hit in two.other.get("/search", q="word").ok()["hits"]] == ["docs/a.md"]


def test_objects_of_another_project_or_tenant_cannot_be_named(two: Two) -> None:
    theirs = two.other.get("/projects/theirs/artifacts").ok()["items"][0]
    own = f"/projects/{two.own['id']}"
    head = two.owner.get(own).ok()
    asked = {"objects": [theirs["object"]]}
    assert two.owner.post(f"{own}/objects/query", asked).ok() == {"missing": [theirs["object"]]}
    read = two.owner.post(f"{own}/objects/read", asked)
    never = two.owner.post(f"{own}/objects/read", {"objects": [HEX]})
    assert (read.status, read.code) == (never.status, never.code)
    files = {"objects": [], "files": {"version": 1}}
    assert theirs["object"] not in str(two.owner.post(f"{own}/objects/read", files).body)
    elsewhere = two.owner.post(f"/projects/{two.theirs['id']}/objects/read", files)
    assert (elsewhere.status, elsewhere.code) == (404, "project.not_found")
    change = {"path": "x", "mode": "100644", "object": theirs["object"], "size": theirs["size"]}
    parent = {name: head[name] for name in ("lineage", "version", "digest")}
    answer = two.owner.post(f"{own}/commits", {"parent": parent, "digest": HEX, "changes": [change]})
    assert answer.status in (409, 422)
    assert two.owner.get(own).ok()["version"] == head["version"]
