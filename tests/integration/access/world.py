"""An integrator with two clients, a stranger, and one of everything that a client can have."""

import json
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import httpx
from fastapi import FastAPI
from sqlalchemy import text

from app.platform.db.database import Database
from app.platform.kernel.ids import new_id
from tests.conftest import Tenant, client_of
from tests.incidents import put_incident
from tests.integration.people.authenticator import SoftwareAuthenticator

MARK: Final = "zebra"
"""Part of every name that the client gives: whoever else reads it has been told too much."""


@dataclass
class TenantsUnderTest:
    """What there is.

    Attributes:
        admin: the platform's administrator.
        integrator: whose clients the next two are.
        client: has one of everything.
        sibling: another client of the same integrator.
        stranger: a client of the platform.
        ids: of the client's things, by the name of the parameter of a path.
        keys: API keys of the client, by what is wrong with them.
    """

    admin: httpx.AsyncClient
    integrator: Tenant
    client: Tenant
    sibling: Tenant
    stranger: Tenant
    ids: dict[str, str] = field(default_factory=dict)
    keys: dict[str, str] = field(default_factory=dict)


async def make(client: httpx.AsyncClient, path: str, **body: Any) -> dict[str, Any]:  # noqa: ANN401 (a JSON body)
    """POST, and give what was made."""
    answer = await client.post(path, json=body)
    assert answer.status_code < 300, (path, answer.text)
    made: dict[str, Any] = answer.json()
    return made


async def _tenant(
    app: FastAPI, stack: AsyncExitStack, by: httpx.AsyncClient, name: str, **more: str
) -> Tenant:
    organisation = await make(by, "/v1/organisations", name=name, **more)
    made = await make(by, "/v1/api-keys", organisation_id=organisation["id"], name=name, scopes=["*"])
    client = await stack.enter_async_context(client_of(app, made["key"]))
    return Tenant(client, organisation["id"], made["key"])


async def _things(client: httpx.AsyncClient) -> dict[str, str]:
    """One of everything that can be made by the API."""
    place = {"type": "Point", "coordinates": [1.4442, 43.6047]}
    site = await make(
        client, "/v1/sites", name=f"{MARK} street", kind="street", timezone="Europe/Paris", location=place
    )
    box = f"{MARK}-0001"
    await make(client, "/v1/boxes", id=box, site_id=site["id"], name=f"{MARK} box")
    condition = {"metric": "pm2_5", "operator": ">", "threshold": 25}
    rule = await make(
        client, "/v1/rules", site_id=site["id"], name=f"{MARK} dust", severity="warning", condition=condition
    )
    put = await client.put(f"/v1/boxes/{box}/config", json={"config": {"note": MARK}})
    assert put.status_code < 300, put.text
    now = datetime.now(UTC) - timedelta(minutes=1)
    samples = [
        {"time": now.isoformat(), "values": {"pm2_5": 99.5}},
        {"time": now.isoformat(), "values": {MARK: 1}},
    ]
    await make(client, "/v1/telemetry", box=box, samples=samples)
    matchers = {"site_ids": [site["id"]]}
    ends_at = (datetime.now(UTC) + timedelta(hours=1)).isoformat()
    silence = await make(client, "/v1/silences", matchers=matchers, ends_at=ends_at, comment=MARK)
    inhibition = await make(
        client,
        "/v1/inhibitions",
        name=f"{MARK} hush",
        source={"rule_ids": [rule["id"]]},
        target={"site_ids": [site["id"]]},
        equal=["site"],
    )
    webhook = await make(
        client, "/v1/webhooks", url="https://example.com/hook", description=MARK, events=["alert.firing"]
    )
    channel = await make(client, "/v1/channels", kind="mqtt", description=MARK)
    sink = {"kind": "webhook", "url": "https://example.com/hook"}
    subscription = await make(client, "/v1/measurement-subscriptions", name=f"{MARK} portal", sink=sink)
    batch = await make(client, f"/v1/measurement-subscriptions/{subscription['id']}/test")
    notified = await make(
        client,
        "/ngsi-ld/v1/subscriptions",
        type="Subscription",
        subscriptionName=f"{MARK} broker",
        entities=[{"type": "NoiseLevelObserved"}],
        notification={"endpoint": {"uri": "https://example.com/notify"}},
    )
    day = {"from": (now - timedelta(days=1)).isoformat(), "to": now.isoformat()}
    backtest = await make(client, "/v1/rules/backtest?wait=0", rule_id=rule["id"], **day)
    replay = await make(client, f"/v1/webhooks/{webhook['id']}/replays", since=day["from"])
    claim = await make(client, "/v1/claims", site_id=site["id"], name=f"{MARK} claim")
    provisioning = await make(
        client, "/v1/provisioning-keys", site_id=site["id"], name=f"{MARK} key", id_prefix=MARK
    )
    correction = await make(
        client,
        f"/v1/boxes/{box}/corrections",
        metric="pm2_5",
        kind="linear",
        gain=0.9,
        valid_from=day["from"],
        valid_until=day["to"],
        note=f"{MARK} station",
    )
    # Of a time in which nothing was measured: the rest of the world stays as it is.
    long_ago = {"from": "2001-01-01T00:00:00Z", "until": "2001-01-02T00:00:00Z"}
    erasure = await make(client, f"/v1/sites/{site['id']}/erasures", reason=f"{MARK} file", **long_ago)
    await make(client, "/v1/rights-requests", kind="access", site_id=site["id"], message=f"{MARK} asks")
    requests = (await client.get("/v1/rights-requests")).json()["data"]
    alerts = (await client.get("/v1/alerts?limit=1")).json()["data"]
    quarantine = (await client.get("/v1/quarantine?limit=1")).json()["data"]
    return {
        "site_id": site["id"],
        "box": box,
        "correction_id": correction["id"],
        "rule_id": rule["id"],
        "version": "1",
        "silence_id": silence["id"],
        "inhibition_id": inhibition["id"],
        "webhook": webhook["id"],
        "channel": channel["id"],
        "subscription_id": subscription["id"],
        "batch_id": batch["id"],
        "ngsi_ld_subscription_id": notified["id"],
        "backtest_id": backtest["id"],
        "replay": replay["id"],
        "claim_id": claim["id"],
        "provisioning_key": provisioning["id"],
        "alert_id": alerts[0]["id"],
        "entry_id": quarantine[0]["id"],
        "erasure_id": erasure["id"],
        "request_id": requests[0]["id"],
    }


