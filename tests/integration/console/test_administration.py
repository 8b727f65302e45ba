"""The administration in the console: organisations, members, keys, and what other roles and tenants see."""

import html
import re

import httpx
import pytest
from fastapi import FastAPI

from tests.conftest import STREET, Tenant
from tests.integration.console.conftest import OpenPage
from tests.integration.console.visiting import PHONE, ConsoleClient, read_done, read_field
from tests.integration.people.factors import enrol_totp
from tests.integration.people.folk import OrganisationPeople, SignedInPerson

ADMINISTRATION = "/console/administration"
NASTY = '"><img src=x onerror=alert(1)><script>alert(2)</script>'
PARTS = ("organisations", "members", "keys", "purposes", "requests", "audit", "exports", "reports")


def read_secret(page: str, name: str) -> str:
    found = re.search(rf'<code id="{name}">([^<]+)</code>', page)
    assert found is not None, page[:3000]
    return html.unescape(found[1])


async def as_person(console: ConsoleClient, person: SignedInPerson) -> ConsoleClient:
    """The console of another person."""
    console.http.cookies.clear()
    console.http.cookies.set("vigie_session", person.token)
    return ConsoleClient(console.http)


async def test_the_first_page_leads_to_what_a_role_may_do(
    console: ConsoleClient, folk: OrganisationPeople
) -> None:
    page = await console.read(ADMINISTRATION)
    for part in PARTS:
        assert f'href="{ADMINISTRATION}/{part}"' in page
        await console.read(f"{ADMINISTRATION}/{part}" if part != "organisations" else ADMINISTRATION)
    assert f'href="{ADMINISTRATION}/settings"' not in page
    await console.read(f"{ADMINISTRATION}/settings", 403)
    viewer = await as_person(console, await folk.join("Vera", "viewer"))
    page = await viewer.read(ADMINISTRATION)
    for part in ("members", "requests", "audit", "settings"):
        assert f'href="{ADMINISTRATION}/{part}"' not in page
        await viewer.read(f"{ADMINISTRATION}/{part}", 403)


async def test_an_owner_changes_the_organisation(console: ConsoleClient, tenant: Tenant) -> None:
    answer = await console.http.get(f"{ADMINISTRATION}/organisations")
    path = f"{ADMINISTRATION}/organisations/{tenant.id}"
    assert answer.headers["location"] == path
    page = await console.read(path)
    assert "no limit" in page or "/ 200" in page
    # Not the owner of the quotas, nor of the organisation itself.
    assert f"{path}/quotas" not in page
    assert f"{path}/delete" not in page
    assert read_done(await console.send(path, {"name": NASTY})) == "saved"
    page = await console.read(path)
    assert NASTY not in page
    assert html.escape(NASTY) in page.replace("&#34;", "&quot;")
    refused = await console.send(path, {"name": " "}, 422)
    assert 'aria-invalid="true"' in refused.text
    assert (await console.send(f"{path}/quotas", {"sites": "1"}, 403)).status_code == 403
    await console.send(f"{path}/delete", status=403)


async def test_a_factor_becomes_mandatory(console: ConsoleClient, tenant: Tenant) -> None:
    path = f"{ADMINISTRATION}/organisations/{tenant.id}"
    given = {"name": "City", "second_factor_required": "yes"}
    answer = await console.send(path, given)
    # It applies to the owner too, from the next page on.
    following = await console.http.get(answer.headers["location"])
    assert following.headers["location"] == "/console/account#factors"


async def test_the_platform_manages_the_tree(
    console: ConsoleClient, application: FastAPI, api: httpx.AsyncClient, tenant: Tenant
) -> None:
    platform = (await api.get("/v1/me")).json()["organisation"]["id"]
    async with OrganisationPeople(application, api, platform) as people:
        root = await as_person(console, await people.join("Root", "owner"))
        path = f"{ADMINISTRATION}/organisations"
        given = {"name": "Integrator <b>", "kind": "integrator", "parent_id": platform}
        made = (await root.send(path, given)).headers["location"].split("?")[0]
        child = {"name": "Village", "kind": "client", "parent_id": made.rsplit("/", 1)[1]}
        village = (await root.send(path, child)).headers["location"].split("?")[0]
        tree = await root.read(path)
        assert "Integrator &lt;b&gt;" in tree
        assert re.search(r'class="depth-2"><a class="row" href="[^"]+">Village', tree)
        assert tenant.id in tree
        assert read_done(await root.send(f"{village}/quotas", {"sites": "3", "boxes": ""})) == "saved"
        assert "0 / 3" in await root.read(village)
        assert read_done(await root.send(f"{village}/quotas", {"boxes": "10,000"})) == "saved"
        assert "0 / 10,000" in await root.read(village)
        await root.send(f"{village}/quotas", {"boxes": "10,00"}, 422)
        assert 'aria-invalid="true"' in (await root.send(f"{village}/quotas", {"sites": "many"}, 422)).text
        # Not empty: says what is left.
        refused = await root.send(f"{made}/delete", status=409)
        assert 'role="alert"' in refused.text
        assert read_done(await root.send(f"{village}/delete")) == "deleted"
        assert read_done(await root.send(f"{made}/delete")) == "deleted"
        await root.read(made, 404)
        # Members and keys of any organisation.
        assert "ada@example.com" in await root.read(f"{ADMINISTRATION}/members?organisation={tenant.id}")
        key: dict[str, str | list[str]] = {
            "name": "For the city",
            "organisation_id": tenant.id,
            "scopes": ["sites:read"],
        }
        answer = await root.send(f"{ADMINISTRATION}/keys", key, 200)
        assert read_secret(answer.text, "key").startswith("vg_")
        assert "For the city" in await root.read(f"{ADMINISTRATION}/keys?organisation={tenant.id}")


