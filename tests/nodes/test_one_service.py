"""Several nodes answer as one: whichever is asked, and whichever was asked before."""

from __future__ import annotations

import asyncio
import json

import pytest

from satchel.objects.ids import object_id
from satchel.objects.listing import Entry, digest
from satchel.sync.wire import encode_preamble
from tests.journeys.conftest import People
from tests.journeys.test_4_remote_agent import over_http
from tests.nodes.conftest import Cluster
from tests.nodes.line import declared, pack
from tests.nodes.reach import PASSWORD
from tests.sample import write_sample_project
from tests.server.running import until

pytestmark = [pytest.mark.system, pytest.mark.timeout(300)]  # three processes on a busy machine take a while to start


def test_nodes_that_start_at_once_on_nothing_agree_on_everything(cluster: Cluster) -> None:
    [key] = cluster.shown  # one first tenant, whose key was shown once
    clients = cluster.clients(key)
    first = cluster.database.run("SELECT tenant_id FROM operator")
    assert len(first) == 1
    assert {client.get("/tenant").ok()["id"] for client in clients} == {first[0]["tenant_id"]}
    [jwks] = {client.get("/.well-known/jwks.json").body for client in clients}
    assert len(json.loads(jwks)["keys"]) == 2  # the one that signs, and the next
    for issuer in clients:
        token = issuer.post("/auth/token", {"apiKey": key}).ok()["accessToken"]
        assert [each.get("/auth/whoami").status for each in cluster.clients(token)] == [200, 200, 200]
    assert len(cluster.database.run("SELECT * FROM installation")) == 1
    assert len(cluster.database.run("SELECT * FROM tenant WHERE slug = 'default'")) == 1


@pytest.mark.journey(3)
@pytest.mark.promise("P3")
def test_a_sync_goes_through_whichever_node_each_request_meets(cluster: Cluster, people: People) -> None:
    key = cluster.tenant()
    with cluster.balancer() as balancer:
        sam, kim = people("sam"), people("kim")
        sam.folder.rmdir()
        write_sample_project(sam.folder)
        for person in (sam, kim):
            person.run("login", balancer.url, "--key-file", "-", stdin=key)
            person.run("init", "--name", "demo")
            person.run("remote", "add", balancer.url)
        sam.run("sync")
        kim.run("sync")
        assert kim.digest() == sam.digest()
        (kim.folder / "notes").mkdir(exist_ok=True)
        (kim.folder / "notes/back.md").write_text("# Back\n\nA red warning from the other side.\n")
        kim.run("sync")
        sam.run("sync")
        assert kim.digest() == sam.digest()
        assert balancer.used() == set(balancer.ports)
        found = asyncio.run(over_http(balancer.url, key, ("red warning", "retry -radio"), "auto"))
        alike = [
            asyncio.run(over_http(node.url, key, ("red warning", "retry -radio"), "auto")) for node in cluster.nodes
        ]
        assert alike == [found] * 3
        assert any("back.md" in str(answer) for answer in found)


@pytest.mark.promise("P7")
def test_content_sent_to_one_node_is_committed_through_another_and_a_repetition_through_a_third(
    cluster: Cluster,
) -> None:
    first, second, third = cluster.clients(cluster.tenant())
    head = first.post("/projects", {"slug": "demo"}).ok()
    text = b"# Ahead\n"
    name = object_id(text)
    body = b"".join([*encode_preamble(None, None, []), *pack(text)])
    assert first.send("POST", "/projects/demo/packs", body, declared(body)).ok()["objects"] == 1
    assert third.post("/projects/demo/objects/query", {"objects": [name]}).ok() == {"missing": []}
    asked = {
        "parent": {"lineage": head["lineage"], "version": 0, "digest": head["digest"]},
        "digest": digest({"a.md": Entry("100644", name)}),
        "changes": [{"path": "a.md", "mode": "100644", "object": name, "size": len(text)}],
    }
    key = {"idempotency-key": "once"}
    made = second.post("/projects/demo/commits", asked, key).ok()
    assert made["version"] == 1
    assert third.post("/projects/demo/commits", asked, key).ok() == made
    assert first.get("/projects/demo/artifacts/a.md").body == text


def test_a_session_goes_on_through_any_node_and_a_copied_token_ends_it_on_all(cluster: Cluster) -> None:
    owner = cluster.client(0, cluster.tenant())
    asked = {"email": "ann@nodes.example", "name": "Ann", "password": PASSWORD}
    owner.post("/members", asked).ok()
    first, second, third = cluster.clients(None)
    begun = first.post("/auth/token", {"email": asked["email"], "password": PASSWORD}).ok()
    next_one = second.post("/auth/refresh", {"refreshToken": begun["refreshToken"]}).ok()
    assert [each.get("/auth/whoami").status for each in cluster.clients(next_one["accessToken"])] == [200] * 3
    again = third.post("/auth/refresh", {"refreshToken": begun["refreshToken"]}).ok()  # its answer may have been lost
    assert again["refreshToken"] == next_one["refreshToken"]
    newest = first.post("/auth/refresh", {"refreshToken": next_one["refreshToken"]}).ok()
    assert third.post("/auth/refresh", {"refreshToken": begun["refreshToken"]}).status == 401  # older: it was copied
    assert second.post("/auth/refresh", {"refreshToken": newest["refreshToken"]}).status == 401
    for each in cluster.clients(next_one["accessToken"]):
        until(lambda each=each: each.get("/auth/whoami").status == 401)  # type: ignore[misc]
