"""`/v1/rules`: made, listed, read, changed, deleted; and what is refused."""

from typing import Any
from uuid import UUID

import httpx
import pytest

from app.platform.db.database import Database
from app.platform.kernel.ids import new_id
from app.rules.definitions.rule_queries import load_changed_rules
from tests.conftest import Tenant

CONDITION = {"metric": "pm2_5", "operator": ">", "threshold": 25, "clear": 20, "for": "PT10M"}
TIMING = {"for": "PT0S", "repeat": 1, "keep_firing_for": "PT0S"}
COMPLETE = {**TIMING, **CONDITION}
DEFAULTS: dict[str, Any] = {
    "description": None,
    "levels": None,
    "scope": None,
    "active": None,
    "max_age": "PT1H",
    "escalations": [],
    "remind_every": None,
    "dry_run": False,
}
DEFINITION = {
    "levels": [{"severity": "warning", "condition": COMPLETE}],
    "scope": None,
    "active": None,
    "max_age": "PT1H",
    "escalations": [],
    "remind_every": None,
}


def body(site_id: str, **other: Any) -> dict[str, Any]:  # noqa: ANN401 (as JSON)
    return {"site_id": site_id, "name": "Dust", "severity": "warning", "condition": CONDITION, **other}


async def make(client: httpx.AsyncClient, site_id: str, **other: Any) -> dict[str, Any]:  # noqa: ANN401 (as JSON)
    answer = await client.post("/v1/rules", json=body(site_id, **other))
    assert answer.status_code == 201, answer.text
    made: dict[str, Any] = answer.json()
    return made


async def test_a_rule_is_made_read_changed_and_deleted(tenant: Tenant, site_id: str) -> None:
    client = tenant.client
    made = await make(client, site_id)
    assert UUID(made["id"]).version == 7
    assert {name: made[name] for name in ("organisation_id", "site_id", "name", "severity", "enabled")} == {
        "organisation_id": tenant.id,
        "site_id": site_id,
        "name": "Dust",
        "severity": "warning",
        "enabled": True,
    }
    assert made["condition"] == COMPLETE
    assert made["version"] == 1
    assert made["created_at"].endswith("Z")
    path = f"/v1/rules/{made['id']}"
    assert (await client.get(path)).json() == made
    changed = await client.patch(path, json={"name": "Fine dust", "severity": "critical", "enabled": False})
    assert changed.status_code == 200
    assert changed.json() | {"updated_at": ""} == made | {
        "name": "Fine dust",
        "severity": "critical",
        "enabled": False,
        "version": 2,
        "updated_at": "",
        "sentence": made["sentence"].replace("Warning", "Critical"),
        "sentence_fr": made["sentence_fr"].replace("Avertissement", "Critique"),
    }
    assert (await client.get(path)).json() == changed.json()
    gone = await client.delete(path)
    assert (gone.status_code, gone.content) == (204, b"")
    for answer in (await client.get(path), await client.patch(path, json={}), await client.delete(path)):
        assert (answer.status_code, answer.json()["code"]) == (404, "not_found")
    assert (await client.get("/v1/rules")).json() == {"data": [], "next": None}


@pytest.mark.parametrize(("operator", "clear"), [(">", 25), ("<=", 25)])
async def test_what_may_be_left_out_is_filled_in(
    tenant: Tenant, site_id: str, operator: str, clear: float
) -> None:
    short = {"metric": "pm2_5", "operator": operator, "threshold": 25}
    made = await make(tenant.client, site_id, condition=short)
    assert made["condition"] == {**TIMING, **short, "clear": clear}
    assert {name: made[name] for name in DEFAULTS} == DEFAULTS


