"""Corrections over REST, on a real database: defined, ended, applied."""

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from typing import Any

import asyncpg
import httpx
import numpy as np
import pytest
from fastapi import FastAPI

from app.timeseries.quality import correction_service
from tests.conftest import Tenant, client_of
from tests.integration.timeseries.quality.conftest import Ask, at

Send = Callable[[Iterable[tuple[float, dict[str, float]]]], Awaitable[None]]
PATH = "/v1/boxes/box-0001/corrections"
LINEAR: dict[str, Any] = {"metric": "pm2_5", "kind": "linear", "gain": 0.5, "offset": 2, "valid_from": at(0)}
HUMIDITY: dict[str, Any] = {"metric": "pm2_5", "kind": "humidity", "kappa": 0.33, "valid_from": at(0)}


async def define(tenant: Tenant, body: dict[str, Any], **more: Any) -> dict[str, Any]:  # noqa: ANN401 (JSON)
    answer = await tenant.client.post(PATH, json=body | more)
    assert answer.status_code == 201, answer.text
    made: dict[str, Any] = answer.json()
    return made


def refusal(answer: httpx.Response) -> tuple[int, str]:
    return answer.status_code, answer.json()["code"]


async def test_one_is_defined_read_ended_and_deleted(tenant: Tenant, box: str) -> None:
    made = await define(tenant, LINEAR, note="Beside the station")
    assert made | {"id": "", "created_at": "", "updated_at": ""} == {
        **LINEAR,
        "id": "",
        "box": box,
        "kappa": None,
        "valid_until": None,
        "note": "Beside the station",
        "created_at": "",
        "updated_at": "",
    }
    other = await define(tenant, HUMIDITY, valid_from=at(5))
    assert (other["gain"], other["offset"], other["kappa"]) == (None, None, 0.33)
    dry = await define(tenant, LINEAR, metric="pm10", offset=None, valid_from=at(-5))
    assert (dry["gain"], dry["offset"]) == (0.5, 0)
    url = f"{PATH}/{made['id']}"
    read = await tenant.client.get(url)
    assert read.json() == made
    listed = (await tenant.client.get(PATH)).json()["data"]
    assert [each["id"] for each in listed] == [dry["id"], made["id"], other["id"]]
    page = (
        await tenant.client.get(PATH, params={"metric": "pm2_5", "limit": 1, "sort": "-valid_from"})
    ).json()
    rest = (
        await tenant.client.get(
            PATH, params={"metric": "pm2_5", "limit": 1, "sort": "-valid_from", "cursor": page["next"]}
        )
    ).json()
    assert [each["id"] for each in page["data"] + rest["data"]] == [other["id"], made["id"]]
    assert rest["next"] is None
    # Numbers never change.
    for field in ("gain", "offset", "valid_from", "metric", "kind"):
        assert refusal(await tenant.client.patch(url, json={field: 1})) == (422, "unknown_field")
    ended = await tenant.client.patch(
        url, json={"valid_until": at(60)}, headers={"If-Match": read.headers["etag"]}
    )
    assert ended.json() == made | {"valid_until": at(60), "updated_at": ended.json()["updated_at"]}
    stale = {"If-Match": read.headers["etag"]}
    assert refusal(await tenant.client.patch(url, json={"note": None}, headers=stale)) == (
        412,
        "precondition_failed",
    )
    assert (await tenant.client.patch(url, json={"note": None})).json()["note"] is None
    assert (await tenant.client.patch(url, json={"valid_until": None})).json()["valid_until"] is None
    assert refusal(await tenant.client.delete(url, headers=stale)) == (412, "precondition_failed")
    assert (await tenant.client.delete(url)).status_code == 204
    assert refusal(await tenant.client.get(url)) == (404, "not_found")
    told = (await tenant.client.get("/v1/audit", params={"subject": made["id"]})).json()["data"]
    assert [each["action"] for each in reversed(told)] == [
        "correction.created",
        *["correction.updated"] * 3,
        "correction.deleted",
    ]
    assert told[-1]["after"]["parameters"] == {"gain": 0.5, "offset": 2}
    assert "station" not in str(told)


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"metric": "warp"}, "unknown_metric"),
        ({"kind": "cubic"}, "invalid_value"),
        ({"gain": 0}, "invalid_value"),
        ({"gain": -1}, "invalid_value"),
        ({"gain": "1"}, "wrong_type"),
        ({"gain": True}, "wrong_type"),
        ({"offset": 1e7}, "invalid_value"),
        ({"kappa": 0.3}, "invalid_value"),
        ({"gain": None, "offset": None}, "missing_field"),
        ({"valid_from": None}, "wrong_type"),
        ({"valid_until": at(0)}, "range_reversed"),
        ({"valid_until": at(-1)}, "range_reversed"),
        ({"kind": "humidity"}, "invalid_value"),
        ({"kind": "humidity", "gain": None, "offset": None}, "missing_field"),
        ({"kind": "humidity", "gain": None, "offset": None, "kappa": 0}, "invalid_value"),
        ({"kind": "humidity", "gain": None, "offset": None, "kappa": 0.3, "metric": "no2"}, "invalid_value"),
    ],
)
async def test_what_is_no_correction_is_refused(
    tenant: Tenant, box: str, change: dict[str, Any], code: str
) -> None:
    assert refusal(await tenant.client.post(PATH, json=LINEAR | change)) == (422, code)
    assert (await tenant.client.get(f"/v1/boxes/{box}/corrections")).json()["data"] == []


