"""What must be refused, as data: for both doors of ingest, for one of them, and for the rest of REST."""

import base64
import gzip
import json
import zlib
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

RETENTION_DAYS = 30


class Bad(NamedTuple):
    """Something that must be refused: its name, itself, the REST status and the code at both doors."""

    name: str
    payload: bytes
    status: int
    code: str


def at(**ago: float) -> str:
    """A time so long ago, as RFC 3339."""
    return (datetime.now(UTC) - timedelta(**ago)).strftime("%Y-%m-%dT%H:%M:%SZ")


def documents() -> list[Bad]:
    """Samples of which nothing can be read, whatever stands around them."""
    begin = f'{{"time": "{at(minutes=1)}", "values": {{"pm1": '.encode()
    plain = begin + b"1}}"
    return [
        Bad("NaN", begin + b"NaN}}", 400, "invalid_json"),
        Bad("Infinity", begin + b"Infinity}}", 400, "invalid_json"),
        Bad("-Infinity", begin + b"-Infinity}}", 400, "invalid_json"),
        Bad("1e400", begin + b"1e400}}", 400, "number_out_of_range"),
        Bad("5,000 digits", begin + b"9" * 5_000 + b"}}", 400, "number_out_of_range"),
        Bad("cut short", begin + b"1", 400, "invalid_json"),
        Bad("two documents", plain + plain, 400, "invalid_json"),
        Bad("leading zero", begin + b"01}}", 400, "invalid_json"),
        Bad("trailing comma", begin + b"1,}}", 400, "invalid_json"),
        Bad("nested", begin + b"[" * 9 + b"]" * 9 + b"}}", 400, "nesting_too_deep"),
        Bad("nested without end", begin + b"[" * 100_000, 400, "nesting_too_deep"),
        Bad("invalid UTF-8", b'{"time": "\xff", "values": {"pm1": 1}}', 400, "invalid_encoding"),
        Bad("lone surrogate", rb'{"time": "\ud800", "values": {"pm1": 1}}', 400, "lone_surrogate"),
        Bad("key twice", begin + b'1, "pm1": 1}}', 400, "duplicate_key"),
        Bad("key twice, escaped", begin + rb'1, "pm\u0031": 1}}', 400, "duplicate_key"),
    ]


def messages() -> list[Bad]:
    """Messages that are bad as a whole: they can stand in nothing."""
    plain = f'{{"time": "{at(minutes=1)}", "values": {{"pm1": 1}}}}'
    return [
        Bad("empty", b"", 400, "empty_body"),
        Bad("blank", b" \n\t", 400, "empty_body"),
        Bad("UTF-16", plain.encode("utf-16"), 400, "invalid_encoding"),
        Bad("UTF-16 without a mark", plain.encode("utf-16-be"), 400, "invalid_encoding"),
        Bad("byte-order mark", b"\xef\xbb\xbf" + plain.encode(), 400, "invalid_encoding"),
        Bad("gzip bomb", gzip.compress(b"0" * 10_000_000), 400, "invalid_encoding"),
        Bad(
            "CBOR",
            b"\xa2dtime\x1b\x00\x00\x01\xa2\x0d\x5c\x1c\x00fvalues\xa1cpm1\x01",
            400,
            "invalid_encoding",
        ),
        Bad("a text", b'"x"', 422, "wrong_type"),
        Bad("null", b"null", 422, "wrong_type"),
        Bad("an array", b"[1]", 422, "wrong_type"),
    ]


