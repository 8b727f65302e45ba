"""What became of a committed batch: for the HTTP answer, the boxes' acknowledgements, and the counters."""

import base64
import hashlib
from collections import Counter
from dataclasses import dataclass, field
from typing import Any, Final

from app.ingest.codec.message_intake import BatchRejection
from app.platform.kernel.rejection_codes import NEVER_STORED_CODES
from app.platform.observability import metrics_and_logs as metrics

# Boxes choose the types of their events, and each type makes a Prometheus series.
_LABELS: Final[set[str]] = set()
_LABELS_LIMIT: Final = 64
_CORRELATION_BYTES: Final = 128


def _label(event_type: str) -> str:
    """An event's type as a label: itself for the first of them, `other` once there are too many."""
    if event_type not in _LABELS and len(_LABELS) >= _LABELS_LIMIT:
        return "other"
    _LABELS.add(event_type)
    return event_type


@dataclass(slots=True)
class BoxAck:
    """What one box is told: which `seq`s are committed, which events', and which were refused and why.

    `partly` are committed but for what was taken out of them: its code, and the purpose that it was for.
    `refused` are messages in which something was refused that no `seq` names.
    """

    seqs: list[int] = field(default_factory=list)
    event_seqs: list[int] = field(default_factory=list)
    rejected: list[dict[str, Any]] = field(default_factory=list)
    partly: list[dict[str, Any]] = field(default_factory=list)
    refused: list[dict[str, Any]] = field(default_factory=list)

    def payload(self) -> dict[str, Any]:
        """The message on the box's `ack` topic; lists that are empty are left out."""
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

    Nothing of what it says: this is also for what must never be kept. Correlation data of more than 128 bytes
    is left out.
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
        stored: new samples.
        duplicate: exact repeats.
        conflict: stored identities with other values.
        late: samples older than what was known of each of their metrics.
        new_events: types of the events stored.
        repeated_events: how many events repeat a stored identity.
        turned: what was refused.
        withheld: what was taken out of samples of which the rest is stored, for one purpose each.
        transitions: (state, severity) of the alerts that fired or resolved.
        acks: for each box registered with `ack`, what to tell it.
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

    def count(self) -> None:
        """Add the outcome to the process's Prometheus counters. Once per batch, after its commit."""
        metrics.INGEST_BATCHES.labels(self.door).inc()
        metrics.SAMPLES_STORED.labels(self.door).inc(self.stored)
        metrics.SAMPLES_DUPLICATE.labels(self.door).inc(self.duplicate)
        metrics.SAMPLES_CONFLICT.labels(self.door).inc(self.conflict)
        metrics.SAMPLES_LATE.labels(self.door).inc(self.late)
        metrics.EVENTS_DUPLICATE.inc(self.repeated_events)
        for kind, number in Counter(self.new_events).items():
            metrics.EVENTS_STORED.labels(_label(kind)).inc(number)
        for code, number in Counter(refusal.rejection.code for refusal in self.rejections).items():
            metrics.QUARANTINED.labels(self.door, code).inc(number)
            if code in NEVER_STORED_CODES:
                metrics.DOOR_REFUSALS.labels(self.door, code).inc(number)
        for code, number in Counter(refusal.rejection.code for refusal in self.withheld).items():
            metrics.SAMPLES_PARTLY_REFUSED.labels(self.door, code).inc(number)
            metrics.DOOR_REFUSALS.labels(self.door, code).inc(number)
        for (state, severity), number in Counter(self.transitions).items():
            metrics.ALERT_TRANSITIONS.labels(state, severity).inc(number)
