"""Turns outbox events into deliveries: one for each subscribed endpoint, or an entry in its waiting group.

The same transaction gives the events their positions in the event stream. `subscriptions` matches events and
endpoints; `formats` renders bodies.

Only one process fans out at a time, so the events of an organisation are streamed and sent in order. Events
of an organisation with a locked endpoint wait for the next fan-out; other organisations do not. An event that
cannot be rendered does not block the others.
"""

import time
from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any, Final, NamedTuple
from uuid import UUID

import asyncpg

from app.notifications.delivery.alert_grouping import AlertRoutingData, GroupingPlan
from app.notifications.delivery.new_deliveries import NewDelivery, add_deliveries
from app.notifications.delivery.waiting_groups import EventBodyCache, GroupedEvent, add_to_groups
from app.notifications.email.mail_rendering import SiteName
from app.notifications.events.event_enrichment import read_event_site_names
from app.notifications.events.outbox import wake_streams
from app.notifications.events.subscriptions import (
    CandidateEvent,
    EndpointSubscription,
    is_first_event,
    matches_subscription,
)
from app.notifications.formats import TEXT_KINDS, RenderContext
from app.notifications.formats.native_and_cloudevents import build_native_body
from app.notifications.http.service_channel_requests import ORDERED_KINDS
from app.notifications.prometheus_metrics import EVENTS_UNFIT, GROUPED_EVENTS
from app.notifications.settings import WebhookSettings
from app.platform.config.api_settings import ApiSettings
from app.platform.db.advisory_lock_keys import STREAM_POSITIONS
from app.platform.db.database import RawConnection, is_schema_mismatch, is_transient
from app.platform.observability.metrics_and_logs import get_logger
from app.platform.observability.tracing import is_tracing, start_span

BATCH: Final = 500
"""The most events of one fan-out."""

MOST_MADE: Final = 2000
"""The most deliveries of one fan-out, unless a single event makes more: claims wait for it."""

MOST_BYTES: Final = 8_000_000
"""The most bytes of event data of one fan-out, counted for each delivery."""

_FIRING: Final = "firing"
# The errors of unexpected data; the driver raises ValueError for values too.
_FAULTS: Final = (ArithmeticError, AttributeError, LookupError, RecursionError, TypeError, ValueError)
_log = get_logger(__name__)

# The lock is held until the commit, so positions in streams become visible in order: a reader that has read
# up to a position never misses a lower one. The server ends a stalled transaction after 10 s, sooner than
# elsewhere, because all deliveries wait for it.
_ALONE: Final = """
SELECT pg_try_advisory_xact_lock($1), set_config('idle_in_transaction_session_timeout', '10s', true)
"""
_TAKE: Final = """
SELECT id, position, organisation_id, site_id, type, payload::text AS payload, created_at, now() AS now,
    traceparent
FROM outbox WHERE fanned_out_at IS NULL AND organisation_id <> ALL ($2::uuid[])
ORDER BY position LIMIT $1
FOR UPDATE SKIP LOCKED
"""
_THERE: Final = """
SELECT id, organisation_id FROM webhook_endpoints WHERE organisation_id = ANY ($1::uuid[]) AND enabled
"""
# FOR KEY SHARE: an endpoint that is deleted concurrently is either not found here, or deleted after this
# transaction with its new deliveries.
_HOLD: Final = """
SELECT id, organisation_id, kind, format, target::text AS target, events, site_ids,
    grouping::text AS grouping, min_severity
FROM webhook_endpoints WHERE organisation_id = ANY ($1::uuid[]) AND enabled
ORDER BY id
FOR KEY SHARE SKIP LOCKED
"""
_DONE: Final = """
UPDATE outbox AS done SET fanned_out_at = now(), stream_position = placed.place
FROM (
    SELECT position, nextval('outbox_stream') AS place
    FROM (SELECT position FROM unnest($1::bigint[]) AS taken (position) ORDER BY position) AS sorted
) AS placed
WHERE done.position = placed.position
"""


class FanOutResult(NamedTuple):
    """The result of a fan-out; true if it processed an event.

    Attributes:
        taken: The number of processed events.
        more: More events can be processed immediately.
        blocked: Events wait for another transaction: a fan-out, or one that has locked an endpoint.
    """

    taken: int
    more: bool = False
    blocked: bool = False

    def __bool__(self) -> bool:
        return self.taken > 0


class _Waiting(NamedTuple):
    """Outbox events and the endpoints of their organisations, both locked.

    Attributes:
        events: The events, in order.
        endpoints: The enabled endpoints.
        full: There may be more events.
        blocked: Events were left out because another transaction has locked an endpoint.
    """

    events: list[Any]
    endpoints: list[Any]
    full: bool
    blocked: bool


