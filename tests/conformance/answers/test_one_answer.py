"""One question has one answer: the command line, stdio MCP, REST, remote MCP and both Python readers are asked the same
on a synced copy, and whole answers are compared (promise P2)."""

from __future__ import annotations

import contextlib
import io
import json
import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import pytest

from satchel.cli.folders import local_project
from satchel.cli.main import run
from satchel.context.answers import ContextReader
from satchel.context.local import LocalReader
from satchel.objects.ids import object_id
from satchel.objects.reviews import REVIEWED_PATH, Review, write_reviews
from satchel.remote import Remote
from tests.cli.conftest import RECOMPILING, SATCHEL
from tests.conformance.answers.corpus import write_corpus
from tests.conformance.answers.questions import MISSPELT, QUESTIONS
from tests.server.running import Client, serving

Answer = dict[str, Any]
LIMIT = 20
_META = {
    "io.modelcontextprotocol/protocolVersion": "2026-07-28",
    "io.modelcontextprotocol/clientCapabilities": {},
    "io.modelcontextprotocol/clientInfo": {"name": "conformance", "version": "1"},
}
_NAMES = ("HOME", "XDG_CONFIG_HOME", "XDG_STATE_HOME", "XDG_CACHE_HOME", "XDG_DATA_HOME")


class Tool(Protocol):
    def __call__(self, name: str, arguments: Answer, *, fails: bool = False) -> Answer: ...


class World(NamedTuple):
    folder: Path
    home: Path
    client: Client
    """Holds a read key."""
    local: LocalReader
    remote: Remote
    stdio: Tool
    version: int

    def cli(self, *words: str) -> Answer:
        """The command line in this process, as it would be in one of its own."""
        with pytest.MonkeyPatch.context() as patch:
            _move_in(patch, self.home)
            return _cli(self.folder, *words)

    def mcp(self, name: str, arguments: Answer, *, fails: bool = False) -> Answer:
        """A tool of the endpoint at /mcp."""
        headers = {
            "accept": "application/json, text/event-stream",
            "mcp-protocol-version": "2026-07-28",
            "mcp-method": "tools/call",
            "mcp-name": name,
        }
        said = self.client.send("POST", "/mcp", _call(name, arguments), headers).ok()
        return _content(said["result"], fails=fails)


def _call(name: str, arguments: Answer, number: int = 1) -> Answer:
    params = {"name": name, "arguments": arguments, "_meta": _META}
    return {"jsonrpc": "2.0", "id": number, "method": "tools/call", "params": params}


def _content(result: Answer, *, fails: bool) -> Answer:
    """What a tool came to: its answer, or its error where it ``fails``."""
    assert result["isError"] == fails, result
    return dict(json.loads(result["content"][0]["text"]) if fails else result["structuredContent"])


def _move_in(patch: pytest.MonkeyPatch, home: Path) -> None:
    for name in _NAMES:
        patch.setenv(name, str(home if name == "HOME" else home / name.lower()))


def _cli(folder: Path, *words: str, status: int = 0) -> Answer:
    at = words.index("--") if "--" in words else len(words)
    out, err = io.StringIO(), io.StringIO()
    with contextlib.chdir("."), contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        ended = run([*words[:at], "-C", str(folder), *words[at:]])
    assert ended == status, (words, ended, out.getvalue(), err.getvalue())
    if "--json" not in words:
        return {}
    said = out.getvalue()  # lines of the server's log, which runs in this process, may stand around it
    return dict(json.JSONDecoder().raw_decode(said, said.index("{\n"))[0])


