"""The log of deliveries by REST: of one endpoint, of all, what filters them, and by which index."""

import json
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import quote
from uuid import UUID, uuid4

import asyncpg
import httpx
import pytest
from sqlalchemy import event
from sqlalchemy.engine import Connection

from app.notifications.api import delivery_queries
from app.notifications.api.delivery_queries import DeliveryFilters
from app.platform.db.database import Database
from app.platform.http.contract.sorting import PageRequest
from app.platform.kernel.ids import new_id
from app.platform.kernel.tenant_scope import TenantScope
from tests.conftest import Tenant
from tests.integration.notifications.helpers import add_endpoint, add_organisation
from tests.integration.notifications.log import add_attempt, add_channel, add_delivery, ago

UNKNOWN = "0199aaaa-0000-7000-8000-000000000000"


async def _ids(client: httpx.AsyncClient, path: str) -> list[UUID]:
    answer = await client.get(path)
    assert answer.status_code == 200, answer.text
    return [UUID(one["id"]) for one in answer.json()["data"]]


async def test_the_log_of_all_endpoints_has_webhooks_and_channels(
    tenant: Tenant, other_tenant: Tenant, api: httpx.AsyncClient, connection: asyncpg.Connection
) -> None:
    own, other = UUID(tenant.id), UUID(other_tenant.id)
    webhook, _ = await add_endpoint(connection, own, "https://example.com/")
    mail = await add_channel(connection, own)
    topic = await add_channel(connection, own, kind="mqtt")
    foreign, _ = await add_endpoint(connection, other, "https://example.com/")
    made = [
        await add_delivery(connection, own, webhook, created_at=ago(minutes=4)),
        await add_delivery(
            connection,
            own,
            mail,
            created_at=ago(minutes=3),
            body=json.dumps({"subject": "Fires", "text": "…", "html": "<p>…</p>"}).encode(),
        ),
        await add_delivery(connection, own, topic, created_at=ago(minutes=2), format="cloudevents"),
    ]
    theirs = await add_delivery(connection, other, foreign, created_at=ago(minutes=1))
    client = tenant.client
    shown = (await client.get("/v1/deliveries")).json()["data"]
    assert [UUID(one["id"]) for one in shown] == made[::-1]
    assert [(one["endpoint_kind"], one["format"]) for one in shown] == [
        ("mqtt", "cloudevents"),
        ("email", "native"),
        ("webhook", "native"),
    ]
    assert await _ids(client, f"/v1/deliveries?endpoint={mail}") == [made[1]]
    assert await _ids(client, f"/v1/channels/{mail}/deliveries") == [made[1]]
    assert await _ids(client, f"/v1/webhooks/{webhook}/deliveries") == [made[0]]
    body = (await client.get(f"/v1/deliveries/{made[1]}")).json()["body"]
    assert body == {"subject": "Fires", "text": "…", "html": "<p>…</p>"}
    # Of others nothing is there.
    assert await _ids(client, f"/v1/deliveries?endpoint={foreign}") == []
    assert await _ids(client, f"/v1/deliveries?organisation={other}") == []
    assert await _ids(api, "/v1/deliveries") == [theirs, *made[::-1]]
    assert await _ids(api, f"/v1/deliveries?organisation={other}") == [theirs]


