"""Writing at /mcp: one version under the name of the credential, held to everything a PUT over REST is held to."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from contextlib import closing
from typing import Any, NamedTuple

import pytest

from satchel.context.writing import Note, Put
from satchel.errors import PreconditionFailed
from satchel.mcp.tools import TOOLS, WRITING
from satchel.objects.ids import object_id
from satchel.remote import FixedToken, Remote
from satchel.remote.writing import write
from satchel.server.isolation.requests import message
from tests.mcp.test_http import _connected
from tests.server.oauth.flow import registered
from tests.server.running import Answer, Client, Running, serving, until
from tests.server.web.people import let_in, member
from tests.sync.test_secrets import some

pytestmark = pytest.mark.journey(4)


class World(NamedTuple):
    server: Running
    owner: Client
    robot: Client
    """Has a key that may write to the project `tides` alone."""
    reader: Client


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    with serving(tmp_path_factory.mktemp("writing") / "data") as server:
        owner = server.tenant("acme")
        for slug in ("tides", "other", "archived"):
            owner.post("/projects", {"slug": slug}).ok()
        owner.send("DELETE", "/projects/archived").ok()
        on_tides = [{"project": name, "role": "write"} for name in ("tides", "archived")]
        robot = owner.post("/keys", {"name": "robot", "projects": on_tides}).ok()["key"]
        reader = owner.post("/keys", {"name": "reader", "role": "read"}).ok()["key"]
        yield World(server, owner, server.client(robot), server.client(reader))


def ask(client: Client, method: str, era: str = "2026-07-28", **params: object) -> Answer:
    request = message(era, method, params)
    return client.send("POST", "/mcp", request.body, dict(request.headers))


def call(client: Client, name: str, era: str = "2026-07-28", **arguments: object) -> Any:
    """The answer of a tool, or the code of what it refused."""
    result = ask(client, "tools/call", era, name=name, arguments=arguments).ok()["result"]
    if result["isError"]:
        return json.loads(result["content"][0]["text"])["code"]
    return result["structuredContent"]


def versions(world: World, project: str = "tides") -> list[dict[str, Any]]:
    return list(world.owner.get(f"/projects/{project}/versions").ok()["items"])


@pytest.mark.promise("P7")
@pytest.mark.parametrize("era", ["2026-07-28", "2025-11-25"])
def test_a_text_is_one_version_by_the_key_that_wrote_it_however_often_it_is_sent(world: World, era: str) -> None:
    path, text = f"plans/{era}.md", "# Plan\n\nMeasure the ebb.\n"
    before = len(versions(world))
    made = call(world.robot, "artifacts_put", era, project="tides", path=path, text=text)
    newest = versions(world)[0]
    assert made == {
        "project": "tides", "path": path, "object": object_id(text.encode()), "size": len(text), "changed": True,
        "lines": None, "digest": newest["digest"], "version": before + 1, "author": "robot",
        "modified": newest["time"],
    }  # fmt: skip
    assert (newest["author"], newest["authorKind"], newest["added"]) == ("robot", "key", 1)
    again = call(world.robot, "artifacts_put", era, project="tides", path=path, text=text)
    assert again == {**made, "changed": False, "author": None, "modified": None}
    assert len(versions(world)) == before + 1
    assert world.owner.get(f"/projects/tides/artifacts/{path}").body == text.encode()
    [hit] = call(world.reader, "search", era, query=f"ebb path:{path}")["hits"]
    assert (hit["author"], hit["digest"]) == ("robot", made["digest"])


def test_what_looks_like_a_credential_is_written_only_where_a_person_allowed_it_and_the_audit_says_so(
    world: World,
) -> None:
    key, path = f"ghp_{some(36)}", "secrets/deploy.md"
    asked: dict[str, Any] = {"project": "tides", "path": path, "text": f"# Deploy\n\nUse {key} at first.\n"}
    before = len(versions(world))
    assert call(world.robot, "artifacts_put", **asked) == "secret.refused"
    assert call(world.robot, "note_append", **asked) == "secret.refused"
    context = world.robot.post("/projects/tides/context", {"description": key})
    refused = world.robot.put("tides", path, asked["text"].encode())
    assert (context.status, refused.status, refused.code) == (422, 422, "secret.refused")
    assert (refused.json["path"], refused.json["findings"]) == (path, [{"line": 3, "kind": "GitHub token"}])
    assert key not in refused.body.decode() + context.body.decode()
    assert len(versions(world)) == before

    made = call(world.robot, "artifacts_put", **asked, allowSecret=True)
    assert made["changed"]
    # What stands there already is nobody's fault who adds to it; what is new is.
    assert call(world.robot, "note_append", project="tides", path=path, text="It was changed since.")["changed"]
    assert call(world.robot, "note_append", project="tides", path=path, text=f"Now ghp_{some(36)}") == "secret.refused"
    now = world.owner.get(f"/projects/tides/artifacts/{path}")
    other = now.body + f"ghp_{some(36)}\n".encode()
    assert world.robot.put("tides", path, other, now.headers["etag"]).code == "secret.refused"
    named = {"satchel-secrets-allowed": "secrets/deploy.md"}
    assert world.robot.put("tides", path, other, now.headers["etag"], **named).status == 200
    told = [row["target"] for row in world.owner.get("/tenant/audit", action="secrets.allowed").ok()["items"]]
    assert [row.rpartition(": ")[2] for row in told] == [path, path]


@pytest.mark.promise("P3")
def test_what_somebody_changed_meanwhile_is_not_replaced(world: World) -> None:
    first = call(world.robot, "artifacts_put", project="tides", path="a.md", text="one")
    world.owner.put("tides", "a.md", b"two", match=f'"{first["object"]}"').ok()
    for replaces in ({}, {"ifMatch": first["object"]}):
        stale = call(world.robot, "artifacts_put", project="tides", path="a.md", text="three", **replaces)
        assert stale == "artifact.changed"
    now = call(world.robot, "artifacts_get", project="tides", path="a.md")
    assert now["text"] == "two"
    assert call(world.robot, "artifacts_put", project="tides", path="a.md", text="three", ifMatch=now["object"])


@pytest.mark.promise("P3")
def test_notes_of_many_agents_at_once_all_stay(world: World) -> None:
    async def all_of_them() -> None:
        async def one(number: int) -> None:
            async with _connected(world.robot, "2026-07-28") as agent:
                said = await agent.call_tool("note_append", {"project": "tides", "text": f"Note {number}."})
                assert not said.is_error, said

        await asyncio.gather(*map(one, range(6)))

    before = len(versions(world))
    asyncio.run(all_of_them())
    assert len(versions(world)) == before + 6
    again = call(world.robot, "note_append", project="tides", text="Note 0.")
    assert not again["changed"]
    text = world.owner.get(f"/projects/tides/artifacts/{again['path']}").body.decode()
    assert sorted(line for line in text.splitlines() if line.startswith("Note")) == [f"Note {n}." for n in range(6)]
    shown = call(world.robot, "artifacts_get", project="tides", path=again["path"], first=again["lines"][0])
    assert "Note 0." in shown["text"]
    assert world.owner.get("/projects/tides/artifacts").ok()["items"][0]["kind"]


def test_who_is_overtaken_is_told_what_a_tool_can_do_about_it(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Over REST it is said in words of headers, which no tool has."""

    def overtaken(*_: object, **__: object) -> None:
        raise PreconditionFailed("it changed")

    async def overtaken_here(*_: object, **__: object) -> None:
        overtaken()

    monkeypatch.setattr("satchel.server.mcpwriting.write", overtaken_here)
    monkeypatch.setattr(Remote, "put_artifact", overtaken)
    for change, words in (
        (Note("tides", "race.md", "It was."), "send the note again"),
        (Put("tides", "race.md", "It is.", None), "pass its `object` as ifMatch"),
    ):
        name = "note_append" if isinstance(change, Note) else "artifacts_put"
        asked = {"project": "tides", "path": "race.md", "text": change.text}
        result = ask(world.robot, "tools/call", name=name, arguments=asked).ok()["result"]
        said = json.loads(result["content"][0]["text"])
        assert (said["code"], words in said["hint"]) == ("artifact.changed", True)
        assert world.robot.key is not None
        remote = Remote(world.server.url, FixedToken(world.robot.key))
        with closing(remote), pytest.raises(PreconditionFailed) as refused:
            write(remote, change)
        assert words in refused.value.hint


