"""Queries deliveries and attempts for the REST API, inside the caller's tenant scope.

The dispatcher's queries are in `delivery.delivery_leases`.

Lists are sorted by id, which is the order of creation. There are indexes by endpoint, by organisation, and by
endpoint for failed deliveries. Ids contain their time, so a list that begins at a time also begins at an id.

The deliveries of an alert are those of its own events, and those of groups that contain it. Events of
incidents are not grouped.
"""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final, NamedTuple
from uuid import UUID

from sqlalchemy import (
    BindParameter,
    ColumnElement,
    LargeBinary,
    ScalarSelect,
    Select,
    Text,
    bindparam,
    func,
    literal,
    or_,
    select,
    true,
)
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import aliased, defer

from app.notifications.delivery.alert_grouping import GROUP_EVENT
from app.notifications.delivery.models import Attempt, Delivery, Endpoint, OutboxEntry
from app.platform.http.contract.sorting import PageRequest, SortOrders, uuid_sort_key
from app.platform.kernel.ids import first_id
from app.platform.kernel.tenant_scope import TenantScope

DELIVERIES: Final = SortOrders(
    "deliveries", (uuid_sort_key(Delivery.id, lambda row: row[0].id),), {"id": ()}, "-id"
)
"""The sort orders of deliveries: by creation, ascending or descending."""

SEARCH_LIMIT: Final = 50_000
"""The newest deliveries that a filter by type or reason searches: it has no index."""

CLOCK_SKEW: Final = timedelta(days=1)
"""The most that an event's own time may be later than its delivery: clocks differ."""


_LOWEST: Final = UUID(int=0)


@dataclass(frozen=True, slots=True, kw_only=True)
class DeliveryFilters:
    """Filters of a list of deliveries; None: no filter.

    Attributes:
        endpoint: The endpoint's id.
        organisation: The organisation's id.
        state: The delivery's state.
        types: Any of these types.
        event: The event's id.
        reason: The reason of the last attempt.
        since: Created at or after this.
        until: Created before this.
        replay: The replay that replayed the delivery last.
        alert: The alert of its event, or of one of its group's events.
        incident: The incident of its event.
    """

    endpoint: UUID | None = None
    organisation: UUID | None = None
    state: str | None = None
    types: Sequence[str] | None = None
    event: UUID | None = None
    reason: str | None = None
    since: datetime | None = None
    until: datetime | None = None
    replay: UUID | None = None
    alert: UUID | None = None
    incident: UUID | None = None


async def find_delivery(
    session: AsyncSession, identifier: UUID, visible: TenantScope
) -> tuple[Delivery, str] | None:
    """Find a delivery with its body, and the kind of its endpoint."""
    statement = select(Delivery, _kind()).where(Delivery.id == identifier)
    statement = statement.where(*visible.within(Delivery.organisation_id))
    found = (await session.execute(statement)).one_or_none()
    return None if found is None else (found[0], found[1])


async def list_deliveries(
    session: AsyncSession, visible: TenantScope, filters: DeliveryFilters, page: PageRequest
) -> Sequence[tuple[Delivery, str]]:
    """List deliveries without bodies, and the kinds of their endpoints; one more than the page has.

    Args:
        session: For queries.
        visible: The caller's tenant scope.
        filters: The filters of the list.
        page: The sort order, the limit and the cursor.
    """
    statement = select(Delivery, _kind()).options(defer(Delivery.body, raiseload=True))
    statement = statement.where(*visible.within(Delivery.organisation_id))
    if filters.organisation is not None:
        statement = statement.where(Delivery.organisation_id == filters.organisation)
    statement = _apply_indexed_filters(statement, filters)
    if filters.alert is not None:
        events = await _find_events_of_alert(session, visible, filters.alert)
        if events is None:
            return []
        statement = statement.where(_is_of_alert(events))
    if filters.incident is not None:
        statement = statement.where(_is_of_incident(visible, filters.incident))
    if filters.endpoint is None and (filters.event is not None or filters.state in {"pending", "failed"}):
        # The indexes on these columns begin with the endpoint.
        theirs = select(Endpoint.id)
        theirs = theirs.where(*visible.within(Endpoint.organisation_id))
        statement = statement.where(Delivery.endpoint_id.in_(theirs))
    if filters.types or filters.reason is not None:
        statement = statement.where(Delivery.id >= _oldest_searched_id(statement))
        statement = _apply_searched_filters(statement, filters)
    rows = await session.execute(DELIVERIES.page(statement, page))
    return [(delivery, kind) for delivery, kind in rows]


