"""Measures the latency of reads over ten million samples, and over a tenth of them.

Owns the filling of both databases, the roll-ups of what is in them, and the calls. What is called by turns is
called by one client, one after the other, so that a figure is the time of an answer and not of a queue.
"""

import random
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final

import aiohttp
import asyncpg

from app.timeseries.rollups.worker import RollupWorker
from bench.measure import cpu_seconds, peak_rss
from bench.process import FailedError
from bench.results import percentile
from bench.stack import BenchStack
from simulators.rest_client import ApiClient

BOXES: Final = 1_000
MINUTES: Final = {"whole": 8_640, "tenth": 864}
"""So many minutes each box has sent, one sample a minute, ten readings each."""
YEARS: Final = {"whole": 10, "tenth": 1}
"""So many further boxes have sent for a year, a sample every four minutes."""
READINGS: Final = 10

_OK: Final = 200
_FILL: Final = """
INSERT INTO samples (box_key, time, pm1, pm2_5, pm4, pm10, no2, o3, temperature, humidity, pressure, laeq)
SELECT b.key, date_trunc('minute', now()) - n * $2::interval,
    n % 7 + b.key % 10, n % 11 + 0.5, n % 13 + 0.3, n % 17 + 0.1, n % 41, n % 71, n % 30 - 5.5, n % 60 + 20,
    1000 + n % 25 + 0.25, 40 + n % 31 + 0.4
FROM boxes b, generate_series(1, $1::int) AS n WHERE b.interval_s = extract(epoch FROM $2::interval)
"""
# As the consumer leaves them: a row is written ten seconds after its sample, so a sixth are one behind.
_STATES: Final = """
UPDATE box_states s SET newest_us = (extract(epoch FROM l.time) * 1000000)::bigint, latest = (
    SELECT jsonb_object_agg(name, jsonb_build_array(v, (extract(epoch FROM l.time) * 1000000)::bigint))
    FROM (VALUES ('pm1', l.pm1), ('pm2_5', l.pm2_5), ('pm4', l.pm4), ('pm10', l.pm10), ('no2', l.no2),
        ('o3', l.o3), ('temperature', l.temperature), ('humidity', l.humidity), ('laeq', l.laeq)
    ) AS x (name, v))
FROM boxes b, LATERAL (SELECT * FROM samples WHERE box_key = b.key ORDER BY time DESC
    OFFSET CASE WHEN b.key % 6 = 0 THEN 1 ELSE 0 END LIMIT 1) l
WHERE s.box_key = b.key
"""
_PAST: Final = """
INSERT INTO rollup_states (box_key, timezone, backfill_from, backfill_next, backfill_until)
SELECT b.key, s.timezone, f.hour, f.hour, l.hour + interval '1 hour'
FROM boxes b JOIN sites s ON s.id = b.site_id,
LATERAL (SELECT date_trunc('hour', min(time)) AS hour FROM samples WHERE box_key = b.key) f,
LATERAL (SELECT date_trunc('hour', max(time)) AS hour FROM samples WHERE box_key = b.key) l
ON CONFLICT (box_key) DO UPDATE SET backfill_from = excluded.backfill_from,
    backfill_next = excluded.backfill_next, backfill_until = excluded.backfill_until
"""


@dataclass(frozen=True, slots=True)
class FilledDatabase:
    """A database with samples, and the time of their roll-ups."""

    url: str
    site: str
    samples: int
    rolled_s: float


@dataclass(frozen=True, slots=True)
class ReadTimes:
    """The latencies of one kind of call (ms), by size of the database.

    Attributes:
        name: what was asked.
        took: of each answer.
        points: in an answer.
        body: bytes of one.
    """

    name: str
    took: Mapping[str, Sequence[float]]
    points: int
    body: int

    def at(self, size: str, share: float) -> float:
        """Return a percentile (ms)."""
        return percentile(list(self.took[size]), share)

    def row(self) -> list[str]:
        """Return the cells of the report's table."""
        whole, tenth = self.at("whole", 0.99), self.at("tenth", 0.99)
        return [
            self.name,
            f"{self.points:,}",
            f"{self.body / 1024:.0f} KiB",
            f"{self.at('whole', 0.5):.1f}",
            f"**{whole:.1f}**",
            f"{self.at('tenth', 0.5):.1f}",
            f"{tenth:.1f}",
            f"**{whole / tenth:.2f}**",
        ]


HEAD: Final = [
    *(
        "request",
        "points",
        "answer",
        "p50 (ms)",
        "p99 (ms)",
        "p50 of a tenth",
        "p99 of a tenth",
        "p99 ÷ tenth's",
    )
]


@dataclass(frozen=True, slots=True)
class SeriesResults:
    """The latencies of all calls, and the filled databases."""

    filled: Mapping[str, FilledDatabase]
    reads: Sequence[ReadTimes]
    memory: int
    cpu_ms: float


