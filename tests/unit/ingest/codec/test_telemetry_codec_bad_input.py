"""Bad input by bad input: the telemetry codec refuses each with its code, the same at both doors."""

import pytest

from app.catalogue.metrics import COLUMNS
from app.ingest.codec.reference_telemetry_decoder import decode_exact
from app.ingest.codec.telemetry_codec import MAX_FUTURE_US, decode_http_telemetry, decode_telemetry
from app.platform.kernel.instants import parse_rfc3339
from app.platform.kernel.rejection_codes import RejectedError, get_rejection_status

NOW = parse_rfc3339("2026-11-24T10:00:05Z")
TEN = parse_rfc3339("2026-11-24T10:00:00Z")
TIME = '"time": "2026-11-24T10:00:00Z"'

# Of the whole document: nothing in it can be taken, at either door.
DOCUMENTS: list[tuple[str, bytes, str]] = [
    ("NaN", b'{"time": 1795514400000, "values": {"pm1": NaN}}', "invalid_json"),
    ("Infinity", b'{"time": 1795514400000, "values": {"pm1": Infinity}}', "invalid_json"),
    ("minus Infinity", b'{"time": 1795514400000, "values": {"pm1": -Infinity}}', "invalid_json"),
    ("1e400", b'{"time": 1795514400000, "values": {"pm1": 1e400}}', "number_out_of_range"),
    (
        "5,000 digits",
        b'{"time": 1795514400000, "values": {"pm1": ' + b"1" * 5_000 + b"}}",
        "number_out_of_range",
    ),
    ("5,000 digits as time", b'{"time": ' + b"1" * 5_000 + b', "values": {"pm1": 1}}', "number_out_of_range"),
    (
        "5,000 digits as seq",
        b'{"seq": ' + b"1" * 5_000 + b', "time": 1, "values": {"pm1": 1}}',
        "number_out_of_range",
    ),
    ("empty", b"", "empty_body"),
    ("white space", b" \n", "empty_body"),
    ("cut short", b'{"time": 1795514400000, "values": {"pm1": 1', "invalid_json"),
    ("two documents", b'{"time": 1795514400000, "values": {"pm1": 1}}' * 2, "invalid_json"),
    ("leading zero", b'{"time": 1795514400000, "values": {"pm1": 01}}', "invalid_json"),
    ("trailing comma", b'{"time": 1795514400000, "values": {"pm1": 1,}}', "invalid_json"),
    (
        "nesting",
        b'{"time": 1795514400000, "values": {"pm1": ' + b"[" * 7 + b"]" * 7 + b"}}",
        "nesting_too_deep",
    ),
    ("deep nesting", b'{"time": ' + b"[" * 200_000, "nesting_too_deep"),
    ("invalid UTF-8", b'{"time": "\xff", "values": {"pm1": 1}}', "invalid_encoding"),
    (
        "invalid UTF-8 in a key",
        b'{"time": 1795514400000, "values": {"pm1": 1, "\xff": 1}}',
        "invalid_encoding",
    ),
    ("UTF-16", '{"time": 1795514400000, "values": {"pm1": 1}}'.encode("utf-16"), "invalid_encoding"),
    ("UTF-16LE", '{"time": 1795514400000, "values": {"pm1": 1}}'.encode("utf-16-le"), "invalid_encoding"),
    ("byte-order mark", b'\xef\xbb\xbf{"time": 1795514400000, "values": {"pm1": 1}}', "invalid_encoding"),
    ("lone surrogate in the time", rb'{"time": "\ud800", "values": {"pm1": 1}}', "lone_surrogate"),
    ("lone surrogate in a key", rb'{"time": 1795514400000, "values": {"\udc00": 1}}', "lone_surrogate"),
    ("value twice", b'{"time": 1795514400000, "values": {"pm1": 1, "pm1": 1}}', "duplicate_key"),
    (
        "value twice, once escaped",
        rb'{"time": 1795514400000, "values": {"pm1": 1, "pm\u0031": 2}}',
        "duplicate_key",
    ),
    ("values twice", b'{"time": 1795514400000, "values": {"pm1": 1}, "values": {"pm1": 1}}', "duplicate_key"),
    ("time twice", b'{"time": 1795514400000, "time": 1795514400000, "values": {"pm1": 1}}', "duplicate_key"),
    ("seq twice", b'{"seq": 1, "seq": 1, "time": 1795514400000, "values": {"pm1": 1}}', "duplicate_key"),
]

