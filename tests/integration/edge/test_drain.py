"""Edges between real brokers and a real log: what the broker acknowledged is in the log, whatever dies."""

import asyncio
import os
import random
from collections import defaultdict
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from uuid import UUID

import aiomqtt
import httpx

from app.message_log.message_log_factory import make_message_log
from app.message_log.partitions import find_site_partition, find_unknown_box_partition
from app.platform.db.database import Database
from app.platform.runtime.process_runner import ProcessContext
from app.processes.edge import drain_edge
from app.standalone.private_postgres import PrivatePostgres
from tests.conftest import STREET, Tenant
from tests.integration.edge.machines import PARTITIONS, EdgeMachine, LogCluster
from tests.roles import working_as
from tests.scenarios.processes import RoleProcess, until

BOXES = [f"box-{number}" for number in range(8)]


async def add_site(client: httpx.AsyncClient, *, other_than: int | None = None) -> tuple[str, int]:
    """Add a site whose partition is not a given one; gives its id and partition."""
    while True:
        made = (await client.post("/v1/sites", json=STREET)).raise_for_status().json()["id"]
        partition = find_site_partition(UUID(made), PARTITIONS)
        if partition != other_than:
            return made, partition


async def add_box(client: httpx.AsyncClient, box: str, site_id: str) -> str:
    made = await client.post("/v1/boxes", json={"id": box, "site_id": site_id})
    password: str = made.raise_for_status().json()["credentials"]["password"]
    return password


def telemetry(box: str, number: int) -> tuple[str, bytes]:
    return f"vigie/v1/{box}/telemetry", f"{box} {number}".encode()


async def until_stored(cluster: LogCluster, count: int) -> dict[int, list[bytes]]:
    """Wait until the log has a number of different messages."""

    async def stored() -> dict[int, list[bytes]] | None:
        found = await cluster.read_payloads()
        return found if len({each for some in found.values() for each in some}) >= count else None

    result = await until(stored, patience_s=60)
    assert result is not None
    return result


async def test_messages_are_in_the_partition_of_their_site_in_order(
    tenant: Tenant, machines: list[EdgeMachine], cluster: LogCluster, tmp_path: Path
) -> None:
    site, partition = await add_site(tenant.client)
    await add_box(tenant.client, "box-0", site)
    async with machines[0].running(tmp_path):
        await machines[0].publish(telemetry(box, number) for number in range(50) for box in BOXES[:2])
        found = await until_stored(cluster, 100)
        edge = await machines[0].until_working()
        assert (edge.host, edge.port) == (machines[0].broker.host, machines[0].broker.port)
    known = [payload for payload in found[partition] if payload.startswith(b"box-0 ")]
    assert known == [b"box-0 %d" % number for number in range(50)]
    unknown = found[find_unknown_box_partition("box-1", PARTITIONS)]
    assert [each for each in unknown if each.startswith(b"box-1 ")] == [
        b"box-1 %d" % number for number in range(50)
    ]
    records = [record for _, record in (await cluster.read())[partition]]
    assert {record.edge for record in records} == {"a"}


async def test_a_retained_message_keeps_its_flag(
    machines: list[EdgeMachine], cluster: LogCluster, tmp_path: Path
) -> None:
    topic = "vigie/v1/box-0/status"
    async with machines[0].client() as client:
        await client.publish(topic, b"status", qos=1, retain=True)
        try:
            async with machines[0].running(tmp_path):
                await until_stored(cluster, 1)
                await client.publish(topic, b"later", qos=1)
                await until_stored(cluster, 2)
        finally:
            await client.publish(topic, b"", qos=1, retain=True)
    records = await cluster.read()
    flags = [
        (payload, index in record.retained)
        for _, record in records[find_unknown_box_partition("box-0", PARTITIONS)]
        for index, payload in enumerate(record.payloads)
    ]
    assert flags[:2] == [(b"status", True), (b"later", False)]


async def test_nothing_is_lost_when_the_edge_is_killed_again_and_again(
    machines: list[EdgeMachine], cluster: LogCluster, tmp_path: Path
) -> None:
    """The ledger: every message that the broker acknowledged is in the log, each box's in order."""
    machine, process = machines[0], RoleProcess("edge", tmp_path / "edge.log")
    ledger: list[bytes] = []
    finished = asyncio.Event()

    async def publish() -> None:
        async with machine.client() as client:
            number = 0
            # On a fast machine the messages may have gone before the second kill.
            while number < 250 or kills < 2:
                messages = [telemetry(box, number) for box in BOXES]
                await asyncio.gather(*(client.publish(*each, qos=1) for each in messages))
                ledger.extend(payload for _, payload in messages)
                await asyncio.sleep(0.01)
                number += 1
        finished.set()

    await process.start(**machine.environment())
    await machine.until_working()
    publishing = asyncio.create_task(publish())
    kills = 0
    while not finished.is_set():
        await asyncio.sleep(random.uniform(0.2, 0.8))  # noqa: S311 (when a kill comes is no secret)
        await process.kill()
        kills += 1
        await process.start(**machine.environment())
        await machine.until_working()
    await publishing
    found = await until_stored(cluster, len(ledger))
    assert await process.terminate() == 0
    assert kills >= 2
    stored = [payload for some in found.values() for payload in some]
    assert set(ledger) <= set(stored)
    firsts: dict[bytes, list[int]] = defaultdict(list)
    for payload in dict.fromkeys(stored):
        box, number = payload.split()
        firsts[box].append(int(number))
    assert all(numbers == sorted(numbers) for numbers in firsts.values())