async def test_each_filter_finds_its_own(tenant: Tenant, connection: asyncpg.Connection) -> None:
    own = UUID(tenant.id)
    endpoint, _ = await add_endpoint(connection, own, "https://example.com/")
    channel = await add_channel(connection, own)
    happened, replay, site = uuid4(), new_id(), uuid4()
    start = datetime(2026, 11, 1, tzinfo=UTC)

    async def one(place: int, **columns: Any) -> UUID:  # noqa: ANN401 (values of columns)
        where = columns.pop("endpoint", endpoint)
        return await add_delivery(
            connection, own, where, created_at=start + timedelta(hours=place), **columns
        )

    # Made long after it happened: the dispatcher was away.
    late = await one(0, made_at=start + timedelta(days=3), event_id=happened, site_id=site)
    failed = await one(1, state="failed", type="alert.resolved", replay_id=replay)
    pending = await one(2, state="pending", type="webhook.test")
    group = await one(3, type="alert.group", endpoint=channel, event_id=happened)
    for number, reason in ((1, "http_error"), (2, "timeout")):
        await add_attempt(connection, endpoint, failed, reason=reason, number=number, status=None)
    await add_attempt(connection, endpoint, late, reason="http_error", number=1, status=500)
    await add_attempt(connection, endpoint, late, number=2)

    def at(hours: int) -> str:
        return quote((start + timedelta(hours=hours)).isoformat())

    wanted: dict[str, Sequence[UUID]] = {
        "": [late, group, pending, failed],
        "state=failed": [failed],
        "state=pending": [pending],
        "state=delivered": [late, group],
        "type=alert.resolved": [failed],
        "type=alert.resolved&type=alert.group": [group, failed],
        f"event={happened}": [late, group],
        f"event=msg_{happened.hex}": [late, group],
        f"event={uuid4()}": [],
        "reason=timeout": [failed],
        "reason=http_error": [],
        "reason=delivered": [late],
        f"replay={replay}": [failed],
        f"from={at(1)}": [group, pending, failed],
        f"to={at(1)}": [late],
        f"from={at(0)}&to={at(2)}": [late, failed],
        f"from={at(0)}&state=failed&reason=timeout&type=alert.resolved": [failed],
    }
    for query, found in wanted.items():
        assert await _ids(tenant.client, f"/v1/deliveries?{query}") == list(found), query
        below = [each for each in found if each != group]
        assert await _ids(tenant.client, f"/v1/webhooks/{endpoint}/deliveries?{query}") == below, query
    (shown,) = (await tenant.client.get(f"/v1/deliveries?replay={replay}")).json()["data"]
    assert (shown["replay_id"], shown["site_id"]) == (str(replay), None)
    assert (await tenant.client.get(f"/v1/deliveries/{late}")).json()["site_id"] == str(site)


@pytest.mark.parametrize(
    ("query", "code"),
    [
        ("state=lost", "invalid_value"),
        ("type=alert.exploded", "unknown_event_type"),
        ("type=alert.firing%00", "unknown_event_type"),
        ("event=msg_12", "invalid_value"),
        ("event=%00", "invalid_value"),
        ("reason=bad", "invalid_value"),
        ("replay=7", "wrong_type"),
        ("endpoint=7", "wrong_type"),
        ("from=yesterday", "invalid_time"),
        ("to=2026-11-01T00:00:00", "time_without_zone"),
        ("from=2026-11-02T00:00:00Z&to=2026-11-02T00:00:00Z", "range_reversed"),
        ("cursor=forged", "invalid_cursor"),
        ("limit=0", "invalid_value"),
        ("status=failed", "unknown_parameter"),
    ],
)
async def test_what_no_log_can_be_asked_for(tenant: Tenant, query: str, code: str) -> None:
    answer = await tenant.client.get(f"/v1/deliveries?{query}")
    assert (answer.status_code, answer.json()["code"]) == (422, code), answer.text


async def test_the_log_comes_in_pages(tenant: Tenant, connection: asyncpg.Connection) -> None:
    own = UUID(tenant.id)
    endpoint, _ = await add_endpoint(connection, own, "https://example.com/")
    made = [
        await add_delivery(connection, own, endpoint, created_at=ago(minutes=minutes))
        for minutes in range(7, 0, -1)
    ]
    for path in ("/v1/deliveries", f"/v1/webhooks/{endpoint}/deliveries"):
        seen: list[str] = []
        cursor = ""
        while True:
            page = (await tenant.client.get(f"{path}?limit=3&state=delivered{cursor}")).json()
            seen += [one["id"] for one in page["data"]]
            if page["next"] is None:
                break
            cursor = f"&cursor={page['next']}"
        assert [UUID(one) for one in seen] == made[::-1]


async def test_of_others_nothing_can_be_read_nor_done(
    tenant: Tenant, other_tenant: Tenant, connection: asyncpg.Connection
) -> None:
    own = UUID(tenant.id)
    endpoint, _ = await add_endpoint(connection, own, "https://example.com/")
    channel = await add_channel(connection, own)
    delivery = await add_delivery(connection, own, endpoint, state="failed")
    since = {"since": "2026-01-01T00:00:00Z"}
    made = (await tenant.client.post(f"/v1/webhooks/{endpoint}/replays", json=since)).json()
    stranger = other_tenant.client
    answers = [
        await stranger.get(f"/v1/deliveries/{delivery}"),
        await stranger.post(f"/v1/deliveries/{delivery}/replay"),
        await stranger.get(f"/v1/replays/{made['id']}"),
        await stranger.delete(f"/v1/replays/{made['id']}"),
        *[
            answer
            for path in (f"/v1/webhooks/{endpoint}", f"/v1/channels/{channel}")
            for answer in (
                await stranger.get(f"{path}/deliveries"),
                await stranger.get(f"{path}/health"),
                await stranger.get(f"{path}/replays"),
                await stranger.post(f"{path}/replays", json=since),
                await stranger.post(f"{path}/test"),
            )
        ],
        await tenant.client.get(f"/v1/replays/{UNKNOWN}"),
        await tenant.client.delete("/v1/replays/not-an-id"),
        await tenant.client.get("/v1/channels/not-an-id/health"),
    ]
    assert [answer.status_code for answer in answers] == [404] * len(answers)
    assert await _ids(stranger, "/v1/deliveries") == []
    assert (await tenant.client.get(f"/v1/replays/{made['id']}")).json()["state"] == "running"


