"""Alerts in the console: the list, the page of an alert, and what people do about it."""

import asyncio
import html
from typing import Any

import httpx
import pytest
from fastapi import FastAPI
from playwright.async_api import Page, Route

from tests.conftest import Tenant, client_of, new_tenant
from tests.integration.alerts.watched import WatchedAlerts
from tests.integration.console.conftest import OpenPage
from tests.integration.console.visiting import DESK_AND_PHONE, LOOKS, ConsoleClient, read_done
from tests.integration.people.folk import OrganisationPeople, SignedInPerson

LIFE = {
    "en": ("Assigned to", "The measurements are back within the limits.", "fired"),
    "fr": ("Attribuée à", "Les mesures sont revenues dans les limites.", "déclenchée"),
}
EVIL = '"><img src=x onerror="document.title=1"><script>document.title=2</script>'


@pytest.fixture
async def watched(tenant: Tenant, site_id: str) -> WatchedAlerts:
    (await tenant.client.post("/v1/boxes", json={"id": "box-1", "site_id": site_id})).raise_for_status()
    return WatchedAlerts(tenant, site_id, "box-1")


@pytest.fixture
async def alert_id(watched: WatchedAlerts) -> str:
    """An alert that fires since minute 3, with a rule and a box whose names are scripts."""
    await watched.rule(name=f"Dust {EVIL}", description=f"Close the site. {EVIL}")
    name = {"name": f"North gate {EVIL}"}
    (await watched.client.patch(f"/v1/boxes/{watched.box}", json=name)).raise_for_status()
    await watched.send((0, 10), (1, 30), (2, 32), (3, 34), (4, 36))
    identifier: str = (await watched.alert())["id"]
    return identifier


async def test_the_list_keeps_its_filters_in_the_address(console: ConsoleClient, alert_id: str) -> None:
    page = await console.read("/console/alerts")
    assert f'href="/console/alerts/{alert_id}"' in page
    assert "<script>document" not in page
    assert "<img src=x" not in page
    for query in ("state=resolved", "severity=critical", "acknowledged=true", "metric=no2", "to=2020-01-01"):
        assert alert_id not in await console.read(f"/console/alerts?{query}")
    assert alert_id in await console.read("/console/alerts?metric=pm2_5&from=2020-01-01&state=")


@pytest.mark.usefixtures("alert_id")
async def test_a_filter_that_the_api_refuses_says_why(console: ConsoleClient) -> None:
    page = await console.read("/console/alerts?metric=love", status=422)
    assert 'role="alert"' in page
    assert 'value="love"' in page


async def test_the_page_of_an_alert_says_why_it_fires(console: ConsoleClient, alert_id: str) -> None:
    page = await console.read(f"/console/alerts/{alert_id}")
    assert "is 34" in page
    assert "condition held before it fired: 2" in page
    assert "goes on until it is below 20" in page
    assert "Close the site." in page
    assert "<script>document" not in page
    assert "<img src=x" not in page
    assert f"GET /v1/alerts/{alert_id}/explanation" in page


async def test_people_work_on_an_alert(console: ConsoleClient, alert_id: str, watched: WatchedAlerts) -> None:
    path = f"/console/alerts/{alert_id}"
    for action, fields, done in (
        ("acknowledge", {}, "acknowledged"),
        ("unacknowledge", {}, "unacknowledged"),
        ("assign", {"assignee": "Night team"}, "assigned"),
        ("assign", {"myself": "yes"}, "assigned"),
        ("comment", {"comment": f"Seen. {EVIL}"}, "commented"),
        ("escalate", {"severity": "critical", "comment": "A school is near"}, "escalated"),
        ("silence", {"end": "morning", "comment": "Roadworks"}, "silenced"),
    ):
        assert read_done(await console.send(f"{path}/{action}", fields)) == done
    page = await console.read(path)
    assert "Assigned to Night team" in page
    assert "Assigned to Ada" in page
    assert "Seen." in page
    assert "<script>document" not in page
    assert "silent until" in page
    assert "tomorrow, 08:00" in page
    silences = await console.read("/console/alerts/silences")
    assert "Roadworks" in silences
    # By names, not by numbers of ids.
    assert "Rule: Dust" in silences
    assert "Box: North gate" in silences
    assert ", 08:00</time>" in silences
    silence = (await watched.client.get("/v1/silences")).json()["data"][0]
    await console.send(f"/console/alerts/silences/{silence['id']}/expire")
    assert "Roadworks" not in await console.read("/console/alerts/silences")
    assert "Roadworks" in await console.read("/console/alerts/silences?state=expired")


