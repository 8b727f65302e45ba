"""`/v1/rules` beyond thresholds: every kind of condition, ladders, scopes, trials, lists of them."""

import copy
from typing import Any
from uuid import uuid4

import pytest

from app.rules.definitions.rule_examples import EXAMPLES
from tests.conftest import Tenant

PM = {"metric": "pm2_5", "operator": ">", "threshold": 25}
LADDER = [
    {"severity": "info", "condition": PM},
    {"severity": "critical", "condition": {**PM, "threshold": 50, "clear": 40}},
]
TIMING = {"for": "PT0S", "repeat": 1, "keep_firing_for": "PT0S"}


async def refused(answer_of: Any) -> tuple[int, str, str]:  # noqa: ANN401 (a call under way)
    answer = await answer_of
    problem = answer.json()
    return answer.status_code, problem["code"], problem.get("errors", [{"field": ""}])[0]["field"]


@pytest.fixture
async def box(tenant: Tenant, site_id: str) -> str:
    name = f"box-{uuid4().hex[:8]}"
    (await tenant.client.post("/v1/boxes", json={"id": name, "site_id": site_id})).raise_for_status()
    return name


async def make(tenant: Tenant, site_id: str, **fields: Any) -> dict[str, Any]:  # noqa: ANN401 (as JSON)
    answer = await tenant.client.post("/v1/rules", json={"site_id": site_id, "name": "r", **fields})
    assert answer.status_code == 201, answer.text
    made: dict[str, Any] = answer.json()
    return made


@pytest.mark.parametrize("name", EXAMPLES)
async def test_each_example_is_made_and_read_back(tenant: Tenant, site_id: str, box: str, name: str) -> None:
    body = {**copy.deepcopy(EXAMPLES[name]["value"]), "site_id": site_id}
    if name == "boxes":
        body["condition"]["all"][1]["box"] = box
    made = await make(tenant, **body)
    assert (await tenant.client.get(f"/v1/rules/{made['id']}")).json() == made
    # What was answered can be sent again, and is no change.
    form = ("levels",) if made["condition"] is None else ("severity", "condition")
    names = (*form, "description", "scope", "active", "max_age", "escalations", "remind_every", "dry_run")
    again = await tenant.client.patch(f"/v1/rules/{made['id']}", json={each: made[each] for each in names})
    assert again.json() == made


async def test_a_ladder_has_levels_in_place_of_a_condition(tenant: Tenant, site_id: str) -> None:
    made = await make(tenant, site_id, levels=LADDER)
    assert (made["severity"], made["condition"]) == ("critical", None)
    assert made["levels"] == [
        {"severity": "info", "condition": {**TIMING, **PM, "clear": 25}},
        {"severity": "critical", "condition": {**TIMING, **PM, "threshold": 50, "clear": 40}},
    ]
    path = f"/v1/rules/{made['id']}"
    for alone in ({"severity": "info"}, {"condition": PM}):
        answer = await refused(tenant.client.patch(path, json=alone))
        assert answer[:2] == (422, "condition_or_levels")
    single = (await tenant.client.patch(path, json={"severity": "info", "condition": PM})).json()
    assert (single["severity"], single["levels"], single["version"]) == ("info", None, 2)
    ladder = (await tenant.client.patch(path, json={"levels": LADDER})).json()
    assert ladder | {"updated_at": ""} == made | {"version": 3, "updated_at": ""}


async def test_boxes_that_a_rule_names_are_those_of_its_site(tenant: Tenant, site_id: str, box: str) -> None:
    other = {
        "name": "Elsewhere",
        "kind": "street",
        "timezone": "Europe/Paris",
        "location": {"type": "Point", "coordinates": [1.4, 43.6]},
    }
    elsewhere = (await tenant.client.post("/v1/sites", json=other)).json()["id"]
    leaf = {**PM, "box": box}
    made = await make(tenant, site_id, severity="info", condition=leaf, scope={"boxes": [box]})
    cases: list[tuple[dict[str, Any], str]] = [
        ({"severity": "info", "condition": {"all": [leaf]}}, "body.condition.all.0.box"),
        ({"severity": "info", "condition": PM, "scope": {"boxes": [box]}}, "body.scope.boxes.0"),
        (
            {
                "levels": [
                    {"severity": "info", "condition": {"boxes": PM, "at_least": 2}},
                    {
                        "severity": "warning",
                        "condition": {"boxes": PM, "at_least": 2, "scope": {"boxes": [box]}},
                    },
                ]
            },
            "body.levels.1.condition.scope.boxes.0",
        ),
    ]
    for fields, where in cases:
        call = tenant.client.post("/v1/rules", json={"site_id": elsewhere, "name": "r", **fields})
        assert await refused(call) == (422, "unknown_box_in_rule", where)
    path = f"/v1/rules/{made['id']}"
    changed = tenant.client.patch(path, json={"condition": {**leaf, "box": "nobody"}})
    assert await refused(changed) == (422, "unknown_box_in_rule", "body.condition.box")
    # A box that has left is no reason to refuse what has nothing to do with it.
    (await tenant.client.delete(f"/v1/boxes/{box}")).raise_for_status()
    assert (await tenant.client.patch(path, json={"max_age": "PT2H"})).status_code == 200


