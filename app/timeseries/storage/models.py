"""Tables of samples, latest values, events and quarantine.

`samples` is a hypertable with one row per sample and one nullable column per metric of the catalogue
(docs/decisions/0001-row-shape.md). It is written by `app.timeseries.storage.sample_writer` alone.
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
    MetaData,
    PrimaryKeyConstraint,
    Table,
    Text,
)
from sqlalchemy.dialects.postgresql import JSONB, REAL, TIMESTAMP, TSTZMULTIRANGE
from sqlalchemy.orm import Mapped, mapped_column

from app.catalogue.metrics import CATALOGUE
from app.platform.db.database import Base

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
    # The bits of the metrics, in the order of the catalogue, whose values came late; NULL where none did.
    Column("late", BigInteger),
    PrimaryKeyConstraint("box_key", "time"),
)
# A schema of its own makes no table: migrations make the view (`migrations.samples_view`).
TENANT_SAMPLES = SAMPLES.to_metadata(MetaData(), name="tenant_samples")
"""The samples that the caller of the running request reaches: what the API reads."""


class BoxState(Base):
    """What the pipeline must know of a box: one row each, made with the box.

    The row may lag behind `samples` by what is newer than `newest_us`; see app.timeseries.storage.box_states.

    Attributes:
        latest: metric → [value, time in microseconds since the epoch] of its newest sample.
        rules: rule id → the state of that rule for this box, only where it is not at rest.
        newest_us: time of the newest sample (µs since the epoch); None where there is none.
        last_sample_at: when a sample came in last.
        samples: how many came in, repeats among them.
        late: how many of them were older than what was known of all their metrics.
        clock_skew_ms: received minus measured, of the newest samples, the least of the last few seconds:
            negative where the box's clock is ahead.
        exact: nothing is newer than `newest_us`; holds as long as the box is shared.
        due_us: when a rule has to be looked at though nothing comes (µs since the epoch), or earlier than
            that; None where none has to.
    """

    __tablename__ = "box_states"

    box_key: Mapped[int] = mapped_column(ForeignKey("boxes.key", ondelete="CASCADE"), primary_key=True)
    latest: Mapped[dict[str, Any]] = mapped_column(JSONB)
    rules: Mapped[dict[str, Any]] = mapped_column(JSONB)
    newest_us: Mapped[int | None] = mapped_column(BigInteger)
    last_sample_at: Mapped[datetime | None] = mapped_column(_Instant)
    samples: Mapped[int] = mapped_column(BigInteger, server_default="0")
    late: Mapped[int] = mapped_column(BigInteger, server_default="0")
    clock_skew_ms: Mapped[float | None]
    exact: Mapped[bool] = mapped_column(server_default="false")
    due_us: Mapped[int | None] = mapped_column(BigInteger)


class SiteState(Base):
    """What the pipeline must know of a site that has rules on it as a whole; see BoxState."""

    __tablename__ = "site_states"

    site_id: Mapped[UUID] = mapped_column(ForeignKey("sites.id", ondelete="CASCADE"), primary_key=True)
    rules: Mapped[dict[str, Any]] = mapped_column(JSONB)
    due_us: Mapped[int | None] = mapped_column(BigInteger)


class Event(Base):
    """Something that a box itself recognised. (box, time, type) is its identity.

    `late` where a newer one of its type was there before it. What it may carry is the matter of its type:
    `spectrum` has levels in dB by octave band (Hz).
    """

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
    spectrum: Mapped[dict[str, float] | None] = mapped_column(JSONB)
    count: Mapped[int | None]
    state: Mapped[str | None] = mapped_column(Text)
    received_at: Mapped[datetime] = mapped_column(_Instant)
    late: Mapped[bool] = mapped_column(server_default="false")


class QuarantineEntry(Base):
    """What was refused, as it came (cut past 64 KiB), with the reason.

    Attributes:
        attempts: how often it was replayed; `attempted_at` is when it was last.
        replayed_at: when all of it was taken; None while something of it is refused.
        outcome: what became of it at its last replay, as counts.
    """

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
    attempts: Mapped[int] = mapped_column(server_default="0")
    attempted_at: Mapped[datetime | None] = mapped_column(_Instant)
    replayed_at: Mapped[datetime | None] = mapped_column(_Instant)
    outcome: Mapped[dict[str, int] | None] = mapped_column(JSONB(none_as_null=True))


class FormerBox(Base):
    """Whose a box's id was before: written by the database itself, when a box goes."""

    __tablename__ = "former_boxes"

    box: Mapped[str] = mapped_column(Text, primary_key=True)
    organisation_id: Mapped[UUID] = mapped_column(primary_key=True)
    until: Mapped[datetime] = mapped_column(_Instant)
    erased: Mapped[Any] = mapped_column(TSTZMULTIRANGE, server_default="{}", deferred=True)


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
