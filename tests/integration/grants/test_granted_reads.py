"""What the key of a grant reads: sites, metrics and times of the grant, and nothing else."""

import csv
import io
import json
from datetime import timedelta
from typing import Any

import asyncpg
import httpx
import pytest
from fastapi import FastAPI

from app.platform.identity.grant_access import GrantUseKind, record_granted_part
from app.timeseries.exports import row_slice_reader
from tests.conftest import Tenant
from tests.integration.grants.grants import BEGIN, give, measure, recipient

_WHOLE = {"from": (BEGIN - timedelta(days=1)).isoformat(), "to": (BEGIN + timedelta(days=1)).isoformat()}


def minutes(points: list[dict[str, Any]]) -> list[float]:
    return [point["value"] for point in points]


async def read(client: httpx.AsyncClient, path: str, **parameters: Any) -> Any:  # noqa: ANN401 (JSON)
    answer = await client.get(path, params=parameters)
    assert answer.status_code == 200, answer.text
    return answer.json()


async def test_readings_end_at_the_borders_of_the_grant(application: FastAPI, tenant: Tenant) -> None:
    measured = await measure(tenant, "box-0001")
    _, key = await give(application, tenant, measured.site)
    async with recipient(application, key) as client:
        path = f"/v1/boxes/{measured.box}/readings"
        found = await read(client, path, metric="pm2_5", **_WHOLE)
        assert minutes(found["points"]) == [float(number) for number in range(30, 90)]
        # Aggregates too: the hours of 10:00 and 11:00 have thirty granted minutes each.
        hours = (await read(client, path, metric="pm2_5", bucket="1h", **_WHOLE))["points"]
        assert [(hour["min"], hour["max"], hour["count"]) for hour in hours] == [(30, 59, 30), (60, 89, 30)]
        (day,) = (await read(client, path, metric="pm2_5", bucket="1d", **_WHOLE))["points"]
        assert (day["min"], day["max"], day["count"]) == (30, 89, 60)
        every = {"metric": "pm2_5", "site": measured.site, "bucket": "1h"}
        several = await read(client, "/v1/readings", **every, **_WHOLE)
        assert several["data"][0]["points"] == hours
        # A cursor cannot widen it.
        page = await read(client, path, metric="pm2_5", limit=10, **_WHOLE)
        rest = await read(client, path, metric="pm2_5", cursor=page["next"], **_WHOLE)
        assert minutes(page["points"] + rest["points"]) == [float(number) for number in range(30, 90)]
        beside = await client.get(
            path, params={"metric": "pm2_5", "from": "2026-02-01T00:00:00Z"} | {"to": "2026-02-02T00:00:00Z"}
        )
        assert (beside.status_code, beside.json()["code"]) == (403, "outside_grant")


async def test_other_metrics_sites_and_boxes_are_not_there(application: FastAPI, tenant: Tenant) -> None:
    measured, other = await measure(tenant, "box-0001"), await measure(tenant, "box-0002")
    _, key = await give(application, tenant, measured.site, until=None)
    async with recipient(application, key) as client:
        refused = await client.get(f"/v1/boxes/{measured.box}/readings", params={"metric": "no2", **_WHOLE})
        assert (refused.status_code, refused.json()["code"]) == (403, "metric_not_granted")
        for path in (
            f"/v1/boxes/{other.box}/readings?metric=pm2_5",
            f"/v1/boxes/{other.box}/latest",
            f"/v1/sites/{other.site}/latest",
            f"/v1/sites/{other.site}",
            f"/v1/boxes/{other.box}",
            f"/v1/readings?metric=pm2_5&box={other.box}",
            f"/v1/readings/export?metric=pm2_5&box={other.box}&from=2026-03-01T00:00:00Z",
        ):
            assert (await client.get(path)).status_code == 404, path
        for option in ("flags", "corrected"):
            path = f"/v1/boxes/{measured.box}/readings"
            answer = await client.get(path, params={"metric": "pm2_5", option: "true", **_WHOLE})
            assert answer.json()["code"] == "quality_not_granted"


