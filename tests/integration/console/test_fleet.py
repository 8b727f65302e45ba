"""The fleet by its pages: the list, a new box, operations on many, claim codes, provisioning keys."""

import csv
import html
import io
import re

import httpx
import pytest
from fastapi import FastAPI

from app.platform.kernel.application_resources import provide_resources
from app.registry.settings import EnrolmentSettings
from tests.conftest import STREET, Tenant
from tests.integration.console.conftest import OpenPage
from tests.integration.console.visiting import PHONE, ConsoleClient, read_done, read_field
from tests.integration.people.folk import OrganisationPeople, SignedInPerson

FLEET = "/console/fleet"
SCRIPT = "<script>alert(1)</script>"
type Fields = dict[str, str | list[str]]
IMAGE = '"><img src=x onerror=alert(1)>'


async def add(tenant: Tenant, site: str, *boxes: str, **more: object) -> None:
    body = {"boxes": [{"id": box, "site_id": site, **more} for box in boxes]}
    answer = await tenant.client.post("/v1/boxes/bulk", json=body)
    assert answer.status_code == 201, answer.text


async def test_the_list_filters_by_its_address(console: ConsoleClient, tenant: Tenant, site_id: str) -> None:
    await add(tenant, site_id, "north-1", "north-2", tags=["lot:1"], kind="facade", name=SCRIPT)
    await add(tenant, site_id, "south-1")
    page = await console.read(FLEET)
    assert all(f"/console/boxes/{box}" in page for box in ("north-1", "north-2", "south-1"))
    assert SCRIPT not in page
    assert html.escape(SCRIPT) in page
    for query in ("q=north", "tag=lot:1", "kind=facade", f"site={site_id}&q=north"):
        page = await console.read(f"{FLEET}?{query}")
        assert "/console/boxes/north-1" in page
        assert "/console/boxes/south-1" not in page
    assert "No box matches these filters" in await console.read(f"{FLEET}?activity=refused")
    page = await console.read(f"{FLEET}?battery_below=many", 422)
    assert 'role="alert"' in page


