"""Wilson's interval against tables of others, and shares of nothing."""

import math

import pytest

from app.sound_incidents.incident_statistics import IncidentStatistics, compute_wilson_interval


@pytest.mark.parametrize(("successes", "trials"), [(3, 4), (1, 10), (50, 100), (399, 400)])
def test_the_bounds_are_the_shares_that_would_just_be_rejected(successes: int, trials: int) -> None:
    """Wilson's definition: what was seen is 1.96 standard errors away, of the share itself."""
    bounds = compute_wilson_interval(successes, trials)
    assert bounds is not None
    low, high = bounds
    seen = successes / trials
    assert 0 < low < seen < high < 1
    for share in bounds:
        error = math.sqrt(share * (1 - share) / trials)
        assert abs(seen - share) / error == pytest.approx(1.959964, abs=1e-6)


def test_at_the_ends_the_interval_has_one_side() -> None:
    assert compute_wilson_interval(0, 10) == pytest.approx((0.0, 1.959964**2 / (10 + 1.959964**2)))
    assert compute_wilson_interval(10, 10) == pytest.approx((10 / (10 + 1.959964**2), 1.0))
    assert compute_wilson_interval(0, 0) is None


def test_of_nothing_there_is_no_share() -> None:
    nothing = IncidentStatistics(
        open=0, confirmed=0, dismissed=0, withdrawn=3, median_review_s=None, boxes=0, days=1.0
    )
    assert (nothing.precision, nothing.precision_interval) == (None, None)
    assert (nothing.unreviewed_share, nothing.false_alarms_per_box_day) == (None, None)
    some = IncidentStatistics(
        open=2, confirmed=6, dismissed=2, withdrawn=0, median_review_s=9.0, boxes=4, days=10.0
    )
    assert (some.precision, some.unreviewed_share, some.false_alarms_per_box_day) == (0.75, 0.2, 0.05)