async def test_latest_values_are_those_in_the_granted_time(application: FastAPI, tenant: Tenant) -> None:
    measured = await measure(tenant, "box-0001")
    _, past = await give(application, tenant, measured.site)
    _, live = await give(application, tenant, measured.site, until=None, metrics=["pm2_5", "laeq"])
    for path in (f"/v1/boxes/{measured.box}/latest", f"/v1/sites/{measured.site}/latest"):
        async with recipient(application, past) as client:
            found = await read(client, path)
            # The newest one is later than the grant allows.
            assert found.get("values", found.get("data", [{}])[0].get("values")) == {}
        async with recipient(application, live) as client:
            found = await read(client, path)
            assert (found if "values" in found else found["data"][0])["values"] == {"pm2_5": 179, "laeq": 50}


async def test_positions_are_as_precise_as_the_grant(application: FastAPI, tenant: Tenant) -> None:
    measured = await measure(tenant, "box-0001")
    _, coarse = await give(application, tenant, measured.site)
    _, exact = await give(application, tenant, measured.site, precision_m=None)
    own = [1.44531, 43.60452]
    async with recipient(application, coarse) as client:
        box = await read(client, f"/v1/boxes/{measured.box}")
        (listed,) = (await read(client, "/v1/boxes"))["data"]
        site = await read(client, f"/v1/sites/{measured.site}")
        assert box["location"]["coordinates"] == listed["location"]["coordinates"] != own
        assert abs(box["location"]["coordinates"][1] - own[1]) < 1000 / 111_320
        assert (
            site["location"]["coordinates"]
            == (await read(client, "/v1/sites"))["data"][0]["location"]["coordinates"]
        )
        assert box["attributes"] == listed["attributes"] == {}
        export = await client.get(
            "/v1/readings/export", params={"format": "geojson", "metric": "pm2_5", **_WHOLE}
        )
        features = export.json()["features"]
        assert {tuple(each["geometry"]["coordinates"]) for each in features} == {
            tuple(box["location"]["coordinates"])
        }
        by_battery = await client.get("/v1/boxes?battery_below=50")
        assert by_battery.json()["code"] == "filter_not_granted"
        assert (await client.get("/v1/boxes?sort=battery")).json()["code"] == "filter_not_granted"
        # The newest sample is outside of the granted time.
        own_box = await read(tenant.client, f"/v1/boxes/{measured.box}")
        for name in ("last_sample_at", "last_heard_at", "activity", "silent"):
            assert own_box[name] is not None
            assert box[name] is listed[name] is None, name
        for condition in ("silent=true", "silent=false", "activity=active"):
            answer = await client.get(f"/v1/boxes?{condition}")
            assert (answer.status_code, answer.json()["code"]) == (403, "filter_not_granted"), condition
    async with recipient(application, exact) as client:
        assert (await read(client, f"/v1/boxes/{measured.box}"))["location"]["coordinates"] == own


async def test_exports_have_the_granted_cells_alone(application: FastAPI, tenant: Tenant) -> None:
    first, second = await measure(tenant, "box-0001"), await measure(tenant, "box-0002")
    _, key = await give(application, tenant, first.site, second.site, metrics=["pm2_5", "laeq"])
    # From now on the noise of the second site has no purpose.
    ended = await tenant.client.post(f"/v1/sites/{second.site}/purposes/noise/end", json={})
    assert ended.status_code < 300, ended.text
    async with recipient(application, key) as client:
        own = (await read(client, "/v1/grant"))["readable"]
        assert own == {first.site: ["laeq", "pm2_5"], second.site: ["pm2_5"]}
        text = (await client.get("/v1/readings/export", params=_WHOLE)).text
        rows = list(csv.DictReader(io.StringIO(text)))
        assert len(rows) == 120
        assert set(rows[0]) == {"box", "site", "time", "pm2_5", "laeq"}
        assert {(row["box"], row["laeq"]) for row in rows} == {("box-0001", "50"), ("box-0002", "")}
        alone = await client.get("/v1/readings/export", params={"metric": "laeq", **_WHOLE})
        assert {row["box"] for row in csv.DictReader(io.StringIO(alone.text))} == {"box-0001"}
        hours = await client.get(
            "/v1/readings/export",
            params={"bucket": "1h", "aggregates": "max,count", "format": "ndjson", **_WHOLE},
        )
        found = [json.loads(line) for line in hours.text.splitlines()]
        assert [each["values"].get("laeq_max") for each in found] == [50, 50, None, None]
        assert [each["values"]["pm2_5_max"] for each in found] == [59, 89, 59, 89]
        refused = await client.get("/v1/readings/export", params={"metric": "no2", **_WHOLE})
        assert refused.json()["code"] == "metric_not_granted"


