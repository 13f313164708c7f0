"""``satchel get``: an artifact, or the lines a hit named."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import click

from satchel.cli.face import Face
from satchel.cli.folders import no_artifact_at, require_named
from satchel.cli.reading import Reading, open_reading
from satchel.cli.verb import verb
from satchel.cli.waiting import patience, wait_option
from satchel.context.answers import ArtifactText
from satchel.context.budget import tokens_in
from satchel.errors import InvalidInput, NoSuchArtifact, ServerLied
from satchel.worktree.names import typed_name

_WITH_LINES = re.compile(r"(?P<path>.+?):(?P<first>[1-9]\d*)(?:-(?P<last>[1-9]\d*))?\Z")
PAGE_CHARACTERS = 1_000_000
"""Read from the reader at a time; an artifact of 64 MiB is never one string twice."""
MAX_PAGES = 10_000
"""More than an artifact of 64 MiB has, even with lines so long that each is a page."""


@verb(
    "get",
    examples=[
        ("satchel get docs/runbooks/rollback.md", "The whole artifact."),
        ("satchel get docs/runbooks/rollback.md:41-58", "The lines that a hit named."),
        ("satchel get docs/runbooks/rollback.md --section Approval", "What stands under a heading."),
    ],
    gives=(
        "An artifact, as REST and MCP give it: `path`, `kind`, `title`, `object`, `size`, `mode`, `version`, "
        "`author`, `authorKind`, `modified`, `reviewed`, `project`, `digest`, `section`, `text`, `lines`, "
        "`totalLines`, `tokens`, `truncated`, `next`."
    ),
    statuses=(0, 1, 2, 4, 5, 6),
)
@click.argument("artifact")
@click.option("--section", metavar="HEADING", help="Only what stands under this heading; see `satchel outline`.")
@click.option("--at", "version", type=click.IntRange(1), help="As it was at this version (with --remote).")
@click.option("-p", "--project", help="Another project.")
@click.option("--remote", is_flag=True, help="Ask the server instead of this disk.")
@wait_option
def command(
    face: Face, artifact: str, section: str | None, version: int | None, project: str | None, remote: bool, wait: int
) -> None:
    """Print an artifact, or some lines of it.

    ARTIFACT is a path, relative to where you are or to the project (to the project alone with --remote), with
    `:FIRST-LAST` for some lines, as search prints it.
    """
    named = _WITH_LINES.match(artifact)
    first = int(named["first"]) if named else 1
    last = int(named["last"] or named["first"]) if named else None
    with open_reading(face, (project,) if project else (), remote=remote) as reading:
        path = in_reading(reading, face, named["path"] if named else artifact)
        ask = partial(_whole, reading, path, first=first, last=last, section=section, at=version)
        answer = patience(face, wait).through(ask) if remote else ask()
        reading.tell(face)
    text = answer["text"]
    if text is None and not face.json:
        raise InvalidInput(
            f"{answer['path']} is not text ({answer['size']:,} bytes)", hint="Open or copy the file itself."
        )
    face.answer(answer, lambda: _show(face, text or ""))


def _show(face: Face, text: str) -> None:
    face.raw(text + "\n" if face.terminal and text and not text.endswith("\n") else text)


def _whole(reading: Reading, path: str, **asked: Any) -> ArtifactText:
    """All that was asked for, page by page."""
    answer = _page(reading, path, **asked)
    parts = [answer["text"] or ""]
    page = answer
    while page["next"] is not None:
        before = page["next"]
        page = _page(reading, path, cursor=before, **asked)
        if page["next"] == before or len(parts) >= MAX_PAGES:
            raise ServerLied(f"the pages of {path} do not end")
        parts.append(page["text"] or "")
    if page is answer:
        return answer
    lines = [answer["lines"][0], page["lines"][1]] if answer["lines"] and page["lines"] else None
    text = "".join(parts)
    return {**answer, "text": text, "lines": lines, "tokens": tokens_in(text), "truncated": False, "next": None}


def _page(reading: Reading, path: str, **asked: Any) -> ArtifactText:
    with told_apart(reading, path):
        return reading.reader.artifact(reading.one, path, budget=PAGE_CHARACTERS, **asked)


@contextmanager
def told_apart(reading: Reading, path: str) -> Iterator[None]:
    """Say of a file that is there, and is no artifact, that it is left out; and of a folder that it is one."""
    try:
        yield
    except NoSuchArtifact as error:
        if reading.root is not None and (there := no_artifact_at(reading.root, path, reading.one)):
            raise there from error
        raise


def in_reading(reading: Reading, face: Face, path: str) -> str:
    """A path as typed to the path in the project: relative to the folder a person stands in, else to the project.

    Raises ``InvalidInput`` for an empty one.
    """
    require_named(path)
    root = reading.root
    if root is None:
        return path
    absolute = os.path.normpath(face.cwd / path)
    if absolute.startswith(f"{root}{os.sep}"):
        here = typed_name(str(root), os.path.relpath(absolute, root).replace(os.sep, "/"))
        if os.path.isfile(root / here):
            return here
    if os.path.isabs(path):
        raise NoSuchArtifact(f"{path} is not in project {reading.one}")
    return typed_name(str(root), path)
