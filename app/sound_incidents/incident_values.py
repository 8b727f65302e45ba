"""Computes an incident's columns from a cluster of sound events, and finds changes to notify. Pure."""

from collections.abc import Mapping
from typing import Any, Final

from app.acoustics.great_circle_distance import compute_distance_m
from app.acoustics.localisation_inputs import LocalisationSettings
from app.acoustics.localisation_results import CONFIDENCE, ErrorEllipse, LocalisationResult, SourcePosition
from app.platform.kernel.instants import to_datetime
from app.sound_incidents.event_clustering import AirTemperature, EventCluster
from app.sound_incidents.localisation_assumptions import describe_methods

_SHOWN: Final = 10
_LEAST: Final = 0.005
_PROBABILITY: Final = 0.1
_DEGREES: Final = 7
_METRES: Final = 2

COMPUTED_COLUMNS: Final = (
    *("evidence", "verified", "occurred_at", "occurred_sigma_ms", "first_heard_at", "last_heard_at"),
    *("longitude", "latitude", "ellipse", "branch", "alternative", "classes", "models", "probability"),
    *("gunshot_probability", "rounds", "boxes", "temperature", "method", "crowded"),
)
"""The columns that are computed from a cluster."""


def compute_incident_columns(
    found: EventCluster, settings: LocalisationSettings, temperature: AirTemperature
) -> dict[str, Any]:
    """Compute the columns of an incident."""
    location = found.location
    position = location.position
    return {
        "evidence": location.evidence,
        "verified": position is not None and position.verified,
        "occurred_at": to_datetime(found.occurred_us),
        "occurred_sigma_ms": None if position is None else round(position.time_sigma_ms, 3),
        "first_heard_at": to_datetime(found.first_us),
        "last_heard_at": to_datetime(found.last_us),
        **_place(location),
        "classes": _ranked("class", found.classification.kinds),
        "models": _ranked("model", found.classification.models),
        "probability": round(found.probability, 4),
        "gunshot_probability": round(found.classification.gunshot, 4),
        "rounds": found.rounds,
        "boxes": found.boxes,
        "temperature": temperature.shown(),
        "method": describe_methods(settings),
        "crowded": found.crowded,
    }


def _place(location: LocalisationResult) -> dict[str, Any]:
    position, other, branch = location.position, location.alternative, location.branch
    return {
        "longitude": None if position is None else round(position.lon, _DEGREES),
        "latitude": None if position is None else round(position.lat, _DEGREES),
        "ellipse": None if position is None else _ellipse(position.ellipse),
        "alternative": None if other is None else _other(other),
        "branch": None
        if branch is None
        else {
            "geometry": {
                "type": "LineString",
                "coordinates": [[round(value, _DEGREES) for value in point] for point in branch.line],
            },
            "difference_sigma_m": round(branch.difference_sigma_m, _METRES),
        },
    }


def _ellipse(ellipse: ErrorEllipse) -> dict[str, float]:
    return {
        "semi_major_m": round(ellipse.semi_major_m, _METRES),
        "semi_minor_m": round(ellipse.semi_minor_m, _METRES),
        "orientation_deg": round(ellipse.orientation_deg, 1),
        "level": CONFIDENCE,
    }


def _other(position: SourcePosition) -> dict[str, Any]:
    return {
        "longitude": round(position.lon, _DEGREES),
        "latitude": round(position.lat, _DEGREES),
        "ellipse": _ellipse(position.ellipse),
    }


def _ranked(name: str, shares: tuple[tuple[str, float], ...]) -> list[dict[str, Any]]:
    """List the likeliest classes or models: the first one, and others of at least 0.5 %."""
    return [
        {name: label, "probability": round(share, 4)}
        for index, (label, share) in enumerate(shares[:_SHOWN])
        if index == 0 or share >= _LEAST
    ]


def summarise_incident(row: Mapping[str, Any]) -> dict[str, Any]:
    """Return the fields that are compared with the last event of the incident."""
    classes = row["classes"] or [{"class": None}]
    return {
        "evidence": row["evidence"],
        "verified": row["verified"],
        "longitude": row["longitude"],
        "latitude": row["latitude"],
        "class": classes[0]["class"],
        "probability": row["probability"],
        "rounds": row["rounds"],
    }


def find_changes(before: Mapping[str, Any] | None, now: Mapping[str, Any], moved_m: float) -> list[str]:
    """Name the significant differences between two summaries.

    Args:
        before: the summary in the last event; None if its data were erased.
        now: the current summary.
        moved_m: a position counts as moved beyond this distance, m.
    """
    if before is None:
        return ["erased"]
    found = [name for name in ("evidence", "verified", "class", "rounds") if before[name] != now[name]]
    if abs((before["probability"] or 0.0) - (now["probability"] or 0.0)) >= _PROBABILITY:
        found.append("probability")
    if None not in (before["longitude"], now["longitude"]) and _distance_m(before, now) > moved_m:
        found.append("position")
    return found


def _distance_m(one: Mapping[str, Any], other: Mapping[str, Any]) -> float:
    return compute_distance_m(one["latitude"], one["longitude"], other["latitude"], other["longitude"])
