"""Retention and purge over HTTP."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from satchel.server.housekeeping import collect_all, estate_of
from satchel.server.indexes import Ref
from satchel.upkeep.clock import ClockOff
from satchel.upkeep.lease import upkeep_lease
from tests.server.running import Answer, Client, Running, serving


@pytest.fixture
def fresh(tmp_path: Path) -> Iterator[Running]:
    with serving(tmp_path / "data", backup_window_days=0) as server:
        yield server


def _history(owner: Client) -> None:
    owner.post("/projects", {"slug": "acme"}).ok()
    tag = owner.put("acme", "a.md", b"# One\n\nalpha\n").ok() and _tag(owner)
    owner.put("acme", "a.md", b"# Two\n\nbeta\n", tag).ok()
    owner.put("acme", "b.md", b"# Three\n\ngamma\n").ok()


def _tag(owner: Client) -> str:
    return owner.get("/projects/acme/artifacts/a.md").headers["etag"]


def test_retention_is_shown_set_by_admins_audited_and_takes_effect_with_the_next_collect(fresh: Running) -> None:
    owner = fresh.tenant("first")
    _history(owner)
    assert owner.get("/tenant").ok()["settings"]["retention"] == {"versions": None, "days": None}
    changed = owner.send("PATCH", "/tenant", {"settings": {"retention": {"versions": 1}}}).ok()
    assert (changed["settings"]["retention"], changed["name"]) == ({"versions": 1, "days": None}, "First")
    assert owner.get("/tenant/audit").ok()["items"][0]["action"] == "tenant.settings"
    assert owner.get("/projects/acme/artifacts/a.md", at=1).body == b"# One\n\nalpha\n"
    fresh.run(collect_all(fresh.cloud))
    expired = owner.get("/projects/acme/artifacts/a.md", at=1)
    assert (expired.status, expired.code, expired.json["oldest"]) == (410, "version.expired", 3)
    assert [v["readable"] for v in owner.get("/projects/acme/versions").ok()["items"]] == [True, False, False]
    assert owner.get("/projects/acme/versions/1").ok()["readable"] is False
    assert owner.get("/projects/acme/changes", since=1).code == "version.expired"
    assert owner.get("/projects/acme/artifacts/a.md").body == b"# Two\n\nbeta\n"
    assert owner.get("/projects/acme/search", q="gamma").ok()["hits"]


def test_retention_takes_one_rule_within_bounds(fresh: Running) -> None:
    owner = fresh.tenant("first")
    for rule in ({"versions": 1, "days": 1}, {"versions": 0}, {"days": -1}, {"weeks": 3}):
        assert owner.send("PATCH", "/tenant", {"settings": {"retention": rule}}).code == "request.invalid"
    assert owner.send("PATCH", "/tenant", {}).code == "request.invalid"
    owner.send("PATCH", "/tenant", {"settings": {"retention": {"days": 30}}}).ok()
    renamed = owner.send("PATCH", "/tenant", {"name": "Other"}).ok()
    assert renamed["settings"]["retention"] == {"versions": None, "days": 30}


def test_neither_a_purge_nor_a_collect_asks_for_the_root_key_again(fresh: Running) -> None:
    owner = fresh.tenant("first")
    _history(owner)
    fresh.settings.root_key_path.unlink()  # or its key service does not answer
    assert owner.post("/projects/acme/purge", {"paths": ["a.md"]}).ok()["objects"] == 2
    fresh.run(collect_all(fresh.cloud))


@pytest.mark.parametrize("everywhere", [False, True])
def test_a_dry_run_changes_nothing_and_says_what_a_purge_then_does(fresh: Running, everywhere: bool) -> None:
    owner = fresh.tenant("first")
    _history(owner)
    owner.put("acme", "same.md", b"# Two\n\nbeta\n").ok()
    asked = {"paths": ["a.md"], "everywhere": everywhere}
    stored = {path: path.stat().st_mtime_ns for path in (fresh.settings.data / "store").rglob("pak_*")}
    audit = owner.get("/tenant/audit").ok()["items"]
    tenant, estate = owner.get("/tenant").ok()["id"], estate_of(fresh.cloud)

    async def beside_other_upkeep() -> Answer:
        async with upkeep_lease(estate, tenant, "verify"):
            return await asyncio.to_thread(owner.post, "/projects/acme/purge", {**asked, "dryRun": True})

    would = fresh.run(beside_other_upkeep()).ok()
    assert {path: path.stat().st_mtime_ns for path in (fresh.settings.data / "store").rglob("pak_*")} == stored
    assert owner.get("/tenant/audit").ok()["items"] == audit
    assert owner.get("/projects/acme/artifacts/a.md", at=2).status == 200
    done = owner.post("/projects/acme/purge", asked).ok()
    assert (would["dryRun"], done["dryRun"]) == (True, False)
    assert done["objects"]
    assert [would[name] for name in ("paths", "objects", "shared")] == [done[n] for n in ("paths", "objects", "shared")]
    again = owner.post("/projects/acme/purge", {**asked, "dryRun": True}).ok()
    assert (again["objects"], again["packs"]) == (0, 0)


def test_a_purged_artifact_is_gone_from_every_version_and_from_search_and_says_so(fresh: Running) -> None:
    owner = fresh.tenant("first")
    _history(owner)
    assert owner.get("/projects/acme/search", q="beta").ok()["hits"]
    project = owner.get("/projects/acme").ok()["id"]
    tenant = owner.get("/tenant").ok()["id"]
    folder = fresh.settings.data / "cache" / "index" / tenant / project
    before = set(folder.iterdir())
    answer = owner.post("/projects/acme/purge", {"paths": ["a.md"]}).ok()
    assert (answer["paths"], answer["objects"], answer["version"], answer["shared"]) == (["a.md"], 2, 4, [])
    assert len(answer["unreachable"]) == 5
    assert not before & set(folder.iterdir())
    assert Ref(tenant, project) not in fresh.cloud.indexes._slots
    for at in (1, 2, 3):
        for known in ({}, {"if-none-match": "*"}):
            gone = owner.get("/projects/acme/artifacts/a.md", known, at=at)
            assert (gone.status, gone.code) == (410, "artifact.purged")
    assert owner.get("/projects/acme/artifacts/a.md").code == "artifact.not_found"
    assert owner.get("/projects/acme/artifacts/b.md", at=3).body == b"# Three\n\ngamma\n"
    assert not owner.get("/projects/acme/search", q="beta").ok()["hits"]
    assert [v["readable"] for v in owner.get("/projects/acme/versions").ok()["items"]] == [True] * 4
    assert owner.post("/projects/acme/purge", {"paths": ["a.md"]}).ok()["objects"] == 0
    assert owner.post("/projects/acme/purge", {"paths": ["never.md"]}).code == "artifact.not_found"
    owner.put("acme", "a.md", b"# Two\n\nbeta\n").ok()
    assert owner.get("/projects/acme/artifacts/a.md").body == b"# Two\n\nbeta\n"


def test_a_server_whose_clock_is_off_collects_nothing(fresh: Running) -> None:
    owner = fresh.tenant("first")
    _history(owner)
    owner.send("PATCH", "/tenant", {"settings": {"retention": {"days": 1}}}).ok()
    now = fresh.cloud.clock
    off = replace(fresh.cloud, clock=lambda: now() + 1_000 * 24 * 60 * 60 * 1000)
    with pytest.raises(ClockOff, match="ahead of"):
        fresh.run(collect_all(off))
    assert owner.get("/projects/acme/artifacts/a.md", at=1).body == b"# One\n\nalpha\n"
