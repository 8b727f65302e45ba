"""From the outbox to deliveries: one for each endpoint that wants the event, or its place in a group there.

Owns the transaction in which that happens, how much one of them takes on, and the places of events in
streams. Who wants what is said in `subscriptions`, what is sent in `formats`. Must not send anything.

One fan-out at a time, of all processes: so an organisation's events are shown and sent in their order. Whose
endpoint somebody else has locked waits for the next one, and nobody else does; so does nobody for an event
that cannot be made into anything.
"""

from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any, Final, NamedTuple
from uuid import UUID

import asyncpg

from app.notifications.delivery.grouping import AlertRoutingData, GroupingPlan
from app.notifications.delivery.new_deliveries import NewDelivery, add_deliveries
from app.notifications.delivery.waiting_groups import EventBodyCache, GroupedEvent, add_to_groups
from app.notifications.email.mail_rendering import SiteName
from app.notifications.events.event_details import read_site_names
from app.notifications.events.outbox import wake_streams
from app.notifications.events.subscriptions import (
    BEGINNING,
    CandidateEvent,
    EndpointSubscription,
    matches_subscription,
)
from app.notifications.formats import TEXT_KINDS, RenderContext
from app.notifications.formats.native import build_native_body
from app.notifications.http.service_channels import ORDERED_KINDS
from app.platform.config.api_settings import ApiSettings
from app.platform.config.settings import WebhookSettings
from app.platform.db.advisory_locks import STREAM_POSITIONS
from app.platform.db.database import RawConnection, is_schema_mismatch, is_transient
from app.platform.observability.metrics_and_logs import EVENTS_UNFIT, GROUPED_EVENTS, get_logger

BATCH: Final = 500
"""Events of one fan-out, at most."""

MOST_MADE: Final = 2000
"""Deliveries of one fan-out, unless a single event makes more: claims wait meanwhile."""

MOST_BYTES: Final = 8_000_000
"""What these weigh, at most, by their events' data."""

_FIRING: Final = "firing"
# What data that nobody expects raises here; the driver's own complaints about values are ValueErrors too.
_FAULTS: Final = (ArithmeticError, AttributeError, LookupError, RecursionError, TypeError, ValueError)
_log = get_logger(__name__)

# Held until the commit: places in streams are given by one at a time, and seen in their order. Whoever has
# read up to a place never finds a lower one afterwards. A process that stands still in the middle of it is
# cut off by the server, sooner than elsewhere: all delivery waits for it.
_ALONE: Final = """
SELECT pg_try_advisory_xact_lock($1), set_config('idle_in_transaction_session_timeout', '10s', true)
"""
_TAKE: Final = """
SELECT id, position, organisation_id, site_id, type, payload::text AS payload, created_at, now() AS now
FROM outbox WHERE fanned_out_at IS NULL AND organisation_id <> ALL ($2::uuid[])
ORDER BY position LIMIT $1
FOR UPDATE SKIP LOCKED
"""
_THERE: Final = """
SELECT id, organisation_id FROM webhook_endpoints WHERE organisation_id = ANY ($1::uuid[]) AND enabled
"""
# FOR KEY SHARE: an endpoint that is deleted meanwhile is gone here, or goes after us with what we made.
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
    """What a fan-out did. True where it took something.

    Attributes:
        taken: How many events it took.
        more: More can be taken at once.
        blocked: Something has to wait for somebody else: another fan-out, or who has locked an endpoint.
    """

    taken: int
    more: bool = False
    blocked: bool = False

    def __bool__(self) -> bool:
        return self.taken > 0


class _Waiting(NamedTuple):
    """Events that wait, with the endpoints of their organisations; both are locked.

    Attributes:
        events: In order.
        endpoints: Those that are enabled.
        full: There may be more events.
        blocked: There are some of organisations whose endpoints somebody else has locked.
    """

    events: list[Any]
    endpoints: list[Any]
    full: bool
    blocked: bool


