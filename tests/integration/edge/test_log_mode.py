"""What other processes leave to edges, or do at all of them, in an installation with several brokers."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import aiomqtt
import pytest
from fastapi import FastAPI
from pydantic import SecretStr

from app.message_log.settings import MessageLogSettings
from app.notifications.delivery.transport_types import AttemptOutcome, LeasedDelivery
from app.notifications.mqtt import edges_transport
from app.notifications.mqtt.edges_transport import EdgesTransport
from app.platform.broker.edges import EdgeReport, list_edges, report_edge
from app.platform.config.platform_settings import BrokerSettings
from app.platform.db.database import Database
from app.platform.kernel.application_resources import get_resource, provide_resources
from app.platform.runtime.health_router import ReadinessProbe
from app.settings import VigieSettings
from app.standalone.free_ports import find_free_port
from app.standalone.private_mosquitto import PrivateMosquitto
from tests.conftest import Tenant
from tests.integration.notifications.helpers import claim_of
from tests.integration.registry.test_broker_password_file import add_box, inode
from tests.integration.test_maintain import maintaining
from tests.roles import working_as
from tests.scenarios.processes import until

OURS = uuid4()
PASSWORDS = {"ingest": "ingest-password", f"@{OURS}": "our-password"}
LOG = MessageLogSettings(engine="jetstream", servers=["127.0.0.1:1"])


@pytest.fixture(scope="module")
async def sinks(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[list[PrivateMosquitto]]:
    """The brokers of two edges, with a subscriber's account."""
    async with AsyncExitStack() as opened:
        yield [
            await opened.enter_async_context(
                PrivateMosquitto(tmp_path_factory.mktemp(f"sink-{name}"), accounts=PASSWORDS)
            )
            for name in "ab"
        ]


STARTED_AT = datetime.now(UTC)


async def report(
    database: Database, name: str, port: int, *, silent_s: float = 0, connected: bool = True
) -> None:
    """Report as an edge does, some seconds ago."""
    async with working_as("maintain", database) as opened:
        connection = await opened.connect()
        edge = EdgeReport(name, "127.0.0.1", port, STARTED_AT, connected, None, None, 0, None)
        assert await report_edge(connection, edge)
        await connection.close()
    connection = await database.connect()
    await connection.execute(
        "UPDATE edges SET seen_at = clock_timestamp() - make_interval(secs => $2) WHERE name = $1",
        name,
        silent_s,
    )
    await connection.close()


@asynccontextmanager
async def opened(database: Database) -> AsyncIterator[EdgesTransport]:
    settings = BrokerSettings(username="ingest", password=SecretStr(PASSWORDS["ingest"]))
    async with working_as("deliver", database) as mine, EdgesTransport(settings, mine) as transport:
        yield transport


class Subscriber:
    """An organisation's subscriber at one broker."""

    def __init__(self, broker: PrivateMosquitto) -> None:
        self.bodies: list[Any] = []
        self._broker = broker

    @asynccontextmanager
    async def listening(self) -> AsyncIterator[None]:
        name = f"@{OURS}"
        async with aiomqtt.Client(
            self._broker.host, self._broker.port, username=name, password=PASSWORDS[name], timeout=20
        ) as client:
            await client.subscribe(f"vigie/v1/{name}/alerts/#", qos=1)
            task = asyncio.create_task(self._listen(client))
            try:
                yield
                await asyncio.sleep(0.1)
            finally:
                task.cancel()
                await asyncio.gather(task, return_exceptions=True)

    async def _listen(self, client: aiomqtt.Client) -> None:
        async for message in client.messages:
            assert isinstance(message.payload, bytes)
            self.bodies.append(json.loads(message.payload)["id"])


def claimed(number: int) -> LeasedDelivery:
    body = json.dumps({"id": number}).encode()
    return claim_of("", "", body, organisation_id=OURS, kind="mqtt", target={}, id=UUID(int=number))


async def send(transport: EdgesTransport, claim: LeasedDelivery) -> AttemptOutcome:
    return await transport.send(claim, datetime.now(UTC))


async def test_an_alert_reaches_the_subscribers_of_every_edge(
    database: Database, sinks: list[PrivateMosquitto]
) -> None:
    subscribers = [Subscriber(broker) for broker in sinks]
    for name, broker in zip("ab", sinks, strict=True):
        await report(database, name, broker.port)
    async with subscribers[0].listening(), subscribers[1].listening(), opened(database) as transport:
        assert (await send(transport, claimed(1))).delivered
        assert (await send(transport, claimed(2))).delivered
    assert [each.bodies for each in subscribers] == [[1, 2], [1, 2]]


async def test_two_edges_with_one_name_are_distinguished(database: Database) -> None:
    await report(database, "a", 1883)
    copy = EdgeReport("a", "127.0.0.2", 1884, STARTED_AT + timedelta(seconds=9), True, None, None, 0, None)
    async with working_as("maintain", database) as mine:
        connection = await mine.connect()
        assert not await report_edge(connection, copy), "the other one still reports"
        (edge,) = await list_edges(connection)
        assert (edge.port, edge.started_at) == (1883, STARTED_AT)
        await report(database, "a", 1883, silent_s=6)
        assert await report_edge(connection, copy), "it is gone: a restart takes its name over"
        await connection.close()


