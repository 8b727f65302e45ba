"""A box that asks for acknowledgements gets them by name, after the commit, over the real broker."""

import asyncio
import gc
import json
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiomqtt
import asyncpg
import pytest

from app.ingest import ack_connection
from app.ingest.ack_publisher import AckPublisher
from app.ingest.pipeline.batch_receipt import BoxAck
from app.ingest.prometheus_metrics import ACKS_FAILED, ACKS_SENT
from app.platform.config.platform_settings import BrokerSettings
from app.platform.observability.metric_types import Counter
from app.settings import VigieSettings
from app.standalone.private_mosquitto import PrivateMosquitto
from tests.conftest import Tenant
from tests.scenarios.processes import role, until


async def test_a_box_is_told_what_is_committed_and_what_was_refused(
    tenant: Tenant, site_id: str, mosquitto: PrivateMosquitto, settings: VigieSettings, tmp_path: Path
) -> None:
    body = {"id": "acked", "site_id": site_id, "ack": True}
    password = (await tenant.client.post("/v1/boxes", json=body)).raise_for_status().json()["credentials"]
    connection = await asyncpg.connect(settings.database.url)
    client = aiomqtt.Client(
        mosquitto.host, mosquitto.port, username="acked", password=password["password"], identifier="acked"
    )
    told: list[dict[str, Any]] = []

    async def read() -> None:
        async for message in client.messages:
            assert isinstance(message.payload, bytes)
            told.append(json.loads(message.payload))
            stored = await connection.fetchval("SELECT count(*) FROM samples")
            assert stored >= len(told[-1].get("seqs", []))

    async with client, role("ingest", tmp_path):
        await client.subscribe("vigie/v1/acked/ack", qos=1)
        reading = asyncio.create_task(read())

        async def consuming() -> bool:
            query = "SELECT count(*) FROM heartbeats WHERE role = 'ingest' AND state = 'consuming'"
            return bool(await connection.fetchval(query))

        await until(consuming)
        for seq, values in ((1, {"co2": 400}), (2, {"warp": 1}), (3, {"co2": 410})):
            sample = {"seq": seq, "time": f"2026-11-24T10:00:0{seq}Z", "values": values}
            await client.publish("vigie/v1/acked/telemetry", json.dumps(sample), qos=1)

        async def complete() -> bool:
            return len([seq for ack in told for seq in ack.get("seqs", [])]) == 2 and any(
                "rejected" in ack for ack in told
            )

        await until(complete)
        reading.cancel()
    assert sorted(seq for ack in told for seq in ack.get("seqs", [])) == [1, 3]
    refused = [entry for ack in told for entry in ack.get("rejected", [])]
    assert refused == [{"seq": 2, "code": "unknown_metric"}]
    await connection.close()


def count(counter: Counter) -> float:
    return float(next(iter(counter.collect())).samples[0].value)


def make_acks(number: int) -> dict[str, BoxAck]:
    return {f"box-{index}": BoxAck(seqs=[index]) for index in range(number)}


class SlowAnswers:
    """Passes a connection to the broker on, and its answers only while `passes` is set."""

    def __init__(self, broker: PrivateMosquitto) -> None:
        self._broker = broker
        self.passes = asyncio.Event()
        self.passes.set()
        self.port = 0

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port = server.sockets[0].getsockname()[1]
        async with server:
            yield

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        answers, requests = await asyncio.open_connection(self._broker.host, self._broker.port)
        copies = [
            asyncio.create_task(self._copy(reader, requests, None)),
            asyncio.create_task(self._copy(answers, writer, self.passes)),
        ]
        await asyncio.wait(copies, return_when=asyncio.FIRST_COMPLETED)
        for copy in copies:
            copy.cancel()
        for end in (writer, requests):
            end.close()

    async def _copy(
        self, source: asyncio.StreamReader, target: asyncio.StreamWriter, gate: asyncio.Event | None
    ) -> None:
        while data := await source.read(65_536):
            if gate is not None:
                await gate.wait()
            target.write(data)