def samples() -> list[Bad]:
    """Samples that can be read, and not be taken."""
    time = f'"time": "{at(minutes=1)}"'

    def value(text: str, code: str, status: int = 422) -> Bad:
        return Bad(f"value {text[:20]}", f'{{{time}, "values": {{"pm1": {text}}}}}'.encode(), status, code)

    def when(text: str, code: str) -> Bad:
        return Bad(f"time {text[:30]}", f'{{"time": {text}, "values": {{"pm1": 1}}}}'.encode(), 422, code)

    def whole(text: str, code: str, status: int = 422) -> Bad:
        return Bad(text[:60], text.encode(), status, code)

    soon = (datetime.now(UTC) + timedelta(minutes=15)).strftime("%Y-%m-%dT%H:%M:%SZ")
    return [
        value("true", "wrong_type"),
        value('"12.4"', "wrong_type"),
        value("null", "wrong_type"),
        value("{}", "wrong_type"),
        value("[1]", "wrong_type"),
        value("9007199254740993", "integer_too_large"),
        value("-0.01", "value_out_of_bounds"),
        value("65535", "value_out_of_bounds"),
        when("-1", "time_out_of_range"),
        when("1795514400", "time_out_of_range"),
        when("1795514400000000", "time_out_of_range"),
        when("9007199254740993", "integer_too_large"),
        when("1795514400000.0", "wrong_type"),
        when("true", "wrong_type"),
        when('"9999-12-31T23:59:59Z"', "time_out_of_range"),
        when('"1999-12-31T23:59:59Z"', "time_out_of_range"),
        when(f'"{soon}"', "time_in_future"),
        when(f'"{at(days=RETENTION_DAYS + 1)}"', "time_too_old"),
        when('"2026-11-24T10:00:00"', "time_without_zone"),
        when('"2026-11-24T24:00:00Z"', "invalid_time"),
        when('"2026-11-24T09:59:60Z"', "invalid_time"),
        when('"2026-11-24 10:00:00Z"', "invalid_time"),
        when('"2026-02-30T10:00:00Z"', "invalid_time"),
        when('"2026-11-24T10:00:00Z\\u0000"', "nul_in_text"),
        Bad(
            "an over-long text",
            f'{{"time": "{"2" * 100}", "values": {{"pm1": 1}}}}'.encode(),
            413,
            "text_too_long",
        ),
        whole(f'{{{time}, "values": {{"warp": 1}}}}', "unknown_metric"),
        whole(f'{{{time}, "values": {{"pm1\'; DROP TABLE samples; --": 1}}}}', "unknown_metric"),
        whole(f'{{{time}, "values": {{}}}}', "empty_values"),
        whole(f"{{{time}}}", "missing_field"),
        whole('{"values": {"pm1": 1}}', "missing_field"),
        whole(f'{{{time}, "values": {{"pm1": 1}}, "more": 1}}', "unknown_field"),
        whole(f'{{"seq": -1, {time}, "values": {{"pm1": 1}}}}', "value_out_of_bounds"),
        whole(f'{{"seq": 1.5, {time}, "values": {{"pm1": 1}}}}', "wrong_type"),
        whole(f'{{"seq": 9007199254740993, {time}, "values": {{"pm1": 1}}}}', "integer_too_large"),
    ]


def batches() -> list[Bad]:
    """What is bad in `samples`; without the braces around it and what a door puts before it."""
    many = ", ".join(
        f'{{"time": {1_795_514_400_000 + index}, "values": {{"pm1": 1}}}}' for index in range(1_001)
    )
    return [
        Bad("an empty batch", b'"samples": []', 422, "empty_batch"),
        Bad("1,001 samples", f'"samples": [{many}]'.encode(), 413, "too_many_samples"),
        Bad("samples as an object", b'"samples": {}', 422, "wrong_type"),
        Bad("samples as null", b'"samples": null', 422, "wrong_type"),
        Bad("an unknown field", b'"samples": [], "more": 1', 422, "unknown_field"),
    ]


class Call(NamedTuple):
    """A REST call that must be refused; `{site}` and `{box}` stand for the caller's own."""

    method: str
    path: str
    status: int
    code: str | None
    body: Any = None


_SITE: dict[str, Any] = {
    "name": "Rue",
    "kind": "street",
    "timezone": "Europe/Paris",
    "location": {"type": "Point", "coordinates": [1.4, 43.6]},
}


