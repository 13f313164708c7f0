"""``satchel admin restore`` and ``rebuild-catalog``: a catalog again, from a backup or from the bucket alone."""

from __future__ import annotations

import asyncio
import os
import shlex
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from satchel.cli.admin_backup import backup_url, moment
from satchel.cli.estate import server_part, settings_for
from satchel.cli.face import Face, plural, shown_path
from satchel.cli.progress import Progress
from satchel.cli.verb import verb
from satchel.config.server import ServerSettings

if TYPE_CHECKING:
    from satchel.upkeep.rebuild import NewOwner, RebuildReport
    from satchel.upkeep.recovery import Recovered
    from satchel.upkeep.restore import RestoreReport

SHOWN_PROJECTS = 20
"""Projects named on a terminal; ``--json`` names all."""
_SQLITE = "sqlite:///"
_PROJECTS = (
    "`projects` (each with `tenant`, `project`, `slug`, `version`, `applied`, `lineage`, `newLineage`, `why`, "
    "`unconfirmed`, `floor`, `missing`), `owners` (each with `tenant`, `slug`, `adminKey`, this once, `operator`), "
    "`unreadable`"
)

_data = click.option("--data", metavar="FOLDER", required=True, help="The data directory to make the catalog in.")
_replace = click.option("--replace", is_flag=True, help="Set a catalog that is there aside, and keep it.")


@verb(
    "restore",
    examples=[
        ("satchel admin restore bak_... --from file:///mnt/backup/satchel --data new", "The bucket is still there."),
        ("satchel admin restore bak_... --objects --data new", "The bucket is lost too: fill a new one from the copy."),
    ],
    gives=f"`backup`, `time`, `filled`, `erased`, {_PROJECTS}.",
    statuses=(0, 1, 2, 5, 6),
)
@click.argument("backup", metavar="BACKUP_ID")
@click.option("--from", "source", metavar="URL", help="Where backups are kept (SATCHEL_BACKUP_URL).")
@click.option("--objects", is_flag=True, help="First put back what the bucket lacks, from the backup's copy.")
@click.option("--backup-key", metavar="FILE", help="The root key of when the backup was made, if it was changed since.")
@_data
@_replace
def command(
    face: Face,
    backup: str,
    source: str | None,
    objects: bool,
    backup_key: str | None,
    data: str,
    replace: bool,
) -> None:
    """Restore the catalog from a backup, and bring it forward.

    The data directory needs the root key (or SATCHEL_ROOT_KEY names it) and no catalog. What was committed since the
    backup was made is taken from the bucket, up to the newest acknowledged version: clients go on with nothing to do.
    Where that cannot be followed to its end, the project starts a new lineage at what came back, and says so; clients
    then lose nothing, and send again what they have.

    Tenants that were shredded since stay shredded. Keys and grants are as they were when the backup was made: revoke
    again what was revoked since. Start the server afterwards as before.
    """
    settings = settings_for(data)
    catalog = _catalog(settings)
    rootkey = server_part("satchel.store.rootkey").RootKey
    urls = server_part("satchel.store.urls")
    with closing(Progress(face)) as bar:
        report: RestoreReport = asyncio.run(
            server_part("satchel.upkeep.restore").restore(
                backup,
                urls.open_store(backup_url(settings, source)),
                urls.open_store(settings.store),
                rootkey.load(settings.root_key_path),
                catalog,
                backup_root=rootkey.load(Path(backup_key)) if backup_key else None,
                replace=replace,
                fill=objects,
                progress=lambda done, total: bar("restored", done, total),
                **_ways(settings),
            )
        )
    place = _place(settings, catalog)
    answer = {
        "backup": report.backup,
        "time": moment(report.time),
        "filled": report.filled,
        "erased": report.erased,
        **_common(report),
    }

    def show() -> None:
        face.line(f"Restored {_shown(place, face)} as of {moment(report.time)}, and brought it forward.")
        if report.filled:
            face.line(f"Put {plural(report.filled, 'object')} into the bucket.")
        if report.erased:
            face.line(f"{plural(report.erased, 'tenant')} shredded since: erased again.")
        _tell(face, report)
        face.note("Revoke again the keys, members and grants that were revoked since the backup was made.")
        face.note(f"Look at it before the server starts:  satchel admin verify --data {shlex.quote(data)}")

    face.answer(answer, show)


