"""Replays of what was refused: stored once, whoever asks and however often, and never in another's box."""

import asyncio
import json
from collections.abc import AsyncIterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import asyncpg
import cbor2
import httpx
import pytest
from fastapi import FastAPI

from app.ingest.codec.batch_decoder import decode_batch
from app.ingest.http_ingest_service import HttpIngestContext
from app.ingest.pipeline.batch_pipeline import IngestPipeline
from app.ingest.pipeline.batch_receipt import BatchReceipt
from app.ingest.pipeline.registry_snapshot import RegistryCache
from app.platform.db.database import Database
from app.platform.kernel.application_resources import get_resource
from tests.conftest import Tenant

NOW = datetime.now(UTC).replace(microsecond=0)


@pytest.fixture(autouse=True)
def now(monkeypatch: pytest.MonkeyPatch) -> None:
    """Take the time anew for each test: what is half an hour ahead must be so when the test runs."""
    monkeypatch.setitem(globals(), "NOW", datetime.now(UTC).replace(microsecond=0))


class Door:
    """The broker's door, as the consumer has it."""

    def __init__(self, connection: asyncpg.Connection) -> None:
        self.connection = connection
        self.pipeline = IngestPipeline(RegistryCache(), is_consumer=True)

    async def take(
        self, *messages: tuple[str, Any], retained: Sequence[int] = (), now: datetime | None = None
    ) -> BatchReceipt:
        now = now or datetime.now(UTC)
        intake = decode_batch(
            [topic for topic, _ in messages],
            [body if isinstance(body, bytes) else json.dumps(body).encode() for _, body in messages],
            retained=retained,
            now_us=round(now.timestamp() * 1_000_000),
            max_future_us=600_000_000,
        )
        return await self.pipeline.commit(self.connection, intake, now=now)

    async def samples(self) -> list[tuple[str, int | None, float]]:
        rows = await self.connection.fetch(
            "SELECT b.id, s.seq, s.pm2_5::text::float8 FROM samples s JOIN boxes b ON b.key = s.box_key "
            "ORDER BY s.time"
        )
        return [tuple(row) for row in rows]

    async def entries(self) -> list[asyncpg.Record]:
        return await self.connection.fetch("SELECT * FROM quarantine ORDER BY id")


@pytest.fixture
async def door(database: Database) -> AsyncIterator[Door]:
    connection = await database.connect()
    yield Door(connection)
    await connection.close()


def sample(minute: float, *, seq: int | None = None, **values: float) -> dict[str, Any]:
    body: dict[str, Any] = {"time": (NOW + timedelta(minutes=minute)).isoformat(), "values": values}
    return body if seq is None else {"seq": seq, **body}


def telemetry(box: str, body: dict[str, Any] | bytes, kind: str = "telemetry") -> tuple[str, Any]:
    return f"vigie/v1/{box}/{kind}", body


async def register(tenant: Tenant, site_id: str, box: str, **more: object) -> None:
    (await tenant.client.post("/v1/boxes", json={"id": box, "site_id": site_id, **more})).raise_for_status()


async def replay(client: httpx.AsyncClient, entry: asyncpg.Record) -> httpx.Response:
    return await client.post(f"/v1/quarantine/{entry['id']}/replay")


async def replay_all(client: httpx.AsyncClient, **body: object) -> dict[str, Any]:
    answer = await client.post("/v1/quarantine/replay", json=body)
    assert answer.status_code == 200, answer.text
    summary: dict[str, Any] = answer.json()
    return summary


def counts(answer: httpx.Response) -> tuple[int, ...]:
    body = answer.json()
    return tuple(body[name] for name in ("stored", "duplicate", "conflict", "rejected", "superseded"))


async def other_site(tenant: Tenant) -> str:
    place = {"type": "Point", "coordinates": [1.0, 43.0]}
    body = {"name": "Other", "kind": "street", "timezone": "Europe/Paris", "location": place}
    identifier: str = (await tenant.client.post("/v1/sites", json=body)).raise_for_status().json()["id"]
    return identifier


