"""From the outbox to deliveries: one for each endpoint that wants the event.

Owns who receives what, and the bytes of a webhook's body. Must not send anything.
"""

import random
from collections import defaultdict
from collections.abc import Collection, Sequence
from datetime import UTC, datetime
from typing import Any, Final, NamedTuple
from uuid import UUID

import msgspec

from app.core.database import RawConnection
from app.core.ids import new_id
from app.core.instants import format_us, from_datetime
from app.core.settings import WebhookSettings
from app.webhooks.schedule import next_due

ALL_EVENTS: Final = "*"
TEST_EVENT: Final = "webhook.test"
"""Goes to the one endpoint that its payload names, whatever that endpoint subscribes to."""

BATCH: Final = 500

_TAKE = """
SELECT id, organisation_id, site_id, type, payload::text AS payload, created_at, now() AS now
FROM outbox WHERE fanned_out_at IS NULL
ORDER BY position LIMIT $1
FOR UPDATE SKIP LOCKED
"""
# FOR KEY SHARE: an endpoint that is deleted meanwhile is gone here, or goes after us with what we made.
_ENDPOINTS = """
SELECT id, organisation_id, events, site_ids
FROM webhook_endpoints WHERE organisation_id = ANY ($1::uuid[]) AND enabled
ORDER BY id
FOR KEY SHARE
"""
_DELIVER = """
INSERT INTO deliveries
    (id, organisation_id, endpoint_id, event_id, type, body, state, attempt_count, due_at, created_at)
SELECT id, organisation_id, endpoint_id, event_id, type, body, 'pending', 0, due_at, created_at
FROM unnest($1::uuid[], $2::uuid[], $3::uuid[], $4::uuid[], $5::text[], $6::bytea[], $7::timestamptz[],
            $8::timestamptz[])
    AS given (id, organisation_id, endpoint_id, event_id, type, body, due_at, created_at)
ON CONFLICT (endpoint_id, event_id) DO NOTHING
"""
_DONE = "UPDATE outbox SET fanned_out_at = now() WHERE id = ANY ($1::uuid[])"


class Subscription(NamedTuple):
    """What an endpoint wants. `site_ids` of None means every site."""

    endpoint_id: UUID
    events: Collection[str]
    site_ids: Collection[UUID] | None


def wants(subscription: Subscription, type_: str, site_id: UUID | None, payload: str) -> bool:
    """Tell whether an event of the endpoint's own organisation goes to it.

    Args:
        subscription: What the endpoint wants.
        type_: The event's type.
        site_id: The site that it concerns, if any.
        payload: Its data, as JSON text.
    """
    if type_ == TEST_EVENT:
        named = msgspec.json.decode(payload).get("endpoint_id")
        return bool(named == str(subscription.endpoint_id))
    if type_ not in subscription.events and ALL_EVENTS not in subscription.events:
        return False
    return subscription.site_ids is None or site_id in subscription.site_ids


def build_body(type_: str, timestamp: datetime, payload: str) -> bytes:
    """Return the bytes of a webhook's body: type, timestamp (RFC 3339, UTC), data (JSON text, as it is)."""
    at = format_us(from_datetime(timestamp.astimezone(UTC)))
    return b'{"type":%b,"timestamp":"%b","data":%b}' % (
        msgspec.json.encode(type_),
        at.encode(),
        payload.encode(),
    )


async def fan_out(connection: RawConnection, settings: WebhookSettings) -> int:
    """Turn waiting events into deliveries, in order, in one transaction.

    Returns:
        How many events were taken, at most `BATCH`; fewer means that no more wait.
    """
    async with connection.transaction():
        events = await connection.fetch(_TAKE, BATCH)
        if not events:
            return 0
        owners = await connection.fetch(_ENDPOINTS, list({event["organisation_id"] for event in events}))
        rows = _rows(events, owners, settings)
        if rows:
            await connection.execute(_DELIVER, *map(list, zip(*rows, strict=True)))
        await connection.execute(_DONE, [event["id"] for event in events])
    return len(events)


def _rows(
    events: Sequence[Any], endpoints: Sequence[Any], settings: WebhookSettings
) -> list[tuple[UUID, UUID, UUID, UUID, str, bytes, datetime | None, datetime]]:
    """Pair events with the endpoints that want them; columns as `_DELIVER` takes them."""
    by_owner: defaultdict[UUID, list[Subscription]] = defaultdict(list)
    for endpoint in endpoints:
        by_owner[endpoint["organisation_id"]].append(
            Subscription(endpoint["id"], endpoint["events"], endpoint["site_ids"])
        )
    rows = []
    for event in events:
        owner, type_, payload = event["organisation_id"], event["type"], event["payload"]
        body: bytes | None = None
        for subscription in by_owner[owner]:
            if not wants(subscription, type_, event["site_id"], payload):
                continue
            body = body or build_body(type_, event["created_at"], payload)
            due = next_due(settings.schedule_s, 0, event["now"], settings.jitter, random.random)
            rows.append(
                (
                    new_id(),
                    owner,
                    subscription.endpoint_id,
                    event["id"],
                    type_,
                    body,
                    due or event["now"],
                    event["created_at"],
                )
            )
    return rows
