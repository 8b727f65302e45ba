"""SenML: the examples of RFC 8428 (section 5.1), its rules, and what is refused of it."""

import json
from typing import Any

import pytest

from app.catalogue import senml_units
from app.catalogue.metrics import CATALOGUE, Metric
from app.catalogue.senml_units import BY_UNIT, CONVERSIONS
from app.ingest.adapters.senml_adapter import decode_pack
from app.platform.kernel.instants import format_us, parse_rfc3339
from app.platform.kernel.rejection_codes import RejectedError
from tests.unit.ingest.adapters.arrivals import NOW, arrival, code_of, refusals, samples

BOX = "10e2073a01080063"
AT = NOW / 1e6


def pack(*records: Any) -> bytes:  # noqa: ANN401 (records, good and bad)
    return json.dumps(list(records)).encode()


# The figures and names of the following packs are those of RFC 8428, section 5.1.


def test_rfc_a_single_data_point() -> None:
    payload = b'[{"n":"urn:dev:ow:10e2073a01080063","u":"Cel","v":23.1}]'
    for box in (BOX, None):
        adapted = decode_pack(payload, arrival(box))
        expected = {"box": BOX, "time": format_us(NOW), "values": {"temperature": 23.1}}
        assert samples(adapted) == [expected]


def test_rfc_multiple_data_points_that_no_metric_is_for() -> None:
    payload = b"""[{"bn":"urn:dev:ow:10e2073a01080063:","n":"voltage","u":"V","v":120.1},
                   {"n":"current","u":"A","v":1.2}]"""
    adapted = decode_pack(payload, arrival(BOX))
    assert samples(adapted) == []
    assert refusals(adapted) == [(0, BOX, "unknown_metric"), (1, BOX, "unknown_metric")]


def test_rfc_multiple_measurements_over_time() -> None:
    payload = b"""[{"bn":"urn:dev:ow:10e2073a01080063","bt":1.320067464e+09,"bu":"%RH","v":20},
        {"u":"lon","v":24.30621}, {"u":"lat","v":60.07965},
        {"t":60,"v":20.3}, {"u":"lon","t":60,"v":24.30622}, {"u":"lat","t":60,"v":60.07965},
        {"t":120,"v":20.7}, {"u":"lon","t":120,"v":24.30623}, {"u":"lat","t":120,"v":60.07966},
        {"u":"%EL","t":150,"v":98},
        {"t":180,"v":21.2}, {"u":"lon","t":180,"v":24.30628}, {"u":"lat","t":180,"v":60.07967}]"""
    adapted = decode_pack(payload, arrival(BOX))
    assert samples(adapted) == [
        {"box": BOX, "time": time, "values": values}
        for time, values in (
            ("2011-10-31T13:24:24Z", {"humidity": 20.0}),
            ("2011-10-31T13:25:24Z", {"humidity": 20.3}),
            ("2011-10-31T13:26:24Z", {"humidity": 20.7}),
            ("2011-10-31T13:26:54Z", {"battery": 98.0}),
            ("2011-10-31T13:27:24Z", {"humidity": 21.2}),
        )
    ]
    assert [code for *_, code in refusals(adapted)] == ["unknown_metric"] * 8


def test_rfc_multiple_data_types() -> None:
    payload = b"""[{"bn":"urn:dev:ow:10e2073a01080063:","n":"temp","u":"Cel","v":23.1},
        {"n":"label","vs":"Machine Room"}, {"n":"open","vb":false}, {"n":"nfc-reader","vd":"aGkgCg"}]"""
    adapted = decode_pack(payload, arrival(BOX))
    assert samples(adapted) == []
    assert [index for index, *_ in refusals(adapted)] == [0, 1, 2, 3]
    # Under the name of a metric, they are what the metric is not.
    for record in ({"vs": "Machine Room"}, {"vb": False}, {"vd": "aGkgCg"}, {"s": 3}):
        good = {"bn": f"{BOX}:", "n": "humidity", "v": 30}
        adapted = decode_pack(pack(good, {"n": "temperature", **record}), arrival(BOX))
        assert refusals(adapted) == [(1, BOX, "wrong_type")]
        assert len(adapted.samples) == 1