async def test_a_box_registered_late_gets_what_was_sent_before(
    door: Door, tenant: Tenant, site_id: str, other_tenant: Tenant, api: httpx.AsyncClient
) -> None:
    await door.take(
        telemetry("late-1", sample(-3, seq=1, pm2_5=1)),
        telemetry("late-1", {"samples": [sample(-2, seq=2, pm2_5=2), sample(-1, seq=3, pm2_5=3)]}),
        telemetry("late-1", {"state": "online", "firmware": "1.2"}, "status"),
        telemetry("late-1", {"time": NOW.isoformat(), "type": "tamper"}, "event"),
        telemetry("late-1", {"interval": 60}, "config/reported"),
        telemetry("late-2", sample(-3, seq=9, pm2_5=9)),
    )
    assert (await replay_all(tenant.client, box="late-1"))["tried"] == 0
    await register(tenant, site_id, "late-1")
    # Not to be read, not even now; nor replayed by somebody else.
    assert (await tenant.client.get("/v1/quarantine")).json()["data"] == []
    assert (await replay_all(other_tenant.client, box="late-1"))["tried"] == 0
    done = await replay_all(tenant.client)
    assert {name: done[name] for name in ("tried", "replayed", "refused", "stored", "left", "next")} == {
        "tried": 6,
        "replayed": 6,
        "refused": 0,
        "stored": 6,
        "left": 0,
        "next": None,
    }
    assert await door.samples() == [("late-1", 1, 1), ("late-1", 2, 2), ("late-1", 3, 3)]
    box = (await tenant.client.get("/v1/boxes/late-1")).json()
    assert (box["state"], box["firmware"]) == ("online", "1.2")
    assert (await tenant.client.get("/v1/boxes/late-1/config")).json()["reported"] == {"interval": 60}
    assert len((await tenant.client.get("/v1/events")).json()["data"]) == 1
    # The marks are there, nothing was quarantined twice, and again does nothing.
    assert len(await door.entries()) == 7
    assert (await replay_all(tenant.client, box="late-1"))["tried"] == 0
    first = (await door.entries())[0]
    again = await replay(tenant.client, first)
    assert (again.status_code, again.json()["code"]) == (409, "already_replayed")
    assert again.json()["outcome"]["stored"] == 1
    assert again.json()["replayed_at"].endswith("Z")
    replayed = (await api.get("/v1/quarantine", params={"replayed": "true"})).json()["data"]
    assert {(row["box"], row["attempts"]) for row in replayed} == {("late-1", 1)}
    open_ones = (await api.get("/v1/quarantine", params={"replayed": "false"})).json()["data"]
    assert [row["box"] for row in open_ones] == ["late-2"]


async def test_an_id_that_was_anothers_leads_to_nobodys_old_messages(
    door: Door, tenant: Tenant, site_id: str, other_tenant: Tenant, api: httpx.AsyncClient
) -> None:
    theirs = await other_site(other_tenant)
    await register(other_tenant, theirs, "passed-on")
    await other_tenant.client.delete("/v1/boxes/passed-on")
    # The box itself still stands in the other's street.
    await door.take(telemetry("passed-on", sample(-1, pm2_5=5)))
    await register(tenant, site_id, "passed-on")
    assert (await replay_all(tenant.client, box="passed-on"))["tried"] == 0
    (entry,) = await door.entries()
    assert (await replay(tenant.client, entry)).status_code == 404
    assert (await replay(other_tenant.client, entry)).status_code == 404
    assert await door.samples() == []
    # Who administers the platform decides; the former owner's own box may come back to it as well.
    assert counts(await replay(api, entry)) == (1, 0, 0, 0, 0)


