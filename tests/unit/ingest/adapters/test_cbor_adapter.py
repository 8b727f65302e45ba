"""CBOR: the same data model as JSON, every bad input refused with JSON's own code where there is one."""

import base64
import json
import random
import struct
from typing import Any

import cbor2
import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.catalogue.metrics import METRICS_BY_NAME
from app.ingest.adapters.adapter_types import MOST_SCANNED
from app.ingest.adapters.cbor_adapter import decode_cbor, read_cbor
from app.ingest.codec.telemetry_codec import MAX_FUTURE_US, Row, decode_telemetry
from app.platform.content_policy import content_scanner
from app.platform.content_policy.content_scanner import examine_document
from app.platform.kernel.rejection_codes import RejectedError, get_rejection_status
from tests.unit.ingest.adapters.arrivals import NOW, arrival, code_of, refusals, samples
from tests.unit.ingest.codec.test_telemetry_codec_bad_input import SAMPLES

MS = 1_795_514_400_000
TEN = "2026-11-24T10:00:00Z"
GOOD: dict[str, Any] = {"seq": 7, "time": MS, "values": {"co2": 612}}
TAKEN = {"box": "box-0001", "time": TEN, "seq": 7, "values": {"co2": 612.0}}


@pytest.mark.parametrize(
    "time",
    [
        MS,
        TEN,
        cbor2.CBORTag(0, TEN),
        cbor2.CBORTag(0, "2026-11-24T11:00:00+01:00"),
        cbor2.CBORTag(1, MS // 1000),
        cbor2.CBORTag(1, MS / 1000),
    ],
)
def test_a_sample_with_each_way_to_write_the_time(time: Any) -> None:  # noqa: ANN401 (several types)
    adapted = decode_cbor(cbor2.dumps(GOOD | {"time": time}), arrival())
    assert samples(adapted) == [TAKEN]
    assert adapted.refusals == []


def test_a_fraction_of_a_second_is_kept_to_the_microsecond() -> None:
    adapted = decode_cbor(cbor2.dumps(GOOD | {"time": cbor2.CBORTag(1, MS / 1000 + 0.25)}), arrival())
    assert samples(adapted)[0]["time"] == "2026-11-24T10:00:00.250Z"


def test_floats_of_every_width_and_containers_without_a_length() -> None:
    half = b"\xa2dtime" + cbor2.dumps(MS) + b"fvalues\xa3cco2\xf9\x48\x00cpm1\xfa\x41\x48\x00\x00dpm10\x0c"
    streamed = b"\xbfdtime" + cbor2.dumps(MS) + b"fvalues\xbfcco2\x08cpm1\xfb" + struct.pack(">d", 12.5)
    assert samples(decode_cbor(half, arrival()))[0]["values"] == {"co2": 8.0, "pm1": 12.5, "pm10": 12.0}
    assert samples(decode_cbor(streamed + b"\xff\xff", arrival()))[0]["values"] == {"co2": 8.0, "pm1": 12.5}


def test_a_document_that_describes_itself_and_one_with_a_box() -> None:
    assert samples(decode_cbor(cbor2.dumps(cbor2.CBORTag(55799, GOOD)), arrival())) == [TAKEN]
    body = {"box": "box-0001", "samples": [GOOD]}
    assert samples(decode_cbor(cbor2.dumps(body), arrival(None))) == [TAKEN]


def test_vigies_own_json_is_taken_on_the_same_topic() -> None:
    assert samples(decode_cbor(json.dumps(GOOD).encode(), arrival())) == [TAKEN]


DOCUMENTS: list[tuple[str, bytes, str]] = [
    ("empty", b"", "empty_body"),
    ("cut short", cbor2.dumps(GOOD)[:-1], "invalid_cbor"),
    ("two documents", cbor2.dumps(GOOD) * 2, "invalid_cbor"),
    ("a byte follows", cbor2.dumps(GOOD) + b"\x00", "invalid_cbor"),
    ("a break alone", b"\xff", "invalid_cbor"),
    ("a reserved length", b"\xbc", "invalid_cbor"),
    ("an array that claims 2^63 items", b"\x9b\x7f" + b"\xff" * 7, "invalid_cbor"),
    ("bytes that claim 2^63 of them", b"\x5b\x7f" + b"\xff" * 7 + b"x", "invalid_cbor"),
    ("a text that claims 2^32 bytes", b"\xa1\x7a\xff\xff\xff\xffx", "invalid_cbor"),
    ("no end", b"\x9f" + b"\x01" * 1_000, "invalid_cbor"),
    ("arrays without an end", b"\x9f" * 100_000, "nesting_too_deep"),
    ("nested", b"\x81" * 9 + b"\x01", "nesting_too_deep"),
    ("deeply nested", b"\x81" * 200_000, "nesting_too_deep"),
    ("deeply tagged", b"\xc6" * 200_000, "nesting_too_deep"),
    ("invalid UTF-8", b"\xa1dtime\x61\xff", "invalid_encoding"),
    ("half of a surrogate pair", b"\xa1dtime\x63\xed\xa0\x80", "invalid_encoding"),
    ("a key twice", b"\xa2dtime\x01dtime\x01", "duplicate_key"),
    ("NaN", cbor2.dumps(GOOD | {"values": {"co2": float("nan")}}), "invalid_cbor"),
    ("half NaN", b"\xa1dtime\xf9\x7e\x00", "invalid_cbor"),
    ("Infinity", cbor2.dumps(GOOD | {"values": {"co2": float("inf")}}), "invalid_cbor"),
    ("-Infinity", cbor2.dumps(GOOD | {"values": {"co2": float("-inf")}}), "invalid_cbor"),
    ("a big number", cbor2.dumps(GOOD | {"values": {"co2": 10**400}}), "number_out_of_range"),
    ("a big negative number", cbor2.dumps(GOOD | {"time": -(10**5_000)}), "number_out_of_range"),
    ("a number as a key", cbor2.dumps({1: 2}), "invalid_cbor"),
    ("bytes as a key", cbor2.dumps({b"time": 2}), "invalid_cbor"),
    ("a map as a key", b"\xa1\xa0\x01", "invalid_cbor"),
    ("too many items", b"\x9a\x00\x0f\x42\x40" + b"\xf6" * 1_000_000, "too_many_samples"),
    ("too many tags", b"\x9a\x00\x01\x00\x00" + b"\xc1\x01" * 65_536, "too_many_samples"),
    ("more than a mebibyte", b"\x80" * (2**20 + 1), "body_too_large"),
    ("a text", cbor2.dumps("x"), "wrong_type"),
    ("null", b"\xf6", "wrong_type"),
    ("an array", cbor2.dumps([GOOD]), "wrong_type"),
    ("bytes", cbor2.dumps(b"x"), "wrong_type"),
    ("an empty batch", cbor2.dumps({"samples": []}), "empty_batch"),
    ("an unknown field", cbor2.dumps({"samples": [GOOD], "more": 1}), "unknown_field"),
]


@pytest.mark.parametrize(
    ("payload", "code"), [case[1:] for case in DOCUMENTS], ids=[case[0] for case in DOCUMENTS]
)
def test_a_document_that_cannot_be_taken_is_refused_whole(payload: bytes, code: str) -> None:
    assert code_of(decode_cbor, payload, arrival()) == code
    assert code_of(decode_cbor, payload, arrival(None)) in {
        code,
        "wrong_type",
        "missing_field",
        "unknown_field",
    }


@pytest.mark.parametrize(
    ("values", "code"),
    [
        ({"co2": float("nan")}, "invalid_cbor"),
        ({"co2": 10**400}, "number_out_of_range"),
        ({"co2": b"\x01"}, "wrong_type"),
    ],
)
def test_of_a_batch_with_one_bad_sample_the_others_are_taken(values: dict[str, object], code: str) -> None:
    bad = GOOD | {"seq": 7, "values": values}
    payload = cbor2.dumps({"samples": [GOOD, bad, GOOD]})
    adapted = decode_cbor(payload, arrival())
    assert len(adapted.samples) == 2
    assert refusals(adapted) == [(1, "box-0001", code)]
    (refusal,) = adapted.refusals
    assert refusal.rejection.seq == 7
    assert refusal.part is not None
    assert decode_cbor(refusal.part, arrival()).refusals[0].rejection.code == code
    if code != "wrong_type":
        by_http = cbor2.dumps({"box": "box-0001", "samples": [GOOD, bad]})
        with pytest.raises(RejectedError) as raised:
            decode_cbor(by_http, arrival(None))
        assert raised.value.code == code


def test_of_more_than_a_thousand_samples_the_first_thousand_are_taken() -> None:
    many = [GOOD | {"seq": seq} for seq in range(1_002)]
    adapted = decode_cbor(cbor2.dumps({"samples": many}), arrival())
    assert [row[1] for _, row in adapted.samples] == list(range(1_000))
    assert [each.rejection.seq for each in adapted.refusals] == [1_000, 1_001]
    assert {each.rejection.code for each in adapted.refusals} == {"too_many_samples"}


def test_a_single_sample_that_cannot_be_taken_is_named() -> None:
    adapted = decode_cbor(cbor2.dumps(GOOD | {"seq": 7, "values": {"co2": float("nan")}}), arrival())
    assert [each.rejection.seq for each in adapted.refusals] == [7]


FOREIGN: list[tuple[str, Any, str]] = [
    ("bytes as a value", {"values": {"co2": b"\x01"}}, "wrong_type"),
    ("undefined as a value", {"values": {"co2": cbor2.undefined}}, "wrong_type"),
    ("a simple value", {"values": {"co2": cbor2.CBORSimpleValue(99)}}, "wrong_type"),
    ("a tagged value", {"values": {"co2": cbor2.CBORTag(32, 12)}}, "wrong_type"),
    ("a decimal fraction", {"values": {"co2": cbor2.CBORTag(4, [-1, 6120])}}, "wrong_type"),
    ("a regular expression", {"values": {"co2": cbor2.CBORTag(35, "(a+)+$")}}, "wrong_type"),
    ("a shared reference", {"values": cbor2.CBORTag(28, {"co2": cbor2.CBORTag(29, 0)})}, "wrong_type"),
    ("an instant as a value", {"values": {"co2": cbor2.CBORTag(1, 612)}}, "wrong_type"),
    ("bytes as time", {"time": b"2026-11-24T10:00:00Z"}, "wrong_type"),
    ("a date as time", {"time": cbor2.CBORTag(1004, "2026-11-24")}, "wrong_type"),
    ("tag 1 on a text", {"time": cbor2.CBORTag(1, TEN)}, "wrong_type"),
    ("tag 0 on a number", {"time": cbor2.CBORTag(0, MS)}, "wrong_type"),
    ("tag 1 past every year", {"time": cbor2.CBORTag(1, 10**18)}, "wrong_type"),
    ("tag 1 with milliseconds", {"time": cbor2.CBORTag(1, MS)}, "wrong_type"),
    ("tag 1 before 2000", {"time": cbor2.CBORTag(1, 0)}, "time_out_of_range"),
    ("tag 1 in the future", {"time": cbor2.CBORTag(1, MS // 1000 + 3_600)}, "time_in_future"),
    ("2^64 - 1 as a value", {"values": {"co2": 2**64 - 1}}, "integer_too_large"),
    ("2^64 - 1 as seq", {"seq": 2**64 - 1}, "integer_too_large"),
    ("a NUL in the time", {"time": "2026-11-24T10:00:00Z\0"}, "nul_in_text"),
    ("bytes as seq", {"seq": b"7"}, "wrong_type"),
]


@pytest.mark.parametrize(
    ("change", "code"), [case[1:] for case in FOREIGN], ids=[case[0] for case in FOREIGN]
)
def test_what_json_cannot_say_is_refused_with_its_sample_alone(change: Any, code: str) -> None:  # noqa: ANN401
    bad = GOOD | change
    adapted = decode_cbor(cbor2.dumps({"samples": [GOOD, bad, GOOD]}), arrival())
    assert samples(adapted) == [TAKEN, TAKEN]
    assert refusals(adapted) == [(1, "box-0001", code)]
    (refusal,) = adapted.refusals
    assert refusal.part is not None
    assert code_of(decode_cbor, refusal.part, arrival()) == code


@pytest.mark.parametrize(
    ("sample", "code"), [case[1:] for case in SAMPLES], ids=[case[0] for case in SAMPLES]
)
def test_every_bad_sample_of_json_has_the_same_code(sample: str, code: str) -> None:
    document = cbor2.dumps({"samples": [json.loads(sample), GOOD]})
    adapted = decode_cbor(document, arrival())
    assert refusals(adapted) == [(0, "box-0001", code)]
    assert samples(adapted) == [TAKEN]
    assert get_rejection_status(code) in {413, 422}
    part = adapted.refusals[0].part
    assert part is not None
    assert json.loads(part) == json.loads(sample)


def test_a_full_batch_with_a_tagged_time_each_is_taken() -> None:
    batch = [GOOD | {"seq": index, "time": cbor2.CBORTag(1, MS / 1000 - index)} for index in range(1_000)]
    payload = cbor2.dumps({"samples": batch})
    full = decode_cbor(payload, arrival())
    assert (len(full.samples), full.refusals) == (1_000, [])
    wide = [
        sample | {"values": dict.fromkeys(METRICS_BY_NAME, 12.5) | {"pressure": 900.0}} for sample in batch
    ]
    payload = cbor2.dumps({"samples": wide})
    assert 2**16 < len(payload) < 2**20
    assert len(decode_cbor(payload, arrival()).samples) == 1_000


HOLLOW: list[tuple[str, bytes]] = [
    ("maps in six arrays", b"\x81" * 6 + b"\x9a\x00\x0f\x00\x00" + b"\xa0" * 0xF_0000),
    ("maps", b"\x9a\x00\x0f\x00\x00" + b"\xa0" * 0xF_0000),
    ("arrays in a sample", b"\xa1\x67samples\x81\x9a\x00\x0f\x00\x00" + b"\x80" * 0xF_0000),
    ("texts", cbor2.dumps({"note": "no pm" * 80_000, "samples": []})),
    ("names", cbor2.dumps({f"{number:03}" + " mo" * 66: 0 for number in range(900)})),
]


@pytest.mark.parametrize("payload", [case[1] for case in HOLLOW], ids=[case[0] for case in HOLLOW])
def test_no_more_of_a_batch_is_scanned_than_is_due(payload: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    looked_at = 0

    def count_values(scan: content_scanner._DocumentScan, value: Any, *more: Any) -> Any:  # noqa: ANN401
        nonlocal looked_at
        looked_at += 1
        return scan_value(scan, value, *more)

    scan_value = content_scanner._DocumentScan.of
    monkeypatch.setattr(content_scanner._DocumentScan, "of", count_values)
    known = arrival()
    for _ in range(3):
        assert not decode_cbor(payload, known).is_examined
    assert looked_at <= MOST_SCANNED + 100
    assert known.scan_budget.left < 0
    small = cbor2.dumps(GOOD | {"values": {"warp": 1}})
    assert not decode_cbor(small, known).is_examined, "it is spent"
    assert code_of(decode_cbor, small, known) == "unknown_metric"
    assert samples(decode_cbor(cbor2.dumps(GOOD), known)) == [TAKEN]
    assert decode_cbor(small, arrival()).is_examined


def test_of_what_is_too_long_the_beginning_is_scanned() -> None:
    encoded = base64.b64encode(random.Random(1).randbytes(600_000)).decode()  # noqa: S311 (the same in each run)
    for value in ([0.5] * 100_000, encoded, bytes(900_000)):
        for known in (arrival(), arrival(None)):
            assert code_of(decode_cbor, cbor2.dumps({"values": value}), known) == "forbidden_content"


def test_the_box_of_a_body_is_checked() -> None:
    for box, code in ((1, "wrong_type"), ("a+b", "invalid_box_id"), (b"box", "wrong_type")):
        assert code_of(decode_cbor, cbor2.dumps({"box": box, "samples": [GOOD]}), arrival(None)) == code
    assert code_of(decode_cbor, cbor2.dumps(GOOD), arrival(None)) == "unknown_field"


VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**60), 2**60)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=12,
)
MESSAGES = st.fixed_dictionaries(
    {"time": st.sampled_from([MS, TEN, 0, "x"]) | VALUES},
    optional={
        "seq": st.integers(-1, 2**54) | VALUES,
        "values": st.dictionaries(st.sampled_from(["co2", "pm1", "warp"]), st.floats(0, 9e4) | VALUES),
        "more": VALUES,
    },
)


def outcome(payload: bytes) -> tuple[list[Row], list[tuple[str, int | None, int | None]]]:
    try:
        adapted = decode_cbor(payload, arrival())
    except RejectedError as error:
        return [], [(error.code, None, None)]
    rejections = [each.rejection for each in adapted.refusals]
    return [row for _, row in adapted.samples], [(each.code, each.index, each.seq) for each in rejections]


@given(MESSAGES | VALUES)
def test_what_json_says_of_a_document_cbor_says_too(document: Any) -> None:  # noqa: ANN401 (any document)
    as_json = decode_telemetry(json.dumps(document).encode(), NOW, MAX_FUTURE_US)
    codes = [(each.code, each.index, each.seq) for each in as_json.rejections]
    found = outcome(cbor2.dumps(document))
    # A name such as AAC is refused for what it says: of JSON the door itself finds that.
    assert found == (as_json.samples, codes) or examine_document(document) is not None


def refusal_of(payload: bytes) -> str | None:
    try:
        read_cbor(payload)
    except RejectedError as error:
        return error.code
    return None


@given(st.binary(max_size=64))
def test_no_bytes_raise_anything_else(payload: bytes) -> None:
    code = refusal_of(payload)
    assert code is None or get_rejection_status(code) in {400, 413, 415}


def test_units_are_converted_and_go_with_the_part_that_is_refused() -> None:
    good = {"time": MS, "values": {"no2": 40}}
    batch = {
        "units": {"no2": "ppb"},
        "samples": [good, {"time": 1, "values": {"no2": 40}}, {**good, "more": b"x"}],
    }
    adapted = decode_cbor(cbor2.dumps(batch), arrival())
    assert samples(adapted)[0]["values"]["no2"] == pytest.approx(76.4993, rel=1e-5)
    first, second = adapted.refusals
    assert json.loads(first.part or b"")["units"] == {"no2": "ppb"}
    assert cbor2.loads(second.part or b"")["units"] == {"no2": "ppb"}
