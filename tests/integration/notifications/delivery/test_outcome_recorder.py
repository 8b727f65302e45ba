"""What outcomes make of deliveries, endpoints and their owners' notices, in one transaction."""

import asyncio
import json
import time
from collections.abc import AsyncIterator, Sequence
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import asyncpg
import pytest
from sqlalchemy import text

from app.notifications.api.health_queries import read_endpoint_health
from app.notifications.delivery import endpoint_state_repository
from app.notifications.delivery.attempt_repository import AttemptRecord
from app.notifications.delivery.delivery_leases import lease_due_deliveries
from app.notifications.delivery.fanout import fan_out_events
from app.notifications.delivery.models import Endpoint
from app.notifications.delivery.outcome_recorder import OutcomeRecorder, RecordingResult
from app.notifications.delivery.transport_types import AttemptOutcome, LeasedDelivery
from app.notifications.events.event_types import NOTICES
from app.notifications.events.outbox import CHANNEL, enqueue_events
from app.notifications.prometheus_metrics import ENDPOINT_NOTICES
from app.notifications.settings import WebhookSettings
from app.platform.db.database import Database
from app.platform.kernel.ids import new_id
from tests.integration.notifications.helpers import (
    add_endpoint,
    add_organisation,
    attempts,
    event,
    states,
    until,
)

OK = AttemptOutcome("delivered", 204, None, 1.5)
FAILED = AttemptOutcome("http_error", 500, "no", 1.5)
GONE = AttemptOutcome("gone", 410, None, 1.5)
DAY = timedelta(days=1)


class Desk:
    """A recorder, and what it settled."""

    def __init__(self, connection: asyncpg.Connection, pool: asyncpg.Pool, settings: WebhookSettings) -> None:
        self.connection = connection
        self.pool = pool
        self.settings = settings
        self.settled: list[RecordingResult] = []
        self.batches: list[int] = []
        self.recorder = OutcomeRecorder(settings, pool, self._settled)

    def _settled(self, settled: Sequence[RecordingResult]) -> None:
        self.settled += settled
        self.batches.append(len(settled))

    async def claims(self, count: int, **endpoint: Any) -> list[LeasedDelivery]:  # noqa: ANN401 (of `add_endpoint`)
        organisation = await add_organisation(self.connection)
        await add_endpoint(self.connection, organisation, "https://example.com/hook", **endpoint)
        await enqueue_events(self.connection, [event(organisation) for _ in range(count)])
        await fan_out_events(self.connection, self.settings)
        leases = await lease_due_deliveries(self.connection, self.settings, limit=count, suspects=count)
        return [lease.claimed for lease in leases]

    def put(
        self,
        claimed: LeasedDelivery,
        outcome: AttemptOutcome,
        at: datetime | None = None,
        *,
        patience_s: float = 30.0,
    ) -> None:
        now = at or claimed.now
        self.recorder.put(
            AttemptRecord(new_id(), claimed, outcome, now, now, None), time.monotonic() + patience_s
        )

    async def write(self) -> None:
        writing = asyncio.create_task(self.recorder.run())
        try:
            async with asyncio.timeout(60):
                await self.recorder.empty()
        finally:
            writing.cancel()
            await asyncio.wait({writing})

    async def record(
        self, claimed: LeasedDelivery, outcome: AttemptOutcome, at: datetime | None = None
    ) -> None:
        self.put(claimed, outcome, at)
        await self.write()

    async def state(self, endpoint: UUID) -> asyncpg.Record:
        row = await self.connection.fetchrow("SELECT * FROM endpoint_states WHERE endpoint_id = $1", endpoint)
        assert row is not None
        return row

    async def notices(self) -> list[tuple[str, dict[str, Any]]]:
        rows = await self.connection.fetch(
            "SELECT type, payload::text AS payload FROM outbox WHERE type LIKE 'endpoint.%' ORDER BY position"
        )
        return [(row["type"], json.loads(row["payload"])) for row in rows]


