"""Purposes and their approval, people's requests, the audit log, exports and reports in the console."""

import csv
import html
import io
import json
import re
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest
from fastapi import FastAPI

from app.console.administration.audit_router import is_hash_right
from tests.conftest import STREET
from tests.integration.console.conftest import OpenPage
from tests.integration.console.test_administration import ADMINISTRATION, NASTY, as_person
from tests.integration.console.visiting import PHONE, ConsoleClient, read_done
from tests.integration.people.folk import OrganisationPeople, SignedInPerson

DECLARATION = {
    "legal_basis": "public_task",
    "legal_reference": "Decision 2026-17",
    "controller": "City",
    "contact": "privacy@city.example",
    "impact_assessment": "DPIA-4",
    "notice": "https://city.example/sound",
    "description": NASTY,
    "ends_at": "2028-01-01T00:00",
}


@pytest.fixture
async def site(owner_person: SignedInPerson) -> dict[str, Any]:
    client = owner_person.client
    made: dict[str, Any] = (await client.post("/v1/sites", json=STREET)).raise_for_status().json()
    retention = {"purposes": {"acoustic_safety": 30}, "removes": True}
    (await client.put(f"/v1/sites/{made['id']}/retention", json=retention)).raise_for_status()
    (await client.post("/v1/boxes", json={"id": "corner", "site_id": made["id"]})).raise_for_status()
    return made


async def test_what_waits_for_an_approval_is_found_among_many_sites(
    console: ConsoleClient, owner_person: SignedInPerson, site: dict[str, Any]
) -> None:
    for number in range(26):
        place = {**STREET, "name": f"Avenue {number}"}
        (await owner_person.client.post("/v1/sites", json=place)).raise_for_status()
    path = f"{ADMINISTRATION}/purposes/{site['id']}/acoustic_safety"
    await console.send(f"{path}/declare", DECLARATION)
    waiting = await console.read(f"{ADMINISTRATION}/purposes?state=awaiting_approval")
    assert path in waiting
    assert "Avenue" not in waiting
    assert "1 purpose waits for an approval" in await console.read(ADMINISTRATION)
    assert "Nothing waits" in await console.read(
        f"{ADMINISTRATION}/purposes?state=awaiting_approval&q=avenue"
    )
    assert "Declare more:" in await console.read(f"{ADMINISTRATION}/purposes?q=avenue")
    assert path in await console.read(f"{ADMINISTRATION}/purposes?q=alsace")


async def test_a_second_person_approves_exactly_what_they_read(
    console: ConsoleClient, folk: OrganisationPeople, site: dict[str, Any]
) -> None:
    path = f"{ADMINISTRATION}/purposes/{site['id']}/acoustic_safety"
    incomplete = await console.send(
        f"{path}/declare", {"legal_basis": "public_task", "notice": "\u0000"}, 422
    )
    assert 'role="alert"' in incomplete.text
    assert read_done(await console.send(f"{path}/declare", DECLARATION)) == "declared"
    own = await console.read(path)
    assert "You declared it." in own
    assert f"{path}/approve" not in own
    assert "<img src=x" not in own
    assert "1 purpose waits for an approval" in await console.read(ADMINISTRATION)
    refused = await console.send(f"{path}/approve", {"version": '""'}, 412)
    assert 'role="alert"' in refused.text

    second = await folk.join("Grace", "operator")
    viewer = await as_person(console, await folk.join("Vera", "viewer"))
    assert f"{path}/approve" not in await viewer.read(path)
    await viewer.send(f"{path}/approve", {"version": "x"}, 403)
    console = await as_person(console, second)
    waiting = await console.read(f"{ADMINISTRATION}/purposes?state=awaiting_approval")
    assert path in waiting
    page = await console.read(path)
    found = re.search(r'name="version" value="([^"]+)"', page)
    assert found is not None
    version = {"version": html.unescape(found[1])}
    # It changes after it was read: the approval would cover something else.
    retention = {"purposes": {"acoustic_safety": 20}, "removes": True}
    changed = await second.client.put(f"/v1/sites/{site['id']}/retention", json=retention)
    assert changed.status_code == 200
    await console.send(f"{path}/approve", version, 412)
    found = re.search(r'name="version" value="([^"]+)"', await console.read(path))
    assert found is not None
    approved = await console.send(f"{path}/approve", {"version": html.unescape(found[1])})
    assert read_done(approved) == "approved"
    assert "in force" in await console.read(path)
    assert read_done(await console.send(f"{path}/end")) == "purpose_ended"


