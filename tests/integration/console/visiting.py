"""Visits the console: by HTTP with the fields of its forms, and in Chromium."""

import html
import re
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any, Final
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest
from playwright.async_api import Browser, Response

from tests.integration.people.folk import SignedInPerson
from tests.integration.public_register.browsing import WatchedPage, looking

_TOKEN: Final = re.compile(r'name="_token" value="([0-9a-f]{64})"')
DESK: Final = {"viewport": {"width": 1280, "height": 860}}
LOOKS: Final[tuple[tuple[str, dict[str, Any]], ...]] = (
    ("en", {}),
    ("fr", {"viewport": {"width": 390, "height": 844}, "is_mobile": True, "color_scheme": "dark"}),
    ("en", {"viewport": {"width": 640, "height": 430}}),
)
"""Language and browser of accessibility checks: a desktop, a dark phone, and twice the size."""
PHONE: Final = {"viewport": {"width": 390, "height": 844}, "is_mobile": True, "has_touch": True}
DESK_AND_PHONE: Final = (
    pytest.param("en", {}, id="desk"),
    pytest.param("fr", {**PHONE, "color_scheme": "dark"}, id="phone"),
)
"""Language and browser of work in the browser: English at a desk, French on a dark phone."""


class ConsoleClient:
    """Reads pages and sends forms as a browser does.

    Attributes:
        http: The client, with the cookie of the session.
    """

    def __init__(self, http: httpx.AsyncClient) -> None:
        self.http = http
        self._token = ""

    async def read(self, path: str, status: int = 200) -> str:
        """Read a page."""
        answer = await self.http.get(path)
        assert answer.status_code == status, f"{answer.status_code} {path}: {answer.text[:2000]}"
        check_page_headers(answer)
        return answer.text

    async def send(
        self, path: str, fields: Mapping[str, str | Sequence[str]] | None = None, status: int = 303
    ) -> httpx.Response:
        """Send a form with the token of the session; give the response."""
        if not self._token:
            # Any page has forms of the menu.
            page = await self.http.get("/console/alerts")
            found = _TOKEN.search(page.text)
            assert found is not None, page.text[:500]
            self._token = found[1]
        answer = await self.http.post(
            path, data={"_token": self._token, **(fields or {})}, headers={"Sec-Fetch-Site": "same-origin"}
        )
        assert answer.status_code == status, f"{answer.status_code} {path}: {answer.text[:3000]}"
        return answer


def check_page_headers(answer: httpx.Response | Response) -> None:
    """Check the policy of a page: own files only, no frames, no cache."""
    policy = answer.headers["content-security-policy"]
    assert "unsafe" not in policy
    assert "default-src 'none'" in policy
    assert "frame-ancestors 'none'" in policy
    assert answer.headers["cache-control"] == "no-store"


def read_done(answer: httpx.Response) -> str:
    """Return the name of the message that the next page shows."""
    return parse_qs(urlsplit(answer.headers["location"]).query).get("done", [""])[0]


def read_field(page: str, name: str) -> str:
    """Return the value of the first input of a name."""
    found = re.search(rf'name="{name}" value="([^"]*)"', page)
    assert found is not None, name
    return html.unescape(found[1])


class SignedInPage(WatchedPage):
    """A page of the console in Chromium, which may ask our own server only."""

    async def visit(self, path: str) -> None:
        """Go to a page, and check its policy."""
        answer = await self.page.goto(self.base + path)
        assert answer is not None
        assert answer.status < 400, (path, answer.status)
        check_page_headers(answer)

    async def wait_until_ready(self, selector: str) -> None:
        """Wait for the next page, and for its scripts: keys do nothing before."""
        await self.page.wait_for_selector(selector)
        # Scripts are deferred: they ran before. A condition that is polled would need `unsafe-eval`.
        await self.page.wait_for_load_state()

    async def press_to_next_page(self, key: str, selector: str) -> None:
        """Press a key that leads to another page; wait until that has loaded, and shows an element.

        The page before may show such an element too, for as long as the server works.
        """
        async with self.page.expect_navigation():
            await self.page.keyboard.press(key)
        await self.page.wait_for_selector(selector)

    async def lose_session(self) -> None:
        """Remove the cookie of the session, while no page is open that would ask without it."""
        await self.page.goto("about:blank")
        await self.page.context.clear_cookies()


@asynccontextmanager
async def open_signed_in_page(
    browser: Browser,
    base: str,
    person: SignedInPerson,
    **options: Any,  # noqa: ANN401 (Playwright's)
) -> AsyncIterator[SignedInPage]:
    """Open a page in a context of its own in which a person is signed in."""
    async with looking(browser, base, **{**DESK, **options}) as watched:
        cookie = {"name": "vigie_session", "value": person.token, "url": base, "httpOnly": True}
        await watched.page.context.add_cookies([cookie])  # type: ignore[list-item]
        page = SignedInPage(watched.page, base, watched.foreign, watched.told)
        yield page
        page.check()