@pytest.fixture
async def desk(database: Database, connection: asyncpg.Connection) -> AsyncIterator[Desk]:
    pool = await database.pool(size=2)
    yield Desk(connection, pool, WebhookSettings(jitter=0, endpoint_concurrency=50))
    await pool.close()


async def test_notices_are_counted_from_nought(database: Database) -> None:
    # Prometheus sees no increase of a series that is born at 1.
    ENDPOINT_NOTICES.clear()
    pool = await database.pool(size=1, eager=False)
    OutcomeRecorder(WebhookSettings(), pool, lambda _settled: None)
    await pool.close()
    (metric,) = ENDPOINT_NOTICES.collect()
    counted = {one.labels["type"]: one.value for one in metric.samples if one.name.endswith("_total")}
    assert counted == dict.fromkeys(NOTICES, 0.0)


async def test_what_has_queued_up_is_written_together(desk: Desk) -> None:
    one, other = await desk.claims(20), await desk.claims(20)
    for number, claimed in enumerate(one + other):
        desk.put(claimed, FAILED if number % 4 == 0 else OK)
    await desk.write()
    assert desk.batches == [40]
    assert await states(desk.connection) == {"pending": 10, "delivered": 30}
    assert sorted(await attempts(desk.connection)) == sorted(
        [(1, "http_error", 500)] * 10 + [(1, "delivered", 204)] * 30
    )
    assert {settled.number for settled in desk.settled} == {1}


async def test_of_a_delivery_there_is_one_record_in_a_batch(desk: Desk) -> None:
    (claimed,) = await desk.claims(1)
    for outcome in (FAILED, FAILED, OK):
        desk.put(claimed, outcome)
    await desk.write()
    assert desk.batches == [1, 1, 1]
    assert [settled.number for settled in desk.settled] == [1, 2, 3]
    assert await states(desk.connection) == {"delivered": 1}


async def test_an_endpoint_fares_as_its_attempts_do_in_their_order(desk: Desk) -> None:
    claims = await desk.claims(7)
    start = claims[0].now
    for number, claimed in reversed(list(enumerate(claims[:6]))):
        desk.put(claimed, FAILED, start + timedelta(seconds=number))
    await desk.write()
    state = await desk.state(claims[0].endpoint_id)
    assert (state["consecutive_failures"], state["failing_since"]) == (6, start)
    assert (state["last_failure_at"], state["last_status"]) == (start + timedelta(seconds=5), 500)
    # The sixth in a row, one more than `breaker_failures`.
    assert state["open_until"] == start + timedelta(seconds=5 + 2)
    await desk.record(claims[6], OK, start + timedelta(seconds=8))
    state = await desk.state(claims[0].endpoint_id)
    assert (state["consecutive_failures"], state["failing_since"], state["open_until"]) == (0, None, None)
    assert state["last_success_at"] == start + timedelta(seconds=8)


async def test_after_a_success_health_still_names_the_failure_before_it(
    desk: Desk, database: Database
) -> None:
    first, second = await desk.claims(2)
    await desk.record(first, FAILED)
    await desk.record(second, OK, second.now + timedelta(seconds=1))
    async with database.read() as session:
        endpoint = await session.get(Endpoint, first.endpoint_id)
        assert endpoint is not None
        health = await read_endpoint_health(session, endpoint, "PT1H")
    assert (health.state, health.successes, health.consecutive_failures) == ("healthy", 1, 0)
    assert health.last_failure is not None
    assert (health.last_failure.reason, health.last_failure.status) == ("http_error", 500)
    assert health.last_failure.time == first.now


@pytest.mark.parametrize(
    ("asked", "due", "opens"), [(1.0, 5.0, 1.0), (100.0, 100.0, 100.0), (10.0**7, 86_400.0, 86_400.0)]
)
async def test_a_receiver_that_asks_to_be_left_alone_is(
    desk: Desk, asked: float, due: float, opens: float
) -> None:
    (claimed,) = await desk.claims(1)
    await desk.record(claimed, AttemptOutcome("http_error", 503, None, 1.0, asked))
    row = await desk.connection.fetchrow("SELECT due_at, state FROM deliveries")
    assert row is not None
    assert (row["due_at"] - claimed.now, row["state"]) == (timedelta(seconds=due), "pending")
    state = await desk.state(claimed.endpoint_id)
    assert state["open_until"] - claimed.now == timedelta(seconds=opens)


