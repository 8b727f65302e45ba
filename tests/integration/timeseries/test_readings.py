"""Latest values and series over REST, on a real database."""

import math
from datetime import UTC, datetime, timedelta
from typing import Any

import asyncpg
import pytest

from tests.conftest import Tenant

START = datetime(2026, 3, 28, 12, tzinfo=UTC)
"""The day before the clocks go forward in Paris."""


@pytest.fixture
async def box(tenant: Tenant, site_id: str) -> str:
    body = {"id": "box-0001", "site_id": site_id, "interval_s": 60}
    (await tenant.client.post("/v1/boxes", json=body)).raise_for_status()
    return "box-0001"


async def send(tenant: Tenant, box: str, *samples: tuple[datetime, dict[str, float]]) -> None:
    for start in range(0, len(samples), 1000):
        part = [
            {"time": time.isoformat(), "values": values} for time, values in samples[start : start + 1000]
        ]
        answer = await tenant.client.post("/v1/telemetry", json={"box": box, "samples": part})
        assert answer.json()["stored"] == len(part), answer.text


async def series(tenant: Tenant, box: str, **params: Any) -> dict[str, Any]:  # noqa: ANN401 (a query)
    params["from"] = params.pop("from_", START.isoformat())
    params["to"] = params.get("to", (START + timedelta(days=2)).isoformat())
    answer = await tenant.client.get(f"/v1/boxes/{box}/readings", params=params)
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


async def test_latest_is_the_newest_value_of_each_metric(tenant: Tenant, site_id: str, box: str) -> None:
    empty = (await tenant.client.get(f"/v1/boxes/{box}/latest")).json()
    assert empty == {"box": box, "time": None, "values": {}, "times": {}}
    later = START + timedelta(minutes=1)
    await send(
        tenant, box, (later, {"pm2_5": 12.4}), (START, {"pm2_5": 99, "pressure": 1002.3732, "laeq": 0.1})
    )
    latest = (await tenant.client.get(f"/v1/boxes/{box}/latest")).json()
    assert latest == {
        "box": box,
        "time": "2026-03-28T12:01:00Z",
        "values": {"pm2_5": 12.4, "pressure": 1002.3732, "laeq": 0.1},
        "times": {
            "pm2_5": "2026-03-28T12:01:00Z",
            "pressure": "2026-03-28T12:00:00Z",
            "laeq": "2026-03-28T12:00:00Z",
        },
    }
    assert (await tenant.client.get(f"/v1/boxes/{box}")).json()["last_sample_at"] == "2026-03-28T12:01:00Z"
    of_site = (await tenant.client.get(f"/v1/sites/{site_id}/latest")).json()
    assert of_site == {"data": [latest], "next": None}


async def test_latest_of_a_site_comes_in_pages(tenant: Tenant, site_id: str) -> None:
    boxes = [{"id": f"b-{number}", "site_id": site_id} for number in range(5)]
    (await tenant.client.post("/v1/boxes/bulk", json={"boxes": boxes})).raise_for_status()
    seen = []
    params: dict[str, Any] = {"limit": 2}
    while params.get("cursor", "") is not None:
        page = (await tenant.client.get(f"/v1/sites/{site_id}/latest", params=params)).json()
        seen += [row["box"] for row in page["data"]]
        params["cursor"] = page["next"]
    assert seen == [f"b-{number}" for number in range(5)]
    assert (await tenant.client.get("/v1/sites/nope/latest")).status_code == 404


async def test_latest_includes_samples_that_the_rows_of_states_lack(
    tenant: Tenant, site_id: str, database_url: str
) -> None:
    """Rows lag, and boxes fell silent at different times: weeks ago, or before they sent anything."""
    silent_days = {"b-0": 0, "b-1": 3, "b-2": 9, "b-3": 40}
    boxes = [{"id": box, "site_id": site_id} for box in (*silent_days, "b-4")]
    (await tenant.client.post("/v1/boxes/bulk", json={"boxes": boxes})).raise_for_status()
    for box, days in silent_days.items():
        time = START - timedelta(days=days)
        samples = [(time + timedelta(minutes=n), {"laeq": 50 + n, "pm2_5": n + 0.1}) for n in range(3)]
        await send(tenant, box, *samples, (samples[-1][0] + timedelta(seconds=0.5), {"pm2_5": 7.25}))
    before = (await tenant.client.get(f"/v1/sites/{site_id}/latest")).json()
    first = {row["box"]: row for row in before["data"]}
    assert first["b-0"]["values"] == {"laeq": 52, "pm2_5": 7.25}
    assert first["b-0"]["times"] == {"laeq": "2026-03-28T12:02:00Z", "pm2_5": "2026-03-28T12:02:00.500Z"}
    connection = await asyncpg.connect(database_url)
    try:
        # As if the consumer had written only the first one of each box.
        for box, days in silent_days.items():
            await connection.execute(
                "UPDATE box_states SET newest_us = (extract(epoch FROM $2::timestamptz) * 1000000)::bigint,"
                " latest = jsonb_build_object('laeq', jsonb_build_array(50, 0)) FROM boxes"
                " WHERE key = box_key AND id = $1",
                box,
                START - timedelta(days=days),
            )
    finally:
        await connection.close()
    for _ in range(2):  # the second from the cache
        after = (await tenant.client.get(f"/v1/sites/{site_id}/latest")).json()
        assert after == before
    assert (await tenant.client.get("/v1/boxes/b-2/latest")).json() == first["b-2"]


