"""What must survive between the broker and the table: the ledger of the senders is the oracle."""

import asyncio
import time
from contextlib import suppress
from pathlib import Path

import asyncpg
import pytest

from app.embedded.postgres import PrivatePostgres
from tests.faults.fleet import Fleet, body
from tests.scenarios.processes import RoleProcess, role

pytestmark = pytest.mark.fault

# Small batches: the faults fall between many commits and acknowledgements.
SMALL = {"VIGIE_INGEST__BATCH_MESSAGES": "50", "VIGIE_INGEST__RECEIVE_MAXIMUM": "200"}


async def test_postgres_killed_under_load_loses_nothing(
    fleet: Fleet, postgres: PrivatePostgres, tmp_path: Path
) -> None:
    owner = await asyncpg.connect(fleet.database_url)
    # The tests' server is a fast one: what it says is committed is not yet written.
    name = fleet.database_url.rpartition("/")[2]
    await owner.execute(f"ALTER DATABASE {name} SET synchronous_commit = on")
    await owner.close()
    async with role("ingest", tmp_path, **SMALL):
        await fleet.consuming()
        publishing = asyncio.create_task(fleet.publish(range(150), pause_s=0.01))
        await asyncio.sleep(1)
        postgres.kill()
        await asyncio.sleep(0.3)
        await postgres.stop()
        await postgres.start()
        await publishing
        await fleet.all_there()
    assert await fleet.value("SELECT count(*) FROM quarantine WHERE box LIKE 'box-%'") == 0


async def test_connections_killed_under_load_lose_nothing(
    fleet: Fleet, postgres: PrivatePostgres, tmp_path: Path
) -> None:
    async with role("ingest", tmp_path, **SMALL):
        await fleet.consuming()
        publishing = asyncio.create_task(fleet.publish(range(200), pause_s=0.01))
        server = await asyncpg.connect(postgres.superuser_url)
        query = "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE application_name = $1"
        killed = 0
        while not publishing.done():
            killed += await server.fetchval(query, "vigie-ingest")
            await asyncio.sleep(0.3)
        await server.close()
        await publishing
        await fleet.all_there()
    assert killed > 4


async def test_one_poison_sample_in_a_thousand_costs_itself_alone(fleet: Fleet, tmp_path: Path) -> None:
    owner = await asyncpg.connect(fleet.database_url)
    await owner.execute("ALTER TABLE samples ADD CONSTRAINT poison CHECK (pm2_5 <> 666)")
    await owner.close()
    async with role("ingest", tmp_path):
        await fleet.consuming()
        await fleet.publish(range(100), poison=frozenset({77}))
        await fleet.all_there(but=len(fleet.boxes))
    refused = "SELECT count(DISTINCT box) FROM quarantine WHERE code = 'storage_refused'"
    assert await fleet.value(refused) == len(fleet.boxes)
    assert await fleet.total("rejected") >= len(fleet.boxes)


async def test_everything_published_twice_is_stored_once_and_counted_exactly(
    fleet: Fleet, tmp_path: Path
) -> None:
    async with role("ingest", tmp_path, **SMALL):
        await fleet.consuming()
        await fleet.publish(range(100), times=2)
        await fleet.all_there()

        async with asyncio.timeout(10):
            while await fleet.total("duplicate") < len(fleet.sent):  # noqa: ASYNC110 (the server's word)
                await asyncio.sleep(0.05)
    assert await fleet.total("duplicate") == len(fleet.sent)


async def test_two_writers_of_the_same_boxes_at_both_doors_lose_nothing(fleet: Fleet, tmp_path: Path) -> None:
    """The consumer's batches hold the boxes in one order, calls by HTTP come in the reverse one."""

    async def post(seqs: range) -> None:
        for seq in seqs:
            for box in reversed(fleet.boxes):
                fleet.note(box, seq)
            calls = [
                fleet.client.post("/v1/telemetry", json={"box": box, "samples": [body(seq)]})
                for box in reversed(fleet.boxes)
            ]
            for answer in await asyncio.gather(*calls):
                assert answer.raise_for_status().json()["stored"] == 1

    async with role("ingest", tmp_path):
        await fleet.consuming()
        await asyncio.gather(fleet.publish(range(0, 400, 2)), post(range(1, 40, 2)))
        await fleet.all_there()
    assert await fleet.total("duplicate") == 0


async def test_a_second_consumer_takes_over_from_one_that_is_killed(fleet: Fleet, tmp_path: Path) -> None:
    first = RoleProcess("ingest", tmp_path / "first.log")
    await first.start(**SMALL)
    try:
        await fleet.consuming()
        async with role("ingest", tmp_path, **SMALL):
            async with asyncio.timeout(10):
                while not await fleet.value("SELECT count(*) FROM heartbeats WHERE state = 'standby'"):  # noqa: ASYNC110
                    await asyncio.sleep(0.05)
            publishing = asyncio.create_task(fleet.publish(range(150), pause_s=0.01))
            await asyncio.sleep(1)
            await first.kill()
            began = time.monotonic()
            before = await fleet.value("SELECT count(*) FROM samples")
            while await fleet.value("SELECT count(*) FROM samples") <= before:  # noqa: ASYNC110
                await asyncio.sleep(0.05)
            assert time.monotonic() - began < 10
            await publishing
            await fleet.all_there()
    except BaseException:
        with suppress(ProcessLookupError):
            await first.kill()
        raise
