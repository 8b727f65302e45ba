"""`POST /v1/rules/check`: a rule in words, or what a creation would refuse; nothing is stored."""

from typing import Any
from uuid import uuid4

import pytest

from app.rules.definitions import service
from tests.conftest import Tenant

PM = {"metric": "pm2_5", "operator": ">", "threshold": 25, "clear": 20, "for": "PT10M"}
ENGLISH = "Warning when PM2.5 is above 25 µg/m³ for 10 minutes, until at or below 20 µg/m³."


def body(site_id: str, **fields: Any) -> dict[str, Any]:  # noqa: ANN401 (as JSON)
    return {"site_id": site_id, "name": "r", "severity": "warning", "condition": PM, **fields}


async def test_a_rule_is_described_and_not_stored(tenant: Tenant, site_id: str) -> None:
    answer = await tenant.client.post("/v1/rules/check", json=body(site_id, dry_run=True))
    assert answer.status_code == 200, answer.text
    found = answer.json()
    assert found["sentence"] == f"{ENGLISH} This is a dry run: no notifications are sent."
    assert found["sentence_fr"].startswith("Avertissement\u00a0: PM2,5 au-dessus de 25\u00a0µg/m³")
    assert (await tenant.client.get("/v1/rules")).json()["data"] == []


async def test_rules_versions_and_presets_are_described(tenant: Tenant, site_id: str) -> None:
    made = (await tenant.client.post("/v1/rules", json=body(site_id))).json()
    assert made["sentence"] == ENGLISH
    versions = (await tenant.client.get(f"/v1/rules/{made['id']}/versions")).json()["data"]
    assert [each["sentence"] for each in versions] == [ENGLISH]
    preset = (await tenant.client.get("/v1/rule-presets/eaqi-poor?language=fr")).json()
    assert "Indice européen de qualité" in preset["rules"][0]["sentence"]
    method = next(
        each for each in (await tenant.client.get("/v1/indices")).json()["data"] if each["name"] == "eaqi"
    )
    assert [each["key"] for each in method["bands"]][:2] == ["good", "fair"]


@pytest.mark.parametrize(
    ("fields", "status", "faulty"),
    [
        ({"condition": PM | {"clear": 30}}, 422, ["body.condition.clear"]),
        ({"name": ""}, 422, ["body.name"]),
        ({"scope": {"boxes": ["nowhere"]}}, 422, ["body.scope.boxes.0"]),
        ({"site_id": "0199d1c5-7a3e-7c54-9d1e-5b6f0a2c8e11"}, 404, []),
    ],
)
async def test_it_refuses_what_the_creation_refuses(
    tenant: Tenant, site_id: str, fields: dict[str, Any], status: int, faulty: list[str]
) -> None:
    problems = []
    for path in ("/v1/rules/check", "/v1/rules"):
        answer = await tenant.client.post(path, json=body(site_id) | fields)
        assert answer.status_code == status, answer.text
        problem = answer.json()
        assert [each["field"] for each in problem.get("errors", ())] == faulty
        problems.append((problem["code"], problem["detail"], problem.get("errors")))
    assert problems[0] == problems[1]


async def test_a_rule_that_it_replaces_does_not_count(
    tenant: Tenant, site_id: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    window = {key: value for key, value in PM.items() if key != "for"} | {
        "function": "mean",
        "window": "PT1H",
    }
    made = (await tenant.client.post("/v1/rules", json=body(site_id, condition=window))).json()
    monkeypatch.setattr(service, "EFFORT_LIMIT", 1)
    again = body(site_id, condition=window)
    refused = await tenant.client.post("/v1/rules/check", json=again)
    assert (refused.status_code, refused.json()["code"]) == (422, "too_many_conditions")
    accepted = await tenant.client.post(f"/v1/rules/check?replaces={made['id']}", json=again)
    assert accepted.status_code == 200, accepted.text
    foreign = await tenant.client.post(f"/v1/rules/check?replaces={uuid4()}", json=again)
    assert foreign.status_code == 404