@pytest.mark.parametrize(
    "value", [12.4, 0.0, 1e-40, 3e-45, 1.0, 99.99, 0.1, 1234.567, 1e-7, 19999.99, 16_777.217, 2.0**-126]
)
async def test_readings_and_latest_give_the_same_shortest_decimal(
    tenant: Tenant, box: str, value: float
) -> None:
    await send(tenant, box, (START, {"pm2_5": value}))
    (reading,) = (await series(tenant, box, metric="pm2_5"))["points"]
    (bucket,) = (await series(tenant, box, metric="pm2_5", bucket="1h"))["points"]
    latest = (await tenant.client.get(f"/v1/boxes/{box}/latest")).json()["values"]["pm2_5"]
    assert reading["value"] == latest == bucket["min"] == bucket["max"] == bucket["avg"]
    assert math.isclose(latest, value, rel_tol=1e-6, abs_tol=1e-45)
    if value == 12.4:
        assert latest == 12.4


async def test_a_range_includes_its_beginning_and_not_its_end(tenant: Tenant, box: str) -> None:
    minutes = [START + timedelta(minutes=number) for number in range(10)]
    await send(tenant, box, *((time, {"pm2_5": float(number)}) for number, time in enumerate(minutes)))
    await send(tenant, box, (START + timedelta(seconds=30), {"pm10": 1.0}))
    found = await series(tenant, box, metric="pm2_5", from_=minutes[2].isoformat(), to=minutes[5].isoformat())
    assert (found["box"], found["metric"], found["unit"], found["next"]) == (box, "pm2_5", "µg/m³", None)
    assert found["points"] == [
        {"time": f"2026-03-28T12:0{number}:00Z", "value": float(number)} for number in (2, 3, 4)
    ]
    by_ms = await series(
        tenant,
        box,
        metric="pm2_5",
        from_=round(minutes[2].timestamp() * 1000),
        to=round(minutes[5].timestamp() * 1000),
    )
    assert by_ms == found
    with_offset = await series(
        tenant, box, metric="pm2_5", from_="2026-03-28T13:02:00+01:00", to=minutes[5].isoformat()
    )
    assert with_offset == found


async def test_pages_hold_every_point_once(tenant: Tenant, box: str) -> None:
    times = [START + timedelta(microseconds=number * 7) for number in range(25)]
    await send(tenant, box, *((time, {"pm2_5": float(number)}) for number, time in enumerate(times)))
    end = (START + timedelta(minutes=1)).isoformat()
    for more in ({}, {"bucket": "1s"}):
        seen: list[Any] = []
        cursor: dict[str, str] = {}
        while True:
            page = await series(tenant, box, metric="pm2_5", limit=10, to=end, **more, **cursor)
            seen += page["points"]
            if page["next"] is None:
                break
            cursor = {"cursor": page["next"]}
        assert len(seen) == (1 if more else 25)
        if not more:
            assert [point["value"] for point in seen] == [float(number) for number in range(25)]


async def test_pages_go_on_past_long_gaps(tenant: Tenant, box: str) -> None:
    days = (0, 0.001, 1, 40, 40.5, 800)
    await send(tenant, box, *((START - timedelta(days=day), {"pm2_5": day}) for day in reversed(days)))
    for limit in (1, 2, 5, 6, 7):
        seen: list[Any] = []
        cursor: dict[str, str] = {}
        while True:
            page = await series(
                tenant, box, metric="pm2_5", limit=limit, from_="0001-01-01T00:00:00Z", **cursor
            )
            assert len(page["points"]) <= limit
            seen += page["points"]
            if page["next"] is None:
                break
            cursor = {"cursor": page["next"]}
        assert [point["value"] for point in seen] == [800.0, 40.5, 40.0, 1.0, 0.001, 0.0]


