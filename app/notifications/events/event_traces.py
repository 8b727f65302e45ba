"""Gives each event of a batch a span, which begins with the arrival of its message and ends with the commit.

A batch may contain thousands of messages of which one raises an alert. The event's span is therefore not a
child of the batch's: it continues the trace of its own message if the sender traces, else it begins a new
one, and it links to the batch. A batch that is rolled back ends no span, so none is exported.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Final

from app.notifications.events.event_enrichment import OutboxRecord
from app.platform.observability.tracing import Span, current_traceparent, start_span

_NO_LINKS: Final = ()


class EventTraces:
    """The spans of the events of one transaction.

    Args:
        arrived_ns: when the first message arrived (ns since the epoch).
        parents: the `traceparent` of the message of each box, by its id.
    """

    def __init__(self, *, arrived_ns: int, parents: Mapping[str, str]) -> None:
        self._arrived_ns = arrived_ns
        self._parents = parents
        batch = current_traceparent()
        self._links = _NO_LINKS if batch is None else (batch,)
        self._spans: list[Span] = []

    def begin(self, record: OutboxRecord) -> str | None:
        """Begin the span of an event, and return its `traceparent`."""
        span = start_span(
            record.type,
            kind="producer",
            parent=self._parents.get(str(record.payload.get("box"))),
            is_root=True,
            links=self._links,
            attributes={
                "vigie.event.id": str(record.id),
                "vigie.organisation.id": str(record.organisation_id),
            },
            start_ns=self._arrived_ns,
        )
        self._spans.append(span)
        return span.traceparent

    def end(self) -> None:
        """End all spans, after the commit."""
        for span in self._spans:
            span.end()
        self._spans.clear()


_traces: ContextVar[EventTraces | None] = ContextVar("vigie_event_traces", default=None)


@contextmanager
def use_event_traces(traces: EventTraces | None) -> Iterator[None]:
    """Trace the events that are written within a block; None: they continue the span of the running task."""
    token = _traces.set(traces)
    try:
        yield
    finally:
        _traces.reset(token)


def trace_event(record: OutboxRecord) -> str | None:
    """Return the `traceparent` to store with an event; None where telemetry is off."""
    traces = _traces.get()
    return current_traceparent() if traces is None else traces.begin(record)
