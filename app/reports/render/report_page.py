"""The page: all sections in their order, as HTML. Pure.

Owns the template's surroundings: whatever is set into it is escaped, and a name that is missing is an error.
"""

import re
from dataclasses import dataclass
from functools import cache
from typing import Final

from jinja2 import Environment, FileSystemLoader, StrictUndefined, pass_context
from jinja2.runtime import Context
from markupsafe import Markup, escape

from app.reports.render import (
    alert_section,
    box_sections,
    chart_sections,
    data_quality_section,
    index_section,
)
from app.reports.render.csp import TEMPLATES, policy, style
from app.reports.render.index_strips import strip
from app.reports.render.labels import colour_of, shown, title_of, when
from app.reports.render.main_findings import coverage_of, findings, guidelines, headline
from app.reports.render.number_formats import Formats, named
from app.reports.render.page_blocks import Section, Tile
from app.reports.render.report_statistics import Computed, computed, worst
from app.reports.render.report_texts import SITE_KINDS, WORDS
from app.reports.report_input import Material

_TILES: Final = 4
_HOURS: Final = 24
_LONG: Final = re.compile(r"(\S{25,})")
_PIECE: Final = re.compile(r"[^-_./]{0,11}[-_./]|[^-_./]{1,12}")
_UNIT: Final = re.compile(r"(?:\d[\d.,\u202f]*\xa0)?\b(?:µg|mg|ou|uoE)/m³")


@dataclass(frozen=True, slots=True)
class Page:
    """A page and what a PDF tells of itself."""

    html: str
    title: str


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["unbroken"] = _unbroken
    return environment


@pass_context
def _unbroken(context: Context, text: str) -> Markup:
    """A text, escaped, in which no line ends within a unit that has a stroke in it.

    On paper, words that no column can hold, as ids of boxes and addresses, get places to break at: all others
    stay whole.
    """
    escaped = "".join(
        "<wbr>".join(str(escape(piece)) for piece in _PIECE.findall(part))
        if context["paper"] and _LONG.fullmatch(part)
        else str(escape(part))
        for part in _LONG.split(text)
    )
    return Markup(_UNIT.sub(r'<span class="unbroken">\g<0></span>', escaped))  # noqa: S704 (escaped)


def page_of(material: Material) -> Page:
    """Make a report."""
    report = computed(material)
    formats = Formats(material.language, report.zone)
    site = named(material.site)
    kind = formats.said(WORDS["report_day" if report.is_day else "report_month"])
    period = formats.day(report.slot.first) if report.is_day else formats.month(report.slot.first)
    title = f"{kind} \u2013 {site} \u2013 {period}"
    html = (
        _environment()
        .get_template("report.html")
        .render(
            language=material.language,
            # What cannot be folded out is not laid out.
            paper=material.form == "pdf",
            title=title,
            kind=kind,
            site=site,
            period=period[0].upper() + period[1:],
            organisation=named(material.organisation) if material.organisation else "",
            facts=_facts(report, formats),
            tiles=_tiles(report, formats),
            sections=_sections(report, formats),
            words={key: formats.said(text) for key, text in WORDS.items()},
            # Our own file, and no text of anybody's is set into it.
            style=Markup(style()),  # noqa: S704
            policy=policy(),
        )
    )
    return Page(html, title)


def _facts(report: Computed, formats: Formats) -> list[tuple[str, str]]:
    """What the head says: each with its name."""
    material, period = report.material, report.slot.period
    said = formats.said(WORDS["from_to"]).format(
        first=formats.short_day(report.slot.first),
        first_at=formats.clock(period.start_us),
        last=formats.short_day(formats.local(period.end_us).date()),
        last_at=formats.clock(period.end_us),
    )
    hours = round(period.seconds / 3_600)
    if report.is_day and hours != _HOURS:
        said += f"{formats.said(WORDS['comma'])}{formats.said(WORDS['hours_of_day']).format(hours=hours)}"
    made = formats.said(WORDS["made_at"]).format(
        day=formats.day(formats.local(material.made_us).date()), clock=formats.clock(material.made_us)
    )
    kind = formats.said(SITE_KINDS[material.kind]) if material.kind in SITE_KINDS else named(material.kind)
    return [
        (formats.said(WORDS["period"]), said),
        (formats.said(WORDS["time_zone"]), material.timezone),
        (formats.said(WORDS["place"]), kind),
        (formats.said(WORDS["boxes"]), formats.number(len(report.boxes))),
        (formats.said(WORDS["made"]), made),
    ]


