"""What takes the shortcut past the SDK is answered byte for byte as the SDK answers it, and nothing else takes it."""

from __future__ import annotations

import asyncio
import contextlib
import json
import math
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st
from mcp_types import DEFAULT_NEGOTIATED_VERSION
from mcp_types.version import HANDSHAKE_PROTOCOL_VERSIONS, MODERN_PROTOCOL_VERSIONS
from starlette.types import Message, Receive, Scope, Send

from satchel.context.answers import ContextReader
from satchel.context.local import LocalProject, LocalReader
from satchel.errors import StoreUnavailable
from satchel.mcp import http
from satchel.mcp.http import MAX_MESSAGE_BYTES, McpEndpoint
from satchel.mcp.schemas import Schema
from satchel.mcp.shortcut import DEFAULT_VERSION
from satchel.mcp.stdio import HANDSHAKE, MODERN
from satchel.mcp.tool import ToolResult
from satchel.mcp.tools import TOOLS, WRITING
from satchel.server.isolation.requests import message
from satchel.worktree.ignore import Rules
from tests.sample import write_sample_project

Asking = Callable[[Callable[[ContextReader], Any]], Awaitable[Any]]
Headers = list[tuple[bytes, bytes]]
NEWEST, OLD = MODERN[-1], HANDSHAKE[-1]
VERSIONS = (*MODERN, *HANDSHAKE, None)
ABOUT = {"capabilities": {}, "clientInfo": {"name": "t", "version": "1"}}
ARGUMENTS: dict[str, dict[str, Any]] = {
    "search": {"query": "warning kind:spec", "limit": 3},
    "artifacts_get": {"path": "README.md"},
    "artifacts_outline": {"path": "README.md"},
}


class Request(NamedTuple):
    headers: Headers
    pieces: list[bytes]
    """The body as it comes; after an empty last piece nothing comes any more."""


class Case(NamedTuple):
    """How two endpoints are asked."""

    ask: Asking
    offers: bool = False
    status: str | None = None


class Seen(NamedTuple):
    status: int | None
    headers: tuple[tuple[bytes, bytes], ...]
    body: bytes
    raised: str | None


def asked(version: str | None, method: str, params: Mapping[str, object] | None = None, name: object = 1) -> Request:
    """A request as a client of that version sends it; ``None`` names no version."""
    made = message(version or OLD, method, params or {})
    body = json.loads(made.body or b"") | {"id": name}
    headers = [(k.encode(), v.encode()) for k, v in made.headers if version or k != "mcp-protocol-version"]
    return Request(headers, [json.dumps(body).encode()])


def call(version: str | None, tool: str, arguments: object = None, **more: object) -> Request:
    given = {} if arguments is None else {"arguments": arguments}
    return asked(version, "tools/call", {"name": tool, **given, **more})


@pytest.fixture(scope="module")
def reader(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalReader]:
    root, own = write_sample_project(tmp_path_factory.mktemp("lighthouse")), tmp_path_factory.mktemp("own")
    (root / "odd.md").write_text('# Ödd \x7f 😀\n\ntab\there \\ "quoted" \x1f line\u2028end {"a": 1e-7}\n')
    made = LocalReader([LocalProject("lighthouse", "prj_l" + "0" * 25, root, Rules(), own / "s.db", own / "i.db")])
    yield made
    made.close()


@pytest.fixture
def case(reader: LocalReader) -> Case:
    return Case(asking(reader))


def asking(reader: LocalReader) -> Asking:
    async def ask(question: Callable[[ContextReader], Any]) -> Any:
        return question(reader)

    return ask


class Counting(McpEndpoint):
    """Counts how often the SDK is asked."""

    by_sdk = 0

    @contextlib.asynccontextmanager
    async def running(self) -> Any:
        async with super().running():
            manager = self._manager
            assert manager is not None
            handle = manager.handle_request

            async def counted(scope: Scope, receive: Receive, send: Send) -> None:
                self.by_sdk += 1
                await handle(scope, receive, send)

            manager.handle_request = counted  # type: ignore[method-assign]
            yield


