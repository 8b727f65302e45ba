"""Decodes telemetry that the fast path leaves to it, and gives each refusal its own rejection code.

It accepts exactly what the fast path in `app.ingest.codec.telemetry_codec` accepts, with the same result, and
decodes whatever the fast path leaves to it. It is the reference that the fast path is tested against, so it
must stay simple. Pure: no database, no HTTP, no clock.
"""

import math
import re
from collections.abc import Mapping
from typing import Final, NamedTuple

from app.catalogue.metrics import COLUMNS, INDEX, METRICS_BY_NAME, Metric
from app.catalogue.units import convert_to_metric_unit, get_unit_factor
from app.ingest.codec.field_checks import (
    check_keys,
    extract_seq,
    require_array,
    require_instant,
    require_integer,
    require_number,
    require_object,
)
from app.platform.kernel.bounded_gzip import GZIP_MAGIC
from app.platform.kernel.rejection_codes import InputRejection, RejectedError, format_rejected_value
from app.platform.kernel.strict_json import Json, check_texts, parse_strict_json

MAX_SAMPLES: Final = 1_000
"""Most samples of one message."""

MAX_ITEMS: Final = 100_000
"""Most values of one message: three times those of 1,000 samples with every metric."""

type Row = tuple[int, int | None, tuple[float | None, ...]]
"""A sample: microseconds since the epoch, `seq`, and a value or None for each of `COLUMNS`."""

_BOX_ID: Final = re.compile(r"[A-Za-z0-9_-]{1,64}")
_CBOR_MAPS: Final = range(0xA0, 0xC0)
_CBOR_MARK: Final = b"\xd9\xd9\xf7"
_SAMPLE: Final = ("seq", "time", "values", "units")
_SAMPLE_REQUIRED: Final = ("time", "values")


class DecodedTelemetry(NamedTuple):
    """The content of a telemetry message: its valid samples, in order, and the rejections of the others."""

    samples: list[Row]
    rejections: list[InputRejection]


def is_box_id(text: str) -> bool:
    """Return whether a text is a valid box id: 1 to 64 letters, digits, `_` and `-`."""
    return _BOX_ID.fullmatch(text) is not None


def decode_exact(payload: bytes, now_us: int, max_future_us: int) -> DecodedTelemetry:
    """Decode a telemetry message: a sample, or a batch of samples.

    Each sample of a batch is accepted or refused separately. An undecodable message is one rejection without
    index.
    """
    document: Json = None
    try:
        document = read_json(payload)
        return decode_document(document, now_us, max_future_us)
    except RejectedError as error:
        return DecodedTelemetry([], [error.rejection(seq=extract_seq(document))])


def decode_document(document: Json, now_us: int, max_future_us: int) -> DecodedTelemetry:
    """Decode a telemetry message that is already parsed, from any format.

    Raises:
        RejectedError: The message as a whole is refused.
    """
    message = require_object(document, "the message")
    if "samples" not in message:
        return DecodedTelemetry([decode_sample(message, now_us, max_future_us)], [])
    check_texts(list(message))
    check_keys(message, ("samples",), ("samples", "units"), "a batch")
    if "units" in message and list(message).index("units") > list(message).index("samples"):
        # The samples of a truncated batch are accepted. Units at the end would be lost without a trace.
        raise RejectedError("wrong_unit", "units follows samples: put it before samples, or in each sample")
    return _each(_samples(message), now_us, max_future_us)


def decode_http_exact(body: bytes, now_us: int, max_future_us: int) -> tuple[str, DecodedTelemetry]:
    """Decode the body of HTTP ingest: `{"box": …, "samples": […]}`.

    Raises:
        RejectedError: The body as a whole is refused.
    """
    return decode_http_document(read_json(body), now_us, max_future_us)


def decode_http_document(document: Json, now_us: int, max_future_us: int) -> tuple[str, DecodedTelemetry]:
    """Decode the body of HTTP ingest that is already parsed, from any format.

    Raises:
        RejectedError: The body as a whole is refused.
    """
    message = require_object(document, "the body")
    check_texts(list(message))
    check_keys(message, ("box", "samples"), ("box", "samples", "units"), "the body")
    box = message["box"]
    if not isinstance(box, str):
        raise RejectedError("wrong_type", f"box is {format_rejected_value(box)}: a string is expected")
    if not is_box_id(box):
        raise RejectedError(
            "invalid_box_id", f"box {format_rejected_value(box)} is not 1 to 64 letters, digits, _ and -"
        )
    return box, _each(_samples(message), now_us, max_future_us)


