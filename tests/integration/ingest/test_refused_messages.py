"""A box that keeps its samples until they are acknowledged gets rid of each, whatever is wrong with it.

The reference box, a real broker, the ingest role as a process, with each of the sources; then what a single
message is answered with.
"""

import asyncio
import base64
import gzip
import hashlib
import json
import math
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiomqtt
import asyncpg
import cbor2
import pytest
from jsonschema import Draft7Validator
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from app.settings import VigieSettings
from app.standalone.private_mosquitto import PrivateMosquitto
from simulators.reference_box import ReferenceBox, SamplePayload, SampleQueue, encode_samples
from tests.conftest import Tenant
from tests.scenarios.processes import role, until
from tools import asyncapi

BOX = "keeps-all"
DOCUMENT = asyncapi.load_document()
ACK = Draft7Validator(asyncapi.resolve_references(DOCUMENT, DOCUMENT["components"]["schemas"]["ack"]))
SOURCES = {
    "mqtt5": {"VIGIE_INGEST__SOURCE": "mqtt5"},
    "aiomqtt": {"VIGIE_INGEST__SOURCE": "aiomqtt"},
    "aiomqtt-3.1.1": {"VIGIE_INGEST__SOURCE": "aiomqtt", "VIGIE_INGEST__PROTOCOL": "3.1.1"},
}


def sample(seq: int, value: float = 12.5) -> SamplePayload:
    time = f"2026-11-24T{seq // 3_600 % 24:02d}:{seq // 60 % 60:02d}:{seq % 60:02d}Z"
    return {"seq": seq, "time": time, "values": {"co2": value}}


@dataclass
class Speaker:
    """A registered box on the broker, and what it was told.

    Attributes:
        acks: what came on its `ack` topic.
        receive: is given the same.
    """

    client: aiomqtt.Client
    database: asyncpg.Connection
    acks: list[dict[str, Any]] = field(default_factory=list)
    receive: Callable[[str, bytes], None] | None = None

    async def read(self) -> None:
        async for message in self.client.messages:
            assert isinstance(message.payload, bytes)
            self.acks.append(json.loads(message.payload))
            assert list(ACK.iter_errors(self.acks[-1])) == []
            if self.receive is not None:
                self.receive(message.topic.value, message.payload)

    async def send(
        self, kind: str, payload: bytes, properties: Properties | None = None
    ) -> list[dict[str, Any]]:
        """Publish, and wait for the answer: all that came until a good sample, sent after it, was named."""
        await self.client.publish(f"vigie/v1/{BOX}/{kind}", payload, qos=1, properties=properties)
        last = sample(80_000 + len(self.acks))
        await self.client.publish(f"vigie/v1/{BOX}/telemetry", json.dumps(last), qos=1)

        async def named() -> bool:
            return any(last["seq"] in ack.get("seqs", []) for ack in self.acks)

        await until(named)
        answer = [ack for ack in self.acks if ack != {"seqs": [last["seq"]]}]
        for ack in answer:
            ack["seqs"] = [seq for seq in ack.get("seqs", []) if seq != last["seq"]]
        self.acks.clear()
        return [{name: found for name, found in ack.items() if found} for ack in answer]


@dataclass(frozen=True)
class Surroundings:
    """What a box and the ingest role need."""

    tenant: Tenant
    site_id: str
    mosquitto: PrivateMosquitto
    settings: VigieSettings
    folder: Path


@pytest.fixture
def around(
    tenant: Tenant, site_id: str, mosquitto: PrivateMosquitto, settings: VigieSettings, tmp_path: Path
) -> Surroundings:
    return Surroundings(tenant, site_id, mosquitto, settings, tmp_path)


@asynccontextmanager
async def speaking(
    around: Surroundings, source: str = "mqtt5", *, ack: bool = True
) -> AsyncIterator[Speaker]:
    """A box, registered and connected, beside the ingest role."""
    body = {"id": BOX, "site_id": around.site_id, "ack": ack}
    made = (await around.tenant.client.post("/v1/boxes", json=body)).raise_for_status().json()
    connection = await asyncpg.connect(around.settings.database.url)
    client = aiomqtt.Client(
        around.mosquitto.host,
        around.mosquitto.port,
        username=BOX,
        password=made["credentials"]["password"],
        identifier=BOX,
        protocol=aiomqtt.ProtocolVersion.V5,
    )
    try:
        async with client, role("ingest", around.folder, **SOURCES[source]):
            await client.subscribe(f"vigie/v1/{BOX}/ack", qos=1)
            speaker = Speaker(client, connection)
            reading = asyncio.create_task(speaker.read())

            async def consuming() -> bool:
                query = "SELECT count(*) FROM heartbeats WHERE role = 'ingest' AND state = 'consuming'"
                return bool(await connection.fetchval(query))

            await until(consuming)
            try:
                yield speaker
                assert not reading.done() or reading.result() is None
            finally:
                reading.cancel()
            # It would be the next test's.
            await client.publish(f"vigie/v1/{BOX}/telemetry", b"", qos=1, retain=True)
    finally:
        await connection.close()