async def test_a_refused_action_shows_its_fault_and_keeps_what_was_typed(
    console: ConsoleClient, alert_id: str
) -> None:
    fields = {"end": "until", "until": "2020-01-01T10:00", "comment": "Too late", "_silence": "1"}
    answer = await console.send(f"/console/alerts/{alert_id}/silence", fields, status=422)
    assert 'role="alert"' in answer.text
    assert 'value="Too late"' in answer.text
    assert 'value="2020-01-01T10:00"' in answer.text
    # A time that is missing is said in words of the page, once.
    answer = await console.send(f"/console/alerts/{alert_id}/silence", {**fields, "until": ""}, status=422)
    assert answer.text.count("Say until when: a date and a time.") == 1
    assert "ends_at" not in answer.text


async def test_several_alerts_are_acknowledged_together(
    console: ConsoleClient, alert_id: str, watched: WatchedAlerts
) -> None:
    fields = {
        "alert": [alert_id],
        "action": "acknowledge",
        "comment": "All of them",
        "_page": "/console/alerts?severity=warning",
    }
    answer = await console.send("/console/alerts/bulk", fields)
    assert answer.headers["location"] == "/console/alerts?severity=warning&done=acknowledged"
    assert (await watched.alert())["acknowledged_by"]["name"] == "Ada"
    assert (
        read_done(await console.send("/console/alerts/bulk", {**fields, "action": "comment"})) == "commented"
    )
    assigned = {**fields, "action": "assign", "assignee": "Night team"}
    assert read_done(await console.send("/console/alerts/bulk", assigned)) == "assigned"
    assert (await watched.alert())["assignee"] == "Night team"
    # One that another person resolved meanwhile is named, and the others are changed.
    gone = "01a22723-18f1-7676-b0b0-609977fd07c8"
    silence = {**fields, "alert": [gone, alert_id], "action": "silence", "end": "PT1H"}
    answer = await console.send("/console/alerts/bulk", silence, status=422)
    assert gone in answer.text
    assert "All of them" in answer.text
    assert len((await watched.client.get("/v1/silences")).json()["data"]) == 1


async def test_a_refused_bulk_action_stays_on_its_page(console: ConsoleClient, alert_id: str) -> None:
    page = "/console/alerts?state=firing&severity=warning"
    fields = {"alert": [alert_id], "action": "nothing", "comment": "Seen", "_page": page}
    answer = await console.send("/console/alerts/bulk", fields, status=422)
    shown = html.escape(page)
    assert '<option value="warning" selected' in answer.text
    assert f'value="{alert_id}" checked' in answer.text
    # The next action, the language and live reading lead to it.
    assert answer.text.count(f'name="_page" value="{shown}"') == 2
    assert f'data-page="{shown}" data-answer' in answer.text
    answer = await console.send(
        "/console/alerts/bulk", {**fields, "_page": "/console/alerts?state=resolved"}, 422
    )
    assert alert_id not in answer.text
    # From the page of an incident: the list that says why is none of its pages.
    answer = await console.send(
        "/console/alerts/bulk", {**fields, "_page": "/console/incidents/x?state="}, 422
    )
    assert 'data-page="/console/alerts" data-answer' in answer.text


async def test_the_message_after_an_action_belongs_to_no_address(console: ConsoleClient) -> None:
    page = await console.read("/console/alerts?state=&done=assigned&severity=info")
    assert "Assigned." in page
    assert 'name="_page" value="/console/alerts?state=&amp;severity=info"' in page


async def test_a_viewer_has_no_buttons_and_another_tenant_no_alert(
    application: FastAPI,
    folk: OrganisationPeople,
    api: httpx.AsyncClient,
    console: ConsoleClient,
    alert_id: str,
) -> None:
    viewer = await folk.join("Vera", "viewer")
    console.http.cookies.set("vigie_session", viewer.token, domain="vigie.test")
    fresh = ConsoleClient(console.http)
    page = await fresh.read(f"/console/alerts/{alert_id}")
    assert 'data-key="' not in page
    answer = await fresh.send(f"/console/alerts/{alert_id}/acknowledge", status=403)
    assert "alerts:write" in answer.text
    async with new_tenant(application, api, "Elsewhere") as other:
        stranger = await folk.join("Eve", "owner", other.id)
        console.http.cookies.set("vigie_session", stranger.token, domain="vigie.test")
        await ConsoleClient(console.http).read(f"/console/alerts/{alert_id}", status=404)


