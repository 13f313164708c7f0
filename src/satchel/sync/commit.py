"""From a proposed change of a tree to the next version: what is checked, what is written, in which order.

The tree a proposal builds on is read once and then kept, since a version never changes: a bounded cache by tenant,
project and version saves reading it again for every small commit. Nothing here decides by itself that a commit
happened: only the transaction does, and after its last statement no pack of it is ever deleted.
"""

from __future__ import annotations

import asyncio
import json
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from operator import itemgetter
from typing import NamedTuple, TypeVar

from satchel.auth.roles import Principal, author_kind
from satchel.catalog import audit, damage, idempotency, packs, projects, quotas, versions
from satchel.catalog.packs import PlaceRow
from satchel.catalog.reservations import Asked
from satchel.catalog.scope import Catalog, Scope
from satchel.catalog.versions import MAX_FILES, ChangeIn, EntryRow, NewVersion
from satchel.documents import MANIFEST_PATH
from satchel.documents.manifest import parse_manifest
from satchel.errors import (
    HeadMoved,
    InvalidInput,
    ObjectsMissing,
    PathRefused,
    ReviewByPerson,
    SatchelError,
    TooLarge,
    VersionExpired,
)
from satchel.objects.ids import Digest, ObjectId, PrincipalId, ProjectId, TenantId, new_id
from satchel.objects.listing import Entry, digest, encode, tree_of
from satchel.objects.record import FULL_LISTING_EVERY, Change, CommitRecord, encode_record, record_hash
from satchel.objects.record import Parent as RecordParent
from satchel.objects.reviews import REVIEWED_PATH, is_review_list
from satchel.store.packs import Place, StoredPack, Vault, pack_table
from satchel.sync import contents
from satchel.sync.failpoints import reach
from satchel.sync.held import Held
from satchel.sync.intake import Described, Wanted
from satchel.sync.naming import first_clash
from satchel.sync.peer import Committed, Head, NearQuota
from satchel.sync.session import fold
from satchel.sync.wire import Parent, Sent

CACHED_FILES = 200_000
"""Rows of trees kept in memory, over all tenants: about 100 MB when full."""
CACHED_RECORDS = 4_096
FEW_FILES = 200
"""What is made of so few files takes less than a millisecond, and is not worth the way to a thread and back."""
MAX_NAMED = 10_000
"""Most missing objects named in one refusal."""

_SAVED = Committed._fields.index("warnings") + 1
"""What of an answer is kept for a repetition of its request; the rest is of the moment."""

_MODE_OBJECT = itemgetter(EntryRow._fields.index("mode"), EntryRow._fields.index("object"))

Guard = Callable[[Scope], Awaitable[None]]
Weigh = Callable[[int], Awaitable[None]]
T = TypeVar("T")


async def _unweighed(_total: int) -> None:
    pass


class Caller(NamedTuple):
    """On whose behalf a write happens. ``guard`` runs inside the transaction and raises if the right is gone."""

    tenant: TenantId
    principal_id: PrincipalId
    author: str
    request_id: str
    guard: Guard
    address: str = ""
    """Where the request came from; empty for what did not come over the network."""
    secrets_allowed: tuple[str, ...] = ()
    """Paths that are sent although they look as if they held a credential, as the sender says."""
    person: bool = False
    """Whether a person sends it themselves. Nobody else changes what counts as reviewed."""
    weigh: Weigh = _unweighed
    """Awaited before so many bytes in all are kept until the write ends; raises ``TooManyRequests``."""

    def check_reviews(self, paths: Iterable[str]) -> None:
        """Raises ``ReviewByPerson`` where the list of reviews is among what is changed, and no person changes it."""
        if not self.person and any(map(is_review_list, paths)):
            raise ReviewByPerson(f"{REVIEWED_PATH} says what a person has reviewed: only a person changes it")

    async def record(self, s: Scope, action: str, target: str, now: int) -> None:
        """Write into the audit that it was done, in the transaction of the deed."""
        who = Principal(self.tenant, self.principal_id, self.author, "")
        await audit.record(s, who, action, target, audit.DONE, self.request_id, now, address=self.address)