def _site(status: int, code: str | None, **change: object) -> Call:
    return Call("POST", "/v1/sites", status, code, {**_SITE, **change})


def _place(*coordinates: object, code: str | None = "location_out_of_range") -> Call:
    return _site(422, code, location={"type": "Point", "coordinates": list(coordinates)})


def _box(identifier: object, code: str = "invalid_box_id") -> Call:
    return Call("POST", "/v1/boxes", 422, code, {"id": identifier, "site_id": "{site}"})


def _read(query: str, code: str) -> Call:
    return Call("GET", f"/v1/boxes/{{box}}/readings?metric=pm1&{query}", 422, code)


def forged(kind: str, *key: object) -> str:
    """A cursor with a right checksum: anybody can compute that."""
    body = json.dumps([kind, *key]).encode()
    return base64.urlsafe_b64encode(zlib.crc32(body).to_bytes(4) + body).decode().rstrip("=")


_LISTS = {
    "/v1/organisations?": "organisations",
    "/v1/api-keys?": "api_keys",
    "/v1/sites?": "sites",
    "/v1/boxes?": "boxes",
    "/v1/rules?": "rules",
    "/v1/alerts?": "alerts",
    "/v1/events?": "events",
    "/v1/webhooks?": "webhooks",
    "/v1/quarantine?": "quarantine",
    "/v1/sites/{site}/latest?": "site_latest",
    "/v1/boxes/{box}/events?": "events",
    "/v1/boxes/{box}/readings?metric=pm1&": "readings",
    "/v1/boxes/{box}/readings?metric=pm1&bucket=1h&": "buckets",
}
_FORGED_KEYS: tuple[Any, ...] = ("a\0b", "\ud800", 10**30, [1], None, {}, 1.5e308, "x" * 200)


def lists() -> list[Call]:
    """Cursors and limits that no list gave or takes."""
    return [
        *(
            Call("GET", f"{path}cursor={cursor}", 422, "invalid_cursor")
            for path, kind in _LISTS.items()
            for cursor in ("AAAA", "%00", "%C3%A9", *(forged(kind, key) for key in _FORGED_KEYS))
        ),
        *(
            Call("GET", f"{path}limit={limit}", 422, None)
            for path in _LISTS
            for limit in ("-1", "0", "10001", "9" * 30, "1.5", "x", "", "%00")
        ),
    ]


