"""The shortcut over HTTP: which requests are so plainly in order that the SDK has nothing to say about them.

Nearly all that agents send are a few kinds of request, with the same headers every time. These are recognised here and
answered in few steps; whatever is not wholly as expected is nobody's business but the SDK's. So nothing here refuses
anything: the choice is between an answer that the SDK would have given, byte for byte, and leaving it to the SDK.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import cache
from typing import Any, NamedTuple, TypeGuard

from satchel.mcp.schemas import Schema
from satchel.mcp.stdio import HANDSHAKE, MODERN
from satchel.mcp.tool import ToolResult
from satchel.mcp.tools import TOOLS

Decode = Callable[[bytes], Any]
"""From the bytes of a body to what they say; raises ``ValueError`` or ``RecursionError``."""
Encode = Callable[[Any], bytes]

DEFAULT_VERSION = "2025-03-26"
"""Of a request that names none."""
_META = "io.modelcontextprotocol/"
_VERSION = _META + "protocolVersion"
_JSON = b"application/json"
_TELLING = frozenset(
    {b"content-length", b"content-type", b"accept", b"mcp-protocol-version", b"mcp-method", b"mcp-name"}
)
_PARAMS = {
    "tools/call": {"_meta", "name", "arguments"},
    "tools/list": {"_meta"},
    "initialize": {"_meta", "protocolVersion", "capabilities", "clientInfo"},
    "server/discover": {"_meta"},
}
_LEAST_PLAIN, _MOST_PLAIN = 1e-4, 1e15
"""Fractions between these are written without an exponent."""
_MEMBERS = {"jsonrpc", "id", "method", "params"}
_NOT_IN = {True: "initialize", False: "server/discover"}
"""The method of the other era."""


class Heading(NamedTuple):
    """What the headers of a request say."""

    version: str
    """Of the protocol."""
    modern: bool
    """Whether it is of 2026-07-28."""
    method: bytes | None
    name: bytes | None


class Plain(NamedTuple):
    """A request that takes the shortcut."""

    version: str
    modern: bool
    id: int | str
    method: str
    params: dict[str, Any]

    @property
    def fixed(self) -> str | None:
        """The same text for all requests of a version that have the same answer whoever asks and whatever is stored;
        ``None`` for one whose answer is made anew."""
        if self.method == "tools/call":
            return None
        return f"{self.method} {self.params['protocolVersion']}" if self.method == "initialize" else self.method

    @property
    def opening(self) -> bytes:
        """How the answer begins."""
        name = self.id if isinstance(self.id, int) else json.dumps(self.id)
        return b'{"jsonrpc":"2.0","id":%b,' % str(name).encode()


def heading(headers: Iterable[tuple[bytes, bytes]], longest: int) -> Heading | None:
    """What the headers say, if that is all in order, and no body of more than ``longest`` bytes is announced."""
    said: dict[bytes, bytes] = {}
    for name, value in headers:
        if name in _TELLING:
            if name in said:
                return None
            said[name] = value
        elif name.startswith(b"mcp-param-"):
            return None
    length = said.get(b"content-length", b"0")
    if said.get(b"content-type") != _JSON or not length.isdigit() or int(length) > longest:
        return None
    if _JSON not in [part.strip() for part in said.get(b"accept", b"").split(b",")]:
        return None
    version = said.get(b"mcp-protocol-version", DEFAULT_VERSION.encode()).decode("latin-1")
    modern = version in MODERN
    if not modern and version not in HANDSHAKE:
        return None
    return Heading(version, modern, said.get(b"mcp-method"), said.get(b"mcp-name"))


def plain(head: Heading, body: bytes, decode: Decode) -> Plain | None:
    """The request, if it is one for the shortcut."""
    try:
        message = decode(body)
    except (ValueError, RecursionError):
        return None
    if not isinstance(message, dict) or not message.keys() <= _MEMBERS or message.get("jsonrpc") != "2.0":
        return None
    name, method, params = message.get("id"), message.get("method"), message.get("params", {})
    if not _is_plain_id(name) or not isinstance(method, str) or not isinstance(params, dict):
        return None
    if method not in _PARAMS or method == _NOT_IN[head.modern] or not params.keys() <= _PARAMS[method]:
        return None
    meta = params.get("_meta", {})
    if not isinstance(meta, dict) or meta.get(_VERSION) != (head.version if head.modern else None):
        return None
    tool = params.get("name")
    if method == "tools/call" and not _reads(tool):
        return None
    if method == "initialize" and params.get("protocolVersion") not in HANDSHAKE:
        return None
    if head.modern and (head.method, head.name) != (method.encode(), tool.encode() if tool else None):
        return None
    return Plain(head.version, head.modern, name, method, params)


def _is_plain_id(name: object) -> TypeGuard[int | str]:
    """Whether an id is written alike by whatever writes JSON."""
    if isinstance(name, str):
        return name.isascii() and name.isprintable()
    return isinstance(name, int) and not isinstance(name, bool) and abs(name) < 2**53


def _reads(name: object) -> TypeGuard[str]:
    return isinstance(name, str) and name in _readers()


@cache
def _readers() -> frozenset[str]:
    """Tools that read and whose answers have a known shape throughout: a project's context.json may hold any numbers,
    and not all that write JSON write them alike."""
    return frozenset(tool.name for tool in TOOLS if all(_schemas(tool.output_schema)))


def _schemas(schema: Schema) -> Iterator[Schema]:
    """A schema and all inside it."""
    yield schema
    for inner in (schema.get("items"), schema.get("additionalProperties"), *schema.get("anyOf", ())):
        if inner is not None:
            yield from _schemas(inner)
    for inner in schema.get("properties", {}).values():
        yield from _schemas(inner)


class Writer:
    """Writes answers to calls of tools, byte for byte as the SDK does, in a fifth of the time."""

    def __init__(self, server: object, encode: Encode) -> None:
        """``server`` is what every result of 2026-07-28 says of the server; ``encode`` writes JSON as the SDK writes
        messages of the versions with a handshake."""
        self._server, self._encode = json.dumps(server, separators=(",", ":")).encode(), encode

    def answer(self, request: Plain, result: ToolResult, said: Mapping[str, str]) -> bytes:
        """``said`` is what this result has to say beside. Raises ``ValueError`` where a text is none."""
        alike = _alike(result.content)
        text = self._encode(result.content) if alike else _dumped(result.content, ensure_ascii=False)
        texts = [self._quoted(request, text), *([self._encode(result.note)] if result.note else [])]
        blocks = b",".join(b'{"text":%b,"type":"text"}' % each for each in texts)
        parts = [b'"content":[%b]' % blocks, b'"isError":%b' % (b"true" if result.is_error else b"false")]
        if request.modern:
            parts.append(b'"resultType":"complete"')
        if not result.is_error:
            same = alike and (_is_printable(text) or not request.modern)
            parts.append(b'"structuredContent":%b' % (text if same else self._written(request, result.content)))
        about = [b"%b:%b" % (self._encode(name), self._encode(value)) for name, value in said.items()]
        if request.modern:
            about.append(b'"io.modelcontextprotocol/serverInfo":%b' % self._server)
        if about:
            parts.insert(0 if said else len(parts), b'"_meta":{%b}' % b",".join(about))
        return request.opening + b'"result":{%b}}' % b",".join(parts)

    def _quoted(self, request: Plain, text: bytes) -> bytes:
        """JSON as a text inside JSON: it has nothing else to be escaped."""
        if request.modern and not _is_printable(text):
            return _dumped(text.decode())
        return b'"%b"' % text.replace(b"\\", b"\\\\").replace(b'"', b'\\"')

    def _written(self, request: Plain, content: object) -> bytes:
        return _dumped(content) if request.modern else self._encode(content)


def _alike(content: Mapping[str, Any]) -> bool:
    """Whether everything that writes JSON writes the numbers of an answer alike: fractions with an exponent they do
    not. The only fractions there are are the scores of hits."""
    return all(_LEAST_PLAIN <= hit["score"] < _MOST_PLAIN for hit in content.get("hits", ()))


def _dumped(content: object, *, ensure_ascii: bool = True) -> bytes:
    return json.dumps(content, ensure_ascii=ensure_ascii, separators=(",", ":")).encode()


def _is_printable(text: bytes) -> bool:
    """Whether JSON holds nothing that 2026-07-28 has escaped."""
    return text.isascii() and b"\x7f" not in text