def test_rfc_a_collection_of_resources() -> None:
    payload = b"""[{"bn":"2001:db8::2/","bt":1.320078429e+09,"n":"temperature","u":"Cel","v":25.2},
        {"n":"humidity","u":"%RH","v":30},
        {"bn":"2001:db8::1/","n":"temperature","u":"Cel","v":12.3}, {"n":"humidity","u":"%RH","v":67}]"""
    expected = [
        {"box": "2", "time": "2011-10-31T16:27:09Z", "values": {"temperature": 25.2, "humidity": 30.0}},
        {"box": "1", "time": "2011-10-31T16:27:09Z", "values": {"temperature": 12.3, "humidity": 67.0}},
    ]
    assert samples(decode_pack(payload, arrival(None))) == expected
    # On the topic of one box, nothing of another is taken.
    adapted = decode_pack(payload, arrival("2"))
    assert samples(adapted) == expected[:1]
    assert refusals(adapted) == [(2, "2", "invalid_box_id"), (3, "2", "invalid_box_id")]


def test_records_of_one_time_are_one_sample() -> None:
    adapted = decode_pack(
        pack(
            {"bn": "box-0001:", "bt": 1_795_514_400, "n": "pm2_5", "u": "ug/m3", "v": 12.4},
            {"n": "temperature", "u": "Cel", "v": 21.5},
            {"n": "pressure", "u": "Pa", "v": 100_237.32},
            {"n": "pm2_5", "u": "ug/m3", "t": -1, "v": 12},
            {"n": "temperature", "u": "Cel", "v": 21.5},
        ),
        arrival(),
    )
    assert samples(adapted) == [
        {
            "box": "box-0001",
            "time": "2026-11-24T10:00:00Z",
            "values": {"pm2_5": 12.4, "temperature": 21.5, "pressure": 1002.3732},
        },
        {"box": "box-0001", "time": "2026-11-24T09:59:59Z", "values": {"pm2_5": 12.0}},
    ]
    assert adapted.refusals == []


def test_a_second_value_of_one_time_is_a_sample_in_conflict() -> None:
    values = [{"n": "co2", "t": 1_795_514_400, "v": value} for value in (400, 401, 400)]
    taken = samples(decode_pack(pack(*values, {"n": "pm1", "t": 1_795_514_400, "v": 1}), arrival()))
    assert [sample["values"] for sample in taken] == [{"co2": 400.0}, {"co2": 401.0, "pm1": 1.0}]


@pytest.mark.parametrize(
    ("metric", "unit", "value", "taken"),
    [
        ("temperature", "K", 296.25, 23.1),
        ("temperature", "Cel", -12.5, -12.5),
        ("humidity", "%RH", 41, 41),
        ("pressure", "hPa", 1013.25, 1013.25),
        ("pressure", "Pa", 101_325, 1013.25),
        ("illuminance", "lx", 800, 800),
        ("laeq", "dB", 58.3, 58.3),
        ("laeq", "Bspl", 5.83, 58.3),
        ("rssi", "dBm", -67, -67),
        ("rssi", "dBW", -97, -67),
        ("battery", "%EL", 87, 87),
        ("battery", "/", 0.87, 87),
        ("co2", "ppm", 612, 612),
        ("tvoc", "ppm", 0.25, 250),
        ("pm10", "ug/m3", 18.2, 18.2),
        ("pm10", "kg/m3", 1.82e-8, 18.2),
        ("co", "ug/m3", 400, 0.4),
        ("odour", None, 12, 12),
    ],
)
def test_units_become_those_of_the_catalogue(
    metric: str, unit: str | None, value: float, taken: float
) -> None:
    record = {"n": metric, "t": AT, "v": value} | ({} if unit is None else {"u": unit})
    assert samples(decode_pack(pack(record), arrival()))[0]["values"] == {metric: taken}