async def test_members_are_invited_changed_and_removed(
    console: ConsoleClient, anybody: httpx.AsyncClient, folk: OrganisationPeople, owner_person: SignedInPerson
) -> None:
    path = f"{ADMINISTRATION}/members"
    site = (await owner_person.client.post("/v1/sites", json=STREET)).json()
    bad = await console.send(f"{path}/invite", {"email": "nobody", "role": "viewer"}, 422)
    assert 'value="nobody"' in bad.text
    assert 'aria-invalid="true"' in bad.text
    invited = await console.send(f"{path}/invite", {"email": "New@example.com", "role": "operator"}, 200)
    token = read_secret(invited.text, "link").split("#")[1]
    listed = await console.read(path)
    assert "new@example.com" in listed
    assert token not in listed
    # Again: the earlier link ends.
    again = await console.send(f"{path}/invite", {"email": "new@example.com", "role": "operator"}, 200)
    body = {"token": token, "name": NASTY, "password": "vier Hühner im Sturm"}
    assert (await anybody.post("/v1/invitations/accept", json=body)).status_code == 401
    body["token"] = read_secret(again.text, "link").split("#")[1]
    assert (await anybody.post("/v1/invitations/accept", json=body)).status_code == 201
    listed = await console.read(path)
    assert "<img src=x" not in listed
    member = await folk.join("Marie", "viewer")
    own = f"{path}/{member.member_id}"
    given = {"role": "installer", "reach": "sites"}
    refused = await console.send(own, given, 422)
    assert 'role="alert"' in refused.text
    assert read_done(await console.send(own, {**given, "site_ids": [site["id"]]})) == "saved"
    assert site["name"] in html.unescape(await console.read(path))
    reset = await console.send(f"{own}/password-reset", status=200)
    assert "#" in read_secret(reset.text, "link")
    assert read_done(await console.send(f"{own}/disable", {"disabled": "true"})) == "saved"
    assert "locked out" in await console.read(own)
    assert (await member.client.get("/v1/me")).status_code == 401
    assert read_done(await console.send(f"{own}/remove")) == "member_removed"
    await console.read(own, 404)
    opened = await console.send(f"{path}/invite", {"email": "late@example.com", "role": "viewer"}, 200)
    assert opened.status_code == 200
    found = re.search(rf'action="{path}/invitations/([^/]+)/revoke"', await console.read(path))
    assert found is not None
    assert read_done(await console.send(f"{path}/invitations/{found[1]}/revoke")) == "revoked"
    assert "late@example.com" not in await console.read(path)


async def test_the_last_owner_stays(console: ConsoleClient, owner_person: SignedInPerson) -> None:
    path = f"{ADMINISTRATION}/members/{owner_person.member_id}"
    refused = await console.send(path, {"role": "viewer", "reach": "all"}, 409)
    assert 'role="alert"' in refused.text
    # Nobody locks themselves out by a button.
    assert f"{path}/remove" not in await console.read(path)


async def test_factors_of_a_member_are_removed(console: ConsoleClient, folk: OrganisationPeople) -> None:
    member = await folk.join("Marie", "viewer")
    await enrol_totp(member)
    path = f"{ADMINISTRATION}/members/{member.member_id}"
    assert f"{path}/second-factors/remove" in await console.read(path)
    assert read_done(await console.send(f"{path}/second-factors/remove")) == "factors_removed"
    assert f"{path}/second-factors/remove" not in await console.read(path)


async def test_a_key_is_shown_once_and_revoked(console: ConsoleClient, visitor: httpx.AsyncClient) -> None:
    path = f"{ADMINISTRATION}/keys"
    refused = await console.send(path, {"name": NASTY, "scopes": []}, 422)
    assert NASTY not in refused.text
    assert 'role="alert"' in refused.text
    given: dict[str, str | list[str]] = {
        "name": NASTY,
        "rights": "some",
        "scopes": ["sites:read", "telemetry:read"],
        "reach": "all",
    }
    made = await console.send(path, {**given, "expires_at": "2099-01-01T00:00"}, 200)
    key = read_secret(made.text, "key")
    headers = {"Authorization": f"Bearer {key}"}
    assert (await visitor.get("/v1/sites", headers=headers)).status_code == 200
    assert (await visitor.get("/v1/rules", headers=headers)).status_code == 403
    listed = await console.read(path)
    assert key not in listed
    assert "<img src=x" not in listed
    found = re.search(rf'action="{path}/([^/]+)/revoke"', listed)
    assert found is not None
    assert read_done(await console.send(f"{path}/{found[1]}/revoke")) == "revoked"
    assert (await visitor.get("/v1/sites", headers=headers)).status_code == 401
    assert found[1] not in await console.read(path)


