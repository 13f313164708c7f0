"""``satchel sync``: send and fetch what changed. A conflict is a to-do, not a crash: everything else gets in step."""

from __future__ import annotations

import time
from contextlib import closing

import click

from satchel.cli.face import Face, plural
from satchel.cli.folders import local_project, project_root, worktree_of
from satchel.cli.hosted import project_remote
from satchel.cli.progress import Progress
from satchel.cli.sync_report import conflict_line, print_changes, report_data, travelled
from satchel.cli.verb import verb
from satchel.cli.waiting import patience, wait_option
from satchel.errors import InvalidInput
from satchel.sync.run import SyncReport, run
from satchel.sync.session import Direction, Strategy


@verb(
    "sync",
    examples=[
        ("satchel sync", "Both ways: fetch what others changed, send what you changed."),
        ("satchel sync --to-cloud --dry-run", "What would be sent; nothing is."),
        ("satchel sync --from-cloud", "Fetch only; your own changes wait here."),
    ],
    gives=(
        "`direction`, `dryRun`, `inStep`, `lineage`, `version`, `digest`, `pushed`, `pulled` (each with "
        "`path`, `how`), `conflicts` (`path`, `reason`, `local`, `cloud`), `untrusted`, `unsettled`, "
        "`waitingPush`, `waitingPull`, `leftOut`, `notices`, `rawBytes`, `sentBytes`, `pulledBytes`, "
        "`pushRequests`, `restored`, `seconds`."
    ),
    statuses=(0, 1, 2, 3, 4, 5, 6),
)
@click.option("--to-cloud", is_flag=True, help="Send only.")
@click.option("--from-cloud", is_flag=True, help="Fetch only.")
@click.option(
    "--strategy",
    type=click.Choice([strategy.value for strategy in Strategy]),
    default=Strategy.MANUAL.value,
    help="Where both sides changed a file: leave it to you (manual), or let local or cloud win.",
)
@click.option("-n", "--dry-run", is_flag=True, help="Print the plan and change nothing.")
@click.option("-v", "--verbose", is_flag=True, help="Name the files too, as --dry-run does.")
@click.option("--trust", is_flag=True, help="Also fetch files that tools execute on their own, such as .mcp.json.")
@wait_option
def command(
    face: Face, to_cloud: bool, from_cloud: bool, strategy: str, dry_run: bool, verbose: bool, trust: bool, wait: int
) -> int:
    """Send and fetch what changed.

    Compares this folder, the server and what both last had in common. Only what changed travels. A file that both sides
    changed is a conflict: neither is overwritten, it is held back until `satchel resolve`, and everything else gets in
    step (exit status 3). What a sync overwrites here can be brought back with `satchel undo`. A server that is away for
    a while is waited for (`--wait`); nothing is lost if it stays away.
    """
    if to_cloud and from_cloud:
        raise InvalidInput("--to-cloud and --from-cloud exclude each other", hint="Leave both out to sync both ways.")
    direction = Direction.TO_CLOUD if to_cloud else Direction.FROM_CLOUD if from_cloud else Direction.BOTH
    here = local_project(project_root(face))
    _, remote, project = project_remote(face)
    progress = Progress(face)
    began = time.perf_counter()
    with closing(progress), closing(remote), worktree_of(here) as worktree:
        report = run(
            worktree,
            remote,
            project,
            direction,
            strategy=Strategy(strategy),
            dry_run=dry_run,
            trust=trust,
            progress=progress,
            patience=patience(face, wait, progress.close),
        )
    seconds = time.perf_counter() - began
    for notice in report.notices:
        face.warn(notice)
    face.answer({**report_data(report), "seconds": round(seconds, 3)}, lambda: show(face, report, seconds, verbose))
    return 3 if report.conflicts else 0


def show(face: Face, report: SyncReport, seconds: float, verbose: bool) -> None:
    """Print what a sync did, or what a dry run would do."""
    print_changes(face, report, paths=report.dry_run or verbose)
    if report.dry_run:
        if report.in_step:
            face.line(f"Nothing to send or fetch: in step with version {report.version}.")
        face.note("Nothing was changed: this was a dry run.")
        return
    if report.restored:
        face.line(f"Sent {plural(report.restored, 'artifact')} the server had lost.")
    where = f"version {report.version}, digest {report.digest[:8]}"
    if report.conflicts:
        for conflict in report.conflicts:
            face.line(conflict_line(face, conflict))
        face.note(f"Both sides keep what they have. Everything else is in step ({where}).")
        face.note(f"Then:  satchel resolve {report.conflicts[0].path} --take local|cloud")
    elif report.in_step:
        face.line(", ".join(filter(None, [f"In step: {where}", travelled(report), f"{seconds:.2f} s"])))
    else:
        face.line(", ".join(filter(None, [f"Done so far: {where}", travelled(report), f"{seconds:.2f} s"])))
    if report.waiting_push:
        face.note(f"{plural(report.waiting_push, 'change')} of yours wait here: satchel sync --to-cloud")
    if report.waiting_pull:
        face.note(f"{plural(report.waiting_pull, 'change')} wait on the server: satchel sync --from-cloud")
    for path in report.untrusted:
        face.note(f"Not fetched, since tools execute it on their own: {path} (satchel sync --trust)")
    for path in report.unsettled:
        face.note(f"Kept changing, goes with the next sync: {path}")
