"""`/v1/rule-presets`: listed, read, used at a site once."""

import asyncio
from typing import Any

import pytest

from app.rules.presets.preset_list import PRESETS
from tests.conftest import Tenant


async def apply(tenant: Tenant, preset: str, site_id: str, status: int = 201, **body: Any) -> dict[str, Any]:  # noqa: ANN401 (as JSON)
    answer = await tenant.client.post(f"/v1/rule-presets/{preset}/apply", json={"site_id": site_id, **body})
    assert answer.status_code == status, answer.text
    found: dict[str, Any] = answer.json()
    return found


async def test_presets_are_listed_and_read(tenant: Tenant) -> None:
    client = tenant.client
    everything = (await client.get("/v1/rule-presets")).json()
    assert [each["id"] for each in everything["data"]] == list(PRESETS)
    assert everything["next"] is None
    params = {"kind": "school", "metric": "co2", "language": "fr"}
    found, of_hours = (await client.get("/v1/rule-presets", params=params)).json()["data"]
    assert (of_hours["id"], of_hours["metrics"]) == ("indoor-co2-class", ["co2"])
    assert (found["id"], found["title"], found["language"]) == (
        "indoor-co2",
        "CO₂ intérieur : aérer",
        "fr",
    )
    params = {"metric": "no2", "on": "2026-12-12"}
    assert (await client.get("/v1/rule-presets", params={"on": "0"})).status_code == 422
    dated = (await client.get("/v1/rule-presets", params=params)).json()["data"]
    by_id = {each["id"]: (each["applies_from"], each["applies_until"]) for each in dated}
    assert by_id["eu-2026-no2-1h"] == ("2026-12-12", "2030-01-01")
    assert "eu-no2-1h" not in by_id
    read = (await client.get("/v1/rule-presets/eu-2030-so2-24h")).json()
    assert read["citation"]["unverified"] is True
    assert read["metrics"] == ["so2"]
    assert read["rules"][0]["rule"]["condition"]["threshold"] == 50


@pytest.mark.parametrize(
    ("path", "status", "code"),
    [
        ("/v1/rule-presets?metric=radon", 422, "unknown_metric"),
        ("/v1/rule-presets?kind=No!", 422, "invalid_kind"),
        ("/v1/rule-presets?kind=schol", 422, "unknown_kind"),
        ("/v1/rules?preset=low-batery", 422, "unknown_preset"),
        ("/v1/rule-presets?language=de", 422, "invalid_value"),
        ("/v1/rule-presets?on=yesterday", 422, "wrong_type"),
        ("/v1/rule-presets/nothing", 404, "not_found"),
        ("/v1/rule-presets/%00", 404, "not_found"),
    ],
)
async def test_what_is_not_there(tenant: Tenant, path: str, status: int, code: str) -> None:
    answer = await tenant.client.get(path)
    assert (answer.status_code, answer.json()["code"]) == (status, code)


async def test_a_kind_that_no_preset_is_for_is_refused_with_those_that_there_are(tenant: Tenant) -> None:
    detail = (await tenant.client.get("/v1/rule-presets?kind=schol")).json()["detail"]
    for kind in ("school", "office", "street", "home"):
        assert kind in detail
        found = (await tenant.client.get("/v1/rule-presets", params={"kind": kind})).json()["data"]
        assert {"box-silent", "site-silent"} <= {each["id"] for each in found}


async def test_rules_are_listed_by_their_preset_and_say_whether_they_were_changed(
    tenant: Tenant, site_id: str
) -> None:
    (first,) = (await apply(tenant, "low-battery", site_id))["rules"]
    overrides = {"scope": {"tags": ["quai"]}, "name": "Quai", "enabled": False, "dry_run": True}
    (second,) = (await apply(tenant, "low-battery", site_id, overrides=overrides, again=True))["rules"]
    await apply(tenant, "tamper", site_id)
    by_hand = {"site_id": site_id, "name": "r", "severity": "info", "condition": {"no_data": "PT15M"}}
    made = (await tenant.client.post("/v1/rules", json=by_hand)).json()
    assert [first["preset_modified"], second["preset_modified"], made["preset_modified"]] == [False] * 3

    async def listed() -> list[tuple[str, bool]]:
        answer = await tenant.client.get("/v1/rules", params={"preset": "low-battery"})
        return [(rule["id"], rule["preset_modified"]) for rule in answer.json()["data"]]

    assert await listed() == [(first["id"], False), (second["id"], False)]
    path = f"/v1/rules/{first['id']}"
    for change, modified in (
        ({"name": "Mine", "description": None, "scope": {"kinds": ["a"]}, "enabled": False}, False),
        ({"levels": [first["levels"][0], {**first["levels"][1], "condition": {"no_data": "PT1H"}}]}, True),
        ({"levels": first["levels"]}, False),
        ({"max_age": "PT2H"}, True),
    ):
        changed = (await tenant.client.patch(path, json=change)).json()
        assert changed["preset_modified"] is modified, change
        assert (await tenant.client.get(path)).json() == changed
    assert await listed() == [(first["id"], True), (second["id"], False)]


