"""Each list of the API in each of its orders: what the document says `sort` may be is what there is."""

import re
import unicodedata
from typing import Any
from uuid import UUID

import httpx
import pytest
from sqlalchemy import text

from app.alerts.repository import ALERTS, AlertFilter, compile_alert_page
from app.platform.db.database import Database, get_driver_connection
from app.platform.http.contract.pagination import encode_cursor
from app.platform.http.contract.sorting import PageRequest
from app.platform.kernel.tenant_scope import TenantScope
from tests.conftest import Tenant
from tests.openapi import openapi_document

DOCUMENT = openapi_document()
# Series, and what is counted as it is read, have one order; so have catalogues.
ONE_ORDER = {
    "get_box_readings",
    "list_readings",
    "list_site_latest",
    "list_site_index_history",
    "list_export_parts",
    "count_quarantine",
    "list_refusals",
}
RANKS = {"info": 0, "warning": 1, "critical": 2}
PLACE = {"type": "Point", "coordinates": [0, 0]}
SUNDAYS = [{"days": ["sun"], "from": "02:00", "to": "04:00"}]
NAMES = ["b", "a", "a", "d", "c"]


def parameters(operation: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {each["name"]: each for each in operation.get("parameters", [])}


LISTS = {
    (path, operation["operationId"]): parameters(operation)
    for path, item in DOCUMENT["paths"].items()
    for method, operation in item.items()
    if method == "get" and "cursor" in parameters(operation)
}


def test_every_list_says_in_which_orders_it_is_to_be_had() -> None:
    without = {name for (_, name), known in LISTS.items() if "sort" not in known}
    assert without == ONE_ORDER
    for (path, name), known in LISTS.items():
        if name in without:
            continue
        schema = known["sort"]["schema"]
        assert schema["default"] in schema["enum"], path
        assert {each.removeprefix("-") for each in schema["enum"]} == {
            each for each in schema["enum"] if each[0] != "-"
        }
        assert len(schema["enum"]) % 2 == 0
        assert len(set(schema["x-enum-varnames"])) == len(schema["enum"])
        assert known["sort"]["description"].startswith("The order of rows")


OPEN = sorted(path for path, name in LISTS if "{" not in path and "sort" in LISTS[path, name])


async def fill(client: httpx.AsyncClient) -> None:
    """Some of each list, with names that are equal, and without what need not be given."""
    for at, name in enumerate(NAMES):
        site = {"name": name, "kind": "street", "timezone": "UTC", "location": PLACE}
        made = (await client.post("/v1/sites", json=site)).raise_for_status().json()["id"]
        shown = {"name": name} if at % 2 else {}
        weekly = {"schedule": SUNDAYS, "timezone": "UTC"}
        rule: dict[str, Any] = {"metric": "pm10", "operator": ">", "threshold": 80}
        calls: dict[str, dict[str, Any]] = {
            "/v1/api-keys": {"name": name, "scopes": ["*"]}
            | ({"expires_at": f"209{at}-01-01T00:00:00Z"} if at % 2 else {}),
            "/v1/boxes": {"id": f"box-{name}{at}", "site_id": made, **shown},
            "/v1/claims": {"site_id": made, "boxes": 1, "expires_in": f"P{at + 1}D", **shown},
            "/v1/rules": {"site_id": made, "name": name, "severity": list(RANKS)[at % 3], "condition": rule},
            "/v1/silences": {"matchers": {"site_ids": [made]}, "comment": name}
            | ({"ends_at": f"209{at}-01-01T00:00:00Z"} if at % 2 else weekly),
            "/v1/inhibitions": {"name": name, "source": {"site_ids": [made]}, "target": {"metrics": ["co"]}}
            | {"equal": ["site"]},
            "/v1/webhooks": {"url": "https://example.com/h"} | ({"description": name} if at % 2 else {}),
            "/v1/invitations": {"email": f"{name}{at}@example.com", "role": "viewer"},
        }
        for path, body in calls.items():
            answer = await client.post(path, json=body)
            assert answer.status_code == 201, (path, answer.text)


def as_people_sort(name: str) -> str:
    """A name without case and accents."""
    return unicodedata.normalize("NFKD", name).encode("ascii", "ignore").decode().casefold()


def check_order(rows: list[dict[str, Any]], sort: str) -> None:
    field = sort.removeprefix("-")
    if not rows or field not in rows[0]:
        return
    values = [RANKS.get(row[field], row[field]) if field == "severity" else row[field] for row in rows]
    there = [as_people_sort(value) if field == "name" else value for value in values if value is not None]
    assert all(value is None for value in values[len(there) :]), sort
    assert there == sorted(there, reverse=sort.startswith("-")), sort


def identify(row: dict[str, Any]) -> tuple[Any, ...]:
    """Tell a row from the others; purposes of sites and counts of firmware versions have no id."""
    names = next(each for each in (("id",), ("site_id", "purpose"), ("firmware", "kind")) if each[0] in row)
    return tuple(row[name] for name in names)


async def test_each_order_of_each_list(tenant: Tenant, api: httpx.AsyncClient) -> None:
    await fill(tenant.client)
    sizes: dict[str, int] = {}
    for (path, _), known in LISTS.items():
        # Lists of people, of the portal and of grants, which have keys of their own.
        if path not in OPEN or path.startswith(("/v1/me/", "/v1/portal/", "/v1/grant/")):
            continue
        client = api if path == "/v1/organisations" else tenant.client
        for sort in known["sort"]["schema"]["enum"]:
            answer = await client.get(path, params={"sort": sort, "limit": 1000})
            assert answer.status_code == 200, (path, sort, answer.text)
            whole = answer.json()["data"]
            sizes[path] = len(whole)
            if path == "/v1/audit":
                # Each reading adds to it.
                continue
            check_order(whole, sort)
            # A catalogue is long: a few pages of it tell as much.
            limit = str(max(2, len(whole) // 4))
            seen: list[Any] = []
            cursor: dict[str, str] = {}
            while True:
                params = {"sort": sort, "limit": limit, **cursor}
                part = (await client.get(path, params=params)).raise_for_status().json()
                seen += part["data"]
                if part["next"] is None:
                    break
                cursor = {"cursor": part["next"]}
            assert [identify(row) for row in seen] == [identify(row) for row in whole], (path, sort)
    filled = {path for path, size in sizes.items() if size >= len(NAMES)}
    assert filled >= {"/v1/sites", "/v1/boxes", "/v1/rules", "/v1/claims", "/v1/silences", "/v1/webhooks"}


@pytest.mark.parametrize("sort", ["", "names", "--name", "name,id", "NAME", "-", "+name"])
async def test_another_order_is_refused_with_those_that_there_are(tenant: Tenant, sort: str) -> None:
    refused = await tenant.client.get("/v1/sites", params={"sort": sort})
    assert (refused.status_code, refused.json()["code"]) == (422, "invalid_value")
    assert "created_at, -created_at, name, -name" in refused.json()["detail"]


async def test_a_cursor_of_another_order_is_refused(tenant: Tenant) -> None:
    await fill(tenant.client)
    first = (await tenant.client.get("/v1/sites", params={"sort": "-name", "limit": 2})).json()
    refused = await tenant.client.get("/v1/sites", params={"cursor": first["next"]})
    assert (refused.status_code, refused.json()["code"]) == (422, "invalid_cursor")
    assert "sort=-name" in refused.json()["detail"]


async def test_a_forged_number_is_no_fault_of_the_database(tenant: Tenant) -> None:
    nobody = str(UUID(int=0))
    for path, sort, cursor in (
        ("/v1/alerts", "severity", encode_cursor("alerts:severity", 0.5, nobody)),
        ("/v1/alerts", "severity", encode_cursor("alerts:severity", 2**40, nobody)),
        ("/v1/audit", "-at", encode_cursor("audit", "2026-11-26T12:00:00+00:00", nobody, 1.5)),
    ):
        refused = await tenant.client.get(path, params={"sort": sort, "cursor": cursor})
        assert (refused.status_code, refused.json().get("code")) == (422, "invalid_cursor")


async def test_a_name_of_any_length_fits_a_cursor(tenant: Tenant) -> None:
    for letter in ("a", "\U0001f600"):
        site = {"name": letter * 200, "kind": "street", "timezone": "UTC", "location": PLACE}
        (await tenant.client.post("/v1/sites", json=site)).raise_for_status()
    for sort in ("name", "-name"):
        first = (await tenant.client.get("/v1/sites", params={"sort": sort, "limit": 1})).json()
        params = {"sort": sort, "limit": 1, "cursor": first["next"]}
        second = (await tenant.client.get("/v1/sites", params=params)).raise_for_status().json()
        assert second["next"] is None
        assert {first["data"][0]["name"][0], second["data"][0]["name"][0]} == {"a", "\U0001f600"}


async def test_lists_are_searched_by_name_and_by_organisation(
    tenant: Tenant, other_tenant: Tenant, api: httpx.AsyncClient
) -> None:
    await fill(tenant.client)
    for path in ("/v1/sites", "/v1/rules", "/v1/boxes", "/v1/api-keys"):
        found = (await tenant.client.get(path, params={"q": "D"})).raise_for_status().json()["data"]
        assert [row["name"] for row in found if row["name"] != "tests"] == ["d"], path
    assert (await tenant.client.get("/v1/sites", params={"q": "%"})).json()["data"] == []
    named = (await api.get("/v1/organisations", params={"q": "tenA"})).json()["data"]
    assert [row["id"] for row in named] == [tenant.id]
    for path in ("/v1/rules", "/v1/silences", "/v1/inhibitions"):
        for whose, size in ((tenant.id, len(NAMES)), (other_tenant.id, 0)):
            found = (await api.get(path, params={"organisation": whose})).raise_for_status().json()["data"]
            assert len(found) == size, (path, whose)
    for path in ("/v1/alerts", "/v1/quarantine"):
        (await api.get(path, params={"organisation": tenant.id})).raise_for_status()


MANY_ALERTS = """
INSERT INTO alerts (id, organisation_id, rule_id, rule_version, site_id, severity, highest_severity, state,
    pending_since, started_at, resolved_at, sequence, created_at, updated_at)
SELECT gen_random_uuid(), :organisation, :rule, 1, :site,
    (ARRAY['info', 'warning', 'critical'])[1 + n % 3], 'critical', 'resolved',
    now(), now() - n * interval '1 min', now(), 1, now(), now()
FROM generate_series(1, 20000) n
"""


# By which index each order is walked, in either direction.
INDEXES = {
    "id": {"ix_alerts_organisation_id", "pk_alerts", "alerts_pkey"},
    "started_at": {"ix_alerts_organisation_id_started_at"},
    "severity": {"ix_alerts_organisation_id_severity"},
}


async def plan_of(database: Database, organisation: str, asked: PageRequest) -> str:
    """How the server finds a page, of the very statement that the list asks with."""
    wanted = AlertFilter(TenantScope.of([UUID(organisation)]))
    statement, parameters = compile_alert_page(wanted, asked).bind()
    async with database.read() as session:
        connection = await get_driver_connection(session)
        plan = await connection.fetch(f"EXPLAIN {statement}", *parameters)
        return "\n".join(row[0] for row in plan)


async def test_alerts_are_found_in_each_order_by_an_index(tenant: Tenant, database: Database) -> None:
    await fill(tenant.client)
    (rule, *_) = (await tenant.client.get("/v1/rules")).json()["data"]
    values = {"organisation": tenant.id, "rule": rule["id"], "site": rule["site_id"]}
    async with database.write() as session:
        await session.execute(text(MANY_ALERTS), values)
        await session.execute(text("ANALYZE alerts"))
    for sort in ALERTS.names:
        first = await tenant.client.get("/v1/alerts", params={"sort": sort, "limit": 100})
        cursor = first.raise_for_status().json()["next"]
        params = {"sort": sort, "limit": "100", "cursor": cursor}
        second = (await tenant.client.get("/v1/alerts", params=params)).raise_for_status()
        rows = first.json()["data"] + second.json()["data"]
        assert len({row["id"] for row in rows}) == 200
        check_order(rows, sort)
        for place in (None, cursor):
            plan = await plan_of(database, tenant.id, PageRequest(sort, 100, place))
            used = set(re.findall(r"using (\w+) on alerts", plan))
            assert used <= INDEXES[sort.removeprefix("-")], (sort, plan)
            assert len(used) == 1, (sort, plan)
            assert "Sort" not in plan, (sort, plan)
