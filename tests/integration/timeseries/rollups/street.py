"""Real series of a city in the pipeline, and the same as a table of pandas, which knows nothing of Vigie."""

import csv
import json
import lzma
from collections.abc import Iterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

import asyncpg
import pandas as pd

from app.ingest.codec.batch_decoder import decode_batch
from app.ingest.pipeline.batch_pipeline import IngestPipeline
from app.ingest.pipeline.batch_receipt import BatchReceipt
from app.ingest.pipeline.registry_snapshot import RegistryCache
from app.platform.db.database import Database
from app.timeseries.rollups import worker
from app.timeseries.rollups.worker import RollupWorker
from simulators.sensor_community import load_archive

ABERDEEN: Final = Path("simulators/data/aberdeen")
NOISE: Final = Path("tests/data/noise/laeq_1min.csv.xz")

type Message = tuple[str, list[dict[str, Any]]]
"""A box, and samples of it as it sends them."""


class Door:
    """The consumer's pipeline, or that of HTTP."""

    def __init__(self, connection: asyncpg.Connection, *, is_consumer: bool = True) -> None:
        self.connection = connection
        self.pipeline = IngestPipeline(RegistryCache(), is_consumer=is_consumer)

    async def take(self, *messages: Message) -> BatchReceipt:
        now = datetime.now(UTC)
        intake = decode_batch(
            [f"vigie/v1/{box}/telemetry" for box, _ in messages],
            [json.dumps({"samples": samples}).encode() for _, samples in messages],
            retained=(),
            now_us=round(now.timestamp() * 1_000_000),
            max_future_us=600_000_000,
        )
        return await self.pipeline.commit(self.connection, intake, now=now)


@dataclass(slots=True)
class Maintainer:
    """The maintain role's part, as that role, whenever it is asked."""

    connection: asyncpg.Connection
    worker: RollupWorker

    async def turn(self) -> None:
        await self.worker.run_once(self.connection)

    async def finish(self) -> None:
        """Until nothing is marked that is over."""
        while await self.connection.fetchval(
            "SELECT EXISTS (SELECT FROM rollup_marks) OR EXISTS (SELECT FROM rollup_day_marks)"
            " OR EXISTS (SELECT FROM rollup_states WHERE backfill_next IS NOT NULL)"
        ):
            await self.turn()


@asynccontextmanager
async def maintaining(database: Database, monkeypatch: Any) -> Any:  # noqa: ANN401 (pytest's)
    """A maintainer that ends an epoch in each turn."""
    monkeypatch.setattr(worker, "_EVERY_S", 0.0)
    opened = Database(database.settings, application="tests", role="vigie_maintain")
    connection = await opened.connect()
    try:
        yield Maintainer(connection, RollupWorker())
    finally:
        await connection.close()
        await opened.close()


def aberdeen() -> dict[str, list[dict[str, Any]]]:
    """Station → its samples, in order."""
    stations, _ = load_archive(ABERDEEN)
    return {
        f"station-{station.location}": [
            {"time": iso(time_us), "values": values} for time_us, values, _ in station.samples
        ]
        for station in stations
    }


def noise(*, later: timedelta = timedelta()) -> list[dict[str, Any]]:
    """A street's LAeq of each minute, its times taken as UTC, so much later than it was."""
    with lzma.open(NOISE, "rt") as file:
        rows = list(csv.reader(file))[1:]
    return [
        {
            "time": (datetime.fromisoformat(time).replace(tzinfo=UTC) + later).isoformat(),
            "values": {"laeq": round(float(level), 4)},
        }
        for time, level in rows
        if level
    ]


def iso(time_us: int) -> str:
    return (datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=time_us)).isoformat()


def table(series: dict[str, list[dict[str, Any]]]) -> pd.DataFrame:
    """The same as rows of box, metric, time (UTC), value; of a time the first."""
    rows = [
        (box, metric, pd.Timestamp(sample["time"]), value)
        for box, samples in series.items()
        for sample in samples
        for metric, value in sample["values"].items()
    ]
    frame = pd.DataFrame(rows, columns=["box", "metric", "time", "value"])
    return frame.drop_duplicates(["box", "metric", "time"])


def batches(series: dict[str, list[dict[str, Any]]], size: int = 200) -> Iterator[Message]:
    """Messages of so many samples, box by box, in order."""
    for box, samples in series.items():
        for start in range(0, len(samples), size):
            yield box, samples[start : start + size]


async def register(client: Any, site: str, boxes: Sequence[str], interval_s: int = 60) -> None:  # noqa: ANN401
    body = {"boxes": [{"id": box, "site_id": site, "interval_s": interval_s} for box in boxes]}
    (await client.post("/v1/boxes/bulk", json=body)).raise_for_status()
