"""Reports by mail in the console: schedules, their mails, and who may change them."""

import re

import pytest

from app.settings import VigieSettings
from tests.conftest import STREET
from tests.integration.console.conftest import OpenPage
from tests.integration.console.test_administration import ADMINISTRATION, NASTY, as_person
from tests.integration.console.visiting import PHONE, ConsoleClient, read_done
from tests.integration.notifications.mail_servers import smtp
from tests.integration.people.folk import OrganisationPeople, SignedInPerson

PATH = f"{ADMINISTRATION}/reports/schedules"


@pytest.fixture(autouse=True)
def mail_server(settings: VigieSettings, monkeypatch: pytest.MonkeyPatch) -> None:
    """Set a mail server, which these tests never talk to."""
    for name, value in smtp(1).model_dump().items():
        monkeypatch.setattr(settings.smtp, name, value)


@pytest.fixture
async def site_id(owner_person: SignedInPerson) -> str:
    made = await owner_person.client.post("/v1/sites", json={**STREET, "name": NASTY})
    identifier: str = made.raise_for_status().json()["id"]
    return identifier


async def test_a_schedule_is_made_changed_sent_and_deleted(
    console: ConsoleClient, folk: OrganisationPeople, site_id: str
) -> None:
    assert "No report is mailed yet" in await console.read(PATH)
    given: dict[str, str | list[str]] = {
        "site_id": site_id,
        "report": "week",
        "hour": "7",
        "recipients": "a@example.com\nb@example.org, c@example.org",
        "formats": ["pdf", "csv"],
        "language": "fr",
        "enabled": "yes",
    }
    refused = await console.send(PATH, {**given, "recipients": "nobody", "hour": "99"}, 422)
    assert refused.text.count('aria-invalid="true"') >= 1
    assert ">nobody</textarea>" in refused.text
    made = (await console.send(PATH, given)).headers["location"].split("?")[0]
    page = await console.read(made)
    assert "<img src=x" not in page
    assert "c@example.org" in page
    listed = await console.read(PATH)
    assert "On Mondays" in listed
    assert "PDF, CSV" in listed
    assert "and 2 more" in listed
    changed = {**given, "formats": ["pdf"], "recipients": "a@example.com"}
    del changed["enabled"]
    assert read_done(await console.send(made, changed)) == "saved"
    assert "paused" in await console.read(PATH)
    assert read_done(await console.send(f"{made}/send")) == "report_requested"
    sent = await console.read(made)
    assert "requested by a person" in sent
    again = await console.send(f"{made}/send", status=429)
    assert 1 <= int(again.headers["retry-after"]) <= 60
    assert 'role="alert"' in again.text
    viewer = await as_person(console, await folk.join("Vera", "viewer"))
    seen = await viewer.read(made)
    assert f"{made}/send" not in seen
    assert f"{made}/delete" not in seen
    await viewer.send(f"{made}/delete", status=403)
    console = await as_person(console, await folk.join("Oskar", "operator"))
    assert read_done(await console.send(f"{made}/delete")) == "deleted"
    await console.read(made, 404)


async def test_schedules_of_other_tenants_are_unknown(console: ConsoleClient) -> None:
    await console.read(f"{PATH}/01936f3c-6f0a-7c1e-9a51-0d9f3b8e7a10", 404)


@pytest.mark.parametrize(
    ("language", "options"), [("en", {}), ("fr", {**PHONE, "color_scheme": "dark"})], ids=["desk", "phone"]
)
async def test_a_person_schedules_a_report(
    open_page: OpenPage, owner_person: SignedInPerson, site_id: str, language: str, options: dict[str, object]
) -> None:
    assert site_id
    (await owner_person.client.patch("/v1/me", json={"locale": language})).raise_for_status()
    signed_in = await open_page(owner_person, **options)
    page = signed_in.page
    await signed_in.visit(PATH)
    assert await signed_in.grave() == []
    await page.click(f'a[href="{PATH}/new"]')
    assert await signed_in.grave() == []
    await page.select_option("[name=report]", "day")
    await page.click("#schedule-form .buttons button")
    await page.wait_for_selector(".notice.good")
    assert re.search(r"/schedules/[0-9a-f-]{36}", page.url)
    assert await signed_in.grave() == []
