"""What tests of indices share: what boxes measured, sent to the API and summed up by numpy."""

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from zoneinfo import ZoneInfo

import httpx
import numpy as np

from app.environmental_indices.input_types import HourlySeries, SampleSeries, SoundLevels
from app.platform.kernel.array_types import FloatArray, IntArray
from app.platform.kernel.instants import HOUR_US
from tests.conftest import Tenant

PARIS = ZoneInfo("Europe/Paris")


def us(text: str) -> int:
    return int(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp()) * 1_000_000


@dataclass(frozen=True)
class Record:
    """What a box measured, each value at its own time, at the box's interval."""

    times: IntArray
    values: dict[str, FloatArray]
    interval_s: int

    @classmethod
    def of(cls, first: str, last: str, interval_s: int, seed: int, **ranges: tuple[float, float]) -> "Record":
        """Values to one decimal between two bounds, of each metric."""
        times = np.arange(us(first), us(last), interval_s * 1_000_000, dtype=np.int64)
        chance = np.random.default_rng(seed)
        values = {name: np.round(chance.uniform(*bounds, len(times)), 1) for name, bounds in ranges.items()}
        return cls(times, values, interval_s)

    def without(self, first: str, last: str) -> "Record":
        """The same with nothing measured in between."""
        keep = (self.times < us(first)) | (self.times >= us(last))
        return Record(
            self.times[keep], {name: row[keep] for name, row in self.values.items()}, self.interval_s
        )

    def hours(self, metric: str, *, energy: bool = False) -> tuple[IntArray, FloatArray, IntArray]:
        hours = self.times // HOUR_US * HOUR_US
        begins = np.unique(hours)
        parts = [self.values[metric][hours == begin] for begin in begins]
        means = [10 * np.log10(np.mean(10 ** (part / 10))) if energy else part.mean() for part in parts]
        return begins, np.array(means), np.array([len(part) for part in parts])

    def hourly(self, metric: str) -> HourlySeries:
        begins, means, counts = self.hours(metric)
        return HourlySeries.of(begins, means, 100.0 * counts * self.interval_s / 3_600)

    def levels(self) -> SoundLevels:
        return SoundLevels.of_hours(*self.hours("laeq", energy=True), self.interval_s)

    def samples(self, metric: str) -> SampleSeries:
        return SampleSeries.of(self.times, self.values[metric], self.interval_s)


async def measure(tenant: Tenant, site: str, box: str, record: Record) -> None:
    """Register a box and send what it measured."""
    body = {"id": box, "site_id": site, "interval_s": record.interval_s}
    (await tenant.client.post("/v1/boxes", json=body)).raise_for_status()
    samples = [
        {
            "time": (time // 1_000),
            "values": {name: float(row[place]) for name, row in record.values.items()},
        }
        for place, time in enumerate(record.times.tolist())
    ]
    for start in range(0, len(samples), 500):
        batch = {"box": box, "samples": samples[start : start + 500]}
        (await tenant.client.post("/v1/telemetry", json=batch)).raise_for_status()


async def ask(client: httpx.AsyncClient, site: str, path: str = "", **params: Any) -> Any:  # noqa: ANN401
    answer = await client.get(f"/v1/sites/{site}/indices{path}", params=params)
    assert answer.status_code == 200, answer.text
    return answer.json()
