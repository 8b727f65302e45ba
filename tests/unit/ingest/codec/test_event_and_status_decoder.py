"""Events, status and reported configuration: the contract's examples pass, all else is named."""

import json
from typing import Any

import pytest

from app.ingest.codec.event_and_status_decoder import (
    OCTAVES,
    BoxStatus,
    DeviceEvent,
    EventCandidate,
    decode_event,
    decode_http_events,
    decode_reported_config,
    decode_status,
)
from app.platform.kernel.instants import parse_rfc3339
from app.platform.kernel.rejection_codes import (
    NEVER_STORED_CODES,
    InputRejection,
    RejectedError,
    get_rejection_status,
)

NOW = parse_rfc3339("2026-11-24T22:14:05Z")
AT = parse_rfc3339("2026-11-24T22:14:03.125Z")

EVENT: dict[str, Any] = {
    "seq": 7,
    "time": "2026-11-24T22:14:03.125Z",
    "type": "gunshot",
    "candidates": [
        {"class": "pistol", "model": "glock-17", "confidence": 0.81},
        {"class": "firework", "confidence": 0.11},
    ],
    "level_db": 118.2,
    "clock_error_ms": 0.4,
}
AT_ONCE: dict[str, Any] = {"time": "2026-11-24T22:14:03.125Z"}
STATUS: dict[str, Any] = {"state": "online", "firmware": "2.3.1", "battery": 87, "rssi": -67}
LONG = "x" * 65


def without(found: dict[str, Any], key: str) -> dict[str, Any]:
    return {name: value for name, value in found.items() if name != key}


def candidates(**changed: Any) -> dict[str, Any]:  # noqa: ANN401 - bad values of any kind
    return EVENT | {"candidates": [{"class": "pistol", "confidence": 0.5} | changed]}


def test_the_contracts_event() -> None:
    assert decode_event(json.dumps(EVENT).encode(), NOW) == DeviceEvent(
        time_us=AT,
        seq=7,
        type="gunshot",
        candidates=(EventCandidate("pistol", 0.81, "glock-17"), EventCandidate("firework", 0.11)),
        level_db=118.2,
        clock_error_ms=0.4,
    )


