"""How much the rules of one site may look at: nobody's rules keep the samples of others waiting."""

from typing import Any

import pytest

from tests.conftest import Tenant

WINDOW = {"metric": "pm2_5", "operator": ">", "threshold": 25, "function": "mean"}


def rule(site_id: str, parts: int, **more: Any) -> dict[str, Any]:  # noqa: ANN401 (a body)
    leaves = [WINDOW | {"window": f"PT{minutes}M"} for minutes in range(1, parts)]
    return {"site_id": site_id, "name": "Many", "severity": "info", "condition": {"any": leaves}} | more


@pytest.fixture(autouse=True)
def few(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("app.rules.definitions.service.EFFORT_LIMIT", 50)


async def test_a_site_whose_rules_are_enough_takes_no_more(tenant: Tenant, site_id: str) -> None:
    client = tenant.client
    first = (await client.post("/v1/rules", json=rule(site_id, 30))).raise_for_status().json()["id"]
    refused = await client.post("/v1/rules", json=rule(site_id, 21))
    assert (refused.status_code, refused.json()["code"]) == (422, "too_many_conditions")
    assert "the other rules of the site have 30" in refused.json()["detail"]
    assert (await client.post("/v1/rules", json=rule(site_id, 20))).status_code == 201
    # A disabled one costs nothing until it is enabled.
    idle = await client.post("/v1/rules", json=rule(site_id, 21, enabled=False))
    assert idle.status_code == 201
    enabled = await client.patch(f"/v1/rules/{idle.json()['id']}", json={"enabled": True})
    assert (enabled.status_code, enabled.json()["code"]) == (422, "too_many_conditions")
    more = await client.patch(f"/v1/rules/{first}", json={"condition": rule(site_id, 31)["condition"]})
    assert more.status_code == 422
    fewer = await client.patch(f"/v1/rules/{first}", json={"condition": rule(site_id, 9)["condition"]})
    assert fewer.status_code == 200
    enabled = await client.patch(f"/v1/rules/{idle.json()['id']}", json={"enabled": True})
    assert enabled.status_code == 200


async def test_rules_behind_a_gate_do_not_count(tenant: Tenant, site_id: str) -> None:
    (await tenant.client.post("/v1/rules", json=rule(site_id, 50))).raise_for_status()
    plain = {"metric": "pm2_5", "operator": ">", "threshold": 25}
    body = {"site_id": site_id, "name": "Plain", "severity": "info", "condition": plain}
    assert (await tenant.client.post("/v1/rules", json=body)).status_code == 201
    hours = body | {"active": [{"from": "22:00", "to": "06:00"}]}
    assert (await tenant.client.post("/v1/rules", json=hours)).status_code == 422


async def test_indices_are_counted_by_themselves(
    tenant: Tenant, site_id: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app.rules.definitions.service.INDEX_LIMIT", 3)
    index = {"index": "eaqi", "operator": ">=", "threshold": 4}
    body = {"site_id": site_id, "name": "Air", "severity": "info", "condition": {"any": [index, index]}}
    first = (await tenant.client.post("/v1/rules", json=body)).raise_for_status().json()["id"]
    refused = await tenant.client.post("/v1/rules", json=body)
    assert (refused.status_code, refused.json()["code"]) == (422, "too_many_conditions")
    assert (await tenant.client.post("/v1/rules", json=body | {"condition": index})).status_code == 201
    more = {"condition": {"any": [index, index, index]}}
    assert (await tenant.client.patch(f"/v1/rules/{first}", json=more)).status_code == 422
    assert (await tenant.client.patch(f"/v1/rules/{first}", json={"condition": index})).status_code == 200
    # They look at no sample.
    assert (await tenant.client.post("/v1/rules", json=rule(site_id, 50))).status_code == 201
