"""Alerts that boxes raised for one sound, and its incident: each names the other."""

from fastapi import FastAPI

from tests.conftest import Tenant, client_of
from tests.integration.sound_incidents.square import BOXES, Square, shot

CONDITION = {"event": "gunshot", "confidence": 0.1, "window": "PT5M"}


async def test_alerts_and_their_incident_name_each_other(
    application: FastAPI, square: Square, other_tenant: Tenant
) -> None:
    client = square.tenant.client
    rule = {"site_id": square.site, "name": "Shots", "severity": "critical", "condition": CONDITION}
    (await client.post("/v1/rules", json=rule)).raise_for_status()
    await square.send(shot(ago_s=40))
    alerts = (await client.get("/v1/alerts")).json()["data"]
    assert len(alerts) == len(BOXES)
    assert {each["incident_id"] for each in alerts} == {None}
    tag = (await client.get(f"/v1/alerts/{alerts[0]['id']}")).headers["ETag"]
    await square.work()
    (incident,) = await square.incidents()
    identifier = str(incident["id"])
    assert {each["incident_id"] for each in (await client.get("/v1/alerts")).json()["data"]} == {identifier}
    # The alert itself did not change.
    again = await client.get(f"/v1/alerts/{alerts[0]['id']}")
    assert again.json()["incident_id"] == identifier
    assert again.headers["ETag"].partition(".")[0] == tag.partition(".")[0]
    assert "pistol" in again.json()["sentence"]
    assert "pistolet" in again.json()["sentence_fr"]

    found = (await client.get(f"/v1/alerts?incident={identifier}&site={square.site}")).json()["data"]
    assert {each["box"] for each in found} == set(BOXES)
    nobody = "01a22723-18f1-7676-b0b0-609977fd07c8"
    assert (await client.get(f"/v1/alerts?incident={nobody}")).json()["data"] == []
    foreign = await other_tenant.client.get(f"/v1/alerts?incident={identifier}")
    assert foreign.json()["data"] == []

    waiting = (await client.get("/v1/overview")).json()["open_incidents"]
    assert waiting["total"] == 1
    (listed,) = waiting["listed"]
    assert (listed["id"], listed["class"], listed["class_label_fr"], listed["timezone"]) == (
        identifier,
        "pistol",
        "Pistolet",
        "Europe/Paris",
    )
    assert (await other_tenant.client.get("/v1/overview")).json()["open_incidents"]["total"] == 0

    # Without the right to incidents, an alert does not reveal them.
    body = {"name": "alerts", "scopes": ["alerts:read"]}
    secret = (await client.post("/v1/api-keys", json=body)).raise_for_status().json()["key"]
    async with client_of(application, secret) as limited:
        assert {each["incident_id"] for each in (await limited.get("/v1/alerts")).json()["data"]} == {None}
        assert (await limited.get("/v1/overview")).json()["open_incidents"] is None
        refused = await limited.get(f"/v1/alerts?incident={identifier}")
        assert (refused.status_code, refused.json()["code"]) == (403, "forbidden")
