"""Exports for portals: the columns that they publish, and the values of the other formats."""

import csv
import io
import json
from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal
from typing import Any, Final

import pyarrow as pa
import pyarrow.csv as pc
import pytest

from tests.conftest import Tenant
from tests.integration.timeseries.exported import PATH, SPAN, START, write

# The header of the example file at docs.openaq.org/aws/about.
OPENAQ: Final = "location_id,sensors_id,location,datetime,lat,lon,parameter,units,value"
# The schema of the Parquet files of the EEA's download service.
EEA: Final = pa.schema(
    [
        ("Samplingpoint", pa.string()),
        ("Pollutant", pa.int32()),
        ("Start", pa.timestamp("ns")),
        ("End", pa.timestamp("ns")),
        ("Value", pa.decimal128(38, 18)),
        ("Unit", pa.string()),
        ("AggType", pa.string()),
        ("Validity", pa.int32()),
        ("Verification", pa.int32()),
        ("ResultTime", pa.timestamp("ns")),
        ("DataCapture", pa.decimal128(38, 18)),
        ("FkObservationLog", pa.string()),
    ]
)
IN_OPENAQ: Final = {
    "pm2_5": ("pm25", "µg/m³"),
    "co": ("co", "µg/m³"),
    "temperature": ("temperature", "c"),
}


async def export(tenant: Tenant, **params: Any) -> str:  # noqa: ANN401 (parameters)
    answer = await tenant.client.get(PATH, params={**SPAN, **params})
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"].startswith("text/csv") or params["format"] == "ndjson"
    return answer.text


async def test_openaq_has_a_line_for_each_value(tenant: Tenant, site_id: str) -> None:
    written = await write(tenant, site_id)
    carbon = {"time": START.isoformat(), "values": {"co": 1.24}}
    (await tenant.client.post("/v1/telemetry", json={"box": "Box-2", "samples": [carbon]})).raise_for_status()
    text = await export(tenant, format="openaq")
    assert text.partition("\r\n")[0] == OPENAQ
    lines = list(csv.DictReader(io.StringIO(text)))
    streams: dict[tuple[str, str], str] = {}
    things: dict[str, str] = {}
    answer = await tenant.client.get(
        "/sensorthings/v1.1/Things", params={"$expand": "Datastreams($select=id,properties)"}
    )
    for thing in answer.raise_for_status().json()["value"]:
        box = thing["properties"]["box"]
        things[box] = thing["@iot.id"]
        for stream in thing["Datastreams"]:
            if "aggregation" not in stream["properties"]:
                streams[box, stream["properties"]["metric"]] = stream["@iot.id"]
    wanted = []
    for row in map(json.loads, (await export(tenant, format="ndjson")).splitlines()):
        longitude, latitude = written.places[row["box"]]
        for metric, value in row["values"].items():
            if metric in IN_OPENAQ:
                place = (row["box"], datetime.fromisoformat(row["time"]), latitude, longitude)
                ids = (things[row["box"]], streams[row["box"], metric])
                wanted.append((*ids, *place, *IN_OPENAQ[metric], value * 1000 if metric == "co" else value))
    assert len(wanted) == 3 * 5 + 1
    got = [
        (
            *(line["location_id"], line["sensors_id"], line["location"]),
            datetime.fromisoformat(line["datetime"]),
            *(float(line["lat"]), float(line["lon"]), line["parameter"], line["units"], float(line["value"])),
        )
        for line in lines
    ]
    assert got == wanted
    # Some readers take ids as integers.
    assert all(int(line["sensors_id"]) < 2**63 for line in lines)
    assert "1240\r\n" in text


async def test_parts_are_the_whole(tenant: Tenant, site_id: str) -> None:
    await write(tenant, site_id)
    whole = await export(tenant, format="openaq")
    answer = await tenant.client.get(f"{PATH}/parts", params={**SPAN, "format": "openaq"})
    (part,) = answer.raise_for_status().json()["data"]
    assert (await tenant.client.get(part["href"])).text == whole


