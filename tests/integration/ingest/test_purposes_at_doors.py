"""Data of purposes that a site has not declared, or whose purposes have ended: refused at both doors alike.

And nothing of them is anywhere: each test greps all tables for a canary.
"""

import asyncio
import json
import logging
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import asyncpg
import httpx
import pytest

from app.ingest.codec.batch_decoder import decode_batch
from app.ingest.pipeline.batch_pipeline import IngestPipeline
from app.ingest.pipeline.batch_receipt import BatchReceipt
from app.ingest.pipeline.registry_snapshot import RegistryCache
from app.platform.db.database import Database
from tests.conftest import Tenant
from tests.purposes import approve

CANARY = "canary-3e1f"
LOUD = 77.125
"""A level that is nowhere else."""
BOX = "box-0001"


class Doors:
    """Both doors of one box, and the owner's eye on all tables."""

    def __init__(self, owner: asyncpg.Connection, client: httpx.AsyncClient, site_id: str) -> None:
        self.owner = owner
        self.client = client
        self.site_id = site_id
        self.pipeline = IngestPipeline(RegistryCache(), is_consumer=True)

    async def mqtt(self, kind: str, *bodies: dict[str, Any], now: datetime | None = None) -> BatchReceipt:
        now = datetime.now(UTC) if now is None else now
        intake = decode_batch(
            [f"vigie/v1/{BOX}/{kind}"] * len(bodies),
            [json.dumps(body).encode() for body in bodies],
            now_us=round(now.timestamp() * 1_000_000),
            max_future_us=600_000_000,
        )
        return await self.pipeline.commit(self.owner, intake, now=now)

    async def http(self, kind: str, *bodies: dict[str, Any]) -> httpx.Response:
        return await self.client.post(f"/v1/{kind}", json={"box": BOX, _LISTS[kind]: list(bodies)})

    async def end(self, purpose: str) -> None:
        answer = await self.client.post(f"/v1/sites/{self.site_id}/purposes/{purpose}/end", json={})
        assert answer.status_code == 200, answer.text

    async def refusals(self) -> dict[tuple[str, str, str | None], int]:
        rows = await self.owner.fetch("SELECT door, code, purpose, refused FROM door_refusals")
        return {(row["door"], row["code"], row["purpose"]): row["refused"] for row in rows}

    async def holding(self, *traces: str) -> list[str]:
        """The tables that hold a trace, in any column, written out or in bytes."""
        tables = await self.owner.fetch(
            "SELECT c.oid::regclass::text FROM pg_class c JOIN pg_namespace n ON n.oid = relnamespace"
            " WHERE relkind IN ('r', 'p') AND (nspname = 'public' OR relname LIKE '\\_hyper%')"
        )
        found = []
        for (table,) in tables:
            for trace in traces:
                shown = f"position($1 IN t::text) > 0 OR position('{trace.encode().hex()}' IN t::text) > 0"
                if await self.owner.fetchval(f"SELECT EXISTS (SELECT FROM {table} t WHERE {shown})", trace):  # noqa: S608
                    found.append(table)
        return found


_MOST = 10_000
_LISTS = {"telemetry": "samples", "events": "events"}


@pytest.fixture
async def doors(database: Database, tenant: Tenant, site_id: str) -> AsyncIterator[Doors]:
    body = {"id": BOX, "site_id": site_id, "ack": True}
    (await tenant.client.post("/v1/boxes", json=body)).raise_for_status()
    owner = await database.connect()
    yield Doors(owner, tenant.client, site_id)
    await owner.close()


def at(seconds: float = -60) -> str:
    return (datetime.now(UTC) + timedelta(seconds=seconds)).isoformat()


def shot(**more: Any) -> dict[str, Any]:  # noqa: ANN401 (fields of an event)
    candidates = [{"class": CANARY, "confidence": 0.9}]
    return {"seq": 7, "time": at(), "type": "gunshot", "candidates": candidates} | more


