"""Builds a report's section on indices and guidelines: the worst box for each, with the limit. Pure."""

from typing import Final

from app.environmental_indices.index_definitions import INDEX_DEFINITIONS
from app.environmental_indices.index_results import NO_VALUE_REASONS
from app.presentation.local_formatter import LocalFormatter
from app.presentation.typography import NO_VALUE
from app.reports.render.index_value_labels import (
    HIGHER_IS_BETTER,
    choose_band_colour,
    format_figure_title,
    format_figure_value,
    format_value_period,
)
from app.reports.render.page_blocks import ReportSection, ReportTable, TableCell
from app.reports.render.report_texts import WORDS
from app.reports.report_statistics import (
    FigureValue,
    ReportStatistics,
    explain_missing_value,
    find_worst_value,
)

_HEAD: Final = ("figure", "worst_value", "class", "compared_with", "where", "measured_share")
_NUMBERS: Final = frozenset({"worst_value", "measured_share"})


def build_index_section(report: ReportStatistics, formats: LocalFormatter) -> ReportSection:
    """Build the section."""
    section = ReportSection("indices", formats.translate(WORDS["indices"]))
    if report.input.odours_left_out:
        section.notes = [formats.translate(WORDS["odours_left_out"])]
    rows = [_row(values, report, formats) for values in report.values.values()]
    if not rows:
        section.paragraphs.append(formats.translate(WORDS["no_indices"]))
        return section
    section.paragraphs.append(formats.translate(WORDS["indices_intro"]))
    head = [TableCell(formats.translate(WORDS[each]), number=each in _NUMBERS) for each in _HEAD]
    section.tables.append(
        ReportTable(
            formats.translate(WORDS["indices"]),
            head,
            rows,
            note=_unfinished(report, formats),
            looks="figures",
        )
    )
    return section


def _unfinished(report: ReportStatistics, formats: LocalFormatter) -> str:
    late = [name for name in sorted(report.unfinished) if (name, None) not in report.values]
    if not late:
        return ""
    titles = formats.joined([formats.translate(INDEX_DEFINITIONS[name].method.title) for name in late])
    return formats.translate(WORDS["unfinished"]).format(titles=titles)


def _row(values: list[FigureValue], report: ReportStatistics, formats: LocalFormatter) -> list[TableCell]:
    found = find_worst_value(values)
    title = TableCell(
        format_figure_title(values[0], formats), small=_days_over(values, report, formats), header=True
    )
    if found is None:
        because = formats.translate(NO_VALUE_REASONS[explain_missing_value(values)])
        cover = max(value.result.coverage for value in values)
        return [
            title,
            TableCell(NO_VALUE, small=because),
            TableCell(""),
            TableCell(""),
            TableCell(""),
            TableCell(formats.percent(cover), number=True),
        ]
    result = found.result
    band = (
        TableCell("")
        if result.band is None
        else TableCell(formats.translate(result.band.label), swatch=choose_band_colour(result.band))
    )
    return [
        title,
        TableCell(format_figure_value(found, formats), number=True),
        band,
        _limit(found, formats),
        TableCell(found.box.label, small=format_value_period(found, report, formats)),
        TableCell(formats.percent(result.coverage), small=_without(values, formats), number=True),
    ]


def _limit(value: FigureValue, formats: LocalFormatter) -> TableCell:
    result = value.result
    if result.limit is None:
        return TableCell("")
    words = ("reached", "not_reached") if result.method in HIGHER_IS_BETTER else ("exceeded", "respected")
    verdict = formats.translate(WORDS[words[0] if result.exceeded else words[1]])
    if result.ratio is not None:
        verdict += f" ({formats.times(result.ratio)})"
    strong = bool(result.exceeded) != (result.method in HIGHER_IS_BETTER)
    return TableCell(formats.limit(result.limit, result.unit), small=verdict, strong=strong)


def _days_over(values: list[FigureValue], report: ReportStatistics, formats: LocalFormatter) -> str:
    """Count the days on which a box exceeded a daily guideline, of the days with a value."""
    if report.is_day or values[0].slot.first != values[0].slot.last or values[0].result.limit is None:
        return ""
    there = {value.slot.first for value in values if value.result.value is not None}
    over = {value.slot.first for value in values if value.result.exceeded}
    if not there:
        return ""
    cell = formats.translate(WORDS["days_over_cell"]).format(over=len(over), total=len(there))
    return f"{formats.translate(WORDS['days_over'])}{formats.colon}{cell}"


def _without(values: list[FigureValue], formats: LocalFormatter) -> str:
    """Count the boxes with the figure that have no value."""
    boxes = {value.box.position for value in values}
    there = {value.box.position for value in values if value.result.value is not None}
    if len(boxes) == len(there):
        return ""
    return formats.translate(WORDS["boxes_without"]).format(count=len(boxes) - len(there), total=len(boxes))
