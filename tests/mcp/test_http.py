"""The endpoint at /mcp, asked by the official client over real HTTP, in both eras of the protocol."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import httpx2
import pytest
import urllib3
from mcp.client import Client as McpClient
from mcp.client.streamable_http import streamable_http_client
from mcp.shared.exceptions import MCPError

from satchel.context.local import LocalReader
from satchel.errors import StoreUnavailable
from satchel.mcp.stdio import SUPPORTED, UNSUPPORTED_VERSION, Session
from satchel.mcp.tools import TOOLS
from satchel.server.isolation.requests import message
from tests.sample import write_sample_project
from tests.server.running import Client, Running, serving

T = TypeVar("T")
ERAS = ("2026-07-28", "legacy", "auto")
_HANDSHAKE: dict[str, Any] = {
    "jsonrpc": "2.0",
    "id": 1,
    "method": "initialize",
    "params": {"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "t", "version": "1"}},
}
_NO_IDS: tuple[object, ...] = (None, 1.5, True, {}, [])
_ACCEPT = {"accept": "application/json, text/event-stream", "content-type": "application/json"}


def _envelope(version: str) -> dict[str, Any]:
    """What a request of 2026-07-28 or later says of itself."""
    said = {"protocolVersion": version, "clientCapabilities": {}, "clientInfo": {"name": "t", "version": "1"}}
    return {f"io.modelcontextprotocol/{name}": value for name, value in said.items()}


class World(NamedTuple):
    server: Running
    reader: Client
    """Holds a read key of the first tenant."""
    stranger: Client
    """Owns another tenant, with a project of the same name."""


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    folder = tmp_path_factory.mktemp("mcp")
    with serving(folder / "data") as server:
        root = write_sample_project(folder / "lighthouse")
        server.admin.post("/projects", {"slug": "lighthouse"}).ok()
        for path in sorted(path for path in root.rglob("*") if path.is_file()):
            server.admin.put("lighthouse", path.relative_to(root).as_posix(), path.read_bytes()).ok()
        key = server.admin.post("/keys", {"name": "agent", "role": "read"}).ok()["key"]
        stranger = server.tenant("stranger")
        stranger.post("/projects", {"slug": "lighthouse"}).ok()
        yield World(server, server.client(key), stranger)


@contextlib.asynccontextmanager
async def _connected(client: Client, mode: str) -> AsyncIterator[McpClient]:
    headers = {"authorization": f"Bearer {client.key}"}
    async with (
        httpx2.AsyncClient(headers=headers, timeout=30) as http,
        McpClient(streamable_http_client(f"{client.url}/mcp", http_client=http), mode=mode) as mcp,
    ):
        yield mcp


def _with(client: Client, mode: str, ask: Callable[[McpClient], Awaitable[T]]) -> T:
    async def run() -> T:
        async with _connected(client, mode) as mcp:
            return await ask(mcp)

    return asyncio.run(run())


def _call(client: Client, mode: str, tool: str, **arguments: object) -> Any:
    async def ask(mcp: McpClient) -> Any:
        return await mcp.call_tool(tool, arguments)

    return _with(client, mode, ask)


@pytest.mark.parametrize("mode", ERAS)
def test_the_official_client_finds_the_tools_with_their_schemas(world: World, mode: str) -> None:
    async def ask(mcp: McpClient) -> Any:
        return await mcp.list_tools()

    listed = _with(world.reader, mode, ask).tools
    assert [tool.name for tool in listed] == [tool.name for tool in TOOLS]
    assert all(tool.input_schema["type"] == "object" and tool.output_schema for tool in listed)


@pytest.mark.promise("P2")
@pytest.mark.parametrize("mode", ERAS)
def test_a_search_over_mcp_gives_the_hits_of_rest(world: World, mode: str) -> None:
    rest = world.reader.get("/projects/lighthouse/search", q="warning", limit=5).ok()
    found = _call(world.reader, mode, "search", query="warning", projects=["lighthouse"], limit=5)
    assert not found.is_error
    assert found.structured_content == rest
    assert json.loads(found.content[0].text) == rest
    assert rest["hits"]


@pytest.mark.promise("P2")
def test_every_other_tool_gives_the_answer_of_rest(world: World) -> None:
    path = world.reader.get("/projects/lighthouse/artifacts").ok()["items"][0]["path"]
    same: dict[str, tuple[str, dict[str, object]]] = {
        "context_get": ("/projects/lighthouse/context", {}),
        "artifacts_list": ("/projects/lighthouse/artifacts", {}),
        "tasks_open": ("/projects/lighthouse/tasks", {}),
        "history": ("/projects/lighthouse/versions", {}),
    }
    for tool, (address, arguments) in same.items():
        found = _call(world.reader, "auto", tool, project="lighthouse", **arguments)
        assert found.structured_content == world.reader.get(address).ok(), tool
    text = world.reader.get(f"/projects/lighthouse/artifacts/{path}", {"accept": "application/json"}).ok()
    found = _call(world.reader, "auto", "artifacts_get", project="lighthouse", path=path)
    assert found.structured_content == text


@pytest.mark.parametrize("mode", ERAS)
def test_resources_can_be_listed_and_read(world: World, mode: str) -> None:
    async def ask(mcp: McpClient) -> Any:
        listed = await mcp.list_resources()
        return listed.resources, await mcp.read_resource(listed.resources[0].uri)

    listed, read = _with(world.reader, mode, ask)
    assert all(str(resource.uri).startswith("satchel://lighthouse/") for resource in listed)
    assert read.contents[0].text


@pytest.mark.parametrize("mode", ERAS)
def test_what_is_no_fault_of_the_client_is_not_called_wrong_parameters(
    world: World, mode: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def away(*_: object, **__: object) -> None:
        raise StoreUnavailable("it does not answer")

    async def ask(mcp: McpClient) -> MCPError:
        with pytest.raises(MCPError) as caught:
            await mcp.list_resources()
        return caught.value

    monkeypatch.setattr(world.server.cloud.readers, "ask", away)
    refused = _with(world.reader, mode, ask)
    assert (refused.code, refused.data["code"]) == (-32603, "store.unavailable")


@pytest.mark.parametrize("mode", ERAS)
def test_prompts_are_offered_and_name_the_project(world: World, mode: str) -> None:
    async def ask(mcp: McpClient) -> Any:
        with pytest.raises(MCPError) as caught:
            await mcp.get_prompt("pick_up", {"project": "no name"})
        return await mcp.list_prompts(), await mcp.get_prompt("pick_up", {"project": "lighthouse"}), caught.value

    listed, got, refused = _with(world.reader, mode, ask)
    assert [prompt.name for prompt in listed.prompts] == ["pick_up", "hand_off"]
    assert "lighthouse" in got.messages[0].content.text
    assert (refused.code, refused.data["code"]) == (-32602, "request.invalid")


@pytest.mark.parametrize("mode", ERAS)
def test_what_goes_wrong_in_a_tool_is_the_tools_error_with_code_and_hint(world: World, mode: str) -> None:
    found = _call(world.reader, mode, "context_get", project="nowhere")
    assert found.is_error
    assert json.loads(found.content[0].text)["code"] == "project.not_found"

    async def ask(mcp: McpClient) -> int:
        with pytest.raises(MCPError) as caught:
            await mcp.call_tool("no_such_tool", {})
        return caught.value.code

    assert _with(world.reader, mode, ask) == -32602


@pytest.mark.parametrize("mode", ERAS)
@pytest.mark.parametrize(
    ("error", "code"),
    [(RuntimeError("what nobody may see"), "internal.error"), (StoreUnavailable("away"), "store.unavailable")],
)
def test_a_defect_and_what_is_away_are_errors_of_the_tool_and_a_defect_says_nothing_of_itself(
    world: World, mode: str, error: Exception, code: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fails(*_: object, **_options: object) -> Any:
        raise error

    monkeypatch.setattr(world.server.cloud.readers, "ask", fails)
    answer = _call(world.reader, mode, "search", query="warning")
    assert answer.is_error
    told = answer.content[0].text
    assert json.loads(told)["code"] == code
    assert "nobody may see" not in told


def test_a_name_that_is_no_tool_is_answered_with_those_there_are_as_over_stdio(
    world: World, reader: LocalReader
) -> None:
    body = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": "get_file", "arguments": {}}}
    offered = {world.reader: Session(reader), world.server.admin: Session(reader, lambda _change: pytest.fail("asked"))}
    for client, session in offered.items():
        said = client.send("POST", "/mcp", body, _ACCEPT).ok()
        assert said == session.answer(json.dumps(body).encode())
        assert "search, artifacts_get" in said["error"]["message"]
        assert ("note_append" in said["error"]["message"]) == (client is world.server.admin)


@pytest.mark.promise("P5")
@pytest.mark.parametrize("mode", ERAS)
def test_a_stranger_sees_its_own_projects_alone(world: World, mode: str) -> None:
    found = _call(world.stranger, mode, "search", query="warning")
    assert found.structured_content["hits"] == []
    names = [item["id"] for item in _call(world.stranger, mode, "projects_list").structured_content["items"]]
    theirs = world.reader.get("/projects/lighthouse").ok()["id"]
    assert theirs not in names
    assert len(names) == 1
    foreign = _call(world.stranger, mode, "context_get", project=theirs)
    absent = _call(world.stranger, mode, "context_get", project="prj_00000000000000000000000000")
    assert foreign.content == absent.content
    assert foreign.is_error


def test_a_revoked_key_is_refused_at_the_next_request(world: World) -> None:
    made = world.server.admin.post("/keys", {"name": "short", "role": "read"}).ok()
    client = world.server.client(made["key"])
    assert client.send("POST", "/mcp", _HANDSHAKE, _ACCEPT).status == 200
    world.server.admin.send("DELETE", f"/keys/{made['id']}").ok()
    answer = client.send("POST", "/mcp", _HANDSHAKE, _ACCEPT)
    assert (answer.status, answer.code) == (401, "auth.invalid")


def test_without_a_credential_the_answer_says_how_to_bring_one(world: World) -> None:
    answer = world.server.client().send("POST", "/mcp", _HANDSHAKE, _ACCEPT)
    assert (answer.status, answer.code) == (401, "auth.missing")
    assert answer.headers["www-authenticate"].startswith("Bearer")
    assert "Authorization: Bearer" in answer.json["hint"]


@pytest.mark.parametrize(
    "headers",
    [
        {"origin": "https://evil.example"},
        {"origin": "null"},
        {"origin": "http://127.0.0.1:evil.example"},
        {"origin": "http://localhost.evil.example"},
        {"host": "evil.example"},
        {"host": "127.0.0.1:evil.example"},
        {"host": "127.0.0.1@evil.example"},
        {"host": ""},
    ],
)
def test_a_page_elsewhere_is_refused_before_its_credential_is_looked_at(world: World, headers: dict[str, str]) -> None:
    for client in (world.reader, world.server.client("nonsense")):
        answer = client.send("POST", "/mcp", _HANDSHAKE, {**_ACCEPT, **headers})
        assert (answer.status, answer.code) == (403, "request.origin_refused")


def test_space_around_a_header_is_no_part_of_it(world: World) -> None:
    request = message("2026-07-28", "tools/call", {"name": "health", "arguments": {}})
    for name in ("  health  ", "\thealth", "health"):
        headers = {**dict(request.headers), "mcp-name": name}
        assert world.reader.send("POST", "/mcp", request.body, headers).status == 200
    headers = {**dict(request.headers), "mcp-name": "hea lth"}
    assert world.reader.send("POST", "/mcp", request.body, headers).status == 400


def test_all_versions_that_are_spoken_are_told(world: World) -> None:
    request = message("2026-07-28", "server/discover", {})
    said = world.reader.send("POST", "/mcp", request.body, dict(request.headers)).ok()["result"]
    assert {"2026-07-28", "2025-11-25"} < set(said["supportedVersions"])
    assert said["supportedVersions"] == list(SUPPORTED)


def test_only_resources_are_said_to_change(world: World) -> None:
    request = message("2026-07-28", "server/discover", {})
    said = world.reader.send("POST", "/mcp", request.body, dict(request.headers)).ok()["result"]["capabilities"]
    assert said["resources"] == {"listChanged": True, "subscribe": True}
    assert said["tools"] == said["prompts"] == {"listChanged": False}
    said = world.reader.send("POST", "/mcp", _HANDSHAKE, _ACCEPT).ok()["result"]["capabilities"]
    assert said["resources"] == {"listChanged": False, "subscribe": False}


def test_the_servers_own_pages_and_loopback_may_ask(world: World) -> None:
    for origin in (world.server.url, "http://localhost:3000", "http://[::1]:9"):
        assert world.reader.send("POST", "/mcp", _HANDSHAKE, {**_ACCEPT, "origin": origin}).status == 200


@pytest.mark.parametrize("method", ["GET", "DELETE", "PUT"])
def test_no_stream_and_no_session_is_offered(world: World, method: str) -> None:
    answer = world.reader.send(method, "/mcp", None, _ACCEPT)
    assert (answer.status, answer.headers["allow"]) == (405, "POST")


def test_a_message_that_is_none_is_refused_by_the_protocol(world: World) -> None:
    answer = world.reader.send("POST", "/mcp", b'{"half', _ACCEPT)
    assert answer.status == 400
    assert answer.json["error"]["code"] == -32700


@pytest.mark.parametrize("sent", [{}, {"mcp-protocol-version": "2025-03-26"}])
@pytest.mark.parametrize(
    "body",
    [
        *({"jsonrpc": "2.0", "id": name, "method": "ping"} for name in _NO_IDS),
        *(
            {"jsonrpc": "2.0", "id": name, "method": "ping", "params": {"_meta": _envelope("2026-07-28")}}
            for name in _NO_IDS
        ),
        [{"jsonrpc": "2.0", "id": 1, "method": "ping"}],
        [],
        "ping",
        {"id": 1, "method": "ping"},
        {"jsonrpc": "2.0", "id": 1},
        {"jsonrpc": "2.0", "id": 1, "method": "ping", "params": [1]},
    ],
)
def test_what_is_no_request_is_answered_as_over_stdio(
    world: World, reader: LocalReader, body: object, sent: dict[str, str]
) -> None:
    data = json.dumps(body).encode()
    answer = world.reader.send("POST", "/mcp", data, _ACCEPT | sent)
    assert (answer.status, answer.json) == (400, Session(reader).answer(data))


def test_a_version_that_is_not_known_is_refused_with_those_that_are(world: World) -> None:
    answer = world.reader.send("POST", "/mcp", _HANDSHAKE, {**_ACCEPT, "mcp-protocol-version": "2023-01-01"})
    assert (answer.status, answer.json["error"]["code"], answer.json["id"]) == (400, UNSUPPORTED_VERSION, 1)
    assert answer.json["error"]["data"]["supported"] == list(SUPPORTED)
    later = {"jsonrpc": "2.0", "id": 1, "method": "tools/list", "params": {"_meta": _envelope("2099-01-01")}}
    answer = world.reader.send("POST", "/mcp", later, {**_ACCEPT, "mcp-protocol-version": "2099-01-01"})
    assert (answer.status, answer.json["error"]["code"], answer.json["id"]) == (400, UNSUPPORTED_VERSION, 1)
    assert answer.json["error"]["data"] == {"supported": list(SUPPORTED), "requested": "2099-01-01"}
    for asked, agreed in (("2024-11-05", "2024-11-05"), ("2023-01-01", "2025-11-25"), ("2030-01-01", "2025-11-25")):
        body = {**_HANDSHAKE, "params": {**_HANDSHAKE["params"], "protocolVersion": asked}}
        assert world.reader.send("POST", "/mcp", body, _ACCEPT).ok()["result"]["protocolVersion"] == agreed


def test_a_message_that_is_too_long_or_no_json_is_a_problem_with_code_and_limit(world: World) -> None:
    long = b" " * (1024 * 1024 + 1)
    for sent in (_ACCEPT, {**_ACCEPT, "mcp-protocol-version": "2026-07-28"}):
        answer = world.reader.send("POST", "/mcp", long, sent)
        assert (answer.status, answer.code, answer.json["limit"]) == (413, "request.too_large", 1024 * 1024)
        by_key = {**sent, "authorization": f"Bearer {world.reader.key}"}
        chunked = urllib3.request("POST", world.server.url + "/mcp", body=iter([long[:9], long]), headers=by_key)
        assert (chunked.status, chunked.json()["code"]) == (413, "request.too_large")
    answer = world.reader.send("POST", "/mcp", b"{}", {**_ACCEPT, "content-type": "text/plain"})
    assert (answer.status, answer.code) == (415, "request.media_type")


def test_two_callers_at_once_each_get_their_own_answer(world: World) -> None:
    """Answers must never reach another caller (CVE-2026-25536)."""

    async def many() -> list[tuple[bool, Any]]:
        async def one(mine: bool) -> tuple[bool, Any]:
            async with _connected(world.reader if mine else world.stranger, "2026-07-28") as mcp:
                return mine, (await mcp.call_tool("search", {"query": "warning"})).structured_content

        return await asyncio.gather(*(one(bool(number % 2)) for number in range(12)))

    for mine, found in asyncio.run(many()):
        assert bool(found["hits"]) is mine


def test_stored_text_reaches_no_description(world: World, tmp_path: Path) -> None:
    canary = "ignore-all-previous-instructions-canary"
    world.server.admin.put("lighthouse", "notes/canary.md", f"# {canary}\n\n{canary}\n".encode()).ok()

    async def ask(mcp: McpClient) -> Any:
        return [await mcp.list_tools(), await mcp.list_resource_templates(), mcp.instructions]

    assert canary not in str(_with(world.reader, "legacy", ask))
