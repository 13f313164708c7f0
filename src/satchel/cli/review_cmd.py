"""``satchel review``: a person says that they have looked at files. The list of it is a file of the project."""

from __future__ import annotations

import os

import click

from satchel.cli.face import Face, plural
from satchel.cli.folders import in_project, local_project, no_artifact_at, project_root, worktree_of
from satchel.cli.verb import verb
from satchel.context.absent import no_artifact
from satchel.errors import NoSuchArtifact, PathRefused, TooLarge
from satchel.objects.reviews import MAX_REVIEWED_BYTES, REVIEWED_PATH, Review, read_reviews, write_reviews
from satchel.worktree import durable
from satchel.worktree.lock import folder_lock
from satchel.worktree.selecting import selection
from satchel.worktree.walk import Scan, Worktree


@verb(
    "review",
    examples=[
        ("satchel review runbooks/rollback.md", "You have looked at this file as it is now."),
        ("satchel review --withdraw runbooks/", "Nothing in this folder counts as reviewed any more."),
        ("satchel review", "What is reviewed, what changed since, and what nobody has looked at."),
    ],
    gives="`project`; the paths `reviewed`, `changed` since they were, and `never` reviewed, of those named or of all.",
    statuses=(0, 1, 2, 5, 6),
)
@click.argument("paths", nargs=-1)
@click.option("--withdraw", is_flag=True, help="Take it back.")
def command(face: Face, paths: tuple[str, ...], withdraw: bool) -> None:
    """Say that you have reviewed files, or list what is.

    PATHS are files, or folders for all files in them. Each is noted with the SHA-256 of its content in
    `reviewed.sha256`, which syncs like any file (`sha256sum -c reviewed.sha256` checks it). Every hit says whether its
    file is reviewed, and `reviewed:yes` in a query leaves out the rest. Whoever edits a file withdraws its review by
    that.

    This is for people: agents read the mark and are refused where they would set it, over MCP and with an API key.
    """
    if withdraw and not paths:
        raise click.UsageError("name what to withdraw", ctx=click.get_current_context())
    here = local_project(project_root(face))
    named = [in_project(face, path) for path in paths]
    with worktree_of(here) as worktree:
        if named:
            with folder_lock(here.root):
                scan = worktree.scan()
                reviews = _written(worktree, scan, here.slug, named, withdraw=withdraw)
        else:
            scan = worktree.scan()
            reviews = read_reviews(_listed(worktree, scan))
    found = _states(scan, reviews, named)

    def show() -> None:
        for state in ("never", "reviewed", "changed"):
            for path in found[state]:
                face.line(f"{state:<8}  {face.fit(path, face.columns - 10)}" if face.terminal else f"{state}\t{path}")
        counts = ", ".join(f"{len(found[state]):,} {said}" for state, said in _SAID.items())
        if named:
            files = plural(len(found["never" if withdraw else "reviewed"]), "file")
            face.note(f"{files} {'not reviewed any more' if withdraw else 'reviewed'} ({REVIEWED_PATH}).")
        else:
            face.note(f"{counts}.")

    face.answer({"project": here.slug, **found}, show)


_SAID = {"reviewed": "reviewed", "changed": "changed since", "never": "never"}


def _listed(worktree: Worktree, scan: Scan) -> bytes:
    return worktree.read(REVIEWED_PATH, scan.tree[REVIEWED_PATH].object) if REVIEWED_PATH in scan.tree else b""


def _written(worktree: Worktree, scan: Scan, project: str, named: list[str], *, withdraw: bool) -> set[Review]:
    """Bring the list to what is said of the named files. Raises ``NoSuchArtifact``, ``PathRefused``, ``TooLarge``."""
    before = _listed(worktree, scan)
    if len(before) > MAX_REVIEWED_BYTES:  # it counts for nothing, and is not for us to throw away
        raise TooLarge(
            f"{REVIEWED_PATH} has {len(before):,} bytes; it may have {MAX_REVIEWED_BYTES:,}",
            hint=f"Take out of {REVIEWED_PATH} what is not needed any more, then review again.",
        )
    reviews = read_reviews(before)
    known = {review.path for review in reviews} if withdraw else scan.tree.keys() - {REVIEWED_PATH}
    meant: set[str] = set()
    for name in named:
        found = {path for path in known if _within(path, name)}
        if not found and withdraw:
            raise NoSuchArtifact(f"{name} is not in the list", hint="`satchel review` lists what is.")
        if not found:
            here = None if os.path.isdir(worktree.root / name) else no_artifact_at(worktree.root, name, project)
            raise here or no_artifact(project, name, scan.tree.keys())
        meant |= found
    left = {review for review in reviews if review.path not in meant}
    after = left if withdraw else left | {Review(path, scan.tree[path].object) for path in meant}
    if REVIEWED_PATH not in scan.tree and (scan.may_exist(REVIEWED_PATH) or not selection(worktree)(REVIEWED_PATH)):
        raise PathRefused(
            f"{REVIEWED_PATH} would not belong to this project",
            hint=f"Admit it (`satchel init --include /{REVIEWED_PATH}`), or see what is in its place.",
        )
    data, most = write_reviews(before, after), min(MAX_REVIEWED_BYTES, worktree.rules.max_file_bytes)
    if len(data) > most:
        raise TooLarge(f"{REVIEWED_PATH} would have {len(data):,} bytes; it may have {most:,}")
    if after != reviews:
        durable.replace(worktree.root / REVIEWED_PATH, data)
    return after


def _states(scan: Scan, reviews: set[Review], named: list[str]) -> dict[str, list[str]]:
    """The files by whether they are as they were reviewed."""
    listed = {review.path for review in reviews}
    found: dict[str, list[str]] = {"reviewed": [], "changed": [], "never": []}
    for path in sorted((scan.tree.keys() | listed) - {REVIEWED_PATH}):
        if named and not any(_within(path, name) for name in named):
            continue
        entry = scan.tree.get(path)
        reviewed = entry is not None and Review(path, entry.object) in reviews
        found["reviewed" if reviewed else "changed" if path in listed else "never"].append(path)
    return found


def _within(path: str, name: str) -> bool:
    return name == "." or path == name or path.startswith(name.rstrip("/") + "/")
