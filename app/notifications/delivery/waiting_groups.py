"""Collects events into notification groups, and turns groups that are due into deliveries, in SQL.

The fan-out adds events to groups (`delivery_groups`, `group_events`). The database's clock decides when a
group is due. One transaction closes a group and inserts its delivery. Events of muted alerts stay in the
group (`group_mutes`), which is checked again later.

Locks: an endpoint's row is locked before its groups, and groups are locked in the order of their keys.
Sending skips locked groups.

`EventBodyCache` renders each body once for all endpoints with the same format. If rendering fails, the native
body is sent: an event must not block those after it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import batched
from typing import Any, Final
from uuid import UUID

import msgspec
from sqlalchemy import text

from app.notifications.delivery.alert_grouping import (
    GROUP_EVENT,
    MOST_EVENTS,
    GroupingPlan,
    LatestAlertEvent,
    build_group_body,
    parse_group_site,
)
from app.notifications.delivery.delivery_tracing import find_group_traceparent
from app.notifications.delivery.muted_alert_events import apply_group_mutes
from app.notifications.delivery.new_deliveries import BodyDeduplicator, NewDelivery, add_deliveries
from app.notifications.email.mail_rendering import SiteName
from app.notifications.events.event_enrichment import read_event_site_names
from app.notifications.events.subscriptions import EndpointSubscription
from app.notifications.formats import NATIVE, TEXT_KINDS, RenderContext, render_event
from app.notifications.settings import WebhookSettings
from app.platform.config.api_settings import ApiSettings
from app.platform.db.database import RawConnection, WriteSession
from app.platform.kernel.ids import new_id
from app.platform.observability.metrics_and_logs import get_logger

# The errors of a format with unexpected data.
_FAULTS: Final = (ArithmeticError, AttributeError, LookupError, TypeError, ValueError)
_log = get_logger(__name__)


class EventBodyCache:
    """The rendered bodies of one event, cached by format.

    Args:
        event: The event; its language and sites are replaced for text messages.
        sites: The names of sites for text messages.
    """

    def __init__(self, event: RenderContext, sites: Mapping[str, SiteName]) -> None:
        self._event = event
        self._sites = sites
        self._cached: dict[tuple[str, str, str], bytes] = {}

    def body(self, kind: str, format_: str, language: str) -> bytes:
        """Return the body for an endpoint of a kind and format.

        If rendering fails, this is the native body: a webhook still gets the event, and the attempt of a mail
        fails and is reported. No event is lost.
        """
        key = (kind, format_, language if kind in TEXT_KINDS else "")
        cached = self._cached.get(key)
        if cached is None:
            cached = self._cached[key] = self._render(kind, format_, language)
        return cached

    def of(self, subscription: EndpointSubscription) -> bytes:
        """Return the body for a subscription."""
        return self.body(subscription.kind, subscription.format, subscription.language)

    def _render(self, kind: str, format_: str, language: str) -> bytes:
        event = self._event
        if kind in TEXT_KINDS:
            event = event._replace(language=language, sites=self._sites)
        elif kind == "webhook" and format_ == NATIVE:
            return event.body
        try:
            return render_event(kind, format_, event)
        except _FAULTS:
            _log.exception("render_failed", event_id=str(event.event_id), kind=kind, format=format_)
            return event.body


GROUPS_PER_TRANSACTION: Final = 10
"""Groups that one transaction sends: each may have 500 events."""

MUTE_RECHECK_S: Final = 5
"""Seconds until events of muted alerts are checked again."""

_ROWS_PER_STATEMENT: Final = 1000
_MAX_DELETED: Final = 10 * GROUPS_PER_TRANSACTION
# The first event opens a group, also one that has only held events. A group that was sent waits until its
# interval has passed, if that is later.
_OPEN: Final = """
INSERT INTO delivery_groups AS known (id, organisation_id, endpoint_id, key, due_at, created_at)
SELECT id, organisation_id, endpoint_id, key, now() + make_interval(secs => wait_s), now()
FROM unnest($1::uuid[], $2::uuid[], $3::uuid[], $4::text[], $5::float8[])
    AS given (id, organisation_id, endpoint_id, key, wait_s)
