"""The tools that write: offered only where the caller may, each one change by whoever asks."""

from __future__ import annotations

from satchel.context.answers import ContextReader
from satchel.context.writing import MAX_NOTE, MAX_TEXT, Change, Note, Put, Written
from satchel.mcp.tool import PROJECT, Arguments, Tool, project_of, text


def _put(reader: ContextReader, arguments: Arguments) -> Change:
    replaces = arguments.get("ifMatch")
    named = None if replaces is None else replaces.strip().strip('"')
    return Put(project_of(reader, arguments), arguments["path"], arguments["text"], named, _allows(arguments))


def _note(reader: ContextReader, arguments: Arguments) -> Change:
    return Note(project_of(reader, arguments), arguments.get("path"), arguments["text"], _allows(arguments))


def _allows(arguments: Arguments) -> bool:
    return bool(arguments.get("allowSecret", False))


_ALLOW_SECRET = {
    "type": "boolean",
    "default": False,
    "description": "Only after a person said so: write it although it was refused for what looks like a credential. "
    "The audit names you. A folder refuses nothing; its sync does.",
}


TOOLS: tuple[Tool, ...] = (
    Tool(
        "artifacts_put",
        "Write an artifact",
        "Write one text file of a project, whole: a new one, or in place of the content you read. To add to a journal "
        "use note_append. In a hosted project it is one version under your name; in a folder one edit, which "
        "`satchel undo` takes back. Refused if somebody changed it since you read it.",
        {
            "project": PROJECT,
            "path": text("Path of the artifact in its project, such as decisions/0012-queue.md.", required=True),
            "text": text("The whole text.", MAX_TEXT, required=True),
            "ifMatch": text("The `object` this replaces, as artifacts_get gave it. Left out: there is none yet.", 66),
            "allowSecret": _ALLOW_SECRET,
        },
        Written,
        None,
        change=_put,
        destroys=True,
    ),
    Tool(
        "note_append",
        "Append a note",
        "Append a note, under a heading with the time, to today's journal of a project or to another text: what was "
        "done, found, decided or left open, for whoever goes on. Changes nothing else. A note the file holds already "
        "is not written twice, so it may be sent again.",
        {
            "project": PROJECT,
            "text": text("The note, in Markdown.", MAX_NOTE, required=True),
            "path": text("The text to append to; journal/YYYY-MM-DD.md of today (UTC) if left out."),
            "allowSecret": _ALLOW_SECRET,
        },
        Written,
        None,
        change=_note,
    ),
)
