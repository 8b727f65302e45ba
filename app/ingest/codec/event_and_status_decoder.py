"""Decodes events, statuses and reported configurations of boxes.

Only the fields named here are accepted, so that no sound, image or personal data can enter. Each message is
read by strict JSON and checked field by field; these messages are too rare to need a fast path. Pure: no
database, no HTTP, no clock.
"""

import re
from collections.abc import Mapping
from typing import Final, Literal

import msgspec

from app.catalogue.device_event_types import EVENT_TYPE_OF, EventForm, EventType
from app.catalogue.metrics import METRICS_BY_NAME
from app.catalogue.purposes import PURPOSE_BY_EVENT_TYPE
from app.ingest.codec.batch_recovery import find_seq
from app.ingest.codec.field_checks import (
    check_keys,
    extract_seq,
    require_array,
    require_instant,
    require_integer,
    require_number,
    require_object,
    require_text,
)
from app.ingest.codec.reference_telemetry_decoder import is_box_id
from app.ingest.codec.telemetry_codec import MAX_FUTURE_US
from app.platform.content_policy.content_scanner import examine_document
from app.platform.kernel.rejection_codes import InputRejection, RejectedError, format_rejected_value
from app.platform.kernel.strict_json import Json, check_texts, parse_strict_json

type OnlineState = Literal["online", "offline"]
type EventPhase = Literal["begin", "end"]
"""Whether the state that an event of the form `state` reports begins or ends."""

MAX_CANDIDATES: Final = 32
MAX_CONFIG_BYTES: Final = 16_384
_MAX_CONFIG_TEXT: Final = 4_096
_MAX_CLOCK_ERROR_MS: Final = 86_400_000

MAX_EVENTS: Final = 100
"""Most events of one HTTP request."""
MAX_COUNT: Final = 1_000_000
OCTAVES: Final = ("31.5", "63", "125", "250", "500", "1000", "2000", "4000", "8000", "16000")
"""The nominal mid-frequencies of octave bands in Hz, as IEC 61260-1:2014 (annex E) lists them."""
UNKNOWN_TYPE: Final = "type is not one of the types that GET /v1/event-catalogue lists"
"""The rejection detail of an unknown event type. It does not repeat the sender's text."""

_EVERY: Final = ("seq", "time", "type")
_OF_FORM: Final[Mapping[EventForm, tuple[str, ...]]] = {
    "recognised": ("candidates", "level_db", "spectrum", "clock_error_ms"),
    "plain": (),
    "count": ("count",),
    "state": ("state",),
}
# Fields without which an event of this form has no meaning.
_REQUIRED: Final[Mapping[EventForm, tuple[str, ...]]] = {"count": ("count",), "state": ("state",)}
NAME_PATTERN: Final = "^[a-z0-9][a-z0-9_.:-]{0,63}$"
"""The pattern of a class or a model: a catalogue name, not free text."""
_NAME: Final = re.compile(NAME_PATTERN)
_PHASES: Final[dict[str, EventPhase]] = {"begin": "begin", "end": "end"}
_CANDIDATE: Final = ("class", "model", "confidence")
_STATUS: Final = ("state", "firmware", "battery", "rssi")
_STATES: Final[dict[str, OnlineState]] = {"online": "online", "offline": "offline"}


class EventCandidate(msgspec.Struct, frozen=True, rename={"class_": "class"}, omit_defaults=True):
    """One class that the box recognised, with its confidence of 0 to 1."""

    class_: str
    confidence: float
    model: str | None = None


class DeviceEvent(msgspec.Struct, frozen=True):
    """An event that a box recognised itself.

    Attributes:
        time_us: Its time, in microseconds since the epoch.
        seq: The sequence number of the box, if it has one.
        type: A type of the catalogue (`app.catalogue.device_event_types`), which determines the other fields.
        candidates: The recognised classes, in the order of the box.
        level_db: The sound level in dB.
        clock_error_ms: The box's estimate of its clock's error.
        spectrum: Sound levels in dB by octave band, as named in OCTAVES.
        count: The number of counted things.
        state: Whether a state begins or ends.
    """

    time_us: int
    seq: int | None
    type: str
    candidates: tuple[EventCandidate, ...] = ()
    level_db: float | None = None
    clock_error_ms: float | None = None
    spectrum: dict[str, float] | None = None
    count: int | None = None
    state: EventPhase | None = None


