"""The portal of a webhook's developers: the way in, what it shows, and what it does not."""

import re

import httpx
import pytest
from structlog.testing import capture_logs

from tests.conftest import Tenant
from tests.integration.console.conftest import OpenPage
from tests.integration.console.test_delivery import dispatcher, make_hook, receiver, settings, wait_for
from tests.integration.console.visiting import PHONE, ConsoleClient, check_page_headers, read_done
from tests.integration.notifications.receivers import Receiver
from tests.integration.people.folk import SignedInPerson

__all__ = ["dispatcher", "receiver", "settings"]

OWN = {"Sec-Fetch-Site": "same-origin"}


@pytest.fixture
async def hook(owner_person: SignedInPerson, receiver: Receiver) -> str:
    return await make_hook(owner_person.client, receiver.url)


async def make_link(console: ConsoleClient, hook: str, name: str = "Cityworks") -> str:
    """Create a link on the endpoint's page; gives its address."""
    given = {"name": name, "lifetime": "P7D"}
    made = await console.send(f"/console/delivery/{hook}/portal-links", given, status=201)
    found = re.search(r'id="new-link">([^<]+)<', made.text)
    assert found is not None
    return found[1]


@pytest.mark.usefixtures("dispatcher")
async def test_developers_see_their_deliveries_without_an_account(
    console: ConsoleClient, visitor: httpx.AsyncClient, tenant: Tenant, receiver: Receiver
) -> None:
    hook = await make_hook(tenant.client, receiver.url, description="<b>Desk</b>")
    other = await make_hook(tenant.client, receiver.url)
    for each in (hook, other):
        await console.send(f"/console/delivery/{each}/test")
    mine = await wait_for(tenant.client, f"/v1/webhooks/{hook}/deliveries", state="delivered")
    theirs = await wait_for(tenant.client, f"/v1/webhooks/{other}/deliveries", state="delivered")
    url = await make_link(console, hook)
    entry = await visitor.get("/console/portal")
    check_page_headers(entry)
    answer = await visitor.post("/console/portal", data={"token": url}, headers=OWN)
    assert (answer.status_code, answer.headers["location"]) == (303, "/console/portal/webhook")
    assert {"HttpOnly", "SameSite=lax"} <= set(answer.headers["set-cookie"].split("; "))
    page = await visitor.get("/console/portal/webhook")
    check_page_headers(page)
    assert mine["id"] in page.text
    assert theirs["id"] not in page.text
    assert "<b>Desk" not in page.text
    assert "Send a test event" not in page.text
    detail = await visitor.get(f"/console/portal/deliveries/{mine['id']}")
    assert "x-trace: t-1" in detail.text
    assert receiver.got[0].headers["webhook-signature"] not in detail.text
    assert (await visitor.get(f"/console/portal/deliveries/{theirs['id']}")).status_code == 404
    # The cookie opens nothing else.
    for path in ("/console/delivery", f"/console/delivery/{hook}"):
        assert (await visitor.get(path)).status_code == 303
    left = await visitor.post("/console/portal/leave", headers=OWN)
    assert left.headers["location"] == "/console/portal"
    assert (await visitor.get("/console/portal/webhook")).headers["location"] == "/console/portal"


async def test_a_link_that_ended_opens_nothing(
    console: ConsoleClient, visitor: httpx.AsyncClient, tenant: Tenant, receiver: Receiver
) -> None:
    hook = await make_hook(tenant.client, receiver.url)
    url = await make_link(console, hook)
    await visitor.post("/console/portal", data={"token": url}, headers=OWN)
    (link,) = (await tenant.client.get(f"/v1/webhooks/{hook}/portal-links")).json()["data"]
    answer = await console.send(f"/console/delivery/{hook}/portal-links/{link['id']}/delete")
    assert read_done(answer) == "deleted"
    assert (await visitor.get("/console/portal/webhook")).headers["location"] == "/console/portal"
    for token in (url, "", "nonsense", "vgl_<script>"):
        answer = await visitor.post("/console/portal", data={"token": token}, headers=OWN)
        assert answer.status_code == 401
        assert "Ask whoever sent it for another one." in answer.text
        assert "<script>" not in answer.text.replace("<script src=", "")
    foreign = await visitor.post(
        "/console/portal", data={"token": url}, headers={"Sec-Fetch-Site": "cross-site"}
    )
    assert foreign.status_code == 403
    refused = await console.send(f"/console/delivery/{hook}/portal-links", {"name": ""}, status=422)
    assert 'aria-invalid="true"' in refused.text


@pytest.mark.usefixtures("dispatcher")
@pytest.mark.parametrize("language", ["en", "fr"])
async def test_a_link_opens_in_a_browser_and_its_token_is_in_no_log(
    open_page: OpenPage,
    owner_person: SignedInPerson,
    console: ConsoleClient,
    hook: str,
    language: str,
) -> None:
    await console.send(f"/console/delivery/{hook}/test")
    await wait_for(owner_person.client, f"/v1/webhooks/{hook}/deliveries", state="delivered")
    token = (await make_link(console, hook)).partition("#")[2]
    referers: list[str] = []
    with capture_logs() as logs:
        signed_in = await open_page(owner_person, **(PHONE if language == "fr" else {}))
        page = signed_in.page
        page.on("request", lambda request: referers.append(request.headers.get("referer", "")))
        await page.context.clear_cookies()
        await page.goto(f"{signed_in.base}/console/portal?lang={language}#{token}")
        await page.wait_for_url("**/console/portal/webhook")
        assert await page.get_attribute("html", "lang") == language
        assert await signed_in.grave() == []
        await page.click("table a.row")
        await page.wait_for_selector(".attempt pre")
        assert await signed_in.grave() == []
        assert await page.evaluate("document.documentElement.scrollWidth <= innerWidth + 1")
    assert token not in str(logs)
    assert referers
    assert token not in " ".join(referers)
