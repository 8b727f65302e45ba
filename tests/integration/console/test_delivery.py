"""Delivery in the console: endpoints, their log, test events, secrets and replays."""

import asyncio
import os
import re
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
from aiohttp import web

from app.console.delivery.verification_snippets import load_snippets
from app.notifications.http.webhook_signatures import sign_message
from app.platform.db.database import Database
from app.settings import VigieSettings
from tests.conftest import Tenant
from tests.integration.console.conftest import OpenPage
from tests.integration.console.visiting import PHONE, ConsoleClient, read_done, read_field
from tests.integration.notifications.helpers import dispatching, with_webhooks
from tests.integration.notifications.receivers import Receiver, receiving
from tests.integration.people.folk import OrganisationPeople, SignedInPerson

EVIL = '"><img src=x onerror=alert(1)><script>alert(1)</script>'


@pytest.fixture
def settings(settings: VigieSettings) -> VigieSettings:
    return with_webhooks(settings, schedule_s=[0, 3600])


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    """Accepts everything, except below `/broken`."""

    async def answer(request: web.Request) -> web.Response:
        broken = request.path.startswith("/broken")
        return web.Response(
            status=503 if broken else 200, text=EVIL if broken else '{"ok": true}', headers={"X-Trace": "t-1"}
        )

    async with receiving(answer) as made:
        yield made


@pytest.fixture
async def dispatcher(settings: VigieSettings, database: Database) -> AsyncIterator[None]:
    async with dispatching(settings, database):
        yield


async def make_hook(client: httpx.AsyncClient, url: str, **more: Any) -> str:  # noqa: ANN401 (fields of a body)
    answer = await client.post("/v1/webhooks", json={"url": url, **more})
    identifier: str = answer.raise_for_status().json()["id"]
    return identifier


async def wait_for(client: httpx.AsyncClient, path: str, **wanted: object) -> dict[str, Any]:
    """The first entry of a list as soon as it has these values."""
    async with asyncio.timeout(60):
        while True:
            rows = (await client.get(path)).raise_for_status().json()["data"]
            if rows and all(rows[0][name] == value for name, value in wanted.items()):
                found: dict[str, Any] = rows[0]
                return found
            await asyncio.sleep(0.05)


@pytest.mark.usefixtures("dispatcher")
async def test_endpoints_are_listed_with_failing_ones_first(
    console: ConsoleClient, tenant: Tenant, receiver: Receiver
) -> None:
    assert "Nobody is notified yet" in await console.read("/console/delivery")
    sound = await make_hook(tenant.client, receiver.url, description="Sound")
    broken = await make_hook(tenant.client, receiver.url.replace("/hook", "/broken"), description=EVIL)
    off = await make_hook(tenant.client, receiver.url, description="Off", enabled=False)
    for each in (sound, broken):
        await console.send(f"/console/delivery/{each}/test")
    await wait_for(tenant.client, f"/v1/webhooks/{sound}/deliveries", state="delivered")
    await wait_for(tenant.client, f"/v1/webhooks/{broken}/deliveries", attempt_total=1)
    page = await console.read("/console/delivery")
    places = [page.index(f"/console/delivery/{each}") for each in (broken, sound, off)]
    assert places == sorted(places)
    assert "Failing" in page
    assert "503" in page
    assert "<img src=x" not in page
    page = await console.read(f"/console/delivery/{broken}?window=P7D")
    assert "Of the newest attempts, 1 of 1 failed." in page
    assert "It answered with an error." in page
    assert "<img src=x" not in page


@pytest.mark.usefixtures("dispatcher")
async def test_an_attempt_shows_request_and_answer_and_can_be_repeated(
    console: ConsoleClient, tenant: Tenant, receiver: Receiver
) -> None:
    hook = await make_hook(
        tenant.client, receiver.url.replace("/hook", "/broken"), headers={"X-Team": "night-shift-secret"}
    )
    answer = await console.send(f"/console/delivery/{hook}/test")
    assert "?test=" in answer.headers["location"]
    delivery = await wait_for(tenant.client, f"/v1/webhooks/{hook}/deliveries", attempt_total=1)
    result = await console.read(answer.headers["location"])
    assert "The test event failed and will be tried again." in result
    page = await console.read(f"/console/delivery/deliveries/{delivery['id']}")
    sent = receiver.got[0].headers
    for shown in (f"webhook-id: {sent['webhook-id']}", f"webhook-timestamp: {sent['webhook-timestamp']}"):
        assert shown in page
    assert "x-team: …" in page
    assert "night-shift-secret" not in page
    assert sent["webhook-signature"] not in page
    assert "&lt;img src=x onerror" in page
    assert "<img src=x" not in page
    again = f"/console/delivery/deliveries/{delivery['id']}"
    answer = await console.send(f"{again}/replay", {"_page": again})
    assert answer.headers["location"] == f"{again}?done=delivery_replayed"
    await wait_for(tenant.client, f"/v1/webhooks/{hook}/deliveries", attempt_total=2)
    assert "Attempt 2" in await console.read(again)


