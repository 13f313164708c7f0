"""Who may say what is reviewed: a person by a session of their own, on every route, and nobody else on any."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any, NamedTuple

import pytest

from satchel.objects.frame import make_frames
from satchel.objects.ids import Digest, Lineage, object_id
from satchel.objects.listing import Entry, digest
from satchel.objects.pack import encode_frame, encode_pack_end, encode_pack_start
from satchel.objects.reviews import REVIEWED_PATH, Review, write_reviews
from satchel.server.isolation.requests import message
from satchel.server.readers import AHEAD_BYTES
from satchel.sync import commit
from satchel.sync.wire import Parent, Sent, encode_preamble
from tests.server.oauth.flow import registered
from tests.server.running import Answer, Client, Running, serving, until
from tests.server.web.people import PASSWORD, let_in, member

TEXT = b"# Rollback\n\nThe duty officer approves a rollback.\n"
LIST = write_reviews(b"", [Review("a.md", object_id(TEXT))])
REFUSED = (403, "review.person_required")


class World(NamedTuple):
    server: Running
    owner: Client
    """Holds the key of an owner, which may do anything a key can."""
    person: Client

    def others(self) -> dict[str, Client]:
        """Everybody who may write, and is no person who speaks for themselves."""
        key = self.owner.key
        exchanged = self.owner.post("/auth/token", {"apiKey": key}).ok()["accessToken"]
        told = {"key": self.owner, "token of a key": self.server.client(exchanged)}
        browser, client = let_in(self.server, "grace@example.org"), registered(self.server)
        for name, resource in (("agent", client.mcp), ("client", self.server.url)):
            code = client.code(browser, scope="satchel:read satchel:write satchel:admin", resource=resource)
            told[name] = self.server.client(client.redeem(code).ok()["access_token"])
        return told


def served(server: Running) -> World:
    owner = server.tenant("acme")
    owner.post("/projects", {"slug": "notes"}).ok()
    owner.put("notes", "a.md", TEXT).ok()
    email = member(server, owner, "grace", "admin").email
    session = server.client().post("/auth/token", {"email": email, "password": PASSWORD}).ok()["accessToken"]
    return World(server, owner, server.client(session))


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    with serving(tmp_path_factory.mktemp("reviews") / "data") as server:
        yield served(server)


def head(world: World) -> Parent:
    row = world.owner.get("/projects/notes").ok()
    return Parent(Lineage(row["lineage"]), row["version"], Digest(row["digest"]))


def routes(world: World, who: Client, path: str = REVIEWED_PATH) -> dict[str, Answer]:
    """Each way to change a file: the path is not there yet, but for the last two."""
    items = world.owner.get("/projects/notes/artifacts").ok()["items"]
    tree = {item["path"]: Entry(item["mode"], item["object"]) for item in items}
    name, parent = object_id(LIST), head(world)
    after = digest({**tree, path: Entry("100644", name)})
    pack = b"".join([encode_pack_start(), *map(encode_frame, make_frames([(name, LIST)])), encode_pack_end(1)])
    changes = [Sent(path, Entry("100644", name), len(LIST))]

    def stream(where: str, body: bytes) -> Answer:
        headers = {"content-type": "application/x-satchel-sync", "satchel-declared-bytes": str(len(body))}
        return who.send("POST", f"/projects/notes/{where}", body, headers)

    world.owner.send("POST", "/projects/notes/packs", b"".join([*encode_preamble(None, None, ()), pack]), {
        "content-type": "application/x-satchel-sync", "satchel-declared-bytes": str(len(pack) + 100),
    }).ok()  # fmt: skip
    changed = {"path": path, "mode": "100644", "object": name, "size": len(LIST)}
    asked = {"parent": parent._asdict(), "digest": after, "changes": [changed]}
    return {
        "put": who.put("notes", path, LIST),
        "put over anything": who.put("notes", path, LIST, "*"),
        "sync": stream("sync", b"".join([*encode_preamble(parent, after, changes), pack])),
        "commits": who.post("/projects/notes/commits", asked),
        "delete": who.send("DELETE", f"/projects/notes/artifacts/{path}", None, {"if-match": "*"}),
    }


def told(answer: Answer) -> tuple[int, str | None]:
    return answer.status, answer.code


def nobody_else_may(world: World) -> None:
    """Fails where anybody but a person can change the list."""
    before = head(world)
    for name, who in world.others().items():
        if name == "agent":  # its token counts at /mcp alone
            assert {told(answer)[0] for answer in routes(world, who).values()} == {401}
            continue
        for path in (REVIEWED_PATH, "Reviewed.SHA256", f"{REVIEWED_PATH}/a.md"):
            for route, answer in routes(world, who, path).items():
                assert told(answer) == REFUSED, (name, route, path, answer.body[:300])
    assert head(world) == before


@pytest.mark.promise("P5")
def test_nobody_but_a_person_changes_what_is_reviewed_on_any_route(world: World) -> None:
    nobody_else_may(world)


@pytest.mark.parametrize("gone", ["everywhere", "where it is told early"])
def test_a_server_that_let_a_key_would_be_caught(world: World, monkeypatch: pytest.MonkeyPatch, gone: str) -> None:
    """The planted defect. Told early or not: the commit itself refuses too."""
    real = commit.Caller.check_reviews

    def blind(self: commit.Caller, paths: Any) -> None:
        if gone != "everywhere" and not isinstance(paths, list):
            real(self, paths)

    monkeypatch.setattr(commit.Caller, "check_reviews", blind)
    if gone == "everywhere":
        with pytest.raises(AssertionError, match="put"):
            nobody_else_may(world)  # the last route it tries takes the list away again
    else:
        assert told(world.owner.put("notes", REVIEWED_PATH, LIST)) == REFUSED


def test_the_refusal_says_what_to_do_goes_before_preconditions_and_is_audited(world: World) -> None:
    refused = world.owner.put("notes", REVIEWED_PATH, LIST, f'"{"0" * 64}"')
    assert told(refused) == REFUSED
    assert "satchel review" in refused.json["hint"]
    noted = {"action": "access.denied", "result": "review.person_required", "requestId": refused.json["requestId"]}
    until(lambda: any(noted.items() <= row.items() for row in world.owner.get("/tenant/audit").ok()["items"]))


def test_no_tool_changes_the_list_whoever_calls_it(world: World) -> None:
    for client in (world.person, world.owner, world.others()["agent"]):
        for tool, more in (("artifacts_put", {}), ("note_append", {"path": f"{REVIEWED_PATH}/x.md"})):
            arguments = {"project": "notes", "path": REVIEWED_PATH, "text": "x", **more}
            request = message("2026-07-28", "tools/call", {"name": tool, "arguments": arguments})
            result = client.send("POST", "/mcp", request.body, dict(request.headers)).ok()["result"]
            assert json.loads(result["content"][0]["text"])["code"] == "review.person_required"


def test_a_person_reviews_and_every_answer_says_so_until_anybody_edits(world: World) -> None:
    def reviewed() -> list[bool]:
        hits = world.owner.get("/projects/notes/search", q="rollback").ok()["hits"]
        text = world.owner.get("/projects/notes/artifacts/a.md", {"accept": "application/json"}).ok()
        return [*(hit["reviewed"] for hit in hits), text["reviewed"]]

    assert set(reviewed()) == {False}
    made = world.person.put("notes", REVIEWED_PATH, LIST).ok()
    assert (made["author"], made["authorKind"]) == ("Grace", "person")
    assert set(reviewed()) == {True}
    world.owner.put("notes", "a.md", TEXT + b"\nOr nobody.\n", "*").ok()
    assert set(reviewed()) == {False}
    world.owner.put("notes", "a.md", TEXT, "*").ok()
    assert set(reviewed()) == {True}
    assert told(world.owner.post("/projects/notes/purge", {"paths": [REVIEWED_PATH]})) == REFUSED
    gone = world.person.send("DELETE", f"/projects/notes/artifacts/{REVIEWED_PATH}", None, {"if-match": "*"})
    assert gone.status == 200
    assert set(reviewed()) == {False}


def test_the_first_to_read_after_a_commit_learns_of_a_review_in_a_project_of_any_size(world: World) -> None:
    """Then the artifact comes into memory while the question waits, and the list of reviews is yet to be read."""
    world.owner.post("/projects", {"slug": "large"}).ok()
    world.owner.put("large", "a.md", TEXT).ok()
    world.owner.put("large", "b.bin", bytes(AHEAD_BYTES)).ok()
    world.person.put("large", REVIEWED_PATH, LIST).ok()
    for _ in range(2):
        read = world.owner.get("/projects/large/artifacts/a.md", {"accept": "application/json"}).ok()
        assert read["reviewed"] is True