async def test_an_ended_purpose_shows_nothing(application: FastAPI, tenant: Tenant) -> None:
    measured = await measure(tenant, "box-0001")
    _, key = await give(application, tenant, measured.site, until=None)
    async with recipient(application, key) as client:
        path = f"/v1/boxes/{measured.box}/readings"
        assert (await read(client, path, metric="pm2_5", **_WHOLE))["points"]
        ended = await tenant.client.post(f"/v1/sites/{measured.site}/purposes/air_quality/end", json={})
        assert ended.status_code < 300, ended.text
        for more in ({}, {"bucket": "1h"}, {"bucket": "1h", "fill": "null"}):
            assert (await read(client, path, metric="pm2_5", **more, **_WHOLE))["points"] == []
        several = await read(client, "/v1/readings", metric="pm2_5", box=measured.box, **_WHOLE)
        assert several["data"][0]["points"] == []
        assert (await read(client, f"/v1/boxes/{measured.box}/latest"))["values"] == {}
        export = await client.get("/v1/readings/export", params={"metric": "pm2_5", **_WHOLE})
        assert export.text.splitlines()[1:] == []


async def test_hours_that_a_grant_or_a_move_cuts_are_no_hours_of_the_eea(
    application: FastAPI, tenant: Tenant, connection: asyncpg.Connection
) -> None:
    moving, granted = await measure(tenant, "box-0001"), await measure(tenant, "box-0002")
    until = BEGIN + timedelta(minutes=150)
    _, key = await give(application, tenant, granted.site, until=until.isoformat())
    body = {"site_id": granted.site}
    (await tenant.client.patch(f"/v1/boxes/{moving.box}", json=body)).raise_for_status()

    async def read_hours() -> list[tuple[str, str]]:
        async with recipient(application, key) as client:
            answer = await client.get("/v1/readings/export", params={"format": "eea", **_WHOLE})
        lines = csv.DictReader(io.StringIO(answer.raise_for_status().text))
        return [(line["Samplingpoint"], line["Start"]) for line in lines]

    # Granted from 10:30 to 12:30 UTC.
    hour = ("SPO_box-0002_6001", "2026-03-01 12:00:00")
    assert await read_hours() == [hour]
    moved = "UPDATE boxes SET came_at = $1 WHERE id = $2"
    await connection.execute(moved, BEGIN + timedelta(minutes=75), moving.box)
    assert await read_hours() == [hour]
    await connection.execute(moved, BEGIN + timedelta(minutes=60), moving.box)
    assert await read_hours() == [("SPO_box-0001_6001", hour[1]), hour]


async def test_what_a_box_measured_at_a_former_site_is_not_granted(
    application: FastAPI, tenant: Tenant, connection: asyncpg.Connection
) -> None:
    moving, granted = await measure(tenant, "box-0001"), await measure(tenant, "box-0002")
    _, key = await give(application, tenant, granted.site, until=None)
    body = {"site_id": granted.site}
    (await tenant.client.patch(f"/v1/boxes/{moving.box}", json=body)).raise_for_status()
    # The box came just now; then as if it had come at 11:15.
    expected: list[list[float]] = [[], [float(number) for number in range(75, 180)]]
    for values in expected:
        async with recipient(application, key) as client:
            assert await _read_all_ways(client, moving.box) == {
                "readings": values,
                "several": values,
                "hours": len(values),
                "several hours": len(values),
                "latest": values[-1:],
                "latest of the site": values[-1:],
                "export": values,
                "export of hours": len(values),
            }
            # The other boxes of the site show all that is granted.
            assert (await _read_all_ways(client, granted.box))["hours"] == 150
        moved = "UPDATE boxes SET came_at = $1 WHERE id = $2"
        await connection.execute(moved, BEGIN + timedelta(minutes=75), moving.box)
    assert (await _read_all_ways(tenant.client, moving.box))["hours"] == 180


