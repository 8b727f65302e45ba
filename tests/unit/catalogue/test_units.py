"""Units of values: what is accepted for each metric, and what it becomes."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.catalogue.metrics import CATALOGUE, METRICS_BY_NAME
from app.catalogue.units import FACTORS, MOLAR_MASSES, MOLAR_VOLUME_L, convert_to_metric_unit, get_unit_factor
from app.platform.kernel.rejection_codes import RejectedError

GASES = ("no", "no2", "o3", "so2", "co", "co2", "h2s", "nh3", "hcho", "benzene")


def test_the_molar_volume_is_that_of_20_degrees_and_1013_25_hpa() -> None:
    # 22.413 969 54 l/mol at 0 °C and 1013.25 hPa (CODATA 2018).
    assert pytest.approx(22.41396954 * 293.15 / 273.15, rel=1e-8) == MOLAR_VOLUME_L


@pytest.mark.parametrize(
    ("metric", "unit", "value", "stored"),
    [
        # The factors that European networks publish for 20 °C and 1013 hPa, to their three digits.
        ("no", "ppb", 1, 1.25),
        ("no2", "ppb", 1, 1.91),
        ("o3", "ppb", 1, 2.00),
        ("so2", "ppb", 1, 2.66),
        ("co", "ppm", 1, 1.16),
        ("benzene", "ppb", 1, 3.25),
        ("no2", "ppm", 0.001, 1.91),
        ("h2s", "µg/m³", 1.417, 1.00),
        ("nh3", "mg/m³", 0.708, 1000),
        ("co", "µg/m³", 350, 0.35),
        ("tvoc", "ppm", 0.4, 400),
        ("pm2_5", "mg/m³", 0.0124, 12.4),
    ],
)
def test_known_conversions(metric: str, unit: str, value: float, stored: float) -> None:
    assert convert_to_metric_unit(value, get_unit_factor(metric, unit)) == pytest.approx(stored, rel=4e-3)


@pytest.mark.parametrize("unit", ["ug/m3", "µg/m3", "\u03bcg/m³", "\u03bcg/m3"])
def test_other_spellings_are_the_same_unit(unit: str) -> None:
    assert get_unit_factor("h2s", unit) == get_unit_factor("h2s", "µg/m³")
    assert get_unit_factor("no2", unit) == 1


@pytest.mark.parametrize(
    ("metric", "unit"),
    [
        *(("no2", "ppt"), ("no2", ""), ("no2", "PPB"), ("tvoc", "µg/m³"), ("pm1", "ppb")),
        *(("temperature", "K"), ("laeq", "ppb")),
    ],
)
def test_what_has_no_conversion_is_refused_with_what_is_accepted(metric: str, unit: str) -> None:
    with pytest.raises(RejectedError) as caught:
        get_unit_factor(metric, unit)
    assert caught.value.code == "wrong_unit"
    assert METRICS_BY_NAME[metric].unit in caught.value.detail


def test_every_gas_comes_in_four_units_and_every_metric_in_its_own() -> None:
    assert set(MOLAR_MASSES) == set(GASES)
    for metric in CATALOGUE:
        assert next(iter(FACTORS[metric.name].items())) == (metric.unit, 1)
        if metric.name in GASES:
            assert set(FACTORS[metric.name]) == {"ppb", "ppm", "µg/m³", "mg/m³"}


@given(st.sampled_from(GASES), st.floats(0.01, 1e6))
def test_a_value_there_and_back_is_the_same(metric: str, value: float) -> None:
    """From each unit to each other and back by the factors that are published."""
    for unit in FACTORS[metric]:
        stored = convert_to_metric_unit(value, get_unit_factor(metric, unit))
        assert stored / get_unit_factor(metric, unit) == pytest.approx(
            value, rel=1e-6, abs=6e-10 / FACTORS[metric][unit]
        )


@given(st.sampled_from(GASES), st.floats(0.01, 1e6))
def test_a_thousand_ppb_are_a_ppm(metric: str, value: float) -> None:
    for small, large in (("ppb", "ppm"), ("µg/m³", "mg/m³")):
        one, other = (
            convert_to_metric_unit(each, get_unit_factor(metric, unit))
            for each, unit in ((value * 1000, small), (value, large))
        )
        assert one == pytest.approx(other, rel=1e-9, abs=2e-9)
