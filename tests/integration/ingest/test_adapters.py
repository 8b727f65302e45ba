"""Other formats on real services: each arrives as samples, with the identity, quarantine and acknowledgement
of Vigie's own."""

import base64
import gzip
import json
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import aiomqtt
import cbor2
import httpx
import pytest

from app.platform.db.database import Database
from app.standalone.private_mosquitto import PrivateMosquitto
from tests.conftest import ACCOUNTS, Tenant
from tests.integration.consuming import consuming
from tests.scenarios.processes import until

BOX = "adapted"
EUI = "0101010101010101"
START = datetime.now(UTC).replace(microsecond=0) - timedelta(hours=1)


def at(minute: int) -> str:
    return (START + timedelta(minutes=minute)).strftime("%Y-%m-%dT%H:%M:%SZ")


def sample(minute: int, **values: float) -> dict[str, Any]:
    return {"seq": minute, "time": at(minute), "values": values}


def push(**values: str) -> bytes:
    found = [{"value_type": kind, "value": value} for kind, value in values.items()]
    return json.dumps({"esp8266id": "15303512", "sensordatavalues": found}).encode()


@pytest.fixture
async def password(tenant: Tenant, site_id: str) -> str:
    """The password of a box that is acknowledged, beside two others."""
    for identifier in (EUI, "esp8266-15303512"):
        made = await tenant.client.post("/v1/boxes", json={"id": identifier, "site_id": site_id})
        made.raise_for_status()
    made = await tenant.client.post("/v1/boxes", json={"id": BOX, "site_id": site_id, "ack": True})
    return str(made.raise_for_status().json()["credentials"]["password"])


@pytest.fixture
async def ingest(database: Database, tmp_path: Path) -> AsyncIterator[None]:
    async with consuming(database, tmp_path):
        yield


async def readings(client: httpx.AsyncClient, box: str, metric: str) -> dict[str, float]:
    answer = (await client.get(f"/v1/boxes/{box}/readings?metric={metric}")).raise_for_status().json()
    return {point["time"]: point["value"] for point in answer["points"]}


async def quarantined(client: httpx.AsyncClient) -> list[tuple[str, str, str]]:
    entries = (await client.get("/v1/quarantine")).raise_for_status().json()["data"]
    return sorted((entry["box"], entry["door"], entry["code"]) for entry in entries)


@pytest.mark.usefixtures("ingest")
async def test_by_mqtt_each_format_is_stored_acknowledged_and_quarantined(
    tenant: Tenant, password: str, mosquitto: PrivateMosquitto
) -> None:
    seconds = START.timestamp()
    bad = {"samples": [sample(3, co2=403), sample(9, co2=-1)]}
    event = {"time": at(6), "deviceInfo": {"devEui": EUI}, "object": {"co2": 406, "mode": "eco"}}
    pack = json.dumps([{"n": "co2", "t": seconds + 240, "v": 404}, {"n": "warp", "v": 1}]).encode()
    named, where = mosquitto.host, mosquitto.port
    async with (
        aiomqtt.Client(named, where, username=BOX, password=password, identifier=BOX) as box,
        aiomqtt.Client(named, where, username="gateway", password=ACCOUNTS["gateway"]) as gateway,
    ):
        await box.subscribe(f"vigie/v1/{BOX}/ack", qos=1)
        for topic, payload in (
            ("cbor", cbor2.dumps(sample(1, co2=401))),
            ("cbor", cbor2.dumps(sample(1, co2=401))),
            ("gzip", gzip.compress(json.dumps(sample(2, co2=402)).encode())),
            ("cbor", cbor2.dumps(bad)),
            ("senml", pack),
        ):
            await box.publish(f"vigie/v1/{BOX}/telemetry/{topic}", payload, qos=1)
        # A format that there is not: the broker takes it of a gateway only (see ACCESS_RULES).
        for sender in (box, gateway):
            await sender.publish(f"vigie/v1/{BOX}/telemetry/xml", b"<a/>", qos=1)
        # Only who may speak for every device may publish ChirpStack's events.
        await box.publish(f"application/1/device/{EUI}/event/up", json.dumps(event | {"time": at(5)}), qos=1)
        await gateway.publish(f"application/1/device/{EUI}/event/up", json.dumps(event), qos=1)
        told: dict[str, list[Any]] = {"seqs": [], "rejected": [], "refused": []}
        async for message in box.messages:
            for kind, entries in json.loads(str(message.payload, "utf-8")).items():
                told[kind] += entries
            if len(told["seqs"]) == 4 and told["rejected"] and len(told["refused"]) == 2:
                break

    async def all_there() -> bool:
        return (
            len(await readings(tenant.client, EUI, "co2")) == 1 and len(await quarantined(tenant.client)) == 3
        )

    await until(all_there)
    assert sorted(told["seqs"]) == [1, 1, 2, 3]
    assert told["rejected"] == [{"seq": 9, "code": "value_out_of_bounds"}]
    refused = sorted((each["code"], each["size"], each.get("indexes")) for each in told["refused"])
    assert refused == [("topic", 4, None), ("unknown_metric", len(pack), [1])]
    stored = await readings(tenant.client, BOX, "co2")
    assert stored == {at(minute): 400.0 + minute for minute in (1, 2, 3, 4)}
    assert await readings(tenant.client, EUI, "co2") == {at(6): 406.0}
    assert await quarantined(tenant.client) == [
        (BOX, "mqtt", "topic"),
        (BOX, "mqtt", "unknown_metric"),
        (BOX, "mqtt", "value_out_of_bounds"),
    ]