def build_state_literal(state: str) -> BindParameter[str]:
    """Return a state as an SQL literal: PostgreSQL uses a partial index on a state only for a literal."""
    return bindparam(None, state, Text, literal_execute=True)


def _kind() -> ScalarSelect[str]:
    """Select the kind of a delivery's endpoint; no join, which could change the query plan."""
    return select(Endpoint.kind).where(Endpoint.id == Delivery.endpoint_id).scalar_subquery()


def _apply_indexed_filters(
    statement: Select[Delivery, str], filters: DeliveryFilters
) -> Select[Delivery, str]:
    equal: tuple[tuple[Any, object], ...] = (
        (Delivery.endpoint_id, filters.endpoint),
        (Delivery.state, None if filters.state is None else build_state_literal(filters.state)),
        (Delivery.event_id, filters.event),
        (Delivery.replay_id, filters.replay),
    )
    for column, value in equal:
        if value is not None:
            statement = statement.where(column == value)
    if filters.since is not None:
        statement = statement.where(Delivery.created_at >= filters.since)
        statement = statement.where(Delivery.id >= first_id(filters.since - CLOCK_SKEW))
    if filters.until is not None:
        statement = statement.where(Delivery.created_at < filters.until)
    return statement


def _oldest_searched_id(statement: Select[Delivery, str]) -> ColumnElement[UUID]:
    """Select the oldest id among a statement's newest `SEARCH_LIMIT` deliveries; zero if there are fewer."""
    ids = statement.with_only_columns(Delivery.id).order_by(Delivery.id.desc())
    oldest = ids.offset(SEARCH_LIMIT - 1).limit(1).correlate(None).scalar_subquery()
    return func.coalesce(oldest, literal(_LOWEST))


def _apply_searched_filters(
    statement: Select[Delivery, str], filters: DeliveryFilters
) -> Select[Delivery, str]:
    """Apply the filters that have no index."""
    if filters.types:
        statement = statement.where(Delivery.type.in_(filters.types))
    if filters.reason is not None:
        last = select(Attempt.reason).where(Attempt.delivery_id == Delivery.id)
        last = last.order_by(Attempt.number.desc()).limit(1)
        statement = statement.where(last.scalar_subquery() == filters.reason)
    return statement


async def find_last_attempts(
    session: AsyncSession, delivery_ids: Sequence[UUID], most: int
) -> dict[UUID, list[Attempt]]:
    """Find the last attempts of each delivery, at most `most` of one, oldest first."""
    found: defaultdict[UUID, list[Attempt]] = defaultdict(list)
    if delivery_ids:
        last = select(Attempt).where(Attempt.delivery_id == Delivery.id).order_by(Attempt.number.desc())
        attempt = aliased(Attempt, last.limit(most).lateral())
        statement = select(attempt).select_from(Delivery).join(attempt, true())
        statement = statement.where(Delivery.id.in_(delivery_ids))
        statement = statement.order_by(attempt.delivery_id, attempt.number)
        for each in await session.scalars(statement):
            found[each.delivery_id].append(each)
    return found


GROUPS_LOOKED_AT: Final = 300
"""The group deliveries that are searched for an alert: only their bodies name their alerts."""

MOST_EVENTS: Final = 200
"""The newest events of an alert or an incident that are searched."""

# A group is sent after its events: the longest interval of a grouping is a day.
_LONGEST_GROUPING: Final = timedelta(days=1)


