"""The page on all machines: one machine, three nodes of a log with edges and workers, and who may see it."""

import re
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest
from fastapi import FastAPI
from playwright.async_api import Browser

from app.platform.db.database import Database
from app.settings import VigieSettings
from tests.conftest import client_of, new_application, running
from tests.integration.cluster_status.reported_edges import report
from tests.integration.console.visiting import DESK_AND_PHONE, ConsoleClient, open_signed_in_page, read_done
from tests.integration.edge.machines import EdgeMachine, LogCluster
from tests.integration.notifications.streams import serving
from tests.integration.people.folk import OrganisationPeople, SignedInPerson
from tests.integration.public_register.browsing import wait_until_true
from tests.scenarios.processes import role, until

CLUSTER = "/console/administration/cluster"


@dataclass
class Administration:
    """An application, and an administrator of its platform."""

    application: FastAPI
    people: OrganisationPeople
    person: SignedInPerson
    console: ConsoleClient


@asynccontextmanager
async def administering(settings: VigieSettings, admin_key: str) -> AsyncIterator[Administration]:
    async with AsyncExitStack() as stack:
        application = await stack.enter_async_context(running(new_application(settings)))
        api = await stack.enter_async_context(client_of(application, admin_key))
        platform = (await api.get("/v1/me")).json()["organisation"]["id"]
        people = await stack.enter_async_context(OrganisationPeople(application, api, platform))
        person = await people.join("Root", "owner")
        http = await stack.enter_async_context(
            httpx.AsyncClient(
                transport=httpx.ASGITransport(application),
                base_url="http://vigie.test",
                cookies={"vigie_session": person.token},
            )
        )
        yield Administration(application, people, person, ConsoleClient(http))


async def test_one_machine_says_how_to_get_to_three(settings: VigieSettings, admin_key: str) -> None:
    async with administering(settings, admin_key) as root:
        page = await root.console.read(CLUSTER)
        assert 'href="/docs/guides/operations/cluster"' in page
        assert "Vigie runs on one machine." in page
        assert settings.database.url.rpartition("@")[2].partition("/")[0] in page
        assert 'id="edges"' not in page
        assert 'id="log"' not in page
        assert f'href="{CLUSTER}"' in await root.console.read("/console/administration")


async def test_only_administrators_of_the_platform_see_it(console: ConsoleClient) -> None:
    assert CLUSTER not in await console.read("/console/administration")
    await console.read(CLUSTER, 403)
    await console.send(f"{CLUSTER}/edges/remove", {"name": "a"}, 403)


async def test_edges_that_are_gone_are_removed(
    settings: VigieSettings, admin_key: str, database: Database
) -> None:
    await report(database, "a")
    await report(database, "b <i>", silent_s=200)
    async with administering(settings, admin_key) as root:
        page = await root.console.read(CLUSTER)
        assert re.search(r"silent for 3\smin", page)
        assert "b &lt;i&gt;" in page
        assert page.count('value="Remove"') + page.count(">Remove<") == 1
        path = f"{CLUSTER}/edges/remove"
        refused = await root.console.send(path, {"name": "a"}, 409)
        assert "The edge a still reports." in refused.text
        assert "There is no edge" in (await root.console.send(path, {"name": "c"}, 404)).text
        assert read_done(await root.console.send(path, {"name": "b <i>"})) == "edge_removed"
        page = await root.console.read(CLUSTER)
        assert "b &lt;i&gt;" not in page
        await root.person.client.patch("/v1/me", json={"locale": "fr"})
        refused = await root.console.send(path, {"name": "a"}, 409)
        assert "Le point d\N{RIGHT SINGLE QUOTATION MARK}entrée a donne encore des nouvelles." in refused.text


async def test_other_roles_of_the_platform_may_not(settings: VigieSettings, admin_key: str) -> None:
    async with administering(settings, admin_key) as root:
        operator = await root.people.join("Olga", "operator")
        root.console.http.cookies.clear()
        root.console.http.cookies.set("vigie_session", operator.token)
        looking = ConsoleClient(root.console.http)
        assert CLUSTER not in await looking.read("/console/administration")
        await looking.read(CLUSTER, 403)
        await looking.send(f"{CLUSTER}/edges/remove", {"name": "a"}, 403)


@pytest.mark.parametrize(("language", "options"), DESK_AND_PHONE)
async def test_the_page_follows_the_machines(
    *,
    cluster: LogCluster,
    machines: list[EdgeMachine],
    browser: Browser,
    database: Database,
    admin_key: str,
    tmp_path: Path,
    language: str,
    options: dict[str, object],
) -> None:
    async with (
        administering(cluster.all_settings, admin_key) as root,
        serving(root.application) as base,
        machines[0].running(tmp_path),
    ):
        (await root.person.client.patch("/v1/me", json={"locale": language})).raise_for_status()
        async with open_signed_in_page(browser, base, root.person, **options) as opened:
            page = opened.page
            async with role("ingest", tmp_path) as worker:

                async def well() -> bool:
                    state = (await root.person.client.get("/v1/cluster")).raise_for_status().json()
                    return bool(not state["problems"] and state["edges"] and state["partitions"])

                assert await until(well)
                await opened.visit(CLUSTER)
                assert await page.is_visible(".notice.good")
                assert f"-{worker.pid}" in await page.inner_text("#log")
                assert await opened.grave() == []
                assert await page.evaluate("document.documentElement.scrollWidth <= innerWidth")
            # No event tells of a worker that ends: the page reads itself again.
            await wait_until_true(page, "!!document.querySelector('#verdict .severity.critical')")
            await page.reload()
            assert await page.is_visible("#partitions table")
            await report(database, "gone", silent_s=50)
            await wait_until_true(page, "document.querySelectorAll('#edges tbody tr').length === 2")
            assert await opened.grave() == []
            assert await page.evaluate("document.documentElement.scrollWidth <= innerWidth")
            page.once("dialog", lambda dialog: dialog.accept())
            await page.click("#edges tr:has-text('gone') button")
            await page.wait_for_selector(".notice.good >> nth=0")
            assert await page.locator("#edges tbody tr").count() == 1
            link = await page.get_attribute("#verdict .settings a", "href")
            assert link is not None
            assert link.startswith("/docs/guides/")
