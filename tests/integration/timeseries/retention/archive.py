"""A street in Paris with two boxes, one of which has measured for weeks, and all who work on it."""

import json
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final
from zoneinfo import ZoneInfo

import asyncpg

from app.ingest.codec.batch_decoder import decode_batch
from app.platform.db.database import Database
from app.platform.kernel.ids import new_id
from app.timeseries.erasure.worker import ErasureWorker
from app.timeseries.retention.worker import RetentionWorker
from tests.conftest import Tenant
from tests.integration.timeseries.rollups.street import Door, Maintainer, maintaining, register
from tests.purposes import approve

PARIS: Final = ZoneInfo("Europe/Paris")
NOW: Final = datetime.now(UTC).replace(minute=0, second=0, microsecond=0)
BOX: Final = "box-0001"
OTHER: Final = "box-0002"
EVERY: Final = timedelta(hours=6)


def midnight(days_ago: int) -> datetime:
    """Before which so many days keep nothing: the beginning of a day of Paris.

    Days are of 24 hours: of those since a change of the clocks one was longer, or shorter.
    """
    date = (datetime.now(UTC) - timedelta(days=days_ago)).astimezone(PARIS).date()
    return datetime(date.year, date.month, date.day, tzinfo=PARIS).astimezone(UTC)


@dataclass
class Archive:
    """Boxes' samples, and who works on them.

    Attributes:
        owner: a connection that may see and do all.
        door: the consumer's pipeline.
        maintainer: the maintain role.
    """

    tenant: Tenant
    site: str
    owner: asyncpg.Connection
    door: Door
    maintainer: Maintainer

    async def send(self, box: str, *samples: tuple[datetime, dict[str, float]]) -> Any:  # noqa: ANN401 (a receipt)
        told = [{"time": time.isoformat(), "values": values} for time, values in samples]
        return await self.door.take((box, told))

    async def send_event(self, box: str, time: datetime) -> Any:  # noqa: ANN401 (a receipt)
        await approve(self.owner, self.site)
        candidates = [{"class": "gunshot", "confidence": 1}]
        event = {"time": time.isoformat(), "type": "gunshot", "candidates": candidates}
        now = datetime.now(UTC)
        intake = decode_batch(
            [f"vigie/v1/{box}/event"],
            [json.dumps(event).encode()],
            retained=(),
            now_us=round(now.timestamp() * 1_000_000),
            max_future_us=0,
        )
        return await self.door.pipeline.commit(self.door.connection, intake, now=now)

    async def recognise(self, box: str, *times: datetime) -> None:
        """Put events there, as if the box had recognised them then."""
        await self.owner.execute(
            "INSERT INTO events (id, box_key, organisation_id, time, type, candidates, received_at)"
            " SELECT i, b.key, b.organisation_id, t, 'gunshot', '[]', now()"
            " FROM boxes b, unnest($2::uuid[], $3::timestamptz[]) AS e (i, t) WHERE b.id = $1",
            *(box, [new_id() for _ in times], times),
        )

    async def fill(self, days: int, *, box: str = BOX) -> None:
        """So many days of samples of two purposes, one in six hours, up to now; their roll-ups made."""
        count = timedelta(days=days) // EVERY
        times = [NOW - EVERY * back for back in range(count, 0, -1)]
        await self.send(box, *((time, {"pm2_5": 10.0, "laeq": 50.0, "la90": 40.0}) for time in times))
        await self.roll_up()

    async def elsewhere(self, *times: datetime) -> None:
        """Have a box of another site, which keeps everything, measure odours then."""
        body: dict[str, Any] = {"name": "Elsewhere", "kind": "street", "timezone": "UTC"}
        body["location"] = {"type": "Point", "coordinates": [0, 50]}
        made = (await self.tenant.client.post("/v1/sites", json=body)).raise_for_status().json()
        await register(self.tenant.client, made["id"], ["elsewhere"])
        await self.send("elsewhere", *((time, {"odour": 3.0}) for time in times))
        await self.roll_up()

    async def roll_up(self) -> None:
        """Summarise all that is over: today is not."""
        while await self.owner.fetchval(
            "SELECT EXISTS (SELECT FROM rollup_marks WHERE hour < now() - interval '61 minutes')"
            " OR EXISTS (SELECT FROM rollup_day_marks WHERE until < now() - interval '61 minutes')"
            " OR EXISTS (SELECT FROM rollup_states WHERE backfill_next IS NOT NULL)"
        ):
            await self.maintainer.turn()

    async def set(self, **settings: Any) -> dict[str, Any]:  # noqa: ANN401 (JSON)
        answer = await self.tenant.client.put(f"/v1/sites/{self.site}/retention", json=settings)
        assert answer.status_code == 200, answer.text
        told: dict[str, Any] = answer.json()
        return told

    async def preview(self, **settings: Any) -> dict[str, Any]:  # noqa: ANN401 (JSON)
        answer = await self.tenant.client.post(f"/v1/sites/{self.site}/retention/preview", json=settings)
        assert answer.status_code == 200, answer.text
        told: dict[str, Any] = answer.json()
        return told

    async def clean(self) -> None:
        worker = RetentionWorker()
        while await worker.run_once(self.maintainer.connection):
            pass

    async def erase(self) -> None:
        worker = ErasureWorker()
        while await worker.run_once(self.maintainer.connection):
            pass

    async def count(self, what: str, where: str = "true", *values: object) -> int:
        found: int = await self.owner.fetchval(f"SELECT count(*) FROM {what} WHERE {where}", *values)  # noqa: S608 (the tests' own)
        return found

    async def holds(self) -> dict[str, int]:
        """How much there is, by what previews count."""
        values = await self.owner.fetchval(
            "SELECT coalesce(sum(num_nonnulls(pm2_5, laeq, la90, co2, odour)), 0) FROM samples"
        )
        rows = {what: await self.count(what) for what in ("samples", "events", "hourly", "daily")}
        return {**rows, "values": values}

    async def times(self, where: str = "true") -> Sequence[datetime]:
        rows = await self.owner.fetch(f"SELECT time FROM samples WHERE {where} ORDER BY time")  # noqa: S608 (the tests' own)
        return [row["time"] for row in rows]


@asynccontextmanager
async def opened(database: Database, tenant: Tenant, site: str, monkeypatch: Any) -> AsyncIterator[Archive]:  # noqa: ANN401 (pytest's)
    owner, consumer = await database.connect(), await database.connect()
    await register(tenant.client, site, [BOX, OTHER], interval_s=21_600)
    async with maintaining(database, monkeypatch) as maintainer:
        yield Archive(tenant, site, owner, Door(consumer), maintainer)
    await owner.close()
    await consumer.close()
