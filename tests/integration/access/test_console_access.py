"""Who may open which page of the console: every route, by people of each role and of another organisation."""

import re
from collections.abc import AsyncIterator, Iterator
from typing import Final

import httpx
import pytest
from fastapi import FastAPI
from fastapi.routing import APIRoute

from app.console.console_routers import CONSOLE_ROUTERS
from tests.integration.access.world import MARK, TenantsUnderTest
from tests.integration.people.folk import OrganisationPeople, SignedInPerson

# Pages without a session: they sign in, or have a key of their own.
OPEN: Final = ("/console/static/", "/console/sign-in", "/console/portal", "/console/register")
# Streams have no end.
ENDLESS: Final = ("/console/live", "/console/start/arrival")
_FORM: Final = re.compile(r'<form method="post" action="([^"]+)"(.*?)</form>', re.DOTALL)
# Forms of the menu and of one's own account, which everybody has.
_OWN: Final = ("/console/language", "/console/sign-out", "/console/organisation", "/console/account")
# Pages whose forms a role may not send.
_DENIED: Final = {
    "operator": ("/console/administration/members", "/console/administration/keys"),
    "installer": ("/console/administration", "/console/rules", "/console/alerts", "/console/delivery"),
}
_REFUSED: Final = frozenset({403, 404, 409, 422})
_TOKEN: Final = re.compile(r'name="_token" value="([0-9a-f]{64})"')


def list_routes(method: str) -> Iterator[APIRoute]:
    for router in CONSOLE_ROUTERS:
        for route in router.routes:
            assert isinstance(route, APIRoute)
            is_open = route.path.startswith(OPEN) or route.path in ENDLESS
            if method in (route.methods or ()) and not is_open:
                yield route


@pytest.fixture
async def visitor(application: FastAPI) -> AsyncIterator[httpx.AsyncClient]:
    """A browser without a sign-in."""
    transport = httpx.ASGITransport(application)
    async with httpx.AsyncClient(transport=transport, base_url="http://vigie.test") as client:
        yield client


@pytest.fixture
async def people(
    application: FastAPI, api: httpx.AsyncClient, world: TenantsUnderTest
) -> AsyncIterator[OrganisationPeople]:
    async with OrganisationPeople(application, api, world.client.id) as made:
        yield made


def fill(world: TenantsUnderTest, path: str) -> str:
    """Fill the path of a route with the client's things."""
    ids = world.ids
    names = {
        "endpoint_id": ids["webhook"],
        "delivery_id": ids["delivery"],
        "link_id": ids["portal_link"],
        "purpose": "noise",
        "period": "day",
        "length": "day",
        "kind": "webhook",
        "action": "comment",
        "position": "1",
        "version": "1",
        "alert_id": ids.get("alert_id", "01a22723-18f1-7676-b0b0-609977fd07c8"),
        **ids,
    }
    return re.sub(
        r"\{(\w+)\}", lambda match: str(names.get(match[1], "01a22723-18f1-7676-b0b0-609977fd07c8")), path
    )


async def sign_in(application: FastAPI, person: SignedInPerson) -> httpx.AsyncClient:
    transport = httpx.ASGITransport(application, raise_app_exceptions=False)
    cookies = {"vigie_session": person.token}
    return httpx.AsyncClient(transport=transport, base_url="http://vigie.test", cookies=cookies)


async def test_every_page_needs_a_session(visitor: httpx.AsyncClient, world: TenantsUnderTest) -> None:
    for route in list_routes("GET"):
        answer = await visitor.get(fill(world, route.path))
        assert answer.status_code == 303, (route.path, answer.status_code)
        assert answer.headers["location"].startswith("/console/sign-in"), route.path
    for route in list_routes("POST"):
        answer = await visitor.post(
            fill(world, route.path), data={}, headers={"Sec-Fetch-Site": "same-origin"}
        )
        assert answer.status_code == 401, (route.path, answer.status_code)


async def test_every_form_needs_the_token_of_the_session(
    application: FastAPI, people: OrganisationPeople, world: TenantsUnderTest
) -> None:
    owner = await people.join("Olga", "owner", world.client.id)
    async with await sign_in(application, owner) as browser:
        for route in list_routes("POST"):
            answer = await browser.post(fill(world, route.path), data={"_token": "0" * 64})
            assert answer.status_code == 403, (route.path, answer.status_code)
            assert "foreign_form" in answer.text, route.path


async def test_people_of_another_organisation_see_and_change_nothing(
    application: FastAPI, people: OrganisationPeople, world: TenantsUnderTest
) -> None:
    stranger = await people.join("Sven", "owner", world.stranger.id)
    async with await sign_in(application, stranger) as browser:
        token = _TOKEN.search((await browser.get("/console/account")).text)
        assert token is not None
        for route in list_routes("GET"):
            answer = await browser.get(fill(world, route.path))
            assert answer.status_code < 500, (route.path, answer.status_code)
            # The page of an error repeats the address alone.
            assert MARK not in answer.text.replace(world.ids["box"], ""), route.path
            if (
                "{" in route.path
                and "{kind}" not in route.path
                and "{preset_id}" not in route.path
                and "{position}" not in route.path
            ):
                assert answer.status_code in _REFUSED, (route.path, answer.status_code)
        for route in list_routes("POST"):
            if "{" not in route.path or "{kind}" in route.path:
                continue
            answer = await browser.post(
                fill(world, route.path),
                data={"_token": token[1], "comment": "x", "name": "x"},
                headers={"Sec-Fetch-Site": "same-origin"},
            )
            assert answer.status_code in _REFUSED, (route.path, answer.status_code)
            assert MARK not in answer.text.replace(world.ids["box"], ""), route.path


@pytest.mark.parametrize("role", ["viewer", "operator", "installer"])
async def test_a_role_gets_no_error_and_no_form_that_it_may_not_send(
    application: FastAPI, people: OrganisationPeople, world: TenantsUnderTest, role: str
) -> None:
    person = await people.join("Rolf", role, world.client.id)
    dead = {}
    async with await sign_in(application, person) as browser:
        for route in list_routes("GET"):
            answer = await browser.get(fill(world, route.path))
            assert answer.status_code < 500, (route.path, answer.status_code, answer.text[:500])
            # A form without a button sends nothing: a list that others can select from.
            forms = [to for to, body in _FORM.findall(answer.text) if "<button" in body]
            forms = [each for each in forms if not each.startswith(_OWN)]
            denied = [each for each in forms if role == "viewer" or each.startswith(_DENIED[role])]
            if denied:
                dead[route.path] = denied
    assert not dead, "\n".join(f"{path}: {forms}" for path, forms in dead.items())
