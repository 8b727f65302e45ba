"""An operator's whole work with nothing left out: all roles are processes, and all is done in Chromium.

A rule is built, tried on the past and saved; a box publishes; the alert is followed to a receiver that fails.
"""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import aiomqtt
import asyncpg
import pytest
from aiohttp import web
from playwright.async_api import Browser, Page
from standardwebhooks import Webhook

from app.platform.db.database import Database
from app.standalone.private_mosquitto import PrivateMosquitto
from tests.conftest import Tenant
from tests.integration.console.conftest import browser
from tests.integration.console.visiting import DESK, DESK_AND_PHONE, SignedInPage, open_signed_in_page
from tests.integration.consuming import consuming
from tests.integration.notifications.receivers import Receiver, receiving
from tests.integration.people.conftest import _cheap_hashes, folk
from tests.integration.people.folk import PASSWORD, OrganisationPeople, SignedInPerson
from tests.integration.public_register.browsing import WatchedPage, looking, wait_until_true
from tests.integration.rules.backtesting import store
from tests.scenarios.processes import role, serving

__all__ = ["_cheap_hashes", "browser", "folk"]

BOX = "north-gate"
WORDS = {
    "en": ("Warning when PM2.5", "Would have fired 1 time"),
    "fr": ("Avertissement", "Se serait déclenchée 1 fois"),
}
ADVICE = "Close the windows."
_FITS = "[...document.querySelectorAll('.counter')].every(each => each.scrollWidth <= each.clientWidth)"


@dataclass(frozen=True)
class Street:
    """A site that somebody set up: a box with an hour of bad air behind it, and a webhook.

    Attributes:
        fails: lets the receiver answer the first request, with an error.
    """

    site: str
    password: str
    secret: str
    broker: PrivateMosquitto
    receiver: Receiver
    fails: asyncio.Event

    async def publish(self, value: float) -> None:
        """Publish as the box does."""
        body = {"seq": 1, "time": datetime.now(UTC).isoformat(), "values": {"pm2_5": value}}
        async with aiomqtt.Client(
            self.broker.host, self.broker.port, username=BOX, password=self.password, identifier=BOX
        ) as client:
            await client.publish(f"vigie/v1/{BOX}/telemetry", json.dumps(body), qos=1)

    def verify(self, count: int) -> list[str]:
        """Verify the signatures of all that came; gives the ids of the messages."""
        assert len(self.receiver.got) == count
        for each in self.receiver.got:
            Webhook(self.secret).verify(each.body, each.headers)
        return [each.headers["webhook-id"] for each in self.receiver.got]


@pytest.fixture
async def street(
    tenant: Tenant, site_id: str, mosquitto: PrivateMosquitto, database_url: str
) -> AsyncIterator[Street]:
    made = await tenant.client.post("/v1/boxes", json={"id": BOX, "site_id": site_id, "interval_s": 60})
    password = made.raise_for_status().json()["credentials"]["password"]
    owner = await asyncpg.connect(database_url)
    await store(owner, BOX, [10, *[30] * 60, 10], start=datetime.now(UTC) - timedelta(hours=3))
    await owner.close()
    fails = asyncio.Event()

    async def answer(request: web.Request) -> web.Response:
        if fails.is_set():
            return web.Response(status=204)
        await fails.wait()
        return web.Response(status=500, text=f"{request.path} is broken")

    async with receiving(answer) as receiver:
        hook = {"url": receiver.url, "events": ["alert.firing"], "description": "Traffic desk"}
        endpoint = (await tenant.client.post("/v1/webhooks", json=hook)).raise_for_status().json()
        yield Street(site_id, password, endpoint["secret"], mosquitto, receiver, fails)


@pytest.fixture
async def url(street: Street, database: Database, tmp_path: Path) -> AsyncIterator[str]:
    """The whole of Vigie; one attempt is all that a delivery gets."""
    assert street.receiver.got == []
    async with AsyncExitStack() as stack:
        await stack.enter_async_context(role("maintain", tmp_path))
        await stack.enter_async_context(role("deliver", tmp_path, VIGIE_WEBHOOKS__SCHEDULE_S="[0]"))
        await stack.enter_async_context(consuming(database, tmp_path))
        yield await stack.enter_async_context(serving(tmp_path))
    assert "maintenance_failed" not in (tmp_path / "maintain.log").read_text()


async def follow(page: Page, link: str) -> None:
    """Follow a link of the menu, which phones open first, until the page and its scripts are there."""
    # The menu's button does nothing until the page that shows it has its script.
    await page.wait_for_load_state()
    if await page.is_visible("[data-menu]"):
        await page.click("[data-menu]")
    await page.click(f'#menu a[href="{link}"]')
    await page.wait_for_url(f"**{link}")


