"""Chromium walks the register: by mouse and keyboard, in both languages, dark, small, without scripts."""

from collections.abc import AsyncIterator
from pathlib import Path

import asyncpg
import pytest
from fastapi import FastAPI
from playwright.async_api import Browser

from app.platform.kernel.application_resources import get_resource
from app.public_register.map_tiles import TILES_PATH, MapTileSource
from app.public_register.register_context import RegisterContext
from app.public_register.settings import RegisterSettings
from tests.conftest import Tenant
from tests.integration.notifications.streams import serving
from tests.integration.public_register.archives import PICTURE, VECTOR, land, picture, write_archive
from tests.integration.public_register.browsing import (
    WatchedPage,
    chromium,
    furnish,
    looking,
    undeclared,
    wait_until_true,
)

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


async def accessible(watched: WatchedPage) -> None:
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
        # A day, seven days and a year of each open metric.
        assert await page.locator("figure .line").count() == 9
        for details in await page.locator("details").all():
            await details.evaluate("each => { each.open = true }")
        await accessible(watched)
        await page.click("text=Français")
        await watched.map_ready()
        assert await page.locator("html").get_attribute("lang") == "fr"
        assert await page.locator("text=Responsable du traitement").count() > 0
        await accessible(watched)
        await page.click("nav >> text=Historique")
        await page.wait_for_load_state()
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
        await wait_until_true(page, "document.activeElement.id === 'content'")
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
        await page.wait_for_load_state()
        assert await page.locator("h1").inner_text() == "Rue d'Alsace-Lorraine"
        assert await page.locator("figure .line").count() == 9
        watched.check()


async def test_the_map_follows_the_search_and_near_me_rounds_where_one_is(
    browser: Browser, city: tuple[str, str]
) -> None:
    base, _ = city
    here = {"latitude": 43.604652, "longitude": 1.444209}
    async with looking(browser, base, geolocation=here, permissions=["geolocation"]) as watched:
        page = watched.page
        markers = page.locator(".leaflet-marker-icon.marker")
        await watched.go("/public?q=mediatheque")
        assert await markers.count() == 1
        assert await page.locator(".totals dd").first.inner_text() == "1"
        await watched.go("/public?purpose=acoustic_safety")
        assert await markers.count() == 1
        await watched.go("/public?q=nowhere")
        assert await markers.count() == 0
        await watched.go("/public")
        asked: list[str] = []
        page.on("request", lambda request: asked.append(request.url))
        await page.click("#near")
        await page.wait_for_url("**q=43.60%2C+1.44**")
        await watched.map_ready()
        assert not [url for url in asked if "43.604" in url or "1.444" in url]
        assert await page.locator(".place").count() == 1
        assert await markers.count() == 3
        assert await page.locator(".sites .away").count() == 3
        await accessible(watched)


async def test_a_position_that_is_refused_is_said(browser: Browser, city: tuple[str, str]) -> None:
    base, _ = city
    async with looking(browser, base) as watched:
        await watched.go("/public?lang=en")
        await watched.page.click("#near")
        await wait_until_true(
            watched.page,
            "() => document.getElementById('near-said').textContent.includes('gives no position')",
        )
        assert await watched.page.locator("#near").is_enabled()
        watched.check()


@pytest.mark.parametrize("width", [320, 390])
async def test_a_popup_fits_a_phone(browser: Browser, city: tuple[str, str], width: int) -> None:
    base, _ = city
    phone = {**PHONE, "viewport": {"width": width, "height": 720}}
    async with looking(browser, base, **phone) as watched:
        page = watched.page
        await watched.go("/public?lang=fr")
        # All sites in one marker: the longest of all popups.
        for _ in range(12):
            if await page.locator(".leaflet-marker-icon.marker").count() == 1:
                break
            await page.click(".leaflet-control-zoom-out")
            await page.wait_for_timeout(400)
        await page.locator(".leaflet-marker-icon.marker").click()
        assert await page.locator(".leaflet-popup .found li").count() == 3
        # Once the map has moved as far as it needs.
        await wait_until_true(
            page,
            """() => {
                const frame = document.querySelector("#map").getBoundingClientRect();
                const bubble = document.querySelector(".leaflet-popup-content-wrapper");
                const popup = bubble.getBoundingClientRect();
                return frame.left <= popup.left && popup.right <= frame.right
                    && frame.top <= popup.top && popup.bottom <= frame.bottom;
            }""",
        )
        watched.check()


async def test_a_site_of_which_nothing_is_declared_and_a_short_page(
    browser: Browser, city: tuple[str, str], tenant: Tenant
) -> None:
    base, street = city
    quay = await undeclared(tenant.client)
    async with looking(browser, base, **PHONE) as watched:
        for language in ("en", "fr"):
            await watched.go(f"/public/sites/{quay}?lang={language}")
            assert await watched.page.locator(".notice.bad").count() == 1
            assert await watched.page.locator("svg.chart").count() == 0
            await accessible(watched)
        await watched.go(f"/public/sites/{street}?lang=en")
        assert await watched.page.locator(".card .newest").count() == 3
        assert await watched.page.locator("table.differing").count() == 1
        tall: int = await watched.page.evaluate("document.documentElement.scrollHeight")
        assert tall < 10_500


@pytest.mark.parametrize(
    ("tile_type", "tile", "colour"),
    [(PICTURE, picture(10, 200, 30), [10, 200, 30]), (VECTOR, land(), [226, 223, 218])],
)
async def test_the_map_has_the_operators_own_tiles(  # noqa: PLR0917 (fixtures)
    browser: Browser,
    city: tuple[str, str],
    application: FastAPI,
    tmp_path: Path,
    tile_type: int,
    tile: bytes,
    colour: list[int],
) -> None:
    base, _ = city
    file = write_archive(tmp_path / "city.pmtiles", tile_type, tile)
    settings = RegisterSettings(tiles_file=file, tiles_credit="© OpenStreetMap")
    object.__setattr__(get_resource(application, RegisterContext), "tiles", MapTileSource.of(settings))
    async with looking(browser, base, color_scheme="light") as watched:
        answers: list[tuple[int, str | None]] = []
        watched.page.on(
            "response",
            lambda each: (
                answers.append((each.status, each.headers.get("content-range")))
                if each.url.endswith(TILES_PATH)
                else None
            ),
        )
        await watched.go("/public")
        seen = await wait_until_true(
            watched.page,
            """() => {
                const tile = document.querySelector(".leaflet-layer canvas");
                const pixel = tile?.width && tile.getContext("2d").getImageData(100, 100, 1, 1).data;
                return pixel && pixel[3] === 255 ? [...pixel].slice(0, 3) : null;
            }""",
        )
        assert seen == colour, watched.told
        assert answers
        assert {status for status, _ in answers} == {206}
        assert await watched.page.locator(".leaflet-control-attribution").inner_text() == "© OpenStreetMap"
        assert await watched.page.locator("path.land").count() == 0
        assert await watched.grave() == []
        # What the browser says of this test, which reads pixels again and again.
        watched.told = [each for each in watched.told if "willReadFrequently" not in each]
        watched.check()