ORDER BY endpoint_id, key
ON CONFLICT (endpoint_id, key) DO UPDATE
    SET held = false, due_at = CASE WHEN known.due_at IS NULL OR known.held
        THEN greatest(excluded.due_at, known.idle_until) ELSE known.due_at END
RETURNING id, endpoint_id, key
"""
# An event may be written after a later one of its alert: the outbox is in the order of commits.
_GATHER: Final = """
INSERT INTO group_events AS known
    (group_id, alert_id, position, events_count, begins, sequence, firing, event_id, type, body, created_at)
SELECT group_id, alert_id, position, events_count, begins, sequence, firing, event_id, type, bodies.body,
    created_at
FROM unnest($1::uuid[], $2::uuid[], $3::bigint[], $4::integer[], $5::boolean[], $6::bigint[],
            $7::boolean[], $8::uuid[], $9::text[], $10::integer[], $11::timestamptz[])
    AS given (group_id, alert_id, position, events_count, begins, sequence, firing, event_id, type, body,
              created_at)
JOIN unnest($12::bytea[]) WITH ORDINALITY AS bodies (body, place) ON bodies.place = given.body
ON CONFLICT (group_id, alert_id) DO UPDATE SET
    position = least(known.position, excluded.position),
    events_count = known.events_count + excluded.events_count,
    begins = known.begins OR excluded.begins,
    (sequence, firing, event_id, type, body, created_at) = (
        SELECT newest.sequence, newest.firing, newest.event_id, newest.type, newest.body, newest.created_at
        FROM (VALUES
            (excluded.sequence, 1, excluded.firing, excluded.event_id, excluded.type, excluded.body,
             excluded.created_at),
            (known.sequence, 0, known.firing, known.event_id, known.type, known.body, known.created_at)
        ) AS newest (sequence, later, firing, event_id, type, body, created_at)
        ORDER BY newest.sequence DESC, newest.later DESC LIMIT 1
    )
"""
_IS_DUE: Final = """
SELECT EXISTS (
    SELECT FROM delivery_groups AS waiting JOIN webhook_endpoints AS endpoint ON endpoint.id = endpoint_id
    WHERE waiting.due_at <= now() AND endpoint.enabled
)
"""
_TAKE: Final = """
SELECT waiting.id, waiting.organisation_id, waiting.endpoint_id, waiting.key, waiting.idle_until,
    endpoint.grouping::text AS grouping, endpoint.kind, endpoint.format, endpoint.target::text AS target,
    now() AS now
FROM delivery_groups AS waiting JOIN webhook_endpoints AS endpoint ON endpoint.id = waiting.endpoint_id
WHERE waiting.due_at <= now() AND endpoint.enabled
ORDER BY waiting.due_at LIMIT $1
FOR UPDATE OF waiting SKIP LOCKED
FOR KEY SHARE OF endpoint SKIP LOCKED
"""
_EVENTS: Final = """
SELECT body, events_count FROM group_events WHERE group_id = $1 AND NOT held
ORDER BY firing DESC, position LIMIT $2
"""
_COUNTS: Final = """
SELECT count(*) FILTER (WHERE firing) AS firing, count(*) FILTER (WHERE NOT firing) AS resolved
FROM group_events WHERE group_id = $1 AND NOT held
"""
_EMPTY: Final = "DELETE FROM group_events WHERE group_id = ANY ($1::uuid[]) AND NOT held"
# Held events are sent with the group's next notification at the earliest.
_CLOSE: Final = f"""
UPDATE delivery_groups AS sent SET idle_until = given.idle_until, held = given.held,
    due_at = CASE WHEN given.held
        THEN greatest(now() + interval '{MUTE_RECHECK_S} seconds', given.idle_until) END
