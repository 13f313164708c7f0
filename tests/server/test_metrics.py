"""What ``/metrics`` shows, and what it never shows (P10)."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import AbstractAsyncContextManager
from pathlib import Path

import pytest
import urllib3
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.samples import Sample

from satchel.config.server import server_settings
from satchel.errors import ConfigInvalid
from satchel.server import quotause
from satchel.server.contradictions import refuse_contradictions
from satchel.server.meters import BUCKETS, OTHERS, Meters
from satchel.server.metrics import METRICS, metrics_served, reference
from satchel.server.serve import listen
from tests.server.running import Running, serving, until

DOCS = Path(__file__).parents[2] / "docs"


@pytest.fixture
def counted(tmp_path: Path) -> Iterator[tuple[Running, str]]:
    """A server that nobody asked before, counts two tenants by themselves, and the address of its metrics."""
    with serving(tmp_path / "data", metrics_tenants=2) as running:
        listener = listen("127.0.0.1", 0)
        context: AbstractAsyncContextManager[None] = metrics_served(running.cloud, listener)
        running.run(context.__aenter__())
        try:
            yield running, f"http://127.0.0.1:{listener.getsockname()[1]}/metrics"
        finally:
            running.run(context.__aexit__(None, None, None))


def _text(url: str) -> str:
    with urllib3.PoolManager(retries=False) as pool:
        answer = pool.request("GET", url, timeout=30)
        assert answer.status == 200
        return str(answer.data.decode())


def _samples(url: str) -> list[Sample]:
    return [sample for family in text_string_to_metric_families(_text(url)) for sample in family.samples]


def _value(samples: list[Sample], name: str, **labels: str) -> float:
    return sum(s.value for s in samples if s.name == name and labels.items() <= s.labels.items())


def test_what_a_server_does_is_counted_by_route_status_cache_and_dependency(counted: tuple[Running, str]) -> None:
    running, url = counted
    owner = running.tenant("counted")
    owner.post("/projects", {"slug": "acme"}).ok()
    owner.put("acme", "a.md", b"# A\n\nword\n").ok()
    for _ in range(3):
        owner.get("/projects/acme/search", q="word").ok()
    owner.get("/projects/nowhere")
    until(lambda: _value(_samples(url), "satchel_problems_total", code="project.not_found") == 1)
    found = _samples(url)
    searched = {"method": "GET", "route": "/projects/{p}/search"}
    assert _value(found, "satchel_request_seconds_count", **searched) == 3
    assert _value(found, "satchel_request_seconds_bucket", **searched, le="+Inf") == 3
    assert _value(found, "satchel_responses_total", **searched, status="200") == 3
    assert _value(found, "satchel_request_body_bytes_total", method="PUT") == len(b"# A\n\nword\n")
    assert _value(found, "satchel_response_body_bytes_total", **searched) > 0
    assert _value(found, "satchel_cache_misses_total", cache="indexes") == 1
    assert _value(found, "satchel_cache_hits_total", cache="answers") >= 1
    assert _value(found, "satchel_index_builds_total") == 1
    for calls in ("satchel_store_calls_total", "satchel_database_transactions_total"):
        assert _value(found, calls) > 0
    assert _value(found, "satchel_store_up") == 1
    assert _value(found, "process_resident_memory_bytes") > 0


@pytest.mark.promise("P10")
def test_no_metric_has_anything_of_a_tenants_in_it(counted: tuple[Running, str]) -> None:
    running, url = counted
    canary = "canarywordinmetrics"
    owner = running.tenant(f"{canary}t")
    owner.post("/projects", {"slug": canary, "description": canary}).ok()
    owner.put(canary, f"{canary}.md", f"# {canary}\n".encode()).ok()
    owner.get("/search", q=canary).ok()
    owner.send(canary.upper()[:9], f"/{canary}", headers={canary: canary})
    running.client(f"stl_live_{canary}").get(f"/projects/{canary}")
    owner.get(f"/{canary}/{canary}")
    until(lambda: _value(_samples(url), "satchel_problems_total", code="resource.not_found") >= 1)
    text = _text(url)
    assert canary not in text.lower()
    assert (owner.key or "-") not in text


@pytest.mark.promise("P8")
def test_tenants_are_counted_up_to_a_bound_and_their_quotas_with_them(counted: tuple[Running, str]) -> None:
    running, url = counted
    for slug in ("one", "two", "three"):
        running.tenant(slug).get("/projects").ok()
    running.run(quotause.look(running.cloud))
    found = _samples(url)
    names = {s.labels["tenant"] for s in found if s.name == "satchel_tenant_requests_total"}
    assert OTHERS in names
    assert len(names) == 3
    assert {s.labels["quota"] for s in found if s.name == "satchel_tenant_quota_use"} >= {"storageBytes", "projects"}
    assert len({s.labels["tenant"] for s in found if s.name == "satchel_tenant_quota_use"}) == 2


def test_tenants_are_not_counted_by_themselves_unless_that_was_asked_for() -> None:
    assert server_settings({}, env={}).metrics_tenants == 0
    assert server_settings({}, env={}).metrics_port == 0
    assert Meters().tenants == {}


def test_metrics_are_at_their_own_address_alone(counted: tuple[Running, str]) -> None:
    running, url = counted
    assert running.client().send("GET", "/docs/../metrics").status == 404
    with urllib3.PoolManager(retries=False) as pool:
        assert pool.request("GET", url.replace("/metrics", "/api/v1/projects"), timeout=30).status == 404
        assert pool.request("POST", url, timeout=30).status == 404
    with pytest.raises(ConfigInvalid, match="SATCHEL_METRICS_PORT"):
        refuse_contradictions(server_settings({"port": 9000, "metrics_port": 9000}, env={}))


def test_every_metric_that_is_declared_is_made_and_the_other_way_round(counted: tuple[Running, str]) -> None:
    running, url = counted
    running.tenant("declared").get("/projects").ok()
    families = {family.name for family in text_string_to_metric_families(_text(url))}
    own = {name for name in families if name.startswith("satchel_")}
    assert own == {one.name for one in METRICS}
    assert 0.05 in BUCKETS
    assert 0.15 in BUCKETS


def test_the_reference_lists_every_metric() -> None:
    written = (DOCS / "reference" / "metrics.md").read_text()
    assert written == reference(), (
        "write it anew: python -c 'from satchel.server.metrics import reference; print(reference(), end=\"\")'"
    )
    assert len(re.findall(r"^\| `satchel_", written, re.MULTILINE)) == len(METRICS)
