"""House-dust mites: the conditions of both species, and how days make a class."""

from datetime import date, timedelta
from zoneinfo import ZoneInfo

import numpy as np
import pytest

from app.environmental_indices.dust_mites import compute_mite_risk
from app.environmental_indices.index_results import IndexResult
from app.environmental_indices.input_types import HourlySeries
from app.environmental_indices.period_selection import local_day
from tests.unit.environmental_indices.build import hourly, step_of

PARIS = ZoneInfo("Europe/Paris")
# Over the change of the clocks: days of 24 and of 23 hours.
FIRST = date(2025, 3, 22)
ARLIAN = "Arlian et al. (1999)"
HASHIMOTO = "Hashimoto et al. (1993)"


def by_day(values: list[float]) -> HourlySeries:
    """Hourly means that give each day its mean."""
    found: list[float] = []
    for offset, value in enumerate(values):
        found += [value] * len(local_day(FIRST + timedelta(days=offset), PARIS).hours())
    return hourly(local_day(FIRST, PARIS).start_us, found)


def risk(warm: list[float], damp: list[float]) -> IndexResult:
    last = FIRST + timedelta(days=len(damp) - 1)
    return compute_mite_risk(by_day(warm), by_day(damp), FIRST, last, PARIS)


def part(result: IndexResult, key: str) -> float | None:
    return next(found.value for found in result.components if found.key == key)


@pytest.mark.parametrize(
    ("citation", "species", "warm", "damp", "thrives"),
    [
        (HASHIMOTO, "farinae", 22.5, 60.0, True),
        (HASHIMOTO, "farinae", 22.5 - step_of(22.5), 60.0, False),
        (HASHIMOTO, "farinae", 32.5, 60.0, True),
        (HASHIMOTO, "farinae", 32.5 + step_of(32.5), 60.0, False),
        (ARLIAN, "farinae", 25.0, 50.0, True),
        (ARLIAN, "farinae", 25.0, 50.0 - step_of(50.0), False),
        (HASHIMOTO, "pteronyssinus", 17.5, 80.0, True),
        (HASHIMOTO, "pteronyssinus", 17.5 - step_of(17.5), 80.0, False),
        (HASHIMOTO, "pteronyssinus", 32.5, 80.0, True),
        (HASHIMOTO, "pteronyssinus", 32.5 + step_of(32.5), 80.0, False),
        (HASHIMOTO, "pteronyssinus", 20.0, 75.0, False),
        (HASHIMOTO, "pteronyssinus", 20.0, 75.0 + step_of(75.0), True),
    ],
)
def test_what_each_species_wants(
    citation: str,
    species: str,
    warm: float,
    damp: float,
    thrives: bool,  # noqa: FBT001 (a column of the table)
) -> None:
    result = risk([warm] * 14, [damp] * 14)
    assert part(result, species) == (100.0 if thrives else 0.0), citation


@pytest.mark.parametrize(
    ("citation", "warm", "damp", "band", "share"),
    [
        (ARLIAN, 25.0, 50.0 - step_of(50.0), "controlled", 0.0),
        (ARLIAN, 25.0, 50.0, "favourable", 100.0),
        ("water balance from 65 %RH", 20.0, 65.0, "favourable", 100.0),
        ("water balance from 65 %RH", 20.0, 65.0 - step_of(65.0), "possible", 0.0),
        ("too cold", 15.0, 90.0, "possible", 0.0),
    ],
)
def test_classes(citation: str, warm: float, damp: float, band: str, share: float) -> None:
    result = risk([warm] * 14, [damp] * 14)
    assert (result.band and result.band.key, result.value) == (band, share), citation
    assert part(result, "dry") == (100.0 if damp < 50 else 0.0)


def test_half_of_the_days() -> None:
    for favouring, band in ((7, "favourable"), (6, "possible")):
        result = risk([20.0] * 14, [80.0] * favouring + [55.0] * (14 - favouring))
        assert (result.band and result.band.key) == band
        assert result.value == round(100 * favouring / 14, 2)


def test_dry_days_in_a_row_at_the_end() -> None:
    damp = [40.0] * 3 + [60.0] + [40.0] * 10
    result = risk([20.0] * 14, damp)
    assert (part(result, "dry_run"), part(result, "dry")) == (10, round(100 * 13 / 14, 2))
    assert part(result, "humidity") == pytest.approx(np.mean(damp))


def test_coverage() -> None:
    assert risk([20.0] * 13, [60.0] * 13).reason == "period_too_short"
    last = FIRST + timedelta(days=19)
    # Fifteen of twenty days are enough, of both.
    assert compute_mite_risk(by_day([20.0] * 20), by_day([60.0] * 15), FIRST, last, PARIS).coverage == 75.0
    few = compute_mite_risk(by_day([20.0] * 14), by_day([60.0] * 20), FIRST, last, PARIS)
    assert (few.value, few.coverage, few.reason) == (None, 70.0, "coverage_too_low")
    assert compute_mite_risk(None, by_day([60.0] * 20), FIRST, last, PARIS).reason == "metric_missing"
