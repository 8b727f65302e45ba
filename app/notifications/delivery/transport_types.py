"""What the dispatcher and the ways out have in common: a claimed delivery, and what came of an attempt.

Owns these shapes and the names of the outcomes. Knows neither SQL nor a protocol.
"""

from datetime import datetime
from typing import Any, Final, NamedTuple, Protocol
from uuid import UUID

DELIVERED: Final = "delivered"
REASONS: Final = (
    DELIVERED,  # a status of 200 to 299; the mail server or the broker took it
    "redirect_refused",  # 300 to 399: a redirect is never followed
    "http_error",  # any other status
    "gone",  # 410: the endpoint is disabled
    "rate_limited",  # 429
    "timeout",  # no status in time
    "connect_timeout",  # no connection in time
    "connect_failed",  # refused, unreachable
    "name_unresolved",  # the host has no address
    "address_refused",  # the guard
    "tls_failed",  # certificate or handshake
    "response_broken",  # closed, or not what the protocol says
    "mail_refused",  # the mail server refused it for good
    "mail_deferred",  # the mail server took it not now
    "login_refused",  # by the mail server or the broker
    "quota_exceeded",  # this organisation's mails of an hour are sent: nothing was tried
    "not_configured",  # this installation has no mail server, or cannot open the secret
    "internal_error",  # ours: it is in the log
)
"""Why an attempt ended as it did. Stable: clients and dashboards match them."""


class AttemptOutcome(NamedTuple):
    """What came of an attempt.

    Attributes:
        reason: One of `REASONS`.
        status: The HTTP status or SMTP reply code, where one arrived.
        body: The beginning of the answer, where one arrived; fit for PostgreSQL's text.
        duration_ms: From the start to the end, in milliseconds.
        retry_after_s: How long the receiver asked to be left alone, in seconds.
    """

    reason: str
    status: int | None
    body: str | None
    duration_ms: float
    retry_after_s: float | None = None

    @property
    def delivered(self) -> bool:
        """Whether the receiver took it."""
        return self.reason == DELIVERED


class LeasedDelivery(NamedTuple):
    """A delivery that this process may attempt until its lease ends.

    Attributes:
        id: The delivery.
        organisation_id: Whose it is.
        endpoint_id: Where it goes.
        event_id: What it tells of.
        site_id: The site that it concerns, if it is one.
        type: The event's type.
        format: What `body` is written in.
        body: What is sent.
        attempt_count: Its place in the schedule.
        created_at: When the event happened.
        leased_until: When the lease ends, by the database's clock; also the lease's name.
        now: The database's time of the claim.
        kind: The endpoint's.
        url: A webhook's URL.
        target: Where a channel goes: what `webhook_endpoints.target` holds.
        secret: A webhook's secret, sealed.
        former_secrets: Those that still sign, sealed, with `expires_at` each.
        headers: A webhook's own headers, sealed.
        credentials: What gives a channel access to its service, sealed.
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

    @property
    def message_id(self) -> str:
        """The `webhook-id`: of the event, so the same on every attempt and replay."""
        return build_message_id(self.event_id)


def build_message_id(event_id: UUID) -> str:
    """Return the `webhook-id` of an event."""
    return f"msg_{event_id.hex}"


class DeliveryTransport(Protocol):
    """A way out. Must end in bounded time and memory, whatever the other side does."""

    async def send(self, claimed: LeasedDelivery, now: datetime) -> AttemptOutcome:
        """Attempt a delivery at `now` (the database's time). Failures are outcomes, not exceptions."""
        ...