@pytest.mark.promise("P5")
def test_who_may_read_alone_is_offered_nothing_to_write_and_told_so(world: World) -> None:
    before = versions(world)
    listed = ask(world.reader, "tools/list").ok()["result"]
    assert [tool["name"] for tool in listed["tools"]] == [tool.name for tool in TOOLS]
    assert listed["cacheScope"] == "private"
    for name, arguments in (("artifacts_put", {"path": "b.md", "text": "x"}), ("note_append", {"text": "x"})):
        assert call(world.reader, name, project="tides", **arguments) == "auth.insufficient_scope"
    assert versions(world) == before
    rows = "/tenant/audit?action=access.denied"
    until(lambda: any("insufficient_scope" in json.dumps(row) for row in world.owner.get(rows).ok()["items"]), 30)


def test_what_rest_refuses_is_refused(world: World) -> None:
    names = [tool["name"] for tool in ask(world.robot, "tools/list").ok()["result"]["tools"]]
    assert names == [tool.name for tool in (*TOOLS, *WRITING)]
    new = {"path": "b.md", "text": "x"}
    assert call(world.robot, "artifacts_put", project="other", **new) == "project.not_found"
    assert call(world.robot, "artifacts_put", project="nowhere", **new) == "project.not_found"
    assert call(world.robot, "artifacts_put", project="archived", **new) == "project.archived"
    assert call(world.robot, "artifacts_put", project="tides", path=".git/config", text="x") == "path.refused"
    assert call(world.robot, "artifacts_put", project="tides", path=".mcp.json", text="x") == "path.refused"
    assert call(world.robot, "artifacts_put", project="tides", path="b.md", text="x" * 150_001) == "request.invalid"


