"""From the outbox to deliveries: one for each endpoint that wants the event, or its place in a group there.

Owns who receives what, and the bytes of a webhook's body. Must not send anything.
"""

from collections import defaultdict
from collections.abc import Collection, Sequence
from datetime import UTC, datetime
from typing import Any, Final, NamedTuple
from uuid import UUID

import msgspec

from app.core.database import RawConnection
from app.core.instants import format_us, from_datetime
from app.core.observability import GROUPED_EVENTS
from app.core.settings import WebhookSettings
from app.webhooks.deliveries import NewDelivery, add_deliveries
from app.webhooks.event_types import ALL_EVENTS, TEST_EVENT
from app.webhooks.grouping import AlertData, Plan, read_alert
from app.webhooks.groups import GroupedEvent, gather

BATCH: Final = 500
_FIRING: Final = "firing"
_BEGINNING: Final = "alert.firing"

_TAKE = """
SELECT id, position, organisation_id, site_id, type, payload::text AS payload, created_at, now() AS now
FROM outbox WHERE fanned_out_at IS NULL
ORDER BY position LIMIT $1
FOR UPDATE SKIP LOCKED
"""
# FOR KEY SHARE: an endpoint that is deleted meanwhile is gone here, or goes after us with what we made.
_ENDPOINTS = """
SELECT id, organisation_id, events, site_ids, grouping::text AS grouping
FROM webhook_endpoints WHERE organisation_id = ANY ($1::uuid[]) AND enabled
ORDER BY id
FOR KEY SHARE
"""
_DONE = "UPDATE outbox SET fanned_out_at = now() WHERE id = ANY ($1::uuid[])"


class Subscription(NamedTuple):
    """What an endpoint wants. `site_ids` of None means every site, `plan` of None each event on its own."""

    endpoint_id: UUID
    events: Collection[str]
    site_ids: Collection[UUID] | None
    plan: Plan | None = None


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
    """Turn waiting events into deliveries, or put them into groups, in order, in one transaction.

    Returns:
        How many events were taken, at most `BATCH`; fewer means that no more wait.
    """
    async with connection.transaction():
        events = await connection.fetch(_TAKE, BATCH)
        if not events:
            return 0
        owners = await connection.fetch(_ENDPOINTS, list({event["organisation_id"] for event in events}))
        single, grouped = _sorted(events, owners, settings)
        await add_deliveries(connection, single)
        await gather(connection, grouped)
        await connection.execute(_DONE, [event["id"] for event in events])
    GROUPED_EVENTS.inc(len(grouped))
    return len(events)


def _sorted(
    events: Sequence[Any], endpoints: Sequence[Any], settings: WebhookSettings
) -> tuple[list[NewDelivery], list[GroupedEvent]]:
    """Pair events with the endpoints that want them: what goes on its own, and what is put together."""
    by_owner: defaultdict[UUID, list[Subscription]] = defaultdict(list)
    for endpoint in endpoints:
        by_owner[endpoint["organisation_id"]].append(
            Subscription(
                endpoint["id"], endpoint["events"], endpoint["site_ids"], Plan.of(endpoint["grouping"])
            )
        )
    single: list[NewDelivery] = []
    grouped: list[GroupedEvent] = []
    for event in events:
        type_, payload = event["type"], event["payload"]
        wanting = [
            subscription
            for subscription in by_owner[event["organisation_id"]]
            if wants(subscription, type_, event["site_id"], payload)
        ]
        if not wanting:
            continue
        body = build_body(type_, event["created_at"], payload)
        together = any(subscription.plan is not None for subscription in wanting)
        alert = read_alert(type_, payload) if together else None
        for subscription in wanting:
            if subscription.plan is None or alert is None:
                single.append(_single(event, subscription, body, settings))
            else:
                grouped.append(_grouped(event, subscription.endpoint_id, subscription.plan, alert, body))
    return single, grouped


def _single(event: Any, subscription: Subscription, body: bytes, settings: WebhookSettings) -> NewDelivery:  # noqa: ANN401 (a row)
    return NewDelivery.to(
        subscription.endpoint_id,
        event["organisation_id"],
        event_id=event["id"],
        type_=event["type"],
        body=body,
        created_at=event["created_at"],
        now=event["now"],
        settings=settings,
    )


def _grouped(event: Any, endpoint_id: UUID, plan: Plan, alert: AlertData, body: bytes) -> GroupedEvent:  # noqa: ANN401 (a row)
    return GroupedEvent(
        endpoint_id=endpoint_id,
        organisation_id=event["organisation_id"],
        plan=plan,
        key=alert.key(plan),
        alert_id=alert.alert_id,
        position=event["position"],
        sequence=alert.sequence,
        firing=alert.state == _FIRING,
        begins=event["type"] == _BEGINNING,
        event_id=event["id"],
        type=event["type"],
        body=body,
        created_at=event["created_at"],
    )