async def test_gone_disables_at_once_and_the_rest_waits(desk: Desk, database: Database) -> None:
    claims = await desk.claims(4)
    listener, heard = await database.connect(), asyncio.Event()
    await listener.add_listener(CHANNEL, lambda *_: heard.set())
    desk.put(claims[0], GONE)
    desk.put(claims[1], GONE)
    await desk.write()
    async with asyncio.timeout(60):
        await heard.wait()
    await listener.close()
    assert await states(desk.connection) == {"failed": 2, "pending": 2}
    row = await desk.connection.fetchrow("SELECT * FROM webhook_endpoints")
    assert row is not None
    assert (row["enabled"], row["disabled_reason"]) == (False, "gone")
    assert row["disabled_at"] is not None
    ((type_, data),) = await desk.notices()
    assert type_ == "endpoint.disabled"
    assert data == {
        "endpoint_id": str(claims[0].endpoint_id),
        "organisation_id": str(claims[0].organisation_id),
        "kind": "webhook",
        "target": "https://example.com",
        "description": None,
        "reason": "gone",
        "failing_since": data["failing_since"],
        "last_reason": "gone",
        "last_status": 410,
        "pending": 2,
    }


@pytest.mark.parametrize(
    ("kind", "url", "target", "told"),
    [
        (
            "webhook",
            "https://hooks.example.com:8443/services/T0/B0/key?k=1",
            None,
            "https://hooks.example.com:8443",
        ),
        ("email", None, {"to": ["a@example.com"]}, "1 recipient at example.com"),
        (
            "email",
            None,
            {"to": ["a@example.com", "b@ville.example", "c@example.com"]},
            "3 recipients at example.com, ville.example",
        ),
        ("mqtt", None, {}, "mqtt"),
    ],
)
async def test_a_notice_names_no_more_of_an_endpoint_than_where_it_is(
    desk: Desk, kind: str, url: str | None, target: dict[str, Any] | None, told: str
) -> None:
    (claimed,) = await desk.claims(1)
    await desk.connection.execute(
        "UPDATE webhook_endpoints SET kind = $1, url = $2, target = $3::text::jsonb",
        *(kind, url, None if target is None else json.dumps(target)),
    )
    await desk.record(claimed, GONE)
    ((_, data),) = await desk.notices()
    assert data["target"] == told


async def test_an_owner_hears_once_of_failing_and_once_of_the_end(desk: Desk, database: Database) -> None:
    claims = await desk.claims(12)
    start = claims[0].now
    for day, claimed in enumerate(claims[:6]):
        await desk.record(claimed, FAILED, start + day * DAY)
    notices = await desk.notices()
    assert [(type_, data["reason"]) for type_, data in notices] == [
        ("endpoint.failing", "failing"),
        ("endpoint.disabled", "failing"),
    ]
    assert {datetime.fromisoformat(data["failing_since"]) for _, data in notices} == {start}
    row = await desk.connection.fetchrow("SELECT enabled, disabled_reason FROM webhook_endpoints")
    assert tuple(row or ()) == (False, "failing")
    # An attempt that was under way meanwhile has nothing to tell any more.
    await desk.record(claims[6], FAILED, start + 7 * DAY)
    assert len(await desk.notices()) == 2
    # Enabled again, as REST does it, it begins anew.
    async with database.write() as session:
        await session.execute(text("UPDATE webhook_endpoints SET enabled = true"))
        await endpoint_state_repository.reset_failures(session, claims[0].endpoint_id)
    await desk.record(claims[7], FAILED, start + 8 * DAY)
    state = await desk.state(claims[0].endpoint_id)
    assert (state["consecutive_failures"], state["noticed_at"]) == (1, None)
    assert len(await desk.notices()) == 2


