"""Makes spans with OpenTelemetry's SDK and exports them. Imported only where telemetry is on."""

import os
from collections.abc import Callable, Sequence
from types import MappingProxyType
from typing import Final

from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.sdk.trace.sampling import ParentBased, TraceIdRatioBased

from app import __version__
from app.platform.config.telemetry_settings import TelemetrySettings
from app.platform.observability.otlp_session import BoundedSession
from app.platform.observability.tracing import Attributes, Span, SpanKind, parse_traceparent, set_tracer

_KINDS: Final = MappingProxyType(
    {
        "internal": trace.SpanKind.INTERNAL,
        "server": trace.SpanKind.SERVER,
        "client": trace.SpanKind.CLIENT,
        "producer": trace.SpanKind.PRODUCER,
        "consumer": trace.SpanKind.CONSUMER,
    }
)


def build_resource(role: str) -> Resource:
    """Describe this process. `OTEL_SERVICE_NAME` and `OTEL_RESOURCE_ATTRIBUTES` of the environment apply."""
    attributes = {
        "service.namespace": "vigie",
        "service.version": __version__,
        "service.instance.id": f"{os.uname().nodename}:{os.getpid()}",
        "vigie.role": role,
    }
    if not os.environ.get("OTEL_SERVICE_NAME"):
        attributes["service.name"] = f"vigie-{role}"
    return Resource.create(attributes)


class OtlpSpan:
    """A span of the SDK (see `tracing.Span`)."""

    __slots__ = ("_span", "is_recording", "trace_id", "traceparent")

    def __init__(self, span: trace.Span) -> None:
        context = span.get_span_context()
        self._span = span
        self.is_recording = span.is_recording()
        self.trace_id: str | None = f"{context.trace_id:032x}"
        self.traceparent: str | None = (
            f"00-{self.trace_id}-{context.span_id:016x}-{'01' if context.trace_flags.sampled else '00'}"
        )

    def update(self, attributes: Attributes, *, name: str | None = None) -> None:
        """Add attributes, and change the name if one is given."""
        self._span.set_attributes(attributes)
        if name is not None:
            self._span.update_name(name)

    def fail(self, reason: str) -> None:
        """Mark the span as failed."""
        self._span.set_status(trace.StatusCode.ERROR, reason)

    def end(self, at_ns: int | None = None) -> None:
        """End the span."""
        self._span.end(at_ns)


class OtlpTracer:
    """Makes spans of the SDK.

    Args:
        tracer: the SDK's tracer.
    """

    def __init__(self, tracer: trace.Tracer) -> None:
        self._tracer = tracer

    def start(
        self,
        name: str,
        *,
        kind: SpanKind,
        parent: str | None,
        links: Sequence[str],
        attributes: Attributes | None,
        start_ns: int | None,
    ) -> Span:
        """Start a span."""
        remote = _read_context(parent)
        # A span without a parent gets an empty context, not the SDK's current one.
        context = (
            Context()
            if remote is None
            else trace.set_span_in_context(trace.NonRecordingSpan(remote), Context())
        )
        found = (_read_context(link) for link in links)
        return OtlpSpan(
            self._tracer.start_span(
                name,
                context=context,
                kind=_KINDS[kind],
                attributes=attributes,
                links=[trace.Link(each) for each in found if each is not None],
                start_time=start_ns,
            )
        )


def _read_context(traceparent: str | None) -> trace.SpanContext | None:
    found = parse_traceparent(traceparent)
    if found is None:
        return None
    flags = trace.TraceFlags(trace.TraceFlags.SAMPLED if found.is_sampled else trace.TraceFlags.DEFAULT)
    return trace.SpanContext(
        int(found.trace_id, 16), int(found.span_id, 16), is_remote=True, trace_flags=flags
    )


def export_traces(settings: TelemetrySettings, url: str, resource: Resource) -> Callable[[], None]:
    """Set the tracer of this process, and return a function that flushes and ends the export.

    The SDK queues and batches spans (`OTEL_BSP_…`). It drops new ones while 2,048 are queued.

    Args:
        settings: headers and sampling.
        url: where traces go.
        resource: this process.
    """
    provider = TracerProvider(
        sampler=ParentBased(TraceIdRatioBased(settings.sample_ratio)),
        resource=resource,
        # The process shuts the provider down itself, with a time limit.
        shutdown_on_exit=False,
    )
    exporter = OTLPSpanExporter(
        endpoint=url, headers=settings.plain_headers or None, session=BoundedSession()
    )
    provider.add_span_processor(BatchSpanProcessor(exporter))
    set_tracer(OtlpTracer(provider.get_tracer("vigie", __version__)))

    def stop() -> None:
        set_tracer(None)
        provider.shutdown()

    return stop
