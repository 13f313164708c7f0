"""Artifacts as MCP resources: ``satchel://{project}/{path}``, with the path percent-encoded part by part."""

from __future__ import annotations

import re
from typing import Any, NamedTuple

from satchel.context.answers import MAX_ARTIFACT_BUDGET, ContextReader
from satchel.documents.kinds import DATA, PROSE, suffix_of
from satchel.errors import InvalidInput, NoSuchProject, NotAFolder, TooLarge
from satchel.mcp.schemas import is_whole

PAGE = 200
"""Resources in one page of the list."""
SCHEME = "satchel://"
TEMPLATE: dict[str, Any] = {
    "uriTemplate": SCHEME + "{project}/{+path}",
    "name": "artifact",
    "title": "An artifact of a project",
    "description": "One file of a project by its path. Search and lists name paths.",
}

_UNRESERVED = frozenset(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~/")
_ESCAPE = re.compile(rb"%([0-9A-Fa-f]{2})")
_MIME = {".md": "text/markdown", ".markdown": "text/markdown", ".json": "application/json", ".html": "text/html"}


class Place(NamedTuple):
    project: str
    path: str


def uri_of(project: str, path: str) -> str:
    """The address of an artifact."""
    return f"{SCHEME}{project}/" + "".join(
        chr(byte) if byte in _UNRESERVED else f"%{byte:02X}" for byte in path.encode()
    )


def place_of(uri: str) -> Place:
    """What an address names. Raises ``InvalidInput`` for one that is not ``satchel://{project}/{path}``."""
    project, _, path = uri.removeprefix(SCHEME).partition("/")
    if not uri.startswith(SCHEME) or not project or not path or not is_whole(uri):
        raise InvalidInput("a resource is satchel://{project}/{path}")
    try:
        raw = _ESCAPE.sub(lambda found: bytes([int(found[1], 16)]), path.encode())
        return Place(project, raw.decode())
    except UnicodeError as error:
        raise InvalidInput("the path of the resource is not UTF-8") from error


def mime_type(path: str) -> str | None:
    """What the name says of the content; ``None`` where it may be text or not."""
    suffix = suffix_of(path)
    return _MIME.get(suffix) or ("text/plain" if suffix in PROSE or suffix in DATA else None)


def list_page(reader: ContextReader, cursor: str | None) -> dict[str, Any]:
    """``resources`` and, where there are more, ``nextCursor``: all artifacts of all projects, by project and path.

    Of several projects one that is gone since has no artifacts.
    """
    first, _, rest = (cursor or "/").partition("/")
    if cursor is not None and not (first and "/" in cursor and is_whole(cursor)):
        raise InvalidInput("the cursor is not one of this list", hint="Pass the `nextCursor` of the page before.")
    resources: list[dict[str, Any]] = []
    projects = reader.projects()
    for info in projects:
        slug = info["project"]
        if slug < first:
            continue
        after = rest if slug == first and rest else None
        while True:
            room = PAGE - len(resources)
            if not room:
                return {"resources": resources, "nextCursor": f"{slug}/{after or ''}"}
            try:
                page = reader.artifacts(slug, cursor=after, limit=room)
            except (NoSuchProject, NotAFolder):
                if len(projects) == 1:
                    raise
                break
            for item in page["items"]:
                kind = mime_type(item["path"])
                resources.append(
                    {
                        "uri": uri_of(slug, item["path"]),
                        "name": item["path"],
                        "title": item["title"],
                        **({} if kind is None else {"mimeType": kind}),
                        "size": item["size"],
                    }
                )
            after = page["next"]
            if after is None:
                break
    return {"resources": resources}


def read(reader: ContextReader, uri: str) -> dict[str, Any]:
    """``contents`` of one resource.

    Raises ``NoSuchProject``, ``NoSuchArtifact``, ``InvalidInput`` for a bad address or binary content, and
    ``TooLarge`` over ``MAX_ARTIFACT_BUDGET`` characters.
    """
    place = place_of(uri)
    answer = reader.artifact(place.project, place.path, budget=MAX_ARTIFACT_BUDGET)
    if answer["text"] is None:
        raise InvalidInput(f"{place.path} is not text", hint="Binary artifacts are read over REST or from the folder.")
    if answer["truncated"]:
        raise TooLarge(
            f"{place.path} is longer than {MAX_ARTIFACT_BUDGET:,} characters",
            hint="Read it by lines with the tool artifacts_get.",
        )
    kind = mime_type(place.path) or "text/plain"
    return {"contents": [{"uri": uri, "mimeType": kind, "text": answer["text"]}]}
