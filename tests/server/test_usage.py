"""What a tenant uses and may use, over HTTP."""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.server.running import Client, Running


def limit(server: Running, owner: Client, **limits: int | None) -> dict[str, int | None]:
    tenant = owner.get("/tenant").ok()["id"]
    quota: dict[str, int | None] = server.admin.send("PATCH", f"/admin/tenants/{tenant}", {"quota": limits}).ok()[
        "quota"
    ]
    return quota


def used(owner: Client) -> dict[str, dict[str, object]]:
    return {row.pop("name"): row for row in owner.get("/tenant/usage").ok()["quotas"]}


NO_REQUESTS = {"requestsPerMinute": 0}
"""Who is to be kept out is suspended."""


def test_the_operator_sets_limits_one_by_one_and_takes_them_away(server: Running, owner: Client) -> None:
    first = limit(server, owner, artifacts=7, requestsPerMinute=100_000, keys=9)
    assert (first["artifacts"], first["requestsPerMinute"], first["keys"], first["projects"]) == (7, 100_000, 9, 1_000)
    second = limit(server, owner, artifacts=None, fileBytes=10)
    assert second == {**first, "artifacts": None, "fileBytes": 10}
    tenant = owner.get("/tenant").ok()
    assert tenant["quota"] == second
    for wrong in ({"artifacts": -1}, {"files": 3}, {"keys": "9"}, {"syncBytesPerDay": 2**53}, NO_REQUESTS):
        answer = server.admin.send("PATCH", f"/admin/tenants/{tenant['id']}", {"quota": wrong})
        assert (answer.status, answer.code) == (422, "request.invalid")
    assert owner.send("PATCH", f"/admin/tenants/{tenant['id']}", {"quota": {"keys": None}}).status == 404


def test_usage_adds_up_and_is_told_project_by_project(server: Running, owner: Client) -> None:
    for slug in ("one", "two", "three"):
        owner.post("/projects", {"slug": slug}).ok()
    owner.put("one", "a.md", b"# A\n").ok()
    owner.put("one", "b.bin", os.urandom(9_000)).ok()
    owner.put("two", "a.md", b"# A\n").ok()
    first = owner.get("/tenant/usage/projects", limit=2).ok()
    rows = first["items"] + owner.get("/tenant/usage/projects", cursor=first["next"]).ok()["items"]
    assert [(row["slug"], row["artifacts"], row["versions"]) for row in rows] == [
        ("one", 2, 2), ("three", 0, 0), ("two", 1, 1)
    ]  # fmt: skip
    found = used(owner)
    assert found["storageBytes"]["used"] == sum(row["storedBytes"] for row in rows) > 9_000
    assert found["syncBytesPerDay"]["used"] == 9_000 + 2 * 4
    assert found["artifacts"] == {"used": 3, "reserved": 0, "limit": None, "near": False}
    assert found["fileBytes"]["used"] is None
    assert found["projects"]["near"] is False
    limit(server, owner, projects=3)
    assert used(owner)["projects"] == {"used": 3, "reserved": 0, "limit": 3, "near": True}


@pytest.mark.promise("P8")
def test_a_full_quota_names_itself_and_asks_nobody_to_come_back(server: Running, owner: Client) -> None:
    owner.post("/projects", {"slug": "notes"}).ok()
    limit(server, owner, artifacts=5, fileBytes=1_000)
    answers = [owner.put("notes", f"{n}.md", b"%d" % n).ok() for n in range(5)]
    assert [answer["warnings"] for answer in answers] == [
        [], [], [], [{"name": "artifacts", "used": 4, "limit": 5}], [{"name": "artifacts", "used": 5, "limit": 5}]
    ]  # fmt: skip
    for path, data, quota in (
        ("5.md", b"5", {"name": "artifacts", "used": 5, "limit": 5}),
        ("6.md", b"6" * 1_001, {"name": "fileBytes", "used": 1_001, "limit": 1_000}),
    ):
        full = owner.put("notes", path, data)
        assert (full.status, full.code, full.json["quota"]) == (429, "quota.reached", quota)
        assert "retry-after" not in full.headers
    owner.send("DELETE", "/projects/notes/artifacts/0.md", headers={"if-match": "*"}).ok()
    owner.put("notes", "5.md", b"5").ok()
    audited = owner.get("/tenant/audit", limit=100).ok()["items"]
    near = [row["target"] for row in audited if row["action"] == "quota.near"]
    assert near == ["artifacts: 4 of 5"]  # and not for what came after it


@pytest.mark.promise("P8")
def test_writers_at_once_at_the_edge_of_the_storage_never_pass_it(
    server: Running, new_tenant: Callable[[], Client]
) -> None:
    owner = new_tenant()
    for n in range(8):
        owner.post("/projects", {"slug": f"p{n}"}).ok()
    most = 3 * 20_200
    limit(server, owner, storageBytes=most)
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda n: owner.put(f"p{n}", "a.bin", os.urandom(20_000)), range(8)))
    assert sorted(answer.status for answer in answers) == [200] * 3 + [429] * 5
    assert all(answer.code == "quota.reached" for answer in answers if answer.status == 429)
    found = used(owner)["storageBytes"]
    assert (found["reserved"], found["limit"]) == (0, most)
    stored = found["used"]
    assert isinstance(stored, int)
    assert 60_000 < stored <= most
    folder = server.settings.data / "store" / "tenants" / owner.get("/tenant").ok()["id"] / "projects"
    assert sum(pack.stat().st_size for pack in folder.rglob("pak_*")) == stored
