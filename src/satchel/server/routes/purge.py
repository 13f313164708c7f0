"""Purge: remove content of a project for good, from every version."""

from __future__ import annotations

from fastapi import APIRouter, Request, Response

from satchel.auth.policy import Action
from satchel.catalog.scope import Scope
from satchel.config.server import ServerSettings
from satchel.objects.paths import check_path
from satchel.server.access import OnProject, ProjectAdmin
from satchel.server.bodies import answer, read_json
from satchel.server.housekeeping import estate_of
from satchel.server.indexes import Ref
from satchel.server.openapi import operation
from satchel.server.routes.projects import ABSENT
from satchel.server.schemas import Purged, PurgeRequest
from satchel.sync.commit import Caller, Guard
from satchel.upkeep.purge import purge

router = APIRouter(tags=["artifacts"])
_MAX_BODY = 2 << 20


@router.post(
    "/projects/{p}/purge",
    **operation(
        "Remove for good everything that paths ever held",
        body=PurgeRequest,
        answer=Purged,
        errors=(
            *ABSENT,
            "auth.insufficient_scope",
            "artifact.not_found",
            "catalog.behind",
            "disk.full",
            "path.refused",
            "project.archived",
            "purge.busy",
            "review.person_required",
            "upkeep.busy",
        ),
        example={"paths": ["notes/key.md"]},
    ),
)
async def purge_paths(request: Request, on: ProjectAdmin) -> Response:
    """Versions stay listed; reading one of the paths in them then answers `artifact.purged`.

    Content that other paths of readable versions have too stays and is named in `shared`, unless `everywhere` is true.
    Sending the same request again is harmless. `unreachable` says what a server cannot purge. With `dryRun` nothing is
    changed: the answer says what would go.
    """
    asked = await read_json(request, PurgeRequest, _MAX_BODY)
    for path in asked.paths:
        check_path(path)
    tenant = on.caller.tenant
    who, exchange = on.caller.principal, on.caller.exchange
    person = on.caller.checked.person
    caller = Caller(tenant, who.id, who.name, exchange.id, _guard(on), exchange.address, person=person)
    try:
        report = await purge(
            estate_of(on.cloud),
            on.cloud.receiver,
            caller,
            on.row.id,
            asked.paths,
            everywhere=asked.everywhere,
            dry=asked.dry_run,
        )
    finally:
        on.cloud.receiver.forget(tenant, on.row.id)
        on.cloud.readers.forget(Ref(tenant, on.row.id))
    return answer(
        {
            "dryRun": asked.dry_run,
            "paths": report.paths,
            "objects": report.objects,
            "version": report.version,
            "packs": report.packs,
            "bytes": report.bytes,
            "shared": [{"path": each.path, "others": each.others} for each in report.shared],
            "unreachable": unreachable(on.cloud.settings),
        }
    )


def _guard(on: OnProject) -> Guard:
    async def guard(s: Scope) -> None:
        await on.stands(s, Action.PROJECT_ADMIN)

    return guard


def unreachable(settings: ServerSettings) -> list[str]:
    """Where the content may still be: what a server cannot take back."""
    backups = (
        f"Backups made before now: each is kept {settings.backup_keep_days} days."
        if settings.backup_url
        else "Backups and other copies of the store that were made before now."
    )
    return [
        backups,
        "Folders of people who pulled it, and their undo stores (.satchel/undo).",
        "Search indexes of nodes that are switched off, until they start; and what agents were already told.",
        "Earlier object versions, if the bucket keeps such.",
        "The paths themselves, with sizes and hashes, in the history and the audit.",
    ]