class _Wanted(NamedTuple):
    """An event, and the endpoints that want it."""

    event: Any
    alert: AlertRoutingData | None
    by: list[EndpointSubscription]


class AdaptiveFanOut:
    """One process's fan-outs: after one that fails the next takes fewer events, down to the one at fault.

    Args:
        settings: The schedule of the deliveries.
    """

    def __init__(self, settings: WebhookSettings) -> None:
        self._settings = settings
        self._most = BATCH

    async def step(self, connection: RawConnection, public_url: str | None = None) -> FanOutResult:
        """Fan out a batch (see `fan_out_events`).

        Args:
            connection: Outside a transaction.
            public_url: Where links lead; None: to where the API is by default.

        Raises:
            Exception: What the database raises where it is not a matter of the events.
        """
        try:
            done = await fan_out_events(connection, self._settings, public_url, most=self._most)
        except Exception as error:
            most, self._most = self._most, max(1, self._most // 2)
            if not _is_of_data(error):
                raise
            _log.warning("fan_out_failed", events=most, error=str(error) or type(error).__name__)
            return FanOutResult(0, more=True)
        if done:
            self._most = BATCH
        return done


async def fan_out_events(
    connection: RawConnection, settings: WebhookSettings, public_url: str | None = None, *, most: int = BATCH
) -> FanOutResult:
    """Turn waiting events into deliveries, or put them into groups, in order, in one transaction.

    Where more than `MOST_MADE` deliveries would come of them the rest waits for the next time.

    Args:
        connection: Outside a transaction.
        settings: The schedule of the deliveries.
        public_url: Where links in them lead; None: to where the API is by default.
        most: The most events that are taken. One that is taken alone and cannot be fanned out for its data is
            taken all the same, with nothing made of it.
    """
    url = public_url or ApiSettings().base_url
    async with connection.transaction():
        if not await connection.fetchval(_ALONE, STREAM_POSITIONS):
            return FanOutResult(0, blocked=True)
        waiting = await _waiting(connection, most)
        if not waiting.events:
            return FanOutResult(0, blocked=waiting.blocked)
        spread = _spread if most > 1 else _spread_or_nothing
        taken, grouped = await spread(connection, waiting, settings, url)
        await connection.execute(_DONE, [event["position"] for event in waiting.events[:taken]])
    await wake_streams(connection)
    GROUPED_EVENTS.inc(grouped)
    return FanOutResult(taken, waiting.full or taken < len(waiting.events), waiting.blocked)


async def _waiting(connection: RawConnection, most: int) -> _Waiting:
    """Lock the next events that can be fanned out, and the endpoints that may want them; waits for nobody."""
    blocked: set[UUID] = set()
    while True:
        events = await connection.fetch(_TAKE, most, list(blocked))
        if not events:
            return _Waiting([], [], full=False, blocked=bool(blocked))
        owners = list({event["organisation_id"] for event in events})
        there = await connection.fetch(_THERE, owners)
        held = await connection.fetch(_HOLD, owners)
        # One that was disabled or deleted in between makes its organisation wait too, once.
        locked_out = {endpoint["id"] for endpoint in there} - {endpoint["id"] for endpoint in held}
        blocked |= {endpoint["organisation_id"] for endpoint in there if endpoint["id"] in locked_out}
        free = [event for event in events if event["organisation_id"] not in blocked]
        # Behind those that have to wait there are others.
        if free or len(events) < most:
            return _Waiting(free, held, full=len(events) == most, blocked=bool(blocked))


async def _spread(
    connection: RawConnection, waiting: _Waiting, settings: WebhookSettings, public_url: str
) -> tuple[int, int]:
    """Make deliveries and groups of as many events as fit; how many they are, and how many go into groups."""
    wanted, taken = _fitting(_paired(waiting.events, waiting.endpoints))
    sites = await read_site_names(connection, _sites_in_words(wanted))
    single, grouped = _made(wanted, sites, settings, public_url)
    await add_deliveries(connection, single)
    await add_to_groups(connection, grouped)
    return taken, len(grouped)


async def _spread_or_nothing(
    connection: RawConnection, waiting: _Waiting, settings: WebhookSettings, public_url: str
) -> tuple[int, int]:
    """The same for a single event, of which nothing is made where its data do not allow it.

    It must not hold up those after it for ever; streams show it as it is.
    """
    (event,) = waiting.events
    try:
        async with connection.transaction():
            return await _spread(connection, waiting, settings, public_url)
    except Exception as error:
        if not _is_of_data(error):
            raise
        EVENTS_UNFIT.inc()
        _log.exception("event_cannot_be_fanned_out", event_id=str(event["id"]), type=event["type"])
        return 1, 0


def _is_of_data(error: Exception) -> bool:
    """Tell whether what failed may be due to the events, and not to the database's state or its schema."""
    if isinstance(error, asyncpg.PostgresError):
        return not is_transient(error) and not is_schema_mismatch(error)
    return isinstance(error, _FAULTS)


def _paired(events: Sequence[Any], endpoints: Sequence[Any]) -> Iterator[_Wanted]:
    """Pair events with the endpoints that want them, one after the other."""
    by_owner: defaultdict[UUID, list[EndpointSubscription]] = defaultdict(list)
    for endpoint in endpoints:
        by_owner[endpoint["organisation_id"]].append(EndpointSubscription.of(endpoint))
    for event in events:
        there: Collection[EndpointSubscription] = by_owner.get(event["organisation_id"], ())
        if not there:
            yield _Wanted(event, None, [])
            continue
        happened = CandidateEvent.of(event["type"], event["site_id"], event["payload"])
        yield _Wanted(
            event,
            happened.alert,
            [subscription for subscription in there if matches_subscription(subscription, happened)],
        )


def _fitting(paired: Iterator[_Wanted]) -> tuple[list[_Wanted], int]:
    """Those of the first events that somebody wants, and how many events these are; one at least."""
    wanted: list[_Wanted] = []
    taken = made = weight = 0
    for each in paired:
        made += len(each.by)
        weight += len(each.by) * len(each.event["payload"])
        if taken and (made > MOST_MADE or weight > MOST_BYTES):
            break
        taken += 1
        if each.by:
            wanted.append(each)
    return wanted, taken


def _sites_in_words(wanted: Sequence[_Wanted]) -> set[UUID]:
    """The sites that messages on these events name; those that are put together are messages later."""
    return {
        event["site_id"]
        for event, alert, by in wanted
        if event["site_id"] is not None
        and any(
            subscription.kind in TEXT_KINDS and _is_alone(subscription.plan, alert) for subscription in by
        )
    }


def _is_alone(plan: GroupingPlan | None, alert: AlertRoutingData | None) -> bool:
    return plan is None or alert is None


def _made(
    wanted: Sequence[_Wanted], sites: Mapping[str, SiteName], settings: WebhookSettings, public_url: str
) -> tuple[list[NewDelivery], list[GroupedEvent]]:
    """Make what goes on its own, and what is put together."""
    single: list[NewDelivery] = []
    grouped: list[GroupedEvent] = []
    for event, alert, by in wanted:
        body = build_native_body(event["type"], event["created_at"], event["payload"], public_url)
        rendering = RenderContext(body, event["id"], event["organisation_id"], event["site_id"], public_url)
        bodies = EventBodyCache(rendering, sites)
        for subscription in by:
            if subscription.plan is None or alert is None:
                single.append(_single(event, subscription, alert, bodies.of(subscription), settings))
            else:
                grouped.append(_grouped(event, subscription.endpoint_id, subscription.plan, alert, body))
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
    )


def _grouped(
    event: Any,  # noqa: ANN401 (a row)
    endpoint_id: UUID,
    plan: GroupingPlan,
    alert: AlertRoutingData,
    body: bytes,
) -> GroupedEvent:
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
