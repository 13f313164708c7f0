"""``satchel conflicts``: the files that both sides changed and that wait for a person."""

from __future__ import annotations

from satchel.cli.face import Face
from satchel.cli.folders import local_project, project_root, worktree_of
from satchel.cli.sync_report import conflict_line, next_steps, report_data
from satchel.cli.verb import verb
from satchel.sync.outlook import status


@verb(
    "conflicts",
    examples=[
        ("satchel conflicts", "The files that wait for you."),
        ("satchel conflicts --json", "The same with the objects of both sides."),
    ],
    gives=(
        "`items`, each with `path`, `reason`, `local` and `cloud` (the objects of both sides), `lines` (pairs of first "
        "and last line), `beside` (where the cloud's file stands), `author` and `version` of the cloud's, "
        "`settle` (`resolve`, `rename` one of two files, or `sync` again)."
    ),
    statuses=(0, 1, 2, 3),
)
def command(face: Face) -> int:
    """List what both sides changed and what waits for you.

    Nobody is asked: these are the conflicts of the last sync. Lines are those of the file as it is now, markers
    included. The exit status is 3 while there are any.
    """
    here = local_project(project_root(face))
    with worktree_of(here) as worktree:
        report = status(worktree)

    def show() -> None:
        for conflict in report.conflicts:
            face.line(conflict_line(face, conflict))
        if report.conflicts:
            next_steps(face, report.conflicts)
        else:
            face.note("No conflicts.")

    face.answer({"items": report_data(report)["conflicts"]}, show)
    return 3 if report.conflicts else 0
