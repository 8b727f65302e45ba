"""Builds the report sections "The period before" (a comparison) and "Box by box". Pure.

Up to `MAX_BOX_TABLES` boxes have a table each; more boxes share one table with a row each.
"""

from collections.abc import Mapping, Sequence
from typing import Final

from app.catalogue.metric_display_names import get_metric_symbol, get_metric_title
from app.catalogue.metrics import METRICS_BY_NAME
from app.presentation.local_formatter import LocalFormatter
from app.presentation.typography import NO_VALUE
from app.reports.render.box_names import append_box_id
from app.reports.render.index_value_labels import format_previous_period
from app.reports.render.main_findings import format_change, group_guideline_values
from app.reports.render.page_blocks import ReportSection, ReportTable, TableCell
from app.reports.render.report_texts import WORDS
from app.reports.report_input import REPORTED_METRICS
from app.reports.report_statistics import (
    MIN_COVERAGE_PERCENT,
    BoxFigures,
    ReportStatistics,
    compare_period_means,
)

MAX_BOX_TABLES: Final = 8
"""Greatest number of boxes with a table each."""
_COLUMNS: Final = ("pm2_5", "pm10", "no2", "o3", "laeq", "co2", "temperature", "humidity")
_MOST_COLUMNS: Final = 5


def build_comparison_section(report: ReportStatistics, formats: LocalFormatter) -> ReportSection:
    """Build the comparison of the boxes' means with the period before."""
    section = ReportSection("comparison", formats.translate(WORDS["comparison"]))
    found = compare_period_means(report)
    if not found:
        section.paragraphs.append(formats.translate(WORDS["comparison_none"]))
        return section
    key = "comparison_day" if report.is_day else "comparison_month"
    head = [TableCell(formats.translate(WORDS["metric"]))]
    head += [
        TableCell(formats.translate(WORDS[each]), number=True)
        for each in ("boxes", "this_period", "period_before", "change")
    ]
    rows = []
    for each in found:
        unit = METRICS_BY_NAME[each.metric].unit
        absolute = formats.signed(each.change, unit)
        rows.append(
            [
                TableCell(
                    get_metric_symbol(each.metric, formats.language),
                    small=_words(each.metric, formats),
                    header=True,
                ),
                TableCell(formats.number(each.boxes), number=True),
                TableCell(formats.measured(each.now, unit), number=True),
                TableCell(formats.measured(each.before, unit), number=True),
                TableCell(
                    absolute, small="" if each.percent is None else format_change(each, formats), number=True
                ),
            ]
        )
    caption = formats.translate(WORDS[key]).format(before=format_previous_period(report, formats))
    section.tables.append(ReportTable(caption, head, rows, note=formats.translate(WORDS["comparison_note"])))
    return section


def _words(metric: str, formats: LocalFormatter) -> str:
    words = get_metric_title(metric, formats.language)
    return "" if words == get_metric_symbol(metric, formats.language) else words


def build_box_section(report: ReportStatistics, formats: LocalFormatter) -> ReportSection:
    """Build the tables of the boxes: mean, extremes and coverage."""
    section = ReportSection("boxes", formats.translate(WORDS["by_box"]))
    if not report.boxes:
        return section
    if len(report.boxes) <= MAX_BOX_TABLES:
        section.tables = [_of_box(box, formats) for box in report.boxes]
        return section
    count = formats.counted(len(report.boxes), WORDS["box_one"], WORDS["box_many"])
    section.paragraphs.append(formats.translate(WORDS["by_box_many"]).format(boxes=count))
    section.tables.append(_of_all(report, formats))
    return section


def _of_box(box: BoxFigures, formats: LocalFormatter) -> ReportTable:
    """Build the table of a box: all its metrics, with the period before."""
    names = ("mean", "minimum", "maximum", "measured_share", "period_before")
    head = [
        TableCell(formats.translate(WORDS["metric"])),
        *(TableCell(formats.translate(WORDS[each]), number=True) for each in names),
    ]
    rows = []
    for metric in REPORTED_METRICS:
        if metric not in box.now:
            continue
        now, before, unit = box.now[metric], box.before.get(metric), METRICS_BY_NAME[metric].unit
        enough = before is not None and before.coverage >= MIN_COVERAGE_PERCENT
        rows.append(
            [
                TableCell(get_metric_symbol(metric, formats.language), header=True),
                TableCell(formats.measured(now.mean, unit), number=True),
                TableCell(formats.measured(now.low, unit), number=True),
                TableCell(formats.measured(now.high, unit), number=True),
                TableCell(formats.percent(now.coverage), number=True),
                TableCell(
                    formats.measured(before.mean, unit) if before and enough else NO_VALUE, number=True
                ),
            ]
        )
    return ReportTable(
        append_box_id(box.label, box.id),
        head,
        rows,
        note="" if rows else formats.translate(WORDS["silent_box"]),
    )


def _of_all(report: ReportStatistics, formats: LocalFormatter) -> ReportTable:
    """Build the table of all boxes: those with the worst values first, silent ones last."""
    there = [metric for metric in _COLUMNS if any(metric in box.now for box in report.boxes)][:_MOST_COLUMNS]
    highest = {
        metric: max(box.now[metric].mean for box in report.boxes if metric in box.now) for metric in there
    }
    head = [TableCell(formats.translate(WORDS["box"]))]
    head += [
        TableCell(
            get_metric_symbol(metric, formats.language),
            small=formats.unit(METRICS_BY_NAME[metric].unit),
            number=True,
        )
        for metric in there
    ]
    head.append(TableCell(formats.translate(WORDS["measured_share"]), number=True))
    rows = []
    ratios = _ratios(report)
    for box in sorted(report.boxes, key=lambda box: _order(box, ratios, there)):
        cells = [_of_metric(box, metric, formats, highest[metric]) for metric in there]
        shares = [each.coverage for each in box.now.values()]
        share = formats.percent(sum(shares) / len(shares)) if shares else formats.percent(0.0)
        rows.append([TableCell(box.label, header=True), *cells, TableCell(share, number=True)])
    caption = formats.translate(WORDS["means_of"])
    return ReportTable(caption, head, rows, looks="compact")


def _of_metric(box: BoxFigures, metric: str, formats: LocalFormatter, highest: float) -> TableCell:
    found, unit = box.now.get(metric), METRICS_BY_NAME[metric].unit
    if found is None:
        return TableCell(NO_VALUE, number=True)
    ends = formats.translate(WORDS["between"]).format(
        low=formats.value(found.low, unit), high=formats.value(found.high, unit)
    )
    star = " *" if found.mean == highest else ""
    return TableCell(
        formats.value(found.mean, unit) + star, small=f"({ends})", number=True, strong=bool(star)
    )


def _ratios(report: ReportStatistics) -> dict[int, float]:
    """Return the highest ratio to a WHO guideline of each box, by its position."""
    found: dict[int, float] = {}
    for values in group_guideline_values(report).values():
        for value in values:
            found[value.box.position] = max(value.result.ratio or 0.0, found.get(value.box.position, 0.0))
    return found


def _order(box: BoxFigures, ratios: Mapping[int, float], there: Sequence[str]) -> tuple[float, ...]:
    """Return the sort key of a box: worst ratio to a guideline first, then highest means by column."""
    means = (-box.now[metric].mean if metric in box.now else 0.0 for metric in there)
    return (not box.now, -ratios.get(box.position, 0.0), *means)
