"""Sign-in to the console: cookie, session fixation, forged forms, clickjacking, expired sessions."""

import re
from typing import Any

import httpx
import pytest
from fastapi import FastAPI
from sqlalchemy import text

from app.platform.db.database import Database
from app.platform.kernel.application_resources import get_resource
from app.platform.kernel.ids import new_id
from app.platform.runtime.stored_settings import InstallationSettings
from tests.conftest import Tenant
from tests.integration.console.conftest import OpenPage
from tests.integration.console.visiting import DESK_AND_PHONE, PHONE, ConsoleClient, check_page_headers
from tests.integration.people.folk import PASSWORD, OrganisationPeople, SignedInPerson

OWN = {"Sec-Fetch-Site": "same-origin"}


async def test_without_a_sign_in_every_page_leads_to_the_form(visitor: httpx.AsyncClient) -> None:
    answer = await visitor.get("/console/alerts?state=resolved")
    assert answer.status_code == 303
    assert answer.headers["location"] == "/console/sign-in?next=/console/alerts%3Fstate%3Dresolved"
    form = await visitor.get(answer.headers["location"])
    check_page_headers(form)
    assert 'name="next" value="/console/alerts?state=resolved"' in form.text


async def test_a_sign_in_sets_a_cookie_that_scripts_cannot_read(
    visitor: httpx.AsyncClient, owner_person: SignedInPerson
) -> None:
    given = {"email": owner_person.email, "password": PASSWORD, "next": "/console/alerts"}
    answer = await visitor.post("/console/sign-in", data=given, headers=OWN)
    assert answer.status_code == 303
    assert answer.headers["location"] == "/console/alerts"
    cookie = answer.headers["set-cookie"]
    assert re.match(r"vigie_session=vgs_\w+; ", cookie)
    assert {"HttpOnly", "Path=/", "SameSite=lax"} <= set(cookie.split("; "))
    assert (await visitor.get("/console/alerts")).status_code == 200
    # A signed-in browser needs no form.
    assert (await visitor.get("/console/sign-in")).headers["location"] == "/console"


async def test_a_sign_in_replaces_a_session_that_was_planted(
    visitor: httpx.AsyncClient, folk: OrganisationPeople, owner_person: SignedInPerson
) -> None:
    planted = await folk.join("Mallory", "viewer")
    visitor.cookies.set("vigie_session", planted.token, domain="vigie.test")
    given = {"email": owner_person.email, "password": PASSWORD}
    answer = await visitor.post("/console/sign-in", data=given, headers=OWN)
    token = answer.headers["set-cookie"].split("=", 1)[1].split(";")[0]
    assert token not in {planted.token, owner_person.token}
    assert "Ada" in (await visitor.get("/console/alerts", headers={"Cookie": f"vigie_session={token}"})).text
    # It has ended: whoever planted it cannot use it either. Other sessions of both people go on.
    assert (await planted.client.get("/v1/me")).status_code == 401
    assert (await owner_person.client.get("/v1/me")).status_code == 200
    answer = await visitor.post("/console/sign-in", data=given, headers=OWN)
    assert answer.status_code == 303
    ended = await visitor.get("/v1/me", headers={"Authorization": f"Bearer {token}"})
    assert ended.status_code == 401


async def test_a_wrong_password_shows_why_and_keeps_the_address(
    visitor: httpx.AsyncClient, owner_person: SignedInPerson
) -> None:
    given = {"email": owner_person.email, "password": "wrong horse", "next": "/console/rules"}
    answer = await visitor.post("/console/sign-in", data=given, headers=OWN)
    assert answer.status_code == 401
    assert 'role="alert"' in answer.text
    assert f'value="{owner_person.email}"' in answer.text
    assert 'name="next" value="/console/rules"' in answer.text
    assert "wrong horse" not in answer.text
    assert "set-cookie" not in answer.headers


