"""Odours: hysteresis, joins, least durations, gaps, doses; odour hours."""

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.environmental_indices.input_types import SampleSeries
from app.environmental_indices.odour_hours import (
    EpisodeCriteria,
    compute_odour_hours,
    find_odour_episodes,
    summarise_odour_episodes,
)
from app.environmental_indices.period_selection import TimePeriod
from app.platform.kernel.instants import HOUR_US
from tests.unit.environmental_indices.build import step_of, us

START = us("2025-06-02T10:00")
MINUTE_US = 60_000_000
TA_LUFT = "TA Luft 2021, Anhang 7"


def minutes(values: Sequence[float], start_us: int = START) -> SampleSeries:
    return SampleSeries.of(start_us + MINUTE_US * np.arange(len(values)), values, 60)


def spans(values: Sequence[float], rules: EpisodeCriteria) -> list[tuple[int, int]]:
    """The episodes in minutes after the first sample."""
    return [
        ((episode.start_us - START) // MINUTE_US, (episode.end_us - START) // MINUTE_US)
        for episode in find_odour_episodes(minutes(values), rules)
    ]


def test_it_begins_above_and_ends_at_or_below() -> None:
    rules = EpisodeCriteria(begin=5, clear=3, least_s=0, gap_s=0)
    step = step_of(3)
    assert spans([0, 5, 0], rules) == []
    assert spans([0, 5 + step_of(5), 0], rules) == [(1, 2)]
    # Between the two values nothing changes, whichever way it goes.
    assert spans([4, 6, 4, 3 + step, 4, 3, 4, 6, 2], rules) == [(1, 5), (7, 8)]


def test_what_an_episode_tells() -> None:
    rules = EpisodeCriteria(begin=5, clear=3, least_s=0, gap_s=0)
    (episode,) = find_odour_episodes(minutes([0, 6, 10, 8, 2]), rules)
    assert (episode.peak, episode.peak_us, episode.cleared) == (10, START + 2 * MINUTE_US, True)
    assert episode.mean == pytest.approx(8)
    assert episode.dose == pytest.approx(8 * 3 / 60)
    assert (episode.measured_s, episode.seconds) == (180, 180)


def test_short_gaps_are_joined_before_short_episodes_are_dropped() -> None:
    values = [6, 6, 2, 2, 6, 6, 2, 2, 2, 6]
    assert spans(values, EpisodeCriteria(5, 3, least_s=0, gap_s=0)) == [(0, 2), (4, 6), (9, 10)]
    assert spans(values, EpisodeCriteria(5, 3, least_s=0, gap_s=120)) == [(0, 6), (9, 10)]
    assert spans(values, EpisodeCriteria(5, 3, least_s=120, gap_s=120)) == [(0, 6)]
    assert spans(values, EpisodeCriteria(5, 3, least_s=361, gap_s=120)) == []
    assert spans(values, EpisodeCriteria(5, 3, least_s=361, gap_s=180)) == [(0, 10)]
    (joined,) = find_odour_episodes(minutes(values), EpisodeCriteria(5, 3, least_s=361, gap_s=180))
    # The pause counts in the mean: it was measured.
    assert joined.mean == pytest.approx(np.mean(values))


def test_an_episode_does_not_outlast_a_gap_in_the_data() -> None:
    times = START + MINUTE_US * np.array([0, 1, 2, 20, 21])
    samples = SampleSeries.of(times, [6.0, 6.0, 6.0, 6.0, 2.0], 60)
    first, second = find_odour_episodes(samples, EpisodeCriteria(5, 3, least_s=0, gap_s=600))
    assert (first.end_us, first.cleared) == (START + 3 * MINUTE_US, False)
    assert (second.start_us, second.cleared) == (START + 20 * MINUTE_US, True)
    # A gap that is no longer than what is joined is bridged, but adds nothing to what was measured.
    (bridged,) = find_odour_episodes(samples, EpisodeCriteria(5, 3, least_s=0, gap_s=17 * 60))
    assert (bridged.seconds, bridged.measured_s) == (21 * 60, 240)
    assert bridged.dose == pytest.approx(6 * 4 / 60)


def test_an_episode_that_goes_on_is_not_cleared() -> None:
    (episode,) = find_odour_episodes(minutes([0, 6, 6]), EpisodeCriteria(5, 3, least_s=0))
    assert (episode.end_us, episode.cleared) == (START + 3 * MINUTE_US, False)


@pytest.mark.parametrize("more", [{"clear": 6}, {"least_s": -1}, {"gap_s": -1}])
def test_rules_that_make_no_sense(more: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=r"episode|durations"):
        EpisodeCriteria(**{"begin": 5, "clear": 3, **more})


def test_a_summary_counts_and_needs_coverage() -> None:
    hour = TimePeriod(START, START + HOUR_US)
    values = [0.0] * 10 + [8.0] * 15 + [0.0] * 20
    result, episodes = summarise_odour_episodes(minutes(values), EpisodeCriteria(5, 3), hour)
    assert (result.value, result.coverage, len(episodes)) == (1, 75.0, 1)
    parts = {part.key: part.value for part in result.components}
    assert parts == {"duration": 900, "peak": 8, "dose": pytest.approx(2.0)}
    few, none = summarise_odour_episodes(minutes(values[:44]), EpisodeCriteria(5, 3), hour)
    assert (few.value, few.reason, none) == (None, "coverage_too_low", ())
    assert summarise_odour_episodes(minutes([]), EpisodeCriteria(5, 3), hour)[0].reason == "no_data"


@pytest.mark.parametrize(
    ("citation", "above", "smells"), [(TA_LUFT, 5, False), (TA_LUFT, 6, True), (TA_LUFT, 60, True)]
)
def test_an_odour_hour_is_a_tenth_of_it(citation: str, above: int, smells: bool) -> None:  # noqa: FBT001
    values = [1.0 + step_of(1.0)] * above + [1.0] * (60 - above)
    result = compute_odour_hours(minutes(values), TimePeriod(START, START + HOUR_US))
    assert result.value == (100.0 if smells else 0.0), citation


@pytest.mark.parametrize(
    ("citation", "area", "limit"),
    [(TA_LUFT, "residential", 10), (TA_LUFT, "commercial", 15), (TA_LUFT, "village", 15)],
)
def test_how_many_hours_may_smell(citation: str, area: str, limit: int) -> None:
    hundred = TimePeriod(START, START + 100 * HOUR_US)
    for smelling, exceeded in ((limit, False), (limit + 1, True)):
        values = [2.0] * (60 * smelling) + [0.0] * (60 * (100 - smelling))
        result = compute_odour_hours(minutes(values), hundred, area=area)
        assert (result.value, result.limit, result.exceeded) == (smelling, limit, exceeded), citation


def test_hours_that_are_not_covered_do_not_count() -> None:
    four = TimePeriod(START, START + 4 * HOUR_US)
    values = [2.0] * 60 + [0.0] * 120 + [2.0] * 44
    result = compute_odour_hours(minutes(values), four)
    assert result.value == pytest.approx(100 / 3)
    assert result.coverage == 75.0
    assert compute_odour_hours(minutes([*values, 2.0]), four).value == 50.0
    few = compute_odour_hours(minutes(values[:120]), four)
    assert (few.value, few.exceeded, few.reason) == (None, None, "coverage_too_low")


@settings(max_examples=50, deadline=None)
@given(
    st.lists(st.floats(0, 20), max_size=120),
    st.floats(1, 10),
    st.floats(0, 1),
    st.integers(0, 900),
    st.integers(0, 900),
)
def test_episodes_are_apart_long_enough_and_have_their_peak(
    values: list[float], begin: float, share: float, least: int, gap: int
) -> None:
    rules = EpisodeCriteria(begin, begin * share, least, gap)
    episodes = find_odour_episodes(minutes(values), rules)
    for episode in episodes:
        assert episode.seconds >= least
        assert begin < episode.peak
        assert episode.mean <= episode.peak + 1e-9
        assert episode.dose == pytest.approx(episode.mean * episode.measured_s / 3600)
    for before, after in pairwise(episodes):
        assert after.start_us - before.end_us > gap * 1_000_000
