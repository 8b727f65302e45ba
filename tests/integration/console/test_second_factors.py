"""Second factors in the console: enrolment, the second step, passkeys, recovery codes, and who lacks one."""

import html
import json
import re
from typing import Any
from urllib.parse import unquote

import httpx
import pyotp
import pytest
from fastapi import FastAPI
from playwright.async_api import Browser, Page
from sqlalchemy import text

from app.platform.db.database import Database
from app.platform.kernel.application_resources import get_resource
from app.platform.kernel.tenant_scope import run_with_full_scope
from tests.conftest import Tenant
from tests.integration.console.visiting import (
    PHONE,
    ConsoleClient,
    SignedInPage,
    check_page_headers,
    open_signed_in_page,
    read_done,
)
from tests.integration.people.authenticator import SoftwareAuthenticator
from tests.integration.people.factors import AuthenticatorApp, enrol_passkey, enrol_totp
from tests.integration.people.folk import PASSWORD, SignedInPerson

OWN = {"Sec-Fetch-Site": "same-origin"}


def read_field(page: str, name: str) -> str:
    """The value of a hidden field."""
    found = re.search(rf'name="{name}" value="([^"]*)"', page)
    assert found is not None, (name, page[:3000])
    return html.unescape(found[1])


def read_codes(page: str) -> list[str]:
    found = re.search(r'<pre id="codes"[^>]*>([^<]+)</pre>', page)
    assert found is not None, page[:3000]
    return found[1].split()


async def pass_first_step(visitor: httpx.AsyncClient, person: SignedInPerson, page: str = "") -> str:
    """Give the password; returns the page of the second step."""
    given = {"email": person.email, "password": PASSWORD, "next": page}
    answer = await visitor.post("/console/sign-in", data=given, headers=OWN)
    assert answer.status_code == 200, answer.text
    check_page_headers(answer)
    assert "set-cookie" not in answer.headers
    return answer.text


async def pass_second_step(visitor: httpx.AsyncClient, page: str, **given: str) -> httpx.Response:
    carried = {name: read_field(page, name) for name in ("next", "challenge", "methods", "options")}
    return await visitor.post("/console/sign-in/second-factor", data={**carried, **given}, headers=OWN)


async def test_an_app_is_enrolled_and_asked_for(
    console: ConsoleClient, visitor: httpx.AsyncClient, owner_person: SignedInPerson
) -> None:
    begun = await console.send("/console/account/totp", status=200)
    uri = read_field(begun.text, "uri")
    secret = pyotp.parse_uri(uri).secret
    assert 'src="data:image/svg+xml,' in begun.text
    shown = re.search(r'<code id="secret">([^<]+)</code>', begun.text)
    assert shown is not None
    assert shown[1].replace(" ", "") == secret
    wrong = await console.send("/console/account/totp/confirm", {"uri": uri, "code": "000000"}, 401)
    assert 'role="alert"' in wrong.text
    # The same secret again: the app has it by now.
    assert read_field(wrong.text, "uri") == uri
    app = AuthenticatorApp(secret)
    done = await console.send("/console/account/totp/confirm", {"uri": uri, "code": app.next_code()}, 200)
    codes = read_codes(done.text)
    assert len(codes) == 10
    stored = re.search(r'href="data:text/plain;charset=utf-8,([^"]+)"', done.text)
    assert stored is not None
    assert unquote(stored[1]).split("\n")[2:-1] == codes
    account = await console.read("/console/account")
    assert "10 left" in account

    step = await pass_first_step(visitor, owner_person, "/console/alerts?state=resolved")
    assert read_field(step, "methods") == "totp recovery_code"
    refused = await pass_second_step(visitor, step, totp="000 000")
    assert refused.status_code == 401
    assert 'role="alert"' in refused.text
    answer = await pass_second_step(visitor, refused.text, totp=app.next_code())
    assert answer.headers["location"] == "/console/alerts?state=resolved"
    assert re.match(r"vigie_session=vgs_\w+; ", answer.headers["set-cookie"])
    # The challenge was used: begin again.
    again = await pass_second_step(visitor, step, recovery_code=codes[0])
    assert again.status_code == 401
    assert 'name="password"' in again.text, re.findall("role=.alert.*", again.text)


