"""Checkpoints of large indexes: a node without an index begins with what another put in the bucket.

A node that brought an index up to date looks some time later whether the project's checkpoint is still near enough,
and puts another where it is not: one at a time, in a thread of lower priority, beside all requests. A node that has no
index of a project takes the checkpoint and goes on by the difference; where that fails in any way it builds the index
from the content, as it would without.

A purge in the meantime, here or elsewhere, never leaves a checkpoint with what it removed. The writer reads what is
purged before it reads the index, takes an index of the head that it read after that, and looks again when all is put:
then either it sees the purge and deletes what it put, or the purge comes later and deletes it.
"""

from __future__ import annotations

import asyncio
import os
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Coroutine, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeVar

from satchel.catalog.projects import ProjectRow
from satchel.catalog.scope import Catalog
from satchel.catalog.versions import EntryRow
from satchel.documents.kinds import indexable
from satchel.errors import Damaged, IndexCorrupt, NotFound, SatchelError
from satchel.objects.ids import new_id
from satchel.search.index import Index, remove
from satchel.search.schema import INDEX_FORMAT
from satchel.server.indexes import FILE_ID_BYTES, IndexCache, Ref
from satchel.server.logs import log
from satchel.store.checkpoints import Checkpoint, Checkpoints, Found, pieces_of
from satchel.store.keyring import Keyring
from satchel.sync.failpoints import reach
from satchel.upkeep import checkpoints as upkeep
from satchel.upkeep.checkpoints import Standing

NEAR = 4
"""A checkpoint will do while less than one part in so many of the text came after it. Indexing a quarter of 100 MB
takes 2 s; a checkpoint after each commit would put the whole index each time."""
AGAIN_SECONDS = 600.0
"""A project is looked at no more often than this."""
PIECES_AT_ONCE = 4
"""Pieces fetched together: 16 MiB."""
NICE = 10
Tree = Mapping[str, EntryRow]
T = TypeVar("T")


