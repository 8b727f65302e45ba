"""Back-tests in tests: samples that are stored, somebody who works, and what a client asks."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime, timedelta
from typing import Any

import asyncpg

from app.catalogue.metrics import INDEX
from app.platform.db.database import Database
from app.rules.backtests.worker import BacktestWorker
from tests.conftest import Tenant
from tests.roles import working_as

START = datetime(2026, 3, 1, tzinfo=UTC)
CONDITION = {"metric": "pm2_5", "operator": ">", "threshold": 25, "clear": 20}
RANGE = {"from": "2026-03-01T00:00:00Z", "to": "2026-03-02T00:00:00Z"}


def rule(condition: dict[str, Any] = CONDITION, **fields: Any) -> dict[str, Any]:  # noqa: ANN401 (as JSON)
    return {"severity": "warning", "condition": condition, **fields}


@asynccontextmanager
async def working(database: Database, pause_s: float = 0.01) -> AsyncIterator[BacktestWorker]:
    """Run back-tests as the maintain role does, but as soon as they are requested."""
    async with working_as("maintain", database) as opened:
        worker, connection = BacktestWorker(), await opened.connect()

        async def work() -> None:
            while True:
                await worker.tick(opened, connection)
                await worker.idle()
                await asyncio.sleep(pause_s)

        task = asyncio.create_task(work())
        yield worker
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task
        await worker.stop()
        await connection.close()


async def box(tenant: Tenant, site_id: str, name: str, **fields: Any) -> str:  # noqa: ANN401 (as JSON)
    body = {"id": name, "site_id": site_id, "interval_s": 60, **fields}
    (await tenant.client.post("/v1/boxes", json=body)).raise_for_status()
    return name


async def store(
    connection: asyncpg.Connection,
    name: str,
    values: Sequence[float | None],
    *,
    metric: str = "pm2_5",
    late: Sequence[int] = (),
    start: datetime = START,
    every_s: int = 60,
) -> None:
    """Store a box's samples, one a minute, as if they had come; `late`: indexes of those that came late."""
    key = await connection.fetchval("SELECT key FROM boxes WHERE id = $1", name)
    rows = [
        (
            key,
            start + timedelta(seconds=every_s * number),
            value,
            1 << INDEX[metric] if number in late else None,
        )
        for number, value in enumerate(values)
    ]
    await connection.copy_records_to_table(
        "samples", records=rows, columns=["box_key", "time", metric, "late"]
    )


async def ask(tenant: Tenant, *, wait: float = 30, status: int = 200, **body: Any) -> dict[str, Any]:  # noqa: ANN401 (as JSON)
    answer = await tenant.client.post(f"/v1/rules/backtest?wait={wait}", json={**RANGE, **body})
    assert answer.status_code == status, answer.text
    found: dict[str, Any] = answer.json()
    return found


def spans(alerts: list[dict[str, Any]]) -> list[tuple[str | None, str, str | None]]:
    return [(alert["box"], alert["started_at"], alert["resolved_at"]) for alert in alerts]


SITE = {
    "name": "Elsewhere",
    "kind": "street",
    "timezone": "Europe/Paris",
    "location": {"type": "Point", "coordinates": [1.4453, 43.6045]},
}