async def test_every_preset_can_be_used(tenant: Tenant, site_id: str) -> None:
    for preset in PRESETS.values():
        made = (await apply(tenant, preset.id, site_id))["rules"]
        assert [rule["name"] for rule in made] == [rule.name.en for rule in preset.rules]
        for rule in made:
            assert rule["preset"] == {"id": preset.id, "version": preset.version}
            assert rule["description"] == preset.advice.en
            assert rule["enabled"]
    listed = (await tenant.client.get("/v1/rules", params={"site": site_id, "limit": 1000})).json()["data"]
    assert len(listed) == sum(len(preset.rules) for preset in PRESETS.values())


async def test_a_preset_is_used_once_unless_it_is_wanted_again(tenant: Tenant, site_id: str) -> None:
    (rule,) = (await apply(tenant, "low-battery", site_id))["rules"]
    refused = await apply(tenant, "low-battery", site_id, 409)
    assert (refused["code"], refused["rules"]) == ("preset_applied", [rule["id"]])
    await apply(tenant, "low-battery", site_id, again=True)
    # What a rule was made of it stays, whatever is changed of it.
    changed = await tenant.client.patch(
        f"/v1/rules/{rule['id']}", json={"active": [{"from": "08:00", "to": "18:00"}], "name": "Mine"}
    )
    assert changed.json()["preset"] == {"id": "low-battery", "version": 1}
    for left in (await tenant.client.get("/v1/rules", params={"site": site_id})).json()["data"]:
        await tenant.client.delete(f"/v1/rules/{left['id']}")
    await apply(tenant, "low-battery", site_id)


async def test_of_two_who_use_it_at_once_one_is_refused(tenant: Tenant, site_id: str) -> None:
    body = {"site_id": site_id}
    answers = await asyncio.gather(
        *(tenant.client.post("/v1/rule-presets/flat-line/apply", json=body) for _ in range(4))
    )
    assert sorted(answer.status_code for answer in answers) == [201, 409, 409, 409]


async def test_overrides(tenant: Tenant, site_id: str) -> None:
    overrides = {
        "name": "Quai",
        "scope": {"tags": ["quai"]},
        "active": None,
        "enabled": False,
        "dry_run": True,
    }
    (rule,) = (await apply(tenant, "night-noise", site_id, overrides=overrides))["rules"]
    assert {name: rule[name] for name in overrides} == overrides | {
        "scope": {"tags": ["quai"]},
    }
    made = (await apply(tenant, "neighbourhood-noise", site_id, overrides={"name": "Quai"}))["rules"]
    assert [rule["name"] for rule in made] == [
        "Quai: Neighbourhood noise by day",
        "Quai: Neighbourhood noise by night",
    ]
    body = {"site_id": site_id, "overrides": {"name": "Quai"}, "again": True}
    answer = await tenant.client.post("/v1/rule-presets/neighbourhood-noise/apply?language=fr", json=body)
    assert answer.json()["rules"][0]["name"] == "Quai : Bruit de voisinage le jour"


@pytest.mark.parametrize(
    ("overrides", "code"),
    [
        ({"threshold": 3}, "unknown_field"),
        ({"name": None}, "wrong_type"),
        ({"active": []}, "invalid_value"),
        ({"scope": {"boxes": ["elsewhere"]}}, "unknown_box_in_rule"),
    ],
)
async def test_overrides_that_are_refused(
    tenant: Tenant, site_id: str, overrides: dict[str, Any], code: str
) -> None:
    refused = await apply(tenant, "metric-silent", site_id, 422, overrides=overrides)
    assert refused["code"] == code
    assert (await tenant.client.get("/v1/rules")).json()["data"] == []


async def test_another_tenants_site_is_not_there(other_tenant: Tenant, site_id: str) -> None:
    refused = await apply(other_tenant, "tamper", site_id, 404)
    assert refused["code"] == "not_found"
