"""Is the line of history whole, and does the catalog say what the sealed records say?

Versions follow each other without a gap; each has its record, whose parent and hash are the record's before; a head
object confirms it; and what the record changed is what the catalog's entries say. Records that a collection has
removed, below the oldest readable version, are not missed.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from hashlib import sha256
from typing import NamedTuple

from satchel.catalog import inspection, versions
from satchel.catalog.inspection import Held
from satchel.catalog.versions import Head, VersionRow
from satchel.errors import Damaged, StoreMissing
from satchel.objects.ids import ObjectId
from satchel.objects.listing import Entry, encode
from satchel.objects.record import FULL_LISTING_EVERY, CommitRecord, Parent, decode_record, record_hash
from satchel.upkeep.ahead import ahead
from satchel.upkeep.estate import Estate
from satchel.upkeep.findings import Findings, Target

AHEAD = 8
"""Versions whose record and head are fetched at once."""


@dataclass(slots=True)
class History:
    """What was found over all versions."""

    versions: int = 0
    records: set[str] = field(default_factory=set)
    heads: set[str] = field(default_factory=set)
    """Names of what belongs, without folder."""


class _Fetched(NamedTuple):
    """A version's record and confirmation, or why there is none."""

    record: CommitRecord | None
    parent: Parent | None
    """What the next record has to name as its parent."""
    trouble: str
    missing: bool
    head: str | None
    head_trouble: str


async def examine_history(estate: Estate, target: Target, findings: Findings) -> History:
    """Follow a project's versions from the first."""
    async with estate.catalog.read(target.tenant) as s:
        head = await versions.head(s, target.project)
    one = _Line(estate, target, findings, head)
    async for row, fetched in one.fetched():
        await one.take(row, fetched)
    await one.end()
    return one.seen


