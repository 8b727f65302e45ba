"""Renders the page of a site: purposes, retention, boxes, recipients, activity and open data. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Final
from zoneinfo import ZoneInfo

from app.catalogue.metrics import METRICS_BY_NAME
from app.public_register import line_charts
from app.public_register.change_history import ChangeHistoryEntry, build_change_rows
from app.public_register.legal_texts import BASES, SEVERITIES
from app.public_register.page_rendering import PageContext, build_localized_url, render_page
from app.public_register.page_texts import WORDS
from app.public_register.purpose_table import (
    build_purpose_context,
    format_purpose_title,
    format_values_by_purpose,
    select_purpose_description,
)
from app.public_register.recent_site_measurements import build_recent_context
from app.public_register.register_model import (
    LEAST_DAYS,
    IncidentFigures,
    OpenData,
    PublishedSite,
    RecentMeasurements,
    RegisterSnapshot,
)
from app.public_register.register_value_formatter import RegisterFormatter
from app.public_register.site_list_page import build_refusal_rows, format_site_kind, format_site_summary
from app.registry.spdx_licences import get_licence_url

_BOXES: Final = 100
_SPANS: Final[tuple[tuple[line_charts.ChartResolution, str], ...]] = (("hour", "hours"), ("day", "days"))


@dataclass(frozen=True, slots=True)
class PublishedFigures:
    """The published figures of a site: hourly and daily means, and the last 24 hours."""

    data: OpenData
    recent: RecentMeasurements


def render_site_page(
    register: RegisterSnapshot,
    site: PublishedSite,
    figures: PublishedFigures,
    changes: Sequence[ChangeHistoryEntry],
    frame: PageContext,
) -> str:
    """Render the page of a site.

    Args:
        register: The register.
        site: The site.
        figures: The published figures of the site.
        changes: The latest entries of its history, the newest first.
        frame: Language, time and map of the page.
    """
    data, recent = figures.data, figures.recent
    formatter = RegisterFormatter(frame.formatter.language, ZoneInfo(site.timezone))
    path = f"/public/sites/{site.id}"
    language = formatter.language
    return render_page(
        "site.html",
        frame,
        title=site.name,
        path=path,
        data=[
            (f"{path}/register.geojson", "GeoJSON"),
            (f"{path}/register.json", "JSON"),
            (f"{path}/data.csv", "CSV"),
            (f"{path}/recent.json", formatter.word("of_a_day_json")),
            (f"{path}/recent.csv", formatter.word("of_a_day_csv")),
            (f"{path}/dtpr.json", "DTPR"),
            (build_localized_url(f"{path}/changes.atom", language), "Atom"),
        ],
        site=site,
        line=format_site_summary(site, formatter, recent.boxes if site.open_metrics else None),
        short=_short(site, formatter),
        purposes=build_purpose_context(site, data, formatter, register),
        recent=build_recent_context(recent, formatter),
        licence=_licence(site, formatter),
        precision=_precision(site, formatter),
        boxes=_boxes(site, formatter),
        recipients=_recipients(site, formatter),
        shared=_describe_sharing(site, formatter),
        alerts=_alerts(site, formatter),
        incidents=_incidents(site.incidents, formatter) if site.incidents is not None else None,
        refusals=build_refusal_rows(site.refusals, formatter),
        charts=_charts(site, data, register, formatter),
        changes=build_change_rows(changes, replace(frame, formatter=formatter), register),
    )


def _short(site: PublishedSite, formatter: RegisterFormatter) -> list[tuple[str, str | list[str]]]:
    """Build the summary: what, where, why, legal basis, retention, contact.

    Values that differ name their purposes.
    """
    active = site.active
    descriptions = [text for each in active if (text := select_purpose_description(each, formatter)[0])]
    bases = [
        (formatter.translate(BASES[basis][0]), each)
        for each in active
        if (basis := each.legal_basis) is not None and basis in BASES
    ]
    retention = [
        (formatter.retention(site.retention.days(each.purpose), removes=site.retention.removes), each)
        # The retention is set at the site, and also holds for undeclared purposes.
        for each in active or [one for one in site.purposes if one.in_force]
    ]
    who = dict.fromkeys(each.controller or site.operator for each in active) or {site.operator: None}
    contacts = dict.fromkeys(each.contact for each in active if each.contact)
    missing = formatter.word("not_given" if active else "undeclared")
    return [
        (
            formatter.word("what"),
            formatter.joined([format_purpose_title(each, formatter) for each in active]) or missing,
        ),
        (formatter.word("where"), _where(site, formatter)),
        (formatter.word("why"), list(dict.fromkeys(descriptions)) or missing),
        (formatter.word("by_what_right"), format_values_by_purpose(bases, formatter) or missing),
        (
            formatter.word("how_long"),
            format_values_by_purpose(retention, formatter) or formatter.word("none"),
        ),
        (formatter.word("who"), formatter.listed([*who, *contacts])),
    ]


def _where(site: PublishedSite, formatter: RegisterFormatter) -> str:
    place = formatter.word("where_said").format(
        size=formatter.length(site.precision_m),
        latitude=_degrees(site.latitude, site.precision_m, formatter),
        longitude=_degrees(site.longitude, site.precision_m, formatter),
    )
    if site.address:
        place = formatter.fill(WORDS["where_address"], address=site.address, place=place)
    return f"{format_site_kind(site, formatter)}, {place}"


def _degrees(value: float, metres: int, formatter: RegisterFormatter) -> str:
    """Format degrees with as many decimals as the width of the grid cells justifies."""
    digits = {1: 5, 10: 5, 100: 4, 1000: 3}.get(metres, 2)
    return f"{formatter.number(value, digits)}°"


def _licence(site: PublishedSite, formatter: RegisterFormatter) -> dict[str, str] | None:
    if site.licence is None:
        return None
    return {"text": formatter.licence(site.licence), "href": get_licence_url(site.licence)}


def _precision(site: PublishedSite, formatter: RegisterFormatter) -> str:
    return formatter.word("precision_said").format(size=formatter.length(site.precision_m))


def _boxes(site: PublishedSite, formatter: RegisterFormatter) -> dict[str, Any]:
    rows = [
        {
            "id": box.id,
            "since": formatter.day(box.since),
            "latitude": "" if box.latitude is None else _degrees(box.latitude, site.precision_m, formatter),
            "longitude": ""
            if box.longitude is None
            else _degrees(box.longitude, site.precision_m, formatter),
        }
        for box in site.boxes[:_BOXES]
    ]
    more = len(site.boxes) - len(rows)
    return {
        "count": formatter.counted(len(site.boxes), WORDS["box_one"], WORDS["box_many"]),
        "rows": rows,
        "more": formatter.word("more_boxes").format(count=formatter.number(more)) if more else "",
    }


def _recipients(site: PublishedSite, formatter: RegisterFormatter) -> list[str]:
    return [
        ", ".join([each.recipient or formatter.word("unnamed"), formatter.word(f"by_{each.kind}")])
        for each in site.recipients
    ]


def _describe_sharing(site: PublishedSite, formatter: RegisterFormatter) -> dict[str, Any]:
    number = len(site.grants)
    return {
        "line": formatter.counted(number, WORDS["shared_one"], WORDS["shared_many"]) if number else "",
        "rows": [
            (
                each.recipient or formatter.word("shared_unnamed"),
                each.purpose,
                formatter.word("shared_until").format(day=formatter.day(each.valid_until)),
            )
            for each in site.grants
        ],
    }


def _alerts(site: PublishedSite, formatter: RegisterFormatter) -> list[list[str]]:
    by = {each.severity: each for each in site.alerts}
    return [
        [formatter.translate(text), formatter.number(by[name].month), formatter.number(by[name].year)]
        for name, text in SEVERITIES.items()
        if name in by
    ]


def _incidents(figures: IncidentFigures, formatter: RegisterFormatter) -> dict[str, Any]:
    precision = formatter.word("precision_unknown")
    if figures.precision is not None and figures.interval is not None:
        shares = {"share": figures.precision, "low": figures.interval[0], "high": figures.interval[1]}
        precision = formatter.word("precision_is").format(
            reviewed=formatter.number(figures.confirmed + figures.dismissed),
            **{name: formatter.percent(100 * share) for name, share in shares.items()},
        )
    rows = [(formatter.word("precision_published"), precision)]
    if figures.false_alarms_per_year is None:
        false = formatter.word("false_alarms_unknown").format(days=formatter.number(LEAST_DAYS))
    else:
        rate = formatter.number(figures.false_alarms_per_year, 1)
        false = formatter.word("false_alarms_are").format(rate=rate)
    rows.append((formatter.word("false_alarms"), false))
    numbers = ("month", "year", "confirmed", "dismissed")
    text = formatter.word("incidents_said").format(
        **{name: formatter.number(getattr(figures, name)) for name in numbers}
    )
    return {"text": text, "rows": rows}


def _charts(
    site: PublishedSite, data: OpenData, register: RegisterSnapshot, formatter: RegisterFormatter
) -> list[dict[str, Any]]:
    found = []
    for name in site.open_metrics:
        metric = METRICS_BY_NAME[name]
        drawn = [
            line_charts.draw_line_chart(metric, values, span, register.at, formatter)
            for span, series in _SPANS
            if (values := getattr(data, series).get(name))
        ]
        if drawn:
            found.append({"title": drawn[0].title, "unit": drawn[0].unit, "charts": drawn})
    return found