async def test_what_a_client_was_refused_never_reaches_anothers_box(
    door: Door, tenant: Tenant, site_id: str, other_tenant: Tenant, api: httpx.AsyncClient
) -> None:
    await register(tenant, site_id, "mine")
    body = {"box": "mine", "samples": [sample(-1, pm2_5=66)]}
    assert (await other_tenant.client.post("/v1/telemetry", json=body)).status_code == 404
    (entry,) = await door.entries()
    for client in (other_tenant.client, api):
        answer = await replay(client, entry)
        assert (answer.status_code, answer.json()["code"]) == (404, "unknown_box")
    assert (await replay(tenant.client, entry)).status_code == 404
    # Nor by the broker's door, when the id has changed hands since.
    await door.take(telemetry("mine", sample(-2, pm2_5=70_000)))
    await tenant.client.delete("/v1/boxes/mine")
    await register(other_tenant, await other_site(other_tenant), "mine")
    await door.connection.execute(
        "UPDATE quarantine SET payload = replace(payload::text, '70000', '7')::bytea"
    )
    for entry in await door.entries():
        await replay(api, entry)
    stored = await door.samples()
    # The other's own call by HTTP is taken now that the box is its own; the former owner's message is not.
    assert stored == [("mine", None, 66)]


async def test_a_longer_retention_lets_in_what_was_too_old(door: Door, tenant: Tenant, site_id: str) -> None:
    await register(tenant, site_id, "box-1", ack=True)
    await tenant.client.patch(f"/v1/sites/{site_id}", json={"retention_days": 1})
    await door.take(telemetry("box-1", sample(-3000, seq=4, pm2_5=4)))
    (entry,) = await door.entries()
    for attempt in (1, 2):
        again = await replay(tenant.client, entry)
        assert (again.status_code, again.json()["code"], counts(again)) == (
            422,
            "time_too_old",
            (0, 0, 0, 1, 0),
        )
        (kept,) = await door.entries()
        assert (kept["attempts"], kept["replayed_at"]) == (attempt, None)
    await tenant.client.patch(f"/v1/sites/{site_id}", json={"retention_days": None})
    answer = await replay(tenant.client, entry)
    assert (answer.status_code, counts(answer)) == (200, (1, 0, 0, 0, 0))
    shown = (await tenant.client.get(f"/v1/quarantine/{entry['id']}")).json()
    assert (shown["attempts"], shown["outcome"]["stored"], shown["code"]) == (3, 1, "time_too_old")
    assert shown["replayed_at"] is not None


async def test_refused_again_takes_the_new_reason(door: Door, tenant: Tenant, site_id: str) -> None:
    await door.take(telemetry("box-1", sample(-1, warp=1)), telemetry("box-1", sample(-2, pm2_5=1)))
    await register(tenant, site_id, "box-1")
    done = await replay_all(tenant.client, box="box-1")
    assert (done["replayed"], done["refused"], done["rejected"]) == (1, 1, 1)
    (reason,) = done["reasons"]
    assert (reason["code"], reason["count"]) == ("unknown_metric", 1)
    warp, known = await door.entries()
    assert (warp["code"], warp["attempts"], warp["replayed_at"]) == ("unknown_metric", 1, None)
    assert json.loads(warp["outcome"])["rejected"] == 1
    assert known["replayed_at"] is not None


async def test_repeats_and_conflicts_are_taken_for_what_they_are(
    door: Door, tenant: Tenant, site_id: str
) -> None:
    one, two = sample(-1, seq=1, pm2_5=1), sample(-1, seq=1, pm2_5=2)
    await door.take(telemetry("box-1", one), telemetry("box-1", two))
    await register(tenant, site_id, "box-1")
    await door.take(telemetry("box-1", one))
    same, other = await door.entries()
    assert counts(await replay(tenant.client, same)) == (0, 1, 0, 0, 0)
    assert counts(await replay(tenant.client, other)) == (0, 0, 1, 0, 0)
    assert await door.samples() == [("box-1", 1, 1)]