def _once(fault: Callable[[bytes], bytes]) -> Callable[[Sequence[SamplePayload]], bytes]:
    """Damage messages of more than one sample."""

    def encode(samples: Sequence[SamplePayload]) -> bytes:
        payload = encode_samples(samples)
        return fault(payload) if len(samples) > 1 else payload

    return encode


def _always(fault: Callable[[bytes], bytes]) -> Callable[[Sequence[SamplePayload]], bytes]:
    return lambda samples: fault(encode_samples(samples))


@dataclass(frozen=True)
class Case:
    """A fault of a box: how many samples it has, which of them is NaN, and how it writes its messages."""

    name: str
    samples: int = 60
    nan: int | None = None
    encode: Callable[[Sequence[SamplePayload]], bytes] = encode_samples
    retain: bool = False
    given_up: dict[str, int] = field(default_factory=dict)
    messages: int | None = None


CASES = [
    Case("nothing", messages=1),
    Case("one NaN", nan=17, given_up={"invalid_json": 1}, messages=1),
    Case("1,001 samples", samples=1_001, messages=2),
    Case("cut short, once", encode=_once(lambda payload: payload[:-200])),
    Case("cut by a buffer of 2,000 bytes", encode=_always(lambda payload: payload[:2_000])),
    Case("empty, once", samples=5, encode=_once(lambda _: b"")),
    Case("always empty", samples=5, encode=_always(lambda _: b""), given_up={"empty_body": 5}),
    Case(
        "undeclared CBOR",
        samples=5,
        encode=_always(lambda payload: cbor2.dumps(json.loads(payload))),
        given_up={"unsupported_media_type": 5},
    ),
    Case("retained", samples=5, retain=True, given_up={"retained_message": 5}),
    Case(
        "invalid UTF-8",
        encode=_always(lambda payload: payload.replace(b'"seq": 9,', b'"seq": 9, "\xff": 1,')),
    ),
    Case("a trailing comma", encode=_always(lambda payload: payload.replace(b"]}", b",]}"))),
    Case("a quote that is missing", encode=_once(lambda payload: payload.replace(b'9, "time"', b'9, "time'))),
]


async def _run_case(speaker: Speaker, folder: Path, case: Case, first: int) -> None:
    async def publish(payload: bytes) -> None:
        await speaker.client.publish(f"vigie/v1/{BOX}/telemetry", payload, qos=1, retain=case.retain)

    queue = SampleQueue(folder / str(first))
    # Longer than the case may take: whatever is not answered would be seen.
    box = ReferenceBox(queue, publish, batch=case.samples, patience_s=60.0, encode=case.encode)
    speaker.receive = box.receive
    seqs = range(first, first + case.samples)
    for seq in seqs:
        box.add(sample(seq, math.nan if seq - first == case.nan else 12.5))
    running = asyncio.create_task(box.run())
    try:
        async with asyncio.timeout(60):
            await box.drain()
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
    lines = queue.dead_letters.read_text().splitlines() if queue.dead_letters.exists() else []
    codes = [json.loads(line)["code"] for line in lines]
    queue.close()
    query = "SELECT count(*) FROM samples WHERE seq >= $1 AND seq < $2"
    stored = await speaker.database.fetchval(query, seqs.start, seqs.stop)
    assert {code: codes.count(code) for code in codes} == case.given_up, case.name
    assert stored == case.samples - len(codes), case.name
    assert case.messages in {None, box.messages}, case.name


@pytest.mark.parametrize("source", SOURCES)
async def test_the_reference_box_is_rid_of_all_its_samples(source: str, around: Surroundings) -> None:
    """Stored, or given up with a code; and each sample that could be stored is."""
    async with speaking(around, source) as speaker:
        for number, case in enumerate(CASES):
            if case.retain and source == "aiomqtt-3.1.1":
                continue  # MQTT 3.1.1 tells of a retained message only to who subscribes after it
            await _run_case(speaker, around.folder, case, 2_000 * number)


def refused(payload: bytes, code: str, **more: object) -> dict[str, Any]:
    digest = hashlib.sha256(payload).hexdigest()
    return {"code": code, "size": len(payload), "sha256": digest, **more}


