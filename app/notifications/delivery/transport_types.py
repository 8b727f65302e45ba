"""Defines the interface between dispatcher and transports: leased deliveries, outcomes and their reasons."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final, NamedTuple, Protocol
from uuid import UUID

DELIVERED: Final = "delivered"
REASONS: Final = (
    DELIVERED,  # a status of 200 to 299; the mail server or the broker accepted it
    "redirect_refused",  # 300 to 399: a redirect is never followed
    "http_error",  # any other status
    "gone",  # 410: the endpoint is disabled
    "rate_limited",  # 429
    "timeout",  # no status in time
    "connect_timeout",  # no connection in time
    "connect_failed",  # refused, unreachable
    "name_unresolved",  # the host has no address
    "address_refused",  # by the SSRF guard
    "tls_failed",  # certificate or handshake
    "response_broken",  # connection closed, or an invalid response
    "mail_refused",  # the mail server refused it permanently
    "mail_deferred",  # the mail server refused it temporarily
    "login_refused",  # by the mail server or the broker
    "quota_exceeded",  # the organisation's hourly mail quota is used up: no attempt was made
    "not_configured",  # this installation has no mail server, or cannot decrypt the secret
    "internal_error",  # a fault of Vigie, which is logged
)
"""The reasons of outcomes. Stable: clients and dashboards match them."""


class AttemptOutcome(NamedTuple):
    """The outcome of an attempt.

    Attributes:
        reason: One of `REASONS`.
        status: The HTTP status or SMTP reply code, if there was one.
        body: The beginning of the response, if there was one; valid as PostgreSQL text.
        duration_ms: The duration, in milliseconds.
        retry_after_s: The wait that the receiver requested, in seconds.
        headers: The headers of the HTTP response, shortened; valid as PostgreSQL text.
    """

    reason: str
    status: int | None
    body: str | None
    duration_ms: float
    retry_after_s: float | None = None
    headers: Mapping[str, str] | None = None

    @property
    def delivered(self) -> bool:
        """Whether the receiver accepted the message."""
        return self.reason == DELIVERED


class LeasedDelivery(NamedTuple):
    """A delivery that this process may attempt until its lease ends.

    Attributes:
        id: The delivery's id.
        organisation_id: The endpoint's organisation.
        endpoint_id: The endpoint.
        event_id: The event.
        site_id: The event's site, if there is one.
        type: The event's type.
        format: The format of `body`.
        body: The body to send.
        attempt_count: The position in the retry schedule.
        created_at: The time of the event.
        leased_until: The end of the lease, by the database's clock; it also identifies the lease.
        now: The database's time of the lease.
        kind: The endpoint's kind.
        url: A webhook's URL.
        target: A channel's `webhook_endpoints.target`.
        secret: A webhook's secret, sealed.
        former_secrets: The former secrets that still sign, sealed, each with `expires_at`.
        headers: A webhook's custom headers, sealed.
        credentials: A channel's credentials for its service, sealed.
        traceparent: The trace of the event, where telemetry is on.
    """

    id: UUID
    organisation_id: UUID
    endpoint_id: UUID
    event_id: UUID
    site_id: UUID | None
    type: str
    format: str
    body: bytes
    attempt_count: int
    created_at: datetime
    leased_until: datetime
    now: datetime
    kind: str
    url: str | None
    target: dict[str, Any] | None
    secret: str | None
    former_secrets: list[dict[str, Any]]
    headers: str | None
    credentials: str | None = None
    traceparent: str | None = None

    @property
    def message_id(self) -> str:
        """The `webhook-id`, derived from the event, so it is the same on every attempt and replay."""
        return build_message_id(self.event_id)


def build_message_id(event_id: UUID) -> str:
    """Return the `webhook-id` of an event."""
    return f"msg_{event_id.hex}"


class DeliveryTransport(Protocol):
    """A transport. It must finish in bounded time and memory, whatever the receiver does."""

    async def send(self, claimed: LeasedDelivery, now: datetime) -> AttemptOutcome:
        """Attempt a delivery at `now` (the database's time). Failures are outcomes, not exceptions."""
        ...
