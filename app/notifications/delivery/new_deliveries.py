"""How deliveries begin: the one statement that makes them.

Owns the first due time. What is delivered, and to whom, is the callers' matter.
"""

import random
from collections.abc import Sequence
from datetime import datetime
from itertools import batched
from typing import Final, NamedTuple
from uuid import UUID

from app.notifications.delivery.endpoint_health import compute_next_attempt
from app.platform.config.settings import WebhookSettings
from app.platform.db.database import RawConnection
from app.platform.kernel.ids import new_id

DELIVERIES_PER_STATEMENT: Final = 1000
"""Deliveries of one statement."""

# Each body once, whoever is sent it: a message of the protocol has no room for a thousand copies.
_ADD: Final = """
INSERT INTO deliveries
    (id, organisation_id, endpoint_id, event_id, site_id, type, format, body, state, attempt_count, due_at,
     created_at, alert_id)
SELECT given.id, organisation_id, endpoint_id, event_id, site_id, type, format, bodies.body, 'pending',
    attempt_count, due_at, created_at, alert_id
FROM unnest($1::uuid[], $2::uuid[], $3::uuid[], $4::uuid[], $5::uuid[], $6::text[], $7::text[], $8::integer[],
            $9::timestamptz[], $10::timestamptz[], $11::uuid[], $12::integer[])
    AS given (id, organisation_id, endpoint_id, event_id, site_id, type, format, body, due_at, created_at,
              alert_id, attempt_count)
JOIN unnest($13::bytea[]) WITH ORDINALITY AS bodies (body, place) ON bodies.place = given.body
ON CONFLICT (endpoint_id, event_id) DO NOTHING
"""


class NewDelivery(NamedTuple):
    """A delivery to be; the fields are columns of `deliveries`, in the order in which they are written."""

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
    ) -> "NewDelivery":
        """A delivery at the beginning of its schedule.

        Args:
            endpoint_id: Where it goes.
            organisation_id: Whose that is.
            event_id: What it tells of: the `webhook-id` is made of it.
            site_id: The site that it concerns, if it is one.
            type_: The event's type.
            format_: What `body` is written in.
            body: What is signed and sent.
            created_at: When that happened.
            now: The database's time.
            settings: The schedule.
            alert_id: The alert whose deliveries to this endpoint are sent in their order; None: in any order.
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
        )


_BODY: Final = NewDelivery._fields.index("body")


class BodyDeduplicator:
    """Gives equal bodies one place, from 1, in an array that is passed once."""

    def __init__(self) -> None:
        self._places: dict[bytes, int] = {}

    def of(self, body: bytes) -> int:
        """The place of a body."""
        return self._places.setdefault(body, len(self._places) + 1)

    def bodies(self) -> list[bytes]:
        """All bodies, in the order of their places."""
        return list(self._places)


async def add_deliveries(connection: RawConnection, made: Sequence[NewDelivery]) -> None:
    """Write deliveries in the caller's transaction; of an endpoint and an event there is one at most."""
    for slice_ in batched(made, DELIVERIES_PER_STATEMENT):
        places = BodyDeduplicator()
        rows = [(*each[:_BODY], places.of(each.body), *each[_BODY + 1 :]) for each in slice_]
        await connection.execute(_ADD, *map(list, zip(*rows, strict=True)), places.bodies())
