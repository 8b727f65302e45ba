"""What the recorder does beside others who hold endpoints, and with records that come a second time."""

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from uuid import UUID

import asyncpg
import pytest
from aiohttp import web

from app.notifications.delivery.attempt_repository import AttemptRecord
from app.notifications.delivery.delivery_leases import lease_due_deliveries
from app.notifications.delivery.fanout import fan_out_events
from app.notifications.delivery.outcome_recorder import _LOCK_RETRY_S, OutcomeRecorder, RecordingResult
from app.notifications.delivery.transport_types import AttemptOutcome, LeasedDelivery
from app.notifications.events.outbox import enqueue_events
from app.notifications.settings import WebhookSettings
from app.platform.db.database import Database
from app.platform.kernel.ids import new_id
from app.settings import VigieSettings
from tests.integration.notifications.helpers import (
    add_endpoint,
    add_organisation,
    attempts,
    dispatching,
    emit,
    event,
    states,
    until,
    with_webhooks,
)
from tests.integration.notifications.receivers import receiving, status

FAILED = AttemptOutcome("http_error", 500, "no", 1.5)
OK = AttemptOutcome("delivered", 204, None, 1.5)


class Desk:
    """A recorder at work, and what it settled."""

    def __init__(self, connection: asyncpg.Connection, pool: asyncpg.Pool) -> None:
        self.connection = connection
        self.settings = WebhookSettings(jitter=0)
        self.settled: list[RecordingResult] = []
        self.recorder = OutcomeRecorder(self.settings, pool, self._settled)

    def _settled(self, settled: Sequence[RecordingResult]) -> None:
        self.settled += settled

    async def claim(self) -> LeasedDelivery:
        """A delivery of an endpoint of its own."""
        organisation = await add_organisation(self.connection)
        await add_endpoint(self.connection, organisation, "https://example.com/")
        await enqueue_events(self.connection, [event(organisation)])
        await fan_out_events(self.connection, self.settings)
        (lease,) = await lease_due_deliveries(self.connection, self.settings, limit=1, suspects=1)
        return lease.claimed

    def put(
        self, claimed: LeasedDelivery, outcome: AttemptOutcome, *, patience_s: float = 30.0
    ) -> AttemptRecord:
        record = AttemptRecord(new_id(), claimed, outcome, claimed.now, claimed.now, None)
        self.recorder.put(record, time.monotonic() + patience_s)
        return record

    async def settles(self, claimed: LeasedDelivery) -> int | None:
        async def ask() -> list[RecordingResult]:
            return [each for each in self.settled if each.ended.record.claimed.id == claimed.id]

        return (await until(ask))[0].number

    async def failures(self, endpoint: UUID) -> int | None:
        count: int | None = await self.connection.fetchval(
            "SELECT consecutive_failures FROM endpoint_states WHERE endpoint_id = $1", endpoint
        )
        return count


@pytest.fixture
async def desk(database: Database, connection: asyncpg.Connection) -> AsyncIterator[Desk]:
    pool = await database.pool(size=2)
    desk = Desk(connection, pool)
    writing = asyncio.create_task(desk.recorder.run())
    yield desk
    writing.cancel()
    await asyncio.wait({writing})
    await pool.close()


@pytest.mark.parametrize("outcome", [OK, FAILED])
@pytest.mark.parametrize("has_state", [True, False])
async def test_one_that_is_locked_is_written_later_and_the_others_at_once(
    desk: Desk, database: Database, outcome: AttemptOutcome, *, has_state: bool
) -> None:
    held, free = await desk.claim(), await desk.claim()
    if has_state:
        await desk.connection.execute(
            "INSERT INTO endpoint_states (endpoint_id) SELECT id FROM webhook_endpoints"
        )
    locker = await database.connect()
    async with locker.transaction():
        await locker.execute("SELECT FROM webhook_endpoints WHERE id = $1 FOR UPDATE", held.endpoint_id)
        desk.put(held, outcome)
        desk.put(free, outcome)
        assert await desk.settles(free) == 1
        another = await desk.claim()
        desk.put(another, outcome)
        assert await desk.settles(another) == 1
        assert len(desk.settled) == 2
        assert len(await attempts(desk.connection)) == 2
        assert await desk.failures(held.endpoint_id) == (0 if has_state else None)
    await locker.close()
    assert await desk.settles(held) == 1
    assert await desk.failures(held.endpoint_id) == (0 if outcome is OK else 1)
    async with asyncio.timeout(60):
        await desk.recorder.empty()


