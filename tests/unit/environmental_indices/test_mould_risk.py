"""The VTT model: critical humidity, growth by hand, decline, bands, gaps."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.environmental_indices.index_results import IndexResult
from app.environmental_indices.mould_risk import (
    MOULD_SCALE,
    SENSITIVITIES,
    advance_mould_index,
    compute_mould_index,
    critical_humidity,
)
from app.environmental_indices.period_selection import TimePeriod
from app.platform.kernel.instants import HOUR_US
from tests.unit.environmental_indices.build import constant, hourly, step_of, us

START = us("2025-01-01T00:00")
PINE = SENSITIVITIES["very_sensitive"]
VTT = "Hukka and Viitanen (1999)"


def after(hours: int, warm: float, damp: float, **more: float) -> IndexResult:
    period = TimePeriod(START, START + hours * HOUR_US)
    return compute_mould_index(constant(*period, warm), constant(*period, damp), period, **more)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("celsius", "critical"),
    # The polynomial by hand.
    [
        (0.0, 100.0),
        (5.0, 88.01625),
        (10.0, 82.03),
        (15.0, 80.03875),
        (20.0, 80.04),
        (20.0001, 80.0),
        (30.0, 80.0),
    ],
)
def test_critical_humidity(celsius: float, critical: float) -> None:
    assert critical_humidity(celsius) == pytest.approx(critical, abs=1e-9), VTT


def test_less_sensitive_materials_want_more() -> None:
    assert critical_humidity(25.0, SENSITIVITIES["resistant"].least_rh) == 85.0
    assert critical_humidity(2.0, 85.0) == critical_humidity(2.0) > 85.0


def test_the_first_hours_grow_as_by_hand() -> None:
    """At 22 °C and 90 %RH: x = 0.5, Mmax = 1 + 3.5 - 0.5 = 4, t = 7·exp(…) days for an index of one."""
    days = 7 * math.exp(-0.68 * math.log(22) - 13.9 * math.log(90) + 66.02)
    slowed = 1 - math.exp(2.3 * (0 - 4.0))
    index, dry_hours = advance_mould_index(0.0, 5, 22.0, 90.0, PINE)
    assert index == pytest.approx(slowed / days / 24), VTT
    assert dry_hours == 0
    # From an index of one on it grows at twice the pace.
    late = 2 * (1 - math.exp(2.3 * (1.0 - 4.0))) / days / 24
    assert advance_mould_index(1.0, 0, 22.0, 90.0, PINE)[0] == pytest.approx(1.0 + late)


def test_it_never_passes_the_highest_index_of_its_humidity() -> None:
    assert after(3 * 8_760, 22.0, 90.0).value == pytest.approx(4.0, abs=0.05)
    saturated = after(3 * 8_760, 28.0, 100.0).value
    assert saturated == pytest.approx(6.0, abs=0.01)


@pytest.mark.parametrize(
    ("warm", "damp", "grows"),
    [
        (25.0, 80.0, True),
        (25.0, 80.0 - step_of(80.0), False),
        (0.0, 100.0, False),
        (step_of(1.0), 100.0, True),
        (50.0, 95.0, False),
        (50.0 - step_of(50.0), 95.0, True),
        (10.0, 82.03, True),
        (10.0, 82.02, False),
    ],
)
def test_where_it_can_grow(warm: float, damp: float, grows: bool) -> None:  # noqa: FBT001 (a column)
    _, dry = advance_mould_index(0.5, 0, warm, damp, PINE)
    assert (dry == 0) is grows, VTT


@pytest.mark.parametrize(
    ("hours", "lost"),
    [
        (1, 0.032 / 24),
        (6, 6 * 0.032 / 24),
        (7, 6 * 0.032 / 24),
        (24, 6 * 0.032 / 24),
        (25, 0.008 + 0.016 / 24),
    ],
)
def test_decline(hours: int, lost: float) -> None:
    result = after(hours, 20.0, 50.0, begin=3.0)
    assert result.value == pytest.approx(3.0 - lost), VTT
    assert [part.value for part in result.components] == [3.0, 0.0, hours]


def test_it_goes_on_where_it_stopped() -> None:
    whole = after(100, 20.0, 60.0, begin=2.0)
    first = after(30, 20.0, 60.0, begin=2.0)
    assert first.value is not None
    period = TimePeriod(START + 30 * HOUR_US, START + 100 * HOUR_US)
    rest = compute_mould_index(
        constant(*period, 20.0), constant(*period, 60.0), period, begin=first.value, dry_hours=30
    )
    assert rest.value == pytest.approx(whole.value)
    assert after(10, 20.0, 60.0, begin=0.001).value == 0.0


@pytest.mark.parametrize(
    ("index", "band"),
    [
        (0.0, "none"),
        (1.0 - 1e-6, "none"),
        (1.0, "microscopic"),
        (3.0 - 1e-6, "microscopic"),
        (3.0, "visible"),
        (6.0, "visible"),
    ],
)
def test_bands(index: float, band: str) -> None:
    assert MOULD_SCALE.band(index).key == band, VTT


def test_hours_that_were_not_measured_stand_still() -> None:
    period = TimePeriod(START, START + 100 * HOUR_US)
    damp = np.full(100, 95.0)
    covered = np.full(100, 100.0)
    covered[10:35] = 50.0
    result = compute_mould_index(constant(*period, 22.0), hourly(START, damp, covered), period)
    assert result.coverage == 75.0
    assert result.value == pytest.approx(after(75, 22.0, 95.0).value)
    covered[9] = 50.0
    few = compute_mould_index(constant(*period, 22.0), hourly(START, damp, covered), period)
    assert (few.value, few.band, few.reason) == (None, None, "coverage_too_low")
    assert compute_mould_index(None, constant(*period, 95.0), period).reason == "metric_missing"


@settings(max_examples=30, deadline=None)
@given(
    st.sampled_from(sorted(SENSITIVITIES)),
    st.floats(-20, 60),
    st.floats(0, 100),
    st.floats(0, 6),
    st.integers(0, 99),
)
def test_an_index_stays_between_none_and_all(
    material: str, warm: float, damp: float, index: float, dry: int
) -> None:
    after_one, hours = advance_mould_index(index, dry, warm, damp, SENSITIVITIES[material])
    assert 0 <= after_one <= 6
    assert hours in {0, dry + 1}
