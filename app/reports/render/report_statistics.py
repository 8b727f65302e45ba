"""Computes what a report tells: statistics of the boxes, figures of the period, and the one before it.

Owns which periods each figure is of in a daily and in a monthly report. The figures are those of
`app.indicators`, the statistics those of series; nothing here has a formula of its own. Pure: no clock.

The boxes' means of the period beside those of the one before it. Pure.

Owns which boxes are compared: those that measured enough of both, so that a change is one of the place and
not of what was measured there.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Final
from zoneinfo import ZoneInfo

import numpy as np

from app.catalogue.metrics import METRICS_BY_NAME
from app.indicators import index_definitions
from app.indicators.index_definitions import INDEX_DEFINITIONS, IndexDefinition, MethodOptions, worst_sort_key
from app.indicators.index_results import IndexResult, NoValueReason
from app.indicators.input_types import HourlySeries, SoundLevels
from app.indicators.period_selection import HOUR_US, DatedPeriod, TimePeriod, list_dates, periods_starting_in
from app.indicators.site_conditions import season_of
from app.reports.render.box_names import make_unique_labels
from app.reports.report_input import REPORTED_METRICS, ReportBoxInput, ReportInput
from app.reports.report_periods import find_previous_slot
from app.timeseries.rollups import rollup_columns
from app.timeseries.rollups.rollup_columns import RollupColumns

MIN_COVERAGE_PERCENT: Final = 75.0
"""Of a mean that is compared so much of its period has to be measured, percent."""
EXCLUDED_FIGURES: Final = frozenset({"light"})
"""Figures that are meant of hours of use, which nobody has told: a mean with nights in it says nothing."""
_HOUR_S: Final = 3_600.0


@dataclass(frozen=True, slots=True)
class MetricStatistics:
    """What a metric of a box came to in a period; `coverage` in percent."""

    count: int
    mean: float
    low: float
    high: float
    coverage: float


@dataclass(frozen=True, slots=True, eq=False)
class BoxFigures:
    """A box as a report sees it.

    Attributes:
        place: its number in the report.
        id: its name on topics.
        label: what people call it; no other box of the report is called so.
        interval_s: how often it samples.
        hours: summaries of hours, by metric.
        now, before: statistics of both periods, by metric.
        measurements: what figures read.
    """

    place: int
    id: str
    label: str
    interval_s: int
    hours: Mapping[str, RollupColumns]
    now: Mapping[str, MetricStatistics]
    before: Mapping[str, MetricStatistics]
    measurements: index_definitions.BoxMeasurements


@dataclass(frozen=True, slots=True)
class FigureValue:
    """A figure of a box and a period."""

    box: BoxFigures
    figure: IndexDefinition
    metric: str | None
    slot: DatedPeriod
    result: IndexResult

    @property
    def of(self) -> tuple[str, str | None]:
        """Its method, and its metric where that is one of several."""
        return self.figure.method.name, self.metric


@dataclass(eq=False)
class ReportStatistics:
    """All figures of a report."""

    input: ReportInput
    zone: ZoneInfo
    slot: DatedPeriod
    earlier: DatedPeriod
    choices: MethodOptions
    boxes: list[BoxFigures]
    values: dict[tuple[str, str | None], list[FigureValue]] = field(default_factory=dict)
    strip: list[FigureValue] = field(default_factory=list)
    unfinished: set[str] = field(default_factory=set)

    @property
    def is_day(self) -> bool:
        """Whether it is of one day."""
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
    """Compute what a report tells."""
    zone = ZoneInfo(report_input.timezone)
    slot = DatedPeriod.of_days(report_input.first, report_input.last, zone)
    earlier = find_previous_slot(slot, zone)
    choices = MethodOptions(zone, season_of(slot.last, report_input.latitude), report_input.country)
    labels = make_unique_labels([(box.id, box.name) for box in report_input.boxes])
    boxes = [
        _box(place, box, label, (slot, earlier))
        for place, (box, label) in enumerate(zip(report_input.boxes, labels, strict=True))
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


def _box(place: int, box: ReportBoxInput, label: str, spans: tuple[DatedPeriod, DatedPeriod]) -> BoxFigures:
    """A box with its statistics of the period and of the one before it."""
    hours = {each.metric: each.columns() for each in box.hours}
    return BoxFigures(
        place,
        box.id,
        label,
        box.interval_s,
        hours,
        _statistics(hours, box.interval_s, spans[0].period),
        _statistics(hours, box.interval_s, spans[1].period),
        _build_measurements(hours, box.interval_s),
    )


def _build_measurements(
    hours: Mapping[str, RollupColumns], interval_s: int
) -> index_definitions.BoxMeasurements:
    hourly: dict[str, HourlySeries] = {}
    levels: dict[str, SoundLevels] = {}
    for metric, found in hours.items():
        if METRICS_BY_NAME[metric].kind == "level":
            levels[metric] = SoundLevels.of_hours(found.times, found.means, found.counts, interval_s)
        else:
            covered = np.minimum(100.0, 100.0 * found.counts * interval_s / _HOUR_S)
            hourly[metric] = HourlySeries.of(found.times, found.means, covered)
    return index_definitions.BoxMeasurements(hourly, levels, {})


def select_hours(found: RollupColumns, period: TimePeriod) -> RollupColumns:
    """The hours that begin in a period."""
    low, high = np.searchsorted(found.times, [period.start_us, period.end_us])
    return found.only(slice(int(low), int(high)))


def compute_metric_statistics(
    found: RollupColumns, metric: str, interval_s: int, period: TimePeriod
) -> MetricStatistics | None:
    """What a period's hours come to together; None where nothing was measured."""
    part = select_hours(found, period)
    if not len(part):
        return None
    level = METRICS_BY_NAME[metric].kind == "level"
    whole = rollup_columns.merge_columns([part.begun(np.zeros(len(part), np.int64))], level=level)
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
    """Compute a figure of a box."""
    choices = replace(report.choices, season=season_of(slot.last, report.input.latitude))
    result = figure.compute(box.measurements, metric or figure.method.metrics[0], slot, choices)
    return FigureValue(box, figure, metric, slot, result)


