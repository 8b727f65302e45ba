"""Maps the tables of samples, box states and events.

`samples` is a hypertable with one row per sample and one nullable column per metric
(docs/decisions/0001-row-shape.md). Only `app.timeseries.storage.sample_writer` writes it.
"""

from datetime import date, datetime
from typing import Any, Final
from uuid import UUID

from sqlalchemy import (
    BigInteger,
    Column,
    Double,
    ForeignKey,
    Integer,
    MetaData,
    PrimaryKeyConstraint,
    Table,
    Text,
)
from sqlalchemy.dialects.postgresql import JSONB, REAL, TIMESTAMP
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
    # One bit per metric, in catalogue order, for values that arrived late; NULL if none did.
    Column("late", BigInteger),
    PrimaryKeyConstraint("box_key", "time"),
)
# In separate metadata, so that it creates no table: a migration creates the view (`migrations.samples_view`).
TENANT_SAMPLES = SAMPLES.to_metadata(MetaData(), name="tenant_samples")
"""A view of the samples in the tenant scope of the current request. The API reads it."""


class BoxState(Base):
    """The pipeline's state of a box: one row each, created with the box.

    The row may lag behind `samples` by the samples after `newest_us`; see
    app.timeseries.storage.box_state_cache.

    Attributes:
        latest: metric → [value, time in microseconds since the epoch] of its newest sample.
        rules: rule id → the state of that rule for this box, only if it is not at rest.
        newest_us: time of the newest sample (µs since the epoch); None before the first sample.
        last_sample_at: when the last sample arrived.
        samples: how many arrived, duplicates included.
        late: how many of them were older than the newest values of all their metrics.
        clock_skew_ms: arrival minus measurement time of the newest samples, the minimum of the last few
            seconds. Negative if the box's clock is ahead.
        exact: nothing is newer than `newest_us`; true while the box is shared.
        due_us: when a timer of a rule expires without a sample (µs since the epoch), or earlier than that;
            None if none does.
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
    """The pipeline's state of a site that has rules on the whole site; see BoxState."""

    __tablename__ = "site_states"

    site_id: Mapped[UUID] = mapped_column(ForeignKey("sites.id", ondelete="CASCADE"), primary_key=True)
    rules: Mapped[dict[str, Any]] = mapped_column(JSONB)
    due_us: Mapped[int | None] = mapped_column(BigInteger)


class Event(Base):
    """An event that a box recognised. Its identity is (box, time, type).

    `late` is set if a newer event of its type was stored before. The type determines the other fields;
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


class IngestTotal(Base):
    """The ingest counts of one connection on one day (UTC).

    They are written in the transactions that store the samples.
    """

    __tablename__ = "ingest_totals"

    day: Mapped[date] = mapped_column(primary_key=True)
    door: Mapped[str] = mapped_column(Text, primary_key=True)
    backend: Mapped[int] = mapped_column(primary_key=True)
    stored: Mapped[int] = mapped_column(BigInteger)
    duplicate: Mapped[int] = mapped_column(BigInteger)
    conflict: Mapped[int] = mapped_column(BigInteger)
    rejected: Mapped[int] = mapped_column(BigInteger)
    late: Mapped[int] = mapped_column(BigInteger)


PUBLISHED_VIEWS: Final = {
    "timeseries_events": "id, box_key, time, type, candidates, level_db, clock_error_ms",
}
"""A view that `incidents` joins with its own tables (migration 0038), with its columns."""
