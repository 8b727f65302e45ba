"""Maps the tables of subscriptions to the measurement stream and of their batches."""

from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import ARRAY, BigInteger, Double, ForeignKey, Text, Uuid
from sqlalchemy.dialects.postgresql import JSONB, TIMESTAMP
from sqlalchemy.orm import Mapped, mapped_column

from app.platform.db.database import Base

_Instant = TIMESTAMP(timezone=True)


class MeasurementSubscription(Base):
    """A stored consumer of the measurement stream, with its own cursor.

    - `site_ids`, `boxes`, `metrics`: None means all. `format` is None if the sink has only one.
    - `target` is the sink's configuration; `credentials` (a JSON object, sealed) are its secrets.
    - `cursor_position`, `cursor_index`: everything up to this item was sent or left out.
    - `waiting_since`: when the first item after the cursor was found, while the batch is not full;
      `found_count` is the number of items that were found up to `searched_position`, `searched_index`.
    - `size_limit`: the most items that fit the receiver, after it refused a batch for its size.
    - The columns from `consecutive_failures` to `slow_step` are those of
      `app.notifications.delivery.endpoint_health.EndpointHealth`.
    - `created_by`, `created_by_kind`: the key or person with whose access it reads.
    """

    __tablename__ = "measurement_subscriptions"

    id: Mapped[UUID] = mapped_column(primary_key=True)
    organisation_id: Mapped[UUID] = mapped_column(ForeignKey("organisations.id", ondelete="CASCADE"))
    name: Mapped[str] = mapped_column(Text)
    site_ids: Mapped[list[UUID] | None] = mapped_column(ARRAY(Uuid))
    boxes: Mapped[list[str] | None] = mapped_column(ARRAY(Text))
    metrics: Mapped[list[str] | None] = mapped_column(ARRAY(Text))
    kinds: Mapped[list[Any]] = mapped_column(ARRAY(Text))
    sink: Mapped[Any] = mapped_column(Text)
    format: Mapped[Any | None] = mapped_column(Text, nullable=True)
    target: Mapped[dict[str, Any]] = mapped_column(JSONB)
    credentials: Mapped[str | None] = mapped_column(Text)
    batch_size: Mapped[int]
    max_age: Mapped[str] = mapped_column(Text)
    gzip: Mapped[bool]
    state: Mapped[Any] = mapped_column(Text)
    disabled_reason: Mapped[str | None] = mapped_column(Text)
    disabled_at: Mapped[datetime | None] = mapped_column(_Instant)
    cursor_position: Mapped[int] = mapped_column(BigInteger)
    cursor_index: Mapped[int]
    waiting_since: Mapped[datetime | None] = mapped_column(_Instant)
    searched_position: Mapped[int | None] = mapped_column(BigInteger)
    searched_index: Mapped[int | None]
    found_count: Mapped[int] = mapped_column(server_default="0")
    size_limit: Mapped[float | None] = mapped_column(Double)
    due_at: Mapped[datetime] = mapped_column(_Instant)
    leased_until: Mapped[datetime | None] = mapped_column(_Instant)
    consecutive_failures: Mapped[int] = mapped_column(server_default="0")
    failing_since: Mapped[datetime | None] = mapped_column(_Instant)
    noticed_at: Mapped[datetime | None] = mapped_column(_Instant)
    last_success_at: Mapped[datetime | None] = mapped_column(_Instant)
    last_failure_at: Mapped[datetime | None] = mapped_column(_Instant)
    last_reason: Mapped[str | None] = mapped_column(Text)
    last_status: Mapped[int | None]
    open_until: Mapped[datetime | None] = mapped_column(_Instant)
    slow_step: Mapped[int] = mapped_column(server_default="0")
    last_detail: Mapped[str | None] = mapped_column(Text)
    items_sent: Mapped[int] = mapped_column(BigInteger, server_default="0")
    created_by: Mapped[UUID]
    created_by_kind: Mapped[str] = mapped_column(Text)
    created_at: Mapped[datetime] = mapped_column(_Instant)
    updated_at: Mapped[datetime] = mapped_column(_Instant)


class StoredBatch(Base):
    """A batch of a subscription, named by its first and last items; values are read when it is sent.

    `state` is `empty` if none of its items may be sent any more, `rejected` if the receiver refused its
    content for good, `failed` if a replay or test was given up or withdrawn. `attempts` are the last ones,
    each with its time, duration, status, reason and detail. `is_replay`: it was sent before, and does not
    move the cursor. `is_test`: it has no items. `attempts_left`, `due_at`: of a replay or test, which is not
    repeated for ever.
    """

    __tablename__ = "measurement_batches"

    id: Mapped[UUID] = mapped_column(primary_key=True)
    subscription_id: Mapped[UUID] = mapped_column(
        ForeignKey("measurement_subscriptions.id", ondelete="CASCADE")
    )
    organisation_id: Mapped[UUID] = mapped_column(ForeignKey("organisations.id", ondelete="CASCADE"))
    first_position: Mapped[int] = mapped_column(BigInteger)
    first_index: Mapped[int]
    last_position: Mapped[int] = mapped_column(BigInteger)
    last_index: Mapped[int]
    item_count: Mapped[int]
    state: Mapped[Any] = mapped_column(Text)
    is_replay: Mapped[bool] = mapped_column(server_default="false")
    is_test: Mapped[bool] = mapped_column(server_default="false")
    attempt_count: Mapped[int] = mapped_column(server_default="0")
    attempts: Mapped[list[dict[str, Any]]] = mapped_column(JSONB, server_default="[]")
    attempts_left: Mapped[int | None]
    due_at: Mapped[datetime | None] = mapped_column(_Instant)
    created_at: Mapped[datetime] = mapped_column(_Instant)
    delivered_at: Mapped[datetime | None] = mapped_column(_Instant)
