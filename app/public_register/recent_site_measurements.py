"""Aggregates the samples of a site's last 24 hours, and builds the cards of its page. Pure.

- Values with quality flags (`docs/quality.md`) are left out; values that are only late are included.
- Sound levels are averaged by energy.
- Indices are computed per box for the last complete hour. The site has the value of its worst box.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final
from zoneinfo import ZoneInfo

import numpy as np

from app.catalogue.metric_display_names import get_metric_title
from app.catalogue.metrics import METRICS_BY_NAME, Metric
from app.environmental_indices.index_definitions import (
    INDEX_DEFINITIONS,
    BoxMeasurements,
    MethodOptions,
    worst_sort_key,
)
from app.environmental_indices.index_results import (
    NO_VALUE_REASONS,
    IndexMethod,
    IndexResult,
    ResultComponent,
)
from app.environmental_indices.input_types import HourlySeries, SoundLevels
from app.environmental_indices.period_selection import DatedPeriod, find_last_complete_period
from app.environmental_indices.site_surroundings import (
    country_of_timezone,
    is_computed_by_default,
    season_of,
)
from app.platform.kernel.array_types import FloatArray, IntArray
from app.platform.kernel.instants import DAY_US, HOUR_US, US_PER_S, from_datetime, to_datetime
from app.presentation.translation import BilingualText
from app.public_register import line_charts
from app.public_register.page_texts import WORDS
from app.public_register.register_model import (
    IndexValue,
    PublishedSite,
    RecentMeasurements,
    RecentMetric,
    SiteMean,
)
from app.public_register.register_value_formatter import RegisterFormatter
from app.timeseries.quality.sample_flagging import Flag, FlagEvaluator, MetricSamples, combine_flags

DAY_S: Final = 86_400
QUARTER_S: Final = 900
_HOUR_S: Final = 3_600
_QUARTER_US: Final = QUARTER_S * US_PER_S
_DIGITS: Final = 7
EXCLUDED_FLAGS: Final[tuple[Flag, ...]] = ("out_of_range", "spike", "flat_line", "warm_up")
"""Quality flags that exclude a value."""


@dataclass(frozen=True, slots=True)
class BoxSamples:
    """Samples of a box, in ascending order of time.

    Attributes:
        kind: The kind of box, as its operator named it.
        interval_s: The sampling interval (s).
        times: The measurement times (µs since the epoch).
        values: The values by metric; NaN where a sample has none.
    """

    kind: str | None
    interval_s: int
    times: IntArray
    values: Mapping[str, FloatArray]


@dataclass(slots=True)
class _Sums:
    """Sums of a metric over the boxes that were added."""

    quarters: dict[int, list[float]] = field(default_factory=dict)
    newest: list[tuple[int, float, int]] = field(default_factory=list)
    covered: list[float] = field(default_factory=list)
    left_out: int = 0
    interval_s: int = 1


class RecentAggregator:
    """Aggregates the last 24 hours of a site box by box, so that only one box is in memory.

    Args:
        site: The site.
        now: The end of the 24 hours.
    """

    def __init__(self, site: PublishedSite, now: datetime) -> None:
        self._site = site
        self._now = now
        self._now_us = from_datetime(now)
        self._sums: dict[str, _Sums] = {}
        self._boxes = 0
        self._results: dict[tuple[str, str | None], list[IndexResult]] = {}
        zone = ZoneInfo(site.timezone)
        self._choices = MethodOptions(
            zone, season_of(now.astimezone(zone).date(), site.latitude), country_of_timezone(site.timezone)
        )
        self._slot: DatedPeriod = find_last_complete_period("hour", self._now_us, zone)
        self._starts = {metric: from_datetime(start) for metric, start in site.metric_starts.items()}

    def add(self, box: BoxSamples) -> None:
        """Add the samples of a box."""
        hourly: dict[str, HourlySeries] = {}
        levels: dict[str, SoundLevels] = {}
        before = sum(len(sums.covered) for sums in self._sums.values())
        for name, values in box.values.items():
            metric = METRICS_BY_NAME[name]
            times, valid = self._add_metric(metric, box, values)
            if not len(times):
                continue
            starts, means, counts = _average_by_interval(metric, times, valid, HOUR_US)
            if metric.kind == "level":
                levels[name] = SoundLevels.of_hours(starts, means, counts, box.interval_s)
            else:
                covered = np.minimum(100.0, 100.0 * counts * box.interval_s / _HOUR_S)
                hourly[name] = HourlySeries.of(starts, means, covered)
        self._boxes += sum(len(sums.covered) for sums in self._sums.values()) > before
        self._compute(box.kind, BoxMeasurements(hourly, levels, {}))

    def _add_metric(self, metric: Metric, box: BoxSamples, values: FloatArray) -> tuple[IntArray, FloatArray]:
        """Add the unflagged values of a metric to the sums, and return them with their times."""
        evaluator = FlagEvaluator.of(metric, box.interval_s, EXCLUDED_FLAGS)
        samples = MetricSamples(box.times, values, np.zeros(len(values), np.bool_))
        flagged = combine_flags(evaluator.flags(samples), len(values))
        since = max(self._now_us - DAY_US, self._starts.get(metric.name, 0))
        within = ~np.isnan(values) & (box.times > since)
        valid = within & ~flagged
        times, found = box.times[valid], values[valid]
        if within.any():
            sums = self._sums.setdefault(metric.name, _Sums())
            sums.left_out += int((within & flagged).sum())
            sums.covered.append(min(1.0, len(times) * box.interval_s / DAY_S))
            sums.interval_s = max(sums.interval_s, box.interval_s)
            if len(times):
                sums.newest.append((int(times[-1]), float(found[-1]), box.interval_s))
            quarters = _average_by_interval(metric, times, found, _QUARTER_US)
            for start, mean, count in zip(*quarters, strict=True):
                total = sums.quarters.setdefault(int(start), [0.0, 0.0])
                total[0] += _to_additive(metric, float(mean)) * float(count)
                total[1] += float(count)
        return times, found

    def _compute(self, kind: str | None, measurements: BoxMeasurements) -> None:
        """Compute the indices of a box for the last complete hour."""
        measured = measurements.hourly.keys() | measurements.levels.keys()
        for figure in INDEX_DEFINITIONS.values():
            if "hour" not in figure.lengths or figure.source != "hours":
                continue
            if not is_computed_by_default(figure, (kind, self._site.kind), self._choices.country):
                continue
            metrics = [name for name in figure.method.metrics if name in measured]
            for metric in (metrics if figure.each else [None]) if metrics else []:
                result = figure.compute(measurements, metric or metrics[0], self._slot, self._choices)
                self._results.setdefault((figure.method.name, metric), []).append(result)

    def result(self) -> RecentMeasurements:
        """Return the aggregated measurements."""
        worst = [_worst(found) for found in self._results.values()]
        # Indices that combine several metrics also have a result for each of them.
        whole = [each for each in worst if each.components and len(_method(each).metrics) > 1]
        parts: dict[str, list[IndexValue]] = {}
        for results in self._results.values():
            for name, index in _of_metrics(results):
                parts.setdefault(name, []).append(index)
        order = {name: index for index, name in enumerate(self._site.open_metrics)}
        return RecentMeasurements(
            self._now,
            tuple(
                self._metric(name, self._sums[name], tuple(parts.get(name, ())))
                for name in sorted(self._sums, key=lambda name: order.get(name, len(order)))
            ),
            tuple(_index(each) for each in whole),
            self._boxes,
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


def _to_additive(metric: Metric, value: float) -> float:
    """Convert a value to a quantity that can be summed: the energy of a sound level, else the value."""
    return 10.0 ** (value / 10) if metric.kind == "level" else value


def _mean(metric: Metric, total: float, count: float) -> float:
    mean = total / count
    if metric.kind == "level":
        mean = 10 * float(np.log10(mean))
    return float(f"{mean:.{_DIGITS}g}")


def _average_by_interval(
    metric: Metric, times: IntArray, values: FloatArray, width_us: int
) -> tuple[IntArray, FloatArray, FloatArray]:
    """Average values by time intervals. Returns the starts, means and counts of intervals with values."""
    starts, positions = np.unique(times // width_us * width_us, return_inverse=True)
    level = metric.kind == "level"
    counts = np.bincount(positions, minlength=len(starts)).astype(np.float64)
    sums = np.bincount(positions, np.power(10.0, values / 10) if level else values, len(starts))
    means = sums / counts if len(starts) else sums
    return starts, 10 * np.log10(means) if level else means, counts


def _newest(metric: Metric, found: Iterable[tuple[int, float, int]]) -> SiteMean | None:
    """Average the newest values of the boxes. Values much older than the newest one are ignored."""
    newest = sorted(found, reverse=True)
    if not newest:
        return None
    at_us, _, _ = newest[0]
    recent = [
        value
        for time_us, value, interval_s in newest
        if at_us - time_us <= max(QUARTER_S, 2 * interval_s) * US_PER_S
    ]
    total = sum(_to_additive(metric, value) for value in recent)
    return SiteMean(to_datetime(at_us), _mean(metric, total, len(recent)), len(recent))


def _method(result: IndexResult) -> IndexMethod:
    return INDEX_DEFINITIONS[result.method].method


def _worst(results: list[IndexResult]) -> IndexResult:
    """Return the worst result of several boxes; if none has a value, the one with the best coverage."""
    valued = [each for each in results if each.value is not None]
    return max(valued, key=worst_sort_key) if valued else max(results, key=lambda each: each.coverage)


def _index(result: IndexResult, part: ResultComponent | None = None) -> IndexValue:
    of = result if part is None else part
    # Notes apply to the index as a whole, not to one of its components.
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
    """Yield an index value per metric: of its components, or of the only metric of the index."""
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


def build_recent_context(recent: RecentMeasurements, formatter: RegisterFormatter) -> dict[str, Any]:
    """Build the template variables of the last 24 hours: indices of the site, and a card for each metric."""
    return {
        "indices": [_format_index(each, formatter) for each in recent.indices],
        "cards": [_card(each, recent, formatter) for each in recent.metrics],
    }


def _card(each: RecentMetric, recent: RecentMeasurements, formatter: RegisterFormatter) -> dict[str, Any]:
    metric = METRICS_BY_NAME[each.metric]
    left_out = ""
    if each.left_out:
        left_out = formatter.counted(each.left_out, WORDS["left_out_one"], WORDS["left_out_many"])
    return {
        "name": each.metric,
        "title": get_metric_title(each.metric, formatter.language),
        "value": "" if each.newest is None else formatter.measured(each.newest.mean, metric.unit),
        "when": "" if each.newest is None else _when(each.newest, formatter),
        "coverage": formatter.word("coverage").format(share=formatter.percent(each.coverage)),
        "left_out": left_out,
        "indices": [_format_index(index, formatter) for index in each.indices],
        "chart": line_charts.draw_line_chart(
            metric, each.values, "quarter", recent.at, formatter, spacing_s=float(each.spacing_s)
        )
        if each.values
        else None,
    }


def _when(newest: SiteMean, formatter: RegisterFormatter) -> str:
    at = formatter.word("newest_at").format(
        day=formatter.day(newest.time), clock=formatter.clock(newest.time)
    )
    if newest.count == 1:
        return at
    return at + formatter.word("newest_of").format(count=formatter.number(newest.count))


def _format_index(each: IndexValue, formatter: RegisterFormatter) -> dict[str, str]:
    """Format an index. Text always goes with its colour (accessibility)."""
    if each.band is not None:
        value = formatter.translate(each.band.label)
    elif each.value is not None:
        value = formatter.measured(each.value, each.unit)
    else:
        value = ""
    of = {
        "title": formatter.translate(each.title),
        "start": formatter.clock(each.start),
        "end": formatter.clock(each.end),
    }
    if value or each.reason is None:
        text = formatter.fill(WORDS["index_of"], **of, share=formatter.percent(each.coverage))
    else:
        reason = formatter.translate(NO_VALUE_REASONS[each.reason])
        text = formatter.fill(WORDS["index_without"], **of, reason=reason[0].lower() + reason[1:])
    return {
        "value": value,
        "text": text,
        "colour": each.band.colour or "" if each.band is not None else "",
        "notes": " ".join(formatter.translate(note) for note in each.notes),
    }
