"""A request from the first word to the answer: by anybody, for those who answer for the site."""

from datetime import UTC, datetime, timedelta
from typing import Any

import asyncpg
import httpx
import pytest
from fastapi import FastAPI

from app.platform.db.database import Database
from app.platform.kernel.application_resources import provide_resources
from app.privacy_requests.service import compute_due_at
from app.privacy_requests.settings import RightsSettings
from app.privacy_requests.worker import process_overdue_requests
from tests.conftest import Tenant, client_of
from tests.integration.people.folk import OrganisationPeople, refusal
from tests.roles import working_as

WORDS = "What did the box by number 12 record of me?"
TOUCHY = ("Ada Lovelace", "ada@example.org", WORDS, "We hold nothing of you.", "ask the town hall")


async def ask(anybody: httpx.AsyncClient, **more: Any) -> dict[str, Any]:  # noqa: ANN401 (a JSON body)
    answer = await anybody.post("/v1/rights-requests", json={"kind": "access", "message": WORDS, **more})
    assert answer.status_code == 201, answer.text
    made: dict[str, Any] = answer.json()
    return made


def proof(made: dict[str, Any]) -> dict[str, str]:
    return {"reference": made["reference"], "token": made["token"]}


async def test_a_request_is_made_read_extended_and_answered(
    anybody: httpx.AsyncClient, tenant: Tenant, site: str
) -> None:
    made = await ask(anybody, site_id=site, name="Ada Lovelace", contact="ada@example.org", language="fr")
    received = datetime.fromisoformat(made["received_at"])
    assert datetime.fromisoformat(made["due_at"]) == compute_due_at(received)
    (listed,) = (await tenant.client.get(f"/v1/rights-requests?site={site}&state=received")).json()["data"]
    assert (listed["message"], listed["contact"], listed["language"]) == (WORDS, "ada@example.org", "fr")
    assert made["token"] not in str(listed)
    path = f"/v1/rights-requests/{listed['id']}"
    worked = await tenant.client.patch(path, json={"state": "in_progress", "note": "ask the town hall"})
    assert worked.json()["handled_kind"] == "key"
    extended = await tenant.client.post(f"{path}/extend", json={"reason": "Three authorities."})
    assert datetime.fromisoformat(extended.json()["due_at"]) == compute_due_at(received, extended=True)
    again = await tenant.client.post(f"{path}/extend", json={"reason": "More."})
    assert refusal(again) == (409, "request_extended")
    status = (await anybody.post("/v1/rights-requests/status", json=proof(made))).json()
    assert (status["state"], status["extension_reason"]) == ("in_progress", "Three authorities.")
    assert "ask the town hall" not in str(status)
    assert refusal(await tenant.client.delete(path)) == (409, "request_open")
    said = {"outcome": "nothing_held", "answer": "We hold nothing of you."}
    assert (await tenant.client.post(f"{path}/answer", json=said)).json()["state"] == "answered"
    assert refusal(await tenant.client.post(f"{path}/answer", json=said)) == (409, "request_closed")
    assert refusal(await tenant.client.patch(path, json={"state": "received"})) == (409, "request_closed")
    status = (await anybody.post("/v1/rights-requests/status", json=proof(made))).json()
    assert {name: status[name] for name in said} == said
    withdrawn = await anybody.post("/v1/rights-requests/withdraw", json=proof(made))
    assert refusal(withdrawn) == (409, "request_closed")
    assert (await tenant.client.delete(path)).status_code == 204
    nul = {**proof(made), "reference": "R-\x00"}
    assert (await anybody.post("/v1/rights-requests/status", json=nul)).status_code == 404
    gone = await anybody.post("/v1/rights-requests/status", json=proof(made))
    assert refusal(gone) == (404, "not_found")


