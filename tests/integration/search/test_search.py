"""Searches by words, ids and their beginnings, of what the caller may read."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import asyncpg
import httpx
import pytest
from fastapi import FastAPI

from app.alerts import search_queries
from app.platform.db.database import Database
from app.platform.kernel.ids import new_id
from tests.conftest import STREET, Tenant, client_of
from tests.incidents import put_incident


@pytest.fixture
async def connection_of_owner(database: Database) -> AsyncIterator[asyncpg.Connection]:
    opened = await database.connect()
    yield opened
    await opened.close()


CONDITION = {"metric": "pm2_5", "operator": ">", "threshold": 25}


async def search(client: httpx.AsyncClient, q: str, **more: Any) -> dict[str, Any]:  # noqa: ANN401 (as in a query)
    answer = await client.get("/v1/search", params={"q": q, **more})
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


async def found(client: httpx.AsyncClient, q: str, **more: Any) -> list[tuple[str, str, str]]:  # noqa: ANN401
    return [
        (each["kind"], each["title"], each["match"]) for each in (await search(client, q, **more))["data"]
    ]


async def make(client: httpx.AsyncClient, path: str, **body: Any) -> dict[str, Any]:  # noqa: ANN401 (a JSON body)
    answer = await client.post(path, json=body)
    assert answer.status_code == 201, answer.text
    made: dict[str, Any] = answer.json()
    return made


async def fire(client: httpx.AsyncClient, box: str, value: float = 40, *, minutes_ago: float = 5) -> None:
    at = (datetime.now(UTC) - timedelta(minutes=minutes_ago)).isoformat()
    body = {"box": box, "samples": [{"time": at, "values": {"pm2_5": value}}]}
    (await client.post("/v1/telemetry", json=body)).raise_for_status()


@pytest.fixture
async def crossing(tenant: Tenant, site_id: str) -> dict[str, Any]:
    """A box with a name and tags, at a site whose name has an accent and an apostrophe."""
    texts = {"id": "ndg-0017", "name": "Carrefour de l\u2019Hôpital", "tags": ["lot:2026-11"]}
    return await make(tenant.client, "/v1/boxes", site_id=site_id, **texts)


@pytest.mark.parametrize(
    ("query", "match"),
    [
        ("NDG-0017", "exact"),
        ("ndg 0017", "exact"),
        ("carrefour de l'hopital", "exact"),
        ("ndg-00", "prefix"),
        ("CARREFOUR DE", "prefix"),
        ("Hôpital", "word"),
        ("hop carr", "word"),
        ("0017", "word"),
        ("2026-11", "word"),
        ("lot:2026-11", "exact"),
    ],
)
@pytest.mark.usefixtures("crossing")
async def test_words_match_in_any_case_and_accent(tenant: Tenant, query: str, match: str) -> None:
    assert await found(tenant.client, query) == [("box", "Carrefour de l\u2019Hôpital", match)]


@pytest.mark.parametrize("query", ["arrefour", "ndg-0018", "carrefour nord", "%", "_", "---", "\\"])
@pytest.mark.usefixtures("crossing")
async def test_the_middle_of_a_word_and_wildcards_match_nothing(tenant: Tenant, query: str) -> None:
    assert await found(tenant.client, query) == []


async def test_letters_that_have_no_accent_to_lose_are_folded_too(tenant: Tenant) -> None:
    body = {**STREET, "name": "Großer Sœur Ørsted ﬁn Пушкинская", "address": None}
    await make(tenant.client, "/v1/sites", **body)
    for query in ("grosser soeur", "orsted fin", "ПУШКИН"):
        assert len(await found(tenant.client, query)) == 1, query


async def test_the_best_matches_come_first_then_the_order_of_kinds(tenant: Tenant, site_id: str) -> None:
    for identifier, name in (("b-1", "Quai de Metz"), ("b-2", "Metz nord"), ("b-3", "Metz")):
        await make(tenant.client, "/v1/boxes", id=identifier, site_id=site_id, name=name)
    await make(
        tenant.client, "/v1/rules", site_id=site_id, name="Metz", severity="warning", condition=CONDITION
    )
    assert await found(tenant.client, "metz") == [
        ("box", "Metz", "exact"),
        ("rule", "Metz", "exact"),
        ("box", "Metz nord", "prefix"),
        ("box", "Quai de Metz", "word"),
    ]


async def test_each_result_leads_to_its_resource(
    tenant: Tenant, site_id: str, crossing: dict[str, Any], database: Database
) -> None:
    client = tenant.client
    rule = await make(
        client, "/v1/rules", site_id=site_id, name="Dust", severity="warning", condition=CONDITION
    )
    await fire(client, crossing["id"])
    incident = await put_incident(database, site_id)
    answer = await search(client, "alsace")
    results = {each["kind"]: each for each in answer["data"]}
    assert set(results) == {"site", "alert", "incident"}
    assert results["site"]["subtitle"] is None
    alert = results["alert"]
    assert alert["title"] == "PM2.5 at Rue d'Alsace-Lorraine is 40 µg/m³, above 25"
    assert alert["title_fr"].startswith("Rue d'Alsace-Lorraine")
    assert (alert["subtitle"], alert["state"]) == ("Dust · Rue d'Alsace-Lorraine", "firing")
    assert (results["incident"]["id"], results["incident"]["state"]) == (incident, "open")
    assert "pistol" in results["incident"]["title"]
    (box, *_) = (await search(client, "ndg"))["data"]
    assert box["subtitle"] == "ndg-0017 · Rue d'Alsace-Lorraine"
    (rule_found,) = (await search(client, "dust", kinds="rule"))["data"]
    assert (rule_found["id"], rule_found["subtitle"]) == (rule["id"], "Rue d'Alsace-Lorraine")
    for each in (*results.values(), box, rule_found):
        shown = await client.get(each["url"])
        assert (shown.status_code, shown.json()["id"]) == (200, each["id"])
        assert each["site_id"] == site_id


async def test_alerts_are_found_by_words_of_rule_box_and_site_firing_ones_first(
    tenant: Tenant, site_id: str, crossing: dict[str, Any]
) -> None:
    client = tenant.client
    await make(client, "/v1/rules", site_id=site_id, name="Dust", severity="warning", condition=CONDITION)
    await make(client, "/v1/boxes", id="other", site_id=site_id)
    await fire(client, "other", minutes_ago=9)
    await fire(client, crossing["id"], minutes_ago=8)
    await fire(client, crossing["id"], 10, minutes_ago=7)
    by_rule = (await search(client, "dust", kinds="alert"))["data"]
    assert [(each["state"], each["match"]) for each in by_rule] == [
        ("firing", "exact"),
        ("resolved", "exact"),
    ]
    (together,) = (await search(client, "dust hopital alsace", kinds="alert"))["data"]
    assert (together["id"], together["match"]) == (by_rule[1]["id"], "word")
    assert await found(client, "incident", kinds="incident") == []
    dry = await make(
        client, "/v1/rules", site_id=site_id, name="Dry", severity="info", condition=CONDITION, dry_run=True
    )
    await fire(client, crossing["id"], 50, minutes_ago=3)
    assert await found(client, "dry", kinds="alert") == []
    assert [each["id"] for each in (await search(client, "dry", kinds="rule"))["data"]] == [dry["id"]]


async def test_ids_and_their_beginnings_are_found(tenant: Tenant, site_id: str) -> None:
    client = tenant.client
    assert await found(client, site_id) == [("site", "Rue d'Alsace-Lorraine", "exact")]
    assert await found(client, site_id.upper().replace("-", "")) == [
        ("site", "Rue d'Alsace-Lorraine", "exact")
    ]
    assert await found(client, site_id[:13]) == [("site", "Rue d'Alsace-Lorraine", "prefix")]
    assert await found(client, str(new_id())) == []


async def test_an_old_alert_is_found_by_its_id_alone(
    tenant: Tenant, site_id: str, crossing: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    client = tenant.client
    await make(client, "/v1/rules", site_id=site_id, name="Dust", severity="warning", condition=CONDITION)
    for minutes_ago, value in ((8, 40), (7, 10), (6, 40)):
        await fire(client, crossing["id"], value, minutes_ago=minutes_ago)
    new, old = (await search(client, "dust", kinds="alert"))["data"]
    monkeypatch.setattr(search_queries, "SEARCHED_ALERTS", 1)
    search_queries._compile_alert_search.cache_clear()
    assert [each["id"] for each in (await search(client, "dust", kinds="alert"))["data"]] == [new["id"]]
    (by_id,) = (await search(client, old["id"]))["data"]
    assert (by_id["id"], by_id["match"]) == (old["id"], "exact")


async def test_more_says_which_kinds_have_more(tenant: Tenant, site_id: str) -> None:
    for number in range(4):
        await make(tenant.client, "/v1/boxes", id=f"more-{number}", site_id=site_id)
    answer = await search(tenant.client, "more", limit=3)
    assert ([each["id"] for each in answer["data"]], answer["more"]) == (
        ["more-0", "more-1", "more-2"],
        ["box"],
    )
    assert (await search(tenant.client, "more", limit=4))["more"] == []


async def test_deleted_boxes_and_rules_are_not_found_and_new_names_are(
    tenant: Tenant, site_id: str, crossing: dict[str, Any]
) -> None:
    client = tenant.client
    rule = await make(
        client, "/v1/rules", site_id=site_id, name="Dust", severity="warning", condition=CONDITION
    )
    renamed = await client.patch(f"/v1/boxes/{crossing['id']}", json={"name": "Place du Capitole"})
    assert renamed.status_code == 200, renamed.text
    assert await found(client, "hopital") == []
    assert await found(client, "capitole") == [("box", "Place du Capitole", "word")]
    assert (await client.delete(f"/v1/boxes/{crossing['id']}")).status_code == 204
    assert (await client.delete(f"/v1/rules/{rule['id']}")).status_code == 204
    assert await found(client, "capitole") == []
    assert await found(client, "dust") == []


async def test_other_tenants_and_sites_stay_hidden(
    application: FastAPI, tenant: Tenant, other_tenant: Tenant, site_id: str, crossing: dict[str, Any]
) -> None:
    assert await found(other_tenant.client, "hopital") == []
    assert await found(other_tenant.client, site_id) == []
    second = await make(tenant.client, "/v1/sites", **{**STREET, "name": "Hôpital Sud"})
    limited = await make(
        tenant.client, "/v1/api-keys", name="one site", scopes=["*"], site_ids=[second["id"]]
    )
    async with client_of(application, limited["key"]) as client:
        assert await found(client, "hopital") == [("site", "Hôpital Sud", "prefix")]
    assert crossing["id"] in {each["id"] for each in (await search(tenant.client, "hopital"))["data"]}


async def test_kinds_that_the_caller_may_not_read_are_left_out_and_named(
    application: FastAPI, tenant: Tenant, crossing: dict[str, Any]
) -> None:
    narrow = await make(tenant.client, "/v1/api-keys", name="narrow", scopes=["sites:read"])
    async with client_of(application, narrow["key"]) as client:
        answer = await search(client, "hopital")
        assert [each["id"] for each in answer["data"]] == [crossing["id"]]
        assert answer["omitted"] == [
            {"kind": "alert", "scope": "alerts:read"},
            {"kind": "rule", "scope": "rules:read"},
            {"kind": "incident", "scope": "incidents:read"},
        ]
        assert (await search(client, "hopital", kinds="box,site"))["omitted"] == []
        refused = await client.get("/v1/search", params={"q": "hopital", "kinds": "rule"})
    assert (refused.status_code, refused.json()["code"]) == (403, "forbidden")
    assert refused.json()["scope"] == "rules:read"


async def test_kinds_are_repeated_or_separated_by_commas(tenant: Tenant, crossing: dict[str, Any]) -> None:
    for kinds in ("box,rule", ["rule", "box"]):
        answer = await search(tenant.client, "hopital", kinds=kinds)
        assert [each["id"] for each in answer["data"]] == [crossing["id"]]
    refused = await tenant.client.get("/v1/search", params={"q": "x", "kinds": "box,city"})
    assert (refused.status_code, refused.json()["code"]) == (422, "unknown_kind")
    for params in ({}, {"q": ""}, {"q": "x", "limit": "21"}, {"q": "a\0b"}):
        assert (await tenant.client.get("/v1/search", params=params)).status_code == 422


async def test_the_texts_follow_from_names_in_a_database_with_any_locale(
    connection_of_owner: asyncpg.Connection,
) -> None:
    folded = await connection_of_owner.fetchval(
        "SELECT fold_search_text(ARRAY['  É cole\u2014n°1 ', NULL, '', '!', 'ﬁn_2'])"
    )
    assert folded == "| e cole n 1 | fin 2 "