async def test_a_recovery_code_replaces_the_factor_once(
    console: ConsoleClient, visitor: httpx.AsyncClient, owner_person: SignedInPerson
) -> None:
    app = await enrol_totp(owner_person)
    code = app.recovery_codes[0]
    for status in (303, 401):
        step = await pass_first_step(visitor, owner_person)
        assert (await pass_second_step(visitor, step, recovery_code=code)).status_code == status
    assert "9 left" in await console.read("/console/account")
    replaced = await console.send("/console/account/recovery-codes", status=200)
    assert not set(read_codes(replaced.text)) & set(app.recovery_codes)
    assert "10 left" in await console.read("/console/account")
    removed = await console.send("/console/account/totp/remove")
    assert read_done(removed) == "factor_removed"
    assert "10 left" not in await console.read("/console/account")


async def test_the_second_step_leads_to_no_other_website(
    visitor: httpx.AsyncClient, owner_person: SignedInPerson
) -> None:
    app = await enrol_totp(owner_person)
    step = await pass_first_step(visitor, owner_person, "//evil.example")
    assert read_field(step, "next") == "/console"
    given = {"next": "https://evil.example", "totp": app.next_code()}
    answer = await pass_second_step(visitor, step, **given)
    assert answer.headers["location"] == "/console"


@pytest.mark.parametrize("options", ["no json", "[1]", '{"a":"</script><script>alert(1)</script>"}'])
async def test_forged_questions_are_shown_as_text(visitor: httpx.AsyncClient, options: str) -> None:
    given = {"challenge": '"><script>alert(1)</script>', "methods": "passkey totp <b>", "options": options}
    answer = await visitor.post("/console/sign-in/second-factor", data={**given, "passkey": "["}, headers=OWN)
    assert answer.status_code in {401, 422}
    check_page_headers(answer)
    assert "alert(1)</script>" not in answer.text


async def test_other_websites_cannot_answer_or_begin(visitor: httpx.AsyncClient) -> None:
    for path in ("/second-factor", "/passkey", "/passkey-options"):
        foreign = {"Sec-Fetch-Site": "cross-site"}
        answer = await visitor.post(f"/console/sign-in{path}", data={"challenge": "x"}, headers=foreign)
        assert answer.status_code == 403


async def test_an_old_sign_in_is_proved_again(
    console: ConsoleClient, application: FastAPI, owner_person: SignedInPerson
) -> None:
    app = await enrol_totp(owner_person)
    await _age_session(application)
    asked = await console.send("/console/account/totp/remove", status=403)
    assert read_field(asked.text, "methods") == "password totp recovery_code"
    carried = {name: read_field(asked.text, name) for name in ("challenge", "methods", "options")}
    wrong = await console.send("/console/account/reauthenticate", {**carried, "password": "wrong"}, 401)
    assert "wrong" not in re.findall(r'value="([^"]*)"', wrong.text)
    # Nobody is signed out by a wrong answer.
    assert (await console.http.get("/console/alerts")).status_code == 200
    proved = await console.send("/console/account/reauthenticate", {**carried, "totp": app.next_code()})
    assert read_done(proved) == "proved"
    assert read_done(await console.send("/console/account/totp/remove")) == "factor_removed"


async def _age_session(application: FastAPI) -> None:
    database = get_resource(application, Database)
    with run_with_full_scope():
        async with database.write() as session:
            await session.execute(
                text("UPDATE user_sessions SET authenticated_at = now() - interval '1 hour'")
            )


async def test_a_required_factor_is_set_up_before_anything_else(
    console: ConsoleClient, tenant: Tenant, owner_person: SignedInPerson
) -> None:
    changed = await owner_person.client.patch(
        f"/v1/organisations/{tenant.id}", json={"second_factor_required": True}
    )
    assert changed.status_code == 200, changed.text
    for path in ("/console/alerts", "/console/administration"):
        answer = await console.http.get(path)
        assert (answer.status_code, answer.headers["location"]) == (303, "/console/account#factors")
    account = await console.read("/console/account")
    assert "requires a second factor" in account
    assert 'href="/console/alerts"' not in account
    begun = await console.http.get("/console/account")
    token = re.search(r'name="_token" value="([0-9a-f]{64})"', begun.text)
    assert token is not None
    console._token = token[1]
    started = await console.send("/console/account/totp", status=200)
    uri = read_field(started.text, "uri")
    code = AuthenticatorApp(pyotp.parse_uri(uri).secret).next_code()
    await console.send("/console/account/totp/confirm", {"uri": uri, "code": code}, 200)
    assert 'href="/console/alerts"' in await console.read("/console/alerts")


