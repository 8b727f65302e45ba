"""Tables of endpoints, the outbox, deliveries and their attempts."""

from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import ARRAY, BigInteger, ForeignKey, Identity, LargeBinary, Text, Uuid
from sqlalchemy.dialects.postgresql import JSONB, TIMESTAMP
from sqlalchemy.orm import Mapped, mapped_column

from app.core.database import Base

_Instant = TIMESTAMP(timezone=True)


class Endpoint(Base):
    """Where a client wants its alerts sent.

    `site_ids` of None means every site, `grouping` of None that each event goes on its own. `secret` is kept
    in clear: whoever reads this table can sign.
    """

    __tablename__ = "webhook_endpoints"

    id: Mapped[UUID] = mapped_column(primary_key=True)
    organisation_id: Mapped[UUID] = mapped_column(ForeignKey("organisations.id", ondelete="RESTRICT"))
    url: Mapped[str] = mapped_column(Text)
    description: Mapped[str | None] = mapped_column(Text)
    events: Mapped[list[str]] = mapped_column(ARRAY(Text))
    site_ids: Mapped[list[UUID] | None] = mapped_column(ARRAY(Uuid))
    grouping: Mapped[dict[str, Any] | None] = mapped_column(JSONB(none_as_null=True))
    secret: Mapped[str] = mapped_column(Text)
    enabled: Mapped[bool]
    created_at: Mapped[datetime] = mapped_column(_Instant)
    updated_at: Mapped[datetime] = mapped_column(_Instant)


class OutboxEntry(Base):
    """What happened, written in the transaction in which it happened; the dispatcher fans it out.

    `id` is the event's identity: `webhook-id` is made of it. `payload` is the `data` of the webhook's body.
    """

    __tablename__ = "outbox"

    position: Mapped[int] = mapped_column(BigInteger, Identity(always=True), primary_key=True)
    id: Mapped[UUID] = mapped_column(unique=True)
    organisation_id: Mapped[UUID] = mapped_column(ForeignKey("organisations.id", ondelete="CASCADE"))
    site_id: Mapped[UUID | None]
    type: Mapped[str] = mapped_column(Text)
    payload: Mapped[dict[str, Any]] = mapped_column(JSONB)
    created_at: Mapped[datetime] = mapped_column(_Instant)
    fanned_out_at: Mapped[datetime | None] = mapped_column(_Instant)


class Delivery(Base):
    """One event, or a group of them, for one endpoint, until it is delivered or given up.

    `body` is what is signed and sent, the same on every attempt. `due_at` is when the next attempt is due,
    None when there is none. `leased_until` is when one that is under way no longer counts. `attempt_count` is
    the place in the schedule: a replay begins it anew, while the attempts' own numbers go on. `created_at` is
    the event's.
    """

    __tablename__ = "deliveries"

    id: Mapped[UUID] = mapped_column(primary_key=True)
    organisation_id: Mapped[UUID] = mapped_column(ForeignKey("organisations.id", ondelete="CASCADE"))
    endpoint_id: Mapped[UUID] = mapped_column(ForeignKey("webhook_endpoints.id", ondelete="CASCADE"))
    event_id: Mapped[UUID]
    type: Mapped[str] = mapped_column(Text)
    body: Mapped[bytes] = mapped_column(LargeBinary)
    state: Mapped[str] = mapped_column(Text)
    attempt_count: Mapped[int]
    due_at: Mapped[datetime | None] = mapped_column(_Instant)
    leased_until: Mapped[datetime | None] = mapped_column(_Instant)
    created_at: Mapped[datetime] = mapped_column(_Instant)
    delivered_at: Mapped[datetime | None] = mapped_column(_Instant)


class Attempt(Base):
    """One POST: when, what came back, how long it took."""

    __tablename__ = "delivery_attempts"

    id: Mapped[UUID] = mapped_column(primary_key=True)
    delivery_id: Mapped[UUID] = mapped_column(ForeignKey("deliveries.id", ondelete="CASCADE"))
    number: Mapped[int]
    started_at: Mapped[datetime] = mapped_column(_Instant)
    duration_ms: Mapped[float]
    status: Mapped[int | None]
    reason: Mapped[str] = mapped_column(Text)
    response_body: Mapped[str | None] = mapped_column(Text)
