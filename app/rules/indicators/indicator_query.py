"""What a condition queries of a city's indices: a method, of which periods, with which choices. Pure.

Owns when such a figure is looked at: at the end of each of its periods. How it is computed is the business of
`app.indicators`.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import time
from typing import Any, Final, cast
from zoneinfo import ZoneInfo

from app.indicators.index_definitions import INDEX_DEFINITIONS, IndexDefinition, MethodOptions
from app.indicators.noise_levels import DAY_PARTS
from app.indicators.odour_hours import DETECTION_THRESHOLD
from app.indicators.period_selection import (
    DatedPeriod,
    PeriodLength,
    find_last_complete_period,
    periods_ending_in,
)
from app.indicators.site_conditions import country_of_timezone, season_of
from app.indicators.thermal_comfort import Season

QUERY_CHOICES: Final = ("country", "season", "use", "material", "area", "odour")
"""What may be chosen beside method, period and metric."""


@dataclass(frozen=True, slots=True)
class SiteLocality:
    """Where a site is, as far as its figures need it."""

    timezone: str
    latitude: float

    @property
    def zone(self) -> ZoneInfo:
        """The clocks on its walls."""
        return ZoneInfo(self.timezone)


@dataclass(frozen=True, slots=True)
class IndexQuery:
    """A figure that a condition looks at; two conditions that query the same share what is computed.

    Attributes:
        method: its name.
        length: of which periods.
        metric: of methods that have a value for each metric; else None.
        country, season, use, material, area, odour: as they were chosen; None: what fits the place.
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
        """How the method is asked for."""
        return INDEX_DEFINITIONS[self.method]

    def begin(self, place: SiteLocality) -> time:
        """When its days begin."""
        if not self.figure.noisy:
            return time()
        return DAY_PARTS[self.country or country_of_timezone(place.timezone)][0].begin

    def ends(self, after_us: int, until_us: int, place: SiteLocality) -> Iterator[DatedPeriod]:
        """Its periods that end after an instant, and at or before another one, ascending."""
        return periods_ending_in(self.length, after_us, until_us, place.zone, self.begin(place))

    def last_over(self, at_us: int, place: SiteLocality) -> DatedPeriod:
        """Its newest period that is over at an instant."""
        return find_last_complete_period(self.length, at_us, place.zone, self.begin(place))

    def choices(self, slot: DatedPeriod, place: SiteLocality) -> MethodOptions:
        """What was chosen, or fits the place and the period."""
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
    """Read what a stored condition queries.

    Raises:
        KeyError: no such method.
        ValueError: a period that it cannot be of.
    """
    figure = INDEX_DEFINITIONS[stored["index"]]
    length = stored.get("period") or figure.lengths[0]
    if length not in figure.lengths:
        raise ValueError(length)
    chosen = {name: stored.get(name) for name in ("metric", *QUERY_CHOICES)}
    return IndexQuery(figure.method.name, length, **chosen)
