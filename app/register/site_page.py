"""The page of a site: what, where, why, by what right, how long, who; and what became of it. Pure."""

from collections.abc import Sequence
from dataclasses import replace
from types import SimpleNamespace
from typing import Any, Final
from zoneinfo import ZoneInfo

from app.city.results import Text
from app.register import charts, dtpr
from app.register.history_pages import lines
from app.register.incidents import LEAST_DAYS, IncidentFigures
from app.register.list_page import kind_of, line_of, refusal_rows
from app.register.model import Change, OpenData, PurposeEntry, Register, SiteEntry
from app.register.page import Frame, in_language, rendered
from app.register.words import WORDS
from app.register.words_of_law import BASES, KEPT, SEVERITIES, STANDINGS
from app.register.writing import Writing
from app.sites.catalogue import BY_NAME
from app.sites.event_catalogue import EVENT_TYPE_OF

_BOXES: Final = 100
_SPANS: Final[tuple[tuple[charts.Span, str], ...]] = (("hour", "hours"), ("day", "days"))
_AREA: Final = SimpleNamespace(
    WIDTH=charts.WIDTH,
    HEIGHT=charts.HEIGHT,
    LEFT=charts.LEFT,
    RIGHT=charts.RIGHT,
    TOP=charts.TOP,
    BOTTOM=charts.BOTTOM,
)


def site_page(
    register: Register, site: SiteEntry, data: OpenData, changes: Sequence[Change], frame: Frame
) -> str:
    """All that is public of a site."""
    writing = Writing(frame.writing.language, ZoneInfo(site.timezone))
    path = f"/public/sites/{site.id}"
    language = writing.language
    return rendered(
        "site.html",
        frame,
        title=site.name,
        path=path,
        data=[
            (f"{path}/register.geojson", "GeoJSON"),
            (f"{path}/register.json", "JSON"),
            (f"{path}/data.csv", "CSV"),
            (f"{path}/dtpr.json", "DTPR"),
            (in_language(f"{path}/changes.atom", language), "Atom"),
        ],
        site=site,
        line=line_of(site, writing),
        short=_short(site, writing),
        purposes=[_purpose(site, each, data, writing, register) for each in site.purposes],
        precision=_precision(site, writing),
        boxes=_boxes(site, writing),
        recipients=_recipients(site, writing),
        alerts=_alerts(site, writing),
        incidents=_incidents(site.incidents, writing) if site.incidents is not None else None,
        refusals=refusal_rows(site.refusals, writing),
        charts=_charts(site, data, register, writing),
        area=_AREA,
        changes=lines(changes, replace(frame, writing=writing), register),
    )


def _title(purpose: PurposeEntry, writing: Writing) -> str:
    return writing.said(Text(purpose.known.title, purpose.known.title_fr))


def _short(site: SiteEntry, writing: Writing) -> list[tuple[str, str | list[str]]]:
    """The six answers, each in a line, or in one for each purpose that has another one."""
    active = [each for each in site.purposes if each.in_force]
    descriptions = [text for each in active if (text := _description(each, writing)[0])]
    bases = [
        (writing.said(BASES[basis][0]), each)
        for each in active
        if (basis := each.legal_basis) is not None and basis in BASES
    ]
    kept = [
        (writing.kept(site.retention.days(each.purpose), removes=site.retention.removes), each)
        for each in active
    ]
    who = dict.fromkeys(each.controller or site.operator for each in active) or {site.operator: None}
    contacts = dict.fromkeys(each.contact for each in active if each.contact)
    missing = writing.word("not_given")
    return [
        (
            writing.word("what"),
            writing.joined([_title(each, writing) for each in active]) or writing.word("none"),
        ),
        (writing.word("where"), _where(site, writing)),
        (writing.word("why"), list(dict.fromkeys(descriptions)) or missing),
        (writing.word("by_what_right"), _of_which(bases, writing) or missing),
        (writing.word("how_long"), _of_which(kept, writing) or writing.word("none")),
        (writing.word("who"), writing.listed([*who, *contacts])),
    ]


def _of_which(answers: Sequence[tuple[str, PurposeEntry]], writing: Writing) -> list[str]:
    """Answers of purposes, each once; where they differ, with the purposes that each is of."""
    titles: dict[str, list[str]] = {}
    for value, purpose in answers:
        titles.setdefault(value, []).append(_title(purpose, writing))
    if len(titles) == 1:
        return list(titles)
    return [
        writing.filled(WORDS["of_which"], value=value, titles=writing.joined(named))
        for value, named in titles.items()
    ]


def _where(site: SiteEntry, writing: Writing) -> str:
    place = writing.word("where_said").format(
        size=writing.length(site.precision_m),
        latitude=_degrees(site.latitude, site.precision_m, writing),
        longitude=_degrees(site.longitude, site.precision_m, writing),
    )
    return f"{kind_of(site, writing)}, {place}"


def _degrees(value: float, metres: int, writing: Writing) -> str:
    """Degrees with the digits that the grid leaves."""
    digits = {1: 5, 10: 5, 100: 4, 1000: 3}.get(metres, 2)
    return f"{writing.number(value, digits)}°"