@dataclass(slots=True)
class Proposed:
    """A commit that somebody asks for, and the idempotency key it came with."""

    parent: Parent
    digest: Digest
    changes: tuple[Sent, ...]
    action: str
    """What the audit calls it; with the project it is also the route of the idempotency key."""
    key: str | None
    request_hash: str
    settled: bool = False
    """Whether the transaction was about to commit: from then on it may have, and its packs must stay."""


class Standing(NamedTuple):
    """A head and the files of its version."""

    head: Head
    files: Mapping[str, EntryRow]

    @property
    def tree(self) -> dict[str, Entry]:
        return tree_of(self.files, map(_MODE_OBJECT, self.files.values()))


class Replayed(Exception):
    """The request was done before: ``result`` is what it came to."""

    def __init__(self, result: Committed) -> None:
        super().__init__("done before")
        self.result = result


class Committer:
    """The one way to a new version."""

    def __init__(
        self,
        catalog: Catalog,
        vault: Vault,
        *,
        clock: Callable[[], int],
        random: Callable[[int], bytes],
        max_file_bytes: int,
    ) -> None:
        self._catalog, self._vault, self._clock, self._random = catalog, vault, clock, random
        self._max_file_bytes = max_file_bytes
        self._trees: OrderedDict[tuple[TenantId, ProjectId, Head], Mapping[str, EntryRow]] = OrderedDict()
        self._files = 0  # of all trees: they are hundreds, and counted with each commit
        # Of the newest head alone: nothing is put upon an older one.
        self._records: OrderedDict[tuple[TenantId, ProjectId], tuple[Head, RecordParent]] = OrderedDict()

    # Before the content -----------------------------------------------------------------------------------------------

    async def replayed(self, caller: Caller, project: ProjectId, proposed: Proposed) -> Committed | None:
        """What the request came to if it was done before. Raises ``IdempotencyReused``."""
        if proposed.key is None:
            return None
        async with self._catalog.read(caller.tenant) as s:
            found = await self._saved(s, caller, project, proposed)
        if found is not None:
            await self.confirm(caller.tenant, project, Head(*found[:3]))
        return found

    async def standing(self, tenant: TenantId, project: ProjectId) -> Standing:
        """The head and its files. Raises ``NoSuchProject``."""
        while True:
            with suppress(VersionExpired):  # others committed meanwhile, and retention keeps none but the newest
                return await self._standing(tenant, project)

    async def _standing(self, tenant: TenantId, project: ProjectId) -> Standing:
        async with self._catalog.read(tenant) as s:
            head = Head(*await versions.head(s, project))
            files = self._trees.get((tenant, project, head))
            if files is None:
                # Named by version, so the rows are those of this head whatever is committed meanwhile.
                files = {row.path: row for row in await versions.tree(s, project, head.version)} if head.version else {}
        self._keep_tree(tenant, project, head, files)
        return Standing(head, files)

    async def still(self, tenant: TenantId, project: ProjectId, head: Head) -> Standing:
        """What stood at ``head``, for one who let go of it. May raise ``HeadMoved`` where it is the head no more."""
        kept = self._trees.get((tenant, project, head))
        if kept is not None:
            return Standing(head, kept)
        standing = await self.standing(tenant, project)
        _check_head(standing.head, head)
        return standing

    async def judge(self, caller: Caller, project: ProjectId, proposed: Proposed) -> Committed | Standing:
        """Everything but quotas that can be said before the content is seen: the earlier result, or what to build on.

        Raises ``HeadMoved``, ``TooLarge``, ``PathRefused``, ``ReviewByPerson``, ``InvalidInput``,
        ``IdempotencyReused``.
        """
        done = await self.replayed(caller, project, proposed)
        if done is not None:
            return done
        caller.check_reviews(change.path for change in proposed.changes)
        standing = await self.standing(caller.tenant, project)
        await _aside(standing, proposed, lambda: self.check(standing, proposed))
        return standing

    def check(self, standing: Standing, proposed: Proposed) -> None:
        """Whether the changes fit the tree they name, and lead to the digest they name. Raises as ``judge``."""
        head, files = standing
        _check_head(head, proposed.parent)
        if not proposed.changes:
            raise InvalidInput("a commit has at least one change")
        for path, entry, size in proposed.changes:
            if entry is None and path not in files:
                raise InvalidInput(f"the commit deletes {path}, which is not there")
            if size > self._max_file_bytes:
                raise TooLarge(
                    f"{path} has {size:,} bytes; a file has at most {self._max_file_bytes:,}",
                    path=path,
                    limit=self._max_file_bytes,
                )
        after = fold(standing.tree, ((path, entry) for path, entry, _ in proposed.changes))
        if digest(after) != proposed.digest:
            raise InvalidInput("the changes do not lead from the parent to the digest that was named")
        if len(after) > MAX_FILES:
            raise TooLarge(
                f"a project has at most {MAX_FILES:,} files; this would make {len(after):,}", limit=MAX_FILES
            )
        if not files.keys() >= after.keys():
            for path, reason in first_clash(files, after).items():
                raise PathRefused(f"{path} cannot be in this project: {reason}", path=path)

    # With the content -------------------------------------------------------------------------------------------------

    async def commit(
        self,
        caller: Caller,
        project: ProjectId,
        proposed: Proposed,
        standing: Standing,
        wanted: Wanted,
        stored: Sequence[StoredPack],
        held: Held,
    ) -> Committed:
        """Make the next version of content that is durable, for which ``held`` keeps room.

        Raises as ``judge``, ``ObjectsMissing`` and ``QuotaReached``.
        """
        ahead = await self._complete(caller.tenant, project, standing, wanted)
        tables = [*stored, *ahead]
        record = await self._record(caller, project, proposed, standing, wanted, tables)
        await self._vault.put_record(caller.tenant, project, record.id, record.encoded)
        reach("receive.after_record")
        new = NewVersion(
            parent=versions.Head(*standing.head),
            digest=proposed.digest,
            changes=record.changes,
            packs=[pack.name for pack in tables],
            record=record.id,
            author_id=caller.principal_id,
            author=caller.author,
            time=record.time,
            arrived={place.object for pack in stored for place in pack.places},
        )
        try:
            result = await self._transaction(caller, project, proposed, standing, new, wanted, stored, held)
        except Replayed as replayed:
            await self.confirm(caller.tenant, project, Head(*replayed.result[:3]))
            return replayed.result
        reach("receive.after_commit")
        head = Head(*result[:3])
        await self._vault.confirm_head(caller.tenant, project, head.lineage, head.version, record.id)
        reach("receive.after_head")
        self._keep_record(caller.tenant, project, head, RecordParent(record.id, record.hash))
        self._keep_next(caller, project, standing, head, record)
        return result

    async def add_packs(
        self, s: Scope, project: ProjectId, stored: Iterable[StoredPack], lease_until: int, now: int
    ) -> None:
        """Name durable packs in the catalog, as pending."""
        for pack in stored:
            places = [PlaceRow(*place) for place in pack.places]
            await packs.add_pack(s, project, pack.name, pack.size, places, lease_until, now=now)

    async def confirm(self, tenant: TenantId, project: ProjectId, head: Head) -> RecordParent | None:
        """The record of a committed version, with its confirmation written if a crash left it out."""
        if head.version == 0:
            return None
        of, found = self._records.get((tenant, project), (None, None))
        if found is None or of != head:
            async with self._catalog.read(tenant) as s:
                record_id = (await versions.version(s, project, head.version)).record
            encoded = await self._vault.get_record(tenant, project, record_id)
            if await self._vault.confirmed_head(tenant, project, head.lineage, head.version) != record_id:
                await self._vault.confirm_head(tenant, project, head.lineage, head.version, record_id)
            found = RecordParent(record_id, record_hash(encoded))
            self._keep_record(tenant, project, head, found)
        return found

    async def _complete(
        self, tenant: TenantId, project: ProjectId, standing: Standing, wanted: Wanted
    ) -> list[StoredPack]:
        """Describe the paths whose content was there before; the packs sent ahead that this commit is to keep.

        Raises ``ObjectsMissing`` and ``InvalidInput``.
        """
        reading: set[ObjectId] = set()
        for name, (path, _, size) in wanted.undescribed():
            row = standing.files.get(path)
            if row is not None and row.object == name and row.size == size and path != MANIFEST_PATH:
                wanted.described[path] = Described(row.kind, row.title)  # only the mode changes
            else:
                reading.add(name)
        if not reading:
            return []
        async with self._catalog.read(tenant) as s:
            rows = await packs.available(s, project, sorted(reading))
            waiting = await packs.pending_packs(s, project, sorted({row.pack for row in rows}))
        missing = sorted(reading - {row.object for row in rows})
        if missing:
            raise ObjectsMissing(
                f"{len(missing):,} objects of the commit are not in the project", objects=missing[:MAX_NAMED]
            )
        found = contents.read_objects(self._catalog, self._vault, tenant, project, reading, packs.available)
        async for name, data in found:
            await asyncio.to_thread(wanted.learn, name, data)
        return [
            StoredPack(pack.name, pack.size, pack.frames, tuple(Place(*row) for row in pack.places)) for pack in waiting
        ]

    async def _record(
        self,
        caller: Caller,
        project: ProjectId,
        proposed: Proposed,
        standing: Standing,
        wanted: Wanted,
        tables: Sequence[StoredPack],
    ) -> _Record:
        parent = await self.confirm(caller.tenant, project, standing.head)
        version = standing.head.version + 1

        def build() -> _Record:
            changes = [_change_in(sent, wanted.described) for sent in proposed.changes]
            listing = None
            if version % FULL_LISTING_EVERY == 0:
                listing = encode(fold(standing.tree, ((path, entry) for path, entry, _ in proposed.changes))).decode()
            record = CommitRecord(
                id=new_id("rec", self._random(16)),
                parent=parent,
                lineage=standing.head.lineage,
                version=version,
                digest=proposed.digest,
                # Titles are taken from contents: what is purged must not live on in a record.
                changes=tuple(Change(c.path, c.mode or None, c.object, c.size, c.kind) for c in changes),
                packs=tuple(pack_table(pack) for pack in tables),
                author_id=caller.principal_id,
                author=caller.author,
                time=self._clock(),
                listing=listing,
            )
            encoded = encode_record(record)
            return _Record(record.id, encoded, record_hash(encoded), record.time, changes)

        return await _aside(standing, proposed, build)

    async def _transaction(
        self,
        caller: Caller,
        project: ProjectId,
        proposed: Proposed,
        standing: Standing,
        new: NewVersion,
        wanted: Wanted,
        stored: Sequence[StoredPack],
        held: Held,
    ) -> Committed:
        """The commit point: all of it or nothing."""
        async with self._catalog.write(caller.tenant) as s:
            await caller.guard(s)
            caller.check_reviews(change.path for change in new.changes)  # whatever route led here
            done = await self._saved(s, caller, project, proposed)
            if done is not None:
                raise Replayed(done)
            asked = asked_of(standing, proposed, sum(pack.size for pack in stored), held.received)
            near = await quotas.note(s, await held.settle(s, asked), new.time)
            await self.add_packs(s, project, stored, new.time, new.time)
            made = await versions.commit(s, project, new)
            head = Head(made.lineage, made.version, made.digest)
            await damage.settle(s, project, [change.object for change in new.changes if change.object is not None])
            warnings = tuple(NearQuota(quotas.QUOTA_NAMES[use.name], use.after, use.limit) for use in near)
            result = Committed(*head, made.time, made.author, made.added, made.changed, made.deleted, warnings)
            result = result._replace(author_kind=author_kind(made.author_id))
            if wanted.manifest is not None or any(change.path == MANIFEST_PATH for change in new.changes):
                await projects.set_relations(s, project, _relations(wanted.manifest))
            if proposed.key is not None:
                route, text = f"{proposed.action} {project}", json.dumps(result[:_SAVED])
                who = caller.principal_id
                await idempotency.save(s, who, route, proposed.key, proposed.request_hash, text, new.time)
            await caller.record(s, proposed.action, f"{project} version {head.version}", new.time)
            if caller.secrets_allowed:
                named = f"{project} version {head.version}: {', '.join(caller.secrets_allowed)}"
                await caller.record(s, "secrets.allowed", named, new.time)
            reach("receive.before_commit")
            proposed.settled = True
        held.settled()
        return result

    async def _saved(self, s: Scope, caller: Caller, project: ProjectId, proposed: Proposed) -> Committed | None:
        if proposed.key is None:
            return None
        route, now = f"{proposed.action} {project}", self._clock()
        text = await idempotency.find(s, caller.principal_id, route, proposed.key, proposed.request_hash, now)
        if text is None:
            return None
        *result, warnings = json.loads(text)
        near = tuple(NearQuota(*each) for each in warnings)
        return Committed(*result)._replace(warnings=near, author_kind=author_kind(caller.principal_id))

    def forget(self, tenant: TenantId, project: ProjectId | None = None) -> None:
        """Keep no tree of a project, or of a whole tenant, in memory: titles in it may come from what was purged."""
        for key in [key for key in self._trees if key[0] == tenant and project in (None, key[1])]:
            self._drop_tree(*key)

    # What is kept -----------------------------------------------------------------------------------------------------

    def _keep_tree(self, tenant: TenantId, project: ProjectId, head: Head, files: Mapping[str, EntryRow]) -> None:
        self._drop_tree(tenant, project, head)
        self._trees[tenant, project, head] = files
        self._files += len(files)
        while len(self._trees) > 1 and self._files > CACHED_FILES:
            self._drop_tree(*next(iter(self._trees)))

    def _drop_tree(self, tenant: TenantId, project: ProjectId, head: Head) -> None:
        self._files -= len(self._trees.pop((tenant, project, head), ()))

    def _keep_record(self, tenant: TenantId, project: ProjectId, head: Head, record: RecordParent) -> None:
        self._records.pop((tenant, project), None)
        self._records[tenant, project] = head, record
        while len(self._records) > CACHED_RECORDS:
            self._records.popitem(last=False)

    def _keep_next(self, caller: Caller, project: ProjectId, standing: Standing, head: Head, record: _Record) -> None:
        """The tree after a commit, made from the one before; that one is not asked for again."""
        files = dict(standing.files)
        for change in record.changes:
            if change.object is None:
                files.pop(change.path, None)
            else:
                made = (head.version, caller.author, record.time, author_kind(caller.principal_id))
                files[change.path] = EntryRow(
                    change.path, change.mode, change.object, change.size, change.kind, change.title, *made
                )
        self._drop_tree(caller.tenant, project, standing.head)
        self._keep_tree(caller.tenant, project, head, files)