def test_a_quota_holds_for_agents_too(world: World) -> None:
    poor = world.server.tenant("poor")
    poor.post("/projects", {"slug": "tides"}).ok()
    world.server.admin.send("PATCH", "/admin/tenants/poor", {"quota": {"storageBytes": 10}}).ok()
    assert call(poor, "note_append", project="tides", text="x") == "quota.reached"
    assert poor.get("/projects/tides").ok()["version"] == 0


def test_a_person_who_logged_in_for_reading_can_be_asked_for_more(world: World) -> None:
    person = let_in(world.server, member(world.server, world.owner, "grace", "admin").email)
    client = registered(world.server)
    narrow = world.server.client(client.redeem(client.code(person)).ok()["access_token"])
    assert len(ask(narrow, "tools/list").ok()["result"]["tools"]) == len(TOOLS) + len(WRITING)
    arguments = {"project": "tides", "path": "by-grace.md", "text": "x"}
    for era in ("2026-07-28", "2025-11-25"):
        refused = ask(narrow, "tools/call", era, name="artifacts_put", arguments=arguments)
        assert refused.status == 403
        challenge = refused.headers["www-authenticate"]
        assert 'error="insufficient_scope", scope="satchel:read satchel:write", resource_metadata="' in challenge
        assert json.loads(refused.json["result"]["content"][0]["text"])["code"] == "auth.insufficient_scope"
    wide = client.redeem(client.code(person, scope="satchel:read satchel:write")).ok()["access_token"]
    made = call(world.server.client(wide), "artifacts_put", **arguments)
    assert (made["author"].lower(), versions(world)[0]["authorKind"]) == ("grace", "person")


@pytest.mark.promise("P2")
def test_over_the_client_of_another_satchel_it_is_the_same(world: World) -> None:
    assert world.robot.key is not None
    with closing(Remote(world.server.url, FixedToken(world.robot.key))) as remote:
        made = write(remote, Put("tides", "remote.md", "# One\n", None))
        assert made == {**call(world.robot, "artifacts_put", project="tides", path="remote.md", text="# One\n"),
                        "changed": True, "author": "robot", "modified": made["modified"]}  # fmt: skip
        with pytest.raises(PreconditionFailed):
            write(remote, Put("tides", "remote.md", "# Two\n", None))
        note = write(remote, Note("tides", "notes/remote.md", "Hello."))
        assert note["changed"]
        assert not write(remote, Note("tides", "notes/remote.md", "Hello."))["changed"]
        assert call(world.robot, "note_append", project="tides", path="notes/remote.md", text="Hello.") == {
            **note, "changed": False, "author": None, "modified": None,
        }  # fmt: skip
