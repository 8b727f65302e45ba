"""Inserts new deliveries with their first due time, in SQL."""

import random
from collections.abc import Sequence
from datetime import datetime
from itertools import batched
from typing import Final, NamedTuple
from uuid import UUID

from app.notifications.delivery.endpoint_health import compute_next_attempt
from app.notifications.settings import WebhookSettings
from app.platform.db.database import RawConnection
from app.platform.kernel.ids import new_id

DELIVERIES_PER_STATEMENT: Final = 1000
"""The most deliveries that one statement inserts."""

# Each distinct body is sent once: a thousand copies would not fit into one message of PostgreSQL's protocol.
_ADD: Final = """
INSERT INTO deliveries
    (id, organisation_id, endpoint_id, event_id, site_id, type, format, body, state, attempt_count, due_at,
     created_at, alert_id, traceparent, position)
SELECT given.id, organisation_id, endpoint_id, event_id, site_id, type, format, bodies.body, 'pending',
    attempt_count, due_at, created_at, alert_id, traceparent, position
FROM unnest($1::uuid[], $2::uuid[], $3::uuid[], $4::uuid[], $5::uuid[], $6::text[], $7::text[], $8::integer[],
            $9::timestamptz[], $10::timestamptz[], $11::uuid[], $12::integer[], $13::text[],
            $14::bigint[])
    AS given (id, organisation_id, endpoint_id, event_id, site_id, type, format, body, due_at, created_at,
              alert_id, attempt_count, traceparent, position)
JOIN unnest($15::bytea[]) WITH ORDINALITY AS bodies (body, place) ON bodies.place = given.body
ON CONFLICT (endpoint_id, event_id) DO NOTHING
"""


class NewDelivery(NamedTuple):
    """A new delivery; the fields are columns of `deliveries`, in the order of the INSERT."""

    id: UUID
    organisation_id: UUID
    endpoint_id: UUID
    event_id: UUID
    site_id: UUID | None
    type: str
    format: str
    body: bytes
    due_at: datetime
    created_at: datetime
    alert_id: UUID | None = None
    attempt_count: int = 0
    traceparent: str | None = None
    position: int | None = None

    @classmethod
    def to(
        cls,
        endpoint_id: UUID,
        organisation_id: UUID,
        *,
        event_id: UUID,
        site_id: UUID | None,
        type_: str,
        format_: str,
        body: bytes,
        created_at: datetime,
        now: datetime,
        settings: WebhookSettings,
        alert_id: UUID | None = None,
        traceparent: str | None = None,
        position: int | None = None,
    ) -> "NewDelivery":
        """Build a delivery at the beginning of its retry schedule.

        Args:
            endpoint_id: The endpoint.
            organisation_id: The endpoint's organisation.
            event_id: The event, from which `webhook-id` is derived.
            site_id: The event's site, if there is one.
            type_: The event's type.
            format_: The format of `body`.
            body: The body to sign and send.
            created_at: The time of the event.
            now: The database's time.
            settings: The retry schedule.
            alert_id: The alert, if its deliveries to this endpoint are sent in order; None: in any order.
            traceparent: The trace of the event.
            position: The event's position in the outbox, which orders the deliveries of an alert.
        """
        due = compute_next_attempt(settings.schedule_s, 0, now, settings.jitter, random.random)
        return cls(
            id=new_id(),
            organisation_id=organisation_id,
            endpoint_id=endpoint_id,
            event_id=event_id,
            site_id=site_id,
            type=type_,
            format=format_,
            body=body,
            due_at=due or now,
            created_at=created_at,
            alert_id=alert_id,
            traceparent=traceparent,
            position=position,
        )


_BODY: Final = NewDelivery._fields.index("body")


class BodyDeduplicator:
    """Deduplicates bodies: numbers distinct bodies from 1, so that an array passes each of them once."""

    def __init__(self) -> None:
        self._numbers: dict[bytes, int] = {}

    def of(self, body: bytes) -> int:
        """Return the number of a body."""
        return self._numbers.setdefault(body, len(self._numbers) + 1)

    def bodies(self) -> list[bytes]:
        """Return the distinct bodies in the order of their numbers."""
        return list(self._numbers)


async def add_deliveries(connection: RawConnection, deliveries: Sequence[NewDelivery]) -> None:
    """Insert deliveries in the caller's transaction. Idempotent by endpoint and event."""
    for slice_ in batched(deliveries, DELIVERIES_PER_STATEMENT):
        bodies = BodyDeduplicator()
        rows = [(*each[:_BODY], bodies.of(each.body), *each[_BODY + 1 :]) for each in slice_]
        await connection.execute(_ADD, *map(list, zip(*rows, strict=True)), bodies.bodies())