async def prepare(doors: Doors, case: str) -> None:
    now = datetime.now(UTC)
    year = timedelta(days=365)
    fields: dict[str, dict[str, Any]] = {
        "not approved": {"approved_by": None, "approved_at": None},
        "begins later": {"starts_at": now + year, "ends_at": now + 2 * year},
        "began after it was heard": {"starts_at": now - timedelta(seconds=30)},
        "ended": {"ends_at": now - timedelta(seconds=1)},
    }
    if case != "no row":
        await approve(doors.owner, doors.site_id, **fields[case])


CASES = [
    ("no row", "purpose_not_declared"),
    ("not approved", "purpose_not_approved"),
    ("begins later", "purpose_not_declared"),
    ("began after it was heard", "purpose_not_declared"),
    ("ended", "purpose_ended"),
]


@pytest.mark.parametrize(("case", "code"), CASES)
async def test_an_event_without_a_basis_is_refused_by_mqtt(
    doors: Doors, caplog: pytest.LogCaptureFixture, case: str, code: str
) -> None:
    await prepare(doors, case)
    with caplog.at_level(logging.DEBUG):
        receipt = await doors.mqtt("event", shot(), shot(type="tamper", candidates=[]) | {"seq": 8})
    assert receipt.new_events == []
    assert {refusal.rejection.code for refusal in receipt.rejections} == {code, "unknown_field"}
    assert {"seq": 7, "code": code, "kind": "event"} in receipt.acks[BOX].payload()["rejected"]
    assert await doors.refusals() == {("mqtt", code, "acoustic_safety"): 1}
    assert await doors.holding(CANARY) == []
    assert CANARY not in caplog.text


@pytest.mark.parametrize(("case", "code"), CASES)
async def test_an_event_without_a_basis_is_refused_by_http(doors: Doors, case: str, code: str) -> None:
    await prepare(doors, case)
    answer = await doors.http("events", shot())
    assert (answer.status_code, answer.json()["code"]) == (403, code)
    (reason,) = answer.json()["reasons"]
    assert (reason["index"], reason["seq"], reason["purpose"]) == (0, 7, "acoustic_safety")
    assert CANARY not in answer.text
    assert await doors.refusals() == {("http", code, "acoustic_safety"): 1}
    assert await doors.holding(CANARY) == []


async def test_approved_events_come_in_by_both_doors_with_all_that_they_carry(doors: Doors) -> None:
    await approve(doors.owner, doors.site_id)
    await approve(doors.owner, doors.site_id, "video_analytics")
    spectrum = {"500": 96.5, "1000": 101.25}
    first = await doors.mqtt("event", shot(spectrum=spectrum))
    assert (first.new_events, first.rejections) == (["gunshot"], [])
    events: list[dict[str, Any]] = [
        {"time": at(-50), "type": "crowd", "count": 41},
        {"time": at(-40), "type": "smoke", "state": "begin"},
        shot(time=at(-30)) | {"loudness": CANARY},
    ]
    answer = await doors.http("events", *events)
    assert answer.status_code == 200
    counts = {name: answer.json()[name] for name in ("stored", "duplicate", "conflict", "rejected")}
    assert counts == {"stored": 2, "duplicate": 0, "conflict": 0, "rejected": 1}
    (reason,) = answer.json()["reasons"]
    assert (reason["index"], reason["code"]) == (2, "unknown_field")
    again = (await doors.http("events", *events[:2])).json()
    assert (again["stored"], again["duplicate"]) == (0, 2)
    shown = (await doors.client.get("/v1/events")).json()["data"]
    told = {each["type"]: (each["spectrum"], each["count"], each["state"]) for each in shown}
    assert told == {
        "gunshot": (spectrum, None, None),
        "crowd": (None, 41, None),
        "smoke": (None, None, "begin"),
    }


async def test_an_event_with_a_fault_has_no_more_basis_than_another(doors: Doors) -> None:
    faulty = shot(loudness=CANARY)
    receipt = await doors.mqtt("event", faulty)
    assert [refusal.rejection.code for refusal in receipt.rejections] == ["purpose_not_declared"]
    answer = await doors.http("events", faulty)
    assert answer.json()["code"] == "purpose_not_declared"
    # Of what is not even known to be of a type, the reason is kept, and nothing that came.
    await doors.mqtt("event", {"time": at(), "note": CANARY})
    await doors.http("events", {"time": at(), "note": CANARY})
    (await doors.client.post("/v1/events", content=f'{{"{CANARY}": 1'.encode()))
    rows = await doors.owner.fetch("SELECT code, length(payload) AS kept, detail FROM quarantine")
    assert {row["kept"] for row in rows} == {0}
    assert "missing_field" in {row["code"] for row in rows}
    assert await doors.holding(CANARY) == []