def _slots(report: ReportStatistics, figure: IndexDefinition, box: BoxFigures) -> list[DatedPeriod]:
    """Of which periods a figure is: of all of it where it can be, else of each day, hour or week in it."""
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
    """Hours among which the worst one of each day is: those of each pollutant's highest mean.

    A class never falls as a concentration rises, and an index is its worst pollutant's class.
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
    """Values by their boxes' numbers."""
    found: dict[int, list[FigureValue]] = {}
    for value in values:
        found.setdefault(value.box.place, []).append(value)
    return found


def find_worst_value(values: Iterable[FigureValue]) -> FigureValue | None:
    """The worst of what has a value: the first one of several."""
    there = [value for value in values if value.result.value is not None]
    return max(there, key=lambda value: worst_sort_key(value.result)) if there else None


def explain_missing_value(values: Sequence[FigureValue]) -> NoValueReason:
    """Why there is no value at all: of several reasons the one that says most of what is there."""
    found = {value.result.reason for value in values}
    for each in ("coverage_too_low", "period_too_short", "no_data"):
        if each in found:
            return each
    return "metric_missing"


def _strip(report: ReportStatistics) -> list[FigureValue]:
    """The values of the index that is shown hour by hour, or day by day.

    The index of air that holds there, or how well rooms are aired where there is none.
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
    """In how many hours of a period a box measured nothing, and how many of them lay in a row at most."""
    hours = np.array(period.hours(), np.int64)
    heard = np.zeros(len(hours), np.bool_)
    for found in box.hours.values():
        part = select_hours(found, period).times
        heard[(part - hours[0]) // HOUR_US] = True
    longest = run = 0
    for quiet in (~heard).tolist():
        run = run + 1 if quiet else 0
        longest = max(longest, run)
    return int((~heard).sum()), longest


@dataclass(frozen=True, slots=True)
class MeanComparison:
    """The mean of some boxes in both periods; `percent` where a quantity has a natural nought."""

    metric: str
    boxes: int
    now: float
    before: float
    percent: float | None

    @property
    def change(self) -> float:
        """From the period before to this one."""
        return self.now - self.before


def compare_period_means(report: ReportStatistics) -> list[MeanComparison]:
    """Each metric that some box measured enough of in both periods."""
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
            # A level is a logarithm, a temperature has no natural nought, a share is a percentage already.
            natural = METRICS_BY_NAME[metric].kind == "gauge" and METRICS_BY_NAME[metric].minimum >= 0
            shares = natural and METRICS_BY_NAME[metric].unit != "%RH" and before > 0
            percent = 100.0 * (now - before) / before if shares else None
            found.append(MeanComparison(metric, len(pairs), now, before, percent))
    return found


def _mean(metric: str, values: list[float]) -> float:
    """The mean of boxes, each weighing the same; of levels that of their energies."""
    if len(values) == 1:
        return values[0]
    if METRICS_BY_NAME[metric].kind == "level":
        return float(10.0 * np.log10(np.mean(10.0 ** (np.array(values) / 10.0))))
    return float(np.mean(values))
