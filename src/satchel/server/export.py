"""Everything a tenant has, as one tar that comes as a stream, in an order that is always the same.

    tenant.json  ·  audit.ndjson  ·  each project by slug: projects/SLUG/…, projects/SLUG.sha256  ·  manifest.json

Each project is taken at its head when its turn comes. Every content is checked against its hash before it is sent; one
that the store lost or that was purged meanwhile is left out, and the manifest names it. The manifest comes last and has
the SHA-256 of all bytes before it: a stream that ends without it is not whole. What is held at a time is bounded by one
project's list of files and one window of contents, however much there is.
"""

from __future__ import annotations

import hashlib
import tarfile
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence

import msgspec

from satchel.catalog import audit, grants, principals, projects, quotas, tenants, versions
from satchel.catalog.audit import AuditRow
from satchel.catalog.principals import PrincipalRow
from satchel.catalog.projects import ProjectRow
from satchel.catalog.scope import Scope
from satchel.catalog.versions import EntryRow
from satchel.context.part import rfc3339
from satchel.errors import Damaged, NotFound, ObjectsMissing, VersionExpired
from satchel.objects.ids import ObjectId, TenantId
from satchel.server.cloud import Cloud
from satchel.sync import contents
from satchel.upkeep.about import every_project

FORMAT = "satchel-export 1"
MAX_AT_ONCE = 4
"""Exports that one node sends at a time, of different tenants."""
WINDOW_BYTES = 8 * 1024 * 1024
"""Contents fetched at a time; a single larger file is fetched alone."""
PIECE_BYTES = 256 * 1024
PAGE = 1_000
MAX_NAMED = 10_000
"""Most contents named as left out; the manifest counts them all."""
TRIES = 5
"""How often a head may expire while its files are listed."""
_BLOCK = tarfile.BLOCKSIZE


class Export:
    """One export. ``stands`` is called again and again, and raises when the caller may not have it any more."""

    def __init__(self, cloud: Cloud, tenant: TenantId, stands: Callable[[Scope], Awaitable[None]]) -> None:
        self._cloud, self._tenant, self._stands = cloud, tenant, stands
        self._hash, self._sent = hashlib.sha256(), 0
        self._taken: list[dict[str, object]] = []
        self._missing: list[dict[str, str]] = []
        self._left_out = 0

    async def stream(self) -> AsyncIterator[bytes]:
        """The whole tar. What is raised on the way leaves it without its manifest."""
        held = bytearray()
        async for piece in self._members():
            self._hash.update(piece)
            self._sent += len(piece)
            held += piece
            if len(held) >= PIECE_BYTES:
                yield bytes(held)
                held.clear()
        end = b"".join(_member("manifest.json", self._manifest(), self._cloud.clock()))
        rest = -(self._sent + len(end)) % tarfile.RECORDSIZE
        yield bytes(held) + end + bytes(rest if rest >= 2 * _BLOCK else rest + tarfile.RECORDSIZE)

    async def _members(self) -> AsyncIterator[bytes]:
        now = self._cloud.clock()
        for piece in _member("tenant.json", _pretty(await self._about()), now):
            yield piece
        async for piece in self._audit(now):
            yield piece
        async for row in every_project(self._cloud.catalog, self._tenant):
            async for piece in self._project(row):
                yield piece

    # Who and what ----------------------------------------------------------------------------------------------------

    async def _about(self) -> dict[str, object]:
        """The tenant with its people and projects; of keys everything but what would open something."""
        known = [row async for row in every_project(self._cloud.catalog, self._tenant)]
        async with self._cloud.catalog.read(self._tenant) as s:
            await self._stands(s)
            row = await tenants.own(s)
            return {
                "format": FORMAT,
                "id": row.id,
                "slug": row.slug,
                "name": row.name,
                "createdAt": rfc3339(row.created),
                "settings": row.settings.named(),
                "settingsRevision": row.revision,
                "quota": quotas.named(row.limits),
                "members": [_shown(each) async for each in _principals(s, principals.MEMBER)],
                "keys": [_shown(each) async for each in _principals(s, principals.KEY)],
                "projects": [await _project(s, each) for each in known],
            }

    async def _audit(self, now: int) -> AsyncIterator[bytes]:
        """The rows there are now. They are read twice, since a tar says a file's size before its bytes."""
        async with self._cloud.catalog.read(self._tenant) as s:
            _, last = await audit.numbered(s)
        size = 0
        async for line in self._audit_lines(last):
            size += len(line)
        yield _header("audit.ndjson", size, 0o644, now)
        async for line in self._audit_lines(last):
            yield line
        yield bytes(-size % _BLOCK)

    async def _audit_lines(self, last: int) -> AsyncIterator[bytes]:
        number = 0
        while number < last:
            async with self._cloud.catalog.read(self._tenant) as s:
                rows = await audit.after(s, number, PAGE)
            for row in rows:
                if row.sequence <= last:
                    yield msgspec.json.encode(audit_shown(row)) + b"\n"
            if not rows:
                return
            number = rows[-1].sequence

    # Content ---------------------------------------------------------------------------------------------------------

    async def _project(self, row: ProjectRow) -> AsyncIterator[bytes]:
        row, tree = await self._tree(row)
        folder = f"projects/{row.slug}"
        sums: list[str] = []
        for window in _windows(tree):
            async with self._cloud.catalog.read(self._tenant) as s:
                await self._stands(s)
            found = await self._contents(row, window)
            for entry in window:
                if entry.object in found:
                    mode = int(entry.mode[-3:], 8)
                    for piece in _member(f"{folder}/{entry.path}", found[entry.object], entry.time, mode):
                        yield piece
                    sums.append(f"{entry.object}  {row.slug}/{entry.path}\n")
        for piece in _member(f"{folder}.sha256", "".join(sums).encode(), row.created):
            yield piece
        self._taken.append(
            {
                "slug": row.slug,
                "id": row.id,
                "lineage": row.lineage,
                "version": row.version,
                "digest": row.digest,
                "files": len(sums),
            }
        )

    async def _tree(self, row: ProjectRow) -> tuple[ProjectRow, list[EntryRow]]:
        """The project as it is now, and the files of its head."""
        for tries_left in reversed(range(TRIES)):
            async with self._cloud.catalog.read(self._tenant) as s:
                row = await projects.get(s, row.id) or row
                try:
                    return row, await versions.tree(s, row.id, row.version) if row.version else []
                except VersionExpired:  # others committed between the two statements, and only the newest is kept
                    if not tries_left:
                        raise
        raise AssertionError("the last attempt returns or raises")

    async def _contents(self, row: ProjectRow, window: Sequence[EntryRow]) -> dict[ObjectId, bytes]:
        """The contents of a window; where one of them cannot be had, the others all the same."""
        cloud, wanted = self._cloud, {entry.object for entry in window}
        try:
            found = contents.read_objects(cloud.catalog, cloud.vault, self._tenant, row.id, wanted)
            return {name: data async for name, data in found}
        except (Damaged, ObjectsMissing):
            pass
        held: dict[ObjectId, bytes] = {}
        for entry in window:
            if entry.object not in held:
                try:
                    held[entry.object] = await cloud.readers.bytes_of(self._tenant, row, entry)
                except (Damaged, NotFound) as error:
                    self._leave_out(row, entry, error.code)
        return held

    def _leave_out(self, row: ProjectRow, entry: EntryRow, reason: str) -> None:
        self._left_out += 1
        if len(self._missing) < MAX_NAMED:
            named = {"project": row.slug, "path": entry.path, "object": entry.object, "reason": reason}
            self._missing.append(named)

    def _manifest(self) -> bytes:
        return _pretty(
            {
                "format": FORMAT,
                "tenant": self._tenant,
                "exportedAt": rfc3339(self._cloud.clock()),
                "bytesBefore": self._sent,
                "sha256Before": self._hash.hexdigest(),
                "projects": self._taken,
                "leftOut": self._left_out,
                "missing": self._missing,
            }
        )


