"""The pipeline when something is in the way: what the database refuses, and what others change meanwhile."""

import asyncio
import json
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import asyncpg
import pytest

from app.ingest.codec.batch_decoder import decode_batch
from app.ingest.pipeline.batch_pipeline import IngestPipeline
from app.ingest.pipeline.batch_receipt import BatchReceipt
from app.ingest.pipeline.registry_snapshot import RegistryCache
from app.ingest.pipeline.transaction_sizing import CommitProgress
from app.platform.db.advisory_lock_keys import INGEST_BARRIER
from app.platform.db.database import Database, RawConnection
from app.processes.maintain import _purge_boxes
from tests.conftest import Tenant

START = datetime.now(UTC).replace(microsecond=0) - timedelta(days=1)
POISON = "ALTER TABLE samples ADD CONSTRAINT poison CHECK (pm2_5 <> 666)"


class Door:
    """Puts messages through a pipeline, as the MQTT door would."""

    def __init__(self, connection: asyncpg.Connection) -> None:
        self.connection = connection
        self.use(RegistryCache())

    def use(self, registry: RegistryCache) -> None:
        self.pipeline = IngestPipeline(registry)

    async def take(self, *messages: tuple[str, Any]) -> BatchReceipt:
        now = datetime.now(UTC)
        intake = decode_batch(
            [topic for topic, _ in messages],
            [json.dumps(body).encode() for _, body in messages],
            now_us=round(now.timestamp() * 1_000_000),
            max_future_us=600_000_000,
        )
        return await self.pipeline.commit(self.connection, intake, now=now)

    async def count(self, table: str) -> int:
        count: int = await self.connection.fetchval(f"SELECT count(*) FROM {table}")  # noqa: S608 (ours)
        return count


@pytest.fixture
async def door(database: Database) -> AsyncIterator[Door]:
    connection = await database.connect()
    yield Door(connection)
    connection.terminate()


@pytest.fixture
async def other(database: Database) -> AsyncIterator[asyncpg.Connection]:
    """Somebody else's connection."""
    connection = await database.connect()
    yield connection
    connection.terminate()


@pytest.fixture
async def box(tenant: Tenant, site_id: str) -> str:
    body = {"id": "box-0001", "site_id": site_id, "ack": True}
    (await tenant.client.post("/v1/boxes", json=body)).raise_for_status()
    return "box-0001"


def sample(minute: float, *, seq: int | None = None, **values: float) -> dict[str, Any]:
    time = (START + timedelta(minutes=minute)).isoformat()
    return {"time": time, "values": values} | ({} if seq is None else {"seq": seq})


def telemetry(box: str, *samples: dict[str, Any]) -> tuple[str, Any]:
    return f"vigie/v1/{box}/telemetry", {"samples": samples}


async def add_rule(tenant: Tenant, site_id: str, threshold: float = 25) -> str:
    condition = {"metric": "pm2_5", "operator": ">", "threshold": threshold}
    body = {"site_id": site_id, "name": "r", "severity": "warning", "condition": condition}
    identifier: str = (await tenant.client.post("/v1/rules", json=body)).raise_for_status().json()["id"]
    return identifier


async def blocked(door: Door, other: asyncpg.Connection) -> None:
    """Wait until the door's connection waits for a lock."""
    query = "SELECT wait_event_type = 'Lock' FROM pg_stat_activity WHERE pid = $1"
    async with asyncio.timeout(60):
        while not await other.fetchval(query, door.connection.get_server_pid()):  # noqa: ASYNC110 (the server's)
            await asyncio.sleep(0.01)


async def test_a_poison_sample_does_not_take_its_message_with_it(door: Door, box: str) -> None:
    await door.connection.execute(POISON)
    samples = [sample(index, seq=index, pm2_5=666 if index == 700 else 1) for index in range(1000)]
    receipt = await door.take(telemetry(box, *samples))
    assert receipt.stored == 999
    assert [refusal.rejection.code for refusal in receipt.rejections] == ["storage_refused"]
    assert await door.count("samples") == 999
    assert await door.count("quarantine") == 1
    totals = await door.connection.fetchrow("SELECT sum(stored), sum(rejected) FROM ingest_totals")
    assert tuple(totals or ()) == (999, 1)


