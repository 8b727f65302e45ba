"""Lists the adapters of formats other than Vigie's JSON, and finds the adapter of a topic or media type.

To add a format, add a file beside this one with an `ADAPTER`, and its entry here (docs/adapters.md).

Gzip around Vigie's own JSON is an adapter here too. By MQTT it has its own topic. By HTTP it is declared with
`Content-Encoding: gzip` and decompressed before any adapter. An uncompressed message is accepted as well.
"""

import re
from typing import Final

from app.ingest.adapters import cbor_adapter, chirpstack_adapter, senml_adapter, sensor_community_adapter
from app.ingest.adapters.adapter_types import AdaptedMessage, DecodeContext, FormatAdapter, adapt_json
from app.platform.kernel.bounded_gzip import GZIP_MAGIC, decompress_gzip
from app.platform.kernel.rejection_codes import RejectedError


def decode_gzip(payload: bytes, arrival: DecodeContext) -> AdaptedMessage:
    """Decode a gzip message of a known box."""
    if arrival.box is None:
        raise RejectedError("missing_field", "no box is named: declare gzip as the content encoding")
    if not payload.startswith(GZIP_MAGIC):
        return adapt_json(payload, arrival.box, arrival)
    decompressed = decompress_gzip(payload, arrival.max_bytes)
    adapted = adapt_json(decompressed, arrival.box, arrival)
    # Refused parts are quarantined as plain JSON, which this topic accepts as well.
    adapted.refusals = [
        each if each.part is not None else each._replace(part=decompressed) for each in adapted.refusals
    ]
    adapted.inflated = len(decompressed)
    return adapted


ADAPTER: Final = FormatAdapter(
    "gzip",
    "JSON telemetry, compressed with gzip (RFC 1952)",
    decode_gzip,
    topic="vigie/v1/{box}/telemetry/gzip",
)


ADAPTERS: Final[tuple[FormatAdapter, ...]] = (
    cbor_adapter.ADAPTER,
    ADAPTER,
    senml_adapter.ADAPTER,
    sensor_community_adapter.ADAPTER,
    chirpstack_adapter.ADAPTER,
)
"""All formats other than Vigie's own."""

BY_NAME: Final = {adapter.name: adapter for adapter in ADAPTERS}
BY_MEDIA_TYPE: Final = {adapter.media_type: adapter for adapter in ADAPTERS if adapter.media_type is not None}

_FORMATS: Final = "vigie/v1/+/telemetry/+"
"""One filter for every format of a box's own topics. It must not overlap with that of plain telemetry, or a
broker would deliver such messages twice."""

UNKNOWN_FORMAT: Final = "unknown"
"""The kind of a telemetry topic for which there is no adapter."""


def _filter(topic: str) -> str:
    return topic.replace("{box}", "+")


def _pattern(topic: str) -> re.Pattern[str]:
    expression = re.escape(topic).replace(re.escape("{box}"), "([A-Za-z0-9_-]{1,64})")
    return re.compile(expression.replace(re.escape("+"), "[^/]+"))


SUBSCRIPTIONS: Final[tuple[str, ...]] = (
    _FORMATS,
    *(
        _filter(adapter.topic)
        for adapter in ADAPTERS
        if adapter.topic is not None and not adapter.topic.startswith("vigie/v1/{box}/telemetry/")
    ),
)
"""The topic filters that the adapters need, none of them overlapping with another."""

_PATTERNS: Final = tuple(
    (_pattern(adapter.topic), adapter.name) for adapter in ADAPTERS if adapter.topic is not None
)
_ANY_FORMAT: Final = _pattern("vigie/v1/{box}/telemetry/+")


def match_topic(topic: str) -> tuple[str, str] | None:
    """Return the box and the adapter name of a topic; `UNKNOWN_FORMAT` for an unknown format.

    None for a topic that is not a telemetry topic of a box.
    """
    for pattern, name in _PATTERNS:
        match = pattern.fullmatch(topic)
        if match is not None:
            return match[1], name
    match = _ANY_FORMAT.fullmatch(topic)
    return None if match is None else (match[1], UNKNOWN_FORMAT)
