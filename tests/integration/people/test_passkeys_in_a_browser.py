"""A real browser with a virtual authenticator enrols a passkey, and signs in with it."""

from typing import Any

import httpx
from fastapi import FastAPI
from playwright.async_api import Page

from app.people.sign_in_dependencies import PeopleContext
from app.platform.db.database import Database
from app.platform.kernel.application_resources import get_resource
from tests.integration.notifications.streams import serving
from tests.integration.people.folk import OrganisationPeople
from tests.integration.public_register.browsing import chromium

_DEVICE = {
    "protocol": "ctap2",
    "transport": "internal",
    "hasResidentKey": True,
    "hasUserVerification": True,
    "isUserVerified": True,
}
_CREATE = """async options => (await navigator.credentials.create(
    {publicKey: PublicKeyCredential.parseCreationOptionsFromJSON(options)})).toJSON()"""
_GET = """async options => (await navigator.credentials.get(
    {publicKey: PublicKeyCredential.parseRequestOptionsFromJSON(options)})).toJSON()"""


async def _ask(page: Page, script: str, options: dict[str, Any]) -> dict[str, Any]:
    answer: dict[str, Any] = await page.evaluate(script, options)
    return answer


async def test_a_browser_enrols_a_passkey_and_signs_in(
    application: FastAPI, api: httpx.AsyncClient, anybody: httpx.AsyncClient, folk: OrganisationPeople
) -> None:
    ada = await folk.join("Ada", "viewer")
    async with serving(application) as base, chromium() as browser:
        url = base.replace("127.0.0.1", "localhost")
        (await api.put("/v1/settings/public-url", json={"url": url})).raise_for_status()
        people = get_resource(application, PeopleContext)
        await people.installation.refresh(get_resource(application, Database))
        page = await browser.new_page()
        session = await page.context.new_cdp_session(page)
        await session.send("WebAuthn.enable")
        await session.send("WebAuthn.addVirtualAuthenticator", {"options": _DEVICE})
        await page.goto(f"{url}/welcome")
        begun = (await ada.client.post("/v1/me/passkeys/options")).json()
        credential = await _ask(page, _CREATE, begun["options"])
        body = {"challenge": begun["challenge"], "name": "browser", "credential": credential}
        made = await ada.client.post("/v1/me/passkeys", json=body)
        assert made.status_code == 201, made.text
        # Beside the password, and alone.
        asked = (
            await anybody.post("/v1/sessions", json={"email": ada.email, "password": ada.password})
        ).json()
        body = {"challenge": asked["challenge"], "passkey": await _ask(page, _GET, asked["options"])}
        answer = await anybody.post("/v1/sessions/second-factor", json=body)
        assert answer.status_code == 201, answer.text
        begun = (await anybody.post("/v1/sessions/passkey-options")).json()
        body = {"challenge": begun["challenge"], "passkey": await _ask(page, _GET, begun["options"])}
        answer = await anybody.post("/v1/sessions/passkey", json=body)
        assert answer.status_code == 201, answer.text
        await page.close()
