"""Builds the heat strip of an index: a coloured field per hour or day, for the site and its boxes. Pure."""

from collections import Counter
from collections.abc import Mapping
from typing import Final

from app.environmental_indices.index_definitions import worst_sort_key
from app.environmental_indices.index_results import IndexBand
from app.environmental_indices.indoor_air import CO2_SCALE
from app.environmental_indices.outdoor_air_indices import ATMO_SCALES, EAQI_SCALES
from app.presentation.local_formatter import LocalFormatter
from app.reports.render.box_names import shorten_labels
from app.reports.render.index_value_labels import (
    choose_band_colour,
    choose_text_colour,
    format_figure_title,
)
from app.reports.render.page_blocks import IndexStrip, ReportTable, StripField, StripRow, TableCell
from app.reports.render.report_texts import WORDS
from app.reports.report_statistics import FigureValue, ReportStatistics

MAX_BOX_ROWS: Final = 8
"""Greatest number of boxes with a row: those with the worst values."""
_WIDTH, _LABEL, _TALL, _HEAD = 700.0, 132.0, 17.0, 15.0
_NONE: Final = "#f1f5f9"
_LETTERS: Final = 24

SCALES: Final[Mapping[str, tuple[IndexBand, ...]]] = {
    "eaqi": EAQI_SCALES["pm2_5"].bands,
    "atmo": ATMO_SCALES["pm2_5"].bands,
    "indoor-co2": CO2_SCALE.bands,
}
"""Classes of the methods with a strip, from best to worst."""

type _Fields = dict[int, FigureValue]


def build_index_strip(report: ReportStatistics, formats: LocalFormatter) -> tuple[IndexStrip, str] | None:
    """Build the strip and the note below it; None: no index has a value."""
    there = [value for value in report.strip if value.result.band is not None]
    if not there:
        return None
    starts = _starts(report)
    by_box: dict[int, _Fields] = {}
    site: _Fields = {}
    for value in there:
        at = _place(value, report)
        for fields in (site, by_box.setdefault(value.box.position, {})):
            if at not in fields or worst_sort_key(value.result) > worst_sort_key(fields[at].result):
                fields[at] = value
    worst_first = sorted(by_box, key=lambda position: -_gravity(by_box[position]))
    whole = formats.translate(WORDS["site_worst"])
    rows = [(whole, site)] if len(by_box) > 1 else []
    _, *labels = shorten_labels([whole, *(box.label for box in report.boxes)], _LETTERS)
    rows += [(labels[position], by_box[position]) for position in sorted(worst_first[:MAX_BOX_ROWS])]
    side = round((_WIDTH - _LABEL) / len(starts), 2)
    more = len(by_box) - MAX_BOX_ROWS
    note = formats.translate(WORDS["strip_more"]).format(count=MAX_BOX_ROWS, more=more) if more > 0 else ""
    title = format_figure_title(there[0], formats)
    if there[0].figure.lengths == ("hour",) and not report.is_day:
        title += f", {formats.translate(WORDS['strip_worst_hour'])}"
    made = IndexStrip(
        key="strip",
        title=formats.translate(WORDS["strip_day" if report.is_day else "strip_month"]).format(title=title),
        alt_text=_alt_text(site, formats),
        width=_WIDTH,
        height=_HEAD + _TALL * len(rows) + 1,
        side=side,
        tall=_TALL,
        heads=[
            (round(_LABEL + side * (position + 0.5), 1), _head(at, report, formats))
            for position, at in enumerate(starts)
        ],
        rows=[_row(number, label, fields, starts, side) for number, (label, fields) in enumerate(rows)],
        legend=build_legend(there[0].result.method, formats),
        table=_table(site, starts, report, formats),
    )
    return made, note


def _starts(report: ReportStatistics) -> list[int]:
    if report.is_day:
        return list(report.slot.period.hours())
    return [day.period.start_us for day in report.days]


def _place(value: FigureValue, report: ReportStatistics) -> int:
    if report.is_day:
        return value.slot.period.start_us
    day = (value.slot.first - report.slot.first).days
    return report.days[day].period.start_us


def _head(at: int, report: ReportStatistics, formats: LocalFormatter) -> str:
    local = formats.local(at)
    return str(local.hour) if report.is_day else str(local.day)


def _gravity(fields: _Fields) -> float:
    """Return how bad the values of a box are: its worst class first, then the mean of its classes."""
    found = [float(find_band_level(value)) for value in fields.values()]
    return max(found) + sum(found) / (100.0 * len(found))


def find_band_level(value: FigureValue) -> int:
    """Return the class as a number, from 1 (best)."""
    keys = [band.key for band in SCALES[value.result.method]]
    return keys.index(value.result.band.key) + 1 if value.result.band is not None else 0


def _row(number: int, label: str, fields: _Fields, starts: list[int], side: float) -> StripRow:
    made = []
    for position, at in enumerate(starts):
        value = fields.get(at)
        fill = choose_band_colour(value.result.band) if value is not None else None
        level = "" if value is None else str(find_band_level(value))
        made.append(
            StripField(
                round(_LABEL + side * position, 2), fill or _NONE, choose_text_colour(fill or _NONE), level
            )
        )
    return StripRow(_HEAD + _TALL * number, label, made)


def build_legend(method: str, formats: LocalFormatter) -> list[tuple[str, str]]:
    """Build the legend: the colour of each class, and its number and name."""
    return [
        (choose_band_colour(band) or _NONE, f"{level} {formats.translate(band.label)}")
        for level, band in enumerate(SCALES[method], 1)
    ]


def count_bands(site: _Fields) -> Counter[str]:
    """Count the fields by the key of their class."""
    return Counter(value.result.band.key for value in site.values() if value.result.band is not None)


def _alt_text(site: _Fields, formats: LocalFormatter) -> str:
    found = count_bands(site)
    bands = SCALES[next(iter(site.values())).result.method]
    classes = [
        formats.translate(WORDS["class_times"]).format(
            band=formats.translate(band.label), count=found[band.key]
        )
        for band in bands
        if found[band.key]
    ]
    return formats.translate(WORDS["strip_said"]).format(classes=formats.listed(classes))


def _table(
    site: _Fields, starts: list[int], report: ReportStatistics, formats: LocalFormatter
) -> ReportTable:
    """Build the table of the site's classes."""
    words = WORDS["hour" if report.is_day else "day"]
    head = [TableCell(formats.translate(each)) for each in (words, WORDS["class"], WORDS["where"])]
    rows = []
    for at in starts:
        value = site.get(at)
        when = formats.clock(at) if report.is_day else formats.short_day(at)
        band = None if value is None else value.result.band
        label = formats.translate(band.label) if band is not None else formats.translate(WORDS["no_value"])
        rows.append(
            [
                TableCell(when, header=True),
                TableCell(label),
                TableCell("" if value is None else value.box.label),
            ]
        )
    return ReportTable(formats.translate(WORDS["site_worst"]), head, rows)
