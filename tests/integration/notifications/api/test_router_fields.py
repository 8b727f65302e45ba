"""What an endpoint says of itself by REST: its format, severity, headers, limits, and why it is disabled."""

import json
from uuid import UUID

import asyncpg
from standardwebhooks import Webhook

from app.notifications.api.replay_schemas import ReplayCreate
from app.notifications.api.webhook_schemas import ROTATIONS, EndpointChange, EndpointCreate
from app.platform.db.database import Database
from app.settings import VigieSettings
from tests.conftest import Tenant
from tests.integration.notifications.calls import create, data_of
from tests.integration.notifications.helpers import dispatching, with_webhooks
from tests.integration.notifications.log import add_channel
from tests.integration.notifications.receivers import receiving, status


async def test_what_an_endpoint_is_unless_it_says_otherwise(tenant: Tenant) -> None:
    made = await create(tenant)
    assert {name: made[name] for name in ("format", "min_severity", "headers", "rate_per_s")} == {
        "format": "native",
        "min_severity": None,
        "headers": None,
        "rate_per_s": None,
    }
    assert (made["concurrency"], made["secret_expires"]) == (None, [])
    assert (made["disabled_reason"], made["disabled_at"]) == (None, None)
    severe = await create(tenant, min_severity="critical")
    assert severe["events"] == ["alert.firing", "alert.escalated", "alert.resolved"]
    told = await create(tenant, min_severity="critical", events=["alert.firing"])
    assert told["events"] == ["alert.firing"]


async def test_what_the_documentation_offers_to_try_is_taken(tenant: Tenant) -> None:
    for example in EndpointCreate.model_json_schema()["examples"]:
        made = await create(tenant, **example)
    for example in EndpointChange.model_json_schema()["examples"]:
        changed = await tenant.client.patch(f"/v1/webhooks/{made['id']}", json=example)
        assert changed.status_code == 200
    for example in ReplayCreate.model_json_schema()["examples"]:
        ReplayCreate.model_validate_json(json.dumps(example))
    for rotation in ROTATIONS.values():
        answer = await tenant.client.post(f"/v1/webhooks/{made['id']}/rotate-secret", json=rotation["value"])
        assert answer.status_code == 200


async def test_format_severity_rate_and_concurrency_change(tenant: Tenant) -> None:
    wanted = {"format": "cloudevents", "min_severity": "warning", "rate_per_s": 0.01, "concurrency": 100}
    made = await create(tenant, **wanted)
    assert {name: made[name] for name in wanted} == wanted
    path = f"/v1/webhooks/{made['id']}"
    for change in (
        {"format": "alertmanager", "rate_per_s": 1000, "concurrency": 1},
        {"min_severity": None, "rate_per_s": None, "concurrency": None},
    ):
        changed = (await tenant.client.patch(path, json=change)).raise_for_status().json()
        assert {name: changed[name] for name in change} == change
        assert changed["format"] == "alertmanager"
        # A severity that changes leaves what is subscribed to as it is.
        assert changed["events"] == ["alert.firing", "alert.escalated", "alert.resolved"]


async def test_headers_are_sent_and_their_values_never_shown(
    tenant: Tenant, database: Database, settings: VigieSettings
) -> None:
    headers = {"Authorization": "Bearer hunter2", "X-Tab": "a\tb", "Cookie": "a=b", "X-Empty": ""}
    async with receiving(status(204)) as receiver:
        made = await create(tenant, url=receiver.url, headers=headers)
        path = f"/v1/webhooks/{made['id']}"
        async with dispatching(with_webhooks(settings), database):
            await tenant.client.post(f"{path}/test")
            (first,) = await receiver.wait(1)
            changed = await tenant.client.patch(path, json={"headers": {"X-Other": "hunter3"}})
            await tenant.client.post(f"{path}/test")
            second = (await receiver.wait(2))[1]
            removed = await tenant.client.patch(path, json={"headers": None})
            await tenant.client.post(f"{path}/test")
            third = (await receiver.wait(3))[2]
    assert {name: first.headers[name.lower()] for name in headers} == headers
    assert (second.headers["x-other"], "authorization" in second.headers) == ("hunter3", False)
    assert "x-other" not in third.headers
    for got in (first, second, third):
        Webhook(made["secret"]).verify(got.body, got.headers)
    assert made["headers"] == dict.fromkeys(headers, "…")
    assert (changed.json()["headers"], removed.json()["headers"]) == ({"X-Other": "…"}, None)
    texts = [(await tenant.client.get(where)).text for where in (path, "/v1/webhooks", "/v1/deliveries")]
    assert not any("hunter" in text for text in (*texts, changed.text))


async def test_enabling_forgets_why_it_was_disabled(tenant: Tenant, connection: asyncpg.Connection) -> None:
    made = await create(tenant)
    path = f"/v1/webhooks/{made['id']}"
    await connection.execute(
        "UPDATE webhook_endpoints SET enabled = false, disabled_reason = 'gone', disabled_at = now()"
    )
    await connection.execute(
        "INSERT INTO endpoint_states (endpoint_id, consecutive_failures, failing_since, slow_step, "
        "open_until) VALUES ($1, 7, now(), 3, now() + interval '1 minute')",
        UUID(made["id"]),
    )
    shown = (await tenant.client.get(path)).json()
    assert (shown["enabled"], shown["disabled_reason"]) == (False, "gone")
    assert shown["disabled_at"].endswith("Z")
    other = (await tenant.client.patch(path, json={"description": "Ours"})).json()
    assert other["disabled_reason"] == "gone"
    enabled = (await tenant.client.patch(path, json={"enabled": True})).json()
    assert (enabled["enabled"], enabled["disabled_reason"], enabled["disabled_at"]) == (True, None, None)
    health = (await tenant.client.get(f"{path}/health")).json()
    assert (health["consecutive_failures"], health["failing_since"], health["state"]) == (0, None, "idle")
    # Its owner's own word needs no reason.
    disabled = (await tenant.client.patch(path, json={"enabled": False})).json()
    assert (disabled["enabled"], disabled["disabled_reason"], disabled["disabled_at"]) == (False, None, None)


async def test_a_channel_is_no_webhook(tenant: Tenant, connection: asyncpg.Connection) -> None:
    channel = await add_channel(connection, UUID(tenant.id))
    made = await create(tenant)
    path = f"/v1/webhooks/{channel}"
    answers = [
        await tenant.client.get(path),
        await tenant.client.patch(path, json={"enabled": False}),
        await tenant.client.delete(path),
        await tenant.client.post(f"{path}/rotate-secret"),
        await tenant.client.post(f"{path}/test"),
        await tenant.client.get(f"{path}/deliveries"),
        await tenant.client.get(f"{path}/health"),
        await tenant.client.get(f"{path}/replays"),
        await tenant.client.post(f"{path}/replays", json={"since": "2026-01-01T00:00:00Z"}),
        await tenant.client.get(f"/v1/channels/{made['id']}/deliveries"),
        await tenant.client.get(f"/v1/channels/{made['id']}/health"),
        await tenant.client.post(f"/v1/channels/{made['id']}/test"),
    ]
    assert [answer.status_code for answer in answers] == [404] * len(answers)
    assert [one["id"] for one in await data_of(tenant.client, "/v1/webhooks")] == [made["id"]]
