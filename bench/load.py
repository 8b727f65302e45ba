"""Generates the load from a seed: boxes, values, times, messages. Pure.

Every competitor gets the same samples. Values stay between the bounds of `RULES`, but for a few on purpose.
"""

import json
import random
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final, NamedTuple

METRICS: Final = ("pm1", "pm2_5", "pm4", "pm10", "no2", "o3", "co2", "temperature", "humidity", "laeq")
"""The ten values of each message."""

RANGES: Final[dict[str, tuple[float, float]]] = {
    **dict.fromkeys(METRICS, (1.0, 60.0)),
    "co2": (400.0, 1500.0),
    "temperature": (-5.0, 35.0),
    "humidity": (20.0, 95.0),
    "laeq": (35.0, 90.0),
}
"""Where each metric's values lie, in its unit."""

STEP_MS: Final = 1_000
"""Between two samples of a box, in measurement time."""

_SPIKE_EVERY: Final = 10_000
_SPIKE: Final = 2.0
_BEYOND: Final = 1.0  # a rule's threshold lies so far outside the range


class LoadSample(NamedTuple):
    """One sample: the box's index, its number, ms since the epoch, and a value for each of METRICS."""

    box: int
    seq: int
    time_ms: int
    values: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class MessageLoad:
    """A number of messages of a number of boxes, one sample each, in rotation.

    Attributes:
        messages: how many.
        boxes: of how many boxes.
        start_ms: when the first of each box was measured.
        seed: the same seed gives the same values.
    """

    messages: int
    boxes: int
    start_ms: int
    seed: int = 1

    def samples(self) -> Iterator[LoadSample]:
        """Generate all samples, in the order of publishing."""
        chance = random.Random(self.seed).random
        spans = [(low, high - low) for low, high in (RANGES[name] for name in METRICS)]
        for index in range(self.messages):
            values = [round(low + span * chance(), 1) for low, span in spans]
            if index % _SPIKE_EVERY == _SPIKE_EVERY - 1:
                values[0] = RANGES[METRICS[0]][1] + _SPIKE
            seq, box = divmod(index, self.boxes)
            yield LoadSample(box, seq, self.start_ms + seq * STEP_MS, tuple(values))

    def last_of(self, connections: int) -> list[tuple[int, int]]:
        """(box, ms) of the last message of each connection, where messages are dealt out in turn.

        A consumer that keeps each connection's order has stored everything once it has stored these.
        """
        last = range(max(0, self.messages - connections), self.messages)
        return [(index % self.boxes, self.start_ms + index // self.boxes * STEP_MS) for index in last]


def box_id(index: int) -> str:
    """Return the id of a box of the load."""
    return f"bench-{index:05d}"


def topic(index: int) -> str:
    """Return the topic of a box's samples."""
    return f"vigie/v1/{box_id(index)}/telemetry"


def vigie_message(sample: LoadSample) -> bytes:
    """Encode a sample in Vigie's format."""
    values = ",".join(f'"{name}":{value}' for name, value in zip(METRICS, sample.values, strict=True))
    return f'{{"seq":{sample.seq},"time":{sample.time_ms},"values":{{{values}}}}}'.encode()


def flat_message(sample: LoadSample, keys: dict[str, int]) -> bytes:
    """Encode a sample as a flat object of the table's columns, for mq-bridge.

    Args:
        sample: the sample.
        keys: the number in the table of each box's id.
    """
    moment = datetime.fromtimestamp(sample.time_ms / 1000, UTC).isoformat()
    values = ",".join(f'"{name}":{value}' for name, value in zip(METRICS, sample.values, strict=True))
    key = keys[box_id(sample.box)]
    return f'{{"box_key":{key},"time":"{moment}","seq":{sample.seq},{values}}}'.encode()


def rules() -> list[dict[str, Any]]:
    """Twenty conditions, two for each metric: every value is compared with both, and few are beyond."""
    found: list[dict[str, Any]] = []
    for name in METRICS:
        low, high = RANGES[name]
        found.append({"metric": name, "operator": ">", "threshold": high + _BEYOND})
        found.append({"metric": name, "operator": "<", "threshold": low - _BEYOND})
    return found


def http_body(index: int, samples: list[LoadSample]) -> bytes:
    """Encode samples of one box as the body of a call of HTTP ingest."""
    listed = [
        {"seq": sample.seq, "time": sample.time_ms, "values": dict(zip(METRICS, sample.values, strict=True))}
        for sample in samples
    ]
    return json.dumps({"box": box_id(index), "samples": listed}).encode()