async def test_what_is_wrong_in_a_tree_is_named_with_its_place(tenant: Tenant, site_id: str) -> None:
    body = {"site_id": site_id, "name": "r", "severity": "info"}
    condition = {"all": [PM, {**PM, "threshold": "25"}, {}]}
    answer = await tenant.client.post("/v1/rules", json={**body, "condition": condition})
    assert answer.status_code == 422
    assert [(fault["field"], fault["code"]) for fault in answer.json()["errors"]] == [
        ("body.condition.all.1.threshold", "wrong_type"),
        ("body.condition.all.2", "unknown_condition"),
    ]


async def test_bombs_are_refused(tenant: Tenant, site_id: str) -> None:
    path = "/v1/rules"

    def sent(condition: str) -> Any:  # noqa: ANN401 (a call under way)
        text = f'{{"site_id": "{site_id}", "name": "r", "severity": "info", "condition": {condition}}}'
        return tenant.client.post(path, content=text, headers={"Content-Type": "application/json"})

    deep = '{"not": ' * 7 + '{"no_data": "PT1M"}' + "}" * 7
    assert await refused(sent(deep)) == (422, "condition_too_deep", "body.condition" + ".not" * 6)
    deeper = '{"not": ' * 100_000 + "1" + "}" * 100_000
    assert await refused(sent(deeper)) == (400, "nesting_too_deep", "")
    wide = '{"all": [' + ",".join(['{"no_data": "PT1M"}'] * 40_000) + "]}"
    assert await refused(sent(wide)) == (422, "condition_too_large", "body.condition.all.49")
    huge = '{"metric": "pm10", "operator": ">", "threshold": 1' + "0" * 308 + "}"
    assert (await sent(huge)).status_code == 201


async def test_rules_are_listed_by_trial_severity_and_metric(tenant: Tenant, site_id: str) -> None:
    tree = {"any": [{"not": {**PM, "metric": "no2"}}, {"no_data": "PT1H", "metric": "o3"}]}
    single = await make(tenant, site_id, severity="info", condition=PM)
    ladder = await make(tenant, site_id, levels=LADDER)
    trial = await make(tenant, site_id, severity="info", condition=tree, dry_run=True)

    async def listed(**wanted: Any) -> list[str]:  # noqa: ANN401 (query parameters)
        answer = (await tenant.client.get("/v1/rules", params=wanted)).raise_for_status()
        return [rule["id"] for rule in answer.json()["data"]]

    assert await listed(dry_run="true") == [trial["id"]]
    assert await listed(dry_run="false") == [single["id"], ladder["id"]]
    assert await listed(severity="info") == [single["id"], trial["id"]]
    assert await listed(severity="critical") == [ladder["id"]]
    assert await listed(metric="pm2_5") == [single["id"], ladder["id"]]
    assert await listed(metric="no2") == await listed(metric="o3") == [trial["id"]]
    assert await listed(metric="pm10") == []
    for wrong in ({"metric": "dust"}, {"severity": "fatal"}, {"dry_run": "perhaps"}):
        assert (await tenant.client.get("/v1/rules", params=wrong)).status_code == 422


async def test_a_rule_goes_on_trial_and_comes_back(
    tenant: Tenant, other_tenant: Tenant, site_id: str
) -> None:
    made = await make(tenant, site_id, severity="info", condition=PM)
    path = f"/v1/rules/{made['id']}"
    for step, dry_run, version in (
        ("go-live", False, 1),
        ("dry-run", True, 2),
        ("dry-run", True, 2),
        ("go-live", False, 3),
    ):
        answer = await tenant.client.post(f"{path}/{step}")
        assert answer.status_code == 200
        assert (answer.json()["dry_run"], answer.json()["version"]) == (dry_run, version)
        stranger = await other_tenant.client.post(f"{path}/{step}")
        assert (stranger.status_code, stranger.json()["code"]) == (404, "not_found")
