"""Computes the statistics and figures of a report, and compares them with the period before. Pure: no clock.

- Figures come from `app.environmental_indices`, statistics from the arithmetic of series. There are no
  formulas here.
- Only boxes with enough coverage in both periods are compared, so that a change is not an effect of missing
  values.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Final
from zoneinfo import ZoneInfo

import numpy as np

from app.catalogue.metrics import METRICS_BY_NAME
from app.environmental_indices import index_definitions as indices
from app.environmental_indices.index_definitions import INDEX_DEFINITIONS, IndexDefinition
from app.environmental_indices.index_results import IndexResult, NoValueReason
from app.environmental_indices.input_types import HourlySeries, SoundLevels
from app.environmental_indices.period_selection import (
    DatedPeriod,
    TimePeriod,
    list_dates,
    periods_starting_in,
)
from app.environmental_indices.site_surroundings import season_of
from app.platform.kernel.instants import HOUR_US
from app.reports.render.box_names import make_unique_labels
from app.reports.report_input import REPORTED_METRICS, ReportBoxInput, ReportInput
from app.reports.report_periods import find_previous_slot
from app.timeseries.rollups import rollup_merging
from app.timeseries.rollups.rollup_merging import RollupColumns

MIN_COVERAGE_PERCENT: Final = 75.0
"""Smallest coverage of a mean that is compared (percent)."""
EXCLUDED_FIGURES: Final = frozenset({"light"})
"""Figures that apply to hours of use only. These are unknown, and means including nights are meaningless."""
_HOUR_S: Final = 3_600.0


@dataclass(frozen=True, slots=True)
class MetricStatistics:
    """Statistics of a metric of a box in a period; `coverage` in percent."""

    count: int
    mean: float
    low: float
    high: float
    coverage: float


@dataclass(frozen=True, slots=True, eq=False)
class BoxFigures:
    """A box in a report.

    Attributes:
        position: its position in the report, from 0.
        id: its id.
        label: its label, unique in the report.
        interval_s: the sampling interval (s).
        hours: hourly summaries, by metric.
        now, before: statistics of the period and of the one before it, by metric.
        measurements: the input of figures.
    """

    position: int
    id: str
    label: str
    interval_s: int
    hours: Mapping[str, RollupColumns]
    now: Mapping[str, MetricStatistics]
    before: Mapping[str, MetricStatistics]
    measurements: indices.BoxMeasurements


@dataclass(frozen=True, slots=True)
class FigureValue:
    """A figure of a box in a period."""

    box: BoxFigures
    figure: IndexDefinition
    metric: str | None
    slot: DatedPeriod
    result: IndexResult

    @property
    def of(self) -> tuple[str, str | None]:
        """Name of the method, and the metric if the figure is for one metric."""
        return self.figure.method.name, self.metric


@dataclass(eq=False)
class ReportStatistics:
    """All statistics and figures of a report.

    Attributes:
        input: the input of the report.
        zone: the time zone of the site.
        slot, earlier: the period, and the one before it.
        choices: options of the methods.
        boxes: the boxes, in order.
        values: the figures, by method and metric.
        strip: the figures of the strip.
        unfinished: methods with periods that were not over when the report was made.
    """

    input: ReportInput
    zone: ZoneInfo
    slot: DatedPeriod
    earlier: DatedPeriod
    choices: indices.MethodOptions
    boxes: list[BoxFigures]
    values: dict[tuple[str, str | None], list[FigureValue]] = field(default_factory=dict)
    strip: list[FigureValue] = field(default_factory=list)
    unfinished: set[str] = field(default_factory=set)

    @property
    def is_day(self) -> bool:
        """Whether it is a daily report."""
        return self.input.length == "day"

    @cached_property
    def days(self) -> list[DatedPeriod]:
        """The days of the period."""
        return [
            DatedPeriod.of_days(day, day, self.zone) for day in list_dates(self.slot.first, self.slot.last)
        ]

    @cached_property
    def measured(self) -> list[BoxFigures]:
        """The boxes that measured something in the period."""
        return [box for box in self.boxes if box.now]


def compute_report_statistics(report_input: ReportInput) -> ReportStatistics:
    """Compute the statistics and figures of a report."""
    zone = ZoneInfo(report_input.timezone)
    slot = DatedPeriod.of_days(report_input.first, report_input.last, zone)
    earlier = find_previous_slot(slot, zone)
    choices = indices.MethodOptions(zone, season_of(slot.last, report_input.latitude), report_input.country)
    labels = make_unique_labels([(box.id, box.name) for box in report_input.boxes])
    boxes = [
        _box(position, box, label, (slot, earlier))
        for position, (box, label) in enumerate(zip(report_input.boxes, labels, strict=True))
    ]
    report = ReportStatistics(report_input, zone, slot, earlier, choices, boxes)
    for box, of in zip(boxes, report_input.boxes, strict=True):
        for name, metric in of.figures:
            if name in EXCLUDED_FIGURES:
                continue
            _add(report, box, INDEX_DEFINITIONS[name], metric)
        for result in of.sampled:
            figure = INDEX_DEFINITIONS[result.method]
            report.values.setdefault((result.method, None), []).append(
                FigureValue(box, figure, None, slot, result)
            )
    order = list(INDEX_DEFINITIONS)
    report.values = dict(sorted(report.values.items(), key=lambda each: order.index(each[0][0])))
    report.strip = _strip(report)
    return report


def _box(
    position: int, box: ReportBoxInput, label: str, spans: tuple[DatedPeriod, DatedPeriod]
) -> BoxFigures:
    """Compute the statistics of a box for the period and the one before it."""
    hours = {each.metric: each.columns() for each in box.hours}
    return BoxFigures(
        position,
        box.id,
        label,
        box.interval_s,
        hours,
        _statistics(hours, box.interval_s, spans[0].period),
        _statistics(hours, box.interval_s, spans[1].period),
        _build_measurements(hours, box.interval_s),
    )


def _build_measurements(hours: Mapping[str, RollupColumns], interval_s: int) -> indices.BoxMeasurements:
    hourly: dict[str, HourlySeries] = {}
    levels: dict[str, SoundLevels] = {}
    for metric, found in hours.items():
        if METRICS_BY_NAME[metric].kind == "level":
            levels[metric] = SoundLevels.of_hours(found.times, found.means, found.counts, interval_s)
        else:
            covered = np.minimum(100.0, 100.0 * found.counts * interval_s / _HOUR_S)
            hourly[metric] = HourlySeries.of(found.times, found.means, covered)
    return indices.BoxMeasurements(hourly, levels, {})


def select_hours(found: RollupColumns, period: TimePeriod) -> RollupColumns:
    """Select the hours that begin in a period."""
    low, high = np.searchsorted(found.times, [period.start_us, period.end_us])
    return found.only(slice(int(low), int(high)))


def compute_metric_statistics(
    found: RollupColumns, metric: str, interval_s: int, period: TimePeriod
) -> MetricStatistics | None:
    """Merge the hours of a period to one statistic; None: nothing was measured.

    Args:
        found: the hourly summaries.
        metric: the name of the metric.
        interval_s: the sampling interval (s), for the coverage.
        period: the period.
    """
    part = select_hours(found, period)
    if not len(part):
        return None
    level = METRICS_BY_NAME[metric].kind == "level"
    whole = rollup_merging.merge_columns([part.begun(np.zeros(len(part), np.int64))], level=level)
    count = int(whole.counts[0])
    covered = min(100.0, 100.0 * count * interval_s / period.seconds)
    return MetricStatistics(
        count, float(whole.means[0]), float(whole.lows[0]), float(whole.highs[0]), covered
    )


def _statistics(
    hours: Mapping[str, RollupColumns], interval_s: int, period: TimePeriod
) -> dict[str, MetricStatistics]:
    found = {
        metric: compute_metric_statistics(each, metric, interval_s, period) for metric, each in hours.items()
    }
    return {metric: each for metric, each in found.items() if each is not None}


def _add(report: ReportStatistics, box: BoxFigures, figure: IndexDefinition, metric: str | None) -> None:
    name = figure.method.name
    chosen = _slots(report, figure, box)
    over = [slot for slot in chosen if slot.period.end_us <= report.input.made_us]
    if len(over) < len(chosen):
        report.unfinished.add(name)
    values = [compute_figure_value(report, box, figure, metric, slot) for slot in over]
    if values:
        report.values.setdefault((name, metric), []).extend(values)


def compute_figure_value(
    report: ReportStatistics, box: BoxFigures, figure: IndexDefinition, metric: str | None, slot: DatedPeriod
) -> FigureValue:
    """Compute a figure of a box.

    Args:
        report: the report.
        box: the box.
        figure: the figure.
        metric: the metric, if the figure is for one metric.
        slot: the period of the figure.
    """
    choices = replace(report.choices, season=season_of(slot.last, report.input.latitude))
    result = figure.compute(box.measurements, metric or figure.method.metrics[0], slot, choices)
    return FigureValue(box, figure, metric, slot, result)


def _slots(report: ReportStatistics, figure: IndexDefinition, box: BoxFigures) -> list[DatedPeriod]:
    """List the periods of a figure: the whole period if possible, else each day, hour or week in it."""
    begin, period = figure.begin(report.choices), report.slot.period
    if report.input.length in figure.lengths:
        return [DatedPeriod.of_days(report.slot.first, report.slot.last, report.zone, begin)]
    if "day" in figure.lengths:
        return [DatedPeriod.of_days(day.first, day.last, report.zone, begin) for day in report.days]
    if figure.lengths == ("hour",):
        hours = list(periods_starting_in("hour", period, report.zone))
        return hours if report.is_day else _worst_hours(report, figure, box)
    if report.is_day or figure.lengths[0] != "week":
        return []
    return [
        slot
        for slot in periods_starting_in("week", period, report.zone)
        if slot.period.end_us <= period.end_us
    ]


def _worst_hours(report: ReportStatistics, figure: IndexDefinition, box: BoxFigures) -> list[DatedPeriod]:
    """List the hours with the highest mean of each pollutant and day.

    They include the worst hour of each day: a class never falls as a concentration rises, and an index has
    the class of its worst pollutant.
    """
    found: set[int] = set()
    for metric in figure.method.metrics:
        series = box.measurements.hourly.get(metric)
        for day in report.days if series is not None else ():
            part = series.within(day.period) if series is not None else None
            if part is not None and part.valid.any():
                times, values = part.times[part.valid], part.values[part.valid]
                found.add(int(times[int(values.argmax())]))
    return [DatedPeriod.of_hour(start_us, report.zone) for start_us in sorted(found)]


def group_values_by_box(values: Iterable[FigureValue]) -> dict[int, list[FigureValue]]:
    """Group values by the positions of their boxes."""
    found: dict[int, list[FigureValue]] = {}
    for value in values:
        found.setdefault(value.box.position, []).append(value)
    return found


def find_worst_value(values: Iterable[FigureValue]) -> FigureValue | None:
    """Find the worst value, the first of several; None: none has a value."""
    there = [value for value in values if value.result.value is not None]
    return max(there, key=lambda value: indices.worst_sort_key(value.result)) if there else None


def explain_missing_value(values: Sequence[FigureValue]) -> NoValueReason:
    """Return why no result has a value: of several reasons, the most informative."""
    found = {value.result.reason for value in values}
    for each in ("coverage_too_low", "period_too_short", "no_data"):
        if each in found:
            return each
    return "metric_missing"


def _strip(report: ReportStatistics) -> list[FigureValue]:
    """Compute the values of the strip, by hour or by day.

    It shows the air quality index of the site, or the indoor CO₂ index if it has none.
    """
    for name in ("eaqi",) if report.is_day else ("atmo", "eaqi"):
        values = report.values.get((name, None), [])
        if any(value.result.value is not None for value in values):
            return values
    if ("indoor-co2", None) not in report.values:
        return []
    figure = INDEX_DEFINITIONS["indoor-co2"]
    parts = (
        list(periods_starting_in("hour", report.slot.period, report.zone)) if report.is_day else report.days
    )
    return [
        compute_figure_value(report, box, figure, None, slot)
        for box in report.boxes
        if "co2" in box.hours
        for slot in parts
    ]


def count_silent_hours(box: BoxFigures, period: TimePeriod) -> tuple[int, int]:
    """Count the hours without values of a box in a period, and the longest run of them."""
    hours = np.array(period.hours(), np.int64)
    measured = np.zeros(len(hours), np.bool_)
    for found in box.hours.values():
        part = select_hours(found, period).times
        measured[(part - hours[0]) // HOUR_US] = True
    longest = run = 0
    for is_silent in (~measured).tolist():
        run = run + 1 if is_silent else 0
        longest = max(longest, run)
    return int((~measured).sum()), longest


@dataclass(frozen=True, slots=True)
class MeanComparison:
    """The mean of boxes in both periods. `percent` is None for quantities without a natural zero."""

    metric: str
    boxes: int
    now: float
    before: float
    percent: float | None

    @property
    def change(self) -> float:
        """The change from the period before."""
        return self.now - self.before


def compare_period_means(report: ReportStatistics) -> list[MeanComparison]:
    """Compare the means of each metric, over the boxes with enough coverage in both periods."""
    found: list[MeanComparison] = []
    for metric in REPORTED_METRICS:
        pairs = [
            (box.now[metric].mean, box.before[metric].mean)
            for box in report.boxes
            if metric in box.now
            and metric in box.before
            and min(box.now[metric].coverage, box.before[metric].coverage) >= MIN_COVERAGE_PERCENT
        ]
        if pairs:
            now, before = (_mean(metric, [pair[side] for pair in pairs]) for side in (0, 1))
            # No percent: a level is a logarithm, a temperature has no natural zero, a share is a percentage.
            natural = METRICS_BY_NAME[metric].kind == "gauge" and METRICS_BY_NAME[metric].minimum >= 0
            shares = natural and METRICS_BY_NAME[metric].unit != "%RH" and before > 0
            percent = 100.0 * (now - before) / before if shares else None
            found.append(MeanComparison(metric, len(pairs), now, before, percent))
    return found


def _mean(metric: str, values: list[float]) -> float:
    """Average boxes with equal weights; sound levels by energy."""
    if len(values) == 1:
        return values[0]
    if METRICS_BY_NAME[metric].kind == "level":
        return float(10.0 * np.log10(np.mean(10.0 ** (np.array(values) / 10.0))))
    return float(np.mean(values))
