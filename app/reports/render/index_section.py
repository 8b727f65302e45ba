"""The section on indices and guidelines: of each figure the worst box, beside its limit. Pure."""

from typing import Final

from app.indicators.index_definitions import FIGURES
from app.indicators.index_results import REASONS
from app.reports.render.labels import GOOD_ABOVE, colour_of, shown, title_of, when
from app.reports.render.number_formats import NONE, Formats
from app.reports.render.page_blocks import Cell, Section, Table
from app.reports.render.report_statistics import Computed, Value, reason, worst
from app.reports.render.report_texts import WORDS

_HEAD: Final = ("figure", "worst_value", "class", "compared_with", "where", "measured_share")
_NUMBERS: Final = frozenset({"worst_value", "measured_share"})


def indices(report: Computed, formats: Formats) -> Section:
    """The section."""
    section = Section("indices", formats.said(WORDS["indices"]))
    if report.material.odours_left_out:
        section.notes = [formats.said(WORDS["odours_left_out"])]
    rows = [_row(values, report, formats) for values in report.values.values()]
    if not rows:
        section.paragraphs.append(formats.said(WORDS["no_indices"]))
        return section
    section.paragraphs.append(formats.said(WORDS["indices_intro"]))
    head = [Cell(formats.said(WORDS[each]), number=each in _NUMBERS) for each in _HEAD]
    section.tables.append(
        Table(formats.said(WORDS["indices"]), head, rows, note=_unfinished(report, formats), looks="figures")
    )
    return section


def _unfinished(report: Computed, formats: Formats) -> str:
    late = [name for name in sorted(report.unfinished) if (name, None) not in report.values]
    if not late:
        return ""
    titles = formats.joined([formats.said(FIGURES[name].method.title) for name in late])
    return formats.said(WORDS["unfinished"]).format(titles=titles)


def _row(values: list[Value], report: Computed, formats: Formats) -> list[Cell]:
    found = worst(values)
    title = Cell(title_of(values[0], formats), small=_days_over(values, report, formats), header=True)
    if found is None:
        because = formats.said(REASONS[reason(values)])
        cover = max(value.result.coverage for value in values)
        return [
            title,
            Cell(NONE, small=because),
            Cell(""),
            Cell(""),
            Cell(""),
            Cell(formats.percent(cover), number=True),
        ]
    result = found.result
    band = (
        Cell("")
        if result.band is None
        else Cell(formats.said(result.band.label), swatch=colour_of(result.band))
    )
    return [
        title,
        Cell(shown(found, formats), number=True),
        band,
        _limit(found, formats),
        Cell(found.box.label, small=when(found, report, formats)),
        Cell(formats.percent(result.coverage), small=_without(values, formats), number=True),
    ]


def _limit(value: Value, formats: Formats) -> Cell:
    result = value.result
    if result.limit is None:
        return Cell("")
    words = ("reached", "not_reached") if result.method in GOOD_ABOVE else ("exceeded", "kept")
    said = formats.said(WORDS[words[0] if result.exceeded else words[1]])
    if result.ratio is not None:
        said += f" ({formats.times(result.ratio)})"
    strong = bool(result.exceeded) != (result.method in GOOD_ABOVE)
    return Cell(formats.limit(result.limit, result.unit), small=said, strong=strong)


def _days_over(values: list[Value], report: Computed, formats: Formats) -> str:
    """Of guidelines day by day: on how many days some box exceeded, of those with a value."""
    if report.is_day or values[0].slot.first != values[0].slot.last or values[0].result.limit is None:
        return ""
    there = {value.slot.first for value in values if value.result.value is not None}
    over = {value.slot.first for value in values if value.result.exceeded}
    if not there:
        return ""
    cell = formats.said(WORDS["days_over_cell"]).format(over=len(over), total=len(there))
    return f"{formats.said(WORDS['days_over'])}{formats.said(WORDS['colon'])}{cell}"


def _without(values: list[Value], formats: Formats) -> str:
    """How many boxes that have the figure have no value of it at all."""
    boxes = {value.box.place for value in values}
    there = {value.box.place for value in values if value.result.value is not None}
    if len(boxes) == len(there):
        return ""
    return formats.said(WORDS["boxes_without"]).format(count=len(boxes) - len(there), total=len(boxes))