FLAKY = """
CREATE TABLE flaky (value float8);
INSERT INTO flaky VALUES (777);
CREATE FUNCTION fail_sometimes() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
    IF EXISTS (SELECT FROM flaky WHERE value = NEW.pm2_5) THEN
        RAISE EXCEPTION 'not now' USING ERRCODE = 'deadlock_detected';
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER flaky BEFORE INSERT ON samples FOR EACH ROW EXECUTE FUNCTION fail_sometimes();
"""


async def test_a_half_that_is_stored_is_counted_if_the_other_one_is_tried_again(door: Door, box: str) -> None:
    await door.connection.execute(POISON)
    await door.connection.execute(FLAKY)
    values = [1, 1, 1, 1, 1, 666, 777, 1]
    body = {"samples": [sample(index, seq=index, pm2_5=value) for index, value in enumerate(values)]}
    now = datetime.now(UTC)
    intake = decode_batch(
        [f"vigie/v1/{box}/telemetry"],
        [json.dumps(body).encode()],
        now_us=round(now.timestamp() * 1_000_000),
        max_future_us=0,
    )
    progress, finished = CommitProgress(), 0

    async def finish(_connection: RawConnection) -> None:
        nonlocal finished
        finished += 1

    with pytest.raises(asyncpg.DeadlockDetectedError):
        await door.pipeline.commit(door.connection, intake, now=now, progress=progress, finish=finish)
    assert (await door.count("samples"), finished) == (5, 0)
    assert progress.rest is not None
    assert [row[1] for row in progress.rest.rows] == [6, 7]
    await door.connection.execute("DELETE FROM flaky")
    receipt = await door.pipeline.commit(door.connection, intake, now=now, progress=progress, finish=finish)
    assert (receipt.stored, receipt.duplicate, len(receipt.rejections), finished) == (7, 0, 1, 1)
    assert (await door.count("samples"), await door.count("quarantine")) == (7, 1)


async def test_a_box_is_told_which_sample_the_database_refused(door: Door, box: str) -> None:
    await door.connection.execute(POISON)
    receipt = await door.take(
        telemetry(box, sample(0, seq=1, pm2_5=666)), telemetry(box, sample(1, seq=2, pm2_5=1))
    )
    assert receipt.acks[box].payload() == {
        "seqs": [2],
        "rejected": [{"seq": 1, "code": "storage_refused"}],
    }


async def test_a_schema_that_does_not_fit_is_no_fault_of_the_messages(door: Door, box: str) -> None:
    """A program newer than the schema (or without its rights) must not empty the broker into quarantine."""
    await door.connection.execute("ALTER TABLE samples RENAME pm2_5 TO elsewhere")
    with pytest.raises(asyncpg.UndefinedColumnError):
        await door.take(telemetry(box, sample(0, pm2_5=1)), telemetry(box, sample(1, pm2_5=1)))
    assert await door.count("quarantine") == 0
    await door.connection.execute("ALTER TABLE samples RENAME elsewhere TO pm2_5")
    receipt = await door.take(telemetry(box, sample(0, pm2_5=1)), telemetry(box, sample(1, pm2_5=1)))
    assert receipt.stored == 2


async def test_a_rule_that_cannot_be_understood_stops_nothing_else(
    door: Door, box: str, tenant: Tenant, site_id: str
) -> None:
    """Made by a newer version, say, with a metric that this one does not know."""
    broken = await add_rule(tenant, site_id)
    await add_rule(tenant, site_id)
    changed = """jsonb_set(definition, '{levels,0,condition,metric}', '"xenon"')"""
    await door.connection.execute(
        f"UPDATE rules SET definition = {changed} WHERE id = $1::text::uuid",  # noqa: S608 (ours)
        broken,
    )
    receipt = await door.take(telemetry(box, sample(0, pm2_5=30)))
    assert (receipt.stored, receipt.transitions) == (1, [("firing", "warning")])


