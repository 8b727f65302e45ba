"""Many boxes at once from a table, over REST."""

import csv
import io
from typing import Any

import httpx
import pytest
from fastapi import FastAPI

from app.platform.config.api_settings import ApiSettings
from app.platform.kernel.application_resources import get_resource, provide_resources
from app.standalone.private_mosquitto import PrivateMosquitto
from tests.conftest import Tenant, client_of
from tests.integration.registry.links import can_connect

CSV = {"Content-Type": "text/csv; charset=utf-8"}
NOWHERE = "01936f3c-6f0a-7c1e-9a51-0d9f3b8e7a10"


async def send(client: httpx.AsyncClient, text: str, **headers: str) -> httpx.Response:
    return await client.post("/v1/boxes/bulk", content=text.encode(), headers={**CSV, **headers})


def faults(answer: httpx.Response) -> list[tuple[int, str, str]]:
    return [(fault["line"], fault["field"], fault["code"]) for fault in answer.json()["errors"]]


async def test_a_table_makes_boxes(tenant: Tenant, site_id: str, mosquitto: PrivateMosquitto) -> None:
    text = (
        "id,site_id,name,longitude,latitude,interval_s,ack\r\n"
        f"csv-1,{site_id},Rue de Metz,1.4453,43.6009,30,TRUE\r\n"
        f"csv-2,{site_id},,,,,\r\n"
    )
    answer = await send(tenant.client, text)
    assert answer.status_code == 201, answer.text
    first, second = answer.json()["data"]
    assert (first["id"], first["name"], first["interval_s"], first["ack"]) == (
        "csv-1",
        "Rue de Metz",
        30,
        True,
    )
    assert first["location"] == {"type": "Point", "coordinates": [1.4453, 43.6009]}
    assert (second["location"], second["interval_s"]) == (None, 60)
    assert await can_connect(mosquitto, **second["credentials"])


async def test_the_answer_is_a_table_where_one_is_asked_for(
    tenant: Tenant, site_id: str, mosquitto: PrivateMosquitto
) -> None:
    text = f"id,site_id,name\n-1,{site_id},=1+1\nb,{site_id},\n"
    answer = await send(tenant.client, text, Accept="text/csv, application/json;q=0.5")
    assert answer.status_code == 201, answer.text
    assert answer.headers["content-type"] == "text/csv; charset=utf-8"
    assert answer.headers["cache-control"] == "no-store"
    rows = list(csv.DictReader(io.StringIO(answer.text, newline="")))
    assert [(row["id"], row["name"], row["username"]) for row in rows] == [
        ("'-1", "'=1+1", "'-1"),
        ("b", "", "b"),
    ]
    assert await can_connect(mosquitto, "-1", rows[0]["password"])
    # JSON in, table out; and the other way round by default.
    body = {"boxes": [{"id": "c", "site_id": site_id}]}
    answer = await tenant.client.post("/v1/boxes/bulk", json=body, headers={"Accept": "text/csv"})
    assert answer.text.startswith("id,site_id,name,username,password\r\nc,")


async def test_each_faulty_row_is_named_by_its_line_and_none_is_taken(tenant: Tenant, site_id: str) -> None:
    text = (
        "id,site_id,name,longitude,latitude,interval_s,ack\n"
        f"good,{site_id},,,,,\n"
        f"a b,{site_id},,,,,\n"
        f'long,{site_id},"two\nlines",,,,\n'
        f"east,{site_id},,181,43,,\n"
        f"text,{site_id},,x,43,often,perhaps\n"
        ",nowhere,,,,0,\n"
    )
    answer = await send(tenant.client, text)
    assert answer.status_code == 422
    assert answer.json()["code"] == "invalid_box_id"
    assert answer.json()["detail"].startswith("line 3, id: ")
    assert faults(answer) == [
        (3, "id", "invalid_box_id"),
        (4, "name", "invalid_text"),
        (6, "location.coordinates", "location_out_of_range"),
        (7, "longitude", "wrong_type"),
        (7, "interval_s", "wrong_type"),
        (7, "ack", "wrong_type"),
        (8, "id", "missing_field"),
        (8, "site_id", "wrong_type"),
        (8, "interval_s", "invalid_value"),
    ]
    assert (await tenant.client.get("/v1/boxes")).json()["data"] == []


async def test_what_the_database_refuses_is_named_too(tenant: Tenant, site_id: str) -> None:
    (await send(tenant.client, f"id,site_id\ntaken-1,{site_id}\ntaken-2,{site_id}\n")).raise_for_status()
    text = f"id,site_id\n\nnew,{site_id}\ntaken-2,{site_id}\ntaken-1,{site_id}\n"
    answer = await send(tenant.client, text)
    assert (answer.status_code, answer.json()["code"], answer.json()["line"]) == (409, "box_exists", 4)
    assert answer.json()["detail"].startswith("line 4: ")
    assert faults(answer) == [(4, "id", "box_exists"), (5, "id", "box_exists")]
    text = f"id,site_id\nnew,{site_id}\nnew,{site_id}\nother,{NOWHERE}\n"
    answer = await send(tenant.client, text)
    assert faults(answer) == [(3, "id", "box_exists"), (4, "site_id", "not_found")]
    assert (await tenant.client.get("/v1/boxes/new")).status_code == 404


