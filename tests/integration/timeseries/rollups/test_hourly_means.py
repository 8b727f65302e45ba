"""Hours and values of many boxes at once: what is read of each box alone, of whatever has been summarised."""

import random
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import asyncpg
import numpy as np
import pytest

from app.catalogue.metrics import METRICS_BY_NAME
from app.platform.db.database import Database
from app.platform.kernel.instants import HOUR_US, from_datetime, to_datetime
from app.timeseries.rollups import hourly_means as hours_module
from app.timeseries.rollups.hourly_means import HourlyMeansQuery, read_hourly_means
from app.timeseries.rollups.rollup_queries import BoxSeriesQuery, read_bucket_summaries
from app.timeseries.series.bulk_values import BoxTimeRange, read_bulk_values
from app.timeseries.series.reading_queries import MeasuredBox, read_metric_values
from app.timeseries.series.series_parameters import BucketWidth
from tests.conftest import Tenant
from tests.integration.timeseries.rollups.street import Door, Maintainer, register

FIRST = datetime(2026, 3, 1, tzinfo=UTC)
DAYS = 20
BOXES = {"rolled": 60, "late": 60, "never": 300, "torn": 600, "seldom": 3_600, "mute": 60}
METRICS = ("pm2_5", "laeq", "pressure", "temperature", "odour")


def chance_samples(rng: random.Random, share: float) -> list[dict[str, Any]]:
    """Samples at any time, with some of the metrics; so many a day, with whole days and hours left out."""
    away = {rng.randrange(DAYS) for _ in range(4)}
    found = []
    for _ in range(round(DAYS * share)):
        moment = FIRST + timedelta(seconds=rng.randrange(DAYS * 86_400))
        if (moment - FIRST).days in away or moment.hour % 7 == 3:
            continue
        values = {name: round(rng.uniform(30, 90), 2) for name in METRICS if rng.random() < 0.7}
        if "pressure" in values:
            values["pressure"] += 900
        found.append({"time": moment.isoformat(), "values": values or {"pm2_5": 1.0}})
    return found


@pytest.fixture
async def keys(
    tenant: Tenant, site_id: str, connection: asyncpg.Connection, maintainer: Maintainer
) -> dict[str, int]:
    """Boxes by name: all summarised, some of it in doubt again, all of it in doubt, or never summarised."""
    for box, interval_s in BOXES.items():
        await register(tenant.client, site_id, [box], interval_s)
    rng = random.Random(7)  # noqa: S311 (chance that can be played again)
    door = Door(connection)
    for box in BOXES:
        samples = chance_samples(rng, 0 if box == "mute" else 150)
        for start in range(0, len(samples), 500):
            await door.take((box, samples[start : start + 500]))
    await maintainer.finish()
    await door.take(("late", chance_samples(rng, 2)))
    rows = await connection.fetch("SELECT id, key FROM boxes")
    keys = {row["id"]: row["key"] for row in rows}
    await connection.execute("DELETE FROM rollup_states WHERE box_key = $1", keys["never"])
    # Every other hour: too many stretches for looking at what lies between.
    await connection.execute(
        "INSERT INTO rollup_marks SELECT $1, $2::timestamptz + n * interval '2 hours', 0"
        " FROM generate_series(0, 230) AS n",
        keys["torn"],
        FIRST,
    )
    # Where roll-ups are not to be looked at they say something else.
    doubtful = [keys["torn"], keys["never"]]
    await connection.execute("UPDATE samples SET pm2_5 = pm2_5 + 1 WHERE box_key = ANY ($1)", doubtful)
    return keys


def windows(rng: random.Random) -> list[tuple[int, int]]:
    first = from_datetime(FIRST)
    found = [(first - 30 * HOUR_US, first + (DAYS * 24 + 30) * HOUR_US), (first, first + HOUR_US)]
    for _ in range(6):
        begin = first + rng.randrange(DAYS * 24) * HOUR_US
        found.append((begin, begin + rng.randrange(1, 200) * HOUR_US))
    return found


@pytest.mark.parametrize("portion", [500_000, 2_000])
async def test_hours_of_many_boxes_are_those_of_each(
    database: Database, keys: dict[str, int], monkeypatch: pytest.MonkeyPatch, portion: int
) -> None:
    monkeypatch.setattr(hours_module, "_SAMPLES", portion)
    rng = random.Random(8)  # noqa: S311 (chance that can be played again)
    wanted = [
        HourlyMeansQuery(keys[box], METRICS_BY_NAME[metric], first, last, interval_s)
        for box, interval_s in BOXES.items()
        for metric in METRICS
        for first, last in rng.sample(windows(rng), 3)
    ]
    rng.shuffle(wanted)
    hour = BucketWidth.parse("1h")
    async with database.read() as session:
        found = await read_hourly_means(session, wanted, highs=True)
        assert all(means.highs is None for means in await read_hourly_means(session, wanted[:3]))
        assert await read_hourly_means(session, []) == []
        total = 0
        for each, means in zip(wanted, found, strict=True):
            asked = BoxSeriesQuery(
                each.key,
                each.metric,
                hour,
                "Europe/Paris",
                to_datetime(each.first_us),
                to_datetime(each.last_us),
            )
            alone = await read_bucket_summaries(session, asked)
            np.testing.assert_array_equal(means.times, alone.times)
            np.testing.assert_array_equal(means.counts, alone.counts)
            np.testing.assert_array_equal(means.lows, alone.lows)
            np.testing.assert_array_equal([] if means.highs is None else means.highs, alone.highs)
            # Floats that are summed in another order differ in their last digits.
            np.testing.assert_allclose(means.means, alone.means, rtol=1e-13)
            total += len(means.times)
    assert total > 4_000


async def test_values_of_many_boxes_are_those_of_each(database: Database, keys: dict[str, int]) -> None:
    rng = random.Random(9)  # noqa: S311 (chance that can be played again)
    async with database.read() as session:
        for name in METRICS:
            stretches = [
                BoxTimeRange(keys[box], first, last)
                for box in BOXES
                for first, last in rng.sample(windows(rng), 2)
            ]
            found = await read_bulk_values(session, METRICS_BY_NAME[name], stretches, most=1_000_000)
            assert found is not None
            total = 0
            for stretch, values in zip(stretches, found, strict=True):
                box = MeasuredBox(stretch.key, "", 60, "UTC", UUID(int=0))
                first, last = to_datetime(stretch.first_us), to_datetime(stretch.last_us)
                rows = await read_metric_values(
                    session, box, METRICS_BY_NAME[name], first=first, last=last, limit=10**6
                )
                assert values.times.tolist() == [from_datetime(time) for time, _ in rows]
                assert values.values.tolist() == [value for _, value in rows]
                total += len(rows)
            assert total > 1_000
            assert await read_bulk_values(session, METRICS_BY_NAME[name], stretches, most=total) is not None
            assert await read_bulk_values(session, METRICS_BY_NAME[name], stretches, most=total - 1) is None
        assert await read_bulk_values(session, METRICS_BY_NAME["odour"], [], most=1) == []


def test_hours_are_whole_ones() -> None:
    for first, last in ((HOUR_US // 2, HOUR_US), (0, HOUR_US + 1), (HOUR_US, HOUR_US)):
        with pytest.raises(ValueError, match="hours"):
            HourlyMeansQuery(1, METRICS_BY_NAME["pm2_5"], first, last, 60)
