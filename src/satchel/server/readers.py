"""From a question of a request to its answer: threads that search, builders that bring indexes up to the head.

A question runs in a small pool of threads and never builds anything there: where an index is behind, it gives up with
``Behind``, the index is brought by the difference in another pool, one build a project at a time, and the question is
asked again. So a large first build delays those who ask for that project, and nobody else.

A question is tried on the event loop first. What it would have to wait for is awaited there and given to it when it is
asked anew, so that one which takes little work (an artifact, a list of versions, a few words sought in an index that is
open) never needs a thread.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Coroutine, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from typing import Any, NamedTuple, TypeVar
from weakref import WeakValueDictionary

from satchel.auth.roles import Principal
from satchel.catalog import purges, versions
from satchel.catalog.projects import ProjectRow
from satchel.catalog.scope import Catalog
from satchel.catalog.versions import EntryRow
from satchel.context.answers import ContextReader
from satchel.errors import (
    ArtifactPurged,
    DiskFull,
    NoSuchArtifact,
    ObjectsMissing,
    SatchelError,
    SealBroken,
    StoreMissing,
    StoreUnavailable,
    WrongKey,
)
from satchel.objects.ids import Digest, ObjectId, TenantId
from satchel.objects.listing import Entry
from satchel.search.index import Index, is_read
from satchel.server.checkpoints import Checkpointer
from satchel.server.hosted import HostedReader
from satchel.server.indexes import IndexCache, Ref
from satchel.server.shelf import Behind, Shelf
from satchel.server.trees import Trees
from satchel.server.turns import Turns
from satchel.server.waiting import Heavy, Look, Wait, Waits, Wanted, as_it_is, leave, stay
from satchel.store.keyring import EpochUnknown, Keyring
from satchel.store.packs import Vault
from satchel.sync import contents

BUILDERS = 2
TRIES = 5
"""How often a question is asked anew because the project moved on; then it is answered from what is there."""
WINDOW_BYTES = 32 * 1024 * 1024
"""Documents fetched ahead of the index builder."""
MOST_HELD = 10_000
"""Of so many indexes it is known which version they were brought to: for answers from one that is a little behind."""
WAITS = 8
"""How often a question is tried anew on the event loop; one that waits more often goes on in a thread."""
TREE_AT_ONCE = 500
"""Of a project with at most so many files the tree is read where one artifact is asked for: the next one is known."""
AHEAD_BYTES = 256 * 1024
"""Of a project of at most this all content is read where one artifact is: to open a frame for one of 3 KB takes as long
as to take 20 of them out of it."""
_LOST = "Run `satchel sync` in a folder that still has it, or ask the operator: satchel admin verify --repair."
T = TypeVar("T")


class Content(NamedTuple):
    """An artifact and its bytes."""

    entry: EntryRow
    data: bytes


class Readers:
    """One for a process; its methods are for the event loop."""

    def __init__(
        self,
        catalog: Catalog,
        vault: Vault,
        keyring: Keyring,
        indexes: IndexCache,
        checkpoints: Checkpointer,
        *,
        threads: int,
        degraded: Callable[[], bool] = lambda: False,
    ) -> None:
        """``degraded`` says whether the store is known not to answer."""
        self._degraded = degraded
        self._catalog, self._vault, self._keyring, self._indexes = catalog, vault, keyring, indexes
        self.checkpoints = checkpoints
        self._loop = asyncio.get_running_loop()
        self._askers = ThreadPoolExecutor(threads, "reader")
        self.turns = Turns(threads)
        self._builders = ThreadPoolExecutor(BUILDERS, "builder")
        # A lock lives as long as somebody builds under it or waits for it.
        self._building: WeakValueDictionary[Ref, asyncio.Lock] = WeakValueDictionary()
        self.trees = Trees(catalog)
        self._held: dict[Ref, ProjectRow] = {}
        self.asked = self.behind = self.builds = 0
        """Questions; those that met an index behind its project; indexes that were brought up to date."""
        self.build_seconds = 0.0
        self._under_way: dict[Ref, float] = {}
        """Since when each index is being brought up to date, by a clock that only goes forward."""

    def close(self) -> None:
        """Take no more questions. Every request has ended by now."""
        self._askers.shutdown(wait=False, cancel_futures=True)
        self._builders.shutdown(wait=False, cancel_futures=True)

    @property
    def lag_seconds(self) -> float:
        """How long the oldest index that is being brought up to date has been behind; 0 where none is."""
        return time.monotonic() - min(self._under_way.values()) if self._under_way else 0.0

    @property
    def building(self) -> int:
        """How many indexes are being brought up to date."""
        return len(self._under_way)

    async def ask(
        self,
        who: Principal,
        question: Callable[[ContextReader], T],
        *known: ProjectRow,
        absent: Callable[[str], None] = lambda _name: None,
    ) -> T:
        """Ask ``question`` of a reader that sees what ``who`` may see. ``known`` projects need no look-up.
        ``absent`` is told, in another thread, each name of a project that is not there, or not for ``who``.

        A project whose index cannot be brought to its head raises the reason, or is named as skipped where the question
        is about all projects.
        """
        failed: dict[Ref, SatchelError] = {}
        self.asked += 1
        waits = Waits()
        while len(waits) < WAITS:
            try:
                return question(self._reader(who, known, *waits.here, leave, absent=absent))
            except Wanted as wanted:
                await waits.have(wanted)
            except (Heavy, Behind):
                break
        wait, look = waits.then(self._wait)
        with ExitStack() as pins:
            for tries_left in reversed(range(TRIES)):
                reader = self._reader(who, known, wait, look, stay, settle=not tries_left, failed=failed, absent=absent)
                try:
                    async with self.turns.place(who.tenant):
                        return await self._loop.run_in_executor(self._askers, question, reader)
                except Behind as behind:
                    self.behind += tries_left == TRIES - 1
                    pins.enter_context(self._indexes.pinned(behind.needed))
                    brought = (self._tried(ref, row) for ref, row in behind.wanted)
                    failed |= {ref: error for ref, error in await asyncio.gather(*brought) if error is not None}
                known, wait, look = (), self._wait, as_it_is
        raise StoreUnavailable("the project changes faster than it can be indexed")

    def _reader(
        self,
        who: Principal,
        known: Sequence[ProjectRow],
        wait: Wait,
        look: Look,
        heavy: Callable[[], None],
        *,
        settle: bool = False,
        failed: Mapping[Ref, SatchelError] | None = None,
        absent: Callable[[str], None] = lambda _name: None,
    ) -> HostedReader:
        """A reader for one question. With ``settle`` an index that is a little behind will do.

        ``failed`` says of which projects the index cannot be brought to the head, and why.
        """

        def key(ref: Ref, file_id: bytes) -> bytes:
            heavy()  # of an index that somebody took, or deleted, just now: its key is waited for in a thread
            return self._key(ref, file_id)

        shelf = Shelf(
            self._catalog,
            self._indexes,
            wait,
            heavy,
            look(self._at_hand),
            look(self.trees.known),
            self.trees.tree,
            look(self._known_content),
            self.content,
            self.bytes_of,
            key,
            self._held,
            self._degraded,
        )
        return HostedReader(shelf, who, known, settle=settle, failed=failed or {}, absent=absent)

    def forget(self, ref: Ref) -> None:
        """Keep no tree and no index of a project, after a purge: the next question reads what is left."""
        self.forget_trees(ref)
        self._indexes.discard(ref)

    def forget_trees(self, ref: Ref) -> None:
        """Keep no tree and no content of a project: they may be what was purged."""
        self.trees.forget(ref)
        self._held.pop(ref, None)

    def forget_tenant(self, tenant: TenantId) -> None:
        """Keep nothing of a tenant that is no more."""
        self.trees.forget_tenant(tenant)
        for ref in [ref for ref in self._held if ref.tenant == tenant]:
            del self._held[ref]

    # Content -----------------------------------------------------------------------------------------------------

    async def entry(self, tenant: TenantId, row: ProjectRow, path: str, at: int | None = None) -> EntryRow:
        """An artifact of version ``at`` (default: the one of ``row``). Raises ``NoSuchArtifact``, ``NoSuchVersion``."""
        if at is None:
            found = await self._of_head(tenant, row, path)
        else:
            async with self._catalog.read(tenant) as s:
                found = await versions.entry_at(s, row.id, path, at)
        if found is None:
            raise NoSuchArtifact(f"there is no artifact {path!r} in this project")
        return found

    async def _of_head(self, tenant: TenantId, row: ProjectRow, path: str) -> EntryRow | None:
        if not row.version:
            return None
        ref = Ref(tenant, row.id)
        tree = self.trees.known(ref, row.lineage, row.version)
        if tree is None and row.files <= TREE_AT_ONCE:
            tree = await self.trees.tree(ref, row.lineage, row.version)
        if tree is not None:
            return tree.get(path)
        async with self._catalog.read(tenant) as s:
            return await versions.entry_at(s, row.id, path, row.version)

    async def bytes_of(self, tenant: TenantId, row: ProjectRow, entry: EntryRow) -> bytes:
        """The content of an entry, checked against its id.

        Raises ``ArtifactPurged``, ``StoreMissing``, ``SealBroken``.
        """
        try:
            found = contents.read_objects(self._catalog, self._vault, tenant, row.id, [entry.object])
            [(_, data)] = [item async for item in found]
            return data
        except ObjectsMissing as error:
            async with self._catalog.read(tenant) as s:
                if await purges.which(s, row.id, [entry.object]):
                    raise ArtifactPurged(f"{entry.path} of version {entry.version} was purged") from error
            raise _lost(StoreMissing, entry, "nowhere stored") from error
        except StoreMissing as error:
            raise _lost(StoreMissing, entry, "gone from the storage") from error
        except EpochUnknown:
            raise  # the keyring is what is missing something
        except (SealBroken, WrongKey) as error:  # a flipped salt looks like another key
            await self._keyring.key_of(tenant, anew=True)  # raises where it is the keyring that does not open
            raise _lost(SealBroken, entry, "damaged in the storage") from error

    async def content(self, tenant: TenantId, row: ProjectRow, path: str) -> Content:
        """An artifact of the head, which ``row`` says, with its bytes: from memory where they were read lately.

        Raises as ``entry`` and ``bytes_of``.
        """
        entry = await self.entry(tenant, row, path)
        return Content(entry, await self.bytes_of_head(tenant, row, entry))

    def _known_content(self, tenant: TenantId, row: ProjectRow, path: str) -> Content | None:
        """The same if all of it is in memory. For any thread: it only looks."""
        ref = Ref(tenant, row.id)
        entry = (self.trees.known(ref, row.lineage, row.version) or {}).get(path)
        data = None if entry is None else self.trees.contents.get(ref, entry.object)
        return None if entry is None or data is None else Content(entry, data)

    async def bytes_of_head(self, tenant: TenantId, row: ProjectRow, entry: EntryRow) -> bytes:
        """As ``bytes_of`` for an entry of the head as it is now: no purged content is any."""
        ref, moment = Ref(tenant, row.id), self.trees.moment
        data = self.trees.contents.use(ref, entry.object)
        if data is None:
            data = (await self._with_others(tenant, row, entry)).get(entry.object)
        if data is None:
            data = await self.bytes_of(tenant, row, entry)
            self.trees.keep_content(ref, entry.object, data, moment)
        return data

    async def _with_others(self, tenant: TenantId, row: ProjectRow, entry: EntryRow) -> dict[ObjectId, bytes]:
        """All that is not in memory yet of a small project, read together: it mostly rests in the frame that has to be
        opened for the one. Nothing if something of it cannot be read, which need not be that one."""
        ref, moment = Ref(tenant, row.id), self.trees.moment
        tree = self.trees.known(ref, row.lineage, row.version)
        if tree is None or row.bytes > AHEAD_BYTES:
            return {}
        wanted = {each.object for each in tree.values() if self.trees.contents.get(ref, each.object) is None}
        if len(wanted) < 2:
            return {}
        try:
            found = contents.read_objects(self._catalog, self._vault, tenant, row.id, wanted)
            read = {name: data async for name, data in found}
        except SatchelError:
            return {}
        for name, data in read.items():
            self.trees.keep_content(ref, name, data, moment)
        return read

    # Indexes -----------------------------------------------------------------------------------------------------

    def _at_hand(self, ref: Ref, row: ProjectRow) -> bool:
        """Whether an index and its history can be asked here and now. Not while an index is being built: SQLite gives
        up Python's lock for each row it has scored, and would wait half a millisecond for a thread of Python each time.
        """
        known = self.trees.known(ref, row.lineage, row.version) is not None
        return known and not self._under_way and self._indexes.at_hand(ref)

    async def bring(self, ref: Ref, row: ProjectRow) -> None:
        """Bring an index of a project to the version of ``row``."""
        lock = self._building.setdefault(ref, asyncio.Lock())
        async with lock:
            began = self._under_way[ref] = time.monotonic()
            try:
                tree = await self.trees.tree(ref._replace(past=False), row.lineage, row.version)
                await self._loop.run_in_executor(self._builders, self._build, ref, row, tree)
            finally:
                del self._under_way[ref]
                self.builds += 1
                self.build_seconds += time.monotonic() - began
            self._held.pop(ref, None)  # so that what was brought last stays longest
            self._held[ref] = row
            while len(self._held) > MOST_HELD:
                del self._held[next(iter(self._held))]

    async def _tried(self, ref: Ref, row: ProjectRow) -> tuple[Ref, SatchelError | None]:
        try:
            await self.bring(ref, row)
        except SatchelError as error:
            return ref, error
        return ref, None

    def _build(self, ref: Ref, row: ProjectRow, rows: Mapping[str, EntryRow]) -> None:
        large = not ref.past and self.checkpoints.wanted(row, rows)
        if large:
            self.checkpoints.begin(ref)
        try:
            changed = self._brought(ref, row, rows)
        except DiskFull:
            self._indexes.make_room()
            changed = self._brought(ref, row, rows)
        if large and changed:
            self._loop.call_soon_threadsafe(self.checkpoints.brought, ref)

    def _brought(self, ref: Ref, row: ProjectRow, rows: Mapping[str, EntryRow]) -> bool:
        """Bring an index to these rows; whether it was not there yet."""
        with self._indexes.build(ref, lambda file_id: self._key(ref, file_id)) as index:
            if index.digest == row.digest:
                return False
            tree = {path: Entry(entry.mode, entry.object) for path, entry in rows.items()}
            sizes = {path: entry.size for path, entry in rows.items()}
            ahead = _Ahead(_unread(index, rows.values()), lambda ids: self._wait(self._objects(ref, ids)))
            index.bring(Digest(row.digest), tree, ahead.read, sizes)
        return True

    async def _objects(self, ref: Ref, ids: Sequence[ObjectId]) -> dict[ObjectId, bytes]:
        purged: set[ObjectId] = set()
        if ref.past:  # an old version still names what was purged: it has no words any more
            async with self._catalog.read(ref.tenant) as s:
                purged = await purges.which(s, ref.project, ids)
        left = [name for name in ids if name not in purged]
        found = contents.read_objects(self._catalog, self._vault, ref.tenant, ref.project, left)
        try:
            return dict.fromkeys(purged, b"") | {name: data async for name, data in found}
        except EpochUnknown:
            raise
        except (ObjectsMissing, SealBroken, StoreMissing, WrongKey) as error:
            said = "the project's search index cannot be brought up to date: some of its content is damaged or lost"
            raise StoreMissing(said, hint=_LOST) from error

    def _key(self, ref: Ref, file_id: bytes) -> bytes:
        return self._wait(self._keyring.index_key(ref.tenant, ref.project, file_id))

    def _wait(self, work: Coroutine[Any, Any, T]) -> T:
        """Run ``work`` on the event loop from a thread, and wait for it."""
        return asyncio.run_coroutine_threadsafe(work, self._loop).result()


def _lost(kind: type[SealBroken | StoreMissing], entry: EntryRow, how: str) -> SealBroken | StoreMissing:
    return kind(f"the content of {entry.path} is {how}", hint=_LOST, path=entry.path)


def _unread(index: Index, rows: Iterable[EntryRow]) -> list[EntryRow]:
    """The documents that the index has to read to become these rows, in the order in which it will."""
    held = {item.path: (item.mode, item.object) for item in index.inventory()}
    fresh = (row for row in rows if held.get(row.path) != (row.mode, row.object) and is_read(row.path, row.size))
    return sorted(fresh, key=lambda row: row.path)


class _Ahead:
    """Gives documents in order, fetched a window at a time: the store is asked for many at once."""

    def __init__(self, wanted: list[EntryRow], fetch: Callable[[Sequence[ObjectId]], dict[ObjectId, bytes]]) -> None:
        self._wanted = iter(wanted)
        self._fetch = fetch
        self._objects = {row.path: row.object for row in wanted}
        self._window: dict[ObjectId, bytes] = {}

    def read(self, path: str) -> bytes:
        name = self._objects[path]
        if name not in self._window:
            ids, size = [name], 0
            for row in self._wanted:
                ids.append(row.object)
                size += row.size
                if size >= WINDOW_BYTES:
                    break
            self._window = self._fetch(list(dict.fromkeys(ids)))
        return self._window[name]
