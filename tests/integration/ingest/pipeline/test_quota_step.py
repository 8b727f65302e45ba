"""Samples a day, at both doors: counted exactly, refused above the quota, and taken once it is raised."""

import asyncio
import json
from collections.abc import AsyncIterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import asyncpg
import httpx
import pytest
from fastapi import FastAPI

from app.ingest.codec.batch_decoder import decode_batch
from app.ingest.http_ingest_service import HttpIngestContext
from app.ingest.pipeline.batch_pipeline import IngestPipeline
from app.ingest.pipeline.batch_receipt import BatchReceipt
from app.ingest.pipeline.quota_cache import QuotaCache
from app.ingest.pipeline.registry_snapshot import RegistryCache
from app.platform.db.database import Database
from app.platform.kernel.application_resources import get_resource, provide_resources
from app.settings import VigieSettings
from tests.conftest import Tenant, client_of, new_application, running

NOW = datetime.now(UTC).replace(microsecond=0)


@pytest.fixture(autouse=True)
def now(monkeypatch: pytest.MonkeyPatch) -> None:
    """Take the time anew for each test: the day of a quota is the day on which the test runs."""
    monkeypatch.setitem(globals(), "NOW", datetime.now(UTC).replace(microsecond=0))


# Of each organisation: what is stored and was refused, over all writers.
_USAGE = """
SELECT o.name, u.day, sum(u.used)::int, sum(u.refused)::int
FROM organisation_usage u JOIN organisations o ON o.id = u.organisation_id
WHERE u.quota = 'samples_per_day' GROUP BY 1, 2 ORDER BY 2, 1
"""
_STORED = """
SELECT o.name, count(*)::int FROM samples s JOIN boxes b ON b.key = s.box_key
JOIN organisations o ON o.id = b.organisation_id GROUP BY 1 ORDER BY 1
"""


def sample(minute: float, *, seq: int | None = None, value: float = 1) -> dict[str, Any]:
    body: dict[str, Any] = {"time": (NOW - timedelta(minutes=minute)).isoformat(), "values": {"pm2_5": value}}
    return body if seq is None else {"seq": seq, **body}


class Door:
    """The broker's door, as the consumer has it."""

    def __init__(self, connection: asyncpg.Connection, *, is_consumer: bool = True) -> None:
        self.connection = connection
        # Quotas are read with each batch: nothing has to wait for a second.
        self.pipeline = IngestPipeline(
            RegistryCache(), is_consumer=is_consumer, quota_cache=QuotaCache(every_s=0)
        )

    async def take(self, *messages: tuple[str, Any], now: datetime | None = None) -> BatchReceipt:
        now = now or NOW
        intake = decode_batch(
            [f"vigie/v1/{box}/telemetry" for box, _ in messages],
            [json.dumps(body).encode() for _, body in messages],
            now_us=round(now.timestamp() * 1_000_000),
            max_future_us=600_000_000,
        )
        return await self.pipeline.commit(self.connection, intake, now=now)

    async def send(self, box: str, minutes: Sequence[int], *, now: datetime | None = None) -> BatchReceipt:
        return await self.take((box, {"samples": [sample(minute) for minute in minutes]}), now=now)

    async def usage(self) -> dict[str, tuple[int, int]]:
        rows = await self.connection.fetch(_USAGE)
        return {name: (used, refused) for name, _, used, refused in rows}


@pytest.fixture
async def door(database: Database) -> AsyncIterator[Door]:
    connection = await database.connect()
    yield Door(connection)
    await connection.close()


async def give(api: httpx.AsyncClient, organisation: str, samples: int | None) -> None:
    body = {"samples_per_day": samples}
    (await api.put(f"/v1/organisations/{organisation}/quotas", json=body)).raise_for_status()


async def register(tenant: Tenant, site_id: str, *boxes: str, **more: object) -> None:
    for box in boxes:
        body = {"id": box, "site_id": site_id, **more}
        (await tenant.client.post("/v1/boxes", json=body)).raise_for_status()


async def site_of(tenant: Tenant) -> str:
    body = {"name": "Rue", "kind": "street", "timezone": "Europe/Paris"}
    body["location"] = {"type": "Point", "coordinates": [1.4, 43.6]}  # type: ignore[assignment]
    identifier: str = (await tenant.client.post("/v1/sites", json=body)).raise_for_status().json()["id"]
    return identifier


async def usage_of(tenant: Tenant) -> dict[str, Any]:
    answer = (await tenant.client.get(f"/v1/organisations/{tenant.id}/usage")).raise_for_status()
    found: dict[str, Any] = answer.json()["samples_per_day"]
    return found


