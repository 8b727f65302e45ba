"""Links that carry nothing, or next to nothing: between ingest and what it needs, and from a client to us."""

import asyncio
import json
import socket
import time
from contextlib import suppress
from pathlib import Path
from urllib.parse import urlsplit

import aiomqtt
import httpx
import pytest

from app.standalone.free_ports import find_free_port
from app.standalone.private_mosquitto import PrivateMosquitto
from tests.conftest import Tenant
from tests.faults.fleet import FaultFleet, body
from tests.faults.harness import FaultReport, FaultSize
from tests.faults.proxy import FaultyProxy, proxied
from tests.scenarios.processes import role, until

pytestmark = pytest.mark.fault


def _behind(url: str, proxy: FaultyProxy) -> str:
    return url.replace(f":{urlsplit(url).port}/", f":{proxy.port}/")


async def test_09_partition(
    fleet: FaultFleet, mosquitto: PrivateMosquitto, size: FaultSize, report: FaultReport, tmp_path: Path
) -> None:
    """First the broker cannot be reached, then the database: connections stay open, and carry nothing."""
    async with (
        proxied(mosquitto.host, mosquitto.port) as broker,
        proxied("127.0.0.1", urlsplit(fleet.database_url).port or 0) as database,
        role(
            "ingest",
            tmp_path,
            VIGIE_BROKER__PORT=str(broker.port),
            VIGIE_DATABASE__URL=_behind(fleet.database_url, database),
            VIGIE_DATABASE__COMMAND_TIMEOUT_S=str(size.of(1, 30)),
            VIGIE_INGEST__KEEPALIVE_S=str(size.of(5, 30)),
        ),
    ):
        await fleet.consuming()
        async with fleet.load(size.of(0.04, 0.2)):
            for proxy in (broker, database):
                await fleet.more(await fleet.rows() + 100, patience_s=60)
                made = proxy.connections
                proxy.partition()
                await asyncio.sleep(size.of(1, 90))
                proxy.heal()
                fleet.healed()
                await fleet.more(await fleet.rows(), patience_s=60)

                async def reconnected(proxy: FaultyProxy = proxy, made: int = made) -> bool:
                    return proxy.connections > made

                # What was received before the partition may have been committed since, and is no sign of it.
                await until(reconnected)
        report.add("09 partition, broker and database", await fleet.outcome(patience_s=60, ordered=True))


async def test_10_slow_clients(
    *,
    fleet: FaultFleet,
    tenant: Tenant,
    mosquitto: PrivateMosquitto,
    size: FaultSize,
    report: FaultReport,
    tmp_path: Path,
) -> None:
    """At a byte a second: a box at the broker, and three clients of the API. All others are served."""
    port = find_free_port()
    patience_s = size.of(1, 30)
    async with (
        role("api", tmp_path, VIGIE_API__PORT=str(port), VIGIE_API__PATIENCE_S=str(patience_s)),
        role("ingest", tmp_path),
        proxied("127.0.0.1", port) as to_api,
        proxied(mosquitto.host, mosquitto.port) as to_broker,
        httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", headers=tenant.client.headers) as client,
    ):
        await fleet.consuming()

        async def serves() -> bool:
            with suppress(httpx.HTTPError):
                return (await client.get("/healthz")).status_code == 200
            return False

        await until(serves)
        # The first request for the document makes it, for seconds in which no other is answered.
        (await client.get("/openapi.json", timeout=60)).raise_for_status()
        to_api.bytes_per_s = to_broker.bytes_per_s = 1
        box = asyncio.create_task(_slow_box(to_broker))
        slow = [
            asyncio.create_task(_trickle(to_api.port, b"GET /v1/sites HTTP/1.1\r\n" + b"x-slow: 1\r\n" * 20)),
            asyncio.create_task(_body_that_trickles(port, tenant.key, fleet.boxes[0])),
            asyncio.create_task(_answer_not_read(port)),
        ]
        done: set[asyncio.Task[bytes]] = set()
        async with fleet.load():
            while len(done) < len(slow):
                # Meanwhile others are answered, however long the slow ones take.
                fleet.note(fleet.boxes[1], 100_000 + len(fleet.sent))
                call = {"box": fleet.boxes[1], "samples": [body(100_000 + len(fleet.sent) - 1)]}
                answer = await client.post("/v1/telemetry", json=call, timeout=10)
                assert answer.raise_for_status().json()["stored"] == 1
                done, _ = await asyncio.wait(slow, timeout=0.2)
            fleet.healed()
        assert not box.done(), "the broker gives a client a minute and more: it costs it one descriptor"
        box.cancel()
        await asyncio.gather(box, return_exceptions=True)
        head, refusal, _ = [task.result() for task in slow]
        assert head == b""
        assert refusal.startswith(b"HTTP/1.1 408 ")
        assert b'"body_too_slow"' in refusal
        report.add("10 slow and half-open clients", await fleet.outcome())


async def _slow_box(proxy: FaultyProxy) -> None:
    async with aiomqtt.Client(
        "127.0.0.1", proxy.port, username="gateway", password="gateway-password", timeout=300
    ):
        pass


async def _trickle(port: int, data: bytes) -> bytes:
    """Send a head through the slow proxy, and wait for what comes of it: nothing but the end."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(data)
    try:
        async with asyncio.timeout(60):
            return await reader.read()
    except ConnectionError:
        return b""
    finally:
        writer.close()


async def _body_that_trickles(port: int, key: str, box: str) -> bytes:
    """Announce a body, and send a byte of it now and then."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    text = json.dumps({"box": box, "samples": [body(1)]})
    head = (
        f"POST /v1/telemetry HTTP/1.1\r\nhost: vigie.test\r\nauthorization: Bearer {key}\r\n"
        f"content-type: application/json\r\ncontent-length: {len(text)}\r\n\r\n"
    )
    writer.write(head.encode())
    answer = asyncio.create_task(reader.read())
    try:
        async with asyncio.timeout(60):
            for byte in text.encode():
                writer.write(bytes([byte]))
                if (await asyncio.wait({answer}, timeout=0.3))[0]:
                    return answer.result()
        raise AssertionError("it was never told to stop")
    finally:
        answer.cancel()
        writer.close()


async def _answer_not_read(port: int) -> bytes:
    """Ask for large answers, one after the other, and read none of them."""
    narrow = socket.socket()
    narrow.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    narrow.setblocking(False)
    await asyncio.get_running_loop().sock_connect(narrow, ("127.0.0.1", port))
    reader, writer = await asyncio.open_connection(sock=narrow, limit=1)
    began = time.monotonic()
    request = b"GET /openapi.json HTTP/1.1\r\nhost: vigie.test\r\n\r\n"
    try:
        while time.monotonic() - began < 60:
            writer.write(request)
            await writer.drain()
            await asyncio.sleep(0.02)
            if reader.at_eof() or writer.transport.is_closing():
                return b""
        raise AssertionError("it was never cut")
    except ConnectionError:
        return b""
    finally:
        writer.transport.abort()