async def answered(endpoint: McpEndpoint, case: Case, request: Request) -> Seen:
    scope: Scope = {
        "type": "http", "method": "POST", "path": "/mcp", "query_string": b"", "headers": list(request.headers),
        http.ASK: case.ask, http.OFFERS_WRITING: case.offers, http.CACHE_STATUS: lambda: case.status,
        http.WRITE: None, http.LISTEN: None,
    }  # fmt: skip
    coming: list[Message] = [{"type": "http.request", "body": piece, "more_body": True} for piece in request.pieces]
    if request.pieces[-1]:
        coming[-1]["more_body"] = False
    sent: list[Message] = []

    async def receive() -> Message:
        return coming.pop(0) if coming else {"type": "http.disconnect"}

    async def send(one: Message) -> None:
        sent.append(one)

    raised = None
    try:
        await endpoint(scope, receive, send)
    except Exception as error:  # noqa: BLE001
        raised = type(error).__name__
    start = sent[0] if sent else {}
    body = b"".join(one.get("body", b"") for one in sent[1:])
    return Seen(start.get("status"), tuple(start.get("headers", ())), body, raised)


async def both(case: Case, requests: Sequence[Request]) -> list[tuple[Seen, bool]]:
    """The answers to all requests, which are the same as those of the SDK alone, and whether they took the shortcut."""
    ours, theirs = Counting("1.0"), McpEndpoint("1.0")
    theirs.short = frozenset()
    found = []
    async with ours.running(), theirs.running():
        for request in requests:
            before = ours.by_sdk
            seen = await answered(ours, case, request)
            assert seen == await answered(theirs, case, request), request
            found.append((seen, ours.by_sdk == before))
    return found


def alike(case: Case, *requests: Request) -> list[tuple[Seen, bool]]:
    return asyncio.run(both(case, requests))


def test_the_versions_are_those_of_the_sdk() -> None:
    assert (list(HANDSHAKE), list(MODERN)) == (list(HANDSHAKE_PROTOCOL_VERSIONS), list(MODERN_PROTOCOL_VERSIONS))
    assert DEFAULT_VERSION == DEFAULT_NEGOTIATED_VERSION


@pytest.mark.parametrize("status", [None, "satchel; hit; detail=store-down"])
@pytest.mark.parametrize("version", VERSIONS)
def test_every_tool_that_reads_is_answered_as_by_the_sdk(case: Case, version: str | None, status: str | None) -> None:
    requests = [call(version, tool.name, ARGUMENTS.get(tool.name, {})) for tool in TOOLS]
    found = alike(case._replace(status=status), *requests)
    short = {tool.name for tool, (seen, took) in zip(TOOLS, found, strict=True) if took and seen.status == 200}
    # What a context.json holds is not known.
    assert short == {tool.name for tool in TOOLS} - {"context_get"}


@pytest.mark.parametrize("version", VERSIONS)
def test_hostile_texts_are_written_as_by_the_sdk(case: Case, version: str | None) -> None:
    queries = ["", "none such", "Ödd", "\x7f", '\x1f\t\\"', "line\u2028", "😀", "\ud83d", "a" * 20_000, "kind:nope"]
    requests = [call(version, "search", {"query": query}) for query in queries]
    requests += [call(version, "artifacts_get", {"path": path}) for path in ("odd.md", "Ö\x00", "../x", "no/\x7f.md")]
    raw = call(version, "search", {"query": "MARK"})
    for bad in (b"\xed\xa0\x80", b"\xff", b"\\ud800", b"\\u0000", b"\x00"):
        requests.append(raw._replace(pieces=[raw.pieces[0].replace(b"MARK", bad)]))
    found = alike(case, *requests)
    assert sum(took for _, took in found) >= 11


def test_all_characters_are_written_as_by_the_sdk(case: Case) -> None:
    every = "".join(chr(n) for n in range(0x3000) if n) + "".join(chr(n) for n in range(0xDF00, 0x10400) if n > 0xDFFF)

    class Said:
        def artifact(self, *given: object, **named: object) -> dict[str, Any]:
            return {"text": every, "odd": list(every), every: None}

    async def ask(question: Callable[[Any], Any]) -> Any:
        return question(Said())

    requests = [call(version, "artifacts_get", {"path": "a", "project": "b"}) for version in VERSIONS]
    assert all(took for _, took in alike(Case(ask), *requests))


@pytest.mark.parametrize("score", [0.0, 1e-6, 9.9e-5, 1e-4, 0.1, 1.234567, 123456.789, 1e15, 1e16, 1e22, -1.5, 7])
def test_scores_are_written_as_by_the_sdk(score: float) -> None:
    async def ask(question: object) -> Any:
        return ToolResult({"hits": [{"score": 1.5}, {"score": score, "title": "Ö"}]}, is_error=False)

    requests = [call(version, "search", {"query": "a"}) for version in (NEWEST, OLD)]
    assert all(took for _, took in alike(Case(ask), *requests))


