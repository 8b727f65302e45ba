"""Sign-in through an OpenID Connect provider: an honest one, one that lies, and one that others wrote."""

import asyncio
import base64
import hmac
import json
import re
import sys
from collections.abc import AsyncIterator, Callable
from html import unescape
from typing import Any
from urllib.parse import parse_qs, parse_qsl, urlencode, urlsplit

import httpx
import pytest
from fastapi import FastAPI
from joserfc import jwt
from sqlalchemy import text

from app.people import repository
from app.people.oidc_state import COOKIE
from app.people.sign_in_dependencies import PeopleContext
from app.platform.db.database import Database
from app.platform.kernel.application_resources import get_resource
from app.standalone.free_ports import find_free_port
from tests.conftest import Tenant
from tests.integration.people.authenticator import SoftwareAuthenticator
from tests.integration.people.factors import enrol_passkey
from tests.integration.people.folk import PASSWORD, OrganisationPeople, refusal
from tests.integration.people.provider import CLIENT_ID, CLIENT_SECRET, LyingProvider, signed

REFUSED = (401, "oidc_refused")
UNCONFIRMED = (409, "organisation_unconfirmed")


def configure(monkeypatch: pytest.MonkeyPatch, issuer: str) -> None:
    monkeypatch.setenv("VIGIE_OIDC__ISSUER", issuer)
    monkeypatch.setenv("VIGIE_OIDC__CLIENT_ID", CLIENT_ID)
    monkeypatch.setenv("VIGIE_OIDC__CLIENT_SECRET", CLIENT_SECRET)
    monkeypatch.setenv("VIGIE_OIDC__NAME", "City login")


