"""The first page, the wall and the search."""

from datetime import UTC, datetime
from typing import Any
from zoneinfo import ZoneInfo

import httpx
import pytest
from fastapi import FastAPI
from sqlalchemy import text

from app.platform.db.database import Database
from tests.conftest import Tenant, client_of, new_tenant
from tests.incidents import put_incident
from tests.integration.console.conftest import OpenPage
from tests.integration.console.visiting import DESK_AND_PHONE, LOOKS, ConsoleClient
from tests.integration.people.folk import OrganisationPeople, SignedInPerson

PLACE = {"type": "Point", "coordinates": [1.4437, 43.6044]}


@pytest.fixture
async def city(tenant: Tenant, site_id: str) -> Tenant:
    """A site with twelve boxes and a rule."""
    boxes = [{"id": f"box-{number}", "site_id": site_id, "location": PLACE} for number in range(12)]
    (await tenant.client.post("/v1/boxes/bulk", json={"boxes": boxes})).raise_for_status()
    condition = {"metric": "pm2_5", "operator": ">", "threshold": 25}
    rule = {"site_id": site_id, "name": "Dust", "severity": "critical", "condition": condition}
    (await tenant.client.post("/v1/rules", json=rule)).raise_for_status()
    return tenant


async def publish(tenant: Tenant, value: float, box: str = "box-1") -> None:
    sample = {"time": datetime.now(UTC).isoformat(), "values": {"pm2_5": value}}
    (await tenant.client.post("/v1/telemetry", json={"box": box, "samples": [sample]})).raise_for_status()


async def test_an_empty_installation_leads_to_its_first_box(console: ConsoleClient) -> None:
    answer = await console.http.get("/console")
    assert answer.status_code == 303
    assert answer.headers["location"] == "/console/start"


async def test_what_is_wrong_is_counted_and_listed(console: ConsoleClient, city: Tenant) -> None:
    page = await console.read("/console")
    assert "Nothing is wrong" in page
    assert "Nothing has changed in the last hour." not in page
    await publish(city, 40)
    for path in ("/console", "/console/wall"):
        page = await console.read(path)
        assert "is 40" in page
        assert 'class="counter critical"' in page


async def test_every_tile_that_accuses_has_a_row(
    console: ConsoleClient, city: Tenant, site_id: str, database: Database
) -> None:
    incident = await put_incident(database, site_id, probability=0.9)
    hook = {"url": "https://example.com/hook", "recipient": "Night watch"}
    (await city.client.post("/v1/webhooks", json=hook)).raise_for_status()
    async with database.write() as session:
        old = (
            "UPDATE boxes SET created_at = now() - interval '2 days' WHERE id IN ('box-1', 'box-2', 'box-3')"
        )
        await session.execute(text(old))
        await session.execute(
            text("""
            INSERT INTO endpoint_states (endpoint_id, consecutive_failures, failing_since)
            SELECT id, 3, now() FROM webhook_endpoints
            ON CONFLICT (endpoint_id) DO UPDATE SET consecutive_failures = 3, failing_since = now()
        """)
        )
    page = await console.read("/console")
    assert "To review: probable shot (pistol) at " in page
    assert f'href="/console/incidents/{incident}"' in page
    assert "3 boxes that have not sent measurements yet at " in page
    assert "Recipient Night watch fails" in page
    # The tile counts what its list shows.
    silent = (await city.client.get("/v1/boxes?activity=silent")).json()["data"]
    assert len(silent) == 3
    wall = await console.read("/console/wall")
    assert "To review: probable shot (pistol) at " in wall
    assert "Incidents to review" in wall


async def test_times_of_changes_are_those_of_their_site(console: ConsoleClient, city: Tenant) -> None:
    await publish(city, 40)
    (change, *_) = (await city.client.get("/v1/overview/changes")).json()["data"]
    at = datetime.fromisoformat(change["at"]).astimezone(ZoneInfo(change["site"]["timezone"]))
    assert change["site"]["timezone"] == "Europe/Paris"
    assert f">{at:%H:%M}</time>" in await console.read("/console")


async def test_the_map_reads_all_boxes_once(console: ConsoleClient, city: Tenant) -> None:
    answer = await console.http.get("/console/boxes.json")
    assert answer.headers["content-encoding"] == "gzip"
    boxes = answer.json()
    assert len(boxes["ids"]) == 12
    again = {"If-None-Match": answer.headers["etag"]}
    assert (await console.http.get("/console/boxes.json", headers=again)).status_code == 304
    await publish(city, 40)
    fresh = await console.http.get("/console/boxes.json", headers=again)
    assert fresh.status_code == 200
    state = fresh.json()["state"][fresh.json()["ids"].index("box-1")]
    assert fresh.json()["states"][state] == "alert_critical"