async def test_no_two_of_a_kind_hold_at_once(tenant: Tenant, box: str) -> None:
    assert box
    first = await define(tenant, LINEAR, valid_until=at(60))
    last = await define(tenant, LINEAR, valid_from=at(120))

    async def tried(begin: float, end: float | None, **more: object) -> httpx.Response:
        until = None if end is None else at(end)
        return await tenant.client.post(
            PATH, json=LINEAR | {"valid_from": at(begin), "valid_until": until} | more
        )

    for begin, end, other in (
        (0, 60, first),
        (-10, None, first),
        (-10, 0.1, first),
        (59.9, 61, first),
        (10, 20, first),
        (119, None, last),
        (119, 121, last),
        (500, 600, last),
    ):
        answer = await tried(begin, end)
        assert refusal(answer) == (409, "correction_overlaps"), (begin, end)
        assert answer.json()["correction_id"] == other["id"]
    # Before, between and beside them there is room; and for other metrics, kinds and boxes.
    assert (await tried(60, 120)).status_code == 201
    assert (await tried(-10, 0)).status_code == 201
    assert (await tried(0, None, metric="pm10")).status_code == 201
    await define(tenant, HUMIDITY)
    # An end is checked like a beginning.
    url = f"{PATH}/{first['id']}"
    for until in (None, at(61), at(1000)):
        assert refusal(await tenant.client.patch(url, json={"valid_until": until})) == (
            409,
            "correction_overlaps",
        )
    assert refusal(await tenant.client.patch(url, json={"valid_until": at(0)})) == (422, "range_reversed")
    assert (await tenant.client.get(url)).json() == first
    assert (await tenant.client.patch(url, json={"valid_until": at(30)})).status_code == 200
    assert (await tried(30, 60)).status_code == 201


async def test_of_several_defined_at_once_one_is(tenant: Tenant, box: str) -> None:
    answers = await asyncio.gather(
        *(tenant.client.post(PATH, json=LINEAR | {"valid_from": at(minute)}) for minute in range(6))
    )
    assert sorted(each.status_code for each in answers) == [201, *[409] * 5]
    assert len((await tenant.client.get(f"/v1/boxes/{box}/corrections")).json()["data"]) == 1


async def test_a_box_has_so_many_at_most(tenant: Tenant, box: str, monkeypatch: pytest.MonkeyPatch) -> None:
    assert box
    monkeypatch.setattr(correction_service, "CORRECTIONS_MOST", 2)
    for minute in (0, 1):
        await define(tenant, LINEAR, valid_from=at(minute), valid_until=at(minute + 1))
    answer = await tenant.client.post(PATH, json=HUMIDITY)
    assert refusal(answer) == (422, "too_many_corrections")


async def test_raw_and_corrected_stand_side_by_side(tenant: Tenant, send: Send, ask: Ask) -> None:
    await send((minute, {"pm2_5": 10.1 + minute}) for minute in range(4))
    before = await ask("pm2_5")
    assert await ask("pm2_5", corrected=True) == before | {
        "corrected": True,
        "corrections": [],
        "points": [each | {"corrected": each["value"]} for each in before["points"]],
    }
    # Of the second and the third; another one of the time before, which has no samples.
    used = await define(tenant, LINEAR, valid_from=at(1), valid_until=at(3))
    await define(tenant, LINEAR, valid_from=at(-60), valid_until=at(0))
    await define(tenant, LINEAR, metric="pm10")
    found = await ask("pm2_5", corrected=True)
    assert [each["corrected"] for each in found["points"]] == [10.1, 7.55, 8.05, 13.1]
    assert found["corrections"] == [
        {name: used[name] for name in ("id", "kind", "gain", "offset", "valid_from", "valid_until")}
    ]
    page = await ask("pm2_5", corrected=True, limit=1)
    assert page["corrections"] == []
    # Stored and shown otherwise it is as it was.
    assert await ask("pm2_5") == before
    await tenant.client.delete(f"{PATH}/{used['id']}")
    assert (await ask("pm2_5", corrected=True))["corrections"] == []


