"""Grants from their offer to their end, as the organisation and the recipient see them."""

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import asyncpg
import httpx
from fastapi import FastAPI

from app.platform.kernel.secret_tokens import generate_key
from app.settings import VigieSettings
from tests.conftest import Tenant, client_of, new_application, running
from tests.integration.grants.grants import BEGIN, TERMS, accept, describe, give, measure, offer, recipient


async def test_a_grant_is_offered_accepted_and_used(application: FastAPI, tenant: Tenant) -> None:
    measured = await measure(tenant, "box-0001")
    made = await offer(tenant, measured.site)
    assert made["state"] == "offered"
    token = made["link"]["token"]
    assert made["link"]["url"].endswith(f"/grant#{token}")
    async with client_of(application, token) as holder:
        read = (await holder.get("/v1/grant-offer")).raise_for_status().json()
        assert read["recipient"] == "Air Lab"
        assert read["content"]["terms"] == TERMS
        assert read["has_key"] is False
        # The token of the link is no key.
        assert (await holder.get("/v1/sites")).status_code == 401
        other = await holder.post(
            "/v1/grant-offer/acceptance", json={"name": "Ada Lovelace", "content_hash": "0" * 64}
        )
        assert (other.status_code, other.json()["code"]) == (409, "offer_changed")
    accepted = await accept(application, token)
    key = accepted["key"]["key"]
    # The link works once.
    async with client_of(application, token) as holder:
        assert (await holder.get("/v1/grant-offer")).status_code == 401
    async with recipient(application, key) as client:
        own = (await client.get("/v1/grant")).json()
        assert own["readable"] == {measured.site: ["pm2_5"]}
        assert own["id"] == made["id"]
        assert (await client.get("/v1/sites")).json()["data"][0]["id"] == measured.site
    shown = (await tenant.client.get(f"/v1/grants/{made['id']}")).json()
    assert shown["state"] == "active"
    assert "link" not in shown
    (acceptance,) = (await tenant.client.get(f"/v1/grants/{made['id']}/acceptances")).json()["data"]
    assert acceptance["name"] == "Ada Lovelace"
    assert acceptance["content"]["metrics"] == ["pm2_5"]
    entries = (await tenant.client.get("/v1/audit?action=grant_acceptance.created")).json()["data"]
    assert [(each["actor"]["kind"], each["actor"]["name"]) for each in entries] == [("grant_link", "Air Lab")]
    assert entries[0]["after"]["terms_hash"] == acceptance["terms_hash"]
    assert entries[0]["after"]["content_hash"] == acceptance["content_hash"] == read["content_hash"]


async def test_only_the_content_that_was_shown_is_accepted(application: FastAPI, tenant: Tenant) -> None:
    measured, second = await measure(tenant, "box-0001"), await measure(tenant, "box-0002")
    made, _ = await give(application, tenant, measured.site)
    path = f"/v1/grants/{made['id']}"
    later = (datetime.now(UTC) + timedelta(days=90)).isoformat()
    token = (await tenant.client.patch(path, json={"valid_until": later})).json()["link"]["token"]
    for change in (
        {"metrics": ["pm2_5", "no2"]},
        {"site_ids": [measured.site, second.site]},
        {"precision_m": None},
        {"purpose": "Resale"},
        {"until": None},
        {"terms": "Other terms"},
        {"until": (BEGIN + timedelta(minutes=60)).isoformat()},
    ):
        async with client_of(application, token) as holder:
            read = (await holder.get("/v1/grant-offer")).raise_for_status().json()
        changed = (await tenant.client.patch(path, json=change)).raise_for_status().json()
        # What is wider replaces the link; what is narrower applies at once, and leaves the link.
        token = token if changed["link"] is None else changed["link"]["token"]
        async with client_of(application, token) as holder:
            body = {"name": "Ada Lovelace", "content_hash": read["content_hash"]}
            answer = await holder.post("/v1/grant-offer/acceptance", json=body)
            assert (answer.status_code, answer.json()["code"]) == (409, "offer_changed"), change
    accepted = await accept(application, token)
    assert accepted["content"]["purpose"] == "Resale"


async def test_an_offer_must_name_what_is_there(tenant: Tenant, other_tenant: Tenant) -> None:
    measured, foreign = await measure(tenant, "box-0001"), await measure(other_tenant, "box-0002")
    now = datetime.now(UTC)
    for more, code in (
        ({"site_ids": [foreign.site]}, "not_found"),
        ({"site_ids": [str(uuid4())]}, "not_found"),
        ({"site_ids": []}, "invalid_value"),
        ({"metrics": ["pm99"]}, "unknown_metric"),
        ({"valid_until": now.isoformat()}, "expired"),
        ({"until": (BEGIN - timedelta(days=1)).isoformat()}, "range_reversed"),
        ({"recipient_country": "France"}, "invalid_value"),
        ({"contact": "nobody"}, "invalid_email_address"),
        ({"terms": " "}, "invalid_text"),
    ):
        answer = await tenant.client.post("/v1/grants", json=describe(measured.site) | more)
        assert answer.status_code in {404, 422}, (more, answer.text)
        problem = answer.json()
        codes = {problem["code"], *(each["code"] for each in problem.get("errors", []))}
        assert code in codes, (more, problem)
    await tenant.client.post(f"/v1/sites/{measured.site}/purposes/noise/end", json={})
    answer = await tenant.client.post("/v1/grants", json=describe(measured.site, metrics=["laeq"]))
    assert answer.json()["code"] == "purpose_not_in_force"
    assert answer.json()["purposes"] == ["noise"]


