"""Bad input at both doors of ingest and at the rest of REST: refused with its code, and in nobody's way."""

import asyncio
import json
from collections import Counter
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import aiomqtt
import httpx
import pytest
from fastapi import FastAPI
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from app.core.database import Database
from app.embedded.mosquitto import PrivateMosquitto
from tests.conftest import ACCOUNTS, Tenant
from tests.integration import bad_input
from tests.integration.bad_input import Bad
from tests.scenarios.processes import role, until

JSON = {"content-type": "application/json"}
BOX = "bad-input"
_START = datetime.now(UTC).replace(microsecond=0) - timedelta(hours=1)


@pytest.fixture
async def box(tenant: Tenant) -> str:
    """A box at a site that keeps samples for thirty days."""
    site = {
        "name": "Rue",
        "kind": "street",
        "timezone": "Europe/Paris",
        "location": {"type": "Point", "coordinates": [1.4, 43.6]},
        "retention_days": bad_input.RETENTION_DAYS,
    }
    site_id = (await tenant.client.post("/v1/sites", json=site)).raise_for_status().json()["id"]
    made = await tenant.client.post("/v1/boxes", json={"id": BOX, "site_id": site_id})
    made.raise_for_status()
    return str(made.json()["credentials"]["password"])


@pytest.fixture
async def speaker(mosquitto: PrivateMosquitto, box: str) -> AsyncIterator[aiomqtt.Client]:
    """The box's own connection."""
    async with aiomqtt.Client(
        mosquitto.host,
        mosquitto.port,
        username=BOX,
        password=box,
        identifier=BOX,
        protocol=aiomqtt.ProtocolVersion.V5,
    ) as client:
        yield client


@pytest.fixture
async def ingest(database: Database, tmp_path: Path) -> AsyncIterator[None]:
    """The consumer, once its session exists: what is published before it, no broker keeps."""
    consuming = text("SELECT count(*) FROM heartbeats WHERE role = 'ingest' AND state = 'consuming'")

    async def ready() -> bool:
        async with database.read() as session:
            return bool(await session.scalar(consuming))

    async with role("ingest", tmp_path):
        await until(ready)
        yield


def good(number: int) -> dict[str, Any]:
    """The sample that follows the `number`th bad one."""
    time = _START - timedelta(seconds=number)
    return {"seq": number, "time": time.isoformat(), "values": {"co2": 400 + number}}


async def values(client: httpx.AsyncClient) -> set[float]:
    answer = (await client.get(f"/v1/boxes/{BOX}/readings?metric=co2&limit=10000")).raise_for_status()
    return {point["value"] for point in answer.json()["points"]}


async def quarantined(client: httpx.AsyncClient) -> list[tuple[str | None, str, str]]:
    """(box, code, door), in the order of arrival."""
    entries = (await client.get("/v1/quarantine", params={"limit": 1000})).raise_for_status().json()["data"]
    return [(entry["box"], entry["code"], entry["door"]) for entry in reversed(entries)]


@pytest.mark.usefixtures("ingest")
async def test_by_mqtt_each_is_quarantined_and_blocks_nothing(
    tenant: Tenant, speaker: aiomqtt.Client
) -> None:
    cases = [
        *bad_input.documents(),
        *bad_input.messages(),
        *bad_input.samples(),
        *(case._replace(payload=b"{" + case.payload + b"}") for case in bad_input.batches()),
    ]
    topic = f"vigie/v1/{BOX}/telemetry"
    for number, case in enumerate(cases):
        await speaker.publish(topic, case.payload, qos=1)
        await speaker.publish(topic, json.dumps(good(number)), qos=1)

    async def all_there() -> bool:
        return len(await values(tenant.client)) == len(cases) == len(await quarantined(tenant.client))

    await until(all_there)
    entries = (await tenant.client.get("/v1/quarantine?limit=1000")).json()["data"]
    # In the order of the refusals, which is not quite that of arrival.
    found = Counter((entry["code"], entry["payload_bytes"], entry["box"], entry["door"]) for entry in entries)
    assert found == Counter((case.code, len(case.payload), BOX, "mqtt") for case in cases)


def _as_body(case: Bad) -> bytes:
    return b'{"box": "%b", "samples": [%b]}' % (BOX.encode(), case.payload)


