"""Traces as a collector receives them: what they join, how many there are, and what is never in them (P10)."""

from __future__ import annotations

import asyncio
import logging
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from structlog.testing import capture_logs

from satchel.config.server import ServerSettings, server_settings
from satchel.errors import ConfigInvalid
from satchel.server.checks import survey
from satchel.server.contradictions import refuse_contradictions
from satchel.server.traces import MAX_CALLS, Traces
from tests.server.running import Answer, Running, serving, until

logging.getLogger("opentelemetry").propagate = False  # it would tell of the collector that hangs, from its thread


@pytest.fixture(autouse=True)
def threads_end() -> Iterator[None]:
    """What sends the last spans outlives a server that need not wait for it; its draws are not for another test."""
    before = set(threading.enumerate())
    yield
    for thread in set(threading.enumerate()) - before:
        if thread.name == "traces" or thread.name.startswith("Otel"):
            thread.join(60)
            assert not thread.is_alive(), thread.name


CALLER = "0af7651916cd43dd8448eb211c80319c"
PARENT = f"00-{CALLER}-b7ad6b7169203331-01"


class Collector:
    """Receives OTLP over HTTP, and keeps it."""

    def __init__(self) -> None:
        self.bodies: list[bytes] = []
        kept = self.bodies

        class Receive(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                assert self.path == "/v1/traces"
                kept.append(self.rfile.read(int(self.headers["content-length"])))
                self.send_response(200)
                self.end_headers()

            def log_message(self, *_: object) -> None:
                """Nothing: what a test prints is its own."""

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Receive)
        self.url = f"http://127.0.0.1:{self.server.server_port}"

    def spans(self) -> list[Any]:
        requests = [ExportTraceServiceRequest.FromString(body) for body in self.bodies]
        return [
            span for one in requests for of in one.resource_spans for scope in of.scope_spans for span in scope.spans
        ]

    def named(self, name: str) -> list[Any]:
        return [span for span in self.spans() if span.name == name]


@pytest.fixture(scope="module")
def collector() -> Iterator[Collector]:
    made = Collector()
    thread = threading.Thread(target=made.server.serve_forever, args=(0.05,))
    thread.start()
    yield made
    made.server.shutdown()
    made.server.server_close()
    thread.join(10)