class BoxStatus(msgspec.Struct, frozen=True):
    """The status that a box reports; its Last Will reports `offline`. Charge in %, signal in dBm."""

    state: OnlineState
    firmware: str | None = None
    battery: float | None = None
    rssi: float | None = None


def decode_event(
    payload: bytes, now_us: int, max_future_us: int = MAX_FUTURE_US
) -> DeviceEvent | InputRejection:
    """Decode an event message, or return a rejection with the purpose of the event."""
    document: Json = None
    try:
        document = parse_strict_json(payload)
    except RejectedError as error:
        return error.rejection(seq=find_seq(payload))
    return _decode_document(document, now_us, max_future_us)


def decode_http_events(
    body: bytes, now_us: int, max_future_us: int = MAX_FUTURE_US
) -> tuple[str, list[tuple[bytes, DeviceEvent | InputRejection]]]:
    """Decode the body of `POST /v1/events`: `{"box": "box-0001", "events": [...]}`.

    Returns:
        The box's id, which may be unknown, and for each event its JSON and the event or its rejection.

    Raises:
        RejectedError: The body as a whole is refused.
    """
    document = require_object(parse_strict_json(body), "the body")
    check_keys(document, ("box", "events"), ("box", "events"), "the body")
    box = document["box"]
    if not isinstance(box, str):
        raise RejectedError("wrong_type", f"box is {format_rejected_value(box)}: a string is expected")
    if not is_box_id(box):
        raise RejectedError("invalid_box_id", "box is not 1 to 64 letters, digits, _ and -")
    events = require_array(document["events"], "events")
    if not events:
        raise RejectedError("empty_batch", "events is empty")
    if len(events) > MAX_EVENTS:
        raise RejectedError(
            "too_many_samples", f"there are {len(events)} events: at most {MAX_EVENTS} are accepted"
        )
    return box, [
        (msgspec.json.encode(event), _decode_document(event, now_us, max_future_us)) for event in events
    ]


def _decode_document(document: Json, now_us: int, max_future_us: int) -> DeviceEvent | InputRejection:
    try:
        event = _event(require_object(document, "the event"), now_us, max_future_us)
        return check_content(document, event)
    except RejectedError as error:
        kind = document.get("type") if isinstance(document, dict) else None
        purpose = PURPOSE_BY_EVENT_TYPE.get(kind) if isinstance(kind, str) else None
        return InputRejection(error.code, error.detail, extract_seq(document), purpose=purpose)


def decode_status(payload: bytes) -> BoxStatus | InputRejection:
    """Decode a status message, or return a rejection."""
    try:
        document = parse_strict_json(payload)
        status = _status(require_object(document, "the status"))
        return status if status.firmware is None else check_content(document, status)
    except RejectedError as error:
        return error.rejection()


def decode_reported_config(payload: bytes) -> dict[str, Json] | InputRejection:
    """Decode a reported configuration (an object of at most 16 KiB), or return a rejection."""
    if len(payload) > MAX_CONFIG_BYTES:
        return InputRejection(
            "body_too_large",
            f"the configuration has {len(payload)} bytes: at most {MAX_CONFIG_BYTES} are accepted",
        )
    try:
        config = require_object(parse_strict_json(payload), "the configuration")
        check_texts(config, _MAX_CONFIG_TEXT)
    except RejectedError as error:
        return error.rejection()
    return check_content(config, config)


def check_content[Message](document: Json, message: Message) -> Message | InputRejection:
    """Return the decoded message, or a rejection if its texts are forbidden content."""
    finding = examine_document(document)
    return message if finding is None else InputRejection(finding.code, finding.detail, extract_seq(document))