async def test_a_gunshot_of_a_box_that_nobody_registered_is_not_kept_for_later(doors: Doors) -> None:
    (await doors.client.delete(f"/v1/boxes/{BOX}")).raise_for_status()
    receipt = await doors.mqtt("event", shot())
    assert [refusal.rejection.code for refusal in receipt.rejections] == ["unknown_box"]
    assert await doors.owner.fetchval("SELECT sum(length(payload)) FROM quarantine") == 0
    assert await doors.holding(CANARY) == []


async def test_values_of_an_ended_purpose_are_taken_out_and_the_rest_is_stored(doors: Doors) -> None:
    await doors.end("noise")
    samples: list[dict[str, Any]] = [
        {"seq": 1, "time": at(-50), "values": {"pm2_5": 4.5, "laeq": LOUD}},
        {"seq": 2, "time": at(-40), "values": {"laeq": LOUD, "la10": LOUD}},
        {"seq": 3, "time": at(-30), "values": {"pm2_5": 5.5}},
        {"seq": 4, "time": at(-20), "values": {"pm2_5": -1, "laeq": LOUD}},
    ]
    receipt = await doors.mqtt("telemetry", *samples)
    assert (receipt.stored, sorted(each.rejection.code for each in receipt.rejections)) == (
        2,
        ["purpose_ended", "value_out_of_bounds"],
    )
    told = receipt.acks[BOX].payload()
    assert told["seqs"] == [1, 3]
    assert told["partly"] == [{"seq": 1, "code": "purpose_ended", "purpose": "noise"}]
    assert {"seq": 2, "code": "purpose_ended"} in told["rejected"]
    again = (await doors.http("telemetry", *samples)).json()
    assert [again[name] for name in ("stored", "duplicate", "conflict", "rejected")] == [0, 2, 0, 2]
    reasons = {(each["index"], each["code"], each["purpose"], each["partly"]) for each in again["reasons"]}
    assert reasons == {
        (0, "purpose_ended", "noise", True),
        (1, "purpose_ended", "noise", False),
        (3, "value_out_of_bounds", None, False),
    }
    assert await doors.refusals() == {
        ("mqtt", "purpose_ended", "noise"): 2,
        ("http", "purpose_ended", "noise"): 2,
    }
    latest = (await doors.client.get(f"/v1/boxes/{BOX}/latest")).json()
    assert latest["values"] == {"pm2_5": 5.5}
    assert await doors.holding(str(LOUD)) == []


async def test_a_status_says_nothing_of_equipment_that_has_ended(doors: Doors) -> None:
    await doors.end("equipment")
    await doors.mqtt("status", {"state": "online", "battery": 61.5, "rssi": -61.5})
    shown = (await doors.client.get(f"/v1/boxes/{BOX}")).json()
    assert (shown["state"], shown["battery"], shown["rssi"]) == ("online", None, None)
    assert await doors.refusals() == {("mqtt", "purpose_ended", "equipment"): 1}


async def test_a_purpose_that_ends_while_the_process_runs_is_refused_from_that_instant(doors: Doors) -> None:
    now = datetime.now(UTC)
    ends = now + timedelta(hours=1)
    answer = await doors.client.post(
        f"/v1/sites/{doors.site_id}/purposes/noise/end", json={"at": ends.isoformat()}
    )
    assert answer.json()["state"] == "active"
    for second, stored in ((-1, 1), (0, 0), (1, 0)):
        when = ends + timedelta(seconds=second)
        sample = {"time": (when - timedelta(minutes=1)).isoformat(), "values": {"laeq": 50.0 + second}}
        assert (await doors.mqtt("telemetry", sample, now=when)).stored == stored