async def test_by_http_each_is_refused_quarantined_and_blocks_nothing(tenant: Tenant, box: str) -> None:
    assert box
    cases = [
        *(case._replace(payload=_as_body(case)) for case in bad_input.documents()),
        *bad_input.messages(),
        *(case._replace(payload=_as_body(case)) for case in bad_input.samples()),
        *(
            case._replace(payload=b'{"box": "%b", %b}' % (BOX.encode(), case.payload))
            for case in bad_input.batches()
        ),
        *(
            Bad(f"box {name!r}", json.dumps({"box": name, "samples": [good(0)]}).encode(), 422, code)
            for name, code in (("a+b", "invalid_box_id"), ("a" * 65, "invalid_box_id"), (1, "wrong_type"))
        ),
        Bad("no such box", json.dumps({"box": "nobody", "samples": [good(0)]}).encode(), 404, "unknown_box"),
        Bad("10 MB", b" " * 10_000_000, 413, "body_too_large"),
    ]
    answers: dict[str, tuple[int, str]] = {}
    for number, case in enumerate(cases):
        answer = await tenant.client.post("/v1/telemetry", content=case.payload, headers=JSON)
        assert answer.headers["content-type"].startswith("application/problem+json")
        answers[case.name] = (answer.status_code, answer.json()["code"])
        body = {"box": BOX, "samples": [good(number)]}
        stored = await tenant.client.post("/v1/telemetry", json=body)
        assert (stored.status_code, stored.json()["stored"]) == (200, 1), case.name
    assert answers == {case.name: (case.status, case.code) for case in cases}
    assert len(await values(tenant.client)) == len(cases)
    refused = await quarantined(tenant.client)
    assert [code for _, code, _ in refused] == [case.code for case in cases]
    assert {door for *_, door in refused} == {"http"}


async def test_a_batch_with_every_bad_sample_stores_its_good_ones(tenant: Tenant, box: str) -> None:
    assert box
    cases = bad_input.samples()
    parts = [
        part
        for number, case in enumerate(cases)
        for part in (case.payload, json.dumps(good(number)).encode())
    ]
    answer = await tenant.client.post(
        "/v1/telemetry",
        content=b'{"box": "%b", "samples": [%b]}' % (BOX.encode(), b", ".join(parts)),
        headers=JSON,
    )
    outcome = answer.raise_for_status().json()
    assert (outcome["stored"], outcome["rejected"]) == (len(cases), len(cases))
    assert sorted(reason["code"] for reason in outcome["reasons"]) == sorted(case.code for case in cases)


async def test_a_refused_batch_is_kept_in_parts(tenant: Tenant, box: str) -> None:
    """A copy of the whole for each of its samples would make 64 MB of 80 KB."""
    assert box
    old = datetime.now(UTC) - timedelta(days=bad_input.RETENTION_DAYS + 1)
    batch = [
        {"time": (old - timedelta(seconds=n)).isoformat(), "values": {"co2": 400, "pm1": n}}
        for n in range(200)
    ]
    for name in (BOX, "nobody"):
        answer = await tenant.client.post("/v1/telemetry", json={"box": name, "samples": batch})
        assert answer.json()["rejected"] == 200
    # The key in another spelling, and samples that the codec itself refuses.
    usual = json.dumps({"box": BOX, "samples": [{**sample, "more": 1} for sample in batch]})
    body = usual.replace('"samples"', r'"s\u0061mples"')
    answer = await tenant.client.post("/v1/telemetry", content=body, headers=JSON)
    assert answer.json()["rejected"] == 200
    entries = (await tenant.client.get("/v1/quarantine?limit=1000")).json()["data"]
    assert [entry["code"] for entry in entries[::200]] == ["unknown_field", "unknown_box", "time_too_old"]
    assert max(entry["payload_bytes"] for entry in entries) < 200
    assert {json.loads(entry["payload"])["values"]["pm1"] for entry in entries[200:400]} == set(range(200))


@pytest.mark.parametrize(
    ("headers", "code"),
    [
        ({}, "unsupported_media_type"),
        ({"content-type": "text/plain"}, "unsupported_media_type"),
        ({"content-type": "application/cbor"}, "unsupported_media_type"),
        ({"content-type": "application/json; charset=utf-16"}, "unsupported_media_type"),
        ({**JSON, "content-encoding": "gzip"}, "unsupported_encoding"),
        ({**JSON, "content-encoding": "identity, br"}, "unsupported_encoding"),
    ],
)
async def test_what_was_not_negotiated_is_415(
    tenant: Tenant, box: str, headers: dict[str, str], code: str
) -> None:
    assert box
    body = json.dumps({"box": BOX, "samples": [good(0)]})
    for path in ("/v1/telemetry", "/v1/sites"):
        answer = await tenant.client.post(path, content=body, headers=headers)
        assert (answer.status_code, answer.json()["code"]) == (415, code)
    assert await quarantined(tenant.client) == [(None, code, "http")]
    assert await values(tenant.client) == set()


async def test_what_looks_odd_and_is_right_is_taken(tenant: Tenant, box: str) -> None:
    assert box
    newest, oldest = good(0), good(50)
    for sample, outcome in (
        (newest, "stored"),
        (newest, "duplicate"),
        ({**newest, "values": {"co2": 1}}, "conflict"),
        (oldest, "stored"),
        ({**good(20), "values": {"co2": 420, "temperature": -0.0}}, "stored"),
    ):
        answer = await tenant.client.post("/v1/telemetry", json={"box": BOX, "samples": [sample]})
        counts = {name: count for name, count in answer.json().items() if count and name != "reasons"}
        assert (answer.status_code, counts) == (200, {outcome: 1})
    assert await values(tenant.client) == {400.0, 420.0, 450.0}


