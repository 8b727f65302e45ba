"""The catalogue: the contract's metrics, and bounds that refuse no measurement that was made."""

import csv
import struct
from collections.abc import Mapping
from typing import cast

import pytest

from app.catalogue.metrics import CATALOGUE, COLUMNS, INDEX, METRICS_BY_NAME, Metric

CONTRACT = (
    "pm1 pm2_5 pm4 pm10 no no2 o3 so2 co co2 tvoc h2s nh3 hcho benzene temperature humidity pressure "
    "illuminance laeq lamax lcpeak la10 la50 la90 odour battery rssi"
)

# Lowest and highest of what was measured: the world's records, and what common instruments saturate at.
MEASURED: list[tuple[str, float, float]] = [
    ("pm2_5", 0.0, 999.9),
    ("pm10", 0.0, 15_400.0),
    ("temperature", -89.2, 80.0),
    ("humidity", 0.0, 100.0),
    ("pressure", 300.0, 1_084.8),
    ("illuminance", 0.0, 130_000.0),
    ("laeq", -24.9, 140.0),
    ("lcpeak", -20.0, 194.0),
    ("co2", 300.0, 40_000.0),
    ("tvoc", 0.0, 60_000.0),
    ("h2s", 0.0, 2_000_000.0),
    ("battery", 0.0, 100.0),
    ("rssi", -148.0, 0.0),
]

# What instruments send when they have nothing to say, or values in another unit.
NOT_MEASURED: list[tuple[str, float]] = [
    ("temperature", -127.0),
    ("temperature", 294.65),
    ("temperature", -999.0),
    ("humidity", 140.0),
    ("humidity", -1.0),
    ("pressure", 100_237.32),
    ("pressure", 0.0),
    ("pm2_5", -1.0),
    ("pm2_5", 65_535.0),
    ("pm10", 65_535.0),
    ("laeq", 655.35),
    ("battery", 255.0),
    ("rssi", 99.0),
]


def test_the_metrics_of_the_contract_come_first_and_in_order() -> None:
    assert " ".join(COLUMNS).startswith(CONTRACT)


def test_names_can_be_columns_and_keys() -> None:
    assert len(set(COLUMNS)) == len(COLUMNS)
    for position, metric in enumerate(CATALOGUE):
        assert metric.name.isidentifier()
        assert metric.name == metric.name.lower()
        assert METRICS_BY_NAME[metric.name] is metric
        assert INDEX[metric.name] == position


def test_the_catalogue_cannot_be_changed() -> None:
    with pytest.raises(TypeError):
        cast("dict[str, Metric]", METRICS_BY_NAME)["warp"] = CATALOGUE[0]
    assert isinstance(METRICS_BY_NAME, Mapping)


@pytest.mark.parametrize("metric", CATALOGUE, ids=COLUMNS)
def test_an_entry_is_complete(metric: Metric) -> None:
    assert metric.unit
    assert metric.description
    assert metric.description_fr
    assert metric.minimum < metric.maximum
    assert len(metric.since) == 4
    assert (metric.kind == "level") == (metric.unit == "dB")


@pytest.mark.parametrize(("name", "lowest", "highest"), MEASURED)
def test_what_was_measured_is_within_bounds(name: str, lowest: float, highest: float) -> None:
    assert METRICS_BY_NAME[name].minimum <= lowest
    assert highest <= METRICS_BY_NAME[name].maximum


@pytest.mark.parametrize(("name", "value"), NOT_MEASURED)
def test_what_no_instrument_measured_is_outside(name: str, value: float) -> None:
    assert not METRICS_BY_NAME[name].minimum <= value <= METRICS_BY_NAME[name].maximum


def test_six_digits_survive_in_a_real_and_pressure_needs_more() -> None:
    def stored(value: float) -> float:
        return float(struct.unpack("f", struct.pack("f", value))[0])

    for text in ("12.4", "58.31", "101.325", "-40.125", "99999.5"):
        assert float(f"{stored(float(text)):.6g}") == float(f"{float(text):.6g}")
    assert f"{stored(1030.1004):.8g}" != "1030.1004"
    assert METRICS_BY_NAME["pressure"].storage == "double precision"
    assert {metric.storage for metric in CATALOGUE if metric.name != "pressure"} == {"real"}


def test_a_day_of_a_real_station_is_within_bounds() -> None:
    # Sensor.Community, Aberdeen, 12 March 2019 (ODbL/DbCL): the header and rows of two of its files.
    files = {
        "dht22": "temperature;humidity\n6.10;99.90\n6.00;99.90\n-3.20;25.90\n23.50;55.00",
        "sds011": "P1;P2\n23.03;4.77\n188.50;93.53\n0.00;0.00",
    }
    columns = {"temperature": "temperature", "humidity": "humidity", "P1": "pm10", "P2": "pm2_5"}
    for text in files.values():
        for row in csv.DictReader(text.splitlines(), delimiter=";"):
            for key, value in row.items():
                metric = METRICS_BY_NAME[columns[key]]
                assert metric.minimum <= float(value) <= metric.maximum
