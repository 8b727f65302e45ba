"""The client of the event stream, on a real API: it goes on by itself, and says what a person needs."""

import asyncio
import contextlib
import os
import re
import sys
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import UUID

import asyncpg
import pytest
from fastapi import FastAPI

from app.notifications.stream.event_stream import StreamCursor
from app.platform.db.database import Database
from simulators.event_stream_client import StreamFilter, follow_stream
from simulators.rest_client import ApiError
from simulators.target_stack import TargetError, TargetStack
from tests.conftest import Tenant
from tests.faults.proxy import proxied
from tests.integration.notifications.helpers import alert_event, event, until
from tests.integration.notifications.streams import serving, tell


@pytest.fixture
async def connection(database: Database) -> AsyncIterator[asyncpg.Connection]:
    opened = await database.connect()
    yield opened
    await opened.close()


async def test_it_goes_on_after_a_break(
    application: FastAPI, tenant: Tenant, connection: asyncpg.Connection
) -> None:
    lines: list[str] = []

    async def heard(text: str) -> None:
        async def said() -> bool:
            return any(text in line for line in lines)

        await until(said)

    organisation = UUID(tenant.id)
    async with serving(application) as url, proxied("127.0.0.1", int(url.rpartition(":")[2])) as proxy:
        address = f"http://127.0.0.1:{proxy.port}"
        wish = StreamFilter(types=("alert.firing", "alert.resolved"), count=3)
        following = asyncio.create_task(follow_stream(address, tenant.key, wish, lines.append))

        async def answered() -> bool:
            return proxy.answered > 0

        # With the first byte of the answer it is settled where the stream begins.
        await until(answered)
        first = await tell(connection, alert_event(organisation, metric="pm2_5", value=31.2))
        await heard(first[0][-16:])
        proxy.partition()
        proxy.heal()
        others = await tell(
            connection,
            event(organisation),
            event(organisation, type_="alert.escalated"),
            event(organisation, type_="alert.resolved"),
        )
        async with asyncio.timeout(60):
            assert await following == 0
    assert "broke off" in "".join(lines) or "ended" in "".join(lines)
    told = [line for line in lines if line[:16] in {name[-16:] for name in first + others}]
    assert [line[:16] for line in told] == [name[-16:] for name in (first[0], others[0], others[2])]
    assert "alert.firing warning box-0001 pm2_5 31.2" in told[0]
    assert lines[-1].startswith("to resume from here: --after ")


async def test_it_says_what_is_missing_and_what_is_refused(
    application: FastAPI, tenant: Tenant, admin_key: str, connection: asyncpg.Connection
) -> None:
    lines: list[str] = []
    await tell(connection, event(UUID(tenant.id)))
    ancient = StreamCursor(0, datetime.now(UTC) - timedelta(days=30)).token(UUID(tenant.id))
    async with serving(application) as url:
        wish = StreamFilter(after=ancient, organisation="Tenant", count=1)
        assert await follow_stream(url, admin_key, wish, lines.append) == 0
        assert any(line.startswith("events were MISSED: stream.reset") for line in lines)
        with pytest.raises(ApiError, match="invalid_cursor"):
            await follow_stream(url, tenant.key, StreamFilter(after="x"), lines.append)
        with pytest.raises(TargetError, match="no organisation 'Nobody'"):
            await follow_stream(url, tenant.key, StreamFilter(organisation="Nobody"), lines.append)


async def test_the_command(target: TargetStack, tmp_path: Path, tenant: Tenant, database: Database) -> None:
    # Without a run file, and without a word on a broker: address and key are enough.
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "app", "simulate", "listen", "--run", str(tmp_path / "none.json")),
        *("--api", target.api, "--key", target.key),
        *("--organisation", tenant.id, "--types", "alert.firing", "--min-severity", "critical"),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        env=dict(os.environ),
    )
    assert process.stdout is not None
    connection = await database.connect()
    try:
        async with asyncio.timeout(60):
            assert target.api.encode() in await process.stdout.readline()
            said = asyncio.create_task(process.stdout.readline())
            while not said.done():
                # Until it is connected nothing is for it: it begins with what happens then.
                await tell(connection, alert_event(UUID(tenant.id), severity="critical", metric="laeq"))
                await asyncio.wait({said}, timeout=0.3)
            assert re.search(rb"[0-9a-f]{16} alert\.firing critical box-0001 laeq", said.result())
            process.terminate()
            assert await process.wait() == 0
            assert b"to resume from here: --after " in await process.stdout.read()
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()
        await connection.close()
