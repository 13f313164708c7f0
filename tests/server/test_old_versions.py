"""Searching a project as it was: by version and by date, beside the head, through retention and purges."""

from __future__ import annotations

import contextlib
from typing import Any

import pytest

from satchel.catalog import retention
from satchel.errors import NoSuchVersion, VersionExpired
from tests.server.running import Client, Running


def _paths(answer: Any) -> list[str]:
    return [hit["path"] for hit in answer["hits"]]


@pytest.fixture
def grown(owner: Client) -> Client:
    """Three versions: one file, another beside it, the first one changed."""
    owner.post("/projects", {"slug": "sea"}).ok()
    owner.put("sea", "a.md", b"# A\n\nThe whale sings.\n").ok()
    owner.put("sea", "b.md", b"# B\n\nThe whale sleeps.\n").ok()
    [first] = [item for item in owner.get("/projects/sea/artifacts").ok()["items"] if item["path"] == "a.md"]
    owner.put("sea", "a.md", b"# A\n\nThe squid sings.\n", f'"{first["object"]}"').ok()
    return owner


def test_an_old_version_answers_as_it_did_when_it_was_the_head(owner: Client) -> None:
    owner.post("/projects", {"slug": "sea"}).ok()
    told: list[Any] = []
    for number in range(1, 4):
        owner.put("sea", f"{number}.md", f"# {number}\n\nWhale number {number}.\n".encode()).ok()
        told.append(owner.get("/projects/sea/search", q="whale").ok())
    for number in (1, 3, 2, 1):
        then = owner.get("/projects/sea/search", q="whale", at=number).ok()
        assert then["query"].pop("at") == str(number)
        now = {**told[number - 1], "query": {**told[number - 1]["query"]}}
        now["query"].pop("at")
        assert then == now
    assert owner.post("/projects/sea/search", {"query": "whale"}).ok()["total"] == 3


def test_a_date_means_the_newest_version_by_its_end(grown: Client) -> None:
    assert _paths(grown.get("/projects/sea/search", q="whale", at="2199-01").ok()) == ["b.md"]
    found = grown.get("/projects/sea/versions").ok()["items"]
    at = found[-1]["time"]
    answer = grown.get("/projects/sea/search", q="whale", at=at).ok()
    assert (answer["projects"][0]["version"], _paths(answer)) == (1, ["a.md"])
    assert grown.get("/projects/sea/search", q="whale", at="1999").code == NoSuchVersion.code  # a version: no year
    assert grown.get("/projects/sea/search", q="whale", at="1999-12-31").code == NoSuchVersion.code
    across = grown.get("/search", q="whale", at="1999-12-31").ok()
    assert (across["hits"], across["skipped"]) == ([], [{"project": "sea", "reason": NoSuchVersion.code}])


@pytest.mark.parametrize("at", ["yesterday", "-1", "1.5", "2025-13", "２", " 1", "1e3", "2025-01-01T99:99"])
def test_what_is_neither_a_version_nor_a_date_is_refused(grown: Client, at: str) -> None:
    assert grown.get("/projects/sea/search", q="whale", at=at).status == 422


@pytest.mark.parametrize("at", ["0", "4", "9" * 15])
def test_a_version_that_is_none_is_absent(grown: Client, at: str) -> None:
    assert grown.get("/projects/sea/search", q="whale", at=at).code == NoSuchVersion.code


def test_a_version_of_several_projects_at_once_is_refused(grown: Client) -> None:
    grown.post("/projects", {"slug": "lake"}).ok()
    assert grown.get("/search", q="whale", at="1").status == 422
    assert _paths(grown.get("/search", q="whale", at="1", project="sea").ok()) == ["a.md"]


def test_what_was_purged_has_no_words_in_old_versions(grown: Client, server: Running) -> None:
    assert _paths(grown.get("/projects/sea/search", q="whale", at="2").ok()) == ["a.md", "b.md"]
    grown.post("/projects/sea/purge", {"paths": ["a.md"]}).ok()
    for question in ("whale", "path:a.md", ""):
        assert _paths(grown.get("/projects/sea/search", q=question, at="2").ok()) in (["b.md"], [])
    assert _paths(grown.get("/projects/sea/search", q="whale", at="1").ok()) == []


def test_a_version_that_expired_is_not_answered_from_what_was_indexed_before(grown: Client, server: Running) -> None:
    assert _paths(grown.get("/projects/sea/search", q="whale", at="1").ok()) == ["a.md"]
    project, tenant = grown.get("/projects/sea").ok()["id"], grown.get("/tenant").ok()["id"]

    async def expire() -> None:
        async with server.cloud.catalog.write(tenant) as s:
            assert await retention.raise_floor(s, project, 2)

    server.run(expire())
    assert grown.post("/projects/sea/search", {"query": "whale", "at": "1"}).code == VersionExpired.code
    assert grown.get("/search", q="whale", at="1", project="sea").status == 410


def test_related_projects_are_searched_as_far_as_one_may_read_them(owner: Client) -> None:
    for slug, relations in (("sea", [{"type": "part-of", "project": "earth"}]), ("earth", []), ("moon", [])):
        owner.post("/projects", {"slug": slug}).ok()
        owner.put(slug, "a.md", b"A tide.\n").ok()
        if relations:
            owner.post(f"/projects/{slug}/context", {"relations": relations}).ok()
    owner.post("/projects/moon/context", {"relations": [{"type": "depends-on", "project": "earth"}]}).ok()
    found = owner.get("/projects/earth/search", q="tide path:a.md", related="true").ok()
    assert {(p["project"], p["relation"]) for p in found["projects"]} == {
        ("earth", None), ("sea", "has-part"), ("moon", "needed-by"),
    }  # fmt: skip
    assert {hit["relation"] for hit in found["hits"]} == {None, "has-part", "needed-by"}
    assert owner.get("/projects/sea/search", q="tide", related="true").ok()["facets"]["project"] == {
        "earth": 1,
        "sea": 1,
    }
    assert len(owner.get("/projects/earth/search", q="tide").ok()["projects"]) == 1
    key = owner.post("/keys", {"name": "k", "projects": [{"project": "earth", "role": "read"}]}).ok()["key"]
    with contextlib.closing(Client(owner.url, key)) as alone:
        found = alone.get("/projects/earth/search", q="tide", related="true").ok()
    assert [each["project"] for each in found["projects"]] == ["earth"]