async def test_many_replays_at_once_store_it_once(door: Door, tenant: Tenant, site_id: str) -> None:
    await door.take(*(telemetry("box-1", sample(-minute, seq=minute, pm2_5=1)) for minute in range(1, 9)))
    await register(tenant, site_id, "box-1")
    entries = await door.entries()
    singles = [replay(tenant.client, entry) for entry in entries for _ in range(3)]
    answers, done = await asyncio.gather(asyncio.gather(*singles), replay_all(tenant.client))
    taken = [answer for answer in answers if answer.status_code == 200]
    assert {answer.status_code for answer in answers} <= {200, 409}
    assert len(taken) + done["replayed"] == 8
    assert sum(counts(answer)[0] for answer in taken) + done["stored"] == 8
    assert sorted(seq or 0 for _, seq, _ in await door.samples()) == list(range(1, 9))
    assert {entry["attempts"] for entry in await door.entries()} == {1}


async def test_pages_of_replays_come_to_an_end_whatever_is_refused(
    door: Door, tenant: Tenant, site_id: str
) -> None:
    await door.take(
        *(
            telemetry("box-1", sample(-minute, **{"warp" if minute % 2 else "pm2_5": 1}))
            for minute in range(7)
        )
    )
    await register(tenant, site_id, "box-1")
    cursor, seen, left = None, 0, []
    while True:
        done = await replay_all(tenant.client, limit=3, cursor=cursor)
        seen += done["tried"]
        left.append(done["left"])
        cursor = done["next"]
        if cursor is None:
            break
    assert (seen, left) == (7, [4, 1, 0])
    assert len(await door.samples()) == 4


async def test_every_format_is_replayed_as_what_it_is(
    door: Door, tenant: Tenant, site_id: str, api: httpx.AsyncClient
) -> None:
    packed = cbor2.dumps({"samples": [sample(-1, seq=1, pm2_5=1), sample(-2, seq=2, pm2_5=2)]})
    uplink = {"time": NOW.isoformat(), "deviceInfo": {"devEui": "box-1"}, "fCnt": 3, "object": {"pm2_5": 3}}
    await door.take(
        telemetry("box-1", packed, "telemetry/cbor"),
        ("application/a/device/box-1/event/up", uplink),
    )
    pack = [{"bn": "box-1:", "n": "temperature", "u": "Cel", "v": 21, "t": -60}]
    push = {"esp8266id": "77", "sensordatavalues": [{"value_type": "SDS_P2", "value": "4.5"}]}
    for path, kind, body in (
        ("telemetry", "application/senml+json", pack),
        ("telemetry", "application/json", {"box": "box-1", "samples": [sample(-4, seq=5, pm2_5=5)]}),
        ("adapters/sensor-community", "application/json", push),
    ):
        answer = await api.post(f"/v1/{path}", content=json.dumps(body), headers={"Content-Type": kind})
        assert answer.status_code in {404, 422}, answer.text
    await register(tenant, site_id, "box-1")
    await register(tenant, site_id, "esp8266-77")
    done = await replay_all(api)
    assert (done["refused"], done["reasons"]) == (0, [])
    found = await door.samples()
    assert sorted((box, seq, value) for box, seq, value in found if seq is not None) == [
        ("box-1", 1, 1),
        ("box-1", 2, 2),
        ("box-1", 3, 3),
        ("box-1", 5, 5),
    ]
    assert ("esp8266-77", None, 4.5) in found
    # The push has no time of its own: it is that of its arrival, not of its replay.
    received = await door.connection.fetch(
        "SELECT count(*) FROM samples s JOIN boxes b ON b.key = s.box_key "
        "JOIN quarantine q ON q.box = b.id AND q.received_at = s.time WHERE b.id = 'esp8266-77'"
    )
    assert received[0][0] == 1


async def test_the_future_is_judged_by_the_clock_of_the_replay(
    door: Door, tenant: Tenant, site_id: str
) -> None:
    await register(tenant, site_id, "box-1")
    early = NOW - timedelta(hours=1)
    await door.take(
        telemetry("box-1", sample(-5, pm2_5=1)), telemetry("box-1", sample(60, pm2_5=2)), now=early
    )
    past, ahead = await door.entries()
    assert {past["code"], ahead["code"]} == {"time_in_future"}
    assert counts(await replay(tenant.client, past)) == (1, 0, 0, 0, 0)
    assert (await replay(tenant.client, ahead)).json()["code"] == "time_in_future"


