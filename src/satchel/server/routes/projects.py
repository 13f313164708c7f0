"""Projects: list, create, describe, rename, archive; and the versions of one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

from fastapi import APIRouter, Query, Request, Response
from msgspec import UNSET

from satchel.auth.policy import Action, reads_everything, role_on
from satchel.auth.roles import Principal, author_kind
from satchel.catalog import projects, versions
from satchel.catalog.projects import ProjectRow, RelationRow
from satchel.catalog.scope import Scope
from satchel.context.part import rfc3339
from satchel.errors import InvalidInput
from satchel.objects.ids import Lineage, ProjectId, new_id
from satchel.server.access import (
    Caller,
    ProjectAdmin,
    ProjectCreator,
    Reader,
    SignedIn,
    absent_project,
    repeatable,
)
from satchel.server.bodies import answer, read_json
from satchel.server.once import once
from satchel.server.openapi import operation
from satchel.server.schemas import Done, Project, ProjectCreate, ProjectPage, ProjectPatch, Version

router = APIRouter(tags=["projects"])
_MAX_BODY = 64 * 1024
ABSENT = ("project.not_found",)
IDEMPOTENT = {"Idempotency-Key": "1 to 200 visible ASCII characters: the same key and body are done once in 24 hours."}
PageLimit = Annotated[int, Query(ge=1, le=1_000, description="Rows in a page.")]
Cursor = Annotated[str | None, Query(max_length=2_048, description="`next` of the page before.")]


@router.get("/projects", **operation("The projects the caller may read, by slug", answer=ProjectPage))
@repeatable
async def list_projects(
    caller: SignedIn,
    cursor: Cursor = None,
    limit: PageLimit = 100,
    archived: Annotated[bool, Query(description="Archived ones too.")] = False,
) -> Response:
    async with caller.cloud.catalog.read(caller.tenant) as s:
        rows = await readable(s, caller.principal, cursor or "", limit + 1, archived=archived)
        related = await projects.relations_of(s, [row.id for row in rows[:limit]])
        items = [_told(caller, row, related.get(row.id, [])) for row in rows[:limit]]
    return answer({"items": items, "next": rows[limit - 1].slug if len(rows) > limit else None})


@router.post(
    "/projects",
    **operation(
        "Create a project",
        body=ProjectCreate,
        answer=Project,
        status=201,
        headers=IDEMPOTENT,
        errors=(
            "auth.insufficient_scope",
            "resource.exists",
            "quota.reached",
            "request.idempotency_reused",
            "disk.full",
        ),
        example={"slug": "acme-platform", "description": "The platform team's context"},
    ),
)
async def create_project(request: Request, caller: ProjectCreator) -> Response:
    """`id` is the one `satchel init` gave the folder, where there is one."""
    asked = await read_json(request, ProjectCreate, _MAX_BODY)
    cloud, now = caller.cloud, caller.cloud.clock()
    async with cloud.catalog.write(caller.tenant) as s:
        await caller.stands(s, Action.PROJECT_CREATE)

        async def do() -> dict[str, object]:
            row = await projects.create(
                s,
                id=ProjectId(new_id("prj", cloud.random(16)) if asked.id is UNSET else asked.id),
                slug=asked.slug,
                description=asked.description,
                now=now,
                lineage=Lineage(new_id("lin", cloud.random(16))),
            )
            await caller.record(s, "project.create", row.id, now)
            return await _shown(s, caller, row)

        result = await once(request, caller, s, "POST /projects", asked, do)
    await cloud.notices.project(caller.tenant, ProjectId(str(result["id"])))
    return answer(result, 201, {"location": f"/api/v1/projects/{result['id']}"})


@router.get("/projects/{p}", **operation("One project", answer=Project, errors=ABSENT))
@repeatable
async def get_project(on: Reader) -> Response:
    async with on.cloud.catalog.read(on.caller.tenant) as s:
        return answer(await _shown(s, on.caller, on.row))


@router.patch(
    "/projects/{p}",
    **operation(
        "Rename, describe, archive or bring back a project",
        body=ProjectPatch,
        answer=Project,
        errors=(*ABSENT, "auth.insufficient_scope", "resource.exists", "disk.full"),
    ),
)
async def patch_project(request: Request, on: ProjectAdmin) -> Response:
    asked = await read_json(request, ProjectPatch, _MAX_BODY)
    if asked.slug is UNSET and asked.description is UNSET and asked.archived is UNSET:
        raise InvalidInput("send at least one of slug, description, archived")
    now = on.cloud.clock()
    async with on.cloud.catalog.write(on.caller.tenant) as s:
        await on.stands(s, Action.PROJECT_ADMIN)
        before = await projects.get(s, on.row.id)
        await projects.update(
            s,
            on.row.id,
            slug=None if asked.slug is UNSET else asked.slug,
            description=None if asked.description is UNSET else asked.description,
        )
        if asked.archived is not UNSET:
            await projects.archive(s, on.row.id, now if asked.archived else None)
        row = await projects.get(s, on.row.id)
        if before is None or row is None:
            raise absent_project()
        said = [f"slug {row.slug}"] * (row.slug != before.slug)
        said += ["description"] * (row.description != before.description)
        if row.archived != before.archived:
            said.append("brought back" if row.archived is None else "archived")
        if said:
            await on.caller.record(s, "project.change", f"{on.row.id} {', '.join(said)}", now)
        shown = await _shown(s, on.caller, row)
    await on.cloud.notices.project(on.caller.tenant, on.row.id)
    return answer(shown)


@router.delete(
    "/projects/{p}",
    **operation(
        "Archive a project: it can be read, not changed, and brought back",
        answer=Done,
        errors=(*ABSENT, "auth.insufficient_scope", "disk.full"),
    ),
)
async def delete_project(on: ProjectAdmin) -> Response:
    now = on.cloud.clock()
    async with on.cloud.catalog.write(on.caller.tenant) as s:
        await on.stands(s, Action.PROJECT_ADMIN)
        row = await projects.get(s, on.row.id)
        if row is not None and row.archived is None:
            await projects.archive(s, on.row.id, now)
            await on.caller.record(s, "project.archive", on.row.id, now)
    await on.cloud.notices.project(on.caller.tenant, on.row.id)
    return answer({"ok": True})


@router.get(
    "/projects/{p}/versions/{n}",
    **operation("One version", answer=Version, errors=(*ABSENT, "version.not_found")),
)
async def get_version(on: Reader, n: int) -> Response:
    async with on.cloud.catalog.read(on.caller.tenant) as s:
        row = await versions.version(s, on.row.id, n)
        oldest = await versions.floor(s, on.row.id)
    return answer(
        {
            "version": row.version,
            "digest": row.digest,
            "lineage": row.lineage,
            "author": row.author,
            "authorKind": author_kind(row.author_id),
            "time": rfc3339(row.time),
            "added": row.added,
            "changed": row.changed,
            "deleted": row.deleted,
            "readable": row.version >= oldest,
        }
    )


async def readable(
    s: Scope, who: Principal, after: str = "", limit: int = 1_000, *, archived: bool = False
) -> list[ProjectRow]:
    """The projects a principal may read whose slug comes after ``after``, by slug."""
    if reads_everything(who):
        return await projects.list_(s, after, limit, archived=archived)
    rows = await projects.some(s, list(who.grants))
    return [row for row in rows if row.slug > after and (archived or row.archived is None)][:limit]


async def _shown(s: Scope, caller: Caller, row: ProjectRow) -> dict[str, object]:
    return _told(caller, row, await projects.relations(s, row.id))


def _told(caller: Caller, row: ProjectRow, relations: Sequence[RelationRow]) -> dict[str, object]:
    role = role_on(caller.principal, row.id)
    return {
        "id": row.id,
        "slug": row.slug,
        "description": row.description,
        "relations": [{"type": r.type, "project": r.target} for r in relations],
        "lineage": row.lineage,
        "version": row.version,
        "digest": row.digest,
        "role": role.value if role else "admin",
        "createdAt": rfc3339(row.created),
        "archived": row.archived is not None,
        "damaged": row.damaged,
    }
