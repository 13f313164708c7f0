"""``/metrics``: what the server counts, in the forms that Prometheus reads, on an address of its own.

Whoever may reach that address may read it: it asks for no credential, and shows no content and no secret. Names of
tenants are shown only where ``metrics_tenants`` says so, and then those of so many. ``docs/reference/metrics.md`` lists
what there is.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from typing import NamedTuple

import uvicorn
from prometheus_client import CollectorRegistry, GCCollector, ProcessCollector
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.exposition import choose_encoder
from prometheus_client.registry import Collector
from starlette.types import ASGIApp, Receive, Scope, Send

from satchel import __version__
from satchel.server.cloud import Cloud
from satchel.server.meters import BUCKETS, Spent

MOST_AT_ONCE = 32
"""Connections; more are refused."""


class Declared(NamedTuple):
    """One metric, as the reference shows it."""

    name: str
    kind: str
    """``counter``, ``gauge`` or ``histogram``."""
    labels: tuple[str, ...]
    doc: str


_C, _G, _H = "counter", "gauge", "histogram"
METRICS = (
    Declared("satchel_build_info", _G, ("version",), "Always 1: which version runs."),
    Declared("satchel_up_seconds", _G, (), "How long the server has been serving."),
    Declared("satchel_draining", _G, (), "1 from the moment the server was told to stop."),
    Declared("satchel_request_seconds", _H, ("method", "route"), "Requests by duration, until the end of the answer."),
    Declared("satchel_responses", _C, ("method", "route", "status"), "Answers by status; 0: the client had gone."),
    Declared("satchel_request_body_bytes", _C, ("method", "route"), "Bytes of bodies received: syncs by their route."),
    Declared("satchel_response_body_bytes", _C, ("method", "route"), "Bytes of bodies sent."),
    Declared("satchel_requests_under_way", _G, (), "Requests being answered now, those that wait for events too."),
    Declared("satchel_problems", _C, ("code",), "Errors answered, by code (docs/errors)."),
    Declared("satchel_cache_hits", _C, ("cache",), "What a memory had: answers, credentials, keyring, indexes, store."),
    Declared("satchel_cache_misses", _C, ("cache",), "What it had not."),
    Declared("satchel_cache_bytes", _G, ("cache",), "Disk in use by the indexes, and by copies of stored bytes."),
    Declared("satchel_index_builds", _C, (), "Search indexes that were brought up to their project's head."),
    Declared("satchel_index_build_seconds", _C, (), "How long that took in all."),
    Declared(
        "satchel_index_checkpoints",
        _C,
        ("outcome",),
        "Checkpoints of indexes that were made, used, or failed to serve.",
    ),
    Declared("satchel_index_building", _G, (), "Indexes being brought up to date now."),
    Declared("satchel_index_lag_seconds", _G, (), "How long the oldest of them has been behind; 0: none is."),
    Declared(
        "satchel_queue_waiting",
        _G,
        ("queue",),
        "Requests and large bodies that wait for a turn, questions for a thread.",
    ),
    Declared("satchel_queue_busy", _G, ("queue",), "Places that are taken."),
    Declared("satchel_listeners", _G, (), "Connections that wait for new versions."),
    Declared("satchel_store_calls", _C, ("operation",), "Calls of the object store."),
    Declared("satchel_store_failures", _C, ("operation",), "Calls that it did not answer."),
    Declared("satchel_store_seconds", _C, ("operation",), "How long the calls took in all."),
    Declared("satchel_store_up", _G, (), "1 if the store answered when it was asked last."),
    Declared("satchel_database_transactions", _C, ("kind",), "Transactions, and reads outside of any."),
    Declared("satchel_database_failures", _C, ("kind",), "Those that the catalog did not answer, or was too busy for."),
    Declared("satchel_database_seconds", _C, ("kind",), "How long they lasted in all, waits for a turn included."),
    Declared("satchel_catalog_heard", _G, (), "1 if changes made by other nodes were heard of within a second."),
    Declared("satchel_background_failures", _C, ("work",), "Times that a work in the background failed."),
    Declared("satchel_tenant_requests", _C, ("tenant",), "Requests by tenant. Only with metrics_tenants."),
    Declared("satchel_tenant_quota_use", _G, ("tenant", "quota"), "Part of a quota in use. Only with metrics_tenants."),
)
"""Every metric of ours. Counters get ``_total`` behind their names when they are read."""
_BY_NAME = {one.name: one for one in METRICS}
Sample = tuple[tuple[str, ...], float]


class CloudCollector(Collector):
    """Makes metrics of what one server counted."""

    def __init__(self, cloud: Cloud) -> None:
        self._cloud = cloud

    def collect(self) -> Iterator[Metric]:
        cloud, meters = self._cloud, self._cloud.meters
        answers = meters.answers
        yield _simple("satchel_build_info", (((__version__,), 1),))
        yield _one("satchel_up_seconds", (cloud.clock() - cloud.started) / 1000)
        yield _one("satchel_draining", cloud.ending.is_set())
        yield self._durations()
        yield _simple(
            "satchel_responses",
            (((*at, str(status)), n) for at, one in answers.items() for status, n in one.statuses.items()),
        )
        yield _simple("satchel_request_body_bytes", ((at, one.received) for at, one in answers.items()))
        yield _simple("satchel_response_body_bytes", ((at, one.sent) for at, one in answers.items()))
        yield _one("satchel_requests_under_way", meters.under_way)
        yield _counted("satchel_problems", meters.problems)
        yield from self._memories()
        yield from self._indexes()
        admission = cloud.admission
        queues = {"requests": admission.turns, "bodies": admission.bodies, "questions": cloud.readers.turns}
        yield _simple("satchel_queue_waiting", (((name,), turns.waiting) for name, turns in queues.items()))
        yield _simple("satchel_queue_busy", (((name,), turns.busy) for name, turns in queues.items()))
        yield _one("satchel_listeners", cloud.listeners.all)
        yield from _spent("satchel_store", "calls", meters.store)
        yield _one("satchel_store_up", not cloud.outage.down)
        yield from _spent("satchel_database", "transactions", meters.database)
        yield _one("satchel_catalog_heard", cloud.watch.heard())
        yield _counted("satchel_background_failures", meters.failures)
        yield _counted("satchel_tenant_requests", meters.tenants)
        yield _simple(
            "satchel_tenant_quota_use",
            (((tenant, quota), part) for tenant, parts in meters.use.items() for quota, part in parts.items()),
        )

    def _durations(self) -> Metric:
        declared = _BY_NAME["satchel_request_seconds"]
        family = HistogramMetricFamily(declared.name, declared.doc, labels=declared.labels)
        for at, one in self._cloud.meters.answers.items():
            rising, buckets = 0, []
            for bound, count in zip((*map(str, BUCKETS), "+Inf"), one.buckets, strict=True):
                rising += count
                buckets.append((bound, float(rising)))
            family.add_metric(at, buckets, one.seconds)
        return family

    def _memories(self) -> Iterator[Metric]:
        cloud = self._cloud
        answers, signed, ring, readers = (
            cloud.meters.hits("answers"),
            cloud.authenticator,
            cloud.keyring,
            cloud.readers,
        )
        hits = {"answers": answers.hits, "credentials": signed.hits, "keyring": ring.hits}
        misses = {"answers": answers.misses, "credentials": signed.misses, "keyring": ring.misses}
        sizes = {"indexes": cloud.indexes.bytes_used}
        hits["indexes"], misses["indexes"] = readers.asked - readers.behind, readers.behind
        if cloud.cached is not None:
            hits["store"], misses["store"] = cloud.cached.hits, cloud.cached.misses
            sizes["store"] = cloud.cached.bytes_used
        yield _counted("satchel_cache_hits", hits)
        yield _counted("satchel_cache_misses", misses)
        yield _counted("satchel_cache_bytes", sizes)

    def _indexes(self) -> Iterator[Metric]:
        readers = self._cloud.readers
        yield _one("satchel_index_builds", readers.builds)
        yield _one("satchel_index_build_seconds", readers.build_seconds)
        yield _counted("satchel_index_checkpoints", readers.checkpoints.outcomes)
        yield _one("satchel_index_building", readers.building)
        yield _one("satchel_index_lag_seconds", readers.lag_seconds)


def _simple(name: str, samples: Iterable[Sample]) -> Metric:
    declared = _BY_NAME[name]
    made = CounterMetricFamily if declared.kind == _C else GaugeMetricFamily
    family: CounterMetricFamily | GaugeMetricFamily = made(name, declared.doc, labels=declared.labels)
    for labels, value in samples:
        family.add_metric(labels, value)
    return family


def _one(name: str, value: float) -> Metric:
    return _simple(name, (((), value),))


def _counted(name: str, counts: Mapping[str, float]) -> Metric:
    return _simple(name, (((label,), count) for label, count in counts.items()))


def _spent(name: str, calls: str, spent: Mapping[str, Spent]) -> Iterator[Metric]:
    yield _counted(f"{name}_{calls}", {label: one.calls for label, one in spent.items()})
    yield _counted(f"{name}_failures", {label: one.failures for label, one in spent.items()})
    yield _counted(f"{name}_seconds", {label: one.seconds for label, one in spent.items()})


def registry(cloud: Cloud) -> CollectorRegistry:
    """Everything that is told of a server, its process included."""
    made = CollectorRegistry()
    made.register(CloudCollector(cloud))
    ProcessCollector(registry=made)
    GCCollector(registry=made)
    return made


def exposition(cloud: Cloud) -> ASGIApp:
    """The application that answers ``GET /metrics``, and nothing else."""
    shown = registry(cloud)

    async def app(scope: Scope, _receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        status, body, media = 404, b"metrics are at /metrics\n", "text/plain; charset=utf-8"
        if scope["path"] == "/metrics" and scope["method"] in ("GET", "HEAD"):
            accept = b",".join(value for name, value in scope["headers"] if name == b"accept")
            encode, media = choose_encoder(accept.decode("latin-1"))
            status, body = 200, encode(shown)
        headers = [(b"content-type", media.encode()), (b"content-length", str(len(body)).encode())]
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": b"" if scope["method"] == "HEAD" else body})

    return app


class _Server(uvicorn.Server):
    """uvicorn's, beside the server's own on one event loop: signals are that one's."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


