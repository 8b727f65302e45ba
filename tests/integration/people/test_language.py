"""A member's language is the one in which they accepted their invitation."""

import httpx
from fastapi import FastAPI

from tests.integration.notifications.streams import serving
from tests.integration.people.folk import PASSWORD, OrganisationPeople
from tests.integration.public_register.browsing import chromium, looking


async def _accepted(anybody: httpx.AsyncClient, folk: OrganisationPeople, email: str, **body: str) -> str:
    token = await folk.invite(email, "viewer")
    given = {"token": token, "name": "Ada", "password": PASSWORD, **body}
    answer = await anybody.post("/v1/invitations/accept", json=given)
    assert answer.status_code == 201, answer.text
    locale: str = answer.json()["user"]["locale"]
    return locale


async def test_who_accepts_says_in_which_language(
    anybody: httpx.AsyncClient, folk: OrganisationPeople
) -> None:
    assert await _accepted(anybody, folk, "ada@example.com", locale="fr") == "fr"
    assert await _accepted(anybody, folk, "bob@example.com", locale="en") == "en"
    assert await _accepted(anybody, folk, "cat@example.com") == "en"
    token = await folk.invite("dan@example.com", "viewer")
    body = {"token": token, "name": "Dan", "password": PASSWORD, "locale": "de"}
    assert (await anybody.post("/v1/invitations/accept", json=body)).status_code == 422


async def test_the_page_of_a_french_browser_makes_a_french_member(
    application: FastAPI, anybody: httpx.AsyncClient, folk: OrganisationPeople
) -> None:
    token = await folk.invite("ada@example.com", "viewer")
    async with (
        serving(application) as base,
        chromium() as browser,
        looking(browser, base, locale="fr-FR") as watched,
    ):
        await watched.page.goto(f"{base}/welcome#{token}")
        await watched.page.fill("#name", "Ada")
        await watched.page.fill("#new-password", PASSWORD)
        await watched.page.click("section button")
        await watched.page.get_by_text("Vous êtes membre de").wait_for()
    signed_in = await anybody.post("/v1/sessions", json={"email": "ada@example.com", "password": PASSWORD})
    assert signed_in.json()["user"]["locale"] == "fr"