@pytest.fixture(scope="module")
def traced(collector: Collector, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """A server that traces every request."""
    with serving(tmp_path_factory.mktemp("traced") / "data", otlp_url=collector.url, trace_percent=100) as running:
        yield running


def received(running: Running, collector: Collector, name: str, request: Answer) -> Any:
    """The span of a request, once it is with the collector."""

    def found() -> list[Any]:
        running.cloud.meters.told.__self__.flush()  # type: ignore[union-attr]
        return [s for s in collector.named(name) if _facts(s)["satchel.request"] == request.headers["x-request-id"]]

    until(lambda: bool(found()))
    [span] = found()
    return span


def test_a_request_is_a_span_with_its_id_and_what_it_asked_for_below_it(traced: Running, collector: Collector) -> None:
    owner = traced.tenant("traced")
    owner.post("/projects", {"slug": "acme"}).ok()
    answer = owner.put("acme", "a.md", b"# A\n\nword\n")
    span = received(traced, collector, "PUT /projects/{p}/artifacts/{path:path}", answer)
    facts = _facts(span)
    assert facts["http.request.method"] == "PUT"
    assert facts["http.response.status_code"] == str(answer.status)
    assert facts["satchel.tenant"].startswith("ten_")
    below = [child for child in collector.spans() if child.parent_span_id == span.span_id]
    assert {child.name for child in below} >= {"catalog write", "store put"}
    for child in below:
        assert child.trace_id == span.trace_id
        assert span.start_time_unix_nano - 10_000_000 <= child.start_time_unix_nano <= child.end_time_unix_nano
        assert child.end_time_unix_nano <= span.end_time_unix_nano


def test_a_callers_trace_is_joined_and_its_state_is_not_passed_on(traced: Running, collector: Collector) -> None:
    owner = traced.tenant("joined")
    headers = {"traceparent": PARENT, "tracestate": "vendor=canarystate"}
    with capture_logs() as lines:
        answer = owner.send("GET", "/projects", headers=headers)
        span = received(traced, collector, "GET /projects", answer)
    assert (span.trace_id.hex(), span.parent_span_id.hex()) == (CALLER, "b7ad6b7169203331")
    assert [line["trace"] for line in lines if line.get("request") == answer.headers["x-request-id"]] == [CALLER]
    assert not any(b"canarystate" in body for body in collector.bodies)


@pytest.mark.promise("P10")
def test_no_trace_has_content_a_query_a_path_a_name_or_a_credential_in_it(
    traced: Running, collector: Collector
) -> None:
    canary = "canarywordintraces"
    owner = traced.tenant(f"{canary}t")
    owner.post("/projects", {"slug": canary, "description": canary}).ok()
    owner.put(canary, f"{canary}.md", f"# {canary}\n".encode()).ok()
    owner.get("/search", q=canary).ok()
    owner.get(f"/projects/{canary}/artifacts/{canary}.md")
    owner.send(canary.upper()[:9], f"/{canary}", headers={canary: canary, "traceparent": canary, "baggage": canary})
    traced.client(f"stl_live_{canary}").get(f"/projects/{canary}")
    received(traced, collector, "GET (none)", owner.get(f"/{canary}/{canary}"))
    assert collector.named("GET /search")
    everything = b"".join(collector.bodies)
    assert canary.encode() not in everything.lower()
    assert (owner.key or "-").encode() not in everything
    assert (owner.key or "-").rpartition("_")[2].encode() not in everything


@pytest.mark.promise("P8")
def test_a_request_that_asks_for_much_has_a_bounded_trace(collector: Collector) -> None:
    traces = Traces(collector.url, 100, random=bytes, trusts=lambda _scope: False)
    trace = traces.begin({"type": "http", "headers": []})
    assert trace is not None
    for _ in range(MAX_CALLS + 9):
        traces.call("store", "bounded", 0.001, True)
    traces.flush()
    assert len(collector.named("store bounded")) == MAX_CALLS
    assert trace.calls == MAX_CALLS + 9
    asyncio.run(traces.close())


def test_a_share_of_requests_is_traced_and_what_a_trusted_proxy_marked(collector: Collector) -> None:
    draws = iter([b"\x00\x00\x00\x01", *[b"\xff\xff\xff\xff"] * 9])

    def draw(count: int) -> bytes:
        return b"\x01" * count if count != 4 else next(draws)

    def begun(traceparent: str | None, trusted: bool = False) -> bool:
        scope: dict[str, Any] = {"type": "http", "trusted": trusted, "headers": []}
        if traceparent is not None:
            scope["headers"] = [(b"traceparent", traceparent.encode())]
        return traces.begin(scope) is not None

    traces = Traces(collector.url, 10, random=draw, trusts=lambda scope: bool(scope["trusted"]))
    assert begun(None)
    assert not begun(None)
    assert not begun(PARENT)
    assert begun(PARENT, trusted=True)
    assert not begun(PARENT[:-2] + "00", trusted=True)
    assert not begun("00-zz", trusted=True)
    assert not begun("\N{LATIN SMALL LETTER E WITH ACUTE}" * 60, trusted=True)
    asyncio.run(traces.close())


def test_a_server_ends_in_time_and_serves_where_the_collector_hangs(tmp_path: Path) -> None:
    with ThreadingHTTPServer(("127.0.0.1", 0), BaseHTTPRequestHandler) as deaf:  # listens, and never answers
        url = f"http://127.0.0.1:{deaf.server_port}"
        with serving(tmp_path / "data", otlp_url=url, trace_percent=100) as running:
            running.tenant("deaf").get("/projects").ok()


def test_nothing_of_it_is_loaded_where_no_collector_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "satchel.server.traces")  # which alone imports what makes them: a contract
    with serving(tmp_path / "data") as running:
        running.tenant("plain").get("/projects").ok()
        assert "satchel.server.traces" not in sys.modules
        assert running.cloud.meters.told is None


def _settings(**values: object) -> ServerSettings:
    return server_settings(values, env={})


@pytest.mark.parametrize("url", ["collector:4318", "ftp://collector", "http://", "http://me:secret@collector"])
def test_a_collector_that_is_no_address_stops_the_server(url: str) -> None:
    with pytest.raises(ConfigInvalid, match="SATCHEL_OTLP_URL has to be an address") as caught:
        refuse_contradictions(_settings(otlp_url=url))
    assert "secret" not in str(caught.value)


def test_without_the_extra_a_server_that_shall_trace_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = _settings(otlp_url="http://127.0.0.1:4318")
    refuse_contradictions(settings)
    monkeypatch.setattr("importlib.util.find_spec", lambda _name: None)
    with pytest.raises(ConfigInvalid, match="not installed") as caught:
        refuse_contradictions(settings)
    assert "satchel[server,otel]" in caught.value.hint


def test_the_check_says_whether_the_collector_answers(collector: Collector, tmp_path: Path) -> None:
    for url, state in ((collector.url, "ok"), ("http://127.0.0.1:1", "warning")):
        found = asyncio.run(survey(_settings(data=tmp_path / "data", port=0, otlp_url=url)))
        [row] = [row for row in found.rows if row.name == "traces"]
        assert (row.state, found.error) == (state, None)


def _facts(span: Any) -> dict[str, str]:
    return {each.key: each.value.string_value or str(each.value.int_value) for each in span.attributes}