@pytest.mark.parametrize("source", SOURCES)
async def test_what_no_seq_names_is_answered_by_size_and_digest(source: str, around: Surroundings) -> None:
    without = {key: value for key, value in sample(3).items() if key != "seq"}
    unnamed = json.dumps({"samples": [sample(1), {**without, "values": {"warp": 1}}, sample(2)]}).encode()
    event = {"time": "2026-11-24T10:00:00Z", "type": "alarm", "level_db": 500}
    bad_gzip = gzip.compress(b"{}")[:-4]
    audio = json.dumps({"seq": 5, "time": "2026-11-24T10:00:00Z", "audio": "UklGR" * 40}).encode()
    secret = json.dumps({"samples": [{"audio": "UklGR" * 40}]}).encode()
    cases: list[tuple[str, bytes, dict[str, Any]]] = [
        ("telemetry", b"", {"refused": [refused(b"", "empty_body")]}),
        ("telemetry", b"[1]", {"refused": [refused(b"[1]", "wrong_type")]}),
        (
            "telemetry",
            unnamed,
            {"seqs": [1, 2], "refused": [refused(unnamed, "unknown_metric", indexes=[1])]},
        ),
        ("telemetry/gzip", bad_gzip, {"refused": [refused(bad_gzip, "invalid_gzip")]}),
        ("telemetry/cbor", b"\xa1", {"refused": [refused(b"\xa1", "invalid_cbor")]}),
        ("status", b'{"state": 1}', {"refused": [refused(b'{"state": 1}', "wrong_type")]}),
        ("config/reported", b"[]", {"refused": [refused(b"[]", "wrong_type")]}),
        ("event", b"{", {"refused": [refused(b"{", "invalid_json")]}),
        (
            "event",
            json.dumps({"seq": 4, **event}).encode(),
            {"rejected": [{"seq": 4, "code": "value_out_of_bounds", "kind": "event"}]},
        ),
        (
            "event",
            json.dumps(event).encode(),
            {"refused": [refused(json.dumps(event).encode(), "value_out_of_bounds")]},
        ),
        ("telemetry", audio, {"rejected": [{"seq": 5, "code": "forbidden_content"}]}),
        ("telemetry", secret, {"refused": [refused(secret, "forbidden_content", indexes=[0])]}),
    ]
    async with speaking(around, source) as speaker:
        for kind, payload, expected in cases:
            assert await speaker.send(kind, payload) == [expected], (kind, payload[:60])
        properties = Properties(PacketTypes.PUBLISH)  # type: ignore[no-untyped-call] # paho's is untyped
        data = b"\x00message-17"
        setattr(properties, "CorrelationData", data)  # noqa: B010 (paho's class makes its attributes as it runs)
        answer = await speaker.send("telemetry", b"{", properties=properties)
        correlation = base64.b64encode(data).decode()
        more = {} if source == "aiomqtt-3.1.1" else {"correlation_data": correlation}
        assert answer == [{"refused": [refused(b"{", "invalid_json", **more)]}]
        # What must never enter is kept nowhere, its digest neither.
        kept = await speaker.database.fetch("SELECT code, payload FROM quarantine")
        assert "forbidden_content" not in {code for code, _ in kept}


async def test_a_box_that_does_not_ask_is_told_nothing(around: Surroundings) -> None:
    async with speaking(around, ack=False) as speaker:
        for payload in (b"", b"{", json.dumps({"samples": [sample(1), {"seq": 2}]}).encode()):
            await speaker.client.publish(f"vigie/v1/{BOX}/telemetry", payload, qos=1)

        async def all_there() -> bool:
            query = "SELECT count(*) FROM quarantine WHERE box = $1"
            return bool(await speaker.database.fetchval(query, BOX) == 3)

        await until(all_there)
        await asyncio.sleep(0.3)
        assert speaker.acks == []


async def test_a_box_that_only_sends_what_is_refused_is_shown_as_refused(around: Surroundings) -> None:
    async with speaking(around) as speaker:
        path = f"/v1/boxes/{BOX}"
        assert (await around.tenant.client.get(path)).json()["activity"] == "active"
        await speaker.client.publish(f"vigie/v1/{BOX}/telemetry", b"{", qos=1)

        async def is_refused() -> bool:
            shown = (await around.tenant.client.get(path)).json()
            return (shown["activity"], shown["last_refused_code"]) == ("refused", "invalid_json")

        await until(is_refused)
        await speaker.client.publish(f"vigie/v1/{BOX}/telemetry", json.dumps(sample(1)), qos=1)

        async def is_active() -> bool:
            return bool((await around.tenant.client.get(path)).json()["activity"] == "active")

        await until(is_active)
