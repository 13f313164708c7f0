"""The artifacts of a project: list, read, write, delete. Every write is one commit."""

from __future__ import annotations

from typing import Annotated
from urllib.parse import unquote_to_bytes

from fastapi import APIRouter, Query, Request, Response

from satchel.context.answers import ArtifactList, ArtifactText, Outline
from satchel.context.part import rfc3339
from satchel.errors import InvalidInput, NoSuchArtifact, PathRefused, PreconditionMissing
from satchel.objects.listing import check_mode
from satchel.objects.paths import check_path
from satchel.server.access import ContentWriter, Reader, repeatable
from satchel.server.bodies import answer, etags, idempotency_key, read_bytes, secrets_allowed
from satchel.server.openapi import operation
from satchel.server.routes.projects import ABSENT, IDEMPOTENT, Cursor, PageLimit
from satchel.server.schemas import CommittedOut
from satchel.server.writes import committed, write

router = APIRouter(tags=["artifacts"])
WRITE_ERRORS = (
    "auth.insufficient_scope",
    "artifact.changed",
    "disk.full",
    "path.refused",
    "project.archived",
    "quota.reached",
    "request.idempotency_reused",
    "request.too_large",
    "review.person_required",
    "sync.head_moved",
    "tenant.storage_not_allowed",
)
OF_ONE = (*ABSENT, "artifact.not_found", "artifact.purged", "version.not_found", "version.expired")
_PRECONDITIONS = {
    "If-Match": "The ETag of the content this replaces, or * for whatever is there.",
    "If-None-Match": "* to create what must not exist.",
} | IDEMPOTENT
SECRETS_ALLOWED = {
    "Satchel-Secrets-Allowed": "The path, percent-encoded, where this is written although it looks as if it held a "
    "credential. The audit names it."
}
_ETAG = {"ETag": "The SHA-256 of the content, in quotes.", "Satchel-Version": "The version answered from."}
_OF_TEXT = ("first", "last", "section", "cursor", "budget", "tokens")
"""What says which part of the text is to come."""
Prefix = Annotated[str, Query(max_length=1_024, description="Only below this path.")]
At = Annotated[int | None, Query(ge=1, le=2**53 - 1, description="The version to read; default the newest.")]


@router.get(
    "/projects/{p}/artifacts",
    **operation("The artifacts, by path", answer=ArtifactList, errors=ABSENT),
)
@repeatable
async def list_artifacts(
    on: Reader,
    kind: Annotated[str | None, Query(max_length=60, description="Only of this kind.")] = None,
    prefix: Prefix = "",
    text: Annotated[str, Query(max_length=200, description="Only with this in path or title, case aside.")] = "",
    cursor: Cursor = None,
    limit: PageLimit = 100,
) -> Response:
    found = await on.cloud.readers.ask(
        on.caller.principal,
        lambda r: r.artifacts(on.row.id, kind=kind, prefix=prefix, text=text, cursor=cursor, limit=limit),
        on.row,
    )
    return answer(found)


@router.get(
    "/projects/{p}/artifacts/{path:path}",
    **operation(
        "The bytes of an artifact; as JSON with lines and a budget when asked for application/json",
        answer=ArtifactText,
        sends="application/octet-stream",
        errors=(*OF_ONE, "artifact.section_not_found"),
        headers={"If-None-Match": "An ETag: 304 if the content is still that."},
        gives=_ETAG,
        also={304: "The content is the one named in If-None-Match."},
    ),
)
async def get_artifact(
    request: Request,
    on: Reader,
    path: str,
    at: At = None,
    first: Annotated[int, Query(ge=1, description="First line, for JSON.")] = 1,
    last: Annotated[int | None, Query(ge=1, description="Last line, for JSON.")] = None,
    section: Annotated[
        str | None, Query(max_length=1_000, description="Instead of lines a heading: Approval, or Rollback > Approval.")
    ] = None,
    cursor: Annotated[str | None, Query(max_length=40, description="The `next` of the page before, for JSON.")] = None,
    budget: Annotated[int, Query(ge=1, le=1_000_000, description="Most characters, for JSON.")] = 40_000,
    tokens: Annotated[int | None, Query(ge=1, le=1_000_000, description="Most estimated tokens, for JSON.")] = None,
) -> Response:
    readers = on.cloud.readers
    if "application/json" in request.headers.get("accept", ""):
        text = await readers.ask(
            on.caller.principal,
            lambda r: r.artifact(
                on.row.id, path,
                first=first, last=last, section=section, cursor=cursor, budget=budget, tokens=tokens, at=at,
            ),
            on.row,
        )  # fmt: skip
        return answer(text)
    for name in _OF_TEXT:
        if name in request.query_params:
            raise InvalidInput(
                f"{name}: the bytes of an artifact come whole; this is for its text",
                hint="Send Accept: application/json for the text by lines, section and budget, or leave it out.",
            )
    seen = request.headers.get("if-none-match")
    any_, tags = etags(seen, weak=True) if seen else (False, [])
    try:
        entry = await readers.entry(on.caller.tenant, on.row, path, at)
    except NoSuchArtifact:  # a reader also says what may have been meant
        await readers.ask(on.caller.principal, lambda r: r.artifact(on.row.id, path, budget=1, at=at), on.row)
        raise
    headers = {
        "etag": f'"{entry.object}"',
        "satchel-version": str(on.row.version if at is None else at),
        "satchel-mode": entry.mode,
        "last-modified-at": rfc3339(entry.time),
        "vary": "accept",
        # By the same address an old version may be purged, or that of a restored project, or of one that took the name.
        "cache-control": "private, no-cache",
        # Stored bytes are never run: not as a page, not as a script, not by guessing.
        "content-disposition": "attachment",
        "content-security-policy": "default-src 'none'; sandbox",
    }
    same = any_ or entry.object in tags
    if same and at is None:
        return Response(None, 304, headers=headers)
    data = await (readers.bytes_of_head if at is None else readers.bytes_of)(on.caller.tenant, on.row, entry)
    if same:  # and not purged since
        return Response(None, 304, headers=headers)
    return Response(data, headers=headers, media_type="application/octet-stream")


