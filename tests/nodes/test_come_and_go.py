"""What one node is told to forget, every node forgets; nodes die in the middle of requests, come back, and are new."""

from __future__ import annotations

import os
import threading
from concurrent.futures import ThreadPoolExecutor
from itertools import count
from pathlib import Path

import pytest
import urllib3

from tests.journeys.conftest import Server
from tests.nodes.conftest import Cluster
from tests.server.running import Client, until

pytestmark = [pytest.mark.system, pytest.mark.timeout(300)]  # three processes on a busy machine take a while to start
SECONDS = 20.0


def _kept(node: Server, tenant: str) -> list[Path]:
    """Files that a node keeps of a tenant to be faster."""
    places = (node.data / "cache/index" / tenant, node.data / "cache/store/tenants" / tenant)
    return [Path(folder) / name for place in places for folder, _, names in os.walk(place) for name in names]


def _used_everywhere(cluster: Cluster, slug: str) -> tuple[str, list[Client]]:
    """A tenant with one project, which every node has searched and read; its id, and its owner at each node."""
    clients = cluster.clients(cluster.tenant(slug))
    clients[0].post("/projects", {"slug": "demo"}).ok()
    clients[0].put("demo", "keep.md", b"# Keep\n\nplain word\n").ok()
    clients[1].put("demo", "secret.md", b"# Secret\n\nxyzzy\n").ok()
    for client in clients:
        assert len(client.get("/projects/demo/search", q="xyzzy").ok()["hits"]) == 1
        assert client.get("/projects/demo/artifacts/secret.md").status == 200
    tenant: str = clients[0].get("/auth/whoami").ok()["tenant"]["id"]
    assert all(_kept(node, tenant) for node in cluster.nodes)
    return tenant, clients


@pytest.mark.promise("P5")
def test_of_a_tenant_whose_keys_one_node_destroyed_no_node_keeps_anything(cluster: Cluster) -> None:
    tenant, clients = _used_everywhere(cluster, "shredded")
    cluster.client(2, cluster.operator).send("DELETE", "/admin/tenants/shredded?now=true").ok()
    until(lambda: not any(_kept(node, tenant) for node in cluster.nodes), SECONDS)
    assert {client.get("/projects").status for client in clients} == {401}


def test_what_one_node_purged_no_node_keeps_in_an_index(cluster: Cluster) -> None:
    tenant, clients = _used_everywhere(cluster, "purged")
    before = {path for node in cluster.nodes for path in _kept(node, tenant) if path.suffix == ".db"}
    assert len(before) == 3
    clients[0].post("/projects/demo/purge", {"paths": ["secret.md"]}).ok()
    until(lambda: not any(path.exists() for path in before), SECONDS)
    for client in clients:
        assert client.get("/projects/demo/search", q="xyzzy").ok()["hits"] == []
        assert len(client.get("/projects/demo/search", q="plain").ok()["hits"]) == 1


def test_a_new_key_of_a_tenant_made_beside_one_node_troubles_none(cluster: Cluster) -> None:
    _, clients = _used_everywhere(cluster, "rotated")
    cluster.nodes[0].run_admin("key", "rotate-tenant", "rotated", "--full")
    for number, client in enumerate(clients):
        assert client.get("/projects/demo/artifacts/secret.md").body == b"# Secret\n\nxyzzy\n"
        client.put("demo", f"{number}.md", b"# After\n\nplugh\n").ok()
    for client in clients:
        assert len(client.get("/projects/demo/search", q="plugh").ok()["hits"]) == 3


# Death ---------------------------------------------------------------------------------------------------------------


@pytest.fixture
def two(own_cluster: Cluster) -> Cluster:
    for _ in range(2):
        own_cluster.start(own_cluster.new())
    return own_cluster


@pytest.mark.promise("P3")
@pytest.mark.promise("P6")
def test_a_node_killed_in_the_middle_of_requests_loses_nothing_and_another_takes_its_place(two: Cluster) -> None:
    owner = two.tenant()
    two.client(0, owner).post("/projects", {"slug": "demo"}).ok()
    done, stop = count(), threading.Event()
    kept: dict[str, bytes] = {}
    with two.balancer() as balancer:

        def write(writer: int) -> None:
            client = two.client(balancer, owner)
            for number in count():
                if stop.is_set():
                    return
                path, text = f"{writer}/{number}.md", b"# %d\n\nof %d\n" % (number, writer)
                _put_again_and_again(client, path, text)
                kept[path] = text
                next(done)

        with ThreadPoolExecutor(4) as pool:
            writing = [pool.submit(write, number) for number in range(4)]
            try:
                until(lambda: len(kept) >= 8, 60)
                two.nodes[1].kill()
                at = len(kept)
                until(lambda: len(kept) >= at + 8, 60)  # the other goes on alone
                new = two.new()
                two.start(new)
                balancer.ports.append(new.port)
                until(lambda: new.port in balancer.used(), 60)
            finally:
                stop.set()
            for each in writing:
                each.result()
    asked = two.client(2, owner)
    for path, text in kept.items():
        assert asked.get(f"/projects/demo/artifacts/{path}").body == text
    listed = asked.get("/projects/demo/versions", limit=1_000).ok()["items"]
    assert [row["version"] for row in listed] == list(range(len(listed), 0, -1))
    assert len(listed) == len(kept)
    assert two.nodes[0].run_admin("verify")["problems"] == []


def _put_again_and_again(client: Client, path: str, text: bytes) -> None:
    """As a client does that was told nothing: what it finds written already is its own."""
    while True:
        try:
            answer = client.put("demo", path, text)
        except urllib3.exceptions.HTTPError:
            continue
        if answer.status == 412:
            assert client.get(f"/projects/demo/artifacts/{path}").body == text
        elif answer.status == 503:
            continue
        else:
            answer.ok()
        return
