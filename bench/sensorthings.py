"""Measures SensorThings over ten million samples: a count, the latest Observations, a page by time.

Each call is made with a key and without one, by one client, one after the other.
"""

import random
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import aiohttp
import asyncpg
import msgspec

from bench.process import FailedError
from bench.results import percentile
from bench.stack import BenchStack

BOXES: Final = 100
MINUTES: Final = 100_000
PAGE: Final = 1_000
METRICS: Final = ("pm2_5", "laeq")
_ROOT: Final = "/sensorthings/v1.1"
_OK: Final = 200
_FILL: Final = """
INSERT INTO samples (box_key, time, pm2_5, laeq)
SELECT b.key, date_trunc('minute', now()) - n * interval '1 minute', n % 11 + 0.5,
    CASE WHEN n <= 10000 THEN 40 + n % 31 + 0.4 END
FROM boxes b, generate_series(1, $1::int) AS n
"""
# A sixth of the rows are one sample behind, as the consumer leaves them.
_STATES: Final = """
UPDATE box_states s SET newest_us = (extract(epoch FROM l.time) * 1000000)::bigint, latest = (
    SELECT jsonb_object_agg(name, jsonb_build_array(v, (extract(epoch FROM l.time) * 1000000)::bigint))
    FROM (VALUES ('pm2_5', l.pm2_5), ('laeq', l.laeq)) AS x (name, v))
FROM boxes b, LATERAL (SELECT * FROM samples WHERE box_key = b.key ORDER BY time DESC
    OFFSET CASE WHEN b.key % 6 = 0 THEN 1 ELSE 0 END LIMIT 1) l
WHERE s.box_key = b.key
"""
_ROLLED_UP: Final = """
INSERT INTO rollup_states (box_key, timezone)
SELECT b.key, s.timezone FROM boxes b JOIN sites s ON s.id = b.site_id ON CONFLICT (box_key) DO NOTHING
"""
# The worker's roll-ups of these samples, but for the quantiles: it would take six minutes.
_HOURS: Final = """
INSERT INTO hourly (box_key, metric, day, count, mean, min, max, p10, p50, p90, p95)
SELECT box_key, '{metric}', day, vigie_spread(hours, counts), vigie_spread(hours, means),
    vigie_spread(hours, lows), vigie_spread(hours, highs), vigie_spread(hours, quantiles),
    vigie_spread(hours, quantiles), vigie_spread(hours, quantiles), vigie_spread(hours, quantiles)
FROM (
    SELECT box_key, day, array_agg(hour) AS hours, array_agg(count) AS counts, array_agg(mean) AS means,
        array_agg(low) AS lows, array_agg(high) AS highs, array_agg(mean::real) AS quantiles
    FROM (
        SELECT box_key, date_trunc('day', time, 'UTC') AS day,
            1 + extract(hour FROM time AT TIME ZONE 'UTC')::int AS hour, count(*)::int AS count,
            avg({metric}::float8) AS mean, min({metric})::float8 AS low, max({metric})::float8 AS high
        FROM samples WHERE {metric} IS NOT NULL AND time < date_trunc('hour', now()) GROUP BY 1, 2, 3
    ) AS hours GROUP BY 1, 2
) AS days
"""
# The current hours are not in the roll-ups: the last days of a live fleet have a mark for each box.
_MARKS: Final = """
INSERT INTO rollup_marks (box_key, hour, epoch) SELECT b.key, date_trunc('hour', max(s.time)), 0
FROM boxes b JOIN samples s ON s.box_key = b.key WHERE s.time > now() - interval '1 day' GROUP BY b.key
ON CONFLICT DO NOTHING
"""
_OPEN: Final = """
UPDATE site_purposes SET open_data = true, declared_kind = 'key', legal_basis = 'public_task',
    declared_by = gen_random_uuid() WHERE purpose IN ('air_quality', 'noise')
"""


@dataclass(frozen=True, slots=True)
class StaCallTimes:
    """The latencies of one call (ms), with and without a key."""

    name: str
    keyed: Sequence[float]
    anonymous: Sequence[float]
    body: int

    def row(self) -> list[str]:
        """Return the cells of the report's table."""
        cells = [
            f"{percentile(list(took), share):.1f}"
            for took in (self.keyed, self.anonymous)
            for share in (0.5, 0.99)
        ]
        return [self.name, f"{self.body / 1024:.0f} KiB", *cells]


HEAD: Final = ["request", "answer", "p50 (ms)", "p99 (ms)", "p50 without a key", "p99 without a key"]


@dataclass(frozen=True, slots=True)
class StaResults:
    """The latencies of all calls, and what they read."""

    samples: int
    rounds: int
    calls: Sequence[StaCallTimes]


