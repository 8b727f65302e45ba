from uuid import uuid4

import asyncpg
import msgspec
import pytest

from app.notifications.events.outbox import (
    CHANNEL,
    OutboxRecord,
    enqueue_events,
    enqueue_session_events,
    wake_dispatcher,
    wake_dispatcher_after,
    wake_streams,
)
from app.platform.db.database import Database
from tests.integration.notifications.helpers import add_organisation, event, until

# What people read is added on the way in; see test_event_details.
_ADDED = {"site_name", "box_name", "unit", "sentence", "sentence_fr"}


async def _stored(connection: asyncpg.Connection) -> list[OutboxRecord]:
    rows = await connection.fetch(
        "SELECT id, organisation_id, site_id, type, payload::text, created_at FROM outbox ORDER BY position"
    )
    records = [OutboxRecord(*row)._replace(payload=msgspec.json.decode(row["payload"])) for row in rows]
    assert all(record.payload.keys() >= _ADDED for record in records)
    return [
        record._replace(payload={key: record.payload[key] for key in record.payload.keys() - _ADDED})
        for record in records
    ]


def _as_json(records: list[OutboxRecord]) -> list[OutboxRecord]:
    return [record._replace(payload=msgspec.to_builtins(record.payload)) for record in records]


async def test_both_doors_keep_content_and_order(database: Database, connection: asyncpg.Connection) -> None:
    organisation = await add_organisation(connection)
    raw = [event(organisation, site_id=uuid4() if n % 2 else None) for n in range(50)]
    mapped = [event(organisation, type_="alert.resolved") for _ in range(50)]
    async with connection.transaction():
        await enqueue_events(connection, raw)
    async with database.write() as session:
        await enqueue_session_events(session, mapped)
    assert await _stored(connection) == _as_json(raw + mapped)


async def test_nothing_is_left_of_a_transaction_that_failed(
    database: Database, connection: asyncpg.Connection
) -> None:
    organisation = await add_organisation(connection)

    async def raw() -> None:
        async with connection.transaction():
            await enqueue_events(connection, [event(organisation)])
            raise ZeroDivisionError

    async def mapped() -> None:
        async with database.write() as session:
            await enqueue_session_events(session, [event(organisation)])
            raise ZeroDivisionError

    for failing in (raw, mapped):
        with pytest.raises(ZeroDivisionError):
            await failing()
    await enqueue_events(connection, [])
    assert await _stored(connection) == []


async def test_a_connection_with_a_json_codec_of_its_own_is_fine(connection: asyncpg.Connection) -> None:
    organisation = await add_organisation(connection)
    await connection.set_type_codec(
        "jsonb", encoder=msgspec.json.encode, decoder=msgspec.json.decode, schema="pg_catalog"
    )
    record = event(organisation)
    await enqueue_events(connection, [record])
    assert await _stored(connection) == _as_json([record])


async def test_waking_is_heard_and_refused_inside_a_transaction(
    database: Database, connection: asyncpg.Connection
) -> None:
    heard: list[object] = []
    await connection.add_listener(CHANNEL, lambda *_: heard.append(1))
    other = await database.connect()
    try:
        async with other.transaction():
            with pytest.raises(RuntimeError, match="after the commit"):
                await wake_dispatcher(other)
            with pytest.raises(RuntimeError, match="after the commit"):
                await wake_streams(other)
        await wake_dispatcher(other)
        await wake_dispatcher_after(database)
    finally:
        await other.close()

    async def both() -> bool:
        await connection.execute("SELECT 1")
        return len(heard) == 2

    await until(both)