async def test_an_endpoint_that_is_deleted_meanwhile_harms_nobody(desk: Desk) -> None:
    (gone,), (kept,) = await desk.claims(1), await desk.claims(1)
    await desk.connection.execute("DELETE FROM webhook_endpoints WHERE id = $1", gone.endpoint_id)
    desk.put(gone, FAILED)
    desk.put(kept, OK)
    await desk.write()
    assert [settled.number for settled in desk.settled] == [None, 1]
    assert await attempts(desk.connection) == [(1, "delivered", 204)]


async def test_one_record_that_cannot_be_written_does_not_take_others_with_it(desk: Desk) -> None:
    claims = await desk.claims(3)
    desk.put(claims[0], OK)
    # No text of PostgreSQL's holds a NUL.
    desk.put(claims[1], FAILED._replace(body="no\0text"))
    desk.put(claims[2], OK)
    await desk.write()
    assert await states(desk.connection) == {"delivered": 2, "pending": 1}
    assert sorted(await attempts(desk.connection)) == [
        (1, "delivered", 204),
        (1, "delivered", 204),
        (1, "internal_error", None),
    ]


async def test_a_record_is_tried_while_its_lease_lasts(
    desk: Desk, database: Database, connection: asyncpg.Connection
) -> None:
    claims = await desk.claims(2)
    locker = await database.connect()
    async with locker.transaction():
        await locker.execute("SELECT FROM deliveries FOR UPDATE")
        desk.put(claims[0], OK, patience_s=0.0)
        desk.put(claims[1], OK)
        writing = asyncio.create_task(desk.write())
        waiting = (
            "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() "
            "AND wait_event_type = 'Lock' AND query LIKE '%delivery_attempts%'"
        )
        await until(lambda: connection.fetchval(waiting))
        await connection.execute(
            "SELECT pg_terminate_backend(pid, 60000) FROM pg_stat_activity "
            "WHERE datname = current_database() AND wait_event_type = 'Lock'"
        )
        # The one is given up; the other is tried again, and waits for the lock as before.
        await until(lambda: connection.fetchval(waiting))
    await writing
    await locker.close()
    assert {settled.ended.record.claimed.id: settled.number for settled in desk.settled} == {
        claims[0].id: None,
        claims[1].id: 1,
    }


async def test_endpoints_in_trouble_are_counted(desk: Desk) -> None:
    endpoints = [(await desk.claims(1))[0].endpoint_id for _ in range(5)]
    for endpoint, columns in zip(
        endpoints,
        (
            *("0, now() + interval '1 hour', 503", "0, now(), 503", "2, now() + interval '1 hour', 429"),
            *("1, NULL, 502", "0, NULL, NULL"),
        ),
        strict=True,
    ):
        await desk.connection.execute(
            "INSERT INTO endpoint_states (endpoint_id, slow_step, open_until, last_status) "  # noqa: S608
            f"VALUES ($1, {columns})",
            endpoint,
        )
    await desk.connection.execute(
        "UPDATE webhook_endpoints SET enabled = false, disabled_reason = 'gone' WHERE id = $1", endpoints[4]
    )
    assert await endpoint_state_repository.count_endpoint_states(desk.connection) == (1, 2, 1)


async def test_a_delivery_that_waits_for_a_quota_keeps_its_attempts(desk: Desk) -> None:
    settings = WebhookSettings(jitter=0, schedule_s=[0, 5])
    desk = Desk(desk.connection, desk.pool, settings)
    (claimed,) = await desk.claims(1)
    full = AttemptOutcome("quota_exceeded", None, None, 0.0, 1800.0)
    for _ in range(4):
        await desk.record(claimed, full)
        row = await desk.connection.fetchrow("SELECT state, attempt_count, due_at FROM deliveries")
        assert row is not None
        assert (row["state"], row["attempt_count"]) == ("pending", 0)
        assert row["due_at"] == claimed.now + timedelta(seconds=1800)
        lease = "UPDATE deliveries SET leased_until = $1"
        await desk.connection.execute(lease, claimed.leased_until)
    state = await desk.state(claimed.endpoint_id)
    assert (state["consecutive_failures"], state["last_reason"]) == (0, "quota_exceeded")
    assert state["open_until"] == claimed.now + timedelta(seconds=1800)
