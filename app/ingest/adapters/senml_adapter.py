"""Decodes SenML (RFC 8428) in JSON: packs of records, each a value with a name, a unit and a time.

Records with the same box and time become one sample. Each record is accepted or refused separately, and the
index of a rejection is its position in the pack. A full name is the box, a separator (`:` or `/`) and the
metric, with any prefix such as `urn:dev:mac:`. The box alone is enough if only one metric has the unit.

Units are in `app.catalogue.senml_units`.
"""

import json
import re
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from app.catalogue.metrics import COLUMNS, INDEX, METRICS_BY_NAME
from app.catalogue.senml_units import BY_UNIT, convert_value, find_conversion
from app.ingest.adapters.adapter_types import (
    AdaptedMessage,
    AdapterRejection,
    DecodeContext,
    FormatAdapter,
    adapt_json,
    require_box_id,
)
from app.ingest.codec.field_checks import require_array, require_not_future, require_number, require_object
from app.ingest.codec.reference_telemetry_decoder import MAX_SAMPLES, read_json
from app.platform.kernel.instants import LATEST_US, US_PER_S, check_range
from app.platform.kernel.rejection_codes import RejectedError, format_rejected_value
from app.platform.kernel.strict_json import Json

MAX_RECORDS: Final = 5_000
"""Most records of a pack."""

_VERSION: Final = 10
_RELATIVE_BELOW_S: Final = 2**28
_TIME_LIMIT_S: Final = LATEST_US // US_PER_S
_MAX_NAME: Final = 255
_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9\-:./_]*")
_LAST: Final = re.compile(r"(?:(.*)[:/])?([^:/]*)")
_BASES: Final = ("bn", "bt", "bu", "bv")
_NOT_NUMBERS: Final = ("vs", "vb", "vd")


class _Target(NamedTuple):
    box: str
    metric: str


@dataclass(slots=True)
class _Base:
    """The base fields, as the records so far have set them."""

    fields: dict[str, Json] = field(default_factory=dict)

    def take(self, record: dict[str, Json]) -> None:
        """Apply the base fields of a record. RejectedError: no later record can be decoded."""
        for key in ("bn", "bu"):
            if key in record:
                self.fields[key] = _text(record[key], key)
        for key in ("bt", "bv"):
            if key in record:
                self.fields[key] = _number(record[key], key)
        version = record.get("bver", _VERSION)
        if isinstance(version, bool) or not isinstance(version, int):
            raise RejectedError(
                "wrong_type", f"bver is {format_rejected_value(version)}: an integer is expected"
            )
        if not 0 < version <= _VERSION:
            raise RejectedError(
                "value_out_of_bounds",
                f"bver is {format_rejected_value(version)}: 1 to {_VERSION} are supported",
            )

    def text(self, key: str) -> str | None:
        found = self.fields.get(key)
        return found if isinstance(found, str) else None

    def number(self, key: str) -> float:
        found = self.fields.get(key)
        return found if isinstance(found, int | float) else 0


def decode_pack(payload: bytes, arrival: DecodeContext) -> AdaptedMessage:
    """Decode a pack."""
    document = read_json(payload)
    if arrival.box is not None and isinstance(document, dict):
        return adapt_json(payload, arrival.box, arrival)
    records = require_array(document, "the pack")
    if not records:
        raise RejectedError("empty_batch", "the pack has no records")
    if len(records) > MAX_RECORDS:
        raise RejectedError("too_many_samples", f"there are {len(records)} records: at most {MAX_RECORDS}")
    pack = _Pack(arrival)
    for index, record in enumerate(records):
        pack.add(record, index)
    return pack.adapted()


class _Pack:
    """Collects the samples and rejections of a pack."""

    def __init__(self, arrival: DecodeContext) -> None:
        self._arrival = arrival
        self._base = _Base()
        self._found: dict[tuple[str, int], list[list[float | None]]] = {}
        self._refusals: list[AdapterRejection] = []

    def add(self, record: Json, index: int) -> None:
        """Decode one record. RejectedError if no later record can be decoded."""
        target: _Target | None = None
        try:
            read = require_object(record, "the record")
        except RejectedError as error:
            rejection = error.rejection(index=index)
            self._refusals.append(AdapterRejection(self._arrival.box, rejection, _encoded([record])))
            return
        self._base.take(read)
        try:
            _check_labels(read)
            target = _parse_target(self._base, read, self._arrival.box)
            time_us = _time_us(self._base, read, self._arrival)
            self._put(target, time_us, _value(self._base, read, target.metric))
        except RejectedError as error:
            box = self._arrival.box if target is None else target.box
            self._refusals.append(
                AdapterRejection(box, error.rejection(index=index), self._encode_alone(read))
            )

    def _put(self, target: _Target, time_us: int, value: float) -> None:
        """Add a value to the sample of its box and time.

        A second value of the same metric makes another sample, which the database reports as a conflict.
        """
        position = INDEX[target.metric]
        rows = self._found.setdefault((target.box, time_us), [])
        if rows and rows[0][position] == value:
            return
        if not rows or rows[-1][position] is not None:
            rows.append([None] * len(COLUMNS))
        rows[-1][position] = value

    def _encode_alone(self, record: dict[str, Json]) -> bytes:
        """Encode a record as its own pack with its absolute time, so that it means the same if sent again."""
        bases = dict(self._base.fields)
        time = record.get("t", 0)
        start = self._base.number("bt")
        now = self._arrival.now_us / US_PER_S
        if isinstance(time, int | float) and start + time < _RELATIVE_BELOW_S <= now + start + time:
            bases["bt"] = now + start
        return _encoded([{**record, **bases}])

    def adapted(self) -> AdaptedMessage:
        """Return the result. RejectedError if there are too many samples."""
        samples = [(key, row) for key, rows in self._found.items() for row in rows]
        if len(samples) > MAX_SAMPLES:
            raise RejectedError(
                "too_many_samples",
                f"there are {len(samples)} samples: at most {MAX_SAMPLES} are accepted in one pack",
            )
        return AdaptedMessage(
            [(box, (time_us, None, tuple(row))) for (box, time_us), row in samples], self._refusals
        )


