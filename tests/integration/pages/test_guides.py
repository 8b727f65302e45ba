"""The guides over HTTP, and in a browser."""

from pathlib import Path

import httpx
import pytest
from fastapi import FastAPI

from app.pages import built_guides, guides_router
from tests.integration.notifications.streams import serving
from tests.integration.public_register.browsing import chromium, looking
from tests.openapi import openapi_document

STRICT = (
    "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self' data:; connect-src 'self'; "
    "base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
)
# Home, a guide with wide tables and long code, the reference of the API, and results of a search.
PAGES = ("index", "operations/own-services", "reference/incidents", "search?q=webhook+signature")


async def test_each_group_of_the_api_leads_to_a_guide(public: httpx.AsyncClient) -> None:
    tags = openapi_document()["tags"]
    assert [tag["name"] for tag in tags[:2]] == ["Alerts", "Readings"]
    for tag in tags:
        answer = await public.get(tag["externalDocs"]["url"])
        assert (answer.status_code, answer.headers["content-type"]) == (200, "text/html; charset=utf-8")
        assert answer.headers["content-security-policy"] == STRICT


@pytest.mark.parametrize(
    ("path", "media_type"),
    [
        ("_images/register-en.png", "image/png"),
        ("_images/performance.svg", "image/svg+xml"),
        ("samples/report-day-en.pdf", "application/pdf"),
        ("asyncapi.yaml", "text/yaml; charset=utf-8"),
        ("readme", "text/html; charset=utf-8"),
        ("readme.html", "text/html; charset=utf-8"),
        ("decisions/0031-public-register-role", "text/html; charset=utf-8"),
        ("reference/alerts", "text/html; charset=utf-8"),
        ("searchindex.js", "text/javascript; charset=utf-8"),
        ("_static/guides.css", "text/css; charset=utf-8"),
    ],
)
async def test_what_guides_lead_to_is_served(public: httpx.AsyncClient, path: str, media_type: str) -> None:
    answer = await public.get(f"/docs/guides/{path}")
    assert (answer.status_code, answer.headers["content-type"]) == (200, media_type)
    assert answer.headers["cache-control"] == "public, max-age=300"
    again = await public.get(f"/docs/guides/{path}", headers={"If-None-Match": answer.headers["etag"]})
    assert again.status_code == 304


async def test_a_style_with_its_version_is_kept_for_a_year(public: httpx.AsyncClient) -> None:
    answer = await public.get("/docs/guides/_static/guides.css?v=1234")
    assert answer.headers["cache-control"] == "public, max-age=31536000, immutable"
    # A page has no version of its own: `v` may be anybody's.
    answer = await public.get("/docs/guides/readme?v=1234")
    assert answer.headers["cache-control"] == "public, max-age=300"


@pytest.mark.parametrize(
    ("name", "target"),
    [
        ("", "/index"),
        ("/", "/index"),
        ("/alerts.md", "/alerts"),
        ("/README.md", "/readme"),
        ("/decisions", "/decisions/index"),
        ("/operations", "/operations/index"),
        ("/operations.md", "/operations/index"),
        ("/img/register-en.png", "/_images/register-en.png"),
    ],
)
async def test_a_former_address_leads_to_its_page(public: httpx.AsyncClient, name: str, target: str) -> None:
    answer = await public.get(f"/docs/guides{name}")
    assert (answer.status_code, answer.headers["location"]) == (308, f"/docs/guides{target}")
    assert (await public.get(answer.headers["location"])).status_code == 200


@pytest.mark.parametrize(
    "name",
    [
        "nothing",
        "../pyproject.toml",
        "%2e%2e/pyproject.toml",
        "..%2f..%2fpyproject.toml",
        "_static/..%2f..%2f..%2fpyproject.toml",
        "%2fetc/passwd",
        "asyncapi/schema-3.0.0.json",
        "stamp.txt",
        "objects.inv",
    ],
)
async def test_nothing_else_is_served(public: httpx.AsyncClient, name: str) -> None:
    assert (await public.get(f"/docs/guides/{name}")).status_code == 404


async def test_guides_that_are_not_built_say_how(
    public: httpx.AsyncClient, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(guides_router, "find_guides", lambda: built_guides.find_guides(tmp_path))
    answer = await public.get("/docs/guides/alerts")
    assert (answer.status_code, answer.headers["content-type"]) == (503, "text/html; charset=utf-8")
    assert "<code>make docs</code>" in answer.text
    assert answer.headers["cache-control"] == "no-store"


# Widths decide about the layout, schemes about contrast: two of the four pairs show both.
@pytest.mark.parametrize(("scheme", "width"), [("light", 390), ("dark", 1280)])
async def test_guides_in_a_browser(application: FastAPI, scheme: str, width: int) -> None:
    size = {"width": width, "height": 900}
    async with (
        chromium() as browser,
        serving(application) as base,
        looking(browser, base, viewport=size, color_scheme=scheme) as watched,
    ):
        for name in PAGES:
            await watched.go(f"/docs/guides/{name}")
            assert await watched.grave() == [], name
            # Neither a wide table nor a long line of code widens the page.
            assert await watched.page.evaluate("document.documentElement.scrollWidth <= innerWidth"), name
        watched.check()


async def test_the_search_finds_a_guide_and_a_call(application: FastAPI) -> None:
    async with chromium() as browser, serving(application) as base, looking(browser, base) as watched:
        page = watched.page
        await watched.go("/docs/guides")
        await page.fill("input[name=q]", "acknowledge alert")
        await page.keyboard.press("Enter")
        await page.wait_for_selector("#search-results li a")
        await page.wait_for_selector("#search-results .context, #search-results p.context")
        found = await page.eval_on_selector_all(
            "#search-results li a", "links => links.map(link => link.pathname)"
        )
        assert "/docs/guides/alerts" in found
        assert "/docs/guides/reference/alerts" in found
        await page.click("#search-results li a")
        await page.wait_for_selector("article h1")
        watched.check()


async def test_the_choice_of_colours_stays(application: FastAPI) -> None:
    async with chromium() as browser, serving(application) as base, looking(browser, base) as watched:
        page = watched.page
        await watched.go("/docs/guides/alerts")
        themes = []
        for _ in range(3):
            await page.click(".content-icon-container .theme-toggle")
            themes.append(await page.evaluate("document.body.dataset.theme"))
        assert sorted(themes) == ["auto", "dark", "light"]
        await page.click(".content-icon-container .theme-toggle")
        await watched.go("/docs/guides/rules")
        assert await page.evaluate("document.body.dataset.theme") == themes[0]
        watched.check()