async def test_what_exceeds_the_quota_goes_to_quarantine_and_blocks_nobody(
    door: Door, api: httpx.AsyncClient, tenant: Tenant, other_tenant: Tenant, site_id: str
) -> None:
    await register(tenant, site_id, "mine", ack=True)
    await register(other_tenant, await site_of(other_tenant), "theirs")
    await give(api, tenant.id, 3)
    receipt = await door.take(
        *(("mine", sample(10 - minute, seq=minute)) for minute in range(5)),
        *(("theirs", sample(10 - minute)) for minute in range(5)),
    )
    assert receipt.stored == 8
    assert [
        (refusal.box, refusal.rejection.code, refusal.rejection.seq) for refusal in receipt.rejections
    ] == [
        ("mine", "quota_exceeded", 3),
        ("mine", "quota_exceeded", 4),
    ]
    assert receipt.acks["mine"].payload() == {
        "seqs": [0, 1, 2],
        "rejected": [{"seq": seq, "code": "quota_exceeded"} for seq in (3, 4)],
    }
    assert await door.usage() == {"Tenant": (3, 2), "Other": (5, 0)}
    entries = (await tenant.client.get("/v1/quarantine?code=quota_exceeded")).json()["data"]
    assert len(entries) == 2
    midnight = (NOW + timedelta(days=1)).strftime("%Y-%m-%dT00:00:00Z")
    assert f"quota of 3 samples a day is used up until {midnight}" in entries[0]["detail"]
    expected = {"limit": 3, "used": 3, "remaining": 0, "refused": 2, "with_clients": False}
    assert await usage_of(tenant) == expected


async def test_repeats_take_no_room_and_are_never_refused(
    door: Door, api: httpx.AsyncClient, tenant: Tenant, site_id: str
) -> None:
    await register(tenant, site_id, "mine")
    await give(api, tenant.id, 4)
    assert (await door.send("mine", [9, 8, 7])).stored == 3
    # As the broker gives a batch again that was committed, and then some: one more is taken.
    again = await door.take(
        ("mine", {"samples": [sample(minute) for minute in (9, 8, 7, 6, 6, 5)]}),
        ("mine", sample(8, value=2)),
    )
    assert (again.stored, again.duplicate, again.conflict, len(again.rejections)) == (1, 4, 1, 1)
    full = await door.send("mine", [9, 8, 7, 6])
    assert (full.duplicate, full.rejections) == (4, [])
    assert await door.usage() == {"Tenant": (4, 1)}


async def test_a_new_day_begins_with_all_of_the_quota(
    door: Door, api: httpx.AsyncClient, tenant: Tenant, site_id: str
) -> None:
    await register(tenant, site_id, "mine")
    await give(api, tenant.id, 2)
    evening = NOW.replace(hour=23, minute=59, second=59) + timedelta(seconds=0.9)
    assert (await door.send("mine", [9, 8, 7], now=evening)).stored == 2
    assert (await door.send("mine", [7], now=evening)).stored == 0
    midnight = evening + timedelta(seconds=0.2)
    assert (await door.send("mine", [7, 6, 5], now=midnight)).stored == 2
    rows = await door.connection.fetch(_USAGE)
    assert [tuple(row) for row in rows] == [
        ("Tenant", evening.date(), 2, 2),
        ("Tenant", midnight.date(), 2, 1),
    ]


async def test_events_and_statuses_have_no_quota(
    door: Door, api: httpx.AsyncClient, tenant: Tenant, site_id: str
) -> None:
    await register(tenant, site_id, "mine")
    await give(api, tenant.id, 0)
    bodies = {
        "event": {"time": NOW.isoformat(), "type": "tamper"},
        "status": {"state": "online"},
        "telemetry": sample(1),
    }
    intake = decode_batch(
        [f"vigie/v1/mine/{kind}" for kind in bodies],
        [json.dumps(body).encode() for body in bodies.values()],
        now_us=round(NOW.timestamp() * 1_000_000),
        max_future_us=600_000_000,
    )
    receipt = await door.pipeline.commit(door.connection, intake, now=NOW)
    assert (receipt.stored, receipt.new_events) == (0, ["tamper"])
    assert [refusal.rejection.code for refusal in receipt.rejections] == ["quota_exceeded"]
    assert await door.connection.fetchval("SELECT state FROM boxes WHERE id = 'mine'") == "online"


async def test_by_http_part_of_it_is_taken_and_then_nothing(
    application: FastAPI, api: httpx.AsyncClient, tenant: Tenant, site_id: str
) -> None:
    context = get_resource(application, HttpIngestContext)
    pipeline = IngestPipeline(RegistryCache(), quota_cache=QuotaCache(every_s=0))
    provide_resources(application, HttpIngestContext(pipeline, context.pool))
    await register(tenant, site_id, "mine")
    await give(api, tenant.id, 2)

    async def post(*minutes: int) -> httpx.Response:
        body = {"box": "mine", "samples": [sample(minute) for minute in minutes]}
        return await tenant.client.post("/v1/telemetry", json=body)

    part = await post(9, 8, 7)
    assert part.status_code == 200
    assert (part.json()["stored"], part.json()["rejected"]) == (2, 1)
    assert [reason["code"] for reason in part.json()["reasons"]] == ["quota_exceeded"]
    none = await post(6)
    assert (none.status_code, none.json()["code"], none.json()["rejected"]) == (429, "quota_exceeded", 1)
    assert 0 < int(none.headers["Retry-After"]) <= 86_400
    assert (await post(9, 8)).json()["duplicate"] == 2
    shown = await usage_of(tenant)
    assert (shown["used"], shown["refused"]) == (2, 2)


