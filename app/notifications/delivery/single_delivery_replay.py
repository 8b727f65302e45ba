"""Replays a single delivery inside the caller's transaction, with a rate limit.

Without the limit a delivery could be sent as fast as its receiver answers. `replay_scheduling` replays many
deliveries.
"""

import math
from datetime import datetime, timedelta
from typing import Final, NamedTuple
from uuid import UUID

from sqlalchemy import func, text, update

from app.notifications.api.delivery_queries import find_delivery
from app.notifications.delivery import endpoint_state_repository
from app.notifications.delivery.models import Delivery
from app.platform.db.database import WriteSession
from app.platform.kernel.errors import TooManyRequestsError
from app.platform.kernel.tenant_scope import TenantScope

MIN_REPLAY_INTERVAL: Final = timedelta(seconds=10)
"""The least time from a replay of a delivery, or its attempt, to the next replay."""

_LOCK: Final = text(
    "SELECT delivery.state, delivery.attempt_count, delivery.due_at, delivery.leased_until, last.number, "
    "last.started_at, clock_timestamp() AS now "
    "FROM deliveries AS delivery LEFT JOIN LATERAL ("
    "SELECT number, started_at FROM delivery_attempts AS made WHERE made.delivery_id = delivery.id "
    "ORDER BY number DESC LIMIT 1) AS last ON true "
    "WHERE delivery.id = :id FOR UPDATE OF delivery"
)


class DeliverySnapshot(NamedTuple):
    """The state of a delivery at `now`: its own columns, and its last attempt's (None: no attempt)."""

    state: str
    attempt_count: int
    due_at: datetime | None
    leased_until: datetime | None
    number: int | None
    started_at: datetime | None
    now: datetime


def compute_earliest_replay(snapshot: DeliverySnapshot) -> datetime:
    """Compute the earliest time of a delivery's next replay; a time up to now allows it immediately.

    A replay waits for the end of a running attempt. It also waits for `MIN_REPLAY_INTERVAL` after an earlier
    replay, which is recognised by more attempts than the retry schedule counts. A delivery that waits for a
    quota has such attempts too, but is due later; a replayed one is due at once.
    """
    waits = [snapshot.now]
    if snapshot.state == "pending" and snapshot.leased_until is not None:
        waits.append(snapshot.leased_until)
    if snapshot.number is not None and snapshot.number > snapshot.attempt_count:
        if snapshot.started_at is not None:
            waits.append(snapshot.started_at + MIN_REPLAY_INTERVAL)
        is_due = snapshot.due_at is not None and snapshot.due_at <= snapshot.now
        if snapshot.state == "pending" and snapshot.due_at and is_due and not snapshot.attempt_count:
            waits.append(snapshot.due_at + MIN_REPLAY_INTERVAL)
    return max(waits)


async def replay_single_delivery(
    session: WriteSession, identifier: UUID, visible: TenantScope
) -> tuple[Delivery, str] | None:
    """Make a delivery due now with a new retry schedule; return it with its endpoint's kind.

    It is attempted soon, even if the endpoint's circuit breaker is open.

    Returns:
        None if the caller may see no such delivery.

    Raises:
        TooManyRequestsError: `replay_too_soon`.
    """
    found = await find_delivery(session, identifier, visible)
    if found is None:
        return None
    # Before the delivery is locked, as the recorder does it.
    await endpoint_state_repository.half_open_breaker(session, found[0].endpoint_id)
    row = (await session.execute(_LOCK, {"id": identifier})).one_or_none()
    if row is None:
        return None
    snapshot = DeliverySnapshot(*row)
    wait_s = math.ceil((compute_earliest_replay(snapshot) - snapshot.now).total_seconds())
    if wait_s > 0:
        raise TooManyRequestsError(
            "The delivery is being sent, or was replayed a moment ago. Read its outcome with "
            f"GET /v1/deliveries/{identifier}, or retry in {wait_s} s.",
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