async def test_the_eea_reads_hours_with_their_data_capture(tenant: Tenant, site_id: str) -> None:
    await tenant.client.post("/v1/boxes", json={"id": "box-1", "site_id": site_id, "interval_s": 60})
    # An hour with all of its samples, and one with a third of them; only one sample has gases.
    samples: list[dict[str, Any]] = [
        {"time": (START + timedelta(minutes=minute)).isoformat(), "values": {"pm2_5": minute, "laeq": 50}}
        for minute in range(80)
    ]
    samples[0]["values"] |= {"co": 1.5, "nh3": 3}
    (await tenant.client.post("/v1/telemetry", json={"box": "box-1", "samples": samples})).raise_for_status()
    text = await export(tenant, format="eea")
    assert text.partition("\r\n")[0].split(",") == EEA.names
    table = pc.read_csv(
        io.BytesIO(text.encode()),
        convert_options=pc.ConvertOptions(column_types=EEA, strings_can_be_null=True),
    )
    assert table.schema == EEA
    rows = table.to_pylist()
    buckets = await tenant.client.get(
        PATH, params={**SPAN, "format": "ndjson", "bucket": "1h", "aggregates": "avg,coverage"}
    )
    wanted = []
    for bucket in map(json.loads, buckets.text.splitlines()):
        # Hourly data of the EEA have times in UTC+1.
        start = datetime.fromisoformat(bucket["time"]).replace(tzinfo=None) + timedelta(hours=1)
        for metric, code, unit in (("pm2_5", 6001, "ug.m-3"), ("co", 10, "mg.m-3")):
            if f"{metric}_avg" in bucket["values"]:
                mean, coverage = (bucket["values"][f"{metric}_{of}"] for of in ("avg", "coverage"))
                what = (f"SPO_box-1_{code}", code, start, start + timedelta(hours=1), Decimal(str(mean)))
                validity = 1 if coverage >= 75 else -1
                wanted.append((*what, unit, "hour", validity, 3, None, Decimal(str(coverage)), None))
    assert [tuple(row.values()) for row in rows] == wanted
    assert [(row["Pollutant"], row["Validity"]) for row in rows] == [(6001, 1), (10, -1), (6001, -1)]


async def test_the_eea_gets_whole_hours_that_are_over(tenant: Tenant, site_id: str) -> None:
    await tenant.client.post("/v1/boxes", json={"id": "box-1", "site_id": site_id, "interval_s": 60})
    now = datetime.now(UTC)
    current = now.replace(minute=0, second=0, microsecond=0)
    begin = current - timedelta(hours=4)
    minutes = range(int((now - begin).total_seconds() // 60) + 1)
    samples = [
        {"time": (begin + timedelta(minutes=minute)).isoformat(), "values": {"pm2_5": 10}}
        for minute in minutes
    ]
    (await tenant.client.post("/v1/telemetry", json={"box": "box-1", "samples": samples})).raise_for_status()

    async def read_hours(path: str = PATH, **params: str) -> list[datetime]:
        answer = await tenant.client.get(path, params=params or None)
        lines = csv.DictReader(io.StringIO(answer.raise_for_status().text))
        zone = timezone(timedelta(hours=1))
        return [datetime.fromisoformat(line["Start"]).replace(tzinfo=zone) for line in lines]

    hours = [begin + timedelta(hours=number) for number in range(4)]
    assert await read_hours(format="eea") == hours
    cut = {"from": (begin + timedelta(minutes=10)).isoformat(), "to": (now + timedelta(days=1)).isoformat()}
    assert await read_hours(format="eea", **cut) == hours[1:]
    cut["to"] = (begin + timedelta(hours=3, minutes=40)).isoformat()
    assert await read_hours(format="eea", **cut) == hours[1:3]
    parts = await tenant.client.get(f"{PATH}/parts", params={"format": "eea", "metric": "pm2_5", **cut})
    (part,) = parts.raise_for_status().json()["data"]
    assert await read_hours(part["href"]) == hours[1:3]
    cut["to"] = (begin + timedelta(minutes=70)).isoformat()
    answer = await tenant.client.get(PATH, params={"format": "eea", **cut})
    assert (answer.status_code, answer.json()["code"]) == (422, "no_whole_hour")


@pytest.mark.parametrize(
    ("params", "code"),
    [
        ({"format": "openaq", "metric": ["pm2_5", "laeq"]}, "metric_not_in_format"),
        ({"format": "eea", "metric": "nh3"}, "metric_not_in_format"),
        ({"format": "openaq", "bucket": "1h"}, "bucket_given"),
        ({"format": "eea", "bucket": "1d"}, "invalid_bucket"),
        ({"format": "openaq", "metric": "pm2_5", "after": "box-1,2026-03-28T12:00:00Z"}, "after_not_taken"),
    ],
)
async def test_what_a_portal_does_not_have_is_refused(
    tenant: Tenant, params: dict[str, Any], code: str
) -> None:
    answer = await tenant.client.get(PATH, params={**SPAN, **params})
    assert (answer.status_code, answer.json()["code"]) == (422, code)