async def test_narrower_applies_at_once_and_wider_after_acceptance(
    application: FastAPI, tenant: Tenant
) -> None:
    first, second = await measure(tenant, "box-0001"), await measure(tenant, "box-0002")
    made, key = await give(application, tenant, first.site)
    path = f"/v1/grants/{made['id']}"
    wide = {"site_ids": [first.site, second.site], "metrics": ["no2"], "terms": "Terms, version 4"}
    changed = (await tenant.client.patch(path, json=wide)).raise_for_status().json()
    # The metric was replaced: the former one goes at once, the new one waits.
    assert changed["metrics"] == []
    assert changed["site_ids"] == [first.site]
    assert changed["offered"]["metrics"] == ["no2"]
    assert changed["terms"] == TERMS
    span = {"from": BEGIN.isoformat(), "to": (BEGIN + timedelta(hours=3)).isoformat()}
    async with recipient(application, key) as client:
        for name in ("pm2_5", "no2"):
            answer = await client.get(f"/v1/boxes/{first.box}/readings", params={"metric": name, **span})
            assert answer.json()["code"] == "metric_not_granted"
    accepted = await accept(application, changed["link"]["token"])
    assert accepted["key"] is None
    async with recipient(application, key) as client:
        answer = await client.get(f"/v1/boxes/{second.box}/readings", params={"metric": "no2", **span})
        assert len(answer.json()["points"]) == 60
    # An earlier end needs no acceptance; a later one does.
    sooner = (datetime.now(UTC) + timedelta(days=1)).isoformat()
    assert (await tenant.client.patch(path, json={"valid_until": sooner})).json()["link"] is None
    later = (datetime.now(UTC) + timedelta(days=90)).isoformat()
    extended = (await tenant.client.patch(path, json={"valid_until": later})).json()
    assert extended["valid_until"][:10] == sooner[:10]
    assert extended["offered"]["valid_until"][:10] == later[:10]
    accepted = await accept(application, extended["link"]["token"], new_key=True)
    async with recipient(application, key) as client:
        assert (await client.get("/v1/grant")).status_code == 401
    async with recipient(application, accepted["key"]["key"]) as client:
        assert (await client.get("/v1/grant")).json()["content"]["valid_until"][:10] == later[:10]


async def test_suspended_expired_and_revoked_grants_open_nothing(
    application: FastAPI, tenant: Tenant, connection: asyncpg.Connection
) -> None:
    measured = await measure(tenant, "box-0001")
    made, key = await give(application, tenant, measured.site)
    path = f"/v1/grants/{made['id']}"

    async def code(client: httpx.AsyncClient) -> str | None:
        answer = await client.get(f"/v1/boxes/{measured.box}/latest")
        found: str | None = answer.json().get("code")
        return found

    async def until_code(client: httpx.AsyncClient, expected: str | None) -> None:
        async with asyncio.timeout(60):
            while await code(client) != expected:  # noqa: ASYNC110 (a notification)
                await asyncio.sleep(0.05)

    async with recipient(application, key) as client:
        assert await code(client) is None
        await tenant.client.patch(path, json={"suspended": True})
        assert await code(client) == "grant_suspended"
        assert (await tenant.client.get(path)).json()["state"] == "suspended"
        await tenant.client.patch(path, json={"suspended": False})
        assert await code(client) is None
        # Another process changed it: the notification drops the cached caller.
        await connection.execute("UPDATE grants SET valid_until = now() WHERE id = $1", made["id"])
        await until_code(client, "grant_expired")
        assert (await tenant.client.get("/v1/grants?state=expired")).json()["data"][0]["id"] == made["id"]
        refused = await tenant.client.patch(path, json={"purpose": "Another one"})
        assert refused.json()["code"] == "grant_ended"
        await connection.execute(
            "UPDATE grants SET valid_until = now() + interval '1 day' WHERE id = $1", made["id"]
        )
        await until_code(client, None)
        assert (await tenant.client.delete(path)).status_code == 204
        assert await code(client) == "grant_revoked"
    assert (await tenant.client.get(path)).json()["state"] == "revoked"
    assert (await tenant.client.post(f"{path}/link")).json()["code"] == "grant_ended"


