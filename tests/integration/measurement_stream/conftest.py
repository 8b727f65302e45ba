"""A tenant whose samples go through ingest by HTTP, and readers with the roles that read the stream."""

import asyncio
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import asyncpg
import pytest
from fastapi import FastAPI

from app.measurement_stream.item_reader import START, read_items
from app.measurement_stream.items import Item, StreamFilter, StreamPosition
from app.measurement_stream.sequencer import run_sequencer
from app.platform.db.database import Database, RawConnection
from app.platform.kernel.tenant_scope import TenantScope
from app.settings import VigieSettings
from app.timeseries.commit_log.stream_positions import PositionAssigner
from tests.conftest import Tenant
from tests.integration.notifications.streams import serving

NOW = datetime.now(UTC).replace(microsecond=0) - timedelta(hours=3)
NO_FILTER = StreamFilter()


@dataclass(frozen=True)
class StreamReader:
    """Reads the stream as one of the processes does."""

    connection: RawConnection
    scope: TenantScope
    owner: asyncpg.Connection

    def within(self, scope: TenantScope) -> "StreamReader":
        return replace(self, scope=scope)

    async def assign(self) -> None:
        assigner = PositionAssigner(self.owner)
        while (await assigner.assign()).rows:
            pass

    async def read(
        self, filter_: StreamFilter = NO_FILTER, *, after: StreamPosition = START, limit: int = 1000
    ) -> list[Item]:
        """Assign positions, and read everything, a page after the other."""
        await self.assign()
        found: list[Item] = []
        while True:
            page = await read_items(self.connection, self.scope, after, filter_, limit)
            assert len(page.items) <= limit
            assert page.next >= after
            found += page.items
            after = page.next
            if not page.full:
                return found


async def open_reader(settings: VigieSettings, tenant: Tenant, role: str) -> AsyncIterator[StreamReader]:
    owner = await asyncpg.connect(settings.database.url)
    database = Database(settings.database, application="tests", role=role, tenants=role == "vigie_api")
    # As that of the subscriptions, which shows nothing without a tenant scope.
    pool = await database.pool(size=1, everything=role != "vigie_deliver")
    async with pool.acquire() as connection:
        yield StreamReader(connection, TenantScope.of([UUID(tenant.id)]), owner)
    await pool.close()
    await database.close()
    await owner.close()


@pytest.fixture(params=["vigie_api", "vigie_deliver"])
async def stream(
    request: pytest.FixtureRequest, settings: VigieSettings, tenant: Tenant
) -> AsyncIterator[StreamReader]:
    async for reader in open_reader(settings, tenant, request.param):
        yield reader


@pytest.fixture
async def boxes(tenant: Tenant, site_id: str) -> list[str]:
    made = ["box-0001", "box-0002", "box-0003"]
    for box in made:
        answer = await tenant.client.post("/v1/boxes", json={"id": box, "site_id": site_id})
        answer.raise_for_status()
    return made


@pytest.fixture
async def sequenced(settings: VigieSettings) -> AsyncIterator[None]:
    database = Database(settings.database, application="tests", role="vigie_deliver")
    stop = asyncio.Event()
    running = asyncio.create_task(run_sequencer(database, stop))
    yield
    stop.set()
    await running
    await database.close()


@pytest.fixture
async def url(application: FastAPI, sequenced: None) -> AsyncIterator[str]:  # noqa: ARG001 (runs)
    async with serving(application) as served:
        yield served


@pytest.fixture
async def owner(settings: VigieSettings) -> AsyncIterator[asyncpg.Connection]:
    opened = await asyncpg.connect(settings.database.url)
    yield opened
    await opened.close()


def at(seconds: float) -> str:
    return (NOW + timedelta(seconds=seconds)).isoformat()


async def send(
    tenant: Tenant,
    box: str,
    *samples: tuple[float, Mapping[str, float]],
    **more: Any,  # noqa: ANN401 (JSON)
) -> dict[str, Any]:
    """Send samples by HTTP: (seconds, values)."""
    body = [{"time": at(seconds), "values": values, **more} for seconds, values in samples]
    answer = await tenant.client.post("/v1/telemetry", json={"box": box, "samples": body})
    found: dict[str, Any] = answer.raise_for_status().json()
    return found


def seconds_of(item: Item) -> float:
    return item.time_us / 1e6 - NOW.timestamp()


def outline(items: Iterable[Item]) -> Sequence[tuple[str, float, dict[str, float]]]:
    return [(item.box, seconds_of(item), dict(item.values)) for item in items]
