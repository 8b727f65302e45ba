"""Encodes the latest values of a batch as a request of Prometheus remote write 1.0.

The request is a protobuf message compressed by Snappy. It has one series for each box and metric, with the
newest value of the batch. Late values are left out: a receiver refuses values that are older than its newest.

The message has three types with two fields each, so the wire format is written here: code generated for
protobuf would be longer, and its runtime slower in Python.
"""

from collections.abc import Iterable, Mapping
from struct import pack
from typing import Final, NamedTuple

from cramjam import snappy

from app.measurement_stream.measurement_batch import MeasurementBatch
from app.platform.kernel.instants import US_PER_MS

MEDIA_TYPE: Final = "application/x-protobuf"
HEADERS: Final[Mapping[str, str]] = {
    "content-encoding": "snappy",
    "x-prometheus-remote-write-version": "0.1.0",
}

_PREFIX: Final = "vigie_"
_VARINT, _DOUBLE, _LENGTH = 0, 1, 2
_MORE: Final = 0x80
_LOW: Final = 0x7F


class LatestValue(NamedTuple):
    """The newest value of a series.

    Attributes:
        labels: name → value, with `__name__`.
        value: the value.
        time_ms: milliseconds since the epoch.
    """

    labels: Mapping[str, str]
    value: float
    time_ms: int


def find_latest_values(batch: MeasurementBatch) -> list[LatestValue]:
    """Find the newest value of each box and metric that is not late."""
    found: dict[tuple[str, str], tuple[int, LatestValue]] = {}
    for item in batch.items:
        for metric, value in item.values.items():
            key = (item.box, metric)
            if metric in item.late or (key in found and found[key][0] > item.time_us):
                continue
            labels = {
                "__name__": _PREFIX + metric,
                "box": item.box,
                "organisation": str(item.organisation_id),
                "site": str(item.site_id),
            }
            found[key] = item.time_us, LatestValue(labels, value, item.time_us // US_PER_MS)
    return [latest for _, latest in found.values()]


def encode_batch(batch: MeasurementBatch) -> bytes:
    """Encode the latest values of a batch; no bytes if all of its values are late."""
    values = find_latest_values(batch)
    if not values and batch.items:
        return b""
    return bytes(snappy.compress_raw(encode_write_request(values)))


def encode_write_request(values: Iterable[LatestValue]) -> bytes:
    """Encode `prometheus.WriteRequest`: `repeated TimeSeries timeseries = 1`."""
    return b"".join(_field(1, _encode_series(value)) for value in values)


def _encode_series(latest: LatestValue) -> bytes:
    """Encode `TimeSeries`: `repeated Label labels = 1; repeated Sample samples = 2`."""
    # The specification requires labels in the order of their names.
    labels = b"".join(
        _field(1, _field(1, name.encode()) + _field(2, value.encode()))
        for name, value in sorted(latest.labels.items())
    )
    # `Sample`: `double value = 1; int64 timestamp = 2`.
    sample = _tag(1, _DOUBLE) + pack("<d", latest.value) + _tag(2, _VARINT) + _varint(latest.time_ms)
    return labels + _field(2, sample)


def _tag(number: int, wire_type: int) -> bytes:
    return _varint(number << 3 | wire_type)


def _field(number: int, content: bytes) -> bytes:
    return _tag(number, _LENGTH) + _varint(len(content)) + content


def _varint(value: int) -> bytes:
    """Encode a number that is not negative: seven bits a byte, the lowest first."""
    encoded = bytearray()
    while value > _LOW:
        encoded.append(value & _LOW | _MORE)
        value >>= 7
    encoded.append(value)
    return bytes(encoded)
