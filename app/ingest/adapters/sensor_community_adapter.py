"""Decodes the JSON that the firmware of Sensor.Community pushes with "Send data to own API".

A push has one reading of all sensors of a station and no time. Its time is its arrival, so a push that is
sent again becomes another sample. If several sensors measure a metric, the first in `METRICS` is used.

Particle counts, the firmware's own figures and positions have no metric: they are ignored and counted. (`P1`
and `P2` without a sensor's name are the particle counts of a PPD42NS.)
"""

import re
from typing import Final

from app.catalogue.metrics import COLUMNS, INDEX, METRICS_BY_NAME
from app.ingest.adapters.adapter_types import (
    AdaptedMessage,
    AdapterRejection,
    DecodeContext,
    FormatAdapter,
    require_box_id,
)
from app.ingest.codec.field_checks import require_array, require_number, require_object, require_text
from app.ingest.codec.reference_telemetry_decoder import read_json
from app.platform.kernel.rejection_codes import RejectedError, format_rejected_value
from app.platform.kernel.strict_json import MAX_TEXT, Json

METRICS: Final[dict[str, tuple[str, ...]]] = {
    "pm1": ("SPS30_P0", "NPM_P0", "IPS_P0", "PMS_P0"),
    "pm2_5": ("SDS_P2", "SPS30_P2", "NPM_P2", "IPS_P2", "PMS_P2", "HPM_P2"),
    "pm4": ("SPS30_P4",),
    "pm10": ("SDS_P1", "SPS30_P1", "NPM_P1", "IPS_P1", "PMS_P1", "HPM_P1"),
    "temperature": (
        "BME280_temperature",
        "SHT3X_temperature",
        "SCD30_temperature",
        "HTU21D_temperature",
        "temperature",
        "BMP280_temperature",
        "BMP_temperature",
        "DS18B20_temperature",
    ),
    "humidity": ("BME280_humidity", "SHT3X_humidity", "SCD30_humidity", "HTU21D_humidity", "humidity"),
    "pressure": ("BME280_pressure", "BMP280_pressure", "BMP_pressure"),
    "co2": ("SCD30_co2_ppm",),
    "laeq": ("DNMS_noise_LAeq",),
    "lamax": ("DNMS_noise_LA_max",),
    "rssi": ("signal",),
}
"""The value types of each metric; the first one in a push is used."""

MAX_VALUES: Final = 200
"""Most values of one push; all sensors that the firmware supports give fewer than sixty."""

_PA_PER_HPA: Final = 100
_NUMBER: Final = re.compile(r"\s*(-?[0-9]{1,15}(?:\.[0-9]{1,15})?)\s*(?:dBm)?\s*")
_CHIPS: Final = {"esp8266id": "esp8266-", "esp32id": "esp32-"}


def decode_push(payload: bytes, arrival: DecodeContext) -> AdaptedMessage:
    """Decode a push. Without an account of the box, the chip's id names it: `esp8266-12331981`."""
    message = require_object(read_json(payload), "the push")
    box = _box(message) if arrival.box is None else arrival.box
    try:
        found = _found(message)
        values = _values(found)
        row: list[float | None] = [None] * len(COLUMNS)
        for metric, value in values.items():
            row[INDEX[metric]] = value
    except RejectedError as error:
        return AdaptedMessage([], [AdapterRejection(box, error.rejection())])
    return AdaptedMessage([(box, (arrival.now_us, None, tuple(row)))], ignored=len(found) - len(values))


def _box(message: dict[str, Json]) -> str:
    for label, prefix in _CHIPS.items():
        if label in message:
            return require_box_id(f"{prefix}{require_text(message[label], label)}", label)
    raise RejectedError("missing_field", "the push names no box: sign in as the box, or send esp8266id")


def _found(message: dict[str, Json]) -> dict[str, Json]:
    """Return the values of a push by their type."""
    if "sensordatavalues" not in message:
        raise RejectedError("missing_field", "the push has no sensordatavalues")
    entries = require_array(message["sensordatavalues"], "sensordatavalues")
    if len(entries) > MAX_VALUES:
        raise RejectedError("too_many_samples", f"there are {len(entries)} values: at most {MAX_VALUES}")
    found: dict[str, Json] = {}
    for index, entry in enumerate(entries):
        where = f"sensordatavalues[{index}]"
        value = require_object(entry, where)
        for label in ("value_type", "value"):
            if label not in value:
                raise RejectedError("missing_field", f"{where} has no {label}")
        kind = require_text(value["value_type"], f"{where}.value_type", MAX_TEXT)
        if kind in found:
            raise RejectedError("duplicate_key", f"{format_rejected_value(kind)} occurs twice in one push")
        found[kind] = value["value"]
    return found


def _values(found: dict[str, Json]) -> dict[str, float]:
    values = {}
    for metric, kinds in METRICS.items():
        kind = next((kind for kind in kinds if kind in found), None)
        if kind is None:
            continue
        number = _number(found[kind], kind)
        if metric == "pressure":
            number /= _PA_PER_HPA
        due = METRICS_BY_NAME[metric]
        values[metric] = require_number(number, kind, due.minimum, due.maximum, due.unit)
    if not values:
        raise RejectedError("empty_values", "no value of the push has a metric: see docs/adapters.md")
    return values


def _number(value: Json, kind: str) -> float:
    """Parse a value, which the firmware writes as a text."""
    if isinstance(value, int | float) and not isinstance(value, bool):
        return value
    match = _NUMBER.fullmatch(value) if isinstance(value, str) and len(value) <= MAX_TEXT else None
    if match is None:
        raise RejectedError("wrong_type", f"{kind} is {format_rejected_value(value)}: a number is expected")
    return float(match[1])


ADAPTER: Final = FormatAdapter(
    "sensor-community",
    "The JSON push of Sensor.Community's firmware (airRohr)",
    decode_push,
    pushes=True,
    example={
        "esp8266id": "12331981",
        "software_version": "NRZ-2024-135",
        "sensordatavalues": [
            {"value_type": "SDS_P1", "value": "12.30"},
            {"value_type": "SDS_P2", "value": "7.10"},
            {"value_type": "BME280_pressure", "value": "100613.25"},
            {"value_type": "signal", "value": "-70"},
        ],
    },
)