async def test_the_organisation_selects_one_of_several_accounts(
    visitor: httpx.AsyncClient,
    folk: OrganisationPeople,
    owner_person: SignedInPerson,
    other_tenant: Tenant,
) -> None:
    password = "six renards dans le jardin"
    invitation = await folk.invite(owner_person.email, "owner", other_tenant.id)
    accepted = await visitor.post(
        "/welcome/accept", data={"token": invitation, "name": "Second", "password": password}, headers=OWN
    )
    assert accepted.status_code == 201
    (link,) = re.findall(r'href="(/console/sign-in[^"]+)"', accepted.text)
    form = (await visitor.get(link)).text
    assert "<details open>" in form
    (organisation,) = re.findall(r'name="organisation_id" type="text" value="([^"]*)"', form)
    assert organisation == other_tenant.id
    assert "<details>" in (await visitor.get("/console/sign-in")).text
    given = {"email": owner_person.email, "password": password, "organisation_id": ""}
    assert (await visitor.post("/console/sign-in", data=given, headers=OWN)).status_code == 401
    wrong = await visitor.post("/console/sign-in", data=given | {"organisation_id": '"no id"'}, headers=OWN)
    assert wrong.status_code == 422
    assert 'value="&#34;no id&#34;" aria-describedby' in wrong.text
    chosen = given | {"organisation_id": organisation}
    answer = await visitor.post("/console/sign-in", data=chosen, headers=OWN)
    assert answer.status_code == 303
    assert "Second" in (await visitor.get("/console/alerts")).text


@pytest.mark.parametrize(
    "page",
    ["https://evil.example/console", "//evil.example", "/console//evil.example", "/\\evil.example", "/docs"],
)
async def test_a_sign_in_never_leads_to_another_website(
    visitor: httpx.AsyncClient, owner_person: SignedInPerson, page: str
) -> None:
    given = {"email": owner_person.email, "password": PASSWORD, "next": page}
    answer = await visitor.post("/console/sign-in", data=given, headers=OWN)
    assert answer.headers["location"] == "/console"


async def test_the_api_does_not_take_the_cookie(console: ConsoleClient) -> None:
    assert (await console.http.get("/v1/me")).status_code == 401


async def test_forms_of_other_websites_are_refused(console: ConsoleClient) -> None:
    for headers in ({"Sec-Fetch-Site": "cross-site"}, {"Sec-Fetch-Site": "same-site"}, {}):
        # Without the header of a recent browser, the token is what such a form lacks.
        answer = await console.http.post("/console/sign-out", data={"_token": "0" * 64}, headers=headers)
        assert answer.status_code == 403
        assert "foreign_form" in answer.text
    assert (await console.http.get("/console/alerts")).status_code == 200
    foreign = {"Origin": "https://evil.example"}
    answer = await console.http.post("/console/sign-in", data={"email": "a@b.example"}, headers=foreign)
    assert answer.status_code == 403


FORMS_WITHOUT_TOKEN = (
    *("/console/sign-in", "/console/sign-in/second-factor", "/console/sign-in/passkey"),
    *("/console/portal", "/console/register"),
)


@pytest.mark.parametrize(
    "headers",
    [
        # Plain http: browsers send no Sec-Fetch-Site, and a page can hide where it is from.
        {},
        {"Origin": "null"},
        {"Origin": "null", "Referer": "http://evil.example/"},
        {"Origin": "http://evil.example"},
        {"Origin": "http://vigie.test.evil.example"},
        {"Origin": "http://evil.example/vigie.test", "Referer": "http://vigie.test/console/sign-in"},
        {"Referer": "http://evil.example/vigie.test"},
        {"Referer": "http://[vigie.test"},
    ],
)
async def test_another_website_cannot_sign_a_browser_in_to_its_account(
    visitor: httpx.AsyncClient, owner_person: SignedInPerson, headers: dict[str, str]
) -> None:
    given = {"email": owner_person.email, "password": PASSWORD}
    for path in FORMS_WITHOUT_TOKEN:
        answer = await visitor.post(path, data=given, headers=headers)
        assert (answer.status_code, "foreign_form" in answer.text) == (403, True), path
        assert "set-cookie" not in answer.headers


@pytest.mark.parametrize(
    "headers",
    [{"Origin": "http://vigie.test"}, {"Referer": "http://vigie.test/console/sign-in?next=/console/rules"}],
)
async def test_an_own_form_is_recognised_without_sec_fetch_site(
    visitor: httpx.AsyncClient, owner_person: SignedInPerson, headers: dict[str, str]
) -> None:
    form = await visitor.get("/console/sign-in")
    # A second header would undo the first.
    assert form.headers.get_list("referrer-policy") == ["same-origin"]
    given = {"email": owner_person.email, "password": PASSWORD}
    assert (await visitor.post("/console/sign-in", data=given, headers=headers)).status_code == 303


