"""The pages behind links: of an invitation and of a new password, with and without scripts."""

import re
from html import unescape

import asyncpg
import httpx
import pytest
from fastapi import FastAPI

from app.settings import VigieSettings
from tests.conftest import Tenant, client_of, new_application, running
from tests.integration.notifications.streams import serving
from tests.integration.people.factors import enrol_totp
from tests.integration.people.folk import PASSWORD, OrganisationPeople
from tests.integration.public_register.browsing import chromium, looking

OTHER = "cinq canards dans la brume"


def heading(page: httpx.Response) -> str:
    (found,) = re.findall(r"<h1>(.*?)</h1>", page.text)
    return unescape(found)


async def open_link(client: httpx.AsyncClient, token: str, language: str = "en") -> httpx.Response:
    return await client.post("/welcome", data={"token": token}, headers={"Accept-Language": language})


async def accept(client: httpx.AsyncClient, token: str, **fields: str) -> httpx.Response:
    return await client.post("/welcome/accept", data={"token": token, **fields})


async def test_an_invitation_says_who_invites_to_what(
    folk: OrganisationPeople, anybody: httpx.AsyncClient
) -> None:
    token = await folk.invite("ada@example.com", "operator")
    page = await open_link(anybody, token)
    assert page.status_code == 200
    assert heading(page).endswith(" invites you")
    for said in (
        "bootstrap",
        "Operator: works with sites",
        "ada@example.com",
        "all sites of the organisation",
    ):
        assert said in page.text
    assert page.headers["cache-control"] == "no-store"
    assert page.headers["referrer-policy"] == "no-referrer"
    policy = page.headers["content-security-policy"]
    assert "unsafe-inline" not in policy
    assert "form-action 'self'" in policy
    french = await open_link(anybody, token, "fr")
    assert heading(french).endswith(" vous invite")
    assert "Opérateur : gère les sites" in unescape(french.text).replace("\xa0", " ").replace("\u202f", " ")


async def test_the_whole_link_may_be_pasted(folk: OrganisationPeople, anybody: httpx.AsyncClient) -> None:
    token = await folk.invite("ada@example.com", "viewer")
    entry = await anybody.get("/welcome")
    assert (entry.status_code, heading(entry)) == (200, "Use your link")
    pasted = await open_link(anybody, f"  https://vigie.example.com/welcome#{token} ")
    assert heading(pasted).endswith(" invites you")


async def test_of_some_sites_their_names_are_said(
    folk: OrganisationPeople, tenant: Tenant, site_id: str, anybody: httpx.AsyncClient
) -> None:
    name = (await tenant.client.get(f"/v1/sites/{site_id}")).json()["name"]
    token = await folk.invite("ada@example.com", "viewer", site_ids=[site_id])
    page = await open_link(anybody, token)
    assert f"<dd>{name}</dd>" in unescape(page.text)
    assert "all sites" not in page.text


async def test_accepting_signs_in_and_says_what_to_do_next(
    folk: OrganisationPeople, tenant: Tenant, anybody: httpx.AsyncClient
) -> None:
    token = await folk.invite("ada@example.com", "viewer")
    page = await accept(anybody, token, name="Ada Lovelace", password=PASSWORD)
    assert page.status_code == 201
    assert heading(page).startswith("You are a member of ")
    (session,) = re.findall(r'<pre id="session">(vgs_\w+)</pre>', page.text)
    me = (await (await folk.client(session)).get("/v1/me")).json()
    assert (me["name"], me["organisation"]["id"]) == ("Ada Lovelace", tenant.id)
    assert "/v1/sessions" in page.text
    assert 'href="/docs"' in page.text
    assert PASSWORD not in page.text
    # The link has had its use.
    again = await open_link(anybody, token)
    assert (again.status_code, heading(again)) == (410, "This invitation was accepted already")
    assert (await accept(anybody, token, name="Eve", password=OTHER)).status_code == 410


