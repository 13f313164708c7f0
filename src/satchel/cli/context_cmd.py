"""``satchel context``: what a project is, in one screen or one JSON value."""

from __future__ import annotations

from collections.abc import Iterator

import click

from satchel.cli.face import Face, ago, one_line, plural, size
from satchel.cli.reading import open_reading
from satchel.cli.verb import again, verb
from satchel.context.answers import ContextAnswer
from satchel.context.limits import MAX_CONTEXT_BUDGET, MIN_CONTEXT_BUDGET, MIN_CONTEXT_TOKENS


@verb(
    "context",
    examples=[
        ("satchel context", "What this project holds, its manifest and its relations."),
        ("satchel context --project billing --json", "The same of another project, for a program."),
        ("satchel context --tokens 2000 --json", "As much of it as an agent has room for."),
    ],
    gives=(
        "The context, as REST and MCP give it: `project`, `id`, `digest`, `version`, `lineage`, `history`, `kinds`, "
        "`artifacts`, `bytes`, `openTasks`, `lastSync`, `manifest`, `problems`, `relations`, `conflicts`, `tasks`, "
        "`recent`, `truncated`, `tokens`."
    ),
    statuses=(0, 1, 2, 4, 5, 6),
)
@click.option("-p", "--project", help="Another project.")
@click.option(
    "--budget",
    type=click.IntRange(MIN_CONTEXT_BUDGET, MAX_CONTEXT_BUDGET),
    default=40_000,
    help="Most characters of the answer in JSON (40,000).",
)
@click.option(
    "--tokens",
    type=click.IntRange(MIN_CONTEXT_TOKENS, MAX_CONTEXT_BUDGET),
    help="Most estimated tokens of it, as well.",
)
@click.option("--remote", is_flag=True, help="Ask the server instead of this disk.")
def command(face: Face, project: str | None, budget: int, tokens: int | None, remote: bool) -> None:
    """Describe the project: manifest, inventory, relations.

    The manifest is the project's context.json, where there is one. A manifest that does not parse is reported and
    never changed.
    """
    with open_reading(face, (project,) if project else (), remote=remote) as reading:
        answer = reading.reader.context(reading.one, budget=budget, tokens=tokens)
        reading.tell(face)
    face.answer(answer, lambda: _show(face, answer))


def _show(face: Face, answer: ContextAnswer) -> None:
    version = f" · version {answer['version']}" if answer["version"] is not None else ""
    face.line(f"{face.bold(answer['project'])}  digest {answer['digest'][:8]}{version}")
    for label, value in _manifest(answer["manifest"] or {}):
        face.line(f"  {one_line(label):<13} {face.fit(value, face.columns - 16)}")
    kinds = sorted(answer["kinds"].items(), key=lambda item: (-item[1], item[0]))
    counted = ", ".join(f"{count:,} {kind}" for kind, count in kinds)
    face.line(f"  {'artifacts':<13} {answer['artifacts']:,} ({size(answer['bytes'])}): {counted}")
    face.line(f"  {'open tasks':<13} {answer['openTasks']:,}")
    sync = answer["lastSync"]
    if sync is not None and answer["history"] != "complete":
        changed = plural(sync["changedSince"], "file")
        face.line(f"  {'last sync':<13} version {sync['version']:,}, {changed} changed since")
    for path in answer["conflicts"][:5]:
        face.line(f"  {'conflict':<13} {face.fit(path, face.columns - 16)}")
    recent = [item for item in answer["recent"] if item["modified"]]
    for number, item in enumerate(recent[:5]):
        face.line(
            f"  {'recent' if not number else '':<13} {face.fit(item['path'])}  "
            + face.dim(f"{ago(item['modified'])} by {one_line(item['author'] or '')}")
        )
    for problem in answer["problems"]:
        face.warn(problem)
    if answer["truncated"]:
        more = again(tokens=None, budget=str(MAX_CONTEXT_BUDGET))
        face.note(f"Cut to the budget: {', '.join(answer['truncated'])}. More:  {more}")
    elif answer["manifest"] is None and not answer["problems"]:
        face.note(f"No context.json: `satchel init --template` writes one ({plural(0, 'relation')} known).")


def _manifest(manifest: dict[str, object]) -> Iterator[tuple[str, str]]:
    """The parts of a manifest that people ask about, as far as they have the shape they should."""
    for field in ("name", "description"):
        if isinstance(manifest.get(field), str):
            yield field, str(manifest[field])
    for field in ("repositories", "services"):
        found = manifest.get(field)
        rows = [row for row in found if isinstance(row, dict)] if isinstance(found, list) else []
        names = [str(row["name"]) for row in rows if "name" in row]
        if names:
            yield field, ", ".join(names)
    relations = manifest.get("relations")
    for relation in relations if isinstance(relations, list) else []:
        if isinstance(relation, dict):
            yield str(relation.get("type", "related-to")), str(relation.get("project", ""))
