"""The sections of charts: air, noise, rooms. Pure.

Owns which quantities have a chart, of which boxes, and with which levels to compare with.
"""

from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import Final

from app.catalogue.metrics import BY_NAME
from app.indicators.calendar_periods import DAY_US, HOUR_US, instant
from app.indicators.index_definitions import FIGURES
from app.indicators.indoor_air import CO2_SCALE
from app.indicators.noise_levels import PARTS, Part
from app.indicators.who_guidelines import GUIDELINE_O3_8H, GUIDELINES_24H
from app.reports.render.charts import Asked, Chart, Limit, Series, chart, guideline
from app.reports.render.labels import part_of
from app.reports.render.number_formats import Formats
from app.reports.render.page_blocks import Cell, Section, Table
from app.reports.render.report_statistics import (
    BoxFigures,
    Computed,
    Value,
    by_box,
    value_of,
    within,
    worst,
)
from app.reports.render.report_texts import WORDS
from app.timeseries.rollups import rollup_columns
from app.timeseries.rollups.rollup_columns import Columns
from app.timeseries.series.series_arithmetic import Bucket

_AIR: Final = ("pm2_5", "pm10", "no2", "o3", "so2", "co", "odour")
_ROOMS: Final = ("co2", "temperature", "humidity", "tvoc", "hcho")
_WIDE: Final = (700.0, 190.0)
_DAYS: Final = Bucket.parse("1d")
_PARTS: Final = ("lday", "levening", "lnight")
_GROUNDS: Final = {"levening": "#fdf1dc", "lnight": "#e6ebf5"}
_TABLE_ROWS: Final = 10


def air(report: Computed, formats: Formats) -> Section:
    """Pollutants by hour or by day, beside the guidelines."""
    section = Section("air", formats.said(WORDS["air"]))
    for metric in _AIR:
        made = _of_metric(report, metric, formats, report.boxes)
        if made is not None:
            section.charts.append(made)
    return section


def rooms(report: Computed, formats: Formats) -> Section:
    """What is measured in rooms: of boxes that measure carbon dioxide."""
    section = Section("rooms", formats.said(WORDS["rooms"]))
    inside = [box for box in report.boxes if "co2" in box.hours]
    for metric in _ROOMS:
        made = _of_metric(report, metric, formats, inside)
        if made is not None:
            section.charts.append(made)
    return section


def _of_metric(report: Computed, metric: str, formats: Formats, boxes: Sequence[BoxFigures]) -> Chart | None:
    key = "hourly_means" if report.is_day else "daily_means"
    series_of: Callable[[BoxFigures], Series] = lambda box: series(report, box, metric)  # noqa: E731
    if metric == "o3" and not report.is_day:
        # The guideline is of eight hours: beside it stands what it is about.
        key = "daily_o3"
        found = by_box(report.values.get(("who-o3-8h", None), []))
        series_of = lambda box: _of_values(report, found.get(box.place, []))  # noqa: E731
    if metric == "co2" and not report.is_day:
        # So are those of rooms: their mean of a day is of the night too.
        key = "daily_co2"
        series_of = lambda box: _of_values(report, _co2(report, box))  # noqa: E731
    named = [(box.label, series_of(box)) for box in boxes]
    unit = BY_NAME[metric].unit
    return chart(
        Asked(
            key=metric,
            title=formats.said(WORDS[key]).format(metric=formats.symbol(metric)),
            unit=unit,
            series=named,
            slot=report.slot,
            width_us=HOUR_US if report.is_day else DAY_US,
            limits=_limits(metric, formats),
            zero=metric not in {"temperature", "humidity"},
        ),
        formats,
    )


def _limits(metric: str, formats: Formats) -> list[Limit]:
    if metric in GUIDELINES_24H:
        return [guideline(GUIDELINES_24H[metric], WORDS["limit_24h"], formats)]
    if metric == "o3":
        return [guideline(GUIDELINE_O3_8H, WORDS["limit_8h"], formats)]
    if metric == "co2":
        names = (WORDS["limit_co2_low"], WORDS["limit_co2_high"])
        return [guideline(at, words, formats) for at, words in zip(CO2_SCALE.bounds, names, strict=True)]
    return []


def series(report: Computed, box: BoxFigures, metric: str) -> Series:
    """Means of a box's hours, or of its days, each in the middle of its time."""
    if metric not in box.hours:
        return {}
    found = within(box.hours[metric], report.slot.period)
    if not report.is_day:
        found = daily(found, report, level=BY_NAME[metric].kind == "level")
    half = (HOUR_US if report.is_day else DAY_US) // 2
    return {int(at) + half: float(mean) for at, mean in zip(found.times, found.means, strict=True)}


def daily(found: Columns, report: Computed, *, level: bool) -> Columns:
    """Hours put together to local days."""
    if not len(found):
        return found
    return rollup_columns.merge(
        [found.begun(rollup_columns.begin(found.times, _DAYS, report.zone))], level=level
    )


