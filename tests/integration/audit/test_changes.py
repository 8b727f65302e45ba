"""What people change is in the log: who, what, before, after, from where; and nothing else is."""

import asyncio
import json
from typing import Any
from uuid import UUID, uuid4

import asyncpg
import httpx
import pytest

from app.platform.db.database import Database
from app.platform.kernel.secret_tokens import hash_key
from app.settings import VigieSettings
from tests.conftest import Tenant
from tests.integration.audit.logs import actions, entries, last

RULE = {
    "name": "Dust",
    "severity": "warning",
    "condition": {"metric": "pm2_5", "operator": ">", "threshold": 25},
}


async def done(call: Any) -> Any:  # noqa: ANN401 (an answer, and what it holds)
    answer = await call
    assert answer.is_success, answer.text
    return answer.json() if answer.content else None


async def test_a_change_tells_who_what_before_after_and_from_where(
    tenant: Tenant, site_id: str, owner: asyncpg.Connection
) -> None:
    answer = await tenant.client.patch(f"/v1/sites/{site_id}", json={"name": "Quai", "retention_days": 30})
    assert answer.status_code == 200
    entry = await last(owner, tenant.id)
    key = await owner.fetchrow("SELECT id, name FROM api_keys WHERE organisation_id = $1", UUID(tenant.id))
    assert key is not None
    assert entry["actor"] == {"kind": "key", "id": str(key["id"]), "name": "tests"}
    assert entry["action"] == "site.updated"
    assert entry["subject"] == {"kind": "site", "id": site_id, "name": "Quai"}
    assert entry["before"] == {"name": "Rue d'Alsace-Lorraine", "retention_days": None}
    assert entry["after"] == {"name": "Quai", "retention_days": 30}
    assert entry["address"] == "127.0.0.1"
    assert entry["request_id"] == answer.headers["x-request-id"]
    assert entry["database"]["application"] == "vigie-api"
    assert (entry["organisation_id"], entry["position"]) == (
        tenant.id,
        len(await entries(owner, tenant.id)),
    )


async def test_the_life_of_each_thing(tenant: Tenant, site_id: str, owner: asyncpg.Connection) -> None:
    client = tenant.client
    before = len(await entries(owner, tenant.id))
    await done(client.post("/v1/boxes", json={"id": "box-1", "site_id": site_id}))
    await done(client.post("/v1/boxes/box-1/credentials"))
    await done(client.post("/v1/boxes/box-1/credentials/revoke"))
    await done(client.put("/v1/boxes/box-1/config", json={"config": {"interval": 5}}))
    rule = (await done(client.post("/v1/rules", json={**RULE, "site_id": site_id})))["id"]
    await done(client.patch(f"/v1/rules/{rule}", json={"enabled": False}))
    await done(client.delete(f"/v1/rules/{rule}"))
    hook = (await done(client.post("/v1/webhooks", json={"url": "https://example.com/hooks/T0KEN"})))["id"]
    await done(client.patch(f"/v1/webhooks/{hook}", json={"url": "https://example.com/hooks/0THER"}))
    await done(client.post(f"/v1/webhooks/{hook}/rotate-secret"))
    await done(client.delete(f"/v1/webhooks/{hook}"))
    key = (await done(client.post("/v1/api-keys", json={"name": "k", "scopes": ["sites:read"]})))["id"]
    await done(client.delete(f"/v1/api-keys/{key}"))
    await done(client.delete("/v1/boxes/box-1"))
    assert (await actions(owner, tenant.id))[before:] == [
        *("box.created", "box.updated", "box.revoked", "box.configured"),
        *("rule.created", "rule.updated", "rule.deleted"),
        *("webhook.created", "webhook.updated", "webhook.updated", "webhook.updated", "webhook.deleted"),
        *("api_key.created", "api_key.revoked", "box.deleted", "box.configured"),
    ]