async def test_what_is_given_as_it_was_is_no_change(tenant: Tenant, site_id: str) -> None:
    made = await make(tenant.client, site_id)
    path = f"/v1/rules/{made['id']}"
    for change in ({}, {"name": "Dust"}, {"condition": CONDITION}, {"enabled": True}):
        assert (await tenant.client.patch(path, json=change)).json() == made


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"metric": "dust"}, "unknown_metric"),
        ({"metric": None}, "wrong_type"),
        ({"operator": "=="}, "invalid_value"),
        ({"threshold": "25"}, "wrong_type"),
        ({"threshold": True}, "wrong_type"),
        ({"threshold": None}, "wrong_type"),
        ({"clear": [20]}, "wrong_type"),
        ({"clear": 25.1}, "invalid_clear"),
        ({"operator": "<", "clear": 24.9}, "invalid_clear"),
        ({"for": "10m"}, "invalid_duration"),
        ({"for": "PT"}, "invalid_duration"),
        ({"for": "P367D"}, "invalid_duration"),
        ({"for": 600}, "wrong_type"),
        ({"for_": "PT1M"}, "unknown_field"),
        ({"hysteresis": 5}, "unknown_field"),
    ],
)
async def test_a_condition_that_makes_no_sense_is_refused(
    tenant: Tenant, site_id: str, change: dict[str, Any], code: str
) -> None:
    condition = CONDITION | change
    answer = await tenant.client.post("/v1/rules", json=body(site_id, condition=condition))
    assert (answer.status_code, answer.json()["code"]) == (422, code), answer.text
    made = await make(tenant.client, site_id)
    answer = await tenant.client.patch(f"/v1/rules/{made['id']}", json={"condition": condition})
    assert (answer.status_code, answer.json()["code"]) == (422, code)
    assert (await tenant.client.get(f"/v1/rules/{made['id']}")).json() == made


@pytest.mark.parametrize("missing", ["metric", "operator", "threshold"])
async def test_a_condition_needs_its_parts(tenant: Tenant, site_id: str, missing: str) -> None:
    condition = {name: value for name, value in CONDITION.items() if name != missing}
    answer = await tenant.client.post("/v1/rules", json=body(site_id, condition=condition))
    assert (answer.status_code, answer.json()["code"]) == (422, "missing_field")


@pytest.mark.parametrize("literal", ["NaN", "Infinity", "1e400"])
async def test_a_threshold_is_a_finite_number(tenant: Tenant, site_id: str, literal: str) -> None:
    text = (
        f'{{"site_id": "{site_id}", "name": "n", "severity": "info", '
        f'"condition": {{"metric": "pm10", "operator": ">", "threshold": {literal}}}}}'
    )
    headers = {"Content-Type": "application/json"}
    answer = await tenant.client.post("/v1/rules", content=text, headers=headers)
    assert answer.status_code == 400, answer.text


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"name": ""}, "invalid_text"),
        ({"name": "a\u0000b"}, "nul_in_text"),
        ({"name": None}, "wrong_type"),
        ({"severity": "fatal"}, "invalid_value"),
        ({"enabled": "yes"}, "wrong_type"),
        ({"version": 3}, "unknown_field"),
    ],
)
async def test_a_rule_that_makes_no_sense_is_refused(
    tenant: Tenant, site_id: str, change: dict[str, Any], code: str
) -> None:
    answer = await tenant.client.post("/v1/rules", json=body(site_id, **change))
    assert (answer.status_code, answer.json()["code"]) == (422, code), answer.text
    made = await make(tenant.client, site_id)
    answer = await tenant.client.patch(f"/v1/rules/{made['id']}", json=change)
    assert (answer.status_code, answer.json()["code"]) == (422, code)


async def test_a_rule_stays_at_its_site(tenant: Tenant, site_id: str) -> None:
    made = await make(tenant.client, site_id)
    answer = await tenant.client.patch(f"/v1/rules/{made['id']}", json={"site_id": site_id})
    assert (answer.status_code, answer.json()["code"]) == (422, "unknown_field")


async def test_another_organisations_rules_and_sites_do_not_exist(
    tenant: Tenant, other_tenant: Tenant, site_id: str
) -> None:
    made = await make(tenant.client, site_id)
    path = f"/v1/rules/{made['id']}"
    stranger = other_tenant.client
    for answer in (
        await stranger.get(path),
        await stranger.patch(path, json={"name": "mine"}),
        await stranger.delete(path),
        await stranger.post("/v1/rules", json=body(site_id)),
        await tenant.client.post("/v1/rules", json=body(str(new_id()))),
        await tenant.client.get("/v1/rules/none"),
    ):
        assert (answer.status_code, answer.json()["code"]) == (404, "not_found"), answer.text
    assert (await stranger.get("/v1/rules")).json()["data"] == []
    assert (await stranger.get("/v1/rules", params={"site": site_id})).json()["data"] == []
    named = await stranger.post("/v1/rules", json=body(site_id, organisation_id=tenant.id))
    assert (named.status_code, named.json()["code"]) == (422, "foreign_organisation")
    assert (await tenant.client.get(path)).json() == made


