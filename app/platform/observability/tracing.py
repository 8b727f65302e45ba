"""Starts the spans of traces where telemetry is on; where it is off, spans do nothing and cost nothing.

A trace follows one alert from the message that caused it to the attempt that delivered it. `traceparent`, the
header of W3C Trace Context, carries it between processes: it comes with MQTT messages (user property) and
HTTP requests, is stored with events and deliveries, and is sent to webhooks.

This module does not import OpenTelemetry: `app.platform.observability.telemetry` does, and only where
telemetry is configured.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Final, Literal, NamedTuple, Protocol

TRACEPARENT: Final = "traceparent"
"""The name of the HTTP header and of the MQTT user property."""

MAX_LINKS: Final = 32
"""The most links of a span: a batch may have thousands of messages."""

type SpanKind = Literal["internal", "server", "client", "producer", "consumer"]
type Attributes = Mapping[str, str | int | float | bool]


class TraceParent(NamedTuple):
    """A parsed `traceparent`.

    Attributes:
        trace_id: 32 hexadecimal digits.
        span_id: 16 hexadecimal digits.
        is_sampled: whether its sender exports the trace.
    """

    trace_id: str
    span_id: str
    is_sampled: bool


# Versions after 00 may append parts, which are ignored; version ff is invalid, as are ids of zeros.
_FORM: Final = re.compile(
    r"(?!ff)[0-9a-f]{2}-(?!0{32})([0-9a-f]{32})-(?!0{16})([0-9a-f]{16})-([0-9a-f]{2})(-.*)?"
)
_MAX_CHARACTERS: Final = 128


def parse_traceparent(text: str | None) -> TraceParent | None:
    """Parse a `traceparent`; None if there is none or it is not well formed."""
    if text is None or len(text) > _MAX_CHARACTERS:
        return None
    found = _FORM.fullmatch(text)
    return found and TraceParent(found[1], found[2], bool(int(found[3], 16) & 1))


class Span(Protocol):
    """A span, from its start until `end`. One that is never ended is not exported."""

    @property
    def traceparent(self) -> str | None:
        """The `traceparent` of what this span causes; None where telemetry is off."""

    @property
    def trace_id(self) -> str | None:
        """The id of its trace; None where telemetry is off."""

    @property
    def is_recording(self) -> bool:
        """Whether it will be exported. If not, callers need not compute attributes."""

    def update(self, attributes: Attributes, *, name: str | None = None) -> None:
        """Add attributes, and change the name if one is given."""

    def fail(self, reason: str) -> None:
        """Mark it as failed. The reason must not quote data of boxes or people."""

    def end(self, at_ns: int | None = None) -> None:
        """End it, now or at a time (ns since the epoch)."""


class Tracer(Protocol):
    """Makes spans."""

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
        """Start a span (see `start_span`)."""


class _NoSpan:
    """The span of a process without telemetry."""

    traceparent: str | None = None
    trace_id: str | None = None
    is_recording = False

    def update(self, attributes: Attributes, *, name: str | None = None) -> None:
        """Do nothing."""

    def fail(self, reason: str) -> None:
        """Do nothing."""

    def end(self, at_ns: int | None = None) -> None:
        """Do nothing."""


NO_SPAN: Final[Span] = _NoSpan()
"""The span that is never exported."""

_tracer: Tracer | None = None
_current: ContextVar[Span] = ContextVar("vigie_span", default=NO_SPAN)


def set_tracer(tracer: Tracer | None) -> None:
    """Set the tracer of this process; None: no telemetry."""
    global _tracer  # noqa: PLW0603 (one per process, like the registry of metrics)
    _tracer = tracer


def is_tracing() -> bool:
    """Return whether this process makes spans."""
    return _tracer is not None


def current_span() -> Span:
    """Return the span of the running task."""
    return _current.get()


def current_traceparent() -> str | None:
    """Return the `traceparent` of the running task; None outside of a span."""
    return _current.get().traceparent


def start_span(
    name: str,
    *,
    kind: SpanKind = "internal",
    parent: str | None = None,
    is_root: bool = False,
    links: Sequence[str] = (),
    attributes: Attributes | None = None,
    start_ns: int | None = None,
) -> Span:
    """Start a span that the caller ends.

    Args:
        name: its name, one of a small set.
        kind: its kind, as OpenTelemetry defines them.
        parent: the `traceparent` of what caused it; None: the span of the running task, or a new trace.
        is_root: without a parent, begin a new trace even within a span.
        links: `traceparent`s of further causes.
        attributes: its attributes, without values of boxes or people.
        start_ns: when it began (ns since the epoch); None: now.
    """
    if _tracer is None:
        return NO_SPAN
    return _tracer.start(
        name,
        kind=kind,
        parent=parent or (None if is_root else current_traceparent()),
        links=links[:MAX_LINKS],
        attributes=attributes,
        start_ns=start_ns,
    )


@contextmanager
def use_span(span: Span) -> Iterator[Span]:
    """Make a span the current one within a block, and end it."""
    token = _current.set(span)
    try:
        yield span
    except BaseException as error:
        # Only the class of the error: its message can quote data.
        span.fail(type(error).__name__)
        raise
    finally:
        _current.reset(token)
        span.end()
