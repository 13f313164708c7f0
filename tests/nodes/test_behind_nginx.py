"""The whole topology of ``deploy/compose.yaml`` without containers: PostgreSQL, an S3 server, two nodes, and nginx
before them with the file that Compose gives it. The journeys go through it, and nodes are replaced under load."""

from __future__ import annotations

import asyncio
import secrets
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from itertools import count
from typing import NamedTuple

import pytest
import urllib3

from satchel.catalog.scope import Catalog
from tests.journeys.conftest import People, Person
from tests.journeys.test_4_remote_agent import over_http
from tests.nodes.conftest import Cluster, started
from tests.nodes.nginx import Nginx
from tests.postgres import SERVING, make_database
from tests.real import s3_bucket
from tests.sample import write_sample_project
from tests.server.running import Client, until

pytestmark = [pytest.mark.system("nginx", "openssl"), pytest.mark.timeout(300)]
QUESTIONS = ("red warning", "who retracts a warning", '"duty officer"', "zzz")


class Site(NamedTuple):
    """The installation as clients see it, and what is behind."""

    proxy: Nginx
    cluster: Cluster

    def client(self, key: str | None) -> Client:
        client = Client(self.proxy.url, key)
        client._pool = urllib3.PoolManager(retries=False, timeout=30, maxsize=16, ca_certs=str(self.proxy.certificate))
        return client

    def tenant(self, slug: str) -> str:
        made = self.client(self.cluster.operator).post("/admin/tenants", {"slug": slug, "name": slug})
        return str(made.ok()["adminKey"])


