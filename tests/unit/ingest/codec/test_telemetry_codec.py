"""The telemetry codec: what is taken, how a message is split, and what the HTTP door adds."""

import json
import math
from typing import Any

import pytest

from app.catalogue.metrics import COLUMNS, INDEX
from app.ingest.codec.reference_telemetry_decoder import decode_exact
from app.ingest.codec.telemetry_codec import (
    MAX_FUTURE_US,
    decode_http_telemetry,
    decode_singles,
    decode_telemetry,
    encode_sample,
    parse_topic,
)
from app.platform.kernel.instants import parse_rfc3339
from app.platform.kernel.rejection_codes import InputRejection, RejectedError

NOW = parse_rfc3339("2026-11-24T10:00:05Z")
TEN = parse_rfc3339("2026-11-24T10:00:00Z")
TEN_MS = TEN // 1_000
CO2 = '"values":{"co2":1}'
ONE = {"co2": 1.0}

ACCEPTED: list[tuple[str, str, int, int | None, dict[str, float]]] = [
    (
        "the contract's sample",
        '{"seq":1042,"time":"2026-11-24T10:00:00Z","values":{"pm2_5":12.4,"laeq":58.3,"temperature":21.5}}',
        TEN,
        1042,
        {"pm2_5": 12.4, "laeq": 58.3, "temperature": 21.5},
    ),
    ("milliseconds", f'{{"time":{TEN_MS},{CO2}}}', TEN, None, ONE),
    ("another zone", f'{{"time":"2026-11-24T11:00:00+01:00",{CO2}}}', TEN, None, ONE),
    ("lower case", f'{{"time":"2026-11-24t10:00:00z",{CO2}}}', TEN, None, ONE),
    ("minus zero zone", f'{{"time":"2026-11-24T10:00:00-00:00",{CO2}}}', TEN, None, ONE),
    ("a fraction", f'{{"time":"2026-11-24T10:00:00.125Z",{CO2}}}', TEN + 125_000, None, ONE),
    ("nanoseconds", f'{{"time":"2026-11-24T10:00:00.123456999Z",{CO2}}}', TEN + 123_456, None, ONE),
    ("ten digits", f'{{"time":"2026-11-24T10:00:00.1234569999Z",{CO2}}}', TEN + 123_456, None, ONE),
    ("ten minutes ahead", f'{{"time":"2026-11-24T10:10:05Z",{CO2}}}', NOW + MAX_FUTURE_US, None, ONE),
    ("the year 2000", f'{{"time":"2000-01-01T00:00:00Z",{CO2}}}', 946_684_800_000_000, None, ONE),
    ("seq 0", f'{{"seq":0,"time":{TEN_MS},{CO2}}}', TEN, 0, ONE),
    ("seq 2^53", f'{{"seq":9007199254740992,"time":{TEN_MS},{CO2}}}', TEN, 2**53, ONE),
    (
        "exponents",
        f'{{"time":{TEN_MS},"values":{{"co2":1.0e0,"pm1":1E-3}}}}',
        TEN,
        None,
        ONE | {"pm1": 0.001},
    ),
    (
        "bounds",
        f'{{"time":{TEN_MS},"values":{{"humidity":100,"co2":0}}}}',
        TEN,
        None,
        {"humidity": 100, "co2": 0},
    ),
    ("underflow", f'{{"time":{TEN_MS},"values":{{"co2":1e-400}}}}', TEN, None, {"co2": 0.0}),
    ("any order", f'{{"values":{{"rssi":-67}},"seq":1,"time":{TEN_MS}}}', TEN, 1, {"rssi": -67.0}),
    ("white space", f' {{\r\n"time"\t: {TEN_MS} , "values" : {{ "co2" : 1 }} }} \n', TEN, None, ONE),
    ("escaped keys", rf'{{"t\u0069me":{TEN_MS},"values":{{"\u0063o2":1}}}}', TEN, None, ONE),
    ("an escaped time", rf'{{"time":"2026-11-24T10:00:00\u005a",{CO2}}}', TEN, None, ONE),
]