# Another format, which was not declared.
UNDECLARED: list[tuple[str, bytes, str]] = [
    (
        "CBOR",
        b"\xa2dtime\x1b\x00\x00\x01\xa2\x0d\x5c\x1c\x00fvalues\xa1cpm1\x01",
        "unsupported_media_type",
    ),
    ("CBOR that describes itself", b"\xd9\xd9\xf7\xa0", "unsupported_media_type"),
    ("CBOR of indefinite length", b"\xbf\xff", "unsupported_media_type"),
    ("gzip", b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\x03", "unsupported_encoding"),
]

# Of one sample: its neighbours are taken.
SAMPLES: list[tuple[str, str, str]] = [
    ("not an object", "[1, 2]", "wrong_type"),
    ("null", "null", "wrong_type"),
    ("a number", "12", "wrong_type"),
    ("a text", '"x"', "wrong_type"),
    ("a boolean as a value", f'{{{TIME}, "values": {{"pm1": true}}}}', "wrong_type"),
    ("a text as a value", f'{{{TIME}, "values": {{"pm1": "12.4"}}}}', "wrong_type"),
    ("null as a value", f'{{{TIME}, "values": {{"pm1": null}}}}', "wrong_type"),
    ("null among values", f'{{{TIME}, "values": {{"pm1": 1, "pm10": null}}}}', "wrong_type"),
    ("an object as a value", f'{{{TIME}, "values": {{"pm1": {{}}}}}}', "wrong_type"),
    ("an array as a value", f'{{{TIME}, "values": {{"pm1": [1]}}}}', "wrong_type"),
    ("null as values", f'{{{TIME}, "values": null}}', "wrong_type"),
    ("an array as values", f'{{{TIME}, "values": [1]}}', "wrong_type"),
    (
        "an integer past 2^53 as a value",
        f'{{{TIME}, "values": {{"pm1": 9007199254740993}}}}',
        "integer_too_large",
    ),
    (
        "an integer past 2^53 as seq",
        f'{{"seq": 9007199254740993, {TIME}, "values": {{"pm1": 1}}}}',
        "integer_too_large",
    ),
    (
        "an integer past 2^53 as time",
        '{"time": 1795514400000000000, "values": {"pm1": 1}}',
        "integer_too_large",
    ),
    ("a unit unknown", f'{{{TIME}, "values": {{"no2": 1}}, "units": {{"no2": "ppt"}}}}', "wrong_unit"),
    (
        "a unit of no conversion",
        f'{{{TIME}, "values": {{"pm1": 1}}, "units": {{"pm1": "ppb"}}}}',
        "wrong_unit",
    ),
    ("a unit that is no text", f'{{{TIME}, "values": {{"no2": 1}}, "units": {{"no2": 3}}}}', "wrong_type"),
    ("units that are no object", f'{{{TIME}, "values": {{"no2": 1}}, "units": "ppb"}}', "wrong_type"),
    (
        "a unit of no metric",
        f'{{{TIME}, "values": {{"no2": 1}}, "units": {{"nox": "ppb"}}}}',
        "unknown_metric",
    ),
    (
        "out of bounds once converted",
        f'{{{TIME}, "values": {{"no2": 99999}}, "units": {{"no2": "ppb"}}}}',
        "value_out_of_bounds",
    ),
    (
        "past what a double holds once converted",
        f'{{{TIME}, "values": {{"no2": 1e308}}, "units": {{"no2": "ppm"}}}}',
        "value_out_of_bounds",
    ),
    ("a negative seq", f'{{"seq": -1, {TIME}, "values": {{"pm1": 1}}}}', "value_out_of_bounds"),
    ("a fraction as seq", f'{{"seq": 1.5, {TIME}, "values": {{"pm1": 1}}}}', "wrong_type"),
    ("a float as seq", f'{{"seq": 1.0, {TIME}, "values": {{"pm1": 1}}}}', "wrong_type"),
    ("a boolean as seq", f'{{"seq": true, {TIME}, "values": {{"pm1": 1}}}}', "wrong_type"),
    ("a text as seq", f'{{"seq": "1", {TIME}, "values": {{"pm1": 1}}}}', "wrong_type"),
    ("null as seq", f'{{"seq": null, {TIME}, "values": {{"pm1": 1}}}}', "wrong_type"),
    ("an unknown metric", f'{{{TIME}, "values": {{"warp": 1}}}}', "unknown_metric"),
    ("an unknown metric among others", f'{{{TIME}, "values": {{"pm1": 1, "PM10": 1}}}}', "unknown_metric"),
    ("a value above its bounds", f'{{{TIME}, "values": {{"humidity": 100.01}}}}', "value_out_of_bounds"),
    ("a value below its bounds", f'{{{TIME}, "values": {{"pm2_5": -0.01}}}}', "value_out_of_bounds"),
    ("a pressure in Pa", f'{{{TIME}, "values": {{"pressure": 100237.32}}}}', "value_out_of_bounds"),
    ("a negative epoch", '{"time": -1, "values": {"pm1": 1}}', "time_out_of_range"),
    ("the epoch itself", '{"time": 0, "values": {"pm1": 1}}', "time_out_of_range"),
    ("seconds", '{"time": 1795514400, "values": {"pm1": 1}}', "time_out_of_range"),
    ("microseconds", '{"time": 1795514400000000, "values": {"pm1": 1}}', "time_out_of_range"),
    ("before 2000", '{"time": "1999-12-31T23:59:59Z", "values": {"pm1": 1}}', "time_out_of_range"),
    ("the year 9999", '{"time": "9999-12-31T23:59:59Z", "values": {"pm1": 1}}', "time_out_of_range"),
    ("the year 9999 in ms", '{"time": 253402300799000, "values": {"pm1": 1}}', "time_out_of_range"),
    ("the future", '{"time": "2026-11-24T10:10:05.001Z", "values": {"pm1": 1}}', "time_in_future"),
    ("the future in ms", '{"time": 1795515005001, "values": {"pm1": 1}}', "time_in_future"),
    ("the year 9998", '{"time": "9998-12-31T23:59:59Z", "values": {"pm1": 1}}', "time_in_future"),
    ("no zone", '{"time": "2026-11-24T10:00:00", "values": {"pm1": 1}}', "time_without_zone"),
    ("24:00", '{"time": "2026-11-24T24:00:00Z", "values": {"pm1": 1}}', "invalid_time"),
    ("second 60", '{"time": "2026-11-24T09:59:60Z", "values": {"pm1": 1}}', "invalid_time"),
    ("a space for the T", '{"time": "2026-11-24 10:00:00Z", "values": {"pm1": 1}}', "invalid_time"),
    ("a zone without colon", '{"time": "2026-11-24T10:00:00+0000", "values": {"pm1": 1}}', "invalid_time"),
    ("an ISO week", '{"time": "2026-W48-2T10:00:00Z", "values": {"pm1": 1}}', "invalid_time"),
    ("the 30th of February", '{"time": "2026-02-30T10:00:00Z", "values": {"pm1": 1}}', "invalid_time"),
    ("a number in a text", '{"time": "1795514400000", "values": {"pm1": 1}}', "invalid_time"),
    ("no time at all in a text", '{"time": "", "values": {"pm1": 1}}', "invalid_time"),
    ("a float as time", '{"time": 1795514400000.0, "values": {"pm1": 1}}', "wrong_type"),
    ("an exponent as time", '{"time": 1.7955144e12, "values": {"pm1": 1}}', "wrong_type"),
    ("a boolean as time", '{"time": true, "values": {"pm1": 1}}', "wrong_type"),
    ("null as time", '{"time": null, "values": {"pm1": 1}}', "wrong_type"),
    ("no time", '{"values": {"pm1": 1}}', "missing_field"),
    ("no values", f"{{{TIME}}}", "missing_field"),
    ("nothing", "{}", "missing_field"),
    ("empty values", f'{{{TIME}, "values": {{}}}}', "empty_values"),
    ("an unknown field", f'{{{TIME}, "values": {{"pm1": 1}}, "site": "x"}}', "unknown_field"),
    ("a field in capitals", f'{{{TIME}, "Values": {{"pm1": 1}}}}', "unknown_field"),
    ("NUL in the time", '{"time": "2026-11-24T10:00:00Z\\u0000", "values": {"pm1": 1}}', "nul_in_text"),
    ("NUL in a key", f'{{{TIME}, "values": {{"pm1\\u0000": 1}}}}', "nul_in_text"),
    ("an over-long text", f'{{"time": "{"2" * 65}", "values": {{"pm1": 1}}}}', "text_too_long"),
    ("an over-long key", f'{{{TIME}, "values": {{"{"p" * 65}": 1}}}}', "text_too_long"),
]


@pytest.mark.parametrize(
    ("payload", "code"), [case[1:] for case in DOCUMENTS], ids=[case[0] for case in DOCUMENTS]
)
def test_a_document_that_cannot_be_read_is_refused_whole(payload: bytes, code: str) -> None:
    samples, (rejection,) = decode_telemetry(payload, NOW)
    assert samples == []
    assert rejection.code == code
    assert rejection.index is None
    assert rejection.detail
    assert get_rejection_status(code) == 400
    assert decode_exact(payload, NOW, MAX_FUTURE_US) == (samples, [rejection])


@pytest.mark.parametrize(
    ("payload", "code"), [case[1:] for case in DOCUMENTS], ids=[case[0] for case in DOCUMENTS]
)
def test_http_refuses_such_a_document_with_the_same_code(payload: bytes, code: str) -> None:
    # What is wrong with the bytes themselves cannot be put into a body.
    whole = code == "empty_body" or b"\0" in payload or payload.startswith(b"\xef")
    body = payload if whole else b'{"box": "box-0001", "samples": [' + payload + b"]}"
    with pytest.raises(RejectedError) as refused:
        decode_http_telemetry(body, NOW)
    assert refused.value.code == code


@pytest.mark.parametrize(
    ("payload", "code"), [case[1:] for case in UNDECLARED], ids=[case[0] for case in UNDECLARED]
)
def test_another_format_has_to_be_declared(payload: bytes, code: str) -> None:
    samples, (rejection,) = decode_telemetry(payload, NOW)
    assert (samples, rejection.code, get_rejection_status(code)) == ([], code, 415)
    with pytest.raises(RejectedError) as refused:
        decode_http_telemetry(payload, NOW)
    assert refused.value.code == code


@pytest.mark.parametrize(
    ("sample", "code"), [case[1:] for case in SAMPLES], ids=[case[0] for case in SAMPLES]
)
def test_a_bad_sample_is_refused_alone(sample: str, code: str) -> None:
    samples, (rejection,) = decode_telemetry(sample.encode(), NOW)
    assert (samples, rejection.code, rejection.index) == ([], code, None)
    assert get_rejection_status(code) in {413, 422}

    good = '{"seq": 7, "time": 1795514400000, "values": {"co2": 612}}'
    samples, (rejection,) = decode_telemetry(f'{{"samples": [{good}, {sample}, {good}]}}'.encode(), NOW)
    assert samples == [(TEN, 7, tuple(612.0 if name == "co2" else None for name in COLUMNS))] * 2
    assert (rejection.code, rejection.index) == (code, 1)
    assert rejection.detail

    body = f'{{"box": "b", "samples": [{sample}, {good}]}}'.encode()
    box, (samples, (rejection,)) = decode_http_telemetry(body, NOW)
    assert (box, len(samples), rejection.code, rejection.index) == ("b", 1, code, 0)