class Checkpointer:
    """One for a process; its methods are for the event loop, unless they say otherwise."""

    def __init__(
        self,
        catalog: Catalog,
        checkpoints: Checkpoints,
        keyring: Keyring,
        indexes: IndexCache,
        *,
        from_bytes: int,
        random: Callable[[int], bytes],
    ) -> None:
        """Projects with ``from_bytes`` of indexed text or more have checkpoints; 0: none has."""
        self._catalog, self._checkpoints, self._keyring, self._indexes = catalog, checkpoints, keyring, indexes
        self._from_bytes, self._random = from_bytes, random
        self._loop = asyncio.get_running_loop()
        self._maker = ThreadPoolExecutor(1, "checkpoint", initializer=_yield_to_others)
        # When each project is to be looked at, and was last, by a clock that only goes forward.
        self._due: dict[Ref, float] = {}
        self._looked: dict[Ref, float] = {}
        self._wake = asyncio.Event()
        self._ending = threading.Event()
        self.outcomes = Counter({"made": 0, "used": 0, "failed": 0})
        """Checkpoints that were put, that an index began with, and that could not be used."""

    def close(self) -> None:
        """Stop what is being made."""
        self._ending.set()
        self._maker.shutdown(wait=False, cancel_futures=True)

    def wanted(self, row: ProjectRow, tree: Tree) -> bool:
        """Whether a project is large enough. For any thread."""
        return 0 < self._from_bytes <= row.bytes and text_bytes(tree) >= self._from_bytes

    # Making -------------------------------------------------------------------------------------------------------

    def brought(self, ref: Ref) -> None:
        """Note that the index of a project was brought up to date: its checkpoint is looked at when it is time."""
        last = self._looked.get(ref)
        now = time.monotonic()
        self._due.setdefault(ref, now if last is None else max(now, last + AGAIN_SECONDS))
        self._wake.set()

    async def keep(self, tree_of: Callable[[Ref, str, int], Coroutine[Any, Any, Tree]]) -> None:
        """Look at one project after another when it is time, until cancelled. ``tree_of`` reads a version's tree.

        Raises what goes wrong with one: it is looked at again after its index was next brought up to date.
        """
        while True:
            self._wake.clear()
            ref = min(self._due, key=self._due.__getitem__, default=None)
            wait = None if ref is None else self._due[ref] - time.monotonic()
            if ref is None or (wait is not None and wait > 0):
                with suppress(TimeoutError):
                    async with asyncio.timeout(wait):
                        await self._wake.wait()
                continue
            del self._due[ref]
            now = time.monotonic()
            self._looked = {each: at for each, at in self._looked.items() if now - at < AGAIN_SECONDS}
            self._looked[ref] = now
            with suppress(NotFound):  # the project, or the tenant, is no more
                await self.look(ref, tree_of)

    async def look(self, ref: Ref, tree_of: Callable[[Ref, str, int], Coroutine[Any, Any, Tree]]) -> None:
        """Put a checkpoint of a project where none is near enough, and delete those that count no more."""
        now = await self._standing(ref)
        found = await self._checkpoints.all(ref.tenant, ref.project)
        stays = upkeep.kept(found, now)
        tree = await tree_of(ref, now.project.lineage, now.project.version)
        if not self.wanted(now.project, tree):
            return
        if (stays is None or not _near(stays, tree)) and await self._make(ref, now):
            # Something may have been purged meanwhile, or the tenant got another key: then it does not count.
            now = await self._standing(ref)
            found = await self._checkpoints.all(ref.tenant, ref.project)
        await self._checkpoints.delete(ref.tenant, ref.project, upkeep.leavings(found, now, 0))

    async def _make(self, ref: Ref, now: Standing) -> bool:
        """Put a checkpoint of the head, which has to be looked at again; whether it was."""
        tenant, project = ref.tenant, ref.project
        sealing = await self._keyring.current(tenant)
        file_id = self._random(FILE_ID_BYTES)
        key = await self._keyring.index_key(tenant, project, file_id)
        with self._indexes.reserved(ref, 2) as fitting:  # the copy, and the copy of it without what was freed
            if not fitting or sealing[0] != now.epoch:
                return False
            path = self._indexes.scratch(ref)
            try:
                if not await self._loop.run_in_executor(self._maker, self._copy, ref, path, key, now.project.digest):
                    self._looked.pop(ref, None)  # it is not at the head: again as soon as it was brought there
                    return False
                size = path.stat().st_size
                made = Checkpoint(
                    INDEX_FORMAT,
                    now.project.lineage,
                    now.project.version,
                    now.project.digest,
                    file_id.hex(),
                    size,
                    pieces_of(size),
                    now.purged,
                )
                await self._put(ref, made, path, sealing)
                return True
            finally:
                remove(path)

    async def _put(self, ref: Ref, made: Checkpoint, path: Path, sealing: tuple[int, bytes]) -> None:
        tenant, project, name = ref.tenant, ref.project, new_id("idx", self._random(16))
        try:
            await self._checkpoints.put(tenant, project, name, made, path, sealing)
        except SatchelError:
            with suppress(SatchelError):  # else collect deletes what was put, once it is old
                own = [each for each in await self._checkpoints.all(tenant, project) if each.name == name]
                await self._checkpoints.delete(tenant, project, own)
            raise
        reach("checkpoint.after_head")
        self.outcomes["made"] += 1

    def _copy(self, ref: Ref, path: Path, key: bytes, digest: str) -> bool:
        """Write a sound copy of the index to ``path``, if it is of that digest. In the thread for it."""
        with self._indexes.borrow(ref, lambda file_id: self._key(ref, file_id)) as index:
            if index.digest != digest or not index.copy(path, key, stop=self._ending.is_set):
                return False
        with Index.open(path, key=key) as copied:
            copied.verify()  # whoever begins with it cannot tell from the seal what was wrong before it was sealed
            return copied.digest == digest

    # Using --------------------------------------------------------------------------------------------------------

    def begin(self, ref: Ref) -> None:
        """Let the index of a project begin with the checkpoint, if it is empty and there is one. In a builder's thread.

        Nothing that goes wrong is raised: the index is built without.
        """
        with self._indexes.pinned([ref]):
            before = self._indexes.held(ref)  # before purges are looked at: a later one takes this away
            with self._indexes.borrow(ref, lambda file_id: self._key(ref, file_id)) as index:
                if index.digest is not None:
                    return
            found: Found | None = None
            path = self._indexes.scratch(ref)
            try:
                found = self._wait(self._usable(ref))
                if found is not None:
                    file_id = self._fetch(ref, found, path)
                    self.outcomes["used"] += self._indexes.replace(ref, before, file_id, path)
            except (SatchelError, OSError) as error:
                self._failed(ref, found, error)
            finally:
                remove(path)

    async def _usable(self, ref: Ref) -> Found | None:
        now = await self._standing(ref)
        found = await self._checkpoints.all(ref.tenant, ref.project)
        for each in found:
            if each.error is not None:
                self._note_failure(ref, each.error)
        ours = [each for each in found if each.checkpoint is not None and each.checkpoint.index_format == INDEX_FORMAT]
        return upkeep.kept(ours, now)

    def _fetch(self, ref: Ref, found: Found, path: Path) -> bytes:
        """Write the file of a checkpoint to ``path``, and make sure that it opens as what it should be; its id."""
        made = found.checkpoint
        assert made is not None
        with path.open("wb") as file:
            for start in range(0, made.pieces, PIECES_AT_ONCE):
                numbers = range(start, min(start + PIECES_AT_ONCE, made.pieces))
                file.writelines(self._wait(self._pieces(ref, found, numbers)))
        file_id = bytes.fromhex(made.file)
        with Index.open(path, key=self._key(ref, file_id)) as index:
            if index.digest != made.digest:
                raise IndexCorrupt("a checkpoint holds another index than it says")
        return file_id

    async def _pieces(self, ref: Ref, found: Found, numbers: range) -> list[bytes]:
        pieces = (self._checkpoints.piece(ref.tenant, ref.project, found, number) for number in numbers)
        return await asyncio.gather(*pieces)

    def _failed(self, ref: Ref, found: Found | None, error: Exception) -> None:
        self._note_failure(ref, error)
        if found is not None and isinstance(error, Damaged):
            with suppress(SatchelError):  # the index that is built now becomes another
                self._wait(self._checkpoints.delete(ref.tenant, ref.project, [found]))

    def _note_failure(self, ref: Ref, error: Exception) -> None:
        self.outcomes["failed"] += 1
        code = error.code if isinstance(error, SatchelError) else type(error).__name__
        log.warning("a checkpoint could not be used", tenant=ref.tenant, project=ref.project, code=code)

    async def _standing(self, ref: Ref) -> Standing:
        return await upkeep.standing(self._catalog, self._keyring, ref.tenant, ref.project)

    def _key(self, ref: Ref, file_id: bytes) -> bytes:
        return self._wait(self._keyring.index_key(ref.tenant, ref.project, file_id))

    def _wait(self, work: Coroutine[Any, Any, T]) -> T:
        """Run ``work`` on the event loop from a thread, and wait for it."""
        return asyncio.run_coroutine_threadsafe(work, self._loop).result()


def text_bytes(tree: Tree, since: int = 0) -> int:
    """What is indexed of a tree, or of what changed in it after a version."""
    return sum(row.size for row in tree.values() if row.version > since and indexable(row.path, row.size))


def _near(found: Found, tree: Tree) -> bool:
    """Whether a checkpoint will do. One of a later format is a newer server's, which keeps it."""
    made = found.checkpoint
    assert made is not None
    if made.index_format != INDEX_FORMAT:
        return made.index_format > INDEX_FORMAT
    return NEAR * text_bytes(tree, made.version) <= text_bytes(tree)


def _yield_to_others() -> None:
    """Let a thread run when nothing else does, where a thread has a priority of its own."""
    if sys.platform == "linux":
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), NICE)
