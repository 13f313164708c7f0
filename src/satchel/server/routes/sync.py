"""A sync over HTTP: what changed, what is missing, content and commit, in one streaming request or in steps."""

from __future__ import annotations

import base64
from collections.abc import AsyncIterator, Iterable, Sequence
from typing import Annotated

import msgspec
from fastapi import APIRouter, Query, Request, Response
from fastapi.responses import StreamingResponse
from msgspec import UNSET

from satchel.catalog import damage, versions
from satchel.catalog.versions import ChangeRow
from satchel.context.part import rfc3339
from satchel.errors import HeadMoved, InvalidInput, LengthRequired, NoSuchVersion, TooLarge
from satchel.objects.ids import Digest, Lineage, ObjectId
from satchel.server.access import ContentWriter, OnProject, Reader, Writer
from satchel.server.bodies import answer, idempotency_key, packed, read_json, require_media, secrets_allowed, stream
from satchel.server.openapi import operation
from satchel.server.routes.artifacts import WRITE_ERRORS
from satchel.server.routes.projects import ABSENT, IDEMPOTENT, Cursor, PageLimit
from satchel.server.schemas import (
    ChangeIn,
    ChangesPage,
    CommitRequest,
    CommittedOut,
    DamagedPage,
    Missing,
    ObjectsRequest,
    PacksKept,
    ReadRequest,
)
from satchel.server.writes import committed, on_behalf, paced
from satchel.sync.peer import Files
from satchel.sync.wire import MEDIA_TYPE as SYNC_TYPE
from satchel.sync.wire import Parent, Sent, sent

router = APIRouter(tags=["sync"])
PACK_TYPE = "application/x-satchel-pack"
_DECLARED = {"Satchel-Declared-Bytes": "The most bytes the body will have."}
_ALLOWED = {
    "Satchel-Secrets-Allowed": "Paths, percent-encoded and separated by commas, that are sent although they look as if "
    "they held a credential: the audit names them. At most 50."
}
_PACK_ERRORS = ("sync.declaration_required", "frame.refused")
_MAX_NAMES_BYTES = 1 << 20
_MAX_COMMIT_BYTES = 64 << 20


class _Cursor(msgspec.Struct, array_like=True, forbid_unknown_fields=True):
    """Where the next page of changes begins, and at which version all pages are."""

    lineage: str
    version: int
    digest: str
    since: int
    after: str


@router.get(
    "/projects/{p}/changes",
    **operation(
        "What the head, or version `until`, has otherwise than version `since`, deletions too; 0 gives the whole tree",
        answer=ChangesPage,
        errors=(*ABSENT, "version.not_found", "version.expired", "sync.head_moved"),
    ),
)
async def changes(
    request: Request,
    on: Reader,
    since: Annotated[int, Query(ge=0, le=2**53 - 1, description="The version the caller has.")] = 0,
    until: Annotated[
        int | None, Query(ge=1, le=2**53 - 1, description="The version to compare with it; the head without.")
    ] = None,
    cursor: Cursor = None,
    limit: Annotated[int, Query(ge=1, le=10_000, description="Rows in a page.")] = 10_000,
) -> Response:
    """All pages are at the version of the first. `sync.head_moved` says that the lineage ended meanwhile."""
    row = on.row
    if since == row.version and until is None and cursor is None:  # what is asked most: nothing new, which `row` says
        return _page(on, _Cursor(row.lineage, row.version, row.digest, since, ""), [], None)
    async with on.cloud.catalog.read(on.caller.tenant) as s:
        named = row if until is None else await versions.version(s, row.id, until)
        first = _Cursor(named.lineage, named.version, named.digest, since, "")
        at = first if cursor is None else _read_cursor(cursor, since, until)
        if at.lineage != named.lineage:
            raise HeadMoved("a new lineage has begun", lineage=row.lineage, version=row.version, digest=row.digest)
        if since > at.version or at.version > row.version:
            raise NoSuchVersion(f"version {since} is not one of this project's")
        rows = await versions.changes(s, row.id, since, at.version, at.after, limit + 1)
    more = None
    if len(rows) > limit:
        at.after = rows[limit - 1].path
        more = base64.urlsafe_b64encode(msgspec.json.encode(at)).decode()
    return await packed(request, _page(on, at, rows[:limit], more))