async def test_the_administrator_makes_rules_for_others(
    api: httpx.AsyncClient, tenant: Tenant, other_tenant: Tenant, site_id: str
) -> None:
    for named in ({}, {"organisation_id": tenant.id}):
        assert (await make(api, site_id, **named))["organisation_id"] == tenant.id
    answer = await api.post("/v1/rules", json=body(site_id, organisation_id=other_tenant.id))
    assert (answer.status_code, answer.json()["code"]) == (404, "not_found")
    assert len((await api.get("/v1/rules", params={"site": site_id})).json()["data"]) == 2


async def test_lists_come_in_pages_and_by_site_and_by_state(tenant: Tenant, site_id: str) -> None:
    client = tenant.client
    made = [(await make(client, site_id, name=f"rule {n}", enabled=n % 2 == 0))["id"] for n in range(5)]
    seen: list[str] = []
    cursor: str | None = None
    while True:
        params: dict[str, Any] = {"limit": 2, **({} if cursor is None else {"cursor": cursor})}
        page = (await client.get("/v1/rules", params=params)).json()
        assert len(page["data"]) <= 2
        seen += [rule["id"] for rule in page["data"]]
        cursor = page["next"]
        if cursor is None:
            break
    assert seen == made
    enabled = await client.get("/v1/rules", params={"site": site_id, "enabled": "true"})
    assert [rule["id"] for rule in enabled.json()["data"]] == made[::2]
    assert (await client.get("/v1/rules", params={"site": str(new_id())})).json()["data"] == []
    for params in ({"limit": -1}, {"cursor": "forged"}, {"enabled": "perhaps"}):
        assert (await client.get("/v1/rules", params=params)).status_code == 422


async def test_a_key_needs_the_scope(api: httpx.AsyncClient, tenant: Tenant, site_id: str) -> None:
    made = await make(tenant.client, site_id)
    key = {"organisation_id": tenant.id, "name": "reader", "scopes": ["rules:read"]}
    reader = {"Authorization": f"Bearer {(await api.post('/v1/api-keys', json=key)).json()['key']}"}
    path = f"/v1/rules/{made['id']}"
    assert (await tenant.client.get(path, headers=reader)).status_code == 200
    for answer in (
        await tenant.client.delete(path, headers=reader),
        await tenant.client.patch(path, json={"name": "n"}, headers=reader),
        await tenant.client.post("/v1/rules", json=body(site_id), headers=reader),
        await tenant.client.get("/v1/alerts", headers=reader),
    ):
        assert (answer.status_code, answer.json()["code"]) == (403, "forbidden")


async def test_the_pipeline_reads_what_changed_and_nothing_else(
    tenant: Tenant, site_id: str, database: Database
) -> None:
    first = await make(tenant.client, site_id)
    second = await make(tenant.client, site_id)
    connection = await database.connect()
    try:
        rows = await load_changed_rules(connection, 0)
        assert [(str(row["id"]), row["definition"], row["enabled"], row["deleted"]) for row in rows] == [
            (first["id"], DEFINITION, True, False),
            (second["id"], DEFINITION, True, False),
        ]
        newest = max(row["revision"] for row in rows)
        assert await load_changed_rules(connection, newest) == []
        await tenant.client.patch(f"/v1/rules/{first['id']}", json={"enabled": False})
        await tenant.client.delete(f"/v1/rules/{second['id']}")
        rows = await load_changed_rules(connection, newest)
        assert [(str(row["id"]), row["version"], row["enabled"], row["deleted"]) for row in rows] == [
            (first["id"], 2, False, False),
            (second["id"], 2, True, True),
        ]
    finally:
        await connection.close()