async def test_purposes_of_other_tenants_are_unknown(
    console: ConsoleClient, application: FastAPI, api: httpx.AsyncClient
) -> None:
    other = (await api.post("/v1/organisations", json={"name": "Elsewhere"})).json()["id"]
    async with OrganisationPeople(application, api, other) as people:
        stranger = await people.join("Mallory", "owner")
        theirs = (await stranger.client.post("/v1/sites", json=STREET)).json()["id"]
        path = f"{ADMINISTRATION}/purposes/{theirs}/noise"
        await console.read(path, 404)
        await console.read(f"{path}/declare", 404)
        await console.send(f"{path}/declare", DECLARATION, 404)
    await console.read(f"{ADMINISTRATION}/purposes/{theirs}/nothing", 404)


async def test_a_request_is_answered(
    console: ConsoleClient, anybody: httpx.AsyncClient, site: dict[str, Any]
) -> None:
    body = {"site_id": site["id"], "kind": "erasure", "message": NASTY, "name": NASTY, "language": "en"}
    # The register takes requests about sites that it shows.
    declared = await console.send(
        f"{ADMINISTRATION}/purposes/{site['id']}/noise/declare",
        {**DECLARATION, "ends_at": "", "open_data": "yes"},
    )
    assert read_done(declared) == "declared"
    made = await anybody.post("/v1/rights-requests", json=body)
    assert made.status_code == 201, made.text
    listed = await console.read(f"{ADMINISTRATION}/requests")
    assert made.json()["reference"] in listed
    assert "<img src=x" not in listed
    found = re.search(rf'href="({ADMINISTRATION}/requests/[0-9a-f-]{{36}})"', listed)
    assert found is not None
    path = found[1]
    page = await console.read(path)
    assert "<img src=x" not in page
    assert "What Vigie holds" in page
    assert (
        read_done(await console.send(f"{path}/change", {"state": "in_progress", "note": "asked Bob"}))
        == "saved"
    )
    assert "asked Bob" in await console.read(path)
    refused = await console.send(f"{path}/extend", {"reason": ""}, 422)
    assert refused.text.count("<details open>") == 1
    assert read_done(await console.send(f"{path}/extend", {"reason": "Many boxes."})) == "saved"
    assert "Many boxes." in await console.read(path)
    await console.send(f"{path}/answer", {"outcome": "granted", "answer": ""}, 422)
    answered = await console.send(f"{path}/answer", {"outcome": "granted", "answer": "It is erased."})
    assert read_done(answered) == "saved"
    closed = await console.read(path)
    assert "It is erased." in closed
    assert f"{path}/answer" not in closed
    status = {"reference": made.json()["reference"], "token": made.json()["token"]}
    seen = (await anybody.post("/v1/rights-requests/status", json=status)).json()
    assert seen["answer"] == "It is erased."
    assert read_done(await console.send(f"{path}/delete")) == "deleted"
    await console.read(path, 404)


async def test_the_audit_log_shows_its_proof(console: ConsoleClient, site: dict[str, Any]) -> None:
    listed = await console.read(f"{ADMINISTRATION}/audit?action=site.created")
    found = re.search(rf'href="({ADMINISTRATION}/audit/\d+\?organisation=[0-9a-f-]+)"', listed)
    assert found is not None
    entry = await console.read(found[1])
    assert "The proof is right" in entry
    assert site["id"] in entry
    assert "Ada" in await console.read(f"{ADMINISTRATION}/audit?names=yes")
    await console.read(f"{ADMINISTRATION}/audit/999999", 404)
    await console.read(f"{ADMINISTRATION}/audit?action=%3Cb%3E", 422)
    exported = await console.http.get(f"{ADMINISTRATION}/audit/export")
    assert exported.headers["content-type"].startswith("application/x-ndjson")
    assert "attachment" in exported.headers["content-disposition"]
    lines = [json.loads(line) for line in exported.text.splitlines()]
    assert lines[-1]["entries"] == len(lines) - 1
    assert all(is_hash_right(line) for line in lines[:-1])
    assert not is_hash_right({**lines[0], "record": lines[0]["record"] + " "})
    assert not is_hash_right({**lines[0], "previous": "no digits"})


