"""Timers wait for the partitions of all workers: a box's last messages may be in one that it has left."""

from datetime import UTC, datetime

from app.ingest.drain_watermark import DrainWatermark
from app.message_log.log_ownership import create_positions
from app.message_log.settings import MessageLogSettings
from app.platform.broker.edges import EdgeReport, report_edge
from app.platform.db.database import Database
from tests.scenarios.processes import until

DRAINED_AT = datetime(2026, 11, 30, tzinfo=UTC)


async def test_the_time_is_reached_once_the_partitions_of_other_workers_are_committed_too(
    database: Database,
) -> None:
    connection = await database.connect()
    await create_positions(connection, MessageLogSettings(engine="jetstream", partitions=3))
    await report_edge(
        connection, EdgeReport("a", "127.0.0.1", 1883, DRAINED_AT, True, DRAINED_AT, 0, 0, None)
    )
    watermark, looked = DrainWatermark(), 0.0

    async def advance(own: int) -> datetime | None:
        nonlocal looked
        looked += 1e9  # the log was asked after the reports were read
        return await watermark.advance(connection, (looked, {0: 5, 1: 7, 2: 0}), {0: own})

    async def commit_other(position: int) -> None:
        await connection.execute("UPDATE ingest_positions SET position = $1 WHERE partition = 1", position)

    await commit_other(6)
    for _ in range(3):
        assert await advance(5) is None
    await commit_other(7)
    assert await advance(4) is None, "its own partition has a record that waits"
    assert await until(lambda: advance(5)) == DRAINED_AT
    await connection.close()