async def test_a_proxy_may_send_another_host(
    visitor: httpx.AsyncClient, owner_person: SignedInPerson, application: FastAPI
) -> None:
    public = get_resource(application, InstallationSettings).base_url
    given = {"email": owner_person.email, "password": PASSWORD}
    headers = {"Origin": public, "Host": "upstream:8000"}
    answer = await visitor.post("/console/sign-in", data=given, headers=headers)
    assert answer.status_code == 303, (public, answer.text)


async def test_pages_say_when_to_try_again(
    visitor: httpx.AsyncClient, owner_person: SignedInPerson, database: Database
) -> None:
    given = {"email": owner_person.email, "password": "wrong horse"}
    assert (await visitor.post("/console/sign-in", data=given, headers=OWN)).status_code == 401
    async with database.write() as session:
        await session.execute(text("UPDATE claim_attempts SET attempts = 1000000"))
    limited = await visitor.post("/console/sign-in", data=given, headers=OWN)
    assert limited.status_code == 429
    assert 1 <= int(limited.headers["retry-after"]) <= 600


async def test_signing_out_everywhere_ends_all_sessions(
    console: ConsoleClient, anybody: httpx.AsyncClient, owner_person: SignedInPerson
) -> None:
    body = {"email": owner_person.email, "password": PASSWORD}
    other = (await anybody.post("/v1/sessions", json=body)).json()["token"]
    answer = await console.send("/console/sign-out", {"everywhere": "yes"})
    assert answer.headers["location"] == "/console/sign-in"
    assert 'vigie_session=""' in answer.headers["set-cookie"]
    for token in (other, owner_person.token):
        answer = await anybody.get("/v1/me", headers={"Authorization": f"Bearer {token}"})
        assert answer.status_code == 401


@pytest.mark.parametrize(("language", "options"), DESK_AND_PHONE)
async def test_an_expired_session_keeps_what_was_typed(
    open_page: OpenPage,
    owner_person: SignedInPerson,
    anybody: httpx.AsyncClient,
    language: str,
    options: dict[str, Any],
) -> None:
    (await owner_person.client.patch("/v1/me", json={"locale": language})).raise_for_status()
    signed_in = await open_page(owner_person, locale=language, **options)
    page = signed_in.page
    await signed_in.visit("/console/account")
    await page.fill("#f-name", "Ada, Countess")
    key = {"Authorization": f"Bearer {owner_person.token}"}
    assert (await anybody.delete("/v1/sessions/current", headers=key)).status_code == 204
    await page.click("#profile button")
    # The form was refused with 401: the page says so, and keeps what was typed.
    await page.wait_for_selector("[data-sign-in=expired]")
    assert await page.get_attribute("html", "lang") == language
    signed_in.told.clear()
    await page.fill("[name=email]", owner_person.email)
    await page.fill("[name=password]", PASSWORD)
    await page.press("[name=password]", "Enter")
    await page.wait_for_url("**/console/account")
    assert await page.input_value("#f-name") == "Ada, Countess"
    await page.click("#profile button")
    await page.wait_for_selector(".notice.good")
    assert await page.input_value("#f-name") == "Ada, Countess"
    assert not await page.is_visible("[data-restored]")


@pytest.mark.parametrize("language", ["en", "fr"])
async def test_the_form_is_accessible_in_both_languages(
    open_page: OpenPage, owner_person: SignedInPerson, language: str
) -> None:
    for options in ({}, PHONE, {"color_scheme": "dark"}):
        signed_in = await open_page(owner_person, **options)
        await signed_in.page.context.clear_cookies()
        await signed_in.visit(f"/console/sign-in?lang={language}")
        assert (
            await signed_in.page.title() == {"en": "Sign in · Vigie", "fr": "Se connecter · Vigie"}[language]
        )
        assert await signed_in.grave() == []
        # With the field of the organisation.
        await signed_in.visit(f"/console/sign-in?lang={language}&organisation={new_id()}")
        assert await signed_in.grave() == []
