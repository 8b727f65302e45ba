"""Series at the far ends of time, and cursors that no series gave: answered or refused."""

from itertools import product
from typing import Any

import httpx
import pytest

from app.platform.http.contract.pagination import encode_cursor
from app.platform.kernel.instants import EARLIEST_US, LATEST_US
from app.timeseries.series import multi_series
from tests.conftest import Tenant

TOKYO = {
    "name": "Shibuya",
    "kind": "street",
    "timezone": "Asia/Tokyo",
    "location": {"type": "Point", "coordinates": [139.7, 35.7]},
}
END_US = 253_402_300_799_999_999
MORE: tuple[dict[str, str], ...] = (
    {},
    {"fill": "null"},
    {"exclude": "late"},
    {"corrected": "true", "fill": "linear"},
)
YEAR = {"from": "2025-01-01T00:00:00Z", "to": "2026-01-01T00:00:00Z"}


@pytest.fixture
async def box(tenant: Tenant) -> str:
    site = (await tenant.client.post("/v1/sites", json=TOKYO)).raise_for_status().json()["id"]
    boxes = [{"id": name, "site_id": site, "interval_s": 3600} for name in ("far", "further")]
    (await tenant.client.post("/v1/boxes/bulk", json={"boxes": boxes})).raise_for_status()
    for name in ("far", "further"):
        samples = [{"time": "2025-06-01T12:00:00Z", "values": {"pm2_5": 3.0}}]
        sent = await tenant.client.post("/v1/telemetry", json={"box": name, "samples": samples})
        assert sent.json()["stored"] == 1
    return "far"


async def of_box(tenant: Tenant, **params: Any) -> httpx.Response:  # noqa: ANN401 (a query)
    return await tenant.client.get("/v1/boxes/far/readings", params={"metric": "pm2_5", **params})


@pytest.mark.usefixtures("box")
async def test_cursors_of_times_without_samples_are_refused(tenant: Tenant) -> None:
    for time_us in (END_US, LATEST_US + 1, EARLIEST_US - 1, 10**30, -(10**30)):
        for kind, bucket in (("readings", None), ("buckets", "1d"), ("buckets", "1h")):
            more = {} if bucket is None else {"bucket": bucket}
            refused = await of_box(tenant, **YEAR, **more, cursor=encode_cursor(kind, time_us))
            assert refused.json().get("code") == "invalid_cursor", (time_us, bucket)
        several = encode_cursor("several", "far", "pm2_5", time_us)
        params = {"metric": "pm2_5", "box": "far", "bucket": "1d", **YEAR, "cursor": several}
        refused = await tenant.client.get("/v1/readings", params=params)
        assert refused.json().get("code") == "invalid_cursor", time_us


@pytest.mark.usefixtures("box")
async def test_a_cursor_behind_the_range_has_nothing_left(tenant: Tenant) -> None:
    for time_us in (LATEST_US, LATEST_US - 1):
        for more in MORE:
            cursor = encode_cursor("buckets", time_us)
            answer = await of_box(tenant, **YEAR, bucket="1d", **more, cursor=cursor)
            assert answer.status_code == 200, (time_us, more)
            assert all(not point["count"] for point in answer.json()["points"])


@pytest.mark.usefixtures("box")
async def test_buckets_that_end_after_the_last_year_are_buckets(tenant: Tenant) -> None:
    spans = (
        ("0001-01-01T00:00:00Z", "9999-12-31T23:59:59.999999Z"),
        ("9998-12-01T00:00:00Z", "9999-12-31T00:00:00Z"),
    )
    for (first, last), fill, extra in product(spans, ("none", "null", "linear"), MORE):
        params = {
            "bucket": "3660d",
            "from": first,
            "to": last,
            "aggregates": "p95,count",
            **extra,
            "fill": fill,
        }
        answer = await of_box(tenant, **params)
        assert answer.status_code in {200, 422}, (params, answer.text)
        if answer.status_code == 422:
            assert answer.json()["code"] == "range_too_large"
        else:
            counted = sum(point["count"] for point in answer.json()["points"])
            assert counted == (1 if first[0] == "0" else 0)


@pytest.mark.usefixtures("box")
async def test_a_page_that_has_taken_long_ends_after_a_series(
    tenant: Tenant, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(multi_series, "_PAGE_S", 0.0)
    params: dict[str, Any] = {"metric": ["pm2_5", "no2"], "box": ["far", "further"], "bucket": "1d", **YEAR}
    found, cursor, calls = [], None, 0
    while calls == 0 or cursor is not None:
        if cursor is not None:
            params["cursor"] = cursor
        page = (await tenant.client.get("/v1/readings", params=params)).raise_for_status().json()
        found += [(each["box"], each["metric"], len(each["points"])) for each in page["data"]]
        cursor, calls = page["next"], calls + 1
    assert found == [("far", "pm2_5", 1), ("far", "no2", 0), ("further", "pm2_5", 1), ("further", "no2", 0)]
    assert calls == 4