async def test_whose_state_is_locked_waits_too(desk: Desk, database: Database) -> None:
    held, free = await desk.claim(), await desk.claim()
    await desk.connection.execute(
        "INSERT INTO endpoint_states (endpoint_id) SELECT id FROM webhook_endpoints"
    )
    locker = await database.connect()
    async with locker.transaction():
        await locker.execute(
            "SELECT FROM endpoint_states WHERE endpoint_id = $1 FOR UPDATE", held.endpoint_id
        )
        desk.put(held, FAILED)
        desk.put(free, FAILED)
        assert await desk.settles(free) == 1
    await locker.close()
    assert await desk.settles(held) == 1


async def test_one_that_is_locked_for_long_is_given_up_and_asked_for_in_measure(
    desk: Desk, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    held, given_up = await desk.claim(), await desk.claim()
    tries = 0
    record = desk.recorder._record

    async def counted(records: Sequence[AttemptRecord]) -> object:
        nonlocal tries
        tries += 1
        return await record(records)

    monkeypatch.setattr(desk.recorder, "_record", counted)
    locker = await database.connect()
    async with locker.transaction():
        await locker.execute("SELECT FROM webhook_endpoints FOR UPDATE")
        began = time.monotonic()
        desk.put(held, OK, patience_s=3600)

        async def tried() -> bool:
            return tries >= 10

        await until(tried)
        assert tries <= 1 + (time.monotonic() - began) / _LOCK_RETRY_S
        desk.put(given_up, OK, patience_s=0.2)
        assert await desk.settles(given_up) is None
    await locker.close()
    assert await desk.settles(held) == 1
    async with asyncio.timeout(60):
        await desk.recorder.empty()
    assert await states(desk.connection) == {"pending": 1, "delivered": 1}


async def test_what_is_recorded_again_is_not_judged_again(desk: Desk) -> None:
    claimed, other = await desk.claim(), await desk.claim()
    record = desk.put(claimed, FAILED)
    assert await desk.settles(claimed) == 1
    # Nobody knew whether that was committed.
    desk.recorder.put(record, time.monotonic() + 30)
    desk.put(other, FAILED)
    assert await desk.settles(other) == 1
    async with asyncio.timeout(60):
        await desk.recorder.empty()
    assert await desk.failures(claimed.endpoint_id) == 1
    assert await desk.failures(other.endpoint_id) == 1
    assert len(await attempts(desk.connection)) == 2


async def test_an_attempt_counts_also_where_its_delivery_is_gone(desk: Desk) -> None:
    claimed = await desk.claim()
    await desk.connection.execute("DELETE FROM deliveries")
    desk.put(claimed, FAILED)
    assert await desk.settles(claimed) is None
    assert await desk.failures(claimed.endpoint_id) == 1


async def test_a_lock_on_one_holds_up_neither_messages_nor_records_of_others(
    database: Database, connection: asyncpg.Connection, settings: VigieSettings
) -> None:
    one, other = await add_organisation(connection), await add_organisation(connection)
    answers = asyncio.Event()

    async def slow(_: object) -> web.Response:
        await answers.wait()
        return web.Response(status=204)

    async with receiving(slow) as held, receiving(status(204)) as free:
        endpoint, _ = await add_endpoint(connection, one, held.url)
        await add_endpoint(connection, other, free.url)
        async with dispatching(with_webhooks(settings, poll_s=0.5), database):
            await emit(connection, event(one))
            await held.wait(1)
            locker = await database.connect()
            async with locker.transaction():
                await locker.execute("SELECT FROM webhook_endpoints WHERE id = $1 FOR UPDATE", endpoint)
                answers.set()
                await emit(connection, event(one), event(other))
                await free.wait(1, 15)
                await emit(connection, *(event(other) for _ in range(5)))
                await free.wait(6, 15)

                async def recorded() -> bool:
                    return (await states(connection)).get("delivered") == 6

                await until(recorded, 15)
            await locker.close()
            await held.wait(2)

            async def done() -> bool:
                return await states(connection) == {"delivered": 8}

            await until(done)
    assert set(Counter(got.headers["webhook-id"] for got in free.got).values()) == {1}
