"""Pushes, uploads, reads, collect and purge as coroutines of one thread, each step chosen by a seed.

An actor runs until it asks the store or the catalog for something, and waits there until it is chosen again. A writing
scope runs through once it began, as SQLite's do; between the statements of a reading one anybody may act. What an actor
was acknowledged goes into a ledger, and ``check`` holds the installation to it.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Sequence
from contextlib import asynccontextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any, Self

import aiosqlite
import pytest

from satchel.catalog import dying, purges, retention, sqlite, versions
from satchel.catalog.retention import Retention
from satchel.catalog.scope import Catalog, Params, Query, Record, Scope
from satchel.catalog.turns import TenantTurns
from satchel.errors import HeadMoved, NoSuchArtifact, ObjectsMissing, VersionExpired
from satchel.objects.frame import make_frames
from satchel.objects.ids import ObjectId, ProjectId, TenantId, object_id
from satchel.objects.listing import Entry, digest
from satchel.objects.pack import encode_frame, encode_pack_end, encode_pack_start
from satchel.store import packs
from satchel.store.keyring import Keyring
from satchel.store.objectstore import MemoryStore, StoredObject
from satchel.store.packs import Vault
from satchel.store.rootkey import RootKey
from satchel.sync import contents
from satchel.sync.peer import Committed
from satchel.sync.receive import LEASE_MS, Receiver
from satchel.sync.wire import Parent, Sent, encode_preamble
from satchel.upkeep.collect import collect
from satchel.upkeep.estate import Estate
from satchel.upkeep.lease import LEASE_MS as UPKEEP_LEASE_MS
from satchel.upkeep.lease import UpkeepBusy
from satchel.upkeep.purge import ProjectBusy, purge
from satchel.upkeep.verify import verify
from tests import engines
from tests.upkeep.house import Clock, House

KEPT = 1
"""Versions that retention keeps: so that much dies."""
PATHS = ("a.md", "b.md", "c/d.md")
FOR_EVER = 2**62
VERIFIED = 10
"""Of so many schedules one is looked at by the whole of ``verify --full`` too."""
TEXTS = 4
"""Different contents in play: few, so that old ones come back while they die."""


_actor: ContextVar[int] = ContextVar("actor")


class Stepper:
    """Lets one actor at a time go on, until its next step."""

    def __init__(self, seed: int) -> None:
        self._random = Random(seed)
        self._waiting: list[tuple[int, asyncio.Future[None]]] = []
        self._stay = self._random.choice((0.0, 0.5, 0.8, 0.95))
        """How likely an actor goes on rather than another one: orders with few changes of turn find other defects."""
        self._live = 0
        self._changed = asyncio.Event()
        self.steps = 0

    async def gate(self) -> None:
        """Wait to be chosen, where a schedule runs."""
        if self._live:
            future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._waiting.append((_actor.get(), future))
            self._changed.set()
            await future

    async def run(self, actors: Sequence[Coroutine[Any, Any, None]]) -> None:
        """Run the actors to their ends, and raise what one of them raised."""
        self._live = len(actors)
        tasks = [asyncio.create_task(self._act(number, actor)) for number, actor in enumerate(actors)]
        turn = 0
        while self._live:
            while len(self._waiting) < self._live:
                self._changed.clear()
                await self._changed.wait()
            if self._live:
                self.steps += 1
                if self._random.random() > self._stay or all(number != turn for number, _ in self._waiting):
                    turn = self._random.choice(self._waiting)[0]
                chosen = next(index for index, (number, _) in enumerate(self._waiting) if number == turn)
                self._waiting.pop(chosen)[1].set_result(None)
                self._changed.clear()
                await self._changed.wait()
        await asyncio.gather(*tasks)

    async def _act(self, number: int, actor: Coroutine[Any, Any, None]) -> None:
        _actor.set(number)
        try:
            await self.gate()
            await actor
        finally:
            self._live -= 1
            self._changed.set()


class GatedStore(MemoryStore):
    """A store in memory that is a step at each request."""

    def __init__(self) -> None:
        super().__init__()
        self.gate: Callable[[], Awaitable[None]] = _open

    async def put(self, name: str, data: bytes, *, create: bool = False) -> None:
        await self.gate()
        await super().put(name, data, create=create)

    async def get(self, name: str, *, offset: int = 0, length: int | None = None) -> bytes:
        await self.gate()
        return await super().get(name, offset=offset, length=length)

    async def delete(self, name: str) -> None:
        await self.gate()
        await super().delete(name)

    async def list(self, prefix: str) -> AsyncIterator[StoredObject]:
        await self.gate()
        async for stored in super().list(prefix):
            yield stored


async def _open() -> None:
    pass


async def _in_this_thread(_self: aiosqlite.Connection, work: Callable[..., Any], *given: Any, **named: Any) -> Any:
    """In place of the thread each connection has: a schedule goes three times as fast, and one thing at a time."""
    return work(*given, **named)


class GatedScope(Scope):
    """A reading scope that is a step at each statement."""

    gate: Callable[[], Awaitable[None]]

    async def rows(self, query: Query, params: Params | None = None) -> Sequence[Record]:
        await self.gate()
        return await super().rows(query, params)

    async def row(self, query: Query, params: Params | None = None) -> Record | None:
        await self.gate()
        return await super().row(query, params)


class GatedCatalog(Catalog):
    gate: Callable[[], Awaitable[None]] = staticmethod(_open)

    @asynccontextmanager
    async def read(self, tenant: str) -> AsyncIterator[Scope]:
        async with super().read(tenant) as s:
            gated = GatedScope(s._connection, s.tenant, s.random, writing=False)
            gated.gate = self.gate
            yield gated

    @asynccontextmanager
    async def write(self, tenant: str) -> AsyncIterator[Scope]:
        await self.gate()
        async with super().write(tenant) as s:
            yield s


@dataclass
class Stage:
    """An installation for many schedules, one after another."""

    house: House
    store: GatedStore
    catalog: GatedCatalog

    @classmethod
    @asynccontextmanager
    async def open(cls, folder: Path) -> AsyncIterator[Self]:
        url, key = engines.on_disk(folder), folder / "root.key"
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(sqlite, "READERS", 16)  # each actor may stop in the middle of a reading scope
            patch.setattr(aiosqlite.Connection, "_execute", _in_this_thread)
            patch.setattr(packs, "READS_AHEAD", 1)  # an actor takes one step at a time
            catalog = await GatedCatalog.open(url)
            store, clock, root = GatedStore(), Clock(), RootKey.create(key)
            keyring = Keyring(store, root, clock=clock, random=os.urandom)
            await keyring.found()
            vault = Vault(store, keyring, random=os.urandom)
            estate = Estate(catalog, store, root, keyring, vault, clock, os.urandom)
            receiver = Receiver(catalog, vault, clock=clock, random=os.urandom)
            receiver._writers = TenantTurns(99, 60)  # a schedule says who is next; it would not know who queues
            yield cls(House(folder, clock, estate, receiver), store, catalog)
        await catalog.close()

    async def play(self, seed: int, *actors: str) -> Play:
        """One schedule; raises ``AssertionError`` where something acknowledged was lost."""
        for gated in (self.store, self.catalog):
            gated.gate = _open
        tenant = await self.house.tenant(f"seed-{seed}")
        project = await self.house.project(tenant)
        play = Play(self, seed, tenant, project, Random(seed * 7 + 1))
        await play.begin()
        stepper = Stepper(seed)
        for gated in (self.store, self.catalog):
            gated.gate = stepper.gate
        try:
            await stepper.run([getattr(play, name)() for name in actors])
        finally:
            for gated in (self.store, self.catalog):
                gated.gate = _open
        play.steps = stepper.steps
        await play.check()
        if seed % VERIFIED == 0:
            report = await verify(self.house.estate, full=True, tenant=f"seed-{seed}")
            assert report.clean, report.problems
        for name in [name for name in self.store.objects if tenant in name]:
            await self.store.delete(name)
        return play


def text(number: int) -> bytes:
    return b"".join(object_id(b"%d-%d" % (number, line)).encode() for line in range(8))


@dataclass
class Play:
    """What the actors do, and the ledger of what they were acknowledged."""

    stage: Stage
    seed: int
    tenant: TenantId
    project: ProjectId
    random: Random
    ledger: dict[int, dict[str, bytes | None]] = field(default_factory=dict)
    """What each acknowledged version changed."""
    steps: int = 0

    @property
    def house(self) -> House:
        return self.stage.house

    async def begin(self) -> None:
        async with self.stage.catalog.write(self.tenant) as s:
            await retention.set_(s, Retention(versions=KEPT))
        await self._two_steps({path: text(50 + number) for number, path in enumerate(PATHS)}, send=True)
        for number in range(TEXTS):  # each in a pack of its own, which nothing will need
            await self._write(PATHS[0], text(number))

    # Actors -----------------------------------------------------------------------------------------------------------

    async def writer(self) -> None:
        for _ in range(3):
            await self._write(self.random.choice(PATHS), text(self.random.randrange(TEXTS)))

    async def uploader(self) -> None:
        """Sends content ahead, and commits it: told within the day that it is missing, it was lost."""
        for _ in range(2):
            files = {path: text(100 + self.random.randrange(TEXTS)) for path in self.random.sample(PATHS, 2)}
            await self._two_steps(files, send=True)

    async def resumer(self) -> None:
        """Goes on with an upload of long ago: sends only what the project says it lacks."""
        for _ in range(2):
            files = {path: text(self.random.randrange(TEXTS)) for path in self.random.sample(PATHS, 2)}
            await self._two_steps(files, send=False)

    async def sleeper(self) -> None:
        """Sends content ahead and comes back after its day has passed."""
        files = {"late.md": text(200 + self.random.randrange(TEXTS))}
        await self._send(files.values())
        self.house.clock.now += LEASE_MS + 1
        await self._two_steps(files, send=False)

    async def reader(self) -> None:
        for _ in range(3):
            async with self.stage.catalog.read(self.tenant) as s:
                oldest, head = await versions.floor(s, self.project), await versions.head(s, self.project)
            at = self.random.randint(max(oldest, 1), head.version)
            try:
                await self._read(at)
            except VersionExpired:
                async with self.stage.catalog.read(self.tenant) as s:
                    assert at < await versions.floor(s, self.project)

    async def collector(self) -> None:
        for _ in range(2):
            try:
                await collect(self.house.estate, self.tenant, window_ms=0)
            except UpkeepBusy:
                self.house.clock.now += UPKEEP_LEASE_MS
                await self.stage.catalog.gate()

    async def purger(self) -> None:
        path = self.random.choice(PATHS)
        caller, receiver = self.house.caller(self.tenant), self.house.receiver
        real = receiver.commit

        async def noted(*given: Any) -> Committed:
            made = await real(*given)
            self.ledger[made.version] = {sent.path: None for sent in given[4]}
            return made

        receiver = Receiver.__new__(Receiver)
        receiver.__dict__.update(self.house.receiver.__dict__, commit=noted)
        try:
            await purge(self.house.estate, receiver, caller, self.project, [path], everywhere=True)
        except (UpkeepBusy, ProjectBusy, NoSuchArtifact, ObjectsMissing):
            pass

    # What they are made of --------------------------------------------------------------------------------------------

    async def _write(self, path: str, data: bytes) -> None:
        caller = self.house.caller(self.tenant)
        for condition in ("*present", "*absent") * 4:
            try:
                made = await self.house.receiver.write(caller, self.project, path, data, None, condition, None)
            except (HeadMoved, ObjectsMissing):
                continue
            except Exception as error:
                if getattr(error, "code", "") in ("artifact.changed", "version.expired"):
                    continue
                raise
            if made.added + made.changed:
                self.ledger[made.version] = {path: data}
            return

    async def _two_steps(self, files: dict[str, bytes], *, send: bool) -> None:
        sent_at = self.house.clock.now
        ahead: set[ObjectId] = set()
        if send:
            await self._send(files.values())
            ahead = {object_id(data) for data in files.values()}
        for _ in range(12):
            async with self.stage.catalog.read(self.tenant) as s:
                lacking = set(await versions.missing(s, self.project, [object_id(data) for data in files.values()]))
            purged = await self._purged()
            if self.house.clock.now < sent_at + LEASE_MS:
                assert not lacking & ahead - purged, "content sent ahead was dropped within its day"
            if lacking:
                await self._send(data for data in files.values() if object_id(data) in lacking)
            try:
                await self._commit(files)
            except ObjectsMissing:
                continue
            except (HeadMoved, VersionExpired):
                continue
            return

    async def _send(self, contents_: Any) -> None:
        frames = [encode_frame(frame) for frame in make_frames([(object_id(data), data) for data in contents_])]
        whole = [*encode_preamble(None, None, []), encode_pack_start(), *frames, encode_pack_end(len(frames))]

        async def body() -> AsyncIterator[bytes]:
            yield b"".join(whole)

        await self.house.receiver.packs(self.house.caller(self.tenant), self.project, body(), 1 << 20)

    async def _commit(self, files: dict[str, bytes]) -> None:
        async with self.stage.catalog.read(self.tenant) as s:
            head = await versions.head(s, self.project)
            rows = await versions.tree(s, self.project, head.version) if head.version else []
        tree = {row.path: Entry(row.mode, row.object) for row in rows}
        changes = [Sent(path, Entry("100644", object_id(data)), len(data)) for path, data in files.items()]
        after = digest(tree | {change.path: change.entry for change in changes if change.entry is not None})
        caller = self.house.caller(self.tenant)
        made = await self.house.receiver.commit(caller, self.project, Parent(*head), after, changes, None)
        self.ledger[made.version] = dict(files)

    async def _read(self, at: int) -> dict[str, bytes]:
        async with self.stage.catalog.read(self.tenant) as s:
            rows = await versions.tree(s, self.project, at)
        found: dict[ObjectId, bytes] = {}
        for name in sorted({row.object for row in rows}):
            try:
                read = contents.read_objects(
                    self.stage.catalog, self.house.estate.vault, self.tenant, self.project, [name]
                )
                found |= {each: data async for each, data in read}
            except ObjectsMissing:
                async with self.stage.catalog.read(self.tenant) as s:
                    oldest = await versions.floor(s, self.project)
                    gone = await purges.which(s, self.project, [name])
                if at < oldest:
                    raise VersionExpired("it expired while it was read") from None
                assert gone or name in await self._purged(), f"version {at} lost {name}"
        return {row.path: found[row.object] for row in rows if row.object in found}

    async def _purged(self) -> set[ObjectId]:
        """All that any purge has named so far."""
        vault, found = self.house.estate.vault, set()
        async for stored in vault.names(self.tenant, self.project, "purges"):
            found |= {*(await vault.get_purge(self.tenant, self.project, stored.name)).objects}
        return found

    # The end ----------------------------------------------------------------------------------------------------------

    async def check(self) -> None:
        """Everything acknowledged and within retention reads back, and every row of a pack has its bytes."""
        async with self.stage.catalog.read(self.tenant) as s:
            head, oldest = await versions.head(s, self.project), await versions.floor(s, self.project)
            gone = {
                row.name for row in await dying.dead(s, self.project, FOR_EVER)
            }  # may have lost their bytes already
            rows = {name: size for name, size in (await dying.names(s, self.project)).items() if name not in gone}
        purged = await self._purged()
        assert head.version == max(self.ledger), "a version was acknowledged that is not there, or not acknowledged"
        assert oldest <= max(head.version - KEPT + 1, 1)
        tree: dict[str, bytes] = {}
        for number in range(1, head.version + 1):
            for path, data in self.ledger.get(number, {}).items():
                tree.pop(path, None)
                if data is not None:
                    tree[path] = data
            if number >= oldest:
                there = await self._read(number)
                expected = {path: data for path, data in tree.items() if path in there or object_id(data) not in purged}
                assert there == expected, f"version {number} reads otherwise than it was written"
        stored = {name.rpartition("/")[2]: len(data) for name, data in self.stage.store.objects.items()}
        assert all(stored.get(name) == size for name, size in rows.items()), "a row without its bytes"
