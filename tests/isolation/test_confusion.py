"""No tenant is taken for another by header, path, query, body, spelling, cursor, ETag or idempotency key (P5)."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator

import pytest

from satchel.remote.raw import RawServer, Reply
from satchel.server.isolation import confusion
from satchel.server.isolation.asking import Asking
from satchel.server.isolation.expectations import Target
from satchel.server.isolation.requests import Request, decoded
from satchel.server.isolation.world import World
from tests.isolation.conftest import world_of
from tests.server.running import Running

pytestmark = pytest.mark.promise("P5")
WAYS = ("header", "path", "spelling", "query", "body", "MCP", "ETag", "cursor")


@pytest.fixture(scope="module")
def world(server: Running) -> Iterator[World]:
    """Over real HTTP: what the parser of requests makes of them counts here."""
    for made in world_of(server):
        door = RawServer(server.url)
        made.asking = Asking(door)
        yield made
        door.close()


@pytest.mark.parametrize("way", WAYS)
def test_no_attempt_to_be_taken_for_another_tenant_works(world: World, way: str) -> None:
    found = [attempt for attempt in confusion.attempts(world) if attempt.name.startswith(way)]
    assert found
    assert [str(worked) for attempt in found if (worked := confusion.tried(world, attempt))] == []


def test_every_attempt_is_tried_above(world: World) -> None:
    names = [attempt.name for attempt in confusion.attempts(world)]
    assert [name for name in names if not name.startswith(WAYS)] == []
    assert len(names) == len(set(names)) > 150


def test_each_has_a_result_of_its_own_under_the_same_idempotency_key(world: World) -> None:
    assert confusion.idempotency(world) == []


def test_another_tenants_host_does_not_make_its_caller(world: World) -> None:
    asked = Request("", "GET", "/api/v1/auth/whoami", (), None)
    named = asked._replace(headers=(("host", f"{world.b.slug}.example"),))
    plain, other = (decoded(world.asking.send(each, world.a.owner)) for each in (asked, named))
    assert plain == other


@pytest.mark.parametrize("first", ["own", "foreign"])
def test_of_two_credentials_none_is_mixed_with_the_other(world: World, first: str) -> None:
    """Two Authorization headers: one of them counts as it is, or the request is refused."""
    keys = [world.a.owner, world.b.owner] if first == "own" else [world.b.owner, world.a.owner]
    headers = tuple(("authorization", f"Bearer {key}") for key in keys)
    reply = world.asking.send(Request("", "GET", "/api/v1/auth/whoami", headers, None), None)
    told = decoded(reply)
    assert isinstance(told, dict)
    assert reply.status == 401 or told["tenant"]["id"] == (world.a.id if first == "own" else world.b.id)
    both = (("authorization", f"Bearer {keys[0]}, Bearer {keys[1]}"),)
    assert world.asking.send(Request("", "GET", "/api/v1/auth/whoami", both, None), None).status == 401


def test_a_proxy_that_refuses_two_credentials_lets_nobody_through(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """nginx answers 400, whatever they are."""
    send = world.asking.send

    def refusing(request: Request, key: str | None) -> Reply:
        twice = key is not None and any(name == "authorization" for name, _ in request.headers)
        return Reply(400, (), b"<html>") if twice else send(request, key)

    monkeypatch.setattr(world.asking, "send", refusing)
    found = [attempt for attempt in confusion.attempts(world) if "a second one" in attempt.name]
    assert [confusion.tried(world, attempt) for attempt in found] == [None]


def test_names_that_look_alike_are_different_names_or_none(world: World) -> None:
    """Whatever two spellings fold to, a slug is only ever found as it was given."""
    slug = world.things[Target.OWN]["slug"]
    for name, spell in confusion.SPELLINGS.items():
        spelt = spell(slug)
        made = Request("", "POST", "/api/v1/projects", (("content-type", "application/json"),), None)
        body = f'{{"slug": "{spelt.strip()}x"}}'.encode()
        if unicodedata.normalize("NFKC", spelt).casefold().strip() == slug and not spelt.isascii():
            assert world.asking.send(made._replace(body=body), world.a.owner).status == 422, name


def test_an_attempt_that_works_is_noticed(world: World) -> None:
    """The means of the comparison are not blind: what another tenant answers to itself is told from a refusal."""
    theirs = world.things[Target.OTHER_TENANT]["id"]
    shown = Request("", "GET", f"/api/v1/projects/{theirs}", (), None)
    absent = Request("", "GET", f"/api/v1/projects/{world.things[Target.ABSENT]['id']}", (), None)
    attempt = confusion.Attempt("planted", shown, absent, world.b.owner)
    worked = confusion.tried(world, attempt)
    assert worked is not None
    assert "mark" in worked.problem
    plain = Request("", "GET", "/api/v1/health/live", (), None)
    differs = confusion.tried(world, confusion.Attempt("planted", plain, absent, world.b.owner))
    assert differs is not None
    assert "status" in differs.problem