@pytest.fixture(autouse=True)
async def provider(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[LyingProvider]:
    async with LyingProvider() as made:
        configure(monkeypatch, made.issuer)
        yield made


async def begin(client: httpx.AsyncClient, confirmed: dict[str, str] | None = None, /, **params: str) -> str:
    """Begin in a browser, from a page of Vigie's where something is confirmed. Returns where it is sent."""
    if confirmed is not None:
        started = await client.post("/v1/oidc/start", json=confirmed)
        assert started.status_code == 200, started.text
        return str(started.json()["url"])
    answer = await client.get("/v1/oidc/start", params=params)
    assert answer.status_code == 302, answer.text
    return str(answer.headers["location"])


async def at_provider(url: str) -> str:
    """Where the provider sends the browser back to."""
    async with httpx.AsyncClient() as browser:
        answer = await browser.get(url)
    assert answer.status_code == 302, answer.text
    return str(answer.headers["location"])


async def come_back(client: httpx.AsyncClient, url: str, **change: str) -> httpx.Response:
    parts = urlsplit(url)
    query = {**dict(parse_qsl(parts.query)), **change}
    return await client.get(f"{parts.path}?{urlencode(query)}")


async def sign_in(
    client: httpx.AsyncClient, confirmed: dict[str, str] | None = None, /, **params: str
) -> httpx.Response:
    return await come_back(client, await at_provider(await begin(client, confirmed, **params)))


async def accept(client: httpx.AsyncClient, token: str) -> httpx.Response:
    """Follow an invitation's link, and the button of its page."""
    return await sign_in(client, {"invitation": token})


async def test_somebody_who_was_invited_signs_in(
    folk: OrganisationPeople,
    anybody: httpx.AsyncClient,
    provider: LyingProvider,
    application: FastAPI,
    tenant: Tenant,
) -> None:
    token = await folk.invite("ada@example.com", "operator")
    offered = (await anybody.get("/v1/oidc")).json()
    base_url = get_resource(application, PeopleContext).base_url
    assert offered == {"name": "City login", "start": f"{base_url}/v1/oidc/start"}
    # A link could be anybody's: by it alone she accepts nothing.
    unasked = await sign_in(anybody, organisation=tenant.id)
    assert refusal(unasked) == UNCONFIRMED
    assert [each["id"] for each in unasked.json()["organisations"]] == [tenant.id]
    url = await begin(anybody, {"invitation": token})
    (cookie,) = [cookie for cookie in anybody.cookies.jar if cookie.name == COOKIE]
    assert (cookie.path, cookie.has_nonstandard_attr("HttpOnly")) == ("/v1/oidc/callback", True)
    answer = await come_back(anybody, await at_provider(url))
    assert answer.status_code == 200, answer.text
    assert answer.headers["cache-control"] == "no-store"
    made = answer.json()
    assert (made["user"]["name"], made["user"]["locale"]) == ("Ada Lovelace", "fr")
    assert [place["role"] for place in made["memberships"]] == ["operator"]
    assert provider.seen["code_challenge_method"] == "S256"
    assert provider.seen["redirect_uri"] == f"{base_url}/v1/oidc/callback"
    ada = await folk.client(made["token"])
    assert (await ada.get("/v1/me")).json()["organisation"]["id"] == tenant.id
    assert COOKIE not in anybody.cookies
    # From now on her name there counts, whatever her address is; and what is published was asked for once.
    provider.claims |= {"email": "new@example.com", "email_verified": False}
    again = await sign_in(anybody)
    assert again.json()["user"]["id"] == made["user"]["id"]
    assert (provider.asked["/keys"], provider.asked["/.well-known/openid-configuration"]) == (1, 1)
    # She has no password, and nobody can sign in with one.
    body = {"email": "ada@example.com", "password": PASSWORD}
    assert refusal(await anybody.post("/v1/sessions", json=body)) == (401, "wrong_credentials")
    change = {"current_password": PASSWORD, "new_password": PASSWORD}
    assert refusal(await ada.post("/v1/me/password", json=change)) == (409, "no_password")


async def test_the_page_of_an_invitation_leads_to_the_provider(
    folk: OrganisationPeople, anybody: httpx.AsyncClient, tenant: Tenant
) -> None:
    token = await folk.invite("ada@example.com", "operator")
    offer = await anybody.post("/welcome", data={"token": token})
    assert "Accept, and sign in with City login" in offer.text
    page = await anybody.post("/welcome/provider", data={"token": token})
    assert page.status_code == 200, page.text
    (url,) = re.findall(r'id="provider" href="([^"]+)"', page.text)
    signed_in = await come_back(anybody, await at_provider(unescape(url)))
    assert signed_in.status_code == 200, signed_in.text
    assert signed_in.json()["organisation"]["id"] == tenant.id
    # The invitation has had its use.
    assert (await anybody.post("/welcome/provider", data={"token": token})).status_code == 410


async def test_who_was_not_invited_stays_outside(
    folk: OrganisationPeople, anybody: httpx.AsyncClient, provider: LyingProvider, tenant: Tenant
) -> None:
    assert refusal(await sign_in(anybody)) == (403, "not_invited")
    token = await folk.invite("ada@example.com", "owner")
    for unproven in (False, None, "true", 1):
        provider.change = {"email_verified": unproven}
        assert refusal(await accept(anybody, token)) == (403, "not_invited"), unproven
    for email in ("not an address", "eve@example.com"):
        provider.change = {"email": email}
        assert refusal(await accept(anybody, token)) == (403, "not_invited"), email
    provider.change = {}
    assert (await accept(anybody, token)).status_code == 200
    for body, code in (
        ({}, "invitation_or_organisation"),
        ({"invitation": token, "organisation_id": tenant.id}, "invitation_or_organisation"),
    ):
        assert refusal(await anybody.post("/v1/oidc/start", json=body)) == (422, code)
    used = await anybody.post("/v1/oidc/start", json={"invitation": token})
    assert refusal(used) == (401, "token_refused")


async def test_who_has_an_account_keeps_it_and_its_password_ends(
    folk: OrganisationPeople, anybody: httpx.AsyncClient, tenant: Tenant
) -> None:
    # Whoever invited her may have accepted in her place.
    ada = await folk.join("Ada", "viewer")
    path = f"/v1/members/{ada.member_id}"
    reset = (await tenant.client.post(f"{path}/password-reset")).json()["token"]
    answer = await sign_in(anybody)
    assert answer.json()["user"]["id"] == ada.id
    assert (await ada.client.get("/v1/me")).status_code == 401
    body = {"email": ada.email, "password": PASSWORD}
    assert refusal(await anybody.post("/v1/sessions", json=body)) == (401, "wrong_credentials")
    answer = await anybody.post("/v1/passwords/reset", json={"token": reset, "password": PASSWORD})
    assert refusal(answer) == (401, "token_refused")
    assert (await tenant.client.patch(path, json={"disabled": True})).status_code == 200
    assert refusal(await sign_in(anybody)) == (403, "account_disabled")


async def test_an_account_that_who_invited_her_made_is_not_hers_unasked(
    folk: OrganisationPeople, anybody: httpx.AsyncClient, tenant: Tenant, other_tenant: Tenant
) -> None:
    squatted = await folk.join("Ada", "viewer")
    await folk.invite(squatted.email, "viewer", other_tenant.id)
    unnamed = await sign_in(anybody)
    assert refusal(unnamed) == UNCONFIRMED
    assert {each["id"] for each in unnamed.json()["organisations"]} == {tenant.id, other_tenant.id}
    # Nor by a link that names either, whoever sent it.
    for each in (tenant, other_tenant):
        assert refusal(await sign_in(anybody, organisation=each.id)) == UNCONFIRMED
    # Where she is invited she begins with an account of her own, and nothing of the other one ends.
    named = (await sign_in(anybody, {"organisation_id": other_tenant.id})).json()
    assert named["user"]["id"] != squatted.id
    assert [place["organisation"]["id"] for place in named["memberships"]] == [other_tenant.id]
    assert (await squatted.client.get("/v1/me")).status_code == 200


async def test_who_is_known_joins_the_organisation_that_they_name(
    folk: OrganisationPeople,
    anybody: httpx.AsyncClient,
    tenant: Tenant,
    other_tenant: Tenant,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    first = (await accept(anybody, await folk.invite("ada@example.com", "viewer", tenant.id))).json()
    # Who names none, or one of theirs, needs no invitation: none is looked for.
    with monkeypatch.context() as patched:
        patched.delattr(repository, "find_inviting_organisations")
        for params in ({}, {"organisation": tenant.id}):
            assert (await sign_in(anybody, **params)).json()["organisation"]["id"] == tenant.id
    assert refusal(await sign_in(anybody, organisation=other_tenant.id)) == (404, "not_found")
    token = await folk.invite("ada@example.com", "viewer", other_tenant.id)
    assert (await sign_in(anybody)).json()["organisation"]["id"] == tenant.id
    assert refusal(await sign_in(anybody, organisation=other_tenant.id)) == (404, "not_found")
    assert (await (await folk.client(first["token"])).get("/v1/me")).status_code == 200
    joined = (await accept(anybody, token)).json()
    assert joined["user"]["id"] == first["user"]["id"]
    assert joined["organisation"]["id"] == other_tenant.id
    assert {place["organisation"]["id"] for place in joined["memberships"]} == {tenant.id, other_tenant.id}


async def test_a_person_says_whom_they_work_for(
    folk: OrganisationPeople, anybody: httpx.AsyncClient, tenant: Tenant, other_tenant: Tenant
) -> None:
    tokens = [await folk.invite("ada@example.com", "viewer", each.id) for each in (tenant, other_tenant)]
    # Neither of them has her work for it unless she says so.
    unnamed = await sign_in(anybody)
    assert refusal(unnamed) == UNCONFIRMED
    offered = {each["id"] for each in unnamed.json()["organisations"]}
    assert offered == {tenant.id, other_tenant.id}
    nowhere = "01936f3c-6f0a-7c1e-9a51-0d9f3b8e7a10"
    assert refusal(await sign_in(anybody, {"organisation_id": nowhere})) == (404, "not_found")
    named = (await sign_in(anybody, {"organisation_id": other_tenant.id})).json()
    assert [place["organisation"]["id"] for place in named["memberships"]] == [other_tenant.id]
    listed = (await tenant.client.get("/v1/invitations")).json()["data"]
    assert [row["state"] for row in listed] == ["open"]
    # The other one keeps its link, which she follows or not.
    ada = await folk.client(named["token"])
    renamed = await ada.post("/v1/invitations/accept", json={"token": tokens[0], "name": "Ada"})
    assert refusal(renamed) == (422, "name_not_taken")
    joined = await ada.post("/v1/invitations/accept", json={"token": tokens[0]})
    assert joined.status_code == 201, joined.text
    assert (joined.json()["user"]["id"], len(joined.json()["memberships"])) == (named["user"]["id"], 2)
    assert (await sign_in(anybody, organisation=tenant.id)).json()["organisation"]["id"] == tenant.id


async def test_who_has_no_password_gets_none_from_an_owner(
    folk: OrganisationPeople, anybody: httpx.AsyncClient, api: httpx.AsyncClient, other_tenant: Tenant
) -> None:
    owner = await folk.join("Oda", "owner")
    ada = (await accept(anybody, await folk.invite("ada@example.com", "viewer"))).json()
    path = f"/v1/members/{ada['memberships'][0]['id']}/password-reset"
    assert refusal(await owner.client.post(path)) == (409, "no_password")
    # Where the provider is no more, an administrator of the platform helps.
    assert (await api.post(path)).status_code == 201
    # Nor does she give herself one by the way.
    token = await folk.invite("ada@example.com", "owner", other_tenant.id)
    client = await folk.client(ada["token"])
    for more in ({"password": PASSWORD}, {"password": PASSWORD, "current_password": PASSWORD}):
        answer = await client.post("/v1/invitations/accept", json={"token": token, **more})
        assert refusal(answer) == (409, "no_password")
    assert (await client.post("/v1/invitations/accept", json={"token": token})).status_code == 201
    assert (await client.get("/v1/me")).status_code == 401


async def test_who_belonged_nowhere_any_more_comes_back(
    folk: OrganisationPeople, anybody: httpx.AsyncClient, tenant: Tenant, provider: LyingProvider
) -> None:
    ada = (await accept(anybody, await folk.invite("ada@example.com", "viewer"))).json()
    removed = await tenant.client.delete(f"/v1/members/{ada['memberships'][0]['id']}")
    assert removed.status_code == 204
    assert refusal(await sign_in(anybody)) == (403, "not_invited")
    token = await folk.invite("ada@example.com", "operator")
    # The address may be another's by now.
    provider.change = {"email_verified": False}
    assert refusal(await accept(anybody, token)) == (403, "not_invited")
    provider.change = {}
    again = (await accept(anybody, token)).json()
    assert (again["user"]["id"], again["memberships"][0]["role"]) == (ada["user"]["id"], "operator")
    assert (await (await folk.client(ada["token"])).get("/v1/me")).status_code == 401


def with_header(**header: str) -> Callable[[LyingProvider, dict[str, Any]], str]:
    def sign(provider: LyingProvider, claims: dict[str, Any]) -> str:
        _, payload, signature = signed(provider, claims).split(".")
        head = encoded(json.dumps(header).encode())
        return f"{head}.{payload}.{'' if header['alg'] == 'none' else signature}"

    return sign


def encoded(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).decode().rstrip("=")


def with_public_key_as_secret(provider: LyingProvider, claims: dict[str, Any]) -> str:
    payload = signed(provider, claims).split(".")[1]
    head = encoded(json.dumps({"alg": "HS256", "kid": provider.keys[-1].kid}).encode())
    key = provider.keys[-1].as_pem(private=False)
    return f"{head}.{payload}.{encoded(hmac.digest(key, f'{head}.{payload}'.encode(), 'sha256'))}"


def altered(provider: LyingProvider, claims: dict[str, Any]) -> str:
    head, _, signature = signed(provider, {**claims, "sub": "other"}).split(".")
    return f"{head}.{signed(provider, claims).split('.')[1]}.{signature}"


def by_a_stranger(provider: LyingProvider, claims: dict[str, Any]) -> str:
    kid = provider.keys[-1].kid
    provider.new_key("RSA")
    stranger = provider.keys.pop()
    return jwt.encode({"alg": "RS256", "kid": kid}, claims, stranger, ["RS256"])


CHANGES: dict[str, dict[str, Any]] = {
    "another issuer": {"iss": "https://evil.example.com"},
    "another audience": {"aud": "other"},
    "several, asked for by another": {"aud": [CLIENT_ID, "other"], "azp": "other"},
    "several, asked for by nobody": {"aud": [CLIENT_ID, "other"]},
    "asked for by another": {"azp": "other"},
    "expired": {"exp": 1_700_000_000},
    "no end": {"exp": None},
    "no nonce": {"nonce": None},
    "another nonce": {"nonce": "other"},
    "the nonce among others": {"nonce": ["a"]},
    "no subject": {"sub": None},
    "an empty subject": {"sub": ""},
    "a subject without end": {"sub": "x" * 256},
}
SIGNERS: dict[str, Callable[[LyingProvider, dict[str, Any]], str]] = {
    "unsigned": with_header(alg="none"),
    "not that key's algorithm": with_header(alg="ES256"),
    "the public key as a secret": with_public_key_as_secret,
    "altered": altered,
    "by a stranger": by_a_stranger,
    "no token": lambda _, __: "x",
}


@pytest.mark.parametrize("lie", [*CHANGES, *SIGNERS])
async def test_a_token_that_lies_is_refused(
    folk: OrganisationPeople, anybody: httpx.AsyncClient, provider: LyingProvider, lie: str
) -> None:
    token = await folk.invite("ada@example.com", "owner")
    if lie in CHANGES:
        provider.change = CHANGES[lie]
    else:
        provider.sign = SIGNERS[lie]
    assert refusal(await accept(anybody, token)) == REFUSED
    provider.change, provider.sign = {}, signed
    assert (await accept(anybody, token)).status_code == 200


async def test_an_answer_belongs_to_the_browser_that_asked(
    folk: OrganisationPeople, anybody: httpx.AsyncClient, application: FastAPI
) -> None:
    token = await folk.invite("ada@example.com", "owner")
    back = await at_provider(await begin(anybody, {"invitation": token}))
    for change in ({"state": "other"}, {"state": ""}, {"state": "é"}, {"iss": "https://evil.example.com"}):
        assert refusal(await come_back(anybody, back, **change)) == REFUSED
    # Another browser, which was sent there by somebody who signs in as themselves.
    elsewhere = httpx.ASGITransport(application)
    async with httpx.AsyncClient(transport=elsewhere, base_url="http://vigie.test") as other:
        assert refusal(await come_back(other, back)) == REFUSED
        other.cookies.set(COOKIE, "x" * 300, path="/v1/oidc/callback")
        assert refusal(await come_back(other, back)) == REFUSED
    assert (await come_back(anybody, back)).status_code == 200
    # A code is used once.
    url = await begin(anybody)
    state = parse_qs(urlsplit(url).query)["state"][0]
    assert refusal(await come_back(anybody, back, state=state)) == REFUSED
    assert refusal(await anybody.get(f"/v1/oidc/callback?error=access_denied&state={state}")) == REFUSED


async def test_new_keys_are_asked_for_and_not_all_the_time(
    folk: OrganisationPeople, anybody: httpx.AsyncClient, provider: LyingProvider, application: FastAPI
) -> None:
    assert (await accept(anybody, await folk.invite("ada@example.com", "owner"))).status_code == 200
    provider.new_key("EC")
    provider.algorithm = "ES256"
    # Asked for within the last minute.
    assert refusal(await sign_in(anybody)) == REFUSED
    assert provider.asked["/keys"] == 1
    oidc = get_resource(application, PeopleContext).oidc
    assert oidc is not None
    oidc._keys_at -= 61
    assert (await sign_in(anybody)).status_code == 200
    assert provider.asked["/keys"] == 2


async def test_the_address_may_be_told_apart_from_the_token(
    folk: OrganisationPeople, anybody: httpx.AsyncClient, provider: LyingProvider
) -> None:
    token = await folk.invite("ada@example.com", "owner")
    provider.userinfo, provider.claims = provider.claims, {"sub": provider.claims["sub"]}
    provider.document = {"token_endpoint_auth_methods_supported": ["client_secret_post"]}
    provider.claims["sub"] = "somebody else"
    assert refusal(await sign_in(anybody)) == REFUSED
    provider.claims["sub"] = provider.userinfo["sub"]
    assert (await accept(anybody, token)).json()["user"]["name"] == "Ada Lovelace"


@pytest.mark.parametrize(
    "document",
    [
        {"issuer": "https://evil.example.com"},
        {"token_endpoint": "http://evil.example.com/token"},
        {"jwks_uri": "file:///etc/passwd"},
        {"jwks_uri": None},
        {"authorization_endpoint": 7},
        {"filler": "x" * 300_000},
    ],
    ids=lambda document: next(iter(document)),
)
async def test_a_provider_that_publishes_nonsense_is_not_used(
    anybody: httpx.AsyncClient, provider: LyingProvider, document: dict[str, Any]
) -> None:
    provider.document = document
    assert refusal(await anybody.get("/v1/oidc/start")) == (503, "oidc_unavailable")
    provider.document, provider.status = {}, 302
    assert refusal(await anybody.get("/v1/oidc/start")) == (503, "oidc_unavailable")
    provider.status = 200
    assert (await anybody.get("/v1/oidc/start")).status_code == 302


async def test_trying_comes_to_an_end(anybody: httpx.AsyncClient, application: FastAPI) -> None:
    most = get_resource(application, PeopleContext).settings.attempts
    answers = [refusal(await anybody.get("/v1/oidc/callback?state=x&code=y")) for _ in range(most + 1)]
    assert answers == [REFUSED] * most + [(429, "too_many_attempts")]


@pytest.fixture
async def mock(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[str]:
    """A provider that others wrote, in a process of its own."""
    port = find_free_port()
    person = {"sub": "ada", "email": "ada@example.com", "email_verified": True, "name": "Ada"}
    command = ("-m", "oidc_provider_mock", "-p", str(port), "-n", "true", "--user-claims", json.dumps(person))
    process = await asyncio.create_subprocess_exec(
        sys.executable, *command, stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.DEVNULL
    )
    issuer = f"http://127.0.0.1:{port}"
    configure(monkeypatch, issuer)
    async with httpx.AsyncClient() as client, asyncio.timeout(60):
        while True:
            try:
                (await client.get(f"{issuer}/.well-known/openid-configuration")).raise_for_status()
                break
            except httpx.TransportError:
                await asyncio.sleep(0.1)
    yield issuer
    process.terminate()
    await process.wait()


async def test_a_provider_that_others_wrote(
    mock: str, folk: OrganisationPeople, anybody: httpx.AsyncClient
) -> None:
    token = await folk.invite("ada@example.com", "owner")
    url = await begin(anybody, {"invitation": token})
    assert url.startswith(mock)
    async with httpx.AsyncClient() as browser:
        back = await browser.post(url, data={"sub": "ada"})
    answer = await come_back(anybody, back.headers["location"])
    assert answer.status_code == 200, answer.text
    assert answer.json()["user"]["name"] == "Ada"


async def test_an_account_that_another_made_and_disabled_keeps_nobody_out(
    folk: OrganisationPeople, anybody: httpx.AsyncClient, tenant: Tenant, other_tenant: Tenant
) -> None:
    squatted = await folk.join("Ada", "viewer")
    path = f"/v1/members/{squatted.member_id}"
    assert (await tenant.client.patch(path, json={"disabled": True})).status_code == 200
    await folk.invite(squatted.email, "viewer", other_tenant.id)
    unnamed = await sign_in(anybody)
    assert refusal(unnamed) == UNCONFIRMED
    assert [each["id"] for each in unnamed.json()["organisations"]] == [other_tenant.id]
    named = (await sign_in(anybody, {"organisation_id": other_tenant.id})).json()
    assert named["organisation"]["id"] == other_tenant.id
    # From now on the provider's name for her leads there.
    assert (await sign_in(anybody)).json()["organisation"]["id"] == other_tenant.id


async def test_another_name_at_the_provider_gets_nothing_of_an_account_that_has_one(
    folk: OrganisationPeople,
    anybody: httpx.AsyncClient,
    provider: LyingProvider,
    tenant: Tenant,
    other_tenant: Tenant,
) -> None:
    ada = (await accept(anybody, await folk.invite("ada@example.com", "owner"))).json()
    # The address is somebody else's by now, or an alias.
    provider.claims |= {"sub": "somebody else"}
    assert refusal(await sign_in(anybody)) == (403, "not_invited")
    assert refusal(await sign_in(anybody, {"organisation_id": tenant.id})) == (403, "not_invited")
    assert (await (await folk.client(ada["token"])).get("/v1/me")).status_code == 200
    # Whom another organisation invites begins anew there.
    eve = (await accept(anybody, await folk.invite("ada@example.com", "viewer", other_tenant.id))).json()
    assert eve["user"]["id"] != ada["user"]["id"]
    assert [place["organisation"]["id"] for place in eve["memberships"]] == [other_tenant.id]


async def test_who_was_disabled_is_so_for_nobody_else(
    folk: OrganisationPeople, anybody: httpx.AsyncClient, tenant: Tenant, other_tenant: Tenant
) -> None:
    ada = (await accept(anybody, await folk.invite("ada@example.com", "viewer"))).json()
    path = f"/v1/members/{ada['memberships'][0]['id']}"
    assert (await tenant.client.patch(path, json={"disabled": True})).status_code == 200
    token = await folk.invite("ada@example.com", "operator", other_tenant.id)
    for body in (None, {"organisation_id": tenant.id}):
        assert refusal(await sign_in(anybody, body)) == (403, "account_disabled")
    anew = (await accept(anybody, token)).json()
    assert anew["user"]["id"] != ada["user"]["id"]
    assert [place["organisation"]["id"] for place in anew["memberships"]] == [other_tenant.id]
    # Enabled again, the first account opens nothing of the other one, nor is it come to unasked.
    assert (await tenant.client.patch(path, json={"disabled": False})).status_code == 200
    assert (await sign_in(anybody)).json()["user"]["id"] == anew["user"]["id"]
    assert refusal(await sign_in(anybody, organisation=tenant.id)) == (404, "not_found")
    for made, where in ((ada, tenant), (anew, other_tenant)):
        confirmed = (await sign_in(anybody, {"organisation_id": where.id})).json()
        assert confirmed["user"]["id"] == made["user"]["id"]
        assert (await sign_in(anybody)).json()["user"]["id"] == made["user"]["id"]


async def test_the_provider_counts_as_a_second_factor_and_ends_those_of_before(
    folk: OrganisationPeople, anybody: httpx.AsyncClient, tenant: Tenant, database: Database
) -> None:
    """Whoever made the account under her address has a passkey of it: it opens nothing once it is hers."""
    ada = await folk.join("Ada", "viewer")
    phone = SoftwareAuthenticator()
    await enrol_passkey(ada, phone)
    signed_in = await sign_in(anybody)
    assert (signed_in.status_code, signed_in.json()["user"]["id"]) == (200, ada.id)
    begun = (await anybody.post("/v1/sessions/passkey-options")).json()
    body = {"challenge": begun["challenge"], "passkey": phone.get(begun["options"])}
    assert refusal(await anybody.post("/v1/sessions/passkey", json=body)) == (401, "passkey_refused")
    path = f"/v1/organisations/{tenant.id}"
    (await tenant.client.patch(path, json={"second_factor_required": True})).raise_for_status()
    hers = await folk.client(signed_in.json()["token"])
    assert (await hers.get("/v1/me")).json()["second_factor"] == "provider"
    assert (await hers.get("/v1/sites")).status_code == 200
    # She can enrol one of her own while the sign-in is young; later only after another one there.
    assert (await hers.post("/v1/me/totp")).status_code == 201
    async with database.write() as session:
        await session.execute(text("UPDATE user_sessions SET authenticated_at = now() - interval '1 hour'"))
    late = await hers.post("/v1/me/totp")
    assert (refusal(late), late.json()["methods"]) == ((403, "reauthentication_required"), [])
    again = await hers.post("/v1/me/reauthentication", json={"password": PASSWORD})
    assert refusal(again) == (409, "no_password")


async def test_an_invitation_makes_no_old_sign_in_young(
    folk: OrganisationPeople, anybody: httpx.AsyncClient, other_tenant: Tenant
) -> None:
    """With a stolen session one accepts an invitation of one's own, and gets another session by it."""
    await folk.join("Ada", "viewer")
    stolen = await folk.client((await sign_in(anybody)).json()["token"])
    token = await folk.invite("ada@example.com", "viewer", other_tenant.id)
    made = await stolen.post("/v1/invitations/accept", json={"token": token})
    assert made.status_code == 201, made.text
    client = await folk.client(made.json()["token"])
    assert refusal(await client.post("/v1/me/totp")) == (403, "reauthentication_required")


async def test_a_sign_in_to_the_console_ends_the_session_of_the_same_browser(
    folk: OrganisationPeople, anybody: httpx.AsyncClient
) -> None:
    joined = (await accept(anybody, await folk.invite("ada@example.com", "viewer"))).json()
    elsewhere = await folk.client(joined["token"])
    planted = await folk.join("Mallory", "viewer")
    anybody.cookies.set("vigie_session", planted.token, domain="vigie.test")
    for former in (planted.client, None):
        begun = await anybody.get("/console/sign-in/provider?next=/console/rules")
        answer = await come_back(anybody, await at_provider(begun.headers["location"]))
        assert (answer.status_code, answer.headers["location"][-14:]) == (303, "/console/rules")
        if former is not None:
            assert refusal(await former.get("/v1/me")) == (401, "unauthorised")
    assert (await elsewhere.get("/v1/me")).status_code == 200
