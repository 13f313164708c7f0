"""``satchel status``: what differs and what waits for you, from this disk alone unless the server is asked."""

from __future__ import annotations

from contextlib import closing

import click

from satchel.cli.face import Face, plural
from satchel.cli.folders import local_project, project_root, worktree_of
from satchel.cli.hosted import project_remote
from satchel.cli.sync_report import conflict_line, next_steps, print_changes, report_data, show_held_back
from satchel.cli.verb import verb
from satchel.sync.outlook import status
from satchel.sync.report import SyncReport
from satchel.sync.run import run
from satchel.worktree.find import read_project_config
from satchel.worktree.policy import Governing


@verb(
    "status",
    examples=[
        ("satchel status", "What changed here since the last sync; nobody is asked."),
        ("satchel status --remote", "The same, and what changed on the server."),
    ],
    gives="`project`, `url`, and what `sync` gives but for `seconds`.",
    statuses=(0, 1, 2, 3, 4, 5, 6),
)
@click.option("--remote", is_flag=True, help="Ask the server too.")
def command(face: Face, remote: bool) -> int:
    """Say what differs and what waits for you.

    So it says what looks like a credential among what changed, and would be held back. The exit status is 3 while a
    conflict waits, else 0.
    """
    here = local_project(project_root(face))
    config = read_project_config(here.root)
    with worktree_of(here) as worktree:
        if remote:
            _, peer, project = project_remote(face)
            with closing(peer):
                governing = Governing(config.policies)
                report = run(worktree, peer, project, dry_run=True, person=not peer.by_key, governing=governing)
        else:
            report = status(worktree, Governing(config.policies), look=config.remote_url is not None)
    for notice in report.notices:
        face.warn(notice)
    data = {"project": here.slug, "url": config.remote_url, **report_data(report)}
    face.answer(data, lambda: _show(face, here.slug, config.remote_url, report))
    return 3 if report.conflicts else 0


def _show(face: Face, slug: str, url: str | None, report: SyncReport) -> None:
    if url is None:
        left = f", last in step with version {report.version}" if report.digest else ""
        face.line(f"{face.bold(slug)}  local-only{left or ': ' + plural(len(report.pushed), 'file')}")
        face.note("Share it:  satchel login URL   then   satchel remote add URL")
        return
    in_step = f"version {report.version}, digest {report.digest[:8]}" if report.digest else "never synced"
    face.line(f"{face.bold(slug)}  {url}  {in_step}")
    print_changes(face, report)
    show_held_back(face, report)
    for conflict in report.conflicts:
        face.line(conflict_line(face, conflict))
    if report.conflicts:
        next_steps(face, report.conflicts)
    elif report.pushed or report.pulled or report.merged:
        face.note("Bring them over:  satchel sync")
    elif report.digest:
        face.note("Nothing changed here since the last sync.")
    else:
        face.note("Nothing is here yet. See what the server has:  satchel sync --dry-run")