@router.post(
    "/projects/{p}/sync",
    **operation(
        "Changes, content and commit in one stream",
        answer=CommittedOut,
        receives=SYNC_TYPE,
        headers=IDEMPOTENT | _DECLARED | _ALLOWED,
        errors=(*ABSENT, *WRITE_ERRORS, *_PACK_ERRORS, "sync.objects_missing", "sync.too_soon"),
    ),
)
async def sync(request: Request, on: ContentWriter) -> Response:
    """The stream is specified in docs/spec/wire.md. A conflict answers `sync.head_moved` with the head as it is."""
    declared = _declared(request, on)
    key = idempotency_key(request)
    require_media(request, SYNC_TYPE)
    allowed = secrets_allowed(request)
    key = await paced(on, key)
    on.caller.exchange.allow(on.cloud.settings.sync_total_seconds)
    caller = on_behalf(on)._replace(secrets_allowed=allowed)
    made = await on.cloud.receiver.sync(caller, on.row.id, stream(request, declared), declared, key)
    return committed(made._replace(damaged=on.row.damaged))


@router.post(
    "/projects/{p}/packs",
    **operation(
        "Content ahead of a commit: the same stream without changes",
        answer=PacksKept,
        receives=SYNC_TYPE,
        headers=_DECLARED,
        errors=(*ABSENT, *WRITE_ERRORS, *_PACK_ERRORS),
    ),
)
async def packs(request: Request, on: ContentWriter) -> Response:
    """What no commit names within a day is forgotten. What the storage had lost (`objects/damaged`) counts at once."""
    declared = _declared(request, on)
    require_media(request, SYNC_TYPE)
    on.caller.exchange.allow(on.cloud.settings.sync_total_seconds)
    kept = await on.cloud.receiver.packs(on_behalf(on), on.row.id, stream(request, declared), declared)
    return answer(kept._asdict())


@router.post(
    "/projects/{p}/commits",
    **operation(
        "Commit changes whose content the project holds",
        body=CommitRequest,
        answer=CommittedOut,
        headers=IDEMPOTENT,
        errors=(*ABSENT, *WRITE_ERRORS, "sync.objects_missing", "sync.too_soon"),
    ),
)
async def commits(request: Request, on: ContentWriter) -> Response:
    key = await paced(on, idempotency_key(request))
    asked = await read_json(request, CommitRequest, _MAX_COMMIT_BYTES)
    seen: set[str] = set()
    rows = [_sent(change, seen) for change in asked.changes]
    parent = Parent(Lineage(asked.parent.lineage), asked.parent.version, Digest(asked.parent.digest))
    return committed(
        await on.cloud.receiver.commit(on_behalf(on), on.row.id, parent, Digest(asked.digest), tuple(rows), key)
    )


@router.post(
    "/projects/{p}/objects/query",
    **operation("Which of these objects the project lacks", body=ObjectsRequest, answer=Missing, errors=ABSENT),
)
async def objects_query(request: Request, on: Writer) -> Response:
    """For writers: what a project holds is nobody else's to ask by hash."""
    asked = await read_json(request, ObjectsRequest, _MAX_NAMES_BYTES)
    async with on.cloud.catalog.read(on.caller.tenant) as s:
        missing = await versions.missing(s, on.row.id, [ObjectId(name) for name in asked.objects])
    return answer({"missing": missing})