@verb(
    "rebuild-catalog",
    examples=[
        ("satchel admin rebuild-catalog --data new", "From the bucket of SATCHEL_STORE_URL and the root key alone."),
        ("satchel admin rebuild-catalog --data satchel-data --replace", "In place of a catalog that is damaged."),
    ],
    gives=f"`unnamed`, `shredded`, {_PROJECTS}.",
    statuses=(0, 1, 2, 5, 6),
)
@_data
@_replace
def rebuild(face: Face, data: str, replace: bool) -> None:
    """Make a catalog from the bucket and the root key alone.

    Brings back tenants, projects, all readable versions and their contents. People, keys, grants, quotas and the audit
    are not in the bucket: prefer `satchel admin restore` where there is a backup. Each tenant gets a new owner key,
    printed once; that of the oldest tenant may also run the server.

    The bucket is not written to, except where a project starts a new lineage since its history cannot be followed to
    its end. A run that was stopped is begun again.
    """
    settings = settings_for(data)
    catalog = _catalog(settings)
    with closing(Progress(face)) as bar:
        report: RebuildReport = asyncio.run(
            server_part("satchel.upkeep.rebuild").rebuild_catalog(
                server_part("satchel.store.urls").open_store(settings.store),
                server_part("satchel.store.rootkey").RootKey.load(settings.root_key_path),
                catalog,
                replace=replace,
                progress=lambda done, total: bar("projects", done, total),
                **_ways(settings),
            )
        )

    place = _place(settings, catalog)

    def show() -> None:
        face.line(f"Rebuilt {_shown(place, face)}.")
        if report.unnamed:
            face.line(
                f"{report.unnamed:,} of the tenants and projects have lost their names, and are called by their ids."
            )
        _tell(face, report)
        face.note(f"Look at it before the server starts:  satchel admin verify --data {shlex.quote(data)}")

    face.answer({"unnamed": report.unnamed, "shredded": report.shredded, **_common(report)}, show)


def _catalog(settings: ServerSettings) -> Path:
    """Where the catalog is made: in its place, or beside it, to be moved into the database when it is whole."""
    if settings.catalog.startswith(_SQLITE):
        return Path(settings.catalog.removeprefix(_SQLITE))
    asyncio.run(server_part("satchel.catalog.bootstrap").refuse_used(settings.catalog))
    making = settings.data / "restored.db"
    making.unlink(missing_ok=True)  # of a run that was cut off before the database had it
    return making


def _place(settings: ServerSettings, catalog: Path) -> str:
    """Bring the catalog that was made where the servers look for it; says where that is."""
    if settings.catalog.startswith(_SQLITE):
        return str(catalog)
    file = f"{_SQLITE}{catalog.absolute()}"
    try:
        asyncio.run(server_part("satchel.catalog.scope").Catalog.move(file, settings.catalog))
    finally:
        catalog.unlink()  # as secret as a catalog, and made again by the next run
    return "PostgreSQL"


def _shown(place: str, face: Face) -> str:
    return place if place == "PostgreSQL" else shown_path(Path(place), face.cwd)


def _ways(settings: ServerSettings) -> dict[str, Any]:
    limits = server_part("satchel.catalog.quotas").Limits
    return {
        "limits": limits(storage_bytes=settings.quota_storage_bytes, projects=settings.quota_projects),
        "clock": server_part("satchel.upkeep.estate").now_ms,
        "random": os.urandom,
    }


def _common(report: RestoreReport | RebuildReport) -> dict[str, Any]:
    return {
        "projects": [_project(one) for one in report.projects],
        "owners": [_owner(one) for one in report.owners],
        "unreadable": [{"tenant": tenant, "why": why} for tenant, why in report.unreadable],
    }


def _project(one: Recovered) -> dict[str, Any]:
    return {
        "tenant": one.tenant,
        "project": one.project,
        "slug": one.slug,
        "version": one.version,
        "applied": one.applied,
        "lineage": one.lineage,
        "newLineage": one.new_lineage,
        "why": one.why or None,
        "unconfirmed": len(one.unconfirmed),
        "floor": one.floor,
        "missing": one.missing,
    }


def _owner(one: NewOwner) -> dict[str, Any]:
    return {"tenant": one.tenant, "slug": one.slug, "adminKey": one.key, "operator": one.operates}


def _tell(face: Face, report: RestoreReport | RebuildReport) -> None:
    applied = sum(one.applied for one in report.projects)
    face.line(f"{plural(len(report.projects), 'project')}; {plural(applied, 'version')} taken from the bucket.")
    told = [one for one in report.projects if one.new_lineage or one.missing or one.unconfirmed or one.floor > 1]
    for one in told[:SHOWN_PROJECTS]:
        if one.new_lineage:
            face.line(f"  {one.slug}  version {one.version}: a new lineage, since {one.why}")
        if one.floor > 1:
            face.line(f"  {one.slug}  versions before {one.floor} have expired or cannot be read")
        if one.missing:
            face.line(f"  {one.slug}  {plural(one.missing, 'object')} lost: a sync of a client that has them mends it")
        if one.unconfirmed:
            face.line(f"  {one.slug}  {plural(len(one.unconfirmed), 'record')} that nothing confirms: not applied")
    if len(told) > SHOWN_PROJECTS:
        face.line(f"  and {len(told) - SHOWN_PROJECTS:,} projects more: --json names all")
    for tenant, why in report.unreadable:
        face.warn(f"{tenant} cannot be read: {why}")
    for owner in report.owners:
        runs = ", who also runs the server" if owner.operates else ""
        face.line(f"Owner key of {owner.slug}{runs} (shown once):  {owner.key}")
