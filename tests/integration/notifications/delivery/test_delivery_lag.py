from collections.abc import AsyncIterator
from datetime import datetime

import asyncpg
import pytest

from app.notifications.delivery.delivery_lag import measure_delivery_lag
from app.notifications.events.outbox import enqueue_events
from app.platform.db.database import Database
from tests.integration.notifications.helpers import add_endpoint, add_organisation, event
from tests.integration.notifications.log import add_delivery, ago


@pytest.fixture
async def connection(database: Database) -> AsyncIterator[asyncpg.Connection]:
    opened = await database.connect()
    yield opened
    await opened.close()


async def _wait_for(connection: asyncpg.Connection, since: datetime, *, enabled: bool = True) -> None:
    organisation = await add_organisation(connection)
    endpoint, _ = await add_endpoint(connection, organisation, "https://example.com/", enabled=enabled)
    await add_delivery(connection, organisation, endpoint, state="pending", created_at=since)


async def test_nothing_waits(connection: asyncpg.Connection) -> None:
    assert await measure_delivery_lag(connection) == (0, 0)


async def test_the_oldest_due_delivery_of_all_endpoints(connection: asyncpg.Connection) -> None:
    for minutes in (1, 5, -10):
        await _wait_for(connection, ago(minutes=minutes))
    lag = await measure_delivery_lag(connection)
    assert lag.due_s == pytest.approx(330, abs=30)
    assert lag.event_s == 0


async def test_what_waits_on_purpose_does_not_count(connection: asyncpg.Connection) -> None:
    await _wait_for(connection, ago(hours=1), enabled=False)
    await _wait_for(connection, ago(hours=2))
    await connection.execute(
        "INSERT INTO endpoint_states (endpoint_id, open_until) "
        "SELECT id, now() + interval '1 hour' FROM webhook_endpoints WHERE enabled"
    )
    assert (await measure_delivery_lag(connection)).due_s == 0


async def test_an_event_that_was_not_fanned_out(connection: asyncpg.Connection) -> None:
    organisation = await add_organisation(connection)
    await enqueue_events(connection, [event(organisation)._replace(created_at=ago(seconds=40))])
    assert (await measure_delivery_lag(connection)).event_s == pytest.approx(69, abs=30)
    await connection.execute("UPDATE outbox SET fanned_out_at = now()")
    assert (await measure_delivery_lag(connection)).event_s == 0