class _Line:
    """One walk along the versions."""

    def __init__(self, estate: Estate, target: Target, findings: Findings, head: Head) -> None:
        self.estate, self.target, self.findings, self.head = estate, target, findings, head
        self.seen = History()
        self.first_kept = max(target.floor - target.floor % FULL_LISTING_EVERY, 1)
        """The oldest version whose record a rebuild needs."""
        self.files: dict[str, Held] | None = {} if target.floor <= 1 else None
        """The tree as the records make it; ``None`` where it has to be taken from the catalog."""
        self.before: Parent | None = None
        self.known = True
        """Whether ``before`` is what the next record has to name."""
        self.newest: VersionRow | None = None
        self._listed: tuple[int, bytes] | None = None

    def fetched(self) -> AsyncIterator[tuple[VersionRow, _Fetched]]:
        return ahead(self._rows(), self._fetch, AHEAD)

    async def _rows(self) -> AsyncIterator[VersionRow]:
        after = 0
        while True:
            async with self.estate.catalog.read(self.target.tenant) as s:
                page = await inspection.versions_after(s, self.target.project, after)
            for row in page:
                if row.version <= self.head.version:  # what is committed while we look is for the next time
                    yield row
            if not page or page[-1].version >= self.head.version:
                return
            after = page[-1].version

    async def _fetch(self, row: VersionRow) -> _Fetched:
        vault, (tenant, project) = self.estate.vault, (self.target.tenant, self.target.project)
        record, parent, trouble, missing, head, head_trouble = None, None, "", False, None, ""
        try:
            encoded = await vault.get_record(tenant, project, row.record)
            record = await asyncio.to_thread(decode_record, encoded)
            parent = Parent(row.record, record_hash(encoded))
        except StoreMissing:
            missing, trouble = True, "it is missing"
        except Damaged as error:
            trouble = error.message
        try:
            head = await vault.confirmed_head(tenant, project, row.lineage, row.version)
        except (Damaged, json.JSONDecodeError, KeyError, TypeError) as error:
            head_trouble = error.message if isinstance(error, Damaged) else "it does not say which record"
        return _Fetched(record, parent, trouble, missing, head, head_trouble)

    async def take(self, row: VersionRow, fetched: _Fetched) -> None:
        expected = 1 if self.newest is None else self.newest.version + 1
        if row.version != expected:
            if row.version > max(self.target.floor, 1):
                self._tell("version", f"version {expected}", "the catalog has no row of it")
            self.before, self.known = None, False  # a rebuild finds no records of what was collected
        self.newest = row
        self.seen.versions += 1
        self.seen.records.add(row.record)
        self.seen.heads.add(f"{row.lineage}/{row.version}")
        needed = row.version >= self.first_kept
        self._check_head(row, fetched, needed)
        if fetched.record is None:
            if needed or not fetched.missing:
                self._tell(
                    "record",
                    self._path(f"records/{row.record}"),
                    f"the record of version {row.version}: {fetched.trouble}",
                )
            self.before, self.known = None, False
            self.files = None
        else:
            self._check_record(row, fetched.record)
            self.before, self.known = fetched.parent, True
        if row.version >= self.target.floor:
            await self._check_entries(row, fetched.record)

    def _check_head(self, row: VersionRow, fetched: _Fetched, needed: bool) -> None:
        name = self._path(f"heads/{row.lineage}/{row.version}")
        if fetched.head_trouble:
            self._tell("head", name, fetched.head_trouble)
        elif fetched.head is None and row.version == self.head.version:
            self.findings.notes.append(
                f"the newest version, {row.version}, is not confirmed yet: the next commit does it"
            )
        elif fetched.head is None and needed:
            self._tell("head", name, "it is missing")
        elif fetched.head is not None and fetched.head != row.record:
            self._tell("head", name, f"it confirms the record {fetched.head}, the catalog has {row.record}")

    def _check_record(self, row: VersionRow, record: CommitRecord) -> None:
        said = (record.id, record.lineage, record.version, record.digest, record.author_id, record.author, record.time)
        kept = (row.record, row.lineage, row.version, row.digest, row.author_id, row.author, row.time)
        fields = ("record", "lineage", "version", "digest", "author id", "author", "time")
        wrong = [name for name, one, other in zip(fields, said, kept, strict=True) if one != other]
        if wrong:
            self._tell("version", f"version {row.version}", f"its record says otherwise: {', '.join(wrong)}")
        if self.known and record.parent != self.before:
            self._tell(
                "record",
                self._path(f"records/{row.record}"),
                f"version {row.version} does not continue the one before it",
            )

    async def _check_entries(self, row: VersionRow, record: CommitRecord | None) -> None:
        """Compare what a version changed; where there is nothing to build on, its whole tree by the digest."""
        of, at = self.target.project, row.version
        async with self.estate.catalog.read(self.target.tenant) as s:
            if record is None or self.files is None:
                self.files = await inspection.standing(s, of, at)
                self._check_digest(row)
                return
            begun, ended = _changes(self.files, record)
            for path in ended:
                del self.files[path]
            self.files |= begun
            if not await inspection.begins_alike(s, of, at, begun):
                self._compare(at, begun, await inspection.set_at(s, of, at))
            for path in sorted(ended ^ await inspection.ended_at(s, of, at)):
                self._tell("version", f"version {at}", f"the catalog does not end {path} where the commit record does")
        if record.listing is not None and record.listing.encode() != self._listing(at):
            self._tell("version", f"version {at}", "its listing is not what the changes lead to")

    def _check_digest(self, row: VersionRow) -> None:
        if self.files is not None and sha256(self._listing(row.version)).hexdigest() != row.digest:
            self._tell("version", f"version {row.version}", "its files do not have the digest it names")

    def _listing(self, at: int) -> bytes:
        """The files of version ``at``, at which the walk is."""
        if self._listed is None or self._listed[0] != at:
            self._listed = (at, encode({path: Entry._make(held[1:3]) for path, held in (self.files or {}).items()}))
        return self._listed[1]

    def _compare(self, at: int, said: Mapping[str, Held], kept: Mapping[str, Held]) -> None:
        for path in sorted(said.keys() | kept.keys()):
            one, other = said.get(path), kept.get(path)
            if one != other:
                objects = tuple(held.object for held in (one, other) if held is not None)
                why = f"the catalog does not say of {path} what the commit record says"
                self.findings.add("version", f"version {at}", why, tuple(map(ObjectId, objects)))

    async def end(self) -> None:
        """The head, and that the bucket knows of no later one."""
        number = 0 if self.newest is None else self.newest.version
        if number != self.head.version or (self.newest is not None and self.newest.digest != self.head.digest):
            self._tell("version", "head", f"the project is at version {self.head.version}, its newest row is {number}")
        elif self.newest is not None:
            self._check_digest(self.newest)
        async for stored in self.estate.vault.names(self.target.tenant, self.target.project, "heads"):
            lineage, _, version = stored.name.rpartition("/")
            if lineage == self.head.lineage and version.isdecimal() and int(version) > self.head.version:
                await self._check_later(int(version))

    async def _check_later(self, version: int) -> None:
        async with self.estate.catalog.read(self.target.tenant) as s:
            now = await versions.head(s, self.target.project)
        if now.lineage == self.head.lineage and version > now.version:
            why = (
                f"the bucket has version {version} confirmed, and the catalog ends at {now.version}: it is an older one"
            )
            self._tell("catalog", "head", why)

    def _tell(self, kind: str, name: str, why: str) -> None:
        self.findings.add(kind, name, why)

    def _path(self, name: str) -> str:
        return f"tenants/{self.target.tenant}/projects/{self.target.project}/{name}"


def _changes(files: Mapping[str, Held], record: CommitRecord) -> tuple[dict[str, Held], set[str]]:
    """The entries that begin with a record on top of ``files``, and the paths of those that end."""
    begun: dict[str, Held] = {}
    ended: set[str] = set()
    for path, mode, name, size, _, _ in record.changes:
        before = files.get(path)
        if name is None or mode is None:
            ended.add(path)
        elif before is None or (before.mode, before.object) != (mode, name):
            begun[path] = Held._make((path, mode, name, size))
            if before is not None:
                ended.add(path)
    return begun, ended & files.keys()
