"""The caller's own tenant: what it is, how it is set, what it uses, who did what."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from fastapi import APIRouter, Request, Response
from fastapi.responses import StreamingResponse
from msgspec import UNSET

from satchel.auth.policy import Action
from satchel.catalog import quotas, settings, tenants
from satchel.catalog.retention import Retention
from satchel.catalog.scope import Scope
from satchel.catalog.tenants import TenantRow
from satchel.context.part import rfc3339
from satchel.errors import InvalidInput, TooManyRequests
from satchel.server.access import Caller, SignedIn, TenantAdmin, repeatable
from satchel.server.bodies import answer, etags, read_json
from satchel.server.export import MAX_AT_ONCE, Export
from satchel.server.openapi import operation
from satchel.server.routes.projects import Cursor, PageLimit
from satchel.server.schemas import SettingsHistory, SettingsIn, Tenant, TenantPatch

router = APIRouter(tags=["tenant"])
TAR = "application/x-tar"
_REFUSED = ("auth.insufficient_scope",)


@router.get("/tenant", **operation("The tenant of the credential", answer=Tenant))
@repeatable
async def get_tenant(caller: SignedIn) -> Response:
    async with caller.cloud.catalog.read(caller.tenant) as s:
        return answer(shown(await tenants.own(s)))


@router.patch(
    "/tenant",
    **operation(
        "Rename the tenant, or change its settings",
        body=TenantPatch,
        answer=Tenant,
        headers={"If-Match": "The settingsRevision the change was made from, in quotes: 412 if it is another by now."},
        errors=(*_REFUSED, "tenant.settings_changed", "disk.full"),
        example={"settings": {"retention": {"days": 90}}},
    ),
)
async def patch_tenant(request: Request, caller: TenantAdmin) -> Response:
    """Retention takes effect with the next collect, and is then final: what has expired does not come back."""
    expected = _revision(request)
    asked = await read_json(request, TenantPatch, 16 * 1024)
    if asked.name is UNSET and asked.settings is UNSET:
        raise InvalidInput("send name, settings, or both")
    now = caller.cloud.clock()
    async with caller.cloud.catalog.write(caller.tenant) as s:
        await caller.stands(s, Action.TENANT_ADMIN)
        if asked.name is not UNSET and asked.name != (await tenants.own(s)).name:
            await tenants.rename(s, name=asked.name)
            await _record(s, caller, "tenant.rename", caller.tenant, now)
        if asked.settings is not UNSET:
            old, _ = await settings.get(s)
            wanted = replace(old, **_values(asked.settings))
            number, changed = await settings.change(s, wanted, caller.principal, now, expected=expected)
            if changed:
                target = f"{caller.tenant} revision {number}: {', '.join(changed)}"
                await _record(s, caller, "tenant.settings", target, now)
        row = await tenants.own(s)
    await caller.cloud.notices.tenant(row.id)
    return answer(shown(row))


@router.get(
    "/tenant/settings/history",
    **operation("Every state the settings were in, newest first", answer=SettingsHistory, errors=_REFUSED),
)
async def settings_history(caller: TenantAdmin, cursor: Cursor = None, limit: PageLimit = 100) -> Response:
    """Empty where they were never changed. An older state is brought back by sending its values to `PATCH /tenant`."""
    if cursor is not None and not (cursor.isascii() and cursor.isdecimal() and len(cursor) < 16):
        raise InvalidInput("this is not a cursor of this list")
    async with caller.cloud.catalog.read(caller.tenant) as s:
        rows = await settings.revisions(s, None if cursor is None else int(cursor), limit + 1)
    items = [
        {
            "revision": row.number,
            "time": rfc3339(row.time),
            "principal": row.principal_id or None,
            "name": row.principal_name,
            "settings": row.settings.named(),
        }
        for row in rows[:limit]
    ]
    return answer({"items": items, "next": str(rows[limit - 1].number) if len(rows) > limit else None})


@router.get(
    "/tenant/export",
    **operation(
        "Everything the tenant has, as a tar: about it, its audit, and the files of every head",
        sends=TAR,
        gives={"Content-Disposition": "A name for the file."},
        errors=_REFUSED,
    ),
)
async def export(caller: TenantAdmin) -> Response:
    """Its last member, `manifest.json`, has the SHA-256 of all bytes before it; a stream without it is not whole.

    One export of a tenant is sent at a time. Old versions and secrets of keys are not in it.
    """
    cloud, exporting = caller.cloud, caller.cloud.exporting
    if caller.tenant in exporting or len(exporting) >= MAX_AT_ONCE:
        raise TooManyRequests("an export is being sent already", retry_after=30)
    exporting.add(caller.tenant)
    caller.exchange.at_end.append(lambda: exporting.discard(caller.tenant))

    async def stands(s: Scope) -> None:
        await caller.stands(s, Action.TENANT_ADMIN)

    async with cloud.catalog.write(caller.tenant) as s:
        await stands(s)
        slug = (await tenants.own(s)).slug
        await _record(s, caller, "tenant.export", caller.tenant, cloud.clock())
    named = {"content-disposition": f'attachment; filename="{slug}-export.tar"'}
    return StreamingResponse(Export(cloud, caller.tenant, stands).stream(), headers=named, media_type=TAR)


def shown(row: TenantRow) -> dict[str, object]:
    return {
        "id": row.id,
        "slug": row.slug,
        "name": row.name,
        "state": row.state,
        "createdAt": rfc3339(row.created),
        "deleteAt": None if row.delete_at is None else rfc3339(row.delete_at),
        "settings": row.settings.named(),
        "settingsRevision": row.revision,
        "quota": quotas.named(row.limits),
    }


async def _record(s: Scope, caller: Caller, action: str, target: str, now: int) -> None:
    await caller.record(s, action, target, now)


def _revision(request: Request) -> int | None:
    """The revision that If-Match names; None where any will do. Raises ``InvalidInput``."""
    header = request.headers.get("if-match")
    if header is None:
        return None
    whatever, tags = etags(header)
    if whatever:
        return None
    if len(tags) != 1 or not (tags[0].isascii() and tags[0].isdecimal() and len(tags[0]) < 16):
        raise InvalidInput('If-Match takes the settingsRevision in quotes, such as "3"')
    return int(tags[0])


def _values(asked: SettingsIn) -> dict[str, Any]:
    values: dict[str, Any] = {}
    if asked.retention is not UNSET:
        values["retention"] = Retention(asked.retention.versions, asked.retention.days)
    if asked.sync_interval_seconds is not UNSET:
        values["sync_interval_seconds"] = asked.sync_interval_seconds
    return values
