"""The synthetic city's values: bounds, repeatability, days and weeks, what hangs together."""

from datetime import datetime
from itertools import pairwise
from zoneinfo import ZoneInfo

import pytest

from app.catalogue.metrics import METRICS_BY_NAME
from simulators.seeded_random import derive_key, draw_drift, draw_uniform
from simulators.synthetic_values import (
    SITE_KINDS,
    RecurringEpisode,
    SyntheticBox,
    list_metrics,
    measure_values,
)

ZONE = ZoneInfo("Europe/Paris")


def box(kind: str, number: int = 1, episodes: tuple[RecurringEpisode, ...] = ()) -> SyntheticBox:
    return SyntheticBox(f"{kind}-{number}", kind, 7, 1.44, 43.6, ZONE, episodes)


def at(text: str) -> float:
    return datetime.fromisoformat(text).replace(tzinfo=ZONE).timestamp()


def mean(kind: str, metric: str, days: list[str], hour: int) -> float:
    values = [
        measure_values(box(kind, n), at(f"{day}T{hour:02}:{m}0:00"))[metric]
        for day in days
        for n in (1, 2)
        for m in "024"
    ]
    return sum(values) / len(values)


WEEKDAYS = ["2026-11-23", "2026-11-24", "2026-11-25", "2026-11-26", "2026-11-27"]
WEEKEND = ["2026-11-21", "2026-11-22", "2026-11-28", "2026-11-29"]


def test_the_kinds_together_measure_the_whole_catalogue() -> None:
    assert frozenset().union(*(list_metrics(kind) for kind in SITE_KINDS)) == METRICS_BY_NAME.keys()


@pytest.mark.parametrize("kind", list(SITE_KINDS))
def test_a_year_stays_within_bounds(kind: str) -> None:
    for step in range(3_000):
        for metric, value in measure_values(box(kind), 1_767_225_600 + step * 10_519.0).items():
            assert METRICS_BY_NAME[metric].minimum <= value <= METRICS_BY_NAME[metric].maximum, metric


def test_the_same_seed_box_and_time_give_the_same_values_in_any_order() -> None:
    times = [1.7e9 + 60 * n for n in range(20)]
    forwards = [measure_values(box("street"), time) for time in times]
    assert forwards == [measure_values(box("street"), time) for time in reversed(times)][::-1]
    assert forwards != [measure_values(box("street", 2), time) for time in times]


def test_the_rush_hour_is_louder_and_dirtier_than_the_night() -> None:
    for metric in ("no2", "co", "laeq", "benzene"):
        assert mean("street", metric, WEEKDAYS, 18) > mean("street", metric, WEEKDAYS, 3), metric


def test_people_are_in_the_office_on_weekdays_only() -> None:
    assert mean("office", "co2", WEEKDAYS, 11) > mean("office", "co2", WEEKEND, 11) + 150
    assert mean("office", "illuminance", WEEKDAYS, 10) > mean("office", "illuminance", WEEKEND, 10)


def test_the_sun_makes_ozone_light_and_warmth() -> None:
    noon, night = at("2026-07-18T14:00:00"), at("2026-07-18T03:00:00")
    day, dark = measure_values(box("airport"), noon), measure_values(box("airport"), night)
    assert day["illuminance"] > 2_000 > dark["illuminance"]
    assert day["o3"] > dark["o3"]
    assert day["temperature"] > dark["temperature"]
    assert day["humidity"] < dark["humidity"]


@pytest.mark.parametrize("kind", list(SITE_KINDS))
def test_fractions_and_levels_keep_their_order(kind: str) -> None:
    for step in range(500):
        values = measure_values(box(kind), 1.76e9 + step * 1_801)
        assert values["pm1"] <= values["pm2_5"] <= values["pm4"] <= values["pm10"]
        assert values["la90"] <= values["la50"] <= values["laeq"] <= values["la10"] <= values["lamax"]
        assert values["lamax"] < values["lcpeak"]


def test_an_episode_comes_again_and_again() -> None:
    episode = RecurringEpisode("co2", 600, every_s=300, lasts_s=100, after_s=30)
    assert episode.at(29) == 0
    assert episode.at(30 + 50) == 600
    assert episode.at(30 + 50 + 3_000) == 600
    assert episode.at(30 + 100) == 0
    assert 0 < episode.at(30 + 5) < 600
    quiet, busy = (
        measure_values(box("office"), 380.0),
        measure_values(box("office", episodes=(episode,)), 380.0),
    )
    assert busy["co2"] - quiet["co2"] == 600


def test_chance_is_even_and_drift_smooth() -> None:
    key = derive_key("a", 1)
    thrown = [draw_uniform(key, n) for n in range(10_000)]
    assert 0 <= min(thrown) < 0.01
    assert 0.99 < max(thrown) < 1
    assert abs(sum(thrown) / len(thrown) - 0.5) < 0.02
    steps = [draw_drift(key, n / 10, 60.0) for n in range(10_000)]
    assert all(-1 <= value <= 1 for value in steps)
    assert max(abs(b - a) for a, b in pairwise(steps)) < 0.01