def _sections(report: Computed, formats: Formats) -> list[Section]:
    """What there is to say, in its order; a section without anything in it is left out."""
    short = Section("short", formats.said(WORDS["in_short"]), points=findings(report, formats))
    found = strip(report, formats)
    if found is not None:
        short.strips = [found[0]]
        short.notes = [found[1]] if found[1] else []
    sections = [short]
    if report.measured:
        sections += [index_section.indices(report, formats)]
        charts = (chart_sections.air, chart_sections.noise, chart_sections.rooms)
        sections += [made for make in charts if (made := make(report, formats)).charts]
        sections += [box_sections.comparison(report, formats), box_sections.by_box(report, formats)]
    sections += [alert_section.alerts(report, formats), data_quality_section.quality(report, formats)]
    return [
        *sections,
        data_quality_section.reading(report, formats),
        data_quality_section.methods(report, formats),
    ]


def _tiles(report: Computed, formats: Formats) -> list[Tile]:
    """The figures that are seen first."""
    if not report.measured:
        return []
    found = [
        *_air(report, formats),
        *_noise(report, formats),
        *_room(report, formats),
        *_alerts(report, formats),
    ]
    share = Tile(
        formats.said(WORDS["tile_coverage"]),
        formats.percent(coverage_of(report)),
        formats.said(WORDS["of_the_period"]),
    )
    return [*found[:_TILES], share][: _TILES + 1]


def _air(report: Computed, formats: Formats) -> list[Tile]:
    tiles = []
    index = headline(report)
    if index is not None and index.result.band is not None:
        moment = when(index, report, formats)
        more = f"{index.box.label}{formats.said(WORDS['comma'])}{moment}" if moment else index.box.label
        label = title_of(index, formats)
        tiles.append(Tile(label, formats.said(index.result.band.label), more, colour_of(index.result.band)))
    compared = guidelines(report)
    if compared:
        over = sum(any(value.result.exceeded for value in values) for values in compared.values())
        more = formats.said(WORDS["of_pollutants"]).format(count=len(compared))
        tiles.append(Tile(formats.said(WORDS["tile_who"]), formats.number(over), more))
    return tiles


def _noise(report: Computed, formats: Formats) -> list[Tile]:
    loudest = worst(report.values.get(("lden-day", None), []))
    label = "tile_noise_day" if report.is_day else "tile_noise_month"
    if loudest is None:
        loudest, label = worst(report.values.get(("leq", None), [])), "tile_leq"
    return (
        []
        if loudest is None
        else [Tile(formats.said(WORDS[label]), shown(loudest, formats), loudest.box.label)]
    )


def _room(report: Computed, formats: Formats) -> list[Tile]:
    highest = worst(report.values.get(("indoor-co2", None), []))
    if highest is None:
        return []
    colour = colour_of(highest.result.band)
    return [Tile(formats.said(WORDS["tile_co2"]), shown(highest, formats), highest.box.label, colour)]


def _alerts(report: Computed, formats: Formats) -> list[Tile]:
    found = report.material.alerts
    label = formats.said(WORDS["tile_alerts"])
    if found is None:
        return [Tile(label, formats.value(None, "1"), formats.said(WORDS["not_shown"]))]
    critical = found.by_severity.get("critical", 0)
    more = formats.counted(critical, WORDS["critical_one"], WORDS["critical_many"])
    return [Tile(label, formats.number(sum(found.by_severity.values())), more)]
