"""The tables of incidents. Written by the worker alone, but for what a review changes."""

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
    """Sounds of one place in quick succession, as far as the boxes of a site heard them.

    Attributes:
        state: `open` until somebody says what it was; `dismissed` by the system where nothing is left of it.
        sequence: counts up with each version that is told.
        evidence: `unlocated`, `branch` or `position`; what is computed is None once it is erased.
        verified: whether more boxes agree on the position than any three would.
        occurred_at: when the sound began; where there is no position, when it was heard first.
        occurred_sigma_ms: standard error of that; None where there is no position.
        first_heard_at, last_heard_at: of its events.
        longitude, latitude: degrees.
        ellipse: `semi_major_m`, `semi_minor_m`, `orientation_deg` clockwise from north, `level` (0.95).
        branch: a GeoJSON LineString, and `difference_sigma_m` beside it.
        alternative: `longitude`, `latitude`, `ellipse` of another place that is nearly as likely.
        classes, models: `[{"class" or "model", "probability"}, …]`, the likeliest first.
        probability: that it was a gunshot or an explosion.
        temperature: `celsius`, `sigma_celsius`, `source` (`measured` or `default`), `boxes` that measured it.
        method: `name`, `version`, `citation` and `parameters` of each computation.
        crowded: there were more events about than are looked at together: it may be a part of a larger one.
        told: what was told last, for comparison; `untold` where something is to be told.
        settled_at: from then on no more events are expected; those that come nevertheless count.
        review_s: how long after detection the review was, s.
        superseded_by: the incident that it was part of, as later events showed.
        erased_at: an event of it was erased, and with it all that was computed.
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
    """An event that is of an incident: at most of one.

    Attributes:
        role: `round` or `echo`; `after_review` where it came when the incident was reviewed already.
        round: which one, from 1 on.
        verdict: what became of it in finding the place: `used`, or why not; None: another round tells that.
        residual_ms: heard minus expected from the position.
        longitude, latitude: where the box stood when the event was taken in; None where nobody had said.
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
    """Something that happened to an incident, with what was told of it; reviews that were corrected, too."""

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
    """Ten seconds of a site with events that no association has seen (`app.incidents.time_slots`)."""

    __tablename__ = "incident_marks"

    id: Mapped[int] = mapped_column(BigInteger, Identity(always=True), primary_key=True)
    site_id: Mapped[UUID]
    slot: Mapped[int] = mapped_column(BigInteger)
    made_at: Mapped[datetime] = mapped_column(_Instant)