def row(
    time_us: int, seq: int | None, values: dict[str, float]
) -> tuple[int, int | None, tuple[float | None, ...]]:
    return time_us, seq, tuple(values.get(name) for name in COLUMNS)


def http(document: Any) -> bytes:  # noqa: ANN401 - any JSON
    return json.dumps({"box": "box-0001", "samples": document}).encode()


@pytest.mark.parametrize(
    ("sample", "time_us", "seq", "values"),
    [case[1:] for case in ACCEPTED],
    ids=[case[0] for case in ACCEPTED],
)
def test_accepted(sample: str, time_us: int, seq: int | None, values: dict[str, float]) -> None:
    expected = row(time_us, seq, values)
    assert decode_telemetry(sample.encode(), NOW) == ([expected], [])
    assert decode_exact(sample.encode(), NOW, MAX_FUTURE_US) == ([expected], [])
    batch = f'{{"samples": [{sample}, {sample}]}}'.encode()
    assert decode_telemetry(batch, NOW) == ([expected] * 2, [])
    assert decode_exact(batch, NOW, MAX_FUTURE_US) == ([expected] * 2, [])
    assert decode_http_telemetry(f'{{"box":"b","samples":[{sample}]}}'.encode(), NOW) == (
        "b",
        ([expected], []),
    )


def test_minus_zero_is_accepted_and_keeps_its_sign() -> None:
    payload = b'{"time":1795514400000,"values":{"pm1":-0.0}}'
    for decoded in (decode_telemetry(payload, NOW), decode_exact(payload, NOW, MAX_FUTURE_US)):
        value = decoded.samples[0][2][INDEX["pm1"]]
        assert value is not None
        assert math.copysign(1, value) == -1


def test_the_seq_of_a_refused_sample_is_named() -> None:
    payload = b'{"seq": 42, "time": 1795514400000, "values": {"warp": 1}}'
    assert decode_telemetry(payload, NOW).rejections[0].seq == 42
    batch = b'{"samples": [{"seq": 41, "time": 0, "values": {"co2": 1}}, {"seq": true}, 7]}'
    assert [(r.seq, r.index) for r in decode_telemetry(batch, NOW).rejections] == [
        (41, 0),
        (None, 1),
        (None, 2),
    ]


@pytest.mark.parametrize(
    ("payload", "code"),
    [
        (b"null", "wrong_type"),
        (b"[]", "wrong_type"),
        (b'"telemetry"', "wrong_type"),
        (b"12", "wrong_type"),
        (b'{"samples": []}', "empty_batch"),
        (b'{"samples": {}}', "wrong_type"),
        (b'{"samples": null}', "wrong_type"),
        (b'{"samples": [], "seq": 1}', "unknown_field"),
        (b'{"samples": [], "box": "b"}', "unknown_field"),
        (rb'{"samples": [], "a\u0000": 1}', "nul_in_text"),
        (b'{"samples": [' + b",".join([b"1"] * 1_001) + b"]}", "too_many_samples"),
    ],
)
def test_a_message_that_is_neither_sample_nor_batch(payload: bytes, code: str) -> None:
    samples, (rejection,) = decode_telemetry(payload, NOW)
    assert (samples, rejection.code, rejection.index) == ([], code, None)


