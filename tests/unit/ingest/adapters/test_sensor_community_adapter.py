"""The push of Sensor.Community's firmware: its own values, those it is known to mix in, and bad ones."""

import json
from typing import Any

import pytest

from app.catalogue.metrics import METRICS_BY_NAME
from app.ingest.adapters.sensor_community_adapter import ADAPTER, METRICS, decode_push
from app.platform.kernel.instants import format_us
from tests.unit.ingest.adapters.arrivals import NOW, arrival, code_of, refusals, samples

# Pushes as the firmware writes them (airRohr, opendata-stuttgart/sensors-software: `data_4_custom`): one of
# an SDS011 with a BME280, and one of an SDS011 with a DHT22.
BME280 = (
    b'{"esp8266id": "12331981", "software_version": "NRZ-2020-129", "sensordatavalues":['
    b'{"value_type":"SDS_P1","value":"0.40"},{"value_type":"SDS_P2","value":"0.20"},'
    b'{"value_type":"BME280_temperature","value":"20.47"},{"value_type":"BME280_pressure","value":"100613.25"},'
    b'{"value_type":"BME280_humidity","value":"69.02"},{"value_type":"samples","value":"4222662"},'
    b'{"value_type":"min_micro","value":"32"},{"value_type":"max_micro","value":"3301275"},'
    b'{"value_type":"signal","value":"-94"}]}'
)
DHT22 = (
    b'{"esp8266id": "15303512", "software_version": "NRZ-2024-135", "sensordatavalues":['
    b'{"value_type":"SDS_P1","value":"67.22"},{"value_type":"SDS_P2","value":"34.47"},'
    b'{"value_type":"temperature","value":"2.00"},{"value_type":"humidity","value":"38.40"},'
    b'{"value_type":"samples","value":"5403023"},{"value_type":"min_micro","value":"25"},'
    b'{"value_type":"max_micro","value":"73179"},{"value_type":"interval","value":"145000"},'
    b'{"value_type":"signal","value":"-70"}]}'
)


def push(*values: tuple[object, Any], **more: Any) -> bytes:  # noqa: ANN401 (values, good and bad)
    found = [{"value_type": kind, "value": value} for kind, value in values]
    return json.dumps({"esp8266id": "1", "sensordatavalues": found, **more}).encode()


def test_a_push_is_a_sample_of_the_time_of_its_arrival() -> None:
    adapted = decode_push(BME280, arrival("balcony"))
    values = {
        "pm2_5": 0.2,
        "pm10": 0.4,
        "temperature": 20.47,
        "humidity": 69.02,
        "pressure": 1006.1325,
        "rssi": -94.0,
    }
    assert samples(adapted) == [{"box": "balcony", "time": format_us(NOW), "values": values}]
    assert adapted.ignored == 3


def test_the_example_of_the_description_is_taken() -> None:
    (sample,) = samples(decode_push(json.dumps(ADAPTER.example).encode(), arrival(None)))
    assert sample["values"] == {"pm10": 12.3, "pm2_5": 7.1, "pressure": 1006.1325, "rssi": -70.0}


def test_without_an_account_of_the_box_the_chip_names_it() -> None:
    (sample,) = samples(decode_push(DHT22, arrival(None)))
    assert sample["box"] == "esp8266-15303512"
    assert sample["values"] == {
        "pm2_5": 34.47,
        "pm10": 67.22,
        "temperature": 2.0,
        "humidity": 38.4,
        "rssi": -70.0,
    }
    other = push(("SDS_P1", "1")).replace(b"esp8266id", b"esp32id")
    assert samples(decode_push(other, arrival(None)))[0]["box"] == "esp32-1"


def test_every_value_type_goes_to_its_metric() -> None:
    assert set(METRICS) <= set(METRICS_BY_NAME)
    kinds = [kind for found in METRICS.values() for kind in found]
    assert len(kinds) == len(set(kinds))
    for metric, found in METRICS.items():
        for kind in found:
            value = {"pressure": "101325", "rssi": "-71 dBm"}.get(metric, "12.50")
            expected = {"pressure": 1013.25, "rssi": -71.0}.get(metric, 12.5)
            assert samples(decode_push(push((kind, value)), arrival()))[0]["values"] == {metric: expected}


def test_of_several_sensors_the_first_of_the_list_counts() -> None:
    adapted = decode_push(
        push(("temperature", "19"), ("DS18B20_temperature", "18"), ("BME280_temperature", "20")), arrival()
    )
    assert samples(adapted)[0]["values"] == {"temperature": 20.0}
    assert adapted.ignored == 2


@pytest.mark.parametrize(
    ("payload", "code"),
    [
        (b"", "empty_body"),
        (b"{", "invalid_json"),
        (BME280 * 2, "invalid_json"),
        (b"[]", "wrong_type"),
        (b"{}", "missing_field"),
        (b'{"sensordatavalues": {}}', "wrong_type"),
        (b'{"sensordatavalues": [7]}', "wrong_type"),
        (b'{"sensordatavalues": [{"value": "1"}]}', "missing_field"),
        (b'{"sensordatavalues": [{"value_type": "SDS_P1"}]}', "missing_field"),
        (b'{"sensordatavalues": []}', "empty_values"),
        (push(("samples", "12"), ("P1", "900")), "empty_values"),
        (push(("SDS_P1", "1"), ("SDS_P1", "2")), "duplicate_key"),
        (push((1, "1")), "wrong_type"),
        (push(("S" * 65, "1")), "text_too_long"),
        (push(("SDS_P1\0", "1")), "nul_in_text"),
        (push(("SDS_P1", "nan")), "wrong_type"),
        (push(("SDS_P1", "1e3")), "wrong_type"),
        (push(("SDS_P1", "1" * 400)), "wrong_type"),
        (push(("SDS_P1", "")), "wrong_type"),
        (push(("SDS_P1", None)), "wrong_type"),
        (push(("SDS_P1", True)), "wrong_type"),
        (push(("SDS_P1", "-1.00")), "value_out_of_bounds"),
        (push(("BME280_pressure", "1013.25")), "value_out_of_bounds"),
        (push(*((f"x{index}", "1") for index in range(201))), "too_many_samples"),
    ],
)
def test_a_bad_push_is_refused_whole(payload: bytes, code: str) -> None:
    assert code_of(decode_push, payload, arrival()) == code


@pytest.mark.parametrize(
    ("chip", "code"), [(7, "wrong_type"), ("a+b", "invalid_box_id"), ("1" * 60, "invalid_box_id")]
)
def test_a_chip_that_names_no_box(chip: object, code: str) -> None:
    assert code_of(decode_push, push(("SDS_P1", "1"), esp8266id=chip), arrival(None)) == code


def test_a_push_that_names_nobody() -> None:
    assert code_of(decode_push, b'{"sensordatavalues": []}', arrival(None)) == "missing_field"


def test_a_refusal_names_the_box() -> None:
    assert refusals(decode_push(push(("SDS_P1", "-1")), arrival("balcony"))) == [
        (None, "balcony", "value_out_of_bounds")
    ]
