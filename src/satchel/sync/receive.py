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
from typing import NamedTuple

from satchel.catalog import damage, quotas
from satchel.catalog.scope import Catalog, Scope
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
from satchel.objects.pack import encode_frame, encode_pack_end, encode_pack_start
from satchel.objects.paths import check_path
from satchel.store.packs import PackWriter, Place, StoredPack, Vault, pack_table
from satchel.sync import contents
from satchel.sync.commit import Caller as Caller
from satchel.sync.commit import Committer, Proposed
from satchel.sync.failpoints import reach
from satchel.sync.intake import Intake, Wanted
from satchel.sync.peer import Committed
from satchel.sync.session import fold
from satchel.sync.wire import Parent, Preamble, Sent, StreamReader

DRAIN_BYTES = 16 << 20
"""How much of a refused body is read on and thrown away, so that its sender, who is still sending, sees the answer."""
LEASE_MS = 24 * 60 * 60 * 1000
"""How long content sent ahead of its commit is kept."""
MAX_REQUEST_MS = 36 * 60 * 60 * 1000
"""A write that has not committed by then never does: packs that nothing names are swept away after two days, and a
process may have been stopped in between."""
WRITE_ATTEMPTS = 8
"""How often a write of one artifact is tried again when other writers moved the head between look and commit."""


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
        self._committer = Committer(
            catalog, vault, clock=clock, random=random, max_file_bytes=self._limits.max_file_bytes
        )

    async def sync(
        self, caller: Caller, project: ProjectId, body: AsyncIterator[bytes], declared: int, key: str | None
    ) -> Committed:
        """Take a whole stream of at most ``declared`` bytes and commit it.

        Raises ``HeadMoved``, ``ObjectsMissing``, ``QuotaReached``, ``TooLarge``, ``FrameRefused``, ``PathRefused``,
        ``InvalidInput``, ``IdempotencyReused``, and what the guard raises; nothing is changed then.
        """
        caller = self._in_time(caller)
        source = _bounded(body, declared)
        stream = StreamReader()
        try:
            preamble, frames = await _preamble(source, stream)
            proposed = _proposed(preamble, "sync", key)
            judged = await self._committer.judge(caller, project, proposed, declared)
            wanted = Wanted(proposed.changes)
        except SatchelError:
            await _drain(source)
            raise
        if isinstance(judged, Committed):
            await _drain(source)
            return judged
        intake = Intake(self._vault.writer(caller.tenant, project), self._limits.max_file_bytes, wanted)
        try:
            await intake.take(frames)
            async for chunk in source:
                await intake.take(stream.feed(chunk))
            stream.finish()
            reach("receive.before_packs")
            stored = await intake.finish()
            reach("receive.after_packs")
            return await self._committer.commit(caller, project, proposed, judged, wanted, stored)
        finally:
            # Once the transaction may have committed, the packs belong to the version.
            if not proposed.settled:
                await asyncio.shield(intake.abort())

    async def packs(self, caller: Caller, project: ProjectId, body: AsyncIterator[bytes], declared: int) -> PacksKept:
        """Keep content for a commit to come, a day long. Raises as ``sync`` does."""
        caller = self._in_time(caller)
        source = _bounded(body, declared)
        stream = StreamReader()
        intake = Intake(self._vault.writer(caller.tenant, project), self._limits.max_file_bytes, None)
        settled = False
        try:
            async with self._catalog.read(caller.tenant) as s:
                await quotas.reserve(s, declared)
            async for chunk in source:
                await intake.take(stream.feed(chunk))
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
                await quotas.reserve(s, sum(pack.size for pack in stored))
                await self._committer.add_packs(s, project, stored, now + LEASE_MS, now)
                restored = await damage.settle(s, project, asked, [pack.name for pack in stored])
                settled = True
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
        proposed = _proposed(Preamble(parent, after, tuple(changes)), "commit", key)
        judged = await self._committer.judge(caller, project, proposed, 0)
        if isinstance(judged, Committed):
            return judged
        return await self._committer.commit(caller, project, proposed, judged, Wanted(proposed.changes), [])

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
        limit = self._limits.max_file_bytes
        if data is not None and len(data) > limit:
            raise TooLarge(f"{path} has {len(data):,} bytes; a file has at most {limit:,}", path=path, limit=limit)
        said = asked if asked is not None else _json([path, precondition, mode]) + (data or b"")
        one = _OneWrite(path, data, mode, precondition, key, hashlib.sha256(said).hexdigest())
        writer = self._vault.writer(caller.tenant, project)
        settled = False
        try:
            for last in [*[False] * (WRITE_ATTEMPTS - 1), True]:
                try:
                    result, settled = await self._try_write(caller, project, one, writer)
                    return result
                except HeadMoved:
                    if last:
                        raise
            raise AssertionError("the last attempt returns or raises")
        finally:
            if not (settled or one.settled):
                await asyncio.shield(writer.abort())

    def _in_time(self, caller: Caller) -> Caller:
        """The caller of a write that begins now: its guard also refuses a transaction that comes too late."""
        end = self._clock() + MAX_REQUEST_MS

        async def guard(s: Scope) -> None:
            if self._clock() > end:
                raise BodyTimeout("the request was stopped for too long: what it sent may be gone")
            await caller.guard(s)

        return caller._replace(guard=guard)

    async def _try_write(
        self, caller: Caller, project: ProjectId, one: _OneWrite, writer: PackWriter
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
            return Committed(*standing.head, self._clock(), caller.author, 0, 0, 0), False
        await asyncio.to_thread(self._committer.check, standing, proposed)
        wanted = Wanted(changes)
        if one.data is not None:
            wanted.learn(object_id(one.data), one.data)
            if one.stored is None:
                for frame in make_frames([(object_id(one.data), one.data)]):
                    await writer.add(frame)
                one.stored = await writer.finish()
        try:
            result = await self._committer.commit(caller, project, proposed, standing, wanted, one.stored or [])
        finally:
            one.settled = proposed.settled
        return result, proposed.settled

    def forget(self, tenant: TenantId, project: ProjectId) -> None:
        """Keep nothing of a project in memory, after a purge."""
        self._committer.forget(tenant, project)

    async def read_frames(
        self, tenant: TenantId, project: ProjectId, objects: Sequence[ObjectId]
    ) -> AsyncIterator[bytes]:
        """A pack holding exactly the named objects, as a stream. Raises ``ObjectsMissing`` before it begins."""
        return self._pack(tenant, project, await contents.places(self._catalog, tenant, project, objects))

    async def _pack(self, tenant: TenantId, project: ProjectId, places: Sequence[Place]) -> AsyncIterator[bytes]:
        yield encode_pack_start()
        count = 0
        async for frame in contents.read_frames(self._catalog, self._vault, tenant, project, places):
            count += 1
            yield encode_frame(frame)
        yield encode_pack_end(count)


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


def _proposed(preamble: Preamble, action: str, key: str | None) -> Proposed:
    if preamble.parent is None or preamble.digest is None:
        raise InvalidInput("a commit names its parent and its digest")
    rows = [[path] if entry is None else [path, *entry, size] for path, entry, size in preamble.changes]
    said = _json([list(preamble.parent), preamble.digest, rows]) if key is not None else b""
    request_hash = hashlib.sha256(said).hexdigest()
    return Proposed(preamble.parent, preamble.digest, preamble.changes, action, key, request_hash)


def _json(value: object) -> bytes:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()


async def _preamble(source: AsyncIterator[bytes], stream: StreamReader) -> tuple[Preamble, list[Frame]]:
    """Read until all changes are there; the frames that came with them."""
    async for chunk in source:
        frames = stream.feed(chunk)
        if stream.preamble is not None:
            return stream.preamble, frames
    stream.finish()
    raise InvalidInput("the sync stream ended before its content began")


async def _bounded(body: AsyncIterator[bytes], declared: int) -> AsyncIterator[bytes]:
    received = 0
    async for chunk in body:
        received += len(chunk)
        if received > declared:
            raise TooLarge(f"the body is over the {declared:,} bytes it declared", limit=declared)
        yield chunk


async def _drain(source: AsyncIterator[bytes]) -> None:
    """Read what is still coming, up to a bound, and forget it."""
    drained = 0
    with suppress(SatchelError):
        async for chunk in source:
            drained += len(chunk)
            if drained > DRAIN_BYTES:
                return
