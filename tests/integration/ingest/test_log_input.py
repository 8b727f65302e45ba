"""The partitions of one worker when the database refuses a statement, or the log is another one."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import asyncpg
import pytest
from structlog.testing import capture_logs

from app.ingest.prometheus_metrics import LOG_RECREATED
from app.message_log.log_ownership import create_positions
from app.message_log.log_records import LogRecord, encode_record
from app.platform.db.advisory_lock_keys import PARTITION_CLASS
from app.platform.db.database import Database
from app.platform.runtime.process_runner import ProcessContext
from app.processes.ingest import run_ingest
from tests.integration.edge.machines import PARTITIONS, LogCluster
from tests.integration.ingest.test_log_workers import positions, until_shared
from tests.scenarios.processes import until

_REFUSE = """
CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN RAISE EXCEPTION 'no space left on device' USING errcode = '53100'; END $$;
CREATE TRIGGER refuse BEFORE UPDATE ON ingest_positions FOR EACH ROW WHEN (%s) EXECUTE FUNCTION refuse()
"""
_ACCEPT = "DROP TRIGGER refuse ON ingest_positions; DROP FUNCTION refuse()"


@pytest.fixture
async def admin(database: Database) -> AsyncIterator[asyncpg.Connection]:
    connection = await database.connect()
    yield connection
    await connection.close()


@asynccontextmanager
async def worker(cluster: LogCluster, database: Database) -> AsyncIterator[ProcessContext]:
    """Run a worker in this process."""
    process = ProcessContext("ingest", database)
    working = asyncio.create_task(run_ingest(cluster.all_settings, process))
    yield process
    process.stop.set()
    await asyncio.wait_for(working, 60)


async def append_everywhere(cluster: LogCluster, name: str) -> dict[int, int]:
    """Append a message of an unknown box to each partition; gives the positions."""
    log = await cluster.open()
    record = encode_record(LogRecord("edge-a", 1.0, [f"vigie/v1/{name}/telemetry"], [b"{}"]))
    found = {number: await log.append(number, record, record_id=name) for number in range(PARTITIONS)}
    return {number: position for number, position in found.items() if position is not None}


async def until_committed(database: Database, expected: dict[int, int]) -> None:
    async def are_committed() -> bool:
        return {each.partition: each.position for each in await positions(database)} == expected

    await until(are_committed)


async def test_a_worker_reads_all_that_it_owns_after_a_partition_could_not_be_taken(
    cluster: LogCluster, database: Database, admin: asyncpg.Connection
) -> None:
    await create_positions(admin, cluster.settings)
    await admin.execute(_REFUSE % "NEW.partition = 1")
    newest = await append_everywhere(cluster, "box-a")
    async with worker(cluster, database) as process:

        async def is_refused() -> bool:
            return process.state == "waiting for the database: DiskFullError"

        await until(is_refused)
        await admin.execute(_ACCEPT)
        await until_shared(database, PARTITIONS)
        await until_committed(database, newest)


async def test_a_log_that_was_recreated_is_noted_where_records_had_been_read(
    cluster: LogCluster, database: Database, admin: asyncpg.Connection
) -> None:
    await create_positions(admin, cluster.settings)
    await admin.execute("UPDATE ingest_positions SET log_id = 'former', position = 500 * (partition % 2)")
    counted = LOG_RECREATED._value.get()
    async with worker(cluster, database):
        await until_shared(database, PARTITIONS)

        async def noted() -> bool:
            return [each.lost_at is not None for each in await positions(database)] == [False, True] * 2

        await until(noted)
        await until_committed(database, await append_everywhere(cluster, "box-a"))
    assert LOG_RECREATED._value.get() == counted + 2


async def test_removed_records_are_noted_once_the_database_accepts_it(
    cluster: LogCluster, database: Database, admin: asyncpg.Connection
) -> None:
    await create_positions(admin, cluster.settings)
    await admin.execute("UPDATE ingest_positions SET position = 1")
    for name in ("box-a", "box-b", "box-c"):
        newest = await append_everywhere(cluster, name)
    log = await cluster.open()
    await log.trim(2, newest[2])
    await admin.execute(_REFUSE % "NEW.lost_records > OLD.lost_records")
    with capture_logs() as logs:
        async with worker(cluster, database):

            async def is_refused() -> bool:
                return any(entry["event"] == "look_tried_again" for entry in logs)

            await until(is_refused)
            await admin.execute(_ACCEPT)

            async def is_noted() -> bool:
                return [each.lost_records for each in await positions(database)] == [0, 0, 1, 0]

            await until(is_noted)


@pytest.mark.parametrize(
    "owns", [pytest.param(True, id="with partitions"), pytest.param(False, id="without")]
)
async def test_a_worker_whose_positions_were_removed_joins_again(
    cluster: LogCluster, database: Database, admin: asyncpg.Connection, *, owns: bool
) -> None:
    if not owns:
        await admin.execute(
            "SELECT pg_advisory_lock($1, number) FROM generate_series(0, $2) AS number",
            PARTITION_CLASS,
            PARTITIONS - 1,
        )
    with capture_logs() as logs:
        async with worker(cluster, database) as process:

            async def has_begun() -> bool:
                shown = await positions(database)
                return process.state == "consuming" and bool(shown) and all(each.is_owned for each in shown)

            await until(has_begun)
            await admin.execute("DELETE FROM ingest_positions")
            await admin.execute("SELECT pg_advisory_unlock_all()")
            await until_shared(database, PARTITIONS)
            await until_committed(database, await append_everywhere(cluster, "box-a"))
    assert "log_changed" in {entry["event"] for entry in logs}
