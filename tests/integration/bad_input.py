"""Telemetry that must be refused at both doors, as data, in each format. REST calls are in `bad_calls`.

Names are for people, and for the tables of docs/bad-input.md, which are made from this.
"""

import gzip
import json
from datetime import UTC, datetime, timedelta
from typing import Any, Final, NamedTuple

import cbor2

RETENTION_DAYS = 30


class BadInput(NamedTuple):
    """Something that must be refused: its name, itself, the REST status and the code at both doors."""

    name: str
    payload: bytes
    status: int
    code: str


class InputFormat(NamedTuple):
    """How a format is declared: the topic below a box's, and the headers of HTTP."""

    topic: str
    headers: dict[str, str]


JSON: Final = InputFormat("telemetry", {"content-type": "application/json"})
CBOR: Final = InputFormat("telemetry/cbor", {"content-type": "application/cbor"})
GZIP: Final = InputFormat("telemetry/gzip", {"content-type": "application/json", "content-encoding": "gzip"})


def at(**ago: float) -> str:
    """A time so long ago, as RFC 3339."""
    return (datetime.now(UTC) - timedelta(**ago)).strftime("%Y-%m-%dT%H:%M:%SZ")


def documents() -> list[BadInput]:
    """Samples in JSON of which nothing can be read, whatever stands around them."""
    begin = f'{{"time": "{at(minutes=1)}", "values": {{"pm1": '.encode()
    plain = begin + b"1}}"
    return [
        BadInput("NaN", begin + b"NaN}}", 400, "invalid_json"),
        BadInput("Infinity", begin + b"Infinity}}", 400, "invalid_json"),
        BadInput("-Infinity", begin + b"-Infinity}}", 400, "invalid_json"),
        BadInput("1e400", begin + b"1e400}}", 400, "number_out_of_range"),
        BadInput("an integer of 5,000 digits", begin + b"9" * 5_000 + b"}}", 400, "number_out_of_range"),
        BadInput("cut short", begin + b"1", 400, "invalid_json"),
        BadInput("two documents", plain + plain, 400, "invalid_json"),
        BadInput("a leading zero", begin + b"01}}", 400, "invalid_json"),
        BadInput("a trailing comma", begin + b"1,}}", 400, "invalid_json"),
        BadInput("nesting deeper than 8", begin + b"[" * 9 + b"]" * 9 + b"}}", 400, "nesting_too_deep"),
        BadInput("nesting without an end", begin + b"[" * 100_000, 400, "nesting_too_deep"),
        BadInput("invalid UTF-8", b'{"time": "\xff", "values": {"pm1": 1}}', 400, "invalid_encoding"),
        BadInput(
            "half of a surrogate pair", rb'{"time": "\ud800", "values": {"pm1": 1}}', 400, "lone_surrogate"
        ),
        BadInput("a key twice", begin + b'1, "pm1": 1}}', 400, "duplicate_key"),
        BadInput("a key twice, once escaped", begin + rb'1, "pm\u0031": 1}}', 400, "duplicate_key"),
    ]


def messages() -> list[BadInput]:
    """Messages in JSON that are bad as a whole: they can stand in nothing."""
    plain = f'{{"time": "{at(minutes=1)}", "values": {{"pm1": 1}}}}'
    bomb = gzip.compress(b"0" * 10_000_000)
    return [
        BadInput("empty", b"", 400, "empty_body"),
        BadInput("white space", b" \n\t", 400, "empty_body"),
        BadInput("UTF-16", plain.encode("utf-16"), 400, "invalid_encoding"),
        BadInput("UTF-16 without a mark", plain.encode("utf-16-be"), 400, "invalid_encoding"),
        BadInput("a byte-order mark", b"\xef\xbb\xbf" + plain.encode(), 400, "invalid_encoding"),
        BadInput("gzip that was not declared, even a bomb", bomb, 415, "unsupported_encoding"),
        BadInput("CBOR that was not declared", cbor2.dumps(json.loads(plain)), 415, "unsupported_media_type"),
        BadInput("a text", b'"x"', 422, "wrong_type"),
        BadInput("null", b"null", 422, "wrong_type"),
        BadInput("an array", b"[1]", 422, "wrong_type"),
    ]


