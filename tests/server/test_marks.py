"""A server whose store is switched off: what still works, how it says so, and what it refuses."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from satchel.errors import DiskFull
from satchel.server.marks import CACHE_STATUS
from tests.server.running import Answer, Client, Running, serving, until
from tests.store.switched import Switched

TEXT = b"# Rollback\n\nThe duty officer approves a rollback.\n"


@pytest.fixture
def store(monkeypatch: pytest.MonkeyPatch) -> Switched:
    one = Switched()
    for module in ("serve", "cloud"):
        monkeypatch.setattr(f"satchel.server.{module}.open_store", lambda *_: one)
    monkeypatch.setattr("satchel.store.outage.PROBE_SECONDS", 0.05)
    return one


@pytest.fixture
def server(store: Switched, tmp_path: Path) -> Iterator[Running]:
    with serving(tmp_path / "data", store_url="s3://elsewhere", store_wait_seconds=1) as running:
        for project in ("acme", "other"):
            running.admin.post("/projects", {"slug": project}).ok()
            running.admin.put(project, "docs/rollback.md", TEXT).ok()
        yield running


def _goes_down(server: Running, store: Switched) -> None:
    """Switched off, and noticed by a write."""
    store.on = False
    assert server.admin.put("acme", "docs/noticed.md", b"x").code == "store.unavailable"


def _marked(answer: Answer) -> bool:
    return answer.headers.get("cache-status") == CACHE_STATUS


def test_reads_go_on_and_say_so_and_writes_are_refused_at_once(server: Running, store: Switched) -> None:
    admin = server.admin
    read, search = "/projects/acme/artifacts/docs/rollback.md", {"query": "rollback"}
    assert not _marked(admin.get(read))
    assert not _marked(admin.post("/projects/acme/search", search))
    _goes_down(server, store)
    for answer in (
        admin.get(read),
        admin.get(read, headers={"accept": "application/json"}),
        admin.post("/projects/acme/search", search),
        admin.get("/projects/acme/artifacts"),
        admin.get("/projects/acme/tasks"),
        admin.get("/projects/acme/changes", since=0),
        admin.get("/projects"),
    ):
        assert answer.status == 200, answer
        assert _marked(answer)
    assert admin.get(read).body == TEXT
    asked = len(store.asked)
    began = time.monotonic()
    for answer in (
        admin.put("acme", "docs/new.md", b"y"),
        admin.send("DELETE", read, headers={"if-match": "*"}),
        admin.post("/projects/acme/context", {"description": "new"}),
        admin.send("POST", "/projects/acme/sync", b"x" * 100, {"satchel-declared-bytes": "100"}),
        admin.send("POST", "/projects/acme/packs", b"x" * 100, {"satchel-declared-bytes": "100"}),
    ):
        assert (answer.status, answer.code) == (503, "store.unavailable")
        assert int(answer.headers["retry-after"]) >= 1
        assert "cache-status" not in answer.headers
    assert time.monotonic() - began < 2
    assert "put" not in store.asked[asked:]
    # A write that may not be done is still refused as such, and what does not exist is still absent.
    assert admin.put("nothere", "a.md", b"x").status == 404
    store.on = True
    until(lambda: admin.put("acme", "docs/new.md", b"y").status == 200)
    assert not _marked(admin.get(read))
    assert admin.get("/projects/acme").ok()["version"] == 2


def test_health_tells_and_the_server_stays_ready(server: Running, store: Switched) -> None:
    nobody = server.client()
    _goes_down(server, store)
    report = nobody.get("/health")
    assert report.status == 200
    assert report.json["status"] == "degraded"
    assert {row["name"]: row["state"] for row in report.json["dependencies"]} == {"catalog": "ok", "store": "failed"}
    assert nobody.get("/health/ready").status == 200
    assert nobody.get("/health/live").status == 200
    store.on = True
    until(lambda: nobody.get("/health").json["status"] == "ok")


def test_what_is_not_here_is_503_and_other_projects_are_named_as_skipped(server: Running, store: Switched) -> None:
    admin = server.admin
    admin.post("/projects/acme/search", {"query": "rollback"}).ok()
    cached = server.settings.data / "cache" / "store"
    assert [path for path in cached.rglob("*") if path.is_file()]
    _goes_down(server, store)
    for path in cached.rglob("*"):
        if path.is_file():
            path.unlink()
    missed = admin.get("/projects/acme/artifacts/docs/rollback.md")
    assert (missed.status, missed.code) == (503, "store.unavailable")
    assert int(missed.headers["retry-after"]) >= 1
    [entry] = admin.get("/projects/acme/changes", since=0).ok()["items"]
    missed = admin.post("/projects/acme/objects/read", {"objects": [entry["object"]]})
    assert (missed.status, missed.code) == (503, "store.unavailable")
    # The index of one project was made, that of the other cannot be.
    assert _marked(admin.post("/projects/acme/search", {"query": "rollback"}))
    assert admin.post("/projects/other/search", {"query": "rollback"}).code == "store.unavailable"
    found = admin.post("/search", {"query": "rollback"}).ok()
    assert [hit["project"] for hit in found["hits"]] == ["acme"]
    assert found["skipped"] == [{"project": "other", "reason": "store.unavailable"}]


def _tool(client: Client, name: str, **arguments: object) -> tuple[Answer, dict[str, object]]:
    version = "2026-07-28"
    meta = {
        "io.modelcontextprotocol/protocolVersion": version,
        "io.modelcontextprotocol/clientCapabilities": {},
        "io.modelcontextprotocol/clientInfo": {"name": "test", "version": "1"},
    }
    message = {
        "jsonrpc": "2.0",
        "id": 1,
        "method": "tools/call",
        "params": {"name": name, "arguments": arguments, "_meta": meta},
    }
    headers = {
        "content-type": "application/json",
        "accept": "application/json, text/event-stream",
        "mcp-protocol-version": version,
        "mcp-method": "tools/call",
        "mcp-name": name,
    }
    answer = client.send("POST", "/mcp", json.dumps(message).encode(), headers)
    result: dict[str, object] = answer.ok()["result"]
    return answer, result


def test_agents_are_told_too(server: Running, store: Switched) -> None:
    admin = server.admin
    _, result = _tool(admin, "search", query="rollback", projects=["acme"])
    assert "satchel/cache-status" not in result.get("_meta", {})  # type: ignore[operator]
    _goes_down(server, store)
    answer, result = _tool(admin, "search", query="rollback", projects=["acme"])
    assert _marked(answer)
    assert result["_meta"]["satchel/cache-status"] == CACHE_STATUS  # type: ignore[index]
    assert _tool(admin, "health")[1]["structuredContent"]["status"] == "degraded"  # type: ignore[index]
    for path in (server.settings.data / "cache" / "store").rglob("0-*"):
        path.unlink()
    for name, arguments in (("artifacts_get", {"path": "docs/rollback.md", "project": "other"}),
                            ("search", {"query": "rollback", "projects": ["other"]})):  # fmt: skip
        _, failed = _tool(admin, name, **arguments)
        assert failed["isError"]
        told = json.loads(failed["content"][0]["text"])  # type: ignore[index]
        assert told["code"] == "store.unavailable"
        assert told["hint"]


def test_a_store_that_dies_in_the_middle_of_a_write_leaves_nothing_half_written(
    server: Running, store: Switched
) -> None:
    admin = server.admin
    store.silent = True
    began = time.monotonic()
    answer = admin.put("acme", "docs/new.md", b"y", **{"idempotency-key": "once"})
    assert (answer.status, answer.code) == (503, "store.unavailable")
    assert time.monotonic() - began < 5  # the one wait, and no wait for each clean-up
    assert admin.get("/projects/acme").ok()["version"] == 1
    assert admin.get("/projects/acme/artifacts/docs/new.md").code == "artifact.not_found"
    store.silent = False
    until(lambda: admin.put("acme", "docs/new.md", b"y", **{"idempotency-key": "once"}).status == 200)
    assert admin.get("/projects/acme").ok()["version"] == 2
    assert admin.get("/projects/acme/artifacts/docs/new.md").body == b"y"


def test_a_storage_that_is_full_is_said_so_and_nobody_is_told_to_try_again(
    server: Running, store: Switched, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def full(*_: object, **__: object) -> None:
        raise DiskFull("the quota of the storage is reached")

    monkeypatch.setattr(store, "put", full)
    answer = server.admin.put("acme", "docs/new.md", b"y")
    assert (answer.status, answer.code) == (507, "disk.full")
    assert "retry-after" not in answer.headers
    assert not _marked(server.admin.get("/projects/acme/artifacts/docs/rollback.md"))
    assert server.admin.get("/projects/acme").ok()["version"] == 1


def test_a_deleted_tenant_leaves_nothing_in_the_cache(server: Running) -> None:
    owner = server.tenant("gone")
    owner.post("/projects", {"slug": "acme"}).ok()
    owner.put("acme", "a.md", b"text").ok()
    kept = server.settings.data / "cache" / "store" / "tenants"
    assert len(list(kept.iterdir())) == 2
    server.admin.send("DELETE", "/admin/tenants/gone?now=true").ok()
    assert len(list(kept.iterdir())) == 1


def test_content_that_vanished_from_the_bucket_is_missed_alone(server: Running, store: Switched) -> None:
    admin = server.admin
    admin.put("acme", "docs/other.md", b"# Other\n").ok()
    admin.post("/projects/acme/search", {"query": "rollback"}).ok()
    project = admin.get("/projects/acme").ok()["id"]
    [first, _] = sorted(
        (name for name in store.objects if f"/{project}/packs/" in name), key=lambda name: len(store.objects[name])
    )[::-1]
    del store.objects[first]
    for path in (server.settings.data / "cache" / "store").rglob(f"{first.rpartition('/')[2]}/*"):
        path.unlink()
    lost = admin.get("/projects/acme/artifacts/docs/rollback.md")
    assert (lost.status, lost.code) == (500, "store.missing")
    assert lost.json["path"] == "docs/rollback.md"
    assert lost.json["hint"]
    assert admin.get("/projects/acme/artifacts/docs/other.md").body == b"# Other\n"
    assert admin.get("/projects/acme/artifacts").status == 200
    admin.put("acme", "docs/new.md", b"new").ok()
    assert admin.get("/health").json["status"] == "ok"
    assert len(admin.post("/projects/acme/search", {"query": "rollback"}).ok()["hits"]) == 1
