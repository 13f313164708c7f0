"""The questions an agent asks, over HTTP: context, search, tasks, versions. The same reader answers at /mcp."""

from __future__ import annotations

import asyncio
from typing import Annotated, Any

import msgspec
from fastapi import APIRouter, Query, Request, Response

from satchel.context.answers import (
    MAX_CONTEXT_BUDGET,
    MIN_CONTEXT_BUDGET,
    MIN_CONTEXT_TOKENS,
    ContextAnswer,
    ContextReader,
    SearchAnswer,
    TaskList,
    VersionList,
)
from satchel.context.limits import MAX_SEARCH_DEPTH
from satchel.documents import MANIFEST_PATH
from satchel.documents.manifest import merged
from satchel.errors import InvalidInput, NoSuchArtifact
from satchel.server.access import Caller, ContentWriter, OnProject, Reader, SignedIn, repeatable
from satchel.server.bodies import answer, idempotency_key, read_json, secrets_allowed
from satchel.server.openapi import operation
from satchel.server.routes.artifacts import SECRETS_ALLOWED, WRITE_ERRORS
from satchel.server.routes.projects import ABSENT, IDEMPOTENT, Cursor, PageLimit
from satchel.server.schemas import CommittedOut, SearchRequest
from satchel.server.writes import committed, write

router = APIRouter(tags=["reading"])
Q = Annotated[
    str,
    Query(
        description='Words, begin*, "phrases", `kind:`, `path:`, `project:`, `author:`, `since:`, `until:`, `-not`; '
        "anything is a query, and none at all gives the recent changes."
    ),
]
Related = Annotated[bool, Query(description="Also the projects that those asked are related to, either way.")]
Then = Annotated[
    str | None,
    Query(max_length=40, description="An old version: its number, or a date such as 2025-01-31 (its end counts)."),
]
HitLimit = Annotated[int, Query(ge=1, le=50, description="Hits in the answer.")]
HitOffset = Annotated[int, Query(ge=0, le=MAX_SEARCH_DEPTH, description="Hits to skip; with `limit` at most 1,000.")]
SEARCH_ERRORS = (*ABSENT, "version.not_found", "version.expired")
_MAX_QUERY_BODY = 256 * 1024


@router.get(
    "/projects/{p}/context",
    **operation("What the project is and holds", answer=ContextAnswer, errors=ABSENT),
)
@repeatable
async def get_context(
    on: Reader,
    budget: Annotated[
        int, Query(ge=MIN_CONTEXT_BUDGET, le=MAX_CONTEXT_BUDGET, description="Most characters of the answer.")
    ] = 40_000,
    tokens: Annotated[
        int | None,
        Query(ge=MIN_CONTEXT_TOKENS, le=MAX_CONTEXT_BUDGET, description="Most estimated tokens, as well."),
    ] = None,
) -> Response:
    found = await on.cloud.readers.ask(
        on.caller.principal, lambda r: r.context(on.row.id, budget=budget, tokens=tokens), on.row
    )
    return answer(found)


@router.post(
    "/projects/{p}/context",
    **operation(
        "Merge an object into context.json: one commit",
        body=dict,
        answer=CommittedOut,
        headers=IDEMPOTENT | SECRETS_ALLOWED,
        errors=(*ABSENT, *WRITE_ERRORS, "context.invalid", "secret.refused"),
        example={"description": "The platform team's context"},
    ),
)
async def post_context(request: Request, on: ContentWriter) -> Response:
    """A JSON Merge Patch (RFC 7396): members replace, objects merge, null removes. The result has to be valid."""
    patch = await read_json(request, dict[str, Any], on.cloud.settings.max_json_bytes)
    key, allowed = idempotency_key(request), secrets_allowed(request)
    data, object_id = await _manifest(on)
    text = await asyncio.to_thread(merged, data, patch)
    asked = b"merge " + msgspec.json.encode(patch, order="sorted")
    replaces = object_id or "*absent"
    return committed(await write(on, MANIFEST_PATH, text, None, replaces, key, asked=asked, allowed=allowed))


