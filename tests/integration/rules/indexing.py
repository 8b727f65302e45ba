"""Rules on indices in tests: hours of dust that boxes send, and somebody who judges them when asked."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import asyncpg

from app.alerts.index_rule_worker import IndexRuleWorker
from app.platform.db.database import Database
from app.platform.kernel.instants import from_datetime
from app.timeseries.rollups.worker import RollupWorker
from tests.conftest import Tenant
from tests.roles import working_as

# A Monday in winter; in Paris it is an hour later.
START = datetime(2026, 3, 2, tzinfo=UTC)
HOUR = timedelta(hours=1)
EAQI = {"index": "eaqi", "operator": ">=", "threshold": 4, "clear": 3}
# Fine particles in the middle of each class of the index.
LEVELS = {1: 3.0, 2: 10.0, 3: 30.0, 4: 70.0, 5: 120.0, 6: 200.0}


def at(hours: float) -> datetime:
    return START + hours * HOUR


def told(moment: str | None) -> float | None:
    """In hours since START."""
    return None if moment is None else (datetime.fromisoformat(moment) - START) / HOUR


@dataclass
class IndexRuleJudge:
    """Somebody who judges as the maintain role does."""

    worker: IndexRuleWorker
    database: Database
    connection: asyncpg.Connection

    async def look(self, hours: float) -> int:
        """Judge what is due when so many hours have passed since START."""
        return await self.worker.run_once(self.database, self.connection, from_datetime(at(hours)))

    async def roll_up(self) -> None:
        while await RollupWorker().run_once(self.connection):
            pass


@asynccontextmanager
async def judging(database: Database) -> AsyncIterator[IndexRuleJudge]:
    async with working_as("maintain", database) as opened:
        connection = await opened.connect()
        try:
            yield IndexRuleJudge(IndexRuleWorker(), opened, connection)
        finally:
            connection.terminate()


async def add_box(tenant: Tenant, site_id: str, name: str, **fields: Any) -> str:  # noqa: ANN401 (as JSON)
    body = {"id": name, "site_id": site_id, "interval_s": 600, **fields}
    (await tenant.client.post("/v1/boxes", json=body)).raise_for_status()
    return name


async def send(
    tenant: Tenant,
    box: str,
    levels: Sequence[int | None],
    first: float = 0,
    *,
    metric: str = "pm2_5",
    until: float | None = None,
) -> None:
    """Send six values an hour, of a class for each hour; None: nothing. `until`: nothing from then on."""
    samples = [
        {"time": (at(first + hour) + timedelta(minutes=10 * step)).isoformat(), "values": {metric: value}}
        for hour, level in enumerate(levels)
        if (value := LEVELS.get(level or 0)) is not None
        for step in range(6)
        if until is None or first + hour + step / 6 < until
    ]
    for start in range(0, len(samples), 500):
        body = {"box": box, "samples": samples[start : start + 500]}
        (await tenant.client.post("/v1/telemetry", json=body)).raise_for_status()


async def add_rule(
    tenant: Tenant,
    site_id: str,
    condition: dict[str, Any] | None = None,
    **fields: Any,  # noqa: ANN401 (as JSON)
) -> str:
    body = {"site_id": site_id, "name": "Air", **fields}
    if "levels" not in fields:
        body |= {"severity": "warning", "condition": EAQI if condition is None else condition}
    answer = await tenant.client.post("/v1/rules", json=body)
    assert answer.status_code == 201, answer.text
    identifier: str = answer.json()["id"]
    return identifier


async def alerts(tenant: Tenant, rule_id: str, **params: Any) -> list[dict[str, Any]]:  # noqa: ANN401
    """A rule's alerts, the first one first."""
    answer = await tenant.client.get("/v1/alerts", params={"rule": rule_id, **params})
    return sorted(
        answer.raise_for_status().json()["data"], key=lambda alert: (alert["started_at"], alert["box"] or "")
    )


async def spans(tenant: Tenant, rule_id: str) -> list[tuple[str | None, float | None, float | None]]:
    """Of a rule's alerts the box, and from when to when, in hours since START."""
    return [
        (alert["box"], told(alert["started_at"]), told(alert["resolved_at"]))
        for alert in await alerts(tenant, rule_id)
    ]
