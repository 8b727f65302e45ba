"""Queries on deliveries and attempts, for the REST side; the dispatcher's are in `claims`.

Every function takes what the caller may see: the id of an organisation, or None for all of them. What is
outside of it is not found. Nothing is decided here, and nothing committed.

Lists are in the order of ids, which is that in which deliveries were made, and of which there are indexes:
by endpoint, by organisation, by endpoint of those that failed. An event is older than what is made of it:
where a list begins at a time, that bounds the ids too.

Finds what was sent of an alert: deliveries of its own events, and of groups that it was in. SQL only.
"""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final
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

from app.notifications.delivery.grouping import GROUP_EVENT
from app.notifications.delivery.models import Attempt, Delivery, Endpoint, OutboxEntry
from app.platform.http.contract.sorting import PageRequest, SortOrders, uuid_sort_key
from app.platform.kernel.ids import first_id
from app.platform.kernel.tenant_scope import TenantScope

DELIVERIES: Final = SortOrders(
    "deliveries", (uuid_sort_key(Delivery.id, lambda row: row[0].id),), {"id": ()}, "-id"
)
"""The orders of deliveries: that in which they were made, either way."""

SEARCH_LIMIT: Final = 50_000
"""Among how many deliveries those of a type, or with a reason, are looked for: of these there is no index."""

CLOCK_SKEW: Final = timedelta(days=1)
"""How much later than its delivery an event may claim to have happened: clocks differ."""


_LOWEST: Final = UUID(int=0)


@dataclass(frozen=True, slots=True, kw_only=True)
class DeliveryFilters:
    """Which deliveries are listed; None: whichever.

    Attributes:
        endpoint: Of this endpoint.
        organisation: Of this organisation.
        state: In this state.
        types: Of one of these types.
        event: Of this event.
        reason: Whose last attempt ended so.
        since: Created at or after this.
        until: Created before this.
        replay: Last sent again with this replay.
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


async def find_delivery(
    session: AsyncSession, identifier: UUID, visible: TenantScope
) -> tuple[Delivery, str] | None:
    """One delivery, with its body, and its endpoint's kind."""
    statement = select(Delivery, _kind()).where(Delivery.id == identifier)
    statement = statement.where(*visible.within(Delivery.organisation_id))
    found = (await session.execute(statement)).one_or_none()
    return None if found is None else (found[0], found[1])


async def list_deliveries(
    session: AsyncSession, visible: TenantScope, wanted: DeliveryFilters, asked: PageRequest
) -> Sequence[tuple[Delivery, str]]:
    """Deliveries and their endpoints' kinds, without bodies; one more than are asked for."""
    statement = select(Delivery, _kind()).options(defer(Delivery.body, raiseload=True))
    statement = statement.where(*visible.within(Delivery.organisation_id))
    if wanted.organisation is not None:
        statement = statement.where(Delivery.organisation_id == wanted.organisation)
    statement = _narrowed(statement, wanted)
    if wanted.endpoint is None and (wanted.event is not None or wanted.state in {"pending", "failed"}):
        # By endpoint there are indexes of these.
        theirs = select(Endpoint.id)
        theirs = theirs.where(*visible.within(Endpoint.organisation_id))
        statement = statement.where(Delivery.endpoint_id.in_(theirs))
    if wanted.types or wanted.reason is not None:
        statement = statement.where(Delivery.id >= _oldest_looked_at(statement))
        statement = _sifted(statement, wanted)
    rows = await session.execute(DELIVERIES.page(statement, asked))
    return [(delivery, kind) for delivery, kind in rows]


def build_state_literal(state: str) -> BindParameter[str]:
    """A state for a query. It stands in the text: there are indexes of one state alone, which have to fit."""
    return bindparam(None, state, Text, literal_execute=True)


def _kind() -> ScalarSelect[str]:
    """The kind of a delivery's endpoint. No join: how rows are found does not depend on it."""
    return select(Endpoint.kind).where(Endpoint.id == Delivery.endpoint_id).scalar_subquery()