@pytest.mark.usefixtures("password")
async def test_by_http_each_format_is_stored(tenant: Tenant) -> None:
    body = {"box": BOX, "samples": [sample(1, co2=401)]}
    seconds = START.timestamp()
    senml = [{"bn": f"urn:x:{BOX}:", "n": "co2", "bt": seconds, "t": 180, "u": "ppm", "v": 403}]
    senml.append({"bn": f"{EUI}/", "n": "temperature", "u": "K", "t": 180, "v": 293.15})
    for content, headers, stored in (
        (cbor2.dumps(body), {"content-type": "application/cbor"}, 1),
        (
            gzip.compress(json.dumps({"box": BOX, "samples": [sample(2, co2=402)]}).encode()),
            {"content-type": "application/json", "content-encoding": "gzip"},
            1,
        ),
        (json.dumps(senml).encode(), {"content-type": "application/senml+json; charset=utf-8"}, 2),
        (
            gzip.compress(cbor2.dumps({"box": BOX, "samples": [sample(4, co2=404)]})),
            {"content-type": "application/cbor", "content-encoding": "gzip"},
            1,
        ),
    ):
        answer = await tenant.client.post("/v1/telemetry", content=content, headers=headers)
        assert (answer.status_code, answer.json()["stored"]) == (200, stored)
    again = await tenant.client.post("/v1/telemetry", json=body)
    assert again.json()["duplicate"] == 1
    assert await readings(tenant.client, BOX, "co2") == {
        at(minute): 400.0 + minute for minute in (1, 2, 3, 4)
    }
    assert await readings(tenant.client, EUI, "temperature") == {at(3): 20.0}


async def test_a_refused_sample_of_another_format_is_kept_as_json(tenant: Tenant, password: str) -> None:
    assert password
    body = cbor2.dumps({"box": "nobody", "samples": [sample(1, co2=401)]})
    answer = await tenant.client.post(
        "/v1/telemetry", content=body, headers={"content-type": "application/cbor"}
    )
    assert (answer.status_code, answer.json()["code"]) == (404, "unknown_box")
    (entry,) = (await tenant.client.get("/v1/quarantine")).json()["data"]
    kept = json.loads(entry["payload"])
    assert kept == {"box": "nobody", "samples": [{"seq": 1, "time": at(1), "values": {"co2": 401.0}}]}