async def _read_all_ways(client: httpx.AsyncClient, box: str) -> dict[str, Any]:
    """Return what each reading call shows of a box: values, or their number for buckets."""
    of = {"metric": "pm2_5", **_WHOLE}
    hours = {**of, "bucket": "1h", "fill": "null"}
    path = f"/v1/boxes/{box}/readings"
    several = (await read(client, "/v1/readings", box=box, **of))["data"][0]
    several_hours = (await read(client, "/v1/readings", box=box, **hours))["data"][0]
    latest = await read(client, f"/v1/boxes/{box}/latest")
    site = (await read(client, f"/v1/boxes/{box}"))["site_id"]
    site_latest = (await read(client, f"/v1/sites/{site}/latest"))["data"]
    export = await client.get("/v1/readings/export", params={**of, "box": box})
    buckets = {**of, "box": box, "bucket": "1h", "aggregates": "count"}
    export_of_hours = await client.get("/v1/readings/export", params=buckets)
    return {
        "readings": minutes((await read(client, path, **of))["points"]),
        "several": minutes(several["points"]),
        "hours": sum(point["count"] for point in (await read(client, path, **hours))["points"]),
        "several hours": sum(point["count"] for point in several_hours["points"]),
        "latest": [latest["values"]["pm2_5"]] if latest["values"] else [],
        "latest of the site": [
            each["values"]["pm2_5"] for each in site_latest if each["box"] == box and each["values"]
        ],
        "export": [float(row["pm2_5"]) for row in csv.DictReader(io.StringIO(export.text))],
        "export of hours": sum(
            int(row["pm2_5_count"]) for row in csv.DictReader(io.StringIO(export_of_hours.text))
        ),
    }


async def test_a_deleted_box_and_a_deleted_site_show_nothing(application: FastAPI, tenant: Tenant) -> None:
    measured, other = await measure(tenant, "box-0001"), await measure(tenant, "box-0002")
    _, key = await give(application, tenant, measured.site, other.site, until=None)
    async with recipient(application, key) as client:
        (await tenant.client.delete(f"/v1/boxes/{measured.box}")).raise_for_status()
        for path in (f"/v1/boxes/{measured.box}/latest", f"/v1/boxes/{measured.box}/readings?metric=pm2_5"):
            assert (await client.get(path)).status_code == 404
        text = (await client.get("/v1/readings/export", params={"metric": "pm2_5", **_WHOLE})).text
        assert {row["box"] for row in csv.DictReader(io.StringIO(text))} == {other.box}
        assert [each["id"] for each in (await read(client, "/v1/boxes"))["data"]] == [other.box]


async def test_a_running_export_ends_when_the_grant_is_revoked(
    application: FastAPI, tenant: Tenant, connection: asyncpg.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The export has many parts. The grant is revoked before the fifth one is sent.

    The first three may be read before the response begins, which a revocation would refuse as a whole.
    """
    measured = await measure(tenant, "box-0001")
    made, key = await give(application, tenant, measured.site, **{"from": None}, until=None)
    monkeypatch.setattr(row_slice_reader, "ROWS", 20)
    parts = 0

    async def revoke_before_fifth(kind: GrantUseKind, number: int, **more: Any) -> None:  # noqa: ANN401
        nonlocal parts
        parts += 1
        if parts == 5:
            await connection.execute("UPDATE grants SET revoked_at = now() WHERE id = $1", made["id"])
        await record_granted_part(kind, number, **more)

    monkeypatch.setattr(row_slice_reader, "record_granted_part", revoke_before_fifth)
    async with recipient(application, key) as client:
        answer = await client.get("/v1/readings/export", params={"metric": "pm2_5", **_WHOLE})
    # The server closes the connection there, which this transport does not show.
    rows = answer.text.splitlines()[1:]
    assert 0 < len(rows) < 100
    assert parts == 5
    uses = (await tenant.client.get(f"/v1/grants/{made['id']}/uses")).json()["data"]
    # What was sent is what was counted.
    assert sum(use["values"] for use in uses if use["kind"] == "export") == len(rows)
