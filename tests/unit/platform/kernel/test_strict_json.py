"""Strict JSON: what is refused, with which code, and what is read."""

import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.platform.kernel.rejection_codes import RejectedError
from app.platform.kernel.strict_json import Json, check_texts, iterate_texts, parse_strict_json

REFUSED: list[tuple[str, bytes, str]] = [
    ("empty", b"", "empty_body"),
    ("only white space", b" \t\r\n", "empty_body"),
    ("NaN", b'{"a": NaN}', "invalid_json"),
    ("Infinity", b"[Infinity]", "invalid_json"),
    ("minus Infinity", b"[-Infinity]", "invalid_json"),
    ("nan as printf writes it", b'{"a": nan}', "invalid_json"),
    ("cut short", b'{"a": [1, 2', "invalid_json"),
    ("cut short in a text", b'{"a": "b', "invalid_json"),
    ("two documents", b'{"a": 1} {"a": 2}', "invalid_json"),
    ("two documents by line", b'{"a": 1}\n{"a": 2}\n', "invalid_json"),
    ("leading zero", b'{"a": 01}', "invalid_json"),
    ("leading plus", b'{"a": +1}', "invalid_json"),
    ("no digit before the point", b'{"a": .5}', "invalid_json"),
    ("no digit after the point", b'{"a": 1.}', "invalid_json"),
    ("hexadecimal", b'{"a": 0x10}', "invalid_json"),
    ("trailing comma in an object", b'{"a": 1,}', "invalid_json"),
    ("trailing comma in an array", b"[1,]", "invalid_json"),
    ("single quotes", b"{'a': 1}", "invalid_json"),
    ("comment", b'{"a": 1} // one', "invalid_json"),
    ("control character in a text", b'"a\x01b"', "invalid_json"),
    ("line feed in a text", b'"a\nb"', "invalid_json"),
    ("raw NUL in a text", b'["abc", "a\x00b"]', "invalid_json"),
    ("unknown escape", rb'"\x41"', "invalid_json"),
    ("vertical tab as white space", b"\v[1]", "invalid_json"),
    ("no-break space as white space", b"\xc2\xa0[1]", "invalid_json"),
    ("1e400", b'{"a": 1e400}', "number_out_of_range"),
    ("minus 1e400", b'{"a": -1e400}', "number_out_of_range"),
    ("an integer of 5,000 digits", b'{"a": ' + b"9" * 5_000 + b"}", "number_out_of_range"),
    ("an integer of 309 nines", b"9" * 309, "number_out_of_range"),
    ("nesting of 9", b"[" * 9 + b"]" * 9, "nesting_too_deep"),
    ("nesting of 9, mixed", b'{"a":[' * 4 + b"[1]" + b"]}" * 4, "nesting_too_deep"),
    ("nesting of 100,000, never closed", b"[" * 100_000, "nesting_too_deep"),
    ("nesting behind an escaped quote", rb'{"\"": ' + b"[" * 9 + b"]" * 9 + b"}", "nesting_too_deep"),
    ("invalid UTF-8", b'{"a": "\xff"}', "invalid_encoding"),
    ("UTF-8 cut short", b'{"a": "\xc3', "invalid_encoding"),
    ("over-long UTF-8", b'"\xc0\xaf"', "invalid_encoding"),
    ("surrogate in UTF-8", b'"\xed\xa0\x80"', "invalid_encoding"),
    ("Latin-1", '"é"'.encode("latin-1"), "invalid_encoding"),
    ("byte-order mark", b'\xef\xbb\xbf{"a": 1}', "invalid_encoding"),
    ("UTF-16 with mark", '{"a": 1}'.encode("utf-16"), "invalid_encoding"),
    ("UTF-16LE", '{"a": 1}'.encode("utf-16-le"), "invalid_encoding"),
    ("UTF-16BE", '{"a": 1}'.encode("utf-16-be"), "invalid_encoding"),
    ("UTF-32LE", '{"a": 1}'.encode("utf-32-le"), "invalid_encoding"),
    ("CBOR", b"\xa1\x61\x61\x01", "invalid_encoding"),
    ("gzip", b"\x1f\x8b\x08\x00\x00\x00\x00\x00", "invalid_encoding"),
    ("high surrogate alone", rb'"\ud800"', "lone_surrogate"),
    ("low surrogate alone", rb'["\uDC00"]', "lone_surrogate"),
    ("surrogates the wrong way round", rb'"\udc00\ud800"', "lone_surrogate"),
    ("lone surrogate in a key", rb'{"a": {"\ud83d": 1}}', "lone_surrogate"),
    ("duplicate key", b'{"a": 1, "a": 1}', "duplicate_key"),
    ("duplicate key, one escaped", rb'{"a": 1, "\u0061": 2}', "duplicate_key"),
    ("duplicate key, deep down", b'[[{"b": {"a": 1, "c": 2, "a": 3}}]]', "duplicate_key"),
]


