"""The guides over HTTP, and in a browser."""

import httpx
import pytest
from fastapi import FastAPI

from tests.integration.notifications.streams import serving
from tests.integration.public_register.browsing import chromium, looking
from tests.openapi import openapi_document

STRICT = (
    "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self'; "
    "base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
)


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
        ("img/register-en.png", "image/png"),
        ("img/performance.svg", "image/svg+xml"),
        ("samples/report-day-en.pdf", "application/pdf"),
        ("asyncapi.yaml", "text/yaml; charset=utf-8"),
        ("readme", "text/html; charset=utf-8"),
        ("decisions/0031-public-register-role", "text/html; charset=utf-8"),
    ],
)
async def test_what_guides_lead_to_is_served(public: httpx.AsyncClient, path: str, media_type: str) -> None:
    answer = await public.get(f"/docs/guides/{path}")
    assert (answer.status_code, answer.headers["content-type"]) == (200, media_type)
    again = await public.get(f"/docs/guides/{path}", headers={"If-None-Match": answer.headers["etag"]})
    assert again.status_code == 304


@pytest.mark.parametrize(("name", "target"), [("alerts.md", "alerts"), ("README.md", "readme")])
async def test_the_name_of_a_file_leads_to_its_page(
    public: httpx.AsyncClient, name: str, target: str
) -> None:
    answer = await public.get(f"/docs/guides/{name}")
    assert (answer.status_code, answer.headers["location"]) == (308, f"/docs/guides/{target}")


@pytest.mark.parametrize("name", ["nothing", "../pyproject.toml", "%2e%2e/pyproject.toml", "asyncapi/x.json"])
async def test_nothing_else_is_served(public: httpx.AsyncClient, name: str) -> None:
    assert (await public.get(f"/docs/guides/{name}")).status_code == 404


async def test_guides_in_a_browser(application: FastAPI) -> None:
    async with chromium() as browser, serving(application) as base:
        for size in ({"width": 1280, "height": 900}, {"width": 360, "height": 740}):
            async with looking(browser, base, viewport=size) as watched:
                page = watched.page
                await watched.go("/docs/guides")
                assert await watched.grave() == []
                await page.click("text=box guide")
                await page.wait_for_url("**/docs/guides/boxes")
                # Neither a wide table nor a long line of code widens the page.
                for name in ("boxes", "rules", "performance", "reports", "operations"):
                    await watched.go(f"/docs/guides/{name}")
                    assert await page.evaluate("document.documentElement.scrollWidth <= innerWidth"), name
                assert await watched.grave() == []
                watched.check()
