"""Every route of the document with every key that must not open it."""

from collections.abc import Iterator
from contextlib import contextmanager

import asyncpg
import httpx
import pytest
from fastapi import FastAPI
from sqlalchemy import event

from app.platform.db.database import Database
from app.platform.kernel.application_resources import get_resource
from app.platform.kernel.ids import new_id
from app.platform.kernel.secret_tokens import generate_key
from app.platform.runtime.stored_settings import READ
from tests.conftest import client_of
from tests.integration.access.routes import (
    ANY_KEY,
    GRANT_KEY_ONLY,
    GRANTED,
    OPEN,
    OPTIONAL_KEY,
    OTHER_KEYS,
    PEOPLE_ONLY,
    PLATFORM_ONLY,
    Route,
    routes,
)
from tests.integration.access.world import MARK, TenantsUnderTest


def guarded(world: TenantsUnderTest) -> list[Route]:
    return [route for route in routes(world.ids) if route.name not in OPEN | OPTIONAL_KEY | OTHER_KEYS]


@contextmanager
def statements(application: FastAPI) -> Iterator[list[str]]:
    """What is asked of the database meanwhile: as many statements, in the same order, take the same time."""
    asked: list[str] = []
    engine = get_resource(application, Database).engine.sync_engine

    def keep(_: object, __: object, statement: str, *___: object) -> None:
        # The process asks this by itself, every two seconds.
        if statement != READ.text:
            asked.append(statement)

    event.listen(engine, "before_cursor_execute", keep)
    try:
        yield asked
    finally:
        event.remove(engine, "before_cursor_execute", keep)


async def call(client: httpx.AsyncClient, route: Route) -> httpx.Response:
    return await client.request(route.method, route.path, json=route.body)


def told(answer: httpx.Response, route: Route, world: TenantsUnderTest) -> list[str]:
    """What an answer says of the client that its caller did not say itself."""
    known = route.given.lower()
    if "quarantine" in route.name:
        # There is what the caller sent itself, to a box that is not its own.
        known += world.ids["box"]
    secrets = [MARK, *(each.lower() for each in world.ids.values() if len(each) > 1)]
    # An error may repeat what was asked for.
    text = answer.text.lower()
    for word in sorted(secrets, key=len, reverse=True):
        if word in known and word != MARK:
            text = text.replace(word, "")
    return [word for word in secrets if word in text]


async def test_a_route_without_a_key_or_with_a_bad_one_is_401_and_tells_nothing(
    application: FastAPI, world: TenantsUnderTest
) -> None:
    mistyped = world.client.key[:-1] + ("0" if world.client.key[-1] != "0" else "1")
    wrong = {
        "none": (None, "unauthorised"),
        "mistyped": (mistyped, "unauthorised"),
        "unknown": (generate_key(), "unauthorised"),
        "revoked": (world.keys["revoked"], "unauthorised"),
        "expired": (world.keys["expired"], "key_expired"),
    }
    found = []
    for name, (key, code) in wrong.items():
        async with client_of(application, key) as client:
            for route in guarded(world):
                with statements(application) as asked:
                    answer = await call(client, route)
                right = answer.status_code == 401 and answer.json().get("code") == code
                # One look for a key that could be one, none for any other.
                quick = not asked if name in {"none", "mistyped"} else len(asked) <= 3
                if not right or not quick or told(answer, route, world):
                    found.append((name, route.name, answer.status_code, answer.text[:80], len(asked)))
    assert not found, "\n".join(map(str, found))


async def test_a_key_without_the_scope_is_403(application: FastAPI, world: TenantsUnderTest) -> None:
    found = []
    for route in guarded(world):
        if route.name in ANY_KEY:
            continue
        narrow = "sites" if _takes_telemetry(route) else "telemetry"
        async with client_of(application, world.keys[narrow]) as client:
            answer = await call(client, route)
        if answer.status_code != 403 or told(answer, route, world):
            found.append((route.name, answer.status_code, answer.text[:120]))
    assert not found, "\n".join(map(str, found))


def _takes_telemetry(route: Route) -> bool:
    return (
        route.name.startswith("push_")
        or route.name == "post_events"
        or "telemetry" in route.name
        or "quarantine" in route.name
    )


@pytest.mark.parametrize("whose", ["sibling", "stranger"])
async def test_another_tenants_things_do_not_exist(world: TenantsUnderTest, whose: str) -> None:
    client = getattr(world, whose).client
    before = await snapshot(world)
    found = []
    for route in guarded(world):
        if route.name in _STREAMS and not route.refers:
            continue
        answer = await call(client, route)
        if not refused(answer, route) or told(answer, route, world):
            found.append((route.name, answer.status_code, answer.text[:160]))
    assert not found, "\n".join(map(str, found))
    assert await snapshot(world) == before


