"""``satchel sync``: send and fetch what changed. A conflict is a to-do, not a crash: everything else gets in step."""

from __future__ import annotations

import sys
import time
from contextlib import closing
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import click

from satchel.cli.face import Face, plural
from satchel.cli.folders import local_project, paths_in, project_root, undo_bounds, worktree_of
from satchel.cli.hosted import project_remote
from satchel.cli.progress import Progress
from satchel.cli.sync_report import (
    conflict_line,
    next_steps,
    on_the_wire,
    print_changes,
    report_data,
    show_held_back,
    traffic_data,
    travelled,
)
from satchel.cli.verb import verb
from satchel.cli.waiting import patience, wait_option
from satchel.errors import InvalidInput
from satchel.remote import Traffic
from satchel.sync.choices import Direction, Strategy
from satchel.sync.lastlook import Deletions, ManyDeletions, require_project
from satchel.sync.report import SyncReport
from satchel.sync.run import run
from satchel.worktree.find import read_project_config
from satchel.worktree.policy import Governing

if TYPE_CHECKING:
    from satchel.sync.patience import Patience


GIVES = (
    "`direction`, `dryRun`, `inStep`, `lineage`, `version`, `digest`, `pushed`, `pulled` (each with "
    "`path`, `how`), `merged` (paths), `conflicts` (each with `path`, `reason`, `local` and `cloud` (objects), "
    "`lines`, `beside`, `author`, `version`, `settle`), `untrusted`, `unsettled`, "
    "`secrets` (each with `path`, `line`, `kind`), `secretsAllowed`, `withheld` (path to reason), "
    "`waitingPush`, `waitingPull`, `leftOut`, `notices`, `rawBytes`, `sentBytes`, `pulledBytes`, "
    "`pushRequests`, `restored`, `requests`, `wireSentBytes`, `wireReceivedBytes` (of all requests, as HTTP has "
    "them), `seconds`; in a dry run the bytes of content are what they would be."
)
STATUSES = (0, 1, 2, 3, 4, 5, 6)
NO_TRAFFIC = Traffic()

strategy_option = click.option(
    "--strategy",
    type=click.Choice([strategy.value for strategy in Strategy]),
    default=Strategy.MANUAL.value,
    help="Where both changed a file and it does not merge: ask you (manual), take one whole, or keep both files.",
)
dry_run_option = click.option("-n", "--dry-run", is_flag=True, help="Print the plan and change nothing.")
verbose_option = click.option("-v", "--verbose", is_flag=True, help="Name the files too, as --dry-run does.")
trust_option = click.option(
    "--trust", is_flag=True, help="Also fetch files that tools execute on their own, such as .mcp.json."
)
secret_option = click.option(
    "--allow-secret",
    "allow_secrets",
    multiple=True,
    metavar="PATH",
    help="Send this file although it looks as if it held a credential; the audit names it. May be repeated.",
)
deletions_option = click.option(
    "--allow-deletions",
    is_flag=True,
    help="Delete on the server too what is gone here, though it is most of the files.",
)
prune_option = click.option(
    "--prune", is_flag=True, help="Also delete on the server what this project's rules leave out here."
)


@verb(
    "sync",
    examples=[
        ("satchel sync", "Both ways: fetch what others changed, send what you changed."),
        ("satchel sync --to-cloud --dry-run", "What would be sent; nothing is."),
        ("satchel sync --from-cloud", "Fetch only; your own changes wait here."),
        ("satchel sync --watch", "Keep in step: sync whenever something changes here or there."),
    ],
    gives=f"{GIVES} With `--watch` one object a line, each with `event`: `watching` (`folder`, `url`), `synced` (the "
    "above up to `restored`), `waiting` (`code`, `message`, `hint`, `seconds`), `stopped`.",
    statuses=STATUSES,
)
@click.option("--to-cloud", is_flag=True, help="Send only, as `satchel push`.")
@click.option("--from-cloud", is_flag=True, help="Fetch only, as `satchel pull`.")
@strategy_option
@dry_run_option
@verbose_option
@trust_option
@secret_option
@deletions_option
@prune_option
@click.option("--watch", is_flag=True, help="Go on and on: sync whenever something changes here or on the server.")
@wait_option
def command(face: Face, to_cloud: bool, from_cloud: bool, **options: Any) -> int:
    """Send and fetch what changed.

    Compares this folder, the server and what both last had in common. Only what changed travels. A text that both sides
    changed is merged line by line. Where they changed the same lines it is a conflict: the file shows both between
    markers, is held back until `satchel resolve`, and everything else gets in step (exit status 3). So is a file that
    looks as if it held a credential, until you allow it, and one that cannot be read, until it can. What a sync
    overwrites here can be brought back with `satchel undo`. A server that is away for a while is waited for (`--wait`);
    nothing is lost if it stays away.
    """
    if to_cloud and from_cloud:
        raise InvalidInput("--to-cloud and --from-cloud exclude each other", hint="Leave both out to sync both ways.")
    direction = Direction.TO_CLOUD if to_cloud else Direction.FROM_CLOUD if from_cloud else Direction.BOTH
    if options["prune"] and direction is Direction.FROM_CLOUD:
        raise InvalidInput("--prune deletes on the server, and --from-cloud sends nothing")
    return sync(face, direction, **options)


