"""The server's side of every write to a project: sync streams, packs, commits, and single artifacts.

One order of writes for all of them, each step durable before the next (``docs/spec/sync.md``):

    packs in the store  ·  commit record in the store  ·  the catalog's transaction  ·  the confirmed head  ·  answer

The transaction is the commit point: head, entries, packs, idempotency and audit, and the caller's ``guard``, which
judges revocation, grants and tenant once more. What is cut off before it leaves sealed bytes that no catalog row names;
what is cut off after it is completed by whoever comes next.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

from satchel.auth.roles import author_kind
from satchel.catalog import damage, purges, quotas, versions
from satchel.catalog.reservations import Asked
from satchel.catalog.scope import Catalog, Scope
from satchel.catalog.turns import TenantTurns
from satchel.catalog.versions import EntryRow
from satchel.errors import (
    BodyTimeout,
    HeadMoved,
    InvalidInput,
    NoSuchArtifact,
    PreconditionFailed,
    SatchelError,
    TooLarge,
)
from satchel.objects.frame import Frame, make_frames
from satchel.objects.ids import Digest, ObjectId, ProjectId, TenantId, object_id
from satchel.objects.listing import Entry, digest
from satchel.objects.paths import check_path
from satchel.objects.seal import SEAL_OVERHEAD
from satchel.store.packs import PackWriter, StoredPack, Vault, pack_table
from satchel.sync import contents
from satchel.sync.commit import FEW_FILES, Committer, Proposed, Standing, Weigh, asked_of
from satchel.sync.commit import Caller as Caller
from satchel.sync.differences import packed
from satchel.sync.expand import Expansion
from satchel.sync.failpoints import reach
from satchel.sync.held import Held
from satchel.sync.intake import Intake, Wanted
from satchel.sync.peer import Committed, Files, Head
from satchel.sync.session import fold
from satchel.sync.wire import ROWS_PER_BLOCK, Parent, Preamble, Sent, StreamReader

DRAIN_BYTES = 16 << 20
"""How much of a refused body is read on and thrown away, so that its sender, who is still sending, sees the answer."""
LEASE_MS = 24 * 60 * 60 * 1000
"""How long content sent ahead of its commit is kept."""
PLACE_BYTES = 400
"""What is kept of an object sent ahead until its request ends."""
SALVAGE_BYTES = 1 << 20
"""Less of a body that broke off is sent again sooner than it is kept."""
SALVAGE_SECONDS = 15.0
"""Longest time for keeping what came of a request that broke off: a server that stops waits for it."""
MAX_REQUEST_MS = 36 * 60 * 60 * 1000
"""A write that has not committed by then never does: packs that nothing names are swept away after two days, and a
process may have been stopped in between."""
WRITE_ATTEMPTS = 30
"""How often a write of one artifact is tried when others moved the head between look and commit: pushes, and one writer
of each other node, since those of this one queue."""
AT_ONCE_BYTES = 64 << 10
"""Content that is compressed in half a millisecond, for which other requests may wait."""
QUEUE_SECONDS = 10.0
"""Longest wait in that queue; then the writer is told to come again, before its client gives up."""


@dataclass(frozen=True, slots=True)
class Limits:
    """The most a request may bring."""

    max_file_bytes: int = 8 << 20


class PacksKept(NamedTuple):
    """What a request brought ahead of its commit."""

    packs: int
    objects: int
    restored: int
    """Objects that the store had lost, and that are whole again."""


class Receiver:
    """One for a server; its calls share nothing but caches of what never changes."""

    def __init__(
        self,
        catalog: Catalog,
        vault: Vault,
        *,
        clock: Callable[[], int],
        random: Callable[[int], bytes],
        limits: Limits | None = None,
    ) -> None:
        self._catalog, self._vault = catalog, vault
        self._clock, self._limits = clock, limits or Limits()
        self.on_commit: Callable[[TenantId], None] = lambda _tenant: None
        """Called with the tenant of each version that was made through here."""
        self._writers = TenantTurns(1, QUEUE_SECONDS)
        self._committer = Committer(
            catalog, vault, clock=clock, random=random, max_file_bytes=self._limits.max_file_bytes
        )

    async def sync(
        self, caller: Caller, project: ProjectId, body: AsyncIterator[bytes], declared: int, key: str | None
    ) -> Committed:
        """Take a whole stream of at most ``declared`` bytes and commit it.

        Raises ``HeadMoved``, ``ObjectsMissing``, ``QuotaReached``, ``TooLarge``, ``FrameRefused``, ``PathRefused``,
        ``ReviewByPerson``, ``InvalidInput``, ``IdempotencyReused``, and what the guard raises; nothing is changed
        then.
        """
        caller = self._in_time(caller)
        async with self._held(caller, project) as held:
            source = _bounded(body, declared, held)
            stream = StreamReader()
            try:
                preamble, frames = await _preamble(source, stream, caller.weigh)
                proposed = await _proposed(preamble, "sync", key)
                judged = await self._committer.judge(caller, project, proposed)
                wanted = Wanted(proposed.changes)
                if not isinstance(judged, Committed):
                    await held.take(asked_of(judged, proposed, declared, declared))
            except SatchelError:
                await _drain(source)
                raise
            if isinstance(judged, Committed):
                await _drain(source)
                return judged
            head = judged.head
            del judged  # of a large project that is much, and content may take long to come
            expand = self._expansion(caller.tenant, project, head)
            writer = self._vault.writer(caller.tenant, project)
            intake = Intake(writer, self._limits.max_file_bytes, wanted, expand)
            try:
                await intake.take(frames)
                async for chunk in source:
                    await intake.take(stream.feed(chunk))
                stream.finish()
                reach("receive.before_packs")
                stored = await intake.finish()
                reach("receive.after_packs")
                standing = await self._committer.still(caller.tenant, project, head)
                return await self._commit(caller, project, proposed, standing, wanted, stored, held)
            except HeadMoved:
                done = await self._committer.replayed(caller, project, proposed)  # moved by the same, sent twice?
                if done is None:
                    raise
                return done
            except BaseException as error:
                if not proposed.settled and (isinstance(error, BodyTimeout) or not isinstance(error, SatchelError)):
                    await asyncio.shield(self._salvage(caller, project, intake, held))
                raise
            finally:
                # Once the transaction may have committed, the packs belong to the version.
                if not proposed.settled:
                    await asyncio.shield(intake.abort())

    def _expansion(self, tenant: TenantId, project: ProjectId, head: Head) -> Expansion:
        async def held() -> dict[ObjectId, int]:
            standing = await self._committer.still(tenant, project, head)
            return {row.object: row.size for row in standing.files.values()}

        return Expansion(held, partial(contents.read_objects, self._catalog, self._vault, tenant, project))

    async def _salvage(self, caller: Caller, project: ProjectId, intake: Intake, held: Held) -> None:
        """Keep what came of a body that broke off, as if it had been sent ahead: its sender goes on from there.

        Nothing is kept where that is not possible, and nothing is raised: the request has failed already.
        """
        try:
            async with asyncio.timeout(SALVAGE_SECONDS):
                stored = await intake.whole() if held.received >= SALVAGE_BYTES else []
                if not stored:
                    return
                now, size = self._clock(), sum(pack.size for pack in stored)
                async with self._catalog.write(caller.tenant) as s:
                    await caller.guard(s)
                    await quotas.note(s, await held.settle(s, Asked(size, held.received)), now)
                    await self._committer.add_packs(s, project, stored, now + LEASE_MS, now)
                    await caller.record(s, "packs", f"{project} {len(stored)} packs, {size} bytes, cut off", now)
                    intake.keep(stored)  # from here on the catalog may name them
                held.settled()
        except (SatchelError, TimeoutError):
            return

    async def packs(self, caller: Caller, project: ProjectId, body: AsyncIterator[bytes], declared: int) -> PacksKept:
        """Keep content for a commit to come, a day long. Raises as ``sync`` does."""
        caller = self._in_time(caller)
        async with self._held(caller, project) as held:
            return await self._packs(caller, project, _bounded(body, declared, held), declared, held)

    async def _packs(
        self, caller: Caller, project: ProjectId, source: AsyncIterator[bytes], declared: int, held: Held
    ) -> PacksKept:
        stream = StreamReader()
        intake = Intake(self._vault.writer(caller.tenant, project), self._limits.max_file_bytes, None)
        settled = False
        try:
            await held.take(Asked(declared, declared))
            async for chunk in source:
                await intake.take(stream.feed(chunk))
                await caller.weigh(PLACE_BYTES * len(intake.objects))
            stream.finish()
            if stream.preamble is not None and stream.preamble.parent is not None:
                raise InvalidInput("content alone is sent here: changes go to sync or commits")
            stored = await intake.finish()
            async with self._catalog.read(caller.tenant) as s:
                asked = await damage.among(s, project, intake.objects)
            if asked:  # these count at once, without a commit whose record would tell where they lie
                await self._vault.put_tables(caller.tenant, project, [pack_table(pack) for pack in stored])
            now = self._clock()
            async with self._catalog.write(caller.tenant) as s:
                await caller.guard(s)
                if asked and await purges.which(s, project, intake.objects):
                    # Purged on the way here: it would count again, with what lies beside it. The rest comes anew.
                    return PacksKept(0, 0, 0)
                size = sum(pack.size for pack in stored)
                await quotas.note(s, await held.settle(s, Asked(size, held.received)), now)
                await self._committer.add_packs(s, project, stored, now + LEASE_MS, now)
                restored = await damage.settle(s, project, asked, [pack.name for pack in stored])
                await caller.record(s, "packs", f"{project} {len(stored)} packs, {size} bytes", now)
                settled = True
            held.settled()
        finally:
            if not settled:
                await asyncio.shield(intake.abort())
        return PacksKept(len(stored), len(intake.objects), len(restored))

    async def commit(
        self,
        caller: Caller,
        project: ProjectId,
        parent: Parent,
        after: Digest,
        changes: Sequence[Sent],
        key: str | None,
    ) -> Committed:
        """Commit changes whose content was sent before. Raises as ``sync`` does."""
        caller = self._in_time(caller)
        proposed = await _proposed(Preamble(parent, after, tuple(changes)), "commit", key)
        judged = await self._committer.judge(caller, project, proposed)
        if isinstance(judged, Committed):
            return judged
        async with self._held(caller, project) as held:
            await held.take(asked_of(judged, proposed, 0, 0))
            return await self._commit(caller, project, proposed, judged, Wanted(proposed.changes), [], held)

    async def write(
        self,
        caller: Caller,
        project: ProjectId,
        path: str,
        data: bytes | None,
        mode: str | None,
        precondition: str,
        key: str | None,
        *,
        asked: bytes | None = None,
    ) -> Committed:
        """Write (or with ``data`` None delete) one artifact as one commit, whatever others commit beside it.

        ``precondition`` is the id of the object to be replaced, ``*present`` or ``*absent``. ``mode`` None keeps the
        mode there is. ``asked`` is what a repetition under the same ``key`` has to equal, by default the write itself.
        Writing what is there already makes no version. Raises ``PreconditionFailed``, ``NoSuchArtifact``, and what
        ``sync`` raises.
        """
        caller = self._in_time(caller)
        check_path(path)
        caller.check_reviews([path])
        limit = self._limits.max_file_bytes
        if data is not None and len(data) > limit:
            raise TooLarge(f"{path} has {len(data):,} bytes; a file has at most {limit:,}", path=path, limit=limit)
        said = asked if asked is not None else _json([path, precondition, mode]) + (data or b"")
        one = _OneWrite(path, data, mode, precondition, key, hashlib.sha256(said).hexdigest())
        # One after the other: each has to build on the one before, and all but one would do their work for nothing.
        async with self._writers.of(f"{caller.tenant} {project}"), self._held(caller, project) as held:
            return await self._write(caller, project, one, held)

    async def _write(self, caller: Caller, project: ProjectId, one: _OneWrite, held: Held) -> Committed:
        writer = self._vault.writer(caller.tenant, project)
        settled = False
        try:
            for last in [*[False] * (WRITE_ATTEMPTS - 1), True]:
                try:
                    result, settled = await self._try_write(caller, project, one, writer, held)
                    return result
                except HeadMoved:
                    if last:
                        raise
            raise AssertionError("the last attempt returns or raises")
        finally:
            if not (settled or one.settled):
                await asyncio.shield(writer.abort())

    async def _commit(
        self,
        caller: Caller,
        project: ProjectId,
        proposed: Proposed,
        standing: Standing,
        wanted: Wanted,
        stored: Sequence[StoredPack],
        held: Held,
    ) -> Committed:
        result = await self._committer.commit(caller, project, proposed, standing, wanted, stored, held)
        self.on_commit(caller.tenant)
        return result

    def _held(self, caller: Caller, project: ProjectId) -> Held:
        return Held(self._catalog, caller, project, self._clock)

    def _in_time(self, caller: Caller) -> Caller:
        """The caller of a write that begins now: its guard also refuses a transaction that comes too late."""
        end = self._clock() + MAX_REQUEST_MS

        async def guard(s: Scope) -> None:
            if self._clock() > end:
                raise BodyTimeout("the request was stopped for too long: what it sent may be gone")
            await caller.guard(s)

        return caller._replace(guard=guard)

    async def _try_write(
        self, caller: Caller, project: ProjectId, one: _OneWrite, writer: PackWriter, held: Held
    ) -> tuple[Committed, bool]:
        """The result, and whether the packs of ``writer`` are part of it."""
        standing = await self._committer.standing(caller.tenant, project)
        now = standing.files.get(one.path)
        entry = one.entry(now)
        steps = [(one.path, entry)]
        after = await asyncio.to_thread(lambda: digest(fold(standing.tree, steps)))
        changes = (Sent(one.path, entry, len(one.data or b"")),)
        proposed = Proposed(Parent(*standing.head), after, changes, "write", one.key, one.request_hash)
        done = await self._committer.replayed(caller, project, proposed)
        if done is not None:
            return done, False
        one.check(now)
        if now is not None and entry == (now.mode, now.object):
            kind = author_kind(caller.principal_id)
            return Committed(*standing.head, self._clock(), caller.author, 0, 0, 0, author_kind=kind), False
        await asyncio.to_thread(self._committer.check, standing, proposed)
        wanted = Wanted(changes)
        if one.data is not None:
            wanted.learn(object_id(one.data), one.data)
            if one.stored is None:
                make = partial(list[Frame], make_frames([(object_id(one.data), one.data)]))
                # 8 MiB take 50 ms, in which no other request would be heard.
                frames = make() if len(one.data) <= AT_ONCE_BYTES else await asyncio.to_thread(make)
                stored = sum(len(frame.data) + SEAL_OVERHEAD for frame in frames)
                await held.take(asked_of(standing, proposed, stored, len(one.data)))
                await held.came(len(one.data))
                for frame in frames:
                    await writer.add(frame)
                one.stored = await writer.finish()
        try:
            result = await self._commit(caller, project, proposed, standing, wanted, one.stored or [], held)
        finally:
            one.settled = proposed.settled
        return result, proposed.settled

    def forget(self, tenant: TenantId, project: ProjectId) -> None:
        """Keep nothing of a project in memory, after a purge."""
        self._committer.forget(tenant, project)

    def forget_tenant(self, tenant: TenantId) -> None:
        """Keep nothing of a tenant in memory."""
        self._committer.forget(tenant)

    async def read_frames(
        self,
        tenant: TenantId,
        project: ProjectId,
        objects: Sequence[ObjectId],
        since: int | None = None,
        files: Files | None = None,
    ) -> AsyncIterator[bytes]:
        """A pack holding exactly the named objects and what ``files`` hold, as a stream; edits of what version
        ``since`` holds as deltas.

        Raises ``ObjectsMissing``, ``NoSuchVersion`` and ``VersionExpired`` before it begins.
        """
        if files is not None:
            async with self._catalog.read(tenant) as s:
                objects = [*objects, *await versions.objects(s, project, *files)]
        places = await contents.places(self._catalog, tenant, project, objects)
        return packed(self._catalog, self._vault, tenant, project, places, since or 0)


@dataclass(slots=True)
class _OneWrite:
    """A write of one artifact, over all attempts."""

    path: str
    data: bytes | None
    mode: str | None
    precondition: str
    key: str | None
    request_hash: str
    stored: list[StoredPack] | None = None
    settled: bool = False

    def entry(self, now: EntryRow | None) -> Entry | None:
        """What the path is to hold."""
        if self.data is None:
            return None
        return Entry(self.mode or (now.mode if now else "100644"), object_id(self.data))

    def check(self, now: EntryRow | None) -> None:
        """Raise unless the artifact is as the writer believes."""
        if now is None and self.data is None:
            raise NoSuchArtifact(f"there is no {self.path}")
        held = "*absent" if now is None else now.object
        if self.precondition != held and not (self.precondition == "*present" and now is not None):
            said = (
                "does not exist" if now is None else "exists already" if self.precondition == "*absent" else "changed"
            )
            raise PreconditionFailed(f"{self.path} {said}", path=self.path)


async def _proposed(preamble: Preamble, action: str, key: str | None) -> Proposed:
    parent, after, changes = preamble.parent, preamble.digest, preamble.changes
    if parent is None or after is None:
        raise InvalidInput("a commit names its parent and its digest")
    request_hash = ""
    if key is not None:
        few = len(changes) <= FEW_FILES
        request_hash = _said(parent, after, changes) if few else await asyncio.to_thread(_said, parent, after, changes)
    return Proposed(parent, after, changes, action, key, request_hash)


def _said(parent: Parent, after: Digest, changes: Sequence[Sent]) -> str:
    """The hash of what a commit says, a part at a time: all of it as one text may have 200 MB."""
    said = hashlib.sha256(_json([list(parent), after, []])[:-2])
    for start in range(0, len(changes), ROWS_PER_BLOCK):
        some = changes[start : start + ROWS_PER_BLOCK]
        rows = _json([[path] if entry is None else [path, *entry, size] for path, entry, size in some])
        said.update((b"," if start else b"") + rows[1:-1])
    said.update(b"]]")
    return said.hexdigest()


def _json(value: object) -> bytes:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()


async def _preamble(source: AsyncIterator[bytes], stream: StreamReader, weigh: Weigh) -> tuple[Preamble, list[Frame]]:
    """Read until all changes are there; the frames that came with them."""
    async for chunk in source:
        frames = stream.feed(chunk)
        await weigh(stream.weight)
        if stream.preamble is not None:
            return stream.preamble, frames
    stream.finish()
    raise InvalidInput("the sync stream ended before its content began")


async def _bounded(body: AsyncIterator[bytes], declared: int, held: Held) -> AsyncIterator[bytes]:
    received = 0
    async for chunk in body:
        received += len(chunk)
        if received > declared:
            raise TooLarge(f"the body is over the {declared:,} bytes it declared", limit=declared)
        await held.came(len(chunk))
        yield chunk


async def _drain(source: AsyncIterator[bytes]) -> None:
    """Read what is still coming, up to a bound, and forget it."""
    drained = 0
    with suppress(SatchelError):
        async for chunk in source:
            drained += len(chunk)
            if drained > DRAIN_BYTES:
                return
