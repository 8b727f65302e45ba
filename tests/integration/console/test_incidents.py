"""Incidents in the console: list with map, one incident, and its review."""

import re
from typing import Any

import httpx
import pytest

from app.platform.db.database import Database
from tests.conftest import Tenant
from tests.incidents import put_incident
from tests.integration.console.conftest import OpenPage
from tests.integration.console.visiting import DESK_AND_PHONE, PHONE, ConsoleClient, read_done
from tests.integration.people.folk import OrganisationPeople, SignedInPerson
from tests.integration.sound_incidents.conftest import square
from tests.integration.sound_incidents.square import Square, shot

__all__ = ["square"]

EVIL = '"><img src=x onerror=alert(1)><script>alert(1)</script>'


@pytest.fixture
async def incident(square: Square) -> str:
    """What six boxes heard of a shot."""
    await square.send(shot())
    await square.work()
    (found,) = await square.incidents()
    return str(found["id"])


async def test_the_list_has_filters_and_marks_for_its_map(
    console: ConsoleClient, tenant: Tenant, site_id: str, database: Database
) -> None:
    assert "Nothing to review" in await console.read("/console/incidents")
    first = await put_incident(database, site_id, probability=0.95)
    second = await put_incident(database, site_id, probability=0.55)
    page = await console.read("/console/incidents")
    assert first in page
    assert second in page
    assert "Pistol at " in page
    marks = re.search(r'id="incident-marks">(.*?)</script>', page)
    assert marks is not None
    assert marks[1].count('"look": "warning"') == 2
    likely = await console.read(
        f"/console/incidents?state=open&min_probability=0.9&site={site_id}&period=day"
    )
    assert first in likely
    assert second not in likely
    assert "No incident matches" in await console.read("/console/incidents?state=dismissed")
    # What the API refuses is said, not ignored.
    assert "alert" in await console.read("/console/incidents?min_probability=2", 422)
    name = {"name": EVIL}
    (await tenant.client.patch(f"/v1/sites/{site_id}", json=name)).raise_for_status()
    page = await console.read("/console/incidents")
    assert "<img src=x" not in page
    assert "<script>alert" not in page


async def test_an_incident_shows_position_arrivals_candidates_and_precision(
    console: ConsoleClient, incident: str, square: Square, database: Database
) -> None:
    reviewed = await put_incident(database, square.site)
    await console.send(f"/console/incidents/{reviewed}/dismiss", {"outcome": "firework", "sequence": "1"})
    page = await console.read(f"/console/incidents/{incident}")
    assert page.count("used for the position") == 6
    assert "Position from 6 boxes" in page
    assert '"areas": [[[' in page
    assert "0%</strong> of the reviewed incidents were real" in page
    assert "Pistol" in page
    assert "assumed: no box measured it" in page


async def test_who_was_notified_and_the_alerts_of_a_sound_are_shown_and_acknowledged(
    console: ConsoleClient, square: Square, owner_person: SignedInPerson
) -> None:
    client = owner_person.client
    condition = {"event": "gunshot", "confidence": 0.1, "window": "PT2M"}
    rule = {"site_id": square.site, "name": "Shots", "severity": "critical", "condition": condition}
    (await client.post("/v1/rules", json=rule)).raise_for_status()
    (await client.patch("/v1/boxes/square-1", json={"name": "North gate"})).raise_for_status()
    await square.send(shot(ago_s=30))
    await square.work()
    (first,) = (await client.get("/v1/incidents")).json()["data"]
    path = f"/console/incidents/{first['id']}"
    page = await console.read(path)
    assert "Nobody. No recipient gets incidents:" in page
    hook = {"url": "https://hooks.example.com/", "events": ["incident.detected"]}
    (await client.post("/v1/webhooks", json=hook)).raise_for_status()
    assert "Nobody. No recipient gets incidents:" not in await console.read(path)
    assert ">North gate</a>" in page
    assert "North gate \\u00b7 +" in page
    alerts = (await client.get("/v1/alerts", params={"incident": first["id"]})).json()["data"]
    assert f"Acknowledge the alerts ({len(alerts)})" in page
    listed = await console.read(f"/console/alerts?state=&incident={first['id']}")
    assert all(f'href="/console/alerts/{each["id"]}"' in listed for each in alerts)
    ids = ",".join(each["id"] for each in alerts)
    await console.send("/console/alerts/bulk", {"action": "acknowledge", "alert": ids})
    assert "Acknowledge the alert" not in await console.read(path)
    # A second shot while these are open raises none.
    await square.send(shot(seed=2, ago_s=5, place=(1.4440, 43.6040)))
    await square.work()
    later = (await client.get("/v1/incidents")).json()["data"][0]
    assert later["id"] != first["id"]
    page = await console.read(f"/console/incidents/{later['id']}")
    assert "No alert of its own: these were still open." in page
    assert f'href="/console/alerts/{alerts[0]["id"]}"' in page


