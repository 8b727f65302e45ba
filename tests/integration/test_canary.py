"""What must never enter, sent with a canary in it: refused, counted once, and found nowhere afterwards.

With real processes, databases and brokers. Each message has a random text of its own, also in base64 and in
hexadecimal digits; then every column of every table is searched for all of them, and every log: those of the
API, of the consumer, of PostgreSQL and of Mosquitto.
"""

import base64
import gzip
import json
import re
import secrets
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final, NamedTuple

import aiomqtt
import asyncpg
import cbor2
import httpx
import pytest

from app.platform.db.database import Database
from app.standalone.private_mosquitto import PrivateMosquitto
from app.standalone.private_postgres import PrivatePostgres
from tests.conftest import ACCOUNTS, Tenant
from tests.integration.consuming import consuming
from tests.scenarios.processes import serving, until

TIME: Final = (datetime.now(UTC) - timedelta(minutes=1)).isoformat()
# Of every table with rows of ours, whatever its schema, chunks too: what the owner may not read is the
# extension's own, and none of our logins writes to it.
_TABLES: Final = """
SELECT n.nspname, c.relname, a.attname, a.atttypid = 'bytea'::regtype
FROM pg_class c
JOIN pg_namespace n ON n.oid = c.relnamespace
JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
WHERE c.relkind IN ('r', 'm', 'p') AND n.nspname NOT IN ('pg_catalog', 'information_schema')
    AND NOT pg_is_other_temp_schema(n.oid) AND has_table_privilege(c.oid, 'SELECT')
ORDER BY 1, 2, a.attnum
"""


class Item(NamedTuple):
    """Something to refuse: how it is made of its canary, and its code."""

    make: Callable[[str], Any]
    code: str


def sample(**more: Any) -> dict[str, Any]:  # noqa: ANN401 (whatever JSON holds)
    return {"time": TIME, "values": {"pm1": 1}, **more}


def event(**more: Any) -> dict[str, Any]:  # noqa: ANN401 (whatever JSON holds)
    return {"time": TIME, "type": "noise_peak", **more}


# Letters at random may be a word for a camera, for which the whole is refused with another code.
_CAMERAS: Final = re.compile("cam|dvr|nvr|ptz|vms", re.IGNORECASE)


def media(canary: str) -> str:
    """A picture in base64 with the canary in it."""
    while True:
        raw = b"\xff\xd8\xff\xe0" + canary.encode() + secrets.token_bytes(200)
        if not _CAMERAS.search(encoded := base64.b64encode(raw).decode()):
            return encoded