async def test_neither_secrets_nor_data_of_persons_are_in_it(
    tenant: Tenant,
    site_id: str,
    settings: VigieSettings,
    monkeypatch: pytest.MonkeyPatch,
    root: asyncpg.Connection,
) -> None:
    monkeypatch.setattr(settings.smtp, "host", "mail.example.com")
    client = tenant.client
    box = await done(client.post("/v1/boxes", json={"id": "box-1", "site_id": site_id}))
    hook = await done(
        client.post(
            "/v1/webhooks", json={"url": "https://example.com/T0KEN?a=b", "headers": {"X-Key": "opensesame"}}
        )
    )
    channel = {"kind": "email", "to": ["jean.dupont@example.com"]}
    made = await done(client.post("/v1/channels", json=channel))
    await done(client.patch(f"/v1/channels/{made['id']}", json={"to": ["anne.martin@example.com"]}))
    silence = {"matchers": {"severities": ["info"]}, "ends_at": "2099-01-01T00:00:00Z"}
    await done(
        client.post("/v1/silences", json={**silence, "author": "Jean Dupont", "comment": "Jean is ill"})
    )
    text = "\n".join(row["record"] for row in await root.fetch("SELECT record FROM audit_log"))
    entry = next(each for each in await entries(root, tenant.id) if each["action"] == "channel.updated")
    assert (entry["before"], entry["after"]) == (None, {"target": "changed"})
    assert '"https://example.com/…"' in text
    hashes = await root.fetch(
        "SELECT password_hash FROM boxes UNION ALL SELECT secret FROM webhook_endpoints"
    )
    secrets = [each["password_hash"] for each in hashes if each["password_hash"]]
    hidden = ["T0KEN", "opensesame", "dupont", "martin", "Dupont", "Jean is ill", tenant.key]
    hidden += [box["credentials"]["password"], hook["secret"], hash_key(tenant.key).hex(), *secrets]
    assert [each for each in hidden if each in text] == []


async def test_organisations_are_told_to_their_integrators_too(
    api: httpx.AsyncClient, owner: asyncpg.Connection
) -> None:
    above = (await done(api.post("/v1/organisations", json={"name": "I", "kind": "integrator"})))["id"]
    below = (await done(api.post("/v1/organisations", json={"name": "C", "parent_id": above})))["id"]
    await done(api.delete(f"/v1/organisations/{below}"))
    assert await actions(owner, below) == ["organisation.created", "organisation.deleted"]
    assert await actions(owner, above) == [
        "organisation.created",
        "organisation.created",
        "organisation.deleted",
    ]


async def test_what_fails_is_not_in_it_and_what_changes_nothing_neither(
    tenant: Tenant, site_id: str, owner: asyncpg.Connection
) -> None:
    before = await entries(owner, tenant.id)
    await done(tenant.client.patch(f"/v1/sites/{site_id}", json={"name": "Rue d'Alsace-Lorraine"}))
    answer = await tenant.client.post("/v1/boxes", json={"id": "b", "site_id": str(uuid4())})
    assert answer.status_code == 404
    assert await entries(owner, tenant.id) == before


async def test_what_the_program_does_is_not_in_it(
    tenant: Tenant, site_id: str, settings: VigieSettings, owner: asyncpg.Connection
) -> None:
    await done(tenant.client.post("/v1/boxes", json={"id": "box-1", "site_id": site_id}))
    before = await entries(owner, tenant.id)
    await owner.execute("UPDATE api_keys SET last_used_at = NULL")
    sample = {"time": "2026-11-24T10:00:00Z", "values": {"pm2_5": 12.4}}
    await done(tenant.client.post("/v1/telemetry", json={"box": "box-1", "samples": [sample]}))
    ingest = Database(settings.database, application="vigie-ingest", role="vigie_ingest")
    connection = await ingest.connect()
    await connection.execute("UPDATE boxes SET state = 'online', battery = 50")
    await connection.execute("INSERT INTO box_configs (box_key, desired) SELECT key, '{}' FROM boxes")
    await connection.close()
    await ingest.close()
    assert await entries(owner, tenant.id) == before
    await owner.execute("UPDATE boxes SET deleted_at = now()")
    before = await entries(owner, tenant.id)
    maintain = Database(settings.database, application="vigie-maintain", role="vigie_maintain")
    connection = await maintain.connect()
    # What hangs on the box goes by a cascade, which is the owner's work.
    assert await connection.execute("DELETE FROM boxes") == "DELETE 1"
    await connection.close()
    await maintain.close()
    assert await entries(owner, tenant.id) == before