async def sign_in(watched: WatchedPage, person: SignedInPerson, language: str) -> None:
    await watched.go(f"/console/sign-in?lang={language}")
    await watched.page.fill("[name=email]", person.email)
    await watched.page.fill("[name=password]", PASSWORD)
    await watched.page.press("[name=password]", "Enter")
    await watched.page.wait_for_url("**/console")


async def build_rule(page: Page, site: str, language: str) -> None:
    """Build a rule as a sentence, try it on the past, and save it."""
    in_words, fired = WORDS[language]
    await follow(page, "/console/rules")
    await page.select_option("#site", site)
    await page.wait_for_url(f"**/console/rules?*site={site}*")
    await page.click(f'a[href="/console/rules/new?site={site}"]')
    await page.wait_for_url("**/rules/new?*")
    await page.select_option("#value-metric", "pm2_5")
    await page.fill("#value-threshold_1", "25")
    await page.fill("#value-clear_1", "20")
    await page.fill("#value-for_1", "0")
    await page.fill("#c-name", "Fine particles")
    await page.fill("#c-description", ADVICE)
    await wait_until_true(
        page, "text => document.querySelector('[data-sentence]').textContent.includes(text)", in_words
    )
    await page.click("[data-try]")
    line = await page.inner_text("#backtest .figure-line")
    assert fired in line.replace("\u00a0", " ")
    await page.click("button[value=save]")
    await page.wait_for_selector(".notice.good")
    assert in_words in await page.inner_text(".rule-sentence")


async def follow_alert(page: Page, street: Street) -> str:
    """Have the box publish, and wait for the alert on the first page; gives the path of its own page."""
    async with page.expect_response("**/console/live"):
        await follow(page, "/console")
    await page.wait_for_selector("#firing .empty")
    await page.evaluate("window.stayed = true")
    await street.publish(41.5)
    await page.wait_for_selector("#firing a.row")
    assert await page.evaluate("window.stayed")
    assert await page.evaluate(_FITS), "a counter's name is wider than the counter"
    path = await page.get_attribute("#firing a.row", "href")
    assert path is not None
    await page.click("#firing a.row")
    await page.wait_for_url(f"**{path}")
    assert ADVICE in await page.inner_text("main")
    return path


async def repeat_delivery(page: Page, street: Street) -> None:
    """See the receiver fail, and send it again."""
    await page.wait_for_selector("#deliveries .chip.attention")
    # Each page reads itself once soon after it was opened: what comes later is told by nothing but this wait.
    await page.wait_for_event("response", lambda answer: answer.url == page.url)
    street.fails.set()
    await page.wait_for_selector("#deliveries .chip.bad")
    assert "500" in await page.inner_text("#deliveries")
    await page.click("#deliveries a")
    await page.wait_for_selector("#attempt-1 .chip.bad")
    await page.click('form[action$="/replay"] button')
    await page.wait_for_selector("#attempt-2 .chip.good")
    assert len(set(street.verify(2))) == 1
    await page.click('#facts a[href^="/console/alerts/"]')


async def acknowledge(page: Page, other: SignedInPage, path: str) -> None:
    """Acknowledge an alert that another person looks at, and wait until they see it."""
    async with other.page.expect_response("**/console/live"):
        await other.visit(path)
    await other.page.wait_for_selector("#alert-state .chip.attention")
    seen = asyncio.create_task(other.page.wait_for_selector("#alert-state .chip.good >> text=Ada"))
    await page.click(f'form[action="{path}/acknowledge"] button')
    await seen


@pytest.mark.parametrize(("language", "options"), DESK_AND_PHONE)
async def test_a_rule_is_built_fires_is_delivered_and_replayed(
    *,
    url: str,
    street: Street,
    browser: Browser,
    folk: OrganisationPeople,
    language: str,
    options: dict[str, Any],
) -> None:
    ada, grace = await folk.join("Ada", "operator"), await folk.join("Grace", "operator")
    await ada.client.patch("/v1/me", json={"locale": language})
    async with (
        looking(browser, url, **{**DESK, **options}) as watched,
        open_signed_in_page(browser, url, grace) as other,
    ):
        page = watched.page
        await sign_in(watched, ada, language)
        assert await page.get_attribute("html", "lang") == language
        await build_rule(page, street.site, language)
        path = await follow_alert(page, street)
        await repeat_delivery(page, street)
        await acknowledge(page, other, path)
        assert await watched.grave() == []
        watched.check()
