import subprocess
import sys
from collections.abc import Iterator

import pytest
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.sdk.trace.sampling import ParentBased, TraceIdRatioBased

from app.platform.observability.otlp_traces import OtlpTracer, build_resource
from app.platform.observability.tracing import (
    MAX_LINKS,
    NO_SPAN,
    TraceParent,
    current_span,
    current_traceparent,
    is_tracing,
    parse_traceparent,
    set_tracer,
    start_span,
    use_span,
)

TRACE, SPAN = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
PARENT = f"00-{TRACE}-{SPAN}-01"


def export(ratio: float) -> InMemorySpanExporter:
    exporter = InMemorySpanExporter()
    provider = TracerProvider(
        sampler=ParentBased(TraceIdRatioBased(ratio)), resource=Resource({}), shutdown_on_exit=False
    )
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    set_tracer(OtlpTracer(provider.get_tracer("test")))
    return exporter


@pytest.fixture
def exporter() -> Iterator[InMemorySpanExporter]:
    yield export(1.0)
    set_tracer(None)


@pytest.fixture
def unsampled() -> Iterator[InMemorySpanExporter]:
    yield export(0.0)
    set_tracer(None)


@pytest.mark.parametrize(
    ("text", "found"),
    [
        (PARENT, TraceParent(TRACE, SPAN, is_sampled=True)),
        (f"00-{TRACE}-{SPAN}-00", TraceParent(TRACE, SPAN, is_sampled=False)),
        (f"00-{TRACE}-{SPAN}-03", TraceParent(TRACE, SPAN, is_sampled=True)),
        (f"cc-{TRACE}-{SPAN}-01-what-comes-later", TraceParent(TRACE, SPAN, is_sampled=True)),
        (f"ff-{TRACE}-{SPAN}-01", None),
        (f"00-{'0' * 32}-{SPAN}-01", None),
        (f"00-{TRACE}-{'0' * 16}-01", None),
        (PARENT.upper(), None),
        (f"{PARENT}\n", None),
        (f"cc-{TRACE}-{SPAN}-01-{'x' * 200}", None),
        ("", None),
        (None, None),
    ],
)
def test_parse_traceparent(text: str | None, found: TraceParent | None) -> None:
    assert parse_traceparent(text) == found


def test_without_telemetry_spans_do_nothing() -> None:
    assert not is_tracing()
    with use_span(start_span("batch", parent=PARENT)) as span:
        assert span is NO_SPAN
        assert current_traceparent() is None
        span.update({"count": 1}, name="other")
        span.fail("no")


def test_without_telemetry_neither_sdk_nor_exporter_is_loaded() -> None:
    # FastAPI loads OpenTelemetry's API, which is small.
    code = (
        "import sys, app.processes.ingest, app.processes.deliver, app.processes.maintain\n"
        "import app.processes.api_server\n"
        "from app.platform.config.telemetry_settings import TelemetrySettings\n"
        "from app.platform.observability.telemetry import start_telemetry\n"
        "start_telemetry(TelemetrySettings(), role='api')\n"
        "heavy = ('opentelemetry.sdk', 'opentelemetry.exporter')\n"
        "print([name for name in sys.modules if name.startswith(heavy)])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)  # noqa: S603  # our own program
    assert done.stdout.strip() == "[]"


def test_a_span_continues_the_trace_of_its_parent(exporter: InMemorySpanExporter) -> None:
    begun = start_span("alert.firing", kind="producer", parent=PARENT, links=[PARENT, "not one"])
    with use_span(begun) as span:
        assert current_span() is span
        inner = start_span("inner")
        inner.end()
    assert current_traceparent() is None
    child, parent = exporter.get_finished_spans()
    assert (parent.name, child.name) == ("alert.firing", "inner")
    assert parent.parent is not None
    assert f"{parent.parent.span_id:016x}" == SPAN
    assert [f"{link.context.trace_id:032x}" for link in parent.links] == [TRACE]
    assert child.parent is not None
    assert child.parent.span_id == parent.context.span_id
    assert span.traceparent == f"00-{TRACE}-{parent.context.span_id:016x}-01"


def test_a_root_does_not_continue_the_current_span(exporter: InMemorySpanExporter) -> None:
    with use_span(start_span("batch")) as batch:
        other = start_span("event", is_root=True)
        other.end()
    assert other.trace_id != batch.trace_id
    assert exporter.get_finished_spans()[0].parent is None


def test_a_span_that_is_never_ended_is_not_exported(exporter: InMemorySpanExporter) -> None:
    start_span("rolled back")
    assert exporter.get_finished_spans() == ()


def test_an_error_is_named_and_not_quoted(exporter: InMemorySpanExporter) -> None:
    with pytest.raises(ValueError, match="secret"), use_span(start_span("batch")):
        raise ValueError("a secret value")
    (span,) = exporter.get_finished_spans()
    assert (span.status.is_ok, span.status.description) == (False, "ValueError")
    assert span.events == ()


def test_times_can_be_given(exporter: InMemorySpanExporter) -> None:
    start_span("step", start_ns=1_000).end(5_000)
    (span,) = exporter.get_finished_spans()
    assert (span.start_time, span.end_time) == (1_000, 5_000)


def test_links_are_bounded(exporter: InMemorySpanExporter) -> None:
    start_span("batch", links=[PARENT] * 1000).end()
    assert len(exporter.get_finished_spans()[0].links) == MAX_LINKS


def test_sampling_follows_the_parent_and_ids_are_there_without_it(unsampled: InMemorySpanExporter) -> None:
    root = start_span("batch")
    assert root.traceparent is not None
    assert (root.is_recording, root.traceparent[-3:]) == (False, "-00")
    root.end()
    sampled = start_span("event", parent=PARENT)
    assert sampled.is_recording
    sampled.end()
    assert [span.name for span in unsampled.get_finished_spans()] == ["event"]


def test_the_environment_names_the_service(monkeypatch: pytest.MonkeyPatch) -> None:
    assert build_resource("ingest").attributes["service.name"] == "vigie-ingest"
    monkeypatch.setenv("OTEL_SERVICE_NAME", "city")
    monkeypatch.setenv("OTEL_RESOURCE_ATTRIBUTES", "deployment.environment=test")
    attributes = build_resource("ingest").attributes
    assert attributes["service.name"] == "city"
    assert attributes["deployment.environment"] == "test"
    assert attributes["vigie.role"] == "ingest"