def read_json(payload: bytes) -> Json:
    """Parse strict JSON. Gzip and CBOR are recognised, and the rejection names how to declare them.

    Neither a gzip header nor a map of CBOR can begin a text in UTF-8.
    """
    if payload.startswith(GZIP_MAGIC):
        raise RejectedError(
            "unsupported_encoding",
            "this is gzip: publish it on telemetry/gzip, or declare Content-Encoding: gzip",
        )
    if payload and (payload[0] in _CBOR_MAPS or payload.startswith(_CBOR_MARK)):
        raise RejectedError(
            "unsupported_media_type",
            "this looks like CBOR: publish it on telemetry/cbor, or declare Content-Type: application/cbor",
        )
    # Before parsing: a kilobyte of gzip may hold half a million empty objects.
    if payload.count(b",") >= MAX_ITEMS:
        raise RejectedError("too_many_samples", f"there are more than {MAX_ITEMS} items in one message")
    return parse_strict_json(payload)


def _samples(message: dict[str, Json]) -> list[Json]:
    samples = require_array(message["samples"], "samples")
    if not samples:
        raise RejectedError("empty_batch", "samples is empty")
    if len(samples) > MAX_SAMPLES:
        raise RejectedError(
            "too_many_samples",
            f"there are {len(samples)} samples: at most {MAX_SAMPLES} are accepted in one message",
        )
    if "units" not in message:
        return samples
    units = require_object(message["units"], "units")
    _factors(units)
    return [merge_units(sample, units) for sample in samples]


def merge_units(sample: Json, units: Mapping[str, Json]) -> Json:
    """Return a sample with the units of its batch; the sample's own units override them."""
    if not isinstance(sample, dict) or not isinstance(own := sample.get("units", {}), dict):
        return sample
    return {**sample, "units": {**units, **own}}


def _each(samples: list[Json], now_us: int, max_future_us: int) -> DecodedTelemetry:
    """Decode each sample of a batch."""
    decoded = DecodedTelemetry([], [])
    for index, sample in enumerate(samples):
        try:
            decoded.samples.append(decode_sample(sample, now_us, max_future_us))
        except RejectedError as error:
            decoded.rejections.append(error.rejection(seq=extract_seq(sample), index=index))
    return decoded


def decode_sample(value: Json, now_us: int, max_future_us: int) -> Row:
    """Decode one parsed sample.

    Raises:
        RejectedError: The sample is refused.
    """
    sample = require_object(value, "the sample")
    check_texts(sample)
    check_keys(sample, _SAMPLE_REQUIRED, _SAMPLE, "a sample")
    seq = require_integer(sample["seq"], "seq") if "seq" in sample else None
    time_us = require_instant(sample["time"], now_us, max_future_us)
    factors = _factors(require_object(sample["units"], "units")) if "units" in sample else {}
    return time_us, seq, _values(require_object(sample["values"], "values"), factors)


def _factors(units: dict[str, Json]) -> dict[str, float]:
    """Return the conversion factor of each metric that is not in the catalogue's unit."""
    factors = {}
    for name, unit in units.items():
        if not isinstance(unit, str):
            raise RejectedError(
                "wrong_type",
                f"units.{format_rejected_value(name)} is {format_rejected_value(unit)}: a string is expected",
            )
        factor = get_unit_factor(_metric(name).name, unit)
        if factor != 1:
            factors[name] = factor
    return factors


def _metric(name: str) -> Metric:
    metric = METRICS_BY_NAME.get(name)
    if metric is None:
        raise RejectedError(
            "unknown_metric", f"{format_rejected_value(name)} is not a metric: see the catalogue"
        )
    return metric


def _values(values: dict[str, Json], factors: dict[str, float]) -> tuple[float | None, ...]:
    if not values:
        raise RejectedError("empty_values", "values is empty: send at least one value, or omit the sample")
    row: list[float | None] = [None] * len(COLUMNS)
    for name, value in values.items():
        metric = _metric(name)
        where = f"values.{name}"
        if name in factors:
            value = convert_to_metric_unit(require_number(value, where, -math.inf, math.inf), factors[name])  # noqa: PLW2901 (in the metric's unit from here on)
            where = f"{where}, converted,"
        row[INDEX[name]] = require_number(value, where, metric.minimum, metric.maximum, metric.unit)
    return tuple(row)