async def test_a_log_without_majority_leaves_messages_unacknowledged(
    machines: list[EdgeMachine], cluster: LogCluster, tmp_path: Path
) -> None:
    machine, process = machines[0], RoleProcess("edge", tmp_path / "edge.log")
    await process.start(**machine.environment())
    await machine.until_working()
    async with cluster.suspended():
        await machine.publish(telemetry("box-0", number) for number in range(20))

        async def tells() -> bool:
            edge = await machine.report()
            return edge is not None and edge.problem == "log_unavailable" and edge.unsent_messages == 20

        await until(tells)
        await process.kill()
    # The broker has them still.
    await process.start(**machine.environment())
    found = await until_stored(cluster, 20)
    edge = await machine.until_working()
    assert edge.unsent_messages == 0
    assert await process.terminate() == 0
    kept = found[find_unknown_box_partition("box-0", PARTITIONS)]
    assert list(dict.fromkeys(kept)) == [b"box-0 %d" % number for number in range(20)]


async def test_a_full_log_holds_messages_back_until_it_is_trimmed(
    machines: list[EdgeMachine], cluster: LogCluster, tmp_path: Path
) -> None:
    machine, partition = machines[0], find_unknown_box_partition("box-0", PARTITIONS)
    async with machine.running(tmp_path, VIGIE_MESSAGE_LOG__MAX_BYTES=str(2**20)):
        # Random bytes, which no compression shortens.
        large = [("vigie/v1/box-0/event", b"%d " % number + os.urandom(100_000)) for number in range(15)]
        await machine.publish(large)

        async def is_full() -> bool:
            edge = await machine.report()
            return edge is not None and edge.problem == "log_full" and edge.unsent_messages > 0

        await until(is_full)
        log = await cluster.open()
        # The limit of the log is that of the last one that opened it: now it is the test's.
        before = await cluster.read_payloads()
        await log.trim(partition, await log.find_newest_position(partition) + 1)

        async def is_drained() -> bool:
            edge = await machine.report()
            return edge is not None and edge.problem is None and edge.unsent_messages == 0

        await until(is_drained)
        after = await cluster.read_payloads()
    numbers = {int(payload.split()[0]) for some in (*before.values(), *after.values()) for payload in some}
    assert numbers == set(range(15))


async def test_without_the_database_the_last_copy_of_the_registry_is_used(
    tenant: Tenant,
    machines: list[EdgeMachine],
    cluster: LogCluster,
    postgres: PrivatePostgres,
    tmp_path: Path,
) -> None:
    site, partition = await add_site(
        tenant.client, other_than=find_unknown_box_partition("box-0", PARTITIONS)
    )
    await add_box(tenant.client, "box-0", site)
    async with machines[0].running(tmp_path):
        await postgres.stop()
        try:
            await machines[0].publish(telemetry("box-0", number) for number in range(10))
            found = await until_stored(cluster, 10)
        finally:
            await postgres.start()
        assert len(found[partition]) == 10
        await machines[0].until_working()


async def test_an_edge_that_starts_without_database_drains_and_orders_the_change(
    tenant: Tenant,
    database: Database,
    machines: list[EdgeMachine],
    cluster: LogCluster,
    postgres: PrivatePostgres,
) -> None:
    unknown = find_unknown_box_partition("box-0", PARTITIONS)
    site, partition = await add_site(tenant.client, other_than=unknown)
    await add_box(tenant.client, "box-0", site)
    settings = cluster.all_settings.model_copy(
        update={
            "broker": cluster.all_settings.broker.model_copy(
                update={"port": machines[0].broker.port, "password_file": None}
            )
        }
    )
    await postgres.stop()
    async with working_as("maintain", database) as opened:
        process = ProcessContext("edge", opened)
        log = make_message_log(settings.message_log, client="edge")
        running = asyncio.create_task(drain_edge(settings, process, log, first_copy_wait_s=0.5))
        try:
            while process.state != "draining":  # noqa: ASYNC110 (the process's word)
                await asyncio.sleep(0.05)
            await machines[0].publish([telemetry("box-0", 1)])
            found = await until_stored(cluster, 1)
        finally:
            await postgres.start()
        assert found[unknown] == [b"box-0 1"]
        async with asyncio.timeout(60):
            number = 2
            while not (await cluster.read_payloads())[partition]:
                await machines[0].publish([telemetry("box-0", number)])
                number += 1
                await asyncio.sleep(0.2)
        process.stop.set()
        await asyncio.wait_for(running, 60)
    records = await cluster.read()
    _, first = records[partition][0]
    assert first.after[unknown] == records[unknown][-1][0]


