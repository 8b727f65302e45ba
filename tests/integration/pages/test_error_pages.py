"""People get a page where clients of the API get a problem; the icons of the pages."""

import httpx
import pytest

BROWSER = {"Accept": "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"}


@pytest.mark.parametrize(
    "path", ["/public/nothing", "/public/static/nothing", "/nothing", "/docs/guides/nothing"]
)
async def test_a_browser_gets_a_page(public: httpx.AsyncClient, path: str) -> None:
    page = await public.get(path, headers={**BROWSER, "Accept-Language": "fr"})
    assert (page.status_code, page.headers["content-type"]) == (404, "text/html; charset=utf-8")
    assert page.headers["content-language"] == "fr"
    assert len(page.headers.get_list("content-security-policy")) == 1
    assert "script-src 'self'" in page.headers["content-security-policy"]
    assert "Accept" in page.headers["vary"]
    assert "<h1>Cette page n\u2019existe pas</h1>" in page.text
    assert int(page.headers["content-length"]) == len(page.content)
    assert "There is no such page" in (await public.get(path, headers=BROWSER)).text


@pytest.mark.parametrize("headers", [{}, {"Accept": "*/*"}, {"Accept": "application/json"}])
async def test_a_client_of_the_api_gets_a_problem(public: httpx.AsyncClient, headers: dict[str, str]) -> None:
    answer = await public.get("/public/nothing", headers=headers)
    assert (answer.status_code, answer.headers["content-type"]) == (404, "application/problem+json")
    assert answer.json()["code"] == "not_found"


async def test_who_follows_a_link_into_the_api_is_told_how_to_sign_in(public: httpx.AsyncClient) -> None:
    path = "/v1/alerts/0199d1c5-7a3e-7c54-9d1e-5b6f0a2c8e11"
    page = await public.get(path, headers={**BROWSER, "Accept-Language": "fr"})
    assert (page.status_code, page.headers["content-type"]) == (401, "text/html; charset=utf-8")
    assert page.headers["www-authenticate"] == "Bearer"
    assert "<h1>Connectez-vous pour lire ceci</h1>" in page.text
    assert 'href="/docs"' in page.text
    program = "application/problem+json"
    answer = await public.get(path, headers={"Accept": "application/json"})
    assert (answer.status_code, answer.headers["content-type"]) == (401, program)
    # A program that accepts text/html, as Java's own client does, has a key or posts.
    wrong = await public.get(path, headers={**BROWSER, "Authorization": "Bearer vg_wrong"})
    assert (wrong.status_code, wrong.headers["content-type"]) == (401, program)
    posted = await public.post("/v1/silences", headers=BROWSER, json={})
    assert (posted.status_code, posted.headers["content-type"]) == (401, program)


async def test_any_other_problem_of_a_call_stays_one_in_a_browser(api: httpx.AsyncClient) -> None:
    answer = await api.get("/v1/alerts/0199d1c5-7a3e-7c54-9d1e-5b6f0a2c8e11", headers=BROWSER)
    assert (answer.status_code, answer.headers["content-type"]) == (404, "application/problem+json")


@pytest.mark.parametrize(("path", "target"), [("/docs/", "/docs"), ("/docs/guides/", "/docs/guides/index")])
async def test_a_slash_at_the_end_leads_to_the_page(
    public: httpx.AsyncClient, path: str, target: str
) -> None:
    answer = await public.get(path)
    assert (answer.status_code, answer.headers["location"]) == (308, target)


async def test_the_way_of_a_problem_stays(public: httpx.AsyncClient) -> None:
    answer = await public.put("/docs/guides", headers=BROWSER)
    assert (answer.status_code, answer.headers["allow"]) == (405, "GET, HEAD")
    assert answer.headers["content-type"].startswith("text/html")
    head = await public.head("/public/nothing", headers=BROWSER)
    assert (head.status_code, head.content) == (404, b"")


async def test_icons(public: httpx.AsyncClient) -> None:
    icon = await public.get("/favicon.ico")
    assert (icon.status_code, icon.headers["content-type"]) == (200, "image/x-icon")
    assert icon.content[:6] == bytes([0, 0, 1, 0, 3, 0])
    assert icon.headers["cache-control"] == "public, max-age=86400"
    again = await public.get("/favicon.ico", headers={"If-None-Match": icon.headers["etag"]})
    assert again.status_code == 304
    assert (await public.get("/favicon.svg")).headers["content-type"] == "image/svg+xml"
    assert (await public.get("/assets/nothing.css")).status_code == 404
