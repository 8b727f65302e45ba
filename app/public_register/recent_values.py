"""The last 24 hours of a site's open metrics, made of samples as they are read. Pure arithmetic on columns.

Values with a flag (`docs/quality.md`) are left out, but for those that merely came late. Levels are averaged
by energy. Indices are of the last hour that is over, of each box; the worst box is the site's.

What a site's page says of the last 24 hours: a card for each open metric. Pure.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final
from zoneinfo import ZoneInfo

import numpy as np

from app.catalogue.metrics import METRICS_BY_NAME, Metric
from app.indicators.index_definitions import INDEX_DEFINITIONS, BoxMeasurements, MethodOptions, worst_sort_key
from app.indicators.index_results import (
    NO_VALUE_REASONS,
    BilingualText,
    IndexMethod,
    IndexResult,
    ResultComponent,
)
from app.indicators.input_types import HourlySeries, SoundLevels, TimeArray, ValueArray
from app.indicators.period_selection import DatedPeriod, find_last_complete_period
from app.indicators.site_conditions import country_of_timezone, is_computed_by_default, season_of
from app.platform.kernel.instants import US_PER_S, from_datetime, to_datetime
from app.public_register import line_charts
from app.public_register.page_texts import WORDS
from app.public_register.register_formats import RegisterFormatter
from app.public_register.register_model import (
    IndexValue,
    PublishedSite,
    RecentMeasurements,
    RecentMetric,
    SiteMean,
)
from app.timeseries.quality.quality_flags import Flag, FlagEvaluator, MetricSamples, combine_flags

DAY_S: Final = 86_400
QUARTER_S: Final = 900
_HOUR_S: Final = 3_600
_DAY_US: Final = DAY_S * US_PER_S
_QUARTER_US: Final = QUARTER_S * US_PER_S
_HOUR_US: Final = _HOUR_S * US_PER_S
_DIGITS: Final = 7
EXCLUDED_FLAGS: Final[tuple[Flag, ...]] = ("out_of_range", "spike", "flat_line", "warm_up")
"""Flags of values that are left out."""


@dataclass(frozen=True, slots=True)
class BoxSamples:
    """Samples of a box, ascending.

    Attributes:
        kind: What its operator calls it.
        interval_s: How often it samples.
        times: When they were measured (µs since the epoch).
        values: By metric; NaN where a sample has none.
    """

    kind: str | None
    interval_s: int
    times: TimeArray
    values: Mapping[str, ValueArray]


@dataclass(slots=True)
class _Sums:
    """What is gathered of a metric, box by box."""

    quarters: dict[int, list[float]] = field(default_factory=dict)
    newest: list[tuple[int, float, int]] = field(default_factory=list)
    covered: list[float] = field(default_factory=list)
    left_out: int = 0
    interval_s: int = 1


class RecentAggregator:
    """Gathers a site's last day, box by box, so that the samples of one box at a time are in memory.

    Args:
        site: Whose it is.
        now: When it was read.
    """

    def __init__(self, site: PublishedSite, now: datetime) -> None:
        self._site = site
        self._now = now
        self._now_us = from_datetime(now)
        self._sums: dict[str, _Sums] = {}
        self._results: dict[tuple[str, str | None], list[IndexResult]] = {}
        zone = ZoneInfo(site.timezone)
        self._choices = MethodOptions(
            zone, season_of(now.astimezone(zone).date(), site.latitude), country_of_timezone(site.timezone)
        )
        self._slot: DatedPeriod = find_last_complete_period("hour", self._now_us, zone)
        self._starts = {
            metric: from_datetime(each.starts_at)
            for each in site.active
            if each.starts_at is not None
            for metric in each.known.metrics
        }

    def add(self, box: BoxSamples) -> None:
        """Add a box."""
        hourly: dict[str, HourlySeries] = {}
        levels: dict[str, SoundLevels] = {}
        for name, values in box.values.items():
            metric = METRICS_BY_NAME[name]
            times, kept = self._kept(metric, box, values)
            if not len(times):
                continue
            starts, means, counts = _grouped(metric, times, kept, _HOUR_US)
            if metric.kind == "level":
                levels[name] = SoundLevels.of_hours(starts, means, counts, box.interval_s)
            else:
                covered = np.minimum(100.0, 100.0 * counts * box.interval_s / _HOUR_S)
                hourly[name] = HourlySeries.of(starts, means, covered)
        self._compute(box.kind, BoxMeasurements(hourly, levels, {}))

    def _kept(self, metric: Metric, box: BoxSamples, values: ValueArray) -> tuple[TimeArray, ValueArray]:
        """Take what has no flag, and add it to the sums; gives it."""
        judge = FlagEvaluator.of(metric, box.interval_s, EXCLUDED_FLAGS)
        samples = MetricSamples(box.times, values, np.zeros(len(values), np.bool_))
        doubtful = combine_flags(judge.flags(samples), len(values))
        since = max(self._now_us - _DAY_US, self._starts.get(metric.name, 0))
        within = ~np.isnan(values) & (box.times > since)
        kept = within & ~doubtful
        times, found = box.times[kept], values[kept]
        if within.any():
            sums = self._sums.setdefault(metric.name, _Sums())
            sums.left_out += int((within & doubtful).sum())
            sums.covered.append(min(1.0, len(times) * box.interval_s / DAY_S))
            sums.interval_s = max(sums.interval_s, box.interval_s)
            if len(times):
                sums.newest.append((int(times[-1]), float(found[-1]), box.interval_s))
            for start, mean, count in zip(*_grouped(metric, times, found, _QUARTER_US), strict=True):
                whole = sums.quarters.setdefault(int(start), [0.0, 0.0])
                whole[0] += _power(metric, float(mean)) * float(count)
                whole[1] += float(count)
        return times, found

    def _compute(self, kind: str | None, material: BoxMeasurements) -> None:
        """Compute the indices of a box for the last hour that is over."""
        measured = material.hourly.keys() | material.levels.keys()
        for figure in INDEX_DEFINITIONS.values():
            if "hour" not in figure.lengths or figure.source != "hours":
                continue
            if not is_computed_by_default(figure, (kind, self._site.kind), self._choices.country):
                continue
            metrics = [name for name in figure.method.metrics if name in measured]
            for metric in (metrics if figure.each else [None]) if metrics else []:
                result = figure.compute(material, metric or metrics[0], self._slot, self._choices)
                self._results.setdefault((figure.method.name, metric), []).append(result)

    def result(self) -> RecentMeasurements:
        """Give what was gathered."""
        worst = [_worst(found) for found in self._results.values()]
        # An index of several metrics says of each how it stands.
        whole = [each for each in worst if each.components and len(_method(each).metrics) > 1]
        parts: dict[str, list[IndexValue]] = {}
        for results in self._results.values():
            for name, index in _of_metrics(results):
                parts.setdefault(name, []).append(index)
        order = {name: place for place, name in enumerate(self._site.open_metrics)}
        return RecentMeasurements(
            self._now,
            tuple(
                self._metric(name, self._sums[name], tuple(parts.get(name, ())))
                for name in sorted(self._sums, key=lambda name: order.get(name, len(order)))
            ),
            tuple(_index(each) for each in whole),
        )

    def _metric(self, name: str, sums: _Sums, indices: tuple[IndexValue, ...]) -> RecentMetric:
        metric = METRICS_BY_NAME[name]
        return RecentMetric(
            name,
            _newest(metric, sums.newest),
            [
                SiteMean(to_datetime(start), _mean(metric, total, count), round(count))
                for start, (total, count) in sorted(sums.quarters.items())
            ],
            round(100 * sum(sums.covered) / len(sums.covered), 1),
            sums.left_out,
            max(QUARTER_S, sums.interval_s),
            indices,
        )


def _power(metric: Metric, value: float) -> float:
    """What is added up: of levels the energy."""
    return 10.0 ** (value / 10) if metric.kind == "level" else value


def _mean(metric: Metric, total: float, count: float) -> float:
    mean = total / count
    if metric.kind == "level":
        mean = 10 * float(np.log10(mean))
    return float(f"{mean:.{_DIGITS}g}")


def _grouped(
    metric: Metric, times: TimeArray, values: ValueArray, width_us: int
) -> tuple[TimeArray, ValueArray, ValueArray]:
    """Means of stretches of time that have values: when each begins, its mean, of how many values."""
    starts, places = np.unique(times // width_us * width_us, return_inverse=True)
    level = metric.kind == "level"
    counts = np.bincount(places, minlength=len(starts)).astype(np.float64)
    sums = np.bincount(places, np.power(10.0, values / 10) if level else values, len(starts))
    means = sums / counts if len(starts) else sums
    return starts, 10 * np.log10(means) if level else means, counts


def _newest(metric: Metric, found: Iterable[tuple[int, float, int]]) -> SiteMean | None:
    """The mean of the newest values of boxes: of those whose value is as recent as the newest one."""
    newest = sorted(found, reverse=True)
    if not newest:
        return None
    at_us, _, _ = newest[0]
    recent = [
        value
        for time_us, value, interval_s in newest
        if at_us - time_us <= max(QUARTER_S, 2 * interval_s) * US_PER_S
    ]
    total = sum(_power(metric, value) for value in recent)
    return SiteMean(to_datetime(at_us), _mean(metric, total, len(recent)), len(recent))


def _method(result: IndexResult) -> IndexMethod:
    return INDEX_DEFINITIONS[result.method].method


def _worst(results: list[IndexResult]) -> IndexResult:
    """The worst of several boxes; where none has a value, the one that was measured best."""
    valued = [each for each in results if each.value is not None]
    return max(valued, key=worst_sort_key) if valued else max(results, key=lambda each: each.coverage)


def _index(result: IndexResult, part: ResultComponent | None = None) -> IndexValue:
    of = result if part is None else part
    # The notes of a method are of its whole.
    notes: tuple[BilingualText, ...] = result.notes if part is None else ()
    return IndexValue(
        result.method,
        _method(result).title,
        to_datetime(result.start_us),
        to_datetime(result.end_us),
        of.value,
        of.unit,
        of.band,
        round(of.coverage, 1),
        of.reason,
        notes,
    )


def _of_metrics(results: list[IndexResult]) -> Iterable[tuple[str, IndexValue]]:
    """What an index says of each metric: by its parts, or of the only one that it is of."""
    metrics = _method(results[0]).metrics
    parts: dict[str, list[tuple[ResultComponent, IndexResult]]] = {}
    for result in results:
        for part in result.components:
            if part.key in metrics and part.reason != "metric_missing":
                parts.setdefault(part.key, []).append((part, result))
    for name, found in parts.items():
        part, result = max(found, key=lambda each: (each[0].level or 0, each[0].coverage))
        yield name, _index(result, part)
    if not parts and len(metrics) == 1:
        yield metrics[0], _index(_worst(results))


def build_recent_context(recent: RecentMeasurements, writing: RegisterFormatter) -> dict[str, Any]:
    """Make what the template has of the last day: indices of the site, and a card for each metric."""
    return {
        "indices": [_recent_cards_index(each, writing) for each in recent.indices],
        "cards": [_card(each, recent, writing) for each in recent.metrics],
    }


def _card(each: RecentMetric, recent: RecentMeasurements, writing: RegisterFormatter) -> dict[str, Any]:
    metric = METRICS_BY_NAME[each.metric]
    formats = writing.formats
    left_out = ""
    if each.left_out:
        left_out = formats.counted(each.left_out, WORDS["left_out_one"], WORDS["left_out_many"])
    return {
        "name": each.metric,
        "title": formats.words(each.metric),
        "value": "" if each.newest is None else formats.measured(each.newest.mean, metric.unit),
        "when": "" if each.newest is None else _when(each.newest, writing),
        "coverage": writing.word("coverage").format(share=formats.percent(each.coverage)),
        "left_out": left_out,
        "indices": [_recent_cards_index(index, writing) for index in each.indices],
        "chart": line_charts.draw_line_chart(
            metric, each.values, "quarter", recent.at, writing, spacing_s=float(each.spacing_s)
        )
        if each.values
        else None,
    }


def _when(newest: SiteMean, writing: RegisterFormatter) -> str:
    at = writing.word("newest_at").format(
        day=writing.day(newest.time), clock=writing.clock_there(newest.time)
    )
    if newest.count == 1:
        return at
    return at + writing.word("newest_of").format(count=writing.number(newest.count))


def _recent_cards_index(each: IndexValue, writing: RegisterFormatter) -> dict[str, str]:
    """An index in a sentence; its colour is told too, never alone."""
    formats = writing.formats
    if each.band is not None:
        value = writing.said(each.band.label)
    elif each.value is not None:
        value = formats.measured(each.value, each.unit)
    else:
        value = ""
    of = {
        "title": writing.said(each.title),
        "start": writing.clock_there(each.start),
        "end": writing.clock_there(each.end),
    }
    if value or each.reason is None:
        said = writing.filled(WORDS["index_of"], **of, share=formats.percent(each.coverage))
    else:
        reason = writing.said(NO_VALUE_REASONS[each.reason])
        said = writing.filled(WORDS["index_without"], **of, reason=reason[0].lower() + reason[1:])
    return {
        "value": value,
        "said": said,
        "colour": each.band.colour or "" if each.band is not None else "",
        "notes": " ".join(writing.said(note) for note in each.notes),
    }
