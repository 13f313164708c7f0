"""``satchel admin collect``: remove what no readable version needs any more."""

from __future__ import annotations

from contextlib import closing
from typing import TYPE_CHECKING

import click

from satchel.cli.estate import data_option, note_operator, server_part, settings_for, with_estate
from satchel.cli.face import Face, plural, size
from satchel.cli.progress import Progress
from satchel.cli.verb import verb
from satchel.errors import Unavailable

if TYPE_CHECKING:
    from satchel.upkeep.collect import CollectReport, Counted
    from satchel.upkeep.estate import Estate

DAY_MS = 24 * 60 * 60 * 1000


@verb(
    "collect",
    examples=[
        ("satchel admin collect --dry-run", "Say what would go; change nothing."),
        ("satchel admin collect", "Every tenant; a running server does not mind."),
        ("satchel admin collect --tenant acme --json", "One tenant, for a program."),
    ],
    gives=(
        "`dryRun`, and `tenants`, each with `tenant`, `projects`, `expiredVersions`, `entries`, `items` and `bytes` "
        "of `abandoned`, `dying`, `repacked`, `deleted`, `swept`, `history`; `damaged`, `behind`. `busy`: tenants on "
        "which other upkeep was under way."
    ),
    statuses=(0, 1, 2, 5, 6),
)
@click.option("--tenant", metavar="TENANT", help="One tenant alone, by slug or id.")
@click.option("--dry-run", is_flag=True, help="Say what would be done, and do nothing.")
@data_option
def command(face: Face, tenant: str | None, dry_run: bool, data: str | None) -> int:
    """Remove what no readable version needs any more.

    Lets versions expire by each tenant's retention (satchel tenant retention), forgets uploads that were never
    committed, rewrites packs of which less than half is needed, and deletes packs that have been unneeded for
    SATCHEL_BACKUP_WINDOW_DAYS: until then a backup of the catalog may still name them.

    Safe beside a running server and after any crash: run it again. The server runs it by itself every
    SATCHEL_COLLECT_HOURS. A tenant on which other upkeep is under way is left for the next run.
    """
    settings = settings_for(data)
    collecting, lease = server_part("satchel.upkeep.collect"), server_part("satchel.upkeep.lease")
    progress = Progress(face)

    busy: list[str] = []

    async def work(estate: Estate) -> list[tuple[str, CollectReport]]:
        await server_part("satchel.upkeep.clock").check_clock(estate.clock, estate.store, estate.random)
        rows = await estate.tenants() if tenant is None else [await estate.tenant(tenant)]
        window = settings.backup_window_days * DAY_MS
        found = []
        for row in rows:
            try:
                report = await collecting.collect(
                    estate,
                    row.id,
                    window_ms=window,
                    dry=dry_run,
                    progress=lambda done, total: progress("collect", done, total),
                )
            except lease.UpkeepBusy:
                if tenant is not None:
                    raise
                busy.append(row.slug)
                continue
            if not dry_run:
                await note_operator(estate, "tenant.collect", row.id)
            found.append((row.slug, report))
        return found

    with closing(progress):
        reports = with_estate(settings, work)
    answer = {"dryRun": dry_run, "tenants": [_data(slug, report) for slug, report in reports], "busy": busy}
    face.answer(answer, lambda: _show(face, reports, settings.backup_window_days))
    for slug in busy:
        face.warn(f"other upkeep is under way on {slug}. When it has ended:  satchel admin collect --tenant {slug}")
    if any(report.behind for _, report in reports):
        return 1
    return Unavailable.exit_status if busy else 0


def _data(slug: str, report: CollectReport) -> dict[str, object]:
    def both(what: Counted) -> dict[str, int]:
        return {"items": what.items, "bytes": what.bytes}

    return {
        "tenant": slug,
        "projects": report.projects,
        "expiredVersions": report.expired,
        "entries": report.entries,
        "abandoned": both(report.abandoned),
        "dying": both(report.dying),
        "repacked": both(report.repacked),
        "deleted": both(report.deleted),
        "swept": both(report.swept),
        "history": both(report.history),
        "damaged": report.damaged,
        "behind": report.behind,
    }


def _show(face: Face, reports: list[tuple[str, CollectReport]], days: int) -> None:
    for slug, report in reports:
        would = "would be " if report.dry else ""
        lines = [
            (report.expired, f"{plural(report.expired, 'version')} {would}expired"),
            (report.abandoned.items, f"{_packs(report.abandoned)} {would}forgotten: uploads never committed"),
            (report.dying.items, f"{_packs(report.dying)} {would}let go, to be deleted after {plural(days, 'day')}"),
            (report.repacked.items, f"{_packs(report.repacked)} {would}rewritten: less than half was needed"),
            (report.deleted.items, f"{_packs(report.deleted)} {would}deleted"),
            (report.swept.items, f"{_objects(report.swept)} {would}swept away: left by crashes"),
            (report.history.items, f"{_objects(report.history)} of expired history {would}deleted"),
        ]
        told = [text for number, text in lines if number]
        face.line(f"{slug}: {'; '.join(told) if told else 'nothing to collect'}")
        if report.damaged:
            face.warn(f"{plural(report.damaged, 'object')} of {slug} could not be read:  satchel admin verify --full")
        if report.behind:
            which = plural(report.behind, "project")
            face.warn(f"{which} of {slug} left alone: the catalog is older than the store:  satchel admin restore")


def _packs(what: Counted) -> str:
    return f"{plural(what.items, 'pack')} ({size(what.bytes)})"


def _objects(what: Counted) -> str:
    return f"{plural(what.items, 'object')} ({size(what.bytes)})"