def basic(user: str, password: str) -> dict[str, str]:
    return {
        "authorization": "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode(),
        "content-type": "application/json",
        "x-sensor": "esp8266-15303512",
        "user-agent": "NRZ-2024-135/15303512/2cf43205a3e6",
    }


PATH = "/v1/adapters/sensor-community"


async def test_a_firmware_pushes_as_its_box(tenant: Tenant, password: str) -> None:
    body = push(SDS_P1="67.22", SDS_P2="34.47", BME280_pressure="100613.25", signal="-70", samples="12")
    answer = await tenant.client.post(PATH, content=body, headers=basic(BOX, password))
    assert (answer.status_code, answer.json()["stored"]) == (200, 1)
    latest = (await tenant.client.get(f"/v1/boxes/{BOX}/latest")).json()
    assert latest["values"] == pytest.approx(
        {"pm10": 67.22, "pm2_5": 34.47, "pressure": 1006.1325, "rssi": -70}, rel=1e-6
    )
    assert abs(datetime.fromisoformat(latest["time"]) - datetime.now(UTC)) < timedelta(minutes=1)


async def test_a_gateway_forwards_pushes_with_a_key(
    tenant: Tenant, other_tenant: Tenant, password: str
) -> None:
    assert password
    body = push(DNMS_noise_LAeq="58.3")
    answer = await tenant.client.post(PATH, content=body, headers={"content-type": "application/json"})
    assert (answer.status_code, answer.json()["stored"]) == (200, 1)
    assert len(await readings(tenant.client, "esp8266-15303512", "laeq")) == 1
    foreign = await other_tenant.client.post(PATH, content=body, headers={"content-type": "application/json"})
    assert (foreign.status_code, foreign.json()["code"]) == (404, "unknown_box")


async def test_who_may_not_push_is_refused(tenant: Tenant, password: str) -> None:
    wrong = [
        basic(BOX, password + "x"),
        basic(EUI, password),
        basic("nobody", password),
        basic("a+b", password),
        basic(BOX, ""),
        {"authorization": "Basic"},
        {"authorization": "Basic =="},
        {"authorization": "Basic " + base64.b64encode(b"no colon").decode()},
        {"authorization": "Basic " + base64.b64encode(b"\xff:\xff").decode()},
        {"authorization": "Basic " + "A" * 4_096},
        {"authorization": "Bearer vg_x"},
    ]
    for headers in wrong:
        answer = await tenant.client.post(PATH, content=push(SDS_P1="1"), headers=headers)
        assert (answer.status_code, answer.json()["code"]) == (401, "unauthorised"), headers
    await tenant.client.post(f"/v1/boxes/{BOX}/credentials")
    answer = await tenant.client.post(PATH, content=push(SDS_P1="1"), headers=basic(BOX, password))
    assert answer.status_code == 401
    body = {"name": "reader", "scopes": ["telemetry:read"]}
    key = (await tenant.client.post("/v1/api-keys", json=body)).json()["key"]
    bearer = {"authorization": f"Bearer {key}"}
    answer = await tenant.client.post(PATH, content=push(SDS_P1="1"), headers=bearer)
    assert (answer.status_code, answer.json()["code"]) == (403, "forbidden")
    assert await quarantined(tenant.client) == []


async def test_a_bad_push_is_quarantined_under_its_box(tenant: Tenant, password: str) -> None:
    headers = basic(BOX, password)
    for content, status, code in (
        (push(SDS_P1="-1"), 422, "value_out_of_bounds"),
        (b"{", 400, "invalid_json"),
        (push(samples="1"), 422, "empty_values"),
    ):
        answer = await tenant.client.post(PATH, content=content, headers=headers)
        assert (answer.status_code, answer.json()["code"]) == (status, code)
    plain = {**headers, "content-type": "text/plain"}
    assert (await tenant.client.post(PATH, content=b"", headers=plain)).status_code == 415
    assert {(box, door) for box, door, _ in await quarantined(tenant.client)} == {(BOX, "http")}
    assert len(await quarantined(tenant.client)) == 4