async def test_nothing_is_stored_after_the_end_is_committed(doors: Doors, database: Database) -> None:
    sent: asyncio.Queue[int] = asyncio.Queue()

    async def send() -> None:
        # Each batch came in long before the end, as far as it knows.
        early, writer, count, refused = datetime.now(UTC), await database.connect(), 0, 0
        sender = Doors(writer, doors.client, doors.site_id)
        # For as long as the end takes, and some more.
        while count < _MOST and refused < 50:
            count += 1
            sample = {"time": (early - timedelta(seconds=count)).isoformat(), "values": {"laeq": 50}}
            stored = (await sender.mqtt("telemetry", sample, now=early)).stored
            refused += not stored
            sent.put_nowait(stored)
        await writer.close()

    task = asyncio.create_task(send())
    for _ in range(5):
        assert await sent.get() == 1
    await doors.end("noise")
    stored = await doors.owner.fetchval("SELECT count(*) FROM samples")
    await task
    assert await doors.owner.fetchval("SELECT count(*) FROM samples") == stored < _MOST
    assert [sent.get_nowait() for _ in range(sent.qsize())][-1] == 0


async def test_what_replays_into_a_purpose_that_ended_loses_its_payload(doors: Doors) -> None:
    (await doors.client.delete(f"/v1/boxes/{BOX}")).raise_for_status()
    both = {"time": at(-40), "values": {"pm2_5": 4.5, "laeq": LOUD}}
    await doors.mqtt("telemetry", {"time": at(-50), "values": {"laeq": LOUD}}, both)
    body = {"id": BOX, "site_id": doors.site_id}
    (await doors.client.post("/v1/boxes", json=body)).raise_for_status()
    await doors.end("noise")
    done = (await doors.client.post("/v1/quarantine/replay", json={})).json()
    assert (done["tried"], done["replayed"], done["refused"], done["stored"]) == (2, 1, 1, 1)
    assert [reason["code"] for reason in done["reasons"]] == ["purpose_ended"]
    rows = await doors.owner.fetch("SELECT length(payload), payload_bytes FROM quarantine")
    assert [tuple(row) for row in rows] == [(0, 0), (0, 0)]
    assert await doors.holding(str(LOUD)) == []


async def test_a_quarantined_event_by_http_can_be_replayed(doors: Doors) -> None:
    (await doors.client.delete(f"/v1/boxes/{BOX}")).raise_for_status()
    answer = await doors.http("events", {"time": at(), "type": "tamper"})
    assert (answer.status_code, answer.json()["code"]) == (404, "unknown_box")
    body = {"id": BOX, "site_id": doors.site_id}
    (await doors.client.post("/v1/boxes", json=body)).raise_for_status()
    done = (await doors.client.post("/v1/quarantine/replay", json={})).json()
    assert (done["tried"], done["stored"]) == (1, 1)
    assert [each["type"] for each in (await doors.client.get("/v1/events")).json()["data"]] == ["tamper"]


async def test_an_event_on_another_topic_is_an_event_still(doors: Doors) -> None:
    await doors.end("equipment")
    wrong = shot(canary=CANARY)
    for kind in ("telemetry", "status", "elsewhere/status", "elsewhere/reported"):
        receipt = await doors.mqtt(kind, wrong)
        assert receipt.rejections, kind
    # Nor is a battery kept for a fault beside it.
    await doors.mqtt("status", {"state": "online", "battery": LOUD, "canary": 1})
    assert await doors.holding(CANARY, str(LOUD)) == []


async def test_an_event_that_is_older_than_it_may_be_kept_is_not_kept_in_the_quarantine(doors: Doors) -> None:
    await approve(doors.owner, doors.site_id)
    path = f"/v1/sites/{doors.site_id}/retention"
    body = {"purposes": {"acoustic_safety": 1}, "removes": True}
    (await doors.client.put(path, json=body)).raise_for_status()
    await approve(doors.owner, doors.site_id)
    receipt = await doors.mqtt("event", shot(time=at(-90_000)))
    assert [refusal.rejection.code for refusal in receipt.rejections] == ["time_too_old"]
    assert await doors.holding(CANARY) == []
