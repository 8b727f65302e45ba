"""Bad input at both doors of ingest and at the rest of REST: refused with its code, and in nobody's way."""

import asyncio
import gzip
import json
from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import aiomqtt
import cbor2
import httpx
import pytest
from fastapi import FastAPI
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from app.notifications.settings import WebhookSettings
from app.platform.db.database import Database
from app.platform.identity.caller_authentication import CallerAuthenticator
from app.platform.kernel.application_resources import get_resource, provide_resources
from app.platform.kernel.secret_tokens import generate_key
from app.standalone.private_mosquitto import PrivateMosquitto
from tests.conftest import ACCOUNTS, Tenant, client_of
from tests.integration import bad_calls, bad_input
from tests.integration.bad_input import CBOR, GZIP, JSON, BadInput, InputFormat
from tests.integration.consuming import consuming
from tests.scenarios.processes import until

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
    async with consuming(database, tmp_path):
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


def by_mqtt() -> list[tuple[InputFormat, BadInput]]:
    return [
        *((JSON, case) for case in (*bad_input.documents(), *bad_input.messages(), *bad_input.samples())),
        *((JSON, case._replace(payload=b"{" + case.payload + b"}")) for case in bad_input.batches()),
        *((CBOR, case) for case in (*bad_input.cbor_documents(), *bad_input.cbor_samples())),
        *((CBOR, case) for case in bad_input.cbor_batches()),
        *((GZIP, case) for case in bad_input.gzip_messages()),
        *((GZIP, case._replace(payload=gzip.compress(case.payload))) for case in bad_input.samples()),
    ]


@pytest.mark.usefixtures("ingest")
async def test_by_mqtt_each_is_quarantined_and_blocks_nothing(
    tenant: Tenant, speaker: aiomqtt.Client
) -> None:
    cases = by_mqtt()
    for number, (how, case) in enumerate(cases):
        await speaker.publish(f"vigie/v1/{BOX}/{how.topic}", case.payload, qos=1)
        await speaker.publish(f"vigie/v1/{BOX}/telemetry", json.dumps(good(number)), qos=1)

    async def all_there() -> bool:
        return len(await values(tenant.client)) == len(cases) == len(await quarantined(tenant.client))

    await until(all_there)
    entries = (await tenant.client.get("/v1/quarantine?limit=1000")).json()["data"]
    # In the order of the refusals, which is not quite that of arrival.
    found = Counter((entry["code"], entry["box"], entry["door"]) for entry in entries)
    assert found == Counter((case.code, BOX, "mqtt") for _, case in cases)
    # Other formats are kept as the text that they are, where they are one.
    sizes = Counter(entry["payload_bytes"] for entry in entries if entry["topic"].endswith("/telemetry"))
    assert sizes == Counter(len(_kept(case)) for how, case in cases if how is JSON)


def _kept(case: BadInput) -> bytes:
    """What stays in quarantine of a message: of too large a batch only the sample that is too many."""
    if case.code != "too_many_samples":
        return case.payload
    return json.dumps(json.loads(case.payload)["samples"][-1]).encode()


def _in_json(payload: bytes) -> bytes:
    return b'{"box": "%b", "samples": [%b]}' % (BOX.encode(), payload)


def _in_cbor(payload: bytes) -> bytes:
    """A map of `box` and an array of one sample, which stands there as it is."""
    return b"\xa2" + cbor2.dumps("box") + cbor2.dumps(BOX) + cbor2.dumps("samples") + b"\x81" + payload


def by_http() -> list[tuple[InputFormat, BadInput]]:
    readable = bad_input.samples()
    return [
        *((JSON, case._replace(payload=_in_json(case.payload))) for case in bad_input.documents()),
        *((JSON, case) for case in bad_input.messages()),
        *((JSON, case._replace(payload=_in_json(case.payload))) for case in readable),
        *(
            (JSON, case._replace(payload=b'{"box": "%b", %b}' % (BOX.encode(), case.payload)))
            for case in bad_input.batches()
        ),
        *(
            (JSON, BadInput(name, json.dumps({"box": box, "samples": [good(0)]}).encode(), status, code))
            for name, box, status, code in bad_input.BOXES
        ),
        (JSON, BadInput("10 MB", b" " * 10_000_000, 413, "body_too_large")),
        *((CBOR, case) for case in bad_input.cbor_documents()),
        *((CBOR, case._replace(payload=_in_cbor(case.payload))) for case in bad_input.cbor_samples()),
        *(
            (CBOR, case._replace(payload=cbor2.dumps({"box": BOX, **cbor2.loads(case.payload)})))
            for case in bad_input.cbor_batches()
        ),
        (CBOR, BadInput("10 MB", b"\x80" * 10_000_000, 413, "body_too_large")),
        *((GZIP, case) for case in bad_input.gzip_messages()),
        *((GZIP, case._replace(payload=gzip.compress(_in_json(case.payload)))) for case in readable),
        (GZIP, BadInput("no gzip at all", _in_json(json.dumps(good(0)).encode()), 400, "invalid_gzip")),
    ]


