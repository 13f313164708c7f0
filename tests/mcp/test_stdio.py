from __future__ import annotations

import io
import json
import subprocess
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import anyio
import pytest
from mcp import MCPError
from mcp.client.client import Client
from mcp.client.stdio import StdioServerParameters
from mcp_types import TextContent, TextResourceContents

from satchel.context.answers import ContextReader
from satchel.context.local import LocalReader
from satchel.errors import StoreUnavailable
from satchel.mcp import stdio
from satchel.mcp.prompts import PROMPTS
from satchel.mcp.stdio import HANDSHAKE, MAX_MESSAGE_BYTES, Session, serve
from satchel.mcp.tool import Tool
from satchel.mcp.tools import TOOLS

ENVELOPE = {
    "io.modelcontextprotocol/protocolVersion": "2026-07-28",
    "io.modelcontextprotocol/clientCapabilities": {},
}


def request(method: str, params: object = None, name: object = 1) -> bytes:
    message: dict[str, object] = {"jsonrpc": "2.0", "id": name, "method": method}
    if params is not None:
        message["params"] = params
    return json.dumps(message).encode() + b"\n"


def ask(reader: ContextReader, *lines: bytes) -> list[dict[str, Any]]:
    """What the loop says to these lines."""
    out = io.BytesIO()
    serve(reader, io.BytesIO(b"".join(lines)), out)
    return [json.loads(line) for line in out.getvalue().splitlines()]


# The official client, against a process of its own -----------------------------------------------------------------


def with_client(command: list[str], mode: str, talk: Callable[[Client], Awaitable[None]]) -> None:
    async def main() -> None:
        server = StdioServerParameters(command=command[0], args=command[1:])
        with anyio.fail_after(60):
            async with Client(server, mode=mode) as client:
                await talk(client)

    anyio.run(main)


@pytest.mark.journey(4)
@pytest.mark.promise("P2")
@pytest.mark.parametrize(
    ("mode", "version"), [("legacy", "2025-11-25"), ("auto", "2026-07-28"), ("2026-07-28", "2026-07-28")]
)
def test_the_official_client_gets_the_answers_of_the_reader(
    server_command: list[str], reader: LocalReader, mode: str, version: str
) -> None:
    async def talk(client: Client) -> None:
        assert client.protocol_version == version
        listed = await client.list_tools()
        assert [tool.name for tool in listed.tools] == [tool.name for tool in TOOLS]

        found = await client.call_tool("search", {"query": "retraction of a red warning"})
        assert not found.is_error
        assert found.structured_content == reader.search("retraction of a red warning")
        assert isinstance(found.content[0], TextContent)
        assert json.loads(found.content[0].text) == found.structured_content
        for tool in TOOLS:
            arguments = {"search": {"query": "x"}}.get(tool.name, {})
            if "path" in tool.input_schema.get("required", ()):
                arguments = {"path": "README.md"}
            assert not (await client.call_tool(tool.name, arguments)).is_error

        refused = await client.call_tool("artifacts_get", {"path": "nope.md"})
        assert refused.is_error
        assert isinstance(refused.content[0], TextContent)
        assert json.loads(refused.content[0].text)["code"] == "artifact.not_found"

        resources = (await client.list_resources()).resources
        assert [one.name for one in resources] == [item["path"] for item in reader.artifacts("lighthouse")["items"]]
        assert (await client.list_resource_templates()).resource_templates
        contents = (await client.read_resource("satchel://lighthouse/README.md")).contents[0]
        assert isinstance(contents, TextResourceContents)
        assert contents.text == reader.artifact("lighthouse", "README.md")["text"]
        prompts = (await client.list_prompts()).prompts
        assert [one.name for one in prompts] == [one.name for one in PROMPTS]
        for one in prompts:
            shown = (await client.get_prompt(one.name, {"project": "lighthouse"})).messages[0].content
            assert isinstance(shown, TextContent)
            assert "lighthouse" in shown.text
        with pytest.raises(MCPError, match="no prompt"):
            await client.get_prompt("nonsense")
        with pytest.raises(MCPError, match="no artifact"):
            await client.read_resource("satchel://lighthouse/nope.md")
        with pytest.raises(MCPError, match="no tool"):
            await client.call_tool("delete_everything", {})

    with_client(server_command, mode, talk)