def test_only_the_scores_of_hits_are_no_whole_numbers() -> None:
    def numbers(schema: Schema, place: str) -> Iterator[str]:
        if schema.get("type") == "number":
            yield place
        for name, inner in schema.get("properties", {}).items():
            yield from numbers(inner, f"{place}.{name}")
        for name in ("items", "additionalProperties"):
            if name in schema and isinstance(schema[name], dict):
                yield from numbers(schema[name], f"{place}.{name}")
        for inner in schema.get("anyOf", ()):
            yield from numbers(inner, place)

    assert [place for tool in TOOLS for place in numbers(tool.output_schema, tool.name)] == ["search.hits.items.score"]


@pytest.mark.parametrize("offers", [False, True])
@pytest.mark.parametrize("version", VERSIONS)
def test_what_is_always_the_same_is_answered_by_the_sdk_once(case: Case, version: str | None, offers: bool) -> None:
    requests = [asked(version, "tools/list", {}, name) for name in (1, "1", 2**40, 'a"\\b', -7)]
    found = alike(case._replace(offers=offers), *requests)
    assert [took for _, took in found] == [False, True, True, True, True]
    said = json.loads(found[-1][0].body)["result"]["tools"]
    assert [tool["name"] for tool in said] == [tool.name for tool in (*TOOLS, *(WRITING if offers else ()))]


def test_a_list_with_tools_that_write_is_not_shown_to_who_may_only_read(case: Case) -> None:
    async def run() -> list[Seen]:
        endpoint = McpEndpoint("1.0")
        async with endpoint.running():
            return [
                await answered(endpoint, case._replace(offers=offers), asked(NEWEST, "tools/list"))
                for offers in (True, False, True, False)
            ]

    first, second, third, fourth = asyncio.run(run())
    assert (first, second) == (third, fourth)
    assert b"note_append" in first.body
    assert b"note_append" not in second.body


def test_handshakes_are_answered_by_the_version_they_ask_for(case: Case) -> None:
    versions = (*HANDSHAKE, "1999-01-01", NEWEST)
    requests = [
        asked(header, "initialize", {"protocolVersion": version, **ABOUT})
        for header in (None, OLD)
        for version in versions
        for _ in range(2)
    ]
    found = alike(case, *requests)
    assert sum(took for _, took in found) == 2 * len(HANDSHAKE)
    discovered = alike(case, asked(NEWEST, "server/discover"), asked(NEWEST, "server/discover", {}, "again"))
    assert [took for _, took in discovered] == [False, True]


META = {
    "progressToken": 7,
    "claudecode/toolUseId": "toolu_1",
    "traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
}


@pytest.mark.parametrize("version", [NEWEST, OLD])
def test_what_clients_say_beside_is_taken(case: Case, version: str) -> None:
    request = call(version, "health", {})
    body = json.loads(request.pieces[0])
    body["params"]["_meta"] = {**body["params"].get("_meta", {}), **META}
    assert alike(case, request._replace(pieces=[json.dumps(body).encode()]))[0][1]


def _without(name: bytes, *instead: bytes) -> Callable[[Headers], Headers]:
    return lambda headers: [(k, v) for k, v in headers if k != name] + [(name, value) for value in instead]


ODD_HEADERS = {
    "no type": _without(b"content-type"),
    "other type": _without(b"content-type", b"text/plain"),
    "longer type": _without(b"content-type", b"application/json; charset=utf-8"),
    "almost the type": _without(b"content-type", b"application/jsonp"),
    "loud type": _without(b"content-type", b"Application/JSON"),
    "two types": _without(b"content-type", b"application/json", b"text/plain"),
    "accepts nothing": _without(b"accept"),
    "accepts streams": _without(b"accept", b"text/event-stream"),
    "accepts JSON alone": _without(b"accept", b"application/json"),
    "accepts in another order": _without(b"accept", b"text/event-stream,application/json"),
    "accepts all": _without(b"accept", b"*/*"),
    "accepts with weight": _without(b"accept", b"application/json;q=0.5, text/event-stream"),
    "accepts what looks like it": _without(b"accept", b"application/jsonx"),
    "unknown version": _without(b"mcp-protocol-version", b"2031-01-01"),
    "empty version": _without(b"mcp-protocol-version", b""),
    "odd version": _without(b"mcp-protocol-version", b"\xe9"),
    "two versions": _without(b"mcp-protocol-version", NEWEST.encode(), OLD.encode()),
    "the other era": _without(b"mcp-protocol-version", OLD.encode()),
    "the new era": _without(b"mcp-protocol-version", NEWEST.encode()),
    "no method": _without(b"mcp-method"),
    "other method": _without(b"mcp-method", b"tools/list"),
    "two methods": _without(b"mcp-method", b"tools/call", b"tools/call"),
    "no name": _without(b"mcp-name"),
    "other name": _without(b"mcp-name", b"health"),
    "two names": _without(b"mcp-name", b"search", b"health"),
    "coded name": _without(b"mcp-name", b"=?base64?c2VhcmNo?="),
    "a parameter": _without(b"mcp-param-query", b"warning"),
    "a session": _without(b"mcp-session-id", b"abc"),
    "an event": _without(b"last-event-id", b"abc"),
    "too long": _without(b"content-length", str(MAX_MESSAGE_BYTES + 1).encode()),
    "odd length": _without(b"content-length", b"+5"),
}


