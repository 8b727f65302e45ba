"""Chromium walks the register: by mouse and keyboard, in both languages, dark, small, without scripts."""

from collections.abc import AsyncIterator

import asyncpg
import pytest
from fastapi import FastAPI
from playwright.async_api import Browser

from tests.conftest import Tenant
from tests.integration.register.browsing import Watched, chromium, furnish, looking
from tests.integration.webhooks.streams import serving

PHONE = {"viewport": {"width": 360, "height": 740}, "has_touch": True, "is_mobile": True}


@pytest.fixture(scope="module")
async def browser() -> AsyncIterator[Browser]:
    async with chromium() as opened:
        yield opened


@pytest.fixture
async def city(
    application: FastAPI, tenant: Tenant, site_id: str, owner: asyncpg.Connection
) -> AsyncIterator[tuple[str, str]]:
    """Where it is served, and the id of its street."""
    await furnish(tenant.client, owner, site_id)
    async with serving(application) as base:
        yield base, site_id


async def accessible(watched: Watched) -> None:
    assert await watched.grave() == []
    watched.check()


async def test_a_walk_from_the_map_to_a_site_its_french_page_and_its_history(
    browser: Browser, city: tuple[str, str]
) -> None:
    base, street = city
    async with looking(browser, base) as watched:
        page = watched.page
        await watched.go("/public")
        assert await page.locator(".leaflet-marker-icon.marker").count() == 3
        assert await page.locator(".leaflet-marker-icon.marker.sensitive").count() == 1
        assert await page.locator(".sites > li").count() == 3
        await accessible(watched)
        await page.fill("#q", "mediatheque")
        await page.click("button")
        await watched.map_ready()
        assert await page.locator(".sites > li").count() == 1
        await page.click("text=Show all")
        await watched.map_ready()
        # From the map, not from the list.
        await page.locator(".leaflet-marker-icon.marker.sensitive").click()
        await page.locator(".leaflet-popup a[href*='/public/sites/']").click()
        await page.wait_for_url(f"**/public/sites/{street}?lang=en")
        await watched.map_ready()
        assert await page.locator("figure .line").count() == 6
        for details in await page.locator("details").all():
            await details.evaluate("each => { each.open = true }")
        await accessible(watched)
        await page.click("text=Français")
        await watched.map_ready()
        assert await page.locator("html").get_attribute("lang") == "fr"
        assert await page.locator("text=Responsable du traitement").count() > 0
        await accessible(watched)
        await page.click("nav >> text=Historique")
        assert await page.locator(".history li").count() >= 8
        await accessible(watched)
        await page.click("nav a[href*=about]")
        await accessible(watched)


@pytest.mark.parametrize(
    "look", [{"color_scheme": "dark"}, PHONE, {"viewport": {"width": 640, "height": 400}}]
)
async def test_in_the_dark_on_a_phone_and_at_twice_the_size(
    browser: Browser, city: tuple[str, str], look: dict[str, object]
) -> None:
    base, street = city
    async with looking(browser, base, **look) as watched:
        for path in ("/public", f"/public/sites/{street}?lang=fr"):
            await watched.go(path)
            wide = await watched.page.evaluate(
                "document.documentElement.scrollWidth - document.documentElement.clientWidth"
            )
            assert wide <= 0, "the page scrolls sideways"
            await accessible(watched)


async def test_by_keyboard_alone(browser: Browser, city: tuple[str, str]) -> None:
    base, _ = city
    async with looking(browser, base) as watched:
        page = watched.page
        await watched.go("/public?lang=en")
        focused = (
            "(at => at.textContent.trim() || at.id || at.getAttribute('aria-label'))(document.activeElement)"
        )
        await page.keyboard.press("Tab")
        assert await page.evaluate(focused) == "Skip to the content"
        await page.keyboard.press("Enter")
        assert await page.evaluate("document.activeElement.id") == "content"
        seen = []
        for _ in range(20):
            await page.keyboard.press("Tab")
            seen.append(await page.evaluate(focused))
        assert seen[0] == "q"
        assert any("Boxes: 3" in str(each) or each == "3" for each in seen), seen
        # Each marker opens, and says where its page is.
        marker = page.locator(".leaflet-marker-icon.marker").first
        await marker.focus()
        await page.keyboard.press("Enter")
        assert await page.locator(".leaflet-popup a[href*='/public/sites/']").count() == 1
        watched.check()


async def test_without_scripts_nothing_is_missing(browser: Browser, city: tuple[str, str]) -> None:
    base, street = city
    async with looking(browser, base, java_script_enabled=False, locale="fr-FR") as watched:
        page = watched.page
        await page.goto(f"{base}/public")
        assert await page.locator("#map noscript p").is_visible()
        await page.fill("#q", "alsace")
        await page.click("button")
        await page.click(".sites a")
        assert street in page.url
        assert await page.locator("h1").inner_text() == "Rue d'Alsace-Lorraine"
        assert await page.locator("figure .line").count() == 6
        watched.check()
