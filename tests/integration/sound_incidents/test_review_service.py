"""Incidents over REST: lists, their places, and what people say of them."""

import json
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
from fastapi import FastAPI

from app.platform.db.database import Database
from tests.conftest import Tenant
from tests.incidents import put_incident
from tests.integration.people.conftest import _cheap_hashes  # noqa: F401 (a fixture)
from tests.integration.people.folk import OrganisationPeople, SignedInPerson, refusal
from tests.integration.sound_incidents.square import SHOT, Square, shot


@pytest.fixture
async def person(
    _cheap_hashes: None,  # noqa: F811 (the fixture)
    application: FastAPI,
    api: httpx.AsyncClient,
    tenant: Tenant,
) -> AsyncIterator[SignedInPerson]:
    async with OrganisationPeople(application, api, tenant.id) as folk:
        yield await folk.join("Ada", "operator")


@pytest.fixture
async def incident(square: Square) -> dict[str, Any]:
    """What six boxes heard of a shot."""
    await square.send(shot())
    await square.work()
    (found,) = (await square.tenant.client.get("/v1/incidents")).raise_for_status().json()["data"]
    return dict(found)


async def test_an_incident_is_shown_with_its_events_and_history(
    square: Square, incident: dict[str, Any]
) -> None:
    told = (await square.tenant.client.get(f"/v1/incidents/{incident['id']}")).raise_for_status().json()
    assert {each["verdict"] for each in told["events"]} == {"used"}
    assert len(told["events"]) == 6
    assert all(abs(each["residual_ms"]) < 20 for each in told["events"])
    assert [each["kind"] for each in told["history"]] == ["detected"]
    assert told["temperature"] == {"celsius": 15.0, "sigma_celsius": 8.0, "source": "default", "boxes": 0}
    assert {each["name"] for each in told["method"]} >= {"tdoa_robust_least_squares"}
    assert told["method"][0]["parameters"]["wind_sigma_m_s"] == 2.0


async def test_lists_are_filtered_and_come_as_geojson(
    square: Square, incident: dict[str, Any], other_tenant: Tenant
) -> None:
    client = square.tenant.client

    async def found(**params: str) -> list[str]:
        answer = await client.get("/v1/incidents", params=params)
        return [each["id"] for each in answer.raise_for_status().json()["data"]]

    mine = [incident["id"]]
    near = f"{SHOT[0]},{SHOT[1]}"
    assert await found(site=square.site, state="open", evidence="position", min_probability="0.3") == mine
    assert await found(near=f"{near},50") == mine
    assert await found(near=f"{SHOT[0]},{SHOT[1] + 0.002},150") == []
    assert await found(state="confirmed") == await found(evidence="branch") == []
    assert await found(to=incident["occurred_at"]) == []
    assert await found(**{"from": incident["occurred_at"]}) == mine
    answer = await client.get("/v1/incidents", params={"format": "geojson", "sort": "-probability"})
    assert answer.headers["content-type"] == "application/geo+json"
    (feature,) = answer.json()["features"]
    assert feature["geometry"]["type"] == "Point"
    assert feature["properties"]["ellipse"]["level"] == 0.95
    for wrong in ("1,2", "200,0,10", "1.4,43.6,0", "1.4,43.6,1000000"):
        assert (await client.get("/v1/incidents", params={"near": wrong})).status_code == 422
    assert (await other_tenant.client.get("/v1/incidents")).json()["data"] == []
    assert (await other_tenant.client.get(f"/v1/incidents/{incident['id']}")).status_code == 404