async def test_scopes_are_asked_for(
    tenant: Tenant, api: httpx.AsyncClient, connection: asyncpg.Connection
) -> None:
    endpoint, _ = await add_endpoint(connection, UUID(tenant.id), "https://example.com/")
    path = f"/v1/webhooks/{endpoint}"
    body = {"organisation_id": tenant.id, "name": "k", "scopes": ["webhooks:read"]}
    reader = (await api.post("/v1/api-keys", json=body)).json()["key"]
    body["scopes"] = ["alerts:read"]
    other = (await api.post("/v1/api-keys", json=body)).json()["key"]
    since = {"since": "2026-01-01T00:00:00Z"}
    reads = ["/v1/deliveries", f"{path}/deliveries", f"{path}/replays", f"{path}/health"]
    for each in reads:
        allowed = await api.get(each, headers={"Authorization": f"Bearer {reader}"})
        refused = await api.get(each, headers={"Authorization": f"Bearer {other}"})
        assert (allowed.status_code, refused.status_code) == (200, 403), each
    for key in (reader, other):
        headers = {"Authorization": f"Bearer {key}"}
        answers = [
            await api.post(f"{path}/replays", headers=headers, json=since),
            await api.post(f"{path}/test", headers=headers),
            await api.post(f"{path}/rotate-secret", headers=headers),
            await api.delete(f"/v1/replays/{UNKNOWN}", headers=headers),
        ]
        assert [answer.status_code for answer in answers] == [403] * 4


@pytest.mark.parametrize(
    ("filters", "index"),
    [
        ({"endpoint": True}, "ix_deliveries_endpoint_id"),
        ({"endpoint": True, "state": "failed"}, "ix_deliveries_endpoint_id_failed"),
        ({"endpoint": True, "since": ago(hours=1)}, "ix_deliveries_endpoint_id"),
        ({}, "ix_deliveries_organisation_id"),
        ({"since": ago(hours=1)}, "ix_deliveries_organisation_id"),
        ({"event": uuid4()}, "deliveries_endpoint_id_event_id_key"),
        ({"replay": new_id()}, "ix_deliveries_replay_id"),
    ],
)
async def test_lists_are_read_by_an_index(
    tenant: Tenant,
    database: Database,
    connection: asyncpg.Connection,
    filters: dict[str, Any],
    index: str,
) -> None:
    own = UUID(tenant.id)
    endpoint, _ = await add_endpoint(connection, own, "https://example.com/")
    await add_endpoint(connection, own, "https://example.com/")
    stranger = await add_organisation(connection)
    for _ in range(20):
        await add_endpoint(connection, stranger, "https://example.com/")
    await connection.execute(
        "INSERT INTO deliveries (id, organisation_id, endpoint_id, event_id, type, body, state, "
        "attempt_count, created_at) SELECT gen_random_uuid(), e.organisation_id, e.id, gen_random_uuid(), "
        "'alert.firing', '{}', CASE WHEN n % 500 = 0 THEN 'failed' ELSE 'delivered' END, 1, now() "
        "FROM webhook_endpoints e, generate_series(1, 1000) n"
    )
    await connection.execute("ANALYZE deliveries, webhook_endpoints")
    wanted = DeliveryFilters(**{**filters, **({"endpoint": endpoint} if filters.get("endpoint") else {})})
    # As the routes do: below an endpoint's path its owner was looked at already.
    visible = TenantScope(None) if wanted.endpoint else TenantScope.of([own])
    asked: list[tuple[str, Any]] = []

    def keep(_: Connection, __: object, statement: str, parameters: Any, *___: object) -> None:  # noqa: ANN401 (a driver's)
        asked.append((statement, parameters))

    event.listen(database.engine.sync_engine, "before_cursor_execute", keep)
    async with database.read() as session:
        await delivery_queries.list_deliveries(session, visible, wanted, PageRequest("-id"))
        statement, parameters = asked[-1]
        assert "FROM deliveries" in statement
        plan = await (await session.connection()).exec_driver_sql(f"EXPLAIN {statement}", parameters)
        lines = "\n".join(row[0] for row in plan)
    assert f" {index} " in lines, lines
    assert "Seq Scan on deliveries" not in lines
