"""Three real processes that serve one installation: one PostgreSQL, one S3, nothing else in common."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import secrets
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from satchel.catalog.scope import Catalog
from tests.journeys.conftest import People, Person, Server
from tests.nodes.balancer import Balancer
from tests.postgres import SERVING, Postgres, make_database
from tests.real import Bucket, free_ports, s3_bucket
from tests.server.running import Client


class Cluster:
    """The nodes of one installation. Each has a data directory of its own; the root key is given to all."""

    def __init__(self, place: Path, database: Postgres, bucket: Bucket) -> None:
        self.database, self.bucket = database, bucket
        self.nodes: list[Server] = []
        self.operator = ""
        self.shown: list[str] = []
        """The operators' keys that nodes printed: of one first tenant one."""
        self._place = place
        self._numbers = itertools.count()
        self._root_key = place / "root.key"
        self._url = "http://satchel.example"  # clients know one address, whichever node answers
        self._clients: list[Client] = []
        self._root_key.write_bytes(secrets.token_bytes(32))
        self._root_key.chmod(0o600)

    def new(self, **env: str) -> Server:
        """One more node, not started yet."""
        place = self._place / f"node-{next(self._numbers)}"
        place.mkdir()
        node = Server(place)
        [node.port] = free_ports(1)
        node.env |= self.bucket.env | {
            "SATCHEL_DATABASE_URL": self.database.url,
            "SATCHEL_STORE_URL": self.bucket.url,
            "SATCHEL_ROOT_KEY": str(self._root_key),
            "SATCHEL_PUBLIC_URL": self._url,
            **env,
        }
        self.nodes.append(node)
        return node

    def start(self, node: Server) -> str | None:
        """Start a node; the operator's key if it made the first tenant."""
        key: str | None = node.start()["adminKey"]
        node.url = f"http://127.0.0.1:{node.port}"
        if key is not None:
            self.operator = key
            self.shown.append(key)
        return key

    def client(self, node: int | Balancer, key: str | None) -> Client:
        """Somebody who asks one node, or a balancer."""
        url = node.url if isinstance(node, Balancer) else self.nodes[node].url
        made = Client(url, key)
        self._clients.append(made)
        return made

    def clients(self, key: str | None) -> list[Client]:
        """The same one at each node."""
        return [self.client(number, key) for number in range(len(self.nodes))]

    def balancer(self) -> Balancer:
        return Balancer([node.port for node in self.nodes])

    def tenant(self, slug: str | None = None) -> str:
        """The key of the owner of a new tenant."""
        slug = slug or f"t-{secrets.token_hex(6)}"
        made = self.client(0, self.operator).post("/admin/tenants", {"slug": slug, "name": slug}).ok()
        key: str = made["adminKey"]
        return key

    def close(self) -> None:
        for client in self._clients:
            client.close()
        for node in self.nodes:
            node.close()


@contextlib.contextmanager
def started(place: Path, database: Postgres, bucket: Bucket, nodes: int) -> Iterator[Cluster]:
    one = Cluster(place, database, bucket)
    try:
        made = [one.new() for _ in range(nodes)]
        with ThreadPoolExecutor(max(nodes, 1)) as pool:  # all at once, on nothing
            list(pool.map(one.start, made))
        yield one
    finally:
        one.close()


@pytest.fixture(scope="session")
def shared_cluster(
    postgres_server: str, seaweedfs_port: int, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Cluster]:
    database = asyncio.run(make_database(postgres_server, f"nodes_{secrets.token_hex(6)}"))
    asyncio.run(Catalog.migrate(database.owner, serving=SERVING))
    with started(tmp_path_factory.mktemp("nodes"), database, s3_bucket(seaweedfs_port), 3) as one:
        yield one


@pytest.fixture
def cluster(shared_cluster: Cluster) -> Cluster:
    """Three nodes that many tests share, none of which may be stopped. They were started at once, with nothing there.

    Make a tenant of your own.
    """
    return shared_cluster


@pytest.fixture
def own_cluster(postgres: Postgres, seaweedfs: Bucket, tmp_path: Path) -> Iterator[Cluster]:
    """An installation of this test's own, on which nothing was started yet."""
    with started(tmp_path, postgres, seaweedfs, 0) as one:
        yield one


@pytest.fixture
def people(tmp_path: Path) -> People:
    return lambda name: Person(tmp_path, name)