async def test_a_header_in_other_words_is_told_column_by_column(tenant: Tenant, site_id: str) -> None:
    answer = await send(tenant.client, f"Kennung;site_id;;Name\nx;{site_id};;a\n")
    assert faults(answer) == [
        (1, "header", "unknown_field"),
        (1, "header", "unknown_field"),
        (1, "id", "missing_field"),
    ]
    assert "no column 'kennung'" in answer.json()["detail"]
    assert "Column 3 has no name" in answer.json()["errors"][1]["detail"]
    # Spreadsheets save empty columns beside those with something in them.
    taken = await send(tenant.client, f"id;site_id;name;;\nx;{site_id};été;;\n")
    assert taken.status_code == 201, taken.text
    beyond = await send(tenant.client, f"id;site_id;;\ny;{site_id};;a\n")
    assert beyond.json()["detail"] == "line 2, row: Cell 4 has a value, but column 4 has no name"


@pytest.mark.parametrize(
    ("text", "status", "code"),
    [
        ("", 400, "empty_body"),
        ("id,site_id\n", 422, "empty_batch"),
        ("id,colour\n", 422, "unknown_field"),
        ("id,id\n", 400, "duplicate_key"),
        ("id,site_id\na\n", 422, "invalid_csv"),
        ("id\na\n", 422, "missing_field"),
        ("id,site_id\n" + "".join(f"b-{n},{NOWHERE}\n" for n in range(1001)), 422, "too_many_boxes"),
    ],
)
async def test_a_table_that_is_none_is_refused(tenant: Tenant, text: str, status: int, code: str) -> None:
    answer = await send(tenant.client, text)
    assert (answer.status_code, answer.json()["code"]) == (status, code)


async def test_the_doors_are_those_of_every_body(
    application: FastAPI, tenant: Tenant, other_tenant: Tenant, site_id: str
) -> None:
    text = f"id,site_id\na,{site_id}\n"

    async def refused(client: httpx.AsyncClient, **headers: str) -> tuple[int, Any]:
        answer = await send(client, text, **headers)
        return answer.status_code, answer.json()["code"]

    async with client_of(application, None) as nobody:
        assert await refused(nobody) == (401, "unauthorised")
    assert await refused(other_tenant.client) == (404, "not_found")
    body = {"name": "narrow", "scopes": ["alerts:read"]}
    narrow = (await tenant.client.post("/v1/api-keys", json=body)).raise_for_status().json()["key"]
    async with client_of(application, narrow) as reader:
        # Before anything of it is read, which would be refused too.
        assert await refused(reader, **{"Content-Encoding": "br"}) == (403, "forbidden")
    shift_jis = {"Content-Type": "text/csv; charset=shift_jis"}
    assert await refused(tenant.client, **shift_jis) == (415, "unsupported_media_type")
    assert await refused(tenant.client, **{"Content-Encoding": "br"}) == (415, "unsupported_encoding")
    settings = get_resource(application, ApiSettings)
    provide_resources(application, settings.model_copy(update={"max_body_bytes": 10}))
    assert await refused(tenant.client) == (413, "body_too_large")


async def test_a_french_table_in_windows_1252_makes_boxes(tenant: Tenant, site_id: str) -> None:
    text = (
        "sep=;\r\nid;site_id;name;longitude;latitude;ack;attribute:night_limit\r\n"
        f"quai-1;{site_id};Café de l\u2019Été;1,4453;43,6009;VRAI;55,5\r\n"
    )
    headers = {"Content-Type": "text/csv"}
    answer = await tenant.client.post("/v1/boxes/bulk", content=text.encode("cp1252"), headers=headers)
    assert answer.status_code == 201, answer.text
    (box,) = answer.json()["data"]
    assert (box["name"], box["location"]["coordinates"]) == ("Café de l\u2019Été", [1.4453, 43.6009])
    assert (box["ack"], box["attributes"]) == (True, {"night_limit": 55.5})