@pytest.mark.parametrize("kind", ["alarm", "odour", "tamper", "gunshot", "noise_peak"])
def test_the_least_event(kind: str) -> None:
    payload = json.dumps({"time": AT // 1_000, "type": kind}).encode()
    assert decode_event(payload, NOW) == DeviceEvent(time_us=AT, seq=None, type=kind)


@pytest.mark.parametrize(
    ("event", "code"),
    [
        (None, "wrong_type"),
        ([EVENT], "wrong_type"),
        ({"events": [EVENT]}, "missing_field"),
        (EVENT | {"audio": "UklGRg=="}, "unknown_field"),
        (EVENT | {"image": "data"}, "unknown_field"),
        (EVENT | {"face_id": 1}, "unknown_field"),
        (without(EVENT, "time"), "missing_field"),
        (without(EVENT, "type"), "missing_field"),
        (EVENT | {"time": "2026-11-24T22:14:03"}, "time_without_zone"),
        (EVENT | {"time": "2026-11-24T22:24:05.001Z"}, "time_in_future"),
        (EVENT | {"time": 1_795_558_443}, "time_out_of_range"),
        (EVENT | {"time": None}, "wrong_type"),
        (EVENT | {"seq": -1}, "value_out_of_bounds"),
        (EVENT | {"seq": None}, "wrong_type"),
        (EVENT | {"seq": 2**53 + 1}, "integer_too_large"),
        (EVENT | {"type": "Gunshot"}, "unknown_event_type"),
        (EVENT | {"type": ""}, "unknown_event_type"),
        (EVENT | {"type": "gun shot"}, "unknown_event_type"),
        (EVENT | {"type": "gunshot\n"}, "unknown_event_type"),
        (EVENT | {"type": "coup-de-feu-é"}, "unknown_event_type"),
        (EVENT | {"type": LONG}, "unknown_event_type"),
        (EVENT | {"type": "a\0"}, "unknown_event_type"),
        (EVENT | {"type": 1}, "wrong_type"),
        (EVENT | {"type": None}, "wrong_type"),
        (EVENT | {"candidates": None}, "wrong_type"),
        (EVENT | {"candidates": {}}, "wrong_type"),
        (EVENT | {"candidates": ["pistol"]}, "wrong_type"),
        (EVENT | {"candidates": [{"class": "x", "confidence": 0}] * 33}, "too_many_candidates"),
        (EVENT | {"candidates": [{"class": "x"}]}, "missing_field"),
        (EVENT | {"candidates": [{"confidence": 1}]}, "missing_field"),
        (candidates(image="data"), "unknown_field"),
        (candidates(confidence=1.01), "value_out_of_bounds"),
        (candidates(confidence=-0.01), "value_out_of_bounds"),
        (candidates(confidence="0.5"), "wrong_type"),
        (candidates(confidence=True), "wrong_type"),
        (candidates(confidence=None), "wrong_type"),
        ({**candidates(), "level_db": True}, "wrong_type"),
        ({**candidates(), "level_db": None}, "wrong_type"),
        ({**candidates(), "level_db": 1_182}, "value_out_of_bounds"),
        ({**candidates(), "clock_error_ms": 1e9}, "value_out_of_bounds"),
        ({**candidates(), "clock_error_ms": "0.4"}, "wrong_type"),
        (candidates(**{"class": ""}), "invalid_text"),
        (candidates(**{"class": 1}), "wrong_type"),
        (candidates(**{"class": LONG}), "text_too_long"),
        (candidates(**{"class": "a\0b"}), "nul_in_text"),
        (candidates(**{"class": "a\u202eb"}), "invalid_text"),
        (candidates(**{"class": "a\x1bb"}), "invalid_text"),
        (candidates(**{"class": "e\u0301"}), "invalid_text"),
        (candidates(model="\u200b"), "invalid_text"),
        (candidates(model=None), "wrong_type"),
        (candidates(**{"class": "fusée"}), "invalid_text"),
        (candidates(**{"class": "Pistol"}), "invalid_text"),
        (candidates(model="a man in red"), "invalid_text"),
        (candidates(model=":x"), "invalid_text"),
        (EVENT | {"spectrum": {}}, "empty_values"),
        (EVENT | {"spectrum": [90.0]}, "wrong_type"),
        (EVENT | {"spectrum": {"32": 90.0}}, "unknown_field"),
        (EVENT | {"spectrum": {"63": "loud"}}, "wrong_type"),
        (EVENT | {"spectrum": {"63": 1_000}}, "value_out_of_bounds"),
        (EVENT | {"count": 1}, "unknown_field"),
        (EVENT | {"state": "begin"}, "unknown_field"),
        (AT_ONCE | {"type": "tamper", "level_db": 90.0}, "unknown_field"),
        (AT_ONCE | {"type": "tamper", "candidates": []}, "unknown_field"),
        (AT_ONCE | {"type": "crowd"}, "missing_field"),
        (AT_ONCE | {"type": "crowd", "count": 1.5}, "wrong_type"),
        (AT_ONCE | {"type": "crowd", "count": True}, "wrong_type"),
        (AT_ONCE | {"type": "crowd", "count": -1}, "value_out_of_bounds"),
        (AT_ONCE | {"type": "crowd", "count": 1_000_001}, "value_out_of_bounds"),
        (AT_ONCE | {"type": "crowd", "count": 1, "clock_error_ms": 1}, "unknown_field"),
        (AT_ONCE | {"type": "smoke"}, "missing_field"),
        (AT_ONCE | {"type": "smoke", "state": "black"}, "unknown_state"),
        (AT_ONCE | {"type": "smoke", "state": True}, "wrong_type"),
        (AT_ONCE | {"type": "smoke", "state": "begin", "count": 1}, "unknown_field"),
    ],
)
def test_events_refused(event: object, code: str) -> None:
    refused = decode_event(json.dumps(event).encode(), NOW)
    assert isinstance(refused, InputRejection)
    assert refused.code == code
    assert refused.detail
    assert get_rejection_status(code) in {413, 422}


def test_a_refused_event_names_its_seq() -> None:
    refused = decode_event(json.dumps(EVENT | {"audio": ""}).encode(), NOW)
    assert isinstance(refused, InputRejection)
    assert refused.seq == 7


def test_a_refused_event_names_the_purpose_of_its_type() -> None:
    refused = [
        decode_event(json.dumps(event).encode(), NOW)
        for event in (EVENT | {"audio": ""}, EVENT | {"type": "whistle"}, without(EVENT, "type"))
    ]
    assert [each.purpose for each in refused if isinstance(each, InputRejection)] == [
        "acoustic_safety",
        None,
        None,
    ]


@pytest.mark.parametrize("kind", ["whistle", "Gunshot", "face recognised: J. Doe", "\0"])
def test_a_type_that_is_not_known_is_not_repeated(kind: str) -> None:
    refused = decode_event(json.dumps(AT_ONCE | {"type": kind}).encode(), NOW)
    assert isinstance(refused, InputRejection)
    assert (refused.code, refused.code in NEVER_STORED_CODES) == ("unknown_event_type", True)
    assert kind not in refused.detail


def test_the_most_candidates() -> None:
    event = decode_event(
        json.dumps(EVENT | {"candidates": [{"class": "firework", "confidence": 1}] * 32}).encode(), NOW
    )
    assert isinstance(event, DeviceEvent)
    assert event.candidates == (EventCandidate("firework", 1.0),) * 32


def test_each_form_carries_its_own() -> None:
    spectrum = dict.fromkeys(reversed(OCTAVES), 60.0)
    found = [
        decode_event(json.dumps(AT_ONCE | event).encode(), NOW)
        for event in (
            {"type": "gunshot", "spectrum": spectrum},
            {"type": "crowd", "count": 0},
            {"type": "crowd", "count": 1_000_000},
            {"type": "stopped_vehicle", "state": "begin"},
            {"type": "smoke", "state": "end"},
        )
    ]
    assert found == [
        DeviceEvent(AT, None, "gunshot", spectrum=spectrum),
        DeviceEvent(AT, None, "crowd", count=0),
        DeviceEvent(AT, None, "crowd", count=1_000_000),
        DeviceEvent(AT, None, "stopped_vehicle", state="begin"),
        DeviceEvent(AT, None, "smoke", state="end"),
    ]
    assert isinstance(found[0], DeviceEvent)
    assert list(found[0].spectrum or ()) == list(OCTAVES)


def test_events_of_a_call_are_judged_one_by_one() -> None:
    body = json.dumps({"box": "b", "events": [EVENT, EVENT | {"audio": ""}, 3]}).encode()
    box, events = decode_http_events(body, NOW)
    assert box == "b"
    assert [json.loads(part) for part, _ in events] == [EVENT, EVENT | {"audio": ""}, 3]
    codes = [event.code if isinstance(event, InputRejection) else event.type for _, event in events]
    assert codes == ["gunshot", "unknown_field", "wrong_type"]


@pytest.mark.parametrize(
    ("body", "code"),
    [
        ([], "wrong_type"),
        ({"box": "b"}, "missing_field"),
        ({"box": "b", "events": [], "image": ""}, "unknown_field"),
        ({"box": "b/c", "events": [EVENT]}, "invalid_box_id"),
        ({"box": 1, "events": [EVENT]}, "wrong_type"),
        ({"box": "b", "events": {}}, "wrong_type"),
        ({"box": "b", "events": []}, "empty_batch"),
        ({"box": "b", "events": [EVENT] * 101}, "too_many_samples"),
    ],
)
def test_a_call_of_events_that_is_refused_as_a_whole(body: object, code: str) -> None:
    with pytest.raises(RejectedError) as refused:
        decode_http_events(json.dumps(body).encode(), NOW)
    assert refused.value.code == code


@pytest.mark.parametrize(
    "payload",
    [b"", b"NaN", b'{"time": 1, "time": 2}', b"\xff", b'{"type": "\\ud800"}', b"[" * 9 + b"]" * 9, b"1e400"],
)
def test_what_is_no_strict_json_is_no_message_at_all(payload: bytes) -> None:
    for refused in (decode_event(payload, NOW), decode_status(payload), decode_reported_config(payload)):
        assert isinstance(refused, InputRejection)
        assert get_rejection_status(refused.code) == 400


def test_the_contracts_status() -> None:
    assert decode_status(json.dumps(STATUS).encode()) == BoxStatus("online", "2.3.1", 87.0, -67.0)
    assert decode_status(b'{"state": "offline"}') == BoxStatus("offline")


@pytest.mark.parametrize(
    ("status", "code"),
    [
        (None, "wrong_type"),
        ("online", "wrong_type"),
        ({}, "missing_field"),
        (without(STATUS, "state"), "missing_field"),
        (STATUS | {"uptime": 1}, "unknown_field"),
        (STATUS | {"state": "ONLINE"}, "unknown_state"),
        (STATUS | {"state": "asleep"}, "unknown_state"),
        (STATUS | {"state": True}, "wrong_type"),
        (STATUS | {"state": None}, "wrong_type"),
        (STATUS | {"firmware": LONG}, "text_too_long"),
        (STATUS | {"firmware": 2.3}, "wrong_type"),
        (STATUS | {"firmware": "2\0"}, "nul_in_text"),
        (STATUS | {"battery": 101}, "value_out_of_bounds"),
        (STATUS | {"battery": -1}, "value_out_of_bounds"),
        (STATUS | {"battery": "87"}, "wrong_type"),
        (STATUS | {"rssi": 99}, "value_out_of_bounds"),
        (STATUS | {"rssi": None}, "wrong_type"),
        (STATUS | {"rssi": True}, "wrong_type"),
    ],
)
def test_status_refused(status: object, code: str) -> None:
    refused = decode_status(json.dumps(status).encode())
    assert isinstance(refused, InputRejection)
    assert refused.code == code


def test_reported_configuration() -> None:
    config = {"interval_s": 60, "metrics": ["pm2_5", "laeq"], "note": "x" * 4_096, "wifi": {"channel": None}}
    assert decode_reported_config(json.dumps(config).encode()) == config
    assert decode_reported_config(b"{}") == {}


@pytest.mark.parametrize(
    ("payload", "code"),
    [
        (b"[]", "wrong_type"),
        (b'{"a": "' + b"x" * 4_097 + b'"}', "text_too_long"),
        (b'{"a": "\\u0000"}', "nul_in_text"),
        (b'{"a":' * 9 + b"1" + b"}" * 9, "nesting_too_deep"),
        (b"{" + b" " * 16_383 + b"}", "body_too_large"),
    ],
)
def test_reported_configuration_refused(payload: bytes, code: str) -> None:
    refused = decode_reported_config(payload)
    assert isinstance(refused, InputRejection)
    assert refused.code == code


def test_reported_configuration_of_exactly_16_kib() -> None:
    assert decode_reported_config(b"{" + b" " * 16_382 + b"}") == {}