async def test_what_is_wrong_is_said_beside_the_form(
    folk: OrganisationPeople, anybody: httpx.AsyncClient
) -> None:
    token = await folk.invite("ada@example.com", "viewer")
    for fields, said in (
        ({"name": "Ada", "password": "short"}, "too short"),
        ({"name": "Ada", "password": "password1234"}, "too common"),
        ({"name": "", "password": PASSWORD}, "Enter your name and a password"),
        ({"name": "x" * 201, "password": PASSWORD}, "A field is not accepted"),
    ):
        page = await accept(anybody, token, **fields)
        assert page.status_code == 422
        assert said in page.text
        assert heading(page).endswith(" invites you")
        assert PASSWORD not in page.text
    kept = await accept(anybody, token, name="Ada <Lovelace>", password="short")
    assert 'value="Ada &lt;Lovelace&gt;"' in kept.text


async def test_an_account_is_taken_along(
    folk: OrganisationPeople, other_tenant: Tenant, anybody: httpx.AsyncClient
) -> None:
    ada = await folk.join("Ada", "viewer")
    token = await folk.invite(ada.email, "viewer", other_tenant.id)
    # Whoever gives its password as a new one is told where that account goes.
    taken = await accept(anybody, token, name="Ada", password=PASSWORD)
    assert taken.status_code == 409
    assert "<details open>" in taken.text
    wrong = await accept(anybody, token, current_password="not that one at all", password=OTHER)
    assert (wrong.status_code, "no account with this address" in wrong.text) == (401, True)
    assert (await accept(anybody, token, current_password=PASSWORD, password=OTHER)).status_code == 201


async def test_an_account_with_a_second_factor_accepts_with_its_code(
    folk: OrganisationPeople, anybody: httpx.AsyncClient, other_tenant: Tenant
) -> None:
    ada = await folk.join("Ada", "viewer")
    app = await enrol_totp(ada)
    token = await folk.invite(ada.email, "viewer", other_tenant.id)
    given = {"current_password": PASSWORD, "password": OTHER}
    asked = await accept(anybody, token, **given)
    assert (asked.status_code, 'name="factor_code"' in asked.text) == (422, True)
    wrong = await accept(anybody, token, **given, factor_code="000 000")
    assert (wrong.status_code, 'name="factor_code"' in wrong.text) == (401, True)
    code = app.next_code()
    assert (await accept(anybody, token, **given, factor_code=f"{code[:3]} {code[3:]}")).status_code == 201


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ("expires_at = now() - interval '1 minute'", "This invitation has expired"),
        ("revoked_at = now()", "This invitation was withdrawn"),
    ],
)
async def test_an_invitation_that_has_ended(
    folk: OrganisationPeople, anybody: httpx.AsyncClient, database_url: str, change: str, said: str
) -> None:
    token = await folk.invite("ada@example.com", "viewer")
    connection = await asyncpg.connect(database_url)
    await connection.execute(f"UPDATE invitations SET {change}")  # noqa: S608 (of this file)
    await connection.close()
    page = await open_link(anybody, token)
    assert (page.status_code, heading(page)) == (410, said)


@pytest.mark.parametrize("token", ["", "vgi_nothing", "vgr_nothing", "x" * 1000, "<script>alert(1)</script>"])
async def test_a_link_that_never_was_one(anybody: httpx.AsyncClient, token: str) -> None:
    page = await open_link(anybody, token)
    assert (page.status_code, heading(page)) == (404, "This link is not valid")
    assert "alert(1)" not in page.text


async def test_a_form_of_another_sites_page_is_refused(
    folk: OrganisationPeople, anybody: httpx.AsyncClient
) -> None:
    token = await folk.invite("ada@example.com", "viewer")
    for path in ("/welcome", "/welcome/accept", "/welcome/password", "/welcome/provider"):
        page = await anybody.post(
            path,
            data={"token": token, "name": "Ada", "password": PASSWORD},
            headers={"Sec-Fetch-Site": "cross-site"},
        )
        assert (page.status_code, "Another site" in page.text) == (403, True), path
    assert (await open_link(anybody, token)).status_code == 200


