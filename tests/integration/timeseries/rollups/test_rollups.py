"""Roll-ups against an independent computation in pandas, however the samples come in."""

import random
from datetime import timedelta
from typing import Any

import asyncpg
import httpx
import numpy as np
import pandas as pd
import pytest

from tests.conftest import Tenant
from tests.integration.timeseries.rollups.street import (
    Door,
    Maintainer,
    Message,
    aberdeen,
    batches,
    noise,
    register,
    table,
)

# The street's days are laid over the night in which the clocks of Paris go forward.
LATER = timedelta(days=8)


def mean(metric: object, values: pd.Series) -> float:
    if metric == "laeq":
        return float(10 * np.log10(np.mean(10 ** (values.to_numpy() / 10))))
    return float(values.mean())


def summaries(
    frame: pd.DataFrame, width: str, zone: str
) -> dict[tuple[str, str, pd.Timestamp], dict[str, float]]:
    """What each bucket must say, by box, metric and the instant at which it begins."""
    frame = frame.assign(
        bucket=frame["time"].dt.tz_convert(zone).dt.floor(width, ambiguous=True).dt.tz_convert("UTC")
    )
    return {
        (str(box), str(metric), pd.Timestamp(str(bucket))): {
            "count": len(part),
            "mean": mean(metric, part["value"]),
            "min": part["value"].min(),
            "max": part["value"].max(),
            **{f"p{q}": float(np.quantile(part["value"], q / 100)) for q in (10, 50, 90, 95)},
        }
        for (box, metric, bucket), part in frame.groupby(["box", "metric", "bucket"])
    }


HOURS = """
SELECT b.id AS box, metric, day + (n - 1) * interval '1 hour' AS time, count[n] AS count, mean[n] AS mean,
    min[n] AS min, max[n] AS max, p10[n] AS p10, p50[n] AS p50, p90[n] AS p90, p95[n] AS p95
FROM hourly h JOIN boxes b ON b.key = h.box_key, generate_series(1, 24) AS n WHERE count[n] IS NOT NULL
"""
DAYS = """
SELECT b.id AS box, metric, day AS time, count, mean, min, max, p10, p50, p90, p95
FROM daily d JOIN boxes b ON b.key = d.box_key
"""


async def stored(
    connection: asyncpg.Connection, query: str
) -> dict[tuple[str, str, pd.Timestamp], dict[str, float]]:
    return {
        (row["box"], row["metric"], pd.Timestamp(row["time"])): dict(list(row.items())[3:])
        for row in await connection.fetch(query)
    }


def equal(found: dict[Any, dict[str, float]], expected: dict[Any, dict[str, float]]) -> None:
    """All buckets and no other; counts and extremes exactly, the rest as far as a float of four bytes."""
    assert found.keys() == expected.keys()
    for key, want in expected.items():
        have = found[key]
        assert (have["count"], have["min"], have["max"]) == (want["count"], want["min"], want["max"]), key
        for name in ("mean", "p10", "p50", "p90", "p95"):
            assert have[name] == pytest.approx(want[name], rel=1e-6, abs=1e-6), (key, name)


async def city(tenant: Tenant) -> dict[str, list[dict[str, Any]]]:
    """Eighteen stations in Aberdeen and a street in Paris, registered; their samples."""
    series = aberdeen()
    sites = {}
    for name, zone in (("Aberdeen", "Europe/London"), ("Paris", "Europe/Paris")):
        body = {
            "name": name,
            "kind": "street",
            "timezone": zone,
            "location": {"type": "Point", "coordinates": [0, 50]},
        }
        sites[name] = (await tenant.client.post("/v1/sites", json=body)).raise_for_status().json()["id"]
    await register(tenant.client, sites["Aberdeen"], list(series), interval_s=150)
    await register(tenant.client, sites["Paris"], ["street"])
    return series | {"street": noise(later=LATER)}


async def check(connection: asyncpg.Connection, series: dict[str, list[dict[str, Any]]]) -> None:
    frame = table(series)
    equal(await stored(connection, HOURS), summaries(frame, "h", "UTC"))
    street = frame["box"] == "street"
    expected = summaries(frame[~street], "D", "Europe/London") | summaries(frame[street], "D", "Europe/Paris")
    equal(await stored(connection, DAYS), expected)


async def test_every_bucket_of_every_station_is_what_pandas_says(
    tenant: Tenant, connection: asyncpg.Connection, maintainer: Maintainer
) -> None:
    series = await city(tenant)
    door = Door(connection)
    for message in batches(series, 1000):
        await door.take(message)
    await maintainer.finish()
    await check(connection, series)


async def test_shuffled_late_and_repeated_delivery_gives_the_same(
    tenant: Tenant, connection: asyncpg.Connection, maintainer: Maintainer
) -> None:
    series = await city(tenant)
    rng = random.Random(20261126)  # noqa: S311 (chance that can be played again)
    messages: list[Message] = list(batches(series, 100))
    # A fifth comes twice; all in any order, samples of a message among themselves too.
    messages += rng.sample(messages, len(messages) // 5)
    rng.shuffle(messages)
    door = Door(connection)
    for start in range(0, len(messages), 8):
        part = [(box, rng.sample(samples, len(samples))) for box, samples in messages[start : start + 8]]
        await door.take(*part)
        if rng.random() < 0.5:
            await maintainer.turn()
    await maintainer.finish()
    await check(connection, series)


async def test_the_past_is_summarised_anew_where_an_operator_asks(
    tenant: Tenant,
    api: httpx.AsyncClient,
    site_id: str,
    connection: asyncpg.Connection,
    maintainer: Maintainer,
) -> None:
    """The migration notes in the same way what a release without roll-ups has stored."""
    await register(tenant.client, site_id, ["street", "quiet"])
    samples = noise(later=LATER)[:3000]
    door = Door(connection)
    for message in batches({"street": samples}, 1000):
        await door.take(message)
    await maintainer.turn()
    await connection.execute("TRUNCATE rollup_marks, rollup_day_marks, hourly, daily")
    assert (await tenant.client.get("/v1/roll-ups")).status_code == 403
    assert (await tenant.client.post("/v1/roll-ups/backfill", json={})).status_code == 403
    answer = await api.post("/v1/roll-ups/backfill", json={"box": "street"})
    assert answer.status_code == 202, answer.text
    assert answer.json()["backfill"] == {"boxes": 1, "hours": 50, "done": 0}
    bucket = {
        "metric": "laeq",
        "bucket": "1d",
        "from": samples[0]["time"],
        "to": samples[-1]["time"],
        "aggregates": "count",
    }
    before = (await tenant.client.get("/v1/boxes/street/readings", params=bucket)).json()["points"]
    assert sum(point["count"] for point in before) == 2999
    await maintainer.finish()
    assert (await api.get("/v1/roll-ups")).json() == {
        "marked_hours": 0,
        "oldest_marked_hour": None,
        "marked_days": 0,
        "backfill": {"boxes": 0, "hours": 0, "done": 0},
    }
    assert (await tenant.client.get("/v1/boxes/street/readings", params=bucket)).json()["points"] == before
    frame = table({"street": samples})
    equal(await stored(connection, HOURS), summaries(frame, "h", "UTC"))
    equal(await stored(connection, DAYS), summaries(frame, "D", "Europe/Paris"))
    answer = await api.post("/v1/roll-ups/backfill", json={"from": "2025-03-30T00:00:00Z"})
    assert answer.json()["backfill"]["hours"] == 26
    assert (await api.post("/v1/roll-ups/backfill", json={"box": "nobody"})).status_code == 404
