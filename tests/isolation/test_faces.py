"""What is another tenant's and what never was look the same through the client and through tools over it, too (P5)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing
from functools import partial

import pytest

from satchel.errors import SatchelError
from satchel.mcp.tools import TOOLS, WRITING, call
from satchel.remote import FixedToken, Remote
from satchel.remote.writing import write
from satchel.server.isolation import tools
from satchel.server.isolation.expectations import Needs, Target
from satchel.server.isolation.requests import filled
from satchel.server.isolation.tools import Asked
from satchel.server.isolation.world import World
from tests.isolation.conftest import world_of
from tests.server.running import Running

pytestmark = pytest.mark.promise("P5")
HEX = "0" * 64
QUESTIONS: dict[str, Callable[[Remote, str], object]] = {
    "project": lambda r, p: r.project(p),
    "head": lambda r, p: r.head(p),
    "changes": lambda r, p: r.changes(p, 0, None),
    "context": lambda r, p: r.context(p),
    "artifacts": lambda r, p: r.artifacts(p),
    "artifact": lambda r, p: r.artifact(p, "docs/a.md"),
    "artifact bytes": lambda r, p: r.artifact_bytes(p, "docs/a.md"),
    "search": lambda r, p: r.search("everywhere", projects=[p]),
    "search of two": lambda r, p: r.search("everywhere", projects=[p, p]),
    "tasks": lambda r, p: r.tasks(p),
    "history": lambda r, p: r.history(p),
    "damaged": lambda r, p: r.damaged(p),
    "objects": lambda r, p: list(r.read_objects(p, [])),
    "sync": lambda r, p: r.sync(p, [b"x"], 10, "once"),
    "give back": lambda r, p: r.give_back(p, [b"x"], 10),
    "change": lambda r, p: r.call("PATCH", f"/projects/{p}", json={"description": "d"}),
}


@pytest.fixture(scope="module")
def world(server: Running) -> Iterator[World]:
    yield from world_of(server)


@pytest.fixture(params=["tenant admin", "read", "no grant"])
def remote(server: Running, world: World, request: pytest.FixtureRequest) -> Iterator[Remote]:
    with closing(Remote(server.url, FixedToken(world.keys[request.param]))) as one:
        yield one


def told(ask: Callable[[Remote, str], object], remote: Remote, project: str) -> tuple[object, ...]:
    with pytest.raises(SatchelError) as refused:
        ask(remote, project)
    error = refused.value
    facts = {name: value for name, value in error.facts.items() if name != "request_id"}
    return type(error), error.code, error.message, error.hint, facts


@pytest.mark.parametrize("question", QUESTIONS)
def test_the_client_cannot_tell_what_is_anothers_from_what_never_was(
    world: World, remote: Remote, question: str
) -> None:
    absent = world.things[Target.ABSENT]
    wanted = told(QUESTIONS[question], remote, absent["id"])
    assert wanted[1] == "project.not_found"
    foreign = world.things[Target.OTHER_TENANT]
    for project in (absent["slug"], foreign["id"], foreign["slug"]):
        assert told(QUESTIONS[question], remote, project) == wanted


def test_tools_over_the_client_cannot_either(world: World, remote: Remote) -> None:
    """The handlers that stdio serves, asked of a hosted reader."""
    rows = [row for row in tools.OPERATIONS if isinstance(row.body, Asked) and row.body.method == "tools/call"]
    assert {row.name.removeprefix("MCP ") for row in rows} == {tool.name for tool in (*TOOLS, *WRITING)}
    for row in rows:
        if row.needs not in (Needs.READ, Needs.WRITE):
            continue
        assert isinstance(row.body, Asked)
        found = []
        for target in (Target.ABSENT, Target.OTHER_TENANT):
            for kind in ("id", "slug"):
                place = {"p": world.things[target][kind], "path": "docs/a.md", "who": "me", "fresh": "new"}
                arguments = filled(row.body.params["arguments"], place)
                found.append(call(remote, str(row.body.params["name"]), arguments, partial(write, remote)))
        assert found[0].is_error
        assert found[0].content["code"] == "project.not_found"
        assert all(result == found[0] for result in found), row.name
