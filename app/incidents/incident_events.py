"""What the outbox says of an incident: the types of the events and the `data` of their bodies.

Must not query anything. What a reviewer wrote is not told, nor who it was.
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
    """Where it was, as a geometry of GeoJSON; None where nothing is known of it."""
    if row["longitude"] is not None:
        return {"type": "Point", "coordinates": [row["longitude"], row["latitude"]]}
    branch = row["branch"]
    return None if branch is None else dict(branch["geometry"])


def build_incident_event(
    kind: IncidentEventKind, row: Mapping[str, Any], now: datetime, changes: Sequence[str] = ()
) -> OutboxRecord:
    """Make the outbox's record of a version of an incident.

    Args:
        kind: what happened.
        row: the incident's columns, as they are after it.
        now: when it happened, aware.
        changes: what is new, of `incident.updated`.
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
