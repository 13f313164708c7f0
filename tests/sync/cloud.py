"""A whole receiving side (catalog, sealed local store, receiver) in this process, and a ``Peer`` that talks to it.

Nothing is replaced: only HTTP is left out. The event loop runs in a thread of its own, as the server's does.
"""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from satchel.catalog import audit, damage, packs, projects, versions
from satchel.catalog.bootstrap import found_tenant
from satchel.catalog.scope import Catalog, Scope
from satchel.errors import NoSuchProject, NoSuchVersion, VersionExpired
from satchel.objects.frame import Frame
from satchel.objects.ids import Digest, Lineage, ObjectId, PrincipalId, ProjectId, TenantId, new_id
from satchel.objects.listing import Entry
from satchel.objects.pack import PackReader
from satchel.store.durable_local import LocalStore
from satchel.store.keyring import Keyring
from satchel.store.packs import Place, Vault
from satchel.store.rootkey import RootKey
from satchel.sync.peer import Change, Changes, Committed, Files, Head
from satchel.sync.receive import Caller, Limits, PacksKept, Receiver
from satchel.sync.wire import Parent, Sent
from satchel.upkeep.estate import Estate
from satchel.upkeep.findings import VerifyReport
from satchel.upkeep.verify import verify
from satchel.worktree.walk import Worktree
from tests import engines

T = TypeVar("T")
NOW = 1_800_000_000_000