async def _delivery(database: Database, owner: str, endpoint: str) -> str:
    """A delivery with an attempt: the dispatcher's work, which does not run here."""
    identifier = new_id()
    async with database.write() as session:
        await session.execute(
            text(
                "INSERT INTO deliveries (id, organisation_id, endpoint_id, event_id, type, body, state,"
                " attempt_count, created_at) VALUES (:id, :owner, :endpoint, :event, 'alert.firing', :body,"
                " 'failed', 1, now())"
            ),
            {
                "id": identifier,
                "owner": owner,
                "endpoint": endpoint,
                "event": new_id(),
                "body": json.dumps({"type": "alert.firing", "data": {"note": MARK}}).encode(),
            },
        )
        await session.execute(
            text(
                "INSERT INTO delivery_attempts (id, delivery_id, endpoint_id, number, started_at,"
                " duration_ms, reason, response_body)"
                " VALUES (:id, :delivery, :endpoint, 1, now(), 1, 'timeout', :body)"
            ),
            {"id": new_id(), "delivery": identifier, "endpoint": endpoint, "body": MARK},
        )
    return str(identifier)


async def _schedule(database: Database, owner: str, site: str) -> str:
    """A scheduled report: by the API it would need a mail server."""
    identifier = new_id()
    async with database.write() as session:
        await session.execute(
            text(
                "INSERT INTO report_schedules (id, organisation_id, site_id, report, hour, recipients,"
                " formats, language, alerts, enabled, next_at, created_at, updated_at)"
                " VALUES (:id, :owner, :site, 'day', 8, :recipients, '{pdf}', 'en', true, true,"
                " now() + interval '1 hour', now(), now())"
            ),
            {"id": identifier, "owner": owner, "site": site, "recipients": [f"{MARK}@example.com"]},
        )
    return str(identifier)


