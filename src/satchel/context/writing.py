"""What an agent may write: a whole text, or a note at the end of a journal. Rules alone; who writes the bytes is the
folder's writer, the server, or a remote one.

Both can be sent twice: a text that is there already, and a note that its file holds already, change nothing.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import NamedTuple, TypedDict

from satchel.documents.kinds import PROSE, format_of, is_text, suffix_of
from satchel.errors import InvalidInput, PathRefused, PreconditionFailed, ReviewByPerson
from satchel.objects.ids import ObjectId, object_id
from satchel.objects.paths import check_path, executed_by_tools
from satchel.objects.reviews import is_review_list

MAX_TEXT = 150_000
"""Characters of one artifact; as JSON with six bytes each they fit the 1 MiB that a message at /mcp may have. Only a
client that writes most of them as pairs of such escapes, twelve bytes each, is told that its message is too long."""
MAX_NOTE = 20_000
_READ_AGAIN = "Read it with artifacts_get and pass its `object` as ifMatch."
_STAMP = r"## \d{4}-\d\d-\d\d \d\d:\d\d UTC\n\n"
_STAMPS = re.compile(rf"^{_STAMP}", re.MULTILINE)
_AFTER = re.compile(rf"\n?(?:\Z|\n{_STAMP})")


@dataclass(frozen=True, slots=True)
class Put:
    """An artifact that is to hold a text."""

    project: str
    path: str
    text: str
    replaces: str | None
    """The object there now; ``None``: nothing is."""
    allow_secret: bool = False
    """A person decided that what looks like a credential in it is to be sent to the cloud."""


@dataclass(frozen=True, slots=True)
class Note:
    """A text that is to stand at the end of a journal."""

    project: str
    path: str | None
    """``None``: the journal of the day."""
    text: str
    allow_secret: bool = False


Change = Put | Note


class Written(TypedDict):
    """The answer to a change."""

    project: str
    path: str
    object: str
    size: int
    changed: bool
    """Whether it was not so before."""
    lines: list[int] | None
    """Where the note stands: first and last line. ``None`` for a whole text."""
    digest: str
    """Of the project afterwards."""
    version: int | None
    """Of the project afterwards; ``None`` in a folder, which keeps none."""
    author: str | None
    """Who the version says it was: the person or key of the credential. ``None`` where no version was made."""
    modified: str | None


class Content(NamedTuple):
    """What a path is to hold."""

    data: bytes
    replaces: ObjectId | None
    """What is there now, ``None`` for nothing."""
    lines: list[int] | None = None

    @property
    def changed(self) -> bool:
        return object_id(self.data) != self.replaces


def path_of(change: Change, now: str) -> str:
    """The path that is written; ``now`` is a time, ``2026-01-31T14:03...``, in UTC. Raises ``PathRefused``,
    ``ReviewByPerson``."""
    path = f"journal/{now[:10]}.md" if change.path is None else change.path
    check_path(path)
    if executed_by_tools(path):
        raise PathRefused(f"{path} is run by tools on their own", hint="A person writes such a file, not an agent.")
    if is_review_list(path):
        raise ReviewByPerson(f"{path} says what a person has reviewed: no agent changes it")
    if isinstance(change, Note) and suffix_of(path) not in PROSE:
        raise InvalidInput(f"a note goes into a text such as .md, and {path} is none", hint="Use artifacts_put.")
    return path


def content_of(change: Change, path: str, before: bytes | None, now: str) -> Content:
    """What ``path`` is to hold where it holds ``before``.

    Raises ``PreconditionFailed`` for a text that was to replace something else, and ``InvalidInput`` for a note into
    what is no text, a text that would be none, or a note that leaves a code block open.
    """
    there = None if before is None else object_id(before)
    if isinstance(change, Note):
        return _with_note(change.text, path, before, there, now)
    data = _bytes(change.text)
    if change.replaces != there and object_id(data) != there:
        if there is None:
            raise PreconditionFailed(f"{path} does not exist", hint="Leave ifMatch out to create it.", path=path)
        said = "exists already" if change.replaces is None else "changed"
        raise PreconditionFailed(f"{path} {said}", hint=_READ_AGAIN, path=path)
    return Content(data, there)


def overtaken(change: Change, path: str) -> PreconditionFailed:
    """What to raise where others wrote to ``path`` after it was looked at, and, for a note, did so too many times."""
    if isinstance(change, Note):
        return PreconditionFailed(
            f"others keep writing to {path}", hint="Nothing was written: send the note again.", path=path
        )
    return PreconditionFailed(f"{path} changed", hint=_READ_AGAIN, path=path)


def _with_note(note: str, path: str, before: bytes | None, there: ObjectId | None, now: str) -> Content:
    # A CR that is left would be half of a line's end in the file, and the note not be known again.
    text = note.replace("\r\n", "\n").replace("\r", "\n").strip("\n")
    if not text.strip():
        raise InvalidInput("the note is empty")
    if before is not None and not is_text(before):
        raise InvalidInput(f"{path} is not text in UTF-8", hint="Name another path, and tell a person of that file.")
    old = _new_journal(path) if before is None else before.decode()
    end = "\r\n" if "\r\n" in old else "\n"
    plain = old.replace("\r\n", "\n")
    at = _standing(text, plain)
    if at is not None and before is not None:
        return Content(before, there, _lines(plain[:at], text))
    _check_closed(path, text)
    gap = "" if not plain or plain.endswith("\n\n") else "\n" if plain.endswith("\n") else "\n\n"
    added = f"{gap}## {now[:10]} {now[11:16]} UTC\n\n{text}\n"
    # What stands there stays as it is, to the byte.
    return Content(_bytes(old + added.replace("\n", end)), there, _lines(plain + gap, text))


def _check_closed(path: str, text: str) -> None:
    """Raises ``InvalidInput`` for a note that would hide the headings and the tasks of all notes behind it."""
    from satchel.documents.marks import markdown  # few questions write

    behind = f"{text}\n\n# Behind\n"
    if format_of(path) == "markdown" and all(heading.at <= len(text) for heading in markdown(behind).headings):
        raise InvalidInput(
            "the note leaves a code block or a comment open, which would hide the notes behind it",
            hint="Close it with the signs that opened it, and send the note again.",
        )


def _standing(text: str, plain: str) -> int | None:
    """Where the heading of a note with that text stands."""
    # No expression that holds the text: one of 20,000 characters that the file nearly repeats takes it seconds.
    for stamp in _STAMPS.finditer(plain):
        if plain.startswith(text, stamp.end()) and _AFTER.match(plain, stamp.end() + len(text)):
            return stamp.start()
    return None


def _new_journal(path: str) -> str:
    name = path.rpartition("/")[2].rpartition(".")[0]
    return f"# Journal of {name}\n" if path.startswith("journal/") else f"# {name.replace('-', ' ').capitalize()}\n"


def _lines(head: str, text: str) -> list[int]:
    first = head.count("\n") + 1
    return [first, first + 2 + text.count("\n")]


def _bytes(text: str) -> bytes:
    if "\0" in text:  # with it a journal would be no text any more: nobody could read or find any note of it
        raise InvalidInput("the text holds a NUL character, and no text has one", hint="Leave it out.")
    try:
        return text.encode()
    except UnicodeEncodeError as error:
        raise InvalidInput("the text holds half of a surrogate pair") from error