@pytest.mark.parametrize(("data", "code"), [case[1:] for case in REFUSED], ids=[case[0] for case in REFUSED])
def test_refused(data: bytes, code: str) -> None:
    with pytest.raises(RejectedError) as refused:
        parse_strict_json(data)
    assert refused.value.code == code
    assert refused.value.detail.isascii()
    assert len(refused.value.detail) <= 400


@pytest.mark.parametrize(
    ("data", "value"),
    [
        (b' {"a": [1, -2.5e-3, true, false, null, "x"]}\r\n', {"a": [1, -0.0025, True, False, None, "x"]}),
        (b"0", 0),
        (b"-0", 0),
        (b"1E+2", 100.0),
        (b"1e-400", 0.0),
        (b"9007199254740993", 9007199254740993),
        (b"9" * 308, int("9" * 308)),
        (rb'"\ud83d\ude00"', "😀"),
        (rb'"\\ud800"', "\\ud800"),
        (rb'"a\u0000b"', "a\0b"),
        ('"€😀"'.encode(), "€😀"),
        (b"[" * 8 + b"]" * 8, [[[[[[[[]]]]]]]]),
        (b'"[[[[[[[[[[[["', "[[[[[[[[[[[["),
        (rb'["\"[[[[[[[[["]', ['"[[[[[[[[[']),
        (b"[" + b"[1]," * 20 + b"[1]]", [[1]] * 21),
        (b"{}", {}),
    ],
)
def test_read(data: bytes, value: Json) -> None:
    assert parse_strict_json(data) == value


def test_the_sign_of_zero_is_kept() -> None:
    number = parse_strict_json(b"-0.0")
    assert isinstance(number, float)
    assert math.copysign(1, number) == -1


def test_the_detail_says_where() -> None:
    for data, word in (
        (b'{"a": 1', "cut short"),
        (b'["a', "never closed"),
        (b"1 2", "one document"),
        (b"[1,]", "character 2"),
        (b"NaN", "NaN"),
    ):
        with pytest.raises(RejectedError, match=word):
            parse_strict_json(data)


def test_depth_is_an_argument() -> None:
    assert parse_strict_json(b"[[1]]", max_depth=2) == [[1]]
    with pytest.raises(RejectedError, match="nesting_too_deep"):
        parse_strict_json(b"[[[1]]]", max_depth=2)


@pytest.mark.parametrize(
    "data",
    [
        b'"' + rb"\"" * 500_000,
        b'{"a":"' + b"\\" * 1_000_001,
        b'"' * 1_000_001,
        b"[" + b"9" * 1_000_000 + b"]",
        b'[""' * 7 + b',""' * 300_000,
        rb'["' + rb"\ud83d\ude00" * 80_000 + rb'\ud83d"]',
    ],
)
@pytest.mark.timeout(20)  # quadratic time would take minutes
def test_no_input_takes_more_than_linear_time(data: bytes) -> None:
    with pytest.raises(RejectedError):
        parse_strict_json(data)


def test_texts_and_their_limits() -> None:
    document: Json = {"a": ["b", {"c": 1}], "d": None}
    assert list(iterate_texts(document)) == ["a", "b", "c", "d"]
    check_texts(document)
    check_texts({"x" * 64: "y" * 64})
    refused: list[tuple[Json, str]] = [
        ({"a": "b\0"}, "nul_in_text"),
        ({"a\0": 1}, "nul_in_text"),
        (["x" * 65], "text_too_long"),
        ({"x" * 65: 1}, "text_too_long"),
    ]
    for bad, code in refused:
        with pytest.raises(RejectedError, match=code):
            check_texts(bad)


_json: st.SearchStrategy[Json] = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(10**30), 10**30)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=8,
)


@given(_json, st.booleans(), st.sampled_from([None, 1]))
def test_what_a_strict_writer_writes_is_read(value: Json, ascii_only: bool, indent: int | None) -> None:  # noqa: FBT001 - drawn
    written = json.dumps(value, ensure_ascii=ascii_only, indent=indent).encode()
    assert parse_strict_json(written, max_depth=16) == value


@given(st.binary(max_size=60))
def test_any_bytes_are_read_or_refused(data: bytes) -> None:
    try:
        value = parse_strict_json(data)
    except RejectedError as error:
        assert error.detail.isascii()  # noqa: PT017 - either outcome is right
    else:
        json.dumps(value, allow_nan=False).encode()
