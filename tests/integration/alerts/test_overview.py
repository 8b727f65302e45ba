"""`GET /v1/overview`: what is wrong now, in one call, as far as the caller may see it."""

import asyncio
from datetime import timedelta
from typing import Any

import asyncpg
from fastapi import FastAPI

from tests.conftest import Tenant, client_of
from tests.integration.alerts.watched import CONDITION, WatchedAlerts, add_box

SITE = {
    "name": "Quiet street",
    "kind": "street",
    "timezone": "Europe/Paris",
    "location": {"type": "Point", "coordinates": [1.44, 43.6]},
}


async def overview(watched: WatchedAlerts) -> dict[str, Any]:
    answer = await watched.client.get("/v1/overview")
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


async def test_where_nothing_is_wrong_nothing_is_listed(watched: WatchedAlerts) -> None:
    await watched.send((119, 10))
    found = await overview(watched)
    assert found["firing"] == {
        "total": 0,
        "by_severity": {"critical": 0, "warning": 0, "info": 0},
        "unacknowledged": 0,
        "suppressed": 0,
    }
    assert (found["sites"], found["sites_total"], found["newest"]) == ([], 0, [])
    assert found["silent_boxes"] == {"total": 0, "of": 1, "listed": []}
    assert found["refused_boxes"] == {"total": 0, "of": 1, "listed": []}
    assert found["open_incidents"] == {"total": 0, "listed": []}
    assert found["endpoints"] == {"total": 0, "failing": 0, "disabled": 0, "pending": 0, "listed": []}


async def test_it_counts_by_severity_and_site_and_lists_with_names(watched: WatchedAlerts) -> None:
    grave = CONDITION | {"threshold": 28, "clear": 20, "for": "PT0S"}
    await watched.rule(name="Much dust", severity="critical", condition=grave)
    await watched.rule(name="On trial", dry_run=True, condition=grave)
    await watched.send((1, 30), (3, 31))
    alerts = await watched.alerts()
    await watched.client.post(f"/v1/alerts/{alerts[0]['id']}/acknowledge")
    found = await overview(watched)
    assert found["firing"] == {
        "total": 2,
        "by_severity": {"critical": 1, "warning": 1, "info": 0},
        "unacknowledged": 1,
        "suppressed": 0,
    }
    (site,) = found["sites"]
    assert (site["site_name"], site["firing"]) == (
        "Rue d'Alsace-Lorraine",
        {"critical": 1, "warning": 1, "info": 0},
    )
    assert found["newest"] == await watched.alerts()


async def test_it_names_silent_boxes(watched: WatchedAlerts, connection: asyncpg.Connection) -> None:
    await add_box(watched, "overview-2")
    await watched.send((119, 10))
    gone = timedelta(days=2)
    await connection.execute(
        "UPDATE boxes SET created_at = created_at - $1::interval WHERE id = 'overview-2'", gone
    )
    found = await overview(watched)
    silent = found["silent_boxes"]
    assert (silent["total"], silent["of"]) == (1, 2)
    assert silent["listed"] == [
        {
            "box": "overview-2",
            "box_name": None,
            "site_id": watched.site_id,
            "site_name": "Rue d'Alsace-Lorraine",
            "last_heard_at": None,
        }
    ]
    (site,) = found["sites"]
    assert (site["boxes"], site["silent_boxes"], found["sites_total"]) == (2, 1, 1)


async def test_it_names_boxes_of_which_all_is_refused(
    watched: WatchedAlerts, connection: asyncpg.Connection
) -> None:
    await watched.send((119, 10))
    await add_box(watched, "overview-3")
    await connection.execute(
        "INSERT INTO box_refusals (box_key, refused_at, code) "
        "SELECT key, now(), 'not_finite' FROM boxes WHERE id = 'overview-3'"
    )
    found = await overview(watched)
    refused = found["refused_boxes"]
    assert (refused["total"], refused["of"], found["silent_boxes"]["total"]) == (1, 2, 0)
    (listed,) = refused["listed"]
    assert (listed["box"], listed["site_name"], listed["code"]) == (
        "overview-3",
        "Rue d'Alsace-Lorraine",
        "not_finite",
    )
    assert listed["refused_at"].endswith("Z")
    (site,) = found["sites"]
    assert (site["boxes"], site["silent_boxes"], site["refused_boxes"]) == (2, 0, 1)