@pytest.mark.parametrize("version", [NEWEST, OLD, None])
def test_odd_headers_are_judged_by_the_sdk(case: Case, version: str | None) -> None:
    request = call(version, "search", {"query": "warning"})
    found = alike(case, *(request._replace(headers=change(request.headers)) for change in ODD_HEADERS.values()))
    short = {name for name, (_, took) in zip(ODD_HEADERS, found, strict=True) if took}
    if version == NEWEST:
        plainly = {"accepts JSON alone", "accepts in another order", "the new era", "a session", "an event"}
        # Of a version that is not spoken the SDK would not tell all that are.
        assert short == plainly | {"unknown version", "empty version", "odd version"}


def _each(name: str, *values: object) -> list[tuple[str, object]]:
    return [(name, value) for value in values]


PARAMS = [
    *_each("name", "none", "", None, 5, "context_get", "note_append", "artifacts_put", "Search"),
    *_each("arguments", None, [], "x", {}, {"query": 5}, {"query": "a", "odd": 1}, {"limit": 1e30}),
    *_each("arguments", *({"query": "a", "limit": limit} for limit in (0, 1.0, True, 10**30, "1"))),
    *_each("_meta", None, [], {}, "x"),
    ("task", {"ttl": 5}), ("inputResponses", {}), ("requestState", "x"), ("cursor", "x"), ("meta", {}),
]  # fmt: skip
_KEY = "io.modelcontextprotocol/"
METAS = [
    *_each(f"{_KEY}protocolVersion", "gone", None, 5, OLD, NEWEST, "2031-01-01"),
    *_each(f"{_KEY}clientCapabilities", "gone", None, [], {"sampling": 5}, {"odd": {}}),
    *_each(f"{_KEY}clientInfo", "gone", None, {}, {"name": 5}, {"name": "x", "version": "1"}),
    *_each(f"{_KEY}logLevel", "debug", 5),
    *_each("progressToken", None, [], 1.5, True, "x", math.pi),
    *_each("odd", {"a": [1]}),
]


def odd_bodies(version: str | None) -> Iterator[bytes]:
    """Bodies that are not as they should be."""
    whole = json.loads(call(version, "search", {"query": "warning"}).pieces[0])
    for _, name in _each("id", None, True, 1.0, 1.5, [], {}, "", "é", "\n", 2**53, 2**70, -(2**53)):
        yield json.dumps({**whole, "id": name}).encode()
    for jsonrpc in ("1.0", 2.0, None, ["2.0"]):
        yield json.dumps({**whole, "jsonrpc": jsonrpc}).encode()
    for method in ("tools/cal", "ping", "prompts/list", "", None, 1, "resources/list", "initialize", "subscriptions/x"):
        yield json.dumps({**whole, "method": method}).encode()
    for gone in whole:
        yield json.dumps({k: v for k, v in whole.items() if k != gone}).encode()
    for _, params in _each("params", None, [], "x", {}, {"name": "search"}, {"name": "health"}):
        yield json.dumps({**whole, "params": params}).encode()
    for name, value in PARAMS:
        yield json.dumps({**whole, "params": {**whole["params"], name: value}}).encode()
    meta = whole["params"].get("_meta", {})
    for name, value in METAS:
        changed = {k: v for k, v in {**meta, name: value}.items() if v != "gone"}
        yield json.dumps({**whole, "params": {**whole["params"], "_meta": changed}}).encode()
    yield json.dumps({**whole, "more": 1}).encode()
    yield json.dumps({**whole, "result": {}}).encode()
    yield json.dumps({**whole, "error": {"code": 1, "message": "x"}}).encode()
    good = json.dumps(whole)
    yield from (f"[{good}]".encode(), f"[{good},{good}]".encode(), f"{good}{good}".encode(), f" {good}\n".encode())
    yield from (good.encode("utf-16"), good.encode("utf-8-sig"), good.encode()[:-1], b"", b"null", b"1", b'"x"', b"{}")
    yield good.replace('"id": 1', '"id": 1, "id": 2').encode()
    yield good.replace('"warning"', "NaN").encode()
    yield good.replace('"warning"', "1" * 5_000).encode()
    yield good.replace('"warning"', "[" * 300 + "]" * 300).encode()
    yield good.replace('"warning"', "[" * 100_000 + "]" * 100_000).encode()
    yield good.replace('"warning"', '"\t"').encode()


