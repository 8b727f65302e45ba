"""Series in buckets over REST: the same whether they come of roll-ups or of samples, at any moment."""

import random
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any

import asyncpg
import numpy as np
import pytest

from tests.conftest import Tenant
from tests.integration.timeseries.rollups.street import Door, Maintainer, noise, register

# The street's days are laid over the night in which the clocks of Paris go forward.
SAMPLES = noise(later=timedelta(days=8))
TIMES = np.array([datetime.fromisoformat(sample["time"]).timestamp() for sample in SAMPLES])
LEVELS = np.array([sample["values"]["laeq"] for sample in SAMPLES])
FIRST = datetime(2025, 3, 29, 7, 20, tzinfo=UTC)
LAST = datetime(2025, 4, 1, 16, 47, 3, tzinfo=UTC)


@pytest.fixture
async def street(tenant: Tenant, site_id: str) -> str:
    await register(tenant.client, site_id, ["street"])
    return "street"


async def series(tenant: Tenant, **params: Any) -> list[dict[str, Any]]:  # noqa: ANN401 (a query)
    query: dict[str, Any] = {"metric": "laeq", "from": FIRST.isoformat(), "to": LAST.isoformat()}
    answer = await tenant.client.get("/v1/boxes/street/readings", params=query | {"limit": 10_000} | params)
    assert answer.status_code == 200, answer.text
    points: list[dict[str, Any]] = answer.json()["points"]
    return points


def within(begin: float, end: float) -> np.ndarray[Any, Any]:
    places = np.searchsorted(TIMES, [begin, end])
    chosen = np.zeros(len(TIMES), np.bool_)
    chosen[places[0] : places[1]] = True
    return chosen


def expected(known: np.ndarray[Any, Any], edges: list[float]) -> list[dict[str, Any]]:
    """What numpy says of the samples that are known, for buckets between the edges."""
    points = []
    chosen = known & within(FIRST.timestamp(), LAST.timestamp())
    for begin, end in pairwise(edges):
        levels = LEVELS[chosen & within(begin, end)]
        if len(levels):
            points.append(
                {
                    "time": datetime.fromtimestamp(begin, UTC).isoformat().replace("+00:00", "Z"),
                    "avg": pytest.approx(10 * np.log10(np.mean(10 ** (levels / 10))), rel=1e-6),
                    "min": levels.min(),
                    "max": levels.max(),
                    "count": len(levels),
                    "coverage": pytest.approx(100 * len(levels) / ((end - begin) / 60), abs=0.006),
                }
            )
    return points