@pytest.mark.usefixtures("dispatcher")
async def test_the_log_is_filtered(console: ConsoleClient, tenant: Tenant, receiver: Receiver) -> None:
    assert "Nothing was sent yet" in await console.read("/console/delivery/log")
    hook = await make_hook(tenant.client, receiver.url)
    await console.send(f"/console/delivery/{hook}/test")
    row = await wait_for(tenant.client, f"/v1/webhooks/{hook}/deliveries", state="delivered")
    assert row["id"] in await console.read(
        f"/console/delivery/log?state=delivered&endpoint={hook}&period=day"
    )
    assert row["id"] in await console.read("/console/delivery/log?type=webhook.test")
    assert "No delivery matches" in await console.read("/console/delivery/log?state=failed")


async def test_a_webhook_is_created_changed_and_deleted(
    console: ConsoleClient, tenant: Tenant, receiver: Receiver, site_id: str
) -> None:
    given = {
        "url": receiver.url,
        "description": "Desk",
        "events": ["alert.firing", "alert.resolved"],
        "format": "cloudevents",
        "reach": "sites",
        "site_ids": [site_id],
        "group_by": ["site", "rule"],
        "group_wait": "20",
        "group_interval": "5",
        "headers": "X-Team: night",
    }
    made = await console.send("/console/delivery/new/webhook", given, status=201)
    secret = re.search(r"whsec_[A-Za-z0-9+/=]+", made.text)
    assert secret is not None
    (stored,) = (await tenant.client.get("/v1/webhooks")).json()["data"]
    assert stored["events"] == ["alert.firing", "alert.resolved"]
    assert stored["grouping"] == {"by": ["site", "rule"], "wait": "PT20S", "interval": "PT5M"}
    assert stored["site_ids"] == [site_id]
    path = f"/console/delivery/{stored['id']}"
    assert secret[0] not in await console.read(path)
    form = await console.read(f"{path}/settings")
    assert re.search(rf'name="site_ids" value="{site_id}" checked', form)
    changed = {**given, "events": [], "all_events": "yes", "description": "", "headers": ""}
    assert read_done(await console.send(f"{path}/settings", changed)) == "saved"
    after = (await tenant.client.get(f"/v1/webhooks/{stored['id']}")).json()
    assert (after["events"], after["description"], after["headers"]) == (["*"], None, {"X-Team": "…"})
    for enabled in (False, True):
        await console.send(f"{path}/enabled", {"enabled": str(enabled).lower()})
        assert (await tenant.client.get(f"/v1/webhooks/{stored['id']}")).json()["enabled"] is enabled
    await console.send(f"{path}/delete")
    await console.read(path, 404)


async def test_a_form_that_is_sent_again_makes_no_second_recipient_or_secret(
    console: ConsoleClient, tenant: Tenant, receiver: Receiver
) -> None:
    once = read_field(await console.read("/console/delivery/new/webhook"), "_once")
    given = {"_once": once, "url": receiver.url, "events": ["alert.firing"]}
    made = [await console.send("/console/delivery/new/webhook", given, 201) for _ in range(2)]
    assert _read_secret(made[0].text) == _read_secret(made[1].text)
    (hook,) = (await tenant.client.get("/v1/webhooks")).json()["data"]
    path = f"/console/delivery/{hook['id']}"
    once = read_field(await console.read(path), "_once")
    made = [await console.send(f"{path}/secret", {"_once": once, "overlap": "P1D"}, 200) for _ in range(2)]
    assert _read_secret(made[0].text) == _read_secret(made[1].text)
    link = {"_once": once, "name": "Developers", "lifetime": "P7D"}
    for _ in range(2):
        await console.send(f"{path}/portal-links", link, 201)
    links = (await tenant.client.get(f"/v1/webhooks/{hook['id']}/portal-links")).json()["data"]
    assert len(links) == 1


def _read_secret(page: str) -> str:
    found = re.search(r"whsec_[A-Za-z0-9+/=]+", page)
    assert found is not None
    return found[0]


