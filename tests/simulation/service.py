"""The server of a simulation: the real receiver over a real catalog and a store in memory, one request at a time.

When it is killed in a request, neither store nor catalog takes anything more of that request, not even its tidying up;
a new receiver, which remembers nothing, then stands on what is left.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Coroutine, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any, Self, TypeVar

from sqlalchemy import make_url

from satchel.catalog import damage, projects, purges, quotas, retention, versions
from satchel.catalog.bootstrap import found_tenant
from satchel.catalog.quotas import Limits
from satchel.catalog.retention import KEEP_ALL
from satchel.catalog.schema import METADATA
from satchel.catalog.scope import Catalog, Scope
from satchel.errors import NoSuchVersion, StoreUnavailable, VersionExpired
from satchel.objects.ids import Digest, Lineage, ObjectId, PrincipalId, ProjectId, TenantId, new_id
from satchel.objects.listing import Entry
from satchel.store.keyring import Keyring
from satchel.store.objectstore import MemoryStore, StoredObject
from satchel.store.packs import Place, Vault
from satchel.store.rootkey import RootKey
from satchel.sync.peer import Change, Changes, Head
from satchel.sync.receive import Caller, Receiver
from satchel.upkeep.estate import Estate
from satchel.upkeep.verify import verify
from tests.simulation.database import OneThread
from tests.simulation.one_thread import Killed, Loop, Process, Processes

T = TypeVar("T")
NOW = 1_800_000_000_000
HISTORY = 10_000
LIMITS = Limits()


class Store(MemoryStore):
    """Takes nothing from a process that died, and fails now and then where it is told to."""

    def __init__(self) -> None:
        super().__init__()
        self.dead = False
        self.fails_in: int | None = None
        """After how many requests one is not answered."""
        self.clock: Callable[[], int] = lambda: 0

    def _alive(self) -> None:
        if self.dead:
            raise Killed("server")
        if self.fails_in is not None:
            self.fails_in -= 1
            if self.fails_in < 0:
                self.fails_in = None
                raise StoreUnavailable("the store does not answer")

    async def put(self, name: str, data: bytes, *, create: bool = False) -> None:
        self._alive()
        await super().put(name, data, create=create)
        self._modified[name] = self.clock()

    async def get(self, name: str, *, offset: int = 0, length: int | None = None) -> bytes:
        self._alive()
        return await super().get(name, offset=offset, length=length)

    async def delete(self, name: str) -> None:
        self._alive()
        await super().delete(name)

    async def list(self, prefix: str) -> AsyncIterator[StoredObject]:
        self._alive()
        async for stored in super().list(prefix):
            yield stored


class MortalCatalog(Catalog):
    """Opens nothing for a process that died. A transaction that it was in is rolled back, as the engine does."""

    store: Store
    trusted = False

    async def problems(self) -> list[str]:
        return [] if self.trusted else await super().problems()

    @contextmanager
    def not_read_through(self) -> Iterator[None]:
        """A check looks at one project alone, not at what all simulations before left."""
        self.trusted = True
        try:
            yield
        finally:
            self.trusted = False

    @asynccontextmanager
    async def read(self, tenant: str) -> AsyncIterator[Scope]:
        if self.store.dead:
            raise Killed("server")
        async with super().read(tenant) as s:
            yield s

    @asynccontextmanager
    async def write(self, tenant: str) -> AsyncIterator[Scope]:
        if self.store.dead:
            raise Killed("server")
        async with super().write(tenant) as s:
            yield s


@dataclass
class Installation:
    """A catalog and a store for many simulations, one after another; each has a project of its own in it."""

    loop: Loop
    database: OneThread
    catalog: MortalCatalog
    store: Store
    root: RootKey
    tenant: TenantId
    """Made once, for all of them."""

    @classmethod
    def open(cls, folder: Path) -> Self:
        loop = Loop()
        url = f"sqlite:///{folder / 'catalog.db'}"
        loop.run_until_complete(Catalog.migrate(url))
        chance = Random(0).randbytes  # the same each time, so that a seed plays the same in any installation
        catalog = MortalCatalog(database := OneThread(make_url(url)), chance)
        catalog.store = store = Store()
        root = RootKey.create(folder / "root.key", chance)
        tenant = loop.complete(_found(catalog, Keyring(store, root, clock=lambda: NOW, random=chance)))
        return cls(loop, database, catalog, store, root, tenant)

    def close(self) -> None:
        self.loop.run_until_complete(self.catalog.close())
        self.loop.close()


async def _found(catalog: Catalog, keyring: Keyring) -> TenantId:
    await keyring.found()
    async with catalog.directory(write=True) as d:
        made = await found_tenant(d, slug="acme", name="Acme", pepper=b"p" * 32, now=NOW)
        await keyring.create(made.tenant.id)
    return made.tenant.id


class Server:
    """The server of one simulation, with its one tenant and project."""

    def __init__(
        self, house: Installation, seed: int, processes: Processes, random: Random, clock: Callable[[], int]
    ) -> None:
        self.house, self.processes, self.random, self.clock = house, processes, random, clock
        house.store.dead, house.store.fails_in, house.store.clock = False, None, clock
        house.catalog._random = random.randbytes
        self.start()
        self.tenant, self.project = self.run(self._found(f"seed-{seed}"))

    def start(self) -> None:
        """Anew, with an empty memory."""
        house = self.house
        house.store.dead, house.store.fails_in = False, None
        keyring = Keyring(house.store, house.root, clock=self.clock, random=self.random.randbytes)
        self.vault = Vault(house.store, keyring, random=self.random.randbytes)
        self.estate = Estate(
            house.catalog, house.store, house.root, keyring, self.vault, self.clock, self.random.randbytes
        )
        self.receiver = Receiver(house.catalog, self.vault, clock=self.clock, random=self.random.randbytes)

    async def _found(self, slug: str) -> tuple[TenantId, ProjectId]:
        house = self.house
        async with house.catalog.write(house.tenant) as s:
            await retention.set_(s, KEEP_ALL)
            project = ProjectId(new_id("prj", self.random.randbytes(16)))
            lineage = Lineage(new_id("lin", self.random.randbytes(16)))
            await projects.create(s, id=project, slug=slug, description="", now=self.clock(), lineage=lineage)
        return house.tenant, project

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        return self.house.loop.complete(work)

    def serve(self, work: Coroutine[Any, Any, T], dies_after: int | None = None) -> T:
        """One request, killed after some durable steps if told so. Raises ``Killed``; the server then runs again."""

        def dead() -> None:
            self.house.store.dead = True

        process = Process("the server", dies_after, dead)
        try:
            with self.processes.at_work(process):
                return self.run(work)
        except Killed:
            self.start()
            raise
        finally:
            self.house.store.fails_in = None

    def caller(self, author: str) -> Caller:
        async def stands(_s: Scope) -> None:
            pass

        principal = PrincipalId(new_id("key", author.encode().ljust(16, b"\0")))
        return Caller(self.tenant, principal, author, "req_simulated", stands)

    # What is asked of it ----------------------------------------------------------------------------------------------

    async def head(self) -> Head:
        async with self.house.catalog.read(self.tenant) as s:
            return Head(*await versions.head(s, self.project))

    async def changes(self, since: int, lineage: str | None) -> Changes:
        async with self.house.catalog.read(self.tenant) as s:
            head = Head(*await versions.head(s, self.project))
            known = since if lineage == head.lineage and since <= head.version else 0
            try:
                rows = await versions.changes(s, self.project, known, head.version, limit=HISTORY)
            except VersionExpired:  # as ``remote`` asks again
                known = 0
                rows = await versions.changes(s, self.project, 0, head.version, limit=HISTORY)
            lost = await damage.count(s, self.project)
        items = [
            Change(row.path, None if row.deleted else Entry(row.mode, row.object), row.size, *row[7:10]) for row in rows
        ]
        return Changes(head, known, items, lost, gives_files=True)

    async def digest_of(self, version: int) -> Digest | None:
        async with self.house.catalog.read(self.tenant) as s:
            try:
                return Digest((await versions.version(s, self.project, version)).digest)
            except NoSuchVersion:
                return None

    async def lacking(self, names: Sequence[ObjectId]) -> set[ObjectId]:
        async with self.house.catalog.read(self.tenant) as s:
            return set(await versions.missing(s, self.project, names))

    async def tree(self, version: int) -> tuple[versions.VersionRow, dict[str, Entry]]:
        async with self.house.catalog.read(self.tenant) as s:
            row = await versions.version(s, self.project, version)
            rows = await versions.tree(s, self.project, version)
        return row, {row.path: Entry(row.mode, row.object) for row in rows}

    async def contents(self, names: set[ObjectId]) -> dict[ObjectId, bytes]:
        if not names:
            return {}
        async with self.house.catalog.read(self.tenant) as s:
            places = await versions.places(s, self.project, names)
        read = self.vault.read_objects(self.tenant, self.project, [Place(*row) for row in places])
        return {name: data async for name, data in read}

    async def lost(self) -> set[ObjectId]:
        async with self.house.catalog.read(self.tenant) as s:
            return set(await damage.list_(s, self.project))

    async def standing(self, objects: set[ObjectId]) -> tuple[int, set[ObjectId], set[ObjectId]]:
        """The oldest version that can be read, and which objects are purged and which lost."""
        async with self.house.catalog.read(self.tenant) as s:
            floor = await versions.floor(s, self.project)
            gone = await purges.which(s, self.project, objects)
        return floor, gone, await self.lost()

    def verified(self) -> list[str]:
        """What is wrong with everything stored."""
        report = self.run(verify(self.estate, full=True, tenant=self.tenant, project=self.project))
        return [] if report.clean else [str(problem) for problem in report.problems]

    async def forget_rows(self) -> None:
        """Take all that the catalog knows of the project out of it."""
        database = self.house.database
        async with database.writing(None):
            for statement in _FORGET:
                database.plain.connection.execute(statement, (self.tenant, self.project))
            for table in ("upkeep", "reservation", "idempotency", "rate_use"):
                database.plain.connection.execute(f"DELETE FROM {table}")
        async with self.house.catalog.write(self.tenant) as s:
            await quotas.recount(s)

    def end(self) -> None:
        objects = self.house.store.objects
        for name in [name for name in objects if self.project in name]:
            del objects[name]
        self.house.store.dead, self.house.store.fails_in = False, None
        self.run(self.forget_rows())


_FORGET = [
    f"DELETE FROM {table.name} WHERE tenant_id = ? AND project_id = ?"
    for table in reversed(METADATA.sorted_tables)
    if "project_id" in table.c
]