async def test_the_list_has_pages(
    console: ConsoleClient, tenant: Tenant, site_id: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app.console.fleet.fleet_router._PAGE_ROWS", 2)
    await add(tenant, site_id, *(f"box-{number}" for number in range(3)))
    page = await console.read(f"{FLEET}?q=box")
    following = re.search(rf'href="({FLEET}\?[^"]*cursor[^"]*)"', page)
    assert following is not None
    page = await console.read(html.unescape(following[1]))
    assert re.findall(r'data-row="([^"]+)"', page) == ["box-2"]
    assert 'value="box"' in page


async def test_a_new_box_shows_its_password_once_and_a_reload_shows_the_same(
    console: ConsoleClient, site_id: str
) -> None:
    form = await console.read(f"{FLEET}/new")
    given = {
        "_once": read_field(form, "_once"),
        "id": "corner-1",
        "site_id": site_id,
        "name": IMAGE,
        "latitude": "43.6045",
        "longitude": "1.444",
        "tags": "lot:1, metz",
        "interval_s": "30",
    }
    answer = await console.send(f"{FLEET}/new", given, 201)
    password = re.search(r'<code id="password">([^<]+)</code>', answer.text)
    assert password is not None
    assert f"-u corner-1 -P {password[1]}" in html.unescape(answer.text)
    assert "vigie/v1/corner-1/telemetry" in answer.text
    assert IMAGE not in answer.text
    again = await console.send(f"{FLEET}/new", given, 201)
    assert password[1] in again.text
    page = await console.read(f"{FLEET}?q=corner")
    assert "metz" in page
    assert password[1] not in page


async def test_a_refused_box_keeps_what_was_typed(console: ConsoleClient, site_id: str) -> None:
    given = {"id": "a b", "site_id": site_id, "name": "Corner", "latitude": "43.6"}
    answer = await console.send(f"{FLEET}/new", given, 422)
    assert 'value="a b"' in answer.text
    assert 'value="Corner"' in answer.text
    assert 'class="fault" id="f-id-hint"' in answer.text
    answer = await console.send(f"{FLEET}/new", {"id": "ok-1", "site_id": site_id, "kind": "Ä"}, 422)
    assert 'class="fault" id="f-kind-hint"' in answer.text


async def test_a_viewer_has_no_buttons_and_may_do_nothing(
    application: FastAPI, folk: OrganisationPeople, tenant: Tenant, site_id: str
) -> None:
    await add(tenant, site_id, "seen-1")
    viewer = await folk.join("Vera", "viewer")
    transport = httpx.ASGITransport(application)
    cookies = {"vigie_session": viewer.token}
    async with httpx.AsyncClient(transport=transport, base_url="http://vigie.test", cookies=cookies) as http:
        console = ConsoleClient(http)
        page = await console.read(FLEET)
        assert "seen-1" in page
        for absent in ("/console/fleet/new", "/console/fleet/import", 'type="checkbox" name="box"'):
            assert absent not in page
        assert (
            "<form"
            not in (await console.read(f"{FLEET}/provisioning-keys")).split("<main")[1].split("</main")[0]
        )
        assert "New labels" not in await console.read(f"{FLEET}/claims")
        refused = {
            "/new": {"id": "mine", "site_id": site_id},
            "/operation": {"operation": "delete", "box": "seen-1"},
            "/import/create": {"table": f"id,site_id\nmine,{site_id}"},
            "/claims": {"site_id": site_id, "labels": "1"},
            "/provisioning-keys": {"site_id": site_id, "name": "mine"},
            "/quarantine/replay": {},
        }
        for path, fields in refused.items():
            answer = await console.send(FLEET + path, fields, 403)
            assert 'role="alert"' in answer.text, path
    assert (await tenant.client.get("/v1/boxes/seen-1")).status_code == 200


async def test_boxes_of_another_tenant_stay_out_of_reach(
    console: ConsoleClient, other_tenant: Tenant, tenant: Tenant, site_id: str
) -> None:
    site = (await other_tenant.client.post("/v1/sites", json=STREET)).json()["id"]
    await add(other_tenant, site, "theirs-1")
    assert "theirs-1" not in await console.read(FLEET)
    answer = await console.send(f"{FLEET}/new", {"id": "x-1", "site_id": site}, 404)
    assert 'role="alert"' in answer.text
    await add(tenant, site_id, "ours-1")
    given: Fields = {"operation": "delete", "box": ["ours-1", "theirs-1"]}
    preview = await console.send(f"{FLEET}/operation", given, 200)
    assert "There is no box" in html.unescape(preview.text)
    given |= {"preview": read_field(preview.text, "preview")}
    done = await console.send(f"{FLEET}/operation/apply", given, 200)
    assert "1 box was not changed" in done.text
    assert (await other_tenant.client.get("/v1/boxes/theirs-1")).status_code == 200
    assert (await tenant.client.get("/v1/boxes/ours-1")).status_code == 404


async def test_many_boxes_move_after_a_preview(console: ConsoleClient, tenant: Tenant, site_id: str) -> None:
    body = (await tenant.client.get(f"/v1/sites/{site_id}")).json()
    new = {name: body[name] for name in ("kind", "timezone", "location")}
    target = (await tenant.client.post("/v1/sites", json={**new, "name": "Quai"})).json()["id"]
    await add(tenant, site_id, "move-1", "move-2", "stay-1")
    given: Fields = {"operation": "move", "box": ["move-1", "move-2"]}
    settings = await console.send(f"{FLEET}/operation", given, 200)
    assert "2 boxes are selected." in settings.text
    answer = await console.send(f"{FLEET}/operation/preview", {**given, "site_id": "nowhere"}, 422)
    assert 'aria-invalid="true"' in answer.text
    preview = await console.send(f"{FLEET}/operation/preview", {**given, "site_id": target}, 200)
    assert "Move 2 boxes" in preview.text
    assert "Quai" in preview.text
    fields: Fields = {**given, "site_id": target, "preview": read_field(preview.text, "preview")}
    # Somebody moved one of them meanwhile: nothing happens, and the page shows the present state.
    await tenant.client.patch("/v1/boxes/move-2", json={"site_id": target})
    changed = await console.send(f"{FLEET}/operation/apply", fields, 409)
    assert "Move 1 box" in changed.text
    fields["preview"] = read_field(changed.text, "preview")
    assert read_done(await console.send(f"{FLEET}/operation/apply", fields)) == "boxes_changed"
    sites = {each["id"]: each["site_id"] for each in (await tenant.client.get("/v1/boxes")).json()["data"]}
    assert sites == {"move-1": target, "move-2": target, "stay-1": site_id}


async def test_operations_work_on_all_boxes_of_a_filter(
    console: ConsoleClient, tenant: Tenant, site_id: str
) -> None:
    await add(tenant, site_id, *(f"lot-{number}" for number in range(3)), kind="old")
    await add(tenant, site_id, "other-1", kind="other")
    given: Fields = {"operation": "label", "all": "yes", "kind": "old"}
    settings = await console.send(f"{FLEET}/operation", given, 200)
    assert read_field(settings.text, "kind") == "old"
    given |= {"tags_add": "lot:9 spare", "new_kind": "facade"}
    preview = await console.send(f"{FLEET}/operation/preview", given, 200)
    fields: Fields = {**given, "preview": read_field(preview.text, "preview")}
    assert read_done(await console.send(f"{FLEET}/operation/apply", fields)) == "boxes_changed"
    boxes = (await tenant.client.get("/v1/boxes?tag=lot:9&kind=facade")).json()["data"]
    assert [box["id"] for box in boxes] == ["lot-0", "lot-1", "lot-2"]
    answer = await console.send(
        f"{FLEET}/operation", {"operation": "delete", "all": "yes", "activity": "refused"}, 422
    )
    assert "Select the boxes one by one" in answer.text


async def test_new_passwords_of_many_boxes_are_a_table_shown_once(
    console: ConsoleClient, tenant: Tenant, site_id: str
) -> None:
    await add(tenant, site_id, "key-1", "key-2")
    given: Fields = {"operation": "rotate_credentials", "box": ["key-1", "key-2"]}
    preview = await console.send(f"{FLEET}/operation", given, 200)
    fields: Fields = {
        **given,
        "preview": read_field(preview.text, "preview"),
        "_once": read_field(preview.text, "_once"),
    }
    done = await console.send(f"{FLEET}/operation/apply", fields, 200)
    text = re.search(r'<textarea id="credentials"[^>]*>([^<]*)</textarea>', done.text)
    assert text is not None
    rows = list(csv.DictReader(io.StringIO(html.unescape(text[1]))))
    assert [row["username"] for row in rows] == ["key-1", "key-2"]
    # Sent again after a lost answer: the same passwords, which work.
    again = await console.send(f"{FLEET}/operation/apply", fields, 200)
    assert rows[0]["password"] in again.text


async def test_a_configuration_is_checked_where_it_is_typed(
    console: ConsoleClient, tenant: Tenant, site_id: str
) -> None:
    await add(tenant, site_id, "conf-1")
    given: Fields = {"operation": "configure", "box": "conf-1", "config": '{"interval_s": 10,}'}
    answer = await console.send(f"{FLEET}/operation/preview", given, 422)
    assert "This is not JSON" in answer.text
    assert '{"interval_s": 10,}' in html.unescape(answer.text)
    given["config"] = '{"interval_s": 10}'
    preview = await console.send(f"{FLEET}/operation/preview", given, 200)
    await console.send(f"{FLEET}/operation/apply", {**given, "preview": read_field(preview.text, "preview")})
    config = (await tenant.client.get("/v1/boxes/conf-1/config")).json()
    assert config["desired"] == {"interval_s": 10}


async def test_claim_codes_are_labels_with_which_an_installer_registers_a_box(
    console: ConsoleClient, visitor: httpx.AsyncClient, tenant: Tenant, site_id: str
) -> None:
    form = await console.read(f"{FLEET}/claims")
    given = {
        "_once": read_field(form, "_once"),
        "site_id": site_id,
        "labels": "3",
        "boxes": "1",
        "expires_in": "P7D",
        "name": SCRIPT,
    }
    sheet = await console.send(f"{FLEET}/claims", given, 201)
    codes = re.findall(r'<p class="label-code">([0-9A-Z-]{14})</p>', sheet.text)
    assert len(set(codes)) == 3
    assert sheet.text.count("<svg viewBox") >= 3
    assert SCRIPT not in sheet.text
    assert "Scannez" in sheet.text
    assert codes[0] in (await console.send(f"{FLEET}/claims", given, 201)).text
    # On site, without an account.
    own = {"Sec-Fetch-Site": "same-origin"}
    page = await visitor.get("/console/register")
    assert page.status_code == 200
    body = {"code": codes[0].lower(), "id": "claimed-1"}
    answer = await visitor.post("/console/register", data=body, headers=own)
    assert answer.status_code == 201
    assert '<code id="password">' in answer.text
    assert (await tenant.client.get("/v1/boxes/claimed-1")).json()["site_id"] == site_id
    answer = await visitor.post("/console/register", data=body | {"code": "7Q4F-K9MX-2HTC"}, headers=own)
    assert answer.status_code == 422
    assert 'role="alert"' in answer.text
    assert 'value="claimed-1"' in answer.text
    page_of_list = await console.read(f"{FLEET}/claims")
    assert codes[1] not in page_of_list
    (one, _) = re.findall(r"/console/fleet/claims/([0-9a-f-]{36})/revoke", page_of_list)
    assert read_done(await console.send(f"{FLEET}/claims/{one}/revoke")) == "revoked"
    assert "Revoked" in await console.read(f"{FLEET}/claims?state=all")
    assert "141" in (await console.send(f"{FLEET}/claims", {**given, "labels": "141"}, 422)).text


async def test_provisioning_keys_are_shown_once(
    application: FastAPI, console: ConsoleClient, site_id: str
) -> None:
    given = {"site_id": site_id, "name": "Lot 9", "id_prefix": "lot9-", "limit": "500"}
    refused = await console.send(f"{FLEET}/provisioning-keys", given, 404)
    assert "VIGIE_ENROLMENT__ENABLED=true" in refused.text
    assert 'value="lot9-"' in refused.text
    provide_resources(application, EnrolmentSettings(enabled=True))
    given["expires_on"] = "2099-12-31"
    created = await console.send(f"{FLEET}/provisioning-keys", given, 201)
    key = re.search(r'<code id="key">(vgp_\w+)</code>', created.text)
    assert key is not None
    page = await console.read(f"{FLEET}/provisioning-keys")
    assert key[1] not in page
    assert "0 of 500" in page
    answer = await console.send(f"{FLEET}/provisioning-keys", {**given, "limit": "many"}, 422)
    assert 'value="many"' in answer.text
    (one,) = re.findall(r"/provisioning-keys/([0-9a-f-]{36})/revoke", page)
    assert read_done(await console.send(f"{FLEET}/provisioning-keys/{one}/revoke")) == "revoked"
    assert "Lot 9" in await console.read(f"{FLEET}/provisioning-keys?revoked=yes")


@pytest.mark.parametrize("language", ["en", "fr"])
async def test_the_fleet_in_the_browser(
    open_page: OpenPage, owner_person: SignedInPerson, tenant: Tenant, site_id: str, language: str
) -> None:
    await owner_person.client.patch("/v1/me", json={"locale": language})
    await add(tenant, site_id, "b-1", "b-2", name=IMAGE, tags=["lot:1"])
    words = {"en": "Delete 2 boxes", "fr": "Supprimer 2\xa0boîtiers"}
    phone = await open_page(owner_person, **PHONE, color_scheme="dark")
    for path in ("", "/new", "/import", "/claims", "/provisioning-keys", "/quarantine"):
        await phone.visit(FLEET + path)
        assert await phone.grave() == [], path
        assert await phone.page.evaluate("document.documentElement.scrollWidth <= innerWidth"), path
    signed_in = await open_page(owner_person)
    page = signed_in.page
    await signed_in.visit(FLEET)
    assert not await page.is_visible(".bulk")
    await page.keyboard.press("j")
    await page.keyboard.press("x")
    assert await page.inner_text("[data-count]") == "1"
    await page.check("[data-all=box]")
    assert await page.inner_text("[data-count]") == "2"
    assert await signed_in.grave() == []
    await page.select_option("#operation", "delete")
    await page.keyboard.press("Tab")
    await page.keyboard.press("o")
    await page.wait_for_url("**/operation")
    assert await signed_in.grave() == []
    assert (await page.inner_text("button[data-key=y]")).replace(" ", "\xa0") == words[language].replace(
        " ", "\xa0"
    )
    await page.click("button[data-key=y]")
    await page.wait_for_selector(".notice.good")
    assert (await tenant.client.get("/v1/boxes")).json()["data"] == []