async def test_whoever_works_past_the_api_is_known_by_the_login(
    tenant: Tenant, site_id: str, owner: asyncpg.Connection
) -> None:
    async with owner.transaction():
        pretended = json.dumps({"kind": "key", "id": "1", "name": "somebody else"})
        await owner.execute("SELECT set_config('vigie.actor', $1, true)", pretended)
        await owner.execute("UPDATE sites SET name = 'x' WHERE id = $1", UUID(site_id))
    entry = await last(owner, tenant.id)
    assert entry["actor"] == {"kind": "database", "id": None, "name": "vigie"}
    assert (entry["address"], entry["request_id"]) == ("127.0.0.1", None)
    await owner.execute("TRUNCATE silences")
    assert await actions(owner, str(UUID(int=0))) == ["silence.all_deleted"]


async def test_who_acknowledges_and_who_replays(
    tenant: Tenant, site_id: str, owner: asyncpg.Connection
) -> None:
    client = tenant.client
    await done(client.post("/v1/boxes", json={"id": "box-1", "site_id": site_id}))
    await done(client.post("/v1/rules", json={**RULE, "site_id": site_id}))
    for values in ({"pm2_5": 60.0}, {"pm2_5": 61.0}):
        second = int(values["pm2_5"]) % 60
        sample = {"time": f"2026-11-24T10:00:{second:02}Z", "values": values}
        await done(client.post("/v1/telemetry", json={"box": "box-1", "samples": [sample]}))
    (alert,) = (await done(client.get("/v1/alerts")))["data"]
    await done(client.post(f"/v1/alerts/{alert['id']}/acknowledge"))
    entry = await last(owner, tenant.id)
    assert (entry["action"], entry["subject"]) == (
        "alert.acknowledged",
        {"kind": "alert", "id": alert["id"]},
    )
    await client.post(
        "/v1/telemetry", json={"box": "box-1", "samples": [{**sample, "values": {"pm25": 1.0}}]}
    )
    (refused,) = (await done(client.get("/v1/quarantine")))["data"]
    await client.post(f"/v1/quarantine/{refused['id']}/replay")
    await done(client.delete(f"/v1/quarantine/{refused['id']}"))
    *_, replayed, deleted = await entries(owner, tenant.id)
    assert (replayed["action"], replayed["actor"]["kind"]) == ("quarantine_entry.updated", "key")
    assert replayed["after"] == {"attempts": 1}
    assert (deleted["action"], deleted["before"]["code"]) == ("quarantine_entry.deleted", "unknown_metric")


async def test_twenty_writers_of_one_organisation_wait_for_nobody_in_vain(
    tenant: Tenant, site_id: str, owner: asyncpg.Connection
) -> None:
    before = len(await entries(owner, tenant.id))

    async def write(number: int) -> int:
        answer = await tenant.client.patch(f"/v1/sites/{site_id}", json={"name": f"n{number}"})
        return answer.status_code

    async def add(number: int) -> int:
        answer = await tenant.client.post("/v1/boxes", json={"id": f"box-{number}", "site_id": site_id})
        return answer.status_code

    answers = await asyncio.gather(
        *(write(number) for number in range(10)), *(add(each) for each in range(10))
    )
    assert answers == [200] * 10 + [201] * 10
    added = await entries(owner, tenant.id)
    assert [entry["position"] for entry in added] == list(range(1, before + 21))


async def test_two_that_write_to_the_same_logs_in_another_order_both_succeed(
    database: Database, tenant: Tenant, other_tenant: Tenant, owner: asyncpg.Connection
) -> None:
    rename = "UPDATE organisations SET name = $2 WHERE id = $1"
    one, other = UUID(tenant.id), UUID(other_tenant.id)
    keys = "UPDATE api_keys SET name = $2 WHERE organisation_id = $1"
    connections = [await database.connect() for _ in range(2)]
    for _ in range(5):
        first, second = (connection.transaction() for connection in connections)
        await first.start()
        await second.start()
        # Each log is written to by both; the rows themselves are different ones.
        for whose in (one, other):
            await connections[0].execute(rename, whose, uuid4().hex)
        for whose in (other, one):
            await connections[1].execute(keys, whose, uuid4().hex)
        await asyncio.gather(first.commit(), second.commit())
    for connection in connections:
        await connection.close()
    assert (await actions(owner, tenant.id))[-10:].count("api_key.updated") == 5