async def test_a_person_confirms_and_a_key_does_not(
    square: Square, incident: dict[str, Any], person: SignedInPerson
) -> None:
    path = f"/v1/incidents/{incident['id']}"
    said = {"outcome": "glock-17", "note": "Cartridges were found"}
    assert refusal(await square.tenant.client.post(f"{path}/confirm", json=said)) == (403, "person_required")
    wrong = await person.client.post(f"{path}/confirm", json={"outcome": "firework"})
    assert refusal(wrong) == (422, "unknown_outcome")
    done = (await person.client.post(f"{path}/confirm", json=said)).raise_for_status().json()
    assert (done["state"], done["outcome"], done["sequence"]) == ("confirmed", "glock-17", 2)
    assert done["reviewed_by"] == person.id
    assert 0 < done["review_s"] < 60
    again = await person.client.post(f"{path}/dismiss", json={"outcome": "firework"})
    assert refusal(again) == (409, "already_reviewed")
    assert [kind for kind, _ in await square.told()] == ["incident.detected", "incident.confirmed"]
    _, told = (await square.told())[1]
    assert (told["outcome"], told["sequence"]) == ("glock-17", 2)
    assert "Cartridges" not in json.dumps(told)


@pytest.mark.usefixtures("square")
async def test_a_correction_keeps_the_former_review(incident: dict[str, Any], person: SignedInPerson) -> None:
    path = f"/v1/incidents/{incident['id']}"
    (await person.client.post(f"{path}/confirm", json={"outcome": "pistol"})).raise_for_status()
    first = (await person.client.get(path)).json()
    stale = await person.client.post(f"{path}/dismiss", json={"outcome": "firework", "sequence": 1})
    assert refusal(stale) == (409, "incident_changed")
    body = {"outcome": "firework", "sequence": 2, "note": "A rehearsal"}
    done = (await person.client.post(f"{path}/dismiss", json=body)).raise_for_status().json()
    assert (done["state"], done["review_s"]) == ("dismissed", first["review_s"])
    history = (await person.client.get(path)).json()["history"]
    assert [(each["kind"], each["outcome"]) for each in history] == [
        ("detected", None),
        ("confirmed", "pistol"),
        ("dismissed", "firework"),
    ]
    assert [each["sequence"] for each in history] == [1, 2, 3]


async def test_whoever_has_seen_another_version_changes_nothing(
    incident: dict[str, Any], person: SignedInPerson
) -> None:
    path = f"/v1/incidents/{incident['id']}"
    tag = (await person.client.get(path)).headers["etag"]
    said = {"outcome": "gunshot"}
    other = await person.client.post(f"{path}/confirm", json=said, headers={"If-Match": '"nothing"'})
    assert refusal(other) == (412, "precondition_failed")
    done = await person.client.post(f"{path}/confirm", json=said, headers={"If-Match": tag})
    assert done.status_code == 200, done.text


async def test_figures_of_a_site_count_what_people_said(
    square: Square, person: SignedInPerson, database: Database
) -> None:
    ids = [await put_incident(database, square.site) for _ in range(5)]
    for each, verb, outcome in (
        (ids[0], "confirm", "gunshot"),
        (ids[1], "confirm", "pistol"),
        (ids[2], "confirm", "rifle"),
        (ids[3], "dismiss", "firework"),
    ):
        answer = await person.client.post(f"/v1/incidents/{each}/{verb}", json={"outcome": outcome})
        assert answer.status_code == 200, answer.text
    path = f"/v1/sites/{square.site}/incident-statistics"
    told = (await person.client.get(path)).raise_for_status().json()
    assert [told[name] for name in ("open", "confirmed", "dismissed", "withdrawn")] == [1, 3, 1, 0]
    assert told["precision"] == 0.75
    # As `binom` of R and others give it for 3 of 4.
    assert told["precision_interval"]["low"] == pytest.approx(0.3006, abs=1e-4)
    assert told["precision_interval"]["high"] == pytest.approx(0.9544, abs=1e-4)
    assert told["unreviewed_share"] == 0.2
    assert told["boxes"] == 6
    assert told["false_alarms_per_box_day"] == pytest.approx(1 / (6 * 90))
    assert 0 <= told["median_review_s"] < 60
    past = (await person.client.get(path, params={"to": "2026-01-01T00:00:00Z"})).json()
    assert (past["open"], past["precision"], past["precision_interval"]) == (0, None, None)