@router.get(
    "/projects/{p}/objects/damaged",
    **operation("The objects that the storage lost and asks for, by id", answer=DamagedPage, errors=ABSENT),
)
async def objects_damaged(on: Writer, cursor: Cursor = None, limit: PageLimit = 1_000) -> Response:
    """Whoever still has one sends it to `packs`: it is whole again when that answers."""
    async with on.cloud.catalog.read(on.caller.tenant) as s:
        items = await damage.list_(s, on.row.id, cursor or "", limit + 1)
    return answer({"items": items[:limit], "next": items[limit - 1] if len(items) > limit else None})


@router.post(
    "/projects/{p}/objects/read",
    **operation(
        "Frames that hold the named objects, and what some files of a version hold",
        body=ReadRequest,
        sends=PACK_TYPE,
        errors=(*ABSENT, "sync.objects_missing", "version.not_found", "version.expired"),
    ),
)
async def objects_read(request: Request, on: Reader) -> Response:
    asked = await read_json(request, ReadRequest, _MAX_NAMES_BYTES)
    names = [ObjectId(name) for name in asked.objects]
    files = None if asked.files is None else Files(asked.files.version, asked.files.after, asked.files.limit)
    frames = await on.cloud.receiver.read_frames(on.caller.tenant, on.row.id, names, asked.since, files)
    # The first frame is read before the answer begins: content that cannot be read has a status of its own then.
    begun = [piece for _ in ("start", "frame") if (piece := await anext(frames, None)) is not None]
    return StreamingResponse(_after(begun, frames), media_type=PACK_TYPE)


async def _after(begun: Iterable[bytes], rest: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    for piece in begun:
        yield piece
    async for piece in rest:
        yield piece


def _declared(request: Request, on: OnProject) -> int:
    """The bytes a stream says it may have. Raises ``LengthRequired`` or ``TooLarge``."""
    text = request.headers.get("satchel-declared-bytes") or ""
    if not (text.isascii() and text.isdecimal() and len(text) <= 15):
        raise LengthRequired("say in Satchel-Declared-Bytes how many bytes the body will have at most")
    limit = on.cloud.settings.max_sync_bytes
    if int(text) > limit:
        raise TooLarge(f"one sync takes at most {limit:,} bytes; this one declares {int(text):,}", limit=limit)
    return int(text)


def _read_cursor(text: str, since: int, until: int | None) -> _Cursor:
    try:
        at = msgspec.json.decode(base64.urlsafe_b64decode(text), type=_Cursor)
    except (ValueError, msgspec.MsgspecError) as error:
        raise InvalidInput("this is not a cursor of this list") from error
    if at.since != since or until not in (None, at.version):
        raise InvalidInput("the cursor belongs to another `since` or `until`")
    return at


def _sent(change: ChangeIn, seen: set[str]) -> Sent:
    if change.deleted:
        if any(value is not UNSET for value in (change.mode, change.object, change.size)):
            raise InvalidInput("a deletion has a path alone")
        return sent(change.path, seen=seen, deleted=True)
    if UNSET in (change.mode, change.object, change.size):
        raise InvalidInput("a change has path, mode, object and size; a deletion path and deleted")
    return sent(change.path, change.mode, change.object, change.size, seen=seen)


def _page(on: OnProject, at: _Cursor, rows: Sequence[ChangeRow], more: str | None) -> Response:
    head = {"lineage": at.lineage, "version": at.version, "digest": at.digest}
    rest = {"next": more, "damaged": on.row.damaged, "deltas": True, "givesDeltas": True, "givesFiles": True}
    return answer(head | {"items": [_change(change) for change in rows]} | rest)


def _change(row: ChangeRow) -> dict[str, object]:
    shown: dict[str, object] = {"path": row.path, "version": row.version, "author": row.author}
    shown["authorKind"] = row.author_kind
    shown["time"] = rfc3339(row.time)
    if row.deleted:
        return shown | {"deleted": True}
    return shown | {"mode": row.mode, "object": row.object, "size": row.size, "kind": row.kind, "title": row.title}
