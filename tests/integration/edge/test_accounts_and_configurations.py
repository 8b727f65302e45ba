"""What two edges keep at their brokers: accounts of boxes, and their retained configurations."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiomqtt
import httpx
import pytest
from fastapi import FastAPI

from app.edge import account_keeper
from app.platform.db.database import Database
from app.platform.kernel.application_resources import provide_resources
from app.registry.broker_password_file import notify_account_change
from app.settings import VigieSettings
from app.standalone.private_mosquitto import PrivateMosquitto
from tests.conftest import ACCOUNTS, Tenant
from tests.integration.edge.machines import EdgeMachine, LogCluster
from tests.scenarios.processes import until

WITHIN_S = 60.0  # edges need less than two seconds, but for those of a machine that stands still
LAST = "last-box"
"""A box that is of no edge: what is published for it marks the end of what a broker retains."""


@pytest.fixture
def client(application: FastAPI, tenant: Tenant, cluster: LogCluster) -> httpx.AsyncClient:
    """The API as it is with several brokers."""
    provide_resources(application, cluster.settings)
    return tenant.client


@asynccontextmanager
async def both_running(machines: list[EdgeMachine], folder: Path) -> AsyncIterator[None]:
    async with machines[0].running(folder), machines[1].running(folder):
        yield
        await remove_retained(machines)


async def remove_retained(machines: list[EdgeMachine]) -> None:
    for machine in machines:
        async with machine.client("ingest") as client:
            for box in await retained(machine):
                await client.publish(f"vigie/v1/{box}/config", b"", qos=1, retain=True)


async def retained(machine: EdgeMachine) -> dict[str, Any]:
    """The configurations that a broker retains, by box."""
    found = {}
    async with machine.client("ingest") as client:
        await client.subscribe("vigie/v1/+/config", qos=1)
        # It comes after all that is retained.
        await client.publish(f"vigie/v1/{LAST}/config", b"", qos=1)
        async with asyncio.timeout(WITHIN_S):
            async for message in client.messages:
                box = message.topic.value.split("/")[2]
                if box == LAST:
                    break
                if message.retain and message.payload:
                    assert isinstance(message.payload, bytes)
                    found[box] = json.loads(message.payload)
    return found


async def until_retained(machines: list[EdgeMachine], expected: dict[str, Any]) -> None:
    """Wait until all brokers retain exactly this."""
    for machine in machines:

        async def is_so(machine: EdgeMachine = machine) -> bool:
            return await retained(machine) == expected

        try:
            await until(is_so, patience_s=WITHIN_S)
        except TimeoutError:
            assert await retained(machine) == expected


async def add_box(client: httpx.AsyncClient, box: str, site_id: str) -> str:
    made = await client.post("/v1/boxes", json={"id": box, "site_id": site_id})
    password: str = made.raise_for_status().json()["credentials"]["password"]
    return password


async def configure(client: httpx.AsyncClient, box: str, config: dict[str, Any]) -> dict[str, Any]:
    answer = await client.put(f"/v1/boxes/{box}/config", json={"config": config})
    found: dict[str, Any] = answer.raise_for_status().json()
    return found


async def accepts(machine: EdgeMachine, box: str, password: str) -> bool:
    try:
        async with machine.client(box, password):
            return True
    except aiomqtt.MqttError:
        return False


async def test_a_new_box_can_connect_to_every_edge_and_a_revoked_one_is_cut_off(
    client: httpx.AsyncClient, site_id: str, machines: list[EdgeMachine], tmp_path: Path
) -> None:
    async with both_running(machines, tmp_path):
        password = await add_box(client, "box-1", site_id)
        other = await add_box(client, "box-2", site_id)

        async def are_accepted_everywhere() -> bool:
            words = {"box-1": password, "box-2": other}
            return all([await accepts(each, *words_of) for each in machines for words_of in words.items()])

        await until(are_accepted_everywhere, patience_s=WITHIN_S)
        cut_off: list[str] = []

        async def stay(machine: EdgeMachine) -> None:
            async with machine.client("box-1", password) as box:
                connected.release()
                with pytest.raises(aiomqtt.MqttError):
                    async for _ in box.messages:
                        pass
                assert revoked.is_set()
                cut_off.append(machine.name)

        async def stay_as_other(machine: EdgeMachine) -> None:
            async with machine.client("box-2", other) as box:
                connected.release()
                await stop.wait()
                await box.publish("vigie/v1/box-2/status", b"", qos=1)

        connected, revoked, stop = asyncio.Semaphore(0), asyncio.Event(), asyncio.Event()
        async with asyncio.timeout(WITHIN_S), asyncio.TaskGroup() as tasks:
            for machine in machines:
                tasks.create_task(stay_as_other(machine))
            staying = [tasks.create_task(stay(machine)) for machine in machines]
            for _ in range(4):
                await connected.acquire()
            revoked.set()
            (await client.post("/v1/boxes/box-1/credentials/revoke")).raise_for_status()
            await asyncio.wait(staying)
            # Whoever was not revoked stays connected.
            stop.set()
        assert len(cut_off) == 2
        assert not await accepts(machines[0], "box-1", password)
        assert not await accepts(machines[1], "box-1", password)


async def test_accounts_of_a_time_without_edge_are_there_after_its_start(
    client: httpx.AsyncClient, site_id: str, machines: list[EdgeMachine], tmp_path: Path
) -> None:
    password = await add_box(client, "box-1", site_id)
    async with machines[0].running(tmp_path):
        await until(lambda: accepts(machines[0], "box-1", password), patience_s=WITHIN_S)


async def test_a_change_that_nobody_notified_is_found_by_comparison(
    client: httpx.AsyncClient, site_id: str, database: Database, machines: list[EdgeMachine], tmp_path: Path
) -> None:
    async with machines[0].running(tmp_path):
        password = await add_box(client, "box-1", site_id)
        await until(lambda: accepts(machines[0], "box-1", password), patience_s=WITHIN_S)
        connection = await database.connect()
        await connection.execute("UPDATE boxes SET password_hash = ''")
        await connection.close()

        async def is_refused() -> bool:
            return not await accepts(machines[0], "box-1", password)

        await until(is_refused, patience_s=WITHIN_S)
        await notify_account_change(database)


async def test_a_change_that_was_notified_needs_no_comparison(
    client: httpx.AsyncClient,
    site_id: str,
    database: Database,
    machines: list[EdgeMachine],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name in ("_CHECK_EVERY_S", "_LONGEST_WAIT_S"):
        monkeypatch.setattr(account_keeper, name, 3600.0)
    broker = machines[0].broker
    own = VigieSettings(_env_file=None).broker.model_copy(
        update={
            "port": broker.port,
            "password_file": broker.password_file,
            "static_password_file": broker.static_password_file,
            "pid_file": broker.pid_file,
        }
    )
    keeping = asyncio.create_task(account_keeper.keep_accounts(database, own))
    first = await add_box(client, "box-1", site_id)
    await until(lambda: accepts(machines[0], "box-1", first), patience_s=WITHIN_S)
    # Whatever was found at the start: this one is notified.
    second = await add_box(client, "box-2", site_id)
    await until(lambda: accepts(machines[0], "box-2", second), patience_s=WITHIN_S)
    keeping.cancel()
    await asyncio.wait((keeping,))


async def test_configurations_follow_changes_removals_and_ids_that_are_used_again(
    client: httpx.AsyncClient, site_id: str, machines: list[EdgeMachine], tmp_path: Path
) -> None:
    for box in ("box-1", "box-2"):
        await add_box(client, box, site_id)
    assert not (await configure(client, "box-1", {"interval_s": 60}))["published"]
    async with both_running(machines, tmp_path):
        # All at the start.
        await until_retained(machines, {"box-1": {"interval_s": 60}})
        # A change, and another box's.
        await configure(client, "box-1", {"interval_s": 30})
        await configure(client, "box-2", {"leds": False})
        await until_retained(machines, {"box-1": {"interval_s": 30}, "box-2": {"leds": False}})
        assert (await client.get("/v1/boxes/box-1/config")).json()["published"]
        # A removal.
        (await client.delete("/v1/boxes/box-2/config")).raise_for_status()
        await until_retained(machines, {"box-1": {"interval_s": 30}})
        # A deleted box, whose id is used again at once with a configuration.
        (await client.delete("/v1/boxes/box-1")).raise_for_status()
        await add_box(client, "box-1", site_id)
        await configure(client, "box-1", {"interval_s": 10})
        await until_retained(machines, {"box-1": {"interval_s": 10}})
        # And without one.
        (await client.delete("/v1/boxes/box-1")).raise_for_status()
        await add_box(client, "box-1", site_id)
        await until_retained(machines, {})
        assert not (await client.get("/v1/boxes/box-1/config")).json()["published"]


async def test_an_edge_that_was_away_removes_what_is_gone_from_the_database(
    client: httpx.AsyncClient, site_id: str, database: Database, machines: list[EdgeMachine], tmp_path: Path
) -> None:
    for box in ("box-1", "box-2", "box-3"):
        await add_box(client, box, site_id)
        await configure(client, box, {"box": box})
    async with machines[0].running(tmp_path):
        await until_retained(machines[:1], {f"box-{n}": {"box": f"box-{n}"} for n in (1, 2, 3)})
    (await client.delete("/v1/boxes/box-1")).raise_for_status()
    await configure(client, "box-2", {"box": "changed"})
    connection = await database.connect()
    await connection.execute("DELETE FROM boxes WHERE deleted_at IS NOT NULL")
    await connection.close()
    async with machines[0].running(tmp_path):
        expected = {"box-2": {"box": "changed"}, "box-3": {"box": "box-3"}}
        await until_retained(machines[:1], expected)
        await remove_retained(machines[:1])


async def test_a_broker_that_lost_its_messages_gets_all_configurations_again(
    client: httpx.AsyncClient,
    site_id: str,
    database: Database,
    cluster: LogCluster,
    tmp_path: Path,
) -> None:
    await add_box(client, "box-1", site_id)
    await configure(client, "box-1", {"interval_s": 60})
    async with PrivateMosquitto(tmp_path / "broker", accounts=ACCOUNTS) as broker:
        machine = EdgeMachine("c", broker, cluster, database)
        async with machine.running(tmp_path):
            await until_retained([machine], {"box-1": {"interval_s": 60}})
            # Mosquitto saves once a minute.
            broker.kill()
            assert broker.child is not None
            await broker.child.wait()

            async def is_reported() -> bool:
                edge = await machine.report()
                return edge is not None and edge.problem == "broker_unreachable" and not edge.connected

            await until(is_reported)
            await broker.start()
            await machine.until_working()
            await until_retained([machine], {"box-1": {"interval_s": 60}})