def _event(event: dict[str, Json], now_us: int, max_future_us: int) -> DeviceEvent:
    # The type is checked first: nothing of an unknown type is stored, whatever else is wrong with it.
    form = _type(event).form
    check_texts(event)
    check_keys(
        event,
        ("time", "type", *_REQUIRED.get(form, ())),
        (*_EVERY, *_OF_FORM[form]),
        f"an event of the type {event['type']}",
    )
    candidates = require_array(event.get("candidates", []), "candidates")
    if len(candidates) > MAX_CANDIDATES:
        raise RejectedError(
            "too_many_candidates",
            f"there are {len(candidates)} candidates: at most {MAX_CANDIDATES} are accepted",
        )
    level = METRICS_BY_NAME["lcpeak"]
    error = _MAX_CLOCK_ERROR_MS
    return DeviceEvent(
        time_us=require_instant(event["time"], now_us, max_future_us),
        seq=require_integer(event["seq"], "seq") if "seq" in event else None,
        type=str(event["type"]),
        candidates=tuple(_candidate(item, f"candidates[{index}]") for index, item in enumerate(candidates)),
        level_db=_optional(event, "level_db", level.minimum, level.maximum, level.unit),
        clock_error_ms=_optional(event, "clock_error_ms", -error, error, "ms"),
        spectrum=_spectrum(event["spectrum"]) if "spectrum" in event else None,
        count=_count(event["count"]) if "count" in event else None,
        state=_phase(event["state"]) if "state" in event else None,
    )


def _type(event: dict[str, Json]) -> EventType:
    if "type" not in event:
        raise RejectedError("missing_field", "an event has no type")
    kind = event["type"]
    if not isinstance(kind, str):
        raise RejectedError("wrong_type", f"type is {format_rejected_value(kind)}: a string is expected")
    if kind not in EVENT_TYPE_OF:
        raise RejectedError("unknown_event_type", UNKNOWN_TYPE)
    return EVENT_TYPE_OF[kind]


def _spectrum(value: Json) -> dict[str, float]:
    bands = require_object(value, "spectrum")
    check_keys(bands, (), OCTAVES, "spectrum")
    if not bands:
        raise RejectedError("empty_values", "spectrum has no bands")
    level = METRICS_BY_NAME["lcpeak"]
    return {
        band: require_number(bands[band], f"spectrum.{band}", level.minimum, level.maximum, level.unit)
        for band in OCTAVES
        if band in bands
    }


def _count(value: Json) -> int:
    count = require_integer(value, "count")
    if count > MAX_COUNT:
        raise RejectedError("value_out_of_bounds", f"count is {count}: the allowed range is 0 to {MAX_COUNT}")
    return count


def _phase(value: Json) -> EventPhase:
    if not isinstance(value, str):
        raise RejectedError("wrong_type", f"state is {format_rejected_value(value)}: a string is expected")
    if value not in _PHASES:
        raise RejectedError("unknown_state", "state of an event is neither begin nor end")
    return _PHASES[value]


def _candidate(value: Json, where: str) -> EventCandidate:
    candidate = require_object(value, where)
    check_keys(candidate, ("class", "confidence"), _CANDIDATE, where)
    return EventCandidate(
        class_=_name(candidate["class"], f"{where}.class"),
        confidence=require_number(candidate["confidence"], f"{where}.confidence", 0, 1),
        model=_name(candidate["model"], f"{where}.model") if "model" in candidate else None,
    )


def _name(value: Json, where: str) -> str:
    name = require_text(value, where)
    if _NAME.fullmatch(name) is None:
        raise RejectedError(
            "invalid_text",
            f"{where} is not a name: 1 to 64 lower-case letters, digits, _ . : and - are expected",
        )
    return name


def _status(status: dict[str, Json]) -> BoxStatus:
    check_texts(status)
    check_keys(status, ("state",), _STATUS, "a status")
    state = status["state"]
    if not isinstance(state, str):
        raise RejectedError("wrong_type", f"state is {format_rejected_value(state)}: a string is expected")
    if state not in _STATES:
        raise RejectedError(
            "unknown_state", f"state is {format_rejected_value(state)}: online or offline is expected"
        )
    battery, rssi = METRICS_BY_NAME["battery"], METRICS_BY_NAME["rssi"]
    return BoxStatus(
        state=_STATES[state],
        firmware=require_text(status["firmware"], "firmware") if "firmware" in status else None,
        battery=_optional(status, "battery", battery.minimum, battery.maximum, battery.unit),
        rssi=_optional(status, "rssi", rssi.minimum, rssi.maximum, rssi.unit),
    )


def _optional(found: dict[str, Json], key: str, minimum: float, maximum: float, unit: str) -> float | None:
    return require_number(found[key], key, minimum, maximum, unit) if key in found else None