def _of_values(report: Computed, values: Sequence[Value]) -> Series:
    starts = {day.first: day.period.start_us for day in report.days}
    return {
        starts[value.slot.first] + DAY_US // 2: value.result.value
        for value in values
        if value.result.value is not None
    }


def _co2(report: Computed, box: BoxFigures) -> list[Value]:
    """How far carbon dioxide rose on each day."""
    return [value_of(report, box, FIGURES["indoor-co2"], None, day) for day in report.days]


def noise(report: Computed, formats: Formats) -> Section:
    """Sound levels by hour with the parts of the day, or Lden and the night level by day."""
    section = Section("noise", formats.said(WORDS["noise"]))
    parts = PARTS.get(report.material.country, PARTS["EU"])
    made = _noise_of_day(report, formats, parts) if report.is_day else _noise_of_month(report, formats)
    section.charts += [each for each in made if each is not None]
    table = _levels(report, formats)
    if table is not None:
        section.tables.append(table)
    if section.charts and (report.is_day or table is not None):
        section.paragraphs.append(_parts_said(parts, formats))
    return section


def _noise_of_day(report: Computed, formats: Formats, parts: Sequence[Part]) -> list[Chart | None]:
    shades = []
    for day in (report.slot.first - timedelta(days=1), report.slot.first):
        for part in parts:
            after = day if part.begin < part.end else day + timedelta(days=1)
            if part.key in _GROUNDS:
                span = instant(day, part.begin, report.zone), instant(after, part.end, report.zone)
                shades.append((*span, formats.said(WORDS[part.key]), _GROUNDS[part.key]))
    named = [(box.label, series(report, box, "laeq")) for box in report.boxes]
    title = formats.said(WORDS["hourly_noise"])
    return [
        chart(
            Asked("laeq", title, "dB", named, report.slot, HOUR_US, shades=shades, zero=False, size=_WIDE),
            formats,
        )
    ]


def _noise_of_month(report: Computed, formats: Formats) -> list[Chart | None]:
    found = by_box(report.values.get(("lden-day", None), []))
    made: list[Chart | None] = []
    for key, words in (("lden", WORDS["daily_lden"]), ("lnight", WORDS["daily_lnight"])):
        named = [(box.label, _levels_by_day(report, found.get(box.place, []), key)) for box in report.boxes]
        made.append(
            chart(Asked(key, formats.said(words), "dB", named, report.slot, DAY_US, zero=False), formats)
        )
    if any(each is not None for each in made):
        return made
    named = [(box.label, series(report, box, "laeq")) for box in report.boxes]
    title = formats.said(WORDS["daily_means"]).format(metric=formats.symbol("laeq"))
    return [chart(Asked("laeq", title, "dB", named, report.slot, DAY_US, zero=False, size=_WIDE), formats)]


def _levels_by_day(report: Computed, found: Sequence[Value], key: str) -> Series:
    starts = {day.first: day.period.start_us for day in report.days}
    levels: dict[int, float] = {}
    for value in found:
        level = value.result.value if key == "lden" else part_of(value, key)
        if level is not None and value.result.value is not None:
            levels[starts[value.slot.first] + DAY_US // 2] = level
    return levels


def _levels(report: Computed, formats: Formats) -> Table | None:
    """Lden and its parts, of each box's loudest day."""
    of = by_box(report.values.get(("lden-day", None), []))
    loudest = [found for found in map(worst, of.values()) if found is not None]
    if not loudest:
        return None
    loudest.sort(key=lambda value: -(value.result.value or 0.0))
    keys = (*_PARTS, "lden", "leq")
    head = [Cell(formats.said(WORDS["box"])), *([] if report.is_day else [Cell(formats.said(WORDS["when"]))])]
    head += [Cell(formats.said(WORDS[key]), number=True) for key in keys]
    rows = []
    for value in loudest[:_TABLE_ROWS]:
        levels = [value.result.value if key == "lden" else part_of(value, key) for key in keys]
        row = [Cell(value.box.label, header=True)]
        row += [] if report.is_day else [Cell(formats.short_day(value.slot.first))]
        rows.append([*row, *(Cell(formats.value(level, "dB"), number=True) for level in levels)])
    more = len(loudest) - _TABLE_ROWS
    note = formats.said(WORDS["more_boxes"]).format(count=more) if more > 0 else ""
    caption = formats.said(WORDS["noise_table_day" if report.is_day else "noise_table_month"])
    return Table(caption, head, rows, note=note)


def _parts_said(parts: Sequence[Part], formats: Formats) -> str:
    spans = {
        part.key: formats.said(WORDS["from_until"]).format(first=part.begin.hour, last=part.end.hour)
        for part in parts
    }
    return formats.said(WORDS["noise_parts"]).format(
        day=spans["lday"], evening=spans["levening"], night=spans["lnight"]
    )
