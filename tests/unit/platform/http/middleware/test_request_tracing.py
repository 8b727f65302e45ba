from collections.abc import Iterator
from types import SimpleNamespace

import pytest
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from starlette.types import Message, Receive, Scope, Send

from app.platform.http.middleware.request_tracing import trace_request
from app.platform.observability.otlp_traces import OtlpTracer
from app.platform.observability.tracing import current_traceparent, set_tracer

PARENT = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"


@pytest.fixture
def exporter() -> Iterator[InMemorySpanExporter]:
    exporter = InMemorySpanExporter()
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    set_tracer(OtlpTracer(provider.get_tracer("test")))
    yield exporter
    set_tracer(None)


async def call(path: str, status: int = 200, headers: list[tuple[bytes, bytes]] | None = None) -> str | None:
    """Answer a request; gives the `traceparent` within it."""
    seen: list[str | None] = []

    async def app(scope: Scope, _: Receive, send: Send) -> None:
        seen.append(current_traceparent())
        scope["route"] = SimpleNamespace(path="/v1/sites/{site_id}")
        await send({"type": "http.response.start", "status": status, "headers": []})

    async def receive() -> Message:
        return {}

    async def ignore(_: Message) -> None:
        """Drop what is sent."""

    scope: Scope = {"type": "http", "method": "GET", "path": path, "headers": headers or []}
    await trace_request(app, scope, receive, ignore)
    return seen[0]


async def test_a_request_continues_the_trace_of_its_client(exporter: InMemorySpanExporter) -> None:
    within = await call("/v1/sites/1?q=secret", headers=[(b"traceparent", PARENT.encode())])
    (span,) = exporter.get_finished_spans()
    assert within is not None
    assert within.split("-")[1] == PARENT.split("-")[1]
    assert span.name == "GET /v1/sites/{site_id}"
    assert dict(span.attributes or {}) == {
        "http.request.method": "GET",
        "http.route": "/v1/sites/{site_id}",
        "http.response.status_code": 200,
    }


async def test_a_failure_is_marked(exporter: InMemorySpanExporter) -> None:
    await call("/v1/sites/1", status=503)
    (span,) = exporter.get_finished_spans()
    assert not span.status.is_ok


async def test_probes_and_a_header_that_is_malformed(exporter: InMemorySpanExporter) -> None:
    await call("/readyz")
    assert exporter.get_finished_spans() == ()
    await call("/v1/sites/1", headers=[(b"traceparent", b"00-\xff")])
    (span,) = exporter.get_finished_spans()
    assert span.parent is None


async def test_without_telemetry_a_request_has_no_span() -> None:
    assert await call("/v1/sites/1", headers=[(b"traceparent", PARENT.encode())]) is None