FORBIDDEN, CAMERA = "forbidden_content", "camera_coupling"
# A sample each, so that both doors take the same.
SAMPLES: Final[dict[str, Item]] = {
    "audio": Item(lambda it: sample(audio=it), FORBIDDEN),
    "image as base64": Item(lambda it: sample(note=media(it)), FORBIDDEN),
    "image as a data URI": Item(lambda it: sample(note=f"data:image/png;base64,{it}"), FORBIDDEN),
    "image in pieces": Item(
        lambda it: sample(notes=[media(it)[at : at + 12] for at in range(0, 276, 12)]), FORBIDDEN
    ),
    "video": Item(lambda it: sample(videoUrl=f"rtsp://{it}"), FORBIDDEN),
    "embedding": Item(lambda it: sample(embedding=[it, 0.1]), FORBIDDEN),
    "numbers": Item(lambda it: sample(x=[it, *[0.25] * 128]), FORBIDDEN),
    "face": Item(lambda it: sample(face_id=it), FORBIDDEN),
    "the canary in the name": Item(lambda it: sample(**{f"face_{it}": 1}), FORBIDDEN),
    "an unknown metric": Item(lambda it: {"time": TIME, "values": {f"voice_{it}": 1}}, FORBIDDEN),
    "voice as a value": Item(lambda it: {"time": TIME, "values": {"pm1": {"voice": it}}}, FORBIDDEN),
    "plate": Item(lambda it: sample(immatriculation=it), FORBIDDEN),
    "person": Item(lambda it: sample(personId=it), FORBIDDEN),
    "telephone": Item(lambda it: sample(x={"imsi": it}), FORBIDDEN),
    "prediction": Item(lambda it: sample(risk_score={"for": it}), FORBIDDEN),
    "camera": Item(lambda it: sample(camera_id=it), CAMERA),
}
# A text of JSON that cannot be read, each with the canary.
BROKEN: Final[dict[str, Item]] = {
    "NaN": Item(lambda it: f'{{"time": "{TIME}", "values": {{"pm1": NaN}}, "face": "{it}"}}', FORBIDDEN),
    "cut short": Item(lambda it: f'{{"time": "{TIME}", "kamera": "{it}', CAMERA),
    "a key twice": Item(lambda it: f'{{"time": 1, "image": "{it}", "image": 2}}', FORBIDDEN),
    "escaped": Item(lambda it: rf'{{"time": NaN, "\u0066ace_id": "{it}"}}', FORBIDDEN),
}
EVENTS: Final[dict[str, Item]] = {
    "event with audio": Item(lambda it: event(clip=it), FORBIDDEN),
    "event of a camera": Item(lambda it: event(ptz={"preset": it}), CAMERA),
    "candidates": Item(
        lambda it: event(candidates=[{"class": "face", "model": it, "confidence": 0.5}]), FORBIDDEN
    ),
    "pieces in candidates": Item(
        lambda it: event(
            candidates=[{"class": media(it)[at : at + 40], "confidence": 0.1} for at in range(0, 280, 40)]
        ),
        FORBIDDEN,
    ),
    "type": Item(lambda it: event(type="licence_plate", seq=1, x=it), FORBIDDEN),
    "a type that is none": Item(lambda it: event(type=f"warble.{it}"), "unknown_event_type"),
    "a purpose that is not declared": Item(
        lambda it: event(type="gunshot", candidates=[{"class": "pistol", "model": it, "confidence": 0.5}]),
        "purpose_not_declared",
    ),
}
# By MQTT alone: under which topic, and what.
TOPICS: Final[dict[str, tuple[str, Item]]] = {
    "status": ("vigie/v1/{box}/status", Item(lambda it: {"state": "online", "ssid": it}, FORBIDDEN)),
    "firmware": (
        "vigie/v1/{box}/status",
        Item(
            lambda it: {
                "state": "online",
                "firmware": base64.b64encode(b"\xff\xd8\xff" + it.encode()).decode()[:64],
            },
            FORBIDDEN,
        ),
    ),
    "configuration": ("vigie/v1/{box}/config/reported", Item(lambda it: {"onvif": it}, CAMERA)),
    "gzip": (
        "vigie/v1/{box}/telemetry/gzip",
        Item(lambda it: gzip.compress(json.dumps(sample(recording=it)).encode()), FORBIDDEN),
    ),
    "gzip that was not declared": (
        "vigie/v1/{box}/telemetry",
        Item(lambda it: gzip.compress(json.dumps(sample(recording=it)).encode()), FORBIDDEN),
    ),
    "CBOR": ("vigie/v1/{box}/telemetry/cbor", Item(lambda it: cbor2.dumps(sample(face=it)), FORBIDDEN)),
    "CBOR with bytes": (
        "vigie/v1/{box}/telemetry/cbor",
        Item(lambda it: cbor2.dumps(sample(x=b"\xff\xd8\xff\xe0" + it.encode())), FORBIDDEN),
    ),
    "SenML": (
        "vigie/v1/{box}/telemetry/senml",
        Item(lambda it: [{"n": "pm1", "v": 1}, {"n": f"plate_{it}", "v": 1}], FORBIDDEN),
    ),
    "SenML with data": (
        "vigie/v1/{box}/telemetry/senml",
        Item(lambda it: [{"n": "pm1", "vd": media(it)}], FORBIDDEN),
    ),
    "ChirpStack": (
        "application/1/device/{box}/event/up",
        Item(lambda it: {"time": TIME, "data": media(it), "object": {"x": 1}}, FORBIDDEN),
    ),
    "media": ("vigie/v1/{box}/telemetry", Item(lambda it: b"\x89PNG\r\n\x1a\n" + it.encode(), FORBIDDEN)),
    "a topic": ("vigie/v1/{box}/telemetry/camera", Item(lambda it: {"x": it}, CAMERA)),
}


class Canaries:
    """Texts that must be found nowhere, by what they were sent in."""

    def __init__(self) -> None:
        self.made: dict[str, str] = {}

    def new(self, what: str) -> str:
        """One more: with few changes between letters and digits, so that it does not itself look encoded."""
        while True:
            canary = "canary" + secrets.token_hex(8).translate(str.maketrans("0123456789", "ghijklmnop"))
            runs = (base64.b64encode(b"\0" * shift + canary.encode()).decode() for shift in range(3))
            if not any(_CAMERAS.search(run) for run in runs):
                self.made[what] = canary
                return canary

    def found_in(self, text: str) -> list[str]:
        text = text.lower()
        return [what for what, canary in self.made.items() if any(form in text for form in _forms(canary))]