async def _add_authenticator(page: Page) -> None:
    """Give the browser a virtual authenticator that verifies its person."""
    devtools = await page.context.new_cdp_session(page)
    await devtools.send("WebAuthn.enable")
    options = {
        "protocol": "ctap2",
        "transport": "internal",
        "hasResidentKey": True,
        "hasUserVerification": True,
        "isUserVerified": True,
        "automaticPresenceSimulation": True,
    }
    await devtools.send("WebAuthn.addVirtualAuthenticator", {"options": options})


@pytest.fixture
async def local_base(base: str, api: httpx.AsyncClient) -> str:
    """The address at which browsers accept passkeys."""
    local = base.replace("127.0.0.1", "localhost")
    (await api.put("/v1/settings/public-url", json={"url": local})).raise_for_status()
    return local


@pytest.mark.parametrize(
    ("language", "options"), [("en", {}), ("fr", {**PHONE, "color_scheme": "dark"})], ids=["desk", "phone"]
)
async def test_a_person_adds_a_passkey_and_signs_in_with_it(
    browser: Browser, local_base: str, owner_person: SignedInPerson, language: str, options: dict[str, Any]
) -> None:
    (await owner_person.client.patch("/v1/me", json={"locale": language})).raise_for_status()
    async with open_signed_in_page(browser, local_base, owner_person, **options) as signed_in:
        await _add_authenticator(signed_in.page)
        await _add_and_use_passkey(signed_in, owner_person, language)


async def _add_and_use_passkey(signed_in: SignedInPage, owner_person: SignedInPerson, language: str) -> None:
    page = signed_in.page
    await signed_in.visit("/console/account")
    assert await signed_in.grave() == []
    await page.click('a[href="/console/account/passkeys/new"]')
    await page.fill("[name=name]", "Téléphone <b>d'Ada</b>")
    assert await signed_in.grave() == []
    await page.click("[data-passkey-start]")
    await page.wait_for_selector("#codes")
    assert await signed_in.grave() == []
    await page.click("main .button[href='/console/account#factors']")
    assert "Téléphone <b>d'Ada</b>" in await page.inner_text("#factors")
    # With the password, the passkey is the second step.
    await signed_in.lose_session()
    await signed_in.visit(f"/console/sign-in?lang={language}&next=/console/alerts")
    await page.fill("[name=email]", owner_person.email)
    await page.fill("[name=password]", PASSWORD)
    await page.press("[name=password]", "Enter")
    await page.wait_for_selector("[data-options=passkey-question]:not([hidden])")
    assert await signed_in.grave() == []
    await page.click("[data-passkey-start]")
    await page.wait_for_selector("#alert-list")
    # Without the password, it is enough.
    await signed_in.lose_session()
    await signed_in.visit(f"/console/sign-in?lang={language}&next=/console/account")
    await page.click("[data-passkey-start]")
    await page.wait_for_selector("form[action*='/passkeys/'] button")
    page.once("dialog", lambda dialog: dialog.accept())
    await page.click("form[action*='/passkeys/'] button")
    await page.wait_for_selector(".notice.good")
    assert "d'Ada" not in await page.inner_text("#factors")


async def test_a_browser_without_a_fitting_passkey_says_so(
    browser: Browser, local_base: str, owner_person: SignedInPerson
) -> None:
    async with open_signed_in_page(browser, local_base, owner_person) as signed_in:
        page = signed_in.page
        # An authenticator without any passkey.
        await _add_authenticator(page)
        await signed_in.lose_session()
        await signed_in.visit("/console/sign-in")
        await page.click("[data-passkey-start]")
        await page.wait_for_selector("[data-passkey-problem]:not([hidden])")
        assert await page.is_enabled("[data-passkey-start]")


async def test_a_passkey_of_nobody_is_refused(
    visitor: httpx.AsyncClient, owner_person: SignedInPerson
) -> None:
    begun = (await visitor.post("/console/sign-in/passkey-options", headers=OWN)).json()
    stranger = SoftwareAuthenticator()
    await enrol_passkey(owner_person, own := SoftwareAuthenticator())
    stranger.user_handle = own.user_handle
    stranger.credential_id = b"x" * 32
    given = {"challenge": begun["challenge"], "passkey": json.dumps(stranger.get(begun["options"]))}
    answer = await visitor.post("/console/sign-in/passkey", data=given, headers=OWN)
    assert answer.status_code == 401
    assert "set-cookie" not in answer.headers
    given["passkey"] = json.dumps(own.get(begun["options"]))
    answer = await visitor.post("/console/sign-in/passkey", data=given, headers=OWN)
    assert answer.status_code == 303