async def test_the_first_record_after_a_move_comes_after_those_of_the_former_site(
    tenant: Tenant, machines: list[EdgeMachine], cluster: LogCluster, tmp_path: Path
) -> None:
    first_site, former = await add_site(tenant.client)
    second_site, current = await add_site(tenant.client, other_than=former)
    await add_box(tenant.client, "box-0", first_site)
    async with machines[0].running(tmp_path):
        await machines[0].publish(telemetry("box-0", number) for number in range(5))
        await until_stored(cluster, 5)
        # No record of the new partition needs the order of the start any more.
        filler = next(
            f"f{n}" for n in range(99) if find_unknown_box_partition(f"f{n}", PARTITIONS) == current
        )
        await machines[0].publish([telemetry(filler, 0)])
        await until_stored(cluster, 6)
        moved = await tenant.client.patch("/v1/boxes/box-0", json={"site_id": second_site})
        moved.raise_for_status()
        await asyncio.sleep(2.0)
        await machines[0].publish(telemetry("box-0", number) for number in range(5, 10))
        await until_stored(cluster, 11)
        await machines[0].publish([telemetry("box-0", 10)])
        await until_stored(cluster, 12)
    records = await cluster.read()
    last_former, _ = records[former][-1]
    mine = [record for _, record in records[current] if "vigie/v1/box-0/telemetry" in record.topics]
    assert mine[0].after == {former: last_former}
    assert mine[-1].after == {}
    assert [payload for record in mine for payload in record.payloads] == [
        b"box-0 %d" % number for number in range(5, 11)
    ]


async def test_drained_at_stands_still_while_messages_wait_for_the_log(
    database: Database, machines: list[EdgeMachine], cluster: LogCluster, tmp_path: Path
) -> None:
    machine = machines[0]
    connection = await database.connect()

    async def now() -> datetime:
        found: datetime = await connection.fetchval("SELECT clock_timestamp()")
        return found

    async def drained_since(moment: datetime) -> bool:
        edge = await machine.report()
        return edge is not None and edge.drained_at is not None and edge.drained_at > moment

    started = await now()
    async with machine.running(tmp_path):
        await until(lambda: drained_since(started))
        # Not before the source has been connected for five seconds.
        assert ((await now()) - started).total_seconds() > 5
        async with cluster.suspended():
            await machine.publish([telemetry("box-0", 1)])
            published = await now()
            await asyncio.sleep(3)
            assert not await drained_since(published)
        await until(lambda: drained_since(published))
        assert sum(map(len, (await cluster.read_payloads()).values())) == 1
        edge = await machine.report()
        assert edge is not None
        # Of the broker's own metrics, which it renews every ten seconds.
        assert edge.boxes is not None
    await connection.close()


async def test_a_stop_waits_for_the_append_and_leaves_no_message_unacknowledged(
    machines: list[EdgeMachine], cluster: LogCluster, tmp_path: Path
) -> None:
    machine = machines[0]
    async with machine.running(tmp_path):
        await machine.publish(telemetry(box, number) for number in range(20) for box in BOXES)
    # It has left with status 0 (see `role`). A session that still had messages would get them now.
    stored = {payload for some in (await cluster.read_payloads()).values() for payload in some}
    settings = machine.environment()
    async with aiomqtt.Client(
        machine.broker.host,
        machine.broker.port,
        username="ingest",
        password=cluster.all_settings.broker.password.get_secret_value(),
        identifier=settings["VIGIE_INGEST__CLIENT_ID"],
        protocol=aiomqtt.ProtocolVersion.V5,
        clean_start=False,
    ) as session:
        rest: list[object] = []
        with suppress(TimeoutError):
            # Once all are found, half a second more for such as come twice.
            async with asyncio.timeout(0.5 if len(stored) == 160 else 60) as patience:
                async for message in session.messages:
                    rest += [message.payload]
                    if len(stored) + len(rest) == 160:
                        patience.reschedule(asyncio.get_running_loop().time() + 0.5)
    assert len(stored) + len(rest) == 160
    assert not stored & set(rest)