@pytest.mark.usefixtures("box")
async def test_by_http_each_is_refused_quarantined_and_blocks_nothing(tenant: Tenant) -> None:
    cases = by_http()
    wrong = []
    for number, (how, case) in enumerate(cases):
        answer = await tenant.client.post("/v1/telemetry", content=case.payload, headers=how.headers)
        assert answer.headers["content-type"].startswith("application/problem+json")
        if (answer.status_code, answer.json()["code"]) != (case.status, case.code):
            wrong.append((how.topic, case.name, answer.status_code, answer.json()["code"]))
        body = {"box": BOX, "samples": [good(number)]}
        stored = await tenant.client.post("/v1/telemetry", json=body)
        assert (stored.status_code, stored.json()["stored"]) == (200, 1), case.name
    assert wrong == []
    assert len(await values(tenant.client)) == len(cases)
    refused = await quarantined(tenant.client)
    assert [code for _, code, _ in refused] == [case.code for _, case in cases]
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
        headers=JSON.headers,
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
    answer = await tenant.client.post("/v1/telemetry", content=body, headers=JSON.headers)
    assert answer.json()["rejected"] == 200
    entries = (await tenant.client.get("/v1/quarantine?limit=1000")).json()["data"]
    assert [entry["code"] for entry in entries[::200]] == ["unknown_field", "unknown_box", "time_too_old"]
    assert max(entry["payload_bytes"] for entry in entries) < 200
    assert {json.loads(entry["payload"])["values"]["pm1"] for entry in entries[200:400]} == set(range(200))


@pytest.mark.usefixtures("box")
async def test_what_was_not_negotiated_is_415(tenant: Tenant) -> None:
    body = json.dumps({"box": BOX, "samples": [good(0)]})
    for path in ("/v1/telemetry", "/v1/sites"):
        for _, headers, code, everywhere in bad_calls.UNDECLARED:
            if everywhere or path == "/v1/sites":
                answer = await tenant.client.post(path, content=body, headers=headers)
                assert (answer.status_code, answer.json()["code"]) == (415, code), headers
    codes = [code for _, _, code, everywhere in bad_calls.UNDECLARED if everywhere]
    assert await quarantined(tenant.client) == [(None, code, "http") for code in codes]
    assert await values(tenant.client) == set()


@pytest.mark.usefixtures("box")
async def test_who_may_not_is_refused_before_anything_is_read(
    application: FastAPI, tenant: Tenant, other_tenant: Tenant
) -> None:
    keys = {
        "no key": None,
        "a key with a wrong checksum": tenant.key[:-1] + "~",
        "a key that nobody has": generate_key(),
    }
    for what, scopes in (("a revoked key", ["*"]), ("a key without the scope", ["telemetry:read"])):
        made = (await tenant.client.post("/v1/api-keys", json={"name": what, "scopes": scopes})).json()
        keys[what] = made["key"]
        if scopes == ["*"]:
            await tenant.client.delete(f"/v1/api-keys/{made['id']}")
    found = {}
    async with client_of(application, "") as client:
        for what, key in keys.items():
            client.headers = httpx.Headers({} if key is None else {"authorization": f"Bearer {key}"})
            answer = await client.post("/v1/telemetry", content=b"\xff", headers=JSON.headers)
            found[what] = (answer.status_code, answer.json()["code"])
    foreign = await other_tenant.client.post("/v1/telemetry", json={"box": BOX, "samples": [good(0)]})
    found["another tenant's box"] = (foreign.status_code, foreign.json()["code"])
    assert found == {what: (status, code) for what, status, code in bad_calls.KEYS}
    # What a tenant sends to another's box stands in its own quarantine, and is no sign that the box exists.
    assert await quarantined(tenant.client) == []
    assert await quarantined(other_tenant.client) == [(BOX, "unknown_box", "http")]