@pytest.mark.parametrize("version", [NEWEST, OLD, None])
def test_odd_bodies_are_judged_by_the_sdk(case: Case, version: str | None) -> None:
    request = call(version, "search", {"query": "warning"})
    found = alike(case, *(request._replace(pieces=[body]) for body in odd_bodies(version) if body))
    assert any(seen.status != 200 for seen, _ in found)


@pytest.mark.parametrize("version", [NEWEST, OLD])
def test_a_body_in_pieces_a_broken_one_and_one_too_long_are_as_to_the_sdk(case: Case, version: str) -> None:
    request = call(version, "search", {"query": "warning"})
    body = request.pieces[0]
    long = b" " * MAX_MESSAGE_BYTES
    shapes = [[body[:5], body[5:9], body[9:]], [body, b""], [body[:9], b""], [long, body], [long + body], [body + long]]
    found = alike(case, *(request._replace(pieces=pieces) for pieces in shapes))
    assert [took for _, took in found] == [True, *[False] * 5]
    assert [seen.status for seen, _ in found][3:] == [413, 413, 413]


@pytest.mark.parametrize("error", [StoreUnavailable("away"), RuntimeError("a defect"), MemoryError()])
@pytest.mark.parametrize("version", [NEWEST, OLD])
def test_what_fails_is_told_by_the_sdk_and_not_asked_again(
    caplog: pytest.LogCaptureFixture, version: str, error: Exception
) -> None:
    times = 0

    async def ask(question: object) -> Any:
        nonlocal times
        times += 1
        raise error

    alike(Case(ask), call(version, "search", {"query": "a"}))
    assert times == 2  # once by each


@pytest.mark.parametrize("version", [NEWEST, OLD])
def test_a_call_that_is_cancelled_ends(version: str) -> None:
    async def run(endpoint: McpEndpoint) -> None:
        begun = asyncio.Event()

        async def ask(question: object) -> Any:
            begun.set()
            await asyncio.Event().wait()

        async with endpoint.running():
            asking = asyncio.create_task(answered(endpoint, Case(ask), call(version, "search", {"query": "a"})))
            await begun.wait()
            asking.cancel()
            with pytest.raises(asyncio.CancelledError):
                await asking

    asyncio.run(run(McpEndpoint("1.0")))


_LEAVES = st.none() | st.booleans() | st.integers(-5, 5) | st.floats(allow_nan=False) | st.text(max_size=5)
_JSON = st.recursive(
    _LEAVES, lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=3), inner, max_size=2)
)


@pytest.fixture(scope="module")
def module_case(reader: LocalReader) -> Case:
    return Case(asking(reader))


@given(
    st.sampled_from([NEWEST, OLD, None]),
    st.sampled_from(["tools/call", "tools/list", "initialize", "server/discover"]),
    st.lists(st.tuples(st.integers(0, 30), _JSON, st.sampled_from(["put", "drop", "add"])), min_size=1, max_size=2),
)
def test_whatever_is_changed_the_answer_is_the_sdks(
    module_case: Case, version: str | None, method: str, changes: list[tuple[int, object, str]]
) -> None:
    params = {"tools/call": {"name": "health", "arguments": {}}, "initialize": {"protocolVersion": OLD, **ABOUT}}
    request = asked(version, method, params.get(method, {}))
    body = json.loads(request.pieces[0])
    for number, value, how in changes:
        places = list(_places(body))
        where, key = places[number % len(places)]
        if how == "put":
            where[key] = value
        elif how == "add":
            where[str(value)] = value
        else:
            where.pop(key, None)
        if not body:
            return
    alike(module_case, request._replace(pieces=[json.dumps(body).encode()]))


def _places(node: dict[str, Any]) -> Iterator[tuple[dict[str, Any], str]]:
    for key, value in node.items():
        yield node, key
        if isinstance(value, dict):
            yield from _places(value)