class _MatchedEvent(NamedTuple):
    """An event, and the subscriptions that it matches."""

    event: Any
    alert: AlertRoutingData | None
    subscriptions: list[EndpointSubscription]


class AdaptiveFanOut:
    """Runs fan-outs, and halves the batch after a failure until only the faulty event is left.

    Args:
        settings: The retry schedule of deliveries.
    """

    def __init__(self, settings: WebhookSettings) -> None:
        self._settings = settings
        self._most = BATCH

    async def step(self, connection: RawConnection, public_url: str | None = None) -> FanOutResult:
        """Fan out a batch (see `fan_out_events`).

        Args:
            connection: Outside a transaction.
            public_url: The base URL of links; None: the API's default URL.

        Raises:
            Exception: A database error that the events do not cause.
        """
        try:
            done = await fan_out_events(connection, self._settings, public_url, most=self._most)
        except Exception as error:
            most, self._most = self._most, max(1, self._most // 2)
            if not _is_data_error(error):
                raise
            _log.warning("fan_out_failed", events=most, error=str(error) or type(error).__name__)
            return FanOutResult(0, more=True)
        if done:
            self._most = BATCH
        return done


async def fan_out_events(
    connection: RawConnection, settings: WebhookSettings, public_url: str | None = None, *, most: int = BATCH
) -> FanOutResult:
    """Turn outbox events into deliveries, or add them to groups, in order, in one transaction.

    If they would make more than `MOST_MADE` deliveries, the rest waits for the next fan-out.

    Args:
        connection: Outside a transaction.
        settings: The retry schedule of deliveries.
        public_url: The base URL of links; None: the API's default URL.
        most: The most events. With 1, an event that cannot be rendered is marked as done without deliveries.
    """
    url = public_url or ApiSettings().base_url
    began_ns = time.time_ns()
    async with connection.transaction():
        if not await connection.fetchval(_ALONE, STREAM_POSITIONS):
            return FanOutResult(0, blocked=True)
        waiting = await _lock_events(connection, most)
        if not waiting.events:
            return FanOutResult(0, blocked=waiting.blocked)
        fan_out = _fan_out_batch if most > 1 else _fan_out_single
        taken, grouped = await fan_out(connection, waiting, settings, url)
        await connection.execute(_DONE, [event["position"] for event in waiting.events[:taken]])
    await wake_streams(connection)
    GROUPED_EVENTS.inc(grouped)
    if is_tracing():
        for event in waiting.events[:taken]:
            start_span("fan out", parent=event["traceparent"], is_root=True, start_ns=began_ns).end()
    return FanOutResult(taken, waiting.full or taken < len(waiting.events), waiting.blocked)


async def _lock_events(connection: RawConnection, most: int) -> _Waiting:
    """Lock the next events and their organisations' endpoints, without waiting for locks."""
    blocked: set[UUID] = set()
    while True:
        events = await connection.fetch(_TAKE, most, list(blocked))
        if not events:
            return _Waiting([], [], full=False, blocked=bool(blocked))
        owners = list({event["organisation_id"] for event in events})
        known = await connection.fetch(_THERE, owners)
        locked = await connection.fetch(_HOLD, owners)
        # An endpoint disabled or deleted between the two queries makes its organisation wait too, once.
        locked_out = {endpoint["id"] for endpoint in known} - {endpoint["id"] for endpoint in locked}
        blocked |= {endpoint["organisation_id"] for endpoint in known if endpoint["id"] in locked_out}
        free = [event for event in events if event["organisation_id"] not in blocked]
        # If all events of the batch are blocked, read the ones after them.
        if free or len(events) < most:
            return _Waiting(free, locked, full=len(events) == most, blocked=bool(blocked))


async def _fan_out_batch(
    connection: RawConnection, waiting: _Waiting, settings: WebhookSettings, public_url: str
) -> tuple[int, int]:
    """Fan out as many events as fit; return the number of events and of those added to groups."""
    matched, taken = _take_fitting(_match_subscriptions(waiting.events, waiting.endpoints))
    sites = await read_event_site_names(connection, _sites_to_name(matched))
    single, grouped = _build_entries(matched, sites, settings, public_url)
    await add_deliveries(connection, single)
    await add_to_groups(connection, grouped)
    return taken, len(grouped)


async def _fan_out_single(
    connection: RawConnection, waiting: _Waiting, settings: WebhookSettings, public_url: str
) -> tuple[int, int]:
    """Fan out a single event; if its data cannot be rendered, make no deliveries.

    It must not block the events after it for ever; streams still show it.
    """
    (event,) = waiting.events
    try:
        async with connection.transaction():
            return await _fan_out_batch(connection, waiting, settings, public_url)
    except Exception as error:
        if not _is_data_error(error):
            raise
        EVENTS_UNFIT.inc()
        _log.exception("event_cannot_be_fanned_out", event_id=str(event["id"]), type=event["type"])
        return 1, 0


def _is_data_error(error: Exception) -> bool:
    """Check whether the events may cause an error, and not the database's state or schema."""
    if isinstance(error, asyncpg.PostgresError):
        return not is_transient(error) and not is_schema_mismatch(error)
    return isinstance(error, _FAULTS)


def _match_subscriptions(events: Sequence[Any], endpoints: Sequence[Any]) -> Iterator[_MatchedEvent]:
    """Match events with subscriptions, one by one."""
    by_owner: defaultdict[UUID, list[EndpointSubscription]] = defaultdict(list)
    for endpoint in endpoints:
        by_owner[endpoint["organisation_id"]].append(EndpointSubscription.of(endpoint))
    for event in events:
        owned: Collection[EndpointSubscription] = by_owner.get(event["organisation_id"], ())
        if not owned:
            yield _MatchedEvent(event, None, [])
            continue
        candidate = CandidateEvent.of(event["type"], event["site_id"], event["payload"])
        yield _MatchedEvent(
            event,
            candidate.alert,
            [subscription for subscription in owned if matches_subscription(subscription, candidate)],
        )


def _take_fitting(pairs: Iterator[_MatchedEvent]) -> tuple[list[_MatchedEvent], int]:
    """Take as many events as fit, at least one; return those with subscriptions, and the number of all."""
    matched: list[_MatchedEvent] = []
    taken = made = weight = 0
    for each in pairs:
        made += len(each.subscriptions)
        weight += len(each.subscriptions) * len(each.event["payload"])
        if taken and (made > MOST_MADE or weight > MOST_BYTES):
            break
        taken += 1
        if each.subscriptions:
            matched.append(each)
    return matched, taken


def _sites_to_name(matched: Sequence[_MatchedEvent]) -> set[UUID]:
    """Return the sites that messages name now; grouped events become messages later."""
    return {
        event["site_id"]
        for event, alert, subscriptions in matched
        if event["site_id"] is not None
        and any(
            subscription.kind in TEXT_KINDS and _is_ungrouped(subscription.plan, alert)
            for subscription in subscriptions
        )
    }


def _is_ungrouped(plan: GroupingPlan | None, alert: AlertRoutingData | None) -> bool:
    return plan is None or alert is None


def _build_entries(
    matched: Sequence[_MatchedEvent],
    sites: Mapping[str, SiteName],
    settings: WebhookSettings,
    public_url: str,
) -> tuple[list[NewDelivery], list[GroupedEvent]]:
    """Build the deliveries of ungrouped events, and the entries of groups."""
    single: list[NewDelivery] = []
    grouped: list[GroupedEvent] = []
    for event, alert, subscriptions in matched:
        body = build_native_body(event["type"], event["created_at"], event["payload"], public_url)
        rendering = RenderContext(body, event["id"], event["organisation_id"], event["site_id"], public_url)
        bodies = EventBodyCache(rendering, sites)
        for subscription in subscriptions:
            if subscription.plan is None or alert is None:
                single.append(_single(event, subscription, alert, bodies.of(subscription), settings))
            else:
                grouped.append(_grouped(event, subscription, subscription.plan, alert, body))
    return single, grouped


def _single(
    event: Any,  # noqa: ANN401 (a row)
    subscription: EndpointSubscription,
    alert: AlertRoutingData | None,
    body: bytes,
    settings: WebhookSettings,
) -> NewDelivery:
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
        alert_id=alert.alert_id if alert is not None and subscription.kind in ORDERED_KINDS else None,
        traceparent=event["traceparent"],
        position=event["position"],
    )


def _grouped(
    event: Any,  # noqa: ANN401 (a row)
    subscription: EndpointSubscription,
    plan: GroupingPlan,
    alert: AlertRoutingData,
    body: bytes,
) -> GroupedEvent:
    return GroupedEvent(
        endpoint_id=subscription.endpoint_id,
        organisation_id=event["organisation_id"],
        plan=plan,
        key=alert.key(plan),
        alert_id=alert.alert_id,
        position=event["position"],
        sequence=alert.sequence,
        firing=alert.state == _FIRING,
        begins=is_first_event(subscription, event["type"], alert),
        event_id=event["id"],
        type=event["type"],
        body=body,
        created_at=event["created_at"],
    )
