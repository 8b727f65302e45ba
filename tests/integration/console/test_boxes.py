"""Boxes in the console: health, configuration, corrections, credentials; a silent box comes back."""

import json
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import aiomqtt
import httpx
import pytest
from sqlalchemy import text

from app.platform.db.database import Database
from app.standalone.private_mosquitto import PrivateMosquitto
from tests.conftest import Tenant
from tests.integration.console.conftest import OpenPage
from tests.integration.console.visiting import DESK_AND_PHONE, PHONE, ConsoleClient, read_done, read_field
from tests.integration.consuming import consuming
from tests.integration.people.folk import OrganisationPeople, SignedInPerson
from tests.integration.registry.links import can_connect

RULE = "\u00d7 0.82 \u2212 1.4"
FORM = {"name": "North", "kind": "air-3", "tags": "a, b", "interval_s": "60", "ack": "yes"}


@pytest.fixture
async def box(tenant: Tenant, site_id: str, database: Database) -> str:
    """A box that has been silent for three days."""
    (await tenant.client.post("/v1/boxes", json={"id": "north", "site_id": site_id})).raise_for_status()
    at = (datetime.now(UTC) - timedelta(days=3)).isoformat()
    body = {"box": "north", "samples": [{"time": at, "values": {"pm2_5": 12.5, "battery": 9}}]}
    (await tenant.client.post("/v1/telemetry", json=body)).raise_for_status()
    async with database.write() as session:
        await session.execute(text("UPDATE box_states SET last_sample_at = now() - interval '3 days'"))
    return "/console/boxes/north"


async def test_the_page_of_a_box_shows_its_health(console: ConsoleClient, box: str) -> None:
    page = await console.read(box)
    for shown in ("12.5\xa0µg/m³", "Last heard", "Clock error", "Late samples", "Values over time"):
        assert shown in page
    await console.read("/console/boxes/gone", 404)


async def test_a_tile_has_what_a_sample_says_if_no_status_does(console: ConsoleClient, box: str) -> None:
    page = await console.read(box)
    assert '<dd class="figure">9%</dd>' in page
    assert "How to make it send" not in page


async def test_a_box_that_never_sent_says_how(console: ConsoleClient, tenant: Tenant, site_id: str) -> None:
    typed = {"id": "quay", "site_id": site_id, "measured": ["pm10", "temperature"]}
    made = await console.send("/console/fleet/new", typed, 201)
    assert '"pm10": 17.4, "temperature": 21.5' in made.text.replace("&#34;", '"')
    address = "/console/boxes/quay?measured=pm10&measured=temperature"
    assert address.replace("&", "&amp;") in made.text
    page = (await console.read(address)).replace("&#34;", '"')
    for shown in ("How to make it send", "vigie/v1/quay/telemetry", '"pm10": 17.4', '"$PASSWORD"'):
        assert shown in page
    odd = await console.read("/console/boxes/quay?measured=%3Cscript%3E")
    assert '{"temperature": 21.5}' in odd.replace("&#34;", '"')
    sample = {"time": datetime.now(UTC).isoformat(), "values": {"pm10": 20.0}}
    sent = await tenant.client.post("/v1/telemetry", json={"box": "quay", "samples": [sample]})
    sent.raise_for_status()
    young = await console.read("/console/boxes/quay")
    assert "How to make it send" not in young
    # The chart of a young box begins with its first sample, until another period is chosen.
    assert '"since": null' not in young
    assert '"since": null' in await console.read("/console/boxes/quay?range=24h")


async def test_a_box_is_renamed_moved_and_deleted(
    console: ConsoleClient, tenant: Tenant, box: str, site_id: str
) -> None:
    body = {"name": "Quai", "kind": "street", "timezone": "Europe/Paris"}
    quay = {**body, "location": {"type": "Point", "coordinates": [1.4, 43.6]}}
    other = (await tenant.client.post("/v1/sites", json=quay)).raise_for_status().json()["id"]
    refused = await console.send(f"{box}/edit", {**FORM, "site_id": site_id, "interval_s": "often"}, 422)
    assert 'value="often"' in refused.text
    assert 'value="a, b"' in refused.text
    assert read_done(await console.send(f"{box}/edit", {**FORM, "site_id": other})) == "saved"
    page = await console.read(box)
    assert f"/console/sites/{other}" in page
    assert "North" in page
    assert read_done(await console.send(f"{box}/delete")) == "deleted"
    await console.read(box, 404)


async def test_a_configuration_is_edited_and_compared(
    console: ConsoleClient, tenant: Tenant, box: str
) -> None:
    page = f"{box}/configuration"
    for wrong in ("{", "[1]", ""):
        refused = await console.send(page, {"config": wrong}, 422)
        assert "This is not a JSON object" in refused.text
    assert ">[1]</textarea>" in (await console.send(page, {"config": "[1]"}, 422)).text
    assert (
        read_done(await console.send(page, {"config": '{"leds": false, "interval_s": 30}'})) == "configured"
    )
    shown = await console.read(page)
    assert "not reported" in shown
    assert "waits for the box" in shown
    stored = (await tenant.client.get("/v1/boxes/north/config")).json()
    assert stored["desired"] == {"leds": False, "interval_s": 30}
    assert read_done(await console.send(f"{page}/remove")) == "deleted"
    assert "nothing desired" in await console.read(page)