async def test_a_deleted_site_does_not_make_a_recipient_one_of_all_sites(
    console: ConsoleClient, tenant: Tenant, receiver: Receiver, site_id: str
) -> None:
    hook = await make_hook(tenant.client, receiver.url, events=["alert.firing"], site_ids=[site_id])
    (await tenant.client.delete(f"/v1/sites/{site_id}")).raise_for_status()
    path = f"/console/delivery/{hook}/settings"
    form = await console.read(path)
    assert re.search(rf'name="site_ids" value="{site_id}" checked> deleted site', form)
    assert re.search(r'name="reach" value="sites"[^>]* checked', form)
    given = {"url": receiver.url, "events": ["alert.firing"], "reach": "sites"}
    refused = await console.send(path, given, 422)
    assert re.search(r'name="reach" value="sites"[^>]* checked[^>]* aria-invalid="true"', refused.text)
    assert "Tick at least one site" in refused.text
    assert (
        read_done(await console.send(path, {**given, "site_ids": [site_id], "description": "Desk"}))
        == "saved"
    )
    stored = (await tenant.client.get(f"/v1/webhooks/{hook}")).json()
    assert (stored["site_ids"], stored["description"]) == ([site_id], "Desk")
    assert read_done(await console.send(path, {**given, "reach": "all"})) == "saved"
    assert (await tenant.client.get(f"/v1/webhooks/{hook}")).json()["site_ids"] is None
    # No other one that does not exist.
    await console.send(path, {**given, "site_ids": [site_id]}, 404)


async def test_a_refused_form_keeps_what_was_typed(console: ConsoleClient, tenant: Tenant) -> None:
    given = {
        "url": "ftp://example.com",
        "description": EVIL,
        "events": ["alert.firing"],
        "rate_per_s": "fast",
    }
    answer = await console.send("/console/delivery/new/webhook", given, status=422)
    assert 'value="ftp://example.com"' in answer.text
    assert 'aria-invalid="true"' in answer.text
    assert 'value="fast"' in answer.text
    assert 'value="alert.firing" checked' in answer.text
    assert 'value="alert.resolved" checked' not in answer.text
    assert "<img src=x" not in answer.text
    none = {"url": "https://example.com/", "events": []}
    assert (await console.send("/console/delivery/new/webhook", none, status=422)).status_code == 422
    assert (await tenant.client.get("/v1/webhooks")).json()["data"] == []
    await console.read("/console/delivery/new/pigeon", 404)
    await console.send("/console/delivery/new/pigeon", given, status=404)


@pytest.mark.parametrize(
    ("kind", "given"),
    [
        ("slack", {"secret_url": "https://hooks.slack.com/services/T0/B0/s3cr3t"}),
        ("ntfy", {"url": "https://ntfy.sh", "topic": "ville", "token": "tk_s3cr3t"}),
        ("pagerduty", {"routing_key": "a1b2c3d4e5f60718293a4b5c6d7e8f90"}),
        ("alertmanager", {"url": "https://alerts.example.com", "username": "v", "password": "s3cr3t"}),
    ],
)
async def test_a_channel_is_created_and_its_secret_never_shown(
    console: ConsoleClient, kind: str, given: dict[str, str]
) -> None:
    await console.read(f"/console/delivery/new/{kind}")
    events = {"events": ["alert.firing"], "language": "fr"}
    answer = await console.send(f"/console/delivery/new/{kind}", {**events, **given})
    assert read_done(answer) == "created"
    page = answer.headers["location"].partition("?")[0]
    for shown in (await console.read(page), await console.read(f"{page}/settings")):
        assert "s3cr3t" not in shown
        assert "a1b2c3d4" not in shown
    # A change without the secret retains it.
    changed = {**events, "description": "Night"}
    changed |= {name: given[name] for name in ("topic", "username") if name in given}
    assert read_done(await console.send(f"{page}/settings", changed)) == "saved"


async def test_an_mqtt_channel_shows_its_password_once(console: ConsoleClient, tenant: Tenant) -> None:
    made = await console.send("/console/delivery/new/mqtt", {"all_events": "yes"}, status=201)
    first = re.search(r'id="new-password">([^<]+)<', made.text)
    assert first is not None
    (channel,) = (await tenant.client.get("/v1/channels")).json()["data"]
    path = f"/console/delivery/{channel['id']}"
    assert first[1] not in await console.read(path)
    rotated = await console.send(f"{path}/secret", status=200)
    second = re.search(r'id="new-password">([^<]+)<', rotated.text)
    assert second is not None
    assert second[1] != first[1]


async def test_mail_without_a_server_says_what_to_do(console: ConsoleClient) -> None:
    kinds = await console.read("/console/delivery/new")
    assert "Mail is not set up here. Ask the administrator" in kinds
    assert 'href="/console/delivery/new/email"' not in kinds
    assert "Mail is not set up here." in await console.read("/console/administration/reports/schedules")
    assert "a link to hand over yourself" in await console.read("/console/administration/members/invite")
    given = {"to": "night@example.com", "events": ["alert.firing"]}
    answer = await console.send("/console/delivery/new/email", given, status=409)
    assert 'role="alert"' in answer.text
    assert "night@example.com</textarea>" in answer.text