def _description(purpose: PurposeEntry, writing: Writing) -> tuple[str | None, str]:
    """The operator's words in the language, or in the other one; and which that is, where it is the other."""
    texts = {"en": purpose.description, "fr": purpose.description_fr}
    other = "en" if writing.language == "fr" else "fr"
    if texts[writing.language]:
        return texts[writing.language], ""
    return texts[other], other if texts[other] else ""


def _purpose(
    site: SiteEntry, each: PurposeEntry, data: OpenData, writing: Writing, register: Register
) -> dict[str, Any]:
    known = each.known
    measured = [name for name in known.metrics if name in data.measured]
    others = [name for name in known.metrics if name not in data.measured]
    names = writing.formats.words
    description, language = _description(each, writing)
    basis = BASES.get(each.legal_basis or "")
    rest = writing.word("not_measured_now" if measured else "none_measured_now").format(
        names=writing.listed([names(name) for name in others])
    )
    return {
        "name": each.purpose,
        "title": _title(each, writing),
        "in_force": each.in_force,
        "sensitive": each.sensitive,
        "standing": writing.said(STANDINGS[each.standing(register.at)]),
        "description": description,
        "description_language": language,
        "measured": writing.listed([names(name) for name in measured]),
        "unmeasured": rest if others else "",
        "events": ", ".join(
            writing.said(Text(EVENT_TYPE_OF[name].title, EVENT_TYPE_OF[name].title_fr))
            for name in known.events
        ),
        "basis": writing.said(basis[0]) if basis else each.legal_basis,
        "basis_said": writing.said(basis[1]) if basis else "",
        "legal_reference": each.legal_reference,
        "controller": each.controller or writing.filled(WORDS["controller_default"], name=site.operator),
        "contact": each.contact,
        "contact_href": _contact_href(each.contact),
        "kept": _kept(site, each, writing),
        "span": writing.span(each.starts_at, each.ends_at, register.at),
        "impact_assessment": each.impact_assessment,
        "notice": each.notice,
        "notice_href": each.notice if (each.notice or "").startswith(("https://", "http://")) else "",
        "approval": _approval(each, writing),
        "open": writing.word(_open(each, data)),
        "dtpr": _dtpr(site, each, writing) if each.in_force else [],
    }


def _open(purpose: PurposeEntry, data: OpenData) -> str:
    """The key of what is said of whether figures are published."""
    if purpose.sensitive:
        return "open_never"
    if not purpose.open_data:
        return "open_no"
    drawn = any(data.hours.get(name) or data.days.get(name) for name in purpose.known.metrics)
    return "open_yes" if drawn else "open_none_yet"


def _contact_href(contact: str | None) -> str:
    if contact is None or " " in contact:
        return ""
    if contact.startswith(("https://", "http://")):
        return contact
    return f"mailto:{contact}" if contact.count("@") == 1 else ""


def _kept(site: SiteEntry, purpose: PurposeEntry, writing: Writing) -> str:
    retention = site.retention
    said = writing.kept(retention.days(purpose.purpose), removes=retention.removes)
    if not purpose.known.metrics:
        return said
    if retention.summaries_days is None:
        return f"{said}. {writing.said(KEPT['summaries_ever'])}"
    return f"{said}. {writing.said(KEPT['summaries']).format(writing.days(retention.summaries_days))}"


def _approval(purpose: PurposeEntry, writing: Writing) -> str:
    if purpose.approved_at is not None:
        return writing.day(purpose.approved_at)
    return writing.word("approval_missing" if purpose.sensitive else "approval_not_needed")


def _dtpr(site: SiteEntry, purpose: PurposeEntry, writing: Writing) -> list[tuple[str, list[str]]]:
    found = dtpr.elements(site, purpose, writing)
    return [
        (writing.said(title), [dtpr.named(each, writing) for each in found if each.category == name])
        for name, (title, _) in dtpr.CATEGORIES.items()
    ]


def _precision(site: SiteEntry, writing: Writing) -> str:
    return writing.word("precision_said").format(size=writing.length(site.precision_m))


def _boxes(site: SiteEntry, writing: Writing) -> dict[str, Any]:
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


def _recipients(site: SiteEntry, writing: Writing) -> list[str]:
    return [
        f"{each.recipient or writing.word('unnamed')}{writing.word('comma')}{writing.word(f'by_{each.kind}')}"
        for each in site.recipients
    ]


def _alerts(site: SiteEntry, writing: Writing) -> list[list[str]]:
    by = {each.severity: each for each in site.alerts}
    return [
        [writing.said(text), writing.number(by[name].month), writing.number(by[name].year)]
        for name, text in SEVERITIES.items()
        if name in by
    ]


def _incidents(figures: IncidentFigures, writing: Writing) -> dict[str, Any]:
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


def _charts(site: SiteEntry, data: OpenData, register: Register, writing: Writing) -> list[dict[str, Any]]:
    found = []
    for name in site.open_metrics:
        metric = BY_NAME[name]
        drawn = [
            charts.chart(metric, values, span, register.at, writing)
            for span, series in _SPANS
            if (values := getattr(data, series).get(name))
        ]
        if drawn:
            found.append({"title": drawn[0].title, "unit": drawn[0].unit, "charts": drawn})
    return found
