"""From the outbox to deliveries: one for each endpoint that wants the event, or its place in a group there.

Owns the transaction in which that happens, and the places of events in streams. Who wants what is said in
`subscriptions`, what is sent in `formats`. Must not send anything.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple
from uuid import UUID

from app.core.database import RawConnection
from app.core.locks import STREAM
from app.core.observability import GROUPED_EVENTS
from app.core.settings import ApiSettings, WebhookSettings
from app.webhooks.deliveries import NewDelivery, add_deliveries
from app.webhooks.formats import Rendering
from app.webhooks.formats.native import build_body
from app.webhooks.grouping import AlertData, Plan
from app.webhooks.groups import GroupedEvent, gather
from app.webhooks.mail.render import SiteName
from app.webhooks.outbox import wake_streams
from app.webhooks.rendered import Bodies
from app.webhooks.site_names import site_names
from app.webhooks.subscriptions import BEGINNING, Happened, Subscription, wants

BATCH: Final = 500
_FIRING: Final = "firing"
_EMAIL: Final = "email"

_TAKE = """
SELECT id, position, organisation_id, site_id, type, payload::text AS payload, created_at, now() AS now
FROM outbox WHERE fanned_out_at IS NULL
ORDER BY position LIMIT $1
FOR UPDATE SKIP LOCKED
"""
# FOR KEY SHARE: an endpoint that is deleted meanwhile is gone here, or goes after us with what we made.
_ENDPOINTS = """
SELECT id, organisation_id, kind, format, target::text AS target, events, site_ids,
    grouping::text AS grouping, min_severity
FROM webhook_endpoints WHERE organisation_id = ANY ($1::uuid[]) AND enabled
ORDER BY id
FOR KEY SHARE
"""
# Held until the commit: places in streams are given by one at a time, and seen in their order. Whoever has
# read up to a place never finds a lower one afterwards.
_ONE_AT_A_TIME = "SELECT pg_advisory_xact_lock($1)"
_DONE = """
UPDATE outbox AS done SET fanned_out_at = now(), stream_position = placed.place
FROM (
    SELECT position, nextval('outbox_stream') AS place
    FROM (SELECT position FROM unnest($1::bigint[]) AS taken (position) ORDER BY position) AS sorted
) AS placed
WHERE done.position = placed.position
"""


class _Wanted(NamedTuple):
    """An event, and the endpoints that want it."""

    event: Any
    alert: AlertData | None
    by: list[Subscription]


async def fan_out(connection: RawConnection, settings: WebhookSettings, public_url: str | None = None) -> int:
    """Turn waiting events into deliveries, or put them into groups, in order, in one transaction.

    Args:
        connection: Outside a transaction.
        settings: The schedule of the deliveries.
        public_url: Where links in them lead; None: to where the API is by default.

    Returns:
        How many events were taken, at most `BATCH`; fewer means that no more wait.
    """
    async with connection.transaction():
        events = await connection.fetch(_TAKE, BATCH)
        if not events:
            return 0
        owners = await connection.fetch(_ENDPOINTS, list({event["organisation_id"] for event in events}))
        wanted = _paired(events, owners)
        sites = await site_names(connection, _sites_of_mails(wanted))
        single, grouped = _made(wanted, sites, settings, public_url or ApiSettings().base_url)
        await add_deliveries(connection, single)
        await gather(connection, grouped)
        # Last of all: nobody waits here for longer than a commit takes.
        await connection.execute(_ONE_AT_A_TIME, STREAM)
        await connection.execute(_DONE, [event["position"] for event in events])
    await wake_streams(connection)
    GROUPED_EVENTS.inc(len(grouped))
    return len(events)


def _paired(events: Sequence[Any], endpoints: Sequence[Any]) -> list[_Wanted]:
    """Pair events with the endpoints that want them."""
    by_owner: defaultdict[UUID, list[Subscription]] = defaultdict(list)
    for endpoint in endpoints:
        by_owner[endpoint["organisation_id"]].append(Subscription.of(endpoint))
    paired = []
    for event in events:
        there = by_owner.get(event["organisation_id"])
        if there is None:
            continue
        happened = Happened.of(event["type"], event["site_id"], event["payload"])
        wanting = [subscription for subscription in there if wants(subscription, happened)]
        if wanting:
            paired.append(_Wanted(event, happened.alert, wanting))
    return paired


def _sites_of_mails(wanted: Sequence[_Wanted]) -> set[UUID]:
    """The sites that mails of these events speak of; those that are put together are mails later."""
    return {
        event["site_id"]
        for event, alert, by in wanted
        if event["site_id"] is not None
        and any(subscription.kind == _EMAIL and _is_alone(subscription.plan, alert) for subscription in by)
    }


def _is_alone(plan: Plan | None, alert: AlertData | None) -> bool:
    return plan is None or alert is None


def _made(
    wanted: Sequence[_Wanted], sites: Mapping[str, SiteName], settings: WebhookSettings, public_url: str
) -> tuple[list[NewDelivery], list[GroupedEvent]]:
    """Make what goes on its own, and what is put together."""
    single: list[NewDelivery] = []
    grouped: list[GroupedEvent] = []
    for event, alert, by in wanted:
        body = build_body(event["type"], event["created_at"], event["payload"])
        rendering = Rendering(body, event["id"], event["organisation_id"], event["site_id"], public_url)
        bodies = Bodies(rendering, sites)
        for subscription in by:
            if subscription.plan is None or alert is None:
                single.append(_single(event, subscription, bodies.of(subscription), settings))
            else:
                grouped.append(_grouped(event, subscription.endpoint_id, subscription.plan, alert, body))
    return single, grouped


def _single(event: Any, subscription: Subscription, body: bytes, settings: WebhookSettings) -> NewDelivery:  # noqa: ANN401 (a row)
    return NewDelivery.to(
        subscription.endpoint_id,
        event["organisation_id"],
        event_id=event["id"],
        site_id=event["site_id"],
        type_=event["type"],
        format_=subscription.format,
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
        begins=event["type"] == BEGINNING,
        event_id=event["id"],
        type=event["type"],
        body=body,
        created_at=event["created_at"],
    )
