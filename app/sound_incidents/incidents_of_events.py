"""Finds the incidents that events of boxes belong to, and the alerts that these events raised.

An alert on a sound stores the box and the time of its event. Both identify the event.
"""

from collections.abc import Sequence
from datetime import datetime
from typing import Any, Final
from uuid import UUID

from sqlalchemy import ColumnElement, Integer, any_, bindparam, exists, select
from sqlalchemy.dialects.postgresql import ARRAY, TIMESTAMP

from app.platform.db.tenant_reader import TenantReader, compile_statement
from app.sound_incidents.models import Incident, IncidentEvent

type EventOfBox = tuple[int, datetime]
"""The key of a box, and the time of its event."""

_OF_EVENTS: Final = compile_statement(
    select(IncidentEvent.box_key, IncidentEvent.time, IncidentEvent.incident_id)
    .join(Incident, Incident.id == IncidentEvent.incident_id)
    .where(
        # The index by time finds the events; the box is compared with those few.
        IncidentEvent.time == any_(bindparam("times", type_=ARRAY(TIMESTAMP(timezone=True)))),
        IncidentEvent.box_key == any_(bindparam("box_keys", type_=ARRAY(Integer))),
        Incident.erased_at.is_(None),
    )
)


async def find_incidents_of_events(
    reader: TenantReader, events: Sequence[EventOfBox]
) -> dict[EventOfBox, UUID]:
    """Return the incident of each event; events without one are left out."""
    values = {"times": [at for _, at in events], "box_keys": sorted({key for key, _ in events})}
    return {(row.box_key, row.time): row.incident_id for row in await reader.fetch(_OF_EVENTS, values)}


def belongs_to_incident(
    incident_id: UUID, box_key: ColumnElement[Any], time: ColumnElement[Any]
) -> ColumnElement[bool]:
    """Return SQL of whether an incident includes the event of a box at a time."""
    event = IncidentEvent
    same = (event.incident_id == incident_id, event.box_key == box_key, event.time == time)
    return exists().where(*same)
