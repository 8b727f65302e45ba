"""Finds what was sent of an alert: deliveries of its own events, and of groups that it was in. SQL only."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Final
from uuid import UUID

from sqlalchemy import LargeBinary, Text, literal, or_, select
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import defer

from app.notifications.delivery.grouping import GROUP_EVENT
from app.notifications.delivery.models import Delivery, Endpoint, OutboxEntry
from app.platform.kernel.ids import first_id

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
