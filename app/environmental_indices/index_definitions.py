"""Defines how each environmental index is computed: its periods, indoors or outdoors, input, options. Pure.

Maps each method to a function of measurements, period and options. Measurements are arguments.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import time
from types import MappingProxyType
from typing import Final, Literal, get_args
from zoneinfo import ZoneInfo

import numpy as np

from app.environmental_indices.dust_mites import MITE_BANDS, compute_mite_risk
from app.environmental_indices.index_results import IndexBand, IndexMethod, IndexResult
from app.environmental_indices.indoor_air import (
    BENZENE_SCALE,
    CO2_SCALE,
    FORMALDEHYDE_WEEK_SCALE,
    compute_indoor_benzene,
    compute_indoor_co2,
    compute_indoor_formaldehyde_hour,
    compute_indoor_formaldehyde_week,
)
from app.environmental_indices.indoor_comfort import (
    COMFORT_CATEGORIES,
    HUMIDEX_SCALE,
    LIGHT_BANDS,
    Season,
    compute_humidex,
    compute_light,
    compute_thermal_comfort,
)
from app.environmental_indices.input_types import HourlySeries, SampleSeries, SoundLevels
from app.environmental_indices.method_registry import METHODS
from app.environmental_indices.mould_risk import MOULD_SCALE, compute_mould_index
from app.environmental_indices.noise_emergence import compute_noise_emergence
from app.environmental_indices.noise_levels import (
    DAY_PARTS,
    DEFAULT_COUNTRY,
    compute_lden_day,
    compute_lden_year,
    compute_leq,
)
from app.environmental_indices.odour_hours import (
    DETECTION_THRESHOLD,
    EpisodeCriteria,
    compute_odour_hours,
    summarise_odour_episodes,
)
from app.environmental_indices.outdoor_air_indices import (
    ATMO_SCALES,
    EAQI_SCALES,
    compute_atmo,
    compute_eaqi,
)
from app.environmental_indices.period_selection import DatedPeriod, PeriodLength, TimePeriod
from app.environmental_indices.who_guidelines import (
    compute_who_24h,
    compute_who_days_over,
    compute_who_o3_8h,
    compute_who_o3_peak_season,
    compute_who_year,
)

type PlaceSetting = Literal["indoor", "outdoor", "anywhere"]
type InputSource = Literal["hours", "samples"]
PERIOD_LENGTHS: Final[tuple[PeriodLength, ...]] = get_args(PeriodLength.__value__)

_EMPTY: Final = SoundLevels(np.empty(0, np.int64), np.empty(0, np.int64), np.empty(0), np.empty(0))
# August to December of the year before, and seven hours for the first running mean.
_SEASON_LEAD_H: Final = 154 * 24
_RUN_LEAD_H: Final = 7


@dataclass(frozen=True, slots=True)
class MethodOptions:
    """The options of a computation, from the request or from the site.

    Attributes:
        zone: the time zone of the site.
        season: the season, for thermal comfort.
        country: the country that defines the parts of the day, for noise.
        use: the use of the room, for light.
        material: the material, for mould.
        area: the use of the area, for odour hours.
        odour: the odour threshold, ou/m³.
        noise: the periods in which a noise is heard, for its emergence.
    """

    zone: ZoneInfo
    season: Season
    country: str = DEFAULT_COUNTRY
    use: str = "writing"
    material: str = "very_sensitive"
    area: str = "residential"
    odour: float = DETECTION_THRESHOLD
    noise: tuple[TimePeriod, ...] = ()

    @property
    def noise_begin(self) -> time:
        """The local time at which a day of noise begins."""
        return DAY_PARTS[self.country][0].begin


@dataclass(frozen=True, slots=True, eq=False)
class BoxMeasurements:
    """The measurements of a box by metric, without metrics that it does not measure.

    Attributes:
        hourly: hourly means.
        levels: hourly means of sound levels, with the measured time of each.
        samples: samples at the interval of the box.
    """

    hourly: Mapping[str, HourlySeries]
    levels: Mapping[str, SoundLevels]
    samples: Mapping[str, SampleSeries]


type MethodFunction = Callable[[BoxMeasurements, str, DatedPeriod, MethodOptions], IndexResult]


@dataclass(frozen=True, slots=True)
class IndexDefinition:
    """The definition of an index.

    Attributes:
        method: the method.
        compute: computes it from measurements, a metric, a period and options.
        lengths: the supported period lengths; the first one is the default.
        where: the places where it is computed by default.
        each: whether it has one value for each measured metric.
        source: the kind of values that it reads.
        lead_h: the hours before the period that it reads too.
        noisy: whether its days begin with the first part of the day.
        only: computes it by default only in this country; None: everywhere.
    """

    method: IndexMethod
    compute: MethodFunction
    lengths: tuple[PeriodLength, ...]
    where: PlaceSetting = "outdoor"
    each: bool = False
    source: InputSource = "hours"
    lead_h: int = 0
    noisy: bool = False
    only: str | None = None

    @property
    def is_default(self) -> bool:
        """Whether it is computed without naming it: not if it reads a year, or needs more parameters."""
        return bool(self.lengths) and self.lengths[0] != "year"

    def begin(self, choices: MethodOptions) -> time:
        """Return the local time at which its days begin."""
        return choices.noise_begin if self.noisy else time()


def _missing(result: IndexResult) -> IndexResult:
    """Set the reason `metric_missing` in the result of a method without input."""
    parts = tuple(
        replace(part, reason="metric_missing") if part.reason else part for part in result.components
    )
    return replace(result, reason="metric_missing", components=parts)


def _of_levels(compute: Callable[[SoundLevels, DatedPeriod, MethodOptions], IndexResult]) -> MethodFunction:
    def computed(
        material: BoxMeasurements, metric: str, slot: DatedPeriod, choices: MethodOptions
    ) -> IndexResult:
        levels = material.levels.get(metric)
        if levels is None:
            return _missing(compute(_EMPTY, slot, choices))
        return compute(levels, slot, choices)

    return computed


def _of_samples(compute: Callable[[SampleSeries, DatedPeriod, MethodOptions], IndexResult]) -> MethodFunction:
    def computed(
        material: BoxMeasurements, metric: str, slot: DatedPeriod, choices: MethodOptions
    ) -> IndexResult:
        samples = material.samples.get(metric)
        if samples is None:
            return _missing(compute(SampleSeries.of([], [], 1.0), slot, choices))
        return compute(samples, slot, choices)

    return computed


def _emergence(samples: SampleSeries, slot: DatedPeriod, choices: MethodOptions) -> IndexResult:
    levels = SoundLevels.of_samples(samples.times, samples.values, samples.interval_s)
    return compute_noise_emergence(levels, choices.noise, slot.period, choices.zone)


_LONGER: Final[tuple[PeriodLength, ...]] = ("week", "weeks", "month", "year")
_FROM_HOUR: Final[tuple[PeriodLength, ...]] = ("hour", "day", *_LONGER)
_FROM_DAY: Final[tuple[PeriodLength, ...]] = ("day", "hour", *_LONGER)
_FROM_WEEKS: Final[tuple[PeriodLength, ...]] = ("weeks", "month", "year")

_FIGURES: Final = (
    IndexDefinition(
        METHODS["eaqi"], lambda m, _, s, __: compute_eaqi(m.hourly, s.period.start_us), ("hour",)
    ),
    IndexDefinition(
        METHODS["atmo"], lambda m, _, s, c: compute_atmo(m.hourly, s.first, c.zone), ("day",), only="FR"
    ),
    IndexDefinition(
        METHODS["who-24h"],
        lambda m, metric, s, c: compute_who_24h(metric, m.hourly.get(metric), s.first, c.zone),
        ("day",),
        each=True,
    ),
    IndexDefinition(
        METHODS["who-o3-8h"],
        lambda m, metric, s, c: compute_who_o3_8h(m.hourly.get(metric), s.first, c.zone),
        ("day",),
        lead_h=_RUN_LEAD_H,
    ),
    IndexDefinition(
        METHODS["who-year"],
        lambda m, metric, s, c: compute_who_year(metric, m.hourly.get(metric), s.first.year, c.zone),
        ("year",),
        each=True,
    ),
    IndexDefinition(
        METHODS["who-o3-peak-season"],
        lambda m, metric, s, c: compute_who_o3_peak_season(m.hourly.get(metric), s.first.year, c.zone),
        ("year",),
        lead_h=_SEASON_LEAD_H,
    ),
    IndexDefinition(
        METHODS["who-days-over"],
        lambda m, metric, s, c: compute_who_days_over(metric, m.hourly.get(metric), s.first.year, c.zone),
        ("year",),
        each=True,
        lead_h=_RUN_LEAD_H,
    ),
    IndexDefinition(
        METHODS["leq"], _of_levels(lambda levels, s, _: compute_leq(levels, s.period)), _FROM_HOUR, "anywhere"
    ),
    IndexDefinition(
        METHODS["lden-day"],
        _of_levels(lambda levels, s, c: compute_lden_day(levels, s.first, c.zone, c.country)),
        ("day",),
        noisy=True,
    ),
    IndexDefinition(
        METHODS["lden-year"],
        _of_levels(lambda levels, s, c: compute_lden_year(levels, s.first.year, c.zone, c.country)),
        ("year",),
        noisy=True,
    ),
    IndexDefinition(METHODS["noise-emergence"], _of_samples(_emergence), (), source="samples"),
    IndexDefinition(
        METHODS["indoor-co2"],
        lambda m, metric, s, _: compute_indoor_co2(m.hourly.get(metric), s.period),
        _FROM_HOUR,
        "indoor",
    ),
    IndexDefinition(
        METHODS["indoor-formaldehyde-hour"],
        lambda m, _, s, __: compute_indoor_formaldehyde_hour(
            m.hourly.get("hcho"), m.hourly.get("temperature"), s.period
        ),
        _FROM_HOUR,
        "indoor",
    ),
    IndexDefinition(
        METHODS["indoor-formaldehyde-week"],
        lambda m, _, s, __: compute_indoor_formaldehyde_week(
            m.hourly.get("hcho"), m.hourly.get("temperature"), s.period
        ),
        ("week",),
        "indoor",
    ),
    IndexDefinition(
        METHODS["indoor-benzene"],
        lambda m, metric, s, _: compute_indoor_benzene(m.hourly.get(metric), s.period),
        ("week",),
        "indoor",
    ),
    IndexDefinition(
        METHODS["mite-risk"],
        lambda m, _, s, c: compute_mite_risk(
            m.hourly.get("temperature"), m.hourly.get("humidity"), s.first, s.last, c.zone
        ),
        _FROM_WEEKS,
        "indoor",
    ),
    IndexDefinition(
        METHODS["mould-index"],
        lambda m, _, s, c: compute_mould_index(
            m.hourly.get("temperature"), m.hourly.get("humidity"), s.period, material=c.material
        ),
        _FROM_WEEKS,
        "indoor",
    ),
    IndexDefinition(
        METHODS["odour-episodes"],
        _of_samples(
            lambda samples, s, c: summarise_odour_episodes(
                samples, EpisodeCriteria(c.odour, c.odour), s.period
            )[0]
        ),
        _FROM_DAY,
        "anywhere",
        source="samples",
    ),
    IndexDefinition(
        METHODS["odour-hours"],
        _of_samples(
            lambda samples, s, c: compute_odour_hours(samples, s.period, threshold=c.odour, area=c.area)
        ),
        _FROM_DAY,
        source="samples",
    ),
    IndexDefinition(
        METHODS["thermal-comfort"],
        lambda m, metric, s, c: compute_thermal_comfort(m.hourly.get(metric), s.period, c.season),
        _FROM_HOUR,
        "indoor",
    ),
    IndexDefinition(
        METHODS["humidex"],
        lambda m, _, s, __: compute_humidex(m.hourly.get("temperature"), m.hourly.get("humidity"), s.period),
        _FROM_HOUR,
        "anywhere",
    ),
    IndexDefinition(
        METHODS["light"],
        lambda m, metric, s, c: compute_light(m.hourly.get(metric), s.period, c.use),
        _FROM_HOUR,
        "indoor",
    ),
)

INDEX_DEFINITIONS: Final[Mapping[str, IndexDefinition]] = MappingProxyType(
    {each.method.name: each for each in _FIGURES}
)
"""The definitions of all methods of the registry."""

BANDS_BY_METHOD: Final[Mapping[str, tuple[IndexBand, ...]]] = MappingProxyType(
    {
        "eaqi": EAQI_SCALES["pm2_5"].bands,
        "atmo": ATMO_SCALES["pm2_5"].bands,
        "indoor-co2": CO2_SCALE.bands,
        "indoor-formaldehyde-week": FORMALDEHYDE_WEEK_SCALE.bands,
        "indoor-benzene": BENZENE_SCALE.bands,
        "mite-risk": MITE_BANDS,
        "mould-index": MOULD_SCALE.bands,
        "thermal-comfort": COMFORT_CATEGORIES,
        "humidex": HUMIDEX_SCALE.bands,
        "light": LIGHT_BANDS[::-1],
    }
)
"""The classes of each method with classes, the best one first."""

_ORDER: Final = {
    band.key: index for bands in (MITE_BANDS, COMFORT_CATEGORIES) for index, band in enumerate(bands)
}


def worst_sort_key(result: IndexResult) -> float:
    """Return a sort key among values of a method and metric: the highest key is the worst value."""
    assert result.value is not None  # noqa: S101 (only what has a value is compared)
    if result.method == "light":
        return -result.value
    # The classes of these methods depend on more than the value.
    if result.band is not None and result.band.key in _ORDER:
        return 1_000.0 * _ORDER[result.band.key] + (result.value if result.method == "mite-risk" else 0.0)
    return result.value


type NoiseCountry = Literal["EU", "FR", "DE"]
type RoomUse = Literal["writing", "cad", "drawing", "meeting", "reception", "filing", "archive", "corridor"]
type MouldMaterial = Literal["very_sensitive", "sensitive", "medium_resistant", "resistant"]
type OdourArea = Literal["residential", "commercial", "village"]

SUPPORTED_OPTIONS: Final[Mapping[str, frozenset[str]]] = {
    "lden-day": frozenset({"country"}),
    "lden-year": frozenset({"country"}),
    "thermal-comfort": frozenset({"season"}),
    "light": frozenset({"use"}),
    "mould-index": frozenset({"material"}),
    "odour-episodes": frozenset({"odour"}),
    "odour-hours": frozenset({"odour", "area"}),
}
"""The options that each method supports; other methods support none."""