async def test_a_live_edge_that_fails_is_tried_again_alone(
    database: Database, sinks: list[PrivateMosquitto], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(edges_transport, "_LIST_EVERY_S", 0.0)
    subscriber, late = Subscriber(sinks[0]), Subscriber(sinks[1])
    await report(database, "a", sinks[0].port)
    await report(database, "b", find_free_port())
    async with subscriber.listening(), late.listening(), opened(database) as transport:
        assert (await send(transport, claimed(3))).reason == "connect_failed"
        await report(database, "a", sinks[0].port)
        await report(database, "b", sinks[1].port)
        assert (await send(transport, claimed(3))).delivered
    assert (subscriber.bodies, late.bodies) == ([3], [3])


@pytest.mark.parametrize("reported", [{"silent_s": 20}, {"connected": False}])
async def test_a_dead_edge_blocks_no_alert(
    database: Database, sinks: list[PrivateMosquitto], reported: dict[str, Any]
) -> None:
    """Its broker accepts connections and says nothing: the alert is delivered before that is given up."""
    given_up = asyncio.Event()

    async def hang(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()  # until the client closes
        given_up.set()
        writer.close()

    hanging = await asyncio.start_server(hang, "127.0.0.1", 0)
    subscriber = Subscriber(sinks[0])
    await report(database, "a", sinks[0].port)
    await report(database, "b", hanging.sockets[0].getsockname()[1], **reported)
    async with subscriber.listening(), opened(database) as transport:
        outcome = await send(transport, claimed(4))
        assert not given_up.is_set()
    hanging.close()
    assert outcome.delivered
    assert subscriber.bodies == [4]


async def test_a_silent_edge_gets_alerts_too_while_it_may_be_alive(
    database: Database, sinks: list[PrivateMosquitto]
) -> None:
    subscriber = Subscriber(sinks[1])
    await report(database, "a", sinks[0].port)
    await report(database, "b", sinks[1].port, silent_s=30)
    async with subscriber.listening(), opened(database) as transport:
        assert (await send(transport, claimed(5))).delivered
        await report(database, "b", sinks[1].port, silent_s=61)
        await asyncio.sleep(1.1)
        assert (await send(transport, claimed(6))).delivered
    assert subscriber.bodies == [5]


async def test_without_any_edge_an_alert_waits(database: Database) -> None:
    async with opened(database) as transport:
        assert (await send(transport, claimed(7))).reason == "connect_failed"


async def test_readiness_needs_an_edge_instead_of_the_own_broker(
    settings: VigieSettings, application: FastAPI, database: Database
) -> None:
    alone = settings.model_copy(
        update={
            "broker": settings.broker.model_copy(update={"port": find_free_port()}),
            "api": settings.api.model_copy(update={"ready_requires": ["database", "broker"]}),
        }
    )
    probe = ReadinessProbe(alone, get_resource(application, Database), patience_s=30, has_edges=True)

    async def state() -> tuple[bool, str]:
        probe._checked_at = 0.0
        found = await probe.readiness()
        return found.ready, found.dependencies["broker"].detail

    assert await state() == (False, "no edge has reported within 10 s")
    await report(database, "a", 1, silent_s=11)
    assert await state() == (False, "no edge has reported within 10 s")
    await report(database, "a", 1, silent_s=4, connected=False)
    assert await state() == (False, "no edge is connected to its broker")
    await report(database, "b", 1, silent_s=4)
    assert await state() == (True, "")


async def test_the_api_writes_no_file_and_publishes_nothing(
    application: FastAPI, tenant: Tenant, site_id: str, mosquitto: PrivateMosquitto
) -> None:
    provide_resources(application, LOG)
    before = inode(mosquitto.password_file)
    made = await tenant.client.post("/v1/boxes", json={"id": "quiet", "site_id": site_id})
    assert made.status_code == 201
    put = await tenant.client.put("/v1/boxes/quiet/config", json={"config": {"a": 1}})
    assert put.status_code == 200
    assert not put.json()["published"]
    body = {"ids": ["quiet"], "operation": {"type": "configure", "config": {"a": 2}}}
    changed = await tenant.client.post("/v1/boxes/bulk/operations", json=body)
    assert changed.json()["results"][0]["result"] == "changed", changed.text
    assert inode(mosquitto.password_file) == before
    assert not (await tenant.client.get("/v1/boxes/quiet/config")).json()["published"]


async def test_maintain_leaves_the_broker_to_edges(
    site_id: str, settings: VigieSettings, database: Database, mosquitto: PrivateMosquitto
) -> None:
    before = inode(mosquitto.password_file)
    connection = await database.connect()
    await add_box(database, site_id, "quiet", "secret")
    await connection.execute(
        "INSERT INTO box_configs (box_key, desired, desired_at) SELECT key, '{}', now() FROM boxes"
    )
    async with maintaining(settings.model_copy(update={"message_log": LOG}), database) as process:
        await until(lambda: asyncio.sleep(0, process.state == "working"))
        await asyncio.sleep(2.0)
        assert not await connection.fetchval("SELECT count(*) FROM heartbeats WHERE role = 'broker'")
    assert not await connection.fetchval("SELECT count(published_at) FROM box_configs")
    assert inode(mosquitto.password_file) == before
    await connection.close()


async def test_a_deleted_box_does_not_wait_for_edges(
    site_id: str, settings: VigieSettings, database: Database
) -> None:
    connection = await database.connect()
    await add_box(database, site_id, "gone", "secret")
    await connection.execute("INSERT INTO box_configs (box_key, desired_at) SELECT key, now() FROM boxes")
    await connection.execute("UPDATE boxes SET deleted_at = now() - interval '1 hour'")

    async def is_purged() -> bool:
        return not await connection.fetchval("SELECT count(*) FROM boxes")

    async with maintaining(settings.model_copy(update={"message_log": LOG}), database):
        await until(is_purged)
    await connection.close()