async def test_corrections_are_defined_listed_and_deleted(
    console: ConsoleClient, tenant: Tenant, box: str
) -> None:
    page = f"{box}/corrections"
    given = {"metric": "pm2_5", "kind": "linear", "gain": "0.82", "offset": "-1.4", "note": "<b>station</b>"}
    refused = await console.send(page, given, 422)
    assert "&lt;b&gt;station" in refused.text
    assert read_done(await console.send(page, {**given, "valid_from": "2026-03-01T00:00"})) == "created"
    (stored,) = (await tenant.client.get("/v1/boxes/north/corrections")).json()["data"]
    # A time of the form is one of the site.
    assert stored["valid_from"] == "2026-02-28T23:00:00Z"
    assert RULE in await console.read(page)
    assert RULE in await console.read(box)
    assert read_done(await console.send(f"{page}/{stored['id']}/delete")) == "deleted"
    assert "No correction" in await console.read(page)


async def test_revoked_credentials_are_refused_by_the_broker(
    console: ConsoleClient, box: str, mosquitto: PrivateMosquitto
) -> None:
    made = await console.send(f"{box}/credentials", status=200)
    password = made.text.split('id="box-password">')[1].split("<")[0]
    assert made.headers["cache-control"] == "no-store"
    assert await can_connect(mosquitto, "north", password)
    assert password not in await console.read(f"{box}/credentials")
    assert read_done(await console.send(f"{box}/credentials/revoke")) == "credentials_revoked"
    assert not await can_connect(mosquitto, "north", password)
    assert "revoked" in await console.read(box)


async def test_credentials_that_are_asked_for_again_are_the_same(console: ConsoleClient, box: str) -> None:
    given = {"_once": read_field(await console.read(f"{box}/credentials"), "_once")}
    made = [await console.send(f"{box}/credentials", given, 200) for _ in range(2)]
    first, again = (each.text.split('id="box-password">')[1].split("<")[0] for each in made)
    assert first == again


async def test_a_viewer_reads_and_an_installer_mends(
    folk: OrganisationPeople, console: ConsoleClient, box: str
) -> None:
    viewer = await folk.join("Vera", "viewer")
    console.http.cookies.set("vigie_session", viewer.token, domain="vigie.test")
    page = await console.read(box)
    for path in ("edit", "credentials", "configuration"):
        assert f'href="{box}/{path}"' not in page
    for path in ("edit", "credentials", "credentials/revoke", "delete"):
        await console.send(f"{box}/{path}", {}, 403)
    installer = await folk.join("Ivo", "installer")
    console.http.cookies.set("vigie_session", installer.token, domain="vigie.test")
    page = await console.read(box)
    assert f'href="{box}/credentials"' in page
    assert "Create new credentials" in await console.read(f"{box}/credentials")


async def _publish(broker: PrivateMosquitto, password: str) -> None:
    async with aiomqtt.Client(
        broker.host, broker.port, username="north", password=password, identifier="north"
    ) as client:
        body = {"time": datetime.now(UTC).isoformat(), "values": {"pm2_5": 13.5}}
        await client.publish("vigie/v1/north/telemetry", json.dumps(body), qos=1)


@pytest.fixture
async def consumed_broker(
    mosquitto: PrivateMosquitto, database: Database, tmp_path: Path
) -> AsyncIterator[PrivateMosquitto]:
    """A broker whose messages the ingest role stores."""
    async with consuming(database, tmp_path):
        yield mosquitto


@pytest.mark.parametrize(("language", "options"), DESK_AND_PHONE)
async def test_a_silent_box_is_back_with_new_credentials(
    *,
    open_page: OpenPage,
    owner_person: SignedInPerson,
    box: str,
    consumed_broker: PrivateMosquitto,
    language: str,
    options: dict[str, Any],
) -> None:
    (await owner_person.client.patch("/v1/me", json={"locale": language})).raise_for_status()
    silent = {"en": "silent", "fr": "silencieux"}[language]
    signed_in = await open_page(owner_person, **options)
    page = signed_in.page
    page.on("dialog", lambda dialog: dialog.accept())
    await signed_in.visit(box)
    assert silent in await page.inner_text("#box-now")
    # By keyboard: p goes to the credentials, n creates new ones.
    await page.keyboard.press("p")
    await page.wait_for_url("**/credentials")
    assert await page.locator("#box-presence [data-waiting]").count() == 1
    await page.keyboard.press("n")
    password = await page.inner_text("#box-password")
    assert await signed_in.grave() == []
    await _publish(consumed_broker, password)
    # The page turns green, and keeps the password for the person who still types it.
    await page.wait_for_selector("#box-presence .notice.good")
    assert await page.inner_text("#box-password") == password
    await signed_in.visit(box)
    assert {"en": "13.5\xa0µg/m³", "fr": "13,5\xa0µg/m³"}[language] in await page.inner_text("#latest-values")
    assert silent not in await page.inner_text("#box-now")


@pytest.mark.parametrize("language", ["en", "fr"])
async def test_the_pages_of_a_box_are_accessible(
    open_page: OpenPage, owner_person: SignedInPerson, box: str, tenant: Tenant, language: str
) -> None:
    (await owner_person.client.patch("/v1/me", json={"locale": language})).raise_for_status()
    config = {"config": {"leds": False}}
    (await tenant.client.put("/v1/boxes/north/config", json=config)).raise_for_status()
    options: dict[str, dict[str, Any]] = {
        "en": {"viewport": {"width": 640, "height": 800}},
        "fr": {**PHONE, "color_scheme": "dark"},
    }
    signed_in = await open_page(owner_person, **options[language])
    for path in ("", "/edit", "/configuration", "/credentials", "/corrections"):
        await signed_in.visit(f"{box}{path}")
        assert await signed_in.grave() == [], path
        width = await signed_in.page.evaluate("document.documentElement.scrollWidth - innerWidth")
        assert width <= 0, path


async def test_downloads_need_a_sign_in(visitor: httpx.AsyncClient) -> None:
    for path in ("series/values.json", "series/download", "sites", "boxes/north"):
        assert (await visitor.get(f"/console/{path}")).status_code == 303