@contextlib.contextmanager
def _stdio(folder: Path) -> Iterator[Tool]:
    """`satchel mcp` in a process of its own."""
    env = {name: value for name, value in os.environ.items() if name != RECOMPILING}
    with subprocess.Popen(
        [*SATCHEL, "mcp"], cwd=folder, env=env, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        stdin, stdout = process.stdin, process.stdout
        assert stdin is not None
        assert stdout is not None

        def call(name: str, arguments: Answer, *, fails: bool = False) -> Answer:
            stdin.write(json.dumps(_call(name, arguments)).encode() + b"\n")
            stdin.flush()
            return _content(json.loads(stdout.readline())["result"], fails=fails)

        yield call
        stdin.close()


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """Three versions by two authors, and a folder in step with the last."""
    place = tmp_path_factory.mktemp("answers")
    folder, home = write_corpus(place / "harbour"), place / "home"
    home.mkdir()
    with contextlib.ExitStack() as stack:
        patch = stack.enter_context(pytest.MonkeyPatch.context())
        _move_in(patch, home)
        server = stack.enter_context(serving(place / "data"))
        owner = server.admin.post("/keys", {"name": "owner", "role": "admin"}).ok()["key"]
        (place / "key").write_text(owner)
        _cli(folder, "login", server.url, "--key-file", str(place / "key"))
        _cli(folder, "init", "--name", "harbour")
        _cli(folder, "remote", "add", server.url)
        _cli(folder, "sync")
        robot = server.client(server.admin.post("/keys", {"name": "robot", "role": "write"}).ok()["key"])
        robot.put("harbour", "notes/robot.md", b"# Robot\n\nThe robot measures the tide at dawn.\n").ok()
        looked_at = ("README.md", "runbooks/rollback.md", "plans/plan-00.md", "chart.bin")
        lists = write_reviews(
            b"# seen\n", [Review(path, object_id((folder / path).read_bytes())) for path in looked_at]
        )
        invited = server.admin.post("/invitations", {"tenantRole": "admin"}).ok()["url"]
        tess = {"invitation": invited, "email": "tess@example.org", "password": "correct horse battery"}
        person = server.client(server.client().post("/auth/join", tess).ok()["accessToken"])
        person.put("harbour", REVIEWED_PATH, lists).ok()
        (folder / "plans/plan-00.md").write_text("# Plan 0\n\nThe harbour master opens the lock gate late.\n")
        (folder / "proposals/03.md").unlink()
        _cli(folder, "sync")
        version = _cli(folder, "status", "--json")["version"]
        key = server.admin.post("/keys", {"name": "reader", "role": "read"}).ok()["key"]
        local = LocalReader([local_project(folder)])
        stack.callback(local.close)
        remote = Remote(server.url, _Key(key))
        stack.callback(remote.close)
        stdio = stack.enter_context(_stdio(folder))
        yield World(folder, home, server.client(key), local, remote, stdio, version)


class _Key:
    """Gives the reader's key as a credential."""

    def __init__(self, key: str) -> None:
        self._key = key

    def token(self) -> str:
        return self._key

    def renew(self, refused: str | None, exchange: object) -> None:
        return None


@pytest.mark.promise("P2")
def test_every_route_gives_the_whole_of_one_answer(world: World) -> None:
    assert len(QUESTIONS) >= 100
    found = 0
    for number, question in enumerate(QUESTIONS):
        answer: Answer = dict(world.local.search(question, projects=["harbour"], limit=LIMIT))
        asked = {"query": question, "limit": LIMIT}
        routes = {
            "cli": world.cli("search", "--json", "-n", str(LIMIT), "--", question),
            "stdio": world.stdio("search", asked),
            "mcp": world.mcp("search", {**asked, "projects": ["harbour"]}),
        }
        if number % 3 == 0 and len(question) < 2_000:  # three ways into the same route, by turns
            routes["get"] = world.client.get("/projects/harbour/search", q=question, limit=LIMIT).ok()
        elif number % 3 == 1:
            routes["remote reader"] = dict(world.remote.search(question, projects=["harbour"], limit=LIMIT))
        else:
            routes["post"] = world.client.post("/search", {**asked, "projects": ["harbour"]}).ok()
        for name, other in routes.items():
            assert other == answer, (name, question[:100])
        assert all(project["history"] == "complete" for project in answer["projects"])
        assert all(hit["version"] and hit["author"] and hit["modified"] for hit in answer["hits"])
        found += bool(answer["hits"])
    assert found > len(QUESTIONS) // 2


@pytest.mark.promise("P2")
def test_the_other_questions_have_one_answer_too(world: World) -> None:
    """Context within budgets, lists, tasks, text by lines, section and budget, outlines; page by page."""
    readers: tuple[ContextReader, ContextReader] = (world.local, world.remote)
    paths = [item["path"] for item in world.local.artifacts("harbour", limit=1_000)["items"]]
    questions: list[Callable[[ContextReader], Any]] = [
        lambda r: r.context("harbour"),
        lambda r: r.context("harbour", budget=2_000),
        lambda r: r.context("harbour", tokens=700),
        lambda r: r.artifacts("harbour", kind="plan", limit=3),
        lambda r: r.artifacts("harbour", kind="runbooks"),
        lambda r: r.artifacts("harbour", prefix="specs/", cursor="path:specs/dispatcher.md"),
        lambda r: r.artifacts("harbour", text="ROLL"),
        lambda r: r.tasks("harbour", limit=2),
        lambda r: r.tasks("harbour", done=True),
        lambda r: r.artifact("harbour", "runbooks/rollback.md", section="Rollback > steps"),
        lambda r: r.artifact("harbour", "data/minified.json", budget=100, cursor="1:200"),
        lambda r: r.artifact("harbour", "chart.bin"),
        lambda r: r.search("tide", projects=["harbour"], offset=7, limit=5),
        lambda r: r.search("tide", projects=["harbour"], at=str(world.version)),
        *(lambda r, path=path: r.artifact("harbour", path, tokens=40) for path in paths),
        *(lambda r, path=path: r.outline("harbour", path, limit=2) for path in paths),
    ]
    for place, ask in enumerate(questions):
        here, there = (ask(reader) for reader in readers)
        assert here == there, place
    whole = world.cli("context", "--json")
    assert whole == world.client.get("/projects/harbour/context").ok() == world.mcp("context_get", {})
    assert whole == world.stdio("context_get", {})
    outline = world.cli("outline", "runbooks/rollback.md", "--json")
    assert outline["reviewed"]
    assert outline == world.client.get("/projects/harbour/outlines/runbooks/rollback.md").ok()
    assert world.cli("tasks", "--json") == world.mcp("tasks_open", {}) == world.stdio("tasks_open", {})


def test_what_was_meant_is_found_in_scripts_without_spaces_and_with_accents(world: World) -> None:
    assert world.local.search("数据库的迁移计划怎么批准")["hits"][0]["path"] == "notes/languages.md"
    for question in ("cafe\u0301", "FRÜH", "灯台の記録", "อนุมัติ"):
        assert [hit["path"] for hit in world.local.search(question)["hits"]] == ["notes/languages.md"], question


def test_history_narrows_by_author_and_time(world: World) -> None:
    def paths(question: str) -> list[str]:
        return [hit["path"] for hit in world.local.search(question)["hits"]]

    assert paths("author:robot") == ["notes/robot.md"]
    assert paths("-author:owner") == ["notes/robot.md"]
    assert paths("since:2199") == []
    newest = world.local.search("", limit=3)
    assert [hit["path"] for hit in newest["hits"]][:2] == ["plans/plan-00.md", "notes/robot.md"]
    assert newest["hits"][0]["version"] == world.version
    assert newest["total"] > 50


def test_what_a_person_reviewed_is_told_until_somebody_edits_it(world: World) -> None:
    found = {hit["path"] for hit in world.local.search("reviewed:yes", limit=50)["hits"]}
    assert found == {"README.md", "runbooks/rollback.md"}
    assert {item["path"] for item in world.local.artifacts("harbour")["items"] if item["reviewed"]} == {
        *found,
        "chart.bin",
    }
    before = world.remote.artifact("harbour", "plans/plan-00.md", at=world.version - 1)
    assert before["reviewed"]
    assert not world.remote.artifact("harbour", "plans/plan-00.md")["reviewed"]


def test_near_words_are_suggested_where_nothing_is_found(world: World) -> None:
    told = {word: world.local.search(word)["suggestions"] for word in MISSPELT}
    assert told["crnae"] == ["crane"]
    assert told["dispather"] == ["dispatcher"]
    assert told["shcedule"] == ["schedule"]
    assert told["zzzzzzzz"] == []
    assert told["tidde table"] == []  # something was found


@pytest.mark.promise("P2")
@pytest.mark.parametrize(
    ("tool", "arguments", "address", "words"),
    [
        ("artifacts_list", {"kind": "novel"}, "/projects/harbour/artifacts?kind=novel", None),
        *(
            (tool, {"path": path}, f"/projects/harbour/{place}/{path}", (verb, path))
            for path in ("rollback", "decisions/0017-TWO-channels.md", "notes", "harbour/README.md", "zeppelin.md")
            for tool, place, verb in (
                ("artifacts_get", "artifacts", "get"),
                ("artifacts_outline", "outlines", "outline"),
            )
        ),
    ],
)
def test_every_route_refuses_alike_and_says_what_to_do(
    world: World, tool: str, arguments: Answer, address: str, words: tuple[str, ...] | None
) -> None:
    rest, raw = (world.client.get(address, headers={"accept": accept}).json for accept in ("application/json", "*/*"))
    said = {name: rest[name] for name in ("code", "hint")} | {"message": rest["detail"]}
    assert {**raw, "requestId": None} == {**rest, "requestId": None}
    assert world.stdio(tool, arguments, fails=True) == world.mcp(tool, arguments, fails=True) == said
    if words is not None:
        with pytest.MonkeyPatch.context() as patch:
            _move_in(patch, world.home)
            told = _cli(world.folder, *words, "--remote", "--json", status=1)["error"]
        assert {name: told[name] for name in said} == said
