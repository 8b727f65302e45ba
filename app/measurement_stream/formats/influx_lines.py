"""Encodes samples in InfluxDB's line protocol, with times in nanoseconds.

A repeated line replaces the same point: its tags and time are equal.
"""

import re
from typing import Final

from app.measurement_stream.items import Item
from app.measurement_stream.measurement_batch import MeasurementBatch

MEDIA_TYPE: Final = "text/plain; charset=utf-8"

DEFAULT_MEASUREMENT: Final = "vigie"

_NS_PER_US: Final = 1000
_SPECIAL: Final = re.compile(r"([,\s=])")


def encode_line(item: Item, measurement: str) -> str:
    """Encode a sample as one line: tags in the order of their names, which the database prefers."""
    tags = f"box={item.box},organisation={item.organisation_id},site={item.site_id}"
    fields = ",".join(f"{metric}={float(value)!r}" for metric, value in item.values.items())
    return f"{measurement},{tags} {fields} {item.time_us * _NS_PER_US}\n"


def encode_batch(batch: MeasurementBatch, measurement: str = DEFAULT_MEASUREMENT) -> bytes:
    """Encode the samples of a batch; a sample without values has no line."""
    escaped = _SPECIAL.sub(r"\\\1", measurement)
    return "".join(encode_line(item, escaped) for item in batch.items if item.values).encode()
