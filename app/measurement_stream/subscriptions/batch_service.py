"""Makes batches due on request, in the caller's transaction: tests without items, and replays."""

import math
from datetime import datetime, timedelta
from typing import Final

from app.measurement_stream.subscriptions import subscription_queries
from app.measurement_stream.subscriptions.batch_repository import REPLAY_ATTEMPTS
from app.measurement_stream.subscriptions.models import MeasurementSubscription, StoredBatch
from app.platform.db.database import WriteSession, get_driver_connection
from app.platform.kernel.errors import ConflictError, TooManyRequestsError
from app.platform.kernel.ids import new_id
from app.timeseries.commit_log.position_search import is_position_stored

MAX_TESTS: Final = 10
"""The most tests of a subscription within `TESTS_WITHIN`."""

TESTS_WITHIN: Final = timedelta(minutes=1)


async def add_test_batch(session: WriteSession, row: MeasurementSubscription, now: datetime) -> StoredBatch:
    """Make a batch without items due now.

    Raises:
        ConflictError: `subscription_not_active`.
        TooManyRequestsError: `too_many_tests`.
    """
    _require_active(row)
    recent, first = await subscription_queries.find_tests_since(session, row.id, now - TESTS_WITHIN)
    if recent >= MAX_TESTS and first is not None:
        wait_s = max(1, math.ceil((first + TESTS_WITHIN - now).total_seconds()))
        raise TooManyRequestsError(
            f"The subscription had {MAX_TESTS} tests within a minute. Wait {wait_s} s.",
            retry_after_s=wait_s,
            code="too_many_tests",
        )
    batch = StoredBatch(
        id=new_id(),
        subscription_id=row.id,
        organisation_id=row.organisation_id,
        first_position=row.cursor_position,
        first_index=row.cursor_index,
        last_position=row.cursor_position,
        last_index=row.cursor_index,
        item_count=0,
        state="pending",
        is_replay=True,
        is_test=True,
        attempt_count=0,
        attempts=[],
        attempts_left=REPLAY_ATTEMPTS,
        created_at=now,
    )
    session.add(batch)
    row.due_at = now
    await session.flush()
    return batch


def _require_active(row: MeasurementSubscription) -> None:
    """Refuse a request that needs an active subscription (ConflictError)."""
    if row.state != "active":
        raise ConflictError(
            f"The subscription is {row.state}. Resume it first, with `POST …/resume`.",
            code="subscription_not_active",
        )


async def replay_batch(
    session: WriteSession, row: MeasurementSubscription, batch: StoredBatch, now: datetime
) -> None:
    """Send a batch again under its id; the cursor stays.

    Args:
        session: The transaction.
        row: The subscription, locked.
        batch: The batch, locked.
        now: The time of the request.

    Raises:
        ConflictError: `subscription_not_active`, `batch_expired`.
    """
    _require_active(row)
    if batch.state != "pending":
        if not batch.is_test:
            await _check_items_stored(session, batch)
        batch.state, batch.is_replay = "pending", True
        batch.attempts_left, batch.due_at = REPLAY_ATTEMPTS, None
    row.due_at = now
    await session.flush()


async def _check_items_stored(session: WriteSession, batch: StoredBatch) -> None:
    """Refuse a replay of a batch whose first items have left the stream: it would be sent in part or not."""
    connection = await get_driver_connection(session)
    if not await is_position_stored(connection, batch.organisation_id, batch.first_position):
        raise ConflictError(
            "The stream no longer has all items of the batch. Read their range with "
            "`GET /v1/readings/export`.",
            code="batch_expired",
        )
