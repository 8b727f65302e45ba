"""Tables of samples, latest values, events and quarantine.

`samples` is a hypertable with one row per sample and one nullable column per metric of the catalogue
(docs/decisions/0001-row-shape.md). It is written by `app.observations.writer` alone.
"""

from datetime import date, datetime
from typing import Any
from uuid import UUID

from sqlalchemy import (
    BigInteger,
    Column,
    Double,
    ForeignKey,
    Integer,
    LargeBinary,
    PrimaryKeyConstraint,
    Table,
    Text,
)
from sqlalchemy.dialects.postgresql import JSONB, REAL, TIMESTAMP
from sqlalchemy.orm import Mapped, mapped_column

from app.core.database import Base
from app.sites.catalogue import CATALOGUE

_Instant = TIMESTAMP(timezone=True)

SAMPLES = Table(
    "samples",
    Base.metadata,
    Column("time", _Instant, nullable=False),
    Column("seq", BigInteger),
    Column("box_key", Integer, nullable=False),
    *(
        Column(metric.name, REAL if metric.storage == "real" else Double, nullable=True)
        for metric in CATALOGUE
    ),
    PrimaryKeyConstraint("box_key", "time"),
)


class BoxState(Base):
    """What the pipeline must know of a box: one row each, made with the box and locked by each batch.

    Attributes:
        latest: metric → [value, time in microseconds since the epoch] of its newest sample.
        rules: rule id → the state of that rule for this box, only where it is not at rest.
    """

    __tablename__ = "box_states"

    box_key: Mapped[int] = mapped_column(ForeignKey("boxes.key", ondelete="CASCADE"), primary_key=True)
    latest: Mapped[dict[str, Any]] = mapped_column(JSONB)
    rules: Mapped[dict[str, Any]] = mapped_column(JSONB)


class Event(Base):
    """Something that a box itself recognised. (box, time, type) is its identity."""

    __tablename__ = "events"

    id: Mapped[UUID] = mapped_column(primary_key=True)
    box_key: Mapped[int] = mapped_column(ForeignKey("boxes.key", ondelete="CASCADE"))
    organisation_id: Mapped[UUID] = mapped_column(ForeignKey("organisations.id", ondelete="RESTRICT"))
    time: Mapped[datetime] = mapped_column(_Instant)
    type: Mapped[str] = mapped_column(Text)
    seq: Mapped[int | None] = mapped_column(BigInteger)
    candidates: Mapped[list[dict[str, Any]]] = mapped_column(JSONB)
    level_db: Mapped[float | None]
    clock_error_ms: Mapped[float | None]
    received_at: Mapped[datetime] = mapped_column(_Instant)


class QuarantineEntry(Base):
    """What was refused, as it came (cut past 64 KiB), with the reason."""

    __tablename__ = "quarantine"

    id: Mapped[UUID] = mapped_column(primary_key=True)
    received_at: Mapped[datetime] = mapped_column(_Instant)
    organisation_id: Mapped[UUID | None] = mapped_column(ForeignKey("organisations.id", ondelete="CASCADE"))
    box: Mapped[str | None] = mapped_column(Text)
    door: Mapped[str] = mapped_column(Text)
    code: Mapped[str] = mapped_column(Text)
    detail: Mapped[str] = mapped_column(Text)
    topic: Mapped[str | None] = mapped_column(Text)
    payload: Mapped[bytes] = mapped_column(LargeBinary)
    payload_bytes: Mapped[int]


class IngestTotal(Base):
    """What one connection took in on one day (UTC) at one door, counted in the storing transactions."""

    __tablename__ = "ingest_totals"

    day: Mapped[date] = mapped_column(primary_key=True)
    door: Mapped[str] = mapped_column(Text, primary_key=True)
    backend: Mapped[int] = mapped_column(primary_key=True)
    stored: Mapped[int] = mapped_column(BigInteger)
    duplicate: Mapped[int] = mapped_column(BigInteger)
    conflict: Mapped[int] = mapped_column(BigInteger)
    rejected: Mapped[int] = mapped_column(BigInteger)
    late: Mapped[int] = mapped_column(BigInteger)


class Heartbeat(Base):
    """What a role last said of itself: `/readyz` reads it."""

    __tablename__ = "heartbeats"

    role: Mapped[str] = mapped_column(Text, primary_key=True)
    instance: Mapped[str] = mapped_column(Text, primary_key=True)
    state: Mapped[str] = mapped_column(Text)
    at: Mapped[datetime] = mapped_column(_Instant)
