"""From a row of a table to the bytes of a request, and from an answer to what it says: no IO."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from typing import NamedTuple
from urllib.parse import quote

from satchel.remote.raw import Reply
from satchel.server.isolation.expectations import Operation, Outcome
from satchel.server.isolation.tools import ERAS, Asked

Place = Mapping[str, str]
"""What stands for the texts in braces."""
JSON = "application/json"
_MODERN = ERAS[0]
_META = "io.modelcontextprotocol/"
_BRACES = re.compile(r"\{(\w+)\}")
VARYING = frozenset({"date", "x-request-id", "ratelimit"})
"""Headers that differ from one request to the next, whatever is asked."""


class Request(NamedTuple):
    """A request without its credential."""

    variant: str
    """``in order``; ``garbled``, with everything wrong that can be; or an era of MCP."""
    method: str
    path: str
    headers: tuple[tuple[str, str], ...]
    body: bytes | None


def requests_of(operation: Operation, place: Place) -> list[Request]:
    """The requests of a cell; the first is the one that is in order."""
    if isinstance(operation.body, Asked):
        asked = operation.body
        return [message(era, asked.method, _object(filled(asked.params, place))) for era in asked.eras]
    method, _, template = operation.name.partition(" ")
    path = _BRACES.sub(lambda found: quote(place[found[1]], safe="/" if found[1] == "path" else ""), template)
    query = "&".join(f"{name}={quote(fill(value, place))}" for name, value in operation.query.items())
    body, headers = operation.body, tuple((name, fill(value, place)) for name, value in operation.headers.items())
    if body is not None and not isinstance(body, bytes):
        body, headers = json.dumps(filled(body, place)).encode(), (("content-type", JSON), *headers)
    garbage = (("if-match", "nonsense"), ("content-type", "text/nonsense"), ("idempotency-key", "no sense"))
    return [
        Request("in order", method, path + ("?" + query if query else ""), headers, body),
        Request("garbled", method, path + "?nonsense=1", garbage, b'{"half'),
    ]


def message(era: str, method: str, params: Mapping[str, object]) -> Request:
    """A message to /mcp as an era has it."""
    headers = [("content-type", JSON), ("accept", f"{JSON}, text/event-stream"), ("mcp-protocol-version", era)]
    if era == _MODERN:
        client = {"name": "satchel-proof", "version": "1"}
        meta = {_META + "protocolVersion": era, _META + "clientCapabilities": {}, _META + "clientInfo": client}
        params = {**params, "_meta": meta}
        headers.append(("mcp-method", method))
        named = params.get("name", params.get("uri"))
        if named is not None:
            headers.append(("mcp-name", str(named)))
    body = {"jsonrpc": "2.0", "id": 1, "method": method, "params": params}
    return Request(era, "POST", "/mcp", tuple(headers), json.dumps(body).encode())


def fill(text: str, place: Place) -> str:
    """``text`` with what stands in braces put in."""
    return _BRACES.sub(lambda found: place.get(found[1], found[0]), text)


def filled(value: object, place: Place) -> object:
    """The same for every text inside ``value``."""
    match value:
        case str():
            return fill(value, place)
        case Mapping():
            return {name: filled(part, place) for name, part in value.items()}
        case list() | tuple():
            return [filled(part, place) for part in value]
        case _:
            return value


def outcome(reply: Reply) -> Outcome:
    """Status and code of an answer: of a problem, or of what a tool or a method refused."""
    return Outcome(reply.status, next(_codes(decoded(reply)), ""))


def _codes(told: object) -> Iterator[str]:
    match told:
        case {"code": str(code), "status": int()}:
            yield code
        case {"error": {"data": {"code": str(code)}}}:
            yield code
        case {"error": {"code": int(number)}}:
            yield str(number)
        case {"result": {"isError": True, "content": [{"text": str(text)}, *_]}}:
            said = json.loads(text) if text.startswith("{") else {}
            yield str(said.get("code", "tool"))


def decoded(reply: Reply) -> object:
    """The JSON of an answer; ``None`` where it is none."""
    if "json" not in reply.header("content-type"):
        return None
    try:
        return json.loads(reply.body)
    except ValueError:
        return None


class Seen(NamedTuple):
    """An answer without what differs from request to request."""

    status: int
    headers: tuple[tuple[str, str], ...]
    body: bytes


def seen(reply: Reply) -> Seen:
    """What must be the same of another tenant's thing and of what never was."""
    body = reply.body
    told = decoded(reply)
    if isinstance(told, dict) and "requestId" in told:
        body = body.replace(str(told["requestId"]).encode(), b"")
    headers = tuple(sorted((name, value) for name, value in reply.headers if name not in VARYING))
    return Seen(reply.status, headers, body)


def _object(value: object) -> dict[str, object]:
    assert isinstance(value, dict)
    return value