def sync(
    face: Face,
    direction: Direction,
    *,
    strategy: str,
    dry_run: bool,
    verbose: bool,
    wait: int,
    trust: bool = False,
    allow_secrets: tuple[str, ...] = (),
    prune: bool = False,
    allow_deletions: bool = False,
    deleted: bool = False,
    watch: bool = False,
) -> int:
    """Sync the project meant in one direction or both, say what was done, and return the exit status."""
    here = local_project(project_root(face))
    began, remote, project = project_remote(face)
    for_one = {"--dry-run": dry_run, "--prune": prune, "--allow-deletions": allow_deletions}
    if watch and any(for_one.values()):
        raise InvalidInput(f"{next(filter(for_one.get, for_one))} is for one sync, and --watch goes on")
    allowed = paths_in(face, here.root, allow_secrets)
    progress = Progress(face)

    said = Deletions(sys.maxsize if allow_deletions else 0, deleted)

    def once(waits: Patience | None, said: Deletions = said) -> SyncReport:
        require_project(here.root, began)
        project_now = local_project(here.root)  # its settings may have been edited since
        governing = Governing(read_project_config(here.root).policies, allowed)
        with worktree_of(project_now) as worktree:
            return run(
                worktree,
                remote,
                project,
                direction,
                strategy=Strategy(strategy),
                dry_run=dry_run,
                trust=trust,
                prune=prune,
                person=not remote.by_key,
                deletions=said,
                began=began,
                governing=governing,
                progress=progress,
                patience=waits,
                bounds=undo_bounds(face),
            )

    started = time.perf_counter()
    remote.connect_ahead()
    with closing(progress), closing(remote):
        if watch:
            from satchel.cli import watching

            with worktree_of(here) as worktree:
                watching.refuse_own_output(here.root, lambda: worktree.scan().tree)
            return watching.watch(
                face, here.root, remote, project, lambda: once(None), lambda report: show(face, report, None, verbose)
            )
        try:
            report = once(patience(face, wait, progress.close))
        except ManyDeletions as held:
            progress.close()
            count = held.deleted
            if not (
                count and face.attended and face.confirm(f"{held.message}. Delete them on the server too?", yes=False)
            ):
                raise
            report = once(patience(face, wait, progress.close), Deletions(allowed=count))
    seconds = time.perf_counter() - started
    for notice in report.notices:
        face.warn(notice)
    traffic = remote.traffic
    data = {**report_data(report), **traffic_data(traffic), "seconds": round(seconds, 3)}
    face.answer(data, lambda: show(face, report, seconds, verbose, traffic))
    return 3 if report.conflicts or report.secrets or report.unread else 0


def show(face: Face, report: SyncReport, seconds: float | None, verbose: bool, traffic: Traffic = NO_TRAFFIC) -> None:
    """Print what a sync did, or what a dry run would do."""
    print_changes(face, report, paths=report.dry_run or verbose)
    if report.dry_run:
        show_plan(face, report, seconds or 0, traffic)
        return
    if report.restored:
        face.line(f"Sent {plural(report.restored, 'artifact')} the server had lost.")
    for conflict in report.conflicts:
        face.line(conflict_line(face, conflict))
    apart = report.conflicts or report.unread
    others_in_step = replace(report, conflicts=[], left_out=[]).in_step
    state = "Done so far" if not others_in_step else "Everything else is in step" if apart else "In step"
    where = f"{state}: version {report.version}, digest {report.digest[:8]}"
    took = "" if seconds is None else f"{seconds:.2f} s"
    face.line(", ".join(filter(None, [where, travelled(report), on_the_wire(traffic), took])))
    if report.conflicts:
        next_steps(face, report.conflicts)
    if report.waiting_push:
        face.note(f"Waiting here: {plural(report.waiting_push, 'change')} of yours (satchel sync --to-cloud)")
    if report.waiting_pull:
        face.note(f"Waiting on the server: {plural(report.waiting_pull, 'change')} (satchel sync --from-cloud)")
    show_held_back(face, report, named=verbose)
    for path in report.unsettled:
        face.note(f"Kept changing, goes with the next sync: {path}")


def show_plan(face: Face, report: SyncReport, seconds: float, traffic: Traffic) -> None:
    """Print what a dry run would do, after its changes, and what it took to find out."""
    for conflict in report.conflicts:
        face.line(conflict_line(face, conflict))
    if report.in_step:
        face.line(f"Nothing to send or fetch: in step with version {report.version}.")
    show_held_back(face, report)
    if told := travelled(report):
        face.line(f"It would be {told}.")
    looking = ", ".join(filter(None, [on_the_wire(traffic), f"{seconds:.2f} s"]))
    face.note(f"Nothing was changed: this was a dry run ({looking}).")