async def _principals(s: Scope, kind: str) -> AsyncIterator[PrincipalRow]:
    after = ""
    while page := await principals.list_(s, kind, after, PAGE):
        for row in page:
            yield row
        after = page[-1].id


async def _project(s: Scope, row: ProjectRow) -> dict[str, object]:
    given, after = [], ""
    while page := await grants.of_project(s, row.id, after, PAGE):
        given += [{"principal": grant.principal_id, "name": grant.name, "role": grant.role.value} for grant in page]
        after = page[-1].principal_id
    return {
        "id": row.id,
        "slug": row.slug,
        "description": row.description,
        "createdAt": rfc3339(row.created),
        "archived": row.archived is not None,
        "relations": [{"type": each.type, "project": each.target} for each in await projects.relations(s, row.id)],
        "grants": given,
    }


def _shown(row: PrincipalRow) -> dict[str, object]:
    shown = {
        "id": row.id,
        "name": row.name,
        "email": row.email,
        "tenantRole": row.tenant_role.value,
        "allProjects": row.all_projects.value if row.all_projects else None,
        "scope": row.cap.value if row.cap else None,
        "createdAt": rfc3339(row.created),
        "createdBy": row.created_by,
        "expiresAt": None if row.expires is None else rfc3339(row.expires),
    }
    return {name: value for name, value in shown.items() if value is not None}


def audit_shown(row: AuditRow) -> dict[str, object]:
    """A row of the audit as it is sent."""
    return {
        "sequence": row.sequence,
        "id": row.id,
        "time": rfc3339(row.time),
        "principal": row.principal_id or None,
        "name": row.principal_name,
        "action": row.action,
        "target": row.target,
        "result": row.result,
        "requestId": row.request_id,
        "address": row.address,
    }


def _windows(tree: Sequence[EntryRow]) -> Iterator[list[EntryRow]]:
    window: list[EntryRow] = []
    size = 0
    for entry in tree:
        if window and size + entry.size > WINDOW_BYTES:
            yield window
            window, size = [], 0
        window.append(entry)
        size += entry.size
    if window:
        yield window


def _member(name: str, data: bytes, time_ms: int, mode: int = 0o644) -> tuple[bytes, bytes, bytes]:
    return _header(name, len(data), mode, time_ms), data, bytes(-len(data) % _BLOCK)


def _header(name: str, size: int, mode: int, time_ms: int) -> bytes:
    info = tarfile.TarInfo(name)
    info.size, info.mode, info.mtime = size, mode, time_ms // 1000
    return info.tobuf(tarfile.PAX_FORMAT, "utf-8", "strict")


def _pretty(value: object) -> bytes:
    return msgspec.json.format(msgspec.json.encode(value), indent=2) + b"\n"