async def test_statuses_of_one_batch_add_up(door: Door, box: str, tenant: Tenant) -> None:
    topic = f"vigie/v1/{box}/status"
    await door.take(
        (topic, {"state": "online", "firmware": "2.3.1", "battery": 87}),
        (topic, {"state": "online", "rssi": -67}),
    )
    shown = (await tenant.client.get(f"/v1/boxes/{box}")).json()
    assert (shown["firmware"], shown["battery"], shown["rssi"]) == ("2.3.1", 87, -67)


async def test_a_batch_and_a_change_of_its_box_do_not_wait_for_each_other_in_a_circle(
    door: Door, box: str, other: asyncpg.Connection
) -> None:
    async with other.transaction():
        # As PATCH and DELETE of a box do: first the gate, then its row, then its state.
        await other.execute(f"SELECT pg_advisory_xact_lock({INGEST_BARRIER})")
        status = (f"vigie/v1/{box}/status", {"state": "online"})
        taking = asyncio.create_task(door.take(status, telemetry(box, sample(0, pm2_5=1))))
        await blocked(door, other)
        await other.execute("SELECT FROM boxes WHERE id = $1 FOR NO KEY UPDATE", box)
        await other.execute("SELECT FROM box_states FOR UPDATE")
    assert (await taking).stored == 1


async def test_sharing_a_box_and_changing_it_do_not_wait_for_each_other_in_a_circle(
    door: Door, box: str, other: asyncpg.Connection
) -> None:
    async with other.transaction():
        # As PATCH of a box does: first its row, then, by a trigger, the registry's.
        await other.execute("SELECT FROM boxes WHERE id = $1 FOR NO KEY UPDATE", box)
        taking = asyncio.create_task(door.take(telemetry(box, sample(0, pm2_5=1))))
        await blocked(door, other)
        await other.execute("UPDATE boxes SET ack = false WHERE id = $1", box)
    assert (await taking).stored == 1


@pytest.mark.parametrize("how", ["deleted", "moved", "made anew"])
async def test_a_box_that_goes_while_its_batch_waits_fires_nothing_where_it_was(  # noqa: PLR0917 (fixtures)
    door: Door, box: str, tenant: Tenant, site_id: str, other: asyncpg.Connection, how: str
) -> None:
    await add_rule(tenant, site_id)
    body: dict[str, Any] = {"name": "Elsewhere", "kind": "office", "timezone": "Europe/Paris"}
    body |= {"location": {"type": "Point", "coordinates": [1.4, 43.6]}}
    elsewhere = (await tenant.client.post("/v1/sites", json=body)).raise_for_status().json()["id"]
    await door.take(telemetry(box, sample(-1, pm2_5=1)))
    async with other.transaction():
        await other.execute(f"SELECT pg_advisory_xact_lock({INGEST_BARRIER})")
        taking = asyncio.create_task(door.take(telemetry(box, sample(0, pm2_5=30))))
        await blocked(door, other)
        if how == "moved":
            await other.execute("UPDATE boxes SET site_id = $1::text::uuid WHERE id = $2", elsewhere, box)
        else:
            await other.execute("UPDATE boxes SET deleted_at = now() WHERE id = $1", box)
        if how == "made anew":
            copied = "organisation_id, site_id, interval_s, ack, password_hash, created_at, updated_at"
            make = f"INSERT INTO boxes (id, {copied}) SELECT id, {copied} FROM boxes RETURNING key"  # noqa: S608
            key = await other.fetchval(make)
            await other.execute("INSERT INTO box_states (box_key) VALUES ($1)", key)
    receipt = await taking
    fires = [("firing", "warning")] if how == "made anew" else []
    assert receipt.transitions == fires
    codes = [refusal.rejection.code for refusal in receipt.rejections]
    assert (receipt.stored, codes) == ((0, ["unknown_box"]) if how == "deleted" else (1, []))
    living = "SELECT count(*) FROM samples JOIN boxes ON key = box_key WHERE deleted_at IS NULL"
    assert await door.connection.fetchval(living) == {"deleted": 0, "moved": 2, "made anew": 1}[how]


