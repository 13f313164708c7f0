"""Journey 4: access context from a remote agent, over REST and MCP."""

from __future__ import annotations

import asyncio
from typing import Any
from urllib.parse import quote

import pytest

from tests.journeys.conftest import SATCHEL, Person, Server

pytestmark = [pytest.mark.system, pytest.mark.journey(4)]
QUESTIONS = ("red warning", "who retracts a warning", "kind:decision channels", '"duty officer"', "retry -radio", "zzz")


async def ask(server: Any, questions: tuple[str, ...], mode: str) -> list[dict[str, Any]]:
    from mcp.client import Client

    async with Client(server, mode=mode) as client:
        found = [await client.call_tool("search", {"query": question}) for question in questions]
    assert not any(result.is_error for result in found)
    return [dict(result.structured_content or {}) for result in found]


async def over_http(url: str, key: str, questions: tuple[str, ...], mode: str) -> list[dict[str, Any]]:
    from mcp.client.streamable_http import streamable_http_client
    from mcp.shared._httpx_utils import create_mcp_http_client

    async with create_mcp_http_client({"authorization": f"Bearer {key}"}) as http:
        return await ask(streamable_http_client(f"{url}/mcp", http_client=http), questions, mode)


def over_stdio(person: Person, questions: tuple[str, ...]) -> list[dict[str, Any]]:
    from mcp import StdioServerParameters

    command, *arguments = SATCHEL
    server = StdioServerParameters(command=command, args=[*arguments, "mcp"], cwd=str(person.folder), env=person.env)
    return asyncio.run(ask(server, questions, "auto"))


@pytest.mark.promise("P2")
def test_one_question_has_one_answer_by_every_road(server: Server, sam: Person) -> None:
    sam.joins(server)
    sam.run("sync", "--to-cloud")
    (sam.folder / "notes/later.md").write_text("# Later\n\nA warning written later.\n")
    sam.run("sync")
    key = sam.json("key", "create", "agent", "--project", "demo:read")["key"]
    env = {"SATCHEL_KEY": key, "SATCHEL_URL": server.url}
    roads: dict[str, list[dict[str, Any]]] = {
        "stdio": over_stdio(sam, QUESTIONS),
        "remote": [sam.json("search", "--remote", question, env=env) for question in QUESTIONS],
        "get": [server.http("GET", f"/projects/demo/search?q={quote(q)}", key).body for q in QUESTIONS],
        "post": [server.http("POST", "/search", key, {"query": question}).body for question in QUESTIONS],
        "mcp": asyncio.run(over_http(server.url, key, QUESTIONS, "auto")),
        "mcp legacy": asyncio.run(over_http(server.url, key, QUESTIONS, "legacy")),
    }
    local = [sam.json("search", question) for question in QUESTIONS]
    assert [bool(answer["hits"]) for answer in local] == [True] * 5 + [False]
    for road, answers in roads.items():
        assert answers == local, road
    assert {hit["version"] for answer in local for hit in answer["hits"]} == {1, 2}


@pytest.mark.promise("P2")
def test_reading_tasks_and_context_are_the_same_here_and_there(server: Server, sam: Person) -> None:
    sam.joins(server)
    sam.run("sync", "--to-cloud")
    for words in (["tasks"], ["tasks", "--done"], ["context"], ["get", "specs/warnings.md"], ["get", "tasks.md:6-8"]):
        assert sam.json(*words) == sam.json(*words, "--remote"), words


def test_a_folder_that_changed_since_says_so_by_its_digest(server: Server, sam: Person) -> None:
    sam.joins(server)
    sam.run("sync", "--to-cloud")
    (sam.folder / "README.md").write_text("# Other\n")
    here, there = (sam.json("search", "warning", *words)["projects"][0] for words in ([], ["--remote"]))
    assert here["digest"] != there["digest"]
    assert (here["version"], there["version"]) == (None, 1)


def test_an_agent_without_a_key_is_told_how_to_sign_in(server: Server) -> None:
    message = {"jsonrpc": "2.0", "id": 1, "method": "tools/list"}
    reply = server.http("POST", "/../../mcp", None, message)
    assert reply.status in (401, 404)
