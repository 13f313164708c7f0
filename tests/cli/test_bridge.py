"""``satchel mcp --remote URL`` against a real server of ours: it logs in as any MCP client does, once, and renews."""

from __future__ import annotations

import io
import json
import queue
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from satchel.cli import bridge
from satchel.cli.credentials import Credential, Credentials
from satchel.cli.face import Face
from satchel.errors import ServerAway
from satchel.remote.discovery import Challenge
from satchel.remote.oauth import LoginRefused
from tests.journeys.conftest import SATCHEL, Person
from tests.server.running import Running, serving, until
from tests.server.web.people import PASSWORD

pytestmark = pytest.mark.system
BROWSER = Path(__file__).with_name("consenting.py")
CALLS: list[dict[str, Any]] = [
    {"jsonrpc": "2.0", "id": 1, "method": "initialize",
     "params": {"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "t", "version": "1"}}},
    {"jsonrpc": "2.0", "method": "notifications/initialized"},
    {"jsonrpc": "2.0", "id": "two", "method": "tools/call",
     "params": {"name": "search", "arguments": {"query": "how often does it turn"}}},
]  # fmt: skip


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    with serving(tmp_path_factory.mktemp("bridge") / "data") as running:
        person = {"email": "sam@example.org", "name": "Sam", "password": PASSWORD, "tenantRole": "admin"}
        running.admin.post("/members", person).ok(201)
        running.admin.post("/projects", {"slug": "lighthouse"}).ok(201)
        running.admin.put("lighthouse", "docs/lamp.md", b"# The lamp\n\nIt turns twice a minute.\n").ok()
        yield running


@pytest.fixture
def sam(tmp_path: Path) -> Person:
    person = Person(tmp_path, "sam")
    person.env |= {"BROWSER": f"{sys.executable} {BROWSER} %s", "CONSENTING": f"sam@example.org {PASSWORD}"}
    return person


def talk(person: Person, url: str, *more: str, env: dict[str, str] | None = None) -> tuple[dict[Any, Any], str]:
    """The answers by the id of what was asked, and what was said beside them."""
    stdin = "".join(json.dumps(call) + "\n" for call in CALLS) + "".join(line + "\n" for line in more)
    done = person.run("mcp", "--remote", url, stdin=stdin, env=env)
    said = [json.loads(line) for line in done.stdout.splitlines()]
    return {each["id"]: each for each in said}, done.stderr


def kept(person: Person) -> Credentials:
    return Credentials(person.home / "config/satchel/credentials.json")


def test_an_agent_that_cannot_log_in_is_logged_in_once_and_renewed_by_itself(server: Running, sam: Person) -> None:
    url = f"{server.url}/mcp"
    said, beside = talk(sam, url, "not json", json.dumps([1]))
    assert said[1]["result"]["serverInfo"]["name"] == "satchel"
    assert said["two"]["result"]["structuredContent"]["hits"][0]["path"] == "docs/lamp.md"
    assert said[None]["error"]["code"] == -32600  # the later of the two that were no messages
    assert beside.count("asks you to log in") == 1
    file = sam.home / "config/satchel/credentials.json"
    assert file.stat().st_mode & 0o777 == 0o600
    first = kept(sam).get(f"mcp:{url}")
    assert first is not None
    assert first.access is not None
    assert first.login is not None
    assert (first.login["issuer"], first.login["scope"]) == (server.url, "satchel:read")
    assert not {first.access, first.refresh} & set(beside.split())

    # No browser any more: what is kept is used, and renewed when the server does not take it.
    alone = {"BROWSER": "false"}
    said, beside = talk(sam, url, env=alone)
    assert (said["two"]["result"]["isError"], beside) == (False, "")
    kept(sam).put(f"mcp:{url}", first._replace(access="of.an.hour-ago"))
    words = [[*SATCHEL, "mcp", "--remote", url]] * 2  # two agents at once
    text = "".join(json.dumps(call) + "\n" for call in CALLS)
    both = [
        subprocess.Popen(
            each, env=sam.env | alone, cwd=sam.folder, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        for each in words
    ]
    for each in both:
        assert '"isError":false' in each.communicate(text, timeout=60)[0]
    second = kept(sam).get(f"mcp:{url}")
    assert second is not None
    assert second.access not in ("of.an.hour-ago", first.access)
    assert second.refresh != first.refresh

    # `logout` ends it on the server as well, and a login that nobody allows is no end of the conversation.
    gone = json.loads(sam.run("logout", "--url", url, "--json").stdout)
    assert (gone["forgotten"], gone["revoked"]) == (True, True)
    kept(sam).put(f"mcp:{url}", second._replace(access="of.an.hour-ago"))
    said, _ = talk(sam, url, env={"DECISION": "deny"})
    refused = said["two"]["error"]["data"]
    assert (refused["code"], "satchel login" in refused["hint"]) == ("auth.login_refused", False)


def test_a_server_that_is_away_or_no_server_is_an_answer_to_the_agent(server: Running, sam: Person) -> None:
    for url, code in (("http://127.0.0.1:9/mcp", "remote.away"), (f"{server.url}/nothing", "resource.not_found")):
        said, _ = talk(sam, url)
        assert said[1]["error"]["data"]["code"] == code
    sam.run("mcp", "--remote", "http://192.0.2.1/mcp", status=5)  # in clear to another machine
    sam.run("mcp", "--remote", "file:///etc/passwd", status=2)
    sam.run("mcp", f"{server.url}/mcp", status=2)
    sam.run("mcp", "--client-id", "x", status=2)
    sam.run("mcp", "--remote", f"{server.url}/mcp", "--client-secret-file", "nowhere", status=2)


def test_an_agent_that_gives_up_listening_is_told_no_more_and_leaves_its_place(server: Running, sam: Person) -> None:
    url = f"{server.url}/mcp"
    kept(sam).put(f"mcp:{url}", Credential(access=server.admin.key, login={"issuer": server.url}))
    meta = {"io.modelcontextprotocol/protocolVersion": "2026-07-28", "io.modelcontextprotocol/clientCapabilities": {}}
    bridged = subprocess.Popen(
        [*SATCHEL, "mcp", "--remote", url], env=sam.env, cwd=sam.folder, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )

    def say(method: str, params: dict[str, Any], **more: object) -> None:
        assert bridged.stdin is not None
        bridged.stdin.write(json.dumps({"jsonrpc": "2.0", "method": method, "params": params, **more}).encode() + b"\n")
        bridged.stdin.flush()

    def heard() -> Any:
        assert bridged.stdout is not None
        return json.loads(bridged.stdout.readline())

    say("subscriptions/listen", {"notifications": {"resourcesListChanged": True}, "_meta": meta}, id="ear")
    assert heard()["method"] == "notifications/subscriptions/acknowledged"
    assert server.cloud.listeners.all == 1
    say("notifications/cancelled", {"requestId": "ear"})
    until(lambda: server.cloud.listeners.all == 0)
    server.admin.put("lighthouse", "docs/horn.md", b"# The horn\n").ok()
    say("tools/call", {"name": "health", "_meta": meta}, id=2)
    assert heard()["id"] == 2  # no word of the list, and no answer to what was given up
    assert bridged.communicate(timeout=60)[0] == b""


def test_an_agent_whose_stream_of_changes_breaks_is_told_to_listen_again() -> None:
    class Broken:
        def send(self, *_: object) -> None:
            raise ServerAway("the connection broke off")

    def listened(method: str) -> Any:
        said: queue.Queue[bytes] = queue.Queue()
        asked = json.dumps({"jsonrpc": "2.0", "id": 1, "method": method}).encode() + b"\n"
        out = SimpleNamespace(write=said.put, flush=bool)
        bridge._Bridge(cast(Any, Broken()), cast(Any, out)).run(io.BytesIO(asked))
        return json.loads(said.get(timeout=30))["error"]["data"]

    assert "Listen again" in listened("subscriptions/listen")["hint"]
    assert listened("tools/list") == {"code": "remote.away", "hint": ServerAway.default_hint}


def test_what_the_bridge_keeps_is_no_server_signed_in_to(tmp_path: Path) -> None:
    stored = Credentials(tmp_path / "credentials.json")
    stored.put("mcp:https://a.example/mcp", Credential(access="a", login={"issuer": "https://a.example"}))
    stored.put("https://b.example", Credential(key="k"))
    assert stored.urls() == ["https://b.example"]
    assert stored.get("https://a.example/mcp") is None


def test_a_person_who_says_no_is_asked_once_for_all_who_wait(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked, came = list[int](), threading.Semaphore(0)

    def refuses(*_: object, **__: object) -> None:
        asked.append(1)
        for _number in range(4):
            assert came.acquire(timeout=60)
        raise LoginRefused("the login was not allowed")

    def one(number: int) -> str:
        came.release()
        with pytest.raises(LoginRefused) as refused:
            tokens.another(None, 401, Challenge(None, None, None))
        return refused.value.message

    face = SimpleNamespace(machine=SimpleNamespace(config_dir=tmp_path), tell=lambda _: None)
    monkeypatch.setattr(bridge, "find", lambda *_: SimpleNamespace(issuer="https://as.example"))
    monkeypatch.setattr(bridge, "McpLogin", lambda *_, **__: None)
    monkeypatch.setattr(bridge, "by_browser", refuses)
    tokens = bridge.BridgeTokens(cast(Face, face), "https://mcp.example/mcp", None, None)
    # A clock that goes on when a person is asked: all four came before the no, whenever they are let run.
    monkeypatch.setattr(bridge, "time", SimpleNamespace(monotonic=lambda: float(len(asked))))
    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(one, range(4))) == ["the login was not allowed"] * 4
    assert len(asked) == 1
