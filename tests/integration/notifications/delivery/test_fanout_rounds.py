"""Fan-outs as the dispatcher does them: beside another one, and for an organisation with many endpoints."""

import time
from typing import Any

import asyncpg
import pytest

from app.notifications.delivery import fanout
from app.platform.db.advisory_lock_keys import STREAM_POSITIONS
from app.platform.db.database import Database
from app.settings import VigieSettings
from tests.integration.notifications.helpers import (
    add_endpoint,
    add_organisation,
    alert_event,
    dispatching,
    emit,
    event,
    until,
    with_webhooks,
)
from tests.integration.notifications.receivers import receiving, status


async def test_who_has_to_wait_for_another_fan_out_looks_again_soon_and_not_all_the_time(
    database: Database,
    connection: asyncpg.Connection,
    settings: VigieSettings,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    tries: list[float] = []
    plain = fanout.fan_out_events

    async def counted(*args: Any, **options: Any) -> fanout.FanOutResult:  # noqa: ANN401 (passed on)
        tries.append(time.monotonic())
        return await plain(*args, **options)

    monkeypatch.setattr(fanout, "fan_out_events", counted)
    ours = await add_organisation(connection)
    other = await database.connect()
    async with receiving(status(204)) as receiver:
        await add_endpoint(connection, ours, receiver.url)
        async with dispatching(with_webhooks(settings, poll_s=60), database):
            async with other.transaction():
                await other.execute("SELECT pg_advisory_xact_lock($1)", STREAM_POSITIONS)
                await emit(connection, event(ours))
                began = time.monotonic()

                async def looked() -> bool:
                    return len([one for one in tries if one > began]) >= 10

                await until(looked)
                assert time.monotonic() - began > 0.3
                assert not receiver.got
            # It was woken once, and its poll is far away.
            await receiver.wait(1)
    await other.close()


async def test_an_organisation_with_many_endpoints_does_not_stop_the_others(
    database: Database, connection: asyncpg.Connection, settings: VigieSettings
) -> None:
    wide, other = await add_organisation(connection), await add_organisation(connection)
    await connection.execute(
        "INSERT INTO webhook_endpoints (id, organisation_id, url, events, secret, enabled, created_at, "
        "updated_at) SELECT gen_random_uuid(), $1, 'http://127.0.0.1:1/', '{*}', 'whsec_c2VjcmV0', true, "
        "now(), now() FROM generate_series(1, 1000)",
        wide,
    )
    # They asked to be left alone: it is about the fan-out.
    await connection.execute(
        "INSERT INTO endpoint_states (endpoint_id, open_until) SELECT id, now() + interval '1 hour' "
        "FROM webhook_endpoints"
    )
    waiting = "SELECT count(*) FROM outbox WHERE fanned_out_at IS NULL"
    async with receiving(status(204)) as receiver:
        await add_endpoint(connection, other, receiver.url)
        async with dispatching(with_webhooks(settings), database):
            await emit(connection, event(other))
            await receiver.wait(1)
            await emit(connection, event(other), *(alert_event(wide, padding="x" * 600) for _ in range(30)))
            # What was due before goes out between the batches.
            await receiver.wait(2)
            assert await connection.fetchval(waiting) > 0
            await emit(connection, event(other))
            await receiver.wait(3)
        assert await connection.fetchval(waiting) == 0
