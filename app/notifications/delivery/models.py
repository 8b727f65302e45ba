"""Maps the tables of endpoints, their states, the outbox, deliveries, attempts, replays and portal links."""

from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import ARRAY, BigInteger, ForeignKey, Identity, LargeBinary, Text, Uuid
from sqlalchemy.dialects.postgresql import JSONB, TIMESTAMP
from sqlalchemy.orm import Mapped, mapped_column

from app.platform.db.database import Base

_Instant = TIMESTAMP(timezone=True)


class Endpoint(Base):
    """An endpoint: a webhook, or a channel (e-mail, MQTT, an HTTP service).

    - `site_ids`: None means every site. `grouping`: None means ungrouped. `min_severity`: None means all.
    - `secret`, `former_secrets` (`[{"secret", "expires_at"}]`, those that still sign) and `headers` (a JSON
      object) are sealed: see `app.notifications.http.webhook_secrets`.
    - `target` is a channel's destination; `credentials` (a JSON object, sealed) are for its service: see
      `app.notifications.http.service_channel_requests`.
    - `recipient` is the recipient that the public register names.
    - `disabled_reason` is set if Vigie disabled the endpoint, not the client.
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
    """The health of an endpoint, from its attempts; there is no row before the first attempt.

    - `consecutive_failures` and `failing_since` count from the last success; `noticed_at` is the time of the
      last notice about them.
    - `last_reason` and `last_status` belong to the last failure, also after a success.
    - No attempt is made before `open_until`. `slow_step` is the step of the slow-down (429, 502, 504).
    - `tokens` are the remaining tokens of the rate limit at `tokens_at`.
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
    """An event, written in the transaction of the change that it describes; the dispatcher fans it out.

    `webhook-id` is derived from `id`. `payload` is the `data` of a webhook's body. `stream_position` is the
    position in the event stream, set at the fan-out. `traceparent` is the trace of its cause.
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
    traceparent: Mapped[str | None] = mapped_column(Text)


class Delivery(Base):
    """One event, or a group of events, for one endpoint.

    - `body`, in `format`, is signed and sent, the same on every attempt.
    - `due_at` is the time of the next attempt; None if there is none. `leased_until` is the end of the lease.
    - `attempt_count` is the position in the retry schedule. A replay resets it; the numbers of attempts
      continue.
    - `created_at` is the time of the event.
    - `alert_id` is set if the deliveries of an alert are sent in order: that of `position`, the event's
      position in the outbox. None is the lowest position.
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
    traceparent: Mapped[str | None] = mapped_column(Text)
    position: Mapped[int | None] = mapped_column(BigInteger)


class Replay(Base):
    """A replay of an endpoint's deliveries, in slices, oldest first.

    It includes deliveries created from `since` to `until` (exclusive), in one of `states`, of one of `types`
    (None: all). `total` matched at the start; `replayed` are due again so far, up to `after_id`.
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
    """One attempt (a POST, a mail or a publication) with its time, duration and response."""

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
    response_headers: Mapped[dict[str, str] | None] = mapped_column(JSONB(none_as_null=True))


class PortalLink(Base):
    """A link that opens the health and the deliveries of a webhook to its developers, read-only.

    `name` says for whom it is. `token_hash` is the hash of the token, and `hint` its beginning.
    """

    __tablename__ = "portal_links"

    id: Mapped[UUID] = mapped_column(primary_key=True)
    organisation_id: Mapped[UUID] = mapped_column(ForeignKey("organisations.id", ondelete="CASCADE"))
    endpoint_id: Mapped[UUID] = mapped_column(ForeignKey("webhook_endpoints.id", ondelete="CASCADE"))
    name: Mapped[str] = mapped_column(Text)
    hint: Mapped[str] = mapped_column(Text)
    token_hash: Mapped[bytes] = mapped_column(LargeBinary, unique=True)
    created_at: Mapped[datetime] = mapped_column(_Instant)
    expires_at: Mapped[datetime] = mapped_column(_Instant)
    last_used_at: Mapped[datetime | None] = mapped_column(_Instant)
