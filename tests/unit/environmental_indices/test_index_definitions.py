"""How methods are asked for: all of them, where they belong, and which value is the worst."""

from dataclasses import replace
from datetime import date
from typing import get_args

import pytest

from app.environmental_indices import index_definitions
from app.environmental_indices.dust_mites import MITE_BANDS, MITES
from app.environmental_indices.index_definitions import INDEX_DEFINITIONS, worst_sort_key
from app.environmental_indices.index_results import build_result
from app.environmental_indices.indoor_comfort import (
    LIGHT_NEEDS,
    Season,
    compute_light,
    compute_thermal_comfort,
)
from app.environmental_indices.method_registry import METHODS
from app.environmental_indices.mould_risk import SENSITIVITIES
from app.environmental_indices.noise_levels import DAY_PARTS
from app.environmental_indices.odour_hours import ODOUR_HOUR_LIMITS
from app.environmental_indices.period_selection import TimePeriod
from app.environmental_indices.site_surroundings import (
    country_of_timezone,
    is_computed_by_default,
    season_of,
)
from tests.unit.environmental_indices.build import constant, us

HOUR = TimePeriod(us("2026-03-29T10:00"), us("2026-03-29T11:00"))


def test_every_method_can_be_asked_for() -> None:
    assert {name: figure.method for name, figure in INDEX_DEFINITIONS.items()} == dict(METHODS)
    # One that reads samples has to be of a metric of its own.
    assert all(
        len(each.method.metrics) == 1 for each in INDEX_DEFINITIONS.values() if each.source == "samples"
    )


def test_what_can_be_chosen_is_what_there_is() -> None:
    for said, there in (
        (index_definitions.NoiseCountry, DAY_PARTS),
        (index_definitions.RoomUse, LIGHT_NEEDS),
        (index_definitions.MouldMaterial, SENSITIVITIES),
        (index_definitions.OdourArea, ODOUR_HOUR_LIMITS),
    ):
        assert set(get_args(said.__value__)) == set(there)


@pytest.mark.parametrize(
    ("kinds", "wanted"),
    [
        ((None, "street"), [True, False]),
        ((None, "office"), [False, True]),
        (("office", "street"), [False, True]),
        # A word of one's own says nothing: the site's does.
        (("lobby", "street"), [True, False]),
        ((None, "airport"), [True, True]),
    ],
)
def test_a_place_has_the_figures_of_its_kind(kinds: tuple[str | None, str], wanted: list[bool]) -> None:
    found = [
        is_computed_by_default(INDEX_DEFINITIONS[name], kinds, "FR")
        for name in ("eaqi", "indoor-co2", "leq", "who-year")
    ]
    assert found == [*wanted, True, False]
    assert not is_computed_by_default(INDEX_DEFINITIONS["atmo"], kinds, "DE")


def test_countries_and_seasons_follow_from_where_a_place_is() -> None:
    zones = ("Europe/Paris", "Indian/Reunion", "Europe/Berlin", "Europe/Madrid", "UTC")
    assert [country_of_timezone(zone) for zone in zones] == ["FR", "FR", "DE", "EU", "EU"]
    months = {
        latitude: [month for month in range(1, 13) if season_of(date(2026, month, 15), latitude) == "heating"]
        for latitude in (48.0, -34.0, 5.0)
    }
    assert months == {48.0: [1, 2, 3, 4, 10, 11, 12], -34.0: [4, 5, 6, 7, 8, 9, 10], 5.0: []}


def test_the_worst_is_the_darkest_and_the_least_comfortable() -> None:
    dark, bright = (compute_light(constant(*HOUR, lux), HOUR, "writing") for lux in (100.0, 900.0))
    assert worst_sort_key(dark) > worst_sort_key(bright)
    season: Season = "heating"
    fine, cold, hot = (
        compute_thermal_comfort(constant(*HOUR, degrees), HOUR, season) for degrees in (22, 15, 30)
    )
    assert worst_sort_key(fine) < worst_sort_key(cold) == worst_sort_key(hot)
    mites = build_result(MITES, HOUR, 40.0, 100.0, band=MITE_BANDS[1])
    dry = replace(mites, value=60.0, band=MITE_BANDS[0])
    assert worst_sort_key(dry) < worst_sort_key(mites) < worst_sort_key(replace(mites, value=41.0))