def _forms(canary: str) -> set[str]:
    """As it is, in hexadecimal digits, and in base64 wherever in a run it may begin."""
    raw = canary.encode()
    encoded = (base64.b64encode(b"\0" * shift + raw).decode()[4:-4] for shift in range(3))
    return {canary, raw.hex(), *(each.lower() for each in encoded)}


def as_bytes(made: object) -> bytes:
    return made if isinstance(made, bytes) else (made if isinstance(made, str) else json.dumps(made)).encode()


async def everything(database: Database) -> AsyncIterator[tuple[str, str]]:
    """Each value of each column of each table, as text."""
    connection = await database.connect()
    try:
        for schema, table, column, is_bytes in await connection.fetch(_TABLES):
            name = f'"{column}"'
            # Bytes as they are and, where they are a text, as that.
            what = f"encode({name}, 'escape') || encode({name}, 'hex')" if is_bytes else f"{name}::text"
            wanted = f'SELECT {what} FROM ONLY "{schema}"."{table}" WHERE {name} IS NOT NULL'  # noqa: S608
            rows = await connection.fetch(wanted)
            for (value,) in rows:
                yield f"{schema}.{table}.{column}", value
    finally:
        await connection.close()


async def counts(connection: asyncpg.Connection) -> Counter[tuple[str, str]]:
    rows = await connection.fetch("SELECT door, code, sum(refused)::int FROM door_refusals GROUP BY 1, 2")
    return Counter({(door, code): number for door, code, number in rows})


@pytest.fixture
async def box(tenant: Tenant, site_id: str) -> str:
    made = await tenant.client.post("/v1/boxes", json={"id": "canary-cage", "site_id": site_id})
    made.raise_for_status()
    return "canary-cage"


async def _by_mqtt(broker: PrivateMosquitto, box: str, canaries: Canaries) -> Counter[str]:
    """Publish each item, as a gateway may for any box."""
    sent: Counter[str] = Counter()
    items = {
        **{name: (f"vigie/v1/{box}/telemetry", item) for name, item in (SAMPLES | BROKEN).items()},
        **{name: (f"vigie/v1/{box}/event", item) for name, item in EVENTS.items()},
        **TOPICS,
    }
    async with aiomqtt.Client(
        broker.host, broker.port, username="gateway", password=ACCOUNTS["gateway"], identifier="canaries"
    ) as client:
        for name, (topic, item) in items.items():
            payload = as_bytes(item.make(canaries.new(f"mqtt: {name}")))
            retained = topic.endswith("/status")
            await client.publish(topic.format(box=box), payload, qos=1, retain=retained)
            if retained:
                await client.publish(topic.format(box=box), b"", qos=1, retain=True)
            sent[item.code] += 1
    return sent


async def _by_http(client: httpx.AsyncClient, box: str, canaries: Canaries) -> Counter[str]:
    """Send each item as the one sample or event of a body, and in other forms."""
    sent: Counter[str] = Counter()
    bodies: list[tuple[str, str, str, bytes, dict[str, str]]] = []
    plain = {"content-type": "application/json"}
    for name, item in SAMPLES.items():
        one = {"box": box, "samples": [item.make(canaries.new(f"http: {name}"))]}
        bodies.append((name, item.code, "/v1/telemetry", json.dumps(one).encode(), plain))
    for name, item in BROKEN.items():
        text = f'{{"box": "{box}", "samples": [{item.make(canaries.new(f"http: {name}"))}'
        bodies.append((name, item.code, "/v1/telemetry", text.encode(), plain))
    for name, item in EVENTS.items():
        one = {"box": box, "events": [item.make(canaries.new(f"http: {name}"))]}
        bodies.append((name, item.code, "/v1/events", json.dumps(one).encode(), plain))
    packed = {"box": box, "samples": [sample(speech=canaries.new("http: gzip"))]}
    compressed = plain | {"content-encoding": "gzip"}
    bodies.append(
        ("gzip", FORBIDDEN, "/v1/telemetry", gzip.compress(json.dumps(packed).encode()), compressed)
    )
    cbor = {"box": box, "samples": [sample(gait=canaries.new("http: CBOR"))]}
    bodies.append(
        ("CBOR", FORBIDDEN, "/v1/telemetry", cbor2.dumps(cbor), {"content-type": "application/cbor"})
    )
    beside = {"box": box, "samples": [], "camera": canaries.new("http: beside")}
    bodies.append(("beside", CAMERA, "/v1/telemetry", json.dumps(beside).encode(), plain))
    for name, code, path, body, headers in bodies:
        answer = await client.post(path, content=body, headers=headers)
        assert answer.json()["code"] == code, (name, answer.text)
        sent[code] += 1
    return sent


