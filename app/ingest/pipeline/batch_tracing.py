"""Times the steps of a batch for the metrics, and traces them where telemetry is on.

The cost is per batch and per alert, never per message: a batch's span links to the first messages that were
sent with a `traceparent`, and a step has a span only if it took a millisecond.
"""

import time
from collections.abc import Mapping, Sequence
from typing import Final

from prometheus_client import Histogram

from app.ingest.codec.decoded_batch import DecodedBatch
from app.ingest.codec.telemetry_codec import Row
from app.ingest.pipeline.batch_context import BatchContext
from app.ingest.prometheus_metrics import INGEST_COMMITTED, INGEST_DELAY, INGEST_SLOW
from app.notifications.events.event_traces import EventTraces
from app.platform.kernel.instants import US_PER_S
from app.platform.observability.tracing import Span, current_span, is_tracing, start_span

SLOW_S: Final = 5.0
"""Time from the arrival of a batch's first message to its commit, above which its messages count as slow."""

_LEAST_S: Final = 0.001
_LOOKED_AT: Final = 100
_NS_PER_S: Final = 1_000_000_000


class StepClock:
    """Times the steps of one transaction.

    Args:
        timers: the histogram of each step.
    """

    def __init__(self, timers: Mapping[str, Histogram]) -> None:
        self._timers = timers
        self._began = time.perf_counter()
        self._laps: list[tuple[str, float, float]] = []

    def lap(self, name: str) -> None:
        """End a step; the next one begins."""
        now = time.perf_counter()
        self._timers[name].observe(now - self._began)
        self._laps.append((name, self._began, now))
        self._began = now

    def trace(self) -> None:
        """Add a span for each long step to the current one, if that is exported."""
        if not current_span().is_recording:
            return
        epoch_ns = time.time_ns() - time.perf_counter() * _NS_PER_S
        for name, began, ended in self._laps:
            if ended - began >= _LEAST_S:
                step = start_span(f"ingest {name}", start_ns=round(epoch_ns + began * _NS_PER_S))
                step.end(round(epoch_ns + ended * _NS_PER_S))


def start_batch_span(name: str, traceparents: Sequence[str], *, received_at: float, messages: int) -> Span:
    """Start the span of a batch, which links to the messages that were sent with a `traceparent`.

    Args:
        name: its name.
        traceparents: those of its messages.
        received_at: when the first message arrived (Unix time).
        messages: how many there are.
    """
    return start_span(
        name,
        kind="consumer",
        is_root=True,
        links=traceparents,
        attributes={"messaging.batch.message_count": messages},
        start_ns=round(received_at * _NS_PER_S),
    )


def make_event_traces(context: BatchContext) -> EventTraces | None:
    """Trace the events that a batch will write; None where telemetry is off."""
    if not is_tracing():
        return None
    given = context.intake.traceparents
    parents: dict[str, str] = {}
    if given:
        # The last message of a box wins: it is the likeliest to have changed an alert.
        for box, origin in zip(context.sample_boxes, context.origins, strict=True):
            if origin in given:
                parents[box.id] = given[origin]
        for box, _, origin in context.events:
            if origin in given:
                parents[box.id] = given[origin]
    arrived_s = context.intake.received_at or context.now_us / US_PER_S
    return EventTraces(arrived_ns=round(arrived_s * _NS_PER_S), parents=parents)


def find_typical_time(rows: Sequence[Row]) -> int:
    """Return the median time of about a hundred of a batch's samples (µs since the epoch).

    Clocks of single boxes are minutes ahead, and boxes that were offline send old samples.
    """
    times = sorted(row[0] for row in rows[:: len(rows) // _LOOKED_AT + 1])
    return times[len(times) // 2]


def observe_commit(intake: DecodedBatch, messages: int) -> None:
    """Count the messages of a committed batch, and those that were slow.

    Args:
        intake: the batch.
        messages: how many messages or calls it is.
    """
    if not messages:
        return
    delay_s = max(0.0, time.time() - intake.received_at) if intake.received_at else 0.0
    INGEST_COMMITTED.labels(intake.door).inc(messages)
    INGEST_DELAY.labels(intake.door).observe(delay_s)
    INGEST_SLOW.labels(intake.door).inc(messages if delay_s > SLOW_S else 0)
