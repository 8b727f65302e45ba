"""Exports in buckets: each value is that of its series, in every format, wherever a file begins."""

import csv
import io
import json
import random
from collections import defaultdict
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from app.platform.db.database import Database
from app.timeseries.exports import time_bucket_export
from tests.conftest import Tenant
from tests.integration.timeseries.exported import PATH
from tests.integration.timeseries.geojson import points_of
from tests.integration.timeseries.rollups.street import Door, maintaining, register

# The clocks of Paris go forward in the night to the 29th.
FIRST = datetime(2026, 3, 26, 22, 40, tzinfo=UTC)
SPAN = {"from": "2026-03-27T05:20:00Z", "to": "2026-03-31T04:10:30Z"}
BOXES = {"Quiet": 300, "-minus": 120, "mute": 60, "odd": 600}
METRICS = ("pm2_5", "pressure", "laeq")
LEVELS = {"laeq"}
EVERY = "avg,min,max,count,coverage,p10,p50,p90,p95,l10,l50,l90"
type Rows = dict[tuple[str, str], dict[str, float]]


def chance_samples(rng: random.Random, count: int) -> list[dict[str, Any]]:
    found = []
    for _ in range(count):
        moment = FIRST + timedelta(seconds=rng.randrange(5 * 86_400))
        if moment.hour in (3, 4) or moment.day == 28:
            continue
        values = {
            name: round(rng.uniform(300, 900) if name == "pressure" else rng.uniform(1, 99), 2)
            for name in METRICS
            if rng.random() < 0.6
        }
        found.append({"time": moment.isoformat(), "values": values or {"laeq": 50.0}})
    return found


