"""An answer that is given again is the one that would be given now, and only to whom it would be given."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing

import pytest

from satchel.catalog import projects
from satchel.server import recall
from tests.server.running import Answer, Client, Running, until

pytestmark = pytest.mark.promise("P5")
TRIES = 20
"""Now and then the server itself writes something between two reads, and then the second is made anew."""


@pytest.fixture
def reads(server: Running, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The tenants of whom the catalog was read."""
    found: list[str] = []
    real = server.cloud.catalog.read

    def counted(tenant: str) -> object:
        found.append(tenant)
        return real(tenant)

    monkeypatch.setattr(server.cloud.catalog, "read", counted)
    return found


def told(answer: Answer) -> tuple[int, bytes, dict[str, str]]:
    """All of an answer that does not change from one to the next."""
    return answer.status, answer.body, {k: v for k, v in answer.headers.items() if k not in ("x-request-id", "date")}


def test_what_is_asked_again_is_answered_alike_without_a_look_at_the_catalog(owner: Client, reads: list[str]) -> None:
    owner.post("/projects", {"slug": "a"}).ok()
    for path in ("/projects", "/projects/a", "/projects?limit=1", "/auth/whoami"):
        owner.get(path)
        for _ in range(TRIES):
            first = owner.get(path)
            reads.clear()
            again = owner.get(path)
            assert told(again) == told(first)
            assert again.headers["x-request-id"] != first.headers["x-request-id"]
            if not reads:
                break
        assert not reads


