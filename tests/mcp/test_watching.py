"""What changes in a folder is told to the client that wants to know, and to nobody else."""

from __future__ import annotations

import io
import json
import os
import queue
import threading
from pathlib import Path
from typing import Any

import anyio
import pytest
from mcp.client.client import Client
from mcp.client.stdio import StdioServerParameters
from mcp.shared.subscriptions import ResourcesListChanged, ResourceUpdated

from satchel.context.local import LocalReader
from satchel.errors import ServerAway
from satchel.mcp import stdio
from satchel.mcp.stdio import Session
from satchel.mcp.watching import MAX_SUBSCRIPTIONS, MAX_WATCHED
from tests.mcp.test_stdio import ENVELOPE, request

README = "satchel://lighthouse/README.md"
GONE = "satchel://lighthouse/to-come.md"


def listen(session: Session, name: object, **wanted: object) -> dict[str, Any]:
    params = {"_meta": ENVELOPE, "notifications": wanted}
    said = session.answer(request("subscriptions/listen", params, name))
    assert said is not None
    return said


def told(session: Session) -> list[tuple[str, object, object]]:
    """Method, subscription and resource of what is told now."""
    found = []
    for message in session.look():
        params = message.get("params", {})
        name = params.get("_meta", {}).get("io.modelcontextprotocol/subscriptionId")
        found.append((message["method"].removeprefix("notifications/resources/"), name, params.get("uri")))
    return found


def test_each_subscription_is_told_what_it_asked_for(reader: LocalReader, sample_project: Path) -> None:
    session = Session(reader)
    assert not session.watches
    assert listen(session, "one", resourceSubscriptions=[README, GONE]) == {
        "jsonrpc": "2.0",
        "method": "notifications/subscriptions/acknowledged",
        "params": {
            "notifications": {"resourceSubscriptions": [README, GONE]},
            "_meta": {"io.modelcontextprotocol/subscriptionId": "one"},
        },
    }
    asked = {"resourcesListChanged": True, "toolsListChanged": True, "promptsListChanged": True}
    said = listen(session, 2, **asked)
    assert said["params"]["notifications"] == {"resourcesListChanged": True}
    assert told(session) == []
    (sample_project / "README.md").write_text("# Other\n")
    assert ("updated", "one", README) in told(session)
    (sample_project / "README.md").write_text("# Another\n")
    assert told(session) == [("updated", "one", README)]
    (sample_project / "to-come.md").write_text("# Come\n")
    assert sorted(told(session), key=str) == [("list_changed", 2, None), ("updated", "one", GONE)]
    session.answer(b'{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":"one"}}\n')
    (sample_project / "to-come.md").unlink()
    assert told(session) == [("list_changed", 2, None)]
    [last] = session.ended()
    assert (last["id"], last["result"]["resultType"]) == (2, "complete")


def test_a_subscription_that_begins_takes_nothing_from_the_others(reader: LocalReader, sample_project: Path) -> None:
    session = Session(reader)
    listen(session, 1, resourceSubscriptions=[README])
    (sample_project / "README.md").write_text("# Other\n")
    listen(session, 2, resourceSubscriptions=[README])
    assert ("updated", 1, README) in told(session)


def test_a_client_of_the_handshake_subscribes_one_by_one(reader: LocalReader, sample_project: Path) -> None:
    session = Session(reader)
    for uri in (README, GONE):
        assert session.answer(request("resources/subscribe", {"uri": uri})) == {"jsonrpc": "2.0", "id": 1, "result": {}}
    session.answer(request("resources/unsubscribe", {"uri": README}))
    (sample_project / "README.md").write_text("# Other\n")
    assert told(session) == []
    session.answer(request("resources/list"))
    (sample_project / "to-come.md").write_text("# Come\n")
    assert sorted(told(session), key=str) == [("list_changed", None, None), ("updated", None, GONE)]
    assert session.ended() == []


