"""The codec of the rarer messages: events, status, reported configuration.

Owns what may enter by them: the fields named here and no other, so that neither sound nor image nor anything
that identifies a person has a way in. Each is decoded by strict JSON and checked field by field; they are not
hot. Pure: no database, no HTTP, no clock.
"""

import re
from typing import Final, Literal

import msgspec

from app.core.reasons import RejectedError, Rejection, shown
from app.core.strict_json import Json, check_texts, loads
from app.ingest.codec import MAX_FUTURE_US
from app.ingest.codec_fields import (
    a_number,
    a_text,
    an_array,
    an_instant,
    an_integer,
    an_object,
    check_keys,
    readable_seq,
)
from app.sites.catalogue import BY_NAME

type State = Literal["online", "offline"]

MAX_CANDIDATES: Final = 32
MAX_CONFIG_BYTES: Final = 16_384
_MAX_CONFIG_TEXT: Final = 4_096
_MAX_CLOCK_ERROR_MS: Final = 86_400_000

UNKNOWN_TYPE: Final = "type is none of the types that GET /v1/event-catalogue lists"
"""What is wrong with a type of events. It does not repeat what the sender wrote."""

_EVENT_TYPE: Final = re.compile(r"[a-z0-9_.-]{1,64}")
_EVENT: Final = ("seq", "time", "type", "candidates", "level_db", "clock_error_ms")
_CANDIDATE: Final = ("class", "model", "confidence")
_STATUS: Final = ("state", "firmware", "battery", "rssi")
_STATES: Final[dict[str, State]] = {"online": "online", "offline": "offline"}


class Candidate(msgspec.Struct, frozen=True, rename={"class_": "class"}, omit_defaults=True):
    """One thing that the box takes an event for, with its confidence of 0 to 1."""

    class_: str
    confidence: float
    model: str | None = None


class Event(msgspec.Struct, frozen=True):
    """Something that a box itself recognised.

    Attributes:
        time_us: When, in microseconds since the epoch.
        seq: The box's own count, where it keeps one.
        type: Such as `gunshot`, `alarm`, `odour`, `tamper`.
        candidates: What it may have been, in the box's order.
        level_db: The sound level in dB.
        clock_error_ms: The box's estimate of its clock's error.
    """

    time_us: int
    seq: int | None
    type: str
    candidates: tuple[Candidate, ...] = ()
    level_db: float | None = None
    clock_error_ms: float | None = None


class Status(msgspec.Struct, frozen=True):
    """How a box says it is: its Last Will says `offline` for it. Charge in %, signal in dBm."""

    state: State
    firmware: str | None = None
    battery: float | None = None
    rssi: float | None = None


def decode_event(payload: bytes, now_us: int, max_future_us: int = MAX_FUTURE_US) -> Event | Rejection:
    """Decode an event message, or say why it cannot be taken."""
    document: Json = None
    try:
        document = loads(payload)
        return _event(an_object(document, "the event"), now_us, max_future_us)
    except RejectedError as error:
        return error.rejection(seq=readable_seq(document))


def decode_status(payload: bytes) -> Status | Rejection:
    """Decode a status message, or say why it cannot be taken."""
    try:
        return _status(an_object(loads(payload), "the status"))
    except RejectedError as error:
        return error.rejection()


def decode_reported_config(payload: bytes) -> dict[str, Json] | Rejection:
    """Decode a configuration that a box reports: an object of at most 16 KiB, or why it cannot be taken."""
    if len(payload) > MAX_CONFIG_BYTES:
        return Rejection(
            "body_too_large",
            f"the configuration has {len(payload)} bytes: at most {MAX_CONFIG_BYTES} are taken",
        )
    try:
        config = an_object(loads(payload), "the configuration")
        check_texts(config, _MAX_CONFIG_TEXT)
    except RejectedError as error:
        return error.rejection()
    return config


def _event(event: dict[str, Json], now_us: int, max_future_us: int) -> Event:
    check_texts(event)
    check_keys(event, ("time", "type"), _EVENT, "an event")
    candidates = an_array(event.get("candidates", []), "candidates")
    if len(candidates) > MAX_CANDIDATES:
        raise RejectedError(
            "too_many_candidates",
            f"there are {len(candidates)} candidates: at most {MAX_CANDIDATES} are taken",
        )
    kind = event["type"]
    if not isinstance(kind, str):
        raise RejectedError("wrong_type", f"type is {shown(kind)}: a text is due")
    if _EVENT_TYPE.fullmatch(kind) is None:
        raise RejectedError("unknown_event_type", UNKNOWN_TYPE)
    level = BY_NAME["lcpeak"]
    error = _MAX_CLOCK_ERROR_MS
    return Event(
        time_us=an_instant(event["time"], now_us, max_future_us),
        seq=an_integer(event["seq"], "seq") if "seq" in event else None,
        type=kind,
        candidates=tuple(_candidate(item, f"candidates[{index}]") for index, item in enumerate(candidates)),
        level_db=_optional(event, "level_db", level.minimum, level.maximum, level.unit),
        clock_error_ms=_optional(event, "clock_error_ms", -error, error, "ms"),
    )


def _candidate(value: Json, where: str) -> Candidate:
    candidate = an_object(value, where)
    check_keys(candidate, ("class", "confidence"), _CANDIDATE, where)
    return Candidate(
        class_=a_text(candidate["class"], f"{where}.class"),
        confidence=a_number(candidate["confidence"], f"{where}.confidence", 0, 1),
        model=a_text(candidate["model"], f"{where}.model") if "model" in candidate else None,
    )


def _status(status: dict[str, Json]) -> Status:
    check_texts(status)
    check_keys(status, ("state",), _STATUS, "a status")
    state = status["state"]
    if not isinstance(state, str):
        raise RejectedError("wrong_type", f"state is {shown(state)}: a text is due")
    if state not in _STATES:
        raise RejectedError("unknown_state", f"state is {shown(state)}: online or offline is due")
    battery, rssi = BY_NAME["battery"], BY_NAME["rssi"]
    return Status(
        state=_STATES[state],
        firmware=a_text(status["firmware"], "firmware") if "firmware" in status else None,
        battery=_optional(status, "battery", battery.minimum, battery.maximum, battery.unit),
        rssi=_optional(status, "rssi", rssi.minimum, rssi.maximum, rssi.unit),
    )


def _optional(found: dict[str, Json], key: str, minimum: float, maximum: float, unit: str) -> float | None:
    return a_number(found[key], key, minimum, maximum, unit) if key in found else None