@pytest.fixture(scope="module")
def site(postgres_server: str, seaweedfs_port: int, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    database = asyncio.run(make_database(postgres_server, f"proxied_{secrets.token_hex(6)}"))
    asyncio.run(Catalog.migrate(database.owner, serving=SERVING))
    proxy = Nginx(tmp_path_factory.mktemp("nginx"))
    with ExitStack() as stack:
        cluster = stack.enter_context(started(tmp_path_factory.mktemp("nodes"), database, s3_bucket(seaweedfs_port), 0))
        settings = {"SATCHEL_PUBLIC_URL": proxy.url, "SATCHEL_TRUSTED_PROXIES": "127.0.0.0/8"}
        # In Compose 3: longer than the proxy keeps a connection to a node that nobody uses.
        nodes = [cluster.new(**settings, SATCHEL_DRAIN_SECONDS="3") for _ in range(2)]
        with ThreadPoolExecutor(2) as pool:
            list(pool.map(cluster.start, nodes))
        stack.callback(proxy.stop)
        proxy.start([node.port for node in nodes])
        yield Site(proxy, cluster)


def _arrives(person: Person, site: Site, key: str) -> None:
    person.env["SSL_CERT_FILE"] = str(site.proxy.certificate)
    person.run("login", site.proxy.url, "--key-file", "-", stdin=key)
    person.run("init", "--name", "demo")
    person.run("remote", "add", site.proxy.url)


@pytest.mark.journey(1)
@pytest.mark.journey(2)
@pytest.mark.journey(3)
@pytest.mark.journey(4)
@pytest.mark.journey(5)
def test_the_five_journeys_go_through_tls_to_two_nodes(
    site: Site, people: People, monkeypatch: pytest.MonkeyPatch
) -> None:
    # 1. Deployed: both nodes made one installation, and http leads to https.
    assert len(site.cluster.shown) == 1
    assert site.client(None).get("/health").ok()["status"] == "ok"
    plain = urllib3.PoolManager(retries=False)
    told = plain.request("GET", f"http://127.0.0.1:{site.proxy.plain_port}/docs", redirect=False)
    assert (told.status, told.headers["location"][:8]) == (308, "https://")
    plain.clear()
    # 2. Signed in: a token that one node issued counts at the other.
    owner = site.tenant("acme")
    assert site.client(None).get("/projects").code == "auth.missing"
    token = site.client(None).post("/auth/token", {"apiKey": owner}).ok()["accessToken"]
    assert [node.get("/auth/whoami").status for node in site.cluster.clients(token)] == [200, 200]
    # 3. In step, here and there, with a file that no buffer holds.
    sam, kim = people("sam"), people("kim")
    sam.folder.rmdir()
    write_sample_project(sam.folder)
    (sam.folder / "plan.bin").write_bytes(secrets.token_bytes(6 << 20))
    refused = kim.run("login", site.proxy.url, "--key-file", "-", stdin=owner, status=6)
    assert "certificate does not count" in refused.stderr  # of somebody who was not told to trust it
    for person in (sam, kim):
        _arrives(person, site, owner)
    sam.run("sync")
    kim.run("sync")
    assert kim.files()["plan.bin"] == sam.files()["plan.bin"]
    (kim.folder / "back.md").write_text("# Back\n\nA red warning from the other side.\n")
    kim.run("sync")
    sam.run("sync")
    assert kim.digest() == sam.digest()
    # 4. A remote agent gets what the folder answers.
    monkeypatch.setenv("SSL_CERT_FILE", str(site.proxy.certificate))
    agent = sam.json("key", "create", "agent", "--project", "demo:read")["key"]
    here = [sam.json("search", question) for question in QUESTIONS]
    assert [bool(answer["hits"]) for answer in here] == [True, True, True, False]
    asked = site.client(agent)
    assert [asked.post("/search", {"query": question}).ok() for question in QUESTIONS] == here
    assert asyncio.run(over_http(site.proxy.url, agent, QUESTIONS, "auto")) == here
    heard = asked.get("/projects/demo/events", seconds=1)  # comes at once, whatever a proxy would rather keep together
    assert b"event: head" in heard.body
    # 5. Nobody else's, and who asked is seen through the proxy, whatever is claimed.
    rival = site.client(site.tenant("rival"))
    project = sam.json("remote", "show")["project"]
    assert rival.get(f"/projects/{project}").code == rival.get("/projects/nonesuch").code == "project.not_found"
    asked.get("/projects/nonesuch", {"x-forwarded-for": "192.0.2.7"})
    listed = site.client(owner).get("/tenant/audit", limit=200).ok()["items"]
    assert {row.get("address") for row in listed} - {None, ""} == {"127.0.0.1"}


def test_nodes_are_restarted_one_after_the_other_and_no_request_fails(site: Site) -> None:
    owner = site.tenant("busy")
    site.client(owner).post("/projects", {"slug": "demo"}).ok()
    site.client(owner).put("demo", "a.md", b"# A\n\nword\n").ok()
    stop, failed, answered = threading.Event(), list[str](), Counter[str]()

    def keep_asking(what: str, ask: Callable[[Client, int], int]) -> None:
        with_key = site.client(owner)
        for number in count():
            if stop.wait(0.01):  # a steady load, not all that the machine gives
                return
            try:
                status = ask(with_key, number)
            except urllib3.exceptions.HTTPError as error:
                failed.append(f"{what}: {type(error).__name__}")
                continue
            if status >= 400:
                failed.append(f"{what}: {status}")
            answered[what] += 1

    work: dict[str, Callable[[Client, int], int]] = {
        "search": lambda client, _: client.get("/projects/demo/search", q="word").status,
        "write": lambda client, number: client.put("demo", f"notes/{number}.md", b"# N\n\nword\n").status,
        "token": lambda client, _: client.post("/auth/token", {"apiKey": owner}).status,
        "ask": lambda client, _: client.post("/search", {"query": "word"}).status,
    }
    with ThreadPoolExecutor(len(work)) as pool:
        asking = [pool.submit(keep_asking, what, ask) for what, ask in work.items()]
        try:
            for node in site.cluster.nodes:
                until(lambda: len(answered) == len(work), 60)
                assert node.stop() == 0
                site.cluster.start(node)
                answered.clear()
            until(lambda: len(answered) == len(work), 60)
        finally:
            stop.set()
        for each in asking:
            each.result()
    assert failed == []
