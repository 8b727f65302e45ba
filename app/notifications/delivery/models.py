"""Tables of endpoints and their states, the outbox, deliveries, their attempts and replays."""

from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import ARRAY, BigInteger, ForeignKey, Identity, LargeBinary, Text, Uuid
from sqlalchemy.dialects.postgresql import JSONB, TIMESTAMP
from sqlalchemy.orm import Mapped, mapped_column

from app.platform.db.database import Base

_Instant = TIMESTAMP(timezone=True)


class Endpoint(Base):
    """Where a client wants its alerts sent: a webhook, or a channel (e-mail, MQTT, a service by HTTP).

    `site_ids` of None means every site, `grouping` of None that each event goes on its own, `min_severity` of
    None every severity. `secret`, `former_secrets` (`[{"secret", "expires_at"}]`, those that still sign) and
    `headers` (a JSON object) are sealed: see `app.notifications.http.webhook_secrets`. `target` is where a
    channel goes; `credentials` (a JSON object, sealed) is what it goes there with: see
    `app.notifications.http.service_channels`. `recipient` is whom the public register names as having
    these alerts. `disabled_reason` is why `enabled` is false where it was not the client's own word.
    """

    __tablename__ = "webhook_endpoints"

    id: Mapped[UUID] = mapped_column(primary_key=True)
    organisation_id: Mapped[UUID] = mapped_column(ForeignKey("organisations.id", ondelete="RESTRICT"))
    kind: Mapped[str] = mapped_column(Text, server_default="webhook")
    format: Mapped[str] = mapped_column(Text, server_default="native")
    url: Mapped[str | None] = mapped_column(Text)
    target: Mapped[dict[str, Any] | None] = mapped_column(JSONB(none_as_null=True))
    description: Mapped[str | None] = mapped_column(Text)
    recipient: Mapped[str | None] = mapped_column(Text)
    events: Mapped[list[str]] = mapped_column(ARRAY(Text))
    site_ids: Mapped[list[UUID] | None] = mapped_column(ARRAY(Uuid))
    grouping: Mapped[dict[str, Any] | None] = mapped_column(JSONB(none_as_null=True))
    min_severity: Mapped[str | None] = mapped_column(Text)
    secret: Mapped[str | None] = mapped_column(Text)
    former_secrets: Mapped[list[dict[str, Any]]] = mapped_column(JSONB, server_default="[]")
    headers: Mapped[str | None] = mapped_column(Text)
    credentials: Mapped[str | None] = mapped_column(Text)
    rate_per_s: Mapped[float | None]
    concurrency: Mapped[int | None]
    enabled: Mapped[bool]
    disabled_reason: Mapped[str | None] = mapped_column(Text)
    disabled_at: Mapped[datetime | None] = mapped_column(_Instant)
    created_at: Mapped[datetime] = mapped_column(_Instant)
    updated_at: Mapped[datetime] = mapped_column(_Instant)


class EndpointState(Base):
    """What an endpoint's attempts have come to; no row before the first one.

    `consecutive_failures` and `failing_since` are of the failures since the last success, `noticed_at` is
    when they were last told of. `last_reason` and `last_status` are of the last failure, whatever succeeded
    since. Nothing is attempted before `open_until`. `slow_step` is how far the endpoint is slowed down (429,
    502, 504). `tokens` is what was left of its rate at `tokens_at`.
    """

    __tablename__ = "endpoint_states"

    endpoint_id: Mapped[UUID] = mapped_column(
        ForeignKey("webhook_endpoints.id", ondelete="CASCADE"), primary_key=True
    )
    consecutive_failures: Mapped[int] = mapped_column(server_default="0")
    failing_since: Mapped[datetime | None] = mapped_column(_Instant)
    noticed_at: Mapped[datetime | None] = mapped_column(_Instant)
    last_success_at: Mapped[datetime | None] = mapped_column(_Instant)
    last_failure_at: Mapped[datetime | None] = mapped_column(_Instant)
    last_reason: Mapped[str | None] = mapped_column(Text)
    last_status: Mapped[int | None]
    open_until: Mapped[datetime | None] = mapped_column(_Instant)
    slow_step: Mapped[int] = mapped_column(server_default="0")
    tokens: Mapped[float | None]
    tokens_at: Mapped[datetime | None] = mapped_column(_Instant)