@pytest.mark.promise("P8")
@pytest.mark.parametrize(
    "wanted",
    [
        {"resourceSubscriptions": ["file:///etc/passwd"]},
        {"resourceSubscriptions": "satchel://a/b"},
        {"resourceSubscriptions": [f"satchel://a/{n}" for n in range(MAX_WATCHED + 1)]},
    ],
)
def test_what_cannot_be_watched_is_refused(reader: LocalReader, wanted: dict[str, object]) -> None:
    session = Session(reader)
    assert listen(session, 1, **wanted)["error"]["code"] == stdio.INVALID_PARAMS
    for name in range(MAX_SUBSCRIPTIONS):
        assert "method" in listen(session, name)
    assert "subscriptions already" in listen(session, "more")["error"]["message"]


class Pipe(io.RawIOBase):
    """Hands on what a client writes, line by line."""

    def __init__(self) -> None:
        self.lines: queue.Queue[bytes] = queue.Queue()

    def readline(self, _most: int | None = -1, /) -> bytes:
        return self.lines.get(timeout=30)

    def write(self, data: Any, /) -> int:
        for line in bytes(data).splitlines(keepends=True):
            self.lines.put(line)
        return len(data)


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stdio, "LOOK_SECONDS", 0.01)
    monkeypatch.setattr(stdio, "LOOK_SHARE", 1)


def test_a_server_that_is_away_changed_nothing_and_leaves_no_subscription_that_was_refused(
    reader: LocalReader, sample_project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def away(*_: object, **__: object) -> None:
        raise ServerAway("nobody answers")

    session = Session(reader)
    with monkeypatch.context() as patch:
        patch.setattr(reader, "projects", away)
        assert listen(session, "early", resourcesListChanged=True)["error"]["data"]["code"] == "remote.away"
    assert not session.watches
    assert session.ended() == []
    listen(session, "one", resourcesListChanged=True, resourceSubscriptions=[README])
    with monkeypatch.context() as patch:
        patch.setattr(reader, "projects", away)
        assert "error" in listen(session, "one", resourcesListChanged=True)
    (sample_project / "more.md").write_text("# More\n")
    for question in ("artifact", "artifacts"):
        with monkeypatch.context() as patch:
            patch.setattr(reader, question, away)
            assert told(session) == []
    assert told(session) == [("list_changed", "one", None)]
    (sample_project / "README.md").write_text("# Other\n")
    assert ("updated", "one", README) in told(session)


def test_the_loop_tells_by_itself_and_answers_at_the_end(
    quick: None, reader: LocalReader, sample_project: Path
) -> None:
    to_server, to_client = Pipe(), Pipe()
    loop = threading.Thread(target=stdio.serve, args=(reader, to_server, to_client))
    loop.start()
    params = {"_meta": ENVELOPE, "notifications": {"resourceSubscriptions": [README]}}
    to_server.write(request("subscriptions/listen", params, "me"))
    assert b"acknowledged" in to_client.readline()
    (sample_project / "README.md").write_text("# Other\n")
    assert json.loads(to_client.readline())["params"]["uri"] == README
    to_server.write(request("ping"))
    assert json.loads(to_client.readline())["result"] == {}
    to_server.lines.put(b"")
    assert json.loads(to_client.readline())["id"] == "me"
    loop.join(30)
    assert not loop.is_alive()


def test_the_official_client_hears_of_changes(server_command: list[str], sample_project: Path) -> None:
    hurried = server_command[2].replace(
        "from pathlib", "import satchel.mcp.stdio as s; s.LOOK_SECONDS = 0.05\nfrom pathlib"
    )
    command = [*server_command[:2], hurried, *server_command[3:]]

    async def main() -> None:
        server = StdioServerParameters(command=command[0], args=command[1:], env=dict(os.environ))
        with anyio.fail_after(60):
            async with (
                Client(server, mode="2026-07-28") as client,
                client.listen(resources_list_changed=True, resource_subscriptions=[README]) as events,
            ):
                (sample_project / "README.md").write_text("# Other\n")
                (sample_project / "new.md").write_text("# New\n")
                heard = set()
                async for event in events:
                    heard.add(type(event))
                    if heard == {ResourcesListChanged, ResourceUpdated}:
                        break

    anyio.run(main)