async def _fill(stack: BenchStack, size: str) -> FilledDatabase:
    url = await stack.database(f"series_{size}")
    async with stack.api(url) as client:
        place = {"type": "Point", "coordinates": [1.44, 43.6]}
        site = {"name": "Series", "kind": "street", "timezone": "Europe/Paris", "location": place}
        site_id = str((await client.post("/v1/sites", site))["id"])
        other = str((await client.post("/v1/sites", {**site, "name": "Years"}))["id"])
        for start in range(0, BOXES, 500):
            boxes = [
                {"id": f"box-{number}", "site_id": site_id, "interval_s": 60}
                for number in range(start, start + 500)
            ]
            await client.post("/v1/boxes/bulk", {"boxes": boxes})
        years = [
            {"id": f"year-{number}", "site_id": other, "interval_s": 240} for number in range(YEARS[size])
        ]
        await client.post("/v1/boxes/bulk", {"boxes": years})
    connection = await asyncpg.connect(url)
    try:
        await connection.execute(_FILL, MINUTES[size], timedelta(minutes=1))
        await connection.execute(_FILL, 365 * 360, timedelta(minutes=4))
        await connection.execute(_STATES)
        await connection.execute(_PAST)
        began = time.monotonic()
        worker = RollupWorker()
        while await worker.run_once(connection):
            pass
        rolled_s = time.monotonic() - began
        if await connection.fetchval(
            "SELECT EXISTS (SELECT FROM rollup_states WHERE backfill_next IS NOT NULL)"
        ):
            raise FailedError("The roll-ups were not made.")
        await connection.execute("VACUUM (ANALYZE)")
        samples = int(await connection.fetchval("SELECT count(*) FROM samples"))
    finally:
        await connection.close()
    return FilledDatabase(url, site_id, samples, rolled_s)


def _calls(site: str, rng: random.Random) -> dict[str, str]:
    """A call of each kind, of any box and any whole day."""
    end = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    box = f"box-{rng.randrange(BOXES)}"
    year = f"from={(end - timedelta(days=365)).date()}T00:00:00Z&to={end.date()}T00:00:00Z"
    return {
        "latest of a site of 1,000 boxes": f"/v1/sites/{site}/latest?limit=1000",
        "half a day of one metric, raw": (
            f"/v1/boxes/{box}/readings?metric=pm2_5&from={(end - timedelta(hours=12)).isoformat()[:19]}Z"
            f"&to={end.date()}T00:00:00Z&limit=10000"
        ),
        "a day of one metric, raw": (
            f"/v1/boxes/year-0/readings?metric=pm2_5&from={(end - timedelta(days=5)).date()}T00:00:00Z"
            f"&to={(end - timedelta(days=1)).date()}T00:00:00Z&limit=10000"
        ),
        "a year by the hour": f"/v1/boxes/year-0/readings?metric=pm2_5&bucket=1h&{year}&limit=10000",
        "a year by the day": f"/v1/boxes/year-0/readings?metric=pm2_5&bucket=1d&{year}&limit=10000",
        "a year by the day, quantiles": (
            f"/v1/boxes/year-0/readings?metric=pm2_5&bucket=1d&{year}&aggregates=p50,p95"
        ),
    }


async def measure(stack: BenchStack, *, rounds: int = 300) -> SeriesResults:
    """Fill both, then call each kind in turn, so many times."""
    filled = {size: await _fill(stack, size) for size in MINUTES}
    took: dict[str, dict[str, list[float]]] = {}
    seen: dict[str, tuple[int, int]] = {}
    memory, cpu = 0, 0.0
    for size, each in filled.items():
        async with stack.api_role(each.url) as (admin, api), aiohttp.ClientSession() as session:
            rng = random.Random(1)
            for name, path in _calls(each.site, rng).items():
                await _call(session, admin, path)
                seen[name] = await _call(session, admin, path)
            before = cpu_seconds(api.pid)
            for _ in range(rounds):
                for name, path in _calls(each.site, rng).items():
                    began = time.perf_counter()
                    await _call(session, admin, path)
                    took.setdefault(name, {}).setdefault(size, []).append(
                        (time.perf_counter() - began) * 1000
                    )
            cpu = (cpu_seconds(api.pid) - before) / rounds * 1000
            memory = peak_rss(api.pid)
    for size in filled:
        await stack.drop(f"series_{size}")
    reads = [ReadTimes(name, by_size, *seen[name]) for name, by_size in took.items()]
    return SeriesResults(filled, reads, memory, cpu)


async def _call(session: aiohttp.ClientSession, admin: ApiClient, path: str) -> tuple[int, int]:
    """Call once; gives how many points or boxes came, and in how many bytes."""
    headers = {"Authorization": f"Bearer {admin.key}"}
    async with session.get(admin.address + path, headers=headers) as answer:
        body = await answer.read()
        if answer.status != _OK:
            raise FailedError(f"{path}: {answer.status} {body[:200]!r}")
    return body.count(b'"time":'), len(body)
