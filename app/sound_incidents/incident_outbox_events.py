"""Builds the outbox events of incidents: their types and the `data` of their bodies.

Events never contain the reviewer or the reviewer's note. Must not query anything.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Literal
from uuid import UUID

from app.notifications.events.outbox import OutboxRecord
from app.platform.kernel.ids import new_id

type IncidentEventKind = Literal["detected", "updated", "confirmed", "dismissed"]

_SHOWN = 5


def build_geometry(row: Mapping[str, Any]) -> dict[str, Any] | None:
    """Build the GeoJSON geometry of an incident; None if it was not located."""
    if row["longitude"] is not None:
        return {"type": "Point", "coordinates": [row["longitude"], row["latitude"]]}
    branch = row["branch"]
    return None if branch is None else dict(branch["geometry"])


def build_incident_event(
    kind: IncidentEventKind, row: Mapping[str, Any], now: datetime, changes: Sequence[str] = ()
) -> OutboxRecord:
    """Build the outbox record of a version of an incident.

    Args:
        kind: the type of the event, without `incident.`.
        row: the incident's columns after the change.
        now: the time of the change, aware.
        changes: the names of changed parts, for `incident.updated`.
    """
    superseded: UUID | None = row["superseded_by"]
    payload = {
        "incident_id": row["id"],
        "organisation_id": row["organisation_id"],
        "site_id": row["site_id"],
        "state": row["state"],
        "sequence": row["sequence"],
        "evidence": row["evidence"],
        "verified": row["verified"],
        "occurred_at": row["occurred_at"],
        "geometry": build_geometry(row),
        "ellipse": row["ellipse"],
        "alternative": row["alternative"],
        "classes": (row["classes"] or [])[:_SHOWN],
        "models": (row["models"] or [])[:_SHOWN],
        "probability": row["probability"],
        "gunshot_probability": row["gunshot_probability"],
        "rounds": row["rounds"],
        "boxes": row["boxes"] or [],
        "detected_at": row["detected_at"],
        "outcome": row["outcome"],
        "reviewed_at": row["reviewed_at"],
        "superseded_by": superseded,
        "changes": list(changes),
    }
    return OutboxRecord(new_id(), row["organisation_id"], row["site_id"], f"incident.{kind}", payload, now)