async def test_names_are_text(
    api: httpx.AsyncClient, folk: OrganisationPeople, anybody: httpx.AsyncClient
) -> None:
    name = "<img src=x onerror=alert(1)> {organisation}"
    organisation = (await api.post("/v1/organisations", json={"name": name})).json()["id"]
    page = await open_link(anybody, await folk.invite("ada@example.com", "owner", organisation))
    assert heading(page) == f"{name} invites you"
    assert "<img" not in page.text


async def test_a_new_password(folk: OrganisationPeople, tenant: Tenant, anybody: httpx.AsyncClient) -> None:
    ada = await folk.join("Ada", "viewer")
    made = await tenant.client.post(f"/v1/members/{ada.member_id}/password-reset")
    token = made.json()["token"]
    page = await open_link(anybody, token)
    assert (page.status_code, heading(page)) == (200, "Choose a new password")
    assert ada.email in page.text
    refused = await anybody.post("/welcome/password", data={"token": token, "password": "short"})
    assert (refused.status_code, "too short" in refused.text) == (422, True)
    done = await anybody.post("/welcome/password", data={"token": token, "password": OTHER})
    assert (done.status_code, heading(done)) == (200, "The password is set")
    body = {"email": ada.email, "password": OTHER}
    assert (await anybody.post("/v1/sessions", json=body)).status_code == 201
    assert (await open_link(anybody, token)).status_code == 404
    assert (
        await anybody.post("/welcome/password", data={"token": token, "password": OTHER})
    ).status_code == 404


async def test_behind_a_path_of_a_proxy_all_leads_there(
    settings: VigieSettings, folk: OrganisationPeople
) -> None:
    token = await folk.invite("ada@example.com", "viewer")
    api = settings.api.model_copy(update={"public_url": "https://city.example.com/vigie/"})
    proxied = new_application(settings.model_copy(update={"api": api}))
    async with running(proxied) as app, client_of(app, None) as anybody:
        page = await open_link(anybody, token)
        paths = re.findall(r'(?:href|src|action)="(/[^"]*)"', page.text)
        assert paths
        assert [path for path in paths if not path.startswith("/vigie/")] == []
        # The guides' links are relative to their folder, so only its address has the path.
        guide = await anybody.get("/docs/guides/alerts")
        assert re.findall(r'(?:href|src|action)="(/[^"]*)"', guide.text) == []
        assert (await anybody.get("/docs/guides")).headers["location"] == "/vigie/docs/guides/index"


@pytest.mark.parametrize("scripts", [True, False])
async def test_in_a_browser(application: FastAPI, folk: OrganisationPeople, scripts: bool) -> None:  # noqa: FBT001 (of the test)
    token = await folk.invite("ada@example.com", "viewer")
    async with chromium() as browser, serving(application) as base:
        size = {"width": 360, "height": 740}
        async with looking(
            browser, base, viewport=size, locale="fr-FR", java_script_enabled=scripts
        ) as watched:
            page = watched.page
            await page.goto(f"{base}/welcome#{token}")
            if not scripts:
                await page.fill("#link", f"{base}/welcome#{token}")
                await page.click("#enter button")
            await page.wait_for_selector("#new-password")
            assert token not in page.url
            if scripts:
                assert await watched.grave() == []
                assert await page.evaluate("document.documentElement.scrollWidth <= innerWidth")
            await page.click("text=English")
            await page.wait_for_selector("text=Accept with a new account")
            await page.fill("#name", "Ada Lovelace")
            await page.fill("#new-password", PASSWORD)
            await page.click("section button")
            await page.wait_for_selector("#session")
            assert await page.locator("h1", has_text="You are a member of").count() == 1
            if scripts:
                assert await watched.grave() == []
            watched.check()
