"""Summarises a committed batch for the HTTP response, the acknowledgements to boxes and the metrics."""

import base64
import hashlib
from collections import Counter
from dataclasses import dataclass, field
from typing import Any, Final

from app.alerts.prometheus_metrics import ALERT_TRANSITIONS
from app.ingest import prometheus_metrics
from app.ingest.codec.decoded_batch import BatchRejection
from app.platform.kernel.rejection_codes import NEVER_STORED_CODES
from app.registry.prometheus_metrics import DOOR_REFUSALS

# Each event type becomes a Prometheus series: 64 bound the number of series.
_LABELS: Final[set[str]] = set()
_LABELS_LIMIT: Final = 64
_CORRELATION_BYTES: Final = 128


def _label(event_type: str) -> str:
    """Return an event type as a metric label; `other` once there are too many types."""
    if event_type not in _LABELS and len(_LABELS) >= _LABELS_LIMIT:
        return "other"
    _LABELS.add(event_type)
    return event_type


@dataclass(slots=True)
class BoxAck:
    """The acknowledgement of one box: committed and refused samples and events, by `seq`.

    Attributes:
        seqs: committed samples.
        event_seqs: committed events.
        rejected: refused samples and events, with their rejection codes.
        partly: samples committed without some values, with code and purpose of the values.
        refused: messages with a refused part that has no `seq`.
        edge: the edge that received the newest of these messages; None with a single broker.
    """

    seqs: list[int] = field(default_factory=list)
    event_seqs: list[int] = field(default_factory=list)
    rejected: list[dict[str, Any]] = field(default_factory=list)
    partly: list[dict[str, Any]] = field(default_factory=list)
    refused: list[dict[str, Any]] = field(default_factory=list)
    edge: str | None = None

    def payload(self) -> dict[str, Any]:
        """Return the message for the box's `ack` topic, without empty lists."""
        lists = {
            "seqs": self.seqs,
            "event_seqs": self.event_seqs,
            "rejected": self.rejected,
            "partly": self.partly,
            "refused": self.refused,
        }
        return {name: entries for name, entries in lists.items() if entries}


def identify_message(payload: bytes, correlation: bytes | None) -> dict[str, Any]:
    """Describe a message so that its sender can find it: size, SHA-256, and correlation data in base64.

    It returns nothing of the content, since this also describes content that must never be stored.
    Correlation data of more than 128 bytes is left out.
    """
    found: dict[str, Any] = {"size": len(payload), "sha256": hashlib.sha256(payload).hexdigest()}
    if correlation is not None and len(correlation) <= _CORRELATION_BYTES:
        found["correlation_data"] = base64.b64encode(correlation).decode()
    return found


@dataclass(slots=True)
class BatchReceipt:
    """The outcome of a batch, after its commit.

    Attributes:
        door: "mqtt" or "http".
        stored: number of new samples.
        duplicate: number of samples that were stored before with the same values.
        conflict: number of samples whose box and time are stored with other values.
        late: number of samples older than the newest stored value of each of their metrics.
        new_events: types of the stored events.
        repeated_events: number of events that were stored before.
        rejections: refused messages and parts.
        withheld: values removed from stored samples, one entry per purpose.
        transitions: (state, severity) of the alerts that fired or resolved.
        acks: the acknowledgement of each box registered with `ack`.
        of_calls: the part of each HTTP call in a batch that joins several, by its index; without `late`,
            `transitions` and `acks`.
    """

    door: str
    stored: int = 0
    duplicate: int = 0
    conflict: int = 0
    late: int = 0
    new_events: list[str] = field(default_factory=list)
    repeated_events: int = 0
    rejections: list[BatchRejection] = field(default_factory=list)
    withheld: list[BatchRejection] = field(default_factory=list)
    transitions: list[tuple[str, str]] = field(default_factory=list)
    acks: dict[str, BoxAck] = field(default_factory=dict)
    of_calls: dict[int, "BatchReceipt"] = field(default_factory=dict)

    def add(self, other: "BatchReceipt") -> None:
        """Add the outcome of another part of the same batch."""
        self.stored += other.stored
        self.duplicate += other.duplicate
        self.conflict += other.conflict
        self.late += other.late
        self.new_events += other.new_events
        self.repeated_events += other.repeated_events
        self.rejections += other.rejections
        self.withheld += other.withheld
        self.transitions += other.transitions
        for box, ack in other.acks.items():
            mine = self.acks.setdefault(box, BoxAck())
            mine.seqs += ack.seqs
            mine.event_seqs += ack.event_seqs
            mine.rejected += ack.rejected
            mine.partly += ack.partly
            mine.refused += ack.refused
            mine.edge = ack.edge
        for number, part in other.of_calls.items():
            self.of_calls.setdefault(number, BatchReceipt(self.door)).add(part)

    def find_call(self, number: int) -> "BatchReceipt":
        """Return the outcome of one call; the receipt itself if the batch is one call."""
        return self.of_calls.get(number, self)

    def count(self) -> None:
        """Add the outcome to the Prometheus counters. Call it once per batch, after the commit."""
        prometheus_metrics.INGEST_BATCHES.labels(self.door).inc()
        prometheus_metrics.SAMPLES_STORED.labels(self.door).inc(self.stored)
        prometheus_metrics.SAMPLES_DUPLICATE.labels(self.door).inc(self.duplicate)
        prometheus_metrics.SAMPLES_CONFLICT.labels(self.door).inc(self.conflict)
        prometheus_metrics.SAMPLES_LATE.labels(self.door).inc(self.late)
        prometheus_metrics.EVENTS_DUPLICATE.inc(self.repeated_events)
        for kind, number in Counter(self.new_events).items():
            prometheus_metrics.EVENTS_STORED.labels(_label(kind)).inc(number)
        for code, number in Counter(refusal.rejection.code for refusal in self.rejections).items():
            prometheus_metrics.QUARANTINED.labels(self.door, code).inc(number)
            if code in NEVER_STORED_CODES:
                DOOR_REFUSALS.labels(self.door, code).inc(number)
        for code, number in Counter(refusal.rejection.code for refusal in self.withheld).items():
            prometheus_metrics.SAMPLES_PARTLY_REFUSED.labels(self.door, code).inc(number)
            DOOR_REFUSALS.labels(self.door, code).inc(number)
        for (state, severity), number in Counter(self.transitions).items():
            ALERT_TRANSITIONS.labels(state, severity).inc(number)
