"""REST calls that must be refused, as data: names, ids, places, times, ranges, lists, URLs, keys."""

import base64
import json
import zlib
from typing import Any, NamedTuple


class BadCall(NamedTuple):
    """A REST call that must be refused; `{site}` and `{box}` stand for the caller's own.

    A `code` of None stands for one of several.
    """

    what: str
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


def _site(what: str, status: int, code: str | None, **change: object) -> BadCall:
    return BadCall(what, "POST", "/v1/sites", status, code, {**_SITE, **change})


def _place(what: str, *coordinates: object, code: str | None = "location_out_of_range") -> BadCall:
    return _site(what, 422, code, location={"type": "Point", "coordinates": list(coordinates)})


def _box(what: str, identifier: object, code: str = "invalid_box_id") -> BadCall:
    return BadCall(what, "POST", "/v1/boxes", 422, code, {"id": identifier, "site_id": "{site}"})


def _read(what: str, query: str, code: str) -> BadCall:
    return BadCall(what, "GET", f"/v1/boxes/{{box}}/readings?metric=pm1&{query}", 422, code)


def forged(kind: str, *key: object) -> str:
    """A cursor with a right checksum: anybody can compute that."""
    body = json.dumps([kind, *key]).encode()
    return base64.urlsafe_b64encode(zlib.crc32(body).to_bytes(4) + body).decode().rstrip("=")


_LISTS = {
    "/v1/organisations?": "organisations",
    "/v1/api-keys?": "api_keys",
    "/v1/members?": "members",
    "/v1/invitations?": "invitations",
    "/v1/sites?": "sites",
    "/v1/boxes?": "boxes",
    "/v1/rules?": "rules",
    "/v1/alerts?": "alerts",
    "/v1/silences?": "silences",
    "/v1/inhibitions?": "inhibitions",
    "/v1/events?": "events",
    "/v1/webhooks?": "webhooks",
    "/v1/channels?": "channels",
    "/v1/deliveries?": "deliveries",
    "/v1/quarantine?": "quarantine",
    "/v1/sites/{site}/latest?": "site_latest",
    "/v1/boxes/{box}/events?": "events",
    "/v1/boxes/{box}/corrections?": "corrections",
    "/v1/boxes/{box}/readings?metric=pm1&": "readings",
    "/v1/boxes/{box}/readings?metric=pm1&bucket=1h&": "buckets",
}
_FORGED_KEYS: tuple[Any, ...] = ("a\0b", "\ud800", 10**30, [1], None, {}, 1.5e308, "x" * 200)


def lists() -> list[BadCall]:
    """Cursors and limits that no list gave or takes."""
    return [
        *(
            BadCall("a forged cursor", "GET", f"{path}cursor={cursor}", 422, "invalid_cursor")
            for path, kind in _LISTS.items()
            for cursor in ("AAAA", "%00", "%C3%A9", *(forged(kind, key) for key in _FORGED_KEYS))
        ),
        *(
            BadCall("a limit of -1, of 0, too large, or no number", "GET", f"{path}limit={limit}", 422, None)
            for path in _LISTS
            for limit in ("-1", "0", "10001", "9" * 30, "1.5", "x", "", "%00")
        ),
    ]


def calls() -> list[BadCall]:
    """Every other call."""
    return [*_names(), *_places_and_ids(), *_ranges(), *_others()]


def _names() -> list[BadCall]:
    return [
        _site("a name that is not NFC", 422, "name_not_normalised", name="Cafe\N{COMBINING ACUTE ACCENT}"),
        _site("NUL in a name", 422, "nul_in_text", name="a\0"),
        _site(
            "a bidirectional character in a name", 422, "invalid_text", name="a\N{RIGHT-TO-LEFT OVERRIDE}b"
        ),
        _site("a control character in a name", 422, "invalid_text", name="a\nb"),
        _site("a blank name", 422, "invalid_text", name="  "),
        _site("a name of 201 characters", 413, "text_too_long", name="a" * 201),
        _site("a boolean as a name", 422, "wrong_type", name=True),
        _site("an unknown field", 422, "unknown_field", more=1),
        _site("a time zone that there is not", 422, "unknown_timezone", timezone="Mars/Olympus"),
        _site("a path as a time zone", 422, "unknown_timezone", timezone="../../etc/passwd"),
        _site("a kind that is no word", 422, "invalid_kind", kind="Street'"),
        _site("a retention of 0 days", 422, None, retention_days=0),
        _site("a retention of 2^60 days", 422, None, retention_days=2**60),
        _site("a boolean as a retention", 422, "wrong_type", retention_days=True),
        _site("an organisation's id that is none", 422, "wrong_type", organisation_id="x"),
        _site(
            "another organisation's id",
            422,
            "foreign_organisation",
            organisation_id="0199d1c5-7a3e-7c54-9d1e-5b6f0a2c8e11",
        ),
    ]