@router.get(
    "/projects/{p}/search",
    **operation("Search one project", answer=SearchAnswer, errors=SEARCH_ERRORS),
)
@repeatable
async def search_project(
    on: Reader, q: Q = "", limit: HitLimit = 10, offset: HitOffset = 0, related: Related = False, at: Then = None
) -> Response:
    return answer(await _search(on, SearchRequest(query=q, related=related, limit=limit, offset=offset, at=at)))


@router.post(
    "/projects/{p}/search",
    **operation(
        "Search one project",
        body=SearchRequest,
        answer=SearchAnswer,
        errors=SEARCH_ERRORS,
        example={"query": "who approves a rollback", "limit": 5},
    ),
)
async def post_search_project(request: Request, on: Reader) -> Response:
    asked = await read_json(request, SearchRequest, _MAX_QUERY_BODY)
    if asked.projects is not None:
        raise InvalidInput("projects: this address searches one project; use /api/v1/search for several")
    return answer(await _search(on, asked))


@router.get(
    "/search", **operation("Search every project the caller may read", answer=SearchAnswer, errors=SEARCH_ERRORS)
)
async def search_all(
    caller: SignedIn,
    q: Q = "",
    limit: HitLimit = 10,
    offset: HitOffset = 0,
    project: Annotated[list[str] | None, Query(max_length=1_000, description="Only these; may be repeated.")] = None,
    related: Related = False,
    at: Then = None,
) -> Response:
    asked = SearchRequest(query=q, projects=project, related=related, limit=limit, offset=offset, at=at)
    return answer(await _search_all(caller, asked))


@router.post(
    "/search", **operation("Search several projects", body=SearchRequest, answer=SearchAnswer, errors=SEARCH_ERRORS)
)
async def post_search_all(request: Request, caller: SignedIn) -> Response:
    return answer(await _search_all(caller, await read_json(request, SearchRequest, _MAX_QUERY_BODY)))


@router.get(
    "/projects/{p}/tasks",
    **operation("Open tasks, from checkboxes", answer=TaskList, errors=ABSENT),
)
@repeatable
async def tasks(
    on: Reader,
    done: Annotated[bool, Query(description="Finished ones instead.")] = False,
    prefix: Annotated[str, Query(max_length=1_024, description="Only below this path.")] = "",
    cursor: Cursor = None,
    limit: PageLimit = 100,
) -> Response:
    found = await on.cloud.readers.ask(
        on.caller.principal,
        lambda r: r.tasks(on.row.id, done=done, prefix=prefix, cursor=cursor, limit=limit),
        on.row,
    )
    return answer(found)


@router.get(
    "/projects/{p}/versions",
    **operation("The versions, newest first", answer=VersionList, errors=ABSENT),
)
@repeatable
async def list_versions(
    on: Reader,
    path: Annotated[
        str | None,
        Query(max_length=1_024, description="Only those that changed this artifact, with counts of it alone."),
    ] = None,
    cursor: Cursor = None,
    limit: PageLimit = 50,
) -> Response:
    found = await on.cloud.readers.ask(
        on.caller.principal, lambda r: r.history(on.row.id, path=path, cursor=cursor, limit=limit), on.row
    )
    return answer(found)


async def _search(on: OnProject, asked: SearchRequest) -> SearchAnswer:
    return await on.cloud.readers.ask(on.caller.principal, lambda r: _asked(r, asked, [on.row.id]), on.row)


async def _search_all(caller: Caller, asked: SearchRequest) -> SearchAnswer:
    return await caller.cloud.readers.ask(
        caller.principal, lambda r: _asked(r, asked, asked.projects), absent=caller.exchange.absent.append
    )


def _asked(reader: ContextReader, asked: SearchRequest, projects: list[str] | None) -> SearchAnswer:
    return reader.search(
        asked.query, projects=projects, related=asked.related, limit=asked.limit, offset=asked.offset, at=asked.at
    )


async def _manifest(on: OnProject) -> tuple[bytes | None, str | None]:
    try:
        found = await on.cloud.readers.content(on.caller.tenant, on.row, MANIFEST_PATH)
    except NoSuchArtifact:
        return None, None
    return found.data, found.entry.object
