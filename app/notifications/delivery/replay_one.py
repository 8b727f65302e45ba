"""Sending one delivery again: when that may be, and the marking. Works inside the caller's transaction.

Owns how soon after the last time. Without a limit one delivery could be sent for ever, as fast as a receiver
answers. What sends many of them again is `replays`.
"""

import math
from datetime import datetime, timedelta
from typing import Final, NamedTuple
from uuid import UUID

from sqlalchemy import func, text, update

from app.notifications.api.delivery_queries import find_delivery
from app.notifications.delivery import endpoint_states
from app.notifications.delivery.models import Delivery
from app.platform.db.database import WriteSession
from app.platform.kernel.errors import TooManyRequestsError
from app.platform.kernel.tenant_scope import TenantScope

MIN_REPLAY_INTERVAL: Final = timedelta(seconds=10)
"""From one replay of a delivery, or its attempt, to the next."""

_LOCK: Final = text(
    "SELECT delivery.state, delivery.attempt_count, delivery.due_at, delivery.leased_until, last.number, "
    "last.started_at, clock_timestamp() AS now "
    "FROM deliveries AS delivery LEFT JOIN LATERAL ("
    "SELECT number, started_at FROM delivery_attempts AS made WHERE made.delivery_id = delivery.id "
    "ORDER BY number DESC LIMIT 1) AS last ON true "
    "WHERE delivery.id = :id FOR UPDATE OF delivery"
)


class DeliverySnapshot(NamedTuple):
    """How a delivery stands `now`: its own columns, and its last attempt's (None: it has none)."""

    state: str
    attempt_count: int
    due_at: datetime | None
    leased_until: datetime | None
    number: int | None
    started_at: datetime | None
    now: datetime


def compute_earliest_replay(standing: DeliverySnapshot) -> datetime:
    """When a delivery may be sent again at the earliest; not later than now where it may be at once.

    Not while an attempt is under way. Where it was sent again already, which shows by its having had more
    attempts than its schedule counts, not so soon after that.
    """
    waits = [standing.now]
    if standing.state == "pending" and standing.leased_until is not None:
        waits.append(standing.leased_until)
    if standing.number is not None and standing.number > standing.attempt_count:
        if standing.started_at is not None:
            waits.append(standing.started_at + MIN_REPLAY_INTERVAL)
        if standing.state == "pending" and standing.due_at is not None and not standing.attempt_count:
            waits.append(min(standing.due_at, standing.now) + MIN_REPLAY_INTERVAL)
    return max(waits)


async def replay_single_delivery(
    session: WriteSession, identifier: UUID, visible: TenantScope
) -> tuple[Delivery, str] | None:
    """Make a delivery due now, at the beginning of its schedule; give it, and its endpoint's kind.

    It is attempted soon, also where the endpoint's state says that nothing is for a while.

    Returns:
        None where the caller sees no such delivery.

    Raises:
        TooManyRequestsError: `replay_too_soon`.
    """
    found = await find_delivery(session, identifier, visible)
    if found is None:
        return None
    # Before the delivery is locked, as the recorder does it.
    await endpoint_states.half_open_breaker(session, found[0].endpoint_id)
    row = (await session.execute(_LOCK, {"id": identifier})).one_or_none()
    if row is None:
        return None
    standing = DeliverySnapshot(*row)
    wait_s = math.ceil((compute_earliest_replay(standing) - standing.now).total_seconds())
    if wait_s > 0:
        raise TooManyRequestsError(
            "It is being sent, or was sent again a moment ago: see what comes of that with "
            f"GET /v1/deliveries/{identifier}, or ask again in {wait_s} s.",
            retry_after_s=wait_s,
            code="replay_too_soon",
        )
    statement = (
        update(Delivery)
        .where(Delivery.id == identifier)
        .values(state="pending", attempt_count=0, due_at=func.now(), leased_until=None, delivered_at=None)
    )
    await session.execute(statement.execution_options(synchronize_session=False))
    session.expire(found[0])
    return await find_delivery(session, identifier, visible)
