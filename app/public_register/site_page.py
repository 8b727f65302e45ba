"""The page of a site: what, where, why, by what right, how long, who; and what became of it. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from types import SimpleNamespace
from typing import Any, Final
from zoneinfo import ZoneInfo

from app.catalogue.metrics import METRICS_BY_NAME
from app.platform.kernel.spdx_licences import get_licence_url
from app.public_register import line_charts
from app.public_register.change_history import ChangeHistoryEntry, build_change_rows
from app.public_register.legal_texts import BASES, SEVERITIES
from app.public_register.list_page import build_refusal_rows, format_site_kind, format_site_summary
from app.public_register.page_frame import PageContext, build_localized_url, render_page
from app.public_register.page_texts import WORDS
from app.public_register.purpose_table import (
    build_purpose_context,
    format_purpose_title,
    format_values_by_purpose,
    select_purpose_description,
)
from app.public_register.recent_values import build_recent_context
from app.public_register.register_formats import RegisterFormatter
from app.public_register.register_model import (
    LEAST_DAYS,
    IncidentFigures,
    OpenData,
    PublishedSite,
    RecentMeasurements,
    RegisterSnapshot,
)

_BOXES: Final = 100
_SPANS: Final[tuple[tuple[line_charts.ChartResolution, str], ...]] = (("hour", "hours"), ("day", "days"))
_AREA: Final = SimpleNamespace(
    WIDTH=line_charts.WIDTH,
    HEIGHT=line_charts.HEIGHT,
    LEFT=line_charts.LEFT,
    RIGHT=line_charts.RIGHT,
    TOP=line_charts.TOP,
    BOTTOM=line_charts.BOTTOM,
)


@dataclass(frozen=True, slots=True)
class PublishedFigures:
    """What is published of a site: means of hours and days, and the last day as it was measured."""

    data: OpenData
    recent: RecentMeasurements


def render_site_page(
    register: RegisterSnapshot,
    site: PublishedSite,
    figures: PublishedFigures,
    changes: Sequence[ChangeHistoryEntry],
    frame: PageContext,
) -> str:
    """All that is public of a site."""
    data, recent = figures.data, figures.recent
    writing = RegisterFormatter(frame.writing.language, ZoneInfo(site.timezone))
    path = f"/public/sites/{site.id}"
    language = writing.language
    return render_page(
        "site.html",
        frame,
        title=site.name,
        path=path,
        data=[
            (f"{path}/register.geojson", "GeoJSON"),
            (f"{path}/register.json", "JSON"),
            (f"{path}/data.csv", "CSV"),
            (f"{path}/recent.json", writing.word("of_a_day_json")),
            (f"{path}/recent.csv", writing.word("of_a_day_csv")),
            (f"{path}/dtpr.json", "DTPR"),
            (build_localized_url(f"{path}/changes.atom", language), "Atom"),
        ],
        site=site,
        line=format_site_summary(site, writing),
        short=_short(site, writing),
        purposes=build_purpose_context(site, data, writing, register),
        recent=build_recent_context(recent, writing),
        licence=_licence(site, writing),
        precision=_precision(site, writing),
        boxes=_boxes(site, writing),
        recipients=_recipients(site, writing),
        alerts=_alerts(site, writing),
        incidents=_incidents(site.incidents, writing) if site.incidents is not None else None,
        refusals=build_refusal_rows(site.refusals, writing),
        charts=_charts(site, data, register, writing),
        area=_AREA,
        changes=build_change_rows(changes, replace(frame, writing=writing), register),
    )


def _short(site: PublishedSite, writing: RegisterFormatter) -> list[tuple[str, str | list[str]]]:
    """The six answers, each in a line, or in one for each purpose that has another one."""
    active = site.active
    descriptions = [text for each in active if (text := select_purpose_description(each, writing)[0])]
    bases = [
        (writing.said(BASES[basis][0]), each)
        for each in active
        if (basis := each.legal_basis) is not None and basis in BASES
    ]
    kept = [
        (writing.kept(site.retention.days(each.purpose), removes=site.retention.removes), each)
        # How long data are kept is set at the site, whether their purpose is declared or not.
        for each in active or [one for one in site.purposes if one.in_force]
    ]
    who = dict.fromkeys(each.controller or site.operator for each in active) or {site.operator: None}
    contacts = dict.fromkeys(each.contact for each in active if each.contact)
    missing = writing.word("not_given" if active else "undeclared")
    return [
        (
            writing.word("what"),
            writing.joined([format_purpose_title(each, writing) for each in active]) or missing,
        ),
        (writing.word("where"), _where(site, writing)),
        (writing.word("why"), list(dict.fromkeys(descriptions)) or missing),
        (writing.word("by_what_right"), format_values_by_purpose(bases, writing) or missing),
        (writing.word("how_long"), format_values_by_purpose(kept, writing) or writing.word("none")),
        (writing.word("who"), writing.listed([*who, *contacts])),
    ]


def _where(site: PublishedSite, writing: RegisterFormatter) -> str:
    place = writing.word("where_said").format(
        size=writing.length(site.precision_m),
        latitude=_degrees(site.latitude, site.precision_m, writing),
        longitude=_degrees(site.longitude, site.precision_m, writing),
    )
    if site.address:
        place = writing.filled(WORDS["where_address"], address=site.address, place=place)
    return f"{format_site_kind(site, writing)}, {place}"


def _degrees(value: float, metres: int, writing: RegisterFormatter) -> str:
    """Degrees with the digits that the grid leaves."""
    digits = {1: 5, 10: 5, 100: 4, 1000: 3}.get(metres, 2)
    return f"{writing.number(value, digits)}°"


def _licence(site: PublishedSite, writing: RegisterFormatter) -> dict[str, str] | None:
    if site.licence is None:
        return None
    return {"text": writing.licence(site.licence), "href": get_licence_url(site.licence)}


def _precision(site: PublishedSite, writing: RegisterFormatter) -> str:
    return writing.word("precision_said").format(size=writing.length(site.precision_m))


def _boxes(site: PublishedSite, writing: RegisterFormatter) -> dict[str, Any]:
    rows = [
        {
            "id": box.id,
            "since": writing.day(box.since),
            "latitude": "" if box.latitude is None else _degrees(box.latitude, site.precision_m, writing),
            "longitude": "" if box.longitude is None else _degrees(box.longitude, site.precision_m, writing),
        }
        for box in site.boxes[:_BOXES]
    ]
    more = len(site.boxes) - len(rows)
    return {
        "said": writing.formats.counted(len(site.boxes), WORDS["box_one"], WORDS["box_many"]),
        "rows": rows,
        "more": writing.word("more_boxes").format(count=writing.number(more)) if more else "",
    }


def _recipients(site: PublishedSite, writing: RegisterFormatter) -> list[str]:
    return [
        f"{each.recipient or writing.word('unnamed')}{writing.word('comma')}{writing.word(f'by_{each.kind}')}"
        for each in site.recipients
    ]


def _alerts(site: PublishedSite, writing: RegisterFormatter) -> list[list[str]]:
    by = {each.severity: each for each in site.alerts}
    return [
        [writing.said(text), writing.number(by[name].month), writing.number(by[name].year)]
        for name, text in SEVERITIES.items()
        if name in by
    ]


def _incidents(figures: IncidentFigures, writing: RegisterFormatter) -> dict[str, Any]:
    precision = writing.word("precision_unknown")
    if figures.precision is not None and figures.interval is not None:
        shares = {"share": figures.precision, "low": figures.interval[0], "high": figures.interval[1]}
        precision = writing.word("precision_is").format(
            reviewed=writing.number(figures.confirmed + figures.dismissed),
            **{name: writing.formats.percent(100 * share) for name, share in shares.items()},
        )
    rows = [(writing.word("precision_published"), precision)]
    if figures.false_alarms_per_year is None:
        false = writing.word("false_alarms_unknown").format(days=writing.number(LEAST_DAYS))
    else:
        rate = writing.number(figures.false_alarms_per_year, 1)
        false = writing.word("false_alarms_are").format(rate=rate)
    rows.append((writing.word("false_alarms"), false))
    numbers = ("month", "year", "confirmed", "dismissed")
    said = writing.word("incidents_said").format(
        **{name: writing.number(getattr(figures, name)) for name in numbers}
    )
    return {"said": said, "rows": rows}


def _charts(
    site: PublishedSite, data: OpenData, register: RegisterSnapshot, writing: RegisterFormatter
) -> list[dict[str, Any]]:
    found = []
    for name in site.open_metrics:
        metric = METRICS_BY_NAME[name]
        drawn = [
            line_charts.draw_line_chart(metric, values, span, register.at, writing)
            for span, series in _SPANS
            if (values := getattr(data, series).get(name))
        ]
        if drawn:
            found.append({"title": drawn[0].title, "unit": drawn[0].unit, "charts": drawn})
    return found
