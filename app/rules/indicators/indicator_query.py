"""What a condition asks of a city's indices: a method, of which periods, with which choices. Pure.

Owns when such a figure is looked at: at the end of each of its periods. How it is computed is the business of
`app.indicators`.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import time
from typing import Any, Final, cast
from zoneinfo import ZoneInfo

from app.indicators.index_definitions import FIGURES, Choices, Figure
from app.indicators.noise_levels import PARTS
from app.indicators.odour_hours import DETECTION
from app.indicators.period_selection import PeriodLength, Slot, ends, last_over
from app.indicators.site_conditions import country_of, season_of
from app.indicators.thermal_comfort import Season

CHOICES: Final = ("country", "season", "use", "material", "area", "odour")
"""What may be chosen beside method, period and metric."""


@dataclass(frozen=True, slots=True)
class Locality:
    """Where a site is, as far as its figures need it."""

    timezone: str
    latitude: float

    @property
    def zone(self) -> ZoneInfo:
        """The clocks on its walls."""
        return ZoneInfo(self.timezone)


@dataclass(frozen=True, slots=True)
class IndexAsk:
    """A figure that a condition looks at; two conditions that ask the same share what is computed.

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
    def figure(self) -> Figure:
        """How the method is asked for."""
        return FIGURES[self.method]

    def begin(self, place: Locality) -> time:
        """When its days begin."""
        if not self.figure.noisy:
            return time()
        return PARTS[self.country or country_of(place.timezone)][0].begin

    def ends(self, after_us: int, until_us: int, place: Locality) -> Iterator[Slot]:
        """Its periods that end after an instant, and at or before another one, ascending."""
        return ends(self.length, after_us, until_us, place.zone, self.begin(place))

    def last_over(self, at_us: int, place: Locality) -> Slot:
        """Its newest period that is over at an instant."""
        return last_over(self.length, at_us, place.zone, self.begin(place))

    def choices(self, slot: Slot, place: Locality) -> Choices:
        """What was chosen, or fits the place and the period."""
        season = cast("Season | None", self.season)
        return Choices(
            place.zone,
            season or season_of(slot.last, place.latitude),
            self.country or country_of(place.timezone),
            self.use or "writing",
            self.material or "very_sensitive",
            self.area or "residential",
            DETECTION if self.odour is None else self.odour,
        )


def ask_of(stored: Mapping[str, Any]) -> IndexAsk:
    """Read what a stored condition asks.

    Raises:
        KeyError: no such method.
        ValueError: a period that it cannot be of.
    """
    figure = FIGURES[stored["index"]]
    length = stored.get("period") or figure.lengths[0]
    if length not in figure.lengths:
        raise ValueError(length)
    chosen = {name: stored.get(name) for name in ("metric", *CHOICES)}
    return IndexAsk(figure.method.name, length, **chosen)