async def _press(page: Page, keys: str) -> None:
    for key in keys:
        await page.keyboard.press(key)


async def _tab_to(page: Page, selector: str) -> None:
    """Press Tab until a field has the focus; a time alone has several parts."""
    for _ in range(12):
        if await page.evaluate("selector => document.activeElement.matches(selector)", selector):
            return
        await page.keyboard.press("Tab")
    raise AssertionError(selector)


@pytest.mark.usefixtures("event_flow")
@pytest.mark.parametrize(("language", "options"), DESK_AND_PHONE)
async def test_the_life_of_an_alert_by_keyboard_alone(
    *,
    open_page: OpenPage,
    owner_person: SignedInPerson,
    alert_id: str,
    watched: WatchedAlerts,
    language: str,
    options: dict[str, Any],
) -> None:
    await owner_person.client.patch("/v1/me", json={"locale": language})
    assigned, ended, fired = LIFE[language]
    signed_in = await open_page(owner_person, **options)
    page = signed_in.page
    await signed_in.visit("/console")
    await _press(page, "j")
    await page.keyboard.press("Enter")
    await page.wait_for_url(f"**/alerts/{alert_id}")
    await signed_in.wait_until_ready("h1")
    await signed_in.press_to_next_page("a", ".notice.good")
    await _press(page, "c")
    await page.keyboard.type("On my way")
    await _tab_to(page, "button")
    await signed_in.press_to_next_page("Enter", "blockquote")
    await _press(page, "t")
    await page.keyboard.type("Night team")
    await signed_in.press_to_next_page("Enter", f"text={assigned} Night team")
    await _press(page, "s")
    await _tab_to(page, "#silence-comment")
    await page.keyboard.type("Roadworks")
    await signed_in.press_to_next_page("Enter", ".notice.good")
    (silence,) = (await watched.client.get("/v1/silences")).json()["data"]
    assert silence["comment"] == "Roadworks"
    await watched.send((6, 10))
    await page.wait_for_selector(f"text={ended}")
    assert (await page.locator(".timeline strong").all_inner_texts())[-1].lower() == fired
    signed_in.check()


@pytest.mark.usefixtures("event_flow")
@pytest.mark.parametrize(("language", "options"), DESK_AND_PHONE)
async def test_an_acknowledgement_shows_in_another_browser_within_two_seconds(
    *,
    open_page: OpenPage,
    folk: OrganisationPeople,
    owner_person: SignedInPerson,
    alert_id: str,
    language: str,
    options: dict[str, Any],
) -> None:
    await owner_person.client.patch("/v1/me", json={"locale": language})
    first = await open_page(owner_person, **options)
    second = await open_page(await folk.join("Grace", "operator"), **options)
    async with first.page.expect_response("**/console/live"):
        await first.visit("/console/alerts")
    await second.visit(f"/console/alerts/{alert_id}")
    await second.page.click("[data-key=a]")
    words = {"en": "acknowledged by Grace", "fr": "prise en charge par Grace"}[language]
    await first.page.wait_for_selector(f"text={words}")


@pytest.mark.usefixtures("event_flow")
async def test_nothing_moves_below_the_pointer_when_an_alert_ends(
    open_page: OpenPage, owner_person: SignedInPerson, alert_id: str, watched: WatchedAlerts
) -> None:
    # Not as high as the page, so that it can scroll.
    signed_in = await open_page(owner_person, viewport={"width": 1280, "height": 500})
    page = signed_in.page
    async with page.expect_response("**/console/live"):
        await signed_in.visit(f"/console/alerts/{alert_id}")
    # Without its reserved height, the region above the pointer changes its height when the alert ends.
    await page.evaluate("document.querySelector('#alert-state').style.minHeight = '0'")
    await page.evaluate("scrollTo(0, 60)")
    await page.hover("#do-silence summary")
    button = page.locator("#do-silence summary")
    before = await button.bounding_box()
    await watched.send((6, 10))
    await page.wait_for_selector("#alert-state >> text=back within the limits")
    assert "is back" in await page.inner_text("h1")
    assert "is back" in await page.title()
    assert await page.locator("[data-key=a]").count() == 0
    after = await button.bounding_box()
    assert before is not None
    assert after is not None
    assert abs(after["y"] - before["y"]) < 2
    signed_in.check()