def test_what_is_asked_for_the_first_time_costs_no_question_for_the_stamp_and_is_not_kept(
    server: Running, owner: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    stamps: list[object] = []
    real = server.cloud.catalog.stamp

    async def counted() -> object:
        stamps.append(await real())
        return stamps[-1]

    monkeypatch.setattr(server.cloud.catalog, "stamp", counted)
    for number in range(1, 4):
        before = len(stamps)
        owner.get(f"/projects?limit={number}").ok()
        assert len(stamps) == before
        owner.get(f"/projects?limit={number}").ok()
        assert len(stamps) == before + 1


def test_a_change_through_this_server_is_seen_by_the_next_read(owner: Client) -> None:
    for number in range(5):
        owner.post("/projects", {"slug": f"p{number}"}).ok()
        assert len(owner.get("/projects").ok()["items"]) == number + 1
    owner.put("p0", "a.md", b"# A\n").ok()
    assert owner.get("/projects/p0").ok()["version"] == 1
    assert owner.get("/projects").ok()["items"][0]["version"] == 1


def test_a_change_beside_this_server_is_seen_by_the_next_read(server: Running, owner: Client) -> None:
    project = owner.post("/projects", {"slug": "a", "description": "before"}).ok()["id"]
    assert owner.get("/projects/a").ok()["description"] == owner.get("/projects/a").ok()["description"] == "before"
    with closing(sqlite3.connect(server.settings.data / "catalog.db")) as other, other:
        other.create_function("row_hash", -1, lambda *_: 0, deterministic=True)
        other.execute("UPDATE project SET description = 'after' WHERE project_id = ?", (project,))
    assert owner.get("/projects/a").ok()["description"] == "after"


def test_nobody_is_given_what_another_asked_for(server: Running, new_tenant: Callable[[], Client]) -> None:
    one, two = new_tenant(), new_tenant()
    for who, slug in ((one, "ours"), (two, "theirs")):
        who.post("/projects", {"slug": slug}).ok()
    reader = server.client(
        one.post("/keys", {"name": "r", "projects": [{"project": "ours", "role": "read"}]}).ok()["key"]
    )
    for _ in range(3):
        assert [item["slug"] for item in one.get("/projects").ok()["items"]] == ["ours"]
        assert [item["slug"] for item in two.get("/projects").ok()["items"]] == ["theirs"]
        assert reader.get("/projects").ok()["items"][0]["role"] == "read"
        assert two.get("/projects/ours").code == "project.not_found"
        assert server.client().get("/projects").code == "auth.missing"
        assert server.client("stl_nonsense").get("/projects").code == "auth.invalid"


def test_a_key_that_was_revoked_or_lost_a_grant_is_given_nothing_again(server: Running, owner: Client) -> None:
    owner.post("/projects", {"slug": "a"}).ok()
    made = owner.post("/keys", {"name": "r", "projects": [{"project": "a", "role": "read"}]}).ok()
    reader = server.client(made["key"])
    assert [reader.get("/projects/a").status for _ in range(2)] == [200, 200]
    owner.send("DELETE", f"/projects/a/grants/{made['id']}").ok()
    assert reader.get("/projects/a").code == "project.not_found"
    assert reader.get("/projects").ok()["items"] == []
    owner.send("DELETE", f"/keys/{made['id']}").ok()
    assert reader.get("/projects").code == "auth.invalid"


def test_an_answer_that_is_given_again_counts_against_the_rate(server: Running, owner: Client) -> None:
    made = owner.post("/keys", {"name": "r", "role": "read", "requestsPerMinute": 3}).ok()
    reader = server.client(made["key"])
    answers = [reader.get("/projects") for _ in range(4)]
    assert [answer.status for answer in answers] == [200, 200, 200, 429]
    assert [answer.headers["ratelimit"].split(";")[1] for answer in answers] == ["r=2", "r=1", "r=0", "r=0"]


def test_refusals_are_never_given_again(owner: Client) -> None:
    assert [owner.get("/projects/a").status, owner.get("/projects", nonsense=1).status] == [404, 422]
    owner.post("/projects", {"slug": "a"}).ok()
    assert [owner.get("/projects/a").status, owner.get("/projects", nonsense=1).status] == [200, 422]


@pytest.mark.promise("P8")
def test_once_something_was_committed_one_request_has_the_answer_made_for_all_who_ask(
    server: Running, owner: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    tenant = owner.get("/auth/whoami").ok()["tenant"]["id"]
    admission, real = server.cloud.admission, projects.list_
    gates: list[asyncio.Event] = []
    listed: list[int] = []

    async def held(*args: object, **more: object) -> object:
        listed[-1] += 1
        await gates[-1].wait()
        return await real(*args, **more)  # type: ignore[arg-type]

    for number in range(TRIES):
        owner.get("/projects").ok()
        owner.post("/projects", {"slug": f"p{number:02}"}).ok()
        gates.append(asyncio.Event())
        listed.append(0)
        with monkeypatch.context() as patch, ThreadPoolExecutor(12) as pool:
            patch.setattr(projects, "list_", held)
            asked = [pool.submit(owner.get, "/projects") for _ in range(12)]
            until(lambda: admission.serving(tenant) == 12 and not admission.turns.waiting, 30)
            server.loop.call_soon_threadsafe(gates[-1].set)
            answers = [one.result(30) for one in asked]
        slugs = [f"p{n:02}" for n in range(number + 1)]
        assert [[item["slug"] for item in answer.ok()["items"]] for answer in answers] == [slugs] * 12
        if listed[-1] == 1:
            break
    assert listed[-1] == 1, listed


@pytest.mark.promise("P8")
def test_what_is_kept_is_bounded(server: Running, owner: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recall, "MAX_ANSWERS", 10)
    kept: list[recall.Recall] = []
    real = recall.Recall._keep

    def seen(self: recall.Recall, *args: object) -> None:
        real(self, *args)  # type: ignore[arg-type]
        kept.append(self)

    monkeypatch.setattr(recall.Recall, "_keep", seen)
    monkeypatch.setattr(recall, "MAX_ASKED", 20)
    for number in range(1, 60):
        for _ in range(2):
            owner.get(f"/projects?limit={number}").ok()
    assert len(kept[-1]._kept) == 10
    assert len(kept[-1]._asked) == 20
