"""What waits to be sent together, in SQL: gathered by the fan-out, sent when it is due.

Owns `delivery_groups` and `group_events`. The database's clock says when a group is due. A group is closed in
the transaction that makes its delivery: whoever is killed in between leaves either both or none. Must not
send anything: its deliveries are like all others. What is muted by the time its group is sent is
`app.notifications.delivery.group_mutes`'s: it stays, and the group is looked at again.

Locks: an endpoint's row comes before its groups, and groups are taken in the order of their keys; whoever
sends waits for nobody.

Bodies of deliveries, made once for all endpoints that are sent the same.

Owns what happens where a form cannot be made of an event: that must not hold up the events after it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import batched
from typing import Any, Final
from uuid import UUID

import msgspec
from sqlalchemy import text

from app.notifications.delivery.group_mutes import apply_group_mutes
from app.notifications.delivery.grouping import (
    GROUP_EVENT,
    MOST_EVENTS,
    GroupingPlan,
    LatestAlertEvent,
    build_group_body,
    parse_group_site,
)
from app.notifications.delivery.new_deliveries import BodyDeduplicator, NewDelivery, add_deliveries
from app.notifications.email.mail_rendering import SiteName
from app.notifications.events.event_details import read_site_names
from app.notifications.events.subscriptions import EndpointSubscription
from app.notifications.formats import NATIVE, TEXT_KINDS, RenderContext, render_event
from app.platform.config.api_settings import ApiSettings
from app.platform.config.settings import WebhookSettings
from app.platform.db.database import RawConnection, WriteSession
from app.platform.kernel.ids import new_id
from app.platform.observability.metrics_and_logs import get_logger

# What data that a form does not expect raises.
_FAULTS: Final = (ArithmeticError, AttributeError, LookupError, TypeError, ValueError)
_log = get_logger(__name__)


class EventBodyCache:
    """The forms of one event.

    Args:
        event: The event; its language and sites are those of the endpoint and of `sites`.
        sites: What messages in words call sites.
    """

    def __init__(self, event: RenderContext, sites: Mapping[str, SiteName]) -> None:
        self._event = event
        self._sites = sites
        self._made: dict[tuple[str, str, str], bytes] = {}

    def body(self, kind: str, format_: str, language: str) -> bytes:
        """Return what an endpoint of a kind and format is sent.

        Where that cannot be made it is the native body: a mail's attempt fails then, and says so; a webhook
        gets what there is to tell. Nothing is lost.
        """
        key = (kind, format_, language if kind in TEXT_KINDS else "")
        made = self._made.get(key)
        if made is None:
            made = self._made[key] = self._make(kind, format_, language)
        return made

    def of(self, subscription: EndpointSubscription) -> bytes:
        """Return what an endpoint is sent."""
        return self.body(subscription.kind, subscription.format, subscription.language)

    def _make(self, kind: str, format_: str, language: str) -> bytes:
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
"""Groups that one transaction sends: each may have five hundred events."""

MUTE_RECHECK_S: Final = 5
"""After how many seconds is looked again whether what was held back is muted still."""

_GATHERED_AT_ONCE: Final = 1000  # rows of one statement
_FORGOTTEN_AT_ONCE: Final = 10 * GROUPS_PER_TRANSACTION
# The first event opens a group, also one in which all that waits is held back. One that was sent waits until
# its interval has passed, if that is later.
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
# An event may be written after a later one of its alert: the outbox has them in the order of their commits.
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
# What is left is held back: it comes with the group's next notification, at the earliest.
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
_FORGET: Final = """
DELETE FROM delivery_groups WHERE id IN (
    SELECT id FROM delivery_groups WHERE due_at IS NULL AND idle_until <= now()
    ORDER BY idle_until LIMIT $1
    FOR UPDATE SKIP LOCKED
)
"""
_FLUSH: Final = text(
    "UPDATE delivery_groups SET due_at = CASE WHEN due_at IS NOT NULL THEN now() END, idle_until = now() "
    "WHERE endpoint_id = :endpoint"
)


class _Place(msgspec.Struct):
    site_id: UUID | None = None


class _Body(msgspec.Struct):
    data: _Place


@dataclass(slots=True)
class GroupedEvent:
    """An event of an alert for an endpoint that has them put together.

    Attributes:
        endpoint_id: Where it goes.
        organisation_id: Whose that is.
        plan: How the endpoint's events are put together.
        key: Its group.
        alert_id: What it tells of.
        position: Its place in the outbox.
        sequence: Its place among the events of its alert.
        firing: Whether the alert is firing after it.
        event_id: Its identity.
        type: Its type.
        body: The body that it would have on its own.
        created_at: When it happened.
        events_count: How many events of the alert it stands for.
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
    """Put events into their groups, in the caller's transaction, which holds their endpoints.

    Args:
        connection: In a transaction.
        events: In the order of the outbox.
    """
    groups = {(event.endpoint_id, event.key): event for event in events}
    ids: dict[tuple[UUID, str], UUID] = {}
    # Each slice after those whose keys are lower: that is the order in which all take groups.
    for first in batched((groups[key] for key in sorted(groups)), _GATHERED_AT_ONCE):
        opened = await connection.fetch(
            _OPEN,
            [new_id() for _ in first],
            [event.organisation_id for event in first],
            [event.endpoint_id for event in first],
            [event.key for event in first],
            [event.plan.wait_s for event in first],
        )
        ids.update({(row["endpoint_id"], row["key"]): row["id"] for row in opened})
    for latest in batched(_latest(events), _GATHERED_AT_ONCE):
        places = BodyDeduplicator()
        rows = [
            (
                *(ids[event.endpoint_id, event.key], event.alert_id, event.position, event.events_count),
                *(event.begins, event.sequence, event.firing),
                *(event.event_id, event.type, places.of(event.body), event.created_at),
            )
            for event in latest
        ]
        await connection.execute(_GATHER, *map(list, zip(*rows, strict=True)), places.bodies())