async def test_measurements_are_exported(
    console: ConsoleClient, owner_person: SignedInPerson, site: dict[str, Any]
) -> None:
    now = datetime.now(UTC)
    samples = [
        {"time": (now - timedelta(minutes=age)).isoformat(), "values": {"laeq": 60.0 + age, "pm2_5": 9.0}}
        for age in range(5)
    ]
    body = {"box": "corner", "samples": samples}
    assert (await owner_person.client.post("/v1/telemetry", json=body)).status_code == 200
    path = f"{ADMINISTRATION}/exports/file"
    answer = await console.http.get(path, params={"site": site["id"], "metric": "laeq", "format": "csv"})
    assert answer.status_code == 200
    assert answer.headers["content-type"].startswith("text/csv")
    assert answer.headers["cache-control"] == "no-store"
    rows = list(csv.DictReader(io.StringIO(answer.text)))
    assert sorted(float(row["laeq"]) for row in rows) == [60, 61, 62, 63, 64]
    assert "pm2_5" not in rows[0]
    portal = await console.http.get(path, params={"site": site["id"], "format": "openaq"})
    assert len(list(csv.DictReader(io.StringIO(portal.text)))) == 5
    without = await console.http.get(path, params={"format": "openaq", "bucket": "1h"})
    assert (without.status_code, 'role="alert"' in without.text) == (422, True)
    refused = await console.http.get(path, params={"from": "2026-01-02T00:00", "to": "2026-01-01T00:00"})
    assert refused.status_code == 422
    assert 'role="alert"' in refused.text
    assert 'value="2026-01-02T00:00"' in refused.text
    # The stream was ended, so another export may run.
    assert (await console.http.get(path)).status_code == 200


async def test_a_report_is_shown(console: ConsoleClient, site: dict[str, Any]) -> None:
    path = f"{ADMINISTRATION}/reports"
    shown = await console.http.get(f"{path}/day/file", params={"site": site["id"], "format": "html"})
    assert shown.status_code == 200, shown.text
    assert site["name"] in html.unescape(shown.text)
    assert "script-src" not in shown.headers["content-security-policy"]
    refused = await console.http.get(f"{path}/month/file", params={"site": site["id"], "month": "2999-01"})
    assert refused.status_code == 422
    assert 'role="alert"' in refused.text
    await console.read(f"{path}/year/file", 404)


async def test_exports_need_a_sign_in_and_the_right(console: ConsoleClient) -> None:
    console.http.cookies.clear()
    for file in ("exports/file", "audit/export"):
        answer = await console.http.get(f"{ADMINISTRATION}/{file}")
        assert answer.status_code == 303
        assert answer.headers["location"].startswith("/console/sign-in?next=")


@pytest.mark.parametrize(
    ("language", "options"), [("en", {}), ("fr", {**PHONE, "color_scheme": "dark"})], ids=["desk", "phone"]
)
async def test_the_pages_are_accessible(
    open_page: OpenPage,
    owner_person: SignedInPerson,
    site: dict[str, Any],
    language: str,
    options: dict[str, object],
) -> None:
    (await owner_person.client.patch("/v1/me", json={"locale": language})).raise_for_status()
    signed_in = await open_page(owner_person, **options)
    purpose = f"purposes/{site['id']}/acoustic_safety"
    for part in (
        "purposes",
        purpose,
        f"{purpose}/declare",
        "requests",
        "audit",
        "audit/1",
        "exports",
        "reports",
    ):
        await signed_in.visit(f"{ADMINISTRATION}/{part}")
        assert await signed_in.grave() == [], part
        wide = await signed_in.page.evaluate("document.documentElement.scrollWidth > innerWidth")
        assert not wide, part