def calls() -> list[Call]:
    """Names, ids, places, times, ranges."""
    return [
        _site(422, "name_not_normalised", name="Cafe\N{COMBINING ACUTE ACCENT}"),
        _site(422, "nul_in_text", name="a\0"),
        _site(422, "invalid_text", name="a\N{RIGHT-TO-LEFT OVERRIDE}b"),
        _site(422, "invalid_text", name="a\nb"),
        _site(422, "invalid_text", name="  "),
        _site(413, "text_too_long", name="a" * 201),
        _site(422, "wrong_type", name=True),
        _site(422, "unknown_field", more=1),
        _site(422, "unknown_timezone", timezone="Mars/Olympus"),
        _site(422, "unknown_timezone", timezone="../../etc/passwd"),
        _site(422, "invalid_kind", kind="Street'"),
        _site(422, None, retention_days=0),
        _site(422, None, retention_days=2**60),
        _site(422, "wrong_type", retention_days=True),
        _site(422, "wrong_type", organisation_id="x"),
        _site(422, "foreign_organisation", organisation_id="0199d1c5-7a3e-7c54-9d1e-5b6f0a2c8e11"),
        _place(180.01, 0),
        _place(0, -90.01),
        _place("1", 2, code="wrong_type"),
        _place(1, 2, 3, code=None),
        *(_box(name) for name in ("", "a+b", "a#", "a/b", "$SYS", "a\0", "a\u202e", "é", "a" * 65, "a b")),
        _box(1, code="wrong_type"),
        *(
            Call("GET", f"/v1/boxes/{name}", 404, "not_found")
            for name in ("%00", "a%2Fb", "..%2F..", "%23", "+", "'%20OR%201=1--", "%E2%80%AE", "a" * 3_000)
        ),
        *(
            Call("GET", f"/v1/{room}/{name}", 404, "not_found")
            for room in ("sites", "rules", "alerts", "webhooks", "deliveries", "organisations", "quarantine")
            for name in ("%00", "x", "1'%20OR%20'1'='1", "a%2Fb", "%FF", "9" * 3_000)
        ),
        _read("from=2026-01-02T00:00:00Z&to=2026-01-01T00:00:00Z", "range_reversed"),
        _read("from=2016-01-01T00:00:00Z&to=2026-01-01T00:00:00Z&bucket=1s", "range_too_large"),
        _read("from=2026-01-01T00:00:00", "time_without_zone"),
        _read("from=2026-01-01T24:00:00Z", "invalid_time"),
        _read("from=2026-01-01T23:59:60Z", "invalid_time"),
        _read("from=-1", "time_out_of_range"),
        _read("from=1795514400", "time_out_of_range"),
        _read("from=%00", "invalid_time"),
        _read("bucket=0s", "invalid_bucket"),
        _read("bucket=1y", "invalid_bucket"),
        _read("bucket=999999w", "invalid_bucket"),
        Call("GET", "/v1/boxes/{box}/readings?metric=pm1'--", 422, "unknown_metric"),
        Call("GET", "/v1/boxes/{box}/readings", 422, "missing_field"),
        Call("GET", "/v1/boxes?q=%00", 422, "nul_in_text"),
        Call("GET", "/v1/quarantine?box=%00", 422, "nul_in_text"),
        Call("GET", "/v1/sites/", 404, "not_found"),
        Call("PUT", "/v1/sites", 405, "method_not_allowed"),
        Call("PATCH", "/v1/sites/{site}", 422, "wrong_type", {"name": None}),
        Call("PATCH", "/v1/boxes/{box}", 422, None, {"interval_s": 0}),
        Call("PUT", "/v1/boxes/{box}/config", 422, "nul_in_text", {"config": {"a": ["b\0"]}}),
        Call("PUT", "/v1/boxes/{box}/config", 422, "nul_in_text", {"config": {"a\0": 1}}),
        Call("POST", "/v1/api-keys", 422, "unknown_scope", {"name": "x", "scopes": ["root"]}),
    ]


WEBHOOK_URLS = (
    "http://example.com/",
    "ftp://example.com/",
    "javascript:alert(1)",
    "https://user:pw@example.com/",
    "https://example.com@127.0.0.1/",
    "https://127.0.0.1/",
    "https://127.1/",
    "https://2130706433/",
    "https://0x7f.0.0.1/",
    "https://0177.0.0.1/",
    "https://127.0.0.1./",
    "https://[::1]/",
    "https://[::ffff:127.0.0.1]/",
    "https://[::ffff:7f00:1]/",
    "https://[64:ff9b::7f00:1]/",
    "https://[2002:7f00:1::]/",
    "https://[fe80::1%25lo]/",
    "https://169.254.169.254/latest/meta-data/",
    "https://[fd00:ec2::254]/",
    "https://10.0.0.1/",
    "https://192.168.1.1/",
    "https://0.0.0.0/",
    "https://224.0.0.1/",
    "https://localhost/",
    "https://localhost./",
    "https://printer.local/",
    "https://metadata.google.internal/",
    "https://example.com:22/",
    "https://example.com:0/",
    "https://example.com:99999/",
    "https://example.com\\@127.0.0.1/",
    "https://example.com/#x",
    "https://exa mple.com/",
    "https://\u2460\u2461\u2466.0.0.1/",
    "https://",
    "",
    "https://example.com/" + "a" * 3_000,
)