def _encoded(pack: list[Json]) -> bytes:
    return json.dumps(pack).encode()


def _text(value: Json, where: str) -> str:
    if not isinstance(value, str):
        raise RejectedError("wrong_type", f"{where} is {format_rejected_value(value)}: a string is expected")
    if len(value) > _MAX_NAME:
        raise RejectedError("text_too_long", f"{where} has {len(value)} characters: at most {_MAX_NAME}")
    return value


def _number(value: Json, where: str) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise RejectedError("wrong_type", f"{where} is {format_rejected_value(value)}: a number is expected")
    return value


def _check_labels(record: dict[str, Json]) -> None:
    """Refuse unknown labels that end in an underscore, as RFC 8428 (section 4.4) demands."""
    for label in record:
        if label.endswith("_"):
            raise RejectedError(
                "unknown_field",
                f"{format_rejected_value(label)} is mandatory to understand, but is not supported",
            )


def _parse_target(base: _Base, record: dict[str, Json], known: str | None) -> _Target:
    """Return the box and the metric that a record names."""
    name = (base.text("bn") or "") + _text(record.get("n", ""), "n")
    unit = _unit(base, record)
    if "\0" in name:
        raise RejectedError("nul_in_text", "the name holds a NUL character")
    if name and (len(name) > _MAX_NAME or _NAME.fullmatch(name) is None):
        raise RejectedError(
            "invalid_text", f"the name {format_rejected_value(name)} is not a valid SenML name"
        )
    match = _LAST.fullmatch(name.rstrip(":/"))
    head, last = (match[1] or "", match[2]) if match else ("", "")
    owner = head.rstrip(":/").replace("/", ":").rpartition(":")[2]
    if last in METRICS_BY_NAME:
        return _Target(_check_box(owner, known), last)
    if last and known is not None and last != known:
        raise RejectedError(
            "unknown_metric", f"{format_rejected_value(last)} is not a metric: see the catalogue"
        )
    metric = BY_UNIT.get(unit or "")
    if metric is None:
        raise RejectedError(
            "unknown_metric", f"the name {format_rejected_value(name)} ends in no metric: see the catalogue"
        )
    return _Target(_check_box(last, known), metric)


def _check_box(named: str, known: str | None) -> str:
    """Return the box that a name contains. It must be the box of the topic or account, if that is known."""
    if known is None:
        if not named:
            raise RejectedError("missing_field", "the name does not say which box: box-0001:temperature")
        return require_box_id(named, "the box in the name")
    if named not in {"", known}:
        raise RejectedError(
            "invalid_box_id",
            f"the name is of box {format_rejected_value(named)}, but the message is of {known}",
        )
    return known


def _unit(base: _Base, record: dict[str, Json]) -> str | None:
    return _text(record["u"], "u") if "u" in record else base.text("bu")


def _time_us(base: _Base, record: dict[str, Json], arrival: DecodeContext) -> int:
    """Return the time of a record. Values below 2^28 seconds are relative to its arrival."""
    seconds = base.number("bt") + _number(record.get("t", 0), "t")
    if not -_TIME_LIMIT_S < seconds < _TIME_LIMIT_S:
        raise RejectedError(
            "time_out_of_range",
            f"time {format_rejected_value(seconds)} is out of range: seconds are expected",
        )
    start = arrival.now_us if seconds < _RELATIVE_BELOW_S else 0
    time_us = start + round(seconds * US_PER_S)
    if time_us < 0:
        raise RejectedError("time_out_of_range", f"time {format_rejected_value(seconds)} is before 1970")
    check_range(time_us)
    return require_not_future(time_us, arrival.now_us, arrival.max_future_us)


def _value(base: _Base, record: dict[str, Json], metric: str) -> float:
    """Return the value of a record in the unit of its metric."""
    for label in _NOT_NUMBERS:
        if label in record:
            raise RejectedError("wrong_type", f"{label} is not a number, but {metric} is one")
    if "v" not in record and "bv" not in base.fields:
        if "s" in record:
            raise RejectedError("wrong_type", f"s is a sum over time, but {metric} is measured at one time")
        raise RejectedError("missing_field", "the record has no v")
    value = base.number("bv") + _number(record.get("v", 0), "v")
    due = METRICS_BY_NAME[metric]
    by = find_conversion(metric, _unit(base, record))
    try:
        value = convert_value(value, by)
    except OverflowError:
        raise RejectedError(
            "number_out_of_range", f"bv and v of {metric} exceed the range of a double"
        ) from None
    return require_number(value, metric, due.minimum, due.maximum, due.unit)


ADAPTER: Final = FormatAdapter(
    "senml",
    "SenML (RFC 8428) in JSON",
    decode_pack,
    topic="vigie/v1/{box}/telemetry/senml",
    media_type="application/senml+json",
    example=(
        {"bn": "urn:dev:mac:box-0001:", "bt": 1795514400, "n": "pm2_5", "u": "ug/m3", "v": 12.4},
        {"n": "temperature", "u": "Cel", "v": 21.5},
        {"n": "temperature", "u": "Cel", "t": -60, "v": 21.4},
    ),
)