async def test_the_last_day_is_the_default(tenant: Tenant, box: str) -> None:
    now = datetime.now(UTC)
    await send(
        tenant,
        box,
        (now - timedelta(hours=25), {"pm2_5": 1.0}),
        (now - timedelta(hours=23), {"pm2_5": 2.0}),
    )
    answer = await tenant.client.get(f"/v1/boxes/{box}/readings", params={"metric": "pm2_5"})
    assert [point["value"] for point in answer.json()["points"]] == [2.0]


async def test_buckets_have_mean_extremes_count_and_coverage(tenant: Tenant, box: str) -> None:
    # 15 of 15 expected in the first quarter of an hour, 3 in the second, none in the third.
    minutes = [*range(15), 16, 20, 29, 45]
    await send(
        tenant,
        box,
        *((START + timedelta(minutes=m), {"pm2_5": m + 0.4, "pressure": 1000.0}) for m in minutes),
    )
    found = await series(tenant, box, metric="pm2_5", bucket="15m")
    assert (found["bucket"], found["timezone"]) == ("15m", "UTC")
    assert found["points"] == [
        {"time": "2026-03-28T12:00:00Z", "avg": 7.4, "min": 0.4, "max": 14.4, "count": 15, "coverage": 100.0},
        {
            "time": "2026-03-28T12:15:00Z",
            "avg": 22.06667,
            "min": 16.4,
            "max": 29.4,
            "count": 3,
            "coverage": 20.0,
        },
        {"time": "2026-03-28T12:45:00Z", "avg": 45.4, "min": 45.4, "max": 45.4, "count": 1, "coverage": 6.67},
    ]
    page = await series(tenant, box, metric="pm2_5", bucket="15m", limit=2)
    rest = await series(tenant, box, metric="pm2_5", bucket="15m", limit=2, cursor=page["next"])
    assert page["points"] + rest["points"] == found["points"]
    assert rest["next"] is None


async def test_decibels_are_averaged_by_energy(tenant: Tenant, box: str) -> None:
    await send(tenant, box, (START, {"laeq": 50.0}), (START + timedelta(minutes=1), {"laeq": 70.0}))
    (point,) = (await series(tenant, box, metric="laeq", bucket="1h"))["points"]
    assert point["avg"] == pytest.approx(10 * math.log10((1e5 + 1e7) / 2), abs=1e-4)
    assert (point["min"], point["max"]) == (50.0, 70.0)


async def test_days_are_those_of_the_site(tenant: Tenant, box: str) -> None:
    # The 29th of March has 23 hours in Paris: it ends at 22:00 UTC.
    first = datetime(2026, 3, 27, 23, tzinfo=UTC)
    hours = [first + timedelta(hours=number) for number in range(24 + 23 + 1)]
    await send(tenant, box, *((time, {"co2": 400.0}) for time in hours))
    await tenant.client.patch(f"/v1/boxes/{box}", json={"interval_s": 3600})
    found = await series(
        tenant,
        box,
        metric="co2",
        bucket="1d",
        from_=first.isoformat(),
        to=(first + timedelta(days=7)).isoformat(),
    )
    assert found["timezone"] == "Europe/Paris"
    assert [(point["time"], point["count"], point["coverage"]) for point in found["points"]] == [
        ("2026-03-27T23:00:00Z", 24, 100.0),
        ("2026-03-28T23:00:00Z", 23, 100.0),
        ("2026-03-29T22:00:00Z", 1, 4.17),
    ]
    page = await series(
        tenant,
        box,
        metric="co2",
        bucket="1d",
        limit=2,
        from_=first.isoformat(),
        to=(first + timedelta(days=7)).isoformat(),
    )
    rest = await series(
        tenant,
        box,
        metric="co2",
        bucket="1d",
        limit=2,
        from_=first.isoformat(),
        to=(first + timedelta(days=7)).isoformat(),
        cursor=page["next"],
    )
    assert page["points"] + rest["points"] == found["points"]
    weeks = await series(
        tenant,
        box,
        metric="co2",
        bucket="1w",
        from_=first.isoformat(),
        to=(first + timedelta(days=7)).isoformat(),
    )
    assert [point["time"] for point in weeks["points"]] == ["2026-03-22T23:00:00Z", "2026-03-29T22:00:00Z"]