async def test_the_search_finds_within_the_tenant_only(
    application: FastAPI,
    api: httpx.AsyncClient,
    console: ConsoleClient,
    city: Tenant,
    folk: OrganisationPeople,
) -> None:
    await publish(city, 40)
    found = (await console.http.get("/console/search.json?q=box-1")).json()["results"]
    assert {"href": "/console/boxes/box-1"}.items() <= found[0].items()
    assert any(each["href"].startswith("/console/alerts/") for each in found)
    assert "/console/boxes/box-11" in await console.read("/console/search?q=box-11")
    async with new_tenant(application, api, "Elsewhere") as other:
        stranger = await folk.join("Eve", "owner", other.id)
        console.http.cookies.set("vigie_session", stranger.token, domain="vigie.test")
        assert (await console.http.get("/console/search.json?q=box-1")).json()["results"] == []
        assert (await console.http.get("/console/boxes.json")).json()["ids"] == []


@pytest.mark.usefixtures("city")
async def test_an_installer_gets_the_sites(console: ConsoleClient, folk: OrganisationPeople) -> None:
    installer = await folk.join("Ivo", "installer")
    console.http.cookies.set("vigie_session", installer.token, domain="vigie.test")
    assert (await console.http.get("/console")).headers["location"] == "/console/sites"


@pytest.mark.usefixtures("event_flow")
@pytest.mark.parametrize(("language", "options"), DESK_AND_PHONE)
async def test_a_publish_shows_on_list_and_map_within_a_second(
    *,
    open_page: OpenPage,
    owner_person: SignedInPerson,
    city: Tenant,
    language: str,
    options: dict[str, Any],
) -> None:
    await owner_person.client.patch("/v1/me", json={"locale": language})
    signed_in = await open_page(owner_person, **options)
    page = signed_in.page
    async with page.expect_response("**/console/live"):
        await signed_in.visit("/console")
    await page.wait_for_selector('#now-map[data-loaded="12"]')
    await publish(city, 40)
    words = {"en": "is 40", "fr": "à 40"}[language]
    await page.wait_for_selector(f"text={words}")
    await page.wait_for_selector("#now-map .mark-icon.critical")
    signed_in.check()


async def test_a_wall_goes_where_its_address_leads_now(
    open_page: OpenPage, owner_person: SignedInPerson, city: Tenant
) -> None:
    signed_in = await open_page(owner_person)
    page = signed_in.page
    await signed_in.visit("/console/wall")
    change = {"second_factor_required": True}
    (await owner_person.client.patch(f"/v1/organisations/{city.id}", json=change)).raise_for_status()
    await page.evaluate("vigie.refresh()")
    # The screen says what is needed, and does not stay empty.
    await page.wait_for_url("**/console/account")
    await page.wait_for_selector("#factors")
    # What the page asked for before it left is refused.
    assert all("403" in each for each in signed_in.told)
    signed_in.told.clear()


@pytest.mark.parametrize(("language", "options"), DESK_AND_PHONE)
async def test_the_palette_leads_to_an_alert_by_keyboard(
    *,
    open_page: OpenPage,
    owner_person: SignedInPerson,
    city: Tenant,
    language: str,
    options: dict[str, Any],
) -> None:
    await publish(city, 40)
    await owner_person.client.patch("/v1/me", json={"locale": language})
    signed_in = await open_page(owner_person, **options)
    page = signed_in.page
    await signed_in.visit("/console/alerts")
    if language == "fr":
        # A phone has no Ctrl key.
        await page.tap("[data-menu]")
        await page.tap("[data-palette]")
    else:
        await page.keyboard.press("Control+k")
    await page.keyboard.type("incid")
    await page.wait_for_selector('#palette [aria-selected="true"] >> text=Incidents')
    await page.fill("#palette input", "Dust")
    await page.wait_for_selector('#palette a[href^="/console/alerts/"]')
    assert await signed_in.grave() == []
    target = await page.get_attribute('#palette a[href^="/console/alerts/"]', "href")
    while await page.get_attribute('#palette [aria-selected="true"]', "href") != target:
        await page.keyboard.press("ArrowDown")
    await page.keyboard.press("Enter")
    await page.wait_for_url(f"**{target}")


@pytest.mark.parametrize(("language", "options"), LOOKS)
async def test_the_pages_are_accessible(
    *,
    open_page: OpenPage,
    application: FastAPI,
    owner_person: SignedInPerson,
    city: Tenant,
    language: str,
    options: dict[str, Any],
) -> None:
    await publish(city, 40)
    async with client_of(application, owner_person.token) as client:
        (await client.patch("/v1/me", json={"locale": language})).raise_for_status()
    signed_in = await open_page(owner_person, **options)
    for path in ("/console", "/console/wall"):
        await signed_in.visit(path)
        await signed_in.page.wait_for_selector("#now-map[data-loaded]")
        assert await signed_in.page.get_attribute("html", "lang") == language
        assert await signed_in.grave() == []
        wide = await signed_in.page.evaluate("document.documentElement.scrollWidth - innerWidth")
        assert wide <= 0, (path, options)
