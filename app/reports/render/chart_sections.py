"""Builds the sections with charts: air, noise and rooms. Pure.

It selects the metrics with a chart, the boxes in it, and the guideline values to compare with.
"""

from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import Final

from app.catalogue.metric_display_names import get_metric_symbol
from app.catalogue.metrics import METRICS_BY_NAME
from app.environmental_indices.index_definitions import INDEX_DEFINITIONS
from app.environmental_indices.indoor_air import CO2_SCALE
from app.environmental_indices.noise_levels import DAY_PARTS, DayPart
from app.environmental_indices.period_selection import resolve_local_time
from app.environmental_indices.who_guidelines import GUIDELINE_O3_8H, GUIDELINES_24H
from app.platform.kernel.instants import DAY_US, HOUR_US
from app.presentation.local_formatter import LocalFormatter
from app.reports.render.charts import (
    ChartLimit,
    ChartSeries,
    ChartSpec,
    ReportChart,
    draw_report_chart,
    make_guideline_limit,
)
from app.reports.render.index_value_labels import find_component_value
from app.reports.render.page_blocks import ReportSection, ReportTable, TableCell
from app.reports.render.report_texts import WORDS
from app.reports.report_statistics import (
    BoxFigures,
    FigureValue,
    ReportStatistics,
    compute_figure_value,
    find_worst_value,
    group_values_by_box,
    select_hours,
)
from app.timeseries.rollups import rollup_merging
from app.timeseries.rollups.rollup_merging import RollupColumns
from app.timeseries.series.series_parameters import BucketWidth

_AIR: Final = ("pm2_5", "pm10", "no2", "o3", "so2", "co", "odour")
_ROOMS: Final = ("co2", "temperature", "humidity", "tvoc", "hcho")
_WIDE: Final = (700.0, 190.0)
_DAYS: Final = BucketWidth.parse("1d")
_PARTS: Final = ("lday", "levening", "lnight")
_GROUNDS: Final = {"levening": "#fdf1dc", "lnight": "#e6ebf5"}
_TABLE_ROWS: Final = 10


def build_air_section(report: ReportStatistics, formats: LocalFormatter) -> ReportSection:
    """Build the charts of pollutants by hour or by day, with guideline values."""
    section = ReportSection("air", formats.translate(WORDS["air"]))
    for metric in _AIR:
        made = _of_metric(report, metric, formats, report.boxes)
        if made is not None:
            section.charts.append(made)
    return section


def build_rooms_section(report: ReportStatistics, formats: LocalFormatter) -> ReportSection:
    """Build the charts of indoor boxes, which are those that measure CO₂."""
    section = ReportSection("rooms", formats.translate(WORDS["rooms"]))
    inside = [box for box in report.boxes if "co2" in box.hours]
    for metric in _ROOMS:
        made = _of_metric(report, metric, formats, inside)
        if made is not None:
            section.charts.append(made)
    return section


def _of_metric(
    report: ReportStatistics, metric: str, formats: LocalFormatter, boxes: Sequence[BoxFigures]
) -> ReportChart | None:
    key = "hourly_means" if report.is_day else "daily_means"
    series_of: Callable[[BoxFigures], ChartSeries] = lambda box: build_box_series(report, box, metric)  # noqa: E731
    if metric == "o3" and not report.is_day:
        # The guideline is for 8-hour means, so the chart shows these.
        key = "daily_o3"
        found = group_values_by_box(report.values.get(("who-o3-8h", None), []))
        series_of = lambda box: _of_values(report, found.get(box.position, []))  # noqa: E731
    if metric == "co2" and not report.is_day:
        # A daily mean includes the night, when rooms are empty, so the chart shows the highest hourly mean.
        key = "daily_co2"
        series_of = lambda box: _of_values(report, _co2(report, box))  # noqa: E731
    named = [(box.label, series_of(box)) for box in boxes]
    unit = METRICS_BY_NAME[metric].unit
    return draw_report_chart(
        ChartSpec(
            key=metric,
            title=formats.translate(WORDS[key]).format(metric=get_metric_symbol(metric, formats.language)),
            unit=unit,
            series=named,
            slot=report.slot,
            width_us=HOUR_US if report.is_day else DAY_US,
            limits=_limits(metric, formats),
            zero=metric not in {"temperature", "humidity"},
        ),
        formats,
    )


def _limits(metric: str, formats: LocalFormatter) -> list[ChartLimit]:
    if metric in GUIDELINES_24H:
        return [make_guideline_limit(GUIDELINES_24H[metric], WORDS["limit_24h"], formats)]
    if metric == "o3":
        return [make_guideline_limit(GUIDELINE_O3_8H, WORDS["limit_8h"], formats)]
    if metric == "co2":
        names = (WORDS["limit_co2_low"], WORDS["limit_co2_high"])
        return [
            make_guideline_limit(at, words, formats)
            for at, words in zip(CO2_SCALE.bounds, names, strict=True)
        ]
    return []


def build_box_series(report: ReportStatistics, box: BoxFigures, metric: str) -> ChartSeries:
    """Build the hourly or daily means of a box, keyed by the middle of the hour or day (µs)."""
    if metric not in box.hours:
        return {}
    found = select_hours(box.hours[metric], report.slot.period)
    if not report.is_day:
        found = aggregate_daily(found, report, level=METRICS_BY_NAME[metric].kind == "level")
    half = (HOUR_US if report.is_day else DAY_US) // 2
    return {int(at) + half: float(mean) for at, mean in zip(found.times, found.means, strict=True)}