@asynccontextmanager
async def metrics_served(cloud: Cloud, listener: socket.socket) -> AsyncIterator[None]:
    """Metrics answered on ``listener`` for as long as the block lasts, so until the last request was answered."""
    config = uvicorn.Config(
        exposition(cloud),
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
        limit_concurrency=MOST_AT_ONCE,
        timeout_graceful_shutdown=1,
    )
    server = _Server(config)
    serving = asyncio.create_task(server.serve(sockets=[listener]), name="metrics")
    try:
        yield
    finally:
        server.should_exit = True
        await asyncio.gather(serving, return_exceptions=True)


def reference() -> str:
    """The text of ``docs/reference/metrics.md``."""
    lines = [
        "# Metrics",
        "",
        "Generated from `src/satchel/server/metrics.py`; a test keeps the two equal. `SATCHEL_METRICS_PORT` switches",
        "them on: see [watching a server](../guide/operate/observe.md). Beside these stand the usual `process_*` and",
        "`python_gc_*`.",
        "",
        "| name | kind | labels | meaning |",
        "|---|---|---|---|",
    ]
    for one in METRICS:
        name = f"{one.name}_total" if one.kind == _C else one.name
        labels = ", ".join(f"`{label}`" for label in one.labels) or "–"
        lines.append(f"| `{name}` | {one.kind} | {labels} | {one.doc} |")
    return "\n".join([*lines, ""])
