"""What one node changed, every node acts on within a second; and what nobody can hear of is not believed."""

from __future__ import annotations

import http.client
import os
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from urllib.parse import urlsplit

import pytest

from satchel.objects.ids import Digest, Lineage, object_id
from satchel.objects.listing import Entry, digest
from satchel.server.watching import HEARD_SECONDS
from satchel.sync.wire import Parent, Sent, encode_preamble
from tests.nodes.balancer import Wire
from tests.nodes.conftest import Cluster
from tests.nodes.line import declared, pack
from tests.nodes.reach import Trial, run, trials
from tests.server.running import Client

pytestmark = [pytest.mark.system, pytest.mark.timeout(300)]  # three processes on a busy machine take a while to start
TRIALS = 40 if os.environ.get("PROVE") else 2
WRITES = 1_000 if os.environ.get("PROVE") else 25
WHAT = (
    "a key is revoked",
    "a grant is taken",
    "a member with a token is removed",
    "a token is revoked",
    "a tenant is suspended",
)


@pytest.fixture(scope="module")
def made(shared_cluster: Cluster) -> dict[str, Callable[[], Trial]]:
    return trials(shared_cluster)


@pytest.mark.promise("P5")
@pytest.mark.parametrize("trial", range(TRIALS))
@pytest.mark.parametrize("what", WHAT)
def test_no_node_allows_anything_a_second_after(made: dict[str, Callable[[], Trial]], what: str, trial: int) -> None:
    # By the moment a request was sent: how long this machine takes to answer it is another matter.
    assert run(made[what]()).allowed < HEARD_SECONDS


@pytest.fixture(scope="module")
def writers(shared_cluster: Cluster) -> list[Client]:
    clients = shared_cluster.clients(shared_cluster.tenant())
    clients[0].post("/projects", {"slug": "demo"}).ok()
    return clients


@pytest.mark.promise("P4")
@pytest.mark.parametrize("trial", range(WRITES))
def test_what_one_node_wrote_the_next_read_on_another_sees(writers: list[Client], trial: int) -> None:
    here, there = writers[trial % 3], writers[(trial + 1 + trial // 3 % 2) % 3]
    text = b"# Text %d\n\nword%d\n" % (trial, trial)
    version = here.put("demo", f"{trial % 50}-{trial // 50}.md", text).ok()["version"]
    kind = trial % 4
    if kind == 0:
        assert there.get("/projects/demo").ok()["version"] == version
    elif kind == 1:
        assert there.get(f"/projects/demo/artifacts/{trial % 50}-{trial // 50}.md").body == text
    elif kind == 2:
        assert len(there.get("/projects/demo/search", q=f"word{trial}").ok()["hits"]) == 1
    else:
        assert there.get("/projects/demo/versions", limit=1).ok()["items"][0]["version"] == version


@pytest.mark.promise("P5")
@pytest.mark.parametrize("how", ["the key", "the grant", "the tenant"])
def test_a_sync_whose_sender_lost_the_right_meanwhile_is_refused(cluster: Cluster, how: str) -> None:
    slug = f"sync-{how.split()[1]}"
    owner = cluster.client(0, cluster.tenant(slug))
    head = owner.post("/projects", {"slug": "demo"}).ok()
    key = owner.post("/keys", {"name": "k", "projects": [{"project": "demo", "role": "write"}]}).ok()
    text = b"# Late\n" * 100
    entry = Entry("100644", object_id(text))
    parent = Parent(Lineage(head["lineage"]), 0, Digest(head["digest"]))
    stream = [*encode_preamble(parent, digest({"a.md": entry}), [Sent("a.md", entry, len(text))]), *pack(text)]
    with closing(http.client.HTTPConnection("127.0.0.1", urlsplit(cluster.nodes[1].url).port or 0, timeout=30)) as line:
        line.putrequest("POST", "/api/v1/projects/demo/sync")
        line.putheader("authorization", f"Bearer {key['key']}")
        line.putheader("content-length", str(sum(map(len, stream))))
        for name, value in declared(b"".join(stream)).items():
            line.putheader(name, value)
        line.endheaders()
        line.send(b"".join(stream[:-1]))  # taken, judged, and all but whole
        if how == "the key":
            owner.send("DELETE", f"/keys/{key['id']}").ok()
        elif how == "the grant":
            owner.send("DELETE", f"/projects/demo/grants/{key['id']}").ok()
        else:
            operator = cluster.client(0, cluster.operator)
            operator.send("PATCH", f"/admin/tenants/{slug}", {"suspended": True}).ok()
        line.send(stream[-1])
        assert line.getresponse().status == {"the key": 401, "the grant": 404, "the tenant": 403}[how]
    [row] = cluster.database.run(
        f"SELECT p.version FROM project p JOIN tenant t USING (tenant_id) WHERE t.slug = '{slug}'"
    )
    assert row["version"] == 0


# Silence -------------------------------------------------------------------------------------------------------------


@pytest.fixture
def wired(cluster: Cluster) -> Iterator[tuple[Cluster, Wire]]:
    """One more node, the last, which hears of the database through a line that can go silent."""
    with Wire(urlsplit(cluster.database.url).port or 0) as wire:
        node = cluster.new(SATCHEL_DATABASE_URL=cluster.database.at(wire.port).url)
        try:
            cluster.start(node)
            yield cluster, wire
        finally:
            cluster.nodes.remove(node)
            node.close()


@pytest.mark.promise("P5")
def test_a_node_that_cannot_hear_of_changes_believes_nothing_it_remembers(wired: tuple[Cluster, Wire]) -> None:
    cluster, wire = wired
    owner = cluster.tenant()
    made = cluster.client(1, owner).post("/keys", {"name": "k", "role": "read"}).ok()
    deaf = cluster.client(-1, made["key"])
    assert deaf.get("/auth/whoami").status == 200
    wire.silence()
    silent = time.monotonic()
    cluster.client(1, owner).send("DELETE", f"/keys/{made['id']}").ok()
    while time.monotonic() - silent <= HEARD_SECONDS:
        assert deaf.get("/health/live").status == 200
    assert [deaf.get("/auth/whoami").status for _ in range(3)] == [503] * 3
    wire.speak()
    deadline = time.monotonic() + 30
    while (status := deaf.get("/auth/whoami").status) == 503 and time.monotonic() < deadline:
        time.sleep(0.05)
    assert status == 401
    assert cluster.client(-1, owner).get("/auth/whoami").status == 200  # it goes on without a restart
