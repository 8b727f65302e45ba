"""Swagger UI in a browser: what somebody new sees first, and how they find a call."""

import httpx
from fastapi import FastAPI

from tests.integration.notifications.streams import serving
from tests.integration.public_register.browsing import chromium, looking

SHOWN = ".opblock-tag-section .opblock"


async def test_redoc_leads_to_swagger_ui(public: httpx.AsyncClient) -> None:
    answer = await public.get("/redoc")
    assert (answer.status_code, answer.headers["location"]) == (308, "/docs")


async def test_swagger_ui(application: FastAPI) -> None:
    async with chromium() as browser, serving(application) as base, looking(browser, base) as watched:
        page = watched.page
        await page.goto(f"{base}/docs")
        await page.wait_for_selector(".opblock-tag")
        groups = await page.locator(".opblock-tag").evaluate_all("all => all.map(each => each.dataset.tag)")
        assert groups[:2] == ["Alerts", "Readings"]
        assert len(groups) > 20
        assert await page.locator(SHOWN).count() == 0
        guide = page.locator(".opblock-tag-section a", has_text="Guide").first
        assert await guide.get_attribute("href") == f"{base}/docs/guides/alerts"

        # By words of the path and of the summary, in any case and order; no group is called so.
        await page.fill(".operation-filter-input", "END silences")
        await page.wait_for_selector("#operations-Alerts-expire_silence")
        assert 1 <= await page.locator(SHOWN).count() < 10
        await page.fill(".operation-filter-input", "no such words")
        await page.locator(".nothing", has_text="No operation has all of these words.").wait_for()
        assert await page.locator(".opblock-tag").count() == 0
        assert await page.locator(".webhooks").count() == 0
        await page.fill(".operation-filter-input", "create a rule")
        await page.click("#operations-Rules-create_rule .opblock-summary-control")
        # Its body holds itself: conditions in conditions.
        await page.wait_for_selector("#operations-Rules-create_rule .opblock-body .responses-table")
        await page.fill(".operation-filter-input", "")
        await page.locator(SHOWN).first.wait_for(state="detached")
        assert await page.locator(".opblock-tag").count() == len(groups)

        await page.click("button.authorize")
        dialog = page.locator(".auth-container")
        assert (await dialog.first.inner_text()).startswith("ApiKey")
        began = "document.activeElement.closest('.auth-container')?.innerText ?? ''"
        assert (await page.evaluate(began)).startswith("ApiKey")
        assert await page.evaluate("document.querySelector('.modal-ux-content').scrollTop") == 0
        assert watched.foreign == []
        assert [text for text in watched.told if "autocomplete" not in text] == []


async def test_an_answer_shows_what_is_behind_references(application: FastAPI) -> None:
    async with chromium() as browser, serving(application) as base, looking(browser, base) as watched:
        page = watched.page
        await page.goto(f"{base}/docs#/Alerts/get_alert")
        body = page.locator("#operations-Alerts-get_alert")
        await body.locator("text=highest_severity").first.wait_for()
        # A problem is described once, and referred to.
        assert "Not signed in" in await body.inner_text()


async def test_a_call_fits_a_phone(application: FastAPI) -> None:
    async with chromium() as browser, serving(application) as base, looking(browser, base) as watched:
        page = watched.page
        await page.set_viewport_size({"width": 390, "height": 844})
        await page.goto(f"{base}/docs#/Alerts/list_alerts")
        table = page.locator("#operations-Alerts-list_alerts table.parameters")
        await table.wait_for()
        edges = await table.locator("*").evaluate_all(
            "all => all.map(each => each.getBoundingClientRect().right)"
        )
        assert max(edges) <= 390
