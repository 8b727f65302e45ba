"""Several boxes and metrics in one call, and a period beside an earlier one."""

from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest

from tests.conftest import Tenant

START = datetime(2026, 3, 28, 12, tzinfo=UTC)
SPAN = {"from": START.isoformat(), "to": (START + timedelta(hours=2)).isoformat()}


@pytest.fixture
async def boxes(tenant: Tenant, site_id: str) -> list[str]:
    """Two boxes that measured two things each minute for two hours, and one that said nothing."""
    names = ["a", "b", "c"]
    listed = [{"id": name, "site_id": site_id, "interval_s": 60} for name in names]
    (await tenant.client.post("/v1/boxes/bulk", json={"boxes": listed})).raise_for_status()
    for number, name in enumerate(names[:2]):
        samples = [
            {
                "time": (START + timedelta(minutes=minute)).isoformat(),
                "values": {"pm2_5": minute + 100 * number, "laeq": 50 + number},
            }
            for minute in range(120)
        ]
        body = {"box": name, "samples": samples}
        (await tenant.client.post("/v1/telemetry", json=body)).raise_for_status()
    return names


async def ask(tenant: Tenant, path: str = "/v1/readings", **params: Any) -> httpx.Response:  # noqa: ANN401
    return await tenant.client.get(path, params=SPAN | params)


async def pages(tenant: Tenant, **params: Any) -> list[tuple[str, str, list[Any]]]:  # noqa: ANN401
    """All pages, with what was cut put together again."""
    found: list[tuple[str, str, list[Any]]] = []
    while params.get("cursor", "") is not None:
        answer = await ask(tenant, **params)
        assert answer.status_code == 200, answer.text
        page = answer.json()
        assert sum(len(series["points"]) for series in page["data"]) <= params.get("limit", 1000)
        for series in page["data"]:
            if found and found[-1][:2] == (series["box"], series["metric"]):
                found[-1][2].extend(series["points"])
            else:
                found.append((series["box"], series["metric"], series["points"]))
        params["cursor"] = page["next"]
    return found


@pytest.mark.parametrize("more", [{}, {"bucket": "15m"}, {"bucket": "1h", "fill": "null"}, {"bucket": "1d"}])
async def test_each_series_is_what_its_box_says_alone(
    tenant: Tenant, site_id: str, boxes: list[str], more: dict[str, str]
) -> None:
    alone = []
    for box in boxes:
        for metric in ("laeq", "pm2_5"):
            answer = await ask(tenant, f"/v1/boxes/{box}/readings", metric=metric, **more)
            alone.append((box, metric, answer.json()["points"]))
    for limit in (1000, 7):
        found = await pages(tenant, site=site_id, metric=["laeq", "pm2_5"], limit=limit, **more)
        assert found == alone
    assert await pages(tenant, box=["b", "a"], metric=["pm2_5"], **more) == [alone[1], alone[3]]


async def test_what_is_not_there_or_too_much_is_refused(
    tenant: Tenant, other_tenant: Tenant, site_id: str, boxes: list[str]
) -> None:
    del boxes
    for params, status, code in (
        ({"metric": "pm2_5"}, 422, "boxes_missing"),
        ({"metric": "warp", "box": "a"}, 422, "unknown_metric"),
        ({"metric": "pm2_5", "box": ["a", "nobody"]}, 404, "not_found"),
        ({"metric": "pm2_5", "site": "nowhere"}, 404, "not_found"),
        ({"metric": "pm2_5", "box": "a", "fill": "null"}, 422, "bucket_missing"),
        ({"metric": "pm2_5", "box": "a", "cursor": "W10"}, 422, "invalid_cursor"),
    ):
        answer = await ask(tenant, **params)
        assert (answer.status_code, answer.json()["code"]) == (status, code), params
    assert (await ask(other_tenant, metric="pm2_5", box="a")).status_code == 404
    assert (await ask(other_tenant, metric="pm2_5", site=site_id)).status_code == 404
    more = [{"id": f"m-{number}", "site_id": site_id} for number in range(200)]
    (await tenant.client.post("/v1/boxes/bulk", json={"boxes": more})).raise_for_status()
    answer = await ask(tenant, metric="pm2_5", site=site_id)
    assert (answer.status_code, answer.json()["code"]) == (422, "too_many_series")


async def test_a_period_is_compared_with_an_earlier_one(
    tenant: Tenant, site_id: str, boxes: list[str]
) -> None:
    del boxes
    span = {
        "from": (START + timedelta(hours=1)).isoformat(),
        "to": (START + timedelta(hours=2)).isoformat(),
    }
    answer = await ask(tenant, "/v1/readings/comparison", site=site_id, metric=["pm2_5", "laeq"], **span)
    assert answer.status_code == 200, answer.text
    found = {(entry["box"], entry["metric"]): entry for entry in answer.json()["data"]}
    assert list(found) == [(box, metric) for box in "abc" for metric in ("pm2_5", "laeq")]
    assert found["a", "pm2_5"] == {
        "box": "a",
        "metric": "pm2_5",
        "unit": "µg/m³",
        "period": {
            "from": "2026-03-28T13:00:00Z",
            "to": "2026-03-28T14:00:00Z",
            "avg": 89.5,
            "min": 60,
            "max": 119,
            "count": 60,
            "coverage": 100.0,
        },
        "reference": {
            "from": "2026-03-28T12:00:00Z",
            "to": "2026-03-28T13:00:00Z",
            "avg": 29.5,
            "min": 0,
            "max": 59,
            "count": 60,
            "coverage": 100.0,
        },
        "change": {"absolute": 60.0, "percent": 203.39},
    }
    assert found["b", "laeq"]["change"] == {"absolute": 0.0, "percent": None}
    assert found["c", "pm2_5"]["change"] is None
    answer = await ask(
        tenant, "/v1/readings/comparison", box="a", metric="pm2_5", **{"with": "PT30M"}, **span
    )
    (entry,) = answer.json()["data"]
    assert (entry["reference"]["from"], entry["reference"]["avg"]) == ("2026-03-28T12:30:00Z", 59.5)
    answer = await ask(tenant, "/v1/readings/comparison", box="a", metric="pm2_5", **{"with": "yesterday"})
    assert (answer.status_code, answer.json()["code"]) == (422, "invalid_duration")
