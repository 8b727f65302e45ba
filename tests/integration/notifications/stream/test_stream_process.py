"""The event stream of a real process: how it ends."""

import asyncio
import contextlib
import time
from pathlib import Path
from uuid import UUID

import asyncpg
import httpx

from app.standalone.free_ports import find_free_port
from tests.conftest import Tenant
from tests.integration.notifications.helpers import event
from tests.integration.notifications.streams import PATH, listening, tell
from tests.scenarios.processes import RoleProcess, role, serves, until


async def test_a_process_with_open_streams_stops_at_once(
    tenant: Tenant, connection: asyncpg.Connection, tmp_path: Path
) -> None:
    port = find_free_port()
    url = f"http://127.0.0.1:{port}"
    api = RoleProcess("api", tmp_path / "api.log")
    # Streams hold no session: two are enough for all of them, and for others beside them.
    await api.start(VIGIE_API__PORT=str(port), VIGIE_DATABASE__POOL_SIZE="2")

    await until(lambda: serves(url))
    async with contextlib.AsyncExitStack() as stack:
        streams = [await stack.enter_async_context(listening(url, tenant.key)) for _ in range(10)]
        (message,) = await tell(connection, event(UUID(tenant.id)))
        for heard in streams:
            await heard.wait(1)
            assert heard.messages == [message]
        async with httpx.AsyncClient() as client:
            figures = (await client.get(f"{url}/metrics")).text
            for _ in range(5):
                answer = await client.get(f"{url}/v1/webhooks", headers=tenant.client.headers)
                assert answer.status_code == 200
        assert "vigie_event_streams_open 10.0" in figures
        assert "vigie_event_stream_events_total 10.0" in figures
        status, *_ = await asyncio.gather(api.terminate(), *(heard.end() for heard in streams))
    log = api.log.read_text()
    assert status == 0, log
    # Before the end of the time that a request may take to the end.
    assert "graceful shutdown exceeded" not in log
    assert "unexpected_error" not in log
    assert "Traceback" not in log


async def test_nor_does_a_client_that_reads_nothing_keep_it(
    tenant: Tenant, connection: asyncpg.Connection, tmp_path: Path
) -> None:
    port = find_free_port()
    url = f"http://127.0.0.1:{port}"
    large = {"text": "x" * 20_000}
    async with role("api", tmp_path, VIGIE_API__PORT=str(port)) as api:
        await until(lambda: serves(url))
        async with listening(url, tenant.key) as heard:
            start = heard.last_id
        organisation = UUID(tenant.id)
        records = (event(organisation)._replace(payload=large) for _ in range(1000))
        await tell(connection, *records)
        reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=1024)
        head = f"GET {PATH}?after={start} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {tenant.key}\r\n\r\n"
        writer.write(head.encode())
        await reader.readline()
        began = time.monotonic()
        assert await api.terminate() == 0
        assert time.monotonic() - began < 15, "a client may take 30 s to read"
        writer.close()
    assert "Traceback" not in api.log.read_text()