def samples() -> list[BadInput]:
    """Samples in JSON that can be read, and not be taken."""
    time = f'"time": "{at(minutes=1)}"'

    def value(name: str, text: str, code: str) -> BadInput:
        return BadInput(f"{name} as a value", f'{{{time}, "values": {{"pm1": {text}}}}}'.encode(), 422, code)

    def when(name: str, text: str, code: str) -> BadInput:
        return BadInput(name, f'{{"time": {text}, "values": {{"pm1": 1}}}}'.encode(), 422, code)

    def whole(name: str, text: str, code: str) -> BadInput:
        return BadInput(name, f"{{{text}}}".encode(), 422, code)

    return [
        value("a boolean", "true", "wrong_type"),
        value("a text", '"12.4"', "wrong_type"),
        value("null", "null", "wrong_type"),
        value("an object", "{}", "wrong_type"),
        value("an array", "[1]", "wrong_type"),
        value("an integer past 2^53", "9007199254740993", "integer_too_large"),
        value("less than is possible", "-0.01", "value_out_of_bounds"),
        value("more than is possible", "65535", "value_out_of_bounds"),
        when("a negative epoch", "-1", "time_out_of_range"),
        when("seconds where milliseconds are due", "1795514400", "time_out_of_range"),
        when("microseconds where milliseconds are due", "1795514400000000", "time_out_of_range"),
        when("an integer past 2^53 as time", "9007199254740993", "integer_too_large"),
        when("a float as time", "1795514400000.0", "wrong_type"),
        when("a boolean as time", "true", "wrong_type"),
        when("the year 9999", '"9999-12-31T23:59:59Z"', "time_out_of_range"),
        when("before 2000", '"1999-12-31T23:59:59Z"', "time_out_of_range"),
        when("more than 10 minutes in the future", f'"{at(minutes=-15)}"', "time_in_future"),
        when("older than the retention", f'"{at(days=RETENTION_DAYS + 1)}"', "time_too_old"),
        when("a time without a zone", '"2026-11-24T10:00:00"', "time_without_zone"),
        when("24:00", '"2026-11-24T24:00:00Z"', "invalid_time"),
        when("second 60", '"2026-11-24T09:59:60Z"', "invalid_time"),
        when("a space for the T", '"2026-11-24 10:00:00Z"', "invalid_time"),
        when("30 February", '"2026-02-30T10:00:00Z"', "invalid_time"),
        when("NUL in a text", '"2026-11-24T10:00:00Z\\u0000"', "nul_in_text"),
        when("a text of 100 characters", f'"{"2" * 100}"', "text_too_long")._replace(status=413),
        whole("an unknown metric", f'{time}, "values": {{"warp": 1}}', "unknown_metric"),
        whole(
            "SQL for a metric", f'{time}, "values": {{"pm1\'; DROP TABLE samples; --": 1}}', "unknown_metric"
        ),
        whole(
            "a unit that does not measure the metric",
            f'{time}, "values": {{"no2": 1}}, "units": {{"no2": "ppt"}}',
            "wrong_unit",
        ),
        whole(
            "a unit without a conversion for its metric",
            f'{time}, "values": {{"tvoc": 1}}, "units": {{"tvoc": "mg/m³"}}',
            "wrong_unit",
        ),
        whole(
            "more than is possible once it is converted",
            f'{time}, "values": {{"no2": 99999}}, "units": {{"no2": "ppb"}}',
            "value_out_of_bounds",
        ),
        whole("no values in it", f'{time}, "values": {{}}', "empty_values"),
        whole("no `values`", time, "missing_field"),
        whole("no `time`", '"values": {"pm1": 1}', "missing_field"),
        whole("an unknown field", f'{time}, "values": {{"pm1": 1}}, "more": 1', "unknown_field"),
        whole("a negative `seq`", f'"seq": -1, {time}, "values": {{"pm1": 1}}', "value_out_of_bounds"),
        whole("a fraction as `seq`", f'"seq": 1.5, {time}, "values": {{"pm1": 1}}', "wrong_type"),
        whole(
            "a `seq` past 2^53",
            f'"seq": 9007199254740993, {time}, "values": {{"pm1": 1}}',
            "integer_too_large",
        ),
    ]