async def test_one_failed_read_is_no_lost_connection(
    open_page: OpenPage, owner_person: SignedInPerson, alert_id: str
) -> None:
    signed_in = await open_page(owner_person)
    page = signed_in.page
    await signed_in.visit(f"/console/alerts/{alert_id}")
    reads, is_repeated, go_on = 0, asyncio.Event(), asyncio.Event()

    async def fail(route: Route) -> None:
        nonlocal reads
        if route.request.resource_type != "fetch":
            await route.fallback()
            return
        reads += 1
        if reads == 2:
            is_repeated.set()
            await go_on.wait()
        await route.fulfill(status=503, body="")

    await page.route(f"**/console/alerts/{alert_id}", fail)
    await page.evaluate("vigie.refresh()")
    # The first one has failed, and the page reads again.
    async with asyncio.timeout(60):
        await is_repeated.wait()
    assert await page.locator("[data-offline]").is_hidden()
    go_on.set()
    await page.wait_for_selector("[data-offline]:not([hidden])")
    assert reads >= 2
    await page.unroute(f"**/console/alerts/{alert_id}", fail)
    await page.evaluate("vigie.refresh()")
    await page.wait_for_selector("[data-offline]", state="hidden")
    # The browser reports the failed reads.
    signed_in.told.clear()


async def test_a_page_that_answers_a_form_reads_the_page_of_the_form(
    open_page: OpenPage, owner_person: SignedInPerson, alert_id: str
) -> None:
    signed_in = await open_page(owner_person)
    page = signed_in.page
    await signed_in.visit("/console/alerts?severity=warning")
    await page.check(f"[name=alert][value='{alert_id}']")
    await page.evaluate("document.querySelector('#comment').value = 'x'.repeat(2001)")
    async with page.expect_navigation():
        await page.click("button[value=comment]")
    assert page.url.endswith("/console/alerts/bulk")
    async with page.expect_response("**/console/alerts?severity=warning") as read:
        await page.evaluate("vigie.refresh()")
    assert (await read.value).ok
    assert await page.is_checked(f"[name=alert][value='{alert_id}']")
    assert await page.locator("[data-offline], [data-gone]").evaluate_all(
        "all => all.every(each => each.hidden)"
    )
    # The browser reports that the form was refused.
    signed_in.told.clear()


async def test_a_page_says_that_its_subject_is_gone(
    open_page: OpenPage, owner_person: SignedInPerson, watched: WatchedAlerts
) -> None:
    signed_in = await open_page(owner_person)
    page = signed_in.page
    await signed_in.visit(f"/console/boxes/{watched.box}")
    assert await page.locator("[data-gone]").is_hidden()
    (await watched.client.delete(f"/v1/boxes/{watched.box}")).raise_for_status()
    await page.evaluate("vigie.refresh()")
    await page.wait_for_selector("[data-gone]:not([hidden])")
    assert await page.locator("[data-offline]").is_hidden()
    assert await page.locator("#box-now").is_visible()
    # The browser reports the refused reads.
    signed_in.told.clear()


@pytest.mark.parametrize(("language", "options"), LOOKS)
async def test_the_pages_are_accessible(
    *,
    open_page: OpenPage,
    application: FastAPI,
    owner_person: SignedInPerson,
    alert_id: str,
    language: str,
    options: dict[str, Any],
) -> None:
    async with client_of(application, owner_person.token) as client:
        (await client.patch("/v1/me", json={"locale": language})).raise_for_status()
    signed_in = await open_page(owner_person, **options)
    for path in ("/console/alerts", f"/console/alerts/{alert_id}", "/console/alerts/silences"):
        await signed_in.visit(path)
        assert await signed_in.page.get_attribute("html", "lang") == language
        assert await signed_in.grave() == []
        wide = await signed_in.page.evaluate("document.documentElement.scrollWidth - innerWidth")
        assert wide <= 0, (path, options)