def refused(answer: httpx.Response, route: Route) -> bool:
    """Whether an answer is right for somebody else's key."""
    if route.name in {"post_telemetry", "post_events", "push_sensor_community"}:
        return bool(answer.json()["code"] == "unknown_box")
    if route.name == "create_organisation":
        return answer.status_code == 404
    if route.name in PLATFORM_ONLY | PEOPLE_ONLY | GRANT_KEY_ONLY:
        return answer.status_code == 403
    if route.name in _NAMES_AN_ORGANISATION:
        return answer.status_code == 422 and answer.json()["code"] == "foreign_organisation"
    if route.name in _SKIPS_WHAT_IS_NOT_THERE:
        return answer.status_code < 300
    return answer.status_code == 404 if route.refers else answer.status_code < 300


_STREAMS = {"stream_events", "stream_measurements"}
_NAMES_AN_ORGANISATION = {
    *("create_api_key", "create_site", "create_channel", "create_invitation", "create_grant"),
}
# A list of ids, of which those that are not there are named in the answer; a filter by what is not there.
_SKIPS_WHAT_IS_NOT_THERE = {
    "acknowledge_alerts",
    "change_alerts",
    "change_boxes",
    "replay_quarantine",
    "list_audit_entries",
}


async def snapshot(world: TenantsUnderTest) -> dict[str, str]:
    """All that the client can read."""
    seen = {}
    for route in guarded(world):
        # Reports, overviews and explanations say when they were made: all else in them stands elsewhere, too.
        apart = {*_STREAMS, "get_site_daily_report", "get_site_weekly_report"}
        apart |= {"get_site_monthly_report"}
        apart |= {"get_overview", "get_overview_boxes", "list_overview_changes", "get_alert_explanation"}
        apart |= PLATFORM_ONLY | PEOPLE_ONLY | GRANT_KEY_ONLY
        if route.method == "GET" and route.name not in apart:
            answer = await call(world.client.client, route)
            assert answer.status_code == 200, (route.name, answer.text)
            seen[route.name] = answer.text
    return {
        name: text
        for name, text in seen.items()
        # These tell of the moment, or of the tests' own calls.
        if name
        not in {"list_api_keys", "get_api_key", "get_webhook_health", "get_channel_health", "list_changes"}
        and name not in {"list_grant_uses", "list_grant_keys"}
        and "audit" not in name
    }


async def test_what_is_anothers_takes_as_many_looks_as_what_is_nobodys(
    application: FastAPI, world: TenantsUnderTest
) -> None:
    nobodys = {
        name: value if name == "version" else str(new_id()) if name != "box" else "nobody-0001"
        for name, value in world.ids.items()
    }
    invented = {route.name: route for route in routes(nobodys)}
    found = []
    # Once a minute the use of a key is noted.
    await world.sibling.client.get("/v1/sites")
    for route in guarded(world):
        if not route.refers or route.name in PEOPLE_ONLY | PLATFORM_ONLY | GRANT_KEY_ONLY | {
            *_STREAMS,
            "get_rule_preset",
            "apply_rule_preset",
        }:
            continue
        with statements(application) as of_another:
            first = await call(world.sibling.client, route)
        with statements(application) as of_nobody:
            second = await call(world.sibling.client, invented[route.name])
        if first.status_code != second.status_code or of_another != of_nobody:
            found.append((route.name, first.status_code, second.status_code, of_another, of_nobody))
    assert not found, "\n".join(map(str, found))


async def test_an_integrator_reaches_its_clients_and_nobody_else(world: TenantsUnderTest) -> None:
    site = world.ids["site_id"]
    assert (await world.integrator.client.get(f"/v1/sites/{site}")).status_code == 200
    seen = (await world.integrator.client.get("/v1/organisations")).json()["data"]
    assert {entry["id"] for entry in seen} == {world.integrator.id, world.client.id, world.sibling.id}
    assert (await world.integrator.client.get(f"/v1/organisations/{world.stranger.id}")).status_code == 404
    for tenant in (world.client, world.sibling, world.stranger):
        seen = (await tenant.client.get("/v1/organisations")).json()["data"]
        assert [entry["id"] for entry in seen] == [tenant.id]


async def test_an_administrators_key_for_some_sites_is_no_administrators(
    application: FastAPI, world: TenantsUnderTest
) -> None:
    place = {"type": "Point", "coordinates": [1.4, 43.6]}
    body = {"name": "town hall", "kind": "office", "timezone": "Europe/Paris", "location": place}
    site = (await world.admin.post("/v1/sites", json=body)).json()["id"]
    made = await world.admin.post("/v1/api-keys", json={"name": "x", "scopes": ["*"], "site_ids": [site]})
    assert made.status_code == 201, made.text
    async with client_of(application, made.json()["key"]) as limited:
        assert [each["id"] for each in (await limited.get("/v1/sites")).json()["data"]] == [site]
        assert (await limited.get(f"/v1/sites/{world.ids['site_id']}")).status_code == 404
        assert (await limited.get("/v1/organisations")).status_code == 403
        assert (await limited.post("/v1/api-keys", json={"name": "y", "scopes": ["*"]})).status_code == 403
        assert (await limited.get("/v1/ingest-totals")).status_code == 403


