"""Processes that die or hang between the broker and the table: ingest, the broker, PostgreSQL."""

import asyncio
import time
from contextlib import suppress
from pathlib import Path

import asyncpg
import pytest

from app.standalone.private_mosquitto import PrivateMosquitto
from app.standalone.private_postgres import PrivatePostgres
from tests.faults.fleet import FaultFleet, StoringBox, write_through
from tests.faults.harness import FaultReport, FaultSize
from tests.scenarios.processes import RoleProcess, role, until

pytestmark = pytest.mark.fault

# Small batches: the faults fall between many commits and acknowledgements.
SMALL = {"VIGIE_INGEST__BATCH_MESSAGES": "50", "VIGIE_INGEST__RECEIVE_MAXIMUM": "200"}


async def test_01_ingest_killed(
    fleet: FaultFleet, size: FaultSize, report: FaultReport, tmp_path: Path
) -> None:
    ingest = RoleProcess("ingest", tmp_path / "ingest.log")
    await ingest.start(**SMALL)
    try:
        await fleet.consuming()
        async with fleet.load():
            for _ in range(size.of(1, 20)):
                await fleet.more(await fleet.rows() + 100)
                await ingest.kill()
                await ingest.start(**SMALL)
            fleet.healed()
        report.add("01 ingest killed under load", await fleet.outcome(ordered=True))
    finally:
        assert await ingest.terminate() == 0


async def test_02_ingest_hangs(
    fleet: FaultFleet, size: FaultSize, report: FaultReport, tmp_path: Path
) -> None:
    async with role("ingest", tmp_path, **SMALL) as ingest:
        await fleet.consuming()
        async with fleet.load():
            await fleet.more(100)
            ingest.suspend()
            before = await fleet.rows()
            await asyncio.sleep(size.of(0.5, 60))
            # What the server had been given may still have been committed; nothing more was.
            assert await fleet.rows() <= before + 200
            ingest.resume()
            fleet.healed()
        report.add("02 ingest hangs (SIGSTOP)", await fleet.outcome(ordered=True))


async def test_03_broker_killed(
    fleet: FaultFleet, mosquitto: PrivateMosquitto, size: FaultSize, report: FaultReport, tmp_path: Path
) -> None:
    """The broker loses what it had acknowledged, and what it had queued: the boxes have it still."""
    for box in fleet.boxes:
        (await fleet.client.patch(f"/v1/boxes/{box}", json={"ack": True})).raise_for_status()
    keeping = StoringBox(fleet)
    async with role("ingest", tmp_path, **SMALL):
        await fleet.consuming()
        living = asyncio.create_task(keeping.live())
        try:
            for _ in range(size.of(1, 8)):
                for _ in range(size.of(15, 40)):
                    keeping.record(fleet.next_seq)
                    fleet.next_seq += 1
                    await asyncio.sleep(0.04)
                mosquitto.kill()
                await mosquitto.stop()
                keeping.record(fleet.next_seq)
                fleet.next_seq += 1
                await mosquitto.start()
            fleet.healed()

            async def all_named() -> bool:
                return not keeping.kept

            await until(all_named, patience_s=60)
        finally:
            living.cancel()
            await asyncio.gather(living, return_exceptions=True)
        report.add("03 broker killed, boxes with ack", await fleet.outcome())


async def test_04_broker_stopped(
    fleet: FaultFleet, mosquitto: PrivateMosquitto, size: FaultSize, report: FaultReport, tmp_path: Path
) -> None:
    async with role("ingest", tmp_path, **SMALL):
        await fleet.consuming()
        async with fleet.load():
            for _ in range(size.of(1, 5)):
                await fleet.more(await fleet.rows() + 100)
                await mosquitto.stop()
                await asyncio.sleep(size.of(0, 5))
                await mosquitto.start()
            fleet.healed()
        report.add("04 broker stopped (SIGTERM)", await fleet.outcome(ordered=True))


async def test_05_postgres_killed(
    fleet: FaultFleet, postgres: PrivatePostgres, size: FaultSize, report: FaultReport, tmp_path: Path
) -> None:
    await write_through(fleet.database_url)
    async with role("ingest", tmp_path, **SMALL):
        await fleet.consuming()
        async with fleet.load():
            for _ in range(size.of(1, 8)):
                await fleet.more(await fleet.rows() + 100)
                postgres.kill()
                await asyncio.sleep(size.of(0.2, 2))
                await postgres.stop()
                await postgres.start()
            fleet.healed()
        report.add("05 PostgreSQL killed", await fleet.outcome(ordered=True))
    assert await fleet.value("SELECT count(*) FROM quarantine WHERE box LIKE 'box-%'") == 0


async def test_06_backends_killed(
    fleet: FaultFleet, postgres: PrivatePostgres, size: FaultSize, report: FaultReport, tmp_path: Path
) -> None:
    async with role("ingest", tmp_path, **SMALL):
        await fleet.consuming()
        server = await asyncpg.connect(postgres.superuser_url)
        query = "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE application_name = $1"
        killed = 0
        async with fleet.load():
            async with asyncio.timeout(size.of(60, 120)):
                while killed < size.of(2, 60):
                    killed += await server.fetchval(query, "vigie-ingest")
                    await asyncio.sleep(0.1)
            fleet.healed()
        await server.close()
        report.add("06 backends killed", await fleet.outcome(ordered=True))


async def test_20_a_second_ingest_takes_over(
    fleet: FaultFleet, size: FaultSize, report: FaultReport, tmp_path: Path
) -> None:
    """One works and the other stands by; each in its turn is killed, and the other takes over."""
    working, other = (RoleProcess("ingest", tmp_path / f"{name}.log") for name in ("one", "two"))
    await working.start(**SMALL)
    try:
        await fleet.consuming()
        for _ in range(size.of(1, 6)):
            await other.start(**SMALL)

            async def stands_by() -> bool:
                return bool(await fleet.value("SELECT count(*) FROM heartbeats WHERE state = 'standby'"))

            await until(stands_by)
            async with fleet.load():
                await fleet.more(await fleet.rows() + 100)
                await working.kill()
                before, killed_at = await fleet.rows(), time.monotonic()
                await fleet.more(before + 200)
                fleet.healed_at = killed_at
            working, other = other, working
            await fleet.value("DELETE FROM heartbeats RETURNING 1")  # the dead one's word
        report.add("20 a second ingest takes over", await fleet.outcome(ordered=True))
    finally:
        for process in (working, other):
            with suppress(ProcessLookupError):
                await process.terminate()
