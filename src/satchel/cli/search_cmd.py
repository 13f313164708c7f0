"""``satchel search``: the question most people come for. Works in any folder, with or without ``satchel init``."""

from __future__ import annotations

import time

import click

from satchel.cli.face import Face
from satchel.cli.hits import show_hits
from satchel.cli.reading import open_reading
from satchel.cli.verb import verb
from satchel.context.limits import MAX_SEARCH_DEPTH, MAX_SEARCH_LIMIT


@verb(
    "search",
    examples=[
        ('satchel search "who approves a rollback"', "The best sections of this project, with the lines to open."),
        ("satchel search --kind decision --limit 3 rollout", "Only decisions, and only the best three."),
        ('satchel search --all "retention -legal"', "Every project of this machine; sections that say legal are out."),
        ("satchel search author:sam since:2026-01", "What sam changed last, this year, in a project that syncs."),
        ("satchel search --remote --at 2026-01-31 quota", "As the project was at the end of that day."),
    ],
    gives=(
        "A search answer, as REST and MCP give it: `query`, `hits`, `total`, `facets`, `projects`, `skipped`, "
        "`suggestions`."
    ),
    statuses=(0, 1, 2, 4, 5, 6),
)
@click.argument("query", nargs=-1)
@click.option("-n", "--limit", type=click.IntRange(1, MAX_SEARCH_LIMIT), default=10, help="Most hits to show (10).")
@click.option(
    "--offset",
    type=click.IntRange(0, MAX_SEARCH_DEPTH - 1),
    default=0,
    help=f"Skip this many hits; with --limit at most {MAX_SEARCH_DEPTH:,}.",
)
@click.option("-k", "--kind", multiple=True, help="Only this kind of artifact, such as spec; may be repeated.")
@click.option("-p", "--project", multiple=True, help="Search this project instead; may be repeated.")
@click.option("-a", "--all", "everywhere", is_flag=True, help="Search every project you have (or may read, remotely).")
@click.option("--related", is_flag=True, help="Also search the projects that those are related to, either way.")
@click.option("--at", metavar="VERSION|DATE", help="As it was at this version, or at the end of this day (UTC).")
@click.option("--remote", is_flag=True, help="Ask the server instead of this disk.")
def command(
    face: Face,
    query: tuple[str, ...],
    limit: int,
    offset: int,
    kind: tuple[str, ...],
    project: tuple[str, ...],
    everywhere: bool,
    related: bool,
    at: str | None,
    remote: bool,
) -> None:
    """Find the sections that answer a question.

    Any text is a question. Words are matched by stem; "quoted words" are a phrase; begin* is every word that begins so;
    -word leaves sections out; kind:spec, path:docs/, author:sam, since:2026-01, until:2026 and reviewed:yes narrow the
    search. A question with quotes or a leading hyphen goes into single quotes. Sections that hold every word come
    first; if there are few, any word is enough. Without a question the recent changes are listed.

    Outside a project the folder itself is searched (or the project chosen with `satchel use`). Only files that changed
    since the last search are read again.
    """
    # First: behind a quote that nobody closed, or in a query that is cut, they would be lost.
    text = " ".join([*(f"kind:{_kind(name)}" for name in kind), *query])
    with open_reading(face, project, everywhere=everywhere, remote=remote, related=related) as reading:
        began = time.perf_counter()
        answer = reading.reader.search(
            text, projects=reading.wanted, related=related, limit=limit, offset=offset, at=at
        )
        milliseconds = (time.perf_counter() - began) * 1_000
        reading.tell(face)
    face.answer(answer, lambda: show_hits(face, answer, reading.place, milliseconds, offset))


def _kind(name: str) -> str:
    from satchel.documents.kinds import kind_named  # few questions name one

    return kind_named(name)
