"""The first run: an empty organisation, a site, a box, and its first sample by MQTT and by HTTP."""

import asyncio
import html
import re
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest
from fastapi import FastAPI

from app.platform.db.database import Database
from tests.conftest import Tenant
from tests.integration.console.conftest import OpenPage
from tests.integration.console.visiting import PHONE, ConsoleClient, read_done
from tests.integration.consuming import consuming
from tests.integration.people.folk import OrganisationPeople, SignedInPerson

START = "/console/start"
SITE = {
    "name": "Rue de Metz",
    "kind": "street",
    "timezone": "Europe/Paris",
    "latitude": "43.6045",
    "longitude": "1.444",
}


@pytest.fixture
async def newcomer(
    application: FastAPI, other_tenant: Tenant, api: httpx.AsyncClient
) -> AsyncIterator[SignedInPerson]:
    """An owner of an organisation without sites."""
    async with OrganisationPeople(application, api, other_tenant.id) as people:
        yield await people.join("Nina", "owner")


@pytest.fixture
async def empty(application: FastAPI, newcomer: SignedInPerson) -> AsyncIterator[ConsoleClient]:
    transport = httpx.ASGITransport(application)
    cookies = {"vigie_session": newcomer.token}
    http = httpx.AsyncClient(transport=transport, base_url="http://vigie.test", cookies=cookies)
    async with http:
        yield ConsoleClient(http)


@pytest.fixture
async def consumer(database: Database, folder: Path) -> AsyncIterator[None]:
    async with consuming(database, folder):
        yield


async def test_three_steps_lead_to_the_first_sample(empty: ConsoleClient, other_tenant: Tenant) -> None:
    page = await empty.read(START)
    assert 'name="latitude"' in page
    assert 'action="/console/start/box"' not in page
    answer = await empty.send(f"{START}/site", {**SITE, "latitude": ""}, 422)
    assert 'value="Rue de Metz"' in answer.text
    answer = await empty.send(f"{START}/site", {**SITE, "timezone": "Europe/Nowhere"}, 422)
    assert 'id="f-timezone-hint"' in answer.text
    assert read_done(await empty.send(f"{START}/site", SITE)) == "created"
    page = await empty.read(START)
    site = re.search(r'name="site_id" value="([^"]+)"', page)
    assert site is not None
    assert 'value="box-0001"' in page
    made = await empty.send(f"{START}/box", {"id": "first-1", "site_id": site[1]}, 201)
    assert "Waiting for the first sample of first-1" in made.text
    assert "mosquitto_pub -h 127.0.0.1" in made.text
    page = await empty.read(START)
    assert '"$PASSWORD"' in html.unescape(page)
    # A refused message is explained where the person waits.
    sample = {"time": "2026-03-01T00:00:00Z", "values": {"warp": 1}}
    await other_tenant.client.post("/v1/telemetry", json={"box": "first-1", "samples": [sample]})
    waiting = await empty.read(f"{START}/arrival?box=first-1")
    assert "A metric is not in the catalogue" in waiting
    key = await empty.send(f"{START}/key", {"box": "first-1"}, 200)
    bearer = re.search(r"Bearer (vg_\w+)", key.text)
    assert bearer is not None
    sample["values"] = {"temperature": 21.5}
    answer = await other_tenant.client.post(
        "/v1/telemetry",
        json={"box": "first-1", "samples": [sample]},
        headers={"Authorization": f"Bearer {bearer[1]}"},
    )
    assert answer.status_code == 200, answer.text
    arrived = await empty.read(f"{START}/arrival?box=first-1")
    assert "The first sample is here" in arrived
    assert "21.5" in arrived
    assert f"/console/rules/new?site={site[1]}" in arrived


async def test_a_taken_id_gets_another_suggestion(empty: ConsoleClient, tenant: Tenant, site_id: str) -> None:
    await tenant.client.post("/v1/boxes", json={"id": "box-0001", "site_id": site_id})
    await empty.send(f"{START}/site", SITE)
    site = re.search(r'name="site_id" value="([^"]+)"', await empty.read(START))
    assert site is not None
    answer = await empty.send(f"{START}/box", {"id": "box-0001", "site_id": site[1]}, 409)
    assert re.search(r"Free is probably: box-\d{10}", answer.text)
    await empty.read(f"{START}?box=box-0001", 404)
    await empty.read(f"{START}/arrival?box=box-0001", 404)


async def test_a_viewer_is_told_whom_to_ask(
    application: FastAPI, api: httpx.AsyncClient, other_tenant: Tenant
) -> None:
    async with OrganisationPeople(application, api, other_tenant.id) as folk:
        viewer = await folk.join("Vera", "viewer")
        transport = httpx.ASGITransport(application)
        cookies = {"vigie_session": viewer.token}
        async with httpx.AsyncClient(
            transport=transport, base_url="http://vigie.test", cookies=cookies
        ) as http:
            console = ConsoleClient(http)
            assert "Ask an operator or owner" in await console.read(START)
            await console.send(f"{START}/site", SITE, 403)


@pytest.mark.usefixtures("consumer")
@pytest.mark.parametrize("language", ["en", "fr"])
async def test_the_page_turns_green_when_a_real_sample_arrives(
    open_page: OpenPage, newcomer: SignedInPerson, language: str
) -> None:
    await newcomer.client.patch("/v1/me", json={"locale": language})
    zone = {"en": "Europe/Oslo", "fr": "Europe/Madrid"}[language]
    options = {**(PHONE if language == "fr" else {}), "timezone_id": zone}
    signed_in = await open_page(newcomer, **options)
    page = signed_in.page
    await signed_in.visit(START)
    assert await signed_in.grave() == []
    assert await page.input_value("#f-timezone") == zone
    await page.fill("#f-name", "Rue de Metz")
    await page.fill("#f-latitude", "43.6045, 1.4440")
    assert await page.input_value("#f-longitude") == "1.4440"
    await page.click("#site-form button")
    await page.fill("#f-id", f"green-{language}")
    await page.click("#box-form button")
    await page.wait_for_selector("#password")
    assert await signed_in.grave() == []
    # The line as it stands on the page, in a shell.
    line = await page.inner_text("#mqtt-line")
    shell = await asyncio.create_subprocess_exec("bash", "-ec", line)
    assert await shell.wait() == 0
    await page.wait_for_selector(".arrival.arrived")
    assert "21" in await page.inner_text(".arrival-values")
    assert await page.is_visible("#password")
    assert await signed_in.grave() == []