async def _keys(client: httpx.AsyncClient, database: Database) -> dict[str, str]:
    """Keys of the client with something wrong about each; those that have expired were made in time."""
    made = {
        name: await make(client, "/v1/api-keys", name=f"{MARK} {name}", scopes=["*"])
        for name in ("revoked", "expired", "kept")
    }
    assert (await client.delete(f"/v1/api-keys/{made['revoked']['id']}")).status_code == 204
    async with database.write() as session:
        await session.execute(
            text("UPDATE api_keys SET expires_at = now() - interval '1 second' WHERE id = :id"),
            {"id": made["expired"]["id"]},
        )
    narrow = {
        name: await make(client, "/v1/api-keys", name=f"{MARK} {name}", scopes=[scope])
        for name, scope in (("telemetry", "telemetry:write"), ("sites", "sites:read"))
    }
    return {name: key["key"] for name, key in (made | narrow).items()} | {"key_id": made["kept"]["id"]}


async def _grant(application: FastAPI, tenant: Tenant, site: str, *, mark: str = MARK) -> dict[str, str]:
    """A grant that was accepted: its id, that of its key, and the key."""
    now = datetime.now(UTC)
    made = await make(
        tenant.client,
        "/v1/grants",
        recipient=f"{mark} lab",
        recipient_country="FR",
        contact=f"{mark}@example.org",
        purpose=f"{mark} research",
        site_ids=[site],
        metrics=["pm2_5"],
        terms=f"{mark} terms",
        valid_until=(now + timedelta(days=30)).isoformat(),
    )
    async with client_of(application, made["link"]["token"]) as holder:
        offer = (await holder.get("/v1/grant-offer")).json()
        body = {"name": f"{mark} person", "content_hash": offer["content_hash"]}
        key = (await make(holder, "/v1/grant-offer/acceptance", **body))["key"]
    return {"grant_id": made["id"], "grant_key_id": key["id"], "key": key["key"]}


async def _people(client: httpx.AsyncClient) -> dict[str, str]:
    """A member, who signed in, and somebody who is invited."""
    made = [
        await make(client, "/v1/invitations", email=f"{MARK}-{name}@example.com", role="owner")
        for name in ("member", "guest")
    ]
    person = {"name": f"{MARK} member", "password": "quatre vaches sous la pluie"}
    signed_in = await make(client, "/v1/invitations/accept", token=made[0]["token"], **person)
    headers = {"Authorization": f"Bearer {signed_in['token']}"}
    (held,) = (await client.get("/v1/me/sessions", headers=headers)).json()["data"]
    begun = (await client.post("/v1/me/passkeys/options", headers=headers)).json()
    credential = SoftwareAuthenticator().create(begun["options"])
    body = {"challenge": begun["challenge"], "name": f"{MARK} phone", "credential": credential}
    passkey = (await client.post("/v1/me/passkeys", json=body, headers=headers)).json()
    return {
        "passkey_id": passkey["id"],
        "member_id": signed_in["memberships"][0]["id"],
        "invitation_id": made[1]["id"],
        "session_id": held["id"],
    }


@asynccontextmanager
async def make_world(
    application: FastAPI, admin: httpx.AsyncClient, database: Database
) -> AsyncIterator[TenantsUnderTest]:
    """Make it all."""
    async with AsyncExitStack() as stack:
        integrator = await _tenant(application, stack, admin, "Integrator", kind="integrator")
        client = await _tenant(application, stack, integrator.client, f"{MARK} & Co")
        sibling = await _tenant(application, stack, integrator.client, "Sibling")
        stranger = await _tenant(application, stack, admin, "Stranger")
        ids = await _things(client.client)
        ids |= await _people(client.client)
        ids["incident_id"] = await put_incident(database, ids["site_id"], boxes=[ids["box"]])
        ids["delivery"] = await _delivery(database, client.id, ids["webhook"])
        link = await make(client.client, f"/v1/webhooks/{ids['webhook']}/portal-links", name=f"{MARK} link")
        ids["portal_link"] = link["id"]
        ids["schedule_id"] = await _schedule(database, client.id, ids["site_id"])
        keys = await _keys(client.client, database)
        grant = await _grant(application, client, ids["site_id"])
        keys["grant"] = grant.pop("key")
        ids |= grant
        place = {"type": "Point", "coordinates": [2.35, 48.85]}
        street = {"name": "Quai", "kind": "street", "timezone": "Europe/Paris", "location": place}
        other = await make(stranger.client, "/v1/sites", **street)
        keys["foreign_grant"] = (await _grant(application, stranger, other["id"], mark="foreign"))["key"]
        ids |= {"organisation_id": client.id, "key_id": keys.pop("key_id")}
        yield TenantsUnderTest(admin, integrator, client, sibling, stranger, ids, keys)
