"""Workers that share the partitions of a real log: one dies, one hangs, edges change, boxes fall silent."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path

import httpx
import pytest

from app.message_log.positions import PartitionPosition, list_positions
from app.platform.db.database import Database
from app.platform.runtime.process_runner import ProcessContext
from app.processes.ingest import run_ingest
from tests.conftest import STREET, Tenant
from tests.faults.fleet import FaultFleet
from tests.integration.edge.machines import PARTITIONS, EdgeMachine, LogCluster
from tests.scenarios.processes import RoleProcess, role, until


async def positions(database: Database) -> list[PartitionPosition]:
    connection = await database.connect()
    try:
        return await list_positions(connection)
    finally:
        await connection.close()


async def until_shared(database: Database, *shares: int, patience_s: float = 60.0) -> list[str]:
    """Wait until living workers have so many partitions each; gives their names, the largest share first."""

    async def shared() -> list[str] | None:
        owners = [each.worker or "" for each in await positions(database) if each.is_owned]
        by_share = sorted({*owners}, key=owners.count, reverse=True)
        return by_share if [owners.count(name) for name in by_share] == sorted(shares, reverse=True) else None

    found = await until(shared, patience_s=patience_s)
    assert found is not None
    return found


def pid_of(worker: str) -> int:
    return int(worker.rsplit("-", 1)[1])


@asynccontextmanager
async def workers(database: Database, folder: Path, count: int) -> AsyncIterator[list[RoleProcess]]:
    """Run so many workers, all of which have their share."""
    async with AsyncExitStack() as stack:
        made = []
        for number in range(count):
            place = folder / f"worker{number}"
            place.mkdir()
            made.append(await stack.enter_async_context(role("ingest", place)))
        least, rest = divmod(PARTITIONS, count)
        await until_shared(database, *(least + (number < rest) for number in range(count)))
        yield made


async def add_fleet(
    tenant: Tenant, machine: EdgeMachine, folder: Path, *, sites: int, ack: bool = False
) -> FaultFleet:
    """Add sites of some boxes each, which publish through an edge."""
    boxes: list[str] = []
    url = machine.cluster.all_settings.database.url
    fleet = FaultFleet(tenant.client, machine.broker, url, boxes, folder / "ledger")
    for number in range(sites):
        site = (await tenant.client.post("/v1/sites", json=STREET)).raise_for_status().json()["id"]
        fleet.boxes = [f"box-{number}-{index}" for index in range(4)]
        await fleet.register(site, ack=ack)
        boxes += fleet.boxes
    fleet.boxes = boxes
    return fleet


async def test_a_worker_dies_and_another_takes_its_partitions(
    tenant: Tenant, machines: list[EdgeMachine], database: Database, tmp_path: Path
) -> None:
    fleet = await add_fleet(tenant, machines[0], tmp_path, sites=6)
    async with AsyncExitStack() as stack:
        await stack.enter_async_context(machines[0].running(tmp_path))
        first = RoleProcess("ingest", tmp_path / "first.log")
        await first.start()
        await until_shared(database, PARTITIONS)
        second = await stack.enter_async_context(role("ingest", tmp_path))
        await until_shared(database, 2, 2)
        async with fleet.load():
            await fleet.more(100)
            await first.kill()
            await until_shared(database, PARTITIONS)
            await fleet.more(await fleet.rows() + 100)
        fleet.healed()
        outcome = await fleet.outcome(ordered=True)
        assert (outcome.lost, outcome.twice) == (0, 0), outcome
        assert second.pid in {pid_of(each.worker or "-0") for each in await positions(database)}
        newest = {each.partition: each.position for each in await positions(database)}
        log = await machines[0].cluster.open()
        assert newest == {number: await log.find_newest_position(number) for number in range(PARTITIONS)}


async def test_a_worker_that_hangs_is_fenced(
    tenant: Tenant, machines: list[EdgeMachine], database: Database, tmp_path: Path
) -> None:
    fleet = await add_fleet(tenant, machines[0], tmp_path, sites=6)
    async with machines[0].running(tmp_path), workers(database, tmp_path, 2) as (first, second):
        async with fleet.load():
            await fleet.more(100)
            first.suspend()
            try:
                (owner,) = await until_shared(database, PARTITIONS, patience_s=60)
                assert pid_of(owner) == second.pid
                await fleet.more(await fleet.rows() + 100)
            finally:
                first.resume()
            await until_shared(database, 2, 2, patience_s=60)
        fleet.healed()
        outcome = await fleet.outcome(ordered=True)
        assert (outcome.lost, outcome.twice) == (0, 0), outcome


async def test_acknowledgements_go_to_the_edge_that_a_box_spoke_through(
    tenant: Tenant, machines: list[EdgeMachine], database: Database, tmp_path: Path
) -> None:
    fleet = await add_fleet(tenant, machines[0], tmp_path, sites=1, ack=True)
    box = fleet.boxes[0]
    async with AsyncExitStack() as stack:
        for machine in machines:
            await stack.enter_async_context(machine.running(tmp_path))
        await stack.enter_async_context(workers(database, tmp_path, 1))
        clients = [await stack.enter_async_context(machine.client()) for machine in machines]
        for client in clients:
            await client.subscribe(f"vigie/v1/{box}/ack", qos=1)
        for number, client in enumerate([*clients, clients[0]]):
            text = json.dumps({"seq": number, "time": 1_700_000_000_000 + number, "values": {"pm10": 1.0}})
            await client.publish(f"vigie/v1/{box}/telemetry", text, qos=1)
            async with asyncio.timeout(60):
                message = await anext(client.messages)
            assert isinstance(message.payload, bytes)
            assert json.loads(message.payload) == {"seqs": [number]}
        assert all(len(client.messages) == 0 for client in clients), "and to no other edge"


async def read_state(client: httpx.AsyncClient, box: str) -> str | None:
    state: str | None = (await client.get(f"/v1/boxes/{box}")).raise_for_status().json()["state"]
    return state


async def test_a_last_will_of_the_edge_that_a_box_has_left_changes_nothing(
    tenant: Tenant, machines: list[EdgeMachine], database: Database, tmp_path: Path
) -> None:
    fleet = await add_fleet(tenant, machines[0], tmp_path, sites=1)
    box, mark = fleet.boxes[:2]
    online, offline = b'{"state": "online"}', b'{"state": "offline"}'
    async with AsyncExitStack() as stack:
        for machine in machines:
            await stack.enter_async_context(machine.running(tmp_path))
        await stack.enter_async_context(workers(database, tmp_path, 1))
        connection = await database.connect()
        stack.push_async_callback(connection.close)
        old, new = machines

        async def report(machine: EdgeMachine, state: bytes) -> None:
            """Report a state, and wait until what comes after it is stored."""
            other = b"online" if await read_state(tenant.client, mark) == "offline" else b"offline"
            seen = other.decode()
            for publisher, topic, payload in (
                (machine, box, state),
                (machine, mark, b'{"state": "%s"}' % other),
            ):
                await publisher.publish([(f"vigie/v1/{topic}/status", payload)])
            await until(lambda: _reads(tenant.client, mark, seen))

        for machine, state, expected in (
            (old, online, "online"),
            (new, online, "online"),
            (old, offline, "online"),
            (new, offline, "offline"),
            (new, online, "online"),
        ):
            # The mark's own state must change whichever edge says it.
            await connection.execute("UPDATE boxes SET edge = NULL WHERE id = $1", mark)
            await report(machine, state)
            assert await read_state(tenant.client, box) == expected, (machine.name, state)


async def _reads(client: httpx.AsyncClient, box: str, state: str) -> bool:
    return await read_state(client, box) == state


async def test_silence_is_reported_once_all_edges_have_delivered(
    tenant: Tenant, machines: list[EdgeMachine], cluster: LogCluster, database: Database, tmp_path: Path
) -> None:
    """While an edge cannot hand on what it has, nobody is silent."""
    fleet = await add_fleet(tenant, machines[0], tmp_path, sites=2)
    for site in {each["site_id"] for each in (await tenant.client.get("/v1/boxes")).json()["data"]}:
        rule = {
            "site_id": site,
            "name": "Silent",
            "severity": "warning",
            "condition": {"no_data": "PT2S"},
        }
        (await tenant.client.post("/v1/rules", json=rule)).raise_for_status()

    async def silent() -> list[str]:
        alerts = (await tenant.client.get("/v1/alerts?limit=1000")).raise_for_status().json()["data"]
        return [each["box"] for each in alerts if each["rule_name"] == "Silent"]

    process = ProcessContext("ingest", database)
    working = asyncio.create_task(run_ingest(cluster.all_settings, process))
    async with AsyncExitStack() as stack:
        for machine in machines:
            await stack.enter_async_context(machine.running(tmp_path))
        await until_shared(database, PARTITIONS)
        now_ms = round(datetime.now(UTC).timestamp() * 1000)
        text = json.dumps({"time": now_ms, "values": {"pm10": 1.0}}).encode()
        async with cluster.suspended():
            await machines[0].publish([(f"vigie/v1/{box}/telemetry", text) for box in fleet.boxes])
            await asyncio.sleep(4)
            assert await silent() == [], "their messages wait at the edge"

        async def all_are_silent() -> bool:
            return sorted(await silent()) == sorted(fleet.boxes)

        await until(all_are_silent, patience_s=60)
        process.stop.set()
        await asyncio.wait_for(working, 60)


async def test_a_database_restored_to_an_earlier_time_reads_the_log_again(
    tenant: Tenant, machines: list[EdgeMachine], database: Database, tmp_path: Path
) -> None:
    fleet = await add_fleet(tenant, machines[0], tmp_path, sites=3)
    process = ProcessContext("ingest", database)

    async def count() -> int:
        connection = await database.connect()
        stored: int = await connection.fetchval("SELECT count(*) FROM samples")
        await connection.close()
        return stored

    async def ingest(samples: int) -> None:
        process.stop.clear()
        working = asyncio.create_task(run_ingest(machines[0].cluster.all_settings, process))

        async def are_stored() -> bool:
            return await count() == samples

        await until(are_stored)
        process.stop.set()
        await asyncio.wait_for(working, 60)

    async with machines[0].running(tmp_path):
        await fleet.publish(range(10))
        await ingest(10 * len(fleet.boxes))
        moment = {each.partition: each.position for each in await positions(database)}
        await fleet.publish(range(10, 20))
        await ingest(20 * len(fleet.boxes))
        # What a restore to the moment in between does to samples and positions.
        connection = await database.connect()
        await connection.execute("DELETE FROM samples WHERE seq >= 10")
        await connection.executemany(
            "UPDATE ingest_positions SET position = $2 WHERE partition = $1", list(moment.items())
        )
        await connection.close()
        assert await count() == 10 * len(fleet.boxes)
        await ingest(20 * len(fleet.boxes))
    assert (await fleet.outcome()).lost == 0


async def test_committed_records_go_after_a_while_and_others_never(
    tenant: Tenant,
    machines: list[EdgeMachine],
    database: Database,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("app.ingest.log_input._TRIM_EVERY_S", 0.2)
    fleet = await add_fleet(tenant, machines[0], tmp_path, sites=6)
    cluster = machines[0].cluster
    log = await cluster.open()
    message_log = cluster.settings.model_copy(update={"keep_s": 5.0})
    settings = cluster.all_settings.model_copy(update={"message_log": message_log})
    process = ProcessContext("ingest", database)
    async with machines[0].running(tmp_path):
        await fleet.publish(range(10))
        working = asyncio.create_task(run_ingest(settings, process))
        await fleet.outcome()
        newest = {each.partition: each.position for each in await positions(database) if each.position}
        assert all(
            status.oldest == 1 for status in (await log.describe()).partitions if status.partition in newest
        ), "they are kept for a database that is restored"

        async def trimmed() -> bool:
            # The last committed record remains.
            return all(
                not status.oldest or status.oldest >= newest.get(status.partition, 0)
                for status in (await log.describe()).partitions
            )

        await fleet.publish(range(10, 20), pause_s=0.5)
        await until(trimmed)
        process.stop.set()
        await asyncio.wait_for(working, 60)
        kept = {
            status.partition: (status.oldest, status.newest) for status in (await log.describe()).partitions
        }
        await fleet.publish(range(20, 30))
        await machines[0].until_drained()
        for status in (await log.describe()).partitions:
            oldest, before = kept[status.partition]
            if status.partition in newest:
                assert status.oldest == (oldest or before + 1), "nothing goes while nobody commits"
                assert status.newest > before


@pytest.mark.parametrize(
    "lost",
    [
        pytest.param("position = position + 5", id="the log ends before the committed position"),
        pytest.param("record_digest = record_digest # 1", id="another record is at that position"),
    ],
)
async def test_a_log_that_lost_its_newest_records_is_read_again(
    tenant: Tenant, machines: list[EdgeMachine], database: Database, tmp_path: Path, lost: str
) -> None:
    """The database knows of positions that the log gives to other records."""
    fleet = await add_fleet(tenant, machines[0], tmp_path, sites=6)
    async with machines[0].running(tmp_path):
        async with workers(database, tmp_path, 1):
            await fleet.publish(range(10), pause_s=0.1)  # several records
            await fleet.outcome()
        connection = await database.connect()
        await connection.execute(f"UPDATE ingest_positions SET {lost} WHERE position > 1")  # noqa: S608
        await connection.close()
        again = tmp_path / "again"
        again.mkdir()
        await fleet.publish(range(10, 12))
        async with workers(database, again, 1):
            outcome = await fleet.outcome()

            async def is_noted() -> bool:
                return any(each.lost_at is not None for each in await positions(database))

            await until(is_noted)
    assert (outcome.lost, outcome.twice) == (0, 0), outcome


async def test_records_that_were_removed_unread_are_noted(
    tenant: Tenant, machines: list[EdgeMachine], cluster: LogCluster, database: Database, tmp_path: Path
) -> None:
    fleet = await add_fleet(tenant, machines[0], tmp_path, sites=6)
    log = await cluster.open()
    async with machines[0].running(tmp_path):
        async with workers(database, tmp_path, 1):
            await fleet.publish(range(5))
            await fleet.outcome()
        committed = {each.partition: each.position for each in await positions(database) if each.position}
        await fleet.publish(range(5, 10))
        await machines[0].until_drained()
        unread = {number: await log.find_newest_position(number) for number in committed}
        for number, newest in unread.items():
            await log.trim(number, newest + 1)
        again = tmp_path / "again"
        again.mkdir()
        async with workers(database, again, 1):

            async def are_noted() -> bool:
                found = {each.partition: each.lost_records for each in await positions(database)}
                return all(found[number] == unread[number] - committed[number] for number in unread)

            await until(are_noted)
    assert all(unread[number] > committed[number] for number in committed)


async def test_what_a_broker_had_retained_for_long_does_not_overrule_newer_statuses(
    tenant: Tenant, machines: list[EdgeMachine], database: Database, tmp_path: Path
) -> None:
    """A broker that was away sends what it has retained to an edge whose session has expired."""
    fleet = await add_fleet(tenant, machines[0], tmp_path, sites=1)
    box, mark = fleet.boxes[:2]
    topic, old, new = f"vigie/v1/{box}/status", machines[1], machines[0]
    async with AsyncExitStack() as stack:
        async with old.client() as client:
            await client.publish(topic, b'{"state": "online", "battery": 10}', qos=1, retain=True)
        await stack.enter_async_context(workers(database, tmp_path, 1))
        await stack.enter_async_context(new.running(tmp_path))
        for state in ("online", "offline"):
            await new.publish([(topic, b'{"state": "%s", "battery": 90}' % state.encode())])
            await until(lambda: _reads(tenant.client, box, state))  # noqa: B023 (awaited in the loop)
        await stack.enter_async_context(old.running(tmp_path))
        await old.publish([(f"vigie/v1/{mark}/status", b'{"state": "online"}')])
        await until(lambda: _reads(tenant.client, mark, "online"))
        shown = (await tenant.client.get(f"/v1/boxes/{box}")).raise_for_status().json()
        assert (shown["state"], shown["battery"]) == ("offline", 90)
        await old.publish([(topic, b'{"state": "online", "battery": 80}')])
        await until(lambda: _reads(tenant.client, box, "online"))
        async with old.client() as client:
            await client.publish(topic, b"", qos=1, retain=True)


async def test_a_log_that_was_recreated_is_read_from_its_beginning(
    tenant: Tenant, machines: list[EdgeMachine], cluster: LogCluster, database: Database, tmp_path: Path
) -> None:
    fleet = await add_fleet(tenant, machines[0], tmp_path, sites=6)
    async with workers(database, tmp_path, 1):
        async with machines[0].running(tmp_path):
            await fleet.publish(range(20))
            await fleet.outcome()
        await cluster.remove()
        place = tmp_path / "later"
        place.mkdir()
        async with machines[0].running(place):
            await fleet.publish(range(20, 24))
            outcome = await fleet.outcome(patience_s=60)
    assert (outcome.lost, outcome.twice) == (0, 0), outcome
    newest = {each.partition: each.position for each in await positions(database) if each.position}
    assert newest
    assert all(position <= 4 * 4 for position in newest.values()), "positions are those of the new log"
