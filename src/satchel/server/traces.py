"""Some requests as traces: a span for each, and below it one for each call of the store and transaction of the catalog.

Loaded only where a collector is named (``otlp_url``). Spans have names of ours alone: a route by its template, a tenant
by its id, an error by its code. No content, query, credential or path of an artifact, and of what a caller sent the
trace's id alone, which is hexadecimal (promise P10). A request that is not traced costs one draw; what is traced waits
in a queue of bounded length, and is dropped where the collector does not keep up.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable
from contextvars import ContextVar
from typing import TYPE_CHECKING

from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import Span, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.sdk.trace.sampling import ALWAYS_ON
from opentelemetry.trace import SpanKind, Status, StatusCode, set_span_in_context
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator
from starlette.types import Scope

from satchel import __version__

if TYPE_CHECKING:
    from satchel.server.edge import Exchange

MAX_CALLS = 128
"""Spans below one request; what is beyond is counted. A first sync makes one for each pack."""
QUEUE_SPANS = 4_096
"""About 15 MB while the collector does not answer."""
EXPORT_SECONDS = 3
"""Longest wait for the collector, in a thread of its own."""
CLOSE_SECONDS = 1.0
"""How long the end of the server waits for the last spans to be sent."""
_SAMPLED = 0x01
_ONE = 1 << 32
_current: ContextVar[Trace | None] = ContextVar("trace", default=None)


class Traces:
    """One for a process."""

    def __init__(
        self, url: str, percent: int, *, random: Callable[[int], bytes], trusts: Callable[[Scope], bool]
    ) -> None:
        """``percent`` of requests are traced, and those that a caller whom ``trusts`` approves marked as sampled."""
        resource = Resource.create(
            {"service.name": "satchel", "service.version": __version__, "service.instance.id": random(8).hex()}
        )
        self._provider = TracerProvider(sampler=ALWAYS_ON, resource=resource, shutdown_on_exit=False)
        exporter = OTLPSpanExporter(endpoint=f"{url.rstrip('/')}/v1/traces", timeout=EXPORT_SECONDS)
        self._provider.add_span_processor(BatchSpanProcessor(exporter, max_queue_size=QUEUE_SPANS))
        self._tracer = self._provider.get_tracer("satchel", __version__)
        self._parents = TraceContextTextMapPropagator()
        self._below = percent * _ONE // 100
        self._random, self._trusts = random, trusts

    def begin(self, scope: Scope) -> Trace | None:
        """The trace of a request, if it is one of those that are traced."""
        said = next((value for name, value in scope["headers"] if name == b"traceparent"), b"")
        drawn = int.from_bytes(self._random(4)) < self._below
        if not drawn and not (said and self._trusts(scope) and _sampled(said)):
            return None
        # `tracestate` is not looked at: it is any text, and would be sent on.
        parent = self._parents.extract({"traceparent": said.decode("latin-1")}) if said else None
        span = self._tracer.start_span("request", context=parent, kind=SpanKind.SERVER)
        assert isinstance(span, Span)
        return Trace(self, span)

    def call(self, room: str, operation: str, seconds: float, good: bool) -> None:
        """Note what was asked of the store or the catalog and has just been answered, if a traced request did."""
        trace = _current.get()
        if trace is None:
            return
        trace.calls += 1
        if trace.calls > MAX_CALLS:
            return
        ended = time.time_ns()
        span = self._tracer.start_span(
            f"{room} {operation}",
            context=trace.context,
            kind=SpanKind.CLIENT,
            start_time=ended - int(seconds * 1e9),
        )
        if not good:
            span.set_status(Status(StatusCode.ERROR))
        span.end(ended)

    def flush(self) -> None:
        """Send now what waits."""
        self._provider.force_flush()

    async def close(self) -> None:
        """Send what waits, for a short time, and stop."""
        # A thread that nobody waits for: a collector that hangs must not keep the process from ending.
        last = threading.Thread(target=self._provider.shutdown, name="traces", daemon=True)
        last.start()
        await asyncio.to_thread(last.join, CLOSE_SECONDS)


class Trace:
    """The trace of one request, from its start to its end."""

    __slots__ = ("_span", "_token", "_traces", "calls", "context", "id")

    def __init__(self, traces: Traces, span: Span) -> None:
        self._traces, self._span = traces, span
        self.calls = 0
        self.context = set_span_in_context(span)
        self.id = f"{span.get_span_context().trace_id:032x}"
        """As the log has it."""
        self._token = _current.set(self)

    def end(self, method: str, route: str, exchange: Exchange) -> None:
        """What is known of the request now."""
        _current.reset(self._token)
        span = self._span
        span.update_name(f"{method} {route}")
        span.set_attribute("http.request.method", "_OTHER" if method == "?" else method)
        span.set_attribute("http.route", route)
        span.set_attribute("http.response.status_code", exchange.status)
        span.set_attribute("satchel.request", exchange.id)
        if exchange.tenant is not None:
            span.set_attribute("satchel.tenant", exchange.tenant)
        if exchange.code is not None:
            span.set_attribute("error.type", exchange.code)
        if self.calls > MAX_CALLS:
            span.set_attribute("satchel.calls", self.calls)
        if exchange.status >= 500 or exchange.status == 0:
            span.set_status(Status(StatusCode.ERROR))
        span.end()


def _sampled(traceparent: bytes) -> bool:
    """Whether the flags say so: ``00-<32 hex>-<16 hex>-<2 hex>``."""
    try:
        return bool(int(traceparent[53:55], 16) & _SAMPLED)
    except ValueError:
        return False
