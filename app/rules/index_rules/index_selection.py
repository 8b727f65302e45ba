"""Describes which index a condition queries: method, period length and options. Pure.

It also lists the periods of a query; rules are evaluated at their ends. `app.environmental_indices` computes
the index.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import time
from typing import Any, Final, cast
from zoneinfo import ZoneInfo

from app.environmental_indices.index_definitions import (
    INDEX_DEFINITIONS,
    IndexDefinition,
    MethodOptions,
)
from app.environmental_indices.indoor_comfort import Season
from app.environmental_indices.noise_levels import DAY_PARTS
from app.environmental_indices.odour_hours import DETECTION_THRESHOLD
from app.environmental_indices.period_selection import (
    DatedPeriod,
    PeriodLength,
    find_last_complete_period,
    periods_ending_in,
)
from app.environmental_indices.site_surroundings import country_of_timezone, season_of

QUERY_CHOICES: Final = ("country", "season", "use", "material", "area", "odour")
"""The options of a query besides method, period and metric."""


@dataclass(frozen=True, slots=True)
class SiteLocality:
    """The time zone and latitude of a site (degrees)."""

    timezone: str
    latitude: float

    @property
    def zone(self) -> ZoneInfo:
        """The time zone object."""
        return ZoneInfo(self.timezone)


@dataclass(frozen=True, slots=True)
class IndexQuery:
    """An index that a condition queries. Conditions with equal queries share the computed results.

    Attributes:
        method: the name of the method.
        length: the length of its periods.
        metric: the metric, for methods with a value per metric; else None.
        country, season, use, material, area, odour: the options; None selects the default for the place.
    """

    method: str
    length: PeriodLength
    metric: str | None = None
    country: str | None = None
    season: str | None = None
    use: str | None = None
    material: str | None = None
    area: str | None = None
    odour: float | None = None

    @property
    def figure(self) -> IndexDefinition:
        """The definition of the method."""
        return INDEX_DEFINITIONS[self.method]

    def begin(self, place: SiteLocality) -> time:
        """The time at which its days begin."""
        if not self.figure.noisy:
            return time()
        return DAY_PARTS[self.country or country_of_timezone(place.timezone)][0].begin

    def ends(self, after_us: int, until_us: int, place: SiteLocality) -> Iterator[DatedPeriod]:
        """List its periods that end after one instant, and at or before another one, ascending."""
        return periods_ending_in(self.length, after_us, until_us, place.zone, self.begin(place))

    def last_over(self, at_us: int, place: SiteLocality) -> DatedPeriod:
        """Find its newest period that is over at an instant."""
        return find_last_complete_period(self.length, at_us, place.zone, self.begin(place))

    def choices(self, slot: DatedPeriod, place: SiteLocality) -> MethodOptions:
        """The options of the method, with defaults for the place and the period."""
        season = cast("Season | None", self.season)
        return MethodOptions(
            place.zone,
            season or season_of(slot.last, place.latitude),
            self.country or country_of_timezone(place.timezone),
            self.use or "writing",
            self.material or "very_sensitive",
            self.area or "residential",
            DETECTION_THRESHOLD if self.odour is None else self.odour,
        )


def parse_index_query(stored: Mapping[str, Any]) -> IndexQuery:
    """Parse the query of a stored condition.

    Raises:
        KeyError: the method is unknown.
        ValueError: the method does not have this period length.
    """
    figure = INDEX_DEFINITIONS[stored["index"]]
    length = stored.get("period") or figure.lengths[0]
    if length not in figure.lengths:
        raise ValueError(length)
    chosen = {name: stored.get(name) for name in ("metric", *QUERY_CHOICES)}
    return IndexQuery(figure.method.name, length, **chosen)
