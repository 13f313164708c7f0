"""``satchel admin backup``: the catalog and the keys, and on request the content, to a store of their own."""

from __future__ import annotations

import asyncio
import datetime as dt
import shlex
from contextlib import closing
from typing import TYPE_CHECKING, Any

import click

from satchel.cli.estate import data_option, note_operator, server_part, settings_for, with_estate
from satchel.cli.face import Face, plural, size
from satchel.cli.progress import Progress
from satchel.cli.verb import verb
from satchel.config.server import ServerSettings
from satchel.errors import ConfigInvalid

if TYPE_CHECKING:
    from satchel.upkeep.archive import Kept
    from satchel.upkeep.backup import BackupReport
    from satchel.upkeep.estate import Estate

DAY_MS = 24 * 60 * 60 * 1000


@verb(
    "backup",
    examples=[
        ("satchel admin backup --to file:///mnt/backup/satchel", "Catalog and keys, beside the running server."),
        ("satchel admin backup --objects", "To the store of SATCHEL_BACKUP_URL, with a copy of all content."),
        ("satchel admin backup list", "The backups there are, and until when."),
    ],
    gives=(
        "`id`, `time`, `expires`, `keysExpire`, `tenants`, `projects`, `bytes`, `objects`, `copied`, `copiedBytes`, "
        "`missing`, `missingNames`, `pruned`, `prunedKeys`, `prunedObjects`; for `list`: `backups`, each with `id`, "
        "`time`, `expires`, `keysExpire`, `bytes`, `tenantsWithKeys`, `complete`."
    ),
    statuses=(0, 1, 2, 5, 6),
)
@click.argument("action", required=False, type=click.Choice(["list"]), metavar="[list]")
@click.option("--to", metavar="URL", help="Where backups are kept (SATCHEL_BACKUP_URL).")
@click.option("--objects", is_flag=True, help="Also copy the content that the backup store lacks.")
@data_option
def command(face: Face, action: str | None, to: str | None, objects: bool, data: str | None) -> int:
    """Back the installation up, or list the backups.

    Takes the catalog as it is at one moment, the keyrings of all tenants and what is needed to check the bucket, sealed
    under the root key: who has the backup without the root key sees sizes, counts and times. Run it beside the running
    server, daily or more often; what was committed since comes back from the bucket.

    The content itself rests in the bucket, and is copied only with --objects: then the backup also outlives the bucket.
    Only what the copy lacks travels, and a run that was stopped goes on where it was.

    Each run deletes what has expired: backups after SATCHEL_BACKUP_KEEP_DAYS, and the keys in them, usually sooner,
    after SATCHEL_KEY_BACKUP_KEEP_DAYS. Keep the root key elsewhere: no backup holds it.

    Exit status 1 says that the bucket lacks something that the catalog names: run `satchel admin verify`.
    """
    settings = settings_for(data)
    url = backup_url(settings, to)
    if action == "list":
        _list(face, url)
        return 0
    server_part("satchel.server.contradictions").refuse_own_store(settings, url)
    backup = server_part("satchel.upkeep.backup")
    keeping = backup.Keeping(settings.backup_keep_days * DAY_MS, settings.key_backup_keep_days * DAY_MS)
    target = server_part("satchel.store.urls").open_store(url)
    with closing(Progress(face)) as bar:

        async def work(estate: Estate) -> BackupReport:
            for store in (estate.store, target):
                await server_part("satchel.upkeep.clock").check_clock(estate.clock, store, estate.random)
            made: BackupReport = await backup.make_backup(
                estate, target, settings.data, keeping, objects=objects, progress=lambda a, b: bar("objects", a, b)
            )
            await note_operator(estate, "backup.create", made.id)
            return made

        report = with_estate(settings, work)
    face.answer(_made(report), lambda: _show(face, report, url, objects=objects))
    if report.missing:
        face.warn(f"the bucket lacks {plural(report.missing, 'object')} that the catalog names: satchel admin verify")
        return 1
    return 0


def backup_url(settings: ServerSettings, given: str | None) -> str:
    """The store of backups. Raises ``ConfigInvalid`` if none was named."""
    url = given or settings.backup_url
    if not url:
        raise ConfigInvalid(
            "it is not said where backups are kept", hint="Name a store, with its URL here or in SATCHEL_BACKUP_URL."
        )
    return url


def moment(time_ms: int) -> str:
    """A time as answers have it: RFC 3339 UTC."""
    return dt.datetime.fromtimestamp(time_ms / 1000, dt.UTC).isoformat(timespec="seconds").replace("+00:00", "Z")


def _made(report: BackupReport) -> dict[str, Any]:
    return {
        "id": report.id,
        "time": moment(report.time),
        "expires": moment(report.expires),
        "keysExpire": moment(report.keys_expire),
        "tenants": report.tenants,
        "projects": report.projects,
        "bytes": report.bytes,
        "objects": report.names,
        "copied": report.copied,
        "copiedBytes": report.copied_bytes,
        "missing": report.missing,
        "missingNames": list(report.missing_names),
        "pruned": list(report.pruned),
        "prunedKeys": list(report.pruned_keys),
        "prunedObjects": report.pruned_objects,
    }


def _show(face: Face, report: BackupReport, url: str, *, objects: bool) -> None:
    face.line(f"{report.id}  {moment(report.time)}  {size(report.bytes)}")
    what = f"{plural(report.tenants, 'tenant')}, {plural(report.projects, 'project')}"
    face.note(f"{what}; kept until {moment(report.expires)}, its keys until {moment(report.keys_expire)}.")
    if objects:
        face.note(
            f"Content: {plural(report.copied, 'object')} copied ({size(report.copied_bytes)}) of {report.names:,}."
        )
    else:
        face.note(f"Content rests in the bucket ({plural(report.names, 'object')}) and was not copied: --objects does.")
    if report.pruned or report.pruned_keys:
        face.note(f"Expired: {plural(len(report.pruned), 'backup')}, the keys of {len(report.pruned_keys):,} more.")
    again = f"satchel admin restore {report.id} --from {shlex.quote(url)} --data NEW"
    face.note(f"To restore:  {again}   (and have the root key)")


def _list(face: Face, url: str) -> None:
    archive = server_part("satchel.upkeep.archive")
    rows: list[Kept] = asyncio.run(archive.kept(server_part("satchel.store.urls").open_store(url)))

    def show() -> None:
        for row in rows:
            state = f"keys of {plural(row.keys, 'tenant')}" if row.keys else "no keys"
            state = state if row.complete else "not complete"
            face.line(f"{row.id}  {moment(row.time)}  {size(row.bytes):>8}  until {moment(row.expires)}  {state}")
        if not rows:
            face.note("There is no backup here.")

    listed = [
        {
            "id": row.id,
            "time": moment(row.time),
            "expires": moment(row.expires),
            "keysExpire": moment(row.keys_expire),
            "bytes": row.bytes,
            "tenantsWithKeys": row.keys,
            "complete": row.complete,
        }
        for row in rows
    ]
    face.answer({"backups": listed}, show)
