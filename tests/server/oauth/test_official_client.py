"""The official MCP client against this server, whole: discovery, registration, consent, tools, refresh, revocation."""

from __future__ import annotations

import json
from urllib.parse import parse_qs, urlsplit

import anyio
import httpx2
import pytest
from mcp.client.auth import AuthorizationCodeResult, OAuthClientProvider, OAuthFlowError
from mcp.client.session import ClientSession
from mcp.client.streamable_http import streamable_http_client
from mcp.shared.auth import OAuthClientInformationFull, OAuthClientMetadata, OAuthToken
from pydantic import AnyUrl

from tests.server.oauth.flow import told
from tests.server.running import Running
from tests.server.web.people import Person

pytestmark = pytest.mark.journey(4)
REDIRECT = "http://localhost:3030/callback"


class Memory:
    """Where the client keeps what it got."""

    tokens: OAuthToken | None = None
    info: OAuthClientInformationFull | None = None

    async def get_tokens(self) -> OAuthToken | None:
        return self.tokens

    async def set_tokens(self, tokens: OAuthToken) -> None:
        self.tokens = tokens

    async def get_client_info(self) -> OAuthClientInformationFull | None:
        return self.info

    async def set_client_info(self, client_info: OAuthClientInformationFull) -> None:
        self.info = client_info


class Agent:
    """The client, with a person who allows or denies what its browser shows."""

    def __init__(self, server: Running, person: Person, decision: str = "allow") -> None:
        self.memory, self.visits = Memory(), 0
        self._server, self._person, self._decision = server, person, decision
        self._came: dict[str, str] = {}
        about = OAuthClientMetadata(
            client_name="Official client", redirect_uris=[AnyUrl(REDIRECT)], grant_types=["authorization_code"]
        )
        self.provider = OAuthClientProvider(server.url + "/mcp", about, self.memory, self._visit, self._come_back)

    async def _visit(self, address: str) -> None:
        self.visits += 1
        page = await anyio.to_thread.run_sync(self._person.get, address)
        assert b"Official client" in page.body, page.body
        answer = self._person.submit(page, "/oauth/consent", decision=self._decision)
        assert answer.headers["location"].startswith(REDIRECT + "?")
        self._came = told(answer)

    async def _come_back(self) -> AuthorizationCodeResult:
        if "error" in self._came:
            raise OAuthFlowError(self._came["error"])
        return AuthorizationCodeResult(code=self._came["code"], state=self._came["state"], iss=self._came["iss"])

    async def tools_and_projects(self) -> tuple[list[str], list[str]]:
        async with (
            httpx2.AsyncClient(auth=self.provider, follow_redirects=True) as http,
            streamable_http_client(self._server.url + "/mcp", http_client=http) as (reading, writing, *_),
            ClientSession(reading, writing) as session,
        ):
            await session.initialize()
            tools = [tool.name for tool in (await session.list_tools()).tools]
            result = await session.call_tool("projects_list", {})
            said = result.structured_content or {}
            return tools, [item["project"] for item in said["items"]]


def test_the_official_client_logs_in_calls_a_tool_renews_and_is_cut_off(server: Running, grace: Person) -> None:
    agent = Agent(server, grace)
    tools, projects = anyio.run(agent.tools_and_projects)
    assert "search" in tools
    assert "lighthouse" in projects
    first = agent.memory.tokens
    assert first is not None
    assert first.refresh_token is not None
    assert agent.memory.info is not None
    assert (agent.visits, first.scope) == (1, "satchel:read")

    agent.provider.context.token_expiry_time = 1.0  # long ago
    assert anyio.run(agent.tools_and_projects)[1] == projects
    renewed = agent.memory.tokens
    assert renewed is not None
    assert renewed.access_token != first.access_token
    assert agent.visits == 1  # nobody was asked again

    token = {"token": renewed.refresh_token or "", "client_id": agent.memory.info.client_id or ""}
    assert Person(server.url).post("/oauth/revoke", token).status == 200
    assert anyio.run(agent.tools_and_projects)[1] == projects  # by asking the person again
    assert agent.visits == 2


def test_the_official_client_that_is_denied_gets_nothing(server: Running, grace: Person) -> None:
    agent = Agent(server, grace, "deny")
    with pytest.raises(BaseException) as caught:  # noqa: PT011 (the client's own group of errors)
        anyio.run(agent.tools_and_projects)
    assert caught.group_contains(OAuthFlowError, match="access_denied") or "access_denied" in repr(caught.value)
    assert agent.memory.tokens is None


def test_what_the_client_sends_names_the_resource_and_proves_by_s256(
    server: Running, grace: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    agent = Agent(server, grace)
    seen: list[str] = []
    visit = agent.provider.context.redirect_handler
    assert visit is not None

    async def watched(address: str) -> None:
        seen.append(address)
        await visit(address)

    agent.provider.context.redirect_handler = watched
    anyio.run(agent.tools_and_projects)
    asked = {name: values[0] for name, values in parse_qs(urlsplit(seen[0]).query).items()}
    assert (asked["resource"], asked["code_challenge_method"]) == (server.url + "/mcp", "S256")
    assert asked["scope"] == "satchel:read"  # as the refusal of /mcp said, and no more
    assert json.dumps(asked).count("stl_") == 0
