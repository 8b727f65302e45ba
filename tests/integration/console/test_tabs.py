"""Several tabs of one browser: which organisation a form is for, streams, and what the browser stores."""

import asyncio
from collections.abc import Callable

import httpx
from fastapi import FastAPI

from app.notifications.prometheus_metrics import STREAMS_OPEN
from tests.conftest import Tenant
from tests.integration.console.conftest import OpenPage
from tests.integration.console.visiting import ConsoleClient
from tests.integration.people.folk import OrganisationPeople, SignedInPerson

HIDE = """hidden => {
    Object.defineProperty(document, "hidden", { value: hidden, configurable: true });
    document.dispatchEvent(new Event("visibilitychange"));
}"""

OPEN = "document.querySelectorAll('details').forEach(each => { each.open = true; })"


def count_streams() -> float:
    return next(iter(STREAMS_OPEN.collect())).samples[0].value


async def wait_until(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(60):
        while not holds():  # noqa: ASYNC110 (a number of the server, without an event)
            await asyncio.sleep(0.05)


async def test_a_form_of_another_organisation_changes_nothing(
    application: FastAPI, owner_person: SignedInPerson, folk: OrganisationPeople, other_tenant: Tenant
) -> None:
    # Ada has a second organisation, and two tabs.
    first = (await owner_person.client.get("/v1/me")).json()["organisation"]["id"]
    person = await folk.join("Ada", "owner", other_tenant.id)
    cookies = {"vigie_session": person.token}
    transport = httpx.ASGITransport(application)
    async with httpx.AsyncClient(transport=transport, base_url="http://vigie.test", cookies=cookies) as http:
        tab, other_tab = ConsoleClient(http), ConsoleClient(http)
        await tab.send("/console/account/profile", {"name": "Ada", "locale": "en"})
        await other_tab.send("/console/organisation", {"organisation": first})
        invitation = {"email": "grace@example.com", "role": "owner", "language": "en"}
        refused = await tab.send("/console/administration/members/invite", invitation, status=403)
        assert "foreign_form" in refused.text
        await ConsoleClient(http).send("/console/administration/members/invite", invitation, status=200)


async def test_a_tab_that_nobody_sees_holds_no_stream(
    open_page: OpenPage, owner_person: SignedInPerson
) -> None:
    signed_in = await open_page(owner_person)
    before = count_streams()
    await signed_in.visit("/console/alerts")
    await wait_until(lambda: count_streams() == before + 1)
    await signed_in.page.evaluate(HIDE, True)
    await wait_until(lambda: count_streams() == before)
    await signed_in.page.evaluate(HIDE, False)
    await wait_until(lambda: count_streams() == before + 1)


async def test_secrets_in_headers_of_a_webhook_are_not_stored_by_the_browser(
    open_page: OpenPage, owner_person: SignedInPerson
) -> None:
    signed_in = await open_page(owner_person)
    await signed_in.visit("/console/delivery/new/webhook")
    await signed_in.page.fill("[name=description]", "The traffic desk")
    await signed_in.page.evaluate(OPEN)
    await signed_in.page.fill("[name=headers]", "Authorization: Bearer s3cret")
    stored = await signed_in.page.evaluate("JSON.stringify({ ...sessionStorage })")
    assert "The traffic desk" in stored
    assert "s3cret" not in stored
