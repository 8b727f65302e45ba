"""Defines the tables of incidents. Only the incident worker writes them, except for reviews."""

from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import ARRAY, BigInteger, ForeignKey, Identity, Text
from sqlalchemy.dialects.postgresql import JSONB, TIMESTAMP
from sqlalchemy.orm import Mapped, mapped_column

from app.platform.db.database import Base

_Instant = TIMESTAMP(timezone=True)
# None is SQL's null, not JSON's.
_Json = JSONB(none_as_null=True)


class Incident(Base):
    """Sounds from one position in quick succession, recorded by boxes of a site.

    Attributes:
        state: `open` until a review; the system sets `dismissed` for superseded and erased incidents.
        sequence: increases with each version that is published as an event.
        evidence: `unlocated`, `branch` or `position`. Computed columns are None after an erasure.
        verified: whether more boxes agree on the position than any three would.
        occurred_at: when the sound began; without a position, the time of the first event.
        occurred_sigma_ms: its standard error, ms; None without a position.
        first_heard_at, last_heard_at: the times of the first and the last event.
        longitude, latitude: degrees.
        ellipse: `semi_major_m`, `semi_minor_m`, `orientation_deg` clockwise from north, `level` (0.95).
        branch: a GeoJSON LineString, and `difference_sigma_m`.
        alternative: `longitude`, `latitude`, `ellipse` of another position that is nearly as likely.
        classes, models: `[{"class" or "model", "probability"}, …]`, the likeliest first.
        probability: the probability of a gunshot or an explosion.
        temperature: `celsius`, `sigma_celsius`, `source` (`measured` or `default`), `boxes` that measured it.
        method: `name`, `version`, `citation` and `parameters` of each computation.
        crowded: too many events for one computation: it may be part of a larger incident.
        told: the summary in the last event, for comparison. `untold`: an `incident.updated` is pending.
        settled_at: since when no more events are expected; late ones are still included.
        review_s: time from detection to the first review, s.
        superseded_by: the incident that it turned out to be part of.
        erased_at: when an event was erased, and with it all computed columns.
    """

    __tablename__ = "incidents"

    id: Mapped[UUID] = mapped_column(primary_key=True)
    organisation_id: Mapped[UUID] = mapped_column(ForeignKey("organisations.id", ondelete="CASCADE"))
    site_id: Mapped[UUID] = mapped_column(ForeignKey("sites.id", ondelete="CASCADE"))
    state: Mapped[str] = mapped_column(Text, server_default="open")
    sequence: Mapped[int] = mapped_column(server_default="1")
    evidence: Mapped[str | None] = mapped_column(Text)
    verified: Mapped[bool | None]
    occurred_at: Mapped[datetime | None] = mapped_column(_Instant)
    occurred_sigma_ms: Mapped[float | None]
    first_heard_at: Mapped[datetime | None] = mapped_column(_Instant)
    last_heard_at: Mapped[datetime | None] = mapped_column(_Instant)
    longitude: Mapped[float | None]
    latitude: Mapped[float | None]
    ellipse: Mapped[dict[str, Any] | None] = mapped_column(_Json)
    branch: Mapped[dict[str, Any] | None] = mapped_column(_Json)
    alternative: Mapped[dict[str, Any] | None] = mapped_column(_Json)
    classes: Mapped[list[dict[str, Any]] | None] = mapped_column(_Json)
    models: Mapped[list[dict[str, Any]] | None] = mapped_column(_Json)
    probability: Mapped[float | None]
    gunshot_probability: Mapped[float | None]
    rounds: Mapped[int | None]
    boxes: Mapped[list[str] | None] = mapped_column(ARRAY(Text))
    temperature: Mapped[dict[str, Any] | None] = mapped_column(_Json)
    method: Mapped[list[dict[str, Any]] | None] = mapped_column(_Json)
    crowded: Mapped[bool] = mapped_column(server_default="false")
    told: Mapped[dict[str, Any] | None] = mapped_column(_Json)
    told_at: Mapped[datetime | None] = mapped_column(_Instant)
    untold: Mapped[bool] = mapped_column(server_default="false")
    detected_at: Mapped[datetime] = mapped_column(_Instant)
    updated_at: Mapped[datetime] = mapped_column(_Instant)
    settled_at: Mapped[datetime | None] = mapped_column(_Instant)
    reviewed_by: Mapped[UUID | None]
    reviewed_kind: Mapped[str | None] = mapped_column(Text)
    reviewed_name: Mapped[str | None] = mapped_column(Text)
    reviewed_at: Mapped[datetime | None] = mapped_column(_Instant)
    outcome: Mapped[str | None] = mapped_column(Text)
    note: Mapped[str | None] = mapped_column(Text)
    review_s: Mapped[float | None]
    superseded_by: Mapped[UUID | None] = mapped_column(ForeignKey("incidents.id", ondelete="SET NULL"))
    erased_at: Mapped[datetime | None] = mapped_column(_Instant)


class IncidentEvent(Base):
    """An event of an incident. An event belongs to at most one incident.

    Attributes:
        role: `round` or `echo`; `after_review` if it arrived after the review.
        round: the number of the round, from 1.
        verdict: `used` for localisation, or why not; None if another round was located.
        residual_ms: measured minus expected arrival time, ms.
        longitude, latitude: the position of the box when the event was clustered; None if unknown.
    """

    __tablename__ = "incident_events"

    event_id: Mapped[UUID] = mapped_column(ForeignKey("events.id", ondelete="CASCADE"), primary_key=True)
    incident_id: Mapped[UUID] = mapped_column(ForeignKey("incidents.id", ondelete="CASCADE"))
    box_key: Mapped[int]
    box: Mapped[str] = mapped_column(Text)
    time: Mapped[datetime] = mapped_column(_Instant)
    role: Mapped[str] = mapped_column(Text)
    round: Mapped[int | None]
    verdict: Mapped[str | None] = mapped_column(Text)
    residual_ms: Mapped[float | None]
    longitude: Mapped[float | None]
    latitude: Mapped[float | None]


class IncidentEntry(Base):
    """A version of an incident in its history, with the published summary. Corrected reviews stay here."""

    __tablename__ = "incident_history"

    id: Mapped[UUID] = mapped_column(primary_key=True)
    incident_id: Mapped[UUID] = mapped_column(ForeignKey("incidents.id", ondelete="CASCADE"))
    kind: Mapped[str] = mapped_column(Text)
    at: Mapped[datetime] = mapped_column(_Instant)
    sequence: Mapped[int]
    data: Mapped[dict[str, Any] | None] = mapped_column(_Json)
    actor_kind: Mapped[str] = mapped_column(Text, server_default="system")
    actor_id: Mapped[UUID | None]
    actor_name: Mapped[str | None] = mapped_column(Text)
    outcome: Mapped[str | None] = mapped_column(Text)
    note: Mapped[str | None] = mapped_column(Text)


class IncidentMark(Base):
    """A ten-second slot of a site with events to cluster (`app.sound_incidents.sound_event_windows`)."""

    __tablename__ = "incident_marks"

    id: Mapped[int] = mapped_column(BigInteger, Identity(always=True), primary_key=True)
    site_id: Mapped[UUID]
    slot: Mapped[int] = mapped_column(BigInteger)
    made_at: Mapped[datetime] = mapped_column(_Instant)