async def _raw_publish(mosquitto: PrivateMosquitto, password: str, topic: str) -> bytes:
    """Publish as no library would (MQTT 3.1.1, QoS 1), and return what the broker says until it hangs up."""

    def field(text: str) -> bytes:
        return len(text).to_bytes(2) + text.encode()

    connect = field("MQTT") + b"\x04\xc2\x00\x1e" + field("raw") + field(BOX) + field(password)
    publish = field(topic) + b"\x00\x01" + b"{}"
    reader, writer = await asyncio.open_connection(mosquitto.host, mosquitto.port)
    try:
        writer.write(b"\x10" + bytes([len(connect)]) + connect + b"\x32" + bytes([len(publish)]) + publish)
        async with asyncio.timeout(5):
            return await reader.read()
    finally:
        writer.close()


@pytest.mark.usefixtures("ingest")
async def test_the_broker_keeps_a_box_to_its_own_topics(
    tenant: Tenant, box: str, speaker: aiomqtt.Client, mosquitto: PrivateMosquitto
) -> None:
    site_id = (await tenant.client.get("/v1/sites")).json()["data"][0]["id"]
    victim = {"id": "bad-input-victim", "site_id": site_id}
    (await tenant.client.post("/v1/boxes", json=victim)).raise_for_status()
    for topic in (
        *("#", "$SYS/#", "+/+/+/+", "vigie/v1/+/telemetry"),
        *("vigie/v1/bad-input-victim/#", "$share/a/#", f"vigie/v1/{BOX}/telemetry"),
    ):
        await speaker.subscribe(topic, qos=1)
    for topic in (
        *(f"vigie/v1/bad-input-victim/{kind}" for kind in ("telemetry", "event", "status", "config", "ack")),
        *(f"vigie/v1/{BOX}/{kind}" for kind in ("ack", "config", "telemetry/more", "more")),
        *("$SYS/broker/uptime", "vigie/v1/telemetry", "x"),
    ):
        await speaker.publish(topic, json.dumps(good(1)), qos=1)
    await speaker.publish(f"vigie/v1/{BOX}/telemetry", json.dumps(good(2)), qos=1, retain=True)
    await speaker.publish(f"vigie/v1/{BOX}/telemetry", b"", qos=1, retain=True)
    # Accepted is no more than the connection.
    assert await _raw_publish(mosquitto, box, "vigie/v1/+/telemetry") == b"\x20\x02\x00\x00"
    gateway = aiomqtt.Client(mosquitto.host, mosquitto.port, username="gateway", password=ACCOUNTS["gateway"])
    async with gateway:
        await gateway.publish("vigie/v1/bad-input-victim/telemetry", json.dumps(good(3)), qos=1)
    await speaker.publish(f"vigie/v1/{BOX}/telemetry", json.dumps(good(4)), qos=1)

    async def heard() -> bool:
        latest = (await tenant.client.get("/v1/boxes/bad-input-victim/latest")).json()["values"]
        return latest == {"co2": 403.0} and await values(tenant.client) == {404.0}

    await until(heard)
    assert len(speaker.messages) == 0
    assert {code for _, code, _ in await quarantined(tenant.client)} == {"retained_message"}
    assert (await tenant.client.get("/v1/boxes/bad-input-victim")).json()["state"] is None


async def test_rest_refuses_each_with_its_code(tenant: Tenant, box: str) -> None:
    assert box
    site = (await tenant.client.get("/v1/sites")).json()["data"][0]["id"]
    wrong: list[str] = []
    for call in (*bad_input.lists(), *bad_input.calls()):
        path = call.path.replace("{site}", site).replace("{box}", BOX)
        body = None if call.body is None else json.loads(json.dumps(call.body).replace("{site}", site))
        answer = await tenant.client.request(call.method, path, json=body)
        problem = answer.json()
        if answer.status_code != call.status or call.code not in {None, problem["code"]}:
            wrong.append(
                f"{call.method} {path[:90]} {str(body)[:90]}: {answer.status_code} {answer.text[:200]}"
            )
    assert wrong == []


async def test_webhooks_lead_to_public_hosts_only(tenant: Tenant, application: FastAPI) -> None:
    application.state.settings.webhooks.allow_private = False
    taken = [
        url
        for url in bad_input.WEBHOOK_URLS
        if (await tenant.client.post("/v1/webhooks", json={"url": url})).json().get("code")
        != "webhook_url_not_allowed"
    ]
    assert taken == []
    made = await tenant.client.post("/v1/webhooks", json={"url": "https://example.com/hook"})
    assert made.status_code == 201
    path = f"/v1/webhooks/{made.json()['id']}"
    assert (await tenant.client.patch(path, json={"url": "https://127.1/"})).status_code == 422


async def test_an_invented_method_makes_no_series(api: httpx.AsyncClient) -> None:
    await api.request("BREW", "/v1/sites")
    exposed = (await api.get("/metrics")).text
    assert "BREW" not in exposed
    assert 'method="other"' in exposed


async def test_a_database_error_tells_no_secret(database: Database) -> None:
    """What fails is logged: with the statement, without its values."""
    with pytest.raises(DBAPIError) as raised:
        async with database.read() as session:
            await session.execute(text("SELECT 1 / (length(:secret) - 9)"), {"secret": "whsec_abc"})
    assert "whsec_abc" not in str(raised.value)