async def test_only_the_token_opens_a_request(anybody: httpx.AsyncClient, site: str) -> None:
    made, other = await ask(anybody, site_id=site), await ask(anybody, site_id=site)
    for wrong in (
        {"reference": made["reference"], "token": other["token"]},
        {"reference": made["reference"], "token": "x"},
        {"reference": "R-00000-00000", "token": made["token"]},
    ):
        for what in ("status", "withdraw"):
            answer = await anybody.post(f"/v1/rights-requests/{what}", json=wrong)
            assert refusal(answer) == (404, "not_found")
    ended = await anybody.post("/v1/rights-requests/withdraw", json=proof(made))
    assert ended.json()["state"] == "withdrawn"


async def test_it_goes_to_who_answers_for_the_site_and_to_nobody_else(
    anybody: httpx.AsyncClient, api: httpx.AsyncClient, application: FastAPI, tenant: Tenant, site: str
) -> None:
    await ask(anybody, site_id=site)
    general = await ask(anybody)
    seen = (await tenant.client.get("/v1/rights-requests")).json()["data"]
    assert [row["site_id"] for row in seen] == [site]
    everything = (await api.get("/v1/rights-requests")).json()["data"]
    assert {row["reference"] for row in everything} == {seen[0]["reference"], general["reference"]}
    elsewhere = (await api.post("/v1/organisations", json={"name": "Elsewhere"})).json()["id"]
    key = await api.post(
        "/v1/api-keys", json={"organisation_id": elsewhere, "name": "theirs", "scopes": ["*"]}
    )
    async with client_of(application, key.json()["key"]) as stranger:
        assert (await stranger.get("/v1/rights-requests")).json()["data"] == []
        path = f"/v1/rights-requests/{seen[0]['id']}"
        assert (await stranger.get(path)).status_code == 404
        assert (await stranger.get(f"{path}/findings")).status_code == 404
    unknown = await anybody.post(
        "/v1/rights-requests",
        json={"kind": "access", "message": WORDS, "site_id": "0194a1b2-0000-7000-8000-000000000001"},
    )
    assert refusal(unknown) == (404, "not_found")


async def test_nothing_of_what_people_write_is_in_the_log_or_told_to_endpoints(
    anybody: httpx.AsyncClient, tenant: Tenant, site: str, owner: asyncpg.Connection, folk: OrganisationPeople
) -> None:
    ada = await folk.join("Olga", "operator")
    await ask(anybody, site_id=site, name=TOUCHY[0], contact=TOUCHY[1])
    (row,) = (await ada.client.get("/v1/rights-requests")).json()["data"]
    path = f"/v1/rights-requests/{row['id']}"
    await ada.client.patch(path, json={"note": TOUCHY[4]})
    await ada.client.post(f"{path}/answer", json={"outcome": "refused", "answer": TOUCHY[3]})
    log = (await tenant.client.get("/v1/audit?limit=200")).json()["data"]
    actions = [entry["action"] for entry in log]
    assert {"rights_request.created", "rights_request.read", "rights_request.updated"} <= set(actions)
    told = await owner.fetch("SELECT type, payload::text FROM outbox WHERE type LIKE 'rights.%'")
    assert [type_ for type_, _ in told] == ["rights.received"]
    for touchy in TOUCHY:
        assert touchy not in str(log)
        assert touchy not in str(told)


async def test_requests_of_one_address_are_limited(
    anybody: httpx.AsyncClient, application: FastAPI, site: str
) -> None:
    provide_resources(application, RightsSettings(per_address=2, looks=1))
    made = await ask(anybody, site_id=site)
    await ask(anybody, site_id=site)
    third = await anybody.post("/v1/rights-requests", json={"kind": "access", "message": WORDS})
    assert refusal(third) == (429, "too_many_attempts")
    assert (await anybody.post("/v1/rights-requests/status", json=proof(made))).status_code == 200
    looked = await anybody.post("/v1/rights-requests/status", json=proof(made))
    assert refusal(looked) == (429, "too_many_attempts")


