"""From the bytes of one file to what it means: kind, title, sections, tasks, front matter.

``describe`` looks at the first ``DESCRIBE_BYTES`` only, so that a server can describe an artifact from its first
frame; ``parse`` calls it and therefore agrees with it on every file. Nothing here raises: bytes that are not text
make a document without sections.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import dataclass, field

from satchel.documents import front_matter, marks
from satchel.documents.front_matter import Block, FrontMatter, Value
from satchel.documents.kinds import DATA, format_of, kind_of_path, kind_of_value
from satchel.documents.marks import Marks, clean_title, one_line
from satchel.documents.sections import Section, TaskLine, cut

DESCRIBE_BYTES = 64 * 1024
"""How much of a file decides its kind and title."""
MAX_TITLE_CHARS = 200

_SCANNERS: dict[str, Callable[[str, int], Marks]] = {
    "markdown": marks.markdown,
    "rst": marks.restructured,
    "asciidoc": marks.asciidoc,
    "org": marks.org,
    "text": marks.boxes_only,
}
_WITH_FRONT_MATTER = ("markdown", "rst", "asciidoc", "text")
# First headings that say nothing of the document: its name says more.
_GENERIC = frozenset(
    (
        *(
            "summary",
            "executive summary",
            "overview",
            "introduction",
            "intro",
            "abstract",
            "purpose",
            "about",
            "readme",
        ),
        *("contents", "table of contents", "motivation", "background", "description", "status", "goals"),
    )
)
_NAMELESS = frozenset(("readme", "index", "kep", "spec", "plan", "tasks", "requirements", "design", "notes", "skill"))
_YAML_TITLE = re.compile(r"^(?:title|name):[ \t]+(\S[^\n]*)$", re.MULTILINE)
_TOML_TITLE = re.compile(r"^(?:title|name)[ \t]*=[ \t]*(\"[^\"\n]+\"|'[^'\n]+')", re.MULTILINE)
_ORG_TITLE = re.compile(r"^#\+title:[ \t]*(\S[^\n]*)$", re.MULTILINE | re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Document:
    kind: str
    title: str
    sections: tuple[Section, ...] = ()
    """In the order of the file; empty when it is not text."""
    tasks: tuple[TaskLine, ...] = ()
    front_matter: dict[str, Value] = field(default_factory=dict)


def describe(path: str, head: bytes) -> tuple[str, str]:
    """(kind, title) of the file whose bytes begin with ``head``; only its first ``DESCRIBE_BYTES`` count."""
    known = format_of(path)
    text = _decode_head(head[:DESCRIBE_BYTES])
    if known is None or text is None:
        return kind_of_path(path), _file_name(path)
    front = _front_matter(known, text)
    # A server describes thousands of files a second: no more is read than the title takes.
    if known == "markdown":
        about = marks.markdown(text, front.end, until_title=True)
    else:
        about = _scan(known, text, front.end)
    return _kind(path, front), _title(path, known, text, front, about)


def parse(path: str, data: bytes) -> Document:
    """The whole document. A byte order mark is dropped and CRLF read as LF; lines keep their numbers."""
    known = format_of(path)
    head = _decode_head(data[:DESCRIBE_BYTES])
    text = _decode(data) if head is not None else None
    if known is None or head is None or text is None:
        kind, title = describe(path, data)
        return Document(kind, title)
    front = _front_matter(known, head)
    found = _scan(known, text, front.end)
    # The title comes from the head alone. Where the text is longer, a fence cut off by the head's end could hide less
    # or more than in the whole text, so the head is looked at by itself.
    about = found if len(data) <= DESCRIBE_BYTES else _scan(known, head, front.end)
    sections, tasks = cut(text, found, front.end)
    return Document(_kind(path, front), _title(path, known, head, front, about), sections, tasks, front.values)


def marked(path: str, data: bytes) -> tuple[str, Marks] | None:
    """The text as ``parse`` reads it, with its headings and checkboxes; ``None`` for what is no text document."""
    known = format_of(path)
    head = _decode_head(data[:DESCRIBE_BYTES])
    text = _decode(data) if head is not None else None
    if known is None or head is None or text is None:
        return None
    return text, _scan(known, text, _front_matter(known, head).end)


def front_matter_of(path: str, data: bytes) -> Block | None:
    """The text of its front matter; ``None`` where there is none, or the file is of no kind that has any."""
    head = _decode_head(data[:DESCRIBE_BYTES]) if format_of(path) in _WITH_FRONT_MATTER else None
    return front_matter.block(head) if head is not None else None


def _decode(data: bytes) -> str | None:
    if b"\0" in data:
        return None
    try:
        text = data.decode()
    except UnicodeDecodeError:
        return None
    return _normal(text)


def _decode_head(head: bytes) -> str | None:
    """As ``_decode``, but a character cut off by the end of the head is dropped."""
    if len(head) < DESCRIBE_BYTES:
        return _decode(head)
    if b"\0" in head:
        return None
    try:
        text = head.decode()
    except UnicodeDecodeError as error:
        if error.start < len(head) - 3 or error.reason != "unexpected end of data":
            return None
        text = head[: error.start].decode()
    return _normal(text.removesuffix("\r"))


def _normal(text: str) -> str:
    text = text.removeprefix("\ufeff")
    return text.replace("\r\n", "\n") if "\r" in text else text


def _front_matter(known: str, head: str) -> FrontMatter:
    return front_matter.read(head) if known in _WITH_FRONT_MATTER else front_matter.NONE


def _scan(known: str, text: str, start: int) -> Marks:
    scanner = _SCANNERS.get(known)
    return scanner(text, start) if scanner else marks.NO_MARKS


def _kind(path: str, front: FrontMatter) -> str:
    values = front.values
    return kind_of_value(values.get("kind")) or kind_of_value(values.get("type")) or kind_of_path(path)


def _title(path: str, known: str, head: str, front: FrontMatter, about: Marks) -> str:
    given = front.values.get("title")
    if isinstance(given, (str, int, float)) and (title := _one_line(str(given))):
        return title
    if known in DATA.values():
        return _one_line(_data_title(known, head) or "") or _one_line(_from_name(path))
    if known == "org" and (match := _ORG_TITLE.search(head)):
        return _one_line(match[1])
    named = [heading.title for heading in about.headings if heading.title]
    if named and named[0].lower().strip(" :.") not in _GENERIC:
        return named[0][:MAX_TITLE_CHARS]
    return _one_line(_from_name(path))


def _data_title(known: str, head: str) -> str | None:
    if known == "json":
        try:
            loaded = json.loads(head)
        except (ValueError, RecursionError):
            return None
        if not isinstance(loaded, dict):
            return None
        return next((loaded[key] for key in ("title", "name") if isinstance(loaded.get(key), str)), None)
    match = (_YAML_TITLE if known == "yaml" else _TOML_TITLE).search(head)
    return clean_title(match[1].rstrip(" \t").strip("\"'")) if match else None


def _from_name(path: str) -> str:
    """A title made from the name, or from the folder's for a README and its like."""
    parts = path.split("/")
    stem = parts[-1].rpartition(".")[0] or parts[-1]
    if stem.lower() in _NAMELESS and len(parts) > 1:
        stem = f"{parts[-2]} {stem}" if stem.lower() not in ("readme", "index") else parts[-2]
    return " ".join(stem.replace("-", " ").replace("_", " ").split()) or parts[-1]


def _file_name(path: str) -> str:
    return path.rpartition("/")[2]


def _one_line(title: str) -> str:
    return one_line(title)[:MAX_TITLE_CHARS]