async def test_it_says_what_is_not_delivered(watched: WatchedAlerts, connection: asyncpg.Connection) -> None:
    body = {"url": "https://hooks.example.com/secret", "events": ["*"], "description": "Night shift"}
    made = (await watched.client.post("/v1/webhooks", json=body)).json()
    await connection.execute(
        "INSERT INTO endpoint_states "
        "(endpoint_id, consecutive_failures, failing_since, last_reason, last_status) "
        "VALUES ($1, 3, now(), 'http_error', 503)",
        made["id"],
    )
    endpoints = (await overview(watched))["endpoints"]
    assert (endpoints["total"], endpoints["failing"], endpoints["disabled"]) == (1, 1, 0)
    (listed,) = endpoints["listed"]
    assert listed == listed | {
        "endpoint_id": made["id"],
        "kind": "webhook",
        "target": "https://hooks.example.com",
        "description": "Night shift",
        "state": "failing",
        "last_reason": "http_error",
        "last_status": 503,
        "pending": 0,
    }
    await connection.execute(
        "UPDATE webhook_endpoints SET enabled = false, disabled_reason = 'failing' WHERE id = $1", made["id"]
    )
    endpoints = (await overview(watched))["endpoints"]
    assert (endpoints["failing"], endpoints["disabled"]) == (0, 1)
    assert endpoints["listed"][0]["state"] == "disabled"


async def test_who_is_limited_to_a_site_reads_of_this_one_alone(
    watched: WatchedAlerts, application: FastAPI
) -> None:
    await watched.send((1, 30), (3, 31))
    other = (await watched.client.post("/v1/sites", json=SITE)).json()["id"]
    key = {"name": "one site", "scopes": ["alerts:read", "sites:read"], "site_ids": [other]}
    made = (await watched.client.post("/v1/api-keys", json=key)).json()
    async with client_of(application, made["key"]) as limited:
        found = (await limited.get("/v1/overview")).json()
    assert (found["firing"]["total"], found["sites"], found["newest"]) == (0, [], [])
    assert found["silent_boxes"] == {"total": 0, "of": 0, "listed": []}
    assert found["endpoints"] is None
    assert (await overview(watched))["firing"]["total"] == 1


async def test_another_tenant_reads_nothing_of_it(watched: WatchedAlerts, other_tenant: Tenant) -> None:
    await watched.send((1, 30), (3, 31))
    found = (await other_tenant.client.get("/v1/overview")).json()
    assert (found["firing"]["total"], found["silent_boxes"]["of"], found["newest"]) == (0, 0, [])


async def test_a_key_without_measurements_reads_no_current_value(
    watched: WatchedAlerts, application: FastAPI
) -> None:
    await watched.send((1, 30), (3, 31))
    made = (await watched.client.post("/v1/api-keys", json={"name": "x", "scopes": ["alerts:read"]})).json()
    async with client_of(application, made["key"]) as narrow:
        found = (await narrow.get("/v1/overview")).json()
    assert (found["silent_boxes"], found["endpoints"]) == (None, None)
    assert found["newest"][0]["current_value"] is None
    assert (await overview(watched))["newest"][0]["current_value"] == 31


async def test_it_counts_boxes_by_activity_and_stored_samples(
    watched: WatchedAlerts, application: FastAPI, connection: asyncpg.Connection
) -> None:
    await add_box(watched, "overview-4")
    await connection.execute(
        "UPDATE boxes SET created_at = created_at - interval '2 days' WHERE id = 'overview-4'"
    )
    found = await overview(watched)
    assert found["boxes"] == {"total": 2, "active": 1, "silent": 1, "refused": 0}
    assert found["samples_per_s"] is None
    await watched.send(*((minute, 10) for minute in range(10)))
    await asyncio.sleep(1.1)
    rate = (await overview(watched))["samples_per_s"]
    assert 0 < rate < 10
    made = (await watched.client.post("/v1/api-keys", json={"name": "x", "scopes": ["alerts:read"]})).json()
    async with client_of(application, made["key"]) as narrow:
        limited = (await narrow.get("/v1/overview")).json()
    assert (limited["boxes"], limited["samples_per_s"]) == (None, None)