@asynccontextmanager
async def slow_broker(
    folder: Path,
) -> AsyncIterator[tuple[PrivateMosquitto, SlowAnswers, AckPublisher]]:
    """Run a broker, a proxy before it, and a publisher that has published once."""
    async with PrivateMosquitto(folder / "mosquitto", accounts={"ingest": "ingest-pw"}) as broker:
        proxy = SlowAnswers(broker)
        async with proxy.running():
            settings = BrokerSettings(
                host="127.0.0.1", port=proxy.port, username="ingest", password="ingest-pw"
            )
            publisher = AckPublisher(settings, client_id="acks")
            publisher.start()
            before = count(ACKS_SENT)
            publisher.publish(make_acks(1))

            async def is_connected() -> bool:
                return count(ACKS_SENT) == before + 1

            await until(is_connected)
            yield broker, proxy, publisher
            await publisher.stop()


async def test_acknowledgements_do_not_wait_for_each_other(folder: Path) -> None:
    async with slow_broker(folder) as (broker, proxy, publisher):
        received: list[str] = []
        box = aiomqtt.Client(broker.host, broker.port, username="ingest", password="ingest-pw")

        async def read() -> None:
            async for message in box.messages:
                received.append(str(message.topic))  # noqa: PERF401 (the test looks at it meanwhile)

        async with box:
            await box.subscribe("vigie/v1/+/ack", qos=1)
            reading = asyncio.create_task(read())
            proxy.passes.clear()
            sent = count(ACKS_SENT)
            publisher.publish(make_acks(1_000))

            async def all_arrived() -> bool:
                return len(received) == 1_000

            await until(all_arrived)
            assert count(ACKS_SENT) == sent
            proxy.passes.set()

            async def all_confirmed() -> bool:
                return count(ACKS_SENT) == sent + 1_000

            await until(all_confirmed)
            reading.cancel()
    assert received == [f"vigie/v1/box-{index}/ack" for index in range(1_000)]


async def test_a_silent_broker_is_left_and_what_it_did_not_confirm_counts_as_failed(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with slow_broker(folder) as (_, proxy, publisher):
        monkeypatch.setattr(ack_connection, "SILENCE_S", 0.5)
        sent, failed = count(ACKS_SENT), count(ACKS_FAILED)
        proxy.passes.clear()
        publisher.publish(make_acks(20))

        async def is_counted() -> bool:
            return count(ACKS_FAILED) == failed + 20

        await until(is_counted)
        proxy.passes.set()

        async def is_back() -> bool:
            publisher.publish(make_acks(1))
            return count(ACKS_SENT) > sent

        await until(is_back)


async def test_a_lost_broker_costs_acknowledgements_and_no_line_for_each(
    folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    gc.collect()  # what other tests left is not this one's
    caplog.clear()
    caplog.set_level(logging.WARNING)
    many = make_acks(300)
    sent, failed = count(ACKS_SENT), count(ACKS_FAILED)
    async with PrivateMosquitto(folder / "mosquitto", accounts={"ingest": "ingest-pw"}) as broker:
        settings = BrokerSettings(host=broker.host, port=broker.port, username="ingest", password="ingest-pw")
        publisher = AckPublisher(settings, client_id="acks")
        publisher.start()

        async def publish_until(counter: Counter, least: float) -> None:
            async def is_reached() -> bool:
                return count(counter) >= least

            publisher.publish(many)
            await until(is_reached)

        await publish_until(ACKS_SENT, sent + 300)
        assert count(ACKS_FAILED) == failed
        await broker.stop()
        await publish_until(ACKS_FAILED, failed + 300)
        await broker.start()

        async def is_back() -> bool:
            publisher.publish(make_acks(1))
            return count(ACKS_SENT) > sent + 300

        await until(is_back)
        await publish_until(ACKS_SENT, count(ACKS_SENT) + 300)
        await publisher.stop()
    gc.collect()
    await asyncio.sleep(0)
    lines = [record.getMessage() for record in caplog.records if record.name in {"mqtt", "asyncio"}]
    assert not [line for line in lines if "pending publish calls" in line or "never retrieved" in line]