@pytest.mark.parametrize(
    ("params", "code"),
    [
        ({}, "missing_field"),
        ({"metric": "warp"}, "unknown_metric"),
        ({"metric": "time"}, "unknown_metric"),
        ({"metric": 'pm2_5" or 1=1'}, "unknown_metric"),
        ({"from": "2026-03-28T12:00:00Z", "to": "2026-03-28T11:00:00Z"}, "range_reversed"),
        ({"from": "2026-03-28T12:00:00Z", "to": "2026-03-28T12:00:00Z"}, "range_reversed"),
        ({"from": "2026-03-28T12:00:00"}, "time_without_zone"),
        ({"from": "2026-03-28T24:00:00Z"}, "invalid_time"),
        ({"from": "yesterday"}, "invalid_time"),
        ({"from": "1774699200"}, "time_out_of_range"),
        ({"from": "-1"}, "time_out_of_range"),
        ({"limit": "-1"}, "invalid_value"),
        ({"limit": "10001"}, "invalid_value"),
        ({"cursor": "W10"}, "invalid_cursor"),
        ({"bucket": "0m"}, "invalid_bucket"),
        ({"bucket": "15"}, "invalid_bucket"),
        ({"bucket": "1y"}, "invalid_bucket"),
        ({"bucket": "999999w"}, "invalid_bucket"),
        ({"bucket": "1s", "from": "2016-01-01T00:00:00Z", "to": "2026-01-01T00:00:00Z"}, "range_too_large"),
    ],
)
async def test_a_faulty_query_is_refused(tenant: Tenant, box: str, params: dict[str, str], code: str) -> None:
    query = {"metric": "pm2_5", **params} if params else {}
    answer = await tenant.client.get(f"/v1/boxes/{box}/readings", params=query)
    assert (answer.status_code, answer.json()["code"]) == (422, code), answer.text
    if code == "range_too_large":
        better = {**query, "bucket": answer.json()["suggested_bucket"]}
        assert (await tenant.client.get(f"/v1/boxes/{box}/readings", params=better)).status_code == 200


async def test_the_far_ends_of_time_are_ranges_too(tenant: Tenant, box: str) -> None:
    await send(tenant, box, (START, {"pm2_5": 1.0}))
    found = await series(tenant, box, metric="pm2_5", from_="0001-01-01T00:00:00Z", to="9999-12-31T23:59:59Z")
    assert len(found["points"]) == 1
    found = await series(
        tenant, box, metric="pm2_5", from_="0001-01-01T00:00:00Z", to="9999-12-31T23:59:59Z", bucket="52w"
    )
    assert len(found["points"]) == 1


async def test_a_cursor_is_tied_to_its_series(tenant: Tenant, box: str) -> None:
    await send(tenant, box, *((START + timedelta(minutes=m), {"pm2_5": 1.0}) for m in range(3)))
    raw = (await series(tenant, box, metric="pm2_5", limit=1))["next"]
    answer = await tenant.client.get(
        f"/v1/boxes/{box}/readings", params={"metric": "pm2_5", "bucket": "1h", "cursor": raw}
    )
    assert (answer.status_code, answer.json()["code"]) == (422, "invalid_cursor")


async def test_another_organisations_readings_do_not_exist(
    tenant: Tenant, other_tenant: Tenant, site_id: str, box: str
) -> None:
    await send(tenant, box, (START, {"pm2_5": 1.0}))
    for path in (
        f"/v1/boxes/{box}/latest",
        f"/v1/boxes/{box}/readings?metric=pm2_5",
        f"/v1/sites/{site_id}/latest",
    ):
        assert (await other_tenant.client.get(path)).status_code == 404, path


async def test_ten_years_of_hours_come_in_buckets_quickly(
    tenant: Tenant, box: str, database_url: str
) -> None:
    connection = await asyncpg.connect(database_url)
    try:
        await connection.execute(
            "INSERT INTO samples (time, box_key, pm2_5) "
            "SELECT time, (SELECT key FROM boxes WHERE id = $1), 1.5 "
            "FROM generate_series('2024-01-01'::timestamptz, '2026-01-01', '1 hour') AS time",
            box,
        )
    finally:
        await connection.close()
    found = await series(
        tenant,
        box,
        metric="pm2_5",
        bucket="1d",
        from_="2016-01-01T00:00:00Z",
        to="2026-01-01T00:00:00Z",
        limit=10_000,
    )
    assert len(found["points"]) == 2 * 365 + 1 + 1
    assert {point["avg"] for point in found["points"]} == {1.5}
