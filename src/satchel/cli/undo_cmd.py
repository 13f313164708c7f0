"""``satchel undo``: what the last sync overwrote or deleted here comes back."""

from __future__ import annotations

from satchel.cli.face import Face, pasted, plural
from satchel.cli.folders import local_project, project_root, undo_bounds, worktree_of
from satchel.cli.verb import verb
from satchel.sync.settle import undo


@verb(
    "undo",
    examples=[
        ("satchel undo", "Every file is as it was before the last sync wrote here."),
        ("satchel undo --json", "The same, naming the files for a program."),
    ],
    gives="`restored`; `skipped`, by path with the reason.",
    statuses=(0, 1, 2, 6),
)
def command(face: Face) -> None:
    """Bring back what the last sync overwrote here.

    A file that you changed since is left alone and named. The files brought back wait for `satchel resolve`: nothing is
    sent or fetched for them before. An undo can be undone by another one.
    """
    here = local_project(project_root(face))
    with worktree_of(here) as worktree:
        result = undo(worktree, bounds=undo_bounds(face))

    def show() -> None:
        for path in result.restored:
            face.line(face.fit(path))
        for path, reason in result.skipped.items():
            face.note(f"Left alone: {face.fit(path)} ({reason})")
        before = "the last sync" if result.waits else "your last step here"
        face.note(f"{plural(len(result.restored), 'file')} as before {before}.")
        if result.restored and result.waits:
            face.note(f"Then decide:  satchel resolve {pasted(result.restored[0])} --take local|cloud")

    face.answer({"restored": result.restored, "skipped": result.skipped}, show)