async def test_what_is_not_kept_whole_is_not_replayed(door: Door, tenant: Tenant, site_id: str) -> None:
    await register(tenant, site_id, "box-1")
    long = json.dumps(sample(-1, pm2_5=1)).encode() + b" " * 70_000 + b"x"
    await door.take(telemetry("box-1", long), telemetry("box-1", b""))
    cut, empty = await door.entries()
    assert (await replay(tenant.client, cut)).json()["code"] == "payload_cut"
    assert (await replay(tenant.client, empty)).json()["code"] == "not_replayable"
    assert (await tenant.client.get(f"/v1/quarantine/{cut['id']}")).json()["payload_cut"]
    assert (await replay_all(tenant.client))["tried"] == 0
    assert {entry["attempts"] for entry in await door.entries()} == {0}


async def test_an_old_status_is_no_news(door: Door, tenant: Tenant, site_id: str) -> None:
    await register(tenant, site_id, "box-1")
    bad = {"state": "offline", "batt": 1}
    await door.take(telemetry("box-1", bad, "status"), telemetry("box-1", b"[]", "config/reported"))
    await door.take(
        telemetry("box-1", {"state": "online"}, "status"),
        telemetry("box-1", {"a": 2}, "config/reported"),
    )
    # As if a later release had learnt to read them.
    await door.connection.execute(
        "UPDATE quarantine SET payload_bytes = 1, payload = CASE WHEN topic LIKE '%status' "
        'THEN \'{"state": "offline"}\' ELSE \'{"a": 1}\' END::bytea'
    )
    for entry in await door.entries():
        assert counts(await replay(tenant.client, entry)) == (0, 0, 0, 0, 1)
    assert (await tenant.client.get("/v1/boxes/box-1")).json()["state"] == "online"
    assert (await tenant.client.get("/v1/boxes/box-1/config")).json()["reported"] == {"a": 2}


async def test_a_late_sample_changes_no_alert_and_a_new_one_fires(
    door: Door, tenant: Tenant, site_id: str
) -> None:
    await door.take(telemetry("box-1", sample(-9, pm2_5=1)), telemetry("box-1", sample(-1, pm2_5=99)))
    await register(tenant, site_id, "box-1")
    condition = {"metric": "pm2_5", "operator": ">", "threshold": 25}
    rule = {"site_id": site_id, "name": "r", "severity": "warning", "condition": condition}
    (await tenant.client.post("/v1/rules", json=rule)).raise_for_status()
    await door.take(telemetry("box-1", sample(-5, pm2_5=50)))
    late, new = await door.entries()
    await replay(tenant.client, late)
    (alert,) = (await tenant.client.get("/v1/alerts")).json()["data"]
    assert (alert["state"], alert["value"]) == ("firing", 50)
    await replay(tenant.client, new)
    assert (await tenant.client.get("/v1/boxes/box-1/latest")).json()["values"] == {"pm2_5": 99}
    assert len((await tenant.client.get("/v1/alerts")).json()["data"]) == 1


async def test_a_part_that_the_database_refuses_leaves_the_entry_and_stores_the_rest(
    door: Door, tenant: Tenant, site_id: str
) -> None:
    await register(tenant, site_id, "box-1")
    await door.take(telemetry("box-1", b"["))
    values = [1, 666, 3, 4]
    body = {"samples": [sample(-place, seq=place, pm2_5=value) for place, value in enumerate(values)]}
    whole = json.dumps(body).encode()
    await door.connection.execute("UPDATE quarantine SET payload = $1, payload_bytes = 1", whole)
    await door.take(telemetry("box-1", body["samples"][3]))
    await door.connection.execute("ALTER TABLE samples ADD CONSTRAINT poison CHECK (pm2_5 <> 666)")
    (entry,) = await door.entries()
    answer = await replay(tenant.client, entry)
    assert (answer.status_code, counts(answer)) == (200, (2, 1, 0, 1, 0))
    (kept,) = await door.entries()
    assert (kept["code"], kept["replayed_at"]) == ("storage_refused", None)
    await door.connection.execute("ALTER TABLE samples DROP CONSTRAINT poison")
    assert counts(await replay(tenant.client, kept)) == (1, 3, 0, 0, 0)
    assert len(await door.samples()) == 4