@dataclass
class Cloud:
    """Everything a server stands on, over a folder; open it again on the same folder and it is all still there."""

    folder: Path
    limits: Limits = field(default_factory=Limits)
    guard: Callable[[Scope], Awaitable[None]] | None = None
    ticks: int = 0

    def __post_init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        self.wait(self._open())

    def close(self) -> None:
        self.wait(self.catalog.close())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def wait(self, work: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(60)

    def clock(self) -> int:
        self.ticks += 1
        return NOW + self.ticks

    async def _open(self) -> None:
        self.catalog = await Catalog.open(await engines.migrated(self.folder))
        self.store = LocalStore(self.folder / "store")
        key = self.folder / "root.key"
        self.root = RootKey.load(key) if key.exists() else RootKey.create(key)
        self.keyring = Keyring(self.store, self.root, clock=self.clock, random=os.urandom)
        await self.keyring.found()
        self.vault = Vault(self.store, self.keyring, random=os.urandom)
        self.receiver = Receiver(self.catalog, self.vault, clock=self.clock, random=os.urandom, limits=self.limits)

    def tenant(self, slug: str) -> TenantId:
        async def found() -> TenantId:
            async with self.catalog.directory(write=True) as d:
                made = await found_tenant(d, slug=slug, name=slug, pepper=b"p" * 32, now=NOW)
                await self.keyring.create(made.tenant.id)
                return made.tenant.id

        return self.wait(found())

    def project(self, tenant: TenantId, slug: str = "acme") -> ProjectId:
        async def create() -> ProjectId:
            async with self.catalog.write(tenant) as s:
                made = ProjectId(new_id("prj", os.urandom(16)))
                lineage = Lineage(new_id("lin", os.urandom(16)))
                await projects.create(s, id=made, slug=slug, description="", now=NOW, lineage=lineage)
                return made

        return self.wait(create())

    def peer(self, tenant: TenantId, author: str = "Ann") -> InProcessPeer:
        return InProcessPeer(self, tenant, author)

    def verify(self, tenant: TenantId, project: ProjectId) -> VerifyReport:
        """Every byte of the project is read, and all of it fits together."""
        return self.wait(verify(self.estate, full=True, tenant=tenant, project=project))

    @property
    def estate(self) -> Estate:
        """The same as an operator's commands open it."""
        return Estate(self.catalog, self.store, self.root, self.keyring, self.vault, self.clock, os.urandom)

    def stored(self) -> set[str]:
        """Names of all objects in the store."""

        async def look() -> set[str]:
            return {item.name async for item in self.store.list("")}

        return self.wait(look())

    def audited(self, tenant: TenantId) -> list[audit.AuditRow]:
        async def look() -> list[audit.AuditRow]:
            async with self.catalog.read(tenant) as s:
                return await audit.list_(s)

        return self.wait(look())


@dataclass
class InProcessPeer:
    """The ``Peer`` of one principal. ``calls`` counts what was asked."""

    cloud: Cloud
    tenant: TenantId
    author: str
    calls: list[str] = field(default_factory=list)
    deltas: bool = True
    """Whether it says that it takes and gives them."""
    files: bool = True
    """Whether it says that it may be asked for them."""
    person: bool = False

    def caller(self) -> Caller:
        async def stands(s: Scope) -> None:
            if self.cloud.guard is not None:
                await self.cloud.guard(s)

        principal = PrincipalId(new_id("key", self.author.encode().ljust(16, b"\0")))
        return Caller(self.tenant, principal, self.author, "req_test", stands, person=self.person)

    async def _resolve(self, s: Scope, project: str) -> projects.ProjectRow:
        row = await projects.get(s, project)
        if row is None:
            raise NoSuchProject("there is no such project")
        return row

    def head(self, project: str) -> Head:
        async def ask() -> Head:
            async with self.cloud.catalog.read(self.tenant) as s:
                row = await self._resolve(s, project)
                return Head(*await versions.head(s, row.id))

        self.calls.append("head")
        return self.cloud.wait(ask())

    def changes(self, project: str, since: int, lineage: str | None) -> Changes:
        async def ask() -> Changes:
            async with self.cloud.catalog.read(self.tenant) as s:
                row = await self._resolve(s, project)
                head = Head(*await versions.head(s, row.id))
                known = since if lineage == head.lineage and since <= head.version else 0
                try:
                    rows = await versions.changes(s, row.id, known, head.version, limit=1_000_000)
                except VersionExpired:
                    known = 0
                    rows = await versions.changes(s, row.id, 0, head.version, limit=1_000_000)
                lost = await damage.count(s, row.id)
            items = [
                Change(r.path, None if r.deleted else Entry(r.mode, r.object), r.size, r.version, r.author, r.time)
                for r in rows
            ]
            return Changes(head, known, items, lost, self.deltas, self.deltas, self.files)

        self.calls.append("changes")
        return self.cloud.wait(ask())

    def digest_of(self, project: str, version: int) -> Digest | None:
        async def ask() -> Digest | None:
            async with self.cloud.catalog.read(self.tenant) as s:
                row = await self._resolve(s, project)
                try:
                    return Digest((await versions.version(s, row.id, version)).digest)
                except NoSuchVersion:
                    return None

        self.calls.append("digest_of")
        return self.cloud.wait(ask())

    def sync(
        self, project: str, stream: Iterable[bytes], declared: int, key: str, *, allowed: Sequence[str] = ()
    ) -> Committed:
        self.calls.append("sync")
        answer = self.cloud.wait(self._sync(project, stream, declared, key, tuple(allowed)))
        return answer._replace(damaged=self.cloud.wait(self._lost(project)), deltas=self.deltas)

    async def _lost(self, project: str) -> int:
        row = await self._row(project)
        async with self.cloud.catalog.read(self.tenant) as s:
            return await damage.count(s, row.id)

    async def _sync(
        self, project: str, stream: Iterable[bytes], declared: int, key: str | None, allowed: tuple[str, ...] = ()
    ) -> Committed:
        row = await self._row(project)
        caller = self.caller()._replace(secrets_allowed=allowed)
        return await self.cloud.receiver.sync(caller, row.id, _chunks(stream), declared, key)

    async def _row(self, project: str) -> projects.ProjectRow:
        async with self.cloud.catalog.read(self.tenant) as s:
            return await self._resolve(s, project)

    def lacking(self, project: str, objects: Sequence[ObjectId]) -> set[ObjectId]:
        async def ask() -> set[ObjectId]:
            async with self.cloud.catalog.read(self.tenant) as s:
                row = await self._resolve(s, project)
                return set(await packs.missing(s, row.id, objects))

        self.calls.append("lacking")
        return self.cloud.wait(ask())

    def read_objects(self, project: str, objects: Sequence[ObjectId], since: int | None = None) -> Iterator[Frame]:
        self.calls.append("read_objects")
        yield from self._frames(project, objects, since, None)

    def read_files(self, project: str, files: Files) -> Iterator[Frame]:
        self.calls.append("read_files")
        yield from self._frames(project, [], None, files)

    def _frames(
        self, project: str, objects: Sequence[ObjectId], since: int | None, files: Files | None
    ) -> Iterator[Frame]:
        async def ask() -> list[bytes]:
            row = await self._row(project)
            stream = await self.cloud.receiver.read_frames(self.tenant, row.id, objects, since, files)
            return [piece async for piece in stream]

        reader = PackReader(deltas=since is not None)
        for piece in self.cloud.wait(ask()):
            yield from reader.feed(piece)
        reader.finish()

    def damaged(self, project: str) -> list[ObjectId]:
        async def ask() -> list[ObjectId]:
            row = await self._row(project)
            async with self.cloud.catalog.read(self.tenant) as s:
                return await damage.list_(s, row.id)

        self.calls.append("damaged")
        return self.cloud.wait(ask())

    def give_back(self, project: str, stream: Iterable[bytes], declared: int) -> int:
        self.calls.append("give_back")
        return self.packs(project, stream, declared).restored

    # Beyond the protocol ------------------------------------------------------------------------------------------

    def packs(self, project: str, stream: Iterable[bytes], declared: int) -> PacksKept:
        async def send() -> PacksKept:
            row = await self._row(project)
            return await self.cloud.receiver.packs(self.caller(), row.id, _chunks(stream), declared)

        return self.cloud.wait(send())

    def commit(
        self, project: str, parent: Parent, after: Digest, changes: Sequence[Sent], key: str | None = None
    ) -> Committed:
        async def send() -> Committed:
            row = await self._row(project)
            return await self.cloud.receiver.commit(self.caller(), row.id, parent, after, changes, key)

        return self.cloud.wait(send())

    def write(
        self,
        project: str,
        path: str,
        data: bytes | None,
        precondition: str,
        key: str | None = None,
        mode: str | None = None,
    ) -> Committed:
        async def send() -> Committed:
            row = await self._row(project)
            return await self.cloud.receiver.write(self.caller(), row.id, path, data, mode, precondition, key)

        return self.cloud.wait(send())

    def content(self, project: str, path: str, at: int | None = None) -> bytes:
        """The bytes of a path as the cloud has them."""

        async def read() -> bytes:
            async with self.cloud.catalog.read(self.tenant) as s:
                row = await self._resolve(s, project)
                entry = await versions.entry_at(s, row.id, path, at)
                assert entry is not None
                places = await versions.places(s, row.id, [entry.object])
            return await self.cloud.vault.read_object(self.tenant, row.id, [Place(*place) for place in places])

        return self.cloud.wait(read())


async def _chunks(stream: Iterable[bytes]) -> AsyncIterator[bytes]:
    """In pieces of the size a server gets them."""
    for piece in stream:
        for start in range(0, len(piece), 65_536):
            yield piece[start : start + 65_536]


def folder(root: Path, files: dict[str, str] | None = None) -> Worktree:
    """A project's folder with these files."""
    (root / ".satchel").mkdir(parents=True, exist_ok=True)
    put(root, files or {})
    return Worktree.open(root, state_path=root / ".satchel" / "state.db")


def put(root: Path, files: dict[str, str]) -> None:
    for path, text in files.items():
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_text(text)


def held(root: Path) -> dict[str, str]:
    """Every file of a folder but Satchel's own."""
    return {
        str(path.relative_to(root)): path.read_text()
        for path in sorted(root.rglob("*"))
        if path.is_file() and ".satchel" not in path.parts
    }