def _narrowed(statement: Select[Delivery, str], wanted: DeliveryFilters) -> Select[Delivery, str]:
    equal: tuple[tuple[Any, object], ...] = (
        (Delivery.endpoint_id, wanted.endpoint),
        (Delivery.state, None if wanted.state is None else build_state_literal(wanted.state)),
        (Delivery.event_id, wanted.event),
        (Delivery.replay_id, wanted.replay),
    )
    for column, value in equal:
        if value is not None:
            statement = statement.where(column == value)
    if wanted.since is not None:
        statement = statement.where(Delivery.created_at >= wanted.since)
        statement = statement.where(Delivery.id >= first_id(wanted.since - CLOCK_SKEW))
    if wanted.until is not None:
        statement = statement.where(Delivery.created_at < wanted.until)
    return statement


def _oldest_looked_at(statement: Select[Delivery, str]) -> ColumnElement[UUID]:
    """The oldest of the newest `SEARCH_LIMIT` that a statement finds; below all where these are fewer."""
    ids = statement.with_only_columns(Delivery.id).order_by(Delivery.id.desc())
    oldest = ids.offset(SEARCH_LIMIT - 1).limit(1).correlate(None).scalar_subquery()
    return func.coalesce(oldest, literal(_LOWEST))


def _sifted(statement: Select[Delivery, str], wanted: DeliveryFilters) -> Select[Delivery, str]:
    """Narrow a statement by what has no index."""
    if wanted.types:
        statement = statement.where(Delivery.type.in_(wanted.types))
    if wanted.reason is not None:
        last = select(Attempt.reason).where(Attempt.delivery_id == Delivery.id)
        last = last.order_by(Attempt.number.desc()).limit(1)
        statement = statement.where(last.scalar_subquery() == wanted.reason)
    return statement


async def find_last_attempts(
    session: AsyncSession, delivery_ids: Sequence[UUID], most: int
) -> dict[UUID, list[Attempt]]:
    """The last attempts of each of the deliveries, at most so many of one, the first first."""
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
"""In how many group notifications an alert is looked for: which alerts they have is in their bodies alone."""

MOST_EVENTS: Final = 200
"""How many events of one alert are looked at, the newest ones."""

# A group is sent after its events: an endpoint may gather them for a day.
_GATHERED: Final = timedelta(days=1)


async def list_alert_deliveries(
    session: AsyncSession,
    organisation: UUID,
    alert: UUID,
    *,
    since: datetime,
    until: datetime,
    most: int,
) -> Sequence[tuple[Delivery, str]]:
    """List deliveries that told of an alert, without their bodies, and their endpoints' kinds, newest first.

    Args:
        session: For queries.
        organisation: Whose alert it is.
        alert: Its id.
        since: When it was recorded.
        until: When it last changed.
        most: How many are listed.
    """
    # As the index on it has it (migration 0033).
    told = OutboxEntry.payload.op("->>")(literal("alert_id", Text, literal_execute=True)) == str(alert)
    is_of_alert = OutboxEntry.payload.op("?")(literal("alert_id", Text, literal_execute=True))
    events = select(OutboxEntry.id).where(OutboxEntry.organisation_id == organisation, told, is_of_alert)
    events = events.order_by(OutboxEntry.position.desc()).limit(MOST_EVENTS)
    theirs = select(Endpoint.id).where(Endpoint.organisation_id == organisation)
    alone = select(Delivery.id).where(Delivery.endpoint_id.in_(theirs), Delivery.event_id.in_(events))
    groups = (
        select(Delivery.id, Delivery.body)
        .where(
            Delivery.organisation_id == organisation,
            Delivery.type == GROUP_EVENT,
            Delivery.id >= first_id(since),
            Delivery.id < first_id(until + _GATHERED),
        )
        .order_by(Delivery.id)
        .limit(GROUPS_LOOKED_AT)
        .subquery()
    )
    named = groups.c.body.op("~~", is_comparison=True)(
        literal(b"%" + str(alert).encode() + b"%", LargeBinary)
    )
    together = select(groups.c.id).where(named)
    kind = select(Endpoint.kind).where(Endpoint.id == Delivery.endpoint_id).scalar_subquery()
    statement = (
        select(Delivery, kind)
        .options(defer(Delivery.body, raiseload=True))
        .where(or_(Delivery.id.in_(alone), Delivery.id.in_(together)))
        .order_by(Delivery.id.desc())
        .limit(most)
    )
    return [(delivery, called) for delivery, called in await session.execute(statement)]