def test_a_thousand_samples_pass_and_one_more_does_not() -> None:
    def batch(count: int) -> bytes:
        samples = [{"seq": i, "time": TEN // 1_000 - i, "values": {"co2": 400 + i}} for i in range(count)]
        return json.dumps({"samples": samples}).encode()

    decoded = decode_telemetry(batch(1_000), NOW)
    assert decoded.samples == [row(TEN - i * 1_000, i, {"co2": 400.0 + i}) for i in range(1_000)]
    assert decoded == decode_exact(batch(1_000), NOW, MAX_FUTURE_US)
    assert [r.code for r in decode_telemetry(batch(1_001), NOW).rejections] == ["too_many_samples"]


def test_one_poison_in_a_thousand_costs_one() -> None:
    samples: list[dict[str, Any]] = [
        {"seq": i, "time": TEN // 1_000 - i, "values": {"co2": 500}} for i in range(1_000)
    ]
    samples[500]["values"]["co2"] = -1
    decoded = decode_telemetry(json.dumps({"samples": samples}).encode(), NOW)
    assert len(decoded.samples) == 999
    assert decoded.rejections == [
        InputRejection(
            "value_out_of_bounds", "values.co2 is -1: the allowed range is 0 to 100000 ppm", 500, 500
        )
    ]


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (b"[]", "wrong_type"),
        (b'{"samples": []}', "missing_field"),
        (b'{"box": "b"}', "missing_field"),
        (b'{"box": "b", "samples": [], "extra": 1}', "unknown_field"),
        (b'{"box": 1, "samples": []}', "wrong_type"),
        (b'{"box": null, "samples": []}', "wrong_type"),
        (b'{"box": "b", "samples": []}', "empty_batch"),
        (b'{"box": "b", "samples": null}', "wrong_type"),
        (b'{"box": "b", "box": "c", "samples": [1]}', "duplicate_key"),
        (b'{"box": "b", "samples": [' + b",".join([b"1"] * 1_001) + b"]}", "too_many_samples"),
    ],
)
def test_http_bodies_refused(body: bytes, code: str) -> None:
    with pytest.raises(RejectedError) as refused:
        decode_http_telemetry(body, NOW)
    assert refused.value.code == code


@pytest.mark.parametrize(
    "box",
    [
        *("", "a+b", "a#", "a/b", "$SYS", "a b", "a\0b", "a\n", "a\u202eb", "\u200b", "é", "\uff41", 'a"b'),
        "a" * 65,
        "a" * 9_000,
    ],
)
def test_http_box_ids_refused(box: str) -> None:
    sample = {"time": 1_795_514_400_000, "values": {"co2": 612}}
    with pytest.raises(RejectedError) as refused:
        decode_http_telemetry(json.dumps({"box": box, "samples": [sample]}).encode(), NOW)
    assert refused.value.code == "invalid_box_id"


def test_http_duplicates_are_seen_behind_the_fast_path() -> None:
    sample = b'{"time":1795514400000,"values":{"co2":1,"co2":1}}'
    with pytest.raises(RejectedError, match="duplicate_key"):
        decode_http_telemetry(b'{"box":"b","samples":[' + sample + b"]}", NOW)
    assert (
        decode_http_telemetry(http([{"time": 1_795_514_400_000, "values": {"co2": 1}}]), NOW)[0] == "box-0001"
    )


def test_singles_stand_in_their_places() -> None:
    good = b'{"seq": 1, "time": 1795514400000, "values": {"co2": 612}}'
    batch = b'{"samples": [' + good + b"]}"
    bad = b'{"seq": 1, "time": 1795514400000, "values": {"co2": null}}'
    expected = row(TEN, 1, {"co2": 612.0})
    assert decode_singles([good, batch, b"", good, bad], NOW) == [expected, None, None, expected, None]
    assert decode_singles([], NOW) == []


def test_usual_messages_take_the_fast_path() -> None:
    usual = [sample.encode() for name, sample, *_ in ACCEPTED if name not in {"lower case", "ten digits"}]
    assert None not in decode_singles(usual, NOW)


def test_a_silly_clock_does_not_open_the_year_9999() -> None:
    late = 253_370_764_800_000_000
    payload = b'{"time": 253370764800000, "values": {"co2": 1}}'
    assert decode_singles([payload], late) == [None]
    assert decode_telemetry(payload, late).rejections[0].code == "time_out_of_range"
    assert (
        decode_telemetry(b'{"samples": [' + payload + b"]}", late).rejections[0].code == "time_out_of_range"
    )


def test_remembered_times_are_bounded() -> None:
    from app.ingest.codec import telemetry_codec  # noqa: PLC0415 - the memory is private

    for minute in range(40):
        payloads = [
            f'{{"time":"2026-11-24T09:{minute:02}:00.{fraction:03}Z",{CO2}}}'.encode()
            for fraction in range(1_000)
        ]
        assert None not in decode_singles(payloads, NOW)
        assert len(telemetry_codec._KNOWN_TIMES) <= telemetry_codec._KNOWN_LIMIT


@pytest.mark.parametrize(
    ("topic", "parsed"),
    [
        ("vigie/v1/box-0001/telemetry", ("box-0001", "telemetry")),
        ("vigie/v1/A_z-9/event", ("A_z-9", "event")),
        ("vigie/v1/b/status", ("b", "status")),
        ("vigie/v1/b/config/reported", ("b", "config/reported")),
        (f"vigie/v1/{'b' * 64}/telemetry", ("b" * 64, "telemetry")),
        (f"vigie/v1/{'b' * 65}/telemetry", None),
        ("vigie/v1/b/ack", None),
        ("vigie/v1/b/config", None),
        ("vigie/v1/b/telemetry/", None),
        ("vigie/v1/b/telemetry\n", None),
        ("/vigie/v1/b/telemetry", None),
        ("vigie/v2/b/telemetry", None),
        ("vigie/v1//telemetry", None),
        ("vigie/v1/a b/telemetry", None),
        ("vigie/v1/é/telemetry", None),
        ("vigie/v1/+/telemetry", None),
        ("$SYS/broker/uptime", None),
        ("", None),
    ],
)
def test_topics(topic: str, parsed: tuple[str, str] | None) -> None:
    assert parse_topic(topic) == parsed


@pytest.mark.parametrize("seq", [None, 0, 1042])
@pytest.mark.parametrize("time_us", [TEN, TEN + 125_000, TEN + 123_456])
def test_a_sample_that_is_written_reads_back_as_it_was(time_us: int, seq: int | None) -> None:
    columns = tuple(12.4 if name in {"pm1", "rssi"} else None for name in COLUMNS)
    assert decode_telemetry(encode_sample((time_us, seq, columns)), NOW).samples == [(time_us, seq, columns)]


def test_units_of_a_sample_and_of_its_batch() -> None:
    values = {"no2": 40, "o3": 10, "temperature": 20}
    first = {"time": TEN_MS, "values": values}
    second = {**first, "units": {"no2": "µg/m³", "o3": "ppm"}}
    batch = {"units": {"no2": "ppb", "temperature": "°C"}, "samples": [first, second]}
    for decoded in (
        decode_telemetry(json.dumps(batch).encode(), NOW),
        decode_http_telemetry(json.dumps({"box": "b", **batch}).encode(), NOW)[1],
    ):
        assert decoded.rejections == []
        (_, _, one), (_, _, other) = decoded.samples
        assert one[INDEX["no2"]] == pytest.approx(76.4993, rel=1e-5)
        assert (one[INDEX["o3"]], one[INDEX["temperature"]]) == (10, 20)
        assert other[INDEX["no2"]] == 40
        assert other[INDEX["o3"]] == pytest.approx(19952.9, rel=1e-5)


@pytest.mark.parametrize("units", ['{"no2": "ppt"}', '{"warp": "ppb"}', "[]", "null", '{"no2": null}'])
def test_bad_units_of_a_batch_refuse_all_of_it(units: str) -> None:
    payload = f'{{"units": {units}, "samples": [{{"time": {TEN_MS}, "values": {{"co2": 1}}}}]}}'
    samples, (rejection,) = decode_telemetry(payload.encode(), NOW)
    assert (samples, rejection.index) == ([], None)
    assert rejection.code in {"wrong_unit", "unknown_metric", "wrong_type"}
