"""A rule is made again what it was in one of its versions."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

import httpx
import pytest
from sqlalchemy import update

from app.platform.db.database import Database
from app.platform.kernel.ids import new_id
from app.rules.definitions.models import RuleVersion
from tests.conftest import Tenant

PM: dict[str, Any] = {"metric": "pm2_5", "operator": ">", "threshold": 25}
FIRST: dict[str, Any] = {
    "name": "Dust",
    "description": "Open the windows",
    "severity": "info",
    "condition": {**PM, "clear": 20, "for": "PT10M"},
    "scope": {"tags": ["school"]},
    "active": [{"from": "08:00", "to": "18:00"}],
    "max_age": "PT2H",
    "escalations": [{"after": "PT1H", "severity": "critical"}],
    "remind_every": "PT1H",
}
LADDER: dict[str, Any] = {
    "name": "Dust in steps",
    "description": None,
    "levels": [
        {"severity": "warning", "condition": PM},
        {"severity": "critical", "condition": {**PM, "threshold": 50}},
    ],
    "scope": None,
    "active": None,
    "max_age": "PT1H",
    "escalations": [],
    "remind_every": None,
    "enabled": False,
    "dry_run": True,
}


async def make(tenant: Tenant, site_id: str, fields: Mapping[str, Any]) -> dict[str, Any]:
    answer = await tenant.client.post("/v1/rules", json={"site_id": site_id, "name": "r", **fields})
    assert answer.status_code == 201, answer.text
    made: dict[str, Any] = answer.json()
    return made


async def restore(tenant: Tenant, rule_id: str, version: object, status: int = 200) -> dict[str, Any]:
    answer = await tenant.client.post(f"/v1/rules/{rule_id}/versions/{version}/restore")
    assert answer.status_code == status, answer.text
    found: dict[str, Any] = answer.json()
    return found


def told(shown: Mapping[str, Any]) -> dict[str, Any]:
    """What a version holds."""
    apart = {"version", "created_at", "updated_at", "created_by", "created_by_name", "deleted", "rule_id"}
    return {name: value for name, value in shown.items() if name not in apart}


async def test_all_that_a_version_holds_comes_back_as_a_new_one(tenant: Tenant, site_id: str) -> None:
    first = await make(tenant, site_id, FIRST)
    path = f"/v1/rules/{first['id']}"
    second = (await tenant.client.patch(path, json=LADDER)).json()
    assert (second["version"], second["enabled"], second["dry_run"]) == (2, False, True)
    third = await restore(tenant, first["id"], 1)
    assert third["version"] == 3
    assert told(third) == told(first)
    assert (await tenant.client.get(path)).json() == third
    fourth = await restore(tenant, first["id"], 2)
    assert fourth["version"] == 4
    assert told(fourth) == told(second)
    versions = (await tenant.client.get(f"{path}/versions")).json()["data"]
    assert [each["version"] for each in versions] == [4, 3, 2, 1]
    assert told(versions[0]) == told(versions[2])
    assert told(versions[1]) == told(versions[3])
    # As it is, it is no change.
    assert await restore(tenant, first["id"], 2) == fourth
    assert await restore(tenant, first["id"], 4) == fourth
    assert (await tenant.client.get(path)).json() == fourth


async def test_the_new_version_names_the_key_that_restored(
    api: httpx.AsyncClient, tenant: Tenant, site_id: str
) -> None:
    made = await make(tenant, site_id, FIRST)
    path = f"/v1/rules/{made['id']}"
    await tenant.client.patch(path, json={"name": "other"})
    body = {"organisation_id": tenant.id, "name": "Night shift", "scopes": ["rules:read", "rules:write"]}
    key = (await api.post("/v1/api-keys", json=body)).json()
    headers = {"Authorization": f"Bearer {key['key']}"}
    assert (await tenant.client.post(f"{path}/versions/1/restore", headers=headers)).status_code == 200
    newest = (await tenant.client.get(f"{path}/versions/3")).json()
    assert (newest["created_by"], newest["created_by_name"]) == (key["id"], "Night shift")
    body = {"organisation_id": tenant.id, "name": "Reader", "scopes": ["rules:read"]}
    reader = (await api.post("/v1/api-keys", json=body)).json()
    headers = {"Authorization": f"Bearer {reader['key']}"}
    refused = await tenant.client.post(f"{path}/versions/1/restore", headers=headers)
    assert (refused.status_code, refused.json()["code"]) == (403, "forbidden")


async def test_what_is_not_there_is_not_restored(tenant: Tenant, other_tenant: Tenant, site_id: str) -> None:
    made = await make(tenant, site_id, FIRST)
    for version in (2, 0, -1, "one", 2**31, 10**30):
        assert (await restore(tenant, made["id"], version, 404))["code"] == "not_found"
    assert (await restore(tenant, str(new_id()), 1, 404))["code"] == "not_found"
    await tenant.client.patch(f"/v1/rules/{made['id']}", json={"name": "other"})
    assert (await restore(other_tenant, made["id"], 1, 404))["code"] == "not_found"
    assert (await tenant.client.get(f"/v1/rules/{made['id']}")).json()["version"] == 2
    await tenant.client.delete(f"/v1/rules/{made['id']}")
    assert (await restore(tenant, made["id"], 1, 404))["code"] == "not_found"


async def test_boxes_that_have_left_are_refused(tenant: Tenant, site_id: str) -> None:
    box = f"box-{uuid4().hex[:8]}"
    (await tenant.client.post("/v1/boxes", json={"id": box, "site_id": site_id})).raise_for_status()
    made = await make(tenant, site_id, {**FIRST, "scope": {"boxes": [box]}})
    path = f"/v1/rules/{made['id']}"
    await tenant.client.patch(path, json={"max_age": "PT3H"})
    await tenant.client.patch(path, json={"scope": None})
    (await tenant.client.delete(f"/v1/boxes/{box}")).raise_for_status()
    refused = await restore(tenant, made["id"], 2, 422)
    assert refused["code"] == "unknown_box_in_rule"
    assert [fault["field"] for fault in refused["errors"]] == ["version.scope.boxes.0"]
    assert (await tenant.client.get(path)).json()["version"] == 3
    # While the rule names the box still, another version that does is no reason to refuse it.
    other = f"box-{uuid4().hex[:8]}"
    (await tenant.client.post("/v1/boxes", json={"id": other, "site_id": site_id})).raise_for_status()
    kept = await make(tenant, site_id, {**FIRST, "scope": {"boxes": [other]}})
    await tenant.client.patch(f"/v1/rules/{kept['id']}", json={"max_age": "PT3H"})
    (await tenant.client.delete(f"/v1/boxes/{other}")).raise_for_status()
    assert (await restore(tenant, kept["id"], 1))["max_age"] == "PT2H"


async def test_what_rules_may_not_have_any_more_is_refused(
    tenant: Tenant, site_id: str, database: Database
) -> None:
    made = await make(tenant, site_id, FIRST)
    await tenant.client.patch(f"/v1/rules/{made['id']}", json={"name": "other"})
    async with database.write() as session:
        changed = {"levels": [{"severity": "info", "condition": {**PM, "function": "median"}}]}
        defined = {name: made[name] for name in ("scope", "active", "max_age", "escalations", "remind_every")}
        await session.execute(
            update(RuleVersion)
            .where(RuleVersion.rule_id == made["id"], RuleVersion.version == 1)
            .values(definition=changed | defined)
        )
    refused = await restore(tenant, made["id"], 1, 422)
    assert refused["code"] == "version_outdated"
    assert "condition." in refused["detail"]


@pytest.mark.parametrize(
    ("change", "resolution"),
    [({"condition": {**PM, "threshold": 30}}, "rule_changed"), ({"name": "other"}, None)],
)
async def test_it_closes_what_fires_exactly_where_a_change_would(
    tenant: Tenant, site_id: str, change: dict[str, Any], resolution: str | None
) -> None:
    made = await make(tenant, site_id, {"severity": "info", "condition": PM})
    await tenant.client.patch(f"/v1/rules/{made['id']}", json=change)
    box = f"box-{uuid4().hex[:8]}"
    (await tenant.client.post("/v1/boxes", json={"id": box, "site_id": site_id})).raise_for_status()
    now = datetime.now(UTC).isoformat()
    body = {"box": box, "samples": [{"time": now, "values": {"pm2_5": 40}}]}
    (await tenant.client.post("/v1/telemetry", json=body)).raise_for_status()
    (firing,) = (await tenant.client.get("/v1/alerts")).json()["data"]
    assert (firing["state"], firing["rule_version"]) == ("firing", 2)
    await restore(tenant, made["id"], 1)
    (alert,) = (await tenant.client.get("/v1/alerts")).json()["data"]
    assert alert["resolution"] == resolution