async def test_all_faults_of_a_table_are_in_one_answer(tenant: Tenant, site_id: str) -> None:
    (await send(tenant.client, f"id,site_id\ntaken,{site_id}\n")).raise_for_status()
    text = (
        "id,site_id,longitude,latitude,colour\n"
        f"taken,{site_id},,,\n"
        f'point,{site_id},"1,234",43,\n'
        f"good,{site_id},1.5,43,\n"
        f"a b,{site_id},,,\n"
        f"short,{site_id}\n"
        f"good,{NOWHERE},,,\n"
        f"taken,{site_id},181,43,\n"
    )
    answer = await send(tenant.client, text)
    assert faults(answer) == [
        (1, "header", "unknown_field"),
        (2, "id", "box_exists"),
        (3, "longitude", "ambiguous_number"),
        (5, "id", "invalid_box_id"),
        (6, "row", "invalid_csv"),
        (7, "site_id", "not_found"),
        (8, "location.coordinates", "location_out_of_range"),
        (8, "id", "box_exists"),
    ]
    assert answer.json()["errors_omitted"] == 0
    assert "separate the cells by semicolons" in answer.json()["errors"][2]["detail"]
    assert (await tenant.client.get("/v1/boxes/good")).status_code == 404


async def test_faults_beyond_a_hundred_are_counted(tenant: Tenant, site_id: str) -> None:
    rows = "".join(f"a b,{site_id},x\n" for _ in range(400))
    answer = (await send(tenant.client, f"id,site_id,interval_s\n{rows}")).json()
    assert (len(answer["errors"]), answer["errors_omitted"]) == (100, 700)
    (
        await send(tenant.client, "id,site_id\n" + "".join(f"b{n},{site_id}\n" for n in range(150)))
    ).raise_for_status()
    boxes = [{"id": f"b{n}", "site_id": site_id} for n in range(150)]
    answer = (await tenant.client.post("/v1/boxes/bulk", json={"boxes": boxes})).json()
    assert (len(answer["errors"]), answer["errors_omitted"]) == (100, 50)


async def test_a_dry_run_finds_the_same_faults_and_creates_nothing(tenant: Tenant, site_id: str) -> None:
    good = f"id,site_id\ndry-1,{site_id}\ndry-2,{site_id}\n"
    answer = await tenant.client.post("/v1/boxes/bulk?dry_run=true", content=good, headers=CSV)
    assert (answer.status_code, answer.json()) == (200, {"dry_run": True, "valid": 2})
    assert (await tenant.client.get("/v1/boxes/dry-1")).status_code == 404
    await send(tenant.client, f"id,site_id\ndry-1,{site_id}\n")
    bad = good + f"dry-3,{NOWHERE}\na b,{site_id}\n"
    answer = await tenant.client.post("/v1/boxes/bulk?dry_run=true", content=bad, headers=CSV)
    assert answer.status_code == 422
    assert faults(answer) == [
        (2, "id", "box_exists"),
        (4, "site_id", "not_found"),
        (5, "id", "invalid_box_id"),
    ]
    assert (await tenant.client.get("/v1/boxes/dry-2")).status_code == 404


async def test_a_dry_run_under_an_idempotency_key_is_not_the_creation(tenant: Tenant, site_id: str) -> None:
    body = {"boxes": [{"id": "dry-9", "site_id": site_id}]}
    headers = {"Idempotency-Key": "import-1"}
    answer = await tenant.client.post("/v1/boxes/bulk?dry_run=true", json=body, headers=headers)
    assert answer.json() == {"dry_run": True, "valid": 1}
    answer = await tenant.client.post("/v1/boxes/bulk", json=body, headers={"Idempotency-Key": "import-2"})
    assert answer.status_code == 201


@pytest.mark.parametrize("is_table", [True, False])
async def test_a_thousand_boxes_have_positions(tenant: Tenant, site_id: str, *, is_table: bool) -> None:
    places = [(f"placed-{number:04}", round(1.4 + number / 10_000, 4), 43.6) for number in range(1000)]
    if is_table:
        rows = "".join(f"{box},{site_id},{longitude},{latitude}\n" for box, longitude, latitude in places)
        answer = await tenant.client.post(
            "/v1/boxes/bulk",
            content=f"id,site_id,longitude,latitude\n{rows}",
            headers={"Content-Type": "text/csv"},
        )
    else:
        boxes = [
            {
                "id": box,
                "site_id": site_id,
                "location": {"type": "Point", "coordinates": [longitude, latitude]},
            }
            for box, longitude, latitude in places
        ]
        answer = await tenant.client.post("/v1/boxes/bulk", json={"boxes": boxes})
        # Free fields are guarded as before.
        rest = [{**box, "id": f"other-{n}", "attributes": {"x": [1, 2]}} for n, box in enumerate(boxes)]
        refused = await tenant.client.post("/v1/boxes/bulk", json={"boxes": rest})
        assert (refused.status_code, refused.json()["code"]) == (422, "forbidden_content")
    assert answer.status_code == 201, answer.text
    assert [each["location"]["coordinates"] for each in answer.json()["data"]] == [
        [longitude, latitude] for _, longitude, latitude in places
    ]
