"""ChirpStack's uplink event: its documentation's own example, decoded objects, and bad ones."""

import json
from typing import Any

import pytest

from app.ingest.adapters.chirpstack_adapter import decode_uplink
from tests.unit.ingest.adapters.arrivals import arrival, code_of, samples

EUI = "0101010101010101"
# The figures of the `up` event in ChirpStack's documentation (chirpstack-docs, integrations/events.md).
EVENT: dict[str, Any] = {
    "deduplicationId": "3ac7e3c4-4401-4b8d-9386-a5c902f9202d",
    "time": "2022-07-18T09:34:15.775023242+00:00",
    "deviceInfo": {
        "tenantId": "52f14cd4-c6f1-4fbd-8f87-4025e1d49242",
        "tenantName": "ChirpStack",
        "applicationId": "17c82e96-be03-4f38-aef3-f83d48582d97",
        "applicationName": "Test application",
        "deviceProfileId": "14855bf7-d10d-4aee-b618-ebfcb64dc7ad",
        "deviceProfileName": "Test device-profile",
        "deviceName": "Test device",
        "devEui": EUI,
        "tags": {"key": "value"},
    },
    "devAddr": "00189440",
    "dr": 1,
    "fPort": 1,
    "data": "qg==",
    "rxInfo": [
        {
            "gatewayId": "0016c001f153a14c",
            "uplinkId": 4217106255,
            "rssi": -36,
            "snr": 10.5,
            "context": "E3OWOQ==",
            "metadata": {"region_name": "eu868", "region_common_name": "EU868"},
        }
    ],
    "txInfo": {
        "frequency": 867100000,
        "modulation": {"lora": {"bandwidth": 125000, "spreadingFactor": 11, "codeRate": "CR_4_5"}},
    },
}
TIME = "2022-07-18T09:34:15.775023Z"


def event(decoded: object = None, **change: Any) -> bytes:  # noqa: ANN401 (fields, good and bad)
    extra = {} if decoded is None else {"object": decoded}
    return json.dumps({**EVENT, **extra, **change}).encode()


def values(decoded: object, **change: Any) -> dict[str, float]:  # noqa: ANN401 (as above)
    (sample,) = samples(decode_uplink(event(decoded, **change), arrival(EUI)))
    found: dict[str, float] = sample["values"]
    return found


def test_the_documented_event_has_a_signal_and_no_object() -> None:
    assert samples(decode_uplink(event(), arrival(EUI))) == [
        {"box": EUI, "time": TIME, "values": {"rssi": -36.0}}
    ]


def test_the_object_and_the_frame_counter_are_taken() -> None:
    adapted = decode_uplink(
        event({"temperature": 21.5, "humidity": 41, "battery_mv": 3012}, fCnt=1042), arrival(EUI)
    )
    assert samples(adapted) == [
        {
            "box": EUI,
            "time": TIME,
            "seq": 1042,
            "values": {"temperature": 21.5, "humidity": 41.0, "rssi": -36.0},
        }
    ]
    assert adapted.ignored == 1


def test_cayenne_lpp_as_chirpstack_decodes_it() -> None:
    # The names are those of ChirpStack's Cayenne LPP codec, the figures those of its downlink example.
    found = {"temperatureSensor": {"1": 25}, "humiditySensor": {"1": 32}}
    assert values(found) == {"temperature": 25.0, "humidity": 32.0, "rssi": -36.0}
    channels = {"temperatureSensor": {"10": 30, "2": 24.5}, "barometer": {"0": 1013.2}}
    adapted = decode_uplink(event({**channels, "digitalInput": {"3": 1}}), arrival(EUI))
    assert samples(adapted)[0]["values"] == {"temperature": 24.5, "pressure": 1013.2, "rssi": -36.0}
    assert adapted.ignored == 2


def test_metrics_are_found_at_any_depth_those_further_out_first() -> None:
    assert values({"air": {"co2": 612, "temperature": 3}, "temperature": 21}) == {
        "co2": 612.0,
        "temperature": 21.0,
        "rssi": -36.0,
    }
    assert values({"co2": {"value": 612, "unit": "ppm"}}) == {"co2": 612.0, "rssi": -36.0}
    assert values({"laeq": 58.3, "co2": None}) == {"laeq": 58.3, "rssi": -36.0}


def test_the_strongest_gateway_counts_unless_the_object_has_a_signal() -> None:
    heard = [{"rssi": -110}, {"rssi": -57}, {"rssi": "x"}, {"rssi": True}, {"rssi": 900}, {}, None]
    assert values({"co2": 1}, rxInfo=heard) == {"co2": 1.0, "rssi": -57.0}
    assert values({"co2": 1, "rssi": -99}) == {"co2": 1.0, "rssi": -99.0}
    assert values({"co2": 1}, rxInfo=[]) == {"co2": 1.0}
    assert values({"co2": 1}, rxInfo={"rssi": 1}) == {"co2": 1.0}


@pytest.mark.parametrize(
    ("payload", "code"),
    [
        (b"", "empty_body"),
        (event() * 2, "invalid_json"),
        (event().replace(b"-36", b"NaN"), "invalid_json"),
        (b"[]", "wrong_type"),
        (event(time=None), "wrong_type"),
        (event(time="2022-07-18T09:34:15"), "time_without_zone"),
        (event(time="2126-07-18T09:34:15Z"), "time_in_future"),
        (event(time=1_658_136_855), "time_out_of_range"),
        (
            json.dumps({**EVENT, "time": 0} | {"object": {}}).encode().replace(b'"time"', b'"at"'),
            "missing_field",
        ),
        (event(deviceInfo={"devEui": "0202020202020202"}), "invalid_box_id"),
        (event(deviceInfo={"devEui": 7}), "invalid_box_id"),
        (event(deviceInfo=[]), "wrong_type"),
        (event([1]), "wrong_type"),
        (event({"TempC": 21}), "unknown_metric"),
        (event({"temperature": "21.5"}), "wrong_type"),
        (event({"temperature": True}), "wrong_type"),
        (event({"temperature": [21]}), "wrong_type"),
        (event({"temperature": 2_150}), "value_out_of_bounds"),
        (event({"temperatureSensor": {"1": "x"}}), "wrong_type"),
        (event({}, rxInfo=[]), "empty_values"),
    ],
)
def test_a_bad_event_is_refused_whole(payload: bytes, code: str) -> None:
    assert code_of(decode_uplink, payload, arrival(EUI)) == code


def test_a_refusal_keeps_the_frame_counter() -> None:
    (refusal,) = decode_uplink(event({"temperature": 999}, fCnt=7), arrival(EUI)).refusals
    assert (refusal.box, refusal.rejection.seq) == (EUI, 7)


def test_a_device_written_in_capitals_is_the_same() -> None:
    payload = event(deviceInfo={"devEui": "0A0A0A0A0A0A0A0A"})
    assert samples(decode_uplink(payload, arrival("0a0a0a0a0a0a0a0a")))[0]["box"] == "0a0a0a0a0a0a0a0a"


def test_vigies_own_json_is_taken_on_the_same_topic() -> None:
    sample = {"time": 1_795_514_400_000, "values": {"co2": 612}}
    assert samples(decode_uplink(json.dumps(sample).encode(), arrival(EUI)))[0]["values"] == {"co2": 612.0}
