"""Writes the main findings of a report in three to six sentences, without judgement. Pure."""

from collections.abc import Iterator, Mapping
from typing import Final

from app.catalogue.metric_display_names import get_metric_symbol
from app.catalogue.metrics import METRICS_BY_NAME
from app.environmental_indices.index_definitions import worst_sort_key
from app.presentation.local_formatter import LocalFormatter
from app.presentation.typography import NBSP
from app.reports.render.index_value_labels import (
    find_component_value,
    format_figure_title,
    format_figure_value,
    format_value_period,
)
from app.reports.render.report_texts import WORDS
from app.reports.report_input import ReportLength
from app.reports.report_statistics import (
    MIN_COVERAGE_PERCENT,
    FigureValue,
    MeanComparison,
    ReportStatistics,
    compare_period_means,
    find_worst_value,
)

MAX_FINDINGS: Final = 6
_INDICES: Final = ("atmo", "eaqi")
WHO_METHODS: Final = ("who-24h", "who-o3-8h")
"""Methods that compare with a daily WHO guideline."""
# Smaller changes from the period before are not mentioned.
_BEFORE: Final[Mapping[ReportLength, str]] = {
    "day": "against_day",
    "week": "against_week",
    "month": "against_month",
}
_MIN_CHANGE_PERCENT: Final = 5.0
_MIN_CHANGE: Final = 1.0
_MAX_CHANGES: Final = 3
_COMPARED: Final = frozenset({"pm2_5", "pm10", "no2", "o3", "laeq", "co2"})


def build_main_findings(report: ReportStatistics, formats: LocalFormatter) -> list[str]:
    """Write the sentences, in a fixed order, at most `MAX_FINDINGS`."""
    if not report.boxes:
        return [formats.translate(WORDS["short_no_boxes"])]
    if not report.measured:
        count = formats.counted(len(report.boxes), WORDS["box_one"], WORDS["box_many"])
        return [formats.translate(WORDS["short_no_data"]).format(boxes=count)]
    return list(_sentences(report, formats))[:MAX_FINDINGS]


def _sentences(report: ReportStatistics, formats: LocalFormatter) -> Iterator[str]:
    for each in (_coverage, _index, _who, _noise, _rooms, _alerts, _changes):
        sentence = each(report, formats)
        if sentence:
            yield sentence


def compute_coverage(report: ReportStatistics) -> float:
    """Compute the coverage over all boxes and metrics (percent)."""
    due = sum(report.slot.period.seconds / box.interval_s * max(1, len(box.hours)) for box in report.boxes)
    there = sum(
        min(each.count, report.slot.period.seconds / box.interval_s)
        for box in report.boxes
        for each in box.now.values()
    )
    return 100.0 * there / due if due else 0.0


def _coverage(report: ReportStatistics, formats: LocalFormatter) -> str:
    count = len(report.boxes) - len(report.measured)
    silent = ""
    if count:
        silent = formats.translate(WORDS["short_silent_one" if count == 1 else "short_silent_many"]).format(
            count=count
        )
    return formats.translate(WORDS["short_coverage"]).format(
        boxes=formats.counted(len(report.boxes), WORDS["box_one"], WORDS["box_many"]),
        coverage=formats.percent(compute_coverage(report)),
        silent=silent,
    )


def find_headline_value(report: ReportStatistics) -> FigureValue | None:
    """Find the worst value of the site's air quality index."""
    for name in _INDICES:
        found = find_worst_value(report.values.get((name, None), []))
        if found is not None:
            return found
    return None


def _index(report: ReportStatistics, formats: LocalFormatter) -> str:
    found = find_headline_value(report)
    if found is None or found.result.band is None:
        return ""
    return formats.translate(WORDS["short_index"]).format(
        title=format_figure_title(found, formats),
        band=formats.translate(found.result.band.label),
        box=_named(found, formats),
        when=format_value_period(found, report, formats) or formats.short_day(found.slot.first),
    )


def _named(value: FigureValue, formats: LocalFormatter) -> str:
    """Name a box in a sentence. French puts names in quotes, but not ids."""
    label = value.box.label
    return label if formats.language == "en" or label == value.box.id else f"«{NBSP}{label}{NBSP}»"


def group_guideline_values(report: ReportStatistics) -> dict[str, list[FigureValue]]:
    """Group the values with a daily WHO guideline by metric, without missing values."""
    found: dict[str, list[FigureValue]] = {}
    for (name, metric), values in report.values.items():
        if name in WHO_METHODS:
            there = [value for value in values if value.result.value is not None]
            if there:
                found[metric or values[0].figure.method.metrics[0]] = there
    return found


def find_most_exceeding_box(values: list[FigureValue]) -> tuple[FigureValue, int]:
    """Find the box that exceeded a daily guideline on most days; of several, the one with the worst value.

    Returns:
        Its worst value, and the number of days on which it exceeded the guideline.
    """
    by_box: dict[int, list[FigureValue]] = {}
    for value in values:
        by_box.setdefault(value.box.position, []).append(value)
    found = [
        (highest, sum(bool(value.result.exceeded) for value in each))
        for each in by_box.values()
        if (highest := find_worst_value(each)) is not None
    ]
    return max(found, key=lambda pair: (pair[1], worst_sort_key(pair[0].result)))


