"""Exports of readings: what is in the files, where they go on, who may have them, and what is refused."""

import csv
import io
import json
import random
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import asyncpg
import httpx
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import sqlalchemy
from fastapi import FastAPI

from app.catalogue.metrics import METRICS_BY_NAME
from app.platform.db.database import Database
from app.platform.http.fairness.fair_semaphore import ExportLimits
from app.platform.kernel.application_resources import get_resource
from app.platform.kernel.tenant_scope import ScopedCaller, TenantScope, run_as_caller
from app.timeseries.exports import columnar_format, row_slice_reader, sample_part_planner
from app.timeseries.exports.copy_query import CopyQuery, ExportedBox
from app.timeseries.exports.row_source import RawSamples
from app.timeseries.exports.text_formats import TEXT_FORMATS, format_number
from tests.conftest import Tenant, client_of
from tests.integration.timeseries.exported import PATH, SPAN, START, ExportedFile, Row, export, fill, write
from tests.integration.timeseries.geojson import points_of

METRICS = ["pm2_5", "temperature", "pressure", "laeq"]
"""Those that were sent, in the order of the catalogue."""
TEXTS = ("csv", "ndjson", "geojson")


@pytest.fixture
async def written(tenant: Tenant, site_id: str) -> ExportedFile:
    return await write(tenant, site_id)