def _places_and_ids() -> list[BadCall]:
    identifiers = ("", "a+b", "a#", "a/b", "$SYS", "a\0", "a\u202e", "é", "a" * 65, "a b")
    return [
        _place("a longitude of 180.01", 180.01, 0),
        _place("a latitude of -90.01", 0, -90.01),
        _place("a text as a coordinate", "1", 2, code="wrong_type"),
        _place("three coordinates", 1, 2, 3, code=None),
        *(
            _box("a box's id with + # / $, NUL, bidirectional or other characters, or of 65", name)
            for name in identifiers
        ),
        _box("a number as a box's id", 1, code="wrong_type"),
        *(
            BadCall("such an id in a path", "GET", f"/v1/boxes/{name}", 404, "not_found")
            for name in ("%00", "a%2Fb", "..%2F..", "%23", "+", "'%20OR%201=1--", "%E2%80%AE", "a" * 3_000)
        ),
        *(
            BadCall("such an id in a path", "GET", f"/v1/{room}/{name}", 404, "not_found")
            for room in (
                "sites",
                "rules",
                "alerts",
                "silences",
                "inhibitions",
                "webhooks",
                "channels",
                "deliveries",
                "organisations",
                "quarantine",
            )
            for name in ("%00", "x", "1'%20OR%20'1'='1", "a%2Fb", "%FF", "9" * 3_000)
        ),
    ]


def _ranges() -> list[BadCall]:
    return [
        _read("from after to", "from=2026-01-02T00:00:00Z&to=2026-01-01T00:00:00Z", "range_reversed"),
        _read(
            "ten years at one second",
            "from=2016-01-01T00:00:00Z&to=2026-01-01T00:00:00Z&bucket=1s",
            "range_too_large",
        ),
        _read("a time without a zone", "from=2026-01-01T00:00:00", "time_without_zone"),
        _read("24:00", "from=2026-01-01T24:00:00Z", "invalid_time"),
        _read("second 60", "from=2026-01-01T23:59:60Z", "invalid_time"),
        _read("a negative epoch", "from=-1", "time_out_of_range"),
        _read("seconds where milliseconds are due", "from=1795514400", "time_out_of_range"),
        _read("NUL as a time", "from=%00", "invalid_time"),
        _read("a bucket that is none", "bucket=0s", "invalid_bucket"),
        _read("a bucket that is none", "bucket=1y", "invalid_bucket"),
        _read("a bucket that is none", "bucket=999999w", "invalid_bucket"),
        BadCall("an unknown metric", "GET", "/v1/boxes/{box}/readings?metric=pm1'--", 422, "unknown_metric"),
        BadCall("no metric", "GET", "/v1/boxes/{box}/readings", 422, "missing_field"),
    ]


def _others() -> list[BadCall]:
    return [
        BadCall("NUL in a search", "GET", "/v1/boxes?q=%00", 422, "nul_in_text"),
        BadCall("NUL in a filter", "GET", "/v1/quarantine?box=%00", 422, "nul_in_text"),
        BadCall("a slash too many", "GET", "/v1/sites/", 404, "not_found"),
        BadCall("a method that a path does not have", "PUT", "/v1/sites", 405, "method_not_allowed"),
        BadCall(
            "null for what must be there", "PATCH", "/v1/sites/{site}", 422, "wrong_type", {"name": None}
        ),
        BadCall("an interval of 0", "PATCH", "/v1/boxes/{box}", 422, None, {"interval_s": 0}),
        *(
            BadCall("NUL in a configuration", "PUT", "/v1/boxes/{box}/config", 422, "nul_in_text", body)
            for body in ({"config": {"a": ["b\0"]}}, {"config": {"a\0": 1}})
        ),
        BadCall(
            "a scope that there is not",
            "POST",
            "/v1/api-keys",
            422,
            "unknown_scope",
            {"name": "x", "scopes": ["root"]},
        ),
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


_JSON = "application/json"
UNDECLARED: list[tuple[str, dict[str, str], str, bool]] = [
    ("no Content-Type", {}, "unsupported_media_type", True),
    ("text/plain", {"content-type": "text/plain"}, "unsupported_media_type", True),
    ("JSON in UTF-16", {"content-type": f"{_JSON}; charset=utf-16"}, "unsupported_media_type", True),
    ("brotli", {"content-type": _JSON, "content-encoding": "br"}, "unsupported_encoding", True),
    (
        "gzip and brotli",
        {"content-type": _JSON, "content-encoding": "gzip, br"},
        "unsupported_encoding",
        True,
    ),
    ("CBOR elsewhere", {"content-type": "application/cbor"}, "unsupported_media_type", False),
    ("gzip elsewhere", {"content-type": _JSON, "content-encoding": "gzip"}, "unsupported_encoding", False),
]
"""What is declared that a call does not take: name, headers, code, and whether telemetry refuses it too."""

KEYS: list[tuple[str, int, str]] = [
    ("no key", 401, "unauthorised"),
    ("a key with a wrong checksum", 401, "unauthorised"),
    ("a key that nobody has", 401, "unauthorised"),
    ("a revoked key", 401, "unauthorised"),
    ("a key without the scope", 403, "forbidden"),
    ("another tenant's box", 404, "unknown_box"),
]
"""Who may not, the status, and the code. A wrong checksum is seen without a query."""