def _who(report: ReportStatistics, formats: LocalFormatter) -> str:
    by_metric = group_guideline_values(report)
    if not by_metric:
        return ""
    parts: list[str] = []
    for metric, values in by_metric.items():
        if not any(value.result.exceeded for value in values):
            continue
        value, days = find_most_exceeding_box(values)
        key = "short_who_part" if report.is_day else "short_who_part_days"
        parts.append(
            formats.translate(WORDS[key]).format(
                metric=get_metric_symbol(metric, formats.language),
                value=format_figure_value(value, formats),
                ratio=formats.times(value.result.ratio or 0.0),
                limit=formats.limit(value.result.limit, value.result.unit),
                box=_named(value, formats),
                days=formats.counted(days, WORDS["day_one"], WORDS["day_many"]),
            )
        )
    if not parts:
        return _who_none(by_metric, len(report.days), formats)
    sentence = formats.translate(WORDS["short_who"]).format(parts=formats.joined(parts))
    # A single day above the guideline is no breach of it, and readers of "exceeded" must know that.
    return f"{sentence} {formats.translate(WORDS['who_percentile'])}"


def _who_none(by_metric: Mapping[str, list[FigureValue]], total: int, formats: LocalFormatter) -> str:
    """Say that no guideline was exceeded, and on how many days, for metrics with values on enough days."""
    metrics: list[str] = []
    for metric, values in by_metric.items():
        name = get_metric_symbol(metric, formats.language)
        days = len({value.slot.first for value in values})
        if days == total:
            metrics.append(name)
        elif 100.0 * days / total >= MIN_COVERAGE_PERCENT:
            part = formats.translate(WORDS["short_who_none_part"])
            metrics.append(part.format(metric=name, days=formats.number(days), total=formats.number(total)))
    if not metrics:
        return ""
    return formats.translate(WORDS["short_who_none"]).format(metrics=formats.joined(metrics))


def _noise(report: ReportStatistics, formats: LocalFormatter) -> str:
    found = find_worst_value(report.values.get(("lden-day", None), []))
    if found is not None:
        night = find_component_value(found, "lnight")
        return formats.translate(WORDS["short_lden"]).format(
            box=_named(found, formats),
            value=format_figure_value(found, formats),
            night=formats.translate(WORDS["short_night"]).format(value=formats.measured(night, "dB"))
            if night
            else "",
            when=formats.short_day(found.slot.first),
        )
    loudest = find_worst_value(report.values.get(("leq", None), []))
    if loudest is None:
        return ""
    return formats.translate(WORDS["short_leq"]).format(
        box=_named(loudest, formats), value=format_figure_value(loudest, formats)
    )


def _rooms(report: ReportStatistics, formats: LocalFormatter) -> str:
    found = find_worst_value(report.values.get(("indoor-co2", None), []))
    if found is None or found.result.band is None:
        return ""
    return formats.translate(WORDS["short_co2"]).format(
        box=_named(found, formats),
        value=format_figure_value(found, formats),
        band=formats.translate(found.result.band.label),
    )


def _alerts(report: ReportStatistics, formats: LocalFormatter) -> str:
    alerts = report.input.alerts
    if alerts is None:
        return ""
    total, critical = sum(alerts.by_severity.values()), alerts.by_severity.get("critical", 0)
    if not total:
        return formats.translate(WORDS["short_alerts_none"])
    grave = formats.counted(critical, WORDS["critical_one"], WORDS["critical_many"])
    longest = alerts.longest[0]
    ended = longest.ended_us or report.input.made_us
    return formats.translate(WORDS["short_alert" if total == 1 else "short_alerts"]).format(
        alerts=formats.counted(total, WORDS["alert_one"], WORDS["alert_many"]),
        critical=formats.translate(WORDS["short_critical"]).format(critical=grave) if critical else "",
        longest=formats.duration((ended - longest.started_us) / 1e6),
    )


def format_change(each: MeanComparison, formats: LocalFormatter) -> str:
    """Format the change of a mean, in percent if the quantity allows it."""
    if each.percent is None:
        return formats.signed(each.change, METRICS_BY_NAME[each.metric].unit)
    sign = "+" if each.percent > 0 else "\u2212"
    return sign + formats.percent(abs(each.percent))


def _changes(report: ReportStatistics, formats: LocalFormatter) -> str:
    changes = [
        f"{get_metric_symbol(each.metric, formats.language)} {format_change(each, formats)}"
        for each in compare_period_means(report)
        if each.metric in _COMPARED
        and (
            abs(each.percent) >= _MIN_CHANGE_PERCENT
            if each.percent is not None
            else abs(each.change) >= _MIN_CHANGE
        )
    ]
    if not changes:
        return ""
    before = formats.translate(WORDS[_BEFORE[report.input.length]])
    return formats.translate(WORDS["short_compared"]).format(
        before=before, parts=", ".join(changes[:_MAX_CHANGES])
    )