FROM (
    SELECT id, idle_until, EXISTS (SELECT FROM group_events WHERE group_id = closed.id) AS held
    FROM unnest($1::uuid[], $2::timestamptz[]) AS closed (id, idle_until)
) AS given
WHERE sent.id = given.id
"""  # noqa: S608 (a number of ours)
_DELETE_IDLE: Final = """
DELETE FROM delivery_groups WHERE id IN (
    SELECT id FROM delivery_groups WHERE due_at IS NULL AND idle_until <= now()
    ORDER BY idle_until LIMIT $1
    FOR UPDATE SKIP LOCKED
)
"""
# Muted events are held back on purpose, and do not count as a delay.
_WAITING: Final = """
SELECT count(*) AS groups, coalesce(extract(epoch FROM now() - min((
    SELECT min(e.created_at) FROM group_events e WHERE e.group_id = g.id AND NOT e.held
)))::float8, 0) AS oldest
FROM delivery_groups g WHERE g.due_at IS NOT NULL AND NOT g.held
"""
_FLUSH: Final = text(
    "UPDATE delivery_groups SET due_at = CASE WHEN due_at IS NOT NULL THEN now() END, idle_until = now() "
    "WHERE endpoint_id = :endpoint"
)


class _SiteData(msgspec.Struct):
    site_id: UUID | None = None


class _Body(msgspec.Struct):
    data: _SiteData


@dataclass(slots=True)
class GroupedEvent:
    """An event of an alert for an endpoint with a grouping.

    Attributes:
        endpoint_id: The endpoint.
        organisation_id: The endpoint's organisation.
        plan: How the endpoint's events are grouped.
        key: The group's key.
        alert_id: The alert.
        position: The event's position in the outbox.
        sequence: The event's number among those of its alert.
        firing: Whether the alert fires after the event.
        event_id: The event's id.
        type: The event's type.
        body: The body of the ungrouped event.
        created_at: The time of the event.
        events_count: The number of the alert's events that this one represents.
        begins: Whether the alert's beginning is one of them.
    """

    endpoint_id: UUID
    organisation_id: UUID
    plan: GroupingPlan
    key: str
    alert_id: UUID
    position: int
    sequence: int
    firing: bool
    event_id: UUID
    type: str
    body: bytes
    created_at: datetime
    events_count: int = 1
    begins: bool = False


async def add_to_groups(connection: RawConnection, events: Sequence[GroupedEvent]) -> None:
    """Add events to their groups in the caller's transaction, which has locked their endpoints.

    Args:
        connection: In a transaction.
        events: The events, in the order of the outbox.
    """
    groups = {(event.endpoint_id, event.key): event for event in events}
    ids: dict[tuple[UUID, str], UUID] = {}
    # Sorted by key, which is the locking order of groups.
    for first in batched((groups[key] for key in sorted(groups)), _ROWS_PER_STATEMENT):
        opened = await connection.fetch(
            _OPEN,
            [new_id() for _ in first],
            [event.organisation_id for event in first],
            [event.endpoint_id for event in first],
            [event.key for event in first],
            [event.plan.wait_s for event in first],
        )
        ids.update({(row["endpoint_id"], row["key"]): row["id"] for row in opened})
    for latest in batched(_latest(events), _ROWS_PER_STATEMENT):
        bodies = BodyDeduplicator()
        rows = [
            (
                *(ids[event.endpoint_id, event.key], event.alert_id, event.position, event.events_count),
                *(event.begins, event.sequence, event.firing),
                *(event.event_id, event.type, bodies.of(event.body), event.created_at),
            )
            for event in latest
        ]
        await connection.execute(_GATHER, *map(list, zip(*rows, strict=True)), bodies.bodies())


def _latest(events: Sequence[GroupedEvent]) -> list[GroupedEvent]:
    """Return the latest event of each alert in each group, at the position of the first one.

    One statement cannot write to a row twice.
    """
    latest: dict[tuple[UUID, str, UUID], GroupedEvent] = {}
    for event in events:
        identity = (event.endpoint_id, event.key, event.alert_id)
        known = latest.get(identity)
        if known is not None:
            event.position = known.position
            event.events_count += known.events_count
            event.begins = event.begins or known.begins
        latest[identity] = event
    return list(latest.values())


async def send_due_groups(
    connection: RawConnection, settings: WebhookSettings, public_url: str | None = None
) -> bool:
    """Insert the deliveries of due groups, the longest due first, and close these groups.

    Groups of disabled endpoints wait. Events of muted alerts are not sent: see `group_mutes`.

    Args:
        connection: Outside a transaction.
        settings: The retry schedule of deliveries.
        public_url: The base URL of links; None: the API's default URL.

    Returns:
        Whether more groups may be due.
    """
    # Every round checks this, and a due group is rare: without a transaction it is one statement.
    if not await connection.fetchval(_IS_DUE):
        return False
    async with connection.transaction():
        groups = await connection.fetch(_TAKE, GROUPS_PER_TRANSACTION)
        ids = [group["id"] for group in groups]
        await apply_group_mutes(connection, ids)
        url = public_url or ApiSettings().base_url
        made = {group["id"]: await _delivery(connection, group, settings, url) for group in groups}
        await add_deliveries(connection, [delivery for delivery in made.values() if delivery is not None])
        await connection.execute(_EMPTY, ids)
        ends = [_idle_until(group, sent=made[group["id"]] is not None) for group in groups]
        await connection.execute(_CLOSE, ids, ends)
        await connection.execute(_DELETE_IDLE, _MAX_DELETED)
    return len(groups) == GROUPS_PER_TRANSACTION


async def _delivery(
    connection: RawConnection,
    group: Any,  # noqa: ANN401 (a row)
    settings: WebhookSettings,
    public_url: str,
) -> NewDelivery | None:
    """Build the delivery of a group; None if all its alerts are muted."""
    (counts,) = await connection.fetch(_COUNTS, group["id"])
    if counts["firing"] + counts["resolved"] == 0:
        return None
    events = await connection.fetch(_EVENTS, group["id"], MOST_EVENTS)
    event = RenderContext(
        body=build_group_body(
            group["key"], group["now"], [LatestAlertEvent(*event) for event in events], **counts
        ),
        event_id=new_id(),
        organisation_id=group["organisation_id"],
        site_id=parse_group_site(group["key"]),
        public_url=public_url,
    )
    target: dict[str, Any] = msgspec.json.decode(group["target"]) if group["target"] else {}
    sites = await _sites(connection, events) if group["kind"] in TEXT_KINDS else {}
    body = EventBodyCache(event, sites).body(
        group["kind"], group["format"], str(target.get("language", "en"))
    )
    return NewDelivery.to(
        group["endpoint_id"],
        group["organisation_id"],
        event_id=event.event_id,
        site_id=event.site_id,
        type_=GROUP_EVENT,
        format_=group["format"],
        body=body,
        created_at=group["now"],
        now=group["now"],
        settings=settings,
        traceparent=await find_group_traceparent(connection, group["id"]),
    )


async def _sites(connection: RawConnection, events: Sequence[Any]) -> dict[str, SiteName]:
    """Read the names of the sites of a group's events."""
    sites = {_site(event["body"]) for event in events}
    return await read_event_site_names(connection, {site for site in sites if site is not None})


def _site(body: bytes) -> UUID | None:
    """Return the site of an event's body, if it has one."""
    try:
        return msgspec.json.decode(body, type=_Body).data.site_id
    except msgspec.ValidationError:
        # An event with unexpected data must not block the group.
        return None


def _idle_until(group: Any, *, sent: bool) -> datetime:  # noqa: ANN401 (a row)
    """Return the earliest time of the next notification of a group that is closed now."""
    now: datetime = group["now"]
    if not sent:
        before: datetime | None = group["idle_until"]
        return before or now
    plan = GroupingPlan.of(group["grouping"])
    return now if plan is None else now + timedelta(seconds=plan.interval_s)


async def measure_waiting_groups(connection: RawConnection) -> tuple[int, float]:
    """Count the groups that wait, and measure the age of their oldest event, s."""
    (row,) = await connection.fetch(_WAITING)
    return row["groups"], max(row["oldest"], 0)


async def flush_endpoint_groups(session: WriteSession, endpoint_id: UUID) -> None:
    """Make an endpoint's waiting groups due now, because its grouping changes.

    The caller has locked the endpoint, so no other transaction adds to its groups or sends them.
    """
    await session.execute(_FLUSH, {"endpoint": endpoint_id})