def _latest(events: Sequence[GroupedEvent]) -> list[GroupedEvent]:
    """The latest event of each alert in each group, at the place of its first one.

    One statement cannot write to a row twice.
    """
    kept: dict[tuple[UUID, str, UUID], GroupedEvent] = {}
    for event in events:
        identity = (event.endpoint_id, event.key, event.alert_id)
        known = kept.get(identity)
        if known is not None:
            event.position = known.position
            event.events_count += known.events_count
            event.begins = event.begins or known.begins
        kept[identity] = event
    return list(kept.values())


async def send_due_groups(
    connection: RawConnection, settings: WebhookSettings, public_url: str | None = None
) -> bool:
    """Make the deliveries of groups that are due, the longest due first, and close these groups.

    Those of disabled endpoints wait, as deliveries do. What is muted by now is not sent: see `group_mutes`.

    Args:
        connection: Outside a transaction.
        settings: The schedule of the deliveries.
        public_url: Where links in them lead; None: to where the API is by default.

    Returns:
        Whether more may be due.
    """
    # Every round asks, and hardly ever is there one: without a transaction that is one statement.
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
        await connection.execute(_FORGET, _FORGOTTEN_AT_ONCE)
    return len(groups) == GROUPS_PER_TRANSACTION


async def _delivery(
    connection: RawConnection,
    group: Any,  # noqa: ANN401 (a row)
    settings: WebhookSettings,
    public_url: str,
) -> NewDelivery | None:
    """What is sent of a group; None where all of it is muted."""
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
    )


async def _sites(connection: RawConnection, events: Sequence[Any]) -> dict[str, SiteName]:
    """The names of the sites that the events of a group are on."""
    sites = {_site(event["body"]) for event in events}
    return await read_site_names(connection, {site for site in sites if site is not None})


def _site(body: bytes) -> UUID | None:
    """The site that an event is on, where its body says so."""
    try:
        return msgspec.json.decode(body, type=_Body).data.site_id
    except msgspec.ValidationError:
        # Whatever it is: the group is told all the same, and others are sent after it.
        return None


def _idle_until(group: Any, *, sent: bool) -> datetime:  # noqa: ANN401 (a row)
    """Until when the next notification of a group has to wait that is closed now, sent or not."""
    now: datetime = group["now"]
    if not sent:
        before: datetime | None = group["idle_until"]
        return before or now
    plan = GroupingPlan.of(group["grouping"])
    return now if plan is None else now + timedelta(seconds=plan.interval_s)


async def flush_endpoint_groups(session: WriteSession, endpoint_id: UUID) -> None:
    """Make all that waits for an endpoint due now: it is put together otherwise from here on.

    The caller has locked the endpoint: nobody gathers or sends for it meanwhile.
    """
    await session.execute(_FLUSH, {"endpoint": endpoint_id})