def aggregate_daily(found: RollupColumns, report: ReportStatistics, *, level: bool) -> RollupColumns:
    """Merge hours to local days; `level`: by energy."""
    if not len(found):
        return found
    return rollup_merging.merge_columns(
        [found.begun(rollup_merging.floor_to_buckets(found.times, _DAYS, report.zone))], level=level
    )


def _of_values(report: ReportStatistics, values: Sequence[FigureValue]) -> ChartSeries:
    starts = {day.first: day.period.start_us for day in report.days}
    return {
        starts[value.slot.first] + DAY_US // 2: value.result.value
        for value in values
        if value.result.value is not None
    }


def _co2(report: ReportStatistics, box: BoxFigures) -> list[FigureValue]:
    """Compute the CO₂ index of each day."""
    return [
        compute_figure_value(report, box, INDEX_DEFINITIONS["indoor-co2"], None, day) for day in report.days
    ]


def build_noise_section(report: ReportStatistics, formats: LocalFormatter) -> ReportSection:
    """Build the charts of noise: levels by hour with the parts of the day, or Lden and night level by day."""
    section = ReportSection("noise", formats.translate(WORDS["noise"]))
    parts = DAY_PARTS.get(report.input.country, DAY_PARTS["EU"])
    made = _noise_of_day(report, formats, parts) if report.is_day else _noise_of_month(report, formats)
    section.charts += [each for each in made if each is not None]
    table = _levels(report, formats)
    if table is not None:
        section.tables.append(table)
    if section.charts and (report.is_day or table is not None):
        section.paragraphs.append(_day_parts_text(parts, formats))
    return section


def _noise_of_day(
    report: ReportStatistics, formats: LocalFormatter, parts: Sequence[DayPart]
) -> list[ReportChart | None]:
    shades = []
    for day in (report.slot.first - timedelta(days=1), report.slot.first):
        for part in parts:
            after = day if part.begin < part.end else day + timedelta(days=1)
            if part.key in _GROUNDS:
                span = (
                    resolve_local_time(day, part.begin, report.zone),
                    resolve_local_time(after, part.end, report.zone),
                )
                shades.append((*span, formats.translate(WORDS[part.key]), _GROUNDS[part.key]))
    named = [(box.label, build_box_series(report, box, "laeq")) for box in report.boxes]
    title = formats.translate(WORDS["hourly_noise"])
    return [
        draw_report_chart(
            ChartSpec(
                "laeq", title, "dB", named, report.slot, HOUR_US, shades=shades, zero=False, size=_WIDE
            ),
            formats,
        )
    ]


def _noise_of_month(report: ReportStatistics, formats: LocalFormatter) -> list[ReportChart | None]:
    found = group_values_by_box(report.values.get(("lden-day", None), []))
    made: list[ReportChart | None] = []
    for key, words in (("lden", WORDS["daily_lden"]), ("lnight", WORDS["daily_lnight"])):
        named = [
            (box.label, _levels_by_day(report, found.get(box.position, []), key)) for box in report.boxes
        ]
        made.append(
            draw_report_chart(
                ChartSpec(key, formats.translate(words), "dB", named, report.slot, DAY_US, zero=False),
                formats,
            )
        )
    if any(each is not None for each in made):
        return made
    named = [(box.label, build_box_series(report, box, "laeq")) for box in report.boxes]
    title = formats.translate(WORDS["daily_means"]).format(metric=get_metric_symbol("laeq", formats.language))
    return [
        draw_report_chart(
            ChartSpec("laeq", title, "dB", named, report.slot, DAY_US, zero=False, size=_WIDE), formats
        )
    ]


def _levels_by_day(report: ReportStatistics, found: Sequence[FigureValue], key: str) -> ChartSeries:
    starts = {day.first: day.period.start_us for day in report.days}
    levels: dict[int, float] = {}
    for value in found:
        level = value.result.value if key == "lden" else find_component_value(value, key)
        if level is not None and value.result.value is not None:
            levels[starts[value.slot.first] + DAY_US // 2] = level
    return levels


def _levels(report: ReportStatistics, formats: LocalFormatter) -> ReportTable | None:
    """Build the table of Lden and its parts, for the loudest day of each box."""
    of = group_values_by_box(report.values.get(("lden-day", None), []))
    loudest = [found for found in map(find_worst_value, of.values()) if found is not None]
    if not loudest:
        return None
    loudest.sort(key=lambda value: -(value.result.value or 0.0))
    keys = (*_PARTS, "lden", "leq")
    head = [
        TableCell(formats.translate(WORDS["box"])),
        *([] if report.is_day else [TableCell(formats.translate(WORDS["when"]))]),
    ]
    head += [TableCell(formats.translate(WORDS[key]), number=True) for key in keys]
    rows = []
    for value in loudest[:_TABLE_ROWS]:
        levels = [value.result.value if key == "lden" else find_component_value(value, key) for key in keys]
        row = [TableCell(value.box.label, header=True)]
        row += [] if report.is_day else [TableCell(formats.short_day(value.slot.first))]
        rows.append([*row, *(TableCell(formats.value(level, "dB"), number=True) for level in levels)])
    more = len(loudest) - _TABLE_ROWS
    note = formats.translate(WORDS["more_boxes"]).format(count=more) if more > 0 else ""
    caption = formats.translate(WORDS["noise_table_day" if report.is_day else "noise_table_month"])
    return ReportTable(caption, head, rows, note=note)


def _day_parts_text(parts: Sequence[DayPart], formats: LocalFormatter) -> str:
    spans = {
        part.key: formats.translate(WORDS["from_until"]).format(first=part.begin.hour, last=part.end.hour)
        for part in parts
    }
    return formats.translate(WORDS["noise_parts"]).format(
        day=spans["lday"], evening=spans["levening"], night=spans["lnight"]
    )
