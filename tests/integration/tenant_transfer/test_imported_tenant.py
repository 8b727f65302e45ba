"""An imported tenant goes on where it was: boxes measure, rules know their alerts, people read all of it."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import UUID

import httpx
import pytest
from fastapi import FastAPI

from app.settings import VigieSettings
from tests.conftest import client_of, new_application, running
from tests.integration.access.world import TenantsUnderTest, make
from tests.integration.tenant_transfer.archives import export_to, import_from


@pytest.fixture
async def installation(
    world: TenantsUnderTest, settings: VigieSettings, second_url: str, folder: Path
) -> AsyncIterator[FastAPI]:
    """Another installation, which imported the tenant of the world."""
    await export_to(settings.database.url, UUID(world.client.id), folder / "archive.zip")
    await import_from(second_url, folder / "archive.zip", folder / "credentials.csv")
    other = settings.model_copy(deep=True)
    other.database.url = second_url
    async with running(new_application(other)) as app:
        yield app


@pytest.fixture
async def admin(installation: FastAPI, admin_key: str) -> AsyncIterator[httpx.AsyncClient]:
    """The API of another installation, for its administrator."""
    async with client_of(installation, admin_key) as client:
        yield client


@pytest.fixture
async def moved(
    world: TenantsUnderTest, installation: FastAPI, admin: httpx.AsyncClient
) -> AsyncIterator[httpx.AsyncClient]:
    """The API of another installation, for the tenant of the world."""
    key = await make(admin, "/v1/api-keys", organisation_id=world.client.id, name="moved", scopes=["*"])
    async with client_of(installation, key["key"]) as client:
        yield client


async def _alert(client: httpx.AsyncClient, identifier: str) -> dict[str, Any]:
    found: dict[str, Any] = (await client.get(f"/v1/alerts/{identifier}")).raise_for_status().json()
    return found


async def test_an_alert_that_fired_before_resolves_after_the_move(
    world: TenantsUnderTest, moved: httpx.AsyncClient
) -> None:
    alert, box = world.ids["alert_id"], world.ids["box"]
    assert (await _alert(moved, alert))["state"] == "firing"
    sample = {"time": datetime.now(UTC).isoformat(), "values": {"pm2_5": 1.5}}
    answer = await make(moved, "/v1/telemetry", box=box, samples=[sample])
    assert answer["stored"] == 1
    assert (await _alert(moved, alert))["state"] == "resolved"
    # Where it comes from, it fires on.
    assert (await _alert(world.client.client, alert))["state"] == "firing"


async def test_everything_is_read_by_the_api_as_before(
    world: TenantsUnderTest, moved: httpx.AsyncClient
) -> None:
    ids = world.ids
    for path in (
        f"/v1/sites/{ids['site_id']}",
        f"/v1/boxes/{ids['box']}",
        f"/v1/rules/{ids['rule_id']}",
        f"/v1/rules/{ids['rule_id']}/versions",
        f"/v1/alerts/{ids['alert_id']}",
        f"/v1/silences/{ids['silence_id']}",
        f"/v1/inhibitions/{ids['inhibition_id']}",
        f"/v1/incidents/{ids['incident_id']}",
        f"/v1/boxes/{ids['box']}/readings?metric=pm2_5&from=2026-11-01T00:00:00Z",
    ):
        here, there = await moved.get(path), await world.client.client.get(path)
        assert (path, here.status_code) == (path, there.status_code)
        assert here.status_code == 200, (path, here.text)
        assert here.json() == there.json(), path
    (member,) = (await moved.get("/v1/members")).json()["data"]
    (former,) = (await world.client.client.get("/v1/members")).json()["data"]
    # The member is the same person, without a second factor.
    differing = {name for name in member if member[name] != former[name]}
    assert differing == {"second_factor", "last_sign_in_at"}
    webhook = (await moved.get(f"/v1/webhooks/{ids['webhook']}")).raise_for_status().json()
    assert (webhook["enabled"], webhook["disabled_reason"]) == (False, "imported")
    enabled = await moved.patch(f"/v1/webhooks/{ids['webhook']}", json={"enabled": True})
    assert (enabled.status_code, enabled.json()["disabled_reason"]) == (200, None)


async def test_only_an_administrator_lets_a_member_in_by_a_new_password(
    world: TenantsUnderTest, moved: httpx.AsyncClient, admin: httpx.AsyncClient
) -> None:
    (member,) = (await admin.get(f"/v1/members?organisation={world.client.id}")).json()["data"]
    reset = f"/v1/members/{member['id']}/password-reset"
    assert (await moved.post(reset)).json()["code"] == "no_password"
    token, password = (await make(admin, reset))["token"], "six renards dans le jardin"
    done = await moved.post("/v1/passwords/reset", json={"token": token, "password": password})
    assert done.status_code == 204, done.text
    person = {"email": member["email"], "password": password, "organisation_id": world.client.id}
    signed_in = await make(moved, "/v1/sessions", **person)
    assert signed_in["organisation"]["id"] == world.client.id