async def test_keys_are_replaced_without_an_interruption(application: FastAPI, tenant: Tenant) -> None:
    measured = await measure(tenant, "box-0001")
    made, key = await give(application, tenant, measured.site)
    async with recipient(application, key) as client:
        created = (await client.post("/v1/grant/keys")).raise_for_status().json()
        (former, newer) = (await client.get("/v1/grant/keys")).json()["data"]
        assert newer["id"] == created["id"]
        assert (await client.delete(f"/v1/grant/keys/{former['id']}")).json()["code"] == "own_key"
        async with recipient(application, created["key"]) as successor:
            assert (await successor.delete(f"/v1/grant/keys/{former['id']}")).status_code == 204
            assert (await client.get("/v1/grant")).status_code == 401
            assert (await successor.get("/v1/grant")).status_code == 200
            # The organisation may revoke it too.
            path = f"/v1/grants/{made['id']}/keys/{created['id']}"
            assert (await tenant.client.delete(path)).status_code == 204
            assert (await successor.get("/v1/grant")).status_code == 401
    link = (await tenant.client.post(f"/v1/grants/{made['id']}/link")).json()["link"]
    assert (await accept(application, link["token"]))["key"] is not None
    async with client_of(application, generate_key("vgg_")) as nobody:
        assert (await nobody.get("/v1/grant")).status_code == 401


async def test_both_sides_see_the_uses(application: FastAPI, tenant: Tenant) -> None:
    measured = await measure(tenant, "box-0001")
    made, key = await give(application, tenant, measured.site)
    span = {"from": BEGIN.isoformat(), "to": (BEGIN + timedelta(hours=3)).isoformat()}
    async with recipient(application, key) as client:
        for _ in range(2):
            (
                await client.get(f"/v1/boxes/{measured.box}/readings", params={"metric": "pm2_5", **span})
            ).raise_for_status()
        (await client.get("/v1/readings/export", params={"metric": "pm2_5", **span})).raise_for_status()
        await client.get("/v1/sites")
        theirs = (await client.get("/v1/grant/uses")).json()["data"]
    uses = (await tenant.client.get(f"/v1/grants/{made['id']}/uses")).json()["data"]
    by_kind: dict[str, dict[str, Any]] = {use["kind"]: use for use in uses}
    assert (by_kind["readings"]["calls"], by_kind["readings"]["values"]) == (2, 120)
    assert by_kind["readings"]["metrics"] == ["pm2_5"]
    assert by_kind["readings"]["site_ids"] == [measured.site]
    assert (by_kind["export"]["calls"], by_kind["export"]["values"]) == (1, 60)
    assert by_kind["sites"]["calls"] == 1
    assert {use["kind"] for use in theirs} == {"readings", "export", "sites"}


async def test_a_revoked_grant_shows_nothing_more_in_any_process(
    application: FastAPI, tenant: Tenant, settings: VigieSettings
) -> None:
    """Readers of two processes call without a pause while the grant is revoked in the first one."""
    measured = await measure(tenant, "box-0001")
    made, key = await give(application, tenant, measured.site)
    span = {"from": BEGIN.isoformat(), "to": (BEGIN + timedelta(hours=3)).isoformat()}
    # When a call began, and its status.
    answered: list[tuple[float, int]] = []
    loop = asyncio.get_running_loop()

    async def poll(client: httpx.AsyncClient) -> None:
        refused = 0
        while refused < 20:
            path, began = f"/v1/boxes/{measured.box}/readings", loop.time()
            answer = await client.get(path, params={"metric": "pm2_5", **span})
            answered.append((began, answer.status_code))
            refused += not answer.is_success
            # Many unknown keys would be too many attempts (429).
            await asyncio.sleep(0 if answer.is_success else 0.1)

    async def revoke() -> float:
        await asyncio.sleep(1)
        (await tenant.client.delete(f"/v1/grants/{made['id']}")).raise_for_status()
        return loop.time()

    async with (
        running(new_application(settings)) as second,
        recipient(second, key) as there,
        recipient(application, key) as here,
    ):
        async with asyncio.timeout(60):
            *_, revoked_at = await asyncio.gather(poll(here), poll(there), revoke())
    # Each use is stored under the condition that the grant is active.
    assert sum(status == 200 for _, status in answered) > 2
    assert {status for _, status in answered} == {200, 401}
    assert [began - revoked_at for began, status in answered if status == 200 and began > revoked_at] == []


async def test_grants_of_others_do_not_exist(tenant: Tenant, other_tenant: Tenant) -> None:
    measured = await measure(tenant, "box-0001")
    made = await offer(tenant, measured.site)
    path = f"/v1/grants/{made['id']}"
    for method, each in (
        ("GET", path),
        ("PATCH", path),
        ("DELETE", path),
        ("POST", f"{path}/link"),
        ("GET", f"{path}/keys"),
        ("GET", f"{path}/uses"),
        ("GET", f"{path}/acceptances"),
    ):
        body = {"purpose": "Theirs"} if method == "PATCH" else None
        answer = await other_tenant.client.request(method, each, json=body)
        assert answer.status_code == 404, (method, each, answer.text)
    assert (await other_tenant.client.get("/v1/grants")).json()["data"] == []
    assert (await tenant.client.get("/v1/grant")).json()["code"] == "grant_key_required"