def batches() -> list[BadInput]:
    """What is bad in `samples`; without the braces around it and what a door puts before it."""
    many = ", ".join(
        f'{{"time": {1_795_514_400_000 + index}, "values": {{"pm1": 1}}}}' for index in range(1_001)
    )
    return [
        BadInput("an empty batch", b'"samples": []', 422, "empty_batch"),
        BadInput("1,001 samples", f'"samples": [{many}]'.encode(), 413, "too_many_samples"),
        BadInput("`samples` as an object", b'"samples": {}', 422, "wrong_type"),
        BadInput("`samples` as null", b'"samples": null', 422, "wrong_type"),
        BadInput("an unknown field beside `samples`", b'"samples": [], "more": 1', 422, "unknown_field"),
    ]


def cbor_documents() -> list[BadInput]:
    """Messages in CBOR of which nothing can be read, at either door."""

    def value(number: Any) -> bytes:  # noqa: ANN401 (numbers, good and bad)
        return cbor2.dumps({"time": at(minutes=1), "values": {"pm1": number}})

    plain = value(1)
    return [
        BadInput("NaN", value(float("nan")), 400, "invalid_cbor"),
        BadInput("Infinity", value(float("inf")), 400, "invalid_cbor"),
        BadInput("-Infinity", value(float("-inf")), 400, "invalid_cbor"),
        BadInput("an integer of 5,000 digits", value(10**5_000), 400, "number_out_of_range"),
        BadInput("empty", b"", 400, "empty_body"),
        BadInput("cut short", plain[:-1], 400, "invalid_cbor"),
        BadInput("two documents", plain + plain, 400, "invalid_cbor"),
        BadInput("nesting deeper than 8", b"\x81" * 9 + b"\x01", 400, "nesting_too_deep"),
        BadInput("nesting without an end", b"\x9f" * 100_000, 400, "nesting_too_deep"),
        BadInput("tags without an end", b"\xc6" * 100_000, 400, "nesting_too_deep"),
        BadInput("an array without an end", b"\x9f" + b"\x01" * 1_000, 400, "invalid_cbor"),
        BadInput("an array that claims 2^63 items", b"\x9b\x7f" + b"\xff" * 7, 400, "invalid_cbor"),
        BadInput("a text that claims 4 GiB", b"\xa1\x7a\xff\xff\xff\xffx", 400, "invalid_cbor"),
        BadInput("invalid UTF-8", b"\xa1dtime\x61\xff", 400, "invalid_encoding"),
        BadInput("half of a surrogate pair", b"\xa1dtime\x63\xed\xa0\x80", 400, "invalid_encoding"),
        BadInput("a key twice", b"\xa2dtime\x01dtime\x01", 400, "duplicate_key"),
        BadInput("a number as a key", cbor2.dumps({1: 2}), 400, "invalid_cbor"),
        BadInput("bytes as a key", cbor2.dumps({b"time": 2}), 400, "invalid_cbor"),
        BadInput("a million items", b"\x9a\x00\x0f\x42\x40" + b"\xf6" * 10**6, 413, "too_many_samples"),
        BadInput("a text", cbor2.dumps("x"), 422, "wrong_type"),
        BadInput("null", b"\xf6", 422, "wrong_type"),
        BadInput("an array", b"\x81\x01", 422, "wrong_type"),
        BadInput("gzip that was not declared", gzip.compress(plain), 415, "unsupported_encoding"),
    ]


