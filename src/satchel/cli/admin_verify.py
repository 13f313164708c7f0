"""``satchel admin verify``: can everything that was acknowledged be read back? And if not, what is to be done."""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import closing
from typing import TYPE_CHECKING, Any

import click

from satchel.cli.estate import data_option, note_operator, server_part, settings_for, with_estate
from satchel.cli.face import Face, plural, size
from satchel.cli.progress import Progress
from satchel.cli.verb import verb

if TYPE_CHECKING:
    from satchel.upkeep.estate import Estate
    from satchel.upkeep.findings import Problem, VerifyReport

SHOWN_PROBLEMS = 20
"""Problems named on a terminal; ``--json`` names all."""
SHOWN_PLACES = 20
"""Paths named with one of them."""


@verb(
    "verify",
    examples=[
        ("satchel admin verify", "Catalog, keys, history; every pack is there. Seconds."),
        ("satchel admin verify --full", "Also open and hash every stored byte."),
        ("satchel admin verify --full --tenant acme --project notes", "One project alone."),
        ("satchel admin verify --full --drill --data ../drill", "What `satchel admin restore` made, to look at."),
        ("satchel admin verify --repair --from s3://copies/satchel", "Fetch what is damaged from a copy of the store."),
        ("satchel admin verify --repair", "Without a copy: ask the clients that still have it."),
    ],
    gives=(
        "`full`, `clean`, `tenants`, `projects`, `versions`, `packs`, `objects`, `bytes`, `storedBytes`, `auditRows`, "
        "`orphans`, `orphanBytes`, `notes`, `problems` (each with `kind`, `name`, `why`, `tenant`, `project`, "
        "`affected`, `places` of `path`, `since`, `until`), `moreProblems`, `seconds`; with `--repair` also `repair`: "
        "`restored`, `moved`, `lost`, `rewritten`, `dropped`, `left`."
    ),
    statuses=(0, 1, 2, 5, 6),
)
@click.option("--full", is_flag=True, help="Open and hash every stored byte.")
@click.option("--tenant", metavar="TENANT", help="One tenant alone, by slug or id.")
@click.option("--project", metavar="PROJECT", help="One of its projects alone, by slug or id.")
@click.option("--repair", is_flag=True, help="Repair what --full finds, then look again.")
@click.option("--from", "source", metavar="URL", help="With --repair: a store that holds copies under the same names.")
@click.option(
    "--accept-rows", is_flag=True, help="Take the catalog's rows for right, after they were changed by hand on purpose."
)
@click.option(
    "--accept-audit", is_flag=True, help="Let audits go on from where they are, after an older catalog was put back."
)
@click.option("--drill", is_flag=True, help="The catalog was restored to look at: leave out where its audits end.")
@data_option
def command(
    face: Face,
    full: bool,
    tenant: str | None,
    project: str | None,
    repair: bool,
    source: str | None,
    accept_rows: bool,
    accept_audit: bool,
    drill: bool,
    data: str | None,
) -> int:
    """Check that everything that was acknowledged can be read back.

    Looks at the catalog, the keys, the audits and each project's history, and that every pack is there. With --full
    every stored byte is opened and hashed. Runs beside the server, changes nothing and keeps nobody waiting. What is
    damaged is named with the project, the paths and the versions it affects; the exit status is then 1.

    --repair puts sound copies from --from in the place of what is damaged or gone. Without a copy, what the damaged
    pack still holds is moved to a new one, and what is lost is asked of the clients: whoever still has it sends it with
    their next `satchel sync`.

    With --drill the catalog is one that was restored beside a running server: that server's audits have gone on since,
    and where they end in the bucket is not compared.
    """
    if source is not None and not repair:
        raise click.UsageError("--from goes with --repair")
    if project is not None and tenant is None:
        raise click.UsageError("--project goes with --tenant")
    settings = settings_for(data)
    verifying, repairing = server_part("satchel.upkeep.verify"), server_part("satchel.upkeep.repair")
    progress = Progress(face)

    def told(done: int, total: int) -> None:
        progress("verify", done // 1_000_000, total // 1_000_000, done)

    async def work(estate: Estate) -> tuple[VerifyReport, Any]:
        if accept_rows:
            await estate.catalog.accept_rows()
            await note_operator(estate, "catalog.accept_rows", "")
        if accept_audit:
            await server_part("satchel.upkeep.operated").accept(estate, noted="audit.accept")
        look: dict[str, Any] = {
            "full": full or repair,
            "tenant": tenant,
            "project": project,
            "drill": drill,
            "progress": told,
        }
        report: VerifyReport = await verifying.verify(estate, **look)
        if not repair or report.clean:
            return report, None
        copy = None if source is None else server_part("satchel.store.urls").open_store(source)
        mended = await repairing.repair(estate, report, copy)
        await note_operator(estate, "repair", source or "without a copy")
        return await verifying.verify(estate, **look), mended

    began = time.perf_counter()
    with closing(progress):
        report, mended = with_estate(settings, work)
    seconds = time.perf_counter() - began
    face.answer(_data(report, mended, seconds), lambda: _show(face, report, mended, seconds))
    return 0 if report.clean else 1


def _data(report: VerifyReport, mended: Any, seconds: float) -> dict[str, object]:
    told: dict[str, object] = {
        "full": report.full,
        "clean": report.clean,
        "tenants": report.tenants,
        "projects": report.projects,
        "versions": report.versions,
        "packs": report.packs,
        "objects": report.objects,
        "bytes": report.bytes,
        "storedBytes": report.stored_bytes,
        "auditRows": report.audit_rows,
        "orphans": report.orphans,
        "orphanBytes": report.orphan_bytes,
        "notes": report.notes,
        "problems": [_problem(problem) for problem in report.problems],
        "moreProblems": report.more_problems,
        "seconds": round(seconds, 3),
    }
    return told if mended is None else told | {"repair": mended.told()}


def _problem(problem: Problem) -> dict[str, object]:
    return {
        "kind": problem.kind,
        "name": problem.name,
        "why": problem.why,
        "tenant": problem.tenant or None,
        "project": problem.project or None,
        "affected": problem.affected,
        "places": [where._asdict() for where in problem.places],
    }


def _show(face: Face, report: VerifyReport, mended: Any, seconds: float) -> None:
    if mended is not None:
        for line in mended.lines():
            face.line(line)
    groups = _grouped(report.problems)
    for group in groups[:SHOWN_PROBLEMS]:
        _show_group(face, group)
    unnamed = sum(map(len, groups[SHOWN_PROBLEMS:])) + report.more_problems
    if unnamed > 0:
        face.line(f"… and {plural(unnamed, 'problem')} more (--json names them)")
    for note in report.notes:
        face.note(note)
    if report.orphans:
        left = f"{plural(report.orphans, 'stored object')} that nothing names ({size(report.orphan_bytes)})"
        face.note(f"{left}: what crashes left, harmless. satchel admin collect removes what is two days old.")
    verdict = "Sound" if report.clean else f"{plural(len(report.problems) + report.more_problems, 'problem')}"
    looked = (
        f"{plural(report.projects, 'project')}, {plural(report.versions, 'version')}, {plural(report.packs, 'pack')}"
    )
    read = f", {plural(report.objects, 'object')} read ({size(report.bytes)})" if report.full else ""
    face.line(f"{verdict}: {looked}{read}, {seconds:.1f} s")
    if not report.clean:
        _next(face, report, repaired=mended is not None)
    elif not report.full:
        face.note("Stored bytes were not opened: --full does that.")


def _grouped(problems: Sequence[Problem]) -> list[list[Problem]]:
    """The problems in their order; the objects of one project with one reason stand together."""
    groups: dict[tuple[str, ...], list[Problem]] = {}
    for problem in problems:
        own = "" if problem.kind == "object" else f"{problem.kind} {problem.name}"
        groups.setdefault((problem.tenant, problem.project, problem.why, own), []).append(problem)
    return list(groups.values())


def _show_group(face: Face, group: list[Problem]) -> None:
    first = group[0]
    where = "/".join(filter(None, (first.tenant, first.project)))
    what = str(first) if len(group) == 1 else f"{len(group):,} objects: {first.why}"
    face.line(f"{face.style('!', fg='red')} {where + ': ' if where else ''}{what}")
    places = [place for problem in group for place in problem.places][:SHOWN_PLACES]
    for path, since, until in places:
        versions = f"version {since}" if until == since + 1 else f"versions {since} to {until - 1 if until else 'now'}"
        face.line(f"    {face.fit(path)}  {versions}")
    more = sum(problem.affected for problem in group) - len(places)
    if more > 0:
        face.line(f"    … and {more:,} more")


def _next(face: Face, report: VerifyReport, *, repaired: bool) -> None:
    """The next move."""
    if all(problem.kind == "object" and (repaired or problem.noted) for problem in report.problems):
        face.note("Ask the people of these projects to run `satchel sync`: what they still have comes back.")
        return
    kinds = {problem.kind for problem in report.problems}
    if kinds & {"catalog", "version"}:
        face.note(
            "The catalog is damaged. From a backup:  satchel admin restore BACKUP  (list: satchel admin backup list)"
        )
        face.note("Without one:  satchel admin rebuild-catalog --data NEW")
    if "audit" in kinds:
        face.note(
            "Rows of the audit were changed by other means than Satchel. Keep a copy of the database as it is, and"
        )
        face.note("compare with a backup of before: what was altered cannot be brought back from the seals.")
    if kinds - {"catalog", "version", "audit"}:
        face.note("With a copy of the store:  satchel admin verify --repair --from URL")
        face.note("Without:  satchel admin verify --repair  asks the clients that still have what is lost")