@pytest.fixture
def _small_slices(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(row_slice_reader, "ROWS", 2)


def rows_of_csv(text: str) -> tuple[list[str], list[Row]]:
    head, *lines = csv.reader(io.StringIO(text, newline=""), strict=True)
    rows = []
    for box, _, time, *values in lines:
        named = zip(head[3:], values, strict=True)
        told = {name: float(value) for name, value in named if value}
        rows.append((box, datetime.fromisoformat(time), told))
    return head, rows


@pytest.mark.usefixtures("_small_slices")
async def test_csv_has_what_was_written_in_the_order_of_box_and_time(
    tenant: Tenant, written: ExportedFile
) -> None:
    answer = await export(tenant.client)
    assert answer.headers["content-type"] == "text/csv; charset=utf-8; header=present"
    assert answer.headers["content-disposition"] == (
        'attachment; filename="vigie-readings-20260328T120000Z-20260329T120000Z.csv"'
    )
    head, rows = rows_of_csv(answer.text)
    assert head == ["box", "site", "time", *METRICS]
    assert rows == written.rows
    lines = answer.text.split("\r\n")
    assert lines[-1] == ""
    assert lines[1] == f"-minus,{written.sites['-minus']},2026-03-28T12:00:00Z,12.4,,1002.3732,"
    assert "\n" not in "".join(lines)


@pytest.mark.usefixtures("_small_slices")
async def test_ndjson_has_samples_as_they_are_sent(tenant: Tenant, written: ExportedFile) -> None:
    answer = await export(tenant.client, format="ndjson")
    assert answer.headers["content-type"] == "application/x-ndjson"
    found = [json.loads(line) for line in answer.text.splitlines()]
    assert [(row["box"], datetime.fromisoformat(row["time"]), row["values"]) for row in found] == written.rows
    assert {row["box"]: row["site"] for row in found} == written.sites
    assert all(set(row) == {"box", "site", "time", "values"} for row in found)


@pytest.mark.usefixtures("_small_slices")
async def test_geojson_is_that_of_rfc_7946(tenant: Tenant, written: ExportedFile) -> None:
    answer = await export(tenant.client, format="geojson")
    assert answer.headers["content-type"] == "application/geo+json"
    found = []
    for feature in points_of(answer.content):
        told = feature["properties"]
        box = told.pop("box")
        assert told.pop("site") == written.sites[box]
        assert feature["geometry"]["coordinates"] == written.places[box]
        found.append((box, datetime.fromisoformat(told.pop("time")), told))
    assert found == written.rows
    empty = await export(tenant.client, format="geojson", metric="co2")
    assert points_of(empty.content) == []


@pytest.mark.usefixtures("_small_slices")
async def test_parquet_and_arrow_have_types_units_and_the_stored_floats(
    tenant: Tenant, written: ExportedFile
) -> None:
    answer = await export(tenant.client, format="parquet")
    assert answer.headers["content-type"] == "application/vnd.apache.parquet"
    file = pq.ParquetFile(io.BytesIO(answer.content))
    types = {field.name: str(field.type) for field in file.schema_arrow}
    text = "dictionary<values=string, indices=int32, ordered=0>"
    numbers = {"pm2_5": "float", "temperature": "float", "pressure": "double", "laeq": "float"}
    assert types == {"box": text, "site": text, "time": "timestamp[us, tz=UTC]", **numbers}
    for name in METRICS:
        assert file.schema_arrow.field(name).metadata[b"unit"].decode() == METRICS_BY_NAME[name].unit
    column = file.metadata.row_group(0).column(0)
    assert column.compression == "ZSTD"
    check_stored_floats(file.read(), written)
    answer = await export(tenant.client, format="arrow")
    assert answer.headers["content-type"] == "application/vnd.apache.arrow.stream"
    assert answer.headers["content-disposition"].endswith('.arrows"')
    with pa.ipc.open_stream(answer.content) as stream:
        assert stream.schema == file.schema_arrow
        check_stored_floats(stream.read_all(), written)


def check_stored_floats(table: pa.Table, written: ExportedFile) -> None:
    """Compare a table with what was written."""
    kept: list[Row] = []
    for row in table.to_pylist():
        assert row["site"] == written.sites[row["box"]]
        values = {name: row[name] for name in METRICS if row[name] is not None}
        kept.append((row["box"], row["time"].astimezone(UTC), values))
    assert kept == [
        (box, time, {name: _stored(name, value) for name, value in sorted_values(values)})
        for box, time, values in written.rows
    ]


def _stored(name: str, value: float) -> float:
    return float(np.float32(value)) if METRICS_BY_NAME[name].storage == "real" else value


def sorted_values(values: dict[str, float]) -> list[tuple[str, float]]:
    return [(name, values[name]) for name in METRICS if name in values]


@pytest.mark.usefixtures("_small_slices", "written")
async def test_a_file_goes_on_after_each_of_its_rows(tenant: Tenant) -> None:
    for format_ in TEXTS:
        await _goes_on(tenant, format_)


async def _goes_on(tenant: Tenant, format_: str) -> None:
    whole = await export(tenant.client, format=format_)
    lines = whole.content.splitlines(keepends=True)
    head, tail = {"csv": (1, 0), "ndjson": (0, 0), "geojson": (1, 1)}[format_]
    address = whole.headers["content-location"]
    rows = len(lines) - head - tail
    for number in range(1, rows + 1):
        there = b"".join(lines[: head + number])
        last = lines[head + number - 1].decode()
        if format_ == "csv":
            box, _, time, *_ = last.split(",")
        else:
            told = json.loads(last.lstrip(","))
            box, time = (told.get("properties", told)[name] for name in ("box", "time"))
        rest = await tenant.client.get(f"{address}&after={box},{time}")
        assert rest.status_code == 200, rest.text
        assert there + rest.content == whole.content, number


@pytest.mark.usefixtures("written")
async def test_parts_are_files_of_their_own_and_the_whole_together(
    tenant: Tenant, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for box, rows in (("-minus", 2_495), ("box-1", 995)):
        await fill(database_url, box, rows)
    whole = (await export(tenant.client)).text.splitlines(keepends=True)
    asked: dict[str, Any] = {**SPAN, "format": "csv", "rows_per_part": 1_000}
    answer = await tenant.client.get(f"{PATH}/parts", params=asked)
    assert answer.status_code == 200, answer.text
    listed = answer.json()["data"]
    assert answer.json()["next"] is None
    assert [(part["number"], part["rows"], part["first_box"], part["last_box"]) for part in listed] == [
        (1, 1_000, "-minus", "-minus"),
        (2, 1_000, "-minus", "-minus"),
        (3, 1_000, "-minus", "box-1"),
        (4, 505, "box-1", "box-1"),
    ]
    together = whole[:1]
    for part in listed:
        file = await tenant.client.get(part["href"])
        assert file.status_code == 200, file.text
        assert f"-part-000{part['number']}.csv" in file.headers["content-disposition"]
        lines = file.text.splitlines(keepends=True)
        assert lines[0] == whole[0]
        assert len(lines) == part["rows"] + 1
        together += lines[1:]
        # One that broke goes on like any other, and no further than to its end.
        box, _, time, *_ = lines[-3].split(",")
        rest = await tenant.client.get(f"{part['href']}&after={box},{time}")
        assert rest.text.splitlines(keepends=True) == lines[-2:]
    assert together == whole
    # The list itself comes in pages, also where it is only counting that takes long.
    pages: list[dict[str, Any]] = []
    monkeypatch.setattr(sample_part_planner, "_COUNTED_MOST", 1_500)
    cursor: dict[str, str] = {}
    for size in (2, 1, 1):
        limit: dict[str, Any] = {"limit": 1} if pages else {}
        page = (await tenant.client.get(f"{PATH}/parts", params={**asked, **limit, **cursor})).json()
        assert len(page["data"]) == size
        pages += page["data"]
        cursor = {"cursor": page["next"]}
    assert [part["href"] for part in pages] == [part["href"] for part in listed]
    last = await tenant.client.get(f"{PATH}/parts", params={**asked, **cursor})
    assert last.json() == {"data": [], "next": None}


async def test_sites_boxes_and_metrics_narrow(tenant: Tenant, written: ExportedFile, site_id: str) -> None:
    async def rows(**params: Any) -> list[Row]:  # noqa: ANN401 (a query)
        return rows_of_csv((await export(tenant.client, **params)).text)[1]

    assert await rows(box="box-1") == written.of("box-1")
    assert await rows(box=["box-1", "-minus", "box-1"]) == written.of("-minus", "box-1")
    assert await rows(site=site_id) == written.of("-minus", "box-1")
    assert await rows(site=[site_id, written.sites["Box-2"]]) == written.rows
    assert await rows(site=site_id, box="Box-2") == []
    wanted = [(box, time, {"laeq": values["laeq"]}) for box, time, values in written.rows if "laeq" in values]
    assert await rows(metric="laeq") == wanted
    head, _ = rows_of_csv((await export(tenant.client, metric=["laeq", "pm2_5", "laeq"])).text)
    assert head[3:] == ["pm2_5", "laeq"]
    by_ms = {"from": round(START.timestamp() * 1000), "to": "2026-03-29T14:00:00+02:00"}
    assert await rows(**by_ms) == written.rows


async def test_each_sees_its_own(
    application: FastAPI, api: httpx.AsyncClient, tenant: Tenant, other_tenant: Tenant, written: ExportedFile
) -> None:
    theirs = written.sites["-minus"]
    assert rows_of_csv((await export(other_tenant.client)).text) == (["box", "site", "time"], [])
    for named in ({"site": theirs}, {"box": "box-1"}):
        for path in (PATH, f"{PATH}/parts"):
            answer = await other_tenant.client.get(path, params=named)
            assert (answer.status_code, answer.json()["code"]) == (404, "not_found")
    address = (await export(tenant.client)).headers["content-location"]
    assert (
        await other_tenant.client.get(address)
    ).text == "box,site,time,pm2_5,temperature,pressure,laeq\r\n"
    body = {"name": "one site", "scopes": ["telemetry:read"], "site_ids": [theirs]}
    key = (await tenant.client.post("/v1/api-keys", json=body)).raise_for_status().json()["key"]
    async with client_of(application, key) as limited:
        assert rows_of_csv((await export(limited)).text)[1] == written.of("-minus", "box-1")
        assert (await limited.get(PATH, params={"box": "Box-2"})).status_code == 404
        listed = (await limited.get(f"{PATH}/parts", params=SPAN)).json()["data"]
        assert [part["rows"] for part in listed] == [10]
    assert rows_of_csv((await export(api, site=theirs)).text)[1] == written.of("-minus", "box-1")
    (await tenant.client.delete("/v1/boxes/box-1")).raise_for_status()
    assert rows_of_csv((await export(tenant.client)).text)[1] == written.of("-minus", "Box-2")


@pytest.mark.usefixtures("written")
async def test_an_export_is_in_the_log_of_those_whose_boxes_they_are(
    tenant: Tenant, other_tenant: Tenant, api: httpx.AsyncClient, owner: asyncpg.Connection
) -> None:
    await export(tenant.client, box="box-1", metric="laeq")
    await export(api)
    query = {"action": "readings.read"}
    entries = (await tenant.client.get("/v1/audit", params=query)).json()["data"]
    told: dict[str, Any] = {
        "from": SPAN["from"],
        "to": SPAN["to"],
        "sites": [],
        "format": "csv",
        "after": None,
        "part": None,
    }
    assert [entry["after"] for entry in entries] == [{**told, "boxes": []}, {**told, "boxes": ["box-1"]}]
    assert (await other_tenant.client.get("/v1/audit", params=query)).json()["data"] == []
    # What cannot be recorded is not given.
    await owner.execute("ALTER TABLE audit_pending RENAME TO gone")
    answer = await tenant.client.get(PATH, params=SPAN)
    assert (answer.status_code, answer.json()["code"]) == (503, "audit_unavailable")


REFUSED: list[tuple[dict[str, Any], int, str]] = [
    ({"metric": "warp"}, 422, "unknown_metric"),
    ({"metric": ["pm2_5", 'pm2_5" or 1=1']}, 422, "unknown_metric"),
    ({"from": "2026-03-28T12:00:00Z", "to": "2026-03-28T12:00:00Z"}, 422, "range_reversed"),
    ({"from": "2026-03-28T12:00:00"}, 422, "time_without_zone"),
    ({"box": "nobody"}, 404, "not_found"),
    ({"box": "=1+1"}, 404, "not_found"),
    ({"site": str(uuid4())}, 404, "not_found"),
    ({"site": "x"}, 422, "wrong_type"),
    ({"box": [f"b-{number}" for number in range(101)]}, 422, "too_many_boxes"),
    ({"format": "xlsx"}, 422, "invalid_value"),
    ({"after": "box-1,2026-03-28T12:00:00Z"}, 422, "range_required"),
    ({"part": "x"}, 422, "invalid_cursor"),
    ({**SPAN, "metric": "pm2_5", "after": "box-1"}, 422, "invalid_position"),
    ({**SPAN, "metric": "pm2_5", "after": "box 1,2026-03-28T12:00:00Z"}, 422, "invalid_position"),
    ({**SPAN, "metric": "pm2_5", "after": "box-1,2026-03-28 12:00:00Z"}, 422, "invalid_position"),
    ({**SPAN, "metric": "pm2_5", "after": "b,9999-12-31T23:59:59.999999Z"}, 422, "invalid_position"),
    (
        {**SPAN, "metric": "pm2_5", "format": "parquet", "after": "b,2026-03-28T12:00:00Z"},
        422,
        "after_not_taken",
    ),
    ({"boxes": "box-1"}, 422, "unknown_parameter"),
]


async def test_what_is_refused_is_so_before_the_first_byte(tenant: Tenant) -> None:
    for params, status, code in REFUSED:
        answer = await tenant.client.get(PATH, params=params)
        assert (answer.status_code, answer.json()["code"]) == (status, code), (params, answer.text)
    assert (await tenant.client.get(PATH)).status_code == 200, "and its place is free again"


async def test_far_ends_of_time_are_exported_too(tenant: Tenant, written: ExportedFile) -> None:
    ends = {"from": "0001-01-01T00:00:00Z", "to": "9999-12-31T23:59:59.999999Z"}
    for more in ({}, {"metric": METRICS, "after": "-minus,2000-01-01T00:00:00Z"}):
        text = (await export(tenant.client, **ends, **more)).text
        assert text.count("\r\n") - (not more) == len(written.rows) + 6


async def test_rows_are_copied_as_their_caller(
    application: FastAPI,
    tenant: Tenant,
    other_tenant: Tenant,
    written: ExportedFile,
    owner: asyncpg.Connection,
) -> None:
    key = await owner.fetchval("SELECT key FROM boxes WHERE id = 'box-1'")
    end = START + timedelta(days=1)
    box = ExportedBox(key, "box-1", uuid4(), 0.0, 0.0, START, end)
    text = TEXT_FORMATS["csv"]
    query = CopyQuery(RawSamples.of(METRICS, START, end), text, 100).render([box])
    for caller, rows in ((tenant, len(written.of("box-1"))), (other_tenant, 0)):
        scope = ScopedCaller(TenantScope.of([UUID(caller.id)]))
        with run_as_caller(scope):
            async with get_resource(application, Database).read() as session:
                told = await session.scalar(sqlalchemy.text("SHOW transaction_read_only"))
                assert told == "on"
                # The filter of boxes is left out: row-level security alone decides.
                found, encoded = await row_slice_reader._copy(session, query, text)
        assert (found, encoded.count(b"\n")) == (rows, rows)


async def test_numbers_are_as_postgresql_writes_them(owner: asyncpg.Connection) -> None:
    chance = random.Random(5)  # noqa: S311 (chance that can be played again)
    numbers = [chance.uniform(-1, 1) * 10.0 ** chance.randrange(-12, 14) for _ in range(2_000)]
    numbers += [0.0, -0.0, 1.0, 1e-4, 9.999e-5, 123456789012345.0, 0.1 + 0.2]
    told = await owner.fetchval("SELECT array_agg(n::text) FROM unnest($1::float8[]) AS n", numbers)
    assert [format_number(number) for number in numbers] == told


@pytest.mark.usefixtures("written")
async def test_so_many_at_once(application: FastAPI, tenant: Tenant, other_tenant: Tenant) -> None:
    with get_resource(application, ExportLimits).reserve_export(UUID(tenant.id), "readings"):
        answer = await tenant.client.get(PATH)
        assert (answer.status_code, answer.json()["code"]) == (429, "too_many_exports")
        assert int(answer.headers["retry-after"]) > 0
        assert (await other_tenant.client.get(PATH)).status_code == 200
    encoders = get_resource(application, columnar_format.ColumnarEncoderPool)
    async with AsyncExitStack() as held:
        for _ in range(columnar_format._PROCESSES_MOST):
            await held.enter_async_context(encoders.start_encoder("parquet"))
        answer = await tenant.client.get(PATH, params={"format": "parquet"})
        assert (answer.status_code, answer.json()["code"]) == (429, "too_many_exports")
        assert (await tenant.client.get(PATH)).status_code == 200
    assert (await tenant.client.get(PATH, params={"format": "parquet"})).status_code == 200


@pytest.fixture
async def owner(database_url: str) -> AsyncIterator[asyncpg.Connection]:
    connection = await asyncpg.connect(database_url)
    yield connection
    await connection.close()
