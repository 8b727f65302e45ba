"""Prepares incidents for pages and maps: outlines of ellipses, times of arrival, labels of sources. Pure."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

from app.console.framework.page_translation import mark_text
from app.presentation.languages import Language
from app.presentation.local_formatter import LocalFormatter
from app.presentation.typography import NBSP, NO_VALUE

_DEGREE_M: Final = 111_320.0
_OUTLINE_POINTS: Final = 48
_PERIOD_DAYS: Final = {"day": 1, "week": 7, "month": 30, "quarter": 90}

STATES: Final = {
    "open": mark_text("To review"),
    "confirmed": mark_text("Confirmed"),
    "dismissed": mark_text("Dismissed"),
}
"""English names of states."""

EVIDENCE: Final = {
    "position": mark_text("Position"),
    "branch": mark_text("Somewhere on a curve: only two boxes heard it"),
    "unlocated": mark_text("No position: too few boxes with a location heard it"),
}
"""English names of kinds of evidence."""

VERDICTS: Final = {
    "used": mark_text("used for the position"),
    "late": mark_text("a reflection: not used"),
    "early": mark_text("another source: not used"),
    "inconsistent": mark_text("does not fit the others: not used"),
    "unplaced": mark_text("the box has no location"),
}
"""English names of what an event did for the position."""

ROLES: Final = {"echo": mark_text("an echo"), "after_review": mark_text("arrived after the review")}
"""English names of roles of events, beside `round`."""

HISTORY: Final = {
    "detected": mark_text("Detected"),
    "updated": mark_text("More is known"),
    "confirmed": mark_text("Confirmed"),
    "dismissed": mark_text("Dismissed"),
}
"""English names of entries of the history."""

OUTCOMES: Final = {
    "gunshot": mark_text("Gunshot, weapon unknown"),
    "explosion": mark_text("Explosion"),
    "not_gunshot": mark_text("No shot, source unknown"),
    "undetermined": mark_text("Cannot be determined"),
    "superseded": mark_text("Part of another incident"),
    "erased": mark_text("Its data were erased"),
}
"""English names of outcomes that are no source of the catalogue."""


@dataclass(frozen=True, slots=True)
class SourceLabels:
    """Names of sources in one language.

    Attributes:
        names: Class, model or look-alike → name.
        firearm_classes: Classes that confirm an incident.
        look_alikes: Look-alikes, each with its hint for reviewers.
    """

    names: Mapping[str, str]
    firearm_classes: Sequence[str]
    look_alikes: Mapping[str, str]

    @classmethod
    def of(cls, sources: Sequence[Mapping[str, Any]], language: Language) -> "SourceLabels":
        """Collect the names of `GET /v1/acoustic-sources`."""
        ending = "_fr" if language == "fr" else ""
        names: dict[str, str] = {}
        classes: list[str] = []
        hints: dict[str, str] = {}
        for each in sources:
            names[each["class"]] = each[f"class_label{ending}"]
            names.setdefault(each["id"], each[f"name{ending}"])
            if each["kind"] == "firearm":
                classes.append(each["class"])
            else:
                hints[each["id"]] = each[f"hint{ending}"] or ""
        return cls(names, list(dict.fromkeys(classes)), hints)

    def name(self, source: str) -> str:
        """Return the name of a source; a box may send one that the catalogue lacks."""
        return self.names.get(source, source.replace("_", " "))


@dataclass(frozen=True, slots=True)
class BoxArrival:
    """An event of an incident, as the page lists it.

    Attributes:
        box: The box.
        clock: The local time of day with milliseconds.
        delay_s: Seconds after the first arrival of its round; of an echo, after that of the round before it.
        residual: Measured minus expected time of arrival; a dash if there is none.
        role, verdict, round: As in the API.
    """

    box: str
    clock: str
    delay_s: float
    role: str
    verdict: str | None
    residual: str
    round: int | None


def compute_period_start(period: str, now: datetime) -> str | None:
    """Return the start of a named period, at midnight UTC; None for all time."""
    days = _PERIOD_DAYS.get(period)
    if days is None:
        return None
    start = (now - timedelta(days=days)).replace(hour=0, minute=0, second=0, microsecond=0)
    return start.isoformat()


def outline_ellipse(
    longitude: float, latitude: float, ellipse: Mapping[str, float]
) -> list[tuple[float, float]]:
    """Return the outline of an error ellipse as (latitude, longitude).

    The plane through the centre is exact enough: ellipses are some metres to hundreds of metres long.
    """
    turn = math.radians(ellipse["orientation_deg"])
    degree_m = _DEGREE_M * max(0.01, math.cos(math.radians(latitude)))
    outline = []
    for step in range(_OUTLINE_POINTS):
        angle = 2 * math.pi * step / _OUTLINE_POINTS
        along, across = ellipse["semi_major_m"] * math.cos(angle), ellipse["semi_minor_m"] * math.sin(angle)
        east = along * math.sin(turn) + across * math.cos(turn)
        north = along * math.cos(turn) - across * math.sin(turn)
        outline.append((round(latitude + north / _DEGREE_M, 7), round(longitude + east / degree_m, 7)))
    return outline


def list_arrivals(events: Sequence[Mapping[str, Any]], formatter: LocalFormatter) -> list[BoxArrival]:
    """List the events of an incident by round and arrival; those of no round, as echoes, come last."""
    in_order = sorted(events, key=_sort_key)
    first: dict[int, datetime] = {}
    arrivals = []
    for each in in_order:
        at = datetime.fromisoformat(each["time"])
        if each["round"] is not None:
            delay = at - first.setdefault(each["round"], at)
        else:
            delay = at - max((start for start in first.values() if start <= at), default=at)
        arrivals.append(
            BoxArrival(
                box=each["box"],
                clock=format_precise_clock(at, formatter),
                delay_s=delay.total_seconds(),
                role=each["role"],
                verdict=each["verdict"],
                residual=_format_residual(each["residual_ms"], formatter),
                round=each["round"],
            )
        )
    return arrivals


def _sort_key(event: Mapping[str, Any]) -> tuple[bool, int, datetime]:
    return event["round"] is None, event["round"] or 0, datetime.fromisoformat(event["time"])


def _format_residual(residual_ms: float | None, formatter: LocalFormatter) -> str:
    if residual_ms is None:
        return NO_VALUE
    sign = "+" if residual_ms > 0 else "\N{MINUS SIGN}"
    number = formatter.number(abs(residual_ms), 1)
    return f"{sign if round(residual_ms, 1) else ''}{number}{NBSP}ms"


def format_precise_clock(at: datetime, formatter: LocalFormatter) -> str:
    """Format a local time of day with milliseconds."""
    local = formatter.local(at)
    mark = "," if formatter.language == "fr" else "."
    return f"{local:%H:%M:%S}{mark}{local.microsecond // 1000:03d}"


def build_incident_map(
    incident: Mapping[str, Any], formatter: LocalFormatter, names: Mapping[str, str]
) -> dict[str, Any]:
    """Build what the map of one incident draws: position, ellipses, curve, and boxes with delays.

    Args:
        incident: The incident, as the API returns it.
        formatter: The language, and the time zone of the site.
        names: The names of boxes by id.
    """
    geometry = incident["geometry"] or {}
    drawn: dict[str, Any] = {"position": None, "areas": [], "branch": [], "alternative": None}
    if geometry.get("type") == "Point":
        longitude, latitude = geometry["coordinates"][:2]
        drawn["position"] = [latitude, longitude]
        if incident["ellipse"]:
            drawn["areas"].append(outline_ellipse(longitude, latitude, incident["ellipse"]))
    elif geometry.get("type") == "LineString":
        drawn["branch"] = [[latitude, longitude] for longitude, latitude, *_ in geometry["coordinates"]]
    if other := incident["alternative"]:
        drawn["alternative"] = [other["latitude"], other["longitude"]]
        drawn["areas"].append(outline_ellipse(other["longitude"], other["latitude"], other["ellipse"]))
    drawn["boxes"] = _place_boxes(incident["events"], formatter, names)
    return drawn


def _place_boxes(
    events: Sequence[Mapping[str, Any]], formatter: LocalFormatter, names: Mapping[str, str]
) -> list[dict[str, Any]]:
    """Place each box once, with the delay of the arrival that the position uses, else of its first one."""
    arrivals: dict[str, BoxArrival] = {}
    # The list is in the order of rounds, echoes last; the sort is stable.
    for arrival in sorted(list_arrivals(events, formatter), key=lambda each: each.verdict != "used"):
        arrivals.setdefault(arrival.box, arrival)
    placed = {each["box"]: each for each in events if each["latitude"] is not None}
    return [
        {
            "box": box,
            "at": [each["latitude"], each["longitude"]],
            "text": f"{names.get(box, box)} · +{formatter.number(arrivals[box].delay_s * 1000)}{NBSP}ms",
        }
        for box, each in sorted(placed.items())
    ]


def build_map_places(
    incidents: Sequence[Mapping[str, Any]], sites: Mapping[str, Mapping[str, Any]]
) -> list[dict[str, Any]]:
    """Build the sites of a list's incidents, which the map names: it may lack streets."""
    concerned = dict.fromkeys(each["site_id"] for each in incidents if each["site_id"] in sites)
    placed = [sites[each] for each in concerned if sites[each]["location"] is not None]
    return [
        {"at": list(reversed(site["location"]["coordinates"][:2])), "name": site["name"]} for site in placed
    ]


def build_list_map(
    incidents: Sequence[Mapping[str, Any]], names: Mapping[str, str], root: str
) -> list[dict[str, Any]]:
    """Build what the map of a list draws: incidents with a position.

    Args:
        incidents: The incidents.
        names: Their sentences by id.
        root: The prefix of addresses.
    """
    looks = {"open": "warning", "confirmed": "critical", "dismissed": "ok"}
    return [
        {
            "id": each["id"],
            "at": [each["geometry"]["coordinates"][1], each["geometry"]["coordinates"][0]],
            "look": looks[each["state"]],
            "name": names[each["id"]],
            "href": f"{root}/console/incidents/{each['id']}",
        }
        for each in incidents
        if each["geometry"] and each["geometry"]["type"] == "Point"
    ]
