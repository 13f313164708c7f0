"""How search hits look: a block per hit for a person, a line per hit for a program without ``--json``."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import TYPE_CHECKING

from satchel.cli.face import Face, ago, clean

if TYPE_CHECKING:
    from satchel.context.answers import Hit, SearchAnswer

SNIPPET_LINES = 2
"""Lines of a snippet on a terminal: enough to judge a hit, few enough to see ten of them at once."""
MAX_SHOWN_QUERY = 100
"""Characters of a question that are repeated where nothing was found."""

_UNKNOWN = {
    "none": "project {} was never synced: who changed a file, and when, is not known",
    "partial": "files of project {} that changed since the last sync are left out: their author and time are not known",
}

Place = Callable[[str, str], str]
"""(project, path) to what a terminal can open."""


def show_hits(face: Face, answer: SearchAnswer, place: Place, milliseconds: float, offset: int = 0) -> None:
    """Print the hits and, as a note, what they were found in."""
    several = len(answer["projects"]) > 1
    for number, hit in enumerate(answer["hits"], offset + 1):
        where = f"{place(hit['project'], hit['path'])}:{hit['lines'][0]}-{hit['lines'][1]}"
        if face.terminal:
            _block(face, number, where, hit, several)
        else:
            columns = [where, hit["kind"], " › ".join(hit["trail"]), hit["snippet"]]
            face.line("\t".join(face.fit(column) for column in ([hit["project"], *columns] if several else columns)))
    _footer(face, answer, milliseconds)


def _block(face: Face, number: int, where: str, hit: Hit, several: bool) -> None:
    facts = [hit["kind"], "reviewed" if hit.get("reviewed") else "", ago(hit["modified"])]
    if several:
        facts.insert(0, f"{hit['project']} ({hit['relation']})" if hit["relation"] else hit["project"])
    right = " · ".join(filter(None, facts))
    left = clean(where)
    label = str(number)
    room = face.columns - len(label) - 2 - len(left) - 3 - len(right) - 2
    trail = face.fit(" › ".join(hit["trail"]), room) if room >= 12 else ""
    gap = " " * max(face.columns - len(label) - 2 - len(left) - 3 - len(trail) - len(right), 2)
    face.line(f"{label}  {face.style(left, fg='cyan')}   {trail}{gap}{face.dim(right)}".rstrip())
    for line in _wrapped(face, hit):
        face.line("   " + line)


def _wrapped(face: Face, hit: Hit) -> list[str]:
    """The snippet in at most ``SNIPPET_LINES`` lines of the terminal, matches set off."""
    snippet, room = hit["snippet"], face.columns - 4
    lines: list[tuple[int, int]] = []
    for word in re.finditer(r"\S+", snippet):
        start, end = word.span()
        if lines and end - lines[-1][0] <= room:
            lines[-1] = (lines[-1][0], end)
        elif len(lines) == SNIPPET_LINES:
            lines[-1] = (lines[-1][0], min(lines[-1][1], lines[-1][0] + room - 2))
            return [_marked(face, hit, *line) for line in lines[:-1]] + [_marked(face, hit, *lines[-1]) + " …"]
        else:
            lines.append((start, min(end, start + room)))
    return [_marked(face, hit, *line) for line in lines]


def _marked(face: Face, hit: Hit, start: int, end: int) -> str:
    pieces: list[str] = []
    at = start
    for begins, ends in hit["highlights"]:
        first, last = max(begins, start), min(ends, end)
        if first < last and first >= at:
            pieces += [_flat(hit["snippet"][at:first]), face.bold(_flat(hit["snippet"][first:last]))]
            at = last
    return "".join([*pieces, _flat(hit["snippet"][at:end])])


def _flat(text: str) -> str:
    return re.sub(r"\s", " ", clean(text))


def _footer(face: Face, answer: SearchAnswer, milliseconds: float) -> None:
    shown = f"{len(answer['hits']):,} of {answer['total']:,} in {milliseconds:.0f} ms"
    projects = answer["projects"]
    if len(projects) == 1:
        version = f" · version {projects[0]['version']}" if projects[0]["version"] is not None else ""
        where = f"project {projects[0]['project']} · digest {projects[0]['digest'][:8]}{version}"
    else:
        where = f"{len(projects)} projects"
    if answer["total"]:  # without hits where the last of them were passed over
        face.note(face.dim(f"{shown} · {where}"))
    else:
        asked = answer["query"]["text"]
        shown = asked if len(asked) <= MAX_SHOWN_QUERY else asked[: MAX_SHOWN_QUERY - 1] + "…"
        face.note(f"Nothing found for {shown!r} · {where}")
        if answer["suggestions"]:
            face.note(f"Near:  {', '.join(clean(word) for word in answer['suggestions'])}")
        else:
            face.note("Try fewer or other words, or `satchel doctor` to see what is indexed.")
    filters = answer["query"]["filters"]
    if any(name.lstrip("-") in ("author", "since", "until") for name in filters):
        for project in projects:
            if project["history"] != "complete":
                face.warn(_UNKNOWN[project["history"]].format(project["project"]))
    for skipped in answer["skipped"]:
        face.warn(f"project {skipped['project']} was left out: {skipped['reason']}")
    if answer["query"]["cut"]:
        face.warn("the query was too long and was cut")