@router.get(
    "/projects/{p}/outlines/{path:path}",
    **operation("The headings of an artifact, with the lines they cover", answer=Outline, errors=OF_ONE),
)
async def get_outline(on: Reader, path: str, cursor: Cursor = None, limit: PageLimit = 200, at: At = None) -> Response:
    found = await on.cloud.readers.ask(
        on.caller.principal, lambda r: r.outline(on.row.id, path, cursor=cursor, limit=limit, at=at), on.row
    )
    return answer(found)


@router.put(
    "/projects/{p}/artifacts/{path:path}",
    **operation(
        "Write an artifact",
        answer=CommittedOut,
        receives="application/octet-stream",
        headers=_PRECONDITIONS | SECRETS_ALLOWED | {"Satchel-Mode": "100644 (default for a new file) or 100755."},
        gives=_ETAG,
        errors=(*ABSENT, *WRITE_ERRORS, "artifact.precondition_required", "secret.refused"),
    ),
)
async def put_artifact(request: Request, on: ContentWriter, path: str) -> Response:
    """Any content type is taken; the bytes are kept as they are."""
    precondition = _precondition(request)
    _check_address(request)
    check_path(path)
    mode = request.headers.get("satchel-mode")
    if mode is not None:
        check_mode(mode)
    key, allowed = idempotency_key(request), secrets_allowed(request)
    data = await read_bytes(request, on.cloud.settings.max_file_bytes)
    return committed(await write(on, path, data, mode, precondition, key, allowed=allowed), data)


@router.delete(
    "/projects/{p}/artifacts/{path:path}",
    **operation(
        "Delete an artifact; its versions stay readable",
        answer=CommittedOut,
        headers=_PRECONDITIONS,
        errors=(*ABSENT, *WRITE_ERRORS, "artifact.not_found", "artifact.precondition_required"),
    ),
)
async def delete_artifact(request: Request, on: ContentWriter, path: str) -> Response:
    precondition = _precondition(request)
    if precondition == "*absent":
        raise InvalidInput("If-None-Match: * cannot go with a deletion")
    return committed(await write(on, path, None, None, precondition, idempotency_key(request)))


def _check_address(request: Request) -> None:
    """Refuse a name that is no text: decoded leniently, as ASGI has it, it would become another one."""
    try:
        unquote_to_bytes(request.scope["raw_path"]).decode()
    except UnicodeDecodeError as error:
        raise PathRefused("the path in the address is not valid UTF-8") from error


def _precondition(request: Request) -> str:
    """What a write replaces: an object id, ``*present`` or ``*absent``. Raises ``PreconditionMissing``."""
    match, none = request.headers.get("if-match"), request.headers.get("if-none-match")
    if match is None and none is None:
        raise PreconditionMissing("a write has to say which content it replaces")
    if match is not None and none is not None:
        raise InvalidInput("send If-Match or If-None-Match, not both")
    if match is None:
        if (none or "").strip() != "*":
            raise InvalidInput("a write takes If-None-Match: * alone")
        return "*absent"
    any_, tags = etags(match)
    if any_:
        return "*present"
    if len(tags) != 1:
        raise InvalidInput("If-Match takes one strong entity tag, or *")
    return tags[0]
