"""What a rehearsal sees of an edge's broker: configurations, and when the access of a box ends."""

import asyncio
import os
import signal
import time
from collections.abc import AsyncIterator
from pathlib import Path

import aiomqtt
import pytest

from app.standalone.free_ports import find_free_port
from app.standalone.private_mosquitto import PrivateMosquitto
from bench.publisher import BrokerAccount
from tools.clusters.cluster_nodes import ClusterError
from tools.clusters.edge_probes import (
    is_accepted,
    measure_stale_access,
    wait_for_configurations,
    watch_account,
)

ACCOUNTS = {"ingest": "ingest-pw", "gateway": "gateway-pw", "box-1": "one"}


@pytest.fixture
async def broker(folder: Path) -> AsyncIterator[PrivateMosquitto]:
    async with PrivateMosquitto(folder / "mosquitto", accounts=ACCOUNTS) as running:
        yield running


def account_of(broker: PrivateMosquitto, name: str) -> BrokerAccount:
    return BrokerAccount(broker.host, broker.port, name, ACCOUNTS[name])


def remove_box(broker: PrivateMosquitto) -> None:
    lines = broker.password_file.read_text().splitlines()
    broker.password_file.write_text("".join(f"{line}\n" for line in lines if not line.startswith("box-1:")))
    os.kill(broker.pid, signal.SIGHUP)


async def test_sees_when_a_box_is_cut_off_and_refused(broker: PrivateMosquitto) -> None:
    box = account_of(broker, "box-1")
    assert await is_accepted(box) is True
    async with watch_account(box) as end:
        await asyncio.sleep(0.3)
        assert end.cut_at is end.refused_at is None
        began = time.monotonic()
        remove_box(broker)
        async with asyncio.timeout(60):
            await end.is_over.wait()
    seconds = end.count_seconds(began)
    assert seconds is not None
    assert seconds > 0
    assert await is_accepted(box) is False


async def test_a_broker_that_does_not_answer_neither_accepts_nor_refuses() -> None:
    account = BrokerAccount("127.0.0.1", find_free_port(), "box-1", "one")
    assert await is_accepted(account) is None
    with pytest.raises(ClusterError, match="does not accept the connection of box-1"):
        async with watch_account(account):
            pass


async def test_measures_for_how_long_an_ended_account_is_accepted(broker: PrivateMosquitto) -> None:
    measuring = asyncio.create_task(measure_stale_access(account_of(broker, "box-1")))
    await asyncio.sleep(0.6)
    assert not measuring.done()
    remove_box(broker)
    async with asyncio.timeout(60):
        assert await measuring > 0.3


async def test_waits_for_the_configurations_of_all_boxes(broker: PrivateMosquitto) -> None:
    gateway = account_of(broker, "gateway")
    async with aiomqtt.Client(broker.host, broker.port, username="ingest", password="ingest-pw") as client:
        await client.publish("vigie/v1/box-1/config", b"{}", retain=True, qos=1)
        with pytest.raises(ClusterError, match="1 of 2"):
            await wait_for_configurations(gateway, 2, 2.0)
        waiting = asyncio.create_task(wait_for_configurations(gateway, 2, 60.0))
        await asyncio.sleep(0.2)
        await client.publish("vigie/v1/box-2/config", b"{}", retain=True, qos=1)
        await waiting