def cbor_samples() -> list[BadInput]:
    """Samples in CBOR that can be read, and not be taken: those of JSON, and what JSON cannot say."""

    def value(name: str, found: Any) -> BadInput:  # noqa: ANN401 (values of many types)
        payload = cbor2.dumps({"time": at(minutes=1), "values": {"pm1": found}})
        return BadInput(f"{name} as a value", payload, 422, "wrong_type")

    def when(name: str, found: Any, code: str) -> BadInput:  # noqa: ANN401 (as above)
        return BadInput(name, cbor2.dumps({"time": found, "values": {"pm1": 1}}), 422, code)

    return [
        *(case._replace(payload=cbor2.dumps(json.loads(case.payload))) for case in samples()),
        value("bytes", b"\x01"),
        value("undefined", cbor2.undefined),
        value("a simple value", cbor2.CBORSimpleValue(99)),
        value("an unknown tag", cbor2.CBORTag(4_711, 1)),
        value("a decimal fraction (tag 4)", cbor2.CBORTag(4, [-1, 124])),
        value("a regular expression (tag 35)", cbor2.CBORTag(35, "(a+)+$")),
        value("a reference to itself (tags 28, 29)", cbor2.CBORTag(28, [cbor2.CBORTag(29, 0)])),
        when("bytes as time", b"2026-11-24T10:00:00Z", "wrong_type"),
        when("milliseconds with tag 1", cbor2.CBORTag(1, 1_795_514_400_000), "wrong_type"),
        when("1970 with tag 1", cbor2.CBORTag(1, 0), "time_out_of_range"),
        when("2100 with tag 1", cbor2.CBORTag(1, 4_102_444_800), "time_in_future"),
    ]


def cbor_batches() -> list[BadInput]:
    """What is bad in `samples`, as `batches` has it."""
    return [case._replace(payload=cbor2.dumps(json.loads(b"{" + case.payload + b"}"))) for case in batches()]


def gzip_messages() -> list[BadInput]:
    """Messages declared to be gzip, bad as a whole."""
    plain = f'{{"time": "{at(minutes=1)}", "values": {{"pm1": 1}}}}'.encode()
    packed = gzip.compress(plain)
    return [
        BadInput("a bomb: 10 MB of zeros", gzip.compress(b"0" * 10_000_000), 413, "body_too_large"),
        BadInput("cut short", packed[:-1], 400, "invalid_gzip"),
        BadInput("a wrong checksum", packed[:-8] + bytes(4) + packed[-4:], 400, "invalid_gzip"),
        BadInput("two members", packed + packed, 400, "invalid_gzip"),
        BadInput("something behind it", packed + b"x", 400, "invalid_gzip"),
        BadInput("nothing in it", gzip.compress(b""), 400, "empty_body"),
        BadInput("gzip in gzip", gzip.compress(packed), 415, "unsupported_encoding"),
        BadInput("CBOR in it, not declared", gzip.compress(cbor2.dumps({})), 415, "unsupported_media_type"),
        *(
            BadInput(f"{case.name}, compressed", gzip.compress(case.payload), case.status, case.code)
            for case in documents()[:1] + messages()[2:5]
        ),
    ]


BOXES: Final[list[tuple[str, object, int, str]]] = [
    *(
        (f"box {name}", box, 422, "invalid_box_id")
        for name, box in (
            ("with +", "a+b"),
            ("with #", "a#"),
            ("with /", "a/b"),
            ("with $", "$SYS"),
            ("with NUL", "a\0"),
            ("with a control character", "a\x01"),
            ("with a bidirectional character", "a\u202e"),
            ("of 65 characters", "a" * 65),
            ("empty", ""),
        )
    ),
    ("a number as box", 1, 422, "wrong_type"),
    ("no such box", "nobody", 404, "unknown_box"),
]
"""What cannot be `box` in a body: its name, itself, status and code."""

TOPICS: Final[dict[str, str]] = {
    "a box's level with $": "vigie/v1/$a/telemetry",
    "a box's level with a bidirectional character": "vigie/v1/a\u202e/telemetry",
    "a box's level of 65 characters": f"vigie/v1/{'a' * 65}/telemetry",
    "a format that there is not": "vigie/v1/bad-input/telemetry/xml",
}
"""Topics that the broker takes from a gateway, and that are quarantined as `topic`."""

BROKER: Final[list[tuple[str, str]]] = [
    ("a box publishes on another box's topic, or on one that is not for boxes", "dropped by the broker"),
    (
        "a box subscribes to `#`, `$SYS/#`, another box's topics or a shared subscription",
        "refused, or silent",
    ),
    ("a wildcard in a published topic", "the broker closes the connection"),
    ("a packet of more than 1 MiB", "the broker closes the connection"),
    ("retained telemetry or a retained event", "quarantined: `retained_message`"),
    *((f"{name}, from a gateway", "quarantined: `topic`") for name in TOPICS),
    ("telemetry of a box that is not registered, from a gateway", "quarantined: `unknown_box`"),
]
"""What the broker, or the intake behind it, does with what is not payload."""
