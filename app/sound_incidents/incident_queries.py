"""Queries incidents for the API. Erased incidents are left out: only statistics count them."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from operator import attrgetter
from typing import Final
from uuid import UUID

from sqlalchemy import ColumnElement, Select, func, select

from app.acoustics.great_circle_distance import EARTH_RADIUS_M
from app.platform.db.database import ReadSession, WriteSession
from app.platform.http.contract.sorting import (
    PageRequest,
    SortOrders,
    instant_sort_key,
    number_sort_key,
    uuid_sort_key,
)
from app.platform.kernel.errors import NotFoundError
from app.platform.kernel.tenant_scope import EMPTY_SCOPE, TenantScope
from app.sound_incidents.models import Incident, IncidentEntry, IncidentEvent

_MOST_EVENTS: Final = 1_000
_MOST_ENTRIES: Final = 500

INCIDENTS: Final = SortOrders(
    "incidents",
    (uuid_sort_key(Incident.id),),
    {
        "id": (),
        "occurred_at": (instant_sort_key(Incident.occurred_at, attrgetter("occurred_at")),),
        "probability": (number_sort_key(Incident.probability.expression, attrgetter("probability")),),
    },
    "-id",
)


@dataclass(frozen=True, slots=True)
class GeoCircle:
    """A circle: longitude and latitude of its centre (degrees), radius (m)."""

    longitude: float
    latitude: float
    radius_m: float


@dataclass(frozen=True, slots=True)
class IncidentFilter:
    """A filter of incidents; None does not filter."""

    visible: TenantScope = EMPTY_SCOPE
    organisation_id: UUID | None = None
    site_id: UUID | None = None
    state: str | None = None
    evidence: str | None = None
    min_probability: float | None = None
    start: datetime | None = None
    end: datetime | None = None
    near: GeoCircle | None = None


def _select_visible(visible: TenantScope) -> Select[Incident]:
    query = select(Incident).where(Incident.erased_at.is_(None))
    return query.where(*visible.within(Incident.organisation_id, Incident.site_id))


def _conditions(filter_: IncidentFilter) -> Iterator[ColumnElement[bool]]:
    for column, value in (
        (Incident.organisation_id, filter_.organisation_id),
        (Incident.site_id, filter_.site_id),
        (Incident.state, filter_.state),
        (Incident.evidence, filter_.evidence),
    ):
        if value is not None:
            yield column == value
    if filter_.min_probability is not None:
        yield Incident.probability >= filter_.min_probability
    if filter_.start is not None:
        yield Incident.occurred_at >= filter_.start
    if filter_.end is not None:
        yield Incident.occurred_at < filter_.end
    if filter_.near is not None:
        yield from _within(filter_.near)


def _within(near: GeoCircle) -> Iterator[ColumnElement[bool]]:
    """Yield the conditions of a circle: a latitude band, for the index, and the great-circle distance."""
    degrees = math.degrees(near.radius_m / EARTH_RADIUS_M)
    yield Incident.latitude.between(near.latitude - degrees, near.latitude + degrees)
    latitude = func.radians(Incident.latitude)
    chord = func.power(func.sin((latitude - math.radians(near.latitude)) / 2), 2) + func.cos(
        latitude
    ) * math.cos(math.radians(near.latitude)) * func.power(
        func.sin(func.radians(Incident.longitude - near.longitude) / 2), 2
    )
    yield 2 * EARTH_RADIUS_M * func.asin(func.sqrt(func.least(1.0, chord))) <= near.radius_m


async def list_incidents(
    session: ReadSession, filter_: IncidentFilter, page: PageRequest
) -> Sequence[Incident]:
    """Read a page of incidents, and one more if there is a next page."""
    query = _select_visible(filter_.visible).where(*_conditions(filter_))
    return (await session.scalars(INCIDENTS.page(query, page))).all()


async def find_incident(
    session: ReadSession | WriteSession, incident_id: UUID, visible: TenantScope, *, lock: bool = False
) -> Incident:
    """Read an incident.

    Args:
        session: a session of the API.
        incident_id: the incident.
        visible: the tenant scope of the caller.
        lock: locks the row, to change it.

    Raises:
        NotFoundError: no such incident in the tenant scope, or it was erased.
    """
    query = _select_visible(visible).where(Incident.id == incident_id)
    row = (await session.scalars(query.with_for_update() if lock else query)).one_or_none()
    if row is None:
        raise NotFoundError("incident", incident_id)
    return row


async def list_incident_events(session: ReadSession, incident_id: UUID) -> Sequence[IncidentEvent]:
    """Read the first 1,000 events of an incident, in the order of time."""
    query = select(IncidentEvent).where(IncidentEvent.incident_id == incident_id)
    ordered = query.order_by(IncidentEvent.time, IncidentEvent.box, IncidentEvent.event_id)
    return (await session.scalars(ordered.limit(_MOST_EVENTS))).all()


async def list_incident_history(session: ReadSession, incident_id: UUID) -> Sequence[IncidentEntry]:
    """Read the history of an incident, the oldest entry first."""
    query = select(IncidentEntry).where(IncidentEntry.incident_id == incident_id)
    return (await session.scalars(query.order_by(IncidentEntry.id).limit(_MOST_ENTRIES))).all()