class OutboxEntry(Base):
    """What happened, written in the transaction in which it happened; the dispatcher fans it out.

    `id` is the event's identity: `webhook-id` is made of it. `payload` is the `data` of the webhook's body.
    `stream_position` is its place in the order of streams, given at the fan-out.
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
    stream_position: Mapped[int | None] = mapped_column(BigInteger)


class Delivery(Base):
    """One event, or a group of them, for one endpoint, until it is delivered or given up.

    `body` is what is signed and sent, the same on every attempt, in `format`. `due_at` is when the next
    attempt is due, None when there is none. `leased_until` is when one that is under way no longer counts.
    `attempt_count` is the place in the schedule: a replay begins it anew, while the attempts' own numbers go
    on. `created_at` is the event's. `alert_id` is set where an alert's deliveries are sent in their order.
    """

    __tablename__ = "deliveries"

    id: Mapped[UUID] = mapped_column(primary_key=True)
    organisation_id: Mapped[UUID] = mapped_column(ForeignKey("organisations.id", ondelete="CASCADE"))
    endpoint_id: Mapped[UUID] = mapped_column(ForeignKey("webhook_endpoints.id", ondelete="CASCADE"))
    event_id: Mapped[UUID]
    site_id: Mapped[UUID | None]
    type: Mapped[str] = mapped_column(Text)
    format: Mapped[str] = mapped_column(Text, server_default="native")
    body: Mapped[bytes] = mapped_column(LargeBinary)
    state: Mapped[str] = mapped_column(Text)
    attempt_count: Mapped[int]
    due_at: Mapped[datetime | None] = mapped_column(_Instant)
    leased_until: Mapped[datetime | None] = mapped_column(_Instant)
    created_at: Mapped[datetime] = mapped_column(_Instant)
    delivered_at: Mapped[datetime | None] = mapped_column(_Instant)
    replay_id: Mapped[UUID | None]
    alert_id: Mapped[UUID | None]


class Replay(Base):
    """Deliveries of an endpoint that are sent again, some at a time, the oldest first.

    Those that were made from `since` to `until` (excluded), in one of `states` and of one of `types` (None:
    of all). `total` were found at the start, `replayed` are due again so far, up to `after_id`.
    """

    __tablename__ = "delivery_replays"

    id: Mapped[UUID] = mapped_column(primary_key=True)
    organisation_id: Mapped[UUID] = mapped_column(ForeignKey("organisations.id", ondelete="CASCADE"))
    endpoint_id: Mapped[UUID] = mapped_column(ForeignKey("webhook_endpoints.id", ondelete="CASCADE"))
    since: Mapped[datetime] = mapped_column(_Instant)
    until: Mapped[datetime] = mapped_column(_Instant)
    states: Mapped[list[str]] = mapped_column(ARRAY(Text))
    types: Mapped[list[str] | None] = mapped_column(ARRAY(Text))
    state: Mapped[str] = mapped_column(Text)
    total: Mapped[int]
    replayed: Mapped[int] = mapped_column(server_default="0")
    after_id: Mapped[UUID | None]
    created_at: Mapped[datetime] = mapped_column(_Instant)
    created_by: Mapped[UUID | None]
    finished_at: Mapped[datetime | None] = mapped_column(_Instant)


class Attempt(Base):
    """One POST, mail or publication: when, what came back, how long it took."""

    __tablename__ = "delivery_attempts"

    id: Mapped[UUID] = mapped_column(primary_key=True)
    delivery_id: Mapped[UUID] = mapped_column(ForeignKey("deliveries.id", ondelete="CASCADE"))
    endpoint_id: Mapped[UUID]
    number: Mapped[int]
    started_at: Mapped[datetime] = mapped_column(_Instant)
    duration_ms: Mapped[float]
    status: Mapped[int | None]
    reason: Mapped[str] = mapped_column(Text)
    response_body: Mapped[str | None] = mapped_column(Text)