class _AlertEvents(NamedTuple):
    """An alert's organisation, and the time of its events."""

    alert: UUID
    organisation: UUID
    since: datetime
    until: datetime


async def list_alert_deliveries(
    session: AsyncSession,
    organisation: UUID,
    alert: UUID,
    *,
    since: datetime,
    until: datetime,
    most: int,
) -> Sequence[tuple[Delivery, str]]:
    """List the deliveries of an alert without bodies, and the kinds of their endpoints, newest first.

    Args:
        session: For queries.
        organisation: The alert's organisation.
        alert: The alert's id.
        since: When the alert was recorded.
        until: When the alert last changed.
        most: The most deliveries to list.
    """
    statement = select(Delivery, _kind()).options(defer(Delivery.body, raiseload=True))
    statement = statement.where(_is_of_alert(_AlertEvents(alert, organisation, since, until)))
    rows = await session.execute(statement.order_by(Delivery.id.desc()).limit(most))
    return [(delivery, kind) for delivery, kind in rows]


async def _find_events_of_alert(
    session: AsyncSession, visible: TenantScope, alert: UUID
) -> _AlertEvents | None:
    """Find the organisation and the time of an alert's events; None: there are none in the tenant scope."""
    statement = select(
        OutboxEntry.organisation_id, func.min(OutboxEntry.created_at), func.max(OutboxEntry.created_at)
    )
    statement = statement.where(*_events_of_alert(alert), *visible.within(OutboxEntry.organisation_id))
    found = (await session.execute(statement.group_by(OutboxEntry.organisation_id))).first()
    return None if found is None else _AlertEvents(alert, found[0], found[1], found[2])


def _events_of_alert(alert: UUID) -> tuple[ColumnElement[bool], ...]:
    """Make the conditions of an alert's outbox entries."""
    # The expression of the index (migration 0033).
    name = literal("alert_id", Text, literal_execute=True)
    return OutboxEntry.payload.op("->>")(name) == str(alert), OutboxEntry.payload.op("?")(name)


def _is_of_incident(visible: TenantScope, incident: UUID) -> ColumnElement[bool]:
    """Make the condition of deliveries of an incident's events."""
    # The expression of the index (migration 0046).
    name = literal("incident_id", Text, literal_execute=True)
    ids = select(OutboxEntry.id).where(
        OutboxEntry.payload.op("->>")(name) == str(incident),
        OutboxEntry.payload.op("?")(name),
        *visible.within(OutboxEntry.organisation_id),
    )
    ids = ids.order_by(OutboxEntry.position.desc()).limit(MOST_EVENTS)
    theirs = select(Endpoint.id).where(*visible.within(Endpoint.organisation_id))
    return Delivery.endpoint_id.in_(theirs) & Delivery.event_id.in_(ids)


def _is_of_alert(events: _AlertEvents) -> ColumnElement[bool]:
    """Make the condition of deliveries of an alert's events, and of groups that contain the alert."""
    ids = select(OutboxEntry.id).where(
        OutboxEntry.organisation_id == events.organisation, *_events_of_alert(events.alert)
    )
    ids = ids.order_by(OutboxEntry.position.desc()).limit(MOST_EVENTS)
    theirs = select(Endpoint.id).where(Endpoint.organisation_id == events.organisation)
    alone = select(Delivery.id).where(Delivery.endpoint_id.in_(theirs), Delivery.event_id.in_(ids))
    groups = (
        select(Delivery.id, Delivery.body)
        .where(
            Delivery.organisation_id == events.organisation,
            Delivery.type == GROUP_EVENT,
            Delivery.id >= first_id(events.since),
            Delivery.id < first_id(events.until + _LONGEST_GROUPING),
        )
        .order_by(Delivery.id)
        .limit(GROUPS_LOOKED_AT)
        .subquery()
    )
    named = groups.c.body.op("~~", is_comparison=True)(
        literal(b"%" + str(events.alert).encode() + b"%", LargeBinary)
    )
    together = select(groups.c.id).where(named)
    return or_(Delivery.id.in_(alone), Delivery.id.in_(together))
