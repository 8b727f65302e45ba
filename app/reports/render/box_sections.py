"""The sections on the period before, and box by box. Pure.

Owns how many boxes have a table of their own: of a few each, of more one row each in a table of all.
"""

from collections.abc import Mapping, Sequence
from typing import Final

from app.catalogue.metrics import BY_NAME
from app.reports.render.box_names import with_id
from app.reports.render.labels import mean_before
from app.reports.render.main_findings import change_of, guidelines
from app.reports.render.number_formats import NONE, Formats
from app.reports.render.page_blocks import Cell, Section, Table
from app.reports.render.period_comparison import compared
from app.reports.render.report_statistics import ENOUGH, BoxFigures, Computed
from app.reports.render.report_texts import WORDS
from app.reports.report_input import REPORTED

FEW: Final = 8
"""So many boxes have a table each."""
_COLUMNS: Final = ("pm2_5", "pm10", "no2", "o3", "laeq", "co2", "temperature", "humidity")
_MOST_COLUMNS: Final = 5


def comparison(report: Computed, formats: Formats) -> Section:
    """The means of the boxes beside those of the period before."""
    section = Section("comparison", formats.said(WORDS["comparison"]))
    found = compared(report)
    if not found:
        section.paragraphs.append(formats.said(WORDS["comparison_none"]))
        return section
    key = "comparison_day" if report.is_day else "comparison_month"
    head = [Cell(formats.said(WORDS["metric"]))]
    head += [
        Cell(formats.said(WORDS[each]), number=True)
        for each in ("boxes", "this_period", "period_before", "change")
    ]
    rows = []
    for each in found:
        unit = BY_NAME[each.metric].unit
        absolute = formats.signed(each.change, unit)
        rows.append(
            [
                Cell(formats.symbol(each.metric), small=_words(each.metric, formats), header=True),
                Cell(formats.number(each.boxes), number=True),
                Cell(formats.measured(each.now, unit), number=True),
                Cell(formats.measured(each.before, unit), number=True),
                Cell(absolute, small="" if each.percent is None else change_of(each, formats), number=True),
            ]
        )
    caption = formats.said(WORDS[key]).format(before=mean_before(report, formats))
    section.tables.append(Table(caption, head, rows, note=formats.said(WORDS["comparison_note"])))
    return section


def _words(metric: str, formats: Formats) -> str:
    words = formats.words(metric)
    return "" if words == formats.symbol(metric) else words


def by_box(report: Computed, formats: Formats) -> Section:
    """What each box measured: mean, extremes, coverage."""
    section = Section("boxes", formats.said(WORDS["by_box"]))
    if not report.boxes:
        return section
    if len(report.boxes) <= FEW:
        section.tables = [_of_box(box, formats) for box in report.boxes]
        return section
    count = formats.counted(len(report.boxes), WORDS["box_one"], WORDS["box_many"])
    section.paragraphs.append(formats.said(WORDS["by_box_many"]).format(boxes=count))
    section.tables.append(_of_all(report, formats))
    return section


def _of_box(box: BoxFigures, formats: Formats) -> Table:
    """All metrics of a box, beside the period before."""
    names = ("mean", "minimum", "maximum", "measured_share", "period_before")
    head = [
        Cell(formats.said(WORDS["metric"])),
        *(Cell(formats.said(WORDS[each]), number=True) for each in names),
    ]
    rows = []
    for metric in REPORTED:
        if metric not in box.now:
            continue
        now, before, unit = box.now[metric], box.before.get(metric), BY_NAME[metric].unit
        enough = before is not None and before.coverage >= ENOUGH
        rows.append(
            [
                Cell(formats.symbol(metric), header=True),
                Cell(formats.measured(now.mean, unit), number=True),
                Cell(formats.measured(now.low, unit), number=True),
                Cell(formats.measured(now.high, unit), number=True),
                Cell(formats.percent(now.coverage), number=True),
                Cell(formats.measured(before.mean, unit) if before and enough else NONE, number=True),
            ]
        )
    return Table(
        with_id(box.label, box.id), head, rows, note="" if rows else formats.said(WORDS["silent_box"])
    )


def _of_all(report: Computed, formats: Formats) -> Table:
    """A row for each box: those with the worst values first, those that were silent last."""
    there = [metric for metric in _COLUMNS if any(metric in box.now for box in report.boxes)][:_MOST_COLUMNS]
    highest = {
        metric: max(box.now[metric].mean for box in report.boxes if metric in box.now) for metric in there
    }
    head = [Cell(formats.said(WORDS["box"]))]
    head += [
        Cell(formats.symbol(metric), small=formats.unit(BY_NAME[metric].unit), number=True)
        for metric in there
    ]
    head.append(Cell(formats.said(WORDS["measured_share"]), number=True))
    rows = []
    ratios = _ratios(report)
    for box in sorted(report.boxes, key=lambda box: _order(box, ratios, there)):
        cells = [_of_metric(box, metric, formats, highest[metric]) for metric in there]
        shares = [each.coverage for each in box.now.values()]
        share = formats.percent(sum(shares) / len(shares)) if shares else formats.percent(0.0)
        rows.append([Cell(box.label, header=True), *cells, Cell(share, number=True)])
    caption = formats.said(WORDS["means_of"])
    return Table(caption, head, rows, looks="compact")


def _of_metric(box: BoxFigures, metric: str, formats: Formats, highest: float) -> Cell:
    found, unit = box.now.get(metric), BY_NAME[metric].unit
    if found is None:
        return Cell(NONE, number=True)
    ends = formats.said(WORDS["between"]).format(
        low=formats.value(found.low, unit), high=formats.value(found.high, unit)
    )
    star = " *" if found.mean == highest else ""
    return Cell(formats.value(found.mean, unit) + star, small=f"({ends})", number=True, strong=bool(star))


def _ratios(report: Computed) -> dict[int, float]:
    """How far above, or below, a guideline of the WHO each box came at most."""
    found: dict[int, float] = {}
    for values in guidelines(report).values():
        for value in values:
            found[value.box.place] = max(value.result.ratio or 0.0, found.get(value.box.place, 0.0))
    return found


def _order(box: BoxFigures, ratios: Mapping[int, float], there: Sequence[str]) -> tuple[float, ...]:
    """The worst first: by how far above a guideline it came, then by its means, in the order of columns."""
    means = (-box.now[metric].mean if metric in box.now else 0.0 for metric in there)
    return (not box.now, -ratios.get(box.place, 0.0), *means)