def test_a_metric_in_a_unit_without_conversions_is_taken_without_a_unit(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    radon = Metric("radon", "Bq/m³", "Radon", "Radon", 0, 1_000_000)
    monkeypatch.setattr(senml_units, "CATALOGUE", (*CATALOGUE, radon))
    monkeypatch.setattr(senml_units, "METRICS_BY_NAME", {"radon": radon})
    assert senml_units._only() == BY_UNIT
    assert senml_units.find_conversion("radon", None) == senml_units.UnitConversion()
    with pytest.raises(RejectedError) as caught:
        senml_units.find_conversion("radon", "Bq")
    assert caught.value.code == "wrong_unit"


def test_every_unit_of_the_catalogue_has_its_conversions() -> None:
    assert {metric.unit for metric in CATALOGUE} == set(CONVERSIONS)
    assert BY_UNIT == {
        "Cel": "temperature",
        "K": "temperature",
        "%RH": "humidity",
        "hPa": "pressure",
        "Pa": "pressure",
        "lx": "illuminance",
        "dBm": "rssi",
        "dBW": "rssi",
        "%EL": "battery",
        "%": "battery",
        "/100": "battery",
    }


@pytest.mark.parametrize(
    ("times", "time"),
    [
        ({}, format_us(NOW)),
        ({"t": -5}, "2026-11-24T10:00:00Z"),
        ({"t": 0.5}, "2026-11-24T10:00:05.500Z"),
        ({"bt": -60, "t": -5}, "2026-11-24T09:59:00Z"),
        ({"bt": 1_795_514_400, "t": 2.25}, "2026-11-24T10:00:02.250Z"),
        ({"bt": 1.276020076001e09}, "2010-06-08T18:01:16.001Z"),
        ({"t": 1_795_514_400}, "2026-11-24T10:00:00Z"),
        ({"bt": 2**28 - 1, "t": 1_795_514_400 - 2**28 + 1}, "2026-11-24T10:00:00Z"),
    ],
)
def test_times(times: dict[str, float], time: str) -> None:
    adapted = decode_pack(pack({"n": "co2", "v": 400, **times}), arrival())
    assert [sample["time"] for sample in samples(adapted)] == [time]


@pytest.mark.parametrize(
    ("record", "code"),
    [
        ({"n": "co2"}, "missing_field"),
        ({"n": "co2", "v": True}, "wrong_type"),
        ({"n": "co2", "v": "400"}, "wrong_type"),
        ({"n": "co2", "v": None}, "wrong_type"),
        ({"n": "co2", "v": -1}, "value_out_of_bounds"),
        ({"n": "co2", "v": 2**53 + 1}, "integer_too_large"),
        ({"n": "co2", "u": "Cel", "v": 400}, "wrong_unit"),
        ({"n": "odour", "u": "ppm", "v": 400}, "wrong_unit"),
        ({"n": "co2", "u": 1, "v": 400}, "wrong_type"),
        ({"n": 1, "v": 400}, "wrong_type"),
        ({"n": "warp", "v": 400}, "unknown_metric"),
        ({"n": "", "v": 400}, "unknown_metric"),
        ({"n": "", "u": "dB", "v": 40}, "unknown_metric"),
        ({"n": "box-0002:co2", "v": 400}, "invalid_box_id"),
        ({"n": "co2 ", "v": 400}, "invalid_text"),
        ({"n": "-co2", "v": 400}, "invalid_text"),
        ({"n": "co2\0", "v": 400}, "nul_in_text"),
        ({"n": "c" * 256, "v": 400}, "text_too_long"),
        ({"n": "co2", "t": "now", "v": 400}, "wrong_type"),
        ({"n": "co2", "t": True, "v": 400}, "wrong_type"),
        ({"n": "co2", "t": 601, "v": 400}, "time_in_future"),
        ({"n": "co2", "t": 1_795_600_000, "v": 400}, "time_in_future"),
        ({"n": "co2", "t": 1_795_514_400_000, "v": 400}, "time_out_of_range"),
        ({"n": "co2", "t": 511_795_514_400, "v": 400}, "time_out_of_range"),
        ({"n": "co2", "t": 1e300, "v": 400}, "time_out_of_range"),
        ({"n": "co2", "t": -1e300, "v": 400}, "time_out_of_range"),
        ({"n": "co2", "t": -2_000_000_000, "v": 400}, "time_out_of_range"),
        ({"n": "co2", "t": 300_000_000, "v": 400}, "time_out_of_range"),
        ({"n": "co2", "v": 400, "must_": 1}, "unknown_field"),
        (7, "wrong_type"),
        (None, "wrong_type"),
    ],
)
def test_a_bad_record_is_refused_alone(record: Any, code: str) -> None:  # noqa: ANN401 (good and bad ones)
    good = {"n": "pm1", "t": AT, "v": 1}
    adapted = decode_pack(pack(good, record, good | {"n": "pm10"}), arrival())
    assert refusals(adapted) == [(1, "box-0001", code)]
    assert [sample["values"] for sample in samples(adapted)] == [{"pm1": 1.0, "pm10": 1.0}]
    part = adapted.refusals[0].part
    assert part is not None
    assert code_of(decode_pack, part, arrival()) == code


@pytest.mark.parametrize(
    ("payload", "code"),
    [
        (b"", "empty_body"),
        (b"[", "invalid_json"),
        (b'[{"n":"co2","v":NaN}]', "invalid_json"),
        (b'[{"n":"co2","n":"co2","v":1}]', "duplicate_key"),
        (b'[{"n":"co2","v":1e400}]', "number_out_of_range"),
        (b"[" * 100_000, "nesting_too_deep"),
        (b"\xef\xbb\xbf[]", "invalid_encoding"),
        (b"[]", "empty_batch"),
        (b'"x"', "wrong_type"),
        (pack({"bt": "now", "n": "co2", "v": 1}), "wrong_type"),
        (pack({"n": "co2", "v": 1}, {"bn": 7}), "wrong_type"),
        (pack({"n": "co2", "v": 1}, {"bv": True}), "wrong_type"),
        (pack({"bver": 11, "n": "co2", "v": 1}), "value_out_of_bounds"),
        (pack({"bver": "10", "n": "co2", "v": 1}), "wrong_type"),
        (pack(*({"n": "co2", "v": 1} for _ in range(5_001))), "too_many_samples"),
        (pack(*({"n": "co2", "v": 1, "t": -index} for index in range(1_001))), "too_many_samples"),
    ],
)
def test_a_pack_that_cannot_be_read_is_refused_whole(payload: bytes, code: str) -> None:
    assert code_of(decode_pack, payload, arrival()) == code


def test_base_values_and_labels_that_need_not_be_understood() -> None:
    adapted = decode_pack(
        pack({"bn": "box-0001/", "bv": 400, "n": "co2", "v": 12, "ut": 5, "x": []}, {"n": "pm1", "bver": 5}),
        arrival(),
    )
    assert samples(adapted)[0]["values"] == {"co2": 412.0, "pm1": 400.0}


def test_without_a_topic_the_name_says_which_box() -> None:
    named = {"n": "urn:dev:mac:0024befffe804ff1:co2", "v": 400}
    adapted = decode_pack(pack(named, {"n": "co2", "v": 1}, {"n": "a.b:co2", "v": 1}), arrival(None))
    assert [sample["box"] for sample in samples(adapted)] == ["0024befffe804ff1"]
    assert refusals(adapted) == [(1, None, "missing_field"), (2, None, "invalid_box_id")]


def test_a_refused_record_sent_again_later_keeps_its_time() -> None:
    adapted = decode_pack(pack({"bt": -60, "n": "warp", "v": 1}), arrival())
    part = adapted.refusals[0].part
    assert part is not None
    record = json.loads(part.replace(b"warp", b"co2"))
    later = decode_pack(pack(*record), arrival(now_us=NOW + 3_600_000_000))
    assert samples(later)[0]["time"] == format_us(parse_rfc3339("2026-11-24T09:59:05Z"))


def test_vigies_own_json_is_taken_on_the_same_topic() -> None:
    sample = {"time": 1_795_514_400_000, "values": {"co2": 612}}
    assert samples(decode_pack(json.dumps(sample).encode(), arrival()))[0]["values"] == {"co2": 612.0}
    with pytest.raises(RejectedError, match="wrong_type"):
        decode_pack(json.dumps(sample).encode(), arrival(None))


@pytest.mark.parametrize("unit", ["K", "Cel"])
def test_a_sum_past_what_a_double_holds_is_refused_like_any_other_value(unit: str) -> None:
    largest = 17 * 10**307
    record = {"n": f"{BOX}:temperature", "u": unit, "bv": largest, "v": largest}
    for box in (BOX, None):
        adapted = decode_pack(pack(record), arrival(box))
        assert samples(adapted) == []
        assert refusals(adapted)[0][2] in {"number_out_of_range", "integer_too_large"}


@pytest.mark.parametrize(
    ("metric", "unit", "value", "stored"),
    [
        ("no2", "ppb", 40, 76.49932),
        ("no2", "ppm", 0.04, 76.49932),
        ("no2", "/", 4e-8, 76.49932),
        ("co", "ppb", 300, 0.3493228),
        ("nh3", "ug/m3", 10, 14.12431),
        ("nh3", "kg/m3", 1e-8, 14.12431),
        ("h2s", "ppb", 7, 7),
    ],
)
def test_gases_are_converted_between_mass_and_volume(
    metric: str, unit: str, value: float, stored: float
) -> None:
    (sample,) = samples(
        decode_pack(json.dumps([{"n": metric, "t": NOW / 1e6, "u": unit, "v": value}]).encode(), arrival())
    )
    assert sample["values"][metric] == pytest.approx(stored, rel=1e-6)


@pytest.mark.parametrize(("metric", "unit"), [("tvoc", "ug/m3"), ("pm1", "ppb")])
def test_what_is_no_gas_is_not_converted(metric: str, unit: str) -> None:
    adapted = decode_pack(json.dumps([{"n": metric, "u": unit, "v": 1}]).encode(), arrival())
    assert [each.rejection.code for each in adapted.refusals] == ["wrong_unit"]