async def test_a_database_that_fails_in_between_changes_nothing(
    door: Door, tenant: Tenant, site_id: str, application: FastAPI
) -> None:
    await door.take(telemetry("box-1", sample(-1, pm2_5=1)))
    await register(tenant, site_id, "box-1")
    (entry,) = await door.entries()
    # The mark is the last thing that is written.
    await door.connection.execute(
        "CREATE FUNCTION fail() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN "
        "RAISE EXCEPTION 'no room' USING ERRCODE = '53100'; END $$"
    )
    await door.connection.execute(
        "CREATE TRIGGER fail BEFORE UPDATE ON quarantine FOR EACH ROW EXECUTE FUNCTION fail()"
    )
    answer = await replay(tenant.client, entry)
    assert (answer.status_code, answer.json()["code"]) == (503, "unavailable")
    assert await door.samples() == []
    await door.connection.execute("DROP TRIGGER fail ON quarantine")
    assert counts(await replay(tenant.client, entry)) == (1, 0, 0, 0, 0)
    assert get_resource(application, HttpIngestContext).pipeline.registry.version > 0


async def test_a_faulty_request_is_refused(tenant: Tenant) -> None:
    bodies: list[object] = [
        {"door": "window"},
        {"code": "A B"},
        {"limit": 1001},
        {"cursor": "x"},
        {"boxes": []},
        [],
    ]
    for body in bodies:
        assert (await tenant.client.post("/v1/quarantine/replay", json=body)).status_code == 422, body
    for path in ("nope", "01936f3c-6f0a-7c1e-9a51-0d9f3b8e7a10"):
        assert (await tenant.client.post(f"/v1/quarantine/{path}/replay")).status_code == 404


async def test_it_takes_the_right_to_write(
    door: Door, tenant: Tenant, site_id: str, api: httpx.AsyncClient
) -> None:
    await register(tenant, site_id, "box-1")
    await door.take(telemetry("box-1", b"["))
    (entry,) = await door.entries()
    body = {"organisation_id": tenant.id, "name": "r", "scopes": ["telemetry:read"]}
    key = (await api.post("/v1/api-keys", json=body)).json()["key"]
    tenant.client.headers["Authorization"] = f"Bearer {key}"
    assert (await replay(tenant.client, entry)).status_code == 403
    assert (await tenant.client.post("/v1/quarantine/replay", json={})).status_code == 403
    assert (await tenant.client.delete(f"/v1/quarantine/{entry['id']}")).status_code == 403


async def test_a_part_of_a_batch_with_units_is_replayed_in_its_units(
    door: Door, tenant: Tenant, site_id: str
) -> None:
    await tenant.client.post("/v1/boxes", json={"id": "gases", "site_id": site_id})
    ahead = (NOW + timedelta(minutes=30)).isoformat()
    samples = [
        {"seq": n, "time": time, "values": {"no2": 40}} for n, time in enumerate((NOW.isoformat(), ahead))
    ]
    batch = {"units": {"no2": "ppb"}, "samples": samples}
    await door.take(("vigie/v1/gases/telemetry", batch))
    await door.take(("vigie/v1/gases/telemetry", batch))  # a repeat, not a conflict
    (entry, _) = (await tenant.client.get("/v1/quarantine")).raise_for_status().json()["data"]
    assert (entry["code"], json.loads(entry["payload"])["units"]) == ("time_in_future", {"no2": "ppb"})
    # By HTTP, in the metric's own unit: the same sample.
    same = {"box": "gases", "samples": [{**samples[0], "values": {"no2": 76.499316559}}]}
    answer = await tenant.client.post("/v1/telemetry", json=same)
    assert (answer.json()["duplicate"], answer.json()["conflict"]) == (1, 0)
    values = await door.connection.fetch("SELECT no2::float8 FROM samples")
    assert [round(value, 3) for (value,) in values] == [76.499]