async def test_a_wrong_checksum_costs_no_query(application: FastAPI, tenant: Tenant) -> None:
    authenticator = get_resource(application, CallerAuthenticator)
    provide_resources(application, replace(authenticator, database=Mock(spec=[])))
    try:
        async with client_of(application, tenant.key[:-1] + "~") as client:
            answer = await client.get("/v1/sites")
    finally:
        provide_resources(application, authenticator)
    assert (answer.status_code, answer.json()["code"]) == (401, "unauthorised")


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


def _field(text: str) -> bytes:
    return len(text).to_bytes(2) + text.encode()


async def _raw_publish(mosquitto: PrivateMosquitto, password: str, packet: bytes) -> bytes:
    """Send a packet as no library would (MQTT 3.1.1), and return what the broker says until it hangs up."""
    connect = _field("MQTT") + b"\x04\xc2\x00\x1e" + _field("raw") + _field(BOX) + _field(password)
    reader, writer = await asyncio.open_connection(mosquitto.host, mosquitto.port)
    try:
        writer.write(b"\x10" + bytes([len(connect)]) + connect + packet)
        async with asyncio.timeout(60):
            return await reader.read()
    finally:
        writer.close()


@pytest.mark.usefixtures("ingest")
async def test_the_broker_keeps_a_box_to_its_own_topics(
    tenant: Tenant, api: httpx.AsyncClient, box: str, speaker: aiomqtt.Client, mosquitto: PrivateMosquitto
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
        *(f"vigie/v1/{BOX}/{kind}" for kind in ("ack", "config", "telemetry/cbor/more", "more")),
        *("$SYS/broker/uptime", "vigie/v1/telemetry", "x"),
    ):
        await speaker.publish(topic, json.dumps(good(1)), qos=1)
    await speaker.publish(f"vigie/v1/{BOX}/telemetry", json.dumps(good(2)), qos=1, retain=True)
    await speaker.publish(f"vigie/v1/{BOX}/telemetry", b"", qos=1, retain=True)
    # Accepted is no more than the connection.
    wildcard = _field("vigie/v1/+/telemetry") + b"\x00\x01{}"
    packet = b"\x32" + bytes([len(wildcard)]) + wildcard
    assert await _raw_publish(mosquitto, box, packet) == b"\x20\x02\x00\x00"
    gateway = aiomqtt.Client(mosquitto.host, mosquitto.port, username="gateway", password=ACCOUNTS["gateway"])
    async with gateway:
        for topic in (*bad_input.TOPICS.values(), "vigie/v1/nobody/telemetry"):
            await gateway.publish(topic, json.dumps(good(1)), qos=1)
        await gateway.publish("vigie/v1/bad-input-victim/telemetry", json.dumps(good(3)), qos=1)
    await speaker.publish(f"vigie/v1/{BOX}/telemetry", json.dumps(good(4)), qos=1)

    async def heard() -> bool:
        latest = (await tenant.client.get("/v1/boxes/bad-input-victim/latest")).json()["values"]
        return latest == {"co2": 403.0} and await values(tenant.client) == {404.0}

    await until(heard)
    assert len(speaker.messages) == 0
    own = {code for _, code, _ in await quarantined(tenant.client)}
    assert own == {"retained_message", "topic"}
    # Boxes of other tests may have left statuses at the broker.
    ours = {BOX, None, "nobody", "bad-input-victim"}
    found = {(owner, code) for owner, code, _ in await quarantined(api) if owner in ours}
    assert found == {
        *((BOX, code) for code in own),
        *((None, "topic"), ("nobody", "unknown_box")),
    }
    assert (await tenant.client.get("/v1/boxes/bad-input-victim")).json()["state"] is None


async def test_a_packet_of_more_than_a_mebibyte_ends_the_connection(
    box: str, mosquitto: PrivateMosquitto
) -> None:
    # A publish whose length alone (2^20 + 1, in MQTT's way to write it) says that it is too large.
    assert await _raw_publish(mosquitto, box, b"\x32\x81\x80\x40") == b"\x20\x02\x00\x00"


async def test_rest_refuses_each_with_its_code(tenant: Tenant, box: str) -> None:
    assert box
    site = (await tenant.client.get("/v1/sites")).json()["data"][0]["id"]
    wrong: list[str] = []
    for call in (*bad_calls.lists(), *bad_calls.calls()):
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
    get_resource(application, WebhookSettings).allow_private = False
    taken = [
        url
        for url in bad_calls.WEBHOOK_URLS
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