async def test_a_review_is_recorded_with_its_reason_and_can_be_corrected(
    console: ConsoleClient, incident: str, owner_person: SignedInPerson
) -> None:
    path = f"/console/incidents/{incident}"
    sequence = (await owner_person.client.get(f"/v1/incidents/{incident}")).json()["sequence"]
    given = {"outcome": "gunshot", "note": EVIL, "sequence": str(sequence)}
    answer = await console.send(f"{path}/confirm", given)
    assert read_done(answer) == "incident_confirmed"
    page = await console.read(path)
    assert "Gunshot, weapon unknown" in page
    assert "<img src=x" not in page
    # A page that was read before the first review does not replace it.
    stale = {"outcome": "firework", "note": "A firework", "sequence": str(sequence)}
    refused = await console.send(f"{path}/dismiss", stale, status=409)
    assert 'role="alert"' in refused.text
    assert "A firework</textarea>" in refused.text
    assert f'name="sequence" value="{sequence + 1}"' in refused.text
    await console.send(f"{path}/dismiss", {**stale, "sequence": str(sequence + 1)})
    stored = (await owner_person.client.get(f"/v1/incidents/{incident}")).json()
    assert (stored["state"], stored["outcome"], stored["note"]) == ("dismissed", "firework", "A firework")
    unknown = await console.send(
        f"{path}/dismiss", {"outcome": "pistol", "sequence": str(sequence + 2)}, status=422
    )
    assert 'aria-invalid="true"' in unknown.text


async def test_a_viewer_reads_and_others_find_nothing(
    application: object,
    console: ConsoleClient,
    incident: str,
    folk: OrganisationPeople,
    other_tenant: Tenant,
) -> None:
    viewer = await folk.join("Vera", "viewer")
    cookies = {"vigie_session": viewer.token}
    transport = httpx.ASGITransport(application)  # type: ignore[arg-type]
    async with httpx.AsyncClient(transport=transport, base_url="http://vigie.test", cookies=cookies) as http:
        reader = ConsoleClient(http)
        page = await reader.read(f"/console/incidents/{incident}")
        assert 'data-key="c"' not in page
        assert "An operator or owner reviews them." in page
        fields = {"outcome": "gunshot", "sequence": "1"}
        await reader.send(f"/console/incidents/{incident}/confirm", fields, status=403)
    stranger = await folk.join("Eve", "owner", other_tenant.id)
    cookies = {"vigie_session": stranger.token}
    async with httpx.AsyncClient(transport=transport, base_url="http://vigie.test", cookies=cookies) as http:
        await ConsoleClient(http).read(f"/console/incidents/{incident}", 404)
    await console.read("/console/incidents/none", 404)


@pytest.mark.usefixtures("incident")
@pytest.mark.parametrize("language", ["en", "fr"])
async def test_an_operator_reviews_with_the_keyboard(
    open_page: OpenPage, owner_person: SignedInPerson, language: str
) -> None:
    await owner_person.client.patch("/v1/me", json={"locale": language})
    phone = await open_page(owner_person, **PHONE)
    await phone.visit("/console/incidents")
    assert await phone.grave() == []
    signed_in = await open_page(owner_person, color_scheme="dark" if language == "fr" else "light")
    page = signed_in.page
    await signed_in.visit("/console/incidents")
    await page.wait_for_selector('#incidents-map[data-ready="yes"] .mark-icon.warning')
    await page.keyboard.press("j")
    await page.keyboard.press("Enter")
    await page.wait_for_selector('#incident-map[data-ready="yes"] .ellipse')
    assert await page.locator("#incident-map .mark-icon.box").count() == 6
    assert await signed_in.grave() == []
    await page.keyboard.press("d")
    await page.select_option("#dismiss-outcome", "firework")
    await page.fill("#dismiss-note", "A firework at the fair")
    await page.click("#dismiss-form button")
    await page.wait_for_selector(".notice.good")
    assert "A firework at the fair" in await page.inner_text("#review")


@pytest.mark.parametrize(("language", "options"), DESK_AND_PHONE)
async def test_an_incident_is_confirmed_on_the_map(
    *,
    open_page: OpenPage,
    owner_person: SignedInPerson,
    site_id: str,
    database: Database,
    language: str,
    options: dict[str, Any],
) -> None:
    client = owner_person.client
    await client.patch("/v1/me", json={"locale": language})
    dismissed, beside, chosen = [
        await put_incident(database, site_id, longitude=1.4449 + shift) for shift in (0, 0.002, 0.004)
    ]
    review = {"outcome": "firework", "sequence": 1}
    (await client.post(f"/v1/incidents/{dismissed}/dismiss", json=review)).raise_for_status()
    signed_in = await open_page(owner_person, **options)
    page = signed_in.page
    await signed_in.visit("/console/incidents")
    marks = page.locator('#incidents-map[data-ready="yes"] .mark-icon.warning')
    # The newest is listed first, and drawn first.
    await marks.first.click()
    await page.wait_for_url(f"**/incidents/{chosen}")
    precision = page.locator("section[aria-labelledby=precision-title] .figure")
    assert re.findall(r"\d+", await precision.inner_text()) == ["0"]
    await page.click("#confirm summary")
    await page.select_option("#confirm-outcome", "gunshot")
    await page.fill("#confirm-note", "Two neighbours called")
    await page.click("#confirm-form button")
    await page.wait_for_selector(".notice.good")
    assert "Two neighbours called" in await page.inner_text("#review")
    assert re.findall(r"\d+", await precision.inner_text()) == ["50"]
    assert await signed_in.grave() == []
    # It waits for nobody any more; among the confirmed ones it has another shape.
    await page.click(".crumbs a")
    await marks.first.wait_for()
    assert await marks.count() == 1
    assert await page.locator("#incident-list a.row").get_attribute("href") == f"/console/incidents/{beside}"
    await page.select_option("#state", "confirmed")
    await page.wait_for_selector("#incidents-map .mark-icon.critical")
    assert await page.locator("#incident-list a.row").get_attribute("href") == f"/console/incidents/{chosen}"
    signed_in.check()
