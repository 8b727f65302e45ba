"""Refused messages by the pages: counts, list, the place of the fault, replay, deletion."""

import html
import json
import re
from typing import Any

import pytest

from app.console.fleet import quarantine_router
from tests.conftest import STREET, Tenant
from tests.integration.console.conftest import OpenPage
from tests.integration.console.visiting import PHONE, ConsoleClient, read_done
from tests.integration.people.folk import SignedInPerson

QUARANTINE = "/console/fleet/quarantine"
TIME = "2026-03-01T00:00:00Z"


@pytest.fixture
async def box(tenant: Tenant, site_id: str) -> str:
    await tenant.client.post("/v1/boxes", json={"id": "box-1", "site_id": site_id})
    return "box-1"


async def refuse(tenant: Tenant, content: str) -> dict[str, Any]:
    """Send a message that is refused; give its entry."""
    headers = {"Content-Type": "application/json"}
    await tenant.client.post("/v1/telemetry", content=content.encode(), headers=headers)
    newest: dict[str, Any] = (await tenant.client.get("/v1/quarantine?limit=1")).json()["data"][0]
    return newest


def sample(box: str, **values: float) -> str:
    return json.dumps({"box": box, "samples": [{"time": TIME, "values": values}]})


async def test_reasons_are_counted_and_lead_to_their_messages(
    console: ConsoleClient, tenant: Tenant, box: str
) -> None:
    for warp in range(3):
        await refuse(tenant, sample(box, warp=warp))
    await refuse(tenant, sample(box, pm2_5=-5))
    page = html.unescape(await console.read(QUARANTINE))
    assert page.count("A metric is not in the catalogue") == 4
    link = re.search(r'href="([^"]*code=unknown_metric[^"]*)"', page)
    assert link is not None
    page = await console.read(link[1])
    assert len(re.findall("data-row", page)) == 3
    assert "Use the name of the catalogue." in page
    assert len(re.findall("data-row", await console.read(f"{QUARANTINE}?by=box&box={box}"))) == 4
    assert "No message matches" in await console.read(f"{QUARANTINE}?since=1h&door=mqtt")
    page = await console.read(f"{QUARANTINE}?code=Nope", 422)
    assert 'role="alert"' in page


async def test_an_entry_shows_the_place_of_its_fault(
    console: ConsoleClient, tenant: Tenant, box: str
) -> None:
    entry = await refuse(tenant, sample(box, pm2_5=12) + '<script>alert("x")</script>')
    page = await console.read(f"{QUARANTINE}/{entry['id']}")
    assert '<mark id="fault">&lt;</mark>script&gt;' in page
    assert "<script>alert" not in page
    assert "The message is not valid JSON" in page
    entry = await refuse(tenant, sample(box, pm2_5=-5))
    page = await console.read(f"{QUARANTINE}/{entry['id']}")
    assert '<mark id="fault">-5' in page
    assert f'href="/console/boxes/{box}"' in page


async def test_a_message_that_is_refused_again_says_why(
    console: ConsoleClient, tenant: Tenant, box: str
) -> None:
    entry = await refuse(tenant, sample(box, pm2_5=12, warp=1))
    refused = await console.send(f"{QUARANTINE}/{entry['id']}/replay", status=422)
    assert 'role="alert"' in refused.text
    assert "A metric is not in the catalogue" in refused.text


async def test_messages_of_another_tenant_do_not_exist(console: ConsoleClient, other_tenant: Tenant) -> None:
    site = (await other_tenant.client.post("/v1/sites", json=STREET)).json()["id"]
    await other_tenant.client.post("/v1/boxes", json={"id": "theirs-1", "site_id": site})
    entry = await refuse(other_tenant, sample("theirs-1", warp=1))
    path = f"{QUARANTINE}/{entry['id']}"
    await console.read(path, 404)
    for action in ("/replay", "/delete"):
        await console.send(path + action, status=404)
    assert "theirs-1" not in await console.read(QUARANTINE)
    await console.send(f"{QUARANTINE}/delete", {"entry": entry["id"]})
    assert (await other_tenant.client.get(f"/v1/quarantine/{entry['id']}")).status_code == 200


async def test_messages_are_replayed_in_slices_once_the_cause_is_mended(
    console: ConsoleClient, tenant: Tenant, box: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(quarantine_router, "_SLICE", 2)
    times = [f"2026-03-01T00:0{minute}:00Z" for minute in range(5)]
    retention = {"retention_days": 1}
    site = (await tenant.client.get(f"/v1/boxes/{box}")).json()["site_id"]
    await tenant.client.patch(f"/v1/sites/{site}", json=retention)
    for time in times:
        await refuse(tenant, json.dumps({"box": box, "samples": [{"time": time, "values": {"pm2_5": 1}}]}))
    assert "older than the site stores data" in await console.read(QUARANTINE)
    still = await console.send(f"{QUARANTINE}/replay", {"code": "time_too_old"}, 200)
    assert "Why messages are still refused" in still.text
    # The cause is mended.
    await tenant.client.patch(f"/v1/sites/{site}", json={"retention_days": None})
    fields: dict[str, str] = {"code": "time_too_old"}
    for tried in ("2 of 5 messages", "4 of 5 messages", "5 messages were tried"):
        answer = await console.send(f"{QUARANTINE}/replay", fields, 200)
        assert tried in answer.text
        fields = {
            name: html.unescape(value)
            for name, value in re.findall(r'name="(code|cursor|counted_\w+)" value="([^"]*)"', answer.text)
        }
    latest = (await tenant.client.get(f"/v1/boxes/{box}/latest")).json()
    assert latest["time"].startswith("2026-03-01T00:04:00")
    assert "The quarantine is empty" in await console.read(QUARANTINE)


async def test_selected_messages_are_deleted(console: ConsoleClient, tenant: Tenant, box: str) -> None:
    entries = [(await refuse(tenant, sample(box, warp=number)))["id"] for number in range(3)]
    chosen: dict[str, str | list[str]] = {
        "entry": [*entries[:2], entries[0]],
        "_page": f"{QUARANTINE}?code=unknown_metric",
    }
    answer = await console.send(f"{QUARANTINE}/delete", chosen)
    assert answer.headers["location"].startswith(f"{QUARANTINE}?code=unknown_metric&done=deleted")
    left = (await tenant.client.get("/v1/quarantine")).json()["data"]
    assert [entry["id"] for entry in left] == entries[2:]
    assert read_done(await console.send(f"{QUARANTINE}/{entries[2]}/delete")) == "deleted"


@pytest.mark.parametrize("language", ["en", "fr"])
async def test_the_quarantine_in_the_browser(
    open_page: OpenPage, owner_person: SignedInPerson, tenant: Tenant, box: str, language: str
) -> None:
    await owner_person.client.patch("/v1/me", json={"locale": language})
    entry = await refuse(tenant, sample(box, warp=1))
    options = PHONE if language == "fr" else {}
    signed_in = await open_page(owner_person, **options)
    page = signed_in.page
    await signed_in.visit(QUARANTINE)
    assert await signed_in.grave() == []
    await page.click("a.row")
    await page.wait_for_url(f"**/{entry['id']}")
    assert await page.inner_text("mark") == '"warp"'
    assert await signed_in.grave() == []
    page.on("dialog", lambda dialog: dialog.accept())
    await page.click("button.danger")
    await page.wait_for_selector(".notice.good")
    assert (await tenant.client.get("/v1/quarantine")).json()["data"] == []