def hours(width: int) -> list[float]:
    begin = datetime(2025, 3, 28, tzinfo=UTC).timestamp()
    return [begin + 3600 * width * number for number in range(24 * 6 // width)]


# The midnights of Paris: the 30th has 23 hours. Four days begin anew every fourth day from 2000-01-03.
DAYS = [datetime(2025, 3, day, 23 if day < 30 else 22, tzinfo=UTC).timestamp() for day in range(27, 32)] + [
    datetime(2025, 4, day, 22, tzinfo=UTC).timestamp() for day in (1, 2)
]
BUCKETS = {"1h": hours(1), "6h": hours(6), "1d": DAYS, "90m": [], "2d": []}


async def test_at_any_moment_buckets_are_those_of_all_samples_that_are_there(
    tenant: Tenant, street: str, connection: asyncpg.Connection, maintainer: Maintainer
) -> None:
    rng = random.Random(7)  # noqa: S311 (chance that can be played again)
    door = Door(connection)
    known = np.zeros(len(SAMPLES), np.bool_)
    starts = list(range(0, len(SAMPLES), 90))
    rng.shuffle(starts)
    for turn, start in enumerate(starts):
        await door.take((street, SAMPLES[start : start + 90]))
        known[start : start + 90] = True
        if rng.random() < 0.3:
            await maintainer.turn()
        if turn % 8 == 0 or turn == len(starts) - 1:
            for bucket in ("1h", "6h", "1d"):
                assert await series(tenant, bucket=bucket) == expected(known, BUCKETS[bucket]), bucket
    await maintainer.finish()
    for bucket in ("1h", "6h", "1d"):
        assert await series(tenant, bucket=bucket) == expected(known, BUCKETS[bucket]), bucket


async def test_quantiles_and_exceeded_levels(
    tenant: Tenant, street: str, connection: asyncpg.Connection, maintainer: Maintainer
) -> None:
    await Door(connection).take(
        *((street, SAMPLES[start : start + 500]) for start in range(0, len(SAMPLES), 500))
    )
    names = "p10,p50,p90,p95,l10,l50,l90"
    before = {bucket: await series(tenant, bucket=bucket, aggregates=names) for bucket in ("1h", "1d", "2h")}
    await maintainer.finish()
    for bucket, points in before.items():
        after = await series(tenant, bucket=bucket, aggregates=names)
        assert [point["time"] for point in after] == [point["time"] for point in points]
        for point, same in zip(after, points, strict=True):
            assert list(point) == ["time", *names.split(",")]
            assert (point["l10"], point["l50"], point["l90"]) == (point["p90"], point["p50"], point["p10"])
            for name in names.split(","):
                assert point[name] == pytest.approx(same[name], rel=1e-6)
    (first, *_) = before["1d"][1:]
    levels = LEVELS[within(DAYS[2], DAYS[3])]
    assert first["p95"] == pytest.approx(np.quantile(levels, 0.95), rel=1e-6)


async def test_roll_ups_are_what_is_read(
    tenant: Tenant, street: str, connection: asyncpg.Connection, maintainer: Maintainer
) -> None:
    """A summary that was changed by hand is seen: else all of this would prove nothing of roll-ups."""
    await Door(connection).take((street, SAMPLES[:1000]), (street, SAMPLES[1000:2000]))
    await maintainer.finish()
    await connection.execute("UPDATE hourly SET max = array_fill(199::float8, '{24}')")
    await connection.execute("UPDATE daily SET max = 198")
    span = {"from": "2025-03-29T00:00:00Z", "to": "2025-03-31T00:00:00Z"}
    assert {point["max"] for point in await series(tenant, bucket="3h", **span)} == {199}
    # The first and the last day are cut by the range: those are of samples.
    peaks = [point["max"] for point in await series(tenant, bucket="1d", **span)]
    assert peaks[1] == 198
    assert len([peak for peak in peaks if peak == 198]) == 1


async def test_gaps_are_filled_as_asked(tenant: Tenant, street: str, connection: asyncpg.Connection) -> None:
    def at(hour: int, level: float) -> dict[str, Any]:
        return {"time": f"2025-04-01T{hour:02}:30:00Z", "values": {"laeq": level}}

    await Door(connection).take((street, [at(1, 40.0), at(4, 70.0)]))
    span = {"from": "2025-04-01T00:00:00Z", "to": "2025-04-01T06:00:00Z", "bucket": "1h"}
    averages = {
        fill: [point["avg"] for point in await series(tenant, fill=fill, **span)]
        for fill in ("none", "null", "previous", "linear")
    }
    assert averages == {
        "none": [40, 70],
        "null": [None, 40, None, None, 70, None],
        "previous": [None, 40, 40, 40, 70, 70],
        "linear": [None, 40, 50, 60, 70, None],
    }
    filled = await series(tenant, fill="null", **span)
    assert [point["time"] for point in filled] == [f"2025-04-01T{hour:02}:00:00Z" for hour in range(6)]
    assert [point["count"] for point in filled] == [0, 1, 0, 0, 1, 0]
    assert filled[0]["coverage"] == 0.0
    days = await series(tenant, fill="null", bucket="1d", aggregates="count")
    assert [point["count"] for point in days] == [0, 0, 0, 2]
    assert [point["time"] for point in days] == [
        "2025-03-28T23:00:00Z",
        "2025-03-29T23:00:00Z",
        "2025-03-30T22:00:00Z",
        "2025-03-31T22:00:00Z",
    ]


async def pages(tenant: Tenant, path: str, **params: Any) -> list[dict[str, Any]]:  # noqa: ANN401 (a query)
    """The points of all pages of a series, one after the other."""
    found: list[dict[str, Any]] = []
    query: dict[str, Any] = {"metric": "laeq", "from": FIRST.isoformat(), "to": LAST.isoformat()} | params
    while query.get("cursor", "") is not None:
        answer = await tenant.client.get(path, params=query)
        assert answer.status_code == 200, answer.text
        for each in answer.json().get("data", [answer.json()]):
            found += each["points"]
        query["cursor"] = answer.json()["next"]
    return found


async def test_pages_of_buckets_hold_each_once(
    tenant: Tenant, street: str, connection: asyncpg.Connection, maintainer: Maintainer
) -> None:
    await Door(connection).take((street, SAMPLES[:1000]), (street, SAMPLES[1000:2000]))
    await maintainer.finish()
    for more in ({"bucket": "1h"}, {"bucket": "15m"}, {"bucket": "1d"}, {"bucket": "1h", "fill": "null"}):
        whole = await series(tenant, **more)
        assert await pages(tenant, "/v1/boxes/street/readings", limit=7, **more) == whole, more


@pytest.mark.parametrize("limit", [1, 2, 3, 5])
async def test_gaps_at_the_edges_of_pages_are_filled_as_in_one_page(
    tenant: Tenant, street: str, connection: asyncpg.Connection, limit: int
) -> None:
    samples = [
        {"time": f"2025-03-{day}T{hour:02}:30:00Z", "values": {"laeq": level}}
        for day, hour, level in ((29, 9, 40.0), (29, 12, 70.0), (31, 6, 50.0))
    ]
    await Door(connection).take((street, samples))
    span = {"from": "2025-03-29T08:20:00Z", "to": "2025-03-29T14:00:00Z"}
    options = {"corrected": "true", "exclude": "out_of_range"}
    for fill in ("previous", "linear"):
        for more in ({"bucket": "1h", **span}, {"bucket": "1d"}, {"bucket": "1h", **span, **options}):
            whole = await series(tenant, fill=fill, **more)
            assert len(whole) >= 4
            query = {"fill": fill, "limit": limit, **more}
            assert await pages(tenant, "/v1/boxes/street/readings", **query) == whole, (fill, more)
            if options.keys().isdisjoint(more):
                assert await pages(tenant, "/v1/readings", box=street, **query) == whole, (fill, more)


@pytest.mark.parametrize(
    ("params", "code"),
    [
        ({"bucket": "1h", "aggregates": "avg,median"}, "invalid_aggregate"),
        ({"bucket": "1h", "aggregates": ""}, "invalid_aggregate"),
        ({"bucket": "1h", "metric": "pm2_5", "aggregates": "l10"}, "invalid_aggregate"),
        ({"aggregates": "avg"}, "bucket_missing"),
        ({"fill": "null"}, "bucket_missing"),
        ({"bucket": "2h", "aggregates": "p95", "from": "2015-01-01T00:00:00Z"}, "range_too_large"),
        ({"bucket": "90m", "from": "2024-01-01T00:00:00Z"}, None),
    ],
)
async def test_what_cannot_be_answered_is_refused_with_a_way_out(
    tenant: Tenant, street: str, params: dict[str, Any], code: str | None
) -> None:
    del street
    query = {"metric": "laeq", "to": LAST.isoformat(), "from": FIRST.isoformat(), **params}
    answer = await tenant.client.get("/v1/boxes/street/readings", params=query)
    if code is None:
        assert answer.status_code == 200
        return
    assert (answer.status_code, answer.json()["code"]) == (422, code), answer.text
    if code == "range_too_large":
        query |= {"bucket": answer.json()["suggested_bucket"]}
        assert (await tenant.client.get("/v1/boxes/street/readings", params=query)).status_code in {200, 422}