async def test_humidity_is_the_boxs_own_and_the_nearest(tenant: Tenant, send: Send, ask: Ask) -> None:
    await define(tenant, HUMIDITY)
    await send(
        [
            (0, {"pm2_5": 28.0, "humidity": 90.0}),
            (1, {"pm2_5": 28.0}),
            (2, {"humidity": 50.0}),
            (3, {"pm2_5": 28.0}),
            (12, {"pm2_5": 28.0}),
            (12.1, {"pm2_5": 28.0}),
            (23, {"pm2_5": 28.0}),
            (33, {"humidity": 100.0}),
            (34, {"pm2_5": 28.0}),
        ]
    )
    # 28 / 2.8 at 90 %, 28 / 1.2 at 50 %, 28 / 4.8 at 95 % and more; of two as near the earlier one.
    expected = [10.0, 10.0, 23.33333, 23.33333, None, 5.833333, 5.833333]
    for params in ({}, {"flags": True}, {"from_": at(0.5)}, {"from_": at(11), "to": at(13)}):
        found = await ask("pm2_5", corrected=True, **params)
        part = {each["time"]: each for each in found["points"]}
        for minute, value in zip((0, 1, 3, 12, 12.1, 23, 34), expected, strict=True):
            point = part.pop(at(minute), None)
            if point is None:
                assert params
                continue
            assert point["corrected"] == value, minute
            assert point.get("uncorrected") == ("no_humidity" if value is None else None)
        assert part == {}
    # Humidity first, the linear one after it.
    await define(tenant, LINEAR)
    found = await ask("pm2_5", corrected=True)
    assert [each["corrected"] for each in found["points"]][:3] == [7.0, 7.0, 13.66667]
    assert {each["kind"] for each in found["corrections"]} == {"linear", "humidity"}
    # What nothing can be said of is in no bucket.
    (bucket,) = (await ask("pm2_5", corrected=True, bucket="1h"))["points"]
    assert bucket["count"] == 6
    assert (await ask("pm2_5", bucket="1h"))["points"][0]["count"] == 7


async def test_buckets_are_made_of_corrected_values(tenant: Tenant, send: Send, ask: Ask) -> None:
    chance = np.random.default_rng(3)
    levels = chance.uniform(40, 80, 180).round(1)
    levels[100] = 139.0
    await send((minute, {"laeq": float(level)}) for minute, level in enumerate(levels))
    made = await define(tenant, {"metric": "laeq", "kind": "linear", "offset": -1.5, "valid_from": at(90)})
    found = await ask(
        "laeq", corrected=True, bucket="1h", exclude="out_of_range", aggregates="avg,min,max,count,l10"
    )
    assert (found["corrected"], [each["id"] for each in found["corrections"]]) == (True, [made["id"]])
    corrected = levels - 1.5 * (np.arange(180) >= 90)
    expected = []
    for hour in range(3):
        own = [corrected[minute] for minute in range(60 * hour, 60 * hour + 60) if minute != 100]
        expected.append(
            {
                "time": at(60 * hour),
                "avg": pytest.approx(10 * np.log10(np.mean(10 ** (np.array(own) / 10))), rel=1e-6),
                "min": pytest.approx(min(own), rel=1e-6),
                "max": pytest.approx(max(own), rel=1e-6),
                "count": len(own),
                "l10": pytest.approx(np.percentile(own, 90), rel=1e-6),
            }
        )
    assert found["points"] == expected
    plain = await ask("laeq", bucket="1h")
    assert "corrected" not in plain
    assert plain["points"][1]["max"] == 139.0


async def test_corrections_are_their_tenants(
    tenant: Tenant, other_tenant: Tenant, site_id: str, box: str, application: FastAPI
) -> None:
    made = await define(tenant, LINEAR)
    url = f"{PATH}/{made['id']}"
    (await tenant.client.post("/v1/boxes", json={"id": "box-0002", "site_id": site_id})).raise_for_status()
    elsewhere = f"/v1/boxes/box-0002/corrections/{made['id']}"
    change = {"valid_until": at(1)}
    for client, where in ((other_tenant.client, url), (tenant.client, elsewhere)):
        assert refusal(await client.get(where)) == (404, "not_found")
        assert refusal(await client.patch(where, json=change)) == (404, "not_found")
        assert refusal(await client.delete(where)) == (404, "not_found")
    assert refusal(await other_tenant.client.get(PATH)) == (404, "not_found")
    assert refusal(await other_tenant.client.post(PATH, json=HUMIDITY)) == (404, "not_found")
    for scopes, reads, writes in ((["telemetry:read"], 200, 403), (["sites:write"], 403, 204)):
        key = (await tenant.client.post("/v1/api-keys", json={"name": "k", "scopes": scopes})).json()["key"]
        async with client_of(application, key) as client:
            assert (await client.get(url)).status_code == reads
            assert (await client.patch(url, json={"note": "x"})).status_code == writes
    # With its box goes what was said of it.
    assert (await tenant.client.delete(f"/v1/boxes/{box}")).status_code == 204
    assert refusal(await tenant.client.get(url)) == (404, "not_found")


async def test_they_go_with_their_box(tenant: Tenant, box: str, database_url: str) -> None:
    await define(tenant, LINEAR)
    await tenant.client.delete(f"/v1/boxes/{box}")
    connection = await asyncpg.connect(database_url)
    try:
        assert await connection.fetchval("SELECT count(*) FROM corrections") == 1
        await connection.execute("SET ROLE vigie_maintain")
        assert await connection.execute("DELETE FROM boxes") == "DELETE 1"
        await connection.execute("RESET ROLE")
        assert await connection.fetchval("SELECT count(*) FROM corrections") == 0
    finally:
        await connection.close()