@pytest.mark.parametrize(
    ("body", "code"),
    [
        ({"kind": "revenge"}, "invalid_value"),
        ({"message": "  "}, "invalid_text"),
        ({"message": "x" * 4_001}, "text_too_long"),
        ({"begins_at": "2026-02-01T00:00:00Z", "ends_at": "2026-01-01T00:00:00Z"}, "range_reversed"),
        ({"hurry": True}, "unknown_field"),
        ({"passport": "12"}, "forbidden_content"),
    ],
)
async def test_what_is_no_request_is_refused(
    anybody: httpx.AsyncClient, body: dict[str, Any], code: str
) -> None:
    answer = await anybody.post("/v1/rights-requests", json={"kind": "access", "message": WORDS, **body})
    assert refusal(answer) == (413 if code == "text_too_long" else 422, code)


async def test_findings_count_what_is_held_of_the_place_and_the_time(
    anybody: httpx.AsyncClient, tenant: Tenant, site: str
) -> None:
    box = (await tenant.client.post("/v1/boxes", json={"id": "rights-1", "site_id": site})).json()
    now = datetime.now(UTC).replace(microsecond=0)
    samples = [
        {"time": (now - timedelta(minutes=minute)).isoformat(), "values": {"pm2_5": 5}}
        for minute in (1, 2, 3, 300)
    ]
    sent = await tenant.client.post("/v1/telemetry", json={"box": box["id"], "samples": samples})
    assert sent.json()["stored"] == 4
    hour = {"begins_at": (now - timedelta(hours=1)).isoformat(), "ends_at": now.isoformat()}
    await ask(anybody, site_id=site, **hour)
    (row,) = (await tenant.client.get("/v1/rights-requests")).json()["data"]
    found = (await tenant.client.get(f"/v1/rights-requests/{row['id']}/findings")).json()
    assert (found["boxes"], found["samples"], found["events"], found["alerts"]) == (1, 3, [], 0)


async def test_what_is_overdue_is_told_once_and_what_ended_long_ago_goes(
    anybody: httpx.AsyncClient, tenant: Tenant, site: str, owner: asyncpg.Connection, database: Database
) -> None:
    made, closed = await ask(anybody, site_id=site), await ask(anybody, site_id=site)
    await owner.execute(
        "UPDATE rights_requests SET due_at = now() - interval '1 minute' WHERE reference = $1",
        made["reference"],
    )
    await anybody.post("/v1/rights-requests/withdraw", json=proof(closed))
    await owner.execute(
        "UPDATE rights_requests SET closed_at = now() - interval '366 days' WHERE reference = $1",
        closed["reference"],
    )
    async with working_as("maintain", database) as opened:
        working = await opened.connect()
        for _ in range(2):
            await process_overdue_requests(working, RightsSettings())
        await working.close()
    told = await owner.fetch("SELECT payload->>'reference' FROM outbox WHERE type = 'rights.overdue'")
    assert [reference for (reference,) in told] == [made["reference"]]
    left = (await tenant.client.get("/v1/rights-requests?overdue=true")).json()["data"]
    assert [row["reference"] for row in left] == [made["reference"]]
    assert await owner.fetchval("SELECT count(*) FROM rights_requests") == 1
    late = await tenant.client.post(
        f"/v1/rights-requests/{left[0]['id']}/extend", json={"reason": "We forgot."}
    )
    assert refusal(late) == (409, "request_overdue")


@pytest.mark.parametrize("since", ["2020-02-03T00:00:00Z", "9998-02-03T00:00:00Z"])
async def test_findings_of_what_has_a_beginning_alone_are_of_a_month_at_most(
    anybody: httpx.AsyncClient, tenant: Tenant, site: str, since: str
) -> None:
    await ask(anybody, site_id=site, begins_at=since)
    (listed,) = (await tenant.client.get(f"/v1/rights-requests?site={site}")).json()["data"]
    answer = await tenant.client.get(f"/v1/rights-requests/{listed['id']}/findings")
    found = answer.json()
    begins, ends = (datetime.fromisoformat(found[name]) for name in ("begins_at", "ends_at"))
    assert begins == datetime.fromisoformat(since)
    assert timedelta(0) <= ends - begins <= timedelta(days=31)