async def _by_rest(client: httpx.AsyncClient, box: str, site_id: str, canaries: Canaries) -> Counter[str]:
    """Write each as a name, a text, an attribute, a configuration."""
    sent: Counter[str] = Counter()
    rule = {"metric": "pm1", "operator": ">", "threshold": 1}
    for method, path, code, body in (
        ("PATCH", f"/v1/sites/{site_id}", CAMERA, {"attributes": {"camera_id": canaries.new("site")}}),
        ("PATCH", f"/v1/boxes/{box}", CAMERA, {"attributes": {"near_cctv": canaries.new("box")}}),
        ("PATCH", f"/v1/boxes/{box}", FORBIDDEN, {"name": media(canaries.new("name"))}),
        ("PUT", f"/v1/boxes/{box}/config", CAMERA, {"vms": {"host": canaries.new("configuration")}}),
        ("PUT", f"/v1/boxes/{box}/config", FORBIDDEN, {"note": media(canaries.new("configuration's text"))}),
        (
            "POST",
            "/v1/rules",
            FORBIDDEN,
            {
                "site_id": site_id,
                "name": "x",
                "severity": "info",
                "description": media(canaries.new("rule")),
                "condition": rule,
            },
        ),
    ):
        answer = await client.request(method, path, json=body)
        assert (answer.status_code, answer.json()["code"]) == (422, code), (path, answer.text)
        assert "canary" not in answer.text
        sent[code] += 1
    return sent


async def test_what_must_never_enter_is_found_nowhere(  # noqa: PLR0917 (one for each real part)
    tenant: Tenant,
    site_id: str,
    box: str,
    database: Database,
    postgres: PrivatePostgres,
    mosquitto: PrivateMosquitto,
    tmp_path: Path,
) -> None:
    canaries = Canaries()
    connection = await database.connect()
    await connection.execute(
        "UPDATE site_purposes SET ends_at = now() - interval '1 hour' WHERE purpose = 'odour'"
    )
    headers = {"authorization": f"Bearer {tenant.key}"}
    async with AsyncExitStack() as parts:
        await parts.enter_async_context(consuming(database, tmp_path))
        url = await parts.enter_async_context(serving(tmp_path))
        async with httpx.AsyncClient(base_url=url, headers=headers, timeout=30) as client:
            expected: Counter[tuple[str, str]] = Counter()
            for door, sent in (
                ("mqtt", await _by_mqtt(mosquitto, box, canaries)),
                ("http", await _by_http(client, box, canaries)),
                ("rest", await _by_rest(client, box, site_id, canaries)),
            ):
                expected.update({(door, code): number for code, number in sent.items()})
            ended = {"box": box, "samples": [{"time": TIME, "values": {"odour": 7.654321}}]}
            answer = await client.post("/v1/telemetry", json=ended)
            assert answer.json()["code"] == "purpose_ended"
            expected["http", "purpose_ended"] += 1

            async def all_counted() -> bool:
                return (await counts(connection)).total() >= expected.total()

            with suppress(TimeoutError):
                await until(all_counted, patience_s=60)
            assert await counts(connection) == expected, "each once"
            shown = (await client.get("/v1/refusals")).raise_for_status().json()
    assert shown["total"] == expected.total()
    assert {(row["door"], row["code"], row["site_id"]) for row in shown["data"]} >= {
        ("mqtt", FORBIDDEN, site_id),
        ("rest", CAMERA, site_id),
    }
    # An empty message takes a retained one away, and is no status.
    assert [
        tuple(row) for row in await connection.fetch("SELECT DISTINCT code, payload FROM quarantine")
    ] == [("empty_body", b"")]
    assert await connection.fetchval("SELECT count(*) FROM samples WHERE odour IS NOT NULL") == 0
    await connection.close()
    places = [
        (where, canaries.found_in(text))
        async for where, text in everything(database)
        if canaries.found_in(text)
    ]
    logs = [tmp_path / "api.log", tmp_path / "ingest.log", postgres.log, mosquitto.log]
    places += [
        (str(log), found) for log in logs if (found := canaries.found_in(log.read_text(errors="replace")))
    ]
    assert places == []


def test_a_canary_is_found_in_each_of_its_forms() -> None:
    canaries = Canaries()
    canary = canaries.new("x")
    for shift in range(3):
        run = base64.b64encode(b"J" * shift + canary.encode() + b"tail").decode()
        assert canaries.found_in(f"... {run} ...") == ["x"]
    for form in (canary, canary.upper(), canary.encode().hex(), f"\\x{canary.encode().hex()}"):
        assert canaries.found_in(f"... {form} ...") == ["x"]
    assert canaries.found_in("nothing") == []