@pytest.fixture
async def town(
    tenant: Tenant,
    site_id: str,
    database: Database,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Boxes at two sites in two zones; most is summarised, some came late."""
    body = {
        "name": "Auckland",
        "kind": "street",
        "timezone": "Pacific/Auckland",
        "location": {"type": "Point", "coordinates": [174.76, -36.85]},
    }
    other = (await tenant.client.post("/v1/sites", json=body)).raise_for_status().json()["id"]
    for box, interval_s in BOXES.items():
        await register(tenant.client, other if box == "odd" else site_id, [box], interval_s)
    rng = random.Random(11)  # noqa: S311 (chance that can be played again)
    connection = await database.connect()
    door = Door(connection)
    async with maintaining(database, monkeypatch) as maintainer:
        for box in BOXES:
            if box != "mute":
                await door.take((box, chance_samples(rng, 700)))
        await maintainer.finish()
    await door.take(("Quiet", chance_samples(rng, 30)), ("odd", chance_samples(rng, 5)))
    await connection.close()


async def series(client: httpx.AsyncClient, bucket: str, aggregates: str) -> Rows:
    """What the series of each box and metric give, by box and time, as the columns are named."""
    found: Rows = defaultdict(dict)
    for box in BOXES:
        for metric in METRICS:
            names = [name for name in aggregates.split(",") if name[0] != "l" or metric in LEVELS]
            params: dict[str, Any] = {
                **SPAN,
                "metric": metric,
                "bucket": bucket,
                "aggregates": ",".join(names),
                "limit": 10_000,
            }
            answer = await client.get(f"/v1/boxes/{box}/readings", params=params)
            for point in answer.raise_for_status().json()["points"]:
                told = {f"{metric}_{name}": point[name] for name in names}
                found[box, point["time"]] |= told
    return dict(sorted(found.items(), key=lambda pair: (pair[0][0].encode(), pair[0][1])))


async def export(client: httpx.AsyncClient, **params: Any) -> httpx.Response:  # noqa: ANN401 (a query)
    answer = await client.get(PATH, params={**SPAN, "metric": list(METRICS), **params})
    assert answer.status_code == 200, answer.text
    return answer


def rows_of(answer: httpx.Response, format_: str) -> Rows:
    if format_ == "csv":
        head, *lines = csv.reader(io.StringIO(answer.text, newline=""), strict=True)
        return {
            (line[0], line[2]): {
                name: float(value) for name, value in zip(head[3:], line[3:], strict=True) if value
            }
            for line in lines
        }
    if format_ == "ndjson":
        told = [json.loads(line) for line in answer.text.splitlines()]
        return {(row["box"], row["time"]): row["values"] for row in told}
    if format_ == "geojson":
        return {
            (told.pop("box"), told.pop("time")): told
            for told in (feature["properties"] for feature in points_of(answer.content))
            if told.pop("site")
        }
    if format_ == "arrow":
        table = pa.ipc.open_stream(answer.content).read_all()
    else:
        table = pq.read_table(io.BytesIO(answer.content))
    return {
        (row.pop("box"), row.pop("time").strftime("%Y-%m-%dT%H:%M:%SZ")): {
            name: value for name, value in row.items() if name != "site" and value is not None
        }
        for row in table.to_pylist()
    }


CASES = (
    ("1h", EVERY, 60, ("csv", "ndjson", "geojson", "parquet", "arrow")),
    ("1d", EVERY, 2, ("ndjson",)),
    ("40m", "avg,l10,max,p95", 50, ("parquet",)),
    ("2d", "p95,count", 5_000, ("csv",)),
)


@pytest.mark.usefixtures("town")
async def test_each_value_is_that_of_its_series(tenant: Tenant, monkeypatch: pytest.MonkeyPatch) -> None:
    for bucket, aggregates, rows, formats in CASES:
        expected = await series(tenant.client, bucket, aggregates)
        assert len(expected) > 6
        monkeypatch.setattr(time_bucket_export, "ROWS", rows)
        for format_ in formats:
            answer = await export(tenant.client, bucket=bucket, aggregates=aggregates, format=format_)
            found = rows_of(answer, format_)
            assert list(found) == list(expected), (bucket, format_)
            assert found == expected, (bucket, format_)
            extension = "arrows" if format_ == "arrow" else format_
            name = f"vigie-readings-20260327T052000Z-20260331T041030Z-{bucket}.{extension}"
            assert answer.headers["content-disposition"] == f'attachment; filename="{name}"'
    query = {"action": "readings.read"}
    entries = (await tenant.client.get("/v1/audit", params=query)).raise_for_status().json()["data"]
    assert {"bucket": "2d", "aggregates": "p95,count"}.items() <= entries[0]["after"].items()


async def gone_on_with(tenant: Tenant, bucket: str) -> None:
    """A file is gone on with behind any row."""
    whole = await export(tenant.client, bucket=bucket)
    lines = whole.text.splitlines(keepends=True)
    address = whole.headers["content-location"]
    assert f"bucket={bucket}&aggregates=avg,min,max,count,coverage" in address
    assert (await tenant.client.get(address)).text == whole.text
    assert len(lines) > 7
    for place, line in [*enumerate(lines[1:], 2)][::2]:
        box, _, time, *_ = line.split(",")
        rest = await tenant.client.get(f"{address}&after={box},{time}")
        assert rest.text == "".join(lines[place:]), line


@pytest.mark.usefixtures("town")
async def test_parts_and_what_is_gone_on_with_are_pieces_of_the_whole(
    tenant: Tenant, monkeypatch: pytest.MonkeyPatch
) -> None:
    for bucket, rows in (("12h", 3), ("1d", 5_000)):
        monkeypatch.setattr(time_bucket_export, "ROWS", rows)
        await gone_on_with(tenant, bucket)
    params = {**SPAN, "metric": list(METRICS), "bucket": "30s", "format": "csv"}
    whole = (await export(tenant.client, bucket="30s")).text.splitlines()
    for limit in (100, 1):
        listed: list[dict[str, Any]] = []
        cursor: dict[str, str] = {}
        while True:
            query = {**params, "rows_per_part": 1_000, "limit": limit, **cursor}
            page = (await tenant.client.get(f"{PATH}/parts", params=query)).raise_for_status().json()
            listed += page["data"]
            if page["next"] is None:
                break
            cursor = {"cursor": page["next"]}
        found: list[str] = []
        for number, part in enumerate(listed, 1):
            answer = (await tenant.client.get(part["href"])).raise_for_status()
            head, *lines = answer.text.splitlines()
            assert (head, len(lines), part["number"]) == (whole[0], part["rows"], number)
            assert (lines[0].split(",")[0], lines[-1].split(",")[0]) == (part["first_box"], part["last_box"])
            found += lines
        assert found == whole[1:]
        assert [part["rows"] for part in listed[:-1]] == [1_000] * (len(listed) - 1)
        assert len(listed) > 1
    empty = await tenant.client.get(f"{PATH}/parts", params={**params, "box": "mute"})
    assert empty.json() == {"data": [], "next": None}


async def test_what_cannot_be_exported_in_buckets_is_refused(tenant: Tenant, site_id: str) -> None:
    await register(tenant.client, site_id, ["fast"], 1)
    long = {"from": "2020-01-01T00:00:00Z", "to": "2026-01-01T00:00:00Z"}
    for params, code in (
        ({"aggregates": "avg"}, "bucket_missing"),
        ({"bucket": "fortnight"}, "invalid_bucket"),
        ({"bucket": "1h", "aggregates": "avg,median"}, "invalid_aggregate"),
        ({"bucket": "1h", "aggregates": "l10", "metric": "pm2_5"}, "invalid_aggregate"),
        ({"bucket": "1m", **long}, "range_too_large"),
        ({"bucket": "52w", "aggregates": "p50", **long}, "range_too_large"),
        ({"bucket": "1h", "to": "2000-01-01T00:00:00Z"}, "range_too_large"),
        ({"bucket": "1h", "after": "fast,2026-01-01T00:00:00Z"}, "range_required"),
    ):
        for path in (PATH, f"{PATH}/parts"):
            answer = await tenant.client.get(path, params={"metric": "laeq", **params})
            if path == PATH or "after" not in params:
                assert (answer.status_code, answer.json()["code"]) == (422, code), params
    # There is nothing that was ever measured: a head without columns of values.
    bare = await tenant.client.get(PATH, params={**SPAN, "bucket": "1h"})
    assert bare.text == "box,site,time\r\n"