@pytest.mark.usefixtures("dispatcher")
async def test_a_new_secret_is_shown_once_and_signs(
    console: ConsoleClient, tenant: Tenant, receiver: Receiver
) -> None:
    hook = await make_hook(tenant.client, receiver.url)
    page = await console.send(f"/console/delivery/{hook}/secret", {"overlap": "PT0S"}, status=200)
    found = re.search(r'id="new-secret">(whsec_[^<]+)<', page.text)
    assert found is not None
    await console.send(f"/console/delivery/{hook}/test")
    (got,) = await receiver.wait(1)
    headers = got.headers
    wanted = sign_message(found[1], headers["webhook-id"], int(headers["webhook-timestamp"]), got.body)
    assert headers["webhook-signature"] == wanted
    assert found[1] not in await console.read(f"/console/delivery/{hook}")


async def test_the_shell_program_sends_what_verifies(receiver: Receiver) -> None:
    secret = "whsec_YW4gZXhhbXBsZSwgbm90IGEgc2VjcmV0"
    program = next(each.code for each in load_snippets() if each.name == "shell")
    environment = {**os.environ, "VIGIE_SECRET": secret, "URL": receiver.url}
    process = await asyncio.create_subprocess_exec(
        "sh", "-c", program, env=environment, stdout=asyncio.subprocess.DEVNULL
    )
    (got,) = await receiver.wait(1)
    assert await process.wait() == 0
    headers = got.headers
    wanted = sign_message(secret, headers["webhook-id"], int(headers["webhook-timestamp"]), got.body)
    assert headers["webhook-signature"] == wanted


@pytest.mark.usefixtures("dispatcher")
async def test_many_deliveries_are_sent_again(
    console: ConsoleClient, tenant: Tenant, receiver: Receiver
) -> None:
    hook = await make_hook(tenant.client, receiver.url)
    await console.send(f"/console/delivery/{hook}/test")
    await wait_for(tenant.client, f"/v1/webhooks/{hook}/deliveries", state="delivered")
    given = {"period": "day", "states": ["delivered"]}
    answer = await console.send(f"/console/delivery/{hook}/replays", given)
    assert read_done(answer) == "replay_started"
    await wait_for(tenant.client, f"/v1/webhooks/{hook}/deliveries", attempt_total=2)
    assert "1 delivery" in await console.read(f"/console/delivery/{hook}")
    none = await console.send(f"/console/delivery/{hook}/replays", {"period": "day"}, status=422)
    assert 'role="alert"' in none.text


async def test_a_viewer_reads_and_others_find_nothing(
    application: Any,  # noqa: ANN401 (an ASGI application)
    tenant: Tenant,
    folk: OrganisationPeople,
    other_tenant: Tenant,
    receiver: Receiver,
) -> None:
    hook = await make_hook(tenant.client, receiver.url)
    viewer = await folk.join("Vera", "viewer")
    stranger = await folk.join("Eve", "owner", other_tenant.id)
    transport = httpx.ASGITransport(application)
    for person, status in ((viewer, 200), (stranger, 404)):
        cookies = {"vigie_session": person.token}
        async with httpx.AsyncClient(
            transport=transport, base_url="http://vigie.test", cookies=cookies
        ) as http:
            reader = ConsoleClient(http)
            page = await reader.read(f"/console/delivery/{hook}", status)
            assert "Send a test event" not in page
            assert f"/console/delivery/{hook}/settings" not in page
            for action in ("test", "delete", "secret"):
                refused = 403 if status == 200 else 404
                await reader.send(f"/console/delivery/{hook}/{action}", status=refused)


@pytest.mark.parametrize("language", ["en", "fr"])
@pytest.mark.usefixtures("dispatcher")
async def test_an_operator_tests_an_endpoint_and_sees_the_result(
    open_page: OpenPage, owner_person: SignedInPerson, receiver: Receiver, language: str
) -> None:
    await owner_person.client.patch("/v1/me", json={"locale": language})
    hook = await make_hook(owner_person.client, receiver.url, description="Desk")
    signed_in = await open_page(owner_person, color_scheme="dark" if language == "fr" else "light")
    page = signed_in.page
    await signed_in.visit("/console/delivery")
    await page.keyboard.press("j")
    await page.keyboard.press("Enter")
    await signed_in.wait_until_ready("#health")
    await page.keyboard.press("t")
    await page.wait_for_selector("#test-result .notice.good")
    assert await signed_in.grave() == []
    await page.click("#test-result a")
    await page.wait_for_selector(".attempt pre")
    assert await signed_in.grave() == []
    phone = await open_page(owner_person, **PHONE)
    for path in (f"/console/delivery/{hook}", "/console/delivery/log", "/console/delivery/new/webhook"):
        await phone.visit(path)
        assert await phone.grave() == []
        assert await phone.page.evaluate("document.documentElement.scrollWidth <= innerWidth + 1"), path
