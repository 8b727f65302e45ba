"""People who signed in to the console, as HTTP clients with a cookie and in Chromium."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, suppress

import asyncpg
import httpx
import pytest
from fastapi import FastAPI
from playwright.async_api import Browser

from app.notifications.delivery.fanout import fan_out_events
from app.notifications.settings import WebhookSettings
from tests.integration.console.visiting import ConsoleClient, SignedInPage, open_signed_in_page
from tests.integration.notifications.streams import serving
from tests.integration.people.conftest import _cheap_hashes, anybody, folk
from tests.integration.people.folk import OrganisationPeople, SignedInPerson
from tests.integration.public_register.browsing import chromium

__all__ = ["_cheap_hashes", "anybody", "folk"]

type OpenPage = Callable[..., Awaitable[SignedInPage]]


@pytest.fixture
async def owner_person(folk: OrganisationPeople) -> SignedInPerson:
    return await folk.join("Ada", "owner")


@pytest.fixture
async def visitor(application: FastAPI) -> AsyncIterator[httpx.AsyncClient]:
    """A browser without a sign-in."""
    transport = httpx.ASGITransport(application)
    async with httpx.AsyncClient(transport=transport, base_url="http://vigie.test") as client:
        yield client


@pytest.fixture
async def console(application: FastAPI, owner_person: SignedInPerson) -> AsyncIterator[ConsoleClient]:
    """The console of an owner, over HTTP."""
    transport = httpx.ASGITransport(application)
    cookies = {"vigie_session": owner_person.token}
    async with httpx.AsyncClient(transport=transport, base_url="http://vigie.test", cookies=cookies) as http:
        yield ConsoleClient(http)


@pytest.fixture
async def event_flow(database_url: str) -> AsyncIterator[None]:
    """The fan-out of `vigie deliver`, which gives events their place in the stream."""
    connection = await asyncpg.connect(database_url)

    async def run() -> None:
        while True:
            if not await fan_out_events(connection, WebhookSettings()):
                await asyncio.sleep(0.02)

    task = asyncio.create_task(run())
    yield
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task
    await connection.close()


@pytest.fixture(scope="session")
async def browser() -> AsyncIterator[Browser]:
    async with chromium() as opened:
        yield opened


@pytest.fixture
async def base(application: FastAPI) -> AsyncIterator[str]:
    async with serving(application) as url:
        yield url


@pytest.fixture
async def open_page(browser: Browser, base: str) -> AsyncIterator[OpenPage]:
    """Opens pages in Chromium, each in a context of its own; `person` is signed in there."""
    async with AsyncExitStack() as stack:

        async def open_one(person: SignedInPerson, **options: object) -> SignedInPage:
            return await stack.enter_async_context(open_signed_in_page(browser, base, person, **options))

        yield open_one
