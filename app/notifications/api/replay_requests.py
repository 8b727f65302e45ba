"""Creates, reads and cancels replays of deliveries inside the caller's transaction.

The deliveries are made due later, by `delivery.replay_scheduling`.
"""

from collections.abc import Sequence
from datetime import datetime
from typing import Final
from uuid import UUID

from sqlalchemy import Select, func, select
from sqlalchemy.ext.asyncio import AsyncSession

from app.notifications.api.delivery_queries import CLOCK_SKEW, build_state_literal
from app.notifications.api.replay_schemas import ReplayCreate, ReplayProgress
from app.notifications.delivery.models import Delivery, Endpoint, Replay
from app.platform.db.database import WriteSession
from app.platform.http.contract.sorting import PageRequest, SortOrders, uuid_sort_key
from app.platform.identity.caller_authentication import Principal
from app.platform.kernel.errors import ConflictError, InvalidError, NotFoundError
from app.platform.kernel.ids import first_id, new_id
from app.platform.kernel.tenant_scope import TenantScope

REPLAYS: Final = SortOrders("replays", (uuid_sort_key(Replay.id),), {"created_at": ()}, "-created_at")
"""The sort orders of replays."""

RUNNING_LIMIT: Final = 5
"""The most concurrent replays of an endpoint."""


async def create_replay(
    session: WriteSession, principal: Principal, endpoint: Endpoint, body: ReplayCreate, now: datetime
) -> Replay:
    """Create a replay; the caller wakes the dispatcher after the commit.

    Args:
        session: The transaction.
        principal: The caller.
        endpoint: The endpoint, locked so that concurrent requests are counted one after the other.
        body: The deliveries to send again.
        now: The time, which is the default of `until`.

    Raises:
        InvalidError: `range_reversed`.
        ConflictError: `too_many_replays`.
    """
    until = body.until or now
    if body.since > now:
        raise InvalidError("`since` is in the future.", code="range_reversed")
    if body.since >= until:
        raise InvalidError("`since` has to be before `until`.", code="range_reversed")
    running = select(func.count()).where(Replay.endpoint_id == endpoint.id, Replay.state == "running")
    if (await session.scalar(running) or 0) >= RUNNING_LIMIT:
        raise ConflictError(
            f"{RUNNING_LIMIT} replays of this endpoint are running. Wait until one is done, or cancel one.",
            code="too_many_replays",
        )
    replay = Replay(
        id=new_id(),
        organisation_id=endpoint.organisation_id,
        endpoint_id=endpoint.id,
        since=body.since,
        until=until,
        states=list(dict.fromkeys(body.states)),
        types=body.types,
        state="running",
        replayed=0,
        after_id=first_id(body.since - CLOCK_SKEW),
        created_at=now,
        created_by=principal.key_id,
    )
    replay.total = await session.scalar(_count_matching(replay)) or 0
    if not replay.total:
        replay.state, replay.finished_at = "done", now
    session.add(replay)
    await session.flush()
    return replay


def _count_matching(replay: Replay) -> Select[int]:
    statement = (
        select(func.count())
        .select_from(Delivery)
        .where(
            Delivery.endpoint_id == replay.endpoint_id,
            Delivery.id > replay.after_id,
            Delivery.state.in_([build_state_literal(state) for state in replay.states]),
            Delivery.created_at >= replay.since,
            Delivery.created_at < replay.until,
        )
    )
    return statement if replay.types is None else statement.where(Delivery.type.in_(replay.types))


async def find_replay(
    session: AsyncSession, identifier: UUID, visible: TenantScope, *, lock: bool = False
) -> Replay:
    """Find a replay that the caller may see (NotFoundError).

    Args:
        session: For queries.
        identifier: The replay's id.
        visible: The caller's tenant scope.
        lock: Lock the row.
    """
    statement = select(Replay).where(Replay.id == identifier)
    statement = statement.where(*visible.within(Replay.organisation_id))
    found = await session.scalar(statement.with_for_update() if lock else statement)
    if found is None:
        raise NotFoundError("replay", identifier)
    return found


async def list_replays(session: AsyncSession, endpoint_id: UUID, page: PageRequest) -> Sequence[Replay]:
    """List an endpoint's replays; one more than the page has, if there are more."""
    statement = select(Replay).where(Replay.endpoint_id == endpoint_id)
    return (await session.scalars(REPLAYS.page(statement, page))).all()


async def read_replay_progress(
    session: AsyncSession, replays: Sequence[Replay]
) -> dict[UUID, ReplayProgress]:
    """Count the deliveries of each replay by state."""
    counted: dict[UUID, dict[str, int]] = {replay.id: {} for replay in replays}
    if counted:
        statement = (
            select(Delivery.replay_id, Delivery.state, func.count())
            .where(Delivery.replay_id.in_(counted))
            .group_by(Delivery.replay_id, Delivery.state)
        )
        for replay_id, state, count in await session.execute(statement):
            if replay_id is not None:
                counted[replay_id][state] = count
    return {replay_id: ReplayProgress(**counts) for replay_id, counts in counted.items()}


async def cancel_replay(session: WriteSession, identifier: UUID, visible: TenantScope, now: datetime) -> None:
    """Cancel a replay; the deliveries that are not due yet stay as they are. Idempotent.

    Args:
        session: The transaction.
        identifier: The replay's id.
        visible: The caller's tenant scope.
        now: The time of the cancellation.

    Raises:
        NotFoundError: The caller may see no such replay.
        ConflictError: `replay_finished`.
    """
    replay = await find_replay(session, identifier, visible, lock=True)
    if replay.state == "done":
        raise ConflictError(
            "The replay is done: all its deliveries are due or sent. It cannot be cancelled.",
            code="replay_finished",
        )
    if replay.state == "running":
        replay.state, replay.finished_at = "cancelled", now
    await session.flush()
