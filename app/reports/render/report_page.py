"""Renders a report as an HTML page, with all its sections in order. Pure.

The template escapes every value, and fails on an undefined name.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Final

from jinja2 import Environment, pass_context
from jinja2.runtime import Context
from markupsafe import Markup, escape

from app.presentation.local_formatter import LocalFormatter
from app.presentation.template_environment import create_template_environment
from app.reports.period_labels import format_period
from app.reports.render import (
    alert_section,
    chart_sections,
    comparison_and_box_sections,
    indices_section,
    quality_and_methods_sections,
)
from app.reports.render.box_names import clean_name
from app.reports.render.content_security_policy import TEMPLATES, build_report_csp, read_style_sheet
from app.reports.render.index_strips import build_index_strip
from app.reports.render.index_value_labels import (
    choose_band_colour,
    format_figure_title,
    format_figure_value,
    format_value_period,
)
from app.reports.render.main_findings import (
    build_main_findings,
    compute_coverage,
    find_headline_value,
    group_guideline_values,
)
from app.reports.render.page_blocks import KeyFigureTile, ReportSection
from app.reports.render.report_texts import SITE_KINDS, WORDS
from app.reports.report_input import ReportInput, ReportLength
from app.reports.report_statistics import ReportStatistics, compute_report_statistics, find_worst_value

_KINDS: Final[Mapping[ReportLength, str]] = {
    "day": "report_day",
    "week": "report_week",
    "month": "report_month",
}
_TILES: Final = 4
_HOURS: Final = 24
_LONG: Final = re.compile(r"(\S{25,})")
_PIECE: Final = re.compile(r"[^-_./]{0,11}[-_./]|[^-_./]{1,12}")
_UNIT: Final = re.compile(r"(?:\d[\d.,\u202f]*\xa0)?\b(?:µg|mg|ou|uoE)/m³")


@dataclass(frozen=True, slots=True)
class RenderedReport:
    """A page with its title, which PDF metadata need."""

    html: str
    title: str


@cache
def _environment() -> Environment:
    environment = create_template_environment(TEMPLATES)
    environment.filters["unbroken"] = _unbroken
    return environment


@pass_context
def _unbroken(context: Context, text: str) -> Markup:
    """Escape a text, and forbid line breaks in units with a slash, such as µg/m³.

    On paper, words that are too long for a column, such as ids of boxes, get break opportunities.
    """
    escaped = "".join(
        "<wbr>".join(str(escape(piece)) for piece in _PIECE.findall(part))
        if context["paper"] and _LONG.fullmatch(part)
        else str(escape(part))
        for part in _LONG.split(text)
    )
    return Markup(_UNIT.sub(r'<span class="unbroken">\g<0></span>', escaped))  # noqa: S704 (escaped)


def render_report(report_input: ReportInput) -> RenderedReport:
    """Render a report."""
    report = compute_report_statistics(report_input)
    formats = LocalFormatter(report_input.language, report.zone)
    site = clean_name(report_input.site)
    kind = formats.translate(WORDS[_KINDS[report_input.length]])
    period = format_period(report.slot, formats)
    title = f"{kind} \u2013 {site} \u2013 {period}"
    html = (
        _environment()
        .get_template("report.html")
        .render(
            language=report_input.language,
            # A PDF has no `<details>` to open, so their content is left out.
            paper=report_input.form == "pdf",
            title=title,
            kind=kind,
            site=site,
            period=period[0].upper() + period[1:],
            organisation=clean_name(report_input.organisation) if report_input.organisation else "",
            facts=_facts(report, formats),
            tiles=_tiles(report, formats),
            sections=_sections(report, formats),
            words={key: formats.translate(text) for key, text in WORDS.items()},
            # A file of the program without any text of clients.
            style=Markup(read_style_sheet()),  # noqa: S704
            policy=build_report_csp(),
        )
    )
    return RenderedReport(html, title)


def _facts(report: ReportStatistics, formats: LocalFormatter) -> list[tuple[str, str]]:
    """Build the facts of the header: name and value."""
    report_input, period = report.input, report.slot.period
    bounds = formats.translate(WORDS["from_to"]).format(
        first=formats.short_day(report.slot.first),
        first_at=formats.clock(period.start_us),
        last=formats.short_day(period.end_us),
        last_at=formats.clock(period.end_us),
    )
    hours = round(period.seconds / 3_600)
    if report.is_day and hours != _HOURS:
        length = formats.translate(WORDS["hours_of_day"]).format(hours=hours)
        bounds += f", {length}"
    made = formats.translate(WORDS["made_at"]).format(
        day=formats.full_day(report_input.made_us), clock=formats.clock(report_input.made_us)
    )
    kind = (
        formats.translate(SITE_KINDS[report_input.kind])
        if report_input.kind in SITE_KINDS
        else clean_name(report_input.kind)
    )
    return [
        (formats.translate(WORDS["period"]), bounds),
        (formats.translate(WORDS["time_zone"]), report_input.timezone),
        (formats.translate(WORDS["place"]), kind),
        (formats.translate(WORDS["boxes"]), formats.number(len(report.boxes))),
        (formats.translate(WORDS["made"]), made),
    ]


def _sections(report: ReportStatistics, formats: LocalFormatter) -> list[ReportSection]:
    """Build the sections in order. Sections of charts without a chart are left out."""
    short = ReportSection(
        "short", formats.translate(WORDS["in_short"]), points=build_main_findings(report, formats)
    )
    found = build_index_strip(report, formats)
    if found is not None:
        short.strips = [found[0]]
        short.notes = [found[1]] if found[1] else []
    sections = [short]
    if report.measured:
        sections += [indices_section.build_index_section(report, formats)]
        charts = (
            chart_sections.build_air_section,
            chart_sections.build_noise_section,
            chart_sections.build_rooms_section,
        )
        sections += [made for make in charts if (made := make(report, formats)).charts]
        sections += [
            comparison_and_box_sections.build_comparison_section(report, formats),
            comparison_and_box_sections.build_box_section(report, formats),
        ]
    sections += [
        alert_section.build_alert_section(report, formats),
        quality_and_methods_sections.build_quality_section(report, formats),
    ]
    return [
        *sections,
        quality_and_methods_sections.build_reading_section(report, formats),
        quality_and_methods_sections.build_methods_section(report, formats),
    ]


def _tiles(report: ReportStatistics, formats: LocalFormatter) -> list[KeyFigureTile]:
    """Build the key figures at the top of the page."""
    if not report.measured:
        return []
    found = [
        *_air(report, formats),
        *_noise(report, formats),
        *_room(report, formats),
        *_alerts(report, formats),
    ]
    share = KeyFigureTile(
        formats.translate(WORDS["tile_coverage"]),
        formats.percent(compute_coverage(report)),
        formats.translate(WORDS["of_the_period"]),
    )
    return [*found[:_TILES], share][: _TILES + 1]


def _air(report: ReportStatistics, formats: LocalFormatter) -> list[KeyFigureTile]:
    tiles = []
    index = find_headline_value(report)
    if index is not None and index.result.band is not None:
        moment = format_value_period(index, report, formats)
        more = f"{index.box.label}, {moment}" if moment else index.box.label
        label = format_figure_title(index, formats)
        tiles.append(
            KeyFigureTile(
                label, formats.translate(index.result.band.label), more, choose_band_colour(index.result.band)
            )
        )
    compared = group_guideline_values(report)
    if compared:
        over = sum(any(value.result.exceeded for value in values) for values in compared.values())
        more = formats.translate(WORDS["of_pollutants"]).format(count=len(compared))
        tiles.append(KeyFigureTile(formats.translate(WORDS["tile_who"]), formats.number(over), more))
    return tiles


def _noise(report: ReportStatistics, formats: LocalFormatter) -> list[KeyFigureTile]:
    loudest = find_worst_value(report.values.get(("lden-day", None), []))
    label = "tile_noise_day" if report.is_day else "tile_noise_month"
    if loudest is None:
        loudest, label = find_worst_value(report.values.get(("leq", None), [])), "tile_leq"
    return (
        []
        if loudest is None
        else [
            KeyFigureTile(
                formats.translate(WORDS[label]), format_figure_value(loudest, formats), loudest.box.label
            )
        ]
    )


def _room(report: ReportStatistics, formats: LocalFormatter) -> list[KeyFigureTile]:
    highest = find_worst_value(report.values.get(("indoor-co2", None), []))
    if highest is None:
        return []
    colour = choose_band_colour(highest.result.band)
    return [
        KeyFigureTile(
            formats.translate(WORDS["tile_co2"]),
            format_figure_value(highest, formats),
            highest.box.label,
            colour,
        )
    ]


def _alerts(report: ReportStatistics, formats: LocalFormatter) -> list[KeyFigureTile]:
    found = report.input.alerts
    label = formats.translate(WORDS["tile_alerts"])
    if found is None:
        return [KeyFigureTile(label, formats.value(None, "1"), formats.translate(WORDS["not_shown"]))]
    critical = found.by_severity.get("critical", 0)
    more = formats.counted(critical, WORDS["critical_one"], WORDS["critical_many"])
    return [KeyFigureTile(label, formats.number(sum(found.by_severity.values())), more)]