async def test_a_form_that_is_sent_again_makes_no_second_secret(
    console: ConsoleClient, folk: OrganisationPeople, owner_person: SignedInPerson
) -> None:
    path = f"{ADMINISTRATION}/keys"
    once = read_field(await console.read(f"{path}/new"), "_once")
    given = {"_once": once, "name": "Grafana", "scopes": ["sites:read"], "reach": "all"}
    refused = await console.send(path, {**given, "scopes": []}, 422)
    assert read_field(refused.text, "_once") == once
    made = [read_secret((await console.send(path, given, 200)).text, "key") for _ in range(2)]
    assert made[0] == made[1]
    keys = (await owner_person.client.get("/v1/api-keys", params={"q": "Grafana"})).json()["data"]
    assert len(keys) == 1
    path = f"{ADMINISTRATION}/members"
    once = read_field(await console.read(f"{path}/invite"), "_once")
    given = {"_once": once, "email": "new@example.com", "role": "viewer", "reach": "all"}
    made = [read_secret((await console.send(f"{path}/invite", given, 200)).text, "link") for _ in range(2)]
    assert made[0] == made[1]
    own = f"{path}/{(await folk.join('Marie', 'viewer')).member_id}"
    once = read_field(await console.read(own), "_once")
    answers = [await console.send(f"{own}/password-reset", {"_once": once}, 200) for _ in range(2)]
    assert read_secret(answers[0].text, "link") == read_secret(answers[1].text, "link")
    # The page with the link can make another one.
    assert read_field(answers[1].text, "_once") != once


async def test_another_role_has_no_buttons(console: ConsoleClient, folk: OrganisationPeople) -> None:
    viewer = await as_person(console, await folk.join("Vera", "viewer"))
    keys = await viewer.read(f"{ADMINISTRATION}/keys")
    assert "/revoke" not in keys
    assert f"{ADMINISTRATION}/keys/new" not in keys
    await viewer.send(f"{ADMINISTRATION}/keys", {"name": "x", "scopes": ["sites:read"]}, 403)
    await viewer.send(f"{ADMINISTRATION}/members/invite", {"email": "a@b.example", "role": "owner"}, 403)


async def test_other_tenants_are_unknown(
    console: ConsoleClient, application: FastAPI, api: httpx.AsyncClient
) -> None:
    other = (await api.post("/v1/organisations", json={"name": "Elsewhere"})).json()["id"]
    async with OrganisationPeople(application, api, other) as people:
        stranger = await people.join("Mallory", "owner")
        key = (
            await stranger.client.post("/v1/api-keys", json={"name": "k", "scopes": ["sites:read"]})
        ).json()["id"]
        await console.read(f"{ADMINISTRATION}/organisations/{other}", 404)
        await console.read(f"{ADMINISTRATION}/members/{stranger.member_id}", 404)
        assert "mallory" not in await console.read(f"{ADMINISTRATION}/members?organisation={other}")
        await console.send(f"{ADMINISTRATION}/keys/{key}/revoke", status=404)
        await console.send(f"{ADMINISTRATION}/members/{stranger.member_id}/remove", status=404)


@pytest.mark.parametrize(
    ("language", "options"), [("en", {}), ("fr", {**PHONE, "color_scheme": "dark"})], ids=["desk", "phone"]
)
async def test_an_owner_invites_and_makes_a_key(
    open_page: OpenPage, owner_person: SignedInPerson, language: str, options: dict[str, object]
) -> None:
    (await owner_person.client.patch("/v1/me", json={"locale": language})).raise_for_status()
    signed_in = await open_page(owner_person, **options)
    page = signed_in.page
    await signed_in.visit(ADMINISTRATION)
    assert await signed_in.grave() == []
    await signed_in.visit(f"{ADMINISTRATION}/members")
    await page.keyboard.press("c")
    await page.wait_for_selector("[name=email]")
    assert await signed_in.grave() == []
    await page.fill("[name=email]", "new@example.com")
    await page.check("[name=role][value=operator]")
    await page.press("[name=email]", "Enter")
    await page.wait_for_selector("#link")
    assert await signed_in.grave() == []
    await signed_in.visit(f"{ADMINISTRATION}/members")
    assert await page.is_visible("text=new@example.com")
    assert await signed_in.grave() == []
    await signed_in.visit(f"{ADMINISTRATION}/keys/new")
    await page.fill("[name=name]", "Grafana")
    await page.check("[name=scopes][value='telemetry:read']")
    assert await signed_in.grave() == []
    await page.press("[name=name]", "Enter")
    await page.wait_for_selector("#key")
    assert await signed_in.grave() == []
    await signed_in.visit(f"{ADMINISTRATION}/keys")
    page.once("dialog", lambda dialog: dialog.accept())
    await page.click("tr:has-text('Grafana') form[action$='/revoke'] button")
    await page.wait_for_selector(".notice.good")
    assert await signed_in.grave() == []