async def test_a_database_restored_from_a_backup_is_read_again(
    door: Door, box: str, other: asyncpg.Connection
) -> None:
    assert (await door.take(telemetry(box, sample(0, pm2_5=1)))).stored == 1
    # What the backup holds: another box, under the key and the versions of former times.
    await other.execute("ALTER TABLE boxes DISABLE TRIGGER USER")
    await other.execute("UPDATE boxes SET id = 'restored', revision = 1")
    await other.execute("UPDATE registry SET version = 1")
    receipt = await door.take(telemetry(box, sample(1, pm2_5=1)), telemetry("restored", sample(2, pm2_5=1)))
    assert (receipt.stored, [refusal.box for refusal in receipt.rejections]) == (1, [box])


async def test_two_who_refresh_at_once_leave_the_newest(
    door: Door, box: str, other: asyncpg.Connection
) -> None:
    """One process of the API takes many calls: the slower reader must not undo what the quicker one read."""
    registry = RegistryCache()
    slow = asyncio.Event()

    class Slow:
        """A connection whose answers about boxes come late."""

        async def fetchval(self, query: str, *arguments: object) -> object:
            return await door.connection.fetchval(query, *arguments)

        async def fetch(self, query: str, *arguments: object) -> list[asyncpg.Record]:
            rows = await door.connection.fetch(query, *arguments)
            if "FROM boxes" in query:
                await slow.wait()
            return rows

    first: RawConnection = Slow()  # type: ignore[assignment] # it does what is asked of it
    refreshing = asyncio.create_task(registry.refresh(first))
    await asyncio.sleep(0.1)
    await other.execute("UPDATE boxes SET ack = false")
    second = asyncio.create_task(registry.refresh(other))
    await asyncio.sleep(0.1)
    slow.set()
    await asyncio.gather(refreshing, second)
    assert registry.snapshot.boxes[box].ack is False


async def purge(connection: asyncpg.Connection, box: str) -> None:
    """Delete a box, and remove its row as `vigie maintain` does after the grace."""
    await connection.execute("UPDATE boxes SET deleted_at = now() - interval '1 hour' WHERE id = $1", box)
    assert await _purge_boxes(connection) is False
    assert await connection.fetchval("SELECT count(*) FROM boxes WHERE id = $1", box) == 0


@pytest.mark.parametrize(
    ("is_shared", "longest_gap_s"),
    [(False, 0.0), (True, 0.0), (False, 3600.0)],
    ids=["not shared", "shared", "missed by the refresh"],
)
async def test_a_box_whose_row_is_gone_is_unknown(
    door: Door,
    box: str,
    other: asyncpg.Connection,
    is_shared: bool,  # noqa: FBT001 (a parameter of the test)
    longest_gap_s: float,
) -> None:
    registry = RegistryCache(longest_gap_s)
    door.use(registry)
    # Only the first sample of a process shares its box for other ones.
    await door.take(telemetry(box, sample(0, pm2_5=1)) if is_shared else telemetry("nobody", sample(0)))
    assert (registry.snapshot.boxes[box].shared_until_us > 0) is is_shared
    await purge(other, box)
    async with asyncio.timeout(10):
        receipt = await door.take(telemetry(box, sample(1, pm2_5=1)))
    assert (receipt.stored, [each.rejection.code for each in receipt.rejections]) == (0, ["unknown_box"])
    assert await door.count("samples") == 0
    assert box not in registry.snapshot.boxes


async def test_a_box_that_cannot_be_shared_is_quarantined(
    door: Door, box: str, other: asyncpg.Connection
) -> None:
    nothing = "CREATE OR REPLACE FUNCTION share_boxes(keys integer[], until timestamptz) RETURNS void"
    await other.execute(f"{nothing} LANGUAGE sql AS 'SELECT'")
    async with asyncio.timeout(10):
        receipt = await door.take(telemetry(box, sample(0, pm2_5=1)))
    (refusal,) = receipt.rejections
    assert (receipt.stored, await door.count("quarantine")) == (0, 1)
    assert "UnsharedBoxesError" in refusal.rejection.detail