async def _fill(stack: BenchStack) -> tuple[str, int]:
    url = await stack.database("sensorthings")
    async with stack.api(url) as client:
        place = {"type": "Point", "coordinates": [1.44, 43.6]}
        site = {"name": "Series", "kind": "street", "timezone": "Europe/Paris", "location": place}
        site_id = str((await client.post("/v1/sites", site))["id"])
        boxes = [{"id": f"box-{number}", "site_id": site_id, "interval_s": 60} for number in range(BOXES)]
        await client.post("/v1/boxes/bulk", {"boxes": boxes})
    connection = await asyncpg.connect(url)
    try:
        await connection.execute(_FILL, MINUTES)
        for metric in METRICS:
            await connection.execute(_HOURS.format(metric=metric))
        for statement in (_ROLLED_UP, _STATES, _OPEN, _MARKS):
            await connection.execute(statement)
        await connection.execute("VACUUM (ANALYZE)")
        return url, int(await connection.fetchval("SELECT count(*) FROM samples"))
    finally:
        await connection.close()


def _calls(streams: Sequence[str], rng: random.Random) -> dict[str, str]:
    """A call of each kind, of any box and any time."""
    stream = f"{_ROOT}/Datastreams('{rng.choice(streams)}')/Observations"
    since = datetime.now(UTC) - timedelta(minutes=rng.randrange(2_000, MINUTES))
    latest = "Observations($orderby=phenomenonTime desc;$top=1)"
    first = "properties/aggregation eq null"
    return {
        "count of a Datastream's Observations": f"{stream}?$count=true&$top=0",
        f"latest Observations of {BOXES} Things": (
            f"{_ROOT}/Things?$top={BOXES}&$select=name,id"
            f"&$expand=Datastreams($select=name;$filter={first};$expand={latest})"
        ),
        "1,000 Observations from a time on": (
            f"{stream}?$top=1000&$orderby=phenomenonTime&$select=phenomenonTime,result"
            f"&$filter=phenomenonTime ge {since:%Y-%m-%dT%H:%M:%SZ}"
        ),
        "1,000 Observations with quality flags": (
            f"{stream}?$top=1000&$filter=phenomenonTime ge {since:%Y-%m-%dT%H:%M:%SZ}"
        ),
        "the newest 1,000 Observations": (
            f"{stream}?$top=1000&$orderby=phenomenonTime desc&$select=phenomenonTime,result"
        ),
    }


async def measure(stack: BenchStack, *, rounds: int = 200) -> StaResults:
    """Fill a database, then make each call in turn, so many times with and without a key."""
    url, samples = await _fill(stack)
    settings = {"VIGIE_API__ANONYMOUS_RATE_PER_S": "0", "VIGIE_SENSORTHINGS__ANONYMOUS": "true"}
    took: dict[str, dict[bool, list[float]]] = {}
    sizes: dict[str, int] = {}
    async with stack.api_role(url, **settings) as (admin, _), aiohttp.ClientSession(admin.address) as session:
        key = {"Authorization": f"Bearer {admin.key}"}
        chosen = f"properties/metric eq '{METRICS[0]}' and properties/aggregation eq null"
        body, _ = await _call(session, f"{_ROOT}/Datastreams?$top={BOXES}&$select=id&$filter={chosen}", key)
        streams = [each["@iot.id"] for each in body["value"]]
        rng = random.Random(1)
        for headers in (key, {}):
            for _ in range(5):
                for path in _calls(streams, rng).values():
                    await _call(session, path, headers)
        for _ in range(rounds):
            for headers in (key, {}):
                for name, path in _calls(streams, rng).items():
                    began = time.perf_counter()
                    body, size = await _call(session, path, headers)
                    elapsed = (time.perf_counter() - began) * 1000
                    took.setdefault(name, {}).setdefault(bool(headers), []).append(elapsed)
                    sizes[name] = size
                    _check(name, body)
    await stack.drop("sensorthings")
    calls = [StaCallTimes(name, of[True], of[False], sizes[name]) for name, of in took.items()]
    return StaResults(samples, rounds, calls)


def _check(name: str, body: dict[str, Any]) -> None:
    """Refuse a wrong answer: a fast one proves nothing."""
    if "count" in name:
        right = body["@iot.count"] == MINUTES
    elif "latest" in name:
        streams = [stream for thing in body["value"] for stream in thing["Datastreams"]]
        right = len(streams) == BOXES * len(METRICS) and all(
            len(each["Observations"]) == 1 for each in streams
        )
    else:
        right = len(body["value"]) == PAGE
    if not right:
        raise FailedError(f"{name}: a wrong answer")


async def _call(
    session: aiohttp.ClientSession, path: str, headers: dict[str, str]
) -> tuple[dict[str, Any], int]:
    async with session.get(path, headers=headers) as answer:
        body = await answer.read()
        if answer.status != _OK:
            raise FailedError(f"{path}: {answer.status} {body[:300]!r}")
    found: dict[str, Any] = msgspec.json.decode(body)
    return found, len(body)
