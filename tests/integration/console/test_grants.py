"""Grants in the console: the form, the link that is shown once, changes, suspension, uses, revocation."""

import html
import re
from typing import Any

import pytest
from fastapi import FastAPI

from tests.conftest import STREET
from tests.integration.console.visiting import ConsoleClient, read_done
from tests.integration.grants.grants import accept, recipient
from tests.integration.people.folk import OrganisationPeople, SignedInPerson

_PATH = "/console/administration/grants"
_NASTY = "<img src=x onerror=alert(1)>"


@pytest.fixture
async def site(owner_person: SignedInPerson) -> dict[str, Any]:
    client = owner_person.client
    made: dict[str, Any] = (await client.post("/v1/sites", json=STREET)).raise_for_status().json()
    (await client.post("/v1/boxes", json={"id": "corner", "site_id": made["id"]})).raise_for_status()
    return made


def fill(site: dict[str, Any], **more: Any) -> dict[str, Any]:  # noqa: ANN401 (a form)
    return {
        "recipient": f"Air Lab {_NASTY}",
        "recipient_country": "fr",
        "contact": "data@air-lab.example",
        "purpose": f"Calibration {_NASTY}",
        "site_ids": [site["id"]],
        "metrics": ["pm2_5", "no2"],
        "from": "",
        "until": "",
        "precision_m": "100",
        "terms": "Terms, version 3\r\nNo resale",
        "valid_until": "2090-01-01T00:00",
        **more,
    }


async def test_a_grant_is_made_changed_suspended_and_revoked(
    application: FastAPI, console: ConsoleClient, owner_person: SignedInPerson, site: dict[str, Any]
) -> None:
    assert "No grant yet" in await console.read(_PATH)
    assert str(STREET["name"]) in html.unescape(await console.read(f"{_PATH}/new"))
    refused = await console.send(_PATH, fill(site, recipient_country="France"), 422)
    assert 'aria-invalid="true"' in refused.text
    shown = await console.send(_PATH, fill(site), 200)
    token = re.search(r"#(vgo_\w+)", shown.text)
    assert token is not None
    (grant,) = (await owner_person.client.get("/v1/grants")).json()["data"]
    page = f"{_PATH}/{grant['id']}"
    assert "Nobody has accepted it yet" in await console.read(page)
    key = (await accept(application, token[1]))["key"]["key"]
    async with recipient(application, key) as client:
        (await client.get("/v1/sites")).raise_for_status()
        text = await console.read(page)
        assert _NASTY not in text
        assert "Ada Lovelace" in text
        assert key[:10] in text
        assert key not in text
        # The stored times are those of the form: nothing wider is offered by accident.
        same = {name: value for name, value in fill(site).items() if name[:9] != "recipient"}
        assert read_done(await console.send(page, same)) == "saved"
        narrower = await console.send(page, {**same, "metrics": ["pm2_5"]})
        assert read_done(narrower) == "saved"
        wider = await console.send(page, {**same, "metrics": ["pm2_5", "pm10"]}, 200)
        assert "#vgo_" in wider.text
        assert "A change waits" in await console.read(page)
        assert "change offered" in await console.read(_PATH)
        assert read_done(await console.send(f"{page}/suspend", {"suspended": "yes"})) == "suspended"
        assert (await client.get("/v1/sites")).status_code == 403
        assert read_done(await console.send(f"{page}/suspend", {"suspended": "no"})) == "resumed"
        assert (await client.get("/v1/sites")).status_code == 200
        keys = (await owner_person.client.get(f"/v1/grants/{grant['id']}/keys")).json()["data"]
        assert read_done(await console.send(f"{page}/keys/{keys[0]['id']}/revoke")) == "revoked"
        assert (await client.get("/v1/sites")).status_code == 401
    assert read_done(await console.send(f"{page}/revoke")) == "revoked"
    ended = await console.read(page)
    assert f'action="{page}/revoke"' not in ended
    assert "Change the grant" not in ended
    assert "Air Lab" in await console.read(f"{_PATH}?state=revoked")
    assert "No grant matches" in await console.read(f"{_PATH}?state=active")


async def test_a_viewer_does_not_see_grants(
    folk: OrganisationPeople, console: ConsoleClient, site: dict[str, Any]
) -> None:
    del site
    viewer = await folk.join("Vera", "viewer")
    console.http.cookies.set("vigie_session", viewer.token)
    assert _PATH not in await console.read("/console/administration")
    await console.read(_PATH, 403)
