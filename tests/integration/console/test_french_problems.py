"""Problems of the API on the pages of people who read French."""

import re

import pytest

from tests.conftest import STREET
from tests.integration.console.conftest import OpenPage
from tests.integration.console.test_rules import NEW, form
from tests.integration.console.visiting import PHONE, ConsoleClient
from tests.integration.people.folk import SignedInPerson

_ENGLISH = re.compile(r'<(?!html\b)[^>]*\blang="en"[^>]*>(?!English<)')


@pytest.fixture
async def french_owner(owner_person: SignedInPerson) -> SignedInPerson:
    (await owner_person.client.patch("/v1/me", json={"locale": "fr"})).raise_for_status()
    return owner_person


@pytest.fixture
async def site_id(french_owner: SignedInPerson) -> str:
    made = (await french_owner.client.post("/v1/sites", json=STREET)).raise_for_status()
    identifier: str = made.json()["id"]
    return identifier


async def test_a_refused_form_says_why_in_french(
    console: ConsoleClient, french_owner: SignedInPerson, site_id: str
) -> None:
    box = {"id": "corner", "site_id": site_id}
    (await french_owner.client.post("/v1/boxes", json=box)).raise_for_status()
    refused = {
        "a b": (422, "«\xa0a b\xa0»\xa0: l\u2019identifiant d\u2019un boîtier a de 1 à 64 des caractères"),
        "corner": (
            409,
            "L\u2019identifiant de boîtier «\xa0corner\xa0» est déjà pris. Choisissez-en un autre.",
        ),
        "": (422, "«\xa0\xa0»\xa0: l\u2019identifiant d\u2019un boîtier"),
    }
    for identifier, (status, french) in refused.items():
        answer = await console.send("/console/fleet/new", {**box, "id": identifier}, status)
        assert french in answer.text, identifier
        assert _ENGLISH.findall(answer.text) == [], identifier
    # Several faults of one form.
    answer = await console.send("/console/fleet/new", {**box, "id": "b", "kind": "Ä", "interval_s": "x"}, 422)
    assert "le type d\u2019un boîtier a de 1 à 64 des caractères" in answer.text
    assert "La valeur doit être un nombre entier" in answer.text
    assert _ENGLISH.findall(answer.text) == []


async def test_a_page_that_does_not_exist_says_so_in_french(
    console: ConsoleClient, french_owner: SignedInPerson
) -> None:
    assert french_owner.token
    page = await console.read("/console/sites/nowhere", 404)
    assert "Le site «\xa0nowhere\xa0» n\u2019existe pas." in page
    assert _ENGLISH.findall(page) == []


async def test_the_builder_names_faults_in_french(
    console: ConsoleClient, french_owner: SignedInPerson, site_id: str
) -> None:
    assert french_owner.token
    typed = form(site_id, clear_1="viel", for_1_n="13")
    refused = await console.send(NEW, typed, 422)
    assert re.search('data-fault="clear_1">«\xa0viel\xa0» n\u2019est pas un nombre', refused.text)
    checked = await console.send("/console/rules/check", typed, 200)
    assert "n\u2019est pas un nombre" in checked.json()["faults"]["clear_1"]


async def test_a_refused_form_fits_a_phone(
    open_page: OpenPage, french_owner: SignedInPerson, site_id: str
) -> None:
    signed_in = await open_page(french_owner, **PHONE, color_scheme="dark")
    await signed_in.visit(f"/console/fleet/new?site={site_id}")
    page = signed_in.page
    await page.fill("#f-id", "a b")
    # The browser's own check would stop the form.
    await page.evaluate("document.querySelector('#f-id').form.noValidate = true")
    await page.locator("#f-id").press("Enter")
    fault = page.locator("#f-id-hint.fault")
    assert "l\u2019identifiant d\u2019un boîtier" in await fault.inner_text()
    assert await page.evaluate("document.documentElement.scrollWidth - innerWidth") <= 0
    assert await signed_in.grave() == []
    # Chromium reports the status of the refusal as an error.
    assert all("422" in each for each in signed_in.told)
    signed_in.told.clear()