async def test_a_key_for_some_sites_sees_these_alone(application: FastAPI, world: TenantsUnderTest) -> None:
    client = world.client.client
    place = {"type": "Point", "coordinates": [1.4, 43.6]}
    body = {"name": "quiet street", "kind": "street", "timezone": "Europe/Paris", "location": place}
    other = (await client.post("/v1/sites", json=body)).json()["id"]
    await client.post("/v1/boxes", json={"id": "quiet-0001", "site_id": other})
    made = await client.post("/v1/api-keys", json={"name": "one site", "scopes": ["*"], "site_ids": [other]})
    assert made.status_code == 201, made.text
    assert made.json()["site_ids"] == [other]
    found = []
    async with client_of(application, made.json()["key"]) as limited:
        assert [each["id"] for each in (await limited.get("/v1/sites")).json()["data"]] == [other]
        assert [each["id"] for each in (await limited.get("/v1/boxes")).json()["data"]] == ["quiet-0001"]
        for route in guarded(world):
            # Whose key it is `GET /v1/me` says.
            if route.name in {*_STREAMS, "get_me"}:
                continue
            answer = await call(limited, route)
            right = {403, 404} if route.refers else {200, 201, 403}
            if route.name in {"post_telemetry", "post_events", "push_sensor_community"}:
                right = {422, 404}
            if route.name in _SKIPS_WHAT_IS_NOT_THERE | _NAMES_AN_ORGANISATION:
                right = {200, 201, 403}
            # Whose the key is it may know.
            leaks = set(told(answer, route, world)) - {world.client.id}
            if answer.status_code not in right or leaks:
                found.append((route.name, answer.status_code, answer.text[:160]))
    assert not found, "\n".join(map(str, found))
    foreign = {"name": "x", "scopes": ["*"], "site_ids": [world.ids["site_id"]]}
    assert (await world.sibling.client.post("/v1/api-keys", json=foreign)).status_code == 404


async def test_the_key_of_a_grant_opens_the_routes_that_limit_it_and_no_other(
    application: FastAPI, world: TenantsUnderTest
) -> None:
    """Each route of the document: those without a mark are closed."""
    before = await snapshot(world)
    found = []
    async with client_of(application, world.keys["grant"]) as reader:
        for route in guarded(world):
            # An open stream does not end: `test_measurement_readers` listens to it.
            if route.name in _STREAMS & GRANTED:
                continue
            answer = await call(reader, route)
            if route.name in GRANTED:
                # A key cannot revoke itself.
                expected = {"revoke_own_grant_key": 403, "create_own_grant_key": 201}
                right = answer.status_code == expected.get(route.name, 200)
            else:
                right = answer.status_code == 403 and answer.json()["code"] == "not_for_grants"
                right = right and not told(answer, route, world)
            if not right:
                found.append((route.name, answer.status_code, answer.text[:160]))
    assert not found, "\n".join(map(str, found))
    assert await snapshot(world) == before


async def test_the_key_of_another_tenants_grant_finds_nothing(
    application: FastAPI, world: TenantsUnderTest
) -> None:
    found = []
    async with client_of(application, world.keys["foreign_grant"]) as reader:
        for route in guarded(world):
            if route.name not in GRANTED - GRANT_KEY_ONLY:
                continue
            answer = await call(reader, route)
            right = answer.status_code == (404 if route.refers else 200)
            if not right or told(answer, route, world):
                found.append((route.name, answer.status_code, answer.text[:160]))
    assert not found, "\n".join(map(str, found))


async def test_rows_of_other_grants_are_out_of_reach_of_a_grants_key(
    world: TenantsUnderTest, database_url: str
) -> None:
    """The policies themselves: with the settings of its transactions, without the filters of the program."""
    connection = await asyncpg.connect(
        database_url,
        server_settings={
            "role": "vigie_api",
            "vigie.reach": world.client.id,
            "vigie.sites": world.ids["site_id"],
            "vigie.grant": str(new_id()),
        },
    )
    try:
        for table in ("grants", "grant_keys", "grant_acceptances", "grant_uses"):
            assert await connection.fetchval(f"SELECT count(*) FROM {table}") == 0, table  # noqa: S608 (constants)
        await connection.execute("SELECT set_config('vigie.grant', $1, false)", world.ids["grant_id"])
        for table in ("grants", "grant_keys", "grant_acceptances"):
            assert await connection.fetchval(f"SELECT count(*) FROM {table}") == 1, table  # noqa: S608 (constants)
    finally:
        await connection.close()
