"""Decodes the uplink event of ChirpStack 4 from its MQTT integration (JSON, with the decoded `object`).

The device's EUI is the box's id, in lower case as ChirpStack writes it. The frame counter is the `seq`. The
signal of the strongest gateway is `rssi`, unless the object has one.

The codec of a device profile may use any names. Values with the name of a metric are accepted at any depth;
all others are ignored and counted. An object without any metric is refused, so that the operator notices the
wrong names.
"""

import json
import re
from collections import deque
from typing import Final

from app.catalogue.metrics import COLUMNS, INDEX, METRICS_BY_NAME
from app.ingest.adapters.adapter_types import (
    AdaptedMessage,
    AdapterRejection,
    DecodeContext,
    FormatAdapter,
    adapt_json,
)
from app.ingest.codec.field_checks import extract_seq, require_instant, require_number, require_object
from app.ingest.codec.reference_telemetry_decoder import read_json
from app.platform.kernel.rejection_codes import RejectedError, format_rejected_value
from app.platform.kernel.strict_json import Json

CAYENNE: Final = {
    "temperatureSensor": "temperature",
    "humiditySensor": "humidity",
    "barometer": "pressure",
    "illuminanceSensor": "illuminance",
}
"""Names of metrics in ChirpStack's own Cayenne LPP codec, which has a value for each channel."""

_CHANNEL: Final = re.compile(r"[0-9]{1,3}")


def decode_uplink(payload: bytes, arrival: DecodeContext) -> AdaptedMessage:
    """Decode the uplink event of a known device."""
    if arrival.box is None:
        raise RejectedError("missing_field", "the topic names no device")
    event = require_object(read_json(payload), "the event")
    if "values" in event and "deviceInfo" not in event:
        return adapt_json(payload, arrival.box, arrival)
    seq = extract_seq({"seq": event.get("fCnt")})
    try:
        _check_event(event, arrival.box)
        time_us = require_instant(event["time"], arrival.now_us, arrival.max_future_us)
        values, ignored = _values(event)
    except RejectedError as error:
        return AdaptedMessage(
            [], [AdapterRejection(arrival.box, error.rejection(seq=seq), _without_frame(event))]
        )
    row: list[float | None] = [None] * len(COLUMNS)
    for name, value in values.items():
        row[INDEX[name]] = value
    return AdaptedMessage([(arrival.box, (time_us, seq, tuple(row)))], ignored=ignored)


def _without_frame(event: dict[str, Json]) -> bytes:
    """Encode an event without the device's frame, whose bytes could contain anything."""
    return json.dumps({key: value for key, value in event.items() if key != "data"}).encode()


def _check_event(event: dict[str, Json], box: str) -> None:
    if "time" not in event:
        raise RejectedError("missing_field", "the event has no time")
    named = require_object(event.get("deviceInfo", {}), "deviceInfo").get("devEui", box)
    if not isinstance(named, str) or named.lower() != box.lower():
        raise RejectedError(
            "invalid_box_id", f"devEui is {format_rejected_value(named)}, but the topic names {box}"
        )


def _values(event: dict[str, Json]) -> tuple[dict[str, float], int]:
    """Return the values of an event by metric, and the number of other values."""
    decoded = require_object(event.get("object") or {}, "object")
    found, ignored = _find_metrics(decoded)
    values = {}
    for name, value in found.items():
        metric = METRICS_BY_NAME[name]
        values[name] = require_number(value, f"object.{name}", metric.minimum, metric.maximum, metric.unit)
    if decoded and not values:
        names = ", ".join(list(decoded)[:5])
        raise RejectedError(
            "unknown_metric", f"object has no metric of the catalogue; it has {format_rejected_value(names)}"
        )
    signal = _signal(event)
    if signal is not None:
        values.setdefault("rssi", signal)
    if not values:
        raise RejectedError("empty_values", "the event has neither a decoded object nor a signal")
    return values, ignored


def _find_metrics(decoded: dict[str, Json]) -> tuple[dict[str, Json], int]:
    """Find metrics, outermost first; null means that a value was not measured."""
    found: dict[str, Json] = {}
    ignored = 0
    pending: deque[tuple[str, Json]] = deque(decoded.items())
    while pending:
        name, value = pending.popleft()
        name, value, more = _unwrap(name, value)
        ignored += more
        if name in METRICS_BY_NAME and name not in found and not isinstance(value, dict):
            if value is not None:
                found[name] = value
        elif isinstance(value, dict):
            pending.extend(value.items())
        elif value is not None:
            ignored += 1
    return found, ignored


def _unwrap(name: str, value: Json) -> tuple[str, Json, int]:
    """Unwrap a value, and count the other values in it: channels, or `{"value", "unit"}`."""
    if not isinstance(value, dict):
        return name, value, 0
    if name in CAYENNE and value and all(map(_CHANNEL.fullmatch, value)):
        return CAYENNE[name], value[min(value, key=int)], len(value) - 1
    if name in METRICS_BY_NAME and "value" in value:
        return name, value["value"], len(value) - 1
    return name, value, 0


def _signal(event: dict[str, Json]) -> float | None:
    """Return the signal at the gateway with the best reception (dBm)."""
    received = event.get("rxInfo")
    gateways = received if isinstance(received, list) else []
    bounds = METRICS_BY_NAME["rssi"]
    signals = []
    for gateway in gateways:
        signal = gateway.get("rssi") if isinstance(gateway, dict) else None
        if isinstance(signal, int | float) and not isinstance(signal, bool):
            signals.append(float(signal))
    return max((each for each in signals if bounds.minimum <= each <= bounds.maximum), default=None)


ADAPTER: Final = FormatAdapter(
    "chirpstack",
    "The uplink event of ChirpStack 4 (MQTT integration, JSON)",
    decode_uplink,
    topic="application/+/device/{box}/event/up",
)