async def test_what_was_refused_is_replayed_once_the_quota_is_raised(
    door: Door, api: httpx.AsyncClient, tenant: Tenant, site_id: str
) -> None:
    await register(tenant, site_id, "mine")
    await give(api, tenant.id, 1)
    await door.send("mine", [9, 8, 7])
    still = (await tenant.client.post("/v1/quarantine/replay", json={})).json()
    assert (still["replayed"], still["refused"]) == (0, 2)
    entry = (await tenant.client.get("/v1/quarantine")).json()["data"][0]["id"]
    refused = await tenant.client.post(f"/v1/quarantine/{entry}/replay")
    assert (refused.status_code, refused.json()["code"]) == (429, "quota_exceeded")
    assert "Retry-After" in refused.headers
    # What is refused again is counted once.
    assert await door.usage() == {"Tenant": (1, 2)}
    await give(api, tenant.id, 2)
    some = (await tenant.client.post("/v1/quarantine/replay", json={})).json()
    assert (some["replayed"], some["refused"]) == (1, 1)
    await give(api, tenant.id, None)
    rest = (await tenant.client.post("/v1/quarantine/replay", json={})).json()
    assert (rest["replayed"], rest["refused"], rest["stored"]) == (1, 0, 1)
    assert await door.usage() == {"Tenant": (3, 2)}


async def test_a_quota_that_is_shared_is_used_up_by_all(
    door: Door, application: FastAPI, api: httpx.AsyncClient, tenant: Tenant, site_id: str
) -> None:
    made = (await api.post("/v1/organisations", json={"name": "I", "kind": "integrator"})).json()
    await door.connection.execute("UPDATE organisations SET parent_id = $1 WHERE name = 'Tenant'", made["id"])
    key = {"organisation_id": made["id"], "name": "k", "scopes": ["*"]}
    secret = (await api.post("/v1/api-keys", json=key)).json()["key"]
    async with client_of(application, secret) as client:
        integrator = Tenant(client, made["id"], secret)
        await register(tenant, site_id, "mine")
        await register(integrator, await site_of(integrator), "own")
        await give(api, integrator.id, 3)
        await give(api, tenant.id, 2)
        receipt = await door.take(
            ("own", sample(9)),
            *(("mine", sample(minute)) for minute in (9, 8, 7)),  # its own quota has room for two
            ("own", sample(8)),
        )
        assert receipt.stored == 3
        details = [refusal.rejection.detail for refusal in receipt.rejections]
        assert "The organisation's quota of 2 samples a day" in details[0]
        assert "The organisation's quota of 3 samples a day" in details[1]
        await give(api, tenant.id, None)
        (theirs,) = (await door.send("mine", [5])).rejections
        assert "organisation's integrator" in theirs.rejection.detail
        assert "3" not in theirs.rejection.detail.split("until")[0]
        shown = await usage_of(integrator)
        assert shown == {"limit": 3, "used": 3, "remaining": 0, "refused": 2, "with_clients": True}
        assert (await usage_of(tenant))["used"] == 2


async def test_an_installations_default_holds_for_each(
    settings: VigieSettings, tenant: Tenant, site_id: str
) -> None:
    await register(tenant, site_id, "mine")
    settings.quotas.samples_per_day = 2
    async with running(new_application(settings)) as app, client_of(app, tenant.key) as client:
        body = {"box": "mine", "samples": [sample(minute) for minute in (9, 8, 7)]}
        answer = await client.post("/v1/telemetry", json=body)
        assert (answer.json()["stored"], answer.json()["rejected"]) == (2, 1)
        shown = await client.get(f"/v1/organisations/{tenant.id}/usage")
        assert shown.json()["samples_per_day"]["limit"] == 2


async def test_counts_are_those_of_what_is_stored_whoever_writes(
    door: Door, database: Database, tenant: Tenant, other_tenant: Tenant, site_id: str
) -> None:
    await register(tenant, site_id, "a", "b")
    await register(other_tenant, await site_of(other_tenant), "c")
    connections = [await database.connect() for _ in range(2)]
    doors = [door, *(Door(connection, is_consumer=False) for connection in connections)]
    # The same samples by three ways at once: each is stored once, and counted once.
    await asyncio.gather(
        *(
            each.take(*((box, {"samples": [sample(m) for m in range(20, 0, -1)]}) for box in ("a", "b", "c")))
            for each in doors
        )
    )
    rows = await door.connection.fetch(_STORED)
    assert (
        {name: (stored, 0) for name, stored in rows}
        == await door.usage()
        == {"Tenant": (40, 0), "Other": (20, 0)}
    )
    for connection in connections:
        await connection.close()


async def test_what_the_database_refused_is_not_counted(door: Door, tenant: Tenant, site_id: str) -> None:
    await register(tenant, site_id, "mine")
    await door.connection.execute("ALTER TABLE samples ADD CONSTRAINT poison CHECK (pm2_5 <> 666)")
    receipt = await door.take(
        *(("mine", sample(20 - number, value=666 if number == 7 else 1)) for number in range(15))
    )
    assert receipt.stored == 14
    assert await door.usage() == {"Tenant": (14, 0)}