@pytest.mark.promise("P1")
def test_a_whole_conversation_loads_no_network_server_or_async_module(
    server_command: list[str], tmp_path: Path
) -> None:
    said = tmp_path / "modules"
    lines = [
        request("initialize", {"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {}}),
        request("tools/list"),
        request("tools/call", {"name": "search", "arguments": {"query": "warning"}}),
        request("tools/call", {"name": "context_get"}),
        request("resources/list"),
        request("resources/read", {"uri": "satchel://lighthouse/README.md"}),
    ]
    done = subprocess.run([*server_command, str(said)], input=b"".join(lines), capture_output=True, timeout=60)
    assert done.stderr == b""
    answers = [json.loads(line) for line in done.stdout.splitlines()]
    assert len(answers) == len(lines)
    assert all("result" in answer for answer in answers)
    loaded = {name.split(".")[0] for name in said.read_text().split()}
    # Not `_socket`: typing_extensions, where it is installed, loads that for the type of a constant and no more.
    assert not loaded & {"asyncio", "socket", "ssl", "_ssl", "select", "selectors", "http", "urllib3", "anyio", "httpx"}
    assert not loaded & {"pydantic", "mcp", "starlette", "fastapi", "uvicorn", "sqlalchemy", "cryptography"}


@pytest.mark.promise("P1")
@pytest.mark.system("strace")
def test_the_server_opens_no_socket(server_command: list[str], tmp_path: Path) -> None:
    trace = tmp_path / "trace"
    lines = [request("tools/call", {"name": "search", "arguments": {"query": "warning"}}), request("resources/list")]
    traced = ["strace", "-f", "-qq", "-e", "trace=network", "-o", str(trace), *server_command]
    done = subprocess.run(traced, input=b"".join(lines), capture_output=True, timeout=60)
    assert len(done.stdout.splitlines()) == 2
    assert [line for line in trace.read_text().splitlines() if "(" in line] == []


# The loop itself -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("line", "code"),
    [
        (b"not json\n", stdio.PARSE_ERROR),
        (b"\xff\xfe\n", stdio.PARSE_ERROR),
        (b"[" * 100_000 + b"\n", stdio.PARSE_ERROR),
        (b"[]\n", stdio.INVALID_REQUEST),
        (b'"text"\n', stdio.INVALID_REQUEST),
        (b"{}\n", stdio.INVALID_REQUEST),
        (b'{"id": 1, "method": "ping"}\n', stdio.INVALID_REQUEST),
        (b'{"jsonrpc": "2.0", "id": null, "method": "ping"}\n', stdio.INVALID_REQUEST),
        (b'{"jsonrpc": "2.0", "id": true, "method": "ping"}\n', stdio.INVALID_REQUEST),
        (b'{"jsonrpc": "2.0", "id": [], "method": "ping"}\n', stdio.INVALID_REQUEST),
        (b'{"jsonrpc": "2.0", "id": 1, "method": 5}\n', stdio.INVALID_REQUEST),
        (request("nonsense"), stdio.METHOD_NOT_FOUND),
        (request("tools/call", []), stdio.INVALID_PARAMS),
        (request("tools/call", {}), stdio.INVALID_PARAMS),
        (request("tools/call", {"name": ["search"]}), stdio.INVALID_PARAMS),
        (request("resources/list", {"cursor": 5}), stdio.INVALID_PARAMS),
        (request("resources/read", {}), stdio.INVALID_PARAMS),
        (request("resources/read", {"uri": "file:///etc/passwd"}), stdio.INVALID_PARAMS),
        (request("resources/read", {"uri": "satchel://lighthouse/nope"}), stdio.RESOURCE_NOT_FOUND),
        (request("resources/read", {"uri": "satchel://lighthouse/nope", "_meta": ENVELOPE}), stdio.INVALID_PARAMS),
        (request("initialize", {}), stdio.INVALID_PARAMS),
        (request("ping", {"_meta": ENVELOPE}), stdio.METHOD_NOT_FOUND),
        (request("server/discover"), stdio.METHOD_NOT_FOUND),
        (b"x" * (MAX_MESSAGE_BYTES + 10) + b"\n", stdio.INVALID_REQUEST),
    ],
)
@pytest.mark.promise("P8")
def test_a_bad_message_is_answered_and_the_next_one_is_served(reader: LocalReader, line: bytes, code: int) -> None:
    refused, served = ask(reader, line, request("ping", name="next"))
    assert refused["error"]["code"] == code
    assert served == {"jsonrpc": "2.0", "id": "next", "result": {}}


def test_a_long_line_without_an_end_is_the_last(reader: LocalReader) -> None:
    (refused,) = ask(reader, b"x" * (2 * MAX_MESSAGE_BYTES))
    assert refused["error"]["code"] == stdio.INVALID_REQUEST


@pytest.mark.parametrize(
    "line",
    [
        b"\n",
        b'{"jsonrpc": "2.0", "method": "notifications/initialized"}\n',
        b'{"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": 9}}\n',
        b'{"jsonrpc": "2.0", "method": "nonsense"}\n',
        b'{"jsonrpc": "2.0", "id": 4, "result": {}}\n',
        b'{"jsonrpc": "2.0", "id": 4, "error": {"code": 1, "message": "x"}}\n',
    ],
)
def test_notifications_and_responses_are_not_answered(reader: LocalReader, line: bytes) -> None:
    assert len(ask(reader, line, request("ping"))) == 1


@pytest.mark.parametrize(("asked", "agreed"), [*zip(HANDSHAKE, HANDSHAKE, strict=True), ("1999-01-01", HANDSHAKE[-1])])
def test_the_handshake_agrees_on_a_version(reader: LocalReader, asked: str, agreed: str) -> None:
    (answer,) = ask(reader, request("initialize", {"protocolVersion": asked}))
    assert answer["result"]["protocolVersion"] == agreed


@pytest.mark.parametrize("envelope", [{}, {"_meta": ENVELOPE}])
def test_what_is_no_fault_of_the_client_is_not_called_wrong_parameters(
    reader: LocalReader, monkeypatch: pytest.MonkeyPatch, envelope: dict[str, object]
) -> None:
    def away() -> list[object]:
        raise StoreUnavailable("it does not answer")

    monkeypatch.setattr(reader, "projects", away)
    (answer,) = ask(reader, request("resources/list", envelope))
    assert (answer["error"]["code"], answer["error"]["data"]["code"]) == (stdio.INTERNAL_ERROR, "store.unavailable")


def test_a_modern_request_needs_a_version_that_is_served(reader: LocalReader) -> None:
    later = {**ENVELOPE, "io.modelcontextprotocol/protocolVersion": "2099-01-01"}
    (answer,) = ask(reader, request("tools/list", {"_meta": later}))
    assert answer["error"]["code"] == stdio.UNSUPPORTED_VERSION
    assert answer["error"]["data"] == {"supported": list(stdio.SUPPORTED), "requested": "2099-01-01"}
    bare = {"io.modelcontextprotocol/protocolVersion": "2026-07-28"}
    (answer,) = ask(reader, request("tools/list", {"_meta": bare}))
    assert answer["error"]["code"] == stdio.INVALID_PARAMS


def test_modern_results_say_they_are_complete_and_how_long_they_hold(reader: LocalReader) -> None:
    (answer,) = ask(reader, request("tools/list", {"_meta": ENVELOPE}))
    assert answer["result"]["resultType"] == "complete"
    assert answer["result"]["ttlMs"] > 0
    (answer,) = ask(reader, request("resources/list", {"_meta": ENVELOPE}))
    assert (answer["result"]["ttlMs"], answer["result"]["cacheScope"]) == (0, "private")
    (answer,) = ask(reader, request("tools/list", {"_meta": {"progressToken": 1}}))
    assert "resultType" not in answer["result"]


def test_a_defect_in_one_answer_leaves_the_others(reader: LocalReader, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail() -> None:
        raise RuntimeError("the secret inside")

    monkeypatch.setattr(reader, "health", fail)
    broken, served = ask(reader, request("tools/call", {"name": "health"}), request("ping"))
    assert broken["error"]["code"] == stdio.INTERNAL_ERROR
    assert "secret" not in json.dumps(broken)
    assert served["result"] == {}


def test_half_a_surrogate_pair_is_echoed_safely(reader: LocalReader) -> None:
    line = b'{"jsonrpc": "2.0", "id": "\\ud800", "method": "tools/call", "params": {"name": "\\udfff"}}\n'
    (refused,) = ask(reader, line)
    assert refused["id"] == "\ud800"


@pytest.mark.parametrize("tool", TOOLS, ids=lambda tool: tool.name)
def test_half_a_surrogate_pair_is_no_defect_in_any_argument(reader: LocalReader, tool: Tool) -> None:
    for name, schema in tool.input_schema["properties"].items():
        if schema["type"] in ("string", "array"):
            half = "\ud800 warning" if schema["type"] == "string" else ["\ud800"]
            arguments = {**dict.fromkeys(tool.input_schema.get("required", ()), "a"), name: half}
            (answer,) = ask(reader, request("tools/call", {"name": tool.name, "arguments": arguments}))
            assert answer["result"]["isError"]
            assert "half of a surrogate pair" in answer["result"]["content"][0]["text"]


def test_a_client_that_stops_reading_ends_the_server_quietly(reader: LocalReader) -> None:
    class Gone(io.BytesIO):
        def flush(self) -> None:
            raise BrokenPipeError

    serve(reader, io.BytesIO(request("ping") * 3), Gone())


def test_a_session_keeps_nothing_between_messages(reader: LocalReader) -> None:
    session = Session(reader)
    first = session.answer(request("tools/list", {"_meta": ENVELOPE}))
    session.answer(request("initialize", {"protocolVersion": "2025-11-25"}))
    assert session.answer(request("tools/list", {"_meta": ENVELOPE})) == first