def _check_head(head: Head, parent: Parent | Head) -> None:
    if tuple(parent) != tuple(head):
        raise HeadMoved(
            f"the project is at version {head.version}, and the commit builds on {parent.version}", **head._asdict()
        )


async def _aside(standing: Standing, proposed: Proposed, work: Callable[[], T]) -> T:
    """What ``work`` on a tree and its changes gives; in a thread, where there are many."""
    few = max(len(standing.files), len(proposed.changes)) <= FEW_FILES
    return work() if few else await asyncio.to_thread(work)


def asked_of(standing: Standing, proposed: Proposed, stored: int, came: int) -> Asked:
    """What a commit asks of the quotas if it stores so many bytes; one that only deletes asks for nothing."""
    brought = [(size, path) for path, entry, size in proposed.changes if entry is not None]
    if not brought:
        return Asked()
    new = sum(path not in standing.files for _, path in brought)
    size, path = max(brought)
    return Asked(stored, came, new - (len(proposed.changes) - len(brought)), size, path)


class _Record(NamedTuple):
    """A commit record ready to be stored, and the changes as the catalog takes them."""

    id: str
    encoded: bytes
    hash: str
    time: int
    changes: list[ChangeIn]


def _change_in(sent: Sent, described: Mapping[str, Described]) -> ChangeIn:
    if sent.entry is None:
        return ChangeIn(sent.path)
    return ChangeIn(sent.path, sent.entry.mode, sent.entry.object, sent.size, *described[sent.path])


def _relations(manifest: bytes | None) -> list[tuple[str, str]]:
    """What the manifest declares; one that does not parse declares nothing, and says so where it is shown."""
    if manifest is None:
        return []
    try:
        return [(relation.type, relation.project) for relation in parse_manifest(manifest).relations]
    except SatchelError:
        return []
